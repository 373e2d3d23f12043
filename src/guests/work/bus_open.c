/* SPDX-License-Identifier: MIT
 *
 * bus_open: open, tick, drain and close a bus.
 *
 * WALK       tick: see ticker.h
 *            drain: nothing is published any more -> wait until no copy is left
 *            close: nothing is delivered -> wait for code of the host that runs -> join both kinds
 *            of threads -> free
 * COMPLETION Each scope is left: after its function, or by the end of the thread inside it. The
 *            close waits for `running`; a worker between the queue and a scope is waited for by the
 *            join. A close that fails queues the members that it kept from running. */
#include <string.h>

#include "base/open_error.h"
#include "base/opts.h"
#include "base/random.h"
#include "base/service.h"
#include "work/bus.h"
#include "work/bus_journal.h"

BASE_SIZE_BEGIN

#define BUS_OPEN "cellar_bus_open"
#define BUS_TABLE_MAX 65536u

/* ---- the tick ---- */

/* Fire timers, and commit what they changed or an error left. */
static void bus_turn(void *bus, int64_t *next_ms)
{
    bus_fire(bus, next_ms);
    (void)bus_commit(bus);
}

WORK_TICKS(cellar_bus);
STATS_SERVICE(bus_service, work_tick, bus_figures, cellar_bus_stats, 0, "bus", STATS_BUSES, NULL)

/* ---- open ---- */

#define BUS_NUMBER(field, none, max, why) BASE_NUMBER(cellar_bus_config, field, none, 0, max, why)
static const base_number bus_numbers[] = {
    BUS_NUMBER(max_groups, 256, BUS_TABLE_MAX, "max_groups must be at most 65,536"),
    BUS_NUMBER(max_routes, 1024, BUS_TABLE_MAX, "max_routes must be at most 65,536"),
    BUS_NUMBER(max_members, 1024, BUS_TABLE_MAX, "max_members must be at most 65,536"),
    BUS_NUMBER(max_subscribers, 1024, BUS_TABLE_MAX, "max_subscribers must be at most 65,536"),
    BUS_NUMBER(workers, 4, 64, "workers must be at most 64"),
    BUS_NUMBER(max_message_bytes, UINT64_C(1) << 20, UINT64_C(1) << 30,
               "max_message_bytes must be at most 1 GiB"),
    BUS_NUMBER(close_timeout_ms, 5000, INT64_MAX, "close_timeout_ms must not be negative"),
    BUS_NUMBER(reserved0, 0, 0, "reserved0 must be 0"),
};

/* Copy and check the options of the caller. */
static cellar_err bus_config_in(const cellar_bus_config *cfg, cellar_bus_config *out,
                                cellar_host_config *host, char default_queue[CELLAR_NAME_MAX + 1])
{
    const cellar_err err = BASE_CONFIG_IN(cellar_bus_config, out, cfg, host, BUS_OPEN, "bus",
                                          BASE_NUMBERS(bus_numbers));
    if (err != CELLAR_OK || out->default_queue == NULL ||
        bus_name(out->default_queue, default_queue)) {
        return err;
    }
    return base_refuse(CELLAR_E_INVAL, BUS_OPEN, "default_queue must have 1 to 64 bytes");
}

static void bus_init(cellar_bus *b, const cellar_bus_config *cfg)
{
    b->ticker = (work_ticker){ .object = &b->obj, .lock = &b->lock, .fire = bus_turn,
                               .is_mine = bus_is_mine,
                               .pool = { .run = bus_run_job, .name = "cellar-bus" } };
    b->close_ms = cfg->close_timeout_ms;
    b->max_message_bytes = cfg->max_message_bytes;
    b->max_groups = cfg->max_groups;
    b->max_routes = cfg->max_routes;
    b->max_members = cfg->max_members;
    b->max_subscribers = cfg->max_subscribers;
    b->wake_ms = BASE_NEVER_MS;
    wheel_init(&b->wheel, bus_now(b));
}

CELLAR_API cellar_err cellar_bus_open(const cellar_bus_config *cfg, cellar_bus **out)
{
    if (out == NULL) { return base_refuse(CELLAR_E_INVAL, BUS_OPEN, "out must not be NULL"); }
    *out = NULL;
    cellar_bus_config full;
    cellar_host_config host;
    char default_queue[CELLAR_NAME_MAX + 1] = "";
    unsigned char secret[32];
    cellar_err err = bus_config_in(cfg, &full, &host, default_queue);
    if (err != CELLAR_OK) { return err; }
    err = CELLAR_E_NOMEM;
    const char *why = "no memory for the bus";
    cellar_bus *b = base_object_new(&bus_service.kind, &host, sizeof *b);
    if (b == NULL) { goto out; }
    bus_init(b, &full);
    memcpy(b->default_queue, default_queue, sizeof default_queue);
    why = "no random bytes from the kernel";
    if (!base_random_bytes(secret, sizeof secret)) { goto drop_object; }
    base_hash_key_init(&b->hash_key, BASE_HASH_FOLD, secret);
    why = work_ticker_init(&b->ticker, full.workers);
    if (why != NULL) { goto drop_object; }
    if (full.pool != NULL) {
        err = bus_journal_open(b, full.pool, &why);
        if (err != CELLAR_OK) { goto drop_ticker; }
        err = CELLAR_E_NOMEM;
    }
    why = work_ticker_start(&b->ticker, "cellar-bus");
    if (why != NULL) { goto drop_journal; }
    *out = b;
    return CELLAR_OK;
drop_journal:
    bus_journal_close(b);
drop_ticker:
    (void)work_ticker_end(&b->ticker);
drop_object:
    base_object_free(&b->obj);
out:
    return base_refuse(err, BUS_OPEN, why);
}

/* ---- drain ---- */

/* Wait until no copy is left, or until until_ns. */
static void bus_wait_empty(cellar_bus *b, uint64_t until_ns) SYNC_HOLDS(BUS)
{
    while (bus_live(b) != 0 && base_now_ns() < until_ns) {
        uint64_t wake_ns = until_ns;
        if (b->obj.no_threads) {
            int64_t wait_ms;
            sync_drop(BUS, &b->lock);
            (void)cellar_tick(b, 1000, &wait_ms);
            sync_take(BUS, &b->lock);
            if (wait_ms == 0 || bus_live(b) == 0) { continue; }
            wake_ns = base_now_ns() + (uint64_t)BASE_MIN(wait_ms, WORK_LOOK_MS) * 1000000u;
        }
        bus_sleep(b, &b->ended, &b->end_waiters, BASE_MIN(wake_ns, until_ns));
    }
}

CELLAR_API cellar_err cellar_bus_drain(cellar_bus *b, int64_t timeout_ms,
                                       cellar_bus_report *report)
{
    uint64_t from[STATS_BUS_COUNT], to[STATS_BUS_COUNT];
    size_t size;
    if (b == NULL || timeout_ms < 0) { return CELLAR_E_INVAL; }
    const cellar_err err = report != NULL ? base_opts_size(report, &size) : CELLAR_OK;
    if (err != CELLAR_OK) { return err; }
    if (b->obj.forked) { return CELLAR_E_FORKED; }
    const uint64_t until_ns = base_until_ns(timeout_ms);
    sync_take(BUS, &b->lock);
    const bool mine = bus_is_mine(b);
    if (!mine) {
        b->drained = true;
        (void)base_add_rlx(&b->ended, 1u);
        (void)base_add_rlx(&b->arrived, 1u);
        while (b->pending != 0) { bus_sleep(b, &b->ended, &b->end_waiters, UINT64_MAX); }
        bus_sum(b, from);
    }
    sync_drop(BUS, &b->lock);
    if (mine) { return CELLAR_E_DEADLOCK; }
    sync_wake(&b->ended, INT32_MAX); /* publishers that wait return, and takes look again */
    sync_wake(&b->arrived, INT32_MAX);
    sync_take(BUS, &b->lock);
    bus_wait_empty(b, until_ns);
    bus_sum(b, to);
    sync_drop(BUS, &b->lock);
    const cellar_err kept = bus_commit(b);
    for (uint32_t i = 0; i < STATS_BUS_PUBLISHED; i++) { to[i] -= from[i]; }
    const cellar_bus_report full = {
        .struct_size = sizeof full,
        .live = from[STATS_BUS_LIVE],
        .acked = to[STATS_BUS_ACKED],
        .dropped = to[STATS_BUS_DROPPED_NEW] + to[STATS_BUS_DROPPED_OLDEST] +
                   to[STATS_BUS_DROPPED_REMOVED],
        .dead = to[STATS_BUS_DEAD] - to[STATS_BUS_COPIES], /* copies: entered a dead queue */
        .expired = to[STATS_BUS_EXPIRED],
        .filtered = to[STATS_BUS_FILTERED],
        .left = to[STATS_BUS_LIVE],
    };
    if (report != NULL) { (void)base_opts_out(report, &full, sizeof full); }
    return full.left == 0 ? kept : CELLAR_E_TIMEOUT;
}

/* ---- close ---- */

static void bus_closing(cellar_bus *b, bool closing)
{
    bus_after a;
    bus_after_init(&a);
    base_pool_stop(&b->ticker.pool, closing);
    sync_take(BUS, &b->lock);
    b->closing = closing;
    for (bus_queue *q = b->queues; q != NULL && !closing; q = q->hh.next) {
        for (bus_group *g = q->groups; g != NULL; g = g->next) { bus_offer_all(g, &a); }
    }
    sync_drop(BUS, &b->lock);
    bus_settle(b, &a);
    bus_ring(b);
}

/* Free everything. */
static void bus_free_all(cellar_bus *b) SYNC_UNCHECKED
{
    BASE_TABLE_CHARGE(&b->obj.account, BASE_MOD_STORE);
    bus_after a;
    bus_after_init(&a);
    if (b->messages != NULL) { b->messages->prev->next = NULL; }
    a.ended = b->messages;
    bus_queue *q = b->queues;
    HASH_CLEAR(hh, b->queues);
    while (q != NULL) {
        bus_queue *next_queue = q->hh.next;
        for (bus_group *g = q->groups, *next; g != NULL; g = next) {
            next = g->next;
            if (g->members != NULL) {
                g->members->prev->next = a.left;
                a.left = g->members;
            }
            bus_settle(b, &a);
            bus_group_free(g);
        }
        base_free(&b->obj.account, BASE_MOD_STORE, q, sizeof *q);
        q = next_queue;
    }
    bus_settle(b, &a);
    for (bus_route *r = b->routes, *next; r != NULL; r = next) {
        next = r->next;
        base_free(&b->obj.account, BASE_MOD_STORE, r, sizeof *r);
    }
    for (bus_subscriber *s = b->subscribers, *next; s != NULL; s = next) {
        next = s->next;
        bus_subscriber_free(b, s);
    }
}

CELLAR_API cellar_err cellar_bus_close(cellar_bus *b)
{
    if (b == NULL || b->obj.forked) { return CELLAR_OK; }
    if (work_ticker_is_mine(&b->ticker)) { return CELLAR_E_DEADLOCK; }
    bus_closing(b, true);
    if (!work_wait_idle(&b->running, b->close_ms)) {
        bus_closing(b, false);
        return CELLAR_E_BUSY;
    }
    (void)work_ticker_end(&b->ticker); /* its jobs are the members */
    bus_journal_close(b);
    bus_free_all(b);
    base_object_free(&b->obj);
    return CELLAR_OK;
}

BASE_SIZE_END
