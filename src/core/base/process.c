/* SPDX-License-Identifier: MIT
 *
 * process: the number of this process, its end on request, and the end of another one. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/process.h"

CELLAR_PRIVATE int64_t base_process_id(void) { return getpid(); }

#ifdef SYS_pidfd_open
CELLAR_PRIVATE bool base_process_ended(int64_t id)
{
    struct pollfd p = { .events = POLLIN };
    p.fd = (int)syscall(SYS_pidfd_open, (pid_t)id, 0);
    if (p.fd < 0) { return errno == ESRCH; }
    const bool ended = poll(&p, 1, 0) == 1;
    close(p.fd);
    return ended;
}
#else
CELLAR_PRIVATE bool base_process_ended(int64_t id)
{
    (void)id;
    return false;
}
#endif

CELLAR_PRIVATE void base_process_terminate(void) { (void)kill(getpid(), SIGTERM); }
