/* SPDX-License-Identifier: MIT
 *
 * l2_int: structs and internal functions that the files of the disk tier share.
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
 * LOCKING    tombstone lock of the key's class (L2_TOMBSTONE_LOCK) -> log lock (L2_LOG) or a shard
 *            (L2_SHARD). A thread never holds both of the latter. A slot changes hands: L2_LOG
 *            guards it while it is OPEN, the worker alone uses it from FULL on. The worker is the
 *            thread that holds `working`, which has no rank, because it is held during I/O.
 * SEE ALSO   README.md in this folder: terms, protocols, proofs. */
#ifndef L2_L2_INT_H
#define L2_L2_INT_H

#include <string.h>

#include "base/num.h"
#include "base/sigbus.h"
#include "base/sync.h"
#include "l2/l2.h"

#define L2_MAJOR 1u
#define L2_MINOR 2u          /* README.md lists the versions */
#define L2_INCOMPAT_META 1u  /* headers have META's serial instead of the segment size */
#define L2_INCOMPAT_FLAGS 2u /* kinds of records and footer lines carry L2_FLAG_... */
#define L2_INCOMPAT (L2_INCOMPAT_META | L2_INCOMPAT_FLAGS)
#define L2_PAGE 4096u
#define L2_HEAD_BYTES 64u
#define L2_HEAD_BEGUN UINT64_C(0x6e75676562324c43) /* "CL2begun": a header is being written here */
#define L2_RECORD_HEAD 24u
#define L2_FOOT_ENTRIES 407u
#define L2_FOOT_HEAD 24u
#define L2_ENTRY_BYTES 10u
#define L2_WALL_END_MS ((int64_t)1 << 48) /* 8,900 years: no limit */
#define L2_EXT_MAX 872u      /* bytes of a record's extension in this version */
#define L2_SEGS_MIN 3u
#define L2_RESIZE_LEAST 3u   /* places that a resize leaves in addition to one per slot */
#define L2_SLOTS_MAX 8u
#define L2_SHARDS 64u
#define L2_WAYS 8u
#define L2_KICKS 8u
#define L2_KICKS_MOST 64u /* for a heavy word */
#define L2_MEMO 10u
#define L2_ERAS 3u
#define L2_SEGSEQ_STEP 1024u /* segment numbers that one write of SUPER reserves */
#define L2_BAD_MAX 768u
#define L2_DAY_STEPS 256u     /* SUPER counts 1/256 of a day's budget ahead */
#define L2_PACKERS 4u /* two for compression, two for encryption */
#define L2_FLOOR_ROOM 64u    /* bytes at the end of a slot, reserved for a FLOOR */

enum { L2_KIND_PUT = 0, L2_KIND_TOMB = 1, L2_KIND_CONTROL = 2 };
/* Flags next to the kind, in a record and in its footer line. KEPT: the durability of the put was
 * acknowledged. LINKED: the record names an older record of its class, see index.c, LINKS. */
#define L2_FLAG_KEPT 0x10u
#define L2_FLAG_LINKED 0x20u
#define L2_FLAGS (L2_FLAG_KEPT | L2_FLAG_LINKED)
#define L2_LINK_BYTES 8u /* first bytes of a record's extension */
#define L2_VLEN_MASK 0x3fffffffu
/* The two bits above a value's length. Both may be set. */
enum { L2_FORM_PLAIN = 0, L2_FORM_PACKED = 1, L2_FORM_SEALED = 2 };
/* First byte of a control's value. For a TAG and a GLOB also the hash48 of the footer line. */
enum { L2_CTL_NAMESPACE = 1, L2_CTL_FLOOR = 2, L2_CTL_TAG = 3, L2_CTL_GLOB = 4 };
#define L2_CTL_BYTES_MAX 1040u /* of a value: a GLOB */

/* ---- format.c: bytes ------------------------------------------------------------------------- */

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
    uint64_t born; /* segseq of the first segment of this run; 0: unknown */
    int64_t anchor_wall_ms, anchor_boot_ms, last_seen_wall_ms;
    uint64_t bytes_today, day, opens;
    uint32_t state, level, seg_bytes, nseg, nstage, granule, bad_count;
    uint32_t closed; /* 1: a close wrote CLEAN, and no run has begun since */
    uint16_t check_algo, hash_algo;
    uint32_t bad[L2_BAD_MAX];
} l2_super;
enum { L2_CLEAN = 1, L2_DIRTY = 2 };

typedef struct l2_head { /* header of a segment */
    uint64_t epoch, segseq, prev_segseq, floor_lsn;
    int64_t base_wall_ms;
    uint32_t segid;
    uint32_t meta; /* serial of a META that was durable before this header. That META and all above
                    * the floor contain every control. UINT32_MAX: no information. */
    uint16_t minor; /* format version of the writer; l2_head_write sets its own */
} l2_head;

typedef struct l2_trailer {
    l2_head head; /* second copy; either copy is enough */
    uint32_t data_end, entries, footer_pages, tombs, controls, max_generation;
} l2_trailer;

typedef struct l2_entry { /* one footer line */
    uint64_t h48;
    uint32_t off, bytes; /* bytes: up to the next record, or to the end */
    uint8_t kind, flags;
} l2_entry;

typedef struct l2_rec { /* the 24-byte head of a record, decoded */
    uint32_t check;
    uint16_t mark, klen;
    uint32_t vlen;   /* bytes as stored */
    uint8_t kind, ext, form; /* form: L2_FORM_..., for a put */
    uint8_t flags;   /* L2_FLAG_... */
    int64_t expiry_wall_ms; /* 0: none */
    uint32_t generation;
    uint32_t bytes;  /* without padding */
} l2_rec;

typedef struct l2_form { /* parameters of all checks of one store; constant while it is open */
    base_sum_key sum;
    uint64_t epoch;
    uint32_t seg_bytes, granule;
} l2_form;

BASE_INLINE uint64_t l2_r64(const unsigned char *p) { return base_hash_r8(p); }
BASE_INLINE uint32_t l2_r32(const unsigned char *p) { return (uint32_t)base_hash_r4(p); }
BASE_INLINE uint16_t l2_r16(const unsigned char *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}
BASE_INLINE void l2_w64(unsigned char *p, uint64_t v) { memcpy(p, &v, 8); }
BASE_INLINE void l2_w32(unsigned char *p, uint32_t v) { memcpy(p, &v, 4); }
BASE_INLINE void l2_w16(unsigned char *p, uint16_t v) { memcpy(p, &v, 2); }

/* Derive the check parameters of the store that SUPER describes. */
CELLAR_PRIVATE void l2_form_make(l2_form *f, const l2_super *s);
CELLAR_PRIVATE void l2_super_write(unsigned char page[L2_PAGE], const l2_super *s);
/* Read and check SUPER. OK; E_FOREIGN: no magic; E_CORRUPT: wrong check; E_NEWER_FORMAT. */
CELLAR_PRIVATE cellar_err l2_super_read(const unsigned char page[L2_PAGE], l2_super *out);
/* Repair a damaged copy by trying single flipped bits. Return true if it verifies now. */
CELLAR_PRIVATE bool l2_super_heal(unsigned char page[L2_PAGE], l2_super *out);

CELLAR_PRIVATE void l2_head_write(const l2_form *f, unsigned char at[L2_HEAD_BYTES],
                                  const l2_head *h);
/* Read a header. Return false if it is damaged, of another epoch, or no header. */
CELLAR_PRIVATE bool l2_head_read(const l2_form *f, const unsigned char at[L2_HEAD_BYTES],
                                 l2_head *out);
CELLAR_PRIVATE void l2_trailer_write(const l2_form *f, unsigned char page[L2_PAGE],
                                     const l2_trailer *t);
CELLAR_PRIVATE bool l2_trailer_read(const l2_form *f, const unsigned char page[L2_PAGE],
                                    l2_trailer *out);
/* Set the check of a complete footer page. */
CELLAR_PRIVATE void l2_foot_close(const l2_form *f, unsigned char page[L2_PAGE], uint64_t segseq);
CELLAR_PRIVATE bool l2_foot_ok(const l2_form *f, const unsigned char page[L2_PAGE],
                               uint64_t segseq, uint32_t index);
/* Repair a damaged page by trying single flipped bits, in at most 3 ms. Return true if it verifies
 * now. */
CELLAR_PRIVATE bool l2_foot_heal(const l2_form *f, unsigned char page[L2_PAGE], uint64_t segseq,
                                 uint32_t index);
CELLAR_PRIVATE bool l2_trailer_heal(const l2_form *f, unsigned char page[L2_PAGE],
                                    l2_trailer *out);
BASE_INLINE unsigned char *l2_foot_entry(unsigned char *page, uint32_t i)
{
    return page + L2_FOOT_HEAD + (size_t)i * L2_ENTRY_BYTES;
}
CELLAR_PRIVATE void l2_entry_write(unsigned char at[L2_ENTRY_BYTES], uint64_t h48, uint8_t kind,
                                   uint8_t flags);
/* Decode the kind and the flags of a footer line. Return false if no line has this byte. */
CELLAR_PRIVATE bool l2_entry_kind(const unsigned char at[L2_ENTRY_BYTES], l2_entry *e);

/* Return the bytes of a record with padding. */
CELLAR_PRIVATE uint32_t l2_rec_room(const l2_form *f, size_t ext_bytes, size_t klen, size_t vlen);
/* Return the start of a record of `room` bytes, padding included, after a record that ends at
 * `pos`. A record of half a page or more straddles no more pages than necessary. */
BASE_INLINE uint32_t l2_rec_start(uint32_t pos, uint32_t room)
{
    const uint32_t straddled = (pos % L2_PAGE + room + L2_PAGE - 1) / L2_PAGE;
    const bool page = room >= L2_PAGE / 2 && straddled > (room + L2_PAGE - 1) / L2_PAGE;
    return page ? (uint32_t)base_round_up(pos, L2_PAGE) : pos;
}
/* Write the head of a record. The check stays 0 until the body is complete. */
CELLAR_PRIVATE void l2_rec_begin(const l2_form *f, unsigned char *at, uint64_t segseq,
                                 uint32_t off, const l2_rec *r);
CELLAR_PRIVATE void l2_rec_end(const l2_form *f, unsigned char *at, uint64_t segseq, uint32_t off);
/* Return true if a record begins at `at`. Its lengths are reliable then, its body is not checked.
 * `end`: upper limit of the data area. */
CELLAR_PRIVATE bool l2_rec_marked(const l2_form *f, const unsigned char *at, uint64_t segseq,
                                  uint32_t off, uint32_t end, l2_rec *out);
/* Check a whole record, after l2_rec_marked. */
CELLAR_PRIVATE bool l2_rec_whole(const l2_form *f, const unsigned char *at, uint64_t segseq,
                                 uint32_t off, const l2_rec *r);

/* Return the bytes of the link that precede the other extensions. */
BASE_INLINE uint32_t l2_link_bytes(const l2_rec *r)
{
    return (r->flags & L2_FLAG_LINKED) != 0 ? L2_LINK_BYTES : 0;
}
/* Write the link of a record at `lsn` to the one at `to`; 0: no target. */
CELLAR_PRIVATE void l2_link_write(const l2_form *f, unsigned char ext[L2_LINK_BYTES], uint64_t lsn,
                                  uint64_t to);
/* Return the target lsn of the link of a record at `lsn`; 0: none. */
CELLAR_PRIVATE uint64_t l2_link_read(const l2_form *f, const unsigned char *ext, uint64_t lsn);
/* Write the extensions of `m`. end_wall_ms: deadline of an entry with an idle time, else 0.
 * raw_bytes: size of a compressed value before compression, else 0. */
CELLAR_PRIVATE size_t l2_ext_write(unsigned char out[L2_EXT_MAX], const l2_meta *m,
                                   int64_t end_wall_ms, uint32_t raw_bytes);
/* Read extensions. Return false if an unknown extension is mandatory. */
CELLAR_PRIVATE bool l2_ext_read(const unsigned char *ext, size_t bytes, l2_meta *m);

/* ---- index.c: words ------------------------------------------------------------------------ */

typedef struct l2_shard {
    sync_lock lock;        /* rank L2_SHARD; for writers, readers take none */
    _Atomic uint32_t moves; /* odd while words move to their other bucket; under lock */
    _Atomic uint64_t *way; /* buckets * L2_WAYS words, see index.c */
    unsigned char *closed; /* one bit per bucket that turned away a word; NULL: no index rebuild */
    uint32_t *place;       /* upper 32 bits of each word's hash48; NULL: no index rebuild */
} l2_shard;

typedef struct l2_index {
    l2_shard shard[L2_SHARDS];
    _Atomic uint64_t *way; /* all shards; one block, so that each bucket is a cache line */
    unsigned char *closed; /* all shards; NULL without an index rebuild; worker only */
    uint32_t *place;       /* all shards; also NULL if the budget refuses it */
    uint32_t buckets;      /* per shard; constant */
    _Atomic uint64_t full; /* words that were refused, or removed for newer words */
    _Atomic uint64_t words; /* words in use, tomb words included */
} l2_index;

#define L2_WORD_TWIN ((uint64_t)1)   /* the class has, or had, another word */
#define L2_WORD_TOMB ((uint64_t)2)   /* the word names a tombstone */
#define L2_WORD_KEPT ((uint64_t)4)   /* L2_FLAG_KEPT of the record */
#define L2_WORD_LINKED ((uint64_t)8) /* L2_FLAG_LINKED of the record */
#define L2_WORD_FLAGS(flags) ((uint64_t)((flags) & L2_FLAGS) >> 2)
/* Heavy words: words that leave only together with their class, see index.c, LINKS. */
#define L2_WORD_HEAVY (L2_WORD_KEPT | L2_WORD_LINKED | L2_WORD_TOMB)
#define L2_CLASS_WORDS (2 * L2_WAYS)
#define L2_WORD_ADDR(w) ((w) >> 28)
#define L2_WORD_TAG(w) ((uint32_t)((w) >> 12) & 0xffffu)
#define L2_WORD(addr, tag, hint) \
    ((uint64_t)(addr) << 28 | (uint64_t)(tag) << 12 | (uint64_t)(hint) << 4)
#define L2_ADDR_MAX (((uint64_t)1 << 36) - 1)

typedef struct l2_sort_line { /* a footer line during the index rebuild: its word, and the upper
                               * bits of its hash48. The fingerprint in the word has the lower
                               * bits. */
    uint32_t word_lo, word_hi, place;
} l2_sort_line;

typedef struct l2_class { /* position of the words of a hash48; tag: fingerprint */
    uint32_t shard, b1, b2, tag;
} l2_class;

/* ---- tombstone_filter.c: tombstone locks, memo, tombstone filter ----------------------------- */

typedef struct l2_tombstone_lock {
    sync_lock lock;                /* rank L2_TOMBSTONE_LOCK */
    /* hash48 with a complete tombstone as newest record; 0: none */
    unsigned char memo[L2_MEMO][6] SYNC_GUARDED(L2_TOMBSTONE_LOCK);
} l2_tombstone_lock;

typedef struct l2_filter_line { _Atomic uint64_t w[8]; } l2_filter_line;

/* ---- log.c: slots and segments -------------------------------------------------------------- */

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
    uint64_t synced_at;       /* value of data_syncs that permits reuse; worker only */
    bool past SYNC_GUARDED(L2_LOG); /* stored into since its pages were last zeroed */
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

typedef struct l2_seg {
    _Atomic uint64_t word;  /* L2_SEG_WORD; seq_cst, paired with a slot's pins */
    _Atomic uint32_t place; /* in data.seg; worker only; L2_LOG while `word` says STAGE */
    uint32_t era;           /* era of the tombstone filter */
    uint32_t controls, footer_pages, data_end; /* valid once sealed; worker only */
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
} l2_namespace_row;

/* ---- invalidations.c: tags and patterns ------------------------------------------------------ */

#define L2_TAGS_MAX 4096u
#define L2_GLOBS_MAX 256u
#define L2_GLOB_TEXT_MAX ((uint32_t)64 << 10) /* all patterns together */

typedef struct l2_tag_row {
    uint64_t fp, hard, soft; /* fingerprint, epochs; epoch 0: never invalidated in this way */
    uint64_t lsn;            /* lsn of its newest control */
    uint32_t pending;        /* controls not yet logged */
    uint32_t reserved;
} l2_tag_row;

typedef struct l2_globs l2_globs;

typedef struct l2_ends {
    sync_lock lock;           /* rank GLOB; guards all fields that are not atomic */
    _Atomic uint64_t ends;    /* number of invalidations; raised between row and control */
    l2_tag_row *tag SYNC_GUARDED(GLOB);
    uint32_t tag_count SYNC_GUARDED(GLOB), tag_cap SYNC_GUARDED(GLOB);
    uint64_t tag_floor SYNC_GUARDED(GLOB); /* epoch; tagged entries born before are invalid */
    l2_globs *_Atomic globs;  /* NULL: none */
    l2_globs *replaced SYNC_GUARDED(GLOB); /* retire list: replaced lists that readers may see */
    _Atomic uint32_t readers; /* readers of lists */
    uint64_t last_seq SYNC_GUARDED(GLOB);
    uint64_t floor SYNC_GUARDED(GLOB); /* highest lsn of a FLOOR that replaced a pattern */
    bool open;                /* the log accepts controls; constant after the open */
} l2_ends;

/* ---- owner_images.c: data of the cache next to the log --------------------------------------- */

typedef struct l2_image_row { /* an image in bloom.snap that was not opened yet */
    uint64_t at, bytes, sum, note[2]; /* at: position of its head */
    uint64_t next_at; /* position in the new file; 0: not there */
    uint32_t name_len;
    bool whole;
    char name[L2_IMAGE_NAME_MAX];
} l2_image_row;

struct l2_image { /* the image that is being read */
    l2 *d;
    l2_image_row row;
    unsigned char *buf; /* one piece; NULL: no memory */
    uint64_t done;      /* bytes copied to the caller */
    uint64_t sum;       /* checksum of the pieces so far */
    size_t have, at;    /* bytes in buf, bytes consumed */
    bool clean;
};

/* ---- mapped_read.c: data.seg, mapped for reading --------------------------------------------- */

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

/* ---- health.c: health ---------------------------------------------------------------------- */

#define L2_ERRORS_MOST 64u
enum { L2_DISK_OK, L2_DISK_OFF, L2_DISK_TRYING }; /* values of l2.disk */
enum { L2_WHOLE, L2_BROKEN, L2_BROKEN_STAGE };    /* values of l2.broken */

typedef struct l2_trouble {
    sync_lock lock;        /* rank L2_DEV; guards the rest */
    /* ring of cfg.off_errors times of errors, in ms */
    int64_t error_ms[L2_ERRORS_MOST] SYNC_GUARDED(L2_DEV);
    uint32_t errors SYNC_GUARDED(L2_DEV);  /* since the last recovery of the disk */
    uint32_t damaged SYNC_GUARDED(L2_DEV); /* damaged records since damage_ms */
    int64_t damage_ms SYNC_GUARDED(L2_DEV);
    uint64_t damage_reads SYNC_GUARDED(L2_DEV); /* gets before damage_ms */
    int64_t off_ms SYNC_GUARDED(L2_DEV);        /* length of the current pause */
    int64_t until_ms SYNC_GUARDED(L2_DEV);      /* end of the current pause */
} l2_trouble;

typedef struct l2_counts { /* relaxed counters; l2_stats_get returns them */
    _Atomic uint64_t gets, hits, miss_word, miss_read, miss_damage, miss_key, miss_expired,
        io_errors, puts, put_bytes, dropped, refused_stamp, refused_size, refused_ttl, identical,
        kills /* neither denied nor remembered */, tombstones, denied, remembered, controls,
        sealed, sealed_bytes, reclaimed, emptied, syncs, barriers, healed, recovered, holes, offs,
        stalled, closings, relied, waits, refused_budget, refused_unused,
        refused_seal, miss_sealed, commits, miss_ended, refused_ended, folds, packed, packed_saved,
        miss_packed, cuts, reread, snaps, scrapped_bytes;
} l2_counts;

typedef struct l2_budget { /* bytes of puts in a window of one second or one day */
    _Atomic uint64_t window; /* number of the window; the next one begins with a CAS */
    _Atomic uint64_t used;   /* bytes; may include a few of the window before, see admission.c */
} l2_budget;

typedef struct l2_windows { uint64_t second, day; } l2_windows; /* windows that counted a put */

typedef struct l2_feet { /* index rebuild: footer pages of a segment, one read; worker only */
    unsigned char *buf; /* NULL: none */
    size_t room;        /* bytes; the longest footer, at most L2_FEET_BYTES */
    uint64_t at;        /* position in data.seg */
    size_t bytes;       /* bytes read; 0: pages are read one by one */
} l2_feet;
#define L2_FEET_BYTES ((size_t)256 << 10)

typedef struct l2_sort { /* index rebuild: lines that wait for the tables; worker only */
    l2_sort_line *line;    /* `room` lines per shard; NULL: none */
    uint32_t room;
    uint32_t shard;        /* next shard to empty, after all lines were read */
    uint32_t count[L2_SHARDS];
} l2_sort;

typedef struct l2_goal { /* target of a resize; worker only */
    bool on, floored;      /* floored: SUPER has the floor of the reclaimed segments */
    uint32_t places;
    uint64_t moved_ns;     /* time of the last progress; 0: not begun */
    uint64_t bytes;        /* requested size */
    cellar_err result;     /* valid once `on` is false */
} l2_goal;

enum { L2_NOW_CLEAN, L2_NOW_MOVING, L2_NOW_DIRTY }; /* values of l2.dirty */

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
    bool forked;             /* shell in a child, see forked.c; the child has no other thread */
    base_vfs gone;           /* vfs of the shell */
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
    _Atomic uint32_t emptied; /* 1: overflow dropped all records, so no change needs a tombstone */
    uint64_t logged_controls SYNC_GUARDED(L2_LOG); /* controls reserved so far */
    _Atomic uint64_t logged;  /* records reserved so far; raised under the lock */
    uint32_t meta_lost;      /* lost_controls at the time of the current META */
    uint32_t meta_done;      /* serial of that META; only the worker changes it */

    sync_lock namespace_lock;     /* rank L2_DEV; guards the fields down to next_id */
    l2_namespace_row *namespace SYNC_GUARDED(L2_DEV);
    uint32_t namespace_count SYNC_GUARDED(L2_DEV), namespace_cap SYNC_GUARDED(L2_DEV);
    uint32_t next_generation SYNC_GUARDED(L2_DEV), next_id SYNC_GUARDED(L2_DEV);

    l2_ends ends;

    _Atomic uint64_t floor_lsn;   /* only grows; raised under L2_LOG */
    _Atomic uint64_t oldest_lsn;  /* start of the oldest live segment; worker only */
    _Atomic uint64_t leaving_lsn;  /* records below are being reclaimed and not served */
    _Atomic uint64_t header_floor; /* highest floor of a header in the stage */
    _Atomic uint32_t dirty;       /* L2_NOW_...; futex word */
    _Atomic uint32_t want_dirty;  /* 1: a put was dropped because SUPER says CLEAN */
    _Atomic uint32_t broken;      /* L2_BROKEN..: no puts, gets miss, until the next open */
    _Atomic uint32_t disk;        /* L2_DISK_...; release by each writer */
    l2_trouble trouble;
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
    _Atomic uint32_t bell_late;   /* 1: a stall marker was made after the tier reopened */
    unsigned char bell_id[16];    /* name of the stall marker; constant */
    _Atomic uint32_t lost_controls; /* controls not logged; no slot opens until META has them */
    _Atomic uint64_t beat;        /* ns of the worker's last progress; 0: the worker is idle */
    _Atomic uint32_t arm_wanted;  /* 1: a caller came close to armed_end */
    _Atomic uint64_t reads_begun, reads_done; /* reads of callers from disk */
    _Atomic uint32_t reads_stuck; /* 1: a read takes longer than 100 ms */

    l2_index index;
    l2_tombstone_lock *tombstone_locks;
    uint32_t cli_count;     /* power of two */
    l2_filter_line *lines;
    uint32_t line_count;
    _Atomic uint32_t warming; /* 1: the filter is incomplete; release when it is complete */
    /* eras of the filter, see tombstone_filter.c */
    struct { uint64_t end_segseq; uint32_t state; } era[L2_ERAS] SYNC_GUARDED(L2_LOG);
    uint32_t clear_at;       /* next line to clear; worker only */

    /* Fields of the worker: the thread that holds `working`. */
    _Atomic uint32_t working; /* futex word: 0 free, 1 held, 2 held with waiters */
    unsigned char *page;      /* aligned scratch of 4 * L2_PAGE */
    void *page_raw;
    uint64_t data_syncs;      /* completed syncs of data.seg */
    size_t chunk;             /* bytes per write of a segment */
    uint64_t meta_serial, meta_lsn, meta_controls;
    int64_t barrier_ms, meta_ms, seen_ms, beat_ms, arm_ms;
    int64_t sealed_ms;        /* time of the last seal, or of the open */
    bool no_scrap;            /* the file system cannot zero a range */
    uint64_t arm_lsn, reads_ns, reads_seen; /* reads_...: time and reads_done of the last check */
    bool reads_out;           /* reads were active at the last check */
    uint32_t arm_window;      /* bytes to arm ahead */
    uint32_t *order;          /* index rebuild: order_cap segment indexes, newest first */
    uint32_t order_cap;       /* nseg at open */
    l2_goal goal;             /* see resize.c */
    bool uncut;               /* data.seg is longer than `places` */
    uint32_t order_count, order_at;
    l2_feet feet;             /* of order[order_at - 1] */
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
    /* floor of the header that must be durable before the next OK */
    uint64_t commit_floor SYNC_GUARDED(L2_LOG);
    base_thread thread;
    bool threaded, ended;
    _Atomic uint32_t stop, bell;
    _Atomic uint32_t ready; /* 1: the open is finished, the worker may begin */
    _Atomic uint32_t resizing; /* 1: a caller waits for `goal` */
    l2_counts n;
};

#define L2_COUNT(d, field) ((void)base_add_rlx(&(d)->n.field, (uint64_t)1))
#define L2_COUNT_BY(d, field, by) ((void)base_add_rlx(&(d)->n.field, (uint64_t)(by)))

/* index.c */
/* Return the buckets of one shard of an index for `objects`. */
CELLAR_PRIVATE uint32_t l2_index_buckets(uint64_t objects);
CELLAR_PRIVATE bool l2_index_open(l2 *d, uint64_t objects);
CELLAR_PRIVATE void l2_index_close(l2 *d);
BASE_INLINE uint64_t l2_h48(uint64_t hash) { return base_mix64(hash) >> 16; }
/* Return a word of the class, or 0. It is the only one unless it has L2_WORD_TWIN. */
CELLAR_PRIVATE uint64_t l2_index_find(l2 *d, uint64_t h48);
/* Copy all words of the class into `word`. Return their number. */
CELLAR_PRIVATE uint32_t l2_index_all(l2 *d, uint64_t h48, uint64_t word[L2_CLASS_WORDS]);
/* Replace all words of the class that are not heavy by `word`. 0 removes them. */
CELLAR_PRIVATE void l2_index_set(l2 *d, uint64_t h48, uint64_t word);
/* Replace `behind`, a heavy word of the class, by `word`. The others stay. */
CELLAR_PRIVATE void l2_index_link(l2 *d, uint64_t h48, uint64_t word, uint64_t behind);
/* Remove the word of the class that names `addr`. */
CELLAR_PRIVATE void l2_index_drop(l2 *d, uint64_t h48, uint64_t addr);
/* Add words of one shard during the index rebuild. A line is skipped if its hash48 has a word, or
 * its bucket pair has turned away a word. */
CELLAR_PRIVATE void l2_index_replay(l2 *d, uint32_t shard, const l2_sort_line *line, uint32_t n);
CELLAR_PRIVATE bool l2_index_warm_begin(l2 *d);
/* Remove all words for which `dead` returns true. Works without footers. */
CELLAR_PRIVATE void l2_index_sweep(l2 *d, bool (*dead)(const l2 *d, uint64_t word, uint64_t arg),
                                   uint64_t arg);
CELLAR_PRIVATE void l2_index_warm_end(l2 *d);
CELLAR_PRIVATE uint64_t l2_word_make(const l2 *d, uint32_t seg, uint32_t off, uint64_t h48,
                                     uint32_t bytes);
CELLAR_PRIVATE uint32_t l2_word_seg(const l2 *d, uint64_t word);
CELLAR_PRIVATE uint32_t l2_word_off(const l2 *d, uint64_t word);
CELLAR_PRIVATE uint32_t l2_word_bytes(const l2 *d, uint64_t word); /* upper bound */
/* Return the lsn of the record that the word names; 0: its segment is free. */
CELLAR_PRIVATE uint64_t l2_word_lsn(const l2 *d, uint64_t word);

/* tombstone_filter.c */
/* Return the number of tombstone locks of a store. */
CELLAR_PRIVATE uint32_t l2_tombstone_locks_in(uint64_t memory_bytes);
CELLAR_PRIVATE uint32_t l2_lines_in(uint64_t objects);      /* lines of its filter */
CELLAR_PRIVATE bool l2_tombstone_locks_open(l2 *d, uint64_t objects);
CELLAR_PRIVATE void l2_tombstone_locks_close(l2 *d);
/* Return the tombstone lock of a class. Fingerprint and shard select it, so that a class has one
 * lock. */
BASE_INLINE l2_tombstone_lock *l2_tombstone_lock_of(l2 *d, uint64_t h48)
{
    return &d->tombstone_locks[((h48 & 0xffffu) | h48 >> 42 << 16) & (d->cli_count - 1)];
}
/* Wait until each thread that held a tombstone lock before the call has released it. */
CELLAR_PRIVATE void l2_tombstone_locks_pass(l2 *d);
CELLAR_PRIVATE bool l2_memo_knows(const l2_tombstone_lock *g, uint64_t h48)
    SYNC_HOLDS(L2_TOMBSTONE_LOCK);
CELLAR_PRIVATE void l2_memo_note(l2_tombstone_lock *g, uint64_t h48) SYNC_HOLDS(L2_TOMBSTONE_LOCK);
CELLAR_PRIVATE void l2_memo_forget(l2_tombstone_lock *g, uint64_t h48)
    SYNC_HOLDS(L2_TOMBSTONE_LOCK);
CELLAR_PRIVATE void l2_filter_ahead(const l2 *d, uint64_t h48); /* prefetch the line of a key */
CELLAR_PRIVATE void l2_filter_add(l2 *d, uint64_t h48, uint32_t era);
CELLAR_PRIVATE bool l2_filter_maybe(const l2 *d, uint64_t h48);
/* Begin a segment. Return its era. */
CELLAR_PRIVATE uint32_t l2_era_begin(l2 *d, uint64_t segseq) SYNC_HOLDS(L2_LOG);
/* Clear a piece of a dropped era. Return true if more is left. */
CELLAR_PRIVATE bool l2_era_work(l2 *d);

/* admission.c */
CELLAR_PRIVATE uint32_t l2_seen_in(uint64_t memory_bytes, uint64_t objects); /* words of it */
CELLAR_PRIVATE bool l2_seen_open(l2 *d, uint64_t objects);
CELLAR_PRIVATE void l2_seen_close(l2 *d);
/* Return true if the key was noted recently. Note the key. */
CELLAR_PRIVATE bool l2_seen_again(l2 *d, uint64_t h48);
/* Count `bytes` against the write budgets; *w: windows that counted. Return false if a budget
 * refuses. */
CELLAR_PRIVATE bool l2_budget_allows(l2 *d, uint64_t bytes, l2_windows *w);
/* Refund `bytes` that were not written. */
CELLAR_PRIVATE void l2_budgets_back(l2 *d, const l2_windows *w, uint64_t bytes);

/* codec.c */
typedef struct l2_box { /* a value in its stored form */
    unsigned char *block; /* owned; NULL: none */
    size_t block_bytes;   /* 0: the block is one of l2.packer */
    const unsigned char *bytes;
} l2_box;
CELLAR_PRIVATE bool l2_codec_open(l2 *d);
CELLAR_PRIVATE void l2_codec_close(l2 *d);
/* Take a block of `bytes` for one compression or encryption: a reserved one, or a new one. block
 * NULL: no memory. */
CELLAR_PRIVATE void l2_packer_take(l2 *d, l2_box *box, size_t bytes);
/* Compress a value. r has the raw length and no ext; on success r describes the compressed value,
 * and its ext must then state the raw length. Return false, with nothing changed, if it does not
 * pay or memory is short. */
CELLAR_PRIVATE bool l2_box_pack(l2 *d, const void *value, l2_rec *r, l2_box *box);
/* Encrypt the r->vlen bytes in *box; r and *box then describe the result. Return false if memory is
 * short or the cipher fails. */
CELLAR_PRIVATE bool l2_box_seal(l2 *d, const l2_key *k, const unsigned char *ext, l2_rec *r,
                                l2_box *box);
CELLAR_PRIVATE void l2_box_free(l2 *d, l2_box *box);
/* Decrypt the record at `at`, which verified and is encrypted or must be. box->bytes: *n bytes, in
 * `buf` if they fit and are not compressed. Return false if the record cannot be decrypted. */
CELLAR_PRIVATE bool l2_box_open(l2 *d, const l2_rec *r, const unsigned char *at, void *buf,
                                size_t buf_cap, l2_box *box, uint32_t *n);
/* Return true if this value can be decompressed. Otherwise count a miss. */
CELLAR_PRIVATE bool l2_box_packed_right(l2 *d, const l2_rec *r, const l2_meta *m);
/* Decompress raw_bytes into `buf`. Return false if the bytes are no compression of that size. */
CELLAR_PRIVATE bool l2_box_unpack(l2 *d, const l2_box *box, uint32_t n, void *buf,
                                  uint32_t raw_bytes);

/* log.c */
typedef enum l2_room { L2_ROOM_PUT, L2_ROOM_KEEP, L2_ROOM_FLOOR } l2_room;
typedef struct l2_spot { /* a reserved record; the slot's writers count it */
    l2_slot *slot;
    unsigned char *at;
    uint64_t segseq;
    uint32_t seg, off, era;
} l2_spot;
typedef enum l2_took {
    L2_TOOK, L2_NO_ROOM, L2_IS_CLEAN, L2_IS_EMPTY, L2_IS_STALLED, L2_IS_FROZEN, L2_IS_ENDED,
    L2_IS_OLD
} l2_took;
typedef struct l2_terms { /* conditions for a put */
    uint64_t ends;             /* l2_ends.ends before its tags and its key were checked */
    const l2_current *current; /* NULL: always current */
    uint64_t hash;
} l2_terms;
BASE_INLINE bool l2_is_current(const l2_terms *t)
{
    const l2_current *c = t->current;
    return c == NULL || c->is == NULL || BASE_MUTANT("l2.no_stamp") ||
           c->is(c->ctx, t->hash, c->stamp);
}
/* Reserve a record: write its head and its footer line. The caller writes the body, then calls
 * l2_rec_end and l2_spot_done. terms: NULL unless the record is a put. A put gives up if the lock
 * is busy. Its filter bits are set when it has its place. Results without a reservation:
 * - L2_IS_CLEAN: the caller must mark the store dirty first.
 * - L2_IS_EMPTY: a KEEP record found no room, so all older records were dropped.
 * - L2_IS_STALLED, L2_IS_FROZEN: the disk does not answer.
 * - L2_IS_ENDED, L2_IS_OLD: a tag or pattern, or a change of the key, invalidated the put. */
CELLAR_PRIVATE l2_took l2_reserve(l2 *d, l2_room room, uint64_t h48, const l2_rec *r,
                                  const l2_terms *terms, l2_spot *out);
CELLAR_PRIVATE void l2_spot_done(l2 *d, l2_spot *s);
BASE_INLINE uint64_t l2_lsn(const l2 *d, uint64_t segseq, uint32_t off)
{
    return segseq * d->form.seg_bytes + off;
}
CELLAR_PRIVATE uint32_t l2_data_limit(const l2 *d, uint32_t entries);
CELLAR_PRIVATE void l2_slot_note(l2 *d, l2_slot *s, uint64_t h48, const l2_rec *r, uint32_t off);
CELLAR_PRIVATE bool l2_slot_open(l2 *d) SYNC_HOLDS(L2_LOG);
/* Give slot and segment a number and a header. The caller decides when it may be used. */
CELLAR_PRIVATE void l2_slot_head(l2 *d, l2_slot *s, uint32_t seg) SYNC_HOLDS(L2_LOG);
/* Write footers, trailer and zeros, then write the slot to its place. */
CELLAR_PRIVATE int l2_seal(l2 *d, l2_slot *s);
/* Seal the full slots. */
CELLAR_PRIVATE void l2_drain(l2 *d);
/* Drop all stored records; log the floor if an open slot has room for it. */
CELLAR_PRIVATE void l2_empty(l2 *d);
CELLAR_PRIVATE bool l2_work(l2 *d, uint64_t budget_us);
CELLAR_PRIVATE void l2_worker_take(l2 *d);
CELLAR_PRIVATE bool l2_worker_try(l2 *d);
CELLAR_PRIVATE void l2_worker_drop(l2 *d);
CELLAR_PRIVATE void l2_ring(l2 *d);
CELLAR_PRIVATE bool l2_reclaim(l2 *d);
/* Clear both headers of a slot. */
CELLAR_PRIVATE void l2_slot_wipe(l2 *d, l2_slot *s);
CELLAR_PRIVATE int l2_prepare(l2 *d);
CELLAR_PRIVATE void l2_disarm(l2 *d); /* call it before a sync of the stage, see stall.c */
CELLAR_PRIVATE void l2_sync_failed(l2 *d, int e);
/* Read footer page `index` of a segment on disk into d->page, repaired if necessary. */
CELLAR_PRIVATE bool l2_foot_load(l2 *d, const l2_seg *g, uint64_t segseq, uint32_t index);
/* Call `fn` for each line of the page in d->page. Return false if its distances are impossible. */
CELLAR_PRIVATE bool l2_foot_each(l2 *d, uint32_t data_end, bool newest_first,
                                 void (*fn)(l2 *d, void *ctx, const l2_entry *e), void *ctx);

/* superblock.c */
CELLAR_PRIVATE int l2_read(l2 *d, base_vfs_file *f, void *buf, size_t n, uint64_t at);
/* Read like l2_read, but leave the report of errors (l2_io_failed) to the caller. */
CELLAR_PRIVATE int l2_read_only(l2 *d, base_vfs_file *f, void *buf, size_t n, uint64_t at);
CELLAR_PRIVATE int l2_write(l2 *d, base_vfs_file *f, const void *buf, size_t n, uint64_t at);
CELLAR_PRIVATE int l2_datasync(l2 *d, base_vfs_file *f);
CELLAR_PRIVATE int l2_super_store(l2 *d); /* write serial + 1 to the other copy and sync it */
CELLAR_PRIVATE int l2_meta_store(l2 *d);
CELLAR_PRIVATE int l2_dirty_now(l2 *d);   /* make L2_NOW_DIRTY durable; worker only */
CELLAR_PRIVATE cellar_err l2_sync_as(l2 *d, bool closing);
/* Wait until L2_NOW_DIRTY is durable. The caller has no lock and is not the worker. */
CELLAR_PRIVATE void l2_dirty_wait(l2 *d);
CELLAR_PRIVATE int64_t l2_wall_now(const l2 *d);
/* Apply a control. Return false if memory is short. */
CELLAR_PRIVATE bool l2_control_apply(l2 *d, const unsigned char *value, uint32_t bytes,
                                     uint64_t lsn, uint64_t *floor);
/* Apply a row to the namespace table. Return false if memory is short. */
CELLAR_PRIVATE bool l2_namespace_apply(l2 *d, const l2_namespace *v, const char *name,
                                       size_t name_len);
/* Load the valid copy of META with the higher serial. d->meta_lsn is its lsn. */
CELLAR_PRIVATE cellar_err l2_meta_load(l2 *d);

/* mapped_read.c */
CELLAR_PRIVATE void l2_map_open(l2 *d); /* on failure gets read the file */
CELLAR_PRIVATE void l2_map_close(l2 *d, bool forked);
CELLAR_PRIVATE void l2_map_set(l2 *d);  /* all places of now; worker only */
/* Stop new readers before the file gets shorter. Return false while a reader is active. */
CELLAR_PRIVATE bool l2_map_shut(l2 *d);
CELLAR_PRIVATE void l2_map_forget(l2 *d, uint32_t place); /* after a write to the place */
CELLAR_PRIVATE void l2_map_work(l2 *d); /* periodic; worker only */
/* Note that n bytes at `at`, all of one place, were read from the file. */
CELLAR_PRIVATE void l2_map_note(l2 *d, uint64_t at, size_t n);
/* Copy from the mapping. Return false if the caller must read the file. */
CELLAR_PRIVATE bool l2_map_read(l2 *d, void *buf, size_t n, uint32_t place, uint64_t at);

/* open.c */
/* Close all files. forked: unmap nothing. */
CELLAR_PRIVATE void l2_files_close(l2 *d, bool forked);

/* forked.c */
/* Allocate memory. In a shell return NULL, because the caller would use state that a child
 * lacks. */
CELLAR_PRIVATE void *l2_alloc(l2 *d, size_t bytes);

/* ---- group_commit.c ---- */
/* Refuse commits until older records are durable again. */
CELLAR_PRIVATE void l2_commit_failed(l2 *d, int e) SYNC_HOLDS(L2_LOG);
/* Permit commits again if a header with this floor is durable after the last failure. */
CELLAR_PRIVATE void l2_commit_healed(l2 *d, uint64_t floor) SYNC_HOLDS(L2_LOG);

/* stage_trim.c */
CELLAR_PRIVATE void l2_scrap_work(l2 *d); /* periodic; worker only */
/* Zero all of the stage that its next sync need not write. No thread appends. */
CELLAR_PRIVATE void l2_scrap_all(l2 *d);

/* owner_images.c */
/* Read the heads of bloom.snap. clean: the store was closed and is no copy. After this call the
 * count of opens does not change in this run. */
CELLAR_PRIVATE void l2_images_open(l2 *d, bool clean);
CELLAR_PRIVATE void l2_images_fini(l2 *d);
/* Make room within the size of the store for the images of a save. */
CELLAR_PRIVATE void l2_images_reserve(l2 *d);
/* Return the number of damaged images. No other thread uses the store. */
CELLAR_PRIVATE uint32_t l2_images_damaged(l2 *d);

/* index_snapshot.c */
/* Return the most bytes of a snapshot of tables for `objects` and `segs`. */
CELLAR_PRIVATE uint64_t l2_snap_room(uint64_t objects, uint64_t segs);
/* Write index.snap at the end of a close, when nothing changes any more. */
CELLAR_PRIVATE void l2_snap_save(l2 *d);
/* Open index.snap and unlink its name, so that no other open finds it. Remove an incomplete file
 * (`rest`). The caller syncs the directory before anything else. */
CELLAR_PRIVATE void l2_snap_open(l2 *d, bool there, bool rest);
CELLAR_PRIVATE void l2_snap_close(l2 *d);
/* Load index.snap, after l2_adopt, for a store that was CLEAN. newest: highest segseq found. Return
 * true if words, filter and eras are complete. */
CELLAR_PRIVATE bool l2_snap_take(l2 *d, uint64_t newest);
/* Return true if `head` is of the snapshot that the close in SUPER left in this run. */
CELLAR_PRIVATE bool l2_snap_head_fits(const l2_form *f, const l2_super *s, uint64_t life,
                                      uint64_t file_bytes, const unsigned char head[L2_PAGE]);

/* Return the first gap of a Shell sort (Knuth's gaps 1, 4, 13, ...). Places are taken in turn, so
 * segments form a few sorted runs, which gap 1 alone would sort in quadratic time. The sort needs
 * no memory. */
BASE_INLINE uint32_t l2_sort_gap(uint32_t count)
{
    uint32_t gap = 1;
    while (gap < count / 3) { gap = gap * 3 + 1; }
    return gap;
}

/* resize.c */
/* Return the number of places that the worker keeps free. */
BASE_INLINE uint32_t l2_free_kept(uint32_t places) { return places >= 8 ? 2 : 1; }
/* Return the bytes that a size of `bytes` leaves for data.seg and index.snap: whole segments. */
CELLAR_PRIVATE uint64_t l2_data_room(const l2_super *s, uint64_t bytes);
/* Return the objects that the tables of `bytes` of segments are made for. */
CELLAR_PRIVATE uint64_t l2_objects_in(const l2_config *c, uint64_t bytes);
/* Return the part of `bytes` that the places leave for index.snap. */
CELLAR_PRIVATE uint64_t l2_snap_kept(const l2_config *c, const l2_super *s, uint64_t bytes);
/* Return the segments that fit into `bytes` together with all other files. */
CELLAR_PRIVATE uint64_t l2_places_in(const l2_config *c, const l2_super *s, uint64_t bytes);
/* Return the segments like l2_places_in, with a bloom.snap of `images` bytes. */
CELLAR_PRIVATE uint64_t l2_places_beside(const l2_config *c, const l2_super *s, uint64_t bytes,
                                         uint64_t images);
CELLAR_PRIVATE bool l2_rows_open(l2 *d, uint64_t rows);
CELLAR_PRIVATE bool l2_rows_add(l2 *d, uint64_t rows);
CELLAR_PRIVATE void l2_rows_close(l2 *d);
CELLAR_PRIVATE bool l2_resize_work(l2 *d); /* one step towards the goal; true: more steps follow */
CELLAR_PRIVATE cellar_err l2_resize_to(l2 *d, uint32_t places, uint64_t bytes);

/* write.c */
/* Log a control. Return its lsn, or 0 if no older record is left to which it could apply. */
CELLAR_PRIVATE uint64_t l2_control_log(l2 *d, uint64_t h48, const unsigned char *value,
                                       uint32_t bytes, uint32_t generation);
/* Return the state of a record's tags according to the cache; 0: valid. */
CELLAR_PRIVATE int l2_tags_verdict(l2 *d, const l2_meta *m);

/* invalidations.c */
/* Return the state of tags in l2's own table: 0 valid, 1 stale, 2 dead. */
CELLAR_PRIVATE int l2_tags_ended(l2 *d, uint64_t born, const void *fps, uint32_t count);
/* Return true if a pattern deletes this key's record at `lsn`. walking: only patterns in
 * progress. */
CELLAR_PRIVATE bool l2_globs_match(l2 *d, uint32_t generation, uint64_t lsn, bool walking,
                                   const void *key, size_t klen);
/* Return a lower bound of the bytes that tags and patterns need in META. l2_ends_write writes their
 * rows for META's `lsn` and returns SIZE_MAX if `cap` is too small. */
CELLAR_PRIVATE size_t l2_ends_bytes(l2 *d);
CELLAR_PRIVATE size_t l2_ends_write(l2 *d, unsigned char *head, unsigned char *to, size_t cap,
                                    uint64_t lsn);
/* Measure rows of a META; false: impossible rows. l2_ends_take loads them; false: no memory. */
CELLAR_PRIVATE bool l2_ends_skip(const unsigned char *head, const unsigned char *from, size_t cap,
                                 size_t *n);
CELLAR_PRIVATE bool l2_ends_take(l2 *d, const unsigned char *head, const unsigned char *from);
CELLAR_PRIVATE bool l2_ends_control(l2 *d, const unsigned char *value, uint32_t bytes,
                                    uint64_t lsn);
CELLAR_PRIVATE void l2_ends_forget(l2 *d);
CELLAR_PRIVATE void l2_ends_close(l2 *d);
CELLAR_PRIVATE void l2_ends_count(l2 *d, l2_stats *out);

/* health.c */
CELLAR_PRIVATE void l2_trouble_init(l2 *d); /* set the defaults of cfg */
/* Count a failed call to the disk and log it as an error. `op` is the module of the line: "l2_" and
 * the verb. So each kind of call has its own line, at most one per second (base/log.h). */
CELLAR_PRIVATE void l2_io_failed(l2 *d, const char *op, const base_vfs_file *f, uint64_t at,
                                 int e);
CELLAR_PRIVATE void l2_read_damaged(l2 *d);     /* the same for a record that does not verify */
/* Return false while the disk is off; probe it when that is due. The worker calls it before
 * work. */
CELLAR_PRIVATE bool l2_disk_works(l2 *d);
/* Handle a missing page of the stage: nothing of the stage counts, now and at the next open. Called
 * without locks, before anything is acknowledged. */
CELLAR_PRIVATE void l2_stage_lost(l2 *d);
BASE_INLINE void l2_stage_look(l2 *d)
{
    if (base_sigbus_hit(d->guard)) { l2_stage_lost(d); }
}
/* Return false if the files are not intact. The worker does nothing with them any more. */
CELLAR_PRIVATE bool l2_heartbeat(l2 *d);
CELLAR_PRIVATE bool l2_files_there(l2 *d); /* the same with a check now */

/* stall.c */
#define L2_CLOSED 1u
#define L2_RUNG 2u
#define L2_CLOSED_ONE 4u /* unit of the counter in the upper bits; no old word comes back */
BASE_INLINE bool l2_is_closed(const l2 *d) { return (base_load_acq(&d->closed) & L2_CLOSED) != 0; }
CELLAR_PRIVATE bool l2_quiet(const l2 *d);   /* no progress of the worker for 20 ms */
CELLAR_PRIVATE bool l2_stalled(const l2 *d); /* for 100 ms */
CELLAR_PRIVATE bool l2_frozen(const l2 *d);  /* for 500 ms */
CELLAR_PRIVATE void l2_beat(l2 *d);          /* call it before each call to the disk */
CELLAR_PRIVATE void l2_reads_look(l2 *d);
CELLAR_PRIVATE void l2_arm_work(l2 *d);
CELLAR_PRIVATE void l2_arm_wish(l2 *d);
/* Return true if the tier is closed and the change may rely on the stall marker. */
CELLAR_PRIVATE bool l2_closed_over(l2 *d);
CELLAR_PRIVATE bool l2_close_tier(l2 *d); /* like l2_closed_over, but closes the tier first */
CELLAR_PRIVATE void l2_reopen(l2 *d);     /* worker only */
/* Derive the name of the stall marker from the identity of the stage. A copy has another name. */
CELLAR_PRIVATE void l2_bell_name(l2 *d, const l2_stage_id *stage);
/* Return true if the stall marker exists, or if that is unknown. */
CELLAR_PRIVATE bool l2_bell_found(l2 *d);
CELLAR_PRIVATE void l2_bell_gone(l2 *d);
CELLAR_PRIVATE void l2_bell_made(l2 *d); /* the next open begins an empty store */
/* Take the tombstone lock for a change. Return false if the disk is frozen. */
CELLAR_PRIVATE bool l2_tombstone_lock_take(l2 *d, l2_tombstone_lock *g)
    SYNC_TRIES(L2_TOMBSTONE_LOCK);

/* link.c */
typedef struct l2_link { /* position of a new record in its class */
    uint64_t word; /* word that it replaces; 0: all words that are not heavy */
    uint64_t to;   /* lsn of its link target; 0: none */
    uint8_t flags; /* flags of the new record */
    bool alone;    /* `word` is of the same key, the class has nothing else */
} l2_link;
/* Plan the link of a put or a tombstone, under the tombstone lock. */
CELLAR_PRIVATE void l2_link_plan(l2 *d, uint64_t h48, const l2_key *k, bool tomb, l2_link *out);
/* Return the word of the record at `lsn`, with its size. 0: reclaimed, or incomplete at a process
 * death. LOST: it cannot be read, so it may be the newest record of any key. */
#define L2_LINK_LOST UINT64_MAX
CELLAR_PRIVATE uint64_t l2_link_word(l2 *d, uint64_t lsn);

/* recovery.c */
/* Return the bytes that l2_recover charges to the budget until it returns. */
CELLAR_PRIVATE uint64_t l2_recover_bytes(const l2_super *s);
/* Load what the files hold into the tables. d->super is as read. alive false: the contents are
 * invalid. copy: SUPER was written for other files. */
CELLAR_PRIVATE cellar_err l2_recover(l2 *d, bool alive, bool same_boot, bool copy,
                                     const l2_stage_id *stage_was, int *sys_errno);

/* index_rebuild.c: the index rebuild */
/* Allocate the buffers. Return false if memory is short. */
CELLAR_PRIVATE bool l2_warm_begin(l2 *d);
CELLAR_PRIVATE void l2_warm_free(l2 *d);
CELLAR_PRIVATE bool l2_warm_step(l2 *d);
/* Skip an `unread` segment that is reclaimed: add its puts to the filter, not to the index. */
CELLAR_PRIVATE void l2_warm_skip(l2 *d, uint32_t seg);

#endif
