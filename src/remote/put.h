/* SPDX-License-Identifier: MIT
 *
 * put: changes of keys in the server. Functions of the table. */
#ifndef REMOTE_PUT_H
#define REMOTE_PUT_H

#include "remote/data.h"

CELLAR_PRIVATE cellar_err remote_put(void *ctx, const cellar_tier_key *k, const void *value,
                                     size_t value_len, cellar_tier_entry *e);
CELLAR_PRIVATE cellar_err remote_add(void *ctx, const cellar_tier_key *k, int64_t delta,
                                     int64_t *number, const cellar_tier_entry *e);
CELLAR_PRIVATE cellar_err remote_fill(void *ctx, const cellar_tier_key *k,
                                      const cellar_tier_lease *held, const void *value,
                                      size_t value_len, cellar_tier_entry *e);
CELLAR_PRIVATE void remote_unlease(void *ctx, const cellar_tier_key *k,
                                   const cellar_tier_lease *held);
CELLAR_PRIVATE cellar_err remote_remove(void *ctx, const cellar_tier_key *k,
                                        const cellar_tier_entry *e);
CELLAR_PRIVATE cellar_err remote_clear(void *ctx);
CELLAR_PRIVATE cellar_err remote_tag_end(void *ctx, const void *tag, size_t len, uint32_t mode);
CELLAR_PRIVATE cellar_err remote_pattern(void *ctx, const char *pattern, size_t len);

#endif
