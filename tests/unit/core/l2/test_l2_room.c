/* SPDX-License-Identifier: MIT
 *
 * Aim:    a put that finds no room is told when to come again. A put over a copy that its caller knows
 *         links to nothing. Where the stage is synced, few bytes of it are touched.
 * Method: small stores on an in-memory disk, with the worker run by hand. */
#include "l2/steps.h"
#include "tests/support/l2_kit.h"

static l2_dev dev;
static l2_kit kit;

static void nothing_is_left(void) { T_EQ_U64(base_live_blocks(), 0); }
T_AFTER_EACH(nothing_is_left);

static void begin(void)
{
    l2_dev_init(&dev);
    l2_kit_init(&kit, &dev);
}

static void open_it(void)
{
    const cellar_err err = l2_kit_open(&kit);
    if (err != CELLAR_OK) { printf("# %d, errno %d\n", (int)err, kit.sys_errno); }
    T_REQUIRE(err == CELLAR_OK);
    l2_kit_warm(&kit);
}

static void end(void)
{
    if (kit.d != NULL) { l2_close(kit.d); }
    kit.d = NULL;
    T_EQ_U64(base_load_rlx(&kit.account.used), 0);
    l2_dev_fini(&dev);
}

static cellar_err put(uint32_t key, size_t n)
{
    static unsigned char buf[1 << 20];
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS };
    const l2_key k = l2_kit_key(&kit, &key, sizeof key, 7);
    return l2_put(kit.d, &k, buf, n, &m, NULL);
}

/* A put is dropped beyond the pages that the worker touched, and without a slot. Each time a round of
 * the worker raises the number on which the caller waits. */
T_CASE(each_reason_to_drop_a_put_ends_with_room)
{
    for (int level = L2_DROP; level <= L2_ALWAYS; level++) {
        uint32_t ends = 0, key = 0;
        begin();
        kit.cfg.level = (l2_level)level;
        kit.cfg.seg_count = 20;
        open_it();
        while (ends < 30) {
            if (ends % 3 == 1) { l2_disarm(kit.d); }
            const uint32_t seen = l2_room_seen(kit.d);
            if (put(key++, 500) == CELLAR_OK) { continue; }
            ends++;
            for (int i = 0; i < 3 && l2_room_seen(kit.d) == seen; i++) { (void)l2_tick(kit.d, 0); }
            T_CHECK(l2_room_seen(kit.d) != seen);
            l2_room_wait(kit.d, seen);
            T_EQ_I64(put(key++, 500), CELLAR_OK);
        }
        end();
    }
}

static size_t most_armed, long_writes;

static int arm_noted(void *ctx, base_vfs_file *f, void *map, size_t offset, size_t bytes)
{
    most_armed = BASE_MAX(most_armed, bytes);
    return l2_dev_arm(ctx, f, map, offset, bytes);
}

static int pwrite_noted(void *ctx, base_vfs_file *f, const void *buf, size_t n, uint64_t offset,
                        size_t *done)
{
    long_writes += n == 65536;
    return l2_dev_pwrite(ctx, f, buf, n, offset, done);
}

/* Return the slots into which a caller may store without a wait. */
static uint32_t armed_slots(void)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < kit.d->nstage; i++) { n += kit.d->slot[i].armed_end != 0; }
    return n;
}

/* A sync writes each page that was touched, and its whole folio. So a store with syncs makes its
 * stage of pages, and touches no more than 192 KiB ahead, unless a record is longer. */
T_CASE(store_with_syncs_touches_few_and_small_pages)
{
    for (int level = L2_DROP; level <= L2_KEEP; level++) {
        begin();
        dev.flat = true;
        kit.cfg.level = (l2_level)level;
        kit.cfg.seg_count = 16;
        kit.cfg.seg_bytes = 1 << 20;
        kit.cfg.bytes = 16 << 20;
        kit.vfs.pwrite = pwrite_noted;
        long_writes = 0;
        open_it();
        T_EQ_I64(long_writes > 0, level == L2_DROP);
        kit.vfs.pwrite = l2_dev_pwrite;
        T_EQ_I64(put(0, 2000), CELLAR_OK);
        l2_disarm(kit.d);
        l2_arm_work(kit.d);
        T_EQ_U64(armed_slots(), level == L2_DROP ? 2 : 1);
        /* A part of a long value fits into what is touched, beside the reserve. */
        T_EQ_I64(put(1, 65400), CELLAR_OK);
        kit.vfs.arm = arm_noted;
        most_armed = 0;
        for (uint32_t i = 0; i < 3000; i++) {
            if (put(i, 2000) == CELLAR_OK) { continue; }
            kit.now_ms += 20;
            (void)l2_tick(kit.d, 0);
        }
        T_EQ_I64(most_armed > 230000, level == L2_DROP);
        cellar_err err = CELLAR_DROPPED;
        for (int i = 0; i < 8 && err == CELLAR_DROPPED; i++) {
            err = put(9999, 262144);
            (void)l2_tick(kit.d, 0);
        }
        T_EQ_I64(err, CELLAR_OK);
        end();
    }
}

static bool is_staged(uint64_t word)
{
    return L2_SEG_STATE(base_load_acq(&kit.d->seg[l2_word_seg(kit.d, word)].word)) == L2_SEG_STAGE;
}

/* If the caller knows the address of the copy on disk, the put replaces it. Else the put links to it. */
T_CASE(put_over_a_known_copy_needs_no_link)
{
    begin();
    open_it();
    const uint32_t id = 7;
    const l2_key k = l2_kit_key(&kit, &id, sizeof id, 5);
    uint64_t where = 0, known = 0;
    l2_meta m = { .deadline_ms = BASE_NEVER_MS, .where = &where };
    for (int round = 0; round < 6; round++) {
        m.older = round < 3 ? known : round == 3 ? known + 1 : 0;
        T_EQ_I64(l2_put(kit.d, &k, "value", 5, &m, NULL), CELLAR_OK);
        known = where;
        uint64_t word[L2_BUNCH_WORDS];
        T_EQ_U64(l2_index_all(kit.d, l2_h48(k.hash), word), 1);
        T_EQ_I64((word[0] & L2_WORD_LINKED) != 0, round >= 3);
        for (uint32_t i = 0; is_staged(word[0]) && i < 500; i++) {
            (void)put(1000 + i, 400);
            (void)l2_tick(kit.d, 0);
        }
        T_CHECK(!is_staged(word[0]));
    }
    end();
}

T_ONE_THREAD;
T_MAIN("l2_room")
