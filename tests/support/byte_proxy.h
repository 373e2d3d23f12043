/* SPDX-License-Identifier: MIT
 *
 * byte_proxy: stands between a client and a server of a test and delays, cuts or freezes bytes.
 *
 * PICTURE    client -> proxy.path -> line: one thread for each direction -> unix socket of the server
 * USE        byte_proxy p;
 *            byte_proxy_open(&p, e.dir, e.socket);      the client connects to p.path
 *            atomic_store(&p.line[0].way[0].frozen, true);
 *            byte_proxy_close(&p);
 * LINES      line[i] is the connection i in the order of arrival. way[0] goes to the server, way[1]
 *            to the client. A new line starts with the settings of p.fresh. */
#ifndef CELLAR_TESTS_BYTE_PROXY_H
#define CELLAR_TESTS_BYTE_PROXY_H

#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "tests/support/folder.h"

enum { BYTE_PROXY_LINES = 256 };

typedef struct byte_proxy_way {
    _Atomic int delay_ms;   /* before each piece of bytes goes on */
    _Atomic bool frozen;    /* bytes wait */
    _Atomic int64_t left;   /* the line is cut after so many bytes; below 0: never */
    _Atomic uint64_t passed;
    int from, to;
    struct byte_proxy *proxy;
    pthread_t thread;
} byte_proxy_way;

typedef struct byte_proxy_line { byte_proxy_way way[2]; } byte_proxy_line;

typedef struct byte_proxy {
    char path[T_FOLDER_MAX + 16];
    const char *server;     /* path of its socket */
    int listen_fd;
    pthread_t thread;
    _Atomic bool ends;
    _Atomic uint32_t lines;
    byte_proxy_line fresh;
    byte_proxy_line line[BYTE_PROXY_LINES];
} byte_proxy;

T_INLINE void byte_proxy_wait_ms(int ms)
{
    const struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };
    nanosleep(&t, NULL);
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
        while (atomic_load(&w->frozen) && !atomic_load(&w->proxy->ends)) { byte_proxy_wait_ms(1); }
        const int64_t left = atomic_load(&w->left);
        const bool cut = left >= 0 && n >= left;
        if (cut) { n = (ssize_t)left; }
        if (n > 0 && send(w->to, piece, (size_t)n, MSG_NOSIGNAL) != n) { break; }
        atomic_fetch_add(&w->passed, (uint64_t)n);
        if (left >= 0) { atomic_store(&w->left, left - n); }
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

T_INLINE void byte_proxy_join(byte_proxy *p, int client)
{
    const struct sockaddr_un at = byte_proxy_at(p->server);
    const int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const uint32_t i = atomic_load(&p->lines);
    T_REQUIRE(server >= 0);
    if (i == BYTE_PROXY_LINES || connect(server, (const struct sockaddr *)&at, sizeof at) != 0) {
        close(server);
        close(client);
        return;
    }
    for (int k = 0; k < 2; k++) {
        byte_proxy_way *w = &p->line[i].way[k], *fresh = &p->fresh.way[k];
        atomic_store(&w->delay_ms, atomic_load(&fresh->delay_ms));
        atomic_store(&w->frozen, atomic_load(&fresh->frozen));
        atomic_store(&w->left, atomic_load(&fresh->left));
        w->from = k == 0 ? client : server;
        w->to = k == 0 ? server : client;
        w->proxy = p;
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

/* Listen at `dir`/p.sock for clients of `server`, the path of a unix socket. */
T_INLINE void byte_proxy_open(byte_proxy *p, const char *dir, const char *server)
{
    memset(p, 0, sizeof *p);
    p->server = server;
    for (int k = 0; k < 2; k++) { atomic_store(&p->fresh.way[k].left, -1); }
    snprintf(p->path, sizeof p->path, "%s/p.sock", dir);
    const struct sockaddr_un at = byte_proxy_at(p->path);
    p->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    T_REQUIRE(bind(p->listen_fd, (const struct sockaddr *)&at, sizeof at) == 0);
    T_REQUIRE(listen(p->listen_fd, 64) == 0);
    T_REQUIRE(pthread_create(&p->thread, NULL, byte_proxy_main, p) == 0);
}

T_INLINE void byte_proxy_close(byte_proxy *p)
{
    atomic_store(&p->ends, true);
    pthread_join(p->thread, NULL);
    for (uint32_t i = 0; i < atomic_load(&p->lines); i++) {
        for (int k = 0; k < 2; k++) { pthread_join(p->line[i].way[k].thread, NULL); }
        close(p->line[i].way[0].from);
        close(p->line[i].way[0].to);
    }
    close(p->listen_fd);
    T_EQ_I64(unlink(p->path), 0);
}

#endif
