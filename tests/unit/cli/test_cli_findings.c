/* SPDX-License-Identifier: MIT
 *
 * Aim:    each act of the tour finds the mistake that its promise forbids; a finding gives exit
 *         code 1, an act that cannot start 3.
 * Method: the acts run over the library; one call returns what a library with the mistake in
 *         `wanted` would return. What the act prints is read. */
#include <poll.h>

#include "tests/support/t.h"

#include "cellar.h"
#include "cellar_bus.h"
#include "cellar_invalidate.h"
#include "cellar_l2.h"
#include "cellar_limit.h"
#include "cellar_load.h"
#include "cellar_observe.h"
#include "cellar_resp.h"
#include "cellar_task.h"

/* ---- calls with mistakes ---- */

typedef enum mistake {
    NONE, OPEN_FAILS, OTHER_BYTES, SHORT_VALUE, SET_FAILS, OVER_BUDGET, MISCOUNTED_GETS,
    MISCOUNTED_HITS, LOST_VALUES, TWO_LOADS, VALUE_LOST, NOTHING_FOUND, DELETES_LOST, LIMIT_PASSED,
    NOTHING_ADMITTED, LIMIT_ODD, WRONG_CAUSE, NO_REASON, TASK_FAILS, TASK_NOT_TRIED_AGAIN
} mistake;

static mistake wanted;

static cellar_err wrong_open(const cellar_config *cfg, cellar **out)
{
    return wanted == OPEN_FAILS ? CELLAR_E_NOMEM : cellar_open(cfg, out);
}

static cellar_err wrong_get(cellar *c, const void *key, size_t key_len, void *buf, size_t buf_cap,
                            size_t *value_len)
{
    const cellar_err err = cellar_get(c, key, key_len, buf, buf_cap, value_len);
    if (err != CELLAR_OK) { return err; }
    if (wanted == OTHER_BYTES) { ((unsigned char *)buf)[31] ^= 1; }
    if (wanted == SHORT_VALUE) { (*value_len)--; }
    return wanted == NOTHING_FOUND || wanted == LOST_VALUES ? CELLAR_MISS : CELLAR_OK;
}

static cellar_err wrong_set(cellar *c, const void *key, size_t key_len, const void *value,
                            size_t value_len, const cellar_set_opts *o)
{
    unsigned char other[128];
    if (wanted == SET_FAILS) { return CELLAR_E_SPACE; }
    if (wanted != OTHER_BYTES || value_len < 32 || value_len > sizeof other) {
        return cellar_set(c, key, key_len, value, value_len, o);
    }
    memcpy(other, value, value_len);
    other[31] ^= 2;
    return cellar_set(c, key, key_len, other, value_len, o);
}

static cellar_err wrong_delete(cellar *c, const void *key, size_t key_len)
{
    return wanted == DELETES_LOST ? CELLAR_OK : cellar_delete(c, key, key_len);
}

static cellar_err wrong_stats(cellar *c, cellar_scope scope, cellar_stats *out)
{
    const cellar_err err = cellar_stats_get(c, scope, out);
    if (wanted == OVER_BUDGET) { out->used_bytes = out->budget_bytes + 1; }
    if (wanted == MISCOUNTED_GETS) { out->gets++; }
    if (wanted == MISCOUNTED_HITS) { out->hits_l1--; }
    return err;
}

static cellar_err wrong_load(cellar *c, const void *key, size_t key_len, const cellar_load_opts *o,
                             cellar_loader_fn loader, void *ctx, cellar_result *out)
{
    static _Atomic uint32_t calls;
    const uint32_t number = atomic_fetch_add(&calls, 1);
    if (wanted == TWO_LOADS && number % 64 == 0) {
        return cellar_get_or_load(c, "twice", 5, o, loader, ctx, out);
    }
    const cellar_err err = cellar_get_or_load(c, key, key_len, o, loader, ctx, out);
    return wanted == VALUE_LOST && number % 64 == 0 ? CELLAR_MISS : err;
}

static cellar_err wrong_check(cellar_limiter *l, const void *key, size_t key_len, uint64_t cost,
                              cellar_limiter_result *out)
{
    static _Thread_local uint32_t number;
    const cellar_err err = cellar_limiter_check(l, key, key_len, cost, out);
    /* Eight threads at full speed for a second would take all processors from other tests. */
    if (++number % 16 == 0) { (void)poll(NULL, 0, 1); }
    if (wanted == LIMIT_PASSED) { return CELLAR_OK; }
    if (wanted == NOTHING_ADMITTED) { return CELLAR_LIMITED; }
    return wanted == LIMIT_ODD && err == CELLAR_LIMITED ? CELLAR_E_CLOSED : err;
}

static cellar_err wrong_why(cellar *c, const void *key, size_t key_len, cellar_reason *out)
{
    const cellar_err err = cellar_why(c, key, key_len, out);
    if (wanted == WRONG_CAUSE && out->cause == CELLAR_CAUSE_TAG) {
        out->cause = CELLAR_CAUSE_DELETED;
    }
    if (wanted == NO_REASON) { out->answer = CELLAR_WHY_UNKNOWN; }
    return err;
}

static cellar_verdict wrong_retry(void)
{
    return wanted == TASK_FAILS             ? cellar_verdict_fail()
           : wanted == TASK_NOT_TRIED_AGAIN ? cellar_verdict_ok()
                                            : cellar_verdict_retry();
}

#define cellar_open wrong_open
#define cellar_get wrong_get
#define cellar_set wrong_set
#define cellar_delete wrong_delete
#define cellar_stats_get wrong_stats
#define cellar_get_or_load wrong_load
#define cellar_limiter_check wrong_check
#define cellar_why wrong_why
#define cellar_verdict_retry wrong_retry
#include "cli/program.c"
#include "cli/error.c"
#include "cli/text.c"
#include "cli/tour.c"

/* ---- one act ---- */

static char output[8192]; /* of the last act */

/* Run an act with a mistake; return its exit code. */
static int play(mistake m, const tour_act *act)
{
    static const char folder[] = "/tmp/cellar-findings-XXXXXX";
    tour_report r = { .findings = 0 };
    memcpy(r.folder, folder, sizeof folder);
    T_REQUIRE(mkdtemp(r.folder) != NULL);
    T_REQUIRE(fflush(stdout) == 0);
    const int saved = dup(1);
    FILE *out = tmpfile();
    T_REQUIRE(saved >= 0 && out != NULL && dup2(fileno(out), 1) == 1);
    wanted = m;
    const int code = tour_play(act, &r);
    wanted = NONE;
    T_REQUIRE(fflush(stdout) == 0 && dup2(saved, 1) == 1 && close(saved) == 0);
    T_EQ_I64(nftw(r.folder, tour_remove, 8, FTW_DEPTH | FTW_PHYS), 0);
    rewind(out);
    output[fread(output, 1, sizeof output - 1, out)] = '\0';
    (void)fclose(out);
    return code;
}
static bool says(const char *text) { return strstr(output, text) != NULL; }

enum { MEMORY, STAMPEDE, KILL, LIMITER, WHY, WORK, PORT };

T_CASE(correct_library_has_no_finding)
{
    for (size_t i = MEMORY; i <= PORT; i++) {
        int code, left = i == LIMITER ? 20 : 1; /* its second may end before its threads begin */
        do { code = play(NONE, &tour_acts[i]); } while (--left > 0 && says("FINDING admitted"));
        T_EQ_I64(code, CLI_DONE);
        T_CHECK(!says("FINDING"));
    }
}

/* What each act finds. */
static const struct row {
    int act;
    mistake mistake;
    const char *text;
} rows[] = {
    { MEMORY, OTHER_BYTES, "wrong " }, { MEMORY, SHORT_VALUE, "wrong " },
    { MEMORY, OVER_BUDGET, "held " }, { MEMORY, MISCOUNTED_GETS, "counted " },
    { MEMORY, MISCOUNTED_HITS, "counted " }, { MEMORY, LOST_VALUES, "found " },
    { MEMORY, SET_FAILS, "wrong " },
    { STAMPEDE, TWO_LOADS, "loads " }, { STAMPEDE, VALUE_LOST, "values " },
    { KILL, SHORT_VALUE, "wrong " }, { KILL, DELETES_LOST, "back " }, { KILL, NOTHING_FOUND, "found " },
    { LIMITER, LIMIT_PASSED, "most: " }, { LIMITER, NOTHING_ADMITTED, "admitted: " },
    { LIMITER, LIMIT_ODD, "denied: " },
    { WHY, WRONG_CAUSE, "tagged " }, { WHY, NO_REASON, "old " },
    { WORK, TASK_FAILS, "once " }, { WORK, TASK_NOT_TRIED_AGAIN, "attempts " },
    { PORT, OTHER_BYTES, "same " },
};

static void each_mistake_is_found_by(int from, int to)
{
    char text[64];
    for (const struct row *r = rows; r < rows + sizeof rows / sizeof *rows; r++) {
        if (r->act < from || r->act > to) { continue; }
        (void)snprintf(text, sizeof text, "FINDING %s", r->text);
        int code, left = r->act == LIMITER ? 20 : 1; /* as above */
        do { code = play(r->mistake, &tour_acts[r->act]); } while (--left > 0 && !says(text));
        T_EQ_I64(code, CLI_FINDING);
        if (!T_CHECK(says(text))) { printf("# act %d, %s: %s\n", r->act, text, output); }
    }
}

T_ALONE(each_mistake_in_memory_is_found) { each_mistake_is_found_by(MEMORY, MEMORY); }
T_CASE(each_mistake_of_the_other_acts_is_found) { each_mistake_is_found_by(STAMPEDE, PORT); }

T_CASE(findings_of_the_remote_part_are_told)
{
    const tour_page page[4] = { { .compared = 9, .cut = 1 },
                                { .compared = 9, .cut = 1, .stale = 1 },
                                { .compared = 9 },
                                { .cut = 1 } };
    for (size_t i = 0; i < 4; i++) {
        tour_report r = { .findings = 0 };
        tour_remote_tell(&r, &page[i]);
        T_CHECK((r.findings > 0) == (i > 0));
    }
}

T_CASE(act_that_cannot_start_is_3)
{
    for (size_t i = MEMORY; i <= PORT; i++) {
        if (tour_acts[i].memory_bytes == 0) { continue; }
        T_EQ_I64(play(OPEN_FAILS, &tour_acts[i]), CLI_NO_START);
        T_EQ_U64(output[0], '\0');
    }
    T_EQ_I64(play(OPEN_FAILS, &tour_acts[KILL]), CLI_NO_START);
}

T_CASE(windows_are_half_open)
{
    const uint64_t s = CELLAR_SECOND_NS;
    const uint64_t a[] = { 5, 5 + s }, b[] = { 5, 4 + s };
    const uint64_t c[] = { 0, 1, 2, s, s + 1, s + 1, s + 2 };
    T_EQ_U64(tour_most(a, 0), 0);
    T_EQ_U64(tour_most(a, 1), 1);
    T_EQ_U64(tour_most(a, 2), 1); /* a second apart: two windows */
    T_EQ_U64(tour_most(b, 2), 2);
    T_EQ_U64(tour_most(c, 7), 4); /* {s, s + 1, s + 1, s + 2} */
}

T_MAIN("cli_findings")
