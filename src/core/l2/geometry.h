/* SPDX-License-Identifier: MIT
 *
 * geometry: how many segments and entries a size has room for, and the memory that they need. */
#ifndef L2_GEOMETRY_H
#define L2_GEOMETRY_H

#include "l2/types.h"

/* Set segment size, number, granule and longest record of a new store. E_INVAL: no such
 * geometry. */
CELLAR_PRIVATE cellar_err l2_geometry(const l2_config *c, l2_super *s);
/* Return the segments that `bytes` have room for. */
CELLAR_PRIVATE uint64_t l2_places_in(uint64_t bytes, uint32_t seg_bytes);
/* Return the bytes of the buffer. s->room_max 0: of a new store. */
CELLAR_PRIVATE size_t l2_buf_bytes(const l2_config *c, const l2_super *s);
/* Return the bytes that passes read in one call: each record fits. */
CELLAR_PRIVATE size_t l2_work_bytes(const l2_config *c, const l2_super *s);
/* Return the bytes of the rows of a segment: of the open one, and while an open reads one more. */
CELLAR_PRIVATE size_t l2_rows_bytes(const l2_super *s);
/* Return the words that the index is made for. */
CELLAR_PRIVATE uint64_t l2_words_for(const l2_config *c, const l2_super *s);
/* Return the bytes that an open charges to the budget, within some KiB. */
CELLAR_PRIVATE uint64_t l2_tables_bytes(const l2_config *c, const l2_super *s);
/* Return a budget above cfg->memory_bytes that suffices for the store in `made`, or a new one. */
CELLAR_PRIVATE uint64_t l2_memory_least(const l2_config *cfg, const l2_super *made);

#endif
