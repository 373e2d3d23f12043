/* SPDX-License-Identifier: MIT
 *
 * object: objects of the program in entries: cells, holds, ends (object.c); look-ups
 * (acquire.c). */
#ifndef L1_OBJECT_H
#define L1_OBJECT_H

#include "base/mem.h"
#include "base/num.h"
#include "base/sync.h"
#include "cellar_object.h"
#include "l1/l1.h"

/* Word of a cell: count, links, cause, class. */
#define L1_CELL_COUNT(w) ((uint32_t)(w))
#define L1_CELL_LINK ((UINT64_C(1) << 32) + 1) /* an entry links it, and has a count */
#define L1_CELL_LINKS(w) ((uint32_t)((w) >> 32) & 255u)
#define L1_CELL_CAUSE_SHIFT 40
#define L1_CELL_CLASS_SHIFT 48
#define L1_CELL_CLASS(w) ((w) >> L1_CELL_CLASS_SHIFT & 0x7fffu)
#define L1_CELL_FREE (UINT64_C(1) << 63) /* its charge does not count in the budget */
#define L1_CELL_REFUSED 255u /* cause: the object stays with the caller, free_fn does not run */
#define L1_CELL_COUNT_MOST 0xffff0000u /* holders come in by steps of one: no thread passes it */

struct l1_cell { /* one accepted object; its memory is a cell as long as the table exists */
    _Atomic uint64_t word;   /* L1_CELL_...; count 0: free, or free_fn is due */
    _Atomic uint64_t object; /* constant while the count is above 0, as `charge` */
    _Atomic uint64_t charge;
    _Atomic uint32_t next;   /* number + 1 in a list: free, or free_fn is due */
    _Atomic uint32_t births; /* objects that had the cell: tells a hold of an earlier one */
};
_Static_assert(sizeof(l1_cell) == 32, "two cells a line");

/* A hold of a thread: number of the acquire << 33 | number of the cell + 1 << 1 | 1 if counted. */
#define L1_HOLD_COUNTED UINT64_C(1)
#define L1_HOLD_CELL(w) ((w) & ((UINT64_C(1) << 33) - 2))
#define L1_HOLD_SLOTS 7u
typedef struct l1_hold_line { /* of one thread record */
    _Atomic uint64_t slot[L1_HOLD_SLOTS]; /* 0: free. Filled by the thread, emptied by any */
    _Atomic uint64_t acquires;            /* by the thread */
} l1_hold_line;
_Static_assert(sizeof(l1_hold_line) == 64, "holds of a thread are a line");

#define L1_CLASS_CHUNKS 64u
#define L1_CLASSES 64u /* of a chunk */
typedef struct l1_class { /* what frees the objects of a namespace; never given back */
    cellar_object_free_fn free_fn;
    void *ctx;
} l1_class;

#define L1_CELLS_STEP ((uint64_t)16 << 10) /* bytes made writable together */
#define L1_CELLS_MOST (UINT64_C(1) << 36)  /* bytes: each number has 32 bits */
struct l1_cells {
    base_account *account;
    base_region region, lines; /* cells; an l1_hold_line for each thread record */
    void (*gone)(void *ctx, bool freed); /* called before and behind the end of the table */
    void *ctx;
    _Atomic bool forked;       /* this process is a forked child: a release does nothing */
    sync_lock lock;            /* rank L1_CELL; guards growth and new classes */
    uint64_t writable_bytes;   /* of `region`; L1_CELL */
    _Atomic uint64_t pages;    /* bit n: page n of `lines` is readable; release, acquire */
    uint32_t classes;          /* L1_CELL */
    l1_class *class_at[L1_CLASS_CHUNKS]; /* constant once set; L1_CELL, and what has a number */
    _Atomic uint64_t twice;    /* releases of a hold that was released */
    _Atomic uint64_t late;     /* list of cells: free_fn waits for the end of a role */
    sync_late late_call;       /* put off by the thread that found `late` empty */
    _Atomic uint64_t made BASE_ALIGNED(BASE_PAD); /* cells made so far */
    _Atomic uint64_t free;     /* list of cells: changes << 32 | number + 1 */
    _Atomic uint64_t live;     /* objects that are not freed; + 1 until the store is closed */
};

BASE_INLINE uint64_t l1_cell_number(const l1_cells *o, const l1_cell *b)
{
    return (uint64_t)(b - (const l1_cell *)(const void *)o->region.base);
}

/* The first word of a record of an object, which has its pointer behind it: charge << 33 |
 * number of the cell << 1 | 1. A larger charge stands in the cell alone. */
#define L1_CHARGE_LARGE ((UINT64_C(1) << 31) - 1)
BASE_INLINE uint64_t l1_cell_name(const l1_cells *o, const l1_cell *b)
{
    const uint64_t charge = base_load_rlx(&b->charge);
    return BASE_MIN(charge, L1_CHARGE_LARGE) << 33 | l1_cell_number(o, b) << 1 | 1u;
}
/* Return the cell of such a word; a word of a torn record may name none: NULL. */
BASE_INLINE l1_cell *l1_cell_named(const l1_cells *o, uint64_t name)
{
    const uint64_t number = (uint32_t)(name >> 1);
    return o != NULL && number < base_load_acq(&o->made)
               ? (l1_cell *)(void *)o->region.base + number : NULL;
}
BASE_INLINE uint64_t l1_cell_charge_of(const l1_cells *o, uint64_t name)
{
    const l1_cell *const b = name >> 33 == L1_CHARGE_LARGE ? l1_cell_named(o, name) : NULL;
    return b != NULL ? base_load_rlx(&b->charge) : name >> 33;
}

/* Take a cell for an object, with one count. NULL: no memory. */
CELLAR_PRIVATE l1_cell *l1_cell_take(l1_cells *o, uint32_t class_number, void *object,
                                     uint64_t charge);
/* Add a count, unless there is none, or no room for one. */
CELLAR_PRIVATE bool l1_cell_count(l1_cell *b);
/* Note that an entry links the cell. The caller has a count. */
BASE_INLINE void l1_cell_link(l1_cell *b) { (void)base_add_ar(&b->word, L1_CELL_LINK); }
/* Note the same, and let the entry take the count of the caller. */
BASE_INLINE void l1_cell_link_own(l1_cell *b) { (void)base_add_ar(&b->word, L1_CELL_LINK - 1); }
/* End the link of an entry with its count: each hold in a slot gets a count before. */
CELLAR_PRIVATE void l1_cell_unlink(l1_cells *o, l1_cell *b, unsigned cause);
/* Hold the object of a record (l1_cell_name) that `ver` of a bucket showed at `want`. False: it
 * changed, try again; E_LIMIT in *err: no room for a count. */
CELLAR_PRIVATE bool l1_hold_take(l1_cells *o, uint64_t name, uint64_t object,
                                 const _Atomic uint32_t *ver, uint32_t want, cellar_held *out,
                                 cellar_err *err);

#endif
