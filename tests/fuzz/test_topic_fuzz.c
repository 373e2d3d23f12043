/* SPDX-License-Identifier: MIT
 *
 * Aim:    any pattern and any key are matched, or refused by a limit.
 * Method: tests/fuzz/topic.c on seeded texts of words and bytes: FUZZ_RUNS=n. With coverage:
 *         matrix_fuzz.sh. */
#include "tests/fuzz/topic.c"
#include "tests/support/draw.h"

static size_t put_words(uint8_t *in, size_t n, const char *const *words, uint64_t count)
{
    for (uint64_t k = draw(12) == 0 ? draw(20) : 1 + draw(8); k > 0; k--) {
        const char *word = words[draw(count)];
        const size_t len = strlen(word);
        memcpy(in + n, word, len);
        n += len;
        if (k > 1) { in[n++] = draw(60) == 0 ? (uint8_t)draw(256) : '.'; }
    }
    return n;
}

T_CASE(topic_match_fuzz)
{
    static const char *const in_pattern[] = {
        "#", "#", "*", "*", "a", "b", "user", "", "##", "*a", "[a-b]", "\\", "?",
        "a-word-of-forty-bytes-for-the-byte-limit"
    };
    static const char *const in_key[] = { "a", "a", "b", "b", "user", "", "*", "#",
                                          "a-word-of-forty-bytes-for-the-byte-limit" };
    draw_state = t_seed() + 23;
    const uint64_t most = t_env_u64("FUZZ_RUNS", t_share(400000) / T_COST);
    for (uint64_t i = 0; i < most && !t_failed(); i++) {
        uint8_t in[2048];
        in[0] = (uint8_t)draw(256);
        size_t n = put_words(in, 1, in_pattern, sizeof in_pattern / sizeof *in_pattern);
        in[n++] = 0;
        n = put_words(in, n, in_key, sizeof in_key / sizeof *in_key);
        (void)LLVMFuzzerTestOneInput(in, n);
    }
    T_CHECK(most > 0 && fuzz_asked > most / 2 && fuzz_matched > fuzz_asked / 100);
    printf("# %" PRIu64 " of %" PRIu64 " pairs match\n", fuzz_matched, fuzz_asked);
}

T_ONE_THREAD;
T_MAIN("topic_fuzz")
