/* SPDX-License-Identifier: MIT
 *
 * resp_kit: a store with a virtual clock, a port on a unix socket, and a client, all in one thread.
 *
 * USE        resp_kit k; rk_open(&k, true); T_EQ_STR(rk(&k, "SET", "a", "1", NULL), "+OK");
 *            rk_close(&k). rk() sends the words, runs steps of the port, and returns the reply as
 *            text (rc_render), valid until the next call. */
#ifndef CELLAR_TESTS_RESP_KIT_H
#define CELLAR_TESTS_RESP_KIT_H

#include <stdarg.h>

#include "tests/support/api_kit.h"
#include "tests/support/folder.h"
#include "tests/support/resp_client.h"

#include "cellar_resp.h"

typedef struct resp_kit {
    cellar *store, *db; /* db: the namespace of database 0 */
    cellar_resp *port;
    resp_client_kit client;
    char folder[T_FOLDER_MAX], path[T_FOLDER_MAX + 8], text[65536];
} resp_kit;

/* Open a port on a store, and connect. */
T_INLINE void rk_open_on(resp_kit *k, cellar *store, const cellar_resp_opts *given)
{
    cellar_resp_opts o = *given;
    k->store = store;
    t_folder(k->folder);
    snprintf(k->path, sizeof k->path, "%s/port", k->folder);
    o.unix_path = k->path;
    T_REQUIRE(cellar_resp_open(store, &o, &k->port) == CELLAR_OK);
    T_REQUIRE(rc_connect(&k->client, k->path));
    T_REQUIRE(cellar_namespace_open(store, "db0", NULL, &k->db) == CELLAR_OK);
}

T_INLINE void rk_open(resp_kit *k, bool writable)
{
    cellar_resp_opts o = cellar_resp_opts_default();
    o.writable = writable;
    o.danger = writable;
    rk_open_on(k, api_open(8 << 20), &o);
}

T_INLINE void rk_close_port(resp_kit *k)
{
    rc_close(&k->client);
    cellar_resp_close(k->port);
    T_EQ_I64(cellar_close(k->db), CELLAR_OK);
    (void)unlink(k->path);
    t_wipe(k->folder);
}

T_INLINE void rk_close(resp_kit *k)
{
    rk_close_port(k);
    api_shut(k->store);
}

T_INLINE void rk_step(resp_kit *k)
{
    const cellar_err err = cellar_resp_step(k->port, 0);
    T_REQUIRE(err == CELLAR_OK || err == CELLAR_PENDING);
}

/* Send what is queued; the port reads meanwhile. */
T_INLINE void rk_flush(resp_kit *k)
{
    resp_client_kit *c = &k->client;
    for (size_t at = 0; at < c->queued; rk_step(k)) {
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
        rk_step(k);
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
