/* SPDX-License-Identifier: MIT
 *
 * l1: the in-memory level: keys, values and deadlines under one hard byte budget.
 *
 * PICTURE    cache -> l1_get, l1_put, .. -> index + log      README.md, types.h
 *                 <- hooks: commit, left, ended, generation_alive, tags_valid, ..
 *            L1 knows no namespaces, loads or disk. An entry belongs to a 32-bit `generation`: the
 *            generation of its namespace. Other floors learn of changes through the hooks.
 * INVARIANTS Results: CELLAR_OK, CELLAR_MISS, CELLAR_ABSENT (a live negative entry), CELLAR_STALE
 *            (only with L1_STALE_OK), CELLAR_EXISTS, CELLAR_CONFLICT, errors named at each call.
 *            Callers check arguments; L1 asserts them: key 1..65535 bytes, hash =
 *            base_hash(hash_key, generation, key), deadlines in absolute milliseconds of the store
 *            clock, BASE_NEVER_MS = none.
 * LOCKING    Any thread may call any function at any time between l1_open and l1_close.
 *            hooks.evicted, left and scan callbacks run without a lock. commit, generation_alive
 *            and tags_valid run under locks: they must not block, allocate or call back. */
#ifndef L1_L1_H
#define L1_L1_H

#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/port.h"
#include "cellar.h"
#include "cellar_object.h"
#include "l1/manage.h"

/* A lookup key. */
typedef struct l1_key {
    const void *bytes;
    uint32_t len;
    uint32_t generation;
    uint64_t hash;
} l1_key;

typedef struct l1_cells l1_cells; /* objects of a store: cells, holds */
typedef struct l1_cell l1_cell;   /* one object; l1/object.h */

typedef enum l1_kind { L1_VALUE = 0, L1_NEGATIVE = 1, L1_ERROR = 2 } l1_kind;

/* Kinds of visible change, as passed to the commit hook: first those of calls that change the
 * value, last those of entries that leave by themselves. */
typedef enum l1_change {
    L1_CHANGE_SET, L1_CHANGE_DEL, L1_CHANGE_INCR, L1_CHANGE_UPDATE, L1_CHANGE_TOUCH,
    L1_CHANGE_BACKFILL, /* from a lower tier: veto allowed, raises no stamp */
    L1_CHANGE_PUBLISH,  /* result of a loader: veto allowed */
    L1_CHANGE_CLEAN,    /* no change: l1_clean; veto allowed */
    L1_CHANGE_EVICT,    /* capacity or dead generation: reads the stamp, does not raise it */
    L1_CHANGE_EXPIRE,   /* the same, past its deadline */
    L1_CHANGE_UNTAG     /* the same, a tag was invalidated */
} l1_change;

/* Why an entry ended. */
typedef enum l1_cause {
    L1_LEFT_CAPACITY, L1_LEFT_EXPIRED, L1_LEFT_REPLACED, L1_LEFT_DELETED,
    L1_LEFT_CLEARED, /* its generation is dead */
    L1_LEFT_TAG      /* tags_valid judged it dead */
} l1_cause;

/* An entry that ended, handed over once, without locks, its bytes still in place. Pointers are
 * valid until the hook returns. */
typedef struct l1_left {
    const void *key;
    size_t key_len;
    const void *value;
    size_t value_len;
    uint64_t hash;
    uint64_t stamp;      /* *stamp of hooks.commit in the unlinking window */
    int64_t deadline_ms; /* BASE_NEVER_MS: none */
    int64_t expires_ms;  /* idle time applied */
    int64_t stale_ms;
    uint64_t version, l2_addr; /* 0: none */
    uint64_t tag_born;
    const void *tag_fps; /* tag_count unaligned u64 */
    uint32_t tag_count;
    uint32_t generation, user_flags, idle_ms;
    l1_cause cause;
    uint8_t kind, cost, fails, uses; /* uses: the 2-bit counter; 0: no request */
    const void *block; /* of the value; NULL: it has none, or the old value of a change */
    l1_cell *cell;     /* of an object: then value is NULL, value_len its charge; else NULL */
} l1_left;

typedef struct l1_hooks {
    void *ctx;
    /* Approve a visible change inside the odd window of the primary bucket of the key. Called for
     * every change, and for the delete of an absent key. True: continue. False: veto. Only
     * BACKFILL, PUBLISH, SET, INCR, UPDATE and CLEAN may be vetoed. After a veto nothing has
     * changed, and the call returns CELLAR_CONFLICT. *stamp is passed to `left` and to the
     * caller. */
    bool (*commit)(void *ctx, uint64_t hash, uint32_t generation, const void *key, size_t key_len,
                   l1_change change, uint64_t *stamp);
    /* While this word is 0, commit of a SET does nothing but ask generation_alive, commit of an
     * entry that leaves by itself does nothing, and both stamp 0: L1 does not call commit for them.
     * Read in the window. NULL: commit is always called. */
    const _Atomic uint32_t *informs;
    /* Note that an entry ended without a call (CAPACITY, EXPIRED, CLEARED, TAG). Called in its
     * window, after commit. Must not block. NULL: not called. born_ms: opening time of its segment.
     * uses: the 2-bit counter. */
    void (*ended)(void *ctx, uint64_t hash, uint32_t generation, l1_cause cause, int64_t born_ms,
                  unsigned uses);
    /* Prefetch what `ended` will write to: this entry may end next. NULL: not called. */
    void (*soon)(void *ctx, uint64_t hash);
    /* Receive an entry that was evicted, before `left`. May call l1 again. Called only while
     * l1_want_evicted is on. */
    void (*evicted)(void *ctx, const l1_left *what);
    /* Receive an entry that ended (l1_left). May call l1 again. Called only while l1_want_left is
     * on. */
    void (*left)(void *ctx, const l1_left *what);
    /* Return why an entry of an object ended, as free_fn hears it. Without locks. */
    unsigned (*cause)(void *ctx, l1_cause cause, uint32_t generation);
    /* Return whether a generation is current. Called under a lane lock; O(1). NULL: all are. */
    bool (*generation_alive)(void *ctx, uint32_t generation);
    /* Return the share that counts entries of this generation: 1..L1_QUOTAS; 0: none. Called in
     * windows; O(1), no lock. NULL: there are no shares. */
    unsigned (*quota_of)(void *ctx, uint32_t generation);
    /* Return the number of the namespace, for the advisor and for bounds of entries, below
     * L1_NAMESPACES; L1_NO_NAMESPACE: dropped. O(1), no lock. NULL: no namespaces. */
    uint32_t (*namespace_of)(void *ctx, uint32_t generation);
    /* Judge the tags of an entry: 0 valid, 1 soft-invalid (stale), 2 dead. Optimistic readers call
     * it too: fps may be torn, count <= 255. */
    int (*tags_valid)(void *ctx, uint64_t born, const void *fps, uint32_t count);
    /* tags_valid finds 0 for what was born at this number or later, and is not called for it.
     * NULL: it is always called. */
    const _Atomic uint64_t *tag_epoch;
    /* Return when a tag first ended what was born at `born`, as far as known; BASE_NEVER_MS: never.
     * Called like tags_valid, for entries past their time. NULL: not known. */
    int64_t (*tags_ended)(void *ctx, uint64_t born, const void *fps, uint32_t count);
    /* Return whether a change of this key is about to be written to disk. Then eviction keeps the
     * entry if the log has room. Called under a lane lock, for entries with L1_ADDR_LATER.
     * NULL: no. */
    bool (*writing)(void *ctx, uint64_t hash, uint32_t generation, const void *key, size_t key_len);
    /* Return l1_few_hit of all requests, if the program asks for keys before it stores them: else
     * no rule can be judged by its hits. Called when the first shadow cache is full; takes no lock.
     * NULL: the sampled requests tell. */
    bool (*few_hit)(void *ctx);
} l1_hooks;

/* Return whether nearly all requests missed while the store filled. */
BASE_INLINE bool l1_few_hit(uint64_t hits, uint64_t requests) { return hits * 10 < requests; }

typedef enum l1_huge { L1_HUGE_LATER = 0, L1_HUGE_NOW = 1, L1_HUGE_NEVER = 2 } l1_huge;

typedef struct l1_config {
    base_account *account;         /* limit = the budget; outlives l1 */
    const base_hash_key *hash_key; /* outlives l1 */
    const base_clock *clock;       /* outlives l1 */
    l1_hooks hooks;
    uint64_t max_entries;          /* 0: bounded by the budget only */
    uint64_t max_value_bytes;      /* 0: min(64 MiB, budget / 2); at most 2^30 - 1 */
    uint32_t mean_entry_bytes;     /* 0: 256; at least 16; sizes stripes and ghosts at open */
    uint32_t stripes;              /* 0: 64, clamped to the capacity; else a power of two <= 1024 */
    uint32_t seg_bytes;            /* 0: chosen from the budget; tests: a power of two >= 512 */
    l1_policy policy;
    uint8_t huge_pages; /* L1_HUGE_... */
    bool no_advisor;   /* else on from 16 MiB, with the adaptive policy */
    bool favor_objects; /* prefer many small entries to few large ones */
    bool no_due_first; /* do not evict expired entries before live ones */
} l1_config;

/* Open a level. CELLAR_E_NOMEM: an allocation or reservation failed; all is released.
 * CELLAR_E_INVAL: the budget is too small for the tables (below 1 MiB with default sizes). */
CELLAR_PRIVATE cellar_err l1_open(const l1_config *cfg, l1 **out);
/* Close a level. No other call may run, and no pin may be held. NULL accepted. Hands over no
 * entry. */
CELLAR_PRIVATE void l1_close(l1 *c);

/* ---- reading ------------------------------------------------------------------------------- */
#define L1_PEEK 1u     /* not a use: keeps counter and idle time */
#define L1_STALE_OK 2u /* inside the stale window: CELLAR_STALE with the value, else MISS */
#define L1_SEE_ERRORS 4u /* a remembered error (L1_ERROR) is ABSENT; else it is a miss */
#define L1_NOT_DUE 8u /* a value past its refresh time is a miss; l1_get_load and l1_pin only */

/* Copy min(buf_cap, length) bytes of the value; *value_len is the full length. CELLAR_E_BUFFER: it
 * does not fit (value_len set; a NULL buf with buf_cap 0 asks for the length). `buf` is undefined
 * except after OK and STALE. CELLAR_E_LIMIT: no pin slot for an oversized value. */
CELLAR_PRIVATE cellar_err l1_get(l1 *c, const l1_key *k, void *buf, size_t buf_cap,
                                 size_t *value_len, unsigned flags);

/* Where a read that was no plain hit found the fingerprint of its key. */
typedef struct l1_found {
    struct l1_bucket *primary, *b; /* b NULL: nowhere, and nothing else is set */
    uint32_t ver; /* of `primary`, before the look */
    unsigned i;
} l1_found;
/* Read like l1_get_marked, after l1_hit (read.h) returned false and set at->b. */
CELLAR_PRIVATE bool l1_hit_marked(l1 *c, const l1_key *k, const l1_found *at, void *buf,
                                  size_t buf_cap, size_t *value_len);
/* Read for a load, after l1_get_plain returned false. seen: its *value_len. *user_flags,
 * *value_len: with OK. */
CELLAR_PRIVATE cellar_err l1_get_load(l1 *c, const l1_key *k, size_t seen, void *buf,
                                      size_t buf_cap, size_t *value_len, uint32_t *user_flags);
/* Read a plain hit only, for any key. False proves nothing; then *value_len is 0 if no record had
 * the fingerprint of the key. */
CELLAR_PRIVATE bool l1_get_plain(l1 *c, const l1_key *k, void *buf, size_t buf_cap,
                                 size_t *value_len);
/* Read a hit with any of tags, user flags and a place on disk, and no other field; *user_flags:
 * NULL: not wanted. False proves nothing. */
CELLAR_PRIVATE bool l1_get_marked(l1 *c, const l1_key *k, void *buf, size_t buf_cap,
                                  size_t *value_len, uint32_t *user_flags, unsigned flags);
/* Read like l1_hit. No entry is a hit at end_ms or later, whatever its deadline. */
CELLAR_PRIVATE bool l1_hit_before(l1 *c, const base_thread_record *self, const void *key,
                                  uint32_t key_len, uint32_t generation, uint64_t hash, void *buf,
                                  size_t buf_cap, size_t *value_len, int64_t end_ms);

typedef struct l1_life {
    int64_t deadline_ms; /* BASE_NEVER_MS: none */
    int64_t born_ms;     /* opening time of its segment */
} l1_life;
/* Read a plain hit only, for any key, with the times that l1_inspect reports of it. False proves
 * nothing. A plain record has no other field: no tags, flags, version, refresh time. Either way the
 * request is sampled. */
CELLAR_PRIVATE bool l1_hit_life(l1 *c, const l1_key *k, void *buf, size_t buf_cap,
                                size_t *value_len, l1_life *life);

/* Return whether an entry of this key may exist. False: none existed at the look. A hint. */
CELLAR_PRIVATE bool l1_tagged(const l1 *c, const l1_key *k);
/* Result of a short path: only DONE stored the value. VETOED: the commit hook refused. */
typedef enum l1_over_done {
    L1_OVER_NOT, L1_OVER_DONE, L1_OVER_VETOED, L1_OVER_ABSENT
} l1_over_done;
/* Overwrite in place a plain entry of the same padded size, as l1_put with L1_CHANGE_SET. Any key
 * length. now_ms: the time if the caller has read it, else INT64_MAX. ABSENT: call l1_set_new. NOT,
 * VETOED: call l1_put. */
CELLAR_PRIVATE l1_over_done l1_set_hit(l1 *c, const l1_key *k, const void *value,
                                       size_t value_len, int64_t deadline_ms, int64_t now_ms);
/* Store a plain entry of an absent key, after l1_tagged returned false or l1_set_hit ABSENT. False:
 * nothing is stored; call l1_put. */
CELLAR_PRIVATE bool l1_set_new(l1 *c, const l1_key *k, const void *value, size_t value_len,
                               int64_t deadline_ms);

/* Report a plain miss: true means CELLAR_MISS of l1_get. False proves nothing. */
CELLAR_PRIVATE bool l1_none(l1 *c, uint64_t hash);
/* Read like l1_get, without the plain hit that l1_hit has just tried. *user_flags: 0 without a
 * value; NULL: not wanted. */
CELLAR_PRIVATE cellar_err l1_get_rest(l1 *c, const l1_key *k, void *buf, size_t buf_cap,
                                      size_t *value_len, uint32_t *user_flags, unsigned flags);

/* Read the items with a bit in `which`, of 0..n-1, n <= 32, of one generation, in three passes. Set
 * status, value_len and user_flags as single calls would. Return the bits of the plain hits
 * (CELLAR_OK), and those of plain misses in *none. */
CELLAR_PRIVATE uint32_t l1_get_many(l1 *c, uint32_t generation, cellar_get_item *items, uint32_t n,
                                    uint32_t which, unsigned flags, uint32_t *none);
/* Read all items one after the other: cheaper for one or two. */
CELLAR_PRIVATE uint32_t l1_get_few(l1 *c, uint32_t generation, cellar_get_item *items, uint32_t n,
                                   uint32_t *none);
/* Prefetch buckets, then records, for set_many and delete_many; n <= 32. A hint. */
CELLAR_PRIVATE void l1_prefetch_many(l1 *c, const l1_key *keys, size_t n);

typedef struct l1_pin_ref {
    const void *value;
    size_t value_len;
    int64_t deadline_ms;
    int64_t born_ms; /* as in l1_info; set by l1_pin alone */
    uint32_t user_flags;
    uint32_t slot; /* for l1_unpin_slot; UINT32_MAX: nothing is pinned */
} l1_pin_ref;
/* Pin a plain record on the short path. False proves nothing: call l1_pin. */
CELLAR_PRIVATE bool l1_pin_hit(l1 *c, const base_thread_record *self, const void *key,
                               uint32_t key_len, uint32_t generation, uint64_t hash,
                               l1_pin_ref *out);
/* Pin like l1_pin_hit, which serves the one caller that needs the shortest path. */
CELLAR_PRIVATE bool l1_pin_key(l1 *c, const l1_key *k, l1_pin_ref *out);
/* Keep the bytes in place until l1_unpin_slot (by any thread). CELLAR_E_LIMIT: no free slot. */
CELLAR_PRIVATE cellar_err l1_pin(l1 *c, const l1_key *k, l1_pin_ref *out, unsigned flags);
/* Keep the bytes of a value that left in place beyond the hook, until l1_unpin_slot(*slot_index).
 * False: the value has no block of its own, or all pin slots are in use. Hold a few of them at a
 * time: gets use the same slots. */
CELLAR_PRIVATE bool l1_pin_left(l1 *c, const l1_left *what, uint32_t *slot_index);
CELLAR_PRIVATE void l1_unpin_slot(l1 *c, uint32_t slot_index); /* ref->slot, once */
/* Make a block for `len` bytes of a value and pin it. A set of exactly these bytes takes the block.
 * OK; E_LIMIT (no free slot), E_SPACE, E_NOMEM. */
CELLAR_PRIVATE cellar_err l1_reserve(l1 *c, size_t len, l1_pin_ref *out);
/* Unpin a block of l1_reserve; free it unless a set has taken it. */
CELLAR_PRIVATE void l1_reserve_end(l1 *c, const void *value, uint32_t slot_index);

typedef struct l1_info {
    size_t value_len;
    int64_t deadline_ms; /* absolute, idle not applied; BASE_NEVER_MS: none */
    int64_t expires_ms;  /* what a get compares: idle applied */
    int64_t born_ms;     /* exact when born_exact, else opening time of its segment */
    int64_t idle_ms, stale_ms; /* 0: none */
    uint64_t version;    /* 0: none stored */
    uint64_t l2_addr, charge;
    uint32_t user_flags, generation, retry_at, loader_code, tag_count;
    uint8_t kind, fails, cost, uses;
    bool born_exact, stale, object; /* object: value_len is its charge */
    /* identity for L1_IF_SAME */
    uint64_t at;
    uint32_t seq;
} l1_info;
/* Read all fields of an entry. OK, STALE, ABSENT fill *out (ABSENT: of the negative entry). flags
 * as for l1_get. If buf is NULL, nothing is copied and E_BUFFER does not occur. */
CELLAR_PRIVATE cellar_err l1_inspect(l1 *c, const l1_key *k, void *buf, size_t buf_cap,
                                     l1_info *out, unsigned flags);
/* Read a plain entry of at most 1 KiB for a put with L1_IF_SAME: true means CELLAR_OK of
 * l1_inspect, and *out has value_len and the identity only. False proves nothing: call
 * l1_inspect. */
CELLAR_PRIVATE bool l1_inspect_hit(l1 *c, const l1_key *k, void *buf, size_t buf_cap, l1_info *out);
/* Return the use counter of an entry, 0..3, and set it to 0. Without an entry: 0. */
CELLAR_PRIVATE unsigned l1_uses_take(l1 *c, const l1_key *k);
/* Copy the hashes of the tags of an entry, expired or not, and the time they count from. Return
 * their count, at most 16. */
CELLAR_PRIVATE uint32_t l1_tags_of(l1 *c, const l1_key *k, uint64_t *fps, uint64_t *born);
/* Return the version of an entry; assign one if it has none (rewrites the record once). OK, MISS,
 * ABSENT; E_SPACE. */
CELLAR_PRIVATE cellar_err l1_version(l1 *c, const l1_key *k, uint64_t *version);

/* ---- writing ------------------------------------------------------------------------------- */
#define L1_IF_ABSENT 1u  /* a live entry: CELLAR_EXISTS. Negative entries count as absent */
#define L1_IF_PRESENT 2u /* no entry, or a negative one: CELLAR_MISS */
#define L1_IF_VERSION 4u /* other version, none stored, or absent: CELLAR_CONFLICT */
#define L1_IF_SAME 8u    /* other bytes, user flags or tags than in `same`: CELLAR_CONFLICT */
#define L1_KEEP_OLD 16u  /* a set that fails keeps the old value */
#define L1_KEEP_TTL 32u  /* take deadline, stale and idle fields from the live value it replaces */
#define L1_WANT_VERSION 64u /* store a version and return it */
#define L1_WANT_BORN 128u   /* store the exact birth time */
#define L1_OBJECT 256u      /* `value` is a cell, of which the caller has a count, value_len its */
                            /* charge. NULL: the put fails with the error in loader_code */

/* `fails` of a value. With either retry_at and loader_code are one time, ms: low and high word. */
#define L1_REFRESH_AT 1u    /* a load refreshes the value from this time on */
#define L1_REFRESH_PAUSE 2u /* the same, after a refresh that failed */

/* What a change ended. Negative entries are live, too. */
typedef enum l1_gone {
    L1_GONE_NOTHING, L1_GONE_VALUE, L1_GONE_NEGATIVE, L1_GONE_EXPIRED,
    L1_GONE_TAG /* before its time was over */
} l1_gone;

typedef struct l1_times { int64_t deadline_ms, idle_ms, stale_ms; } l1_times;

typedef struct l1_put_spec {
    const void *value;
    size_t value_len;
    int64_t deadline_ms;     /* BASE_NEVER_MS: none; <= now: stored dead, allowed (tag rule) */
    uint32_t flags;          /* L1_IF_..., L1_KEEP_..., L1_WANT_..., L1_OBJECT */
    l1_change change;        /* SET, UPDATE, BACKFILL, PUBLISH */
    int64_t idle_ms;         /* 0: none; <= UINT32_MAX */
    int64_t stale_ms;        /* 0: none; <= UINT32_MAX */
    uint32_t user_flags;     /* 0: not stored */
    uint8_t kind, fails, cost; /* 0: not stored */
    uint32_t retry_at, loader_code; /* 0: not stored */
    union {
        uint64_t if_version; /* with L1_IF_VERSION */
        int64_t until_ms;    /* BACKFILL: end of the idle time; 0: idle_ms from now on */
    };
    const l1_info *same;     /* with L1_IF_SAME: the result of l1_inspect */
    const void *same_bytes;  /* and the bytes it copied (values <= 1 KiB) */
    uint64_t l2_addr;        /* 0: not stored */
    uint64_t charge;         /* bytes that count in the budget beyond those of the entry; 0: none */
    const uint64_t *tag_fps; /* tag_count hashes of tags */
    const cellar_bytes *tag_text; /* their texts; NULL: not known. Passed on, not stored */
    uint32_t tag_count;      /* <= BASE_TAGS_MAX */
    uint32_t same_tags;      /* with L1_IF_SAME: so many first ones are those of the entry; */
                             /* UINT32_MAX: its tags do not matter */
    uint64_t tag_born;
    uint64_t version;        /* out with L1_WANT_VERSION */
    const l1_times *own;     /* private: times of the call, while KEEP_TTL may have changed them */
    l1_times kept;           /* out with L1_KEEP_TTL: times of the stored entry */
    uint64_t stamp;          /* out: from hooks.commit */
    bool untagged;           /* a hint: the key has no entry */
    bool replaced;           /* out: it replaced a live value */
    l1_gone gone;            /* out: NOTHING with `replaced` stands for VALUE */
} l1_put_spec;
/* Store an entry. OK; EXISTS, MISS, CONFLICT (condition or veto; nothing changed). E_TOOBIG,
 * E_SPACE, E_NOMEM: the old value is removed unless L1_KEEP_OLD. */
CELLAR_PRIVATE cellar_err l1_put(l1 *c, const l1_key *k, l1_put_spec *p);
/* Store the object of a spec of L1_OBJECT, if the key is absent and the entry plain. The entry
 * takes the count of the caller. False: nothing is stored; call l1_put. */
CELLAR_PRIVATE bool l1_set_object(l1 *c, const l1_key *k, const l1_put_spec *p);
typedef struct l1_renewal {
    bool times;              /* renew deadline, stale window and birth; else they stay */
    int64_t deadline_ms, stale_ms;
    uint32_t retry_at, loader_code; /* as in l1_put_spec */
    uint8_t fails;           /* with times, as in l1_put_spec; else REFRESH_AT becomes _PAUSE */
    uint32_t flags;          /* with times: 0, or L1_WANT_BORN */
    int64_t idle_ms;         /* with times */
    uint64_t tag_born;       /* with times: the tags count from here on; 0: they stay */
    const uint64_t *tag_fps; /* with times: these replace the old tags, */
    uint32_t tag_count;      /* unless 0 */
} l1_renewal;
/* Store the same bytes with new fields, as a PUBLISH; also for a stale value. OK; MISS (no value,
 * not even a stale one), CONFLICT (veto), E_SPACE: nothing changed. *stamp may be NULL. */
CELLAR_PRIVATE cellar_err l1_renew(l1 *c, const l1_key *k, const l1_renewal *r, uint64_t *stamp);
#define L1_ADDR_MARK UINT64_C(1)       /* bit of an l2_addr: the mark of the tier */
#define L1_ADDR_LATER (UINT64_MAX - 3) /* l2_addr: none yet, room for one; its mark is free */
#define L1_ADDR_NEVER UINT64_MAX       /* l2_addr: stays as it is */
/* Return true if an l2_addr is L1_ADDR_LATER, with or without the mark. */
BASE_INLINE bool l1_addr_is_later(uint64_t addr)
{
    return (addr & ~L1_ADDR_MARK) == L1_ADDR_LATER;
}
/* Note that the entry lies unchanged on disk at `addr`. Needs an entry stored with an l2_addr, and
 * no veto of hooks.commit (L1_CHANGE_CLEAN). Each later change of the entry sets its l2_addr to
 * L1_ADDR_LATER and keeps the mark. */
CELLAR_PRIVATE void l1_clean(l1 *c, const l1_key *k, uint64_t addr);
CELLAR_PRIVATE uint64_t l1_max_value(const l1 *c);
/* Delete a key. OK: a live entry was removed. MISS: none (hooks.commit ran anyway). *stamp may be
 * NULL. */
CELLAR_PRIVATE cellar_err l1_del_reported(l1 *c, const l1_key *k, uint64_t *stamp, l1_gone *gone);
/* Delete the entry if it meets the L1_IF_ flags of `only_if`; else return their code. */
CELLAR_PRIVATE cellar_err l1_del_if(l1 *c, const l1_key *k, const l1_put_spec *only_if,
                                    l1_gone *gone);
/* Set an absolute deadline for a live entry, and its idle time if idle_ms >= 0 (-1: keep). OK;
 * MISS, ABSENT: nothing changed; E_SPACE: the record had to be rewritten and did not fit. *stamp
 * may be NULL. */
CELLAR_PRIVATE cellar_err l1_touch(l1 *c, const l1_key *k, int64_t deadline_ms, int64_t idle_ms,
                                   uint64_t *stamp);
/* Add `delta` to an 8-byte little-endian int64. An absent key (or negative entry) stores init +
 * delta with the fields of if_new, or returns MISS with only_if_present. E_TYPE: other length.
 * E_RANGE: saturated, the limit is stored. OK and E_RANGE set *now_value. */
CELLAR_PRIVATE cellar_err l1_incr_reported(l1 *c, const l1_key *k, int64_t delta, int64_t init,
                                           const l1_put_spec *if_new, bool only_if_present,
                                           int64_t *now_value, uint64_t *stamp, l1_gone *gone);

/* ---- objects (object.c, acquire.c, large_value.c) ------------------------------------------- */
/* Open the objects of a store. `gone` is called before and behind the end of the table.
 * NULL: no memory. */
CELLAR_PRIVATE l1_cells *l1_cells_open(base_account *account,
                                       void (*gone)(void *ctx, bool freed), void *ctx);
/* End all entries of objects, with the cause CLOSED; no other call of the level runs. Return the
 * number of objects that are still held: their last release frees them, then the table. */
CELLAR_PRIVATE uint64_t l1_cells_close(l1_cells *o);
CELLAR_PRIVATE void l1_cells_forked(l1_cells *o); /* releases do nothing any more */
CELLAR_PRIVATE uint64_t l1_cells_held(const l1_cells *o);
CELLAR_PRIVATE uint64_t l1_cells_twice(const l1_cells *o);
/* Find the number of a class of objects: OK; E_LIMIT (4,096), E_NOMEM. */
CELLAR_PRIVATE cellar_err l1_class_take(l1_cells *o, const cellar_object_config *of,
                                        uint32_t *number);
/* Return whether a class is that of free_fn and ctx. */
CELLAR_PRIVATE bool l1_class_is(const l1_cells *o, uint32_t number, const cellar_object_config *of);
/* Let the level store objects in these cells. Once, before the first object. */
CELLAR_PRIVATE void l1_cells_set(l1 *c, l1_cells *o);
/* Charge an object of a generation and make a cell with one count. E_TOOBIG, E_SPACE, E_NOMEM. */
CELLAR_PRIVATE cellar_err l1_cell_new(l1 *c, uint32_t generation, uint32_t class_number,
                                      void *object, uint64_t charge, l1_cell **out);
CELLAR_PRIVATE void l1_cell_drop(l1_cells *o, l1_cell *b); /* a count; may run free_fn */
/* Drop the only count of an object that was not accepted: free_fn does not run. */
CELLAR_PRIVATE void l1_cell_refuse(l1_cells *o, l1_cell *b);
/* Free an object that is not charged; behind a free_fn that runs, if there is memory for a cell. */
CELLAR_PRIVATE void l1_object_free(l1_cells *o, uint32_t class_number, void *object,
                                   uint64_t charge);
/* Describe a count of the caller as a hold. */
CELLAR_PRIVATE void l1_held_counted(l1_cells *o, const l1_cell *b, cellar_held *out);
/* Hold once more: OK; E_LIMIT, E_FORKED. */
CELLAR_PRIVATE cellar_err l1_hold_copy(const cellar_held *held, cellar_held *out);
CELLAR_PRIVATE void l1_hold_end(cellar_held *held); /* may run free_fn */
/* Hold the object of a plain record on the short path. False proves nothing. */
CELLAR_PRIVATE bool l1_acquire_hit(l1 *c, const l1_key *k, cellar_held *out);
/* Hold the object of a key: OK, MISS, ABSENT; E_LIMIT. */
CELLAR_PRIVATE cellar_err l1_acquire(l1 *c, const l1_key *k, cellar_held *out);
/* Read an entry like l1_inspect, and count its object: *cell, with OK and STALE. */
CELLAR_PRIVATE cellar_err l1_acquire_info(l1 *c, const l1_key *k, l1_info *out, l1_cell **cell,
                                          unsigned flags);

/* ---- walking ------------------------------------------------------------------------------- */
typedef struct l1_seen {
    const void *key;
    size_t key_len;
    const void *value;  /* NULL when not requested or longer than the buffer */
    size_t value_len;
    l1_info info;
} l1_seen;
/* STORED: every record without its value, also stale ones and remembered errors. EVERY: the keys of
 * all generations, also of those that ended; `generation` does not count. */
typedef enum l1_scan_what {
    L1_SCAN_KEYS, L1_SCAN_VALUES, L1_SCAN_STORED, L1_SCAN_EVERY
} l1_scan_what;
/* Scan up to `buckets` buckets from *cursor on (0: begin); set *cursor (0: end). Call fn without a
 * lock for each live entry of `generation`. An entry that exists during the whole scan is passed at
 * least once. fn false: stop; *cursor continues after this bucket. E_NOMEM. */
CELLAR_PRIVATE cellar_err l1_scan(l1 *c, uint64_t *cursor, size_t buckets, uint32_t generation,
                                  l1_scan_what what, bool (*fn)(void *ctx, const l1_seen *e),
                                  void *ctx);
/* Wait until hooks.evicted has returned for each entry that was evicted before the call, until
 * `until_ns` at most. */
CELLAR_PRIVATE void l1_moving_wait(l1 *c, uint64_t until_ns);

#endif
