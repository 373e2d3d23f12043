/* SPDX-License-Identifier: MIT
 *
 * Aim:    of the least budget, 1 MiB, at least 60 % is keys and values, whatever the size of the
 *         values, from 56 bytes beside a key of 16 up to 45 % of the budget.
 * Method: stores of 1 MiB opened as by default, each filled four times over with values of one size;
 *         sizes in steps of a twentieth and at the edges of what a segment or a page takes. Payload
 *         is what a look afterwards finds; nothing may be above the budget on the way. */
#include "tests/api_kit.h"

enum { BUDGET = 1 << 20, KEY = 16, LEAST = BUDGET * 6 / 10 };

static char value[BUDGET / 2];

/* Bytes of keys and values held after filling a store with values of `len`. */
static uint64_t payload(size_t len)
{
    const cellar_config cfg = CELLAR_CONFIG_INIT;
    cellar_config own = cfg;
    own.memory_bytes = BUDGET;
    cellar *c = api_open_with(&own);
    const unsigned count = (unsigned)(BUDGET * 4 / (len + KEY));
    char key[KEY + 1];
    uint64_t held = 0;
    cellar_stats st = CELLAR_STATS_INIT;
    for (unsigned i = 0; i < count; i++) {
        snprintf(key, sizeof key, "payload-%08x", i);
        T_EQ_I64(cellar_set(c, key, KEY, value, len, NULL), CELLAR_OK);
    }
    for (unsigned i = 0; i < count; i++) {
        snprintf(key, sizeof key, "payload-%08x", i);
        held += cellar_exists(c, key, KEY) == CELLAR_OK ? len + KEY : 0;
    }
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_STORE, &st), CELLAR_OK);
    T_CHECK(st.used_bytes <= BUDGET);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    return held;
}

static void sixty_per_cent_whatever_the_size(void)
{
    static const size_t edges[] = {2032, 2040, 4064, 4072, 4080, 5430, 5440, 5450, 8160, 8170, 8192,
                                   8193, 8200, 12280, 16384, 32768, 65536};
    const size_t stride = T_COST > 1 ? 8 : 1; /* no edge is left out */
    uint64_t worst = BUDGET;
    size_t worst_len = 0;
    for (size_t i = 0, len = 56; len <= BUDGET * 45 / 100; len += stride * (1 + len / 20)) {
        for (; i <= sizeof edges / sizeof edges[0]; i++) {
            const bool edge = i < sizeof edges / sizeof edges[0] && edges[i] < len;
            const size_t at = edge ? edges[i] : len;
            const uint64_t held = payload(at);
            if (!T_CHECK(held >= LEAST)) {
                printf("# values of %zu: %" PRIu64 " of 1,048,576 bytes\n", at, held);
            }
            if (held < worst) {
                worst = held;
                worst_len = at;
            }
            if (!edge) { break; }
        }
    }
    printf("# least: %.1f %% with values of %zu bytes\n", (double)worst * 100 / (double)BUDGET, worst_len);
}

T_MAIN("api_payload", T_CASE(sixty_per_cent_whatever_the_size))
