/* SPDX-License-Identifier: MIT
 *
 * Aim:    any text is a cron expression, or is refused with a column.
 * Method: tests/fuzz/cron.c on seeded texts of words and bytes: FUZZ_RUNS=n. With coverage:
 *         matrix_fuzz.sh. */
#include "tests/fuzz/cron.c"
#include "tests/fuzz/inputs.h"

static size_t cron_input(char *in)
{
    static const char *const words[] = {
        "*", "*", "?", "0", "1", "5", "12", "23", "30", "59", "60", "7", "31", "99999999999", "L",
        "LW", "L-3", "15W", "H", "H(1-5)", "MON", "jan", "DEC", "5L", "2#3", "MON#1", "/", "/2",
        "-", "-9", ",", ",3", "@daily", "@every", "1h30m", "90s", "CRON_TZ=", "UTC", "+02:00", "@",
        "#", "(", ")", "\t", "\n", "x"
    };
    static const char *const plain[] = { "*", "*", "1", "5", "2-6", "*/2", "1,3", "H", "H/3",
                                         "5/2" }; /* right in every field */
    size_t n = 0;
    for (uint64_t fields = draw(3) == 0 ? draw(8) : 5 + draw(2); fields > 0; fields--) {
        for (uint64_t k = 1 + (draw(4) == 0 ? draw(4) : 0); k > 0 && n < 350; k--) {
            const char *word = draw(6) != 0 ? plain[draw(sizeof plain / sizeof *plain)]
                                            : words[draw(sizeof words / sizeof *words)];
            const size_t len = strlen(word);
            memcpy(in + n, word, len);
            n += len;
        }
        in[n++] = draw(60) == 0 ? (char)draw(256) : ' ';
    }
    return n;
}

T_CASE(cron_parse_fuzz)
{
    const uint64_t most = fuzz_inputs(200000, 17, cron_input);
    T_CHECK(fuzz_good > most / 50 && fuzz_fired > fuzz_good);
    printf("# %" PRIu64 " of %" PRIu64 " texts are expressions\n", fuzz_good, most);
}

T_ONE_THREAD;
T_MAIN("cron_fuzz")
