/* SPDX-License-Identifier: MIT
 *
 * Aim:    The list of a namespace with a bound of entries finds and orders its nodes as a plain
 *         array does, also those of equal hashes. A list begins before or after a fork, never
 *         between its handlers: they lock all lists, and unlock the same ones.
 * Method: A random mix of all changes of a list beside an array. A thread that opens a list while
 *         the handlers of a fork hold their locks. */
#include "l1/cap.h"
#include "tests/support/l1_kit.h"

enum { NAMESPACE = 70, NODES = 3000 };

static uint32_t namespace_of(void *ctx, uint32_t generation)
{
    (void)ctx;
    return generation == 0 ? L1_NO_NAMESPACE : NAMESPACE;
}

static void open_store(kit *k)
{
    l1_config cfg = { .stripes = 2 };
    cfg.hooks.namespace_of = namespace_of;
    kit_open(k, KIT_MIB(8), &cfg);
}

/* ---- the list and an array ------------------------------------------------------------------- */

typedef struct node { uint64_t hash, number; } node; /* number: in the order of additions */

static node nodes[NODES]; /* oldest first */
static uint32_t count;
static uint64_t added;

static void add(uint64_t hash) { nodes[count++] = (node){ hash, added++ }; }

/* Return the place of the node of this hash that was added first; NODES: none. */
static uint32_t find(uint64_t hash)
{
    uint32_t found = NODES;
    for (uint32_t i = 0; i < count; i++) {
        if (nodes[i].hash == hash && (found == NODES || nodes[i].number < nodes[found].number)) {
            found = i;
        }
    }
    return found;
}

static node take(uint32_t at)
{
    const node x = nodes[at];
    memmove(&nodes[at], &nodes[at + 1], (--count - at) * sizeof nodes[0]);
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
            nodes[count++] = x;
        }
    } else if (what == 6 && count < NODES) {
        T_CHECK(l1_cap_adopt(k->c, m, 1, hash));
        if (at == NODES) { add(hash); }
    } else if (count < NODES) {
        l1_cap_in(m, 1, hash, NULL);
        add(hash);
    }
}

T_CASE(list_agrees_with_an_array)
{
    kit k;
    kit_rng r = { t_seed() };
    l1_cap_node oldest;
    open_store(&k);
    T_EQ_I64(l1_cap_open(k.c, NAMESPACE), CELLAR_OK);
    T_EQ_I64(l1_cap_start(k.c, NAMESPACE, 1, UINT32_MAX), L1_CAP_STARTED);
    l1_cap *m = l1_cap_at(k.c, NAMESPACE);
    for (unsigned round = 0; round < 8 && !t_failed(); round++) {
        const uint64_t hashes = round % 2 == 0 ? 40 : 2000;
        for (uint64_t i = 0; i < kit_scale(8000); i++) {
            change(&k, m, &r, hashes, round % 4 >= 2);
            T_EQ_U64(m->count, count);
            if (count == 0 || !T_EQ_I64(l1_cap_fits(k.c, m, 1, UINT32_MAX, &oldest), L1_CAP_FULL)) {
                continue;
            }
            if (!T_EQ_U64(oldest.hash, nodes[0].hash)) { break; }
        }
    }
    while (count != 0 && !t_failed()) { /* the order of all others */
        T_EQ_I64(l1_cap_fits(k.c, m, 1, UINT32_MAX, &oldest), L1_CAP_FULL);
        T_EQ_U64(oldest.hash, nodes[0].hash);
        l1_cap_out(m, 1, oldest.hash);
        (void)take(find(oldest.hash));
    }
    count = 0;
    kit_close(&k);
}

T_MAIN("l1_cap")
