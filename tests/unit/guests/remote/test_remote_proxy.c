/* SPDX-License-Identifier: MIT
 *
 * Aim:    the proxy of the tests does to bytes what a test asks it to do.
 * Method: a client of hiredis behind the proxy and one beside it, on the test's own server. */
#include "tests/support/byte_proxy.h"
#include "tests/support/engine_kit.h"
#include "tests/support/t.h"

static engine e;
static byte_proxy p;
static redisContext *c; /* through line 0 */

static void behind_open(void)
{
    T_REQUIRE(engine_start(&e, NULL));
    byte_proxy_open(&p, e.dir, e.socket);
    c = redisConnectUnix(p.path);
    T_REQUIRE(c != NULL && c->err == 0);
}

#define BEHIND(fn) T_WITHIN(fn, behind_open(), redisFree(c))

static bool behind_answers(const char *command)
{
    redisReply *r = redisCommand(c, command);
    if (r != NULL) { freeReplyObject(r); }
    return r != NULL;
}

T_CASE_ON(line_is_cut_after_the_given_bytes, BEHIND)
{
    T_CHECK(behind_answers("SET k 1"));
    T_EQ_U64(atomic_load(&p.line[0].way[0].passed), 27); /* *3 $3 SET $1 k $1 1 */
    atomic_store(&p.line[0].way[0].left, 26);
    T_CHECK(!behind_answers("SET k 2"));
    T_EQ_U64(atomic_load(&p.line[0].way[0].passed), 27 + 26);
    const redisReply *r = engine_ask(&e, "GET k");
    T_CHECK(r != NULL && r->type == REDIS_REPLY_STRING && strcmp(r->str, "1") == 0);
}

T_CASE_ON(frozen_reply_waits_until_it_is_thawed, BEHIND)
{
    T_CHECK(behind_answers("SET k 1"));
    atomic_store(&p.line[0].way[1].frozen, true);
    redisSetTimeout(c, (struct timeval){ 0, 50000 });
    T_CHECK(!behind_answers("SET k 2"));
    const redisReply *r = engine_ask(&e, "GET k"); /* the command reaches the server */
    for (int i = 0; i < 20000 && r != NULL && strcmp(r->str, "2") != 0; i++) {
        engine_pause_ms(1);
        r = engine_ask(&e, "GET k");
    }
    T_CHECK(r != NULL && r->type == REDIS_REPLY_STRING && strcmp(r->str, "2") == 0);
    T_EQ_U64(atomic_load(&p.line[0].way[1].passed), 5);
}

T_CASE_ON(reply_is_delayed, BEHIND)
{
    T_CHECK(behind_answers("PING"));
    atomic_store(&p.line[0].way[1].delay_ms, 30);
    const int64_t before_ms = engine_now_ms();
    T_CHECK(behind_answers("PING"));
    T_CHECK(engine_now_ms() - before_ms >= 29);
}

T_MAIN("remote_proxy")
