/* SPDX-License-Identifier: MIT
 *
 * Aim:    bytes of a server are the same replies in any pieces, whatever they are.
 * Method: tests/fuzz/remote_wire.c on seeded replies, wrong lengths and bytes: FUZZ_RUNS=n. With
 *         coverage: matrix_fuzz.sh. */
#include "tests/fuzz/remote_wire.c"
#include "tests/fuzz/inputs.h"

enum { WIRE_INPUT = 400 };

static const char *const wire_pieces[] = {
    "$-1\r\n", "*-1\r\n", "*0\r\n", "$0\r\n\r\n", "+OK\r\n", "-OOM \r\n", ":-9223372036854775808\r\n",
    ":9223372036854775808\r\n", "$-2\r\n", "*-2\r\n", "*2147483647\r\n", "*2147483648\r\n",
    "*1048577\r\n", "$9223372036854775807\r\n", "$18446744073709551616\r\n", "$65\r\n", "*\r\n",
    "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", ":x\r\n", "\r\n", "%1\r\n+a\r\n+b\r\n", "$4\r\nabcdef"
};

/* Write one reply of `depth` levels at most. */
static size_t wire_reply(char *to, size_t cap, int depth)
{
    const uint64_t kind = draw(depth > 0 ? 6 : 4);
    const int len = (int)draw(12);
    if (cap < 64) { return 0; }
    if (kind == 0) { return (size_t)snprintf(to, cap, ":%d\r\n", len - 6); }
    if (kind == 1) { return (size_t)snprintf(to, cap, "+%.*s\r\n", len, "abcdefghijkl"); }
    if (kind < 4) {
        return (size_t)snprintf(to, cap, "$%d\r\n%.*s\r\n", len, len, "a\r\n$1*2:+-kl");
    }
    size_t n = (size_t)snprintf(to, cap, "*%d\r\n", len % 4);
    for (int i = 0; i < len % 4; i++) { n += wire_reply(to + n, cap - n, depth - 1); }
    return n;
}

static size_t wire_input(char *to)
{
    size_t n = 0;
    for (uint64_t parts = 1 + draw(5); parts > 0; parts--) {
        const size_t piece = draw(sizeof wire_pieces / sizeof *wire_pieces);
        if (draw(6) != 0) { n += wire_reply(to + n, WIRE_INPUT - n, 4); }
        else if (n + 40 < WIRE_INPUT) {
            n += (size_t)snprintf(to + n, WIRE_INPUT - n, "%s", wire_pieces[piece]);
        }
    }
    if (n > 0 && draw(4) == 0) { to[draw(n)] = (char)draw(256); }
    return n > 0 && draw(4) == 0 ? draw(n) : n; /* cut */
}

T_CASE(wire_fuzz)
{
    const uint64_t most = fuzz_inputs(3000, 31, wire_input);
    T_CHECK(fuzz_replies > most);
}

T_ONE_THREAD;
T_MAIN("remote_wire_fuzz")
