/* SPDX-License-Identifier: MIT
 *
 * listen: a unix socket, and TCP on one address or on both loopback addresses.
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

static cellar_err resp_listen_fail(cellar_err code, int sys_errno, const char *why)
{
    return base_open_fail(code, sys_errno, "cellar_resp_open: %s", why);
}

/* ---- unix ---- */

static cellar_err resp_listen_unix(cellar_resp *r, const char *path)
{
    const int fd = base_net_unix(path, RESP_BACKLOG, &r->unix_file);
    switch (fd) {
    case -ENAMETOOLONG:
        return resp_listen_fail(CELLAR_E_INVAL, 0, "unix_path must have 1 to 107 bytes");
    case -EPERM:
        return resp_listen_fail(CELLAR_E_DENIED, 0, "the folder of unix_path must be writable by "
                                "its user alone");
    case -EEXIST:
        return resp_listen_fail(CELLAR_E_INVAL, 0, "unix_path is a file that is no socket");
    case -EADDRINUSE:
        return resp_listen_fail(CELLAR_E_BUSY, 0, "another process listens on unix_path");
    default: break;
    }
    if (fd < 0) { return resp_listen_fail(CELLAR_E_IO, -fd, "cannot bind unix_path"); }
    memcpy(r->unix_path, path, strlen(path));
    r->listener[0] = fd;
    return CELLAR_OK;
}

/* ---- TCP ---- */

typedef union resp_tcp {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
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

/* Bind one address into listener[place]. Return 0 or an errno. */
static int resp_listen_tcp(cellar_resp *r, int place, const char *address, uint32_t port)
{
    resp_tcp at;
    const socklen_t len = resp_tcp_address(address, port, &at);
    const int fd = base_net_socket(at.any.sa_family);
    if (fd < 0) { return -fd; }
    int err = base_net_listen(fd, &at.any, len, RESP_BACKLOG);
    if (err >= 0) { err = base_net_local_port(fd, &r->port); }
    if (err < 0) {
        base_fd_close(fd);
        return -err;
    }
    r->listener[place] = fd;
    return 0;
}

/* Return whether the machine lacks the family of an address. */
static bool resp_no_family(int err)
{
    return err == EAFNOSUPPORT || err == EADDRNOTAVAIL || err == EPROTONOSUPPORT;
}

static cellar_err resp_listen_both(cellar_resp *r, const cellar_resp_opts *o)
{
    static const char *const loopback[] = { "127.0.0.1", "::1" };
    const bool any = o->port == CELLAR_RESP_PORT_ANY;
    uint32_t port = any ? 0 : o->port;
    const int both = o->listen == NULL ? 2 : 1;
    int failed = 0, bound = 0;
    for (int i = 0; i < both; i++) {
        const char *address = o->listen != NULL ? o->listen : loopback[i];
        const int err = resp_listen_tcp(r, 1 + i, address, port);
        if (err == 0) {
            port = r->port;
            bound++;
        } else if (both == 2 && (resp_no_family(err) || (any && bound > 0))) {
            base_log(&r->log, BASE_LOG_WARNING, "resp", (int)CELLAR_E_IO,
                     "no socket on %s: %s", address, base_errno_text(err));
            failed = err;
        } else {
            return resp_listen_fail(err == EADDRINUSE ? CELLAR_E_BUSY : CELLAR_E_IO, err,
                                    err == EADDRINUSE ? "port is in use" : "cannot bind port");
        }
    }
    return bound > 0 ? CELLAR_OK : resp_listen_fail(CELLAR_E_IO, failed, "cannot bind port");
}

CELLAR_PRIVATE cellar_err resp_listen(cellar_resp *r, const cellar_resp_opts *o)
{
    cellar_err err = CELLAR_OK;
    if (o->unix_path != NULL) { err = resp_listen_unix(r, o->unix_path); }
    if (err == CELLAR_OK && o->port != 0) { err = resp_listen_both(r, o); }
    return err;
}

CELLAR_PRIVATE void resp_listen_close(cellar_resp *r)
{
    for (int i = 0; i < RESP_LISTENERS; i++) {
        if (r->listener[i] >= 0) { base_fd_close(r->listener[i]); }
        r->listener[i] = -1;
    }
    base_net_unix_remove(r->unix_path, &r->unix_file);
}

BASE_SIZE_END
