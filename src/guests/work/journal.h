/* SPDX-License-Identifier: MIT
 *
 * journal: rows of tasks, messages and schedules in an SQLite database, the only file that sees
 * SQLite. One thread at a time uses a journal. */
#ifndef WORK_JOURNAL_H
#define WORK_JOURNAL_H

#include "base/log.h"
#include "base/mem.h"
#include "base/port.h"
#include "cellar_task.h"

/* Most bytes of a payload or a result: SQLite takes 10^9 in a row. */
#define JOURNAL_BYTES_MAX (UINT64_C(1000000000) - 65536)

typedef struct journal journal;

/* One task. Texts: NULL is none. */
typedef struct journal_row {
    cellar_task_id id;
    cellar_task_id then_id;  /* task that waits for this one; both 0: none */
    cellar_task_id after_id; /* task that this one waits for, of option `after` */
    const char *name, *unique_key, *tag, *content_type, *error;
    const unsigned char *trace; /* NULL: none */
    const void *payload;
    size_t   payload_len;
    int64_t  submitted_wall_ms;
    int64_t  due_wall_ms;    /* 0: due */
    int64_t  delay_ms;       /* longest time until it is due; < 0: due at due_wall_ms */
    int64_t  expires_wall_ms; /* 0: never */
    int64_t  ended_wall_ms;  /* of a dead letter; else 0 */
    int64_t  key_until_wall_ms; /* the unique key is free from then; 0: no limit */
    uint64_t body;           /* message of which it is a row; 0: none */
    bool     apart;          /* the payload is in table `body`, for several rows */
    uint32_t begun;          /* attempts that began, snoozed ones as well */
    uint32_t unique_states, member;
    uint32_t inputs;         /* tasks before it; 0: none */
    uint32_t run_on;
    uint8_t  state, priority, attempt, max_attempts;
} journal_row;

typedef struct journal_input { /* end of one of the tasks before `then_id` */
    cellar_task_id then_id;
    const void *result;      /* NULL: none */
    size_t   len;
    uint32_t member;
    bool     ok;
} journal_input;

typedef enum journal_schedule_op {
    JOURNAL_SCHEDULE_OPEN,   /* read the row; without one of this spec and zone, write it */
    JOURNAL_SCHEDULE_SET,    /* raise last_due_wall_ms of the row of this spec and zone, if there
                              * is one */
    JOURNAL_SCHEDULE_DELETE
} journal_schedule_op;

typedef struct journal_schedule { /* last due time of a schedule. Texts are set, and not ""; of
                                  * DELETE only the name */
    journal_schedule_op op;
    const char *name, *spec, *zone;
    int64_t  last_due_wall_ms;
} journal_schedule;

typedef struct journal_reader {
    cellar_err (*row)(const journal_row *row, void *ctx);
    cellar_err (*throttle)(const char *key, cellar_task_id id, int64_t until_wall_ms, void *ctx);
    cellar_err (*input)(const journal_input *in, void *ctx);
    /* Link of a row to its then_id, or from its after_id (`after`). */
    cellar_err (*link)(cellar_task_id id, cellar_task_id then_id, uint32_t member, bool after,
                       void *ctx);
    void *ctx;
} journal_reader;

/* Open or create the database, and own it. *why: what is wrong, static text.
 * returns: OK; E_BUSY (another owner), E_CORRUPT, E_FOREIGN, E_NEWER_FORMAT, E_SPACE, E_IO,
 *          E_NOMEM, E_UNSUPPORTED */
CELLAR_PRIVATE cellar_err journal_open(base_account *account, const char *path, bool sync,
                                       journal **out, const char **why);
CELLAR_PRIVATE void journal_close(base_account *account, journal *j);
/* Return the text of SQLite for the last failure. */
CELLAR_PRIVATE const char *journal_error(const journal *j);
/* Begin a transaction. A failure of this or of the next nine calls fails it: the caller calls
 * journal_rollback, which also takes it out of the WAL if its commit failed there. */
CELLAR_PRIVATE cellar_err journal_begin(journal *j);
CELLAR_PRIVATE cellar_err journal_commit(journal *j);
CELLAR_PRIVATE void journal_rollback(journal *j);
/* Truncate the WAL, and make the file that keeps room for the next time. `all`: delete that file
 * instead. No transaction may run. */
CELLAR_PRIVATE void journal_room(journal *j, bool all);
CELLAR_PRIVATE cellar_err journal_insert(journal *j, const journal_row *row);
/* Write state, times, attempts and error of a row. `payload`: its payload as well. */
CELLAR_PRIVATE cellar_err journal_update(journal *j, const journal_row *row, bool payload);
/* Delete a row. `inputs`: those of the tasks before it as well. `body`: the bytes of that message
 * in table `body` as well; 0: none. */
CELLAR_PRIVATE cellar_err journal_delete(journal *j, cellar_task_id id, bool inputs, uint64_t body);
/* Add the bytes of a message, before its rows. */
CELLAR_PRIVATE cellar_err journal_body_add(journal *j, uint64_t id, const void *bytes, size_t len);
/* Add an input, unless it is there. */
CELLAR_PRIVATE cellar_err journal_input_add(journal *j, const journal_input *in);
/* Write a key of THROTTLE, and delete up to two that are over. */
CELLAR_PRIVATE cellar_err journal_throttle(journal *j, const char *key, cellar_task_id id,
                                           int64_t until_wall_ms, int64_t now_wall_ms);
/* Delete keys of THROTTLE that are over, the oldest first; most < 0: all of them. */
CELLAR_PRIVATE cellar_err journal_throttles_delete(journal *j, int64_t now_wall_ms, int64_t most);
/* Carry out `op` of a schedule. */
CELLAR_PRIVATE cellar_err journal_schedule_write(journal *j, journal_schedule *row);
/* Count the rows and their different names. */
CELLAR_PRIVATE cellar_err journal_count(journal *j, uint64_t *rows, uint64_t *names);
/* Pass the tasks to the functions of the reader: rows by id, then those of messages by the number
 * of the message, keys of THROTTLE, inputs, links. A code of a function ends the walk and is
 * returned. */
CELLAR_PRIVATE cellar_err journal_read(journal *j, const journal_reader *reader);

#endif
