/* SPDX-License-Identifier: MIT
 *
 * form: the envelope around a value in the server. */
#ifndef REMOTE_FORM_H
#define REMOTE_FORM_H

#include "cellar.h"
#include "base/port.h"

enum { REMOTE_FORM_HEAD = 56, REMOTE_FORM_CHECK_AT = 48 };

typedef enum remote_form_kind {
    REMOTE_FORM_VALUE = 1,
    REMOTE_FORM_ABSENT = 2, /* known to be absent */
    REMOTE_FORM_LEASE = 3,  /* a load runs, or a process asked all others to load: a miss */
    REMOTE_FORM_COUNTER = 4 /* a value of 8 bytes, to which the server adds */
} remote_form_kind;

typedef struct remote_form {
    uint8_t kind, cost;
    uint8_t tag_count;          /* at most CELLAR_TAGS_MAX */
    uint32_t stale_ms, user_flags;
    uint64_t generation, born;  /* epochs */
    uint64_t deadline_ms;       /* clock of the server; 0: none */
    uint64_t check;             /* of remote_form_read; never 0 */
    cellar_bytes tags[CELLAR_TAGS_MAX];
    cellar_bytes key;           /* len 0: the name has the key */
    cellar_bytes value;
} remote_form;

typedef enum remote_form_verdict {
    REMOTE_FORM_OK,
    REMOTE_FORM_FOREIGN,        /* another magic: not written by cellar */
    REMOTE_FORM_NEWER,
    REMOTE_FORM_DAMAGED,
    REMOTE_FORM_TOO_BIG,        /* value above max_value */
    REMOTE_FORM_OTHER_KEY       /* another key of the same digest */
} remote_form_verdict;

/* Return the check of a RAW value, never 0. */
CELLAR_PRIVATE uint64_t remote_raw_check(const void *value, size_t len);

/* Write and read the value of a counter. */
CELLAR_PRIVATE void remote_form_count(uint8_t out[8], int64_t number);
CELLAR_PRIVATE int64_t remote_form_number(const void *value);

/* Return the bytes that remote_form_write needs. */
CELLAR_PRIVATE size_t remote_form_size(const remote_form *f);

/* Write an envelope for the key `name` of the server. Return its check. */
CELLAR_PRIVATE uint64_t remote_form_write(const remote_form *f, const char *name, size_t name_len,
                                          uint8_t *out);

/* Take an envelope apart; texts of *f point into `bytes`. `key` is compared with the key inside.
 * No allocation. */
CELLAR_PRIVATE remote_form_verdict remote_form_read(const void *bytes, size_t len,
                                                    const char *name, size_t name_len,
                                                    cellar_bytes key, uint64_t max_value,
                                                    remote_form *f);

#endif
