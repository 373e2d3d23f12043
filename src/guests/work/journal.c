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
 * LIMITS     JOURNAL_CACHE_KIB of pages. SQLite allocates with malloc; the process-wide settings of
 *            SQLite stay as they are.
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
#define JOURNAL_ID 16
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

enum journal_statement {
    JOURNAL_BEGIN, JOURNAL_COMMIT, JOURNAL_INSERT, JOURNAL_UPDATE, JOURNAL_PAYLOAD, JOURNAL_DELETE,
    JOURNAL_BODY, JOURNAL_BODY_DELETE,
    JOURNAL_INPUT, JOURNAL_INPUTS_DELETE, JOURNAL_THROTTLE, JOURNAL_THROTTLES_DELETE,
    JOURNAL_SCHEDULE, JOURNAL_STATEMENTS = JOURNAL_SCHEDULE + 3
};

static const char *const journal_sql[JOURNAL_STATEMENTS] = {
    [JOURNAL_BEGIN] = "BEGIN IMMEDIATE",
    [JOURNAL_COMMIT] = "COMMIT",
    [JOURNAL_INSERT] = "INSERT INTO task VALUES("
                       "?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
    [JOURNAL_UPDATE] = "UPDATE task SET state=?2, attempt=?3, begun=?4, due_wall_ms=?5,"
                       " delay_ms=?6, expires_wall_ms=?7, ended_wall_ms=?8, error=?9,"
                       " key_until_wall_ms=?10 WHERE id=?1",
    [JOURNAL_PAYLOAD] = "UPDATE task SET payload=?2, content_type=?3, name=?4, tag=?5,"
                        " max_attempts=?6 WHERE id=?1",
    [JOURNAL_DELETE] = "DELETE FROM task WHERE id=?1",
    [JOURNAL_BODY] = "INSERT INTO body VALUES(?1,?2)",
    [JOURNAL_BODY_DELETE] = "DELETE FROM body WHERE id=?1",
    [JOURNAL_INPUT] = "INSERT OR IGNORE INTO input VALUES(?1,?2,?3,?4)",
    [JOURNAL_INPUTS_DELETE] = "DELETE FROM input WHERE then_id=?1",
    [JOURNAL_THROTTLE] = "INSERT OR REPLACE INTO throttle VALUES(?1,?2,?3)",
    [JOURNAL_THROTTLES_DELETE] = "DELETE FROM throttle WHERE key IN (SELECT key FROM throttle"
                                 " WHERE until_wall_ms<=?1 ORDER BY until_wall_ms LIMIT ?2)",
    [JOURNAL_SCHEDULE + JOURNAL_SCHEDULE_OPEN] =
        "INSERT INTO schedule VALUES(?1,?2,?3,?4) ON CONFLICT(name) DO UPDATE SET"
        " last_due_wall_ms=iif(spec=?2 AND zone=?3, last_due_wall_ms, ?4), spec=?2, zone=?3"
        " RETURNING last_due_wall_ms",
    [JOURNAL_SCHEDULE + JOURNAL_SCHEDULE_SET] =
        "UPDATE schedule SET last_due_wall_ms=?4 WHERE name=?1 AND spec=?2 AND zone=?3"
        " AND last_due_wall_ms<?4",
    [JOURNAL_SCHEDULE + JOURNAL_SCHEDULE_DELETE] = "DELETE FROM schedule WHERE name=?1",
};

struct journal {
    sqlite3 *db;
    base_account *account;
    bool owned;              /* this process may delete the file that keeps room */
    uint64_t room_bytes;     /* of that file; 0: not made yet */
    sqlite3_stmt *statement[JOURNAL_STATEMENTS];
};

CELLAR_PRIVATE const char *journal_error(const journal *j) { return sqlite3_errmsg(j->db); }

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

static void journal_id_out(cellar_task_id id, unsigned char out[JOURNAL_ID])
{
    for (int i = 0; i < 8; i++) {
        out[i] = (unsigned char)(id.hi >> (56 - 8 * i));
        out[8 + i] = (unsigned char)(id.lo >> (56 - 8 * i));
    }
}

/* Read an id of a column. False: there is none. */
static bool journal_id_in(sqlite3_stmt *s, int column, cellar_task_id *id)
{
    const unsigned char *at = sqlite3_column_blob(s, column);
    *id = (cellar_task_id){ 0, 0 };
    if (at == NULL || sqlite3_column_bytes(s, column) != JOURNAL_ID) { return false; }
    for (int i = 0; i < 8; i++) {
        id->hi = id->hi << 8 | at[i];
        id->lo = id->lo << 8 | at[8 + i];
    }
    return id->hi != 0;
}

/* Bind an id. The bytes of all bind functions must stay as they are until the step. */
static void journal_bind_id(sqlite3_stmt *s, int at, const unsigned char id[JOURNAL_ID])
{
    (void)sqlite3_bind_blob(s, at, id, JOURNAL_ID, SQLITE_STATIC);
}

static void journal_bind_text(sqlite3_stmt *s, int at, const char *text)
{
    if (text != NULL && *text != '\0') { (void)sqlite3_bind_text(s, at, text, -1, SQLITE_STATIC); }
}

static void journal_bind_bytes(sqlite3_stmt *s, int at, const void *bytes, size_t len)
{
    if (len != 0) { (void)sqlite3_bind_blob64(s, at, bytes, len, SQLITE_STATIC); }
}

/* Make a statement ready for its next use. Return the code of its last step. */
static int journal_reset(sqlite3_stmt *s)
{
    const int rc = sqlite3_reset(s);
    (void)sqlite3_clear_bindings(s);
    return rc;
}

/* Run a statement that returns no rows. */
static cellar_err journal_step(sqlite3_stmt *s)
{
    (void)sqlite3_step(s);
    return journal_code(journal_reset(s));
}

/* ---- transactions ---- */

CELLAR_PRIVATE cellar_err journal_begin(journal *j)
{
    return journal_step(j->statement[JOURNAL_BEGIN]);
}

CELLAR_PRIVATE cellar_err journal_commit(journal *j)
{
    return journal_step(j->statement[JOURNAL_COMMIT]);
}

static int journal_truncate(journal *j)
{
    return sqlite3_wal_checkpoint_v2(j->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
}

CELLAR_PRIVATE void journal_rollback(journal *j)
{
    if (sqlite3_get_autocommit(j->db) == 0) {
        (void)sqlite3_exec(j->db, "ROLLBACK", NULL, NULL, NULL);
    }
    (void)journal_truncate(j); /* if the sync failed, the WAL has the whole transaction */
}

CELLAR_PRIVATE cellar_err journal_insert(journal *j, const journal_row *r)
{
    sqlite3_stmt *s = j->statement[JOURNAL_INSERT];
    unsigned char id[JOURNAL_ID], then_id[JOURNAL_ID], after_id[JOURNAL_ID];
    const int64_t number[] = { r->state, r->priority, r->attempt, r->max_attempts, r->begun,
                               r->submitted_wall_ms, r->due_wall_ms, r->delay_ms,
                               r->expires_wall_ms, r->ended_wall_ms };
    journal_id_out(r->id, id);
    journal_bind_id(s, 1, id);
    (void)sqlite3_bind_text(s, 2, r->name, -1, SQLITE_STATIC);
    for (int i = 0; i < (int)(sizeof number / sizeof *number); i++) {
        (void)sqlite3_bind_int64(s, 3 + i, number[i]);
    }
    if (r->body != 0) { (void)sqlite3_bind_int64(s, 26, (int64_t)r->body); }
    if (!r->apart) { journal_bind_bytes(s, 13, r->payload, r->payload_len); }
    journal_bind_text(s, 14, r->content_type);
    if (r->unique_key != NULL && *r->unique_key != '\0') {
        journal_bind_text(s, 15, r->unique_key);
        (void)sqlite3_bind_int64(s, 16, r->unique_states);
        (void)sqlite3_bind_int64(s, 24, r->key_until_wall_ms);
    }
    journal_bind_text(s, 17, r->tag);
    if (r->trace != NULL) { journal_bind_bytes(s, 18, r->trace, CELLAR_TASK_TRACE_BYTES); }
    if (r->then_id.hi != 0) {
        journal_id_out(r->then_id, then_id);
        journal_bind_id(s, 19, then_id);
        (void)sqlite3_bind_int64(s, 20, r->member);
    }
    if (r->inputs != 0) {
        (void)sqlite3_bind_int64(s, 21, r->inputs);
        (void)sqlite3_bind_int64(s, 22, r->run_on);
    }
    if (r->after_id.hi != 0) {
        journal_id_out(r->after_id, after_id);
        journal_bind_id(s, 25, after_id);
    }
    return journal_step(s);
}

CELLAR_PRIVATE cellar_err journal_update(journal *j, const journal_row *r, bool payload)
{
    sqlite3_stmt *s = j->statement[JOURNAL_UPDATE];
    unsigned char id[JOURNAL_ID];
    const int64_t number[] = { r->state, r->attempt, r->begun, r->due_wall_ms, r->delay_ms,
                               r->expires_wall_ms, r->ended_wall_ms };
    journal_id_out(r->id, id);
    journal_bind_id(s, 1, id);
    for (int i = 0; i < (int)(sizeof number / sizeof *number); i++) {
        (void)sqlite3_bind_int64(s, 2 + i, number[i]);
    }
    journal_bind_text(s, 9, r->error);
    if (r->key_until_wall_ms != 0) { (void)sqlite3_bind_int64(s, 10, r->key_until_wall_ms); }
    const cellar_err err = journal_step(s);
    if (err != CELLAR_OK || !payload) { return err; }
    s = j->statement[JOURNAL_PAYLOAD];
    journal_bind_id(s, 1, id);
    if (!r->apart) { journal_bind_bytes(s, 2, r->payload, r->payload_len); }
    journal_bind_text(s, 3, r->content_type);
    journal_bind_text(s, 4, r->name);
    journal_bind_text(s, 5, r->tag);
    (void)sqlite3_bind_int64(s, 6, r->max_attempts);
    return journal_step(s);
}

CELLAR_PRIVATE cellar_err journal_body_add(journal *j, uint64_t id, const void *bytes, size_t len)
{
    sqlite3_stmt *s = j->statement[JOURNAL_BODY];
    (void)sqlite3_bind_int64(s, 1, (int64_t)id);
    journal_bind_bytes(s, 2, bytes, len);
    return journal_step(s);
}

CELLAR_PRIVATE cellar_err journal_delete(journal *j, cellar_task_id id, bool inputs, uint64_t body)
{
    unsigned char bytes[JOURNAL_ID];
    journal_id_out(id, bytes);
    journal_bind_id(j->statement[JOURNAL_DELETE], 1, bytes);
    cellar_err err = journal_step(j->statement[JOURNAL_DELETE]);
    if (err == CELLAR_OK && body != 0) {
        (void)sqlite3_bind_int64(j->statement[JOURNAL_BODY_DELETE], 1, (int64_t)body);
        err = journal_step(j->statement[JOURNAL_BODY_DELETE]);
    }
    if (err != CELLAR_OK || !inputs) { return err; }
    journal_bind_id(j->statement[JOURNAL_INPUTS_DELETE], 1, bytes);
    return journal_step(j->statement[JOURNAL_INPUTS_DELETE]);
}

CELLAR_PRIVATE cellar_err journal_input_add(journal *j, const journal_input *in)
{
    sqlite3_stmt *s = j->statement[JOURNAL_INPUT];
    unsigned char id[JOURNAL_ID];
    journal_id_out(in->then_id, id);
    journal_bind_id(s, 1, id);
    (void)sqlite3_bind_int64(s, 2, in->member);
    (void)sqlite3_bind_int64(s, 3, in->ok);
    if (in->result != NULL) {
        (void)sqlite3_bind_blob64(s, 4, in->result, in->len, SQLITE_STATIC);
    }
    return journal_step(s);
}

CELLAR_PRIVATE cellar_err journal_throttles_delete(journal *j, int64_t now_wall_ms, int64_t most)
{
    sqlite3_stmt *s = j->statement[JOURNAL_THROTTLES_DELETE];
    (void)sqlite3_bind_int64(s, 1, now_wall_ms);
    (void)sqlite3_bind_int64(s, 2, most);
    return journal_step(s);
}

CELLAR_PRIVATE cellar_err journal_throttle(journal *j, const char *key, cellar_task_id id,
                                           int64_t until_wall_ms, int64_t now_wall_ms)
{
    sqlite3_stmt *s = j->statement[JOURNAL_THROTTLE];
    unsigned char bytes[JOURNAL_ID];
    journal_id_out(id, bytes);
    journal_bind_text(s, 1, key);
    journal_bind_id(s, 2, bytes);
    (void)sqlite3_bind_int64(s, 3, until_wall_ms);
    const cellar_err err = journal_step(s);
    /* Two for each key that comes: so the table has few that are over. */
    return err == CELLAR_OK ? journal_throttles_delete(j, now_wall_ms, 2) : err;
}

CELLAR_PRIVATE cellar_err journal_schedule_write(journal *j, journal_schedule *row)
{
    sqlite3_stmt *s = j->statement[JOURNAL_SCHEDULE + (int)row->op];
    journal_bind_text(s, 1, row->name); /* a statement ignores values that it does not name */
    journal_bind_text(s, 2, row->spec);
    journal_bind_text(s, 3, row->zone);
    (void)sqlite3_bind_int64(s, 4, row->last_due_wall_ms);
    while (sqlite3_step(s) == SQLITE_ROW) { row->last_due_wall_ms = sqlite3_column_int64(s, 0); }
    return journal_code(journal_reset(s));
}

/* ---- reading ---- */

/* Run a query and pass each of its rows to `fn`. */
static cellar_err journal_walk(journal *j, const char *sql,
                               cellar_err (*fn)(sqlite3_stmt *s, void *ctx), void *ctx)
{
    sqlite3_stmt *s = NULL;
    cellar_err err = CELLAR_OK;
    int rc = sqlite3_prepare_v2(j->db, sql, -1, &s, NULL);
    while (rc == SQLITE_OK && err == CELLAR_OK && sqlite3_step(s) == SQLITE_ROW) {
        err = fn(s, ctx);
    }
    if (rc == SQLITE_OK) { rc = sqlite3_finalize(s); }
    return err != CELLAR_OK ? err : journal_code(rc);
}

static cellar_err journal_numbers_of(sqlite3_stmt *s, void *ctx)
{
    uint64_t *number = ctx;
    for (int i = 0; i < sqlite3_column_count(s); i++) {
        number[i] = (uint64_t)sqlite3_column_int64(s, i);
    }
    return CELLAR_OK;
}

CELLAR_PRIVATE cellar_err journal_count(journal *j, uint64_t *rows, uint64_t *names)
{
    uint64_t number[2] = { 0, 0 };
    const cellar_err err = journal_walk(j, "SELECT count(*), count(DISTINCT name) FROM task",
                                        journal_numbers_of, number);
    *rows = number[0];
    *names = number[1];
    return err;
}

static const char *journal_text(sqlite3_stmt *s, int column)
{
    return (const char *)sqlite3_column_text(s, column);
}

/* Read a number of at most `most`. False: it is out of range. */
static bool journal_in_range(sqlite3_stmt *s, int column, int64_t most, int64_t *out)
{
    *out = sqlite3_column_int64(s, column);
    return *out >= 0 && *out <= most;
}

static bool journal_short(const char *text, size_t most)
{
    return text == NULL || strlen(text) <= most;
}

/* Check a row as a submit checks its options. */
static cellar_err journal_row_of(sqlite3_stmt *s, void *ctx)
{
    static const struct { int column; int64_t most; } range[] = {
        { 2, CELLAR_TASK_FAILED }, { 3, CELLAR_TASK_PRIORITY_MAX }, { 4, UINT8_MAX },
        { 5, UINT8_MAX }, { 6, UINT32_MAX }, { 15, UINT32_MAX }, { 20, CELLAR_TASK_GROUP_MAX },
        { 21, CELLAR_TASK_ALWAYS }
    };
    const journal_reader *reader = ctx;
    int64_t n[sizeof range / sizeof *range];
    cellar_task_id id;
    const char *name = journal_text(s, 1);
    bool ok = journal_id_in(s, 0, &id) && name != NULL && *name != '\0' &&
              journal_short(name, CELLAR_NAME_MAX) &&
              journal_short(journal_text(s, 13), CELLAR_TASK_TEXT_MAX) &&
              journal_short(journal_text(s, 14), CELLAR_TASK_TEXT_MAX) &&
              journal_short(journal_text(s, 16), CELLAR_TASK_TEXT_MAX) &&
              journal_short(journal_text(s, 22), CELLAR_TASK_TEXT_MAX);
    for (size_t i = 0; i < sizeof n / sizeof *n; i++) {
        ok = journal_in_range(s, range[i].column, range[i].most, &n[i]) && ok;
    }
    if (!ok || n[0] == CELLAR_TASK_RUNNING || n[0] == CELLAR_TASK_SUCCEEDED || n[0] == 0) {
        return CELLAR_E_CORRUPT;
    }
    journal_row r = { .id = id, .name = name, .state = (uint8_t)n[0], .priority = (uint8_t)n[1],
                      .attempt = (uint8_t)n[2], .max_attempts = (uint8_t)n[3],
                      .begun = (uint32_t)n[4], .unique_states = (uint32_t)n[5],
                      .inputs = (uint32_t)n[6], .run_on = (uint32_t)n[7],
                      .submitted_wall_ms = sqlite3_column_int64(s, 7),
                      .due_wall_ms = sqlite3_column_int64(s, 8),
                      .delay_ms = sqlite3_column_int64(s, 9),
                      .expires_wall_ms = sqlite3_column_int64(s, 10),
                      .ended_wall_ms = sqlite3_column_int64(s, 11),
                      .key_until_wall_ms = sqlite3_column_int64(s, 23),
                      .body = (uint64_t)sqlite3_column_int64(s, 25),
                      .apart = sqlite3_column_type(s, 26) != SQLITE_NULL };
    r.payload = sqlite3_column_blob(s, r.apart ? 26 : 12);
    r.payload_len = (size_t)sqlite3_column_bytes(s, r.apart ? 26 : 12);
    r.content_type = journal_text(s, 13);
    r.unique_key = journal_text(s, 14);
    r.tag = journal_text(s, 16);
    r.trace = sqlite3_column_blob(s, 17);
    if (sqlite3_column_bytes(s, 17) != CELLAR_TASK_TRACE_BYTES) { r.trace = NULL; }
    r.error = journal_text(s, 22);
    return reader->row(&r, reader->ctx);
}

static cellar_err journal_link_of(sqlite3_stmt *s, void *ctx)
{
    const journal_reader *reader = ctx;
    cellar_task_id id, then_id;
    int64_t member;
    if (!journal_id_in(s, 0, &id) || !journal_id_in(s, 1, &then_id) ||
        !journal_in_range(s, 2, CELLAR_TASK_GROUP_MAX, &member)) {
        return CELLAR_E_CORRUPT;
    }
    return reader->link(id, then_id, (uint32_t)member, sqlite3_column_int(s, 3) != 0, reader->ctx);
}

static cellar_err journal_input_of(sqlite3_stmt *s, void *ctx)
{
    const journal_reader *reader = ctx;
    int64_t member, ok;
    journal_input in = { .result = NULL };
    if (!journal_id_in(s, 0, &in.then_id) ||
        !journal_in_range(s, 1, CELLAR_TASK_GROUP_MAX, &member) ||
        !journal_in_range(s, 2, 1, &ok)) {
        return CELLAR_E_CORRUPT;
    }
    in.member = (uint32_t)member;
    in.ok = ok != 0;
    if (sqlite3_column_type(s, 3) != SQLITE_NULL) {
        in.len = (size_t)sqlite3_column_bytes(s, 3);
        in.result = in.len != 0 ? sqlite3_column_blob(s, 3) : "";
    }
    return reader->input(&in, reader->ctx);
}

static cellar_err journal_throttle_of(sqlite3_stmt *s, void *ctx)
{
    const journal_reader *reader = ctx;
    const char *key = journal_text(s, 0);
    cellar_task_id id;
    if (key == NULL || *key == '\0' || !journal_short(key, CELLAR_TASK_TEXT_MAX) ||
        !journal_id_in(s, 1, &id)) {
        return CELLAR_E_CORRUPT;
    }
    return reader->throttle(key, id, sqlite3_column_int64(s, 2), reader->ctx);
}

CELLAR_PRIVATE cellar_err journal_read(journal *j, const journal_reader *reader)
{
    static const struct {
        const char *sql;
        cellar_err (*of)(sqlite3_stmt *s, void *ctx);
    } part[] = {
        { "SELECT *, NULL FROM task WHERE body IS NULL ORDER BY id", journal_row_of },
        { "SELECT task.*, bytes FROM (SELECT id AS at FROM task WHERE body IS NOT NULL ORDER BY"
          " body LIMIT -1) CROSS JOIN task ON task.id = at LEFT JOIN body ON body.id = task.body",
          journal_row_of }, /* sorts ids, not bytes */
        { "SELECT * FROM throttle", journal_throttle_of },
        { "SELECT * FROM input", journal_input_of },
        { "SELECT id, then_id, member, 0 FROM task WHERE then_id IS NOT NULL UNION"
          " ALL SELECT after_id, id, 0, 1 FROM task WHERE after_id IS NOT NULL", journal_link_of },
    };
    journal_reader to = *reader;
    /* What the last changes of a process left: rows without bytes, bytes without rows. */
    cellar_err err = journal_code(sqlite3_exec(
        j->db, "DELETE FROM task WHERE body IS NOT NULL AND payload IS NULL"
        " AND body NOT IN (SELECT id FROM body);"
        "DELETE FROM body WHERE id NOT IN (SELECT body FROM task WHERE body IS NOT NULL)",
        NULL, NULL, NULL));
    for (size_t i = 0; err == CELLAR_OK && i < sizeof part / sizeof *part; i++) {
        err = journal_walk(j, part[i].sql, part[i].of, &to);
    }
    return err;
}

/* ---- open ---- */

static cellar_err journal_ok_of(sqlite3_stmt *s, void *ctx)
{
    (void)ctx;
    return strcmp(journal_text(s, 0), "ok") == 0 ? CELLAR_OK : CELLAR_E_CORRUPT;
}

/* Truncate the WAL. The WAL has at most as many bytes as the file that keeps room, so a checkpoint
 * finds room once that file is deleted. */
CELLAR_PRIVATE void journal_room(journal *j, bool all)
{
    const char *path = sqlite3_db_filename(j->db, "main");
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
    uint64_t is[3] = { 0, 0, 0 };
    cellar_err err = journal_code(sqlite3_exec(j->db, journal_setup, NULL, NULL, NULL));
    if (err == CELLAR_OK) {
        const char *level = sync ? "PRAGMA synchronous=FULL; BEGIN EXCLUSIVE"
                                 : "PRAGMA synchronous=NORMAL; BEGIN EXCLUSIVE";
        err = journal_code(sqlite3_exec(j->db, level, NULL, NULL, NULL));
    }
    if (err == CELLAR_OK) {
        err = journal_walk(j, "SELECT (SELECT count(*) FROM sqlite_schema), * FROM"
                           " pragma_application_id, pragma_user_version", journal_numbers_of, is);
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
    if (is[TABLES] != 0) { err = journal_walk(j, "PRAGMA quick_check(1)", journal_ok_of, NULL); }
    if (err != CELLAR_OK) { return err; }
    err = journal_code(sqlite3_exec(j->db, "COMMIT; PRAGMA journal_mode=WAL;"
                                    "PRAGMA journal_size_limit=16777216", NULL, NULL, NULL));
    if (err == CELLAR_OK) {
        journal_room(j, false);
        err = journal_code(sqlite3_exec(j->db, "BEGIN EXCLUSIVE", NULL, NULL, NULL));
    }
    if (err == CELLAR_OK && is[TABLES] == 0) {
        err = journal_code(sqlite3_exec(j->db, journal_schema, NULL, NULL, NULL));
    }
    if (err == CELLAR_OK) {
        err = journal_code(sqlite3_exec(j->db,
            "DELETE FROM input WHERE then_id NOT IN (SELECT id FROM task); COMMIT", NULL, NULL,
            NULL));
    }
    if (err != CELLAR_E_CORRUPT) { *why = sqlite3_errstr(sqlite3_errcode(j->db)); }
    return err;
}

CELLAR_PRIVATE cellar_err journal_open(base_account *account, const char *path, bool sync,
                                       journal **out, const char **why)
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
        const int rc = sqlite3_prepare_v3(j->db, journal_sql[i], -1, SQLITE_PREPARE_PERSISTENT,
                                          &j->statement[i], NULL);
        err = journal_code(rc);
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
    if (j->owned) { journal_room_end(account, sqlite3_db_filename(j->db, "main")); }
    (void)sqlite3_close(j->db);
    base_free(account, BASE_MOD_STORE, j, sizeof *j);
}

BASE_SIZE_END
#else /* no journal opens, so nothing reaches the other calls */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

CELLAR_PRIVATE cellar_err journal_open(base_account *account, const char *path, bool sync,
                                       journal **out, const char **why)
{
    *why = "this library was built without SQLite (make SQLITE=1)";
    return CELLAR_E_UNSUPPORTED;
}

CELLAR_PRIVATE void journal_close(base_account *account, journal *j) { }
CELLAR_PRIVATE void journal_rollback(journal *j) { }
CELLAR_PRIVATE void journal_room(journal *j, bool all) { }
CELLAR_PRIVATE const char *journal_error(const journal *j) { return ""; }
#define JOURNAL_NONE(call) CELLAR_PRIVATE cellar_err call { return CELLAR_E_UNSUPPORTED; }
JOURNAL_NONE(journal_begin(journal *j))
JOURNAL_NONE(journal_commit(journal *j))
JOURNAL_NONE(journal_insert(journal *j, const journal_row *row))
JOURNAL_NONE(journal_update(journal *j, const journal_row *row, bool payload))
JOURNAL_NONE(journal_body_add(journal *j, uint64_t id, const void *bytes, size_t len))
JOURNAL_NONE(journal_delete(journal *j, cellar_task_id id, bool inputs, uint64_t body))
JOURNAL_NONE(journal_input_add(journal *j, const journal_input *in))
JOURNAL_NONE(journal_schedule_write(journal *j, journal_schedule *row))
JOURNAL_NONE(journal_count(journal *j, uint64_t *rows, uint64_t *names))
JOURNAL_NONE(journal_read(journal *j, const journal_reader *reader))
JOURNAL_NONE(journal_throttle(journal *j, const char *key, cellar_task_id id,
                              int64_t until_wall_ms, int64_t now_wall_ms))
JOURNAL_NONE(journal_throttles_delete(journal *j, int64_t now_wall_ms, int64_t most))

#pragma GCC diagnostic pop
#endif
