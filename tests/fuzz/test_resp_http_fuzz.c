/* SPDX-License-Identifier: MIT
 *
 * Aim:    bytes are the same HTTP requests in any pieces.
 * Method: tests/fuzz/resp_http.c on seeded heads, some with a byte changed: FUZZ_RUNS=n. With
 *         coverage: matrix_fuzz.sh. */
#include "tests/fuzz/resp_http.c"
#include "tests/fuzz/inputs.h"

static const char *const http_lines[] = {
    "GET / HTTP/1.1\r\n", "GET /metrics?a=b HTTP/1.1\r\n", "HEAD /stats.json HTTP/1.0\r\n",
    "POST / HTTP/1.1\r\n", "GET * HTTP/1.1\r\n", "GET / HTTP/2\r\n", "Host: localhost:9180\r\n",
    "Host:\t\r\n", "hOST: a\r\n", "Connection: keep-alive , close\r\n", "Content-Length: 0\r\n",
    "Content-Length: 1\r\n", "Transfer-Encoding: chunked\r\n", "Authorization: Basic eDp5\r\n",
    "Accept:*/*\r\n", " folded\r\n", "no colon\r\n", "\r\n", "\n", "\r", ":\r\n"
};

/* Write a request, mostly a right one. Return its length. */
static size_t http_request(char *to, size_t cap)
{
    const size_t all = sizeof http_lines / sizeof *http_lines;
    int n = snprintf(to, cap, "%s%s", http_lines[draw(3)], http_lines[6]);
    for (uint64_t lines = draw(3); lines > 0; lines--) {
        const uint64_t which = draw(4) == 0 ? draw(all) : 9 + draw(2) * 5;
        n += snprintf(to + n, cap - (size_t)n, "%s", http_lines[which]);
    }
    return (size_t)(n + snprintf(to + n, cap - (size_t)n, "\r\n"));
}

static size_t http_input(char *in)
{
    size_t n = 0;
    for (uint64_t requests = 1 + draw(4); requests > 0; requests--) {
        n += http_request(in + n, FUZZ_INPUT - n);
    }
    if (draw(3) == 0) { in[draw(n)] = (char)draw(256); }
    return n;
}

T_CASE(resp_http_fuzz)
{
    const uint64_t most = fuzz_inputs(20000, 31, http_input);
    T_CHECK(fuzz_requests > most);
}

T_ONE_THREAD;
T_MAIN("resp_http_fuzz")
