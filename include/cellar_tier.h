/* SPDX-License-Identifier: MIT
 *
 * cellar_tier: a level below memory that a program or an add-on brings: a shared server, a file.
 * The program writes a table of functions for one namespace. The store calls `get` when memory has
 * no value, `put` and `remove` when the program sets or deletes a key.
 *
 * CALL PATTERN
 *     cellar_tier_table t = cellar_tier_table_default();
 *     t.ctx = my_namespace;  t.attached = on_attached;  t.get = my_get;  t.put = my_put; // ..
 *     cellar_tier_attach(users, &t);         // from now on: cellar_get, cellar_set .. as ever
 *
 * PROMISED   A change reaches the tier before the call of the program returns. A reply of `get`
 *            that a change overtook does not enter memory. After `changed`, `tag_ended` or `ended`
 *            of the host (changes of other processes) memory has no older value.
 * NOT PROMISED  Changes that the tier does not report are not seen before the TTL. Idle times are
 *            not kept below memory. No server, retry or queue: those are the work of the tier.
 * AWAY       A tier that cannot reach its server returns MISS or an error from `get`, and DEFERRED
 *            or an error from changes. It calls `proven` with 0, or lets the last proof run out.
 * CHANGE     A set or delete changes memory, calls `put` or `remove`, and returns; until then no
 *            read stores a reply. The calls for one key come in the order of its changes. A change
 *            from before a clear or `ended` that comes later removes the key from memory.
 * READ       A get that misses memory notes the stamp of the key and the life of the namespace,
 *            then calls `get`, or `get_many` for several keys. The reply enters memory only if both
 *            are unchanged. Equal gets of other threads wait for that reply.
 * PROOF      With `proof`, memory answers only until the time of the last `proven`.
 * LOCKING    See cellar_tier_table. The tier calls the host without a lock that its table needs.
 * TIME       Milliseconds of the clock of the store (`now_ms`); INT64_MAX: never. */
#ifndef CELLAR_TIER_H
#define CELLAR_TIER_H

#include "cellar.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Types ----------------------------------------------------------------------------------- */

/* What memory answers after the time of the last proof. */
typedef enum cellar_tier_proof {
    CELLAR_TIER_PROOF_NONE = 0, /* its entries: the namespace needs no proof                      */
    CELLAR_TIER_PROOF_MISS = 1, /* a miss                                                         */
    CELLAR_TIER_PROOF_STALE = 2 /* STALE to calls that accept stale values, else a miss           */
} cellar_tier_proof;

/* A key of the namespace, for functions of the table. It is valid until the function returns. */
typedef struct cellar_tier_key {
    const void *bytes;   /* `len` bytes, from 1                                                   */
    size_t      len;     /* bytes of the key                                                      */
    uint64_t    hash;    /* equal for equal keys until the namespace is cleared                   */
} cellar_tier_key;

/* The fields of an entry beside its value, for functions of the table and of the host. The store
 * and the tier fill all fields that they know; 0: none. */
typedef struct cellar_tier_entry {
    int64_t  deadline_ms;      /* end of its TTL by now_ms of the host. INT64_MAX: none           */
    int64_t  stale_ms;         /* stale window after the deadline, ms                             */
    uint64_t check;            /* number of this state of the key, never 0. `get`, `lease`: as the
                                * tier has it. `put` with CELLAR_TIER_IF_CHECK: the state that the
                                * key must have; 0: no value, a negative entry, or a value past
                                * its deadline, also in its stale window. After OK: the new state.
                                * It is the version that cellar_get_with reports.                 */
    uint64_t born;             /* of `put`, `fill`: `epoch` when the load or the set began.
                                * `get`, `answered`, and `fill` after OK: number of the reply,
                                * larger for a later state of the tier. 0: none has one, and memory
                                * may return an older reply behind a newer one, until `changed`   */
    uint64_t tag_fp[CELLAR_TAGS_MAX]; /* of `get`: tag_fp() of each tag                           */
    const cellar_bytes *tags;  /* of `put`, `fill`: the texts, valid until the function returns   */
    uint32_t tag_count;        /* number of tags. Range 0..CELLAR_TAGS_MAX                        */
    uint32_t user_flags;       /* as given to the set                                             */
    uint32_t flags;            /* CELLAR_TIER_..., below                                          */
    uint32_t cost;             /* code of the load cost, 0..255                                   */
} cellar_tier_entry;

/* One key of `get_many`: arguments and results of one `get`. */
typedef struct cellar_tier_get {
    cellar_tier_key   key;         /* in                                                          */
    void             *buf;         /* in: room for the value                                      */
    size_t            buf_cap;     /* in: bytes of `buf`                                          */
    size_t            value_len;   /* out: bytes of the value                                     */
    cellar_tier_entry e;           /* in: as for `get`; out                                       */
    cellar_err        err;         /* out: the code of `get`                                      */
    uint32_t          reserved;    /* 0                                                           */
} cellar_tier_get;

/* Flags of cellar_tier_entry.flags. */
#define CELLAR_TIER_NEGATIVE 1u /* no value: the key is known to be absent                        */
#define CELLAR_TIER_IF_CHECK 2u /* of `put`, `remove`: only if the key has the state `check`      */
#define CELLAR_TIER_NO_KEEP  4u /* of `get`, `answered`: memory must not keep the entry           */
#define CELLAR_TIER_REFRESH  8u /* of `lease`: the old value stays readable                       */
#define CELLAR_TIER_FRESH   16u /* of `get`: for a conditional change, ask the tier in any case   */
#define CELLAR_TIER_SAME_TAGS 32u /* of `put` with IF_CHECK: keep the tags of that state          */

/* A get that the tier answers later, from `ask` and `ask_lease` to `answered` of the host. Its
 * fields are those of the store: the tier copies the ticket and returns it once. */
typedef struct cellar_tier_ticket {
    uint32_t generation;       /* of the namespace at the request                                 */
    uint32_t reserved;         /* used by the library alone                                       */
    uint64_t changes, globs;   /* as a back-fill compares them                                    */
    uint64_t id, check;        /* the lease that waits for the answer                             */
    uint64_t born;             /* epoch of tags at the request                                    */
} cellar_tier_ticket;

/* A lease over processes: filled by `lease`, used by `fill` or `unlease`. It holds no memory. */
typedef struct cellar_tier_lease {
    uint64_t opaque[2];        /* of the tier                                                     */
} cellar_tier_lease;

/* One key of `lease_many`: arguments and results of one `lease`. */
typedef struct cellar_tier_claim {
    cellar_tier_key   key;         /* in                                                          */
    cellar_tier_entry e;           /* in: as for `lease`; out                                     */
    cellar_tier_lease l;           /* out                                                         */
    cellar_err        err;         /* out: the code of `lease`                                    */
    uint32_t          reserved;    /* 0                                                           */
} cellar_tier_claim;

/* FUNCTIONS OF A TIER
 * An entry for each function of cellar_tier_table, and for two of cellar_tier_host. What all
 * functions of a table share stands before that struct: ownership, threads, codes of a change.
 *
 * TIER GET. Copy the value of a key. Required.
 * in        k: the key; buf: room for buf_cap bytes; e->flags: CELLAR_TIER_FRESH or 0
 * out       *value_len: bytes of the value, and *e, both with OK and E_BUFFER
 * returns   OK; ABSENT (the key is known to have no value); MISS; E_BUFFER (buf is too small); an
 *           error, which is a miss, but with FRESH the code of the change. After E_TIMEOUT a load
 *           asks the tier nothing more, and memory does not keep its value
 * blocks    as long as the call of the program may wait. Equal gets of other threads wait for its
 *           end: it must not wait for another get of the namespace
 * note      a read without a proof, or of a version, passes by memory: an entry there that
 *           differs from the reply ends (REMOTE)
 *
 * TIER EXAMPLE. The function `get` of a tier that is a table of rows in the program:
 *
 *     cellar_err my_get(void *ctx, const cellar_tier_key *k, void *buf,
 *                       size_t cap, size_t *len, cellar_tier_entry *e)
 *     {
 *         const struct row *row = table_find(ctx, k->bytes, k->len);
 *         if (row == NULL) return CELLAR_ABSENT;
 *         *len = row->len;
 *         e->deadline_ms = INT64_MAX;  // no TTL
 *         e->check = row->version;     // never 0
 *         if (row->len > cap) return CELLAR_E_BUFFER;
 *         memcpy(buf, row->text, row->len);
 *         return CELLAR_OK;
 *     }
 *
 * TIER GET MANY. Read several keys, with all requests sent together.
 * in        gets: count keys, each as for `get`. 2 to 128 of cellar_get_many, which may be equal;
 *           1 to 32 of a bulk load
 * out       of each element: err, the code of `get`; value_len and e, with OK and E_BUFFER
 * blocks    as long as the call of the program may wait
 * default   NULL: one `get` for each key
 *
 * TIER ASK. Begin a get, for cellar_lease_acquire. The tier ends it with `answered` of the host.
 * in        k: copy the key; ticket: copy it, and return it once
 * returns   true: `answered` follows, also before the return; false: the tier cannot answer now
 * blocks    no: cellar_lease_acquire must not wait
 * default   NULL: `get` is called instead: it must not block then
 *
 * TIER PUT AND REMOVE. Store a value, or delete a key. Both are required.
 * in        k; value of value_len bytes; e: fields of the entry. e of `remove`: NULL, or with
 *           CELLAR_TIER_IF_CHECK
 * out       e->check of `put` after OK: the new state
 * returns   a code of a change, see cellar_tier_table. With CELLAR_TIER_IF_CHECK also CONFLICT:
 *           the key has another state, memory and tier are unchanged, and e->check is not set
 * blocks    as long as the call of the program may wait
 *
 * TIER ADD. Add to a counter in the tier.
 * in        delta; *number: the initial value; e: fields of a new counter, or NULL: none is made
 * out       *number: the sum, with OK
 * returns   a code of a change, see cellar_tier_table; E_TYPE (the value is no counter), E_RANGE
 *           (the sum is no int64); MISS (no counter, and e is NULL)
 * blocks    as long as the call of the program may wait
 * default   NULL: the store adds by `get` and `put` with IF_CHECK. A counter then is a value of 8
 *           bytes, int64, little-endian
 *
 * TIER CLEAR, TAG AND PATTERN. Invalidate entries in all processes: all of the namespace, those
 * with a tag, those with a key that matches a pattern of cellar_delete_by_pattern.
 * in        mode of `tag`: CELLAR_TAG_HARD or CELLAR_TAG_SOFT
 * returns   a code of a change, see cellar_tier_table. Memory of the store follows
 * blocks    as long as the call of the program may wait
 *
 * TIER LEASE. Ask for the lease of a key before its loader runs. It needs `fill` and `unlease`.
 * in        hold_ms: time of the lease; e->flags: 0, or CELLAR_TIER_REFRESH with the end of the
 *           old value in e->deadline_ms
 * out       *l, with LEASED; e->deadline_ms, with PENDING: when the caller asks again
 * returns   LEASED (the caller holds *l); PENDING (another process holds one: the caller asks
 *           again at that time, or when `changed` of the key wakes it); OK, ABSENT (there is a
 *           live value, of REFRESH one that ends later: `get` follows). Another code: the load
 *           runs without a lease, and the tier gets no value; after E_BUSY, E_LIMIT and E_TIMEOUT
 *           memory does not keep it either
 * blocks    as long as the call of the program may wait
 * note      without REFRESH, `changed` need not report a delete just before LEASED: if memory has
 *           a fresh entry by then, the store ends it, releases the lease and asks again
 * default   NULL: one load for each process
 *
 * TIER LEASE MANY. Ask for the leases of several keys of a bulk load, with all requests sent
 * together.
 * in        claims: 2 to 32 keys, each as for `lease`; hold_ms of all
 * out       of each element: err, the code of `lease`; l, with LEASED; e->deadline_ms, with PENDING
 * blocks    as long as the call of the program may wait
 * default   NULL: one `lease` for each key
 *
 * TIER FILL AND UNLEASE. End a lease: with the loaded value, or without one.
 * in        l: from `lease` or `ask_lease`; value of value_len bytes; e: fields of the entry
 * returns   of `fill`: a code of a change, see cellar_tier_table; INVALIDATED (the lease is lost:
 *           nothing is stored)
 * blocks    as long as the call of the program may wait
 * note      with `blind_fill` the store calls `unlease` instead if it knows of a change of the
 *           key since the load began, and its own changes of the key reach the tier behind the
 *           end of `fill`
 *
 * TIER ASK LEASE. Begin what `get`, and if there is no value then `lease` do, for
 * cellar_lease_acquire. The tier ends it with `answered` of the host. It needs `lease` and `ask`.
 * in        k: copy the key; hold_ms: time of the lease; ticket: copy it, and return it once
 * returns   true: `answered` follows; false: the tier cannot answer now
 * answer    as of `ask`; LEASED: value is the cellar_tier_lease; PENDING. entry->deadline_ms: the
 *           end of the granted lease, or the time of the next question
 * blocks    no
 * note      the store fills or releases a granted lease, also if no acquire takes the lease in its
 *           time, and behind a drop of the namespace. A lease that no acquire took before the store
 *           closes ends by its time
 * default   NULL: one load by leases of the host in each process
 *
 * TIER TICK. Work in the background. A table with `tick` is a queue of writes, such as that of
 * cellar_namespace_batch.
 * in        budget_us: time for this call
 * returns   true: more work is left
 * calls     the store calls attached, get, put, remove, tick and close. `put` and `remove` get
 *           the sets, updates, increments and deletes of calls, not loaded, touched or negative
 *           values. Their E_BUSY: no room; the store asks again for 1 s, then memory loses the
 *           key. `get` finds a write that waits; ABSENT: a delete. `put` has tag_fp, not the texts
 *           of tags, and `get` returns them
 * host      the queue calls now_ms, changed, alloc and release
 * default   NULL: the tier has entries, not writes
 *
 * TIER ANSWERED. Answer a ticket of `ask` or `ask_lease` once, from any thread, also inside
 * `ask`.
 * in        ticket and key of the question; err, value and entry: as `get` returns them. entry is
 *           NULL with MISS and errors, and only then
 * effect    errors count as those of `lease`. An answer after the wait of its caller ended has no
 *           effect
 *
 * TIER PROVEN. With `proof`, let memory answer before a time, not at it.
 * in        until_ms by now_ms; 0: not at all; below 0: the same, also without `proof`
 * effect    after that time, also without `proof`, the waits of loads for other processes end;
 *           see alone_ms of cellar_tier_table */

/* Functions that the tier may call, from `attached` until `close` returns, from any thread, several
 * at a time, also inside a function of the table. The first argument is `ctx`. They take short
 * locks and do not wait for a loader or a tier. `answered`, `changed`, `ended` and `tag_ended` may
 * call listeners. Pointers that they get are only read until they return. */
typedef struct cellar_tier_host {
    size_t      struct_size;   /* set by the store                                                */
    void       *ctx;           /* given to each function of the host                              */
    const char *name;          /* of the namespace; "": the root. Ends with a zero byte           */
    int64_t   (*now_ms)(void *ctx); /* clock of the store                                         */
    uint64_t  (*tag_fp)(void *ctx, const void *tag, size_t len); /* fingerprint of a tag          */
    /* Report a change of a key by another process: memory loses the entry (cause REMOTE), running
     * loads of the key store nothing. The table is not called. */
    void      (*changed)(void *ctx, const void *key, size_t len);
    /* Invalidate all entries of the namespace in O(1), and all replies on their way into memory.
     * The table is not called. mode: CELLAR_TAG_HARD; SOFT, with PROOF_STALE: the entries stay as
     * stale values, else as HARD. */
    void      (*ended)(void *ctx, uint32_t mode);
    /* Invalidate all entries of the store with a tag: cellar_delete_by_tag, without the table. */
    void      (*tag_ended)(void *ctx, const void *tag, size_t len, uint32_t mode);
    /* Raise the epoch of the store, and return it: loads and sets that begin from now on have it or
     * a higher one in `born`, all earlier ones a lower one. */
    uint64_t  (*epoch)(void *ctx);
    /* With `proof`: let memory answer before a time; see TIER PROVEN. */
    void      (*proven)(void *ctx, int64_t until_ms);
    /* End a get or a lease that `ask` or `ask_lease` began; see TIER ANSWERED. */
    void      (*answered)(void *ctx, const cellar_tier_ticket *ticket, const cellar_tier_key *key,
                          cellar_err err, const void *value, size_t value_len,
                          const cellar_tier_entry *entry);
    /* Allocate memory inside the budget of the store; NULL: none left. */
    void     *(*alloc)(void *ctx, size_t size);
    /* Free memory of alloc; `size` as allocated. */
    void      (*release)(void *ctx, void *p, size_t size);
    const void *store;         /* equal for all namespaces of one store; only to be compared      */
    uint64_t    max_value_bytes; /* of the store: a set of a longer value returns E_TOOBIG        */
    /* Return the shorter one of hard_timeout_ms and wait_timeout_ms of the namespace: the end of a
     * process with a lease is found earlier, so that the loads which wait for it go on. */
    int64_t   (*patience_ms)(void *ctx);
} cellar_tier_host;

/* The table of a tier, for one namespace: cellar_tier_attach takes it. A function may be NULL
 * unless "required". The first argument is `ctx`.
 * in:      keys, values, entries and texts are valid until the function returns
 * returns: codes of a change (put, remove, clear, tag, pattern): OK; DEFERRED (the tier will delete
 *          the old value later, and the call of the program returns DEFERRED); a negative code,
 *          which the call returns. After DEFERRED and after an error memory does not have the value
 * owns:    ctx belongs to the tier: `close` frees it. Nothing that a function gets is kept
 * thread:  the thread of the call that needs the tier, a thread of the store, or a tick; several at
 *          a time; no lock of the store is held. A function may block for as long as the call of
 *          the program may wait. It may call the host, and must not wait for another call of its
 *          namespace. Threads of the store have the default stack of the process, or host option
 *          stack_bytes
 * cost:    the call of the program waits for it                                                  */
typedef struct cellar_tier_table {
    size_t      struct_size;     /* set by cellar_tier_table_default()                            */
    void       *ctx;             /* given to each function of the table                           */
    int64_t     max_ttl_ms;      /* longest life of an entry in memory. Range 1..2^63 - 1 ms.     */
                                 /* Default 0: no limit                                           */
    cellar_tier_proof proof;     /* what memory answers without a proof. Default NONE             */
    uint32_t    blind_fill;      /* 1: a change does not end the lease of a load; see `fill`      */
    /* Take the host, valid until `close` returns. Not OK: the attach fails with that
     * code, and no other function of the table is called. Required. */
    cellar_err (*attached)(void *ctx, const cellar_tier_host *host);
    /* Copy the value of a key; see TIER GET. Required. */
    cellar_err (*get)(void *ctx, const cellar_tier_key *k, void *buf, size_t buf_cap,
                      size_t *value_len, cellar_tier_entry *e);
    /* Read several keys at a time; see TIER GET MANY. Default NULL: by `get`. */
    void       (*get_many)(void *ctx, cellar_tier_get *gets, size_t count);
    /* Begin a get that must not wait; see TIER ASK. Default NULL: `get` does not wait. */
    bool       (*ask)(void *ctx, const cellar_tier_key *k, const cellar_tier_ticket *ticket);
    /* Store a value; see TIER PUT AND REMOVE. Required. */
    cellar_err (*put)(void *ctx, const cellar_tier_key *k, const void *value, size_t value_len,
                      cellar_tier_entry *e);
    /* Delete a key; see TIER PUT AND REMOVE. Required. */
    cellar_err (*remove)(void *ctx, const cellar_tier_key *k, const cellar_tier_entry *e);
    /* Add to a counter in the tier; see TIER ADD. Default NULL: by `get` and `put`. */
    cellar_err (*add)(void *ctx, const cellar_tier_key *k, int64_t delta, int64_t *number,
                      const cellar_tier_entry *e);
    /* Invalidate all entries of the namespace in all processes. Memory of the store follows. */
    cellar_err (*clear)(void *ctx);
    /* Invalidate all entries with a tag in all processes. Memory of the store follows. */
    cellar_err (*tag)(void *ctx, const void *tag, size_t len, uint32_t mode);
    /* Delete all keys that match a pattern of cellar_delete_by_pattern. */
    cellar_err (*pattern)(void *ctx, const char *pattern, size_t len);
    /* Ask for the lease of a key before its loader runs; see TIER LEASE. Default NULL: none. */
    cellar_err (*lease)(void *ctx, const cellar_tier_key *k, int64_t hold_ms,
                        cellar_tier_entry *e, cellar_tier_lease *l);
    /* Store the loaded value of a lease; see TIER FILL AND UNLEASE. */
    cellar_err (*fill)(void *ctx, const cellar_tier_key *k, const cellar_tier_lease *l,
                       const void *value, size_t value_len, cellar_tier_entry *e);
    /* Release a lease without a value; see TIER FILL AND UNLEASE. */
    void       (*unlease)(void *ctx, const cellar_tier_key *k, const cellar_tier_lease *l);
    /* Free the tier: the store closes, and no call of the table runs or follows. */
    void       (*close)(void *ctx, int64_t deadline_ms);
    /* Close descriptors in a forked child, which makes no other call of the table. Threads that the
     * child lacks may hold any lock: take none, allocate nothing. */
    void       (*forked)(void *ctx);
    /* Begin a lease that must not wait; see TIER ASK LEASE. Default NULL: none. */
    bool       (*ask_lease)(void *ctx, const cellar_tier_key *k, int64_t hold_ms,
                            const cellar_tier_ticket *ticket);
    /* Ask for several leases at a time; see TIER LEASE MANY. Default NULL: by `lease`. */
    void       (*lease_many)(void *ctx, cellar_tier_claim *claims, size_t count, int64_t hold_ms);
    int64_t     alone_ms;        /* a load waits for no other process when the last `proven` has
                                  * ended so long ago. Range 1..2^63 - 1 ms. Default 0: it waits
                                  * no longer than the proof                                      */
    /* Write in the background; see TIER TICK. Default NULL: the tier is no queue. */
    bool       (*tick)(void *ctx, uint64_t budget_us);
} cellar_tier_table;
CELLAR_STRUCT(cellar_tier_table, tick);

/* ---- Calls ----------------------------------------------------------------------------------- */

/* Attach a tier to a namespace: from now on the calls of the namespace use it. The entries in
 * memory are invalidated as by cellar_clear, but `clear` of the tier is not called.
 * in:      c: a namespace without a tier; t: the table, from cellar_tier_table_default, copied
 * returns: OK; E_INVAL (a required function is missing, a value is out of range), E_UNSUPPORTED
 *          (also: a hidden namespace), E_BUSY (the namespace has a tier, or the disk: open it with
 *          tier CELLAR_TIER_L1), E_LIMIT (the store has too many tiers), E_NOMEM (the system gave
 *          no memory); or the code of `attached`
 * owns:    OK: the store uses ctx until `close` returns. Else ctx stays that of the caller, and
 *          `close` is not called. There is no detach: a tier that has lost its server for good
 *          answers MISS and errors until `close`
 * thread:  any; not inside a callback
 * cost:    one allocation, and the cost of cellar_clear
 * example: cellar_tier_attach(users, &t);                                                        */
CELLAR_API cellar_err cellar_tier_attach(cellar *c, const cellar_tier_table *t);

#ifdef __cplusplus
}
#endif

#endif
