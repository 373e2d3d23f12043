/* SPDX-License-Identifier: MIT
 *
 * Aim:    requests of any form and in any pieces give the replies of Redis 7.0; broken ones give
 *         its words and end the connection, and cost a bounded amount of memory.
 * Method: a port without threads on a socket file. The words were taken from redis-server 7.0.15. */
#include "tests/support/port_kit.h"

static const char talk[] =
    "*1\r\n$4\r\nPING\r\n"
    "PING\r\n"
    "\r\n"
    "*0\r\n"
    "*-1\r\n"
    "  ping   \"a b\"  \r\n"
    "*2\r\n$4\r\nEcHo\r\n$11\r\n\r\n$3\r\n*1\r\nx\r\n"
    "ECHO 'it\\'s'\n"
    "ECHO \"\\x41\\n\\\\\"\r\n"
    "*2\r\n$4\r\nECHO\r\n$0\r\n\r\n"
    "SELECT 3\r\n"
    "*1\r\n$6\r\nSELECT\r\n"
    "nothing of that\r\n"
    "MULTI\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$1\r\nz\r\nEXEC\r\n";
static const char answer[] =
    "+PONG\r\n"
    "+PONG\r\n"
    "$3\r\na b\r\n"
    "$11\r\n\r\n$3\r\n*1\r\nx\r\n"
    "$4\r\nit's\r\n"
    "$3\r\nA\n\\\r\n"
    "$0\r\n\r\n"
    "+OK\r\n"
    "-ERR wrong number of arguments for 'select' command\r\n"
    "-ERR unknown command 'nothing', with args beginning with: 'of' 'that' \r\n"
    "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+PONG\r\n$1\r\nz\r\n";

static void each_cut_gives_the_same_replies(void)
{
    port_begin();
    for (size_t cut = 0; cut < sizeof talk; cut++) {
        const int fd = peer();
        char first[sizeof answer];
        T_REQUIRE(snprintf(first, sizeof first, "%s", ask_bytes(fd, talk, cut)) >= 0);
        const char *rest = ask_bytes(fd, talk + cut, sizeof talk - 1 - cut);
        T_CHECK(strncmp(answer, first, strlen(first)) == 0);
        T_EQ_STR(rest, answer + strlen(first));
        close(fd);
        port_run();
        T_EQ_U64(port_stats().clients, 0);
    }
    port_end();
}

static void single_bytes_give_the_same_replies(void)
{
    port_begin();
    const int fd = peer();
    char all[sizeof answer] = "";
    size_t len = 0;
    for (size_t i = 0; i + 1 < sizeof talk; i++) {
        len += (size_t)snprintf(all + len, sizeof all - len, "%s", ask_bytes(fd, talk + i, 1));
    }
    T_EQ_STR(all, answer);
    close(fd);
    port_end();
}

static void broken_requests_get_the_words_of_redis(void)
{
    static const struct { const char *in, *out; } rows[] = {
        { "*a\r\n", "invalid multibulk length" },
        { "*1048577\r\n", "invalid multibulk length" },
        { "*99999999999999999999\r\n", "invalid multibulk length" },
        { "*01\r\n", "invalid multibulk length" },
        { "*\r\n", "invalid multibulk length" },
        { "*1\r\n+PING\r\n", "expected '$', got '+'" },
        { "*1\r\nPING\r\n", "expected '$', got 'P'" },
        { "*1\r\n$-1\r\n", "invalid bulk length" },
        { "*1\r\n$\r\n", "invalid bulk length" },
        { "*1\r\n$x\r\n", "invalid bulk length" },
        { "*1\r\n$4294967296\r\n", "invalid bulk length" },
        { "*1\r\n$99999999999999999999999999\r\n", "invalid bulk length" },
        { "*1\r\n$4\r\nPINGxx", "expected CR LF" },
        { "*1\rx", "expected CR LF" },
        { "PING \"a\r\n", "unbalanced quotes in request" },
        { "PING \"a\"b\r\n", "unbalanced quotes in request" },
        { "PING 'a\r\n", "unbalanced quotes in request" },
    };
    port_begin();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char want[128], in[128];
        bool closed;
        const int fd = peer();
        (void)snprintf(in, sizeof in, "PING\r\n%sPING\r\nPING\r\n", rows[i].in);
        (void)snprintf(want, sizeof want, "+PONG\r\n-ERR Protocol error: %s\r\n", rows[i].out);
        (void)tell(fd, in, strlen(in));
        port_run();
        T_EQ_STR(hear(fd, &closed), want);
        T_CHECK(closed);
        close(fd);
        port_run();
        T_EQ_U64(port_stats().clients, 0);
        T_EQ_U64(port_stats().protocol_errors, i + 1);
    }
    port_end();
}

/* Send `count` bytes in one piece, then look how the connection ended. */
static const char *long_line(const char *start, size_t count, bool *closed)
{
    char *line = malloc(count);
    T_REQUIRE(line != NULL);
    memset(line, '1', count);
    memcpy(line, start, strlen(start));
    const int fd = peer();
    (void)tell(fd, line, count);
    port_run();
    (void)hear(fd, closed);
    free(line);
    close(fd);
    port_run();
    return port_heard;
}

static void long_lines_are_refused(void)
{
    bool closed;
    port_begin();
    T_EQ_STR(long_line("PING ", 70000, &closed),
             "-ERR Protocol error: too big inline request\r\n");
    T_CHECK(closed);
    T_EQ_STR(long_line("*1", 70000, &closed),
             "-ERR Protocol error: too big mbulk count string\r\n");
    T_CHECK(closed);
    T_EQ_STR(long_line("*1\r\n$1", 70000, &closed),
             "-ERR Protocol error: too big bulk count string\r\n");
    T_CHECK(closed);
    T_EQ_STR(long_line("PING ", 60000, &closed), "");
    T_CHECK(!closed);
    port_end();
}

static void short_requests(cellar_resp_opts *o) { o->max_request_bytes = 64u << 10; }

static void requests_over_the_limit_are_refused(void)
{
    static char part[40 << 10];
    memset(part, 'x', sizeof part);
    port_begin_with(short_requests);
    const int fd = peer();
    T_EQ_STR(ask(fd, "*2\r\n$4\r\nECHO\r\n$65537\r\n"),
             "-ERR Protocol error: invalid bulk length\r\n");
    T_CHECK(is_closed(fd));
    close(fd);
    const int other = peer();
    T_EQ_STR(ask(other, "*3\r\n$4\r\nECHO\r\n$40960\r\n"), "");
    T_CHECK(tell(other, part, sizeof part));
    T_EQ_STR(ask(other, "\r\n$40960\r\n"), "-ERR Protocol error: too big request\r\n");
    T_CHECK(is_closed(other));
    close(other);
    port_end();
}

static void request_of_a_million_arguments_runs_and_one_more_does_not(void)
{
    const size_t count = 1048576, bytes = count * 7;
    char *request = malloc(bytes);
    T_REQUIRE(request != NULL);
    for (size_t i = 0; i < count; i++) { memcpy(request + 7 * i, "$1\r\nx\r\n", 7); }
    port_begin_on(api_open(64 << 20), NULL);
    const int fd = peer();
    T_EQ_STR(ask(fd, "*1048576\r\n"), "");
    T_CHECK(tell(fd, request, bytes - 7));
    T_EQ_STR(ask(fd, "$1\r\n"), "");
    T_CHECK(port_stats().bytes > bytes / 2 && port_stats().bytes < 3 * bytes);
    T_CHECK(strncmp(ask(fd, "x\r\n"), "-ERR unknown command 'x', with args", 35) == 0);
    T_EQ_STR(ask(fd, "PING\r\n"), "+PONG\r\n");
    T_CHECK(port_stats().bytes < 1u << 20);
    close(fd);
    port_end();
    free(request);
}

static void lines_with_nul_and_cr_end_or_split(void)
{
    static const char nul[] = "ECHO a\0b\r\n", quoted[] = "ECHO \"a\0b\"\r\n";
    port_begin();
    int fd = peer();
    T_EQ_STR(ask_bytes(fd, nul, sizeof nul - 1), "$1\r\na\r\n");
    T_EQ_STR(ask(fd, "ECHO\ra\r\n"), "$1\r\na\r\n"); /* a CR inside is a blank */
    T_EQ_STR(ask(fd, "ECHO a\r\r\n"), "$1\r\na\r\n");
    T_EQ_STR(ask(fd, "ECHO \"\"\r\n"), "$0\r\n\r\n");
    T_EQ_STR(ask(fd, "ECHO \"\\x4\\xg1\\t\\r\\b\\a\\q\"\r\n"), "$10\r\nx4xg1\t\r\b\aq\r\n");
    T_EQ_STR(ask(fd, "ECHO a\"b c\"\r\n"), "$4\r\nab c\r\n");
    T_EQ_STR(ask_bytes(fd, quoted, sizeof quoted - 1),
             "-ERR Protocol error: unbalanced quotes in request\r\n");
    T_CHECK(is_closed(fd));
    close(fd);
    port_end();
}

static void http_closes_without_a_reply(void)
{
    static const char *const lines[] = { "POST / HTTP/1.1\r\n", "GET / HTTP/1.1\r\n", "put x\r\n",
                                         "HEAD / HTTP/1.0\r\n", "OPTIONS *\r\n", "Host: x\r\n" };
    port_begin();
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        const int fd = peer();
        T_EQ_STR(ask(fd, lines[i]), "");
        T_CHECK(is_closed(fd));
        T_EQ_U64(port_stats().http, i + 1);
        close(fd);
    }
    const int fd = peer();
    T_EQ_STR(ask(fd, "PING\r\n"), "+PONG\r\n");
    T_EQ_STR(ask(fd, "POST x\r\n"), /* not the first line */
             "-ERR unknown command 'POST', with args beginning with: 'x' \r\n");
    T_EQ_STR(ask(fd, "host: x\r\n"), "");
    T_CHECK(is_closed(fd));
    close(fd);
    port_end();
}

static void errors_show_no_line_ends_and_are_cut(void)
{
    char in[600], name[301];
    port_begin();
    const int fd = peer();
    T_EQ_STR(ask(fd, "*2\r\n$4\r\na\r\nb\r\n$3\r\nc\nd\r\n"),
             "-ERR unknown command 'a  b', with args beginning with: 'c d' \r\n");
    memset(name, 'n', 300);
    name[300] = '\0';
    (void)snprintf(in, sizeof in, "*1\r\n$300\r\n%s\r\n", name);
    T_CHECK(strlen(ask(fd, in)) < 200);
    close(fd);
    port_end();
}

static void long_pipelines_share_the_rounds(void)
{
    enum { REQUESTS = 1000 };
    char pings[6 * REQUESTS + 1], pongs[7 * REQUESTS + 1];
    bool closed;
    for (int i = 0; i < REQUESTS; i++) {
        memcpy(pings + 6 * i, "PING\r\n", 7);
        memcpy(pongs + 7 * i, "+PONG\r\n", 8);
    }
    port_begin();
    const int busy = peer(), other = peer();
    T_CHECK(tell(busy, pings, sizeof pings - 1) && tell_text(other, "PING\r\n"));
    T_EQ_I64(cellar_resp_step(port, 0), CELLAR_PENDING);
    T_CHECK(port_stats().commands < 130); /* 64 of the one, 1 of the other, 64 once more at most */
    char reply[8] = "";
    T_EQ_I64(recv(other, reply, 7, 0), 7); /* in the same round */
    T_EQ_STR(reply, "+PONG\r\n");
    port_run();
    T_EQ_STR(hear(busy, &closed), pongs);
    close(busy);
    close(other);
    port_end();
}

T_ONE_THREAD;
T_MAIN("resp_protocol", T_CASE(each_cut_gives_the_same_replies),
       T_CASE(single_bytes_give_the_same_replies), T_CASE(broken_requests_get_the_words_of_redis),
       T_CASE(long_lines_are_refused), T_CASE(requests_over_the_limit_are_refused),
       T_CASE(request_of_a_million_arguments_runs_and_one_more_does_not),
       T_CASE(lines_with_nul_and_cr_end_or_split), T_CASE(http_closes_without_a_reply),
       T_CASE(errors_show_no_line_ends_and_are_cut), T_CASE(long_pipelines_share_the_rounds))
