/* SPDX-License-Identifier: MIT
 *
 * Aim:    a store of the log serves what was put, never an older value, over process deaths and
 *         closes, while its places are used many times. What was ensured is found: durable puts,
 *         puts that replace a record, deletes.
 * Method: random calls on a store of 32 segments on a real file. A version number for each change;
 *         for each key the newest version that was ensured, and the newest of all. A process death
 *         is l2_discard, which writes nothing. LIVES=n: n lives of each case. */
#include "base/check.h"
#include "base/fault.h"
#include "l2/control.h"
#include "l2/l2.h"
#include "l2/log.h"
#include "tests/support/folder.h"
#include "tests/support/t.h"

#include "base/num.h"
#include "base/random.h"

#define KEYS 1500u
#define MOST_BYTES 3000u
#define LIVES (T_COST > 1 ? 5u : 40u)
#define STEPS 4000u /* most of a life */
#define GENERATION 7u
#define MANY 6000u /* more keys than the least index has places */

typedef struct key_state {
    uint32_t now, ensured; /* versions; 0: none */
    bool dead, ensured_dead; /* the version is a delete */
} key_state;

static key_state key[KEYS];
static uint32_t version;
static base_account account;
static base_log lines;
static base_clock clock_now;
static l2_config cfg;
static l2 *d;
static base_rng rng;
static _Atomic int64_t ms = 1000000;

static int64_t now_ms(void *ctx) { (void)ctx; return base_load_rlx(&ms); }

static l2_key key_of(const uint32_t *i)
{
    return (l2_key){ i, sizeof *i, GENERATION,
                     base_hash(l2_hash_key(d), GENERATION, i, sizeof *i) };
}

static void fill(unsigned char *buf, size_t n, uint32_t i, uint32_t v)
{
    base_rng r;
    base_rng_seed(&r, (uint64_t)i << 32 | v);
    for (size_t at = 0; at < n; at++) { buf[at] = (unsigned char)base_rng_next(&r); }
}

static size_t bytes_of(uint32_t i, uint32_t v) { return (i * 977u + v * 131u) % MOST_BYTES; }

static void open_store(const char *path, l2_level level)
{
    int e = 0;
    cfg.path = path;
    cfg.level = level;
    const cellar_err err = l2_open(&cfg, &d, &e);
    if (err != CELLAR_OK) { printf("# open: %d, errno %d\n", (int)err, e); }
    T_REQUIRE(err == CELLAR_OK);
    l2_namespace ns = { .id = 1, .generation = GENERATION };
    const bool known = l2_namespace_find(d, "all", 3, &ns);
    T_CHECK((known || version == 0) && ns.generation == GENERATION);
    if (!known) { T_EQ_I64(l2_namespace_set(d, &ns, "all", 3), CELLAR_OK); }
}

/* All that happened until now was ensured. */
static void all_ensured(void)
{
    for (uint32_t i = 0; i < KEYS; i++) {
        key[i].ensured = key[i].now;
        key[i].ensured_dead = key[i].dead;
    }
}

static void put(uint32_t i, bool durable)
{
    static unsigned char buf[MOST_BYTES];
    const uint32_t v = ++version;
    const size_t n = bytes_of(i, v);
    const l2_key k = key_of(&i);
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = v, .durable = durable };
    fill(buf, n, i, v);
    cellar_err err = CELLAR_DROPPED;
    for (int tries = 0; tries < 1000 && err == CELLAR_DROPPED; tries++) {
        const uint32_t seen = l2_room_seen(d);
        err = l2_put(d, &k, buf, n, &m, NULL);
        if (err == CELLAR_DROPPED) { l2_room_wait(d, seen); }
    }
    T_REQUIRE(err == CELLAR_OK);
    /* A put that replaces what the file has is written before it returns. */
    if (durable || (key[i].now != 0 && !key[i].dead)) {
        key[i].ensured = v;
        key[i].ensured_dead = false;
    }
    key[i].now = v;
    key[i].dead = false;
}

static void end_key(uint32_t i)
{
    const l2_key k = key_of(&i);
    l2_invalidate(d, &k);
    key[i].now = ++version;
    key[i].dead = true;
    key[i].ensured = version;
    key[i].ensured_dead = true;
}

/* Read a key. exact: no process died since. */
static void look(uint32_t i, bool exact)
{
    static unsigned char buf[MOST_BYTES], want[MOST_BYTES];
    const l2_key k = key_of(&i);
    size_t n = 0;
    l2_meta m;
    key_state *s = &key[i];
    const cellar_err err = l2_get(d, &k, buf, sizeof buf, &n, &m);
    if (err != CELLAR_OK) {
        T_EQ_I64(err, CELLAR_MISS);
        T_CHECK(exact ? s->now == 0 || s->dead : s->ensured == 0 || s->ensured_dead);
        if (!exact) { *s = (key_state){ .now = s->now, .ensured = s->now, .dead = true,
                                        .ensured_dead = true }; }
        return;
    }
    fill(want, bytes_of(i, m.user_flags), i, m.user_flags);
    T_EQ_U64(n, bytes_of(i, m.user_flags));
    T_CHECK(memcmp(buf, want, n) == 0);
    if (exact) {
        T_CHECK(!s->dead && m.user_flags == s->now);
    } else {
        T_CHECK(m.user_flags >= s->ensured && m.user_flags <= s->now);
        *s = (key_state){ .now = m.user_flags, .ensured = m.user_flags };
    }
}

static void live(bool threads)
{
    const uint64_t most = base_rng_below(&rng, 4) == 0 ? STEPS : STEPS / 20;
    const uint64_t steps = base_rng_below(&rng, most);
    for (uint64_t step = 0; step < steps; step++) {
        const uint32_t i = (uint32_t)base_rng_below(&rng, KEYS);
        switch (base_rng_below(&rng, 10)) {
        case 0: end_key(i); break;
        case 1: case 2: case 3: put(i, false); break;
        case 4: case 5: look(i, true); break;
        default: put(i, true); break;
        }
        if (step % 1024 == 777 && l2_sync(d) == CELLAR_OK) { all_ensured(); }
        if (step % 16 == 0) { (void)base_add_rlx(&ms, (int64_t)20); }
        if (!threads && step % 16 == 0) { (void)l2_tick(d, 0); }
    }
}

static void put_small(uint32_t i, bool durable)
{
    const l2_key k = key_of(&i);
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .durable = durable };
    cellar_err err = CELLAR_DROPPED;
    while (err == CELLAR_DROPPED) { err = l2_put(d, &k, "value", 5, &m, NULL); }
    T_EQ_I64(err, CELLAR_OK);
}

static void begin(char path[T_FOLDER_MAX], bool threads)
{
    t_folder(path);
    base_account_init(&account, UINT64_C(1) << 40, NULL);
    clock_now = (base_clock){ now_ms, now_ms, NULL };
    base_log_init(&lines, &clock_now, NULL, NULL, BASE_LOG_OFF);
    cfg = (l2_config){ .account = &account, .log = &lines, .clock = &clock_now,
                       .bytes = (uint64_t)16 << 20, .memory_bytes = (uint64_t)16 << 20,
                       .no_thread = !threads, .move_pct = 50 };
    memset(key, 0, sizeof key);
    version = 0;
    base_rng_seed(&rng, t_seed());
}

/* Draw the options of a run, and its level. The index has a place for each key. */
static l2_level draw_options(void)
{
    cfg.no_thread = base_rng_below(&rng, 2) == 0;
    cfg.memory_bytes = (uint64_t)4 << (20 + base_rng_below(&rng, 5));
    cfg.avg_object_bytes = (uint64_t)64 << base_rng_below(&rng, 6);
    cfg.move_pct = 40 + (uint32_t)base_rng_below(&rng, 2) * 10;
    cfg.sync_ms = 10 + (int64_t)base_rng_below(&rng, 3) * 500;
    return (l2_level)base_rng_below(&rng, 3);
}

static void lives(l2_level level, bool threads, bool sizes, bool options)
{
    char path[T_FOLDER_MAX];
    const uint64_t most = t_env_u64("LIVES", LIVES);
    begin(path, threads);
    for (uint64_t n = 0; n < most && !t_failed(); n++) {
        if (sizes) { cfg.bytes = (uint64_t)(16 + 12 * base_rng_below(&rng, 3)) << 20; }
        if (options) { level = draw_options(); }
        open_store(path, level);
        for (uint32_t i = 0; i < KEYS; i++) { look(i, false); }
        live(!cfg.no_thread);
        if (base_rng_below(&rng, 3) == 0) {
            T_EQ_I64(l2_end(d), CELLAR_OK);
            all_ensured();
            l2_close(d);
        } else {
            l2_discard(d);
        }
    }
    T_EQ_U64(base_load_rlx(&account.used), 0);
    t_wipe(path);
}

/* Return how many of the keys from `from` on, each `step`-th, have a word. */
static uint32_t words(uint32_t from, uint32_t step)
{
    uint32_t n = 0;
    for (uint32_t i = from; i < MANY; i += step) {
        const l2_key k = key_of(&i);
        n += l2_indexed(d, k.hash);
    }
    return n;
}

static void end_many(void)
{
    for (uint32_t i = 0; i < MANY; i++) {
        const l2_key k = key_of(&i);
        l2_invalidate(d, &k);
    }
}

/* The index of the second open has no place for a part of the records. */
T_CASE(change_of_a_key_without_a_place_is_found_by_the_next_open)
{
    char path[T_FOLDER_MAX];
    begin(path, false);
    open_store(path, L2_DROP);
    for (uint32_t i = 0; i < MANY; i++) { put_small(i, true); }
    l2_close(d);
    cfg.avg_object_bytes = (uint64_t)1 << 20;
    open_store(path, L2_DROP);
    l2_stats st;
    l2_stats_get(d, &st);
    T_CHECK(st.index_full > 0);
    for (uint32_t i = 0; i < MANY; i++) {
        const l2_key k = key_of(&i);
        T_CHECK(!l2_nothing(d, k.hash));
        l2_invalidate(d, &k);
    }
    l2_discard(d);
    cfg.avg_object_bytes = 0;
    open_store(path, L2_DROP);
    T_EQ_U64(words(0, 1), 0);
    l2_close(d);
    t_wipe(path);
}

/* The allocations behind the one that fails succeed. */
T_CASE(failed_allocation_of_an_open_brings_no_deleted_entry)
{
    char path[T_FOLDER_MAX];
    uint32_t lacking = 0;
    bool more = true;
    begin(path, false);
    open_store(path, L2_DROP);
    for (uint32_t i = 0; i < MANY; i++) { put_small(i, true); }
    end_many();
    l2_discard(d);
    cfg.avg_object_bytes = (uint64_t)1 << 20; /* a part of the tombstones finds no place */
    for (uint64_t nth = 1; more && !t_failed(); nth++) {
        int e = 0;
        (void)base_fault_alloc_arm(nth, false);
        const cellar_err err = l2_open(&cfg, &d, &e);
        more = base_fault_alloc_arm(0, false) >= nth;
        if (err != CELLAR_OK) {
            T_EQ_I64(err, CELLAR_E_NOMEM);
            continue;
        }
        T_EQ_U64(words(0, 1), 0);
        lacking += l2_lacks_words(d);
        l2_discard(d);
    }
    T_CHECK(lacking > 0);
    t_wipe(path);
}

/* An ordinary entry gives its place up. It is a miss then, also for the next open. */
T_CASE(full_index_takes_new_keys_and_brings_no_old_value_back)
{
    char path[T_FOLDER_MAX];
    uint32_t there = 0;
    begin(path, false);
    cfg.avg_object_bytes = (uint64_t)1 << 20;
    open_store(path, L2_DROP);
    for (uint32_t i = 0; i < MANY; i++) { put_small(i, false); }
    for (uint32_t i = 0; i < MANY; i++) {
        const l2_key k = key_of(&i);
        there += l2_indexed(d, k.hash);
        if (i % 2 != 0) { l2_invalidate(d, &k); }
    }
    l2_stats st;
    l2_stats_get(d, &st);
    T_CHECK(there > 1000 && there < MANY && st.index_full == 0 && st.lost_index == MANY - there);
    l2_discard(d);
    cfg.avg_object_bytes = 0;
    open_store(path, L2_DROP);
    T_EQ_U64(words(1, 2), 0);
    l2_close(d);
    t_wipe(path);
}

/* The log has no room for the end of an entry that would give its place up. */
T_CASE(put_into_a_full_shard_waits_for_room_of_the_log)
{
    const unsigned char value[16] = { L2_CTL_FLOOR };
    char path[T_FOLDER_MAX];
    uint64_t lsn, end;
    l2_took took;
    begin(path, false);
    cfg.avg_object_bytes = (uint64_t)1 << 20;
    open_store(path, L2_DROP);
    for (uint32_t i = 0; i < MANY; i++) { put_small(i, false); }
    do {
        took = l2_control_try(d, L2_USE_KEEP, L2_KIND_CONTROL, 0, value, sizeof value, &lsn, &end);
    } while (took == L2_TOOK || l2_make_way(d, took, L2_NO_LIMIT_NS) == L2_TOOK);
    for (uint32_t i = MANY; i < MANY + 100; i++) {
        const l2_key k = key_of(&i);
        const l2_meta m = { .deadline_ms = BASE_NEVER_MS };
        T_EQ_I64(l2_put(d, &k, "", 0, &m, NULL), CELLAR_DROPPED);
    }
    for (int i = 0; i < 3; i++) { (void)l2_tick(d, 0); }
    put_small(MANY, false);
    l2_close(d);
    t_wipe(path);
}

T_CASE(durable_entries_keep_their_places)
{
    char path[T_FOLDER_MAX];
    uint32_t stored = 0;
    begin(path, false);
    cfg.avg_object_bytes = (uint64_t)1 << 20;
    open_store(path, L2_DROP);
    for (uint32_t i = 0; i < MANY; i++) {
        const l2_key k = key_of(&i);
        const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .durable = true };
        cellar_err err = CELLAR_DROPPED; /* a write of 100 ms: the machine is busy */
        while (err == CELLAR_DROPPED) { err = l2_put(d, &k, "value", 5, &m, NULL); }
        T_CHECK(err == CELLAR_OK || err == L2_REFUSED);
        stored += err == CELLAR_OK;
    }
    T_CHECK(stored > 1000 && stored < MANY);
    T_EQ_U64(words(0, 1), stored);
    end_many(); /* makes room */
    for (uint32_t i = 0; i < stored / 4; i++) { put_small(MANY + i, true); }
    l2_close(d);
    t_wipe(path);
}

/* ---- keys that share a word ---- */

#define PAIRS 4u
/* Two keys of one row have the same upper 56 bits of l2_mix, with this secret and GENERATION. All
 * 2^32 keys were searched for those with five first bits. */
static const uint32_t pair[PAIRS][2] = { { 1942208957, 2568209154 }, { 2132671910, 2831927796 },
                                         { 2211692864, 4191557500 }, { 2861124810, 3192733765 } };
static const unsigned char secret[32] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 };

static void put_of_pair(uint32_t i, uint32_t v, bool durable)
{
    const l2_key k = key_of(&i);
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = v, .durable = durable };
    T_EQ_I64(l2_put(d, &k, &i, sizeof i, &m, NULL), CELLAR_OK);
}

/* Return the version that is served; 0: none. */
static uint32_t look_of_pair(uint32_t i)
{
    const l2_key k = key_of(&i);
    uint32_t value = 0;
    size_t n = 0;
    l2_meta m;
    if (l2_get(d, &k, &value, sizeof value, &n, &m) != CELLAR_OK) { return 0; }
    T_CHECK(n == sizeof value && value == i);
    return m.user_flags;
}

/* The records of other keys let the log come round. */
static void fill_a_segment(void)
{
    for (uint32_t n = 0; n < 300; n++) { put((uint32_t)base_rng_below(&rng, KEYS), true); }
    (void)l2_tick(d, 0);
}

T_ALONE(no_key_restores_an_older_value_of_another_with_its_bits)
{
    char path[T_FOLDER_MAX];
    uint32_t now[PAIRS][2] = { { 0 } }, hits = 0;
    begin(path, false);
    cfg.secret = secret;
    open_store(path, L2_DROP);
    for (uint32_t i = 0; i < PAIRS; i++) {
        const l2_key a = key_of(&pair[i][0]), b = key_of(&pair[i][1]);
        T_REQUIRE(base_mix64(a.hash) >> 8 == base_mix64(b.hash) >> 8);
    }
    for (uint32_t step = 1; step < 20000 && !t_failed(); step++) {
        const uint64_t r = base_rng_next(&rng), i = r % PAIRS, side = r >> 8 & 1;
        uint32_t *is = &now[i][side];
        if ((r >> 16) % 3 == 0) {
            const l2_key k = key_of(&pair[i][side]);
            l2_invalidate(d, &k);
            *is = 0;
        } else {
            put_of_pair(pair[i][side], *is = step, (r >> 24 & 1) != 0);
        }
        if ((r >> 32) % 100 == 0) { fill_a_segment(); }
        if ((r >> 40) % 200 == 0) {
            l2_discard(d);
            open_store(path, L2_DROP);
        }
        for (uint32_t k = 0; k < 2 * PAIRS; k++) {
            const uint32_t got = look_of_pair(pair[k / 2][k % 2]);
            T_CHECK(got == 0 || got == now[k / 2][k % 2]);
            hits += got != 0;
        }
    }
    T_CHECK(hits > 20000);
    l2_close(d);
    t_wipe(path);
}

T_CASE(process_deaths_lose_nothing_that_was_ensured) { lives(L2_DROP, false, false, false); }
T_CASE(the_same_with_a_thread) { lives(L2_DROP, true, false, false); }
T_CASE(the_same_with_periodic_syncs) { lives(L2_KEEP, true, false, false); }
T_CASE(the_same_while_the_size_changes) { lives(L2_DROP, false, true, false); }
T_CASE(the_same_while_the_size_changes_with_a_thread) { lives(L2_KEEP, true, true, false); }
T_CASE(the_same_with_other_options_in_each_run) { lives(L2_DROP, false, true, true); }

T_MAIN("log_lives")
