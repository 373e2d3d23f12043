/* SPDX-License-Identifier: MIT
 *
 * fuzz/remote_wire: replies of any bytes, whole and in pieces.
 *
 * INPUT      what a server sends
 * ORACLE     no crash, no sanitizer report. Bytes that arrive one by one are the same replies as
 *            those that arrive together, and end as they do. A reply has the elements that it
 *            counts, 4 levels and strings of FUZZ_STRING bytes at most. All memory returns.
 * USE        tests/fuzz/test_remote_wire_fuzz.c: seeded inputs, in every test run. libFuzzer:
 *            tests/fuzz/matrix_fuzz.sh. */
#include "tests/support/t.h"

#include "remote/wire.h"
#include "tests/fuzz/must.h"

enum { FUZZ_STRING = 64, FUZZ_LONG = 5 };
static uint64_t fuzz_replies, fuzz_blocks;

static void *fuzz_alloc(void *ctx, size_t size)
{
    (void)ctx;
    fuzz_blocks++;
    return malloc(size);
}

static void fuzz_free(void *ctx, void *p, size_t size)
{
    (void)ctx, (void)size;
    fuzz_blocks -= p != NULL;
    free(p);
}

static uint64_t fuzz_mix(uint64_t sum, uint64_t n) { return (sum ^ n) * UINT64_C(1099511628211); }

static uint64_t fuzz_sum(uint64_t sum, const remote_reply *r, int depth)
{
    uint32_t count = 0;
    FUZZ_MUST(depth <= 5); /* four arrays, and what is in the last one */
    FUZZ_MUST(r->len <= FUZZ_STRING && (r->len == 0 || r->text != NULL));
    sum = fuzz_mix(fuzz_mix(fuzz_mix(sum, r->type), r->len), (uint64_t)r->number);
    for (size_t i = 0; i < r->len; i++) { sum = fuzz_mix(sum, (uint8_t)r->text[i]); }
    for (const remote_reply *e = r->first; e != NULL; e = e->next, count++) {
        sum = fuzz_sum(sum, e, depth + 1);
    }
    FUZZ_MUST(count == r->count);
    return sum;
}

static void fuzz_take(void *ctx, const remote_reply *reply)
{
    uint64_t *sum = ctx;
    fuzz_replies++;
    *sum = fuzz_sum(*sum, reply, 1);
}

/* Read `n` bytes, `piece` in each read. Return a checksum of all replies and of the end. */
static uint64_t fuzz_read(const uint8_t *data, size_t n, size_t piece)
{
    const remote_memory memory = { NULL, fuzz_alloc, fuzz_free, NULL };
    uint64_t sum = UINT64_C(14695981039346656037);
    remote_wire w;
    int ends[2];
    bool fine = true, more;
    FUZZ_MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
    remote_wire_init(&w, &memory, fuzz_take, &sum);
    w.string_max = FUZZ_STRING;
    w.long_min = FUZZ_LONG;
    w.fd = ends[0]; /* as remote_wire_connect makes it */
    w.connected = true;
    for (size_t at = 0; fine && at < n; at += piece) {
        if (piece > n - at) { piece = n - at; }
        FUZZ_MUST(send(ends[1], data + at, piece, 0) == (ssize_t)piece);
        do { fine = remote_wire_read(&w, &more); } while (fine && more);
    }
    FUZZ_MUST(fine == (w.fault == REMOTE_WIRE_FINE) && w.fault != REMOTE_WIRE_NOMEM);
    remote_wire_close(&w);
    close(ends[1]);
    FUZZ_MUST(fuzz_blocks == 0);
    return fuzz_mix(sum, fine); /* a long line in pieces is too big before it is wrong */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const uint64_t whole = fuzz_read(data, n, n);
    FUZZ_MUST(whole == fuzz_read(data, n, 1));
    FUZZ_MUST(whole == fuzz_read(data, n, 7));
    return 0;
}
