/* SPDX-License-Identifier: MIT
 *
 * work: tasks, messages and schedules, in time and in bytes.
 *
 * FIGURES    work_task     empty tasks a second, 16 bytes of payload: one thread submits, one runs.
 *                          Reference `condvar`: a ring under a mutex with two condition variables,
 *                          which copies its payload as well
 *            work_task_bytes  bytes of a delayed task without its payload; second half of a pool
 *            work_late     us from the due time of a delayed task to its start, 99th percentile
 *            work_publish  messages a second of 64 bytes: one thread publishes, one handles
 *            work_cron     us for the next instant of a schedule, its look-up included; 2,000
 *                          random expressions in Europe/Berlin
 *            The rest is in work_journal.c.
 * WALK       Rounds; both sides of a ratio have their turn in each, every second round backwards.
 * CHECKED    Each task and each message runs once. */
#include "bench/suites/work.h"

#include "bench/harness/json.h"

#if BENCH_HAVE_CELLAR
#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/harness/host.h"
#include "bench/harness/trace.h"
#include "cellar.h"
#include "cellar_bus.h"
#include "cellar_schedule.h"
#include "cellar_task.h"

#define WORK_TASKS 500000u
#define WORK_RING 65536u
#define WORK_PAYLOAD 16u
#define WORK_LATE 2000u
#define WORK_LATE_MS 5000u
#define WORK_MESSAGES 500000u
#define WORK_EXPRESSIONS 2000u

int work_say(const char *subject, const char *shape, const char *metric, const char *clock,
             double *values, uint32_t rounds, uint64_t bad)
{
    suite_say("work", subject, shape, metric, values, rounds, clock, bad != 0 ? "bad" : NULL);
    host_beat();
    return bad != 0 ? CELL_WRONG : CELL_OK;
}

uint32_t work_count(const cell_options *o, uint32_t count) { return o->quick ? count / 10 : count; }

static uint32_t work_rounds(const cell_options *o, uint32_t most)
{
    return o->rounds < most ? o->rounds : most;
}

/* ---- the usual queue ---- */

typedef void work_job_fn(const void *payload, size_t len, void *ctx);

typedef struct work_job {
    work_job_fn *fn;
    void *payload, *ctx;
    size_t len;
} work_job;

typedef struct work_queue {
    pthread_mutex_t mutex;
    pthread_cond_t more, room;
    size_t head, count;
    bool stop;
    work_job ring[WORK_RING];
} work_queue;

static bool work_queue_submit(work_queue *q, work_job_fn *fn, void *ctx, const void *payload,
                              size_t len)
{
    void *copy = malloc(len);
    if (copy == NULL) { return false; }
    memcpy(copy, payload, len);
    pthread_mutex_lock(&q->mutex);
    while (q->count == WORK_RING) { pthread_cond_wait(&q->room, &q->mutex); }
    q->ring[(q->head + q->count++) % WORK_RING] = (work_job){ fn, copy, ctx, len };
    pthread_mutex_unlock(&q->mutex);
    pthread_cond_signal(&q->more);
    return true;
}

static void *work_queue_worker(void *arg)
{
    work_queue *q = arg;
    for (;;) {
        pthread_mutex_lock(&q->mutex);
        while (q->count == 0 && !q->stop) { pthread_cond_wait(&q->more, &q->mutex); }
        if (q->count == 0) { break; }
        const work_job j = q->ring[q->head];
        q->head = (q->head + 1) % WORK_RING;
        q->count--;
        pthread_mutex_unlock(&q->mutex);
        pthread_cond_signal(&q->room);
        j.fn(j.payload, j.len, j.ctx);
        free(j.payload);
    }
    pthread_mutex_unlock(&q->mutex);
    return NULL;
}

/* ---- empty tasks ---- */

static void work_usual_fn(const void *payload, size_t len, void *ctx)
{
    (void)payload;
    (void)len;
    ++*(uint64_t *)ctx;
}

/* Return millions of tasks a second; 0 if not each ran. */
static double work_usual_round(uint32_t count)
{
    static work_queue q = { .mutex = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER,
                            .room = PTHREAD_COND_INITIALIZER };
    uint64_t ran = 0, payload[WORK_PAYLOAD / 8] = { 0 };
    pthread_t worker;
    q.stop = false;
    if (pthread_create(&worker, NULL, work_queue_worker, &q) != 0) { return 0; }
    const uint64_t from = host_wall_ns();
    uint64_t bad = 0;
    for (uint32_t i = 0; i < count; i++) {
        payload[0] = i;
        bad += !work_queue_submit(&q, work_usual_fn, &ran, payload, sizeof payload);
    }
    pthread_mutex_lock(&q.mutex);
    q.stop = true;
    pthread_mutex_unlock(&q.mutex);
    pthread_cond_broadcast(&q.more);
    pthread_join(worker, NULL);
    return ran == count && bad == 0 ? (double)count * 1e3 / (double)(host_wall_ns() - from) : 0;
}

static cellar_verdict work_task_fn(const cellar_task *t, void *ctx)
{
    (void)t;
    ++*(uint64_t *)ctx;
    return cellar_verdict_ok();
}

static cellar_pool *work_pool(uint32_t workers, cellar_task_fn fn, void *ctx)
{
    cellar_pool_config cfg = cellar_pool_config_default();
    cellar_pool *p = NULL;
    cfg.workers = workers;
    cfg.queue_cap = WORK_RING;
    cfg.on_full = CELLAR_POOL_BLOCK;
    cfg.block_timeout_ms = 60000;
    if (cellar_pool_open(&cfg, &p) != CELLAR_OK) { return NULL; }
    if (cellar_task_register(p, "task", fn, ctx, NULL) != CELLAR_OK) {
        cellar_pool_close(p);
        return NULL;
    }
    return p;
}

static double work_task_round(uint32_t count)
{
    uint64_t ran = 0, payload[WORK_PAYLOAD / 8] = { 0 }, bad = 0;
    cellar_pool *p = work_pool(1, work_task_fn, &ran);
    if (p == NULL) { return 0; }
    const uint64_t from = host_wall_ns();
    for (uint32_t i = 0; i < count; i++) {
        payload[0] = i;
        bad += cellar_task_submit(p, "task", payload, sizeof payload, NULL, NULL) != CELLAR_OK;
    }
    bad += cellar_pool_drain(p, CELLAR_DRAIN_ALL, 60000, NULL) != CELLAR_OK;
    const uint64_t ns = host_wall_ns() - from;
    cellar_pool_close(p);
    return ran == count && bad == 0 ? (double)count * 1e3 / (double)ns : 0;
}

static void work_say_rate(const char *subject, const char *shape, const char *metric,
                          const char *unit, const double *mops, uint32_t rounds, const char *vs,
                          const double *ratio)
{
    suite_say_rate(&(suite_rate){
        .bench = "work", .subject = subject, .workload = shape, .metric = metric,
        .clock = "wall", .unit = unit, .threads = 2, .rounds = rounds, .c2c_ns = host_c2c_ns(),
        .mops = mops, .vs = vs, .ratio = ratio });
    host_beat();
}

static int work_tasks(const cell_options *o)
{
    double ours[SUITE_ROUNDS_MAX], usual[SUITE_ROUNDS_MAX], ratio[SUITE_ROUNDS_MAX];
    const uint32_t rounds = work_rounds(o, 11), count = work_count(o, WORK_TASKS);
    for (uint32_t n = 0; n < rounds; n++) {
        for (uint32_t side = 0; side < 2; side++) {
            if ((side ^ (n & 1)) == 0) {
                ours[n] = work_task_round(count);
            } else {
                usual[n] = work_usual_round(count);
            }
        }
        if (ours[n] <= 0 || usual[n] <= 0) { return CELL_WRONG; }
        ratio[n] = ours[n] / usual[n];
        host_beat();
    }
    work_say_rate("cellar", "empty16", "work_task", "Mtasks", ours, rounds, NULL, NULL);
    work_say_rate("cellar", "empty16", "work_task", "Mtasks", ours, rounds, "condvar", ratio);
    work_say_rate("condvar", "empty16", "work_task", "Mtasks", usual, rounds, NULL, NULL);
    return CELL_OK;
}

/* ---- delayed tasks ---- */

static double work_heap_bytes(void)
{
    const struct mallinfo2 m = mallinfo2();
    return (double)m.uordblks + (double)m.hblkhd;
}

static int work_task_bytes(void)
{
    uint64_t ran = 0, bad = 0, payload[WORK_PAYLOAD / 8] = { 0 };
    cellar_submit_opts o = cellar_submit_opts_default();
    cellar_pool *p = work_pool(1, work_task_fn, &ran);
    if (p == NULL) { return CELL_WRONG; }
    double before = 0;
    for (uint32_t i = 0; i < WORK_RING; i++) {
        if (i == WORK_RING / 2) { before = work_heap_bytes(); }
        o.delay_ms = 3600000 + i;
        bad += cellar_task_submit(p, "task", payload, sizeof payload, &o, NULL) != CELLAR_OK;
    }
    double bytes = rint((work_heap_bytes() - before) / (WORK_RING - WORK_RING / 2)) - WORK_PAYLOAD;
    cellar_pool_close(p);
    return work_say("cellar", "delayed64k", "work_task_bytes", NULL, &bytes, 1, bad + ran);
}

typedef struct work_lateness {
    double us[WORK_LATE];
    uint64_t due_ns[WORK_LATE];
    uint32_t count;
} work_lateness;

static cellar_verdict work_late_fn(const cellar_task *t, void *ctx)
{
    const uint64_t now = host_wall_ns();
    work_lateness *l = ctx;
    uint32_t i;
    memcpy(&i, t->payload, sizeof i);
    l->us[l->count++] = ((double)now - (double)l->due_ns[i]) / 1e3;
    return cellar_verdict_ok();
}

/* Submit tasks with delays that spread over the time; return the 99th percentile in us. */
static double work_late_round(work_lateness *l, uint32_t count, uint32_t span_ms, uint64_t *bad)
{
    uint64_t state = 7;
    cellar_submit_opts o = cellar_submit_opts_default();
    cellar_pool *p = work_pool(1, work_late_fn, l);
    if (p == NULL) { return NAN; }
    l->count = 0;
    for (uint32_t i = 0; i < count; i++) {
        o.delay_ms = 20 + (int64_t)(trace_random(&state) % span_ms);
        l->due_ns[i] = host_wall_ns() + (uint64_t)o.delay_ms * 1000000u;
        *bad += cellar_task_submit(p, "task", &i, sizeof i, &o, NULL) != CELLAR_OK;
    }
    *bad += cellar_pool_drain(p, CELLAR_DRAIN_ALL, span_ms + 5000, NULL) != CELLAR_OK;
    cellar_pool_close(p);
    *bad += l->count != count;
    return cell_quantile(l->us, l->count, 0.99);
}

static int work_late(const cell_options *o)
{
    static work_lateness l;
    double p99[3];
    const uint32_t rounds = o->quick ? 1 : 3;
    uint64_t bad = 0;
    for (uint32_t n = 0; n < rounds; n++) {
        p99[n] = work_late_round(&l, work_count(o, WORK_LATE), work_count(o, WORK_LATE_MS), &bad);
        if (isnan(p99[n])) { return CELL_WRONG; }
        host_beat();
    }
    return work_say("cellar", "delayed2k", "work_late", "wall", p99, rounds, bad);
}

/* ---- messages ---- */

static cellar_verdict work_message_fn(const cellar_task *t, void *ctx)
{
    (void)t;
    ++*(uint64_t *)ctx;
    return cellar_verdict_ok();
}

/* Return millions of messages a second; 0 if not each was handled. */
static double work_publish_round(uint32_t count)
{
    static const char body[64];
    uint64_t ran = 0, bad = 0;
    cellar_pool_config cfg = cellar_pool_config_default();
    cellar_bus_group_config group = cellar_bus_group_config_default();
    cellar_pool *p = NULL;
    cfg.workers = 1;
    cfg.block_timeout_ms = 60000;
    group.on_full = CELLAR_BUS_FULL_BLOCK;
    group.max_messages = cfg.queue_cap = 65536;
    cfg.on_full = CELLAR_POOL_BLOCK;
    if (cellar_pool_open(&cfg, &p) != CELLAR_OK) { return 0; }
    bad += cellar_bus_group_add(p, "mail", NULL, work_message_fn, &ran, &group) != CELLAR_OK;
    bad += cellar_bus_route(p, "user.*.mail", "mail", CELLAR_BUS_AMQP, true) != CELLAR_OK;
    const uint64_t from = host_wall_ns();
    for (uint32_t i = 0; i < count && bad == 0; i++) {
        bad += cellar_bus_publish(p, "user.7.mail", body, sizeof body, NULL) != CELLAR_OK;
    }
    bad += cellar_pool_drain(p, CELLAR_DRAIN_ALL, 60000, NULL) != CELLAR_OK;
    const uint64_t ns = host_wall_ns() - from;
    cellar_pool_close(p);
    return ran == count && bad == 0 ? (double)count * 1e3 / (double)ns : 0;
}

static int work_publish(const cell_options *o)
{
    double mops[SUITE_ROUNDS_MAX];
    const uint32_t rounds = work_rounds(o, 9), count = work_count(o, WORK_MESSAGES);
    for (uint32_t n = 0; n < rounds; n++) {
        mops[n] = work_publish_round(count);
        if (mops[n] <= 0) { return CELL_WRONG; }
        host_beat();
    }
    work_say_rate("cellar", "body64", "work_publish", "Mmessages", mops, rounds, NULL, NULL);
    return CELL_OK;
}

/* ---- schedules ---- */

static void work_expression(uint64_t *state, char *text, size_t cap)
{
    static const char *const days[4] = { "*", "1-5", "1", "MON,THU" };
    const unsigned minute = (unsigned)(trace_random(state) % 60);
    const unsigned hour = (unsigned)(trace_random(state) % 24);
    const unsigned day = 1 + (unsigned)(trace_random(state) % 28);
    switch (trace_random(state) % 4) {
    case 0: snprintf(text, cap, "%u %u * * %s", minute, hour, days[minute % 4]); break;
    case 1: snprintf(text, cap, "*/%u * * * *", 1 + minute / 2); break;
    case 2: snprintf(text, cap, "%u %u %u * *", minute, hour, day); break;
    default: snprintf(text, cap, "%u */%u %u %u *", minute, 1 + hour, day, 1 + day % 12); break;
    }
}

static int work_cron(const cell_options *o)
{
    double us[SUITE_ROUNDS_MAX];
    const uint32_t rounds = work_rounds(o, 21);
    uint64_t state = 11, bad = 0;
    cellar_pool *s;
    cellar_pool_config cfg = cellar_pool_config_default();
    char name[16], expr[64];
    if (cellar_pool_open(&cfg, &s) != CELLAR_OK) { return CELL_WRONG; }
    bad += cellar_task_register(s, "job", work_task_fn, NULL, NULL) != CELLAR_OK;
    for (uint32_t i = 0; i < WORK_EXPRESSIONS; i++) {
        cellar_schedule_spec so = cellar_schedule_spec_default();
        so.task = "job";
        so.cron = expr;
        so.zone = "Europe/Berlin";
        so.paused = 1;
        snprintf(name, sizeof name, "job%u", i);
        work_expression(&state, expr, sizeof expr);
        bad += cellar_schedule_add(s, name, &so) != CELLAR_OK;
    }
    for (uint32_t n = 0; n < rounds; n++) {
        const uint64_t from = host_thread_cpu_ns();
        for (uint32_t i = 0; i < WORK_EXPRESSIONS; i++) {
            int64_t next;
            size_t found;
            snprintf(name, sizeof name, "job%u", i);
            bad += cellar_schedule_next(s, name, &next, 1, &found) != CELLAR_OK || found != 1;
        }
        us[n] = (double)(host_thread_cpu_ns() - from) / WORK_EXPRESSIONS / 1e3;
    }
    cellar_pool_close(s);
    if (bad == WORK_EXPRESSIONS * (rounds + 1)) {
        json_say("work", "cellar", "cron2k", "skip", "no zone database (tzdata)");
        return CELL_OK;
    }
    return work_say("cellar", "cron2k", "work_cron", "cpu", us, rounds, bad);
}

static int work_run(const cell_options *o)
{
    printf("\nwork\n");
    int status = work_task_bytes() | work_late(o) | work_cron(o);
    if (host_cpu_count() < 2) {
        json_say("work", "cellar", NULL, "skip", "one processor");
    } else {
        status |= work_tasks(o) | work_publish(o);
    }
    return status | work_journal_run(o);
}
#endif

SUITE_OF_LIBRARY(work, "tasks, messages, schedules", work_run, false);
