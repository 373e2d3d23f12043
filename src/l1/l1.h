/* SPDX-License-Identifier: MIT
 *
 * l1: the in-memory level: keys, values, deadlines under one hard byte budget.
 *
 * L1 knows nothing of views, loading or disk: an entry belongs to a 32-bit `owner` (a view's
 * current vgen), and what other floors must know comes through three hooks. How it works: l1_int.h.
 * Every function may be called by any thread at any time between l1_open and l1_close.
 *
 * RESULTS    CELLAR_OK, CELLAR_MISS, CELLAR_ABSENT (a live negative entry), CELLAR_STALE (only with
 *            L1_STALE_OK), CELLAR_EXISTS, CELLAR_CONFLICT, and the errors named beside each call.
 * ARGUMENTS  are facts here, checked above: key 1..65535 bytes, hash = base_hash(hash_key, owner,
 *            key), deadlines absolute store-clock milliseconds, BASE_NEVER_MS = none.
 * USER CODE  hooks.left and scan callbacks run with no lock held; hooks.commit, owner_alive and
 *            tags_valid run inside locks and must neither block, allocate nor call back. */
#ifndef L1_L1_H
#define L1_L1_H

#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/port.h"
#include "cellar.h"

typedef struct l1 l1;

/* Who is asked for. */
typedef struct l1_key {
    const void *bytes;
    uint32_t len;
    uint32_t owner;
    uint64_t hash;
} l1_key;

typedef enum l1_kind { L1_VALUE = 0, L1_NEGATIVE = 1, L1_ERROR = 2 } l1_kind;

/* Kinds of visible change, told to the commit hook. */
typedef enum l1_change {
    L1_CHANGE_SET, L1_CHANGE_DEL, L1_CHANGE_INCR, L1_CHANGE_UPDATE, L1_CHANGE_TOUCH,
    L1_CHANGE_BACKFILL, /* from a lower tier: may be vetoed, raises no stamp */
    L1_CHANGE_PUBLISH,  /* a leader's result: may be vetoed */
    L1_CHANGE_CLEAN,    /* none: l1_clean, may be vetoed */
    L1_CHANGE_EVICT,    /* capacity or dead owner: raises no stamp, captures it */
    L1_CHANGE_EXPIRE,   /* the same, past its deadline */
    L1_CHANGE_UNTAG     /* the same, one of its tags was invalidated */
} l1_change;

/* Why an entry left. */
typedef enum l1_cause {
    L1_LEFT_CAPACITY, L1_LEFT_EXPIRED, L1_LEFT_REPLACED, L1_LEFT_DELETED,
    L1_LEFT_CLEARED, /* its owner is dead */
    L1_LEFT_TAG      /* tags_valid says that it is dead */
} l1_cause;

/* An entry that left, handed over once, after the locks are dropped, bytes still in place. Pointers
 * are valid until the hook returns. */
typedef struct l1_left {
    const void *key;
    size_t key_len;
    const void *value;
    size_t value_len;
    uint64_t hash;
    uint64_t stamp;      /* what hooks.commit returned in *stamp in the unlinking window */
    int64_t deadline_ms; /* BASE_NEVER_MS: none */
    int64_t expires_ms;  /* idle time applied */
    int64_t stale_ms;
    uint64_t version, value_hash, l2_addr; /* 0: none */
    uint64_t tag_born;
    const void *tag_fps; /* tag_count unaligned u64 */
    uint32_t tag_count;
    uint32_t owner, user_flags, idle_ms;
    l1_cause cause;
    uint8_t kind, cost, fails, uses; /* uses: the 2-bit counter; 0: never asked for */
} l1_left;

typedef struct l1_hooks {
    void *ctx;
    /* Inside the odd window of the key's primary bucket, for every visible change, also the del of
     * an absent key. True: go on. False: veto (only BACKFILL, PUBLISH, SET, INCR, UPDATE may be
     * vetoed; the call returns CELLAR_CONFLICT with nothing changed). *stamp is handed to left and
     * out. */
    bool (*commit)(void *ctx, uint64_t hash, uint32_t owner, const void *key, size_t key_len,
                   l1_change change, uint64_t *stamp);
    /* An entry leaves by itself (EVICTED, EXPIRED, CLEARED, TAG): in its window, after commit.
     * born_ms: when its segment was opened; uses: the 2-bit counter; value_hash: 0 if it has none.
     * Must not block. NULL: nobody asks. */
    void (*ended)(void *ctx, uint64_t hash, uint32_t owner, l1_cause cause, int64_t born_ms,
                  unsigned uses, uint64_t value_hash);
    /* This one may end next: what `ended` will write to is worth fetching. NULL: nothing. */
    void (*soon)(void *ctx, uint64_t hash);
    /* See l1_left; may call l1 again. Only called while l1_want_left is on, or
     * l1_want_evicted. */
    void (*left)(void *ctx, const l1_left *what);
    /* Is this owner current? Asked under the stripe lock; O(1). NULL: all are. */
    bool (*owner_alive)(void *ctx, uint32_t owner);
    /* Whose share counts this owner's entries: 1..L1_QUOTAS; 0: nobody's. In windows; O(1), no
     * lock. NULL: there are no shares. */
    unsigned (*quota_of)(void *ctx, uint32_t owner);
    /* Which of the advisor's views this owner is: below L1_NO_VIEW; or that: none any more. O(1),
     * no lock. NULL: there are none. */
    uint32_t (*view_of)(void *ctx, uint32_t owner);
    /* 0 valid, 1 soft-invalid (stale), 2 dead. Optimistic callers: fps may be torn, count <=
     * 255. */
    int (*tags_valid)(void *ctx, uint64_t born, const void *fps, uint32_t count);
    /* When one of them first ended what was born then, as far as is known; BASE_NEVER_MS: not.
     * Called as tags_valid is, for entries whose time is over. NULL: nobody knows. */
    int64_t (*tags_ended)(void *ctx, uint64_t born, const void *fps, uint32_t count);
    /* Return whether a change of this key is about to be written below: eviction keeps the entry if
     * the log has room. Asked under the stripe lock, for entries with L1_ADDR_LATER. NULL: no. */
    bool (*writing)(void *ctx, uint64_t hash, uint32_t owner, const void *key, size_t key_len);
} l1_hooks;

typedef enum l1_policy { L1_S3FIFO = 0, L1_LRU = 1, L1_FIFO = 2, L1_ADAPTIVE = 3 } l1_policy;

typedef enum l1_huge { L1_HUGE_LATER = 0, L1_HUGE_NOW = 1, L1_HUGE_NEVER = 2 } l1_huge;

typedef struct l1_config {
    base_account *account;         /* limit = the budget; outlives l1 */
    const base_hash_key *hash_key; /* outlives l1 */
    const base_clock *clock;       /* outlives l1 */
    l1_hooks hooks;
    uint64_t max_entries;          /* 0: no bound but the budget's */
    uint64_t max_value_bytes;      /* 0: min(64 MiB, budget / 2); at most 2^30 - 1 */
    uint32_t mean_entry_bytes;     /* 0: 256; at least 16; sizes stripes and ghosts at open */
    uint32_t stripes;              /* 0: 64, clamped to the capacity; else a power of two <= 1024 */
    uint32_t seg_bytes;            /* 0: chosen from the budget; tests: a power of two >= 512 */
    l1_policy policy;
    uint8_t huge_pages; /* L1_HUGE_... */
    bool no_advisor;   /* else from 16 MiB on, while the policy is adaptive */
    bool favor_objects; /* size counts: many small entries rather than few large ones */
    bool no_due_first; /* who needs room does not look for expired entries before live ones */
} l1_config;

/* CELLAR_E_NOMEM: an allocation or reservation failed, nothing is left behind. CELLAR_E_INVAL: the
 * budget is too small for the tables (below 1 MiB with default sizes). */
CELLAR_PRIVATE cellar_err l1_open(const l1_config *cfg, l1 **out);
/* No other call may be running. Pins must be gone. NULL accepted. Nothing is handed over. */
CELLAR_PRIVATE void l1_close(l1 *c);

/* ---- reading ------------------------------------------------------------------------------- */
#define L1_PEEK 1u     /* not a use: no counter, no idle renewal */
#define L1_STALE_OK 2u /* inside the stale window: CELLAR_STALE with the value, else MISS */
#define L1_SEE_ERRORS 4u /* a remembered error (L1_ERROR) is ABSENT; else as if it were not there */

/* Copy min(buf_cap, length) bytes; *value_len is the full length. CELLAR_E_BUFFER when it does not
 * fit (value_len set; a NULL buf with buf_cap 0 asks for the length). buf is undefined unless OK,
 * STALE. CELLAR_E_LIMIT: no pin slot for an oversized value. */
CELLAR_PRIVATE cellar_err l1_get(l1 *c, const l1_key *k, void *buf, size_t buf_cap,
                                 size_t *value_len, unsigned flags);

/* The plain hit alone, of a key of 8..16 bytes: true is CELLAR_OK of l1_get. False says nothing:
 * ask l1_get. For the one caller for whom every instruction counts. */
CELLAR_PRIVATE bool l1_hit(l1 *c, const base_self_t *self, const void *key, uint32_t key_len,
                           uint32_t owner, uint64_t hash, void *buf, size_t buf_cap,
                           size_t *value_len);

/* May there be an entry of this key? False: there was none when we looked. A hint. */
CELLAR_PRIVATE bool l1_tagged(const l1 *c, const l1_key *k);
/* As l1_hit is to l1_get, of any key: its entry is plain and of the same padded size, and written
 * over in place (L1_CHANGE_SET). False says nothing: ask l1_put. */
CELLAR_PRIVATE bool l1_set_hit(l1 *c, const l1_key *k, const void *value, size_t value_len,
                               int64_t deadline_ms);
/* As l1_set_hit, where l1_tagged says no: there is still none, and its plain entry is stored. */
CELLAR_PRIVATE bool l1_set_new(l1 *c, const l1_key *k, const void *value, size_t value_len,
                               int64_t deadline_ms);

/* The plain miss alone: true is CELLAR_MISS of l1_get. False says nothing. */
CELLAR_PRIVATE bool l1_none(l1 *c, uint64_t hash);
/* l1_get without the plain hit, for who has just asked l1_hit. */
CELLAR_PRIVATE cellar_err l1_get_rest(l1 *c, const l1_key *k, void *buf, size_t buf_cap,
                                      size_t *value_len, unsigned flags);

/* Items 0..n-1, n <= 32, of one owner, those whose bit is in `which`: the three-pass pipeline. Sets
 * status and value_len as single calls would; returns the bits of the plain hits (CELLAR_OK). */
CELLAR_PRIVATE uint32_t l1_get_many(l1 *c, uint32_t owner, cellar_get_item *items, uint32_t n,
                                    uint32_t which, unsigned flags);
/* Prefetch for writing: pass (a) and (b) of set_many and del_many; n <= 32. A hint. */
CELLAR_PRIVATE void l1_prefetch_many(l1 *c, const l1_key *keys, size_t n);

typedef struct l1_pin_ref {
    const void *value;
    size_t value_len;
    int64_t deadline_ms;
    uint32_t user_flags;
    uint32_t slot; /* private; UINT32_MAX after l1_unpin */
} l1_pin_ref;
/* As l1_hit is to l1_get: a plain record, pinned without detours. False says nothing: ask
 * l1_pin. */
CELLAR_PRIVATE bool l1_pin_hit(l1 *c, const base_self_t *self, const void *key, uint32_t key_len,
                               uint32_t owner, uint64_t hash, l1_pin_ref *out);
/* The bytes stay where they are until l1_unpin (any thread). CELLAR_E_LIMIT: no free slot. */
CELLAR_PRIVATE cellar_err l1_pin(l1 *c, const l1_key *k, l1_pin_ref *out, unsigned flags);
BASE_SPARE CELLAR_PRIVATE void l1_unpin(l1 *c, l1_pin_ref *ref);
CELLAR_PRIVATE void l1_unpin_slot(l1 *c, uint32_t slot_index); /* ref->slot, once */

typedef struct l1_info {
    size_t value_len;
    int64_t deadline_ms; /* absolute, idle not applied; BASE_NEVER_MS: none */
    int64_t expires_ms;  /* what a get goes by: idle applied */
    int64_t born_ms;     /* exact when born_exact, else when its segment was opened */
    int64_t idle_ms, stale_ms; /* 0: none */
    uint64_t version;    /* 0: none stored */
    uint64_t value_hash, l2_addr;
    uint32_t user_flags, owner, retry_at, loader_code, tag_count;
    uint8_t kind, fails, cost, uses;
    bool born_exact, stale;
    /* Identity for L1_IF_SAME */
    uint64_t at;
    uint32_t seq;
} l1_info;
/* OK, STALE, ABSENT fill *out (ABSENT: the negative entry's). flags as l1_get; buf may be NULL,
 * then nothing is copied and E_BUFFER does not occur. */
CELLAR_PRIVATE cellar_err l1_inspect(l1 *c, const l1_key *k, void *buf, size_t buf_cap,
                                     l1_info *out, unsigned flags);
/* Fingerprints of the entry's tags, and since when they count, expired or not; returns how many, at
 * most 16. */
CELLAR_PRIVATE uint32_t l1_tags_of(l1 *c, const l1_key *k, uint64_t *fps, uint64_t *born);
/* The entry's version, given one now if it has none (rewrites the record once). OK, MISS, ABSENT;
 * E_SPACE. */
CELLAR_PRIVATE cellar_err l1_version(l1 *c, const l1_key *k, uint64_t *version);

/* ---- writing ------------------------------------------------------------------------------- */
#define L1_IF_ABSENT 1u  /* a live entry: CELLAR_EXISTS. Negative entries count as absent */
#define L1_IF_PRESENT 2u /* none, or a negative one: CELLAR_MISS */
#define L1_IF_VERSION 4u /* other version, none stored, or absent: CELLAR_CONFLICT */
#define L1_IF_SAME 8u    /* not the entry and bytes of `same`: CELLAR_CONFLICT */
#define L1_KEEP_OLD 16u  /* a set that fails leaves the old value */
#define L1_KEEP_TTL 32u  /* take deadline, stale and idle fields from the live value replaced */
#define L1_WANT_VERSION 64u /* store a version and give it back */
#define L1_WANT_BORN 128u   /* store the birth time exactly */
#define L1_WANT_VHASH 256u  /* of a value: store a hash of its bytes */

/* What a change ended. Negative entries are live, too. */
typedef enum l1_gone {
    L1_GONE_NOTHING, L1_GONE_VALUE, L1_GONE_NEGATIVE, L1_GONE_EXPIRED,
    L1_GONE_TAG /* before its time was over */
} l1_gone;

typedef struct l1_times { int64_t deadline_ms, idle_ms, stale_ms; } l1_times;

typedef struct l1_put_spec {
    const void *value;
    size_t value_len;
    int64_t deadline_ms;     /* BASE_NEVER_MS: none; <= now: stored dead is legal (tag rule) */
    uint32_t flags;          /* L1_IF_..., L1_KEEP_..., L1_WANT_... */
    l1_change change;        /* SET, UPDATE, BACKFILL, PUBLISH */
    int64_t idle_ms;         /* 0: none; <= UINT32_MAX */
    int64_t stale_ms;        /* 0: none; <= UINT32_MAX */
    uint32_t user_flags;     /* 0: not stored */
    uint8_t kind, fails, cost; /* 0: not stored */
    uint32_t retry_at, loader_code; /* 0: not stored */
    uint64_t if_version;     /* with L1_IF_VERSION */
    const l1_info *same;     /* with L1_IF_SAME: what l1_inspect gave */
    const void *same_bytes;  /* and the bytes it copied (values <= 1 KiB) */
    uint64_t value_hash, l2_addr; /* 0: not stored; the hash out with L1_WANT_VHASH */
    const uint64_t *tag_fps; /* tag_count fingerprints */
    uint32_t tag_count;      /* <= 16 */
    uint64_t tag_born;
    uint64_t version;        /* out with L1_WANT_VERSION */
    const l1_times *own;     /* private: as called, while KEEP_TTL may have changed them */
    l1_times kept;           /* out with L1_KEEP_TTL: those it was stored with */
    uint64_t stamp;          /* out: from hooks.commit */
    bool untagged;           /* l1_tagged was asked for this key, and said no */
    bool replaced;           /* out: a live value was there */
    l1_gone gone;            /* out: NOTHING beside `replaced` stands for VALUE */
    uint64_t gone_hash;      /* out when gone is EXPIRED: its value's hash if it had one, else 0 */
} l1_put_spec;
/* OK; EXISTS, MISS, CONFLICT (condition or veto; nothing changed); E_TOOBIG, E_SPACE, E_NOMEM: the
 * old value is gone unless L1_KEEP_OLD. */
CELLAR_PRIVATE cellar_err l1_put(l1 *c, const l1_key *k, l1_put_spec *p);
typedef struct l1_renewal {
    bool times;              /* deadline, stale window and birth begin anew; else they stay */
    int64_t deadline_ms, stale_ms;
    uint32_t retry_at, loader_code; /* as in l1_put_spec */
    uint64_t tag_born;       /* with times: its tags count from here on; 0: they stay */
    const uint64_t *tag_fps; /* with times: these instead of those it has, */
    uint32_t tag_count;      /* unless 0 */
    int64_t *was_ms;         /* NULL, or OK writes the deadline that it had */
} l1_renewal;
/* The same bytes with new fields, as a PUBLISH; a stale value too. OK; MISS (no value, nor a stale
 * one), CONFLICT (vetoed), E_SPACE: nothing changed. *stamp may be NULL. */
CELLAR_PRIVATE cellar_err l1_renew(l1 *c, const l1_key *k, const l1_renewal *r, uint64_t *stamp);
/* The entry lies unchanged below at `addr`, if hooks.commit does not veto it (L1_CHANGE_CLEAN) and
 * the entry was stored with an l2_addr. Each later change of it makes that L1_ADDR_LATER. */
#define L1_ADDR_LATER (UINT64_MAX - 1) /* l2_addr: room for one */
#define L1_ADDR_NEVER UINT64_MAX       /* l2_addr: stays as it is */
CELLAR_PRIVATE void l1_clean(l1 *c, const l1_key *k, uint64_t addr);
CELLAR_PRIVATE uint64_t l1_max_value(const l1 *c);
/* OK: a live entry was removed. MISS: none (hooks.commit ran all the same). *stamp may be NULL. */
CELLAR_PRIVATE cellar_err l1_del_told(l1 *c, const l1_key *k, uint64_t *stamp, l1_gone *gone);
/* Delete the entry if it meets the L1_IF_ flags of `only_if`; else return their code. */
CELLAR_PRIVATE cellar_err l1_del_if(l1 *c, const l1_key *k, const l1_put_spec *only_if,
                                    l1_gone *gone);
BASE_INLINE cellar_err l1_del(l1 *c, const l1_key *k, uint64_t *stamp)
{
    l1_gone gone;
    return l1_del_told(c, k, stamp, &gone);
}
/* New absolute deadline (and idle window when idle_ms >= 0; -1: unchanged) of a live entry. OK,
 * MISS, ABSENT changed nothing; E_SPACE when the record had to be rewritten and did not fit.
 * *stamp may be NULL; *was_ms, too: OK writes the deadline that it had. */
CELLAR_PRIVATE cellar_err l1_touch_told(l1 *c, const l1_key *k, int64_t deadline_ms,
                                        int64_t idle_ms, uint64_t *stamp, int64_t *was_ms);
BASE_INLINE cellar_err l1_touch(l1 *c, const l1_key *k, int64_t deadline_ms, int64_t idle_ms,
                                uint64_t *stamp)
{
    return l1_touch_told(c, k, deadline_ms, idle_ms, stamp, NULL);
}
/* Add to an 8-byte little-endian int64. Absent (or negative entry): stores init + delta with
 * deadline_if_new unless only_if_present (MISS). E_TYPE: other length. E_RANGE: saturated, stored
 * at the limit. *now_value is set with OK and E_RANGE. */
CELLAR_PRIVATE cellar_err l1_incr_told(l1 *c, const l1_key *k, int64_t delta, int64_t init,
                                       const l1_put_spec *if_new, bool only_if_present,
                                       int64_t *now_value, uint64_t *stamp, l1_gone *gone);
BASE_INLINE cellar_err l1_incr(l1 *c, const l1_key *k, int64_t delta, int64_t init,
                               const l1_put_spec *if_new, bool only_if_present, int64_t *now_value,
                               uint64_t *stamp)
{
    l1_gone gone;
    return l1_incr_told(c, k, delta, init, if_new, only_if_present, now_value, stamp, &gone);
}

/* ---- walking ------------------------------------------------------------------------------- */
typedef struct l1_seen {
    const void *key;
    size_t key_len;
    const void *value;  /* NULL when not asked for or longer than the buffer */
    size_t value_len;
    l1_info info;
} l1_seen;
/* One step from *cursor (0: begin): looks at up to `buckets` buckets, calls fn with no lock held
 * for each live entry of `owner`, sets *cursor (0: end). What is present throughout a scan is seen
 * at least once. fn false: stop early (*cursor still continues after this bucket). E_NOMEM. */
CELLAR_PRIVATE cellar_err l1_scan(l1 *c, uint64_t *cursor, size_t buckets, uint32_t owner,
                                  bool want_values, bool (*fn)(void *ctx, const l1_seen *e),
                                  void *ctx);
/* The same for whom every record matters: stale values and remembered errors too, no values. */
CELLAR_PRIVATE cellar_err l1_scan_stored(l1 *c, uint64_t *cursor, size_t buckets, uint32_t owner,
                                         bool (*fn)(void *ctx, const l1_seen *e), void *ctx);

/* ---- upkeep -------------------------------------------------------------------------------- */
/* Expired and dead-owner entries, contraction, parked segments, limbo, pages ahead. Stops after
 * budget_us, at the latest a piece later; each call gets on by a piece, also with 0. *removed: the
 * entries that went. OK: none that was due at the call is left; PENDING: the time ran out before;
 * E_BUSY: another tick is under way, nothing was done. */
CELLAR_PRIVATE cellar_err l1_upkeep(l1 *c, uint64_t budget_us, uint64_t *removed);
/* The same, for whom it is enough how many went. */
BASE_INLINE uint64_t l1_tick(l1 *c, uint64_t budget_us)
{
    uint64_t removed;
    (void)l1_upkeep(c, budget_us, &removed);
    return removed;
}
/* Is there work l1_tick would do now? Store-clock ms of the next due sweep; BASE_NEVER_MS: none. */
CELLAR_PRIVATE int64_t l1_next_due_ms(l1 *c);
/* An owner died (clear, bump, drop): its entries go with the next ticks and before live ones. */
CELLAR_PRIVATE void l1_owner_died(l1 *c);
/* Evict until the account can take `bytes` more. False: not possible. No lock held by the
 * caller. */
CELLAR_PRIVATE bool l1_make_room(l1 *c, uint64_t bytes);
/* The least budget with which a store opened as this one was still takes small sets reliably. */
CELLAR_PRIVATE uint64_t l1_least_budget(const l1 *c);
/* New budget, enforced before it returns. E_RANGE: beyond the reservation or below the least. */
CELLAR_PRIVATE cellar_err l1_resize(l1 *c, uint64_t budget_bytes);
CELLAR_PRIVATE cellar_err l1_set_max_entries(l1 *c, uint64_t max_entries);
CELLAR_PRIVATE void l1_set_policy(l1 *c, l1_policy policy);
/* Counted switch: hand over what leaves. */
CELLAR_PRIVATE void l1_want_left(l1 *c, bool on);
/* The same for L1_LEFT_CAPACITY alone: what is replaced or deleted costs nothing more. */
CELLAR_PRIVATE void l1_want_evicted(l1 *c, bool on);
/* Shares of some owners (quota.c). The caller keeps calls for one number apart. */
#define L1_QUOTAS 63u
typedef struct l1_share {
    uint64_t bytes, entries; /* held now */
    uint64_t floor, ceiling; /* in bytes; 0 and UINT64_MAX: none */
    uint64_t breached;       /* records dropped although their owner was under its floor */
    uint32_t least_pct, most_pct;
} l1_share;
CELLAR_PRIVATE bool l1_quotas_open(l1 *c); /* before the first is given out; false: no memory */
/* From now on it counts this owner, who has no entry yet and is nobody's name yet. */
CELLAR_PRIVATE void l1_quota_owner(l1 *c, unsigned number, uint32_t owner);
CELLAR_PRIVATE void l1_quota_set(l1 *c, unsigned number, uint32_t least_pct, uint32_t most_pct);
CELLAR_PRIVATE uint32_t l1_quota_least(l1 *c); /* sum of the least shares, per cent */
CELLAR_PRIVATE void l1_quota_get(l1 *c, unsigned number, l1_share *out);

/* What other budgets would give, by a sample: hit ratios at so many per cent of this one. */
#define L1_ADVICE 8
#define L1_ADVICE_PCT { 25, 50, 71, 100, 141, 200, 400, 800 }
#define L1_NO_VIEW 0xffffu
typedef struct l1_advice {
    uint64_t requests; /* sampled ones the figures rest on; older ones count less */
    double ratio[L1_ADVICE];
} l1_advice;
/* OK; PENDING: it has not seen enough yet, *out holds `requests` only; E_UNSUPPORTED: there is none
 * or another policy is in force. view: as hooks.view_of; L1_NO_VIEW: the whole store. measured: its
 * hit ratio as counted, by whose difference from the model's all points are moved; negative: not
 * known. */
CELLAR_PRIVATE cellar_err l1_advise(l1 *c, uint32_t view, double measured, l1_advice *out);
/* Another one bears that number from now on, or nobody: what was seen of it is forgotten. */
CELLAR_PRIVATE void l1_advise_anew(l1 *c, uint32_t view);

typedef struct l1_stats {
    uint64_t entries, record_bytes, segments, segments_free, segments_parked;
    uint64_t buckets, overflow_buckets, index_bytes, arena_bytes, big_blocks, big_bytes,
        limbo_bytes;
    uint64_t inserts, evicted, expired, cleared, kept, forced, splits, merges;
    uint64_t no_space, chain_full, pin_limit, fallback_reads,
        examined_max; /* per set: BASE_DEBUG */
    uint64_t ghost_hits, parked_total;
    uint64_t absent, absent_bytes; /* linked records without value, and what they count for */
    uint64_t absent_refused;       /* not stored, because these were at their ceiling */
    uint64_t sample_dropped, rule_switches; /* adaptive: requests not seen; changes of the rule */
    uint32_t rule;                          /* which one rules; see shadow.c */
    uint32_t stripes, seg_bytes, granule;
} l1_stats;
CELLAR_PRIVATE void l1_stats_get(l1 *c, l1_stats *out);
/* Walk everything: NULL, or what is wrong (static text). Takes one stripe lock at a time; callers
 * in tests have stopped the writers. */
CELLAR_PRIVATE const char *l1_audit(l1 *c);

/* fork: prepare takes all stripe locks, parent drops them, child resets them and marks the store so
 * that whoever locks a bucket takes its stripe first and mends what a lost writer left odd. */
CELLAR_PRIVATE void l1_fork_prepare(l1 *c);
CELLAR_PRIVATE void l1_fork_parent(l1 *c);
CELLAR_PRIVATE void l1_fork_child(l1 *c);

#endif
