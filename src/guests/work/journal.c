/* SPDX-License-Identifier: MIT
 *
 * journal: rows of tasks, schedules and messages in an SQLite database.
 *
 * FORMAT     application_id "cell", user_version JOURNAL_VERSION, WAL. A database of another
 *            program or version is refused before the first write.
 *            task: one row for each live task and each dead letter. input: one row for each task
 *            that ended while another one waits for it. throttle: keys of THROTTLE.
 *            body: bytes of a message for several groups; column `body` of task: its number.
 *            schedule: one row for each schedule with catch_up_on_start.
 *            The view `waiting` is for people.
 *            id: 16 bytes, high byte first. state, run_on: numbers of cellar_task.h.
 * INVARIANTS A task has a row exactly from the commit of its submit to the commit of its end. A
 *            running task keeps the row of the time before its attempt (work/journal_board.h).
 * LOCKING    None. One connection without mutexes: the caller serializes.
 * LIMITS     2,000 KiB of pages (cache_size). SQLite allocates with malloc; the process-wide
 *            settings of SQLite stay as they are.
 * SEE ALSO   README.md in this folder: measurements. */
#include "work/journal.h"

#ifdef CELLAR_WITH_SQLITE
#include <sqlite3.h>
#include <string.h>

#include "base/num.h"
#include "base/text.h"
#include "work/journal_board.h"

BASE_SIZE_BEGIN

#define JOURNAL_VERSION 5u
#define JOURNAL_APPLICATION 0x63656c6c
#define JOURNAL_PAGE 4096u /* default of SQLite */

static const char journal_setup[] =
    "PRAGMA cell_size_check=1;"
    "PRAGMA trusted_schema=0;"
    "PRAGMA locking_mode=EXCLUSIVE;"
    "PRAGMA cache_size=-2000;"
    "PRAGMA temp_store=MEMORY;";

static const char journal_schema[] =
    "PRAGMA application_id=1667591276;"
    "PRAGMA user_version=5;"
    "CREATE TABLE task("
    " id BLOB NOT NULL PRIMARY KEY, name TEXT NOT NULL, state INTEGER NOT NULL,"
    " priority INTEGER NOT NULL, attempt INTEGER NOT NULL, max_attempts INTEGER NOT NULL,"
    " begun INTEGER NOT NULL, submitted_wall_ms INTEGER NOT NULL, due_wall_ms INTEGER NOT NULL,"
    " delay_ms INTEGER NOT NULL, expires_wall_ms INTEGER NOT NULL,"
    " ended_wall_ms INTEGER NOT NULL, payload BLOB, content_type TEXT, unique_key TEXT,"
    " unique_states INTEGER, tag TEXT, trace BLOB, then_id BLOB, member INTEGER,"
    " inputs INTEGER, run_on INTEGER, error TEXT, key_until_wall_ms INTEGER, after_id BLOB,"
    " body INTEGER) STRICT, WITHOUT ROWID;"
    "CREATE TABLE body(id INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT;"
    "CREATE TABLE input("
    " then_id BLOB NOT NULL, member INTEGER NOT NULL, ok INTEGER NOT NULL, result BLOB,"
    " PRIMARY KEY(then_id, member)) STRICT, WITHOUT ROWID;"
    "CREATE VIEW waiting AS SELECT lower(hex(id)) AS id, name,"
    " CASE state WHEN 1 THEN 'waiting' WHEN 2 THEN 'scheduled' WHEN 3 THEN 'queued'"
    " WHEN 5 THEN 'retry' WHEN 7 THEN 'dead' END AS state, attempt, max_attempts,"
    " datetime(submitted_wall_ms / 1000, 'unixepoch') AS submitted,"
    " CASE WHEN due_wall_ms > 0 THEN datetime(due_wall_ms / 1000, 'unixepoch') END AS due,"
    " coalesce(length(payload), 0) AS bytes, unique_key, tag, error"
    " FROM task ORDER BY task.id;"
    "CREATE TABLE throttle(key TEXT NOT NULL PRIMARY KEY, id BLOB NOT NULL,"
    " until_wall_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE INDEX throttle_until ON throttle(until_wall_ms);"
    "CREATE TABLE schedule("
    " name TEXT NOT NULL PRIMARY KEY, spec TEXT NOT NULL, zone TEXT NOT NULL,"
    " last_due_wall_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;";

/* ---- columns ---- */

typedef enum journal_kind {
    JOURNAL_IS_ID, JOURNAL_IS_TEXT, JOURNAL_IS_NUMBER, JOURNAL_IS_BYTES
} journal_kind;
typedef union journal_value {
    cellar_task_id id;
    const char *text;
    int64_t number;
    cellar_bytes bytes;
} journal_value;
static const uint8_t journal_size[] = { [JOURNAL_IS_ID] = sizeof(cellar_task_id),
                                        [JOURNAL_IS_TEXT] = sizeof(const char *),
                                        [JOURNAL_IS_NUMBER] = sizeof(int64_t),
                                        [JOURNAL_IS_BYTES] = sizeof(cellar_bytes) };

/* Column n of a table, and value ?n of its statements. Without `needed` it is NULL for no id, no
 * bytes, "" and 0. */
typedef struct journal_column {
    uint8_t kind;
    bool needed;
    uint16_t at;             /* in the struct */
    int64_t most;            /* of a text its length, of a number from 0; -1: any */
} journal_column;

#define JOURNAL_OF(type, kind, field, needed, most) \
    { JOURNAL_IS_##kind, needed, offsetof(journal_##type, field), most }
#define JOURNAL_KEY(type, kind, field, most) JOURNAL_OF(type, kind, field, true, most)
#define JOURNAL_MAY(type, kind, field, most) JOURNAL_OF(type, kind, field, false, most)

static const journal_column journal_tasks[] = {
    JOURNAL_KEY(row, ID, id, -1), JOURNAL_KEY(row, TEXT, name, CELLAR_NAME_MAX),
    JOURNAL_KEY(row, NUMBER, state, CELLAR_TASK_FAILED),
    JOURNAL_KEY(row, NUMBER, priority, CELLAR_TASK_PRIORITY_MAX),
    JOURNAL_KEY(row, NUMBER, attempt, UINT8_MAX), JOURNAL_KEY(row, NUMBER, max_attempts, UINT8_MAX),
    JOURNAL_KEY(row, NUMBER, begun, UINT32_MAX), JOURNAL_KEY(row, NUMBER, submitted_wall_ms, -1),
    JOURNAL_KEY(row, NUMBER, due_wall_ms, -1), JOURNAL_KEY(row, NUMBER, delay_ms, -1),
    JOURNAL_KEY(row, NUMBER, expires_wall_ms, -1), JOURNAL_KEY(row, NUMBER, ended_wall_ms, -1),
    JOURNAL_MAY(row, BYTES, payload, -1),
    JOURNAL_MAY(row, TEXT, content_type, CELLAR_TASK_TEXT_MAX),
    JOURNAL_MAY(row, TEXT, unique_key, CELLAR_TASK_TEXT_MAX),
    JOURNAL_MAY(row, NUMBER, unique_states, UINT32_MAX),
    JOURNAL_MAY(row, TEXT, tag, CELLAR_TASK_TEXT_MAX), JOURNAL_MAY(row, BYTES, trace, -1),
    JOURNAL_MAY(row, ID, then_id, -1), JOURNAL_MAY(row, NUMBER, member, -1),
    JOURNAL_MAY(row, NUMBER, inputs, CELLAR_TASK_GROUP_MAX),
    JOURNAL_MAY(row, NUMBER, run_on, CELLAR_TASK_ALWAYS),
    JOURNAL_MAY(row, TEXT, error, CELLAR_TASK_TEXT_MAX),
    JOURNAL_MAY(row, NUMBER, key_until_wall_ms, -1), JOURNAL_MAY(row, ID, after_id, -1),
    JOURNAL_MAY(row, NUMBER, body, -1), JOURNAL_MAY(row, BYTES, bytes, -1), /* in table `body` */
}, journal_inputs[] = {
    JOURNAL_KEY(input, ID, then_id, -1), JOURNAL_KEY(input, NUMBER, member, CELLAR_TASK_GROUP_MAX),
    JOURNAL_KEY(input, NUMBER, ok, 1), JOURNAL_MAY(input, BYTES, result, -1),
}, journal_throttles[] = {
    JOURNAL_KEY(throttle, TEXT, key, CELLAR_TASK_TEXT_MAX), JOURNAL_KEY(throttle, ID, id, -1),
    JOURNAL_KEY(throttle, NUMBER, until_wall_ms, -1),
    JOURNAL_KEY(throttle, NUMBER, now_wall_ms, -1), JOURNAL_KEY(throttle, NUMBER, most, -1),
}, journal_links[] = {
    JOURNAL_KEY(link, ID, id, -1), JOURNAL_KEY(link, ID, then_id, -1),
    JOURNAL_KEY(link, NUMBER, member, CELLAR_TASK_GROUP_MAX), JOURNAL_KEY(link, NUMBER, after, 1),
}, journal_schedules[] = {
    JOURNAL_KEY(schedule, TEXT, name, -1), JOURNAL_KEY(schedule, TEXT, spec, -1),
    JOURNAL_KEY(schedule, TEXT, zone, -1), JOURNAL_KEY(schedule, NUMBER, last_due_wall_ms, -1),
    JOURNAL_KEY(schedule, NUMBER, now_wall_ms, -1),
};

static const struct {
    const char *sql;
    const journal_column *column;
} journal_sql[JOURNAL_STATEMENTS] = {
    [JOURNAL_BEGIN] = { "BEGIN IMMEDIATE", NULL },
    [JOURNAL_COMMIT] = { "COMMIT", NULL },
    [JOURNAL_INSERT] = { "INSERT INTO task VALUES("
                         "?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", journal_tasks },
    [JOURNAL_UPDATE] = { "UPDATE task SET state=?3, attempt=?5, begun=?7, due_wall_ms=?9,"
                         " delay_ms=?10, expires_wall_ms=?11, ended_wall_ms=?12, error=?23,"
                         " key_until_wall_ms=?24 WHERE id=?1", journal_tasks },
    [JOURNAL_PAYLOAD] = { "UPDATE task SET payload=?13, content_type=?14, name=?2, tag=?17,"
                          " max_attempts=?6 WHERE id=?1", journal_tasks },
    [JOURNAL_DELETE] = { "DELETE FROM task WHERE id=?1", journal_tasks },
    [JOURNAL_INPUTS_DELETE] = { "DELETE FROM input WHERE then_id=?1", journal_tasks },
    [JOURNAL_BODY] = { "INSERT INTO body VALUES(?26,?27)", journal_tasks },
    [JOURNAL_BODY_DELETE] = { "DELETE FROM body WHERE id=?26", journal_tasks },
    [JOURNAL_INPUT] = { "INSERT OR IGNORE INTO input VALUES(?1,?2,?3,?4)", journal_inputs },
    [JOURNAL_THROTTLE] = { "INSERT OR REPLACE INTO throttle VALUES(?1,?2,?3)", journal_throttles },
    [JOURNAL_THROTTLES_DELETE] = { "DELETE FROM throttle WHERE key IN (SELECT key FROM throttle"
                                   " WHERE until_wall_ms<=?4 ORDER BY until_wall_ms LIMIT ?5)",
                                   journal_throttles },
    [JOURNAL_SCHEDULE_OPEN] = {
        "INSERT INTO schedule VALUES(?1,?2,?3,?4) ON CONFLICT(name) DO UPDATE SET"
        " last_due_wall_ms=iif(spec=?2 AND zone=?3, last_due_wall_ms, ?4), spec=?2, zone=?3"
        " RETURNING last_due_wall_ms", journal_schedules },
    [JOURNAL_SCHEDULE_SET] = {
        "UPDATE schedule SET last_due_wall_ms=?4 WHERE name=?1 AND spec=?2 AND zone=?3"
        " AND (last_due_wall_ms<?4 OR last_due_wall_ms>?5)", journal_schedules },
    [JOURNAL_SCHEDULE_DELETE] = { "DELETE FROM schedule WHERE name=?1", journal_schedules },
};

struct journal {
    sqlite3 *db;
    base_account *account;
    bool owned;              /* this process may delete the file that keeps room */
    uint64_t room_bytes;     /* of that file; 0: not made yet */
    sqlite3_stmt *statement[JOURNAL_STATEMENTS];
};

CELLAR_PRIVATE const char *journal_error(const journal *j) { return sqlite3_errmsg(j->db); }
CELLAR_PRIVATE const char *journal_path(const journal *j)
{
    return sqlite3_db_filename(j->db, "main");
}

static cellar_err journal_code(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE: return CELLAR_OK;
    case SQLITE_FULL: return CELLAR_E_SPACE;
    case SQLITE_NOMEM: return CELLAR_E_NOMEM;
    case SQLITE_ERROR: /* a table or a column is missing */
    case SQLITE_MISMATCH:
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return CELLAR_E_CORRUPT;
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return CELLAR_E_BUSY;
    case SQLITE_TOOBIG: return CELLAR_E_TOOBIG;
    default: return CELLAR_E_IO;
    }
}

/* ---- values ---- */

/* Bind the values of a row. `ids` keeps the bytes of its ids until the step. */
static void journal_bind(sqlite3_stmt *s, const journal_column *c, const void *row,
                         unsigned char (*ids)[JOURNAL_ID])
{
    const int count = sqlite3_bind_parameter_count(s);
    for (int i = 1; i <= count; i++, c++) {
        journal_value v;
        memcpy(&v, (const char *)row + c->at, journal_size[c->kind]);
        if (c->kind == JOURNAL_IS_ID && v.id.hi != 0) {
            journal_id_out(v.id, *ids);
            (void)sqlite3_bind_blob(s, i, *ids++, JOURNAL_ID, SQLITE_STATIC);
        } else if (c->kind == JOURNAL_IS_TEXT && v.text != NULL && *v.text != '\0') {
            (void)sqlite3_bind_text(s, i, v.text, -1, SQLITE_STATIC);
        } else if (c->kind == JOURNAL_IS_NUMBER && (c->needed || v.number != 0)) {
            (void)sqlite3_bind_int64(s, i, v.number);
        } else if (c->kind == JOURNAL_IS_BYTES && v.bytes.data != NULL) {
            (void)sqlite3_bind_blob64(s, i, v.bytes.data, v.bytes.len, SQLITE_STATIC);
        }
    }
}

CELLAR_PRIVATE cellar_err journal_write(journal *j, journal_statement what, void *row)
{
    sqlite3_stmt *s = j->statement[what];
    unsigned char ids[3][JOURNAL_ID];
    journal_bind(s, journal_sql[what].column, row, ids);
    while (sqlite3_step(s) == SQLITE_ROW) {
        ((journal_schedule *)row)->last_due_wall_ms = sqlite3_column_int64(s, 0);
    }
    const int rc = sqlite3_reset(s);
    (void)sqlite3_clear_bindings(s);
    return journal_code(rc);
}

static int journal_truncate(journal *j)
{
    return sqlite3_wal_checkpoint_v2(j->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
}

/* Run statements that return no rows. */
static cellar_err journal_exec(journal *j, const char *sql)
{
    return journal_code(sqlite3_exec(j->db, sql, NULL, NULL, NULL));
}

CELLAR_PRIVATE void journal_rollback(journal *j)
{
    if (sqlite3_get_autocommit(j->db) == 0) { (void)journal_exec(j, "ROLLBACK"); }
    (void)journal_truncate(j); /* if the sync failed, the WAL has the whole transaction */
}

/* ---- reading ---- */

/* Read an id of a column. False: there is none. */
static bool journal_id_in(sqlite3_stmt *s, int column, cellar_task_id *id)
{
    const unsigned char *at = sqlite3_column_blob(s, column);
    if (at == NULL || sqlite3_column_bytes(s, column) != JOURNAL_ID) { return false; }
    for (int i = 0; i < 8; i++) {
        id->hi = id->hi << 8 | at[i];
        id->lo = id->lo << 8 | at[8 + i];
    }
    return id->hi != 0;
}

/* Read the columns of a row. False: one is missing or out of its range. */
static bool journal_row_in(sqlite3_stmt *s, const journal_column *c, void *row)
{
    bool ok = true;
    for (int i = 0; i < sqlite3_column_count(s) && ok; i++, c++) {
        journal_value v = { .id = { 0, 0 } };
        size_t len;
        switch ((journal_kind)c->kind) {
        case JOURNAL_IS_ID: ok = journal_id_in(s, i, &v.id) || !c->needed; break;
        case JOURNAL_IS_TEXT:
            v.text = (const char *)sqlite3_column_text(s, i);
            len = v.text != NULL ? strlen(v.text) : 0;
            ok = len <= (size_t)c->most && (len != 0 || !c->needed);
            break;
        case JOURNAL_IS_NUMBER:
            v.number = sqlite3_column_int64(s, i);
            ok = c->most < 0 || (v.number >= 0 && v.number <= c->most);
            break;
        case JOURNAL_IS_BYTES:
            if (sqlite3_column_type(s, i) == SQLITE_NULL) { break; }
            v.bytes.data = sqlite3_column_blob(s, i);
            v.bytes.len = (size_t)sqlite3_column_bytes(s, i);
            if (v.bytes.len == 0) { v.bytes.data = ""; }
        }
        memcpy((char *)row + c->at, &v, journal_size[c->kind]);
    }
    return ok;
}

/* Run a query and pass each of its rows to `fn`. */
static cellar_err journal_walk(journal *j, const char *sql, const journal_column *column,
                               cellar_err (*fn)(const void *row, void *ctx), void *ctx)
{
    union {
        journal_row row;
        journal_input input;
        journal_throttle throttle;
        journal_link link;
    } u;
    sqlite3_stmt *s = NULL;
    cellar_err err = CELLAR_OK;
    int rc = sqlite3_prepare_v2(j->db, sql, -1, &s, NULL);
    while (rc == SQLITE_OK && err == CELLAR_OK && sqlite3_step(s) == SQLITE_ROW) {
        err = journal_row_in(s, column, &u) ? fn(&u, ctx) : CELLAR_E_CORRUPT;
    }
    if (rc == SQLITE_OK) { rc = sqlite3_finalize(s); }
    return err != CELLAR_OK ? err : journal_code(rc);
}

/* Read the numbers of the only row of a query. */
static cellar_err journal_numbers(journal *j, const char *sql, uint64_t *number)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(j->db, sql, -1, &s, NULL);
    if (rc == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW) {
        for (int i = 0; i < sqlite3_column_count(s); i++) {
            number[i] = (uint64_t)sqlite3_column_int64(s, i);
        }
    }
    if (rc == SQLITE_OK) { rc = sqlite3_finalize(s); }
    return journal_code(rc);
}

CELLAR_PRIVATE cellar_err journal_read(journal *j, const journal_reader *reader)
{
    static const struct {
        const char *sql;
        const journal_column *column;
        int part;
    } query[] = {
        { "SELECT *, NULL FROM task WHERE body IS NULL ORDER BY id", journal_tasks, JOURNAL_ROWS },
        { "SELECT task.*, bytes FROM (SELECT id AS at FROM task WHERE body IS NOT NULL ORDER BY"
          " body LIMIT -1) CROSS JOIN task ON task.id = at LEFT JOIN body ON body.id = task.body",
          journal_tasks, JOURNAL_ROWS }, /* sorts ids, not bytes */
        { "SELECT id FROM task WHERE state=7 ORDER BY ended_wall_ms, id", journal_tasks,
          JOURNAL_DEAD },
        { "SELECT * FROM throttle", journal_throttles, JOURNAL_THROTTLES },
        { "SELECT * FROM input", journal_inputs, JOURNAL_INPUTS },
        { "SELECT id, then_id, member, 0 FROM task WHERE then_id IS NOT NULL UNION"
          " ALL SELECT after_id, id, 0, 1 FROM task WHERE after_id IS NOT NULL", journal_links,
          JOURNAL_LINKS },
    };
    /* What the last changes of a process left: rows without bytes, bytes without rows. */
    cellar_err err = journal_exec(
        j, "DELETE FROM task WHERE body IS NOT NULL AND payload IS NULL"
        " AND body NOT IN (SELECT id FROM body);"
        "DELETE FROM body WHERE id NOT IN (SELECT body FROM task WHERE body IS NOT NULL)");
    for (size_t i = 0; err == CELLAR_OK && i < sizeof query / sizeof *query; i++) {
        err = journal_walk(j, query[i].sql, query[i].column, reader->fn[query[i].part],
                           reader->ctx);
    }
    return err;
}

/* ---- open ---- */

/* Truncate the WAL. The WAL has at most as many bytes as the file that keeps room, so a checkpoint
 * finds room once that file is deleted. */
CELLAR_PRIVATE void journal_room(journal *j, bool all)
{
    const char *path = journal_path(j);
    uint64_t bytes = 0;
    j->owned = true;
    if (journal_truncate(j) != SQLITE_OK || all) {
        journal_room_end(j->account, path);
        (void)journal_truncate(j);
    }
    if (!all) { bytes = journal_room_make(j->account, path, j->room_bytes); }
    if (all || j->room_bytes == 0) { j->room_bytes = bytes; }
    (void)sqlite3_wal_autocheckpoint(j->db, (int)BASE_MAX(bytes / JOURNAL_PAGE, 1u));
}

/* Take the ownership of the database, check it, and make its tables if it is new. */
static cellar_err journal_take(journal *j, bool sync, const char **why)
{
    enum { TABLES, APPLICATION, VERSION };
    uint64_t is[3] = { 0, 0, 0 }, good = 1;
    cellar_err err = journal_exec(j, journal_setup);
    if (err == CELLAR_OK) {
        err = journal_exec(j, sync ? "PRAGMA synchronous=FULL; BEGIN EXCLUSIVE"
                                   : "PRAGMA synchronous=NORMAL; BEGIN EXCLUSIVE");
    }
    if (err == CELLAR_OK) {
        err = journal_numbers(j, "SELECT (SELECT count(*) FROM sqlite_schema), * FROM"
                              " pragma_application_id, pragma_user_version", is);
    }
    if (err != CELLAR_OK) {
        *why = sqlite3_errstr(sqlite3_errcode(j->db)); /* static */
        return err;
    }
    *why = "the file is a database of another program";
    if (is[TABLES] != 0 && is[APPLICATION] != JOURNAL_APPLICATION) { return CELLAR_E_FOREIGN; }
    *why = "another version of the library wrote it";
    if ((is[TABLES] | is[VERSION]) != 0 && is[VERSION] != JOURNAL_VERSION) {
        return CELLAR_E_NEWER_FORMAT;
    }
    *why = "the database is damaged";
    if (is[TABLES] != 0) {
        err = journal_numbers(j, "SELECT quick_check='ok' FROM pragma_quick_check LIMIT 1", &good);
    }
    if (err == CELLAR_OK && good == 0) { err = CELLAR_E_CORRUPT; }
    if (err != CELLAR_OK) { return err; }
    err = journal_exec(j, "COMMIT; PRAGMA journal_mode=WAL; PRAGMA journal_size_limit=16777216");
    if (err == CELLAR_OK) {
        journal_room(j, false);
        err = journal_exec(j, "BEGIN EXCLUSIVE");
    }
    if (err == CELLAR_OK && is[TABLES] == 0) { err = journal_exec(j, journal_schema); }
    if (err == CELLAR_OK) {
        err = journal_exec(j, "DELETE FROM input WHERE then_id NOT IN (SELECT id FROM task);"
                           "COMMIT");
    }
    if (err != CELLAR_E_CORRUPT) { *why = sqlite3_errstr(sqlite3_errcode(j->db)); }
    return err;
}

CELLAR_PRIVATE cellar_err journal_open(base_account *account, const char *path, bool sync,
                                       journal **out, uint64_t number[2], const char **why)
{
    *why = "SQLite was built without threads";
    if (sqlite3_threadsafe() == 0) { return CELLAR_E_UNSUPPORTED; }
    *why = "no memory for the journal";
    journal *j = base_alloc(account, BASE_MOD_STORE, sizeof *j, NULL);
    if (j == NULL) { return CELLAR_E_NOMEM; }
    j->account = account;
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                      SQLITE_OPEN_PRIVATECACHE;
    cellar_err err = journal_code(sqlite3_open_v2(path, &j->db, flags, NULL));
    *why = base_errno_text(sqlite3_system_errno(j->db));
    if (err == CELLAR_OK) { err = journal_take(j, sync, why); }
    for (int i = 0; i < JOURNAL_STATEMENTS && err == CELLAR_OK; i++) {
        *why = "the tables are not those of a journal";
        err = journal_code(sqlite3_prepare_v3(j->db, journal_sql[i].sql, -1,
                                              SQLITE_PREPARE_PERSISTENT, &j->statement[i], NULL));
    }
    if (err == CELLAR_OK) {
        err = journal_numbers(j, "SELECT count(*), count(DISTINCT name) FROM task", number);
    }
    if (err == CELLAR_E_BUSY) { *why = "another process, or another pool, has it open"; }
    if (err != CELLAR_OK) {
        journal_close(account, j);
        return err;
    }
    *out = j;
    return CELLAR_OK;
}

CELLAR_PRIVATE void journal_close(base_account *account, journal *j)
{
    for (int i = 0; i < JOURNAL_STATEMENTS; i++) { (void)sqlite3_finalize(j->statement[i]); }
    if (j->owned) { journal_room_end(account, journal_path(j)); }
    (void)sqlite3_close(j->db);
    base_free(account, BASE_MOD_STORE, j, sizeof *j);
}

BASE_SIZE_END
#else /* no journal opens, so nothing reaches the other calls */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

CELLAR_PRIVATE cellar_err journal_open(base_account *account, const char *path, bool sync,
                                       journal **out, uint64_t number[2], const char **why)
{
    *why = "this library was built without SQLite (make SQLITE=1)";
    return CELLAR_E_UNSUPPORTED;
}

CELLAR_PRIVATE void journal_close(base_account *account, journal *j) { }
CELLAR_PRIVATE void journal_rollback(journal *j) { }
CELLAR_PRIVATE void journal_room(journal *j, bool all) { }
CELLAR_PRIVATE const char *journal_error(const journal *j) { return ""; }
CELLAR_PRIVATE const char *journal_path(const journal *j) { return ""; }
#define JOURNAL_NONE(call) CELLAR_PRIVATE cellar_err call { return CELLAR_E_UNSUPPORTED; }
JOURNAL_NONE(journal_write(journal *j, journal_statement what, void *row))
JOURNAL_NONE(journal_read(journal *j, const journal_reader *reader))

#pragma GCC diagnostic pop
#endif
