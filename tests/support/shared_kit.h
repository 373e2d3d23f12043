/* SPDX-License-Identifier: MIT
 *
 * shared_kit: a server in memory with several clients, each the shared tier of one namespace. A
 * change by one client is reported to the others, as a real server does it. A test may answer with
 * a code instead, or act in the middle of a call. */
#ifndef SUPPORT_SHARED_KIT_H
#define SUPPORT_SHARED_KIT_H

#include <pthread.h>
#include <string.h>

#include "cellar_tier.h"

#define SHARED_ROWS 64
#define SHARED_CLIENTS 4

typedef struct shared_row {
    bool used, negative;
    uint64_t born;         /* as the client told it */
    uint64_t check, lease; /* lease != 0: a client loads the key, until lease_ms */
    int64_t lease_ms;
    bool there;            /* it has a value, or is negative */
    size_t key_len, value_len;
    char key[32], value[64];
    int64_t deadline_ms, stale_ms;
    uint32_t user_flags, tag_count, cost;
    char tag[4][16];
} shared_row;

typedef struct shared_client shared_client;
typedef struct shared_server {
    pthread_mutex_t lock; /* guards all below */
    shared_row row[SHARED_ROWS];
    uint64_t next_check, replies;
    shared_client *client[SHARED_CLIENTS];
    unsigned clients;
} shared_server;

struct shared_client {
    shared_server *server;
    cellar_tier_table table;
    const cellar_tier_host *host;
    void (*inside)(shared_client *m, const char *call); /* runs inside each call; NULL: nothing */
    cellar_err answer;     /* of the next changes, which do not reach the server; OK: they do */
    cellar_err get_answer; /* of the next gets; OK: the server answers */
    cellar_err lease_answer; /* of the next requests for a lease; OK: the server answers */
    bool no_keep;
    bool cannot_answer;    /* it refuses requests */
    bool late;             /* its own release of a lease is not reported to it */
    bool quiet_fill;       /* its own fill is not reported to it yet */
    cellar_tier_ticket ticket; /* of the last request */
    char asked[32];
    uint64_t hash;         /* of it */
    int64_t hold_ms;
    unsigned gets, puts, removes, clears, tags, patterns, closes, forks;
    unsigned asks, leases, fills, unleases, lease_manys;
    unsigned manys, many_keys; /* calls of get_many, and their keys */
};

static inline void shared_inside(shared_client *m, const char *call)
{
    if (m->inside != NULL) { m->inside(m, call); }
}

static inline shared_row *shared_find(shared_server *s, const void *key, size_t len, bool add)
{
    shared_row *room = NULL;
    for (size_t i = 0; i < SHARED_ROWS; i++) {
        shared_row *r = &s->row[i];
        if (!r->used) { room = room == NULL ? r : room; }
        if (r->used && r->key_len == len && memcmp(r->key, key, len) == 0) { return r; }
    }
    if (!add || room == NULL || len > sizeof room->key) { return NULL; }
    memset(room, 0, sizeof *room);
    room->used = true;
    room->key_len = len;
    memcpy(room->key, key, len);
    return room;
}

/* Return the tags of a key, each followed by a comma; "none": no such key. Valid until the next
 * call. */
static inline const char *shared_tags(shared_server *s, const char *key)
{
    static char text[64];
    const shared_row *r = shared_find(s, key, strlen(key), false);
    if (r == NULL) { return "none"; }
    text[0] = '\0';
    for (uint32_t i = 0; i < r->tag_count; i++) {
        strcat(text, r->tag[i]);
        strcat(text, ",");
    }
    return text;
}

/* Report a change of `by` to all other clients; NULL: to all. */
static inline void shared_report(shared_server *s, const shared_client *by, const void *key,
                                 size_t len)
{
    for (unsigned i = 0; i < s->clients; i++) {
        const shared_client *m = s->client[i];
        if (m != by && m->host != NULL) { m->host->changed(m->host->ctx, key, len); }
    }
}

static inline cellar_err shared_attached(void *ctx, const cellar_tier_host *host)
{
    shared_client *m = ctx;
    m->host = host;
    return m->answer;
}

/* Copy a row to the caller. */
static inline cellar_err shared_copy(const shared_client *m, const shared_row *r, void *buf,
                                     size_t buf_cap, size_t *value_len, cellar_tier_entry *e)
{
    e->born = ++m->server->replies;
    if (r == NULL || !r->there) { return CELLAR_MISS; }
    e->deadline_ms = r->deadline_ms;
    e->stale_ms = r->stale_ms;
    e->user_flags = r->user_flags;
    e->cost = r->cost;
    e->check = r->check;
    e->tag_count = r->tag_count;
    for (uint32_t i = 0; i < r->tag_count; i++) {
        e->tag_fp[i] = m->host->tag_fp(m->host->ctx, r->tag[i], strlen(r->tag[i]));
    }
    if (m->no_keep) { e->flags |= CELLAR_TIER_NO_KEEP; }
    if (r->negative) { return CELLAR_ABSENT; }
    *value_len = r->value_len;
    if (r->value_len > buf_cap) { return CELLAR_E_BUFFER; }
    if (r->value_len != 0) { memcpy(buf, r->value, r->value_len); }
    return CELLAR_OK;
}

static inline cellar_err shared_get(void *ctx, const cellar_tier_key *k, void *buf, size_t buf_cap,
                                    size_t *value_len, cellar_tier_entry *e)
{
    shared_client *m = ctx;
    pthread_mutex_lock(&m->server->lock);
    m->gets++;
    const cellar_err err = shared_copy(m, shared_find(m->server, k->bytes, k->len, false), buf,
                                       buf_cap, value_len, e);
    pthread_mutex_unlock(&m->server->lock);
    shared_inside(m, "get"); /* the reply is on its way */
    return m->get_answer != CELLAR_OK ? m->get_answer : err;
}

/* Read the keys at one moment. */
static inline void shared_get_many(void *ctx, cellar_tier_get *gets, size_t count)
{
    shared_client *m = ctx;
    pthread_mutex_lock(&m->server->lock);
    m->manys++;
    m->many_keys += (unsigned)count;
    for (size_t i = 0; i < count; i++) {
        cellar_tier_get *g = &gets[i];
        const shared_row *r = shared_find(m->server, g->key.bytes, g->key.len, false);
        g->err = shared_copy(m, r, g->buf, g->buf_cap, &g->value_len, &g->e);
        if (m->get_answer != CELLAR_OK) { g->err = m->get_answer; }
    }
    pthread_mutex_unlock(&m->server->lock);
    shared_inside(m, "get_many"); /* the replies are on their way */
}

static inline void shared_fill_row(shared_server *s, shared_row *r, const void *value, size_t len,
                                   cellar_tier_entry *e)
{
    r->lease = 0;
    r->there = true;
    r->negative = (e->flags & CELLAR_TIER_NEGATIVE) != 0;
    r->value_len = len < sizeof r->value ? len : sizeof r->value;
    if (r->value_len != 0) { memcpy(r->value, value, r->value_len); }
    r->born = e->born;
    r->deadline_ms = e->deadline_ms;
    r->stale_ms = e->stale_ms;
    r->user_flags = e->user_flags;
    r->cost = e->cost;
    r->check = e->check = ++s->next_check;
    if ((e->flags & CELLAR_TIER_SAME_TAGS) != 0) { return; }
    r->tag_count = e->tag_count < 4 ? e->tag_count : 4;
    for (uint32_t i = 0; i < r->tag_count; i++) {
        const size_t n = e->tags[i].len < 15 ? e->tags[i].len : 15;
        memcpy(r->tag[i], e->tags[i].data, n);
        r->tag[i][n] = '\0';
    }
}

/* Return whether the key has the state that a change wants. */
static inline bool shared_meets(const shared_client *m, const shared_row *r,
                                const cellar_tier_entry *e)
{
    if (e == NULL || (e->flags & CELLAR_TIER_IF_CHECK) == 0) { return true; }
    const bool lives = r != NULL && r->there && !r->negative &&
                       m->host->now_ms(m->host->ctx) < r->deadline_ms;
    return e->check == (lives ? r->check : 0);
}

static inline cellar_err shared_put(void *ctx, const cellar_tier_key *k, const void *value,
                                    size_t value_len, cellar_tier_entry *e)
{
    shared_client *m = ctx;
    shared_inside(m, "put");
    (void)__atomic_add_fetch(&m->puts, 1, __ATOMIC_RELAXED);
    if (m->answer != CELLAR_OK) { return m->answer; }
    pthread_mutex_lock(&m->server->lock);
    const bool met = shared_meets(m, shared_find(m->server, k->bytes, k->len, false), e);
    shared_row *r = met ? shared_find(m->server, k->bytes, k->len, true) : NULL;
    if (r != NULL) { shared_fill_row(m->server, r, value, value_len, e); }
    pthread_mutex_unlock(&m->server->lock);
    if (r != NULL) { shared_report(m->server, m, k->bytes, k->len); }
    return r != NULL ? CELLAR_OK : met ? CELLAR_E_SPACE : CELLAR_CONFLICT;
}

static inline cellar_err shared_remove(void *ctx, const cellar_tier_key *k,
                                       const cellar_tier_entry *e)
{
    shared_client *m = ctx;
    shared_inside(m, "remove");
    m->removes++;
    if (m->answer != CELLAR_OK) { return m->answer; }
    pthread_mutex_lock(&m->server->lock);
    shared_row *r = shared_find(m->server, k->bytes, k->len, false);
    const bool met = shared_meets(m, r, e);
    if (met && r != NULL) { r->used = false; }
    pthread_mutex_unlock(&m->server->lock);
    if (met && r != NULL) { shared_report(m->server, m, k->bytes, k->len); }
    return met ? CELLAR_OK : CELLAR_CONFLICT;
}

static inline cellar_err shared_clear(void *ctx)
{
    shared_client *m = ctx;
    shared_inside(m, "clear");
    m->clears++;
    if (m->answer != CELLAR_OK) { return m->answer; }
    pthread_mutex_lock(&m->server->lock);
    memset(m->server->row, 0, sizeof m->server->row);
    pthread_mutex_unlock(&m->server->lock);
    for (unsigned i = 0; i < m->server->clients; i++) {
        const shared_client *o = m->server->client[i];
        if (o != m && o->host != NULL) { o->host->ended(o->host->ctx, 0); }
    }
    return CELLAR_OK;
}

static inline cellar_err shared_tag(void *ctx, const void *tag, size_t len, uint32_t mode)
{
    shared_client *m = ctx;
    shared_inside(m, "tag");
    m->tags++;
    if (m->answer != CELLAR_OK) { return m->answer; }
    pthread_mutex_lock(&m->server->lock);
    for (size_t i = 0; i < SHARED_ROWS; i++) {
        shared_row *r = &m->server->row[i];
        for (uint32_t j = 0; r->used && j < r->tag_count; j++) {
            if (strlen(r->tag[j]) == len && memcmp(r->tag[j], tag, len) == 0) { r->used = false; }
        }
    }
    pthread_mutex_unlock(&m->server->lock);
    for (unsigned i = 0; i < m->server->clients; i++) {
        const shared_client *o = m->server->client[i];
        if (o != m && o->host != NULL) { o->host->tag_ended(o->host->ctx, tag, len, mode); }
    }
    return CELLAR_OK;
}

/* Delete all keys: the tests ask for "*" only. */
static inline cellar_err shared_pattern(void *ctx, const char *pattern, size_t len)
{
    shared_client *m = ctx;
    (void)pattern, (void)len;
    shared_inside(m, "pattern");
    m->patterns++;
    if (m->answer != CELLAR_OK) { return m->answer; }
    pthread_mutex_lock(&m->server->lock);
    memset(m->server->row, 0, sizeof m->server->row);
    pthread_mutex_unlock(&m->server->lock);
    return CELLAR_OK;
}

static inline bool shared_ask(void *ctx, const cellar_tier_key *k, const cellar_tier_ticket *ticket)
{
    shared_client *m = ctx;
    if (m->cannot_answer) { return false; }
    m->asks++;
    m->ticket = *ticket;
    memset(m->asked, 0, sizeof m->asked);
    memcpy(m->asked, k->bytes, k->len);
    return true;
}

/* Answer the last request with what the server has. */
static inline void shared_answer(shared_client *m)
{
    const cellar_tier_key k = { m->asked, strlen(m->asked), 0 };
    char value[64];
    size_t len = 0;
    cellar_tier_entry e;
    memset(&e, 0, sizeof e);
    e.deadline_ms = INT64_MAX;
    const cellar_err err = shared_get(m, &k, value, sizeof value, &len, &e);
    m->host->answered(m->host->ctx, &m->ticket, &k, err, value, len, &e);
}

static inline cellar_err shared_lease(void *ctx, const cellar_tier_key *k, int64_t hold_ms,
                                      cellar_tier_entry *e, cellar_tier_lease *l)
{
    shared_client *m = ctx;
    cellar_err err = CELLAR_LEASED;
    if (m->lease_answer != CELLAR_OK) { return m->lease_answer; }
    shared_inside(m, "lease");
    pthread_mutex_lock(&m->server->lock);
    m->leases++;
    shared_row *r = shared_find(m->server, k->bytes, k->len, false);
    const int64_t now = m->host->now_ms(m->host->ctx);
    const bool refresh = (e->flags & CELLAR_TIER_REFRESH) != 0;
    if (r != NULL && r->there && (!refresh || r->deadline_ms > e->deadline_ms)) {
        err = r->negative ? CELLAR_ABSENT : CELLAR_OK;
    } else if (r != NULL && r->lease != 0 && now < r->lease_ms) {
        err = CELLAR_PENDING;
        e->deadline_ms = r->lease_ms;
    } else {
        r = r != NULL ? r : shared_find(m->server, k->bytes, k->len, true);
        r->lease = l->opaque[0] = ++m->server->next_check;
        r->lease_ms = now + hold_ms;
    }
    pthread_mutex_unlock(&m->server->lock);
    return err;
}

static inline void shared_lease_many(void *ctx, cellar_tier_claim *claims, size_t count,
                                     int64_t hold_ms)
{
    shared_client *m = ctx;
    m->lease_manys++;
    for (size_t i = 0; i < count; i++) {
        cellar_tier_claim *q = &claims[i];
        q->err = shared_lease(m, &q->key, hold_ms, &q->e, &q->l);
    }
}

static inline bool shared_ask_lease(void *ctx, const cellar_tier_key *k, int64_t hold_ms,
                                    const cellar_tier_ticket *ticket)
{
    shared_client *m = ctx;
    m->hold_ms = hold_ms;
    m->hash = k->hash;
    return shared_ask(ctx, k, ticket);
}

/* Answer the last request with a value, or with the lease. */
static inline void shared_answer_lease(shared_client *m)
{
    const cellar_tier_key k = { m->asked, strlen(m->asked), m->hash };
    cellar_tier_lease l;
    cellar_tier_entry e;
    memset(&e, 0, sizeof e);
    e.deadline_ms = INT64_MAX;
    const cellar_err err = shared_lease(m, &k, m->hold_ms, &e, &l);
    if (err == CELLAR_LEASED) {
        e.deadline_ms = m->host->now_ms(m->host->ctx) + m->hold_ms;
    } else if (err != CELLAR_PENDING) {
        shared_answer(m);
        return;
    }
    shared_inside(m, "answer"); /* the answer is on its way */
    m->host->answered(m->host->ctx, &m->ticket, &k, err, &l, sizeof l, &e);
}

/* End a lease if it is held; value NULL and no entry: without a value. */
static inline bool shared_lease_end(shared_client *m, const cellar_tier_key *k,
                                    const cellar_tier_lease *l, const void *value, size_t len,
                                    cellar_tier_entry *e)
{
    pthread_mutex_lock(&m->server->lock);
    shared_row *r = shared_find(m->server, k->bytes, k->len, false);
    const bool held = r != NULL && r->lease == l->opaque[0];
    const bool beside = held && e == NULL && r->there; /* the value did not change */
    if (held && e != NULL) { shared_fill_row(m->server, r, value, len, e); }
    if (held && e == NULL) {
        r->lease = 0;
        r->used = r->there;
    }
    pthread_mutex_unlock(&m->server->lock);
    /* A script makes the change: the client hears it, too. */
    const bool unheard = e == NULL ? m->late : m->quiet_fill;
    if (held && !beside) { shared_report(m->server, unheard ? m : NULL, k->bytes, k->len); }
    return held;
}

static inline cellar_err shared_fill(void *ctx, const cellar_tier_key *k,
                                     const cellar_tier_lease *l, const void *value, size_t len,
                                     cellar_tier_entry *e)
{
    shared_client *m = ctx;
    shared_inside(m, "fill");
    m->fills++;
    if (m->answer != CELLAR_OK) { return m->answer; }
    if (!shared_lease_end(m, k, l, value, len, e)) { return CELLAR_INVALIDATED; }
    pthread_mutex_lock(&m->server->lock);
    e->born = ++m->server->replies;
    pthread_mutex_unlock(&m->server->lock);
    shared_inside(m, "filled"); /* the answer is on its way */
    return CELLAR_OK;
}

static inline void shared_unlease(void *ctx, const cellar_tier_key *k, const cellar_tier_lease *l)
{
    shared_client *m = ctx;
    m->unleases++;
    (void)shared_lease_end(m, k, l, NULL, 0, NULL);
}

static inline void shared_close(void *ctx, int64_t deadline_ms)
{
    (void)deadline_ms;
    ((shared_client *)ctx)->closes++;
}

static inline void shared_forked(void *ctx) { ((shared_client *)ctx)->forks++; }

static inline void shared_server_init(shared_server *s)
{
    memset(s, 0, sizeof *s);
    pthread_mutex_init(&s->lock, NULL);
}

/* Add a client; its table is ready for cellar_tier_attach. */
static inline void shared_client_init(shared_client *m, shared_server *s)
{
    memset(m, 0, sizeof *m);
    m->server = s;
    s->client[s->clients++] = m;
    m->table = cellar_tier_table_default();
    m->table.ctx = m;
    m->table.attached = shared_attached;
    m->table.get = shared_get;
    m->table.put = shared_put;
    m->table.remove = shared_remove;
    m->table.clear = shared_clear;
    m->table.tag = shared_tag;
    m->table.pattern = shared_pattern;
    m->table.lease = shared_lease;
    m->table.fill = shared_fill;
    m->table.unlease = shared_unlease;
    m->table.close = shared_close;
    m->table.forked = shared_forked;
}

#endif
