/* SPDX-License-Identifier: MIT
 *
 * expire: all entries of a store expire together; how long do its calls take?
 *
 * WALK       For each subject with deadlines, in a process of its own: COUNT entries of 16/100 with
 *            one time to live -> sleep until the first is due -> for MS: 95:5 on those keys, each
 *            call timed by itself. The clock is the real one, so entries expire over the time that
 *            the fill took. Peers of other languages run the same by `expire`. A peer that needs
 *            minutes for a million sets gets a tenth of the entries, in rows of that name.
 * FIGURES    expire_max   longest call, CPU of its thread (Node: wall)
 *            expire_p999  99.9 % of the calls, wall
 *            expire_left  expired entries that it still counts afterwards, housekeeping done: all
 *                         it counts minus the 5 % set during the calls. */
#include "bench/suites/suite.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/harness/driver.h"
#include "bench/harness/hist.h"
#include "bench/harness/host.h"
#include "bench/harness/json.h"
#include "bench/harness/verify.h"

#define EXPIRE_VALUE 100u

typedef struct expire_figures {
    double max_us, p999_ns, left, anew, bad;
    bool done;
} expire_figures;

typedef struct expire_plan {
    const bench_subject *subject;
    uint32_t count, ttl_ms, ms;
} expire_plan;

static void expire_sleep_until(uint64_t ns)
{
    const uint64_t now = host_wall_ns(), left = ns > now ? ns - now : 0;
    const struct timespec t = { (time_t)(left / 1000000000u), (long)(left % 1000000000u) };
    nanosleep(&t, NULL);
}

static void expire_calls(const expire_plan *p, void *store, unsigned char *anew,
                         expire_figures *out)
{
    const bench_subject *s = p->subject;
    static hist h;
    unsigned char key[VERIFY_KEY_MAX], value[EXPIRE_VALUE], buf[EXPIRE_VALUE];
    uint64_t seed = 0, most = 0, bad = 0, again = 0;
    const uint64_t end = host_wall_ns() + p->ms * UINT64_C(1000000);
    verify_fill(value, sizeof value);
    hist_clear(&h);
    for (uint64_t now; (now = host_wall_ns()) < end;) {
        const uint64_t draw = trace_random(&seed), id = draw % p->count;
        size_t len = 0;
        verify_make_key(key, id, 16);
        verify_stamp(value, sizeof value, id);
        const uint64_t cpu = host_thread_cpu_ns(), from = host_wall_ns();
        if (draw >> 56 < 13) {
            bad += s->set(store, key, 16, value, sizeof value, p->ttl_ms) < 0;
        } else if (s->get(store, key, 16, buf, sizeof buf, &len) == 1) {
            bad += !verify_value(buf, len, id, EXPIRE_VALUE);
        }
        hist_add(&h, host_wall_ns() - from);
        const uint64_t spent = host_thread_cpu_ns() - cpu;
        most = spent > most ? spent : most;
        again += draw >> 56 < 13 && anew[id] == 0;
        anew[id] |= draw >> 56 < 13;
    }
    out->anew = (double)again;
    out->max_us = (double)most / 1e3;
    out->p999_ns = (double)hist_percentile(&h, 999000);
    out->bad = (double)bad;
}

static void expire_child(const void *in, void *figures)
{
    const expire_plan *p = in;
    const bench_subject *s = p->subject;
    expire_figures *out = figures;
    unsigned char key[VERIFY_KEY_MAX], value[EXPIRE_VALUE];
    const bench_cfg cfg = { .key_count = p->count, .hint_entries = p->count,
                            .ttl_ms = p->ttl_ms,
                            .payload_bytes = (uint64_t)p->count * (16 + EXPIRE_VALUE),
                            .key_len = 16, .value_len = EXPIRE_VALUE, .threads = 1, .seed = 7 };
    unsigned char *anew = calloc(p->count, 1);
    void *store = anew != NULL ? s->open(&cfg) : NULL;
    const uint64_t first = host_wall_ns();
    if (store == NULL) {
        free(anew);
        return;
    }
    verify_fill(value, sizeof value);
    for (uint32_t id = 0; id < p->count; id++) {
        verify_make_key(key, id, 16);
        verify_stamp(value, sizeof value, id);
        s->set(store, key, 16, value, sizeof value, p->ttl_ms);
    }
    expire_sleep_until(first + p->ttl_ms * UINT64_C(1000000));
    expire_calls(p, store, anew, out);
    out->left = (double)s->count(store);
    out->done = true;
    s->close(store);
    free(anew);
}

static bool expire_there(const expire_plan *p, expire_figures *out, char *why, size_t why_cap)
{
    char command[96];
    bench_driver *d = driver_start(p->subject->driver, why, why_cap);
    if (d == NULL) {
        return false;
    }
    snprintf(command, sizeof command, "expire %u %u %u", p->count, p->ttl_ms, p->ms);
    const bool ok = driver_ask(d, p->ttl_ms + p->ms + 60000, command);
    out->max_us = driver_number(d, "max_us");
    out->p999_ns = driver_number(d, "p999_ns");
    out->left = driver_number(d, "left");
    out->anew = driver_number(d, "anew");
    out->bad = driver_number(d, "bad");
    snprintf(why, why_cap, "%s", driver_trouble(d));
    driver_stop(d);
    return ok;
}

static int expire_run_suite(const cell_options *o)
{
    const uint32_t count = o->quick ? 100000 : 1000000, ms = o->quick ? 500 : 3000;
    const uint32_t ttl_ms = o->quick ? 2000 : 8000;
    int worst = CELL_OK;
    printf("\nexpire  (%u entries of %u ms, then 95:5 on them for %u ms)\n", count, ttl_ms, ms);
    for (size_t i = 0; i < bench_registry_count; i++) {
        const bench_subject *s = bench_registry[i].subject;
        char why[256] = "did not finish";
        expire_figures f = { 0, 0, 0, 0, 0, false };
        if (s == NULL || !(s->caps & BENCH_TTL) || !cell_chosen(o, NULL, s->name)) {
            continue;
        }
        const bool slow = (s->caps & BENCH_SLOW) != 0;
        const char *name = o->quick ? (slow ? "expire10k_16_100" : "expire100k_16_100")
                                    : (slow ? "expire100k_16_100" : "expire1m_16_100");
        const expire_plan p = { s, slow ? count / 10 : count, ttl_ms, ms };
        const bool ok = s->driver != NULL
                            ? expire_there(&p, &f, why, sizeof why)
                            : host_apart(expire_child, &p, &f, sizeof f, why, sizeof why) &&
                                  f.done;
        if (!ok) {
            const bool missing = s->driver != NULL && driver_missing(s->driver) != NULL;
            json_say("expire", s->name, name, missing ? "skip" : driver_kind(why), why);
            worst = missing ? worst : CELL_WRONG;
            continue;
        }
        const char *note = f.bad > 0 ? "wrong values" : NULL;
        worst = f.bad > 0 ? CELL_WRONG : worst;
        suite_say("expire", s->name, name, "expire_max", &f.max_us, 1, "cpu", note);
        suite_say("expire", s->name, name, "expire_p999", &f.p999_ns, 1, "wall", note);
        double ended = f.left > f.anew ? f.left - f.anew : 0;
        suite_say("expire", s->name, name, "expire_left", &ended, 1, NULL, note);
    }
    return worst;
}

const bench_suite suite_expire = { "expire", "a million entries that end together",
                                   expire_run_suite, NULL, NULL, true, false, 0 };
