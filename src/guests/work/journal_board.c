/* SPDX-License-Identifier: MIT
 *
 * journal_board: which attempts have begun.
 *
 * WHY        A task that kills the process must count its attempt. A commit for each begin costs as
 *            much as the task itself. A store into a mapped file survives the process as well.
 * FORMAT     "<journal>-run": journal_entry[slots], indexed by the slot of the task, in the byte
 *            order of the machine. An entry counts if its id has a row with a smaller `begun`: so
 *            those of an older time change nothing. It is cleared behind the end of its row: a new
 *            task may have the id.
 * ROOM       "<journal>-room" is a file without data. Where the disk is full, its room lets the
 *            database grow by what the WAL has, so that the WAL can be truncated.
 * LOCKING    One writer for each slot: the caller holds the lock of the pool.
 * LIMITS     The entries survive the process, not a power cut: then attempts that ran at the cut
 *            are not counted.
 * SEE ALSO   README.md in this folder: measurements. */
#include "work/journal_board.h"

#include <errno.h>
#include <string.h>

#include "base/atomic.h"
#include "base/num.h"
#include "base/vfs.h"

BASE_SIZE_BEGIN

#define JOURNAL_PATH 4096
#define JOURNAL_ROOM (UINT64_C(4) << 20)
static const char journal_run[] = "-run", journal_room_file[] = "-room";

struct journal_board {
    const base_vfs *vfs;
    base_vfs_file *dir, *file;
    journal_entry *entry;
    size_t bytes;
    char name[JOURNAL_PATH];
};

static cellar_err journal_board_code(int e)
{
    return e == 0 ? CELLAR_OK
           : e == ENOSPC || e == EDQUOT ? CELLAR_E_SPACE
           : e == ENOMEM                ? CELLAR_E_NOMEM
                                        : CELLAR_E_IO;
}

/* Open the folder of the journal, and form the name of the file. */
static int journal_board_dir(journal_board *b, const char *path, const char *suffix)
{
    char folder[JOURNAL_PATH];
    b->vfs = base_vfs_system();
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    const size_t folder_len = slash != NULL ? (size_t)(name - path) : 0, len = strlen(name);
    if (folder_len >= sizeof folder || len + sizeof journal_room_file > sizeof b->name) {
        return ENAMETOOLONG;
    }
    memcpy(folder, path, folder_len);
    folder[folder_len] = '\0';
    memcpy(b->name, name, len);
    memcpy(b->name + len, suffix, strlen(suffix) + 1);
    return b->vfs->open_dir(b->vfs->ctx, folder_len != 0 ? folder : ".", false, &b->dir);
}

/* Open a file beside the journal. Return 0 or an errno; *out is to close, and may be NULL. */
static int journal_file_open(base_account *account, const char *path, const char *suffix,
                             unsigned flags, journal_board **out)
{
    journal_board *b = *out = base_alloc(account, BASE_MOD_STORE, sizeof *b, NULL);
    if (b == NULL) { return ENOMEM; }
    const int e = journal_board_dir(b, path, suffix);
    return e == 0 ? b->vfs->open(b->vfs->ctx, b->dir, b->name, flags, &b->file) : e;
}

CELLAR_PRIVATE void journal_board_close(base_account *account, journal_board *b, bool remove)
{
    if (b == NULL) { return; }
    if (b->entry != NULL) { b->vfs->unmap(b->vfs->ctx, b->entry, b->bytes); }
    b->vfs->close(b->vfs->ctx, b->file);
    if (remove && b->dir != NULL) { (void)b->vfs->unlink(b->vfs->ctx, b->dir, b->name); }
    b->vfs->close(b->vfs->ctx, b->dir);
    base_free(account, BASE_MOD_STORE, b, sizeof *b);
}

CELLAR_PRIVATE void journal_board_forked(journal_board *b)
{
    b->vfs->close(b->vfs->ctx, b->file);
    b->vfs->close(b->vfs->ctx, b->dir);
}

CELLAR_PRIVATE cellar_err journal_board_read(base_account *account, const char *path,
                                             journal_entry **old, uint32_t *count)
{
    base_vfs_stat s;
    size_t done = 0;
    *old = NULL;
    *count = 0;
    journal_board *b;
    int e = journal_file_open(account, path, journal_run, 0, &b);
    if (e == 0) { e = b->vfs->stat(b->vfs->ctx, b->file, &s); }
    if (e == 0 && s.size_bytes >= sizeof **old) {
        const uint64_t n = BASE_MIN(s.size_bytes / sizeof **old, UINT32_MAX / sizeof **old);
        *old = base_alloc(account, BASE_MOD_STORE, (size_t)n * sizeof **old, NULL);
        *count = (uint32_t)n;
        e = *old == NULL ? ENOMEM
                         : b->vfs->pread(b->vfs->ctx, b->file, *old, (size_t)n * sizeof **old, 0,
                                         &done);
        /* A short read leaves zeros: no entries. */
    }
    journal_board_close(account, b, false);
    if (e != 0) {
        base_free(account, BASE_MOD_STORE, *old, *count * sizeof **old);
        *old = NULL;
        *count = 0;
    }
    return e == ENOENT ? CELLAR_OK : journal_board_code(e);
}

CELLAR_PRIVATE void journal_room_end(base_account *account, const char *path)
{
    journal_board *b = base_alloc(account, BASE_MOD_STORE, sizeof *b, NULL);
    if (b == NULL) { return; }
    (void)journal_board_dir(b, path, journal_room_file);
    journal_board_close(account, b, true);
}

CELLAR_PRIVATE uint64_t journal_room_make(base_account *account, const char *path,
                                          uint64_t bytes)
{
    base_vfs_stat s = { .free_bytes = 0 };
    journal_board *b;
    int e = journal_file_open(account, path, journal_room_file, BASE_VFS_CREATE | BASE_VFS_WRITE,
                              &b);
    if (e == 0) { e = b->vfs->stat(b->vfs->ctx, b->file, &s); }
    if (bytes == 0) { bytes = BASE_MAX(BASE_MIN(s.free_bytes / 4, JOURNAL_ROOM), s.size_bytes); }
    if (e == 0) { e = b->vfs->preallocate(b->vfs->ctx, b->file, bytes); }
    journal_board_close(account, b, e != 0);
    return e == 0 ? bytes : 0;
}

CELLAR_PRIVATE cellar_err journal_board_open(base_account *account, const char *path,
                                             uint32_t slots, journal_board **out)
{
    void *map = NULL;
    journal_board *b;
    const size_t bytes = (size_t)base_round_up((uintptr_t)slots * sizeof *b->entry, BASE_PAGE);
    int e = journal_file_open(account, path, journal_run, BASE_VFS_CREATE | BASE_VFS_WRITE, &b);
    if (e == 0) { e = b->vfs->truncate(b->vfs->ctx, b->file, 0); }
    if (e == 0) { e = b->vfs->truncate(b->vfs->ctx, b->file, bytes); }
    if (e == 0) { e = b->vfs->map_shared(b->vfs->ctx, b->file, bytes, &map); }
    if (e != 0) {
        journal_board_close(account, b, false);
        return journal_board_code(e);
    }
    b->entry = map;
    b->bytes = bytes;
    *out = b;
    return CELLAR_OK;
}

CELLAR_PRIVATE cellar_err journal_board_reserve(journal_board *b, uint32_t slots)
{
    const size_t bytes = slots * sizeof *b->entry;
    BASE_ASSERT(bytes <= b->bytes);
    if (bytes == 0) { return CELLAR_OK; }
    return journal_board_code(b->vfs->preallocate(b->vfs->ctx, b->file, bytes));
}

CELLAR_PRIVATE void journal_board_set(journal_board *b, uint32_t slot, cellar_task_id id,
                                      uint32_t begun, uint32_t attempt)
{
    journal_entry *e = &b->entry[slot];
    /* A process that dies between two stores leaves no entry, or a whole one. */
    base_store_rel(&e->begun, 0u);
    e->hi = id.hi;
    e->lo = id.lo;
    e->attempt = attempt;
    base_store_rel(&e->begun, begun);
}

BASE_SIZE_END
