/* SPDX-License-Identifier: MIT
 *
 * http_server: pages, rendered once. A POST with the token makes all of them stale. A stale page is
 * sent while a thread of the store renders the new one, and for an hour if that fails. An address
 * has 100 requests a minute, charged before they are read, and 9 wrong tokens an hour; behind a
 * proxy take the address from its header line. One client at a time is served, and has 5 seconds
 * for its request. More threads may accept: each call of cellar here is for any thread. SIGTERM
 * ends the server after the answer that is being sent, and closes all that it opened.
 *
 *     cc -O2 http_server.c -lcellar -pthread
 *     drop-in: cc -O2 http_server.c dist/cellar.c -Idist -Idist/include -pthread
 *     TOKEN=secret ./a.out 8080;   curl -i http://127.0.0.1:8080/ */
#define _GNU_SOURCE 1 /* strcasestr */
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "cellar_invalidate.h"
#include "cellar_limit.h"
#include "cellar_load.h"

/* ---- Sockets and heads: nothing of cellar --------------------------------------------------- */

/* Return a descriptor that is readable after SIGTERM. Call it before any thread starts. */
static int sigterm_open(void)
{
    sigset_t heard;
    sigemptyset(&heard);
    sigaddset(&heard, SIGTERM);
    sigprocmask(SIG_BLOCK, &heard, NULL);
    return signalfd(-1, &heard, SFD_CLOEXEC);
}

static int port_open(int port)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                              .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t len = sizeof at;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    const int yes = 1; /* a restart finds the port free */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        bind(fd, (struct sockaddr *)&at, len) != 0 || listen(fd, 99) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &len) != 0) {
        perror("port");
        exit(1);
    }
    signal(SIGPIPE, SIG_IGN); /* a client may leave before its answer */
    printf("http://127.0.0.1:%d/\n", ntohs(at.sin_port)); /* for port 0: a free one */
    fflush(stdout);
    return fd;
}

/* Serve one client after the other until SIGTERM. */
static void serve(int port, int sigterm, void (*answer)(int fd, const struct in_addr *client))
{
    const struct timeval most = { .tv_sec = 5 }; /* of a client that does not read its answer */
    struct pollfd in[2] = { { port, POLLIN, 0 }, { sigterm, POLLIN, 0 } };
    while (poll(in, 2, -1) < 0 || in[1].revents == 0) {
        struct sockaddr_in client;
        socklen_t len = sizeof client;
        const int fd = accept(port, (struct sockaddr *)&client, &len);
        if (fd < 0) { usleep(10000); continue; } /* the client left, or descriptors are short */
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);
        answer(fd, &client.sin_addr);
        close(fd);
    }
    close(port);
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

typedef struct request {
    char head[2000], method[16], path[256];
} request;

/* Read a head, in one part or more. Return false if it is no head, too long or too slow. A close
 * with unread bytes resets the connection, and the client may lose its answer. */
static bool request_read(int fd, int most_ms, request *q)
{
    struct pollfd in = { .fd = fd, .events = POLLIN };
    const int64_t end_ms = now_ms() + most_ms;
    char *end = NULL, version[2];
    *q = (request){ "", "", "" };
    for (size_t len = 0; end == NULL && len < sizeof q->head - 1;) {
        const int64_t left_ms = end_ms - now_ms();
        if (left_ms <= 0 || poll(&in, 1, (int)left_ms) <= 0) { return false; }
        const ssize_t n = read(fd, q->head + len, sizeof q->head - 1 - len);
        if (n <= 0) { return false; }
        q->head[len += (size_t)n] = '\0';
        end = strstr(q->head, "\r\n\r\n");
    }
    if (end == NULL) { return false; }
    end[2] = '\0'; /* what follows is the body: no header line */
    return sscanf(q->head, "%15s %255s HTTP/%1s", q->method, q->path, version) == 3;
}

/* Look for the token of the environment in a head. Without a token no request may change pages. All
 * bytes are compared: the time of an answer does not tell how many of a guess are right. */
static bool may_change(const char *head)
{
    static const char name[] = "\r\nAuthorization: Bearer ";
    const char *const token = getenv("TOKEN"), *const line = strcasestr(head, name);
    if (token == NULL || *token == '\0' || line == NULL) { return false; }
    const char *const given = line + sizeof name - 1;
    const size_t len = strlen(token), given_len = strcspn(given, "\r");
    int differs = given_len != len;
    for (size_t i = 0; i < given_len; i++) { differs |= given[i] ^ token[i % len]; }
    return differs == 0;
}

/* ---- Limits --------------------------------------------------------------------------------- */

static cellar_limiter *visits, *guesses;

static void die(void)
{
    cellar_error_info why = cellar_error_info_default();
    cellar_last_error(NULL, &why); /* of the open that failed */
    fprintf(stderr, "%s\n", why.text);
    exit(1);
}

static void limits_open(void)
{
    const cellar_rule all = cellar_rule_sliding_log(100, CELLAR_MINUTE_NS);
    const cellar_rule wrong = cellar_rule_sliding_log(9, CELLAR_HOUR_NS);
    if (cellar_limiter_open(NULL, &all, 1, &visits) != CELLAR_OK) { die(); }
    if (cellar_limiter_open(NULL, &wrong, 1, &guesses) != CELLAR_OK) { die(); }
}

static void limits_close(void)
{
    cellar_limiter_close(visits);
    cellar_limiter_close(guesses);
}

/* Charge an address. Return LIMITED if it has nothing left, another code without a decision. */
static cellar_err charge(cellar_limiter *limit, const struct in_addr *address, char lines[256])
{
    cellar_limiter_result r;
    const cellar_err err = cellar_limiter_check(limit, address, sizeof *address, 1, &r);
    if (err == CELLAR_LIMITED) {
        cellar_limiter_headers_write(limit, &r, CELLAR_HEADERS_RETRY_AFTER, lines, 256, NULL);
    }
    return err;
}

/* ---- Pages ---------------------------------------------------------------------------------- */

static cellar *pages;
static cellar_err render(cellar_load *load, const void *path, size_t path_len, void *ctx)
{
    cellar_set_opts o = cellar_set_opts_default();
    o.tags = &(cellar_bytes){ "site", 4 }, o.tag_count = 1, (void)ctx;
    if (path_len == 5 && memcmp(path, "/none", 5) == 0) { return cellar_load_absent(load); }
    if (path_len == 5 && memcmp(path, "/down", 5) == 0) { return CELLAR_E_IO; } /* no database */
    if (cellar_load_opts_set(load, &o) != CELLAR_OK) { return CELLAR_E_NOMEM; }
    return cellar_load_value(load, path, path_len); /* as text/html: with the path escaped */
}

static void answer(int fd, const struct in_addr *client)
{
    char lines[256] = "";
    const char *status = "405 Method Not Allowed\r\nAllow: GET, HEAD, POST";
    cellar_result page = cellar_result_default();
    request q;
    cellar_err charged = charge(visits, client, lines);
    const bool good = request_read(fd, charged == CELLAR_OK ? 5000 : 1000, &q); /* for 429, too */
    const bool post = strcmp(q.method, "POST") == 0;
    if (charged == CELLAR_OK && post) { charged = charge(guesses, client, lines); }
    if (charged != CELLAR_OK) { /* without a decision: not the fault of the client */
        status = charged == CELLAR_LIMITED ? "429 Too Many Requests" : "503 Unavailable";
    } else if (!good) {
        status = "400 Bad Request"; /* or a path of more than 255 bytes */
    } else if (post && !may_change(q.head)) {
        status = "401 Unauthorized\r\nWWW-Authenticate: Bearer";
    } else if (post) {
        cellar_limiter_adjust(guesses, client, sizeof *client, -1); /* it was no guess */
        status = cellar_delete_by_tag(pages, "site", 4, CELLAR_TAG_SOFT) == CELLAR_OK ?
                 "204 No Content" : "500 Internal Server Error";
    } else if (strcmp(q.method, "GET") == 0 || strcmp(q.method, "HEAD") == 0) {
        const int e = cellar_get_or_load(pages, q.path, strlen(q.path), NULL, NULL, NULL, &page);
        status = e < 0 ? "503 Unavailable" : e == CELLAR_ABSENT ? "404 Not Found" : "200 OK";
        snprintf(lines, sizeof lines, "Content-Type: text/plain\r\nContent-Length: %zu\r\n"
                 "X-Cache: %s\r\n", page.value_len, e == CELLAR_STALE ? "old" : "fresh");
        const int retry_s = (int)(page.retry_after_ms / 1000) + 1;
        if (e < 0) { snprintf(lines, sizeof lines, "Retry-After: %d\r\n", retry_s); }
    }
    dprintf(fd, "HTTP/1.0 %s\r\n%s\r\n%.*s", status, lines,
            *q.method == 'H' ? 0 : (int)page.value_len, page.value ? (const char *)page.value : "");
    cellar_result_free(&page);
}

int main(int argc, char **argv)
{
    cellar_load_opts load = cellar_load_opts_default();
    cellar_namespace_config root = cellar_namespace_config_default();
    cellar_config cfg = cellar_config_default();
    const int sigterm = sigterm_open();
    load.error_ttl_ms = 1000; /* a failing page is rendered once a second, then more rarely */
    root.loader = render, root.load = &load, root.stale_ms = 3600000, cfg.root = &root;
    limits_open();
    if (cellar_open(&cfg, &pages) != CELLAR_OK) { die(); }
    serve(port_open(argc > 1 ? atoi(argv[1]) : 0), sigterm, answer);
    limits_close();
    return cellar_close(pages) == CELLAR_OK ? 0 : 1;
}
