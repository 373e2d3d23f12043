/* SPDX-License-Identifier: MIT
 *
 * fd: reads small files as a whole. */
#include "base/fd.h"

#include <errno.h>

CELLAR_PRIVATE int base_fd_read_file(int at, const char *path, void *buf, size_t cap, size_t *len)
{
    *len = 0;
    const int fd = base_fd_open(at, path, O_RDONLY | O_NONBLOCK);
    if (fd < 0) { return errno; }
    int failed = 0;
    while (*len < cap) {
        const ssize_t got = base_fd_read(fd, (char *)buf + *len, cap - *len);
        if (got < 0 && errno == EINTR) { continue; }
        if (got < 0) { failed = errno; }
        if (got <= 0) { break; }
        *len += (size_t)got;
    }
    base_fd_close(fd);
    return failed;
}
