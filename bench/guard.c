/* SPDX-License-Identifier: MIT
 *
 * guard: the operations with counted instructions, one dump of callgrind for each.
 *
 * PICTURE    valgrind --tool=callgrind guard -> for each row of guard_rows: open | store keys |
 *            collect on | N operations | collect off, dump named after it | close
 *            -> guard.sh divides by N and compares with the baseline
 * INVARIANTS everything that could differ between two runs is fixed: hash secret, clock (constant),
 *            no maintenance thread, one thread, the same keys in the same order. What is left is
 *            the library's own sampling of latencies, and the hash secrets that lock tables and
 *            pools draw themselves: under 0.1 % of the figure. Each row has a store of its own, so
 *            a new row changes no other.
 * LIMITS     instructions say nothing about locks and memory; the loop and the call around an
 *            operation (about twenty instructions) are inside the figure.
 * USE        guard --key   prints what a baseline entry is keyed by. guard ROW: this row alone.
 *            Without callgrind it runs the operations and checks their answers: exit 1 when one is
 *            wrong. */
#include <gnu/libc-version.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <valgrind/callgrind.h>

#include "cellar.h"
#include "cellar_admin.h"
#include "cellar_entry.h"
#include "cellar_l2.h"
#include "cellar_limit.h"
#include "cellar_load.h"
#include "cellar_lock.h"
#include "cellar_object.h"
#include "cellar_task.h"

#define GUARD_OPS 20000
#define GUARD_FEW 2000 /* operations of a row that takes thousands of instructions */
#define GUARD_MANY 32
#define GUARD_KEYS (156 * GUARD_MANY) /* known keys that the rows repeat */
#define GUARD_VALUE 100
#define GUARD_OTHERS 1000000 /* from the id of a stored key to that of an unknown one */
#define GUARD_LONG_US UINT64_C(3600000000)

#if defined(__clang__)
#define GUARD_CC "clang " __clang_version__
#else
#define GUARD_CC "gcc " __VERSION__
#endif

typedef struct guard_key {
    uint64_t word[2];
} guard_key;

/* What a row opens. A disk tier lies in the current folder. */
typedef enum guard_kind {
    GUARD_STORE,
    GUARD_ADAPTIVE, /* a store with this policy */
    GUARD_S3FIFO,
    GUARD_SMALL,    /* a store that is full after half of the keys of a row */
    GUARD_DISK,     /* a store with a disk tier that writes what leaves memory */
    GUARD_THROUGH,  /* the disk tier has each change when the call returns */
    GUARD_OBJECTS,  /* a store of objects */
    GUARD_OBJECTS_SMALL, /* as GUARD_SMALL */
    GUARD_LOCKS,
    GUARD_LIMITER,
    GUARD_POOL
} guard_kind;

/* One operation, or GUARD_MANY; returns how many answers were as expected. */
typedef uint32_t (*guard_call)(const guard_key *key);

typedef struct guard_row {
    const char *name;
    guard_kind kind;
    guard_call before; /* stores each key, not counted; NULL: none */
    guard_call call;
    uint32_t ops;      /* how many are counted. Range 1..GUARD_OPS */
    uint32_t keys;     /* of these in turn. Range 1..GUARD_OPS */
    uint32_t others;   /* 0: the keys stored before; GUARD_OTHERS: other ones */
    bool twice;        /* the operations run once before the count */
} guard_row;

static guard_key guard_keys[GUARD_OPS]; /* made before the count begins */
static unsigned char guard_value[GUARD_VALUE];
static unsigned char guard_buf[GUARD_MANY][GUARD_VALUE];

/* What is open: one of them. */
static cellar *guard_store;
static cellar_locks *guard_locks;
static cellar_limiter *guard_limiter;
static cellar_pool *guard_pool;
static uint32_t guard_ran; /* tasks */
/* Aligned: comparing a text that ends near the end of a page takes 200 instructions more. */
static _Alignas(64) const char guard_name[64] = "task";

static int64_t guard_clock(void *ctx)
{
    (void)ctx;
    return 1000000;
}

static uint64_t guard_clock_ns(void *ctx)
{
    (void)ctx;
    return UINT64_C(1000000000000);
}

static void guard_make_keys(uint64_t first)
{
    for (uint64_t i = 0; i < GUARD_OPS; i++) {
        const uint64_t id = first + i;
        guard_keys[i].word[0] = (id + 1) * UINT64_C(0x9e3779b97f4a7c15);
        guard_keys[i].word[1] = id;
    }
}

/* ---- Operations ------------------------------------------------------------------------------ */

static uint32_t guard_get_as(const guard_key *key, cellar_err want)
{
    size_t len;
    return cellar_get(guard_store, key, 16, guard_buf, GUARD_VALUE, &len) == want;
}
static uint32_t guard_get(const guard_key *key) { return guard_get_as(key, CELLAR_OK); }
static uint32_t guard_get_opts(const guard_key *key)
{
    cellar_get_opts o = cellar_get_opts_default();
    size_t len;
    o.flags = CELLAR_GET_ALLOW_STALE;
    return cellar_get_with(guard_store, key, 16, &o, guard_buf, GUARD_VALUE, &len) == CELLAR_OK;
}
static uint32_t guard_miss(const guard_key *key) { return guard_get_as(key, CELLAR_MISS); }

static uint32_t guard_set_with(const guard_key *key, const cellar_set_opts *o)
{
    return cellar_set(guard_store, key, 16, guard_value, GUARD_VALUE, o) == CELLAR_OK;
}
static uint32_t guard_set(const guard_key *key) { return guard_set_with(key, NULL); }

static uint32_t guard_set_ttl(const guard_key *key)
{
    cellar_set_opts o = cellar_set_opts_default();
    o.ttl_ms = 60000;
    return guard_set_with(key, &o);
}

static uint32_t guard_set_flags(const guard_key *key)
{
    cellar_set_opts o = cellar_set_opts_default();
    o.user_flags = 7;
    return guard_set_with(key, &o);
}

static uint32_t guard_set_opts(const guard_key *key)
{
    cellar_set_opts o = cellar_set_opts_default();
    o.ttl_ms = 60000;
    o.stale_ms = 5000;
    o.user_flags = 7;
    return guard_set_with(key, &o);
}

static uint32_t guard_set_tag(const guard_key *key)
{
    static const cellar_bytes tag = { "user:7", 6 };
    cellar_set_opts o = cellar_set_opts_default();
    o.tags = &tag;
    o.tag_count = 1;
    return guard_set_with(key, &o);
}

static uint32_t guard_del(const guard_key *key)
{
    return cellar_delete(guard_store, key, 16) == CELLAR_OK;
}

static uint32_t guard_many(const guard_key *key)
{
    static cellar_get_item item[GUARD_MANY];
    size_t hits = 0;
    for (uint32_t k = 0; k < GUARD_MANY; k++) {
        item[k] = (cellar_get_item){ key + k, 16, guard_buf[k], GUARD_VALUE, 0, CELLAR_OK, 0 };
    }
    cellar_get_many(guard_store, item, GUARD_MANY, &hits);
    return (uint32_t)hits;
}

static uint32_t guard_many1(const guard_key *key)
{
    cellar_get_item item = { key, 16, guard_buf[0], GUARD_VALUE, 0, CELLAR_OK, 0 };
    size_t hits = 0;
    cellar_get_many(guard_store, &item, 1, &hits);
    return (uint32_t)hits;
}

static uint32_t guard_pin(const guard_key *key)
{
    cellar_pinned p;
    const cellar_err err = cellar_pin(guard_store, key, 16, &p);
    cellar_unpin(&p);
    return err == CELLAR_OK;
}

static uint32_t guard_incr(const guard_key *key)
{
    int64_t now;
    return cellar_increment(guard_store, key, 16, 1, 0, NULL, &now) == CELLAR_OK;
}

/* In rows of hits no loader may run. */
static cellar_err guard_no_loader(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)load, (void)key, (void)key_len, (void)ctx;
    return CELLAR_E_INVAL;
}
static cellar_err guard_loader(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    return cellar_load_value(load, guard_value, GUARD_VALUE);
}

static uint32_t guard_load_with(const guard_key *key, const cellar_load_opts *o, void *buf,
                                cellar_loader_fn fn)
{
    cellar_result r = cellar_result_default();
    r.buf = buf;
    r.buf_cap = buf == NULL ? 0 : GUARD_VALUE;
    const cellar_err err = cellar_get_or_load(guard_store, key, 16, o, fn, NULL, &r);
    const bool right = err == CELLAR_OK && r.value_len == GUARD_VALUE;
    cellar_result_free(&r);
    return right;
}
static uint32_t guard_load(const guard_key *key)
{
    return guard_load_with(key, NULL, guard_buf, guard_no_loader);
}
static uint32_t guard_load_alloc(const guard_key *key)
{
    return guard_load_with(key, NULL, NULL, guard_no_loader);
}
static uint32_t guard_load_miss(const guard_key *key)
{
    return guard_load_with(key, NULL, guard_buf, guard_loader);
}
static uint32_t guard_load_opts(const guard_key *key)
{
    cellar_load_opts o = cellar_load_opts_default();
    o.ttl_ms = 60000;
    o.stale_ms = 5000;
    return guard_load_with(key, &o, guard_buf, guard_no_loader);
}
static uint32_t guard_load_cached(const guard_key *key)
{
    cellar_load_opts o = cellar_load_opts_default();
    o.flags = CELLAR_LOAD_ONLY_IF_CACHED;
    return guard_load_with(key, &o, guard_buf, NULL);
}
static uint32_t guard_load_pin(const guard_key *key)
{
    cellar_load_opts o = cellar_load_opts_default();
    o.flags = CELLAR_LOAD_PIN;
    return guard_load_with(key, &o, NULL, guard_no_loader);
}

static cellar_err guard_no_bulk(cellar_load *load, const cellar_bytes *keys, size_t count,
                                void *ctx)
{
    (void)load, (void)keys, (void)count, (void)ctx;
    return CELLAR_E_INVAL;
}
static uint32_t guard_load_many(const guard_key *key)
{
    static cellar_result r[GUARD_MANY];
    static cellar_load_item item[GUARD_MANY];
    uint32_t hits = 0;
    for (uint32_t k = 0; k < GUARD_MANY; k++) {
        r[k] = cellar_result_default();
        r[k].buf = guard_buf[k];
        r[k].buf_cap = GUARD_VALUE;
        item[k] = (cellar_load_item){ key + k, 16, &r[k], CELLAR_OK, 0 };
    }
    cellar_get_or_load_many(guard_store, item, GUARD_MANY, NULL, guard_no_bulk, NULL);
    for (uint32_t k = 0; k < GUARD_MANY; k++) {
        hits += item[k].status == CELLAR_OK;
        cellar_result_free(&r[k]);
    }
    return hits;
}

static uint32_t guard_lease(const guard_key *key)
{
    cellar_lease lease;
    cellar_result r = cellar_result_default();
    r.buf = guard_buf;
    r.buf_cap = GUARD_VALUE;
    const cellar_err err = cellar_lease_acquire(guard_store, key, 16, NULL, NULL, &lease, &r);
    cellar_result_free(&r);
    return err == CELLAR_OK;
}

static uint32_t guard_lock(const guard_key *key)
{
    cellar_lock lk;
    return cellar_lock_acquire(guard_locks, key, 16, NULL, &lk) == CELLAR_OK &&
           cellar_lock_release(guard_locks, &lk) == CELLAR_OK;
}

static uint32_t guard_check(const guard_key *key)
{
    return cellar_limiter_check(guard_limiter, key, 16, 1, NULL) == CELLAR_OK;
}

static void guard_freed(void *object, size_t charge, cellar_cause why, void *ctx)
{
    (void)object, (void)charge, (void)why, (void)ctx;
}
static uint32_t guard_object_set(const guard_key *key)
{
    return cellar_object_set(guard_store, key, 16, guard_value, GUARD_VALUE, NULL) == CELLAR_OK;
}
static uint32_t guard_object_hold(const guard_key *key)
{
    cellar_held h;
    const bool held = cellar_object_acquire(guard_store, key, 16, &h) == CELLAR_OK;
    const bool right = held && h.object == guard_value;
    cellar_object_release(&h);
    return right;
}
static uint32_t guard_object_load(const guard_key *key)
{
    cellar_held h;
    const bool held = cellar_object_get_or_load(guard_store, key, 16, NULL, guard_no_loader, NULL,
                                                &h) == CELLAR_OK;
    cellar_object_release(&h);
    return held;
}

static cellar_verdict guard_task(const cellar_task *t, void *ctx)
{
    (void)t, (void)ctx;
    guard_ran++;
    return cellar_verdict_ok();
}
/* Submit a task and let a tick run it. */
static uint32_t guard_run(const guard_key *key)
{
    const uint32_t ran = guard_ran;
    return cellar_task_submit(guard_pool, guard_name, key, 16, NULL, NULL) == CELLAR_OK &&
           cellar_tick(guard_pool, GUARD_LONG_US, NULL) == CELLAR_OK && guard_ran == ran + 1;
}

/* set_through ends before its first segment is full: the writes of a full one differ with the speed
 * of the disk. lock_release has one key: hashes differ between runs, and so do the keys that share
 * a hint. The hit under two policies shows what the adaptive one adds (guard.sh allows 4). */
static const guard_row guard_rows[] = {
    { "get_hit", GUARD_STORE, guard_set, guard_get, GUARD_OPS, GUARD_KEYS, 0, false },
    { "get_miss", GUARD_STORE, guard_set, guard_miss, GUARD_OPS, GUARD_KEYS, GUARD_OTHERS, false },
    { "get_many1", GUARD_STORE, guard_set, guard_many1, GUARD_OPS, GUARD_KEYS, 0, false },
    { "get_many32", GUARD_STORE, guard_set, guard_many, GUARD_OPS, GUARD_KEYS, 0, false },
    { "get_flags", GUARD_STORE, guard_set_flags, guard_get, GUARD_OPS, GUARD_KEYS, 0, false },
    { "load_flags", GUARD_STORE, guard_set_flags, guard_load, GUARD_OPS, GUARD_KEYS, 0, false },
    { "get_tag", GUARD_STORE, guard_set_tag, guard_get, GUARD_OPS, GUARD_KEYS, 0, false },
    { "get_opts", GUARD_STORE, guard_set, guard_get_opts, GUARD_OPS, GUARD_KEYS, 0, false },
    { "get_through", GUARD_THROUGH, guard_set, guard_get, GUARD_OPS, GUARD_FEW, 0, false },
    { "get_hit_adaptive", GUARD_ADAPTIVE, guard_set, guard_get, GUARD_OPS, GUARD_KEYS, 0, true },
    { "get_hit_s3fifo", GUARD_S3FIFO, guard_set, guard_get, GUARD_OPS, GUARD_KEYS, 0, true },
    { "pin_unpin", GUARD_STORE, guard_set, guard_pin, GUARD_OPS, GUARD_KEYS, 0, false },
    { "load_hit", GUARD_STORE, guard_set, guard_load, GUARD_OPS, GUARD_KEYS, 0, false },
    { "load_hit_opts", GUARD_STORE, guard_set, guard_load_opts, GUARD_OPS, GUARD_KEYS, 0, false },
    { "load_hit_cached", GUARD_STORE, guard_set, guard_load_cached, GUARD_OPS, GUARD_KEYS, 0,
      false },
    { "load_hit_alloc", GUARD_STORE, guard_set, guard_load_alloc, GUARD_OPS, GUARD_KEYS, 0, false },
    { "load_hit_pin", GUARD_STORE, guard_set, guard_load_pin, GUARD_OPS, GUARD_KEYS, 0, false },
    { "load_many32", GUARD_STORE, guard_set, guard_load_many, GUARD_OPS, GUARD_KEYS, 0, false },
    { "load_miss", GUARD_STORE, guard_set, guard_load_miss, GUARD_FEW, GUARD_FEW, GUARD_OTHERS,
      false },
    { "lease_hit", GUARD_STORE, guard_set, guard_lease, GUARD_OPS, GUARD_KEYS, 0, false },
    { "set_in_place", GUARD_STORE, guard_set, guard_set, GUARD_OPS, GUARD_KEYS, 0, false },
    { "set_new", GUARD_STORE, guard_set, guard_set, GUARD_OPS, GUARD_OPS, GUARD_OTHERS, false },
    { "set_evict", GUARD_SMALL, guard_set, guard_set, GUARD_OPS, GUARD_OPS, GUARD_OTHERS, false },
    { "set_ttl", GUARD_STORE, guard_set_ttl, guard_set_ttl, GUARD_OPS, GUARD_KEYS, 0, false },
    { "set_opts", GUARD_STORE, guard_set_opts, guard_set_opts, GUARD_OPS, GUARD_KEYS, 0, false },
    { "set_tag", GUARD_STORE, guard_set_tag, guard_set_tag, GUARD_OPS, GUARD_KEYS, 0, false },
    { "set_l2", GUARD_DISK, guard_set, guard_set, GUARD_OPS, GUARD_KEYS, 0, false },
    { "set_through", GUARD_THROUGH, guard_set, guard_set, GUARD_FEW, GUARD_FEW, 0, false },
    { "incr", GUARD_STORE, guard_incr, guard_incr, GUARD_OPS, GUARD_KEYS, 0, false },
    { "del", GUARD_STORE, guard_set, guard_del, GUARD_OPS, GUARD_OPS, 0, false },
    { "object_hold", GUARD_OBJECTS, guard_object_set, guard_object_hold, GUARD_OPS, GUARD_KEYS, 0,
      false },
    { "object_load_hit", GUARD_OBJECTS, guard_object_set, guard_object_load, GUARD_OPS, GUARD_KEYS,
      0, false },
    { "object_evict", GUARD_OBJECTS_SMALL, guard_object_set, guard_object_set, GUARD_OPS,
      GUARD_OPS, GUARD_OTHERS, false },
    { "lock_release", GUARD_LOCKS, NULL, guard_lock, GUARD_OPS, 1, 0, true },
    { "limit_check", GUARD_LIMITER, NULL, guard_check, GUARD_OPS, 1000, 0, true },
    { "task_run", GUARD_POOL, NULL, guard_run, GUARD_FEW, GUARD_FEW, 0, true },
};

/* ---- Rows ------------------------------------------------------------------------------------ */

static cellar_err guard_open_store(guard_kind kind, const cellar_host_config *host,
                                   const uint8_t *secret)
{
    cellar_config cfg = cellar_config_default();
    cellar_tuning_config tuning = cellar_tuning_config_default();
    cellar_l2_config disk = cellar_l2_config_default();
    tuning.hash_key = secret;
    cellar_object_config object = cellar_object_config_default();
    cellar_namespace_config root = cellar_namespace_config_default();
    object.free_fn = guard_freed;
    root.object = &object;
    const bool small = kind == GUARD_SMALL || kind == GUARD_OBJECTS_SMALL;
    cfg.memory_bytes = small ? 2u << 20 : 64u << 20;
    if (kind == GUARD_OBJECTS || kind == GUARD_OBJECTS_SMALL) { cfg.root = &root; }
    cfg.host = host;
    cfg.tuning = &tuning;
    if (kind == GUARD_ADAPTIVE) { cfg.eviction = CELLAR_EVICT_ADAPTIVE; }
    if (kind == GUARD_S3FIFO) { cfg.eviction = CELLAR_EVICT_S3FIFO; }
    if (kind == GUARD_THROUGH) { disk.write = CELLAR_L2_WRITE_THROUGH; }
    if (kind == GUARD_DISK || kind == GUARD_THROUGH) {
        cfg.l2_path = "guard-l2";
        cfg.l2_bytes = 16u << 20;
        cfg.l2 = &disk;
    }
    return cellar_open(&cfg, &guard_store);
}

/* Blocks of the pool: malloc takes 600 instructions more or less with the place of its heap. */
typedef struct guard_block { struct guard_block *next; } guard_block;
static guard_block *guard_spare[64]; /* by size in units of 16 bytes */
static void *guard_alloc(size_t size, void *ctx)
{
    const size_t units = (size + 15) / 16;
    guard_block *const b = units < 64 ? guard_spare[units] : NULL;
    (void)ctx;
    if (b == NULL) { return malloc(units * 16); }
    guard_spare[units] = b->next;
    return b;
}
static void guard_free(void *block, size_t size, void *ctx)
{
    const size_t units = (size + 15) / 16;
    guard_block *const b = block;
    (void)ctx;
    if (b == NULL || units >= 64) {
        free(block);
        return;
    }
    b->next = guard_spare[units];
    guard_spare[units] = b;
}

static cellar_err guard_open(guard_kind kind)
{
    static const uint8_t secret[32] = { 1, 2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47 };
    cellar_host_config host = cellar_host_config_default();
    host.no_threads = 1;
    host.clock = guard_clock;
    if (kind == GUARD_LOCKS) {
        cellar_locks_config cfg = cellar_locks_config_default();
        cfg.host = &host;
        cfg.fence_start = 1;
        return cellar_locks_open(&cfg, &guard_locks);
    }
    if (kind == GUARD_LIMITER) {
        const cellar_rule rule = cellar_rule_token_bucket(1000000, CELLAR_SECOND_NS, 1000000);
        cellar_limiter_config cfg = cellar_limiter_config_default();
        cfg.clock_ns = guard_clock_ns;
        cfg.hash_key = secret;
        return cellar_limiter_open(&cfg, &rule, 1, &guard_limiter);
    }
    if (kind == GUARD_POOL) {
        host.alloc = guard_alloc, host.free = guard_free;
        cellar_pool_config cfg = cellar_pool_config_default();
        cfg.host = &host;
        cfg.wall_clock = guard_clock;
        const cellar_err err = cellar_pool_open(&cfg, &guard_pool);
        if (err != CELLAR_OK) { return err; }
        return cellar_task_register(guard_pool, guard_name, guard_task, NULL, NULL);
    }
    return guard_open_store(kind, &host, secret);
}

static void guard_close(void)
{
    static const char *const file[] = { "LOCK", "SUPER", "data.seg" };
    cellar_close(guard_store);
    cellar_locks_close(guard_locks);
    cellar_limiter_close(guard_limiter);
    cellar_pool_close(guard_pool);
    guard_store = NULL, guard_locks = NULL, guard_limiter = NULL, guard_pool = NULL;
    for (size_t i = 0; i < sizeof file / sizeof file[0]; i++) {
        char path[64];
        snprintf(path, sizeof path, "guard-l2/%s", file[i]);
        (void)unlink(path);
    }
    (void)rmdir("guard-l2");
}

static uint32_t guard_all(const guard_row *row)
{
    const uint32_t step = row->call == guard_many || row->call == guard_load_many ? GUARD_MANY : 1;
    uint32_t right = 0;
    for (uint32_t i = 0; i < row->ops; i += step) {
        right += row->call(&guard_keys[i % row->keys]);
    }
    return right;
}

/* Run and count one row. The line tells guard.sh how many operations the dump holds. */
static int guard_count(const guard_row *row)
{
    if (guard_open(row->kind) != CELLAR_OK) {
        fprintf(stderr, "guard: %s cannot be opened\n", row->name);
        guard_close();
        return 1;
    }
    guard_make_keys(0);
    for (uint32_t i = 0; i < row->keys && row->before != NULL; i++) {
        (void)row->before(&guard_keys[i]);
    }
    guard_make_keys(row->others);
    if (row->twice) { (void)guard_all(row); }
    CALLGRIND_ZERO_STATS;
    CALLGRIND_TOGGLE_COLLECT;
    const uint32_t right = guard_all(row);
    CALLGRIND_TOGGLE_COLLECT;
    CALLGRIND_DUMP_STATS_AT(row->name);
    guard_close();
    printf("%s %" PRIu32 "\n", row->name, row->ops);
    if (right == row->ops) {
        return 0;
    }
    printf("wrong %s %" PRIu32 "\n", row->name, right);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--key") == 0) {
        struct utsname u;
        printf("%s, glibc %s, %s\n", GUARD_CC, gnu_get_libc_version(),
               uname(&u) == 0 ? u.machine : "unknown");
        return 0;
    }
    memset(guard_value, 0x5A, sizeof guard_value);
    int wrong = 0;
    for (size_t i = 0; i < sizeof guard_rows / sizeof guard_rows[0]; i++) {
        if (argc == 2 && strcmp(argv[1], guard_rows[i].name) != 0) { continue; }
        wrong += guard_count(&guard_rows[i]);
    }
    return wrong != 0;
}
