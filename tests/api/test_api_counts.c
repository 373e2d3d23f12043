/* SPDX-License-Identifier: MIT
 *
 * Aim:    each call that reads or writes raises the counters of cellar_stats that its answer names,
 *         each by one, and no other ones: a return that forgets to count fails.
 * Method: a random sequence of calls with random options on few keys, on a virtual clock, in stores
 *         with and without a listener, a Bloom filter, a disk; the counters before and after each
 *         call. SEED=n repeats it. */
#include "tests/support/api_kit.h"
#include "tests/support/disk_store.h"
#include "tests/support/draw.h"
#include "tests/support/told.h"

enum { STEPS = 3000, KEYS = 6, LONG = 300 << 10 };

static unsigned char bytes[LONG];

/* The counters that a call of the test can raise, in this order. */
enum { HIT, STALE, NEGATIVE, MISS, SET, DELETED, FAILED, LOADED, COUNTERS };
static const char *const counter_names[COUNTERS] = { "hits", "stale_hits", "negative_hits", "misses",
                                                     "sets", "deletes", "write_errors", "loads" };

static void counters_of(const cellar_stats *s, uint64_t v[COUNTERS])
{
    const uint64_t now[COUNTERS] = { s->hits_l1 + s->hits_l2, s->stale_hits, s->negative_hits,
                                     s->misses, s->sets, s->deletes, s->write_errors, s->loads };
    memcpy(v, now, sizeof now);
}

/* ---- calls: each returns its answer and the counter that it raises; COUNTERS: none ---- */

typedef struct made { const char *name; cellar_err err; unsigned counter, second; } made;

/* Name the counter of a read. */
static made read_made(const char *name, cellar_err err)
{
    const unsigned counter = err == CELLAR_OK || err == CELLAR_E_BUFFER ? HIT
                             : err == CELLAR_STALE ? STALE : err == CELLAR_ABSENT ? NEGATIVE
                             : err == CELLAR_MISS ? MISS : COUNTERS;
    return (made){ name, err, counter, COUNTERS };
}

static made read_key(cellar *c, const char *key, size_t len)
{
    static unsigned char buf[LONG];
    const size_t cap = draw(4) == 0 ? 3 : sizeof buf;
    size_t full = 0;
    void *block = NULL;
    cellar_pinned pin;
    cellar_err err;
    switch (draw(6)) {
    case 0: return read_made("get", cellar_get(c, key, len, buf, cap, &full));
    case 1:
        err = cellar_get_alloc(c, key, len, &block, &full);
        cellar_free(block);
        return read_made("get_alloc", err);
    case 2:
        err = cellar_pin(c, key, len, &pin);
        cellar_unpin(&pin);
        return read_made("pin", err);
    case 3: return read_made("get_range", cellar_get_range(c, key, len, 2, buf, 3, &full));
    case 4: {
        cellar_get_item item = { key, len, buf, cap, 0, CELLAR_OK, 0 };
        size_t hits = 0;
        T_EQ_I64(cellar_get_many(c, &item, 1, &hits), CELLAR_OK);
        return read_made("get_many", item.status);
    }
    default: {
        cellar_entry_info info = cellar_entry_info_default();
        cellar_get_opts o = { .struct_size = sizeof o, .info = draw(2) == 0 ? &info : NULL };
        o.flags = (uint32_t)draw(8); /* ALLOW_STALE, PEEK, WANT_VERSION */
        err = cellar_get_with(c, key, len, &o, buf, cap, &full);
        return (o.flags & CELLAR_GET_PEEK) != 0 ? (made){ "peek", err, COUNTERS, COUNTERS }
                                                : read_made("get_with", err);
    }
    }
}

static made set_key(cellar *c, const char *key, size_t len)
{
    const cellar_bytes tag = { "tag", 3 };
    const uint32_t flags[] = { 0, 0, 0, CELLAR_ONLY_IF_ABSENT, CELLAR_ONLY_IF_PRESENT,
                               CELLAR_KEEP_TTL, CELLAR_KEEP_OLD_VALUE, CELLAR_NEGATIVE };
    size_t value_len = draw(10) == 0 ? LONG : draw(200);
    uint64_t version;
    cellar_set_opts o = { .struct_size = sizeof o, .flags = flags[draw(8)] };
    if (draw(2) == 0) { o.ttl_ms = 1 + (int64_t)draw(50); }
    if (draw(3) == 0) { o.stale_ms = 30; }
    if (draw(4) == 0) { o.tags = &tag, o.tag_count = 1; }
    if (draw(6) == 0) { o.new_version = &version; }
    if (draw(12) == 0) { value_len = sizeof bytes + 1; } /* above max_value_bytes, not read */
    if ((o.flags & CELLAR_NEGATIVE) != 0) { value_len = 0; }
    const cellar_err err = cellar_set(c, key, len, bytes, value_len, draw(3) == 0 ? NULL : &o);
    return (made){ "set", err, err == CELLAR_OK ? SET : err < 0 ? FAILED : COUNTERS, COUNTERS };
}

static cellar_err load_value(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key;
    (void)key_len;
    (void)ctx;
    return draw(4) == 0 ? cellar_load_absent(load) : cellar_load_value(load, "loaded", 6);
}

static made load_key(cellar *c, const char *key, size_t len)
{
    cellar_result r = cellar_result_default();
    const uint64_t loads = space_stats(c).loads;
    const cellar_err err = cellar_get_or_load(c, key, len, NULL, load_value, NULL, &r);
    cellar_result_free(&r);
    if (space_stats(c).loads == loads) { return read_made("load, a hit", err); }
    return (made){ "load", err, MISS, LOADED };
}

static made write_key(cellar *c, const char *key, size_t len)
{
    int64_t number;
    cellar_err err;
    switch (draw(6)) {
    case 0:
        err = cellar_delete(c, key, len);
        return (made){ "delete", err, err == CELLAR_OK ? DELETED : COUNTERS, COUNTERS };
    case 1:
        err = cellar_increment(c, key, len, (int64_t)draw(2) * INT64_MAX, 1, NULL, &number);
        return (made){ "increment", err, err == CELLAR_OK || err == CELLAR_E_RANGE ? SET : COUNTERS,
                       COUNTERS };
    case 2:
        err = cellar_touch(c, key, len, 1 + (int64_t)draw(50));
        return (made){ "touch", err, COUNTERS, COUNTERS };
    default: return set_key(c, key, len);
    }
}

/* Make one call; `strange`: a read of a key that no call sets. */
static void one_call(cellar *c, bool strange)
{
    char key[400];
    const unsigned number = strange ? 20 : (unsigned)draw(KEYS);
    const size_t len = number == 5 ? 300 : 2;
    memset(key, 'x', sizeof key);
    key[0] = (char)('a' + number);
    uint64_t before[COUNTERS], after[COUNTERS];
    const cellar_stats was = space_stats(c);
    counters_of(&was, before);
    const made m = strange || draw(2) == 0 ? read_key(c, key, len)
                   : draw(5) == 0 ? load_key(c, key, len) : write_key(c, key, len);
    const cellar_stats now = space_stats(c);
    counters_of(&now, after);
    for (unsigned i = 0; i < COUNTERS; i++) {
        const uint64_t added = after[i] - before[i];
        if (added != (i == m.counter || i == m.second)) {
            printf("# %s of key %u: %s, %s rose by %d\n", m.name, number, cellar_code_name(m.err),
                   counter_names[i], (int)added);
        }
        T_EQ_U64(added, i == m.counter || i == m.second);
    }
}

static void forget(const cellar_event *e, void *ctx) { (void)e; (void)ctx; }

static cellar_err no_key(cellar_bytes *key, void *ctx)
{
    (void)key;
    (void)ctx;
    return CELLAR_MISS;
}

/* Make the calls. In a listened store the parts of changes hear of each step. */
static void calls_count(settings cfg, bool listened, bool filtered)
{
    cfg.tuning.max_value_bytes = LONG;
    draw_state = t_.seed;
    cfg.host.clock = read_clock;
    now_ms = 1000000;
    cellar *c = api_open_with(&cfg);
    uint64_t id;
    if (listened) {
        T_EQ_I64(cellar_listener_add(c, CELLAR_CAUSE_BIT(DELETED), forget, NULL, &id), CELLAR_OK);
    }
    if (filtered) {
        T_EQ_I64(cellar_option_set(c, CELLAR_OPT_BLOOM_KEYS, 1000), CELLAR_OK);
        T_EQ_I64(cellar_bloom_feed(c, no_key, NULL, NULL), CELLAR_OK);
        for (unsigned i = 0; i < 50000; i++) { /* gets that are sampled choose the order */
            T_EQ_I64(cellar_get(c, "none", 4, NULL, 0, NULL), CELLAR_MISS);
        }
    }
    for (unsigned i = 0; i < STEPS; i++) {
        one_call(c, filtered && draw(20) != 0);
        now_ms += (int64_t)draw(8);
        if (draw(100) == 0) { T_EQ_I64(cellar_delete_by_tag(c, "tag", 3, CELLAR_TAG_HARD), CELLAR_OK); }
        if (draw(200) == 0) { T_EQ_I64(cellar_clear(c), CELLAR_OK); }
    }
    api_shut(c);
}

T_CASE(each_call_counts_once) { calls_count(api_config(4u << 20), false, false); }

T_CASE(each_call_counts_once_beside_a_listener)
{
    calls_count(api_config(4u << 20), true, false);
}

/* Most reads end at the filter: then a get asks it first. */
T_CASE(each_call_counts_once_behind_a_filter)
{
    calls_count(api_config(4u << 20), false, true);
}

T_CASE(each_call_counts_once_over_a_disk)
{
    store_begin();
    settings cfg = api_config(4u << 20);
    cfg.config.l2_path = store;
    cfg.config.l2_bytes = 64u << 20;
    calls_count(cfg, false, false);
    store_end();
}

static void note_cause(const cellar_event *e, void *heard) { ++((uint64_t *)heard)[e->cause]; }

/* The negative entry of a key ends with a counter that finds no room. The event said REJECTED, the
 * counter REPLACED, and cellar_why knew nothing. */
T_CASE(refused_counter_ends_an_entry_for_one_cause)
{
    cellar *c = api_open(4u << 20);
    uint64_t id, heard[CELLAR_CAUSE_COUNT] = { 0 };
    int64_t number;
    cellar_reason why = cellar_reason_default();
    const cellar_set_opts none = { .struct_size = sizeof none, .flags = CELLAR_NEGATIVE };
    const cellar_set_opts heavy = { .struct_size = sizeof heavy, .weight_bytes = 4u << 20 };
    T_EQ_I64(cellar_listener_add(c, 0, note_cause, heard, &id), CELLAR_OK);
    T_EQ_I64(cellar_set(c, "n", 1, NULL, 0, &none), CELLAR_OK);
    T_EQ_I64(cellar_increment(c, "n", 1, 1, 0, &heavy, &number), CELLAR_E_TOOBIG);
    const cellar_stats st = space_stats(c);
    T_EQ_MEM(st.ended, heard, sizeof heard);
    T_EQ_U64(st.ended[CELLAR_CAUSE_REJECTED], 1);
    T_EQ_I64(cellar_why(c, "n", 1, &why), CELLAR_OK);
    T_EQ_I64(why.cause, CELLAR_CAUSE_REJECTED);
    api_shut(c);
}

static cellar_err load_late(cellar_load *load, const void *key, size_t key_len, void *c)
{
    if (c != NULL) { (void)cellar_delete(c, key, key_len); }
    return cellar_load_value(load, "loaded", 6);
}

static void loads_unstored(cellar *c, uint32_t flags, cellar *deletes, uint64_t count)
{
    const cellar_load_opts o = { .struct_size = sizeof o, .flags = flags };
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(c, "k", 1, &o, load_late, deletes, &r), CELLAR_OK);
    T_EQ_U64(r.flags & CELLAR_RESULT_NOT_STORED, CELLAR_RESULT_NOT_STORED);
    T_EQ_U64(space_stats(c).loads_not_stored, count);
    cellar_result_free(&r);
}

/* Only values that memory refused, or that a change overtook, were counted. */
T_CASE(each_result_that_is_not_stored_counts)
{
    cellar *c = api_open(4u << 20);
    cellar_policy_rule deny = cellar_policy_rule_default();
    deny.kind = CELLAR_POLICY_DENY, deny.pattern = "k";
    loads_unstored(c, 0, c, 1);
    loads_unstored(c, CELLAR_LOAD_NO_STORE, NULL, 2);
    loads_unstored(c, CELLAR_LOAD_BYPASS, NULL, 3);
    T_EQ_I64(cellar_policy_set(c, &deny, 1), CELLAR_OK);
    loads_unstored(c, 0, NULL, 4);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_ENABLED, 0), CELLAR_OK);
    loads_unstored(c, 0, NULL, 5);
    api_shut(c);
}

T_ONE_THREAD;
T_MAIN("api_counts")
