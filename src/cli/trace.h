/* SPDX-License-Identifier: MIT
 *
 * trace: read the requests of a trace file in pieces; six formats, packed or not. */
#ifndef CLI_TRACE_H
#define CLI_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef enum gate_trace_format {
    GATE_TRACE_AUTO = 0, GATE_TRACE_CTR, GATE_TRACE_ORACLE, GATE_TRACE_LIS, GATE_TRACE_TWITTER,
    GATE_TRACE_CSV, GATE_TRACE_TXT
} gate_trace_format;

typedef enum gate_trace_column { /* of --columns */
    GATE_COLUMN_SKIP = 0, GATE_COLUMN_TIME, GATE_COLUMN_KEY, GATE_COLUMN_SIZE, GATE_COLUMN_TTL
} gate_trace_column;
#define GATE_COLUMNS_MAX 16

typedef struct gate_trace_how {
    gate_trace_format format;
    gate_trace_column column[GATE_COLUMNS_MAX]; /* CSV */
    unsigned column_count;
    int64_t per_second; /* units of the time column in a second: 1, 1000, 1000000, 1000000000 */
} gate_trace_how;

typedef struct gate_request {
    uint64_t id;      /* mixed: never the number in the file */
    uint64_t size;    /* bytes; 1 where the format has none */
    int64_t time_ms;  /* since the first request; never falls */
    int64_t ttl_ms;   /* 0: none */
    bool write;       /* a set, not a request that can hit */
} gate_request;

typedef struct gate_trace gate_trace;

#define GATE_TRACE_WHY 512 /* bytes of `why` */
/* Open a trace and choose its format. On an error return NULL and write a sentence into `why`;
 * *wrong: the file can be read and is no trace. */
gate_trace *gate_trace_open(const char *path, const gate_trace_how *how, bool *wrong, char *why);
/* Read up to `most` requests. Return 0 at the end and on an error; then *wrong is true and `why` is
 * "FILE: line N: REASON; expected FORM". Binary formats have records instead of lines. */
size_t gate_trace_read(gate_trace *t, gate_request *out, size_t most, bool *wrong, char *why);
/* Return the number of times so far that were earlier than the one before. */
uint64_t gate_trace_backwards(const gate_trace *t);
/* Return whether the file can be opened a second time: no pipe. */
bool gate_trace_again(const gate_trace *t);
/* Return position and length of the stored file, for the live line; 0 of 0 if unknown. */
void gate_trace_place(const gate_trace *t, uint64_t *at, uint64_t *of);
void gate_trace_close(gate_trace *t);
/* Parse the name of a format, "ctr" and so on. Return false if there is no such format. */
bool gate_trace_format_of(const char *name, gate_trace_format *out);
/* Return the form that the file must have, for errors. */
const char *gate_trace_form(const gate_trace *t);
/* Parse "time,key,size,ttl"; "-" skips a column. Return false if `text` is no such list. */
bool gate_trace_columns_of(const char *text, gate_trace_how *how);

#endif
