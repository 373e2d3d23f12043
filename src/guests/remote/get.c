/* SPDX-License-Identifier: MIT
 *
 * get: reading a value from the server.
 *
 * WALK       pending write of this process -> GET (RAW: PTTL before) -> envelope -> numbers of its
 *            generation and tags -> value into the buffer of the caller.
 *            If a number is not known, it is read, and the key is asked again: once, or for a
 *            condition REMOTE_NUMBER_ROUNDS times.
 * INVARIANTS The runner of the link judges the reply before remote_ask returns: it writes into the
 *            buffer of the caller only as long as the caller waits.
 *            Without a proof the answer is a miss: numbers and changes may have been missed.
 * LOCKING    space.use is held for reading by the caller of the table (attach.c). */
#include "remote/get.h"

#include <string.h>

#include "remote/control.h"
#include "remote/pending.h"
#include "remote/share.h"

typedef struct remote_asked {
    remote_space *s;
    cellar_bytes key;
    const remote_name *name;
    void *buf;
    size_t buf_cap, value_len;
    cellar_tier_entry *e;
    const void *value;            /* of the reply; NULL outside of it */
    cellar_err err;               /* PENDING: numbers are missing */
    remote_tags *missing;         /* takes the tags of missing numbers; NULL: not kept */
    bool keeps, answered;         /* keep the tags in any case; the server has answered */
} remote_asked;

CELLAR_PRIVATE bool remote_get_open(const remote_space *s)
{
    return !s->closed && s->host != NULL &&
           (s->opts.offline == CELLAR_REMOTE_TRUST ||
            s->host->now_ms(s->host->ctx) < remote_proven_until(s->r->link));
}

/* Count an envelope that is no usable value. */
static void remote_get_count(cellar_remote *r, remote_form_verdict v)
{
    switch (v) {
    case REMOTE_FORM_OK: break;
    case REMOTE_FORM_FOREIGN: REMOTE_ADD(r, foreign, 1); break;
    case REMOTE_FORM_NEWER: REMOTE_ADD(r, newer, 1); break;
    case REMOTE_FORM_DAMAGED: REMOTE_ADD(r, damaged, 1); break;
    case REMOTE_FORM_TOO_BIG: REMOTE_ADD(r, too_big, 1); break;
    case REMOTE_FORM_OTHER_KEY: REMOTE_ADD(r, other_key, 1); break;
    }
}

/* Note a key that a load may leave in memory: a heard digest names no key. */
static void remote_get_note(remote_space *s, const cellar_tier_key *k)
{
    if (k->len > CELLAR_REMOTE_KEY_TEXT_MAX) { atomic_store(&s->has_digest, true); }
}

/* Begin to read a key, and write its name to `n`. */
static remote_asked remote_asked_new(remote_space *s, const cellar_tier_key *k, remote_name *n,
                                     cellar_tier_entry *e, remote_tags *missing)
{
    remote_get_note(s, k);
    remote_key_name(&s->names, k->bytes, k->len, n);
    return (remote_asked){ .s = s, .key = { k->bytes, k->len }, .name = n, .e = e,
                           .err = CELLAR_MISS, .missing = missing };
}

/* Copy the value to the caller. */
static cellar_err remote_asked_copy(remote_asked *a, const void *value, size_t len)
{
    a->value_len = len;
    a->value = value;
    if (len > a->buf_cap) { return CELLAR_E_BUFFER; }
    if (len != 0 && a->buf != NULL) { memcpy(a->buf, value, len); }
    return CELLAR_OK;
}

/* Convert the deadline of the server. False: the value has ended. */
static bool remote_asked_times(remote_asked *a, const remote_form *f)
{
    const cellar_tier_host *h = a->s->host;
    int64_t error_ms;
    a->e->stale_ms = f->stale_ms;
    a->e->deadline_ms = INT64_MAX;
    if (f->deadline_ms == 0) { return true; }
    const int64_t engine_ms = remote_engine_now(a->s->r->link, &error_ms);
    if (engine_ms == 0 || f->deadline_ms > INT64_MAX / 2) { return false; }
    const int64_t left_ms = (int64_t)f->deadline_ms - engine_ms;
    a->e->deadline_ms = h->now_ms(h->ctx) + left_ms;
    return left_ms + f->stale_ms > 0;
}

CELLAR_PRIVATE void remote_tags_keep(remote_tags *t, const remote_form *f)
{
    t->count = 0;
    for (uint32_t i = 0; i < f->tag_count; i++) {
        if (f->tags[i].len > CELLAR_TAG_MAX) { continue; }
        memcpy(t->text[t->count], f->tags[i].data, f->tags[i].len);
        t->tag[t->count] = (cellar_bytes){ t->text[t->count], f->tags[i].len };
        t->count++;
    }
}

static cellar_err remote_asked_form(remote_asked *a, const remote_form *f)
{
    const cellar_tier_host *h = a->s->host;
    const remote_life life = remote_control_judge(a->s, f->generation, f->born, f->tags,
                                                  f->tag_count);
    a->e->check = f->check;
    if (a->missing != NULL && (a->keeps || life == REMOTE_LIFE_UNKNOWN)) {
        remote_tags_keep(a->missing, f);
    }
    if (f->kind == REMOTE_FORM_LEASE) { return CELLAR_MISS; }
    if (life == REMOTE_LIFE_UNKNOWN) { return CELLAR_PENDING; }
    if (life == REMOTE_LIFE_DEAD || !remote_asked_times(a, f)) {
        REMOTE_ADD(a->s->r, dead, 1);
        return CELLAR_MISS;
    }
    if (life == REMOTE_LIFE_STALE) { a->e->deadline_ms = h->now_ms(h->ctx); }
    a->e->tag_count = f->tag_count;
    for (uint32_t i = 0; i < f->tag_count; i++) {
        a->e->tag_fp[i] = h->tag_fp(h->ctx, f->tags[i].data, f->tags[i].len);
    }
    a->e->user_flags = f->user_flags;
    a->e->cost = f->cost;
    if (f->kind == REMOTE_FORM_ABSENT) {
        a->e->flags |= CELLAR_TIER_NEGATIVE;
        return CELLAR_ABSENT;
    }
    return remote_asked_copy(a, f->value.data, f->value.len);
}

/* Return the code of a value without a check. */
static cellar_err remote_asked_foreign(const remote_asked *a)
{
    return (a->e->flags & REMOTE_GET_COMPARES) != 0 ? CELLAR_E_TYPE : CELLAR_MISS;
}

static void remote_asked_envelope(remote_asked *a, const void *bytes, size_t len)
{
    remote_form f = { .check = 0 };
    const remote_form_verdict v = remote_form_read(bytes, len, a->name->text, a->name->len, a->key,
                                                   a->s->host->max_value_bytes, &f);
    remote_get_count(a->s->r, v);
    a->e->check = v == REMOTE_FORM_NEWER ? 0 : f.check; /* a condition may replace it */
    a->err = v == REMOTE_FORM_OK   ? remote_asked_form(a, &f)
             : a->e->check != 0    ? CELLAR_MISS
                                   : remote_asked_foreign(a);
}

static void remote_asked_raw(remote_asked *a, const void *bytes, size_t len)
{
    a->err = remote_asked_copy(a, bytes, len);
    a->e->check = remote_raw_check(bytes, len);
}

/* Take the time of a RAW value: reply of PTTL. */
static void remote_asked_ttl(remote_asked *a, const remote_reply *reply)
{
    const cellar_tier_host *h = a->s->host;
    const bool fresh = (a->e->flags & CELLAR_TIER_FRESH) != 0; /* the life in the server */
    const int64_t now_ms = h->now_ms(h->ctx), most_ms = fresh ? 0 : a->s->opts.local_ttl_ms;
    int64_t left_ms = reply->type == REMOTE_INTEGER && reply->number != -2 ? reply->number : 0;
    if (left_ms < 0 || left_ms > INT64_MAX - now_ms) { left_ms = INT64_MAX - now_ms; }
    if (most_ms != 0 && left_ms > most_ms) { left_ms = most_ms; }
    a->e->deadline_ms = now_ms + left_ms;
}

static void remote_asked_reply(void *ctx, uint32_t index, const remote_reply *reply)
{
    remote_asked *a = ctx;
    a->e->born = remote_reply_number(a->s->r);
    if (a->s->opts.values == CELLAR_REMOTE_RAW && index == 0) {
        remote_asked_ttl(a, reply);
    } else if (reply->type == REMOTE_ERROR) {
        const bool foreign = remote_starts(reply, "WRONGTYPE");
        REMOTE_ADD(a->s->r, foreign, foreign);
        a->err = foreign ? remote_asked_foreign(a) : remote_error_code(reply);
    } else if (reply->type != REMOTE_STRING) {
        a->err = CELLAR_MISS;
    } else if (a->s->opts.values != CELLAR_REMOTE_RAW) {
        remote_asked_envelope(a, reply->text, reply->len);
    } else if (reply->len > a->s->host->max_value_bytes && (a->e->flags & CELLAR_TIER_FRESH) == 0) {
        REMOTE_ADD(a->s->r, too_big, 1); /* a condition has the flag, and counts it as a value */
    } else {
        remote_asked_raw(a, reply->text, reply->len);
    }
}

/* Format the request for a key: GET, and for RAW PTTL before it. Return its replies. */
static uint32_t remote_asked_format(const remote_asked *a, remote_bytes *b)
{
    const bool raw = a->s->opts.values == CELLAR_REMOTE_RAW;
    if (raw) { remote_command(b, REMOTE_WORDS({ "PTTL", 4 }, REMOTE_NAME(a->name))); }
    remote_command(b, REMOTE_WORDS({ "GET", 3 }, REMOTE_NAME(a->name)));
    return raw ? 2 : 1;
}

static cellar_err remote_asked_send(remote_asked *a)
{
    remote_bytes b = { .memory = &a->s->r->memory };
    remote_request q = { .ctx = a, .fn = remote_asked_reply };
    a->err = CELLAR_MISS;
    q.replies = remote_asked_format(a, &b);
    const cellar_err err = remote_ask_bytes(a->s->r, &b, q, NULL);
    a->answered = err == CELLAR_OK;
    return err != CELLAR_OK ? err : a->err;
}

static void remote_asked_queued(void *ctx, const void *bytes, size_t len, int64_t end_ms)
{
    remote_asked *a = ctx;
    a->e->flags |= CELLAR_TIER_NO_KEEP;
    a->e->deadline_ms = end_ms; /* an envelope has its own */
    if (a->s->opts.values == CELLAR_REMOTE_RAW) {
        remote_asked_raw(a, bytes, len);
    } else {
        remote_asked_envelope(a, bytes, len);
    }
}

/* Count the result of a get. */
static void remote_got(const remote_space *s, cellar_err err)
{
    const bool hit = err == CELLAR_OK || err == CELLAR_ABSENT || err == CELLAR_E_BUFFER;
    REMOTE_ADD(s->r, gets, 1);
    REMOTE_ADD(s->r, hits, hit);
    REMOTE_ADD(s->r, misses, !hit);
}

CELLAR_PRIVATE cellar_err remote_get(void *ctx, const cellar_tier_key *k, void *buf,
                                     size_t buf_cap, size_t *value_len, cellar_tier_entry *e)
{
    remote_space *s = ctx;
    remote_name n;
    remote_tags missing = { .count = 0 };
    remote_asked a = remote_asked_new(s, k, &n, e, &missing);
    const bool fresh = (e->flags & CELLAR_TIER_FRESH) != 0;
    const bool judges = fresh || (e->flags & REMOTE_GET_COMPARES) != 0; /* "none" must be true */
    a.buf = buf;
    a.buf_cap = buf_cap;
    if (fresh && s->opts.write != CELLAR_REMOTE_THROUGH) { return CELLAR_E_UNSUPPORTED; }
    if (!remote_get_open(s)) { return fresh ? CELLAR_E_BREAKER_OPEN : CELLAR_MISS; }
    if (n.digest) { e->flags |= CELLAR_TIER_NO_KEEP; }
    const remote_pending_kind p = remote_pending_look(s, &n, remote_asked_queued, &a);
    cellar_err err = p == REMOTE_PENDING_NONE ? remote_asked_send(&a) : a.err;
    for (int i = 0; err == CELLAR_PENDING && i < (judges ? REMOTE_NUMBER_ROUNDS : 1); i++) {
        err = remote_control_need(s, missing.tag, missing.count);
        if (err == CELLAR_OK) {
            err = p == REMOTE_PENDING_NONE ? remote_asked_send(&a) : CELLAR_MISS;
        }
    }
    if (err == CELLAR_PENDING) { err = judges ? CELLAR_E_BUSY : CELLAR_MISS; }
    remote_got(s, err);
    *value_len = a.value_len;
    return err;
}

/* ---- many keys ---- */

/* The keys of one request: those with the code PENDING. After their replies, PENDING: numbers are
 * missing. */
typedef struct remote_many {
    remote_space *s;
    cellar_tier_get *gets;
    size_t at;      /* of the key that the next reply belongs to, or of one before it */
    remote_asked a; /* of that key; its name is made again for the reply */
    remote_name name;
    uint32_t replies; /* of one key */
} remote_many;

static void remote_many_key(remote_many *m)
{
    cellar_tier_get *g = &m->gets[m->at];
    m->a = remote_asked_new(m->s, &g->key, &m->name, &g->e, NULL);
    m->a.buf = g->buf;
    m->a.buf_cap = g->buf_cap;
}

static void remote_many_reply(void *ctx, uint32_t index, const remote_reply *reply)
{
    remote_many *m = ctx;
    const uint32_t part = index % m->replies;
    if (part == 0) {
        while (m->gets[m->at].err != CELLAR_PENDING) { m->at++; }
        remote_many_key(m);
    }
    remote_asked_reply(&m->a, part, reply);
    if (part + 1 < m->replies) { return; }
    m->gets[m->at].err = m->a.err;
    m->gets[m->at++].value_len = m->a.value_len;
}

/* Answer what pending writes of this process answer. Format the requests for the other keys. */
static void remote_many_format(remote_many *m, size_t count, remote_bytes *b, remote_request *q)
{
    for (m->at = 0; m->at < count; m->at++) {
        cellar_tier_get *g = &m->gets[m->at];
        if (g->err != CELLAR_PENDING) { continue; }
        remote_many_key(m);
        if (m->name.digest) { g->e.flags |= CELLAR_TIER_NO_KEEP; }
        if (remote_pending_look(m->s, &m->name, remote_asked_queued, &m->a) ==
            REMOTE_PENDING_NONE) {
            m->replies = remote_asked_format(&m->a, b);
            q->replies += m->replies;
        } else {
            g->err = m->a.err != CELLAR_PENDING ? m->a.err : CELLAR_MISS;
            g->value_len = m->a.value_len;
        }
    }
    m->at = 0;
}

/* Send one request for all keys. Keys without an answer get the code of the link. */
static void remote_many_send(remote_many *m, size_t count)
{
    remote_bytes b = { .memory = &m->s->r->memory };
    remote_request q = { .ctx = m, .fn = remote_many_reply };
    remote_many_format(m, count, &b, &q);
    const cellar_err err = remote_ask_bytes(m->s->r, &b, q, NULL);
    for (size_t i = 0; i < count && err != CELLAR_OK; i++) {
        if (m->gets[i].err == CELLAR_PENDING) { m->gets[i].err = err; }
    }
}

CELLAR_PRIVATE void remote_get_many(void *ctx, cellar_tier_get *gets, size_t count)
{
    remote_space *s = ctx;
    remote_many m = { .s = s, .gets = gets };
    const bool open = remote_get_open(s);
    bool again = false;
    for (size_t i = 0; i < count; i++) { gets[i].err = open ? CELLAR_PENDING : CELLAR_MISS; }
    if (!open) { return; }
    remote_many_send(&m, count);
    for (size_t i = 0; i < count; i++) {
        cellar_tier_get *g = &gets[i];
        if (g->err != CELLAR_PENDING) {
            remote_got(s, g->err);
            continue;
        }
        g->err = remote_get(s, &g->key, g->buf, g->buf_cap, &g->value_len, &g->e);
        if (!again) { remote_many_send(&m, count); } /* most need the numbers that it has read */
        again = true;
    }
}

CELLAR_PRIVATE cellar_err remote_get_tags(remote_space *s, const remote_name *n, cellar_bytes key,
                                          remote_tags *out)
{
    cellar_tier_entry e = { .check = 0 };
    remote_asked a = { .s = s, .key = key, .name = n, .e = &e, .missing = out, .keeps = true };
    out->count = 0;
    const cellar_err err = remote_asked_send(&a);
    out->check = e.check;
    return a.answered ? CELLAR_OK : err;
}

/* ---- without waiting ---- */

typedef struct remote_later {
    remote_asked a; /* first: the reply function gets it */
    remote_name name;
    cellar_tier_ticket ticket;
    cellar_tier_entry e;
    bool answered, again; /* again: the numbers were read for this request */
    remote_tags missing;
    int64_t hold_ms;
    uint32_t beat;        /* of the lease */
    bool leases;          /* the request may have taken `lease` */
    remote_lease lease;
    cellar_tier_key k;    /* its bytes follow */
    char key[];
} remote_later;

static void remote_later_answer(remote_later *w, cellar_err err)
{
    const cellar_tier_host *h = w->a.s->host;
    const bool found = err == CELLAR_OK || err == CELLAR_ABSENT;
    if (w->answered) { return; }
    w->answered = true;
    h->answered(h->ctx, &w->ticket, &w->k, found || err < 0 ? err : CELLAR_MISS,
                found ? w->a.value : NULL, found ? w->a.value_len : 0, found ? &w->e : NULL);
}

static void remote_later_reply(void *ctx, uint32_t index, const remote_reply *reply)
{
    remote_later *w = ctx;
    w->a.buf_cap = SIZE_MAX;
    remote_asked_reply(&w->a, index, reply);
    const bool last = index != 0 || w->a.s->opts.values != CELLAR_REMOTE_RAW;
    if (last && w->a.err != CELLAR_PENDING) { remote_later_answer(w, w->a.err); }
}

/* Judge the value that has the place of the lease. E_BUSY: numbers are missing. E_UNSUPPORTED: it
 * is not of this version of cellar, or too long here, and no load may replace it. */
static cellar_err remote_lease_judge(void *ctx, const char *bytes, size_t len)
{
    remote_asked *a = ctx;
    remote_form f;
    const cellar_bytes key = a->key;
    const uint64_t most = a->s->host->max_value_bytes;
    const bool raw = a->s->opts.values == CELLAR_REMOTE_RAW;
    const remote_form_verdict v =
        !raw ? remote_form_read(bytes, len, a->name->text, a->name->len, key, most, &f)
        : len > most ? REMOTE_FORM_TOO_BIG : REMOTE_FORM_OK;
    if (v == REMOTE_FORM_FOREIGN || v == REMOTE_FORM_NEWER || v == REMOTE_FORM_TOO_BIG) {
        remote_get_count(a->s->r, v);
        return CELLAR_E_UNSUPPORTED;
    }
    if (raw) { return CELLAR_MISS; } /* nothing to compare */
    if (v == REMOTE_FORM_OK && f.kind == REMOTE_FORM_LEASE) {
        const remote_life life = remote_control_judge(a->s, f.generation, f.born, NULL, 0);
        if (a->missing != NULL) { a->missing->count = 0; }
        return life == REMOTE_LIFE_UNKNOWN ? CELLAR_E_BUSY
               : life == REMOTE_LIFE_FRESH ? CELLAR_PENDING : CELLAR_MISS;
    }
    remote_asked_envelope(a, bytes, len);
    const bool there = a->err == CELLAR_OK || a->err == CELLAR_ABSENT || a->err == CELLAR_E_BUFFER;
    return there ? CELLAR_OK : a->err == CELLAR_PENDING ? CELLAR_E_BUSY : CELLAR_MISS;
}

/* Take the reply of remote_lease_format: nil, or what the key has. */
static cellar_err remote_lease_said(remote_asked *a, const remote_reply *reply)
{
    if (reply->type == REMOTE_ERROR) { return remote_error_code(reply); }
    if (reply->type == REMOTE_NIL) { return CELLAR_LEASED; }
    a->e->born = remote_reply_number(a->s->r);
    const cellar_err err = remote_lease_judge(a, reply->text, reply->len);
    if (err == CELLAR_PENDING) {
        remote_lease_busy(a->s->r, a->name, reply->text, reply->len, false);
    }
    return err;
}

/* Return the beat of a lease for `hold_ms`. */
static uint32_t remote_lease_beat_of(const remote_space *s, int64_t hold_ms)
{
    const int64_t patience_ms = s->host->patience_ms(s->host->ctx);
    return remote_lease_choose(s->r, hold_ms < patience_ms ? hold_ms : patience_ms);
}

/* Return when a lease that was given now ends, or when the lease of another process is looked at
 * again. */
static int64_t remote_lease_until(const remote_space *s, cellar_err err, int64_t hold_ms,
                                  uint32_t beat)
{
    return s->host->now_ms(s->host->ctx) +
           (err == CELLAR_LEASED ? hold_ms : remote_lease_look_ms(s->r, beat));
}

/* Take the replies of remote_lease_begin and remote_lease_format. A dead value needs another
 * request, and is a miss: the load runs without a lease. */
static void remote_later_lease(void *ctx, uint32_t index, const remote_reply *reply)
{
    remote_later *w = ctx;
    remote_space *s = w->a.s;
    if (index == 0) { return; }
    w->a.buf_cap = SIZE_MAX;
    w->a.err = remote_lease_said(&w->a, reply);
    if (reply->type == REMOTE_ERROR) {
        w->a.err = CELLAR_E_BUSY;
        w->hold_ms = 0; /* a full server refuses this request, and has the value: GET */
    } else if (w->a.err == CELLAR_LEASED || w->a.err == CELLAR_PENDING) {
        if (w->a.err == CELLAR_LEASED) { remote_lease_held(s->r, w->hold_ms, w->beat); }
        w->answered = true;
        w->e.deadline_ms = remote_lease_until(s, w->a.err, w->hold_ms, w->beat);
        s->host->answered(s->host->ctx, &w->ticket, &w->k, w->a.err, &w->lease, sizeof w->lease,
                          &w->e);
    } else if (w->a.err != CELLAR_E_BUSY) {
        const bool negative = (w->e.flags & CELLAR_TIER_NEGATIVE) != 0;
        remote_later_answer(w, w->a.err != CELLAR_OK ? CELLAR_MISS
                               : negative ? CELLAR_ABSENT : CELLAR_OK);
    }
}

/* Format the request for a lease, if one request may suffice; else GET. */
static void remote_later_format(remote_later *w, remote_bytes *b, remote_request *q)
{
    remote_space *s = w->a.s;
    const uint64_t generation = remote_control_generation(s);
    w->leases = false;
    if (w->hold_ms == 0 || generation == 0 || w->name.digest ||
        s->opts.values == CELLAR_REMOTE_RAW || s->opts.write == CELLAR_REMOTE_INVALIDATE) {
        q->replies = remote_asked_format(&w->a, b);
        return;
    }
    const remote_lease_ask ask = { .name = &w->name, .names = &s->names, .key = w->a.key,
                                   .generation = generation, .hold_ms = w->hold_ms,
                                   .beat = w->beat };
    q->replies = 2;
    q->fn = remote_later_lease;
    w->leases = true;
    remote_lease_begin(s->r, w->beat, b);
    remote_lease_format(s->r, &ask, b, &w->lease);
}

static void remote_later_done(void *ctx, cellar_err err, remote_fate fate);

static void remote_later_post(remote_later *w)
{
    remote_bytes b = { .memory = &w->a.s->r->memory };
    remote_request q = { .ctx = w, .fn = remote_later_reply, .done = remote_later_done };
    remote_later_format(w, &b, &q);
    remote_post_bytes(w->a.s->r, &b, q);
}

/* Ask again, once, behind a reading of the numbers that were missing; with GET, if the server
 * refused the request for a lease. */
static bool remote_later_again(remote_later *w)
{
    const bool missing = w->a.err == CELLAR_PENDING || w->a.err == CELLAR_E_BUSY;
    if (w->answered || w->again || !missing) { return false; }
    w->again = true;
    remote_control_want(w->a.s->r->data, w->a.s, w->missing.tag, w->missing.count);
    w->a.err = CELLAR_MISS;
    remote_later_post(w);
    return true;
}

static void remote_later_done(void *ctx, cellar_err err, remote_fate fate)
{
    remote_later *w = ctx;
    cellar_remote *r = w->a.s->r;
    if (err == CELLAR_OK && remote_later_again(w)) { return; }
    if (w->leases && !w->answered && err != CELLAR_OK && fate == REMOTE_UNKNOWN) {
        remote_pending_release(w->a.s, &w->name, w->a.key, &w->lease);
    }
    /* without an answer the server may have a value */
    remote_later_answer(w, err != CELLAR_OK ? err : CELLAR_E_BUSY);
    remote_free(r, w, sizeof *w + w->k.len);
}

CELLAR_PRIVATE bool remote_get_later(void *ctx, const cellar_tier_key *k, int64_t hold_ms,
                                     const cellar_tier_ticket *ticket)
{
    remote_space *s = ctx;
    remote_get_note(s, k);
    remote_later *w = remote_get_open(s) ? remote_alloc(s->r, sizeof *w + k->len) : NULL;
    if (w == NULL) { return false; }
    memset(w, 0, sizeof *w);
    w->k = (cellar_tier_key){ w->key, k->len, k->hash };
    w->ticket = *ticket;
    w->hold_ms = hold_ms;
    w->beat = hold_ms != 0 ? remote_lease_beat_of(s, hold_ms) : 0;
    memcpy(w->key, k->bytes, k->len);
    w->a = remote_asked_new(s, &w->k, &w->name, &w->e, &w->missing);
    const remote_pending_kind p = remote_pending_look(s, &w->name, remote_asked_queued, &w->a);
    if (p == REMOTE_PENDING_NONE) {
        remote_later_post(w);
        return true;
    }
    if (p == REMOTE_PENDING_VALUE) { remote_later_answer(w, CELLAR_E_BUSY); } /* the value may reach
                                                            * the server behind the load */
    remote_free(s->r, w, sizeof *w + k->len);
    return p == REMOTE_PENDING_VALUE;
}

/* ---- the lease of a load ---- */

enum { REMOTE_NEWER_MS = 20 }; /* two ends closer than this are those of one value: clocks differ */

/* Return whether the value that the key has is a stale one: the load refreshes it. */
static bool remote_asked_ended(const remote_asked *a)
{
    return a->e->deadline_ms <= a->s->host->now_ms(a->s->host->ctx);
}

/* Take the lease beside a value. OK: another process stored a fresh value meanwhile. E_UNSUPPORTED:
 * the key is of another program, and a fill would replace it. */
static cellar_err remote_lease_beside(remote_asked *a, const remote_lease_ask *q, bool refresh,
                                      remote_lease *l, remote_fate *fate)
{
    const cellar_tier_host *h = a->s->host;
    cellar_err there = CELLAR_MISS;
    const int64_t old_ms = a->e->deadline_ms;
    const cellar_err err = remote_lease_take_beside(a->s->r, q, l, &there, fate);
    if (err != CELLAR_LEASED) { return err; }
    const bool none = there == CELLAR_MISS && l->seen == REMOTE_LEASE_NONE;
    if (none || there == CELLAR_PENDING) { /* a delete leaves no other trace; a load of the key */
        remote_pending_release(a->s, q->name, q->key, l);
        const cellar_err bare = remote_lease_take(a->s->r, q, l, fate);
        return bare == CELLAR_OK && old_ms == INT64_MAX ? CELLAR_E_BUSY : bare; /* it has one now */
    }
    const bool foreign = there == CELLAR_E_UNSUPPORTED;
    const bool newer = there == CELLAR_OK && a->e->deadline_ms > h->now_ms(h->ctx) &&
                       a->e->deadline_ms - REMOTE_NEWER_MS > old_ms;
    if (!foreign && (refresh ? !newer : remote_asked_send(a) == CELLAR_MISS)) { return err; }
    remote_pending_release(a->s, q->name, q->key, l);
    return foreign ? CELLAR_E_UNSUPPORTED : CELLAR_OK;
}

CELLAR_PRIVATE cellar_err remote_get_lease(void *ctx, const cellar_tier_key *k, int64_t hold_ms,
                                           cellar_tier_entry *e, cellar_tier_lease *l)
{
    remote_space *s = ctx;
    remote_name n;
    remote_lease lease;
    remote_fate fate = REMOTE_NOT_SENT;
    remote_tags missing = { .count = 0 };
    remote_asked a = remote_asked_new(s, k, &n, e, &missing);
    remote_lease_ask q = { .name = &n, .names = &s->names, .key = a.key,
                           .raw = s->opts.values == CELLAR_REMOTE_RAW, .hold_ms = hold_ms,
                           .beat = remote_lease_beat_of(s, hold_ms),
                           .judge = remote_lease_judge, .ctx = &a };
    const bool refresh = (e->flags & CELLAR_TIER_REFRESH) != 0;
    const bool any = refresh && e->deadline_ms == INT64_MAX; /* the value may live on for long */
    if (!remote_get_open(s) || s->opts.write == CELLAR_REMOTE_INVALIDATE) { return CELLAR_MISS; }
    if (n.digest) { return CELLAR_MISS; } /* a heard digest wakes no waiter */
    const remote_pending_kind p = remote_pending_look(s, &n, remote_asked_queued, &a);
    if (p != REMOTE_PENDING_NONE) { /* a value may reach the server behind the load */
        return p == REMOTE_PENDING_VALUE ? CELLAR_E_BUSY : CELLAR_MISS;
    }
    cellar_err err = CELLAR_E_BUSY;
    for (int round = 0; round < 2 && err == CELLAR_E_BUSY; round++) {
        q.generation = remote_control_generation(s);
        if (q.generation == 0 || round > 0) {
            const cellar_err need = remote_control_need(s, missing.tag, missing.count);
            if (need != CELLAR_OK) { return need; }
            q.generation = remote_control_generation(s);
        }
        err = refresh || q.raw ? remote_lease_beside(&a, &q, refresh, &lease, &fate)
                               : remote_lease_take(s->r, &q, &lease, &fate);
    }
    if (err == CELLAR_OK && !refresh && !q.raw && remote_asked_ended(&a)) {
        err = remote_lease_beside(&a, &q, true, &lease, &fate);
    }
    if (fate == REMOTE_UNKNOWN) { remote_pending_release(s, &n, q.key, &lease); }
    if (err == CELLAR_E_SPACE && any) { err = CELLAR_E_BUSY; }
    if (err == CELLAR_LEASED) {
        memcpy(l, &lease, sizeof lease);
        remote_lease_held(s->r, hold_ms, q.beat);
    }
    e->deadline_ms = remote_lease_until(s, err, hold_ms, q.beat);
    return err;
}

CELLAR_PRIVATE void remote_unlease(void *ctx, const cellar_tier_key *k,
                                   const cellar_tier_lease *held)
{
    remote_space *s = ctx;
    remote_name n;
    remote_lease l;
    memcpy(&l, held, sizeof l);
    remote_key_name(&s->names, k->bytes, k->len, &n);
    remote_pending_release(s, &n, (cellar_bytes){ k->bytes, k->len }, &l);
}

/* ---- the leases of many loads ---- */

/* The keys of one request: those with the code CONFLICT. After it, E_BUSY: to be asked alone. */
typedef struct remote_claims {
    remote_space *s;
    cellar_tier_claim *claims;
    size_t at;         /* of the key that the next reply belongs to, or of one before it */
    remote_name name;  /* of that key */
    remote_tags none;
    int64_t hold_ms;
    uint32_t beat;
} remote_claims;

static void remote_claims_reply(void *ctx, uint32_t index, const remote_reply *reply)
{
    remote_claims *m = ctx;
    if (index == 0) { return; } /* the beat */
    while (m->claims[m->at].err != CELLAR_CONFLICT) { m->at++; }
    cellar_tier_claim *q = &m->claims[m->at++];
    remote_asked a = remote_asked_new(m->s, &q->key, &m->name, &q->e, &m->none);
    q->err = remote_lease_said(&a, reply);
    const bool ended = q->err == CELLAR_OK && remote_asked_ended(&a);
    const bool single = q->err == CELLAR_MISS || q->err == CELLAR_E_UNSUPPORTED;
    if (single || ended) { q->err = CELLAR_E_BUSY; }
    q->e.deadline_ms = remote_lease_until(m->s, q->err, m->hold_ms, m->beat);
}

/* Format the request for a key. Leave out a key that only a single request serves. */
static void remote_claim_format(remote_claims *m, cellar_tier_claim *q, uint64_t generation,
                                remote_bytes *b)
{
    remote_lease l;
    remote_asked a = remote_asked_new(m->s, &q->key, &m->name, &q->e, &m->none);
    const remote_lease_ask ask = { .name = &m->name, .names = &m->s->names, .key = a.key,
                                   .generation = generation, .hold_ms = m->hold_ms,
                                   .beat = m->beat };
    q->err = CELLAR_E_BUSY;
    if ((q->e.flags & CELLAR_TIER_REFRESH) != 0 || m->name.digest ||
        remote_pending_look(m->s, &m->name, remote_asked_queued, &a) != REMOTE_PENDING_NONE) {
        return;
    }
    remote_lease_format(m->s->r, &ask, b, &l);
    memcpy(&q->l, &l, sizeof l);
    q->err = CELLAR_CONFLICT;
}

/* Send one request for all keys that need no more. Keys without an answer get the code of the
 * link. */
static void remote_claims_send(remote_claims *m, size_t count)
{
    const uint64_t generation = remote_control_generation(m->s);
    const bool single = generation == 0 || m->s->opts.values == CELLAR_REMOTE_RAW;
    remote_bytes b = { .memory = &m->s->r->memory };
    remote_request q = { .ctx = m, .fn = remote_claims_reply };
    remote_fate fate;
    remote_lease_begin(m->s->r, m->beat, &b);
    for (size_t i = 0; i < count; i++) {
        m->claims[i].err = CELLAR_E_BUSY;
        if (!single) { remote_claim_format(m, &m->claims[i], generation, &b); }
        q.replies += m->claims[i].err == CELLAR_CONFLICT;
    }
    if (q.replies != 0) { q.replies++; }
    const cellar_err err = remote_ask_bytes(m->s->r, &b, q, &fate);
    for (size_t i = 0; i < count; i++) {
        if (m->claims[i].err == CELLAR_CONFLICT) {
            m->claims[i].err = err;
            if (fate == REMOTE_UNKNOWN && err != CELLAR_OK) {
                remote_unlease(m->s, &m->claims[i].key, &m->claims[i].l);
            }
        }
        if (m->claims[i].err == CELLAR_LEASED) {
            remote_lease_held(m->s->r, m->hold_ms, m->beat);
        }
    }
}

CELLAR_PRIVATE void remote_get_leases(void *ctx, cellar_tier_claim *claims, size_t count,
                                      int64_t hold_ms)
{
    remote_space *s = ctx;
    remote_claims m = { .s = s, .claims = claims, .hold_ms = hold_ms };
    const bool open = remote_get_open(s) && s->opts.write != CELLAR_REMOTE_INVALIDATE;
    for (size_t i = 0; i < count; i++) {
        remote_get_note(s, &claims[i].key);
        claims[i].err = CELLAR_MISS;
    }
    if (!open) { return; }
    m.beat = remote_lease_beat_of(s, hold_ms);
    remote_claims_send(&m, count);
    for (size_t i = 0; i < count; i++) {
        cellar_tier_claim *q = &claims[i];
        if (q->err != CELLAR_E_BUSY) { continue; }
        q->err = remote_get_lease(s, &q->key, hold_ms, &q->e, &q->l);
    }
}
