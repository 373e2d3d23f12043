/* SPDX-License-Identifier: MIT
 *
 * leave_wait: callers leave a wait for the load of another call, which goes on. A signal does
 * not end a wait: the caller waits in short pieces, and looks at its own flag between them. A
 * cancelled task of an event loop never waits: it subscribes, and withdraws.
 *
 * Here one thread loads a key for as long as the program says. A worker is told to stop by SIGUSR1,
 * a task is cancelled, and a third caller stays for the value. The program checks itself.
 *
 *     cc -O2 leave_wait.c -lcellar -pthread */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cellar.h"
#include "cellar_load.h"
#include "cellar_observe.h"

static cellar *c;
static atomic_int loads, may_end, told;
static volatile sig_atomic_t stop;

static void nap(void)
{
    const struct timespec ms = { 0, 1000000 };
    nanosleep(&ms, NULL);
}

static cellar_err slow_source(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    atomic_fetch_add(&loads, 1);
    while (!atomic_load(&may_end)) { nap(); }
    return cellar_load_value(load, "value", 5);
}

/* Wait until n calls and subscribers wait for the load. */
static void wait_for_waiters(uint64_t n)
{
    cellar_stats st = cellar_stats_default();
    while (cellar_stats_get(c, CELLAR_SCOPE_STORE, &st) == CELLAR_OK && st.load_waiters < n) {
        nap();
    }
}

/* Return the code of a load that waits at most wait_ms for another call; 0: the default. */
static cellar_err load(int64_t wait_ms)
{
    cellar_load_opts o = cellar_load_opts_default();
    cellar_result r = cellar_result_default();
    o.wait_timeout_ms = wait_ms;
    const cellar_err err = cellar_get_or_load(c, "k", 1, &o, slow_source, NULL, &r);
    cellar_result_free(&r);
    return err;
}

static void *call(void *result)
{
    *(cellar_err *)result = load(0);
    return NULL;
}

/* ---- a worker that a signal stops ---- */

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

static void *worker(void *result)
{
    cellar_err err;
    do {
        err = load(10); /* E_TIMEOUT: the load still runs, look at the flag */
    } while (err == CELLAR_E_TIMEOUT && !stop);
    *(cellar_err *)result = stop ? CELLAR_E_CANCELLED : err;
    return NULL;
}

/* ---- a task that its loop cancels ---- */

static void tell(void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&told, 1);
}

/* Subscribe to the end of the load, then withdraw. Return whether no trace is left. */
static int cancelled_task(void)
{
    const cellar_subscriber subscriber = { tell, NULL };
    cellar_result r = cellar_result_default();
    cellar_lease ticket;
    const cellar_err err = cellar_lease_acquire(c, "k", 1, NULL, &subscriber, &ticket, &r);
    cellar_result_free(&r);
    return err == CELLAR_PENDING && cellar_lease_unsubscribe(c, &ticket) == CELLAR_OK;
}

int main(void)
{
    struct sigaction act = { .sa_handler = on_signal };
    pthread_t leader, stays, stopped;
    cellar_err err[3] = { CELLAR_E_INVAL, CELLAR_E_INVAL, CELLAR_E_INVAL };
    sigaction(SIGUSR1, &act, NULL);
    if (cellar_open(NULL, &c) != CELLAR_OK) { return 1; }
    pthread_create(&leader, NULL, call, &err[0]);
    while (atomic_load(&loads) == 0) { nap(); }
    pthread_create(&stays, NULL, call, &err[1]);
    wait_for_waiters(1);
    pthread_create(&stopped, NULL, worker, &err[2]);
    wait_for_waiters(2);
    pthread_kill(stopped, SIGUSR1);
    pthread_join(stopped, NULL);
    const int left = cancelled_task();

    atomic_store(&may_end, 1);
    pthread_join(leader, NULL);
    pthread_join(stays, NULL);
    const int good = err[0] == CELLAR_OK && err[1] == CELLAR_OK && err[2] == CELLAR_E_CANCELLED &&
                     left && atomic_load(&loads) == 1 && atomic_load(&told) == 0;
    printf("leave_wait: %s, %d load\n", good ? "two callers left, one got the value" : "WRONG",
           atomic_load(&loads));
    return cellar_close(c) == CELLAR_OK && good ? 0 : 1;
}
