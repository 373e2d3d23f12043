/* SPDX-License-Identifier: MIT
 *
 * http_server: an HTTP server that renders each page once, and limits each visitor.
 *
 * The first visitor of a page waits until it is rendered. The page is fresh for a minute. After
 * that minute the next visitor gets the old page, and a thread of the store renders the new one
 * meanwhile. If the database is down, visitors get old pages for another hour. A page that was
 * never rendered is a 503 then, and the database is asked once a second, later more rarely. An
 * address may send 100 requests in any minute. The next one is a 429 with Retry-After.
 *
 * In the folder of this project, after `make`:
 *     cc -O2 tests/examples/http_server.c -Iinclude build/libcellar.a -pthread
 * With the drop-in, after `make dist`:
 *     cc -O2 tests/examples/http_server.c dist/cellar.c -Idist -Idist/include -pthread
 *     ./a.out 8080
 *     curl -i http://127.0.0.1:8080/        200, X-Cache: fresh, the page "/: page 1 by 4711"
 *     curl -i http://127.0.0.1:8080/none    404: the database has no such page
 *     curl -i http://127.0.0.1:8080/down    503, Retry-After: the database is down
 *     curl -i http://127.0.0.1:8080/slow    takes a second: in several terminals, one page for all
 *
 * The arguments are the port, 0 for a free one, and the milliseconds for which a page is fresh. In
 * your program, replace database_page by your query, and http.h by your server. http.h calls
 * `answer` in a thread for each client. service.c shows a log, metrics and the end of a server. */
#include "cellar_limit.h"
#include "cellar_load.h"
#include "http.h"

static cellar_limiter *visits; /* at most 100 a minute for each address */

/* Render a page: once for all visitors that wait for it. */
static cellar_err render(cellar_load *load, const void *path, size_t path_len, void *db)
{
    char page[DATABASE_PAGE_MAX];
    const int len = database_page(db, page, path, path_len);
    if (len < 0) { return CELLAR_E_IO; }
    return len > 0 ? cellar_load_value(load, page, (size_t)len) : cellar_load_absent(load);
}

/* Send a page from the cache. A missing one is rendered first. */
static void page_send(const http_request *q, cellar *pages)
{
    cellar_result r = cellar_result_default();
    const cellar_err err = cellar_get_or_load(pages, q->path, q->path_len, NULL, NULL, NULL, &r);
    if (err == CELLAR_OK || err == CELLAR_STALE) {
        http_page(q, err == CELLAR_OK ? "fresh" : "old", r.value, r.value_len);
    } else if (err == CELLAR_ABSENT) {
        http_status(q, "404 Not Found");
    } else {
        http_retry(q, "503 Service Unavailable", r.retry_after_ms);
    }
    cellar_result_free(&r);
}

static void answer(const http_request *q, cellar *pages)
{
    cellar_limiter_result r;
    const cellar_err err = cellar_limiter_check(visits, &q->address, sizeof q->address, 1, &r);
    if (err == CELLAR_OK) {
        page_send(q, pages);
    } else if (err == CELLAR_LIMITED) {
        http_retry(q, "429 Too Many Requests", (int64_t)(r.retry_after_ns / 1000000));
    } else {
        http_failed(q, err); /* no decision: not the fault of the visitor, and no visit for free */
    }
}

int main(int argc, char **argv)
{
    const cellar_rule rule = cellar_rule_sliding_log(100, CELLAR_MINUTE_NS);
    cellar_load_opts load = cellar_load_opts_default();
    cellar_namespace_config root = cellar_namespace_config_default();
    cellar_config cfg = cellar_config_default();
    cellar *pages;
    const int listener = http_listen(http_number(argc, argv, 1, 0));
    load.error_ttl_ms = 1000; /* the pause after a failure; it doubles with each further one */
    root.load = &load;
    root.loader = render;
    root.stale_ms = 3600000;
    cfg.root = &root;
    cfg.default_ttl_ms = http_number(argc, argv, 2, 60000);
    http_must(cellar_limiter_open(NULL, &rule, 1, &visits));
    http_must(cellar_open(&cfg, &pages));
    http_serve(listener, "GET, HEAD", answer, pages);
    cellar_limiter_close(visits);
    return cellar_close(pages) == CELLAR_OK ? 0 : 1;
}
