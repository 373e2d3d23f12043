/* SPDX-License-Identifier: MIT
 *
 * html_parts: a database of users and teams, and text for HTML, for html_pages.c and triggers.c.
 *
 * The database is in the memory of SQLite. Your program has its own tables here. */
#ifndef HTML_PARTS_H
#define HTML_PARTS_H

#include <err.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#include "cellar_entry.h"

/* Run a statement, and end the program if it fails. */
static inline void db_run(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) { errx(1, "%s", sqlite3_errmsg(db)); }
}

static inline sqlite3 *db_open(void)
{
    sqlite3 *db;
    if (sqlite3_open("", &db) != SQLITE_OK) { errx(1, "%s", sqlite3_errmsg(db)); }
    db_run(db, "CREATE TABLE team (id INTEGER PRIMARY KEY, title TEXT)");
    db_run(db, "INSERT INTO team VALUES (1, 'red'), (2, 'R&D')");
    db_run(db, "CREATE TABLE user (name TEXT PRIMARY KEY, team INTEGER)");
    db_run(db, "INSERT INTO user VALUES ('ada', 1), ('bob', 2)");
    return db;
}

/* Select the tag of the team, the name and the title of the team of a user. Return SQLITE_ROW, or
 * SQLITE_DONE if there is no such user, or an error. sqlite3_finalize ends *row in each case. */
static inline int db_select_user(sqlite3 *db, const void *name, size_t name_len,
                                 sqlite3_stmt **row)
{
    static const char sql[] =
        "SELECT 'team:' || id, name, title FROM user JOIN team ON team = id WHERE name = ?";
    int result = sqlite3_prepare_v2(db, sql, -1, row, NULL);
    if (result == SQLITE_OK) { /* a name that is not bound would be NULL, and no row has that */
        result = sqlite3_bind_text(*row, 1, name, (int)name_len, SQLITE_STATIC);
    }
    return result == SQLITE_OK ? sqlite3_step(*row) : result;
}

/* Let triggers write the names of the pages that a change concerns into a table, `changed`: of a
 * team the names of its users. A program of yours has such a trigger for each kind of change. Keep
 * the newest 10,000 rows. */
static inline void db_note_changes(sqlite3 *db)
{
    db_run(db, "CREATE TABLE changed (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL)");
    db_run(db, "CREATE TRIGGER of_team AFTER UPDATE ON team BEGIN"
               "  INSERT INTO changed (name) SELECT name FROM user WHERE team = NEW.id; END");
    db_run(db, "CREATE TRIGGER of_user AFTER INSERT ON user BEGIN"
               "  INSERT INTO changed (name) VALUES (NEW.name); END");
    db_run(db, "CREATE TRIGGER of_old AFTER INSERT ON changed BEGIN"
               "  DELETE FROM changed WHERE id <= NEW.id - 10000; END");
}

/* Select the numbers and the names of `changed` after a number, in order. Return SQLITE_ROW, or
 * SQLITE_DONE if there are none, or an error. sqlite3_finalize ends *row in each case. */
static inline int db_select_changed(sqlite3 *db, sqlite3_int64 seen, sqlite3_stmt **row)
{
    static const char sql[] = "SELECT id, name FROM changed WHERE id > ? ORDER BY id";
    int result = sqlite3_prepare_v2(db, sql, -1, row, NULL);
    if (result == SQLITE_OK) { result = sqlite3_bind_int64(*row, 1, seen); }
    return result == SQLITE_OK ? sqlite3_step(*row) : result;
}

/* Append a text of a user to a page. As it is, it could be a script. An error of the buffer stays
 * there and fails the load. */
static inline void html_append(cellar_buf *html, const unsigned char *text)
{
    for (; text != NULL && *text != '\0'; text++) {
        char escaped[8];
        const int special = strchr("<>&\"'", *text) != NULL;
        const int len = snprintf(escaped, sizeof escaped, special ? "&#%d;" : "%c", *text);
        cellar_buf_append(html, escaped, (size_t)len);
    }
}

#endif
