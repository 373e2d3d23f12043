/* SPDX-License-Identifier: MIT
 *
 * put: changes of keys in the server.
 *
 * WALK       set: numbers of generation and tags -> envelope -> SET PX -> answer.
 *            A value that would be dead for readers becomes a delete, and the call returns
 *            DEFERRED. A set beside an end counts as behind it: born in the newest epoch.
 *            conditional set: script that compares the check of the envelope, at most 16 rounds.
 *            Without an answer the journal ends the state that was read, not the key.
 * COUNTER    add: script, which adds to value and check of an envelope of this generation. Its tags
 *            are judged here, behind the addition. Any other state of the key (a dead counter, a
 *            value of 8 bytes of a set) is read, compared and set: 16 rounds at most. Without an
 *            answer nothing else is sent: the addition may have happened.
 * RAW        swap: GET -> its check is the expected one? -> script with the old and the new bytes,
 *            which compares all of them. add: script: INCRBY, which keeps the life of the counter.
 *            Scripts are announced to their sender, too. A late execution removes the entry from
 *            memory, so a change without an answer needs no journal, and deletes no foreign value.
 * INVARIANTS Each change that the server did not confirm is a pending delete before the call
 *            returns (pending.c), and the call returns DEFERRED or an error: memory then has
 *            nothing of the key.
 * MODES      THROUGH waits for the answer. BEHIND queues. INVALIDATE writes a placeholder instead
 *            of the value: the server reports a delete only if there was a key.
 * DURABLE    A WAIT blocks all requests of the link behind it. So it follows the answer to the
 *            change, one at a time is on its way, and a server without replicas gets 1 in 1 s.
 * LOCKING    space.use is held for reading by the caller of the table (attach.c). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "remote/control.h"
#include "remote/form.h"
#include "remote/get.h"
#include "remote/pending.h"
#include "remote/share.h"

enum {
    REMOTE_WRITE_HEAD = REMOTE_NAME_MAX + 64,     /* room for a command before a value */
    REMOTE_WRITE_AROUND = REMOTE_WRITE_HEAD + 64, /* and behind it */
    REMOTE_CHANGE_ROUNDS = 16
};

#define REMOTE_PUT_COUNTER 0x80000000u /* flag of an entry: the value is a counter */
#define REMOTE_WAIT_PAUSE_NS INT64_C(1000000000) /* behind a WAIT that found too few replicas */

/* A write on its way. */
typedef struct remote_write {
    remote_space *s;
    cellar_bytes key;
    remote_name name;
    uint8_t *bytes;       /* for the server, with room for its command around; NULL: delete */
    size_t len;
    int64_t life_ms;      /* PX */
    uint64_t check;       /* of the envelope */
    cellar_err lost;      /* why there are no bytes; OK: they would have ended already; E_TIMEOUT:
                           * the server did not answer, and is asked nothing more */
    bool refused, no_memory;
    bool counter;         /* the bytes are a counter: no release of what it replaces */
} remote_write;

static void remote_write_begin(remote_write *w, remote_space *s, const cellar_tier_key *k)
{
    memset(w, 0, offsetof(remote_write, name));
    memset(&w->bytes, 0, sizeof *w - offsetof(remote_write, bytes));
    w->s = s;
    w->key = (cellar_bytes){ k->bytes, k->len };
    remote_key_name(&s->names, k->bytes, k->len, &w->name);
    if (w->name.digest) { atomic_store(&s->has_digest, true); }
}

/* Take a block for `len` bytes and their command. False: w->lost says why there is none. */
static bool remote_write_room(remote_write *w, size_t len)
{
    const uint64_t largest = remote_largest(w->s->r->link);
    const bool fits = largest == 0 || len <= largest;
    uint8_t *block = fits ? remote_alloc(w->s->r, len + REMOTE_WRITE_AROUND) : NULL;
    w->len = len;
    w->bytes = block != NULL ? block + REMOTE_WRITE_HEAD : NULL;
    if (block == NULL) { w->lost = fits ? CELLAR_E_NOMEM : CELLAR_E_TOOBIG; }
    return block != NULL;
}

static void remote_write_end(remote_write *w)
{
    if (w->bytes == NULL) { return; }
    remote_free(w->s->r, w->bytes - REMOTE_WRITE_HEAD, w->len + REMOTE_WRITE_AROUND);
    w->bytes = NULL;
}

/* Let the journal delete the key, because the server did not confirm the write. */
static cellar_err remote_write_defer(remote_write *w)
{
    remote_space *s = w->s;
    const bool kept = remote_pending_delete(s, &w->name, w->key);
    REMOTE_ADD(s->r, deferred, 1);
    return kept || s->opts.values != CELLAR_REMOTE_RAW ? CELLAR_DEFERRED : CELLAR_E_LIMIT;
}

/* ---- what is written ---- */

/* Return the bytes for `f`, or without it `value`; false: no memory. */
static bool remote_write_make(remote_write *w, remote_form *f)
{
    if (w->name.digest) { f->key = w->key; }
    if (!remote_write_room(w, remote_form_size(f))) { return false; }
    w->check = remote_form_write(f, w->name.text, w->name.len, w->bytes);
    return true;
}

/* Set generation and born. Return DEFERRED if readers would find the value dead, or E_TIMEOUT. A
 * number that this call makes is reported to this process, too, and then read once more. */
static cellar_err remote_write_numbers(remote_write *w, const cellar_tier_entry *e, remote_form *f)
{
    remote_space *s = w->s;
    remote_life life = REMOTE_LIFE_UNKNOWN;
    for (int i = 0; i < REMOTE_NUMBER_ROUNDS && life == REMOTE_LIFE_UNKNOWN; i++) {
        const cellar_err err =
            i != 0 ? remote_control_need(s, f->tags, f->tag_count) : CELLAR_OK;
        if (err != CELLAR_OK) { return err == CELLAR_E_TIMEOUT ? err : CELLAR_DEFERRED; }
        f->generation = remote_control_generation(s);
        f->born = remote_control_born(s->r->data, e->born);
        life = remote_control_judge(s, f->generation, f->born, f->tags, f->tag_count);
    }
    return life == REMOTE_LIFE_FRESH ? CELLAR_OK : CELLAR_DEFERRED;
}

/* Set the times in the clock of the server. Return false if they have passed. */
static bool remote_write_times(remote_write *w, const cellar_tier_entry *e, remote_form *f)
{
    const cellar_tier_host *h = w->s->host;
    const int64_t most_ms = w->s->r->cfg.max_ttl_ms, now_ms = h->now_ms(h->ctx);
    int64_t error_ms;
    const int64_t engine_ms = remote_engine_now(w->s->r->link, &error_ms);
    int64_t left_ms = e->deadline_ms == INT64_MAX ? most_ms : e->deadline_ms - now_ms;
    if (left_ms > most_ms) { left_ms = most_ms; }
    const bool raw = w->s->opts.values == CELLAR_REMOTE_RAW; /* readers know only the whole life */
    f->stale_ms = raw ? 0 : e->stale_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)e->stale_ms;
    f->deadline_ms = (uint64_t)(engine_ms - error_ms + left_ms);
    w->life_ms = left_ms + f->stale_ms;
    return w->life_ms > 0 && engine_ms != 0;
}

/* Make the envelope. Without bytes the write deletes the key. */
static void remote_write_envelope(remote_write *w, const void *value, size_t value_len,
                                  const cellar_tier_entry *e)
{
    remote_form f = { .kind = REMOTE_FORM_VALUE };
    w->counter = (e->flags & REMOTE_PUT_COUNTER) != 0;
    if ((e->flags & CELLAR_TIER_NEGATIVE) != 0) { f.kind = REMOTE_FORM_ABSENT; }
    if (w->counter) { f.kind = REMOTE_FORM_COUNTER; }
    f.cost = (uint8_t)e->cost;
    f.user_flags = e->user_flags;
    f.tag_count = (uint8_t)e->tag_count;
    for (uint32_t i = 0; i < e->tag_count; i++) { f.tags[i] = e->tags[i]; }
    f.value = (cellar_bytes){ value, value_len };
    const bool ends = remote_pending_waits(w->s, &w->name) == REMOTE_PENDING_END;
    w->lost = ends ? CELLAR_DEFERRED : remote_write_numbers(w, e, &f);
    if (w->lost != CELLAR_OK) { return; }
    if (remote_write_times(w, e, &f)) {
        (void)remote_write_make(w, &f);
    } else if (w->life_ms > 0) {
        w->lost = CELLAR_DEFERRED;
    }
}

static void remote_write_raw(remote_write *w, const void *value, size_t value_len,
                             const cellar_tier_entry *e)
{
    remote_form f = { .kind = REMOTE_FORM_VALUE };
    if ((e->flags & CELLAR_TIER_NEGATIVE) != 0) { return; }
    (void)remote_write_times(w, e, &f);
    if (w->life_ms <= 0) { return; }
    if (!remote_write_room(w, value_len)) { return; }
    w->check = remote_raw_check(value, value_len);
    if (value_len != 0) { memcpy(w->bytes, value, value_len); }
}

/* Make the placeholder of INVALIDATE: a miss for all, and a change that the server reports. */
static void remote_write_placeholder(remote_write *w)
{
    remote_form f = { .kind = REMOTE_FORM_LEASE };
    w->life_ms = w->s->r->cfg.max_ttl_ms;
    (void)remote_write_make(w, &f);
    w->lost = CELLAR_OK; /* without memory a delete takes its place */
}

/* ---- plain writes ---- */

static void remote_write_reply(void *ctx, uint32_t index, const remote_reply *reply)
{
    remote_write *w = ctx;
    (void)index;
    w->refused = reply->type == REMOTE_ERROR;
    w->no_memory = w->refused && remote_error_code(reply) == CELLAR_E_SPACE;
}

/* Write SET around the bytes. */
static void remote_write_format(const remote_write *w, remote_request *q)
{
    char head[REMOTE_WRITE_HEAD], ms[24];
    const int digits = snprintf(ms, sizeof ms, "%lld", (long long)w->life_ms);
    const int before = snprintf(head, sizeof head, "*5\r\n$3\r\nSET\r\n$%zu\r\n%.*s\r\n$%zu\r\n",
                                w->name.len, (int)w->name.len, w->name.text, w->len);
    const int after = snprintf((char *)w->bytes + w->len, REMOTE_WRITE_AROUND - REMOTE_WRITE_HEAD,
                                "\r\n$2\r\nPX\r\n$%d\r\n%s\r\n", digits, ms);
    memcpy(w->bytes - before, head, (size_t)before);
    q->bytes = (const char *)w->bytes - before;
    q->bytes_len = (size_t)before + w->len + (size_t)after;
}

static cellar_err remote_write_ask(remote_write *w)
{
    remote_bytes b = { .memory = &w->s->r->memory };
    remote_request q = { .replies = 1, .ctx = w, .fn = remote_write_reply };
    w->refused = w->no_memory = false;
    if (w->bytes != NULL) {
        remote_write_format(w, &q);
        return remote_ask(w->s->r->link, &q, NULL);
    }
    q.flags = REMOTE_SCRIPTED;
    remote_drop_format(w->s, (cellar_bytes)REMOTE_NAME(&w->name), &b);
    return remote_ask_bytes(w->s->r, &b, q, NULL);
}

/* Send a delete of the key that waits in the journal before the write `w`. */
static cellar_err remote_write_settle(const remote_write *w)
{
    const uint64_t change = remote_pending_waits(w->s, &w->name);
    if (change == 0) { return CELLAR_OK; }
    if (change == REMOTE_PENDING_END) { return CELLAR_E_BREAKER_OPEN; }
    remote_write drop = { .s = w->s, .name = w->name };
    const cellar_err err = remote_write_ask(&drop);
    if (err != CELLAR_OK || drop.refused) { return err != CELLAR_OK ? err : CELLAR_E_IO; }
    remote_pending_settle(w->s, &w->name, change);
    return CELLAR_OK;
}

static cellar_err remote_write_through(remote_write *w)
{
    cellar_err err = w->bytes != NULL ? remote_write_settle(w) : CELLAR_OK;
    if (err == CELLAR_OK) { err = remote_write_ask(w); }
    const bool full = err == CELLAR_OK && w->no_memory;
    if (full) {
        REMOTE_ADD(w->s->r, refused_memory, 1);
        remote_write_end(w);
        err = remote_write_ask(w);
    }
    if (err != CELLAR_OK || w->refused) { return remote_write_defer(w); }
    return full && w->s->opts.write != CELLAR_REMOTE_INVALIDATE ? CELLAR_E_SPACE : CELLAR_OK;
}

static cellar_err remote_write_behind(remote_write *w)
{
    remote_space *s = w->s;
    const int64_t end_ms = s->host->now_ms(s->host->ctx) + w->life_ms;
    if (w->bytes != NULL) {
        const cellar_bytes value = { w->bytes, w->len };
        const cellar_err err = remote_pending_value(s, &w->name, w->key, value, end_ms);
        if (err == CELLAR_OK) { return CELLAR_OK; }
        if (err == CELLAR_E_LIMIT) { REMOTE_ADD(s->r, queue_full, 1); }
        else { REMOTE_ADD(s->r, deferred, 1); }
    }
    if (remote_pending_delete(s, &w->name, w->key)) {
        return w->bytes != NULL ? CELLAR_DEFERRED : CELLAR_OK;
    }
    return s->opts.values == CELLAR_REMOTE_RAW ? CELLAR_E_LIMIT : CELLAR_DEFERRED;
}

static cellar_err remote_write_run(remote_write *w)
{
    if (w->bytes != NULL) { REMOTE_ADD(w->s->r, sets, 1); }
    else { REMOTE_ADD(w->s->r, deletes, 1); }
    return w->s->opts.write == CELLAR_REMOTE_BEHIND ? remote_write_behind(w)
                                                    : remote_write_through(w);
}

/* ---- RAW: compare and set ---- */

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
static void remote_swap_format(remote_swap *w, const char *old, size_t old_len)
{
    const bool named = remote_is_named(w->s->r);
    const cellar_bytes words[] = { REMOTE_EVAL(w->s->r, named, REMOTE_SCRIPT_SWAP, "1"),
                                   REMOTE_NAME(w->name), w->value,
                                   REMOTE_NUMBER(w->value.data != NULL ? w->life_ms : 0),
                                   { old, old_len } };
    remote_command(&w->script, words, old != NULL ? 7 : 6);
}

/* Take the value that the key has. */
static void remote_swap_seen(void *ctx, uint32_t index, const remote_reply *reply)
{
    remote_swap *w = ctx;
    (void)index;
    if (reply->type == REMOTE_STRING && remote_raw_check(reply->text, reply->len) == w->seen) {
        remote_swap_format(w, reply->text, reply->len);
    }
}

static void remote_swap_reply(void *ctx, uint32_t index, const remote_reply *reply)
{
    remote_swap *w = ctx;
    (void)index;
    w->err = reply->type == REMOTE_ERROR ? remote_error_code(reply)
             : reply->number < 0         ? CELLAR_E_TYPE
             : reply->number == 1        ? CELLAR_OK
                                         : CELLAR_CONFLICT;
}

/* Store `value` for life_ms if the key has a value with the check `seen`; 0: no value. value NULL:
 * delete the key.
 * returns: OK; CONFLICT: the key has another value; E_TYPE: it is no string. E_SPACE (the server is
 *          out of memory), E_IO (another error of the server), codes of remote_ask: after E_TIMEOUT
 *          and E_IO the key may have changed. Processes hear that, this one too: no journal is
 *          needed. */
static cellar_err remote_raw_swap(remote_space *s, const remote_name *n, uint64_t seen,
                                  const void *value, size_t value_len, int64_t life_ms)
{
    remote_swap w = { .s = s, .name = n, .seen = seen, .value = { value, value_len },
                      .life_ms = life_ms, .script = { .memory = &s->r->memory } };
    const remote_request look = { .ctx = &w, .fn = remote_swap_seen };
    cellar_err err = CELLAR_OK;
    if (seen == 0) { remote_swap_format(&w, NULL, 0); }
    else { err = remote_ask_words(s->r, REMOTE_WORDS({ "GET", 3 }, REMOTE_NAME(n)), look, NULL); }
    if (err == CELLAR_OK && w.script.cap == 0) {
        err = w.script.err != CELLAR_OK ? w.script.err : CELLAR_CONFLICT;
    }
    if (err != CELLAR_OK) { return err; }
    const remote_request q = { .replies = 1, .flags = REMOTE_SCRIPTED, .ctx = &w,
                               .fn = remote_swap_reply };
    err = remote_ask_bytes(s->r, &w.script, q, NULL);
    return err == CELLAR_OK ? w.err : err;
}

/* ---- RAW: counters ---- */

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

/* Add to a counter: decimal text, as INCRBY reads and writes it. Its life stays.
 * in:      *number: initial value of a new counter, which lives for life_ms; 0: none is made
 * out:     *number: the sum with OK, the limit with E_RANGE
 * returns: OK; MISS (no counter), E_TYPE (another text or type), E_RANGE (overflow: the counter has
 *          the limit); else as remote_raw_swap */
static cellar_err remote_raw_add(remote_space *s, const remote_name *n, int64_t delta,
                                 int64_t *number, int64_t life_ms)
{
    const int64_t limit = delta < 0 ? INT64_MIN : INT64_MAX;
    const bool named = remote_is_named(s->r);
    remote_sum sum = { limit, CELLAR_MISS };
    const remote_request q = { .flags = REMOTE_SCRIPTED, .ctx = &sum, .fn = remote_sum_reply };
    cellar_err err = remote_ask_words(
        s->r, REMOTE_WORDS(REMOTE_EVAL(s->r, named, REMOTE_SCRIPT_ADD, "1"), REMOTE_NAME(n),
                           REMOTE_NUMBER(delta), REMOTE_NUMBER(limit), REMOTE_NUMBER(*number),
                           REMOTE_NUMBER(life_ms)), q, NULL);
    if (err == CELLAR_OK) { err = sum.err; }
    if (err == CELLAR_OK || err == CELLAR_E_RANGE) { *number = sum.number; }
    return err;
}

/* ---- conditional writes ---- */

/* Let the journal end the state that a change without an answer should have replaced. */
static cellar_err remote_change_defer(remote_write *w, const void *check, bool some)
{
    remote_space *s = w->s;
    remote_lease old = { .seen = 0 };
    memcpy(&old.held, check, sizeof old.held);
    if (w->counter || (some && !remote_pending_release(s, &w->name, w->key, &old))) {
        return CELLAR_E_TIMEOUT;
    }
    REMOTE_ADD(s->r, deferred, 1);
    return CELLAR_DEFERRED;
}

/* Change the key if it has the check `seen`; 0: no key. CONFLICT: it has another one. */
static cellar_err remote_change_ask(remote_write *w, uint64_t seen)
{
    remote_fate fate;
    int64_t numbers[REMOTE_NUMBERS_MAX];
    uint8_t check[8];
    remote_form_count(check, (int64_t)seen);
    const cellar_bytes old = { check, seen != 0 ? 8 : 0 }, value = { w->bytes, w->len };
    const cellar_err err =
        remote_change_run(w->s->r, &w->name, old, value, w->life_ms, numbers, &fate);
    if (fate == REMOTE_UNKNOWN) { return remote_change_defer(w, check, seen != 0); }
    return err == CELLAR_OK && numbers[0] != 1 ? CELLAR_CONFLICT : err;
}

/* Change the key if it has the state `expected`; 0: no live value. */
static cellar_err remote_change(remote_write *w, uint64_t expected)
{
    const cellar_tier_key k = { w->key.data, w->key.len, 0 };
    const cellar_tier_host *h = w->s->host;
    uint64_t seen = expected;
    for (int round = 0; round < REMOTE_CHANGE_ROUNDS; round++) {
        const cellar_err err = remote_change_ask(w, seen);
        if (err != CELLAR_CONFLICT || expected != 0) { return err; }
        cellar_tier_entry e = { .flags = REMOTE_GET_COMPARES };
        size_t len;
        const cellar_err there = remote_get(w->s, &k, NULL, 0, &len, &e);
        const bool some = there == CELLAR_OK || there == CELLAR_E_BUFFER;
        if (!some && there < 0) { return there; }
        if (some && e.deadline_ms > h->now_ms(h->ctx)) { return CELLAR_CONFLICT; }
        seen = e.check;
    }
    return CELLAR_CONFLICT;
}

/* Tell whether the server can judge a condition. */
static cellar_err remote_if_open(const remote_space *s)
{
    if (s->opts.write != CELLAR_REMOTE_THROUGH) { return CELLAR_E_UNSUPPORTED; }
    return remote_get_open(s) ? CELLAR_OK : CELLAR_E_BREAKER_OPEN;
}

static cellar_err remote_write_if(remote_write *w, const cellar_tier_entry *e)
{
    cellar_err err = remote_if_open(w->s);
    if (err == CELLAR_OK) { err = remote_write_settle(w); }
    if (err != CELLAR_OK) { return err; }
    if (w->s->opts.values != CELLAR_REMOTE_RAW) { return remote_change(w, e->check); }
    return remote_raw_swap(w->s, &w->name, e->check, w->bytes, w->len, w->life_ms);
}

/* ---- durable writes ---- */

static void remote_replicas_reply(void *ctx, uint32_t index, const remote_reply *reply)
{
    uint32_t *have = ctx;
    (void)index;
    if (reply->type == REMOTE_INTEGER && reply->number > 0) { *have = (uint32_t)reply->number; }
}

/* Return how many replicas have all that this link has written so far. */
static uint32_t remote_replicas_ask(const remote_space *s)
{
    uint32_t have = 0;
    const int64_t io_ms = s->r->cfg.io_ms;
    const remote_request q = { .flags = REMOTE_WAITS, .wait_ms = io_ms / 2 + 1, .ctx = &have,
                               .fn = remote_replicas_reply };
    (void)remote_ask_words(s->r, REMOTE_WORDS({ "WAIT", 4 }, REMOTE_NUMBER(s->opts.durable),
                                              REMOTE_NUMBER(io_ms < 10 ? 1 : io_ms / 10)),
                           q, NULL);
    return have;
}

/* Wait for the replicas behind a change with the code `err`, and return that code, or with `strict`
 * another one. One WAIT serves all changes that the server took before it. */
static cellar_err remote_write_durable(remote_space *s, cellar_err err)
{
    remote_replicas *w = &s->r->replicas;
    const uint32_t n = s->opts.durable;
    if (err == CELLAR_DEFERRED && s->opts.strict) { return CELLAR_E_TIMEOUT; }
    if (n == 0 || err != CELLAR_OK || s->opts.write == CELLAR_REMOTE_BEHIND) { return err; }
    const uint64_t mine = atomic_fetch_add(&w->changes, 1) + 1;
    pthread_mutex_lock(&w->lock);
    if (w->upto < mine || w->wanted < n) {
        const bool pause = remote_mono_ns() < w->again_ns;
        w->upto = atomic_load(&w->changes);
        w->wanted = n;
        w->have = pause ? 0 : remote_replicas_ask(s);
        if (!pause && w->have < n) { w->again_ns = remote_mono_ns() + REMOTE_WAIT_PAUSE_NS; }
    }
    if (w->have < n) { REMOTE_ADD(s->r, replicas_short, 1); }
    pthread_mutex_unlock(&w->lock);
    return err;
}

/* ---- functions of the table ---- */

CELLAR_PRIVATE cellar_err remote_put(void *ctx, const cellar_tier_key *k, const void *value,
                                     size_t value_len, cellar_tier_entry *e)
{
    remote_space *s = ctx;
    remote_write w;
    const bool invalidates = s->opts.write == CELLAR_REMOTE_INVALIDATE;
    const bool conditional = (e->flags & CELLAR_TIER_IF_CHECK) != 0;
    remote_tags tags;
    remote_write_begin(&w, s, k);
    if ((e->flags & CELLAR_TIER_SAME_TAGS) != 0 && s->opts.values != CELLAR_REMOTE_RAW) {
        if (remote_get_tags(s, &w.name, w.key, &tags) != CELLAR_OK) { return CELLAR_E_IO; }
        if (tags.check != e->check) { return CELLAR_CONFLICT; }
        e->tags = tags.tag;
        e->tag_count = tags.count;
    }
    if (!conditional) { e->born = UINT64_MAX; } /* as of now: no state of before is in it */
    if (invalidates) {
        remote_write_placeholder(&w);
    } else if (s->opts.values == CELLAR_REMOTE_RAW) {
        remote_write_raw(&w, value, value_len, e);
    } else {
        remote_write_envelope(&w, value, value_len, e);
    }
    if (conditional && w.lost != CELLAR_OK) {
        return w.lost == CELLAR_DEFERRED ? CELLAR_CONFLICT : w.lost;
    }
    cellar_err err = conditional                  ? remote_write_if(&w, e)
                     : w.lost == CELLAR_E_TIMEOUT ? remote_write_defer(&w)
                                                  : remote_write_run(&w);
    if (err == CELLAR_OK) { err = w.lost; }
    if (err == CELLAR_OK) { e->check = w.check; }
    remote_write_end(&w);
    return remote_write_durable(s, err);
}

/* ---- counters ---- */

/* One call of an increment. */
typedef struct remote_counting {
    remote_write *w;
    const cellar_tier_key *k;
    int64_t delta, init, number; /* number: the sum, or the limit */
    bool over;        /* init + delta is no int64 */
    cellar_err err;   /* OK, E_RANGE: added to the counter `f`; MISS: no key; CONFLICT: another
                       * state; E_TYPE, or an error of the server */
    remote_form f;    /* its tags are: */
    remote_tags tags;
} remote_counting;

/* Add, and keep the limit in place of a sum that is no int64. */
static bool remote_count_sum(int64_t n, int64_t delta, int64_t *sum)
{
    const bool over = __builtin_add_overflow(n, delta, sum);
    if (over) { *sum = delta < 0 ? INT64_MIN : INT64_MAX; }
    return over;
}

static void remote_count_reply(void *ctx, uint32_t index, const remote_reply *reply)
{
    remote_counting *a = ctx;
    const remote_write *w = a->w;
    const remote_reply *said = reply->type == REMOTE_ARRAY ? reply->first : NULL;
    const remote_reply *v = said != NULL ? said->next : NULL;
    (void)index;
    a->err = reply->type == REMOTE_ERROR ? remote_sum_code(reply)
             : v == NULL                 ? CELLAR_MISS
             : said->number < 0          ? CELLAR_E_TYPE : CELLAR_CONFLICT;
    if (a->err != CELLAR_CONFLICT || said->number == 0 || v->type != REMOTE_STRING ||
        remote_form_read(v->text, v->len, w->name.text, w->name.len, w->key, 8, &a->f) !=
            REMOTE_FORM_OK || a->f.kind != REMOTE_FORM_COUNTER) {
        return;
    }
    a->number = remote_form_number(a->f.value.data);
    a->err = said->number == 2 || (said->number == 3 && a->over) ? CELLAR_E_RANGE : CELLAR_OK;
    remote_tags_keep(&a->tags, &a->f);
}

/* Let the server add. */
static cellar_err remote_count_ask(remote_counting *a)
{
    const remote_write *w = a->w;
    const remote_request q = { .flags = REMOTE_SCRIPTED, .ctx = a, .fn = remote_count_reply };
    const bool named = remote_is_named(w->s->r);
    remote_fate fate;
    uint8_t delta[8], generation[8];
    remote_form_count(delta, a->delta);
    remote_form_count(generation, (int64_t)remote_control_generation(w->s));
    const cellar_err err = remote_ask_words(
        w->s->r, REMOTE_WORDS(REMOTE_EVAL(w->s->r, named, REMOTE_SCRIPT_COUNT, "1"),
                              REMOTE_NAME(&w->name),
                              { delta, sizeof delta }, { generation, sizeof generation },
                              { w->bytes, w->bytes != NULL ? w->len : 0 },
                              REMOTE_NUMBER(w->life_ms)), q, &fate);
    return fate == REMOTE_UNKNOWN ? CELLAR_E_TIMEOUT : err == CELLAR_OK ? a->err : err;
}

/* Judge the counter to which the server has added. CONFLICT: it is dead. */
static cellar_err remote_count_judge(const remote_counting *a)
{
    remote_space *s = a->w->s;
    remote_life life = REMOTE_LIFE_UNKNOWN;
    for (int i = 0; i < REMOTE_NUMBER_ROUNDS && life == REMOTE_LIFE_UNKNOWN; i++) {
        const cellar_err err =
            i != 0 ? remote_control_need(s, a->tags.tag, a->tags.count) : CELLAR_OK;
        if (err != CELLAR_OK) { return CELLAR_E_TIMEOUT; }
        life = remote_control_judge(s, a->f.generation, a->f.born, a->tags.tag, a->tags.count);
    }
    return life == REMOTE_LIFE_FRESH     ? a->err
           : life == REMOTE_LIFE_UNKNOWN ? CELLAR_E_TIMEOUT : CELLAR_CONFLICT;
}

/* Make a counter of what the key has. The numbers are read first: a counter of a generation that
 * this process has not heard of yet is live. CONFLICT: the key has changed. */
static cellar_err remote_count_replace(remote_counting *a, const cellar_tier_entry *e)
{
    remote_space *s = a->w->s;
    const cellar_tier_host *h = s->host;
    uint8_t bytes[8];
    size_t len = 0;
    cellar_tier_entry old = { .flags = CELLAR_TIER_FRESH | REMOTE_GET_COMPARES };
    const uint64_t born = h->epoch(h->ctx);
    cellar_err err = remote_control_need(s, NULL, 0);
    if (err == CELLAR_OK) { err = remote_get(s, a->k, bytes, sizeof bytes, &len, &old); }
    const bool some = err == CELLAR_OK || err == CELLAR_E_BUFFER;
    const bool there = some && old.deadline_ms > h->now_ms(h->ctx);
    if (there && len != sizeof bytes) { return CELLAR_E_TYPE; }
    if (!some && err < 0) { return err; }
    if (!there && e == NULL) { return CELLAR_MISS; }
    if (!there && old.check == 0) { return CELLAR_CONFLICT; }
    cellar_tier_entry next = there ? old : *e;
    const bool over = remote_count_sum(there ? remote_form_number(bytes) : a->init, a->delta,
                                       &a->number);
    remote_form_count(bytes, a->number);
    next.flags = REMOTE_PUT_COUNTER | CELLAR_TIER_IF_CHECK | (there ? CELLAR_TIER_SAME_TAGS : 0u);
    next.check = old.check;
    next.born = born;
    err = remote_put(s, a->k, bytes, sizeof bytes, &next);
    return err == CELLAR_OK && over ? CELLAR_E_RANGE : err;
}

/* Add to a counter in an envelope; e NULL: none is made. */
static cellar_err remote_count_add(remote_counting *a, const cellar_tier_entry *e)
{
    remote_write *w = a->w;
    const int64_t now_ms = w->s->host->now_ms(w->s->host->ctx);
    uint8_t bytes[8];
    cellar_tier_entry made;
    cellar_err err = CELLAR_CONFLICT;
    if (e != NULL) {
        made = *e;
        made.born = UINT64_MAX; /* as of now */
        made.flags = REMOTE_PUT_COUNTER;
        if (made.deadline_ms <= now_ms) { made.deadline_ms = now_ms + 1; }
        a->over = remote_count_sum(a->init, a->delta, &a->number);
        remote_form_count(bytes, a->number);
        remote_write_envelope(w, bytes, sizeof bytes, &made);
        if (w->bytes == NULL) { return w->lost < 0 ? w->lost : CELLAR_E_BREAKER_OPEN; }
    }
    for (int round = 0; err == CELLAR_CONFLICT && round < REMOTE_CHANGE_ROUNDS; round++) {
        err = remote_count_ask(a);
        if (err == CELLAR_OK || err == CELLAR_E_RANGE) { err = remote_count_judge(a); }
        if (err == CELLAR_CONFLICT) { err = remote_count_replace(a, e != NULL ? &made : NULL); }
    }
    remote_write_end(w);
    return err;
}

CELLAR_PRIVATE cellar_err remote_add(void *ctx, const cellar_tier_key *k, int64_t delta,
                                     int64_t *number, const cellar_tier_entry *e)
{
    remote_space *s = ctx;
    remote_write w;
    remote_form f;
    cellar_err err = remote_if_open(s);
    if (err != CELLAR_OK) { return err; }
    remote_write_begin(&w, s, k);
    err = remote_write_settle(&w);
    if (err == CELLAR_OK && s->opts.values != CELLAR_REMOTE_RAW) {
        remote_counting a = { .w = &w, .k = k, .delta = delta, .init = *number };
        err = remote_count_add(&a, e);
        if (err == CELLAR_OK || err == CELLAR_E_RANGE) { *number = a.number; }
    } else if (err == CELLAR_OK) {
        if (e != NULL) { (void)remote_write_times(&w, e, &f); }
        if (e != NULL && w.life_ms <= 0) { w.life_ms = 1; }
        err = remote_raw_add(s, &w.name, delta, number, w.life_ms);
    }
    return remote_write_durable(s, err);
}

CELLAR_PRIVATE cellar_err remote_fill(void *ctx, const cellar_tier_key *k,
                                      const cellar_tier_lease *held, const void *value,
                                      size_t value_len, cellar_tier_entry *e)
{
    remote_space *s = ctx;
    remote_write w;
    remote_lease l;
    cellar_err err = CELLAR_INVALIDATED;
    memcpy(&l, held, sizeof l);
    remote_write_begin(&w, s, k);
    const remote_lease_ask q = { .name = &w.name, .names = &s->names, .key = w.key,
                                 .raw = s->opts.values == CELLAR_REMOTE_RAW };
    if (q.raw) { remote_write_raw(&w, value, value_len, e); }
    else { remote_write_envelope(&w, value, value_len, e); }
    if (w.bytes != NULL) {
        REMOTE_ADD(s->r, sets, 1);
        const cellar_bytes bytes = { w.bytes, w.len };
        err = remote_lease_fill(s->r, &q, &l, bytes, w.life_ms, &e->born);
    }
    if (err == CELLAR_OK) { e->check = w.check; }
    else { remote_pending_release(s, &w.name, w.key, &l); } /* the next load does not wait */
    remote_lease_ended(s->r);
    remote_write_end(&w);
    return err;
}

CELLAR_PRIVATE cellar_err remote_remove(void *ctx, const cellar_tier_key *k,
                                        const cellar_tier_entry *e)
{
    remote_space *s = ctx;
    remote_write w;
    remote_write_begin(&w, s, k);
    if (s->opts.write == CELLAR_REMOTE_INVALIDATE) { remote_write_placeholder(&w); }
    const bool conditional = e != NULL && (e->flags & CELLAR_TIER_IF_CHECK) != 0;
    const cellar_err err = conditional ? remote_write_if(&w, e) : remote_write_run(&w);
    remote_write_end(&w);
    return remote_write_durable(s, err);
}

/* Let the namespace end later: a change of many keys was not confirmed. RAW values have no
 * generation: entries in memory end by a gap, behind the deletes on their way, which the server
 * does not report to this process. */
static cellar_err remote_many_defer(remote_space *s)
{
    REMOTE_ADD(s->r, deferred, 1);
    if (s->opts.values == CELLAR_REMOTE_RAW) {
        remote_retrack(s->r->link);
        return CELLAR_E_TIMEOUT;
    }
    remote_pending_clear(s);
    return s->opts.strict ? CELLAR_E_TIMEOUT : CELLAR_DEFERRED;
}

CELLAR_PRIVATE cellar_err remote_clear(void *ctx)
{
    remote_space *s = ctx;
    if (s->opts.values == CELLAR_REMOTE_RAW) { return remote_pattern(s, "*", 1); }
    const cellar_err err = remote_control_end(s, REMOTE_KIND_GENERATION, s->name, strlen(s->name));
    return err == CELLAR_OK ? err : remote_many_defer(s);
}

/* Return the namespace that ends the tags of all: the first one with tags. `s` has tags. */
static const remote_space *remote_tag_space(const remote_space *s)
{
    remote_space *const *at = s->r->data->space;
    while ((*at)->opts.values == CELLAR_REMOTE_RAW) { at++; }
    return *at;
}

/* Let all namespaces with tags end later: the end of a tag was not confirmed. */
static cellar_err remote_tag_defer(remote_space *s)
{
    const struct remote_data *d = s->r->data;
    const uint32_t n = atomic_load_explicit(&d->space_count, memory_order_acquire);
    cellar_err said = remote_many_defer(s);
    for (uint32_t i = 0; i < n; i++) {
        remote_space *at = d->space[i];
        if (at == s || at->opts.values == CELLAR_REMOTE_RAW) { continue; }
        pthread_rwlock_rdlock(&at->use);
        const cellar_err err = at->host != NULL ? remote_many_defer(at) : CELLAR_E_CLOSED;
        pthread_rwlock_unlock(&at->use);
        if (err < 0) { said = err; }
    }
    return said;
}

/* End a tag. The store calls this for each namespace, and the number of a tag is one for all. */
CELLAR_PRIVATE cellar_err remote_tag_end(void *ctx, const void *tag, size_t len, uint32_t mode)
{
    remote_space *s = ctx;
    if (s->opts.values == CELLAR_REMOTE_RAW || remote_tag_space(s) != s) { return CELLAR_OK; }
    const remote_kind kind = mode == CELLAR_TAG_SOFT ? REMOTE_KIND_SOFT_TAG : REMOTE_KIND_TAG;
    const cellar_err err = remote_control_end(s, kind, tag, len);
    return err == CELLAR_OK ? err : remote_tag_defer(s);
}

/* ---- patterns ---- */

typedef struct remote_scan {
    remote_space *s;
    char cursor[24];
    uint32_t found;      /* of this slice */
    uint64_t total;
    bool failed;
    remote_bytes bytes; /* UNLINK of each name of this slice */
} remote_scan;

static void remote_scan_reply(void *ctx, uint32_t index, const remote_reply *reply)
{
    remote_scan *w = ctx;
    const remote_reply *cursor = reply->type == REMOTE_ARRAY ? reply->first : NULL;
    const remote_reply *names = cursor != NULL ? cursor->next : NULL;
    (void)index;
    w->failed = names == NULL || names->type != REMOTE_ARRAY || cursor->type != REMOTE_STRING ||
                cursor->len >= sizeof w->cursor;
    if (w->failed) { return; }
    memcpy(w->cursor, cursor->text, cursor->len);
    w->cursor[cursor->len] = '\0';
    for (const remote_reply *at = names->first; at != NULL && !w->failed; at = at->next) {
        w->failed = at->type != REMOTE_STRING;
        remote_command(&w->bytes, REMOTE_WORDS({ "UNLINK", 6 }, REMOTE_NAME(at)));
        w->found++;
    }
    w->total += w->found;
}

static void remote_scan_deleted(void *ctx, uint32_t index, const remote_reply *reply)
{
    remote_scan *w = ctx;
    (void)index;
    if (reply->type == REMOTE_ERROR) { w->failed = true; }
}

/* Ask for one slice of names, and delete them. */
static cellar_err remote_scan_slice(remote_scan *w, const char *match, size_t match_len)
{
    const remote_request look = { .ctx = w, .fn = remote_scan_reply };
    w->bytes = (remote_bytes){ .memory = &w->s->r->memory };
    w->found = 0;
    cellar_err err = remote_ask_words(
        w->s->r, REMOTE_WORDS({ "SCAN", 4 }, REMOTE_WORD(w->cursor), { "MATCH", 5 },
                              { match, match_len }, { "COUNT", 5 }, REMOTE_NUMBER(512)),
        look, NULL);
    const remote_request q = { .replies = err == CELLAR_OK && !w->failed ? w->found : 0, .ctx = w,
                               .fn = remote_scan_deleted };
    const cellar_err deleted = remote_ask_bytes(w->s->r, &w->bytes, q, NULL);
    if (err == CELLAR_OK) { err = deleted; }
    return err == CELLAR_OK && w->failed ? CELLAR_E_IO : err;
}

/* Write the start of all names of the namespace; its own characters match themselves. */
static size_t remote_scan_start(const remote_space *s, char *out)
{
    remote_name n;
    size_t len = 0;
    remote_key_name(&s->names, "k", 1, &n);
    for (size_t i = 0; i + 1 < n.len; i++) {
        if (strchr("*?[]\\^-", n.text[i]) != NULL) { out[len++] = '\\'; }
        out[len++] = n.text[i];
    }
    return len;
}

/* Delete all names of the namespace that match. *total: their number. */
static cellar_err remote_scan_run(remote_space *s, const char *pattern, size_t len,
                                  uint64_t *total)
{
    char match[2 * REMOTE_NAME_MAX + CELLAR_PATTERN_MAX];
    remote_scan w = { .s = s, .cursor = "0" };
    const size_t start = remote_scan_start(s, match);
    memcpy(match + start, pattern, len);
    cellar_err err;
    do {
        err = remote_scan_slice(&w, match, start + len);
    } while (err == CELLAR_OK && strcmp(w.cursor, "0") != 0);
    *total = w.total;
    return err;
}

/* Let the other processes end their entries of the namespace: the server reports no delete of
 * values that they loaded without a lease. */
static cellar_err remote_pattern_tell(remote_space *s)
{
    char text[REMOTE_OWN_TEXT + 1 + CELLAR_NAME_MAX + 1];
    remote_write w = { .s = s };
    const int len = snprintf(text, sizeof text, "%.*s:%s", REMOTE_OWN_TEXT,
                             s->r->cfg.uuid, s->name);
    remote_control_name(s->prefix, REMOTE_KIND_PATTERN, text, (size_t)len, &w.name);
    const cellar_err err = remote_write_ask(&w);
    return err == CELLAR_OK && w.refused ? CELLAR_E_IO : err;
}

/* Delete by pattern. The server matches names, so the call deletes all keys in hexadecimal or with
 * a digest, and then all entries in memory. */
CELLAR_PRIVATE cellar_err remote_pattern(void *ctx, const char *pattern, size_t len)
{
    remote_space *s = ctx;
    uint64_t total = 0;
    remote_pending_demote(s); /* some may match, and would be written behind the scan */
    cellar_err err = remote_scan_run(s, pattern, len, &total);
    total = 0; /* the store itself deletes the keys that match */
    if (err == CELLAR_OK) { err = remote_scan_run(s, "#*", 2, &total); }
    if (total != 0) { s->host->ended(s->host->ctx, CELLAR_TAG_HARD); }
    if (err == CELLAR_OK) { err = remote_pattern_tell(s); }
    return err == CELLAR_OK ? CELLAR_OK : remote_many_defer(s);
}
