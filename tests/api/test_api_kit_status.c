/* SPDX-License-Identifier: MIT
 *
 * Aim:    A status cache keeps value and state of a task together; the state decides the TTL.
 *         Merges of any number of threads all take effect, none is E_BUSY for the others. Ids that
 *         are read often live longer, once a period and within their greatest age.
 * Method: A clock that the test turns. Merges that lose as many rounds as the test wants, because
 *         they set their own id. Threads that add to one counter. Reads counted by the test. */
#include "tests/support/api_kit.h"
#include "tests/support/disk_store.h"
#include "tests/support/spaces.h"
#include "tests/support/struct_sizes.h"

#include "cellar_kit.h"

#define STORE_BYTES ((uint64_t)16 << 20)

static void later(int64_t ms) { atomic_fetch_add(&api_now_ms, ms); }

static void status_close(void *s) { cellar_status_close(s); }

/* Return a status cache that is closed after the case. */
static cellar_status *status_open(cellar *c, const cellar_status_config *o)
{
    cellar_status *s = NULL;
    T_REQUIRE(cellar_status_open(c, NULL, o, &s) == CELLAR_OK);
    left_add(s, status_close);
    return s;
}

static void put(cellar_status *s, const char *id, const char *value, const char *state)
{
    T_EQ_I64(cellar_status_set(s, id, strlen(id), value, strlen(value), state), CELLAR_OK);
}

/* Return "state value", or the name of the code. Valid until the next call of the thread. */
static const char *look(cellar_status *s, const char *id)
{
    static _Thread_local char text[200];
    char value[128];
    const char *state = "?";
    size_t len = 0;
    const cellar_err err =
        cellar_status_get(s, id, strlen(id), value, sizeof value - 1, &len, &state);
    if (err != CELLAR_OK) {
        T_CHECK(err == CELLAR_E_BUFFER || state == NULL);
        return cellar_code_name(err);
    }
    value[len] = '\0';
    snprintf(text, sizeof text, "%s %s", state, value);
    return text;
}

static cellar *entries_of(cellar *c)
{
    return space_with(c, "image_task", NULL);
}

/* Return the time that an entry has left, -1: no entry. */
static int64_t left_ms(cellar *c, const char *id)
{
    cellar *ns = NULL;
    cellar_entry_info info = cellar_entry_info_default();
    T_REQUIRE(cellar_namespace_open(c, "image_task", NULL, &ns) == CELLAR_OK);
    const cellar_err err = cellar_entry_info_get(ns, id, strlen(id), 0, &info);
    cellar_namespace_close(ns);
    return err == CELLAR_OK ? info.ttl_left_ms : -1;
}

static cellar_status_stats stats_of(cellar_status *s)
{
    cellar_status_stats st = cellar_status_stats_default();
    T_EQ_I64(cellar_status_stats_get(s, &st), CELLAR_OK);
    return st;
}

#define STORE(fn) T_WITH(fn, cellar *c, c, api_open(STORE_BYTES), api_shut(c))

/* ---- states ---- */

T_CASE_ON(each_state_of_the_preset_has_its_ttl, STORE)
{
    static const struct { const char *state; int64_t ttl_ms; } rows[] = {
        { "processing", 300000 }, { "success", 3600000 }, { "failed", 1800000 },
        { "batch", 600000 }
    };
    cellar_status *s = status_open(c, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char want[64];
        snprintf(want, sizeof want, "%s {}", rows[i].state);
        put(s, "7", "{}", rows[i].state);
        T_EQ_STR(look(s, "7"), want);
        later(rows[i].ttl_ms - 1);
        T_EQ_STR(look(s, "7"), want);
        later(1);
        T_EQ_STR(look(s, "7"), "MISS");
    }
    cellar_status_close(NULL);
}


T_CASE_ON(unknown_state_is_the_fallback_and_is_counted, STORE)
{
    static const cellar_ttl_class states[] = { { "new", 1000 }, { "old", 5000 } };
    cellar_status *s = status_open(c, NULL);
    put(s, "7", "x", "paused");
    T_EQ_STR(look(s, "7"), "processing x");
    T_EQ_I64(left_ms(c, "7"), 300000);
    T_EQ_U64(stats_of(s).unknown_states, 1);
    cellar_status_set_item it[4];
    for (size_t i = 0; i < 4; i++) {
        it[i] = (cellar_status_set_item){ &"abcd"[i], 1, "y", 1, i < 3 ? "paused" : "batch",
                                          CELLAR_OK, 0 };
    }
    T_EQ_I64(cellar_status_set_many(s, it, 4, NULL), CELLAR_OK);
    T_EQ_U64(stats_of(s).unknown_states, 4);
    T_EQ_STR(look(s, "c"), "processing y");
    T_EQ_STR(look(s, "d"), "batch y");

    cellar_status_config o = { .struct_size = sizeof o, .states = states, .state_count = 2,
                               .state_fallback = 2 };
    T_EQ_I64(cellar_status_open(c, "own", &o, &s), CELLAR_OK);
    left_add(s, status_close);
    put(s, "7", "x", "");
    T_EQ_STR(look(s, "7"), "old x");
    later(5000);
    T_EQ_STR(look(s, "7"), "MISS");
    /* a number of no state, as another program may have stored it */
    cellar_set_opts other = { .struct_size = sizeof other, .user_flags = 9 };
    T_EQ_I64(api_put(space_with(c, "own", NULL), "8", "z", &other), CELLAR_OK);
    T_EQ_STR(look(s, "8"), "old z");
}

T_CASE_ON(values_come_back_as_stored, STORE)
{
    cellar_status *s = status_open(c, NULL);
    unsigned char value[300], got[300];
    const char *state = NULL;
    size_t len = 7;
    for (size_t i = 0; i < sizeof value; i++) { value[i] = (unsigned char)(i * 7); }
    T_EQ_I64(cellar_status_set(s, "b", 1, value, sizeof value, "success"), CELLAR_OK);
    T_EQ_I64(cellar_status_get(s, "b", 1, NULL, 0, &len, &state), CELLAR_E_BUFFER);
    T_EQ_U64(len, sizeof value);
    T_EQ_STR(state, "success");
    T_EQ_I64(cellar_status_get(s, "b", 1, got, sizeof got, NULL, NULL), CELLAR_OK);
    T_EQ_MEM(got, value, sizeof value);
    T_EQ_I64(cellar_status_set(s, "e", 1, NULL, 0, "failed"), CELLAR_OK);
    T_EQ_STR(look(s, "e"), "failed ");
    T_EQ_STR(look(s, "none"), "MISS");
    cellar *ns = entries_of(c); /* the bytes have no head and no tail */
    T_EQ_I64(cellar_get(ns, "b", 1, got, sizeof got, &len), CELLAR_OK);
    T_EQ_U64(len, sizeof value);
    T_EQ_I64(cellar_delete(ns, "b", 1), CELLAR_OK);
    T_EQ_I64(cellar_status_get(s, "b", 1, NULL, 0, &len, &state), CELLAR_MISS);
    T_CHECK(len == 0 && state == NULL);
    const cellar_status_stats st = stats_of(s);
    T_FIELDS(st, gets, st.hits + st.misses, gets, 6, sets, 2);
}

/* ---- merges ---- */

typedef struct merge {
    cellar_status *s;
    cellar *ns;         /* of the entries */
    const char *id, *add;
    int runs;
    int lose;           /* rounds that this merge makes lost by a set of its own */
    cellar_err code;    /* returned by the merge; OK: the old value and `add` */
    cellar_err late;    /* the same after the lost rounds */
    bool deletes;       /* delete the id inside the merge */
} merge;

static cellar_err merge_run(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    merge *m = ctx;
    if (m->runs++ < m->lose) { /* another value each time: an equal one would lose no round */
        char value[16];
        const int n = snprintf(value, sizeof value, "set%d", m->runs);
        T_EQ_I64(cellar_status_set(m->s, m->id, strlen(m->id), value, (size_t)n, "batch"),
                 CELLAR_OK);
    }
    if (m->deletes) { T_EQ_I64(cellar_delete(m->ns, m->id, strlen(m->id)), CELLAR_OK); }
    (void)cellar_buf_append(out, old, old_len);
    (void)cellar_buf_append(out, m->add, strlen(m->add));
    return m->runs > m->lose && m->late != CELLAR_OK ? m->late : m->code;
}

static cellar_err update(cellar_status *s, const char *id, const char *state, merge *m)
{
    m->s = s;
    m->id = id;
    return cellar_status_update(s, id, strlen(id), state, merge_run, m);
}

T_CASE_ON(update_merges_and_takes_the_ttl_of_the_new_state, STORE)
{
    cellar_status *s = status_open(c, NULL);
    merge m = { .add = "+url" };
    T_EQ_I64(update(s, "7", "success", &m), CELLAR_MISS);
    T_EQ_I64(m.runs, 0);
    T_EQ_STR(look(s, "7"), "MISS");
    put(s, "7", "data", "processing");
    later(200000);
    T_EQ_I64(update(s, "7", "success", &m), CELLAR_OK);
    T_EQ_I64(m.runs, 1);
    T_EQ_STR(look(s, "7"), "success data+url");
    T_EQ_I64(left_ms(c, "7"), 3600000);
    T_EQ_I64(update(s, "7", "paused", &m), CELLAR_OK);
    T_EQ_STR(look(s, "7"), "processing data+url+url");
    T_EQ_U64(stats_of(s).unknown_states, 1);
    T_EQ_U64(stats_of(s).updates_queued, 0);
}

T_CASE_ON(merge_that_fails_changes_nothing, STORE)
{
    static const cellar_err codes[] = { CELLAR_E_IO, CELLAR_E_BUSY, CELLAR_CONFLICT, CELLAR_MISS };
    cellar_status *s = status_open(c, NULL);
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        merge m = { .add = "+", .code = codes[i] };
        put(s, "7", "data", "failed");
        later(1000);
        T_EQ_I64(update(s, "7", "success", &m), codes[i]);
        T_EQ_I64(m.runs, 1);
        T_EQ_STR(look(s, "7"), "failed data");
        T_EQ_I64(left_ms(c, "7"), 1799000);
        m = (merge){ .add = "+", .lose = 20, .code = codes[i] };
        T_EQ_I64(update(s, "7", "success", &m), codes[i]);
        T_EQ_STR(look(s, "7"), "batch set1");
        put(s, "7", "data", "failed");
        m = (merge){ .add = "+", .lose = 20, .late = codes[i] };
        T_EQ_I64(update(s, "7", "success", &m), codes[i]);
        T_EQ_I64(m.runs, 21);
        T_EQ_STR(look(s, "7"), "batch set20");
    }
}

T_CASE(merge_past_max_value_bytes_changes_nothing)
{
    settings cfg = api_config(STORE_BYTES);
    cfg.tuning.max_value_bytes = 4096;
    cellar *c = api_open_with(&cfg);
    cellar_status *s = status_open(c, NULL);
    static char longer[5000], whole[4096];
    memset(longer, 'x', sizeof longer - 1);
    memset(whole, 'y', sizeof whole);
    put(s, "7", "data", "failed");
    merge m = { .add = longer };
    T_EQ_I64(update(s, "7", "success", &m), CELLAR_E_TOOBIG);
    T_EQ_STR(look(s, "7"), "failed data");
    T_EQ_I64(cellar_status_set(s, "7", 1, longer, 4097, "success"), CELLAR_E_TOOBIG);
    T_EQ_STR(look(s, "7"), "failed data");
    T_EQ_I64(cellar_status_set(s, "8", 1, whole, 4096, "batch"), CELLAR_OK);
    m.add = "+";
    T_EQ_I64(update(s, "8", "success", &m), CELLAR_E_TOOBIG);
    T_EQ_I64(left_ms(c, "8"), 600000);
    api_shut(c);
}

T_CASE_ON(merge_that_removes_or_deletes_its_id_leaves_no_entry, STORE)
{
    cellar_status *s = status_open(c, NULL);
    cellar *ns = entries_of(c);
    merge m = { .add = "", .code = CELLAR_REMOVED };
    put(s, "7", "data", "failed");
    T_EQ_I64(update(s, "7", "success", &m), CELLAR_REMOVED);
    T_EQ_STR(look(s, "7"), "MISS");
    m = (merge){ .add = "+", .deletes = true, .ns = ns };
    put(s, "7", "data", "failed");
    T_EQ_I64(update(s, "7", "success", &m), CELLAR_MISS); /* the delete came after its read */
    T_EQ_I64(m.runs, 1);
    T_EQ_STR(look(s, "7"), "MISS");
}

/* cellar_update gives up after 64 lost rounds. */
T_CASE_ON(update_that_loses_many_rounds_takes_its_turn, STORE)
{
    static const int rounds[] = { 7, 8, 63, 64, 65, 500 };
    cellar_status *s = status_open(c, NULL);
    for (size_t i = 0; i < sizeof rounds / sizeof *rounds; i++) {
        merge m = { .add = "+", .lose = rounds[i] };
        put(s, "7", "data", "failed");
        T_EQ_I64(update(s, "7", "success", &m), CELLAR_OK);
        T_EQ_I64(m.runs, rounds[i] + 1);
        char want[32];
        snprintf(want, sizeof want, "success set%d+", rounds[i]);
        T_EQ_STR(look(s, "7"), want);
        T_EQ_U64(stats_of(s).updates_queued, i);
    }
    merge m = { .add = "+", .lose = 1 << 20 }; /* only its own sets: the limit that is left */
    T_EQ_I64(update(s, "7", "success", &m), CELLAR_E_BUSY);
    T_EQ_I64(m.runs, 8 + 64 * 64);
    T_EQ_STR(look(s, "7"), "batch set4104");
}

typedef struct rival { /* another thread that updates the id inside a merge */
    cellar_status *s;
    pthread_t thread;
    int runs, at; /* the run of the merge that starts the thread */
    _Atomic bool stored;
} rival;

static void *rival_update(void *arg)
{
    rival *r = arg;
    merge m = { .add = "r" };
    T_EQ_I64(update(r->s, "7", "failed", &m), CELLAR_OK);
    atomic_store(&r->stored, true);
    return NULL;
}

static cellar_err merge_beside_a_rival(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    rival *r = ctx;
    (void)cellar_buf_append(out, old, old_len);
    (void)cellar_buf_append(out, "+", 1);
    if (++r->runs < r->at) { /* lose this round */
        char value[16];
        const int n = snprintf(value, sizeof value, "set%d", r->runs);
        T_EQ_I64(cellar_status_set(r->s, "7", 1, value, (size_t)n, "batch"), CELLAR_OK);
    } else if (r->runs == r->at) {
        T_REQUIRE(pthread_create(&r->thread, NULL, rival_update, r) == 0);
        while (!atomic_load(&r->stored) && stats_of(r->s).updates_queued < 2) { sched_yield(); }
    }
    return CELLAR_OK;
}

/* Update beside a rival that begins in run `at`. Return how many updates took the lock. */
static uint64_t update_beside_a_rival(cellar *c, int at)
{
    rival r = { .s = status_open(c, NULL), .at = at };
    put(r.s, "7", "data", "failed");
    T_EQ_I64(cellar_status_update(r.s, "7", 1, "success", merge_beside_a_rival, &r), CELLAR_OK);
    pthread_join(r.thread, NULL);
    T_EQ_STR(look(r.s, "7") + strlen(look(r.s, "7")) - 2, at < 64 ? "r+" : "+r");
    return stats_of(r.s).updates_queued;
}

T_CASE_ON(turn_of_an_update_holds_up_no_other, STORE)
{
    T_EQ_U64(update_beside_a_rival(c, 9), 1);
}

T_CASE_ON(update_that_lost_many_rounds_is_let_pass, STORE)
{
    T_EQ_U64(update_beside_a_rival(c, 8 + 64 + 1), 2);
}

typedef struct adder {
    cellar_status *s;
    const char *id;
    int rounds;
} adder;

static cellar_err add_one(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    uint64_t n = 0;
    (void)ctx;
    T_EQ_U64(old_len, sizeof n);
    memcpy(&n, old, sizeof n);
    n++;
    return cellar_buf_append(out, &n, sizeof n);
}

static void *add_many(void *arg)
{
    static const char *const states[] = { "processing", "success", "failed", "batch" };
    const adder *a = arg;
    for (int i = 0; i < a->rounds; i++) {
        T_EQ_I64(cellar_status_update(a->s, a->id, strlen(a->id), states[i % 4], add_one, NULL),
                 CELLAR_OK);
    }
    return NULL;
}

T_CASE_ON(merges_of_eight_threads_meet, STORE)
{
    cellar_status *s = status_open(c, NULL);
    const char *const ids[] = { "a", "b", "c" };
    const int rounds = (int)t_share(8000) / (T_COST > 1 ? 4 : 1);
    for (size_t n = 1; n <= 3; n += 2) { /* all on one id; spread over three */
        pthread_t thread[8];
        adder a[8];
        uint64_t sum = 0, got = 0;
        for (size_t i = 0; i < n; i++) {
            T_EQ_I64(cellar_status_set(s, ids[i], 1, &sum, sizeof sum, "batch"), CELLAR_OK);
        }
        for (size_t i = 0; i < 8; i++) {
            a[i] = (adder){ s, ids[i % n], rounds };
            T_REQUIRE(pthread_create(&thread[i], NULL, add_many, &a[i]) == 0);
        }
        for (size_t i = 0; i < 8; i++) { pthread_join(thread[i], NULL); }
        for (size_t i = 0; i < n; i++) {
            T_EQ_I64(cellar_status_get(s, ids[i], 1, &got, sizeof got, NULL, NULL), CELLAR_OK);
            sum += got;
        }
        T_EQ_U64(sum, 8 * (uint64_t)rounds);
    }
    printf("# %" PRIu64 " updates took turns\n", stats_of(s).updates_queued);
}

typedef struct nested { /* a merge that updates another id when it has the turn of its own */
    cellar_status *s;
    const char *id, *inner;
    pthread_barrier_t *both;
    int runs;
    merge other;
} nested;

static cellar_err merge_nested(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    nested *n = ctx;
    (void)cellar_buf_append(out, old, old_len);
    if (n->runs++ < 8) {
        const char value = (char)('0' + n->runs);
        T_EQ_I64(cellar_status_set(n->s, n->id, 1, &value, 1, "batch"), CELLAR_OK);
        return CELLAR_OK;
    }
    if (n->runs == 9) {
        pthread_barrier_wait(n->both); /* both have their turns */
        n->other = (merge){ .add = "+", .lose = 8 };
        T_EQ_I64(update(n->s, n->inner, "success", &n->other), CELLAR_OK);
    }
    return CELLAR_OK;
}

static void *update_nested(void *arg)
{
    nested *n = arg;
    T_EQ_I64(cellar_status_update(n->s, n->id, 1, "failed", merge_nested, n), CELLAR_OK);
    return NULL;
}

T_CASE_ON(merges_that_wait_in_a_circle_end, STORE)
{
    cellar_status *s = status_open(c, NULL);
    pthread_barrier_t both;
    pthread_t thread[2];
    T_REQUIRE(pthread_barrier_init(&both, NULL, 2) == 0);
    nested n[2] = { { .s = s, .id = "a", .inner = "b", .both = &both },
                    { .s = s, .id = "b", .inner = "a", .both = &both } };
    put(s, "a", "x", "batch");
    put(s, "b", "x", "batch");
    for (int i = 0; i < 2; i++) {
        T_REQUIRE(pthread_create(&thread[i], NULL, update_nested, &n[i]) == 0);
    }
    for (int i = 0; i < 2; i++) { pthread_join(thread[i], NULL); }
    T_CHECK(n[0].other.runs >= 9 && n[1].other.runs >= 9);
    pthread_barrier_destroy(&both);
}

/* ---- hot entries ---- */

static cellar_status_config hot_opts(uint32_t reads)
{
    static const cellar_ttl_class states[] = {
        { "short", 10000 }, { "long", 1000000 }, { "never", CELLAR_TTL_NONE }
    };
    cellar_status_config o = { .struct_size = sizeof o, .states = states, .state_count = 3,
                               .hot_reads = reads, .hot_extra_ms = 3000, .clock = api_clock };
    return o;
}

T_CASE_ON(hot_entry_gains_time_once_a_period, STORE)
{
    const cellar_status_config o = hot_opts(4);
    cellar_status *s = status_open(c, &o);
    put(s, "7", "data", "short");
    for (int i = 0; i < 3; i++) { T_EQ_STR(look(s, "7"), "short data"); }
    T_EQ_I64(left_ms(c, "7"), 10000);
    for (int i = 0; i < 20; i++) { T_EQ_STR(look(s, "7"), "short data"); }
    T_EQ_I64(left_ms(c, "7"), 13000);
    T_EQ_U64(stats_of(s).prolonged, 1);
    later(9999);
    T_EQ_STR(look(s, "7"), "short data");
    T_EQ_I64(left_ms(c, "7"), 3001);
    later(1); /* the second period */
    for (int i = 0; i < 20; i++) { T_EQ_STR(look(s, "7"), "short data"); }
    T_EQ_I64(left_ms(c, "7"), 6000);
    T_EQ_U64(stats_of(s).prolonged, 2);
    later(5999);
    T_EQ_STR(look(s, "7"), "short data");
    later(1);
    T_EQ_STR(look(s, "7"), "MISS");
    put(s, "7", "more", "short"); /* a change begins again */
    T_EQ_STR(look(s, "7"), "short more");
    T_EQ_I64(left_ms(c, "7"), 13000);
    put(s, "7", "more", "long");
    T_EQ_STR(look(s, "7"), "long more");
    T_EQ_I64(left_ms(c, "7"), 1003000);
    put(s, "7", "more", "never");
    T_EQ_STR(look(s, "7"), "never more");
    T_EQ_I64(left_ms(c, "7"), CELLAR_TTL_NONE);
}

T_CASE(hot_entry_never_passes_its_greatest_age)
{
    static const struct { int64_t extra_ms, max_age_ms, gain[3]; } rows[] = {
        { 8000, 0, { 8000, 2000, 0 } },           /* twice the TTL */
        { 8000, 1000001, { 8000, 8000, 8000 } },
        { CELLAR_TTL_NONE, 1000001, { 990001, 0, 0 } },
        { CELLAR_TTL_NONE, 0, { 10000, 0, 0 } }
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cellar *c = api_open(STORE_BYTES);
        cellar_status_config o = hot_opts(1);
        o.hot_extra_ms = rows[i].extra_ms;
        o.max_age_ms = rows[i].max_age_ms;
        cellar_status *s = status_open(c, &o);
        int64_t end_ms = 10000, age_ms = 0;
        put(s, "7", "data", "short");
        for (int n = 0; n < 3; n++) {
            T_EQ_STR(look(s, "7"), "short data");
            T_EQ_STR(look(s, "7"), "short data");
            end_ms += rows[i].gain[n];
            T_EQ_I64(left_ms(c, "7"), end_ms - age_ms);
            if (age_ms + 10000 >= end_ms) { break; }
            later(10000);
            age_ms += 10000;
        }
        later(end_ms - age_ms - 1);
        T_CHECK(left_ms(c, "7") == 1);
        later(1);
        T_EQ_STR(look(s, "7"), "MISS");
        api_shut(c);
    }
}

T_CASE_ON(entries_that_gain_nothing, STORE)
{
    cellar_status_config o = hot_opts(1);
    cellar_namespace_config idle = { .struct_size = sizeof idle, .idle_ms = 5000 };
    o.ns = &idle;
    cellar_status *s = status_open(c, &o); /* idle time: each use prolongs the entry anyway */
    put(s, "7", "data", "short");
    for (int i = 0; i < 5; i++) { T_EQ_STR(look(s, "7"), "short data"); }
    T_EQ_U64(stats_of(s).prolonged, 0);
    o = hot_opts(CELLAR_OFF);
    s = status_open(c, &o);
    uint32_t n = 9;
    cellar_status_hot_id id;
    put(s, "8", "data", "short");
    for (int i = 0; i < 500; i++) { T_EQ_STR(look(s, "8"), "short data"); }
    T_EQ_I64(cellar_status_hot(s, &id, 1, &n), CELLAR_E_UNSUPPORTED);
    T_EQ_U64(n, 0);
    T_EQ_U64(stats_of(s).prolonged, 0);
}

T_CASE_ON(reads_of_the_last_minute_count, STORE)
{
    const cellar_status_config o = hot_opts(8);
    cellar_status *s = status_open(c, &o);
    cellar_status_hot_id id[2];
    uint32_t n = 0;
    put(s, "7", "data", "long");
    for (int i = 0; i < 7; i++) { (void)look(s, "7"); }
    later(30000); /* 7 halved: 3 */
    for (int i = 0; i < 4; i++) { (void)look(s, "7"); }
    T_EQ_U64(stats_of(s).prolonged, 0);
    (void)look(s, "7");
    T_EQ_U64(stats_of(s).prolonged, 1);
    T_EQ_I64(cellar_status_hot(s, id, 2, &n), CELLAR_OK);
    T_EQ_U64(n, 1);
    T_CHECK(id[0].id_len == 1 && id[0].id[0] == '7' && id[0].reads == 8);
    later(120000);
    T_EQ_I64(cellar_status_hot(s, id, 2, &n), CELLAR_OK);
    T_EQ_U64(n, 0);
}

#define IDS 20000u

/* Read id i of IDS about 1 / (i + 1) times as often as the first. */
T_CASE_ON(hot_ids_are_those_read_most, STORE)
{
    const cellar_status_config o = hot_opts(16);
    cellar_status *s = status_open(c, &o);
    cellar_status_hot_id top[20];
    uint32_t n = 0, right = 0;
    uint64_t x = t_.seed;
    const uint32_t reads = 200000u / (T_COST > 1 ? 4 : 1);
    static double below[IDS];
    double sum = 0;
    for (uint32_t i = 0; i < IDS; i++) { below[i] = sum += 1.0 / (i + 1); }
    static uint32_t times[IDS];
    memset(times, 0, sizeof times);
    for (uint32_t r = 0; r < reads; r++) {
        x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        const double at = (double)(x >> 11) / 9007199254740992.0 * sum;
        uint32_t low = 0, high = IDS - 1;
        while (low < high) {
            const uint32_t mid = (low + high) / 2;
            if (below[mid] < at) { low = mid + 1; } else { high = mid; }
        }
        times[low]++;
        if (times[low] == 1) {
            T_EQ_I64(cellar_status_set(s, &low, sizeof low, "x", 1, "long"), CELLAR_OK);
        }
        T_EQ_I64(cellar_status_get(s, &low, sizeof low, &(char){ 0 }, 1, NULL, NULL), CELLAR_OK);
    }
    T_EQ_I64(cellar_status_hot(s, top, 20, &n), CELLAR_OK);
    T_EQ_U64(n, 20);
    uint32_t twentieth = 0; /* the least count of the true top 20 */
    for (uint32_t least = UINT32_MAX, seen = 0; seen < 20;) {
        twentieth = 0;
        for (uint32_t i = 0; i < IDS; i++) {
            if (times[i] < least && times[i] > twentieth) { twentieth = times[i]; }
        }
        for (uint32_t i = 0; i < IDS; i++) { seen += times[i] == twentieth; }
        least = twentieth;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t id;
        memcpy(&id, top[i].id, sizeof id);
        T_EQ_U64(top[i].id_len, sizeof id);
        T_CHECK(i == 0 || top[i - 1].reads >= top[i].reads);
        right += times[id] >= twentieth;
    }
    T_CHECK(right >= 19); /* recall 0.95 */
}

T_CASE_ON(sampled_reads_are_an_estimate, STORE)
{
    cellar_status_config o = hot_opts(0);
    cellar_status *s = status_open(c, &o);
    cellar_status_hot_id top[2];
    char id[100];
    uint32_t n = 0;
    memset(id, 'i', sizeof id);
    id[45] = 'k';
    T_EQ_I64(cellar_status_set(s, id, sizeof id, "x", 1, "long"), CELLAR_OK);
    for (int i = 0; i < 20000; i++) {
        T_EQ_I64(cellar_status_get(s, id, sizeof id, &(char){ 0 }, 1, NULL, NULL), CELLAR_OK);
    }
    T_EQ_I64(cellar_status_hot(s, top, 2, &n), CELLAR_OK);
    T_EQ_U64(n, 1);
    T_EQ_U64(top[0].id_len, sizeof id);
    T_EQ_MEM(top[0].id, id, CELLAR_STATUS_HOT_ID);
    T_CHECK(top[0].reads > 16000 && top[0].reads < 24000);
    T_EQ_U64(stats_of(s).prolonged, 1);
}

static _Atomic bool race_ended;

static void *read_hot(void *s)
{
    while (!atomic_load(&race_ended)) {
        const char *got = look(s, "7");
        T_CHECK(strcmp(got, "short a") == 0 || strcmp(got, "long bb") == 0);
    }
    return NULL;
}

/* A gain that was decided for the short state must not end an entry that got the long one. */
T_CASE_ON(gain_of_an_old_state_never_shortens_a_new_one, STORE)
{
    const cellar_status_config o = hot_opts(1);
    cellar_status *s = status_open(c, &o);
    pthread_t thread[2];
    atomic_store(&race_ended, false);
    put(s, "7", "a", "short");
    for (int i = 0; i < 2; i++) {
        T_REQUIRE(pthread_create(&thread[i], NULL, read_hot, s) == 0);
    }
    const uint64_t least = t_share(4000) / (T_COST > 1 ? 4 : 1);
    /* Longer while no reader has run: then no time was gained. */
    for (uint64_t i = 0; i < least || (stats_of(s).prolonged == 0 && i < 1000 * least); i++) {
        put(s, "7", "a", "short");
        if (i % 3 == 0 || i >= least) { sched_yield(); }
        put(s, "7", "bb", "long");
        if (i % 5 == 0) { sched_yield(); }
        const int64_t left = left_ms(c, "7");
        T_CHECK(left == 1000000 || left == 1003000);
    }
    atomic_store(&race_ended, true);
    for (int i = 0; i < 2; i++) { pthread_join(thread[i], NULL); }
    T_CHECK(stats_of(s).prolonged > 0);
}

/* ---- many ids ---- */

T_CASE(set_many_stores_each_item_with_its_state)
{
    enum { N = 100 };
    static const char *const states[] = { "lost", "success", "success", "failed" };
    settings cfg = api_config(STORE_BYTES);
    cfg.tuning.max_value_bytes = 4096;
    cellar *c = api_open_with(&cfg);
    cellar_status *s = status_open(c, NULL);
    cellar_status_set_item it[N];
    char id[N][8], value[N][8];
    static char huge[5000];
    size_t stored = 0;
    for (size_t i = 0; i < N; i++) {
        snprintf(id[i], sizeof id[i], "%zu", i % 90); /* the last ten again */
        snprintf(value[i], sizeof value[i], "v%zu", i);
        it[i] = (cellar_status_set_item){ id[i], strlen(id[i]), value[i], strlen(value[i]),
                                          states[i / 10 % 4], CELLAR_E_IO, 0 };
    }
    it[20].state = NULL;
    it[21].id_len = 0;
    it[22].value = huge;
    it[22].value_len = sizeof huge;
    it[23].reserved0 = 1;
    T_EQ_I64(cellar_status_set_many(s, it, N, &stored), CELLAR_OK);
    T_EQ_U64(stored, N - 4);
    for (size_t i = 0; i < N; i++) {
        const cellar_err want = i == 22 ? CELLAR_E_TOOBIG
                                : i >= 20 && i <= 23 ? CELLAR_E_INVAL : CELLAR_OK;
        T_EQ_I64(it[i].status, want);
        char text[64];
        const char *state = states[i / 10 % 4]; /* "lost" is unknown, and the fallback */
        snprintf(text, sizeof text, "%s %s", strcmp(state, "lost") == 0 ? "processing" : state,
                 value[i]);
        if (want == CELLAR_OK && i >= 10) { T_EQ_STR(look(s, id[i]), text); }
    }
    T_EQ_STR(look(s, "3"), "success v93"); /* the last of equal ids */
    T_EQ_STR(look(s, "20"), "MISS");
    T_EQ_I64(cellar_status_set_many(s, NULL, 0, &stored), CELLAR_OK);
    T_EQ_U64(stored, 0);
    T_EQ_U64(stats_of(s).unknown_states, 30); /* also of items that a later one replaces */
    api_shut(c);
}

/* Each state before each other one, and an id between with like ends. */
T_CASE_ON(last_set_of_a_mixed_batch_wins, STORE)
{
    static const char *const states[] = { "processing", "success", "failed", "batch", "lost" };
    static const char *const ids[] = { "12345678-a-12345678", "12345678-b-12345678" };
    cellar_status *s = status_open(c, NULL);
    for (size_t i = 0; i < 25; i++) {
        const char *first = states[i / 5], *last = states[i % 5];
        char want[32];
        cellar_status_set_item it[] = { { ids[0], 19, "1", 1, first, CELLAR_E_IO, 0 },
                                        { ids[1], 19, "x", 1, last, CELLAR_E_IO, 0 },
                                        { ids[0], 19, "2", 1, last, CELLAR_E_IO, 0 } };
        T_EQ_I64(cellar_status_set_many(s, it, 3, NULL), CELLAR_OK);
        snprintf(want, sizeof want, "%s 2", last == states[4] ? states[0] : last);
        if (!T_EQ_STR(look(s, ids[0]), want)) { printf("# %s, then %s\n", first, last); }
    }
}

T_CASE_ON(get_many_keeps_order_states_and_codes, STORE)
{
    static const char *const ids[] = { "b", "none", "a", "b", "a", "a" };
    static const cellar_err want[] = { CELLAR_OK, CELLAR_MISS, CELLAR_OK, CELLAR_E_BUFFER,
                                       CELLAR_E_INVAL, CELLAR_E_INVAL };
    cellar_status *s = status_open(c, NULL);
    cellar_status_get_item it[6];
    char buf[6][8];
    size_t hits = 99;
    put(s, "a", "1", "success");
    put(s, "b", "22", "failed");
    for (size_t i = 0; i < 6; i++) {
        it[i] = (cellar_status_get_item){ ids[i], strlen(ids[i]), buf[i], i == 3 ? 1 : 8, 77, "?",
                                          CELLAR_E_IO, i == 5 };
    }
    it[4].id = NULL;
    T_EQ_I64(cellar_status_get_many(s, it, 6, &hits), CELLAR_OK);
    T_EQ_U64(hits, 2);
    for (size_t i = 0; i < 6; i++) {
        T_EQ_I64(it[i].status, want[i]);
        T_CHECK((it[i].state != NULL) == (i == 0 || i == 2 || i == 3));
    }
    T_EQ_STR(it[0].state, "failed");
    T_EQ_MEM(buf[0], "22", 2);
    T_EQ_STR(it[2].state, "success");
    T_EQ_MEM(buf[2], "1", 1);
    T_EQ_U64(it[3].value_len, 2);
    T_CHECK(it[1].value_len == 0 && it[4].value_len == 0 && it[5].value_len == 0);
    T_EQ_I64(cellar_status_get_many(s, it, 1, &hits), CELLAR_OK); /* one id has a short path */
    T_EQ_U64(hits, 1);
    T_EQ_I64(cellar_status_get_many(s, NULL, 0, NULL), CELLAR_OK);
}

T_CASE_ON(get_many_of_33_ids_leaves_the_item_behind_them, STORE)
{
    cellar_status *s = status_open(c, NULL);
    cellar_status_get_item it[64];
    char buf[8];
    size_t hits = 0;
    put(s, "a", "1", "success");
    for (size_t i = 0; i < 64; i++) {
        it[i] = (cellar_status_get_item){ "a", 1, buf, sizeof buf, 77, "?", CELLAR_E_IO, 0 };
    }
    T_EQ_I64(cellar_status_get_many(s, it, 33, &hits), CELLAR_OK);
    T_EQ_U64(hits, 33);
    T_CHECK(it[32].status == CELLAR_OK && it[33].status == CELLAR_E_IO);
}

/* ---- the rest ---- */

T_CASE_ON(tick_frees_expired_tasks_and_counts_them, STORE)
{
    cellar_status *s = status_open(c, NULL);
    for (uint32_t i = 0; i < 1000; i++) {
        T_EQ_I64(cellar_status_set(s, &i, sizeof i, "x", 1, i % 2 == 0 ? "processing" : "success"),
                 CELLAR_OK);
    }
    T_EQ_I64(cellar_tick(c, UINT64_MAX, NULL), CELLAR_OK);
    T_EQ_U64(api_expired(c), 0);
    later(300000);
    cellar_err err = CELLAR_PENDING;
    while (err == CELLAR_PENDING) {
        err = cellar_tick(c, 1000000, NULL);
    }
    T_EQ_I64(err, CELLAR_OK);
    T_EQ_U64(api_expired(c), 500);
    T_EQ_U64(stats_of(s).expired, 500);
}

T_CASE_ON(restart_keeps_values_states_and_gains, ON_DISK)
{
    settings cfg = api_config(STORE_BYTES);
    cfg.config.l2_path = store;
    cfg.config.l2_bytes = 32u << 20;
    for (int life = 0; life < 2; life++) {
        cellar *c = NULL;
        T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
        const cellar_status_config o = hot_opts(4);
        cellar_status *s = status_open(c, &o);
        if (life == 0) {
            put(s, "7", "data", "long");
            put(s, "hot", "data", "short");
            for (int i = 0; i < 9; i++) { T_EQ_STR(look(s, "hot"), "short data"); }
            T_EQ_U64(stats_of(s).prolonged, 1);
        } else {
            T_EQ_STR(look(s, "7"), "long data");
            const int64_t left = left_ms(c, "hot");
            T_CHECK(left > 0 && left <= 13000);
            for (int i = 0; i < 9; i++) { T_EQ_STR(look(s, "hot"), "short data"); }
            T_EQ_U64(stats_of(s).prolonged, 0); /* the gain of this period is used */
            merge m = { .add = "+" };
            T_EQ_I64(update(s, "7", "short", &m), CELLAR_OK);
            T_EQ_STR(look(s, "7"), "short data+");
        }
        T_EQ_I64(cellar_close(c), CELLAR_OK);
    }
}

T_CASE(bad_input_is_refused)
{
    static const cellar_ttl_class fine[17] = { { "a", 5 } };
    static const cellar_ttl_class twice[] = { { "x", 5 }, { "x", 6 } };
    cellar *c = api_open(STORE_BYTES);
    cellar_namespace_config ns = cellar_namespace_config_default();
    cellar_status *s = NULL;
    for (int i = 0; i < 11; i++) {
        cellar_status_config o = { .struct_size = sizeof o, .states = fine, .state_count = 1 };
        switch (i) {
        case 0: o.state_count = 0; break;
        case 1: o.state_count = 17; break;
        case 2: o.states = NULL; break;
        case 3: o.state_fallback = 2; break;
        case 4: o.hot_extra_ms = -1; break;
        case 5: o.max_age_ms = -1; break;
        case 6: o.max_age_ms = 4; break;
        case 7: ns.ttl_class_count = 1, o.ns = &ns; break;
        case 8: o.states = twice, o.state_count = 2; break;
        case 9: o.struct_size = 0; break;
        default: o.state_count = 2; break; /* a state without name */
        }
        T_EQ_I64(cellar_status_open(c, NULL, &o, &s), CELLAR_E_INVAL);
        T_CHECK(s == NULL);
    }
    cellar_status_config o = { .struct_size = sizeof o, .reserved0 = 1 };
    T_EQ_I64(cellar_status_open(c, NULL, &o, &s), CELLAR_E_UNSUPPORTED);
    T_EQ_I64(cellar_status_open(c, "", NULL, &s), CELLAR_E_INVAL);
    T_EQ_I64(cellar_status_open(NULL, NULL, NULL, &s), CELLAR_E_INVAL);
    T_EQ_I64(cellar_status_open(c, NULL, NULL, NULL), CELLAR_E_INVAL);

    s = status_open(c, NULL);
    merge m = { .s = s, .id = "7", .add = "" };
    uint32_t n;
    T_EQ_I64(cellar_status_set(NULL, "7", 1, "x", 1, "batch"), CELLAR_E_INVAL);
    T_EQ_I64(cellar_status_set(s, "7", 1, "x", 1, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_status_set(s, "7", 0, "x", 1, "batch"), CELLAR_E_INVAL);
    T_EQ_I64(cellar_status_set(s, "7", 1, NULL, 1, "batch"), CELLAR_E_INVAL);
    T_EQ_I64(cellar_status_get(NULL, "7", 1, NULL, 0, NULL, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_status_get(s, NULL, 1, NULL, 0, NULL, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_status_get(s, "7", 1, NULL, 1, NULL, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_status_update(NULL, "7", 1, "batch", merge_run, &m), CELLAR_E_INVAL);
    T_EQ_I64(cellar_status_update(s, "7", 1, NULL, merge_run, &m), CELLAR_E_INVAL);
    T_EQ_I64(cellar_status_update(s, "7", 1, "batch", NULL, &m), CELLAR_E_INVAL);
    T_EQ_I64(cellar_status_update(s, NULL, 1, "batch", merge_run, &m), CELLAR_E_INVAL);
    T_EQ_I64(cellar_status_update(s, "7", SIZE_MAX, "batch", merge_run, &m), CELLAR_E_INVAL);
    T_EQ_I64(cellar_status_get_many(s, NULL, 1, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_status_get_many(NULL, NULL, 0, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_status_set_many(s, NULL, 1, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_status_set_many(NULL, NULL, 0, NULL), CELLAR_E_INVAL);
    /* One item alone takes another path. */
    cellar_status_get_item get = { "7", 1, NULL, 0, 0, NULL, CELLAR_OK, 1 };
    cellar_status_set_item set = { "7", 1, "x", 1, "batch", CELLAR_OK, 1 };
    T_EQ_I64(cellar_status_get_many(s, &get, 1, NULL), CELLAR_OK);
    T_EQ_I64(cellar_status_set_many(s, &set, 1, NULL), CELLAR_OK);
    T_EQ_I64(get.status, CELLAR_E_INVAL);
    T_EQ_I64(set.status, CELLAR_E_INVAL);
    T_EQ_I64(cellar_status_hot(s, NULL, 1, &n), CELLAR_E_INVAL);
    T_EQ_I64(cellar_status_hot(s, NULL, 0, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_status_stats_get(s, NULL), CELLAR_E_INVAL);
    T_EQ_I64(m.runs, 0);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    T_EQ_I64(cellar_status_set(s, "7", 1, "x", 1, "batch"), CELLAR_E_CLOSED);
    T_EQ_I64(cellar_status_get(s, "7", 1, NULL, 0, NULL, NULL), CELLAR_E_CLOSED);
    T_EQ_I64(update(s, "7", "batch", &m), CELLAR_E_CLOSED);
}

static cellar *sized_store;
static cellar_status *sized;

static cellar_err use_opts(void *p)
{
    cellar_status *s = NULL;
    const cellar_err err =
        cellar_status_open(sized_store, "sized", (const cellar_status_config *)p, &s);
    cellar_status_close(s);
    return err;
}

static cellar_err fill_stats(void *p)
{
    return cellar_status_stats_get(sized, (cellar_status_stats *)p);
}

T_CASE(structs_of_any_size_are_read_by_the_size_rule)
{
    sized_store = api_open(STORE_BYTES);
    sized = status_open(sized_store, NULL);
    CHECK_IN(cellar_status_config, cellar_status_config_default(), use_opts);
    check_out("cellar_status_stats", sizeof(cellar_status_stats), fill_stats);
    api_shut(sized_store);
}

T_MAIN("api_kit_status")
