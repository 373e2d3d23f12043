/* SPDX-License-Identifier: MIT
 *
 * l1_int: the structures that all files of L1 share.
 *
 * PICTURE    hash -> stripe -> bucket (64 B: version, nine 16-bit fingerprints, nine offsets, nine
 *            2-bit counters) -> record in a segment of the stripe's log. A hit reads two lines.
 *
 *                stripe   ls, bucket area, overflow area | lock, two queues of segments, counts
 *                small    [seg]->[seg]->[seg]<- head     new entries are appended at the head
 *                main     [seg]->[seg]<- head            records that the evictor kept
 *                           ^ the cursor judges the oldest segment record by record
 *
 * FORMAT     record, at a multiple of the granule (8 B while the arena is <= 32 GiB):
 *              0  u32 w0    bits 0..7 key length (255: in EXT), 8..25 value bytes in the log, then
 *                           GENERATION EXT BIG SPECIAL PINNED and a bit that is always 1
 *              4  u32 due   0 none; else deadline = seg_base_ms + due - 1; ~0: in EXT
 *              8  u32 generation             if GENERATION: the generation (0 is not stored)
 *                 u32 mask, fields      if EXT, in the order of L1_FIELDS
 *                 key, value            BIG: the value is a 16-byte descriptor {block, length}.
 *                                       APART: no key here, the field names {block, hash}
 *                 tag block             if L1_X_TAGS, at the next multiple of 4
 *            last_use and born are absolute u64 milliseconds.
 * INVARIANTS A slot with a fingerprint points to a live record of its stripe. Every linked record
 *            lies in a SMALL or MAIN segment. seg.live counts the linked records of the segment.
 *            The word of a queue is the sum over its segments. Charges of INDEX, OVERFLOW, SEGMENT,
 *            LOG_TABLE, BIG, PIN and GHOST equal what is committed.
 * LOCKING    Stripe lock (L1_STRIPE): queues, cursors, splits, overflow lists, appends. Bucket word
 *            (odd = locked; rank L1_BUCKET): slots of its chain, in-place bytes of its records. A
 *            writer without the stripe lock (delete, in place, touch, idle, fallback) loads `ls`
 *            again under the bucket lock. L1_SEG: free, returned and parked lists. L1_BIG: blocks
 *            that no slot links.
 * MEMORY     Readers are optimistic: version even, look, copy, version unchanged. Pages of a region
 * ORDER      are never unmapped; bytes move through base/seqlock.h. lock = CAS seq_cst + release
 *            fence; unlock = store release; reader = load acquire .. acquire fence, load. A miss
 *            also needs an unchanged `ls`; a split stores `ls` inside its odd windows.
 * SEE ALSO   README.md: map of the files, words, protocols, proofs, sources. */
#ifndef L1_L1_INT_H
#define L1_L1_INT_H

#include "base/atomic.h"
#include "base/num.h"
#include "base/seqlock.h"
#include "base/sync.h"
#include "l1/l1.h"

#define L1_SLOTS 9
#define L1_CHAIN_MAX 7
#define L1_INDEX_STEP ((uint64_t)64 << 10) /* of the index, made writable together */
#define L1_GROUP_SHIFT 15 /* primary buckets of one overflow group */
#define L1_STRIPES_MAX 1024
#define L1_NONE UINT32_MAX
#define L1_TAG_SHIFT 48
#define L1_STRIPE_SHIFT 38
#define L1_SMALL_COPY 1024 /* bytes that an odd window may copy */
#define L1_HOLD_MAX 256    /* records examined per hold of a stripe lock */
#define L1_VICTIMS 16
#define L1_RETRIES 8
#define L1_PIN_SLOTS 16 /* a line pair: 128 B of 8 B slots */
#define L1_BIG_BIT (UINT64_C(1) << 63)
/* Bits 62..48 of a slot name its generation: a copy inside a call, or 1 + the number of the
 * thread. */
#define L1_PIN_SHIFT 48
#define L1_PIN_OWNER (UINT64_C(0x7fff) << L1_PIN_SHIFT)
#define L1_PIN_INTERNAL L1_PIN_OWNER

#define L1_W0_GENERATION (1u << 26)
#define L1_W0_EXT (1u << 27)
#define L1_W0_BIG (1u << 28)
#define L1_W0_SPECIAL (1u << 29)
#define L1_W0_PINNED (1u << 30)
#define L1_W0_ALWAYS (1u << 31)
#define L1_W0_KLEN(w) ((w) & 255u)
#define L1_W0_VLEN(w) (((w) >> 8) & 0x3ffffu)
#define L1_KLEN_LONG 255u
#define L1_VLEN_LIMIT 0x3ffffu
#define L1_DUE_EXT UINT32_MAX

/* Optional fields: name, bytes; the order is the order in the record and of the bits in the
 * mask. */
#define L1_FIELDS(X) \
    X(KLEN, 4) X(APART, 16) X(DEADLINE, 8) X(KIND, 4) X(ERR, 8) X(IDLE, 12) X(BORN, 8) \
    X(STALE, 4) X(FLAGS, 4) X(VERSION, 8) X(L2, 8) X(TAGS, 0)
enum {
#define L1_X(name, bytes) L1_XI_##name,
    L1_FIELDS(L1_X)
#undef L1_X
    L1_XI_COUNT
};
enum {
#define L1_X(name, bytes) L1_X_##name = 1u << L1_XI_##name,
    L1_FIELDS(L1_X)
#undef L1_X
    L1_X_ALL = (1u << L1_XI_COUNT) - 1
};
/* Fields that make a record SPECIAL: examined before a reader may return a plain hit. */
#define L1_X_SPECIAL (L1_X_KIND | L1_X_IDLE | L1_X_STALE | L1_X_TAGS)
#define L1_TAG_MAX BASE_TAGS_MAX
#define L1_TAG_BLOCK(n) (16u + 8u * (n))
#define L1_DESCRIPTOR 16u

typedef struct l1_bucket {
    _Atomic uint32_t
        ver; /* odd: locked; 0: no bucket. CAS sc in lock, release in unlock; acquire in readers */
    _Atomic uint32_t freq; /* 9 x 2 bits; racy hints, no result depends on them */
    _Atomic uint16_t ovf;  /* next overflow bucket of the group, 0 none */
    _Atomic uint16_t tag[L1_SLOTS]; /* fingerprints: hash bits 63..48, 0 empty */
    _Atomic uint32_t off[L1_SLOTS]; /* record position / granule */
} l1_bucket;
_Static_assert(sizeof(l1_bucket) == 64, "a bucket is a line");

typedef enum l1_seg_state {
    L1_SEG_FREE = 0,
    L1_SEG_SMALL,
    L1_SEG_MAIN,
    L1_SEG_PARKED,
    L1_SEG_RETURNING /* its pages are being discarded */
} l1_seg_state;

/* A 64-bit word of two counts, moved by one atomic addition: bytes (36 bits) and records (28). */
#define L1_LIVE(bytes, count) (((uint64_t)(bytes) << 28) | (uint64_t)(count))
#define L1_LIVE_BYTES(w) ((w) >> 28)
#define L1_LIVE_COUNT(w) ((w) & ((1u << 28) - 1))
/* Only in the word of a segment: it is, or soon will be, on the stack of emptied segments. The step
 * that takes the count to 0 sets the bit, so no thread frees the segment before the push. */
#define L1_LIVE_QUEUED (UINT64_C(1) << 27)
#define L1_LIVE_LINKED(w) ((w) & ~L1_LIVE_QUEUED)

typedef struct l1_seg {
    _Atomic uint64_t live;        /* L1_LIVE of linked records; a delete lowers it in its window */
    _Atomic uint64_t
        min_due_ms; /* no record expires (or idles out) before; UINT64_MAX never */
    uint64_t max_due_ms;          /* all have expired after; UINT64_MAX unknown; stripe lock */
    uint32_t used_bytes;          /* appended; stripe lock */
    uint32_t cursor;              /* bytes consumed by the cursor; stripe lock */
    uint32_t next, prev;          /* queue order towards the head; stripe lock. Lists: L1_SEG */
    uint16_t stripe;
    uint8_t state;                /* l1_seg_state; stripe lock, L1_SEG when in no stripe */
    uint8_t unused;
    _Atomic uint32_t busy; /* victims in hand-over; raised in the window, lowered without lock */
    _Atomic uint32_t seq; /* store-wide number of its opening, rising; 0 when in no stripe */
    _Atomic uint32_t empty_next;  /* stack of emptied segments of the stripe: index + 1 */
    uint32_t swept_s; /* store-clock ms / 1024 of the last look for expired records; stripe */
} l1_seg;
_Static_assert(sizeof(l1_seg) == 64, "a control record is a line");

typedef struct l1_queue {
    uint32_t head, tail; /* L1_NONE: empty; stripe lock */
    _Atomic uint64_t live; /* L1_LIVE over its segments */
} l1_queue;

typedef struct l1_group { /* overflow area of 32,768 primary buckets; stripe lock */
    uint32_t writable_bytes, charged_bytes;
    uint32_t high; /* numbers 1..high were handed out once */
    uint32_t free; /* list through off[0], 0 none */
} l1_group;

typedef struct l1_ghosts { /* ghost.c */
    uint16_t *_Atomic line; /* L1_GHOST_LINE bytes each; stripe lock, but for l1_ghost_prefetch: */
    _Atomic uint64_t lines; /* 0: none;                  its look is a hint: relaxed */
} l1_ghosts;

typedef struct l1_pass { /* a pass over one segment; it may take several calls */
    uint32_t seg;            /* + 1; 0: none */
    uint32_t seq, at;
} l1_pass;

typedef struct l1_ahead { /* the next record for the cursor, as seen by an earlier step */
    uint64_t pos, hash;
    uint32_t seq; /* of its segment: while it holds, the record there keeps its key; 0: none */
} l1_ahead;

typedef struct l1_stripe {
    /* for readers: ls moves with each split only, the rest is fixed at open */
    _Atomic uint64_t ls BASE_ALIGNED(BASE_PAD); /* changes << 40 | level << 32 | buckets */
    l1_bucket *bucket;     /* the first; the others: l1_bucket_at */
    l1_bucket *overflow;   /* group g, number n at [g << 16 | n] */
    l1_group *group;
    l1_ghosts ghost;       /* of this stripe; their bytes: stripe lock */
    uint32_t index_number; /* number of this stripe */
    uint32_t others;       /* number of other stripes */
    /* For writers: fields that each set touches share a line. Half of the time that line is dirty
     * in the cache of another core. */
    sync_lock lock BASE_ALIGNED(BASE_PAD);
    _Atomic uint32_t empty;     /* stack of segments with a live count of 0: index + 1 */
    l1_queue queue[2];          /* 0 small, 1 main */
    uint32_t granted;           /* entry tickets; stripe lock */
    uint32_t ticketless;        /* times the pool had no ticket for it; stripe lock */
    _Atomic uint32_t held_segs; /* segments in the two queues; stripe lock, read anywhere (steal) */
    uint32_t bucket_count;
    uint32_t swept_round;       /* last dead-generation round this stripe finished */
    l1_ahead ahead;             /* stripe lock */
    uint64_t inserts;           /* statistics; stripe lock */
    uint64_t evicted, expired, cleared, kept, forced, splits, merges, ghost_hits, examined_max;
    _Atomic uint64_t next_version;
    uint64_t charged_bytes;     /* of its pages of buckets */
    uint32_t ver_base;          /* new buckets start above this version; even */
    uint32_t overflow_count;
    uint32_t rotate_round, rotate_stop[2]; /* current round; seq of the heads at its start */
    l1_pass due_pass;           /* of sets that need room; stripe lock */
    l1_pass quota_pass;         /* of sets of generations at their ceiling; stripe lock */
    l1_pass absent_pass;        /* of entries without value at their ceiling; stripe lock */
    _Atomic int64_t absent_bytes, absent_count; /* linked records without value; in their windows */
    uint64_t cost_mean64;       /* x 64: of entries stored with a cost, us; 0: none; stripe lock */
    uint32_t quota_due;         /* looks since the last sum of shares; stripe lock */
    _Atomic uint64_t due_ms;    /* no deadline here before; a hint, lowered by l1_due_note */
    uint32_t stuck_round; /* round in which the tick removes dead records in place */
} l1_stripe;

typedef struct l1_pin_line {
    /* 0 free; generation | segment + 1, or block | L1_BIG_BIT */
    _Atomic uint64_t slot[L1_PIN_SLOTS];
} l1_pin_line;

/* Header of an oversized block. Behind it lie the value, if BIG, and then the key, if APART. */
typedef enum l1_where {
    L1_LINKED, L1_IN_HAND, L1_SWEPT, /* in the hands of one thread */
    L1_RETIRED,
    L1_STUCK /* on the retire list, and pinned at the last look */
} l1_where;
typedef struct l1_big {
    struct l1_big *next, **link; /* its list, and the pointer to it there; L1_BIG */
    uint64_t hash;               /* of its key; set when made */
    uint32_t bytes;              /* whole units, header included */
    uint16_t where, who; /* L1_BIG; IN_HAND, SWEPT: index of the thread (base_thread_self) */
} l1_big;
typedef struct l1_bigs {
    l1_big *first, **last; /* *last == NULL */
    uint32_t count;
} l1_bigs;

typedef struct l1_span { /* free units of a part of the map */
    uint32_t first, best, last; /* at its start, its longest run, at its end */
} l1_span;
typedef struct l1_giving { uint64_t from, to; } l1_giving; /* pages being given back; to 0: none */
#define L1_GIVING 8u

typedef struct l1_pages { /* room for blocks (large_alloc.c); all but what open sets: L1_PAGES */
    base_region region;
    uint64_t *map;       /* 1 bit per unit: 1 in use */
    l1_span *tree;       /* [1] all of it, [n] over [2n] and [2n + 1], [leaves + i] 4096 units */
    size_t map_bytes, tree_bytes;
    uint32_t unit_shift, page_units, leaves;
    uint64_t page_count; /* with a unit in use: charged */
    uint64_t writable_bytes;
    l1_giving giving[L1_GIVING];
    uint64_t looked; /* words and nodes that the last take examined; BASE_DEBUG */
    sync_lock lock;
} l1_pages;
#define L1_BIG_HEADER ((sizeof(l1_big) + 15) & ~(size_t)15)

struct l1 {
    /* read on every call; written at open, resize and fork only */
    l1_stripe *stripe;
    unsigned char *arena;
    _Atomic uint64_t *seg_base_ms; /* packed mirror for readers; relaxed, checked by the version */
    l1_seg *seg;
    const base_clock *clock;
    uint32_t stripe_mask, seg_bytes;
    uint8_t gshift, seg_shift;
    bool forked; /* this process is a forked child */
    bool no_advisor;   /* fixed at open */
    bool favor_objects; /* fixed at open */
    bool no_due_first; /* expired entries wait for the cursor like others; fixed at open */
    _Atomic uint64_t sample_limit; /* hashes below it are sampled; 0: none; relaxed, a hint */
    _Atomic uint32_t want_left;
    _Atomic uint32_t want_evicted;
    _Atomic uint32_t policy;
    _Atomic uint32_t rule; /* of l1_rule_at: S3FIFO, or of policy_select.c; relaxed, a hint */
    _Atomic uint32_t low; /* 1: appends must free room; 2: at most half of the reserve is left */
    _Atomic int64_t rough_ms; /* store clock of the last opened segment or tick */
    l1_hooks hooks;
    const base_hash_key *hash_key;
    base_account *account;
    uint64_t max_value_bytes;
    uint32_t stripe_count, bucket_limit, overflow_limit, seg_limit, group_count;
    uint32_t mean_bytes; /* of an entry, as configured */
    uint32_t over_max;   /* longest value a plain set may write over another */
    uint32_t record_max; /* longest record in the log; longer ones keep key or value in a block */
    uint32_t key_max;    /* keys up to this length always lie in the log */
    base_region arena_region, index_region, overflow_region, table_region, base_region_;
    size_t stripe_stride, overflow_stride; /* address space of a stripe in these two */
    l1_pin_line *pin;
    uint32_t pin_lines, user_pin_lines; /* all; those for l1_pin, the first ones */
    uint16_t *ghosts;
    size_t ghost_bytes, group_bytes, stripe_bytes, stripe_block_bytes, pin_bytes;
    void *stripe_block, *self_block; /* as allocated; the structures in them are aligned by hand */
    _Atomic uint64_t max_entries;
    _Atomic uint64_t tickets; /* entries not granted to a stripe; == max_entries - sum granted */
    /* Both NULL until the policy is adaptive for the first time; release here, acquire in get. */
    struct l1_samples *_Atomic samples;
    struct l1_shadow *_Atomic shadow;
    struct l1_quotas *_Atomic quotas; /* NULL until the first; release here, acquire in quota.c */

    sync_lock seg_lock BASE_ALIGNED(BASE_PAD); /* rank L1_SEG; guards down to parked_total */
    uint32_t free_head, free_count;     /* committed and charged, in no stripe */
    uint32_t back_head, back_count;     /* given back: neither charged nor backed by pages */
    uint32_t parked_head, parked_count; /* emptied, but named by a pin or in hand-over */
    uint32_t fresh;                     /* segments [0, fresh) have existed */
    uint32_t returning;                 /* popped, pages being discarded */
    uint32_t free_least;                /* least free_count since the last tick */
    uint32_t opened;                    /* segments ever opened, modulo 2^32 */
    uint64_t collapsed_bytes;           /* of the arena, from its start: tried for huge pages */
    uint64_t index_seen;                /* index_writable at the last look of a tick */
    int64_t index_grew_ms;              /* store clock of its last growth */
    uint64_t index_collapsed;           /* index bytes tried for it; a contraction lowers it */
    uint64_t index_step;                /* bytes made writable together, beyond the first step */
    bool collapse_off;                  /* no huge pages by ticks */
    _Atomic uint64_t index_writable;    /* bytes of the index, from its start; only rises */
    _Atomic uint32_t held;              /* segments in stripes; read anywhere */
    uint64_t arena_writable, table_writable, base_writable, table_charged, base_charged;
    _Atomic uint32_t reserve; /* segments that blocks leave to the log; relaxed, read anywhere */
    _Atomic uint32_t refill;  /* 1: that reserve is being restored; a hint */
    uint64_t parked_total;

    l1_pages pages;
    sync_lock big_lock BASE_ALIGNED(BASE_PAD); /* rank L1_BIG; guards both lists */
    l1_bigs retired; /* retire list: newest first, then the stuck ones */
    l1_bigs hand;  /* in one thread: made, not yet linked; or unlinked, not yet retired */
    _Atomic uint32_t sweepers; /* calls that may hold a retired block */
    _Atomic uint64_t retired_bytes, big_bytes, big_blocks; /* written under L1_BIG; read anywhere */
    _Atomic uint64_t retired_fresh; /* retired bytes that are not stuck; the same */

    _Atomic uint64_t no_space, absent_refused, chain_full, pin_limit, fallback_reads;
    _Atomic uint32_t dead_round;   /* +1 whenever a generation died */
    _Atomic uint32_t ticking;  /* 1: a tick runs and owns sweep_stripe */
    _Atomic uint32_t resizing; /* 1: a change of budget or entry bound runs */
    uint32_t sweep_stripe;     /* stripe where the next tick continues */
    l1_pass pass;              /* of the stripe sweep_stripe; written under its lock by the tick */
};

/* ---- record.c, segment.c: records and segments ----------------------------------------------- */
typedef struct l1_rec { /* decoded header; offsets from the start of the record */
    uint32_t w0, due, generation, mask;
    uint32_t klen, vlen;   /* bytes in the log */
    uint32_t field_off, key_off, value_off, tag_off, tag_count;
    uint32_t size;         /* padded */
} l1_rec;

typedef struct l1_idle { uint32_t idle_ms; uint64_t last_use_ms; } l1_idle;

BASE_INLINE unsigned char *l1_at(const l1 *c, uint64_t pos) { return c->arena + pos; }
BASE_INLINE uint64_t l1_pos(const l1 *c, uint32_t off) { return (uint64_t)off << c->gshift; }
BASE_INLINE uint32_t l1_seg_of(const l1 *c, uint64_t pos)
{
    return (uint32_t)(pos >> c->seg_shift);
}

/* Decode the record at `pos`. Return false when the bytes cannot be a record inside one segment
 * (torn or recycled). */
CELLAR_PRIVATE bool l1_decode(const l1 *c, uint64_t pos, l1_rec *r);
CELLAR_PRIVATE uint32_t l1_field(const l1_rec *r, unsigned field); /* offset of a present field */
CELLAR_PRIVATE int64_t l1_deadline(const l1 *c, uint64_t pos, const l1_rec *r);
/* Return when a plain get stops answering: deadline and idle time applied. *keep_until is the end
 * of the stale window. */
CELLAR_PRIVATE int64_t l1_expires(const l1 *c, uint64_t pos, const l1_rec *r, int64_t *keep_until);
/* Return the verdict of hooks.tags_valid on a record. */
CELLAR_PRIVATE int l1_tags_judge(const l1 *c, uint64_t pos, const l1_rec *r);
/* Return whether a tag ended the record before `end_ms`, when its time was over. */
CELLAR_PRIVATE bool l1_tags_first(const l1 *c, uint64_t pos, const l1_rec *r, int64_t end_ms);
/* Return the cause for a record past its time: a tag, or expiry. */
CELLAR_PRIVATE l1_cause l1_over(const l1 *c, uint64_t pos, const l1_rec *r);
/* Return whether the record has exactly this key. Under its bucket lock. */
CELLAR_PRIVATE bool l1_rec_is(const l1 *c, uint64_t pos, const l1_rec *r, const l1_key *k);
/* Compare the key without a lock, under version `ver` of the bucket that held the slot. */
typedef enum l1_look { L1_LOOK_FOUND, L1_LOOK_NONE, L1_LOOK_AGAIN } l1_look;
CELLAR_PRIVATE l1_look l1_rec_look(l1 *c, const l1_bucket *primary, uint32_t ver, uint64_t pos,
                                   const l1_rec *r, const l1_key *k);
/* Return the bytes of the key: of a linked record under its bucket lock, or of a victim. */
CELLAR_PRIVATE const unsigned char *l1_key_at(const l1 *c, uint64_t pos, const l1_rec *r);
/* Return the block that holds the value, the key or both; NULL: none. */
CELLAR_PRIVATE l1_big *l1_block_of(const l1 *c, uint64_t pos, const l1_rec *r);
CELLAR_PRIVATE void l1_info_of(l1 *c, uint64_t pos, const l1_rec *r, l1_info *out);
/* Return what a reader may do with this record now (read.c). MISS: treat it as absent. */
CELLAR_PRIVATE cellar_err l1_judge(l1 *c, uint64_t pos, const l1_rec *r, unsigned flags);
/* Return the bytes that the entry counts for: its record and its bytes in a block. */
CELLAR_PRIVATE uint64_t l1_weight(const l1 *c, uint64_t pos, const l1_rec *r);
CELLAR_PRIVATE void l1_descriptor(const l1 *c, uint64_t pos, const l1_rec *r, l1_big **block,
                                  uint32_t *len);

typedef struct l1_image { /* a record about to be written */
    l1_rec rec;
    const void *key;
    const void *value;
    uint64_t value_len;
    l1_big *block; /* BIG, APART: already filled */
    const l1_put_spec *spec;
    int64_t deadline_ms, idle_ms, stale_ms;
    uint64_t version, born_ms, last_use_ms, hash;
} l1_image;
/* Parts outside the log: L1_FORM_BIG the value, L1_FORM_APART the key. */
#define L1_FORM_BIG 1u
#define L1_FORM_APART 2u
/* Lay out a record. Return false if it is longer than `most`. At record_max, key or value must then
 * go into a block. A rewritten record may grow by some fields up to seg_bytes. */
CELLAR_PRIVATE bool l1_layout(const l1 *c, const l1_key *k, const l1_put_spec *p, unsigned form,
                              uint32_t most, l1_image *im);
BASE_INLINE unsigned l1_form_of(const l1_rec *r)
{
    return ((r->w0 & L1_W0_BIG) != 0 ? L1_FORM_BIG : 0u) |
           ((r->mask & L1_X_APART) != 0 ? L1_FORM_APART : 0u);
}
/* Write header, fields, key and tags. l1_write_value writes the value (or descriptor). */
CELLAR_PRIVATE void l1_write_head(l1 *c, uint64_t pos, const l1_image *im);
CELLAR_PRIVATE void l1_write_value(l1 *c, uint64_t pos, const l1_image *im);
/* Overwrite a record of the same key, size and fields with what may change in place. */
CELLAR_PRIVATE void l1_write_over(l1 *c, uint64_t pos, const l1_image *im);
CELLAR_PRIVATE void l1_dues(l1 *c, uint64_t pos, const l1_rec *r) SYNC_HOLDS(L1_STRIPE);
/* Return whether a deadline is too far ahead for `due` and needs the DEADLINE field. */
CELLAR_PRIVATE bool l1_due_far(const l1 *c, int64_t deadline_ms);
CELLAR_PRIVATE bool l1_is_plain(const l1 *c, const l1_key *k, const l1_put_spec *p);
CELLAR_PRIVATE uint32_t l1_encode_due(const l1 *c, uint64_t pos, int64_t deadline_ms,
                                      uint32_t mask);

CELLAR_PRIVATE bool l1_log_open(l1 *c);
/* Reserve `size` bytes at the head of queue q; the record there is not linked. Stripe lock. */
CELLAR_PRIVATE bool l1_log_reserve(l1 *c, l1_stripe *s, unsigned q, uint32_t size, uint64_t *pos)
    SYNC_HOLDS(L1_STRIPE);
CELLAR_PRIVATE void l1_log_undo(l1 *c, l1_stripe *s, unsigned q, uint64_t pos, uint32_t size)
    SYNC_HOLDS(L1_STRIPE);
CELLAR_PRIVATE void l1_live_add(l1 *c, l1_stripe *s, uint64_t pos, uint64_t weight);
/* Subtract a record, inside the odd window of its bucket. */
CELLAR_PRIVATE void l1_live_sub(l1 *c, l1_stripe *s, uint64_t pos, uint64_t weight);
CELLAR_PRIVATE void l1_due_note(l1 *c, uint64_t pos, int64_t first_ms); /* lowers min_due_ms */
CELLAR_PRIVATE void l1_seg_unqueue(l1 *c, l1_stripe *s, uint32_t seg) SYNC_HOLDS(L1_STRIPE);
CELLAR_PRIVATE void l1_seg_release(l1 *c, uint32_t seg);
CELLAR_PRIVATE void l1_free_emptied(l1 *c, l1_stripe *s) SYNC_HOLDS(L1_STRIPE);
/* Check up to `limit` parked segments again and judge `low`. Return true when one became free. */
CELLAR_PRIVATE bool l1_unpark(l1 *c, unsigned limit);
CELLAR_PRIVATE bool l1_log_rest(l1 *c, uint64_t end_ns);
CELLAR_PRIVATE void l1_log_child(l1 *c);
/* Make one more huge page of the arena (2 MiB); false: nothing to do. Called by the tick. */
CELLAR_PRIVATE bool l1_log_collapse(l1 *c);
CELLAR_PRIVATE bool l1_collapse_due(l1 *c);
/* Make one more huge page of the index; false: nothing to do. */
CELLAR_PRIVATE bool l1_index_collapse(l1 *c);
CELLAR_PRIVATE int64_t l1_index_collapse_due_ms(l1 *c); /* BASE_NEVER_MS: nothing to do */
/* Give back free segments until the budget has `bytes` free or the log has only `leave` left.
 * Return whether the budget has them free. */
CELLAR_PRIVATE bool l1_give_back(l1 *c, uint64_t bytes, uint32_t leave);
/* Return the bytes still to be freed so that `bytes` are available. */
BASE_INLINE uint64_t l1_lack(const l1 *c, uint64_t bytes)
{
    const uint64_t used = base_load_rlx(&c->account->used);
    const uint64_t limit = base_load_rlx(&c->account->limit);
    const uint64_t want = bytes > UINT64_MAX - used ? UINT64_MAX : used + bytes;
    return want > limit ? want - limit : 0;
}

/* ---- index.c -------------------------------------------------------------------------------- */
typedef struct l1_hold { /* a locked chain */
    l1_stripe *s;
    l1_bucket *b; /* primary */
    uint64_t number;
    uint32_t ver; /* even value before the lock */
    bool took_stripe;
} l1_hold;
typedef struct l1_slot {
    l1_bucket *b; /* NULL: none */
    unsigned i;
    uint64_t pos;
    l1_rec rec;
} l1_slot;

BASE_INLINE l1_stripe *l1_stripe_of(const l1 *c, uint64_t hash)
{
    return &c->stripe[(uint32_t)(hash >> L1_STRIPE_SHIFT) & c->stripe_mask];
}
BASE_INLINE uint16_t l1_tag_of(uint64_t hash)
{
    uint16_t t = (uint16_t)(hash >> L1_TAG_SHIFT);
    return t != 0 ? t : (uint16_t)1;
}
/* Return b = h mod 2^(level+1), or h mod 2^level if that bucket does not exist yet. No branch: no
 * processor could predict it. */
BASE_INLINE uint64_t l1_number(uint64_t ls, uint64_t hash)
{
    const uint64_t half = (uint64_t)1 << ((ls >> 32) & 63u), count = (uint32_t)ls;
    const uint64_t wide = hash & (2 * half - 1);
    return wide - half + (half & (uint64_t)-(int64_t)(wide < count));
}
/* Pages of buckets alternate between the stripes: index.c, PICTURE. */
#define L1_PAGE_BUCKETS (BASE_PAGE / sizeof(l1_bucket))
BASE_ALWAYS_INLINE l1_bucket *l1_bucket_at(const l1_stripe *s, uint64_t number)
{
    return &s->bucket[number + (number & ~(uint64_t)(L1_PAGE_BUCKETS - 1)) * s->others];
}
/* Return the number of such a bucket. */
BASE_ALWAYS_INLINE uint64_t l1_bucket_number(const l1_stripe *s, const l1_bucket *b)
{
    const uint64_t at = (uint64_t)(b - s->bucket), in_page = at & (L1_PAGE_BUCKETS - 1);
    return in_page + ((at - in_page) >> __builtin_ctz(s->others + 1));
}
BASE_INLINE l1_bucket *l1_next(const l1_stripe *s, uint64_t number, uint16_t ovf)
{
    return &s->overflow[((number >> L1_GROUP_SHIFT) << 16) + ovf];
}

CELLAR_PRIVATE bool l1_index_open(l1 *c);
/* Return the slots of one bucket with this fingerprint, as bits 0..8. */
BASE_INLINE uint32_t l1_match(const l1_bucket *b, uint16_t tag)
{
    return base_seq_match8(b->tag, tag) | (uint32_t)(base_load_rlx(&b->tag[8]) == tag) << 8;
}
CELLAR_PRIVATE void l1_lock_key(l1 *c, uint64_t hash, l1_hold *h, bool have_stripe) SYNC_UNCHECKED;
/* Lock only if the version is still `ver` (even) and the key still belongs to `b`. */
CELLAR_PRIVATE bool l1_lock_from(l1 *c, uint64_t hash, l1_bucket *b, uint32_t ver, l1_hold *h,
                                 bool have_stripe) SYNC_UNCHECKED;
/* Lock a bucket found under the stripe lock, held since: the key still belongs to it. */
BASE_ALWAYS_INLINE bool l1_lock_here(l1_stripe *s, l1_bucket *b, uint32_t ver, l1_hold *h)
    SYNC_UNCHECKED;
BASE_ALWAYS_INLINE bool l1_lock_here(l1_stripe *s, l1_bucket *b, uint32_t ver, l1_hold *h)
{
    if (!base_cas_sc(&b->ver, ver, ver + 1)) { return false; }
    base_fence_rel();
    SYNC_PUSH(SYNC_RANK_L1_BUCKET, b, false);
    *h = (l1_hold){ .s = s, .b = b, .number = l1_bucket_number(s, b), .ver = ver };
    return true;
}
CELLAR_PRIVATE void l1_unlock(l1 *c, l1_hold *h) SYNC_UNCHECKED;
/* Repair, in a forked child, every bucket that a writer of the parent left locked. */
CELLAR_PRIVATE void l1_mend_stripe(l1 *c, l1_stripe *s) SYNC_HOLDS(L1_STRIPE);
/* Repair the chain of one key in the fork handler: no other thread is here. */
CELLAR_PRIVATE void l1_mend_key(l1 *c, uint64_t hash) SYNC_UNCHECKED;
/* Find the record of exactly this key, live or expired. Under the bucket lock. */
CELLAR_PRIVATE bool l1_find(const l1 *c, const l1_hold *h, const l1_key *k, l1_slot *out);
/* Find the slot that points to `pos`. Under the bucket lock. */
CELLAR_PRIVATE bool l1_find_pos(const l1 *c, const l1_hold *h, uint16_t tag, uint64_t pos,
                                l1_slot *out);
/* Prepare what l1_slot_empty may need, before the bucket is locked. A hint: it may fail. */
CELLAR_PRIVATE void l1_slot_prepare(l1 *c, l1_stripe *s, uint64_t hash);
/* Find an empty slot; lengthen the chain if needed. Under stripe and bucket lock. */
CELLAR_PRIVATE bool l1_slot_empty(l1 *c, l1_hold *h, l1_slot *out);
CELLAR_PRIVATE void l1_slot_set(l1_slot *s, uint16_t tag, uint32_t off, unsigned freq);
CELLAR_PRIVATE void l1_slot_clear(l1_slot *s);
/* Close one hole from the end of the chain after an unlink. Give back the last overflow bucket when
 * it is empty. Under stripe and bucket lock. Without it, inserts and deletes would lengthen every
 * chain for good. */
CELLAR_PRIVATE void l1_chain_trim(l1 *c, l1_hold *h);
BASE_INLINE unsigned l1_freq(const l1_bucket *b, unsigned i)
{
    return (base_load_rlx(&b->freq) >> (2 * i)) & 3u;
}
BASE_INLINE void l1_freq_set(l1_bucket *b, unsigned i, unsigned f)
{
    uint32_t old = base_load_rlx(&b->freq);
    base_store_rlx(&b->freq, (old & ~(3u << (2 * i))) | (f << (2 * i)));
}
BASE_INLINE void l1_freq_hit(l1_bucket *b, unsigned i)
{
    uint32_t f = base_load_rlx(&b->freq);
    if (((f >> (2 * i)) & 3u) < 3u) { base_store_rlx(&b->freq, f + (1u << (2 * i))); }
}
/* A plain hit in three steps, for get, get_many and pin. get_many runs the steps of other keys
 * between them. The caller reads the record in step 3, and validates it against the version that
 * step 2 read. */
typedef struct l1_aim {
    const l1_stripe *s;
    l1_bucket *primary, *b;
    uint64_t number, pos;
    uint32_t ver;
    unsigned i;
} l1_aim;

/* Step 1: choose the bucket; read nothing of it. */
BASE_ALWAYS_INLINE void l1_aim_at(const l1 *c, uint64_t hash, l1_aim *a)
{
    a->s = l1_stripe_of(c, hash);
    a->number = l1_number(base_load_acq(&a->s->ls), hash);
    a->primary = l1_bucket_at(a->s, a->number);
}

/* Step 2: read version and slot; read nothing of the record. */
BASE_ALWAYS_INLINE bool l1_spot(const l1 *c, uint64_t hash, l1_aim *a)
{
    a->b = a->primary;
    a->ver = base_load_acq(&a->primary->ver);
    uint32_t m = l1_match(a->b, l1_tag_of(hash));
    if (BASE_UNLIKELY(m == 0)) { /* one key in twenty lies in the first overflow bucket */
        const uint16_t n = base_load_rlx(&a->b->ovf);
        if (n == 0) { return false; }
        a->b = l1_next(a->s, a->number, n);
        m = l1_match(a->b, l1_tag_of(hash));
        if (m == 0) { return false; }
    }
    if (BASE_UNLIKELY((a->ver & 1u) != 0)) { return false; }
    a->i = (unsigned)__builtin_ctz(m);
    a->pos = l1_pos(c, base_load_rlx(&a->b->off[a->i]));
    return true;
}
/* Begin step 3: return whether it is a plain record of such a key. own: 1 if `generation` is
 * stored. */
BASE_ALWAYS_INLINE bool l1_head_is(uint32_t w0, uint32_t klen, uint32_t own)
{
    return (w0 & ~((L1_VLEN_LIMIT << 8) | L1_W0_PINNED)) ==
           (klen | L1_W0_ALWAYS | own * L1_W0_GENERATION);
}

CELLAR_PRIVATE void l1_split_if_due(l1 *c, l1_stripe *s) SYNC_HOLDS(L1_STRIPE);
/* Merge the last bucket while less than `pct` percent of the primary slots are taken. */
#define L1_CONTRACT_PCT 25u /* from tick */
#define L1_SHRINK_PCT 55u   /* when the budget shrinks; splits begin above 64 */
CELLAR_PRIVATE bool l1_contract_one(l1 *c, l1_stripe *s, unsigned pct) SYNC_HOLDS(L1_STRIPE);
CELLAR_PRIVATE bool l1_contract_due(const l1_stripe *s, unsigned pct);
CELLAR_PRIVATE uint64_t l1_hash_of(const l1 *c, uint64_t pos, const l1_rec *r);

/* ---- evict.c -------------------------------------------------------------------------------- */
typedef struct l1_victim {
    uint64_t pos, stamp, hash;
    uint8_t cause, uses;
} l1_victim;
typedef struct l1_victims { /* entries unlinked under locks, handed over after them */
    unsigned n;
    unsigned at;              /* the one in hand-over */
    const l1 *store;          /* during hand-over: of this store, inside that hand-over */
    struct l1_victims *outer;
    l1_victim v[L1_VICTIMS];
} l1_victims;
/* Unlink one slot inside its window, for `cause`. Note it as a victim if a listener wants it. */
CELLAR_PRIVATE void l1_unlink(l1 *c, l1_hold *h, l1_slot *slot, l1_cause cause, uint64_t hash,
                              uint64_t stamp, l1_victims *out);
/* Hand over the victims after the locks: left hook, retire list, busy down. */
CELLAR_PRIVATE void l1_hand_over(l1 *c, l1_victims *v);
/* Reset busy in a forked child to what this thread was handing over. */
CELLAR_PRIVATE void l1_victims_child(l1 *c);

typedef enum l1_room { L1_ROOM_OK, L1_ROOM_AGAIN, L1_ROOM_NONE } l1_room;
typedef struct l1_freed {
    uint64_t log_bytes; /* consumed in the log, finally */
    uint64_t big_bytes; /* blocks on their way to the retire list */
    unsigned spared;    /* records kept for the least share of their generation */
} l1_freed;
typedef struct l1_toll { /* what one set has paid so far */
    l1_freed freed;
    uint64_t examined;
    unsigned rounds, due_looks, own_looks;
    bool paid;
    uint32_t generation;       /* of the new entry */
    uint64_t own_freed;   /* of the same generation, because it is at its ceiling */
    uint64_t absent;      /* weight of a new entry without value; else 0 */
    unsigned absent_looks;
} l1_toll;
/* Free room, reserve `size` bytes in queue q, and get an entry ticket (new_entry). AGAIN: drop the
 * stripe lock, hand over, call again. */
CELLAR_PRIVATE l1_room l1_room_for(l1 *c, l1_stripe *s, unsigned q, uint32_t size,
                                   bool new_entry, l1_toll *t, l1_victims *v, uint64_t *pos)
    SYNC_HOLDS(L1_STRIPE);
/* Return the records that one set examines at most before it fails for lack of room. */
CELLAR_PRIVATE uint64_t l1_most_examined(const l1 *c, uint32_t size);
/* Choose the queue of a new entry; may move the cursor one step. */
CELLAR_PRIVATE unsigned l1_queue_for(l1 *c, l1_stripe *s, uint64_t hash, l1_toll *t, l1_victims *v)
    SYNC_HOLDS(L1_STRIPE);
/* Return unused tickets of this stripe to the pool. */
CELLAR_PRIVATE bool l1_tickets_back(l1 *c, l1_stripe *s) SYNC_HOLDS(L1_STRIPE);
/* Look from time to time for unused tickets in another stripe, when the pool has none. */
CELLAR_PRIVATE bool l1_tickets_gather(l1 *c, l1_stripe *s);
/* Note the cost of a stored entry (l1_put_spec.cost). */
CELLAR_PRIVATE void l1_cost_seen(l1_stripe *s, uint8_t cost) SYNC_HOLDS(L1_STRIPE);
/* Return whether `bytes` fit if every entry were evicted. */
CELLAR_PRIVATE bool l1_may_fit(const l1 *c, uint64_t bytes);
/* State between rounds. A round ends with as many victims as it can hold, less than a segment. Each
 * round in another stripe would leave many segments half consumed and none free. */
typedef struct l1_round {
    l1_stripe *s; /* NULL: one is chosen */
    uint32_t held_segs;
    l1_freed freed;
} l1_round;
/* Evict about `bytes` from some stripe: one round with its own locking and hand-over. */
CELLAR_PRIVATE uint64_t l1_evict_round(l1 *c, uint64_t bytes, l1_round *r);
/* Drop about `entries` entries and their tickets, because the bound was lowered. */
CELLAR_PRIVATE uint64_t l1_evict_excess(l1 *c, uint64_t entries);
BASE_INLINE uint64_t l1_stripe_entries(const l1_stripe *s)
{
    return L1_LIVE_COUNT(base_load_rlx(&s->queue[0].live)) +
           L1_LIVE_COUNT(base_load_rlx(&s->queue[1].live));
}

/* ---- ghost.c -------------------------------------------------------------------------------- */
#define L1_GHOST_LINE 64u
#define L1_GHOST_FPS 31u
#define L1_GHOST_TENTHS 13u /* ghosts per ten entries: the farthest horizon of a rule */
BASE_INLINE uint64_t l1_ghost_mix(uint64_t hash)
{
    return base_mix64(hash ^ UINT64_C(0xa24baed4963ee407));
}
/* Set the table. Its generation synchronizes all calls, except l1_ghost_prefetch: any time. */
CELLAR_PRIVATE void l1_ghosts_set(l1_ghosts *g, uint16_t *line, uint64_t lines);
CELLAR_PRIVATE void l1_ghost_add(l1_ghosts *g, uint64_t mixed);
CELLAR_PRIVATE void l1_ghost_prefetch(const l1_ghosts *g, uint64_t mixed);
/* Return whether the key was evicted within the last `horizon` ghosts. Remove its ghost. */
CELLAR_PRIVATE bool l1_ghost_take(l1_ghosts *g, uint64_t mixed, uint64_t horizon);
CELLAR_PRIVATE uint64_t l1_entries_of(const l1 *c, uint64_t budget);
/* Size the ghosts for a budget; false: no memory (the cache works without). */
CELLAR_PRIVATE bool l1_ghosts_open(l1 *c, uint64_t budget);
CELLAR_PRIVATE bool l1_ghosts_misfit(const l1 *c, uint64_t budget);
CELLAR_PRIVATE void l1_ghosts_close(l1 *c);

/* ---- eviction rules: policy_select.c chooses, evict.c applies -------------------------------- */
typedef struct l1_rule {
    uint16_t share;    /* of small, of 1024 */
    uint8_t keep_from; /* counter with which a record moves from small to main */
    uint8_t horizon;   /* of ghosts, in tenths of the entries */
    bool fill;         /* a main below its share takes all that leaves small */
    bool gate;         /* a ghost enters main only over an unused record */
    bool clock;        /* all go into main */
} l1_rule;
enum { L1_EXPERTS = 5, L1_RULE_FIXED = 2, L1_RULE_S3FIFO = L1_EXPERTS, L1_RULES };

BASE_INLINE const l1_rule *l1_rule_at(unsigned i)
{
    static const l1_rule rule[L1_RULES] = {
        { 102, 1, 9, false, false, false },
        { 102, 2, 13, true, false, false },
        { 410, 2, 9, false, false, false },
        { 102, 1, 9, false, false, true },
        { 10, 1, 13, true, true, false },
        { 102, 2, 9, false, false, false }, /* S3FIFO, not among the competing rules */
    };
    return &rule[i];
}
BASE_INLINE const l1_rule *l1_rule_now(const l1 *c) { return l1_rule_at(base_load_rlx(&c->rule)); }
BASE_INLINE uint64_t l1_rule_target(const l1_rule *r, uint64_t total)
{
    return BASE_MAX(total * r->share / 1024, 1);
}
/* Return the queue that gives the next record, by their sizes; not both may be empty. */
BASE_INLINE unsigned l1_rule_queue(const l1_rule *r, uint64_t small, uint64_t mainq)
{
    if (small == 0 || mainq == 0) { return small == 0 ? 1 : 0; }
    return r->clock || small >= l1_rule_target(r, small + mainq) ? 0 : 1;
}
/* Return whether a record with this counter moves from small to main. Sizes before the move. */
BASE_INLINE bool l1_rule_keeps(const l1_rule *r, unsigned uses, uint64_t small, uint64_t mainq)
{
    return uses >= r->keep_from || (r->fill && small > l1_rule_target(r, small + mainq));
}

/* ---- quota.c -------------------------------------------------------------------------------- */
#define L1_QUOTA_KEEPS 64u
#define L1_QUOTA_LOOKS 128u
/* Count next to each change of seg.live, in the same window; `quotas` must not be NULL. */
BASE_COLD CELLAR_PRIVATE void l1_quota_count(l1 *c, const l1_stripe *s, uint32_t generation,
                                             int64_t bytes, int entries);
BASE_INLINE void l1_quota_add(l1 *c, const l1_stripe *s, uint32_t generation, uint64_t weight)
{
    if (BASE_LIKELY(base_load_rlx(&c->quotas) == NULL)) { return; }
    l1_quota_count(c, s, generation, (int64_t)weight, 1);
}
BASE_INLINE void l1_quota_sub(l1 *c, const l1_stripe *s, uint32_t generation, uint64_t weight)
{
    if (BASE_LIKELY(base_load_rlx(&c->quotas) == NULL)) { return; }
    l1_quota_count(c, s, generation, -(int64_t)weight, -1);
}
/* Decision of the share of a generation on a live record under the cursor. */
typedef enum l1_say { L1_SAY_NOTHING, L1_SAY_KEEP, L1_SAY_DROP } l1_say;
BASE_COLD CELLAR_PRIVATE l1_say l1_quota_judge(l1 *c, l1_stripe *s, uint32_t generation,
                                               uint64_t weight, l1_freed *f) SYNC_HOLDS(L1_STRIPE);
/* Drop entries of a generation at its ceiling before it stores one. */
CELLAR_PRIVATE void l1_quota_pay(l1 *c, l1_stripe *s, uint32_t size, l1_toll *t, l1_victims *v)
    SYNC_HOLDS(L1_STRIPE);
/* Return whether a record has no value: negative entry, remembered error. */
BASE_INLINE bool l1_is_absent(const l1 *c, uint64_t pos, const l1_rec *r)
{
    return BASE_UNLIKELY((r->mask & L1_X_KIND) != 0) &&
           (base_seq_u32(l1_at(c, pos) + l1_field(r, L1_X_KIND)) & 255u) != (uint32_t)L1_VALUE;
}
/* Count next to l1_quota_add and l1_quota_sub. */
BASE_INLINE void l1_absent_count(l1_stripe *s, int64_t weight, int entries)
{
    (void)base_add_rlx(&s->absent_bytes, weight);
    if (BASE_MUTANT("l1.absent_plain_add")) { /* deletes of other keys hold no stripe lock */
        const int64_t was = base_load_rlx(&s->absent_count);
        BASE_POINT("l1.absent.counted");
        base_store_rlx(&s->absent_count, was + entries);
        return;
    }
    (void)base_add_rlx(&s->absent_count, (int64_t)entries);
}
/* Make room for one more entry without value, near their ceiling by dropping others of them. Like
 * l1_room_for; NONE: there is none of them to drop. */
BASE_COLD CELLAR_PRIVATE l1_room l1_absent_pay(l1 *c, l1_stripe *s, l1_toll *t, l1_victims *v)
    SYNC_HOLDS(L1_STRIPE);
CELLAR_PRIVATE void l1_quotas_close(l1 *c);
CELLAR_PRIVATE const char *l1_quota_audit(l1 *c, l1_stripe *s) SYNC_HOLDS(L1_STRIPE);

/* ---- policy_select.c ------------------------------------------------------------------------- */
/* Begin to sample. False: no memory, or too few entries to decide. */
CELLAR_PRIVATE bool l1_shadow_open(l1 *c);
CELLAR_PRIVATE void l1_shadow_close(l1 *c);
/* Adapt to a new bound or budget. */
CELLAR_PRIVATE void l1_shadow_refit(l1 *c);
#define L1_ASKED_KEYS 8u
typedef struct l1_asked { /* requests for sampled keys, in their order */
    uint32_t n;
    uint32_t key[L1_ASKED_KEYS];
    uint16_t namespace[L1_ASKED_KEYS]; /* as hooks.namespace_of returns */
    uint8_t count[L1_ASKED_KEYS]; /* 1..255 */
} l1_asked;
/* Take the sampled requests. False: busy, nothing taken. */
CELLAR_PRIVATE bool l1_shadow_feed(l1 *c, const l1_asked *a);
CELLAR_PRIVATE uint64_t l1_shadow_switches(const l1 *c);
CELLAR_PRIVATE void l1_shadow_child(l1 *c);
CELLAR_PRIVATE const char *l1_shadow_audit(l1 *c); /* NULL, or what is wrong */

/* ---- pin.c, large_value.c -------------------------------------------------------------------- */
CELLAR_PRIVATE bool l1_pins_open(l1 *c);
CELLAR_PRIVATE _Atomic uint64_t *l1_pin_take(l1 *c, uint64_t what, bool internal);
CELLAR_PRIVATE bool l1_pinned(const l1 *c, uint64_t what);
CELLAR_PRIVATE void l1_pins_child(l1 *c);
/* Make a block with these bytes for k, in the hand of this thread. apart: its key follows the
 * value; either may be missing. */
CELLAR_PRIVATE cellar_err l1_big_make(l1 *c, const l1_key *k, const void *value, uint64_t len,
                                      bool apart, l1_big **out);
/* Move a block out of its list, in the window that sets its slot; back into it before the slot is
 * cleared. A block that is not linked is in a list. So the child of a fork finds the blocks that
 * lost threads were about to link, hand over or free. */
CELLAR_PRIVATE void l1_big_linked(l1 *c, l1_big *b);
CELLAR_PRIVATE void l1_big_unlinked(l1 *c, l1_big *b);
CELLAR_PRIVATE void l1_big_begin(l1 *c, l1_big *b); /* in hand for the first time; L1_PAGES held */
CELLAR_PRIVATE void l1_big_end(l1 *c, l1_big *b);   /* its units are free; L1_PAGES held */
CELLAR_PRIVATE void l1_bigs_open(l1 *c);
CELLAR_PRIVATE void l1_bigs_child(l1 *c);
/* Compare an APART key of a record found under version `ver`. Publish the block before the version
 * is read again, so that no thread frees it meanwhile. */
CELLAR_PRIVATE l1_look l1_big_look(l1 *c, const l1_bucket *primary, uint32_t ver, uint64_t pos,
                                   const l1_rec *r, const l1_key *k);
CELLAR_PRIVATE void l1_large_retire(l1 *c, l1_big *b);
/* Free `bytes` of the retire list, or all that no reader uses. Return the freed bytes. A piece of a
 * long block may do. */
CELLAR_PRIVATE uint64_t l1_retired_sweep(l1 *c, uint64_t bytes);
/* Reclaim until the budget has `bytes` free, or only pinned blocks are left. */
CELLAR_PRIVATE void l1_retired_for(l1 *c, uint64_t bytes);
/* Reclaim as much as any set can afford. */
#define L1_SWEEP_LOOKS 64u
CELLAR_PRIVATE void l1_retired_some(l1 *c);
/* Go through the whole retire list once, in pieces. False: the time ran out. */
CELLAR_PRIVATE bool l1_retired_turn(l1 *c, uint64_t end_ns);
/* Reclaim for a set without a lock: while sets free room, retired blocks give theirs first. They
 * stay charged until then. A pass looks at pinned blocks again when more blocks have come. */
BASE_INLINE void l1_retired_use(l1 *c)
{
    if (BASE_LIKELY(base_load_rlx(&c->low) == 0)) { return; }
    if (BASE_UNLIKELY(base_load_rlx(&c->retired_fresh) >= c->seg_bytes)) { l1_retired_some(c); }
}
/* Wait a bounded time for memory in flight: blocks that another thread reclaims, and segments being
 * given back. Neither is free or on the retire list yet. After that the retire list holds only
 * pinned blocks. */
CELLAR_PRIVATE void l1_retired_wait(l1 *c);
CELLAR_PRIVATE void l1_big_drop(l1 *c, l1_big *b); /* never published */
BASE_INLINE unsigned char *l1_big_bytes(l1_big *b) { return (unsigned char *)b + L1_BIG_HEADER; }

/* ---- large_alloc.c --------------------------------------------------------------------------- */
/* l1_release_all releases the region. */
/* Return the largest reservation. SIZE_MAX limits the addresses; a larger budget is not cut. */
BASE_INLINE uint64_t l1_reserve_most(uint64_t budget)
{
    return BASE_MAX((uint64_t)SIZE_MAX / 8, budget);
}
CELLAR_PRIVATE bool l1_runs_reserve(l1 *c, uint64_t budget, uint64_t factor);
CELLAR_PRIVATE bool l1_runs_open(l1 *c, uint64_t budget);
CELLAR_PRIVATE void l1_runs_close(l1 *c);
/* Return the size of a block for that many bytes. */
CELLAR_PRIVATE uint64_t l1_run_bytes(const l1 *c, uint64_t bytes);
typedef enum l1_run { L1_RUN_OK, L1_RUN_CHARGE, L1_RUN_NONE } l1_run;
/* Take a run. CHARGE: the budget lacks *need bytes. NONE: no run that long, or no memory. */
CELLAR_PRIVATE l1_run l1_run_take(l1 *c, uint64_t bytes, uint64_t hash, l1_big **out,
                                  uint64_t *need);
CELLAR_PRIVATE void l1_run_give(l1 *c, l1_big *b);
/* Free the end of a block off the retire list. */
CELLAR_PRIVATE void l1_run_cut(l1 *c, l1_big *b, uint64_t bytes);
CELLAR_PRIVATE void l1_big_cut(l1 *c, l1_big *b, uint64_t bytes); /* updates sums; L1_PAGES held */
/* Reuse a block off the retire list for a new one, at most as long: its pages stay. */
CELLAR_PRIVATE void l1_run_reuse(l1 *c, l1_big *b, uint64_t bytes, uint64_t hash);
CELLAR_PRIVATE void l1_runs_child(l1 *c);
CELLAR_PRIVATE const char *l1_runs_audit(l1 *c);

/* ---- request_sample.c ------------------------------------------------------------------------ */
CELLAR_PRIVATE bool l1_samples_open(l1 *c, uint64_t entries);
CELLAR_PRIVATE uint64_t l1_samples_bytes(uint64_t entries);
CELLAR_PRIVATE void l1_samples_close(l1 *c);
CELLAR_PRIVATE void l1_samples_child(l1 *c);
CELLAR_PRIVATE void l1_sample(l1 *c, uint64_t limit);
/* Count a request for a key with a hash below the limit. */
BASE_COLD CELLAR_PRIVATE void l1_sampled(l1 *c, uint64_t hash, uint32_t generation);
CELLAR_PRIVATE uint64_t l1_sample_dropped(const l1 *c);

/* ---- shared by the cursor and the tick (evict.c) --------------------------------------------- */
/* Find the slot of the record at `pos`, under validation. */
CELLAR_PRIVATE bool l1_linked(l1 *c, l1_stripe *s, uint64_t pos, uint64_t hash, l1_bucket **b,
                              uint32_t *ver, l1_slot *slot) SYNC_HOLDS(L1_STRIPE);
/* Unlink the record of a slot, both read at version `ver` of `b`. */
CELLAR_PRIVATE bool l1_drop(l1 *c, l1_stripe *s, uint64_t hash, l1_bucket *b, uint32_t ver,
                            l1_slot *slot, unsigned cause, l1_victims *v) SYNC_HOLDS(L1_STRIPE);
/* Drop the decoded record at `pos` and return true if its time has come or its generation is dead.
 * Else note its next deadline; `r` may be decoded again. */
CELLAR_PRIVATE bool l1_due_record(l1 *c, l1_stripe *s, uint64_t pos, l1_rec *r, l1_victims *v)
    SYNC_HOLDS(L1_STRIPE);
/* Return whether a stripe has not yet seen the last death of a generation. l1_rotate_step moves one
 * of its records; false: the stripe has seen it now. */
CELLAR_PRIVATE bool l1_rotating(l1 *c, l1_stripe *s) SYNC_HOLDS(L1_STRIPE);
CELLAR_PRIVATE bool l1_rotate_step(l1 *c, l1_stripe *s, l1_victims *v) SYNC_HOLDS(L1_STRIPE);
CELLAR_PRIVATE void l1_overflow_rest(l1 *c, l1_stripe *s) SYNC_HOLDS(L1_STRIPE);

#endif
