/* SPDX-License-Identifier: MIT
 *
 * Aim:    any pattern and any key are matched, or refused by a limit.
 * Method: tests/fuzz/topic.c on seeded texts of words and bytes: FUZZ_RUNS=n. With coverage:
 *         matrix_fuzz.sh. */
#include "tests/fuzz/topic.c"
#include "tests/fuzz/inputs.h"

static size_t put_words(char *in, size_t n, const char *const *words, uint64_t count)
{
    for (uint64_t k = draw(12) == 0 ? draw(20) : 1 + draw(8); k > 0; k--) {
        const char *word = words[draw(count)];
        const size_t len = strlen(word);
        memcpy(in + n, word, len);
        n += len;
        if (k > 1) { in[n++] = draw(60) == 0 ? (char)draw(256) : '.'; }
    }
    return n;
}

static size_t topic_input(char *in)
{
    static const char *const in_pattern[] = {
        "#", "#", "*", "*", "a", "b", "user", "", "##", "*a", "[a-b]", "\\", "?",
        "a-word-of-forty-bytes-for-the-byte-limit"
    };
    static const char *const in_key[] = { "a", "a", "b", "b", "user", "", "*", "#",
                                          "a-word-of-forty-bytes-for-the-byte-limit" };
    in[0] = (char)draw(256);
    size_t n = put_words(in, 1, in_pattern, sizeof in_pattern / sizeof *in_pattern);
    in[n++] = 0;
    return put_words(in, n, in_key, sizeof in_key / sizeof *in_key);
}

T_CASE(topic_match_fuzz)
{
    const uint64_t most = fuzz_inputs(400000, 23, topic_input);
    T_CHECK(fuzz_asked > most / 2 && fuzz_matched > fuzz_asked / 100);
    printf("# %" PRIu64 " of %" PRIu64 " pairs match\n", fuzz_matched, fuzz_asked);
}

T_ONE_THREAD;
T_MAIN("topic_fuzz")
