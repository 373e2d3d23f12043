/* SPDX-License-Identifier: MIT
 *
 * guard: the operations with counted instructions, one dump of callgrind for each.
 *
 * PICTURE    valgrind --tool=callgrind guard -> for each operation: prepare | collect on | N times
 *            | collect off, dump named after it -> guard.sh divides by N, compares with baseline
 * INVARIANTS everything that could differ between two runs is fixed: hash secret, clock (constant),
 *            no maintenance thread, one thread, the same keys in the same order. What is left is
 *            the library's own sampling of latencies: under 0.1 % of the figure.
 * LIMITS     instructions say nothing about locks and memory; the loop around a call (about ten
 *            instructions) is inside the figure.
 * NOT HERE   get_or_load, limiter check: they come with those parts.
 * USE        guard --key   prints what a baseline entry is keyed by. Without callgrind it runs the
 *            operations and checks their answers: exit 1 when one is wrong. */
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
#include "cellar_entry.h"
#include "cellar_l2.h"
#include "cellar_admin.h"
#include "cellar_limit.h"
#include "cellar_lock.h"

#define GUARD_OPS 20000
#define GUARD_KEYS 5000
#define GUARD_VALUE 100
#define GUARD_MANY 32

#if defined(__clang__)
#define GUARD_CC "clang " __clang_version__
#else
#define GUARD_CC "gcc " __VERSION__
#endif

typedef struct guard_key {
    uint64_t word[2];
} guard_key;

static guard_key guard_keys[GUARD_OPS]; /* made before the count begins */
static unsigned char guard_value[GUARD_VALUE];
static uint64_t guard_right; /* answers as expected, of the running operation */

static int64_t guard_clock(void *ctx)
{
    (void)ctx;
    return 1000000;
}

static void guard_make_keys(uint64_t first)
{
    for (uint64_t i = 0; i < GUARD_OPS; i++) {
        const uint64_t id = first + i;
        guard_keys[i].word[0] = (id + 1) * UINT64_C(0x9e3779b97f4a7c15);
        guard_keys[i].word[1] = id;
    }
}

static void guard_get(cellar *c, cellar_err want)
{
    unsigned char buf[GUARD_VALUE];
    for (uint32_t i = 0; i < GUARD_OPS; i++) {
        size_t len;
        const void *key = &guard_keys[i % GUARD_KEYS];
        guard_right += cellar_get(c, key, 16, buf, sizeof buf, &len) == want;
    }
}

static void guard_set(cellar *c, uint32_t keys)
{
    for (uint32_t i = 0; i < GUARD_OPS; i++) {
        guard_right += cellar_set(c, &guard_keys[i % keys], 16, guard_value, GUARD_VALUE, NULL) ==
                       CELLAR_OK;
    }
}

static void guard_del(cellar *c)
{
    for (uint32_t i = 0; i < GUARD_OPS; i++) {
        guard_right += cellar_delete(c, &guard_keys[i], 16) == CELLAR_OK;
    }
}

static void guard_many(cellar *c)
{
    static unsigned char buf[GUARD_MANY][GUARD_VALUE];
    static cellar_get_item item[GUARD_MANY];
    for (uint32_t i = 0; i < GUARD_OPS; i += GUARD_MANY) {
        size_t hits = 0;
        for (uint32_t k = 0; k < GUARD_MANY; k++) {
            item[k] = (cellar_get_item){ &guard_keys[(i + k) % GUARD_KEYS], 16, buf[k],
                                         GUARD_VALUE, 0, CELLAR_OK, 0 };
        }
        cellar_get_many(c, item, GUARD_MANY, &hits);
        guard_right += hits;
    }
}

static void guard_pin(cellar *c)
{
    for (uint32_t i = 0; i < GUARD_OPS; i++) {
        cellar_pinned p;
        guard_right += cellar_pin(c, &guard_keys[i % GUARD_KEYS], 16, &p) == CELLAR_OK;
        cellar_unpin(&p);
    }
}

static void guard_incr(cellar *c)
{
    for (uint32_t i = 0; i < GUARD_OPS; i++) {
        int64_t now;
        guard_right += cellar_increment(c, &guard_keys[i % GUARD_KEYS].word[1], 8, 1, 0, 0, 0,
                                        &now) ==
                       CELLAR_OK;
    }
}

static void guard_lock(cellar_locks *t)
{
    for (uint32_t i = 0; i < GUARD_OPS; i++) {
        cellar_lock lk;
        guard_right += cellar_lock_acquire(t, &guard_keys[0], 16, NULL, &lk) == CELLAR_OK &&
                       cellar_lock_release(t, &lk) == CELLAR_OK;
    }
}

static void guard_start(void)
{
    guard_right = 0;
    CALLGRIND_ZERO_STATS;
    CALLGRIND_TOGGLE_COLLECT;
}

/* End the count. The line tells guard.sh how many operations the dump holds. */
static int guard_end(const char *name)
{
    CALLGRIND_TOGGLE_COLLECT;
    CALLGRIND_DUMP_STATS_AT(name);
    printf("%s %u\n", name, GUARD_OPS);
    if (guard_right == GUARD_OPS) {
        return 0;
    }
    printf("wrong %s %" PRIu64 "\n", name, guard_right);
    return 1;
}

static int guard_all(cellar *c)
{
    int wrong = 0;
    /* The keys of the reads below, stored before the count begins. */
    guard_make_keys(0);
    for (uint32_t i = 0; i < GUARD_KEYS; i++) {
        cellar_set(c, &guard_keys[i], 16, guard_value, GUARD_VALUE, NULL);
        int64_t now;
        cellar_increment(c, &guard_keys[i].word[1], 8, 1, 0, 0, 0, &now);
    }
    guard_start();
    guard_get(c, CELLAR_OK);
    wrong += guard_end("get_hit");
    guard_start();
    guard_set(c, GUARD_KEYS);
    wrong += guard_end("set_in_place");
    guard_start();
    guard_many(c);
    wrong += guard_end("get_many32");
    guard_start();
    guard_pin(c);
    wrong += guard_end("pin_unpin");
    guard_start();
    guard_incr(c);
    wrong += guard_end("incr");
    guard_make_keys(1000000);
    guard_start();
    guard_get(c, CELLAR_MISS);
    wrong += guard_end("get_miss");
    guard_start();
    guard_set(c, GUARD_OPS);
    wrong += guard_end("set_new");
    guard_start();
    guard_del(c);
    wrong += guard_end("del");
    return wrong;
}

static int guard_locks(void)
{
    cellar_locks_config cfg = cellar_locks_config_default();
    cellar_host_opts host = cellar_host_opts_default();
    host.clock = guard_clock;
    cfg.host = &host;
    cfg.fence_start = 1;
    cellar_locks *t;
    if (cellar_locks_open(&cfg, &t) != CELLAR_OK) {
        return 1;
    }
    /* One key: hashes differ between runs, and so do the keys that share a hint. It is taken once
     * before, so that it is in the table. */
    guard_lock(t);
    guard_start();
    guard_lock(t);
    const int wrong = guard_end("lock_release");
    cellar_locks_close(t);
    return wrong;
}

static uint64_t guard_clock_ns(void *ctx)
{
    (void)ctx;
    return UINT64_C(1000000000000);
}

static void guard_check(cellar_limiter *l)
{
    for (int i = 0; i < GUARD_OPS; i++) {
        guard_right += cellar_limiter_check(l, &guard_keys[i % 1000], 16, 1, NULL) == CELLAR_OK;
    }
}

static int guard_limiter(void)
{
    static const uint8_t secret[32] = { 9, 8, 7 };
    const cellar_rule rule = cellar_rule_token_bucket(1000000, CELLAR_SECOND_NS, 1000000);
    cellar_limiter_config cfg = cellar_limiter_config_default();
    cfg.clock_ns = guard_clock_ns;
    cfg.hash_key = secret;
    cellar_limiter *l;
    if (cellar_limiter_open(&cfg, &rule, 1, &l) != CELLAR_OK) {
        return 1;
    }
    guard_check(l); /* the keys are known */
    guard_start();
    guard_check(l);
    const int wrong = guard_end("limit_check");
    cellar_limiter_close(l);
    return wrong;
}

/* The same hit under two policies, in stores that have seen the keys before: the cost that the
 * adaptive policy adds to a hit (guard.sh allows 4). */
static int guard_policy(const cellar_config *like, uint32_t eviction, const char *name)
{
    cellar_config cfg = *like;
    cellar *c;
    cfg.eviction = (cellar_eviction)eviction;
    if (cellar_open(&cfg, &c) != CELLAR_OK) {
        fprintf(stderr, "guard: the store cannot be opened\n");
        return 1;
    }
    guard_make_keys(0);
    guard_set(c, GUARD_KEYS);
    guard_get(c, CELLAR_OK);
    guard_start();
    guard_get(c, CELLAR_OK);
    const int wrong = guard_end(name);
    cellar_close(c);
    return wrong;
}

/* set_in_place over a disk tier without these keys, in the current folder: the cost of the tier for
 * a set. */
static int guard_disk(const cellar_config *like)
{
    static const char *const file[] = { "LOCK", "META.0", "META.1", "SUPER", "bloom.snap",
                                        "data.seg", "index.snap", "stage.buf" };
    cellar_config cfg = *like;
    cellar *c;
    cfg.l2_path = "guard-l2";
    cfg.l2_bytes = 16u << 20;
    cellar_l2_opts disk = cellar_l2_opts_default();
    disk.required = 1;
    cfg.l2 = &disk;
    if (cellar_open(&cfg, &c) != CELLAR_OK) {
        fprintf(stderr, "guard: the store with a disk tier cannot be opened\n");
        return 1;
    }
    guard_make_keys(0);
    guard_set(c, GUARD_KEYS);
    guard_start();
    guard_set(c, GUARD_KEYS);
    const int wrong = guard_end("set_l2");
    cellar_close(c);
    for (size_t i = 0; i < sizeof file / sizeof file[0]; i++) {
        char path[64];
        snprintf(path, sizeof path, "guard-l2/%s", file[i]);
        (void)unlink(path);
    }
    (void)rmdir("guard-l2");
    return wrong;
}

int main(int argc, char **argv)
{
    static const uint8_t secret[32] = { 1, 2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47 };
    if (argc == 2 && strcmp(argv[1], "--key") == 0) {
        struct utsname u;
        printf("%s, glibc %s, %s\n", GUARD_CC, gnu_get_libc_version(),
               uname(&u) == 0 ? u.machine : "unknown");
        return 0;
    }
    memset(guard_value, 0x5A, sizeof guard_value);
    cellar_config cfg = cellar_config_default();
    cfg.memory_bytes = 64u << 20;
    cellar_host_opts host = cellar_host_opts_default();
    cellar_tuning_opts tuning = cellar_tuning_opts_default();
    host.no_threads = 1;
    host.clock = guard_clock;
    tuning.hash_key = secret;
    cfg.host = &host;
    cfg.tuning = &tuning;
    cellar *c;
    if (cellar_open(&cfg, &c) != CELLAR_OK) {
        fprintf(stderr, "guard: the store cannot be opened\n");
        return 1;
    }
    int wrong = guard_all(c) + guard_locks() + guard_limiter();
    cellar_close(c);
    wrong += guard_policy(&cfg, CELLAR_EVICT_ADAPTIVE, "get_hit_adaptive");
    wrong += guard_policy(&cfg, CELLAR_EVICT_S3FIFO, "get_hit_s3fifo") +
             guard_disk(&cfg);
    return wrong != 0;
}
