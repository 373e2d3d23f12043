/* SPDX-License-Identifier: MIT
 *
 * sigbus: replace a page that is missing from a mapped file by zeros, and set a flag, on SIGBUS.
 *
 * PICTURE    guard[64] {base, bytes, hit}      first guard: sigaction; the old action is kept
 *            SIGBUS -> from the kernel and inside a guard: hit = 1, map an anonymous page over the
 *                      address, run the instruction again
 *                   -> else: call the old handler, or take the default action
 *            last guard released -> restore the old action if the present handler is ours
 * INVARIANTS hit is set before the page is mapped: a reader of zeros always finds the flag set.
 *            The handler takes no lock, allocates nothing and preserves errno.
 *            The handler is installed only on request: a signal has one action per process, and
 *            that action belongs to the host.
 * LOCKING    base_sigbus.busy during the two sigaction calls. A guard belongs to the caller that
 *            made it; its fields are atomic because the handler reads them at any time.
 * FORK       The child has none of the maps: it frees all guards and keeps the action.
 * LIMITS     An old handler runs with our signal mask and on our stack. A handler that is installed
 *            later and does not chain takes the signal from us; one that chains keeps ours as a
 *            link: the action is then not restored, and this code must stay loaded. The tail of
 *            the last page of a file reads zero without a signal.
 * SEE ALSO   l2/health.c: how a store reacts to a missing page. */
#include "base/sigbus.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/futex.h"
#include "base/thread_record.h"

BASE_SIZE_BEGIN

typedef struct base_sigbus_range {
    _Atomic uintptr_t base; /* 0: free; released after `bytes` is set, acquired in the handler */
    _Atomic size_t bytes;
    _Atomic uint32_t used;  /* 1: taken, from before base is set until after it is cleared */
    _Atomic uint32_t hit;   /* release in the handler, acquire in base_sigbus_hit */
} base_sigbus_range;

static struct base_sigbus {
    base_sigbus_range guard[BASE_SIGBUS_GUARDS];
    sync_lock busy;          /* no rank; guards the next two fields */
    uint32_t count;          /* guards in use */
    bool installed;          /* `before` is valid */
    struct sigaction before; /* constant while installed */
    _Atomic uint32_t active; /* == count; read by base_sigbus_hear without `busy` */
    size_t page_bytes;       /* set before `installed` */
} base_sigbus;

static void base_sigbus_pass_on(int sig, siginfo_t *info, void *context)
{
    const struct sigaction *old = &base_sigbus.before;
    if ((old->sa_flags & SA_SIGINFO) != 0) {
        old->sa_sigaction(sig, info, context);
    } else if (old->sa_handler != SIG_DFL && old->sa_handler != SIG_IGN) {
        old->sa_handler(sig);
    } else if (old->sa_handler == SIG_DFL || info->si_code > 0) {
        /* The kernel raises its own signal again after the return, now with the default action. A
         * signal that a process sent must be sent again here. */
        struct sigaction none;
        memset(&none, 0, sizeof none);
        none.sa_handler = SIG_DFL;
        (void)sigaction(sig, &none, NULL);
        if (info->si_code <= 0) { (void)raise(sig); }
    }
}

static void base_sigbus_handler(int sig, siginfo_t *info, void *context)
{
    const int was = errno;
    const uintptr_t at = (uintptr_t)info->si_addr;
    for (uint32_t i = 0; i < BASE_SIGBUS_GUARDS && info->si_code > 0; i++) {
        base_sigbus_range *g = &base_sigbus.guard[i];
        const uintptr_t base = atomic_load(&g->base);
        if (base == 0 || at < base || at - base >= atomic_load(&g->bytes)) { continue; }
        atomic_store(&g->hit, 1u);
        void *page = (unsigned char *)info->si_addr - at % base_sigbus.page_bytes;
        const void *now = mmap(page, base_sigbus.page_bytes, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        errno = was;
        if (now != MAP_FAILED) { return; }
    }
    base_sigbus_pass_on(sig, info, context);
    errno = was;
}

/* Install the handler unless it is the action, or a link of the chain, already. */
static int base_sigbus_install(void)
{
    struct sigaction ours;
    if (base_sigbus.installed) { return 0; }
    memset(&ours, 0, sizeof ours);
    ours.sa_sigaction = base_sigbus_handler;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    (void)sigemptyset(&ours.sa_mask);
    base_sigbus.page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    /* Read first: the handler may run before the second call returns. */
    if (sigaction(SIGBUS, NULL, &base_sigbus.before) != 0) { return errno; }
    if (sigaction(SIGBUS, &ours, NULL) != 0) { return errno; }
    base_sigbus.installed = true;
    return 0;
}

static void base_sigbus_uninstall(void)
{
    struct sigaction now;
    if (!base_sigbus.installed || sigaction(SIGBUS, NULL, &now) != 0) { return; }
    if ((now.sa_flags & SA_SIGINFO) == 0 || now.sa_sigaction != base_sigbus_handler) { return; }
    if (sigaction(SIGBUS, &base_sigbus.before, NULL) == 0) { base_sigbus.installed = false; }
}

static void base_sigbus_child(void *ctx)
{
    (void)ctx;
    sync_reset(&base_sigbus.busy);
    base_sigbus.count = 0;
    atomic_store(&base_sigbus.active, 0u);
    for (uint32_t i = 0; i < BASE_SIGBUS_GUARDS; i++) {
        atomic_store(&base_sigbus.guard[i].base, (uintptr_t)0);
        atomic_store(&base_sigbus.guard[i].used, 0u);
    }
}

static base_fork_node base_sigbus_node = { .child = base_sigbus_child };

CELLAR_PRIVATE int base_sigbus_guard(void *map, size_t bytes, uint32_t *guard)
{
    if (!base_fork_register(&base_sigbus_node)) { return ENOMEM; }
    for (uint32_t i = 0; i < BASE_SIGBUS_GUARDS; i++) {
        base_sigbus_range *g = &base_sigbus.guard[i];
        uint32_t unused = 0;
        if (!atomic_compare_exchange_strong(&g->used, &unused, 1u)) { continue; }
        sync_bare_take(&base_sigbus.busy);
        const int e = base_sigbus_install();
        base_sigbus.count += e == 0 ? 1u : 0u;
        atomic_store(&base_sigbus.active, base_sigbus.count);
        sync_bare_drop(&base_sigbus.busy);
        if (e != 0) {
            atomic_store(&g->used, 0u);
            return e;
        }
        atomic_store(&g->hit, 0u);
        atomic_store(&g->bytes, bytes);
        atomic_store(&g->base, (uintptr_t)map);
        *guard = i + 1;
        return 0;
    }
    return EAGAIN;
}

CELLAR_PRIVATE void base_sigbus_release(uint32_t guard)
{
    if (guard == 0) { return; }
    BASE_ASSERT(guard <= BASE_SIGBUS_GUARDS);
    base_sigbus_range *g = &base_sigbus.guard[guard - 1];
    atomic_store(&g->base, (uintptr_t)0);
    sync_bare_take(&base_sigbus.busy);
    base_sigbus.count--;
    atomic_store(&base_sigbus.active, base_sigbus.count);
    if (base_sigbus.count == 0) { base_sigbus_uninstall(); }
    sync_bare_drop(&base_sigbus.busy);
    atomic_store(&g->used, 0u);
}

CELLAR_PRIVATE bool base_sigbus_hit(uint32_t guard)
{
    return guard != 0 &&
           atomic_load_explicit(&base_sigbus.guard[guard - 1].hit, memory_order_acquire) != 0;
}

/* Unblock SIGBUS in this thread. Threads of the library block all signals, and a blocked SIGBUS
 * that the kernel raises ends the process. */
CELLAR_PRIVATE void base_sigbus_hear(void)
{
    sigset_t bus;
    if (atomic_load(&base_sigbus.active) == 0) { return; }
    (void)sigemptyset(&bus);
    (void)sigaddset(&bus, SIGBUS);
    (void)pthread_sigmask(SIG_UNBLOCK, &bus, NULL);
}

BASE_SIZE_END
