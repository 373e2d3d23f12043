/* SPDX-License-Identifier: MIT
 *
 * ghost: remember fingerprints of records that small evicted not long ago.
 *
 * PICTURE    line (64 B) = cursor u16 | 31 fingerprints u16; the mixed hash of a key chooses the
 *            line. The cursor overwrites the oldest fingerprint. The rank of a slot counts back
 *            from the cursor: 0 is the newest, 30 the oldest.
 *                rank x lines = about how many ghosts in the whole table are newer
 *            So one table answers "evicted within the last h" for every h up to its size.
 * INVARIANTS A fingerprint is never 0. A take leaves 0, which matches nothing.
 * LIMITS     A fingerprint of another key matches once in 65,536 / 31 = 2,100 lookups. The horizon
 *            of a line is off by the square root of what the line holds.
 * SEE ALSO   evict.c, policy_select.c: which keys become ghosts, what a ghost hit means.
 *            README.md: rejected horizons. */
#include <string.h>

#include "l1/index.h"
#include "l1/policy.h"

static uint16_t *l1_ghost_line(const l1_ghosts *g, uint64_t mixed, uint16_t *fp)
{
    const uint64_t number = ((mixed >> 32) * base_load_rlx(&g->lines)) >> 32;
    *fp = (uint16_t)mixed != 0 ? (uint16_t)mixed : (uint16_t)1;
    return base_load_rlx(&g->line) + number * (L1_GHOST_LINE / sizeof(uint16_t));
}

CELLAR_PRIVATE void l1_ghosts_set(l1_ghosts *g, uint16_t *line, uint64_t lines)
{
    base_store_rlx(&g->line, line);
    base_store_rlx(&g->lines, lines);
}

CELLAR_PRIVATE void l1_ghost_add(l1_ghosts *g, uint64_t mixed)
{
    if (base_load_rlx(&g->lines) == 0) { return; }
    uint16_t fp, *line = l1_ghost_line(g, mixed, &fp);
    const unsigned at = line[0] % L1_GHOST_FPS;
    line[1 + at] = fp;
    line[0] = (uint16_t)((at + 1) % L1_GHOST_FPS);
}

CELLAR_PRIVATE void l1_ghost_prefetch(const l1_ghosts *g, uint64_t mixed)
{
    /* Without the lock the two values may belong to different tables, or to none. */
    const uint64_t number = ((mixed >> 32) * base_load_rlx(&g->lines)) >> 32;
    const uintptr_t line = (uintptr_t)base_load_rlx(&g->line);
    BASE_PREFETCH_W((const void *)(line + (uintptr_t)(number * L1_GHOST_LINE)));
}

CELLAR_PRIVATE bool l1_ghost_take(l1_ghosts *g, uint64_t mixed, uint64_t horizon)
{
    if (base_load_rlx(&g->lines) == 0) { return false; }
    uint16_t fp, *line = l1_ghost_line(g, mixed, &fp);
    for (unsigned part = 0; part < 32; part += 8) {
        uint32_t m = base_seq_match8((const _Atomic uint16_t *)(const void *)(line + part), fp);
        if (part == 0) { m &= ~1u; } /* the cursor */
        if (m == 0) { continue; }
        const unsigned slot = part + (unsigned)__builtin_ctz(m) - 1;
        const unsigned rank = (line[0] + L1_GHOST_FPS - 1 - slot) % L1_GHOST_FPS;
        line[1 + slot] = 0;
        return rank * base_load_rlx(&g->lines) < horizon;
    }
    return false;
}

BASE_SIZE_BEGIN

/* ---- the table of a store: one part for each stripe ------------------------------------------ */
/* Return the number of entries that the tables are sized for: the bound, or the estimate for the
 * budget. */
CELLAR_PRIVATE uint64_t l1_entries_of(const l1 *c, uint64_t budget)
{
    const uint64_t max = base_load_rlx(&c->max_entries);
    return max != 0 ? BASE_MIN(max, budget / 64) : budget / c->mean_bytes;
}

static uint64_t l1_ghost_lines(const l1 *c, uint64_t budget)
{
    const uint64_t ghosts = l1_entries_of(c, budget) * L1_GHOST_TENTHS / 10 / c->stripe_count;
    return BASE_MAX((ghosts + L1_GHOST_FPS / 2) / L1_GHOST_FPS, 1);
}

/* Replace the ghost table by `table` and free the old one. The old ghosts are lost. */
static void l1_ghosts_put(l1 *c, uint16_t *table, uint64_t lines)
{
    uint16_t *old = c->ghosts;
    const size_t old_bytes = c->ghost_bytes;
    l1_stripes_take(c);
    c->ghosts = table;
    c->ghost_bytes = (size_t)(lines * c->stripe_count * L1_GHOST_LINE);
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        uint16_t *own =
            table != NULL ? table + (size_t)(i * lines) * (L1_GHOST_LINE / sizeof *table) : NULL;
        l1_ghosts_set(&c->stripe[i].ghost, own, lines);
    }
    l1_stripes_drop(c);
    base_free(c->account, BASE_MOD_GHOST, old, old_bytes);
}

CELLAR_PRIVATE bool l1_ghosts_open(l1 *c, uint64_t budget)
{
    const uint64_t lines = l1_ghost_lines(c, budget);
    uint16_t *table = base_alloc_held(c->account, BASE_MOD_GHOST,
                                      (size_t)(lines * c->stripe_count * L1_GHOST_LINE), NULL);
    if (table != NULL) { l1_ghosts_put(c, table, lines); }
    return table != NULL;
}

CELLAR_PRIVATE bool l1_ghosts_misfit(const l1 *c, uint64_t budget)
{
    const uint64_t have = base_load_rlx(&c->stripe[0].ghost.lines);
    const uint64_t want = l1_ghost_lines(c, budget);
    return have > 2 * want || want > 2 * have;
}

CELLAR_PRIVATE void l1_ghosts_close(l1 *c) { l1_ghosts_put(c, NULL, 0); }

BASE_SIZE_END
