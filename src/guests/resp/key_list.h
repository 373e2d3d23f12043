/* SPDX-License-Identifier: MIT
 *
 * key_list: the keys that a scan found, and the state of a scan between two slices. */
#ifndef RESP_KEY_LIST_H
#define RESP_KEY_LIST_H

#include "cellar_observe.h"
#include "resp/reply.h"

typedef struct resp_key_table resp_key_table;

/* Keys as bulks of a reply; charged to the port. Start from zeros and `of`. */
typedef struct resp_key_list {
    cellar_resp *of;
    resp_block *first, *last; /* the bulks */
    resp_key_table *table;    /* distinct: fingerprints of the keys */
    uint64_t count, seen;     /* keys in the list; values visited */
    uint64_t bytes;           /* allocated, until the list is put */
    cellar_bytes match;       /* data NULL: all keys */
    uint64_t most_seen;       /* the scan ends there, */
    uint64_t end_ns;          /* or at this time, base_tsc_ns */
    uint64_t stalled_ns;      /* since then the disk does not answer; 0: it does */
    uint64_t draw;            /* not 0: the list keeps one of the keys, drawn with this number */
    bool no_bytes, no_objects; /* keys of such values are counted, but not in the list */
    bool distinct;            /* a key that comes again is not added */
    bool full;                /* no memory */
} resp_key_list;

/* Add the key of an entry, for cellar_scan. `ctx` is the list. */
CELLAR_PRIVATE bool resp_key_seen(const cellar_scan_entry *e, void *ctx);
/* Add the bulks of a list to the replies of a client. The list is empty afterwards. */
CELLAR_PRIVATE void resp_key_list_put(resp_client *c, resp_key_list *l);
/* Free at most so many allocations of a list. Return whether none is left. */
CELLAR_PRIVATE bool resp_key_list_free(resp_key_list *l, uint32_t most);

/* A scan that runs in slices, one allocation. */
struct resp_walk {
    resp_key_list list;
    void (*reply)(resp_client *c, resp_walk *w); /* NULL: it is written; the list is freed */
    uint64_t cursor, place;  /* of cellar_scan */
    uint64_t most_count;  /* the scan ends when the list has so many keys */
    uint64_t took_ns;     /* of all slices */
    uint32_t passes;      /* through the namespace, unless most_count is reached */
    bool muted;           /* CLIENT REPLY drops its reply */
    size_t bytes;         /* of the allocation */
    uint32_t argc;
    cellar_bytes argv[];  /* the request; then the bytes of the arguments */
};

/* Free the scan of a client, if it has one. */
CELLAR_PRIVATE void resp_walk_drop(resp_client *c);

#endif
