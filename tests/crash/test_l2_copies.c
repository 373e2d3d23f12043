/* SPDX-License-Identifier: MIT
 *
 * Aim:    a copy of a directory in use opens empty, whatever SUPER says in it. A copy of a closed
 *         directory serves what the store served. A copy with files of different moments serves
 *         nothing else, either.
 * Method: an in-memory disk is saved at several moments of two runs. Copies combine SUPER, META,
 *         data.seg and each slot of the stage from any moments. They are opened, or killed at
 *         each step of the open and opened again. The oracle is what the directory itself served
 *         after the close that SUPER names. */
#include "tests/support/l2_kit.h"

enum { LIVE, LATER, SYNCED, BUSY, CLOSED, AGAIN, CHANGED, CLOSED_AGAIN, MOMENTS };

static l2_dev dev, copy, killed, moment[MOMENTS];
static l2_kit kit, other;
static uint32_t seen[MOMENTS][L2_KIT_KEYS]; /* versions; 0 for moments without a close */

static void nothing_is_left(void) { T_EQ_U64(base_live_blocks(), 0); }
T_AFTER_EACH(nothing_is_left);

static void keep(int m) { l2_dev_clone(&dev, &moment[m], NULL); }

/* Open the directory in place, on a second disk with the same files, and note what it serves. */
static void closed(int m)
{
    l2_close(kit.d);
    kit.d = NULL;
    keep(m);
    l2_dev_clone(&dev, &copy, NULL);
    l2_dev_file *snap = l2_dev_find(&copy, "index.snap");
    T_REQUIRE(snap != NULL);
    snap->name[0] = '\0'; /* read the footers, like the open of a copy */
    l2_kit_init(&other, &copy);
    other.cfg.seg_count = 6;
    other.cfg.level = kit.cfg.level;
    T_REQUIRE(l2_kit_open(&other) == CELLAR_OK);
    l2_kit_warm(&other);
    while (l2_tick(other.d, 1000)) {} /* with index.snap, too, the oldest segment is reclaimed */
    for (uint32_t i = 0; i < L2_KIT_KEYS; i++) {
        seen[m][i] = l2_kit_look(&other, i, L2_KIT_GENERATION);
    }
    l2_kit_kill(&other);
}

static void changes(uint32_t version, uint32_t step)
{
    for (uint32_t i = 0; i < L2_KIT_KEYS; i += step) {
        l2_kit_del(&kit, i);
        (void)l2_tick(kit.d, 1000);
        if (i % (2 * step) != 0) { continue; }
        T_EQ_I64(l2_kit_put(&kit, i, version, L2_KIT_GENERATION), CELLAR_OK);
    }
}

static void lived(l2_level level)
{
    memset(seen, 0, sizeof seen);
    for (int m = 0; m < MOMENTS; m++) { l2_dev_init(&moment[m]); }
    l2_dev_init(&copy);
    l2_kit_begin(&kit, &dev, level);
    l2_kit_fill(&kit, 1);
    keep(LIVE);
    changes(2, 3);
    l2_kit_fill(&kit, 3);
    keep(LATER);
    changes(4, 2);
    T_EQ_I64(l2_sync(kit.d), CELLAR_OK);
    keep(SYNCED);
    changes(5, 5);
    changes(6, 3);
    keep(BUSY);
    changes(7, 4);
    closed(CLOSED);
    dev.locked = false;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
    changes(8, 5);
    keep(AGAIN);
    l2_kit_fill(&kit, 9);
    changes(10, 3);
    keep(CHANGED);
    changes(11, 7);
    closed(CLOSED_AGAIN);
}

static void died(void)
{
    for (int m = 0; m < MOMENTS; m++) { l2_dev_fini(&moment[m]); }
    l2_dev_fini(&copy);
    l2_dev_fini(&dev);
}

static int file_at(const char *name)
{
    for (int i = 0; i < DEV_FILES; i++) {
        if (strcmp(dev.file[i].name, name) == 0) { return i; }
    }
    return -1;
}

/* Take bytes [at, at + n) of a file from a moment. */
static void take(const char *name, int from, size_t at, size_t n)
{
    const int i = file_at(name);
    T_REQUIRE(i >= 0);
    const l2_dev_file *f = &moment[from].file[i];
    l2_dev_file *c = &copy.file[i];
    n = BASE_MIN(n, f->size - BASE_MIN(at, f->size));
    if (f->size > c->size) { c->size = f->size; }
    if (n > 0) { memcpy(c->live + at, f->live + at, n); }
}

/* Open a copy. Return the number of keys it serves; 0: empty. A value that `oracle` lacks is a
 * fault. */
static uint32_t opened(l2_dev *v, const uint32_t *oracle)
{
    uint32_t served = 0;
    l2_kit_init(&other, v);
    other.cfg.seg_count = 6;
    other.cfg.level = kit.cfg.level;
    T_REQUIRE(l2_kit_open(&other) == CELLAR_OK);
    l2_kit_warm(&other);
    while (l2_tick(other.d, 1000)) {} /* with index.snap, too, the oldest segment is reclaimed */
    for (uint32_t i = 0; i < L2_KIT_KEYS; i++) {
        const uint32_t version = l2_kit_look(&other, i, L2_KIT_GENERATION);
        served += version != 0;
        if (version != 0) { T_EQ_U64(version, oracle[i]); }
    }
    T_EQ_STR(l2_audit(other.d), NULL);
    l2_kit_kill(&other);
    return served;
}

static void other_files(void)
{
    for (int i = 0; i < DEV_FILES; i++) {
        copy.file[i].ino += 100;
        copy.file[i].durable_size = copy.file[i].size;
    }
}

static uint32_t held(int m)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < L2_KIT_KEYS; i++) { n += seen[m][i] != 0; }
    return n;
}

static void whole_copies(l2_level level)
{
    lived(level);
    for (int m = 0; m < MOMENTS; m++) {
        l2_dev_clone(&moment[m], &copy, NULL);
        other_files();
        const uint32_t n = opened(&copy, seen[m]);
        T_EQ_U64(n, held(m)); /* 0 if it was in use */
    }
    T_CHECK(held(CLOSED) > L2_KIT_KEYS / 4 && held(CLOSED_AGAIN) > L2_KIT_KEYS / 4);
    died();
}

T_CASE(a_copy_is_used_only_if_the_store_was_closed)
{
    whole_copies(L2_DROP);
    whole_copies(L2_KEEP);
    whole_copies(L2_ALWAYS);
}

/* Make a mixed copy. cp copies one file after another, and the slots of the stage one after
 * another. */
static void mixed(uint32_t n)
{
    const uint32_t seg = 16384;
    const int super = n % MOMENTS, meta = n / MOMENTS % MOMENTS;
    const int data = n / (MOMENTS * MOMENTS) % MOMENTS;
    const int slot0 = n / (MOMENTS * MOMENTS * MOMENTS) % MOMENTS;
    const int slot1 = n / (MOMENTS * MOMENTS * MOMENTS * MOMENTS) % MOMENTS;
    l2_dev_clone(&moment[super], &copy, NULL);
    if (n % 3 == 0) { copy.boot[15]++; } /* moved to another machine */
    take("META.0", meta, 0, SIZE_MAX / 2);
    take("META.1", meta, 0, SIZE_MAX / 2);
    take("data.seg", data, 0, SIZE_MAX / 2);
    take("stage.buf", slot0, 0, seg);
    take("stage.buf", slot1, seg, seg);
    other_files();
}

#define MIXTURES ((uint32_t)MOMENTS * MOMENTS * MOMENTS * MOMENTS * MOMENTS)

static void mixed_copies(l2_level level)
{
    uint32_t copies = 0, served = 0; /* served: copies that serve a key */
    lived(level);
    for (uint32_t n = 0; n < MIXTURES && !t_failed(); n++) {
        const uint32_t super = n % MOMENTS;
        /* A copy of a store in use opens empty before its other files are read: a few of those
         * suffice. */
        if (super != CLOSED && super != CLOSED_AGAIN && n % 61 != 0) { continue; }
        mixed(n);
        copies++;
        served += opened(&copy, seen[super]) != 0;
    }
    T_CHECK(served >= 2 && served < copies / 2);
    died();
}

static uint32_t left; /* calls until the process death */

static void kill_now(void *ctx)
{
    (void)ctx;
    if (left > 0 && --left == 0) { l2_dev_clone(&copy, &killed, NULL); }
}

T_CASE(a_copy_killed_during_its_open_serves_no_dead_value)
{
    uint32_t kills = 0;
    lived(L2_DROP);
    l2_dev_init(&killed);
    for (uint32_t n = 0; n < MIXTURES && !t_failed(); n += 37) {
        const uint32_t super = n % MOMENTS;
        if (super != CLOSED && super != CLOSED_AGAIN) { continue; }
        for (uint32_t at = 1; !t_failed(); at++) {
            mixed(n);
            left = at;
            copy.hook = kill_now;
            (void)opened(&copy, seen[super]);
            copy.hook = NULL;
            if (left > 0) { break; } /* there are fewer calls */
            kills++;
            (void)opened(&killed, seen[super]);
        }
    }
    T_CHECK(kills > 1000);
    l2_dev_fini(&killed);
    died();
}

/* Refuse the n-th allocation of an open, then open again: at most the keys of `oracle` are served.
 * Return false if there are fewer allocations. */
static bool opened_without_memory(uint64_t nth, const uint32_t *oracle, uint32_t *served)
{
    l2_kit_init(&other, &copy);
    other.cfg.seg_count = 6;
    other.cfg.level = kit.cfg.level;
    (void)base_fault_alloc_arm(nth, false);
    const cellar_err err = l2_kit_open(&other);
    const bool more = base_fault_alloc_arm(0, false) >= nth;
    T_CHECK(err == CELLAR_OK || err == CELLAR_E_NOMEM);
    const bool failed = err != CELLAR_OK;
    l2_kit_kill(&other);
    copy.locked = false;
    *served = UINT32_MAX; /* the open succeeded: what its death leaves is tested elsewhere */
    if (failed) { *served = opened(&copy, oracle); }
    return more;
}

T_CASE(a_copy_opened_without_memory_stays_usable)
{
    uint32_t failed = 0;
    lived(L2_DROP);
    for (int m = CLOSED; m <= CLOSED_AGAIN; m += CLOSED_AGAIN - CLOSED) {
        bool more = true;
        for (uint64_t nth = 1; more && !t_failed(); nth++) {
            uint32_t served;
            l2_dev_clone(&moment[m], &copy, NULL);
            other_files();
            more = opened_without_memory(nth, seen[m], &served);
            failed += served != UINT32_MAX;
            if (served != UINT32_MAX) { T_EQ_U64(served, held(m)); }
        }
    }
    T_CHECK(failed > 10);
    for (uint32_t n = 0; n < MIXTURES && !t_failed(); n += 131) {
        const uint32_t super = n % MOMENTS;
        bool more = super == CLOSED || super == CLOSED_AGAIN;
        for (uint64_t nth = 1; more && !t_failed(); nth++) {
            uint32_t served;
            mixed(n);
            more = opened_without_memory(nth, seen[super], &served);
        }
    }
    died();
}

T_CASE(a_mixed_copy_at_drop_serves_no_dead_value) { mixed_copies(L2_DROP); }
T_CASE(a_mixed_copy_at_keep_serves_no_dead_value) { mixed_copies(L2_KEEP); }

T_ONE_THREAD;
T_MAIN("l2_copies")
