/* SPDX-License-Identifier: MIT
 *
 * tombstone_filter: the tombstone filter: it decides which changes of a key must log a tombstone.
 *
 * PICTURE    tombstone lock = 64 B: lock, memo of the last ten hash48 with a complete tombstone
 *            filter line = 64 B: |era 0, 170 bits|era 1|era 2|; a key has 4 bits in one line
 *            era = about half of the log:  ..dropped era..|..older era..|current era..
 * INVARIANTS Each put that a replay could find has its bits in the era of its segment. The bits are
 *            set before the put checks its stamp. They stay until a header in the stage has a floor
 *            above that era. So a change that the filter denies hides nothing and is not
 *            logged. Index words may be lost at any time; filter bits may not.
 *            A key in a memo has no put after its tombstone. A lost memo entry costs a tombstone.
 * LOCKING    L2_TOMBSTONE_LOCK guards the memo. Filter bits and stamps are seq_cst: a put sets its
 *            bits before it checks its stamp; a change reads the bits after it raised the stamp
 *            (write.c). Eras change under L2_LOG.
 * LIMITS     6 bits per put in each of two eras: 13 % of changes of absent keys log needlessly.
 * SEE ALSO   README.md: bytes per day without the filter. */
#include "l2/tombstone_filter.h"

#include "l2/progress.h"

#define L2_ERA_BITS 170u
_Static_assert(L2_ERAS == 3, "l2_filter_has");
#define L2_TOMBSTONE_LOCK_NS UINT64_C(1000000) /* wait before the state of the disk is checked */
enum { L2_ERA_CLEAR, L2_ERA_USED, L2_ERA_DROPPED };

BASE_SIZE_BEGIN

CELLAR_PRIVATE uint32_t l2_tombstone_locks_in(uint64_t memory_bytes)
{
    return (uint32_t)base_clamp(base_pow2_floor(memory_bytes >> 14), 64, 1u << 20);
}

CELLAR_PRIVATE uint32_t l2_lines_in(uint64_t objects)
{
    return (uint32_t)base_clamp(objects / 56 + 1, 64, UINT32_MAX / 2);
}

CELLAR_PRIVATE bool l2_tombstone_locks_open(l2 *d, uint64_t objects)
{
    d->cli_count = l2_tombstone_locks_in(d->cfg.memory_bytes);
    d->line_count = l2_lines_in(objects);
    d->tombstone_locks = base_alloc(d->cfg.account, BASE_MOD_L2_FILTER,
                                    (size_t)d->cli_count * sizeof *d->tombstone_locks, NULL);
    d->lines = base_alloc(d->cfg.account, BASE_MOD_L2_FILTER,
                          (size_t)d->line_count * sizeof *d->lines, NULL);
    return d->tombstone_locks != NULL && d->lines != NULL;
}

CELLAR_PRIVATE void l2_tombstone_locks_close(l2 *d)
{
    base_free(d->cfg.account, BASE_MOD_L2_FILTER, d->tombstone_locks,
              (size_t)d->cli_count * sizeof *d->tombstone_locks);
    base_free(d->cfg.account, BASE_MOD_L2_FILTER, d->lines,
              (size_t)d->line_count * sizeof *d->lines);
    d->tombstone_locks = NULL;
    d->lines = NULL;
}

BASE_SIZE_END

CELLAR_PRIVATE SYNC_UNCHECKED bool l2_tombstone_lock_take(l2 *d, l2_tombstone_lock *g)
{
    if (sync_try(L2_TOMBSTONE_LOCK, &g->lock)) { return true; }
    while (!sync_until(L2_TOMBSTONE_LOCK, &g->lock, base_now_ns() + L2_TOMBSTONE_LOCK_NS)) {
        if (l2_frozen(d)) { return false; }
    }
    return true;
}

CELLAR_PRIVATE void l2_tombstone_locks_pass(l2 *d)
{
    for (uint32_t i = 0; i < d->cli_count; i++) {
        sync_take(L2_TOMBSTONE_LOCK, &d->tombstone_locks[i].lock);
        sync_drop(L2_TOMBSTONE_LOCK, &d->tombstone_locks[i].lock);
    }
}

/* ---- memo ---- */

static uint32_t l2_memo_at(const l2_tombstone_lock *g, uint64_t h48)
{
    uint32_t i = 0;
    while (i < L2_MEMO && memcmp(g->memo[i], &h48, 6) != 0) { i++; }
    return i;
}

CELLAR_PRIVATE bool l2_memo_knows(const l2_tombstone_lock *g, uint64_t h48)
{
    return h48 != 0 && l2_memo_at(g, h48) < L2_MEMO;
}

CELLAR_PRIVATE void l2_memo_note(l2_tombstone_lock *g, uint64_t h48)
{
    memmove(g->memo[1], g->memo[0], sizeof g->memo - sizeof g->memo[0]);
    memcpy(g->memo[0], &h48, 6);
}

CELLAR_PRIVATE void l2_memo_forget(l2_tombstone_lock *g, uint64_t h48)
{
    const uint32_t i = l2_memo_at(g, h48);
    if (i < L2_MEMO) { memset(g->memo[i], 0, 6); }
}

/* ---- filter ---- */

/* Find the line of a key. *bits has 16 bits for each of its four positions, see l2_bit_at. */
static l2_filter_line *l2_line_of(const l2 *d, uint64_t h48, uint64_t *bits)
{
    *bits = base_mix64(h48 ^ UINT64_C(0x66696c746572));
    /* Near the lines of its shard: index_rebuild.c. */
    return &d->lines[((h48 >> 16) * d->line_count) >> 32];
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
    uint64_t mask[4] = { 0 }; /* An era covers four words at most. */
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

/* Test all bits of a key, era by era. */
BASE_NOINLINE static bool l2_filter_all(const l2_filter_line *line, uint64_t bits)
{
    for (uint32_t era = 0; era < L2_ERAS; era++) {
        uint32_t n = 0;
        while (n < 4 && l2_bit_of(line, era * L2_ERA_BITS + l2_bit_at(bits, n)) != 0) { n++; }
        if (n == 4) { return true; }
    }
    return false;
}

/* Test a key. The first bit of all eras is tested together, without branches. The first bit of a
 * key that was never stored is usually absent. */
BASE_ALWAYS_INLINE bool l2_filter_has(const l2 *d, uint64_t h48)
{
    uint64_t bits;
    const l2_filter_line *line = l2_line_of(d, h48, &bits);
    const uint32_t first = l2_bit_at(bits, 0);
    return (l2_bit_of(line, first) | l2_bit_of(line, L2_ERA_BITS + first) |
            l2_bit_of(line, 2 * L2_ERA_BITS + first)) != 0 && l2_filter_all(line, bits);
}

CELLAR_PRIVATE bool l2_filter_maybe(const l2 *d, uint64_t h48) { return l2_filter_has(d, h48); }

CELLAR_PRIVATE bool l2_nothing(const l2 *d, uint64_t hash)
{
    return base_load_acq(&d->rebuilding) == 0 && !l2_filter_has(d, l2_h48(hash));
}

BASE_SIZE_BEGIN

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

/* Find the era that is being cleared, else the next one that may be. Return -1 if there is none. */
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

BASE_SIZE_END
