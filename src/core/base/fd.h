/* SPDX-License-Identifier: MIT
 *
 * fd: system calls on descriptors that are no cancellation points; small files as a whole.
 *
 * INVARIANTS A thread that is cancelled inside a read would never release its pin, buffer or
 *            count. cellar.h promises: no function is a cancellation point.
 *            Each function returns what the system call of its name returns, errno included.
 * LIMITS     Cost: two stores per call, no system call. */
#ifndef BASE_FD_H
#define BASE_FD_H

#include "base/user_callback.h"

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

/* Read up to `cap` bytes of a file below the folder `at`; *len: how many. Return 0 or errno. */
BASE_SPARE CELLAR_PRIVATE int base_fd_read_file(int at, const char *path, void *buf, size_t cap,
                                                size_t *len);

#endif
