/* SPDX-License-Identifier: MIT
 *
 * l1_world: one small L1 store, its keys, and the history of all calls on it.
 *
 * INVARIANTS  Every value carries a number of its own, world.id[number]. Calls and results go into
 *             world.event with a clock that counts events.
 * RULES       world_close checks the history of each key, walks the structure (l1_audit) and
 *             expects that all memory is returned.
 * LOCKING     None: fibers run one at a time. */
#ifndef CELLAR_TESTS_SIM_L1_WORLD_H
#define CELLAR_TESTS_SIM_L1_WORLD_H

#include "base/hash.h"
#include "base/mem.h"
#include "l1/l1.h"
#include "tests/support/l1_calls.h"

enum {
    WORLD_KEYS = 256,
    WORLD_EVENTS = 1024,
    WORLD_IDS = 2048,
    WORLD_KEY_LEN = 7,
    WORLD_KEY_LONG = 300, /* no record in segments of 512 bytes holds it */
    WORLD_VALUE_MAX = 3000,
    WORLD_RETIRED = 256
};

typedef enum world_what { WORLD_SET, WORLD_HIT, WORLD_GONE, WORLD_MISS } world_what;

typedef struct world_event {
    uint32_t key, id;     /* id: SET, HIT */
    uint32_t start, end;  /* event clock */
    world_what what;
} world_event;

typedef struct world_key {
    char name[WORLD_KEY_LONG]; /* world.key_len of it are the key */
    uint64_t hash;
} world_key;

struct world {
    base_account account;
    base_hash_key hash_key;
    l1 *c;
    bool no_loss;         /* eviction is forbidden: a miss must be justified */
    bool commit_hook;     /* the hook is installed */
    bool over;            /* a resize runs: the account may be over its limit */
    uint32_t key_len, key_count, id_count, event_count, clock;
    uint32_t victims;     /* number of first keys with imitated records; 0: all */
    world_key key[WORLD_KEYS];
    world_event event[WORLD_EVENTS];
    struct {
        uint32_t key, len;
        uint32_t victim;  /* its bytes imitate a record of this key */
        uint32_t left;    /* event clock of its announcement; 0: not announced */
        int64_t until_ms; /* last deadline of the value */
        bool stored;      /* its set returned OK */
    } id[WORLD_IDS];
    int64_t touching_ms[WORLD_KEYS]; /* deadline that a running touch gives, 0: none */
    uint64_t commits[WORLD_KEYS];  /* calls of the commit hook per key */
    uint64_t changes[WORLD_KEYS];  /* calls that must have run it */
    void *retired[WORLD_RETIRED];  /* freed blocks, kept and poisoned until the end of the run */
    uint32_t retired_count;
};
extern struct world world;

typedef struct world_plan {
    uint64_t budget;
    uint32_t seg_bytes;
    uint64_t max_entries;
    uint32_t stripes; /* 0: 1 */
    l1_policy policy;
    bool want_left, no_loss, commit_hook, long_keys;
} world_plan;

typedef struct world_mix { /* weights; lengths of sets to draw from */
    uint32_t set, get, del, pin, tick, ops;
    uint32_t key_first, key_count;
    uint32_t len[4];
    uint32_t flags; /* drawn on or off for each set */
    uint32_t tags;  /* most tags of an entry; drawn for each set */
    uint32_t hold;  /* in half of the runs: pauses after up to so many steps */
} world_mix;

/* Return the number of a value that is whole and belongs to `key`; any other value ends the run. */
uint32_t world_read(const unsigned char *v, size_t len, uint32_t key);
/* Return the number of the key with these bytes. */
uint32_t world_key_of(const void *bytes, size_t len);
/* Open the store of a plan, with a history that is empty. */
void world_open(const world_plan *p);
/* Make a new key with `value` in the bits `mask` of its hash. */
uint32_t world_key_with(uint64_t mask, uint64_t value);
/* Return the key as the calls of L1 take it. */
l1_key world_l1_key(uint32_t key);
/* Check that the account is within its limit. */
void world_within_budget(void);
/* Return the spec of a plain set of these bytes. */
l1_put_spec world_spec(const void *value, uint32_t len);
/* Set the key to a new value of `len` bytes by the spec, and note the result. */
cellar_err world_put(uint32_t key, uint32_t len, l1_put_spec *p);
/* Set the key to a new value of `len` bytes. */
cellar_err world_set(uint32_t key, uint32_t len);
/* Get the key, check the value and note the result. Return true on a hit. */
bool world_get(uint32_t key);
/* Delete the key and note the result. */
void world_del(uint32_t key);
/* Pin, read in pieces during steps of others, unpin: the bytes may not move. */
void world_pin(uint32_t key);
/* Join all fibers, close the store and check the history: with want_left, no removed value is read
 * later. */
void world_close(void);
/* Start a fiber of random operations. The mix outlives the fiber. */
void world_spawn(const char *name, const world_mix *m);
/* Start so many fibers of a mix. */
void world_spawn_many(uint32_t count, const char *name, const world_mix *m);

#endif
