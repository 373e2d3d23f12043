/* SPDX-License-Identifier: MIT
 *
 * file_limit: a limit of the process on the length of its files, which makes writes fail. */
#ifndef SUPPORT_FILE_LIMIT_H
#define SUPPORT_FILE_LIMIT_H

#include <signal.h>
#include <sys/resource.h>

#include "cellar.h"
#include "tests/support/t.h"

T_INLINE void limit_files(rlim_t bytes)
{
    struct rlimit l;
    (void)signal(SIGXFSZ, SIG_IGN);
    T_REQUIRE(getrlimit(RLIMIT_FSIZE, &l) == 0);
    l.rlim_cur = bytes != 0 ? bytes : l.rlim_max;
    T_REQUIRE(setrlimit(RLIMIT_FSIZE, &l) == 0);
}

T_INLINE bool is_disk_error(cellar_err err)
{
    return err == CELLAR_E_SPACE || err == CELLAR_E_IO;
}

#endif
