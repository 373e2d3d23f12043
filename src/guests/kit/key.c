/* SPDX-License-Identifier: MIT
 *
 * key: keys made of typed parts.
 *
 * PICTURE    parts -> encoding in the builder (480 bytes, then a block) -> finish: the encoding, or
 *            '#' and its SHA-256 from 201 bytes on
 * FORMAT     part: type byte, LEB128 length, bytes. s: bytes. i: int64, big-endian. u: uint64 above
 *            INT64_MAX. d: double, big-endian; a whole number below 2^53 is i. t, f, n: length 0.
 *            '[': LEB128 number of parts, then the parts. '{': number of entries, then s and a part
 *            each, sorted by the bytes of s.
 * INVARIANTS Each part says where it ends, so different lists of parts have different encodings. No
 *            type byte is '#'.
 *            The first error stays: later calls return it and add nothing.
 * SOURCE     LEB128: DWARF 5, 7.6. SHA-256: FIPS 180-4. */
#include "cellar_kit.h"

#include "base/mem.h"
#include "base/num.h"
#include "base/sha256.h"

#include <string.h>

BASE_SIZE_BEGIN

#define KIT_KEY_SMALL 480u
#define KIT_KEY_BYTES_MAX ((size_t)16 << 20)
#define KIT_KEY_PARTS_MAX 65536u
#define KIT_KEY_DEPTH_MAX 8u
#define KIT_KEY_ENTRIES_MAX 256u

typedef struct kit_key_open { /* a list or map that has not ended */
    uint32_t at;    /* offset of its first part */
    uint32_t count; /* parts so far; of a map two for each entry */
    bool map;
} kit_key_open;

typedef struct kit_key {
    unsigned char *block; /* NULL: the encoding is in `small` */
    size_t len, cap;
    cellar_err err;
    uint32_t parts, depth;
    kit_key_open open[KIT_KEY_DEPTH_MAX];
    unsigned char small[KIT_KEY_SMALL];
} kit_key;
_Static_assert(sizeof(kit_key) <= sizeof(cellar_key_builder), "the builder holds the state");

static kit_key *kit_key_of(cellar_key_builder *b) { return (kit_key *)(void *)b; }

static unsigned char *kit_key_bytes(kit_key *k) { return k->block != NULL ? k->block : k->small; }

CELLAR_API void cellar_key_begin(cellar_key_builder *b)
{
    if (b == NULL) { return; }
    memset(b, 0, sizeof *b);
    kit_key_of(b)->cap = KIT_KEY_SMALL;
}

CELLAR_API void cellar_key_discard(cellar_key_builder *b)
{
    if (b == NULL) { return; }
    kit_key *k = kit_key_of(b);
    if (k->block != NULL) { base_free_raw(NULL, k->block, k->cap); }
    cellar_key_begin(b);
}

static cellar_err kit_key_fail(kit_key *k, cellar_err err)
{
    if (k->err == CELLAR_OK) { k->err = err; }
    return k->err;
}

/* Make room for `bytes` more, beyond the limit as well. */
static cellar_err kit_key_grow(kit_key *k, size_t bytes)
{
    if (k->len + bytes <= k->cap) { return CELLAR_OK; }
    const size_t cap = (size_t)base_pow2_ceil(k->len + bytes);
    unsigned char *block = base_alloc_raw(NULL, cap);
    if (block == NULL) { return kit_key_fail(k, CELLAR_E_NOMEM); }
    memcpy(block, kit_key_bytes(k), k->len);
    if (k->block != NULL) { base_free_raw(NULL, k->block, k->cap); }
    k->block = block;
    k->cap = cap;
    return CELLAR_OK;
}

/* Make room for `bytes` more of the key. */
static cellar_err kit_key_room(kit_key *k, size_t bytes)
{
    if (k->err != CELLAR_OK) { return k->err; }
    if (bytes > KIT_KEY_BYTES_MAX - k->len) { return kit_key_fail(k, CELLAR_E_TOOBIG); }
    return kit_key_grow(k, bytes);
}

/* Write type and LEB128 number. Return their length, at most 6. */
static size_t kit_key_head(unsigned char out[6], char type, size_t number)
{
    size_t n = 0;
    out[n++] = (unsigned char)type;
    for (; number >= 0x80; number >>= 7) { out[n++] = (unsigned char)(number | 0x80); }
    out[n++] = (unsigned char)number;
    return n;
}

/* Count a part. Return E_INVAL for a map key that is not text. */
static cellar_err kit_key_count(kit_key *k, char type)
{
    if (k->err != CELLAR_OK) { return k->err; }
    if (++k->parts > KIT_KEY_PARTS_MAX) { return kit_key_fail(k, CELLAR_E_LIMIT); }
    if (k->depth == 0) { return CELLAR_OK; }
    kit_key_open *o = &k->open[k->depth - 1];
    if (o->map && o->count % 2 == 0 && type != 's') { return kit_key_fail(k, CELLAR_E_INVAL); }
    if (o->map && o->count == 2 * KIT_KEY_ENTRIES_MAX) { return kit_key_fail(k, CELLAR_E_LIMIT); }
    o->count++;
    return CELLAR_OK;
}

static cellar_err kit_key_part(kit_key *k, char type, const void *data, size_t len)
{
    unsigned char head[6];
    if (len > KIT_KEY_BYTES_MAX) { return kit_key_fail(k, CELLAR_E_TOOBIG); }
    cellar_err err = kit_key_count(k, type);
    const size_t n = kit_key_head(head, type, len);
    if (err == CELLAR_OK) { err = kit_key_room(k, n + len); }
    if (err != CELLAR_OK) { return err; }
    unsigned char *to = kit_key_bytes(k) + k->len;
    memcpy(to, head, n);
    if (len != 0) { memcpy(to + n, data, len); }
    k->len += n + len;
    return CELLAR_OK;
}

static cellar_err kit_key_word(kit_key *k, char type, uint64_t x)
{
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++) { bytes[i] = (unsigned char)(x >> (56 - 8 * i)); }
    return kit_key_part(k, type, bytes, sizeof bytes);
}

static cellar_err kit_key_double(kit_key *k, double x)
{
    const double whole_below = 9007199254740992.0; /* 2^53 */
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    if ((bits >> 52 & 0x7ff) == 0x7ff) { return kit_key_fail(k, CELLAR_E_INVAL); } /* inf, NaN */
    if (x > -whole_below && x < whole_below && (double)(int64_t)x == x) {
        return kit_key_word(k, 'i', (uint64_t)(int64_t)x);
    }
    return kit_key_word(k, 'd', bits);
}

/* Begin a list or a map. */
static cellar_err kit_key_open_one(kit_key *k, bool map)
{
    const cellar_err err = kit_key_count(k, map ? '{' : '[');
    if (err != CELLAR_OK) { return err; }
    if (k->depth == KIT_KEY_DEPTH_MAX) { return kit_key_fail(k, CELLAR_E_LIMIT); }
    k->open[k->depth++] = (kit_key_open){ (uint32_t)k->len, 0, map };
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_key_add(cellar_key_builder *b, cellar_arg part)
{
    if (b == NULL) { return CELLAR_E_INVAL; }
    kit_key *k = kit_key_of(b);
    const cellar_bytes x = part.as.bytes;
    if (part.reserved0 != 0) { return kit_key_fail(k, CELLAR_E_INVAL); }
    switch (part.type) {
    case CELLAR_ARG_I64: return kit_key_word(k, 'i', part.as.u64);
    case CELLAR_ARG_U64: return kit_key_word(k, part.as.u64 > INT64_MAX ? 'u' : 'i', part.as.u64);
    case CELLAR_ARG_F32: return kit_key_double(k, (double)part.as.f32);
    case CELLAR_ARG_F64: return kit_key_double(k, part.as.f64);
    case CELLAR_ARG_TEXT:
    case CELLAR_ARG_BYTES:
        if (x.data == NULL && (x.len != 0 || part.type == CELLAR_ARG_TEXT)) { break; }
        return kit_key_part(k, 's', x.data, x.len);
    case CELLAR_ARG_BOOL: return kit_key_part(k, part.as.i64 != 0 ? 't' : 'f', NULL, 0);
    case CELLAR_ARG_NULL: return kit_key_part(k, 'n', NULL, 0);
    case CELLAR_ARG_LIST:
    case CELLAR_ARG_MAP: return kit_key_open_one(k, part.type == CELLAR_ARG_MAP);
    default: break;
    }
    return kit_key_fail(k, CELLAR_E_INVAL);
}

/* ---- lists and maps ---- */

static size_t kit_key_number(const unsigned char *p, size_t *at)
{
    size_t x = 0;
    for (unsigned shift = 0;; shift += 7) {
        const unsigned char byte = p[(*at)++];
        x |= (size_t)(byte & 0x7f) << shift;
        if (byte < 0x80) { return x; }
    }
}

/* Return the end of the part at `at`. The builder wrote it, so it is whole. */
static size_t kit_key_skip(const unsigned char *p, size_t at)
{
    for (size_t left = 1; left > 0; left--) {
        const unsigned char type = p[at++];
        const size_t n = kit_key_number(p, &at);
        if (type == '[') {
            left += n;
        } else if (type == '{') {
            left += 2 * n;
        } else {
            at += n;
        }
    }
    return at;
}

typedef struct kit_key_entry {
    uint32_t at, len;           /* key and value */
    uint32_t name_at, name_len; /* bytes of the key */
} kit_key_entry;

static int kit_key_order(const unsigned char *p, const kit_key_entry *a, const kit_key_entry *b)
{
    const int cmp = memcmp(p + a->name_at, p + b->name_at, BASE_MIN(a->name_len, b->name_len));
    return cmp != 0 ? cmp : (a->name_len > b->name_len) - (a->name_len < b->name_len);
}

/* Sort the entries of the map at `from` by their keys. */
static cellar_err kit_key_sort(kit_key *k, size_t from, uint32_t count)
{
    kit_key_entry all[KIT_KEY_ENTRIES_MAX];
    const size_t bytes = k->len - from;
    const cellar_err err = kit_key_grow(k, bytes); /* a sorted copy behind them */
    if (err != CELLAR_OK) { return err; }
    unsigned char *p = kit_key_bytes(k);
    size_t at = from;
    for (uint32_t n = 0; n < count; n++) {
        kit_key_entry e = { .at = (uint32_t)at };
        size_t name = at + 1;
        e.name_len = (uint32_t)kit_key_number(p, &name);
        e.name_at = (uint32_t)name;
        at = kit_key_skip(p, name + e.name_len);
        e.len = (uint32_t)at - e.at;
        uint32_t i = n;
        for (; i > 0; i--) {
            const int order = kit_key_order(p, &all[i - 1], &e);
            if (order == 0) { return kit_key_fail(k, CELLAR_E_INVAL); }
            if (order < 0) { break; }
            all[i] = all[i - 1];
        }
        all[i] = e;
    }
    unsigned char *to = p + k->len;
    for (uint32_t i = 0; i < count; i++) {
        memcpy(to, p + all[i].at, all[i].len);
        to += all[i].len;
    }
    memcpy(p + from, p + k->len, bytes);
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_key_end(cellar_key_builder *b)
{
    if (b == NULL) { return CELLAR_E_INVAL; }
    kit_key *k = kit_key_of(b);
    if (k->err != CELLAR_OK) { return k->err; }
    if (k->depth == 0) { return kit_key_fail(k, CELLAR_E_INVAL); }
    const kit_key_open o = k->open[--k->depth];
    if (o.map && o.count % 2 != 0) { return kit_key_fail(k, CELLAR_E_INVAL); }
    unsigned char head[6];
    const size_t n = kit_key_head(head, o.map ? '{' : '[', o.map ? o.count / 2 : o.count);
    cellar_err err = o.map ? kit_key_sort(k, o.at, o.count / 2) : CELLAR_OK;
    if (err == CELLAR_OK) { err = kit_key_room(k, n); }
    if (err != CELLAR_OK) { return err; }
    unsigned char *from = kit_key_bytes(k) + o.at;
    memmove(from + n, from, k->len - o.at);
    memcpy(from, head, n);
    k->len += n;
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_key_finish(cellar_key_builder *b, void *buf, size_t buf_cap,
                                        size_t *key_len)
{
    if (key_len != NULL) { *key_len = 0; }
    if (b == NULL || (buf == NULL && buf_cap != 0)) { return CELLAR_E_INVAL; }
    kit_key *k = kit_key_of(b);
    cellar_err err = k->err;
    if (err == CELLAR_OK && (k->depth != 0 || k->len == 0)) { err = CELLAR_E_INVAL; }
    const bool whole = k->len <= CELLAR_KEY_BUILT_MAX;
    const size_t len = whole ? k->len : 33;
    if (err == CELLAR_OK && key_len != NULL) { *key_len = len; }
    if (err == CELLAR_OK && len > buf_cap) { return CELLAR_E_BUFFER; }
    if (err == CELLAR_OK && whole) {
        memcpy(buf, kit_key_bytes(k), len);
    } else if (err == CELLAR_OK) {
        unsigned char *to = buf;
        base_sha256 sha;
        base_sha256_init(&sha);
        base_sha256_add(&sha, kit_key_bytes(k), k->len);
        to[0] = '#';
        base_sha256_end(&sha, to + 1);
    }
    cellar_key_discard(b);
    return err;
}

BASE_SIZE_END
