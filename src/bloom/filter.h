/* SPDX-License-Identifier: MIT
 *
 * filter: a filter over the keys that exist in a view's *source*, and when it may be believed.
 *
 * CALL PATTERN
 *     bloom *b = bloom_create(account);                    OFF: nothing is added, nothing decided
 *     bloom_open(b, 1000000, 0.01);                        OBSERVING: adds, never decides
 *     bloom_ticket t = bloom_add_begin(b, hash);           around every store of a value:
 *     ... the entry becomes visible ...                    before it can be seen, and once more
 *     bloom_add_end(b, hash, &t);                          if the filter moved meanwhile
 *     uint32_t fill = bloom_fill_begin(b);  bloom_add(b, hash) ...  bloom_fill_end(b, fill);
 *     bloom_seal(b);                                       AUTHORITATIVE: "never" may be believed
 *     bloom_ask(b, hash)                                   any thread, no lock, no store
 * Hashes are the store's keyed ones, without the generation: a cleared cache changes no source.
 * Nothing is ever removed. How it works: filter.c. */
#ifndef BLOOM_FILTER_H
#define BLOOM_FILTER_H

#include "base/mem.h"
#include "base/port.h"
#include "cellar.h"

typedef struct bloom bloom;

typedef enum bloom_state {
    BLOOM_OFF,
    BLOOM_OBSERVING,    /* adds; answers are for counters only */
    BLOOM_AUTHORITATIVE /* "never" may be believed */
} bloom_state;

/* Why a filter that was believed is not any more; the numbers are those of CELLAR_BLOOM_DOUBT_. */
typedef enum bloom_doubt {
    BLOOM_TRUSTED, BLOOM_FOUND, BLOOM_FULL, BLOOM_NOMEM, BLOOM_IMAGE
} bloom_doubt;

typedef enum bloom_answer {
    BLOOM_MAYBE, /* or: off, or somebody was just moving the filter */
    BLOOM_NEVER, /* authoritative: was never added */
    BLOOM_WOULD  /* observing: would have said never */
} bloom_answer;

#define BLOOM_KEYS_MAX ((uint64_t)1 << 40)
#define BLOOM_FPP_LEAST 0.0001
#define BLOOM_FPP_MOST 0.5
#define BLOOM_LAYERS 4u

typedef struct bloom_ticket {
    uint64_t desc; /* the descriptor that was added under */
} bloom_ticket;

/* NULL: refused. Everything is charged to module BLOOM of the account, which outlives it. */
CELLAR_PRIVATE bloom *bloom_create(base_account *a);
/* NULL accepted; nobody asks or adds any more. */
CELLAR_PRIVATE void bloom_destroy(bloom *b);
/* In a forked child: whoever held a lock is gone. */
CELLAR_PRIVATE void bloom_forked(bloom *b);

/* OFF: begin, empty, OBSERVING. Else: begin a second set of this size beside the first, which goes
 * on answering until bloom_seal. OK; E_INVAL, E_BUSY (a second set is being filled already),
 * E_SPACE, E_NOMEM: nothing changed. No ranked lock held. */
CELLAR_PRIVATE cellar_err bloom_open(bloom *b, uint64_t expected, double fpp);
/* Give the second set up; with `all` the first, too: OFF. */
CELLAR_PRIVATE void bloom_off(bloom *b, bool all);

/* The keys of the source follow by bloom_add. What this returns goes to bloom_fill_end when they
 * all came; a doubt in between makes it void. */
CELLAR_PRIVATE uint32_t bloom_fill_begin(const bloom *b);
CELLAR_PRIVATE void bloom_fill_end(bloom *b, uint32_t fill);
/* Everything is in: the newest set answers and is believed. OK; E_INVAL (not filled since it was
 * opened or doubted, or off), E_LIMIT (it took more keys than its layers hold, or could not
 * grow). */
CELLAR_PRIVATE cellar_err bloom_seal(bloom *b);
/* It only observes, but was to be believed: counted as a doubt. */
BASE_SPARE CELLAR_PRIVATE void bloom_suspect(bloom *b, bloom_doubt why);
/* True: it was believed and is no longer. */
CELLAR_PRIVATE bool bloom_distrust(bloom *b, bloom_doubt why);

/* No ranked lock held: a set that is full may grow. */
CELLAR_PRIVATE void bloom_add(bloom *b, uint64_t hash);
CELLAR_PRIVATE bloom_ticket bloom_add_begin(bloom *b, uint64_t hash);
CELLAR_PRIVATE void bloom_add_end(bloom *b, uint64_t hash, const bloom_ticket *t);

CELLAR_PRIVATE bloom_answer bloom_ask(const bloom *b, uint64_t hash);
/* How often it stopped being believed. */
CELLAR_PRIVATE uint32_t bloom_doubts(const bloom *b);
CELLAR_PRIVATE bloom_state bloom_state_of(const bloom *b);

typedef struct bloom_figures {
    bloom_state state;
    bloom_doubt doubt;    /* the last one; TRUSTED: none since it was sealed */
    bool filling;         /* a second set is being filled */
    uint32_t layers;      /* of the set that answers */
    uint64_t expected, keys; /* keys: different ones, by bits they changed */
    uint64_t bytes;       /* charged, both sets */
    double fpp;
} bloom_figures;
CELLAR_PRIVATE void bloom_figures_get(const bloom *b, bloom_figures *out);

/* What a store keeps of a filter: a header of BLOOM_HEAD bytes, then the bits of each layer, handed
 * to `give` in pieces of 2 KiB; false ends it. `check` names the hash key. Adds may go on: what was
 * added before the call is in. OK; E_IO (give said no), E_BUSY (the set was replaced
 * meanwhile), E_INVAL (off). */
#define BLOOM_HEAD 128u
BASE_SPARE CELLAR_PRIVATE cellar_err bloom_save(const bloom *b, uint64_t check,
                                     bool (*give)(void *ctx, const void *bytes, size_t len),
                                     void *ctx);
/* Into a filter that is OFF. `clean`: no key came after the image was taken; only then an image of
 * an authoritative filter is believed again, else OBSERVING, with its bits. OK; E_IO (take said
 * no), E_CORRUPT, E_NEWER_FORMAT, E_FOREIGN (other hash key), E_INVAL (not OFF), E_SPACE, E_NOMEM:
 * it is OFF as before. */
BASE_SPARE CELLAR_PRIVATE cellar_err bloom_load(bloom *b, uint64_t check, bool clean,
                                     bool (*take)(void *ctx, void *bytes, size_t len), void *ctx);

/* Walk it: NULL, or what is wrong. Nobody adds meanwhile. */
BASE_SPARE CELLAR_PRIVATE const char *bloom_audit(const bloom *b);

#endif
