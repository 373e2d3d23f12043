/* SPDX-License-Identifier: MIT
 *
 * ghost: who left small not long ago: fingerprints in lines, each line a FIFO with a horizon.
 *
 * PICTURE    line (64 B) = cursor u16 | 31 fingerprints u16; a key's line is chosen by its mixed
 *            hash; the cursor writes over the oldest. The rank of a slot counts back from the
 *            cursor: 0 the newest, 30 the oldest.
 *                rank x lines = about how many ghosts are newer, in the whole table
 *            so that one table answers "left within the last h" for every h up to its size.
 * INVARIANTS a fingerprint is never 0; taking one leaves a 0, which matches nothing.
 * LIMITS     a foreign fingerprint matches once in 65,536 / 31 = 2,100 looks; the horizon of a line
 *            is off by the square root of what it holds.
 * TRIED      one horizon of .9 C for all rules: public mean .1031; 1.3 C: .1052; 1.8 C: .1055; 3 C:
 *            .1023; .9 C for the plain rules, 1.3 C where small is tiny or main is filled: .1045,
 *            more cells won. 1.8 C costs 1 B an entry more than 1.3 C for .0003.
 * NOT HERE   who becomes a ghost, and what a hit on one means (evict.c, shadow.c). */
#include <string.h>

#include "l1/l1_int.h"

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
    /* Nobody holds the lock: the two may be of different tables, or of none. */
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

/* ---- the table of a store: a piece for each stripe ------------------------------------------- */

/* What the bound is for, in entries: as many as there may be, or as the budget should hold. */
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

/* Put `table` in the place of the ghosts there are, and free those. What they remember is lost. */
static void l1_ghosts_put(l1 *c, uint16_t *table, uint64_t lines)
{
    uint16_t *old = c->ghosts;
    const size_t old_bytes = c->ghost_bytes;
    l1_fork_prepare(c); /* all stripe locks */
    c->ghosts = table;
    c->ghost_bytes = (size_t)(lines * c->stripe_count * L1_GHOST_LINE);
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        uint16_t *own =
            table != NULL ? table + (size_t)(i * lines) * (L1_GHOST_LINE / sizeof *table) : NULL;
        l1_ghosts_set(&c->stripe[i].ghost, own, lines);
    }
    l1_fork_parent(c);
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
