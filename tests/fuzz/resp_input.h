/* SPDX-License-Identifier: MIT
 *
 * resp_input: seeded texts of a client: requests, words and bytes. */
#ifndef CELLAR_TESTS_RESP_INPUT_H
#define CELLAR_TESTS_RESP_INPUT_H

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tests/fuzz/inputs.h"

#define RESP_INPUT 1200u

static const char *const resp_words[] = {
    "PING", "ECHO", "SELECT", "MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH", "RESET", "QUIT",
    "COMMAND", "CLIENT", "REPLY", "OFF", "ON", "SKIP", "SLOWLOG", "GET", "SET", "DEL",
    "SUBSCRIBE", "PSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "PUBLISH", "PUBSUB", "CHANNELS",
    "NUMSUB", "HELLO", "CELLAR.TASKS", "INCR", "EXPIRE", "APPEND", "TTL", "3", "0", "-1",
    "99999999999", "k", "key", "*", "x", "TRACKING", "BCAST", "PREFIX", "NOLOOP", "REDIRECT", "~k",
    "k:~k", "UNLINK", "WAIT", "FLUSHDB"
};
static const char *const resp_pieces[] = {
    "\r\n", "\n", "\r", "*", "$", "*1\r\n", "*2\r\n", "$4\r\n", "$-1\r\n", "\"", "'", "\\x", " ",
    "*0\r\n", "$0\r\n\r\n", "*1048577\r\n", "$99999999999\r\n", "Host: "
};

T_INLINE size_t resp_request(char *to, size_t cap)
{
    const uint64_t count = 1 + draw(4);
    size_t n = (size_t)snprintf(to, cap, "*%" PRIu64 "\r\n", count);
    for (uint64_t i = 0; i < count; i++) {
        const char *word = resp_words[draw(sizeof resp_words / sizeof *resp_words)];
        n += (size_t)snprintf(to + n, cap - n, "$%zu\r\n%s\r\n", strlen(word), word);
    }
    return n;
}

/* Write a text of at most RESP_INPUT bytes. Return its length. */
T_INLINE size_t resp_input(char *in)
{
    size_t n = 1;
    in[0] = (char)draw(256);
    for (uint64_t parts = 1 + draw(10); parts > 0 && n < RESP_INPUT - 200; parts--) {
        const uint64_t kind = draw(10);
        if (kind < 6) {
            n += resp_request(in + n, RESP_INPUT - n);
        } else if (kind < 8) {
            n += (size_t)snprintf(in + n, RESP_INPUT - n, "%s %s\r\n",
                                  resp_words[draw(sizeof resp_words / sizeof *resp_words)],
                                  resp_words[draw(sizeof resp_words / sizeof *resp_words)]);
        } else if (kind == 8) {
            n += (size_t)snprintf(in + n, RESP_INPUT - n, "%s",
                                  resp_pieces[draw(sizeof resp_pieces / sizeof *resp_pieces)]);
        } else {
            in[n++] = (char)draw(256);
        }
    }
    if (draw(3) == 0) { in[1 + draw(n - 1)] = (char)draw(256); }
    return n;
}

#endif
