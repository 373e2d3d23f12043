/* SPDX-License-Identifier: MIT
 *
 * fuzz/remote_form: envelopes of any bytes, and any bit of an envelope.
 *
 * INPUT      a value of the server; the same bytes as fields of an envelope
 * ORACLE     no crash, no sanitizer report. What is read points into the input, and written again
 *            it is the input. Fields that are written are read again; with one bit flipped, cut, or
 *            under another name the envelope is a miss.
 * USE        tests/fuzz/test_remote_form_fuzz.c: seeded inputs. libFuzzer: matrix_fuzz.sh. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "remote/form.h"
#include "tests/fuzz/must.h"

enum { FUZZ_VALUE = 64 };
static const cellar_bytes fuzz_key = { "42", 2 };
static uint64_t fuzz_read_ok;

static remote_form_verdict fuzz_read(const uint8_t *bytes, size_t n, const char *name,
                                     remote_form *f)
{
    return remote_form_read(bytes, n, name, strlen(name), fuzz_key, FUZZ_VALUE, f);
}

static void fuzz_inside(const uint8_t *bytes, size_t n, cellar_bytes part)
{
    const uint8_t *at = part.data;
    FUZZ_MUST(part.len == 0 || (at >= bytes && at + part.len <= bytes + n));
}

/* Read bytes of a server. */
static void fuzz_bytes(const uint8_t *data, size_t n)
{
    remote_form f;
    uint8_t *const again = malloc(n + 1);
    FUZZ_MUST(again != NULL);
    if (fuzz_read(data, n, "n", &f) == REMOTE_FORM_OK) {
        fuzz_read_ok++;
        FUZZ_MUST(f.tag_count <= CELLAR_TAGS_MAX && f.value.len <= FUZZ_VALUE);
        FUZZ_MUST(f.check != 0 || f.kind == REMOTE_FORM_COUNTER);
        for (uint32_t i = 0; i < f.tag_count; i++) { fuzz_inside(data, n, f.tags[i]); }
        fuzz_inside(data, n, f.key);
        fuzz_inside(data, n, f.value);
        FUZZ_MUST(remote_form_size(&f) == n);
        FUZZ_MUST(remote_form_write(&f, "n", 1, again) == f.check && memcmp(again, data, n) == 0);
    }
    free(again);
}

/* Take up to `most` bytes of the input. */
static cellar_bytes fuzz_part(const uint8_t **data, size_t *n, size_t most)
{
    const size_t len = *n < most ? *n : most;
    const cellar_bytes part = { *data, len };
    *data += len;
    *n -= len;
    return part;
}

/* Use the bytes as fields. */
static remote_form fuzz_fields(const uint8_t *data, size_t n)
{
    remote_form f = { .kind = (uint8_t)(REMOTE_FORM_VALUE + data[0] % 4), .cost = data[1],
                      .tag_count = (uint8_t)(data[2] % (CELLAR_TAGS_MAX + 1)) };
    memcpy(&f.stale_ms, data + 4, 4);
    memcpy(&f.generation, data + 8, 8);
    memcpy(&f.deadline_ms, data + 8, 8);
    f.born = f.generation ^ f.stale_ms;
    f.user_flags = ~f.stale_ms;
    if (data[3] % 2 != 0) { f.key = fuzz_key; }
    data += 16;
    n -= 16;
    for (uint32_t i = 0; i < f.tag_count; i++) { f.tags[i] = fuzz_part(&data, &n, 1 + i); }
    f.value = fuzz_part(&data, &n, FUZZ_VALUE);
    if (f.kind == REMOTE_FORM_COUNTER) { f.value = (cellar_bytes){ "counter", 8 }; }
    return f;
}

static int fuzz_same(cellar_bytes a, cellar_bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static void fuzz_envelope(const uint8_t *data, size_t n)
{
    uint8_t bytes[REMOTE_FORM_HEAD + CELLAR_TAGS_MAX * (CELLAR_TAGS_MAX + 2) + FUZZ_VALUE + 8];
    const remote_form f = fuzz_fields(data, n);
    const size_t size = remote_form_size(&f), bit = (data[0] | (size_t)data[1] << 8) % (8 * size);
    remote_form got;
    FUZZ_MUST(size <= sizeof bytes);
    const uint64_t check = remote_form_write(&f, "n", 1, bytes);
    FUZZ_MUST(fuzz_read(bytes, size, "n", &got) == REMOTE_FORM_OK);
    FUZZ_MUST(got.check == check && got.kind == f.kind && got.cost == f.cost);
    FUZZ_MUST(got.stale_ms == f.stale_ms && got.user_flags == f.user_flags);
    FUZZ_MUST(got.generation == f.generation && got.born == f.born);
    FUZZ_MUST(got.deadline_ms == f.deadline_ms && got.tag_count == f.tag_count);
    for (uint32_t i = 0; i < f.tag_count; i++) { FUZZ_MUST(fuzz_same(got.tags[i], f.tags[i])); }
    FUZZ_MUST(fuzz_same(got.value, f.value));
    FUZZ_MUST(fuzz_read(bytes, size, "m", &got) != REMOTE_FORM_OK);
    FUZZ_MUST(fuzz_read(bytes, size - 1 - bit % size, "n", &got) != REMOTE_FORM_OK);
    bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    FUZZ_MUST(fuzz_read(bytes, size, "n", &got) != REMOTE_FORM_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fuzz_bytes(data, n);
    if (n >= 16) { fuzz_envelope(data, n); }
    return 0;
}
