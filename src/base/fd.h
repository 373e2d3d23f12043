/* SPDX-License-Identifier: MIT
 *
 * fd: system calls on descriptors that libc makes cancellation points, and that are none here.
 *
 * WHY        cellar.h: no function is a cancellation point. A thread that is cancelled in the
 *            middle of a read leaves what it holds (a pin, a buffer, a count) for ever.
 * COST       two stores a call; no system call.
 * RETURNS    what the call of that name does, errno included. */
#ifndef BASE_FD_H
#define BASE_FD_H

#include "base/sync.h"

#include <fcntl.h>
#include <unistd.h>

BASE_INLINE int base_fd_open(int at, const char *path, int how)
{
    const int cancel = base_cancel_off();
    const int fd = openat(at, path, how | O_CLOEXEC, 0600);
    base_cancel_set(cancel);
    return fd;
}

BASE_INLINE void base_fd_close(int fd)
{
    const int cancel = base_cancel_off();
    (void)close(fd);
    base_cancel_set(cancel);
}

BASE_INLINE ssize_t base_fd_read(int fd, void *buf, size_t n)
{
    const int cancel = base_cancel_off();
    const ssize_t got = read(fd, buf, n);
    base_cancel_set(cancel);
    return got;
}

BASE_INLINE ssize_t base_fd_pread(int fd, void *buf, size_t n, uint64_t offset)
{
    const int cancel = base_cancel_off();
    const ssize_t got = pread(fd, buf, n, (off_t)offset);
    base_cancel_set(cancel);
    return got;
}

BASE_INLINE ssize_t base_fd_pwrite(int fd, const void *buf, size_t n, uint64_t offset)
{
    const int cancel = base_cancel_off();
    const ssize_t put = pwrite(fd, buf, n, (off_t)offset);
    base_cancel_set(cancel);
    return put;
}

#endif
