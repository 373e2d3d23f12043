/* SPDX-License-Identifier: MIT
 *
 * Aim:    the log continues in its last slot over short runs, so that nothing is reclaimed. What
 *         one open showed, the next opens show, too. A stage of an earlier run is detected.
 * Method: a store on an in-memory disk lives many times, at every level, and ends by a close, a
 *         process death or both in turn. Incomplete records are made by clearing their checks. */
#include "tests/support/l2_kit.h"

#define LIVES 60u
#define EACH 3u /* puts of a life */

static l2_dev dev;
static l2_kit kit;

static void nothing_is_left(void) { T_EQ_U64(base_live_blocks(), 0); }
T_AFTER_EACH(nothing_is_left);

static void begin(l2_level level)
{
    l2_dev_init(&dev);
    l2_kit_init(&kit, &dev);
    kit.cfg.seg_count = 6;
    kit.cfg.seg_bytes = 131072;
    kit.cfg.level = level;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
}

static void lives_again(bool closes)
{
    if (!closes) {
        l2_kit_killed(&kit, &dev);
        return;
    }
    l2_close(kit.d);
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
}

static bool closes_in(uint32_t how, uint32_t life)
{
    return how == 0 || (how == 2 && life % 2 == 0);
}

static void short_lives(l2_level level, uint32_t how)
{
    begin(level);
    const uint64_t first = kit.d->open_slot->head.segseq;
    for (uint32_t life = 0; life < LIVES; life++) {
        for (uint32_t i = 0; i < EACH; i++) {
            T_EQ_I64(l2_kit_put(&kit, life * EACH + i, 1 + life, L2_KIT_GENERATION), CELLAR_OK);
            (void)l2_tick(kit.d, 0);
        }
        lives_again(closes_in(how, life));
        T_EQ_U64(kit.d->open_slot->head.segseq, first);
        T_EQ_STR(l2_audit(kit.d), NULL);
    }
    T_EQ_U64(l2_kit_figures(&kit).segments_live, 1 + (l2_slot_in(kit.d, L2_SLOT_READY) != NULL));
    for (uint32_t i = 0; i < LIVES * EACH; i++) {
        T_EQ_U64(l2_kit_look(&kit, i, L2_KIT_GENERATION), 1 + i / EACH);
    }
    l2_kit_end(&kit, &dev);
}

T_CASE(short_lives_lose_no_entry)
{
    for (int level = L2_DROP; level <= L2_ALWAYS; level++) {
        for (uint32_t how = 0; how < 3; how++) { short_lives((l2_level)level, how); }
    }
}

/* The last record becomes incomplete, as if its writer had died. followed: the record of another
 * writer lies behind it. */
static void last_is_incomplete(bool followed)
{
    const l2_slot *s = kit.d->open_slot;
    const uint32_t off = s->last_off;
    if (followed) { T_EQ_I64(l2_kit_put(&kit, 99, 7, L2_KIT_GENERATION), CELLAR_OK); }
    memset(s->base + off, 0, 4); /* its check */
}

/* Fill the log until the segment is in data.seg. */
static void segment_is_sealed(uint64_t segseq)
{
    for (uint32_t i = 100; kit.d->open_slot->head.segseq == segseq; i++) {
        T_REQUIRE(i < 5000);
        (void)l2_kit_put(&kit, i, 9, L2_KIT_GENERATION);
        (void)l2_tick(kit.d, 1000);
    }
    while (l2_tick(kit.d, 1000)) {}
}

static void incomplete_put(l2_level level, bool linked, bool followed)
{
    begin(level);
    const uint64_t first = kit.d->open_slot->head.segseq;
    T_EQ_I64(l2_kit_put(&kit, 1, 7, L2_KIT_GENERATION), CELLAR_OK);
    T_EQ_I64(l2_kit_put(&kit, 1, 8, L2_KIT_GENERATION), CELLAR_OK);
    last_is_incomplete(followed);
    for (uint32_t life = 0; life < 4; life++) {
        lives_again(linked && life == 2);
        T_EQ_U64(kit.d->open_slot->head.segseq, first);
        T_EQ_U64(l2_kit_look(&kit, 1, L2_KIT_GENERATION), 7);
        T_EQ_I64(l2_kit_put(&kit, 2 + life, 7, L2_KIT_GENERATION), CELLAR_OK);
    }
    segment_is_sealed(first);
    T_EQ_U64(l2_kit_look(&kit, 1, L2_KIT_GENERATION), 7);
    lives_again(false);
    for (uint32_t i = 1; i < 6; i++) { T_EQ_U64(l2_kit_look(&kit, i, L2_KIT_GENERATION), 7); }
    T_EQ_U64(l2_kit_figures(&kit).holes, 0);
    l2_kit_end(&kit, &dev);
}

T_CASE(value_shown_after_a_lost_put_stays)
{
    for (int level = L2_DROP; level <= L2_ALWAYS; level++) {
        for (int how = 0; how < 4; how++) {
            incomplete_put((l2_level)level, how % 2 != 0, how / 2 != 0);
        }
    }
}

/* A sync fails while the slot has a void record: the bytes are stored again, nothing is dropped. */
T_CASE(failed_sync_keeps_a_slot_with_a_void_record)
{
    begin(L2_KEEP);
    T_EQ_I64(l2_kit_put(&kit, 1, 7, L2_KIT_GENERATION), CELLAR_OK);
    T_EQ_I64(l2_kit_put(&kit, 2, 7, L2_KIT_GENERATION), CELLAR_OK);
    last_is_incomplete(true);
    lives_again(false);
    T_EQ_I64(l2_kit_put(&kit, 3, 7, L2_KIT_GENERATION), CELLAR_OK);
    dev.fail_site = DEV_DATASYNC;
    dev.fail_errno = EIO;
    dev.fail_at = 1;
    T_EQ_I64(l2_commit(kit.d), CELLAR_E_IO);
    (void)l2_tick(kit.d, 0);
    T_EQ_I64(l2_commit(kit.d), CELLAR_OK);
    lives_again(false);
    for (uint32_t i = 1; i < 4; i++) {
        T_EQ_U64(l2_kit_look(&kit, i, L2_KIT_GENERATION), i == 2 ? 0 : 7);
    }
    l2_kit_end(&kit, &dev);
}

/* A delete dies before its tombstone has a check, or before the tombstone has its key. */
static void incomplete_delete(l2_level level, bool key)
{
    begin(level);
    const uint64_t first = kit.d->open_slot->head.segseq;
    T_EQ_I64(l2_kit_put(&kit, 1, 7, L2_KIT_GENERATION), CELLAR_OK);
    l2_kit_del(&kit, 1);
    const uint32_t at = kit.d->open_slot->last_off;
    last_is_incomplete(true);
    if (!key) { memset(kit.d->open_slot->base + at + L2_RECORD_HEAD, 0xee, 4); }
    const uint32_t shown = key ? 0 : 7;
    for (uint32_t life = 0; life < 3; life++) {
        lives_again(life == 1);
        T_EQ_U64(l2_r32(kit.d->open_slot->base + at) != 0, key); /* completed in the slot */
        T_EQ_U64(l2_kit_look(&kit, 1, L2_KIT_GENERATION), shown);
    }
    T_EQ_U64(kit.d->open_slot->head.segseq, first);
    segment_is_sealed(first);
    lives_again(false);
    T_EQ_U64(l2_kit_look(&kit, 1, L2_KIT_GENERATION), shown);
    l2_kit_end(&kit, &dev);
}

T_CASE(lost_delete_has_one_result_in_all_later_lives)
{
    for (int level = L2_DROP; level <= L2_ALWAYS; level++) {
        incomplete_delete((l2_level)level, false);
        incomplete_delete((l2_level)level, true);
    }
}

/* Each life dies in a put of half a segment. */
static void lost_puts(l2_level level, bool first)
{
    static unsigned char value[50000];
    begin(level);
    const uint64_t segseq = kit.d->open_slot->head.segseq;
    if (!first) { T_EQ_I64(l2_kit_put(&kit, 1, 7, L2_KIT_GENERATION), CELLAR_OK); }
    for (uint32_t life = 0; life < LIVES; life++) {
        const l2_key id = l2_kit_key(&kit, "long", 4, L2_KIT_GENERATION);
        const l2_meta m = { .deadline_ms = BASE_NEVER_MS };
        T_EQ_I64(l2_put(kit.d, &id, value, sizeof value, &m, NULL), CELLAR_OK);
        last_is_incomplete(false);
        lives_again(false);
        while (l2_tick(kit.d, 0)) {}
        T_EQ_STR(l2_audit(kit.d), NULL);
        T_EQ_U64(l2_kit_figures(&kit).holes, 0);
    }
    T_EQ_U64(l2_kit_figures(&kit).segments_live, 1 + (l2_slot_in(kit.d, L2_SLOT_READY) != NULL));
    T_CHECK(first || kit.d->open_slot->head.segseq == segseq);
    T_EQ_U64(l2_kit_look(&kit, 1, L2_KIT_GENERATION), first ? 0 : 7);
    l2_kit_end(&kit, &dev);
}

T_CASE(lives_that_die_in_a_put_take_no_room)
{
    for (int level = L2_DROP; level <= L2_ALWAYS; level++) {
        lost_puts((l2_level)level, true);
        lost_puts((l2_level)level, false);
    }
}

static void stage_of_an_earlier_run(l2_level level)
{
    begin(level);
    T_EQ_I64(l2_kit_put(&kit, 1, 7, L2_KIT_GENERATION), CELLAR_OK);
    l2_kit_kill(&kit);
    dev.locked = false;
    l2_dev_file *stage = l2_dev_find(&dev, "stage.buf");
    unsigned char *was = malloc(stage->size);
    T_REQUIRE(was != NULL);
    memcpy(was, stage->live, stage->size);
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
    T_EQ_U64(l2_kit_look(&kit, 1, L2_KIT_GENERATION), 7);
    l2_kit_del(&kit, 1);
    l2_kit_kill(&kit);
    memcpy(stage->live, was, stage->size);
    free(was);
    dev.locked = false;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
    T_EQ_U64(l2_kit_look(&kit, 1, L2_KIT_GENERATION), 0);
    T_EQ_U64(l2_kit_figures(&kit).holes, 1);
    l2_kit_end(&kit, &dev);
}

T_CASE(stage_of_the_run_before_is_not_believed)
{
    for (int level = L2_DROP; level <= L2_ALWAYS; level++) {
        stage_of_an_earlier_run((l2_level)level);
    }
}

/* Return the highest floor that the files have: in SUPER and in the headers of the stage. */
static uint64_t floor_on_disk(const l2_form *form)
{
    const l2_dev_file *super = l2_dev_find(&dev, "SUPER"), *stage = l2_dev_find(&dev, "stage.buf");
    uint64_t floor = 0;
    for (size_t i = 0; i < 2; i++) {
        l2_super s;
        if (l2_super_read(super->live + i * L2_PAGE, &s) == CELLAR_OK) {
            floor = BASE_MAX(floor, s.floor_lsn);
        }
    }
    for (size_t at = 0; at < stage->size; at += form->seg_bytes) {
        l2_head h;
        if (l2_head_read(form, stage->live + at, &h)) { floor = BASE_MAX(floor, h.floor_lsn); }
    }
    return floor;
}

/* The header of a READY slot has the highest floor. The slot is wiped by an open that fails at its
 * n-th call from then on. */
T_CASE(floor_of_a_wiped_slot_is_kept)
{
    static l2_dev before;
    begin(L2_KEEP);
    const l2_slot *open = kit.d->open_slot, *next = NULL;
    for (uint32_t i = 1; next == NULL || next->head.floor_lsn <= open->head.floor_lsn; i++) {
        T_REQUIRE(i < 20000);
        (void)l2_kit_put(&kit, i, 9, L2_KIT_GENERATION);
        (void)l2_tick(kit.d, 1000);
        open = kit.d->open_slot;
        next = NULL;
        for (uint32_t n = 0; n < kit.d->nstage; n++) {
            if (kit.d->slot[n].state == L2_SLOT_READY) { next = &kit.d->slot[n]; }
        }
        if (open->pos > kit.cfg.seg_bytes / 2) { next = NULL; }
    }
    const uint64_t floor = next->head.floor_lsn, segseq = open->head.segseq;
    const l2_form form = kit.d->form;
    l2_kit_kill(&kit);
    dev.locked = false;
    l2_dev_clone(&dev, &before, NULL);
    bool failed = true;
    for (uint64_t nth = 1; failed; nth++) {
        l2_dev_clone(&before, &dev, NULL);
        dev.fail_site = -1;
        dev.fail_errno = EIO;
        dev.fail_at = nth;
        dev.fail_sticky = true;
        failed = l2_kit_open(&kit) != CELLAR_OK || dev.fail_at == 1;
        T_CHECK(floor_on_disk(&form) >= floor);
        if (failed) { l2_kit_kill(&kit); }
        T_REQUIRE(nth < 1000);
    }
    T_EQ_U64(kit.d->open_slot->head.segseq, segseq);
    dev.fail_at = 0;
    l2_kit_end(&kit, &dev);
    l2_dev_fini(&before);
}

/* After damage the log continues in a new segment, and its floor is in a new header. */
T_CASE(damaged_slot_is_sealed)
{
    begin(L2_DROP);
    const uint64_t first = kit.d->open_slot->head.segseq;
    T_EQ_I64(l2_kit_put(&kit, 1, 7, L2_KIT_GENERATION), CELLAR_OK);
    const l2_slot *s = kit.d->open_slot;
    const uint32_t at = s->last_off;
    T_EQ_I64(l2_kit_put(&kit, 2, 7, L2_KIT_GENERATION), CELLAR_OK);
    s->base[at + 100] ^= 1;
    lives_again(false);
    T_CHECK(kit.d->open_slot->head.segseq > first);
    T_EQ_U64(l2_kit_look(&kit, 1, L2_KIT_GENERATION), 0);
    T_EQ_U64(l2_kit_look(&kit, 2, L2_KIT_GENERATION), 7);
    l2_kit_end(&kit, &dev);
}

/* Each round of the worker has a sync. The index rebuild must not take one round for each segment. */
T_CASE(rebuild_is_not_bound_to_syncs)
{
    l2_dev_init(&dev);
    l2_kit_init(&kit, &dev);
    kit.cfg.seg_count = 60;
    kit.cfg.level = L2_KEEP;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
    for (uint32_t i = 0; kit.d->newest_segseq < 50; i++) {
        T_REQUIRE(i < 20000);
        (void)l2_kit_put(&kit, i, 1, L2_KIT_GENERATION);
        (void)l2_tick(kit.d, 1000);
    }
    l2_kit_kill(&kit);
    dev.locked = false;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    const uint64_t before = l2_kit_figures(&kit).barriers;
    while (l2_kit_figures(&kit).rebuilding) {
        kit.now_ms += 1000; /* the next sync is due */
        (void)l2_tick(kit.d, 1);
    }
    T_CHECK(l2_kit_figures(&kit).barriers - before < 20);
    l2_kit_end(&kit, &dev);
}

/* ---- opens without a change ---- */

#define CUTS 24
static l2_dev other;
static l2_dev *now = &dev, *after = &other; /* the disk in use; the disk that a power cut leaves */
static base_rng rng;
static uint64_t calls_left; /* of the disk until the power is cut */

static void cut_power(void *ctx)
{
    (void)ctx;
    if (calls_left == 0 || --calls_left > 0) { return; }
    l2_dev_clone(now, after, &rng);
}

/* Store 40 values at level DROP. They are durable by a sync or a close. */
/* `full`: a run does not continue in the last slot. */
static void store_for_cuts(l2_level level, bool closes, bool full)
{
    now = &dev;
    after = &other;
    l2_dev_init(&other);
    begin(level);
    const l2_slot *s = kit.d->open_slot;
    uint32_t key = 40;
    for (uint32_t i = 0; i < 40; i++) {
        T_EQ_I64(l2_kit_put(&kit, i, 7, L2_KIT_GENERATION), CELLAR_OK);
    }
    while (full && s->pos + 200 < l2_data_limit(kit.d, s->entries + 4) - kit.d->reserve) {
        const l2_key id = l2_kit_key(&kit, &key, sizeof key, L2_KIT_GENERATION);
        const l2_meta m = { .deadline_ms = BASE_NEVER_MS };
        T_EQ_I64(l2_put(kit.d, &id, "", 0, &m, NULL), CELLAR_OK);
        key++;
    }
    while (full && s->pos + kit.d->reserve / 2 < l2_data_limit(kit.d, s->entries)) {
        l2_kit_del(&kit, --key);
    }
    T_CHECK(kit.d->open_slot == s && key >= 40);
    if (closes) { l2_close(kit.d); } else { T_EQ_I64(l2_sync(kit.d), CELLAR_OK); }
    if (!closes) { l2_kit_kill(&kit); }
    dev.locked = false;
}

/* Open without a change, while the power is cut at the n-th call of the disk, or after the last one.
 * Return the values that the cut leaves. */
static uint32_t values_after_a_cut(uint64_t nth)
{
    calls_left = nth;
    now->hook = cut_power;
    T_REQUIRE(l2_kit_open_only(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
    kit.now_ms += 2000;
    while (l2_tick(kit.d, 1000)) {}
    now->hook = NULL;
    if (calls_left > 0) { l2_dev_clone(now, after, &rng); }
    l2_kit_kill(&kit);
    l2_dev *const was = now;
    now = after;
    after = was;
    kit.vfs = l2_dev_vfs(now);
    T_REQUIRE(l2_kit_open_only(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
    uint32_t found = 0;
    for (uint32_t i = 0; i < 40; i++) { found += l2_kit_look(&kit, i, L2_KIT_GENERATION) == 7; }
    l2_kit_kill(&kit);
    now->locked = false;
    return found;
}

/* At level DROP a clean store stays as it is at any number of power cuts. A change ends that. */
T_CASE(power_cuts_take_nothing_while_opens_change_nothing)
{
    base_rng_seed(&rng, t_seed());
    for (int closes = 0; closes < 2; closes++) {
        store_for_cuts(L2_DROP, closes != 0, false);
        for (uint32_t cut = 0; cut < CUTS && !t_failed(); cut++) {
            T_EQ_U64(values_after_a_cut(1 + base_rng_below(&rng, 8)), 40);
        }
        T_REQUIRE(l2_kit_open_only(&kit) == CELLAR_OK);
        l2_kit_warm(&kit);
        T_CHECK(!l2_kit_figures(&kit).dirty);
        T_EQ_I64(l2_kit_put(&kit, 0, 8, L2_KIT_GENERATION), CELLAR_DROPPED);
        (void)l2_tick(kit.d, 0);
        T_CHECK(l2_kit_figures(&kit).dirty);
        T_EQ_I64(l2_kit_put(&kit, 0, 8, L2_KIT_GENERATION), CELLAR_OK);
        l2_kit_killed(&kit, now);
        T_EQ_U64(l2_kit_look(&kit, 0, L2_KIT_GENERATION), 8);
        T_EQ_U64(l2_kit_look(&kit, 39, L2_KIT_GENERATION), 7);
        l2_kit_end(&kit, now);
        l2_dev_fini(after);
    }
}

/* The power is cut at each call of an open without a change: at another level, and after a run at
 * DROP that filled its slot. */
T_CASE(power_cut_in_an_open_takes_nothing)
{
    static const l2_level from[] = { L2_DROP, L2_DROP, L2_KEEP, L2_ALWAYS, L2_DROP },
                          to[] = { L2_KEEP, L2_ALWAYS, L2_DROP, L2_DROP, L2_DROP };
    base_rng_seed(&rng, t_seed());
    for (int how = 0; how < 15; how++) {
        bool cut = true;
        for (uint64_t nth = 1; cut && !t_failed(); nth++) {
            store_for_cuts(from[how / 3], how % 3 != 0, how % 3 == 2 || how / 3 == 4);
            kit.cfg.level = to[how / 3];
            T_EQ_U64(values_after_a_cut(nth), 40);
            cut = calls_left == 0;
            T_REQUIRE(l2_kit_open_only(&kit) == CELLAR_OK);
            l2_kit_end(&kit, now);
            l2_dev_fini(after);
        }
    }
}

T_ONE_THREAD;
T_MAIN("l2_lives")
