/* SPDX-License-Identifier: MIT
 *
 * Aim:    all readers of the disk tier accept any file contents, with right or wrong checks.
 * Method: tests/fuzz/l2.c on seeded inputs: FUZZ_RUNS=n. With coverage: matrix_fuzz.sh. */
#include "tests/fuzz/l2.c"

T_CASE(any_input_is_read_without_a_fault)
{
    base_rng rng;
    const uint64_t most = t_env_u64("FUZZ_RUNS", t_share(1500));
    for (uint64_t i = 0; i < most && !t_failed(); i++) {
        uint8_t in[256];
        base_rng_seed(&rng, t_.seed + i);
        const size_t n = 5 + (size_t)base_rng_below(&rng, 120);
        for (size_t j = 0; j < n; j++) {
            /* Small and full numbers are more frequent than in uniform input. */
            const uint64_t how = base_rng_below(&rng, 4);
            in[j] = (uint8_t)(how == 0 ? 0 : how == 1 ? base_rng_below(&rng, 8)
                                                      : base_rng_below(&rng, 256));
        }
        (void)LLVMFuzzerTestOneInput(in, n);
    }
    fuzz_end();
    T_CHECK(most > 0 && fuzz_found > most / 8);
    printf("# %" PRIu64 " of %" PRIu64 " opens found a record\n", fuzz_found, most);
}

T_ONE_THREAD;
T_MAIN("l2_fuzz")
