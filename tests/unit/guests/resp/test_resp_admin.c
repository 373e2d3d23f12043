/* SPDX-License-Identifier: MIT
 *
 * Aim:    the admin pages have the right status, types and bytes, answer bad requests with an error,
 *         and cost other clients nothing. Wrong passwords, of pages and of clients, delay the guesses
 *         of their address, and nothing else.
 * Method: a port without threads on socket files and on loopback, clients from several addresses of
 *         it, on the clock of the test; fault points. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/stat.h>

#include "tests/support/port_kit.h"
#include "tests/support/said.h"

#include "base/fault.h"
#include "base/sha256.h"
#include "cellar_observe.h"
#include "cellar_work.h"
#include "resp/admin.h"

#define SLOW_MS 30000
#define GET(path) "GET " path " HTTP/1.1\r\nHost: localhost\r\n\r\n"

static char admin_path[T_FOLDER_MAX + 8];
static cellar_host_config host;

static void admin_open_with(void (*change)(cellar_resp_config *o))
{
    port_store_open();
    cellar_resp_config o = port_opts(&host);
    (void)snprintf(admin_path, sizeof admin_path, "%s/admin", port_folder);
    o.admin = admin_path;
    if (change != NULL) { change(&o); }
    T_REQUIRE(cellar_resp_open(port_store, &o, &port) == CELLAR_OK);
}

static void admin_open(void) { admin_open_with(NULL); }

static int visitor_connect(void) { return peer_connect_to(admin_path); }

static int visitor(void)
{
    const int fd = visitor_connect();
    port_run();
    return fd;
}

/* Return the status of an answer; 0: it is none. */
static int status_of(const char *answer)
{
    int status = 0;
    return sscanf(answer, "HTTP/1.1 %d ", &status) == 1 ? status : 0;
}

static const char *body_of(const char *answer)
{
    const char *end = strstr(answer, "\r\n\r\n");
    return end != NULL ? end + 4 : "";
}

/* Return the value of Content-Length. */
static size_t length_of(const char *answer)
{
    const char *at = strstr(answer, "\r\nContent-Length: ");
    return at != NULL ? (size_t)strtoull(at + 18, NULL, 10) : SIZE_MAX;
}

static bool has(const char *text, const char *part) { return strstr(text, part) != NULL; }

/* Connect from 127.0.0.`from` to a port of 127.0.0.1. */
static int from_to(uint32_t from, uint64_t to)
{
    struct sockaddr_in at = { .sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + from) };
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    T_REQUIRE(fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    at.sin_port = htons((uint16_t)to);
    T_REQUIRE(connect(fd, (struct sockaddr *)&at, sizeof at) == 0);
    port_run();
    return peer_ready(fd);
}

static int peer_from(uint32_t from) { return from_to(from, port_stats().port); }
static int visitor_from(uint32_t from) { return from_to(from, port_stats().admin_port); }

/* Ask on a new connection. Return the status; the answer is in port_heard. */
static int fetch(const char *request)
{
    const int fd = visitor();
    const int status = status_of(ask(fd, request));
    close(fd);
    port_run();
    return status;
}

/* ---- pages ---- */

T_CASE(each_page_has_status_type_and_headers)
{
    static const struct { const char *path; int status; const char *type, *part; } row[] = {
        { "/", 200, "text/html; charset=utf-8", "<title>cellar</title>" },
        { "/?x=1", 200, "text/html; charset=utf-8", "<title>cellar</title>" },
        { "/metrics", 200, "text/plain; version=0.0.4; charset=utf-8", "cellar_port_clients{" },
        { "/metrics?a=/", 200, "text/plain; version=0.0.4; charset=utf-8", "\ncellar_bytes " },
        { "/stats.json", 200, "application/json", "\"cellar_port_clients\"" },
        { "/healthz", 200, "text/plain; charset=utf-8", "ok\n" },
        { "/readyz", 200, "text/plain; charset=utf-8", "ready\n" },
        { "/health", 200, "text/plain; charset=utf-8", "ok\n" },
        { "/ready", 200, "text/plain; charset=utf-8", "ready\n" },
        { "/nothing", 404, "text/plain; charset=utf-8", "no such page\n" },
        { "/METRICS", 404, "text/plain; charset=utf-8", "no such page\n" },
        { "//", 404, "text/plain; charset=utf-8", "no such page\n" },
    };
    admin_open();
    const int fd = visitor();
    for (size_t i = 0; i < 2 * sizeof row / sizeof *row; i++) {
        char request[200], type[100];
        const char *prefix = i % 2 != 0 ? "/_cellar" : "";
        const char *const method[] = { "GET", "HEAD" };
        size_t length[2];
        for (int m = 0; m < 2; m++) {
            (void)snprintf(request, sizeof request, "%s %s%s HTTP/1.1\r\nHost: x\r\n\r\n",
                           method[m], prefix, row[i / 2].path);
            const char *answer = ask(fd, request), *body = body_of(answer);
            (void)snprintf(type, sizeof type, "\r\nContent-Type: %s\r\n", row[i / 2].type);
            T_EQ_I64(status_of(answer), row[i / 2].status);
            T_CHECK(has(answer, type) && has(answer, "\r\nCache-Control: no-store\r\n") &&
                    has(answer, "\r\nX-Content-Type-Options: nosniff\r\n") &&
                    has(answer, "\r\nContent-Security-Policy: default-src 'none'") &&
                    !has(answer, "unsafe"));
            T_EQ_U64(strlen(body), m == 0 ? length_of(answer) : 0);
            T_CHECK(m == 1 || has(body, row[i / 2].part));
            length[m] = length_of(answer);
        }
        /* The figures count the bytes of the page itself. */
        T_CHECK(length[0] == length[1] || (length[0] > 1000 && length[1] < length[0] + 100));
    }
}

T_CASE(figures_follow_the_store)
{
    admin_open();
    T_EQ_I64(cellar_set_str(port_store, "k", "v", 0), CELLAR_OK);
    T_EQ_I64(fetch(GET("/metrics")), 200);
    T_CHECK(has(port_heard, "cellar_sets_total{namespace=\"\"} 1\n"));
    T_CHECK(has(port_heard, "cellar_port_admin_requests_total{port=\"port\"} 1\n"));
    T_EQ_I64(fetch(GET("/stats.json")), 200);
    T_CHECK(has(port_heard,
                "{\"name\":\"cellar_sets_total\",\"labels\":{\"namespace\":\"\"},\"value\":1}"));
    T_EQ_U64(port_stats().admin_requests, 2);
}

static cellar_err figures_err;
static size_t figures_len;

static cellar_err own_figures(void *ctx, int json, char *buf, size_t cap, size_t *len)
{
    const char *text = json != 0 ? "{\"metrics\":[{\"name\":\"own\",\"labels\":{},\"value\":1}]}"
                                 : "own 1\n";
    T_CHECK(ctx == &figures_err);
    *len = figures_len != 0 ? figures_len : strlen(text);
    if (figures_err != CELLAR_OK) { return figures_err; }
    if (*len >= cap) { return CELLAR_E_BUFFER; }
    memset(buf, ' ', *len);
    memcpy(buf, text, strlen(text));
    return CELLAR_OK;
}

static void with_figures(cellar_resp_config *o)
{
    figures_err = CELLAR_OK;
    figures_len = 0;
    o->figures = own_figures;
    o->figures_ctx = &figures_err;
}

T_CASE(figures_of_the_program_are_behind_the_others)
{
    admin_open_with(with_figures);
    T_EQ_I64(fetch(GET("/metrics")), 200);
    T_CHECK(has(port_heard, "\nown 1\n"));
    T_EQ_I64(fetch(GET("/stats.json")), 200);
    T_CHECK(has(port_heard, ",{\"metrics\":[{\"name\":\"own\",\"labels\":{},\"value\":1}]}]\n"));
    figures_len = 300000; /* more than the page had room for */
    T_EQ_I64(fetch(GET("/metrics")), 200);
    T_CHECK(length_of(port_heard) > 300000);
    figures_err = CELLAR_E_CLOSED;
    T_EQ_I64(fetch(GET("/metrics")), 503);
    T_EQ_I64(fetch(GET("/stats.json")), 503);
    T_EQ_I64(fetch(GET("/healthz")), 200);
}

static cellar_pool *pool;

static void with_work(cellar_resp_config *o)
{
    cellar_pool_config p = cellar_pool_config_default();
    cellar_host_config quiet = { .struct_size = sizeof quiet, .clock = api_clock, .no_threads = 1 };
    p.host = &quiet;
    T_REQUIRE(cellar_pool_open(&p, &pool) == CELLAR_OK);
    o->pool = pool;
    with_figures(o);
}

T_CASE(figures_of_pool_and_bus_are_on_the_pages)
{
    admin_open_with(with_work);
    T_EQ_I64(fetch(GET("/metrics")), 200);
    T_CHECK(has(port_heard, "cellar_tasks_live{pool=\"") && has(port_heard, "\nown 1\n") &&
            has(port_heard, "cellar_bus_subscribers{pool=\""));
    T_EQ_I64(fetch(GET("/stats.json")), 200);
    T_CHECK(has(port_heard, "{\"name\":\"cellar_tasks_live\"") &&
            has(port_heard, "{\"name\":\"cellar_bus_subscribers\""));
    port_end();
    T_EQ_I64(cellar_pool_close(pool), CELLAR_OK);
}

T_CASE(readiness_ends_with_drain_and_health_does_not)
{
    admin_open();
    cellar_resp_drain(NULL);
    cellar_resp_drain(port);
    T_EQ_I64(fetch(GET("/readyz")), 503);
    T_EQ_STR(body_of(port_heard), "draining\n");
    T_EQ_I64(fetch(GET("/_cellar/readyz")), 503);
    T_EQ_I64(fetch(GET("/ready")), 503);
    T_EQ_I64(fetch(GET("/healthz")), 200);
    const int fd = peer();
    T_EQ_STR(ask(fd, "PING\r\n"), "+PONG\r\n");
}

T_CASE(readiness_is_answered_while_the_port_finishes)
{
    bool closed;
    admin_open();
    const int visit = visitor(), late = visitor_connect(), client = peer();
    T_CHECK(tell_text(visit, GET("/readyz")) && tell_text(late, GET("/readyz")));
    T_CHECK(tell_text(client, "PING\r\n"));
    T_EQ_I64(cellar_resp_finish(port, 1000), CELLAR_OK);
    T_EQ_I64(status_of(hear(visit, &closed)), 503);
    T_EQ_I64(status_of(hear(late, &closed)), 503);
    T_EQ_STR(hear(client, &closed), "+PONG\r\n");
    T_CHECK(closed && access(port_path, F_OK) != 0 && access(admin_path, F_OK) == 0);
}

/* ---- the dashboard ---- */

/* Check that the policy of the page names the SHA-256 of the content of an element. */
static void policy_names(const char *page, const char *open, const char *close, const char *source)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char digest[33] = { 0 };
    char word[100], *to = word;
    base_sha256 s;
    const char *from = strstr(page, open) + strlen(open), *end = strstr(from, close);
    base_sha256_init(&s);
    base_sha256_add(&s, from, (size_t)(end - from));
    base_sha256_end(&s, digest);
    to += snprintf(word, sizeof word, "%s 'sha256-", source);
    for (size_t i = 0; i < 33; i += 3) {
        const unsigned v = (unsigned)digest[i] << 16 | (unsigned)digest[i + 1] << 8 | digest[i + 2];
        for (int k = 18; k >= 0; k -= 6) { *to++ = digits[v >> k & 63]; }
    }
    (void)snprintf(to - 1, 4, "='"); /* 32 bytes: one character of padding */
    T_CHECK(has(page, word));
    T_CHECK(has(port_heard, word)); /* the header of the answer as well */
}

T_CASE(dashboard_is_one_file_that_its_policy_admits)
{
    static char page[40000];
    const char *html = NULL;
    size_t len = 0;
    cellar_dashboard_html(NULL, NULL);
    cellar_dashboard_html(&html, &len);
    T_REQUIRE(html != NULL && len < sizeof page);
    memcpy(page, html, len);
    T_EQ_U64(strlen(page), len);
    T_CHECK(len <= 16 * 1024);
    admin_open();
    T_EQ_I64(fetch(GET("/")), 200);
    T_EQ_STR(body_of(port_heard), page);
    policy_names(page, "<script>", "</script>", "script-src");
    policy_names(page, "<style>", "</style>", "style-src");
    T_CHECK(!has(page, " style=") && !has(page, " src=") && !has(page, "url(") &&
            !has(page, "https:") && !has(page, "@import"));
    char *name = strstr(page, "http://www.w3.org/2000/svg"); /* a name, not an address */
    T_REQUIRE(name != NULL);
    T_CHECK(!has(name + 1, "http://") && strstr(page, "http://") == name);
}

/* ---- requests ---- */

T_CASE(broken_requests_get_400_and_end_the_connection)
{
#define LINE "GET / HTTP/1.1\r\n"
#define BROKEN(text) { text, sizeof text - 1 }
    static const struct { const char *text; size_t len; } row[] = {
        BROKEN(LINE "\r\n"), BROKEN(LINE "Host: a\r\nHost: b\r\n\r\n"),
        BROKEN(LINE "Host:\r\n\r\n"),
        BROKEN("GET / HTTP/1.1\nHost: a\n\n"), BROKEN("GET /\r\n\r\n"), BROKEN("\r\n\r\n"),
        BROKEN("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), BROKEN("GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
        BROKEN("GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), BROKEN(" GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        BROKEN("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        BROKEN("GET * HTTP/1.1\r\nHost: a\r\n\r\n"), BROKEN("G(T / HTTP/1.1\r\nHost: a\r\n\r\n"),
        BROKEN("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"), BROKEN("GET /\r / HTTP/1.1\r\n\r\n"),
        BROKEN(LINE "Host: a\0b\r\n\r\n"), BROKEN(LINE "Host: a\x7f\r\n\r\n"),
        BROKEN(LINE "Host: a\x01\r\n\r\n"), BROKEN(LINE "Host: a\r\n b: c\r\n\r\n"),
        BROKEN(LINE "Host: a\r\n\tb\r\n\r\n"), BROKEN(LINE "Host : a\r\n\r\n"),
        BROKEN(LINE "Host: a\r\nb\r\n\r\n"), BROKEN(LINE "Host: a\r\n: b\r\n\r\n"),
        BROKEN(LINE "Host: a\rb: c\r\n\r\n"), BROKEN(LINE "Host: a\nb: c\r\n\r\n"),
        BROKEN(LINE "Host: a\r\nContent-Length: -1\r\n\r\nx"),
        BROKEN(LINE "Host: a\r\nContent-Length: 00\r\n\r\n"),
        BROKEN(LINE "Host: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        BROKEN(LINE "Host: a\r\nAuthorization: b\r\nAuthorization: b\r\n\r\n"),
        BROKEN("*1\r\n$4\r\nPING\r\n\r\n"), BROKEN("\x16\x03\x01\x02"), BROKEN("\n"),
    };
    admin_open();
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        const int fd = visitor();
        const char *answer = ask_bytes(fd, row[i].text, row[i].len);
        if (status_of(answer) != 400) { T_EQ_STR(answer, row[i].text); }
        T_CHECK(has(answer, "\r\nConnection: close\r\n"));
        T_EQ_U64(strlen(body_of(answer)), length_of(answer)); /* nothing behind it is answered */
        port_pass(1001);
        T_CHECK(is_closed(fd));
        close(fd);
    }
    T_EQ_U64(port_stats().protocol_errors, sizeof row / sizeof *row);
}

T_CASE(other_methods_get_405)
{
    static const char *const method[] = { "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get", "X" };
    char request[200];
    admin_open();
    for (size_t i = 0; i < sizeof method / sizeof *method; i++) {
        (void)snprintf(request, sizeof request,
                       "%s /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
                       method[i]);
        T_EQ_I64(fetch(request), 405);
        T_CHECK(has(port_heard, "\r\nAllow: GET, HEAD\r\n"));
    }
}

static uint32_t head_bytes, body_bytes;
static void limits(cellar_resp_config *o)
{
    o->admin_head_bytes = head_bytes;
    o->admin_body_bytes = body_bytes;
}

static void heads_over(size_t HEAD)
{
    static char request[40000];
    static const char line[] = "GET /healthz HTTP/1.1\r\nHost: a\r\nX: ";
    admin_open_with(limits);
    for (size_t len = HEAD - 1; len <= HEAD + 1; len++) {
        memset(request, 'x', sizeof request);
        memcpy(request, line, sizeof line - 1);
        memcpy(request + len - 4, "\r\n\r\n", 5);
        T_EQ_I64(fetch(request), len <= HEAD ? 200 : 431);
    }
    memset(request, 'x', sizeof request); /* a line without an end, in pieces */
    const int fd = visitor();
    const uint64_t before = port_stats().bytes;
    int status = 0;
    for (size_t sent = 0; sent + 1000 < sizeof request && status == 0; sent += 1000) {
        status = status_of(ask_bytes(fd, request, 1000));
        T_CHECK(port_stats().bytes < before + 2 * HEAD + 40000);
    }
    T_EQ_I64(status, 431);
    close(fd);
    port_end();
}

T_CASE(heads_over_the_limit_get_431)
{
    heads_over(16 << 10);
    head_bytes = 1024;
    heads_over(1024);
    head_bytes = 0;
}

T_CASE(bodies_up_to_the_limit_are_dropped)
{
    static const char line[] = "GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: ";
    char request[200];
    body_bytes = 9;
    admin_open_with(limits);
    for (size_t n = 0; n <= 10; n++) {
        const int len = snprintf(request, sizeof request, "%s%zu\r\n\r\n%.*s" GET("/nothing"), line,
                                 n, (int)n, "GET /\r\n\r\nx");
        for (int cut = 0; cut < len; cut++) {
            const int fd = visitor();
            (void)tell(fd, request, (size_t)cut);
            port_run();
            (void)tell(fd, request + cut, (size_t)(len - cut));
            port_run();
            bool closed;
            const char *first = hear(fd, &closed), *second = strstr(first + 1, "HTTP/1.1 ");
            T_EQ_I64(status_of(first), n <= 9 ? 200 : 413);
            T_EQ_I64(second != NULL ? status_of(second) : 0, n <= 9 ? 404 : 0);
            T_EQ_I64(closed, n > 9);
            close(fd);
        }
    }
    T_EQ_I64(fetch("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n"),
             400);
    port_end();
    body_bytes = 0;
    admin_open();
    T_EQ_I64(fetch("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 4294967297\r\n\r\nx"), 413);
    T_EQ_I64(fetch("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"), 413);
}

T_CASE(requests_come_in_pieces_or_together)
{
    static const char one[] = GET("/healthz");
    static const char three[] = GET("/healthz") GET("/nothing") "HEAD / HTTP/1.0\r\n\r\n" GET("/");
    admin_open();
    const int fd = visitor();
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i + 2 < sizeof one; i++) { T_EQ_STR(ask_bytes(fd, one + i, 1), ""); }
        T_EQ_I64(status_of(ask(fd, "\n")), 200);
    }
    const char *first = ask(fd, three);
    T_EQ_I64(status_of(first), 200);
    const char *second = body_of(first) + strlen("ok\n");
    T_EQ_I64(status_of(second), 404);
    const char *third = body_of(second) + strlen("no such page\n");
    T_EQ_I64(status_of(third), 200);
    T_EQ_STR(body_of(third), ""); /* HTTP/1.0 ends the connection: the fourth gets no answer */
    T_CHECK(has(third, "\r\nConnection: close\r\n"));
    close(fd);
    const int ends = visitor();
    T_EQ_I64(status_of(ask(ends, "GET /healthz HTTP/1.1\r\nHost: a\r\n"
                                 "Connection: x, CLOSE\r\n\r\n")), 200);
    port_pass(1001);
    T_CHECK(is_closed(ends));
}

T_CASE(half_closed_visitor_gets_its_page)
{
    admin_open();
    const int fd = visitor();
    T_CHECK(tell_text(fd, GET("/metrics") "GET /"));
    T_EQ_I64(shutdown(fd, SHUT_WR), 0);
    T_CHECK(is_closed(fd));
    T_EQ_I64(status_of(port_heard), 200);
    T_EQ_U64(strlen(body_of(port_heard)), length_of(port_heard));
}

/* ---- time and numbers ---- */

T_CASE(slow_heads_are_closed_after_5_seconds_and_idle_visitors_after_30)
{
    admin_open();
    const int drip = visitor(), idle = visitor(), good = visitor(), client = peer();
    T_EQ_I64(status_of(ask(good, GET("/healthz"))), 200);
    for (int i = 0; i < 4; i++) {
        T_CHECK(tell_text(drip, "G"));
        port_pass(1000);
    }
    port_pass(999);
    T_CHECK(!is_closed(drip) && !is_closed(idle));
    port_pass(1);
    T_CHECK(is_closed(drip) && is_closed(idle) && !is_closed(good) && !is_closed(client));
    T_EQ_U64(port_stats().idle_closed, 2);
    T_CHECK(tell_text(good, "G")); /* of a second head */
    port_pass(4999);
    T_CHECK(!is_closed(good));
    T_EQ_I64(status_of(ask(good, GET("/healthz") + 1)), 200);
    port_pass(SLOW_MS - 1);
    T_CHECK(!is_closed(good));
    port_pass(1);
    T_CHECK(is_closed(good) && !is_closed(client));
}

T_CASE(visitor_that_reads_nothing_costs_a_bounded_amount)
{
    static const char page[] = GET("/metrics");
    admin_open();
    const int deaf = visitor(), client = peer();
    const uint64_t before = port_stats().bytes;
    for (int i = 0; i < 3000; i++) {
        if (send(deaf, page, sizeof page - 1, MSG_NOSIGNAL) < 0) { break; }
        (void)cellar_resp_step(port, 0);
        T_CHECK(port_stats().bytes < before + (2 << 20));
    }
    T_EQ_STR(ask(client, "PING\r\n"), "+PONG\r\n");
    port_pass(SLOW_MS);
    T_EQ_U64(port_stats().idle_closed, 1);
    T_EQ_U64(port_stats().clients, 1);
}

static void two_clients(cellar_resp_config *o) { o->max_clients = 2; }

T_CASE(visitors_and_clients_have_places_of_their_own)
{
    enum { PLACES = 16 };
    int fd[PLACES];
    admin_open_with(two_clients);
    const int client[] = { peer(), peer() };
    for (int i = 0; i < PLACES; i++) {
        fd[i] = visitor();
        T_EQ_I64(status_of(ask(fd[i], GET("/healthz"))), 200);
    }
    T_EQ_U64(port_stats().clients, 2);
    const int late = visitor(); /* takes the place of the one that has been idle longest */
    T_EQ_I64(status_of(ask(late, GET("/healthz"))), 200);
    T_CHECK(is_closed(fd[0]) && !is_closed(fd[1]));
    close(late);
    T_EQ_STR(ask(client[0], "CLIENT KILL ID 3\r\n"), ":0\r\n");
    port_run();
    T_EQ_I64(fetch(GET("/healthz")), 200);
}

T_CASE(half_sent_heads_leave_a_place_for_a_monitor)
{
    admin_open();
    for (int i = 0; i < 40; i++) {
        T_EQ_STR(ask(visitor(), "GET /healthz HTTP/1.1\r\nHo"), "");
        T_EQ_I64(fetch(GET("/healthz")), 200);
    }
}

static void much_memory(cellar_resp_config *o) { o->resp_buffer_bytes = 64u << 20; }

/* Open. Visitors that read nothing of their pages take all places. */
static void deaf_visitors(void)
{
    admin_open_with(much_memory);
    for (uint32_t i = 0; i < RESP_ADMIN_CLIENTS; i++) {
        const int fd = visitor();
        for (int k = 0; k < 40; k++) { (void)tell_text(fd, GET("/metrics")); }
        port_run();
    }
}

T_CASE(unread_pages_leave_a_place_for_this_machine)
{
    deaf_visitors();
    for (int i = 0; i < 40; i++) { T_EQ_I64(fetch(GET("/healthz")), 200); }
    T_EQ_U64(port_stats().idle_closed, 1); /* the place of one was enough */
}

T_CASE(other_hosts_wait_5_seconds_for_unread_pages)
{
    deaf_visitors();
    T_CHECK(!resp_admin_room(port, false));
    port_pass(4999);
    T_CHECK(!resp_admin_room(port, false));
    port_pass(1);
    T_CHECK(resp_admin_room(port, false));
}

T_CASE(other_hosts_close_no_new_visitor_of_this_machine)
{
    deaf_visitors();
    const int monitor = visitor();
    T_CHECK(!resp_admin_room(port, false));
    port_pass(999);
    T_CHECK(!resp_admin_room(port, false));
    T_EQ_I64(status_of(ask(monitor, GET("/healthz"))), 200);
    port_pass(1000);
    T_CHECK(resp_admin_room(port, false)); /* it is idle */
    port_run();
    T_CHECK(is_closed(monitor));
}

T_CASE(each_failed_allocation_ends_one_page_at_most)
{
    static const char *const page[] = { GET("/"), GET("/metrics"), GET("/stats.json") };
    admin_open();
    for (size_t i = 0; i < sizeof page / sizeof *page; i++) {
        for (uint64_t nth = 1; nth < 100; nth++) {
            (void)base_fault_alloc_arm(nth, false);
            const int status = fetch(page[i]);
            const uint64_t calls = base_fault_alloc_arm(0, false);
            T_CHECK(status == 200 || status == 503 || status == 0);
            T_EQ_I64(fetch(GET("/healthz")), 200);
            if (calls < nth) { break; }
        }
    }
}

/* ---- checks ---- */

static void tcp(cellar_resp_config *o) { o->admin = "0"; }
static void tcp_guarded(cellar_resp_config *o)
{
    o->admin = "127.0.0.1:0";
    o->password = PORT_PASSWORD;
}

T_CASE(names_of_the_web_are_refused)
{
    static const struct { const char *name; int status; } row[] = {
        { "localhost", 200 }, { "LocalHost:9180", 200 }, { "127.0.0.1", 200 },
        { "127.9.9.9:1", 200 }, { "[::1]", 200 }, { "[::1]:9180", 200 }, { "evil.example", 421 },
        { "evil.example:9180", 421 }, { "localhost.evil.example", 421 }, { "10.0.0.1", 421 },
        { "127.0.0.1.evil.example", 421 }, { "[::2]", 421 }, { "::1", 421 }, { "[::1", 421 },
        { "localhost:evil", 421 }, { "127.0.0.1:80x", 421 }, { "[::1]:x", 421 }, { "[::1]9", 421 },
        { "localhost:", 200 }, { "[127.0.0.1]", 421 }, { "[localhost]", 421 }, { ":9180", 421 }, { "[]", 421 },
        { "a-name-that-is-longer-than-sixty-four-bytes-and-still-goes-on-and-on", 421 },
    };
    admin_open_with(tcp);
    T_CHECK(port_stats().admin_port > 0 && port_stats().port == 0);
    const int fd = visitor_from(1);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char request[200];
        (void)snprintf(request, sizeof request, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", row[i].name);
        if (status_of(ask(fd, request)) != row[i].status) { T_EQ_STR(port_heard, row[i].name); }
    }
    T_EQ_I64(status_of(ask(fd, "GET / HTTP/1.0\r\n\r\n")), 421); /* a browser sends a Host */
}

#define WITH(coded) "GET /metrics HTTP/1.1\r\nHost: any.example\r\nAuthorization: " coded "\r\n\r\n"

T_CASE(password_guards_all_pages_but_health)
{
    /* "me:sixteen bytes or more", ":sixteen bytes or more", "me:wrong", "no colon" */
    static const char good[] = WITH("Basic bWU6c2l4dGVlbiBieXRlcyBvciBtb3Jl");
    static const char other[] = WITH("bASIC OnNpeHRlZW4gYnl0ZXMgb3IgbW9yZQ==");
    static const char *const none[] = { GET("/"), GET("/metrics"), GET("/stats.json"), GET("/x"),
                                        WITH("Basic"), WITH("Basic bm8gY29sb24="),
                                        WITH("Bearer x") };
    admin_open_with(tcp_guarded);
    const int fd = visitor_from(1);
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        T_EQ_I64(status_of(ask(fd, none[i])), 401);
        T_CHECK(has(port_heard, "\r\nWWW-Authenticate: Basic realm=\"cellar\"\r\n"));
    }
    T_EQ_U64(port_stats().auth_failures, 0);
    T_EQ_I64(status_of(ask(fd, good)), 200);
    T_EQ_I64(status_of(ask(fd, other)), 200);
    T_EQ_I64(status_of(ask(fd, GET("/healthz"))), 200);
    for (int i = 0; i < 10; i++) {
        T_EQ_STR(ask(fd, WITH("Basic bWU6d3Jvbmc=")), "");
        port_pass(250);
        bool closed;
        T_EQ_I64(status_of(hear(fd, &closed)), 401);
    }
    T_EQ_U64(port_stats().auth_failures, 10);
    T_EQ_I64(status_of(ask(fd, good)), 200); /* one wrong password, ten times */
    close(fd);
    T_EQ_I64(status_of(ask(visitor_from(1), GET("/readyz"))), 200);
}

static void alone(cellar_resp_config *o) { o->unix_path = NULL; }

T_CASE(pages_need_no_port)
{
    struct stat st;
    admin_open_with(alone);
    T_EQ_I64(lstat(admin_path, &st), 0);
    T_EQ_I64(st.st_mode & 0777, 0600);
    T_EQ_I64(fetch(GET("/")), 200);
}

/* ---- wrong passwords ---- */

#define RIGHT "AUTH \"" PORT_PASSWORD "\"\r\n"
#define WRONG "-WRONGPASS invalid username-password pair or user is disabled."
#define DELAYED WRONG " Too many wrong passwords from this address: AUTH waits for its turn.\r\n"
#define OF_PAGE(coded) WITH("Basic " coded)
#define PAGE OF_PAGE("bWU6c2l4dGVlbiBieXRlcyBvciBtb3Jl") /* me:PORT_PASSWORD */
#define TURN_MS 100

static void guarded(cellar_resp_config *o)
{
    host = *o->host;
    host.log = listen_to;
    said[0] = '\0';
    o->host = &host;
    o->password = PORT_PASSWORD;
    o->admin = "127.0.0.1:0";
    o->port = CELLAR_RESP_PORT_ANY;
    o->listen = "127.0.0.1";
}

/* Give a password that no one gave before. */
static const char *guess(int fd)
{
    static uint32_t number;
    char text[32];
    (void)snprintf(text, sizeof text, "AUTH guess%u\r\n", (unsigned)number++);
    return ask(fd, text);
}

/* Give wrong passwords from an address, each on a connection of its own. */
static void guess_from(uint32_t from, int count, int64_t each_ms)
{
    for (int i = 0; i < count; i++) {
        const int fd = peer_from(from);
        T_EQ_STR(guess(fd), "");
        close(fd);
        port_pass(each_ms);
    }
}

/* Begin the delay of an address. Each password is a line of the log. */
static void guess_ten(uint32_t from) { guess_from(from, 10, 1000); }

T_CASE(wrong_passwords_of_an_address_delay_no_other_client)
{
    port_begin_with(guarded);
    const int before = peer_from(2); /* of the same address: it is in */
    T_EQ_STR(ask(before, RIGHT), "+OK\r\n");
    guess_ten(2);
    const int other = peer_from(1), local = peer();
    T_EQ_STR(ask(other, RIGHT "PING\r\n"), "+OK\r\n+PONG\r\n");
    T_EQ_STR(ask(local, RIGHT "PING\r\n"), "+OK\r\n+PONG\r\n");
    T_EQ_STR(ask(before, RIGHT "PING\r\n"), "+OK\r\n+PONG\r\n");
    T_EQ_I64(status_of(ask(visitor_from(1), PAGE)), 200);
    T_EQ_U64(port_stats().rejected, 0);
}

T_CASE(right_password_is_let_in_within_the_delay)
{
    port_begin_with(guarded);
    guess_ten(2);
    const int fd = peer_from(2), web = visitor_from(2);
    T_EQ_STR(ask(fd, RIGHT "PING\r\n"), "");
    T_EQ_STR(ask(web, PAGE), "");
    port_pass(TURN_MS);
    T_EQ_STR(ask(fd, ""), "+OK\r\n+PONG\r\n");
    T_EQ_STR(ask(web, ""), "");
    port_pass(TURN_MS);
    T_EQ_I64(status_of(ask(web, "")), 200);
    T_EQ_I64(status_of(ask(web, PAGE)), 200); /* it is known now */
}

T_CASE(wrong_password_within_the_delay_closes_its_connection)
{
    bool closed;
    port_begin_with(guarded);
    guess_ten(2);
    const int fd = peer_from(2), web = visitor_from(2);
    T_EQ_STR(guess(fd), "");
    T_EQ_STR(ask(web, OF_PAGE("bWU6d3Jvbmc=")), ""); /* me:wrong */
    port_pass(TURN_MS - 1);
    T_EQ_STR(ask(fd, RIGHT), "");
    port_pass(1);
    T_EQ_STR(hear(fd, &closed), DELAYED);
    T_CHECK(closed);
    port_pass(TURN_MS);
    T_CHECK(status_of(hear(web, &closed)) == 401 && closed);
    T_CHECK(strstr(port_heard, "Connection: close\r\n") != NULL);
}

/* 40 connections guess as fast as the port lets them, and come again when they are closed. */
T_CASE(more_connections_make_no_more_guesses)
{
    enum { CONNECTIONS = 40, MS = 6000, STEP_MS = 10 };
    int fd[CONNECTIONS];
    uint32_t answers = 0;
    bool closed;
    port_begin_with(guarded);
    for (int i = 0; i < CONNECTIONS; i++) {
        fd[i] = peer_from(2);
        (void)guess(fd[i]);
    }
    const int friend = peer_from(2);
    T_EQ_STR(ask(friend, RIGHT), "");
    for (int ms = 0; ms < MS; ms += STEP_MS) {
        atomic_fetch_add(&api_now_ms, STEP_MS);
        (void)cellar_resp_step(port, 0);
        for (int i = 0; i < CONNECTIONS; i++) {
            if (recv(fd[i], port_heard, 1, MSG_PEEK) <= 0) { continue; }
            if (strncmp(hear(fd[i], &closed), "-WRONGPASS", 10) == 0) { answers++; }
            if (closed) {
                close(fd[i]);
                fd[i] = peer_from(2);
            }
            (void)guess(fd[i]);
        }
    }
    printf("# %u answers to guesses in 6 s\n", (unsigned)answers);
    T_CHECK(answers <= 10 + MS / TURN_MS);
    T_EQ_STR(ask(friend, "PING\r\n"), "+OK\r\n+PONG\r\n");
}

/* Programs that still have the old password after a change of it. */
T_CASE(old_password_delays_no_new_one)
{
    port_begin_with(guarded);
    for (int i = 0; i < 200; i++) {
        const int fd = peer();
        T_EQ_STR(ask(fd, i % 2 == 0 ? "AUTH old\r\n" : "AUTH older\r\n"), "");
        close(fd);
        port_pass(i < 2 ? 1000 : 250);
    }
    T_EQ_U64(port_stats().auth_failures, 200);
    T_EQ_STR(ask(peer(), RIGHT), "+OK\r\n");
    T_EQ_I64(lines_with("wrong password from unix:"), 2); /* in 51.5 s */
}

T_CASE(delay_lasts_a_minute_and_is_one_line_of_the_log)
{
    port_begin_with(guarded);
    guess_from(2, 30, 1000);
    T_EQ_I64(lines_with("wrong password from 127.0.0.2:"), 9);
    T_EQ_I64(lines_with("10 wrong passwords from 127.0.0.2 within a minute: until "), 1);
    T_EQ_I64(lines_with("\n"), 10);
    port_pass(60000);
    T_EQ_STR(ask(peer_from(2), RIGHT), "+OK\r\n");
    guess_ten(2);
    T_EQ_I64(lines_with("10 wrong passwords from 127.0.0.2 within a minute: until "), 2);
}

T_CASE(ten_wrong_passwords_over_more_than_a_minute_begin_no_delay)
{
    port_begin_with(guarded);
    guess_from(2, 12, 7000);
    T_EQ_STR(ask(peer_from(2), RIGHT), "+OK\r\n");
}

/* More addresses than the port remembers: the one that was silent longest is forgotten. */
T_CASE(addresses_beyond_the_table_are_served)
{
    port_begin_with(guarded);
    guess_ten(2);
    for (uint32_t i = 3; i < 66; i++) { guess_from(i, 1, 10); }
    const int fd = peer_from(2);
    T_EQ_STR(ask(fd, RIGHT), ""); /* 64 addresses: it is remembered */
    close(fd);
    T_EQ_STR(guess(peer_from(66)), "");
    T_EQ_STR(ask(peer_from(2), RIGHT), "+OK\r\n");
}

/* Visitors that wait for answers to wrong passwords take no place of the pages. */
T_CASE(visitors_with_wrong_passwords_yield_their_places)
{
    port_begin_with(guarded);
    for (int i = 0; i < 16; i++) { T_EQ_STR(ask(visitor_from(2), OF_PAGE("bWU6d3Jvbmc=")), ""); }
    T_EQ_I64(status_of(ask(visitor_from(1), PAGE)), 200);
}

T_ONE_THREAD;
T_MAIN("resp_admin")
