/* SPDX-License-Identifier: MIT
 *
 * tour_remote: three processes share a namespace, a load and a limit through one server.
 *
 * PICTURE    tour -- fork --> 3 workers, a store and a remote each --> server
 *                 \_ shared page: phase, counters, values read; CLIENT KILL once a second
 * PHASES     WRITE   mixed gets and sets of 1,000 keys, connections are killed
 *            COMPARE fence; each worker reads all keys, the tour reads them from the server
 *            HEAR    worker 0 sets, worker 1 notes when its memory loses the entry
 *            LOAD    8 threads of each worker request one cold key
 *            LIMIT   all workers check one key of a shared limiter
 * LIMITS     Connections are killed only at a server without password. */
#include "cli/tour_remote.h"

#include <stdlib.h>

#include "cli/cli.h"

#if defined(CELLAR_WITH_REMOTE)

#include <hiredis/hiredis.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cellar_load.h"
#include "cellar_observe.h"
#include "cellar_remote.h"
#include "cli/walk.h"

#define TOUR_REMOTE_KEYS 1000u
#define TOUR_REMOTE_OPERATIONS 33334u
#define TOUR_REMOTE_CHANGES 500u
#define TOUR_REMOTE_TIMES 100000u
#define TOUR_REMOTE_HOLD_MS 50

enum { TOUR_WRITE, TOUR_COMPARE, TOUR_HEAR, TOUR_LOAD, TOUR_LIMIT, TOUR_PHASES };

typedef struct tour_page { /* shared by all processes */
    _Atomic uint32_t begun[TOUR_PHASES], ended[TOUR_PHASES], go[TOUR_PHASES], failed;
    _Atomic uint64_t gets, memory_hits, server_hits, proofs, gaps, loads;
    _Atomic uint32_t turn;       /* HEAR: even: worker 1 reads, odd: worker 0 sets */
    _Atomic uint64_t set_ns, heard_ns;
    uint64_t late_ns[TOUR_REMOTE_CHANGES];
    uint64_t read[TOUR_REMOTE_PROCESSES][TOUR_REMOTE_KEYS];
    _Atomic uint32_t admitted;
    uint64_t when_ns[TOUR_REMOTE_TIMES];
    cellar_error_info why;       /* of worker 0: its server cannot be used */
} tour_page;

typedef struct tour_process {
    tour_page *page;
    uint32_t number;
    cellar *store, *ns;
    cellar_remote *r;
} tour_process;

static void tour_remote_pause_ms(int64_t ms)
{
    const struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };
    (void)nanosleep(&t, NULL);
}

static size_t tour_remote_key(char key[16], uint32_t i)
{
    return (size_t)snprintf(key, 16, "key:%u", i);
}

static bool tour_remote_wait_proven(const cellar_remote *r)
{
    for (int i = 0; i < 10000; i++) {
        if (cellar_remote_state_get(r) == CELLAR_REMOTE_PROVEN) { return true; }
        tour_remote_pause_ms(1);
    }
    return false;
}

/* Open a store with a shared namespace "tour". */
static bool tour_remote_open(tour_process *w, const char *url)
{
    return cellar_open(NULL, &w->store) == CELLAR_OK &&
           cellar_namespace_open(w->store, "tour", NULL, &w->ns) == CELLAR_OK &&
           cellar_remote_open(w->store, url, NULL, &w->r) == CELLAR_OK &&
           cellar_remote_attach(w->r, w->ns, NULL) == CELLAR_OK && tour_remote_wait_proven(w->r);
}

/* Keep the reason of a failed open for the parent. */
static void tour_remote_why(const tour_process *w)
{
    if (w->number != 0) { return; }
    w->page->why = cellar_error_info_default();
    (void)cellar_remote_last_error(w->r, &w->page->why);
}

static void tour_remote_close(tour_process *w)
{
    cellar_remote_close(w->r);
    cellar_close(w->store);
}

/* ---- the phases, in a worker ---- */

static bool tour_write(tour_process *w)
{
    uint64_t state = 88172645463325252u + w->number, value = 0, gets = 0, hits = 0;
    char key[16];
    for (uint32_t i = 0; i < TOUR_REMOTE_OPERATIONS; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        const size_t len = tour_remote_key(key, (uint32_t)(state >> 33) % TOUR_REMOTE_KEYS);
        if (state % 5 == 0) {
            value = (uint64_t)(w->number + 1) << 32 | i;
            (void)cellar_set(w->ns, key, len, &value, sizeof value, NULL);
        } else {
            hits += cellar_get(w->ns, key, len, &value, sizeof value, NULL) == CELLAR_OK;
            gets++;
        }
        if (i % 100 == 99) { tour_remote_pause_ms(9); }
    }
    cellar_remote_stats s = cellar_remote_stats_default();
    if (cellar_remote_stats_get(w->r, &s) != CELLAR_OK) { return false; }
    atomic_fetch_add(&w->page->gets, gets);
    atomic_fetch_add(&w->page->server_hits, s.hits);
    atomic_fetch_add(&w->page->memory_hits, hits > s.hits ? hits - s.hits : 0);
    return true;
}

/* Read all keys behind a fence. 0: absent. */
static bool tour_read_all(tour_process *w, uint64_t *out)
{
    char key[16];
    if (!tour_remote_wait_proven(w->r) || cellar_remote_fence(w->r, 5000) != CELLAR_OK) {
        return false;
    }
    for (uint32_t i = 0; i < TOUR_REMOTE_KEYS; i++) {
        const size_t len = tour_remote_key(key, i);
        out[i] = 0;
        const cellar_err err = cellar_get(w->ns, key, len, &out[i], sizeof out[i], NULL);
        if (err != CELLAR_OK && err != CELLAR_MISS) { return false; }
    }
    return true;
}

static void tour_on_heard(const cellar_event *e, void *ctx)
{
    (void)e;
    tour_page *p = ctx;
    atomic_store(&p->heard_ns, cli_clock_ns());
}

/* Wait for a turn. Return false after 10 s. */
static bool tour_wait_turn(tour_page *p, uint32_t turn)
{
    const uint64_t until = cli_clock_ns() + 10000000000u;
    while (atomic_load(&p->turn) != turn) {
        if (cli_clock_ns() > until) { return false; }
        (void)sched_yield();
    }
    return true;
}

static bool tour_hear_sets(tour_page *p, tour_process *w)
{
    for (uint32_t i = 0; i < TOUR_REMOTE_CHANGES; i++) {
        if (!tour_wait_turn(p, 2 * i + 1)) { return false; }
        atomic_store(&p->set_ns, cli_clock_ns());
        if (cellar_set(w->ns, "heard", 5, &i, sizeof i, NULL) != CELLAR_OK) { return false; }
    }
    return true;
}

static bool tour_hear_reads(tour_page *p, tour_process *w)
{
    uint64_t id, value;
    if (cellar_listener_add(w->ns, CELLAR_CAUSE_BIT(REMOTE), tour_on_heard, p, &id) != CELLAR_OK) {
        return false;
    }
    bool fine = true;
    for (uint32_t i = 0; fine && i < TOUR_REMOTE_CHANGES; i++) {
        fine = i == 0 ? cellar_set(w->ns, "heard", 5, &i, sizeof i, NULL) == CELLAR_OK
                      : cellar_get(w->ns, "heard", 5, &value, sizeof value, NULL) == CELLAR_OK;
        atomic_store(&p->heard_ns, 0);
        atomic_store(&p->turn, 2 * i + 1);
        const uint64_t until = cli_clock_ns() + 5000000000u;
        while (atomic_load(&p->heard_ns) == 0 && cli_clock_ns() < until) { (void)sched_yield(); }
        fine = fine && atomic_load(&p->heard_ns) != 0;
        p->late_ns[i] = atomic_load(&p->heard_ns) - atomic_load(&p->set_ns);
    }
    (void)cellar_listener_remove(w->ns, id);
    return fine;
}

static cellar_err tour_remote_load(struct cellar_load *load, const void *key, size_t key_len,
                                   void *ctx)
{
    (void)key;
    (void)key_len;
    tour_page *p = ctx;
    tour_remote_pause_ms(20);
    atomic_fetch_add(&p->loads, 1);
    return cellar_load_value(load, "loaded", 6);
}

static void *tour_cold_thread(void *arg)
{
    tour_process *w = arg;
    cellar_result r = cellar_result_default();
    if (cellar_get_or_load(w->ns, "cold", 4, NULL, tour_remote_load, w->page, &r) != CELLAR_OK) {
        atomic_store(&w->page->failed, 1);
    }
    cellar_result_free(&r);
    return NULL;
}

static bool tour_cold(tour_process *w)
{
    pthread_t thread[TOUR_REMOTE_THREADS];
    int started = 0;
    while (started < TOUR_REMOTE_THREADS &&
           pthread_create(&thread[started], NULL, tour_cold_thread, w) == 0) {
        started++;
    }
    for (int i = 0; i < started; i++) { (void)pthread_join(thread[i], NULL); }
    return started == TOUR_REMOTE_THREADS;
}

static bool tour_limit(tour_process *w)
{
    const cellar_rule rule =
        cellar_rule_token_bucket(TOUR_REMOTE_LIMIT, CELLAR_SECOND_NS, TOUR_REMOTE_BURST);
    const uint64_t until = cli_clock_ns() + 1000000000u;
    cellar_remote_limiter_opts o = cellar_remote_limiter_opts_default();
    cellar_remote_limiter *l;
    o.hold_ms = TOUR_REMOTE_HOLD_MS;
    if (cellar_remote_limiter_open(w->r, &rule, &o, &l) != CELLAR_OK) { return false; }
    while (cli_clock_ns() < until) {
        if (cellar_remote_limiter_check(l, "tour", 4, 1, NULL) == CELLAR_OK) {
            const uint32_t at = atomic_fetch_add(&w->page->admitted, 1);
            if (at < TOUR_REMOTE_TIMES) { w->page->when_ns[at] = cli_clock_ns(); }
        }
    }
    cellar_remote_limiter_close(l);
    return true;
}

static bool tour_remote_phase(tour_process *w, int phase)
{
    tour_page *p = w->page;
    switch (phase) {
    case TOUR_WRITE: return tour_write(w);
    case TOUR_COMPARE: return tour_read_all(w, p->read[w->number]);
    case TOUR_HEAR:
        return w->number == 0 ? tour_hear_sets(p, w) : w->number != 1 || tour_hear_reads(p, w);
    case TOUR_LOAD: return tour_cold(w);
    default: return tour_limit(w);
    }
}

static void tour_remote_worker(tour_page *p, uint32_t number, const char *url)
{
    tour_process w = { .page = p, .number = number };
    bool fine = prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && tour_remote_open(&w, url);
    if (!fine) { tour_remote_why(&w); }
    for (int phase = 0; phase < TOUR_PHASES; phase++) {
        atomic_fetch_add(&p->begun[phase], 1);
        while (atomic_load(&p->go[phase]) == 0) { tour_remote_pause_ms(1); }
        fine = fine && tour_remote_phase(&w, phase);
        if (!fine) { atomic_store(&p->failed, 1); }
        atomic_fetch_add(&p->ended[phase], 1);
    }
    cellar_remote_stats s = cellar_remote_stats_default();
    if (fine && cellar_remote_stats_get(w.r, &s) == CELLAR_OK) {
        atomic_fetch_add(&p->proofs, s.proofs);
        atomic_fetch_add(&p->gaps, s.gaps);
    }
    if (w.store != NULL) { tour_remote_close(&w); }
    _exit(0);
}

/* ---- the tour's own process ---- */

static int tour_remote_earlier(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static uint64_t tour_worst_window(uint64_t *when_ns, uint32_t count)
{
    uint32_t first = 0, most = 0;
    qsort(when_ns, count, sizeof *when_ns, tour_remote_earlier);
    for (uint32_t i = 0; i < count; i++) {
        while (when_ns[i] - when_ns[first] >= TOUR_REMOTE_WINDOW_MS * 1000000u) { first++; }
        most = i - first + 1 > most ? i - first + 1 : most;
    }
    return most;
}

/* Connect to the server of `url` to kill connections. NULL: it needs more than an address. */
static redisContext *tour_remote_control(const char *url)
{
    char at[300];
    redisContext *c = NULL;
    if (strncmp(url, "unix://", 7) == 0) {
        (void)snprintf(at, sizeof at, "%.*s", (int)strcspn(url + 7, "?"), url + 7);
        c = redisConnectUnix(at);
    } else if (strncmp(url, "redis://", 8) == 0) {
        (void)snprintf(at, sizeof at, "%.*s", (int)strcspn(url + 8, "?/"), url + 8);
        char *port = strrchr(at, ':');
        if (port != NULL) { *port++ = '\0'; }
        c = redisConnect(at, port != NULL ? (int)strtol(port, NULL, 10) : 6379);
    }
    if (c != NULL && c->err == 0) { return c; }
    if (c != NULL) { redisFree(c); }
    return NULL;
}

/* Wait a millisecond for the workers. Return false if a signal has ended one. */
static bool tour_remote_wait(const pid_t *pid)
{
    tour_remote_pause_ms(1);
    for (uint32_t i = 0; i < TOUR_REMOTE_PROCESSES; i++) {
        siginfo_t s = { .si_pid = 0 };
        if (waitid(P_PID, (id_t)pid[i], &s, WEXITED | WNOHANG | WNOWAIT) == 0 && s.si_pid != 0 &&
            s.si_code != CLD_EXITED) {
            return false;
        }
    }
    return true;
}

/* Let the workers begin a phase, and wait until all have ended it. In WRITE kill a connection once
 * a second. Return false if a worker was lost. */
static bool tour_remote_run_phase(tour_page *p, const pid_t *pid, int phase, redisContext *control,
                                  uint64_t *killed)
{
    uint32_t ms = 0;
    while (atomic_load(&p->begun[phase]) < TOUR_REMOTE_PROCESSES) {
        if (!tour_remote_wait(pid)) { return false; }
    }
    atomic_store(&p->go[phase], 1);
    for (; atomic_load(&p->ended[phase]) < TOUR_REMOTE_PROCESSES; ms++) {
        if (!tour_remote_wait(pid)) { return false; }
        if (phase != TOUR_WRITE || control == NULL || ms % 1000 != 500) { continue; }
        redisReply *r = redisCommand(control, "CLIENT KILL TYPE %s SKIPME yes",
                                     *killed % 2 == 0 ? "pubsub" : "normal");
        if (r != NULL) {
            *killed += r->type == REDIS_REPLY_INTEGER && r->integer > 0;
            freeReplyObject(r);
        }
    }
    return true;
}

/* Compare what the workers read with the server, read by a process without entries in memory. */
static bool tour_remote_compare(tour_page *p, const char *url, tour_remote_result *r)
{
    static uint64_t there[TOUR_REMOTE_KEYS];
    tour_process fresh = { .page = p };
    const bool fine = tour_remote_open(&fresh, url) && tour_read_all(&fresh, there);
    for (uint32_t i = 0; fine && i < TOUR_REMOTE_KEYS; i++) {
        for (uint32_t n = 0; n < TOUR_REMOTE_PROCESSES; n++) {
            r->compared++;
            r->stale += p->read[n][i] != there[i];
        }
    }
    if (fresh.store != NULL) { tour_remote_close(&fresh); }
    return fine;
}

static void tour_remote_sum(tour_page *p, tour_remote_result *r)
{
    const uint32_t admitted = atomic_load(&p->admitted);
    r->operations = (uint64_t)TOUR_REMOTE_PROCESSES * TOUR_REMOTE_OPERATIONS;
    r->gets = atomic_load(&p->gets);
    r->memory_hits = atomic_load(&p->memory_hits);
    r->server_hits = atomic_load(&p->server_hits);
    qsort(p->late_ns, TOUR_REMOTE_CHANGES, sizeof p->late_ns[0], tour_remote_earlier);
    r->changes = TOUR_REMOTE_CHANGES;
    r->heard_p50_ns = p->late_ns[TOUR_REMOTE_CHANGES / 2];
    r->heard_p99_ns = p->late_ns[TOUR_REMOTE_CHANGES * 99 / 100];
    r->proofs = atomic_load(&p->proofs);
    r->gaps = atomic_load(&p->gaps);
    r->loads = atomic_load(&p->loads);
    r->worst_window = tour_worst_window(
        p->when_ns, admitted < TOUR_REMOTE_TIMES ? admitted : TOUR_REMOTE_TIMES);
    r->window_bound = TOUR_REMOTE_BURST + (uint64_t)TOUR_REMOTE_LIMIT *
                                              (TOUR_REMOTE_WINDOW_MS + TOUR_REMOTE_HOLD_MS) / 1000;
}

/* Run the workers through all phases. Return false if one of them failed. */
static bool tour_remote_workers(tour_page *p, const char *url, tour_remote_result *r)
{
    pid_t pid[TOUR_REMOTE_PROCESSES];
    uint32_t started = 0;
    (void)fflush(NULL);
    for (; started < TOUR_REMOTE_PROCESSES; started++) {
        pid[started] = fork();
        if (pid[started] == 0) { tour_remote_worker(p, started, url); }
        if (pid[started] < 0) { break; }
    }
    bool fine = started == TOUR_REMOTE_PROCESSES;
    redisContext *control = tour_remote_control(url);
    for (int phase = 0; fine && phase < TOUR_PHASES; phase++) {
        const uint64_t from = cli_clock_ns();
        fine = tour_remote_run_phase(p, pid, phase, control, &r->killed);
        if (phase == TOUR_WRITE) { r->took_ns = cli_clock_ns() - from; }
        if (phase == TOUR_COMPARE && fine) { fine = tour_remote_compare(p, url, r); }
    }
    if (control != NULL) { redisFree(control); }
    for (uint32_t i = 0; i < started; i++) {
        if (!fine) { (void)kill(pid[i], SIGKILL); }
        (void)waitpid(pid[i], NULL, 0);
    }
    return fine && atomic_load(&p->failed) == 0;
}

/* ---- a server of the tour ---- */

typedef struct tour_server {
    pid_t pid;
    char folder[100], path[120], url[160];
} tour_server;

static const char *tour_server_program(void)
{
    static const char *const places[] = { "/usr/local/bin/redis-server", "/usr/bin/redis-server",
                                          "/usr/bin/valkey-server", "/usr/bin/redis-check-rdb" };
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (access(places[i], X_OK) == 0) { return places[i]; }
    }
    return NULL;
}

/* Start a server on a unix socket in a temporary folder. Return NULL, or why it does not run. */
static const char *tour_server_start(tour_server *s)
{
    const char *tmp = getenv("TMPDIR"), *program = tour_server_program();
    memset(s, 0, sizeof *s);
    if (program == NULL) { return "no redis-server is installed; name a server by --remote=URL"; }
    const int n = snprintf(s->folder, sizeof s->folder, "%s/cellar-remote-XXXXXX",
                           tmp != NULL && tmp[0] == '/' ? tmp : "/tmp");
    if (n < 0 || (size_t)n > 80 || mkdtemp(s->folder) == NULL) {
        return "no temporary folder can be made; set TMPDIR";
    }
    (void)snprintf(s->path, sizeof s->path, "%s/s", s->folder);
    (void)snprintf(s->url, sizeof s->url, "unix://%s", s->path);
    s->pid = fork();
    if (s->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (freopen("/dev/null", "w", stdout) != NULL) {
            execl(program, "redis-server", "--port", "0", "--unixsocket", s->path, "--save", "",
                  "--appendonly", "no", "--dir", s->folder, (char *)NULL);
        }
        _exit(127);
    }
    for (int i = 0; s->pid > 0 && i < 5000; i++) {
        redisContext *c = tour_remote_control(s->url);
        if (c != NULL) {
            redisFree(c);
            return NULL;
        }
        tour_remote_pause_ms(1);
    }
    return "the redis-server does not answer";
}

static void tour_server_stop(tour_server *s)
{
    if (s->pid > 0) {
        (void)kill(s->pid, SIGKILL);
        (void)waitpid(s->pid, NULL, 0);
        (void)unlink(s->path);
    }
    if (s->folder[0] != '\0') { (void)rmdir(s->folder); }
}

static int tour_remote_at(const char *url, tour_remote_result *r)
{
    char mine[400];
    tour_page *p = mmap(NULL, sizeof *p, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        cli_complain("tour", "out of memory; end other programs");
        return CLI_NO_START;
    }
    (void)snprintf(mine, sizeof mine, "%.340s%cprefix=tour-%ld", url,
                   strchr(url, '?') != NULL ? '&' : '?', (long)getpid());
    const bool fine = tour_remote_workers(p, mine, r);
    if (fine) {
        tour_remote_sum(p, r);
    } else {
        cli_complain("tour", "the server at %s cannot be used: %s", url,
                     p->why.text[0] != '\0' ? p->why.text : "a process failed");
    }
    (void)munmap(p, sizeof *p);
    return fine ? CLI_DONE : CLI_NO_START;
}

int tour_remote_run(const char *url, tour_remote_result *r)
{
    tour_server s;
    memset(r, 0, sizeof *r);
    if (url != NULL) { return tour_remote_at(url, r); }
    const char *why = tour_server_start(&s);
    int code = CLI_NO_START;
    if (why == NULL) {
        code = tour_remote_at(s.url, r);
    } else {
        cli_complain("tour", "--remote: %s", why);
    }
    tour_server_stop(&s);
    return code;
}

#else

int tour_remote_run(const char *url, tour_remote_result *r)
{
    (void)url;
    (void)r;
    cli_complain("tour",
                 "--remote: this program has no remote tier; build it with `make REMOTE=1`");
    return CLI_NO_START;
}

#endif
