/* SPDX-License-Identifier: MIT
 *
 * open: how long does a get take when requests come by the clock and not one after another?
 *
 * WALK       for each subject, in a process of its own: 100 k entries of 16/100 -> 95:5 on them as
 *            fast as it goes, two windows for nothing (compilers) and four that count: their median
 *            is its capacity -> the same at 20, 50, 80 and 90 % of that, four times each, every
 *            request due at a time fixed beforehand. Peers of other languages do the same by `fill`
 *            and `pace`.
 * FIGURES    open_capacity  thousand requests a second, one after another
 *            open20_* 50 80 90  time of a get from when it was due: p50, p99, p99.9, ns; of each
 *                           window, and the median of those
 * WHY        A closed loop sends the next request after the last answer: a pause of 5 ms is one
 *            slow get there; here it delays every request that was due meanwhile. A subject that
 *            cannot keep up with a share of its own capacity says "fell behind" and how far it
 *            came.
 * NOTE       A thread that is preempted for 4 ms has 4 ms in its 99.9 %: hence the median of the
 *            windows, and RAW's row, which shows the part of the machine.
 * NOT HERE   more than one thread; loading; servers and tables on disk, which fill for minutes
 *            (BENCH_SLOW): by name, or with FULL=1. */
#include "bench/suites/suite.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/harness/driver.h"
#include "bench/harness/hist.h"
#include "bench/harness/host.h"
#include "bench/harness/json.h"
#include "bench/harness/verify.h"

#define OPEN_COUNT 100000u
#define OPEN_VALUE 100u
#define OPEN_TRIES 4u
#define OPEN_WARM 2u   /* windows before the first that counts: compilers */
#define OPEN_SHARES 4u
#define OPEN_GIVE_UP 3u /* lengths of a window that one falling behind may take */

static const uint32_t open_share[OPEN_SHARES] = { 20, 50, 80, 90 }; /* percent of capacity */

typedef struct open_window {
    uint64_t ops, bad, wall_ns;
    hist late; /* of gets, ns from when they were due */
} open_window;

typedef struct open_plan {
    const bench_subject *subject;
    uint32_t ms; /* of a window */
    uint32_t reserved;
} open_plan;

typedef struct open_figures {
    double kops[OPEN_TRIES];
    double p_ns[OPEN_SHARES][3][OPEN_TRIES]; /* p50, p99, p99.9 */
    double kept[OPEN_SHARES][OPEN_TRIES];    /* achieved share of the requested rate */
    uint64_t bad;
    bool done;
} open_figures;

/* rate: requests a second; 0: one after another. */
static void open_window_here(const bench_subject *s, void *store, uint32_t ms, uint64_t rate,
                             open_window *w)
{
    unsigned char key[VERIFY_KEY_MAX], value[OPEN_VALUE], buf[OPEN_VALUE];
    const uint64_t begin = host_wall_ns(), end = ms * UINT64_C(1000000);
    uint64_t seed = 0;
    memset(w, 0, sizeof *w);
    verify_fill(value, sizeof value);
    for (;; w->ops++) {
        uint64_t now = host_wall_ns() - begin;
        const uint64_t due = rate == 0 ? now : w->ops * UINT64_C(1000000000) / rate;
        if (due >= end || now >= OPEN_GIVE_UP * end) {
            break;
        }
        while (now < due) {
            now = host_wall_ns() - begin;
        }
        const uint64_t draw = trace_random(&seed), id = draw % OPEN_COUNT;
        size_t len = 0;
        verify_make_key(key, id, 16);
        if (draw >> 56 < 13) {
            verify_stamp(value, sizeof value, id);
            w->bad += s->set(store, key, 16, value, sizeof value, 0) < 0;
            continue;
        }
        const int answer = s->get(store, key, 16, buf, sizeof buf, &len);
        hist_add(&w->late, host_wall_ns() - begin - due);
        w->bad += answer < 0 || (answer == 1 && !verify_value(buf, len, id, OPEN_VALUE));
    }
    w->wall_ns = host_wall_ns() - begin;
}

static bool open_window_there(bench_driver *d, uint32_t ms, uint64_t rate, open_window *w)
{
    static double pair[2 * HIST_SLOTS];
    char command[96];
    memset(w, 0, sizeof *w);
    snprintf(command, sizeof command, "pace %u %u %" PRIu64, OPEN_COUNT, ms, rate);
    if (!driver_ask(d, OPEN_GIVE_UP * ms + 20000, command)) {
        return false;
    }
    const uint32_t n = driver_list(d, "hist", pair, 2 * HIST_SLOTS);
    for (uint32_t i = 0; i + 1 < n; i += 2) {
        if (pair[i] >= 0 && pair[i] < HIST_SLOTS && pair[i + 1] > 0) {
            w->late.slot[(uint32_t)pair[i]] += (uint64_t)pair[i + 1];
            w->late.count += (uint64_t)pair[i + 1];
        }
    }
    w->late.max = UINT64_MAX;
    w->ops = (uint64_t)driver_number(d, "ops");
    w->bad = (uint64_t)driver_number(d, "bad");
    w->wall_ns = (uint64_t)driver_number(d, "wall_ns");
    return w->wall_ns > 0;
}

/* Run one window; d: NULL for a subject of this process. Return thousand requests a second; 0: the
 * process has ended, or does not answer. */
static double open_once(const open_plan *p, void *store, bench_driver *d, uint64_t rate,
                        open_window *w)
{
    if (d == NULL) {
        open_window_here(p->subject, store, p->ms, rate, w);
    } else if (!open_window_there(d, p->ms, rate, w)) {
        return 0;
    }
    return (double)w->ops * 1e6 / (double)w->wall_ns;
}

static bool open_measure(const open_plan *p, void *store, bench_driver *d, open_figures *out)
{
    static open_window w;
    static const uint32_t per_million[3] = { 500000, 990000, 999000 };
    for (uint32_t i = 0; i < OPEN_WARM + OPEN_TRIES; i++) {
        const uint32_t k = i < OPEN_WARM ? 0 : i - OPEN_WARM;
        out->kops[k] = open_once(p, store, d, 0, &w);
        out->bad += w.bad;
        if (out->kops[k] <= 0) {
            return false;
        }
    }
    const double capacity = cell_quantile(out->kops, OPEN_TRIES, 0.5);
    for (uint32_t i = 0; i < OPEN_SHARES; i++) {
        const uint64_t rate = (uint64_t)(capacity * 10 * open_share[i]);
        for (uint32_t k = 0; k < OPEN_TRIES; k++) {
            const double kops = rate > 0 ? open_once(p, store, d, rate, &w) : 0;
            if (kops <= 0) {
                return false;
            }
            out->bad += w.bad;
            out->kept[i][k] = kops * 1000 / (double)rate;
            for (int q = 0; q < 3; q++) {
                out->p_ns[i][q][k] = (double)hist_percentile(&w.late, per_million[q]);
            }
        }
    }
    return true;
}

static void open_child(const void *in, void *figures)
{
    const open_plan *p = in;
    open_figures *out = figures;
    unsigned char key[VERIFY_KEY_MAX], value[OPEN_VALUE];
    const bench_cfg cfg = { .key_count = OPEN_COUNT, .hint_entries = OPEN_COUNT,
                            .payload_bytes = OPEN_COUNT * (16 + OPEN_VALUE), .key_len = 16,
                            .value_len = OPEN_VALUE, .threads = 1, .seed = 7 };
    void *store = p->subject->open(&cfg);
    if (store == NULL) {
        return;
    }
    verify_fill(value, sizeof value);
    for (uint32_t id = 0; id < OPEN_COUNT; id++) {
        verify_make_key(key, id, 16);
        verify_stamp(value, sizeof value, id);
        p->subject->set(store, key, 16, value, sizeof value, 0);
    }
    out->done = open_measure(p, store, NULL, out);
    p->subject->close(store);
}

static bool open_there(const open_plan *p, open_figures *out, char *why, size_t why_cap)
{
    char command[64];
    bench_driver *d = driver_start(p->subject->driver, why, why_cap);
    if (d == NULL) {
        return false;
    }
    snprintf(command, sizeof command, "fill %u 16 %u", OPEN_COUNT, OPEN_VALUE);
    const bool ok = driver_ask(d, driver_most(120000), command) && open_measure(p, NULL, d, out);
    snprintf(why, why_cap, "%s", driver_trouble(d));
    driver_stop(d);
    return ok;
}

static void open_say(const char *subject, const char *name, open_figures *f)
{
    static const char *const metric[OPEN_SHARES][3] = {
        { "open20_p50", "open20_p99", "open20_p999" }, { "open50_p50", "open50_p99", "open50_p999" },
        { "open80_p50", "open80_p99", "open80_p999" }, { "open90_p50", "open90_p99", "open90_p999" }
    };
    suite_say("open", subject, name, "open_capacity", f->kops, OPEN_TRIES, "wall",
              f->bad > 0 ? "wrong values" : NULL);
    for (uint32_t i = 0; i < OPEN_SHARES; i++) {
        char text[64];
        const double kept = cell_quantile(f->kept[i], OPEN_TRIES, 0.5);
        snprintf(text, sizeof text, "fell behind: %.0f %% of the rate", 100 * kept);
        const char *note = f->bad > 0 ? "wrong values" : kept < 0.95 ? text : NULL;
        for (int q = 0; q < 3; q++) {
            suite_say("open", subject, name, metric[i][q], f->p_ns[i][q], OPEN_TRIES, "wall", note);
        }
    }
}

static int open_run_suite(const cell_options *o)
{
    const uint32_t ms = o->quick ? 40 : 250;
    int worst = CELL_OK;
    printf("\nopen  (%u entries, 95:5, requests by the clock at 20, 50, 80, 90 %% of the subject's "
           "own capacity, windows of %u ms)\n", OPEN_COUNT, ms);
    for (size_t i = 0; i < bench_registry_count; i++) {
        const bench_subject *s = bench_registry[i].subject;
        const char *name = "open100k_16_100";
        char why[256] = "did not finish";
        open_figures f = { .done = false };
        if (s == NULL && cell_chosen(o, NULL, bench_registry[i].name)) {
            json_say("open", bench_registry[i].name, name, "skip", bench_registry[i].missing);
        }
        if (s == NULL || !cell_chosen(o, NULL, s->name) ||
            ((s->caps & BENCH_SLOW) && !o->full && o->peers == NULL)) {
            continue;
        }
        const open_plan p = { s, ms, 0 };
        const bool ok = s->driver != NULL
                            ? open_there(&p, &f, why, sizeof why)
                            : host_apart(open_child, &p, &f, sizeof f, why, sizeof why) &&
                                  f.done;
        if (!ok) {
            const bool missing = s->driver != NULL && driver_missing(s->driver) != NULL;
            json_say("open", s->name, name, missing ? "skip" : driver_kind(why), why);
            worst = missing ? worst : CELL_WRONG;
            continue;
        }
        worst = f.bad > 0 ? CELL_WRONG : worst;
        open_say(s->name, name, &f);
    }
    return worst;
}

const bench_suite suite_open = { "open", "requests by the clock: waiting counts",
                                 open_run_suite, NULL, NULL, true, false, 0 };
