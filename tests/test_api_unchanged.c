/* SPDX-License-Identifier: MIT
 *
 * Aim:    watch_unchanged: what is stored again after its time was over is counted, and whether it
 *         is the same bytes as before; each expiry once; nothing else is.
 * Method: one key, a clock that is turned; the expired entry is found in its place, or was swept
 *         before. Sets, loads, batches, updates; values of every form. */
#include "tests/api_kit.h"

#define TTL 1000
static const uint64_t mib = 1u << 20;

typedef struct world { cellar *c, *v; uint64_t reloads, same; } world;

static world open_world(uint32_t watch)
{
    world w = { .c = api_open(4 * mib) };
    cellar_namespace_opts o = cellar_namespace_opts_default();
    o.default_ttl_ms = TTL;
    o.watch_unchanged = watch;
    T_REQUIRE(cellar_namespace_open(w.c, "v", &o, &w.v) == CELLAR_OK);
    return w;
}

static void close_world(world *w)
{
    T_EQ_I64(cellar_close(w->v), CELLAR_OK);
    api_shut(w->c);
}

/* So many more reloads and unchanged ones than at the last look. */
static void counted(world *w, uint64_t reloads, uint64_t same)
{
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(w->v, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_EQ_U64(st.ttl_reloads - w->reloads, reloads);
    T_EQ_U64(st.ttl_reloads_unchanged - w->same, same);
    w->reloads = st.ttl_reloads;
    w->same = st.ttl_reloads_unchanged;
}

static void expire(world *w, bool sweep)
{
    atomic_fetch_add(&api_now_ms, TTL * 2);
    while (sweep && cellar_tick(w->c, 1000000, NULL) == CELLAR_PENDING) {}
}

static void put(world *w, const char *value)
{
    T_EQ_I64(api_put(w->v, "k", value, NULL), CELLAR_OK);
}

static void reloads_are_compared(void)
{
    for (unsigned sweep = 0; sweep < 2; sweep++) {
        world w = open_world(1);
        put(&w, "first");
        counted(&w, 0, 0);
        expire(&w, sweep != 0);
        T_EQ_STR(api_look(w.v, "k"), "MISS");
        put(&w, "first");
        counted(&w, 1, 1);
        put(&w, "first"); /* over a living one: no reload */
        counted(&w, 0, 0);
        expire(&w, sweep != 0);
        put(&w, "other");
        counted(&w, 1, 0);
        put(&w, "third"); /* in place: its hash changes with it */
        expire(&w, sweep != 0);
        put(&w, "third");
        counted(&w, 1, 1);
        expire(&w, sweep != 0);
        put(&w, "");
        counted(&w, 1, 0);
        expire(&w, sweep != 0);
        put(&w, "");
        counted(&w, 1, 1);
        close_world(&w);
    }
}

static void the_share_is_of_all_misses(void)
{
    static char text[1 << 18];
    cellar_stats st = cellar_stats_default();
    world w = open_world(1);
    for (unsigned i = 0; i < 4; i++) {
        T_EQ_STR(api_look(w.v, "k"), "MISS");
        put(&w, i < 3 ? "same" : "changed");
        expire(&w, false);
    }
    T_EQ_I64(cellar_stats_get(w.v, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_EQ_U64(st.misses, 4);
    T_EQ_U64(st.ttl_reloads, 3);
    T_EQ_U64(st.ttl_reloads_unchanged, 2);
    T_CHECK(st.ttl_unchanged_share == .5);
    T_REQUIRE(cellar_metrics_write(w.c, text, sizeof text, NULL) == CELLAR_OK);
    T_CHECK(strstr(text, "\ncellar_ttl_reloads_total{view=\"v\"} 3\n") != NULL);
    T_CHECK(strstr(text, "\ncellar_ttl_reloads_unchanged_total{view=\"v\"} 2\n") != NULL);
    T_REQUIRE(cellar_dump_write(w.c, text, sizeof text, NULL) == CELLAR_OK);
    T_CHECK(strstr(text, "67 % of 3 reloads after the TTL brought identical bytes") != NULL);
    T_EQ_I64(cellar_stats_get(w.c, CELLAR_SCOPE_STORE, &st), CELLAR_OK);
    T_EQ_U64(st.ttl_reloads_unchanged, 2); /* the sum of all views */
    close_world(&w);
}

static cellar_err loader(struct cellar_load *l, const void *key, size_t len, void *ctx)
{
    (void)key;
    (void)len;
    const char *value = ctx;
    return value != NULL ? cellar_load_value(l, value, strlen(value)) : cellar_load_absent(l);
}

static void load(world *w, const char *value)
{
    cellar_result r = cellar_result_default();
    char *ctx = (char *)(uintptr_t)value;
    const cellar_err err = cellar_get_or_load(w->v, "k", 1, NULL, loader, ctx, &r);
    T_EQ_I64(err, value != NULL ? CELLAR_OK : CELLAR_ABSENT);
    cellar_result_free(&r);
}

static void loads_count_like_sets(void)
{
    for (unsigned sweep = 0; sweep < 2; sweep++) {
        world w = open_world(1);
        load(&w, "value");
        expire(&w, sweep != 0);
        load(&w, "value");
        counted(&w, 1, 1);
        load(&w, "value"); /* a hit */
        counted(&w, 0, 0);
        expire(&w, sweep != 0);
        load(&w, NULL); /* it has gone: not the same */
        counted(&w, 1, 0);
        atomic_fetch_add(&api_now_ms, 10 * 60000);
        load(&w, "value"); /* "known absent" was no value */
        counted(&w, 0, 0);
        close_world(&w);
    }
}

static void what_ended_otherwise_is_no_reload(void)
{
    for (unsigned sweep = 0; sweep < 2; sweep++) {
        world w = open_world(1);
        put(&w, "v");
        T_EQ_I64(cellar_delete(w.v, "k", 1), CELLAR_OK);
        put(&w, "v");
        counted(&w, 0, 0);
        expire(&w, sweep != 0);
        if (sweep == 0) { (void)cellar_delete(w.v, "k", 1); }
        if (sweep == 0) { put(&w, "v"); }
        counted(&w, 0, 0);
        T_EQ_I64(cellar_clear(w.v), CELLAR_OK);
        put(&w, "v");
        counted(&w, 0, 0);
        T_EQ_I64(cellar_touch(w.v, "k", 1, 10 * TTL), CELLAR_OK);
        atomic_fetch_add(&api_now_ms, 2 * TTL);
        put(&w, "v"); /* it lives still */
        counted(&w, 0, 0);
        close_world(&w);
    }
    world w = open_world(0);
    put(&w, "v");
    expire(&w, false);
    put(&w, "v");
    counted(&w, 0, 0);
    close_world(&w);
}

static void values_of_every_form_are_watched(void)
{
    static char big[100000];
    world w = open_world(1);
    memset(big, 'x', sizeof big);
    for (unsigned sweep = 0; sweep < 2; sweep++) {
        T_EQ_I64(cellar_set(w.v, "big", 3, big, sizeof big, NULL), CELLAR_OK);
        counted(&w, sweep, 0); /* what the round before left has changed */
        expire(&w, sweep != 0);
        T_EQ_I64(cellar_set(w.v, "big", 3, big, sizeof big, NULL), CELLAR_OK);
        counted(&w, 1, 1);
        expire(&w, sweep != 0);
        big[99999]++;
        T_EQ_I64(cellar_set(w.v, "big", 3, big, sizeof big, NULL), CELLAR_OK);
        counted(&w, 1, 0);
        expire(&w, sweep != 0);
        big[50000]++;
    }
    close_world(&w);
}

/* Two keys share one of 256 places in one store of 256, and then one of them is forgotten: each
 * store has its own secret, so that the next one's are others. */
static void batches_are_watched(void)
{
    uint64_t seen = 0;
    for (unsigned store = 0; store < 8 && seen < 2; store++) {
        world w = open_world(1);
        for (unsigned round = 0; round < 2; round++) {
            cellar_set_item item[2] = { { "a", 1, "many", 4, CELLAR_OK, 0 },
                                        { "b", 1, "many", 4, CELLAR_OK, 0 } };
            T_EQ_I64(cellar_set_many(w.v, item, 2, NULL, NULL), CELLAR_OK);
            if (round == 0) { counted(&w, 0, 0); }
            expire(&w, true);
        }
        cellar_stats st = cellar_stats_default();
        T_EQ_I64(cellar_stats_get(w.v, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
        seen = st.ttl_reloads;
        T_CHECK(seen == 1 || seen == 2);
        T_EQ_U64(st.ttl_reloads_unchanged, seen);
        close_world(&w);
    }
    T_EQ_U64(seen, 2);
}

static void put_number(world *w, int64_t n)
{
    T_EQ_I64(cellar_set(w->v, "n", 1, &n, sizeof n, NULL), CELLAR_OK);
}

/* In place, or in a copy because somebody has it pinned: its hash changes with it. */
static void a_counter_that_was_raised_has_changed(void)
{
    for (unsigned pinned = 0; pinned < 2; pinned++) {
        world w = open_world(1);
        for (int64_t then = 0; then < 2; then++) { /* what it comes back as, by 5 more or not */
            cellar_pinned pin;
            int64_t now = 0;
            put_number(&w, 7);
            counted(&w, (uint64_t)then, 0);
            if (pinned != 0) { T_EQ_I64(cellar_pin(w.v, "n", 1, &pin), CELLAR_OK); }
            T_EQ_I64(cellar_increment(w.v, "n", 1, 5, 0, 0, 0, &now), CELLAR_OK);
            T_EQ_I64(now, 12);
            if (pinned != 0) { cellar_unpin(&pin); }
            expire(&w, false);
            put_number(&w, then == 0 ? 12 : 7);
            counted(&w, 1, then == 0);
            expire(&w, false);
        }
        close_world(&w);
    }
}

/* More expired than there are places: the share is right, the number a lower bound. */
static void forgotten_ones_are_not_counted(void)
{
    world w = open_world(1);
    for (unsigned round = 0; round < 2; round++) {
        for (uint32_t id = 0; id < 5000; id++) {
            T_EQ_I64(cellar_set(w.v, &id, sizeof id, "value", 5, NULL), CELLAR_OK);
        }
        if (round == 0) { expire(&w, true); }
    }
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(w.v, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_CHECK(st.ttl_reloads > 100 && st.ttl_reloads < 5000);
    T_EQ_U64(st.ttl_reloads_unchanged, st.ttl_reloads);
    close_world(&w);
}

T_MAIN("api_unchanged", T_CASE(reloads_are_compared), T_CASE(the_share_is_of_all_misses),
       T_CASE(loads_count_like_sets), T_CASE(what_ended_otherwise_is_no_reload),
       T_CASE(values_of_every_form_are_watched), T_CASE(batches_are_watched),
       T_CASE(a_counter_that_was_raised_has_changed), T_CASE(forgotten_ones_are_not_counted))
