/* SPDX-License-Identifier: MIT
 *
 * Aim:    An entry that a call has written to disk is not written again when it is evicted or the
 *         store is closed. An entry that has changed since is written.
 * Method: Stores of real files are closed; directory_inspect counts their records. */
#include "cellar.h"
#include "cellar_entry.h"
#include "cli/directory.c"
#include "cli/layer.c"
#include "tests/support/disk_store.h"
#include "tests/support/t.h"
#include "tests/support/counter.h"
#include "tests/support/settings.h"

static cellar *open_it(uint32_t mode, uint64_t memory)
{
    cellar *c = NULL;
    const cellar_namespace_config v = { .struct_size = sizeof v, .l2_write = mode };
    settings cfg = { SETTINGS_SIZES, .config.root = &v, .config.memory_bytes = memory,
                     .config.l2_path = store, .config.l2_bytes = (uint64_t)32 << 20,
                     .l2.sync = CELLAR_L2_SYNC_PERIODIC, .host.no_threads = 1 };
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    return c;
}

/* Records in the closed store, without tombstones and controls. */
static uint64_t records(void)
{
    int sys = 0;
    directory_report r;
    const directory_how how = { .path = store };
    T_EQ_I64(directory_inspect(&how, &r, &sys), CELLAR_OK);
    return r.records - r.tombstones - r.controls;
}

static void set(cellar *c, uint32_t key, uint32_t flags)
{
    unsigned char value[200];
    cellar_set_opts o = { .struct_size = sizeof o, .flags = flags };
    memset(value, (int)(key & 0x7f), sizeof value);
    T_EQ_I64(cellar_set(c, &key, sizeof key, value, sizeof value, &o), CELLAR_OK);
}

T_CASE(value_set_once_is_written_once)
{
    const struct { uint32_t mode, flags, count; uint64_t memory; } how[] = {
        { CELLAR_L2_WRITE_THROUGH, 0, 3000, 8u << 20 },
        { CELLAR_L2_WRITE_THROUGH, 0, 9000, 2u << 20 }, /* many are evicted */
        { CELLAR_L2_WRITE_ON_SET, 0, 3000, 8u << 20 },
        { CELLAR_L2_WRITE_ON_EVICTION, CELLAR_DURABLE, 200, 8u << 20 },
    };
    for (size_t i = 0; i < sizeof how / sizeof how[0]; i++) {
        store_begin();
        cellar *c = open_it(how[i].mode, how[i].memory);
        for (uint32_t k = 0; k < how[i].count; k++) { set(c, k, how[i].flags); }
        T_EQ_I64(cellar_close(c), CELLAR_OK);
        const uint64_t all = records(), once = how[i].count;
        T_CHECK(all >= once && all - once <= once / 500); /* keys may share a word of the index */
        store_end();
    }
}

/* A change of each kind, then a close: each adds one record, written by the change itself. */
T_CASE(changed_entry_is_written_once_by_its_change)
{
    int64_t n = 0;
    store_begin();
    cellar *c = open_it(CELLAR_L2_WRITE_THROUGH, 8u << 20);
    for (uint32_t k = 0; k < 100; k++) { set(c, k, 0); }
    for (uint32_t k = 0; k < 100; k++) { set(c, k, 0); }
    for (uint32_t k = 0; k < 50; k++) {
        T_EQ_I64(cellar_touch(c, &k, sizeof k, 3600000), CELLAR_OK);
    }
    for (uint32_t i = 0; i < 10; i++) {
        T_EQ_I64(cellar_increment(c, "n", 1, 1, 0, NULL, &n), CELLAR_OK);
    }
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    T_EQ_U64(records(), 260);
    store_end();
}

/* Without write-through the change writes nothing: the close writes it. */
T_CASE(plain_change_of_durable_entry_is_written_at_close)
{
    int64_t n = 0, now = 0;
    cellar_entry_info info = cellar_entry_info_default();
    store_begin();
    cellar *c = open_it(CELLAR_L2_WRITE_ON_EVICTION, 8u << 20);
    cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_DURABLE };
    T_EQ_I64(cellar_set(c, "n", 1, "\5\0\0\0\0\0\0\0", 8, &o), CELLAR_OK);
    T_EQ_I64(cellar_set(c, "t", 1, "v", 1, &o), CELLAR_OK);
    T_EQ_I64(cellar_increment(c, "n", 1, 2, 0, NULL, &n), CELLAR_OK);
    T_EQ_I64(cellar_touch(c, "t", 1, 3600000), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    T_EQ_U64(records(), 4);
    c = open_it(CELLAR_L2_WRITE_ON_EVICTION, 8u << 20);
    T_EQ_I64(cellar_increment(c, "n", 1, 0, 0, COUNTER_PRESENT, &now), CELLAR_OK);
    T_EQ_I64(now, 7);
    T_EQ_I64(cellar_entry_info_get(c, "t", 1, 0, &info), CELLAR_OK);
    T_CHECK(info.ttl_left_ms <= 3600000);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    store_end();
}

T_ONE_THREAD;
T_MAIN("cache_once")
