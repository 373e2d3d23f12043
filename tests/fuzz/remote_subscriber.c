/* SPDX-License-Identifier: MIT
 *
 * fuzz/remote_subscriber: messages of any bytes on *subscriber*, whole and in pieces.
 *
 * INPUT      first byte: odd: behind HELLO and SUBSCRIBE; the rest: what a server sends
 * ORACLE     no crash, no sanitizer report. The same events in any pieces: keys, flushes, proofs,
 *            and whether the link must break. Keys of markers are no keys of values. Behind a
 *            reason to break nothing is heard. All memory returns.
 * USE        tests/fuzz/test_remote_subscriber_fuzz.c: seeded inputs. libFuzzer: matrix_fuzz.sh. */
#include "remote/link_inside.h"
#include "tests/support/link_kit.h"
#include "tests/fuzz/must.h"

enum { FUZZ_STRING = 64 };
static uint64_t fuzz_keys, fuzz_flushes, fuzz_proofs;

typedef struct fuzz_subscriber {
    link_kit k;
    uint64_t sum;
} fuzz_subscriber;

static void fuzz_mix(fuzz_subscriber *e, uint64_t n)
{
    e->sum = (e->sum ^ n) * UINT64_C(1099511628211);
}

static void fuzz_heard(void *ctx, const char *key, size_t len)
{
    fuzz_subscriber *e = ctx;
    const remote_link *l = e->k.link;
    FUZZ_MUST(len <= FUZZ_STRING && l->why == REMOTE_WHY_NONE);
    FUZZ_MUST(len < l->marker_prefix_len || memcmp(key, l->marker_key, l->marker_prefix_len) != 0);
    fuzz_keys++;
    fuzz_mix(e, len);
    for (size_t i = 0; i < len; i++) { fuzz_mix(e, (uint8_t)key[i]); }
}

static void fuzz_heard_flush(void *ctx)
{
    fuzz_subscriber *e = ctx;
    FUZZ_MUST(e->k.link->why == REMOTE_WHY_NONE);
    fuzz_flushes++;
    fuzz_mix(e, 'f');
}

static void fuzz_proven(void *ctx, int64_t until_ms)
{
    fuzz_subscriber *e = ctx;
    (void)until_ms;
    fuzz_proofs++;
    fuzz_mix(e, 'p');
}

/* Return a link that has heard nothing. One is opened for all readings: an open fills 400 KiB. */
static remote_link *fuzz_link(fuzz_subscriber *e)
{
    enum { RUNNER = offsetof(remote_link, phase) };
    static char fresh[sizeof(remote_link) - RUNNER]; /* what the runner writes, as it was opened */
    remote_link *l = e->k.link;
    if (l == NULL) {
        link_kit_init(&e->k, "/none");
        FUZZ_MUST(link_kit_open(&e->k) == CELLAR_OK);
        l = e->k.link;
        l->e.heard = fuzz_heard;
        l->e.heard_flush = fuzz_heard_flush;
        l->e.proven = fuzz_proven;
        memcpy(fresh, (char *)l + RUNNER, sizeof fresh);
    }
    memcpy((char *)l + RUNNER, fresh, sizeof fresh);
    atomic_store(&l->state, REMOTE_DOWN);
    atomic_store(&l->largest, 0);
    return l;
}

/* Let *subscriber* read from a socket, with a marker under way that has its reply. */
static void fuzz_connect(remote_link *l, int fd, bool subscribed)
{
    remote_wire *w = &l->subscriber;
    w->string_max = FUZZ_STRING;
    w->fd = fd; /* as remote_wire_connect makes it */
    w->connected = true;
    l->subscriber_step = subscribed;
    l->subscribed = subscribed;
    (void)snprintf(l->marker_key + l->marker_prefix_len,
                   sizeof l->marker_key - l->marker_prefix_len, "1");
    l->marker = (remote_marker){ .number = 1, .replied = true, .counts = true };
}

/* Read `n` bytes, `piece` in each read. Return a checksum of all events and of the end. */
static uint64_t fuzz_read(const uint8_t *data, size_t n, size_t piece, bool subscribed)
{
    static fuzz_subscriber e;
    int ends[2];
    bool fine = true, more;
    remote_link *l = fuzz_link(&e);
    const int64_t blocks = atomic_load(&e.k.blocks);
    e.sum = UINT64_C(14695981039346656037);
    FUZZ_MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
    fuzz_connect(l, ends[0], subscribed);
    for (size_t at = 0; fine && at < n; at += piece) {
        if (piece > n - at) { piece = n - at; }
        FUZZ_MUST(send(ends[1], data + at, piece, 0) == (ssize_t)piece);
        fine = remote_wire_read(&l->subscriber, &more);
    }
    fuzz_mix(&e, fine);
    fuzz_mix(&e, l->why);
    fuzz_mix(&e, l->subscribed);
    remote_wire_close(&l->subscriber);
    close(ends[1]);
    FUZZ_MUST(atomic_load(&e.k.blocks) == blocks);
    return e.sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2) { return 0; }
    const bool subscribed = data[0] % 2 != 0;
    const uint64_t whole = fuzz_read(data + 1, n - 1, n - 1, subscribed);
    FUZZ_MUST(whole == fuzz_read(data + 1, n - 1, 1, subscribed));
    FUZZ_MUST(whole == fuzz_read(data + 1, n - 1, 7, subscribed));
    return 0;
}
