/* SPDX-License-Identifier: MIT
 *
 * port_kit: a RESP port on a socket file, driven by steps of the test, on a clock that the test
 * turns. No thread, no sleep: what a client sends is there when send() returns.
 *
 * PICTURE    port_begin -> peer() -> ask(fd, "PING\r\n") == "+PONG\r\n" -> port_end */
#ifndef CELLAR_TESTS_PORT_KIT_H
#define CELLAR_TESTS_PORT_KIT_H

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/support/folder.h"
#include "tests/support/t.h"

#include "cellar_resp.h"

#define PORT_START_MS 1000000
#define PORT_PASSWORD "sixteen bytes or more"

static int64_t port_now_ms;
static cellar *port_store;
static cellar_resp *port;
static char port_folder[T_FOLDER_MAX], port_path[T_FOLDER_MAX + 8];
static char port_heard[1 << 22]; /* what the last ask() heard, terminated */
static size_t port_heard_len;

T_INLINE int64_t port_clock(void *ctx)
{
    (void)ctx;
    return port_now_ms;
}

T_INLINE void port_store_open(void)
{
    cellar_config cfg = cellar_config_default();
    cellar_host_opts host = cellar_host_opts_default();
    port_now_ms = PORT_START_MS;
    host.clock = port_clock;
    host.no_threads = 1;
    cfg.host = &host;
    cfg.memory_bytes = 16u << 20;
    T_REQUIRE(cellar_open(&cfg, &port_store) == CELLAR_OK);
}

/* Return options on the clock of the test and a socket file in a new folder. `host` lives as long
 * as the options. */
T_INLINE cellar_resp_opts port_opts(cellar_host_opts *host)
{
    cellar_resp_opts o = cellar_resp_opts_default();
    t_folder(port_folder);
    (void)snprintf(port_path, sizeof port_path, "%s/port", port_folder);
    *host = cellar_host_opts_default();
    host->clock = port_clock;
    o.host = host;
    o.unix_path = port_path;
    o.writable = 1;
    return o;
}

T_INLINE void port_begin_with(void (*change)(cellar_resp_opts *o))
{
    cellar_host_opts host;
    port_store_open();
    cellar_resp_opts o = port_opts(&host);
    if (change != NULL) { change(&o); }
    T_REQUIRE(cellar_resp_open(port_store, &o, &port) == CELLAR_OK);
}

T_INLINE void port_begin(void) { port_begin_with(NULL); }

T_INLINE void port_end(void)
{
    cellar_resp_close(port);
    T_EQ_I64(rmdir(port_folder), 0); /* the socket file is gone */
    T_EQ_I64(cellar_close(port_store), CELLAR_OK);
}

/* Step until nothing is left to do. */
T_INLINE void port_run(void)
{
    uint64_t before = 0;
    for (int quiet = 0; quiet < 3;) {
        const cellar_err err = cellar_resp_step(port, 0);
        T_REQUIRE(err == CELLAR_OK || err == CELLAR_PENDING);
        cellar_resp_stats s = cellar_resp_stats_default();
        T_REQUIRE(cellar_resp_stats_get(port, &s) == CELLAR_OK);
        const uint64_t moved = s.bytes_in + s.bytes_out + s.connections * 1000003 + s.clients;
        quiet = err == CELLAR_OK && moved == before ? quiet + 1 : 0;
        before = moved;
    }
}

/* Connect. The port has not accepted yet. */
T_INLINE int peer_connect(void)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    memcpy(at.sun_path, port_path, strlen(port_path));
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    T_REQUIRE(fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof at) == 0);
    T_REQUIRE(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    return fd;
}

T_INLINE int peer(void)
{
    const int fd = peer_connect();
    port_run();
    return fd;
}

/* Send, with steps between while the socket is full. False: the connection is closed. */
T_INLINE bool tell(int fd, const void *bytes, size_t len)
{
    const char *p = bytes;
    while (len > 0) {
        const ssize_t put = send(fd, p, len, MSG_NOSIGNAL);
        if (put < 0 && errno != EAGAIN) { return false; }
        if (put > 0) {
            p += put;
            len -= (size_t)put;
        } else {
            (void)cellar_resp_step(port, 0);
        }
    }
    return true;
}

T_INLINE bool tell_text(int fd, const char *text) { return tell(fd, text, strlen(text)); }

/* Read all bytes that have come. Return them, terminated; *closed: the port has closed the connection. */
T_INLINE const char *hear(int fd, bool *closed)
{
    ssize_t got;
    *closed = false;
    port_heard_len = 0;
    while ((got = recv(fd, port_heard + port_heard_len, sizeof port_heard - 1 - port_heard_len,
                       0)) != 0) {
        if (got < 0) {
            *closed = errno != EAGAIN;
            break;
        }
        port_heard_len += (size_t)got;
        T_REQUIRE(port_heard_len < sizeof port_heard - 1);
        port_run();
    }
    if (got == 0) { *closed = true; }
    port_heard[port_heard_len] = '\0';
    return port_heard;
}

T_INLINE const char *ask_bytes(int fd, const void *bytes, size_t len)
{
    bool closed;
    (void)tell(fd, bytes, len);
    port_run();
    return hear(fd, &closed);
}

/* Send a text and return the replies. */
T_INLINE const char *ask(int fd, const char *text) { return ask_bytes(fd, text, strlen(text)); }

T_INLINE bool is_closed(int fd)
{
    bool closed;
    port_run();
    (void)hear(fd, &closed);
    return closed;
}

T_INLINE cellar_resp_stats port_stats(void)
{
    cellar_resp_stats s = cellar_resp_stats_default();
    T_EQ_I64(cellar_resp_stats_get(port, &s), CELLAR_OK);
    return s;
}

T_INLINE void port_pass(int64_t ms)
{
    port_now_ms += ms;
    port_run();
}

#endif
