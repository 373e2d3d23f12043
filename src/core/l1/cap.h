/* SPDX-License-Identifier: MIT
 *
 * cap: lists of the entries of namespaces with a bound of entries (cap.c), and the victims that
 * keep the bound (cap_evict.c). */
#ifndef L1_CAP_H
#define L1_CAP_H

#include "l1/types.h"

#define L1_CAP_PAGE 64u /* namespaces of a page of the table */
#define L1_CAP_CHUNK 256u

typedef struct l1_cap_node { /* an entry, by the hash of its key */
    uint64_t hash;
    uint32_t older;        /* older and newer: in the order of their sets; 0: none */
    uint32_t newer : 31;
    uint32_t renewed : 1;  /* it was the oldest, and kept because of a use */
    uint32_t chain;        /* the next one in its bucket, or on the free list */
    uint32_t first;        /* of the bucket with the number of this node, less 1 */
} l1_cap_node;

typedef struct l1_cap {
    sync_lock lock;         /* rank L1_CAP; guards all but `max` */
    _Atomic uint32_t max;   /* entries; 0: no bound; written under the lock, read anywhere */
    uint32_t generation;    /* the entries of this generation are in the list, and no others */
    uint32_t epoch;         /* number of the list; a ticket of an older list is void; never 0 */
    bool whole;             /* the list has all entries of the generation: no fill has to end */
    uint32_t count;         /* nodes in the list */
    uint32_t reserved;      /* tickets of sets that have not linked their entry yet */
    uint32_t oldest, newest;
    uint32_t free, free_count; /* nodes that had an entry */
    uint32_t used;          /* nodes 1..used had an entry; also the number of buckets */
    uint32_t chunks, chunk_room;
    l1_cap_node **chunk;
} l1_cap;

struct l1_caps { void *_Atomic page[L1_NAMESPACES / L1_CAP_PAGE]; }; /* each of l1_cap pointers */

/* ---- cap.c ---- */
/* Return the cap of a living generation; NULL: it has none. */
CELLAR_PRIVATE l1_cap *l1_cap_of(const l1 *c, uint32_t generation);
/* Return the cap of a namespace; NULL: it never had one. */
CELLAR_PRIVATE l1_cap *l1_cap_at(const l1 *c, uint32_t namespace);
/* Get a ticket for one more entry of the generation, which its link uses up. Return false if the
 * namespace is full, or lacks memory for one more node: call l1_cap_room. */
CELLAR_PRIVATE bool l1_cap_reserve(const l1 *c, l1_toll *t) SYNC_HOLDS(L1_LANE);
/* Return the ticket of a set that linked nothing. */
CELLAR_PRIVATE void l1_cap_unused(const l1 *c, l1_toll *t);
/* Add an entry, as the newest. toll NULL: it replaces one of the same key. */
CELLAR_PRIVATE void l1_cap_in(l1_cap *m, uint32_t generation, uint64_t hash, l1_toll *t);
/* Remove an entry; of two of the same hash the older one. */
CELLAR_PRIVATE void l1_cap_out(l1_cap *m, uint32_t generation, uint64_t hash);
/* Add an entry that was there before the bound, unless it is in the list. Return false if there is
 * no memory for it. */
CELLAR_PRIVATE bool l1_cap_adopt(const l1 *c, l1_cap *m, uint32_t generation, uint64_t hash);
/* Make an entry the newest: it was used. */
CELLAR_PRIVATE void l1_cap_renew(l1_cap *m, uint32_t generation, uint64_t hash);
/* Allocate nodes, if fewer than what `m` may need next are left. Hold no lock. */
CELLAR_PRIVATE cellar_err l1_cap_grow(l1 *c, l1_cap *m);
typedef enum l1_cap_state { L1_CAP_FITS, L1_CAP_FULL, L1_CAP_BUSY, L1_CAP_NONE } l1_cap_state;
/* Return whether `more` entries fit. FULL: *oldest is a copy of the oldest entry. BUSY: it is full
 * of tickets. NONE: there is no such list any more, or its generation ended: then entries that end
 * leave their nodes. */
CELLAR_PRIVATE l1_cap_state l1_cap_fits(const l1 *c, l1_cap *m, uint32_t generation, uint32_t more,
                                        l1_cap_node *oldest);
CELLAR_PRIVATE void l1_caps_close(l1 *c);
/* Return whether an entry of the generation is in the list, for the audit; true if the list is of
 * another generation. */
CELLAR_PRIVATE bool l1_cap_has(l1_cap *m, uint32_t generation, uint64_t hash);
/* Return the number of entries in all lists. */
CELLAR_PRIVATE uint64_t l1_caps_count(const l1 *c);

/* ---- cap_evict.c ---- */
/* Make room for one more entry of the generation: evict entries of it, in the order of the policy,
 * or allocate a node. Return false if neither is possible. Hold no lock. */
CELLAR_PRIVATE bool l1_cap_room(l1 *c, uint32_t generation);

#endif
