/* SPDX-License-Identifier: MIT
 *
 * user_callback: call user code that may leave by pthread_exit or a deferred cancel.
 *
 * PICTURE    base_cancel_off -> library code
 *            -> base_run_callback { caller's cancel state; fn; off }
 *            -> library code -> base_cancel_set
 * INVARIANTS A thread can end inside fn, never inside library code.
 *            left(arg) runs at most once, and only if fn(arg) did not return.
 * SIMULATION Fibers have no pthread_exit. base_sim_leave jumps to the innermost guard, which runs
 *            its `left` and continues with the next one; the outermost guard, the scenario's,
 *            returns. */
#include "base/user_callback.h"

#if BASE_SIM
#include "base/sim_hooks.h"

#include <setjmp.h>

typedef struct base_guard {
    struct base_guard *outer;
    jmp_buf env;
} base_guard;

CELLAR_PRIVATE int base_cancel_off(void) { return 0; }
CELLAR_PRIVATE void base_cancel_set(int state) { (void)state; }

CELLAR_PRIVATE void base_run_callback(void (*fn)(void *), void (*left)(void *), void *arg,
                                      int cancel)
{
    base_guard guard;
    (void)cancel;
    guard.outer = base_thread_self()->guards;
    base_thread_self()->guards = &guard;
    if (setjmp(guard.env) == 0) {
        fn(arg);
        base_thread_self()->guards = guard.outer;
        return;
    }
    base_thread_self()->guards = guard.outer;
    left(arg);
    if (guard.outer != NULL) { base_sim_leave(); }
}

CELLAR_PRIVATE void base_sim_leave(void)
{
    base_guard *guard = base_thread_self()->guards;
    BASE_REQUIRE(guard != NULL);
    longjmp(guard->env, 1);
}

#else

#include <pthread.h>

CELLAR_PRIVATE int base_cancel_off(void)
{
    int before = PTHREAD_CANCEL_ENABLE;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    return before;
}

CELLAR_PRIVATE void base_cancel_set(int state)
{
    int before;
    (void)pthread_setcancelstate(state, &before);
}

#if BASE_ASAN
/* AddressSanitizer does not clear the shadow of the frames of a cancelled thread. */
void __asan_unpoison_memory_region(void const volatile *addr, size_t size);

/* Store the bounds of this thread's stack in its record. Called at most once per thread. */
static void base_stack_bounds(base_thread_record *self)
{
    pthread_attr_t attr;
    void *low = NULL;
    size_t bytes = 0;
    self->stack_low = 1; /* unknown: the range is empty */
    self->stack_high = 1;
    if (pthread_getattr_np(pthread_self(), &attr) != 0) { return; }
    if (pthread_attr_getstack(&attr, &low, &bytes) == 0 && low != NULL) {
        self->stack_low = (uintptr_t)low;
        self->stack_high = (uintptr_t)low + bytes;
    }
    (void)pthread_attr_destroy(&attr);
}

typedef struct base_leaving {
    void (*left)(void *);
    void *arg;
} base_leaving;

__attribute__((no_sanitize("address"), noinline)) static void base_left_clean(void *p)
{
    base_leaving *l = p;
    const base_thread_record *self = base_thread_self();
    const uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    if (here > self->stack_low && here < self->stack_high) {
        __asan_unpoison_memory_region((void *)self->stack_low, here - self->stack_low);
    }
    l->left(l->arg);
}

__attribute__((no_sanitize("address"))) CELLAR_PRIVATE void
base_run_callback(void (*fn)(void *), void (*left)(void *), void *arg, int cancel)
{
    base_leaving l = { left, arg };
    base_thread_record *self = base_thread_self();
    if (self->index != 0 && self->stack_high == 0) { base_stack_bounds(self); }
    pthread_cleanup_push(base_left_clean, &l);
    if (cancel != BASE_CANCEL_STAYS) { base_cancel_set(cancel); }
    fn(arg);
    (void)base_cancel_off();
    pthread_cleanup_pop(0);
}
#else
CELLAR_PRIVATE void base_run_callback(void (*fn)(void *), void (*left)(void *), void *arg,
                                      int cancel)
{
    pthread_cleanup_push(left, arg);
    if (cancel != BASE_CANCEL_STAYS) { base_cancel_set(cancel); }
    fn(arg);
    (void)base_cancel_off();
    pthread_cleanup_pop(0);
}
#endif

#endif
