/* SPDX-License-Identifier: MIT
 *
 * Aim:    Quota: the max quota of a namespace is never exceeded. Memory that a namespace may not or
 *         does not use is available to all. Figures of a namespace.
 * Method: Namespaces with quotas under every policy, flooded by distinct keys. cellar_contains
 *         counts the rest, which is compared with the figures. Slack: a segment for each stripe, as
 *         promised. Threads set, delete and clear; the audit recounts all quotas. */
#include <pthread.h>

#include "cellar_object.h"
#include "tests/support/api_kit.h"
#include "tests/support/draw.h"
#include "tests/support/figures.h"
#include "tests/support/settings.h"
#include "tests/support/spaces.h"

#define KEY_BYTES 8u

static const uint32_t policies[] = { CELLAR_EVICT_ADAPTIVE, CELLAR_EVICT_S3FIFO, CELLAR_EVICT_LRU,
                                     CELLAR_EVICT_FIFO };

static cellar *open_store(uint64_t bytes, uint32_t eviction)
{
    settings cfg = api_config(bytes);
    cfg.config.eviction = eviction;
    cfg.tuning.expected_entry_bytes = 128;
    return closed_later(api_open_with(&cfg));
}

static cellar *open_namespace(cellar *c, const char *name, uint32_t most)
{
    return space_with(c, name, SPACE_OPTS(.quota_max_pct = most));
}

static void put(cellar *v, uint64_t id)
{
    static const unsigned char value[100];
    T_EQ_I64(cellar_set(v, &id, KEY_BYTES, value, sizeof value, NULL), CELLAR_OK);
}

static uint64_t count(cellar *v, uint64_t from, uint64_t to)
{
    uint64_t n = 0;
    for (uint64_t id = from; id < to; id++) {
        n += cellar_contains(v, &id, KEY_BYTES) == CELLAR_OK;
    }
    return n;
}

/* A segment for each stripe. Stripes are at most 64 and a segment is 1/128, so the bound is
 * generous only where both are at their maximum. */
static uint64_t slack(uint64_t budget) { return budget / 40; }

#define SHARE_OF_WORK (t_reduced() ? 4u : 1u)
/* A sanitizer runs fewer entries: the checks are the same. */
#define POLICIES (sizeof policies / sizeof policies[0] / (SHARE_OF_WORK > 1 ? 2 : 1))

/* Records that deletes leave in main take no memory for good. */
T_ALONE(deleted_records_of_main_are_reclaimed_under_flood)
{
    cellar *c = open_store(4u << 20, CELLAR_EVICT_S3FIFO), *a = open_namespace(c, "a", 0);
    unsigned char buf[100];
    size_t len;
    for (uint64_t id = 0; id < 12000; id++) { put(a, id); }
    for (unsigned use = 0; use < 3; use++) {
        for (uint64_t id = 0; id < 12000; id++) {
            T_EQ_I64(cellar_get(a, &id, KEY_BYTES, buf, sizeof buf, &len), CELLAR_OK);
        }
    }
    for (uint64_t id = 0; id < 30000; id++) { put(c, id); } /* moves those of `a` to main */
    T_CHECK(count(a, 0, 12000) > 7000);
    const uint64_t full = count(a, 0, 12000) + count(c, 0, 30000);
    for (uint64_t id = 0; id < 12000; id++) {
        if (id % 4 != 0) { (void)cellar_delete(a, &id, KEY_BYTES); }
    }
    for (uint64_t id = 30000; id < 90000; id++) { put(c, id); }
    const uint64_t now = count(a, 0, 12000) + count(c, 30000, 90000);
    printf("# %" PRIu64 " entries, %" PRIu64 " after the deletes\n", full, now);
    T_CHECK(now >= full / 100 * 85);
}

/* ---- max quota ---- */

/* Check that `v` does not exceed its max quota, whatever other namespaces hold. */
static void most_against_itself(uint32_t eviction, uint32_t most, uint32_t others_pct, bool hot)
{
    const uint64_t bytes = (4u << 20) / SHARE_OF_WORK, fit = bytes / 150;
    cellar *c = open_store(bytes, eviction);
    cellar *a = open_namespace(c, "a", 0), *v = open_namespace(c, "v", most);
    const uint64_t others = fit * others_pct / 100;
    for (uint64_t id = 0; id < others; id++) { put(a, id); }
    for (uint64_t id = 0; id < 2 * fit; id++) {
        put(v, id);
        if (hot && id >= 3) { (void)count(v, id - 3, id); }
    }
    const cellar_stats st = space_stats(v);
    T_CHECK(st.quota_max_bytes != 0);
    T_EQ_U64(count(v, 0, 2 * fit), st.quota_entries);
    if (st.quota_bytes > st.quota_max_bytes + slack(bytes)) {
        T_EQ_U64(st.quota_bytes, st.quota_max_bytes);
    }
    T_CHECK(st.quota_bytes + slack(bytes) > st.quota_max_bytes); /* it does reach its quota */
    if (others_pct + most < 90) { T_CHECK(count(a, 0, others) >= others * 99 / 100); }
}

T_ALONE(max_quota_is_never_exceeded)
{
    for (size_t p = 0; p < POLICIES; p++) {
        most_against_itself(policies[p], 20, 0, false);
        most_against_itself(policies[p], 20, 50, false);
        most_against_itself(policies[p], 5, 110, true);
    }
}

/* Beside a flood of its own namespace: room is made of unused entries first. */
T_CASE(used_entries_of_a_namespace_at_its_quota_stay)
{
    const uint64_t bytes = 4u << 20, hot = 200;
    unsigned char buf[100];
    size_t len;
    cellar *c = open_store(bytes, CELLAR_EVICT_S3FIFO), *v = open_namespace(c, "v", 10);
    for (uint64_t id = 0; id < 4 * hot; id++) { put(v, id); }
    for (uint64_t id = 4 * hot; id < 20 * hot; id++) {
        put(v, id);
        if (id % 4 != 0) { continue; }
        for (uint64_t used = 0; used < hot; used++) {
            (void)cellar_get(v, &used, KEY_BYTES, buf, sizeof buf, &len);
        }
    }
    T_CHECK(space_stats(v).quota_bytes <= space_stats(v).quota_max_bytes + slack(bytes));
    T_CHECK(count(v, hot, 20 * hot) < 19 * hot * 9 / 10);
    printf("# %" PRIu64 " of %" PRIu64 " used entries are left\n", count(v, 0, hot), hot);
    T_CHECK(count(v, 0, hot) >= hot * 95 / 100);
}

/* A touch with the first far deadline needs a longer record. The root is at its quota. */
T_CASE(touch_in_one_namespace_evicts_nothing_of_the_root_at_its_quota)
{
    settings cfg = api_config(4u << 20);
    cfg.config.root = SPACE_OPTS(.quota_max_pct = 20);
    cellar *c = closed_later(api_open_with(&cfg)), *v = open_namespace(c, "v", 0);
    for (uint64_t id = 0; id < 20000; id++) { put(c, id); }
    const uint64_t full = count(c, 0, 20000);
    const cellar_stats st = space_stats(c);
    T_CHECK(full > 1000 && full < 10000);
    T_CHECK(st.quota_entries == full && st.quota_bytes <= st.quota_max_bytes + slack(4u << 20));
    for (uint64_t id = 0; id < 500; id++) { put(v, id); }
    T_EQ_U64(count(c, 0, 20000), full);
    for (uint64_t id = 0; id < 500; id++) {
        T_EQ_I64(cellar_touch(v, &id, KEY_BYTES, INT64_C(100000000000)), CELLAR_OK);
    }
    T_EQ_U64(count(c, 0, 20000), full);
    T_EQ_U64(count(v, 0, 500), 500);
}

/* ---- idle memory ---- */

/* Return the entries that `a` holds beside one of another namespace with this quota. */
static uint64_t held_beside(uint32_t most)
{
    const uint64_t bytes = (4u << 20) / SHARE_OF_WORK, fit = bytes / 150;
    cellar *c = open_store(bytes, CELLAR_EVICT_ADAPTIVE);
    cellar *a = open_namespace(c, "a", 0), *b = open_namespace(c, "b", most);
    put(b, 1);
    for (uint64_t id = 0; id < 3 * fit; id++) { put(a, id); }
    const uint64_t held = count(a, 0, 3 * fit);
    left_close();
    return held;
}

T_ALONE(idle_namespace_lends_unused_memory)
{
    T_CHECK(held_beside(60) * 100 >= held_beside(0) * 95);
}

/* ---- figures, options, drop ---- */

T_CASE(quota_stats_follow_namespace)
{
    cellar *c = open_store(8u << 20, CELLAR_EVICT_ADAPTIVE), *v = open_namespace(c, "v", 90);
    for (uint64_t id = 0; id < 100; id++) { put(v, id); }
    cellar_stats st = space_stats(v);
    T_EQ_U64(st.quota_entries, 100);
    T_CHECK(st.quota_bytes >= 100 * 108 && st.quota_bytes <= 100 * 160);
    T_EQ_U64(space_stats(c).quota_bytes, 0);
    const uint64_t one = st.quota_bytes / 100;
    for (uint64_t id = 0; id < 40; id++) {
        T_EQ_I64(cellar_delete(v, &id, KEY_BYTES), CELLAR_OK);
    }
    T_EQ_U64(space_stats(v).quota_entries, 60);
    T_EQ_U64(space_stats(v).quota_bytes, 60 * one);
    static const unsigned char longer[500000];
    uint64_t id = 50;
    T_EQ_I64(cellar_set(v, &id, KEY_BYTES, longer, 1000, NULL), CELLAR_OK);
    T_EQ_U64(space_stats(v).quota_entries, 60);
    T_CHECK(space_stats(v).quota_bytes > 59 * one + 1000);
    T_EQ_I64(cellar_set(v, &id, KEY_BYTES, longer, sizeof longer, NULL), CELLAR_OK); /* one block */
    T_CHECK(space_stats(v).quota_bytes > 59 * one + sizeof longer);
    T_EQ_I64(cellar_touch(v, &id, KEY_BYTES, 5000), CELLAR_OK);
    T_CHECK(space_stats(v).quota_bytes > 59 * one + sizeof longer);
    atomic_fetch_add(&api_now_ms, 6000);
    while (cellar_tick(c, 1000000, NULL) == CELLAR_PENDING) {}
    T_EQ_U64(space_stats(v).quota_entries, 59); /* expired and reclaimed */
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    T_EQ_I64(cellar_clear(v), CELLAR_OK);
    T_EQ_U64(space_stats(v).quota_entries, 0);
    T_EQ_U64(space_stats(v).quota_bytes, 0);
    T_AFTER_U64(put(v, 1), space_stats(v).quota_entries, 1);
    T_EQ_I64(cellar_version_set(v, 0, NULL), CELLAR_OK);
    T_EQ_U64(space_stats(v).quota_entries, 0);
    put(v, 1);
    put(v, 1); /* in place */
    T_EQ_U64(space_stats(v).quota_entries, 1);
    T_EQ_U64(space_stats(v).quota_bytes, one);
}

static cellar_err try_namespace(cellar *c, const char *name, uint32_t most)
{
    cellar *v = NULL;
    const cellar_err err = cellar_namespace_open(c, name, SPACE_OPTS(.quota_max_pct = most), &v);
    if (err == CELLAR_OK) { T_EQ_I64(cellar_namespace_close(v), CELLAR_OK); }
    return err;
}

T_CASE(impossible_quotas_are_refused)
{
    cellar *c = open_store(8u << 20, CELLAR_EVICT_ADAPTIVE);
    T_EQ_I64(try_namespace(c, "v", 101), CELLAR_E_INVAL);
    T_EQ_I64(try_namespace(c, "a", 60), CELLAR_OK);
    T_EQ_I64(try_namespace(c, "b", 60), CELLAR_OK);
    T_EQ_I64(try_namespace(c, "a", 10), CELLAR_OK);
    T_EQ_I64(try_namespace(c, "plain", 0), CELLAR_OK);
    T_EQ_I64(try_namespace(c, "plain", 50), CELLAR_E_INVAL); /* its entries were not counted */
    for (unsigned i = 0; i < 61; i++) {
        T_EQ_I64(try_namespace(c, t_numbered("n", i), 50), CELLAR_OK);
    }
    T_EQ_I64(try_namespace(c, "one more", 50), CELLAR_E_LIMIT);
    T_EQ_I64(cellar_namespace_drop(c, "n7"), CELLAR_OK);
    T_EQ_I64(try_namespace(c, "one more", 50), CELLAR_OK);
    T_EQ_I64(try_namespace(c, "without", 0), CELLAR_OK);
}

/* A generation cleared during writes takes its count with it, whatever the writers do. */
static struct { cellar *v[2]; _Atomic uint32_t stop; } busy;

static void *worker(void *arg)
{
    uint64_t rng = t_seed() + (uint64_t)(uintptr_t)arg;
    while (atomic_load(&busy.stop) == 0) {
        for (unsigned i = 0; i < 200; i++) {
            rng = rng * 6364136223846793005u + 1442695040888963407u;
            cellar *v = busy.v[rng >> 63];
            const uint64_t id = (rng >> 20) % 40000;
            if ((rng >> 40) % 5 != 0) { put(v, id); } else { (void)cellar_delete(v, &id,
                                                                                 KEY_BYTES); }
        }
    }
    return NULL;
}

T_CASE(quota_counts_are_exact_under_threads)
{
    pthread_t thread[4];
    memset(&busy, 0, sizeof busy);
    cellar *c = open_store(4u << 20, CELLAR_EVICT_ADAPTIVE);
    busy.v[0] = open_namespace(c, "0", 50);
    busy.v[1] = open_namespace(c, "1", 90);
    for (uintptr_t i = 0; i < 4; i++) {
        T_REQUIRE(pthread_create(&thread[i], NULL, worker, (void *)i) == 0);
    }
    for (unsigned round = 0; round < 300 / SHARE_OF_WORK / SHARE_OF_WORK; round++) {
        T_EQ_I64(round % 3 == 0 ? cellar_version_set(busy.v[round & 1], 0, NULL)
                                : cellar_clear(busy.v[round & 1]), CELLAR_OK);
        for (uint64_t id = 0; id < 100; id++) { put(busy.v[round & 1], id); }
        (void)space_stats(busy.v[0]);
    }
    atomic_store(&busy.stop, 1);
    for (unsigned i = 0; i < 4; i++) { T_EQ_I64(pthread_join(thread[i], NULL), 0); }
    for (unsigned i = 0; i < 2; i++) {
        T_EQ_U64(space_stats(busy.v[i]).quota_entries, count(busy.v[i], 0, 40000));
    }
}

static uint64_t metric(const char *text, const char *family, const char *namespace)
{
    char line[96];
    snprintf(line, sizeof line, "\n%s{namespace=\"%s\"} ", family, namespace);
    const char *at = strstr(text, line);
    return at != NULL ? strtoull(at + strlen(line), NULL, 10) : UINT64_MAX;
}

T_ALONE(quotas_and_removals_of_namespace_are_in_texts)
{
    cellar *c = open_store(2 << 20, CELLAR_EVICT_ADAPTIVE);
    cellar *a = open_namespace(c, "a", 90), *b = open_namespace(c, "b", 10);
    cellar *plain = open_namespace(c, "plain", 0);
    for (uint64_t id = 0; id < 20000; id++) { put(plain, id); }
    for (uint64_t id = 0; id < 20000; id++) { put(b, id); }
    for (uint64_t id = 0; id < 20000; id++) { put(a, id); }
    const cellar_stats st = space_stats(a), of_b = space_stats(b);
    const char *text = figures_text(c);
    T_CHECK(st.quota_entries != 0 && of_b.quota_max_bytes != 0);
    T_EQ_U64(metric(text, "cellar_quota_entries", "a"), st.quota_entries);
    T_EQ_U64(metric(text, "cellar_quota_bytes", "a"), st.quota_bytes);
    T_EQ_U64(metric(text, "cellar_quota_ceiling_bytes", "b"), of_b.quota_max_bytes);
    T_EQ_U64(metric(text, "cellar_quota_bytes", "plain"), UINT64_MAX); /* it has no quota */
    char line[96];
    snprintf(line, sizeof line,
             "\ncellar_evictions_total{namespace=\"b\",cause=\"evicted\"} %llu\n",
             (unsigned long long)of_b.ended[CELLAR_CAUSE_EVICTED]);
    T_CHECK(of_b.ended[CELLAR_CAUSE_EVICTED] != 0 && strstr(text, line) != NULL);
    T_CHECK(strstr(text, "\ncellar_l1_rule ") != NULL);
    T_CHECK(strstr(text, "\ncellar_shadow_dropped_total ") != NULL);
}

/* ---- long entries ---- */
typedef enum kind { VALUES, WEIGHTS, OBJECTS } kind;

static void ended(void *object, size_t charge, cellar_cause cause, void *ctx)
{
    (void)object, (void)charge, (void)cause, (void)ctx;
}

static cellar_err put_long(cellar *v, kind of, uint64_t id, uint64_t len)
{
    static unsigned char value[1500000];
    if (of == OBJECTS) { return cellar_object_set(v, &id, KEY_BYTES, value, (size_t)len, NULL); }
    if (of == VALUES) { return cellar_set(v, &id, KEY_BYTES, value, (size_t)len, NULL); }
    return cellar_set(v, &id, KEY_BYTES, value, 8, SET_OPTS(.weight_bytes = len));
}

/* Keep the most bytes that a namespace has had above its quota. */
static void note_excess(cellar *v, uint64_t *excess)
{
    const cellar_stats st = space_stats(v);
    if (st.quota_bytes > st.quota_max_bytes + *excess) {
        *excess = st.quota_bytes - st.quota_max_bytes;
    }
}

/* Set short and long entries in a namespace with a quota, beside one that no call touches and that
 * takes what the quota leaves. Weights and blocks count for the quota with all their bytes. */
T_ALONE(long_entries_stay_below_the_quota)
{
    const uint64_t bytes = 16u << 20, seeds = t_reduced() ? 1 : 13;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        for (int of = VALUES; of <= OBJECTS; of++) {
            draw_state = seed;
            cellar *c = open_store(bytes, CELLAR_EVICT_ADAPTIVE), *v = NULL;
            cellar *a = open_namespace(c, "a", 0);
            cellar_object_config object = { .struct_size = sizeof object, .free_fn = ended };
            v = space_with(c, "v", SPACE_OPTS(.quota_max_pct = 25,
                                              .object = of == OBJECTS ? &object : NULL));
            const uint64_t others = bytes / 4 / 150;
            uint64_t excess = 0;
            for (uint64_t id = 0; id < others; id++) { put(a, id); }
            for (uint64_t i = 0; i < (t_reduced() ? 5000u : 20000u); i++) {
                const uint64_t len = 1 + draw(draw(50) == 0 ? 1500000 : 7500);
                T_EQ_I64(put_long(v, (kind)of, draw(20000), len), CELLAR_OK);
                if (i % 16 != 0) { continue; }
                note_excess(v, &excess);
            }
            T_CHECK(excess <= slack(bytes));
            T_EQ_U64(count(a, 0, others), others);
            left_close();
        }
    }
}

/* A set of a full namespace passes many short entries of another one before it finds its own. */
T_ALONE(values_beside_many_short_entries_stay_below_the_quota)
{
    const uint64_t bytes = 16u << 20, others = bytes / 2 / 64;
    static const unsigned char value[2000];
    uint64_t excess = 0;
    cellar *c = open_store(bytes, CELLAR_EVICT_ADAPTIVE);
    cellar *a = open_namespace(c, "a", 0), *v = open_namespace(c, "v", 25);
    for (uint64_t id = 0; id < others; id++) {
        T_EQ_I64(cellar_set(a, &id, KEY_BYTES, value, 1, NULL), CELLAR_OK);
    }
    for (uint64_t id = 0; id < 4000; id++) {
        T_EQ_I64(cellar_set(v, &id, KEY_BYTES, value, sizeof value, NULL), CELLAR_OK);
        note_excess(v, &excess);
    }
    T_CHECK(excess <= slack(bytes));
    T_EQ_U64(count(a, 0, others), others);
}

/* ---- the entry that a condition is about ---- */

static char long_value[1500000];

static cellar_err make_long(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    (void)old_len;
    *(int *)ctx += old != NULL ? 1 : 100;
    return cellar_buf_append(out, long_value, sizeof long_value);
}

/* Faulty sequence: the room for a long value in a full namespace came from the old value of its own
 * key: an update began again without it, over a disk each time. */
T_CASE(room_for_a_long_value_leaves_the_old_one)
{
    cellar *c = open_store(6u << 20, CELLAR_EVICT_DEFAULT), *v = open_namespace(c, "v", 20);
    int runs = 0;
    T_EQ_I64(api_put(v, "k", "old", NULL), CELLAR_OK);
    T_EQ_I64(cellar_update(v, "k", 1, NULL, make_long, &runs), CELLAR_OK);
    T_EQ_I64(runs, 1);
    cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_ONLY_IF_PRESENT };
    T_EQ_I64(api_put(v, "k", "old", NULL), CELLAR_OK);
    T_EQ_I64(cellar_set(v, "k", 1, long_value, sizeof long_value, &o), CELLAR_OK);
}

T_MAIN("cellar_quota")
