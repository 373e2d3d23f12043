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

/* Columns of a row. Texts: NULL is none. Ids: both 0 is none. Bytes: data NULL is none. */
typedef struct journal_row {
    cellar_task_id id;
    cellar_task_id then_id;  /* task that waits for this one */
    cellar_task_id after_id; /* task that this one waits for, of option `after` */
    const char *name, *unique_key, *tag, *content_type, *error;
    cellar_bytes trace, payload;
    cellar_bytes bytes;      /* of a message with several rows, in place of the payload */
    int64_t submitted_wall_ms;
    int64_t due_wall_ms;     /* 0: due */
    int64_t delay_ms;        /* longest time until it is due; < 0: due at due_wall_ms */
    int64_t expires_wall_ms; /* 0: never */
    int64_t ended_wall_ms;   /* of a dead letter; else 0 */
    int64_t key_until_wall_ms; /* the unique key is free from then; 0: no limit */
    int64_t body;            /* message of which it is a row; 0: none */
    int64_t begun;           /* attempts that began, snoozed ones as well */
    int64_t unique_states, member;
    int64_t inputs;          /* tasks before it; 0: none */
    int64_t run_on, state, priority, attempt, max_attempts;
} journal_row;

typedef struct journal_input { /* end of one of the tasks before `then_id` */
    cellar_task_id then_id;
    cellar_bytes result;
    int64_t member, ok;
} journal_input;

typedef struct journal_throttle { /* key of THROTTLE */
    const char *key;
    cellar_task_id id;
    int64_t until_wall_ms;
    int64_t now_wall_ms;     /* of THROTTLES_DELETE: keys that are over leave, the oldest first */
    int64_t most;            /* at most so many of them; < 0: all */
} journal_throttle;

typedef struct journal_link { /* of a row to its then_id, or from its after_id (`after`) */
    cellar_task_id id, then_id;
    int64_t member, after;
} journal_link;

typedef enum journal_statement {
    JOURNAL_BEGIN, JOURNAL_COMMIT, /* of a transaction; no row */
    JOURNAL_INSERT,          /* a journal_row, as down to BODY_DELETE */
    JOURNAL_UPDATE,          /* state, times, attempts and error */
    JOURNAL_PAYLOAD,         /* payload, name, tag and max_attempts */
    JOURNAL_DELETE,
    JOURNAL_INPUTS_DELETE,   /* those of the tasks before it */
    JOURNAL_BODY,            /* add the bytes of a message */
    JOURNAL_BODY_DELETE,
    JOURNAL_INPUT,           /* add a journal_input, unless it is there */
    JOURNAL_THROTTLE,        /* a journal_throttle */
    JOURNAL_THROTTLES_DELETE,
    JOURNAL_SCHEDULE_OPEN,   /* of a journal_schedule: read the row; without one of this spec and
                              * zone, write it */
    JOURNAL_SCHEDULE_SET,    /* raise last_due_wall_ms of the row of this spec and zone, if there
                              * is one; lower one that a clock which went back has to reach */
    JOURNAL_SCHEDULE_DELETE,
    JOURNAL_STATEMENTS
} journal_statement;

typedef struct journal_schedule { /* last due time of a schedule. Texts are set, and not ""; of
                                  * DELETE only the name */
    journal_statement op;
    const char *name, *spec, *zone;
    int64_t last_due_wall_ms;
    int64_t now_wall_ms;     /* of SET; task_commit_schedule fills it in */
} journal_schedule;

/* What a reader gets: a journal_row, of a dead letter its id alone; _throttle, _input, _link. */
enum {
    JOURNAL_ROWS, JOURNAL_DEAD, JOURNAL_THROTTLES, JOURNAL_INPUTS, JOURNAL_LINKS, JOURNAL_PARTS
};
typedef struct journal_reader {
    cellar_err (*fn[JOURNAL_PARTS])(const void *row, void *ctx);
    void *ctx;
} journal_reader;

#define JOURNAL_ID 16
/* Write the bytes of an id, the high byte first. */
BASE_INLINE void journal_id_out(cellar_task_id id, unsigned char out[JOURNAL_ID])
{
    for (int i = 0; i < 8; i++) {
        out[i] = (unsigned char)(id.hi >> (56 - 8 * i));
        out[8 + i] = (unsigned char)(id.lo >> (56 - 8 * i));
    }
}

/* Open or create the database, and own it. number[]: its rows of tasks, and their different names.
 * *why: what is wrong, static text.
 * returns: OK; E_BUSY (another owner), E_CORRUPT, E_FOREIGN, E_NEWER_FORMAT, E_SPACE, E_IO,
 *          E_NOMEM, E_UNSUPPORTED */
CELLAR_PRIVATE cellar_err journal_open(base_account *account, const char *path, bool sync,
                                       journal **out, uint64_t number[2], const char **why);
CELLAR_PRIVATE void journal_close(base_account *account, journal *j);
/* Return the text of SQLite for the last failure. */
CELLAR_PRIVATE const char *journal_error(const journal *j);
/* Return the absolute path of the database, with symbolic links followed: its other files lie
 * there, so each name of the database leads to the same ones. */
CELLAR_PRIVATE const char *journal_path(const journal *j);
/* Run a statement with the values of its struct; only a schedule gets values back. A failure fails
 * the transaction: the caller calls journal_rollback, which also takes it out of the WAL. */
CELLAR_PRIVATE cellar_err journal_write(journal *j, journal_statement what, void *row);
CELLAR_PRIVATE void journal_rollback(journal *j);
/* Truncate the WAL, and make the file that keeps room for the next time. `all`: delete that file
 * instead. No transaction may run. */
CELLAR_PRIVATE void journal_room(journal *j, bool all);
/* Pass the tasks to the functions of the reader: rows by id, then those of messages by the number
 * of the message, dead letters by their end, keys of THROTTLE, inputs, links. A code of a function
 * ends the walk and is returned. */
CELLAR_PRIVATE cellar_err journal_read(journal *j, const journal_reader *reader);

#endif
