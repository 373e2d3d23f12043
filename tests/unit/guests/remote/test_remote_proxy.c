/* SPDX-License-Identifier: MIT
 *
 * Aim:    the proxy of the tests does to bytes what a test asks it to do.
 * Method: a client of hiredis behind the proxy and one beside it, on the test's own server. */
#include "tests/support/byte_proxy.h"
#include "tests/support/engine_kit.h"
#include "tests/support/t.h"

typedef struct behind {
    engine e;
    byte_proxy p;
    redisContext *c;  /* through line 0 */
} behind;

static bool behind_open(behind *b)
{
    if (!engine_start(&b->e, NULL)) { return false; }
    byte_proxy_open(&b->p, b->e.dir, b->e.socket);
    b->c = redisConnectUnix(b->p.path);
    T_REQUIRE(b->c != NULL && b->c->err == 0);
    return true;
}

static void behind_close(behind *b)
{
    redisFree(b->c);
    byte_proxy_close(&b->p);
    engine_stop(&b->e);
}

static bool behind_answers(behind *b, const char *command)
{
    redisReply *r = redisCommand(b->c, command);
    if (r != NULL) { freeReplyObject(r); }
    return r != NULL;
}

T_CASE(line_is_cut_after_the_given_bytes)
{
    static behind b;
    if (!behind_open(&b)) { return; }
    T_CHECK(behind_answers(&b, "SET k 1"));
    T_EQ_U64(atomic_load(&b.p.line[0].way[0].passed), 27); /* *3 $3 SET $1 k $1 1 */
    atomic_store(&b.p.line[0].way[0].left, 26);
    T_CHECK(!behind_answers(&b, "SET k 2"));
    T_EQ_U64(atomic_load(&b.p.line[0].way[0].passed), 27 + 26);
    const redisReply *r = engine_ask(&b.e, "GET k");
    T_CHECK(r != NULL && r->type == REDIS_REPLY_STRING && strcmp(r->str, "1") == 0);
    behind_close(&b);
}

T_CASE(frozen_reply_waits_until_it_is_thawed)
{
    static behind b;
    if (!behind_open(&b)) { return; }
    T_CHECK(behind_answers(&b, "SET k 1"));
    atomic_store(&b.p.line[0].way[1].frozen, true);
    redisSetTimeout(b.c, (struct timeval){ 0, 50000 });
    T_CHECK(!behind_answers(&b, "SET k 2"));
    const redisReply *r = engine_ask(&b.e, "GET k"); /* the command reached the server */
    T_CHECK(r != NULL && r->type == REDIS_REPLY_STRING && strcmp(r->str, "2") == 0);
    T_EQ_U64(atomic_load(&b.p.line[0].way[1].passed), 5);
    behind_close(&b);
}

T_CASE(reply_is_delayed)
{
    static behind b;
    if (!behind_open(&b)) { return; }
    T_CHECK(behind_answers(&b, "PING"));
    atomic_store(&b.p.line[0].way[1].delay_ms, 30);
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    T_CHECK(behind_answers(&b, "PING"));
    clock_gettime(CLOCK_MONOTONIC, &after);
    T_CHECK((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 >= 29);
    behind_close(&b);
}

T_MAIN("remote_proxy")
