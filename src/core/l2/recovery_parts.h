/* SPDX-License-Identifier: MIT
 *
 * recovery_parts: what recovery finds, and the parts that find it. */
#ifndef L2_RECOVERY_PARTS_H
#define L2_RECOVERY_PARTS_H

#include <stddef.h>

#include "l2/types.h"

typedef struct l2_find { /* a segment that was found */
    uint64_t segseq, prev, floor;
    int64_t base_wall_ms;
    uint32_t place, controls, footer_pages, data_end, entries, max_generation, meta;
} l2_find;
_Static_assert(offsetof(l2_find, segseq) == 0, "l2_sort_rows");

typedef struct l2_finds {
    l2_find *at;       /* room for nseg + nstage */
    uint32_t count;
    uint64_t floor;
    uint64_t newest;    /* highest segseq, including an empty slot */
    uint64_t staged, staged_prev; /* newest header in the stage: its number, the number before it */
    bool same_boot;
    bool copy;          /* the files may be of different moments, see Copy */
    bool settled;       /* SUPER says where the log ends: a close, or a sync at level DROP */
    bool marked;        /* a slot has the segment in which the run began, up to the run's mark */
    l2_slot *kept;      /* slot in which the next run continues; NULL: none */
    l2_head kept_head;  /* its header */
    uint64_t clean_lsn; /* 0: was not CLEAN */
    uint64_t meta;      /* lower bound of META's serial */
    bool meta_due;      /* store META before a place is reused */
} l2_finds;

BASE_INLINE bool l2_strict(const l2 *d, const l2_finds *f, uint64_t segseq, uint32_t off)
{
    return f->same_boot || l2_lsn(d, segseq, off) < f->clean_lsn;
}

/* ---- recovery_slot.c ---- */

/* Find the header of a slot. Return false if both are damaged. segseq 0: the slot is empty. */
CELLAR_PRIVATE bool l2_slot_head_find(const l2 *d, l2_slot *s);
/* Rebuild the slot's counters and footer. s->base is a copy of `found`, the bytes in the stage.
 * Return true if lost records may hide others. *damaged: some bytes are not as a run left them. */
CELLAR_PRIVATE bool l2_slot_walk(l2 *d, const l2_finds *f, l2_slot *s, const unsigned char *found,
                                 bool *damaged);
/* Return true if the slot has its header only. */
CELLAR_PRIVATE bool l2_slot_is_unused(const l2 *d, const l2_slot *s);
/* Store the settled state of a slot, s->base, in the slot itself, `to`. Return false if it is not
 * settled. */
CELLAR_PRIVATE bool l2_slot_keep(l2 *d, const l2_slot *s, unsigned char *to);

/* ---- recovery_place.c ---- */

/* Return true if SUPER lists the place as bad. */
CELLAR_PRIVATE bool l2_place_is_bad(const l2 *d, uint32_t place);
/* Find the sealed segments at all places. */
CELLAR_PRIVATE void l2_places_read(l2 *d, l2_finds *f);
/* Settle all slots, lowest number first, so that a full store drops its oldest records. Return an
 * errno. ENODATA: nothing is believed. */
CELLAR_PRIVATE int l2_slots_settle(l2 *d, l2_finds *f);

/* Mark a store DIRTY that is CLEAN at level DROP, or a copy. Return an errno, or 0. */
CELLAR_PRIVATE int l2_found_dirty(l2 *d, const l2_finds *f);
/* Seal the kept slot after all. */
CELLAR_PRIVATE int l2_kept_seal(l2 *d, l2_finds *f);

/* ---- recovery_chain.c ---- */

/* Sort the segments by number. Of two places with one segment, left by a move, the lower stays. */
CELLAR_PRIVATE void l2_finds_sort(l2_finds *f);
/* Read and apply all controls that META lacks. */
CELLAR_PRIVATE void l2_controls_read(l2 *d, l2_finds *f);
/* Walk the chain from the newest header down. A break above the floor raises the floor. */
CELLAR_PRIVATE void l2_chain(l2 *d, l2_finds *f);
/* Detect a missing META. If records were reclaimed that the older copy does not cover, controls are
 * missing, and later records may be invalid: nothing is believed. The next META replaces the
 * damaged copy. */
CELLAR_PRIVATE void l2_meta_missed(l2 *d, l2_finds *f);
/* Return true if META must have controls below the floor: their places are reused immediately. */
CELLAR_PRIVATE bool l2_meta_owes(const l2 *d, const l2_finds *f);

#endif
