/* SPDX-License-Identifier: MIT
 *
 * get: functions of the table: reads (get.c), changes (put.c). */
#ifndef REMOTE_GET_H
#define REMOTE_GET_H

#include "remote/data.h"
#include "remote/form.h"

/* Flag of remote_get: a value that no condition can compare, of another program or of a newer
 * format, is E_TYPE. */
#define REMOTE_GET_COMPARES 0x80000000u

enum { REMOTE_NUMBER_ROUNDS = 4 }; /* readings of numbers that are heard again meanwhile */

/* Read a key, waiting for the server, and without waiting: see the table of cellar_tier.h. The
 * latter also asks for the lease, unless hold_ms is 0. */
CELLAR_PRIVATE cellar_err remote_get(void *ctx, const cellar_tier_key *k, void *buf,
                                     size_t buf_cap, size_t *value_len, cellar_tier_entry *e);
CELLAR_PRIVATE void remote_get_many(void *ctx, cellar_tier_get *gets, size_t count);
CELLAR_PRIVATE bool remote_get_later(void *ctx, const cellar_tier_key *k, int64_t hold_ms,
                                     const cellar_tier_ticket *ticket);

/* Ask for the lease of a load: see the table. MISS: the load runs without one. */
CELLAR_PRIVATE cellar_err remote_get_lease(void *ctx, const cellar_tier_key *k, int64_t hold_ms,
                                           cellar_tier_entry *e, cellar_tier_lease *l);

/* Release a lease of this process, or one that the server may have given. */
CELLAR_PRIVATE void remote_unlease(void *ctx, const cellar_tier_key *k,
                                   const cellar_tier_lease *held);
/* Ask for the leases of a bulk load: see the table. */
CELLAR_PRIVATE void remote_get_leases(void *ctx, cellar_tier_claim *claims, size_t count,
                                      int64_t hold_ms);

/* The tags of the value that a key has. */
typedef struct remote_tags {
    uint64_t check; /* of the value; 0: none */
    uint32_t count;
    cellar_bytes tag[CELLAR_TAGS_MAX];
    char text[CELLAR_TAGS_MAX][CELLAR_TAG_MAX];
} remote_tags;

/* Keep the texts of the tags of a value: the reply ends before their numbers are read. */
CELLAR_PRIVATE void remote_tags_keep(remote_tags *t, const remote_form *f);
/* Read the tags of a key. Returns OK, or a code of remote_ask. */
CELLAR_PRIVATE cellar_err remote_get_tags(remote_space *s, const remote_name *n, cellar_bytes key,
                                          remote_tags *out);

/* Return whether gets of `s` may ask the server: there is a proof, or the namespace trusts. */
CELLAR_PRIVATE bool remote_get_open(const remote_space *s);

/* ---- put.c ---- */

CELLAR_PRIVATE cellar_err remote_put(void *ctx, const cellar_tier_key *k, const void *value,
                                     size_t value_len, cellar_tier_entry *e);
CELLAR_PRIVATE cellar_err remote_add(void *ctx, const cellar_tier_key *k, int64_t delta,
                                     int64_t *number, const cellar_tier_entry *e);
CELLAR_PRIVATE cellar_err remote_fill(void *ctx, const cellar_tier_key *k,
                                      const cellar_tier_lease *held, const void *value,
                                      size_t value_len, cellar_tier_entry *e);
CELLAR_PRIVATE cellar_err remote_remove(void *ctx, const cellar_tier_key *k,
                                        const cellar_tier_entry *e);
CELLAR_PRIVATE cellar_err remote_clear(void *ctx);
CELLAR_PRIVATE cellar_err remote_tag_end(void *ctx, const void *tag, size_t len, uint32_t mode);
CELLAR_PRIVATE cellar_err remote_pattern(void *ctx, const char *pattern, size_t len);

#endif
