/* SPDX-License-Identifier: MIT
 *
 * oracle: what the library stores for a vector, for a program that knows better.
 *
 * USE        oracle TYPE DIM  floats on stdin -> stored bytes in hex; f32s: cellar_set_f32s
 * EXIT       0, or 1 when a call of the library failed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cellar.h"
#include "cellar_kit.h"
#include "cellar_observe.h"

#define ORACLE_LINE 65536

static char oracle_line[ORACLE_LINE], oracle_text[1 << 20];

static void oracle_need(int fine, const char *what)
{
    if (fine) { return; }
    fprintf(stderr, "oracle: %s failed\n", what);
    exit(1);
}

static cellar *oracle_open(void)
{
    cellar_config cfg = cellar_config_default();
    cellar *c = NULL;
    oracle_need(cellar_open(&cfg, &c) == CELLAR_OK, "cellar_open");
    return c;
}

static void oracle_hex(const void *data, size_t len)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < len; i++) { printf("%02x", p[i]); }
    putchar('\n');
}

static float oracle_floats[4096];

static cellar_err oracle_embed(cellar_embeddings_call *call, const cellar_bytes *texts, size_t count,
                               void *ctx)
{
    (void)texts, (void)count;
    return cellar_embeddings_set(call, 0, oracle_floats, *(const uint32_t *)ctx);
}

static bool oracle_found(const cellar_scan_entry *e, void *ctx)
{
    oracle_need(e->key_len <= sizeof oracle_line, "key");
    memcpy(oracle_line, e->key, e->key_len);
    *(size_t *)ctx = e->key_len;
    return true;
}

static void oracle_vector(const char *type, uint32_t dim)
{
    cellar *c = oracle_open();
    cellar_embeddings *e;
    cellar_embeddings_config o = cellar_embeddings_config_default();
    const cellar_bytes text = { "text", 4 };
    uint64_t cursor = 0;
    size_t key_len = 1, len;
    cellar_err status;
    oracle_need(dim <= 4096 && fread(oracle_floats, 4, dim, stdin) == dim, "reading");
    if (strcmp(type, "f32s") == 0) {
        oracle_line[0] = 'k';
        oracle_need(cellar_set_f32s(c, "k", 1, oracle_floats, dim, NULL) == CELLAR_OK, "set_f32s");
    } else {
        static float back[4096];
        o.model = text;
        o.dim = dim;
        o.type = strcmp(type, "f32") == 0 ? CELLAR_VECTOR_F32
                 : strcmp(type, "f16") == 0 ? CELLAR_VECTOR_F16 : CELLAR_VECTOR_I8;
        oracle_need(cellar_embeddings_open(c, &o, &e) == CELLAR_OK &&
                    cellar_embeddings_get_many(e, &text, 1, oracle_embed, &dim, back, &status) ==
                        CELLAR_OK && status == CELLAR_OK, "embedding");
        do {
            oracle_need(cellar_scan(c, &cursor, NULL, oracle_found, &key_len) == CELLAR_OK,
                        "cellar_scan");
        } while (cursor != 0);
    }
    oracle_need(cellar_get(c, oracle_line, key_len, oracle_text, sizeof oracle_text, &len) ==
                CELLAR_OK, "cellar_get");
    oracle_hex(oracle_text, len);
}

int main(int argc, char **argv)
{
    if (argc != 3) { return 2; }
    oracle_vector(argv[1], (uint32_t)strtoul(argv[2], NULL, 10));
    return 0;
}
