/* SPDX-License-Identifier: MIT
 *
 * cmd_limit: CL.THROTTLE: a token bucket for each key, with the reply of redis-cell.
 *
 * PICTURE    The entry of the key holds one time as decimal text: the nanosecond at which the
 *            bucket is full again (GCRA). Its TTL ends then: an idle key takes no memory.
 * INVARIANTS One change of the entry for each admitted call, by version: atomic against every
 *            thread of the process. A denied call changes nothing. The entry may be evicted as any
 *            other: then the key starts with a full bucket. A program that needs more uses
 *            cellar_limiter_open.
 * LOCKING    None. */
#include "base/num.h"
#include "resp/control.h"
#include "resp/data.h"
#include "resp/entry.h"

#include <inttypes.h>
#include <stdio.h>

BASE_SIZE_BEGIN

#define RESP_NS_S  INT64_C(1000000000)
#define RESP_NS_MS INT64_C(1000000)

typedef struct resp_throttle {
    int64_t limit;         /* max_burst + 1 */
    int64_t interval_ns;   /* between two units */
    int64_t cost;
    int64_t now_ns;        /* wall */
    /* results */
    int64_t full_ns;       /* the bucket is full again */
    bool limited;
    int64_t retry_ns;      /* from now; -1: never, or not limited */
} resp_throttle;

/* Decide a call. full_ns: as stored; 0: nothing. */
static void resp_throttle_decide(resp_throttle *t, int64_t full_ns)
{
    const int64_t start_ns = BASE_MAX(full_ns, t->now_ns);
    const int64_t tolerance_ns = t->limit * t->interval_ns; /* checked by resp_throttle_read */
    const int64_t next_ns = start_ns + t->cost * t->interval_ns;
    t->limited = next_ns - t->now_ns > tolerance_ns;
    t->full_ns = t->limited ? start_ns : next_ns;
    t->retry_ns = !t->limited || t->cost > t->limit ? -1 : next_ns - t->now_ns - tolerance_ns;
}

/* Read a time. E_TYPE: the text is none. */
static cellar_err resp_throttle_text(cellar_bytes text, int64_t *full_ns)
{
    return resp_to_int(&text, full_ns) && *full_ns >= 0 && *full_ns <= INT64_MAX / 2
               ? CELLAR_OK : CELLAR_E_TYPE;
}

/* Read the stored time and its version. Return OK, MISS, an error, or E_TYPE: it is no time. */
static cellar_err resp_throttle_load(resp_client *c, cellar *ns, cellar_bytes key,
                                     int64_t *full_ns, uint64_t *version)
{
    char text[24];
    size_t len = 0;
    *full_ns = 0;
    *version = 0;
    if (ns == c->of->shared.store && resp_is_control(key)) { /* resp_store finds it there, too */
        const resp_control *k = resp_control_find(c->of, key);
        return k == NULL ? CELLAR_MISS : resp_throttle_text(resp_control_value(k), full_ns);
    }
    cellar_entry_info info = cellar_entry_info_default();
    cellar_get_opts o = cellar_get_opts_default();
    o.flags = CELLAR_GET_WANT_VERSION;
    o.info = &info;
    const cellar_err err = cellar_get_with(ns, key.data, key.len, &o, text, sizeof text, &len);
    *version = info.version;
    if (err == CELLAR_E_BUFFER) { return CELLAR_E_TYPE; }
    if (err != CELLAR_OK) { return err == CELLAR_ABSENT ? CELLAR_MISS : err; }
    return resp_throttle_text((cellar_bytes){ text, len }, full_ns);
}

/* Store the time, if the entry is as resp_throttle_load saw it. */
static cellar_err resp_throttle_store(resp_client *c, cellar *ns, cellar_bytes key,
                                      const resp_throttle *t, cellar_err seen, uint64_t version)
{
    char text[24];
    const int len = snprintf(text, sizeof text, "%" PRId64, t->full_ns);
    cellar_set_opts o = resp_write_opts((t->full_ns - t->now_ns) / RESP_NS_MS + 1);
    o.flags |= seen == CELLAR_OK ? CELLAR_ONLY_IF_VERSION : CELLAR_ONLY_IF_ABSENT;
    o.if_version = seen == CELLAR_OK ? version : 0;
    return resp_store(c, ns, key, (cellar_bytes){ text, (size_t)len }, &o);
}

static cellar_err resp_throttle_run(resp_client *c, cellar *ns, cellar_bytes key, resp_throttle *t)
{
    for (;;) {
        int64_t full_ns;
        uint64_t version;
        const cellar_err seen = resp_throttle_load(c, ns, key, &full_ns, &version);
        if (seen != CELLAR_OK && seen != CELLAR_MISS) { return seen; }
        resp_throttle_decide(t, full_ns);
        if (t->limited || t->cost == 0) { return CELLAR_OK; }
        const cellar_err err = resp_throttle_store(c, ns, key, t, seen, version);
        if (err != CELLAR_CONFLICT && err != CELLAR_EXISTS && err != CELLAR_MISS) { return err; }
    }
}

/* Read max_burst, count, period and n. False: an error was written. */
static bool resp_throttle_read(resp_client *c, const cellar_bytes *argv, uint32_t argc,
                               resp_throttle *t)
{
    int64_t burst, count, period_s, period_ns, all;
    t->cost = 1;
    if (!resp_need_int(c, &argv[2], &burst) || !resp_need_int(c, &argv[3], &count) ||
        !resp_need_int(c, &argv[4], &period_s) ||
        (argc > 5 && !resp_need_int(c, &argv[5], &t->cost))) {
        return false;
    }
    if (burst < 0 || count < 1 || period_s < 1 || t->cost < 0 || burst == INT64_MAX ||
        __builtin_mul_overflow(period_s, RESP_NS_S, &period_ns) || period_ns < count) {
        resp_error(c, "ERR max_burst must be 0 or more, count and period 1 or more");
        return false;
    }
    t->limit = burst + 1;
    t->interval_ns = period_ns / count;
    if (__builtin_mul_overflow(BASE_MAX(t->limit, t->cost), t->interval_ns, &all) ||
        all > INT64_MAX / 4) {
        resp_error(c, "ERR the bucket would take centuries to fill");
        return false;
    }
    return true;
}

/* Return seconds, rounded up; -1 stays. */
static int64_t resp_seconds(int64_t ns) { return ns < 0 ? -1 : (ns + RESP_NS_S - 1) / RESP_NS_S; }

RESP_CALL(resp_cmd_throttle)
{
    resp_throttle t;
    if (argc > 6) {
        resp_wrong_arity(c, "cl.throttle");
        return;
    }
    if (!resp_throttle_read(c, argv, argc, &t)) { return; }
    cellar *ns = resp_ns(c);
    if (ns == NULL) { return; }
    t.now_ns = base_wall_ms() * RESP_NS_MS;
    const cellar_err err = resp_throttle_run(c, ns, argv[1], &t);
    if (err == CELLAR_E_TYPE) {
        resp_error(c, "ERR the value of the key is no time of CL.THROTTLE");
        return;
    }
    if (err != CELLAR_OK) {
        resp_fail(c, err);
        return;
    }
    const int64_t used_ns = t.full_ns - t.now_ns;
    const int64_t free_ns = t.limit * t.interval_ns - used_ns;
    resp_array(c, 5);
    resp_int(c, t.limited);
    resp_int(c, t.limit);
    resp_int(c, t.limited && t.cost > t.limit ? 0 : BASE_MAX(free_ns, 0) / t.interval_ns);
    resp_int(c, resp_seconds(t.retry_ns));
    resp_int(c, resp_seconds(used_ns));
}

BASE_SIZE_END
