/* SPDX-License-Identifier: MIT
 *
 * Aim:    A call of the status cache that finds no memory returns E_NOMEM and changes nothing; the
 *         same call then works.
 * Method: Each allocation of each call fails, alone and with all that follow (base_fault_alloc_arm).
 *         A store without threads, opened before the failure. Values that need allocations. */
#include "tests/support/api_kit.h"

#include "base/fault.h"
#include "cellar_kit.h"

#define STORE_BYTES ((uint64_t)64 << 20)
#define LONG 300000u /* a block of its own */

typedef struct state { /* of one attempt */
    cellar *c;
    cellar_status *s;
} state;

static char long_value[LONG], other_value[LONG];

static void begin(state *st)
{
    cellar_status_config o = { .struct_size = sizeof o, .hot_reads = 1, .clock = api_clock };
    memset(long_value, 'l', LONG);
    memset(other_value, 'o', LONG);
    st->c = api_open(STORE_BYTES);
    T_REQUIRE(cellar_status_open(st->c, NULL, &o, &st->s) == CELLAR_OK);
    T_EQ_I64(cellar_status_set(st->s, "7", 1, long_value, LONG, "failed"), CELLAR_OK);
    T_EQ_I64(cellar_status_set(st->s, "8", 1, "eight", 5, "failed"), CELLAR_OK);
}

static void end(state *st) { cellar_status_close(st->s); api_shut(st->c); }

/* Check that ids 7 and 8 are as `begin` left them, and that there is no 9. */
static void as_begun(state *st)
{
    static char got[LONG + 1];
    cellar *ns = NULL;
    cellar_entry_info info = cellar_entry_info_default();
    size_t len = 0;
    T_EQ_I64(cellar_namespace_open(st->c, "image_task", NULL, &ns), CELLAR_OK);
    cellar_get_opts o = { .struct_size = sizeof o, .info = &info, .flags = CELLAR_GET_PEEK };
    T_EQ_I64(cellar_get_with(ns, "7", 1, &o, got, sizeof got, &len), CELLAR_OK);
    T_EQ_U64(len, LONG);
    T_EQ_MEM(got, long_value, LONG);
    T_EQ_U64(info.user_flags & 15, 2);
    T_EQ_I64(cellar_get_with(ns, "8", 1, &o, got, sizeof got, &len), CELLAR_OK);
    T_EQ_U64(len, 5);
    T_EQ_U64(info.user_flags & 15, 2);
    T_CHECK(info.ttl_left_ms >= 1800000);
    T_EQ_I64(cellar_contains(ns, "9", 1), CELLAR_MISS);
    cellar_namespace_close(ns);
}

/* Run `call` once for each of its allocations, with that one failing. */
static void each_failing(const char *what, cellar_err (*call)(state *), bool may_be_ok)
{
    uint64_t nth = 1, failures = 0;
    for (bool more = true, all = true; more && nth < 500; all = !all, nth += all) {
        state st;
        begin(&st);
        (void)base_fault_alloc_arm(nth, all);
        const cellar_err err = call(&st);
        more = base_fault_alloc_arm(0, false) >= nth || !all;
        T_CHECK(err == CELLAR_OK || err == CELLAR_E_NOMEM);
        failures += err == CELLAR_E_NOMEM;
        if (err == CELLAR_E_NOMEM) { as_begun(&st); }
        T_EQ_I64(call(&st), CELLAR_OK);
        end(&st);
    }
    printf("# %s: %" PRIu64 " allocations, %" PRIu64 " E_NOMEM\n", what, nth - 1, failures);
    T_CHECK(nth < 500 && (failures > 0 || may_be_ok));
}

static cellar_err call_open(state *st)
{
    cellar_status *s = NULL;
    const cellar_err err = cellar_status_open(st->c, "another", NULL, &s);
    T_CHECK((s != NULL) == (err == CELLAR_OK));
    if (err == CELLAR_OK) { T_EQ_I64(cellar_status_set(s, "1", 1, "x", 1, "batch"), CELLAR_OK); }
    cellar_status_close(s);
    return err;
}

T_CASE(open_without_memory_leaves_nothing) { each_failing("open", call_open, false); }

static cellar_err call_set(state *st)
{
    return cellar_status_set(st->s, "7", 1, other_value, LONG - 1, "success");
}

static cellar_err call_set_new(state *st)
{
    return cellar_status_set(st->s, "9", 1, other_value, LONG, "success");
}

T_CASE(set_without_memory_keeps_the_old_value)
{
    each_failing("set", call_set, false);
    each_failing("set of a new id", call_set_new, false);
}

static cellar_err call_get(state *st)
{
    static char got[LONG];
    size_t len = 0;
    const char *name = NULL;
    const cellar_err err = cellar_status_get(st->s, "7", 1, got, sizeof got, &len, &name);
    if (err != CELLAR_OK) { return err; }
    T_EQ_U64(len, LONG);
    T_EQ_MEM(got, long_value, LONG);
    T_EQ_STR(name, "failed");
    return err;
}

/* The read prolongs the entry; it does not depend on that. */
T_CASE(get_without_memory_returns_the_value) { each_failing("get", call_get, true); }

static cellar_err grow(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    (void)ctx;
    (void)cellar_buf_append(out, old, old_len);
    (void)cellar_buf_append(out, other_value, LONG);
    return CELLAR_OK;
}

static cellar_err call_update(state *st)
{
    return cellar_status_update(st->s, "7", 1, "success", grow, NULL);
}

T_CASE(update_without_memory_changes_nothing)
{
    each_failing("update", call_update, false);
}

typedef struct loser {
    state *st;
    int runs;
} loser;

static cellar_err lose_rounds(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    loser *l = ctx;
    char value[16];
    const int n = snprintf(value, sizeof value, "set%d", l->runs);
    if (l->runs++ < 12) {
        const cellar_err err =
            cellar_status_set(l->st->s, "new", 3, value, (size_t)n, "failed");
        if (err != CELLAR_OK) { return err; }
    }
    return cellar_buf_append(out, old, old_len);
}

/* Without memory for the locks the update goes on. */
static cellar_err call_queued(state *st)
{
    loser l = { st, 0 };
    const cellar_err err = cellar_status_set(st->s, "new", 3, "data", 4, "failed");
    if (err != CELLAR_OK) { return err; }
    return cellar_status_update(st->s, "new", 3, "success", lose_rounds, &l);
}

T_CASE(update_without_memory_for_its_turn_works)
{
    each_failing("queued update", call_queued, true);
}

static cellar_err call_many(state *st)
{
    cellar_status_set_item it[40];
    char id[40][4];
    size_t stored = 0;
    for (size_t i = 0; i < 40; i++) {
        snprintf(id[i], sizeof id[i], "m%zu", i);
        it[i] = (cellar_status_set_item){ id[i], strlen(id[i]), other_value, LONG,
                                          i % 20 < 10 ? "failed" : "batch", CELLAR_OK, 0 };
    }
    T_EQ_I64(cellar_status_set_many(st->s, it, 40, &stored), CELLAR_OK);
    for (size_t i = 0; i < 40; i++) {
        T_CHECK(it[i].status == CELLAR_OK || it[i].status == CELLAR_E_NOMEM);
        stored -= it[i].status == CELLAR_OK;
    }
    T_EQ_U64(stored, 0);
    return CELLAR_OK;
}

T_CASE(set_many_without_memory_reports_the_item)
{
    each_failing("set_many", call_many, true);
}

T_ONE_THREAD;
T_MAIN("fault_status")
