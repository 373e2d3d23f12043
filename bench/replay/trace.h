/* SPDX-License-Identifier: MIT
 *
 * trace: read the requests of a trace file in pieces; eight formats, packed or not. */
#ifndef BENCH_REPLAY_TRACE_H
#define BENCH_REPLAY_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef enum cli_trace_format {
    CLI_TRACE_AUTO = 0, CLI_TRACE_CTR, CLI_TRACE_ORACLE, CLI_TRACE_VSCSI, CLI_TRACE_LIS,
    CLI_TRACE_TWITTER, CLI_TRACE_CSV, CLI_TRACE_JSON, CLI_TRACE_TXT
} cli_trace_format;

typedef enum cli_trace_column { /* of --columns; members of JSON */
    CLI_COLUMN_SKIP = 0, CLI_COLUMN_TIME, CLI_COLUMN_KEY, CLI_COLUMN_SIZE, CLI_COLUMN_TTL,
    CLI_COLUMN_OP, CLI_COLUMN_COUNT, CLI_COLUMN_OFFSET /* of a key, with --block */
} cli_trace_column;
#define CLI_COLUMNS_MAX 16

typedef struct cli_trace_name { /* of --columns=COLUMN=NAME; in `text` of cli_trace_how */
    size_t at, n;
    cli_trace_column column;
} cli_trace_name;

typedef struct cli_trace_how {
    cli_trace_format format;
    cli_trace_column column[CLI_COLUMNS_MAX]; /* CSV */
    cli_trace_name name[CLI_COLUMNS_MAX];     /* CSV */
    char text[256]; /* --columns */
    unsigned column_count, name_count;
    uint64_t block;     /* 0, or bytes: the key is an offset, a line requests each block there */
    int spooled;        /* 0, or an open regular file: the content of the path, a pipe */
    int64_t per_second; /* units of the time column in a second: 1, 1000, 1000000, 1000000000 */
} cli_trace_how;

typedef enum cli_op { CLI_GET = 0, CLI_SET, CLI_DELETE } cli_op;

typedef struct cli_request {
    uint64_t id;      /* mixed: never the number in the file */
    uint64_t size;    /* bytes; 1 where the format has none */
    int64_t time_ms;  /* since the first request; never falls */
    int64_t ttl_ms;   /* 0: none */
    cli_op op;        /* only a get can hit */
} cli_request;

typedef struct cli_trace cli_trace;

#define CLI_TRACE_WHY 512 /* bytes of `why` */
/* Open a trace and choose its format. On an error return NULL and write a sentence into `why`;
 * *wrong: the file can be read and is no trace. */
cli_trace *cli_trace_open(const char *path, const cli_trace_how *how, bool *wrong, char *why);
/* Read up to `most` requests. Return 0 at the end and on an error; then *wrong is true and `why` is
 * "FILE: line N: REASON; expected FORM". Binary formats have records instead of lines. */
size_t cli_trace_read(cli_trace *t, cli_request *out, size_t most, bool *wrong, char *why);
/* Return the number of times so far that were earlier than the one before. */
uint64_t cli_trace_backwards(const cli_trace *t);
/* Return position and length of the stored file, for the live line; 0 of 0 if unknown. */
void cli_trace_place(const cli_trace *t, uint64_t *at, uint64_t *of);
void cli_trace_close(cli_trace *t);
/* Parse the name of a format, "ctr" and so on. Return false if there is no such format. */
bool cli_trace_format_of(const char *name, cli_trace_format *out);
/* Return the form that the file must have, for errors. */
const char *cli_trace_form(const cli_trace *t);
/* Parse "time,key,size,ttl", where "-" skips a column, or "key=disk+offset,size=length". Return
 * false if `text` is no such list, or has more than 255 bytes. */
bool cli_trace_columns_of(const char *text, cli_trace_how *how);

#endif
