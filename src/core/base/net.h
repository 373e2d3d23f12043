/* SPDX-License-Identifier: MIT
 *
 * net: system calls on sockets and on epoll. Each call is a fault point named after itself, no
 * cancellation point, and is repeated on EINTR. A closed peer raises no SIGPIPE.
 *
 * INVARIANTS Each function returns a result of 0 or more, or a negative errno. Descriptors are
 *            close-on-exec; sockets do not block. */
#ifndef BASE_NET_H
#define BASE_NET_H

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/fault.h"
#include "base/port.h"

BASE_SPARE CELLAR_PRIVATE int base_net_socket(int family);
/* Bind and listen. For AF_INET6 the socket takes no IPv4 addresses. */
BASE_SPARE CELLAR_PRIVATE int base_net_listen(int fd, const struct sockaddr *at, socklen_t len,
                                              int backlog);
BASE_SPARE CELLAR_PRIVATE int base_net_accept(int fd, struct sockaddr_storage *peer,
                                              socklen_t *len);
/* Return the process that connected a unix socket; 0: not known, or not of this namespace. */
BASE_SPARE CELLAR_PRIVATE int64_t base_net_peer_process(int fd);
/* Return whether the peer of a unix socket belongs to this user or to root. */
BASE_SPARE CELLAR_PRIVATE bool base_net_peer_trusted(int fd);
/* Return whether it is in a group. */
BASE_SPARE CELLAR_PRIVATE bool base_net_peer_in(int fd, uint32_t group);
/* Find a group by its name in /etc/group, or take its digits. Return 0, or -ENOENT. */
BASE_SPARE CELLAR_PRIVATE int base_net_group(const char *name, uint32_t *group);
BASE_SPARE CELLAR_PRIVATE int base_net_local_port(int fd, uint32_t *port);
/* Which file a socket is. */
typedef struct base_net_file {
    uint64_t inode, device; /* 0, 0: none */
} base_net_file;
/* Return a copy of a socket that listens for streams, or a negative errno. The copy does not block.
 * *at: the address; all zero if the socket does not listen. path, *file: set for a unix socket
 * alone. */
BASE_SPARE CELLAR_PRIVATE int base_net_inherit(int fd, struct sockaddr_storage *at, char path[108],
                                               base_net_file *file);

/* Bind a socket file of mode 0600 and listen. A file that is left from a process that died is
 * replaced. Return the socket, or: -EPERM (other users may write to its folder), -EEXIST (the file
 * is no socket), -EADDRINUSE (a process listens on it), -ENAMETOOLONG, another errno. */
BASE_SPARE CELLAR_PRIVATE int base_net_unix(const char *path, int backlog, base_net_file *file);
/* Copy the path of a socket file, absolute if that fits: the process may change its folder. */
BASE_SPARE CELLAR_PRIVATE void base_net_unix_path(const char *path, char *to, size_t cap);
/* Give a socket file to a group: mode 0660. Return 0 or a negative errno. */
BASE_SPARE CELLAR_PRIVATE int base_net_unix_share(const char *path, uint32_t group);
/* Return 0 if a socket file has its place, -EEXIST if another one has it, -ENOENT if none has. */
BASE_SPARE CELLAR_PRIVATE int base_net_unix_look(const char *path, const base_net_file *file);
/* Remove a socket file that has its place. */
BASE_SPARE CELLAR_PRIVATE void base_net_unix_remove(const char *path, const base_net_file *file);
/* Send small replies at once instead of collecting them. */
BASE_SPARE CELLAR_PRIVATE void base_net_no_delay(int fd);
BASE_SPARE CELLAR_PRIVATE ssize_t base_net_recv(int fd, void *buf, size_t n);
/* Send parts. Their count fits into msg_iovlen of every libc: musl has an int there. */
BASE_SPARE CELLAR_PRIVATE ssize_t base_net_send(int fd, const struct iovec *part, uint16_t count);
/* Tell the peer that nothing follows. */
BASE_SPARE CELLAR_PRIVATE void base_net_end(int fd);
/* Close a connection. A copy of the socket in a child of a fork does not keep it. */
BASE_SPARE CELLAR_PRIVATE void base_net_close(int fd);
BASE_SPARE CELLAR_PRIVATE int base_net_epoll(void);
/* Change what epoll watches: `how` is an EPOLL_CTL_ value, `data` comes back with each event. */
BASE_SPARE CELLAR_PRIVATE int base_net_watch(int epoll, int how, int fd, uint32_t events,
                                             void *data);
/* Wait for events, with timeout_ms -1 without a limit. Return 0 on EINTR. */
BASE_SPARE CELLAR_PRIVATE int base_net_wait(int epoll, struct epoll_event *out, int most,
                                            int timeout_ms);
/* Make a descriptor that is readable between base_net_ring and base_net_unring. */
BASE_SPARE CELLAR_PRIVATE int base_net_bell(void);
BASE_SPARE CELLAR_PRIVATE void base_net_ring(int bell);
BASE_SPARE CELLAR_PRIVATE void base_net_unring(int bell);

#endif
