/* SPDX-License-Identifier: MIT
 *
 * Aim:    keys, values and texts of the kit take any input; a key gives its parts back, and of a
 *         planted secret no 8 bytes survive.
 * Method: tests/fuzz/kit.c on seeded inputs: FUZZ_RUNS=n of each kind. With coverage:
 *         matrix_fuzz.sh. */
#include "tests/fuzz/kit.c"
#include "tests/support/draw.h"

/* Words that text inputs are made of, so that names, quotes and separators meet. */
static size_t draw_words(uint8_t *out, size_t cap)
{
    static const char *const words[] = {
        "token", "password", "Bearer ", "sk-", "//", "@", ":", "=", "\"", "'", "\\", " ", "\n",
        "&", "cookie: ", "authorization", "secret", "x", "7", "/", "?", "api_key", "\xc3\xa4"
    };
    size_t len = 0;
    for (uint64_t n = draw(24); n > 0; n--) {
        const char *w = words[draw(sizeof words / sizeof *words)];
        if (len + strlen(w) > cap) { break; }
        memcpy(out + len, w, strlen(w));
        len += strlen(w);
    }
    return len;
}

static void any_input_of(uint8_t kind)
{
    const uint64_t most = t_env_u64("FUZZ_RUNS", t_share(40000) / (T_COST > 1 ? 4 : 1));
    draw_state = t_seed() + kind;
    for (uint64_t i = 0; i < most && !t_failed(); i++) {
        uint8_t in[256] = { kind };
        size_t n = 1 + (size_t)draw(120);
        for (size_t j = 1; j < n; j++) { /* small and full numbers are more frequent */
            const uint64_t how = draw(4);
            in[j] = (uint8_t)(how == 0 ? 0 : draw(how == 1 ? 8 : 256));
        }
        if (kind == 3) { n = 5 + draw_words(in + 5, sizeof in - 5); }
        (void)LLVMFuzzerTestOneInput(in, n);
    }
    fuzz_end();
}

T_CASE(any_parts_come_back_from_their_key)
{
    fuzz_keys = 0;
    any_input_of(0);
    T_CHECK(fuzz_keys > 100);
    any_input_of(1);
}

T_CASE(any_value_is_whole_or_another_type) { any_input_of(2); }

T_CASE(any_value_of_a_codec_decodes_or_is_removed)
{
    fuzz_good = 0;
    any_input_of(5);
    any_input_of(6);
    T_CHECK(fuzz_good > 100);
}

T_CASE(any_text_loses_its_planted_secret)
{
    fuzz_masks = 0;
    any_input_of(3);
    T_CHECK(fuzz_masks > 100);
}

T_CASE(any_change_of_an_address_leads_to_its_host_or_is_denied)
{
    fuzz_allowed = 0;
    any_input_of(7);
    T_CHECK(fuzz_allowed > 100);
}

T_CASE(any_template_gives_its_values_back) { any_input_of(4); }

T_ONE_THREAD;
T_MAIN("kit_fuzz")
