/* SPDX-License-Identifier: MIT
 *
 * user_pattern: regular expressions of users, compiled and matched within bounds, for patterns.c.
 *
 * It calls PCRE2 and knows no cache. */
#ifndef USER_PATTERN_H
#define USER_PATTERN_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stddef.h>
#include <string.h>

/* Compile a pattern. Set the bytes of its code, or the error of PCRE2 and return NULL. PCRE2 alone
 * refuses a pattern that becomes more than 64 KiB of code. */
static inline pcre2_code *pattern_compile(const void *text, size_t len, size_t *bytes, int *error)
{
    PCRE2_SIZE at;
    pcre2_compile_context *const bounds = pcre2_compile_context_create(NULL);
    *error = PCRE2_ERROR_NOMEMORY;
    if (bounds == NULL) { return NULL; }
    pcre2_set_max_pattern_length(bounds, 200);
    pcre2_code *const p =
        pcre2_compile(text, len, PCRE2_NEVER_BACKSLASH_C, error, &at, bounds);
    if (p != NULL) { pcre2_pattern_info(p, PCRE2_INFO_SIZE, bytes); }
    pcre2_compile_context_free(bounds);
    return p;
}

/* Match a line. Return 0 or more if it matches, else an error: PCRE2_ERROR_NOMATCH, or a bound. */
static inline int pattern_match(const pcre2_code *p, const char *line)
{
    int result = PCRE2_ERROR_NOMEMORY;
    pcre2_match_context *const bounds = pcre2_match_context_create(NULL);
    pcre2_match_data *const data = pcre2_match_data_create(1, NULL);
    if (bounds != NULL && data != NULL) {
        pcre2_set_match_limit(bounds, 100000); /* steps */
        pcre2_set_heap_limit(bounds, 1024);    /* KiB */
        result = pcre2_match(p, (PCRE2_SPTR)line, strlen(line), 0, 0, data, bounds);
    }
    pcre2_match_data_free(data);
    pcre2_match_context_free(bounds);
    return result;
}

/* Write the text of an error, of a compilation or of a match. */
static inline void pattern_error(int error, char text[120])
{
    pcre2_get_error_message(error, (PCRE2_UCHAR *)text, 120);
}

#endif
