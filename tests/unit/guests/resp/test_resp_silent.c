/* SPDX-License-Identifier: MIT
 *
 * Aim:    silent clients cost one share of the budget, and each of them its own connection. The
 *         entries stay, and other clients are served: publishers, readers, writers.
 * Method: a port without threads on a socket file; a store of 16 MiB, so a share of 2 MiB, that is
 *         full of entries of 1 KiB. */
#include "tests/support/port_kit.h"

#include "cellar_admin.h"
#include "cellar_entry.h"
#include "cellar_observe.h"

enum { SHARE = 2 << 20, ENTRIES = 20000 };
#define GET_LARGE "*2\r\n$3\r\nGET\r\n$5\r\nlarge\r\n" /* no line: it may begin a connection */
static const char oom[] = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";

static uint64_t entries(void)
{
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(port_store, CELLAR_SCOPE_STORE, &st), CELLAR_OK);
    return st.entries;
}

/* Open a port, and fill the store. Return the entries. */
static uint64_t full_begin(void)
{
    static char value[1024];
    cellar *ns;
    port_begin();
    memset(value, 'v', sizeof value);
    T_REQUIRE(cellar_namespace_open(port_store, "db0", NULL, &ns) == CELLAR_OK);
    for (int i = 0; i < ENTRIES; i++) {
        char key[24];
        const int len = snprintf(key, sizeof key, "key:%d", i);
        T_EQ_I64(cellar_set(ns, key, (size_t)len, value, sizeof value, NULL), CELLAR_OK);
    }
    T_EQ_I64(cellar_namespace_close(ns), CELLAR_OK);
    return entries();
}

static void bulk_head(char out[64], const char *before, size_t len)
{
    (void)snprintf(out, 64, "%s$%zu\r\n", before, len);
}

/* Store a value through the library: each byte follows from its place and `seed`. */
static cellar_err put_if_room(const char *key, size_t len, unsigned seed)
{
    cellar *ns;
    char *value = malloc(len);
    T_REQUIRE(value != NULL && cellar_namespace_open(port_store, "db0", NULL, &ns) == CELLAR_OK);
    for (size_t i = 0; i < len; i++) { value[i] = (char)('a' + (i / 7 + seed) % 26); }
    const cellar_err err = cellar_set(ns, key, strlen(key), value, len, NULL);
    T_EQ_I64(cellar_namespace_close(ns), CELLAR_OK);
    free(value);
    return err;
}

static void put(const char *key, size_t len, unsigned seed)
{
    T_EQ_I64(put_if_room(key, len, seed), CELLAR_OK);
}

/* Read a reply of `len` bytes of value in pieces; run `between` after each. Return whether its
 * bytes are those of put(). */
static bool got_value(int fd, size_t len, unsigned seed, void (*between)(void))
{
    char head[64];
    static char in[48 << 10];
    bulk_head(head, "", len);
    const size_t head_len = strlen(head), all = head_len + len + 2;
    size_t at = 0;
    for (int quiet = 0; at < all && quiet < 100;) {
        const ssize_t n = recv(fd, in, all - at < sizeof in ? all - at : sizeof in, 0);
        if (n == 0) { break; }
        for (ssize_t i = 0; i < n; i++, at++) {
            const char want = at < head_len ? head[at]
                            : at < head_len + len ? (char)('a' + ((at - head_len) / 7 + seed) % 26)
                            : at == head_len + len ? '\r' : '\n';
            if (in[i] != want) { return false; }
        }
        quiet = n > 0 ? 0 : quiet + 1;
        port_step();
        if (n > 0 && between != NULL) { between(); }
    }
    return at == all;
}

/* Write a PUBLISH of `len` bytes. Return its length; `out` has room for 64 bytes more. */
static size_t publish(char *out, const char *channel, size_t len)
{
    const size_t head = (size_t)snprintf(out, 64, "*3\r\n$7\r\nPUBLISH\r\n$%zu\r\n%s\r\n$%zu\r\n",
                                         strlen(channel), channel, len);
    memset(out + head, 'm', len);
    memcpy(out + head + len, "\r\n", 2);
    return head + len + 2;
}

/* ---- subscribers ---- */

static size_t swallow(int fd)
{
    static char in[64 << 10];
    size_t all = 0;
    for (ssize_t n; (n = recv(fd, in, sizeof in, 0)) > 0;) { all += (size_t)n; }
    return all;
}

T_CASE(silent_subscribers_cost_a_share_and_not_their_publisher)
{
    enum { SILENT = 20, MESSAGES = 1000, LEN = 10000 };
    static char message[LEN + 64];
    const uint64_t before = full_begin();
    const int publisher = peer(), reader = peer();
    (void)ask(reader, "SUBSCRIBE news\r\n");
    for (int i = 0; i < SILENT; i++) { (void)ask(peer(), "SUBSCRIBE news\r\n"); }
    const size_t len = publish(message, "news", LEN);
    size_t heard_bytes = 0, receivers = 0;
    for (int i = 0; i < MESSAGES; i++) {
        const char *reply = ask_bytes(publisher, message, len);
        T_CHECK(reply[0] == ':');
        receivers = strtoull(reply + 1, NULL, 10);
        heard_bytes += swallow(reader);
        T_CHECK(port_stats().bytes <= SHARE);
    }
    T_EQ_U64(receivers, 1); /* the one that reads */
    T_EQ_U64(heard_bytes, MESSAGES * (LEN + strlen("*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n"
                                                   "$10000\r\n\r\n")));
    T_EQ_U64(port_stats().output_closed, SILENT);
    T_EQ_U64(port_stats().clients, 2);
    T_CHECK(entries() > before / 4 * 3);
}

/* A hundred messages in one request: no subscriber could read meanwhile. */
T_CASE(burst_to_many_subscribers_closes_none_that_reads)
{
    enum { SUBSCRIBERS = 60, BURST = 20, LEN = 4000 };
    static char burst[BURST * (LEN + 64)];
    int fd[SUBSCRIBERS];
    size_t len = 0;
    port_begin();
    for (int i = 0; i < BURST; i++) { len += publish(burst + len, "x", LEN); }
    const int publisher = peer();
    for (int i = 0; i < SUBSCRIBERS; i++) {
        fd[i] = peer();
        (void)ask(fd[i], "SUBSCRIBE x\r\n");
    }
    T_EQ_U64(strlen(ask_bytes(publisher, burst, len)), BURST * strlen(":60\r\n"));
    for (int i = 0; i < SUBSCRIBERS; i++) {
        T_EQ_U64(swallow(fd[i]) % (LEN + strlen("*3\r\n$7\r\nmessage\r\n$1\r\nx\r\n$4000\r\n\r\n")),
                 0);
    }
    T_EQ_U64(port_stats().output_closed + port_stats().memory_closed, 0);
}

/* ---- readers ---- */

T_CASE(silent_readers_of_one_value_cost_a_pin)
{
    enum { SILENT = 40, GETS = 200, ONE = sizeof GET_LARGE - 1 };
    static char all[GETS * ONE];
    const uint64_t before = full_begin();
    put("large", 1 << 20, 1);
    for (int k = 0; k < GETS; k++) { memcpy(all + k * ONE, GET_LARGE, ONE); }
    for (int i = 0; i < SILENT; i++) {
        T_CHECK(tell(peer(), all, sizeof all)); /* many of them are one batch */
        port_run();
    }
    T_CHECK(port_stats().bytes < SHARE / 2); /* their other requests */
    T_EQ_U64(port_stats().output_closed, 0);
    T_CHECK(entries() > before / 4 * 3);
    const int reader = peer();
    T_CHECK(tell_text(reader, GET_LARGE));
    T_CHECK(got_value(reader, 1 << 20, 1, NULL));
}

T_CASE(silent_readers_of_many_values_pin_one_share)
{
    enum { SILENT = 12, LEN = 400 << 10 };
    char line[32];
    const uint64_t before = full_begin();
    for (int i = 0; i < SILENT; i++) { put(t_numbered("large:", (uint64_t)i), LEN, (unsigned)i); }
    for (int i = 0; i < SILENT; i++) {
        (void)snprintf(line, sizeof line, "PING\r\nGET large:%d\r\n", i);
        T_CHECK(tell_text(peer(), line));
        port_pass(100);
    }
    T_CHECK(entries() > before / 2);
    T_CHECK(port_stats().bytes <= SHARE);
    port_pass(1000); /* now they are silent: the next reader takes the place of one */
    const int reader = peer();
    T_EQ_STR(ask(reader, "PING\r\n"), "+PONG\r\n");
    T_CHECK(tell_text(reader, "GET large:0\r\n"));
    T_CHECK(got_value(reader, LEN, 0, NULL));
}

T_CASE(silent_readers_of_small_values_cost_a_share)
{
    enum { SILENT = 30, GETS = 2000 };
    const uint64_t before = full_begin();
    const int reader = peer();
    (void)ask(reader, "PING\r\n");
    for (int i = 0; i < SILENT; i++) {
        const int fd = peer();
        (void)ask(fd, "PING\r\n");
        for (int k = 0; k < GETS; k++) {
            if (send(fd, "GET key:19999\r\n", 15, MSG_NOSIGNAL) < 0) { break; }
            if (k % 50 == 0) { port_run(); }
        }
        port_run();
        T_EQ_U64(strlen(ask(reader, "GET key:19999\r\n")), strlen("$1024\r\n\r\n") + 1024);
        T_CHECK(port_stats().bytes <= SHARE);
    }
    T_CHECK(port_stats().output_closed > 0);
    T_CHECK(entries() > before / 4 * 3);
}

T_CASE(a_value_longer_than_the_share_reaches_a_client_that_reads)
{
    enum { LEN = 6 << 20 };
    port_begin();
    put("large", LEN, 3);
    const int reader = peer();
    T_CHECK(tell_text(reader, GET_LARGE GET_LARGE "PING\r\n"));
    port_run();
    T_CHECK(port_stats().bytes < SHARE / 4); /* no copy */
    T_CHECK(got_value(reader, LEN, 3, NULL) && got_value(reader, LEN, 3, NULL));
    T_EQ_STR(ask(reader, ""), "+PONG\r\n");
}

T_CASE(a_long_reply_that_stands_still_closes_its_client)
{
    port_begin();
    put("large", 4 << 20, 3);
    const int deaf = peer();
    T_EQ_STR(ask(deaf, "PING\r\n"), "+PONG\r\n");
    T_CHECK(tell_text(deaf, GET_LARGE));
    port_run();
    port_pass(9999);
    T_EQ_U64(port_stats().clients, 1);
    port_pass(1);
    T_EQ_U64(port_stats().clients, 0);
    T_EQ_U64(port_stats().output_closed, 1);
}

T_CASE(a_subscriber_reads_a_long_value)
{
    port_begin();
    put("large", 3 << 20, 4);
    const int fd = peer();
    (void)ask(fd, "HELLO 3\r\nSUBSCRIBE news\r\n");
    T_CHECK(tell_text(fd, GET_LARGE));
    T_CHECK(got_value(fd, 3 << 20, 4, NULL)); /* none of it is backlog */
    T_EQ_U64(port_stats().output_closed, 0);
}

T_CASE(readers_without_replies_cost_nothing)
{
    int fd = -1;
    port_begin();
    put("large", 1 << 20, 4);
    for (int i = 0; i < 40; i++) {
        fd = peer();
        T_EQ_STR(ask(fd, "CLIENT REPLY OFF\r\nGET large\r\nGET large\r\nGET none\r\n"), "");
    }
    T_CHECK(port_stats().bytes < SHARE / 4);
    T_EQ_STR(ask(fd, "CLIENT REPLY ON\r\nGET none\r\n"), "+OK\r\n$-1\r\n");
}

/* ---- values that change while they are sent ---- */

static void replace_it(void) { (void)put_if_room("large", 3 << 20, 9); }
static void delete_it(void)
{
    cellar *ns;
    T_EQ_I64(cellar_namespace_open(port_store, "db0", NULL, &ns), CELLAR_OK);
    (void)cellar_delete(ns, "large", 5);
    (void)cellar_namespace_close(ns);
}
static void evict_it(void)
{
    static int n;
    char key[24];
    (void)snprintf(key, sizeof key, "other:%d", n++ % 40);
    (void)put_if_room(key, 700 << 10, 5);
}

T_CASE(a_value_that_changes_while_it_is_sent_arrives_whole)
{
    void (*const change[])(void) = { replace_it, delete_it, evict_it };
    for (size_t i = 0; i < sizeof change / sizeof *change; i++) {
        port_begin();
        put("large", 3 << 20, 4);
        const int reader = peer();
        T_CHECK(tell_text(reader, GET_LARGE));
        port_step();
        T_CHECK(got_value(reader, 3 << 20, 4, change[i]));
        close(reader);
        port_end(); /* the store asserts that no pin is left */
    }
}

T_CASE(close_drops_values_that_are_half_sent)
{
    port_begin();
    put("large", 3 << 20, 4);
    const int reader = peer(), second = peer();
    T_CHECK(tell_text(reader, GET_LARGE) && tell_text(second, GET_LARGE GET_LARGE));
    port_run();
    close(second);
    port_run();
}

/* ---- senders ---- */

T_CASE(silent_senders_cost_a_share)
{
    enum { SILENT = 40, PART = 200 << 10 };
    static char part[PART];
    const uint64_t before = full_begin();
    const int writer = peer();
    memset(part, 'x', sizeof part);
    for (int i = 0; i < SILENT; i++) {
        const int fd = peer();
        (void)tell_text(fd, "*2\r\n$4\r\nECHO\r\n$20000000\r\n");
        for (int k = 0; k < 10 && tell(fd, part, sizeof part); k++) { port_run(); }
        T_EQ_STR(ask(writer, "SET small 1\r\n"), "+OK\r\n");
        T_CHECK(port_stats().bytes <= SHARE);
        port_pass(100);
    }
    T_CHECK(entries() > before / 4 * 3);
}

/* Send the head of a SET, and `part` of its value of `len` bytes of `seed`, from `from` on. */
static bool send_value(int fd, const char *head, size_t len, unsigned seed, size_t from, size_t to)
{
    static char piece[64 << 10];
    char line[128];
    if (from == 0) {
        bulk_head(line, head, len);
        if (!tell_text(fd, line)) { return false; }
    }
    while (from < to) {
        const size_t n = to - from < 60000 ? to - from : 60000;
        for (size_t i = 0; i < n; i++) { piece[i] = (char)('a' + ((from + i) / 7 + seed) % 26); }
        if (!tell(fd, piece, n)) { return false; }
        port_step();
        from += n;
    }
    return true;
}

#define SET_HEAD(words, key) "*" words "\r\n$3\r\nSET\r\n$" key "\r\n"

/* Send a line of `format` with a number of 900 digits, in turns one of `other`, until it is refused.
 * Return how many were sent; the last reply is in port_heard. */
static int ask_until_refused(int fd, const char *format, const char *other)
{
    char words[1024];
    int count = 0;
    do {
        (void)snprintf(words, sizeof words, "%s %0900d\r\n", count % 2 == 0 ? format : other, count);
        (void)ask(fd, words);
    } while (*port_heard != '-' && ++count < SHARE / 900);
    T_EQ_STR(port_heard, oom);
    return count;
}

/* Watched keys are a part of a transaction: they get three quarters of the share. */
T_CASE(silent_watcher_is_closed_for_a_transaction)
{
    enum { LEN = 200 << 10 }; /* a reply that is copied */
    (void)full_begin();
    const int watcher = peer(), other = peer();
    T_CHECK(ask_until_refused(watcher, "WATCH", "WATCH") > SHARE / 2 / 1000);
    port_pass(1001);
    put("large", LEN, 1);
    T_CHECK(tell_text(other, GET_LARGE));
    T_CHECK(got_value(other, LEN, 1, NULL));
    T_EQ_STR(ask(other, "MULTI\r\nSET a 1\r\nEXEC\r\n"), "+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n");
    T_CHECK(is_closed(watcher));
}

/* A subscriber with one channel is silent, too, and stays. */
T_CASE(silent_client_with_many_subscriptions_is_closed_for_a_request)
{
    enum { LEN = 200 << 10 }; /* a value that the request holds */
    (void)full_begin();
    const int many = peer(), few = peer(), other = peer();
    (void)ask(few, "SUBSCRIBE news\r\n");
    T_CHECK(ask_until_refused(many, "SUBSCRIBE", "PSUBSCRIBE") > SHARE / 2 / 1100);
    port_pass(1001);
    T_CHECK(send_value(other, SET_HEAD("3", "1\r\na"), LEN, 1, 0, LEN));
    T_EQ_STR(ask(other, "\r\n"), "+OK\r\n");
    T_CHECK(is_closed(many));
    T_EQ_STR(ask(few, "PING\r\n"), "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    T_EQ_STR(ask(other, "PUBLISH news b\r\n"), ":1\r\n");
}

T_CASE(silent_senders_of_large_values_cost_a_share)
{
    enum { SILENT = 40, LEN = 700 << 10 };
    const uint64_t before = full_begin();
    const int writer = peer();
    for (int i = 0; i < SILENT; i++) {
        (void)send_value(peer(), SET_HEAD("3", "2\r\nk1"), LEN, 1, 0, LEN / 2);
        T_EQ_STR(ask(writer, "SET small 1\r\n"), "+OK\r\n");
        port_pass(100);
    }
    T_CHECK(port_stats().bytes < SHARE / 2); /* the values lie in the store */
    T_CHECK(entries() > before / 2); /* a share of half-sent values, and what they evicted */
    T_CHECK(port_stats().memory_closed > 0);
    port_pass(1000);
    T_CHECK(send_value(writer, SET_HEAD("3", "2\r\nk2"), LEN, 2, 0, LEN));
    T_EQ_STR(ask(writer, "\r\n"), "+OK\r\n");
    T_CHECK(tell_text(writer, "GET k2\r\n") && got_value(writer, LEN, 2, NULL));
}

T_CASE(a_large_value_is_stored_in_the_block_that_received_it)
{
    enum { LEN = 9 << 19 }; /* two copies do not fit */
    port_begin_on(api_open(19 << 19), NULL);
    const int fd = peer();
    for (unsigned seed = 0; seed < 3; seed++) {
        T_CHECK(send_value(fd, SET_HEAD("5", "1\r\na"), LEN, seed, 0, LEN));
        T_EQ_STR(ask(fd, "\r\n$2\r\nPX\r\n$6\r\n60"), "");
        T_EQ_STR(ask(fd, "0000\r\nPTTL a\r\n"), "+OK\r\n:600000\r\n");
        T_CHECK(tell_text(fd, "GET a\r\n") && got_value(fd, LEN, seed, NULL));
        T_EQ_STR(ask(fd, "DEL a\r\n"), ":1\r\n");
    }
    T_EQ_I64(cellar_integrity_check(port_store), CELLAR_OK);
}

T_CASE(a_large_set_that_is_refused_or_broken_leaves_nothing)
{
    enum { LEN = 600 << 10 };
    port_begin();
    const int fd = peer(), broken = peer(), gone = peer();
    T_EQ_STR(ask(fd, "SET a old\r\n"), "+OK\r\n");
    T_CHECK(send_value(fd, SET_HEAD("4", "1\r\na"), LEN, 1, 0, LEN));
    T_EQ_STR(ask(fd, "\r\n$2\r\nNX\r\nGET a\r\n"), "$-1\r\n$3\r\nold\r\n");
    T_CHECK(send_value(broken, SET_HEAD("3", "1\r\nb"), LEN, 1, 0, LEN));
    T_EQ_STR(ask(broken, "xx"), "-ERR Protocol error: expected CR LF\r\n");
    T_CHECK(send_value(gone, SET_HEAD("3", "1\r\nc"), LEN, 1, 0, LEN / 2));
    close(gone);
    port_run();
    T_EQ_STR(ask(fd, "EXISTS b c\r\n"), ":0\r\n");
    T_EQ_I64(cellar_integrity_check(port_store), CELLAR_OK);
    T_CHECK(send_value(fd, SET_HEAD("3", "1\r\nd"), LEN, 1, 0, LEN / 2)); /* half-sent at the end */
}

T_CASE(a_request_that_never_fits_closes_no_client)
{
    enum { KEYS = 12000, GETS = 400 };
    char key[160];
    for (int keys = 0; keys < 2; keys++) {
        (void)full_begin();
        const int deaf = peer(), fd = peer();
        put("large", 3 << 20, 4);
        for (int i = 0; keys != 0 && i < KEYS; i++) {
            (void)snprintf(key, sizeof key, "SET %0120d 1\r\n", i);
            T_CHECK(tell_text(fd, key));
            if (i % 100 == 0) { T_CHECK(ask(fd, "")[0] == '+'); }
        }
        (void)ask(fd, "");
        (void)ask(deaf, "PING\r\n");
        for (int k = 0; k < GETS; k++) { T_CHECK(tell_text(deaf, "GET key:19999\r\n")); }
        port_run();
        T_CHECK(tell_text(fd, keys != 0 ? "KEYS *\r\n" : "GETRANGE large 0 -1\r\n"));
        T_EQ_STR(ask(fd, ""), oom);
        T_EQ_STR(ask(fd, "PING\r\n"), "+PONG\r\n");
        T_EQ_U64(port_stats().output_closed, 0);
        T_EQ_U64(port_stats().clients, 2);
        close(deaf);
        close(fd);
        port_end();
    }
}

T_CASE(a_message_without_room_closes_its_subscriber)
{
    enum { SUBSCRIBERS = 4, LEN = 700 << 10 };
    static char message[LEN + 64];
    int fd[SUBSCRIBERS];
    uint64_t whole = 0, cut = 0;
    port_begin();
    const int publisher = peer();
    for (int i = 0; i < SUBSCRIBERS; i++) {
        fd[i] = peer();
        (void)ask(fd[i], "SUBSCRIBE news\r\n");
    }
    T_CHECK(ask_bytes(publisher, message, publish(message, "news", LEN))[0] == ':');
    for (int i = 0; i < SUBSCRIBERS; i++) {
        bool closed;
        (void)hear(fd[i], &closed);
        T_CHECK(strstr(port_heard, "-OOM") == NULL);
        whole += !closed && port_heard_len > LEN;
        cut += closed;
        close(fd[i]);
    }
    T_CHECK(cut > 0);
    T_EQ_U64(whole + cut, SUBSCRIBERS);
}

T_ONE_THREAD;
T_MAIN("resp_silent")
