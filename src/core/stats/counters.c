/* SPDX-License-Identifier: MIT
 *
 * counters: exact counters at the cost of a plain add, because each thread has its own.
 *
 * PICTURE    stats -> near/far[thread index] -> row -> near/far[slot] -> counters of a namespace
 *                                                  \-> counters of the store
 *            a figure is the sum over all rows; row 0 serves all threads without a row
 * INVARIANTS Only the thread that owns an index in base_thread_self writes its row and blocks. Any
 *            thread writes row 0 and its blocks (shared == 1), with atomic adds.
 *            Nothing is freed before stats_destroy. A cell never decreases.
 *            Each open slot has a block in row 0, made by stats_slot_open, so stats_mine always
 *            returns a block and never an error.
 *            A namespace that takes a used slot stores the sums so far (`start`); readers subtract
 *            them.
 *            `entries` of a block counts one generation. A thread moves it to the present one only;
 *            readers sum the blocks of the present one. So a clear sets the sum to 0.
 * LOCKING    None. Pointers are published with release and read with acquire. Cells are relaxed
 *            atomics; one with a single writer needs no locked instruction. Pages and shared blocks
 *            are installed by compare-exchange.
 *            An allocation may make the store evict, which counts evictions and re-enters this
 *            file: the bit `asking` of the index sends those nested calls to the shared block.
 * LIMITS     4,095 threads with rows at a time, 4,096 slots. After a refused allocation the thread
 *            uses atomic adds (5 to 17 ns each) until one of its later calls succeeds.
 * SEE ALSO   README.md in this folder: protocol, rejected designs. */
#include "stats/counters.h"

#include "base/num.h"

/* A block of row 0, with the sums of its slot at the time its present namespace took it. */
typedef struct stats_shared_block {
    stats_block block;
    /* written by stats_slot_open, read by any thread */
    _Atomic uint64_t start[STATS_NAMESPACE_COUNT];
    _Atomic uint32_t generation; /* the one that is counted; release, acquire */
} stats_shared_block;

_Static_assert(offsetof(stats_shared_block, block) == 0, "row 0 points at the block itself");
_Static_assert(offsetof(stats_block, cell) + 5 * sizeof(uint64_t) <= BASE_LINE,
               "the outcomes of a get share the first line of a block");
_Static_assert(STATS_FAR_PAGES * STATS_FAR_SLOTS == STATS_SLOTS_MAX, "pages cover all slots");
_Static_assert(STATS_ROW_PAGES * STATS_NEAR_ROWS == BASE_THREAD_MAX, "pages cover all indexes");

/* Allocate zeroed memory at a multiple of BASE_PAD. *raw: argument for stats_free_padded. */
static void *stats_alloc_padded(stats *st, size_t bytes, void **raw)
{
    unsigned char *p = base_alloc(st->account, BASE_MOD_STATS, bytes + BASE_PAD, NULL);
    if (p == NULL) { return NULL; }
    *raw = p;
    return p + (BASE_PAD - ((uintptr_t)p & (BASE_PAD - 1)));
}

static void stats_free_padded(stats *st, void *raw, size_t bytes)
{
    base_free(st->account, BASE_MOD_STATS, raw, bytes + BASE_PAD);
}

static stats_row *stats_row_new(stats *st, bool shared)
{
    void *raw = NULL;
    stats_row *row = stats_alloc_padded(st, sizeof *row, &raw);
    if (row == NULL) { return NULL; }
    row->raw = raw;
    row->shared = shared;
    return row;
}

static size_t stats_block_bytes(bool shared)
{
    return shared ? sizeof(stats_shared_block) : sizeof(stats_block);
}

static stats_block *stats_block_new(stats *st, bool shared)
{
    void *raw = NULL;
    stats_block *block = stats_alloc_padded(st, stats_block_bytes(shared), &raw);
    if (block == NULL) { return NULL; }
    block->raw = raw;
    block->shared = shared;
    return block;
}

static void stats_block_free(stats *st, stats_block *block)
{
    if (block != NULL) { stats_free_padded(st, block->raw, stats_block_bytes(block->shared)); }
}

/* ---- finding: NULL if the row or block does not exist yet ---- */

static stats_row *stats_row_at(const stats *st, uint32_t index)
{
    if (index < STATS_NEAR_ROWS) { return base_load_acq(&st->near[index]); }
    const stats_row_page *page = base_load_acq(&st->far[index / STATS_NEAR_ROWS]);
    return page != NULL ? base_load_acq(&page->row[index % STATS_NEAR_ROWS]) : NULL;
}

static stats_block *stats_block_at(const stats_row *row, uint32_t slot)
{
    if (slot < STATS_NEAR_SLOTS) { return base_load_acq(&row->near[slot]); }
    const stats_page *page = base_load_acq(&row->far[slot / STATS_FAR_SLOTS]);
    return page != NULL ? base_load_acq(&page->slot[slot % STATS_FAR_SLOTS]) : NULL;
}

BASE_SIZE_BEGIN

/* ---- making ---- */

static void stats_raise(_Atomic uint32_t *top, uint32_t to)
{
    for (uint32_t seen = base_load_rlx(top); seen < to; seen = base_load_rlx(top)) {
        if (base_cas_ar(top, seen, to)) { return; }
    }
}

CELLAR_PRIVATE void *stats_install(stats *st, void *_Atomic *at, size_t bytes)
{
    void *page = base_load_acq(at);
    if (page != NULL) { return page; }
    void *made = base_alloc(st->account, BASE_MOD_STATS, bytes, NULL);
    if (made == NULL || base_cas_ar(at, NULL, made)) { return made; }
    base_free(st->account, BASE_MOD_STATS, made, bytes); /* another thread was first */
    return base_load_acq(at);
}

/* Return the place of a row; NULL: its page was refused. */
static stats_row *_Atomic *stats_row_place(stats *st, uint32_t index)
{
    if (index < STATS_NEAR_ROWS) { return &st->near[index]; }
    stats_row_page *page = stats_install(st, &st->far[index / STATS_NEAR_ROWS], sizeof *page);
    return page != NULL ? &page->row[index % STATS_NEAR_ROWS] : NULL;
}

static stats_block *_Atomic *stats_block_place(stats *st, stats_row *row, uint32_t slot)
{
    if (slot < STATS_NEAR_SLOTS) { return &row->near[slot]; }
    stats_page *page = stats_install(st, &row->far[slot / STATS_FAR_SLOTS], sizeof *page);
    return page != NULL ? &page->slot[slot % STATS_FAR_SLOTS] : NULL;
}

/* Make row and block of the calling thread. NULL: refused. */
static stats_block *stats_make_mine(stats *st, uint32_t index, uint32_t slot)
{
    stats_row *_Atomic *row_at = stats_row_place(st, index);
    if (row_at == NULL) { return NULL; }
    stats_row *row = base_load_acq(row_at);
    if (row == NULL) {
        row = stats_row_new(st, false);
        if (row == NULL) { return NULL; }
        base_store_rel(row_at, row); /* acquire in stats_row_at */
        stats_raise(&st->row_top, index + 1);
    }
    stats_block *_Atomic *block_at = stats_block_place(st, row, slot);
    if (block_at == NULL) { return NULL; }
    stats_block *block = stats_block_new(st, false);
    if (block != NULL) { base_store_rel(block_at, block); } /* acquire in stats_block_at */
    return block;
}

BASE_SIZE_END

/* Enter an allocation. False: this thread is already inside one (the store evicts for it), or
 * recent allocations were refused and it is not yet time to try again. */
CELLAR_PRIVATE bool stats_ask(stats *st, uint32_t index)
{
    if (base_load_rlx(&st->denied) != 0 && base_add_rlx(&st->calls_denied, 1u) % 256 != 0) {
        return false;
    }
    const uint64_t bit = (uint64_t)1 << (index % 64);
    return (base_or_sc(&st->asking[index / 64], bit) & bit) == 0;
}

CELLAR_PRIVATE void stats_asked(stats *st, uint32_t index, bool granted)
{
    const uint64_t bit = (uint64_t)1 << (index % 64);
    /* Only the owner of the index changes its bit, so a subtraction clears it. */
    (void)base_sub_rlx(&st->asking[index / 64], bit);
    if (granted) {
        if (base_load_rlx(&st->denied) != 0) { base_store_rlx(&st->denied, 0u); }
    } else {
        (void)base_add_rlx(&st->denied, 1u);
    }
}

CELLAR_PRIVATE stats_block *stats_held(const stats *st, uint32_t slot)
{
    BASE_ASSERT(slot < STATS_SLOTS_MAX);
    const stats_row *row = stats_row_at(st, base_thread_self()->index);
    stats_block *block = row != NULL ? stats_block_at(row, slot) : NULL;
    if (block == NULL) { block = stats_block_at(base_load_acq(&st->near[0]), slot); }
    BASE_REQUIRE(block != NULL); /* NULL: the slot was never opened */
    return block;
}

CELLAR_PRIVATE stats_block *stats_mine_slow(stats *st, uint32_t slot)
{
    base_thread_record *self = base_thread_self();
    const uint32_t index = self->index;
    stats_block *block = stats_held(st, slot);
    if (block->shared && index != 0 && stats_ask(st, index)) {
        stats_block *made = stats_make_mine(st, index, slot);
        stats_asked(st, index, made != NULL);
        if (made != NULL) { block = made; }
    }
    if (!block->shared) { /* so index is not 0, and this thread owns the record */
        self->mine = block;
        self->mine_tag = st->id | slot;
    }
    return block;
}

/* Return the shared block of a slot; NULL: the slot was never opened. */
static stats_shared_block *stats_shared_at(const stats *st, uint32_t slot)
{
    return (stats_shared_block *)(void *)stats_block_at(base_load_acq(&st->near[0]), slot);
}

BASE_COLD CELLAR_PRIVATE void stats_entry_slow(const stats *st, uint32_t slot, uint32_t generation,
                                               uint64_t by)
{
    const stats_shared_block *shared = stats_shared_at(st, slot);
    stats_block *block = stats_held(st, slot);
    for (;;) {
        const uint64_t was = base_load_acq(&block->entries);
        /* after `was`: the present generation is not older than that of the block */
        if (base_load_acq(&shared->generation) != generation) { return; }
        const uint64_t from = (uint32_t)was == generation ? was : generation;
        if (base_cas_ar(&block->entries, was, from + by)) { return; }
    }
}

CELLAR_PRIVATE void stats_entries_begin(const stats *st, uint32_t slot, uint32_t generation)
{
    base_store_rel(&stats_shared_at(st, slot)->generation, generation);
}

CELLAR_PRIVATE void stats_count(stats *st, stats_id id, uint64_t n)
{
    BASE_ASSERT(id >= STATS_NAMESPACE_COUNT && id < STATS_COUNT);
    const uint32_t index = base_thread_self()->index;
    stats_row *row = stats_row_at(st, index);
    if (row == NULL) { row = base_load_acq(&st->near[0]); }
    _Atomic uint64_t *cell = &row->cell[id - STATS_NAMESPACE_COUNT];
    if (row->shared) {
        (void)base_add_rlx(cell, n);
    } else {
        base_store_rlx(cell, base_load_rlx(cell) + n);
    }
}

BASE_SIZE_BEGIN

/* ---- reading ---- */

static uint64_t stats_sum(const stats *st, uint32_t slot, stats_id id)
{
    const uint32_t top = base_load_acq(&st->row_top);
    uint64_t sum = 0;
    for (uint32_t index = 0; index < top; index++) {
        const stats_row *row = stats_row_at(st, index);
        const stats_block *block = row != NULL ? stats_block_at(row, slot) : NULL;
        if (block != NULL) { sum += base_load_rlx(&block->cell[id]); }
    }
    return sum;
}

CELLAR_PRIVATE uint64_t stats_entries(const stats *st, uint32_t slot)
{
    const stats_shared_block *shared = stats_shared_at(st, slot);
    if (shared == NULL) { return 0; }
    const uint32_t generation = base_load_acq(&shared->generation);
    const uint32_t top = base_load_acq(&st->row_top);
    uint32_t sum = 0; /* a block counts modulo 2^32: one thread stores, another removes */
    for (uint32_t index = 0; index < top; index++) {
        const stats_row *row = stats_row_at(st, index);
        const stats_block *block = row != NULL ? stats_block_at(row, slot) : NULL;
        const uint64_t word = block != NULL ? base_load_rlx(&block->entries) : 0;
        if ((uint32_t)word == generation) { sum += (uint32_t)(word >> 32); }
    }
    /* a thread may have removed an entry that another one has stored and not yet counted */
    return sum <= UINT32_MAX - BASE_THREAD_MAX ? sum : 0;
}

CELLAR_PRIVATE uint64_t stats_read(const stats *st, uint32_t slot, stats_id id)
{
    BASE_ASSERT(slot < STATS_SLOTS_MAX && id < STATS_NAMESPACE_COUNT);
    const stats_shared_block *shared = stats_shared_at(st, slot);
    if (shared == NULL) { return 0; }
    const uint64_t start = base_load_rlx(&shared->start[id]);
    return stats_sum(st, slot, id) - start;
}

CELLAR_PRIVATE void stats_read_slot(const stats *st, uint32_t slot,
                                    uint64_t out[STATS_NAMESPACE_COUNT])
{
    for (int id = 0; id < STATS_NAMESPACE_COUNT; id++) {
        out[id] = stats_read(st, slot, (stats_id)id);
    }
}

CELLAR_PRIVATE uint64_t stats_read_sum(const stats *st, stats_id id)
{
    const uint32_t top = base_load_acq(&st->slot_top);
    uint64_t sum = 0;
    for (uint32_t slot = 0; slot < top; slot++) { sum += stats_sum(st, slot, id); }
    return sum;
}

CELLAR_PRIVATE void stats_read_all(const stats *st, uint64_t out[STATS_NAMESPACE_COUNT])
{
    for (int id = 0; id < STATS_NAMESPACE_COUNT; id++) {
        out[id] = stats_read_sum(st, (stats_id)id);
    }
}

CELLAR_PRIVATE uint64_t stats_read_store(const stats *st, stats_id id)
{
    BASE_ASSERT(id >= STATS_NAMESPACE_COUNT && id < STATS_COUNT);
    const uint32_t top = base_load_acq(&st->row_top);
    uint64_t sum = 0;
    for (uint32_t index = 0; index < top; index++) {
        const stats_row *row = stats_row_at(st, index);
        if (row != NULL) { sum += base_load_rlx(&row->cell[id - STATS_NAMESPACE_COUNT]); }
    }
    return sum;
}

CELLAR_PRIVATE double stats_hit_ratio(const uint64_t namespace[STATS_NAMESPACE_COUNT])
{
    const uint64_t gets = stats_gets(namespace);
    return gets != 0 ? (double)(gets - namespace[STATS_MISS]) / (double)gets : 0;
}

/* ---- life ---- */

CELLAR_PRIVATE bool stats_slot_open(stats *st, uint32_t slot)
{
    BASE_ASSERT(slot < STATS_SLOTS_MAX);
    stats_block *_Atomic *at = stats_block_place(st, base_load_acq(&st->near[0]), slot);
    if (at == NULL) { return false; }
    stats_shared_block *shared = stats_shared_at(st, slot);
    if (shared == NULL) {
        stats_block *made = stats_block_new(st, true);
        if (made == NULL) { return false; }
        if (!base_cas_ar(at, (stats_block *)NULL, made)) { stats_block_free(st, made); }
        stats_raise(&st->slot_top, slot + 1);
        return true;
    }
    for (int id = 0; id < STATS_NAMESPACE_COUNT; id++) {
        base_store_rlx(&shared->start[id], stats_sum(st, slot, (stats_id)id));
    }
    return true;
}

CELLAR_PRIVATE stats *stats_create(base_account *account)
{
    BASE_ASSERT(account != NULL);
    static _Atomic uint64_t ids; /* number of stores; a thread tags its last block with it */
    stats *st = base_alloc(account, BASE_MOD_STATS, sizeof *st, NULL);
    if (st == NULL) { return NULL; }
    st->id = (base_add_rlx(&ids, (uint64_t)1) + 1) * STATS_SLOTS_MAX;
    st->account = account;
    /* A histogram takes 2 KiB per stripe: below 16 MiB of budget use one stripe. */
    const bool small = base_load_rlx(&account->limit) < (uint64_t)16 << 20;
    const unsigned most = small ? 1 : STATS_STRIPES_MAX;
    st->stripes = (uint32_t)base_pow2_floor(BASE_MIN(base_cpu_count(), most));
    stats_row *shared = stats_row_new(st, true);
    if (shared == NULL) { goto drop_stats; }
    base_store_rel(&st->near[0], shared);
    stats_raise(&st->row_top, 1);
    if (!stats_slot_open(st, 0)) { goto drop_stats; }
    return st;
drop_stats:
    stats_destroy(st);
    return NULL;
}

static void stats_row_free(stats *st, stats_row *row)
{
    if (row == NULL) { return; }
    for (uint32_t slot = 0; slot < STATS_NEAR_SLOTS; slot++) {
        stats_block_free(st, base_load_rlx(&row->near[slot]));
    }
    for (uint32_t p = 0; p < STATS_FAR_PAGES; p++) {
        stats_page *page = base_load_rlx(&row->far[p]);
        if (page == NULL) { continue; }
        for (uint32_t i = 0; i < STATS_FAR_SLOTS; i++) {
            stats_block_free(st, base_load_rlx(&page->slot[i]));
        }
        base_free(st->account, BASE_MOD_STATS, page, sizeof *page);
    }
    stats_free_padded(st, row->raw, sizeof *row);
}

CELLAR_PRIVATE void stats_destroy(stats *st)
{
    if (st == NULL) { return; }
    for (uint32_t index = 0; index < BASE_THREAD_MAX; index++) {
        stats_row_free(st, stats_row_at(st, index));
    }
    for (uint32_t p = 0; p < STATS_ROW_PAGES; p++) {
        base_free(st->account, BASE_MOD_STATS, base_load_rlx(&st->far[p]), sizeof(stats_row_page));
    }
    for (int op = 0; op < STATS_OP_COUNT; op++) {
        for (uint32_t i = 0; i < STATS_STRIPES_MAX; i++) {
            base_free(st->account, BASE_MOD_STATS, base_load_rlx(&st->hist[op][i]),
                      sizeof(stats_hist));
        }
    }
    base_free(st->account, BASE_MOD_STATS, st, sizeof *st);
}

BASE_SIZE_END
