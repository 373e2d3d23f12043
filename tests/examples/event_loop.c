/* SPDX-License-Identifier: MIT
 *
 * event_loop: a cache without any thread of its own, in a program that is one epoll loop.
 *
 * cfg.no_threads leaves all background work (mainly expiry without reads) to cellar_tick. The loop
 * calls it from a timer with a budget of microseconds, so that no request waits for it.
 *
 *     cc -O2 event_loop.c -lcellar -pthread */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "cellar.h"
#include "cellar_observe.h"
#include "cellar_admin.h"

enum { LOOP_TICK_MS = 10, LOOP_TICK_BUDGET_US = 500, LOOP_SHORT_TTL_MS = 30 };

typedef struct loop {
    cellar *cache;
    int epoll, timer, server; /* server: our end of the connection */
    uint64_t ticks, expired;  /* entries reclaimed without a request */
    int done;
} loop;

/* One request is one message: "set KEY VALUE" or "get KEY"; one message comes back. */
static void loop_answer(loop *l)
{
    char in[256], out[256], key[64], value[128];
    const ssize_t n = recv(l->server, in, sizeof in - 1, 0);
    if (n <= 0) {
        l->done = 1;
        return;
    }
    in[n] = '\0';
    if (sscanf(in, "set %63s %127s", key, value) == 2) {
        cellar_set_opts o = cellar_set_opts_default();
        o.ttl_ms = LOOP_SHORT_TTL_MS;
        const cellar_err err = cellar_set(l->cache, key, strlen(key), value, strlen(value), &o);
        snprintf(out, sizeof out, "%s", cellar_code_name(err));
    } else if (sscanf(in, "get %63s", key) == 1) {
        size_t len = 0;
        const cellar_err err = cellar_get(l->cache, key, strlen(key), value, sizeof value, &len);
        snprintf(out, sizeof out, "%s %.*s", cellar_code_name(err),
                 err == CELLAR_OK ? (int)len : 0, value);
    } else {
        snprintf(out, sizeof out, "what?");
    }
    if (send(l->server, out, strlen(out), MSG_NOSIGNAL) < 0) { l->done = 1; }
}

static void loop_background(loop *l)
{
    uint64_t rings;
    if (read(l->timer, &rings, sizeof rings) < 0) { return; }
    /* PENDING means more work: the next round continues, requests come first. */
    const cellar_err err = cellar_tick(l->cache, LOOP_TICK_BUDGET_US, NULL);
    if (err != CELLAR_OK && err != CELLAR_PENDING) { return; }
    l->ticks++;
    cellar_stats st = cellar_stats_default();
    cellar_stats_get(l->cache, CELLAR_SCOPE_STORE, &st);
    l->expired = st.ended[CELLAR_CAUSE_EXPIRED];
}

static int loop_watch(loop *l, int fd)
{
    struct epoll_event e;
    memset(&e, 0, sizeof e);
    e.events = EPOLLIN;
    e.data.fd = fd;
    return epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &e);
}

/* Run one round. Return 0 if nothing came within `timeout_ms`. */
static int loop_step(loop *l, int timeout_ms)
{
    struct epoll_event e[8];
    const int n = epoll_wait(l->epoll, e, 8, timeout_ms);
    if (n < 0) { return errno == EINTR ? 1 : -1; }
    for (int i = 0; i < n; i++) {
        if (e[i].data.fd == l->timer) {
            loop_background(l);
        } else {
            loop_answer(l);
        }
    }
    return n;
}

/* ---- the example checks itself: it is its own client ---- */

static int passed, failed;

static void check(int ok, const char *what)
{
    if (ok) {
        passed++;
    } else {
        failed++;
        printf("not ok: %s\n", what);
    }
}

static void ask(loop *l, int client, const char *request, char *reply, size_t cap)
{
    reply[0] = '\0';
    if (send(client, request, strlen(request), MSG_NOSIGNAL) < 0) { return; }
    for (int round = 0; round < 1000; round++) {
        const ssize_t n = recv(client, reply, cap - 1, MSG_DONTWAIT);
        if (n >= 0) {
            reply[n] = '\0';
            return;
        }
        if (loop_step(l, 100) < 0) { return; }
    }
}

int main(void)
{
    loop l;
    int pair[2];
    memset(&l, 0, sizeof l);
    cellar_config cfg = cellar_config_default();
    cfg.memory_bytes = 16u << 20;
    cellar_host_config host = cellar_host_config_default();
    host.no_threads = 1;
    cfg.host = &host;
    if (cellar_open(&cfg, &l.cache) != CELLAR_OK) { return 1; }

    l.epoll = epoll_create1(EPOLL_CLOEXEC);
    l.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (l.epoll < 0 || l.timer < 0) { return 1; }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) { return 1; }
    l.server = pair[1];
    const struct timespec step = { 0, LOOP_TICK_MS * 1000000 };
    const struct itimerspec every = { step, step };
    if (timerfd_settime(l.timer, 0, &every, NULL) != 0) { return 1; }
    if (loop_watch(&l, l.timer) != 0 || loop_watch(&l, l.server) != 0) { return 1; }

    char reply[256];
    ask(&l, pair[0], "get color", reply, sizeof reply);
    check(strcmp(reply, "MISS ") == 0, "nothing is there at first");
    ask(&l, pair[0], "set color blue", reply, sizeof reply);
    check(strcmp(reply, "OK") == 0, "a value is stored");
    ask(&l, pair[0], "set shape round", reply, sizeof reply);
    check(strcmp(reply, "OK") == 0, "another one");

    cellar_stats st = cellar_stats_default();
    check(cellar_stats_get(l.cache, CELLAR_SCOPE_STORE, &st) == CELLAR_OK && st.sets == 2,
          "two sets are counted");

    /* No request reads them again: the timer alone reclaims the memory. Ten seconds at most. */
    for (int round = 0; round < 1000 && l.expired < 2; round++) {
        if (loop_step(&l, 100) < 0) { break; }
    }
    check(l.expired == 2, "both expire without a read");
    check(l.ticks > 0, "through cellar_tick");
    ask(&l, pair[0], "get color", reply, sizeof reply);
    check(strcmp(reply, "MISS ") == 0, "and are gone");

    close(pair[0]);
    while (!l.done && loop_step(&l, 100) >= 0) {}
    close(l.server);
    close(l.timer);
    close(l.epoll);
    cellar_close(l.cache);
    printf("event_loop: %d passed, %d failed, 0 skipped\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
