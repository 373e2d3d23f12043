/* SPDX-License-Identifier: MIT
 *
 * html_pages: HTML in front of SQLite. Each page has its team as a tag: a change of the team
 * deletes all pages that show it. A user that the database does not have is remembered as absent;
 * an INSERT deletes that. Texts of users are escaped: as they are, they could be scripts. If an
 * invalidation is missed, a page is rendered again after 10 minutes, an absence is asked again
 * after 30 seconds. While the database is down, old pages are sent for another hour.
 *
 *     cc -O2 html_pages.c -lcellar -lsqlite3 -pthread
 *     drop-in: cc -O2 html_pages.c dist/cellar.c -Idist -Idist/include -lsqlite3 -pthread */
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "cellar_invalidate.h"
#include "cellar_load.h"
#include "cellar_observe.h"

static sqlite3 *db;
static cellar *pages;
static void append_escaped(cellar_buf *html, const void *text, size_t len)
{
    for (const char *at = text, *end = at + len; at < end; at++) {
        char out[8];
        const int n = snprintf(out, 8, strchr("<>&\"'", *at) != NULL ? "&#%d;" : "%c", *at);
        cellar_buf_append(html, out, (size_t)n); /* the first error fails the load */
    }
}

static cellar_err render(cellar_load *load, const void *name, size_t name_len, void *ctx)
{
    sqlite3_stmt *row = NULL;
    sqlite3_prepare_v2(ctx, "SELECT 'team:'||id,title FROM user, team WHERE team = id AND name = ?",
                       -1, &row, NULL);
    const int bound = sqlite3_bind_text(row, 1, name, (int)name_len, SQLITE_STATIC);
    const int step = bound == SQLITE_OK ? sqlite3_step(row) : bound; /* unbound: NULL, no user */
    cellar_err err = step == SQLITE_DONE ? cellar_load_absent(load) : CELLAR_E_IO;
    if (step == SQLITE_ROW) { /* the tag: of the whole store, so with a kind; to 128 bytes */
        cellar_bytes tag = { sqlite3_column_text(row, 0), (size_t)sqlite3_column_bytes(row, 0) };
        cellar_set_opts o = cellar_set_opts_default();
        cellar_buf *const html = cellar_load_buf(load);
        o.tags = &tag, o.tag_count = 1, err = cellar_load_opts_set(load, &o);
        append_escaped(html, name, name_len), cellar_buf_append(html, "<p>", 3);
        append_escaped(html, sqlite3_column_text(row, 1), (size_t)sqlite3_column_bytes(row, 1));
    }
    return sqlite3_finalize(row), err;
}

static void show(const char *name)
{
    cellar_result r = cellar_result_default();
    const int e = cellar_get_or_load(pages, name, strlen(name), NULL, render, db, &r);
    printf("%s: %s %s %.*s\n", name, r.source == CELLAR_SOURCE_LOADED ? "query" : "cache",
           cellar_code_name(e), (int)r.value_len, r.value_len > 0 ? (const char *)r.value : "");
    cellar_result_free(&r);
}

int main(void)
{
    cellar_error_info why = cellar_error_info_default();
    cellar_config cfg = cellar_config_default();
    cfg.default_ttl_ms = 600000, cfg.negative_ttl_ms = 30000, cfg.stale_ms = 3600000;
    if (sqlite3_open("", &db) != SQLITE_OK || cellar_open(&cfg, &pages) != CELLAR_OK) {
        cellar_last_error(NULL, &why);
        return fprintf(stderr, "%s, %s\n", sqlite3_errmsg(db), why.text), 1;
    }
    sqlite3_exec(db, "CREATE TABLE team(id, title); INSERT INTO team VALUES (1, 'red'), (2, 'R&D');"
                 "CREATE TABLE user AS SELECT 'ada' name, 1 team UNION SELECT 'bob', 2", 0, 0, 0);
    show("ada"), show("ada"), show("bob"), show("<b>"), show("<b>");
    sqlite3_exec(db, "UPDATE team SET title = 'green' WHERE id = 1", NULL, NULL, NULL);
    cellar_delete_by_tag(pages, "team:1", 6, CELLAR_TAG_HARD); /* after the commit */
    sqlite3_exec(db, "INSERT INTO user VALUES ('<b>', 2)", NULL, NULL, NULL);
    cellar_delete(pages, "<b>", 3); /* the remembered absence: after the commit, too */
    show("ada"), show("bob"), show("<b>"); /* a stale page is rendered by the call */
    return cellar_close(pages) == CELLAR_OK && sqlite3_close(db) == SQLITE_OK ? 0 : 1;
}
