/* SPDX-License-Identifier: MIT
 *
 * Aim:    pinned bytes keep content and place until unpin, during every change of the entry and its
 *         segment. Without a free slot a pin returns a code. Debug builds catch a double unpin.
 * Method: all slots taken, all segments pinned, unpin in another thread, update, delete, eviction,
 *         shrink and ticks while pinned; readers and writers meanwhile; the double unpin in a
 *         forked child. */
#include "tests/support/l1_kit.h"

#include "l1/read.h"

#include <signal.h>
#include <sys/wait.h>

enum { SLOTS_MOST = 256 * 16 };

typedef struct held {
    l1_pin_ref ref;
    uint64_t id, seq;
} held;

static cellar_err pin(kit *k, held *h, uint64_t id, uint64_t seq)
{
    kit_key key;
    h->id = id;
    h->seq = seq;
    return kit_pin(k->c, kit_key_of(k, &key, 0, id), &h->ref, 0);
}

static bool whole(const held *h) { return kit_is(h->ref.value, h->ref.value_len, h->id, h->seq); }

T_CASE(look_under_the_lock_names_bucket_and_version)
{
    kit k;
    kit_key key;
    l1_hold h;
    l1_probe p;
    kit_open(&k, KIT_MIB(1), NULL);
    T_EQ_I64(kit_put(&k, 1, 1, 8), CELLAR_OK);
    memset(&p, 0xa5, sizeof p); /* what another call left on the stack */
    T_CHECK(l1_look_round(k.c, kit_key_of(&k, &key, 0, 1), true, &h, &p) == L1_LOOK_FOUND);
    T_CHECK(p.primary == h.b && p.ver == h.ver + 1);
    l1_unlock(k.c, &h);
    kit_close(&k);
}

T_CASE(pin_without_free_slot_is_refused)
{
    kit k;
    static held h[SLOTS_MOST];
    static unsigned char buf[4096];
    kit_open(&k, KIT_MIB(8), NULL);
    for (uint64_t id = 0; id < 500; id++) { T_EQ_I64(kit_put(&k, id, id, 2000), CELLAR_OK); }
    T_EQ_I64(kit_put(&k, 600, 600, 100000), CELLAR_OK); /* oversized: read through a slot */
    unsigned n = 0;
    cellar_err err = CELLAR_OK;
    while (n < SLOTS_MOST && (err = pin(&k, &h[n], n % 500, n % 500)) == CELLAR_OK) { n++; }
    T_EQ_I64(err, CELLAR_E_LIMIT);
    T_CHECK(n >= 16 * 16 * 3 / 4);
    T_CHECK(kit_stats(&k).pin_limit > 0);
    T_EQ_U64(h[n].ref.slot, UINT32_MAX);
    T_CHECK(h[n].ref.value == NULL);
    /* Gets continue: pins of users never take slots of the last quarter of the lines. */
    unsigned char *big = malloc(100000);
    size_t len;
    T_REQUIRE(big != NULL);
    T_EQ_I64(kit_get(&k, 600, big, 100000, &len), CELLAR_OK);
    T_CHECK(kit_is(big, len, 600, 600));
    free(big);
    T_EQ_I64(kit_get(&k, 3, buf, sizeof buf, &len), CELLAR_OK);
    for (unsigned i = 0; i < n; i++) {
        T_CHECK(whole(&h[i]));
        l1_unpin(k.c, &h[i].ref);
    }
    T_EQ_I64(pin(&k, &h[0], 7, 7), CELLAR_OK); /* slots are free again */
    l1_unpin(k.c, &h[0].ref);
    kit_close(&k);
}

/* A pin names every segment: none can be reused. Sets may fail for lack of room; gets and pins may
 * not. After the unpins the store works as before. */
T_CASE(set_with_all_segments_pinned_fails)
{
    kit k;
    l1_config cfg = {.stripes = 1, .seg_bytes = 8192};
    kit_open(&k, KIT_KIB(512), &cfg);
    static held h[600];
    unsigned n = 0;
    uint64_t id = 0;
    for (; id < 100000 && n < 600; id++) {
        cellar_err err = kit_put(&k, id, id, 1500);
        if (err != CELLAR_OK) {
            T_EQ_I64(err, CELLAR_E_SPACE);
            break;
        }
        if (id % 3 == 0 && pin(&k, &h[n], id, id) == CELLAR_OK) { n++; }
    }
    T_CHECK(n > 50);
    T_EQ_I64(kit_put(&k, 1, 2, 1500), CELLAR_E_SPACE);
    T_CHECK(!kit_has(&k, 1)); /* the value that the set should replace is not returned */
    T_CHECK(kit_stats(&k).no_space > 0);
    T_CHECK(kit_used(&k) <= KIT_KIB(512));
    for (unsigned i = 0; i < n; i++) { T_CHECK(whole(&h[i])); }
    kit_audit(&k);
    for (unsigned i = 0; i < n; i++) { l1_unpin(k.c, &h[i].ref); }
    for (uint64_t i = 0; i < 2000; i++) { T_EQ_I64(kit_put(&k, 500000 + i, i, 1500), CELLAR_OK); }
    (void)l1_tick(k.c, UINT64_MAX);
    T_EQ_U64(kit_stats(&k).segments_parked, 0);
    kit_close(&k);
}

T_ALONE(pinned_bytes_survive_update_and_delete)
{
    static const size_t sizes[] = {1, 8, 100, 1000, 1024, 1025, 2000, 7000, 50000};
    kit k;
    kit_open(&k, KIT_MIB(8), NULL);
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        const size_t len = sizes[s];
        unsigned char *buf = malloc(len + 1);
        held h[4];
        size_t got;
        T_REQUIRE(buf != NULL);
        T_EQ_I64(kit_put(&k, 1, 1, len), CELLAR_OK);
        T_EQ_I64(pin(&k, &h[0], 1, 1), CELLAR_OK);
        T_EQ_I64(kit_put(&k, 1, 2, len), CELLAR_OK); /* same size: in place without the pin */
        T_EQ_I64(kit_get(&k, 1, buf, len, &got), CELLAR_OK);
        T_CHECK(kit_is(buf, got, 1, 2));
        T_EQ_I64(pin(&k, &h[1], 1, 2), CELLAR_OK);
        T_EQ_I64(kit_put(&k, 1, 3, len), CELLAR_OK);
        T_EQ_I64(pin(&k, &h[2], 1, 3), CELLAR_OK);
        T_EQ_I64(kit_del(&k, 1), CELLAR_OK);
        T_EQ_I64(pin(&k, &h[3], 1, 3), CELLAR_MISS);
        T_EQ_I64(kit_put(&k, 1, 4, len), CELLAR_OK);
        /* Rewrite the whole store several times, with ticks and the retire list. */
        for (uint64_t id = 100; id < 15000; id++) { (void)kit_put(&k, id, id, 1500); }
        (void)l1_tick(k.c, UINT64_MAX);
        for (unsigned i = 0; i < 3; i++) {
            T_CHECK(whole(&h[i]));
            l1_unpin(k.c, &h[i].ref);
        }
        free(buf);
    }
    (void)l1_tick(k.c, UINT64_MAX);
    T_EQ_U64(kit_stats(&k).retired_bytes, 0);
    kit_close(&k);
}

T_CASE(pinned_bytes_survive_incr_and_touch)
{
    kit k;
    kit_open(&k, KIT_MIB(2), NULL);
    kit_key key;
    l1_put_spec fresh = {.deadline_ms = BASE_NEVER_MS, .change = L1_CHANGE_INCR};
    int64_t now, first = 5;
    l1_pin_ref ref, later;
    kit_key_of(&k, &key, 0, 1);
    T_EQ_I64(l1_incr(k.c, &key.key, 5, 0, &fresh, false, &now, NULL), CELLAR_OK);
    T_EQ_I64(kit_pin(k.c, &key.key, &ref, 0), CELLAR_OK);
    for (int64_t i = 0; i < 100; i++) {
        T_EQ_I64(l1_incr(k.c, &key.key, 1, 0, &fresh, false, &now, NULL), CELLAR_OK);
        T_EQ_I64(now, 6 + i);
    }
    T_EQ_I64(l1_touch(k.c, &key.key, kit_now(&k) + 50, -1, NULL), CELLAR_OK);
    T_EQ_MEM(ref.value, &first, 8);
    T_EQ_I64(kit_pin(k.c, &key.key, &later, 0), CELLAR_OK);
    T_EQ_MEM(later.value, &now, 8);
    T_EQ_I64(later.deadline_ms, kit_now(&k) + 50);
    kit_forward(&k, 50); /* expired and reclaimed: the bytes stay */
    (void)l1_tick(k.c, UINT64_MAX);
    T_EQ_MEM(later.value, &now, 8);
    l1_unpin(k.c, &later);
    l1_unpin(k.c, &ref);
    kit_close(&k);
}

/* ---- threads --------------------------------------------------------------------------------- */
enum { KEYS = 40, RING = 64 };
static struct {
    kit k;
    uint64_t until_ns;
    _Atomic uint64_t seq, pinned, failed;
    held *_Atomic ring[RING]; /* pins on their way to the thread that unpins them */
} s;

/* Continue until there are enough pins: a thread may wait long for a processor. */
static bool pins_go_on(void)
{
    return kit_time_left(s.until_ns) || atomic_load(&s.pinned) <= 1000 / KIT_SLOW;
}

static void pinner(void *arg)
{
    kit_rng r = {t_seed() + (uint64_t)(uintptr_t)arg};
    while (pins_go_on()) {
        held *h = malloc(sizeof *h);
        T_REQUIRE(h != NULL);
        uint64_t id = kit_below(&r, KEYS);
        if (pin(&s.k, h, id, 0) != CELLAR_OK) {
            free(h);
            continue;
        }
        if (!T_CHECK(kit_whole(h->ref.value, h->ref.value_len, id, &h->seq))) {
            atomic_fetch_add(&s.failed, 1);
        }
        atomic_fetch_add(&s.pinned, 1);
        h = atomic_exchange(&s.ring[kit_below(&r, RING)], h);
        if (h != NULL) { /* a pin of another thread */
            if (!T_CHECK(whole(h) || h->ref.value_len < 8)) { atomic_fetch_add(&s.failed, 1); }
            l1_unpin(s.k.c, &h->ref);
            free(h);
        }
    }
}

static void churner(void *arg)
{
    kit_rng r = {t_seed() * 7 + (uint64_t)(uintptr_t)arg};
    while (pins_go_on()) {
        for (unsigned i = 0; i < 50; i++) {
            uint64_t id = kit_below(&r, KEYS);
            size_t len =
                8 + (kit_one_in(&r, 10) ? kit_below(&r, 20000) : kit_one_in(&r, 2) ? 40
                     : kit_below(&r, 1200));
            (void)kit_put(&s.k, id, atomic_fetch_add(&s.seq, 1), len);
            if (kit_one_in(&r, 30)) { (void)kit_del(&s.k, kit_below(&r, KEYS)); }
        }
        if (kit_one_in(&r, 20)) { (void)l1_tick(s.k.c, 500); }
    }
}

T_CASE(unpin_works_in_another_thread)
{
    memset(&s, 0, sizeof s);
    l1_config cfg = {.stripes = 2, .seg_bytes = 8192};
    kit_open(&s.k, KIT_MIB(2), &cfg);
    s.until_ns = kit_deadline_ns(1200);
    kit_team team = {.n = 0};
    for (size_t i = 0; i < 2; i++) {
        kit_start(&team, pinner, (void *)i);
        kit_start(&team, churner, (void *)i);
    }
    kit_join(&team);
    for (unsigned i = 0; i < RING; i++) {
        held *h = atomic_exchange(&s.ring[i], NULL);
        if (h == NULL) { continue; }
        T_CHECK(whole(h));
        l1_unpin(s.k.c, &h->ref);
        free(h);
    }
    T_EQ_U64(atomic_load(&s.failed), 0);
    T_CHECK(atomic_load(&s.pinned) > 1000 / KIT_SLOW);
    T_EQ_U64(kit_stats(&s.k).pin_limit, 0); /* none leaked */
    printf("# %" PRIu64 " pins, %" PRIu64 " segments parked meanwhile\n", atomic_load(&s.pinned),
           kit_stats(&s.k).parked_total);
    kit_close(&s.k);
}

T_CASE(double_unpin_aborts_in_debug)
{
    if (!BASE_DEBUG) {
        T_SKIP("asserts are off");
        return;
    }
    for (unsigned form = 0; form < 2; form++) {
        fflush(stdout);
        pid_t child = fork();
        T_REQUIRE(child >= 0);
        if (child == 0) {
            kit k;
            held h, copy;
            (void)freopen("/dev/null", "w", stderr);
            (void)signal(SIGABRT, SIG_DFL);
            kit_open(&k, KIT_MIB(1), NULL);
            if (kit_put(&k, 1, 1, 100) != CELLAR_OK || pin(&k, &h, 1, 1) != CELLAR_OK) { _exit(7); }
            copy = h;
            l1_unpin(k.c, &h.ref);
            l1_unpin(k.c, form == 0 ? &h.ref : &copy.ref); /* the same, or a copy of it */
            _exit(0);
        }
        int status = 0;
        T_REQUIRE(waitpid(child, &status, 0) == child);
        T_CHECK(WIFSIGNALED(status) ||
                (WIFEXITED(status) && WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != 7));
    }
}

T_MAIN("l1_pins")
