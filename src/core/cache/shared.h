/* SPDX-License-Identifier: MIT
 *
 * shared: functions of shared.c for the files above it. */
#ifndef CACHE_SHARED_H
#define CACHE_SHARED_H

#include "cache/types.h"
#include "cellar_tier.h"

#define CACHE_TIER_LEASE_ROWS 256u

/* A key that cellar_lease_acquire asked a tier for. */
typedef struct cache_tier_lease_row {
    enum { CACHE_TIER_LEASE_FREE, CACHE_TIER_LEASE_GRANTED, CACHE_TIER_LEASE_BUSY } state;
    uint64_t hash;
    uint64_t changes;        /* of the stamp of the key, before the request and with the grant */
    int64_t until_ms;        /* end of the lease */
    cellar_tier_lease lease; /* GRANTED: for the next acquire */
    void *key;               /* GRANTED: key_len bytes of the account of the store */
    size_t key_len;
    uint64_t id, check;      /* BUSY: the flight that waits, as a lease of the store */
} cache_tier_lease_row;

#define CACHE_TIER_REQUEST_SETS 32u
#define CACHE_TIER_REQUEST_WAYS 4u

/* A request for a key on its way to a tier. */
typedef struct cache_tier_request {
    uint64_t hash;          /* of the key; 0: free */
    uint64_t changes;       /* of the stamp of the key, before the request */
    uint32_t joined;        /* reads that wait for the answer */
    uint32_t user_flags;    /* of the last answer, with its code and length */
    cellar_err answer;
    _Atomic uint32_t round; /* answers so far; written under the lock */
    size_t value_len;
} cache_tier_request;

typedef struct cache_tier_requests { /* of the keys of one stamp */
    sync_lock lock;              /* rank WRITE_ORDER; guards `way` */
    cache_tier_request way[CACHE_TIER_REQUEST_WAYS];
} cache_tier_requests;

#define CACHE_TIER_RETURNED 2048u

struct cache_shared { /* a table of cellar_tier_attach; freed with the store */
    cache_tier tier;          /* of the namespace; its ctx is this struct */
    cellar_tier_table t;
    cellar_tier_host host;
    cache_store *store;
    struct cache_shared *next; /* older table */
    uint32_t slot, id;         /* of the namespace, which may be dropped */
    sync_lock lease_lock;      /* rank WRITE_ORDER; guards the rows */
    _Atomic uint32_t leases_used; /* rows that are not FREE */
    _Atomic bool dropped;         /* the namespace was */
    cache_tier_lease_row *leases; /* CACHE_TIER_LEASE_ROWS; NULL: no `ask_lease` */
    cache_tier_requests *requests; /* CACHE_TIER_REQUEST_SETS */
    _Atomic int64_t gone_ms;   /* end of the last proof; BASE_NEVER_MS: no report of the tier yet */
    uint64_t life;             /* first tag of its entries, which ends them softly; 0: none */
    char name[CELLAR_NAME_MAX + 1];
    _Atomic uint64_t returned[CACHE_TIER_RETURNED]; /* by hash: number of the newest reply:
                                                     * tier_request.c */
};

/* Return how many of the tags of an entry in memory are not the tag of its life. */
BASE_INLINE uint32_t cache_shared_rest(const cellar *c, uint32_t tag_count)
{
    const cache_shared *h = cache_shared_of(c);
    return h != NULL && h->life != 0 && tag_count != 0 ? tag_count - 1 : tag_count;
}

/* Return whether the namespace has a shared tier that is asked for many keys together. */
BASE_INLINE bool cache_shared_asks_many(const cellar *c)
{
    const cache_shared *h = cache_shared_of(c);
    return h != NULL && h->t.get_many != NULL;
}

BASE_INLINE cellar_tier_key cache_shared_key(const void *bytes, size_t len, uint64_t hash)
{
    return (cellar_tier_key){ bytes, len, hash };
}

/* Bound a deadline by the longest life in memory. */
CELLAR_PRIVATE int64_t cache_shared_until(const cache_shared *h, int64_t deadline_ms);
/* Write the tags of an entry, the tag of its life first, to `out`. Return their count. */
CELLAR_PRIVATE uint32_t cache_shared_tags(const cache_shared *h, const uint64_t *fps,
                                          uint32_t count, uint64_t out[BASE_TAGS_MAX]);
/* Make a tier of the table. Add it to the store: one thread at a time, with a free slot for a
 * tier if it is the first one. */
CELLAR_PRIVATE cache_shared *cache_shared_new(cellar *c, const cellar_tier_table *t);
CELLAR_PRIVATE void cache_shared_add(cache_shared *h);
CELLAR_PRIVATE void cache_shared_free(cache_shared *h);
CELLAR_PRIVATE void cache_shared_close(cache_store *s); /* frees all of them */
/* Convert the fields of an entry; `born`: epoch of tags before the tier was asked. */
CELLAR_PRIVATE void cache_shared_meta(const cache_shared *h, const cellar_tier_entry *e,
                                      uint64_t born, cache_found *found);
/* Get a value: as `get` of cellar_tier_table. */
CELLAR_PRIVATE cellar_err cache_shared_get(const cache_shared *h, const l1_key *k, void *buf,
                                           size_t buf_cap, size_t *value_len, cache_found *m);
/* Begin a get for cellar_lease_acquire, which must not wait. Return false if the table cannot
 * answer now. The table must have `ask`. */
CELLAR_PRIVATE bool cache_shared_ask(const cache_shared *h, const l1_key *k,
                                     const cellar_tier_ticket *ticket);
/* Describe an entry to the table. */
CELLAR_PRIVATE cellar_tier_entry cache_shared_entry(const l1_put_spec *p);
/* Put or remove a key. Return the code of the table. */
CELLAR_PRIVATE cellar_err cache_shared_put(cache_shared *h, const l1_key *k,
                                           const l1_put_spec *p);
/* Store the value of a load that holds its lease. *order: number of the reply; 0: not stored. */
CELLAR_PRIVATE cellar_err cache_shared_fill(const cache_shared *h, const l1_key *k,
                                            const l1_put_spec *p, const cellar_tier_lease *l,
                                            uint64_t *order);
CELLAR_PRIVATE cellar_err cache_shared_remove(cache_shared *h, const l1_key *k);
/* Tell the tier of the namespace, or all of the store, before memory changes. */
CELLAR_PRIVATE cellar_err cache_shared_clear(const cellar *c);
CELLAR_PRIVATE cellar_err cache_shared_tag(cache_store *s, const void *tag, size_t len,
                                           uint32_t mode);

#endif
