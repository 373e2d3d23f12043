/* SPDX-License-Identifier: MIT
 *
 * triggers: let the database tell which entries a change concerns, whichever program made it.
 *
 * A program that changes a row deletes the entries that show the row. Other programs do not know of
 * the cache: a script, an import, an SQL prompt. Triggers of the database write the keys of these
 * entries into a table, `changed`, in the transaction of the change. This program reads the table
 * and deletes the keys. The time between two reads of the table is the longest time that an old
 * page is seen.
 *
 * A new title of a team changes the pages of all its users: the trigger writes their names. A new
 * user may have an entry that says that there is none. The rows have numbers without gaps, and each
 * process remembers the last number that it has read, so several processes can read one table. The
 * table keeps its newest rows. A process that was away for too long finds a gap, and clears its
 * cache.
 *
 * In the folder of this project, after `make`:
 *     cc -O2 tests/examples/triggers.c -Iinclude build/libcellar.a -lsqlite3 -pthread && ./a.out
 * With the drop-in, after `make dist`:
 *     cc -O2 tests/examples/triggers.c dist/cellar.c -Idist -Idist/include -lsqlite3 -pthread
 *     ./a.out
 *
 * Each line of the output is a request: the name, the code of the call, and the title of the team.
 * After three of them another program changes the database. Three more get old answers, then
 * `follow` runs. The triggers are in html_parts.h. In your program, call `follow` each 100 ms in a
 * thread with a connection of its own, and log its errors. A store on disk keeps `seen` there. In
 * PostgreSQL the triggers lock `changed` first, so that the numbers rise with the commits. */
#include "cellar_invalidate.h"
#include "cellar_load.h"
#include "cellar_observe.h"
#include "html_parts.h"

static const char other_program[] = "UPDATE team SET title = 'green' WHERE id = 1;"
                                    "INSERT INTO user VALUES ('eve', 1)";
static sqlite3_int64 seen; /* number of the last row of `changed` that is done */

static cellar_err load_title(cellar_load *load, const void *name, size_t name_len, void *db)
{
    sqlite3_stmt *row;
    cellar_err err = CELLAR_E_IO; /* of the database */
    const int found = db_select_user(db, name, name_len, &row);
    const void *const title = found == SQLITE_ROW ? sqlite3_column_text(row, 2) : NULL;
    if (title != NULL) { err = cellar_load_value(load, title, strlen(title)); }
    if (found == SQLITE_DONE) { err = cellar_load_absent(load); }
    sqlite3_finalize(row);
    return err;
}

/* Delete the keys that have changed since the last call. The call after an error continues there. */
static cellar_err follow(cellar *pages, sqlite3 *db)
{
    sqlite3_stmt *row;
    cellar_err err = CELLAR_OK;
    int found = db_select_changed(db, seen, &row);
    for (; found == SQLITE_ROW && err >= 0; found = sqlite3_step(row)) {
        const sqlite3_int64 id = sqlite3_column_int64(row, 0);
        const void *const name = sqlite3_column_text(row, 1);
        if (id != seen + 1) { err = cellar_clear(pages); } /* unread rows are gone */
        else { err = cellar_delete(pages, name, (size_t)sqlite3_column_bytes(row, 1)); }
        if (err >= 0 || err == CELLAR_E_INVAL) { seen = id; } /* no entry has an empty name */
    }
    sqlite3_finalize(row);
    return err < 0 ? err : found == SQLITE_DONE ? CELLAR_OK : CELLAR_E_IO;
}

static void show(cellar *pages, const char *name, sqlite3 *db)
{
    cellar_result r = cellar_result_default();
    const cellar_err err = cellar_get_or_load(pages, name, strlen(name), NULL, load_title, db, &r);
    printf("%s: %s %.*s\n", name, cellar_code_name(err), (int)r.value_len,
           r.value != NULL ? (const char *)r.value : "");
    cellar_result_free(&r);
}

int main(void)
{
    static const char *const names[] = { "ada", "bob", "eve" };
    sqlite3 *const db = db_open();
    cellar_config cfg = cellar_config_default();
    cellar *pages;
    cfg.default_ttl_ms = 10 * 60 * 1000;
    db_note_changes(db);
    if (cellar_open(&cfg, &pages) != CELLAR_OK) { errx(1, "no memory for the store"); }
    for (int i = 0; i < 9; i++) {
        if (i == 3) { db_run(db, other_program); }
        if (i == 6 && follow(pages, db) != CELLAR_OK) { warnx("`changed` was not read"); }
        show(pages, names[i % 3], db);
    }
    sqlite3_close(db);
    return cellar_close(pages) == CELLAR_OK ? 0 : 1;
}
