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

T_CASE(each_cut_gives_the_same_replies)
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
}

T_CASE(broken_requests_get_the_words_of_redis)
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

T_CASE(long_lines_are_refused)
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
}

static void short_requests(cellar_resp_config *o) { o->max_request_bytes = 64u << 10; }

T_CASE(requests_over_the_limit_are_refused)
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
}

static void large_requests(cellar_resp_config *o) { o->resp_buffer_bytes = 48u << 20; }

T_CASE(request_of_a_million_arguments_runs_and_one_more_does_not)
{
    const size_t count = 1048576, bytes = count * 7;
    char *request = malloc(bytes);
    T_REQUIRE(request != NULL);
    for (size_t i = 0; i < count; i++) { memcpy(request + 7 * i, "$1\r\nx\r\n", 7); }
    port_begin_on(api_open(64 << 20), large_requests); /* the arguments need 16 bytes each */
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

T_CASE(lines_split_at_blanks_tabs_and_cr)
{
    port_begin();
    int fd = peer();
    T_EQ_STR(ask(fd, "ECHO\ra\r\n"), "$1\r\na\r\n");
    T_EQ_STR(ask(fd, "ECHO a\r\r\n"), "$1\r\na\r\n");
    T_EQ_STR(ask(fd, "\tECHO\t a\t\n"), "$1\r\na\r\n");
    T_EQ_STR(ask(fd, "ECHO \"\"\r\n"), "$0\r\n\r\n");
    T_EQ_STR(ask(fd, "ECHO \"\\x4\\xg1\\t\\r\\b\\a\\q\"\r\n"), "$10\r\nx4xg1\t\r\b\aq\r\n");
    T_EQ_STR(ask(fd, "ECHO a\"b c\"\r\n"), "$4\r\nab c\r\n");
    T_EQ_STR(ask_bytes(fd, "ECHO \"\\x00\\x7f\"\n", 16), "$2\r\n");
    T_EQ_MEM(port_heard, "$2\r\n\0\x7f\r\n", 8);
    T_EQ_STR(ask(fd, "ECHO \xc3\xa9\xff\n"), "$3\r\n\xc3\xa9\xff\r\n");
}

T_CASE(control_bytes_in_lines_end_the_connection)
{
    char line[] = "ECHO 'a_b'\r\nPING\r\n";
    uint64_t closed = 0;
    port_begin();
    for (unsigned byte = 0; byte < 256; byte++) {
        const bool control = (byte < ' ' && strchr("\t\n\r", (int)byte) == NULL) || byte == 0 ||
                             byte == 0x7f;
        const int fd = peer();
        T_EQ_STR(ask(fd, "PING\r\n"), "+PONG\r\n");
        line[7] = (char)byte;
        const char *heard = ask_bytes(fd, line, sizeof line - 1);
        closed += control;
        if (control) {
            T_EQ_STR(heard, "-ERR Protocol error: control byte in inline request\r\n");
        } else if (byte != '\n' && byte != '\'') {
            T_CHECK(strncmp(heard, "$3\r\na", 5) == 0);
            T_EQ_STR(heard + 6, "b\r\n+PONG\r\n");
        }
        T_EQ_U64(port_stats().foreign, closed);
        close(fd);
    }
    T_EQ_U64(closed, 30); /* 32 with DEL, without tab, LF and CR */
}

/* What programs of other protocols send first. A part of it is chosen by another side, such as the
 * ticket of a TLS session, the path of a URL, a mail: there it has the lines of `inside`. */
#define INSIDE "\nSET pw 1\r\nSET pw 1\n*3\r\n$3\r\nSET\r\n$2\r\npw\r\n$1\r\n1\r\n"
#define FOREIGN(start) { start INSIDE, sizeof(start INSIDE) - 1 }
static const struct { const char *bytes; size_t len; } foreign[] = {
    FOREIGN("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03*\x01\n Z\x85"), /* TLS ClientHello */
    FOREIGN("\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10"),              /* SSL 2 */
    FOREIGN("\x00\x01"),
    FOREIGN("\x00\x00\x00\x08\x04\xd2\x16\x2f"),                           /* PostgreSQL */
    FOREIGN("\x10\x1f\x00\x04MQTT\x04\xc2\x00\x3c"),
    FOREIGN("AMQP\x00\x00\x09\x01"),
    FOREIGN("PROXY TCP4 192.0.2.1 192.0.2.2 40000 6379\r"),
    FOREIGN("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"),                   /* PROXY protocol 2 */
    FOREIGN("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n\x00\x00\x05\xdc\x06\x14"),
    FOREIGN("EHLO mail.example\r\nMAIL FROM:<a@example>\r\nDATA\r"),
    FOREIGN("HELO mail.example\r"),
    FOREIGN("USER anonymous\r"),
    FOREIGN("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x12\x04"),
    FOREIGN("GET / HTTP/1.1\r\nHost: 127.0.0.1:6379\r"),
    FOREIGN("GET / HTTP/1.0\r"),
    FOREIGN("get k HTTP/1.1\r"),
    FOREIGN("GET /a"),                                                     /* LF in a path */
    FOREIGN("GET http://example/a"),
    FOREIGN("\r\nGET / HTTP/1.1\r"),
    FOREIGN("HEAD / HTTP/1.1\r"),
    FOREIGN("POST / HTTP/1.1\r\nContent-Length: 99\r\n\r"),
    FOREIGN("PUT / HTTP/1.1\r"),
    FOREIGN("DELETE / HTTP/1.1\r"),
    FOREIGN("OPTIONS * HTTP/1.1\r"),
    FOREIGN("TRACE / HTTP/1.1\r"),
    FOREIGN("CONNECT example:443 HTTP/1.1\r"),
    FOREIGN("PATCH / HTTP/1.1\r"),
    FOREIGN("PROPFIND / HTTP/1.1\r"),
    FOREIGN("SET / HTTP/1.1\r"),
    FOREIGN("COPY /a /b HTTP/1.1\r"),
    FOREIGN("Host: 127.0.0.1\r"),
    FOREIGN("OPTIONS rtsp://example/a RTSP/1.0\r"),
    FOREIGN("SUBSCRIBE sip:a@example SIP/2.0\r"),
    FOREIGN("INFO sip:a@example SIP/2.0\r"),
};
enum { FOREIGN_ROWS = sizeof foreign / sizeof *foreign };

/* Check that a connection which sent `bytes` ran no line of them. */
static void no_line_ran(int fd, const char *bytes, size_t len, size_t cut)
{
    bool closed, one;
    port_run();
    const char *heard = hear(fd, &closed), *end = strchr(heard, '\n');
    one = heard[0] == '-' && end != NULL && end[1] == '\0';
    if (!T_CHECK(closed && one && cellar_contains(port_store, "pw", 2) == CELLAR_MISS)) {
        printf("# %.*s at %zu: %s\n", (int)len, bytes, cut, heard);
        (void)cellar_delete(port_store, "pw", 2);
    }
    close(fd);
    port_run();
}

static void root_is_database_0(cellar_resp_config *o) { o->namespaces = "0="; }

T_CASE(other_protocols_get_one_error_and_run_no_line)
{
    uint64_t count = 0;
    port_begin_with(root_is_database_0);
    for (size_t i = 0; i < FOREIGN_ROWS; i++) {
        for (size_t cut = 0; cut < foreign[i].len; cut++) {
            const int fd = peer();
            (void)tell(fd, foreign[i].bytes, cut);
            port_run();
            (void)tell(fd, foreign[i].bytes + cut, foreign[i].len - cut);
            no_line_ran(fd, foreign[i].bytes, foreign[i].len, cut);
            T_EQ_U64(port_stats().foreign, ++count);
        }
    }
    T_EQ_U64(port_stats().protocol_errors, 0);
}

T_CASE(first_lines_that_are_commands_run)
{
    static const char *const rows[][2] = {
        { "GET none\r\n", "$-1\r\n" },
        { "get none\nGET / HTTP/1.1\n",
          "$-1\r\n-ERR wrong number of arguments for 'get' command\r\n" },
        { "\r\n\nPING HTTP/1.1x\r\n", "$9\r\nHTTP/1.1x\r\n" },
        { "SET\tk\tv/1.1\r\nGET k\r\n", "+OK\r\n$5\r\nv/1.1\r\n" },
        { "set k 1.1\nEXISTS k\n", "+OK\r\n:1\r\n" },
        { "PING\r\nPOST x\r\n",
          "+PONG\r\n-ERR unknown command 'POST', with args beginning with: 'x' \r\n" },
        { "*1\r\n$1\r\nx\r\nPING\r\n",
          "-ERR unknown command 'x', with args beginning with: \r\n+PONG\r\n" },
    };
    port_begin();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const int fd = peer();
        T_EQ_STR(ask(fd, rows[i][0]), rows[i][1]);
        T_CHECK(!is_closed(fd));
        close(fd);
    }
    const int fd = peer();
    T_EQ_STR(ask(fd, "PNG\r\nPING\r\n"),
             "-ERR unknown command 'PNG', with args beginning with: \r\n");
    T_CHECK(is_closed(fd));
}

T_CASE(errors_show_no_line_ends_and_are_cut)
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
}

T_CASE(long_pipelines_share_the_rounds)
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
}

/* GETs are looked up together, 32 at most, and one in 64 alone. */
T_CASE(pipelined_gets_are_answered_in_their_order)
{
    enum { KEYS = 64 };
    static char gets[KEYS * 12], want[KEYS * 220];
    char set[240];
    size_t g = 0, w = 0;
    port_begin();
    const int fd = peer();
    for (int i = 0; i < KEYS; i++) {
        (void)snprintf(set, sizeof set, "SET k%d %0200d\r\n", i, i);
        T_EQ_STR(ask(fd, set), "+OK\r\n");
        g += (size_t)snprintf(gets + g, sizeof gets - g, "GET k%d\r\n", i);
        w += (size_t)snprintf(want + w, sizeof want - w, "$200\r\n%0200d\r\n", i);
    }
    T_EQ_STR(ask(fd, gets), want);
}

T_ONE_THREAD;
T_MAIN("resp_protocol")
