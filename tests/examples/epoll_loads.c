/* SPDX-License-Identifier: MIT
 *
 * epoll_loads: an epoll loop of one thread in front of a slow backend. The first request for a page
 * gets its lease and asks the backend; the others wait for that answer, each in its own struct. A
 * new edition makes pages stale: they are sent while one request fetches the new page. If the
 * backend fails, all waiting requests fail, and for 5 s no request asks for that page again.
 *
 *     cc -O2 epoll_loads.c -lcellar -pthread
 *     drop-in: cc -O2 epoll_loads.c dist/cellar.c -Idist -Idist/include -pthread */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "cellar_admin.h"
#include "cellar_invalidate.h"
#include "cellar_load.h"
#include "cellar_observe.h"

typedef struct request { /* of one client; a server has the client's socket here */
    const char *path;
    cellar_lease lease;
    struct request *next; /* in woken */
    int backend, answered;
} request;

static cellar *pages;
static request *woken;
static int loop, unfinished, edition = 1;

static void die(const char *what)
{
    cellar_error_info e = cellar_error_info_default();
    cellar_last_error(pages, &e);
    fprintf(stderr, "%s: %s\n", what, e.code != CELLAR_OK ? e.text : strerror(errno));
    exit(1);
}

/* Called when the load has ended that a request waits for: inside a call of the loop, as the store
 * has no thread. In a program with other threads: lock the list, and write to an eventfd. */
static void wake(void *q) { ((request *)q)->next = woken, woken = q; }

static void answer(request *q, cellar_err err, const void *page, size_t len)
{ /* OK, STALE: 200; ABSENT: 404; else 503 */
    printf("%s: %s \"%.*s\"\n", q->path, cellar_code_name(err), (int)len, (const char *)page);
    q->answered = 1;
}

/* An answer, or no descriptor (-1). wake is not called for the holder of a lease: it is here. */
static void on_backend(request *q)
{
    char page[64];
    const int failed = q->backend < 0 || strcmp(q->path, "/broken") == 0;
    const int len = failed ? 0 : snprintf(page, sizeof page, "edition %d", edition);
    cellar_set_opts o = cellar_set_opts_default();
    o.tags = &(cellar_bytes){ "edition", 7 }, o.tag_count = 1;
    if (q->backend >= 0) { close(q->backend); }
    if (!failed) { /* whatever the call returns, this request has its page */
        cellar_lease_fulfill(pages, &q->lease, page, (size_t)len, &o);
    } else { /* without the release the others wait for hard_timeout_ms */
        cellar_lease_release(pages, &q->lease, EIO);
    }
    if (!q->answered) { answer(q, failed ? CELLAR_E_LOADER : CELLAR_OK, page, (size_t)len); }
    unfinished--;
}

static void serve(request *q)
{
    const cellar_subscriber tell = { wake, q };
    const struct itimerspec soon = { .it_value = { .tv_nsec = 5000000 } };
    struct epoll_event e = { .events = EPOLLIN, .data = { .ptr = q } };
    cellar_result r = cellar_result_default();
    const cellar_err err =
        cellar_lease_acquire(pages, q->path, strlen(q->path), NULL, &tell, &q->lease, &r);
    if (err != CELLAR_LEASED && err != CELLAR_PENDING) { answer(q, err, r.value, r.value_len); }
    cellar_result_free(&r);
    if (err == CELLAR_PENDING) { return; } /* if its client leaves: cellar_lease_unsubscribe */
    if (!cellar_lease_held(&q->lease)) { unfinished--; return; } /* one STALE answer has it, too */
    printf("%s: ask the backend\n", q->path); /* by a socket; here a timer, or none for /full */
    q->backend = strcmp(q->path, "/full") ? timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC) : -1;
    if (timerfd_settime(q->backend, 0, &soon, NULL) != 0 ||
        epoll_ctl(loop, EPOLL_CTL_ADD, q->backend, &e) != 0) {
        close(q->backend), q->backend = -1, on_backend(q); /* 503: the server goes on */
    }
}

/* Let clients ask for a page at the same time, and run the loop until each has its answer. */
static void visit(const char *path, int clients)
{
    request q[4] = { { .path = NULL } };
    unfinished = clients;
    for (int i = 0; i < clients; i++) { q[i].path = path, serve(&q[i]); }
    while (unfinished > 0) {
        struct epoll_event e[8];
        int64_t wait_ms = 0;
        for (request *w; (w = woken) != NULL;) { woken = w->next, serve(w); }
        cellar_tick(pages, 500, &wait_ms); /* 500 us of upkeep; ends leases of lost answers */
        int n = epoll_wait(loop, e, 8, woken != NULL ? 0 : (int)wait_ms);
        while (n > 0) { on_backend(e[--n].data.ptr); }
    }
}

int main(void)
{
    cellar_load_opts load = cellar_load_opts_default();
    cellar_namespace_config root = cellar_namespace_config_default();
    cellar_host_config host = cellar_host_config_default();
    cellar_config cfg = cellar_config_default();
    load.error_ttl_ms = 5000, root.load = &load, root.stale_ms = 3600000;
    host.no_threads = 1, cfg.root = &root, cfg.host = &host;
    if (cellar_open(&cfg, &pages) != CELLAR_OK) { die("cellar_open"); }
    if ((loop = epoll_create1(EPOLL_CLOEXEC)) < 0) { die("epoll_create1"); }
    visit("/news", 3), visit("/broken", 3), visit("/full", 2);
    edition = 2, cellar_delete_by_tag(pages, "edition", 7, CELLAR_TAG_SOFT);
    visit("/news", 2), visit("/news", 1);
    return cellar_close(pages) == CELLAR_OK ? 0 : 1;
}
