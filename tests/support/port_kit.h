/* SPDX-License-Identifier: MIT
 *
 * port_kit: a RESP port on a socket file, driven by steps of the test, on a clock that the test
 * turns (api_kit.h). No thread, no sleep: what a client sends is there when send() returns.
 *
 * BYTES      port_begin -> peer() -> ask(fd, "PING\r\n") == "+PONG\r\n"
 * WORDS      static resp_kit k; rk_open(&k, true); T_EQ_STR(rk(&k, "SET", "a", "1", NULL), "+OK").
 *            rk() sends the words, runs steps of the port, and returns the reply as text
 *            (rc_render), valid until the next call.
 * END        Clients, port, `port_db` and store that a case leaves open are closed after it. */
#ifndef CELLAR_TESTS_PORT_KIT_H
#define CELLAR_TESTS_PORT_KIT_H

#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>

#include "tests/support/api_kit.h"
#include "tests/support/folder.h"
#include "tests/support/resp_client.h"

#include "cellar_resp.h"

#define PORT_PASSWORD "sixteen bytes or more"

static cellar *port_store, *port_db; /* port_db: a namespace that is closed before the store */
static cellar_resp *port;
static char port_folder[T_FOLDER_MAX], port_path[T_FOLDER_MAX + 8];
static char port_heard[1 << 22]; /* what the last ask() heard, terminated */
static size_t port_heard_len;

/* The descriptor of a client may be another file by now; the inode tells. */
typedef struct port_peer {
    int fd;
    ino_t ino;
} port_peer;
static port_peer *port_peers; /* since the begin of the case */
static size_t port_peer_count;

T_INLINE void port_store_open(void) { port_store = api_open(16u << 20); }

/* Return options on the clock of the test and a socket file in a new folder. `host` lives as long
 * as the options. */
T_INLINE cellar_resp_config port_opts(cellar_host_config *host)
{
    t_folder(port_folder);
    (void)snprintf(port_path, sizeof port_path, "%s/port", port_folder);
    *host = cellar_host_config_default();
    host->clock = api_clock;
    cellar_resp_config o = { .struct_size = sizeof o, .host = host, .unix_path = port_path,
                             .writable = 1 };
    return o;
}

/* Open a port on `store`, which belongs to the port of the test from now on. */
T_INLINE void port_begin_on(cellar *store, void (*change)(cellar_resp_config *o))
{
    cellar_host_config host;
    port_store = store;
    cellar_resp_config o = port_opts(&host);
    if (change != NULL) { change(&o); }
    T_REQUIRE(cellar_resp_open(port_store, &o, &port) == CELLAR_OK);
}

T_INLINE void port_begin_with(void (*change)(cellar_resp_config *o))
{
    port_begin_on(api_open(16u << 20), change);
}

T_INLINE void port_begin(void) { port_begin_with(NULL); }

T_INLINE void port_close(void)
{
    cellar_resp_close(port);
    port = NULL;
}

T_INLINE void port_end(void)
{
    if (port_db != NULL) { T_EQ_I64(cellar_namespace_close(port_db), CELLAR_OK); }
    port_db = NULL;
    port_close();
    T_EQ_I64(rmdir(port_folder), 0); /* the socket file is gone */
    api_shut(port_store);
    port_store = NULL;
}

T_INLINE void port_step(void)
{
    const cellar_err err = cellar_resp_step(port, 0);
    T_REQUIRE(err == CELLAR_OK || err == CELLAR_PENDING);
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

/* Let the end of the case close this client. */
T_INLINE int peer_ready(int fd)
{
    struct stat st;
    T_REQUIRE(fcntl(fd, F_SETFL, O_NONBLOCK) == 0 && fstat(fd, &st) == 0);
    port_peers = realloc(port_peers, (port_peer_count + 1) * sizeof *port_peers);
    T_REQUIRE(port_peers != NULL);
    port_peers[port_peer_count++] = (port_peer){ fd, st.st_ino };
    return fd;
}

/* Connect. The port has not accepted yet. */
T_INLINE int peer_connect_to(const char *path)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    memcpy(at.sun_path, path, strlen(path));
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    T_REQUIRE(fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof at) == 0);
    return peer_ready(fd);
}

T_INLINE int peer_connect(void) { return peer_connect_to(port_path); }

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

T_INLINE void port_pass(int64_t ms) { atomic_fetch_add(&api_now_ms, ms); port_run(); }

/* ---- Words and texts ------------------------------------------------------------------------- */

typedef struct resp_kit {
    cellar *store, *db; /* store: port_store; db: the namespace of database 0 */
    cellar_resp *port;  /* the port of the test */
    resp_client_kit client;
    char text[65536];
} resp_kit;

static resp_kit *rk_used;

/* Open a port on a store, and connect. */
T_INLINE void rk_open_on(resp_kit *k, cellar *store, void (*change)(cellar_resp_config *o))
{
    port_begin_on(store, change);
    k->store = port_store;
    k->port = port;
    T_REQUIRE(rc_connect(&k->client, port_path));
    T_REQUIRE(cellar_namespace_open(store, "db0", NULL, &k->db) == CELLAR_OK);
    port_db = k->db;
    rk_used = k;
}

T_INLINE void rk_read_only(cellar_resp_config *o) { o->writable = 0; }
T_INLINE void rk_all_allowed(cellar_resp_config *o) { o->danger = 1; }

T_INLINE void rk_open(resp_kit *k, bool writable)
{
    rk_open_on(k, api_open(8 << 20), writable ? rk_all_allowed : rk_read_only);
}

T_INLINE void rk_close(resp_kit *k)
{
    rc_close(&k->client);
    rk_used = NULL;
    port_end();
}

T_INLINE void port_left(void)
{
    struct stat st;
    for (size_t i = 0; i < port_peer_count; i++) {
        const port_peer p = port_peers[i];
        if (fstat(p.fd, &st) == 0 && st.st_ino == p.ino) { close(p.fd); }
    }
    free(port_peers);
    port_peers = NULL;
    port_peer_count = 0;
    if (rk_used != NULL) { rk_close(rk_used); }
    if (port_store != NULL) { port_end(); }
}
T_AFTER_EACH(port_left);

/* Send what is queued; the port reads meanwhile. */
T_INLINE void rk_flush(resp_kit *k)
{
    resp_client_kit *c = &k->client;
    for (size_t at = 0; at < c->queued; port_step()) {
        const ssize_t n = send(c->fd, c->queue + at, c->queued - at, MSG_NOSIGNAL | MSG_DONTWAIT);
        T_REQUIRE(n > 0 || errno == EAGAIN);
        at += n > 0 ? (size_t)n : 0u;
    }
    c->queued = 0;
}

/* Run steps until a reply is complete. */
T_INLINE const char *rk_wait(resp_kit *k)
{
    resp_client_kit *c = &k->client;
    memmove(c->in, c->in + c->taken, c->have - c->taken);
    c->have -= c->taken;
    c->taken = 0;
    for (int i = 0; (c->taken = rc_length(c->in, c->have)) == 0; i++) {
        T_REQUIRE(i < 10000);
        port_step();
        const ssize_t n = recv(c->fd, c->in + c->have, c->cap - c->have - 1, MSG_DONTWAIT);
        if (n == 0) { return "closed"; }
        c->have += n > 0 ? (size_t)n : 0u;
    }
    rc_text t = { k->text, 0, sizeof k->text };
    c->in[c->have] = '\0';
    (void)rc_render(&t, c->in);
    k->text[t.len] = '\0';
    return k->text;
}

T_INLINE const char *rk_words(resp_kit *k, const rc_word *w, size_t count)
{
    rc_queue_words(&k->client, w, count);
    rk_flush(k);
    return rk_wait(k);
}

/* Send texts up to NULL as one request. */
T_INLINE __attribute__((sentinel)) const char *rk(resp_kit *k, ...)
{
    rc_word w[64];
    size_t count = 0;
    va_list list;
    va_start(list, k);
    for (const char *s; (s = va_arg(list, const char *)) != NULL;) {
        T_REQUIRE(count < 64);
        w[count++] = (rc_word){ s, strlen(s) };
    }
    va_end(list);
    return rk_words(k, w, count);
}

/* The same with the words of one text, split at blanks. */
T_INLINE const char *rk_line(resp_kit *k, const char *line)
{
    rc_word w[64];
    size_t count = 0;
    while (*line != '\0') {
        T_REQUIRE(count < 64);
        const size_t len = strcspn(line, " ");
        w[count++] = (rc_word){ line, len };
        line += len + (line[len] == ' ');
    }
    return rk_words(k, w, count);
}

/* Check the replies of a conversation: pairs of a line and its reply. */
T_INLINE void rk_talk(resp_kit *k, const char *const (*talk)[2], size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!T_EQ_STR(rk_line(k, talk[i][0]), talk[i][1])) { printf("# %s\n", talk[i][0]); }
    }
}
#define RK_TALK(k, talk) rk_talk((k), (talk), sizeof(talk) / sizeof((talk)[0]))

#endif
