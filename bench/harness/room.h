/* SPDX-License-Identifier: MIT
 *
 * room: the bounds under which different subjects have the same room. */
#ifndef BENCH_HARNESS_ROOM_H
#define BENCH_HARNESS_ROOM_H

#include "bench/harness/subject.h"

/* Entries of a full store and the growth of its process until then. */
typedef struct room_size {
    uint64_t entries, rss_bytes;
} room_size;

/* Fill a store of a process of its own with new keys, three times its bound of entries or bytes.
 * Return false, with the reason in `why`, if it cannot be measured. A process counts key and value
 * against a bound in bytes. */
bool room_measure(const bench_subject *s, const bench_cfg *cfg, room_size *out, char *why,
                  size_t why_cap);

/* Return the bound in bytes that holds `entries` entries of the lengths in cfg; 0: none was found. */
uint64_t room_bytes(const bench_subject *s, const bench_cfg *cfg, uint64_t entries);

/* Return the bound in entries under which the process grows by the same bytes; 0: none was found.
 * *out is what was measured there. */
uint64_t room_same_rss(const bench_subject *s, const bench_cfg *cfg, const room_size *ours, room_size *out);

#endif
