/* SPDX-License-Identifier: MIT
 *
 * filter: a filter over the keys that exist in the *source* of a namespace, and its state of trust.
 *
 * CALLS      A store adds every key; a reader may believe "never" while the filter is
 *            AUTHORITATIVE.
 *     bloom *b = bloom_create(account);                    OFF: adds nothing, decides nothing
 *     bloom_open(b, 1000000, 0.01);                        OBSERVING: adds, never decides
 *     uint64_t desc = bloom_add_begin(b, hash);            around every store of a value:
 *     ... the entry becomes visible ...                    before it is visible, and once more
 *     bloom_add_end(b, hash, desc);                        if the filter changed meanwhile
 *     bloom_fill_begin(b, 1000000, 0.01, &fill);           a set beside one that decides
 *     bloom_add(b, hash) ...
 *     bloom_fill_end(b, fill, CELLAR_OK);                  AUTHORITATIVE: "never" may be believed
 *     bloom_ask(b, hash)                                   any thread, no lock, no store
 *
 * Hashes are the keyed hashes of the store without the generation: to clear a namespace changes no
 * source. Keys are never removed. How it works: filter.c. */
#ifndef BLOOM_FILTER_H
#define BLOOM_FILTER_H

#include "base/mem.h"
#include "base/port.h"
#include "cellar_bloom.h"

typedef struct bloom bloom;

typedef enum bloom_answer {
    BLOOM_MAYBE, /* or: off, or the filter changed during the call */
    BLOOM_NEVER, /* authoritative: the key was never added */
    BLOOM_WOULD  /* observing: the answer would be "never" */
} bloom_answer;

#define BLOOM_KEYS_MAX ((uint64_t)1 << 40)
#define BLOOM_FPP_LEAST 0.0001
#define BLOOM_FPP_MOST 0.5

/* Create a filter. All memory is charged to module BLOOM of the account, which must outlive the
 * filter. Return NULL if no memory is left. */
CELLAR_PRIVATE bloom *bloom_create(base_account *a);
/* Free the filter; NULL is allowed. No other thread may use it. */
CELLAR_PRIVATE void bloom_destroy(bloom *b);

/* Start the filter empty as OBSERVING if it is OFF. Return OK; or, with no change, E_INVAL,
 * E_SPACE, E_NOMEM. The caller holds no ranked lock. */
CELLAR_PRIVATE cellar_err bloom_open(bloom *b, uint64_t expected, double fpp);
/* Turn the filter OFF. A fill that runs is void. */
CELLAR_PRIVATE void bloom_off(bloom *b);

/* Start adding the keys of the source with bloom_add, one fill at a time. A filter that observes is
 * filled itself if it has this size and is not full; else a second set is opened, and the first
 * one answers until the end of the fill. Return OK; or, with no change, E_INVAL (size, or OFF),
 * E_SPACE, E_NOMEM. */
CELLAR_PRIVATE cellar_err bloom_fill_begin(bloom *b, uint64_t expected, double fpp,
                                           uint64_t *fill);
/* End the fill. `err` OK: all keys were added: believe the filled set. Else drop a second set.
 * Return `err`; E_BUSY (a doubt came up meanwhile, or the filter was turned OFF); E_LIMIT (over 4
 * times the keys that the set was made for). */
CELLAR_PRIVATE cellar_err bloom_fill_end(bloom *b, uint64_t fill, cellar_err err);
/* Count a doubt for a filter that observes but should have been believed. */
BASE_SPARE CELLAR_PRIVATE void bloom_suspect(bloom *b, cellar_bloom_doubt why);
/* Stop believing the filter. Return true if it was believed until now. */
CELLAR_PRIVATE bool bloom_distrust(bloom *b, cellar_bloom_doubt why);

/* Add a key. */
CELLAR_PRIVATE void bloom_add(bloom *b, uint64_t hash);
/* Add a key before it is visible. Return the descriptor of that moment, for bloom_add_end. */
CELLAR_PRIVATE uint64_t bloom_add_begin(bloom *b, uint64_t hash);
CELLAR_PRIVATE void bloom_add_end(bloom *b, uint64_t hash, uint64_t desc);

CELLAR_PRIVATE bloom_answer bloom_ask(const bloom *b, uint64_t hash);
/* Return how many times the filter stopped being believed. */
CELLAR_PRIVATE uint32_t bloom_doubts(const bloom *b);
CELLAR_PRIVATE cellar_bloom_state bloom_state_of(const bloom *b);

/* Set what the filter knows, and zero the counters of the namespace. */
CELLAR_PRIVATE void bloom_figures_get(const bloom *b, cellar_bloom_info *out);

/* Return the bytes that bloom_save gives, of a filter that is not off. */
BASE_SPARE CELLAR_PRIVATE uint64_t bloom_image_bytes(const bloom *b);
/* Write an image: a header of BLOOM_HEAD bytes, then the bits, in pieces of 2 KiB to `give`. False
 * from `give` ends the call. `check` names the hash key. Adds may continue; all keys added before
 * the call are in the image. Return OK; E_IO (`give` failed), E_BUSY (the set was replaced
 * meanwhile), E_INVAL (off). */
#define BLOOM_HEAD 128u
BASE_SPARE CELLAR_PRIVATE cellar_err bloom_save(const bloom *b, uint64_t check,
                                     bool (*give)(void *ctx, const void *bytes, size_t len),
                                     void *ctx);
/* Read an image into a filter that is OFF. `clean`: no key was added after the image was taken.
 * Only a clean image of an authoritative filter is believed again; else the filter is OBSERVING,
 * with these bits. Return OK; else the filter stays OFF: E_IO (`take` failed), E_CORRUPT,
 * E_NEWER_FORMAT, E_FOREIGN (other hash key), E_INVAL (not OFF), E_SPACE, E_NOMEM. */
BASE_SPARE CELLAR_PRIVATE cellar_err bloom_load(bloom *b, uint64_t check, bool clean,
                                     bool (*take)(void *ctx, void *bytes, size_t len), void *ctx);

/* Check all invariants while no thread adds. Return NULL, or a text that names the fault. */
BASE_SPARE CELLAR_PRIVATE const char *bloom_audit(const bloom *b);

#endif
