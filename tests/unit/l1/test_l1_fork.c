/* SPDX-License-Identifier: MIT
 *
 * Aim:    a child forked while eight threads write may use the store immediately: no hang, no torn
 *         value, an intact structure; the parent is not affected.
 * Method: writers change values in place (without a lock that a fork could take), set, delete and
 *         renew idle times. The parent forks in a loop with the handlers that a store registers.
 *         Each child reads, scans, sets, pins, deletes, ticks and audits, under an alarm. */
#include "tests/support/l1_kit.h"

#include "l1/large.h"

#include <signal.h>
#include <sys/wait.h>

enum { WRITERS = 8, KEYS = 300 };

static struct {
    kit k;
    _Atomic uint32_t stop;
    _Atomic uint64_t seq, writes;
    _Atomic uint32_t settled; /* writers past their first writes */
    base_fork_node node;
} f;

enum { SETTLED = 64 }; /* rounds after which a writer allocates no more */

static void prepare(void *ctx) { l1_fork_prepare(ctx); }
static void parent(void *ctx) { l1_fork_parent(ctx); }
static void child(void *ctx) { l1_fork_child(ctx); }

static size_t len_of(uint64_t id) { return 8 + kit_mix(id) % 900; }

static void writer(void *arg)
{
    kit_rng r = {t_seed() * 3 + (uint64_t)(uintptr_t)arg};
    unsigned char buf[2048];
    for (unsigned round = 1; atomic_load(&f.stop) == 0; round++) {
        for (unsigned i = 0; i < 64; i++) {
            uint64_t id = kit_below(&r, KEYS);
            kit_key key;
            size_t len = kit_one_in(&r, 50) ? 8 + kit_below(&r, 1500) : len_of(id);
            kit_fill(buf, len, id, atomic_fetch_add(&f.seq, 1));
            l1_put_spec p = {.value = buf, .value_len = len, .deadline_ms = BASE_NEVER_MS,
                             .change = L1_CHANGE_SET, .idle_ms = id % 10 == 0 ? 1000000 : 0};
            (void)l1_put(f.k.c, kit_key_of(&f.k, &key, 0, id), &p);
            if (kit_one_in(&r, 30)) { (void)kit_del(&f.k, kit_below(&r, KEYS)); }
            (void)kit_get(&f.k, kit_below(&r, KEYS), buf, sizeof buf, &len);
            atomic_fetch_add_explicit(&f.writes, 1, memory_order_relaxed);
        }
        if (round == SETTLED) { atomic_fetch_add(&f.settled, 1); }
    }
}

static bool on_seen(void *ctx, const l1_seen *s)
{
    uint64_t id = kit_id_of(s->key, s->key_len), seq;
    ++*(uint64_t *)ctx;
    return T_CHECK(id < 2 * KEYS || (id >= 10000 && id < 15000)) &&
        T_CHECK(kit_whole(s->value, s->value_len, id, &seq));
}

/* Use the store in a child. The order differs, so that each kind of call is sometimes the first to
 * meet what a lost writer left. */
static void use_in_child(unsigned round)
{
    static unsigned char buf[4096];
    kit_rng r = {t_seed() + round};
    uint64_t seq;
    for (unsigned step = 0; step < 6; step++) {
        switch ((step + round) % 6) {
        case 0:
            for (uint64_t id = 0; id < KEYS; id++) {
                size_t len;
                if (kit_get(&f.k, id, buf, sizeof buf, &len) != CELLAR_OK) { continue; }
                T_CHECK(kit_whole(buf, len, id, &seq));
            }
            break;
        case 1: {
            uint64_t cursor = 0, seen = 0;
            T_EQ_I64(l1_scan(f.k.c, &cursor, SIZE_MAX, 0, true, on_seen, &seen), CELLAR_OK);
            break;
        }
        case 2:
            for (uint64_t id = 0; id < 2 * KEYS; id++) {
                T_EQ_I64(kit_put(&f.k, id, id + 7, len_of(id)), CELLAR_OK);
                T_CHECK(kit_has(&f.k, id));
            }
            break;
        case 3:
            for (uint64_t id = 0; id < KEYS; id++) {
                kit_key key;
                l1_pin_ref ref;
                if (kit_pin(f.k.c, kit_key_of(&f.k, &key, 0, id), &ref, 0) != CELLAR_OK) {
                    continue;
                }
                T_CHECK(kit_whole(ref.value, ref.value_len, id, &seq));
                l1_unpin(f.k.c, &ref);
            }
            break;
        case 4:
            for (unsigned i = 0; i < 100; i++) { (void)kit_del(&f.k, kit_below(&r, KEYS)); }
            break;
        default: (void)l1_tick(f.k.c, UINT64_MAX); break;
        }
    }
    for (uint64_t id = 0; id < 5000; id++) {
        T_EQ_I64(kit_put(&f.k, 10000 + id, id, 400), CELLAR_OK);
    }
    T_EQ_STR(l1_audit(f.k.c), NULL);
}

static void child_of_eight_writers_uses_the_store(void)
{
    if (BASE_TSAN) {
        T_SKIP("ThreadSanitizer does not follow a fork of a process with threads");
        return;
    }
    memset(&f, 0, sizeof f);
    l1_config cfg = {.stripes = 2, .seg_bytes = 16384};
    kit_open(&f.k, KIT_MIB(2), &cfg);
    f.node = (base_fork_node){.prepare = prepare, .parent = parent, .child = child, .ctx = f.k.c};
    T_REQUIRE(base_fork_register(&f.node));
    kit_team team = {.n = 0};
    for (size_t i = 0; i < WRITERS; i++) { kit_start(&team, writer, (void *)i); }
    /* The allocator of a sanitizer is not fork-safe: a writer inside it at the fork leaves a lock
     * taken, and the child waits for it forever. Threads allocate in their start and first writes,
     * so such a build forks after those. */
    while (T_COST > 1 && atomic_load(&f.settled) < WRITERS) { base_sleep_ns(500000); }
    const unsigned rounds = (unsigned)kit_scale(150);
    for (unsigned round = 0; round < rounds && t_failed() == 0; round++) {
        fflush(stdout);
        pid_t pid = fork();
        T_REQUIRE(pid >= 0);
        if (pid == 0) {
            (void)alarm(30 * t_patience()); /* a hang ends as SIGALRM */
            use_in_child(round);
            fflush(stdout);
            _exit(t_failed());
        }
        int status = 0;
        T_REQUIRE(waitpid(pid, &status, 0) == pid);
        if (!T_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
            printf("# child %u: status 0x%x\n", round, (unsigned)status);
        }
        if (round % 4 == 0) { base_sleep_ns(500000); }
    }
    while (atomic_load(&f.writes) <= 100) { base_sleep_ns(1000000); }
    atomic_store(&f.stop, 1);
    kit_join(&team);
    base_fork_unregister(&f.node);
    printf("# %u children, %" PRIu64 " writes meanwhile\n", rounds, atomic_load(&f.writes));
    T_CHECK(atomic_load(&f.writes) > 100);
    kit_close(&f.k);
}

/* Fork from a child, and open a store in a child. */
static void child_of_a_child_uses_the_store(void)
{
    if (BASE_TSAN) {
        T_SKIP("ThreadSanitizer does not follow a fork of a process with threads");
        return;
    }
    fflush(stdout);
    memset(&f, 0, sizeof f);
    kit_open(&f.k, KIT_MIB(1), NULL);
    for (uint64_t id = 0; id < KEYS; id++) {
        T_EQ_I64(kit_put(&f.k, id, id, len_of(id)), CELLAR_OK);
    }
    f.node = (base_fork_node){.prepare = prepare, .parent = parent, .child = child, .ctx = f.k.c};
    T_REQUIRE(base_fork_register(&f.node));
    pid_t pid = fork();
    T_REQUIRE(pid >= 0);
    if (pid == 0) {
        (void)alarm(30 * t_patience());
        use_in_child(0);
        pid_t inner = fork();
        if (inner == 0) {
            use_in_child(1);
            kit own;
            kit_open(&own, KIT_MIB(1), NULL);
            T_EQ_I64(kit_put(&own, 1, 1, 10), CELLAR_OK);
            kit_close(&own);
            fflush(stdout);
            _exit(t_failed());
        }
        int status = 1;
        T_CHECK(waitpid(inner, &status, 0) == inner && status == 0);
        use_in_child(2);
        base_fork_unregister(&f.node);
        kit_close(&f.k);
        fflush(stdout);
        _exit(t_failed());
    }
    int status = 1;
    T_REQUIRE(waitpid(pid, &status, 0) == pid);
    T_EQ_I64(status, 0);
    base_fork_unregister(&f.node);
    /* the parent still has all entries */
    for (uint64_t id = 0; id < KEYS; id++) { T_CHECK(kit_has(&f.k, id)); }
    kit_close(&f.k);
}

/* ---- what lost threads held ------------------------------------------------------------------ */
static struct {
    kit k;
    l1_pin_ref own, lost[20];
    _Atomic uint32_t ready, go;
    uint32_t told;
    pid_t pid;
} h;

/* Stop inside a hand-over in a thread of the parent. Fork in the other thread. */
static void on_left(void *ctx, const l1_left *what)
{
    (void)ctx;
    if (what->generation == 1) {
        atomic_fetch_add(&h.ready, 1);
        while (atomic_load(&h.go) == 0) { base_sleep_ns(1000000); }
    } else if (what->generation == 2 && h.told++ == 0) {
        fflush(stdout);
        h.pid = fork();
        T_REQUIRE(h.pid >= 0);
    }
}

static void stops_in_a_listener(void *arg)
{
    (void)arg;
    kit_key key;
    for (unsigned i = 0; i < 20; i++) {
        T_EQ_I64(kit_pin(h.k.c, kit_key_of(&h.k, &key, 0, 100 + i), &h.lost[i], 0), CELLAR_OK);
    }
    T_EQ_I64(l1_del(h.k.c, kit_key_of(&h.k, &key, 1, 1), NULL), CELLAR_OK);
}

/* In the child only this thread has victims and pins. Blocks in hand-over are freed: those of the
 * lost thread by the fork, those of this thread when it continues. */
static void a_child_takes_back_what_lost_threads_held(void)
{
    if (BASE_TSAN) {
        T_SKIP("ThreadSanitizer does not follow a fork of a process with threads");
        return;
    }
    memset(&h, 0, sizeof h);
    const l1_config cfg = {.stripes = 1, .seg_bytes = 4096, .hooks = {.left = on_left}};
    kit_key key;
    kit_open(&h.k, KIT_MIB(1), &cfg);
    base_fork_node node = {.prepare = prepare, .parent = parent, .child = child, .ctx = h.k.c};
    T_REQUIRE(base_fork_register(&node));
    for (uint64_t id = 100; id < 200; id++) {
        T_EQ_I64(kit_put(&h.k, id, id, 1000), CELLAR_OK);
    }
    T_EQ_I64(kit_put_until(&h.k, 1, 1, 1, 9000, BASE_NEVER_MS), CELLAR_OK);
    T_EQ_I64(kit_put_until(&h.k, 2, 2, 2, 9000, BASE_NEVER_MS), CELLAR_OK);
    T_EQ_U64(kit_stats(&h.k).big_blocks, 2);
    T_EQ_I64(kit_pin(h.k.c, kit_key_of(&h.k, &key, 0, 199), &h.own, 0), CELLAR_OK);
    l1_want_left(h.k.c, true);
    kit_team team = {.n = 0};
    kit_start(&team, stops_in_a_listener, NULL);
    while (atomic_load(&h.ready) == 0) { base_sleep_ns(1000000); }
    T_EQ_I64(l1_del(h.k.c, kit_key_of(&h.k, &key, 2, 2), NULL), CELLAR_OK); /* forks */
    if (h.pid == 0) {
        (void)alarm(30 * t_patience());
        unsigned busy = 0, pinned = 0;
        for (uint32_t seg = 0; seg < h.k.c->fresh; seg++) {
            busy += base_load_rlx(&h.k.c->seg[seg].busy);
        }
        for (uint32_t i = 0; i < h.k.c->pin_lines * L1_PIN_SLOTS; i++) {
            pinned += base_load_rlx(&h.k.c->pin[0].slot[i]) != 0;
        }
        T_EQ_U64(busy, 0);
        T_EQ_U64(pinned, 1);
        T_EQ_U64(kit_stats(&h.k).big_blocks, 0);
        (void)l1_retired_sweep(h.k.c, UINT64_MAX);
        T_EQ_U64(kit_stats(&h.k).retired_bytes, 0);
        for (uint64_t id = 1000; id < 4000; id++) {
            T_EQ_I64(kit_put(&h.k, id, id, 900), CELLAR_OK);
        }
        T_CHECK(kit_is(h.own.value, h.own.value_len, 199, 199));
        l1_unpin(h.k.c, &h.own);
        for (uint64_t id = 1000; id < 4000; id++) { (void)kit_del(&h.k, id); }
        for (uint64_t id = 100; id < 200; id++) { (void)kit_del(&h.k, id); }
        (void)l1_tick(h.k.c, UINT64_MAX);
        (void)l1_tick(h.k.c, UINT64_MAX);
        T_EQ_U64(kit_stats(&h.k).segments + kit_stats(&h.k).segments_parked, 0);
        T_EQ_STR(l1_audit(h.k.c), NULL);
        fflush(stdout);
        _exit(t_failed());
    }
    int status = 1;
    T_REQUIRE(waitpid(h.pid, &status, 0) == h.pid);
    T_EQ_I64(status, 0);
    atomic_store(&h.go, 1);
    kit_join(&team);
    for (unsigned i = 0; i < 20; i++) {
        T_CHECK(kit_is(h.lost[i].value, h.lost[i].value_len, 100 + i, 100 + i));
        l1_unpin(h.k.c, &h.lost[i]);
    }
    l1_unpin(h.k.c, &h.own);
    base_fork_unregister(&node);
    kit_close(&h.k);
}

static struct {
    kit k;
    pid_t pid; /* -1: no fork yet */
} g;

static void fork_once(void *ctx, const l1_left *what)
{
    (void)ctx;
    (void)what;
    if (g.pid != -1) { return; }
    fflush(stdout);
    g.pid = fork();
    T_REQUIRE(g.pid >= 0);
    if (g.pid != 0) { return; }
    (void)alarm(30 * t_patience());
    T_CHECK(kit_stats(&g.k).entries > 100);
    (void)l1_tick(g.k.c, UINT64_MAX);
    T_CHECK(kit_stats(&g.k).entries <= 100);
    T_EQ_STR(l1_audit(g.k.c), NULL);
    fflush(stdout);
    _exit(t_failed());
}

/* The thread that lowers the bound does not exist in the child: a tick finishes the shrink. */
static void tick_in_a_child_finishes_a_shrink_of_the_parent(void)
{
    const l1_config cfg = {.max_entries = 2000, .stripes = 1, .hooks = {.left = fork_once}};
    g.pid = -1;
    kit_open(&g.k, KIT_MIB(4), &cfg);
    base_fork_node node = {.prepare = prepare, .parent = parent, .child = child, .ctx = g.k.c};
    T_REQUIRE(base_fork_register(&node));
    for (uint64_t id = 0; id < 2000; id++) { T_EQ_I64(kit_put(&g.k, id, id, 20), CELLAR_OK); }
    l1_want_left(g.k.c, true);
    T_EQ_I64(l1_set_max_entries(g.k.c, 100), CELLAR_OK);
    int status = 1;
    T_REQUIRE(waitpid(g.pid, &status, 0) == g.pid);
    T_EQ_I64(status, 0);
    base_fork_unregister(&node);
    kit_close(&g.k);
}

T_MAIN("l1_fork", T_CASE(child_of_eight_writers_uses_the_store),
       T_CASE(child_of_a_child_uses_the_store), T_CASE(a_child_takes_back_what_lost_threads_held),
       T_CASE(tick_in_a_child_finishes_a_shrink_of_the_parent))
