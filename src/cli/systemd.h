/* SPDX-License-Identifier: MIT
 *
 * systemd: sockets from a manager of services, messages to it. */
#ifndef CLI_SYSTEMD_H
#define CLI_SYSTEMD_H

#include <stdbool.h>
#include <stdint.h>

enum { SYSTEMD_SOCKETS = 4 }; /* one more than a port takes: it refuses that one */

/* Write the sockets of LISTEN_FDS, with -1 behind them. Return their number: 0 without
 * LISTEN_FDS, or if LISTEN_PID is another process. */
int systemd_sockets(int fds[SYSTEMD_SOCKETS + 1]);
/* Send a message to NOTIFY_SOCKET, if it is set. It may wait 1 s for its place in the queue. */
void systemd_tell(const char *message);
/* Return half of WATCHDOG_USEC, from 1 ms; 0: no watchdog waits for this process. */
int64_t systemd_watchdog_ms(void);

#endif
