/* SPDX-License-Identifier: MIT
 *
 * Aim:    The promises of a journal hold when the process is killed. Each accepted task runs at
 *         least once, and not after its final state was seen. Attempts rise by one, or by one for
 *         each kill. A task that kills its process is a dead letter after max_attempts. A chain, a
 *         submit of several tasks and a message in its two groups are there as a whole. A kill may
 *         come after an attempt was counted and before its function: so many kills end any task.
 * Method: A child submits, runs, retries and looks in several threads until SIGKILL, at any moment.
 *         Shared memory holds what it was told. The last child lives until nothing is left.
 *         WORK_KILL_CYCLES=n: n kills at each level. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/random.h"
#include "cellar_bus.h"
#include "cellar_observe.h"
#include "cellar_task.h"
#include "tests/support/bus_send.h"
#include "tests/support/folder.h"
#include "tests/support/t.h"
#include "tests/support/task_calls.h"

#define TASKS 400000u
#define ATTEMPTS 250u
#define POISON_ATTEMPTS 3u
#define MANY 8u

enum { PLAIN, RETRIES, FAILS, POISON, CHAIN, MESSAGE };

typedef struct fact { /* of one task, or of a message in one group */
    _Atomic uint32_t kind, accepted, runs, attempt, life, final;
    _Atomic uint32_t together; /* of the first task of a submit: their number */
    _Atomic uint32_t born;     /* life of the submit */
    _Atomic uint64_t hi, lo;
} fact;

typedef struct oracle {
    _Atomic uint32_t next, calls, life, looked, finals;
    char said[256];
    fact of[TASKS];
} oracle;

static oracle *o;
static char folder[T_FOLDER_MAX], path[T_FOLDER_MAX + 8];
static cellar_pool *p;
static cellar_journal_level level;
static bool last_life;

static void fail(const char *what, uint32_t n)
{
    const fact *f = &o->of[n];
    snprintf(o->said, sizeof o->said, "%s: task %u of kind %u, %u runs, attempt %u", what, n,
             f->kind, f->runs, f->attempt);
    _exit(3);
}

/* ---- tasks ---- */

static cellar_verdict runs(const cellar_task *t, void *ctx)
{
    uint32_t n;
    memcpy(&n, t->payload, sizeof n);
    n += ctx != NULL; /* of the second group */
    fact *f = &o->of[n];
    if (f->kind == MESSAGE) {
        f->lo = t->id.lo;
        f->hi = t->id.hi;
    }
    if (f->final != 0) { fail("ran after its end", n); }
    const uint32_t kills = o->life - f->life;
    if (t->attempt <= f->attempt || t->attempt > f->attempt + 1 + kills) {
        fail("attempts are wrong", n);
    }
    f->life = o->life;
    f->attempt = t->attempt;
    f->runs++;
    if (f->kind == CHAIN && n % 2 == 1 && o->of[n - 1].runs == 0) { fail("overtook", n); }
    atomic_fetch_add(&o->calls, 1);
    if (f->kind == POISON) {
        (void)kill(getpid(), SIGKILL);
        for (;;) { pause(); }
    }
    if (f->kind == FAILS) { return cellar_verdict_fail(); }
    return f->kind == RETRIES && t->attempt == 1 ? cellar_verdict_retry() : cellar_verdict_ok();
}

static void told(const cellar_task_id *id, uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        o->of[first + i].hi = id[i].hi;
        o->of[first + i].lo = id[i].lo;
        o->of[first + i].accepted = 1;
    }
}

/* Publish a message to two groups. */
static cellar_err publishes(uint32_t first)
{
    for (uint32_t i = first; i < first + 2; i++) {
        o->of[i].kind = MESSAGE;
        o->of[i].life = o->of[i].born = o->life;
    }
    o->of[first].together = 2;
    const cellar_err err = bus_send(p, "q", &first, sizeof first, NULL);
    if (err == CELLAR_OK) { o->of[first].accepted = o->of[first + 1].accepted = 1; }
    return err;
}

static void submits(base_rng *r)
{
    cellar_task_item item[MANY];
    cellar_task_id id[MANY];
    uint32_t payload[MANY];
    const uint64_t what = base_rng_below(r, 40);
    const uint32_t kind = what < 20 ? PLAIN : what < 28 ? RETRIES : what < 30 ? FAILS : CHAIN;
    const uint32_t count = kind == CHAIN ? 2 : 1 + (uint32_t)base_rng_below(r, MANY);
    const uint32_t first = atomic_fetch_add(&o->next, MANY); /* even */
    if (first + MANY > TASKS) { return; }
    for (uint32_t i = 0; i < count && what < 36; i++) {
        payload[i] = first + i;
        o->of[first + i].kind = kind;
        o->of[first + i].life = o->of[first + i].born = o->life;
        o->of[first].together = count;
        item[i] = (cellar_task_item){ "t", &payload[i], sizeof payload[i], NULL };
    }
    cellar_err err;
    if (what >= 36) {
        err = publishes(first);
    } else if (kind == CHAIN) {
        err = cellar_task_submit_many(p, item, count, CELLAR_LINKS_CHAIN, id);
    } else if (count == 1) {
        err = cellar_task_submit(p, "t", &payload[0], sizeof payload[0], NULL, id);
    } else {
        err = cellar_task_submit_many(p, item, count, CELLAR_LINKS_NONE, id);
    }
    if (err == CELLAR_OK && what < 36) { told(id, first, count); }
    if (err != CELLAR_OK && err != CELLAR_E_BUSY) { fail("a submit failed", first); }
    if (err == CELLAR_E_BUSY) { usleep(1000); }
}

static void *submitter(void *arg)
{
    base_rng r;
    base_rng_seed(&r, t_.seed + o->life * 7 + (uint64_t)(uintptr_t)arg);
    while (atomic_load(&o->next) + MANY < TASKS) { submits(&r); }
    return NULL;
}

static int state_of(const fact *f)
{
    cellar_task_status st = cellar_task_status_default();
    const cellar_err err =
        task_status(p, (cellar_task_id){ f->hi, f->lo }, &st);
    return err == CELLAR_OK ? (int)st.state : (int)err;
}

/* Return whether the kills since the submit may have used up all attempts, its own or, in a chain,
 * those of the task before it. */
static bool used_up(const fact *f, int state)
{
    return o->life - f->born >= (f->kind == POISON ? POISON_ATTEMPTS : ATTEMPTS) &&
           (state == CELLAR_TASK_FAILED || f->kind == CHAIN);
}

/* Note final states. A state that was final stays so. */
static void look(uint32_t n)
{
    fact *f = &o->of[n];
    if (f->accepted == 0 || f->hi == 0) { return; } /* a message has its id from its first run */
    const int state = state_of(f);
    const bool final = state == CELLAR_E_NOT_FOUND || state == CELLAR_TASK_FAILED ||
                       state == CELLAR_TASK_SUCCEEDED; /* its slot is about to be freed */
    atomic_fetch_add(&o->looked, 1);
    if (final && f->runs == 0 && !used_up(f, state)) { fail("ended without a run", n); }
    if (!final && f->final != 0) { fail("came back", n); }
    if (final) {
        f->final = 1;
        atomic_fetch_add(&o->finals, 1);
    }
}

/* ---- lives ---- */

static void child_opens(void)
{
    cellar_pool_config config = { .struct_size = sizeof config, .journal_path = path,
                                  .journal_level = level, .workers = 3, .queue_cap = 2000,
                                  .dead_cap = 1u << 20, .restore_rate = 1000000 };
    cellar_task_opts opts = { .struct_size = sizeof opts, .base_ms = 1, .max_attempts = ATTEMPTS };
    cellar_err err = cellar_pool_open(&config, &p);
    if (err == CELLAR_OK) { err = cellar_task_register(p, "t", runs, NULL, &opts); }
    cellar_bus_group_config group = { .struct_size = sizeof group, .max_deliver = ATTEMPTS };
    if (err == CELLAR_OK) { err = cellar_bus_group_add(p, "q", "left", runs, NULL, &group); }
    if (err == CELLAR_OK) { err = cellar_bus_group_add(p, "q", "right", runs, o, &group); }
    opts.max_attempts = POISON_ATTEMPTS;
    if (err == CELLAR_OK) { err = cellar_task_register(p, "poison", runs, NULL, &opts); }
    if (err != CELLAR_OK) {
        snprintf(o->said, sizeof o->said, "open: %s", cellar_code_name(err));
        _exit(2);
    }
}

static void look_at_all(void)
{
    const uint32_t end = atomic_load(&o->next);
    for (uint32_t n = 0; n < end && n < TASKS; n++) { look(n); }
}

/* All tasks of a submit ran, or none, accepted or not. */
static void all_or_none(uint32_t first)
{
    for (uint32_t i = 1; i < o->of[first].together; i++) {
        const bool same = (o->of[first + i].runs != 0) == (o->of[first].runs != 0);
        if (!same && !used_up(&o->of[first + i], CELLAR_TASK_FAILED)) {
            fail("is there without the others of its submit", first + i);
        }
    }
}

static void live_tasks_are_none(void)
{
    cellar_pool_stats st = cellar_pool_stats_default();
    do {
        usleep(2000);
        if (cellar_pool_stats_get(p, NULL, &st) != CELLAR_OK) { _exit(5); }
    } while (st.live != 0 || st.journal_pending != 0);
    look_at_all();
    for (uint32_t n = 0; n < atomic_load(&o->next) && n < TASKS; n++) {
        const fact *f = &o->of[n];
        all_or_none(n);
        if (f->accepted == 0) { continue; }
        const int state = state_of(f);
        const bool dead = state == CELLAR_TASK_FAILED, excused = used_up(f, state);
        if (f->final == 0 || (f->runs == 0 && !excused)) { fail("was lost", n); }
        if (dead != (f->kind == FAILS || f->kind == POISON) && !excused) { fail("wrong end", n); }
        if (f->kind == POISON && f->runs > POISON_ATTEMPTS) { fail("ran too often", n); }
    }
    _exit(cellar_pool_close(p) == CELLAR_OK ? 0 : 6);
}

static void child_lives(void)
{
    pthread_t t[2];
    base_rng r;
    child_opens();
    look_at_all();
    if (last_life) { live_tasks_are_none(); }
    base_rng_seed(&r, t_.seed + o->life * 13);
    if (base_rng_below(&r, 2) == 0) { /* it kills this process, and others after it */
        uint32_t n = atomic_fetch_add(&o->next, MANY);
        if (n < TASKS) {
            cellar_task_id id;
            o->of[n].kind = POISON;
            o->of[n].life = o->of[n].born = o->life;
            if (cellar_task_submit(p, "poison", &n, sizeof n, NULL, &id) == CELLAR_OK) {
                told(&id, n, 1);
            }
        }
    }
    for (uint32_t i = 0; i < 2; i++) {
        if (pthread_create(&t[i], NULL, submitter, (void *)(uintptr_t)(i + 1)) != 0) { _exit(5); }
    }
    for (;;) {
        const uint32_t end = atomic_load(&o->next);
        for (uint32_t i = 0; i < 100; i++) {
            look((uint32_t)base_rng_below(&r, end < TASKS ? end + 1 : TASKS));
        }
    }
}

/* Return whether the child left by itself. */
static bool life(base_rng *rng)
{
    const uint64_t enough = base_rng_below(rng, 600);
    int status = 0;
    pid_t ended = 0;
    atomic_store(&o->calls, 0);
    atomic_fetch_add(&o->life, 1);
    (void)fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0) { child_lives(); }
    T_REQUIRE(pid > 0);
    while ((last_life || atomic_load(&o->calls) < enough) && ended == 0) {
        ended = waitpid(pid, &status, WNOHANG);
        usleep(50);
    }
    if (ended == 0) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, &status, 0);
    }
    if (!T_CHECK(WIFEXITED(status) ? WEXITSTATUS(status) == 0 : WTERMSIG(status) == SIGKILL)) {
        printf("# life %u: the child ended with status %d: %s\n", o->life, status, o->said);
    }
    return WIFEXITED(status);
}

static void kills(uint64_t cycles)
{
#ifndef CELLAR_WITH_SQLITE
    T_SKIP("this build has no SQLite");
    return;
#endif
    base_rng rng;
    base_rng_seed(&rng, t_.seed);
    o = mmap(NULL, sizeof *o, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    T_REQUIRE(o != MAP_FAILED);
    t_folder(folder);
    snprintf(path, sizeof path, "%s/tasks", folder);
    last_life = false;
    bool left = false;
    for (uint64_t i = 0; i < cycles && !left; i++) { left = life(&rng); }
    last_life = !left;
    for (uint32_t i = 0; i < 1000 && !left; i++) { left = life(&rng); } /* until no poison is left */
    T_CHECK(left);
    uint32_t accepted = 0, poison = 0, retried = 0;
    for (uint32_t n = 0; n < TASKS; n++) {
        accepted += o->of[n].accepted;
        poison += o->of[n].accepted != 0 && o->of[n].kind == POISON;
        retried += o->of[n].attempt > 2;
    }
    printf("# %u lives, %u tasks accepted, %u of them kill, %u interrupted, %u looks\n", o->life,
           accepted, poison, retried, o->looked);
    T_CHECK(accepted > 0);
    t_wipe(folder);
    T_EQ_I64(munmap(o, sizeof *o), 0);
}

static uint64_t cycles_of(uint64_t usual)
{
    const char *n = getenv("WORK_KILL_CYCLES");
    return n != NULL ? strtoull(n, NULL, 10) : t_share(usual);
}

T_CASE(journal_kill9)
{
    level = CELLAR_JOURNAL_PROCESS;
    kills(cycles_of(100));
}

T_CASE(journal_kill9_sync)
{
    level = CELLAR_JOURNAL_SYNC;
    kills(cycles_of(100));
}

T_MAIN("work_kill")
