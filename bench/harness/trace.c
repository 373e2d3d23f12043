/* SPDX-License-Identifier: MIT
 *
 * trace: makes zipf, uniform and constant sequences; takes those of files.
 *
 * WALK       zipf: rank by rejection-inversion -> scrambled by a bijection -> id. Every thread
 *            draws from the same distribution with its own seed.
 *            file: the reader of `cellar replay`; a key becomes the rank of its first appearance,
 *            its size is that of its first request. Times are not used, deletes left out.
 * LIMITS     2^31 ids; files up to 2^31 records.
 * SOURCE     Hörmann and Derflinger 1996, rejection-inversion for monotone discrete distributions:
 *            exact for any number of keys without a table. */
#include "bench/harness/trace.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/harness/verify.h"
#include "bench/replay/ideal.h"

#define TRACE_PIECE 1024u

uint64_t trace_scramble(uint64_t rank, uint64_t n)
{
    uint32_t bits = 2;
    while (bits < 63 && (UINT64_C(1) << bits) < n) {
        bits++;
    }
    const uint64_t mask = (UINT64_C(1) << bits) - 1;
    const uint32_t half = bits / 2;
    uint64_t x = rank;
    do { /* xor-shifts and odd multiplications modulo 2^bits are bijections; walk until inside */
        x = (x * UINT64_C(0x9e3779b97f4a7c15) + 0x7f4a7c15) & mask;
        x ^= x >> half;
        x = (x * UINT64_C(0xd1342543de82ef95) + 1) & mask;
        x ^= x >> half;
    } while (x >= n);
    return x;
}

/* Integral of x^-s and its inverse, for s != 1. */
static double trace_h(double x, double s) { return (pow(x, 1 - s) - 1) / (1 - s); }
static double trace_h_inverse(double y, double s) { return pow(1 + y * (1 - s), 1 / (1 - s)); }

static double trace_unit(uint64_t *state)
{
    return (double)(trace_random(state) >> 11) * 0x1p-53;
}

static void trace_fill_zipf(const trace_spec *spec, uint64_t seed, trace *out)
{
    const double s = spec->zipf_s, n = (double)spec->key_count;
    const double low = trace_h(1.5, s) - 1, high = trace_h(n + 0.5, s);
    const double sure = 2 - trace_h_inverse(trace_h(2.5, s) - pow(2, -s), s);
    for (uint64_t i = 0; i < out->count;) {
        const double u = high + trace_unit(&seed) * (low - high);
        const double x = trace_h_inverse(u, s);
        const double k = fmin(fmax(floor(x + 0.5), 1), n);
        if (k - x <= sure || u >= trace_h(k + 0.5, s) - pow(k, -s)) {
            out->ids[i++] = (uint32_t)trace_scramble((uint64_t)k - 1, spec->key_count);
        }
    }
}

/* Add one request; its key becomes the rank of its first appearance. Return false without
 * memory. */
static bool trace_add(trace *out, cli_ids *ids, const cli_request *r)
{
    const uint64_t n = out->count;
    if ((n & (n - 1)) == 0) { /* full: a power of two */
        const uint64_t room = n < TRACE_PIECE ? TRACE_PIECE : 2 * n;
        uint32_t *more = realloc(out->ids, room * sizeof out->ids[0]);
        if (more == NULL) { return false; }
        out->ids = more;
        more = realloc(out->sizes, room * sizeof out->sizes[0]);
        if (more == NULL) { return false; }
        out->sizes = more;
    }
    bool fresh;
    const uint32_t id = cli_ids_add(ids, r, 1, &fresh);
    if (id > INT32_MAX) { return false; }
    if (fresh) { out->sizes[id] = r->size < UINT32_MAX ? (uint32_t)r->size : UINT32_MAX; }
    out->ids[out->count++] = id;
    return true;
}

/* Read the requests of a file. Deletes are left out: the shares of a workload say what is done. */
static bool trace_file(trace_spec *spec, trace *out, char *why)
{
    static cli_request piece[TRACE_PIECE];
    cli_ids ids = { NULL, NULL, 0, 0 };
    bool wrong = false, ok = true;
    cli_trace *f = cli_trace_open(spec->path, &spec->how, &wrong, why);
    if (f == NULL) { return false; }
    for (size_t n; ok && (n = cli_trace_read(f, piece, TRACE_PIECE, &wrong, why)) > 0;) {
        for (size_t i = 0; ok && i < n; i++) {
            ok = piece[i].op == CLI_DELETE || trace_add(out, &ids, &piece[i]);
        }
    }
    if (!ok) {
        snprintf(why, CLI_TRACE_WHY, "%s: out of memory", spec->path);
    } else if (!wrong && out->count < 32) {
        ok = false;
        snprintf(why, CLI_TRACE_WHY, "%s: shorter than 32 records", spec->path);
    }
    spec->key_count = ids.count;
    out->count &= ~UINT64_C(31);
    cli_trace_close(f);
    cli_ids_free(&ids);
    return ok && !wrong;
}

static bool trace_read(trace_spec *spec, trace *out, char *why, size_t cap)
{
    char text[CLI_TRACE_WHY];
    const bool ok = trace_file(spec, out, text);
    if (!ok) {
        snprintf(why, cap, "%s", text);
        trace_free(out);
    } else if (spec->op_count > out->count) {
        printf("trace: %s has %" PRIu64 " of %" PRIu64 " requests: it wraps\n", spec->path,
               out->count, spec->op_count);
    } else if (spec->op_count != 0) {
        out->count = spec->op_count & ~UINT64_C(31);
    }
    return ok;
}

bool trace_make(trace_spec *spec, uint32_t thread, trace *out, char *why, size_t why_cap)
{
    memset(out, 0, sizeof *out);
    if (spec->kind == TRACE_FILE) {
        return trace_read(spec, out, why, why_cap);
    }
    if (spec->key_count == 0 || spec->key_count > INT32_MAX || spec->op_count < 32) {
        snprintf(why, why_cap, "keys must be 1..2^31-1, ops at least 32");
        return false;
    }
    out->count = spec->op_count & ~UINT64_C(31);
    out->ids = malloc(out->count * sizeof out->ids[0]);
    if (out->ids == NULL) {
        snprintf(why, why_cap, "out of memory for %" PRIu64 " requests", out->count);
        return false;
    }
    uint64_t seed = verify_mix64(spec->seed * 1000003 + thread + 1);
    if (spec->kind == TRACE_ZIPF) {
        trace_fill_zipf(spec, seed, out);
    } else {
        for (uint64_t i = 0; i < out->count; i++) {
            out->ids[i] = spec->kind == TRACE_CONST
                              ? (uint32_t)trace_scramble(0, spec->key_count)
                              : (uint32_t)(trace_random(&seed) % spec->key_count);
        }
    }
    return true;
}

void trace_free(trace *t)
{
    free(t->ids);
    free(t->sizes);
    memset(t, 0, sizeof *t);
}

uint32_t *trace_mask(uint64_t count, uint32_t from_pct, uint32_t to_pct, uint64_t seed)
{
    uint32_t *mask = calloc(count / 32 + 1, sizeof mask[0]);
    for (uint64_t i = 0; mask != NULL && i < count; i++) {
        const uint64_t draw = trace_random(&seed) % 100;
        if (draw >= from_pct && draw < to_pct) {
            mask[i / 32] |= UINT32_C(1) << (i % 32);
        }
    }
    return mask;
}

uint64_t trace_digest(const trace *t, const uint32_t *set_mask, uint64_t count)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (uint64_t i = 0; i < count; i++) {
        unsigned char bytes[VERIFY_KEY_MAX + 1];
        const uint64_t at = i % t->count;
        verify_make_key(bytes, t->ids[at], 16);
        bytes[16] = set_mask != NULL ? (unsigned char)(set_mask[at / 32] >> (at % 32) & 1) : 0;
        for (size_t k = 0; k < sizeof bytes; k++) {
            h = (h ^ bytes[k]) * UINT64_C(0x100000001b3);
        }
    }
    return h;
}
