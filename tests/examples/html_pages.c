/* SPDX-License-Identifier: MIT
 *
 * html_pages: HTML in front of SQLite. Each page has its team as a tag: a change of the team
 * deletes all pages that show it. A user that the database does not have is remembered as absent; an
 * INSERT deletes that.
 *
 *     cc -O2 html_pages.c -lcellar -lsqlite3 -pthread */
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "cellar_invalidate.h"
#include "cellar_load.h"
#include "cellar_observe.h"

static int queries;

/* Query the row of a user and render the page. */
static cellar_err render(cellar_load *load, const void *name, size_t name_len, void *database)
{
    sqlite3_stmt *row = NULL;
    cellar_err err = CELLAR_E_IO; /* the query failed */
    queries++;
    sqlite3_prepare_v2(database, "SELECT team FROM user WHERE name = ?", -1, &row, NULL);
    sqlite3_bind_text(row, 1, name, (int)name_len, SQLITE_STATIC);
    const int step = sqlite3_step(row);
    if (step == SQLITE_DONE) { err = cellar_load_absent(load); }
    if (step == SQLITE_ROW) {
        const cellar_bytes tag = { sqlite3_column_text(row, 0),
                                   (size_t)sqlite3_column_bytes(row, 0) };
        cellar_set_opts o = cellar_set_opts_default();
        cellar_buf *const html = cellar_load_buf(load); /* grows; its first error fails the load */
        o.tags = &tag, o.tag_count = 1;
        err = cellar_load_opts_set(load, &o); /* no team, NULL: an error too */
        cellar_buf_append(html, "<p>", 3);
        cellar_buf_append(html, name, name_len); /* a program escapes name and team for HTML */
        cellar_buf_append(html, " of ", 4);
        cellar_buf_append(html, tag.data, tag.len);
    }
    sqlite3_finalize(row);
    return err;
}

static void show(cellar *pages, const char *name, sqlite3 *database)
{
    cellar_result r = cellar_result_default();
    const cellar_err err =
        cellar_get_or_load(pages, name, strlen(name), NULL, render, database, &r);
    printf("%s: %s %.*s, %d queries\n", name, cellar_code_name(err), (int)r.value_len,
           r.value != NULL ? (const char *)r.value : "", queries);
    cellar_result_free(&r);
}

int main(void)
{
    static const char *const visits[] = { "ada", "ada", "grace", "eve", "eve" };
    sqlite3 *database;
    cellar *pages;
    if (cellar_open(NULL, &pages) != CELLAR_OK || sqlite3_open("", &database) != SQLITE_OK) {
        return 1;
    }
    sqlite3_exec(database, "CREATE TABLE user(name, team);"
                           "INSERT INTO user VALUES ('ada', 'red'), ('grace', 'blue')", 0, 0, 0);
    for (int i = 0; i < 5; i++) { show(pages, visits[i], database); }
    sqlite3_exec(database, "UPDATE user SET team = 'green' WHERE team = 'red'", 0, 0, 0);
    cellar_delete_by_tag(pages, "red", 3, CELLAR_TAG_HARD); /* behind the commit */
    sqlite3_exec(database, "INSERT INTO user VALUES ('eve', 'blue')", 0, 0, 0);
    cellar_delete(pages, "eve", 3); /* the remembered absence, behind the commit too */
    for (int i = 1; i < 4; i++) { show(pages, visits[i], database); }
    sqlite3_close(database);
    return cellar_close(pages) == CELLAR_OK ? 0 : 1;
}
