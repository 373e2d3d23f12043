/* SPDX-License-Identifier: MIT
 *
 * lease: one load of a key over all processes.
 *
 * PICTURE    miss -> SET key placeholder NX GET PX -> nil: the lease is held
 *                                                  -> a value; a lease of another process; or
 *                                                     a dead value, replaced by script CHANGE
 *            loaded -> CHANGE: the placeholder is still there -> the value, else INVALIDATED
 *            beat: SET ~prefix:beat:OWNER PX life, with each request for a lease and each life / 4
 *            while the process holds one. PENDING -> script: no beat of that owner -> the lease
 *            goes
 * INVARIANTS Lease and value are one key: each SET and DEL of any client ends the lease, and a fill
 *            never overwrites it. The check of a placeholder differs from all others: its value is
 *            the random name of the process and 60 random bits.
 *            The beat is in the server before the first lease of its process, so a lease without
 *            one is that of a process that died, stands still or is cut off. A waiter asks again
 *            each lease_ms / 4: beat, script and next request end within lease_ms of the death.
 *            A process has a beat for each life, 0 the longest (README.md). The first digit of the
 *            number of a lease is that of its beat: '0', or 'g' and following.
 *            A lease beside the value (refresh, RAW) is a key of its own; its fill compares the
 *            check of the value that is refreshed. RAW values have none: the store fills only a
 *            load that no change has ended (blind_fill).
 *            A lease that ends without a value, or that the server may have given to a caller
 *            without an answer, is released by its token through the journal (pending.c).
 * LIMITS     A server that is out of memory refuses SET NX GET also for a key that exists: E_SPACE.
 *            4 rounds against changes of a dead value.
 * SEE ALSO   form.h: the envelope of a placeholder. script.c. */
#include "remote/share.h"

#include <stdio.h>
#include <string.h>

#include "remote/form.h"

enum { LEASE_EXTRA_MS = 1000, LEASE_LEAST_MS = 200, LEASE_ROUNDS = 4, LEASE_KIND_SHIFT = 60,
       LEASE_TEXT = 2 * REMOTE_OWN_TEXT,
       LEASE_BEAT = CELLAR_REMOTE_PREFIX_MAX + REMOTE_OWN_TEXT + 9 };

typedef struct lease_call {
    cellar_remote *r;
    const remote_lease_ask *q;
    const remote_name *name; /* of the lease */
    bool beside;
    cellar_err err, there; /* there: of the value beside the lease */
    uint64_t seen;           /* check of a dead value, as the scripts compare it */
    bool has_seen;           /* shorter values have none */
} lease_call;

/* ---- The beats of a process ----------------------------------------------------------------- */

static int64_t beat_life_ms(const cellar_remote *r, uint32_t beat)
{
    const int64_t ms = r->cfg.lease_ms / 2 >> beat;
    return ms > LEASE_LEAST_MS ? ms : LEASE_LEAST_MS;
}

CELLAR_PRIVATE uint32_t remote_lease_choose(const cellar_remote *r, int64_t patience_ms)
{
    uint32_t beat = 0;
    while (beat + 1 < REMOTE_BEATS && beat_life_ms(r, beat) > LEASE_LEAST_MS &&
           beat_life_ms(r, beat) > patience_ms / 2) {
        beat++;
    }
    return beat;
}

CELLAR_PRIVATE int64_t remote_lease_look_ms(const cellar_remote *r, uint32_t beat)
{
    return beat == 0 ? r->cfg.lease_ms / 4 : beat_life_ms(r, beat) / 4;
}

/* Return the digit of beat number `beat`, of which beat 0 has none in its name. Numbers of earlier
 * versions begin with any digit up to 'f': their leases have beat 0. */
static char beat_digit(uint32_t beat) { return beat == 0 ? '0' : (char)('f' + beat); }

static void beat_name(const cellar_remote *r, const char *owner, char digit, char name[LEASE_BEAT])
{
    (void)snprintf(name, LEASE_BEAT, "~%s:beat:%.16s%.*s", r->cfg.prefix, owner, digit > 'f',
                   &digit);
}

CELLAR_PRIVATE void remote_lease_begin(const cellar_remote *r, uint32_t beat, remote_bytes *b)
{
    char name[LEASE_BEAT];
    beat_name(r, r->cfg.uuid, beat_digit(beat), name);
    remote_command(b, REMOTE_WORDS({ "SET", 3 }, REMOTE_WORD(name), { "", 0 }, { "PX", 2 },
                                   REMOTE_NUMBER(beat_life_ms(r, beat))));
}

static void lease_hold(_Atomic int64_t *until, int64_t until_ms)
{
    int64_t seen = atomic_load(until);
    while (seen < until_ms && !atomic_compare_exchange_weak(until, &seen, until_ms)) { }
}

CELLAR_PRIVATE void remote_lease_held(cellar_remote *r, int64_t hold_ms, uint32_t beat)
{
    const int64_t until_ms = remote_share_now() + hold_ms + LEASE_EXTRA_MS;
    REMOTE_ADD(r, leases_taken, 1);
    (void)atomic_fetch_add(&r->share->held, 1);
    lease_hold(&r->share->held_until_ms[0], until_ms); /* earlier versions know beat 0 alone */
    lease_hold(&r->share->held_until_ms[beat], until_ms);
}

CELLAR_PRIVATE void remote_lease_ended(cellar_remote *r)
{
    (void)atomic_fetch_sub(&r->share->held, 1);
}

CELLAR_PRIVATE int64_t remote_lease_beat(void *remote)
{
    cellar_remote *r = remote;
    struct remote_share *s = r->share;
    int64_t next_ms = INT64_MAX;
    if (atomic_load(&s->held) == 0) { return next_ms; }
    const int64_t now_ms = remote_share_now();
    for (uint32_t beat = 0; beat < REMOTE_BEATS; beat++) {
        remote_bytes b = { .memory = &r->memory };
        if (now_ms > atomic_load(&s->held_until_ms[beat])) { continue; }
        if (now_ms >= s->beat_due_ms[beat]) {
            s->beat_due_ms[beat] = now_ms + beat_life_ms(r, beat) / 4;
            remote_lease_begin(r, beat, &b);
            remote_post_bytes(r, &b, (remote_request){ .replies = 1 });
        }
        const int64_t left_ms = s->beat_due_ms[beat] - now_ms;
        if (left_ms < next_ms) { next_ms = left_ms; }
    }
    return next_ms;
}

CELLAR_PRIVATE void remote_lease_again(cellar_remote *r)
{
    if (r->share == NULL) { return; }
    memset(r->share->beat_due_ms, 0, sizeof r->share->beat_due_ms);
    (void)remote_lease_beat(r);
}

CELLAR_PRIVATE void remote_lease_busy(cellar_remote *r, const remote_name *name, const char *text,
                                      size_t len, bool beside)
{
    remote_bytes b = { .memory = &r->memory };
    char beat[LEASE_BEAT];
    REMOTE_ADD(r, leases_waited, 1);
    if (len < LEASE_TEXT + (beside ? 0 : (size_t)REMOTE_FORM_HEAD)) { return; } /* no owner */
    const char *const owner = text + len - LEASE_TEXT;
    beat_name(r, owner, owner[REMOTE_OWN_TEXT], beat);
    const cellar_bytes token = { beside ? text : text + REMOTE_FORM_CHECK_AT,
                                 beside ? len : sizeof(uint64_t) };
    remote_lease_release(r, (cellar_bytes)REMOTE_NAME(name), token, beat, &b);
    remote_post_bytes(r, &b, (remote_request){ .replies = 1, .flags = REMOTE_SCRIPTED });
}

/* ---- Taking a lease ------------------------------------------------------------------------- */

/* Take the replies of lease_set. */
static void take_lease_reply(void *ctx, uint32_t index, const remote_reply *reply)
{
    lease_call *c = ctx;
    if (index == 0) { return; } /* the beat */
    if (index == 1) {
        c->err = reply->type == REMOTE_ERROR ? remote_error_code(reply)
                 : reply->type == REMOTE_NIL ? CELLAR_LEASED
                 : c->beside                 ? CELLAR_PENDING
                                             : c->q->judge(c->q->ctx, reply->text, reply->len);
        if (c->err == CELLAR_PENDING) {
            remote_lease_busy(c->r, c->name, reply->text, reply->len, c->beside);
        }
    } else if (reply->type == REMOTE_ERROR) {
        c->there = CELLAR_E_UNSUPPORTED; /* a key of another type */
    } else if (reply->type == REMOTE_STRING) {
        c->there = c->q->judge(c->q->ctx, reply->text, reply->len);
    }
    c->has_seen = reply->type == REMOTE_STRING && index == (c->beside ? 2u : 1u) &&
                  reply->len >= REMOTE_FORM_CHECK_AT + sizeof c->seen;
    if (c->has_seen) { memcpy(&c->seen, reply->text + REMOTE_FORM_CHECK_AT, sizeof c->seen); }
}

/* Append SET name text NX GET PX. */
static void lease_words(const remote_lease_ask *q, const remote_name *name, cellar_bytes text,
                        remote_bytes *b)
{
    remote_command(b, REMOTE_WORDS({ "SET", 3 }, REMOTE_NAME(name), text, { "NX", 2 }, { "GET", 3 },
                                   { "PX", 2 }, REMOTE_NUMBER(q->hold_ms + LEASE_EXTRA_MS)));
}

/* Send the beat and lease_words. For a lease beside the value also GET of the value. */
static cellar_err lease_set(lease_call *c, cellar_bytes text, remote_fate *fate)
{
    remote_bytes b = { .memory = &c->r->memory };
    const remote_request q = { .replies = c->beside ? 3 : 2, .ctx = c, .fn = take_lease_reply };
    remote_lease_begin(c->r, c->q->beat, &b);
    lease_words(c->q, c->name, text, &b);
    if (c->beside) { remote_command(&b, REMOTE_WORDS({ "GET", 3 }, REMOTE_NAME(c->q->name))); }
    const cellar_err err = remote_ask_bytes(c->r, &b, q, fate);
    return err != CELLAR_OK ? err : c->err;
}

CELLAR_PRIVATE cellar_err remote_change_run(cellar_remote *r, const remote_name *name,
                                            cellar_bytes check, cellar_bytes value,
                                            int64_t ttl_ms, int64_t *numbers, remote_fate *fate)
{
    const bool named = remote_is_named(r);
    return remote_script_run(r, REMOTE_WORDS(REMOTE_EVAL(r, named, REMOTE_SCRIPT_CHANGE, "1"),
                                             REMOTE_NAME(name), check, value,
                                             REMOTE_NUMBER(ttl_ms)), 0, numbers, fate);
}

/* Ask for the lease with the placeholder `form`, again after each change of a dead value. */
static cellar_err lease_ask(cellar_remote *r, const remote_lease_ask *q, cellar_bytes form,
                            remote_fate *fate)
{
    cellar_err err = CELLAR_MISS;
    for (int i = 0; err == CELLAR_MISS && i < LEASE_ROUNDS; i++) {
        lease_call c = { .r = r, .q = q, .name = q->name, .err = CELLAR_E_IO };
        int64_t numbers[REMOTE_NUMBERS_MAX];
        err = lease_set(&c, form, fate);
        if (err != CELLAR_MISS) { continue; }
        if (!c.has_seen) { return CELLAR_E_UNSUPPORTED; }
        err = remote_change_run(r, q->name, (cellar_bytes){ &c.seen, sizeof c.seen }, form,
                                q->hold_ms + LEASE_EXTRA_MS, numbers, fate);
        if (err == CELLAR_OK) { err = numbers[0] == 1 ? CELLAR_LEASED : CELLAR_MISS; }
    }
    return err == CELLAR_MISS ? CELLAR_CONFLICT : err;
}

/* Write the owner and the number of a lease. */
static void lease_text(const cellar_remote *r, uint64_t number, char text[LEASE_TEXT + 1])
{
    (void)snprintf(text, LEASE_TEXT + 1, "%.16s%016llx", r->cfg.uuid, (unsigned long long)number);
    text[REMOTE_OWN_TEXT] = beat_digit((uint32_t)(number >> LEASE_KIND_SHIFT));
}

/* Draw the number of a lease, with its beat in front. */
static cellar_err lease_draw(uint32_t beat, uint64_t *number)
{
    const cellar_err err = remote_random(number, 1);
    *number = *number >> (64 - LEASE_KIND_SHIFT) | (uint64_t)beat << LEASE_KIND_SHIFT;
    return err;
}

/* Make a new placeholder, and the lease that it stands for. */
static cellar_err lease_form(cellar_remote *r, const remote_lease_ask *q, remote_lease *l,
                             cellar_bytes *form)
{
    char text[LEASE_TEXT + 1];
    const cellar_err err = lease_draw(q->beat, &l->held);
    if (err != CELLAR_OK) { return err; }
    lease_text(r, l->held, text);
    const remote_form f = { .kind = REMOTE_FORM_LEASE, .generation = q->generation,
                            .born = q->generation, .value = { text, LEASE_TEXT },
                            .key = { q->key.data, q->name->digest ? q->key.len : 0 } };
    uint8_t *bytes = remote_alloc(r, remote_form_size(&f));
    if (bytes == NULL) { return CELLAR_E_NOMEM; }
    (void)remote_form_write(&f, q->name->text, q->name->len, bytes);
    *l = (remote_lease){ .seen = 0 };
    memcpy(&l->held, bytes + REMOTE_FORM_CHECK_AT, sizeof l->held);
    *form = (cellar_bytes){ bytes, remote_form_size(&f) };
    return CELLAR_OK;
}

CELLAR_PRIVATE cellar_err remote_lease_take(cellar_remote *r, const remote_lease_ask *q,
                                            remote_lease *l, remote_fate *fate)
{
    cellar_bytes form;
    *fate = REMOTE_NOT_SENT;
    cellar_err err = lease_form(r, q, l, &form);
    if (err != CELLAR_OK) { return err; }
    err = lease_ask(r, q, form, fate);
    remote_free(r, (void *)(uintptr_t)form.data, form.len);
    return err;
}

CELLAR_PRIVATE void remote_lease_format(cellar_remote *r, const remote_lease_ask *q,
                                        remote_bytes *b, remote_lease *l)
{
    cellar_bytes form;
    const cellar_err err = lease_form(r, q, l, &form);
    if (err != CELLAR_OK) {
        b->err = err;
        return;
    }
    lease_words(q, q->name, form, b);
    remote_free(r, (void *)(uintptr_t)form.data, form.len);
}

/* ---- The lease beside the value ------------------------------------------------------------- */

/* Write the name of the lease, ~prefix:lease:SPACE:KEY, and its text. */
static void beside_name(const cellar_remote *r, const remote_names *of, cellar_bytes key,
                        const remote_lease *l, remote_name *name, char token[REMOTE_LEASE_TOKEN])
{
    char space[CELLAR_NAME_MAX + 8], prefix[CELLAR_REMOTE_PREFIX_MAX + 2];
    (void)snprintf(space, sizeof space, "lease:%s", of->space[0] != '\0' ? of->space : "+");
    (void)snprintf(prefix, sizeof prefix, "~%s", of->prefix);
    const remote_names names = { prefix, space };
    remote_key_name(&names, key.data, key.len, name);
    lease_text(r, l->held, token);
}

CELLAR_PRIVATE cellar_err remote_lease_take_beside(cellar_remote *r, const remote_lease_ask *q,
                                                   remote_lease *l, cellar_err *there,
                                                   remote_fate *fate)
{
    remote_name name;
    char token[REMOTE_LEASE_TOKEN];
    *fate = REMOTE_NOT_SENT;
    lease_call c = { .r = r, .q = q, .name = &name, .beside = true, .err = CELLAR_E_IO,
                     .there = CELLAR_MISS };
    *l = (remote_lease){ .seen = REMOTE_LEASE_ANY };
    cellar_err err = lease_draw(q->beat, &l->held);
    if (err != CELLAR_OK) { return err; }
    beside_name(r, q->names, q->key, l, &name, token);
    err = lease_set(&c, (cellar_bytes){ token, LEASE_TEXT }, fate);
    *there = c.there;
    if (!q->raw) { l->seen = c.has_seen ? c.seen : REMOTE_LEASE_NONE; }
    return err;
}

CELLAR_PRIVATE cellar_err remote_lease_fill(cellar_remote *r, const remote_lease_ask *q,
                                            const remote_lease *l, cellar_bytes value,
                                            int64_t ttl_ms, uint64_t *order)
{
    remote_name name;
    char token[REMOTE_LEASE_TOKEN];
    int64_t numbers[REMOTE_NUMBERS_MAX];
    const bool any = l->seen == REMOTE_LEASE_ANY;
    const cellar_bytes check = { any ? "*" : (const void *)&l->seen, any ? 1 : sizeof l->seen };
    cellar_err err;
    if (l->seen == 0) {
        err = remote_change_run(r, q->name, (cellar_bytes){ &l->held, sizeof l->held }, value,
                                ttl_ms, numbers, NULL);
    } else {
        const bool named = remote_is_named(r);
        beside_name(r, q->names, q->key, l, &name, token);
        err = remote_script_run(
            r, REMOTE_WORDS(REMOTE_EVAL(r, named, REMOTE_SCRIPT_BESIDE, "2"), REMOTE_NAME(&name),
                            REMOTE_NAME(q->name), REMOTE_WORD(token), check, value,
                            REMOTE_NUMBER(ttl_ms)), 0, numbers, NULL);
    }
    *order = (uint64_t)numbers[REMOTE_NUMBERS_ORDER];
    if (err != CELLAR_OK || numbers[0] == 1) { return err; }
    REMOTE_ADD(r, leases_lost, 1);
    return CELLAR_INVALIDATED;
}

/* ---- Release -------------------------------------------------------------------------------- */

CELLAR_PRIVATE size_t remote_lease_name(const cellar_remote *r, const remote_names *names,
                                        const remote_name *value, cellar_bytes key,
                                        const remote_lease *l, remote_name *name, char *token)
{
    if (l->seen == 0) {
        *name = *value;
        memcpy(token, &l->held, sizeof l->held);
        return sizeof l->held;
    }
    beside_name(r, names, key, l, name, token);
    return LEASE_TEXT;
}

CELLAR_PRIVATE void remote_lease_release(const cellar_remote *r, cellar_bytes name,
                                         cellar_bytes token, const char *beat, remote_bytes *b)
{
    const bool beside = token.len != sizeof(uint64_t), named = remote_is_named(r);
    const remote_script script = beside ? REMOTE_SCRIPT_KEEP : REMOTE_SCRIPT_CHANGE;
    const cellar_bytes none = { beside ? "0" : "", beside ? 1 : 0 };
    if (beat != NULL) {
        remote_command(b, REMOTE_WORDS(REMOTE_EVAL(r, named, script, "2"), name, REMOTE_WORD(beat),
                                       token, none));
    } else {
        remote_command(b, REMOTE_WORDS(REMOTE_EVAL(r, named, script, "1"), name, token, none));
    }
}
