/* SPDX-License-Identifier: MIT
 *
 * pending: writes that the server has not confirmed: the journal of deletes, the queue of BEHIND.
 *
 * PICTURE    table by name -> entries {delete | value | lease}; one batch of up to 64 is on its way
 * INVARIANTS At most one write for each name: the newest. An entry leaves the table when the
 *            server confirmed exactly this write (`change`).
 *            A delete is never replaced by an older value. A value with an unknown fate becomes a
 *            delete: a newer value of another process may be in the server. For the same reason
 *            each value becomes a delete in a gap, and none is queued until tracking is on.
 *            An entry of a lease ends one state of a key, known by its check, and never a counter:
 *            other processes may have added to it. A delete and a set end a counter, too.
 *            Memory loses the key when a delete is confirmed. The server announces the delete, too,
 *            but later, and not to this process if a plain write of it to the key comes behind the
 *            delete in the same round (NOLOOP).
 *            A get of a name with a delete misses. A write that waits for the server sends that
 *            delete first: behind the write it would end a value that the server confirmed.
 * LOCKING    space.lock, without any call of link or host under it. space.posts, taken first, from
 *            the choice of a batch to its post.
 * LIMITS     journal_keys and queue_entries of the options, 4 MiB each for each namespace. A full
 *            journal ends the namespace instead (must_clear); a full queue is a delete.
 *            Leases to release take half of the journal at most. */
#include "remote/pending.h"

#include <string.h>

#include "remote/control.h"
#include "remote/key.h"

enum { REMOTE_PENDING_BUCKETS = 1024, REMOTE_PENDING_BYTES_MAX = 4 << 20,
       REMOTE_COMMAND_EXTRA = 128 /* words and lengths of a command */ };

struct remote_pending {
    remote_pending *next;
    uint64_t change;  /* unique in the namespace */
    size_t size;      /* of this block */
    int64_t end_ms;   /* of a value: end of its life, clock of the store */
    bool value;       /* else a delete, or: */
    bool lease;       /* released if the key holds its token, in `bytes`; no write of the key */
    size_t name_len, key_len, bytes_len;
    char text[];      /* name, key, bytes */
};

typedef struct remote_sent {
    uint32_t bucket;
    uint64_t change;
    bool refused; /* the server answered with an error */
} remote_sent;

typedef struct remote_batch {
    remote_space *s;
    remote_bytes bytes;
    uint32_t count;
    bool refused; /* one of: */
    remote_sent sent[REMOTE_BATCH];
} remote_batch;

/* ---- the table; space.lock is held ---- */

static uint32_t remote_pending_bucket(const remote_name *n)
{
    return (uint32_t)(remote_check(0, n->text, n->len) % REMOTE_PENDING_BUCKETS);
}

static remote_pending **remote_pending_find(remote_space *s, const remote_name *n)
{
    remote_pending **at = &s->pending[remote_pending_bucket(n)];
    while (*at != NULL && ((*at)->lease || (*at)->name_len != n->len ||
                           memcmp((*at)->text, n->text, n->len) != 0)) {
        at = &(*at)->next;
    }
    return at;
}

/* Count an entry in or out. */
static void remote_pending_count(remote_space *s, const remote_pending *p, bool in)
{
    uint32_t *count = p->value ? &s->queue_count : &s->journal_count;
    size_t *bytes = p->value ? &s->queue_bytes : &s->journal_bytes;
    *count = in ? *count + 1 : *count - 1;
    *bytes = in ? *bytes + p->size : *bytes - p->size;
}

/* Move an entry to the list `gone`. */
static void remote_pending_take(remote_space *s, remote_pending **at, remote_pending **gone)
{
    remote_pending *p = *at;
    *at = p->next;
    remote_pending_count(s, p, false);
    p->next = *gone;
    *gone = p;
}

static bool remote_pending_room(const remote_space *s, const remote_pending *p)
{
    const remote_config *cfg = &s->r->cfg;
    if (p->lease && s->journal_count >= cfg->journal_keys / 2) { return false; }
    return p->value ? s->queue_count < cfg->queue_entries &&
                          s->queue_bytes + p->size <= REMOTE_PENDING_BYTES_MAX
                    : s->journal_count < cfg->journal_keys &&
                          s->journal_bytes + p->size <= REMOTE_PENDING_BYTES_MAX;
}

static void remote_pending_drop(remote_space *s, remote_pending *p)
{
    if (p != NULL) { s->host->release(s->host->ctx, p, p->size); }
}

/* Let an entry be a newer write: a delete. A batch that has it on its way does not confirm it. */
static void remote_pending_turn(remote_space *s, remote_pending *p)
{
    remote_pending_count(s, p, false);
    p->value = false;
    remote_pending_count(s, p, true);
    p->change = ++s->changes;
}

/* ---- adding ---- */

CELLAR_PRIVATE bool remote_pending_open(remote_space *s)
{
    const size_t size = REMOTE_PENDING_BUCKETS * sizeof *s->pending;
    s->pending = s->host->alloc(s->host->ctx, size);
    if (s->pending != NULL) { memset(s->pending, 0, size); }
    return s->pending != NULL;
}

static remote_pending *remote_pending_make(remote_space *s, const remote_name *n, cellar_bytes key,
                                           cellar_bytes bytes)
{
    const size_t size = sizeof(remote_pending) + n->len + key.len + bytes.len;
    remote_pending *p = s->host->alloc(s->host->ctx, size);
    if (p == NULL) { return NULL; }
    *p = (remote_pending){ .size = size, .name_len = n->len, .key_len = key.len,
                           .bytes_len = bytes.len };
    memcpy(p->text, n->text, n->len);
    memcpy(p->text + n->len, key.data, key.len);
    if (bytes.len != 0) { memcpy(p->text + n->len + key.len, bytes.data, bytes.len); }
    return p;
}

/* Put a write in the place of the one of its name, or add a lease. Returns OK; E_BREAKER_OPEN (a
 * value, and values are not queued now), E_LIMIT (no room). */
static cellar_err remote_pending_add(remote_space *s, const remote_name *n, remote_pending *p)
{
    remote_pending *old = NULL;
    cellar_err err = CELLAR_E_LIMIT;
    pthread_mutex_lock(&s->lock);
    if (p != NULL && p->value && !s->queues) {
        err = CELLAR_E_BREAKER_OPEN;
    } else if (p != NULL && remote_pending_room(s, p)) {
        err = CELLAR_OK;
        remote_pending **at = remote_pending_find(s, n);
        if (*at != NULL && !p->lease) { remote_pending_take(s, at, &old); }
        p->change = ++s->changes;
        p->next = *at;
        *at = p;
        remote_pending_count(s, p, true);
    }
    pthread_mutex_unlock(&s->lock);
    remote_pending_drop(s, err == CELLAR_OK ? old : p);
    return err;
}

/* Turn the entry of a name into a delete. Return false if there is none. Needs no room. */
static bool remote_pending_replace(remote_space *s, const remote_name *n)
{
    pthread_mutex_lock(&s->lock);
    remote_pending *p = *remote_pending_find(s, n);
    if (p != NULL) { remote_pending_turn(s, p); }
    pthread_mutex_unlock(&s->lock);
    return p != NULL;
}

CELLAR_PRIVATE bool remote_pending_delete(remote_space *s, const remote_name *n, cellar_bytes key)
{
    const cellar_bytes none = { NULL, 0 };
    const bool room =
        remote_pending_replace(s, n) ||
        remote_pending_add(s, n, remote_pending_make(s, n, key, none)) == CELLAR_OK;
    if (room) {
        remote_pending_kick(s);
    } else if (s->opts.values != CELLAR_REMOTE_RAW) {
        REMOTE_ADD(s->r, overflows, 1);
        remote_pending_clear(s);
    }
    return room;
}

CELLAR_PRIVATE bool remote_pending_release(remote_space *s, const remote_name *value,
                                           cellar_bytes key, const remote_lease *l)
{
    remote_name n;
    char token[REMOTE_LEASE_TOKEN];
    const size_t len = remote_lease_name(s->r, &s->names, value, key, l, &n, token);
    remote_pending *p =
        remote_pending_make(s, &n, (cellar_bytes){ "", 0 }, (cellar_bytes){ token, len });
    if (p != NULL) { p->lease = true; }
    const bool room = remote_pending_add(s, &n, p) == CELLAR_OK;
    if (room) { remote_pending_kick(s); }
    return room;
}

CELLAR_PRIVATE cellar_err remote_pending_value(remote_space *s, const remote_name *n,
                                               cellar_bytes key, cellar_bytes value,
                                               int64_t end_ms)
{
    remote_pending *p = remote_pending_make(s, n, key, value);
    if (p != NULL) {
        p->value = true;
        p->end_ms = end_ms;
    }
    const cellar_err err = remote_pending_add(s, n, p);
    if (err == CELLAR_OK) { remote_pending_kick(s); }
    return err;
}

CELLAR_PRIVATE void remote_pending_clear(remote_space *s)
{
    pthread_mutex_lock(&s->lock);
    s->must_clear = true;
    s->must_upto = ++s->changes;
    pthread_mutex_unlock(&s->lock);
    remote_pending_kick(s);
}

/* ---- looking ---- */

CELLAR_PRIVATE remote_pending_kind remote_pending_look(remote_space *s, const remote_name *n,
                                                       remote_pending_fn *fn, void *ctx)
{
    remote_pending_kind kind = REMOTE_PENDING_NONE;
    pthread_mutex_lock(&s->lock);
    const remote_pending *p =
        s->journal_count + s->queue_count != 0 ? *remote_pending_find(s, n) : NULL;
    const bool cleared = p != NULL && s->must_clear && p->change <= s->must_upto;
    if (p != NULL && p->value && !cleared) {
        kind = REMOTE_PENDING_VALUE;
        fn(ctx, p->text + p->name_len + p->key_len, p->bytes_len, p->end_ms);
    } else if (p != NULL || s->must_clear) {
        kind = REMOTE_PENDING_DELETE;
    }
    pthread_mutex_unlock(&s->lock);
    return kind;
}

CELLAR_PRIVATE uint64_t remote_pending_waits(remote_space *s, const remote_name *n)
{
    pthread_mutex_lock(&s->lock);
    const remote_pending *p = s->journal_count != 0 ? *remote_pending_find(s, n) : NULL;
    const uint64_t change = s->must_clear              ? REMOTE_PENDING_END
                            : p != NULL && !p->value ? p->change : 0;
    pthread_mutex_unlock(&s->lock);
    return change;
}

CELLAR_PRIVATE void remote_pending_settle(remote_space *s, const remote_name *n, uint64_t change)
{
    remote_pending *p = NULL;
    pthread_mutex_lock(&s->posts); /* a batch that has the delete goes before the later write */
    pthread_mutex_lock(&s->lock);
    remote_pending **at = remote_pending_find(s, n);
    if (*at != NULL && (*at)->change == change) { remote_pending_take(s, at, &p); }
    pthread_mutex_unlock(&s->lock);
    pthread_mutex_unlock(&s->posts);
    if (p != NULL) { REMOTE_ADD(s->r, replayed, 1); }
    remote_pending_drop(s, p);
}

CELLAR_PRIVATE bool remote_pending_empty(remote_space *s)
{
    pthread_mutex_lock(&s->lock);
    const bool empty = s->journal_count + s->queue_count == 0 && !s->must_clear && !s->busy;
    pthread_mutex_unlock(&s->lock);
    return empty;
}

/* ---- sending ---- */

CELLAR_PRIVATE void remote_drop_format(const remote_space *s, cellar_bytes name, remote_bytes *b)
{
    const bool named = remote_is_named(s->r);
    remote_command(b, REMOTE_WORDS(REMOTE_EVAL(s->r, named, REMOTE_SCRIPT_DROP, "1"), name));
}

/* Append the command of an entry. */
static void remote_batch_command(remote_batch *b, const remote_pending *p, int64_t left_ms)
{
    const cellar_bytes name = { p->text, p->name_len };
    const cellar_bytes bytes = { p->text + p->name_len + p->key_len, p->bytes_len };
    if (p->lease) {
        remote_lease_release(b->s->r, name, bytes, NULL, &b->bytes);
    } else if (p->value && left_ms > 0) {
        remote_command(&b->bytes, REMOTE_WORDS({ "SET", 3 }, name, bytes, { "PX", 2 },
                                               REMOTE_NUMBER(left_ms)));
    } else {
        remote_drop_format(b->s, name, &b->bytes);
    }
}

/* Walk the entries from the cursor on, one batch at most. With `b` append their commands, as long
 * as they fit. Return the room that they need. space.lock is held. */
static size_t remote_batch_walk(remote_space *s, remote_batch *b, int64_t now_ms)
{
    size_t need = 0;
    uint32_t count = 0, bucket = s->cursor;
    for (uint32_t i = 0; i < REMOTE_PENDING_BUCKETS && count < REMOTE_BATCH; i++) {
        bucket = (s->cursor + i) % REMOTE_PENDING_BUCKETS;
        for (remote_pending *p = s->pending[bucket]; p != NULL && count < REMOTE_BATCH;
             p = p->next) {
            need += p->name_len + p->bytes_len + REMOTE_COMMAND_EXTRA;
            count++;
            if (b == NULL) { continue; }
            if (need > b->bytes.cap) { return need; }
            remote_batch_command(b, p, p->end_ms - now_ms);
            b->sent[b->count++] = (remote_sent){ bucket, p->change, false };
        }
    }
    if (b != NULL) { s->cursor = bucket; }
    return need;
}

/* Make a batch with room for `need` bytes of commands: nothing is allocated under the lock. */
static remote_batch *remote_batch_new(remote_space *s, size_t need)
{
    remote_batch *b = remote_alloc(s->r, sizeof *b);
    if (b == NULL) { return NULL; }
    memset(b, 0, sizeof *b);
    b->s = s;
    b->bytes.memory = &s->r->memory;
    b->bytes.data = remote_alloc(s->r, need);
    if (b->bytes.data != NULL) { b->bytes.cap = need; } /* else no command fits */
    return b;
}

static void remote_batch_reply(void *ctx, uint32_t index, const remote_reply *reply)
{
    remote_batch *b = ctx;
    if (reply->type == REMOTE_ERROR) { b->refused = b->sent[index].refused = true; }
}

/* Free entries, and remove the keys of deletes from memory. */
static void remote_batch_report(remote_space *s, remote_pending *gone)
{
    for (remote_pending *next; gone != NULL; gone = next) {
        next = gone->next;
        if (!gone->value && !gone->lease) {
            REMOTE_ADD(s->r, replayed, 1);
            s->host->changed(s->host->ctx, gone->text + gone->name_len, gone->key_len);
        }
        remote_pending_drop(s, gone);
    }
}

/* Take the entries that the server confirmed out of the table. */
static remote_pending *remote_batch_confirm(remote_batch *b, cellar_err err, remote_fate fate)
{
    remote_space *s = b->s;
    remote_pending *gone = NULL;
    pthread_mutex_lock(&s->lock);
    s->busy = false;
    for (uint32_t i = 0; i < b->count; i++) {
        remote_pending **at = &s->pending[b->sent[i].bucket];
        while (*at != NULL && (*at)->change != b->sent[i].change) { at = &(*at)->next; }
        if (*at == NULL) { continue; } /* a newer write of the name waits */
        remote_pending *p = *at;
        if (err == CELLAR_OK && !b->sent[i].refused) {
            remote_pending_take(s, at, &gone);
        } else if (p->value && (err == CELLAR_OK || fate == REMOTE_UNKNOWN)) {
            remote_pending_turn(s, p);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return gone;
}

static void remote_batch_done(void *ctx, cellar_err err, remote_fate fate)
{
    remote_batch *b = ctx;
    remote_space *s = b->s;
    const bool again = err == CELLAR_OK && !b->refused; /* else with the next proof */
    remote_batch_report(s, remote_batch_confirm(b, err, fate));
    remote_free(s->r, b, sizeof *b);
    if (again) { remote_pending_kick(s); }
}

/* Finish the clear of the namespace, which includes all earlier deletes. */
static void remote_clear_done(void *ctx, cellar_err err)
{
    remote_space *s = ctx;
    remote_pending *gone = NULL;
    pthread_mutex_lock(&s->lock);
    s->busy = false;
    if (err == CELLAR_OK) { s->must_clear = s->clear_upto < s->must_upto; }
    for (uint32_t i = 0; err == CELLAR_OK && i < REMOTE_PENDING_BUCKETS; i++) {
        for (remote_pending **at = &s->pending[i]; *at != NULL;) {
            if ((*at)->value || (*at)->lease || (*at)->change > s->clear_upto) {
                at = &(*at)->next;
                continue;
            }
            remote_pending_take(s, at, &gone);
        }
    }
    pthread_mutex_unlock(&s->lock);
    if (err != CELLAR_OK) { return; } /* again with the next proof */
    s->host->ended(s->host->ctx, CELLAR_TAG_HARD);
    remote_batch_report(s, gone);
    remote_pending_kick(s);
}

/* Begin the clear of the namespace if one waits. Return whether writes must wait for it. */
static bool remote_pending_kick_clear(remote_space *s)
{
    pthread_mutex_lock(&s->lock);
    const bool begin = s->must_clear && !s->busy, wait = s->must_clear || s->busy;
    if (begin) {
        s->busy = true;
        s->clear_upto = s->changes;
    }
    pthread_mutex_unlock(&s->lock);
    if (begin) { remote_control_clear_post(s, remote_clear_done); }
    return wait;
}

CELLAR_PRIVATE void remote_pending_kick(remote_space *s)
{
    if (remote_pending_kick_clear(s)) { return; }
    pthread_mutex_lock(&s->lock);
    const bool some = !s->busy && s->journal_count + s->queue_count != 0;
    const size_t need = some ? remote_batch_walk(s, NULL, 0) : 0;
    pthread_mutex_unlock(&s->lock);
    remote_batch *b = some ? remote_batch_new(s, need) : NULL;
    if (b == NULL) { return; }
    const int64_t now_ms = s->host->now_ms(s->host->ctx);
    pthread_mutex_lock(&s->posts);
    pthread_mutex_lock(&s->lock);
    if (!s->busy) { (void)remote_batch_walk(s, b, now_ms); }
    const bool sends = b->count != 0;
    if (sends) { s->busy = true; }
    pthread_mutex_unlock(&s->lock);
    if (sends) {
        remote_post_bytes(s->r, &b->bytes,
                          (remote_request){ .replies = b->count, .ctx = b,
                                            .fn = remote_batch_reply, .done = remote_batch_done });
    }
    pthread_mutex_unlock(&s->posts);
    if (sends) { return; }
    remote_bytes_free(&b->bytes);
    remote_free(s->r, b, sizeof *b);
}

CELLAR_PRIVATE void remote_pending_queues(remote_space *s, bool on)
{
    pthread_mutex_lock(&s->lock);
    s->queues = on;
    pthread_mutex_unlock(&s->lock);
}

CELLAR_PRIVATE void remote_pending_demote(remote_space *s)
{
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; s->queue_count != 0 && i < REMOTE_PENDING_BUCKETS; i++) {
        for (remote_pending *p = s->pending[i]; p != NULL; p = p->next) {
            if (p->value) { remote_pending_turn(s, p); }
        }
    }
    pthread_mutex_unlock(&s->lock);
}

CELLAR_PRIVATE void remote_pending_free(remote_space *s)
{
    for (uint32_t i = 0; s->pending != NULL && i < REMOTE_PENDING_BUCKETS; i++) {
        for (remote_pending *p = s->pending[i], *next; p != NULL; p = next) {
            next = p->next;
            remote_pending_drop(s, p);
        }
    }
    if (s->pending != NULL) {
        s->host->release(s->host->ctx, s->pending, REMOTE_PENDING_BUCKETS * sizeof *s->pending);
    }
    s->pending = NULL;
}
