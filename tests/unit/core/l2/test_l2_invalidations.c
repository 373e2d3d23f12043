/* SPDX-License-Identifier: MIT
 *
 * Aim:    a record that a tag or pattern invalidated is not served by this process or a later one,
 *         whenever it was written. No other record is invalidated. P8, P11: no dead entry comes
 *         back after any number of reopens. They follow a close, a process death, another boot, a
 *         wall clock ten years off, or a resize. Dead means expired, deleted, overwritten, cleared,
 *         or invalidated. Each stored entry that was not reclaimed is found, byte for byte, with
 *         its TTL.
 * Method: small stores on an in-memory disk. Invalidations arrive at chosen points of a put. Random
 *         runs at every level, with other options in each run, in half of the stores with a cipher,
 *         against a table of current entries: 50 reopens per store; REOPENS=n in all. Crashes at
 *         each call: test_l2_crash. */
#include "base/glob.h"
#include "l2/control.h"
#include "l2/invalidations.h"
#include "l2/namespaces.h"
#include "tests/support/l2_kit.h"
#include "tests/support/toy_cipher.h"

static l2_dev dev;
static l2_kit kit;
static uint64_t epoch, tag_floor;

static void no_tag(void *ctx, uint64_t fp, uint64_t hard, uint64_t soft)
{
    (void)fp, (void)hard, (void)soft;
    (*(uint32_t *)ctx)++;
}

static uint32_t known(void)
{
    uint32_t n = 0;
    epoch = l2_tags_known(kit.d, &tag_floor, no_tag, &n);
    return n;
}

static void begin(void) { l2_kit_begin(&kit, &dev, L2_DROP); T_EQ_U64(known(), 0); }

static void killed(void) { l2_kit_killed(&kit, &dev); (void)known(); }

#define STORE(fn) T_WITHIN(fn, begin(), l2_kit_end(&kit, &dev))

static l2_key key_of(const char *text)
{
    return l2_kit_key(&kit, text, strlen(text), L2_KIT_GENERATION);
}

static cellar_err put(const char *key, uint64_t tag, uint64_t born)
{
    const l2_key id = key_of(key);
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .durable = true, .user_flags = 7,
                        .tag_count = tag != 0, .tag_born = born, .tag_fps = &tag };
    return l2_put(kit.d, &id, "value", 5, &m, NULL);
}

static bool there(const char *key)
{
    char buf[16];
    size_t len;
    l2_meta m;
    const l2_key id = key_of(key);
    return l2_get(kit.d, &id, buf, sizeof buf, &len, &m) == CELLAR_OK;
}

static void match(const char *pattern)
{
    uint64_t walk;
    T_EQ_I64(l2_glob_begin(kit.d, L2_KIT_GENERATION, pattern, strlen(pattern), &walk), CELLAR_OK);
    l2_glob_end(kit.d, walk);
}

T_CASE_ON(tags_are_returned_with_the_value, STORE)
{
    const uint64_t fps[CELLAR_TAGS_MAX] = { 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24,
                                            25, 26 };
    const l2_key id = key_of("many");
    const l2_meta in = { .deadline_ms = BASE_NEVER_MS, .durable = true, .stale_ms = 1,
                         .idle_ms = 2, .version = 3, .user_flags = 5, .cost = 6,
                         .tag_count = CELLAR_TAGS_MAX, .tag_born = epoch + 9, .tag_fps = fps };
    T_EQ_I64(l2_put(kit.d, &id, "v", 1, &in, NULL), CELLAR_OK);
    killed();
    const l2_key again = key_of("many");
    char buf[4];
    size_t len;
    l2_meta m;
    T_EQ_I64(l2_get(kit.d, &again, buf, sizeof buf, &len, &m), CELLAR_OK);
    T_EQ_U64(m.tag_count, CELLAR_TAGS_MAX);
    T_EQ_U64(m.tag_born, in.tag_born);
    T_EQ_MEM(m.tags, fps, sizeof fps);
    T_EQ_U64(m.cost, 6);
}

/* Of what lies on disk a soft invalidation leaves nothing, too. */
T_CASE(a_tag_invalidates_entries_born_before)
{
    for (int soft = 0; soft < 2; soft++) {
        begin();
        T_EQ_I64(put("old", 5, epoch), CELLAR_OK);
        T_EQ_I64(put("other", 6, epoch), CELLAR_OK);
        T_EQ_I64(put("plain", 0, 0), CELLAR_OK);
        l2_tag_invalidate(kit.d, 5, epoch + 1, soft != 0);
        T_CHECK(!there("old") && there("other") && there("plain"));
        T_EQ_I64(put("late", 5, epoch), L2_REFUSED);
        T_EQ_I64(put("new", 5, epoch + 1), CELLAR_OK);
        killed();
        T_CHECK(!there("old") && there("other") && there("plain") && there("new") &&
                !there("late"));
        T_FIELDS(l2_kit_figures(&kit), tags, 1, miss_invalid, 1);
        T_EQ_I64(put("old", 5, epoch), CELLAR_OK);
        T_CHECK(there("old"));
        l2_kit_end(&kit, &dev);
    }
}

static uint32_t told[7], tells;

/* While the first tag is told, forget those that no record needs any more: 1, 2, 3. */
static void tell(void *ctx, uint64_t fp, uint64_t hard, uint64_t soft)
{
    T_CHECK(fp >= 1 && fp <= 6 && hard == epoch + fp && soft == 0);
    if (tells++ == 0) {
        base_store_rel(&kit.d->header_floor, *(const uint64_t *)ctx);
        l2_invalidation_forget(kit.d);
    }
    told[fp % 7]++;
}

T_CASE_ON(an_open_hears_of_each_tag_while_a_pass_forgets_others, STORE)
{
    uint64_t floor = 0, tail = 0;
    for (uint64_t fp = 1; fp <= 6; fp++) {
        if (fp == 4) { tail = base_load_acq(&kit.d->tail); }
        l2_tag_invalidate(kit.d, fp, epoch + fp, false);
    }
    (void)l2_tags_known(kit.d, &floor, tell, &tail);
    T_EQ_U64(l2_kit_figures(&kit).tags, 3);
    T_CHECK(told[4] != 0 && told[5] != 0 && told[6] != 0);
}

T_CASE_ON(a_pattern_deletes_entries_put_before, STORE)
{
    T_EQ_I64(put("user:1", 0, 0), CELLAR_OK);
    T_EQ_I64(put("user:2", 0, 0), CELLAR_OK);
    T_EQ_I64(put("item:1", 0, 0), CELLAR_OK);
    const l2_key other = l2_kit_key(&kit, "user:1", 6, L2_KIT_GENERATION + 1);
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .durable = true };
    T_EQ_I64(l2_put(kit.d, &other, "v", 1, &m, NULL), CELLAR_OK);
    uint64_t walk;
    T_EQ_I64(l2_glob_begin(kit.d, L2_KIT_GENERATION, "user:*", 6, &walk), CELLAR_OK);
    T_CHECK(!there("user:1") && !there("user:2") && there("item:1"));
    T_EQ_I64(put("user:3", 0, 0), CELLAR_DROPPED); /* the pattern is in progress */
    T_EQ_I64(put("item:2", 0, 0), CELLAR_OK);
    l2_glob_end(kit.d, walk);
    T_EQ_I64(put("user:2", 0, 0), CELLAR_OK);
    T_CHECK(!there("user:1") && there("user:2"));
    killed();
    T_CHECK(!there("user:1") && there("user:2") && there("item:1") && there("item:2"));
    char buf[4];
    size_t len;
    l2_meta out;
    const l2_key same = l2_kit_key(&kit, "user:1", 6, L2_KIT_GENERATION + 1);
    T_EQ_I64(l2_get(kit.d, &same, buf, sizeof buf, &len, &out), CELLAR_OK);
}

/* ---- during a put ---- */

static bool ending, by_tag;
static uint64_t walk_of_it;

/* The check of the tags of a put. It comes before the append. */
static int end_now(void *ctx, uint64_t born, const void *fps, uint32_t count)
{
    (void)ctx, (void)born, (void)fps, (void)count;
    if (ending) { return by_tag; } /* the check after that, and one of a get */
    ending = true;
    if (by_tag) {
        l2_tag_invalidate(kit.d, 5, epoch + 1, false);
    } else {
        T_EQ_I64(l2_glob_begin(kit.d, L2_KIT_GENERATION, "k*", 2, &walk_of_it), CELLAR_OK);
        l2_glob_end(kit.d, walk_of_it);
    }
    return 0;
}

static cellar_err put_ended(void)
{
    const uint64_t tag = 5;
    const l2_key id = key_of("key");
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .durable = true, .tag_count = 1,
                        .tag_born = epoch, .tag_fps = &tag };
    ending = false;
    return l2_put(kit.d, &id, "v", 1, &m, NULL);
}

T_CASE_ON(an_invalidation_during_a_put_wins, STORE)
{
    kit.cfg.tags_valid = end_now;
    killed();
    by_tag = true;
    T_EQ_I64(put_ended(), L2_REFUSED);
    T_CHECK(ending && !there("key"));
    killed();
    T_CHECK(!there("key"));
    by_tag = false;
    /* In the cache the stamp has moved with the pattern. Here there is none, so the put is repeated
     * as a new one. */
    T_EQ_I64(put_ended(), CELLAR_OK);
    T_CHECK(ending && there("key"));
}

/* ---- during a get ---- */

static bool reading;

/* Read the bytes, then reclaim everything older than the invalidation, and so its row. */
static int read_slowly(void *ctx, base_vfs_file *f, void *buf, size_t n, uint64_t off, size_t *done)
{
    const int e = l2_dev_pread(ctx, f, buf, n, off, done);
    if (!reading) { return e; }
    reading = false;
    for (uint32_t round = 1; round < 40; round++) { l2_kit_fill(&kit, round); }
    T_EQ_I64(l2_sync(kit.d), CELLAR_OK);
    T_EQ_U64(l2_kit_figures(&kit).tags + l2_kit_figures(&kit).globs, 0);
    return e;
}

T_CASE(an_invalidation_reclaimed_during_a_get_still_counts)
{
    for (int tag = 0; tag < 2; tag++) {
        begin();
        kit.vfs.pread = read_slowly;
        T_EQ_I64(put("k", 5, epoch), CELLAR_OK);
        for (uint32_t round = 1; l2_kit_figures(&kit).sealed < 2; round++) {
            l2_kit_fill(&kit, round);
        }
        T_CHECK(there("k"));
        if (tag != 0) { l2_tag_invalidate(kit.d, 5, epoch + 1, false); } else { match("k*"); }
        T_CHECK(!there("k"));
        reading = true;
        T_CHECK(!there("k") && !reading);
        l2_kit_end(&kit, &dev);
    }
}

/* ---- limits ---- */

T_CASE_ON(a_lost_tag_epoch_is_never_used_again, STORE)
{
    const uint64_t first = epoch;
    /* after a hundred invalidations of unknown tags */
    T_EQ_I64(put("k", 5, first + 100), CELLAR_OK);
    killed();
    T_CHECK(epoch > first + 100);
    l2_tag_invalidate(kit.d, 5, epoch + 1, false);
    T_CHECK(!there("k"));
}

T_CASE(too_many_tags_invalidate_the_oldest_tagged_entries)
{
    l2_dev_init(&dev);
    l2_kit_init(&kit, &dev);
    kit.cfg.seg_count = 40;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    (void)known();
    T_EQ_I64(put("tagged", 5, epoch), CELLAR_OK);
    T_EQ_I64(put("plain", 0, 0), CELLAR_OK);
    for (uint64_t i = 1; i <= L2_TAGS_MAX; i++) {
        l2_tag_invalidate(kit.d, 1000 + i, epoch + i, false);
        (void)l2_tick(kit.d, 1000);
    }
    T_CHECK(there("tagged"));
    T_EQ_U64(l2_kit_figures(&kit).folds, 0);
    T_EQ_I64(put("young", 5, epoch + L2_TAGS_MAX), CELLAR_OK);
    l2_tag_invalidate(kit.d, 999, epoch + L2_TAGS_MAX + 1, false);
    T_EQ_U64(l2_kit_figures(&kit).folds, 1);
    T_CHECK(!there("tagged") && there("plain") && there("young"));
    killed();
    T_CHECK(!there("tagged") && there("plain") && there("young"));
    T_CHECK(known() <= L2_TAGS_MAX / 2 && tag_floor != 0);
    l2_kit_end(&kit, &dev);
}

T_CASE(too_many_patterns_drop_records_before_the_oldest)
{
    char text[16];
    begin();
    T_EQ_I64(put("first", 0, 0), CELLAR_OK);
    for (unsigned i = 0; i < L2_GLOBS_MAX; i++) {
        snprintf(text, sizeof text, "x%u*", i);
        if (i == 9) { T_EQ_I64(put("x9", 0, 0), CELLAR_OK); }
        match(text);
        if (i == 0) { T_EQ_I64(put("second", 0, 0), CELLAR_OK); }
        (void)l2_tick(kit.d, 1000);
    }
    T_CHECK(there("first") && there("second"));
    T_EQ_U64(l2_kit_figures(&kit).globs, L2_GLOBS_MAX);
    match("x7*"); /* known: it replaces its own row, so no limit is exceeded */
    T_CHECK(there("first"));
    match("y*");
    T_CHECK(!there("first") && there("second"));
    T_CHECK(!there("x9")); /* the other patterns stay */
    T_EQ_U64(l2_kit_figures(&kit).globs, L2_GLOBS_MAX);
    killed();
    T_CHECK(!there("first") && there("second"));
    l2_kit_end(&kit, &dev);
}

static uint32_t living; /* the generation of a namespace that is open */

static bool is_living(void *ctx, uint32_t generation)
{
    (void)ctx;
    return generation == living;
}

/* A namespace is cleared after each `clears` patterns, 0: once, when they fill the table. Another
 * one keeps its entries. */
static void patterns_of_cleared(unsigned clears)
{
    char text[16];
    uint64_t walk;
    l2_namespace ns = { 2, L2_KIT_GENERATION + 1, 1 };
    begin();
    kit.cfg.generation_alive = is_living;
    killed();
    T_EQ_I64(put("first", 0, 0), CELLAR_OK);
    T_EQ_I64(l2_namespace_set(kit.d, &ns, "cleared", 7, NULL), CELLAR_OK);
    for (unsigned i = 0; i < (clears != 0 ? 3 * L2_GLOBS_MAX : 2 * L2_GLOBS_MAX - 1); i++) {
        living = (uint32_t)ns.generation;
        snprintf(text, sizeof text, "x%u*", i);
        T_EQ_I64(l2_glob_begin(kit.d, living, text, strlen(text), &walk), CELLAR_OK);
        l2_glob_end(kit.d, walk);
        if ((clears != 0 && i % clears == 0) || i + 1 == L2_GLOBS_MAX) {
            ns.generation++;
            T_EQ_I64(l2_namespace_set(kit.d, &ns, "cleared", 7, NULL), CELLAR_OK);
        }
        (void)l2_tick(kit.d, 1000);
    }
    T_EQ_U64(l2_kit_figures(&kit).folds, 0);
    T_CHECK(there("first"));
    for (int lives = 0; lives < 2; lives++) {
        killed();
        T_EQ_U64(l2_kit_figures(&kit).folds, 0);
        T_CHECK(there("first"));
    }
    l2_kit_end(&kit, &dev);
}

T_CASE(patterns_of_a_generation_that_ended_take_no_place)
{
    patterns_of_cleared(1);
    patterns_of_cleared(3);
    patterns_of_cleared(0);
}

/* One record of each side of a clear: before the number of the table begins, and behind it. */
T_CASE_ON(the_patterns_of_a_generation_count_until_it_ended, STORE)
{
    kit.cfg.generation_alive = is_living;
    living = L2_KIT_GENERATION;
    killed();
    T_EQ_I64(put("k", 0, 0), CELLAR_OK);
    T_EQ_I64(put("other", 0, 0), CELLAR_OK);
    match("k*");
    const l2_namespace next = { 1, L2_KIT_GENERATION + 1, 1 };
    T_EQ_I64(l2_namespace_set(kit.d, &next, "all", 3, NULL), CELLAR_OK);
    match("x*"); /* the table has the next generation, which did not begin */
    T_CHECK(!there("k") && there("other"));
    living = L2_KIT_GENERATION + 1;
    match("x*"); /* the rows are forgotten, and a get that began before finds nothing */
    T_EQ_U64(l2_kit_figures(&kit).globs, 1);
    T_CHECK(!there("k") && !there("other"));
}

T_CASE_ON(patterns_may_fill_the_room_of_their_text, STORE)
{
    char text[BASE_GLOB_MAX + 1] = { 0 };
    memset(text, 'x', BASE_GLOB_MAX);
    T_EQ_I64(put("first", 0, 0), CELLAR_OK);
    for (unsigned i = 0; i < L2_GLOB_TEXT_MAX / BASE_GLOB_MAX; i++) {
        text[i] = '*';
        match(text);
    }
    T_CHECK(there("first"));
    match("y");
    T_CHECK(!there("first"));
}

T_CASE_ON(too_many_patterns_in_progress_hit_the_limit, STORE)
{
    uint64_t walk[L2_GLOBS_MAX], more;
    char text[16];
    kit.now_ms += 1;
    for (unsigned i = 0; i < L2_GLOBS_MAX; i++) {
        snprintf(text, sizeof text, "x%u*", i);
        T_EQ_I64(l2_glob_begin(kit.d, L2_KIT_GENERATION, text, strlen(text), &walk[i]), CELLAR_OK);
        (void)l2_tick(kit.d, 1000);
    }
    T_EQ_I64(l2_glob_begin(kit.d, L2_KIT_GENERATION, "y*", 2, &more), CELLAR_E_LIMIT);
    for (unsigned i = 0; i < L2_GLOBS_MAX; i++) { l2_glob_end(kit.d, walk[i]); }
    match("y*");
}

/* The pattern "z*" is under way while others begin and end. Its floor is below theirs. */
T_CASE_ON(pattern_that_ends_late_lowers_no_floor, STORE)
{
    uint64_t late;
    char text[16];
    T_EQ_I64(l2_glob_begin(kit.d, L2_KIT_GENERATION, "z*", 2, &late), CELLAR_OK);
    T_EQ_I64(put("k", 0, 0), CELLAR_OK);
    match("k*");
    for (unsigned i = 0; i < L2_GLOBS_MAX; i++) {
        snprintf(text, sizeof text, "x%u*", i);
        match(text);
        (void)l2_tick(kit.d, 1000);
    }
    T_CHECK(!there("k"));
    l2_glob_end(kit.d, late);
    match("y*");
    T_CHECK(!there("k"));
}

/* The log has a pattern more than the table, and the open has no room to fold the oldest. */
T_CASE_ON(open_without_memory_for_a_floor_brings_nothing_back, STORE)
{
    enum { MANY = L2_GLOBS_MAX + 1 };
    char text[16];
    uint64_t opens = 0;
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(text, sizeof text, "k%u", i);
        T_EQ_I64(put(text, 0, 0), CELLAR_OK);
        match(text);
        (void)l2_tick(kit.d, 1000);
    }
    for (uint64_t n = 1, more = 1; more; n++) {
        l2_kit_kill(&kit);
        dev.locked = false;
        (void)base_fault_alloc_arm(n, false);
        const cellar_err err = l2_kit_open(&kit);
        more = base_fault_alloc_arm(0, false) >= n;
        if (err != CELLAR_OK) { continue; }
        opens += more;
        for (unsigned i = 0; i < MANY; i++) {
            snprintf(text, sizeof text, "k%u", i);
            T_CHECK(!there(text));
        }
    }
    T_CHECK(opens > 0);
}

T_CASE_ON(rows_are_removed_when_no_older_record_is_left, STORE)
{
    T_EQ_I64(put("k", 5, epoch), CELLAR_OK);
    l2_tag_invalidate(kit.d, 5, epoch + 1, false);
    match("k*");
    for (uint32_t round = 1; round < 40; round++) { l2_kit_fill(&kit, round); }
    T_CHECK(l2_kit_figures(&kit).reclaimed > 6);
    T_EQ_U64(l2_kit_figures(&kit).tags, 0);
    T_EQ_U64(l2_kit_figures(&kit).globs, 0);
    killed();
    T_EQ_U64(known(), 0);
}

/* The control of a pattern in progress finds no room. All records on disk are dropped, so the
 * control has no target. The cache may still put matching keys, which must be refused. */
T_CASE_ON(a_pattern_without_a_control_refuses_its_keys, STORE)
{
    for (uint32_t i = 0; put("item:1", 0, 0) == CELLAR_OK; i++) { T_REQUIRE(i < 5000); }
    l2_floor_log(kit.d, l2_floor_begin(kit.d), L2_LOST_stall);
    uint64_t walk;
    T_EQ_I64(l2_glob_begin(kit.d, L2_KIT_GENERATION, "user:*", 6, &walk), CELLAR_OK);
    for (uint32_t i = 0; i < 100 && put("item:1", 0, 0) != CELLAR_OK; i++) {
        (void)l2_tick(kit.d, 1000);
    }
    T_CHECK(there("item:1")); /* there is room again, and the pattern is in progress */
    T_EQ_I64(put("user:1", 0, 0), CELLAR_DROPPED);
    l2_glob_end(kit.d, walk);
    T_EQ_I64(put("user:2", 0, 0), CELLAR_OK);
    T_CHECK(!there("user:1") && there("user:2"));
    killed();
    T_CHECK(!there("user:1") && there("user:2") && there("item:1"));
}

/* ---- memory ---- */

/* Its next generation may have found no room, either: a row of the older one would revive it. */
T_CASE_ON(a_generation_that_found_no_room_gets_no_row_later, STORE)
{
    char name[8];
    uint32_t i = 2;
    cellar_err err = CELLAR_OK;
    for (; err == CELLAR_OK && i < 100; i++) {
        const l2_namespace v = { i, 100 + i, 1 };
        (void)snprintf(name, sizeof name, "n%u", i);
        (void)base_fault_alloc_arm(1, false);
        err = l2_namespace_set(kit.d, &v, name, strlen(name), NULL);
        (void)base_fault_alloc_arm(0, false);
    }
    T_EQ_I64(err, CELLAR_E_NOMEM);
    const l2_namespace late = { i - 1, 100 + i - 1, 1 }, next = { i - 1, 100 + i, 1 };
    T_EQ_I64(l2_namespace_set(kit.d, &late, name, strlen(name), NULL), CELLAR_E_NOMEM);
    T_CHECK(!l2_generation_used(kit.d, 100 + i - 1));
    T_EQ_I64(l2_namespace_set(kit.d, &next, name, strlen(name), NULL), CELLAR_OK);
    T_CHECK(l2_generation_used(kit.d, 100 + i));
}

/* Each refused allocation gives an error or a coarser invalidation, never an old entry. */
T_CASE(invalidations_hold_after_any_refused_allocation)
{
    for (uint64_t n = 1; n < 40 && !t_failed(); n++) {
        begin();
        T_EQ_I64(put("k1", 5, epoch), CELLAR_OK);
        T_EQ_I64(put("q1", 0, 0), CELLAR_OK);
        (void)base_fault_alloc_arm(n, false);
        l2_tag_invalidate(kit.d, 5, epoch + 1, false);
        uint64_t walk = 0;
        const cellar_err err = l2_glob_begin(kit.d, L2_KIT_GENERATION, "q*", 2, &walk);
        const bool more = base_fault_alloc_arm(0, false) >= n;
        if (err == CELLAR_OK) { l2_glob_end(kit.d, walk); }
        T_CHECK(err == CELLAR_OK || err == CELLAR_E_NOMEM);
        T_CHECK(!there("k1") && (err != CELLAR_OK) == there("q1"));
        killed();
        T_CHECK(!there("k1") && (err != CELLAR_OK) == there("q1"));
        l2_kit_end(&kit, &dev);
        if (!more) { break; }
    }
}

/* ---- everything, at random, over reopens ---- */

#define KEYS 40u
#define TAGS 4u
#define A_STORE 50u
#define TEN_YEARS (INT64_C(3653) * 86400000)
#define SEEN_MS 60000 /* interval at which SUPER records the time */

typedef struct entry {
    uint32_t version; /* current version; 0: none */
    bool stored;      /* its put was acknowledged */
    bool written;     /* a process death does not lose it */
    uint64_t gone;    /* segments reclaimed and dropped up to then */
    int64_t expiry_wall_ms; /* 0: none */
} entry;

static base_rng rng;
static uint64_t cipher_key = 7;
static const cellar_l2_cipher cipher = { .struct_size = sizeof cipher, .ctx = &cipher_key,
                                         .seal = toy_seal, .open = toy_open,
                                         .overhead_bytes = sizeof cipher_key };
static entry of[KEYS];
static uint32_t generation, version;
static uint64_t gone_before, served, had_to;

/* Return the segments that this store has reclaimed or dropped so far. */
static uint64_t gone_now(void)
{
    const l2_stats st = l2_kit_figures(&kit);
    return gone_before + st.reclaimed + st.emptied;
}

static size_t length_of(uint32_t key, uint32_t v) { return 8 + (key * 131 + v * 37) % 500; }

static void fill(unsigned char *buf, size_t n, uint32_t key, uint32_t v)
{
    for (size_t i = 0; i < n; i++) { buf[i] = (unsigned char)(key * 31 + v * 7 + i); }
}

static void ended(uint32_t key) { of[key] = (entry){ .version = 0 }; }

static void changed(uint32_t key)
{
    const l2_key id = l2_kit_key(&kit, &key, sizeof key, generation);
    ended(key);
    l2_invalidate(kit.d, &id);
}

static void put_any(uint32_t key)
{
    unsigned char buf[512];
    const uint64_t tag = 1 + key % TAGS;
    const int64_t ttl_ms = base_rng_below(&rng, 2) == 0
                               ? 0 : 1 + (int64_t)base_rng_below(&rng, 200000);
    const size_t n = length_of(key, ++version);
    const bool durable = base_rng_below(&rng, 2) == 0;
    const l2_meta m = { .deadline_ms = ttl_ms != 0 ? kit.now_ms + ttl_ms : BASE_NEVER_MS,
                        .user_flags = version, .tag_count = 1, .tag_born = epoch,
                        .tag_fps = &tag, .durable = durable, .pack = kit.cfg.crypt != NULL };
    const l2_key id = l2_kit_key(&kit, &key, sizeof key, generation);
    changed(key);
    fill(buf, n, key, version);
    const cellar_err err = l2_put(kit.d, &id, buf, n, &m, NULL);
    of[key] = (entry){ version, err == CELLAR_OK, durable, gone_now(),
                       ttl_ms != 0 ? l2_wall_now(kit.d) + ttl_ms : 0 };
}

static void clear(void)
{
    const l2_namespace v = { 1, l2_next_generation(kit.d), 1 };
    T_CHECK(v.generation > generation);
    generation = (uint32_t)v.generation;
    for (uint32_t key = 0; key < KEYS; key++) { ended(key); }
    T_EQ_I64(l2_namespace_set(kit.d, &v, "v", 1, NULL), CELLAR_OK);
}

static void end_tag(uint32_t tag)
{
    for (uint32_t key = tag; key < KEYS; key += TAGS) { ended(key); }
    l2_tag_invalidate(kit.d, 1 + tag, ++epoch, base_rng_below(&rng, 2) != 0);
}

static void end_pattern(bool low)
{
    static const char *const pattern[2] = { "[^\0-\11]*", "[\0-\11]*" };
    uint64_t walk = 0;
    for (uint32_t key = 0; key < KEYS; key++) {
        if ((key < 10) == low) { ended(key); }
    }
    T_EQ_I64(l2_glob_begin(kit.d, generation, pattern[low], low ? 6 : 7, &walk), CELLAR_OK);
    l2_glob_end(kit.d, walk);
}

static void look(uint32_t key, bool must)
{
    unsigned char buf[512], want[512];
    size_t len = 0;
    l2_meta m;
    const entry *e = &of[key];
    const l2_key id = l2_kit_key(&kit, &key, sizeof key, generation);
    const cellar_err err = l2_get(kit.d, &id, buf, sizeof buf, &len, &m);
    const bool over = e->expiry_wall_ms != 0 && e->expiry_wall_ms <= l2_wall_now(kit.d);
    if (err == CELLAR_MISS) {
        const bool there = must && e->stored && !over && e->gone == gone_now();
        had_to += there;
        if (!T_CHECK(!there)) { printf("# key %u: version %u is lost\n", key, e->version); }
        return;
    }
    served++;
    T_EQ_I64(err, CELLAR_OK);
    if (!T_CHECK(!over && e->version != 0 && m.user_flags == e->version)) {
        printf("# key %u: got %u, now %u, over %d\n", key, m.user_flags, e->version, over);
    }
    had_to += must && e->stored && e->gone == gone_now();
    fill(want, sizeof want, key, m.user_flags);
    T_EQ_U64(len, length_of(key, m.user_flags));
    T_EQ_MEM(buf, want, BASE_MIN(len, sizeof want));
    T_EQ_I64(m.deadline_ms, e->expiry_wall_ms == 0 ? BASE_NEVER_MS
                                : e->expiry_wall_ms - l2_wall_now(kit.d) + kit.now_ms);
}

static void one_op(void)
{
    const uint64_t pick = base_rng_below(&rng, 100);
    const uint32_t key = (uint32_t)base_rng_below(&rng, KEYS);
    if (pick < 50) {
        put_any(key);
    } else if (pick < 65) {
        changed(key);
    } else if (pick < 66) {
        clear();
    } else if (pick < 68) {
        end_tag(key % TAGS);
    } else if (pick < 69) {
        end_pattern(key % 2 != 0);
    } else if (pick < 71) {
        T_EQ_I64(l2_sync(kit.d), CELLAR_OK);
        for (uint32_t i = 0; i < KEYS; i++) { of[i].written = true; }
    } else if (pick < 72) {
        const uint32_t places = 12 + (uint32_t)base_rng_below(&rng, 9);
        l2_kit_resize(&kit, places);
    } else if (pick < 80) {
        look(key, true);
    } else {
        kit.now_ms += (int64_t)base_rng_below(&rng, 4000);
        kit.wall_ms += 1000;
        (void)l2_tick(kit.d, 1000);
    }
}

static void opened(void)
{
    const uint64_t before = epoch;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    (void)known();
    T_CHECK(epoch >= before);
}

static void reopen(void)
{
    const bool closed = base_rng_below(&rng, 2) == 0, boot = base_rng_below(&rng, 5) == 0;
    const int64_t before = l2_wall_now(kit.d);
    const l2_level level = kit.cfg.level;
    if (closed) { l2_end(kit.d); } /* it may reclaim, too */
    gone_before = gone_now();
    for (uint32_t i = 0; i < KEYS; i++) {
        of[i].written = of[i].written || closed;
        of[i].stored = of[i].stored && of[i].written;
    }
    if (closed) { l2_close(kit.d); } else { l2_kit_kill(&kit); }
    kit.d = NULL;
    dev.locked = false;
    kit.now_ms += (int64_t)base_rng_below(&rng, 2000);
    kit.wall_ms = INT64_C(1700000000000) + kit.now_ms +
                  ((int64_t)base_rng_below(&rng, 3) - 1) * TEN_YEARS;
    if (boot) {
        dev.boot[15]++;
        kit.now_ms = 1000 + (int64_t)base_rng_below(&rng, 100000);
    }
    kit.cfg.level = (l2_level)base_rng_below(&rng, 3);
    kit.cfg.memory_bytes = (uint64_t)1 << (20 + base_rng_below(&rng, 4));
    kit.cfg.avg_object_bytes = (uint64_t)64 << base_rng_below(&rng, 4);
    kit.cfg.move_pct = 40 + (uint32_t)base_rng_below(&rng, 2) * 10;
    kit.cfg.sync_ms = 10 + (int64_t)base_rng_below(&rng, 3) * 500;
    opened();
    const int64_t wall = l2_wall_now(kit.d);
    T_CHECK(boot ? wall >= before - SEEN_MS
                 : wall >= before && wall < before + 2000);
    l2_namespace v = { 0, 0, 0 };
    const bool power = boot && !closed; /* like a power cut that loses nothing */
    const bool known = l2_namespace_find(kit.d, "v", 1, &v);
    T_CHECK((known && v.generation == generation) || (power && level == L2_DROP));
    for (uint32_t key = 0; key < KEYS; key++) { look(key, !power); }
    if (!known || v.generation != generation) { /* a new epoch; numbers start again */
        generation = 0;
        clear();
    }
    for (uint32_t key = 0; key < KEYS && power; key++) { of[key].stored = false; }
}

static void a_store(void)
{
    l2_dev_init(&dev);
    l2_kit_init(&kit, &dev);
    memset(of, 0, sizeof of);
    generation = 0;
    epoch = gone_before = 0;
    kit.cfg.seg_count = 12 + (uint32_t)base_rng_below(&rng, 9);
    kit.cfg.level = (l2_level)base_rng_below(&rng, 3);
    kit.cfg.crypt = base_rng_below(&rng, 2) == 0 ? &cipher : NULL;
    opened();
    clear();
    for (uint32_t i = 0; i < A_STORE && !t_failed(); i++) {
        for (uint64_t n = base_rng_below(&rng, 80); n > 0; n--) { one_op(); }
        reopen();
    }
    l2_close(kit.d);
    kit.d = NULL;
    l2_dev_fini(&dev);
}

T_CASE(dead_entries_never_come_back_after_reopens)
{
    const uint64_t most = t_env_u64("REOPENS", t_share(5000));
    served = had_to = 0;
    base_rng_seed(&rng, t_.seed);
    for (uint64_t n = 0; n < most && !t_failed(); n += A_STORE) { a_store(); }
    printf("# %" PRIu64 " reopens, %" PRIu64 " served, %" PRIu64 " required\n", most, served,
           had_to);
    T_CHECK(served > most && had_to > most);
}

T_ONE_THREAD;
T_MAIN("l2_invalidations")
