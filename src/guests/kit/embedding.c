/* SPDX-License-Identifier: MIT
 *
 * embedding: vectors of texts in batches, stored as binary numbers.
 *
 * PICTURE    texts -> keys -> one bulk load -> distinct missing texts, in batches -> fn -> stored;
 *            results -> floats in the caller's order
 * FORMAT     u16 1, u16 type, u32 dim; f32: dim x 4 bytes. f16: dim x 2. i8: f32 scale, dim bytes.
 *            Little-endian.
 * INVARIANTS A stored value of another form, type or dimension is loaded again. The caller's floats
 *            change only where the status is a success.
 * SOURCE     binary16: IEEE 754-2019, 3.4; rounding to nearest, ties to even. */
#include "cellar_kit.h"

#include "base/mem.h"
#include "base/num.h"
#include "base/opts.h"
#include "base/sha256.h"
#include "kit/bytes.h"

#include <stdlib.h>
#include <string.h>

BASE_SIZE_BEGIN

#define KIT_EMB_HEAD 8u
#define KIT_EMB_DIM_MAX 65536u
#define KIT_EMB_TEXTS_MAX ((size_t)1 << 20)
#define KIT_EMB_BATCH_MAX 4096u

struct cellar_embeddings {
    cellar *c;
    cellar_load_opts load;
    uint32_t dim, max_batch;
    cellar_vector_type type;
    bool shared;
    unsigned char tenant[32];
    size_t bytes;             /* of this block */
    size_t scope_len, model_len;
    unsigned char names[];    /* scope, model */
};

/* ---- numbers ---- */

static uint32_t kit_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float kit_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Return the nearest binary16; numbers above its range become its greatest. */
static uint32_t kit_half(float x)
{
    const uint32_t bits = kit_bits(x), sign = bits >> 16 & 0x8000, abs = bits & 0x7fffffff;
    if (abs >= 0x477ff000) { return sign | 0x7bff; } /* 65,520 and more: 65,504 */
    if (abs < 0x38800000) {                          /* below 2^-14: subnormal */
        const uint32_t shift = 126 - (abs >> 23);    /* in units of 2^-24 */
        if (shift > 24) { return sign; }
        const uint32_t m = (abs & 0x7fffff) | 0x800000;
        const uint32_t half = m >> shift, rest = m & ((1u << shift) - 1), tie = 1u << (shift - 1);
        return sign | (half + (rest > tie || (rest == tie && (half & 1) != 0)));
    }
    const uint32_t half = (abs - 0x38000000) >> 13, rest = abs & 0x1fff;
    return sign | (half + (rest > 0x1000 || (rest == 0x1000 && (half & 1) != 0)));
}

static float kit_of_half(uint32_t half)
{
    const uint32_t sign = (half & 0x8000) << 16, exponent = half >> 10 & 31, m = half & 0x3ff;
    if (exponent != 0) { return kit_float(sign | (exponent + 112) << 23 | m << 13); }
    const float x = (float)m * (1.0f / 16777216.0f);
    return sign != 0 ? -x : x;
}

static size_t kit_emb_bytes(const cellar_embeddings *e)
{
    const size_t each = e->type == CELLAR_VECTOR_F32 ? 4 : e->type == CELLAR_VECTOR_F16 ? 2 : 1;
    return KIT_EMB_HEAD + e->dim * each + (e->type == CELLAR_VECTOR_I8 ? 4 : 0);
}

static bool kit_emb_finite(const float *x, size_t dim)
{
    for (size_t i = 0; i < dim; i++) {
        if ((kit_bits(x[i]) & 0x7f800000) == 0x7f800000) { return false; }
    }
    return true;
}

static void kit_emb_write_i8(const float *x, size_t dim, unsigned char *to)
{
    float most = 0;
    for (size_t i = 0; i < dim; i++) { most = BASE_MAX(most, x[i] < 0 ? -x[i] : x[i]); }
    const float scale = most / 127.0f;
    kit_w32(to, kit_bits(scale));
    for (size_t i = 0; i < dim; i++) {
        const float q = scale > 0 ? x[i] / scale : 0;
        const int n = (int)(q < 0 ? q - 0.5f : q + 0.5f);
        to[4 + i] = (unsigned char)(int8_t)(n > 127 ? 127 : n < -127 ? -127 : n);
    }
}

static void kit_emb_write(const cellar_embeddings *e, const float *x, unsigned char *to)
{
    kit_w16(to, 1);
    kit_w16(to + 2, (uint32_t)e->type);
    kit_w32(to + 4, e->dim);
    to += KIT_EMB_HEAD;
    if (e->type == CELLAR_VECTOR_I8) {
        kit_emb_write_i8(x, e->dim, to);
        return;
    }
    for (uint32_t i = 0; i < e->dim; i++) {
        if (e->type == CELLAR_VECTOR_F32) {
            kit_w32(to + 4 * (size_t)i, kit_bits(x[i]));
        } else {
            kit_w16(to + 2 * (size_t)i, kit_half(x[i]));
        }
    }
}

/* Return false if the value is no vector of this kind. */
static bool kit_emb_read(const cellar_embeddings *e, const void *value, size_t len, float *out)
{
    const unsigned char *p = value;
    if (len != kit_emb_bytes(e) || kit_r16(p) != 1 || kit_r16(p + 2) != (uint32_t)e->type ||
        kit_r32(p + 4) != e->dim) {
        return false;
    }
    p += KIT_EMB_HEAD;
    const float scale = e->type == CELLAR_VECTOR_I8 ? kit_float(kit_r32(p)) : 0;
    for (uint32_t i = 0; i < e->dim; i++) {
        out[i] = e->type == CELLAR_VECTOR_F32   ? kit_float(kit_r32(p + 4 * (size_t)i))
                 : e->type == CELLAR_VECTOR_F16 ? kit_of_half(kit_r16(p + 2 * (size_t)i))
                                                : scale * (float)(int8_t)p[4 + (size_t)i];
    }
    return true;
}

/* ---- handles ---- */

static cellar_err kit_emb_opts(const cellar_embeddings_config *o, cellar_embeddings_config *full,
                               cellar_load_opts *load)
{
    cellar_err err = base_opts_in(full, sizeof *full, o);
    *load = cellar_load_opts_default();
    if (err == CELLAR_OK && full->load != NULL) {
        err = base_opts_in(load, sizeof *load, full->load);
    }
    if (err != CELLAR_OK) { return err; }
    if (full->reserved0 != 0) { return CELLAR_E_UNSUPPORTED; }
    if (full->type == 0) { full->type = CELLAR_VECTOR_F32; }
    if (full->max_batch == 0) { full->max_batch = 256; }
    const bool names = full->model.data != NULL && full->model.len != 0 &&
                       full->model.len <= CELLAR_KEY_MAX && full->scope.len <= CELLAR_KEY_MAX &&
                       (full->scope.data != NULL || full->scope.len == 0);
    return names && full->dim != 0 && full->dim <= KIT_EMB_DIM_MAX &&
                   full->max_batch <= KIT_EMB_BATCH_MAX && full->type >= CELLAR_VECTOR_F32 &&
                   full->type <= CELLAR_VECTOR_I8 && load->ctx_bytes == 0 &&
                   load->ctx_retain == NULL && (load->flags & CELLAR_LOAD_CTX_STATIC) == 0
               ? CELLAR_OK
               : CELLAR_E_INVAL;
}

CELLAR_API cellar_err cellar_embeddings_open(cellar *c, const cellar_embeddings_config *o,
                                             cellar_embeddings **out)
{
    if (out != NULL) { *out = NULL; }
    if (c == NULL || o == NULL || out == NULL) { return CELLAR_E_INVAL; }
    cellar_embeddings_config full;
    cellar_load_opts load;
    const cellar_err err = kit_emb_opts(o, &full, &load);
    if (err != CELLAR_OK) { return err; }
    const size_t bytes = sizeof(cellar_embeddings) + full.scope.len + full.model.len;
    cellar_embeddings *e = base_alloc_raw(NULL, bytes);
    if (e == NULL) { return CELLAR_E_NOMEM; }
    memset(e, 0, bytes);
    e->c = c;
    e->load = load;
    e->dim = full.dim;
    e->max_batch = full.max_batch;
    e->type = full.type;
    e->bytes = bytes;
    e->shared = full.tenant.data == NULL;
    e->scope_len = full.scope.len;
    e->model_len = full.model.len;
    if (full.scope.len != 0) { memcpy(e->names, full.scope.data, full.scope.len); }
    memcpy(e->names + full.scope.len, full.model.data, full.model.len);
    if (!e->shared) {
        base_sha256 sha;
        base_sha256_init(&sha);
        base_sha256_add(&sha, full.tenant.data, full.tenant.len);
        base_sha256_end(&sha, e->tenant);
    }
    *out = e;
    return CELLAR_OK;
}

CELLAR_API void cellar_embeddings_close(cellar_embeddings *e)
{
    if (e != NULL) { base_free_raw(NULL, e, e->bytes); }
}

static cellar_err kit_emb_key(const cellar_embeddings *e, const cellar_bytes *text, void *key,
                              size_t *len)
{
    const cellar_bytes tenant = { e->tenant, sizeof e->tenant };
    const cellar_bytes scope = { e->names, e->scope_len };
    const cellar_bytes model = { e->names + e->scope_len, e->model_len };
    cellar_key_builder b;
    cellar_key_begin(&b);
    (void)cellar_key_add(&b, CELLAR_ARG("emb1"));
    (void)cellar_key_add(&b, cellar_arg_bytes(scope));
    (void)cellar_key_add(&b, e->shared ? cellar_arg_null() : cellar_arg_bytes(tenant));
    (void)cellar_key_add(&b, cellar_arg_bytes(model));
    (void)cellar_key_add(&b, cellar_arg_u64(e->dim));
    (void)cellar_key_add(&b, cellar_arg_u64((uint64_t)e->type));
    (void)cellar_key_add(&b, cellar_arg_bytes(*text));
    return cellar_key_finish(&b, key, CELLAR_KEY_BUILT_MAX, len);
}

/* ---- one call ---- */

typedef struct kit_emb_item { /* one text of a call */
    cellar_bytes text;
    size_t index;   /* of the caller */
    size_t key_len;
    unsigned char key[CELLAR_KEY_BUILT_MAX];
} kit_emb_item;

struct cellar_embeddings_call {
    const cellar_embeddings *e;
    cellar_embeddings_fn fn;
    void *ctx;
    kit_emb_item *items;     /* sorted by key while loaders run */
    size_t item_count;
    unsigned char *value;    /* room for one stored vector */
    cellar_bytes *texts;     /* of one batch */
    unsigned char *reported; /* of one batch */
    cellar_load *load;
    size_t first, count;     /* the batch: indices of the bulk load */
};

static int kit_emb_order(const void *a, const void *b)
{
    const kit_emb_item *x = a, *y = b;
    if (x->key_len != y->key_len) { return x->key_len < y->key_len ? -1 : 1; }
    return memcmp(x->key, y->key, x->key_len);
}

/* Find the text of a key. */
static cellar_bytes kit_emb_text(const cellar_embeddings_call *call, const cellar_bytes *key)
{
    size_t low = 0, high = call->item_count;
    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        const kit_emb_item *it = &call->items[mid];
        const bool shorter = it->key_len < key->len;
        const bool same = it->key_len == key->len;
        if (shorter || (same && memcmp(it->key, key->data, key->len) < 0)) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return call->items[low].text;
}

static void kit_emb_fail(cellar_load *load, size_t index, cellar_err err)
{
    (void)cellar_load_select(load, index);
    (void)cellar_load_fail(load, (int32_t)err, 0, 0);
}

CELLAR_API cellar_err cellar_embeddings_set(cellar_embeddings_call *call, size_t index,
                                            const float *vector, size_t dim)
{
    if (call == NULL || index >= call->count) { return CELLAR_E_INVAL; }
    const size_t at = call->first + index;
    const bool twice = call->reported[index] != 0;
    call->reported[index] = 1;
    if (!twice && (vector == NULL || dim != call->e->dim || !kit_emb_finite(vector, dim))) {
        kit_emb_fail(call->load, at, CELLAR_E_INVAL);
        return CELLAR_E_INVAL;
    }
    if (!twice) { kit_emb_write(call->e, vector, call->value); }
    (void)cellar_load_select(call->load, at);
    const cellar_err err = cellar_load_value(call->load, call->value, kit_emb_bytes(call->e));
    return twice ? CELLAR_E_RESULT_TWICE : err;
}

static cellar_err kit_emb_load(cellar_load *load, const cellar_bytes *keys, size_t key_count,
                               void *ctx)
{
    cellar_embeddings_call *call = ctx;
    cellar_err err = CELLAR_OK;
    call->load = load;
    for (size_t at = 0; at < key_count && err == CELLAR_OK; at += call->count) {
        call->first = at;
        call->count = BASE_MIN(key_count - at, call->e->max_batch);
        memset(call->reported, 0, call->count);
        for (size_t i = 0; i < call->count; i++) {
            call->texts[i] = kit_emb_text(call, &keys[at + i]);
        }
        err = call->fn(call, call->texts, call->count, call->ctx);
        for (size_t i = 0; i < call->count; i++) {
            if (call->reported[i] == 0 && err == CELLAR_OK) {
                kit_emb_fail(load, at + i, CELLAR_E_NO_RESULT);
            }
        }
    }
    call->count = 0;
    return err; /* of all texts without a result */
}

/* Load the items and copy the vectors. Move items with a stored value of another form to the
 * front, unless their load has just failed. Return their number. */
static size_t kit_emb_round(cellar_embeddings_call *call, cellar_load_item *load,
                            cellar_result *results, uint32_t flags, float *out, cellar_err *status)
{
    const size_t n = call->item_count;
    cellar_load_opts o = call->e->load;
    o.flags |= flags | CELLAR_LOAD_WAIT_DISK;
    for (size_t i = 0; i < n; i++) {
        results[i] = cellar_result_default();
        load[i] = (cellar_load_item){ call->items[i].key, call->items[i].key_len, &results[i],
                                      CELLAR_OK, 0 };
    }
    const cellar_err err = cellar_get_or_load_many(call->e->c, load, n, &o, kit_emb_load, call);
    size_t again = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t index = call->items[i].index;
        const cellar_err one = err != CELLAR_OK ? err : load[i].status;
        status[index] = one;
        if ((one == CELLAR_OK || one == CELLAR_STALE) &&
            !kit_emb_read(call->e, results[i].value, results[i].value_len,
                          out + index * call->e->dim)) {
            const bool failed = results[i].source == CELLAR_SOURCE_STALE_IF_ERROR;
            status[index] = failed ? CELLAR_E_LOADER : CELLAR_E_TYPE;
            const bool stored = results[i].source != CELLAR_SOURCE_FALLBACK &&
                                results[i].source != CELLAR_SOURCE_DEFAULT && !failed;
            const kit_emb_item moved = call->items[i];
            call->items[i] = call->items[again];
            call->items[again] = moved;
            again += stored;
        }
        cellar_result_free(&results[i]);
    }
    return again;
}

typedef struct kit_emb_block { /* one allocation, in this order */
    size_t results, load, items, texts, reported, value, bytes;
} kit_emb_block;

static kit_emb_block kit_emb_layout(const cellar_embeddings *e, size_t count)
{
    kit_emb_block b;
    b.results = 0;
    b.load = b.results + count * sizeof(cellar_result);
    b.items = b.load + count * sizeof(cellar_load_item);
    b.texts = b.items + count * sizeof(kit_emb_item);
    b.reported = b.texts + e->max_batch * sizeof(cellar_bytes);
    b.value = b.reported + e->max_batch;
    b.bytes = b.value + kit_emb_bytes(e);
    return b;
}

CELLAR_API cellar_err cellar_embeddings_get_many(cellar_embeddings *e, const cellar_bytes *texts,
                                                 size_t count, cellar_embeddings_fn fn, void *ctx,
                                                 float *out, cellar_err *status)
{
    if (e == NULL || texts == NULL || count == 0 || fn == NULL || out == NULL || status == NULL) {
        return CELLAR_E_INVAL;
    }
    if (count > KIT_EMB_TEXTS_MAX) { return CELLAR_E_TOOBIG; }
    const kit_emb_block at = kit_emb_layout(e, count);
    unsigned char *block = base_alloc_raw(NULL, at.bytes);
    if (block == NULL) { return CELLAR_E_NOMEM; }
    cellar_embeddings_call call = { .e = e, .fn = fn, .ctx = ctx, .item_count = count };
    call.items = (kit_emb_item *)(void *)(block + at.items);
    call.texts = (cellar_bytes *)(void *)(block + at.texts);
    call.reported = block + at.reported;
    call.value = block + at.value;
    cellar_err err = CELLAR_OK;
    for (size_t i = 0; i < count && err == CELLAR_OK; i++) {
        kit_emb_item *it = &call.items[i];
        it->text = texts[i];
        it->index = i;
        err = texts[i].data == NULL && texts[i].len != 0
                  ? CELLAR_E_INVAL
                  : kit_emb_key(e, &texts[i], it->key, &it->key_len);
    }
    if (err == CELLAR_OK) {
        cellar_result *results = (cellar_result *)(void *)(block + at.results);
        cellar_load_item *load = (cellar_load_item *)(void *)(block + at.load);
        uint32_t flags = 0;
        for (int i = 0; i < 2 && call.item_count != 0; i++) {
            qsort(call.items, call.item_count, sizeof *call.items, kit_emb_order);
            call.item_count = kit_emb_round(&call, load, results, flags, out, status);
            flags = CELLAR_LOAD_REFRESH;
        }
    }
    base_free_raw(NULL, block, at.bytes);
    return err;
}

BASE_SIZE_END
