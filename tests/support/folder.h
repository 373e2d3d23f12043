/* SPDX-License-Identifier: MIT
 *
 * folder: a new folder below $TMPDIR or /tmp for tests on real files, and its end. */
#ifndef CELLAR_TESTS_FOLDER_H
#define CELLAR_TESTS_FOLDER_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/support/t.h"

#define T_FOLDER_MAX 256

T_INLINE void t_folder_in(const char *where, char out[T_FOLDER_MAX])
{
    const int n = snprintf(out, T_FOLDER_MAX, "%s/cellar-XXXXXX", where);
    T_REQUIRE(n < T_FOLDER_MAX && mkdtemp(out) != NULL);
}

T_INLINE void t_folder(char out[T_FOLDER_MAX])
{
    const char *tmp = getenv("TMPDIR");
    t_folder_in(tmp != NULL ? tmp : "/tmp", out);
}

/* Remove the files of a folder, and the folder; do nothing if it does not exist. */
T_INLINE void t_wipe(const char *path)
{
    char file[T_FOLDER_MAX + 300];
    DIR *d = opendir(path);
    if (d == NULL) { return; }
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (e->d_name[0] == '.') { continue; }
        snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        T_EQ_I64(unlink(file), 0);
    }
    closedir(d);
    T_EQ_I64(rmdir(path), 0);
}

#endif
