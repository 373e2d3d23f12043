/* SPDX-License-Identifier: MIT
 *
 * cellar_l2: the disk tier: its promises, options and sync.
 *
 * With l2_path and l2_bytes set, entries that leave memory continue on disk (WRITTEN). cellar_close
 * writes what memory holds. A restart finds the entries on disk again. After a kill it finds the
 * entries that had left memory 50 ms before (KILL). With l2_write ON_SET it also finds the changes
 * that the disk took by then, with THROUGH those that returned OK (but see WRITES TO DISK). The
 * tier is best effort: a damaged record is a miss. After disk errors the store continues in memory,
 * and cellar_last_error of the root says why. */
#ifndef CELLAR_L2_H
#define CELLAR_L2_H

#include "cellar.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Range of cellar_config.l2_bytes. */
#define CELLAR_L2_BYTES_MIN UINT64_C(16777216)      /* 16 MiB */
#define CELLAR_L2_BYTES_MAX UINT64_C(4398046511104) /* 4 TiB */

/* WRITTEN
 * An entry that leaves memory is written if it has min_ttl_ms of its TTL left and there is room in
 * write_bytes_per_s and write_bytes_per_day. While more than 40 % of l2_bytes is alive (metric
 * cellar_l2_live_bytes), the entry must also have been requested since it was stored, or its key
 * evicted a short time before. A negative entry must always have been requested. The dump counts
 * the others in cellar_l2_rejected_unused_total. An unchanged copy on disk is not written again.
 * Namespaces with l2_write ON_SET or THROUGH write each change: sets, loads, updates, increments,
 * touches. cellar_close writes what memory holds. */

/* CLOSE
 * cellar_close hands the entries of memory to the log of the disk tier for close_ms at most. It
 * drops the others and returns DROPPED; one log line says how many were handed over. A dropped
 * entry is a miss after the next open: no part of it is on disk, and no older value of its key
 * comes back. The rest of the close has no limit: it writes the buffer of the log, 1 MiB at most,
 * and syncs. If the last sync fails, the close returns DROPPED: the next open finds everything,
 * unless the power fails before. */

/* READ
 * A miss in memory reads the disk and returns the entry with the rest of its TTL, unless its
 * idle time has passed. get, pin, touch, update, increment, and a set with a condition bring the
 * entry into memory: one disk read, and 25 ms at most while a change of the key is being
 * written. Peeks, cellar_contains and cellar_entry_info_get leave it on disk, unless a version is
 * requested. So do cellar_get_range and a get with E_BUFFER, which are no use for its idle time
 * there. Scans and listeners do not see it.
 *
 * No read returns an older value than a read that was complete before it began. While a change of
 * the key is being written, a read waits .15 s at most and then misses, earlier if the disk does
 * not answer (FAILURES). Keys share this state by hash: one change holds up one other key in 2^24
 * to 2^30, two at a time one in 2^16 to 2^28. A read that finds no memory for an entry on disk
 * misses. A pin, touch or update needs room for the entry itself.
 *
 * These misses are false: a later read finds the entry. Another time of false misses is while the
 * disk stands still (FAILURES). A change that depends on the entry takes no false miss for the
 * truth then: it is E_TIMEOUT. Of two keys with hashes that are equal in 56 bits the older one
 * is a miss: with 10^7 entries in one store of 1,400. */

/* OPEN
 * cellar_open reads the index back before it returns, after a close as after a kill: .1 to .3 s of
 * processor for 10^6 entries, one read of 4 KiB for each 200 entries and for each segment. It also
 * writes, and with SYNC_PERIODIC and SYNC_ALWAYS syncs. None of this has a limit of time. */

/* LOST
 * An entry on disk stays until it changes or ends, or until l2_bytes is full and it is among the
 * oldest. When entries are smaller than mean_entry_bytes, the index is full first. Then an entry
 * takes the place of an older one (metric cellar_lost_entries_total, reason index; the first has a
 * log line). One stored with CELLAR_DURABLE or THROUGH keeps its place, and a further one is E_IO
 * (metric cellar_l2_index_full_total). Each 64 KiB of a long entry count as one. The index has a
 * place for each 64 KiB of l2_bytes, or as many as a quarter of memory_bytes has room for.
 *
 * While live entries of the log take less than half of l2_bytes (two fifths below 32 MiB), none is
 * dropped for room: those of the oldest part are written again, at the end (metric
 * cellar_l2_moved_bytes_total). Long entries leave gaps. If the copies of a whole round of the log
 * leave less than 1/16 of l2_bytes to changes, the oldest entries are dropped. If the live entries
 * are the oldest ones, new entries wait for room (SIZES), and the stored ones stay. With 40 % live
 * each byte stored costs about 1.3 bytes written, and 2 if all changes hit few of the keys.
 *
 * What is live is a sum that each change corrects: metric cellar_l2_live_bytes. A clear, a change
 * of the version or a drop lowers it immediately. Entries that a tag, a pattern or their TTL ended
 * count as live at first, and so do long values that were overwritten: when the sum is above half,
 * the tier looks at parts of the log for them. After a loss in bulk the sum may be too high until
 * the next open. */

/* KILL
 * The death of the process loses no delete, overwrite, clear or version change, also by tag or
 * pattern. It brings no older value back. A set of a value in parts (SIZES) deletes the old value
 * first: if the process dies before the set returns, the key may have neither value.
 *
 * Entries of THROUGH and CELLAR_DURABLE are in the file when their call returns, in each mode of
 * sync. Others lie in a buffer first: an evicted entry, or one of ON_SET for a new key. The buffer
 * is written when it has 64 KiB or its oldest entry is 10 ms old (with no_threads: by cellar_tick).
 * The death of the process, or an exit without cellar_close, loses what is in the buffer.
 *
 * While the disk does not answer, or refuses writes, an empty file /dev/shm/cellar-.. keeps this
 * promise: if the process dies before the disk answers, the next open begins with an empty disk
 * tier. */

/* POWER CUT
 * The option `sync` says what a power cut, or a crash of the machine, may take.
 *
 * SYNC_MANUAL: the state of the last cellar_sync or clean close survives if nothing changed
 * since, else nothing. Opens alone change nothing, also after another level. The first open of a
 * namespace is a change, and so is another `tier`, `hidden` or `version` of it, or an l2_bytes that
 * is not yet the size.
 *
 * SYNC_PERIODIC: the state of one moment survives, the same for all keys. It lies between the last
 * sync, one each sync_interval_ms, and the power cut.
 *
 * SYNC_ALWAYS: a call that changes a key or a namespace returns when a power cut cannot undo it.
 * One sync serves all waiting calls. E_IO: done in memory, and a power cut may undo it. A change of
 * a key that was never on disk waits for no sync. Loaded values are committed with the next such
 * call. */

/* WRITES TO DISK
 * The option l2_write says what is on disk when a call that changes an entry returns.
 *
 * ON_EVICTION: nothing. The entry is offered to the disk when it leaves memory.
 *
 * ON_SET: the entry is offered before the call returns. The disk may drop it because it has no
 * room, does not answer, or is off (metric cellar_l2_dropped_total). Then the thread of the store,
 * or cellar_tick, offers it again as long as it is in memory. Metric cellar_l2_rejected_total
 * counts refusals. KILL says from when on a kill does not lose it.
 *
 * THROUGH: when the call returns OK, the entry is in the file. It stays there until it changes or
 * ends, or until l2_bytes is full and it is among the oldest: see LOST. While live entries take
 * less than two fifths of l2_bytes, none is dropped for room. It survives the process, and with
 * SYNC_ALWAYS a power cut. A call waits for room in the log, 1 s at most: see SIZES.
 *
 * THROUGH returns E_IO when the change is in memory and the disk has no value of the key: the value
 * is over the limit of SIZES, a write limit is used up, the index is full (LOST), the cipher fails,
 * the disk tier is off, a touch or increment lost its entry to eviction, or a delete by pattern of
 * its key runs for 1 s. cellar_last_error names the cause and its remedy; metric
 * cellar_l2_not_through_total counts them. OK without the disk: an entry with less than min_ttl_ms
 * left, a remembered error, an entry with CELLAR_NO_L2. Loads, refreshes and cellar_lease_fulfill
 * wait and count as well, but return no E_IO.
 *
 * THROUGH needs a disk: in a store without l2_path, with `hidden` or with CELLAR_TIER_L1 the open
 * is E_UNSUPPORTED. A store that `optional` opened in memory takes it. There each set is OK, in
 * memory only, and counted in cellar_l2_not_through_total.
 *
 * CELLAR_DURABLE promises the same in any namespace, and from SYNC_PERIODIC on that the entry
 * survives a power cut. With SYNC_MANUAL it is E_UNSUPPORTED. An entry with less than min_ttl_ms
 * left is E_IO. A later change without this promise, also a touch, removes the copy from disk
 * until the entry leaves memory. Changes of one key reach the disk in the order of memory. */

/* FAILURES
 * A disk that fails (fail_errors, fail_damaged_pct) is switched off for retry_ms, then tried,
 * and used again when it works: one log line each time; metric cellar_l2_breaker_state.
 *
 * If l2_path is in use (E_BUSY; cellar_last_error has the number of the process), cannot be used or
 * is wrong, cellar_open fails with the reason. With `optional` it opens in memory and logs the
 * reason; what such a store deletes or clears stays in the directory for the next open of it. A
 * directory with a damaged head is renamed to l2_path.bad.N, N from 1 to 9, and a new one is
 * created: one log line, of level ERROR, names it. With REFUSE, or if all nine names exist,
 * cellar_open fails (E_CORRUPT), and the directory stays as it is. A directory of an older format,
 * or one without SUPER, is emptied by its first open: one log line of level WARNING. A directory of
 * a newer format (E_NEWER_FORMAT) or of another program (E_FOREIGN) stays byte for byte. Metric
 * cellar_l2_opened says what the open found.
 *
 * A failed sync drops no entry: the bytes since the last good sync are stored again. Until that
 * is done, cellar_sync, CELLAR_DURABLE and changes under SYNC_ALWAYS return E_IO. If the kernel
 * lost bytes meanwhile, the disk tier is emptied (metric cellar_l2_emptied_total).
 *
 * A page that is damaged or lost costs the entries in it, no others. Only if all traces of what it
 * had are gone, the older entries are dropped: one log line. After a kill the traces of the newest
 * segment are gone: a lost page of it empties the tier, but for its last page.
 *
 * The open allocates all that writes and syncs need. So a file system that fills up later fails
 * none of them, if it reserves blocks (ext4, XFS, tmpfs).
 *
 * A burst of changes waits for the disk. Deletes, clears, changes of a version and deletes by tag
 * or pattern are never refused: a call that finds the log full returns when the thread of the
 * store, or cellar_tick, has made room. If none is made for 500 ms, the change is handled like one
 * while the disk does not answer.
 *
 * While a disk does not answer (100 ms), reads of it miss, except of bytes that the page cache has,
 * and writes are dropped. The same is true while a thread that writes gets no processor.
 *
 * A change that depends on an entry waits then, 1 s at most, and returns E_TIMEOUT: nothing
 * changed. Such calls are cellar_increment, cellar_touch, cellar_update, cellar_delete_with, and a
 * set with ONLY_IF_ABSENT, ONLY_IF_PRESENT or KEEP_TTL. They repeat a read that fails. They do not
 * wait if the disk has not answered for 1 s already, nor inside a listener or a command of the
 * port. cellar_get_or_load asks its source; with CELLAR_LOAD_WAIT_DISK it waits before that.
 *
 * A tier that is off has no answer: it is switched off, or closed by a change that found no room
 * for 500 ms. Then these calls go on from memory. So a counter on disk begins again, and
 * ONLY_IF_ABSENT stores over a value on disk.
 *
 * Meanwhile, with ON_SET, too, a change of a key that may be on disk waits for its delete in the
 * log, 500 ms at most. THROUGH returns E_IO after 1 s, and so do all changes with SYNC_ALWAYS. One
 * caller may be in a write, and with SYNC_ALWAYS one in a sync: these wait until the disk answers.
 * Without threads each write is made by a caller. After a write of over 100 ms the thread of the
 * store makes all writes, until 100 in a row were quick.
 *
 * The buffer of the log holds the changes of that time: memory_bytes / 64, 256 KiB at least, 128
 * KiB below 8 MiB, and 1 MiB at most. When the disk answers, they are written, and everything that
 * was acknowledged is found again. If they do not fit, the disk tier restarts empty (metric
 * cellar_l2_emptied_total).
 *
 * No file is mapped. If another program truncates, overwrites or removes one, entries are misses,
 * or the tier is off until the next open: nothing that it writes ends the process. */

/* FILES
 * One process at a time: LOCK and data.seg are locked. Keys are in clear text, values as well
 * without a cipher. A copy of the directory of a closed store is as warm as the original; a copy of
 * a store in use opens empty. Replace the files of a directory all together. A data.seg of another
 * session of the store is detected, and the next open begins empty. An earlier copy of the same
 * session, or an earlier SUPER, may not be detected, and serve values that were overwritten or
 * deleted since.
 *
 * A symbolic link as l2_path is followed if link and directory belong to the user of the process
 * or to root; else E_IO with errno ELOOP. A write beyond RLIMIT_FSIZE fails with EFBIG and
 * raises no SIGXFSZ. */

/* SIZES
 * The disk tier is written in segments. A segment has 512 KiB; 1 MiB from 32 MiB of l2_bytes on, 4
 * MiB from 16 GiB, 8 MiB from 256 GiB; at most memory_bytes / 16, not under 64 KiB. A directory
 * keeps its segments.
 *
 * An entry is one record up to memory_bytes / 256 (of the open that made the directory), rounded
 * down to a power of two: 256 KiB at most, 64 KiB at least, 32 KiB below 8 MiB; and never over half
 * a segment. A longer value is written in parts of 64 KiB. It is found if all its parts are there,
 * a range of it if the parts of the range are. An unfinished set deletes (KILL). Keys over that
 * limit and values over a quarter of the data file are never written (in the dump:
 * cellar_l2_rejected_size_total). Two values of a quarter fit together, not always more.
 *
 * A long value waits for room while the log takes parts of it, and 1 s at most without. Long values
 * that leave memory wait there: eight at a time, with memory_bytes / 8 at most before each.
 *
 * Another l2_bytes, of an open or by cellar_option_set, makes a second file. The log goes on there,
 * and what is below half alive moves, also over kills: 5 s for each GiB of the old file at most.
 * Both files need room until then. Without it the old size stays (E_SPACE; after an open a log line
 * of level WARNING), and so it does below 12 segments of the directory (E_RANGE).
 *
 * Index, buffer and tables are part of memory_bytes: a quarter of it at most, more in a directory
 * that was made with a larger memory_bytes. A place of the index takes 14 bytes. Such a directory
 * opens from 1.5 MiB on, from 2.5 MiB if its l2_bytes is 16 GiB, from 4 MiB at 256 GiB. If less
 * does not suffice, the open fails with E_NOMEM, and cellar_last_error names a sufficient budget.
 * Field l2_memory_bytes of cellar_stats says what they take; an open takes a sixth of a segment
 * more until it returns. */

/* ---- Options and sync ------------------------------------------------------------------------ */

/* What a power cut may take, for cellar_l2_config.sync; see POWER CUT. */
typedef enum cellar_l2_sync {
    CELLAR_L2_SYNC_MANUAL = 0,   /* the last cellar_sync or close stays if nothing changed since */
    CELLAR_L2_SYNC_PERIODIC = 1, /* what the last sync wrote stays: one each sync_interval_ms */
    CELLAR_L2_SYNC_ALWAYS = 2    /* each change stays: it waits for a sync */
} cellar_l2_sync;

/* What to do with a directory with a damaged head, for cellar_l2_config.on_damage; see FAILURES. */
typedef enum cellar_l2_damage {
    CELLAR_L2_SET_ASIDE = 0, /* rename it, and create a new one */
    CELLAR_L2_REFUSE = 1     /* cellar_open returns E_CORRUPT */
} cellar_l2_damage;

/* A cipher for values on disk, for cellar_l2_config.cipher: AES-GCM, ChaCha20-Poly1305 or another
 * AEAD.
 * The library passes flags, version and deadline as `aad`: the cipher must authenticate them. Keys,
 * names and lengths are in clear text. Both functions return 0, or another value for a failure:
 * then the entry is not written, or a miss. A value sealed with another key, or without a cipher,
 * is a miss. To change the key, open the store with the new one: the old values are misses.
 *
 * A nonce has 12 bytes. It begins at 96 random bits in each open and counts the encryptions, so no
 * two of one open are equal. Two opens with 2^32 encryptions each have one nonce in common with a
 * probability of 2^-63. Stores and hosts may share a key, because `aad` has the random id of the
 * directory; then all their opens count. Change the key before 2^16 such opens: the probability is
 * 2^-32 there.
 * in:      in and out do not overlap and may lie at any address; seal writes in_len +
 *          overhead_bytes bytes, open in_len - overhead_bytes
 * thread:  runs inside any call that reads or writes entries and inside close, in several threads
 *          at once, with no lock held; must not wait, nor call the library. Threads of the store
 *          have the default stack of the process, or host option stack_bytes
 * owns:    the struct is copied; ctx outlives the store
 * example: cellar_l2_cipher a = cellar_l2_cipher_default();
 *     a.ctx = key, a.overhead_bytes = 16;
 *     a.seal = my_seal, a.open = my_open;
 *     disk.cipher = &a;                                                                          */
typedef struct cellar_l2_cipher {
    size_t   struct_size;    /* set by cellar_l2_cipher_default()                                 */
    /* Encrypt `in` to `out`, and authenticate `aad` with it. */
    int    (*seal)(const unsigned char *nonce, const void *aad, size_t aad_len,
                   const void *in, size_t in_len, void *out, void *ctx);
    /* Check and decrypt `in` to `out`. */
    int    (*open)(const unsigned char *nonce, const void *aad, size_t aad_len,
                   const void *in, size_t in_len, void *out, void *ctx);
    void    *ctx;            /* given to both                                                     */
    uint32_t overhead_bytes; /* the sealed form is longer by this. Range 0..256                   */
    uint32_t reserved0;      /* must be 0                                                         */
} cellar_l2_cipher;
CELLAR_STRUCT(cellar_l2_cipher, reserved0);

/* Options of the disk tier, for cellar_config.l2; path and size stand in cellar_config. */
typedef struct cellar_l2_config {
    size_t   struct_size;       /* set by cellar_l2_config_default()                              */
    uint64_t mean_entry_bytes;    /* mean size of records; sizes the index.                       */
                                  /* Range 1..65,536 bytes; more, up to 2^32 - 1, counts as       */
                                  /* 65,536. Default 1,024, down to 512 if the index takes 1/16   */
                                  /* of memory_bytes at most                                      */
    uint64_t write_bytes_per_s;   /* entry bytes written a second, moves not counted; a larger    */
                                  /* entry is never written. From 1 byte. Default 0: no limit     */
    uint64_t write_bytes_per_day; /* entry bytes written a day (UTC), moves not counted; the      */
                                  /* count goes on over restarts. From 1 byte. Default 0: no      */
                                  /* limit                                                        */
    int64_t  sync_interval_ms;    /* SYNC_PERIODIC: time between two syncs. From 1 ms.            */
                                  /* Default 1,000                                                */
    int64_t  min_ttl_ms;          /* an entry with less of its TTL left is not written.           */
                                  /* From 1 ms. Default 10,000                                    */
    int64_t  retry_ms;            /* time that the tier stays off before the disk is tried again; */
                                  /* it doubles with each try that fails. Range 1 ms..24 h.       */
                                  /* Default 1,000, or retry_max_ms where that is shorter         */
    int64_t  retry_max_ms;        /* longest time between two such tries. Range retry_ms..24 h.   */
                                  /* Default 60,000, or retry_ms where that is longer             */
    cellar_l2_sync   sync;        /* what a power cut may take. Default MANUAL                    */
    cellar_l2_damage on_damage;   /* what a damaged directory becomes. Default SET_ASIDE          */
    uint32_t fail_errors;         /* failed calls within 10 s that switch the tier off. Range     */
                                  /* 1..64. Default 8                                             */
    uint32_t fail_damaged_pct;    /* damaged records also switch the tier off: at least 8 of them */
                                  /* within 10 s that are more than this share of the lookups in  */
                                  /* that time. Range 1..100 percent. Default 1                   */
    uint32_t reserved0;           /* must be 0                                                    */
    uint32_t allow_network;       /* 1: l2_path may be on NFS, SMB and the like. Default 0        */
    const cellar_l2_cipher *cipher; /* encrypts values on disk; copied. Default NULL: values are  */
                                  /* in clear text                                                */
    int64_t  close_ms;            /* longest time in which cellar_close hands the entries of      */
                                  /* memory to the disk tier: see CLOSE. From 1 ms.               */
                                  /* CELLAR_TTL_NONE: no limit. Default 5,000                     */
    cellar_l2_write write;        /* write policy of namespaces with l2_write 0.                  */
                                  /* Default ON_EVICTION                                          */
    uint32_t optional;            /* 1: if the tier cannot open, cellar_open opens in memory.     */
                                  /* Default 0                                                    */
} cellar_l2_config;
CELLAR_STRUCT(cellar_l2_config, optional);

/* Write everything on the disk tier so that it survives a power cut, Bloom filters included.
 * Entries that are in memory alone are not written: cellar_save does that.
 * in:      c: any handle of the store
 * returns: OK (what the disk tier has is safe); DISABLED (no disk tier, or it is off), E_IO (the
 *          disk failed: a power cut may take the changes since the last sync; cellar_last_error has
 *          the reason)
 * thread:  any; waits for the disk. With CELLAR_L2_SYNC_MANUAL changes wait as well
 * cost:    a few syncs of what has not been synced
 * example: if (cellar_sync(c) == CELLAR_OK) { checkpointed = 1; }                                */
CELLAR_API cellar_err cellar_sync(cellar *c);

/* Write the entries of memory that the disk tier lacks, so that a kill from now on loses none of
 * them: before an update of the program, or each hour. Entries without use are written as well, and
 * the long values that left memory and wait for room. Then the call syncs. A tier that is full
 * drops its oldest entries, as always.
 * in:      c: any handle of the store
 * out:     *missed: entries that are not on disk: larger than the disk tier takes, over a write
 *          limit, not encrypted, or without room for 1 s. Not counted: entries that never go to
 *          disk, those with less than min_ttl_ms left, and changes during the call. Optional
 * returns: OK (all entries are on disk), DROPPED (*missed is not 0; the others are synced),
 *          DISABLED (no disk tier, or it is off); E_IO (the disk failed: cellar_last_error has the
 *          reason), E_NOMEM (the system gave no memory: a part may be written)
 * thread:  any; waits for the disk. Other calls continue
 * cost:    O(entries in memory). A namespace with l2_write ON_EVICTION writes an entry again unless
 *          it came from disk
 * example: uint64_t missed;
 *     if (cellar_save(c, &missed) == CELLAR_DROPPED) { warn(missed); }                           */
CELLAR_API cellar_err cellar_save(cellar *c, uint64_t *missed);

#ifdef __cplusplus
}
#endif
#endif
