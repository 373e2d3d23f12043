/* SPDX-License-Identifier: MIT
 *
 * key: names of values and control keys in the server; hashes. */
#ifndef REMOTE_KEY_H
#define REMOTE_KEY_H

#include "cellar_remote.h"
#include "base/port.h"

enum {
    /* prefix, ':', namespace, ':', '#', 'x' and two digits for each byte of the key; a lease beside
     * the value has '~' before the prefix and "lease:" before the namespace */
    REMOTE_NAME_MAX = CELLAR_REMOTE_PREFIX_MAX + CELLAR_NAME_MAX + 11 +
                      2 * (int)CELLAR_REMOTE_KEY_TEXT_MAX
};

typedef struct remote_name {
    size_t len;
    bool digest;                 /* the name has a digest: the value needs the full key */
    char text[REMOTE_NAME_MAX];
} remote_name;

/* Parts of the names of a namespace; texts outlive it. */
typedef struct remote_names {
    const char *prefix;
    const char *space;           /* name of the namespace; "": the root */
} remote_names;

typedef enum remote_kind {
    REMOTE_KIND_OTHER,           /* not of this prefix, or not understood */
    REMOTE_KIND_VALUE,           /* `key`, or `digest` */
    REMOTE_KIND_EPOCH,
    REMOTE_KIND_GENERATION,      /* text: the namespace */
    REMOTE_KIND_TAG,             /* text: the tag */
    REMOTE_KIND_SOFT_TAG,
    REMOTE_KIND_PATTERN          /* text: the process that deletes, ':', the namespace */
} remote_kind;

/* A name taken apart; texts point into the name. */
typedef struct remote_parts {
    remote_kind kind;
    const char *space;           /* of VALUE: not ended by a zero byte */
    size_t space_len;
    const char *text;            /* of VALUE: the key as the name has it */
    size_t text_len;
} remote_parts;

/* Return whether a namespace may have this name in the server: no ':', no '~' in front. */
CELLAR_PRIVATE bool remote_space_valid(const char *name);

/* Write the name of a key. Different keys have different names, but for equal digests. */
CELLAR_PRIVATE void remote_key_name(const remote_names *n, const void *key, size_t key_len,
                                    remote_name *out);

/* Write the name of a control key: EPOCH, GENERATION, TAG, SOFT_TAG or PATTERN with its text, which
 * has at most CELLAR_TAG_MAX bytes. */
CELLAR_PRIVATE void remote_control_name(const char *prefix, remote_kind kind, const char *text,
                                        size_t len, remote_name *out);

/* Take a name of the server apart. */
CELLAR_PRIVATE remote_parts remote_name_parts(const char *prefix, const char *name, size_t len);

/* Restore the key from the text of a VALUE. `key` has room for CELLAR_REMOTE_KEY_TEXT_MAX bytes.
 * Return its length; 0: the text has a digest, or is not a name that remote_key_name writes. */
CELLAR_PRIVATE size_t remote_key_of(const char *text, size_t text_len, uint8_t *key);

/* Return the check of `len` bytes, continuing from `h` (0: the start). */
CELLAR_PRIVATE uint64_t remote_check(uint64_t h, const void *bytes, size_t len);

#endif
