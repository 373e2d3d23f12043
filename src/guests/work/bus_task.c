/* SPDX-License-Identifier: MIT
 *
 * bus_task: a member that makes a task of each message.
 *
 * WALK       message -> claim without a hold -> submit -> the task ends -> ack, or reject
 *            pool full: the message is DELAYED and the member parked, both for BUS_FULL_MS or until
 *            a task of the member ends     pool closed: the member is parked for good
 * INVARIANTS A ticket belongs to the task from the submit until bus_task_told, which comes once for
 *            each. `running` of the bus and `tasks` of the member count it: both stay until then.
 * LOCKING    bus_types.h. Submit and bus_task_told come without a lock.
 * SEE ALSO   task_submit.h */
#include "work/bus.h"
#include "work/task_submit.h"

BASE_SIZE_BEGIN

#define BUS_FULL_MS 100

typedef struct bus_ticket {
    task_told told;         /* first field */
    cellar_bus_member *m;
    uint64_t delivery;
} bus_ticket;

static bus_fate bus_task_fate(cellar_task_state state)
{
    switch (state) {
    case CELLAR_TASK_SUCCEEDED: return BUS_ACK;
    case CELLAR_TASK_FAILED:
    case CELLAR_TASK_CANCELLED:
    case CELLAR_TASK_EXPIRED: return BUS_REJECT;
    case CELLAR_TASK_WAITING:
    case CELLAR_TASK_SCHEDULED:
    case CELLAR_TASK_QUEUED:
    case CELLAR_TASK_RUNNING:
    case CELLAR_TASK_RETRY: break;
    }
    return BUS_RETURN; /* by a drain of the pool */
}

/* Settle the message of a task that ended. */
static void bus_task_told(task_told *told, cellar_task_state state)
{
    bus_ticket *k = (bus_ticket *)(void *)told; /* its first field */
    cellar_bus_member *m = k->m;
    cellar_bus *b = m->bus;
    const int64_t now = bus_now(b);
    bus_after a;
    bus_after_init(&a);
    sync_take(BUS, &b->lock);
    bus_claim *claim = bus_claim_of(m, k->delivery);
    if (claim != NULL) {
        (void)bus_unclaim(m, claim, bus_task_fate(state), 0, now, &a);
    } else { /* the member left */
        m->group->count[STATS_BUS_LATE]++;
    }
    bus_has_ended(m, &a);
    a.ring = b->tasks != NULL; /* this thread may be the one of the journal: it must not wait */
    sync_drop(BUS, &b->lock);
    base_free(&b->obj.account, BASE_MOD_STORE, k, sizeof *k);
    bus_settle(b, &a);
    (void)base_sub_ar(&b->running, 1u);
    sync_wake(&b->running, INT32_MAX);
}

CELLAR_PRIVATE cellar_bus_verdict bus_task_run(const cellar_bus_message *seen, void *ctx)
{
    cellar_bus_member *m = ctx;
    cellar_bus *b = m->bus;
    cellar_submit_opts o = cellar_submit_opts_default();
    const cellar_task_item item = { m->task, seen->body, seen->body_len, &o };
    bus_ticket *k = base_alloc(&b->obj.account, BASE_MOD_STORE, sizeof *k, NULL);
    m->submitted = CELLAR_E_NOMEM;
    if (k == NULL) { return CELLAR_BUS_RETRY; }
    *k = (bus_ticket){ .told.fn = bus_task_told, .m = m, .delivery = seen->delivery };
    o.tag = seen->key;
    o.trace = seen->trace;
    (void)base_add_ar(&b->running, 1u);
    m->submitted = task_submit(m->pool, &item, &k->told, NULL);
    if (m->submitted == CELLAR_OK) { return CELLAR_BUS_ACK; }
    (void)base_sub_ar(&b->running, 1u); /* the scope of this call counts there, too */
    base_free(&b->obj.account, BASE_MOD_STORE, k, sizeof *k);
    return CELLAR_BUS_RETRY;
}

CELLAR_PRIVATE void bus_task_ran(cellar_bus_member *m, bus_claim *claim, int64_t now, bus_after *a)
{
    if (m->submitted == CELLAR_OK) { return; }
    const bool too_big = m->submitted == CELLAR_E_TOOBIG;
    m->closed = m->submitted == CELLAR_E_CLOSED || m->submitted == CELLAR_E_FORKED;
    m->full = !m->closed && !too_big;
    m->group->full = m->group->full || m->full;
    m->tasks--;
    m->returned = m->full ? claim->copy : NULL;
    (void)bus_unclaim(m, claim, too_big ? BUS_REJECT : BUS_RETURN, m->full ? BUS_FULL_MS : 0, now,
                      a);
}

BASE_SIZE_END
