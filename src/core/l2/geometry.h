/* SPDX-License-Identifier: MIT
 *
 * geometry: how many segments and objects a size has room for, and the memory that they need. */
#ifndef L2_GEOMETRY_H
#define L2_GEOMETRY_H

#include "l2/types.h"

/* Return the bytes that a size of `bytes` leaves for data.seg and index.snap: whole segments. */
CELLAR_PRIVATE uint64_t l2_data_room(const l2_super *s, uint64_t bytes);
/* Return the part of `bytes` that the places leave for index.snap. */
CELLAR_PRIVATE uint64_t l2_snap_kept(const l2_config *c, const l2_super *s, uint64_t bytes);
/* Return the segments that fit into `bytes` together with all other files. */
CELLAR_PRIVATE uint64_t l2_places_in(const l2_config *c, const l2_super *s, uint64_t bytes);
/* Return the segments like l2_places_in, with a bloom.snap of `images` bytes. */
CELLAR_PRIVATE uint64_t l2_places_beside(const l2_config *c, const l2_super *s, uint64_t bytes,
                                         uint64_t images);
/* Set segment size, slots, places and granule of a new store. E_INVAL: no such geometry. */
CELLAR_PRIVATE cellar_err l2_geometry(const l2_config *c, l2_super *s);
/* Return the objects that the tables are made for: for the current or the requested size. */
CELLAR_PRIVATE uint64_t l2_objects_for(const l2_config *c, const l2_super *s);
/* Return the bytes that an open charges to the budget, within some KiB: tables and stage. */
CELLAR_PRIVATE uint64_t l2_tables_bytes(const l2_config *c, const l2_super *s);
/* Return a budget above cfg->memory_bytes that suffices for the store in `made`, or for a new one.
 * It exceeds the least such budget by at most 2 %, by this estimate. */
CELLAR_PRIVATE uint64_t l2_memory_least(const l2_config *cfg, const l2_super *made);

#endif
