/* SPDX-License-Identifier: MIT
 *
 * hot: functions of hot.c for status.c. */
#ifndef KIT_HOT_H
#define KIT_HOT_H

#include "base/atomic.h"
#include "base/clock.h"
#include "base/hash.h"
#include "cellar_kit.h"

#define KIT_HOT_WAYS 4u
#define KIT_HOT_SLOTS 1024u

typedef struct kit_hot_slot {
    _Atomic uint64_t hash;   /* of the id; 0: empty, 1: being written */
    _Atomic uint32_t count;  /* samples of the last minute */
    _Atomic uint32_t id_len; /* bytes of the whole id */
    _Atomic uint64_t id[CELLAR_STATUS_HOT_ID / 8];
} kit_hot_slot;

typedef struct kit_hot {
    base_hash_key hash_key;
    base_clock clock;
    uint32_t every;           /* one read in so many is a sample */
    uint32_t need;            /* samples of a minute that make an id hot */
    _Atomic int64_t halve_ms; /* when the counts are halved next */
    kit_hot_slot slot[KIT_HOT_SLOTS];
} kit_hot;

/* Begin without samples. `reads` of a minute make an id hot. clock NULL: of the system. Return
 * false if the kernel gave no random bytes. */
CELLAR_PRIVATE bool kit_hot_init(kit_hot *h, uint32_t reads, cellar_clock_fn clock, void *ctx);
/* Note a read. Return true if the read was a sample and its id is hot. */
CELLAR_PRIVATE bool kit_hot_note(kit_hot *h, const void *id, size_t id_len);
/* Write the ids with most reads, most first. Return their number, at most `cap`. */
CELLAR_PRIVATE uint32_t kit_hot_top(kit_hot *h, cellar_status_hot_id *out, uint32_t cap);

#endif
