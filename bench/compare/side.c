/* SPDX-License-Identifier: MIT
 *
 * side: one commit of the library behind a table. Compiled together with its dist/cellar.c into a
 * shared object that exports the table alone. */
#include "bench/compare/side.h"

#include "cellar.h"

static const char *side_version(void) { return cellar_version(); }

static void *side_open(uint64_t bytes, uint64_t entries)
{
    cellar *c = NULL;
    cellar_config cfg = cellar_config_default();
    cfg.memory_bytes = bytes;
    cfg.max_entries = entries;
    return cellar_open(&cfg, &c) == CELLAR_OK ? c : NULL;
}

static void side_close(void *store) { cellar_close(store); }

static int side_get(void *store, const void *key, size_t key_len, void *buf, size_t cap)
{
    size_t len = 0;
    return cellar_get(store, key, key_len, buf, cap, &len) == CELLAR_OK;
}

static int side_set(void *store, const void *key, size_t key_len, const void *value, size_t len)
{
    return cellar_set(store, key, key_len, value, len, NULL) == CELLAR_OK;
}

static int side_del(void *store, const void *key, size_t key_len)
{
    return cellar_delete(store, key, key_len) == CELLAR_OK;
}

__attribute__((visibility("default"))) const compare_side compare_side_table = {
    side_version, side_open, side_close, side_get, side_set, side_del
};
