/* SPDX-License-Identifier: MIT
 *
 * Aim:    An added key is never denied, through overfill, rebuild, doubt and images. False positives
 *         stay within 1.1 times the requested rate. The memory of a filter is charged and returned.
 * Method: Keys are numbers hashed with a fixed key; even ones are added, odd ones are probed.
 *         100,000,000 probes of added keys, or the number that one second allows; BLOOM_PROBES=n
 *         runs n. */
#include "tests/support/t.h"

#include <pthread.h>
#include <sched.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/num.h"
#include "bloom/filter.h"

static base_account account;
static base_hash_key hash_key;

static void fresh_account(uint64_t limit)
{
    static const unsigned char secret[32] = { 7, 1, 3, 250, 9 };
    base_account_init(&account, limit, NULL);
    base_hash_key_init(&hash_key, BASE_HASH_FOLD, secret);
}

static uint64_t hash_of(uint64_t n) { return base_hash(&hash_key, 1, &n, sizeof n); }

/* Make a filter that is off. limit: the budget. */
static bloom *make_bloom(uint64_t limit)
{
    fresh_account(limit);
    bloom *b = bloom_create(&account);
    T_REQUIRE(b != NULL);
    return b;
}

static bloom *open_bloom(uint64_t expected, double fpp)
{
    bloom *b = make_bloom((uint64_t)4 << 30);
    T_EQ_I64(bloom_open(b, expected, fpp), CELLAR_OK);
    return b;
}

static void close_bloom(bloom *b)
{
    const char *why = bloom_audit(b);
    if (why != NULL) { T_EQ_STR(why, ""); }
    bloom_destroy(b);
    T_EQ_U64(base_load_rlx(&account.used), 0);
}

static uint64_t begin_fill(bloom *b, uint64_t expected, double fpp)
{
    uint64_t fill = 0;
    T_EQ_I64(bloom_fill_begin(b, expected, fpp, &fill), CELLAR_OK);
    return fill;
}

static cellar_bloom_info figures(const bloom *b)
{
    cellar_bloom_info f;
    bloom_figures_get(b, &f);
    return f;
}

/* Fill the filter with no more keys, in a set of the same size. */
static void fill_and_believe(bloom *b)
{
    const cellar_bloom_info f = figures(b);
    const uint64_t fill = begin_fill(b, f.expected_keys, f.false_positive_rate);
    T_EQ_I64(bloom_fill_end(b, fill, CELLAR_OK), CELLAR_OK);
}

static uint64_t denied(const bloom *b, uint64_t first, uint64_t count, uint64_t step)
{
    uint64_t n = 0;
    for (uint64_t i = 0; i < count; i++) {
        n += bloom_ask(b, hash_of(first + i * step)) != BLOOM_MAYBE;
    }
    return n;
}

/* ---- states ---- */

T_CASE(filter_without_authority_never_decides)
{
    bloom *b = make_bloom((uint64_t)1 << 30);
    T_EQ_U64(bloom_state_of(b), CELLAR_BLOOM_OFF);
    bloom_add(b, hash_of(1)); /* no filter is open */
    T_EQ_U64(bloom_ask(b, hash_of(1)), BLOOM_MAYBE);
    uint64_t fill = 0;
    T_EQ_I64(bloom_fill_begin(b, 1000, 0.01, &fill), CELLAR_E_INVAL);
    T_EQ_I64(bloom_open(b, 1000, 0.01), CELLAR_OK);
    T_EQ_U64(bloom_ask(b, hash_of(1)), BLOOM_WOULD);
    bloom_add(b, hash_of(1));
    T_EQ_U64(bloom_ask(b, hash_of(1)), BLOOM_MAYBE);
    close_bloom(b);
}

#define BLOOM(fn) T_WITH(fn, bloom *b, b, open_bloom(1000, 0.01), close_bloom(b))

T_CASE_ON(fill_needs_keys_added_since_open, BLOOM)
{
    uint64_t fill = begin_fill(b, 1000, 0.01);
    bloom_off(b);
    T_EQ_I64(bloom_open(b, 1000, 0.01), CELLAR_OK); /* it lacks the keys of the fill */
    T_EQ_I64(bloom_fill_end(b, fill, CELLAR_OK), CELLAR_E_BUSY);
    T_EQ_U64(bloom_state_of(b), CELLAR_BLOOM_OBSERVING);
    fill = begin_fill(b, 1000, 0.01);
    T_EQ_I64(bloom_fill_end(b, fill, CELLAR_E_IO), CELLAR_E_IO);
    T_EQ_U64(bloom_state_of(b), CELLAR_BLOOM_OBSERVING);
    T_EQ_I64(bloom_open(b, 2000, 0.01), CELLAR_OK); /* it is open: nothing changes */
    T_EQ_U64(figures(b).expected_keys, 1000);
    fill_and_believe(b);
    T_EQ_U64(bloom_state_of(b), CELLAR_BLOOM_AUTHORITATIVE);
    T_EQ_U64(bloom_ask(b, hash_of(1)), BLOOM_NEVER);
}

/* A set that only observes is filled itself; any other fill has a second set. */
T_CASE_ON(fill_opens_a_second_set_when_it_must, BLOOM)
{
    uint64_t fill = begin_fill(b, 1000, 0.01);
    T_CHECK(!figures(b).filling);
    T_EQ_I64(bloom_fill_end(b, fill, CELLAR_OK), CELLAR_OK);
    const struct { uint64_t expected; double fpp; } to[] = { { 1000, 0.01 }, { 2000, 0.01 },
                                                             { 2000, 0.001 } };
    for (size_t i = 0; i < sizeof to / sizeof to[0]; i++) {
        bloom_add(b, hash_of(1));
        fill = begin_fill(b, to[i].expected, to[i].fpp);
        T_CHECK(figures(b).filling);
        T_EQ_U64(bloom_ask(b, hash_of(1)), BLOOM_MAYBE);
        T_EQ_U64(bloom_ask(b, hash_of(2)), BLOOM_NEVER);
        T_EQ_I64(bloom_fill_end(b, fill, CELLAR_OK), CELLAR_OK);
        T_EQ_U64(figures(b).expected_keys, to[i].expected);
        T_EQ_U64(bloom_ask(b, hash_of(1)), BLOOM_NEVER); /* the new set has no key of the old one */
    }
    T_CHECK(bloom_distrust(b, CELLAR_BLOOM_DOUBT_FOUND));
    (void)begin_fill(b, 3000, 0.001); /* never ended: of the parent of a forked child */
    fill = begin_fill(b, 2000, 0.001);
    T_CHECK(!figures(b).filling);
    T_EQ_I64(bloom_fill_end(b, fill, CELLAR_OK), CELLAR_OK);
}

T_CASE_ON(doubt_ends_authority_and_discards_feed, BLOOM)
{
    T_CHECK(!bloom_distrust(b, CELLAR_BLOOM_DOUBT_FOUND)); /* it has no authority yet */
    fill_and_believe(b);
    const uint64_t fill = begin_fill(b, 1000, 0.01);
    T_CHECK(bloom_distrust(b, CELLAR_BLOOM_DOUBT_FOUND));
    T_CHECK(!bloom_distrust(b, CELLAR_BLOOM_DOUBT_FOUND));
    T_EQ_U64(bloom_ask(b, hash_of(1)), BLOOM_WOULD);
    T_EQ_U64(figures(b).doubt, CELLAR_BLOOM_DOUBT_FOUND);
    T_EQ_I64(bloom_fill_end(b, fill, CELLAR_OK), CELLAR_E_BUSY);
    T_CHECK(!figures(b).filling);
    fill_and_believe(b);
    T_EQ_U64(figures(b).doubt, CELLAR_BLOOM_DOUBT_NONE);
    T_EQ_U64(figures(b).state, CELLAR_BLOOM_AUTHORITATIVE);
}

T_CASE(filter_of_bad_size_is_refused)
{
    bloom *b = make_bloom((uint64_t)1 << 30);
    const uint64_t used = base_load_rlx(&account.used);
    const double zero = 0.0;
    T_EQ_I64(bloom_open(b, 0, 0.01), CELLAR_E_INVAL);
    T_EQ_I64(bloom_open(b, BLOOM_KEYS_MAX + 1, 0.01), CELLAR_E_INVAL);
    T_EQ_I64(bloom_open(b, 10, 0.0), CELLAR_E_INVAL);
    T_EQ_I64(bloom_open(b, 10, -1.0), CELLAR_E_INVAL);
    T_EQ_I64(bloom_open(b, 10, 0.51), CELLAR_E_INVAL);
    T_EQ_I64(bloom_open(b, 10, 0.00009), CELLAR_E_INVAL);
    T_EQ_I64(bloom_open(b, 10, zero / zero), CELLAR_E_INVAL);
    /* where so much address space is no longer free, that is told first */
    const cellar_err err = bloom_open(b, BLOOM_KEYS_MAX, 0.01);
    T_CHECK(err == CELLAR_E_NOMEM || err == CELLAR_E_SPACE);
    T_EQ_U64(bloom_state_of(b), CELLAR_BLOOM_OFF);
    T_CHECK(base_load_rlx(&account.used) <= used + 256); /* a slab's record may stay for later */
    close_bloom(b);
}

/* ---- the rate ---- */

static double rate_of(bloom *b, uint64_t n, uint64_t asked)
{
    for (uint64_t i = 0; i < n; i++) { bloom_add(b, hash_of(2 * i)); }
    T_EQ_U64(denied(b, 0, n, 2), 0);
    return 1.0 - (double)denied(b, 1, asked, 2) / (double)asked;
}

T_ALONE(false_positive_rate_holds_for_all_sizes)
{
    static const uint64_t sizes[] = { 1, 10, 100, 1000, 10000, 100000, 1000000 };
    static const double rates[] = { 0.05, 0.01, 0.005, 0.001, 0.0001 };
    /* the others take minutes under TSan */
    const size_t most = sizeof sizes / sizeof sizes[0] - (BASE_TSAN ? 1 : 0);
    for (size_t i = 0; i < most; i++) {
        for (size_t j = 0; j < sizeof rates / sizeof rates[0]; j++) {
            bloom *b = open_bloom(sizes[i], rates[j]);
            const uint64_t asked = sizes[i] == 1000000 ? t_share(1000000) : 200000;
            const double got = rate_of(b, sizes[i], asked);
            T_CHECK(!figures(b).outgrown);
            /* 1.1 times, and four sigma of the drawn count */
            const double hits = rates[j] * (double)asked;
            double sigma = hits;
            for (int k = 0; k < 40; k++) { sigma = (sigma + hits / sigma) / 2; }
            if (!T_CHECK(got * (double)asked <= 1.1 * hits + 4 * sigma)) {
                printf("# n %" PRIu64 ", wanted %g, got %g\n", sizes[i], rates[j], got);
            }
            if (sizes[i] == 1000000) {
                printf("# n 10^6, rate %g: %.3f x, %.2f bits a key\n", rates[j],
                       got / rates[j], (double)figures(b).bytes * 8 / (double)sizes[i]);
            }
            close_bloom(b);
        }
    }
}

/* Add the keys from (times - 1) to `times` the expected ones. Check the rate. */
static void overfill(bloom *b, uint64_t expected, uint64_t times, double most)
{
    for (uint64_t n = (times - 1) * expected; n < times * expected; n++) {
        bloom_add(b, hash_of(2 * n));
    }
    T_EQ_U64(figures(b).outgrown, times > 1);
    if (times < 4) { T_EQ_U64(figures(b).state, CELLAR_BLOOM_AUTHORITATIVE); }
    T_EQ_U64(denied(b, 0, times * expected, 2), 0);
    const double got = 1.0 - (double)denied(b, 1, 200000, 2) / 200000.0;
    T_CHECK(got <= most);
    printf("# %" PRIu64 " times the expected keys: rate %.4f\n", times, got);
}

/* The rates of cellar_bloom.h, at most 1.1 times. */
T_ALONE(outgrown_filter_keeps_every_key_until_rebuild)
{
    enum { EXPECTED = 100000 };
    bloom *b = open_bloom(EXPECTED, 0.01);
    fill_and_believe(b);
    overfill(b, EXPECTED, 1, 0.011);
    overfill(b, EXPECTED, 2, 0.132);
    overfill(b, EXPECTED, 3, 0.385);
    overfill(b, EXPECTED, 4, 0.627);
    for (uint64_t n = 4 * EXPECTED; n < 6 * EXPECTED; n++) { bloom_add(b, hash_of(2 * n)); }
    T_EQ_U64(figures(b).state, CELLAR_BLOOM_OBSERVING);
    T_EQ_U64(figures(b).doubt, CELLAR_BLOOM_DOUBT_FULL);
    T_EQ_U64(denied(b, 0, 6 * EXPECTED, 2), 0);
    uint64_t fill = begin_fill(b, EXPECTED, 0.01);
    for (uint64_t n = 0; n < 6 * EXPECTED; n++) { bloom_add(b, hash_of(2 * n)); }
    /* it would reach a doubt immediately */
    T_EQ_I64(bloom_fill_end(b, fill, CELLAR_OK), CELLAR_E_LIMIT);
    fill = begin_fill(b, 800000, 0.01);
    for (uint64_t n = 0; n < 6 * EXPECTED; n++) { bloom_add(b, hash_of(2 * n)); }
    T_EQ_I64(bloom_fill_end(b, fill, CELLAR_OK), CELLAR_OK);
    T_EQ_U64(denied(b, 0, 6 * EXPECTED, 2), 0);
    T_CHECK(1.0 - (double)denied(b, 1, 400000, 2) / 400000.0 <= 0.011);
    T_CHECK(!figures(b).outgrown);
    T_EQ_U64(bloom_state_of(b), CELLAR_BLOOM_AUTHORITATIVE);
    /* A second filter that is too small is refused and freed; the first one continues; a third may
     * open. */
    fill = begin_fill(b, 100, 0.01);
    for (uint64_t n = 0; n < 5000; n++) { bloom_add(b, hash_of(2 * n)); }
    T_EQ_I64(bloom_fill_end(b, fill, CELLAR_OK), CELLAR_E_LIMIT);
    T_EQ_U64(bloom_state_of(b), CELLAR_BLOOM_AUTHORITATIVE);
    fill_and_believe(b);
    close_bloom(b);
}

T_CASE_ON(repeated_key_takes_no_room, BLOOM)
{
    for (int round = 0; round < 50; round++) {
        for (uint64_t n = 0; n < 900; n++) { bloom_add(b, hash_of(n)); }
    }
    T_CHECK(!figures(b).outgrown);
    T_CHECK(figures(b).keys > 850 && figures(b).keys <= 900);
}

/* Sizes beyond 2^32 bits: keys of the upper part are set in the upper part. */
T_CASE(filter_over_2e32_bits_uses_all_bits)
{
    if (sizeof(size_t) == 4) {
        T_SKIP("an address space of 32 bits");
        return;
    }
    bloom *b = open_bloom((uint64_t)1 << 29, 0.01); /* 5.3e9 bits, only touched pages exist */
    T_CHECK(figures(b).bytes * 8 > (uint64_t)1 << 32);
    for (uint64_t i = 0; i < 3000; i++) { bloom_add(b, hash_of(2 * i)); }
    T_EQ_U64(denied(b, 0, 3000, 2), 0);
    /* a size truncated to 32 bits would fold them together */
    T_EQ_U64(denied(b, 1, 3000, 2), 3000);
    close_bloom(b);
}

/* ---- with concurrent probes ---- */

typedef struct race {
    bloom *b;
    _Atomic uint64_t upto; /* keys below it were added and are visible */
    atomic_bool stop;
    _Atomic uint64_t asked;
    uint64_t wrong;
} race;

static void *race_ask(void *arg)
{
    race *r = arg;
    uint64_t at = 0;
    while (!atomic_load(&r->stop)) {
        const uint64_t upto = atomic_load(&r->upto);
        if (upto == 0) { continue; }
        at = (at + 7919) % upto;
        r->wrong += bloom_ask(r->b, hash_of(at)) == BLOOM_NEVER;
        atomic_fetch_add(&r->asked, 1);
    }
    return NULL;
}

static void *race_add(void *arg)
{
    race *r = arg;
    while (!atomic_load(&r->stop)) {
        const uint64_t n = atomic_load(&r->upto);
        if (n == 20000) { break; }
        const uint64_t hash = hash_of(n);
        const uint64_t desc = bloom_add_begin(r->b, hash);
        atomic_store(&r->upto, n + 1); /* visible */
        bloom_add_end(r->b, hash, desc);
    }
    return NULL;
}

/* The scan of a store: visible keys are fed again. */
static void refill(race *r, uint64_t expected, double fpp)
{
    cellar_err err = CELLAR_E_BUSY;
    while (err == CELLAR_E_BUSY) { /* a doubt occurred meanwhile: the deciding filter is full */
        const uint64_t fill = begin_fill(r->b, expected, fpp);
        for (uint64_t i = 0; i < atomic_load(&r->upto); i++) { bloom_add(r->b, hash_of(i)); }
        err = bloom_fill_end(r->b, fill, CELLAR_OK);
    }
    T_CHECK(err == CELLAR_OK || err == CELLAR_E_LIMIT);
}

T_CASE(rebuild_during_reads_denies_no_added_key)
{
    race r = { .b = open_bloom(1000, 0.01) };
    pthread_t ask, add;
    refill(&r, 1000, 0.01);
    T_REQUIRE(pthread_create(&ask, NULL, race_ask, &r) == 0);
    T_REQUIRE(pthread_create(&add, NULL, race_add, &r) == 0);
    uint64_t rounds = 0;
    while (rounds < 12 || atomic_load(&r.asked) < 1000) {
        if (rounds >= 12) { sched_yield(); }
        const uint64_t n = atomic_load(&r.upto);
        refill(&r, n + 1000, rounds % 2 == 0 ? 0.01 : 0.001);
        rounds++;
    }
    atomic_store(&r.stop, true);
    pthread_join(ask, NULL);
    pthread_join(add, NULL);
    T_EQ_U64(r.wrong, 0);
    printf("# %" PRIu64 " rebuilds, %" PRIu64 " answers\n", rounds,
           atomic_load(&r.asked));
    close_bloom(r.b);
}

T_ALONE(probes_of_added_keys_are_never_denied)
{
    const uint64_t asked = t_env_u64("BLOOM_PROBES", 0), keys = 1000000;
    const uint64_t probes = asked != 0 ? asked : 100000000;
    bloom *b = open_bloom(keys, 0.01);
    for (uint64_t i = 0; i < keys; i++) { bloom_add(b, hash_of(i)); }
    fill_and_believe(b);
    const uint64_t until_ns = base_now_ns() + t_share(1000000000u);
    uint64_t wrong = 0, done = 0;
    while (done < probes && (asked != 0 || base_now_ns() < until_ns)) {
        const uint64_t end = BASE_MIN(done + 100000, probes);
        for (; done < end; done++) {
            wrong += bloom_ask(b, hash_of(base_mix64(done) % keys)) != BLOOM_MAYBE;
        }
    }
    T_EQ_U64(wrong, 0);
    printf("# %" PRIu64 " probes of added keys, %" PRIu64 " denied\n", done, wrong);
    close_bloom(b);
}

/* ---- memory ---- */

T_CASE(memory_of_replaced_filter_is_returned)
{
    bloom *b = open_bloom(100000, 0.01);
    fill_and_believe(b);
    uint64_t used = 0;
    for (int i = 0; i < 20; i++) {
        const uint64_t fill = begin_fill(b, 100000, 0.01);
        T_CHECK(figures(b).bytes >= 2 * 120000 && base_load_rlx(&account.used) >= figures(b).bytes);
        T_EQ_I64(bloom_fill_end(b, fill, CELLAR_OK), CELLAR_OK);
        if (i == 1) { used = base_load_rlx(&account.used); }
        if (i > 1) { T_EQ_U64(base_load_rlx(&account.used), used); }
    }
    T_EQ_I64(bloom_fill_end(b, begin_fill(b, 100000, 0.01), CELLAR_E_IO), CELLAR_E_IO);
    T_EQ_U64(base_load_rlx(&account.used), used);
    T_EQ_U64(bloom_state_of(b), CELLAR_BLOOM_AUTHORITATIVE);
    bloom_off(b);
    T_EQ_U64(bloom_state_of(b), CELLAR_BLOOM_OFF);
    T_CHECK(base_load_rlx(&account.used) < 8192);
    T_EQ_I64(bloom_open(b, 50000, 0.01), CELLAR_OK);
    T_EQ_U64(denied(b, 0, 1000, 1), 1000); /* empty again */
    close_bloom(b);
}

T_CASE(failed_allocation_in_open_returns_code)
{
    for (uint64_t nth = 1; nth < 8; nth++) {
        fresh_account((uint64_t)1 << 30);
        (void)base_fault_alloc_arm(nth, false);
        bloom *b = bloom_create(&account);
        cellar_err err = b != NULL ? bloom_open(b, 100, 0.01) : CELLAR_E_NOMEM;
        if (err == CELLAR_OK) { fill_and_believe(b); }
        for (uint64_t i = 0; b != NULL && i < 300; i++) { bloom_add(b, hash_of(i)); }
        (void)base_fault_alloc_arm(0, false);
        if (b == NULL) { continue; }
        if (err != CELLAR_OK) {
            T_EQ_U64(figures(b).state, CELLAR_BLOOM_OFF);
        } else {
            T_EQ_U64(denied(b, 0, 300, 1), 0);
            T_EQ_U64(figures(b).state, CELLAR_BLOOM_AUTHORITATIVE);
        }
        close_bloom(b);
    }
}

T_CASE(full_budget_refuses_rebuild_and_keeps_keys)
{
    bloom *b = make_bloom(20000);
    T_EQ_I64(bloom_open(b, 1000000, 0.01), CELLAR_E_SPACE);
    T_EQ_I64(bloom_open(b, 3000, 0.01), CELLAR_OK);
    fill_and_believe(b);
    for (uint64_t i = 0; i < 6000; i++) { bloom_add(b, hash_of(i)); }
    uint64_t fill = 0; /* the old filter answers on */
    T_EQ_I64(bloom_fill_begin(b, 30000, 0.01, &fill), CELLAR_E_SPACE);
    T_EQ_U64(denied(b, 0, 6000, 1), 0);
    T_EQ_U64(figures(b).state, CELLAR_BLOOM_AUTHORITATIVE);
    T_CHECK(figures(b).outgrown && !figures(b).filling);
    for (uint64_t i = 0; i < 20000; i++) { bloom_add(b, hash_of(i)); }
    T_EQ_U64(denied(b, 0, 20000, 1), 0);
    T_EQ_U64(bloom_state_of(b), CELLAR_BLOOM_OBSERVING);
    T_CHECK(base_load_rlx(&account.peak) <= 20000);
    close_bloom(b);
}

/* ---- images ---- */

typedef struct tape {
    unsigned char *bytes;
    size_t len, at, cap;
} tape;

static bool tape_write(void *ctx, const void *bytes, size_t len)
{
    tape *t = ctx;
    if (t->len + len > t->cap) { return false; }
    memcpy(t->bytes + t->len, bytes, len);
    t->len += len;
    return true;
}

static bool tape_read(void *ctx, void *bytes, size_t len)
{
    tape *t = ctx;
    if (t->len - t->at < len) { return false; }
    memcpy(bytes, t->bytes + t->at, len);
    t->at += len;
    return true;
}

static bloom *with_image(tape *t, bool sealed)
{
    bloom *b = open_bloom(1000, 0.01);
    for (uint64_t i = 0; i < 2000; i++) { bloom_add(b, hash_of(i)); } /* outgrown */
    if (sealed) { fill_and_believe(b); }
    *t = (tape){ .bytes = malloc(1 << 20), .cap = 1 << 20 };
    T_REQUIRE(t->bytes != NULL);
    T_EQ_I64(bloom_save(b, 42, tape_write, t), CELLAR_OK);
    return b;
}

T_CASE(image_restores_every_key)
{
    tape t;
    bloom *b = with_image(&t, true);
    /* refused: the filter is not off */
    T_EQ_I64(bloom_load(b, 42, true, tape_read, &t), CELLAR_E_INVAL);
    bloom *copy = bloom_create(&account);
    T_REQUIRE(copy != NULL);
    t.at = 0;
    T_EQ_I64(bloom_load(copy, 42, true, tape_read, &t), CELLAR_OK);
    T_EQ_U64(t.at, t.len);
    T_EQ_U64(bloom_state_of(copy), CELLAR_BLOOM_AUTHORITATIVE);
    T_EQ_U64(denied(copy, 0, 2000, 1), 0);
    T_CHECK(denied(copy, 2000, 100000, 1) > 98000);
    for (uint64_t i = 2000; i < 3000; i++) { bloom_add(copy, hash_of(i)); }
    T_EQ_U64(denied(copy, 0, 3000, 1), 0);
    T_CHECK(bloom_audit(copy) == NULL);
    bloom_destroy(copy);
    close_bloom(b);
    free(t.bytes);
}

/* After kill -9, a power cut, or changes after the image: the bits are kept without authority. */
T_CASE(image_without_clean_close_only_observes)
{
    tape t;
    bloom *b = with_image(&t, true);
    bloom_off(b);
    T_EQ_I64(bloom_load(b, 42, false, tape_read, &t), CELLAR_OK);
    T_EQ_U64(figures(b).state, CELLAR_BLOOM_OBSERVING);
    T_EQ_U64(figures(b).doubt, CELLAR_BLOOM_DOUBT_RESTORED);
    T_EQ_U64(denied(b, 0, 2000, 1), 0);
    close_bloom(b);
    free(t.bytes);
    b = with_image(&t, false); /* an observing filter keeps observing, whatever the close */
    bloom_off(b);
    T_EQ_I64(bloom_load(b, 42, true, tape_read, &t), CELLAR_OK);
    T_EQ_U64(bloom_state_of(b), CELLAR_BLOOM_OBSERVING);
    close_bloom(b);
    free(t.bytes);
}

T_CASE(damaged_image_is_refused)
{
    tape t;
    bloom *b = with_image(&t, true);
    bloom_off(b);
    const uint64_t used = base_load_rlx(&account.used);
    T_EQ_I64(bloom_load(b, 43, true, tape_read, &t), CELLAR_E_FOREIGN);
    for (size_t bit = 0; bit < t.len * 8; bit += bit < 2048 ? 1 : 997) {
        t.bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        t.at = 0;
        T_EQ_I64(bloom_load(b, 42, true, tape_read, &t), CELLAR_E_CORRUPT);
        t.bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    const size_t len = t.len;
    for (size_t cut = 0; cut < len; cut += cut < 300 ? 1 : 509) {
        t.len = cut;
        t.at = 0;
        T_EQ_I64(bloom_load(b, 42, true, tape_read, &t), CELLAR_E_IO);
    }
    T_EQ_U64(bloom_state_of(b), CELLAR_BLOOM_OFF);
    T_EQ_U64(base_load_rlx(&account.used), used);
    t.len = len;
    t.at = 0;
    T_EQ_I64(bloom_load(b, 42, true, tape_read, &t), CELLAR_OK);
    t.cap = 1000;
    t.len = 0;
    T_EQ_I64(bloom_save(b, 42, tape_write, &t), CELLAR_E_IO);
    bloom_off(b);
    T_EQ_I64(bloom_save(b, 42, tape_write, &t), CELLAR_E_INVAL);
    close_bloom(b);
    free(t.bytes);
}

T_MAIN("bloom_filter")
