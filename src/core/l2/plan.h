/* SPDX-License-Identifier: MIT
 *
 * plan: what a put stores, and whether it is worth a write. */
#ifndef L2_PLAN_H
#define L2_PLAN_H

#include "l2/codec.h"
#include "l2/types.h"

#define L2_UNUSED_PCT 40u /* share of the size: while more is alive, unused values are refused */

BASE_INLINE bool l2_is_idle(const l2_meta *m) { return m->idle_ms != 0 && m->until_ms != 0; }
/* Return true if one record has room for a value of vlen bytes beside its extensions and key. */
CELLAR_PRIVATE bool l2_record_fits(const l2 *d, size_t ext_klen, size_t vlen);
/* Return true if the entry lives long enough and was used often enough to be written. */
CELLAR_PRIVATE bool l2_put_wanted(l2 *d, const l2_key *k, const l2_meta *m);
/* Tell the caller of a put why it is refused. Return L2_REFUSED. */
CELLAR_PRIVATE cellar_err l2_put_refused(const l2_meta *m, l2_why why);
/* Return true if the copy at m->addr is identical to the put. The copy of an entry with an idle
 * time expires too early once the entry is used. */
CELLAR_PRIVATE bool l2_has_it(l2 *d, uint64_t hash, const l2_meta *m);
/* Fill the record's head. Return false if the entry is refused. */
CELLAR_PRIVATE bool l2_put_plan(l2 *d, const l2_key *k, size_t value_len, const l2_meta *m,
                                unsigned char ext[L2_EXT_MAX], l2_rec *r);
/* Compress and encrypt the value as required. Return false if the put is refused. */
CELLAR_PRIVATE bool l2_put_boxed(l2 *d, const l2_key *k, const l2_meta *m,
                                 unsigned char ext[L2_EXT_MAX], l2_rec *r, l2_box *box);
/* Return false if the entry is refused because it was not used. Note the key of an unused entry. */
CELLAR_PRIVATE bool l2_put_used(l2 *d, uint64_t hash, const l2_meta *m);

#endif
