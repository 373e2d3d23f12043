/* SPDX-License-Identifier: MIT
 *
 * lease: one load of a key over all processes.
 *
 * PICTURE    miss -> SET key placeholder NX GET PX -> nil: the lease is held
 *                                                  -> a value; a lease of another process; or
 *                                                     a dead value, replaced by script CHANGE
 *            loaded -> CHANGE: the placeholder is still there -> the value, else INVALIDATED
 * INVARIANTS Lease and value are one key: each SET and DEL of any client ends the lease, and a fill
 *            never overwrites it. The check of a placeholder differs from all others: 128 random
 *            bits are in it.
 *            A lease beside the value (refresh, RAW) is a key of its own; its fill compares the
 *            check of the value that is refreshed. RAW values have none: the store fills only a
 *            load that no change has ended (blind_fill).
 *            A lease that ends without a value, or that the server may have given to a caller
 *            without an answer, is released by its token through the journal (pending.c).
 * LIMITS     A server that is out of memory refuses SET NX GET also for a key that exists: E_SPACE.
 *            4 rounds against changes of a dead value.
 * SEE ALSO   form.h: the envelope of a placeholder. share.c: the scripts. */
#include "remote/share_types.h"

#include <stdio.h>
#include <string.h>

#include "remote/form.h"
#include "remote/wire.h"

enum { LEASE_EXTRA_MS = 1000, LEASE_ROUNDS = 4 };

typedef struct lease_call {
    const remote_lease_ask *q;
    cellar_err err, there; /* there: of the value beside the lease */
    int64_t left_ms;
    size_t seen_len;
    char seen[sizeof(uint64_t)]; /* check of a dead value */
} lease_call;

/* Copy the 8 bytes that the scripts compare. A shorter value has none of them. */
static size_t check_of(const char *bytes, size_t len, char *to)
{
    if (len < REMOTE_FORM_CHECK_AT + sizeof(uint64_t)) { return 0; }
    memcpy(to, bytes + REMOTE_FORM_CHECK_AT, sizeof(uint64_t));
    return sizeof(uint64_t);
}

static void take_lease_reply(void *ctx, uint32_t index, const remote_reply *reply)
{
    lease_call *c = ctx;
    if (reply->type == REMOTE_ERROR) {
        c->err = remote_error_code(reply);
    } else if (index == 1) {
        c->left_ms = reply->type == REMOTE_INTEGER && reply->number > 0 ? reply->number : 0;
    } else if (reply->type == REMOTE_NIL) {
        c->err = CELLAR_LEASED;
    } else {
        c->err = c->q->judge(c->q->ctx, reply->text, reply->len);
        c->seen_len = check_of(reply->text, reply->len, c->seen);
    }
}

static void take_beside_reply(void *ctx, uint32_t index, const remote_reply *reply)
{
    lease_call *c = ctx;
    if (reply->type == REMOTE_ERROR && index == 2) {
        c->there = CELLAR_E_UNSUPPORTED; /* a key of another type */
    } else if (reply->type == REMOTE_ERROR) {
        c->err = remote_error_code(reply);
    } else if (index == 1) {
        c->left_ms = reply->type == REMOTE_INTEGER && reply->number > 0 ? reply->number : 0;
    } else if (index == 0) {
        c->err = reply->type == REMOTE_NIL ? CELLAR_PENDING : CELLAR_LEASED;
    } else if (reply->type == REMOTE_STRING && !c->q->raw) {
        c->seen_len = check_of(reply->text, reply->len, c->seen);
        c->there = c->q->judge(c->q->ctx, reply->text, reply->len);
    }
}

/* Append SET name text NX PX, with GET unless it is a lease beside the value, and PTTL name. */
static cellar_err lease_words(const lease_call *c, const remote_name *name, const void *text,
                              size_t len, bool beside, remote_bytes *bytes)
{
    remote_args set = { .count = 0 }, left = { .count = 0 };
    remote_arg(&set, "SET", 3);
    remote_arg(&set, name->text, name->len);
    remote_arg(&set, text, len);
    remote_arg(&set, "NX", 2);
    if (!beside) { remote_arg(&set, "GET", 3); }
    remote_arg(&set, "PX", 2);
    remote_arg_number(&set, c->q->hold_ms + LEASE_EXTRA_MS);
    remote_arg(&left, "PTTL", 4);
    remote_arg(&left, name->text, name->len);
    const cellar_err err = remote_command(bytes, set.count, set.text, set.len);
    return err == CELLAR_OK ? remote_command(bytes, left.count, left.text, left.len) : err;
}

/* Send lease_words. For a lease beside the value also GET of the value. */
static cellar_err lease_set(cellar_remote *r, lease_call *c, const remote_name *name,
                            const void *text, size_t len, bool beside, remote_fate *fate)
{
    remote_bytes bytes = { .memory = &r->share->memory };
    remote_args value = { .count = 0 };
    cellar_err err = lease_words(c, name, text, len, beside, &bytes);
    if (err == CELLAR_OK && beside) {
        remote_arg(&value, "GET", 3);
        remote_arg(&value, c->q->name->text, c->q->name->len);
        err = remote_command(&bytes, value.count, value.text, value.len);
    }
    if (err == CELLAR_OK) {
        const remote_request q = { .bytes = bytes.data, .bytes_len = bytes.len,
                                   .replies = beside ? 3 : 2,
                                   .ctx = c,
                                   .fn = beside ? take_beside_reply : take_lease_reply };
        err = remote_ask(r->link, &q, fate);
    }
    remote_bytes_free(&bytes);
    if (err != CELLAR_OK) { return err; }
    *fate = REMOTE_NOT_SENT; /* its answer is known */
    return c->err;
}

/* Replace a state of the key, known by its check, by `value`; len 0 deletes it. */
static void change_args(remote_args *a, const cellar_remote *r, const remote_name *name,
                        const void *check, const void *value, size_t len, int64_t ttl_ms)
{
    remote_args_script(a, r, REMOTE_SCRIPT_CHANGE, 1);
    remote_arg(a, name->text, name->len);
    remote_arg(a, check, sizeof(uint64_t));
    remote_arg(a, value, len);
    remote_arg_number(a, ttl_ms);
}

/* Ask for the lease with the placeholder `form`, again after each change of a dead value. */
static cellar_err lease_ask(cellar_remote *r, const remote_lease_ask *q, const void *form,
                            size_t len, int64_t *left_ms, remote_fate *fate)
{
    cellar_err err = CELLAR_MISS;
    for (int i = 0; err == CELLAR_MISS && i < LEASE_ROUNDS; i++) {
        lease_call c = { .q = q, .err = CELLAR_E_IO };
        err = lease_set(r, &c, q->name, form, len, false, fate);
        *left_ms = c.left_ms;
        if (err != CELLAR_MISS) { continue; }
        if (c.seen_len == 0) { return CELLAR_E_UNSUPPORTED; }
        remote_args a;
        int64_t numbers[REMOTE_NUMBERS_MAX];
        change_args(&a, r, q->name, c.seen, form, len, q->hold_ms + LEASE_EXTRA_MS);
        err = remote_script_run(r, &a, 0, numbers, fate);
        if (err == CELLAR_OK) { err = numbers[0] == 1 ? CELLAR_LEASED : CELLAR_MISS; }
    }
    return err == CELLAR_MISS ? CELLAR_CONFLICT : err;
}

/* Make a new placeholder, and the lease that it stands for. */
static cellar_err lease_form(cellar_remote *r, const remote_lease_ask *q, remote_lease *l,
                             uint8_t **form, size_t *len)
{
    uint64_t random[2];
    const cellar_err err = remote_share_random(random, 2);
    if (err != CELLAR_OK) { return err; }
    const remote_form f = { .kind = REMOTE_FORM_LEASE, .generation = q->generation,
                            .born = q->born, .value = { random, sizeof random },
                            .key = { q->key, q->name->digest ? q->key_len : 0 } };
    *len = remote_form_size(&f);
    *form = remote_alloc(r, *len);
    if (*form == NULL) { return CELLAR_E_NOMEM; }
    (void)remote_form_write(&f, q->name->text, q->name->len, *form);
    *l = (remote_lease){ .seen = 0 };
    memcpy(&l->held, *form + REMOTE_FORM_CHECK_AT, sizeof l->held);
    return CELLAR_OK;
}

CELLAR_PRIVATE cellar_err remote_lease_take(cellar_remote *r, const remote_lease_ask *q,
                                            remote_lease *l, int64_t *left_ms, remote_fate *fate)
{
    uint8_t *form;
    size_t len;
    *fate = REMOTE_NOT_SENT;
    cellar_err err = lease_form(r, q, l, &form, &len);
    if (err != CELLAR_OK) { return err; }
    err = lease_ask(r, q, form, len, left_ms, fate);
    remote_free(r, form, len);
    if (err == CELLAR_LEASED) { REMOTE_ADD(r, leases_taken, 1); }
    if (err == CELLAR_PENDING) { REMOTE_ADD(r, leases_waited, 1); }
    return err;
}

CELLAR_PRIVATE cellar_err remote_lease_format(cellar_remote *r, const remote_lease_ask *q,
                                              remote_bytes *b, remote_lease *l)
{
    const lease_call c = { .q = q };
    uint8_t *form;
    size_t len;
    cellar_err err = lease_form(r, q, l, &form, &len);
    if (err != CELLAR_OK) { return err; }
    err = lease_words(&c, q->name, form, len, false, b);
    remote_free(r, form, len);
    return err;
}

static cellar_err lease_filled(cellar_remote *r, cellar_err err, int64_t stored)
{
    if (err != CELLAR_OK || stored == 1) { return err; }
    REMOTE_ADD(r, leases_lost, 1);
    return CELLAR_INVALIDATED;
}

CELLAR_PRIVATE cellar_err remote_lease_fill(cellar_remote *r, const remote_name *name,
                                            const remote_lease *l, const void *value,
                                            size_t value_len, int64_t ttl_ms, remote_fate *fate)
{
    remote_args a;
    int64_t numbers[REMOTE_NUMBERS_MAX];
    change_args(&a, r, name, &l->held, value, value_len, ttl_ms);
    const cellar_err err = remote_script_run(r, &a, 0, numbers, fate);
    return lease_filled(r, err, numbers[0]);
}

/* ---- The lease beside the value ------------------------------------------------------------- */

typedef struct lease_beside {
    remote_name name;
    char prefix[CELLAR_REMOTE_PREFIX_MAX + 2];
    char token[17];
} lease_beside;

/* Write the name of the lease, ~prefix:lease:SPACE:KEY, and its text. */
static void beside_name(const remote_lease_ask *q, const remote_lease *l, lease_beside *b)
{
    char space[CELLAR_NAME_MAX + 8] = "lease:";
    const char *own = q->names->space[0] != '\0' ? q->names->space : "+";
    memcpy(space + 6, own, strlen(own) + 1);
    b->prefix[0] = '~';
    memcpy(b->prefix + 1, q->names->prefix, strlen(q->names->prefix) + 1);
    const remote_names names = { b->prefix, space };
    remote_key_name(&names, q->key, q->key_len, &b->name);
    (void)snprintf(b->token, sizeof b->token, "%016llx", (unsigned long long)l->held);
}

CELLAR_PRIVATE cellar_err remote_lease_take_beside(cellar_remote *r, const remote_lease_ask *q,
                                                   remote_lease *l, int64_t *left_ms,
                                                   cellar_err *there, remote_fate *fate)
{
    lease_beside b;
    *fate = REMOTE_NOT_SENT;
    lease_call c = { .q = q, .err = CELLAR_E_IO, .there = CELLAR_MISS };
    *l = (remote_lease){ .seen = REMOTE_LEASE_ANY };
    cellar_err err = remote_share_random(&l->held, 1);
    if (err != CELLAR_OK) { return err; }
    beside_name(q, l, &b);
    err = lease_set(r, &c, &b.name, b.token, strlen(b.token), true, fate);
    *left_ms = c.left_ms;
    *there = c.there;
    if (err == CELLAR_LEASED) { REMOTE_ADD(r, leases_taken, 1); }
    if (!q->raw && c.seen_len != 0) { memcpy(&l->seen, c.seen, sizeof l->seen); }
    if (!q->raw && c.seen_len == 0) { l->seen = REMOTE_LEASE_NONE; }
    return err;
}

static void beside_args(remote_args *a, const cellar_remote *r, const remote_lease_ask *q,
                        const remote_lease *l, const lease_beside *b)
{
    remote_args_script(a, r, REMOTE_SCRIPT_BESIDE, 2);
    remote_arg(a, b->name.text, b->name.len);
    remote_arg(a, q->name->text, q->name->len);
    remote_arg(a, b->token, strlen(b->token));
    if (l->seen == REMOTE_LEASE_ANY) {
        remote_arg(a, "*", 1);
    } else {
        remote_arg(a, &l->seen, sizeof l->seen);
    }
}

CELLAR_PRIVATE cellar_err remote_lease_fill_beside(cellar_remote *r, const remote_lease_ask *q,
                                                   const remote_lease *l, const void *value,
                                                   size_t value_len, int64_t ttl_ms,
                                                   remote_fate *fate)
{
    remote_args a;
    lease_beside b;
    int64_t numbers[REMOTE_NUMBERS_MAX];
    beside_name(q, l, &b);
    beside_args(&a, r, q, l, &b);
    remote_arg(&a, value, value_len);
    remote_arg_number(&a, ttl_ms);
    const cellar_err err = remote_script_run(r, &a, 0, numbers, fate);
    return lease_filled(r, err, numbers[0]);
}

/* ---- Release -------------------------------------------------------------------------------- */

CELLAR_PRIVATE size_t remote_lease_name(const remote_lease_ask *q, const remote_lease *l,
                                        remote_name *name, char *token)
{
    lease_beside b;
    if (l->seen == 0) {
        *name = *q->name;
        memcpy(token, &l->held, sizeof l->held);
        return sizeof l->held;
    }
    beside_name(q, l, &b);
    *name = b.name;
    memcpy(token, b.token, sizeof b.token);
    return strlen(b.token);
}

CELLAR_PRIVATE cellar_err remote_lease_release(const cellar_remote *r, const char *name,
                                               size_t name_len, const char *token,
                                               size_t token_len, remote_bytes *b)
{
    remote_args a;
    const bool beside = token_len != sizeof(uint64_t);
    remote_args_script(&a, r, beside ? REMOTE_SCRIPT_KEEP : REMOTE_SCRIPT_CHANGE, 1);
    remote_arg(&a, name, name_len);
    remote_arg(&a, token, token_len);
    if (!beside) { remote_arg(&a, "", 0); }
    remote_arg(&a, "0", 1);
    return remote_command(b, a.count, a.text, a.len);
}
