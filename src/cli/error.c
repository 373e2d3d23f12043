/* SPDX-License-Identifier: MIT
 *
 * error: the texts of error numbers, the same with every C library. Programs of the bench link
 * this file alone. */
#include "cli/cli.h"

#include <errno.h>

const char *cli_errno_text(int error)
{
    switch (error) {
    case EACCES: return "permission denied";
    case EPERM: return "not permitted";
    case ENOENT: return "no such file or folder";
    case ENOTDIR: return "not a folder";
    case ELOOP: return "too many symbolic links";
    case ENAMETOOLONG: return "name too long";
    case EMFILE: return "too many open files (see ulimit -n)";
    case ENFILE: return "too many open files on this machine";
    case ENOMEM: return "out of memory";
    case ENOSPC: return "no space left";
    case EPIPE: return "the reading program has ended";
    case EIO: return "input or output error";
    default: return "system error";
    }
}
