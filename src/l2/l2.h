/* SPDX-License-Identifier: MIT
 *
 * l2: the disk level: what L1 pushes out, and what survives the process. A hint, never the truth.
 *
 * L2 knows nothing of L1: who changes a key says so (l2_kill), who wants one stored brings a stamp
 * and a function that says whether it still holds. How it works: l2_int.h.
 * Every function may be called by any thread at any time between l2_open and l2_close.
 *
 * RESULTS    CELLAR_OK, CELLAR_MISS, CELLAR_ABSENT (a negative entry), CELLAR_DROPPED, REFUSED,
 *            and the errors named beside each call.
 * TIMES      the store's clock, absolute milliseconds; wall time only on disk (l2_time). */
#ifndef L2_L2_H
#define L2_L2_H

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/port.h"
#include "base/vfs.h"
#include "cellar.h"
#include "cellar_l2.h"

typedef struct l2 l2;
typedef struct l2_image l2_image;
typedef struct l2_images l2_images;

/* Of l2_put: not admitted. No public code has this number. */
#define L2_REFUSED ((cellar_err)13)

typedef enum l2_level { L2_DROP = 0, L2_KEEP = 1, L2_ALWAYS = 2 } l2_level;

#define L2_BYTES_MIN ((uint64_t)16 << 20)

typedef struct l2_config {
    base_account *account;   /* outlives l2 */
    base_log *log;           /* outlives l2 */
    const base_clock *clock; /* outlives l2 */
    const base_vfs *vfs;     /* NULL: the system's */
    const char *path;
    uint64_t bytes;          /* all files together; another than last time: it is resized */
    uint64_t memory_bytes;   /* the budget that index and stage are sized for */
    uint64_t avg_object_bytes; /* 0: 1 KiB */
    l2_level level;
    int64_t sync_ms;         /* KEEP: interval of barriers; 0: 1000 */
    int64_t min_ttl_ms;      /* what has less left is not written */
    uint64_t write_bps, write_bpd; /* bytes of puts a second, a day (UTC); 0: no limit */
    uint32_t seg_bytes, seg_count, stage_count; /* 0: chosen; tests: 16 KiB, 3, 2 at least */
    base_hash_algo hash_algo; /* counts when a store is made */
    const unsigned char *secret; /* 32 bytes, the same; NULL: from the kernel */
    const unsigned char *uuid;   /* 16 bytes, the same: two stores with one are taken for each other
                                  * (a test repeats its run); NULL: from the kernel */
    bool no_thread;          /* all work in l2_tick */
    uint64_t *least_memory;  /* out, or NULL: with E_NOMEM a memory_bytes that is enough; 0: it was
                              * not the budget that refused */
    uint32_t off_errors, off_damaged_pct; /* when it is switched off, see trouble.c; 0: 8, 1 */
    int64_t off_ms, off_max_ms; /* and for how long; 0: 1,000, 60,000 or off_ms */
    const cellar_l2_cipher *crypt; /* copied; NULL: none */
    bool sigbus;             /* SIGBUS in the mapped stage is handled: base/bus.h */
    bool mmap_read;          /* records are read through a mapping, see map.c; needs sigbus */
    bool set_aside;          /* a damaged directory gets another name, and a new one is made */
    bool allow_network;      /* else a directory on a network file system is E_UNSUPPORTED */
    int64_t (*wall_ms)(void *ctx); /* NULL: the system's */
    void *wall_ctx;
    /* Has none of these tags ended since `born`? 0: valid. NULL: what this level has been told. */
    int (*tags_valid)(void *ctx, uint64_t born, const void *fps, uint32_t count);
    void *tags_ctx;
    /* Gives every image there is, by l2_image_begin, _give, _end. NULL: none is kept. Called by
     * l2_images_save, and at the end of l2_close; no lock is held. */
    void (*images)(void *ctx, l2_images *to);
    void *images_ctx;
} l2_config;

typedef struct l2_key { /* of one entry; hash as base_hash(l2_hash_key, vgen, bytes) */
    const void *bytes;
    uint32_t len;
    uint32_t vgen;
    uint64_t hash;
} l2_key;

typedef struct l2_meta { /* 0 where not said: none */
    int64_t deadline_ms; /* BASE_NEVER_MS: none */
    int64_t until_ms;    /* with idle_ms: when it ends if nobody uses it any more; 0: deadline_ms */
    uint32_t stale_ms, idle_ms;
    uint64_t version, value_hash;
    uint64_t addr; /* out of a get: names the copy. Into a put: "unchanged since I got it" */
    uint32_t user_flags;
    uint8_t kind, cost; /* kind: of L1; not 0: CELLAR_ABSENT */
    bool unused; /* into a put: nobody asked for it since it came: stored at its second put, if that
                  * comes soon; see admit.c */
    bool kept;   /* into a put: it is acknowledged as being on disk, and must be found again */
    bool pack;   /* into a put: stored in fewer bytes if that saves an eighth */
    uint32_t raw_bytes; /* of a packed value; this level's */
    int64_t end_wall_ms; /* deadline_ms, as a record with until_ms says it; this level's */
    uint32_t tag_count;
    uint64_t tag_born;   /* epoch of tags at which the value was computed */
    const void *tag_fps; /* into a put: tag_count unaligned u64 */
    uint64_t *where;     /* into a put: OK writes what names the copy, see addr; NULL: not asked */
    uint64_t tags[CELLAR_TAGS_MAX]; /* out of a get: tag_count of them; last */
} l2_meta;

/* E_BUSY: another opener has it. E_FOREIGN, E_NEWER_FORMAT, E_CORRUPT: somebody else's, of a newer
 * library, both copies of its head damaged; E_UNSUPPORTED: on a network file system: nothing was
 * touched. E_IO, E_NOMEM, E_SPACE, E_INVAL.
 * *sys_errno: what the system said, 0 if it is not to blame. Warm-up goes on behind it. */
BASE_SPARE CELLAR_PRIVATE cellar_err l2_open(const l2_config *cfg, l2 **out, int *sys_errno);
/* Ends what is in work, seals, syncs: the next open finds everything. No other call may be running,
 * and l2_close is the only one to come. With a clean end nothing is lost by a power cut, at any
 * level. */
BASE_SPARE CELLAR_PRIVATE void l2_end(l2 *d);
/* l2_end, unless that has been; then gives everything back, without a call of anybody's. */
BASE_SPARE CELLAR_PRIVATE void l2_close(l2 *d);
/* In a forked child: lock and files are let go, nothing shared is touched, then or later: until
 * l2_close `d` is a shell, which has nothing and takes nothing. Calls that the fork came out of may
 * go on. */
BASE_SPARE CELLAR_PRIVATE void l2_forked(l2 *d);

BASE_SPARE CELLAR_PRIVATE const base_hash_key *l2_hash_key(const l2 *d);

/* OK, ABSENT, E_BUFFER (*value_len is the full length, *meta is filled, nothing copied), MISS. */
BASE_SPARE CELLAR_PRIVATE cellar_err l2_get(l2 *d, const l2_key *k, void *buf, size_t buf_cap,
                                            size_t *value_len, l2_meta *meta);

/* Is the key still as it was when the value was taken, and did no walk by pattern end since? Asked
 * under the log's lock, after the walking patterns were looked at; reads the stamp sc, as whoever
 * changes a key raises it sc before it calls l2_kill. */
typedef struct l2_current {
    bool (*is)(void *ctx, uint64_t hash, uint64_t stamp); /* NULL: yes */
    void *ctx;
    uint64_t stamp;
} l2_current;
/* Never waits. OK: in the log (or an identical copy is), in the place of what is older: a change
 * that puts need not kill. DROPPED: no room in time. REFUSED: not
 * current any more, too large, due too soon, unused, or over the budget. */
BASE_SPARE CELLAR_PRIVATE cellar_err l2_put(l2 *d, const l2_key *k, const void *value,
                                            size_t value_len, const l2_meta *meta,
                                            const l2_current *current);
/* Puts are dropped until the disk has been tried again, or for good: waiting is no use. */
BASE_SPARE CELLAR_PRIVATE bool l2_off(const l2 *d);
/* Puts will ask for `pack`: the memory that takes is set aside. False: there is none. */
BASE_SPARE CELLAR_PRIVATE bool l2_pack_ready(l2 *d);
/* The key was changed or deleted: no older value of it is served any more, also after a restart. */
BASE_SPARE CELLAR_PRIVATE void l2_kill(l2 *d, const l2_key *k);
/* True: no put of this hash that has found its stamp current can be served, now or by a later open:
 * neither l2_get nor l2_kill need be called. A stamp raised sc before the call refuses later ones.
 * Atomic words only. */
BASE_SPARE CELLAR_PRIVATE bool l2_nothing(const l2 *d, uint64_t hash);

/* ---- what is ended without being looked up: the owner's epochs and walks, see ends.c ---- */
/* What carries this one is served by the life of the store in which it was put, and by no later:
 * the owner's tags_valid says so, and this level where it is not asked (l2_look). */
#define L2_TAG_OF_LIFE UINT64_C(0x62E1D9F4A7C3508B)
/* Logged: what carries the tag and was born before `epoch` is served no more; soft: only stale, so
 * not from here. `epoch`: higher than all before, and than l2_tags_known. */
BASE_SPARE CELLAR_PRIVATE void l2_tag_end(l2 *d, uint64_t fp, uint64_t epoch, bool soft);
/* At open: fn for all that is known. Returns the epoch from which the owner goes on; what was born
 * before *floor is over. */
BASE_SPARE CELLAR_PRIVATE uint64_t l2_tags_known(l2 *d, uint64_t *floor,
                                                 void (*fn)(void *ctx, uint64_t fp, uint64_t hard,
                                                            uint64_t soft), void *ctx);
/* Logged: what was put before and matches is served no more, and until l2_glob_end(seq) no key of
 * the generation that matches is stored. OK; E_NOMEM, E_LIMIT (256 calls at once): nothing done. */
BASE_SPARE CELLAR_PRIVATE cellar_err l2_glob_begin(l2 *d, uint32_t vgen, const void *pattern,
                                                   size_t len, uint64_t *seq);
BASE_SPARE CELLAR_PRIVATE void l2_glob_end(l2 *d, uint64_t seq);

/* ---- views: which generation of which name is current ---- */
#define L2_VIEWS_MAX 4096u
#define L2_NAME_MAX 64u
typedef struct l2_view {
    uint32_t id;      /* never reused */
    uint32_t vgen;    /* 0: no such view */
    uint32_t version; /* public; carried only */
} l2_view;
/* The numbers of a name; false: never heard of. */
BASE_SPARE CELLAR_PRIVATE bool l2_view_find(l2 *d, const char *name, size_t name_len, l2_view *out);
/* From now on; logged. name NULL: of a view already known. vgen 0: the view is gone. */
BASE_SPARE CELLAR_PRIVATE cellar_err l2_view_set(l2 *d, const l2_view *v, const char *name,
                                                 size_t name_len);
/* Numbers from which nothing has ever been given out: generations, ids. */
BASE_SPARE CELLAR_PRIVATE uint32_t l2_next_vgen(l2 *d);
BASE_SPARE CELLAR_PRIVATE uint32_t l2_next_id(l2 *d);

/* ---- images: what the owner keeps beside the log under a name, see images.c ---- */
#define L2_IMAGE_NAME_MAX (L2_NAME_MAX + 1u)
/* Write all of them anew. closing: none changes any more, and the store is marked clean. */
BASE_SPARE CELLAR_PRIVATE void l2_images_save(l2 *d, bool closing);
/* Inside cfg.images: false: not this one (go on with the next). bytes: how many will come, at the
 * least; note: handed out before the image is read. */
BASE_SPARE CELLAR_PRIVATE bool l2_image_begin(l2_images *to, const char *name, size_t len,
                                              uint64_t bytes, const uint64_t note[2]);
BASE_SPARE CELLAR_PRIVATE bool l2_image_give(void *to, const void *bytes, size_t len);
/* ok false, or false returned: it is not kept. */
BASE_SPARE CELLAR_PRIVATE bool l2_image_end(l2_images *to, bool ok);
/* The image of that name; NULL: none that has not been used since l2_open. Until l2_image_close all
 * others who open or save one wait: whoever opens a name second finds what the first has made. */
BASE_SPARE CELLAR_PRIVATE l2_image *l2_image_open(l2 *d, const char *name, size_t len);
/* Nothing has been left out of it since: a store that was closed, and no life since. */
BASE_SPARE CELLAR_PRIVATE bool l2_image_clean(const l2_image *im);
BASE_SPARE CELLAR_PRIVATE const uint64_t *l2_image_note(const l2_image *im);
/* False: no more bytes, unreadable, or the last of them and the whole is not what was saved. */
BASE_SPARE CELLAR_PRIVATE bool l2_image_take(void *im, void *bytes, size_t len);
/* used: its name is in use from now on, and it is not handed out again. */
BASE_SPARE CELLAR_PRIVATE void l2_image_close(l2_image *im, bool used);

/* The owner's generations begin anew: all that is stored is dead, nothing is stored any more, and
 * the next open begins an empty store. */
BASE_SPARE CELLAR_PRIVATE void l2_retire(l2 *d);

/* OK: all that was acknowledged before the call outlives a power cut. E_IO. May wait. */
BASE_SPARE CELLAR_PRIVATE cellar_err l2_sync(l2 *d);
/* The same for changes and puts alone, and cheaper: what level ALWAYS promises of each change. Not
 * at DROP. E_IO: of those since the last OK a power cut may take some back. */
BASE_SPARE CELLAR_PRIVATE cellar_err l2_commit(l2 *d);
/* All files together from now on; waits until it is so, the store goes on meanwhile. Shrinking
 * gives up the oldest and keeps what fits. E_INVAL: below L2_BYTES_MIN. E_RANGE: too few segments
 * of this store's size, or more than it can address or has set aside tables for. E_SPACE: the disk
 * is full; E_BUSY: another resize, or no place comes free; E_NOMEM, E_IO. Whatever it says the
 * store is whole; the size is the old one, or, E_IO, one of the two. */
BASE_SPARE CELLAR_PRIVATE cellar_err l2_resize(l2 *d, uint64_t bytes);
/* Return a budget that is enough for this tier and for memory. It is above that of the open. */
BASE_SPARE CELLAR_PRIVATE uint64_t l2_least(const l2 *d);
/* Background work for about budget_us; true: there is more to do now. */
BASE_SPARE CELLAR_PRIVATE bool l2_tick(l2 *d, uint64_t budget_us);

typedef enum l2_opened { /* how this open came to its index; as the metric says it */
    L2_OPENED_EMPTY,   /* nothing was there: a new store, or one that held nothing */
    L2_OPENED_SAVED,   /* index.snap, as the close left it; else by the footers: */
    L2_OPENED_KILLED,  /* no close came before, or not of this directory: a copy */
    L2_OPENED_NO_SNAP, /* the close left none, or it cannot be opened */
    L2_OPENED_UNFIT,   /* it is damaged, or not for what was found and tables of this size */
    L2_OPENED_ANEW     /* what was there does not count: begun anew */
} l2_opened;

typedef struct l2_stats {
    uint64_t file_bytes, log_bytes, segments_live, segments_free, entries, index_slots;
    uint64_t gets, hits, miss_word, miss_read, miss_damage, miss_key, miss_expired, io_errors;
    uint64_t puts, put_bytes, dropped, refused_stamp, refused_size, refused_ttl, identical;
    uint64_t kills, tombstones, denied, remembered, controls;
    uint64_t sealed, sealed_bytes, reclaimed, emptied, index_full, syncs, barriers, healed;
    uint64_t scrapped_bytes; /* of the stage: dirty pages that need not be written */
    uint64_t recovered, holes, bad_places, offs;
    uint64_t refused_budget, refused_unused, refused_seal, miss_sealed, bytes_today;
    uint64_t miss_ended, refused_ended, folds, tags, globs; /* see ends.c */
    uint64_t stalled, closings, relied, waits; /* see doorbell.c */
    uint64_t commits; /* syncs for l2_commit */
    uint64_t reread; /* records that did not verify, read past the page cache */
    uint64_t cuts; /* of the stage, met as a signal */
    uint64_t mapped_reads, mapped_bytes; /* see map.c; bytes: 0 when it failed */
    uint64_t snaps; /* 1: this open read index.snap in the place of the footers */
    uint64_t packed, packed_saved, miss_packed; /* see codec.c; saved: bytes */
    bool warming, dirty, empty;
    l2_opened opened;
    bool set_aside; /* by this open */
    bool off;    /* for now: too many errors; it is tried again by itself: */
    bool trying; /* at this moment */
    bool broken; /* until the next open */
} l2_stats;
BASE_SPARE CELLAR_PRIVATE void l2_stats_get(l2 *d, l2_stats *out);
/* ---- a directory looked at from outside; nothing in it changes ---- */
typedef struct l2_report_segment {
    uint64_t segseq, live_bytes, dead_bytes;
    int64_t base_wall_ms; /* when it was begun */
    uint32_t place, data_end, records, live, tombstones, controls, damaged;
    bool unreadable;      /* its footers, or all of it */
} l2_report_segment;
typedef struct l2_report_record { /* a live one; bytes are valid during the call */
    const unsigned char *key;
    uint32_t key_len;
    const char *view;
    uint32_t view_len, value_len;
    int64_t left_ms; /* -1: no end */
    uint64_t version;
    uint32_t user_flags;
    uint8_t kind;
} l2_report_record;
typedef struct l2_inspect_how { /* functions: NULL, or called as things are found */
    const char *path;
    bool verify; /* every record, not only the footers */
    bool force;  /* also while a store is open: what it changes meanwhile may look like damage */
    void (*view)(void *ctx, const l2_view *v, const char *name, size_t name_len);
    void (*segment)(void *ctx, const l2_report_segment *s); /* oldest first */
    void (*record)(void *ctx, const l2_report_record *r);
    void *ctx;
    const base_vfs *vfs;           /* the next four: tests */
    const base_clock *clock;
    int64_t (*wall_ms)(void *ctx);
    void *wall_ctx;
} l2_inspect_how;
typedef struct l2_report {
    cellar_err super[2];  /* of each copy: OK, E_CORRUPT, E_NEWER_FORMAT, E_FOREIGN */
    unsigned char uuid[16];
    uint64_t epoch, serial, l2_bytes, file_bytes, floor_lsn;
    int64_t last_seen_wall_ms, wall_ms, oldest_wall_ms, newest_wall_ms; /* 0: no live record */
    uint64_t records, live, live_bytes, dead_bytes, tombstones, controls, old_generation, expired;
    uint64_t ended; /* by a tag or a pattern */
    uint64_t holes, pages_healed, read_errors, records_damaged;
    uint32_t seg_bytes, seg_count, slot_count, granule_bytes, bad_places, views;
    uint32_t places_sealed, places_torn, slots_used, files_short, segments, segments_damaged;
    uint64_t image_bytes; /* of bloom.snap; 0: there is none */
    uint32_t images, images_damaged; /* in it; of them, or all of it: 1 */
    uint64_t snap_bytes; /* of index.snap; 0: there is none */
    l2_level level;
    uint16_t major, minor;
    bool images_clean; /* nothing is missing from them */
    bool clean;
    bool snap_fits;   /* it is of the last close; damage in it costs a warm-up, nothing else */
    bool begins_anew; /* the next open here begins an empty store: nothing is live */
} l2_report;
/* As l2_open where it refuses; E_BUSY: a store has it open. *out holds what was found till then. */
BASE_SPARE CELLAR_PRIVATE cellar_err l2_inspect(const l2_inspect_how *how, l2_report *out,
                                                int *sys_errno);
/* Findings that are damage; 0: none. */
BASE_SPARE CELLAR_PRIVATE uint64_t l2_report_damage(const l2_report *r);

/* Walk everything: NULL, or what is wrong (static text). Nobody else may be working. */
BASE_SPARE CELLAR_PRIVATE const char *l2_audit(l2 *d);

#endif
