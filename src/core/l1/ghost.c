/* SPDX-License-Identifier: MIT
 *
 * ghost: remember fingerprints of records that left the cache not long ago.
 *
 * PICTURE    line (64 B) = 38 low bytes | cursor | 0 | 38 high half bytes | 38 bits: from main
 *            A fingerprint has 12 bits: its low byte, and the half byte. The mixed hash of a key
 *            chooses the line. The cursor overwrites the oldest fingerprint. The rank of a slot
 *            counts back from the cursor: 0 is the newest, 37 the oldest.
 *                rank x lines = about how many ghosts in the whole table are newer
 *            So one table answers "left within the last h" for every h up to its size.
 * INVARIANTS A fingerprint is never 0. A take leaves 0, which matches nothing.
 * LIMITS     A fingerprint of another key matches once in 4,095 / 38 = 108 lookups. The horizon of
 *            a line is off by the square root of what the line holds.
 * SEE ALSO   evict.c, policy_select.c: which keys become ghosts, what a ghost hit means.
 *            README.md: rules, rejected horizons. */
#include <string.h>

#include "l1/index.h"
#include "l1/policy.h"
#include "l1/segment.h"

#define L1_GHOST_CURSOR 38u
#define L1_GHOST_HIGH 40u
#define L1_GHOST_MAIN 59u
#define L1_GHOSTS_WAIT_NS 20000000u /* for all lanes, when a set fits the tables */

static unsigned char *l1_ghost_line(const l1_ghosts *g, uint64_t mixed, unsigned *fp)
{
    const uint64_t number = ((mixed >> 32) * base_load_rlx(&g->lines)) >> 32;
    *fp = BASE_MAX((unsigned)mixed & 4095u, 1u);
    return base_load_rlx(&g->line) + number * L1_GHOST_LINE;
}

CELLAR_PRIVATE void l1_ghosts_set(l1_ghosts *g, unsigned char *line, uint64_t lines)
{
    base_store_rlx(&g->line, line);
    base_store_rlx(&g->lines, lines);
}

/* Read and write a byte of a line. Two lanes may change a line at once: then a fingerprint is lost
 * or wrong, as by chance. */
static unsigned l1_byte(const unsigned char *at)
{
    return base_load_rlx((const _Atomic unsigned char *)at);
}
static void l1_byte_set(unsigned char *at, unsigned byte)
{
    base_store_rlx((_Atomic unsigned char *)at, (unsigned char)byte);
}

BASE_ALWAYS_INLINE void l1_ghost_put(unsigned char *line, unsigned slot, unsigned fp,
                                     unsigned from_main)
{
    const unsigned half = slot % 2 * 4, bit = slot % 8;
    unsigned char *const high = &line[L1_GHOST_HIGH + slot / 2];
    unsigned char *const origin = &line[L1_GHOST_MAIN + slot / 8];
    l1_byte_set(&line[slot], fp & 255u);
    l1_byte_set(high, (l1_byte(high) & (0xf0u >> half)) | (fp >> 8) << half);
    l1_byte_set(origin, (l1_byte(origin) & ~(1u << bit)) | from_main << bit);
}

CELLAR_PRIVATE void l1_ghost_add(l1_ghosts *g, uint64_t mixed, bool from_main)
{
    if (base_load_rlx(&g->lines) == 0) { return; }
    unsigned fp;
    unsigned char *line = l1_ghost_line(g, mixed, &fp);
    const unsigned at = BASE_MIN(l1_byte(&line[L1_GHOST_CURSOR]), L1_GHOST_FPS - 1);
    l1_ghost_put(line, at, fp, from_main);
    l1_byte_set(&line[L1_GHOST_CURSOR], at + 1 == L1_GHOST_FPS ? 0 : at + 1);
}

CELLAR_PRIVATE l1_ghost l1_ghost_take(l1_ghosts *g, uint64_t mixed)
{
    if (base_load_rlx(&g->lines) == 0) { return (l1_ghost){ .age = UINT64_MAX }; }
    unsigned fp;
    unsigned char *line = l1_ghost_line(g, mixed, &fp);
    uint64_t m = 0; /* slots with the low byte */
    for (unsigned part = 0; part < L1_GHOST_FPS; part += 16) {
        m |= (uint64_t)base_match16(line + part, (unsigned char)fp) << part;
    }
    for (m &= (UINT64_C(1) << L1_GHOST_FPS) - 1; m != 0; m &= m - 1) {
        const unsigned slot = (unsigned)__builtin_ctzll(m);
        const unsigned high = l1_byte(&line[L1_GHOST_HIGH + slot / 2]);
        if ((high >> slot % 2 * 4 & 15u) != fp >> 8) { continue; }
        const unsigned at = l1_byte(&line[L1_GHOST_CURSOR]);
        const unsigned rank = (at + L1_GHOST_FPS - 1 - slot) % L1_GHOST_FPS;
        const unsigned origin = l1_byte(&line[L1_GHOST_MAIN + slot / 8]);
        l1_ghost_put(line, slot, 0, 0);
        return (l1_ghost){ rank * base_load_rlx(&g->lines), (origin >> slot % 8 & 1u) != 0 };
    }
    return (l1_ghost){ .age = UINT64_MAX };
}

CELLAR_PRIVATE void l1_ghosts_copy(const l1_ghosts *from, unsigned char *line, uint64_t lines)
{
    const uint64_t have = base_load_rlx(&from->lines);
    for (uint64_t i = 0; have != 0 && i < lines; i++) {
        const uint64_t number = (2 * i + 1) * have / (2 * lines);
        memcpy(line + i * L1_GHOST_LINE, base_load_rlx(&from->line) + number * L1_GHOST_LINE,
               L1_GHOST_LINE);
    }
}

CELLAR_PRIVATE bool l1_ghost_earns(l1_ghost g, const l1_rule *r, l1_learned *l, uint64_t entries,
                                   uint64_t mainq)
{
    if (g.age >= entries * r->horizon / 10) { return false; }
    if (r->tuned) { /* it left too early: the queue that held it gets an eighth of an entry */
        const uint32_t one = 1u << L1_SMALL_BITS, least = one / 100, most = one / 10 * 9;
        const uint32_t step = (uint32_t)BASE_MAX(one / 8 / BASE_MAX(entries, 1), 1);
        l->small = g.from_main ? BASE_MAX(l->small - BASE_MIN(step, l->small), least)
                               : BASE_MIN(l->small + step, most);
    }
    /* Age of main's oldest record, in sets: entries of main / moves per set. */
    return r->nearer == 0 || mainq == 0 ||
           g.age * 8 * l->moves < mainq * l->sets * r->nearer;
}

BASE_SIZE_BEGIN

/* ---- the table of a store: one part for each stripe ------------------------------------------ */
/* Return the number of entries that the tables are sized for: the bound, or the estimate for the
 * budget. */
CELLAR_PRIVATE uint64_t l1_entries_of(const l1 *c, uint64_t budget)
{
    const uint64_t max = base_load_rlx(&c->max_entries);
    const uint64_t fit = budget / base_load_rlx(&c->mean_bytes);
    return max == 0 ? fit : BASE_MIN(max, base_load_rlx(&c->fit) != 0 ? fit : budget / 64);
}

static uint64_t l1_ghost_lines(const l1 *c, uint64_t budget)
{
    const uint64_t ghosts = l1_entries_of(c, budget) * L1_GHOST_TENTHS / 10 / c->stripe_count;
    return BASE_MAX((ghosts + L1_GHOST_FPS / 2) / L1_GHOST_FPS, 1);
}

/* Replace the ghost table by `table` and free the old one. keep: its ghosts go along, else they are
 * lost. Return false if a thread stays in a lane, because it may read the old table; `table` is
 * free then. */
static bool l1_ghosts_put(l1 *c, unsigned char *table, uint64_t lines, bool keep)
{
    if (!l1_lanes_take(c, base_now_ns() + (keep ? L1_GHOSTS_WAIT_NS : L1_LANES_WAIT_NS))) {
        base_free(c->account, BASE_MOD_GHOST, table,
                  (size_t)(lines * c->stripe_count * L1_GHOST_LINE));
        return false;
    }
    unsigned char *old = c->ghosts;
    const size_t old_bytes = base_load_rlx(&c->ghost_bytes);
    const bool evicts = base_load_rlx(&c->full) != 0 || base_load_rlx(&c->max_entries) != 0;
    c->ghosts = table;
    base_store_rlx(&c->ghost_bytes, (size_t)(lines * c->stripe_count * L1_GHOST_LINE));
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        unsigned char *own =
            table != NULL ? table + (size_t)(i * lines * L1_GHOST_LINE) : NULL;
        if (keep && evicts) { l1_ghosts_copy(&c->stripe[i].ghost, own, lines); }
        l1_ghosts_set(&c->stripe[i].ghost, own, lines);
    }
    l1_lanes_drop(c, c->stripe_count);
    base_free(c->account, BASE_MOD_GHOST, old, old_bytes);
    return true;
}

CELLAR_PRIVATE uint64_t l1_ghosts_bytes(const l1 *c, uint64_t budget)
{
    return l1_ghost_lines(c, budget) * c->stripe_count * L1_GHOST_LINE;
}

CELLAR_PRIVATE bool l1_ghosts_open(l1 *c, uint64_t budget)
{
    const uint64_t lines = l1_ghost_lines(c, budget);
    unsigned char *table = base_alloc_held(c->account, BASE_MOD_GHOST,
                                      (size_t)l1_ghosts_bytes(c, budget), NULL);
    return table != NULL && l1_ghosts_put(c, table, lines, false);
}

CELLAR_PRIVATE bool l1_ghosts_fit(l1 *c, uint64_t budget, uint64_t *need)
{
    const uint64_t lines = l1_ghost_lines(c, budget);
    const uint64_t have = base_load_rlx(&c->stripe[0].ghost.lines);
    const size_t bytes = (size_t)l1_ghosts_bytes(c, budget);
    *need = bytes;
    if (lines * 8 <= have * 9 && lines * 9 >= have * 8) { return true; }
    (void)l1_give_back(c, base_block_bytes(c->account, bytes), base_load_rlx(&c->reserve));
    unsigned char *table = base_alloc_held(c->account, BASE_MOD_GHOST, bytes, NULL);
    return table != NULL && l1_ghosts_put(c, table, lines, true);
}

CELLAR_PRIVATE bool l1_ghosts_misfit(const l1 *c, uint64_t budget)
{
    const uint64_t have = base_load_rlx(&c->stripe[0].ghost.lines);
    const uint64_t want = l1_ghost_lines(c, budget);
    return have > 2 * want || want > 2 * have;
}

CELLAR_PRIVATE void l1_ghosts_close(l1 *c) { (void)l1_ghosts_put(c, NULL, 0, false); }

BASE_SIZE_END
