/* SPDX-License-Identifier: MIT
 *
 * Aim:    max_entries of namespaces holds while threads make each kind of change at once: sets of
 *         all forms, deletes, expiry, clears, bounds that change, namespaces that are dropped and
 *         reopened, a budget, a bound and a policy of the store that change.
 * Method: A random mix over few keys, then counts at rest, beside a scan and the index, and the
 *         audit, which compares the lists of namespaces with the index. Under ThreadSanitizer
 *         also: no data race. */
#include <pthread.h>

#include "tests/support/api_kit.h"
#include "tests/support/scan.h"

#define NAMESPACES 4u
#define THREADS 4u

typedef struct mix {
    cellar *root, *v[NAMESPACES]; /* bounds at the start: 20, none, 3 and a quota, 3 */
    unsigned seed;
} mix;

static char bytes[300000];

static uint64_t below(uint64_t *r, uint64_t n)
{
    *r = *r * 6364136223846793005u + 1442695040888963407u;
    return (*r >> 33) % n;
}

static cellar_err add_a_byte(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    (void)ctx;
    if (old_len > 1000) { return CELLAR_REMOVED; }
    if (old != NULL) { (void)cellar_buf_append(out, old, old_len); }
    return cellar_buf_append(out, "+", 1);
}

static cellar_err load_key(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)ctx;
    return cellar_load_value(load, key, key_len);
}

static void hear(const cellar_event *e, void *ctx) { (void)e, (void)ctx; }

static void set_one(cellar *v, const char *key, size_t n, uint64_t *r)
{
    static const cellar_bytes tag = { "t", 1 };
    cellar_set_opts o = cellar_set_opts_default();
    const size_t len = below(r, 40) == 0 ? below(r, sizeof bytes) : below(r, 500);
    const uint64_t flag = below(r, 30);
    if (below(r, 3) == 0) { o.ttl_ms = 1 + (int64_t)below(r, 100); }
    if (below(r, 8) == 0) { o.idle_ms = 1000; }
    if (below(r, 8) == 0) {
        o.tags = &tag;
        o.tag_count = 1;
    }
    if (flag < 3) { o.flags = CELLAR_ONLY_IF_PRESENT; }
    if (flag >= 3 && flag < 6) { o.flags = CELLAR_ONLY_IF_ABSENT; }
    if (flag >= 6 && flag < 9) { o.flags = CELLAR_NEGATIVE; }
    if ((o.flags & CELLAR_NEGATIVE) != 0) {
        (void)cellar_set(v, key, n, NULL, 0, &o);
    } else {
        (void)cellar_set(v, key, n, bytes, len, below(r, 2) != 0 ? &o : NULL);
    }
}

static void change_one(cellar *v, const char *key, size_t n, uint64_t what, uint64_t *r)
{
    cellar_result got = cellar_result_default();
    cellar_pinned pin;
    int64_t number;
    char buf[64];
    size_t len;
    if (what < 8) {
        (void)cellar_delete(v, key, n);
    } else if (what < 10) {
        (void)cellar_increment(v, key, n, 1, 1, NULL, &number);
    } else if (what < 12) {
        (void)cellar_touch(v, key, n, below(r, 2) != 0 ? INT64_C(1) << 40 : 50);
    } else if (what < 14) {
        (void)cellar_get(v, key, n, buf, sizeof buf, &len);
    } else if (what < 16) {
        (void)cellar_update(v, key, n, NULL, add_a_byte, NULL);
    } else if (what == 16) {
        (void)cellar_get_or_load(v, key, n, NULL, load_key, NULL, &got);
        cellar_result_free(&got);
    } else if (what == 17) {
        if (cellar_pin(v, key, n, &pin) == CELLAR_OK) { cellar_unpin(&pin); }
    } else {
        set_one(v, key, n, r);
    }
}

/* Fill a namespace that other threads open and drop as well. */
static void come_and_go(cellar *root, uint64_t *r)
{
    cellar_namespace_config o = cellar_namespace_config_default();
    cellar *v = NULL;
    o.max_entries = 1 + (uint32_t)below(r, 10);
    if (cellar_namespace_open(root, "brief", &o, &v) != CELLAR_OK) { return; }
    for (unsigned k = 0; k < 40; k++) { (void)cellar_set(v, &k, sizeof k, "v", 1, NULL); }
    if (below(r, 2) != 0) { (void)cellar_namespace_drop(root, "brief"); }
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
}

/* Change what holds for many keys. The first namespace keeps its bound. */
static void change_all(const mix *m, unsigned number, uint64_t what, uint64_t *r)
{
    cellar *v = m->v[number];
    const int64_t max = below(r, 3) == 0 ? 0 : 1 + (int64_t)below(r, 60);
    switch (what) {
    case 0: (void)cellar_clear(v); return;
    case 1:
    case 2:
    case 3:
        if (number == 0) { return; }
        T_EQ_I64(cellar_option_set(v, CELLAR_OPT_NAMESPACE_MAX_ENTRIES, max), CELLAR_OK);
        return;
    case 4:
        (void)cellar_option_set(m->root, CELLAR_OPT_MEMORY_BYTES,
                                below(r, 2) != 0 ? 5 << 20 : 8 << 20);
        return;
    case 5:
        (void)cellar_option_set(m->root, CELLAR_OPT_MAX_ENTRIES, 150 * (int64_t)below(r, 2));
        return;
    case 6:
        (void)cellar_option_set(m->root, CELLAR_OPT_EVICTION, (int64_t)below(r, 4));
        return;
    case 7: (void)cellar_delete_by_tag(v, "t", 1, CELLAR_TAG_HARD); return;
    case 8: come_and_go(m->root, r); return;
    default: (void)cellar_tick(m->root, 200, NULL); return;
    }
}

static void *run(void *arg)
{
    const mix *m = arg;
    uint64_t r = t_seed() + m->seed;
    const uint64_t rounds = t_share(8000);
    for (uint64_t i = 0; i < rounds; i++) {
        char key[1500];
        const unsigned number = (unsigned)below(&r, NAMESPACES);
        size_t n = (size_t)snprintf(key, sizeof key, "%u", (unsigned)below(&r, 200));
        if (key[0] == '7') { /* in a block */
            memset(key + n, 'k', sizeof key - n);
            n = sizeof key;
        }
        if (below(&r, 100) == 0) { change_all(m, number, below(&r, 12), &r); }
        if (below(&r, 50) == 0) { atomic_fetch_add(&api_now_ms, 3); }
        change_one(m->v[number], key, n, below(&r, 60), &r);
    }
    return NULL;
}

static bool count_one(const cellar_scan_entry *e, void *ctx)
{
    (void)e;
    ++*(uint64_t *)ctx;
    return true;
}

/* Each namespace has at least what a scan finds, which leaves negative entries out, and all
 * together what the index has. */
static void counts_agree_at_rest(const mix *m)
{
    cellar_stats all = cellar_stats_default(), st = cellar_stats_default();
    uint64_t sum = 0;
    (void)cellar_namespace_drop(m->root, "brief");
    while (cellar_tick(m->root, 100000, NULL) == CELLAR_PENDING) {}
    for (unsigned i = 0; i < NAMESPACES; i++) {
        uint64_t cursor = 0, n = 0;
        do {
            T_EQ_I64(cellar_scan(m->v[i], &cursor, SCAN(NULL, 0, 1u << 20), count_one, &n),
                     CELLAR_OK);
        } while (cursor != 0);
        T_EQ_I64(cellar_stats_get(m->v[i], CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
        T_CHECK(n <= st.namespace_entries);
        sum += st.namespace_entries;
    }
    T_EQ_I64(cellar_stats_get(m->root, CELLAR_SCOPE_STORE, &all), CELLAR_OK);
    T_EQ_U64(all.entries, sum);
}

static void bounds_hold_at_rest(const mix *m)
{
    cellar_error_info e = cellar_error_info_default();
    counts_agree_at_rest(m);
    if (!T_EQ_I64(cellar_integrity_check(m->root), CELLAR_OK)) {
        (void)cellar_last_error(m->root, &e);
        printf("# %s\n", e.text);
    }
    for (unsigned i = 0; i < NAMESPACES; i++) {
        int64_t max = 0;
        cellar_stats st = cellar_stats_default();
        T_EQ_I64(cellar_option_get(m->v[i], CELLAR_OPT_NAMESPACE_MAX_ENTRIES, &max), CELLAR_OK);
        T_EQ_I64(cellar_stats_get(m->v[i], CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
        T_CHECK(max == 0 || st.namespace_entries <= (uint64_t)max);
    }
}

static void run_threads(bool heard)
{
    static const char *const names[NAMESPACES] = { "a", "b", "c", "d" };
    static const uint32_t most[NAMESPACES] = { 20, 0, 3, 3 };
    mix m = { .root = api_open(8u << 20) };
    uint64_t id;
    for (unsigned i = 0; i < NAMESPACES; i++) {
        cellar_namespace_config o = { .struct_size = sizeof o, .max_entries = most[i],
                                      .quota_max_pct = i == 2 ? 30 : 0 };
        T_REQUIRE(cellar_namespace_open(m.root, names[i], &o, &m.v[i]) == CELLAR_OK);
    }
    if (heard) { T_EQ_I64(cellar_listener_add(m.root, 0, hear, NULL, &id), CELLAR_OK); }
    for (unsigned round = 0; round < 3; round++) {
        pthread_t t[THREADS];
        mix of[THREADS];
        for (unsigned i = 0; i < THREADS; i++) {
            of[i] = m;
            of[i].seed = i + THREADS * round;
            T_REQUIRE(pthread_create(&t[i], NULL, run, &of[i]) == 0);
        }
        for (unsigned i = 0; i < THREADS; i++) { T_EQ_I64(pthread_join(t[i], NULL), 0); }
        bounds_hold_at_rest(&m);
    }
    for (unsigned i = 0; i < NAMESPACES; i++) {
        T_EQ_I64(cellar_namespace_close(m.v[i]), CELLAR_OK);
    }
    api_shut(m.root);
}

T_CASE(all_changes_at_once_keep_the_bounds) { run_threads(false); }
T_CASE(all_changes_at_once_with_a_listener_keep_the_bounds) { run_threads(true); }

T_MAIN("api_max_entries_mix")
