/* SPDX-License-Identifier: MIT
 *
 * types: structs and constants that the files of the disk tier share.
 *
 * PICTURE    put, tombstone, control -> slot of stage.buf (mapped: survives the process)
 *                -> full: sealed, written to its place in data.seg -> slot free again
 *            get: word of the RAM index -> bytes in a slot or on disk -> all checks -> caller
 *            reclaim: words of the oldest segment removed, then its place is free
 *            open: headers and trailers -> slots walked -> footers, newest first -> words, filter
 * LSN        Position in the one log: segseq * seg_bytes + offset. Of two records of one key the
 *            record with the higher lsn counts. Nothing else defines the order.
 * INVARIANTS Everything below floor_lsn is dead for good. Segments below oldest_lsn hold nothing.
 *            Each record that a replay could find has its bits in the tombstone filter. The
 *            exception are records below the floor of a header in the stage. A record is complete
 *            when its check is set. No code asserts bytes from disk.
 * LOCKING    tombstone lock of the key's bunch (L2_TOMBSTONE_LOCK) -> log lock (L2_LOG) or a shard
 *            (L2_SHARD). A thread never holds both of the latter. A slot changes hands: L2_LOG
 *            guards it while it is OPEN, the worker alone uses it from FULL on. The worker is the
 *            thread that holds `working`, which has no rank, because it is held during I/O.
 * SEE ALSO   README.md in this folder: terms, protocols, proofs. */
#ifndef L2_TYPES_H
#define L2_TYPES_H

#include "base/sigbus.h"
#include "l2/common.h"

#define L2_MAJOR 2u
#define L2_MINOR 0u
#define L2_HEAD_BYTES 64u
#define L2_HEAD_BEGUN UINT64_C(0x6e75676562324c43) /* "CL2begun": a header is being written here */
#define L2_FOOT_ENTRIES 407u
#define L2_FOOT_HEAD 24u
#define L2_ENTRY_BYTES 10u
#define L2_SEGS_MIN 3u
#define L2_RESIZE_LEAST 3u   /* places that a resize leaves in addition to one per slot */
#define L2_SLOTS_MAX 8u
#define L2_SHARDS 64u
#define L2_WAYS 8u
#define L2_KICKS 8u
#define L2_KICKS_MOST 64u /* for a heavy word */
#define L2_KICKS_REBUILD 512u /* for a durable word of the index rebuild */
#define L2_MEMO 10u
#define L2_ERAS 3u
#define L2_LIVE_ROWS 64u /* of SUPER: generations with 1/64 of all live bytes */
#define L2_ROUND 16u     /* parts of a round of the log, see l2_moves.part */
#define L2_SEGSEQ_STEP 1024u /* segment numbers that one write of SUPER reserves */
#define L2_BAD_MAX 768u
#define L2_RUN_KLEN 1u /* key of the mark of a run, see l2_run_mark */
#define L2_FLOOR_ROOM 64u    /* bytes at the end of a slot, reserved for a FLOOR */


typedef struct l2_stage_id { /* identity of stage.buf; it tells the file from a copy */
    uint64_t inode;  /* 0: none */
    uint64_t device; /* 0: unknown; may change with a boot or a mount */
    int64_t born_ns; /* creation time; 0: unknown */
} l2_stage_id;

typedef struct l2_super {
    uint16_t major, minor;
    uint64_t compat, ro_compat, incompat;
    unsigned char uuid[16], boot_id[16], secret[32];
    uint64_t serial, epoch, segseq_end, clean_lsn, l2_bytes, floor_lsn;
    l2_stage_id stage;
    uint64_t meta; /* lower bound of the serial of the newest META */
    uint64_t born; /* segseq of the segment in which this run began; 0: unknown */
    uint64_t made; /* first segseq that this run may give to a segment */
    uint32_t born_end; /* end of the run's mark in its first segment; 0: the run made that one */
    int64_t anchor_wall_ms, anchor_boot_ms, last_seen_wall_ms;
    uint64_t bytes_today, day, opens;
    struct { uint32_t generation, pages; } live[L2_LIVE_ROWS]; /* live bytes, in units of L2_PAGE */
    uint32_t state, level, seg_bytes, nseg, nstage, granule, bad_count;
    uint32_t closed; /* 1: a close wrote CLEAN, and no run has begun since */
    uint16_t check_algo, hash_algo;
    uint32_t bad[L2_BAD_MAX];
} l2_super;
enum { L2_CLEAN = 1, L2_DIRTY = 2 };

typedef struct l2_head { /* header of a segment; in the order of the file up to floor_lsn */
    uint64_t epoch, segseq;
    uint32_t segid;
    uint32_t meta; /* serial of a META that was durable before this header. That META and all above
                    * the floor contain every control. UINT32_MAX: no information. */
    int64_t base_wall_ms;
    uint64_t prev_segseq, floor_lsn;
} l2_head;

typedef struct l2_trailer {
    l2_head head; /* second copy; either copy is enough */
    /* in the order of the file */
    uint32_t data_end, entries, footer_pages, tombs, controls, max_generation;
    uint32_t hole; /* 1: recovery lost records of the segment; everything up to its end is dead */
} l2_trailer;

typedef struct l2_entry { /* one footer line */
    uint64_t h48;
    uint32_t off, bytes; /* bytes: up to the next record, or to the end */
    uint8_t kind, flags;
} l2_entry;

typedef struct l2_sort_line { /* a footer line during the index rebuild: its word, and the upper
                               * bits of its hash48. The fingerprint in the word has the lower
                               * bits. */
    uint32_t word_lo, word_hi, place;
} l2_sort_line;

typedef struct l2_shard {
    sync_lock lock;        /* rank L2_SHARD; for writers, readers take none */
    _Atomic uint32_t moves; /* odd while words move to their other bucket; under lock */
    _Atomic uint64_t *way; /* buckets * L2_WAYS words, see index.c */
    unsigned char *closed; /* one bit per bucket that turned away a word; NULL: no index rebuild */
    uint32_t *place;       /* upper 32 bits of each word's hash48; NULL: no index rebuild */
    l2_sort_line *aside;   /* lines without a way, by bunch; NULL: no index rebuild, no memory */
    uint32_t asides;
    bool lacks;            /* a line of a put was put aside */
    bool spared;           /* then a word of a record that ended left its way */
} l2_shard;

typedef struct l2_index {
    l2_shard shard[L2_SHARDS];
    _Atomic uint64_t *way; /* all shards; one block, so that each bucket is a cache line */
    unsigned char *closed; /* all shards; NULL without an index rebuild; worker only */
    uint32_t *place;       /* all shards; also NULL if the budget refuses it */
    l2_sort_line *aside;   /* all shards of a part; as `place` */
    uint32_t aside_rows;   /* rows of `aside`, a power of two */
    uint32_t aside_room;   /* rows per shard, a power of two */
    uint32_t buckets;      /* per shard; constant */
    _Atomic uint64_t full; /* words that were refused, or removed for newer words */
    _Atomic uint64_t dropped; /* those of acknowledged puts: without the refused ones */
    _Atomic uint64_t words; /* words in use, tomb words included */
} l2_index;

#define L2_WORD_TWIN ((uint64_t)1)   /* the bunch has, or had, another word */
#define L2_WORD_TOMB ((uint64_t)2)   /* the word names a tombstone */
#define L2_WORD_DURABLE ((uint64_t)4)   /* L2_FLAG_DURABLE of the record */
#define L2_WORD_LINKED ((uint64_t)8) /* L2_FLAG_LINKED of the record */
#define L2_WORD_FLAGS(flags) ((uint64_t)((flags) & L2_FLAGS) >> 2)
/* Heavy words: a full pair of buckets drops them last. */
#define L2_WORD_HEAVY (L2_WORD_DURABLE | L2_WORD_LINKED | L2_WORD_TOMB)
#define L2_BUNCH_WORDS (2 * L2_WAYS)
#define L2_WORD_ADDR(w) ((w) >> 28)
#define L2_WORD_TAG(w) ((uint32_t)((w) >> 12) & 0xffffu)
#define L2_WORD(addr, tag, hint) \
    ((uint64_t)(addr) << 28 | (uint64_t)(tag) << 12 | (uint64_t)(hint) << 4)
#define L2_ADDR_MAX (((uint64_t)1 << 36) - 1)

typedef struct l2_bunch { /* position of the words of a hash48; tag: fingerprint */
    uint32_t shard, b1, b2, tag;
} l2_bunch;

typedef struct l2_tombstone_lock {
    sync_lock lock;                /* rank L2_TOMBSTONE_LOCK */
    /* hash48 with a complete tombstone as newest record; 0: none */
    unsigned char memo[L2_MEMO][6] SYNC_GUARDED(L2_TOMBSTONE_LOCK);
} l2_tombstone_lock;

typedef struct l2_filter_line { _Atomic uint64_t w[8]; } l2_filter_line;

enum { L2_SLOT_FREE, L2_SLOT_READY, L2_SLOT_OPEN, L2_SLOT_FULL, L2_SLOT_WRITTEN };

typedef struct l2_slot {
    unsigned char *base;      /* seg_bytes in the mapping; constant */
    l2_head head;             /* set from READY on; L2_LOG, the worker's from FULL on */
    uint32_t state SYNC_GUARDED(L2_LOG); /* L2_SLOT_... */
    uint32_t seg;             /* index of its segment */
    /* L2_LOG while OPEN, then worker only */
    uint32_t pos, entries, tombs, controls, max_generation;
    uint32_t armed_end SYNC_GUARDED(L2_LOG);   /* bytes: a store up to here does not wait */
    uint32_t armed_lines SYNC_GUARDED(L2_LOG); /* the same limit for footer lines */
    uint32_t armed_soon SYNC_GUARDED(L2_LOG);  /* bytes; a caller beyond requests more arming */
    uint32_t last_off;        /* newest record, the distance in its footer line is not set yet */
    uint32_t kept_end;        /* end of the records of earlier runs, constant while in use */
    uint64_t synced_at;       /* value of data_syncs that permits reuse; worker only */
    bool past SYNC_GUARDED(L2_LOG); /* stored into since its pages were last zeroed */
    bool hole;                /* recovery seals it, and has lost records of it */
    _Atomic uint32_t writers; /* reserved, incomplete records; release by the last store */
    _Atomic uint32_t pins;    /* readers of the bytes; seq_cst, paired with seg.word */
} l2_slot;

#define L2_META_WORST ((uint64_t)560 << 10) /* one copy: 4,096 namespaces and tags, patterns */
#define L2_REST_WORST (4 * L2_PAGE + 2 * L2_META_WORST) /* all files except stage and data */

/* GONE: a segment index without a place, see resize.c */
enum { L2_SEG_FREE, L2_SEG_STAGE, L2_SEG_DISK, L2_SEG_BAD, L2_SEG_GONE };
#define L2_SEG_WORD(state, slot, segseq) \
    ((uint64_t)(segseq) << 16 | (uint64_t)(slot) << 8 | (uint64_t)(state))
#define L2_SEG_STATE(w) ((uint32_t)(w) & 0xffu)
#define L2_SEG_SLOT(w) ((uint32_t)((w) >> 8) & 0xffu)
#define L2_SEG_SEQ(w) ((w) >> 16)
/* The segment has records. */
#define L2_SEG_USED(w) (L2_SEG_STATE(w) == L2_SEG_STAGE || L2_SEG_STATE(w) == L2_SEG_DISK)

typedef struct l2_seg {
    _Atomic uint64_t word;  /* L2_SEG_WORD; seq_cst, paired with a slot's pins */
    _Atomic uint32_t place; /* in data.seg; worker only; L2_LOG while `word` says STAGE */
    uint32_t era;           /* era of the tombstone filter */
    uint32_t controls, footer_pages, data_end; /* valid once sealed; worker only */
    bool unsynced;          /* written since the last good sync of data.seg; worker only */
    bool unread;            /* the index rebuild has not moved all its lines to the tables yet */
    _Atomic uint32_t future; /* 1: the writer's clock was ahead, so all TTLs have passed */
    /* row i: i-th element of the stack of free segments, unrelated to this segment */
    uint32_t free_seg SYNC_GUARDED(L2_LOG);
} l2_seg;
_Static_assert(sizeof(l2_seg) == 40, "free_seg costs nothing");

typedef struct l2_namespace_row {
    l2_namespace v;
    uint32_t name_len;
    char name[L2_NAME_MAX];
    uint64_t live[L2_ROUND]; /* bytes of its generation that passes found live, see move.c */
    uint64_t live_before;    /* the sum of these at the last close; 0 after the first round */
} l2_namespace_row;

typedef struct l2_image_row { /* an image in bloom.snap that was not opened yet */
    uint64_t at, bytes, sum, note[2]; /* at: position of its head */
    uint64_t next_at; /* position in the new file; 0: not there */
    uint32_t name_len;
    bool whole;
    char name[L2_IMAGE_NAME_MAX];
} l2_image_row;

struct l2_image { /* the image that is being read */
    l2 *d;
    base_vfs_file *file;
    l2_image_row row;
    unsigned char *buf; /* one piece; NULL: no memory */
    uint64_t done;      /* bytes copied to the caller */
    uint64_t sum;       /* checksum of the pieces so far */
    size_t have, at;    /* bytes in buf, bytes consumed */
    bool clean;
};

typedef struct l2_mapped {
    const unsigned char *at;  /* NULL: not mapped; constant while open, as are bytes and guard */
    size_t bytes;
    uint32_t guard;           /* see base/sigbus.h */
    _Atomic uint32_t places;  /* places readable through the mapping; seq_cst, paired with begun */
    _Atomic uint32_t lost;    /* 1: the mapping failed and was reported */
    _Atomic uint64_t begun, done; /* reads; release by `done`, acquire in l2_map_shut */
    _Atomic uint64_t *fresh;  /* one bit per page; relaxed: a hint */
    int64_t fresh_ms;         /* time of the last reset; worker only */
} l2_mapped;

enum { L2_WHOLE, L2_BROKEN, L2_BROKEN_STAGE };    /* values of l2.broken */

/* A change that the log lacks while the tier is closed: see stall.c. */
typedef struct l2_change {
    uint64_t hash;      /* TOMB: hash of the key; CONTROL: as in l2_control_log */
    uint64_t row;       /* GLOB: number of its row; TAG: 1 if its row waits for the control */
    uint32_t generation;
    uint32_t len;       /* bytes: of the key, or of the control's value */
    uint32_t kind;      /* L2_KIND_TOMB, L2_KIND_CONTROL */
    uint32_t reserved;
} l2_change;
_Static_assert(sizeof(l2_change) == 32, "no padding in the list");

typedef struct l2_owed { /* changes of a stall, oldest first; each is an l2_change and its bytes */
    sync_lock lock;      /* rank L2_STALL; guards the fields below and all stores to `closed` */
    unsigned char *at;   /* `cap` bytes; constant */
    uint32_t *place;     /* `places` rows: position of a key's change + 1; constant */
    uint32_t cap, places; /* constant; places: power of two */
    uint32_t first, end SYNC_GUARDED(L2_STALL); /* bytes in use */
    uint32_t gone SYNC_GUARDED(L2_STALL); /* bytes removed before `at`; positions count them */
    bool over SYNC_GUARDED(L2_STALL);    /* a change found no room: a FLOOR replaces the list */
} l2_owed;

typedef struct l2_footers { /* index rebuild: footer pages of a segment, one read; worker only */
    unsigned char *buf; /* NULL: none */
    size_t room;        /* bytes; the longest footer, at most L2_FOOTERS_BYTES */
    uint64_t at;        /* position in data.seg */
    size_t bytes;       /* bytes read; 0: pages are read one by one */
} l2_footers;
#define L2_FOOTERS_BYTES ((size_t)256 << 10)

typedef struct l2_sort { /* index rebuild: lines that wait for the tables; worker only */
    l2_sort_line *line;    /* `room` lines per shard; NULL: none */
    uint32_t room;
    uint32_t shard;        /* next shard to empty; L2_SHARDS: none is due */
    uint32_t shown;        /* segments read when the areas were due last */
    uint64_t due_ns;       /* time at which the areas are due again */
    uint32_t count[L2_SHARDS];
    uint64_t lines;        /* of all segments */
    uint32_t part, parts;  /* part of the shards that takes lines; 0 parts: lines are looked at */
    bool durable;          /* a line is of a durable put */
    uint32_t first;        /* index in `order` of the first segment that is no slot */
    l2_sort_line *kept;    /* kept_room lines of the slot in which the log continues, or NULL */
    uint32_t kept_count, kept_room;
    uint32_t spare_shard;  /* position of l2_rebuild_spare */
    uint64_t spare_at;
    uint64_t spare_ns;     /* time that it took */
} l2_sort;

typedef struct l2_goal { /* target of a resize; worker only */
    bool on, floored;      /* floored: SUPER has the floor of the reclaimed segments */
    uint32_t places;
    uint64_t moved_ns;     /* time of the last progress; 0: not begun */
    uint64_t bytes;        /* requested size */
    cellar_err result;     /* valid once `on` is false */
} l2_goal;

typedef struct l2_moves { /* passes of the oldest segment, see move.c; worker only */
    bool on;
    bool summed;              /* `words` is valid */
    bool counted;             /* all segments were counted, in this run or an earlier one */
    bool copies_all;          /* live records are appended again; false: they are only counted */
    uint32_t seg, page;       /* segment, footer page */
    uint32_t from, to;        /* offsets that are still to be looked at */
    uint32_t weight;          /* 8 if records of an eighth of the segment stand for all */
    uint64_t segseq, copies;  /* records of this segment that were appended again */
    uint32_t stuck;           /* rounds without progress at the record of `from` */
    bool waits;               /* a read failed in this step: repeat it later */
    int64_t failed_ms;        /* first failed read of this segment; 0: none */
    uint32_t shard;           /* next shard of the index to sum up */
    uint64_t sum, words;      /* bytes that words lead to: so far, and the last sum of all shards */
    uint32_t part, passed;    /* part of the round of the log; segments passed in this round */
    uint32_t generation;      /* of `live` */
    uint64_t live;            /* live bytes of this segment that no row counts yet */
    uint64_t value;           /* number of the value of the last part; 0: none */
    uint32_t value_generation; /* of that value; 0: unknown */
    bool value_wanted;        /* a get finds that value */
    uint64_t value_h48;       /* of its head */
    uint64_t value_bytes;     /* 0: unknown, or another value has replaced it */
    uint32_t value_step;      /* bytes of a part */
    bool over;                /* more is known to be live than the limit: segments are dropped */
    bool spared;              /* the drop ended a value, and the rest fits: it moves */
    bool seen;                /* a put of this segment was looked at */
    unsigned char *raw, *buf; /* bytes of the segment, aligned; NULL: none */
    uint64_t at, bytes;       /* position and length of `buf` in the segment */
    size_t room;              /* bytes of `raw` */
} l2_moves;

enum { L2_NOW_CLEAN, L2_NOW_MOVING, L2_NOW_DIRTY }; /* values of l2.dirty */

enum { L2_ARM_MORE = 1, L2_ARM_AGAIN }; /* a caller came close to armed_end; a sync cleaned pages */

struct l2 {
    l2_config cfg;           /* constant; path is not kept */
    const base_vfs *vfs;
    base_vfs_file *dir, *lock_file, *super_file, *stage_file, *data_file, *data_direct, *meta[2];
    l2_form form;
    base_hash_key hash_key;
    int64_t wall_offset_ms;  /* store clock + this = L, the logical wall clock; constant */
    l2_super super;          /* worker only */
    uint32_t nstage;         /* constant */
    uint32_t nseg, places;   /* indexes in `seg`, places in data.seg; worker only, under L2_LOG */
    _Atomic uint32_t nseg_seen, places_seen; /* copies of both for all other threads */
    uint32_t seg_shift;      /* log2 of granules in a segment */
    uint32_t reserve;        /* bytes that puts leave free in the last slot */
    uint32_t room_max;       /* most bytes of one put; fits into every new slot */
    uint32_t keep_free;      /* places that the worker keeps free */

    unsigned char *map;      /* stage.buf */
    size_t map_bytes;
    uint32_t guard;          /* guard of the map, see base/sigbus.h; 0: none; constant */
    l2_mapped mapped;        /* data.seg */
    l2_opened opened;        /* constant */
    bool set_aside;          /* a damaged directory was renamed; constant */
    _Atomic uint32_t lost;   /* 1: SUPER still names the stage; 2: one attempt failed */
    l2_seg *seg;             /* nseg rows at the base of seg_region; constant */
    base_region seg_region;
    size_t seg_have;         /* committed bytes of seg_region; worker only */
    l2_slot slot[L2_SLOTS_MAX];

    sync_lock log_lock;      /* rank L2_LOG; guards the fields down to namespace_lock */
    l2_slot *open_slot SYNC_GUARDED(L2_LOG); /* NULL: none since an overflow */
    uint64_t next_segseq SYNC_GUARDED(L2_LOG);
    uint64_t segseq_end SYNC_GUARDED(L2_LOG); /* numbers below `segseq_end` may be used */
    uint64_t newest_segseq SYNC_GUARDED(L2_LOG); /* newest number in use */
    uint32_t free_count SYNC_GUARDED(L2_LOG); /* of the stack of free segments in `seg` */
    uint32_t era_now SYNC_GUARDED(L2_LOG);  /* filter era of new segments */
    uint32_t era_segs SYNC_GUARDED(L2_LOG); /* segments in era_now */
    bool moving SYNC_GUARDED(L2_LOG);       /* records of old segments move: puts leave slots */
    _Atomic uint32_t emptied; /* 1: overflow dropped all records, so no change needs a tombstone */
    uint64_t logged_controls SYNC_GUARDED(L2_LOG); /* controls reserved so far */
    _Atomic uint64_t logged;  /* records reserved so far; raised under the lock */
    uint32_t meta_lost;      /* lost_controls at the time of the current META */
    uint32_t meta_done;      /* serial of that META; only the worker changes it */

    sync_lock namespace_lock;     /* rank L2_DEV; guards the fields down to next_id */
    l2_namespace_row *namespace SYNC_GUARDED(L2_DEV);
    uint32_t namespace_count SYNC_GUARDED(L2_DEV), namespace_cap SYNC_GUARDED(L2_DEV);
    uint64_t next_generation SYNC_GUARDED(L2_DEV); /* 40 bits */
    uint32_t next_id SYNC_GUARDED(L2_DEV);

    l2_invalidations invalidations;

    _Atomic uint64_t floor_lsn;   /* only grows; raised under L2_LOG */
    _Atomic uint64_t oldest_lsn;  /* start of the oldest live segment; worker only */
    _Atomic uint64_t leaving_lsn;  /* records below are being reclaimed and not served */
    _Atomic uint64_t header_floor; /* highest floor of a header in the stage */
    _Atomic uint32_t dirty;       /* L2_NOW_...; futex word */
    _Atomic uint32_t want_dirty;  /* 1: a put was dropped because SUPER says CLEAN */
    _Atomic uint32_t part_count;  /* values in parts that were begun since the open */
    _Atomic uint64_t live_bytes;  /* estimate of the worker, see move.c */
    _Atomic uint64_t lost_entries[L2_LOSS_COUNT]; /* relaxed */
    _Atomic uint64_t loss;        /* newest event: time in ms * 16 + its l2_loss + 1; 0: none */
    uint64_t part_first;          /* number of the first of them, random; constant */
    _Atomic uint32_t resync;      /* 1: a sync failed, its bytes must be stored again; barrier.c */
    _Atomic uint32_t broken;      /* L2_BROKEN..: no puts, gets miss, until the next open */
    _Atomic uint32_t disk;        /* L2_DISK_...; release by each writer */
    l2_health health;
    cellar_l2_cipher crypt;  /* constant; seal NULL: no encryption */
    unsigned char nonce[12]; /* nonce of the first encryption since the open; constant */
    _Atomic uint64_t seals;  /* encryptions so far */
    uint32_t seal_bytes;     /* bytes that encryption adds; constant */
    bool packs;              /* this build can compress; constant */
    _Atomic uint32_t packers; /* blocks allocated */
    unsigned char *_Atomic packer[L2_PACKERS]; /* blocks that are not in use; see codec.c */
    l2_budget second, day;
    _Atomic uint64_t *seen;   /* keys refused as unused, see admission.c */
    uint32_t seen_words;      /* constant */
    _Atomic uint32_t closed;      /* L2_CLOSED..; see stall.c */
    l2_owed owed;                 /* changes that rely on the stall marker */
    _Atomic uint32_t marker_late;   /* 1: a stall marker was made after the tier reopened */
    unsigned char marker_id[16];    /* name of the stall marker; constant */
    _Atomic uint32_t lost_controls; /* controls not logged; no slot opens until META has them */
    _Atomic uint64_t beat;        /* ns of the worker's last progress; 0: the worker is idle */
    _Atomic uint64_t advanced;    /* ns of the worker's last step that made progress */
    _Atomic uint32_t room;        /* raised when a slot or a place becomes free; futex word */
    bool (*round)(l2 *d, uint64_t budget_us); /* l2_tick, for callers without a thread; constant */
    _Atomic uint32_t arm_wanted;  /* L2_ARM_..., or 0 */
    _Atomic uint64_t reads_begun, reads_done; /* reads of callers from disk */
    _Atomic uint64_t reads_stuck; /* ns since when no read has ended; 0: a read ended in 100 ms */

    l2_index index;
    l2_tombstone_lock *tombstone_locks;
    uint32_t cli_count;     /* power of two */
    l2_filter_line *lines;
    uint32_t line_count;
    /* 1: index and filter are incomplete; release when they are complete; futex word */
    _Atomic uint32_t rebuilding;
    /* eras of the filter, see tombstone_filter.c */
    struct { uint64_t end_segseq; uint32_t state; } era[L2_ERAS] SYNC_GUARDED(L2_LOG);
    uint32_t clear_at;       /* next line to clear; worker only */

    /* Fields of the worker: the thread that holds `working`. */
    _Atomic uint32_t working; /* futex word: 0 free, 1 held, 2 held with waiters */
    unsigned char *page;      /* aligned scratch of 4 * L2_PAGE */
    void *page_raw;
    bool super_owed;          /* the last write of SUPER failed */
    bool unmarked;            /* no change came since the open: the run has no mark yet */
    bool lasting;             /* a power cut at the begin of the open would have taken nothing */
    uint64_t data_syncs;      /* completed syncs of data.seg */
    size_t chunk;             /* bytes per write of a segment */
    uint64_t meta_serial, meta_lsn, meta_controls;
    int64_t barrier_ms, meta_ms, seen_ms, beat_ms, arm_ms;
    int64_t sealed_ms;        /* time of the last seal, or of the open */
    int64_t full_ms;          /* time of the last line about a full index; valid if full_seen */
    uint64_t full_seen, dropped_seen; /* index.full and .dropped at that time */
    bool no_trim;            /* the file system cannot zero a range */
    uint64_t arm_lsn, reads_ns, reads_seen; /* reads_...: time and reads_done of the last check */
    bool reads_out;           /* reads were active at the last check */
    uint32_t arm_window;      /* bytes to arm ahead */
    uint32_t *order;          /* index rebuild: order_cap segment indexes, newest first */
    uint32_t order_cap;       /* nseg at open */
    l2_goal goal;             /* see resize.c */
    l2_moves moves;
    bool uncut;               /* data.seg is longer than `places` */
    uint32_t order_count, order_at;
    l2_footers footers;           /* of order[order_at - 1] */
    l2_sort sort;

    /* Fields of owner_images.c. */
    _Atomic uint32_t imaging; /* futex word: 0 free, 1 held, 2 held with waiters; guards: */
    base_vfs_file *image_file; /* bloom.snap; NULL: none */
    l2_image_row *image;      /* image_count rows of image_cap */
    uint32_t image_count, image_cap;
    bool image_bad;           /* bloom.snap was damaged at open; constant */
    bool image_clean;         /* a close wrote bloom.snap, no run has begun since; constant */
    struct l2_image image_now; /* valid between l2_image_open and _close */
    _Atomic uint64_t image_bytes; /* size of bloom.snap; any thread reads it */
    base_vfs_file *snap_file; /* index.snap without a name; NULL: none; closed after the open */

    /* group_commit.c: numbers of commits; the last failed one; 1: a leader syncs; errno that bars
     * commits, or 0 */
    _Atomic uint32_t commits_begun, commits_done, commits_failed, committing, commit_errno;
    _Atomic uint64_t committed; /* `logged` at a commit that saw all of it complete; or 0 */
    _Atomic uint64_t commit_ns; /* start of the leader's sync; 0: none */
    _Atomic uint64_t commit_mean_ns; /* mean time of the leaders' last syncs, about 16 */
    _Atomic uint32_t commit_asked; /* 1: the thread of commits leads next */
    base_thread commit_thread;
    bool commit_threaded; /* constant, but for a close */
    /* floor of the header that must be durable before the next OK */
    uint64_t commit_floor SYNC_GUARDED(L2_LOG);
    base_thread thread;
    bool threaded, ended;
    _Atomic uint32_t stop, wake;
    _Atomic uint32_t ready; /* 1: the open is finished, the worker may begin */
    _Atomic uint32_t resizing; /* 1: a caller waits for `goal` */
    l2_counts n;
};

BASE_INLINE uint64_t l2_lsn(const l2 *d, uint64_t segseq, uint32_t off)
{
    return segseq * d->form.seg_bytes + off;
}

BASE_INLINE int64_t l2_wall_now(const l2 *d)
{
    return base_add_sat(base_now_ms(d->cfg.clock), d->wall_offset_ms);
}

/* Return the lsn below which no record counts, now and for the next open. */
BASE_INLINE uint64_t l2_floor(const l2 *d)
{
    return BASE_MAX(base_load_acq(&d->header_floor), base_load_acq(&d->floor_lsn));
}

/* Return the name of a file of the store. */
BASE_INLINE const char *l2_file_name(const l2 *d, const base_vfs_file *f)
{
    if (f == d->data_file || f == d->data_direct) { return "data.seg"; }
    if (f == d->stage_file) { return "stage.buf"; }
    if (f == d->super_file) { return "SUPER"; }
    return f == d->meta[0] || f == d->meta[1] ? "META" : "another file";
}

/* future: the segment of the record is younger than the clock. */
BASE_INLINE bool l2_rec_expired(const l2 *d, const l2_rec *r, bool future)
{
    return r->expiry_wall_ms != 0 && (future || r->expiry_wall_ms <= l2_wall_now(d));
}

/* Return the number of places that the worker keeps free. */
BASE_INLINE uint32_t l2_free_kept(uint32_t places) { return places >= 8 ? 2 : 1; }

#define L2_CLOSED 1u
#define L2_MARKED 2u
#define L2_CLOSED_ONE 4u /* the upper bits count the removals of the marker */
BASE_INLINE bool l2_is_closed(const l2 *d) { return (base_load_acq(&d->closed) & L2_CLOSED) != 0; }

#endif
