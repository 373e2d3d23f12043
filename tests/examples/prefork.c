/* SPDX-License-Identifier: MIT
 *
 * prefork: an HTTP server with four workers that share one cache, without a Redis.
 *
 * The master holds the shared cache, and opens a port for its workers. A worker opens a store of
 * its own after the fork, and attaches it to the port. From then on a page is rendered once for all
 * workers, and a POST deletes it for all. A worker that dies is started again; its pages stay. If
 * the master dies, its workers end, and the next master begins with an empty cache. Limiters and
 * locks use the same link: cellar_remote_limiter_open, cellar_remote_lock_acquire.
 *
 * In the folder of this project, after `make`:
 *     cc -O2 tests/examples/prefork.c -Iinclude build/libcellar.a -pthread
 * With the drop-in, after `make dist`:
 *     cc -O2 tests/examples/prefork.c dist/cellar_all.c -Idist -Idist/include -pthread -lm
 *     ./a.out FOLDER
 *     curl -i --unix-socket FOLDER/http.sock http://localhost/a    the page "/a: page 1 by 4711"
 *
 * A page names the worker that rendered it: ask a few times, and all workers have the same. FOLDER
 * is for two sockets, and no other user may write it. Both sockets are for this user alone. A
 * server that others can reach has to ask for a token before it accepts a POST.
 *
 * The master starts workers again while its port has a thread. A child uses malloc and stdio then,
 * which glibc and musl allow. In your program, replace database_page by your query, and http.h by
 * your server. */
#include <string.h>

#include "cellar_load.h"
#include "cellar_remote.h"
#include "cellar_resp.h"
#include "http.h"

static char url[128]; /* of the port */

/* Render a page: once for all workers that wait for it. */
static cellar_err render(cellar_load *load, const void *path, size_t path_len, void *db)
{
    char page[DATABASE_PAGE_MAX];
    const int len = database_page(db, page, path, path_len);
    if (len < 0) { return CELLAR_E_IO; }
    return len > 0 ? cellar_load_value(load, page, (size_t)len) : cellar_load_absent(load);
}

/* Send a page from the cache. A missing one is rendered first, and after a POST each is missing. */
static void answer(const http_request *q, cellar *pages)
{
    cellar_result r = cellar_result_default();
    cellar_err err = CELLAR_OK;
    if (strcmp(q->method, "POST") == 0) { err = cellar_delete(pages, q->path, q->path_len); }
    if (err >= 0) { /* DEFERRED as well: the port is away, and hears of the delete later */
        err = cellar_get_or_load(pages, q->path, q->path_len, NULL, render, NULL, &r);
    }
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
    cellar *pages; /* opened after the fork, as all that a child uses */
    cellar_remote *link;
    http_must(cellar_open(NULL, &pages));
    http_must(cellar_remote_open(pages, url, NULL, &link));
    http_must(cellar_remote_attach(link, pages, NULL)); /* renders for itself until it is linked */
    http_serve(listener, "GET, HEAD, POST", answer, pages);
    cellar_remote_close(link);
    return cellar_close(pages) == CELLAR_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    cellar_resp_config o = cellar_resp_config_default();
    cellar *store; /* of the master: no child uses it */
    cellar_resp *port;
    snprintf(url, sizeof url, "unix://%s/cache.sock?prefix=app", http_folder(argc, argv));
    const int listener = http_listen_unix("http.sock");
    o.unix_path = "cache.sock";
    o.shared_bytes = 256u << 20; /* for the entries that the workers share */
    http_must(cellar_open(NULL, &store));
    http_must(cellar_resp_open(store, &o, &port));
    http_must(cellar_resp_start(port));
    const int failed = http_workers(listener, worker);
    cellar_resp_close(port);
    return cellar_close(store) == CELLAR_OK ? failed : 1;
}
