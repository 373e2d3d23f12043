/* SPDX-License-Identifier: MIT
 *
 * slot: one slot of the stage: headers, footer lines, state. */
#ifndef L2_SLOT_H
#define L2_SLOT_H

#include "l2/types.h"

/* Return the end of the data area of a segment with `entries` footer lines. */
CELLAR_PRIVATE uint32_t l2_data_limit(const l2 *d, uint32_t entries);
/* Write the footer line of a record at `off`, and count the record. */
CELLAR_PRIVATE void l2_slot_note(l2 *d, l2_slot *s, uint64_t h48, const l2_rec *r, uint32_t off);
/* Open the next slot. Return false if there is none. */
CELLAR_PRIVATE bool l2_slot_open(l2 *d) SYNC_HOLDS(L2_LOG);
/* Clear both headers of a slot. */
CELLAR_PRIVATE void l2_slot_wipe(l2 *d, l2_slot *s);
/* Return footer page `page` of a slot; page 0 is the last one before the trailer. */
CELLAR_PRIVATE unsigned char *l2_slot_foot(const l2 *d, const l2_slot *s, uint32_t page);
/* Return a slot in this state, or NULL. */
CELLAR_PRIVATE l2_slot *l2_slot_in(l2 *d, uint32_t state) SYNC_HOLDS(L2_LOG);
/* Give a FREE slot a free segment and a header. Return false if it is NULL or that fails. */
CELLAR_PRIVATE bool l2_slot_make(l2 *d, l2_slot *s) SYNC_HOLDS(L2_LOG);
/* Undo a slot that was made but never opened. It has the newest number. */
CELLAR_PRIVATE void l2_slot_unmake(l2 *d, l2_slot *s) SYNC_HOLDS(L2_LOG);
/* Set the distance in the newest footer line: the next record begins at `next`. */
CELLAR_PRIVATE void l2_slot_dist(const l2 *d, const l2_slot *s, uint32_t next);

/* Return the live segment with the lowest number from `from` on, or UINT32_MAX. *word: its word.
 * *next: the second lowest number. Any thread. */
CELLAR_PRIVATE uint32_t l2_seg_oldest(const l2 *d, uint64_t from, uint64_t *word, uint64_t *next);
/* Return the slot that keeps the bytes of a sealed segment for the next sync, or NULL. */
CELLAR_PRIVATE const l2_slot *l2_slot_of(l2 *d, uint32_t seg, uint64_t segseq);

#endif
