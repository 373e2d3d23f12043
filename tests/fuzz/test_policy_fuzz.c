/* SPDX-License-Identifier: MIT
 *
 * Aim:    any text is a table of rules or has errors with line and column.
 * Method: tests/fuzz/policy.c on seeded texts made of words of the language and random bytes:
 *         FUZZ_RUNS=n. With coverage: matrix_fuzz.sh. */
#include "tests/support/t.h"

#include "tests/fuzz/policy.c"

T_CASE(any_text_is_a_table_or_has_errors)
{
    static const char *const word[] = {
        "[*]\n", "[a]\n", "set ", "key ", "glob ", "deny ", "no_l2 ", "a:{x}", "{x}", "*", "[a-c]",
        "\"a\\x41\"", " ttl=1h", " ttl=9", " jitter=+5%", " idle=1m", " tags=a,b", " at=01:02@UTC",
        " quota_max=2%", " default_ttl=1s", " prefix=a", " separator=:", " refresh=2h", " # x", "\n",
        "\r\n", "\n", "\n", "\n[*]\n", " class=c", " loader=l", "a", ":", "key a:b\n"
    };
    base_rng rng;
    const uint64_t most = t_env_u64("FUZZ_RUNS", t_share(40000));
    for (uint64_t i = 0; i < most && !t_failed(); i++) {
        uint8_t in[512];
        size_t n = 6;
        base_rng_seed(&rng, t_.seed + i);
        const uint64_t words = base_rng_below(&rng, 20);
        memcpy(in, "\x04" "a:bc*", 6);
        if (words % 4 != 0) { n += (size_t)snprintf((char *)in + n, 8, "[*]\n"); }
        for (uint64_t w = 0; w < words; w++) {
            const uint64_t pick = base_rng_below(&rng, sizeof word / sizeof word[0] + 1);
            if (pick < sizeof word / sizeof word[0]) {
                n += (size_t)snprintf((char *)in + n, sizeof in - n, "%s", word[pick]);
            } else {
                in[n++] = (uint8_t)base_rng_below(&rng, 256);
            }
        }
        uint8_t *exact = malloc(n); /* so that a read beyond the end is found */
        T_REQUIRE(exact != NULL);
        memcpy(exact, in, n);
        (void)LLVMFuzzerTestOneInput(exact, n);
        free(exact);
    }
    T_CHECK(most > 0 && fuzz_tables > most / 50);
    printf("# %" PRIu64 " of %" PRIu64 " without an error\n", fuzz_tables, most);
}

T_ONE_THREAD;
T_MAIN("policy_fuzz")
