/* SPDX-License-Identifier: MIT
 *
 * fork_server: an HTTP server with four workers, each of which has a cache of its own.
 *
 * A child of a fork cannot use the cache of its parent: each call returns CELLAR_E_FORKED. So the
 * master of this server opens none, and a worker opens its cache after the fork. A worker renders a
 * page once, and again after a minute. An old page is sent while a thread of the store renders the
 * new one. Each worker has its own budget of memory: set memory_bytes to a quarter of what there is
 * for all. With a disk tier each worker needs an l2_path of its own. In prefork.c the workers share
 * one cache.
 *
 * In the folder of this project, after `make`:
 *     cc -O2 tests/examples/fork_server.c -Iinclude build/libcellar.a -pthread
 * With the drop-in, after `make dist`:
 *     cc -O2 tests/examples/fork_server.c dist/cellar.c -Idist -Idist/include -pthread
 *     ./a.out pages.sock
 *     curl -i --unix-socket pages.sock http://localhost/a    the page "/a: page 1 by 4711"
 *
 * A page names the worker that rendered it: ask a few times, and each worker has its own. The
 * arguments are the path of the socket, and the milliseconds for which a page is fresh. A program
 * that becomes a daemon opens its cache after daemon() for the same reason. In your program,
 * replace database_page by your query, and http.h by your server. */
#include "cellar_load.h"
#include "http.h"

static long ttl_ms;

/* Render a page: once for all threads of a worker that wait for it. */
static cellar_err render(cellar_load *load, const void *path, size_t path_len, void *db)
{
    char page[DATABASE_PAGE_MAX];
    const int len = database_page(db, page, path, path_len);
    if (len < 0) { return CELLAR_E_IO; }
    return len > 0 ? cellar_load_value(load, page, (size_t)len) : cellar_load_absent(load);
}

/* Send a page from the cache of this worker. A missing one is rendered first. */
static void answer(const http_request *q, cellar *pages)
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

/* Serve requests in a child. Return its status. */
static int worker(int listener)
{
    cellar_namespace_config root = cellar_namespace_config_default();
    cellar_config cfg = cellar_config_default();
    cellar *pages;
    root.loader = render;
    root.stale_ms = 3600000;
    cfg.root = &root;
    cfg.default_ttl_ms = ttl_ms;
    http_must(cellar_open(&cfg, &pages)); /* here: after the fork */
    http_serve(listener, "GET, HEAD", answer, pages);
    return cellar_close(pages) == CELLAR_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    const int listener = http_listen_unix(argc > 1 ? argv[1] : "pages.sock");
    ttl_ms = http_number(argc, argv, 2, 60000);
    return http_workers(listener, worker);
}
