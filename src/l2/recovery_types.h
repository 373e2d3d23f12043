/* SPDX-License-Identifier: MIT
 *
 * recovery_types: what recovery finds: segments, and how far they count. */
#ifndef L2_RECOVERY_TYPES_H
#define L2_RECOVERY_TYPES_H

#include "l2/types.h"

typedef struct l2_find { /* a segment that was found */
    uint64_t segseq, prev, floor;
    int64_t base_wall_ms;
    uint32_t place, controls, footer_pages, data_end, entries, max_generation, meta;
} l2_find;

typedef struct l2_finds {
    l2_find *at;       /* room for nseg + nstage */
    uint32_t count;
    uint64_t floor;
    uint64_t newest;    /* highest segseq, including an empty slot */
    uint64_t staged, staged_prev; /* newest header in the stage: its number, the number before it */
    bool same_boot;
    bool copy;          /* the files may be of different moments, see Copy */
    uint64_t clean_lsn; /* 0: was not CLEAN */
    uint64_t meta;      /* lower bound of META's serial */
    bool meta_due;      /* store META before a place is reused */
} l2_finds;

BASE_INLINE bool l2_strict(const l2 *d, const l2_finds *f, uint64_t segseq, uint32_t off)
{
    return f->same_boot || l2_lsn(d, segseq, off) < f->clean_lsn;
}

#endif
