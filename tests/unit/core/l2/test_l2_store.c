/* SPDX-License-Identifier: MIT
 *
 * Aim:    stored values are served byte by byte, from the buffer, from disk and after a reopen.
 *         Changed ones are not, whatever happens to log, index and places.
 * Method: small stores on an in-memory disk, with the worker run by hand. */
#include "l2/admission.h"
#include "tests/support/log_kit.h"

/* Prepare a store. Change cfg before open_it. */
static void start(void) { begin(L2_DROP); l2_dev_init(&dev); }

static void open_it(void) { open_on(&dev); }

static void kill_and_open(void) { l2_discard(d); open_it(); }

static void close_and_open(void) { l2_close(d); open_it(); }

static void end(void)
{
    l2_close(d);
    T_EQ_U64(base_load_rlx(&account.used), 0);
    l2_dev_fini(&dev);
}

static void start_at(l2_level level)
{
    start();
    cfg.level = level;
    open_it();
}

#define STORE(fn) T_WITHIN(fn, start_at(L2_DROP), end())

/* A store with a budget of writes for a day. */
static void start_budget(uint64_t bytes_per_day)
{
    start();
    cfg.write_bpd = bytes_per_day;
    open_it();
}

#define BUDGET(fn) T_WITHIN(fn, start_budget(1 << 20), end())

static void work(void)
{
    while (l2_tick(d, 1000)) {}
}

static l2_stats figures(void)
{
    l2_stats st;
    l2_stats_get(d, &st);
    return st;
}

static l2_key key_in(const void *bytes, uint32_t len, uint32_t generation)
{
    return (l2_key){ bytes, len, generation,
                     base_hash(l2_hash_key(d), generation, bytes, len) };
}

static void fill(unsigned char *buf, size_t n, uint32_t key, uint32_t version)
{
    base_rng r;
    base_rng_seed(&r, (uint64_t)key << 32 | version);
    for (size_t i = 0; i < n; i++) { buf[i] = (unsigned char)base_rng_next(&r); }
}

static cellar_err put(uint32_t key, uint32_t version, size_t n)
{
    static unsigned char buf[1 << 20];
    l2_meta m = { .deadline_ms = BASE_NEVER_MS };
    fill(buf, n, key, version);
    const l2_key k = key_in(&key, sizeof key, GENERATION);
    return l2_put(d, &k, buf, n, &m, NULL);
}

static void kill_key(uint32_t key)
{
    const l2_key k = key_in(&key, sizeof key, GENERATION);
    l2_invalidate(d, &k);
}

/* Read a key. OK if it has this version; MISS. */
static cellar_err get(uint32_t key, uint32_t version, size_t n)
{
    static unsigned char buf[1 << 20], want[1 << 20];
    size_t len = 0;
    l2_meta m;
    const l2_key k = key_in(&key, sizeof key, GENERATION);
    const cellar_err err = l2_get(d, &k, buf, sizeof buf, &len, &m);
    if (err != CELLAR_OK) { return err; }
    fill(want, n, key, version);
    return len == n && memcmp(buf, want, n) == 0 ? CELLAR_OK : CELLAR_CONFLICT;
}

T_CASE_ON(all_fields_are_restored, STORE)
{
    l2_meta m = { .deadline_ms = ms + 5000, .stale_ms = 1, .idle_ms = 2, .version = 3,
                  .user_flags = 5, .cost = 6 };
    l2_meta n;
    const l2_key k = key_in("key", 3, 9);
    size_t len = 99;
    char buf[8];
    T_EQ_I64(l2_put(d, &k, "value", 5, &m, NULL), CELLAR_OK);
    for (int round = 0; round < 2; round++) {
        T_EQ_I64(l2_get(d, &k, buf, sizeof buf, &len, &n), CELLAR_OK);
        T_EQ_U64(len, 5);
        T_EQ_MEM(buf, "value", 5);
        T_EQ_I64(n.deadline_ms, m.deadline_ms);
        T_CHECK(n.stale_ms == 1 && n.idle_ms == 2 && n.version == 3);
        T_CHECK(n.user_flags == 5 && n.cost == 6 && n.kind == 0 && n.addr != 0);
        T_EQ_I64(l2_get(d, &k, buf, 4, &len, &n), CELLAR_E_BUFFER);
        T_EQ_U64(len, 5);
        l2_close(d);
        open_it();
    }
    m.kind = 1;
    T_EQ_I64(l2_put(d, &k, "", 0, &m, NULL), CELLAR_OK);
    T_EQ_I64(l2_get(d, &k, buf, sizeof buf, &len, &n), CELLAR_ABSENT);
    const l2_key elsewhere = { "key", 3, 8, k.hash }; /* another generation, the same position */
    T_EQ_I64(l2_get(d, &elsewhere, buf, sizeof buf, &len, &n), CELLAR_MISS);
    const l2_key longer = { "key2", 4, 9, k.hash };
    T_EQ_I64(l2_get(d, &longer, buf, sizeof buf, &len, &n), CELLAR_MISS);
}

static void clocks_are(int64_t store_ms, int64_t wall)
{
    ms = store_ms;
    wall_first_ms = wall - store_ms;
}

T_CASE_ON(deadlines_survive_clock_steps, STORE)
{
    l2_meta m = { .deadline_ms = ms + 60000 }, n;
    const l2_key k = key_in("key", 3, 9);
    char buf[8];
    size_t len;
    T_EQ_I64(l2_put(d, &k, "value", 5, &m, NULL), CELLAR_OK);
    const int64_t ten_years = INT64_C(315360000000);
    static const int64_t steps[] = { 1, -1 };
    for (int i = 0; i < 2; i++) { /* same boot: steps of the wall clock have no effect */
        wall_first_ms += steps[i] * ten_years;
        close_and_open();
        T_EQ_I64(l2_get(d, &k, buf, sizeof buf, &len, &n), CELLAR_OK);
        T_EQ_I64(n.deadline_ms, m.deadline_ms);
    }
    ms += 59999;
    T_EQ_I64(l2_get(d, &k, buf, sizeof buf, &len, &n), CELLAR_OK);
    ms += 1;
    T_EQ_I64(l2_get(d, &k, buf, sizeof buf, &len, &n), CELLAR_MISS);
    m.deadline_ms = ms + 60000;
    T_EQ_I64(l2_put(d, &k, "value", 5, &m, NULL), CELLAR_OK);
    int64_t wall = wall_ms(NULL) + 20000;
    l2_close(d);
    dev.boot[0]++; /* another boot: the clock restarts, 20 s have passed */
    clocks_are(5000, wall);
    open_it();
    T_EQ_I64(l2_get(d, &k, buf, sizeof buf, &len, &n), CELLAR_OK);
    T_EQ_I64(n.deadline_ms, 5000 + 40000);
    l2_close(d);
    dev.boot[0]++; /* a wall clock set back ten years does not make entries younger */
    clocks_are(100, wall -= ten_years);
    open_it();
    T_EQ_I64(l2_get(d, &k, buf, sizeof buf, &len, &n), CELLAR_OK);
    T_CHECK(n.deadline_ms <= 100 + 40000);
    l2_close(d);
    dev.boot[0]++; /* ten years ahead: expired */
    clocks_are(100, wall + 3 * ten_years);
    open_it();
    T_EQ_I64(l2_get(d, &k, buf, sizeof buf, &len, &n), CELLAR_MISS);
    m.deadline_ms = ms + 60000;
    T_EQ_I64(l2_put(d, &k, "value", 5, &m, NULL), CELLAR_OK);
    m.deadline_ms = BASE_NEVER_MS;
    const l2_key forever = key_in("ever", 4, 9);
    T_EQ_I64(l2_put(d, &forever, "value", 5, &m, NULL), CELLAR_OK);
}

T_CASE(refused_puts_count_their_reason)
{
    start();
    cfg.min_ttl_ms = 10000;
    open_it();
    l2_meta m = { .deadline_ms = ms + 9999 };
    const l2_key k = key_in("key", 3, 9);
    T_EQ_I64(l2_put(d, &k, "v", 1, &m, NULL), L2_REFUSED);
    m.deadline_ms++;
    T_EQ_I64(l2_put(d, &k, "v", 1, &m, NULL), CELLAR_OK);
    const size_t most = (size_t)cfg.bytes / 4;
    T_EQ_I64(put(1, 1, most + 1), L2_REFUSED);
    T_EQ_I64(put(1, 1, 2 * most), L2_REFUSED);
    T_EQ_I64(put(1, 1, 5700), CELLAR_OK);
    T_FIELDS(figures(), refused_ttl, 1, refused_size, 2);
    end();
}

T_CASE(write_budgets_hold_over_restarts)
{
    start();
    cfg.write_bps = 1000;
    cfg.write_bpd = 2500;
    open_it();
    uint32_t stored = 0;
    for (uint32_t i = 0; i < 8; i++) { stored += put(i, 1, 270) == CELLAR_OK; }
    T_EQ_U64(stored, 3); /* about 300 bytes each, in one second */
    ms += 1000;
    for (uint32_t i = 0; i < 8; i++) { stored += put(10 + i, 1, 270) == CELLAR_OK; }
    T_EQ_U64(stored, 6);
    l2_close(d);
    ms += 1000;
    open_it();
    for (uint32_t i = 0; i < 8; i++) { stored += put(20 + i, 1, 270) == CELLAR_OK; }
    T_EQ_U64(stored, 8); /* the budget of the day is used up */
    ms += 1000;
    T_EQ_I64(put(30, 1, 270), L2_REFUSED);
    const l2_stats st = figures();
    T_CHECK(st.refused_budget >= 7 && st.bytes_today <= 2500 && st.bytes_today > 2300);
    ms += 86400000;
    T_EQ_I64(put(30, 1, 270), CELLAR_OK);
    end();
}

/* The next day begins between the count of a put and the look for room. */
static bool at_midnight(void *ctx, uint64_t hash, uint64_t stamp)
{
    (void)ctx, (void)hash, (void)stamp;
    ms += 86400000;
    (void)base_add_rlx(&d->day.window, (uint64_t)1);
    base_store_rlx(&d->day.used, (uint64_t)0);
    return true;
}

T_CASE_ON(dropped_put_at_midnight_refunds_the_right_day, BUDGET)
{
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS };
    const l2_key k = key_in("key", 3, GENERATION);
    const l2_current midnight = { at_midnight, NULL, 0 };
    for (uint32_t i = 0; put(i, 1, 5000) == CELLAR_OK; i++) {}
    static const char value[5000];
    T_EQ_I64(l2_put(d, &k, value, sizeof value, &m, &midnight), CELLAR_DROPPED);
    T_EQ_U64(figures().bytes_today, 0);
    work();
    T_EQ_I64(put(2, 1, 270), CELLAR_OK);
}

T_CASE(the_daily_budget_survives_process_deaths)
{
    uint32_t stored = 0;
    start();
    cfg.write_bpd = 3000;
    for (uint32_t round = 0; round < 20; round++) {
        if (round == 10) { ms += 86400000; }
        open_it();
        for (uint32_t i = 0; i < 2; i++) {
            stored += put(100 * round + i, 1, 270) == CELLAR_OK;
            (void)l2_tick(d, 1000);
        }
        l2_discard(d);
        T_CHECK(stored <= (round < 10 ? 10 : 20)); /* about 300 bytes each */
    }
    T_CHECK(stored > 16);
    open_it();
    end();
}

T_CASE(processes_that_put_nothing_use_no_budget)
{
    start();
    cfg.write_bpd = 1 << 20;
    ms += 2 * 3600000; /* after midnight */
    open_it();
    T_EQ_I64(put(1, 1, 270), CELLAR_OK);
    (void)l2_tick(d, 1000);
    for (uint32_t round = 0; round < 300; round++) {
        l2_discard(d);
        open_it();
        ms += 61000;
        (void)l2_tick(d, 1000);
    }
    T_EQ_I64(put(1, 1, 270), CELLAR_OK);
    end();
}

/* A host clock that restarts with each process. */
T_CASE(a_clock_set_back_does_not_stop_the_budget)
{
    start();
    cfg.write_bps = 1000;
    open_it();
    while (put(1, 1, 270) == CELLAR_OK) {}
    ms -= 600000;
    T_EQ_I64(put(2, 1, 270), CELLAR_OK);
    end();
}

static cellar_err put_unused(uint32_t key)
{
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .unused = true };
    const l2_key k = key_in(&key, sizeof key, GENERATION);
    return l2_put(d, &k, "value", 5, &m, NULL);
}

T_CASE_ON(unused_entries_are_stored_at_their_second_put, STORE)
{
    const uint64_t share = cfg.bytes / 100 * 40;
    base_store_rlx(&d->live_bytes, share + 1); /* more than 40 % of the size is alive */
    for (uint32_t i = 0; i < 40; i++) { T_EQ_I64(put_unused(i), L2_REFUSED); }
    T_FIELDS(figures(), refused_unused, 40, put_bytes, 0);
    for (uint32_t i = 0; i < 40; i++) { T_EQ_I64(put_unused(i), CELLAR_OK); }
    for (uint32_t i = 0; i < 40; i++) { T_EQ_I64(put_unused(i), CELLAR_OK); } /* and from then on */
    T_EQ_I64(put(100, 1, 50), CELLAR_OK); /* used: immediately */
    /* Too large, or due too soon: refused for that reason and not remembered. */
    l2_meta m = { .deadline_ms = ms, .unused = true };
    const l2_key k = key_in("due", 3, GENERATION);
    T_EQ_I64(l2_put(d, &k, "v", 1, &m, NULL), L2_REFUSED);
    m.deadline_ms = BASE_NEVER_MS;
    T_FIELDS(figures(), refused_ttl, 1, refused_unused, 40);
    T_EQ_I64(l2_put(d, &k, "v", 1, &m, NULL), L2_REFUSED);
    /* An existing copy needs no second put. An address without a copy has no effect. */
    const l2_key second = key_in("second", 6, GENERATION);
    m.unused = false;
    m.where = &m.addr;
    T_EQ_I64(l2_put(d, &second, "v", 1, &m, NULL), CELLAR_OK);
    m.unused = true;
    T_CHECK(m.addr != 0);
    T_EQ_I64(l2_put(d, &second, "v", 1, &m, NULL), CELLAR_OK);
    T_EQ_U64(figures().identical, 1);
    m.addr = 12345;
    T_EQ_I64(l2_put(d, &second, "v", 1, &m, NULL), L2_REFUSED);
    /* With room each value is stored, and a negative entry after a use. */
    base_store_rlx(&d->live_bytes, share);
    const l2_key third = key_in("third", 5, GENERATION), fourth = key_in("fourth", 6, GENERATION);
    T_EQ_I64(l2_put(d, &third, "v", 1, &m, NULL), CELLAR_OK);
    m.kind = 1;
    T_EQ_I64(l2_put(d, &fourth, NULL, 0, &m, NULL), L2_REFUSED);
    T_EQ_I64(l2_put(d, &third, NULL, 0, &m, NULL), CELLAR_OK); /* noted by its value */
}

/* After four times as many other keys as words, few keys are remembered. After half as many as fit,
 * most are. */
T_CASE_ON(unused_entries_are_forgotten_after_many_others, STORE)
{
    const uint64_t words = d->seen_words;
    uint32_t soon = 0, late = 0, strangers = 0;
    for (uint64_t i = 0; i < 2 * words; i++) { (void)l2_seen_again(d, base_mix64(i) >> 16); }
    for (uint64_t i = 0; i < words; i++) { soon += l2_seen_again(d, base_mix64(i) >> 16); }
    for (uint64_t i = 0; i < 12 * words; i++) {
        strangers += l2_seen_again(d, base_mix64(1000000 + i) >> 16);
    }
    for (uint64_t i = 0; i < words; i++) { late += l2_seen_again(d, base_mix64(i) >> 16); }
    T_CHECK(soon > words * 7 / 10);
    T_CHECK(late <= words / 32);
    T_CHECK(strangers <= words / 32);
    /* A repeated key stays in front: three others displace the older ones. */
    memset((void *)d->seen, 0, sizeof *d->seen * words);
    T_CHECK(!l2_seen_again(d, 1));
    for (uint64_t i = 2; i < 20; i++) {
        T_CHECK(!l2_seen_again(d, i));
        T_CHECK(l2_seen_again(d, 1));
    }
    T_CHECK(l2_seen_again(d, 19) && l2_seen_again(d, 18) && l2_seen_again(d, 17));
    T_CHECK(!l2_seen_again(d, 16));
    T_CHECK(!l2_seen_again(d, 0)); /* 0 means free */
    T_CHECK(l2_seen_again(d, 0));
}

static bool never(void *ctx, uint64_t hash, uint64_t stamp)
{
    (void)ctx, (void)hash;
    return stamp == 42;
}

T_CASE_ON(a_raised_stamp_refuses_the_put_and_uses_no_budget, BUDGET)
{
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS };
    const l2_key k = key_in("key", 3, 9);
    l2_current c = { never, NULL, 41 };
    T_EQ_I64(l2_put(d, &k, "v", 1, &m, &c), L2_REFUSED);
    T_EQ_U64(figures().bytes_today, 0);
    c.stamp = 42;
    T_EQ_I64(l2_put(d, &k, "v", 1, &m, &c), CELLAR_OK);
}

T_CASE_ON(an_unchanged_copy_is_not_written_again, STORE)
{
    l2_meta m = { .deadline_ms = BASE_NEVER_MS }, n;
    const l2_key k = key_in("key", 3, 9);
    char buf[8];
    size_t len;
    T_EQ_I64(l2_put(d, &k, "v", 1, &m, NULL), CELLAR_OK);
    T_EQ_I64(l2_get(d, &k, buf, sizeof buf, &len, &n), CELLAR_OK);
    m.addr = n.addr;
    T_EQ_I64(l2_put(d, &k, "v", 1, &m, NULL), CELLAR_OK);
    T_EQ_U64(figures().identical, 1);
    l2_invalidate(d, &k); /* changed since, so its copy does not count */
    T_EQ_I64(l2_put(d, &k, "v", 1, &m, NULL), CELLAR_OK);
    T_EQ_U64(figures().identical, 1);
}

T_CASE_ON(only_keys_of_the_index_log_tombstones, STORE)
{
    for (uint32_t i = 0; i < 1000; i++) { kill_key(100000 + i); }
    T_EQ_U64(figures().denied, 1000);
    for (uint32_t i = 0; i < 20; i++) { T_EQ_I64(put(i, 1, 50), CELLAR_OK); }
    for (uint32_t i = 0; i < 20; i++) { kill_key(i); }
    T_EQ_U64(figures().tombstones, 20);
    for (uint32_t i = 15; i < 20; i++) { kill_key(i); } /* the tombstone is the newest record */
    T_EQ_U64(figures().tombstones, 20);
    T_EQ_I64(put(19, 2, 50), CELLAR_OK);
    kill_key(19);
    T_EQ_I64(get(19, 2, 50), CELLAR_MISS);
    T_EQ_U64(figures().tombstones, 21);
}

/* ---- room ---- */

T_CASE(dropped_put_is_told_when_there_is_room)
{
    for (int level = L2_DROP; level <= L2_ALWAYS; level++) {
        start_at((l2_level)level);
        for (uint32_t ends = 0, key = 0; ends < 30; key++) {
            const uint32_t seen = l2_room_seen(d);
            if (put(key, 1, 500) == CELLAR_OK) { continue; }
            ends++;
            for (int i = 0; i < 3 && l2_room_seen(d) == seen; i++) { (void)l2_tick(d, 0); }
            T_CHECK(l2_room_seen(d) != seen);
            l2_room_wait(d, seen);
            T_EQ_I64(put(key, 1, 500), CELLAR_OK);
        }
        end();
    }
}

/* A tombstone of such a key is as long as the key. */
static l2_key long_key(uint32_t i)
{
    static unsigned char bytes[2000];
    memcpy(bytes, &i, sizeof i);
    return key_in(bytes, sizeof bytes, GENERATION);
}

/* Put until there is no room: no round of the worker runs. Return the keys that were stored. */
static uint32_t put_long_keys(void)
{
    static const unsigned char value[3000];
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS };
    for (uint32_t i = 0;; i++) {
        const l2_key k = long_key(i);
        if (l2_put(d, &k, value, sizeof value, &m, NULL) != CELLAR_OK) { return i; }
    }
}

/* Deletes have room that puts leave. Where that is used up they let the worker run, and lose no
 * record of another key. */
T_CASE(deletes_without_room_wait_and_drop_nothing)
{
    for (int level = L2_DROP; level <= L2_ALWAYS; level++) {
        start_at((l2_level)level);
        const uint32_t stored = put_long_keys(), ended = stored - stored / 8;
        T_CHECK(stored > 100);
        for (uint32_t i = 0; i < ended; i++) {
            const l2_key k = long_key(i);
            l2_invalidate(d, &k);
        }
        T_CHECK(figures().waits > 0);
        T_EQ_U64(figures().closings, 0);
        for (int run = 0; run < 2; run++) {
            for (uint32_t i = 0; i < stored; i++) {
                unsigned char buf[3000];
                size_t n;
                l2_meta m;
                const l2_key k = long_key(i);
                T_EQ_I64(l2_get(d, &k, buf, sizeof buf, &n, &m),
                         i < ended ? CELLAR_MISS : CELLAR_OK);
            }
            kill_and_open();
        }
        end();
    }
}

/* ---- namespaces ---- */

static void open_again(bool kill)
{
    if (kill) {
        kill_and_open();
    } else {
        close_and_open();
    }
}

T_CASE_ON(namespaces_and_generations_persist, STORE)
{
    l2_namespace v = { 11, 10, 5 }, got;
    T_CHECK(!l2_namespace_find(d, "sessions", 8, &got));
    T_EQ_I64(l2_namespace_set(d, &v, "sessions", 8, NULL), CELLAR_OK);
    v = (l2_namespace){ 12, 11, 1 };
    T_EQ_I64(l2_namespace_set(d, &v, "other", 5, NULL), CELLAR_OK);
    for (int round = 0; round < 4; round++) {
        v = (l2_namespace){ 11, 20 + (uint32_t)round, 6 + (uint32_t)round };
        T_EQ_I64(l2_namespace_set(d, &v, NULL, 0, NULL), CELLAR_OK); /* a clear */
        open_again(round % 2 != 0);
        T_CHECK(l2_namespace_find(d, "sessions", 8, &got));
        T_CHECK(got.id == 11 && got.generation == v.generation && got.version == v.version);
        T_CHECK(l2_next_generation(d) > v.generation && l2_next_id(d) == 13);
    }
    /* the low 32 bits begin again: the newest number counts, in whatever order they come */
    for (uint64_t n = UINT32_MAX - 3; n < (uint64_t)UINT32_MAX + 5; n++) {
        v = (l2_namespace){ 11, n, 9 };
        const l2_namespace late = { 11, n - 2, 8 };
        T_EQ_I64(l2_namespace_set(d, &v, NULL, 0, NULL), CELLAR_OK);
        T_EQ_I64(l2_namespace_set(d, &late, NULL, 0, NULL), CELLAR_OK);
        open_again(n % 2 != 0);
        T_CHECK(l2_namespace_find(d, "sessions", 8, &got));
        T_CHECK(got.generation == n && got.version == 9);
        T_CHECK(l2_next_generation(d) > n);
    }
    v = (l2_namespace){ 12, 0, 0 };
    T_EQ_I64(l2_namespace_set(d, &v, NULL, 0, NULL), CELLAR_OK); /* dropped */
    kill_and_open();
    T_CHECK(!l2_namespace_find(d, "other", 5, &got));
    for (uint32_t i = 0; i < 300; i++) { /* the log comes round meanwhile */
        v = (l2_namespace){ 13 + i, 100 + i, 1 };
        char name[16];
        T_EQ_I64(l2_namespace_set(d, &v, name, (size_t)snprintf(name, 16, "v%u", i), NULL),
                 CELLAR_OK);
        for (uint32_t n = 0; n < 20; n++) { (void)put(i, 1, 200); }
        work();
    }
    kill_and_open();
    for (uint32_t i = 0; i < 300; i++) {
        char name[16];
        T_CHECK(l2_namespace_find(d, name, (size_t)snprintf(name, 16, "v%u", i), &got));
        T_EQ_U64(got.generation, 100 + i);
    }
}

/* The table of rows is full. A change that removes something finds its row in it. */
T_CASE_ON(dropping_a_namespace_needs_no_memory, STORE)
{
    l2_namespace v, got;
    char name[16];
    for (uint32_t i = 1; i <= 15; i++) {
        v = (l2_namespace){ 10 + i, 100 + i, 1 };
        T_EQ_I64(l2_namespace_set(d, &v, name, (size_t)snprintf(name, 16, "v%u", i), NULL),
                 CELLAR_OK);
    }
    (void)base_fault_alloc_arm(1, true);
    v = (l2_namespace){ 14, 200, 2 };
    T_EQ_I64(l2_namespace_set(d, &v, "v4", 2, NULL), CELLAR_OK); /* cleared */
    v = (l2_namespace){ 50, 201, 1 };
    T_EQ_I64(l2_namespace_set(d, &v, "new", 3, NULL), CELLAR_E_NOMEM);
    v = (l2_namespace){ 13, 0, 0 };
    T_EQ_I64(l2_namespace_set(d, &v, NULL, 0, NULL), CELLAR_OK); /* dropped */
    (void)base_fault_alloc_arm(0, false);
    kill_and_open();
    T_CHECK(l2_namespace_find(d, "v4", 2, &got) && got.generation == 200);
    T_CHECK(!l2_namespace_find(d, "v3", 2, &got));
    T_CHECK(!l2_namespace_find(d, "new", 3, &got));
}

static bool count_visit(void *ctx, const l2_key *k, const void *value, size_t value_len,
                        const l2_meta *meta)
{
    (void)k, (void)value, (void)value_len, (void)meta;
    (*(uint32_t *)ctx)++;
    return true;
}

/* A scan must not end without the entries of a disk that answers later. */
T_CASE_ON(a_visit_stops_at_a_disk_that_does_not_answer, STORE)
{
    uint32_t kept = 0, stopped = 0, all = 0;
    uint64_t at = 0;
    for (uint32_t i = 0; i < 60; i++) {
        kept += put(i, 1, 500) == CELLAR_OK;
    }
    T_EQ_U64(kept, 60);
    work();
    base_store_rlx(&d->read_ns, (uint64_t)1); /* a read began long ago */
    base_store_rlx(&d->reads_out, 1u);
    T_EQ_I64(l2_visit(d, GENERATION, &at, UINT32_MAX, count_visit, &stopped), CELLAR_E_BUSY);
    const uint64_t there = at;
    T_EQ_I64(l2_visit(d, GENERATION, &at, UINT32_MAX, count_visit, &stopped), CELLAR_E_BUSY);
    T_EQ_U64(at, there);
    base_store_rlx(&d->reads_out, 0u);
    while (l2_visit(d, GENERATION, &at, UINT32_MAX, count_visit, &stopped) == CELLAR_E_BUSY) {
        usleep(1000);
    }
    at = 0;
    while (l2_visit(d, GENERATION, &at, UINT32_MAX, count_visit, &all) == CELLAR_E_BUSY) {
        usleep(1000);
    }
    T_EQ_U64(all, 60);
    T_EQ_U64(stopped, 60);
}

T_ONE_THREAD;
T_MAIN("l2_store")
