/* SPDX-License-Identifier: MIT
 *
 * key_list: the keys that a scan found. */
#ifndef RESP_KEY_LIST_H
#define RESP_KEY_LIST_H

#include "cellar_observe.h"
#include "resp/command.h"

/* Keys, each as its length and its bytes; charged to the port. Start from zeros and `account`. */
typedef struct resp_key_list {
    base_account *account;
    unsigned char *bytes;
    size_t used, cap;
    uint64_t count, seen; /* keys in the list; values visited */
    cellar_bytes match;   /* data NULL: all keys */
    uint64_t most_seen;   /* the scan ends there */
    bool counts_only;     /* the list stays empty */
    bool distinct;        /* a key that comes again is not added */
    bool full;            /* no memory */
    size_t *place;        /* distinct: hash table of places in `bytes`, + 1; 0: free */
    size_t place_count;   /* a power of two; more than half of them are free */
} resp_key_list;

/* Add the key of an entry, for cellar_scan_with. `ctx` is the list. */
CELLAR_PRIVATE bool resp_key_seen(const cellar_scan_entry *e, void *ctx);
/* Return the key at a place of the list, and move the place to the next one. */
CELLAR_PRIVATE cellar_bytes resp_key_next(const resp_key_list *l, size_t *at);
CELLAR_PRIVATE void resp_key_list_free(resp_key_list *l);

#endif
