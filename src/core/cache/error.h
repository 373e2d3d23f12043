/* SPDX-License-Identifier: MIT
 *
 * error: functions of error.c for the files above it. */
#ifndef CACHE_ERROR_H
#define CACHE_ERROR_H

#include "cache/types.h"

/* Keep the error of a handle, without a log line. */
CELLAR_PRIVATE void cache_error_keep(cellar *c, cellar_err code, int sys_errno, const char *text);
/* Keep the reason of a failed cellar_open; return `code`. */
CELLAR_PRIVATE cellar_err cache_open_refuse(cellar_err code, const char *what);
/* Record the error of a handle, log it if the host must know, and return `code`. OK: nothing. */
CELLAR_PRIVATE cellar_err cache_fail(cellar *c, cellar_err code, int sys_errno, const char *text);
CELLAR_PRIVATE void cache_fail_open(cellar_err code, int sys_errno, const char *text);
/* Refuse a call with E_INVAL: with the rule that it breaks. */
BASE_COLD CELLAR_PRIVATE cellar_err cache_refuse(cellar *c, const char *text);
/* Refuse a call with E_INVAL: for a bad key with its length, else with the rule `rest`. */
BASE_COLD CELLAR_PRIVATE cellar_err cache_fail_key(cellar *c, const char *call, const void *key,
                                                   size_t key_len, const char *rest);
/* Refuse a call with E_INVAL: with the rule, and the number, or the size, that breaks it. */
BASE_COLD CELLAR_PRIVATE cellar_err cache_fail_number(cellar *c, const char *rule, int64_t got);
BASE_COLD CELLAR_PRIVATE cellar_err cache_fail_size(cellar *c, const char *rule, uint64_t got);

/* The rule that options break, and the number that breaks it. */
typedef struct cache_broken {
    const char *rule; /* NULL: a flag or field is unknown */
    int64_t     got;
    uint8_t     numbered; /* 1: got is signed, 2: not */
    const char *part; /* struct of the options that the rule is of; NULL: the options themselves */
} cache_broken;

BASE_INLINE cellar_err cache_breaks(cache_broken *b, cellar_err code, const char *rule)
{
    *b = (cache_broken){ .rule = rule };
    return code;
}

BASE_INLINE cellar_err cache_breaks_by(cache_broken *b, cellar_err code, const char *rule,
                                       int64_t got)
{
    *b = (cache_broken){ rule, got, 1, NULL };
    return code;
}

BASE_INLINE cellar_err cache_breaks_size(cache_broken *b, cellar_err code, const char *rule,
                                         uint64_t got)
{
    *b = (cache_broken){ rule, (int64_t)got, 2, NULL };
    return code;
}

/* Write "call: rule (got number)". */
CELLAR_PRIVATE void cache_broken_text(const cache_broken *b, const char *call,
                                      char text[CACHE_ERROR_TEXT]);
BASE_COLD CELLAR_PRIVATE cellar_err cache_fail_broken(cellar *c, cellar_err err, const char *call,
                                                      const cache_broken *b);
/* Refuse options with flags, or with a field (unknown is 0), that this library does not know:
 * E_UNSUPPORTED. */
BASE_COLD CELLAR_PRIVATE cellar_err cache_fail_flags(cellar *c, const char *call, uint32_t unknown);
/* Refuse a value of `got` bytes, which is longer than max_value_bytes: E_TOOBIG. */
BASE_COLD CELLAR_PRIVATE cellar_err cache_fail_long(cellar *c, const char *call, uint64_t got);
/* Refuse a call on a handle that is closed, or on bytes in a namespace of objects. `call` has the
 * name of a public function, else the text names none. */
CELLAR_PRIVATE cellar_err cache_closed(cellar *c, const char *call);

#endif
