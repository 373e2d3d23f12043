/* SPDX-License-Identifier: MIT
 *
 * fuzz/resp: whole conversations of any bytes with a port.
 *
 * INPUT      byte 0: the largest piece in which the rest is sent; then what the client sends
 * ORACLE     no crash, no sanitizer report, an end in bounded time. The replies to the same bytes in
 *            one piece and in small pieces are equal. Database 0 is a shared store. No memory of requests is left when the client
 *            is gone, and another client is served.
 * USE        tests/fuzz/test_resp_fuzz.c: seeded inputs, in every test run. libFuzzer:
 *            tests/fuzz/matrix_fuzz.sh. */
#include <strings.h>

#include "base/num.h"
#include "tests/support/port_kit.h"
#include "tests/fuzz/must.h"

static uint64_t fuzz_replied; /* conversations with a reply */

/* Send bytes in pieces, and write the replies. */
static size_t fuzz_talk(const uint8_t *data, size_t n, size_t piece, char *out, size_t cap)
{
    size_t len = 0;
    bool closed = false;
    const int first = peer();
    FUZZ_MUST(strcmp(ask(first, "FLUSHDB\r\n"), "+OK\r\n") == 0);
    close(first);
    for (int i = 1; i < 16; i++) {
        char name[8];
        cellar *db;
        (void)snprintf(name, sizeof name, "db%d", i);
        if (cellar_namespace_open(port_store, name, NULL, &db) == CELLAR_OK) {
            (void)cellar_clear(db);
            (void)cellar_namespace_close(db);
        }
    }
    const int fd = peer();
    for (size_t at = 0; at <= n && !closed; at += piece) {
        (void)tell(fd, data + at, BASE_MIN(piece, n - at));
        port_run();
        (void)hear(fd, &closed);
        const size_t part = BASE_MIN(port_heard_len, cap - len);
        memcpy(out + len, port_heard, part);
        len += part;
        if (piece >= n) { break; }
    }
    close(fd);
    port_pass(2000);
    FUZZ_MUST(port_stats().clients == 0);
    return len;
}

/* Return whether the replies hold something that no two conversations share: wall time, ids, the
 * order of keys in the index. HTTP ends a connection with replies unsent. */
static bool fuzz_varies(const uint8_t *data, size_t n)
{
    static const char *const words[] = { "client", "slowlog", "monitor", "hello", "host:", "info",
                                         "time", "random", "object", "lastsave", "cellar.",
                                         "scan", "keys", "throttle", "expiretime", "exat",
                                         "pxat", "expireat" };
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < sizeof words / sizeof *words; k++) {
            const size_t len = strlen(words[k]);
            if (n - i >= len && strncasecmp((const char *)data + i, words[k], len) == 0) {
                return true;
            }
        }
    }
    return false;
}

static void fuzz_print(const char *what, const char *p, size_t n)
{
    fprintf(stderr, "fuzz: %s: ", what);
    for (size_t i = 0; i < n; i++) {
        const bool plain = p[i] >= ' ' && p[i] <= '~';
        fprintf(stderr, plain ? "%c" : "\\x%02x", (unsigned char)p[i]);
    }
    fprintf(stderr, "\n");
}

static void fuzz_shared(cellar_resp_config *o) { o->shared_bytes = 2u << 20; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (port == NULL) { port_begin_with(fuzz_shared); }
    static char whole[1 << 20], parts[1 << 20];
    if (n < 2) { return 0; }
    const size_t piece = 1 + data[0] % 17;
    const size_t a = fuzz_talk(data + 1, n - 1, n, whole, sizeof whole);
    const size_t b = fuzz_talk(data + 1, n - 1, piece, parts, sizeof parts);
    fuzz_replied += a > 0;
    const bool same = a == b && memcmp(whole, parts, a) == 0;
    if (!same && !fuzz_varies(data + 1, n - 1)) {
        fuzz_print("whole", whole, a);
        fuzz_print("parts", parts, b);
        abort();
    }
    FUZZ_MUST(port_stats().bytes < 1u << 20);
    return 0;
}
