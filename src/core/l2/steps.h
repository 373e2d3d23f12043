/* SPDX-License-Identifier: MIT
 *
 * steps: the worker, its thread, and the steps of its round that other files also call. */
#ifndef L2_STEPS_H
#define L2_STEPS_H

#include "l2/types.h"

/* ---- arm.c ---- */

/* Make the pages of a range of a slot dirty without a change. Return an errno, or 0. */
CELLAR_PRIVATE int l2_arm_pages(l2 *d, const l2_slot *s, size_t from, size_t end);
/* Reset the armed limits, before a sync of the stage. */
CELLAR_PRIVATE void l2_disarm(l2 *d);
/* Arm more pages if a caller came close to the limit, or half a second has passed. */
CELLAR_PRIVATE void l2_arm_work(l2 *d);

/* ---- seal.c ---- */

/* Write footers, trailer and zeros, then write the slot to its place. */
CELLAR_PRIVATE int l2_seal(l2 *d, l2_slot *s);
/* Seal the slots that are full now, and free those that may be reused. */
CELLAR_PRIVATE void l2_drain(l2 *d);
/* Seal one full slot. Return false if there is none, or if that fails. */
CELLAR_PRIVATE bool l2_seal_work(l2 *d);
/* Free the written slots that may be reused. */
CELLAR_PRIVATE void l2_recycle(l2 *d);

/* ---- reclaim.c ---- */

/* Free the place of the oldest segment. Return false if that is not possible now. */
CELLAR_PRIVATE bool l2_reclaim(l2 *d);

/* ---- move.c ---- */

/* Free places if few are left: live records of the oldest segment move, or it is reclaimed with
 * them. Return true if more is to do now. */
CELLAR_PRIVATE bool l2_room_work(l2 *d);
/* Take one step to free the place of the oldest segment. Return false if that is not possible
 * now. */
CELLAR_PRIVATE bool l2_room_step(l2 *d);
/* Return true if live records may move: cfg.move_pct, and enough places. */
CELLAR_PRIVATE bool l2_move_may(const l2 *d);
/* Free the memory of moves. */
CELLAR_PRIVATE void l2_move_end(l2 *d);

/* ---- value.c ---- */

/* Return true if the part with this key belongs to a value that a get finds, or if that cannot be
 * read. *generation: of the value; 0: unknown. */
CELLAR_PRIVATE bool l2_part_wanted(l2 *d, const unsigned char *key, uint32_t klen,
                                   uint32_t *generation);
/* Return the lsn of a part of the value of that part; 0: not there. */
CELLAR_PRIVATE uint64_t l2_part_lsn(l2 *d, uint64_t index);

/* ---- barrier.c ---- */

/* Make the header of the next slot durable, at KEEP and ALWAYS. Return an errno, or 0. */
CELLAR_PRIVATE int l2_prepare(l2 *d);
/* Sync stage or data.seg. Return an errno, or 0; EIO while l2_resync is owed. */
CELLAR_PRIVATE int l2_sync_file(l2 *d, base_vfs_file *f);
/* Verify the records of a segment by the footer lines in its last pages. */
CELLAR_PRIVATE bool l2_records_hold(const l2 *d, const unsigned char *seg, uint64_t segseq,
                                    uint32_t pos, uint32_t entries);
/* Store the bytes of failed syncs again. Return 0 if no sync is owed any more, else an errno. */
CELLAR_PRIVATE int l2_resync(l2 *d);
/* Sync stage and data.seg if that is due, or if a slot waits for it. */
CELLAR_PRIVATE void l2_barrier_work(l2 *d);

/* ---- reopen.c ---- */

/* Open a tier that a stall closed, after all changes of the stall are logged. Return true if some
 * were logged. */
CELLAR_PRIVATE bool l2_reopen(l2 *d);

/* ---- stage_trim.c ---- */

CELLAR_PRIVATE void l2_trim_work(l2 *d); /* periodic; worker only */
/* Zero all of the stage that its next sync need not write. No thread appends. */
CELLAR_PRIVATE void l2_trim_all(l2 *d);

/* ---- resize.c ---- */

/* Reserve and commit the rows of segments. Return false if memory is short. */
CELLAR_PRIVATE bool l2_rows_open(l2 *d, uint64_t rows);
CELLAR_PRIVATE void l2_rows_close(l2 *d);
CELLAR_PRIVATE bool l2_resize_work(l2 *d); /* one step towards the goal; true: more steps follow */
/* End the resize: restore keep_free and the mapping. */
CELLAR_PRIVATE void l2_goal_over(l2 *d, cellar_err result);

/* ---- worker.c ---- */

/* Resize to `places` and wait. Return like l2_resize. */
CELLAR_PRIVATE cellar_err l2_resize_to(l2 *d, uint32_t places, uint64_t bytes);
/* Run rounds until `stop`; the main function of the worker's thread. */
CELLAR_PRIVATE void l2_thread_main(void *arg);
/* Stop the threads and wait for their end. */
CELLAR_PRIVATE void l2_thread_end(l2 *d);

/* ---- group_commit.c ---- */

#define L2_COMMIT_FIRST_NS UINT64_C(8000000) /* mean of a new store: 45 hand-overs */
/* Lead commits until `stop`; the main function of the thread of commits. */
CELLAR_PRIVATE void l2_commit_main(void *arg);
/* Let the thread of commits lead, or look at `stop`. */
CELLAR_PRIVATE void l2_commit_ask(l2 *d);

#endif
