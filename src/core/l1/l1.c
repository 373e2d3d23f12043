/* SPDX-License-Identifier: MIT
 *
 * l1: open, close and measure the in-memory level.
 *
 * LIMITS     Address space: arena, index, overflow and page runs reserve 8 x budget each (at least
 *            64 MiB). If the system refuses one of them, l1_open asks for all of them at half the
 *            size, down to 1 x; then for index and overflow down to a quarter. The minimum is 2.5 x
 *            the budget in all.
 *            With 32-bit addresses the minimum of a region is 8 MiB instead of 64. More than 1 x
 *            is requested only while all regions together take a sixteenth of the addresses. A
 *            region never takes more than an eighth of SIZE_MAX, unless the budget does.
 *            Stripes: 64, clamped to segments/64 and entries/64. Segments: 8 KiB from 4 MiB on, 16
 *            KiB from 16 MiB on, 32 KiB from 64 MiB on, 1 MiB from 4 GiB on.
 * SEE ALSO   README.md: why the regions shrink together. */
#include <string.h>

#include "l1/index.h"
#include "l1/large.h"
#include "l1/pin_slots.h"
#include "l1/policy.h"
#include "l1/quota_count.h"
#include "l1/segment.h"
#include "l1/unlink.h"

BASE_SIZE_BEGIN

#define L1_RESERVE_FACTOR 8u
#define L1_RESERVE_LEAST ((uint64_t)64 << 20)
#define L1_MEAN_BYTES 256u
#define L1_MEAN_LEAST 16u /* no record is shorter; below it ghosts alone exceed the budget */
#define L1_VALUE_LIMIT (((uint64_t)1 << 30) - 1)
#define L1_STRIPES_DEFAULT 64u
/* 8 B, not 4: it costs 4 B per entry at 16/100, but such records stay within two lines: get +14
 * %. */
#define L1_GRANULE_SHIFT 3
/* Below these budgets the advisor or the rounding to 2 MiB takes too large a part. */
#define L1_ADVISOR_LEAST ((uint64_t)16 << 20)
#define L1_COLLAPSE_LEAST ((uint64_t)32 << 20)

static uint32_t l1_mean_of(const l1_config *cfg, uint32_t unknown)
{
    return cfg->mean_entry_bytes != 0 ? BASE_MAX(cfg->mean_entry_bytes, L1_MEAN_LEAST) : unknown;
}

static uint32_t l1_pick_seg_bytes(const l1_config *cfg, uint64_t budget)
{
    if (cfg->seg_bytes != 0) { return cfg->seg_bytes; }
    /* With a bound of entries: segments for a budget of four times what the entries need. */
    uint64_t mean = l1_mean_of(cfg, L1_MEAN_BYTES);
    if (cfg->max_entries != 0 && cfg->max_entries < budget / mean / 4) {
        budget = BASE_MAX(cfg->max_entries * mean * 4, (uint64_t)4 << 20);
    } else if (l1_is_small(budget)) { /* short segments make many lanes: threads meet less */
        return budget < (uint64_t)16 << 20 ? 8u << 10 : L1_SEG_SHORT;
    }
    uint64_t most_small = base_pow2_floor(budget / 64);
    return (uint32_t)base_clamp(base_pow2_floor(budget / 4096),
                                BASE_MIN((uint64_t)32 << 10, most_small), (uint64_t)1 << 20);
}

static uint32_t l1_pick_stripes(const l1_config *cfg, uint64_t budget, uint32_t seg_bytes)
{
    /* Long entries need as many lock domains as others. */
    uint64_t mean = BASE_MIN(l1_mean_of(cfg, L1_MEAN_BYTES), L1_MEAN_BYTES);
    uint64_t entries = cfg->max_entries != 0 ? cfg->max_entries : budget / mean;
    uint64_t want = cfg->stripes != 0 ? cfg->stripes : L1_STRIPES_DEFAULT;
    want = BASE_MIN(want, BASE_MAX(budget / seg_bytes / 64, 1));
    want = BASE_MIN(want, BASE_MAX(entries / 64, 1));
    return (uint32_t)BASE_MIN(base_pow2_floor(want), (uint64_t)L1_STRIPES_MAX);
}

/* Return the bytes to reserve for one region. */
static uint64_t l1_reserve_want(uint64_t budget, uint64_t factor)
{
    const uint64_t least = BASE_MIN(L1_RESERVE_LEAST, (uint64_t)SIZE_MAX / 512);
    return BASE_MIN(BASE_MAX(budget, least / L1_RESERVE_FACTOR) * factor, l1_reserve_most(budget));
}

/* Return whether addresses remain for allocations: tables of the store, stacks, the program. */
static bool l1_leaves_room(uint64_t budget)
{
    base_region room;
    const size_t bytes = (size_t)(budget / 8);
    if (!base_region_reserve(&room, bytes, bytes)) { return false; }
    base_region_release(&room);
    return true;
}

/* Reserve tables, page runs, index and overflow areas at `factor` times the budget, and `arena`
 * bytes for the log. On false some of them are reserved. */
static bool l1_reserve_at(l1 *c, uint64_t budget, uint64_t factor, uint64_t arena)
{
    const uint64_t want = l1_reserve_want(budget, factor);
    const uint64_t least = factor == 1 ? budget / 4 : base_pow2_floor(want);
    c->gshift = L1_GRANULE_SHIFT;
    while (((uint64_t)UINT32_MAX << c->gshift) < budget * 2) { c->gshift++; }
    arena = BASE_MIN(arena, (uint64_t)UINT32_MAX << c->gshift);
    arena = base_round_up(arena, BASE_MAX((uint64_t)c->seg_bytes, (uint64_t)2 << 20));
    if (!base_region_reserve(&c->arena_region, (size_t)arena, (size_t)arena) ||
        !l1_runs_reserve(c, budget, factor)) {
        return false;
    }
    c->seg_limit = (uint32_t)BASE_MIN((uint64_t)c->arena_region.reserved_bytes / c->seg_bytes,
                                      (uint64_t)UINT32_MAX - 2);
    size_t table = (size_t)base_round_up((uint64_t)c->seg_limit * sizeof(l1_seg), BASE_PAGE);
    size_t bases = (size_t)base_round_up((uint64_t)c->seg_limit * sizeof(uint64_t), BASE_PAGE);
    if (!base_region_reserve(&c->table_region, table, table) ||
        !base_region_reserve(&c->base_region_, bases, bases)) {
        return false;
    }
    for (uint64_t total = base_pow2_floor(want);; total /= 2) {
        c->stripe_stride = (size_t)(total / c->stripe_count);
        if (c->stripe_stride < BASE_PAGE || total < least) { return false; }
        c->bucket_limit = (uint32_t)BASE_MIN(c->stripe_stride / sizeof(l1_bucket), (size_t)1 << 30);
        c->group_count = (uint32_t)BASE_MAX(c->bucket_limit >> L1_GROUP_SHIFT, 1u);
        const size_t halves = c->stripe_stride / c->group_count / sizeof(l1_bucket) * 2;
        c->overflow_limit = (uint32_t)BASE_MIN(halves, (size_t)65536) - 1;
        if (base_region_reserve(&c->index_region, (size_t)total, (size_t)total) &&
            base_region_reserve(&c->overflow_region, (size_t)total, (size_t)total) &&
            l1_leaves_room(budget)) {
            return true;
        }
        base_region_release(&c->overflow_region);
        base_region_release(&c->index_region);
    }
}

static void l1_release_all(l1 *c)
{
    base_region_release(&c->pages.region);
    base_region_release(&c->arena_region);
    base_region_release(&c->table_region);
    base_region_release(&c->base_region_);
    base_region_release(&c->index_region);
    base_region_release(&c->overflow_region);
}

static bool l1_reserve_all(l1 *c, uint64_t budget)
{
    if (budget > UINT64_MAX / 8 || budget > SIZE_MAX / 3) { return false; }
    uint64_t factor = L1_RESERVE_FACTOR, arena = l1_reserve_want(budget, factor);
    /* arena, runs, index, overflow */
    while ((factor > 1 && arena > SIZE_MAX / 16 / 4) || !l1_reserve_at(c, budget, factor, arena)) {
        l1_release_all(c);
        if (factor > 1) {
            factor /= 2;
            arena = l1_reserve_want(budget, factor);
        } else if (arena > budget) {
            arena = BASE_MAX(arena / 2, budget); /* the log alone may be as small as the budget */
        } else {
            return false;
        }
    }
    /* A fork copies no table of these pages, and the parent copies none that it writes. */
    base_region_keep(&c->arena_region);
    base_region_keep(&c->pages.region);
    base_region_keep(&c->index_region);
    base_region_keep(&c->overflow_region);
    return true;
}

static bool l1_alloc_all(l1 *c, const l1_config *cfg, uint64_t budget)
{
    c->stripe_bytes = c->stripe_count * (sizeof(l1_stripe) + sizeof(l1_lane));
    c->group_bytes = (size_t)c->stripe_count * c->group_count * sizeof(l1_group);
    /* Stripes, lanes and groups in one block; 128-byte aligned by hand. */
    size_t bytes = c->stripe_bytes + BASE_PAD + c->group_bytes;
    c->stripe_block = base_alloc(c->account, BASE_MOD_STORE, bytes, NULL);
    if (c->stripe_block == NULL) { return false; }
    c->stripe_block_bytes = bytes;
    uintptr_t at = (uintptr_t)base_round_up((uint64_t)(uintptr_t)c->stripe_block, BASE_PAD);
    c->stripe = (l1_stripe *)at;
    c->lane = (l1_lane *)(void *)(c->stripe + c->stripe_count);
    l1_group *groups = (l1_group *)(at + c->stripe_bytes);
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        c->stripe[i].group = groups + (size_t)i * c->group_count;
        l1_lane *n = &c->lane[i];
        n->number = i;
        n->learned.small = L1_SMALL_START;
        n->queue[0].head = n->queue[0].tail = n->queue[1].head = n->queue[1].tail = L1_NONE;
        base_store_rlx(&n->due_ms, UINT64_MAX);
    }
    base_store_rlx(&c->mean_bytes, l1_mean_of(cfg, L1_MEAN_BYTES * 3 / 4));
    return l1_runs_open(c, budget) && l1_pins_open(c) && l1_ghosts_open(c, budget) &&
           l1_log_open(c) && l1_index_open(c);
}

/* Apply the huge page mode to the regions. Ticks complete what the first touch of a page could not:
 * memory was fragmented, or pages were given back. */
static void l1_huge_open(l1 *c, uint8_t mode, uint64_t budget)
{
    c->index_step = mode == L1_HUGE_NOW ? BASE_HUGE : L1_INDEX_STEP;
    c->collapse_off =
        mode == L1_HUGE_NEVER || (mode == L1_HUGE_LATER && budget < L1_COLLAPSE_LEAST);
    if (mode == L1_HUGE_LATER) { return; }
    base_region_huge(&c->arena_region, mode == L1_HUGE_NOW);
    base_region_huge(&c->index_region, mode == L1_HUGE_NOW);
}

CELLAR_PRIVATE cellar_err l1_open(const l1_config *cfg, l1 **out)
{
    const uint64_t budget = base_load_rlx(&cfg->account->limit);
    bool refused = false;
    *out = NULL;
    /* The handle holds 128-byte aligned words: allocate more and align by hand. */
    const size_t bytes = sizeof(l1) + BASE_PAD;
    void *block = base_alloc(cfg->account, BASE_MOD_STORE, bytes, &refused);
    if (block == NULL) { return refused ? CELLAR_E_INVAL : CELLAR_E_NOMEM; }
    l1 *c = (l1 *)(uintptr_t)base_round_up((uint64_t)(uintptr_t)block, BASE_PAD);
    c->self_block = block;
    c->account = cfg->account;
    c->hash_key = cfg->hash_key;
    c->clock = cfg->clock;
    c->hooks = cfg->hooks;
    l1_bigs_open(c);
    c->no_advisor = cfg->no_advisor || budget < L1_ADVISOR_LEAST;
    c->no_due_first = cfg->no_due_first;
    c->favor_objects = cfg->favor_objects;
    c->seg_bytes = l1_pick_seg_bytes(cfg, budget);
    c->seg_shift = (uint8_t)base_log2_floor(c->seg_bytes);
    /* At most a quarter of a segment stays empty behind its last record. */
    c->record_max = BASE_MAX(c->seg_bytes / 4, BASE_MIN(c->seg_bytes / 3, 8192u)) & ~7u;
    c->record_sure = c->record_max;
    if (l1_is_small(budget) && c->seg_bytes >= 8192 && c->seg_bytes <= L1_SEG_SHORT) {
        c->record_max = c->seg_bytes / 2; /* while little stays empty: l1_packs */
        c->record_sure = 2048;
    }
    /* A key of that length and all optional fields fit into the smallest segment. */
    c->key_max = BASE_MIN(c->seg_bytes / 4, 1024u);
    c->stripe_count = l1_pick_stripes(cfg, budget, c->seg_bytes);
    c->stripe_mask = c->stripe_count - 1;
    base_store_rlx(&base_thread_self()->lane, 0u); /* the same calls have the same effects */
    base_store_rlx(&c->draws, base_hash(c->hash_key, 0, "draws", 5));
    c->max_value_bytes = BASE_MIN(cfg->max_value_bytes != 0 ? cfg->max_value_bytes
                                      : BASE_MIN((uint64_t)64 << 20, budget / 2), L1_VALUE_LIMIT);
    c->over_max = (uint32_t)BASE_MIN(c->max_value_bytes, (uint64_t)L1_SMALL_COPY);
    base_store_rlx(&c->max_entries, cfg->max_entries);
    base_store_rlx(&c->tickets, (int64_t)cfg->max_entries);
    base_store_rlx(&c->reserve, l1_reserve_segs(c, budget));
    base_store_rlx(&c->rough_ms, base_coarse_ms(c->clock));
    cellar_err err = CELLAR_E_NOMEM;
    if (l1_reserve_all(c, budget)) {
        c->arena = c->arena_region.base;
        c->seg = (l1_seg *)(void *)c->table_region.base;
        c->seg_base_ms = (_Atomic uint64_t *)(void *)c->base_region_.base;
        l1_huge_open(c, cfg->huge_pages, budget);
        uint64_t refusals = base_load_rlx(&c->account->refused);
        if (l1_alloc_all(c, cfg, budget)) {
            l1_set_policy(c, cfg->policy);
            *out = c;
            return CELLAR_OK;
        }
        if (base_load_rlx(&c->account->refused) != refusals) { err = CELLAR_E_INVAL; }
    }
    l1_close(c);
    return err;
}

CELLAR_PRIVATE void l1_close(l1 *c)
{
    if (c == NULL) { return; }
    base_account *a = c->account;
    for (uint32_t i = 0; c->stripe != NULL && i < c->stripe_count; i++) {
        const l1_stripe *s = &c->stripe[i];
        base_uncharge(a, BASE_MOD_INDEX, s->charged_bytes);
        for (uint32_t g = 0; g < c->group_count; g++) {
            base_uncharge(a, BASE_MOD_OVERFLOW, s->group[g].charged_bytes);
        }
    }
    l1_runs_close(c);
    uint64_t segs = (uint64_t)base_load_rlx(&c->held) + c->free.count + c->parked.count;
    base_uncharge(a, BASE_MOD_SEGMENT, segs * c->seg_bytes);
    base_uncharge(a, BASE_MOD_OBJECT, base_load_rlx(&c->charges));
    base_uncharge(a, BASE_MOD_LOG_TABLE, c->table_charged + c->base_charged);
    l1_samples_close(c);
    l1_shadow_close(c, base_load_rlx(&c->shadow));
    l1_caps_close(c);
    l1_quotas_close(c);
    base_free(a, BASE_MOD_GHOST, c->ghosts, base_load_rlx(&c->ghost_bytes));
    base_free(a, BASE_MOD_PIN, c->pin, c->pin_bytes);
    base_free(a, BASE_MOD_STORE, c->stripe_block, c->stripe_block_bytes);
    l1_release_all(c);
    base_free(a, BASE_MOD_STORE, c->self_block, sizeof(l1) + BASE_PAD);
}

CELLAR_PRIVATE void l1_want_evicted(l1 *c, bool on)
{
    if (on) { base_add_ar(&c->want_evicted, 1u); } else { base_sub_ar(&c->want_evicted, 1u); }
}

CELLAR_PRIVATE void l1_want_left(l1 *c, bool on)
{
    if (on) { base_add_ar(&c->want_left, 1u); } else { base_sub_ar(&c->want_left, 1u); }
}

CELLAR_PRIVATE bool l1_hide(l1 *c)
{
    const bool log = base_region_hide(&c->arena_region);
    const bool blocks = base_region_hide(&c->pages.region);
    base_store_rel(&c->wipes, 1u);
    l1_want_left(c, true); /* the short paths leave no old bytes to be overwritten */
    return log && blocks;
}

/* ---- statistics ------------------------------------------------------------------------------ */
CELLAR_PRIVATE SYNC_UNCHECKED void l1_stats_get(l1 *c, l1_stats *out)
{
    memset(out, 0, sizeof *out);
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        l1_lane *n = &c->lane[i];
        const bool exact = l1_lane_get(c, n);
#define L1_X(name) out->name += base_load_rlx(&n->name);
        L1_COUNTS(L1_X)
#undef L1_X
        out->entries += l1_lane_entries(n);
        out->record_bytes += l1_lane_bytes(n);
        const int64_t absent = base_load_rlx(&n->absent_count);
        const int64_t absent_bytes = base_load_rlx(&n->absent_bytes);
        out->absent += (uint64_t)BASE_MAX(absent, 0);
        out->absent_bytes += (uint64_t)BASE_MAX(absent_bytes, 0);
        out->examined_max = BASE_MAX(out->examined_max, base_load_rlx(&n->examined_max));
        if (exact) { sync_drop(L1_LANE, &n->lock); }
        l1_stripe *s = &c->stripe[i];
        sync_take(L1_STRIPE, &s->lock);
        out->buckets += s->bucket_count;
        out->overflow_halves += base_load_rlx(&s->overflow_count);
        out->splits += s->splits;
        out->merges += s->merges;
        sync_drop(L1_STRIPE, &s->lock);
    }
    sync_take(L1_SEG, &c->seg_lock);
    out->segments = base_load_rlx(&c->held);
    out->segments_free = c->free.count;
    out->segments_parked = c->parked.count;
    out->parked_total = c->parked_total;
    sync_drop(L1_SEG, &c->seg_lock);
    out->index_bytes = base_load_rlx(&c->account->by_module[BASE_MOD_INDEX]) +
                       base_load_rlx(&c->account->by_module[BASE_MOD_OVERFLOW]);
    out->arena_bytes = base_load_rlx(&c->account->by_module[BASE_MOD_SEGMENT]);
    out->big_blocks = base_load_rlx(&c->big_blocks);
    out->big_bytes = base_load_rlx(&c->big_bytes);
    out->retired_bytes = base_load_rlx(&c->retired_bytes);
#define L1_X(name) out->name = base_load_rlx(&c->name);
    L1_STORE_COUNTS(L1_X)
#undef L1_X
    out->rule = base_load_rlx(&c->rule);
    out->stripes = c->stripe_count;
    out->seg_bytes = c->seg_bytes;
    out->granule = 1u << c->gshift;
}

CELLAR_PRIVATE void l1_forked(l1 *c) { c->forked = true; }

BASE_SIZE_END
