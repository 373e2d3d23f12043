/* SPDX-License-Identifier: MIT
 *
 * Aim:    a process death or a power cut in front of any call that changes the disk leaves the state
 *         of one moment, for all keys, tags, patterns and clears. After a death it has all that was
 *         ensured, after a cut all of the last sync or commit. Without periodic syncs a cut leaves
 *         nothing, or what a death leaves.
 * Method: random work on a store of 12 segments on an in-memory disk. In front of each durable
 *         change, and between operations, the disk of a crash is opened. Opens crash as well, two
 *         deep. CRASH_STATES=n: more states. Short runs lose every subset of what may be lost:
 *         CRASH_SUBSETS=n states, at moments with up to CRASH_LOOSE=n loose parts, at least once
 *         with n. Neither clock nor secret of the system is used.
 * SEE ALSO test_log_kill: crashes at the steps between two of those calls. test_log_disk: failed
 *         syncs. */
#define DEV_WRITES 800 /* a place is used again many writes after the copies of its records */
#include "tests/support/log_kit.h"

#define TAGS 3u

static l2_dev third;
static base_rng rng;
static uint64_t states, most_states, hits, copies;
static uint64_t epoch;       /* of tags */
static bool moves;           /* records live long enough to move */
static bool every_way;       /* all subsets instead of random ones */
static uint32_t least_loose, most_loose, most_met;
static bool busy;            /* inside a crash state: its own calls crash only once */

static void opened(l2_dev *on)
{
    uint64_t floor = 0;
    open_on(on);
    epoch = l2_tags_known(d, &floor, l2_dev_no_tag, NULL);
}

/* ---- a crash ---- */

typedef enum { KILL, POWER } how;

/* Judge the store that a crash has left. */
static void judge(how h)
{
    const bool drops = h == POWER && cfg.level == L2_DROP;
    const uint32_t at = moment(h == KILL || drops ? ensured : synced);
    uint32_t found = 0;
    for (uint32_t i = 0; i < KEYS; i++) { found += look(i) != 0; }
    hits += found != 0;
    if (!T_CHECK(at != UINT32_MAX || (drops && found == 0))) {
        printf("# level %d, %s, state %" PRIu64 "\n", (int)cfg.level, h == KILL ? "kill" : "power",
               states);
    }
}

/* Crash while a crashed disk is opened. */
static void recovery_hook(void *ctx)
{
    const how h = *(const how *)ctx;
    l2 *opening = d;
    if (busy || base_rng_below(&rng, 6) != 0) { return; }
    busy = true;
    third.flat = true;
    l2_dev_clone(&other, &third, h == KILL ? NULL : &rng);
    states++;
    open_on(&third);
    judge(h);
    l2_discard(d);
    d = opening;
    vfs = l2_dev_vfs(&other);
    busy = false;
}

/* Delete everything in a second run, then crash again. */
static void crash_again(void)
{
    for (uint32_t i = 0; i < KEYS; i++) { end_one(i); }
    l2_discard(d);
    open_on(&other);
    for (uint32_t i = 0; i < KEYS; i++) { T_EQ_U64(look(i), 0); }
}

/* Open the disk of a crash, judge it, and go on with the store that lives. */
static void crash_open(how h, bool two_deep)
{
    l2 *living = d;
    const uint32_t was = generation_now;
    other.hook = two_deep ? recovery_hook : NULL;
    other.hook_ctx = &h;
    open_on(&other);
    other.hook = NULL;
    judge(h);
    if (two_deep && base_rng_below(&rng, 2) == 0) { crash_again(); }
    l2_discard(d);
    d = living;
    generation_now = was;
    vfs = l2_dev_vfs(&dev);
}

static void crash_now(how h)
{
    if (states >= most_states || t_failed()) { return; }
    const bool two_deep = base_rng_below(&rng, 4) == 0;
    states++;
    other.flat = !two_deep;
    l2_dev_clone(&dev, &other, h == KILL ? NULL : &rng);
    busy = !two_deep;
    crash_open(h, two_deep);
}

/* Try every disk that a power cut can leave now, unless they are too many. */
static void crash_in_every_way(void)
{
    const uint32_t n = l2_dev_loose_count(&dev);
    if (n < least_loose || n > most_loose) { return; }
    most_met = BASE_MAX(most_met, n);
    for (uint64_t arrived = 0; arrived >> n == 0 && states < most_states && !t_failed();
         arrived++) {
        states++;
        other.flat = true;
        l2_dev_pick(&dev, &other, arrived);
        crash_open(POWER, false);
    }
}

static void device_hook(void *ctx)
{
    (void)ctx;
    if (busy) { return; }
    busy = true;
    if (every_way) {
        crash_in_every_way();
    } else if (base_rng_below(&rng, 8) == 0) {
        crash_now(base_rng_below(&rng, 4) == 0 ? KILL : POWER);
    }
    busy = false;
}

/* ---- operations ---- */

/* Most keys are not changed for long, so that passes move their records. */
static uint32_t any_key(void)
{
    const bool few = base_rng_below(&rng, 40) != 0;
    return (uint32_t)base_rng_below(&rng, few ? KEYS / 4 : KEYS);
}

static void change_is(uint32_t key, uint32_t version)
{
    T_REQUIRE(changes < MOST_CHANGES);
    within[changes] = false;
    history[changes++] = (change){ key, version };
    last[key] = version;
}

static void op_put(uint32_t key)
{
    unsigned char buf[BYTES];
    const bool durable = base_rng_below(&rng, 2) == 0, replaces = last[key] != 0;
    const uint32_t version = changes + 1;
    const uint64_t tag = 1 + key % TAGS;
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = version, .durable = durable,
                        .tag_count = 1, .tag_born = epoch, .tag_fps = &tag };
    const l2_key k = key_of(&key);
    memset(buf, (int)(key + version), sizeof buf);
    change_is(key, version);
    cellar_err err = CELLAR_DROPPED;
    for (int n = 0; err == CELLAR_DROPPED && n < 100; n++) {
        err = l2_put(d, &k, buf, bytes_of(key, version), &m, NULL);
        if (err == CELLAR_DROPPED) { (void)l2_tick(d, 0); }
    }
    T_REQUIRE(err == CELLAR_OK);
    if (durable || replaces) { ensured = changes; }
}

static void op_delete(uint32_t key)
{
    const bool replaces = last[key] != 0;
    change_is(key, 0);
    end_one(key);
    if (replaces) { ensured = changes; }
}

/* End the keys with key % by == rest, as one change. */
static void all_end(uint32_t by, uint32_t rest)
{
    for (uint32_t i = 0; i < KEYS; i++) {
        if (i % by != rest) { continue; }
        change_is(i, 0);
        within[changes - 1] = i + by < KEYS;
    }
}

static void op_tag(uint32_t tag)
{
    all_end(TAGS, tag);
    l2_tag_invalidate(d, 1 + tag, ++epoch, false);
    ensured = changes;
}

/* A key is its number, low byte first: a pattern with a set of first bytes. */
static void op_pattern(uint32_t rest)
{
    char pattern[3 * KEYS] = "[";
    size_t n = 1;
    uint64_t walk = 0;
    all_end(5, rest);
    for (uint32_t i = rest; i < KEYS; i += 5) {
        pattern[n++] = '\\';
        pattern[n++] = (char)i;
    }
    memcpy(pattern + n, "]*", 2);
    T_EQ_I64(l2_glob_begin(d, generation_now, pattern, n + 2, &walk), CELLAR_OK);
    if (base_rng_below(&rng, 2) == 0) { (void)l2_tick(d, 0); }
    l2_glob_end(d, walk);
    ensured = changes;
}

static void op_clear(void)
{
    const l2_namespace v = { .id = 1, .generation = generation_now + 1 };
    all_end(1, 0);
    generation_now++;
    T_EQ_I64(l2_namespace_set(d, &v, "all", 3, NULL), CELLAR_OK);
    ensured = changes;
}

static void op_sync(void)
{
    const bool commits = cfg.level != L2_DROP && base_rng_below(&rng, 4) != 0;
    T_EQ_I64(commits ? l2_commit(d) : l2_sync(d), CELLAR_OK);
    synced = ensured = changes;
}

static void op_reopen(void)
{
    l2_stats st;
    l2_stats_get(d, &st);
    copies += st.moved;
    l2_close(d);
    synced = ensured = changes;
    opened(&dev);
    T_EQ_U64(moment(changes), changes);
}

static void one_op(void)
{
    uint64_t pick = base_rng_below(&rng, 1000);
    if (moves && pick >= 700 && pick < 714 && base_rng_below(&rng, 16) != 0) { pick = 999; }
    const bool commits = cfg.level == L2_ALWAYS || base_rng_below(&rng, 20) == 0;
    if (pick < 500) {
        op_put(any_key());
    } else if (pick < 700) {
        op_delete(any_key());
    } else if (pick < 705) {
        op_tag((uint32_t)base_rng_below(&rng, TAGS));
    } else if (pick < 710) {
        op_pattern((uint32_t)base_rng_below(&rng, 5));
    } else if (pick < 712) {
        op_clear();
    } else if (pick < 714) {
        op_reopen();
    } else if (pick < 800 && commits) {
        op_sync();
    } else {
        ms += 100;
        (void)l2_tick(d, 0);
    }
}

/* ---- lives ---- */

/* Run one life of a store. `before`: operations without crashes, then a sync. */
static void life(uint32_t before, uint32_t ops)
{
    unsigned char uuid[16]; /* marks and checks depend on it: a seed repeats them, too */
    for (size_t i = 0; i < sizeof uuid; i++) { uuid[i] = (unsigned char)base_rng_next(&rng); }
    begin((l2_level)base_rng_below(&rng, 3));
    cfg.uuid = uuid;
    cfg.sync_ms = base_rng_below(&rng, 2) == 0 ? 1000 : 1000000;
    moves = !every_way && base_rng_below(&rng, 3) == 0;
    before += moves ? 5000 : 0; /* until segments are passed */
    l2_dev_init(&dev);
    opened(&dev);
    for (uint32_t i = 0; i < before; i++) { one_op(); }
    T_EQ_I64(l2_sync(d), CELLAR_OK);
    synced = ensured = changes;
    dev.hook = device_hook;
    busy = false;
    for (uint32_t i = 0; i < ops && states < most_states && !t_failed(); i++) {
        one_op();
        if (every_way || base_rng_below(&rng, 6) == 0) { device_hook(NULL); }
    }
    dev.hook = NULL;
    l2_stats st;
    l2_stats_get(d, &st);
    copies += st.moved;
    l2_discard(d);
    l2_dev_fini(&dev);
}

static void start(uint64_t seed, uint64_t most, bool subsets)
{
    base_rng_seed(&rng, seed);
    most_states = most;
    every_way = subsets;
    states = hits = copies = 0;
}

static void end(uint64_t lives)
{
    printf("# %" PRIu64 " crash states in %" PRIu64 " runs, %" PRIu64 " hits, %" PRIu64
           " records moved\n", states, lives, hits, copies);
    l2_dev_fini(&other);
    l2_dev_fini(&third);
}

T_CASE(every_crash_keeps_the_promise_of_its_level)
{
    uint64_t lives = 0;
    start(t_seed(), t_env_u64("CRASH_STATES", t_share(8000)), false);
    for (; (states < most_states || copies == 0) && lives < 1000 && !t_failed(); lives++) {
        life((uint32_t)base_rng_below(&rng, 3000), 300);
    }
    end(lives);
    T_CHECK(hits > states / 4 && copies > 0);
}

/* After a sync a few operations leave few enough loose parts. */
T_CASE(every_subset_of_lost_writes_of_short_runs_keeps_the_promise)
{
    uint64_t lives = 0;
    start(t_seed() + 1, t_env_u64("CRASH_SUBSETS", t_share(4000)), true);
    least_loose = 1;
    most_loose = (uint32_t)BASE_MIN(t_env_u64("CRASH_LOOSE", 8), 20);
    for (; (states < most_states || lives < 16) && !t_failed(); lives++) {
        life((uint32_t)base_rng_below(&rng, 120), 2 + (uint32_t)base_rng_below(&rng, 10));
    }
    if (most_met < most_loose) { /* no moment with as many by chance */
        least_loose = most_loose;
        most_states += UINT64_C(1) << most_loose;
    }
    for (uint32_t tries = 0; states < most_states && !t_failed(); tries++, lives++) {
        T_REQUIRE(tries < 100000);
        life((uint32_t)base_rng_below(&rng, 120), 2 + (uint32_t)base_rng_below(&rng, 40));
    }
    end(lives);
    T_CHECK(hits > 0 && most_met == most_loose); /* some lives have few entries to hit */
}

/* ---- an interrupted open ---- */

/* Let the n-th call of an open fail, then open without a fault. Return false if no call failed. */
static bool opens_after_a_fault(uint64_t nth)
{
    l2_dev_clone(&dev, &other, NULL);
    other.fail_site = -1;
    other.fail_errno = EIO;
    other.fail_at = nth;
    other.fail_sticky = true;
    const cellar_err err = open_may_fail(&other);
    const bool failed = other.fail_at == 1;
    if (err == CELLAR_OK) { l2_discard(d); }
    other.fail_at = 0;
    open_on(&other);
    T_EQ_U64(moment(changes), changes);
    l2_discard(d);
    return failed;
}

T_CASE(an_interrupted_recovery_loses_no_complete_record)
{
    uint64_t opens = 0;
    base_rng_seed(&rng, t_seed());
    for (uint32_t i = 0; i < 6 && !t_failed(); i++) {
        begin((l2_level)(i % 3));
        l2_dev_init(&dev);
        dev.flat = other.flat = true;
        opened(&dev);
        for (uint64_t n = base_rng_below(&rng, 4000); n > 0; n--) { one_op(); }
        op_delete(0);
        op_put(1);
        op_put(1);
        l2_discard(d);
        uint64_t nth = 1;
        while (opens_after_a_fault(nth) && !t_failed()) { nth++; }
        if (t_failed()) { printf("# call %" PRIu64 " fails\n", nth); }
        opens += nth;
        l2_dev_fini(&dev);
    }
    printf("# %" PRIu64 " interrupted opens\n", opens);
    l2_dev_fini(&other);
}

T_ONE_THREAD;
T_MAIN("l2_crash")
