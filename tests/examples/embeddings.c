/* SPDX-License-Identifier: MIT
 *
 * embeddings: a batch of texts is embedded; only the texts without a vector go to the model.
 *
 *     cc -O2 embeddings.c -lcellar -pthread
 *     drop-in: cc embeddings.c dist/cellar_all.c -Idist -Idist/include -pthread */
#include <stdio.h>
#include <string.h>

#include "cellar.h"
#include "cellar_kit.h"

#define DIM 64

/* ---- the model ---- */

typedef struct model {
    int requests;
    size_t texts;
    int down;   /* the service does not answer */
} model;

static void model_vector(cellar_bytes text, float out[DIM])
{
    uint32_t x = 1;
    for (size_t i = 0; i < text.len; i++) { x = x * 33 + ((const unsigned char *)text.data)[i]; }
    for (int i = 0; i < DIM; i++) {
        x = x * 1664525u + 1013904223u;
        out[i] = (float)(x >> 8) / 16777216.0f - 0.5f;
    }
}

/* ---- what an application writes ---- */

/* Send one request for all texts of the batch. */
static cellar_err embed(cellar_embeddings_call *call, const cellar_bytes *texts, size_t count,
                        void *ctx)
{
    model *m = ctx;
    m->requests++;
    m->texts += count;
    if (m->down) { return CELLAR_E_IO; }
    for (size_t i = 0; i < count; i++) {
        float vector[DIM];
        model_vector(texts[i], vector);
        cellar_embeddings_set(call, i, vector, DIM);
    }
    return CELLAR_OK;
}

/* ---- the example checks itself ---- */

static int passed, failed;

static void check(int ok, const char *what)
{
    printf("%s - %s\n", ok ? "ok" : "not ok", what);
    *(ok ? &passed : &failed) += 1;
}

/* Return how many vectors are within `most` of those of the model. */
static size_t right(const cellar_bytes *texts, size_t n, const float *out, float most)
{
    size_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        float want[DIM];
        int same = 1;
        model_vector(texts[i], want);
        for (int k = 0; k < DIM; k++) {
            const float d = out[i * DIM + (size_t)k] - want[k];
            same &= d <= most && d >= -most;
        }
        sum += (size_t)same;
    }
    return sum;
}

static cellar_embeddings *open_with(cellar *c, cellar_vector_type type, const char *tenant)
{
    cellar_embeddings_config o = cellar_embeddings_config_default();
    cellar_embeddings *e = NULL;
    o.model = (cellar_bytes){ "small-3", 7 };
    o.dim = DIM;
    o.type = type;
    o.max_batch = 32;
    if (tenant != NULL) { o.tenant = (cellar_bytes){ tenant, strlen(tenant) }; }
    return cellar_embeddings_open(c, &o, &e) == CELLAR_OK ? e : NULL;
}

static void batches(cellar *c)
{
    static char word[100][16];
    static float out[100 * DIM];
    cellar_bytes texts[100];
    cellar_err status[100];
    model m = { 0, 0, 0 };
    cellar_embeddings *e = open_with(c, CELLAR_VECTOR_F32, NULL);
    for (size_t i = 0; i < 100; i++) {
        const int n = snprintf(word[i], sizeof word[i], "text %zu", i % 80); /* 20 of them twice */
        texts[i] = (cellar_bytes){ word[i], (size_t)n };
    }
    check(e != NULL, "a handle for one model opens");
    check(cellar_embeddings_get_many(e, texts, 10, embed, &m, out, status) == CELLAR_OK &&
              m.requests == 1 && m.texts == 10 && right(texts, 10, out, 0) == 10,
          "ten texts are one request");
    check(cellar_embeddings_get_many(e, texts, 100, embed, &m, out, status) == CELLAR_OK &&
              m.texts == 80 && m.requests == 1 + 3,
          "of a hundred only the seventy new ones are sent, each once, in batches of 32");
    check(right(texts, 100, out, 0) == 100, "and each text has its vector, in order");
    check(cellar_embeddings_get_many(e, texts, 100, embed, &m, out, status) == CELLAR_OK &&
              m.requests == 4,
          "then none is sent");

    m.down = 1;
    const cellar_bytes some[2] = { texts[0], { "a new text", 10 } };
    for (int k = 0; k < 2 * DIM; k++) { out[k] = 42; }
    check(cellar_embeddings_get_many(e, some, 2, embed, &m, out, status) == CELLAR_OK &&
              status[0] == CELLAR_OK && status[1] == CELLAR_E_LOADER,
          "without the service the known text has its vector, the new one a code");
    check(right(some, 1, out, 0) == 1 && out[DIM] == 42, "and its floats are as they were");
    m.down = 0;
    check(cellar_embeddings_get_many(e, some, 2, embed, &m, out, status) == CELLAR_OK &&
              status[1] == CELLAR_OK && right(some, 2, out, 0) == 2,
          "the next call asks again");
    cellar_embeddings_close(e);
}

static void sizes_and_tenants(cellar *c)
{
    const cellar_bytes text = { "one text", 8 };
    float out[DIM];
    cellar_err status;
    model m = { 0, 0, 0 };
    cellar_embeddings *small = open_with(c, CELLAR_VECTOR_I8, NULL);
    cellar_embeddings *ada = open_with(c, CELLAR_VECTOR_F16, "key of ada");
    cellar_embeddings *bob = open_with(c, CELLAR_VECTOR_F16, "key of bob");
    check(small != NULL && ada != NULL && bob != NULL, "handles of one namespace");
    for (int i = 0; i < 2; i++) {
        cellar_embeddings_get_many(small, &text, 1, embed, &m, out, &status);
        check(right(&text, 1, out, 0.005f) == 1 && m.requests == 1,
              "a byte for each number is close enough for most uses");
    }
    cellar_embeddings_get_many(ada, &text, 1, embed, &m, out, &status);
    cellar_embeddings_get_many(ada, &text, 1, embed, &m, out, &status);
    check(m.requests == 2 && right(&text, 1, out, 0.0005f) == 1, "two bytes are closer");
    cellar_embeddings_get_many(bob, &text, 1, embed, &m, out, &status);
    check(m.requests == 3, "tenants do not share vectors");
    cellar_embeddings_close(small);
    cellar_embeddings_close(ada);
    cellar_embeddings_close(bob);
}

int main(void)
{
    cellar_config cfg = cellar_config_default();
    cfg.memory_bytes = 16u << 20;
    cellar *store, *vectors;
    if (cellar_open(&cfg, &store) != CELLAR_OK) { return 1; }
    if (cellar_namespace_open(store, "embeddings", NULL, &vectors) != CELLAR_OK) { return 1; }
    batches(vectors);
    sizes_and_tenants(vectors);
    cellar_namespace_close(vectors);
    cellar_close(store);
    printf("embeddings: %d passed, %d failed, 0 skipped\n", passed, failed);
    return failed != 0;
}
