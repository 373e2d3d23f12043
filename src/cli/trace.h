/* SPDX-License-Identifier: MIT
 *
 * trace: requests out of a file, in pieces, whatever its format. */
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
    uint64_t id;      /* well mixed: never the number in the file */
    uint64_t size;    /* bytes; 1 where the format has none */
    int64_t time_ms;  /* since the first request, never backwards */
    int64_t ttl_ms;   /* 0: none */
    bool write;       /* a set, not a request that can hit */
} gate_request;

typedef struct gate_trace gate_trace;

/* Opens and looks at the first bytes. NULL: gate_trace_wrong of `why` (GATE_TRACE_WHY bytes) says
 * why. */
#define GATE_TRACE_WHY 320
gate_trace *gate_trace_open(const char *path, const gate_trace_how *how, char *why);
/* Up to `most` requests; 0: the end, or something wrong (*wrong true, `why` filled as
 * "FILE: record N: reason"). */
size_t gate_trace_read(gate_trace *t, gate_request *out, size_t most, bool *wrong, char *why);
uint64_t gate_trace_backwards(const gate_trace *t); /* times held so far */
bool gate_trace_again(const gate_trace *t);         /* a file that can be opened once more */
/* Position in the file as stored, for the live line; 0 of 0 when unknown. */
void gate_trace_place(const gate_trace *t, uint64_t *at, uint64_t *of);
void gate_trace_close(gate_trace *t);
/* "ctr" and so on. False: no such format. */
bool gate_trace_format_of(const char *name, gate_trace_format *out);
const char *gate_trace_format_name(gate_trace_format f);
/* "time,key,size,ttl"; "-" skips a column. False: not that. */
bool gate_trace_columns_of(const char *text, gate_trace_how *how);

#endif
