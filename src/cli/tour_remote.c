/* SPDX-License-Identifier: MIT
 *
 * tour_remote: the act of --remote: three processes share values and a load through one server.
 *
 * PICTURE    tour -- fork --> 3 workers, a store and a remote each --> server
 *                 \_ shared page: phase, counters, values read; CLIENT KILL once a second
 * PHASES     WRITE   mixed gets and sets of 1,000 keys, connections are killed
 *            COMPARE fence; each worker reads all keys, the tour reads them from the server
 *            LOAD    8 threads of each worker request one cold key
 * LIMITS     Connections are killed only at a server without password. */
#include <string.h>

#include "cli/tour_report.h"

#if defined(CELLAR_WITH_REMOTE)

#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cellar_load.h"
#include "cellar_remote.h"

#define TOUR_PROCESSES 3u
#define TOUR_COLD 8u /* threads of a process that request a cold key */
#define TOUR_KEYS 1000u
#define TOUR_OPERATIONS 33334u

enum { TOUR_WRITE, TOUR_COMPARE, TOUR_LOAD, TOUR_END };

typedef struct tour_page { /* shared by all processes */
    _Atomic uint32_t phase, ended[TOUR_END], failed;
    _Atomic uint64_t gets, hits, server_hits, loads;
    uint64_t read[TOUR_PROCESSES][TOUR_KEYS];
} tour_page;

typedef struct tour_process {
    tour_page *page;
    uint32_t number;
    cellar *store, *ns;
    cellar_remote *r;
} tour_process;

static bool tour_remote_proven(const cellar_remote *r)
{
    for (int i = 0; i < 10000; i++) {
        if (cellar_remote_state_get(r) == CELLAR_REMOTE_PROVEN) { return true; }
        tour_pause_us(1000);
    }
    return false;
}

/* Open a store with a shared namespace "tour". */
static bool tour_remote_open(tour_process *w, const char *url)
{
    return cellar_open(NULL, &w->store) == CELLAR_OK &&
           cellar_namespace_open(w->store, "tour", NULL, &w->ns) == CELLAR_OK &&
           cellar_remote_open(w->store, url, NULL, &w->r) == CELLAR_OK &&
           cellar_remote_attach(w->r, w->ns, NULL) == CELLAR_OK && tour_remote_proven(w->r);
}

static void tour_remote_close(tour_process *w)
{
    if (w->store == NULL) { return; }
    cellar_remote_close(w->r);
    cellar_close(w->store);
}

/* ---- the phases, in a worker ---- */

static bool tour_remote_write(tour_process *w)
{
    uint64_t state = 88172645463325252u + w->number, value = 0, gets = 0, hits = 0;
    for (uint32_t i = 0; i < TOUR_OPERATIONS; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        const uint32_t key = (uint32_t)(state >> 33) % TOUR_KEYS;
        if (state % 5 == 0) {
            value = (uint64_t)(w->number + 1) << 32 | i;
            (void)cellar_set(w->ns, &key, sizeof key, &value, sizeof value, NULL);
        } else {
            hits += cellar_get(w->ns, &key, sizeof key, &value, sizeof value, NULL) == CELLAR_OK;
            gets++;
        }
        if (i % 100 == 99) { tour_pause_us(9000); }
    }
    cellar_remote_stats s = cellar_remote_stats_default();
    if (cellar_remote_stats_get(w->r, &s) != CELLAR_OK) { return false; }
    atomic_fetch_add(&w->page->gets, gets);
    atomic_fetch_add(&w->page->hits, hits);
    atomic_fetch_add(&w->page->server_hits, s.hits);
    return true;
}

/* Read all keys behind a fence. 0: absent. */
static bool tour_remote_read(tour_process *w, uint64_t *out)
{
    bool fine = tour_remote_proven(w->r) && cellar_remote_fence(w->r, 5000) == CELLAR_OK;
    for (uint32_t i = 0; fine && i < TOUR_KEYS; i++) {
        out[i] = 0;
        const cellar_err err = cellar_get(w->ns, &i, sizeof i, &out[i], sizeof out[i], NULL);
        fine = err == CELLAR_OK || err == CELLAR_MISS;
    }
    return fine;
}

static cellar_err tour_remote_load(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    tour_page *p = ctx;
    (void)key;
    (void)key_len;
    tour_pause_us(20000);
    atomic_fetch_add(&p->loads, 1);
    return cellar_load_value(load, "loaded", 6);
}

static void *tour_remote_ask(void *arg)
{
    tour_process *w = arg;
    cellar_result r = cellar_result_default();
    if (cellar_get_or_load(w->ns, "cold", 4, NULL, tour_remote_load, w->page, &r) != CELLAR_OK) {
        atomic_store(&w->page->failed, 1);
    }
    cellar_result_free(&r);
    return NULL;
}

static void tour_remote_worker(tour_page *p, uint32_t number, const char *url)
{
    tour_process w = { .page = p, .number = number };
    bool fine = prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && tour_remote_open(&w, url);
    for (uint32_t phase = 0; phase < TOUR_END; phase++) {
        while (atomic_load(&p->phase) < phase) { tour_pause_us(1000); }
        fine = fine && (phase == TOUR_WRITE     ? tour_remote_write(&w)
                        : phase == TOUR_COMPARE ? tour_remote_read(&w, p->read[number])
                                                : tour_threads(tour_remote_ask, &w, TOUR_COLD));
        if (!fine) { atomic_store(&p->failed, 1); }
        atomic_fetch_add(&p->ended[phase], 1);
    }
    while (atomic_load(&p->phase) < TOUR_END) { tour_pause_us(1000); }
    tour_remote_close(&w);
    _exit(0);
}

/* ---- the tour's own process ---- */

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
    if (c == NULL || c->err == 0) { return c; }
    redisFree(c);
    return NULL;
}

/* Let the workers run a phase to its end. In WRITE kill a connection once a second. Return false if
 * a process was lost: none ends before TOUR_END. */
static bool tour_remote_phase(tour_page *p, uint32_t phase, redisContext *control,
                              uint64_t *killed)
{
    atomic_store(&p->phase, phase);
    for (uint32_t ms = 0; atomic_load(&p->ended[phase]) < TOUR_PROCESSES; ms++) {
        tour_pause_us(1000);
        if (waitpid(-1, NULL, WNOHANG) != 0) { return false; }
        if (phase != TOUR_WRITE || control == NULL || ms % 1000 != 500) { continue; }
        redisReply *r = redisCommand(control, "CLIENT KILL TYPE %s SKIPME yes",
                                     *killed % 2 == 0 ? "pubsub" : "normal");
        if (r == NULL) { continue; }
        *killed += r->type == REDIS_REPLY_INTEGER && r->integer > 0;
        freeReplyObject(r);
    }
    return true;
}

/* Count the values that differ from the server, read by a process without entries in memory. */
static bool tour_remote_compare(tour_page *p, const char *url, uint64_t *stale)
{
    uint64_t there[TOUR_KEYS];
    tour_process fresh = { .page = p };
    const bool fine = tour_remote_open(&fresh, url) && tour_remote_read(&fresh, there);
    for (uint32_t i = 0; fine && i < TOUR_PROCESSES * TOUR_KEYS; i++) {
        *stale += p->read[i / TOUR_KEYS][i % TOUR_KEYS] != there[i % TOUR_KEYS];
    }
    tour_remote_close(&fresh);
    return fine;
}

/* Run the workers through all phases. Return false if one of them failed. */
static bool tour_remote_workers(tour_page *p, const char *url, uint64_t *killed, uint64_t *stale)
{
    pid_t pid[TOUR_PROCESSES];
    uint32_t started = 0;
    (void)fflush(NULL);
    for (; started < TOUR_PROCESSES; started++) {
        pid[started] = fork();
        if (pid[started] == 0) { tour_remote_worker(p, started, url); }
        if (pid[started] < 0) { break; }
    }
    bool fine = started == TOUR_PROCESSES;
    redisContext *control = tour_remote_control(url);
    for (uint32_t phase = 0; fine && phase < TOUR_END; phase++) {
        fine = tour_remote_phase(p, phase, control, killed);
        if (phase == TOUR_COMPARE && fine) { fine = tour_remote_compare(p, url, stale); }
    }
    atomic_store(&p->phase, TOUR_END);
    if (control != NULL) { redisFree(control); }
    for (uint32_t i = 0; i < started; i++) {
        if (!fine) { (void)kill(pid[i], SIGKILL); }
        (void)waitpid(pid[i], NULL, 0);
    }
    return fine && atomic_load(&p->failed) == 0;
}

/* Return NULL if a process can use the server, or why not. */
static const char *tour_remote_try(const char *url)
{
    static char text[700];
    cellar_error_info why = cellar_error_info_default();
    tour_process probe = { .number = 0 };
    const bool fine = tour_remote_open(&probe, url);
    if (!fine) {
        (void)cellar_remote_last_error(probe.r, &why);
        (void)snprintf(text, sizeof text, "the server at %s cannot be used: %s", url,
                       why.text[0] != '\0' ? why.text : "it does not answer");
    }
    tour_remote_close(&probe);
    return fine ? NULL : text;
}

static const char *tour_remote_at(const char *at, tour_report *r)
{
    char url[400];
    uint64_t killed = 0, stale = 0;
    (void)snprintf(url, sizeof url, "%.340s%cprefix=tour-%ld", at,
                   strchr(at, '?') != NULL ? '&' : '?', (long)getpid());
    const char *why = tour_remote_try(url);
    if (why != NULL) { return why; }
    tour_page *p = mmap(NULL, sizeof *p, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) { return TOUR_SHORT; }
    if (tour_remote_workers(p, url, &killed, &stale)) {
        const uint64_t gets = atomic_load(&p->gets);
        tour_figure(r, "gets", gets, gets, "by 3 processes");
        tour_figure(r, "hits", atomic_load(&p->hits), gets, "");
        tour_figure(r, "server_hits", atomic_load(&p->server_hits), gets, "from the server");
        tour_figure(r, "killed", killed, 0, "connections");
        tour_remote_tell(r, atomic_load(&p->loads), TOUR_PROCESSES * TOUR_KEYS, stale);
    } else {
        why = "a process of --remote failed; try again, or name another server";
    }
    (void)munmap(p, sizeof *p);
    return why;
}

/* Start a server on a socket file in `folder`. Return NULL, or why it does not run. */
static const char *tour_remote_server(const char *folder, char *url, size_t cap, pid_t *pid)
{
    static const char *const places[] = { "/usr/local/bin/redis-server", "/usr/bin/redis-server",
                                          "/usr/bin/valkey-server", "/usr/bin/redis-check-rdb" };
    const size_t n = sizeof places / sizeof places[0];
    size_t at = 0;
    while (at < n && access(places[at], X_OK) != 0) { at++; }
    if (at == n) { return "--remote: no redis-server is installed; name a server by --remote=URL"; }
    (void)snprintf(url, cap, "unix://%s/s", folder);
    (void)fflush(NULL); /* else the child prints the buffers again */
    *pid = fork();
    if (*pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (freopen("/dev/null", "w", stdout) != NULL) {
            execl(places[at], "redis-server", "--port", "0", "--unixsocket", url + 7, "--save", "",
                  "--appendonly", "no", "--dir", folder, (char *)NULL);
        }
        _exit(127);
    }
    for (int i = 0; *pid > 0 && i < 5000; i++) {
        redisContext *c = tour_remote_control(url);
        if (c != NULL) {
            redisFree(c);
            return NULL;
        }
        tour_pause_us(1000);
    }
    return "--remote: the redis-server does not answer; name a server by --remote=URL";
}

static const char *tour_remote_run(tour_report *r)
{
    char folder[90], url[110];
    pid_t pid = -1;
    if (r->url != NULL) { return tour_remote_at(r->url, r); }
    if (!tour_folder_make(r, folder, sizeof folder)) { return NULL; }
    const char *why = tour_remote_server(folder, url, sizeof url, &pid);
    if (why == NULL) { why = tour_remote_at(url, r); }
    if (pid > 0) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
    }
    tour_folder_remove(folder);
    return why;
}

#else

static const char *tour_remote_run(tour_report *r)
{
    (void)r;
    return "--remote: this program has no remote tier; build it with `make REMOTE=1`";
}

#endif

void tour_remote_tell(tour_report *r, uint64_t loads, uint64_t compared, uint64_t stale)
{
    char a[CLI_TEXT], b[CLI_TEXT];
    tour_figure(r, "loads", loads, 24, "for 24 threads that request a cold key");
    tour_figure(r, "compared", compared, compared, "values with the server");
    tour_figure(r, "stale", stale, 0, NULL);
    tour_say(r, "  stale: %s of %s values compared with the server\n", cli_count(a, stale),
             cli_count(b, compared));
    tour_check(r, stale == 0, "memory of a process has a value that the server has not");
    tour_check(r, loads == 1, "the cold key was not loaded exactly once");
}

const tour_act tour_remote = {
    "remote",
    "Three processes get and set 1,000 keys through one server, and a connection is killed each\n"
    "second. Then they request one cold key.", tour_remote_run
};
