/* SPDX-License-Identifier: MIT
 *
 * uv_loop: a store without threads in a loop of libuv. The first request of a key gets the lease
 * and asks the backend; the store calls the other requests of the key when that load ends. No call
 * waits. All calls run in the thread of the loop, so nothing here needs a lock.
 *
 *     cc -O2 uv_loop.c -lcellar -luv -pthread
 *     drop-in: cc -O2 uv_loop.c dist/cellar.c -Idist -Idist/include -luv -pthread */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "cellar_admin.h"
#include "cellar_load.h"

/* ---- The store in the loop ------------------------------------------------------------------ */

static cellar *store;
static uv_timer_t upkeep;

/* Expiry and the like; ends the leases of answers that never come (hard_timeout_ms). */
static void on_upkeep(uv_timer_t *t)
{
    int64_t wait_ms = 0; /* of a store at most 500 */
    cellar_tick(store, 500, &wait_ms);
    uv_timer_start(t, on_upkeep, (uint64_t)wait_ms, 0);
}

static void store_open(void)
{
    cellar_host_config host = cellar_host_config_default();
    cellar_config cfg = cellar_config_default();
    cellar_error_info why = cellar_error_info_default();
    host.no_threads = 1, cfg.host = &host;
    if (cellar_open(&cfg, &store) != CELLAR_OK) {
        cellar_last_error(NULL, &why);
        fprintf(stderr, "%s\n", why.text);
        exit(1);
    }
    uv_timer_init(uv_default_loop(), &upkeep);
    uv_timer_start(&upkeep, on_upkeep, 0, 0);
    uv_unref((uv_handle_t *)&upkeep); /* upkeep alone keeps no loop running */
}

/* ---- Pages ---------------------------------------------------------------------------------- */

typedef struct request {
    const char *key;
    int answered;       /* 1 with a lease: of a stale value, for the requests that follow */
    cellar_lease lease; /* r lives until on_answer; after PENDING: the ticket */
    uv_timer_t backend; /* a program has a client of HTTP or of a database here, with a time-out */
} request;

static void on_answer(uv_timer_t *t)
{
    request *const r = t->data;
    const char *const page = strcmp(r->key, "/down") == 0 ? "" : "a page"; /* "": a failure */
    if (*page == '\0') { cellar_lease_release(store, &r->lease, CELLAR_E_IO); }
    else { cellar_lease_fulfill(store, &r->lease, page, strlen(page), NULL); }
    /* These called `serve` for the other requests. The holder of the lease continues here. */
    if (!r->answered) { printf("%s: %d %s\n", r->key, *page == '\0' ? 503 : 200, page); }
}

static void serve(void *of)
{
    request *const r = of;
    const cellar_subscriber again = { serve, r }; /* if it leaves: cellar_lease_unsubscribe */
    cellar_load_opts o = cellar_load_opts_default();
    cellar_result v = cellar_result_default();
    o.ttl_ms = 60000, o.stale_ms = 3600000; /* for an hour an old page, if the backend is down */
    o.error_ttl_ms = 1000; /* without one the backend is asked once a second, then more rarely */
    const int e = cellar_lease_acquire(store, r->key, strlen(r->key), &o, &again, &r->lease, &v);
    if (e == CELLAR_PENDING) { return; } /* another request asks the backend */
    const int status = e == CELLAR_OK || e == CELLAR_STALE ? 200 : e == CELLAR_ABSENT ? 404 : 503;
    r->answered = e != CELLAR_LEASED;
    if (r->answered) { printf("%s: %d %.*s\n", r->key, status, (int)v.value_len, (char *)v.value); }
    if (cellar_lease_held(&r->lease)) { /* LEASED, or a value to refresh */
        printf("%s: asks the backend\n", r->key);
        uv_timer_start(&r->backend, on_answer, 1, 0);
    }
    cellar_result_free(&v);
}

int main(void)
{
    static request r[] = { { .key = "/" }, { .key = "/a" }, { .key = "/b" }, { .key = "/a" },
                           { .key = "/down" }, { .key = "/down" } };
    store_open();
    for (int i = 0; i < 6; i++) {
        uv_timer_init(uv_default_loop(), &r[i].backend), r[i].backend.data = &r[i];
        serve(&r[i]);
        if (i == 0 || i == 3 || i == 5) { uv_run(uv_default_loop(), UV_RUN_DEFAULT); }
    }
    for (int i = 0; i < 6; i++) { uv_close((uv_handle_t *)&r[i].backend, NULL); }
    uv_close((uv_handle_t *)&upkeep, NULL);
    uv_run(uv_default_loop(), UV_RUN_DEFAULT); /* until all are closed */
    if (uv_loop_close(uv_default_loop()) != 0) { return 1; }
    return cellar_close(store) == CELLAR_OK ? 0 : 1;
}
