/* SPDX-License-Identifier: MIT
 *
 * uv_loop: use the cache in an event loop of libuv, in which no call may wait.
 *
 * cellar_lease_acquire never waits. The first request of a missing page gets its lease and asks the
 * backend. A second request of that page gets PENDING, and the store calls `serve` for it when the
 * first one has the answer. The holder ends the lease: cellar_lease_fulfill stores the answer,
 * cellar_lease_release says that there is none. Their results need no check: a lease that the store
 * has ended (E_LEASE), or a page that it cannot keep, changes nothing for this request, and the
 * others are called in any case. A request with OK or STALE has its page and may hold the lease as
 * well, to refresh the page; cellar_lease_held says so.
 *
 * The store has no threads here: a timer of the loop calls cellar_tick, also to end a lease when
 * its answer never comes. All calls run in the thread of the loop, so nothing needs a lock.
 *
 * In the folder of this project, after `make`:
 *     cc -O2 tests/examples/uv_loop.c -Iinclude build/libcellar.a -luv -pthread && ./a.out
 * With the drop-in, after `make dist`:
 *     cc -O2 tests/examples/uv_loop.c dist/cellar.c -Idist -Idist/include -luv -pthread && ./a.out
 *
 * Four requests run at the same time. The program prints which request asks the backend, and the
 * code for each answer. A server sends 200 for OK and STALE, 404 for ABSENT, and 503 for other
 * codes. In your program, replace slow_backend.h by your client, with a time limit. A request lives
 * until it is answered and its lease has ended. If a client leaves while its request is PENDING,
 * call cellar_lease_unsubscribe before you free the request. */
#include <err.h>
#include <stdbool.h>

#include "cellar_admin.h"
#include "cellar_load.h"
#include "cellar_observe.h"
#include "slow_backend.h"

typedef struct request {
    const char *url;
    bool answered;
    cellar_lease lease; /* or the ticket of a PENDING */
    slow_backend backend;
} request;

static cellar *store;

static void on_upkeep(uv_timer_t *upkeep)
{
    (void)upkeep;
    cellar_tick(store, 500, NULL); /* at most 500 microseconds */
}

static void on_answer(void *of, const char *page)
{
    request *const r = of;
    if (page != NULL) { cellar_lease_fulfill(store, &r->lease, page, strlen(page), NULL); }
    else { cellar_lease_release(store, &r->lease, CELLAR_E_IO); }
    if (!r->answered) { printf("%s: %s\n", r->url, page != NULL ? page : "E_IO"); }
}

static void serve(void *of)
{
    request *const r = of;
    const cellar_subscriber again = { serve, r };
    cellar_result v = cellar_result_default();
    cellar_load_opts o = cellar_load_opts_default();
    o.ttl_ms = 60 * 1000;
    o.stale_ms = 60 * 60 * 1000; /* for an hour an old page, while the backend is down */
    o.error_ttl_ms = 60 * 1000;  /* without an old page, ask it after a minute at most */
    const int err = cellar_lease_acquire(store, r->url, strlen(r->url), &o, &again, &r->lease, &v);
    r->answered = err != CELLAR_PENDING && err != CELLAR_LEASED;
    if (r->answered) { printf("%s: %s\n", r->url, cellar_code_name(err)); } /* send v.value */
    cellar_result_free(&v);
    if (cellar_lease_held(&r->lease)) { slow_backend_ask(&r->backend, r->url, on_answer, r); }
}

int main(void)
{
    static request r[] = { { .url = "/" }, { .url = "/" }, { .url = "/off" }, { .url = "/off" } };
    static uv_timer_t upkeep;
    cellar_host_config host = cellar_host_config_default();
    cellar_config cfg = cellar_config_default();
    cellar_error_info why = cellar_error_info_default();
    host.no_threads = 1;
    cfg.host = &host;
    if (cellar_open(&cfg, &store) != CELLAR_OK) {
        cellar_last_error(NULL, &why);
        errx(1, "%s", why.text); /* call, argument, rule and remedy */
    }
    uv_timer_init(uv_default_loop(), &upkeep);
    uv_timer_start(&upkeep, on_upkeep, 0, 20); /* each 20 ms */
    uv_unref((uv_handle_t *)&upkeep);          /* it does not keep the loop running */
    for (int i = 0; i < 4; i++) { serve(&r[i]); }
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    return cellar_close(store) == CELLAR_OK ? 0 : 1;
}
