/* SPDX-License-Identifier: MIT
 *
 * embeddings: find the note that is nearest to a question. A model is paid for each text, so a text
 * is sent once: its vector has no TTL and goes to disk with the set. One request has all texts that
 * lack a vector.
 *
 *     cc -O2 embeddings.c -lcellar -lm -pthread;   ./a.out vectors.cache   (twice)
 *     drop-in: cc embeddings.c dist/cellar_all.c -Idist -Idist/include -lm -pthread */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cellar_kit.h"

enum { DIM = 256, NOTES = 4 };
/* POST /v1/embeddings, here without a network. As of most models, vectors have length 1. */
static cellar_err embed(cellar_embeddings_call *call, const cellar_bytes *text, size_t n,
                        void *sent)
{
    if (getenv("DOWN") != NULL) { return CELLAR_E_IO; } /* as if the model did not answer */
    *(size_t *)sent += n;
    for (size_t i = 0; i < n; i++) {
        float vector[DIM] = { 0 }, len = 0;
        const unsigned char *const t = text[i].data;
        for (size_t k = 1; k < text[i].len; k++) { vector[(t[k] * 37 + t[k - 1]) % DIM]++; }
        for (size_t k = 0; k < DIM; k++) { len = hypotf(len, vector[k]); }
        for (size_t k = 0; k < DIM && len > 0; k++) { vector[k] /= len; } /* to length 1 */
        cellar_embeddings_set(call, i, vector, DIM);
    }
    return CELLAR_OK; /* another code: the texts without a vector fail, the others are stored */
}

static cellar_embeddings *embeddings_open(const char *path, cellar **store)
{
    cellar_namespace_config root = cellar_namespace_config_default();
    cellar_config cfg = cellar_config_default();
    cellar_embeddings_config o = cellar_embeddings_config_default();
    cellar_embeddings *e = NULL;
    cellar_error_info why = cellar_error_info_default();
    root.l2_write = CELLAR_L2_WRITE_THROUGH; /* what is paid for outlives a kill */
    cfg.root = &root, cfg.l2_path = path, cfg.l2_bytes = 64u << 20;
    o.model = (cellar_bytes){ "small-3", 7 }, o.dim = DIM; /* others have other keys */
    o.type = CELLAR_VECTOR_F16; /* three digits of each number, in half the bytes */
    if (cellar_open(&cfg, store) == CELLAR_OK) { cellar_embeddings_open(*store, &o, &e); }
    cellar_last_error(*store, &why);
    if (e == NULL) { fprintf(stderr, "%s\n", why.text); } /* for one: the disk is full */
    return e;
}

int main(int argc, char **argv)
{
    static const char *const text[] = { "Water the plants on Monday", "The car needs new tyres",
        "The birthday of Grace is in May", "The key is under the stone", "When is her birthday?" };
    static float vector[NOTES + 1][DIM];
    cellar_bytes asked[NOTES + 1];
    cellar_err status[NOTES + 1];
    cellar *store;
    size_t sent = 0, best = NOTES; /* none */
    float most = 0;
    cellar_embeddings *const e = embeddings_open(argc > 1 ? argv[1] : "vectors.cache", &store);
    for (int i = 0; i <= NOTES; i++) { asked[i] = (cellar_bytes){ text[i], strlen(text[i]) }; }
    if (e == NULL || cellar_embeddings_get_many(e, asked, NOTES + 1, embed, &sent, vector[0],
                                                status) != CELLAR_OK) { return 1; }
    for (size_t i = 0; i < NOTES && status[NOTES] == CELLAR_OK; i++) { /* has the question one? */
        float near = 0; /* the cosine, as each vector has length 1; 0 of a note without one */
        for (int k = 0; k < DIM && !status[i]; k++) { near += vector[i][k] * vector[NOTES][k]; }
        if (near > most) { most = near, best = i; }
    }
    printf("%s (sent: %zu)\n", best < NOTES ? text[best] : "no answer", sent);
    cellar_embeddings_close(e);
    return cellar_close(store) == CELLAR_OK && best < NOTES ? 0 : 1;
}
