/* SPDX-License-Identifier: MIT
 *
 * oracle: what the library writes, for programs that know better: metrics and vectors.
 *
 * USE        oracle metrics FOLDER   write metrics.txt, limiter.txt, locks.txt, stats.json
 *            oracle vector TYPE DIM  floats on stdin -> stored bytes in hex; f32s: cellar_set_f32s
 * EXIT       0, or 1 when a call of the library failed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cellar.h"
#include "cellar_kit.h"
#include "cellar_limit.h"
#include "cellar_lock.h"
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

/* ---- metrics ---- */

static void oracle_save(const char *folder, const char *name, cellar_err err)
{
    char path[4096];
    oracle_need(err == CELLAR_OK, name);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    oracle_need(f != NULL && fputs(oracle_text, f) >= 0 && fclose(f) == 0, path);
}

static cellar_err oracle_load(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)ctx;
    return cellar_load_value(load, key, key_len);
}

static void oracle_use(cellar *c)
{
    cellar_result r = cellar_result_default();
    cellar_set(c, "k", 1, "v", 1, NULL);
    for (int i = 0; i < 1000; i++) { cellar_get(c, "k", 1, oracle_line, 1, NULL); }
    cellar_get(c, "none", 4, NULL, 0, NULL);
    oracle_need(cellar_get_or_load(c, "l", 1, NULL, oracle_load, NULL, &r) == CELLAR_OK, "load");
    cellar_result_free(&r);
}

static void oracle_metrics(const char *folder)
{
    static const char *const names[] = { "plain", "quote\" back\\slash\nline", "\xff\x01", "\xc3\xa9" };
    cellar *c = oracle_open(), *ns;
    cellar_limiter *limiter;
    cellar_locks *locks;
    const cellar_rule rule = cellar_rule_token_bucket(5, CELLAR_SECOND_NS, 5);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        oracle_need(cellar_namespace_open(c, names[i], NULL, &ns) == CELLAR_OK, "namespace");
        oracle_use(ns);
    }
    oracle_need(cellar_limiter_open(NULL, &rule, 1, &limiter) == CELLAR_OK, "limiter");
    oracle_need(cellar_locks_open(NULL, &locks) == CELLAR_OK, "locks");
    const size_t cap = sizeof oracle_text;
    oracle_save(folder, "metrics.txt", cellar_metrics_write(c, oracle_text, cap, NULL));
    oracle_save(folder, "stats.json", cellar_stats_json(c, oracle_text, cap, NULL));
    oracle_save(folder, "limiter.txt", cellar_metrics_write(limiter, oracle_text, cap, NULL));
    oracle_save(folder, "locks.txt", cellar_metrics_write(locks, oracle_text, cap, NULL));
    cellar_locks_close(locks);
    cellar_limiter_close(limiter);
}

/* ---- vectors ---- */

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
    if (argc == 3 && strcmp(argv[1], "metrics") == 0) {
        oracle_metrics(argv[2]);
    } else if (argc == 4 && strcmp(argv[1], "vector") == 0) {
        oracle_vector(argv[2], (uint32_t)strtoul(argv[3], NULL, 10));
    } else {
        return 2;
    }
    return 0;
}
