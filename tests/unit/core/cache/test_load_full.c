/* SPDX-License-Identifier: MIT
 *
 * Aim:    A store that is full of values still loads.
 * Method: Stores of a dozen sizes, filled, then their first load. */
#include "tests/support/load_kit.h"
#include "tests/support/settings.h"

/* The table of loads needs memory that values hold, and no eviction runs under a lock. */
T_CASE(first_load_of_full_store_works)
{
    for (int extra = 0; extra < 12; extra++) {
        cellar *c = NULL;
        char key[24], text[64], value[100] = { 0 };
        source s = SOURCE_INIT;
        settings cfg = { SETTINGS_SIZES, .config.memory_bytes = (2u << 20) + (uint64_t)extra * 5000,
                         .host.no_threads = 1 };
        T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
        for (int i = 0; i < 40000; i++) {
            const size_t len = (size_t)snprintf(key, sizeof key, "v%08d", i);
            T_EQ_I64(cellar_set(c, key, len, value, sizeof value, NULL), CELLAR_OK);
        }
        KIT_LOADS(c, "first", NULL, &s, text, NULL, "1");
        kit_close(c);
    }
}

T_ONE_THREAD;
T_MAIN("load_full")
