/* SPDX-License-Identifier: MIT
 *
 * disk_values: a store with a disk tier in the folder of disk_store.h, and values that a test
 * makes and recognizes by key and version. */
#ifndef SUPPORT_DISK_VALUES_H
#define SUPPORT_DISK_VALUES_H

#include "tests/support/disk_store.h"
#include "tests/support/left.h"
#include "tests/support/t.h"
#include "cellar.h"
#include "cellar_entry.h"
#include "cellar_l2.h"
#include "cellar_admin.h"
#include "tests/support/settings.h"
#include "tests/support/toy_cipher.h"

static inline settings config(void)
{
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 8u << 20, .config.l2_path = store,
                     .config.l2_bytes = CELLAR_L2_BYTES_MIN, .host.clock = read_clock,
                     .l2.close_ms = CELLAR_TTL_NONE, .host.no_threads = 1 };
    return cfg;
}

static inline void shut_left(void *c)
{
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

/* Return a store that store_end closes unless the case has. */
static inline cellar *open_with(const settings *cfg)
{
    cellar *c = NULL;
    T_REQUIRE(settings_open(cfg, &c) == CELLAR_OK);
    left_add(c, shut_left);
    while (cellar_tick(c, 100000, NULL) == CELLAR_PENDING) {}
    return c;
}

static inline cellar *open_it(void) { const settings cfg = config(); return open_with(&cfg); }

static inline void shut(cellar *c) { left_drop(c), shut_left(c); }

/* Close a store. Return the code of the close. */
static inline cellar_err end_of(cellar *c) { left_drop(c); return cellar_close(c); }

/* Close a store and open it again. */
static inline cellar *reopen_with(cellar *c, const settings *cfg)
{
    shut(c);
    return open_with(cfg);
}

static inline cellar *reopen(cellar *c) { const settings cfg = config(); return reopen_with(c, &cfg); }

static inline size_t value_of(char *buf, size_t cap, uint32_t key, uint32_t version)
{
    const size_t n = 60 + key % 200;
    memset(buf, (int)('a' + (key + version) % 26), n);
    (void)snprintf(buf, cap, "%u-%u", key, version);
    return n;
}

static inline cellar_err put(cellar *c, uint32_t key, uint32_t version, int64_t ttl_ms)
{
    char buf[512];
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = ttl_ms };
    return cellar_set(c, &key, sizeof key, buf, value_of(buf, sizeof buf, key, version), &o);
}

static inline cellar_err put_tagged(cellar *c, uint32_t key, uint32_t version)
{
    char buf[512];
    const cellar_bytes tag = { &"0123"[key % 4], 1 };
    cellar_set_opts o = { .struct_size = sizeof o, .tags = &tag, .tag_count = 1 };
    return cellar_set(c, &key, sizeof key, buf, value_of(buf, sizeof buf, key, version), &o);
}

/* MISS, OK, or CONFLICT for another version. */
static inline cellar_err look(cellar *c, uint32_t key, uint32_t version)
{
    char buf[512], want[512];
    size_t len = 0;
    const cellar_err err = cellar_get(c, &key, sizeof key, buf, sizeof buf, &len);
    if (err != CELLAR_OK) { return err; }
    const size_t n = value_of(want, sizeof want, key, version);
    return len == n && memcmp(buf, want, n) == 0 ? CELLAR_OK : CELLAR_CONFLICT;
}

/* Return how many of the keys 0.. have version 1. */
static inline uint32_t hits_of(cellar *c, uint32_t count)
{
    uint32_t hits = 0;
    for (uint32_t i = 0; i < count; i++) {
        const cellar_err err = look(c, i, 1);
        T_CHECK(err == CELLAR_OK || err == CELLAR_MISS);
        hits += err == CELLAR_OK;
    }
    return hits;
}

static inline cellar_err append(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    (void)ctx;
    (void)cellar_buf_append(out, old, old_len);
    return cellar_buf_append(out, "x", 1);
}

#endif
