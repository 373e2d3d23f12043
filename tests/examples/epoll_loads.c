/* SPDX-License-Identifier: MIT
 *
 * epoll_loads: a server with one thread and an epoll loop loads through the cache without waiting.
 * The first request of a key gets the lease and asks the backend. All other requests of the key are
 * told by an eventfd when the value is stored.
 *
 * Here the backend is a timer that fires 20 ms later, and 50 requests ask for 5 keys. The backend
 * fails for one of them. The program checks itself: 5 questions to the backend, 50 answers, 10 of
 * them a refusal, the loop never blocked.
 *
 *     cc -O2 epoll_loads.c -lcellar -pthread */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "cellar.h"
#include "cellar_load.h"
#include "cellar_admin.h"

#define REQUESTS 50
#define KEYS 5
#define BROKEN 4 /* the backend fails for this key */

typedef struct request {
    char key[8];
    int done;
} request;

typedef struct server {
    cellar *c;
    int loop, bell, timer;
    request request[REQUESTS];
    cellar_lease lease[KEYS]; /* of questions in progress; id 0: none */
    int asked, answered, refused;
} server;

/* Ring the bell. The thread that fulfills a lease with waiters calls this. */
static void ring(void *ctx)
{
    const uint64_t one = 1;
    const int *bell = ctx;
    if (write(*bell, &one, sizeof one) != (ssize_t)sizeof one) { perror("eventfd"); }
}

/* The backend's answers come when the timer fires. */
static void ask_backend(server *s, const request *q, const cellar_lease *lease)
{
    const struct itimerspec soon = { { 0, 0 }, { 0, 20000000 } };
    s->lease[q->key[3] - '0'] = *lease;
    s->asked++;
    (void)timerfd_settime(s->timer, 0, &soon, NULL);
}

/* Try to answer one request; it stays open while a load of its key runs. */
static void serve(server *s, request *q)
{
    const cellar_subscriber tell = { ring, &s->bell };
    cellar_result r = cellar_result_default();
    cellar_load_opts o = cellar_load_opts_default();
    cellar_lease lease;
    o.error_ttl_ms = 60000; /* a failure answers all requests of the key; else each asks again */
    switch (cellar_lease_acquire(s->c, q->key, strlen(q->key), &o, &tell, &lease, &r)) {
    case CELLAR_OK:
    case CELLAR_STALE:
        q->done = 1;
        s->answered++;
        if (lease.opaque[0] != 0) { ask_backend(s, q, &lease); } /* refresh the old value */
        break;
    case CELLAR_LEASED:
        ask_backend(s, q, &lease); /* and this request waits like all others: acquire once more */
        break;
    case CELLAR_PENDING: break; /* the bell will ring */
    default:                    /* ABSENT, or an error: here a server sends 404 or 503 */
        q->done = 1;
        s->answered++;
        s->refused++;
        break;
    }
    cellar_result_free(&r);
}

static void serve_all(server *s)
{
    for (int i = 0; i < REQUESTS; i++) {
        if (!s->request[i].done) { serve(s, &s->request[i]); }
    }
}

static void on_backend(server *s)
{
    for (int k = 0; k < KEYS; k++) {
        char value[32];
        if (s->lease[k].opaque[0] == 0) { continue; }
        if (k == BROKEN) { /* not released, the lease keeps the others waiting */
            (void)cellar_lease_release(s->c, &s->lease[k], EIO);
            continue;
        }
        snprintf(value, sizeof value, "value of key%d", k);
        (void)cellar_lease_fulfill(s->c, &s->lease[k], value, strlen(value), NULL);
    }
}

static void watch(const server *s, int fd)
{
    struct epoll_event e = { .events = EPOLLIN, .data = { .fd = fd } };
    (void)epoll_ctl(s->loop, EPOLL_CTL_ADD, fd, &e);
}

static void run_loop(server *s)
{
    int64_t wait_ms, idle_ms = 0; /* idle for two seconds: the check below reports it */
    while (s->answered < REQUESTS && idle_ms < 2000) {
        struct epoll_event e;
        uint64_t count;
        if (cellar_tick(s->c, 100, &wait_ms) < 0) { return; } /* the store has no thread */
        if (wait_ms > 1000) { wait_ms = 1000; }
        if (epoll_wait(s->loop, &e, 1, (int)wait_ms) <= 0) {
            idle_ms += wait_ms;
            continue;
        }
        idle_ms = 0;
        if (read(e.data.fd, &count, sizeof count) != (ssize_t)sizeof count) { continue; }
        if (e.data.fd == s->timer) { on_backend(s); }
        serve_all(s);
    }
}

int main(void)
{
    static server s;
    cellar_config cfg = cellar_config_default();
    cellar_host_config host = cellar_host_config_default();
    host.no_threads = 1;
    cfg.host = &host;
    if (cellar_open(&cfg, &s.c) != CELLAR_OK) { return 1; }
    s.loop = epoll_create1(0);
    s.bell = eventfd(0, EFD_NONBLOCK);
    s.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    watch(&s, s.bell);
    watch(&s, s.timer);
    for (int i = 0; i < REQUESTS; i++) {
        snprintf(s.request[i].key, sizeof s.request[i].key, "key%d", i % KEYS);
    }
    serve_all(&s);
    run_loop(&s);
    printf("%d requests answered with %d questions to the backend\n", s.answered, s.asked);
    int ok = s.answered == REQUESTS && s.asked == KEYS &&
             s.refused == REQUESTS / KEYS;
    request none = { "none", 0 };
    const cellar_set_opts absent = { .struct_size = sizeof absent, .flags = CELLAR_NEGATIVE };
    ok &= cellar_set(s.c, "none", 4, "", 0, &absent) == CELLAR_OK;
    serve(&s, &none);
    ok &= none.done && s.refused == REQUESTS / KEYS + 1;
    close(s.timer);
    close(s.bell);
    close(s.loop);
    cellar_close(s.c);
    return ok ? 0 : 1;
}
