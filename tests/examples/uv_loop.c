/* SPDX-License-Identifier: MIT
 *
 * uv_loop: a store without threads in a loop of libuv. The first request of a key gets the lease
 * and asks the backend; an async handle tells all when the value is there. No call waits.
 *
 *     cc -O2 uv_loop.c -lcellar -luv -pthread */
#include <stdio.h>
#include <uv.h>

#include "cellar_admin.h"
#include "cellar_load.h"

static cellar *store;
static cellar_lease lease;
static uv_timer_t backend, upkeep;
static uv_async_t bell;
static int asked, answered;

static void ring(void *ctx) { uv_async_send(ctx); }
static void on_answer(uv_timer_t *t) { cellar_lease_fulfill(store, &lease, t->data, 6, NULL); }

static void serve(void)
{
    const cellar_subscriber tell = { ring, &bell };
    cellar_result r = cellar_result_default();
    cellar_lease mine;
    switch (cellar_lease_acquire(store, "/", 1, NULL, &tell, &mine, &r)) {
    case CELLAR_OK: case CELLAR_STALE: /* with stale_ms mine may be a lease: ask as below */
        printf("%d: %.*s\n", ++answered, (int)r.value_len, (const char *)r.value);
        break;
    case CELLAR_LEASED:
        lease = mine, asked++;
        backend.data = "a page";
        uv_timer_start(&backend, on_answer, 1, 0); /* 1 ms later; fulfill rings the bell */
        break;
    case CELLAR_PENDING: break; /* the bell will ring; a failed backend: cellar_lease_release */
    default: printf("%d: 503\n", ++answered); /* no bell */
    }
    cellar_result_free(&r);
}

static void on_bell(uv_async_t *a)
{
    for (int waiting = 3 - answered; waiting > 0; waiting--) { serve(); }
    if (answered == 3) { uv_stop(a->loop); }
}

static void on_upkeep(uv_timer_t *t)
{
    int64_t wait_ms = 1000;
    (void)cellar_tick(store, 500, &wait_ms); /* expiry and the like, 500 us at a time */
    uv_timer_start(t, on_upkeep, (uint64_t)wait_ms, 0);
}

int main(void)
{
    cellar_host_config host = cellar_host_config_default();
    cellar_config cfg = cellar_config_default();
    host.no_threads = 1;
    cfg.host = &host;
    if (cellar_open(&cfg, &store) != CELLAR_OK) { return 1; }
    uv_timer_init(uv_default_loop(), &backend);
    uv_timer_init(uv_default_loop(), &upkeep);
    uv_async_init(uv_default_loop(), &bell, on_bell);
    on_upkeep(&upkeep);
    for (int request = 0; request < 3; request++) { serve(); }
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    printf("asked %d\n", asked);
    return cellar_close(store) == CELLAR_OK ? 0 : 1;
}
