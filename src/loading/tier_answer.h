/* SPDX-License-Identifier: MIT
 *
 * tier_answer: functions of tier_answer.c for the files above it. */
#ifndef LOADING_TIER_ANSWER_H
#define LOADING_TIER_ANSWER_H

#include "cache/tier.h"

/* Take the answer of a tier: `answered` of cache_tier_host. */
CELLAR_PRIVATE void cache_tier_answered(void *ctx, const cache_tier_ticket *ticket,
                                        const void *key, size_t len, cellar_err err,
                                        const void *value, size_t value_len,
                                        const cache_tier_meta *meta);

#endif
