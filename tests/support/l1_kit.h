/* SPDX-License-Identifier: MIT
 *
 * l1_kit: shared parts of the L1 tests: a store with a virtual clock, keys by number, values that
 * describe themselves, a random stream, threads.
 *
 * PICTURE    kit { account -> hash key -> clock -> l1 }; kit_open .. kit_close. kit_close audits
 *            the store, closes it and checks that no byte stays charged.
 * CLOCK      Virtual: only a test moves k.clock.now_ms. The coarse reading lags by up to lag_ms,
 *            drawn for each reading, and never runs backwards. kit_real_clock selects the clock of
 *            the system.
 * VALUES     kit_fill: every 8-byte word encodes {key, sequence, place}. kit_whole finds a byte of
 *            another value anywhere. Below 8 bytes all bytes are equal.
 * SCALE      T_SCALE=n multiplies the work. Sanitizer builds do an eighth, ThreadSanitizer a 24th,
 *            valgrind and qemu a 20th of it. T_SHARE=n divides it by n. */
#ifndef CELLAR_TESTS_L1_KIT_H
#define CELLAR_TESTS_L1_KIT_H

#include "tests/support/t.h"

#include <math.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/sync.h"
#include "l1/l1.h"
#include "tests/support/l1_calls.h"

#define KIT_KIB(n) ((uint64_t)(n) << 10)
#define KIT_MIB(n) ((uint64_t)(n) << 20)
#define KIT_START_MS INT64_C(1000000000)

#define KIT_SLOW ((unsigned)T_COST)

T_INLINE uint64_t kit_scale(uint64_t n)
{
    return t_share(BASE_MAX(n * BASE_MAX(t_env_u64("T_SCALE", 1), 1) / KIT_SLOW / t_patience(), 1));
}

/* Scale work that must not shrink in slow builds. */
T_INLINE uint64_t kit_full(uint64_t n) { return n * BASE_MAX(t_env_u64("T_SCALE", 1), 1); }

/* ---- random: splitmix64, so that a run depends only on its seed ------------------------------ */
typedef struct kit_rng { uint64_t s; } kit_rng;

T_INLINE uint64_t kit_mix(uint64_t x)
{
    x ^= x >> 30;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 27;
    x *= UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}
T_INLINE uint64_t kit_next(kit_rng *r) { return kit_mix(r->s += UINT64_C(0x9e3779b97f4a7c15)); }
T_INLINE uint64_t kit_below(kit_rng *r, uint64_t n) { return (kit_next(r) >> 32) * n >> 32; }
T_INLINE bool kit_one_in(kit_rng *r, uint64_t n) { return kit_below(r, n) == 0; }

/* Zipf distribution by the inverse of its sums: number i with weight 1 / (i + 1)^theta. The guide
 * holds the start of the search for each 4096th of the total. A draw then takes a few steps in a
 * line or two, instead of a search through a table larger than any cache. */
enum { KIT_ZIPF_PARTS = 4096 };
typedef struct kit_zipf {
    double *sum; /* of the first i + 1; reused by the next distribution */
    uint32_t n, guide[KIT_ZIPF_PARTS + 1];
} kit_zipf;

T_INLINE void kit_zipf_open(kit_zipf *z, uint32_t n, double theta)
{
    z->sum = realloc(z->sum, n * sizeof *z->sum);
    T_REQUIRE(z->sum != NULL);
    double sum = 0;
    z->n = n;
    for (uint32_t i = 0; i < n; i++) { z->sum[i] = sum += 1 / pow(i + 1, theta); }
    for (uint32_t part = 0, i = 0; part <= KIT_ZIPF_PARTS; part++) {
        while (i < n - 1 && z->sum[i] < part / (double)KIT_ZIPF_PARTS * sum) { i++; }
        z->guide[part] = i;
    }
}

T_INLINE uint32_t kit_zipf_draw(const kit_zipf *z, kit_rng *r)
{
    const double u = (double)(kit_next(r) >> 11) / (double)(UINT64_C(1) << 53);
    const uint32_t part = (uint32_t)(u * KIT_ZIPF_PARTS);
    uint32_t low = z->guide[part], high = z->guide[part + 1];
    while (low < high) {
        const uint32_t mid = (low + high) / 2;
        if (z->sum[mid] < u * z->sum[z->n - 1]) { low = mid + 1; } else { high = mid; }
    }
    return low;
}

/* ---- clock ----------------------------------------------------------------------------------- */
typedef struct kit_clock {
    _Atomic int64_t now_ms;
    _Atomic int64_t coarse_ms; /* highest coarse reading so far */
    _Atomic int64_t lag_ms;    /* largest lag of the coarse clock */
    _Atomic uint64_t draws;
} kit_clock;

T_INLINE int64_t kit_precise(void *ctx) { kit_clock *c = ctx; return atomic_load(&c->now_ms); }
T_INLINE int64_t kit_coarse(void *ctx)
{
    kit_clock *c = ctx;
    int64_t now = atomic_load(&c->now_ms),
    lag = atomic_load_explicit(&c->lag_ms, memory_order_relaxed);
    if (lag == 0) { return now; }
    uint64_t draw = atomic_fetch_add_explicit(&c->draws, 1, memory_order_relaxed);
    int64_t at = now - (int64_t)(kit_mix(draw) % (uint64_t)(lag + 1));
    int64_t seen = atomic_load(&c->coarse_ms);
    while (seen < at && !atomic_compare_exchange_weak(&c->coarse_ms, &seen, at)) { }
    return seen < at ? at : seen;
}

/* ---- a store --------------------------------------------------------------------------------- */
typedef struct kit {
    base_account account;
    base_hash_key hash_key;
    kit_clock clock;
    base_clock base;
    l1 *c;
} kit;

T_INLINE void kit_init(kit *k, uint64_t budget, uint64_t seed)
{
    unsigned char secret[32];
    kit_rng r = {seed};
    memset(k, 0, sizeof *k);
    base_account_init(&k->account, budget, NULL);
    for (size_t i = 0; i < sizeof secret; i++) { secret[i] = (unsigned char)kit_next(&r); }
    base_hash_key_init(&k->hash_key, BASE_HASH_FOLD, secret);
    atomic_store(&k->clock.now_ms, KIT_START_MS);
    k->base = (base_clock){.precise_ms = kit_precise, .coarse_ms = kit_coarse, .ctx = &k->clock};
    base_rng_seed(&base_thread_self()->rng, seed); /* decides from which stripe a set steals */
}

T_INLINE void kit_real_clock(kit *k) { k->base = (base_clock){NULL, NULL, NULL}; }

/* Open a store. cfg may be NULL; account, hash_key and clock come from the kit. */
T_INLINE cellar_err kit_try_open(kit *k, const l1_config *cfg)
{
    l1_config full = {0};
    if (cfg != NULL) { full = *cfg; }
    full.account = &k->account;
    full.hash_key = &k->hash_key;
    full.clock = &k->base;
    return l1_open(&full, &k->c);
}

T_INLINE void kit_open(kit *k, uint64_t budget, const l1_config *cfg)
{
    kit_init(k, budget, t_seed());
    T_REQUIRE(kit_try_open(k, cfg) == CELLAR_OK);
}

T_INLINE uint64_t kit_used(const kit *k) { return base_load_rlx(&k->account.used); }

T_INLINE bool kit_audit(kit *k)
{
    const char *wrong = l1_audit(k->c);
    return T_EQ_STR(wrong, NULL);
}

T_INLINE void kit_close(kit *k)
{
    kit_audit(k);
    l1_close(k->c);
    k->c = NULL;
    for (unsigned m = 0; m < BASE_MOD_COUNT; m++) {
        T_EQ_U64(base_load_rlx(&k->account.by_module[m]), 0);
    }
    T_EQ_U64(kit_used(k), 0);
}

T_INLINE void kit_forward(kit *k, int64_t ms) { atomic_fetch_add(&k->clock.now_ms, ms); }
T_INLINE int64_t kit_now(kit *k) { return base_now_ms(&k->base); }

T_INLINE l1_stats kit_stats(kit *k)
{
    l1_stats s;
    l1_stats_get(k->c, &s);
    return s;
}

/* ---- keys: 16 bytes of text from a number ---------------------------------------------------- */
typedef struct kit_key {
    l1_key key;
    char text[24];
} kit_key;

T_INLINE const l1_key *kit_key_bytes(const kit *k, kit_key *out, uint32_t generation,
                                     const void *bytes, uint32_t len)
{
    out->key = (l1_key){.bytes = bytes, .len = len, .generation = generation,
                        .hash = base_hash(&k->hash_key, generation, bytes, len)};
    return &out->key;
}

T_INLINE const l1_key *kit_key_of(const kit *k, kit_key *out, uint32_t generation, uint64_t id)
{
    static const char digit[] = "0123456789abcdef";
    for (unsigned i = 0; i < 16; i++) { out->text[i] = digit[id >> (60 - 4 * i) & 15u]; }
    return kit_key_bytes(k, out, generation, out->text, 16);
}

/* Pin as cellar_pin does: on the short path, else any record. */
T_INLINE cellar_err kit_pin(l1 *c, const l1_key *k, l1_pin_ref *out, unsigned flags)
{
    const base_thread_record *self = base_thread_self();
    if ((flags & L1_PEEK) == 0 &&
        l1_pin_hit(c, self, k->bytes, k->len, k->generation, k->hash, out)) {
        return CELLAR_OK;
    }
    return l1_pin(c, k, out, flags);
}

T_INLINE uint64_t kit_id_of(const void *key, size_t len)
{
    uint64_t id = 0;
    for (size_t i = 0; i < len && i < 16; i++) {
        unsigned char ch = ((const unsigned char *)key)[i];
        id = id << 4 | (uint64_t)(ch <= '9' ? ch - '0' : ch - 'a' + 10);
    }
    return id;
}

/* ---- values ---------------------------------------------------------------------------------- */
T_INLINE uint64_t kit_word(uint64_t id, uint64_t seq, size_t at)
{
    return (id << 40 ^ (seq & UINT64_C(0xffffffffff)))
        + (uint64_t)at * UINT64_C(0x9e3779b97f4a7c15);
}

T_INLINE void kit_fill(void *buf, size_t len, uint64_t id, uint64_t seq)
{
    unsigned char *p = buf;
    if (len < 8) {
        memset(p, (int)((seq * 31 + id) & 255u), len);
        return;
    }
    size_t at = 0; /* copy whole words apart: a copy of a fixed size is no call */
    for (; len - at >= 8; at += 8) {
        const uint64_t w = kit_word(id, seq, at / 8);
        memcpy(p + at, &w, 8);
    }
    const uint64_t w = kit_word(id, seq, at / 8);
    memcpy(p + at, &w, len - at);
}

/* Return whether all bytes are one value of key `id`. *seq: its sequence (unset below 8 bytes). */
T_INLINE bool kit_whole(const void *buf, size_t len, uint64_t id, uint64_t *seq)
{
    const unsigned char *p = buf;
    if (len < 8) {
        for (size_t i = 1; i < len; i++) {
            if (p[i] != p[0]) { return false; }
        }
        return true;
    }
    uint64_t first;
    memcpy(&first, p, 8);
    if ((first ^ id << 40) >> 40 != 0) { return false; }
    *seq = first & UINT64_C(0xffffffffff);
    size_t at = 8;
    for (; len - at >= 8; at += 8) {
        uint64_t got;
        memcpy(&got, p + at, 8);
        if (got != kit_word(id, *seq, at / 8)) { return false; }
    }
    const uint64_t w = kit_word(id, *seq, at / 8);
    return memcmp(p + at, &w, len - at) == 0;
}

T_INLINE bool kit_is(const void *buf, size_t len, uint64_t id, uint64_t seq)
{
    const unsigned char *p = buf;
    if (len < 8) {
        for (size_t i = 0; i < len; i++) {
            if (p[i] != (unsigned char)(seq * 31 + id)) { return false; }
        }
        return true;
    }
    uint64_t found = 0;
    return kit_whole(buf, len, id, &found) && found == (seq & UINT64_C(0xffffffffff));
}

/* ---- short forms ----------------------------------------------------------------------------- */
T_INLINE cellar_err kit_put_until(kit *k, uint32_t generation, uint64_t id, uint64_t seq,
                                  size_t len, int64_t deadline_ms)
{
    unsigned char small[4096];
    unsigned char *v = len <= sizeof small ? small : malloc(len);
    kit_key key;
    T_REQUIRE(v != NULL);
    kit_fill(v, len, id, seq);
    l1_put_spec p =
        {.value = v, .value_len = len, .deadline_ms = deadline_ms, .change = L1_CHANGE_SET};
    cellar_err err = l1_put(k->c, kit_key_of(k, &key, generation, id), &p);
    if (v != small) { free(v); }
    return err;
}

T_INLINE cellar_err kit_put(kit *k, uint64_t id, uint64_t seq, size_t len)
{
    return kit_put_until(k, 0, id, seq, len, BASE_NEVER_MS);
}

T_INLINE cellar_err kit_get(kit *k, uint64_t id, void *buf, size_t cap, size_t *len)
{
    kit_key key;
    return l1_get(k->c, kit_key_of(k, &key, 0, id), buf, cap, len, 0);
}

/* Make an item; `key` and `buf` belong to the caller. */
T_INLINE cellar_get_item kit_item(const kit_key *key, void *buf, size_t cap)
{
    return (cellar_get_item){key->key.bytes, key->key.len, buf, cap, 0, CELLAR_E_INVAL, 0};
}

/* Get n <= 32 items of generation 0, a few of them by either call. */
T_INLINE void kit_get_many(kit *k, cellar_get_item *item, size_t n, unsigned flags)
{
    const uint32_t all = n < 32 ? (1u << n) - 1 : UINT32_MAX;
    static _Atomic unsigned turn;
    const bool few = n <= 2 && flags == 0 && atomic_fetch_add(&turn, 1) % 2 == 0;
    uint32_t none = 0;
    const uint32_t hits = few ? l1_get_few(k->c, 0, item, (uint32_t)n, &none)
                              : l1_get_many(k->c, 0, item, (uint32_t)n, all, flags, &none);
    for (uint32_t i = 0; i < n; i++) {
        T_CHECK((hits >> i & 1u) == 0 || item[i].status == CELLAR_OK);
        T_CHECK((none >> i & 1u) == 0 || item[i].status == CELLAR_MISS);
    }
}

T_INLINE cellar_err kit_del(kit *k, uint64_t id)
{
    kit_key key;
    return l1_del(k->c, kit_key_of(k, &key, 0, id), NULL);
}

/* Return whether the key has a value, without a use. */
T_INLINE bool kit_has(kit *k, uint64_t id)
{
    kit_key key;
    l1_info info;
    return l1_inspect(k->c, kit_key_of(k, &key, 0, id), NULL, 0, &info, L1_PEEK) == CELLAR_OK;
}

/* ---- threads --------------------------------------------------------------------------------- */
#define KIT_THREADS_MAX 32
typedef struct kit_team {
    base_thread t[KIT_THREADS_MAX];
    unsigned n;
} kit_team;

T_INLINE void kit_start(kit_team *team, void (*fn)(void *), void *arg)
{
    T_REQUIRE(team->n < KIT_THREADS_MAX);
    T_REQUIRE(base_thread_start(&team->t[team->n], fn, arg, "kit", 0) == 0);
    team->n++;
}
T_INLINE void kit_join(kit_team *team)
{
    for (unsigned i = 0; i < team->n; i++) { base_thread_join(&team->t[i]); }
    team->n = 0;
}

/* Return the end of a storm of `ms` milliseconds, scaled to this run. */
T_INLINE uint64_t kit_deadline_ns(uint64_t ms)
{
    return base_now_ns() + t_share(ms * t_env_u64("T_SCALE", 1)) * 1000000;
}
T_INLINE bool kit_time_left(uint64_t deadline_ns) { return base_now_ns() < deadline_ns; }

/* Return the bytes of resident memory of this process. */
T_INLINE uint64_t kit_rss_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    unsigned long size = 0, resident = 0;
    if (f == NULL) { return 0; }
    int got = fscanf(f, "%lu %lu", &size, &resident);
    fclose(f);
    return got == 2 ? (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

#endif
