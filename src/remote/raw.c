/* SPDX-License-Identifier: MIT
 *
 * raw: conditional changes of values that clients in other languages write, too.
 *
 * WALK       swap: GET -> its check is the expected one? -> script with the old and the new bytes
 *            add:  script: INCRBY, which keeps the life of the counter
 * INVARIANTS The script compares all bytes: between GET and script no change is lost.
 *            Scripts are announced to their sender, too. A late execution removes the entry from
 *            memory, so a change without an answer needs no journal, and deletes no foreign value.
 * SEE ALSO   script.c: the texts. */
#include "remote/raw.h"

#include <stdlib.h>
#include <string.h>

#include "remote/form.h"
#include "remote/share.h"

/* Send one script and wait. */
static cellar_err remote_raw_ask(remote_space *s, const remote_bytes *b, void *ctx,
                                 void (*fn)(void *ctx, uint32_t index, const remote_reply *reply))
{
    const remote_request q = { .bytes = b->data, .bytes_len = b->len, .replies = 1, .ctx = ctx,
                               .flags = REMOTE_SCRIPTED, .fn = fn };
    return remote_ask(s->r->link, &q, NULL);
}

/* ---- compare and set ---- */

typedef struct remote_swap {
    remote_space *s;
    const remote_name *name;
    uint64_t seen;
    cellar_bytes value;   /* data NULL: delete */
    int64_t life_ms;
    remote_bytes script;  /* empty: the key has another value */
    cellar_err err;
} remote_swap;

/* Format the script for a key that has the value `old`; NULL: no value. */
static cellar_err remote_swap_format(remote_swap *w, const char *old, size_t old_len)
{
    remote_args a;
    remote_args_script(&a, w->s->r, REMOTE_SCRIPT_SWAP, 1);
    remote_arg(&a, w->name->text, w->name->len);
    remote_arg(&a, w->value.data != NULL ? w->value.data : "", w->value.len);
    remote_arg_number(&a, w->value.data != NULL ? w->life_ms : 0);
    if (old != NULL) { remote_arg(&a, old, old_len); }
    return remote_command(&w->script, a.count, a.text, a.len);
}

/* Take the value that the key has. */
static void remote_swap_seen(void *ctx, uint32_t index, const remote_reply *reply)
{
    remote_swap *w = ctx;
    (void)index;
    if (reply->type == REMOTE_STRING && remote_raw_check(reply->text, reply->len) == w->seen) {
        w->err = remote_swap_format(w, reply->text, reply->len);
    }
}

/* Read the value, and format its change. */
static cellar_err remote_swap_look(remote_swap *w)
{
    remote_bytes b = { .memory = w->script.memory };
    const char *const argv[] = { "GET", w->name->text };
    const size_t len[] = { 3, w->name->len };
    cellar_err err = remote_command(&b, 2, argv, len);
    if (err == CELLAR_OK) {
        const remote_request q = { .bytes = b.data, .bytes_len = b.len, .replies = 1, .ctx = w,
                                   .fn = remote_swap_seen };
        err = remote_ask(w->s->r->link, &q, NULL);
    }
    remote_bytes_free(&b);
    return err == CELLAR_OK ? w->err : err;
}

static void remote_swap_reply(void *ctx, uint32_t index, const remote_reply *reply)
{
    remote_swap *w = ctx;
    (void)index;
    w->err = reply->type == REMOTE_ERROR ? remote_error_code(reply)
             : reply->number == 1        ? CELLAR_OK
                                         : CELLAR_CONFLICT;
}

CELLAR_PRIVATE cellar_err remote_raw_swap(remote_space *s, const remote_name *n, uint64_t seen,
                                          const void *value, size_t value_len, int64_t life_ms)
{
    remote_swap w = { .s = s, .name = n, .seen = seen, .value = { value, value_len },
                      .life_ms = life_ms, .script = { .memory = &s->r->data->memory } };
    cellar_err err = seen != 0 ? remote_swap_look(&w) : remote_swap_format(&w, NULL, 0);
    if (err == CELLAR_OK && w.script.len == 0) { err = CELLAR_CONFLICT; }
    if (err == CELLAR_OK) { err = remote_raw_ask(s, &w.script, &w, remote_swap_reply); }
    remote_bytes_free(&w.script);
    return err == CELLAR_OK ? w.err : err;
}

/* ---- counters ---- */

typedef struct remote_sum {
    int64_t number;
    cellar_err err;
} remote_sum;

/* Return the code of an error of INCRBY. */
static cellar_err remote_sum_code(const remote_reply *reply)
{
    const bool type = memmem(reply->text, reply->len, "not an integer", 14) != NULL ||
                      memmem(reply->text, reply->len, "WRONGTYPE", 9) != NULL;
    if (memmem(reply->text, reply->len, "overflow", 8) != NULL) { return CELLAR_E_RANGE; }
    return type ? CELLAR_E_TYPE : remote_error_code(reply);
}

static void remote_sum_reply(void *ctx, uint32_t index, const remote_reply *reply)
{
    remote_sum *a = ctx;
    char text[24] = "";
    (void)index;
    a->err = reply->type == REMOTE_ERROR    ? remote_sum_code(reply)
             : reply->type == REMOTE_STRING ? CELLAR_OK
                                            : CELLAR_MISS;
    if (a->err != CELLAR_OK || reply->len >= sizeof text) { return; }
    memcpy(text, reply->text, reply->len);
    a->number = strtoll(text, NULL, 10);
}

CELLAR_PRIVATE cellar_err remote_raw_add(remote_space *s, const remote_name *n, int64_t delta,
                                         int64_t *number, int64_t life_ms)
{
    const int64_t limit = delta < 0 ? INT64_MIN : INT64_MAX;
    remote_sum sum = { limit, CELLAR_MISS };
    remote_bytes b = { .memory = &s->r->data->memory };
    remote_args a;
    remote_args_script(&a, s->r, REMOTE_SCRIPT_ADD, 1);
    remote_arg(&a, n->text, n->len);
    remote_arg_number(&a, delta);
    remote_arg_number(&a, limit);
    remote_arg_number(&a, *number);
    remote_arg_number(&a, life_ms);
    cellar_err err = remote_command(&b, a.count, a.text, a.len);
    if (err == CELLAR_OK) { err = remote_raw_ask(s, &b, &sum, remote_sum_reply); }
    remote_bytes_free(&b);
    if (err == CELLAR_OK) { err = sum.err; }
    if (err == CELLAR_OK || err == CELLAR_E_RANGE) { *number = sum.number; }
    return err;
}
