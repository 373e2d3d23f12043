/* SPDX-License-Identifier: MIT
 *
 * journal_board: which attempts have begun, in a mapped file that outlives the process. */
#ifndef WORK_JOURNAL_BOARD_H
#define WORK_JOURNAL_BOARD_H

#include "base/mem.h"
#include "base/port.h"
#include "cellar_task.h"

typedef struct journal_board journal_board;

/* The last attempt of the task that has a slot. */
typedef struct journal_entry {
    uint64_t hi, lo;         /* id */
    _Atomic uint32_t begun;  /* as in journal_row; 0: no entry. Stored last */
    uint32_t attempt;
    uint64_t reserved0;
} journal_entry;
_Static_assert(sizeof(journal_entry) == 32, "the format of the file");

/* Read the entries of the last process. The caller frees *old with base_free. */
CELLAR_PRIVATE cellar_err journal_board_read(base_account *account, const char *path,
                                             journal_entry **old, uint32_t *count);
/* Open or create the file with `slots` entries, all empty. */
CELLAR_PRIVATE cellar_err journal_board_open(base_account *account, const char *path,
                                             uint32_t slots, journal_board **out);
/* Close the file. `remove`: nothing in it is needed. */
CELLAR_PRIVATE void journal_board_close(base_account *account, journal_board *b, bool remove);
/* Close the descriptors in a forked child, which has no mapping. */
CELLAR_PRIVATE void journal_board_forked(journal_board *b);
/* Delete the file that keeps room for a journal. */
BASE_SPARE CELLAR_PRIVATE void journal_room_end(base_account *account, const char *path);
/* Make the file that keeps room, with `bytes` bytes. 0: a quarter of the free bytes, 4 MiB at most.
 * Return the size of the file, or 0 if there is no file. */
BASE_SPARE CELLAR_PRIVATE uint64_t journal_room_make(base_account *account, const char *path,
                                                     uint64_t bytes);
/* Make room on the disk for the first `slots` entries. */
CELLAR_PRIVATE cellar_err journal_board_reserve(journal_board *b, uint32_t slots);
/* Note that an attempt begins. */
CELLAR_PRIVATE void journal_board_set(journal_board *b, uint32_t slot, cellar_task_id id,
                                      uint32_t begun, uint32_t attempt);

#endif
