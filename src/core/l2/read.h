/* SPDX-License-Identifier: MIT
 *
 * read: find the record of a key and check it before its value is served. */
#ifndef L2_READ_H
#define L2_READ_H

#include "l2/types.h"

typedef struct l2_want { /* what a read of one record asks for */
    const l2_key *k;
    void *buf;
    size_t buf_cap, *value_len;
    l2_meta *meta;
    bool range;      /* copy what fits from `offset` on, instead of all or nothing */
    uint64_t offset;
    bool *unread;    /* a MISS sets it if a record could not be read now; NULL: not needed */
} l2_want;

/* Read the newest record of the key. OK, ABSENT, MISS; E_BUFFER: the value does not fit, *value_len
 * and *meta are set. Of a value in parts nothing is copied, and *value_len is the whole of it. */
CELLAR_PRIVATE cellar_err l2_read_record(l2 *d, const l2_want *wanted);
/* Return true if nothing ended a record: expiry, namespace, tags, patterns, floors. `at`: its bytes
 * up to the end of its key. */
CELLAR_PRIVATE bool l2_record_valid(l2 *d, const unsigned char *at, const l2_rec *r, uint64_t lsn);
/* Start to read the record of a key from disk, without a wait. look: unless memory has its begin.
 * Return whether it was started. */
CELLAR_PRIVATE bool l2_record_ahead(l2 *d, uint64_t hash, bool look);

/* Return the form of the run that wrote the record at `lsn`. */
CELLAR_PRIVATE void l2_form_at(const l2 *d, uint64_t lsn, l2_form *out);
/* Read and check the record at `lsn`, of `bytes` at most. Return an errno; EILSEQ: it does not
 * verify; 0. */
CELLAR_PRIVATE int l2_record_read(l2 *d, uint64_t lsn, unsigned char *buf, uint32_t bytes,
                                  l2_rec *r);

/* Return the word of a hash (l2_mix), or whether it leads to `lsn`. */
CELLAR_PRIVATE l2_word l2_word_now(l2 *d, uint64_t hash);
CELLAR_PRIVATE bool l2_indexed_at(l2 *d, uint64_t hash, uint64_t lsn);

#endif
