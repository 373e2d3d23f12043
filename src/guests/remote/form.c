/* SPDX-License-Identifier: MIT
 *
 * form: the envelope around a value in the server.
 *
 * FORMAT     little-endian; the magic is no UTF-8, no JSON, no number
 *              0  u8[4]  CE 'c' 'l' 1        4  u8 kind    5  u8 flags: 1 = full key inside
 *              6  u8 tag count               7  u8 cost
 *              8  u64 generation            16  u64 born (both: epochs)
 *             24  u64 deadline, ms of the clock of the server, 0: none
 *             32  u32 stale_ms              36  u32 user_flags
 *             40  u32 length of the value   44  u32 length of the key inside
 *             48  u64 check: of all other bytes and of the key's name, never 0. Of a counter: of
 *                 all bytes but the value, plus the value (mod 2^64): a script adds to both
 *             56  tags {u8 length, bytes}; key; value
 * INVARIANTS All lengths are compared with `len` and `max_value` before any byte behind the head is
 *            used. A value that is copied to another name is damaged. */
#include "remote/form.h"

#include <string.h>

#include "remote/key.h"

static const uint8_t REMOTE_FORM_MAGIC[4] = { 0xCE, 'c', 'l', 1 };
enum { REMOTE_FORM_FULL_KEY = 1 };

static void remote_form_store(uint8_t *p, uint64_t x, size_t n)
{
    for (size_t i = 0; i < n; i++) { p[i] = (uint8_t)(x >> (8 * i)); }
}

static uint64_t remote_form_load(const uint8_t *p, size_t n)
{
    uint64_t x = 0;
    for (size_t i = 0; i < n; i++) { x |= (uint64_t)p[i] << (8 * i); }
    return x;
}

static uint64_t remote_form_check(const uint8_t *p, size_t len, const char *name, size_t name_len)
{
    uint64_t h = remote_check(0, name, name_len);
    h = remote_check(h, p, REMOTE_FORM_CHECK_AT);
    if (p[4] == REMOTE_FORM_COUNTER && len >= REMOTE_FORM_HEAD + 8) {
        h = remote_check(h, p + REMOTE_FORM_HEAD, len - 8 - REMOTE_FORM_HEAD);
        return h + remote_form_load(p + len - 8, 8);
    }
    h = remote_check(h, p + REMOTE_FORM_HEAD, len - REMOTE_FORM_HEAD);
    return h == 0 ? 1 : h;
}

CELLAR_PRIVATE uint64_t remote_raw_check(const void *value, size_t len)
{
    return remote_check(1, value, len) | 1;
}

CELLAR_PRIVATE void remote_form_count(uint8_t out[8], int64_t number)
{
    remote_form_store(out, (uint64_t)number, 8);
}

CELLAR_PRIVATE int64_t remote_form_number(const void *value)
{
    return (int64_t)remote_form_load(value, 8);
}

CELLAR_PRIVATE size_t remote_form_size(const remote_form *f)
{
    size_t n = REMOTE_FORM_HEAD + f->key.len + f->value.len;
    for (uint32_t i = 0; i < f->tag_count; i++) { n += 1 + f->tags[i].len; }
    return n;
}

CELLAR_PRIVATE uint64_t remote_form_write(const remote_form *f, const char *name, size_t name_len,
                                          uint8_t *out)
{
    memcpy(out, REMOTE_FORM_MAGIC, sizeof REMOTE_FORM_MAGIC);
    out[4] = f->kind;
    out[5] = f->key.len != 0 ? REMOTE_FORM_FULL_KEY : 0;
    out[6] = f->tag_count;
    out[7] = f->cost;
    remote_form_store(out + 8, f->generation, 8);
    remote_form_store(out + 16, f->born, 8);
    remote_form_store(out + 24, f->deadline_ms, 8);
    remote_form_store(out + 32, f->stale_ms, 4);
    remote_form_store(out + 36, f->user_flags, 4);
    remote_form_store(out + 40, f->value.len, 4);
    remote_form_store(out + 44, f->key.len, 4);
    uint8_t *p = out + REMOTE_FORM_HEAD;
    for (uint32_t i = 0; i < f->tag_count; i++) {
        *p++ = (uint8_t)f->tags[i].len;
        memcpy(p, f->tags[i].data, f->tags[i].len);
        p += f->tags[i].len;
    }
    if (f->key.len != 0) { memcpy(p, f->key.data, f->key.len); }
    p += f->key.len;
    if (f->value.len != 0) { memcpy(p, f->value.data, f->value.len); }
    p += f->value.len;
    const uint64_t check = remote_form_check(out, (size_t)(p - out), name, name_len);
    remote_form_store(out + REMOTE_FORM_CHECK_AT, check, 8);
    return check;
}

static void remote_form_head(const uint8_t *p, remote_form *f)
{
    f->kind = p[4];
    f->tag_count = p[6];
    f->cost = p[7];
    f->generation = remote_form_load(p + 8, 8);
    f->born = remote_form_load(p + 16, 8);
    f->deadline_ms = remote_form_load(p + 24, 8);
    f->stale_ms = (uint32_t)remote_form_load(p + 32, 4);
    f->user_flags = (uint32_t)remote_form_load(p + 36, 4);
    f->value.len = (size_t)remote_form_load(p + 40, 4);
    f->key.len = (size_t)remote_form_load(p + 44, 4);
    f->check = remote_form_load(p + REMOTE_FORM_CHECK_AT, 8);
}

/* Find tags, key and value behind the head. Return whether they fill the bytes exactly. */
static bool remote_form_body(const uint8_t *p, size_t len, remote_form *f)
{
    size_t at = REMOTE_FORM_HEAD;
    for (uint32_t i = 0; i < f->tag_count; i++) {
        if (at >= len || len - at - 1 < p[at]) { return false; }
        f->tags[i].len = p[at];
        f->tags[i].data = p + at + 1;
        at += 1 + (size_t)p[at];
    }
    if (len - at < f->key.len) { return false; }
    f->key.data = p + at;
    at += f->key.len;
    f->value.data = p + at;
    return len - at == f->value.len;
}

CELLAR_PRIVATE remote_form_verdict remote_form_read(const void *bytes, size_t len,
                                                    const char *name, size_t name_len,
                                                    cellar_bytes key, uint64_t max_value,
                                                    remote_form *f)
{
    const uint8_t *const p = bytes;
    if (len < 4 || memcmp(p, REMOTE_FORM_MAGIC, 3) != 0) { return REMOTE_FORM_FOREIGN; }
    if (p[3] > REMOTE_FORM_MAGIC[3]) { return REMOTE_FORM_NEWER; }
    if (len < REMOTE_FORM_HEAD || p[3] != REMOTE_FORM_MAGIC[3]) { return REMOTE_FORM_DAMAGED; }
    remote_form_head(p, f);
    if (f->value.len > max_value) { return REMOTE_FORM_TOO_BIG; }
    if (f->tag_count > CELLAR_TAGS_MAX || !remote_form_body(p, len, f) ||
        (f->kind == REMOTE_FORM_COUNTER && f->value.len != 8) ||
        f->check != remote_form_check(p, len, name, name_len)) {
        return REMOTE_FORM_DAMAGED;
    }
    if (f->kind < REMOTE_FORM_VALUE || f->kind > REMOTE_FORM_COUNTER ||
        p[5] > REMOTE_FORM_FULL_KEY) {
        return REMOTE_FORM_NEWER;
    }
    if (p[5] == REMOTE_FORM_FULL_KEY &&
        (f->key.len != key.len || memcmp(f->key.data, key.data, key.len) != 0)) {
        return REMOTE_FORM_OTHER_KEY;
    }
    return REMOTE_FORM_OK;
}
