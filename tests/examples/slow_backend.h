/* SPDX-License-Identifier: MIT
 *
 * slow_backend: a backend that answers after a millisecond, for uv_loop.c.
 *
 * A program has a client of HTTP or of a database here, with a time limit. */
#ifndef SLOW_BACKEND_H
#define SLOW_BACKEND_H

#include <stdio.h>
#include <string.h>
#include <uv.h>

typedef struct slow_backend {
    uv_timer_t timer;
    const char *url;
    void (*on_answer)(void *ctx, const char *page); /* NULL: the backend has failed */
    void *ctx;
} slow_backend;

static inline void slow_backend_on_timer(uv_timer_t *timer)
{
    slow_backend *const b = timer->data;
    b->on_answer(b->ctx, strcmp(b->url, "/off") == 0 ? NULL : "a page");
}

/* Ask for a page. The backend calls on_answer once, later. *b lives until then. */
static inline void slow_backend_ask(slow_backend *b, const char *url,
                                    void (*on_answer)(void *ctx, const char *page), void *ctx)
{
    printf("%s: ask the backend\n", url);
    uv_timer_init(uv_default_loop(), &b->timer);
    b->timer.data = b;
    b->url = url;
    b->on_answer = on_answer;
    b->ctx = ctx;
    uv_timer_start(&b->timer, slow_backend_on_timer, 1, 0);
}

#endif
