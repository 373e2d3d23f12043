/* SPDX-License-Identifier: MIT
 *
 * byte_proxy: stands between a client and a server of a test and delays, cuts or freezes bytes.
 *
 * PICTURE    client -> proxy.path -> line: one thread for each direction -> unix socket of the server
 * USE        byte_proxy p;
 *            byte_proxy_open(&p, e.dir, e.socket);      the client connects to p.path
 *            atomic_store(&p.line[0].way[0].frozen, true);
 *            byte_proxy_close(&p);
 * LINES      line[i % BYTE_PROXY_LINES] is the connection i in the order of arrival; the connection
 *            that had the line before is cut. way[0] goes to the server, way[1] to the client. A
 *            new line starts with the settings of p.fresh.
 * PORT       byte_proxy_open_port listens on 127.0.0.1 instead. While p.last is an address, as
 *            inet_addr returns it, bytes from and to clients with a larger one wait. */
#ifndef CELLAR_TESTS_BYTE_PROXY_H
#define CELLAR_TESTS_BYTE_PROXY_H

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "tests/support/folder.h"
#include "tests/support/left.h"

enum { BYTE_PROXY_LINES = 256 };

typedef struct byte_proxy_way {
    _Atomic int delay_ms;   /* before each piece of bytes goes on */
    _Atomic bool frozen;    /* bytes wait */
    _Atomic int64_t left;   /* the line is cut after so many bytes; below 0: never */
    _Atomic uint64_t passed;
    int from, to;
    struct byte_proxy_line *line;
    struct byte_proxy *proxy;
    pthread_t thread;
} byte_proxy_way;

typedef struct byte_proxy_line {
    byte_proxy_way way[2];
    uint32_t peer;          /* address of the client; 0: a unix socket */
    _Atomic bool cut;
} byte_proxy_line;

typedef struct byte_proxy {
    char path[T_FOLDER_MAX + 16];
    const char *server;     /* path of its socket, or digits: a port of 127.0.0.1 */
    int listen_fd;
    pthread_t thread;
    _Atomic bool ends;
    _Atomic uint32_t last;
    _Atomic uint32_t lines;
    byte_proxy_line fresh;
    byte_proxy_line line[BYTE_PROXY_LINES];
} byte_proxy;

T_INLINE void byte_proxy_wait_ms(int ms)
{
    const struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };
    nanosleep(&t, NULL);
}

/* Return whether bytes of a way must wait now. */
T_INLINE bool byte_proxy_waits(byte_proxy_way *w)
{
    const uint32_t last = atomic_load(&w->proxy->last);
    if (atomic_load(&w->proxy->ends) || atomic_load(&w->line->cut)) { return false; }
    return atomic_load(&w->frozen) || (last != 0 && ntohl(w->line->peer) > ntohl(last));
}

T_INLINE void *byte_proxy_carry(void *arg)
{
    byte_proxy_way *w = arg;
    char piece[16384];
    for (;;) {
        struct pollfd p = { .fd = w->from, .events = POLLIN };
        const int ready = poll(&p, 1, 20);
        if (atomic_load(&w->proxy->ends)) { break; }
        if (ready == 0) { continue; }
        ssize_t n = recv(w->from, piece, sizeof piece, 0);
        if (n <= 0) { break; }
        byte_proxy_wait_ms(atomic_load(&w->delay_ms));
        while (byte_proxy_waits(w)) { byte_proxy_wait_ms(1); }
        if (atomic_load(&w->line->cut)) { break; } /* what it held never arrives */
        int64_t left = atomic_load(&w->left);
        const bool cut = left >= 0 && n >= left;
        if (cut) { n = (ssize_t)left; }
        atomic_fetch_add(&w->passed, (uint64_t)n); /* before a receiver can have them */
        if (n > 0 && send(w->to, piece, (size_t)n, MSG_NOSIGNAL) != n) { break; }
        if (left >= 0) { (void)atomic_compare_exchange_strong(&w->left, &left, left - n); }
        if (cut) { break; }
    }
    shutdown(w->from, SHUT_RDWR);
    shutdown(w->to, SHUT_RDWR);
    return NULL;
}

T_INLINE struct sockaddr_un byte_proxy_at(const char *path)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    T_REQUIRE(strlen(path) < sizeof at.sun_path);
    memcpy(at.sun_path, path, strlen(path) + 1);
    return at;
}

/* Cut a line where it is. */
T_INLINE void byte_proxy_cut(byte_proxy_line *l)
{
    atomic_store(&l->cut, true);
    shutdown(l->way[0].from, SHUT_RDWR);
    shutdown(l->way[0].to, SHUT_RDWR);
}

/* Wait for the threads of a line that is cut, and close its sockets. */
T_INLINE void byte_proxy_end(byte_proxy_line *l)
{
    for (int k = 0; k < 2; k++) { pthread_join(l->way[k].thread, NULL); }
    close(l->way[0].from);
    close(l->way[0].to);
}

/* Return the address of a client; 0: it came to a unix socket. */
T_INLINE uint32_t byte_proxy_peer(int client)
{
    struct sockaddr_in peer = { .sin_family = AF_UNSPEC };
    socklen_t len = sizeof peer;
    const bool known = getpeername(client, (struct sockaddr *)&peer, &len) == 0;
    return known && peer.sin_family == AF_INET ? peer.sin_addr.s_addr : 0;
}

T_INLINE void byte_proxy_join(byte_proxy *p, int client)
{
    const bool tcp = p->server[0] != '/';
    union { struct sockaddr any; struct sockaddr_un path; struct sockaddr_in in; } at = { 0 };
    if (tcp) {
        at.in = (struct sockaddr_in){ .sin_family = AF_INET,
            .sin_port = htons((uint16_t)strtoul(p->server, NULL, 10)),
            .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    } else {
        at.path = byte_proxy_at(p->server);
    }
    const int server = socket(at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const uint32_t i = atomic_load(&p->lines);
    byte_proxy_line *l = &p->line[i % BYTE_PROXY_LINES];
    T_REQUIRE(server >= 0);
    if (connect(server, &at.any, tcp ? sizeof at.in : sizeof at.path) != 0) {
        close(server);
        close(client);
        return;
    }
    if (i >= BYTE_PROXY_LINES) {
        byte_proxy_cut(l);
        byte_proxy_end(l);
    }
    l->peer = byte_proxy_peer(client);
    atomic_store(&l->cut, false);
    for (int k = 0; k < 2; k++) {
        byte_proxy_way *w = &l->way[k], *fresh = &p->fresh.way[k];
        atomic_store(&w->passed, 0);
        atomic_store(&w->delay_ms, atomic_load(&fresh->delay_ms));
        atomic_store(&w->frozen, atomic_load(&fresh->frozen));
        atomic_store(&w->left, atomic_load(&fresh->left));
        w->from = k == 0 ? client : server;
        w->to = k == 0 ? server : client;
        w->proxy = p;
        w->line = l;
        T_REQUIRE(pthread_create(&w->thread, NULL, byte_proxy_carry, w) == 0);
    }
    atomic_store(&p->lines, i + 1);
}

T_INLINE void *byte_proxy_main(void *arg)
{
    byte_proxy *p = arg;
    while (!atomic_load(&p->ends)) {
        struct pollfd ready = { .fd = p->listen_fd, .events = POLLIN };
        if (poll(&ready, 1, 20) == 1) { byte_proxy_join(p, accept(p->listen_fd, NULL, NULL)); }
    }
    return NULL;
}

T_INLINE void byte_proxy_close(byte_proxy *p)
{
    left_drop(p);
    atomic_store(&p->ends, true);
    pthread_join(p->thread, NULL);
    for (uint32_t i = 0; i < atomic_load(&p->lines) && i < BYTE_PROXY_LINES; i++) {
        byte_proxy_end(&p->line[i]);
    }
    close(p->listen_fd);
    if (p->path[0] != '\0') { T_EQ_I64(unlink(p->path), 0); }
}

static void byte_proxy_left(void *p) { byte_proxy_close(p); }

T_INLINE void byte_proxy_begin(byte_proxy *p, const char *server)
{
    memset(p, 0, sizeof *p);
    p->server = server;
    for (int k = 0; k < 2; k++) { atomic_store(&p->fresh.way[k].left, -1); }
}

T_INLINE void byte_proxy_listen(byte_proxy *p, int family, const struct sockaddr *at, socklen_t len)
{
    p->listen_fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    T_REQUIRE(bind(p->listen_fd, at, len) == 0 && listen(p->listen_fd, 64) == 0);
    T_REQUIRE(pthread_create(&p->thread, NULL, byte_proxy_main, p) == 0);
    left_add(p, byte_proxy_left);
}

/* Listen at `dir`/p.sock for clients of `server`, the path of a unix socket. */
T_INLINE void byte_proxy_open(byte_proxy *p, const char *dir, const char *server)
{
    byte_proxy_begin(p, server);
    snprintf(p->path, sizeof p->path, "%s/p.sock", dir);
    const struct sockaddr_un at = byte_proxy_at(p->path);
    byte_proxy_listen(p, AF_UNIX, (const struct sockaddr *)&at, sizeof at);
}

/* Listen on a port of 127.0.0.1 for clients of `server`, the path of a unix socket. */
T_INLINE void byte_proxy_open_port(byte_proxy *p, uint16_t port, const char *server)
{
    const struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port),
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    byte_proxy_begin(p, server);
    byte_proxy_listen(p, AF_INET, (const struct sockaddr *)&at, sizeof at);
}

/* Cut all lines that there are. */
T_INLINE void byte_proxy_cut_all(byte_proxy *p)
{
    for (uint32_t i = 0; i < atomic_load(&p->lines) && i < BYTE_PROXY_LINES; i++) {
        byte_proxy_cut(&p->line[i]);
    }
}

/* Freeze one direction of all lines, of later ones too, or let it go on. */
T_INLINE void byte_proxy_freeze(byte_proxy *p, int way, bool on)
{
    atomic_store(&p->fresh.way[way].frozen, on);
    for (int i = 0; i < BYTE_PROXY_LINES; i++) { atomic_store(&p->line[i].way[way].frozen, on); }
}

#endif
