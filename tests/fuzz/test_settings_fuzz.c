/* SPDX-License-Identifier: MIT
 *
 * Aim:    any text is read as settings, or refused as a whole.
 * Method: tests/fuzz/settings.c on seeded texts of words and bytes: FUZZ_RUNS=n. With coverage:
 *         matrix_fuzz.sh. */
#include "tests/fuzz/settings.c"
#include "tests/fuzz/inputs.h"

static size_t settings_input(char *in)
{
    static const char *const words[] = {
        "interval", "task_routes",
        "memory", "CELLAR_MEMORY", "max_entries", "max_value", "eviction", "default_ttl",
        "CACHE_DEFAULT_TIMEOUT", "jitter", "idle", "stale", "key_prefix", "CACHE_KEY_PREFIX",
        "key_version", "l2_path", "l2_bytes", "l2_sync", "enabled", "threads", "load_queue", "log",
        "REDIS_DB", "workers", "=", " = ", "=", "\n", "\n", "\r\n", " ", "#", " # ", "\"", "'",
        "\\", "{'a': 'b'}", "{\"a\":{\"queue\":\"b\"}}",
        "1M", "50%", "16M", "64", "0", "1", "5s", "1h30m", "never", "10%", "+5%", "lru", "always",
        "info", "true", "/tmp/x", "\xef\xbb\xbf", "99999999999999999999", "\t"
    };
    size_t n = 0;
    const bool lines = draw(2) == 0; /* name = value, mostly */
    for (uint64_t k = draw(lines ? 4 : 16); k > 0 && n < 300; k--) {
        if (lines) {
            n += (size_t)sprintf(in + n, "%s=%s\n", words[draw(24)], words[36 + draw(19)]);
        } else if (draw(8) == 0) {
            in[n++] = (char)draw(256);
        } else {
            n += (size_t)sprintf(in + n, "%s", words[draw(sizeof words / sizeof *words)]);
        }
    }
    return n;
}

T_CASE(any_text_is_settings_or_changes_nothing)
{
    const uint64_t most = fuzz_inputs(200000, 11, settings_input);
    T_CHECK(fuzz_good > most / 20 && fuzz_set > most / 50);
    printf("# %" PRIu64 " of %" PRIu64 " texts without an error, %" PRIu64 " with a setting\n",
           fuzz_good, most, fuzz_set);
}

T_ONE_THREAD;
T_MAIN("settings_fuzz")
