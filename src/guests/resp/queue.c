/* SPDX-License-Identifier: MIT
 *
 * queue: one allocation for each request between MULTI and EXEC.
 *
 * LIMITS     max_request_bytes for all requests of a transaction. */
#include <string.h>

#include "resp/queue.h"

BASE_SIZE_BEGIN

CELLAR_PRIVATE void resp_args_copy(cellar_bytes *to, const cellar_bytes *argv, uint32_t argc)
{
    unsigned char *bytes = (unsigned char *)(to + argc);
    for (uint32_t i = 0; i < argc; i++) {
        if (argv[i].len > 0) { memcpy(bytes, argv[i].data, argv[i].len); }
        to[i] = (cellar_bytes){ bytes, argv[i].len };
        bytes += argv[i].len;
    }
}

CELLAR_PRIVATE void resp_queue_add(resp_client *c, const resp_command *cmd,
                                   const cellar_bytes *argv, uint32_t argc)
{
    cellar_resp *r = c->of;
    size_t bytes = sizeof(resp_queued) + argc * sizeof *argv;
    for (uint32_t i = 0; i < argc; i++) { bytes += argv[i].len; }
    resp_queued *q = NULL;
    if (c->queue_bytes + bytes <= r->opts.max_request_bytes) {
        q = base_alloc(&r->obj.account, BASE_MOD_STORE, bytes, NULL);
    }
    if (q == NULL) {
        resp_refuse(c, "%s", RESP_OOM);
        return;
    }
    q->next = NULL;
    q->cmd = cmd;
    q->bytes = bytes;
    q->argc = argc;
    resp_args_copy(q->argv, argv, argc);
    if (c->queue == NULL) { c->queue_end = &c->queue; }
    *c->queue_end = q;
    c->queue_end = &q->next;
    c->queue_count++;
    c->queue_bytes += bytes;
    resp_simple(c, "QUEUED");
}

CELLAR_PRIVATE resp_queued *resp_queue_take(resp_client *c)
{
    resp_queued *q = c->queue;
    c->queue = NULL;
    c->queue_count = 0;
    c->queue_bytes = 0;
    c->flags &= ~(RESP_C_MULTI | RESP_C_DIRTY);
    return q;
}

CELLAR_PRIVATE void resp_queued_free(cellar_resp *r, resp_queued *q)
{
    base_free(&r->obj.account, BASE_MOD_STORE, q, q->bytes);
}

CELLAR_PRIVATE void resp_watched_drop(resp_client *c)
{
    for (resp_watched *w; (w = c->watched) != NULL;) {
        c->watched = w->next;
        c->watched_bytes -= sizeof *w + w->key_len;
        base_free(&c->of->obj.account, BASE_MOD_STORE, w, sizeof *w + w->key_len);
    }
}

CELLAR_PRIVATE void resp_queue_drop(resp_client *c)
{
    for (resp_queued *q = resp_queue_take(c), *next; q != NULL; q = next) {
        next = q->next;
        resp_queued_free(c->of, q);
    }
    resp_watched_drop(c);
}

BASE_SIZE_END
