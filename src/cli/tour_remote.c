/* SPDX-License-Identifier: MIT
 *
 * tour_remote: three processes share values and a load through one server.
 *
 * PICTURE    tour -- fork --> 3 workers; each of the four has a store and a remote --> server
 *                 \_ page in shared memory: where they meet, counters, values read
 * PHASES     write    the workers get and set 1,000 keys, and cut their connections each second
 *            compare  all read every key behind a fence; the memory of the tour is empty: it
 *                     reads that of the server
 *            load     the workers request one key that no process has
 * INVARIANT  A process that fails or waits for a minute sets `failed`, which ends every wait. */
#include <stddef.h>

#include "cli/tour_remote.h"

#if defined(CELLAR_WITH_REMOTE)

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cellar_load.h"
#include "cellar_remote.h"

typedef struct tour_page { /* shared by all processes */
    _Atomic uint32_t arrived, failed;
    tour_remote_seen seen;
    uint64_t read[TOUR_PROCESSES + 1][TOUR_KEYS]; /* 0: absent */
} tour_page;

/* Wait for all processes. Return false after a failure of one. */
static bool tour_meet(tour_page *p, bool fine)
{
    const uint32_t all = TOUR_PROCESSES + 1, meeting = p->arrived++ / all;
    if (!fine) { p->failed = 1; }
    for (int ms = 0; p->arrived / all == meeting && p->failed == 0; ms++) {
        (void)poll(NULL, 0, 1);
        if (ms > 60000) { p->failed = 1; }
    }
    return p->failed == 0;
}

static bool tour_proven(const cellar_remote *r)
{
    for (int i = 0; i < 10000 && cellar_remote_state_get(r) != CELLAR_REMOTE_PROVEN; i++) {
        (void)poll(NULL, 0, 1);
    }
    return cellar_remote_state_get(r) == CELLAR_REMOTE_PROVEN;
}

/* Shut down each connected socket of this process: those of the remote. Return how many. */
static unsigned tour_cut(void)
{
    unsigned cut = 0;
    for (int fd = 3; fd < 256; fd++) { cut += shutdown(fd, SHUT_RDWR) == 0; }
    return cut;
}

static void tour_change(cellar *ns, uint32_t number, tour_remote_seen *seen)
{
    uint64_t state = 88172645463325252u + number, value;
    for (uint32_t i = 0; i < 33334; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        const uint32_t key = (uint32_t)(state >> 33) % TOUR_KEYS;
        if (state % 5 == 0) {
            value = (uint64_t)(number + 1) << 32 | i;
            (void)cellar_set(ns, &key, sizeof key, &value, sizeof value, NULL);
        } else {
            seen->gets++;
            seen->hits += cellar_get(ns, &key, sizeof key, &value, sizeof value, NULL) == CELLAR_OK;
        }
        if (i % 100 == 99) { (void)poll(NULL, 0, 9); }
        if (i % 10000 == 5000) { seen->cut += tour_cut(); }
    }
}

static bool tour_read(cellar *ns, cellar_remote *r, uint64_t *out)
{
    bool fine = tour_proven(r) && cellar_remote_fence(r, 5000) == CELLAR_OK;
    for (uint32_t i = 0; fine && i < TOUR_KEYS; i++) {
        const cellar_err err = cellar_get(ns, &i, sizeof i, &out[i], sizeof out[i], NULL);
        fine = err == CELLAR_OK || err == CELLAR_MISS;
    }
    return fine;
}

static cellar_err tour_remote_load(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len;
    (*(_Atomic uint64_t *)ctx)++;
    (void)poll(NULL, 0, 20);
    return cellar_load_value(load, "loaded", 6);
}

/* Run all phases; process TOUR_PROCESSES is the tour. Return false after a failure, with `why`. */
static bool tour_play_remote(tour_page *p, uint32_t number, const char *url, char *why, size_t cap)
{
    const bool worker = number < TOUR_PROCESSES;
    cellar_error_info error = cellar_error_info_default();
    cellar_remote_stats s = cellar_remote_stats_default();
    cellar *store = NULL, *ns = NULL;
    cellar_remote *r = NULL;
    bool fine = cellar_open(NULL, &store) == CELLAR_OK &&
                cellar_namespace_open(store, "tour", NULL, &ns) == CELLAR_OK &&
                cellar_remote_open(store, url, NULL, &r) == CELLAR_OK &&
                cellar_remote_attach(r, ns, NULL) == CELLAR_OK && tour_proven(r);
    if (!fine) { (void)cellar_remote_last_error(r, &error); }
    (void)snprintf(why, cap, "the server at %s cannot be used: %s", url,
                   error.text[0] != '\0' ? error.text : "it or a process failed; try again");
    fine = tour_meet(p, fine);
    if (fine && worker) {
        tour_change(ns, number, &p->seen);
        fine = cellar_remote_stats_get(r, &s) == CELLAR_OK;
        p->seen.server_hits += s.hits;
    }
    fine = tour_meet(p, fine) && tour_read(ns, r, p->read[number]);
    fine = tour_meet(p, fine);
    if (fine && worker) {
        cellar_result out = cellar_result_default();
        fine = cellar_get_or_load(ns, "cold", 4, NULL, tour_remote_load, &p->seen.loads, &out) ==
               CELLAR_OK;
        cellar_result_free(&out);
    }
    fine = tour_meet(p, fine);
    cellar_remote_close(r);
    if (store != NULL) { (void)cellar_close(store); }
    return fine;
}

/* Start a server on the socket file `path`. Return false if none runs. */
static bool tour_server(const char *path, pid_t *pid)
{
    static const char *const names[] = { "redis-server", "valkey-server", "redis-check-rdb" };
    *pid = fork();
    if (*pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (freopen("/dev/null", "w", stdout) == NULL) { _exit(127); }
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            execlp(names[i], "redis-server", "--port", "0", "--unixsocket", path, "--save", "",
                   "--appendonly", "no", (char *)NULL);
        }
        _exit(127);
    }
    for (int i = 0; *pid > 0 && i < 5000 && waitpid(*pid, NULL, WNOHANG) == 0; i++) {
        if (access(path, F_OK) == 0) { return true; }
        (void)poll(NULL, 0, 1);
    }
    return false;
}

static const char *tour_workers(tour_page *p, const char *url)
{
    static char why[700];
    pid_t pid[TOUR_PROCESSES];
    (void)fflush(NULL); /* else a child prints the buffers again */
    for (uint32_t i = 0; i < TOUR_PROCESSES; i++) {
        pid[i] = fork();
        if (pid[i] != 0) { continue; }
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)tour_play_remote(p, i, url, why, sizeof why);
        _exit(0);
    }
    const bool fine = tour_play_remote(p, TOUR_PROCESSES, url, why, sizeof why);
    for (uint32_t i = 0; i < TOUR_PROCESSES; i++) { (void)waitpid(pid[i], NULL, 0); }
    for (uint32_t i = 0; i < TOUR_PROCESSES * TOUR_KEYS; i++) {
        p->seen.stale += p->read[i / TOUR_KEYS][i % TOUR_KEYS] !=
                         p->read[TOUR_PROCESSES][i % TOUR_KEYS];
    }
    return fine ? NULL : why;
}

const char *tour_remote_run(const char *url, const char *folder, tour_remote_seen *seen)
{
    char at[400], path[110];
    pid_t server = -1;
    const char *why = "--remote: no redis-server runs here; name a server by --remote=URL";
    tour_page *p = mmap(NULL, sizeof *p, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) { return "no memory is left; end other programs"; }
    (void)snprintf(path, sizeof path, "%s/s", folder);
    (void)snprintf(at, sizeof at, "%s%.340s%cprefix=tour-%ld", url != NULL ? "" : "unix://",
                   url != NULL ? url : path, url != NULL && strchr(url, '?') != NULL ? '&' : '?',
                   (long)getpid());
    if (url != NULL || tour_server(path, &server)) { why = tour_workers(p, at); }
    if (server > 0 && kill(server, SIGKILL) == 0) { (void)waitpid(server, NULL, 0); }
    memcpy((void *)seen, (const void *)&p->seen, sizeof *seen); /* no other process is left */
    (void)munmap(p, sizeof *p);
    return why;
}

#else

const char *tour_remote_run(const char *url, const char *folder, tour_remote_seen *seen)
{
    (void)url, (void)folder, (void)seen;
    return "--remote: this program has no remote tier; build it with `make REMOTE=1`";
}

#endif
