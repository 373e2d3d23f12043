/* SPDX-License-Identifier: MIT
 *
 * http_server: a POST makes all pages old; a program accepts it only with a password. An old page is
 * sent while a thread of the store renders the new one, and for an hour if that fails: if render,
 * which queries and computes in a program, returns CELLAR_E_IO. An address has 6 requests an hour,
 * then 429. More threads may accept: each call here is for any thread.
 *
 *     cc -O2 http_server.c -lcellar -pthread;   ./a.out 8080;   curl -i http://127.0.0.1:8080/ */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "cellar_invalidate.h"
#include "cellar_limit.h"
#include "cellar_load.h"

static cellar_err render(cellar_load *load, const void *path, size_t path_len, void *ctx)
{
    cellar_set_opts o = cellar_set_opts_default();
    o.tags = &(cellar_bytes){ "site", 4 }, o.tag_count = 1, (void)ctx;
    if (path_len == 5 && memcmp(path, "/none", 5) == 0) { return cellar_load_absent(load); }
    return cellar_load_opts_set(load, &o) ? CELLAR_E_IO : cellar_load_value(load, path, path_len);
}

static void answer(int fd, cellar *pages, cellar_limiter *clients, const struct in_addr *client)
{
    char in[2000] = "", path[256], lines[256]; /* a longer path, which would be cut: no answer */
    cellar_limiter_result limit;
    cellar_result page = cellar_result_default();
    if (read(fd, in, sizeof in - 1) <= 0 ||
        sscanf(in, "%*s %255s HTTP/%9[0-9.]", path, lines) != 2) { return; }
    if (cellar_limiter_check(clients, client, sizeof *client, 1, &limit) == CELLAR_LIMITED) {
        cellar_limiter_headers_write(clients, &limit, CELLAR_HEADERS_RETRY_AFTER, lines, 256, NULL);
        dprintf(fd, "HTTP/1.0 429 Too Many Requests\r\n%s\r\n", lines);
    } else if (strncmp(in, "POST ", 5) == 0) {
        cellar_delete_by_tag(pages, "site", 4, CELLAR_TAG_SOFT);
        dprintf(fd, "HTTP/1.0 204 No Content\r\n\r\n");
    } else {
        const int e = cellar_get_or_load(pages, path, strlen(path), NULL, NULL, NULL, &page);
        dprintf(fd, "HTTP/1.0 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n"
                "X-Cache: %s\r\n\r\n%.*s", e == CELLAR_ABSENT ? "404 Not Found" : e == CELLAR_OK ||
                e == CELLAR_STALE ? "200 OK" : "502 Bad Gateway", page.value_len,
                e == CELLAR_STALE ? "old" : "fresh", /* text/html: escape the path in render */
                strncmp(in, "HEAD ", 5) == 0 ? 0 : (int)page.value_len, (const char *)page.value);
        cellar_result_free(&page);
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t len = sizeof at;
    const cellar_rule rule = cellar_rule_sliding_log(6, 60 * CELLAR_MINUTE_NS);
    const struct timeval most = { .tv_sec = 5 }; /* a silent client holds the others so long */
    cellar_namespace_config root = cellar_namespace_config_default();
    cellar_config cfg = cellar_config_default();
    cellar_limiter *clients;
    cellar *pages;
    root.loader = render, root.stale_ms = 3600000, cfg.root = &root;
    at.sin_port = htons((uint16_t)(argc > 1 ? atoi(argv[1]) : 0)); /* 0: a free one */
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    signal(SIGPIPE, SIG_IGN); /* a client may leave before its answer */
    if (bind(listener, (struct sockaddr *)&at, len) != 0 || listen(listener, 99) != 0 ||
        getsockname(listener, (struct sockaddr *)&at, &len) != 0 ||
        cellar_limiter_open(NULL, &rule, 1, &clients) || cellar_open(&cfg, &pages)) { return 1; }
    printf("http://127.0.0.1:%d/\n", ntohs(at.sin_port));
    for (int fd = fflush(stdout);; close(fd)) {
        fd = accept(listener, (struct sockaddr *)&at, &len);
        if (fd < 0) { usleep(10000); continue; } /* the client left, or descriptors are short */
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);
        answer(fd, pages, clients, &at.sin_addr);
    }
}
