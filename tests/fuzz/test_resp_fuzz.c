/* SPDX-License-Identifier: MIT
 *
 * Aim:    any bytes from a client are requests or end its connection.
 * Method: tests/fuzz/resp.c on seeded conversations of requests, words and bytes: FUZZ_RUNS=n. With
 *         coverage: matrix_fuzz.sh. */
#include "tests/fuzz/resp.c"

static uint64_t state;

static uint64_t draw(uint64_t n)
{
    state += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t x = state;
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return (x ^ x >> 31) % n;
}

static const char *const words[] = {
    "PING", "ECHO", "SELECT", "MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH", "RESET", "QUIT",
    "COMMAND", "CLIENT", "REPLY", "OFF", "ON", "SKIP", "SLOWLOG", "GET", "SET", "DEL",
    "SUBSCRIBE", "PSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "PUBLISH", "PUBSUB", "CHANNELS",
    "NUMSUB", "HELLO", "CELLAR.TASKS", "INCR", "EXPIRE", "APPEND", "TTL", "3", "0", "-1", "99999999999", "k", "key", "*", "x"
};
static const char *const pieces[] = { "\r\n", "\n", "\r", "*", "$", "*1\r\n", "*2\r\n", "$4\r\n",
                                      "$-1\r\n", "\"", "'", "\\x", " ", "*0\r\n", "$0\r\n\r\n",
                                      "*1048577\r\n", "$99999999999\r\n", "Host: " };

static size_t request(char *to, size_t cap)
{
    const uint64_t count = 1 + draw(4);
    size_t n = (size_t)snprintf(to, cap, "*%" PRIu64 "\r\n", count);
    for (uint64_t i = 0; i < count; i++) {
        const char *word = words[draw(sizeof words / sizeof *words)];
        n += (size_t)snprintf(to + n, cap - n, "$%zu\r\n%s\r\n", strlen(word), word);
    }
    return n;
}

static void resp_fuzz(void)
{
    state = t_seed() + 29;
    const uint64_t most = t_env_u64("FUZZ_RUNS", t_share(8000) / T_COST);
    for (uint64_t i = 0; i < most && !t_failed(); i++) {
        char in[1200];
        size_t n = 1;
        in[0] = (char)draw(256);
        for (uint64_t parts = 1 + draw(10); parts > 0 && n < 1000; parts--) {
            const uint64_t kind = draw(10);
            if (kind < 6) {
                n += request(in + n, sizeof in - n);
            } else if (kind < 8) {
                n += (size_t)snprintf(in + n, sizeof in - n, "%s %s\r\n",
                                      words[draw(sizeof words / sizeof *words)],
                                      words[draw(sizeof words / sizeof *words)]);
            } else if (kind == 8) {
                n += (size_t)snprintf(in + n, sizeof in - n, "%s",
                                      pieces[draw(sizeof pieces / sizeof *pieces)]);
            } else {
                in[n++] = (char)draw(256);
            }
        }
        if (draw(3) == 0) { in[1 + draw(n - 1)] = (char)draw(256); }
        (void)LLVMFuzzerTestOneInput((const uint8_t *)in, n);
    }
    T_CHECK(most > 0 && fuzz_replied > most / 2);
    port_end();
}

T_ONE_THREAD;
T_MAIN("resp_fuzz", T_CASE(resp_fuzz))
