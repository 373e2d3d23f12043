/* SPDX-License-Identifier: MIT
 *
 * net: sockets of the inspection port.
 *
 * FILES      The folder of a socket file belongs to the user or to root, and no other user may
 *            write to it: no other user can put a socket in its place.
 * INVARIANTS A socket file begins with mode 0600: the mode is set before the bind, on the socket,
 *            and Linux creates the file with it. umask is not touched: it belongs to all threads.
 *            With a group the file changes its group first, then its mode. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/fd.h"
#include "base/net.h"
#include "base/num.h"

BASE_SIZE_BEGIN

#define NET_GROUPS 1024u /* most groups of a peer */
#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif

/* Give `result` the value of a system call, or a negative errno; 0 or more ends the loop. */
#define NET_CALL(site, result, call) \
    do { \
        const int net_cancel = base_cancel_off(); \
        const int net_fault = base_fault_io(site); \
        do { \
            (result) = net_fault > 0 ? -1 : (call); \
            if (net_fault > 0) { errno = net_fault; } \
        } while ((result) < 0 && errno == EINTR && net_fault <= 0); \
        if ((result) < 0) { (result) = -errno; } \
        base_cancel_set(net_cancel); \
    } while (0)

CELLAR_PRIVATE int base_net_socket(int family)
{
    int fd;
    NET_CALL("socket", fd, socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    return fd;
}

CELLAR_PRIVATE int base_net_listen(int fd, const struct sockaddr *at, socklen_t len, int backlog)
{
    const int on = 1;
    int err;
    if (at->sa_family == AF_UNIX) {
        NET_CALL("fchmod", err, fchmod(fd, 0600));
    } else {
        NET_CALL("setsockopt", err, setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on));
    }
    if (err >= 0 && at->sa_family == AF_INET6) {
        NET_CALL("setsockopt", err, setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on));
    }
    if (err >= 0) { NET_CALL("bind", err, bind(fd, at, len)); }
    if (err >= 0) { NET_CALL("listen", err, listen(fd, backlog)); }
    return err;
}

CELLAR_PRIVATE int base_net_inherit(int fd, struct sockaddr_storage *at, char path[108],
                                    base_net_file *file)
{
    struct stat st;
    int listens = 0, type = 0, got;
    socklen_t len = sizeof type, at_len = sizeof *at;
    memset(at, 0, sizeof *at);
    NET_CALL("getsockopt", got, getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len));
    if (got >= 0) { NET_CALL("getsockopt", got, getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len)); }
    if (got >= 0 && (listens == 0 || type != SOCK_STREAM)) { got = -EINVAL; }
    if (got >= 0) { NET_CALL("getsockname", got, getsockname(fd, (struct sockaddr *)at, &at_len)); }
    if (got >= 0 && at->ss_family == AF_UNIX) {
        memcpy(path, ((const struct sockaddr_un *)at)->sun_path, 107);
        if (lstat(path, &st) == 0) { *file = (base_net_file){ st.st_ino, st.st_dev }; }
    }
    if (got >= 0) { NET_CALL("dup", got, fcntl(fd, F_DUPFD_CLOEXEC, 0)); }
    if (got >= 0) { (void)fcntl(got, F_SETFL, fcntl(got, F_GETFL) | O_NONBLOCK); }
    return got;
}

CELLAR_PRIVATE int base_net_accept(int fd, struct sockaddr_storage *peer, socklen_t *len)
{
    int got;
    *len = sizeof *peer;
    NET_CALL("accept", got,
             accept4(fd, (struct sockaddr *)peer, len, SOCK_CLOEXEC | SOCK_NONBLOCK));
    return got;
}

CELLAR_PRIVATE bool base_net_peer_trusted(int fd)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    int err;
    NET_CALL("peercred", err, getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len));
    return err >= 0 && (peer.uid == 0 || peer.uid == geteuid());
}

CELLAR_PRIVATE int64_t base_net_peer_process(int fd)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 ? peer.pid : 0;
}

CELLAR_PRIVATE bool base_net_peer_in(int fd, uint32_t group)
{
    gid_t groups[NET_GROUPS];
    struct ucred peer;
    socklen_t len = sizeof peer;
    int err;
    NET_CALL("peercred", err, getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len));
    if (err < 0) { return false; }
    if (peer.gid == group) { return true; }
    len = sizeof groups;
    NET_CALL("peergroups", err, getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len));
    const size_t count = err >= 0 ? len / sizeof groups[0] : 0;
    for (size_t i = 0; i < count; i++) {
        if (groups[i] == group) { return true; }
    }
    return false;
}

CELLAR_PRIVATE int base_net_group(const char *name, uint32_t *group)
{
    char line[512], *end;
    const size_t len = strlen(name);
    unsigned long n = strtoul(name, &end, 10);
    int err = *end == '\0' && len > 0 && n < UINT32_MAX ? 0 : -ENOENT;
    FILE *f = err != 0 ? fopen("/etc/group", "re") : NULL;
    for (bool begins = true; f != NULL && err != 0 && fgets(line, sizeof line, f) != NULL;) {
        const char *number = strchr(line, ':'); /* name:password:number:members */
        const bool same = begins && number == line + len && memcmp(line, name, len) == 0;
        number = number != NULL ? strchr(number + 1, ':') : NULL;
        if (same && number != NULL) {
            n = strtoul(number + 1, &end, 10);
            if (end > number + 1 && n < UINT32_MAX) { err = 0; }
        }
        begins = strchr(line, '\n') != NULL; /* a long line comes in parts */
    }
    if (f != NULL) { (void)fclose(f); }
    *group = (uint32_t)n;
    return err;
}

/* ---- socket files ---- */

CELLAR_PRIVATE int base_net_unix_share(const char *path, uint32_t group)
{
    int err;
    NET_CALL("chown", err, chown(path, (uid_t)-1, (gid_t)group));
    if (err >= 0) { NET_CALL("chmod", err, chmod(path, 0660)); }
    return err;
}

/* Check the folder of a path that fits into `sun_path`. */
static bool net_folder_safe(const char *path)
{
    char folder[sizeof ((struct sockaddr_un *)0)->sun_path];
    struct stat st;
    const char *slash = strrchr(path, '/');
    const size_t len = slash != NULL ? BASE_MAX((size_t)(slash - path), (size_t)1) : 1;
    memcpy(folder, slash != NULL ? path : ".", len);
    folder[len] = '\0';
    return stat(folder, &st) == 0 && S_ISDIR(st.st_mode) && (st.st_mode & 022) == 0 &&
           (st.st_uid == geteuid() || st.st_uid == 0);
}

/* Remove a socket file without a listener. Return 0 or a negative errno. */
static int net_unix_clear(const struct sockaddr_un *at)
{
    struct stat st;
    int err;
    if (lstat(at->sun_path, &st) != 0) { return 0; }
    if (!S_ISSOCK(st.st_mode)) { return -EEXIST; }
    const int fd = base_net_socket(AF_UNIX);
    if (fd < 0) { return fd; }
    NET_CALL("connect", err, connect(fd, (const struct sockaddr *)at, sizeof *at));
    base_fd_close(fd);
    if (err != -ECONNREFUSED) { return -EADDRINUSE; }
    (void)unlink(at->sun_path);
    return 0;
}

CELLAR_PRIVATE int base_net_unix(const char *path, int backlog, base_net_file *file)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    struct stat st;
    if (strlen(path) >= sizeof at.sun_path) { return -ENAMETOOLONG; }
    if (!net_folder_safe(path)) { return -EPERM; }
    memcpy(at.sun_path, path, strlen(path));
    int err = net_unix_clear(&at);
    if (err < 0) { return err; }
    const int fd = base_net_socket(AF_UNIX);
    if (fd < 0) { return fd; }
    err = base_net_listen(fd, (const struct sockaddr *)&at, sizeof at, backlog);
    if (err < 0) {
        if (err != -EADDRINUSE) { (void)unlink(path); }
        base_fd_close(fd);
        return err;
    }
    if (lstat(path, &st) == 0) { *file = (base_net_file){ st.st_ino, st.st_dev }; }
    return fd;
}

CELLAR_PRIVATE void base_net_unix_path(const char *path, char *to, size_t cap)
{
    size_t at = 0;
    if (*path != '/' && getcwd(to, cap) != NULL && *to == '/' &&
        strlen(to) + strlen(path) + 2 <= cap) {
        at = strlen(to);
        to[at++] = '/';
    }
    memcpy(to + at, path, strlen(path) + 1);
}

CELLAR_PRIVATE int base_net_unix_look(const char *path, const base_net_file *file)
{
    struct stat st;
    if (lstat(path, &st) != 0 || !S_ISSOCK(st.st_mode)) { return -ENOENT; }
    return st.st_ino == file->inode && st.st_dev == file->device ? 0 : -EEXIST;
}

CELLAR_PRIVATE void base_net_unix_remove(const char *path, const base_net_file *file)
{
    if (file->inode != 0 && base_net_unix_look(path, file) == 0) { (void)unlink(path); }
}

CELLAR_PRIVATE int base_net_local_port(int fd, uint32_t *port)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } at;
    socklen_t len = sizeof at;
    int err;
    NET_CALL("getsockname", err, getsockname(fd, &at.any, &len));
    if (err >= 0) { *port = ntohs(at.any.sa_family == AF_INET ? at.v4.sin_port : at.v6.sin6_port); }
    return err;
}

CELLAR_PRIVATE void base_net_no_delay(int fd)
{
    const int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

CELLAR_PRIVATE void base_net_end(int fd) { (void)shutdown(fd, SHUT_WR); }

CELLAR_PRIVATE void base_net_close(int fd)
{
    (void)shutdown(fd, SHUT_RDWR);
    base_fd_close(fd);
}

CELLAR_PRIVATE int base_net_epoll(void)
{
    int fd;
    NET_CALL("epoll_create", fd, epoll_create1(EPOLL_CLOEXEC));
    return fd;
}

CELLAR_PRIVATE int base_net_bell(void)
{
    int fd;
    NET_CALL("eventfd", fd, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    return fd;
}

BASE_SIZE_END

CELLAR_PRIVATE ssize_t base_net_recv(int fd, void *buf, size_t n)
{
    ssize_t got;
    NET_CALL("recv", got, recv(fd, buf, n, 0));
    return got;
}

CELLAR_PRIVATE ssize_t base_net_send(int fd, const struct iovec *part, uint16_t count)
{
    const struct msghdr message = { .msg_iov = (struct iovec *)(uintptr_t)part,
                                    .msg_iovlen = count };
    ssize_t put;
    if (count == 1) { /* the usual reply: no message header to copy */
        NET_CALL("send", put, send(fd, part->iov_base, part->iov_len, MSG_NOSIGNAL));
    } else {
        NET_CALL("send", put, sendmsg(fd, &message, MSG_NOSIGNAL));
    }
    return put;
}

CELLAR_PRIVATE int base_net_watch(int epoll, int how, int fd, uint32_t events, void *data)
{
    struct epoll_event event = { .events = events, .data = { .ptr = data } };
    int err;
    NET_CALL("epoll_ctl", err, epoll_ctl(epoll, how, fd, &event));
    return err;
}

CELLAR_PRIVATE int base_net_wait(int epoll, struct epoll_event *out, int most, int timeout_ms)
{
    const int cancel = base_cancel_off();
    const int fault = base_fault_io("epoll_wait");
    int n = fault > 0 ? -1 : epoll_wait(epoll, out, most, timeout_ms);
    if (n < 0) { n = fault > 0 ? -fault : errno == EINTR ? 0 : -errno; }
    base_cancel_set(cancel);
    return n;
}

CELLAR_PRIVATE void base_net_ring(int bell)
{
    const uint64_t one = 1;
    const ssize_t put = write(bell, &one, sizeof one);
    (void)put; /* fails only if the bell is rung already */
}

CELLAR_PRIVATE void base_net_unring(int bell)
{
    uint64_t count;
    const ssize_t got = read(bell, &count, sizeof count);
    (void)got; /* fails only if the bell is not rung */
}
