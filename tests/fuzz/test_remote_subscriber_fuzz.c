/* SPDX-License-Identifier: MIT
 *
 * Aim:    messages of *subscriber* are the same events in any pieces, whatever they are.
 * Method: tests/fuzz/remote_subscriber.c on seeded messages: keys, markers, flushes,
 *         acknowledgements, wrong kinds, lengths, nestings and bytes: FUZZ_RUNS=n. With coverage:
 *         matrix_fuzz.sh. */
#include "tests/fuzz/remote_subscriber.c"
#include "tests/fuzz/inputs.h"

enum { SUBSCRIBER_INPUT = 600 };

static const char *const subscriber_kinds[] = { "message", "message", "message", "message",
                                                "subscribe", "pmessage", "" };
static const char *const subscriber_channels[] = { "__redis__:invalidate", "__redis__:invalidate",
                                                   "__redis__:invalidate", "other", "" };
static const char *const subscriber_payloads[] = {
    "*1\r\n$5\r\napp:k\r\n", "*2\r\n$11\r\napp:users:k\r\n$6\r\napp:~e\r\n", "*-1\r\n", "$-1\r\n",
    "$5\r\napp:k\r\n", "*0\r\n", ":1\r\n", "*1\r\n:1\r\n", "*2\r\n$1\r\nk\r\n*1\r\n$1\r\nk\r\n",
    "*1\r\n$39\r\n~app:0123456789abcdef0123456789abcdef:1\r\n",
    "*1\r\n$39\r\n~app:0123456789abcdef0123456789abcdef:2\r\n",
    "*1\r\n$38\r\n~app:0123456789abcdef0123456789abcdef:\r\n", "*1\r\n$0\r\n\r\n", "*1\r\n$-1\r\n",
    "*2147483647\r\n$1\r\nk\r\n", "*1\r\n$65\r\n", "$-2\r\n",
    "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
    "-ERR x\r\n", "+OK\r\n", "*2\r\n:1\r\n$5\r\napp:k\r\n"
};
static const char subscriber_hello[] = "*8\r\n$6\r\nserver\r\n$5\r\nredis\r\n"
                                       "$7\r\nversion\r\n$5\r\n7.0.0\r\n"
                                       "$2\r\nid\r\n:7\r\n$4\r\nrole\r\n$6\r\nmaster\r\n";
static const char *const subscriber_others[] = { "-NOPERM channel\r\n", "-LOADING\r\n", "+OK\r\n",
                                                 "*2\r\n:1\r\n:2\r\n", "*-1\r\n", "*0\r\n" };

#define SUBSCRIBER_ONE(list) (list)[draw(sizeof(list) / sizeof *(list))]

static size_t subscriber_message(char *to, size_t cap)
{
    const char *kind = SUBSCRIBER_ONE(subscriber_kinds),
               *channel = SUBSCRIBER_ONE(subscriber_channels);
    if (draw(12) == 0) {
        return (size_t)snprintf(to, cap, "%s", SUBSCRIBER_ONE(subscriber_others));
    }
    return (size_t)snprintf(to, cap, "*3\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n%s", strlen(kind), kind,
                            strlen(channel), channel, SUBSCRIBER_ONE(subscriber_payloads));
}

static size_t subscriber_input(char *to)
{
    size_t n = 1;
    to[0] = (char)draw(256);
    if (to[0] % 2 == 0) {
        n += (size_t)snprintf(to + n, SUBSCRIBER_INPUT - n, "%s", subscriber_hello);
    }
    for (uint64_t parts = 1 + draw(4); parts > 0 && n + 128 < SUBSCRIBER_INPUT; parts--) {
        n += subscriber_message(to + n, SUBSCRIBER_INPUT - n);
    }
    if (draw(8) == 0) { to[1 + draw(n - 1)] = (char)draw(256); }
    return draw(8) == 0 ? 1 + draw(n) : n; /* cut */
}

/* The target sees what it looks for: each input is read three times. */
T_CASE(subscriber_hears_each_kind)
{
    for (size_t i = 0; i < 3; i++) {
        static const size_t payload[] = { 1, 2, 9 }; /* two keys, a flush, the marker */
        char in[SUBSCRIBER_INPUT];
        const int n = snprintf(in, sizeof in, "1*3\r\n$7\r\nmessage\r\n$20\r\n%s\r\n%s",
                               subscriber_channels[0], subscriber_payloads[payload[i]]);
        (void)LLVMFuzzerTestOneInput((const uint8_t *)in, (size_t)n);
    }
    T_EQ_U64(fuzz_keys, 6);
    T_EQ_U64(fuzz_flushes, 3);
    T_EQ_U64(fuzz_proofs, 3);
}

T_CASE(subscriber_fuzz) { (void)fuzz_inputs(3000, 33, subscriber_input); }

T_ONE_THREAD;
T_MAIN("remote_subscriber_fuzz")
