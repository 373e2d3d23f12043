/* SPDX-License-Identifier: MIT
 *
 * value: numbers and vectors as values, little-endian on every machine. */
#include "cellar_kit.h"

#include "base/mem.h"

#include <string.h>

BASE_SIZE_BEGIN

#define KIT_FLOATS_SMALL 256u /* floats converted on the stack */

static void kit_word_write(unsigned char out[8], uint64_t x)
{
    for (int i = 0; i < 8; i++) { out[i] = (unsigned char)(x >> (8 * i)); }
}

static cellar_err kit_word_get(cellar *c, const void *key, size_t key_len, uint64_t *out)
{
    unsigned char bytes[8];
    size_t len = 0;
    *out = 0;
    const cellar_err err = cellar_get(c, key, key_len, bytes, sizeof bytes, &len);
    if (err == CELLAR_E_BUFFER || (err == CELLAR_OK && len != 8)) { return CELLAR_E_TYPE; }
    if (err == CELLAR_OK) {
        for (int i = 0; i < 8; i++) { *out |= (uint64_t)bytes[i] << (8 * i); }
    }
    return err;
}

CELLAR_API cellar_err cellar_set_i64(cellar *c, const void *key, size_t key_len, int64_t x,
                                     const cellar_set_opts *o)
{
    unsigned char bytes[8];
    kit_word_write(bytes, (uint64_t)x);
    return cellar_set(c, key, key_len, bytes, sizeof bytes, o);
}

CELLAR_API cellar_err cellar_get_i64(cellar *c, const void *key, size_t key_len, int64_t *out)
{
    uint64_t x;
    if (out == NULL) { return CELLAR_E_INVAL; }
    const cellar_err err = kit_word_get(c, key, key_len, &x);
    *out = (int64_t)x;
    return err;
}

CELLAR_API cellar_err cellar_set_f64(cellar *c, const void *key, size_t key_len, double x,
                                     const cellar_set_opts *o)
{
    unsigned char bytes[8];
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    kit_word_write(bytes, bits);
    return cellar_set(c, key, key_len, bytes, sizeof bytes, o);
}

CELLAR_API cellar_err cellar_get_f64(cellar *c, const void *key, size_t key_len, double *out)
{
    uint64_t bits;
    if (out == NULL) { return CELLAR_E_INVAL; }
    const cellar_err err = kit_word_get(c, key, key_len, &bits);
    memcpy(out, &bits, sizeof bits);
    return err;
}

CELLAR_API cellar_err cellar_set_f32s(cellar *c, const void *key, size_t key_len, const float *x,
                                      size_t count, const cellar_set_opts *o)
{
    if (x == NULL && count != 0) { return CELLAR_E_INVAL; }
    if (count > CELLAR_VALUE_MAX / 4) { return CELLAR_E_TOOBIG; }
    unsigned char small[KIT_FLOATS_SMALL * 4];
    const bool fits = count <= KIT_FLOATS_SMALL;
    unsigned char *bytes = fits ? small : base_alloc_raw(NULL, count * 4);
    if (bytes == NULL) { return CELLAR_E_NOMEM; }
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        for (int n = 0; n < 4; n++) { bytes[4 * i + (size_t)n] = (unsigned char)(bits >> (8 * n)); }
    }
    const cellar_err err = cellar_set(c, key, key_len, bytes, count * 4, o);
    if (!fits) { base_free_raw(NULL, bytes, count * 4); }
    return err;
}

CELLAR_API cellar_err cellar_get_f32s(cellar *c, const void *key, size_t key_len, float *out,
                                      size_t out_cap, size_t *count)
{
    if (count != NULL) { *count = 0; }
    if (out == NULL && out_cap != 0) { return CELLAR_E_INVAL; }
    if (out_cap > CELLAR_VALUE_MAX / 4) { out_cap = CELLAR_VALUE_MAX / 4; }
    size_t len = 0;
    const cellar_err err = cellar_get(c, key, key_len, out, out_cap * 4, &len);
    if ((err == CELLAR_OK || err == CELLAR_E_BUFFER) && len % 4 != 0) { return CELLAR_E_TYPE; }
    if ((err == CELLAR_OK || err == CELLAR_E_BUFFER) && count != NULL) { *count = len / 4; }
    for (size_t i = 0; err == CELLAR_OK && i < len / 4; i++) {
        const unsigned char *p = (const unsigned char *)&out[i];
        const uint32_t bits = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
                              (uint32_t)p[3] << 24;
        memcpy(&out[i], &bits, sizeof bits);
    }
    return err;
}

BASE_SIZE_END
