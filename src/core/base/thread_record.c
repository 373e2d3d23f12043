/* SPDX-License-Identifier: MIT
 *
 * thread_record: one record per thread; what happens to it when threads end and processes fork.
 *
 * PICTURE    thread -- thread-local pointer --> record i of chunk i / 64 (own cache lines)
 *            record: owner's tid | counters' index | last clock reading | random state | held ranks
 *            first call of a thread: test 8 used records, round robin, for a dead owner (tgkill
 *            returns ESRCH, or the kernel has reused the tid for this thread); else take the next
 *            fresh record; if none is left test 64 more, then share record 0
 * INVARIANTS A record belongs to at most one live thread of this process, index 0 excepted. Chunks
 *            (at most 64) are mapped when first needed and never unmapped; records are reused.
 * LOCKING    Registration takes base_thread_records.lock, which has no rank: rank checks need a
 *            record. The fields of a record belong to its thread; `tid` is written under the lock.
 * FORK       A fork takes the lock of the records, and no other. tgkill sees only this process: in
 *            a forked child the tids of the parent are dead, so all other records are free. The
 *            child handler stores the new tid of its own thread and runs the nodes.
 * LIMITS     4,095 records. Threads beyond them share record 0 and must not keep state in it. In a
 *            child of a bare clone() without handlers, the first new thread may share a record.
 * SEE ALSO   README.md in this folder: why not pthread_key. */
#include "base/thread_record.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/futex.h"
#include "base/num.h"
#if BASE_SIM
#include "base/sim_hooks.h"
#endif

#if !BASE_SIM
static struct base_thread_records {
    sync_lock lock;              /* no rank; guards the fields below; held over a fork */
    base_fork_node *nodes;       /* one list for the process, newest first */
    bool atfork;                 /* pthread_atfork succeeded */
    _Atomic uint32_t count;      /* records handed out, the shared one included; never falls */
    uint32_t cursor;             /* record at which the next search for an orphan starts */
    base_thread_record *chunk[BASE_THREAD_MAX / 64]; /* mapped, never unmapped */
} base_thread_records;

/* index 0: shared by threads beyond the limit or without memory */
static base_thread_record base_thread_shared = { .far_ms = INT64_MAX };
BASE_THREAD_DEFINE(base_thread_record *, base_thread_mine);

static int32_t base_tid(void) { return (int32_t)syscall(SYS_gettid); }

static void base_fork_prepare(void)
{
    (void)base_thread_self(); /* handlers of the program that run now take no lock for it */
    sync_bare_take(&base_thread_records.lock);
}

static void base_fork_parent(void) { sync_bare_drop(&base_thread_records.lock); }

static void base_fork_link(base_fork_node *n)
{
    n->prev = NULL;
    n->next = base_thread_records.nodes;
    if (n->next != NULL) { n->next->prev = n; }
    base_thread_records.nodes = n;
}

/* Reset the record of the forking thread: what it does in callbacks concerns objects of the
 * parent. */
static void base_record_child(base_thread_record *self)
{
    if (self->index == 0) { return; } /* shared: nothing of a callback is in it */
    base_store_rlx(&self->tid, base_tid());
    self->depth = self->in_tier = self->roles = self->held_count = self->noted_count = 0;
    self->change_scopes = self->leads = self->waits_for = self->late = NULL;
    self->frees = NULL;
    self->late_runs = false;
    self->hurries = false;
    memset(self->loads, 0, sizeof self->loads);
}

static void base_fork_child(void)
{
    sync_reset(&base_thread_records.lock);
    base_record_child(base_thread_self());
    base_fork_node *n = base_thread_records.nodes, *next;
    base_thread_records.nodes = NULL;
    for (; n != NULL; n = next) {
        next = n->next;
        n->child(n->ctx);
        if (n->ctx == NULL) { base_fork_link(n); } /* of the process: its children have it, too */
    }
}

/* Register before the program does: its prepare handlers, which may wait for calls, run before
 * ours, its child handlers after ours. */
BASE_AT_LOAD static void base_atfork(void)
{
    base_thread_records.atfork =
        pthread_atfork(base_fork_prepare, base_fork_parent, base_fork_child) == 0;
}

BASE_SIZE_BEGIN

/* ---- threads by number ---- */

CELLAR_PRIVATE int32_t base_thread_id_slow(void) { return base_tid(); }

CELLAR_PRIVATE bool base_thread_gone(int32_t tid)
{
    const int saved = errno;
    const bool gone = syscall(SYS_tgkill, getpid(), tid, 0) != 0 && errno == ESRCH;
    errno = saved;
    return gone;
}

/* ---- records ---- */

static base_thread_record *base_record(uint32_t index)
{
    return &base_thread_records.chunk[index / 64][index % 64];
}

/* Return whether the owner of the record is dead: the process has no such thread, or the kernel has
 * given its tid to the calling thread. */
static bool base_record_is_orphan(const base_thread_record *r, int32_t my_tid)
{
    int32_t tid = base_load_rlx(&r->tid);
    if (tid == 0 || tid == my_tid) { return true; }
    return base_thread_gone(tid);
}

static base_thread_record *base_record_orphan(int32_t my_tid, uint32_t looks)
{
    uint32_t count = base_load_rlx(&base_thread_records.count);
    for (uint32_t i = 0; i < looks && i + 1 < count; i++) {
        base_thread_records.cursor =
            base_thread_records.cursor + 1 < count ? base_thread_records.cursor + 1 : 1;
        base_thread_record *r = base_record(base_thread_records.cursor);
        if (base_record_is_orphan(r, my_tid)) { return r; }
    }
    return NULL;
}

static base_thread_record *base_record_fresh(void)
{
    uint32_t index = base_load_rlx(&base_thread_records.count);
    if (index == 0) { index = 1; } /* 0 is the shared record */
    if (index >= BASE_THREAD_MAX) { return NULL; }
    base_thread_record **chunk = &base_thread_records.chunk[index / 64];
    if (*chunk == NULL) {
        void *p = MAP_FAILED;
        if (!base_fault_alloc("base.self")) {
            p = mmap(NULL, 64 * sizeof(base_thread_record), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        }
        if (p == MAP_FAILED) { return NULL; }
        *chunk = p;
    }
    base_store_sc(&base_thread_records.count, index + 1);
    base_record(index)->index = index;
    base_store_rlx(&base_record(index)->lane, index);
    return base_record(index);
}

/* Reset a record for a new owner. The index stays, so that its counters continue. Owners begin in
 * different lanes. */
static void base_record_init(base_thread_record *r, int32_t tid)
{
    const uint32_t index = r->index, lane = base_load_rlx(&r->lane) + 1;
#if BASE_TSAN
    /* The kernel has ended the former owner, so its writes happened before. ThreadSanitizer knows
     * that only of memory that is mapped again. */
    BASE_REQUIRE(mmap(r, sizeof *r, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                      -1, 0) == (void *)r);
#else
    memset(r, 0, sizeof *r);
#endif
    r->index = index;
    base_store_rlx(&r->lane, lane);
    r->far_ms = INT64_MAX;
    base_store_rlx(&r->tid, tid);
    uint64_t seed;
    if (!base_random_bytes(&seed, sizeof seed)) { seed = base_mix64((uint64_t)(uintptr_t)r); }
    base_rng_seed(&r->rng, seed);
}

BASE_COLD CELLAR_PRIVATE base_thread_record *base_thread_slow(void)
{
    int saved = errno;
    int32_t tid = base_tid();
    sync_bare_take(&base_thread_records.lock);
    base_thread_record *r = base_record_orphan(tid, 8);
    if (r == NULL) { r = base_record_fresh(); }
    if (r == NULL) { r = base_record_orphan(tid, 64); }
    if (r != NULL) {
        base_record_init(r, tid);
    } else {
        r = &base_thread_shared;
        if (base_thread_shared.rng.s[0] == 0) {
            base_rng_seed(&base_thread_shared.rng, (uint64_t)tid);
        }
    }
    sync_bare_drop(&base_thread_records.lock);
    base_thread_mine = r;
    errno = saved;
    return r;
}

CELLAR_PRIVATE uint32_t base_thread_count(void)
{
    uint32_t n = base_load_sc(&base_thread_records.count);
    return n > 0 ? n : 1;
}

CELLAR_PRIVATE bool base_fork_register(base_fork_node *n)
{
    (void)base_thread_self();
    if (base_load_rlx(&n->listed)) { return true; }
    if (!base_thread_records.atfork || base_fault_alloc("base.fork_register")) { return false; }
    sync_bare_take(&base_thread_records.lock);
    if (!base_load_rlx(&n->listed)) { base_fork_link(n); }
    base_store_rlx(&n->listed, true);
    sync_bare_drop(&base_thread_records.lock);
    return true;
}

CELLAR_PRIVATE void base_fork_unregister(base_fork_node *n)
{
    sync_bare_take(&base_thread_records.lock);
    if (n->prev != NULL) { n->prev->next = n->next; } else { base_thread_records.nodes = n->next; }
    if (n->next != NULL) { n->next->prev = n->prev; }
    base_store_rlx(&n->listed, false);
    sync_bare_drop(&base_thread_records.lock);
}

CELLAR_PRIVATE void base_fork_settle(void)
{
    sync_bare_take(&base_thread_records.lock);
    sync_bare_drop(&base_thread_records.lock);
}

BASE_SIZE_END

#else

/* Accept the node so that the caller's code runs. Fibers do not fork. */
CELLAR_PRIVATE bool base_fork_register(base_fork_node *n)
{
    (void)n;
    return !base_fault_alloc("base.fork_register");
}
CELLAR_PRIVATE void base_fork_unregister(base_fork_node *n) { (void)n; }
CELLAR_PRIVATE void base_fork_settle(void) {}

CELLAR_PRIVATE int32_t base_thread_id_slow(void) { return 0; }
CELLAR_PRIVATE bool base_thread_gone(int32_t tid) { return base_sim_thread_gone(tid); }

#endif
