/* SPDX-License-Identifier: MIT
 *
 * index: map each bunch of keys to the address of its newest record; read without locks. */
#ifndef L2_INDEX_H
#define L2_INDEX_H

#include "l2/types.h"

/* Return the buckets of one shard of an index for `objects`. */
CELLAR_PRIVATE uint32_t l2_index_buckets(uint64_t objects);
CELLAR_PRIVATE bool l2_index_open(l2 *d, uint64_t objects);
CELLAR_PRIVATE void l2_index_close(l2 *d);
/* Return a word of the bunch, or 0. It is the only one unless it has L2_WORD_TWIN. */
CELLAR_PRIVATE uint64_t l2_index_find(l2 *d, uint64_t h48);
/* Copy all words of the bunch into `word`. Return their number. */
CELLAR_PRIVATE uint32_t l2_index_all(l2 *d, uint64_t h48, uint64_t word[L2_BUNCH_WORDS]);
/* Replace `behind`, a word of the bunch, by `word`. behind 0, or gone meanwhile: add `word`. Return
 * false if the bucket pair is full of durable words: then no word of the key is there. */
CELLAR_PRIVATE bool l2_index_link(l2 *d, uint64_t h48, uint64_t word, uint64_t behind);
/* Let a full pair drop the tombstones in the place of durable entries that are `own`: of their key.
 * Return true if there are any. */
CELLAR_PRIVATE bool l2_index_ease(l2 *d, uint64_t h48, bool (*own)(l2 *d, uint64_t word));
/* Remove the word of the bunch that names `addr`. */
CELLAR_PRIVATE void l2_index_drop(l2 *d, uint64_t h48, uint64_t addr);
/* Add words of one shard during the index rebuild. A line is skipped if its hash48 has a word, or
 * had one that was put aside. */
CELLAR_PRIVATE void l2_index_replay(l2 *d, uint32_t shard, const l2_sort_line *line, uint32_t n);
/* Prepare for up to `lines` lines. */
CELLAR_PRIVATE bool l2_index_rebuild_begin(l2 *d, uint64_t lines);
/* Return the number of parts of the shards, so that each line of one part has a way or a row. */
CELLAR_PRIVATE uint32_t l2_index_rebuild_parts(const l2 *d, uint64_t lines);
/* Give all rows to the shards of this part. Before it, a full pair takes no older line. */
CELLAR_PRIVATE void l2_index_rebuild_part(l2 *d, uint32_t part, uint32_t parts);
/* Find the next put, from *at on, in a shard that put some aside: durable words that can leave,
 * then lines aside, plain ones only if a word left. All lines of the shard are added. *at: behind
 * it; *word 0: none so far. Return false at the end. */
CELLAR_PRIVATE bool l2_index_spare(l2 *d, uint32_t shard, uint64_t *at, uint64_t *word);
/* Remove that word if its record ended; give that line a way unless its record ended. */
CELLAR_PRIVATE void l2_index_spare_way(l2 *d, uint32_t shard, uint64_t at, uint64_t word,
                                       bool ended);
/* Remove all words for which `dead` returns true. Works without footers. */
CELLAR_PRIVATE void l2_index_sweep(l2 *d, bool (*dead)(const l2 *d, uint64_t word, uint64_t arg),
                                   uint64_t arg);
CELLAR_PRIVATE void l2_index_rebuild_end(l2 *d);
/* Return about the bytes that the words of `count` shards from `shard` on lead to. The sizes in
 * words are within 1/16. */
CELLAR_PRIVATE uint64_t l2_index_bytes_in(const l2 *d, uint32_t shard, uint32_t count);
CELLAR_PRIVATE uint64_t l2_word_make(const l2 *d, uint32_t seg, uint32_t off, uint64_t h48,
                                     uint32_t bytes);
CELLAR_PRIVATE uint32_t l2_word_seg(const l2 *d, uint64_t word);
CELLAR_PRIVATE uint32_t l2_word_off(const l2 *d, uint64_t word);
CELLAR_PRIVATE uint32_t l2_word_bytes(const l2 *d, uint64_t word); /* upper bound */
/* Return the lsn of the record that the word names; 0: its segment is free. */
CELLAR_PRIVATE uint64_t l2_word_lsn(const l2 *d, uint64_t word);
/* Return true if the index leads to the copy at `addr`. */
CELLAR_PRIVATE bool l2_is_there(l2 *d, uint64_t hash, uint64_t addr);

#endif
