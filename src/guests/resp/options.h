/* SPDX-License-Identifier: MIT
 *
 * options: optional words of SET, GETEX, EXPIRE, SCAN and COPY, in any order. Each reader returns
 * NULL, or the error text that the server of Redis sends for the same words. */
#ifndef RESP_OPTIONS_H
#define RESP_OPTIONS_H

#include "base/port.h"
#include "cellar.h"

#define RESP_ERR_SYNTAX  "ERR syntax error"
#define RESP_ERR_INTEGER "ERR value is not an integer or out of range"

/* Bits of resp_options.flags. */
#define RESP_OPT_NX      0x001u
#define RESP_OPT_XX      0x002u
#define RESP_OPT_GET     0x004u
#define RESP_OPT_KEEPTTL 0x008u
#define RESP_OPT_PERSIST 0x010u
#define RESP_OPT_GT      0x020u
#define RESP_OPT_LT      0x040u
#define RESP_OPT_REPLACE 0x080u
#define RESP_OPT_DB      0x100u

/* How a client writes a point in time. */
typedef enum resp_unit {
    RESP_UNIT_NONE = 0,
    RESP_UNIT_EX = 1,  /* seconds from now */
    RESP_UNIT_PX = 2,  /* milliseconds from now */
    RESP_UNIT_EXAT = 3, /* seconds since 1970 */
    RESP_UNIT_PXAT = 4  /* milliseconds since 1970 */
} resp_unit;

typedef struct resp_options {
    uint32_t flags;     /* RESP_OPT_... */
    resp_unit unit;     /* of `expire` */
    cellar_bytes expire; /* as written; read it with resp_expire_read */
    cellar_bytes match; /* SCAN: data NULL = all keys */
    cellar_bytes type;  /* SCAN: data NULL = all types */
    int64_t count;      /* SCAN: from 1 */
    int64_t db;         /* COPY: with RESP_OPT_DB, below RESP_DBS */
} resp_options;

/* Read the words after SET key value. */
CELLAR_PRIVATE const char *resp_options_set(const cellar_bytes *arg, size_t count,
                                            resp_options *out);
/* Read the words after GETEX key. */
CELLAR_PRIVATE const char *resp_options_getex(const cellar_bytes *arg, size_t count,
                                              resp_options *out);
/* Read the words after EXPIRE key time. *unknown: the word, if it is none of NX XX GT LT; then the
 * text is that before the word. */
CELLAR_PRIVATE const char *resp_options_expire(const cellar_bytes *arg, size_t count,
                                               resp_options *out, cellar_bytes *unknown);
/* Read a cursor of SCAN as strtoul does: decimal digits, leading zeros and one sign allowed. A
 * negative number wraps, an empty text is 0. */
CELLAR_PRIVATE bool resp_read_cursor(const void *text, size_t len, uint64_t *out);
/* Read the words after SCAN cursor. */
CELLAR_PRIVATE const char *resp_options_scan(const cellar_bytes *arg, size_t count,
                                             resp_options *out);
/* Read the words after COPY source destination. */
CELLAR_PRIVATE const char *resp_options_copy(const cellar_bytes *arg, size_t count,
                                             resp_options *out);

/* Result of resp_expire_read. */
typedef enum resp_expire_answer {
    RESP_EXPIRE_OK = 0,
    RESP_EXPIRE_NOT_INTEGER = 1,
    RESP_EXPIRE_INVALID = 2 /* "invalid expire time in '<command>' command" */
} resp_expire_answer;

/* Read a time.
 * in:      text; unit; now_wall_ms since 1970; positive: 0 and negative times are invalid
 * out:     *at_wall_ms since 1970 */
CELLAR_PRIVATE resp_expire_answer resp_expire_read(cellar_bytes text, resp_unit unit,
                                                   int64_t now_wall_ms, bool positive,
                                                   int64_t *at_wall_ms);

/* Return the TTL from now to a wall time, from 1 to CELLAR_TTL_NONE - 1; 0: the time has passed. */
CELLAR_PRIVATE int64_t resp_expire_ttl(int64_t at_wall_ms, int64_t now_wall_ms);

#endif
