/* SPDX-License-Identifier: MIT
 *
 * disk_store: a new folder for a store on real files, and the clock of the test that opens the
 * store. */
#ifndef CELLAR_TESTS_DISK_STORE_H
#define CELLAR_TESTS_DISK_STORE_H

#include <unistd.h>

#include "tests/support/folder.h"
#include "tests/support/left.h"
#include "tests/support/t.h"

static char folder[T_FOLDER_MAX], store[T_FOLDER_MAX + 8];
static int64_t now_ms;

T_INLINE int64_t read_clock(void *ctx) { (void)ctx; return now_ms; }

T_INLINE void store_begin(void)
{
    t_folder(folder);
    (void)snprintf(store, sizeof store, "%s/store", folder);
    now_ms = 1000000;
}

T_INLINE void store_end(void)
{
    left_close(); /* a store writes to its folder when it closes */
    t_wipe(store);
    T_EQ_I64(rmdir(folder), 0);
}

/* T_CASE_ON(name, ON_DISK): a T_ALONE case in a new folder. */
#define ON_DISK(fn) T_ALONE_WITHIN(fn, store_begin(), store_end())

#endif
