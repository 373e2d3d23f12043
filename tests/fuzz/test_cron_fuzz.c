/* SPDX-License-Identifier: MIT
 *
 * Aim:    any text is a cron expression, or is refused with a column.
 * Method: tests/fuzz/cron.c on seeded texts of words and bytes: FUZZ_RUNS=n. With coverage:
 *         matrix_fuzz.sh. */
#include "tests/fuzz/cron.c"
#include "tests/support/draw.h"

T_CASE(cron_parse_fuzz)
{
    static const char *const words[] = {
        "*", "*", "?", "0", "1", "5", "12", "23", "30", "59", "60", "7", "31", "99999999999", "L",
        "LW", "L-3", "15W", "H", "H(1-5)", "MON", "jan", "DEC", "5L", "2#3", "MON#1", "/", "/2",
        "-", "-9", ",", ",3", "@daily", "@every", "1h30m", "90s", "CRON_TZ=", "UTC", "+02:00", "@",
        "#", "(", ")", "\t", "\n", "x"
    };
    static const char *const plain[] = { "*", "*", "1", "5", "2-6", "*/2", "1,3", "H", "H/3",
                                         "5/2" }; /* right in every field */
    draw_state = t_seed() + 17;
    const uint64_t most = t_env_u64("FUZZ_RUNS", t_share(200000) / T_COST);
    for (uint64_t i = 0; i < most && !t_failed(); i++) {
        uint8_t in[400];
        size_t n = 0;
        for (uint64_t fields = draw(3) == 0 ? draw(8) : 5 + draw(2); fields > 0; fields--) {
            for (uint64_t k = 1 + (draw(4) == 0 ? draw(4) : 0); k > 0 && n < 350; k--) {
                const char *word = draw(6) != 0 ? plain[draw(sizeof plain / sizeof *plain)]
                                                : words[draw(sizeof words / sizeof *words)];
                const size_t len = strlen(word);
                memcpy(in + n, word, len);
                n += len;
            }
            in[n++] = draw(60) == 0 ? (uint8_t)draw(256) : ' ';
        }
        (void)LLVMFuzzerTestOneInput(in, n);
    }
    T_CHECK(most > 0 && fuzz_good > most / 50 && fuzz_fired > fuzz_good);
    printf("# %" PRIu64 " of %" PRIu64 " texts are expressions\n", fuzz_good, most);
}

T_ONE_THREAD;
T_MAIN("cron_fuzz")
