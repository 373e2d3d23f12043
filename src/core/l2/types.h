/* SPDX-License-Identifier: MIT
 *
 * types: the store, and what its files share.
 *
 * PICTURE    put, tombstone, control -> buffer in memory -> pwrite -> data.seg
 *            get: word of the index -> lsn -> buffer or one read -> all checks -> caller
 *            pass: live records of the oldest segment are appended again, or leave the index
 *            open: headers -> records of the tail -> rows, newest segment first -> words
 * LSN        Position in the one log: number of the segment * seg_bytes + offset. Of two records of
 *            one key the one with the higher lsn counts. Its place in data.seg is lsn modulo size.
 *            While the size changes the log continues in data.new, from `split` on (resize.c).
 * INVARIANTS head <= each word < tail < head + size. `written` <= tail; all below is in the file.
 *            Records of one segment are contiguous; its rows and trailer are written before the
 *            header of the next segment.
 * LOCKING    L2_TOMBSTONE_LOCK of the key's shard -> L2_LOG. `writing`, `syncing` and `working` are
 *            roles: their holder calls the disk. They are taken in the order working, syncing,
 *            writing, and without locks.
 * SEE ALSO   README.md in this folder: protocols, what is missing. */
#ifndef L2_TYPES_H
#define L2_TYPES_H

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/sync.h"
#include "l2/l2.h"

#define L2_PAGE 4096u
#define L2_RECORD_HEAD 24u
#define L2_RECORD_CHECK 4u /* bytes of the check at its begin */
#define L2_RECORD_MARK 6u  /* bytes of check and mark */
/* Most bytes of head, extensions and key. */
#define L2_NAMED_MOST ((size_t)L2_RECORD_HEAD + (size_t)255 * 8 + CELLAR_KEY_MAX)
#define L2_WALL_END_MS ((int64_t)1 << 48) /* 8,900 years: no limit */
#define L2_EXT_MAX 232u      /* bytes of a record's extension in this version */
#define L2_DAY_STEPS 256u     /* SUPER counts 1/256 of a day's budget ahead */
#define L2_PACKERS 4u /* two for compression, two for encryption */

enum { L2_KIND_PUT = 0, L2_KIND_TOMB = 1, L2_KIND_CONTROL = 2 };
#define L2_FLAG_DURABLE 0x10u /* beside the kind of a record: the put was acknowledged as durable */
#define L2_VLEN_MASK 0x3fffffffu
/* The two bits above a value's length. Both may be set. */
enum { L2_FORM_PLAIN = 0, L2_FORM_PACKED = 1, L2_FORM_SEALED = 2 };
enum { /* first byte of a control's value */
    L2_CTL_NAMESPACE = 1, L2_CTL_FLOOR = 2, L2_CTL_TAG = 3, L2_CTL_GLOB = 4,
    L2_CTL_RUN = 5, /* 8 u64 number of the run that begins behind it */
    L2_CTL_END = 6  /* 8 u64 hash: the tombstone of an entry that gives its place up */
};
#define L2_CTL_BYTES_MAX 1040u /* of a control's value: a GLOB */
#define L2_MAJOR 4u
#define L2_MINOR 0u
#define L2_HEAD_BYTES 128u  /* of a segment, before its first record */
#define L2_ROW_BYTES 20u
#define L2_SUPER_PAGES 3u
#define L2_ROWS_PAGE 200u   /* rows of a page */
#define L2_ROWS_A_PAGE 32u  /* most records for each page of a segment: 128 B each */
#define L2_WAIT_NS UINT64_C(500000000) /* most that a caller waits for the disk */
#define L2_COMMIT_NS UINT64_C(1000000000) /* the same, for the sync of another caller */
#define L2_STALLED_NS UINT64_C(100000000) /* a call that takes longer: the disk does not answer */
#define L2_NO_LIMIT_NS (UINT64_MAX / 4)
#define L2_ROW_FIRST 16u    /* byte of the first row in its page */
#define L2_TRAILER_BYTES 40u
#define L2_SHARDS 256u
#define L2_PLACES ((uint64_t)1 << 36) /* granules that the log spans at most */
#define L2_SEGS_MIN 6u
#define L2_PUT_LEAVES 2u    /* segments that puts leave to deletes and controls; 3 of 48 or more */
#define L2_KEEP_LEAVES 1u   /* segments that deletes and controls leave to copies */
#define L2_KEEP_PART 8u     /* 1/8 of its last segment is for a use, the rest for the next use */
#define L2_WRITE_BYTES ((uint64_t)64 << 10) /* so many bytes of the buffer are written at once */
#define L2_LIVE_SLOTS 4096u /* a power of two; generations are drawn one after the other */

/* Kinds of rows: those of records, and two that a row tells completely. */
enum { L2_ROW_FLOOR = 3, L2_ROW_RUN = 4 };

typedef struct l2_rec { /* the 24-byte head of a record, decoded */
    uint32_t check;
    uint16_t mark, klen;
    uint32_t vlen;   /* bytes as stored */
    uint8_t kind, ext, form; /* form: L2_FORM_..., for a put */
    uint8_t flags;   /* L2_FLAG_DURABLE, or 0 */
    int64_t expiry_wall_ms; /* 0: none */
    uint32_t generation;
    uint32_t bytes;  /* without padding */
} l2_rec;

typedef struct l2_form { /* parameters of all checks of one store; constant while it is open */
    base_sum_key sum;
    uint64_t epoch;
    uint32_t seg_bytes, granule;
} l2_form;

typedef struct l2_terms { /* conditions for a put */
    uint64_t invalidations;    /* count before its tags and its key were checked */
    const l2_current *current; /* NULL: always current */
    uint64_t hash;
    uint64_t lsn;              /* of the record that is moved: a floor above it refuses; 0: none */
} l2_terms;

#define L2_TAGS_MAX 4096u
#define L2_GLOBS_MAX 256u
#define L2_GLOB_TEXT_MAX ((uint32_t)64 << 10) /* all patterns together */

typedef struct l2_tag_row {
    uint64_t fp, hard, soft; /* fingerprint, epochs; epoch 0: never invalidated in this way */
    uint64_t lsn;            /* lsn of its newest control */
    uint32_t pending;        /* controls not yet logged */
} l2_tag_row;

typedef struct l2_globs l2_globs;

typedef struct l2_invalidations {
    sync_lock lock;           /* rank GLOB; guards all fields that are not atomic */
    _Atomic uint64_t count;   /* number of invalidations; raised between row and control */
    l2_tag_row *tag SYNC_GUARDED(GLOB);
    uint32_t tag_count SYNC_GUARDED(GLOB), tag_cap SYNC_GUARDED(GLOB);
    uint64_t tag_floor SYNC_GUARDED(GLOB); /* epoch; tagged entries born before are invalid */
    l2_globs *_Atomic globs;  /* NULL: none */
    l2_globs *replaced SYNC_GUARDED(GLOB); /* retire list: replaced lists that readers may see */
    _Atomic uint32_t readers; /* readers of lists */
    uint64_t last_seq SYNC_GUARDED(GLOB);
    uint64_t floor SYNC_GUARDED(GLOB); /* highest lsn of a FLOOR that replaced a pattern */
    bool open;                /* the log accepts controls; constant after the open */
} l2_invalidations;

#define L2_ERRORS_MOST 64u
enum { L2_DISK_OK, L2_DISK_OFF, L2_DISK_TRYING }; /* values of l2.disk */

typedef struct l2_health {
    sync_lock lock;        /* rank L2_DEV; guards the rest */
    /* ring of cfg.off_errors times of errors, in ms */
    int64_t error_ms[L2_ERRORS_MOST] SYNC_GUARDED(L2_DEV);
    uint32_t errors SYNC_GUARDED(L2_DEV);  /* since the last recovery of the disk */
    uint32_t damaged SYNC_GUARDED(L2_DEV); /* damaged records since damage_ms */
    int64_t damage_ms SYNC_GUARDED(L2_DEV);
    uint64_t damage_reads SYNC_GUARDED(L2_DEV); /* gets before damage_ms */
    int64_t off_ms SYNC_GUARDED(L2_DEV);        /* length of the current pause */
    int64_t until_ms SYNC_GUARDED(L2_DEV);      /* end of the current pause */
} l2_health;

typedef struct l2_counts { /* relaxed; `invalidated` without `denied` */
#define L2_X(name) _Atomic uint64_t name;
    L2_COUNTERS(L2_X)
#undef L2_X
} l2_counts;

typedef struct l2_budget { /* bytes of puts in a window of one second or one day */
    _Atomic uint64_t window; /* number of the window; the next one begins with a CAS */
    _Atomic uint64_t used;   /* bytes; may include a few of the window before, see admission.c */
} l2_budget;

typedef struct l2_windows { uint64_t second, day; } l2_windows; /* windows that counted a put */

typedef struct l2_super {
    uint16_t major, minor;
    unsigned char uuid[16], boot_id[16], secret[32];
    uint64_t serial, l2_bytes, opens;
    uint64_t run;     /* number of the run that wrote SUPER */
    uint64_t born;    /* segment in which that run began */
    uint64_t synced;  /* lsn; all below was durable when SUPER was written */
    uint64_t inode, device; /* of data.seg */
    int64_t born_ns;  /* its time of creation; 0: unknown */
    int64_t anchor_wall_ms, anchor_boot_ms, last_seen_wall_ms;
    int64_t clock_ms; /* wall clock when SUPER was written, as it was; 0: never */
    uint64_t bytes_today, day;
    uint32_t level, seg_bytes, nseg, granule, closed; /* closed: 1, a close wrote it */
    uint32_t room_max; /* most bytes of a record, in all runs */
    uint64_t clean_since; /* number of the first run since which each run was closed */
    uint64_t split;   /* lsn from which the log lies in data.new; see change */
    uint32_t was_nseg; /* of data.seg while the log is in both files */
    uint32_t change;  /* L2_CHANGE_... */
    uint64_t settled; /* states that were durable as a whole so far, see l2_settle */
    uint16_t hash_algo;
} l2_super;

enum {
    L2_CHANGE_NONE, /* data.seg has the log */
    L2_CHANGE_RUNS, /* data.seg has it below `split`, data.new from there on */
    L2_CHANGE_DONE  /* data.new has it, and is renamed to data.seg */
};

enum { /* of the ring that SUPER names: no segment begins while there is a doubt */
    L2_DOUBT_NOT,
    L2_DOUBT_RUNS,  /* a SUPER that names a second ring is being stored */
    L2_DOUBT_FAILED /* it failed: until another SUPER is stored it may be on disk */
};

typedef struct l2_ring { /* a file with the segments from `first` on: place: lsn modulo size */
    base_vfs_file *_Atomic file;   /* NULL: none */
    _Atomic uint64_t first, size;  /* lsn; bytes */
    uint64_t had;                  /* bytes that the open found */
} l2_ring;

typedef struct l2_goal { /* a change of the size that was asked for; holder of `working` */
    uint64_t bytes, nseg;
    uint64_t head, moved_ns; /* head: at moved_ns, when it was last seen to move */
    bool on, ours;                  /* ours: the open asked for it */
} l2_goal;

typedef struct l2_trailer { /* of a segment that is full, or open at a close */
    uint64_t seq, run; /* run: of its last record */
    uint32_t rows, data_end;
    uint32_t full;     /* 0: the log may continue in this segment */
} l2_trailer;

typedef struct l2_head { /* of a segment */
    uint64_t seq, run, synced; /* run: of its first record; synced: lsn when it was written */
    l2_trailer before;         /* of the segment before; rows 0: none */
} l2_head;

typedef struct l2_row { /* one record, in the footer of its segment */
    uint64_t hash; /* l2_mix of the key; lsn of a FLOOR; number of a RUN */
    uint32_t generation, off, bytes, kind;
} l2_row;

typedef struct l2_shard {
    sync_lock lock;  /* rank L2_TOMBSTONE_LOCK */
    uint32_t used;
    uint64_t ended;  /* end of its newest tombstone */
    uint32_t *slot;  /* 3 words for each of index.per */
} l2_shard;

typedef struct l2_index {
    l2_shard shard[L2_SHARDS];
    uint32_t *slots;        /* of all shards */
    uint32_t per;           /* slots of a shard */
    _Atomic uint64_t words; /* in use */
    _Atomic uint64_t full;  /* puts that found no slot */
} l2_index;

typedef struct l2_word { /* what the index has of a key */
    uint64_t lsn;   /* 0: nothing */
    uint32_t bytes; /* of the record, rounded up to 1/128 */
    bool tomb;      /* only during an open */
} l2_word;

typedef struct l2_run { /* the records from lsn on, up to those of the next run */
    uint64_t lsn, number;
} l2_run;

typedef struct l2_namespace_row {
    l2_namespace v;
    uint32_t name_len;
    char name[L2_NAME_MAX];
    uint64_t lsn; /* of its newest control; 0: not logged yet */
} l2_namespace_row;

typedef struct l2_image_row { /* a name of an image that this run opened or saved */
    uint32_t len;
    bool given; /* by the save that runs */
    char name[L2_IMAGE_NAME_MAX];
} l2_image_row;

struct l2 {
    l2_config cfg;           /* constant; path is not kept */
    const base_vfs *vfs;
    base_vfs_file *dir, *lock_file, *super_file;
    base_vfs_file *over_file; /* SUPER once more, for its last page; holder of `writing` */
    base_vfs_file *retired;  /* of a ring that is gone; a reader may still use it */
    l2_ring ring[2];
    _Atomic uint32_t newest; /* ring in which the log ends; holder of `writing` and `working` */
    _Atomic uint32_t readers; /* calls that read a ring */
    _Atomic uint32_t doubt;  /* L2_DOUBT_.. */
    l2_goal goal;
    _Atomic uint32_t goal_over; /* cellar_err of the last goal; PENDING: it is on */
    l2_form form;            /* of this run; constant after the open */
    base_hash_key hash_key;
    int64_t wall_offset_ms;  /* store clock + this = logical wall clock; constant */
    l2_super super;          /* holder of `working` */
    uint64_t walks_from;     /* super.synced of the copy that is stored; holder of `working` */
    _Atomic uint32_t places_seen; /* segments of the newest ring */
    uint32_t room_max;       /* as in SUPER; constant */
    l2_opened opened;        /* constant */
    bool set_aside;          /* a damaged directory was renamed; constant */
    l2_run *run;             /* all runs of the log, oldest first; constant after the open */
    uint32_t run_count, run_cap;

    sync_lock log_lock;      /* rank L2_LOG; guards the fields down to `rows` */
    unsigned char *buf;      /* buf_bytes: the log from `base` on; aligned to pages */
    uint64_t base SYNC_GUARDED(L2_LOG);   /* lsn of buf[0], start of a page */
    l2_trailer last SYNC_GUARDED(L2_LOG); /* of the segment before */
    uint32_t row_count SYNC_GUARDED(L2_LOG);
    unsigned char *rows;     /* row_cap rows of the open segment, as on disk */
    void *buf_raw;
    size_t buf_bytes;
    uint32_t row_cap;
    _Atomic uint64_t tail;   /* end of the log; stored under L2_LOG */
    _Atomic uint64_t asked;  /* bytes of records of uses PUT and KEEP; stored under L2_LOG */
    _Atomic uint64_t claimed; /* all below is, or may be, in the file; stored under L2_LOG */
    _Atomic uint64_t written; /* stored by the holder of `writing`, under L2_LOG */
    _Atomic uint64_t synced; /* holder of `syncing` */
    _Atomic uint64_t dirty_ns; /* time of the oldest record that is not written; 0: none */
    _Atomic uint64_t sealed_seq; /* segments below are full and written */
    _Atomic uint64_t head;   /* lsn of the oldest segment that counts; holder of `working` */
    _Atomic uint32_t writing, syncing, working, marking; /* roles */
    _Atomic uint32_t flushed; /* raised when a write ends; futex word */
    _Atomic uint32_t flush_waits; /* threads that wait for that */
    _Atomic uint64_t write_ns; /* start of a write, 0: none; `writing` */
    _Atomic uint32_t slow;   /* quick writes until callers write again; 0: they do */
    const void *_Atomic writer; /* the thread of the store; NULL: not yet */
    _Atomic uint64_t full_seq; /* callers wait until the segment below is sealed */
    _Atomic uint64_t read_ns; /* when a read last ended, or the first of several began */
    _Atomic uint32_t reads_out; /* reads that have not ended */
    _Atomic uint32_t resync; /* 1: no sync counts until l2_resync; stored by `syncing` */
    uint64_t lost_lsn;       /* segment that began after bytes were lost; `working` */
    _Atomic uint64_t settled; /* state that no write has changed; 0: none; stored by `writing` */
    _Atomic uint32_t pressed; /* 1: a record found no room since that state */
    uint64_t filled;         /* lsn: zeros follow `written` up to it in the file; `writing` */
    unsigned char *page;     /* L2_BOUNCE bytes of the writer, aligned */
    unsigned char *work;     /* work_bytes of the holder of `working`, aligned */
    size_t work_bytes;

    l2_index index;
    _Atomic uint64_t live_of[L2_LIVE_SLOTS]; /* live bytes of a generation */
    _Atomic uint64_t live_bytes; /* the sum */
    _Atomic uint32_t live_dead; /* of 256 bytes of the sum, as the last look found */

    sync_lock namespace_lock; /* rank L2_DEV; guards the fields down to next_id */
    l2_namespace_row *namespace SYNC_GUARDED(L2_DEV);
    uint32_t namespace_count SYNC_GUARDED(L2_DEV), namespace_cap SYNC_GUARDED(L2_DEV);
    _Atomic uint32_t spare; /* for their controls, segments in addition to the last; under L2_DEV */
    uint64_t next_generation SYNC_GUARDED(L2_DEV); /* 40 bits */
    uint64_t unstored SYNC_GUARDED(L2_DEV); /* newest that found no room for its name; 0: none */
    uint32_t next_id SYNC_GUARDED(L2_DEV);
    _Atomic uint32_t dropped; /* 1: a namespace, since a reopening began; set under L2_DEV */
    l2_invalidations invalidations;

    _Atomic uint64_t floor_lsn;    /* no record below is served; only grows */
    uint64_t unplaced;       /* lsn; some below have no word, see recover.c */
    _Atomic uint64_t header_floor; /* a FLOOR that is written: no open finds a record below */
    _Atomic uint32_t part_count;   /* values in parts that were begun since the open */
    uint64_t part_first;           /* number of the first of them, random; constant */
    _Atomic uint64_t lost_entries[L2_LOSS_COUNT]; /* relaxed */
    _Atomic uint64_t loss;   /* newest event: time in ms * 16 + its l2_loss + 1; 0: none */
    _Atomic uint32_t broken; /* 1: the files are gone: no puts, gets miss, until the next open */
    _Atomic uint32_t disk;   /* L2_DISK_... */
    _Atomic uint32_t closed; /* 1: changes rely on the stall marker alone */
    _Atomic uint64_t owed_lsn; /* the marker stays until all below is written; 0: no
                                * marker; UINT64_MAX: while the tier is closed */
    unsigned char marker_id[16]; /* name of the stall marker; constant */
    l2_health health;
    cellar_l2_cipher crypt;  /* constant; seal NULL: no encryption */
    unsigned char nonce[12]; /* nonce of the first encryption since the open; constant */
    _Atomic uint64_t seals;  /* encryptions so far */
    uint32_t seal_bytes;     /* bytes that encryption adds; constant */
    bool packs;              /* this build can compress; constant */
    _Atomic uint32_t packers; /* blocks allocated */
    unsigned char *_Atomic packer[L2_PACKERS]; /* blocks that are not in use; see codec.c */
    l2_budget second, day;
    _Atomic uint64_t *seen;  /* keys refused as unused, see admission.c */
    uint32_t seen_words;     /* constant */

    l2_image_row *image;     /* holder of `imaging`, down to image_doubt */
    uint32_t image_count, image_cap;
    bool image_doubt;        /* an image of a name in use may count as clean */
    _Atomic uint32_t imaging; /* role */
    _Atomic uint32_t room;   /* raised when a segment becomes free; futex word */
    _Atomic uint64_t moved_ns; /* time at which the last segment became free */
    _Atomic uint64_t unread_rows; /* number of a segment, rows.h; 0: none */
    uint64_t want_id;        /* value of the last part that a pass looked at; 0: none */
    bool want_it;            /* a get finds that value; holder of `working`, as the next */
    uint64_t unread_lsn;     /* segment; a head of its parts could not be read once */
    uint64_t unread_id;      /* of a value: its head could not be read, and the disk answers */
    uint64_t unread_ns;      /* since then the oldest segment cannot be read; 0: it can */
    _Atomic uint64_t passing; /* lsn; a pass takes what is below, but for copies */
    uint64_t passed;         /* segments since as many as wanted were free, or callers had room */
    uint64_t passed_asked;   /* `asked` when `passed` was 0 */
    uint64_t looked, dead;   /* of a look: bytes of words; without a valid record */
    uint64_t looked_seq;     /* sealed segments at the last look */
    _Atomic uint64_t refused; /* unused values refused before the last look */
    int64_t synced_ms, beat_ms, seen_ms;
    _Atomic uint64_t flushed_seq; /* segments below were handed to the device; `working` */
    base_thread thread;
    bool threaded, ended;
    bool (*round)(l2 *d, uint64_t budget_us); /* l2_tick, for callers that wait; constant */
    _Atomic uint32_t stop, wake, ready;
    _Atomic uint32_t asleep; /* 1: the thread sleeps for longer than a record may wait */
    l2_counts n;
};

#define L2_FILL ((size_t)16 << 10)
#define L2_BOUNCE (2 * L2_FILL)
/* Call the disk. */
#define L2_DISK(d, op, ...) ((d)->vfs->op((d)->vfs->ctx, __VA_ARGS__))
#define L2_COUNT(d, field) ((void)base_add_rlx(&(d)->n.field, (uint64_t)1))
#define L2_COUNT_BY(d, field, by) ((void)base_add_rlx(&(d)->n.field, (uint64_t)(by)))
/* Return the bits of a hash that the index and the rows use. */
BASE_INLINE uint64_t l2_mix(uint64_t hash) { return base_mix64(hash); }
/* Return those that parts name their head by. */
BASE_INLINE uint64_t l2_h48(uint64_t hash) { return l2_mix(hash) >> 16; }
BASE_INLINE int64_t l2_wall_now(const l2 *d)
{
    return base_add_sat(base_now_ms(d->cfg.clock), d->wall_offset_ms);
}
/* Return the lsn below which no record counts, now and for the next open. */
BASE_INLINE uint64_t l2_floor(const l2 *d) { return base_load_acq(&d->floor_lsn); }
BASE_INLINE bool l2_rec_expired(const l2 *d, const l2_rec *r)
{
    return r->expiry_wall_ms != 0 && r->expiry_wall_ms <= l2_wall_now(d);
}
/* Return true if the log may have records without words. */
BASE_INLINE bool l2_lacks_words(const l2 *d) { return d->unplaced > base_load_acq(&d->head); }
BASE_INLINE bool l2_is_closed(const l2 *d) { return base_load_acq(&d->closed) != 0; }
BASE_INLINE uint64_t l2_seq_of(const l2 *d, uint64_t lsn) { return lsn / d->form.seg_bytes; }
/* Return the ring that has the segment of `lsn`. */
BASE_INLINE const l2_ring *l2_ring_at(const l2 *d, uint64_t lsn)
{
    const uint32_t i = base_load_sc(&d->newest);
    return &d->ring[lsn >= base_load_acq(&d->ring[i].first) ? i : i ^ 1u];
}
BASE_INLINE const l2_ring *l2_ring_now(const l2 *d) { return &d->ring[base_load_sc(&d->newest)]; }
/* Return the bytes of the newest ring. */
BASE_INLINE uint64_t l2_size(const l2 *d) { return base_load_acq(&l2_ring_now(d)->size); }
/* Return true while the log lies in two rings. */
BASE_INLINE bool l2_changes(const l2 *d)
{
    return base_load_acq(&d->head) < base_load_acq(&l2_ring_now(d)->first);
}
BASE_INLINE bool l2_is_ring(const l2 *d, const base_vfs_file *f)
{
    return f == base_load_acq(&d->ring[0].file) || f == base_load_acq(&d->ring[1].file);
}
/* Return the name of a file of the store. */
BASE_INLINE const char *l2_file_name(const l2 *d, const base_vfs_file *f)
{
    return l2_is_ring(d, f) ? "data.seg" : f == d->super_file || f == d->over_file
           ? "SUPER" : "another file";
}

#endif
