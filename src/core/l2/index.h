/* SPDX-License-Identifier: MIT
 *
 * index: one word for each key of the log: 56 bits of its hash, place and size of its record. */
#ifndef L2_INDEX_H
#define L2_INDEX_H

#include "l2/tombs.h"

BASE_INLINE l2_shard *l2_shard_of(l2 *d, uint64_t hash) { return &d->index.shard[hash >> 56]; }

/* Make the index for `places` words. Return false if memory is short. */
CELLAR_PRIVATE bool l2_index_open(l2 *d, uint64_t places);
CELLAR_PRIVATE void l2_index_close(l2 *d);
/* Return the slots of one shard for `places` words. */
CELLAR_PRIVATE uint64_t l2_index_per(uint64_t places);
/* Return the bytes of a record as a word rounds them up. */
CELLAR_PRIVATE uint32_t l2_word_bytes(uint32_t bytes);
/* Find the word of a key. Here and below hash is l2_mix of the key. */
CELLAR_PRIVATE l2_word l2_index_find(l2 *d, uint64_t hash) SYNC_HOLDS(L2_TOMBSTONE_LOCK);
/* Request the line of a key's slot. */
CELLAR_PRIVATE void l2_index_ahead(l2 *d, uint64_t hash);
/* Return the word of the key of which the upper 48 bits of l2_mix are h48. */
CELLAR_PRIVATE l2_word l2_index_find48(l2 *d, uint64_t h48) SYNC_HOLDS(L2_TOMBSTONE_LOCK);
/* Return the word with the lowest lsn above `after` near the slot of a key; *other: its hash. */
CELLAR_PRIVATE l2_word l2_index_near(l2 *d, uint64_t hash, uint64_t after, uint64_t *other)
    SYNC_HOLDS(L2_TOMBSTONE_LOCK);
/* Return true if the shard has a slot for one more key. */
CELLAR_PRIVATE bool l2_index_room(l2 *d, uint64_t hash) SYNC_HOLDS(L2_TOMBSTONE_LOCK);
/* Set the word of a key that has one, or for which there is room. bytes 0: a tombstone. */
CELLAR_PRIVATE void l2_index_set(l2 *d, uint64_t hash, uint64_t lsn, uint32_t bytes)
    SYNC_HOLDS(L2_TOMBSTONE_LOCK);
/* Remove the word of a key that has one. */
CELLAR_PRIVATE void l2_index_drop(l2 *d, uint64_t hash) SYNC_HOLDS(L2_TOMBSTONE_LOCK);
/* Move the tombstones of a key's shard to a set that has room for all of them. */
CELLAR_PRIVATE void l2_index_spill(l2 *d, uint64_t hash, l2_tombs *to)
    SYNC_HOLDS(L2_TOMBSTONE_LOCK);
/* Remove all words, or tombstones alone; takes the lock of each shard. */
CELLAR_PRIVATE void l2_index_sweep(l2 *d, bool tombs);
/* Remove all words below `lsn`: their rows cannot be read. */
CELLAR_PRIVATE void l2_index_cut(l2 *d, uint64_t lsn);
/* Return true if the index leads to the copy at `addr`. */
CELLAR_PRIVATE bool l2_is_there(l2 *d, uint64_t hash, uint64_t addr);

#endif
