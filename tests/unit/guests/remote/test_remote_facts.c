/* SPDX-License-Identifier: MIT
 *
 * Aim:    what the remote tier assumes of the server is true of the server at hand: which changes
 *         CLIENT TRACKING reports, in which order, and which commands a bad day refuses.
 * Method: hiredis alone, without cellar: a connection `data` with tracking, its `subscriber`, and a
 *         stranger. A marker ends each case: own scripts are reported, so the keys that the
 *         subscriber receives before its own marker are all keys that the server reported.
 * NEEDS   redis-server; CELLAR_TEST_ENGINE=path asks another server. */
#include "tests/support/engine_kit.h"
#include "tests/support/t.h"

#include "remote/link_inside.h"

#define TRACK "CLIENT TRACKING ON REDIRECT %lld BCAST PREFIX t: PREFIX ~t: NOLOOP"
#define MARKER "~t:marker:"
#define MARKER_SCRIPT REMOTE_MARKER_SCRIPT

static struct facts {
    engine e;               /* e.c is the stranger */
    redisContext *data, *subscriber;
    char heard[512];        /* keys before the marker, each followed by one blank; "nil " a flush */
} f;

/* Return whether `data` answered without an error. */
static bool facts_do(redisContext *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    redisReply *r = redisvCommand(c, format, args);
    va_end(args);
    const bool ok = r != NULL && r->type != REDIS_REPLY_ERROR;
    if (r != NULL) { freeReplyObject(r); }
    return ok;
}

/* Return whether the command was refused with this first word. */
static bool facts_refused(redisContext *c, const char *word, const char *command)
{
    redisReply *r = redisCommand(c, command);
    const bool yes = r != NULL && r->type == REDIS_REPLY_ERROR &&
                     strncmp(r->str, word, strlen(word)) == 0;
    if (r != NULL) { freeReplyObject(r); }
    return yes;
}

static void facts_open(void)
{
    memset(&f, 0, sizeof f);
    T_REQUIRE(engine_start(&f.e, NULL));
    f.data = engine_connect(&f.e);
    f.subscriber = engine_connect(&f.e);
    T_REQUIRE(f.data != NULL && f.subscriber != NULL);
    redisReply *r = redisCommand(f.subscriber, "CLIENT ID");
    T_REQUIRE(r != NULL && r->type == REDIS_REPLY_INTEGER);
    const long long id = r->integer;
    freeReplyObject(r);
    T_REQUIRE(facts_do(f.subscriber, "SUBSCRIBE __redis__:invalidate"));
    T_REQUIRE(facts_do(f.data, TRACK, id));
    T_REQUIRE(facts_do(f.data, "SET " MARKER " 1"));
}

static void facts_close(void)
{
    if (f.data != NULL) { redisFree(f.data); }
    if (f.subscriber != NULL) { redisFree(f.subscriber); }
    f.data = f.subscriber = NULL;
}

#define FACTS(fn) T_WITHIN(fn, facts_open(), facts_close())

/* Take `n` replies of a connection. */
static void facts_replies(redisContext *c, int n)
{
    for (int i = 0; i < n; i++) {
        redisReply *r = NULL;
        T_REQUIRE(redisGetReply(c, (void **)&r) == REDIS_OK);
        freeReplyObject(r);
    }
}

/* Append the keys of one message. Return whether the marker is among them. */
static bool facts_note(const redisReply *m)
{
    T_REQUIRE(m != NULL && m->type == REDIS_REPLY_ARRAY && m->elements == 3);
    const redisReply *keys = m->element[2];
    bool marker = false;
    if (keys->type == REDIS_REPLY_NIL) { strcat(f.heard, "nil "); }
    for (size_t i = 0; keys->type == REDIS_REPLY_ARRAY && i < keys->elements; i++) {
        const char *key = keys->element[i]->str;
        T_REQUIRE(strlen(f.heard) + strlen(key) + 2 < sizeof f.heard);
        if (strcmp(key, MARKER) == 0) {
            marker = true;
        } else {
            strcat(strcat(f.heard, key), " ");
        }
    }
    return marker;
}

/* Return what the subscriber received up to a marker that is sent now. */
static const char *facts_heard(void)
{
    f.heard[0] = '\0';
    T_REQUIRE(engine_is_port() ? facts_do(f.data, "CELLAR.TIER MARKER 1 " MARKER)
                               : facts_do(f.data, "EVAL %s 1 " MARKER, MARKER_SCRIPT));
    for (bool marker = false; !marker;) {
        redisReply *m = NULL;
        T_REQUIRE(redisGetReply(f.subscriber, (void **)&m) == REDIS_OK);
        marker = facts_note(m);
        freeReplyObject(m);
    }
    return f.heard;
}

T_CASE_ON(changes_by_others_are_reported_and_own_ones_are_not, FACTS)
{
    static const struct { const char *commands[3], *heard; } rows[] = {
        { { "SET t:1 a" }, "t:1 " }, { { "DEL t:1" }, "t:1 " }, { { "SET t:2 a NX GET" }, "t:2 " },
        { { "UNLINK t:2" }, "t:2 " }, { { "MULTI", "SET t:3 a", "EXEC" }, "t:3 " },
        { { "SET other 1" }, "" } };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int n = 0; n < 3 && rows[i].commands[n] != NULL; n++) {
            engine_ask(&f.e, rows[i].commands[n]);
        }
        T_EQ_STR(facts_heard(), rows[i].heard);
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int n = 0; n < 3 && rows[i].commands[n] != NULL; n++) {
            T_CHECK(facts_do(f.data, rows[i].commands[n]));
        }
        T_EQ_STR(facts_heard(), "");
    }
}

T_CASE_ON(set_nx_get_returns_the_value_and_reports_nothing_if_the_key_is_there, FACTS)
{
    T_CHECK(facts_do(f.data, "SET t:1 a"));
    const redisReply *r = engine_ask(&f.e, "SET t:1 b NX GET PX 1000");
    T_CHECK(r != NULL && r->type == REDIS_REPLY_STRING && strcmp(r->str, "a") == 0);
    T_EQ_STR(facts_heard(), "");
    r = engine_ask(&f.e, "SET t:2 b NX GET PX 100000");
    T_CHECK(r != NULL && r->type == REDIS_REPLY_NIL);
    T_EQ_STR(facts_heard(), "t:2 ");
}

T_CASE_ON(own_script_is_reported, FACTS)
{
    T_CHECK(facts_do(f.data, "EVAL %s 1 t:1", "return redis.call('SET', KEYS[1], 'x')"));
    T_EQ_STR(facts_heard(), "t:1 ");
}

/* Two clients change one key while the server is frozen, so that both commands fall in one round.
 * The value tells which one was last. */
static void one_round(bool own_first)
{
    facts_open();
    engine_ask(&f.e, "PING");
    engine_signal(&f.e, SIGSTOP);
    redisContext *const order[] = { own_first ? f.data : f.e.c, own_first ? f.e.c : f.data };
    for (int i = 0; i < 2; i++) {
        int done = 0;
        redisAppendCommand(order[i], "SET t:1 %s", order[i] == f.data ? "own" : "other");
        while (done == 0) { T_REQUIRE(redisBufferWrite(order[i], &done) == REDIS_OK); }
    }
    engine_signal(&f.e, SIGCONT);
    for (int i = 0; i < 2; i++) { facts_replies(order[i], 1); }
    const redisReply *v = engine_ask(&f.e, "GET t:1");
    T_REQUIRE(v != NULL && v->type == REDIS_REPLY_STRING);
    T_EQ_STR(facts_heard(), strcmp(v->str, "other") == 0 ? "t:1 " : "");
}

T_CASE(last_writer_of_a_round_decides_about_the_report)
{
    one_round(true);
    facts_close();
    engine_stop(&f.e);
    one_round(false);
}

/* Two commands that are sent together fall in one round. */
T_CASE_ON(own_write_hides_an_own_script_of_its_round, FACTS)
{
    redisAppendCommand(f.data, "EVAL %s 1 t:1", "return redis.call('SET', KEYS[1], 'x')");
    redisAppendCommand(f.data, "SET t:1 a");
    facts_replies(f.data, 2);
    T_EQ_STR(facts_heard(), "");
}

T_CASE_ON(marker_comes_after_values_of_its_round, FACTS)
{
    engine_ask(&f.e, "PING");
    redisAppendCommand(f.e.c, "SET ~t:a 1");
    redisAppendCommand(f.e.c, "SET t:5 1");
    facts_replies(f.e.c, 2);
    T_EQ_STR(facts_heard(), "t:5 ~t:a ");
}

T_CASE_ON(expiry_is_reported, FACTS)
{
    T_CHECK(facts_do(f.data, "SET t:1 a PX 1"));
    for (bool there = true; there;) {
        const redisReply *r = engine_ask(&f.e, "GET t:1");
        there = r != NULL && r->type == REDIS_REPLY_STRING;
    }
    T_EQ_STR(facts_heard(), "t:1 ");
}

T_CASE_ON(flush_is_reported_as_nil, FACTS)
{
    engine_ask(&f.e, "FLUSHDB");
    T_CHECK(facts_do(f.data, "SET " MARKER " 1"));
    T_EQ_STR(facts_heard(), "nil ");
    engine_ask(&f.e, "FLUSHALL");
    T_CHECK(facts_do(f.data, "SET " MARKER " 1"));
    T_EQ_STR(facts_heard(), "nil ");
}

T_CASE_ON(eviction_is_reported, FACTS)
{
    T_CHECK(facts_do(f.data, "SET t:1 a"));
    engine_ask(&f.e, "CONFIG SET maxmemory-policy allkeys-lru maxmemory 1");
    T_CHECK(facts_refused(f.e.c, "OOM", "SET x 1")); /* all keys went, that of the marker as well */
    engine_ask(&f.e, "CONFIG SET maxmemory 0");
    T_CHECK(facts_do(f.data, "SET " MARKER " 1"));
    T_CHECK(strstr(facts_heard(), "t:1 ") != NULL);
}

T_CASE_ON(other_database_is_reported_under_the_same_name, FACTS)
{
    engine_ask(&f.e, "SELECT 3");
    engine_ask(&f.e, "SET t:1 a");
    T_EQ_STR(facts_heard(), "t:1 ");
}

T_CASE_ON(subscriber_answers_without_data_and_hears_nothing, FACTS)
{
    redisFree(f.data);
    f.data = NULL;
    const redisReply *list;
    do {
        list = engine_ask(&f.e, "CLIENT LIST TYPE normal");
        T_REQUIRE(list != NULL && list->type == REDIS_REPLY_STRING);
    } while (strchr(list->str, '\n') != list->str + list->len - 1); /* until it is the stranger's */
    engine_ask(&f.e, "SET t:1 a");
    redisReply *r = redisCommand(f.subscriber, "PING");
    T_REQUIRE(r != NULL && r->type == REDIS_REPLY_ARRAY && r->elements == 2);
    T_EQ_STR(r->element[0]->str, "pong");
    freeReplyObject(r);
}

T_CASE_ON(overlapping_prefixes_are_refused, FACTS)
{
    T_CHECK(facts_refused(f.data, "ERR", "CLIENT TRACKING ON BCAST PREFIX t: PREFIX t:u:"));
}

T_CASE_ON(full_server_lets_marker_and_unlink_through, FACTS)
{
    engine_ask(&f.e, "CONFIG SET maxmemory-policy noeviction");
    T_CHECK(facts_do(f.data, "SET t:1 a"));
    engine_ask(&f.e, "CONFIG SET maxmemory 1");
    T_CHECK(facts_refused(f.data, "OOM", "SET t:2 b"));
    T_CHECK(facts_refused(f.data, "OOM", "SET t:1 b NX GET"));
    T_EQ_I64(engine_number(engine_ask(&f.e, "UNLINK t:1")), 1);
    T_EQ_STR(facts_heard(), "t:1 ");
    T_CHECK(facts_refused(f.data, "OOM", "EVAL return{redis.call('SET',KEYS[1],1)} 1 t:3"));
}

T_CASE_ON(replica_and_primary_without_replicas_refuse_the_mark, FACTS)
{
    engine_ask(&f.e, "CONFIG SET min-replicas-to-write 1");
    T_CHECK(facts_refused(f.data, "NOREPLICAS", "EVAL return{redis.call('PEXPIRE',KEYS[1],6)} 1 "
                          MARKER));
    T_CHECK(facts_do(f.data, "GET t:1"));
    engine_ask(&f.e, "CONFIG SET min-replicas-to-write 0");
    engine_ask(&f.e, "REPLICAOF 127.0.0.1 1");
    T_CHECK(facts_refused(f.data, "READONLY", "EVAL return{redis.call('PEXPIRE',KEYS[1],6)} 1 "
                          MARKER));
}

T_MAIN("remote_facts")
