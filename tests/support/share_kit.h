/* SPDX-License-Identifier: MIT
 *
 * share_kit: leases, limiters and locks on a plain connection to a server of the test.
 *
 * PICTURE    share.c limit.c lock.c lease.c -> remote_ask of this file -> hiredis -> redis-server
 *            remote_share_heard             <- a thread that reads invalidations
 * WHY        Scripts and local rules are tested without the real link: each request has a connection
 *            of its own, and each fault is where the test puts it.
 * USE        share s; share_open(&s, &e); ... &s.r ...; share_close(&s);
 *            A process that forks opens its own one in the child. Or T_CASE_ON(name, TWO_SHARES). */
#ifndef CELLAR_TESTS_SHARE_KIT_H
#define CELLAR_TESTS_SHARE_KIT_H

#include <poll.h>

#include "tests/support/no_wait.h"
#include "tests/support/engine_kit.h"

#include "src/guests/remote/key.c"
#include "src/guests/remote/form.c"
#include "src/guests/remote/script.c"
#include "src/guests/remote/share.c"
#include "src/guests/remote/lease.c"
#include "src/guests/remote/limit.c"
#include "src/guests/remote/lock.c"

enum { SHARE_CONNECTIONS = 128 };

struct remote_link {
    const engine *e;
    cellar_remote *r;
    pthread_mutex_t lock;                   /* guards idle, sha of r */
    redisContext *idle[SHARE_CONNECTIONS];
    size_t idle_count;
    int64_t delay_ms;                       /* each reply is delivered so late */
    int64_t proven_ms;                      /* of remote_proven_until */
    pthread_t subscriber;
    redisContext *subscriber_c, *data_c;
    atomic_bool ended;
    atomic_uint heard;                      /* invalidations so far; a futex of the test */
};

typedef struct share {
    cellar_remote r;
    struct remote_link link;
} share;

/* The n-th allocation from now fails; 0: none. */
static atomic_int share_fail_alloc;

void *remote_alloc(cellar_remote *r, size_t size)
{
    (void)r;
    if (atomic_load(&share_fail_alloc) > 0 && atomic_fetch_sub(&share_fail_alloc, 1) == 1) {
        return NULL;
    }
    return malloc(size);
}
void remote_free(cellar_remote *r, void *p, size_t size)
{
    (void)r, (void)size;
    free(p);
}

static void *share_alloc(void *r, size_t size) { return remote_alloc(r, size); }
static void share_free(void *r, void *p, size_t size) { remote_free(r, p, size); }

T_INLINE int64_t share_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

uint64_t remote_largest(const remote_link *l)
{
    (void)l;
    return engine_is_port() ? UINT64_MAX : 0;
}

/* Return false if the server does not answer in time. */
T_INLINE bool share_load(struct remote_link *l, redisContext *c)
{
    for (int i = 0; i < REMOTE_SCRIPTS; i++) {
        redisReply *reply = redisCommand(c, "SCRIPT LOAD %s", remote_script_text(NULL, (size_t)i));
        if (reply == NULL) { return false; }
        T_REQUIRE(reply->type == REDIS_REPLY_STRING);
        remote_script_digest(l->r, (size_t)i, reply->str);
        freeReplyObject(reply);
    }
    return true;
}

T_INLINE redisContext *share_take(struct remote_link *l)
{
    redisContext *c = NULL;
    pthread_mutex_lock(&l->lock);
    if (l->idle_count > 0) { c = l->idle[--l->idle_count]; }
    pthread_mutex_unlock(&l->lock);
    return c != NULL ? c : engine_connect(l->e);
}
T_INLINE void share_give(struct remote_link *l, redisContext *c)
{
    pthread_mutex_lock(&l->lock);
    const bool kept = l->idle_count < SHARE_CONNECTIONS;
    if (kept) { l->idle[l->idle_count++] = c; }
    pthread_mutex_unlock(&l->lock);
    if (!kept) { redisFree(c); }
}

/* Convert a reply with at most 8 elements. */
T_INLINE remote_reply share_reply(const redisReply *r, remote_reply *parts)
{
    static const remote_type types[] = { [REDIS_REPLY_STRING] = REMOTE_STRING,
        [REDIS_REPLY_ARRAY] = REMOTE_ARRAY, [REDIS_REPLY_INTEGER] = REMOTE_INTEGER,
        [REDIS_REPLY_NIL] = REMOTE_NIL, [REDIS_REPLY_STATUS] = REMOTE_STATUS,
        [REDIS_REPLY_ERROR] = REMOTE_ERROR };
    remote_reply out = { .type = types[r->type], .number = r->integer, .text = r->str };
    if (r->type != REDIS_REPLY_INTEGER && r->str != NULL) { out.len = (size_t)r->len; }
    if (r->type == REDIS_REPLY_ARRAY) {
        out.count = (uint32_t)r->elements;
        for (size_t i = 0; i < r->elements && i < 8; i++) {
            parts[i] = share_reply(r->element[i], NULL);
            parts[i].next = i + 1 < r->elements ? &parts[i + 1] : NULL;
        }
        out.first = r->elements > 0 ? parts : NULL;
    }
    return out;
}

static cellar_err share_replies(struct remote_link *l, redisContext *c, const remote_request *q)
{
    for (uint32_t i = 0; i < q->replies; i++) {
        redisReply *reply = NULL;
        remote_reply parts[8];
        if (redisGetReply(c, (void **)&reply) != REDIS_OK) {
            return c->err == REDIS_ERR_IO && (errno == EAGAIN || errno == ETIMEDOUT)
                       ? CELLAR_E_TIMEOUT : CELLAR_E_IO;
        }
        const bool lacks = reply->type == REDIS_REPLY_ERROR &&
                           strncmp(reply->str, "NOSCRIPT", 8) == 0;
        const remote_reply r = share_reply(reply, parts);
        if (!lacks && l->delay_ms > 0) { engine_pause_ms((int)l->delay_ms); }
        if (!lacks && q->fn != NULL) { q->fn(q->ctx, i, &r); }
        freeReplyObject(reply);
        if (lacks) { return CELLAR_MISS; }
    }
    return CELLAR_OK;
}

cellar_err remote_ask(remote_link *l, const remote_request *q, remote_fate *fate)
{
    remote_fate unused;
    if (fate == NULL) { fate = &unused; }
    *fate = REMOTE_NOT_SENT;
    redisContext *c = share_take(l);
    if (c == NULL) { return CELLAR_E_BREAKER_OPEN; }
    const int64_t ms = q->wait_ms > 0 ? q->wait_ms : l->r->cfg.io_ms;
    redisSetTimeout(c, (struct timeval){ (long)(ms / 1000), (long)(ms % 1000) * 1000 });
    cellar_err err = CELLAR_MISS;
    for (int i = 0; i < 2 && err == CELLAR_MISS; i++) {
        if (i > 0 && !share_load(l, c)) {
            err = CELLAR_E_TIMEOUT;
            break;
        }
        redisAppendFormattedCommand(c, q->bytes, q->bytes_len);
        *fate = REMOTE_UNKNOWN;
        err = share_replies(l, c, q);
    }
    if (err == CELLAR_OK) { share_give(l, c); } else { redisFree(c); }
    return err;
}

void remote_post(remote_link *l, const remote_request *q)
{
    remote_fate fate;
    const cellar_err err = remote_ask(l, q, &fate);
    if (q->memory != NULL) {
        q->memory->free(q->memory->ctx, (void *)(uintptr_t)q->bytes, q->bytes_cap);
    }
    if (q->done != NULL) { q->done(q->ctx, err, fate); }
}

/* Another thread runs the link: remote_link_step returns E_BUSY. And how often it was called. */
static atomic_bool share_busy;
static atomic_uint share_steps;
static atomic_bool share_inside; /* calls are those of a callback of the remote */

cellar_err remote_link_step(remote_link *l, int64_t wait_ms)
{
    (void)l;
    atomic_fetch_add(&share_steps, 1);
    if (atomic_load(&share_busy)) { return CELLAR_E_BUSY; }
    engine_pause_ms((int)wait_ms);
    return CELLAR_OK;
}

int64_t remote_proven_until(const remote_link *l)
{
    return l->proven_ms;
}

bool remote_inside(const remote_link *l)
{
    (void)l;
    return atomic_load(&share_inside);
}

static void *share_hear(void *arg)
{
    share *s = arg;
    while (!atomic_load(&s->link.ended)) {
        redisReply *reply = NULL;
        struct pollfd fd = { .fd = s->link.subscriber_c->fd, .events = POLLIN };
        (void)poll(&fd, 1, 10);
        if (fd.revents == 0) { continue; }
        if (redisBufferRead(s->link.subscriber_c) != REDIS_OK) { break; }
        while (redisGetReplyFromReader(s->link.subscriber_c, (void **)&reply) == REDIS_OK &&
               reply != NULL) {
            if (reply->elements == 3 && reply->element[2]->type == REDIS_REPLY_ARRAY) {
                for (size_t i = 0; i < reply->element[2]->elements; i++) {
                    const redisReply *key = reply->element[2]->element[i];
                    remote_share_heard(&s->r, key->str, (size_t)key->len);
                }
            } else if (reply->elements == 3 && reply->element[2]->type == REDIS_REPLY_NIL) {
                remote_share_gap(&s->r);
            }
            atomic_fetch_add(&s->link.heard, 1);
            freeReplyObject(reply);
        }
    }
    return NULL;
}

T_INLINE void share_listen(share *s)
{
    s->link.subscriber_c = engine_connect(s->link.e);
    s->link.data_c = engine_connect(s->link.e);
    T_REQUIRE(s->link.subscriber_c != NULL && s->link.data_c != NULL);
    redisReply *id = redisCommand(s->link.subscriber_c, "CLIENT ID");
    T_REQUIRE(id != NULL && id->type == REDIS_REPLY_INTEGER);
    redisReply *on = redisCommand(s->link.subscriber_c, "SUBSCRIBE __redis__:invalidate");
    redisReply *track = redisCommand(s->link.data_c, "CLIENT TRACKING ON REDIRECT %lld BCAST "
                                     "PREFIX app:users: PREFIX app:~ NOLOOP", id->integer);
    T_REQUIRE(on != NULL && track != NULL && track->type == REDIS_REPLY_STATUS);
    freeReplyObject(id);
    freeReplyObject(on);
    freeReplyObject(track);
    T_REQUIRE(pthread_create(&s->link.subscriber, NULL, share_hear, s) == 0);
}

T_INLINE void share_close(share *s)
{
    left_drop(s);
    atomic_store(&s->link.ended, true);
    pthread_join(s->link.subscriber, NULL);
    redisFree(s->link.subscriber_c);
    redisFree(s->link.data_c);
    while (s->link.idle_count > 0) { redisFree(s->link.idle[--s->link.idle_count]); }
    pthread_mutex_destroy(&s->link.lock);
    remote_share_close(&s->r);
}

static void share_left(void *s) { share_close(s); }

T_INLINE void share_open(share *s, const engine *e)
{
    const struct sigaction ignore = { .sa_handler = SIG_IGN };
    sigaction(SIGPIPE, &ignore,
              NULL); /* hiredis writes to connections that the server has closed */
    memset(s, 0, sizeof *s);
    s->r.link = &s->link;
    s->r.memory = (remote_memory){ &s->r, share_alloc, share_free, NULL };
    s->r.cfg.io_ms = 10000 * t_patience();
    s->r.cfg.lease_ms = 120000; /* no proof extends a lease here */
    memcpy(s->r.cfg.prefix, "app", 4);
    snprintf(s->r.cfg.uuid, sizeof s->r.cfg.uuid, "%08x%08x", (unsigned)getpid(),
             (unsigned)(uintptr_t)s);
    s->link.e = e;
    s->link.r = &s->r;
    pthread_mutex_init(&s->link.lock, NULL);
    T_REQUIRE(remote_share_open(&s->r) == CELLAR_OK);
    redisContext *c = engine_connect(e);
    T_REQUIRE(c != NULL);
    T_REQUIRE(engine_is_port() || share_load(&s->link, c));
    share_give(&s->link, c);
    share_listen(s);
    left_add(s, share_left);
}

/* ---- a server with two members ---- */

static engine server;
static share one, two;

T_INLINE void two_shares_open(void)
{
    T_REQUIRE(engine_start(&server, NULL));
    share_open(&one, &server);
    share_open(&two, &server);
}

/* A case with both: T_CASE_ON(name, TWO_SHARES). */
#define TWO_SHARES(fn) T_WITHIN(fn, two_shares_open(), left_close())

#endif
