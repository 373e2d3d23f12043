/* SPDX-License-Identifier: MIT
 *
 * l2_tier: functions of l2_tier.c for the files above it. */
#ifndef STORE_L2_TIER_H
#define STORE_L2_TIER_H

#include "cache/types.h"

/* Open the disk tier of the configuration, if any, before the first key is hashed. */
CELLAR_PRIVATE cellar_err cache_disk_open(cache_store *s, const cache_settings *cfg);
/* Write to `text` the memory_bytes that the disk tier needs. Return false without a disk tier. */
CELLAR_PRIVATE bool cache_disk_crowds(const cache_store *s, const cache_settings *cfg, char *text,
                                      size_t cap);
CELLAR_PRIVATE void cache_disk_abandon(cache_store *s); /* undoes the open */
/* Write the entries of L1 to the disk tier, sync all, then end the tier. Return whether l2.close_ms
 * was long enough. */
CELLAR_PRIVATE bool cache_disk_end(cache_store *s);
CELLAR_PRIVATE void cache_disk_close(cache_store *s);
/* Offer the entries of L1 that the disk dropped again, for `budget_us`, until there is no room.
 * Return whether more can be done now. */
CELLAR_PRIVATE bool cache_disk_offer(cache_store *s, uint64_t budget_us);
/* Write the entries of L1 that the disk lacks, then sync; see cellar_save. */
CELLAR_PRIVATE cellar_err cache_disk_save(cache_store *s, uint64_t *missed);
CELLAR_PRIVATE void cache_disk_given(const cache_store *s, uint64_t given[STATS_GIVEN_COUNT]);

#endif
