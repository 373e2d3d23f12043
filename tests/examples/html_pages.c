/* SPDX-License-Identifier: MIT
 *
 * html_pages: keep HTML pages in front of a database, and delete the pages that a change concerns.
 *
 * Each page shows a user and the title of the user's team. A team may have a thousand users, so a
 * change of its title concerns a thousand pages. The program need not know which: each page has the
 * tag of its team, "team:1". One call deletes all pages with that tag.
 *
 * A name that the database does not have is remembered as absent for a minute, so that requests for
 * it do not reach the database. The INSERT of a user deletes that, too. If the program misses a
 * change, a page is rendered again after 10 minutes. While the database fails, readers get the old
 * page for another hour.
 *
 * Delete after the commit. A load that runs at that moment may have read the old row: its callers
 * get that page, but the cache does not keep it.
 *
 * In the folder of this project, after `make`:
 *     cc -O2 tests/examples/html_pages.c -Iinclude build/libcellar.a -lsqlite3 -pthread && ./a.out
 * With the drop-in, after `make dist`:
 *     cc -O2 tests/examples/html_pages.c dist/cellar.c -Idist -Idist/include -lsqlite3 -pthread
 *     ./a.out
 *
 * Each line of the output is a request: the name, whether a query or the cache gave the page, the
 * code of the call, and the page. OK and STALE are pages, ABSENT is 404, other codes are 503. In
 * your program, replace html_parts.h and `page_render`. Limit the length of a name before the call.
 * With several threads, give each load a connection to the database of its own. */
#include "cellar_invalidate.h"
#include "cellar_load.h"
#include "cellar_observe.h"
#include "html_parts.h"

static void die(cellar *pages)
{
    cellar_error_info why = cellar_error_info_default();
    cellar_last_error(pages, &why);
    errx(1, "%s", why.text); /* call, argument, rule and remedy */
}

static cellar_err page_write(cellar_load *load, sqlite3_stmt *row)
{
    const cellar_bytes tag = { sqlite3_column_text(row, 0), (size_t)sqlite3_column_bytes(row, 0) };
    cellar_set_opts o = cellar_set_opts_default();
    cellar_buf *const html = cellar_load_buf(load);
    o.tags = &tag;
    o.tag_count = 1;
    html_append(html, sqlite3_column_text(row, 1));
    cellar_buf_append(html, "<p>", 3);
    html_append(html, sqlite3_column_text(row, 2));
    return cellar_load_opts_set(load, &o);
}

static cellar_err page_render(cellar_load *load, const void *name, size_t name_len, void *db)
{
    sqlite3_stmt *row;
    cellar_err err = CELLAR_E_IO; /* of the database */
    const int found = db_select_user(db, name, name_len, &row);
    if (found == SQLITE_ROW) { err = page_write(load, row); }
    if (found == SQLITE_DONE) { err = cellar_load_absent(load); }
    sqlite3_finalize(row);
    return err;
}

static void show(cellar *pages, const char *name, sqlite3 *db)
{
    cellar_result r = cellar_result_default();
    const cellar_err err = cellar_get_or_load(pages, name, strlen(name), NULL, page_render, db, &r);
    const char *const source = r.source == CELLAR_SOURCE_LOADED ? "query" : "cache";
    printf("%s: %s %s %.*s\n", name, source, cellar_code_name(err), (int)r.value_len,
           r.value != NULL ? (const char *)r.value : "");
    cellar_result_free(&r);
}

int main(void)
{
    static const char *const names[] = { "ada", "ada", "bob", "<b>", "<b>", "ada", "bob", "<b>" };
    sqlite3 *const db = db_open();
    cellar_config cfg = cellar_config_default();
    cellar *pages;
    cfg.default_ttl_ms = 10 * 60 * 1000;
    cfg.stale_ms = 60 * 60 * 1000;
    if (cellar_open(&cfg, &pages) != CELLAR_OK) { die(NULL); }
    for (int i = 0; i < 5; i++) { show(pages, names[i], db); }
    db_run(db, "UPDATE team SET title = 'green' WHERE id = 1");
    if (cellar_delete_by_tag(pages, "team:1", 6, CELLAR_TAG_HARD) < 0) { die(pages); }
    db_run(db, "INSERT INTO user VALUES ('<b>', 2)");
    if (cellar_delete(pages, "<b>", 3) < 0) { die(pages); }
    for (int i = 5; i < 8; i++) { show(pages, names[i], db); }
    sqlite3_close(db);
    return cellar_close(pages) == CELLAR_OK ? 0 : 1;
}
