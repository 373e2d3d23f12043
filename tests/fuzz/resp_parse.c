/* SPDX-License-Identifier: MIT
 *
 * fuzz/resp_parse: requests of any bytes, whole and in pieces.
 *
 * INPUT      byte 0: odd, the client knows the password; then what it sends
 * ORACLE     no crash, no sanitizer report. The same bytes, shown to the parser one by one, give the
 *            same requests and the same end. Arguments lie inside the bytes of their request.
 * USE        tests/fuzz/test_resp_parse_fuzz.c: seeded inputs, in every test run. libFuzzer:
 *            tests/fuzz/matrix_fuzz.sh. */
#include "tests/support/t.h"

#include "resp/parse.h"
#include "tests/fuzz/must.h"

static uint64_t fuzz_requests;

/* Parse `n` bytes, `piece` more in each call. Return a checksum of all requests and of the end. */
static uint64_t fuzz_parse(cellar_resp *r, const uint8_t *data, size_t n, size_t piece, bool auth)
{
    resp_client c = { .of = r, .protocol = 2, .bulk_len = -1,
                      .flags = RESP_C_FIRST | (auth ? RESP_C_AUTH : 0) };
    uint64_t sum = 14695981039346656037u;
    unsigned char *p = malloc(n + 1);
    resp_parsed got = RESP_PARSE_MORE;
    FUZZ_MUST(p != NULL);
    memcpy(p, data, n);
    for (size_t have = 0, at = 0; have < n || got != RESP_PARSE_MORE;) {
        uint32_t argc = 0;
        size_t used = 0;
        if (got == RESP_PARSE_MORE) { have = have + piece < n ? have + piece : n; }
        unsigned char *exact = malloc(have - at + 1); /* a read past its end is found */
        FUZZ_MUST(exact != NULL);
        memcpy(exact, p + at, have - at);
        got = resp_parse(&c, exact, have - at, &argc, &used);
        if (got == RESP_PARSE_OK || got == RESP_PARSE_EMPTY) {
            FUZZ_MUST(used > 0 && used <= have - at);
            for (uint32_t i = 0; i < argc; i++) {
                const unsigned char *arg = r->argv[i].data;
                FUZZ_MUST(arg >= exact && arg + r->argv[i].len <= exact + used);
                for (size_t k = 0; k < r->argv[i].len; k++) {
                    sum = (sum ^ arg[k]) * 1099511628211u;
                }
                sum = (sum ^ 256) * 1099511628211u;
            }
            fuzz_requests += got == RESP_PARSE_OK;
            if (got == RESP_PARSE_OK) { c.flags &= ~RESP_C_FIRST; }
            at += used;
        }
        if (got != RESP_PARSE_MORE) { sum = (sum ^ (uint64_t)got) * 1099511628211u; }
        free(exact);
        if (got == RESP_PARSE_BAD || got == RESP_PARSE_FOREIGN) { break; }
        if (got == RESP_PARSE_MORE && have == n) { break; }
    }
    free(p);
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static cellar_resp r;
    const base_alloc_hooks hooks = { .alloc = NULL };
    if (n < 1) { return 0; }
    memset(&r, 0, sizeof r);
    base_account_init(&r.obj.account, UINT64_C(64) << 20, &hooks);
    r.opts.max_request_bytes = UINT64_C(64) << 20;
    const bool auth = data[0] % 2 != 0;
    const uint64_t whole = fuzz_parse(&r, data + 1, n - 1, n, auth);
    FUZZ_MUST(whole == fuzz_parse(&r, data + 1, n - 1, 1, auth));
    FUZZ_MUST(whole == fuzz_parse(&r, data + 1, n - 1, 7, auth));
    base_free(&r.obj.account, BASE_MOD_STORE, r.argv, r.argv_cap * sizeof *r.argv);
    return 0;
}
