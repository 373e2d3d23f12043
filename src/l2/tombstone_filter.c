/* SPDX-License-Identifier: MIT
 *
 * gate: which change of a key must leave a tombstone, and the lock under which that is decided.
 *
 * PICTURE    gate = 64 B: lock, and the last ten hash48 whose newest record is a whole tombstone
 *            filter line = 64 B: |era 0, 170 bits|era 1|era 2|; a key has 4 bits in one line
 *            era = about half of what the log can hold:  ..old era..|..era before..|current era..
 * INVARIANTS every put that replay could find has its bits in the era of its segment, from before
 *            it looks at its stamp until a header with a floor above that era lies in the stage.
 *            So a change the filter denies need not be logged: there is nothing for it to hide.
 *            Index words may be lost at any time; the filter may not.
 *            A key in a memo has no put behind its tombstone; forgetting one costs a tombstone.
 * LOCKING    L2_GATE for the memo; filter bits are set and read sc, and so is the stamp: a put has
 *            its bits before it looks, a change asks for them behind its stamp (put.c, PROOF). Eras
 *            change under L2_LOG.
 * LIMITS     6 bits a put in each of two eras: 13 % of absent keys' changes log needlessly.
 * TRIED      a tombstone on every change: 432 GB a day at 100 k/s against 57. */
#include "l2/l2_int.h"

#define L2_ERA_BITS 170u
_Static_assert(L2_ERAS == 3, "l2_filter_maybe");
#define L2_GATE_NS UINT64_C(1000000) /* of patience, before somebody asks after the disk */
enum { L2_ERA_CLEAR, L2_ERA_USED, L2_ERA_DROPPED };

CELLAR_PRIVATE uint32_t l2_gates_in(uint64_t memory_bytes)
{
    return (uint32_t)base_clamp(base_pow2_floor(memory_bytes >> 14), 64, 1u << 20);
}

CELLAR_PRIVATE uint32_t l2_lines_in(uint64_t objects)
{
    return (uint32_t)base_clamp(objects / 56 + 1, 64, UINT32_MAX / 2);
}

CELLAR_PRIVATE bool l2_gates_open(l2 *d, uint64_t objects)
{
    d->gate_count = l2_gates_in(d->cfg.memory_bytes);
    d->line_count = l2_lines_in(objects);
    d->gates = base_alloc(d->cfg.account, BASE_MOD_L2_FILTER,
                          (size_t)d->gate_count * sizeof *d->gates, NULL);
    d->lines = base_alloc(d->cfg.account, BASE_MOD_L2_FILTER,
                          (size_t)d->line_count * sizeof *d->lines, NULL);
    return d->gates != NULL && d->lines != NULL;
}

CELLAR_PRIVATE void l2_gates_close(l2 *d)
{
    base_free(d->cfg.account, BASE_MOD_L2_FILTER, d->gates,
              (size_t)d->gate_count * sizeof *d->gates);
    base_free(d->cfg.account, BASE_MOD_L2_FILTER, d->lines,
              (size_t)d->line_count * sizeof *d->lines);
    d->gates = NULL;
    d->lines = NULL;
}

CELLAR_PRIVATE bool l2_gate_take(l2 *d, l2_gate *g) SYNC_UNCHECKED;
CELLAR_PRIVATE bool l2_gate_take(l2 *d, l2_gate *g)
{
    if (sync_try(L2_GATE, &g->lock)) { return true; }
    while (!sync_until(L2_GATE, &g->lock, base_now_ns() + L2_GATE_NS)) {
        if (l2_frozen(d)) { return false; }
    }
    return true;
}

CELLAR_PRIVATE void l2_gates_pass(l2 *d)
{
    for (uint32_t i = 0; i < d->gate_count; i++) {
        sync_take(L2_GATE, &d->gates[i].lock);
        sync_drop(L2_GATE, &d->gates[i].lock);
    }
}

/* ---- memo ---- */

static uint32_t l2_memo_at(const l2_gate *g, uint64_t h48)
{
    uint32_t i = 0;
    while (i < L2_MEMO && memcmp(g->memo[i], &h48, 6) != 0) { i++; }
    return i;
}

CELLAR_PRIVATE bool l2_memo_knows(const l2_gate *g, uint64_t h48)
{
    return h48 != 0 && l2_memo_at(g, h48) < L2_MEMO;
}

CELLAR_PRIVATE void l2_memo_note(l2_gate *g, uint64_t h48)
{
    memmove(g->memo[1], g->memo[0], sizeof g->memo - sizeof g->memo[0]);
    memcpy(g->memo[0], &h48, 6);
}

CELLAR_PRIVATE void l2_memo_forget(l2_gate *g, uint64_t h48)
{
    const uint32_t i = l2_memo_at(g, h48);
    if (i < L2_MEMO) { memset(g->memo[i], 0, 6); }
}

/* ---- filter ---- */

/* A key's line; *bits: 16 for each of its four bits in an era, turned into a place by l2_bit_at. */
static l2_filter_line *l2_line_of(const l2 *d, uint64_t h48, uint64_t *bits)
{
    *bits = base_mix64(h48 ^ UINT64_C(0x66696c746572));
    return &d->lines[((h48 >> 16) * d->line_count) >> 32]; /* near those of its shard: warm.c */
}

static uint32_t l2_bit_at(uint64_t bits, uint32_t n)
{
    return (uint32_t)((bits >> (16 * n) & 0xffffu) * L2_ERA_BITS >> 16);
}

CELLAR_PRIVATE void l2_filter_ahead(const l2 *d, uint64_t h48)
{
    uint64_t bits;
    BASE_PREFETCH_W(l2_line_of(d, h48, &bits));
}

CELLAR_PRIVATE void l2_filter_add(l2 *d, uint64_t h48, uint32_t era)
{
    uint64_t bits;
    l2_filter_line *line = l2_line_of(d, h48, &bits);
    const uint32_t first = era * L2_ERA_BITS / 64;
    uint64_t mask[4] = { 0 }; /* an era reaches into four words at most */
    for (uint32_t n = 0; n < 4; n++) {
        const uint32_t at = era * L2_ERA_BITS + l2_bit_at(bits, n);
        mask[at / 64 - first] |= (uint64_t)1 << (at % 64);
    }
    for (uint32_t i = 0; i < 4; i++) {
        if (mask[i] != 0 && (base_load_sc(&line->w[first + i]) & mask[i]) != mask[i]) {
            (void)base_or_sc(&line->w[first + i], mask[i]);
        }
    }
}

static uint64_t l2_bit_of(const l2_filter_line *line, uint32_t at)
{
    return base_load_sc(&line->w[at / 64]) >> (at % 64) & 1;
}

/* The first bit of all eras at once, without a branch for each; then the bits of an era one by one:
 * of a key that was never stored the first is mostly absent. */
CELLAR_PRIVATE bool l2_filter_maybe(const l2 *d, uint64_t h48)
{
    uint64_t bits;
    const l2_filter_line *line = l2_line_of(d, h48, &bits);
    const uint32_t first = l2_bit_at(bits, 0);
    if ((l2_bit_of(line, first) | l2_bit_of(line, L2_ERA_BITS + first) |
         l2_bit_of(line, 2 * L2_ERA_BITS + first)) == 0) {
        return false;
    }
    for (uint32_t era = 0; era < L2_ERAS; era++) {
        uint32_t n = 0;
        for (; n < 4; n++) {
            if (l2_bit_of(line, era * L2_ERA_BITS + l2_bit_at(bits, n)) == 0) { break; }
        }
        if (n == 4) { return true; }
    }
    return false;
}

/* ---- eras ---- */

CELLAR_PRIVATE uint32_t l2_era_begin(l2 *d, uint64_t segseq)
{
    const uint32_t most = (d->places + d->nstage) / 2, next = (d->era_now + 1) % L2_ERAS;
    if (d->era_segs >= most && d->era[next].state == L2_ERA_CLEAR) {
        d->era_now = next;
        d->era_segs = 0;
    }
    d->era[d->era_now].state = L2_ERA_USED;
    d->era[d->era_now].end_segseq = segseq;
    d->era_segs++;
    return d->era_now;
}

/* The era that is being cleared, else the next one to be; -1: none. */
static int l2_era_given_up(l2 *d)
{
    int found = -1;
    sync_take(L2_LOG, &d->log_lock);
    const uint64_t floor = base_load_acq(&d->header_floor);
    for (uint32_t e = 0; e < L2_ERAS; e++) {
        if (d->era[e].state == L2_ERA_DROPPED) { found = (int)e; }
    }
    for (uint32_t e = 0; e < L2_ERAS && found < 0; e++) {
        if (d->era[e].state == L2_ERA_USED && e != d->era_now &&
            floor >= l2_lsn(d, d->era[e].end_segseq + 1, 0)) {
            d->era[e].state = L2_ERA_DROPPED;
            d->clear_at = 0;
            found = (int)e;
        }
    }
    sync_drop(L2_LOG, &d->log_lock);
    return found;
}

static void l2_line_clear(l2_filter_line *line, const uint64_t keep[8])
{
    for (int i = 0; i < 8; i++) {
        if (keep[i] == UINT64_MAX) { continue; }
        uint64_t w = base_load_rlx(&line->w[i]);
        while (!base_cas_ar(&line->w[i], w, w & keep[i])) { w = base_load_rlx(&line->w[i]); }
    }
}

CELLAR_PRIVATE bool l2_era_work(l2 *d)
{
    const int era = l2_era_given_up(d);
    if (era < 0) { return false; }
    uint64_t keep[8];
    memset(keep, 0xff, sizeof keep);
    for (uint32_t b = 0; b < L2_ERA_BITS; b++) {
        const uint32_t at = (uint32_t)era * L2_ERA_BITS + b;
        keep[at / 64] &= ~((uint64_t)1 << (at % 64));
    }
    const uint32_t end = BASE_MIN(d->line_count, d->clear_at + 8192);
    for (; d->clear_at < end; d->clear_at++) { l2_line_clear(&d->lines[d->clear_at], keep); }
    if (d->clear_at < d->line_count) { return true; }
    sync_take(L2_LOG, &d->log_lock);
    d->era[era].state = L2_ERA_CLEAR;
    sync_drop(L2_LOG, &d->log_lock);
    return false;
}
