/* SPDX-License-Identifier: MIT
 *
 * l2_int: the picture of the disk level that its files share.
 *
 * PICTURE    put, tombstone, control -> slot of stage.buf (mapped: survives the process)
 *                -> full: sealed, written to its place in data.seg -> slot free again
 *            get: word of the RAM index -> bytes in a slot or on disk -> every check -> caller
 *            reclaim: the oldest segment's words go, then its place; the next header says so
 *            open: headers and trailers -> slots walked -> footers, newest first -> words, filter
 * LSN        position in the one log: segseq * seg_bytes + offset. Of two records of one key the
 *            one with the higher lsn counts; that is all there is to know about order.
 * WORDS      addr names a *segment index* (not its place in the file, which may change when a write
 *            fails) and an offset, in granules. Keys of one class (same buckets, same tag) share a
 *            word: see index.c, LINKS.
 * INVARIANTS floor: what lies below `floor_lsn` is dead for good. oldest: no segment below it holds
 *            anything. What replay could find is in the filter, or below the floor of a header in
 *            the stage. A record is complete when its check is set (release), not before.
 * LOCKING    gate of the key's hash48 (L2_GATE) -> log lock (L2_LOG) or a shard (L2_SHARD), never
 *            both. What clang can see is SYNC_GUARDED; a slot's head and counts are not, because
 *            they change hands: L2_LOG while it is OPEN, the worker's alone from FULL on. The
 *            worker's word `working` is no ranked lock: it is held over I/O. A slot is not reused
 *            before its writers and pins are 0.
 * NEVER      asserted: bytes from disk. */
#ifndef L2_L2_INT_H
#define L2_L2_INT_H

#include <string.h>

#include "base/num.h"
#include "base/sigbus.h"
#include "base/sync.h"
#include "l2/l2.h"

#define L2_MAJOR 1u
#define L2_MINOR 2u          /* 0, 1: see form.c, VERSIONS */
#define L2_INCOMPAT_META 1u  /* headers have META's serial in the place of the segment size */
#define L2_INCOMPAT_FLAGS 2u /* kinds of records and lines carry L2_FLAG_... */
#define L2_INCOMPAT (L2_INCOMPAT_META | L2_INCOMPAT_FLAGS)
#define L2_PAGE 4096u
#define L2_HEAD_BYTES 64u
#define L2_HEAD_BEGUN UINT64_C(0x6e75676562324c43) /* "CL2begun": a header is being written here */
#define L2_RECORD_HEAD 24u
#define L2_FOOT_ENTRIES 407u
#define L2_FOOT_HEAD 24u
#define L2_ENTRY_BYTES 10u
#define L2_WALL_END_MS ((int64_t)1 << 48) /* 8,900 years: no limit */
#define L2_EXT_MAX 208u      /* bytes of a record's extension as this version writes it */
#define L2_SEGS_MIN 3u
#define L2_RESIZE_LEAST 3u   /* places beside those of all slots */
#define L2_SLOTS_MAX 8u
#define L2_SHARDS 64u
#define L2_WAYS 8u
#define L2_KICKS 8u
#define L2_KICKS_MOST 64u /* for a word that is heavy */
#define L2_MEMO 10u
#define L2_ERAS 3u
#define L2_SEGSEQ_STEP 1024u /* reserved in SUPER at once */
#define L2_BAD_MAX 768u
#define L2_DAY_STEPS 256u     /* SUPER is ahead of the budget of a day by so small a part */
#define L2_PACKERS 4u /* two to pack in, and two to seal in */
#define L2_FLOOR_ROOM 64u    /* end of a slot that only a FLOOR may take */

enum { L2_KIND_PUT = 0, L2_KIND_TOMB = 1, L2_KIND_CONTROL = 2 };
/* Beside the kind, of a record and of its line. KEPT: the put was promised to be found again.
 * LINKED: the record names the record behind it, see index.c, LINKS. */
#define L2_FLAG_KEPT 0x10u
#define L2_FLAG_LINKED 0x20u
#define L2_FLAGS (L2_FLAG_KEPT | L2_FLAG_LINKED)
#define L2_LINK_BYTES 8u /* of a record's extension, the first ones */
#define L2_VLEN_MASK 0x3fffffffu
/* The two bits above a value's length: both may be set. */
enum { L2_FORM_PLAIN = 0, L2_FORM_PACKED = 1, L2_FORM_SEALED = 2 };
/* First byte of a control's value; of a TAG and a GLOB its footer line's hash48, too. */
enum { L2_CTL_VIEW = 1, L2_CTL_FLOOR = 2, L2_CTL_TAG = 3, L2_CTL_GLOB = 4 };
#define L2_CTL_BYTES_MAX 1040u /* of a value: a GLOB */

/* ---- form.c: bytes ------------------------------------------------------------------------- */

typedef struct l2_stage_id { /* of stage.buf, so that a copy of it is told from it */
    uint64_t inode;  /* 0: nobody's */
    uint64_t device; /* 0: not known; other after a boot, and after a mount */
    int64_t born_ns; /* when it was made; 0: not known */
} l2_stage_id;

typedef struct l2_super {
    uint16_t major, minor;
    uint64_t compat, ro_compat, incompat;
    unsigned char uuid[16], boot_id[16], secret[32];
    uint64_t serial, epoch, segseq_end, clean_lsn, l2_bytes, floor_lsn;
    l2_stage_id stage;
    uint64_t meta; /* serial of the newest META there is, at the least */
    uint64_t born; /* number of the first segment of this life; 0: not known */
    int64_t anchor_wall_ms, anchor_boot_ms, last_seen_wall_ms;
    uint64_t bytes_today, day, opens;
    uint32_t state, level, seg_bytes, nseg, nstage, granule, bad_count;
    uint32_t closed; /* 1: CLEAN, and of a close: no life has begun since */
    uint16_t check_algo, hash_algo;
    uint32_t bad[L2_BAD_MAX];
} l2_super;
enum { L2_CLEAN = 1, L2_DIRTY = 2 };

typedef struct l2_head { /* of a segment */
    uint64_t epoch, segseq, prev_segseq, floor_lsn;
    int64_t base_wall_ms;
    uint32_t segid;
    uint32_t meta; /* serial of a META that was durable when it was made: with that and what lies
                    * above the floor no control is missing. Full: it says no more. */
    uint16_t minor; /* of the library that made it; l2_head_write knows its own */
} l2_head;

typedef struct l2_trailer {
    l2_head head; /* once more: either copy is enough */
    uint32_t data_end, entries, footer_pages, tombs, controls, max_vgen;
} l2_trailer;

typedef struct l2_entry { /* one line of a footer */
    uint64_t h48;
    uint32_t off, bytes; /* bytes: up to the next record, or the end */
    uint8_t kind, flags;
} l2_entry;

typedef struct l2_rec { /* the first 24 bytes of a record, and what follows from them */
    uint32_t check;
    uint16_t mark, klen;
    uint32_t vlen;   /* stored bytes */
    uint8_t kind, ext, form; /* form: L2_FORM_..., of a put */
    uint8_t flags;   /* L2_FLAG_... */
    int64_t expiry_wall_ms; /* 0: none */
    uint32_t vgen;
    uint32_t bytes;  /* without padding */
} l2_rec;

typedef struct l2_form { /* what all checks of one store are made with; constant while it is open */
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

/* What the checks of the store that SUPER describes are made with. */
CELLAR_PRIVATE void l2_form_make(l2_form *f, const l2_super *s);
CELLAR_PRIVATE void l2_super_write(unsigned char page[L2_PAGE], const l2_super *s);
/* OK; E_FOREIGN (no magic), E_CORRUPT (check), E_NEWER_FORMAT (of a newer library). */
CELLAR_PRIVATE cellar_err l2_super_read(const unsigned char page[L2_PAGE], l2_super *out);
/* Try the single flipped bits of a copy that does not verify. True: it does now. */
CELLAR_PRIVATE bool l2_super_heal(unsigned char page[L2_PAGE], l2_super *out);

CELLAR_PRIVATE void l2_head_write(const l2_form *f, unsigned char at[L2_HEAD_BYTES],
                                  const l2_head *h);
/* False: damaged, of another epoch, or not a header. */
CELLAR_PRIVATE bool l2_head_read(const l2_form *f, const unsigned char at[L2_HEAD_BYTES],
                                 l2_head *out);
CELLAR_PRIVATE void l2_trailer_write(const l2_form *f, unsigned char page[L2_PAGE],
                                     const l2_trailer *t);
CELLAR_PRIVATE bool l2_trailer_read(const l2_form *f, const unsigned char page[L2_PAGE],
                                    l2_trailer *out);
/* Footer page number `index` of a segment is complete: set its check. */
CELLAR_PRIVATE void l2_foot_close(const l2_form *f, unsigned char page[L2_PAGE], uint64_t segseq);
CELLAR_PRIVATE bool l2_foot_ok(const l2_form *f, const unsigned char page[L2_PAGE],
                               uint64_t segseq, uint32_t index);
/* Try the single flipped bits of a page that does not verify (up to 3 ms). True: it does now. */
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
/* The line's kind into e->kind, its flags into e->flags. False: no line has this byte. */
CELLAR_PRIVATE bool l2_entry_kind(const unsigned char at[L2_ENTRY_BYTES], l2_entry *e);

/* Bytes a record takes, padding included. */
CELLAR_PRIVATE uint32_t l2_rec_room(const l2_form *f, size_t ext_bytes, size_t klen, size_t vlen);
/* Where a record of so many bytes, padding included, begins if the one before it ends at `pos`. One
 * of half a page or more does not straddle one page more than it must. */
BASE_INLINE uint32_t l2_rec_start(uint32_t pos, uint32_t room)
{
    const uint32_t straddled = (pos % L2_PAGE + room + L2_PAGE - 1) / L2_PAGE;
    const bool page = room >= L2_PAGE / 2 && straddled > (room + L2_PAGE - 1) / L2_PAGE;
    return page ? (uint32_t)base_round_up(pos, L2_PAGE) : pos;
}
/* The head without its check, which is 0 until the body is there. */
CELLAR_PRIVATE void l2_rec_begin(const l2_form *f, unsigned char *at, uint64_t segseq,
                                 uint32_t off, const l2_rec *r);
CELLAR_PRIVATE void l2_rec_end(const l2_form *f, unsigned char *at, uint64_t segseq, uint32_t off);
/* Does a record begin here? Its lengths can then be trusted; its body not yet. `end`: where the
 * data area ends at the latest. */
CELLAR_PRIVATE bool l2_rec_marked(const l2_form *f, const unsigned char *at, uint64_t segseq,
                                  uint32_t off, uint32_t end, l2_rec *out);
/* The whole of it, after l2_rec_marked. */
CELLAR_PRIVATE bool l2_rec_whole(const l2_form *f, const unsigned char *at, uint64_t segseq,
                                 uint32_t off, const l2_rec *r);

/* Bytes of the link in front of the record's own extension. */
BASE_INLINE uint32_t l2_link_bytes(const l2_rec *r)
{
    return (r->flags & L2_FLAG_LINKED) != 0 ? L2_LINK_BYTES : 0;
}
/* Write the link of a record at `lsn` to the one at `to`; 0: to none. */
CELLAR_PRIVATE void l2_link_write(const l2_form *f, unsigned char ext[L2_LINK_BYTES], uint64_t lsn,
                                  uint64_t to);
/* The lsn that a linked record at `lsn` names; 0: none. */
CELLAR_PRIVATE uint64_t l2_link_read(const l2_form *f, const unsigned char *ext, uint64_t lsn);
/* end_wall_ms: where its expiry ends an idle time; raw_bytes: of a packed value; else 0. */
CELLAR_PRIVATE size_t l2_ext_write(unsigned char out[L2_EXT_MAX], const l2_meta *m,
                                   int64_t end_wall_ms, uint32_t raw_bytes);
/* False: an extension this library must know and does not. */
CELLAR_PRIVATE bool l2_ext_read(const unsigned char *ext, size_t bytes, l2_meta *m);

/* ---- index.c: words ------------------------------------------------------------------------ */

typedef struct l2_shard {
    sync_lock lock;        /* rank L2_SHARD; for writers. Readers take none */
    _Atomic uint32_t moves; /* odd while words move to their other bucket; under lock */
    _Atomic uint64_t *way; /* buckets * L2_WAYS; word: see index.c */
    unsigned char *closed; /* warm-up: a bit a bucket that turned away something; else NULL */
    uint32_t *place;       /* warm-up: upper bits of the hash48 of each word; else NULL */
} l2_shard;

typedef struct l2_index {
    l2_shard shard[L2_SHARDS];
    _Atomic uint64_t *way; /* of all shards: one block, so that its buckets are whole lines */
    unsigned char *closed; /* of all shards; NULL but in warm-up; the worker's */
    uint32_t *place;       /* the same; NULL in warm-up, too, where the budget refuses it */
    uint32_t buckets;      /* of a shard; constant */
    _Atomic uint64_t full; /* words that found no place, or made room for newer ones */
    _Atomic uint64_t words; /* in use, put and tomb */
} l2_index;

#define L2_WORD_TWIN ((uint64_t)1)   /* its class has, or had, another word */
#define L2_WORD_TOMB ((uint64_t)2)   /* names a tombstone */
#define L2_WORD_KEPT ((uint64_t)4)   /* of the record: L2_FLAG_KEPT */
#define L2_WORD_LINKED ((uint64_t)8) /* of the record: L2_FLAG_LINKED */
#define L2_WORD_FLAGS(flags) ((uint64_t)((flags) & L2_FLAGS) >> 2)
/* Words that go with their class only: see index.c, LINKS. */
#define L2_WORD_HEAVY (L2_WORD_KEPT | L2_WORD_LINKED | L2_WORD_TOMB)
#define L2_CLASS_WORDS (2 * L2_WAYS)
#define L2_WORD_ADDR(w) ((w) >> 28)
#define L2_WORD_TAG(w) ((uint32_t)((w) >> 12) & 0xffffu)
#define L2_WORD(addr, tag, hint) \
    ((uint64_t)(addr) << 28 | (uint64_t)(tag) << 12 | (uint64_t)(hint) << 4)
#define L2_ADDR_MAX (((uint64_t)1 << 36) - 1)

typedef struct l2_sort_line { /* of a footer, in warm-up: the word it will be, and its hash48's
                               * upper bits; the lower ones are the word's tag */
    uint32_t word_lo, word_hi, place;
} l2_sort_line;

typedef struct l2_class { /* where the words of a hash48 lie */
    uint32_t shard, b1, b2, tag;
} l2_class;

/* ---- gate.c: gates, memo, filter ------------------------------------------------------------ */

typedef struct l2_gate {
    sync_lock lock;                /* rank L2_GATE */
    /* hash48 whose newest record is a whole tombstone; 0: none */
    unsigned char memo[L2_MEMO][6] SYNC_GUARDED(L2_GATE);
} l2_gate;

typedef struct l2_filter_line { _Atomic uint64_t w[8]; } l2_filter_line;

/* ---- log.c: slots and segments -------------------------------------------------------------- */

enum { L2_SLOT_FREE, L2_SLOT_READY, L2_SLOT_OPEN, L2_SLOT_FULL, L2_SLOT_WRITTEN };

typedef struct l2_slot {
    unsigned char *base;      /* seg_bytes in the mapping; constant */
    l2_head head;             /* from READY on; L2_LOG, the worker's once FULL */
    uint32_t state SYNC_GUARDED(L2_LOG); /* L2_SLOT_... */
    uint32_t seg;             /* index of its segment */
    uint32_t pos, entries, tombs, controls, max_vgen; /* L2_LOG while OPEN, then the worker's */
    uint32_t armed_end SYNC_GUARDED(L2_LOG);   /* bytes: callers may store so far without waiting */
    uint32_t armed_lines SYNC_GUARDED(L2_LOG); /* the same for lines of the footer */
    uint32_t armed_soon SYNC_GUARDED(L2_LOG);  /* who passes it asks for more */
    uint32_t last_off;        /* of the newest record; its entry still lacks the distance */
    uint64_t synced_at;       /* the worker's: data_syncs that must be reached before reuse */
    bool past SYNC_GUARDED(L2_LOG); /* stored into since it was last scrapped */
    _Atomic uint32_t writers; /* records reserved but not complete; release by the last store */
    _Atomic uint32_t pins;    /* readers that look at the bytes; sc against seg.word */
} l2_slot;

#define L2_META_WORST ((uint64_t)560 << 10) /* of one copy: 4,096 views and tags, patterns */
#define L2_REST_WORST (4 * L2_PAGE + 2 * L2_META_WORST) /* of all files but stage and data */

/* GONE: an index without a place, see resize.c */
enum { L2_SEG_FREE, L2_SEG_STAGE, L2_SEG_DISK, L2_SEG_BAD, L2_SEG_GONE };
#define L2_SEG_WORD(state, slot, segseq) \
    ((uint64_t)(segseq) << 16 | (uint64_t)(slot) << 8 | (uint64_t)(state))
#define L2_SEG_STATE(w) ((uint32_t)(w) & 0xffu)
#define L2_SEG_SLOT(w) ((uint32_t)((w) >> 8) & 0xffu)
#define L2_SEG_SEQ(w) ((w) >> 16)

typedef struct l2_seg {
    _Atomic uint64_t word;  /* L2_SEG_WORD; sc against a slot's pins */
    _Atomic uint32_t place; /* in data.seg; the worker's; L2_LOG while `word` says STAGE */
    uint32_t era;           /* of the filter */
    uint32_t controls, footer_pages, data_end; /* once sealed; the worker's */
    bool unread;            /* warm-up has not come to it yet, or not all of it to the tables */
    _Atomic uint32_t future; /* 1: written by a clock ahead of ours: times to live are over */
    /* of row i: i-th of the stack of free segments, not of this */
    uint32_t free_seg SYNC_GUARDED(L2_LOG);
} l2_seg;
_Static_assert(sizeof(l2_seg) == 40, "free_seg costs nothing");

typedef struct l2_view_row {
    l2_view v;
    uint32_t name_len;
    char name[L2_NAME_MAX];
} l2_view_row;

/* ---- ends.c: tags and patterns --------------------------------------------------------------- */

#define L2_TAGS_MAX 4096u
#define L2_GLOBS_MAX 256u
#define L2_GLOB_TEXT_MAX ((uint32_t)64 << 10) /* of all patterns together */

typedef struct l2_tag_row {
    uint64_t fp, hard, soft; /* epochs; 0: never ended so */
    uint64_t lsn;            /* of its newest control */
    uint32_t pending;        /* controls on their way */
    uint32_t reserved;
} l2_tag_row;

typedef struct l2_globs l2_globs;

typedef struct l2_ends {
    sync_lock lock;           /* rank GLOB; guards what is not atomic */
    _Atomic uint64_t ends;    /* + 1 with each, between its row and its control */
    l2_tag_row *tag SYNC_GUARDED(GLOB);
    uint32_t tag_count SYNC_GUARDED(GLOB), tag_cap SYNC_GUARDED(GLOB);
    uint64_t tag_floor SYNC_GUARDED(GLOB); /* what was born before is over, whatever its tags */
    l2_globs *_Atomic globs;  /* NULL: none */
    l2_globs *replaced SYNC_GUARDED(GLOB); /* lists that somebody may still be looking at */
    _Atomic uint32_t readers; /* of lists */
    uint64_t last_seq SYNC_GUARDED(GLOB);
    uint64_t floor SYNC_GUARDED(GLOB); /* highest lsn that took the place of a pattern */
    bool open;                /* the log can be written to; constant after the open */
} l2_ends;

/* ---- images.c: what the owner keeps beside the log ------------------------------------------- */

typedef struct l2_image_row { /* an image in bloom.snap that nobody has opened yet */
    uint64_t at, bytes, sum, note[2]; /* at: of its head */
    uint64_t next_at; /* in the file that is being written; 0: not there */
    uint32_t name_len;
    bool whole;
    char name[L2_IMAGE_NAME_MAX];
} l2_image_row;

struct l2_image { /* the one that is being read */
    l2 *d;
    l2_image_row row;
    unsigned char *buf; /* a piece; NULL: no memory */
    uint64_t done;      /* bytes taken */
    uint64_t sum;       /* of the pieces so far */
    size_t have, at;    /* bytes in buf, taken of them */
    bool clean;
};

/* ---- map.c: data.seg, mapped to be read ------------------------------------------------------ */

typedef struct l2_mapped {
    const unsigned char *at;  /* NULL: it is not; constant while open, as are bytes and guard */
    size_t bytes;
    uint32_t guard;           /* see base/bus.h */
    _Atomic uint32_t places;  /* that may be read through it now; sc against begun */
    _Atomic uint32_t lost;    /* 1: it failed, and that was said */
    _Atomic uint64_t begun, done; /* readers of it; release by `done`, acquire in l2_map_shut */
    _Atomic uint64_t *fresh;  /* a bit a page; relaxed: a hint */
    int64_t fresh_ms;         /* when the worker cleared them; its own */
} l2_mapped;

/* ---- trouble.c: errors and recovery from them ----------------------------------------------- */

#define L2_ERRORS_MOST 64u
enum { L2_DISK_OK, L2_DISK_OFF, L2_DISK_TRYING }; /* l2.disk */
enum { L2_WHOLE, L2_BROKEN, L2_BROKEN_STAGE };    /* l2.broken */

typedef struct l2_trouble {
    sync_lock lock;        /* rank L2_DEV; guards the rest */
    /* a ring of cfg.off_errors: when the last errors were */
    int64_t error_ms[L2_ERRORS_MOST] SYNC_GUARDED(L2_DEV);
    uint32_t errors SYNC_GUARDED(L2_DEV);  /* since the disk last came back */
    uint32_t damaged SYNC_GUARDED(L2_DEV); /* records, since damage_ms */
    int64_t damage_ms SYNC_GUARDED(L2_DEV);
    uint64_t damage_reads SYNC_GUARDED(L2_DEV); /* gets until then */
    int64_t off_ms SYNC_GUARDED(L2_DEV);        /* how long it stays off, */
    int64_t until_ms SYNC_GUARDED(L2_DEV);      /* and until when */
} l2_trouble;

typedef struct l2_counts { /* relaxed adds; l2_stats_get gives them out */
    _Atomic uint64_t gets, hits, miss_word, miss_read, miss_damage, miss_key, miss_expired,
        io_errors, puts, put_bytes, dropped, refused_stamp, refused_size, refused_ttl, identical,
        kills /* neither denied nor remembered */, tombstones, denied, remembered, controls,
        sealed, sealed_bytes, reclaimed, emptied, syncs, barriers, healed, recovered, holes, offs,
        stalled, closings, relied, waits, refused_budget, refused_unused,
        refused_seal, miss_sealed, commits, miss_ended, refused_ended, folds, packed, packed_saved,
        miss_packed, cuts, reread, snaps, scrapped_bytes;
} l2_counts;

typedef struct l2_budget { /* of puts: a window of one second, or one day */
    _Atomic uint64_t window; /* its number; who finds it over begins the next by CAS */
    _Atomic uint64_t used;   /* bytes; a few may be counted in the window before: see admit.c */
} l2_budget;

typedef struct l2_windows { uint64_t second, day; } l2_windows; /* a put was counted in */

typedef struct l2_feet { /* warm-up: footer pages of one segment, read at once; the worker's */
    unsigned char *buf; /* NULL: none */
    size_t room;        /* of it, in bytes: the longest footer, L2_FEET_BYTES at most */
    uint64_t at;        /* in data.seg */
    size_t bytes;       /* of them that are there; 0: read page by page */
} l2_feet;
#define L2_FEET_BYTES ((size_t)256 << 10)

typedef struct l2_sort { /* warm-up: lines on their way to the tables; the worker's */
    l2_sort_line *line;    /* `room` for each shard; NULL: none */
    uint32_t room;
    uint32_t shard;        /* all are read: the next to be emptied */
    uint32_t count[L2_SHARDS];
} l2_sort;

typedef struct l2_goal { /* places that the store is to have; the worker's */
    bool on, floored;      /* floored: SUPER knows what was reclaimed for it */
    uint32_t places;
    uint64_t moved_ns;     /* when it came further last; 0: not begun */
    uint64_t bytes;        /* what was asked for */
    cellar_err result;     /* once it is off */
} l2_goal;

enum { L2_NOW_CLEAN, L2_NOW_MOVING, L2_NOW_DIRTY }; /* l2.dirty */

struct l2 {
    l2_config cfg;           /* constant; path is not kept */
    const base_vfs *vfs;
    base_vfs_file *dir, *lock_file, *super_file, *stage_file, *data_file, *data_direct, *meta[2];
    l2_form form;
    base_hash_key hash_key;
    int64_t wall_offset_ms;  /* store clock + this = L, the logical wall clock; constant */
    l2_super super;          /* the worker's */
    uint32_t nstage;         /* constant */
    uint32_t nseg, places;   /* indexes in `seg`, places in data.seg; the worker's, under L2_LOG */
    _Atomic uint32_t nseg_seen, places_seen; /* the same, for everybody else */
    uint32_t seg_shift;      /* log2 of granules in a segment */
    uint32_t reserve;        /* bytes of a slot that no put takes while it is the last */
    uint32_t room_max;       /* of one put: fits into every fresh slot */
    uint32_t keep_free;      /* places the worker keeps free */

    unsigned char *map;      /* stage.buf */
    size_t map_bytes;
    uint32_t guard;          /* of the map, see base/bus.h; 0: none; constant */
    l2_mapped mapped;        /* data.seg */
    l2_opened opened;        /* constant */
    bool set_aside;          /* a damaged directory was; constant */
    bool forked;             /* a child's shell; see forked.c. No other thread is there to ask */
    base_vfs gone;           /* its vfs */
    _Atomic uint32_t lost;   /* 1: SUPER must still say that the stage is nobody's, 2: tried once */
    l2_seg *seg;             /* nseg; base of seg_region, constant */
    base_region seg_region;
    size_t seg_have;         /* bytes of it that are there; the worker's */
    l2_slot slot[L2_SLOTS_MAX];

    sync_lock log_lock;      /* rank L2_LOG; guards what follows down to view_lock */
    l2_slot *open_slot SYNC_GUARDED(L2_LOG); /* where records go; NULL: none since an overflow */
    uint64_t next_segseq SYNC_GUARDED(L2_LOG);
    uint64_t segseq_end SYNC_GUARDED(L2_LOG); /* numbers below `segseq_end` may be used */
    uint64_t newest_segseq SYNC_GUARDED(L2_LOG); /* given to a segment last */
    uint32_t free_count SYNC_GUARDED(L2_LOG); /* of the stack of free segments, in `seg` */
    uint32_t era_now SYNC_GUARDED(L2_LOG);  /* filter era of new segments */
    uint32_t era_segs SYNC_GUARDED(L2_LOG); /* segments in it */
    _Atomic uint32_t emptied; /* 1: overflowed: nothing is stored, so nothing needs a tombstone */
    uint64_t logged_controls SYNC_GUARDED(L2_LOG); /* reserved so far */
    _Atomic uint64_t logged;  /* all records so far; raised under the lock, read anywhere */
    uint32_t meta_lost;      /* lost_controls as of the META that is written */
    uint32_t meta_done;      /* its serial; the worker's to change */

    sync_lock view_lock;     /* rank L2_DEV; guards what follows */
    l2_view_row *view SYNC_GUARDED(L2_DEV);
    uint32_t view_count SYNC_GUARDED(L2_DEV), view_cap SYNC_GUARDED(L2_DEV);
    uint32_t next_vgen SYNC_GUARDED(L2_DEV), next_id SYNC_GUARDED(L2_DEV);

    l2_ends ends;

    _Atomic uint64_t floor_lsn;   /* grows only; L2_LOG to raise it */
    _Atomic uint64_t oldest_lsn;  /* start of the oldest segment not reclaimed; the worker's */
    _Atomic uint64_t leaving_lsn;  /* what lies below is being reclaimed: no longer served */
    _Atomic uint64_t header_floor; /* highest floor in a header that lies in the stage */
    _Atomic uint32_t dirty;       /* L2_NOW_...; futex word */
    _Atomic uint32_t want_dirty;  /* 1: a put was dropped because the store is marked clean */
    _Atomic uint32_t broken;      /* L2_BROKEN..: no more puts, gets miss, until the next open */
    _Atomic uint32_t disk;        /* L2_DISK_...; release by who changes it */
    l2_trouble trouble;
    cellar_l2_cipher crypt;  /* constant; seal NULL: none */
    unsigned char nonce[12]; /* of the first seal since the open; constant */
    _Atomic uint64_t seals;  /* so far */
    uint32_t seal_bytes;     /* a sealed value is longer by; constant */
    bool packs;              /* values can be packed and unpacked here; constant */
    _Atomic uint32_t packers; /* blocks made */
    unsigned char *_Atomic packer[L2_PACKERS]; /* those that nobody is using; see codec.c */
    l2_budget second, day;
    _Atomic uint64_t *seen;   /* of keys refused as unused; see admit.c */
    uint32_t seen_words;      /* constant */
    _Atomic uint32_t closed;      /* L2_CLOSED..; see doorbell.c */
    _Atomic uint32_t bell_late;   /* 1: a doorbell was made for a tier that was open again */
    unsigned char bell_id[16];    /* constant */
    _Atomic uint32_t lost_controls; /* not logged: no slot opens before META has them */
    _Atomic uint64_t beat;        /* ns of the worker's last sign of life; 0: it is not at work */
    _Atomic uint32_t arm_wanted;  /* 1: somebody came near the armed end */
    _Atomic uint64_t reads_begun, reads_done; /* of callers, from disk */
    _Atomic uint32_t reads_stuck; /* 1: some have not come back for 100 ms */

    l2_index index;
    l2_gate *gates;
    uint32_t gate_count;     /* power of two */
    l2_filter_line *lines;
    uint32_t line_count;
    _Atomic uint32_t warming; /* 1: the filter is not complete; release when it is */
    struct { uint64_t end_segseq; uint32_t state; } era[L2_ERAS] SYNC_GUARDED(L2_LOG); /* gate.c */
    uint32_t clear_at;       /* the worker's: next line of an era being cleared */

    /* the worker's: who holds `working` */
    _Atomic uint32_t working; /* futex word: 0 free, 1 held, 2 held and waited for */
    unsigned char *page;      /* scratch pages, aligned; L2_PAGE * 4 */
    void *page_raw;
    uint64_t data_syncs;      /* completed ones */
    size_t chunk;             /* bytes of a segment that are written at once */
    uint64_t meta_serial, meta_lsn, meta_controls;
    int64_t barrier_ms, meta_ms, seen_ms, beat_ms, arm_ms;
    int64_t sealed_ms;        /* when a slot was sealed last, or the store opened */
    bool no_scrap;            /* the file system would not do it */
    uint64_t arm_lsn, reads_ns, reads_seen; /* reads_...: of the last look; seen: done then */
    bool reads_out;           /* some were on their way then */
    uint32_t arm_window;      /* bytes ahead that are armed */
    uint32_t *order;          /* warm-up: segment indexes, newest first; room for order_cap */
    uint32_t order_cap;       /* nseg at open */
    l2_goal goal;             /* resize.c */
    bool uncut;               /* data.seg is longer than `places` */
    uint32_t order_count, order_at;
    l2_feet feet;             /* of order[order_at - 1] */
    l2_sort sort;

    /* images.c */
    _Atomic uint32_t imaging; /* futex word: 0 free, 1 held, 2 held and waited for; guards: */
    base_vfs_file *image_file; /* bloom.snap as found or written last; NULL: none */
    l2_image_row *image;      /* image_count in image_cap */
    uint32_t image_count, image_cap;
    bool image_bad;           /* bloom.snap was found damaged; constant */
    bool image_clean;         /* bloom.snap is of a close with nothing after it; constant */
    struct l2_image image_now; /* between l2_image_open and _close */
    _Atomic uint64_t image_bytes; /* of bloom.snap; read by anybody */
    base_vfs_file *snap_file; /* index.snap, without its name; NULL: none; gone once open is over */

    /* commit.c: numbers; the last that failed; 1: somebody leads; why none can succeed, or 0 */
    _Atomic uint32_t commits_begun, commits_done, commits_failed, committing, commit_errno;
    _Atomic uint64_t committed; /* `logged` as of a commit that saw all of it complete; or 0 */
    _Atomic uint64_t commit_ns; /* since when its leader waits for the disk; 0: none does */
    /* a header with it must be durable before the next OK */
    uint64_t commit_floor SYNC_GUARDED(L2_LOG);
    base_thread thread;
    bool threaded, ended;
    _Atomic uint32_t stop, bell;
    _Atomic uint32_t ready; /* 1: the open is over, the worker may begin */
    _Atomic uint32_t resizing; /* 1: somebody waits for `goal` */
    l2_counts n;
};

#define L2_COUNT(d, field) ((void)base_add_rlx(&(d)->n.field, (uint64_t)1))
#define L2_COUNT_BY(d, field, by) ((void)base_add_rlx(&(d)->n.field, (uint64_t)(by)))

/* index.c */
/* Return the buckets of one shard of an index for so many objects. */
CELLAR_PRIVATE uint32_t l2_index_buckets(uint64_t objects);
CELLAR_PRIVATE bool l2_index_open(l2 *d, uint64_t objects);
CELLAR_PRIVATE void l2_index_close(l2 *d);
BASE_INLINE uint64_t l2_h48(uint64_t hash) { return base_mix64(hash) >> 16; }
/* A word of the class, 0: none. The only one, unless it says L2_WORD_TWIN. */
CELLAR_PRIVATE uint64_t l2_index_find(l2 *d, uint64_t h48);
/* Copy all words of the class into `word`. Return how many there are. */
CELLAR_PRIVATE uint32_t l2_index_all(l2 *d, uint64_t h48, uint64_t word[L2_CLASS_WORDS]);
/* Put `word` in the place of all words of the class that are not heavy; 0: remove them. */
CELLAR_PRIVATE void l2_index_set(l2 *d, uint64_t h48, uint64_t word);
/* Put `word` in the place of `behind`, a heavy word of the class. The others stay. */
CELLAR_PRIVATE void l2_index_link(l2 *d, uint64_t h48, uint64_t word, uint64_t behind);
/* Remove the word of the class that names `addr`. */
CELLAR_PRIVATE void l2_index_drop(l2 *d, uint64_t h48, uint64_t addr);
/* Warm-up: each only where no word of its hash48 is there, and nothing of its pair was turned away.
 * All of one shard. */
CELLAR_PRIVATE void l2_index_replay(l2 *d, uint32_t shard, const l2_sort_line *line, uint32_t n);
CELLAR_PRIVATE bool l2_index_warm_begin(l2 *d);
/* Words go that `dead` says are dead. Also for a segment whose footer cannot be read. */
CELLAR_PRIVATE void l2_index_sweep(l2 *d, bool (*dead)(const l2 *d, uint64_t word, uint64_t arg),
                                   uint64_t arg);
CELLAR_PRIVATE void l2_index_warm_end(l2 *d);
CELLAR_PRIVATE uint64_t l2_word_make(const l2 *d, uint32_t seg, uint32_t off, uint64_t h48,
                                     uint32_t bytes);
CELLAR_PRIVATE uint32_t l2_word_seg(const l2 *d, uint64_t word);
CELLAR_PRIVATE uint32_t l2_word_off(const l2 *d, uint64_t word);
CELLAR_PRIVATE uint32_t l2_word_bytes(const l2 *d, uint64_t word); /* an upper bound */
/* lsn of what the word names now; 0: its segment is free. */
CELLAR_PRIVATE uint64_t l2_word_lsn(const l2 *d, uint64_t word);

/* gate.c */
CELLAR_PRIVATE uint32_t l2_gates_in(uint64_t memory_bytes); /* gates of a store */
CELLAR_PRIVATE uint32_t l2_lines_in(uint64_t objects);      /* lines of its filter */
CELLAR_PRIVATE bool l2_gates_open(l2 *d, uint64_t objects);
CELLAR_PRIVATE void l2_gates_close(l2 *d);
/* By tag and shard alone: all keys of a class have the same gate. */
BASE_INLINE l2_gate *l2_gate_of(l2 *d, uint64_t h48)
{
    return &d->gates[((h48 & 0xffffu) | h48 >> 42 << 16) & (d->gate_count - 1)];
}
/* Whoever was in a gate before the call is out of it. */
CELLAR_PRIVATE void l2_gates_pass(l2 *d);
CELLAR_PRIVATE bool l2_memo_knows(const l2_gate *g, uint64_t h48) SYNC_HOLDS(L2_GATE);
CELLAR_PRIVATE void l2_memo_note(l2_gate *g, uint64_t h48) SYNC_HOLDS(L2_GATE);
CELLAR_PRIVATE void l2_memo_forget(l2_gate *g, uint64_t h48) SYNC_HOLDS(L2_GATE);
CELLAR_PRIVATE void l2_filter_ahead(const l2 *d, uint64_t h48); /* its line is wanted soon */
CELLAR_PRIVATE void l2_filter_add(l2 *d, uint64_t h48, uint32_t era);
CELLAR_PRIVATE bool l2_filter_maybe(const l2 *d, uint64_t h48);
/* A segment begins: its era. */
CELLAR_PRIVATE uint32_t l2_era_begin(l2 *d, uint64_t segseq) SYNC_HOLDS(L2_LOG);
/* Clear a piece of an era that is given up; true: more to do. */
CELLAR_PRIVATE bool l2_era_work(l2 *d);

/* admit.c */
CELLAR_PRIVATE uint32_t l2_seen_in(uint64_t memory_bytes, uint64_t objects); /* words of it */
CELLAR_PRIVATE bool l2_seen_open(l2 *d, uint64_t objects);
CELLAR_PRIVATE void l2_seen_close(l2 *d);
/* Was the key asked about not long ago? From now on it was. */
CELLAR_PRIVATE bool l2_seen_again(l2 *d, uint64_t h48);
/* May so many bytes be written now? Then they are counted; *w: the windows they were counted in. */
CELLAR_PRIVATE bool l2_budget_allows(l2 *d, uint64_t bytes, l2_windows *w);
/* They were not written after all. */
CELLAR_PRIVATE void l2_budgets_back(l2 *d, const l2_windows *w, uint64_t bytes);

/* codec.c */
typedef struct l2_box { /* a value as it is stored */
    unsigned char *block; /* owned; NULL: none */
    size_t block_bytes;   /* 0: the block is a packer, lent */
    const unsigned char *bytes;
} l2_box;
CELLAR_PRIVATE bool l2_codec_open(l2 *d);
CELLAR_PRIVATE void l2_codec_close(l2 *d);
/* A block of so many bytes for one packing or sealing: of those set aside, or a new one. block
 * NULL: none. */
CELLAR_PRIVATE void l2_packer_take(l2 *d, l2_box *box, size_t bytes);
/* r, with the raw length and without ext, becomes that of the packed value; its ext must then say
 * how long it was. False: not worth it, or no memory: all stays as it is. */
CELLAR_PRIVATE bool l2_box_pack(l2 *d, const void *value, l2_rec *r, l2_box *box);
/* The value in *box, r->vlen bytes, is sealed: r and *box become those of the result. False: no
 * memory, or it failed. */
CELLAR_PRIVATE bool l2_box_seal(l2 *d, const l2_key *k, const unsigned char *ext, l2_rec *r,
                                l2_box *box);
CELLAR_PRIVATE void l2_box_free(l2 *d, l2_box *box);
/* Of a record that verified, at `at`, which is sealed, or must be: box->bytes are its value's, *n
 * of them, in buf where they fit and are not packed. False: not ours to read. */
CELLAR_PRIVATE bool l2_box_open(l2 *d, const l2_rec *r, const unsigned char *at, void *buf,
                                size_t buf_cap, l2_box *box, uint32_t *n);
/* May this value be unpacked here? Else it is counted. */
CELLAR_PRIVATE bool l2_box_packed_right(l2 *d, const l2_rec *r, const l2_meta *m);
/* raw_bytes of it to buf. False: it is no packing of so many. */
CELLAR_PRIVATE bool l2_box_unpack(l2 *d, const l2_box *box, uint32_t n, void *buf,
                                  uint32_t raw_bytes);

/* log.c */
typedef enum l2_room { L2_ROOM_PUT, L2_ROOM_KEEP, L2_ROOM_FLOOR } l2_room;
typedef struct l2_spot { /* a reserved place; the slot's writers count it */
    l2_slot *slot;
    unsigned char *at;
    uint64_t segseq;
    uint32_t seg, off, era;
} l2_spot;
typedef enum l2_took {
    L2_TOOK, L2_NO_ROOM, L2_IS_CLEAN, L2_IS_EMPTY, L2_IS_STALLED, L2_IS_FROZEN, L2_IS_ENDED,
    L2_IS_OLD
} l2_took;
typedef struct l2_terms { /* under which a put may be made */
    uint64_t ends;             /* l2_ends.ends, as its tags and its key were looked at */
    const l2_current *current; /* NULL: always */
    uint64_t hash;
} l2_terms;
BASE_INLINE bool l2_is_current(const l2_terms *t)
{
    const l2_current *c = t->current;
    return c == NULL || c->is == NULL || BASE_MUTANT("l2.no_stamp") ||
           c->is(c->ctx, t->hash, c->stamp);
}
/* Head and footer line are written, the body is the caller's, l2_rec_end and l2_spot_done after.
 * L2_IS_CLEAN: the store must be marked dirty first. L2_IS_EMPTY: a KEEP record found no room, all
 * older is given up: nothing needs to be said about it. STALLED, FROZEN: not now, the disk does
 * not answer. ENDED, OLD: a put that may not be any more: a tag or pattern, a change has ended it.
 * terms: of a PUT, which gives up when the lock is busy, and has its filter bits when it has its
 * place; else NULL. */
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
/* Give slot and segment a number and a header; the caller says when it may be used. */
CELLAR_PRIVATE void l2_slot_head(l2 *d, l2_slot *s, uint32_t seg) SYNC_HOLDS(L2_LOG);
/* Footers, trailer, zeros between; then the whole slot to its place. */
CELLAR_PRIVATE int l2_seal(l2 *d, l2_slot *s);
/* Seal the slots that are full; nobody waits for room. */
CELLAR_PRIVATE void l2_drain(l2 *d);
/* All that is stored is given up: its floor is logged where there is room for that. */
CELLAR_PRIVATE void l2_empty(l2 *d);
CELLAR_PRIVATE bool l2_work(l2 *d, uint64_t budget_us);
CELLAR_PRIVATE void l2_worker_take(l2 *d);
CELLAR_PRIVATE bool l2_worker_try(l2 *d);
CELLAR_PRIVATE void l2_worker_drop(l2 *d);
CELLAR_PRIVATE void l2_ring(l2 *d);
CELLAR_PRIVATE bool l2_reclaim(l2 *d);
/* Neither of its headers is one any more. */
CELLAR_PRIVATE void l2_slot_wipe(l2 *d, l2_slot *s);
CELLAR_PRIVATE int l2_prepare(l2 *d);
CELLAR_PRIVATE void l2_disarm(l2 *d); /* before the stage is synced: see doorbell.c */
CELLAR_PRIVATE void l2_sync_failed(l2 *d, int e);
/* Read footer page `index` of a segment on disk into d->page, healed if need be. */
CELLAR_PRIVATE bool l2_foot_load(l2 *d, const l2_seg *g, uint64_t segseq, uint32_t index);
/* Call fn for each line of the page in d->page; false: its distances are impossible. */
CELLAR_PRIVATE bool l2_foot_each(l2 *d, uint32_t data_end, bool newest_first,
                                 void (*fn)(l2 *d, void *ctx, const l2_entry *e), void *ctx);

/* io.c */
CELLAR_PRIVATE int l2_read(l2 *d, base_vfs_file *f, void *buf, size_t n, uint64_t at);
/* The same, but the caller says whether it was trouble (l2_io_failed). */
CELLAR_PRIVATE int l2_read_only(l2 *d, base_vfs_file *f, void *buf, size_t n, uint64_t at);
CELLAR_PRIVATE int l2_write(l2 *d, base_vfs_file *f, const void *buf, size_t n, uint64_t at);
CELLAR_PRIVATE int l2_datasync(l2 *d, base_vfs_file *f);
CELLAR_PRIVATE int l2_super_store(l2 *d); /* serial + 1, the other copy, synced */
CELLAR_PRIVATE int l2_meta_store(l2 *d);
CELLAR_PRIVATE int l2_dirty_now(l2 *d);   /* makes L2_NOW_DIRTY durable; the worker's */
CELLAR_PRIVATE cellar_err l2_sync_as(l2 *d, bool closing);
CELLAR_PRIVATE void l2_dirty_wait(l2 *d); /* the same; no lock held, not by the worker */
CELLAR_PRIVATE int64_t l2_wall_now(const l2 *d);
/* False: no memory. */
CELLAR_PRIVATE bool l2_control_apply(l2 *d, const unsigned char *value, uint32_t bytes,
                                     uint64_t lsn, uint64_t *floor);
/* False: no memory. */
CELLAR_PRIVATE bool l2_view_apply(l2 *d, const l2_view *v, const char *name, size_t name_len);
/* The valid copy with the higher serial into the view table; its lsn is d->meta_lsn. */
CELLAR_PRIVATE cellar_err l2_meta_load(l2 *d);

/* map.c */
CELLAR_PRIVATE void l2_map_open(l2 *d); /* where it fails the file is read as ever */
CELLAR_PRIVATE void l2_map_close(l2 *d, bool forked);
CELLAR_PRIVATE void l2_map_set(l2 *d);  /* for as many places as there are; the worker's */
/* From now on nobody begins; false: somebody is not through yet. Before the file gets shorter. */
CELLAR_PRIVATE bool l2_map_shut(l2 *d);
CELLAR_PRIVATE void l2_map_forget(l2 *d, uint32_t place); /* it was written to */
CELLAR_PRIVATE void l2_map_work(l2 *d); /* now and then; the worker's */
/* n bytes at `at`, all of them of `place`, were read from the file just now. */
CELLAR_PRIVATE void l2_map_note(l2 *d, uint64_t at, size_t n);
/* False: they must be. */
CELLAR_PRIVATE bool l2_map_read(l2 *d, void *buf, size_t n, uint32_t place, uint64_t at);

/* open.c */
/* forked: what is mapped is not here. */
CELLAR_PRIVATE void l2_files_close(l2 *d, bool forked);

/* forked.c */
/* base_alloc, for who then goes on with what a child has not got: NULL there, too. */
CELLAR_PRIVATE void *l2_alloc(l2 *d, size_t bytes);

/* commit.c */
CELLAR_PRIVATE void l2_commit_failed(l2 *d, int e) SYNC_HOLDS(L2_LOG);
/* A header with this floor is durable, behind any failure so far. */
CELLAR_PRIVATE void l2_commit_healed(l2 *d, uint64_t floor) SYNC_HOLDS(L2_LOG);

/* scrap.c */
CELLAR_PRIVATE void l2_scrap_work(l2 *d); /* now and then; the worker's */
/* All that the next sync of the stage need not write; nobody appends. */
CELLAR_PRIVATE void l2_scrap_all(l2 *d);

/* images.c */
/* What bloom.snap holds; clean: the store was closed, and is the one that was. After that no more
 * opens are counted in this life. */
CELLAR_PRIVATE void l2_images_open(l2 *d, bool clean);
CELLAR_PRIVATE void l2_images_fini(l2 *d);
/* Room in the size of the store for all that a save would write now. */
CELLAR_PRIVATE void l2_images_reserve(l2 *d);
/* How many of those found are not what was saved; nobody else is here. */
CELLAR_PRIVATE uint32_t l2_images_damaged(l2 *d);

/* snap.c */
/* Bytes of a snapshot of tables for so many objects, at the most. */
CELLAR_PRIVATE uint64_t l2_snap_room(uint64_t objects, uint64_t segs);
/* The end of a close; nothing changes any more. */
CELLAR_PRIVATE void l2_snap_save(l2 *d);
/* Takes the name from what is there, so that no other open finds it; what was left half written
 * (`rest`) goes. The directory is synced by the caller, before anything else is done. */
CELLAR_PRIVATE void l2_snap_open(l2 *d, bool there, bool rest);
CELLAR_PRIVATE void l2_snap_close(l2 *d);
/* Behind l2_adopt, of a store that was CLEAN; newest: segseq of anything there is. True: words,
 * filter and eras are complete. */
CELLAR_PRIVATE bool l2_snap_take(l2 *d, uint64_t newest);
/* Is it the head of a snapshot that this life left, at the close SUPER speaks of? */
CELLAR_PRIVATE bool l2_snap_head_fits(const l2_form *f, const l2_super *s, uint64_t life,
                                      uint64_t file_bytes, const unsigned char head[L2_PAGE]);

/* Segments are sorted by number in steps (Shell 1959; Knuth's gaps 1, 4, 13, ...): places are taken
 * in turn, so that they come as one sorted run behind another, which one step of 1 would take
 * apart in quadratic time. No memory is asked for. */
BASE_INLINE uint32_t l2_sort_gap(uint32_t count)
{
    uint32_t gap = 1;
    while (gap < count / 3) { gap = gap * 3 + 1; }
    return gap;
}

/* resize.c */
/* How many places of so many the worker keeps free. */
BASE_INLINE uint32_t l2_free_kept(uint32_t places) { return places >= 8 ? 2 : 1; }
/* What `bytes` leave to data.seg and index.snap: whole segments. */
CELLAR_PRIVATE uint64_t l2_data_room(const l2_super *s, uint64_t bytes);
/* How many objects the tables of so many bytes of segments are made for. */
CELLAR_PRIVATE uint64_t l2_objects_in(const l2_config *c, uint64_t bytes);
/* How much of `bytes` the places leave to index.snap. */
CELLAR_PRIVATE uint64_t l2_snap_kept(const l2_config *c, const l2_super *s, uint64_t bytes);
/* How many segments `bytes` have room for, beside all else. */
CELLAR_PRIVATE uint64_t l2_places_in(const l2_config *c, const l2_super *s, uint64_t bytes);
/* The same, with a bloom.snap of so many bytes. */
CELLAR_PRIVATE uint64_t l2_places_beside(const l2_config *c, const l2_super *s, uint64_t bytes,
                                         uint64_t images);
CELLAR_PRIVATE bool l2_rows_open(l2 *d, uint64_t rows);
CELLAR_PRIVATE bool l2_rows_add(l2 *d, uint64_t rows);
CELLAR_PRIVATE void l2_rows_close(l2 *d);
CELLAR_PRIVATE bool l2_resize_work(l2 *d); /* one step towards the goal; true: there are more */
CELLAR_PRIVATE cellar_err l2_resize_to(l2 *d, uint32_t places, uint64_t bytes);

/* put.c */
/* A control into the log: its lsn. 0: nothing of before is left that it could be about. */
CELLAR_PRIVATE uint64_t l2_control_log(l2 *d, uint64_t h48, const unsigned char *value,
                                       uint32_t bytes, uint32_t vgen);
/* Of a record's tags, as the owner sees it: 0 valid. */
CELLAR_PRIVATE int l2_tags_verdict(l2 *d, const l2_meta *m);

/* ends.c */
/* 0 valid, 1 stale, 2 dead, as far as this level has been told. */
CELLAR_PRIVATE int l2_tags_ended(l2 *d, uint64_t born, const void *fps, uint32_t count);
/* Does a pattern end this key's record at `lsn`? walking: only those whose walk goes on. */
CELLAR_PRIVATE bool l2_globs_match(l2 *d, uint32_t vgen, uint64_t lsn, bool walking,
                                   const void *key, size_t klen);
/* What they take in META, at least; their rows, SIZE_MAX: no room; lsn: as META says. */
CELLAR_PRIVATE size_t l2_ends_bytes(l2 *d);
CELLAR_PRIVATE size_t l2_ends_write(l2 *d, unsigned char *head, unsigned char *to, size_t cap,
                                    uint64_t lsn);
/* Rows of a META: their length, false: impossible ones; then into the tables, false: no memory. */
CELLAR_PRIVATE bool l2_ends_skip(const unsigned char *head, const unsigned char *from, size_t cap,
                                 size_t *n);
CELLAR_PRIVATE bool l2_ends_take(l2 *d, const unsigned char *head, const unsigned char *from);
CELLAR_PRIVATE bool l2_ends_control(l2 *d, const unsigned char *value, uint32_t bytes,
                                    uint64_t lsn);
CELLAR_PRIVATE void l2_ends_forget(l2 *d);
CELLAR_PRIVATE void l2_ends_close(l2 *d);
CELLAR_PRIVATE void l2_ends_count(l2 *d, l2_stats *out);

/* trouble.c */
CELLAR_PRIVATE void l2_trouble_init(l2 *d); /* what cfg leaves open */
/* Count a call to the disk that failed and log it as an error. `op` is the module of the line:
 * "l2_" and the verb. So each kind of call has its own line, at most one a second (base/log.h). */
CELLAR_PRIVATE void l2_io_failed(l2 *d, const char *op, const base_vfs_file *f, uint64_t at,
                                 int e);
CELLAR_PRIVATE void l2_read_damaged(l2 *d);     /* a record that does not verify; the same */
/* The worker asks before it works: false while the disk is off; tries it when that is due. */
CELLAR_PRIVATE bool l2_disk_works(l2 *d);
/* A page of the stage was not there: nothing of it counts any more, now and at the next open. Asked
 * with no lock held, before anything is acknowledged. */
CELLAR_PRIVATE void l2_stage_lost(l2 *d);
BASE_INLINE void l2_stage_look(l2 *d)
{
    if (base_bus_hit(d->guard)) { l2_stage_lost(d); }
}
/* False: the files are not what they were; nothing is done with them any more. */
CELLAR_PRIVATE bool l2_heartbeat(l2 *d);
CELLAR_PRIVATE bool l2_files_there(l2 *d); /* the same, looked at now */

/* doorbell.c */
#define L2_CLOSED 1u
#define L2_RUNG 2u
#define L2_CLOSED_ONE 4u /* the rest counts, and never goes back: no word of the past comes again */
BASE_INLINE bool l2_is_closed(const l2 *d) { return (base_load_acq(&d->closed) & L2_CLOSED) != 0; }
CELLAR_PRIVATE bool l2_quiet(const l2 *d);   /* the worker has been silent for 20 ms */
CELLAR_PRIVATE bool l2_stalled(const l2 *d); /* for 100 ms */
CELLAR_PRIVATE bool l2_frozen(const l2 *d);  /* for 500 ms */
CELLAR_PRIVATE void l2_beat(l2 *d);          /* the worker is about to call the disk */
CELLAR_PRIVATE void l2_reads_look(l2 *d);
CELLAR_PRIVATE void l2_arm_work(l2 *d);
CELLAR_PRIVATE void l2_arm_wish(l2 *d);
/* True: the tier is closed and the change may rely on the doorbell. */
CELLAR_PRIVATE bool l2_closed_over(l2 *d);
CELLAR_PRIVATE bool l2_close_tier(l2 *d); /* the same, and closes it */
CELLAR_PRIVATE void l2_reopen(l2 *d);     /* the worker's */
/* The name of the doorbell of the store whose stage this is: a copy has its own. */
CELLAR_PRIVATE void l2_bell_name(l2 *d, const l2_stage_id *stage);
/* True: there, or it cannot be told. */
CELLAR_PRIVATE bool l2_bell_found(l2 *d);
CELLAR_PRIVATE void l2_bell_gone(l2 *d);
CELLAR_PRIVATE void l2_bell_made(l2 *d); /* the next open begins anew */
/* The gate of a change: false: not while the disk is frozen. */
CELLAR_PRIVATE bool l2_gate_take(l2 *d, l2_gate *g) SYNC_TRIES(L2_GATE);

/* link.c */
typedef struct l2_link { /* how a new record takes its place in front of its class */
    uint64_t word; /* the word it replaces in the index; 0: all words that are not heavy */
    uint64_t to;   /* lsn of the record that it names; 0: none */
    uint8_t flags; /* that it has by this */
    bool alone;    /* `word` is the key's own, and its class has nothing else */
} l2_link;
/* Asked in the gate, for a put or a tombstone of the key. */
CELLAR_PRIVATE void l2_link_plan(l2 *d, uint64_t h48, const l2_key *k, bool tomb, l2_link *out);
/* The word of the record at `lsn`, as large as it is. 0: it is reclaimed, or a kill cut it short;
 * LOST: it cannot be read, so it may be the newest of any key. */
#define L2_LINK_LOST UINT64_MAX
CELLAR_PRIVATE uint64_t l2_link_word(l2 *d, uint64_t lsn);

/* recover.c */
/* What the files hold, into the tables; d->super as read. alive false: nothing of it counts. copy:
 * they are not the files that SUPER was written for. */
/* Return the bytes that l2_recover charges to the budget until it returns. */
CELLAR_PRIVATE uint64_t l2_recover_bytes(const l2_super *s);
CELLAR_PRIVATE cellar_err l2_recover(l2 *d, bool alive, bool same_boot, bool copy,
                                     const l2_stage_id *stage_was, int *sys_errno);

/* warm.c */
/* False: no memory. */
CELLAR_PRIVATE bool l2_warm_begin(l2 *d);
CELLAR_PRIVATE void l2_warm_free(l2 *d);
CELLAR_PRIVATE bool l2_warm_step(l2 *d);
/* A segment that is still `unread` is reclaimed: the filter must know of it, the index no more. */
CELLAR_PRIVATE void l2_warm_skip(l2 *d, uint32_t seg);

#endif
