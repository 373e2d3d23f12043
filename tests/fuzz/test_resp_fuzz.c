/* SPDX-License-Identifier: MIT
 *
 * Aim:    any bytes from a client are requests or end its connection.
 * Method: tests/fuzz/resp.c on seeded conversations of requests, words and bytes: FUZZ_RUNS=n. With
 *         coverage: matrix_fuzz.sh. */
#include "tests/fuzz/resp.c"
#include "tests/fuzz/resp_input.h"

T_CASE(resp_fuzz)
{
    const uint64_t most = fuzz_inputs(8000, 29, resp_input);
    T_CHECK(fuzz_replied > most / 2);
    port_end();
}

T_ONE_THREAD;
T_MAIN("resp_fuzz")
