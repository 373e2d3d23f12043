/* SPDX-License-Identifier: MIT
 *
 * Aim:    no call of a remote is a cancellation point: a thread that is cancelled inside a call
 *         leaves neither the link nor a namespace in use.
 * Method: a thread cancels itself, calls, and notes that the call has returned. */
#include <pthread.h>
#include <signal.h>

#include "tests/support/two_sides.h"

static bool returned;

static void step(void) { (void)cellar_remote_step(a.r, 0); }
static void fence(void) { (void)cellar_remote_fence(a.r, 10); }
static void set(void) { (void)side_set(&a, "k", "v"); }
static void close_remote(void) { cellar_remote_close(a.r); }

static void lock(void)
{
    cellar_remote_lock lk;
    (void)cellar_remote_lock_acquire(a.r, "k", 1, NULL, &lk);
}

static void *cancelled(void *call)
{
    void (*const *fn)(void) = call;
    T_EQ_I64(pthread_cancel(pthread_self()), 0);
    (*fn)();
    returned = true;
    return NULL;
}

static void calls(void (*fn)(void))
{
    pthread_t t;
    returned = false;
    T_EQ_I64(pthread_create(&t, NULL, cancelled, &fn), 0);
    T_EQ_I64(pthread_join(t, NULL), 0);
    T_CHECK(returned);
}

T_CASE(cancelled_thread_ends_behind_its_call)
{
    cellar_remote_config ro = side_patient();
    ro.io_ms = 50;
    for (uint32_t no_thread = 0; no_thread < 2; no_thread++) {
        ro.no_thread = no_thread;
        T_REQUIRE(engine_start(&server, NULL));
        side_open(&a, server.socket, &ro, NULL);
        side_fence(&a);
        calls(step);
        calls(fence);
        calls(lock);
        engine_signal(&server, SIGSTOP);
        calls(set);
        engine_signal(&server, SIGCONT);
        calls(close_remote);
        a.r = NULL;
        side_close(&a);
        engine_stop(&server);
    }
}

T_MAIN("cellar_remote_cancel")
