/* SPDX-License-Identifier: MIT
 *
 * log_kit: a store of 12 segments of 64 KiB on the in-memory disk of l2_dev.h, and what became of
 * its keys. DEV_WRITES is set before. */
#ifndef TESTS_LOG_KIT_H
#define TESTS_LOG_KIT_H

#include "base/num.h"
#include "l2/l2.h"
#include "l2/types.h"
#include "tests/support/l2_dev.h"
#include "tests/support/t.h"

#define KEYS 60u
#define MOST_CHANGES 16000u
#define GENERATION 3u /* of a new store */
#define BYTES 300u /* most of a value */
#define LEAST 100u /* least of one */
#define LEAST_RECORD 128u

typedef struct change { uint32_t key, version; } change; /* version 0: deleted */

static l2_dev dev __attribute__((unused)), other __attribute__((unused));
static base_account account;
static base_log lines;
static base_clock clock_now;
static base_vfs vfs;
static l2_config cfg;
static l2 *d;
static int64_t ms = 1000000; /* of the store's clock */
static uint32_t generation_now; /* of the namespace */
static bool same_size; /* of all values */
static int64_t wall_first_ms; /* of the wall clock at ms 0 */
static change history[MOST_CHANGES];
static bool within[MOST_CHANGES]; /* in history: the next one belongs to the same change */
static uint32_t changes; /* in history; the last one may not have returned */
static uint32_t ensured; /* so many of them no kill takes back */
static uint32_t synced;  /* and no power cut */
static uint32_t last[KEYS]; /* version of a key, which is its number in history; 0: none */
static const unsigned char secret[32] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 };

T_INLINE int64_t now_ms(void *ctx) { (void)ctx; return ms; }

T_INLINE int64_t wall_ms(void *ctx) { (void)ctx; return wall_first_ms + ms; }

static void nothing_is_left(void) { T_EQ_U64(base_live_blocks(), 0); }
T_AFTER_EACH(nothing_is_left);

T_INLINE void begin(l2_level level)
{
    base_account_init(&account, UINT64_C(1) << 40, NULL);
    clock_now = (base_clock){ now_ms, now_ms, NULL };
    base_log_init(&lines, &clock_now, NULL, NULL, BASE_LOG_OFF);
    cfg = (l2_config){ .account = &account, .log = &lines, .clock = &clock_now, .path = "d",
                       .bytes = 65536 * 12, .memory_bytes = 1 << 20, .seg_bytes = 65536,
                       .seg_count = 12, .secret = secret, .no_thread = true, .wall_ms = wall_ms,
                       .level = level, .move_pct = 50, .off_damaged_pct = 100 };
    wall_first_ms = INT64_C(1700000000000);
    ms = 1000000;
    changes = ensured = synced = 0;
    memset(last, 0, sizeof last);
    memset(within, 0, sizeof within);
    generation_now = GENERATION;
}

/* Open the store on a disk. Return the code. */
T_INLINE cellar_err open_may_fail(l2_dev *on)
{
    int e = 0;
    on->locked = false;
    vfs = l2_dev_vfs(on);
    cfg.vfs = &vfs;
    const cellar_err err = l2_open(&cfg, &d, &e);
    if (err != CELLAR_OK && on->fail_at == 0) { printf("# open: %d, errno %d\n", (int)err, e); }
    return err;
}

T_INLINE void open_on(l2_dev *on)
{
    T_REQUIRE(open_may_fail(on) == CELLAR_OK);
    l2_namespace ns = { .id = 1, .generation = GENERATION };
    if (!l2_namespace_find(d, "all", 3, &ns)) {
        T_EQ_I64(l2_namespace_set(d, &ns, "all", 3, NULL), CELLAR_OK);
    }
    generation_now = (uint32_t)ns.generation;
}

T_INLINE l2_key key_of(const uint32_t *i)
{
    return (l2_key){ i, sizeof *i, generation_now,
                     base_hash(l2_hash_key(d), generation_now, i, sizeof *i) };
}

T_INLINE void end_one(uint32_t i)
{
    const l2_key k = key_of(&i);
    l2_invalidate(d, &k);
}

T_INLINE size_t bytes_of(uint32_t i, uint32_t v)
{
    if (same_size) { return LEAST; }
    return LEAST + (i * 37u + v * 101u) % (BYTES - LEAST);
}

T_INLINE cellar_err put_once(uint32_t i, uint32_t v, bool durable)
{
    unsigned char buf[BYTES];
    const l2_key k = key_of(&i);
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = v, .durable = durable };
    memset(buf, (int)(i + v), sizeof buf);
    return l2_put(d, &k, buf, bytes_of(i, v), &m, NULL);
}

/* Put a version of a key until there is room. Return the code. */
T_INLINE cellar_err put_key(uint32_t i, uint32_t v, bool durable)
{
    cellar_err err = put_once(i, v, durable);
    for (int n = 0; err == CELLAR_DROPPED && n < 100; n++) {
        (void)l2_tick(d, 0);
        err = put_once(i, v, durable);
    }
    return err;
}

/* Change a key. What replaces a value is ensured, and all before it: it is one log. */
T_INLINE void change_key(uint32_t i, bool ends, bool durable)
{
    const uint32_t v = ends ? 0 : changes + 1;
    const l2_key k = key_of(&i);
    if (changes == MOST_CHANGES) { return; }
    const bool replaces = last[i] != 0;
    history[changes++] = (change){ i, v };
    if (ends) {
        l2_invalidate(d, &k);
    } else {
        T_REQUIRE(put_key(i, v, durable) == CELLAR_OK);
    }
    last[i] = ends ? 0 : changes;
    if (replaces || (durable && !ends)) { ensured = changes; }
}

/* Return the version that is served; 0: none. */
T_INLINE uint32_t look(uint32_t i)
{
    unsigned char buf[BYTES];
    const l2_key k = key_of(&i);
    size_t n = 0;
    l2_meta m;
    if (l2_get(d, &k, buf, sizeof buf, &n, &m) != CELLAR_OK) { return 0; }
    T_EQ_U64(n, bytes_of(i, m.user_flags));
    T_CHECK(n > 0 && buf[0] == (unsigned char)(i + m.user_flags));
    return m.user_flags;
}

/* Find the number of changes of the state that is served; UINT32_MAX: of no moment since `from`. */
T_INLINE uint32_t moment(uint32_t from)
{
    uint32_t state[KEYS] = { 0 }, seen[KEYS], wrong = 0;
    for (uint32_t i = 0; i < KEYS; i++) { wrong += (seen[i] = look(i)) != 0; }
    for (uint32_t n = 0;; n++) {
        if (wrong == 0 && n >= from && (n == 0 || !within[n - 1])) { return n; }
        if (n == changes) { return UINT32_MAX; }
        const change *c = &history[n];
        wrong -= state[c->key] != seen[c->key];
        state[c->key] = c->version;
        wrong += state[c->key] != seen[c->key];
    }
}

/* Continue with the state of a moment. */
T_INLINE void state_is(uint32_t at)
{
    changes = ensured = synced = at;
    memset(last, 0, sizeof last);
    for (uint32_t n = 0; n < at; n++) { last[history[n].key] = history[n].version; }
}

#endif
