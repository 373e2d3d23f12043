/* SPDX-License-Identifier: MIT
 *
 * Aim:    pinned bytes keep content and place until unpin, during every change of the entry and its
 *         segment. Without a free slot a pin returns a code. Debug builds catch a double unpin.
 * Method: all slots taken, all segments pinned, unpin in another thread, update, delete, eviction,
 *         shrink and ticks while pinned; the double unpin in a forked child. */
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

static kit z;
static held theirs;

static void unpin_it(void *arg)
{
    (void)arg;
    T_CHECK(whole(&theirs));
    l1_unpin(z.c, &theirs.ref);
}

T_CASE(unpin_works_in_another_thread)
{
    const l1_config cfg = {.stripes = 2, .seg_bytes = 8192};
    kit_open(&z, KIT_MIB(2), &cfg);
    for (uint64_t seq = 0; seq < 100; seq++) { /* records and blocks */
        kit_team team = {.n = 0};
        T_EQ_I64(kit_put(&z, 1, seq, seq % 2 == 0 ? 1200 : 20000), CELLAR_OK);
        T_EQ_I64(pin(&z, &theirs, 1, seq), CELLAR_OK);
        T_EQ_I64(kit_del(&z, 1), CELLAR_OK);
        for (uint64_t id = 2; id < 300; id++) { (void)kit_put(&z, id, id, 1200); }
        kit_start(&team, unpin_it, NULL);
        kit_join(&team);
    }
    (void)l1_tick(z.c, UINT64_MAX);
    T_EQ_U64(kit_stats(&z).pin_limit, 0); /* none leaked */
    T_EQ_U64(kit_stats(&z).retired_bytes + kit_stats(&z).segments_parked, 0);
    kit_close(&z);
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
