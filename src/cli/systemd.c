/* SPDX-License-Identifier: MIT
 *
 * systemd: the protocols of sd_notify(3), sd_watchdog_enabled(3) and sd_listen_fds(3), without
 * their library: variables of the environment, and one datagram for each message. */
#include "cli/systemd.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/cli.h"

enum { SYSTEMD_FIRST = 3 }; /* descriptor of LISTEN_FDS */

/* Read a number of the environment, or return `none`. */
static uint64_t systemd_number(const char *name, uint64_t none)
{
    uint64_t n;
    const char *text = getenv(name);
    return text != NULL && cli_parse_count(text, 0, INT64_MAX, &n) ? n : none;
}

int systemd_sockets(int fds[SYSTEMD_SOCKETS + 1])
{
    const bool own = systemd_number("LISTEN_PID", 0) == (uint64_t)getpid();
    const uint64_t named = own ? systemd_number("LISTEN_FDS", 0) : 0;
    const int count = named < SYSTEMD_SOCKETS ? (int)named : SYSTEMD_SOCKETS;
    for (int i = 0; i < count; i++) { fds[i] = SYSTEMD_FIRST + i; }
    fds[count] = -1;
    return count;
}

void systemd_tell(const char *message)
{
    const struct timeval wait = { 1, 0 };
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    const char *name = getenv("NOTIFY_SOCKET");
    const size_t len = name != NULL ? strlen(name) : 0;
    if (len == 0 || len > sizeof at.sun_path || (*name != '/' && *name != '@')) { return; }
    memcpy(at.sun_path, name, len);
    if (*name == '@') { at.sun_path[0] = '\0'; }
    const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) { return; }
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    (void)sendto(fd, message, strlen(message), MSG_NOSIGNAL, (const struct sockaddr *)&at,
                 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
    (void)close(fd);
}

int64_t systemd_watchdog_ms(void)
{
    const uint64_t own = (uint64_t)getpid();
    if (systemd_number("WATCHDOG_PID", own) != own) { return 0; }
    const uint64_t us = systemd_number("WATCHDOG_USEC", 0);
    return us > 0 && us < 2000 ? 1 : (int64_t)(us / 2000);
}
