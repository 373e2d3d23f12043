/* SPDX-License-Identifier: MIT
 *
 * kit: what named caches, policies, tags and figures cost beside the plain calls.
 *
 * FIGURES    kit_set_many  kit_get_many   100 items in one call / 100 calls: 1 M keys, popularity
 *                            1 / rank (workload many100), or uniform (many100_uniform)
 *            kit_rules_set   ns of a set under 50 rules, less ns of the same set without rules; the
 *                            namespace has a default TTL, so that both store a deadline
 *            kit_rules_get   gets of the same keys, with the rules / without
 *            kit_pattern_keys  keys a second of cellar_delete_by_pattern, 10^6 keys, 1 % match / of
 *                            a walk with the same matcher over uthash under one lock
 *            kit_pattern_stall  longest get of another thread meanwhile; kit_pattern_idle: the same
 *                            without a delete, which is the machine's own time
 *            kit_tag_end     cellar_delete_by_tag with 10^5 entries that have the tag
 *            kit_tag_get     gets of entries with 2 tags / without tags, no tag deleted (tags2), or
 *                            after 10^4 other tags were deleted (tags2_ended)
 * WALK       Rounds. In each both sides have four turns on the same keys, in the order A B B A; the
 *            fastest turn of each counts. A ratio or a difference is taken within its round.
 * CLOCK      CPU time of the thread; wall for the stalls, the one tag call and two threads. A get
 *            during which the system took the processor away is no stall. */
#include "bench/suites/suite.h"

#include "bench/harness/json.h"

#if BENCH_HAVE_CELLAR
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "base/glob.h"
#include "bench/harness/host.h"
#include "bench/harness/trace.h"
#include "cellar.h"
#include "cellar_admin.h"
#include "cellar_invalidate.h"
#include "cellar_kit.h"
#include "cellar_observe.h"

#define KIT_KEY_LEN 16u
#define KIT_VALUE_LEN 100u
#define KIT_BATCH 50000u /* operations of one turn */
#define KIT_TURNS 4u
#define KIT_MANY 100u
#define KIT_MANY_KEYS 1000000u
#define KIT_SMALL_KEYS 100000u
#define KIT_RULES 50u
#define KIT_PATTERN_KEYS 1000000u
#define KIT_TAGGED 100000u
#define KIT_TAGS_ENDED 10000u

static const char kit_value[KIT_VALUE_LEN];

/* Run one turn of a side; return ns an operation, and count failed calls in *bad. */
typedef double (*kit_side)(void *ctx, uint64_t *bad);

typedef enum kit_form {
    KIT_RATIO, /* speed of ours / speed of the other */
    KIT_MORE   /* ns of ours - ns of the other */
} kit_form;

static int kit_say(const char *shape, const char *metric, const char *clock, double *values,
            uint32_t rounds, uint64_t bad)
{
    suite_say("kit", "cellar", shape, metric, values, rounds, clock, bad != 0 ? "bad" : NULL);
    host_beat();
    return bad != 0 ? CELL_WRONG : CELL_OK;
}

/* Measure both sides in turns and write the row. Return CELL_OK, or CELL_WRONG after failed calls. */
static int kit_pair(const char *shape, const char *metric, kit_form form, kit_side ours,
                    kit_side other, void *ctx, uint32_t rounds)
{
    double out[SUITE_ROUNDS_MAX];
    uint64_t bad = 0;
    (void)ours(ctx, &bad);
    (void)other(ctx, &bad);
    for (uint32_t n = 0; n < rounds; n++) {
        double mine = INFINITY, its = INFINITY;
        for (uint32_t turn = 0; turn < 2 * KIT_TURNS; turn++) {
            const bool first = ((n ^ turn ^ turn >> 1) & 1) == 0; /* A B B A */
            const double ns = (first ? ours : other)(ctx, &bad);
            double *least = first ? &mine : &its;
            *least = ns < *least ? ns : *least;
        }
        out[n] = form == KIT_RATIO ? its / mine : mine - its;
    }
    return kit_say(shape, metric, "cpu", out, rounds, bad);
}

/* Open a store without threads of its own; NULL: refused. */
static cellar *kit_open(uint64_t memory_bytes)
{
    cellar_config cfg = cellar_config_default();
    cellar_host_config host = cellar_host_config_default();
    cellar *c = NULL;
    cfg.memory_bytes = memory_bytes;
    host.no_threads = 1;
    cfg.host = &host;
    return cellar_open(&cfg, &c) == CELLAR_OK ? c : NULL;
}

/* Write the key of a number: 16 bytes, not terminated. */
static void kit_key(char key[KIT_KEY_LEN], const char *prefix, uint32_t number)
{
    char text[32];
    snprintf(text, sizeof text, "%s%016u", prefix, number);
    const size_t len = strlen(prefix);
    memcpy(key, prefix, len);
    memcpy(key + len, text + len + len, KIT_KEY_LEN - len);
}

/* Return a rank below `count` with probability 1 / rank. */
static uint32_t kit_rank(uint64_t *state, uint32_t count)
{
    const uint32_t octaves = 32u - (uint32_t)__builtin_clz(count - 1);
    const uint32_t octave = (uint32_t)(trace_random(state) % octaves);
    const uint32_t rank = (1u << octave) + (uint32_t)(trace_random(state) & ((1u << octave) - 1));
    return rank % count;
}

/* Store `count` keys of one prefix; return the number of failed sets. */
static uint64_t kit_fill(cellar *c, const char *prefix, uint32_t count, const cellar_set_opts *o)
{
    uint64_t bad = 0;
    for (uint32_t i = 0; i < count; i++) {
        char key[KIT_KEY_LEN];
        kit_key(key, prefix, i);
        bad += cellar_set(c, key, sizeof key, kit_value, sizeof kit_value, o) != CELLAR_OK;
    }
    return bad;
}

/* Keys of one batch, and the two stores or namespaces that are compared. */
typedef struct kit_work {
    cellar *a, *b;
    char (*keys)[KIT_KEY_LEN]; /* KIT_BATCH */
} kit_work;

static bool kit_draw(kit_work *w, const char *prefix, uint32_t count, bool uniform)
{
    uint64_t state = 20240601;
    w->keys = malloc((size_t)KIT_BATCH * KIT_KEY_LEN);
    for (uint32_t i = 0; w->keys != NULL && i < KIT_BATCH; i++) {
        const uint32_t n = uniform ? (uint32_t)(trace_random(&state) % count)
                                   : kit_rank(&state, count);
        kit_key(w->keys[i], prefix, (uint32_t)trace_scramble(n, count));
    }
    return w->keys != NULL;
}

static double kit_since(uint64_t from_ns)
{
    return (double)(host_thread_cpu_ns() - from_ns) / KIT_BATCH;
}

static double kit_gets(cellar *c, char (*keys)[KIT_KEY_LEN], uint64_t *bad)
{
    char buf[KIT_VALUE_LEN];
    const uint64_t from = host_thread_cpu_ns();
    for (uint32_t i = 0; i < KIT_BATCH; i++) {
        size_t len;
        *bad += cellar_get(c, keys[i], KIT_KEY_LEN, buf, sizeof buf, &len) != CELLAR_OK;
    }
    return kit_since(from);
}

static double kit_get_a(void *ctx, uint64_t *bad)
{
    const kit_work *w = ctx;
    return kit_gets(w->a, w->keys, bad);
}

static double kit_get_b(void *ctx, uint64_t *bad)
{
    const kit_work *w = ctx;
    return kit_gets(w->b, w->keys, bad);
}

static double kit_sets(const kit_work *w, uint64_t *bad)
{
    const uint64_t from = host_thread_cpu_ns();
    for (uint32_t i = 0; i < KIT_BATCH; i++) {
        *bad += cellar_set(w->a, w->keys[i], KIT_KEY_LEN, kit_value, sizeof kit_value, NULL) !=
                CELLAR_OK;
    }
    return kit_since(from);
}

/* ---- many keys ---- */

static double kit_single_sets(void *ctx, uint64_t *bad) { return kit_sets(ctx, bad); }

static double kit_many_gets(void *ctx, uint64_t *bad)
{
    static char bufs[KIT_MANY][KIT_VALUE_LEN];
    const kit_work *w = ctx;
    const uint64_t from = host_thread_cpu_ns();
    for (uint32_t i = 0; i < KIT_BATCH; i += KIT_MANY) {
        cellar_get_item items[KIT_MANY];
        size_t hits = 0;
        for (uint32_t k = 0; k < KIT_MANY; k++) {
            items[k] = (cellar_get_item){ .key = w->keys[i + k], .key_len = KIT_KEY_LEN,
                                          .buf = bufs[k], .buf_cap = KIT_VALUE_LEN };
        }
        *bad += cellar_get_many(w->a, items, KIT_MANY, &hits) != CELLAR_OK || hits != KIT_MANY;
    }
    return kit_since(from);
}

static double kit_many_sets(void *ctx, uint64_t *bad)
{
    const kit_work *w = ctx;
    const uint64_t from = host_thread_cpu_ns();
    for (uint32_t i = 0; i < KIT_BATCH; i += KIT_MANY) {
        cellar_set_item items[KIT_MANY];
        size_t stored = 0;
        for (uint32_t k = 0; k < KIT_MANY; k++) {
            items[k] = (cellar_set_item){ .key = w->keys[i + k], .key_len = KIT_KEY_LEN,
                                          .value = kit_value, .value_len = KIT_VALUE_LEN };
        }
        *bad += cellar_set_many(w->a, items, KIT_MANY, NULL, &stored) != CELLAR_OK ||
                stored != KIT_MANY;
    }
    return kit_since(from);
}

static int kit_many_shape(cellar *c, const char *shape, bool uniform, uint32_t rounds)
{
    kit_work w = { .a = c };
    int status = CELL_WRONG;
    if (kit_draw(&w, "", KIT_MANY_KEYS, uniform)) {
        status = kit_pair(shape, "kit_get_many", KIT_RATIO, kit_many_gets, kit_get_a, &w,
                          rounds) |
                 kit_pair(shape, "kit_set_many", KIT_RATIO, kit_many_sets, kit_single_sets, &w,
                          rounds);
    }
    free(w.keys);
    return status;
}

static int kit_many(uint32_t rounds)
{
    cellar *c = kit_open(512ull << 20);
    int status = CELL_WRONG;
    if (c != NULL && kit_fill(c, "", KIT_MANY_KEYS, NULL) == 0) {
        status = kit_many_shape(c, "many100", false, rounds) |
                 kit_many_shape(c, "many100_uniform", true, rounds);
    }
    cellar_close(c);
    return status;
}

/* ---- rules and codecs ---- */

/* Write 50 rules in the mixture of a service: 46 for kinds of keys, 2 for patterns, 2 denials. */
static size_t kit_rules(char *text, size_t cap)
{
    size_t at = (size_t)snprintf(text, cap, "[*]\ndeny *token*\ndeny *authorization*\n"
                                            "glob tmp:* ttl=5m\nglob *:draft ttl=1m\n");
    for (uint32_t i = 4; i < KIT_RULES; i++) {
        at += (size_t)snprintf(text + at, cap - at, "key kind%02u:{id}%s ttl=%um\n", i / 2,
                               i % 2 != 0 ? ":info" : "", i + 30);
    }
    return at;
}

static void kit_rules_on(cellar *c, bool on, uint64_t *bad)
{
    char text[4096];
    cellar_policy_opts o = cellar_policy_opts_default();
    cellar_policy_rule *rules;
    size_t count;
    o.text = text;
    o.text_len = on ? kit_rules(text, sizeof text) : 0;
    *bad += cellar_policy_read("rules", &o, NULL, NULL, &rules, &count) != CELLAR_OK ||
            cellar_policy_set(c, rules, count) != CELLAR_OK;
    cellar_free(rules);
}

static double kit_set_ruled(void *ctx, uint64_t *bad)
{
    const kit_work *w = ctx;
    kit_rules_on(w->a, true, bad);
    return kit_sets(w, bad);
}

static double kit_set_unruled(void *ctx, uint64_t *bad)
{
    const kit_work *w = ctx;
    kit_rules_on(w->a, false, bad);
    return kit_sets(w, bad);
}

static double kit_get_ruled(void *ctx, uint64_t *bad)
{
    const kit_work *w = ctx;
    kit_rules_on(w->a, true, bad);
    return kit_get_a(ctx, bad);
}

static double kit_get_unruled(void *ctx, uint64_t *bad)
{
    const kit_work *w = ctx;
    kit_rules_on(w->a, false, bad);
    return kit_get_a(ctx, bad);
}

/* Draw keys of 23 kinds, each under a rule of its own. */
static bool kit_draw_kinds(kit_work *w)
{
    uint64_t state = 20240601;
    w->keys = malloc((size_t)KIT_BATCH * KIT_KEY_LEN);
    for (uint32_t i = 0; w->keys != NULL && i < KIT_BATCH; i++) {
        const uint32_t n = kit_rank(&state, KIT_SMALL_KEYS);
        char key[32];
        snprintf(key, sizeof key, "kind%02u:%04u:info", 2 + n % 23, n / 23);
        memcpy(w->keys[i], key, KIT_KEY_LEN);
    }
    return w->keys != NULL;
}

static int kit_policy(uint32_t rounds)
{
    cellar *c = kit_open(128ull << 20);
    kit_work w = { 0 };
    cellar_namespace_config o = cellar_namespace_config_default();
    int status = CELL_WRONG;
    o.default_ttl_ms = 3600000;
    if (c != NULL && cellar_namespace_open(c, "ruled", &o, &w.a) == CELLAR_OK &&
        kit_draw_kinds(&w)) {
        status = kit_pair("rules50", "kit_rules_set", KIT_MORE, kit_set_ruled, kit_set_unruled, &w,
                          rounds) |
                 kit_pair("rules50", "kit_rules_get", KIT_RATIO, kit_get_ruled, kit_get_unruled, &w,
                          rounds);
    }
    free(w.keys);
    cellar_namespace_close(w.a);
    cellar_close(c);
    return status;
}

/* Fill a and b alike, key by key. */
static uint64_t kit_fill_both(const kit_work *w, uint32_t count, const cellar_set_opts *of_a)
{
    uint64_t bad = 0;
    for (uint32_t i = 0; i < count; i++) {
        char key[KIT_KEY_LEN];
        kit_key(key, "", i);
        bad += cellar_set(w->a, key, sizeof key, kit_value, sizeof kit_value, of_a) != CELLAR_OK;
        bad += cellar_set(w->b, key, sizeof key, kit_value, sizeof kit_value, NULL) != CELLAR_OK;
    }
    return bad;
}

/* ---- tags ---- */

static double kit_end_tag(cellar *c, uint64_t *bad)
{
    const cellar_bytes tag = { "group", 5 };
    cellar_set_opts o = cellar_set_opts_default();
    char key[KIT_KEY_LEN], buf[KIT_VALUE_LEN];
    o.tags = &tag;
    o.tag_count = 1;
    *bad += kit_fill(c, "", KIT_TAGGED, &o);
    const uint64_t from = host_wall_ns();
    *bad += cellar_delete_by_tag(c, "group", 5, CELLAR_TAG_HARD) != CELLAR_OK;
    const uint64_t ns = host_wall_ns() - from;
    for (uint32_t i = 0; i < KIT_TAGGED; i += 997) {
        kit_key(key, "", i);
        *bad += cellar_get(c, key, sizeof key, buf, sizeof buf, NULL) != CELLAR_MISS;
    }
    return (double)ns / 1e3;
}

static int kit_tag_ends(uint32_t rounds)
{
    cellar *c = kit_open(128ull << 20);
    double us[SUITE_ROUNDS_MAX];
    uint64_t bad = 0;
    if (c == NULL) { return CELL_WRONG; }
    for (uint32_t n = 0; n < rounds; n++) { us[n] = kit_end_tag(c, &bad); }
    cellar_close(c);
    return kit_say("tag100k", "kit_tag_end", "wall", us, rounds, bad);
}

static int kit_tags(uint32_t rounds)
{
    cellar *c = kit_open(256ull << 20);
    kit_work w = { 0 };
    const cellar_bytes tags[2] = { { "user", 4 }, { "project", 7 } };
    cellar_set_opts o = cellar_set_opts_default();
    int status = CELL_WRONG;
    uint64_t bad = 0;
    o.tags = tags;
    o.tag_count = 2;
    if (c != NULL && cellar_namespace_open(c, "tagged", NULL, &w.a) == CELLAR_OK &&
        cellar_namespace_open(c, "plain", NULL, &w.b) == CELLAR_OK &&
        kit_draw(&w, "", KIT_SMALL_KEYS, false) && kit_fill_both(&w, KIT_SMALL_KEYS, &o) == 0) {
        status = kit_pair("tags2", "kit_tag_get", KIT_RATIO, kit_get_a, kit_get_b, &w, rounds);
        for (uint32_t i = 0; i < KIT_TAGS_ENDED; i++) {
            char key[KIT_KEY_LEN];
            kit_key(key, "t", i);
            bad += cellar_delete_by_tag(c, key, sizeof key, CELLAR_TAG_HARD) != CELLAR_OK;
        }
        status |= bad != 0 ? CELL_WRONG : kit_pair("tags2_ended", "kit_tag_get", KIT_RATIO,
                                                   kit_get_a, kit_get_b, &w, rounds);
    }
    free(w.keys);
    cellar_namespace_close(w.a);
    cellar_namespace_close(w.b);
    cellar_close(c);
    return status;
}

/* ---- patterns ---- */

typedef struct kit_item { /* the usual way: a table, a walk, a matcher */
    UT_hash_handle hh;
    char key[KIT_KEY_LEN], value[KIT_VALUE_LEN];
} kit_item;

typedef struct kit_pattern {
    cellar *c;
    pthread_mutex_t lock; /* guards table */
    kit_item *table;
    atomic_bool stop;
    uint64_t longest_ns, gets, bad; /* of the reader */
} kit_pattern;

#define KIT_MATCHING "g07:*"

/* Key of a number: its last two digits are its group. */
static void kit_group_key(char key[KIT_KEY_LEN], uint32_t number)
{
    char prefix[24];
    snprintf(prefix, sizeof prefix, "g%02u:", number % 100);
    kit_key(key, prefix, number / 100);
}

static bool kit_item_add(kit_pattern *p, const char key[KIT_KEY_LEN])
{
    kit_item *item = calloc(1, sizeof *item);
    if (item == NULL) { return false; }
    memcpy(item->key, key, KIT_KEY_LEN);
    HASH_ADD(hh, p->table, key, KIT_KEY_LEN, item);
    return item->hh.tbl != NULL;
}

/* Store the keys of all groups, or only those that the pattern deletes. */
static uint64_t kit_pattern_fill(kit_pattern *p, bool all)
{
    uint64_t bad = 0;
    for (uint32_t i = all ? 0 : 7; i < KIT_PATTERN_KEYS; i += all ? 1 : 100) {
        char key[KIT_KEY_LEN];
        kit_group_key(key, i);
        bad += cellar_set(p->c, key, sizeof key, kit_value, sizeof kit_value, NULL) != CELLAR_OK;
        bad += !kit_item_add(p, key);
    }
    return bad;
}

static double kit_pattern_ours(kit_pattern *p, uint64_t *bad)
{
    uint64_t deleted = 0;
    const uint64_t from = host_thread_cpu_ns();
    *bad += cellar_delete_by_pattern(p->c, KIT_MATCHING, sizeof KIT_MATCHING - 1, &deleted) !=
            CELLAR_OK;
    const double ns = (double)(host_thread_cpu_ns() - from);
    *bad += deleted != KIT_PATTERN_KEYS / 100;
    return ns;
}

static double kit_pattern_usual(kit_pattern *p, uint64_t *bad)
{
    uint64_t deleted = 0;
    kit_item *item, *next;
    const uint64_t from = host_thread_cpu_ns();
    pthread_mutex_lock(&p->lock);
    HASH_ITER(hh, p->table, item, next) {
        if (base_glob_match(KIT_MATCHING, sizeof KIT_MATCHING - 1, item->key, KIT_KEY_LEN)) {
            HASH_DEL(p->table, item);
            free(item);
            deleted++;
        }
    }
    pthread_mutex_unlock(&p->lock);
    const double ns = (double)(host_thread_cpu_ns() - from);
    *bad += deleted != KIT_PATTERN_KEYS / 100;
    return ns;
}

/* Read keys that the pattern spares; remember the longest get that no other thread interrupted. */
static void *kit_pattern_reader(void *arg)
{
    kit_pattern *p = arg;
    uint64_t state = 7;
    host_pin(1);
    (void)cellar_get(p->c, "first", 5, NULL, 0, NULL); /* allocates the counters of this thread */
    uint64_t preempted = host_thread_preempted();
    while (!atomic_load_explicit(&p->stop, memory_order_relaxed)) {
        char key[KIT_KEY_LEN], buf[KIT_VALUE_LEN];
        kit_group_key(key, (uint32_t)(trace_random(&state) % (KIT_PATTERN_KEYS / 100)) * 100 + 8);
        const uint64_t from = host_wall_ns();
        p->bad += cellar_get(p->c, key, sizeof key, buf, sizeof buf, NULL) != CELLAR_OK;
        const uint64_t ns = host_wall_ns() - from;
        if (ns > p->longest_ns || p->gets % 256 == 0) {
            const uint64_t now = host_thread_preempted();
            if (now == preempted && ns > p->longest_ns) { p->longest_ns = ns; }
            preempted = now;
        }
        p->gets++;
    }
    return NULL;
}

/* Return the longest get of the reader in us, during a delete (0) or during `idle_ns`. */
static double kit_pattern_longest(kit_pattern *p, uint64_t idle_ns, double *took_ns, uint64_t *bad)
{
    pthread_t reader;
    atomic_store(&p->stop, false);
    p->longest_ns = p->gets = p->bad = 0;
    if (pthread_create(&reader, NULL, kit_pattern_reader, p) != 0) { abort(); }
    const uint64_t from = host_wall_ns();
    if (idle_ns == 0) { *took_ns = kit_pattern_ours(p, bad); }
    while (host_wall_ns() - from < idle_ns) { }
    atomic_store(&p->stop, true);
    pthread_join(reader, NULL);
    *bad += p->bad;
    return (double)p->longest_ns / 1e3;
}

static int kit_patterns(uint32_t rounds)
{
    static double speed[SUITE_ROUNDS_MAX], stall[SUITE_ROUNDS_MAX], idle[SUITE_ROUNDS_MAX];
    kit_pattern p = { .c = kit_open(512ull << 20), .lock = PTHREAD_MUTEX_INITIALIZER };
    uint64_t bad = p.c == NULL ? 1 : kit_pattern_fill(&p, true);
    double ours, took = 0;
    host_pin(0);
    for (uint32_t n = 0; bad == 0 && n < rounds; n++) {
        ours = kit_pattern_ours(&p, &bad);
        speed[n] = kit_pattern_usual(&p, &bad) / ours;
        bad += kit_pattern_fill(&p, false);
        stall[n] = kit_pattern_longest(&p, 0, &took, &bad);
        (void)kit_pattern_usual(&p, &bad);
        bad += kit_pattern_fill(&p, false);
        idle[n] = kit_pattern_longest(&p, (uint64_t)took, &took, &bad);
        host_beat();
    }
    host_unpin();
    kit_item *item, *next;
    HASH_ITER(hh, p.table, item, next) {
        HASH_DEL(p.table, item);
        free(item);
    }
    cellar_close(p.c);
    if (bad != 0) { return CELL_WRONG; }
    (void)kit_say("pattern1m", "kit_pattern_keys", "cpu", speed, rounds, bad);
    (void)kit_say("pattern1m", "kit_pattern_stall", "wall", stall, rounds, bad);
    return kit_say("pattern1m", "kit_pattern_idle", "wall", idle, rounds, bad);
}

static int kit_run(const cell_options *o)
{
    const uint32_t rounds = o->rounds < SUITE_ROUNDS_MAX ? o->rounds : SUITE_ROUNDS_MAX;
    printf("\nkit  (%u rounds)\n", rounds);
    return kit_many(rounds) | kit_policy(rounds) |
           kit_tag_ends(rounds) | kit_tags(rounds) | kit_patterns(rounds < 9 ? rounds : 9);
}
#endif

SUITE_OF_LIBRARY(kit, "many keys, policies, tags, patterns, ready-made caches", kit_run, false);
