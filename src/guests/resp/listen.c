/* SPDX-License-Identifier: MIT
 *
 * listen: a unix socket, and TCP on one address or on both loopback addresses; or copies of sockets
 * that the program was given.
 *
 * LIMITS     A machine without one of the two families serves the other. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "base/fd.h"
#include "base/net.h"
#include "base/open_error.h"
#include "base/text.h"
#include "resp/listen.h"

BASE_SIZE_BEGIN

#define RESP_BACKLOG 511

static cellar_err resp_listen_fail(cellar_err code, int sys_errno, const char *before,
                                   const char *option, const char *after)
{
    return base_open_fail(code, sys_errno, "cellar_resp_open: %s%s%s", before, option, after);
}

/* ---- the option ---- */

CELLAR_PRIVATE bool resp_place_read(const char *text, const char *name, resp_place *out)
{
    uint32_t port = 0;
    *out = (resp_place){ .unix_name = name, .tcp_name = name };
    if (strchr(text, '/') != NULL) {
        out->unix_path = text;
        return true;
    }
    const char *colon = strrchr(text, ':'), *digit = colon != NULL ? colon + 1 : text;
    const size_t digits = strspn(digit, "0123456789");
    if (digits == 0 || digits > 5 || digit[digits] != '\0') { return false; }
    for (size_t i = 0; i < digits; i++) { port = port * 10 + (uint32_t)(digit[i] - '0'); }
    out->port = port == 0 ? CELLAR_RESP_PORT_ANY : port;
    if (colon != NULL) {
        const bool v6 = *text == '[' && colon > text + 1 && colon[-1] == ']';
        const char *from = text + v6, *end = colon - v6;
        bool valid;
        if ((size_t)(end - from) >= sizeof out->address) { return false; }
        memcpy(out->address, from, (size_t)(end - from));
        (void)resp_is_public(out->address, &valid);
        if (!valid || (strchr(out->address, ':') != NULL) != v6) { return false; }
        out->listen = out->address;
    }
    return port <= 65535;
}

/* ---- unix ---- */

static cellar_err resp_listen_unix(cellar_resp *r, int number, const resp_place *at)
{
    const int fd = base_net_unix(at->unix_path, RESP_BACKLOG, &r->unix_file[number]);
    const char *name = at->unix_name;
    switch (fd) {
    case -ENAMETOOLONG:
        return resp_listen_fail(CELLAR_E_INVAL, 0, "", name, " must have 1 to 107 bytes");
    case -EPERM:
        return resp_listen_fail(CELLAR_E_DENIED, 0, "the folder of ", name, " must be writable by "
                                "its user alone");
    case -EEXIST:
        return resp_listen_fail(CELLAR_E_INVAL, 0, "", name, " is a file that is no socket");
    case -EADDRINUSE:
        return resp_listen_fail(CELLAR_E_BUSY, 0, "another process listens on ", name, "");
    default: break;
    }
    if (fd < 0) { return resp_listen_fail(CELLAR_E_IO, -fd, "cannot bind ", name, ""); }
    const int shared = at->has_group ? base_net_unix_share(at->unix_path, r->unix_group) : 0;
    base_net_unix_path(at->unix_path, r->unix_path[number], sizeof r->unix_path[number]);
    r->listener[number * RESP_SOCKETS] = fd;
    return shared >= 0 ? CELLAR_OK
                       : resp_listen_fail(CELLAR_E_DENIED, -shared, "the user of this process "
                                          "cannot give ", name, " to unix_group");
}

/* ---- TCP ---- */

typedef union resp_tcp {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_storage room;
} resp_tcp;

/* Read a numeric address. 0: it is none. */
static socklen_t resp_tcp_address(const char *text, uint32_t port, resp_tcp *at)
{
    memset(at, 0, sizeof *at);
    if (inet_pton(AF_INET, text, &at->v4.sin_addr) == 1) {
        at->v4.sin_family = AF_INET;
        at->v4.sin_port = htons((uint16_t)port);
        return sizeof at->v4;
    }
    if (inet_pton(AF_INET6, text, &at->v6.sin6_addr) == 1) {
        at->v6.sin6_family = AF_INET6;
        at->v6.sin6_port = htons((uint16_t)port);
        return sizeof at->v6;
    }
    return 0;
}

CELLAR_PRIVATE bool resp_is_public(const char *address, bool *valid)
{
    resp_tcp at;
    *valid = resp_tcp_address(address, 0, &at) != 0;
    if (!*valid) { return false; }
    if (at.any.sa_family == AF_INET) { return ntohl(at.v4.sin_addr.s_addr) >> 24 != 127; }
    return !IN6_IS_ADDR_LOOPBACK(&at.v6.sin6_addr);
}

/* Bind one address into `listener`, and tell its port. Return 0 or an errno. */
static int resp_listen_tcp(int *listener, const char *address, uint32_t port, uint32_t *bound)
{
    resp_tcp at;
    const socklen_t len = resp_tcp_address(address, port, &at);
    const int fd = base_net_socket(at.any.sa_family);
    if (fd < 0) { return -fd; }
    int err = base_net_listen(fd, &at.any, len, RESP_BACKLOG);
    if (err >= 0) { err = base_net_local_port(fd, bound); }
    if (err < 0) {
        base_fd_close(fd);
        return -err;
    }
    *listener = fd;
    return 0;
}

/* Return whether the machine lacks the family of an address. */
static bool resp_no_family(int err)
{
    return err == EAFNOSUPPORT || err == EADDRNOTAVAIL || err == EPROTONOSUPPORT;
}

static cellar_err resp_listen_both(cellar_resp *r, int number, const resp_place *o)
{
    static const char *const loopback[] = { "127.0.0.1", "::1" };
    const bool any = o->port == CELLAR_RESP_PORT_ANY;
    uint32_t port = any ? 0 : o->port;
    const int both = o->listen == NULL ? 2 : 1;
    int *listener = &r->listener[number * RESP_SOCKETS + 1];
    int failed = 0, bound = 0;
    for (int i = 0; i < both; i++) {
        const char *address = o->listen != NULL ? o->listen : loopback[i];
        const int err = resp_listen_tcp(&listener[i], address, port, &r->port[number]);
        if (err == 0) {
            port = r->port[number];
            bound++;
        } else if (both == 2 && (resp_no_family(err) || (any && bound > 0))) {
            base_log(&r->obj.log, BASE_LOG_WARNING, "resp", (int)CELLAR_E_IO,
                     "no socket on %s: %s", address, base_errno_text(err));
            failed = err;
        } else {
            return err == EADDRINUSE
                ? resp_listen_fail(CELLAR_E_BUSY, err, "", o->tcp_name, " is in use")
                : resp_listen_fail(CELLAR_E_IO, err, "cannot bind ", o->tcp_name, "");
        }
    }
    return bound > 0 ? CELLAR_OK
                     : resp_listen_fail(CELLAR_E_IO, failed, "cannot bind ", o->tcp_name, "");
}

CELLAR_PRIVATE cellar_err resp_listen(cellar_resp *r, int number, const resp_place *at)
{
    cellar_err err = CELLAR_OK;
    if (at->unix_path != NULL) { err = resp_listen_unix(r, number, at); }
    if (err == CELLAR_OK && at->port != 0) { err = resp_listen_both(r, number, at); }
    return err;
}

CELLAR_PRIVATE cellar_err resp_listen_take(cellar_resp *r, int fd, char address[64])
{
    resp_tcp at;
    const int copy = base_net_inherit(fd, &at.room, r->unix_path[0], &r->unix_file[0]);
    const int family = at.any.sa_family;
    const int number = family == AF_UNIX ? 0 : family == AF_INET ? 1 : family == AF_INET6 ? 2 : -1;
    const bool second = number >= 0 && r->listener[number] >= 0;
    address[0] = '\0';
    if (copy >= 0 && (number < 0 || second)) { base_fd_close(copy); }
    if (number < 0) {
        return resp_listen_fail(CELLAR_E_INVAL, copy < 0 ? -copy : 0, "a descriptor of ",
                                "listen_fds", " does not listen for streams of TCP or unix");
    }
    if (second) {
        return resp_listen_fail(CELLAR_E_INVAL, 0, "", "listen_fds", " has two sockets of one "
                                "family: give one of IPv4, of IPv6 and of unix at most");
    }
    if (copy < 0) { return resp_listen_fail(CELLAR_E_IO, -copy, "cannot copy ", "listen_fds", ""); }
    r->listener[number] = copy;
    if (family != AF_UNIX) {
        (void)inet_ntop(family, family == AF_INET ? (const void *)&at.v4.sin_addr
                                                  : &at.v6.sin6_addr, address, 64);
        r->port[0] = ntohs(at.v4.sin_port); /* the port of IPv6 has the same offset */
    }
    return CELLAR_OK;
}

CELLAR_PRIVATE void resp_listen_close(cellar_resp *r, int number)
{
    int *listener = &r->listener[number * RESP_SOCKETS];
    for (int i = 0; i < RESP_SOCKETS; i++) {
        if (listener[i] >= 0) {
            /* epoll forgets a socket with its last copy, and another process may have one */
            (void)base_net_watch(r->epoll, EPOLL_CTL_DEL, listener[i], 0, NULL);
            base_fd_close(listener[i]);
        }
        listener[i] = -1;
    }
    if (number != 0 || !r->inherits) {
        base_net_unix_remove(r->unix_path[number], &r->unix_file[number]);
    }
    r->unix_file[number].inode = 0;
}

BASE_SIZE_END
