/* SPDX-License-Identifier: MIT
 *
 * sync: rank checks, events, roles, threads.
 *
 * LOCKING    BASE_DEBUG keeps the held locks of a thread in its record. A lock is taken only above
 *            every rank held; at an equal ORDERED rank above every address of that rank; by
 *            sync_try at any equal rank. */
#include "base/sync.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/num.h"
#if BASE_SIM
#include "base/sim_hooks.h"
#endif

#define SYNC_STACK_LEAST ((size_t)256 << 10) /* for the functions of the library */
#define SYNC_STACK_DEFAULT ((size_t)1 << 20) /* least of the default: callbacks of the program */

/* ---- ranks ---- */

#if BASE_DEBUG
static bool sync_rank_ordered(sync_rank r)
{
    switch (r) {
#define SYNC_X(name, number, ordered) case SYNC_RANK_##name: return (ordered) != 0;
        SYNC_RANKS(SYNC_X)
#undef SYNC_X
    case SYNC_RANK_NONE: break;
    }
    return false;
}

CELLAR_PRIVATE void sync_rank_push(sync_rank r, const void *lock, bool tried)
{
    base_thread_record *self = base_thread_self();
    if (self->index == 0) { return; } /* shared record: it keeps no locks */
    for (uint32_t i = 0; i < self->noted_count; i++) {
        BASE_REQUIRE(self->held[i].lock != lock); /* taken twice */
        BASE_REQUIRE(self->held[i].rank <= r);    /* out of order */
        if (self->held[i].rank == r && !tried) {
            BASE_REQUIRE(sync_rank_ordered(r));
            BASE_REQUIRE((uintptr_t)self->held[i].lock < (uintptr_t)lock);
        }
    }
    if (self->noted_count < SYNC_HELD_MAX) {
        self->held[self->noted_count].rank = r;
        self->held[self->noted_count].lock = lock;
        self->noted_count++;
    }
    self->held_count++;
}

CELLAR_PRIVATE void sync_rank_pop(sync_rank r, const void *lock)
{
    base_thread_record *self = base_thread_self();
    if (self->index == 0) { return; }
    BASE_REQUIRE(self->held_count > 0);
    uint32_t n = self->noted_count;
    for (uint32_t i = n; i-- > 0;) {
        if (self->held[i].lock != lock) { continue; }
        BASE_REQUIRE(self->held[i].rank == r);
        memmove(&self->held[i], &self->held[i + 1], (n - i - 1) * sizeof self->held[0]);
        self->noted_count--;
        self->held_count--;
        return;
    }
    BASE_REQUIRE(self->held_count > n); /* else: not held by this thread */
    self->held_count--;
}

CELLAR_PRIVATE void sync_assert_none(void)
{
    base_thread_record *self = base_thread_self();
    BASE_ASSERT(self->index == 0 || self->held_count == 0);
}

CELLAR_PRIVATE void sync_assert_not(sync_rank r)
{
    base_thread_record *self = base_thread_self();
    for (uint32_t i = 0; self->index != 0 && i < self->noted_count; i++) {
        BASE_ASSERT(self->held[i].rank != r);
    }
}
#endif

CELLAR_PRIVATE bool sync_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t deadline_ns)
{
    sync_assert_none();
    int saved = errno;
    int e = 0;
    while (base_load_acq(word) == expected) {
        e = sync_futex_wait(word, expected, deadline_ns, "sync.wait");
        if (e != EINTR) { break; }
    }
    errno = saved;
    return e != ETIMEDOUT;
}

/* ---- roles ---- */

static void sync_role_count(void)
{
    base_thread_record *self = base_thread_self();
    if (self->index != 0) { self->roles++; }
}

CELLAR_PRIVATE bool sync_role_try(_Atomic uint32_t *word)
{
    if (!base_cas_ar(word, 0u, 1u)) { return false; }
    sync_role_count();
    return true;
}

CELLAR_PRIVATE void sync_role_take(_Atomic uint32_t *word)
{
    sync_assert_none();
    if (sync_role_try(word)) { return; }
    while (base_xchg_ar(word, 2u) != 0) { (void)sync_wait(word, 2u, UINT64_MAX); }
    sync_role_count();
}

CELLAR_PRIVATE void sync_role_drop(_Atomic uint32_t *word)
{
    base_thread_record *self = base_thread_self();
    if (base_xchg_ar(word, 0u) == 2) { sync_wake(word, INT32_MAX); }
    if (self->index == 0 || --self->roles != 0 || self->late_runs) { return; }
    self->late_runs = true; /* The loop makes the calls that these calls put off. */
    while (self->late != NULL) {
        sync_late *last = self->late, *l = last->next;
        last->next = l->next;
        if (l == last) { self->late = NULL; }
        l->run(l);
    }
    self->late_runs = false;
}

CELLAR_PRIVATE void sync_put_off(sync_late *l)
{
    base_thread_record *self = base_thread_self();
    sync_late *last = self->late;
    BASE_ASSERT(self->roles != 0);
    l->next = last != NULL ? last->next : l;
    if (last != NULL) { last->next = l; }
    self->late = l;
}

CELLAR_PRIVATE void base_guarded(void (*fn)(void *), void (*end)(void *), void *ctx)
{
    pthread_cleanup_push(end, ctx);
    fn(ctx);
    pthread_cleanup_pop(1);
}

#if BASE_SIM

CELLAR_PRIVATE int base_thread_start(base_thread *t, void (*fn)(void *), void *arg,
                                     const char *name, size_t stack_bytes)
{
    (void)stack_bytes;
    if (base_fault_alloc("base.thread_start")) { return EAGAIN; }
    t->fn = fn;
    t->arg = arg;
    return base_sim_thread_start(t, name);
}

CELLAR_PRIVATE bool base_thread_try_join(base_thread *t)
{
    if (base_load_acq(&t->running) != 0) { return false; }
    base_sim_thread_join(t);
    return true;
}

CELLAR_PRIVATE void base_thread_join(base_thread *t)
{
    sync_assert_none();
    base_sim_thread_join(t);
}

#else

BASE_SIZE_BEGIN

/* ---- threads ---- */

static void sync_thread_ended(void *p)
{
    base_thread *t = p;
    base_store_rel(&t->running, 0u);
}

static void sync_thread_run(void *p)
{
    base_thread *t = p;
    t->fn(t->arg);
}

static void *sync_thread_main(void *p)
{
    base_thread *t = p;
    int old;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    (void)pthread_setname_np(pthread_self(), t->name); /* failure is harmless */
    base_guarded(sync_thread_run, sync_thread_ended, t);
    return NULL;
}

/* Start the thread with all signals blocked from its first instruction: it inherits the mask of its
 * creator. */
CELLAR_PRIVATE int base_thread_start(base_thread *t, void (*fn)(void *), void *arg,
                                     const char *name, size_t stack_bytes)
{
    BASE_ASSERT(strlen(name) < sizeof t->name);
    if (base_fault_alloc("base.thread_start")) { return EAGAIN; }
    t->fn = fn;
    t->arg = arg;
    snprintf(t->name, sizeof t->name, "%s", name);
    base_store_rlx(&t->running, 1u);
    pthread_attr_t attr;
    int e = pthread_attr_init(&attr);
    if (e != 0) { goto out; }
    size_t stack = stack_bytes;
    if (stack == 0) { /* musl's default has 128 KiB */
        (void)pthread_attr_getstacksize(&attr, &stack);
        stack = BASE_MAX(stack, SYNC_STACK_DEFAULT);
    }
    stack = BASE_MAX(stack, SYNC_STACK_LEAST);
    (void)pthread_attr_setstacksize(&attr, stack); /* refused: the default size applies */
    sigset_t all, before;
    sigfillset(&all);
    e = pthread_sigmask(SIG_SETMASK, &all, &before);
    if (e != 0) { goto drop_attr; }
    pthread_t thread;
    e = pthread_create(&thread, &attr, sync_thread_main, t);
    if (e == EINVAL) { /* the stack does not hold the thread-local data of the program */
        e = pthread_create(&thread, NULL, sync_thread_main, t);
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (e == 0) {
        _Static_assert(sizeof thread <= sizeof t->handle, "a pthread_t fits the handle");
        t->handle = 0;
        memcpy(&t->handle, &thread, sizeof thread);
    }
drop_attr:
    (void)pthread_attr_destroy(&attr);
out:
    if (e != 0) { base_store_rlx(&t->running, 0u); }
    return e;
}

CELLAR_PRIVATE bool base_thread_try_join(base_thread *t)
{
    pthread_t thread;
    memcpy(&thread, &t->handle, sizeof thread);
    if (t->handle != 0 && pthread_tryjoin_np(thread, NULL) != 0) { return false; }
    t->handle = 0;
    return true;
}

CELLAR_PRIVATE void base_thread_join(base_thread *t)
{
    sync_assert_none();
    if (t->handle == 0) { return; }
    pthread_t thread;
    memcpy(&thread, &t->handle, sizeof thread);
    int state;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state); /* a close must complete */
    int e = pthread_join(thread, NULL);
    (void)pthread_setcancelstate(state, &state);
    BASE_REQUIRE(e == 0);
    t->handle = 0;
}

BASE_SIZE_END

#endif
