/* SPDX-License-Identifier: MIT
 *
 * l2: the disk tier. It keeps entries that leave memory, also across restarts. Best effort.
 *
 * PICTURE    cache -put-> log in data.seg -get-> cache    l2/README.md has the whole picture
 *            A put brings a stamp and a function that says whether the stamp is still current.
 *            Each change of a key calls l2_invalidate, so that no older value is served afterwards.
 * INVARIANTS Damage and I/O errors are misses. A get never returns a value that is older than a
 *            finished change of its key.
 * LOCKING    Any thread may call any function between l2_open and l2_close, unless a function
 *            says otherwise.
 * RESULTS    CELLAR_OK, CELLAR_MISS, CELLAR_ABSENT (a negative entry), CELLAR_DROPPED,
 *            CELLAR_REFUSED, and the errors named at each call.
 * TIMES      The clock of the store, absolute milliseconds. Wall time is used only on disk.
 * SEE ALSO   README.md in this folder, structs in types.h. */
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

/* What an open that fails knows. */
typedef struct l2_refusal {
    uint64_t least_memory; /* with E_NOMEM a sufficient memory_bytes; 0: the budget was not the
                            * cause */
    int64_t owner;         /* with E_BUSY the number of the process; 0: unknown */
    const char *misfit;    /* with E_IO the name that is no regular file; NULL: none */
} l2_refusal;

typedef struct l2_config {
    base_account *account;   /* outlives l2 */
    base_log *log;           /* outlives l2 */
    const base_clock *clock; /* outlives l2 */
    const base_vfs *vfs;     /* NULL: the system's */
    const char *path;
    uint64_t bytes;          /* all files together; another value than at the last open: a resize */
    uint64_t memory_bytes;   /* budget; it determines the sizes of index and buffer */
    uint64_t avg_object_bytes; /* 0: 1 KiB, and less while the index is small; geometry.c */
    l2_level level;
    int64_t sync_ms;         /* interval of syncs at level KEEP, in ms; 0: 1000 */
    int64_t min_ttl_ms;      /* least remaining TTL of an entry that is written, in ms */
    uint64_t write_bps, write_bpd; /* bytes of puts per second and per UTC day; 0: no limit */
    uint32_t seg_bytes, seg_count; /* 0: automatic; least: 16 KiB, 6 */
    base_hash_algo hash_algo; /* used only when a store is formatted */
    const unsigned char *secret; /* 32 bytes, used only at format; NULL: from the kernel */
    const unsigned char *uuid;   /* 16 bytes, used only at format; NULL: from the kernel. Two stores
                                  * with one uuid count as the same store. Tests set it to repeat a
                                  * run. */
    bool no_thread;          /* l2_tick does all background work */
    uint32_t stack_bytes;    /* of the thread; 0: the default of the process */
    l2_refusal *refusal;     /* out, or NULL */
    uint32_t off_errors, off_damaged_pct; /* limits of health, see health.c; 0: 8, 1 */
    int64_t off_ms, off_max_ms; /* first and longest pause; 0: 1,000, then 60,000 or off_ms */
    const cellar_l2_cipher *crypt; /* copied; NULL: none */
    uint32_t move_pct;       /* below this share of live bytes no live record is dropped for room:
                              * it moves (pass.c). 0: nothing moves */
    bool set_aside;          /* l2_open renames a damaged directory and formats a new one */
    bool allow_network;      /* false: a directory on a network file system is E_UNSUPPORTED */
    int64_t (*wall_ms)(void *ctx); /* NULL: the system's */
    void *wall_ctx;
    /* Return 0 if no tag in `fps` was invalidated since `born`. NULL: l2 uses its own table. */
    int (*tags_valid)(void *ctx, uint64_t born, const void *fps, uint32_t count);
    /* Return whether a namespace that is open has this generation. NULL: perhaps. */
    bool (*generation_alive)(void *ctx, uint32_t generation);
    void *tags_ctx;                /* of both */
    /* Give every image with l2_image_begin, _give and _end. NULL: no image is kept. l2_images_save
     * and the end of l2_close call this function without a lock. */
    void (*images)(void *ctx, l2_images *to);
    void *images_ctx;
    const struct stats *stats; /* times of reads and writes; NULL: none. Outlives l2 */
} l2_config;

typedef struct l2_key { /* key of one entry; hash is base_hash(l2_hash_key, generation, bytes) */
    const void *bytes;
    uint32_t len;
    uint32_t generation;
    uint64_t hash;
} l2_key;

typedef struct l2_parts { /* progress of the put of a long value; zero before the first call */
    uint64_t id; /* number of the value in parts; 0: not begun */
    size_t done; /* bytes in the log */
} l2_parts;

/* Why a put was REFUSED. */
typedef enum l2_why {
    L2_WHY_OTHER, /* not current, dead by a tag, or not used */
    L2_WHY_SIZE, L2_WHY_TTL, L2_WHY_BUDGET, L2_WHY_SEAL,
    L2_WHY_INDEX /* no place in the index */
} l2_why;

#define L2_ADDR_DURABLE UINT64_C(1) /* bit of an `addr`: the copy is durable */

typedef struct l2_meta { /* fields of one entry; 0 means "none" unless a field says otherwise */
    int64_t deadline_ms; /* BASE_NEVER_MS: none */
    int64_t until_ms;    /* with idle_ms: expiry time unless the entry is used; 0: deadline_ms */
    uint32_t stale_ms, idle_ms;
    uint64_t version;
    uint64_t addr; /* from a get: identifies the copy. Into a put: value unchanged since that get;
                    * with L2_ADDR_DURABLE the new copy is durable, too */
    uint32_t user_flags;
    uint8_t kind, cost; /* kind: the kind in L1; not 0: CELLAR_ABSENT */
    bool unused; /* into a put: the entry had no get since it was stored, see admission.c */
    bool durable; /* into a put: acknowledged as durable, so a later open must find the entry */
    bool pack;   /* into a put: compress the value if that saves at least 1/8 */
    bool change; /* into a put: the put is the change itself, and no newer one can overtake it */
    l2_parts *parts; /* into a put: progress of earlier puts of the same value that were dropped;
                      * NULL: a long value begins again */
    uint32_t raw_bytes; /* size of a compressed value before compression; set by l2 only */
    uint32_t part_bytes; /* with part_id: size of each part but the last; set by l2 only */
    uint64_t part_id, part_total; /* of a value in parts, else 0; set by l2 only */
    int64_t end_wall_ms; /* deadline_ms as stored in a record with until_ms; set by l2 only */
    uint32_t tag_count;
    uint64_t tag_born;   /* tag epoch at which the value was computed */
    const void *tag_fps; /* into a put: tag_count unaligned u64 */
    l2_why *why;         /* into a put: receives why it is REFUSED; NULL: not needed */
    uint64_t *where;     /* into a put: receives the `addr` of the copy on OK; NULL: not needed */
    uint64_t tags[BASE_TAGS_MAX]; /* from a get: tag_count fingerprints; last field */
} l2_meta;

/* Open the store in cfg->path. Errors that leave the directory untouched: E_BUSY (open elsewhere),
 * E_FOREIGN (not a store), E_NEWER_FORMAT (of another format), E_CORRUPT (both copies of
 * SUPER damaged), E_UNSUPPORTED (network file system). Others: E_IO, E_NOMEM, E_SPACE, E_INVAL.
 * *sys_errno: the errno of the system, or 0. */
BASE_SPARE CELLAR_PRIVATE cellar_err l2_open(const l2_config *cfg, l2 **out, int *sys_errno);
/* Finish pending work, write the buffer and sync, so that the next open finds everything. No other
 * call may run at the same time. Only l2_close may follow. OK: a power cut loses nothing, at any
 * level. E_IO: the last sync failed; the next open of the same boot finds everything. */
BASE_SPARE CELLAR_PRIVATE cellar_err l2_end(l2 *d);
/* Call l2_end unless it was called, then free everything. No callback runs after l2_end. */
BASE_SPARE CELLAR_PRIVATE void l2_close(l2 *d);
/* Close without a seal and without a sync: a store on a copy of its files. */
BASE_SPARE CELLAR_PRIVATE void l2_discard(l2 *d);
/* Close the files in a forked child: its parent alone has them and the lock. No other call
 * follows. */
BASE_SPARE CELLAR_PRIVATE void l2_forked(l2 *d);

BASE_SPARE CELLAR_PRIVATE const base_hash_key *l2_hash_key(const l2 *d);

/* Get a value. OK, ABSENT, MISS, or E_BUFFER: *value_len and *meta are set. E_TIMEOUT: the record
 * cannot be read now, so nothing is known (l2_answers_by); E_NOMEM: the same, as there is no memory
 * for it. A tier that is off misses. After these four buf is undefined. */
BASE_SPARE CELLAR_PRIVATE cellar_err l2_get(l2 *d, const l2_key *k, void *buf, size_t buf_cap,
                                            size_t *value_len, l2_meta *meta);

/* Get min(buf_cap, *total - offset) bytes of a value from `offset` on; *total: all of it. OK or
 * ABSENT: the bytes are in buf, none if offset is *total or more. Else as l2_get. */
BASE_SPARE CELLAR_PRIVATE cellar_err l2_get_range(l2 *d, const l2_key *k, uint64_t offset,
                                                  void *buf, size_t buf_cap, size_t *total,
                                                  l2_meta *meta);

#define L2_VISIT_VALUE 4096u /* longest value that a scan passes, bytes */
/* Take one entry of a scan; false ends it. value NULL: longer than L2_VISIT_VALUE. */
typedef bool (*l2_visit_fn)(void *ctx, const l2_key *k, const void *value, size_t value_len,
                           const l2_meta *meta);
/* Pass the entries of a generation that l2_get finds, in the order of the log, from *at on (0: the
 * begin). Look at about `count` records. OK: *at continues. MISS: the end of the log; *at continues
 * with entries that are put later. E_BUSY: the disk does not answer for the moment; *at continues
 * later, and so after E_NOMEM. E_IO: as these, and entries that may be read later were passed over.
 * Counts as gets. */
BASE_SPARE CELLAR_PRIVATE cellar_err l2_visit(l2 *d, uint32_t generation, uint64_t *at,
                                             uint32_t count, l2_visit_fn fn, void *ctx);
/* Return 20 bits from which l2_visit_from makes a position not behind `at`. */
BASE_SPARE CELLAR_PRIVATE uint32_t l2_visit_mark(const l2 *d, uint64_t at);
BASE_SPARE CELLAR_PRIVATE uint64_t l2_visit_from(l2 *d, uint32_t mark);

/* Check that a key is unchanged since its value was read, and that no pattern deleted it since.
 * l2_put asks under the log lock, after it has compared the active patterns. The function reads the
 * stamp with seq_cst; each change raises the stamp with seq_cst before it calls l2_invalidate. */
typedef struct l2_current {
    bool (*is)(void *ctx, uint64_t hash, uint64_t stamp); /* NULL: always current */
    void *ctx;
    uint64_t stamp;
} l2_current;
/* Store an entry. Never waits, but a change in parts waits as l2_invalidate does. OK: the log has
 * this copy or an identical one, and it replaces all older copies. So a change that puts needs no
 * l2_invalidate. DROPPED: no room in time; repeat the put with meta->parts to go on. REFUSED: the
 * stamp is not current, or the entry is too large, expires too soon, is unused or exceeds a write
 * budget. */
BASE_SPARE CELLAR_PRIVATE cellar_err l2_put(l2 *d, const l2_key *k, const void *value,
                                            size_t value_len, const l2_meta *meta,
                                            const l2_current *current);
/* Return a number that changes when puts that were dropped may find room. */
BASE_SPARE CELLAR_PRIVATE uint32_t l2_room_seen(const l2 *d);
/* Wait for room, 5 ms at most, unless l2_room_seen is not `seen` any more. Without a thread the
 * caller works. The caller holds no lock. */
BASE_SPARE CELLAR_PRIVATE void l2_room_wait(l2 *d, uint32_t seen);
/* Return true while the disk does not answer. */
BASE_SPARE CELLAR_PRIVATE bool l2_stands_still(const l2 *d);
/* Wait before a get that was E_TIMEOUT is made again, until the disk answers. Return false if it
 * does not by `until_ns`, or has not answered for 1 s. The caller holds no lock. */
BASE_SPARE CELLAR_PRIVATE bool l2_answers_by(l2 *d, uint64_t until_ns);
/* Return true while puts are dropped until the next probe of the disk, or until the next open. */
BASE_SPARE CELLAR_PRIVATE bool l2_off(const l2 *d);
/* Reserve the memory that puts with `pack` need. Return false if there is none. */
BASE_SPARE CELLAR_PRIVATE bool l2_pack_ready(l2 *d);
/* Ensure that no older value of a changed or deleted key is served any more, also after a
 * restart. */
BASE_SPARE CELLAR_PRIVATE void l2_invalidate(l2 *d, const l2_key *k);
/* Return true if the index has a value of this hash, live or expired, that is still in the log.
 * Reads memory only. */
BASE_SPARE CELLAR_PRIVATE bool l2_indexed(l2 *d, uint64_t hash);
/* Return true if no put of this hash with a current stamp can be served, now or after a reopen.
 * Then neither l2_get nor l2_invalidate need be called. The caller raises the stamp with seq_cst
 * before, so that later puts are refused. Reads atomic words only. */
BASE_SPARE CELLAR_PRIVATE bool l2_nothing(const l2 *d, uint64_t hash);

/* ---- invalidation without lookup: epochs of tags, patterns; see invalidations.c ---- */
/* Log the invalidation of a tag: entries born before `epoch` are not served any more. soft: they
 * are stale, which the disk tier also treats as a miss. `epoch` exceeds all earlier ones and the
 * result of l2_tags_known. */
BASE_SPARE CELLAR_PRIVATE void l2_tag_invalidate(l2 *d, uint64_t fp, uint64_t epoch, bool soft);
/* Call `fn` for each known tag, during open. Return the epoch from which the cache continues.
 * Entries born before *floor are invalid. */
BASE_SPARE CELLAR_PRIVATE uint64_t l2_tags_known(l2 *d, uint64_t *floor,
                                                 void (*fn)(void *ctx, uint64_t fp, uint64_t hard,
                                                            uint64_t soft), void *ctx);
/* Log the deletion of a pattern: matching entries put before are not served any more. Until
 * l2_glob_end(seq) puts of matching keys of the generation are dropped. OK, E_NOMEM, or E_LIMIT
 * (256 patterns in progress). On an error nothing is done. */
BASE_SPARE CELLAR_PRIVATE cellar_err l2_glob_begin(l2 *d, uint32_t generation, const void *pattern,
                                                   size_t len, uint64_t *seq);
BASE_SPARE CELLAR_PRIVATE void l2_glob_end(l2 *d, uint64_t seq);

/* ---- namespaces: the current generation of each name ---- */
#define L2_NAMESPACES_MAX 4096u
#define L2_NAME_MAX 64u
typedef struct l2_namespace {
    uint32_t id;      /* never reused */
    uint64_t generation; /* 40 bits; records have the low 32. 0: no such namespace */
    uint32_t version; /* public version; stored only */
} l2_namespace;
#define L2_GENERATION_MOST ((UINT64_C(1) << 40) - 1)
/* Return whether generation `a` was drawn after `b`. The 40 bits wrap. */
BASE_INLINE bool l2_generation_after(uint64_t a, uint64_t b)
{
    return (int64_t)((a - b) << 24) > 0;
}
BASE_INLINE bool l2_namespace_same(const l2_namespace *a, const l2_namespace *b)
{
    return a->id == b->id && a->version == b->version && a->generation == b->generation;
}
/* Set bit number % n of `bits` for the generation of each namespace. */
BASE_SPARE CELLAR_PRIVATE void l2_generations_mark(l2 *d, uint64_t *bits, uint32_t n);
/* Find the ids of a namespace by name. Return false if the name is unknown. */
BASE_SPARE CELLAR_PRIVATE bool l2_namespace_find(l2 *d, const char *name, size_t name_len,
                                                 l2_namespace *out);
/* Set and log the ids of a namespace. name NULL: the namespace is known. generation 0: it is
 * removed. over: true as soon as the namespace is dropped: nothing is set then; NULL: it stays. */
BASE_SPARE CELLAR_PRIVATE cellar_err l2_namespace_set(l2 *d, const l2_namespace *v,
                                                      const char *name, size_t name_len,
                                                      const _Atomic bool *over);
/* Return the lowest generation, or id, that was never used. */
BASE_SPARE CELLAR_PRIVATE uint64_t l2_next_generation(l2 *d);
BASE_SPARE CELLAR_PRIVATE uint32_t l2_next_id(l2 *d);

/* ---- images: data of the cache that lies next to the log under a name, see image.c ---- */
#define L2_IMAGE_NAME_MAX (L2_NAME_MAX + 1u)
/* Write all images again. closing: no image changes any more, and the heads say so. */
BASE_SPARE CELLAR_PRIVATE void l2_images_save(l2 *d, bool closing);
/* Begin one image; call it inside cfg.images. Return false to skip this image. bytes: least size of
 * the image. note: two words that l2_image_note returns before the image is read. */
BASE_SPARE CELLAR_PRIVATE bool l2_image_begin(l2_images *to, const char *name, size_t len,
                                              uint64_t bytes, const uint64_t note[2]);
BASE_SPARE CELLAR_PRIVATE bool l2_image_give(void *to, const void *bytes, size_t len);
/* Finish one image. The image is not kept if `ok` or the result is false. */
BASE_SPARE CELLAR_PRIVATE bool l2_image_end(l2_images *to, bool ok);
/* Open the image of a name. NULL: no image, or already used since l2_open. Until l2_image_close all
 * other opens and saves wait, so a second opener sees the result of the first. */
BASE_SPARE CELLAR_PRIVATE l2_image *l2_image_open(l2 *d, const char *name, size_t len);
/* Return true if the image is complete: a close wrote it and no run has begun since. */
BASE_SPARE CELLAR_PRIVATE bool l2_image_clean(const l2_image *im);
BASE_SPARE CELLAR_PRIVATE const uint64_t *l2_image_note(const l2_image *im);
/* Copy the next bytes. Return false at the end, on a read error, or if the checksum of the whole
 * image is wrong. The checksum is compared before the last piece is copied. */
BASE_SPARE CELLAR_PRIVATE bool l2_image_take(void *im, void *bytes, size_t len);
/* Close the image. used: its name is in use from now on, so no later open returns it. */
BASE_SPARE CELLAR_PRIVATE void l2_image_close(l2_image *im, bool used);

/* Events that take more entries than the contract says: label of their metric, text of their log
 * line. */
#define L2_LOSSES(X) \
    X(stall, "too many changes during the stall: the disk tier restarts empty") \
    X(sync, "bytes of a failed sync are lost: all records on disk are dropped") \
    X(pattern, "too many deleted patterns: the older records on disk are dropped") \
    X(numbers, "2^31 clears and opens of namespaces are used up: all entries ended, in memory " \
               "and on disk") \
    X(damage, "a part of the log is damaged or lost: the older records on disk are dropped") \
    X(open, "the directory had a power cut, was copied while in use, or lacks changes of a " \
            "stall: the store begins empty") \
    X(files, "files of the store were removed or truncated: the store continues in memory until " \
             "the next open") \
    X(unread, "a part of the oldest segment cannot be read: its entries are dropped") \
    X(room, "no room to write live entries again: the oldest segment is dropped") \
    X(index, "the index of the disk tier is full: new entries took the places of older ones")

typedef enum l2_loss {
#define L2_X(name, text) L2_LOST_##name,
    L2_LOSSES(L2_X)
#undef L2_X
    L2_LOSS_COUNT
} l2_loss;
/* Return the label of the newest such event since the open, or NULL. *at_ms: its time. */
BASE_SPARE CELLAR_PRIVATE const char *l2_loss_last(const l2 *d, int64_t *at_ms);

/* End all records, because the low 32 bits of their generations come again. Return the end of the
 * log. Waits for the lock of the log. */
BASE_SPARE CELLAR_PRIVATE uint64_t l2_floor_begin(l2 *d);
/* Log that the records below `lsn` ended, by which event. No lock held. */
BASE_SPARE CELLAR_PRIVATE void l2_floor_log(l2 *d, uint64_t lsn, l2_loss loss);

/* Make everything acknowledged before the call durable. OK or E_IO. May wait for the disk. */
BASE_SPARE CELLAR_PRIVATE cellar_err l2_sync(l2 *d);
/* Make changes and puts durable, at less cost than l2_sync: level ALWAYS promises this for each
 * change. Not for level DROP. E_IO: a power cut may revert some changes since the last OK; also
 * after 1 s of waiting for the sync of another caller. */
BASE_SPARE CELLAR_PRIVATE cellar_err l2_commit(l2 *d);
/* Resize all files together to `bytes` and wait for the result; other calls continue. Shrinking
 * drops the oldest segments.
 * - E_INVAL: below L2_BYTES_MIN.
 * - E_RANGE: too few segments, more than addresses allow, or more than the tables allow.
 * - E_SPACE: the disk is full. E_BUSY: another resize, or no place becomes free.
 * - E_NOMEM, E_IO.
 * The store stays valid in all cases. Its size is the old one, or after E_IO one of the two. */
BASE_SPARE CELLAR_PRIVATE cellar_err l2_resize(l2 *d, uint64_t bytes);
/* Return a sufficient budget for this tier and for memory. It exceeds the budget of the open. */
BASE_SPARE CELLAR_PRIVATE uint64_t l2_least(const l2 *d);
/* Run background work for about budget_us. Return true if more work is pending. */
BASE_SPARE CELLAR_PRIVATE bool l2_tick(l2 *d, uint64_t budget_us);

typedef enum l2_opened { /* what this open found; a metric has the number */
    L2_OPENED_EMPTY,   /* new store, or a store without entries */
    L2_OPENED_SAVED,   /* the last run ended with a close */
    L2_OPENED_KILLED,  /* the last run did not close, or the directory is a copy */
    L2_OPENED_RESET    /* the old contents are invalid: the store begins empty */
} l2_opened;

/* Counters since the open. invalidated: calls of l2_invalidate. denied: those that logged nothing.
 * relied: changes that rely on the stall marker (stall.c). commits: syncs of data.seg. folds: tags
 * and patterns that became a floor (invalidations.c). healed: pages of rows that the open made
 * again, or segments of which records are lost. packed_saved: bytes (codec.c). parts: records of
 * values in parts; miss_parts: gets that lacked one. moved, moved_bytes: live records of the oldest
 * segment that were appended again (pass.c). passed_bytes: read of segments before they were
 * reclaimed. */
#define L2_COUNTERS(X) \
    X(gets) X(hits) X(miss_read) X(miss_damage) X(miss_expired) \
    X(miss_sealed) X(miss_invalid) X(miss_packed) X(io_errors) X(puts) \
    X(put_bytes) X(dropped) X(refused_stamp) X(refused_size) X(refused_ttl) X(refused_budget) \
    X(refused_unused) X(refused_seal) X(refused_invalid) X(identical) X(invalidated) \
    X(tombstones) X(denied) X(controls) X(sealed) X(sealed_bytes) \
    X(reclaimed) X(emptied) X(commits) X(healed) \
    X(holes) X(offs) X(stalled) X(closings) X(relied) X(waits) X(folds) \
    X(packed) X(packed_saved) X(parts) X(miss_parts) \
    X(moved) X(moved_bytes) X(passed_bytes)

typedef struct l2_stats {
#define L2_X(name) uint64_t name;
    L2_COUNTERS(L2_X)
#undef L2_X
#define L2_X(name, text) uint64_t lost_##name; /* entries, estimated */
    L2_LOSSES(L2_X)
#undef L2_X
    uint64_t file_bytes, log_bytes, segments_live, segments_free, bytes_today;
    uint64_t entries, index_full, tags, globs;
    uint64_t live_bytes; /* a sum that each change corrects, see live.c and pass.c */
    bool dirty, empty;
    l2_opened opened;
    bool set_aside; /* by this open */
    bool off;    /* too many errors; the tier probes the disk again by itself */
    bool trying; /* a probe is running */
    bool broken; /* until the next open */
} l2_stats;
BASE_SPARE CELLAR_PRIVATE void l2_stats_get(l2 *d, l2_stats *out);

#endif
