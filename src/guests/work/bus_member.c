/* SPDX-License-Identifier: MIT
 *
 * bus_member: members of a group: join, leave, run functions, take and settle messages.
 *
 * WALK       function: a message is offered -> the job of an idle member is queued -> a worker
 *            takes a message, runs filters and function without the lock, applies the verdict
 *            and takes the next one in the same hold of the lock; after BUS_BATCH messages the
 *            job goes to the end of the queue
 *            take: claim -> filters -> the caller; settle: free the claim
 * COMPLETION A claim is freed once: by the verdict, by a settle, by the end of the
 *            thread inside the function, or by a leave. A hold that ends takes the copy out of
 *            the claim; the claim keeps the bytes until it is freed.
 * LOCKING    bus_types.h. */
#include <string.h>

#include "base/opts.h"
#include "base/user_callback.h"
#include "cellar_task.h"
#include "work/bus.h"
#include "work/bus_journal.h"

BASE_SIZE_BEGIN

#define BUS_BATCH 64u
#define BUS_DELAY_MAX_MS (INT64_C(366) * 86400000)
#define BUS_PREFETCH_DEFAULT 16u

typedef struct bus_run { /* a message on its way through filters and function */
    bus_scope scope;        /* first field */
    cellar_bus_member *m;
    bus_claim *claim;
    cellar_bus_message seen;
    cellar_bus_verdict verdict;
    bool wanted;
} bus_run;

/* Describe the message of a claim. */
static void bus_show(const cellar_bus_member *m, const bus_claim *claim, cellar_bus_message *out)
    SYNC_HOLDS(BUS)
{
    bus_describe(m->group, claim->copy, out);
    out->delivery = claim->delivery;
}

/* ---- filters ---- */

/* Return whether the header of the filter has one of its values. */
static bool bus_has_header(const bus_group *g, const cellar_bus_message *m)
{
    for (uint32_t i = 0; i < m->header_count; i++) {
        if (strcmp(m->headers[i].name, g->filter_texts) != 0) { continue; }
        const char *value = g->filter_texts + strlen(g->filter_texts) + 1;
        for (uint32_t k = 0; k < g->o.filter_value_count; k++, value += strlen(value) + 1) {
            if (strcmp(m->headers[i].value, value) == 0) { return true; }
        }
    }
    return false;
}

/* Return whether a message passes the filters. Hold no lock. */
static bool bus_wants(const bus_group *g, const cellar_bus_message *m)
{
    const bool any = g->o.filter_any != 0;
    bool tried = false;
    if (g->o.filter_priority != 0) {
        if ((m->priority >= g->o.filter_priority) == any) { return any; }
        tried = true;
    }
    if (g->filter_texts != NULL) {
        if (bus_has_header(g, m) == any) { return any; }
        tried = true;
    }
    if (g->o.filter_fn != NULL) {
        if (g->o.filter_fn(m, g->o.filter_ctx) == any) { return any; }
        tried = true;
    }
    return !tried || !any;
}

/* ---- functions ---- */

static void bus_call(void *arg)
{
    bus_run *r = arg;
    r->wanted = bus_wants(r->m->group, &r->seen);
    if (r->wanted && r->m->fn != NULL) { r->verdict = r->m->fn(&r->seen, r->m->ctx); }
}

/* End the run of a filter or a function that ends its thread. */
static void bus_left(void *arg)
{
    bus_run *r = arg;
    cellar_bus_member *m = r->m;
    cellar_bus *b = m->bus;
    const int64_t now = bus_now(b);
    bus_after a;
    bus_after_init(&a);
    sync_take(BUS, &b->lock);
    m->group->count[STATS_BUS_THREAD_ENDS]++;
    (void)bus_unclaim(m, r->claim, BUS_RETRY, m->group->o.retry_ms, now, &a);
    m->tid = 0;
    if (m->fn != NULL) { bus_idle(m, &a); }
    a.ring = true; /* the thread of timers replaces a worker */
    bus_scope_leave(b, &r->scope);
    sync_drop(BUS, &b->lock);
    bus_settle(b, &a);
    sync_wake(&b->running, INT32_MAX);
    (void)bus_commit(b);
}

/* Run filters and function on the message of a claim. */
static void bus_run_claim(bus_run *r)
{
    const int cancel = base_cancel_off();
    sync_assert_none();
    base_run_callback(bus_call, bus_left, r, cancel);
    base_cancel_set(cancel);
}

static bus_fate bus_fate_of(cellar_bus_verdict verdict)
{
    switch (verdict) {
    case CELLAR_BUS_ACK: return BUS_ACK;
    case CELLAR_BUS_REJECT: return BUS_REJECT;
    case CELLAR_BUS_RETRY:
    case CELLAR_BUS_EXTEND: break;
    }
    return BUS_RETRY; /* also of a value that is no verdict */
}

/* Apply the verdict of the last message. */
static void bus_run_end(bus_run *r, int64_t now, bus_after *a) SYNC_HOLDS(BUS)
{
    cellar_bus_member *m = r->m;
    bus_scope_leave(m->bus, &r->scope);
    m->tid = 0;
    const bus_fate fate = r->wanted ? bus_fate_of(r->verdict) : BUS_FILTER;
    (void)bus_unclaim(m, r->claim, fate, m->group->o.retry_ms, now, a);
    r->claim = NULL;
}

/* Return all messages in the hands of a member. */
static void bus_return_all(cellar_bus_member *m, int64_t now, bus_after *a) SYNC_HOLDS(BUS)
{
    for (uint32_t i = m->prefetch; i > 0; i--) {
        bus_claim *claim = &m->claim[i - 1];
        if (claim->of != NULL) { (void)bus_unclaim(m, claim, BUS_RETURN, 0, now, a); }
    }
}

/* Take the next message. False: none, or not now; then the job has ended or waits again. */
static bool bus_run_next(bus_run *r, bool more, int64_t now, bus_after *a) SYNC_HOLDS(BUS)
{
    cellar_bus_member *m = r->m;
    cellar_bus *b = m->bus;
    if (m->leaving) { bus_return_all(m, now, a); }
    if (more && !b->closing && !m->leaving) { r->claim = bus_claim_next(m, now, a); }
    if (r->claim == NULL) {
        bus_idle(m, a); /* offers the message that `more` left */
        return false;
    }
    bus_show(m, r->claim, &r->seen);
    bus_scope_enter(b, &r->scope);
    m->tid = r->scope.tid;
    return true;
}

CELLAR_PRIVATE void bus_run_job(void *bus, base_job *j)
{
    cellar_bus *b = bus;
    bus_run r = { .m = (cellar_bus_member *)(void *)j }; /* its first field */
    for (uint32_t left = BUS_BATCH;; left--) {
        const int64_t now = bus_now(b);
        const bool ran = r.claim != NULL;
        bus_after a;
        bus_after_init(&a);
        sync_take(BUS, &b->lock);
        if (ran) { bus_run_end(&r, now, &a); }
        const bool next = bus_run_next(&r, left != 0, now, &a);
        sync_drop(BUS, &b->lock);
        bus_settle(b, &a);
        if (ran && !next) { sync_wake(&b->running, INT32_MAX); }
        /* The last verdict and this delivery: it counts also if it ends the process. */
        (void)bus_commit(b);
        if (!next) { return; }
        bus_run_claim(&r);
    }
}

/* ---- join, leave ---- */

static cellar_err bus_member_opts(const cellar_bus_member_config *o, cellar_bus_member_config *full)
{
    *full = cellar_bus_member_config_default();
    const cellar_err err = o != NULL ? base_opts_in(full, sizeof *full, o) : CELLAR_OK;
    if (err != CELLAR_OK) { return err; }
    if (full->prefetch > BUS_PREFETCH_MAX || full->reserved0 != 0) { return CELLAR_E_INVAL; }
    if (full->fn != NULL) { full->prefetch = 1; }
    if (full->prefetch == 0) { full->prefetch = BUS_PREFETCH_DEFAULT; }
    return CELLAR_OK;
}

static cellar_err bus_join_held(bus_group *g, cellar_bus_member *m, bus_after *a) SYNC_HOLDS(BUS)
{
    cellar_bus *b = m->bus;
    if (g == NULL) { return CELLAR_E_NOT_FOUND; }
    if (b->member_count >= b->max_members) {
        b->count[STATS_BUS_REJECTED_LIMIT]++;
        return CELLAR_E_LIMIT;
    }
    m->group = g;
    m->next = g->members != NULL ? g->members : m;
    m->prev = g->members != NULL ? m->next->prev : m;
    m->prev->next = m;
    m->next->prev = m;
    g->members = m;
    g->member_count++;
    b->member_count++;
    if (m->fn != NULL) {
        g->idle_count++;
        bus_offer_all(g, a);
    }
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_bus_join(cellar_bus *b, const char *queue, const char *group,
                                      const cellar_bus_member_config *o, cellar_bus_member **out)
{
    char q[CELLAR_NAME_MAX + 1], name[CELLAR_NAME_MAX + 1];
    cellar_bus_member_config full;
    if (out != NULL) { *out = NULL; }
    if (b == NULL || !bus_names(queue, group, q, name)) { return CELLAR_E_INVAL; }
    if (b->obj.forked) { return CELLAR_E_FORKED; }
    cellar_err err = bus_member_opts(o, &full);
    if (err == CELLAR_OK && full.fn == NULL && out == NULL) { err = CELLAR_E_INVAL; }
    if (err != CELLAR_OK) { return err; }
    const size_t bytes = sizeof(cellar_bus_member) + full.prefetch * sizeof(bus_claim);
    cellar_bus_member *m = base_alloc(&b->obj.account, BASE_MOD_STORE, bytes, NULL);
    if (m == NULL) { return CELLAR_E_NOMEM; }
    m->bus = b;
    m->fn = full.fn;
    m->ctx = full.ctx;
    m->prefetch = full.prefetch;
    bus_after a;
    bus_after_init(&a);
    if (out != NULL) { *out = m; }
    sync_take(BUS, &b->lock);
    err = bus_join_held(bus_group_find(b, q, name), m, &a);
    if (err == CELLAR_OK) { m->free_fn = full.free_fn; }
    sync_drop(BUS, &b->lock);
    bus_settle(b, &a);
    if (err != CELLAR_OK) {
        if (out != NULL) { *out = NULL; }
        bus_member_free(m);
    }
    return err;
}

CELLAR_API cellar_err cellar_bus_leave(cellar_bus_member *m)
{
    if (m == NULL) { return CELLAR_OK; }
    cellar_bus *b = m->bus;
    if (b->obj.forked) { return CELLAR_E_FORKED; }
    const int64_t now = bus_now(b);
    bus_after a;
    bus_after_init(&a);
    sync_take(BUS, &b->lock);
    m->leaving = true;
    if (!m->queued) { /* else the end of its job does it */
        bus_return_all(m, now, &a);
        bus_unjoin(m, &a);
    }
    sync_drop(BUS, &b->lock);
    bus_settle(b, &a);
    (void)bus_commit(b);
    return CELLAR_OK;
}

/* ---- take, settle ---- */

/* Claim a message for the calling thread; wait for it until *until_ns. */
static cellar_err bus_take_claim(cellar_bus_member *m, uint64_t until_ns, bus_run *r)
{
    cellar_bus *b = m->bus;
    for (;;) {
        const int64_t now = bus_now(b);
        const bool over = base_now_ns() >= until_ns;
        bus_after a;
        bus_after_init(&a);
        sync_take(BUS, &b->lock);
        const int32_t tid = base_thread_id();
        m->tid = m->tid == 0 || m->tid == tid ? tid : -1;
        const bool room = m->held < m->prefetch;
        bool empty = false;
        r->claim = room && !b->closing ? bus_claim_next(m, now, &a) : NULL;
        if (r->claim != NULL) {
            bus_show(m, r->claim, &r->seen);
            if (m->group->o.filter_fn != NULL) { bus_scope_enter(b, &r->scope); }
        } else if (!room) {
            b->count[STATS_BUS_REJECTED_LIMIT]++;
        } else {
            empty = b->drained && bus_live(b) == 0;
            if (!empty && !over) { bus_sleep(b, &b->arrived, &b->take_waiters, until_ns); }
        }
        sync_drop(BUS, &b->lock);
        bus_settle(b, &a);
        if (r->claim != NULL) {
            (void)bus_commit(b); /* the delivery counts also if it ends the process */
            return CELLAR_OK;
        }
        if (!room) { return CELLAR_E_LIMIT; }
        if (empty) { return CELLAR_E_CLOSED; }
        if (over) { return CELLAR_MISS; }
    }
}

/* Run the filters on a message that was claimed. False: it did not pass, and has ended. */
static bool bus_take_filter(bus_run *r)
{
    cellar_bus *b = r->m->bus;
    const bool scoped = r->m->group->o.filter_fn != NULL;
    if (scoped) { bus_run_claim(r); } else { bus_call(r); }
    if (!scoped && r->wanted) { return true; }
    const int64_t now = bus_now(b);
    bus_after a;
    bus_after_init(&a);
    sync_take(BUS, &b->lock);
    if (scoped) { bus_scope_leave(b, &r->scope); }
    if (!r->wanted) { (void)bus_unclaim(r->m, r->claim, BUS_FILTER, 0, now, &a); }
    sync_drop(BUS, &b->lock);
    bus_settle(b, &a);
    if (scoped) { sync_wake(&b->running, INT32_MAX); }
    return r->wanted;
}

CELLAR_API cellar_err cellar_bus_take(cellar_bus_member *m, int64_t wait_ms,
                                      cellar_bus_message *out)
{
    size_t size;
    if (m == NULL || m->fn != NULL || wait_ms < 0 || out == NULL) { return CELLAR_E_INVAL; }
    cellar_err err = base_opts_size(out, &size);
    if (err != CELLAR_OK) { return err; }
    if (m->bus->obj.forked) { return CELLAR_E_FORKED; }
    const uint64_t until_ns = base_until_ns(wait_ms);
    bus_run r = { .m = m };
    do {
        err = bus_take_claim(m, until_ns, &r);
    } while (err == CELLAR_OK && !bus_take_filter(&r));
    return err == CELLAR_OK ? base_opts_out(out, &r.seen, sizeof r.seen) : err;
}

/* Let the hold of a claim end `ms` from now; 0: as the group. */
static cellar_err bus_extend(const bus_claim *claim, int64_t ms, int64_t now, bus_after *a)
    SYNC_HOLDS(BUS)
{
    if (claim->copy == NULL) { return CELLAR_E_LOST; }
    if (ms == 0) { ms = claim->copy->group->o.visibility_ms; }
    bus_hold(claim->copy, base_add_sat(now, ms), a);
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_bus_settle(cellar_bus_member *m, uint64_t delivery,
                                        cellar_bus_verdict verdict, int64_t ms)
{
    const bool extend = verdict == CELLAR_BUS_EXTEND;
    if (m == NULL || m->fn != NULL || (unsigned)verdict > CELLAR_BUS_EXTEND || ms < 0 ||
        ms > BUS_DELAY_MAX_MS) {
        return CELLAR_E_INVAL;
    }
    cellar_bus *b = m->bus;
    if (b->obj.forked) { return CELLAR_E_FORKED; }
    const int64_t now = bus_now(b);
    cellar_err err = CELLAR_E_NOT_FOUND;
    bus_after a;
    bus_after_init(&a);
    sync_take(BUS, &b->lock);
    bus_claim *claim = bus_claim_of(m, delivery);
    if (claim != NULL && extend) {
        err = bus_extend(claim, ms, now, &a);
    } else if (claim != NULL) {
        err = bus_unclaim(m, claim, bus_fate_of(verdict), ms, now, &a) ? CELLAR_OK
                                                                       : CELLAR_E_LOST;
    }
    sync_drop(BUS, &b->lock);
    bus_settle(b, &a);
    return err == CELLAR_OK && !extend ? bus_commit(b) : err;
}

BASE_SIZE_END
