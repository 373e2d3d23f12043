/* SPDX-License-Identifier: MIT
 *
 * Aim:    A tag or pattern delete invalidates exactly the entries that it names, immediately and
 *         permanently. Loads that run meanwhile restore nothing. cellar_why reports the last event
 *         of a key, and UNKNOWN where it has no record.
 * Method: A clock of this file; a model of the delete time of each tag for the table that folds. */
#include "tests/support/load_kit.h"
#include "tests/support/bloom_kit.h"
#include "tests/support/figures.h"
#include "tests/support/refusals.h"
#include "tests/support/spaces.h"

static cellar_err put(cellar *c, const char *key, const char *const *tags, uint32_t count)
{
    cellar_bytes b[CELLAR_TAGS_MAX];
    for (uint32_t i = 0; i < count; i++) { b[i] = (cellar_bytes){ tags[i], strlen(tags[i]) }; }
    return cellar_set(c, key, strlen(key), "value", 5, SET_OPTS(.tags = b, .tag_count = count));
}

static cellar_err put1(cellar *c, const char *key, const char *tag) { return put(c, key, &tag, 1); }

static cellar_err has(cellar *c, const char *key) { return cellar_contains(c, key, strlen(key)); }

static cellar_err untag(cellar *c, const char *tag, uint32_t mode)
{
    return cellar_delete_by_tag(c, tag, strlen(tag), mode);
}

T_CASE(hard_tag_delete_misses)
{
    cellar *c = closed_later(kit_open(1u << 20)), *v = space_of(c, "v");
    const char *const both[] = { "red", "blue" };
    char buf[8];
    size_t len;
    T_EQ_I64(put1(c, "r", "red"), CELLAR_OK);
    T_EQ_I64(put1(c, "b", "blue"), CELLAR_OK);
    T_EQ_I64(put(c, "rb", both, 2), CELLAR_OK);
    T_EQ_I64(put1(v, "r", "red"), CELLAR_OK);
    T_EQ_I64(put(c, "plain", NULL, 0), CELLAR_OK);
    T_EQ_I64(untag(c, "green", CELLAR_TAG_HARD), CELLAR_OK); /* a tag without entries */
    T_EQ_I64(has(c, "r"), CELLAR_OK);
    T_EQ_I64(untag(c, "red", CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_I64(has(c, "r"), CELLAR_MISS);
    T_EQ_I64(cellar_get(c, "r", 1, buf, sizeof buf, &len), CELLAR_MISS);
    T_EQ_I64(has(c, "rb"), CELLAR_MISS);
    T_EQ_I64(has(v, "r"), CELLAR_MISS);
    T_EQ_I64(has(c, "b"), CELLAR_OK);
    T_EQ_I64(has(c, "plain"), CELLAR_OK);
    T_EQ_I64(put1(c, "r", "red"), CELLAR_OK); /* set after the tag delete: valid */
    T_EQ_I64(has(c, "r"), CELLAR_OK);
    T_EQ_I64(untag(v, "blue", CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_I64(has(c, "b"), CELLAR_MISS);
}

#define STORE(fn) T_WITH(fn, cellar *c, c, store_of_loads(1u << 20), kit_close(c))

T_CASE_ON(soft_tag_delete_makes_entries_stale, STORE)
{
    const cellar_bytes tag = { "red", 3 };
    src.tags = &tag;
    src.tag_count = 1;
    cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 60000 };
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_OK);
    T_EQ_I64(untag(c, "red", CELLAR_TAG_SOFT), CELLAR_OK);
    T_EQ_I64(has(c, "k"), CELLAR_MISS); /* a plain get returns nothing stale */
    atomic_store(&src.say, SAY_FAIL);
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, &res), CELLAR_STALE);
    T_EQ_STR(answer, "1");
    atomic_fetch_add(&kit_now_ms, 30000); /* past the throttle */
    atomic_store(&src.say, SAY_SAME);
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, &res), CELLAR_OK); /* fresh again */
    T_EQ_STR(answer, "1");
    T_EQ_I64(has(c, "k"), CELLAR_OK);
    T_EQ_I64(untag(c, "red", CELLAR_TAG_SOFT), CELLAR_OK);
    atomic_store(&src.say, SAY_VALUE);
    KIT_LOADS(c, "k", &o, &src, answer, &res, "4");
    T_EQ_I64(has(c, "k"), CELLAR_OK);
    T_EQ_I64(untag(c, "red", CELLAR_TAG_SOFT), CELLAR_OK);
    T_EQ_I64(untag(c, "red", CELLAR_TAG_HARD), CELLAR_OK);
    o = *LOAD_OPTS(.flags = CELLAR_LOAD_ONLY_IF_CACHED);
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_MISS);
}

static void end_it(source *s, cellar_load *ld)
{
    (void)ld;
    T_EQ_I64(untag(s->arg, "red", CELLAR_TAG_HARD), CELLAR_OK);
}

static void match_it(source *s, cellar_load *ld)
{
    uint64_t removed = 7;
    (void)ld;
    T_EQ_I64(cellar_delete_by_pattern(s->arg, "k?y*", 4, &removed), CELLAR_OK);
    T_EQ_U64(removed, 0);
}

T_CASE_ON(tag_delete_during_load_discards_result, STORE)
{
    const cellar_bytes tag = { "red", 3 };
    src.tags = &tag;
    src.tag_count = 1;
    src.arg = c;
    src.during = end_it;
    /* its own caller gets the value */
    T_EQ_I64(kit_load(c, "k", NULL, &src, answer, &res), CELLAR_OK);
    T_EQ_U64(res.flags, CELLAR_RESULT_NOT_STORED | CELLAR_RESULT_INVALIDATED);
    T_EQ_I64(has(c, "k"), CELLAR_MISS);
    src.during = NULL;
    KIT_LOADS(c, "k", NULL, &src, answer, &res, "2");
    T_EQ_U64(res.flags, 0);
    T_EQ_I64(has(c, "k"), CELLAR_OK);
    cellar_lease lease;
    cellar_result l = cellar_result_default();
    const cellar_set_opts o = { .struct_size = sizeof o, .tags = &tag, .tag_count = 1 };
    T_EQ_I64(cellar_lease_acquire(c, "l", 1, NULL, NULL, &lease, &l), CELLAR_LEASED);
    T_EQ_I64(cellar_delete_by_tag(c, "red", 3, CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_I64(cellar_lease_fulfill(c, &lease, "late", 4, &o), CELLAR_INVALIDATED);
    T_EQ_I64(has(c, "l"), CELLAR_MISS);
}

/* Repeat until the entry is evicted. */
static void flood_it(source *s, cellar_load *ld)
{
    static const char value[1000];
    cellar_reason r = cellar_reason_default();
    (void)ld;
    for (int i = 0; i < 100000 && r.answer != CELLAR_WHY_LOADING; i++) {
        /* twice, so that they are worth more than the entry */
        for (int twice = 0; twice < 2; twice++) {
            T_EQ_I64(cellar_set(s->arg, &i, sizeof i, value, sizeof value, NULL), CELLAR_OK);
        }
        if (i % 1000 == 999) { T_EQ_I64(cellar_why(s->arg, "k", 1, &r), CELLAR_OK); }
    }
    T_EQ_U64(r.answer, CELLAR_WHY_LOADING); /* no entry is left */
}

static cellar_load_opts short_ttl;

/* An entry stale by its TTL, with the tag "red"; its next loader reports "not modified". */
static cellar *open_stale_red(void)
{
    static const cellar_bytes red = { "red", 3 };
    cellar *c = store_of_loads(1u << 20);
    short_ttl = *LOAD_OPTS(.ttl_ms = 1000, .stale_ms = 600000, .jitter_pct = CELLAR_OFF);
    src.arg = c;
    src.tags = &red;
    src.tag_count = 1;
    T_EQ_I64(kit_load(c, "k", &short_ttl, &src, answer, NULL), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 2000);
    atomic_store(&src.say, SAY_SAME);
    src.tag_count = 0;
    return c;
}
#define STALE_RED(fn) T_WITH(fn, cellar *c, c, open_stale_red(), kit_close(c))

T_CASE_ON(not_modified_after_tag_delete_restores_nothing, STALE_RED)
{
    src.during = end_it;
    /* its own caller gets the value */
    T_EQ_I64(kit_load(c, "k", &short_ttl, &src, answer, &res), CELLAR_OK);
    T_EQ_U64(res.flags, CELLAR_RESULT_NOT_STORED);
    T_EQ_I64(has(c, "k"), CELLAR_MISS);
}

T_CASE_ON(not_modified_keeps_tags, STALE_RED)
{
    src.during = flood_it; /* evicts the entry */
    T_EQ_I64(kit_load(c, "k", &short_ttl, &src, answer, NULL), CELLAR_OK);
    T_EQ_I64(untag(c, "red", CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_I64(has(c, "k"), CELLAR_MISS);
}

T_CASE_ON(not_modified_applies_new_tags, STALE_RED)
{
    static const cellar_bytes now[] = { { "green", 5 }, { "blue", 4 } };
    src.tags = now;
    src.tag_count = 2;
    KIT_LOADS(c, "k", &short_ttl, &src, answer, NULL, "1");
    T_EQ_I64(untag(c, "red", CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_I64(has(c, "k"), CELLAR_OK); /* red is no longer its tag */
    T_EQ_I64(untag(c, "blue", CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_I64(has(c, "k"), CELLAR_MISS);
}

static cellar_err load_blue(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    static const cellar_bytes blue = { "blue", 4 };
    (void)key, (void)key_len, (void)ctx;
    T_EQ_I64(loader_tags(ld, &blue, 1), CELLAR_OK);
    return cellar_load_value(ld, "new", 3);
}

/* Store another value of the key by a load beside the running one. */
static void load_beside(source *s, cellar_load *ld)
{
    const cellar_load_opts *o = LOAD_OPTS(.flags = CELLAR_LOAD_NO_JOIN | CELLAR_LOAD_REFRESH);
    cellar_result r = cellar_result_default();
    (void)ld;
    T_EQ_I64(cellar_get_or_load(s->arg, "k", 1, o, load_blue, NULL, &r), CELLAR_OK);
    cellar_result_free(&r);
}

/* "Not modified" is about the value that the load has seen. */
T_CASE_ON(not_modified_leaves_the_value_of_another_load, STALE_RED)
{
    static const cellar_bytes green = { "green", 5 };
    src.tags = &green;
    src.tag_count = 1;
    src.during = load_beside;
    KIT_LOADS(c, "k", &short_ttl, &src, answer, &res, "1");
    T_CHECK((res.flags & CELLAR_RESULT_NOT_STORED) != 0);
    T_EQ_I64(cellar_get_str(c, "k", answer, sizeof answer), CELLAR_OK);
    T_EQ_STR(answer, "new");
    T_EQ_I64(untag(c, "green", CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_I64(has(c, "k"), CELLAR_OK);
    T_EQ_I64(untag(c, "blue", CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_I64(has(c, "k"), CELLAR_MISS);
}

/* Only "not modified" is about an older value: a new one is stored, whichever load ends last. The
 * next load that is not modified renews it: nothing of the load before is left. */
T_CASE_ON(value_replaces_that_of_a_load_beside, STALE_RED)
{
    src.during = load_beside;
    src.text = "last";
    atomic_store(&src.say, SAY_VALUE);
    T_EQ_I64(kit_load(c, "k", &short_ttl, &src, answer, &res), CELLAR_OK);
    T_EQ_U64(res.flags & CELLAR_RESULT_NOT_STORED, 0);
    T_EQ_I64(cellar_get_str(c, "k", answer, sizeof answer), CELLAR_OK);
    T_EQ_STR(answer, "last");
    src.during = NULL;
    atomic_store(&src.say, SAY_SAME);
    atomic_fetch_add(&kit_now_ms, 2000);
    T_EQ_I64(kit_load(c, "k", &short_ttl, &src, answer, &res), CELLAR_OK);
    T_EQ_U64(res.flags & CELLAR_RESULT_NOT_STORED, 0);
    T_EQ_I64(has(c, "k"), CELLAR_OK);
}

typedef struct asker {
    pthread_t thread;
    cellar *c;
    source *s;
    cellar_err err;
    char text[64];
} asker;

static void *ask_main(void *arg)
{
    asker *a = arg;
    a->err = kit_load(a->c, "k", NULL, a->s, a->text, NULL);
    return NULL;
}

static void ask(asker *a, cellar *c, source *s)
{
    *a = (asker){ .c = c, .s = s };
    T_REQUIRE(pthread_create(&a->thread, NULL, ask_main, a) == 0);
}

static void wait_for_a_joiner(cellar *c)
{
    do { kit_nap(); } while (store_stats(c).load_waiters == 0);
}

/* A call after the tag delete does not join a load that began before, whatever that load
 * returns. */
static void joiner_after_the_end_loads_itself(int say, bool no_store)
{
    static const cellar_bytes red = { "red", 3 };
    cellar *c = kit_open(1u << 20);
    source old = SOURCE_INIT, fresh = SOURCE_INIT;
    asker a, b;
    old.tags = &red;
    old.tag_count = 1;
    old.no_store = no_store;
    atomic_store(&old.say, say);
    atomic_store(&old.gate, 1);
    fresh.text = "new";
    ask(&a, c, &old);
    while (atomic_load(&old.inside) == 0) { kit_nap(); }
    T_EQ_I64(untag(c, "red", CELLAR_TAG_HARD), CELLAR_OK);
    ask(&b, c, &fresh);
    wait_for_a_joiner(c);
    atomic_store(&old.gate, 0);
    pthread_join(a.thread, NULL);
    pthread_join(b.thread, NULL);
    T_EQ_I64(b.err, CELLAR_OK);
    T_EQ_STR(b.text, "new");
    kit_close(c);
}

T_CASE(waiter_gets_no_value_from_before_tag_delete)
{
    joiner_after_the_end_loads_itself(SAY_VALUE, false);
    joiner_after_the_end_loads_itself(SAY_VALUE, true);
    joiner_after_the_end_loads_itself(SAY_NONE, false);
    joiner_after_the_end_loads_itself(SAY_NONE, true);
}

T_CASE_ON(waiter_of_lease_gets_no_value_from_before_tag_delete, STORE)
{
    static const cellar_bytes red = { "red", 3 };
    cellar_result r = cellar_result_default();
    cellar_lease lease;
    source fresh = SOURCE_INIT;
    asker b;
    cellar_set_opts o = { .struct_size = sizeof o, .tags = &red, .tag_count = 1,
                          .flags = CELLAR_NEGATIVE };
    fresh.text = "new";
    T_EQ_I64(cellar_lease_acquire(c, "k", 1, NULL, NULL, &lease, &r), CELLAR_LEASED);
    T_EQ_I64(untag(c, "red", CELLAR_TAG_HARD), CELLAR_OK);
    ask(&b, c, &fresh);
    wait_for_a_joiner(c);
    T_EQ_I64(cellar_lease_fulfill(c, &lease, NULL, 0, &o), CELLAR_INVALIDATED);
    pthread_join(b.thread, NULL);
    T_EQ_I64(b.err, CELLAR_OK);
    T_EQ_STR(b.text, "new");
}

T_CASE_ON(pattern_delete_during_load_discards_result, STORE)
{
    src.arg = c;
    src.during = match_it;
    T_EQ_I64(kit_load(c, "key1", NULL, &src, answer, &res), CELLAR_OK);
    T_EQ_U64(res.flags, CELLAR_RESULT_NOT_STORED | CELLAR_RESULT_INVALIDATED);
    T_EQ_I64(has(c, "key1"), CELLAR_MISS);
    T_EQ_I64(kit_load(c, "other", NULL, &src, answer, &res), CELLAR_OK); /* matches not */
    T_EQ_I64(has(c, "other"), CELLAR_OK);
    /* bulk loads and leases are detached as well */
    T_EQ_I64(kit_load(c, "key2", LOAD_OPTS(.flags = CELLAR_LOAD_NO_JOIN), &src, answer, &res),
             CELLAR_OK);
    T_EQ_I64(has(c, "key2"), CELLAR_MISS);
    cellar_lease lease;
    cellar_result l = cellar_result_default();
    T_EQ_I64(cellar_lease_acquire(c, "key3", 4, NULL, NULL, &lease, &l), CELLAR_LEASED);
    T_EQ_I64(cellar_delete_by_pattern(c, "key*", 4, NULL), CELLAR_OK);
    T_EQ_I64(cellar_lease_fulfill(c, &lease, "late", 4, NULL), CELLAR_INVALIDATED);
    T_EQ_I64(has(c, "key3"), CELLAR_MISS);
}

/* 1,024 records fit a budget of 4 MiB: 6,000 tags fold many times. */
T_CASE(folded_tag_table_never_serves_invalid_entries)
{
    enum { TAGS = 6000 };
    cellar *c = closed_later(kit_open(4u << 20));
    static uint32_t ended[TAGS], set[TAGS];
    uint64_t seed = t_seed() | 1, folds = 0, lost = 0;
    char tag[16], key[16];
    memset(ended, 0, sizeof ended);
    memset(set, 0, sizeof set);
    for (uint32_t now = 1; now < 60000; now++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        const uint32_t i = (uint32_t)(seed >> 33) % TAGS;
        snprintf(tag, sizeof tag, "t%u", i);
        snprintf(key, sizeof key, "k%u", i);
        switch ((seed >> 20) % 4) {
        case 0:
            T_EQ_I64(put1(c, key, tag), CELLAR_OK);
            set[i] = now;
            break;
        case 1:
            T_EQ_I64(untag(c, tag, (uint32_t)(seed >> 19) & 1u), CELLAR_OK);
            ended[i] = now;
            break;
        default:
            if (has(c, key) == CELLAR_OK) {
                T_CHECK(set[i] > ended[i]);
            } else {
                lost += set[i] > ended[i];
            }
            break;
        }
    }
    folds = figure(c, "cellar_tag_folds_total");
    printf("# %llu folds, %llu entries lost to them\n", (unsigned long long)folds,
           (unsigned long long)lost);
    T_CHECK(folds >= 5);
}

T_CASE(pattern_delete_removes_matching_keys_only)
{
    cellar *c = closed_later(kit_open(8u << 20)), *v = space_of(c, "v");
    char key[32];
    uint64_t removed = 0;
    for (int i = 0; i < 3000; i++) {
        snprintf(key, sizeof key, "%s:%d", i % 3 == 0 ? "user" : "task", i);
        T_EQ_I64(cellar_set(c, key, strlen(key), "x", 1, NULL), CELLAR_OK);
    }
    T_EQ_I64(cellar_set(v, "user:0", 6, "x", 1, NULL), CELLAR_OK);
    T_EQ_I64(cellar_delete_by_pattern(c, "user:*", 6, &removed), CELLAR_OK);
    T_EQ_U64(removed, 1000);
    for (int i = 0; i < 3000; i++) {
        snprintf(key, sizeof key, "%s:%d", i % 3 == 0 ? "user" : "task", i);
        T_EQ_I64(has(c, key), i % 3 == 0 ? CELLAR_MISS : CELLAR_OK);
    }
    T_EQ_I64(has(v, "user:0"), CELLAR_OK);
    T_EQ_I64(cellar_delete_by_pattern(c, "task:1", 6, &removed), CELLAR_OK); /* no wildcard */
    T_EQ_U64(removed, 1);
    T_EQ_I64(cellar_delete_by_pattern(c, "task:[12]?", 10, &removed), CELLAR_OK);
    T_EQ_U64(removed, 14);
    T_EQ_I64(cellar_delete_by_pattern(c, "*", 1, &removed), CELLAR_OK);
    T_EQ_U64(removed, 2000 - 1 - 14);
}

T_CASE_ON(pattern_delete_removes_stale_and_negative_entries, STORE)
{
    uint64_t removed;
    cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 1000, .stale_ms = 60000,
                           .jitter_pct = CELLAR_OFF };
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_OK);
    atomic_fetch_add(&kit_now_ms, 2000);
    T_EQ_I64(cellar_delete_by_pattern(c, "[k]", 3, &removed), CELLAR_OK);
    T_EQ_U64(removed, 0); /* it was already dead */
    atomic_store(&src.say, SAY_FAIL);
    T_EQ_I64(kit_load(c, "k", &o, &src, answer, NULL), CELLAR_E_LOADER); /* no stale value is left */
    atomic_store(&src.say, SAY_NONE);
    T_EQ_I64(kit_load(c, "n", &o, &src, answer, NULL), CELLAR_ABSENT);
    T_EQ_I64(cellar_delete_by_pattern(c, "n*", 2, NULL), CELLAR_OK);
    atomic_store(&src.say, SAY_VALUE);
    T_EQ_I64(kit_load(c, "n", &o, &src, answer, NULL), CELLAR_OK);
}

static cellar_reason why(cellar *c, const char *key)
{
    cellar_reason r = cellar_reason_default();
    T_EQ_I64(cellar_why(c, key, strlen(key), &r), CELLAR_OK);
    return r;
}

/* Check that the key went by a cause, with the name of the tag or pattern. */
static void gone_by(cellar *c, const char *key, cellar_cause cause, const char *by)
{
    const cellar_reason r = why(c, key);
    T_EQ_U64(r.answer, CELLAR_WHY_GONE);
    T_EQ_STR(cellar_cause_name((cellar_cause)r.cause), cellar_cause_name(cause));
    if (T_EQ_U64(r.by_len, strlen(by))) { T_EQ_MEM(r.by, by, strlen(by)); }
}

T_CASE_ON(why_names_the_tag_or_pattern, STORE)
{
    const char *const both[] = { "red", "blue" };
    T_EQ_I64(put(c, "k", both, 2), CELLAR_OK);
    T_EQ_I64(untag(c, "blue", CELLAR_TAG_HARD), CELLAR_OK);
    gone_by(c, "k", CELLAR_CAUSE_TAG, "blue");
    T_EQ_I64(cellar_set(c, "user:1", 6, "x", 1, NULL), CELLAR_OK);
    T_EQ_I64(cellar_delete_by_pattern(c, "user:*", 6, NULL), CELLAR_OK);
    gone_by(c, "user:1", CELLAR_CAUSE_PATTERN, "user:*");
    for (int i = 0; i < 300; i++) {
        T_EQ_I64(cellar_delete_by_pattern(c, "x*", 2, NULL), CELLAR_OK);
    }
    gone_by(c, "user:1", CELLAR_CAUSE_PATTERN, ""); /* the ring has overwritten the record */
    cellar *v = space_with(c, "hidden", SPACE_OPTS(.hidden = 1));
    T_EQ_I64(cellar_set(v, "key", 3, "x", 1, NULL), CELLAR_OK);
    T_EQ_I64(cellar_delete_by_pattern(v, "k*", 2, NULL), CELLAR_OK);
    gone_by(v, "key", CELLAR_CAUSE_PATTERN, "");
}

/* A tag deleted before the set of an entry is not the cause of its end. */
T_CASE_ON(why_ignores_tags_deleted_before_the_set, STORE)
{
    const char *const both[] = { "red", "blue" };
    T_EQ_I64(untag(c, "blue", CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_I64(put(c, "k", both, 2), CELLAR_OK);
    /* until a fold of the table removes it */
    for (int i = 0; i < 1000 && has(c, "k") == CELLAR_OK; i++) {
        T_EQ_I64(untag(c, t_numbered("t", (uint64_t)i), CELLAR_TAG_SOFT), CELLAR_OK);
    }
    gone_by(c, "k", CELLAR_CAUSE_TAG, "");
}

static cellar_err put_for(cellar *c, const char *key, int64_t ttl_ms)
{
    const cellar_bytes tags[] = { { "red", 3 }, { "blue", 4 } };
    return cellar_set(c, key, strlen(key), "value", 5,
                      SET_OPTS(.ttl_ms = ttl_ms, .tags = tags, .tag_count = 2));
}

/* A tag delete, then the TTL; and the other way round: the first one is the cause. */
T_CASE(why_reports_first_cause)
{
    static const uint8_t known[32] = { 1 }; /* the record keeps the causes of both keys */
    cellar *c = closed_later(kit_open_known(2u << 20, known));
    T_EQ_I64(put_for(c, "tag", 3000), CELLAR_OK);
    T_EQ_I64(put_for(c, "time", 500), CELLAR_OK);
    kit_now_ms += 1000;
    T_EQ_I64(untag(c, "blue", CELLAR_TAG_HARD), CELLAR_OK);
    kit_now_ms += 1000;
    T_EQ_I64(untag(c, "red", CELLAR_TAG_HARD), CELLAR_OK);
    for (int round = 0; round < 3; round++) { /* before its deadline, after it, and reclaimed */
        gone_by(c, "tag", CELLAR_CAUSE_TAG, round < 2 ? "blue" : ""); /* red was deleted later */
        if (round < 2) { T_EQ_I64(why(c, "tag").ago_ms, 1000 + round * 4000); }
        gone_by(c, "time", CELLAR_CAUSE_EXPIRED, "");
        if (round == 0) { kit_now_ms += 4000; }
        if (round == 1) { while (cellar_tick(c, 1000, NULL) == CELLAR_PENDING) {} }
    }
}

T_CASE(bad_input_of_tags_and_patterns)
{
    cellar *c = kit_open(1u << 20), *v = space_of(c, "v");
    static const char longest[CELLAR_PATTERN_MAX + 1];
    uint64_t removed = 1;
    REFUSALS("deletes", INVAL(cellar_delete_by_tag(NULL, "t", 1, 0)),
             INVAL(cellar_delete_by_tag(c, NULL, 1, 0)), INVAL(cellar_delete_by_tag(c, "t", 0, 0)),
             INVAL(cellar_delete_by_tag(c, longest, CELLAR_TAG_MAX + 1, 0)),
             { CELLAR_OK, cellar_delete_by_tag(c, longest, CELLAR_TAG_MAX, 0) },
             INVAL(cellar_delete_by_tag(c, "t", 1, 2)),
             INVAL(cellar_delete_by_pattern(NULL, "k", 1, NULL)),
             INVAL(cellar_delete_by_pattern(c, NULL, 1, &removed)),
             INVAL(cellar_delete_by_pattern(c, "k", 0, NULL)),
             INVAL(cellar_delete_by_pattern(c, longest, sizeof longest, NULL)),
             { CELLAR_OK, cellar_delete_by_pattern(c, longest, sizeof longest - 1, NULL) });
    T_EQ_U64(removed, 0);
    kit_close(c);
    T_EQ_I64(cellar_delete_by_tag(v, "t", 1, 0), CELLAR_E_CLOSED);
    T_EQ_I64(cellar_delete_by_pattern(v, "k", 1, NULL), CELLAR_E_CLOSED);
}

/* ---- the last event of a key ---- */

static cellar *open_explained(uint32_t no_explain)
{
    cellar *c = NULL;
    atomic_store(&kit_now_ms, 100000);
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 2u << 20, .host.no_threads = 1,
                     .host.clock = kit_clock, .tuning.no_explain = no_explain };
    cellar_namespace_config root = { .struct_size = sizeof root, .exact_age = 1 };
    cfg.config.root = &root;
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    return c;
}

static cellar_err put_ttl(cellar *c, const char *key, int64_t ttl_ms)
{
    return cellar_set(c, key, strlen(key), "value", 5, SET_OPTS(.ttl_ms = ttl_ms));
}

static void gone_since(cellar *c, const char *key, cellar_cause cause, int64_t ago_ms)
{
    const cellar_reason r = why(c, key);
    T_EQ_U64(r.answer, CELLAR_WHY_GONE);
    T_EQ_STR(cellar_cause_name((cellar_cause)r.cause), cellar_cause_name(cause));
    T_CHECK(r.ago_ms >= ago_ms - 63 && r.ago_ms <= ago_ms + 63);
}

#define WHY(fn) T_WITH(fn, cellar *c, c, open_explained(0), kit_close(c))

T_CASE_ON(why_reports_each_cause, WHY)
{
    T_EQ_U64(why(c, "k").answer, CELLAR_WHY_UNKNOWN);
    T_EQ_I64(put_ttl(c, "k", 0), CELLAR_OK);
    T_AFTER_U64(kit_now_ms += 500, why(c, "k").answer, CELLAR_WHY_LIVE);
    T_EQ_I64(why(c, "k").age_ms, 500);
    /* deleted */
    T_EQ_I64(cellar_delete(c, "k", 1), CELLAR_OK);
    kit_now_ms += 2000;
    gone_since(c, "k", CELLAR_CAUSE_DELETED, 2000);
    T_EQ_I64(cellar_delete(c, "other", 5), CELLAR_MISS); /* no entry: nothing to record */
    T_EQ_U64(why(c, "other").answer, CELLAR_WHY_UNKNOWN);
    /* live again */
    T_EQ_I64(put_ttl(c, "k", 0), CELLAR_OK);
    T_EQ_U64(why(c, "k").answer, CELLAR_WHY_LIVE);
    /* expired, before the reclaim and after it */
    T_EQ_I64(put_ttl(c, "e", 1000), CELLAR_OK);
    kit_now_ms += 3000;
    gone_since(c, "e", CELLAR_CAUSE_EXPIRED, 2000);
    T_EQ_I64(why(c, "e").ttl_ms, 1000);
    while (cellar_tick(c, 1000, NULL) == CELLAR_PENDING) {}
    kit_now_ms += 4000;
    gone_since(c, "e", CELLAR_CAUSE_EXPIRED, 4000);
    T_CHECK(why(c, "e").age_ms >= 2900);
    /* stale, negative */
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 100, .stale_ms = 10000 };
    T_EQ_I64(cellar_set(c, "s", 1, "x", 1, &o), CELLAR_OK);
    T_AFTER_U64(kit_now_ms += 200, why(c, "s").answer, CELLAR_WHY_STALE);
    o = cellar_set_opts_default();
    o.flags = CELLAR_NEGATIVE;
    T_EQ_I64(cellar_set(c, "n", 1, NULL, 0, &o), CELLAR_OK);
    T_EQ_U64(why(c, "n").answer, CELLAR_WHY_NEGATIVE);
    /* refused */
    static char big[2u << 20];
    T_EQ_I64(cellar_set(c, "b", 1, big, sizeof big, NULL), CELLAR_E_TOOBIG);
    gone_since(c, "b", CELLAR_CAUSE_REJECTED, 0);
}

T_CASE(why_reports_clear_and_version_increment)
{
    cellar *c = closed_later(open_explained(0)), *v = space_of(c, "v");
    T_EQ_I64(put_ttl(v, "k", 0), CELLAR_OK);
    T_EQ_I64(put_ttl(c, "k", 0), CELLAR_OK);
    kit_now_ms += 1000;
    T_EQ_I64(cellar_clear(v), CELLAR_OK);
    kit_now_ms += 5000;
    gone_since(v, "k", CELLAR_CAUSE_CLEARED, 5000);
    T_EQ_U64(why(v, "never").answer, CELLAR_WHY_UNKNOWN);
    T_EQ_U64(why(c, "k").answer, CELLAR_WHY_LIVE); /* in another namespace */
    T_EQ_I64(put_ttl(v, "b", 0), CELLAR_OK);
    T_EQ_I64(cellar_version_set(v, 0, NULL), CELLAR_OK);
    gone_since(v, "b", CELLAR_CAUSE_VERSION, 0);
    while (cellar_tick(c, 1000, NULL) == CELLAR_PENDING) {} /* reclaimed: the record answers */
    gone_since(v, "b", CELLAR_CAUSE_VERSION, 0);
    gone_since(v, "k", CELLAR_CAUSE_CLEARED, 0);
    T_EQ_I64(put_ttl(v, "k", 0), CELLAR_OK);
    T_EQ_I64(cellar_delete(v, "k", 1), CELLAR_OK);
    gone_since(v, "k", CELLAR_CAUSE_DELETED, 0); /* the newest record of the key */
}

/* An entry in memory that had expired before the clear was UNKNOWN until a tick reclaimed it. */
T_CASE_ON(why_reports_the_clear_of_an_expired_entry, WHY)
{
    T_EQ_I64(put_ttl(c, "k", 10), CELLAR_OK);
    kit_now_ms += 1000;
    T_EQ_I64(cellar_clear(c), CELLAR_OK);
    gone_since(c, "k", CELLAR_CAUSE_CLEARED, 0);
    while (cellar_tick(c, 1000, NULL) == CELLAR_PENDING) {}
    gone_since(c, "k", CELLAR_CAUSE_CLEARED, 0);
}

T_CASE_ON(why_reports_never_seen_only_with_authoritative_filter, WHY)
{
    T_EQ_I64(bloom_size(c, 1000), CELLAR_OK);
    T_EQ_U64(why(c, "k").answer, CELLAR_WHY_UNKNOWN);
    T_EQ_I64(bloom_feed_none(c), CELLAR_OK);
    T_EQ_U64(why(c, "k").answer, CELLAR_WHY_NOT_IN_SOURCE);
    T_EQ_I64(put_ttl(c, "k", 0), CELLAR_OK);
    T_EQ_I64(cellar_delete(c, "k", 1), CELLAR_OK);
    gone_since(c, "k", CELLAR_CAUSE_DELETED, 0);
}

T_CASE(why_without_record_reports_only_live_entries)
{
    cellar *c = closed_later(open_explained(1));
    T_EQ_I64(put_ttl(c, "k", 0), CELLAR_OK);
    T_EQ_U64(why(c, "k").answer, CELLAR_WHY_LIVE);
    T_EQ_I64(cellar_delete(c, "k", 1), CELLAR_OK);
    T_EQ_I64(cellar_clear(c), CELLAR_OK);
    T_EQ_U64(why(c, "k").answer, CELLAR_WHY_UNKNOWN);
}

T_CASE(bad_input_of_why)
{
    cellar *c = open_explained(0), *v = space_of(c, "v"), *d = NULL;
    cellar_reason r = cellar_reason_default();
    REFUSALS("why", INVAL(cellar_why(NULL, "k", 1, &r)), INVAL(cellar_why(c, NULL, 1, &r)),
             INVAL(cellar_why(c, "k", 0, &r)), INVAL(cellar_why(c, "k", 1, NULL)));
    r.struct_size = 2;
    T_EQ_I64(cellar_why(c, "k", 1, &r), CELLAR_E_INVAL);
    r.struct_size = sizeof r;
    T_AFTER_I64(kit_close(c), cellar_why(v, "k", 1, &r), CELLAR_E_CLOSED);
    close_now(v);
    settings cfg = { SETTINGS_SIZES, .tuning.no_explain = 2 };
    T_EQ_I64(settings_open(&cfg, &d), CELLAR_E_INVAL);
}

T_MAIN("cellar_api_tags")
