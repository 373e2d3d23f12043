/* SPDX-License-Identifier: MIT
 *
 * Aim:    an entry bound is exact: a bound of ten holds ten entries, never eleven, and never nine
 *         once the store was full. The same for one and for each policy. The list of a namespace
 *         with a bound finds and orders its nodes as a plain array does, also those of
 *         equal hashes.
 * Method: sets one by one; check the count and the left hook after each. Updates, deletes and
 *         expiry in between. A random mix of all changes of a list beside an array. */
#include "l1/cap.h"
#include "l1/types.h"
#include "tests/support/l1_kit.h"

static kit z; /* the store of the running case */

static struct {
    uint64_t left, last_id;
    l1_cause last_cause;
} told;

static void on_left(void *ctx, const l1_left *what)
{
    (void)ctx;
    told.left++;
    told.last_id = kit_id_of(what->key, what->key_len);
    told.last_cause = what->cause;
}

static uint64_t count(kit *k, uint64_t ids)
{
    uint64_t n = 0;
    for (uint64_t id = 0; id < ids; id++) { n += kit_has(k, id); }
    return n;
}

static void exactly(uint64_t max, l1_policy policy)
{
    l1_config cfg = {.max_entries = max, .policy = policy, .hooks = {.left = on_left}};
    kit_open(&z, KIT_MIB(4), &cfg);
    memset(&told, 0, sizeof told);
    l1_want_left(z.c, true);
    uint64_t buf;
    size_t len;
    for (uint64_t id = 0; id < 40 * max; id++) {
        T_EQ_I64(kit_put(&z, id, id, 8), CELLAR_OK);
        T_CHECK(kit_has(&z, id)); /* a set never evicts its own entry */
        uint64_t want = BASE_MIN(id + 1, max);
        T_EQ_U64(kit_stats(&z).entries, want);
        T_EQ_U64(told.left, id + 1 - want); /* the eleventh set evicts one entry */
        if (told.left != 0) { T_EQ_I64(told.last_cause, L1_LEFT_CAPACITY); }
        for (uint64_t i = 0; i < 3; i++) {
            (void)kit_get(&z, id - BASE_MIN(id, i * 3), &buf, 8, &len);
        }
        if (id % 7 == 0) { /* an update needs no new place */
            uint64_t before = told.left;
            T_EQ_I64(kit_put(&z, id, id + 1, 8), CELLAR_OK);
            T_EQ_I64(told.last_cause, L1_LEFT_REPLACED);
            T_EQ_I64(kit_put(&z, id, id, 300), CELLAR_OK);
            T_EQ_U64(told.left, before + 2);
            T_EQ_U64(told.last_id, id);
            told.left = before;
            T_EQ_U64(kit_stats(&z).entries, want);
            told.last_cause = L1_LEFT_CAPACITY;
        }
    }
    T_CHECK(max != 10 || kit_stats(&z).stripes == 1);
    T_EQ_U64(count(&z, 40 * max), max);
    /* A delete leaves room for exactly one entry. */
    uint64_t gone = 0;
    for (uint64_t id = 0; id < 40 * max; id++) { gone += kit_del(&z, id) == CELLAR_OK; }
    T_EQ_U64(gone, max);
    uint64_t before = told.left;
    for (uint64_t id = 0; id < max; id++) { T_EQ_I64(kit_put(&z, 100000 + id, id, 8), CELLAR_OK); }
    if (kit_stats(&z).stripes == 1) {
        T_EQ_U64(told.left, before);
        T_EQ_U64(kit_stats(&z).entries, max);
    } else { /* room from a delete in another stripe is found later */
        T_CHECK(kit_stats(&z).entries <= max && kit_stats(&z).entries >= max * 9 / 10);
    }
    kit_close(&z);
}

T_CASE(bounds_from_1_to_500_are_exact)
{
    static const uint64_t bounds[] = {1, 10, 2, 3, 17, 63, 64, 65, 500};
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        for (l1_policy p = L1_S3FIFO; p <= L1_ADAPTIVE; p++) {
            if (i < 2 || p == (l1_policy)(i % 3)) { exactly(bounds[i], p); }
        }
    }
}

/* A set evicts expired entries first: their places are not lost. */
T_CASE(set_evicts_expired_entries_first)
{
    l1_config cfg = {.max_entries = 10, .hooks = {.left = on_left}};
    kit_open(&z, KIT_MIB(4), &cfg);
    memset(&told, 0, sizeof told);
    l1_want_left(z.c, true);
    for (uint64_t id = 0; id < 10; id++) {
        T_EQ_I64(kit_put_until(&z, 0, id, id, 8, kit_now(&z) + 5), CELLAR_OK);
    }
    kit_forward(&z, 5);
    for (uint64_t id = 10; id < 20; id++) {
        T_EQ_I64(kit_put(&z, id, id, 8), CELLAR_OK);
        T_EQ_I64(told.last_cause, L1_LEFT_EXPIRED);
    }
    T_EQ_U64(told.left, 10);
    T_EQ_U64(count(&z, 20), 10);
    kit_close(&z);
}

/* ---- the list of a namespace with a bound, beside an array ----------------------------------- */
enum { NAMESPACE = 70, NODES = 3000 };

static uint32_t namespace_of(void *ctx, uint32_t generation)
{
    (void)ctx;
    return generation == 0 ? L1_NO_NAMESPACE : NAMESPACE;
}

typedef struct node { uint64_t hash, number; } node; /* number: in the order of additions */

static node nodes[NODES]; /* oldest first */
static uint32_t node_count;
static uint64_t added;

static void add(uint64_t hash) { nodes[node_count++] = (node){ hash, added++ }; }

/* Return the place of the node of this hash that was added first; NODES: none. */
static uint32_t find(uint64_t hash)
{
    uint32_t found = NODES;
    for (uint32_t i = 0; i < node_count; i++) {
        if (nodes[i].hash == hash && (found == NODES || nodes[i].number < nodes[found].number)) {
            found = i;
        }
    }
    return found;
}

static node take(uint32_t at)
{
    const node x = nodes[at];
    memmove(&nodes[at], &nodes[at + 1], (--node_count - at) * sizeof nodes[0]);
    return x;
}

/* Make one random change in both. */
static void change(kit *k, l1_cap *m, kit_rng *r, uint64_t hashes, bool shrink)
{
    const uint64_t hash = kit_mix(1 + kit_below(r, hashes)), what = kit_below(r, 8);
    const uint32_t at = find(hash);
    T_CHECK(l1_cap_has(m, 1, hash) == (at != NODES));
    T_EQ_I64(l1_cap_grow(k->c, m), CELLAR_OK);
    if (what < (shrink ? 5 : 3)) {
        l1_cap_out(m, 1, hash);
        if (at != NODES) { (void)take(at); }
    } else if (what == 5) {
        l1_cap_renew(m, 1, hash);
        if (at != NODES) {
            const node x = take(at);
            nodes[node_count++] = x;
        }
    } else if (what == 6 && node_count < NODES) {
        T_CHECK(l1_cap_adopt(k->c, m, 1, hash));
        if (at == NODES) { add(hash); }
    } else if (node_count < NODES) {
        l1_cap_in(m, 1, hash, NULL);
        add(hash);
    }
}

T_CASE(list_agrees_with_an_array)
{
    kit_rng r = { t_seed() };
    l1_cap_node oldest;
    const l1_config cfg = { .stripes = 2, .hooks = { .namespace_of = namespace_of } };
    kit_open(&z, KIT_MIB(8), &cfg);
    T_EQ_I64(l1_cap_open(z.c, NAMESPACE), CELLAR_OK);
    T_EQ_I64(l1_cap_start(z.c, NAMESPACE, 1, UINT32_MAX), L1_CAP_STARTED);
    l1_cap *m = l1_cap_at(z.c, NAMESPACE);
    for (unsigned round = 0; round < 8 && !t_failed(); round++) {
        const uint64_t hashes = round % 2 == 0 ? 40 : 2000;
        for (uint64_t i = 0; i < kit_scale(8000); i++) {
            change(&z, m, &r, hashes, round % 4 >= 2);
            T_EQ_U64(m->count, node_count);
            if (node_count == 0) { continue; }
            T_EQ_I64(l1_cap_fits(z.c, m, 1, UINT32_MAX, &oldest), L1_CAP_FULL);
            if (!T_EQ_U64(oldest.hash, nodes[0].hash)) { break; }
        }
    }
    while (node_count != 0 && !t_failed()) { /* the order of all others */
        T_EQ_I64(l1_cap_fits(z.c, m, 1, UINT32_MAX, &oldest), L1_CAP_FULL);
        T_EQ_U64(oldest.hash, nodes[0].hash);
        l1_cap_out(m, 1, oldest.hash);
        (void)take(find(oldest.hash));
    }
    node_count = 0;
    kit_close(&z);
}

T_CASE(place_that_no_entry_took_is_free_again)
{
    const l1_config cfg = { .stripes = 2, .hooks = { .namespace_of = namespace_of } };
    kit_open(&z, KIT_MIB(8), &cfg);
    T_EQ_I64(l1_cap_open(z.c, NAMESPACE), CELLAR_OK);
    T_EQ_I64(l1_cap_start(z.c, NAMESPACE, 1, 1), L1_CAP_STARTED);
    for (unsigned i = 0; i < 2; i++) {
        l1_toll t = { .generation = 1 }, other = t;
        T_CHECK(l1_cap_reserve(z.c, &t));
        T_CHECK(!l1_cap_reserve(z.c, &other));
        l1_cap_unused(z.c, &t);
    }
    kit_close(&z);
}

T_ONE_THREAD;
T_MAIN("l1_entries")
