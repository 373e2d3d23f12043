/* SPDX-License-Identifier: MIT
 *
 * Aim:    each live thread has a record of its own, records of ended threads are reused, and a
 *         forked child keeps its own record.
 * Method: 20,000 short threads, one after the other and in groups, with the count of records before
 *         and after; records of live threads compared; fork in a process with other threads. */
#include "tests/support/child.h"
#include "tests/support/t.h"

#include <pthread.h>
#include <sys/syscall.h>

#include "base/sync.h"

static void *touch(void *arg)
{
    (void)arg;
    base_thread_record *s = base_thread_self();
    s->countdown++;
    return NULL;
}

T_CASE(record_of_a_thread_is_stable)
{
    base_thread_record *s = base_thread_self();
    T_CHECK(s == base_thread_self());
    T_CHECK(s->index >= 1 && s->index < BASE_THREAD_MAX);
    T_EQ_I64(base_load_rlx(&s->tid), (int64_t)syscall(SYS_gettid));
    T_EQ_U64((uintptr_t)s % BASE_PAD, 0);
    T_CHECK(base_thread_count() > s->index);
}

T_CASE(records_of_ended_threads_are_reused)
{
    (void)base_thread_self();
    uint32_t before = base_thread_count();
    const uint64_t threads = t_share(20000 / T_COST);
    for (uint64_t i = 0; i < threads; i++) { t_live_and_end(touch, NULL); }
    T_CHECK(base_thread_count() <= before + 1);
}

/* ---- many threads at the same time ---- */

enum { BUNCH = 60 };
static struct { _Atomic uint32_t go, there; base_thread_record *record[BUNCH]; } bunch;

static void bunch_main(void *arg)
{
    size_t i = (size_t)(uintptr_t)arg;
    bunch.record[i] = base_thread_self();
    (void)base_add_ar(&bunch.there, 1u);
    while (base_load_acq(&bunch.go) == 0) { (void)sync_wait(&bunch.go, 0, UINT64_MAX); }
}

/* Keep all threads alive until each has its record. Later bunches reuse these records. */
T_CASE(records_of_live_threads_differ)
{
    static base_thread t[BUNCH];
    for (int round = 0; round < 50; round++) {
        size_t equal = 0;
        base_store_rel(&bunch.go, 0u);
        base_store_rel(&bunch.there, 0u);
        for (size_t i = 0; i < BUNCH; i++) {
            T_REQUIRE(base_thread_start(&t[i], bunch_main, (void *)i, "bunch", 0) == 0);
        }
        while (base_load_acq(&bunch.there) < BUNCH) { base_yield(); }
        base_store_sc(&bunch.go, 1u);
        sync_wake(&bunch.go, INT32_MAX);
        for (size_t i = 0; i < BUNCH; i++) { base_thread_join(&t[i]); }
        for (size_t i = 0; i < BUNCH; i++) {
            const uint32_t index = bunch.record[i]->index;
            T_CHECK(bunch.record[i] != base_thread_self() && index != 0 && index < 8 * BUNCH);
            for (size_t j = 0; j < i; j++) { equal += bunch.record[i] == bunch.record[j]; }
        }
        T_EQ_U64(equal, 0); /* all threads lived until `go`, which followed their last record */
    }
}

/* ---- fork ---- */

static int children, of_process;
static void on_child(void *c) { ++*(int *)c; }
static void on_process(void *c) { of_process += c == NULL; }

/* Fork again in a child: objects of the first parent are marked already. */
static int grandchild(void) { return children == 2 && of_process == 2 ? 0 : 1; }
static int other_child(void) { return children == 1 ? 0 : 1; }

T_CASE(forked_child_keeps_its_record)
{
    base_thread t;
    base_store_rel(&bunch.go, 0u);
    T_REQUIRE(base_thread_start(&t, bunch_main, (void *)0, "other", 0) == 0);
    base_fork_node node = { .child = on_child, .ctx = &children };
    base_fork_node second = node;
    static base_fork_node process = { .child = on_process };
    T_REQUIRE(base_fork_register(&node));
    T_REQUIRE(base_fork_register(&second));
    T_REQUIRE(base_fork_register(&process));
    T_REQUIRE(base_fork_register(&process)); /* as each later use does */
    base_thread_record *mine = base_thread_self();
    mine->depth = 1; /* as inside a callback */
    mine->leads = &node;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        T_CHECK(base_thread_self() == mine);
        T_EQ_I64(base_load_rlx(&mine->tid), (int64_t)syscall(SYS_gettid));
        T_EQ_I64(children, 2);
        T_EQ_I64(of_process, 1);
        T_CHECK(mine->depth == 0 && mine->leads == NULL);
        uint32_t before = base_thread_count();
        /* The other threads of the parent do not exist here: their records are free.
         * ThreadSanitizer refuses threads in a child of a process with threads. */
        for (int i = 0; i < 100 && !BASE_TSAN; i++) { t_live_and_end(touch, NULL); }
        T_CHECK(base_thread_count() <= before + 1);
        T_EQ_I64(in_child(fork(), grandchild), 0);
        _exit(t_failed());
    }
    mine->depth = 0;
    mine->leads = NULL;
    int status = 1;
    T_REQUIRE(child > 0 && waitpid(child, &status, 0) == child);
    T_EQ_I64(status, 0);
    T_EQ_I64(children, 0);
    base_fork_unregister(&node);
    T_EQ_I64(in_child(fork(), other_child), 0);
    base_fork_unregister(&second);
    base_store_sc(&bunch.go, 1u);
    sync_wake(&bunch.go, INT32_MAX);
    base_thread_join(&t);
}

T_MAIN("base_thread_self")
