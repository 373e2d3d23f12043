/* SPDX-License-Identifier: MIT
 *
 * Aim:    bytes are the same requests in any pieces.
 * Method: tests/fuzz/resp_parse.c on seeded texts of requests, words and bytes: FUZZ_RUNS=n. With
 *         coverage: matrix_fuzz.sh. */
#include "tests/fuzz/resp_parse.c"
#include "tests/fuzz/resp_input.h"

T_CASE(resp_parse_fuzz)
{
    const uint64_t most = fuzz_inputs(40000, 29, resp_input);
    T_CHECK(fuzz_requests > most);
}

T_ONE_THREAD;
T_MAIN("resp_parse_fuzz")
