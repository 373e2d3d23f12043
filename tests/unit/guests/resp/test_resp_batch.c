/* SPDX-License-Identifier: MIT
 *
 * Aim:    GETs of one client that are looked up together answer like single ones: in order, with
 *         values of any length, beside other commands, errors and ends.
 * Method: a port without threads on a socket file; the process stores the values. */
#include "cellar_invalidate.h"
#include "tests/support/port_kit.h"

#include "cellar_observe.h"

static void danger_too(cellar_resp_config *o) { o->danger = 1; }

static void batch_begin(void)
{
    port_begin();
    T_EQ_I64(cellar_namespace_open(port_store, "db0", NULL, &port_db), CELLAR_OK);
    T_EQ_I64(cellar_set_str(port_db, "a", "1", 0), CELLAR_OK);
    T_EQ_I64(cellar_set_str(port_db, "b", "", 0), CELLAR_OK);
}

T_CASE(values_of_any_length_are_whole)
{
    static const size_t lens[] = { 511, 512, 513, 4096, 16354, 16368, 16369, 16384, 100000, 9 };
    static char value[100001];
    batch_begin();
    const int fd = peer();
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        char head[32];
        const int key = (int)i;
        memset(value, 'a' + key, lens[i]);
        T_EQ_I64(cellar_set(port_db, &key, sizeof key, value, lens[i], NULL), CELLAR_OK);
        char in[2 * 32];
        size_t n = 0;
        for (int twice = 0; twice < 2; twice++) {
            memcpy(in + n, "*2\r\n$3\r\nget\r\n$4\r\n", 17);
            memcpy(in + n + 17, &key, 4);
            memcpy(in + n + 21, "\r\n", 2);
            n += 23;
        }
        const char *got = ask_bytes(fd, in, n);
        const size_t head_len = (size_t)snprintf(head, sizeof head, "$%zu\r\n", lens[i]);
        const size_t one = head_len + lens[i] + 2;
        T_EQ_U64(port_heard_len, 2 * one);
        for (int twice = 0; twice < 2; twice++) {
            T_CHECK(memcmp(got + one * (size_t)twice, head, head_len) == 0);
            T_CHECK(memcmp(got + one * (size_t)twice + head_len, value, lens[i]) == 0);
        }
    }
}

T_CASE(get_alone_counts_among_hot_keys)
{
    cellar_hot_key top[2];
    size_t n = 0;
    batch_begin();
    const int fd = peer();
    T_EQ_I64(cellar_set_str(port_db, "k", "v", 0), CELLAR_OK);
    for (int i = 0; i < 1000; i++) { T_EQ_STR(ask(fd, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"), "$1\r\nv\r\n"); }
    T_EQ_I64(cellar_hot_keys(port_db, CELLAR_SCOPE_NAMESPACE, top, 2, &n), CELLAR_OK);
    T_EQ_U64(n, 1);
    T_EQ_STR(top[0].key, "k");
}

T_CASE(other_commands_come_in_their_place)
{
    batch_begin();
    const int fd = peer();
    T_EQ_STR(ask(fd, "PING\r\nGET a\r\nDEL a\r\nGET a\r\nSET a 2\r\nGET a\r\nGET\r\nGET b\r\n"
                     "SELECT 1\r\nGET a\r\nSELECT 0\r\nGET a\r\nMULTI\r\nGET a\r\nEXEC\r\nGET \"\"\r\nGET a\r\n"),
             "+PONG\r\n$1\r\n1\r\n:1\r\n$-1\r\n+OK\r\n$1\r\n2\r\n"
             "-ERR wrong number of arguments for 'get' command\r\n$0\r\n\r\n+OK\r\n$-1\r\n+OK\r\n"
             "$1\r\n2\r\n+OK\r\n+QUEUED\r\n*1\r\n$1\r\n2\r\n-ERR invalid key\r\n$1\r\n2\r\n");
    T_EQ_STR(ask(fd, "CLIENT REPLY SKIP\r\nGET a\r\nGET b\r\nHELLO 3 x\r\nGET none\r\n"),
             "$0\r\n\r\n-ERR Syntax error in HELLO option 'x'\r\n$-1\r\n");
    T_EQ_STR(ask(fd, "PING\r\nGET a\r\nQUIT\r\nGET a\r\n"), "+PONG\r\n$1\r\n2\r\n+OK\r\n");
    T_CHECK(is_closed(fd));
}

T_CASE(replies_come_before_the_error_of_a_broken_request)
{
    batch_begin();
    const int fd = peer();
    T_EQ_STR(ask(fd, "PING\r\nGET a\r\nGET b\r\n*x\r\n"),
             "+PONG\r\n$1\r\n1\r\n$0\r\n\r\n-ERR Protocol error: invalid multibulk length\r\n");
    T_CHECK(is_closed(fd));
}

T_CASE(dropped_namespace_is_an_error_then_a_new_one)
{
    batch_begin();
    const int fd = peer();
    T_EQ_STR(ask(fd, "PING\r\nGET a\r\n"), "+PONG\r\n$1\r\n1\r\n");
    T_EQ_I64(cellar_namespace_drop(port_store, "db0"), CELLAR_OK);
    T_EQ_STR(ask(fd, "GET a\r\n"), "-ERR the namespace was dropped; send the command again\r\n");
    T_EQ_STR(ask(fd, "GET a\r\n"), "$-1\r\n");
}

#define DROPPED "-ERR the namespace was dropped; send the command again\r\n"

T_CASE(commands_on_several_databases_open_those_that_were_dropped)
{
    static const char *const lines[] = { "FLUSHALL\r\n", "COPY a a DB 1 REPLACE\r\n" };
    port_begin_with(danger_too);
    const int fd = peer();
    for (size_t i = 0; i < 2; i++) {
        T_EQ_STR(ask(fd, "SELECT 1\r\nSET a 1\r\nSELECT 0\r\nSET a 1\r\n"),
                 "+OK\r\n+OK\r\n+OK\r\n+OK\r\n");
        T_EQ_I64(cellar_namespace_drop(port_store, "db1"), CELLAR_OK);
        T_EQ_STR(ask(fd, lines[i]), DROPPED);
        T_CHECK(*ask(fd, lines[i]) != '-');
    }
}

T_CASE(monitor_sees_each_get)
{
    batch_begin();
    const int fd = peer(), watcher = peer();
    T_EQ_STR(ask(watcher, "MONITOR\r\n"), "+OK\r\n");
    T_EQ_STR(ask(fd, "PING\r\nGET a\r\nGET b\r\n"), "+PONG\r\n$1\r\n1\r\n$0\r\n\r\n");
    T_CHECK(strstr(ask(watcher, ""), "\"GET\" \"a\"\r\n") != NULL);
    T_CHECK(strstr(port_heard, "\"GET\" \"b\"\r\n") != NULL);
}

T_ONE_THREAD;
T_MAIN("resp_batch")
