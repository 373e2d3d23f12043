/* SPDX-License-Identifier: MIT
 *
 * Aim:    bytes are the same requests in any pieces.
 * Method: tests/fuzz/resp_parse.c on seeded texts of requests, words and bytes: FUZZ_RUNS=n. With
 *         coverage: matrix_fuzz.sh. */
#include "tests/fuzz/resp_parse.c"
#include "tests/fuzz/resp_input.h"

T_CASE(resp_parse_fuzz)
{
    draw_state = t_seed() + 29;
    const uint64_t most = t_env_u64("FUZZ_RUNS", t_share(40000) / T_COST);
    for (uint64_t i = 0; i < most && !t_failed(); i++) {
        char in[RESP_INPUT];
        const size_t n = resp_input(in);
        (void)LLVMFuzzerTestOneInput((const uint8_t *)in, n);
    }
    T_CHECK(most > 0 && fuzz_requests > most);
}

T_ONE_THREAD;
T_MAIN("resp_parse_fuzz")
