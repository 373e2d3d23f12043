/* SPDX-License-Identifier: MIT
 *
 * service: a cache server with what it needs in production: a log, metrics, and an orderly end.
 *
 * The library writes its failures and losses to stderr, a line for each. GET /metrics sends the
 * figures of the store, as Prometheus reads them. Each other path is a page: it is rendered once,
 * also if many visitors ask at the same time, and it is fresh for ten minutes.
 *
 * SIGTERM ends the server. It takes no further clients, finishes the answers that are being made,
 * and closes the store. The close writes the pages to the folder, so that the next start has them.
 * It returns DROPPED if some pages are not on disk, and E_BUSY if a loader still runs: the server
 * ends with status 1 then. If the folder cannot be used, for example because another server uses
 * it, the log says so, and the pages are in memory alone.
 *
 * In the folder of this project, after `make`:
 *     cc -O2 tests/examples/service.c -Iinclude build/libcellar.a -pthread
 * With the drop-in, after `make dist`:
 *     cc -O2 tests/examples/service.c dist/cellar.c -Idist -Idist/include -pthread
 *     ./a.out 8080 pages.cache
 *     curl http://127.0.0.1:8080/a          the page "/a: page 1 by 4711"
 *     curl http://127.0.0.1:8080/slow       takes a second: ask in several terminals at a time
 *     curl http://127.0.0.1:8080/metrics    cellar_hits_total, cellar_misses_total, ..
 *     kill 4711                             and start it again: /a is still page 1 by 4711
 *
 * The arguments are the port, 0 for a free one, and the folder, which may be missing. Keep /metrics
 * away from visitors. http_server.c limits visitors, and sends old pages while new ones render. In
 * your program, replace database_page by your query, and http.h by your server. */
#include "cellar_admin.h"
#include "cellar_l2.h"
#include "cellar_load.h"
#include "cellar_observe.h"
#include "http.h"

static void line(cellar_log_level l, const char *module, cellar_err err, const char *text, void *to)
{
    fprintf(to, "cellar: level %d, %s, code %d: %s\n", (int)l, module, (int)err, text);
}

static cellar_err render(cellar_load *load, const void *path, size_t path_len, void *db)
{
    char page[DATABASE_PAGE_MAX];
    const int len = database_page(db, page, path, path_len);
    if (len < 0) { return CELLAR_E_IO; }
    return len > 0 ? cellar_load_value(load, page, (size_t)len) : cellar_load_absent(load);
}

static void metrics_send(const http_request *q, cellar *pages)
{
    char text[32768]; /* too small: E_BUFFER, and a 503. Each namespace adds lines */
    size_t len;
    const cellar_err err = cellar_metrics_write(pages, text, sizeof text, &len);
    if (err == CELLAR_OK) { http_send(q, "200 OK", "", text, len); }
    else { http_failed(q, err); }
}

static void answer(const http_request *q, cellar *pages)
{
    if (strcmp(q->path, "/metrics") == 0) {
        metrics_send(q, pages);
        return;
    }
    cellar_result r = cellar_result_default();
    const cellar_err err = cellar_get_or_load(pages, q->path, q->path_len, NULL, NULL, NULL, &r);
    if (err == CELLAR_OK) { http_page(q, "fresh", r.value, r.value_len); }
    else if (err == CELLAR_ABSENT) { http_status(q, "404 Not Found"); }
    else { http_retry(q, "503 Service Unavailable", r.retry_after_ms); }
    cellar_result_free(&r);
}

int main(int argc, char **argv)
{
    cellar_host_config host = cellar_host_config_default();
    cellar_l2_config disk = cellar_l2_config_default();
    cellar_namespace_config root = cellar_namespace_config_default();
    cellar_config cfg = cellar_config_default();
    cellar *pages;
    const int listener = http_listen(http_number(argc, argv, 1, 0));
    host.log = line; /* from level WARNING on, in any thread; it must not call the store */
    host.log_ctx = stderr;
    disk.optional = 1; /* without its folder the server starts, and is slower */
    root.loader = render;
    cfg.root = &root;
    cfg.host = &host;
    cfg.l2 = &disk;
    cfg.l2_path = argc > 2 ? argv[2] : "pages.cache";
    cfg.l2_bytes = 64 << 20;
    cfg.default_ttl_ms = 10 * 60 * 1000;
    http_must(cellar_open(&cfg, &pages));
    http_serve(listener, "GET, HEAD", answer, pages);
    http_must(cellar_close(pages)); /* DROPPED, E_BUSY: a line on stderr, and status 1 */
    return 0;
}
