/* SPDX-License-Identifier: MIT
 *
 * cellar_l2: options of the disk tier, what it promises, and sync. */
#ifndef CELLAR_L2_H
#define CELLAR_L2_H

#include "cellar.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Disk tier. With l2_path and l2_bytes set, entries that leave memory go to a log in that directory
 * if they are worth it: asked for since they came, or gone before not long ago, with l2_min_ttl_ms
 * left and within l2_write_bps and l2_write_bpd; a copy that lies there unchanged is not written
 * again. With l2_write a view says that each of its changes goes there: sets, loads, updates,
 * incrs, touches. A close brings down what memory holds. Misses come back with what is left of
 * their time to live, unless the idle time they were written with has passed meanwhile, and after
 * a restart, clean or not, the cache is warm; after a death its index is read back first, and who
 * asks meanwhile may miss (the metric cellar_l2_warming). What lies only on disk counts as there,
 * but for scans, listeners and what cellar_delete says: a get, pin, touch, update, incr, and a set
 * that depends on what there is, bring it into memory, which costs a read, and a few ms at most
 * while a change is on its way down; cellar_peek, cellar_contains and cellar_entry_info_get look
 * and leave it there, unless a version is wanted. No read returns an older value than a read that
 * was complete before it began: while a change of the key is on its way down, the disk is not read
 * for it; after a wait of 1 ms at most the read misses. All of it is a hint, never the truth:
 * damage is a miss, trouble with the disk leaves the store with its memory alone
 * (cellar_last_error of the root says why), puts that no mode promises (below) are dropped, not
 * waited for. Two entries may share a word of the disk tier's index: the older one is then lost,
 * about one in 10,000 with l2_bytes full, fewer before. An entry that was set with CELLAR_DURABLE
 * or in a view with CELLAR_L2_WRITE_THROUGH is not lost so: it is found until it is changed, or
 * l2_bytes is full and it is among the oldest. If entries are smaller than l2_avg_object_bytes
 * says, the index is full first (the metric cellar_l2_index_full_total). A disk that fails
 * (l2_off_errors and what follows it) is left alone for a time, then tried, and used again once it
 * works: one line of the log each time, the metric cellar_l2_breaker_state says which. Deletes,
 * also by tag or pattern, overwrites, clears and bumps are never lost to the death of the process;
 * while the disk does not answer, an empty file /dev/shm/cellar-.. sees to that. A power cut:
 * CELLAR_L2_SYNC_MANUAL keeps what the last cellar_sync or clean close saw if nothing was changed
 * since, else nothing; CELLAR_L2_SYNC_PERIODIC all that was done before the last sync, one every
 * l2_sync_ms, and of later changes some. CELLAR_L2_SYNC_ALWAYS: a call that changes a key or a
 * view returns when a power cut cannot take that back (one sync serves all who wait; a change of
 * what the disk has never seen waits for none); E_IO: it is done in memory, but a power cut may
 * take it back. What a loader stores is committed with the next such call. With l2_lz4 a view's
 * values are packed (LZ4) on their way to disk where that saves an eighth of them; a library that
 * was built without liblz4, as the drop-in is without CELLAR_WITH_LZ4, refuses the option
 * (E_UNSUPPORTED), and misses what another has packed. One process at a time. Keys lie in the
 * files in clear, values too without l2_crypt. A directory whose head is damaged is refused
 * (CELLAR_E_CORRUPT) and left as it is; with CELLAR_L2_SET_ASIDE it is renamed to l2_path.bad.N, N
 * from 1 to 9, and a new one begun. One of somebody else, or of a newer library, never is. A copy
 * of the directory of a closed store is as warm as that; one of a store in use opens empty.
 * Replace the files of a directory all together, never one alone: if stage.buf or data.seg comes
 * from an earlier life of the store (an open and what follows it until the close or the kill), the
 * next open detects that and begins empty; an earlier copy made in the same life, or an earlier
 * SUPER, is not detected and may serve values that were overwritten or deleted since. The metric
 * cellar_l2_opened says how the index came at this open, and why not as a close saved it. A file
 * that another program cuts short while the store is open may end the process (SIGBUS). With
 * l2_sigbus_handler that signal is handled as long as the store is open: the tier is off until the
 * next open, which finds it empty, and memory goes on; SIGBUS that is about anything else goes to
 * the handler there was before, and one that is installed meanwhile must chain to ours. With
 * l2_mmap_read (refused without l2_sigbus_handler: no mapping is read unguarded) what was read
 * from the data file within the last seconds is copied out of a mapping instead of asking for it
 * with a call, several times as fast. Mapped are at most l2_bytes and eight times memory_bytes;
 * that much address space it takes, its pages count as the process's resident ones (file pages,
 * which the kernel takes back), the page tables are in the budget. Where the file cannot be
 * mapped, or fails under the mapping (the metric cellar_l2_mapped_bytes is 0 then), it is read as
 * without the option. */

/* Path and files of the disk tier. A symbolic link as l2_path is followed if the link and the
 * directory behind it belong to the user of the process or to root. Another user's link is refused:
 * E_IO with errno ELOOP; name the directory itself then. CELLAR_L2_SET_ASIDE renames the directory
 * behind the link, not the link. A write that would pass the process's limit of file size
 * (RLIMIT_FSIZE) fails with EFBIG and raises no SIGXFSZ: at open the tier is off, with l2_required
 * cellar_open fails with E_IO; later it counts as an error of the disk. */

/* What one change promises of the disk, by the l2_write of its view:
 * - CELLAR_L2_WRITE_ON_EVICTION: nothing. The entry is offered to the disk when it leaves memory.
 * - CELLAR_L2_WRITE_ON_SET: the entry is offered to the disk before the call returns. The disk may
 *   drop it (cellar_l2_dropped_total, cellar_l2_refused_total); then it is in memory alone.
 * - CELLAR_L2_WRITE_THROUGH: when the call returns OK, the entry is in the log. The log outlives
 *   the process, and at CELLAR_L2_SYNC_ALWAYS a power cut. A call waits for room in the log, at
 *   most 1 s. E_IO: the change is in memory, and the disk has no value of the key. A touch or an
 *   incr is E_IO, too, if its entry is evicted before it is written: memory of a few entries.
 *   Also E_IO: the value is over half a segment of the disk, l2_write_bps or l2_write_bpd is used
 *   up, the seal function fails, the disk is off. cellar_l2_not_through_total counts them all.
 *   OK, but in memory alone: an entry with less than l2_min_ttl_ms left, a remembered failure, an
 *   entry with CELLAR_NO_L2. A load, a refresh and cellar_lease_fulfill wait and count in the same
 *   way, but hand out their value and return no E_IO.
 * - A set with CELLAR_DURABLE promises the same in any view, and from CELLAR_L2_SYNC_PERIODIC on
 *   that the entry outlives a power cut. At CELLAR_L2_SYNC_MANUAL it is E_UNSUPPORTED. An entry
 *   with less than l2_min_ttl_ms left is E_IO.
 * A later change of the key without such a promise, a touch too, takes its copy off the disk until
 * the entry leaves memory. Changes of one key reach the disk in the order in which memory saw
 * them. An entry that such a call has written is not written again when it leaves memory or the
 * store is closed; for that it takes 12 bytes more of memory. */

/* Sizes of the disk tier. A segment has 512 KiB; 1 MiB from 32 MiB of l2_bytes on, 4 MiB from
 * 128 MiB, 8 MiB from 1 GiB; at most memory_bytes / 16, down to a power of two from 64 KiB on. A
 * directory keeps the size it was made with. A value that is, with its key and up to 200 bytes of
 * head, over half a segment is never written: it stays in memory alone, and the metric
 * cellar_l2_refused_size_total counts it. A value of 1 MiB needs l2_bytes from 128 MiB and
 * memory_bytes from 64 MiB on. Index, stage and tables of the tier are part of memory_bytes: where
 * that is too small for l2_bytes, cellar_last_error names a budget that is enough. */

/* A cipher of yours for what goes to disk (AES-GCM, ChaCha20-Poly1305, any AEAD): values are sealed
 * by it, and opened when they come back. Flags, version and end of life are authenticated with them
 * (`aad`), so it must not leave that out; keys, names of views and lengths lie in clear. A nonce is
 * never used twice, also not after a restart. Both functions return 0, or anything else for a
 * failure: then the entry is not written, or a miss. What was sealed with another key, and all
 * that was written without a cipher, is a miss.
 * in:      in and out do not overlap and may lie at any address; seal writes in_len + overhead
 *          bytes, open in_len - overhead; nonce has 12 bytes
 * thread:  run inside any call that reads or writes entries, and inside close, by several threads
 *          at once, with no lock held; must not wait, nor use the store
 * owns:    the struct is copied; ctx outlives the store
 * example: cellar_l2_cipher a = cellar_l2_cipher_default();
 *     a.ctx = key; a.seal = my_seal; a.open = my_open; a.overhead = 16;
 *     cfg.l2_crypt = &a;                                                                         */
typedef struct cellar_l2_cipher {
    size_t   struct_size; /* set by cellar_l2_cipher_default()                                    */
    void    *ctx;
    int    (*seal)(void *ctx, const unsigned char *nonce, const void *aad, size_t aad_len,
                   const void *in, size_t in_len, void *out);
    int    (*open)(void *ctx, const unsigned char *nonce, const void *aad, size_t aad_len,
                   const void *in, size_t in_len, void *out);
    uint32_t overhead;    /* bytes the sealed form is longer by: the tag; at most 256             */
    uint32_t reserved;    /* must be 0                                                            */
} cellar_l2_cipher;
CELLAR_STRUCT(cellar_l2_cipher, reserved);

/* Make all that is on the disk tier outlive a power cut; filters of views are written, too.
 * returns: OK; DISABLED (no disk tier, or it is off), E_IO (cellar_last_error), E_INVAL, E_CLOSED
 * thread:  any; waits for the disk. At CELLAR_L2_SYNC_MANUAL changes wait meanwhile, too
 * cost:    a few syncs of what has not been synced yet
 * example: if (cellar_sync(c) == CELLAR_OK) { checkpointed = 1; }                                */
CELLAR_API cellar_err cellar_sync(cellar *c);

#ifdef __cplusplus
}
#endif
#endif
