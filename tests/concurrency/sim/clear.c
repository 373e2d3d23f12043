/* SPDX-License-Identifier: MIT
 *
 * Aim:    A clear of a namespace beside updates and deletes in it ends no entry of another
 *         namespace. The scenario must catch a mistake in the retry of a change
 *         ("cache.rekey_restarts").
 * Method: One or two fibers change one key by update, delete with the old value, and set; a third
 *         clears the namespace. The function of an update sets the key, so that each update is
 *         made again. Another namespace has an entry. At the end the entry is still there, and the
 *         numbers are those of one draw for each clear. */
#include "tests/concurrency/sim/scenarios.h"

#include <string.h>

#include "cache/types.h"
#include "cellar.h"
#include "cellar_admin.h"
#include "cellar_entry.h"
#include "cellar_invalidate.h"
#include "tests/support/settings.h"

#define CLEARS 6u

static struct { cellar *store, *v, *other; } swept;

/* Set the key in the first rounds, so that the update has to be made again. */
static cellar_err swept_add(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    unsigned *const sets = ctx;
    (void)old;
    (void)old_len;
    if (*sets > 0) {
        --*sets;
        BASE_SIM_CHECK(cellar_set(swept.v, "k", 1, sets, sizeof *sets, NULL) == CELLAR_OK);
    }
    return cellar_buf_append(out, "x", 1);
}

static void swept_take(void)
{
    void *value = NULL;
    size_t len = 0;
    cellar_delete_opts o = { .struct_size = sizeof o, .old_value = &value, .old_value_len = &len };
    const cellar_err err = cellar_delete_with(swept.v, "k", 1, &o);
    BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_MISS || err == CELLAR_E_BUSY);
    if (err == CELLAR_OK) { cellar_free(value); }
}

SIM_FIBER(swept_changer)
{
    for (uint64_t n = 2 + base_sim_below(3); n > 0; n--) {
        cellar_err err = CELLAR_OK;
        unsigned sets = 4;
        switch (base_sim_below(4)) {
        case 0: err = cellar_set(swept.v, "k", 1, "1234", 4, NULL); break;
        case 1: swept_take(); break;
        default: err = cellar_update(swept.v, "k", 1, NULL, swept_add, &sets); break;
        }
        BASE_SIM_CHECK(err == CELLAR_OK || err == CELLAR_E_BUSY);
    }
}

SIM_FIBER(swept_clearer)
{
    for (unsigned i = 0; i < CLEARS; i++) { BASE_SIM_CHECK(cellar_clear(swept.v) == CELLAR_OK); }
}

SIM_SCENARIO(clear_change, "a clear beside updates and deletes ends nothing else")
{
    static const uint8_t secret[32] = { 8 };
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 1u << 20, .host.no_threads = 1,
                     .tuning.hash_key = secret, .tuning.stripes = 1 };
    base_sim_calm(true);
    BASE_SIM_CHECK(settings_open(&cfg, &swept.store) == CELLAR_OK);
    BASE_SIM_CHECK(cellar_namespace_open(swept.store, "v", NULL, &swept.v) == CELLAR_OK);
    BASE_SIM_CHECK(cellar_namespace_open(swept.store, "o", NULL, &swept.other) == CELLAR_OK);
    BASE_SIM_CHECK(cellar_set(swept.other, "k", 1, "other", 5, NULL) == CELLAR_OK);
    const uint64_t next = swept.store->store->next_generation;
    base_sim_calm(false);
    base_sim_spawn("changer1", swept_changer, NULL);
    if (base_sim_below(4) == 0) { base_sim_spawn("changer2", swept_changer, NULL); }
    base_sim_spawn("clearer", swept_clearer, NULL);
    base_sim_join_all();
    base_sim_calm(true);
    char value[8];
    size_t len = 0;
    BASE_SIM_CHECK(cellar_get(swept.other, "k", 1, value, sizeof value, &len) == CELLAR_OK);
    BASE_SIM_CHECK(len == 5 && memcmp(value, "other", 5) == 0);
    BASE_SIM_CHECK(swept.store->store->next_generation == next + CLEARS);
    BASE_SIM_CHECK(cellar_integrity_check(swept.store) == CELLAR_OK);
    BASE_SIM_CHECK(cellar_namespace_close(swept.v) == CELLAR_OK);
    BASE_SIM_CHECK(cellar_namespace_close(swept.other) == CELLAR_OK);
    BASE_SIM_CHECK(cellar_close(swept.store) == CELLAR_OK);
    base_sim_calm(false);
}
