/* SPDX-License-Identifier: MIT
 *
 * Aim:    messages reach the subscribed clients and the signal handlers of the process, from both;
 *         subscribers that stop reading, leave, or come in numbers cost a bounded amount.
 * Method: a port and a pool without threads on a socket file, on the clock of the test; one case
 *         emits from threads. Forms of replies: also test_resp_differential. */
#include <pthread.h>
#include <sys/wait.h>

#include "tests/support/port_kit.h"

#include "base/fault.h"
#include "cellar_bus.h"

static cellar_pool *bus;

static void with_bus(cellar_resp_config *o) { o->pool = bus; o->resp_buffer_bytes = 32u << 20; }

static void bus_begin(void)
{
    cellar_host_config host = { .struct_size = sizeof host, .no_threads = 1 };
    cellar_pool_config cfg = { .struct_size = sizeof cfg, .host = &host };
    T_REQUIRE(cellar_pool_open(&cfg, &bus) == CELLAR_OK);
    port_begin_on(api_open(128 << 20), with_bus);
}

static void bus_end(void)
{
    port_end();
    T_EQ_I64(cellar_pool_close(bus), CELLAR_OK);
    bus = NULL;
}

static void bus_left(void)
{
    if (bus != NULL) { T_EQ_I64(cellar_pool_close(bus), CELLAR_OK); }
    bus = NULL;
}
T_AFTER_EACH(bus_left); /* behind the port */

static const char *heard(int fd) { return ask(fd, ""); }

static size_t emit(const char *topic, const void *data, size_t len)
{
    size_t called = 0;
    T_EQ_I64(cellar_signal_emit(bus, topic, data, len, &called), CELLAR_OK);
    return called;
}

#define MESSAGE(channel_len, channel, len, text) \
    "*3\r\n$7\r\nmessage\r\n$" channel_len "\r\n" channel "\r\n$" len "\r\n" text "\r\n"

/* ---- clients ---- */

T_CASE(messages_reach_subscribers_of_channels_and_patterns)
{
    port_begin();
    const int a = peer(), b = peer();
    T_EQ_STR(ask(a, "SUBSCRIBE news news\r\n"), "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n"
                                                "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    T_EQ_STR(ask(a, "PSUBSCRIBE n*\r\n"), "*3\r\n$10\r\npsubscribe\r\n$2\r\nn*\r\n:2\r\n");
    T_EQ_STR(ask(b, "PUBLISH news hi\r\nPUBLISH old hi\r\n"), ":2\r\n:0\r\n");
    T_EQ_STR(heard(a), MESSAGE("4", "news", "2", "hi")
                       "*4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$2\r\nhi\r\n");
    T_EQ_STR(ask(b, "PUBSUB NUMSUB news x\r\nPUBSUB NUMPAT\r\nPUBSUB CHANNELS\r\n"),
             "*4\r\n$4\r\nnews\r\n:1\r\n$1\r\nx\r\n:0\r\n:1\r\n*1\r\n$4\r\nnews\r\n");
    T_CHECK(strstr(ask(b, "CLIENT LIST TYPE pubsub\r\n"), " flags=PU db=0 sub=1 psub=1 ") != NULL);
    T_CHECK(strstr(ask(b, "INFO stats\r\n"), "pubsub_channels:1\r\npubsub_patterns:1\r\n") != NULL);
    T_EQ_STR(ask(b, "PUBSUB CHANNELS o*\r\nCLIENT KILL TYPE pubsub SKIPME no\r\n"),
             "*0\r\n:1\r\n");
    T_CHECK(is_closed(a));
    T_EQ_STR(ask(b, "PUBSUB CHANNELS\r\nPUBSUB NUMPAT\r\n"), "*0\r\n:0\r\n");
    T_EQ_U64(port_stats().messages, 2);
}

/* EXEC replies with one array: a message inside would count as one of its replies. */
T_CASE(message_of_a_transaction_to_its_own_client_is_behind_the_reply)
{
#define HEARD(text) ">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\n" text "\r\n" \
                    ">4\r\n$8\r\npmessage\r\n$2\r\na*\r\n$1\r\na\r\n$1\r\n" text "\r\n"
    port_begin();
    const int fd = peer();
    (void)ask(fd, "HELLO 3\r\nSUBSCRIBE a\r\nPSUBSCRIBE a*\r\n");
    T_EQ_STR(ask(fd, "MULTI\r\nPUBLISH a m\r\nPUBLISH a n\r\nPING x\r\nEXEC\r\nPING y\r\n"),
             "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n:2\r\n:2\r\n$1\r\nx\r\n"
             HEARD("m") HEARD("n") "$1\r\ny\r\n");
    T_EQ_STR(ask(fd, "MULTI\r\nCLIENT REPLY OFF\r\nPUBLISH a m\r\nEXEC\r\nPING\r\n"),
             "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n" HEARD("m"));
#undef HEARD
}

T_CASE(gets_between_are_refused_for_a_subscribed_client)
{
    static const char no[] = "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / "
                             "PING / QUIT / RESET are allowed in this context\r\n";
    port_begin();
    const int fd = peer();
    T_CHECK(strstr(ask(fd, "PING\r\nGET a\r\nSUBSCRIBE x\r\nGET a\r\nGET b\r\n"), no) != NULL);
    T_CHECK(strncmp(port_heard, "+PONG\r\n$-1\r\n*3\r\n", 16) == 0);
    T_EQ_STR(ask(fd, "UNSUBSCRIBE\r\nGET a\r\n"),
             "*3\r\n$11\r\nunsubscribe\r\n$1\r\nx\r\n:0\r\n$-1\r\n");
}

T_CASE(names_of_any_bytes_are_channels)
{
    static char name[70000], request[71000];
    port_begin();
    const int a = peer(), b = peer();
    memset(name, 'n', sizeof name);
    const int len = snprintf(request, sizeof request, "*2\r\n$9\r\nSUBSCRIBE\r\n$70000\r\n%.*s\r\n",
                             (int)sizeof name, name);
    T_CHECK(strstr(ask_bytes(a, request, (size_t)len), "\r\n:1\r\n") != NULL);
    static const char zero[] = "*2\r\n$9\r\nSUBSCRIBE\r\n$3\r\na\0b\r\n";
    T_CHECK(memcmp(ask_bytes(a, zero, sizeof zero - 1),
                   "*3\r\n$9\r\nsubscribe\r\n$3\r\na\0b\r\n:2\r\n", 32) == 0);
    T_CHECK(strstr(ask(a, "SUBSCRIBE \"\" \"\"\r\n"), "$0\r\n\r\n:3\r\n") != NULL);
    T_EQ_STR(ask(b, "PUBLISH \"\" \"\"\r\nPUBSUB NUMSUB \"\"\r\n"), ":1\r\n*2\r\n$0\r\n\r\n:1\r\n");
    T_EQ_STR(heard(a), MESSAGE("0", "", "0", ""));
}

T_CASE(patterns_do_not_match_the_empty_channel)
{
    port_begin();
    const int a = peer(), b = peer();
    (void)ask(a, "PSUBSCRIBE * \"\"\r\nSUBSCRIBE \"\"\r\n");
    T_EQ_STR(ask(b, "PUBLISH \"\" m\r\nPUBSUB CHANNELS *\r\nPUBSUB CHANNELS \"\"\r\n"),
             ":2\r\n*0\r\n*1\r\n$0\r\n\r\n");
}

T_CASE(client_with_8000_channels_leaves_nothing)
{
    static char request[8000 * 12];
    port_begin();
    const int a = peer(), b = peer();
    const uint64_t before = port_stats().bytes;
    for (int half = 0; half < 2; half++) {
        size_t len = 0;
        for (int i = 0; i < 4000; i++) {
            len += (size_t)snprintf(request + len, sizeof request - len, "%s%d",
                                    i == 0 ? "SUBSCRIBE " : " ", half * 4000 + i);
        }
        (void)tell(a, request, len);
        T_CHECK(strstr(ask(a, "\r\n"), half == 0 ? ":4000\r\n" : ":8000\r\n") != NULL);
    }
    T_EQ_STR(ask(b, "PUBLISH 7777 hi\r\n"), ":1\r\n");
    T_EQ_STR(heard(a), MESSAGE("4", "7777", "2", "hi"));
    T_CHECK(strncmp(ask(b, "PUBSUB CHANNELS\r\n"), "*8000\r\n", 7) == 0);
    close(a);
    T_EQ_STR(ask(b, "PUBLISH 7777 hi\r\nPUBSUB CHANNELS\r\n"), ":0\r\n*0\r\n");
    T_CHECK(port_stats().bytes < before + (512 << 10));
}

/* ---- signals ---- */

static struct said {
    int calls;
    char topic[64], data[64];
    size_t len;
    uint64_t id;
} said;

static void note(const char *topic, const void *data, size_t len, void *ctx)
{
    (void)ctx;
    said.calls++;
    (void)snprintf(said.topic, sizeof said.topic, "%s", topic);
    T_REQUIRE(len < sizeof said.data);
    memcpy(said.data, data, len);
    said.len = len;
}

static void note_begin(const char *pattern, cellar_signal_fn fn)
{
    said = (struct said){ 0 };
    T_EQ_I64(cellar_signal_subscribe(bus, pattern, CELLAR_BUS_AMQP, fn, NULL, NULL, &said.id),
             CELLAR_OK);
}

T_CASE(signals_reach_clients_and_messages_reach_handlers)
{
    bus_begin();
    const int a = peer(), b = peer();
    T_EQ_U64(emit("cache.cleared", "x", 1), 1); /* the port; without subscribers it keeps nothing */
    (void)ask(a, "SUBSCRIBE cache.cleared\r\n");
    T_EQ_STR(heard(a), "");
    T_EQ_U64(emit("cache.cleared", "a\0b", 3), 1);
    port_run();
    (void)heard(a);
    T_EQ_U64(port_heard_len, sizeof MESSAGE("13", "cache.cleared", "3", "abc") - 1);
    T_CHECK(memcmp(port_heard, MESSAGE("13", "cache.cleared", "3", "a\0b"), port_heard_len) == 0);
    note_begin("cache.#", note);
    T_EQ_STR(ask(b, "PUBLISH cache.cleared user\r\nPUBLISH other x\r\n"), ":2\r\n:0\r\n");
    T_EQ_STR(heard(a), MESSAGE("13", "cache.cleared", "4", "user")); /* once */
    T_EQ_I64(said.calls, 1);
    T_EQ_STR(said.topic, "cache.cleared");
    T_CHECK(said.len == 4 && memcmp(said.data, "user", 4) == 0);
    T_EQ_U64(port_stats().signals_dropped, 0);
}

T_CASE(channels_that_are_no_topics_reach_clients_only)
{
    static char request[600];
    bus_begin();
    note_begin("#", note);
    const int a = peer(), b = peer();
    (void)ask(a, "PSUBSCRIBE *\r\nSUBSCRIBE \"\"\r\n"); /* no pattern matches the empty name */
    T_EQ_STR(ask(b, "PUBLISH 1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17 x\r\n"), ":1\r\n");
    (void)snprintf(request, sizeof request, "PUBLISH %0256d x\r\nPUBLISH \"\" x\r\n", 7);
    T_EQ_STR(ask(b, request), ":1\r\n:1\r\n");
    T_EQ_STR(ask(b, "PUBLISH \"a\\x00b\" x\r\n"), ":1\r\n");
    T_EQ_I64(said.calls, 0);
    (void)snprintf(request, sizeof request, "PUBLISH %0255d x\r\n", 7);
    T_EQ_STR(ask(b, request), ":2\r\n");
    T_EQ_I64(said.calls, 1);
}

/* Emit the topic again with other data, from inside the handler of a PUBLISH. */
static void answer(const char *topic, const void *data, size_t len, void *ctx)
{
    (void)ctx, (void)data;
    if (len == 3) { T_EQ_U64(emit(topic, "pong", 4), 2); }
}

T_CASE(handler_may_emit_the_same_topic)
{
    bus_begin();
    note_begin("q", answer);
    const int a = peer(), b = peer();
    (void)ask(a, "SUBSCRIBE q\r\n");
    T_EQ_STR(ask(b, "PUBLISH q now\r\n"), ":2\r\n");
    T_EQ_STR(heard(a), MESSAGE("1", "q", "3", "now") MESSAGE("1", "q", "4", "pong"));
}

T_CASE(two_ports_of_a_pool_hear_each_other)
{
    bus_begin();
    cellar_resp *first = port;
    char first_path[sizeof port_path], first_folder[sizeof port_folder];
    memcpy(first_path, port_path, sizeof first_path);
    memcpy(first_folder, port_folder, sizeof first_folder);
    cellar_host_config host;
    cellar_resp_config o = port_opts(&host);
    o.pool = bus;
    T_REQUIRE(cellar_resp_open(port_store, &o, &port) == CELLAR_OK);
    const int a = peer(), b = peer();
    (void)ask(a, "SUBSCRIBE x\r\n");
    const int c = peer();
    T_EQ_STR(ask(b, "PUBLISH x 1\r\n"), ":2\r\n"); /* the client, and the other port */
    T_EQ_STR(heard(a), MESSAGE("1", "x", "1", "1"));
    close(a);
    close(b);
    close(c);
    port_close();
    T_EQ_I64(rmdir(port_folder), 0);
    port = first;
    memcpy(port_path, first_path, sizeof first_path);
    memcpy(port_folder, first_folder, sizeof first_folder);
    T_EQ_U64(emit("x", "y", 1), 1); /* the closed port has left the pool */
}

T_CASE(pool_without_room_for_a_subscriber_refuses_the_port)
{
    cellar_host_config host, bus_host = cellar_host_config_default();
    bus_host.no_threads = 1;
    cellar_pool_config cfg = { .struct_size = sizeof cfg, .host = &bus_host, .max_subscribers = 1 };
    T_REQUIRE(cellar_pool_open(&cfg, &bus) == CELLAR_OK);
    note_begin("#", note);
    port_store_open();
    cellar_resp_config o = port_opts(&host);
    o.pool = bus;
    T_EQ_I64(cellar_resp_open(port_store, &o, &port), CELLAR_E_LIMIT);
    cellar_error_info why = cellar_error_info_default();
    T_EQ_I64(cellar_last_error(NULL, &why), CELLAR_OK);
    T_EQ_STR(why.text, "cellar_resp_open: the pool refused a subscriber");
}

T_CASE(port_of_a_closed_pool_serves_its_clients)
{
    bus_begin();
    const int a = peer();
    T_EQ_I64(cellar_pool_close(bus), CELLAR_OK); /* too early: a fault of the program */
    bus = NULL;
    T_CHECK(strstr(ask(a, "HELLO 3\r\nSUBSCRIBE x\r\n"), ">3\r\n$9\r\nsubscribe\r\n") != NULL);
    T_EQ_STR(ask(a, "PUBLISH x hi\r\n"), ">3\r\n$7\r\nmessage\r\n$1\r\nx\r\n$2\r\nhi\r\n:1\r\n");
}

/* ---- limits ---- */

static char megabyte[1 << 20];

/* Read until nothing comes. Return the number of bytes. */
static size_t drain(int fd)
{
    static char in[64 << 10];
    size_t all = 0;
    for (ssize_t n; (n = recv(fd, in, sizeof in, 0)) > 0; port_run()) { all += (size_t)n; }
    return all;
}

T_CASE(signals_beyond_8_mib_are_dropped_and_counted)
{
    bus_begin();
    const int a = peer();
    (void)ask(a, "SUBSCRIBE x\r\n");
    for (int i = 0; i < 9; i++) { T_EQ_U64(emit("x", megabyte, sizeof megabyte), 1); }
    T_EQ_U64(port_stats().signals_dropped, 2); /* each is more than a MiB with its header */
    static char huge[(8 << 20) + 1];
    T_EQ_U64(emit("x", huge, sizeof huge), 1);
    T_EQ_U64(port_stats().signals_dropped, 3);
    port_run();
    T_EQ_U64(drain(a), 7 * (sizeof megabyte + sizeof MESSAGE("1", "x", "1048576", "") - 1));
    T_EQ_U64(emit("x", "y", 1), 1); /* there is room again */
    port_run();
    T_EQ_STR(heard(a), MESSAGE("1", "x", "1", "y"));
}

T_CASE(subscriber_that_stops_reading_is_closed)
{
    bus_begin();
    const int deaf = peer(), other = peer();
    (void)ask(deaf, "SUBSCRIBE x\r\n");
    for (int i = 0; i < 8; i++) { /* the limit is a quarter of resp_buffer_bytes: 8 MiB */
        (void)emit("x", megabyte, sizeof megabyte);
        port_run();
    }
    T_EQ_U64(port_stats().clients, 2);
    for (int i = 0; i < 2; i++) {
        (void)emit("x", megabyte, sizeof megabyte);
        port_run();
    }
    T_EQ_U64(port_stats().clients, 1);
    T_EQ_U64(port_stats().output_closed, 1);
    T_EQ_STR(ask(other, "PUBSUB CHANNELS\r\n"), "*0\r\n");
}

T_CASE(signal_that_finds_its_subscriber_gone_is_freed)
{
    bus_begin();
    const int a = peer();
    (void)ask(a, "SUBSCRIBE x\r\n");
    (void)emit("x", megabyte, sizeof megabyte);
    close(a);
    (void)emit("x", "y", 1);
    bus_end(); /* the port asserts that nothing is left */
    bus_begin();
    const int b = peer();
    (void)ask(b, "SUBSCRIBE x\r\n");
    for (int i = 0; i < 3; i++) { (void)emit("x", megabyte, sizeof megabyte); }
    port_end();
    T_EQ_U64(emit("x", "y", 1), 0);
}

/* ---- faults ---- */

static void visit(void)
{
    const int fd = peer_connect();
    (void)cellar_resp_step(port, 0);
    (void)tell_text(fd, "SUBSCRIBE a b c\r\nPSUBSCRIBE a* b*\r\nUNSUBSCRIBE a\r\n");
    for (int i = 0; i < 3; i++) { (void)cellar_resp_step(port, 0); }
    (void)cellar_signal_emit(bus, "b", "x", 1, NULL);
    for (int i = 0; i < 3; i++) { (void)cellar_resp_step(port, 0); }
    (void)tell_text(fd, "HELLO 3\r\nRESET\r\nHELLO 3\r\nSUBSCRIBE a\r\nPUBSUB CHANNELS\r\n");
    for (int i = 0; i < 3; i++) { (void)cellar_resp_step(port, 0); }
    (void)tell_text(fd, "MULTI\r\nSUBSCRIBE z\r\nPUBLISH z 1\r\nEXEC\r\n");
    for (int i = 0; i < 3; i++) { (void)cellar_resp_step(port, 0); }
    close(fd);
    for (int i = 0; i < 4; i++) { (void)cellar_resp_step(port, 0); }
}

T_CASE(each_failed_allocation_costs_one_reply_or_message)
{
    bus_begin();
    const int other = peer();
    (void)base_fault_alloc_arm(0, false);
    visit();
    const uint64_t all = base_fault_alloc_arm(0, false);
    close(other);
    bus_end();
    T_CHECK(all > 10);
    for (uint64_t i = 1; i <= all + 2; i++) {
        bus_begin(); /* each run begins without channels, so that each allocation comes again */
        const int fd = peer();
        (void)base_fault_alloc_arm(i, false);
        visit();
        (void)base_fault_alloc_arm(0, false);
        T_EQ_STR(ask(fd, "PING\r\nPUBSUB CHANNELS\r\n"), "+PONG\r\n*0\r\n");
        T_EQ_U64(port_stats().clients, 1);
        close(fd);
        bus_end();
    }
}

/* ---- threads ---- */

#define EMITTERS 4
#define SIGNALS 500

static void *emit_many(void *arg)
{
    const int *own = arg;
    char text[16];
    for (int i = 0; i < SIGNALS; i++) {
        const int len = snprintf(text, sizeof text, "%d %d", *own, i);
        (void)emit("x", text, (size_t)len);
    }
    return NULL;
}

/* Read what comes until `count` messages are there. Check the order of each emitter. */
static void read_ordered(int fd, int count)
{
    static char in[EMITTERS * SIGNALS * 48];
    int next[EMITTERS] = { 0 }, got = 0;
    size_t len = 0;
    T_REQUIRE(fcntl(fd, F_SETFL, 0) == 0);
    const char *at = in;
    while (got < count) {
        const ssize_t n = recv(fd, in + len, sizeof in - 1 - len, 0);
        T_REQUIRE(n > 0);
        len += (size_t)n;
        in[len] = '\0';
        for (const char *end; (end = strstr(at, "\r\n")) != NULL; at = end + 2) {
            int own, i;
            if (at[0] < '0' || at[0] > '9' || sscanf(at, "%d %d", &own, &i) != 2) { continue; }
            T_REQUIRE(own < EMITTERS);
            T_EQ_I64(i, next[own]);
            next[own]++;
            got++;
        }
    }
}

/* Start the port and threads that emit. Return a subscriber. */
static int emitters_start(pthread_t thread[EMITTERS])
{
    static int own[EMITTERS];
    bus_begin();
    const int fd = peer();
    (void)ask(fd, "SUBSCRIBE x\r\n");
    T_REQUIRE(cellar_resp_start(port) == CELLAR_OK);
    for (int i = 0; i < EMITTERS; i++) {
        own[i] = i;
        T_REQUIRE(pthread_create(&thread[i], NULL, emit_many, &own[i]) == 0);
    }
    return fd;
}

T_CASE(signals_of_threads_arrive_in_the_order_of_each)
{
    pthread_t thread[EMITTERS];
    const int fd = emitters_start(thread);
    read_ordered(fd, EMITTERS * SIGNALS);
    for (int i = 0; i < EMITTERS; i++) { T_EQ_I64(pthread_join(thread[i], NULL), 0); }
    T_EQ_U64(port_stats().messages, EMITTERS * SIGNALS);
}

T_CASE(port_closes_while_threads_emit)
{
    pthread_t thread[EMITTERS];
    (void)emitters_start(thread);
    port_end();
    for (int i = 0; i < EMITTERS; i++) { T_EQ_I64(pthread_join(thread[i], NULL), 0); }
}

/* ---- fork ---- */

T_CASE(child_neither_emits_nor_publishes)
{
    bus_begin();
    const int a = peer();
    (void)ask(a, "SUBSCRIBE x\r\n");
    (void)emit("x", "1", 1);
    const pid_t child = fork();
    T_REQUIRE(child >= 0);
    if (child == 0) {
        const bool ok = cellar_signal_emit(bus, "x", "2", 1, NULL) == CELLAR_E_FORKED;
        port_close();
        _exit(ok && cellar_pool_close(bus) == CELLAR_OK ? 0 : 1);
    }
    int status = -1;
    T_EQ_I64(waitpid(child, &status, 0), child);
    T_EQ_I64(status, 0);
    (void)emit("x", "3", 1);
    port_run();
    T_EQ_STR(heard(a), MESSAGE("1", "x", "1", "1") MESSAGE("1", "x", "1", "3"));
}

T_MAIN("resp_channels")
