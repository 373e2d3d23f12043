/* SPDX-License-Identifier: MIT
 *
 * fuzz/resp_http: heads of HTTP requests of any bytes, whole and in pieces.
 *
 * INPUT      what the visitor of the admin pages sends
 * ORACLE     no crash, no sanitizer report. The same bytes, shown to the reader one by one, give the
 *            same requests and the same end. Texts lie inside the bytes of their request; a path
 *            begins with a slash, and no text has a blank at its ends or a control byte but a tab.
 * USE        tests/fuzz/test_resp_http_fuzz.c: seeded inputs, in every test run. libFuzzer:
 *            tests/fuzz/matrix_fuzz.sh. */
#include "tests/support/t.h"

#include "resp/http.h"
#include "tests/fuzz/must.h"

static uint64_t fuzz_requests;
static const cellar_resp_config limits = { .admin_head_bytes = 16u << 10, .admin_body_bytes = 9 };

static uint64_t fuzz_mix(uint64_t sum, uint64_t v) { return (sum ^ v) * 1099511628211u; }

/* Check a text of a request in `from`, and add it to the checksum. */
static uint64_t fuzz_text(uint64_t sum, cellar_bytes text, const unsigned char *from, size_t n)
{
    const unsigned char *p = text.data;
    if (p == NULL) { return fuzz_mix(sum, 512); }
    FUZZ_MUST(p >= from && p + text.len <= from + n);
    FUZZ_MUST(text.len == 0 || (*p != ' ' && *p != '\t' && p[text.len - 1] != ' '));
    for (size_t i = 0; i < text.len; i++) {
        FUZZ_MUST((p[i] >= ' ' || p[i] == '\t') && p[i] != 0x7f);
        sum = fuzz_mix(sum, p[i]);
    }
    return fuzz_mix(sum, 256);
}

/* Read `n` bytes, `piece` more in each call. Return a checksum of all requests and of the end. */
static uint64_t fuzz_read(const uint8_t *data, size_t n, size_t piece)
{
    uint64_t sum = 14695981039346656037u;
    size_t have = 0, at = 0, scan = 0;
    for (int status = 0;;) {
        if (status == 0) { have = n - have > piece ? have + piece : n; }
        unsigned char *exact = malloc(have - at + 1); /* a read past its end is found */
        resp_http head;
        size_t used = 0;
        FUZZ_MUST(exact != NULL);
        memcpy(exact, data + at, have - at);
        status = resp_http_read(exact, have - at, &limits, &scan, &used, &head);
        if (status == 200) {
            FUZZ_MUST(used > 0 && used <= have - at && scan == 0 && head.body_len <= 9);
            FUZZ_MUST(head.path.len > 0 && *(const char *)head.path.data == '/');
            sum = fuzz_text(sum, head.path, exact, used);
            sum = fuzz_text(sum, head.host, exact, used);
            sum = fuzz_text(sum, head.authorization, exact, used);
            sum = fuzz_mix(sum, (uint64_t)head.head * 2 + head.keep);
            fuzz_requests++;
            at += used;
        }
        free(exact);
        FUZZ_MUST(status == 0 || status == 200 || status == 400 || status == 405 ||
                  status == 413 || status == 431);
        if (status > 200 || (status == 0 && have == n)) {
            return fuzz_mix(sum, (uint64_t)status);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const uint64_t whole = fuzz_read(data, n, n + 1);
    FUZZ_MUST(whole == fuzz_read(data, n, 1));
    FUZZ_MUST(whole == fuzz_read(data, n, 7));
    return 0;
}
