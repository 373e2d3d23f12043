/* SPDX-License-Identifier: MIT
 *
 * Aim:    A message is delivered once at a time and ends once in each group, an item of a batch
 *         ends once, a firing runs once; no waiting call hangs: while messages are published,
 *         taken, acknowledged, lost by holds and by members that leave; items are added, flushed
 *         and drained; schedules fire and are replaced. A read of a namespace with a batcher is
 *         never older than a write that returned. The scenarios must catch the mutants bus.*,
 *         batch.*, behind.* and sched.*.
 * Method: Each message, item and run has a row of a table. Where no time has to pass,
 *         base_sim_no_rescue turns a lost wake-up into a failure. At rest the counters must add
 *         up. */
#include "tests/concurrency/sim/scenarios.h"

#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "cellar_admin.h"
#include "cellar_batch.h"
#include "cellar_bus.h"
#include "cellar_load.h"
#include "cellar_schedule.h"
#include "cellar_task.h"
#include "tests/support/settings.h"
#include "work/sched.h"

#define WORK_LONG_MS INT64_C(3600000)

/* ---- bus_rows: functions and takes, lanes, blocked publishers, a drain ---- */

#define BUS_ROWS 8u
#define BUS_GROUPS 2u

typedef struct bus_row { /* of a message in a group */
    uint32_t inside, ended;
} bus_row;

static struct {
    cellar_pool *p;
    bus_row row[BUS_GROUPS][BUS_ROWS];
    uint32_t rows;        /* messages accepted */
    uint32_t publishers;  /* that have ended */
    bool ordered;
    uint32_t key_inside[BUS_GROUPS][2];
} bus;

static const char *const bus_group_name[] = { "left", "right" };

SIM_FIBER(bus_publisher)
{
    static const char *const keys[] = { "a", "b" };
    for (uint64_t i = 1 + base_sim_below(3); i > 0; i--) {
        const uint32_t n = bus.rows++;
        BASE_SIM_CHECK(n < BUS_ROWS);
        BASE_SIM_CHECK(cellar_bus_publish(bus.p, keys[n % 2], &n, sizeof n, NULL) == CELLAR_OK);
    }
    if (++bus.publishers != 2) { return; }
    cellar_drain_report report = cellar_drain_report_default();
    BASE_SIM_CHECK(cellar_pool_drain(bus.p, CELLAR_DRAIN_ALL, WORK_LONG_MS, &report) == CELLAR_OK);
    BASE_SIM_CHECK(report.abandoned == 0 && report.still_running == 0);
}

/* Handle a message: it is in no other hand, and with an ordered group no other one of its key. */
static cellar_verdict bus_handle(const cellar_task *t, void *group)
{
    const uint32_t g = (uint32_t)(uintptr_t)group;
    uint32_t n;
    BASE_SIM_CHECK(t->payload_len == sizeof n);
    memcpy(&n, t->payload, sizeof n);
    bus_row *r = &bus.row[g][n];
    BASE_SIM_CHECK(r->inside++ == 0 && r->ended == 0);
    BASE_SIM_CHECK(bus.key_inside[g][n % 2]++ == 0 || !bus.ordered);
    base_sim_point("sim.handle");
    bus.key_inside[g][n % 2]--;
    r->inside--;
    if (base_sim_below(4) == 0) { return cellar_verdict_retry(); }
    r->ended++;
    return cellar_verdict_ok();
}

SIM_FIBER(bus_taker)
{
    const cellar_task *t;
    uint32_t n;
    cellar_err err;
    while ((err = cellar_task_take(bus.p, "right", WORK_LONG_MS, WORK_LONG_MS, &t, 1, &n)) ==
           CELLAR_OK) {
        BASE_SIM_CHECK(n == 1);
        const cellar_verdict v = bus_handle(t, (void *)1);
        BASE_SIM_CHECK(cellar_task_settle(t, v) == CELLAR_OK);
    }
    BASE_SIM_CHECK(err == CELLAR_E_CLOSED);
}

SIM_SCENARIO(bus_rows, "a message ends once in each group")
{
    cellar_bus_group_config o = cellar_bus_group_config_default();
    cellar_pool_config cfg = { .struct_size = sizeof cfg, .workers = 2,
                               .block_timeout_ms = WORK_LONG_MS };
    memset(&bus, 0, sizeof bus);
    BASE_SIM_CHECK(cellar_pool_open(&cfg, &bus.p) == CELLAR_OK);
    bus.ordered = base_sim_below(2) == 0;
    o.ordered = bus.ordered;
    o.max_deliver = 255;
    o.visibility_ms = WORK_LONG_MS;
    if (base_sim_below(2) == 0) {
        o.max_messages = 1 + (uint32_t)base_sim_below(2);
        o.on_full = CELLAR_BUS_FULL_BLOCK;
    }
    for (uint32_t g = 0; g < BUS_GROUPS; g++) {
        BASE_SIM_CHECK(cellar_bus_group_add(bus.p, "q", bus_group_name[g],
                                            g == 0 ? bus_handle : NULL, (void *)0, &o) ==
                       CELLAR_OK);
    }
    BASE_SIM_CHECK(cellar_bus_route(bus.p, "#", "q", CELLAR_BUS_AMQP, true) == CELLAR_OK);
    base_sim_no_rescue();
    base_sim_spawn_many(2, "publisher", bus_publisher, NULL);
    base_sim_spawn_many(2, "taker", bus_taker, NULL);
    base_sim_join_all();
    for (uint32_t i = 0; i < bus.rows; i++) {
        BASE_SIM_CHECK(bus.row[0][i].ended == 1 && bus.row[1][i].ended == 1);
    }
    while (cellar_pool_close(bus.p) != CELLAR_OK) { }
}

/* ---- bus_groups: groups come and go while a publish sleeps ---- */

static void groups_add(const char *queue, const char *group, uint32_t max_messages)
{
    cellar_bus_group_config o = cellar_bus_group_config_default();
    o.max_messages = max_messages;
    o.on_full = CELLAR_BUS_FULL_BLOCK;
    BASE_SIM_CHECK(cellar_bus_group_add(bus.p, queue, group, NULL, NULL, &o) == CELLAR_OK);
}

/* The last one of publisher and changer drains the pool. */
static void groups_over(void)
{
    if (++bus.publishers != 2) { return; }
    BASE_SIM_CHECK(cellar_bus_group_remove(bus.p, "goes") == CELLAR_OK);
    BASE_SIM_CHECK(cellar_pool_drain(bus.p, CELLAR_DRAIN_ALL, WORK_LONG_MS, NULL) == CELLAR_OK);
}

SIM_FIBER(groups_publisher)
{
    for (uint32_t n = 0; n < 3; n++) {
        BASE_SIM_CHECK(cellar_bus_publish(bus.p, "k", &n, sizeof n, NULL) == CELLAR_OK);
        bus.rows++;
    }
    groups_over();
}

/* The place of "goes" in the table of names serves "other" for a time. */
SIM_FIBER(groups_changer)
{
    for (int i = 0; i < 2; i++) {
        cellar_pool_stats st = cellar_pool_stats_default();
        BASE_SIM_CHECK(cellar_bus_group_remove(bus.p, "goes") == CELLAR_OK);
        groups_add("r", "other", 0);
        base_sim_point("sim.other");
        BASE_SIM_CHECK(cellar_pool_stats_get(bus.p, "other", &st) == CELLAR_OK);
        BASE_SIM_CHECK(st.submitted == 0); /* no key has a route to its queue */
        BASE_SIM_CHECK(cellar_bus_group_remove(bus.p, "other") == CELLAR_OK);
        groups_add("q", "goes", 0);
    }
    groups_over();
}

SIM_FIBER(groups_taker)
{
    const cellar_task *t;
    uint32_t n;
    cellar_err err;
    while ((err = cellar_task_take(bus.p, "stays", WORK_LONG_MS, WORK_LONG_MS, &t, 1, &n)) ==
           CELLAR_OK) {
        BASE_SIM_CHECK(n == 1);
        memcpy(&n, t->payload, sizeof n);
        BASE_SIM_CHECK(bus.row[0][n].ended++ == 0);
        base_sim_point("sim.taken");
        BASE_SIM_CHECK(cellar_task_settle(t, cellar_verdict_ok()) == CELLAR_OK);
    }
    BASE_SIM_CHECK(err == CELLAR_E_CLOSED);
}

SIM_SCENARIO(bus_groups, "a message enters no other queue's group")
{
    cellar_pool_config cfg = { .struct_size = sizeof cfg, .workers = 1,
                               .block_timeout_ms = WORK_LONG_MS };
    memset(&bus, 0, sizeof bus);
    BASE_SIM_CHECK(cellar_pool_open(&cfg, &bus.p) == CELLAR_OK);
    groups_add("q", "stays", 1);
    groups_add("q", "goes", 0);
    BASE_SIM_CHECK(cellar_bus_route(bus.p, "#", "q", CELLAR_BUS_AMQP, true) == CELLAR_OK);
    base_sim_no_rescue();
    base_sim_spawn("publisher", groups_publisher, NULL);
    base_sim_spawn("changer", groups_changer, NULL);
    base_sim_spawn("taker", groups_taker, NULL);
    base_sim_join_all();
    for (uint32_t i = 0; i < bus.rows; i++) { BASE_SIM_CHECK(bus.row[0][i].ended == 1); }
    while (cellar_pool_close(bus.p) != CELLAR_OK) { }
}

/* ---- batches ---- */

#define BATCH_ROWS 16u

typedef struct batch_item { /* the bytes of an item */
    uint32_t row, adder;
} batch_item;

static struct {
    cellar_batcher *b;
    uint32_t rows, accepted, done_count;
    uint32_t done[BATCH_ROWS];
    bool ok[BATCH_ROWS];
    uint32_t group_inside[2];
    uint32_t tracks; /* most calls of a group at a time */
    bool coalesces;
} batch;

static batch_item batch_item_of(const void *data)
{
    batch_item it;
    memcpy(&it, data, sizeof it);
    return it;
}

static cellar_err batch_flush(const cellar_batch *call, void *ctx)
{
    const uint32_t group = *call->group == 'b';
    uint32_t next[3] = { 0, 0, 0 };
    (void)ctx;
    BASE_SIM_CHECK(batch.group_inside[group]++ < batch.tracks);
    for (size_t i = 0; i < call->item_count; i++) {
        const batch_item it = batch_item_of(call->items[i].data);
        BASE_SIM_CHECK(batch.done[it.row] == 0 && !batch.ok[it.row]);
        /* in the order of its adds */
        BASE_SIM_CHECK(batch.coalesces || batch.tracks > 1 || it.row >= next[it.adder]);
        next[it.adder] = it.row + 1;
    }
    base_sim_point("sim.flush");
    const bool fails = base_sim_below(3) == 0;
    for (size_t i = 0; i < call->item_count; i++) {
        batch.ok[batch_item_of(call->items[i].data).row] = !fails;
    }
    batch.group_inside[group]--;
    return fails ? CELLAR_E_IO : CELLAR_OK;
}

static void batch_done(const cellar_batch_result *result, void *ctx)
{
    const uint32_t row = batch_item_of(result->data).row;
    (void)ctx;
    BASE_SIM_CHECK(batch.done[row]++ == 0);
    BASE_SIM_CHECK((result->verdict == CELLAR_BATCH_OK) == batch.ok[row]);
    batch.done_count++;
}

static void batch_adder(void *arg)
{
    const uint32_t adder = (uint32_t)(uintptr_t)arg;
    const char *group = adder == 2 ? "b" : "a";
    for (uint64_t k = 1 + base_sim_below(4); k > 0; k--) {
        const batch_item it = { batch.rows++, adder };
        cellar_batch_add_opts o = { .struct_size = sizeof o, .done = batch_done };
        if (batch.coalesces && base_sim_below(2) == 0) {
            o.coalesce_key = "k";
            o.coalesce_key_len = 1;
        }
        const cellar_err err = cellar_batch_add(batch.b, group, &it, sizeof it, &o);
        BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_E_CLOSED);
        batch.accepted += err == CELLAR_OK;
        if (base_sim_below(4) == 0) {
            const cellar_err flushed = cellar_batcher_flush(batch.b, group);
            BASE_SIM_CHECK(flushed == CELLAR_OK || flushed == CELLAR_E_NOT_FOUND);
        }
    }
}

static void batch_open(cellar_batcher_config *cfg)
{
    cellar_host_config host = cellar_host_config_default();
    memset(&batch, 0, sizeof batch);
    batch.coalesces = base_sim_below(2) == 0;
    batch.tracks = cfg->parallel != 0 ? cfg->parallel : 1;
    cfg->host = &host;
    cfg->workers = 2;
    BASE_SIM_CHECK(cellar_batcher_open(cfg, batch_flush, NULL, &batch.b) == CELLAR_OK);
}

static cellar_batcher_stats batch_figures(void)
{
    cellar_batcher_stats st = cellar_batcher_stats_default();
    BASE_SIM_CHECK(cellar_batcher_stats_get(batch.b, &st) == CELLAR_OK);
    BASE_SIM_CHECK(st.added == st.ok + st.failed + st.replaced + st.abandoned + st.items);
    return st;
}

static void batch_shut(const cellar_batch_report *r)
{
    BASE_SIM_CHECK(batch_figures().added == batch.accepted && batch_figures().items == 0);
    BASE_SIM_CHECK(r->live == r->ok + r->failed + r->replaced + r->abandoned + r->still_running);
    BASE_SIM_CHECK(batch.done_count == batch.accepted);
    while (cellar_batcher_close(batch.b, NULL) != CELLAR_OK) { } /* time may jump to its deadline */
}

static void batch_ends(uint32_t tracks)
{
    cellar_batch_report r = cellar_batch_report_default();
    cellar_batcher_config cfg = { .struct_size = sizeof cfg, .parallel = tracks,
                                  .linger_ms = 1 + (int64_t)base_sim_below(3) };
    cfg.max_items = 1 + (uint32_t)base_sim_below(3);
    cfg.on_failure = (cellar_batch_on_failure)base_sim_below(3);
    cfg.retry_base_ms = cfg.retry_cap_ms = 1;
    cfg.max_attempts = 2;
    batch_open(&cfg);
    base_sim_spawn("adder-1", batch_adder, (void *)0);
    base_sim_spawn("adder-2", batch_adder, (void *)1);
    base_sim_spawn("adder-3", batch_adder, (void *)2);
    if (base_sim_below(2) == 0) { base_sim_join_all(); }
    const cellar_err err = cellar_batcher_drain(batch.b, (int64_t)base_sim_below(8), &r);
    BASE_SIM_CHECK(err == CELLAR_OK || (err == CELLAR_E_BUSY && r.still_running != 0));
    base_sim_join_all();
    while (batch_figures().items != 0) { base_sleep_ns(1000000); }
    batch_shut(&r);
}

SIM_SCENARIO(batch_done, "an item of a batch ends once") { batch_ends(1); }

SIM_SCENARIO(batch_tracks, "the same with two calls of a group") { batch_ends(2); }

/* ---- write_behind: no read is older than a write that returned, and the source gets the last
 * write of a key last ---- */

static struct {
    cellar *store, *ns;
    cellar_batcher *b;
    uint64_t db, written;  /* the source; the last write that returned. 0: deleted */
    uint64_t next, reads;
    bool deleted;          /* the last write is a delete */
    bool calling;
} behind;

static cellar_err behind_write(const cellar_write *w, size_t count, void *ctx)
{
    (void)ctx;
    BASE_SIM_CHECK(count == 1 && !behind.calling);
    behind.calling = true;
    base_sim_point("sim.write");
    behind.calling = false;
    if (base_sim_below(3) == 0) { return CELLAR_E_IO; }
    uint64_t value = 0;
    if (w->deleted == 0) { memcpy(&value, w->value, sizeof value); }
    BASE_SIM_CHECK(value == 0 || value > behind.db); /* one writer: in its order */
    behind.db = value;
    return CELLAR_OK;
}

static cellar_err behind_load(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    const uint64_t seen = behind.db;
    (void)key;
    (void)key_len;
    (void)ctx;
    base_sim_point("sim.load");
    return seen == 0 ? cellar_load_absent(ld) : cellar_load_value(ld, &seen, sizeof seen);
}

SIM_FIBER(behind_writer)
{
    for (uint64_t n = 2 + base_sim_below(4); n > 0; n--) {
        const uint64_t value = ++behind.next;
        if (base_sim_below(4) == 0) {
            behind.deleted = true; /* reads may see it from here on */
            const cellar_err err = cellar_delete(behind.ns, "k", 1);
            BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_MISS);
        } else {
            const cellar_err err = cellar_set(behind.ns, "k", 1, &value, sizeof value, NULL);
            BASE_SIM_CHECK(err == CELLAR_OK);
            behind.deleted = false;
        }
        behind.written = value;
    }
}

SIM_FIBER(behind_reader)
{
    for (uint64_t n = 1 + base_sim_below(4); n > 0; n--) {
        const uint64_t least = behind.written;
        const bool may_miss = behind.deleted || least == 0;
        uint64_t seen = 0;
        cellar_result r = { .struct_size = sizeof r, .buf = &seen, .buf_cap = sizeof seen };
        if (base_sim_below(2) == 0) { BASE_SIM_CHECK(cellar_clear(behind.ns) == CELLAR_OK); }
        const cellar_err err =
            cellar_get_or_load(behind.ns, "k", 1, NULL, behind_load, NULL, &r);
        cellar_result_free(&r);
        BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_ABSENT);
        BASE_SIM_CHECK(err == CELLAR_OK ? may_miss || seen >= least
                                        : may_miss || behind.deleted || behind.next > least);
        behind.reads++;
    }
}

SIM_FIBER(behind_ticker)
{
    for (uint64_t n = 2 + base_sim_below(6); n > 0; n--) {
        BASE_SIM_CHECK(cellar_batcher_flush(behind.b, NULL) == CELLAR_OK);
        (void)cellar_tick(behind.b, 1000, NULL);
    }
}

SIM_SCENARIO(write_behind, "no read is older than a write")
{
    static const uint8_t secret[32] = { 6 };
    uint64_t seen = 0;
    size_t len = 0;
    memset(&behind, 0, sizeof behind);
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 1u << 20, .host.no_threads = 1,
                     .tuning.hash_key = secret, .tuning.stripes = 1 };
    cellar_batcher_config batch_cfg = { .struct_size = sizeof batch_cfg, .host = &cfg.host,
                                        .on_failure = CELLAR_BATCH_RETRY, .max_attempts = 1000 };
    batch_cfg.retry_base_ms = batch_cfg.retry_cap_ms = 1;
    base_sim_calm(true);
    BASE_SIM_CHECK(settings_open(&cfg, &behind.store) == CELLAR_OK);
    BASE_SIM_CHECK(cellar_namespace_open(behind.store, "v", NULL, &behind.ns) == CELLAR_OK);
    BASE_SIM_CHECK(cellar_namespace_batch(behind.ns, &batch_cfg, behind_write, NULL, NULL,
                                          &behind.b) == CELLAR_OK);
    base_sim_calm(false);
    base_sim_spawn("writer", behind_writer, NULL);
    base_sim_spawn("reader", behind_reader, NULL);
    base_sim_spawn("ticker", behind_ticker, NULL);
    base_sim_join_all();
    base_sim_calm(true);
    const cellar_err err = cellar_get(behind.ns, "k", 1, &seen, sizeof seen, &len);
    BASE_SIM_CHECK(cellar_namespace_close(behind.ns) == CELLAR_OK);
    BASE_SIM_CHECK(cellar_close(behind.store) == CELLAR_OK); /* writes what is left */
    BASE_SIM_CHECK(behind.db == (behind.deleted ? 0 : behind.written));
    BASE_SIM_CHECK(err != CELLAR_OK || seen == behind.db);
    base_sim_calm(false);
}

SIM_SCENARIO(batch_block, "adds that wait for room never hang")
{
    cellar_batcher_config cfg = cellar_batcher_config_default();
    cellar_batch_report r = cellar_batch_report_default();
    cfg.max_items = 1; /* only the clock flushes larger batches that are not full */
    cfg.queue_items = 1 + (uint32_t)base_sim_below(2);
    cfg.block_timeout_ms = WORK_LONG_MS;
    batch_open(&cfg);
    base_sim_no_rescue();
    base_sim_spawn("adder-1", batch_adder, (void *)0);
    base_sim_spawn("adder-2", batch_adder, (void *)1);
    base_sim_spawn("adder-3", batch_adder, (void *)2);
    base_sim_join_all();
    BASE_SIM_CHECK(cellar_batcher_drain(batch.b, WORK_LONG_MS, &r) == CELLAR_OK);
    batch_shut(&r);
}

/* ---- schedules ---- */

#define SCHED_ROWS 8u
#define SCHED_DUES 64u

typedef struct sched_row { /* a schedule; a replacement has a row of its own */
    uint32_t inside, due_count, freed;
    bool accepted;
    bool once, retries; /* an instant; an attempt returned RETRY: it may fire again after a pause */
    int64_t due[SCHED_DUES]; /* of its runs that no trigger made */
} sched_row;

static struct {
    cellar_pool *s;
    sched_row row[SCHED_ROWS];
    uint32_t rows, max_running, ended;
    bool sleeps;   /* some jobs sleep */
} sched;

static void sched_row_free(void *row, size_t len, void *ctx)
{
    sched_row *r = row;
    (void)len, (void)ctx;
    BASE_SIM_CHECK(r->inside == 0 && r->freed++ == 0);
}

/* The payload is the row. Some attempts return RETRY. A run still ends once. */
static cellar_verdict sched_job(const cellar_task *f, void *ctx)
{
    sched_row *r = (sched_row *)(uintptr_t)f->payload;
    (void)ctx;
    BASE_SIM_CHECK(r->freed == 0 && ++r->inside <= sched.max_running);
    if (f->triggered == 0 && f->attempt == 1) {
        for (uint32_t i = 0; i < r->due_count; i++) {
            BASE_SIM_CHECK(r->due[i] != f->due_wall_ms || (r->once && r->retries));
        }
        r->retries = false;
        BASE_SIM_CHECK(r->due_count < SCHED_DUES && base_wall_ms() >= f->due_wall_ms);
        r->due[r->due_count++] = f->due_wall_ms;
    }
    base_sim_point("sim.job");
    if (sched.sleeps && base_sim_below(3) == 0) { base_sleep_ns(base_sim_below(4) * 1000000); }
    r->inside--;
    sched.ended++;
    if (!sched.sleeps || base_sim_below(4) != 0) { return cellar_verdict_ok(); }
    r->retries = r->retries || f->triggered == 0;
    return cellar_verdict_retry();
}

static void sched_open(const cellar_pool_config *cfg)
{
    cellar_task_opts o = { .struct_size = sizeof o, .base_ms = 1, .max_attempts = 2 };
    BASE_SIM_CHECK(cellar_pool_open(cfg, &sched.s) == CELLAR_OK);
    BASE_SIM_CHECK(cellar_task_register(sched.s, "job", sched_job, NULL, &o) == CELLAR_OK);
}

static void sched_add(cellar_schedule_conflict conflict)
{
    sched_row *r = &sched.row[sched.rows++];
    cellar_schedule_spec o = { .struct_size = sizeof o, .task = "job", .payload = r,
                               .payload_len = sizeof *r, .free_fn = sched_row_free,
                               .max_running = sched.max_running,
                               .overlap = (cellar_overlap)base_sim_below(2) };
    o.coalesce = (cellar_coalesce)base_sim_below(3);
    o.phase = (cellar_phase)base_sim_below(3);
    o.conflict = conflict;
    const bool once = base_sim_below(4) == 0;
    r->once = once;
    const int64_t ms = (int64_t)base_sim_below(4);
    if (once) { o.at_wall_ms = base_wall_ms() + ms; }
    if (!once) { o.interval_ms = 1 + ms; }
    const cellar_err err = cellar_schedule_add(sched.s, "s", &o);
    r->accepted = err == CELLAR_OK;
    BASE_SIM_CHECK(err == CELLAR_OK ||
                   err == (conflict == CELLAR_CONFLICT_KEEP ? CELLAR_EXISTS : CELLAR_E_BUSY));
}

SIM_FIBER(sched_changer)
{
    for (int i = 0; i < 3; i++) {
        base_sleep_ns(base_sim_below(4) * 1000000);
        cellar_err err = CELLAR_OK;
        switch (base_sim_below(4)) {
        case 0: sched_add((cellar_schedule_conflict)base_sim_below(3)); break;
        case 1: err = cellar_schedule_trigger(sched.s, "s"); break;
        case 2: err = cellar_schedule_pause(sched.s, "s", true); break;
        default: err = cellar_schedule_pause(sched.s, "s", false); break;
        }
        BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_E_NOT_FOUND || err == CELLAR_E_BUSY);
    }
}

SIM_FIBER(sched_ticker)
{
    for (int i = 0; i < 5; i++) {
        BASE_SIM_CHECK(cellar_tick(sched.s, 1000, NULL) >= CELLAR_OK);
        base_sleep_ns(base_sim_below(3) * 1000000);
    }
}

/* Return a figure of the schedules. */
static uint64_t sched_count(stats_schedule which)
{
    sync_take(QUEUE, &sched.s->lock);
    const uint64_t n = sched.s->sched.count[which];
    sync_drop(QUEUE, &sched.s->lock);
    return n;
}

SIM_SCENARIO(sched_fire, "each firing runs once")
{
    memset(&sched, 0, sizeof sched);
    sched.sleeps = true;
    sched.max_running = 1 + (uint32_t)base_sim_below(2);
    cellar_host_config host = { .struct_size = sizeof host, .no_threads = base_sim_below(2) == 0 };
    cellar_pool_config cfg = { .struct_size = sizeof cfg, .host = &host, .workers = 2 };
    sched_open(&cfg);
    sched_add(CELLAR_CONFLICT_REPLACE);
    base_sim_spawn_many(2, "changer", sched_changer, NULL);
    base_sim_spawn_many(2, "ticker", sched_ticker, NULL);
    base_sim_join_all();
    const cellar_err err = cellar_schedule_remove(sched.s, "s");
    BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_E_NOT_FOUND);
    const uint64_t started = sched_count(STATS_SCHEDULE_STARTED); /* none begins after it */
    while (sched_count(STATS_SCHEDULE_STARTED) != sched_count(STATS_SCHEDULE_ENDED) ||
           sched_count(STATS_SCHEDULE_WAITING) != 0) {
        (void)cellar_tick(sched.s, 1000, NULL);
        base_sleep_ns(1000000);
    }
    BASE_SIM_CHECK(sched_count(STATS_SCHEDULE_STARTED) == started);
    BASE_SIM_CHECK(sched.ended >= started && sched.s->sched.table == NULL);
    BASE_SIM_CHECK(wheel_ring_empty(&sched.s->sched.list.ring) && sched.s->live == 0);
    while (cellar_pool_close(sched.s) != CELLAR_OK) { } /* time may jump to its deadline */
    for (uint32_t i = 0; i < sched.rows; i++) {
        BASE_SIM_CHECK(sched.row[i].freed == sched.row[i].accepted);
    }
}

/* ---- sched_close: a close waits for the runs that began, and none begins after it ---- */

SIM_SCENARIO(sched_close, "a close waits for runs and never hangs")
{
    memset(&sched, 0, sizeof sched);
    sched.max_running = 2;
    cellar_pool_config cfg = { .struct_size = sizeof cfg, .workers = 2,
                               .close_timeout_ms = WORK_LONG_MS };
    sched_open(&cfg);
    base_sim_no_rescue();
    sched_add(CELLAR_CONFLICT_REPLACE);
    for (uint64_t n = base_sim_below(3); n > 0; n--) {
        const cellar_err err = cellar_schedule_trigger(sched.s, "s");
        BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_E_BUSY || err == CELLAR_E_NOT_FOUND);
    }
    BASE_SIM_CHECK(cellar_pool_close(sched.s) == CELLAR_OK);
    BASE_SIM_CHECK(sched.row[0].inside == 0 && sched.row[0].freed == 1);
}
