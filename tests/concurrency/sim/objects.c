/* SPDX-License-Identifier: MIT
 *
 * Aim:    In every interleaving an object is freed once, not before its entry is gone and its last
 *         hold is released, and none is left behind. The scenario must catch eight mistakes
 *         ("l1.hold_...").
 * Method: A few fibers acquire, retain and release two keys while others set, delete and clear
 *         them; some have no slot left. A hold may pass to another fiber. Some holds are
 *         released after the close. Objects are numbers of a ledger, so that a use after the free
 *         is seen. */
#include "tests/concurrency/sim/scenarios.h"

#include <string.h>

#include "cellar.h"
#include "cellar_admin.h"
#include "cellar_invalidate.h"
#include "cellar_object.h"
#include "tests/support/settings.h"

#define OBJECTS_MOST 64u
#define OBJECT_SLOTS 7u /* of a thread */

static struct {
    cellar *store, *v;
    uint32_t count, frees;
    struct {
        uint32_t held;
        char key;
        bool freed;
    } of[OBJECTS_MOST];
    cellar_held left; /* a hold for any fiber */
} objects;

static void objects_free(void *object, size_t charge, cellar_cause why, void *ctx)
{
    const uint32_t n = (uint32_t)((char *)object - (char *)&objects);
    (void)ctx;
    BASE_SIM_CHECK(n < objects.count && charge == 100 + n && why != CELLAR_CAUSE_NONE);
    BASE_SIM_CHECK(!objects.of[n].freed && objects.of[n].held == 0);
    objects.of[n].freed = true;
    objects.frees++;
}

static uint32_t objects_of(const cellar_held *h)
{
    const uint32_t n = (uint32_t)((char *)h->object - (char *)&objects);
    BASE_SIM_CHECK(n < objects.count && h->charge == 100 + n);
    BASE_SIM_CHECK(!objects.of[n].freed);
    return n;
}

static void objects_release(cellar_held *h)
{
    objects.of[objects_of(h)].held--;
    cellar_object_release(h);
}

static void objects_set(const char *key)
{
    BASE_SIM_CHECK(objects.count < OBJECTS_MOST);
    const uint32_t n = objects.count++;
    objects.of[n].key = *key;
    BASE_SIM_CHECK(cellar_object_set(objects.v, key, 1, (char *)&objects + n, 100 + n, NULL) ==
                   CELLAR_OK);
}

static bool objects_acquire(const char *key, cellar_held *out)
{
    const cellar_err err = cellar_object_acquire(objects.v, key, 1, out);
    BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_MISS);
    if (err == CELLAR_OK) {
        const uint32_t n = objects_of(out);
        BASE_SIM_CHECK(objects.of[n].key == *key);
        objects.of[n].held++;
    }
    return err == CELLAR_OK;
}

SIM_FIBER(objects_holder)
{
    cellar_held h[OBJECT_SLOTS + 2];
    uint32_t n = 0, first = 0;
    if (base_sim_below(2) == 0) { /* no slot is left: further holds are counts */
        while (n < OBJECT_SLOTS && objects_acquire("b", &h[n])) { n++; }
        first = n;
    }
    for (uint64_t i = 3 + base_sim_below(4); i > 0; i--) {
        const uint64_t what = base_sim_below(4);
        if (n == first || (what == 3 && n < first + 2)) {
            n += objects_acquire(base_sim_below(3) == 0 ? "b" : "a", &h[n]);
        } else if (what == 0 && n < first + 2) {
            BASE_SIM_CHECK(cellar_object_retain(&h[n - 1], &h[n]) == CELLAR_OK);
            objects.of[objects_of(&h[n++])].held++;
        } else if (what == 1) { /* to another fiber */
            cellar_held other = objects.left;
            objects.left = h[--n];
            if (other.object != NULL) { objects_release(&other); }
        } else {
            objects_release(&h[--n]);
        }
    }
    while (n != 0) { objects_release(&h[--n]); }
}

SIM_FIBER(objects_ender)
{
    for (uint64_t i = 2 + base_sim_below(4); i > 0; i--) {
        const char *const key = base_sim_below(3) == 0 ? "b" : "a";
        switch (base_sim_below(8)) {
        case 0: BASE_SIM_CHECK(cellar_clear(objects.v) == CELLAR_OK); break;
        case 1: (void)cellar_tick(objects.store, 1000000, NULL); break;
        case 2:
        case 3: (void)cellar_delete(objects.v, key, 1); break;
        default: objects_set(key); break;
        }
    }
}

SIM_SCENARIO(objects, "objects are freed once, behind their last hold")
{
    static const uint8_t secret[32] = { 9 };
    cellar_held late;
    memset(&objects, 0, sizeof objects);
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 1u << 20, .host.no_threads = 1,
                     .tuning.hash_key = secret, .tuning.stripes = 1 };
    cellar_object_config oc = { .struct_size = sizeof oc, .free_fn = objects_free };
    cellar_namespace_config o = { .struct_size = sizeof o, .object = &oc };
    base_sim_calm(true);
    BASE_SIM_CHECK(settings_open(&cfg, &objects.store) == CELLAR_OK);
    BASE_SIM_CHECK(cellar_namespace_open(objects.store, "v", &o, &objects.v) == CELLAR_OK);
    objects_set("a");
    objects_set("b");
    base_sim_calm(false);
    base_sim_spawn_many(2, "holder", objects_holder, NULL);
    base_sim_spawn_many(1 + base_sim_below(2), "ender", objects_ender, NULL);
    base_sim_join_all();
    base_sim_calm(true);
    const bool held = cellar_object_acquire(objects.v, "a", 1, &late) == CELLAR_OK;
    BASE_SIM_CHECK(cellar_integrity_check(objects.store) == CELLAR_OK);
    BASE_SIM_CHECK(cellar_namespace_close(objects.v) == CELLAR_OK);
    BASE_SIM_CHECK(cellar_close(objects.store) == CELLAR_OK);
    BASE_SIM_CHECK(objects.frees + held + (objects.left.object != NULL) >= objects.count);
    if (held) { cellar_object_release(&late); }
    if (objects.left.object != NULL) { objects_release(&objects.left); }
    BASE_SIM_CHECK(objects.frees == objects.count);
    base_sim_calm(false);
}
