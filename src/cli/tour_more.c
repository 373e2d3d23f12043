/* SPDX-License-Identifier: MIT
 *
 * tour_more: the acts of --work and --port.
 *
 * PICTURE    20,000 tasks on 4 threads, 2,000 fail once -> 22,000 attempts, each task succeeds
 *            1,000 values -> a port on a socket file -> GET of each -> the same bytes
 * LIMITS     One request at a time. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "cellar.h"
#include "cellar_resp.h"
#include "cellar_task.h"
#include "cli/tour_report.h"

/* ---- --work ---- */

#define TOUR_TASKS 20000u

static cellar_verdict tour_task(const cellar_task *t, void *ctx)
{
    _Atomic unsigned char *done = ctx;
    uint32_t i;
    memcpy(&i, t->payload, sizeof i);
    if (i % 10 == 0 && t->attempt == 1) { return cellar_verdict_retry(); }
    atomic_fetch_add(&done[i], 1);
    return cellar_verdict_ok();
}

static bool tour_submit(cellar_pool *p, _Atomic unsigned char *done, cellar_pool_stats *st)
{
    cellar_task_opts o = cellar_task_opts_default();
    o.base_ms = 5;
    bool fine = cellar_task_register(p, "tour", tour_task, (void *)done, &o) == CELLAR_OK;
    for (uint32_t i = 0; fine && i < TOUR_TASKS; i++) {
        fine = cellar_task_submit(p, "tour", &i, sizeof i, NULL, NULL) == CELLAR_OK;
    }
    return fine && cellar_pool_drain(p, CELLAR_DRAIN_ALL, 20000, NULL) == CELLAR_OK &&
           cellar_pool_stats_get(p, NULL, st) == CELLAR_OK;
}

static const char *tour_work_run(tour_report *r)
{
    cellar_pool_config cfg = cellar_pool_config_default();
    cellar_pool_stats st = cellar_pool_stats_default();
    _Atomic unsigned char *done = calloc(TOUR_TASKS, sizeof *done);
    cellar_pool *p = NULL;
    uint64_t once = 0;
    cfg.workers = 4;
    cfg.queue_cap = TOUR_TASKS;
    const uint64_t start = cli_clock_ns();
    const bool fine = done != NULL && cellar_pool_open(&cfg, &p) == CELLAR_OK &&
                      tour_submit(p, done, &st);
    const uint64_t took_ns = cli_clock_ns() - start;
    (void)cellar_pool_close(p);
    for (uint32_t i = 0; fine && i < TOUR_TASKS; i++) { once += atomic_load(&done[i]) == 1; }
    free((void *)done);
    if (!fine) { return TOUR_SHORT; }
    tour_figure(r, "attempts", st.started, st.started, "");
    tour_figure(r, "once", once, st.started, "tasks succeeded");
    tour_figure(r, "took_ns", took_ns, 0, "");
    tour_check(r, once == TOUR_TASKS && st.ok == TOUR_TASKS, "a task did not succeed once");
    tour_check(r, st.started == TOUR_TASKS + TOUR_TASKS / 10, "a task ran too often or too rarely");
    return NULL;
}

/* ---- --port ---- */

#define TOUR_GETS 1000u
#define TOUR_REPLY (6 + TOUR_VALUE + 2) /* $100, the value, each with its end of line */

/* Connect to the port. A reply that does not come within 5 s is a wrong one. */
static int tour_port_connect(const char *path)
{
    const struct timeval patience = { 5, 0 };
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    (void)snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&at, sizeof at) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0) {
        return fd;
    }
    if (fd >= 0) { (void)close(fd); }
    return -1;
}

/* Return whether the reply to GET of key n is its value. */
static bool tour_port_get(int fd, uint32_t n)
{
    char get[64], back[TOUR_REPLY], want[TOUR_REPLY] = "$100\r\n";
    const int len = snprintf(get, sizeof get, "GET %u\r\n", (unsigned)n);
    tour_fill((unsigned char *)want + 6, n);
    memcpy(want + 6 + TOUR_VALUE, "\r\n", 2);
    return send(fd, get, (size_t)len, MSG_NOSIGNAL) == len &&
           recv(fd, back, sizeof back, MSG_WAITALL) == (ssize_t)sizeof back &&
           memcmp(back, want, sizeof back) == 0;
}

/* Serve `c` on a socket file in `folder`, and get each of its values there. */
static bool tour_port_serve(cellar *c, const char *folder, tour_report *r)
{
    cellar_resp_opts o = cellar_resp_opts_default();
    unsigned char value[TOUR_VALUE];
    char path[100], key[16];
    uint32_t same = 0;
    cellar_resp *port;
    (void)snprintf(path, sizeof path, "%s/s", folder);
    o.unix_path = path;
    o.namespaces = "0="; /* the root */
    for (uint32_t n = 0; n < TOUR_GETS; n++) {
        const int len = snprintf(key, sizeof key, "%u", (unsigned)n);
        tour_fill(value, n);
        (void)cellar_set(c, key, (size_t)len, value, sizeof value, NULL);
    }
    if (cellar_resp_open(c, &o, &port) != CELLAR_OK) {
        r->skipped = "no socket can be made in the temporary folder; set TMPDIR";
        return true;
    }
    const int fd = cellar_resp_start(port) == CELLAR_OK ? tour_port_connect(path) : -1;
    const uint64_t start = cli_clock_ns();
    /* After a wrong reply the connection is no longer in step. */
    while (fd >= 0 && same < TOUR_GETS && tour_port_get(fd, same)) { same++; }
    const uint64_t took_ns = cli_clock_ns() - start;
    if (fd >= 0) { (void)close(fd); }
    cellar_resp_close(port);
    tour_figure(r, "gets", TOUR_GETS, TOUR_GETS, "");
    tour_figure(r, "same", same, TOUR_GETS, "replies have the bytes of the value");
    tour_figure(r, "reply_ns", took_ns / TOUR_GETS, 0, "");
    tour_check(r, same == TOUR_GETS, "a reply of the port differs from the value");
    return fd >= 0;
}

static const char *tour_port_run(tour_report *r)
{
    char folder[90];
    cellar *c;
    bool fine = true;
    if (cellar_open(NULL, &c) != CELLAR_OK) { return TOUR_SHORT; }
    if (tour_folder_make(r, folder, sizeof folder)) {
        fine = tour_port_serve(c, folder, r);
        tour_folder_remove(folder);
    }
    (void)cellar_close(c);
    return fine ? NULL : TOUR_SHORT;
}

const tour_act tour_work = {
    "work",
    "20,000 tasks run on 4 threads, and every tenth fails the first time. Each is tried again\n"
    "and succeeds once.", tour_work_run
};
const tour_act tour_port = {
    "port",
    "A port serves 1,000 values of this process on a socket file. A client of Redis gets each\n"
    "of them.", tour_port_run
};
