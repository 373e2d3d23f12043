/* SPDX-License-Identifier: MIT
 *
 * Aim:    a copy of a directory in use opens empty, whatever SUPER says in it. A copy of a closed
 *         directory serves what the store served. A copy with files of different moments serves the
 *         values of one moment since the close that SUPER names, or fewer.
 * Method: an in-memory disk is saved at several moments of two runs. Copies combine SUPER and each
 *         segment of data.seg from any moments. They are opened, or killed at each step of the open
 *         and opened again. */
#include "tests/support/log_kit.h"

#define SEGMENTS 12u
#define SEGMENT ((size_t)65536)

enum { LIVE, LATER, SYNCED, BUSY, CLOSED, AGAIN, CHANGED, CLOSED_AGAIN, MOMENTS };

static l2_dev saved[MOMENTS], killed;
static uint32_t changes_at[MOMENTS];
static uint32_t seen_at[MOMENTS][KEYS]; /* versions that a close left; 0: no close */
static base_rng rng;

static void keep(int m) { l2_dev_clone(&dev, &saved[m], NULL); changes_at[m] = changes; }

static void some_changes(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        change_key((uint32_t)base_rng_below(&rng, KEYS), base_rng_below(&rng, 5) == 0,
                   base_rng_below(&rng, 2) == 0);
        if (i % 4 == 0) { (void)l2_tick(d, 0); }
    }
}

static void closed(int m)
{
    for (uint32_t i = 0; i < KEYS; i++) { seen_at[m][i] = look(i); }
    l2_close(d);
    keep(m);
}

static void lived(l2_level level)
{
    begin(level);
    base_rng_seed(&rng, t_seed());
    memset(seen_at, 0, sizeof seen_at);
    l2_dev_init(&dev);
    dev.flat = true;
    open_on(&dev);
    some_changes(1000);
    keep(LIVE);
    some_changes(2500);
    keep(LATER);
    some_changes(400);
    T_EQ_I64(l2_sync(d), CELLAR_OK);
    keep(SYNCED);
    some_changes(600);
    keep(BUSY);
    some_changes(200);
    closed(CLOSED);
    open_on(&dev);
    some_changes(100);
    keep(AGAIN);
    some_changes(1500);
    keep(CHANGED);
    some_changes(1800);
    closed(CLOSED_AGAIN);
}

static void died(void)
{
    for (int m = 0; m < MOMENTS; m++) { l2_dev_fini(&saved[m]); }
    l2_dev_fini(&dev);
    l2_dev_fini(&other);
    l2_dev_fini(&killed);
}

/* Return true if each value that is served is that of one moment, `from` or later. */
static bool is_of_one_moment(const uint32_t seen[KEYS], uint32_t from)
{
    uint32_t state[KEYS] = { 0 };
    for (uint32_t n = 0;; n++) {
        bool right = n >= from;
        for (uint32_t i = 0; i < KEYS && right; i++) { right = !seen[i] || seen[i] == state[i]; }
        if (right || n == changes) { return right; }
        state[history[n].key] = history[n].version;
    }
}

static bool is_closed(int m) { return m == CLOSED || m == CLOSED_AGAIN; }

/* Open a copy with the SUPER of a moment. Return the number of keys it serves; 0: empty. */
static uint32_t opened(l2_dev *on, int super)
{
    uint32_t served = 0, seen[KEYS];
    open_on(on);
    for (int i = 0; i < 8 && l2_tick(d, 0); i++) {}
    for (uint32_t i = 0; i < KEYS; i++) {
        seen[i] = look(i);
        served += seen[i] != 0;
    }
    T_CHECK(is_closed(super) ? is_of_one_moment(seen, changes_at[super]) : served == 0);
    l2_discard(d);
    return served;
}

static void other_files(void)
{
    for (int i = 0; i < DEV_FILES; i++) { other.file[i].ino += 100; }
}

static void whole_copies(l2_level level)
{
    lived(level);
    for (int m = 0; m < MOMENTS; m++) {
        uint32_t held = 0;
        l2_dev_clone(&saved[m], &other, NULL);
        other_files();
        for (uint32_t i = 0; i < KEYS; i++) { held += seen_at[m][i] != 0; }
        T_EQ_U64(opened(&other, m), held); /* 0 if it was in use */
        T_EQ_I64(is_closed(m), held > KEYS / 4);
    }
    died();
}

T_CASE(a_copy_is_used_only_if_the_store_was_closed)
{
    whole_copies(L2_DROP);
    whole_copies(L2_KEEP);
    whole_copies(L2_ALWAYS);
}

/* Take a segment of data.seg from a moment. */
static void take(uint32_t segment, int from)
{
    const l2_dev_file *f = l2_dev_find(&saved[from], "data.seg");
    l2_dev_file *to = l2_dev_find(&other, "data.seg");
    memcpy(to->live + segment * SEGMENT, f->live + segment * SEGMENT, SEGMENT);
}

/* Mix a copy. cp takes SUPER, then one segment after the other, while the store runs; or some
 * segments are of any moment. Return the moment of SUPER. */
static int mixed(void)
{
    int from = (int)base_rng_below(&rng, MOMENTS);
    const int super = base_rng_below(&rng, 8) == 0 ? from : base_rng_below(&rng, 2) ? CLOSED
                                                                                    : CLOSED_AGAIN;
    const bool wild = base_rng_below(&rng, 4) == 0, near = base_rng_below(&rng, 2) == 0;
    const uint32_t at = (uint32_t)base_rng_below(&rng, SEGMENTS);
    l2_dev_clone(&saved[super], &other, NULL);
    if (base_rng_below(&rng, 3) == 0) { other.boot[15]++; } /* moved to another machine */
    if (near) { from = super; }
    for (uint32_t i = 0; i < SEGMENTS; i++) {
        if (wild && base_rng_below(&rng, 3) == 0) { from = (int)base_rng_below(&rng, MOMENTS); }
        if (!wild && i == at && from < CLOSED_AGAIN) { from++; }
        take(i, from);
    }
    other_files();
    return super;
}

static void mixed_copies(l2_level level)
{
    const uint64_t most = t_share(4000) / T_COST;
    uint64_t served = 0, copies = 0;
    lived(level);
    for (; copies < most && !t_failed(); copies++) {
        const int super = mixed();
        served += opened(&other, super) != 0;
    }
    printf("# %" PRIu64 " of %" PRIu64 " copies serve a key\n", served, copies);
    T_CHECK(served > most / 20 && served < copies);
    died();
}

T_CASE(a_mixed_copy_at_drop_serves_no_dead_value) { mixed_copies(L2_DROP); }
T_CASE(a_mixed_copy_at_keep_serves_no_dead_value) { mixed_copies(L2_KEEP); }

static uint32_t left; /* calls until the process death */

static void kill_now(void *ctx)
{
    (void)ctx;
    if (left > 0 && --left == 0) { l2_dev_clone(&other, &killed, NULL); }
}

T_CASE(a_copy_killed_during_its_open_serves_no_dead_value)
{
    const uint32_t most = (uint32_t)t_share(2000) / T_COST;
    uint32_t kills = 0;
    lived(L2_DROP);
    while (kills < most && !t_failed()) {
        const int super = mixed();
        left = 1 + (uint32_t)base_rng_below(&rng, 12);
        other.hook = kill_now;
        (void)opened(&other, super);
        other.hook = NULL;
        if (left > 0) { continue; } /* there are fewer calls */
        kills++;
        (void)opened(&killed, super);
    }
    died();
}

/* Refuse the n-th allocation of an open, then open again. Return false if there are fewer. */
static bool opened_without_memory(int super, uint64_t nth)
{
    int e = 0;
    l2 *also = NULL;
    vfs = l2_dev_vfs(&other);
    (void)base_fault_alloc_arm(nth, false);
    const cellar_err err = l2_open(&cfg, &also, &e);
    const bool more = base_fault_alloc_arm(0, false) >= nth;
    T_CHECK(err == CELLAR_OK || err == CELLAR_E_NOMEM);
    if (err == CELLAR_OK) { l2_discard(also); }
    /* The death of an open that succeeded leaves a copy in use, with its own inode in SUPER. */
    if (err != CELLAR_OK) { (void)opened(&other, super); }
    return more;
}

T_CASE(a_copy_opened_without_memory_stays_usable)
{
    lived(L2_DROP);
    for (int n = 0; n < 20 && !t_failed(); n++) {
        bool more = true;
        const int super = n % 2 == 0 ? CLOSED : CLOSED_AGAIN;
        for (uint64_t nth = 1; more && !t_failed(); nth++) {
            l2_dev_clone(&saved[super], &other, NULL);
            if (n > 1) { take((uint32_t)n % SEGMENTS, n % MOMENTS); }
            other_files();
            more = opened_without_memory(super, nth);
        }
    }
    died();
}

T_ONE_THREAD;
T_MAIN("l2_copies")
