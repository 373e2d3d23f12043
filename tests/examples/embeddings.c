/* SPDX-License-Identifier: MIT
 *
 * embeddings: find the note that is nearest to a question, and pay a model once for each text.
 *
 * A model makes a vector of a text, and texts with a similar meaning have vectors that are near
 * each other. A vector never changes, so it has no TTL, and it is on disk before the call returns:
 * a restart or a kill costs nothing. cellar_embeddings_get_many takes all texts of a request. It
 * calls the function `embed` once, with those texts that have no vector yet.
 *
 * In the folder of this project, after `make`:
 *     cc -O2 tests/examples/embeddings.c -Iinclude build/libcellar.a -lm -pthread
 *     ./a.out vectors.cache
 *     ./a.out vectors.cache             the second run sends no text
 * With the drop-in, after `make dist`:
 *     cc -O2 tests/examples/embeddings.c dist/cellar_all.c -Idist -Idist/include -lm -pthread
 *
 * The program prints the nearest note and how many texts it sent to the model. If the model fails,
 * the question has no vector: the program says so and ends with status 1. Try it with DOWN=1 in the
 * environment. In your program, let `embed` send one request with all texts, with a time limit. If
 * the answer lacks some of them, set the others: they are stored. Vectors of another model or
 * length have other keys, so a new model needs no other file. */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>

#include "cellar_kit.h"
#include "text_model.h"

enum { NOTES = 4 };

static cellar_err embed(cellar_embeddings_call *call, const cellar_bytes *text, size_t count,
                        void *sent)
{
    float vector[DIM];
    if (getenv("DOWN") != NULL) { return CELLAR_E_IO; }
    *(size_t *)sent += count;
    for (size_t i = 0; i < count; i++) {
        model_embed(text[i].data, text[i].len, vector);
        cellar_embeddings_set(call, i, vector, DIM);
    }
    return CELLAR_OK;
}

static cellar *store_open(const char *path)
{
    cellar_namespace_config root = cellar_namespace_config_default();
    cellar_config cfg = cellar_config_default();
    cellar_error_info why = cellar_error_info_default();
    cellar *store;
    root.l2_write = CELLAR_L2_WRITE_THROUGH;
    cfg.root = &root;
    cfg.l2_path = path;
    cfg.l2_bytes = 64 << 20;
    const cellar_err err = cellar_open(&cfg, &store);
    cellar_last_error(NULL, &why);
    if (err != CELLAR_OK) { errx(1, "%s", why.text); } /* call, argument, rule and remedy */
    return store;
}

int main(int argc, char **argv)
{
    static const char *const text[] = { "Water the plants on Monday", "The car needs new tyres",
        "The birthday of Grace is in May", "The key is under the stone", "When is her birthday?" };
    static float vector[NOTES + 1][DIM];
    cellar_bytes asked[NOTES + 1];
    cellar_err status[NOTES + 1];
    cellar_embeddings *e;
    cellar_embeddings_config o = cellar_embeddings_config_default();
    size_t sent = 0;
    cellar *const store = store_open(argc > 1 ? argv[1] : "vectors.cache");
    o.model = (cellar_bytes){ "small-3", 7 };
    o.dim = DIM;
    o.type = CELLAR_VECTOR_F16; /* three digits of each number, in half the bytes */
    cellar_err err = cellar_embeddings_open(store, &o, &e);
    if (err != CELLAR_OK) { errx(1, "embeddings: %s", cellar_strerror(err)); }
    for (int i = 0; i <= NOTES; i++) { asked[i] = (cellar_bytes){ text[i], strlen(text[i]) }; }
    err = cellar_embeddings_get_many(e, asked, NOTES + 1, embed, &sent, vector[0], status);
    if (err == CELLAR_OK) { err = status[NOTES]; }
    if (err != CELLAR_OK) { errx(1, "no vector of the question: %s", cellar_strerror(err)); }
    const size_t note = model_nearest(vector, NOTES, vector[NOTES]); /* a note without one: zeros */
    printf("%s (sent: %zu)\n", note < NOTES ? text[note] : "no note is near", sent);
    cellar_embeddings_close(e);
    return cellar_close(store) == CELLAR_OK ? 0 : 1;
}
