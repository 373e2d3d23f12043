/* SPDX-License-Identifier: MIT
 *
 * resp_client: a client of the RESP port or of redis-server for tests: sends words, reads replies
 * as text.
 *
 * PICTURE    words -> *n $len .. -> socket -> bytes of one reply -> "1) a 2) (nil)" as text
 * LIMITS     Replies of 4 MiB, requests of 8 MiB. A peer that does not answer within 20 s fails the test. */
#ifndef CELLAR_TESTS_RESP_CLIENT_H
#define CELLAR_TESTS_RESP_CLIENT_H

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/support/t.h"

typedef struct resp_client_kit {
    int fd;
    size_t have, taken; /* bytes in `in`; bytes of replies already returned */
    size_t cap;
    char *in;
    size_t queued, queue_cap; /* bytes not yet sent */
    char *queue;
} resp_client_kit;

T_INLINE void rc_on(resp_client_kit *c, int fd)
{
    *c = (resp_client_kit){ .fd = fd, .cap = (size_t)4 << 20, .queue_cap = (size_t)8 << 20 };
    c->in = malloc(c->cap);
    c->queue = malloc(c->queue_cap);
    T_REQUIRE(c->in != NULL && c->queue != NULL);
}

/* Connect to a unix socket. Return false while nothing listens there. */
T_INLINE bool rc_connect(resp_client_kit *c, const char *path)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    T_REQUIRE(strlen(path) < sizeof at.sun_path);
    memcpy(at.sun_path, path, strlen(path) + 1);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    T_REQUIRE(fd >= 0);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) != 0) {
        close(fd);
        return false;
    }
    rc_on(c, fd);
    return true;
}

T_INLINE void rc_close(resp_client_kit *c)
{
    close(c->fd);
    free(c->in);
    free(c->queue);
}

T_INLINE void rc_queue(resp_client_kit *c, const void *bytes, size_t len)
{
    T_REQUIRE(len <= c->queue_cap - c->queued);
    memcpy(c->queue + c->queued, bytes, len);
    c->queued += len;
}

typedef struct rc_word {
    const char *text;
    size_t len;
} rc_word;

T_INLINE void rc_queue_words(resp_client_kit *c, const rc_word *w, size_t count)
{
    char head[32];
    rc_queue(c, head, (size_t)snprintf(head, sizeof head, "*%zu\r\n", count));
    for (size_t i = 0; i < count; i++) {
        rc_queue(c, head, (size_t)snprintf(head, sizeof head, "$%zu\r\n", w[i].len));
        rc_queue(c, w[i].text, w[i].len);
        rc_queue(c, "\r\n", 2);
    }
}

T_INLINE void rc_flush(resp_client_kit *c)
{
    for (size_t at = 0; at < c->queued;) {
        const ssize_t n = send(c->fd, c->queue + at, c->queued - at, MSG_NOSIGNAL);
        T_REQUIRE(n > 0);
        at += (size_t)n;
    }
    c->queued = 0;
}

/* Return the length of the reply at p; 0: not complete. */
T_INLINE size_t rc_length(const char *p, size_t have)
{
    size_t open = 1, at = 0; /* replies that are still to come */
    while (open > 0) {
        const char *end = at < have ? memchr(p + at, '\n', have - at) : NULL;
        if (end == NULL) { return 0; }
        const long long n = strtoll(p + at + 1, NULL, 10);
        const char kind = p[at];
        at = (size_t)(end - p) + 1;
        open--;
        if (kind == '*' || kind == '~' || kind == '>') { open += n > 0 ? (size_t)n : 0u; }
        if (kind == '%') { open += n > 0 ? 2 * (size_t)n : 0u; }
        if ((kind == '$' || kind == '=') && n >= 0) { at += (size_t)n + 2; }
        if (at > have) { return 0; }
    }
    return at;
}

/* Wait for one reply. Return its bytes, valid until the next call, and their number; 0: the peer
 * closed the connection. */
T_INLINE const char *rc_reply(resp_client_kit *c, size_t *len)
{
    memmove(c->in, c->in + c->taken, c->have - c->taken);
    c->have -= c->taken;
    c->taken = 0;
    for (;;) {
        c->taken = *len = rc_length(c->in, c->have);
        if (c->taken != 0) { return c->in; }
        struct pollfd p = { .fd = c->fd, .events = POLLIN };
        T_REQUIRE(poll(&p, 1, 20000 * (int)t_patience()) == 1);
        T_REQUIRE(c->have < c->cap);
        const ssize_t n = recv(c->fd, c->in + c->have, c->cap - c->have, 0);
        if (n <= 0) { return c->in; }
        c->have += (size_t)n;
    }
}

/* ---- Replies as text ------------------------------------------------------------------------- */

typedef struct rc_text {
    char *out;
    size_t len, cap;
} rc_text;

T_INLINE void rc_say(rc_text *t, const char *p, size_t len)
{
    for (size_t i = 0; i < len && t->len + 5 < t->cap; i++) {
        const bool plain = p[i] >= ' ' && p[i] <= '~';
        t->len += (size_t)snprintf(t->out + t->len, t->cap - t->len, plain ? "%c" : "\\x%02x",
                                   (unsigned char)p[i]);
    }
}

/* Append one reply: bulk as it is, nil, :1, +OK, -ERR .., [a b], {a b}. Return its bytes. */
T_INLINE size_t rc_render(rc_text *t, const char *p)
{
    const char *end = strstr(p, "\r\n");
    T_REQUIRE(end != NULL);
    size_t at = (size_t)(end - p) + 2;
    const long long n = strtoll(p + 1, NULL, 10);
    if (p[0] == '$' || p[0] == '=') {
        if (n < 0) {
            rc_say(t, "nil", 3);
            return at;
        }
        rc_say(t, p + at, (size_t)n);
        return at + (size_t)n + 2;
    }
    if (p[0] != '*' && p[0] != '%' && p[0] != '~' && p[0] != '>') {
        if (p[0] == '_') { rc_say(t, "nil", 3); } else { rc_say(t, p, (size_t)(end - p)); }
        return at;
    }
    if (n < 0) { rc_say(t, "nil", 3); }
    rc_say(t, p[0] == '%' ? "{" : "[", 1);
    for (long long i = 0; i < (p[0] == '%' ? 2 * n : n); i++) {
        if (i > 0) { rc_say(t, " ", 1); }
        at += rc_render(t, p + at);
    }
    rc_say(t, p[0] == '%' ? "}" : "]", 1);
    return at;
}

#endif
