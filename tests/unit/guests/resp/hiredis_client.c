/* SPDX-License-Identifier: MIT
 *
 * hiredis_client: the port seen by hiredis, synchronous and asynchronous.
 *
 * USE        hiredis_client sync|async|channel PATH; exit 0: every reply is as it has to be.
 *            slow_resp_clients.sh compiles it where libhiredis-dev is installed. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h> /* hiredis.h needs it */

#include <hiredis/async.h>
#include <hiredis/hiredis.h>

#define MUST(fact) \
    do { \
        if (!(fact)) { \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #fact); \
            exit(1); \
        } \
    } while (0)

#define MANY 10000

/* ---- synchronous ---- */

static int has(redisReply *r, int type, const char *text)
{
    const int yes = r != NULL && r->type == type && (text == NULL || strcmp(r->str, text) == 0);
    freeReplyObject(r);
    return yes;
}

static void single_requests(redisContext *c)
{
    static const char bytes[] = "a\0b\r\nc";
    redisReply *r = redisCommand(c, "SET k %b", bytes, sizeof bytes - 1);
    MUST(has(r, REDIS_REPLY_STATUS, "OK"));
    r = redisCommand(c, "GET k");
    MUST(r != NULL && r->type == REDIS_REPLY_STRING && r->len == sizeof bytes - 1 &&
         memcmp(r->str, bytes, sizeof bytes - 1) == 0);
    freeReplyObject(r);
    MUST(has(redisCommand(c, "GET none"), REDIS_REPLY_NIL, NULL));
    MUST(has(redisCommand(c, "INCR k"), REDIS_REPLY_ERROR,
             "ERR value is not an integer or out of range"));
    r = redisCommand(c, "STRLEN k");
    MUST(r != NULL && r->type == REDIS_REPLY_INTEGER && r->integer == 6);
    freeReplyObject(r);
}

static void transaction(redisContext *c)
{
    MUST(has(redisCommand(c, "MULTI"), REDIS_REPLY_STATUS, "OK"));
    MUST(has(redisCommand(c, "SET n 1"), REDIS_REPLY_STATUS, "QUEUED"));
    MUST(has(redisCommand(c, "MGET n none"), REDIS_REPLY_STATUS, "QUEUED"));
    redisReply *r = redisCommand(c, "EXEC");
    MUST(r != NULL && r->type == REDIS_REPLY_ARRAY && r->elements == 2);
    const redisReply *inner = r->element[1];
    MUST(inner->type == REDIS_REPLY_ARRAY && inner->elements == 2);
    MUST(strcmp(inner->element[0]->str, "1") == 0 && inner->element[1]->type == REDIS_REPLY_NIL);
    freeReplyObject(r);
}

static void pipeline(redisContext *c)
{
    MUST(has(redisCommand(c, "SET n 0"), REDIS_REPLY_STATUS, "OK"));
    for (int i = 0; i < MANY; i++) { MUST(redisAppendCommand(c, "INCR n") == REDIS_OK); }
    for (int i = 0; i < MANY; i++) {
        redisReply *r = NULL;
        MUST(redisGetReply(c, (void **)&r) == REDIS_OK && r->integer == i + 1);
        freeReplyObject(r);
    }
}

static void run_sync(const char *path)
{
    redisContext *c = redisConnectUnix(path);
    MUST(c != NULL && c->err == 0);
    single_requests(c);
    transaction(c);
    pipeline(c);
    redisFree(c);
}

/* ---- asynchronous ---- */

static struct loop {
    int reads, writes, over;
    int replies;
    long long last; /* of INCR */
} loop;

static void read_on(void *data) { ((struct loop *)data)->reads = 1; }
static void read_off(void *data) { ((struct loop *)data)->reads = 0; }
static void write_on(void *data) { ((struct loop *)data)->writes = 1; }
static void write_off(void *data) { ((struct loop *)data)->writes = 0; }
static void clean(void *data) { ((struct loop *)data)->reads = ((struct loop *)data)->writes = 0; }

static void gone(const redisAsyncContext *c, int status)
{
    (void)c;
    MUST(status == REDIS_OK);
    loop.over = 1;
}

static void counted(redisAsyncContext *c, void *reply, void *ctx)
{
    const redisReply *r = reply;
    MUST(r != NULL && r->type == REDIS_REPLY_INTEGER && r->integer == loop.last + 1);
    MUST(ctx == &loop);
    loop.last = r->integer;
    if (++loop.replies == MANY) { redisAsyncDisconnect(c); }
}

static redisAsyncContext *connect_async(const char *path)
{
    redisAsyncContext *c = redisAsyncConnectUnix(path);
    MUST(c != NULL && c->err == 0);
    c->ev.data = &loop;
    c->ev.addRead = read_on;
    c->ev.delRead = read_off;
    c->ev.addWrite = write_on;
    c->ev.delWrite = write_off;
    c->ev.cleanup = clean;
    MUST(redisAsyncSetDisconnectCallback(c, gone) == REDIS_OK);
    return c;
}

static void run_loop(redisAsyncContext *c)
{
    while (!loop.over) {
        struct pollfd p = { .fd = c->c.fd };
        p.events = (short)((loop.reads ? POLLIN : 0) | (loop.writes ? POLLOUT : 0));
        MUST(poll(&p, 1, 20000) == 1);
        if (p.revents & POLLOUT) { redisAsyncHandleWrite(c); }
        if (!loop.over && (p.revents & (POLLIN | POLLHUP))) { redisAsyncHandleRead(c); }
    }
}

static void run_async(const char *path)
{
    redisAsyncContext *c = connect_async(path);
    MUST(redisAsyncCommand(c, NULL, NULL, "DEL m") == REDIS_OK);
    for (int i = 0; i < MANY; i++) {
        MUST(redisAsyncCommand(c, counted, &loop, "INCR m") == REDIS_OK);
    }
    run_loop(c);
    MUST(loop.replies == MANY);
}

/* ---- channels ---- */

/* Publish when the subscription is confirmed; end with the message. */
static void published(redisAsyncContext *c, void *reply, void *publisher)
{
    const redisReply *r = reply;
    if (r == NULL) { return; } /* the connection ends */
    MUST(r->type == REDIS_REPLY_ARRAY && r->elements == 3);
    if (strcmp(r->element[0]->str, "subscribe") == 0) {
        redisReply *heard = redisCommand(publisher, "PUBLISH news %s", "hello");
        MUST(heard != NULL && heard->type == REDIS_REPLY_INTEGER && heard->integer == 1);
        freeReplyObject(heard);
    } else {
        MUST(strcmp(r->element[0]->str, "message") == 0);
        MUST(strcmp(r->element[1]->str, "news") == 0 && strcmp(r->element[2]->str, "hello") == 0);
        loop.replies++;
        redisAsyncDisconnect(c);
    }
}

static void run_channel(const char *path)
{
    redisContext *publisher = redisConnectUnix(path);
    MUST(publisher != NULL && publisher->err == 0);
    redisAsyncContext *c = connect_async(path);
    MUST(redisAsyncCommand(c, published, publisher, "SUBSCRIBE news") == REDIS_OK);
    run_loop(c);
    MUST(loop.replies == 1);
    redisFree(publisher);
}

int main(int argc, char **argv)
{
    MUST(argc == 3);
    if (strcmp(argv[1], "sync") == 0) {
        run_sync(argv[2]);
    } else if (strcmp(argv[1], "async") == 0) {
        run_async(argv[2]);
    } else {
        run_channel(argv[2]);
    }
    return 0;
}
