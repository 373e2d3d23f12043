/* SPDX-License-Identifier: MIT
 *
 * types: the structures that the files of L1 share.
 *
 * PICTURE    hash -> stripe -> bucket (64 B: version, nine 16-bit fingerprints, nine offsets, nine
 *            2-bit counters) -> record in a segment of a lane. A hit reads two lines.
 *
 *                stripe   ls, bucket area, overflow area | lock
 *            thread -> lane: lock, two queues of segments, counts
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
 *                 key, value            BIG: the value is a 16-byte descriptor {block, length}, or
 *                                       {charge, cell; pointer} of an object (l1_cell_name).
 *                                       APART: no key here, the field names {block, hash}
 *                 tag block             if L1_X_TAGS, at the next multiple of 4
 *            last_use and born are absolute milliseconds. last_use is below 0 if an entry of an
 *            earlier boot was used before this one.
 * INVARIANTS A slot with a fingerprint points to a live record of its key. Every linked record
 *            lies in a SMALL or MAIN segment. seg.live counts the linked records of the segment.
 *            The word of a queue is the sum over its segments. Charges of INDEX, OVERFLOW, SEGMENT,
 *            LOG_TABLE, BIG, PIN and GHOST equal what is committed.
 * LOCKING    Lane lock (L1_LANE): queues, cursors, appends. Stripe lock: splits, shape of chains.
 *            Bucket word (odd = locked; rank L1_BUCKET): slots of its chain, in-place bytes of its
 *            records. A writer without the stripe lock loads `ls` again under the bucket lock.
 *            L1_SEG: free, returned and parked lists. L1_BIG: blocks that no slot links.
 * MEMORY     Readers are optimistic: version even, look, copy, version unchanged. Pages of a region
 * ORDER      are never unmapped; bytes move through base/seqlock.h. lock = CAS seq_cst + release
 *            fence; unlock = store release; reader = load acquire .. acquire fence, load. A miss
 *            also needs an unchanged `ls`; a split stores `ls` inside its odd windows.
 * SEE ALSO   README.md: map of the files, words, protocols, proofs, sources. */
#ifndef L1_TYPES_H
#define L1_TYPES_H

#include "base/atomic.h"
#include "base/num.h"
#include "base/seqlock.h"
#include "base/sync.h"
#include "l1/l1.h"
#include "l1/object.h"

#define L1_SLOTS 9
#define L1_HALF 4u      /* slots of half an overflow bucket */
#define L1_CHAIN_MAX 15 /* such halves in a chain */
#define L1_CHAIN_LONG 8u /* more: the keys of the stripe are more than its share */
#define L1_INDEX_STEP ((uint64_t)64 << 10) /* of the index, made writable together */
#define L1_GROUP_SHIFT 15 /* primary buckets, and overflow buckets, of one group */
#define L1_STRIPES_MAX 1024
#define L1_SEG_SHORT 16384u /* longest segment chosen for a small store */
#define L1_NONE UINT32_MAX
#define L1_TAG_SHIFT 48
#define L1_STRIPE_SHIFT 38
#define L1_SMALL_COPY 1024 /* bytes that an odd window may copy */
#define L1_HOLD_MAX 256    /* records examined per hold of a lane lock */
#define L1_VICTIMS 16
#define L1_LONG 1024u      /* bytes of an entry; longer ones are counted for the end of their */
#define L1_LONG_SUMS 64u   /* generation, modulo this */
#define L1_RETRIES 8
#define L1_PIN_SLOTS 16 /* a line pair: 128 B of 8 B slots */
#define L1_BIG_BIT (UINT64_C(1) << 63)

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
    X(STALE, 4) X(FLAGS, 4) X(VERSION, 8) X(L2, 8) X(CHARGE, 8) X(TAGS, 0)
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

/* A chain is a primary bucket and halves of overflow buckets: slots 0..3 or 4..7. The other half
 * may belong to another chain. Number n of a half: bucket n / 2 of the group, half n % 2. */
typedef struct l1_bucket {
    /* odd: locked; 0: no bucket. CAS sc in lock, release in unlock; acquire in readers */
    _Atomic uint32_t ver;
    _Atomic uint32_t freq; /* 9 x 2 bits; racy hints, no result depends on them */
    _Atomic uint16_t ovf;  /* next half, 0 none; of slots 4..7: tag[8] of an overflow bucket */
    _Atomic uint16_t tag[L1_SLOTS]; /* fingerprints: hash bits 63..48, 0 empty */
    _Atomic uint32_t off[L1_SLOTS]; /* record position / granule */
} l1_bucket;
_Static_assert(sizeof(l1_bucket) == 64, "a bucket is a line");

typedef enum l1_seg_state {
    L1_SEG_FREE = 0, L1_SEG_SMALL, L1_SEG_MAIN, L1_SEG_PARKED,
    L1_SEG_RETURNING /* its pages are being discarded */
} l1_seg_state;

/* A 64-bit word of two counts, moved by one atomic addition: bytes (36 bits) and records (28). */
#define L1_LIVE(bytes, count) (((uint64_t)(bytes) << 28) | (uint64_t)(count))
#define L1_LIVE_BYTES(w) ((w) >> 28)
#define L1_LIVE_COUNT(w) ((w) & ((1u << 28) - 1))
/* Only in the word of a segment: it is, or soon will be, on the stack of emptied segments. The step
 * that takes the count to 0 sets the bit, so no thread frees the segment before the push. */
#define L1_LIVE_QUEUED (UINT64_C(1) << 27)
/* Only there, too: the segment was of small and is in main by now. Stays until it is free. */
#define L1_LIVE_MOVED (UINT64_C(1) << 26)
#define L1_LIVE_LINKED(w) ((w) & ~(L1_LIVE_QUEUED | L1_LIVE_MOVED))

typedef struct l1_seg {
    _Atomic uint64_t live;        /* L1_LIVE of linked records; a delete lowers it in its window */
    _Atomic uint64_t min_due_ms;  /* no record expires or idles out before; UINT64_MAX never */
    uint64_t max_due_ms;          /* all have expired after; UINT64_MAX unknown; lane lock */
    uint32_t used_bytes;          /* appended; lane lock */
    uint32_t cursor;              /* bytes consumed by the cursor; lane lock */
    uint32_t next, prev;          /* queue order towards the head; lane lock. Lists: L1_SEG */
    _Atomic uint16_t lane;
    _Atomic uint8_t state;        /* l1_seg_state; lane lock, L1_SEG when in no lane */
    _Atomic uint32_t busy; /* victims in hand-over, records that a thread copies; raised in the
                            * window, lowered without lock */
    _Atomic uint32_t moving; /* of them: victims that hooks.evicted still gets */
    _Atomic uint32_t seq; /* store-wide number of its opening, rising; 0 when in no lane */
    _Atomic uint32_t empty_next;  /* stack of emptied segments of the lane: index + 1 */
    _Atomic uint32_t waste; /* bytes without a linked record: dead or not appended yet */
} l1_seg;
_Static_assert(sizeof(l1_seg) == 64, "a control record is a line");

typedef struct l1_list { /* of segments in no lane; L1_SEG */
    uint32_t head, tail, count; /* L1_NONE: empty */
} l1_list;

typedef struct l1_queue {
    uint32_t head, tail; /* L1_NONE: empty; lane lock */
    _Atomic uint64_t live; /* L1_LIVE over its segments */
} l1_queue;

typedef struct l1_group { /* overflow area of 32,768 primary buckets; stripe lock */
    uint32_t writable_bytes, charged_bytes;
    uint32_t high; /* numbers 1..high were handed out once */
    uint32_t free; /* list through the first off of a half, 0 none */
} l1_group;

typedef struct l1_ghosts { /* ghost.c */
    /* L1_GHOST_LINE bytes each; a lane lock. The look of l1_ghost_prefetch is a hint: relaxed */
    unsigned char *_Atomic line;
    _Atomic uint64_t lines; /* 0: none; the same */
} l1_ghosts;

typedef struct l1_learned { /* by a lane, or by a shadow cache, about its two queues */
    uint32_t small;       /* share of small under a tuned rule, of 2^L1_SMALL_BITS */
    uint32_t sets, moves; /* lately: sets of new keys; records put at the head of main */
} l1_learned;
#define L1_SMALL_BITS 20u
#define L1_SMALL_START ((1u << L1_SMALL_BITS) / 10)

typedef struct l1_pass { /* a pass over one segment; it may take several calls */
    uint32_t seg;            /* + 1; 0: none */
    uint32_t seq, at;
} l1_pass;

#define L1_AHEAD 8u /* a power of two */
typedef struct l1_ahead { /* the next records for a cursor, as seen by earlier steps */
    uint64_t hash[L1_AHEAD]; /* of number n at n % L1_AHEAD */
    uint32_t seq;            /* of the segment: while it holds, a record keeps its key; 0: none */
    uint32_t end;            /* offset behind the newest one */
    uint32_t used, seen;     /* numbers: of the oldest one, and of the next one to come */
} l1_ahead;

typedef struct l1_stripe { /* part of the index: keys with the same bits of the hash */
    /* for readers: ls moves with each split only, the rest is fixed at open */
    _Atomic uint64_t ls BASE_ALIGNED(BASE_PAD); /* changes << 40 | level << 32 | buckets */
    l1_bucket *bucket;     /* the first; the others: l1_bucket_at */
    l1_bucket *overflow;   /* group g at [g << L1_GROUP_SHIFT] */
    l1_group *group;
    l1_ghosts ghost;       /* of this stripe */
    uint32_t index_number; /* number of this stripe */
    uint32_t others;       /* number of other stripes */
    _Atomic uint64_t room; /* entries of the store from which on a set here looks for a split */
    /* for writers; the lock guards all but the atomic fields */
    sync_lock lock BASE_ALIGNED(BASE_PAD); /* L1_STRIPE: chains, splits, memory of the index */
    uint32_t bucket_count;
    uint32_t crowded;           /* splits that long chains ask for */
    uint64_t charged_bytes;     /* of its pages of buckets */
    uint32_t ver_base;          /* new buckets start above this version; even */
    _Atomic uint32_t overflow_count; /* halves of overflow buckets in chains */
    _Atomic uint32_t overflow_high;  /* sum of `high` over its groups */
    uint64_t splits, merges;
    _Atomic uint64_t next_version;
} l1_stripe;

typedef struct l1_lane { /* part of the log: two queues of segments; keys of any stripe */
    /* Fields that each set touches share a line. */
    sync_lock lock BASE_ALIGNED(BASE_PAD); /* L1_LANE: appends, cursors, passes, the rest below */
    _Atomic uint32_t empty;     /* stack of segments with a live count of 0: index + 1 */
    l1_queue queue[2];          /* 0 small, 1 main */
    uint32_t number;            /* of this lane */
    uint32_t turn;              /* sets until the thread here moves on */
    uint32_t told;              /* its part of l1.entries */
    _Atomic uint32_t granted;   /* entry tickets; a record that moves away takes its own along */
    _Atomic uint32_t held_segs; /* segments in its queues; L1_SEG, read anywhere (steal) */
    uint32_t owed;              /* bytes that its sets left to later ones to free */
    uint32_t spare[2];          /* by queue: bytes free in the segment before the head; a hint */
    _Atomic uint32_t wasteful;  /* searches for a segment with enough dead bytes to be emptied */
    uint32_t dead_round;        /* l1.dead_round when its last round began */
    uint64_t tag_epoch;         /* the same */
    bool round, seeks;          /* a round runs; sets wait for its end */
    _Atomic uint64_t judged;    /* l1.ended_bytes when its last round began */
    uint64_t round_at;          /* inserts from which on sets may begin another one */
    int64_t helped_ms;          /* the coarse time when no other lane had dead records */
    l1_ahead ahead[2];          /* by queue */
    uint32_t stay_seq, stay_at; /* tail of small that moves to main as a whole, 0: none; cursor */
    uint64_t stayed;            /* L1_LIVE of the records there that the cursor passed */
#define L1_X(name) _Atomic uint64_t name; /* stored under the lock, read anywhere */
    L1_COUNTS(L1_X)
#undef L1_X
    l1_learned learned;
    _Atomic uint64_t examined_max; /* BASE_DEBUG */
    l1_pass due_pass;           /* of ticks, and of sets that need room */
    l1_pass quota_pass;         /* of sets of generations at their ceiling */
    l1_pass absent_pass;        /* of entries without value at their ceiling */
    _Atomic int64_t absent_bytes, absent_count; /* linked records without value; in their windows */
    uint64_t cost_mean64;       /* x 64: of entries stored with a cost, us; 0: none */
    l1_pass sparse_hand;        /* segment that the next look for a sparse one begins at */
    uint32_t sparse_left;       /* segments to look at before it counts as without one */
    l1_pass sparse;             /* over a segment with dead records, which is emptied */
    l1_pass clean[2];           /* by queue: the segment that takes the records from there */
    uint32_t quota_due;         /* looks since the last sum of shares */
    _Atomic uint64_t due_ms;    /* no deadline here before; a hint, lowered by l1_due_note */
    _Atomic uint32_t missed;    /* ticks in a row that did not get the lock; written by ticks */
} l1_lane;

typedef struct l1_pin_line {
    /* 0 free; owner | offset of a record + 1, or block | L1_BIG_BIT */
    _Atomic uint64_t slot[L1_PIN_SLOTS];
} l1_pin_line;

/* Header of an oversized block. Behind it lie the value, if BIG, and then the key, if APART. */
typedef enum l1_where {
    L1_NOWHERE, /* not counted: new, or its units are free */
    L1_LINKED, L1_IN_HAND, L1_SWEPT, /* in the hands of one thread */
    L1_RESERVED, /* filled by a caller that pins it; a set may take it */
    L1_RETIRED,
    L1_STUCK /* on the retire list, and pinned at the last look */
} l1_where;
typedef struct l1_big {
    struct l1_big *next, **link; /* its list, and the pointer to it there; L1_BIG */
    uint32_t bytes;              /* whole units, header included */
    uint32_t where;              /* L1_BIG */
} l1_big;
typedef struct l1_bigs {
    l1_big *first, **last; /* *last == NULL */
    uint32_t count;
} l1_bigs;

typedef struct l1_span { /* free units of a part of the map */
    uint32_t first, best, last; /* at its start, its longest run, at its end */
} l1_span;
typedef struct l1_giving { uint64_t from, to; } l1_giving; /* pages that are given back */

/* What a set has to do after its locks: free retired blocks (low != 0); l1_fit. */
#define L1_AFTER_LOW 1u
#define L1_AFTER_FIT 2u

typedef struct l1_pages { /* room for blocks (large_alloc.c); all but what open sets: L1_PAGES */
    base_region region;
    uint64_t *map;       /* 1 bit per unit: 1 in use */
    l1_span *tree;       /* [1] all of it, [n] over [2n] and [2n + 1], [leaves + i] 4096 units */
    size_t map_bytes, tree_bytes;
    uint32_t unit_shift, page_units, leaves;
    uint64_t page_count; /* with a unit in use: charged */
    uint64_t writable_bytes;
    uint32_t giving;     /* gives that discard pages now, which are marked */
    uint64_t looked; /* words and nodes that the last take examined; BASE_DEBUG */
    sync_lock lock;
} l1_pages;
#define L1_BIG_HEADER ((sizeof(l1_big) + 15) & ~(size_t)15)

struct l1 {
    /* read on every call; written at open and resize only */
    l1_stripe *stripe;
    l1_lane *lane; /* as many as stripes */
    unsigned char *arena;
    _Atomic uint64_t *seg_base_ms; /* packed mirror for readers; relaxed, checked by the version */
    l1_seg *seg;
    const base_clock *clock;
    uint32_t stripe_mask, seg_bytes;
    uint8_t gshift, seg_shift;
    bool forked; /* this process is a forked child, without the log */
    bool no_advisor;   /* fixed at open */
    bool favor_objects; /* fixed at open */
    bool no_due_first; /* expired entries wait for the cursor like others; fixed at open */
    _Atomic uint64_t entries; /* as the lanes told at the ends of turns; relaxed, a hint */
    _Atomic uint32_t wasteful; /* lanes that are; relaxed, a hint */
    _Atomic uint64_t sample_limit; /* hashes below it are sampled; 0: none; relaxed, a hint */
    _Atomic uint32_t want_left;
    _Atomic uint32_t want_evicted;
    _Atomic uint32_t policy;
    _Atomic uint32_t rule; /* of l1_rule_at: S3FIFO, or of policy_select.c; relaxed, a hint */
    _Atomic uint32_t low; /* 1: appends must free room; 2: at most half of the reserve is left */
    _Atomic uint32_t full; /* 1: from the first low on, until much is free; relaxed, a hint */
    _Atomic uint32_t after; /* L1_AFTER_...; written under L1_SEG */
    _Atomic int64_t rough_ms; /* store clock of the last opened segment or tick */
    l1_hooks hooks;
    const base_hash_key *hash_key;
    base_account *account;
    l1_cells *_Atomic cells; /* NULL until the first namespace of objects; release, acquire */
    uint64_t max_value_bytes;
    uint32_t stripe_count, bucket_limit, overflow_limit, seg_limit, group_count;
    _Atomic uint32_t mean_bytes; /* budget of an entry: as configured, then as l1_fit counted */
    uint32_t over_max;   /* longest value a plain set may write over another */
    uint32_t record_max; /* longest record in the log; longer ones keep key or value in a block */
    uint32_t record_sure; /* up to it a record is in the log whatever stays empty behind it */
    _Atomic uint32_t unfilled; /* bytes that stay empty in a closed segment, mean x 16; L1_SEG */
    uint32_t key_max;    /* keys up to this length always lie in the log */
    base_region arena_region, index_region, overflow_region, table_region, base_region_;
    size_t stripe_stride; /* address space of a stripe in the index, and in the overflow region */
    l1_pin_line *pin;
    uint32_t pin_lines, user_pin_lines; /* all; those for l1_pin, the first ones */
    _Atomic uint32_t pin_spilled; /* 1: a thread has pinned outside of its first line */
    unsigned char *ghosts;
    _Atomic size_t ghost_bytes; /* written under all lanes, read anywhere (l1_shadow_size) */
    size_t group_bytes, stripe_bytes, stripe_block_bytes, pin_bytes;
    void *stripe_block, *self_block; /* as allocated; the structures in them are aligned by hand */
    _Atomic uint64_t max_entries;
    _Atomic int64_t tickets; /* entries not granted to a lane; == max_entries - sum granted; below
                              * 0 until the store has shrunk to a lowered bound */
    /* Both NULL until the policy is adaptive for the first time; release here, acquire in get. */
    struct l1_samples *_Atomic samples;
    struct l1_shadow *_Atomic shadow;
    struct l1_quotas *_Atomic quotas; /* NULL until the first; release here, acquire in quota.c */
    void *_Atomic caps; /* l1_caps; NULL until the first; then quotas is not NULL; the same */

    sync_lock seg_lock BASE_ALIGNED(BASE_PAD); /* rank L1_SEG; guards down to parked_total */
    l1_list free;                       /* committed and charged, in no lane */
    l1_list back;                       /* given back: neither charged nor backed by pages */
    l1_list parked;                     /* emptied, but named by a pin or in hand-over */
    uint32_t fresh;                     /* segments [0, fresh) have existed */
    uint32_t returning;                 /* popped, pages being discarded */
    uint32_t free_least;                /* least free.count since the last tick */
    uint32_t opened;                    /* segments ever opened, modulo 2^32 */
    uint64_t collapsed_bytes;           /* of the arena, from its start: tried for huge pages */
    uint64_t index_seen;                /* index_writable at the last look of a tick */
    int64_t index_grew_ms;              /* store clock of its last growth */
    uint64_t index_collapsed;           /* index bytes tried for it; a contraction lowers it */
    uint64_t index_step;                /* bytes made writable together, beyond the first step */
    bool collapse_off;                  /* no huge pages by ticks */
    _Atomic uint64_t index_writable;    /* bytes of the index, from its start; only rises */
    _Atomic uint32_t held;              /* segments in lanes; read anywhere */
    uint64_t arena_writable, table_charged, base_charged;
    _Atomic uint32_t reserve; /* segments that blocks leave to the log; relaxed, read anywhere */
    _Atomic uint32_t refill;  /* 1: that reserve is being restored; a hint */
    uint64_t parked_total;

    l1_pages pages;
    sync_lock big_lock BASE_ALIGNED(BASE_PAD); /* rank L1_BIG; guards both lists */
    l1_bigs retired; /* retire list: newest first, then the stuck ones */
    l1_bigs hand;  /* in one thread: made, not yet linked; or unlinked, not yet retired */
    _Atomic uint32_t sweepers; /* calls that may hold a retired block */
    _Atomic uint64_t retired_bytes, big_bytes, big_blocks; /* written under L1_BIG; read anywhere */
    _Atomic uint64_t charges;    /* L1_X_CHARGE of records, in all; in OBJECT of the account */
    _Atomic uint64_t left_bytes; /* of blocks that hooks pinned when their entry left, in all */
    _Atomic uint64_t retired_fresh; /* retired bytes that are not stuck; the same */

#define L1_X(name) _Atomic uint64_t name;
    L1_STORE_COUNTS(L1_X)
#undef L1_X
    _Atomic uint32_t wipes;    /* 1: values that end are overwritten (l1_hide); only rises */
    _Atomic uint32_t dead_round;   /* +1 whenever a generation with entries died */
    _Atomic uint64_t ended_bytes;  /* most bytes that such generations had, in all; relaxed */
    _Atomic uint64_t vain_ended;   /* ended_bytes when a round found no lane with dead records */
    _Atomic int64_t vain_ms;       /* the coarse time then; both relaxed, hints */
    _Atomic uint64_t long_bytes[L1_LONG_SUMS]; /* of entries above L1_LONG, by generation */
    _Atomic uint32_t ticking;  /* 1: a tick runs and owns sweep_lane */
    _Atomic uint32_t resizing; /* 1: a change of budget or entry bound runs */
    _Atomic uint32_t fitting;  /* 1: l1_fit runs */
    _Atomic uint64_t draws;    /* for choices of lanes; begins with the hash key */
    _Atomic uint64_t fit;      /* entries that the tables are made for; 0: a guess, yet */
    _Atomic uint64_t fit_at;   /* charge from which l1_fit is due next; this and the next: L1_SEG */
    uint64_t fit_step;         /* to add to it then */
    uint32_t fit_segs;         /* segments to be free for its tables, beyond the reserve */
    _Atomic uint64_t excess_bytes; /* above the budget when the last change of it ended */
    uint32_t sweep_lane;       /* lane where the next tick continues */
    uint32_t rest_stripe;      /* stripe, modulo their number, that shrinks next; of the tick */
};

/* A decoded header; offsets from the start of the record. */
typedef struct l1_rec {
    uint32_t w0, due, generation, mask;
    uint32_t klen, vlen;   /* bytes in the log */
    uint32_t field_off, key_off, value_off, tag_off, tag_count;
    uint32_t size;         /* padded */
} l1_rec;

BASE_INLINE unsigned char *l1_at(const l1 *c, uint64_t pos) { return c->arena + pos; }
BASE_INLINE uint64_t l1_pos(const l1 *c, uint32_t off) { return (uint64_t)off << c->gshift; }
BASE_INLINE uint32_t l1_seg_of(const l1 *c, uint64_t pos)
{
    return (uint32_t)(pos >> c->seg_shift);
}

typedef struct l1_hold { /* a locked chain */
    l1_stripe *s;
    l1_bucket *b; /* primary */
    uint64_t number;
    uint32_t ver; /* even value before the lock */
    bool took; /* the lock of the stripe, with the chain */
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
typedef struct l1_part { /* of a chain: its primary bucket, or half of an overflow bucket */
    l1_bucket *b;   /* NULL: none */
    uint32_t slots; /* of the chain, as bits */
} l1_part;
#define L1_WHOLE ((1u << L1_SLOTS) - 1)
#define L1_HALF_BITS ((1u << L1_HALF) - 1)
BASE_INLINE l1_part l1_whole(l1_bucket *primary) { return (l1_part){ primary, L1_WHOLE }; }
BASE_INLINE l1_part l1_half(const l1_stripe *s, uint64_t number, uint16_t n)
{
    const uint64_t group = number & ~(((uint64_t)1 << L1_GROUP_SHIFT) - 1);
    return (l1_part){ &s->overflow[group + n / 2], L1_HALF_BITS << n % 2 * L1_HALF };
}

/* Return the counts of both queues. A word alone may be below 0 while a segment moves. */
BASE_INLINE uint64_t l1_lane_live(const l1_lane *n)
{
    return base_load_rlx(&n->queue[0].live) + base_load_rlx(&n->queue[1].live);
}
BASE_INLINE uint64_t l1_lane_entries(const l1_lane *n) { return L1_LIVE_COUNT(l1_lane_live(n)); }
BASE_INLINE uint64_t l1_lane_bytes(const l1_lane *n) { return L1_LIVE_BYTES(l1_lane_live(n)); }
BASE_INLINE uint64_t l1_lane_removed(const l1_lane *n) /* expired, cleared or by tag */
{
    return base_load_rlx(&n->cleared) + base_load_rlx(&n->expired);
}
/* Raise a count of a lane, under its lock. */
BASE_INLINE void l1_counted(_Atomic uint64_t *n) { base_store_rlx(n, base_load_rlx(n) + 1); }
/* Return the lane of a segment, and of a record. */
BASE_INLINE l1_lane *l1_lane_of_seg(const l1 *c, const l1_seg *g)
{
    return &c->lane[base_load_rlx(&g->lane)];
}
BASE_INLINE l1_lane *l1_lane_of(const l1 *c, uint64_t pos)
{
    return l1_lane_of_seg(c, &c->seg[l1_seg_of(c, pos)]);
}

BASE_INLINE unsigned char *l1_big_bytes(l1_big *b) { return (unsigned char *)b + L1_BIG_HEADER; }

typedef struct l1_victim {
    uint64_t pos, stamp, hash;
    l1_cell *cell;       /* only the end of this object is due: the record is not read again */
    uint32_t generation;
    uint8_t cause, uses;
    bool moves;  /* hooks.evicted gets it */
    bool untold; /* no listener */
} l1_victim;
typedef struct l1_victims { /* entries unlinked under locks, handed over after them */
    unsigned n;
    l1_victim v[L1_VICTIMS];
} l1_victims;
typedef enum l1_room { L1_ROOM_OK, L1_ROOM_AGAIN, L1_ROOM_NONE } l1_room;
typedef struct l1_freed {
    uint64_t log_bytes; /* consumed in the log, finally */
    uint64_t big_bytes; /* blocks on their way to the retire list */
} l1_freed;
typedef struct l1_toll { /* what one set has paid so far */
    l1_freed freed;
    uint64_t examined;
    unsigned rounds, due_looks, own_looks, helps, again;
    uint64_t ticket_end_ns; /* 0: no lane without an entry to evict for a ticket was met */
    bool paid;
    bool busy; /* other threads hold the lanes with what it needs: yield before the next call */
    bool full; /* the namespace of the entry is full: call l1_cap_room without a lock */
    uint32_t generation;       /* of the new entry */
    const l1_key *stays;  /* the entry that a condition of the set is about; NULL: none */
    uint64_t own_freed;   /* of the same generation, because it is at its ceiling */
    uint64_t weight;      /* of the new entry with its block; 0: its record is all of it */
    uint64_t absent;      /* weight of a new entry without value; else 0 */
    unsigned absent_looks;
    uint32_t ticket;      /* for an entry of a namespace with a bound: epoch of its list; 0: none */
} l1_toll;
#endif
