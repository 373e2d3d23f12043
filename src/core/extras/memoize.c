/* SPDX-License-Identifier: MIT
 *
 * memoize: function arguments as keys that cannot collide.
 *
 * FORMAT     0x4D, format 1, u16 length and bytes of the function name, u32 version, u8 count; then
 *            per argument a tag and its payload, little-endian:
 *              1 i64   2 u64 above INT64_MAX   3 float bits u32   4 double bits u64
 *              5 text: u32 length, bytes   6 NULL text   7 bytes: u32 length, bytes
 * INVARIANTS Equal keys come from equal arguments only: each part has a length or a fixed size,
 *            given by its tag. An integer has one encoding for all C types: 5 and 5L agree. -0.0
 *            and 0.0, and NaNs with different bits, do not agree. Keys are not hashed: a key that
 *            is too long is refused.
 * OWNS       A key over MEMO_STACK bytes is built in a block of the built-in allocator.
 * LIMITS     16 arguments, names of 1..255 bytes, keys of CELLAR_KEY_MAX bytes.
 * SEE ALSO   README.md in this folder: why names and not addresses. */
#include "cellar_memo.h"

#include <string.h>

#include "base/mem.h"
#include "base/open_error.h"
#include "base/opts.h"

#define MEMO_MARK 0x4du
#define MEMO_FORMAT 1u
#define MEMO_STACK 512u /* bytes of a key on the stack of the caller */
enum { MEMO_I64 = 1, MEMO_U64, MEMO_F32, MEMO_F64, MEMO_TEXT,
       MEMO_NULL, MEMO_BYTES };

BASE_SIZE_BEGIN

/* ---- write: counts bytes that do not fit, to return the full size ---- */

typedef struct memo_out {
    unsigned char *to;
    size_t cap, len;
} memo_out;

static void memo_put(memo_out *w, const void *from, size_t n)
{
    if (n != 0 && n <= w->cap && w->len <= w->cap - n) { memcpy(w->to + w->len, from, n); }
    w->len += n; /* <= 16 lengths below 2^32 on 64 bits; checked before on 32 */
}

/* Write the low bytes of a number. Keys are little-endian, as the machine is (base/port.h). */
static void memo_int(memo_out *w, uint64_t value, unsigned bytes) { memo_put(w, &value, bytes); }

static void memo_data(memo_out *w, unsigned tag, const void *data, size_t len)
{
    memo_int(w, tag, 1);
    memo_int(w, len, 4);
    memo_put(w, data, len);
}

/* Return the bytes of a number of this type, 0: it is a text or bytes. */
static unsigned memo_width(uint64_t type)
{
    return type == CELLAR_ARG_F32 ? 4 : type <= CELLAR_ARG_F64 ? 8 : 0;
}

/* Write one argument. Return false if its type or bytes are invalid. */
static bool memo_arg(memo_out *w, const cellar_arg *a)
{
    static const unsigned char tag[] = { 0, MEMO_I64, MEMO_U64, MEMO_F32, MEMO_F64, MEMO_TEXT,
                                         MEMO_BYTES };
    const unsigned type = (unsigned)a->type, width = memo_width(type);
    if (a->reserved0 != 0 || type < CELLAR_ARG_I64 || type > CELLAR_ARG_BYTES) { return false; }
    if (width != 0) { /* values that fit int64 are written as int64 */
        const bool fits = type == CELLAR_ARG_U64 && a->as.u64 <= INT64_MAX;
        memo_int(w, fits ? MEMO_I64 : tag[type], 1);
        memo_put(w, &a->as, width);
        return true;
    }
    const cellar_bytes *b = &a->as.bytes;
    if (b->len > CELLAR_KEY_MAX || (b->data == NULL && b->len != 0)) { return false; }
    if (b->data == NULL && type == CELLAR_ARG_TEXT) {
        memo_int(w, MEMO_NULL, 1);
    } else {
        memo_data(w, tag[type], b->data, b->len);
    }
    return true;
}

CELLAR_API cellar_err cellar_memo_key(const char *name, uint32_t version, const cellar_arg *args,
                                      size_t arg_count, void *buf, size_t buf_cap, size_t *key_len)
{
    if (key_len != NULL) { *key_len = 0; }
    if (name == NULL || (args == NULL && arg_count != 0) || (buf == NULL && buf_cap != 0) ||
        arg_count > CELLAR_MEMO_ARGS_MAX) {
        return CELLAR_E_INVAL;
    }
    const char *end = memchr(name, '\0', CELLAR_MEMO_NAME_MAX + 1);
    if (end == NULL || end == name) { return CELLAR_E_INVAL; }
    memo_out w = { buf, buf_cap, 0 };
    memo_int(&w, MEMO_MARK, 1);
    memo_int(&w, MEMO_FORMAT, 1);
    memo_int(&w, (uint64_t)(end - name), 2);
    memo_put(&w, name, (size_t)(end - name));
    memo_int(&w, version, 4);
    memo_int(&w, arg_count, 1);
    for (size_t i = 0; i < arg_count; i++) {
        if (!memo_arg(&w, &args[i])) { return CELLAR_E_INVAL; }
    }
    if (w.len > CELLAR_KEY_MAX) { return CELLAR_E_INVAL; }
    if (key_len != NULL) { *key_len = w.len; }
    return w.len <= buf_cap ? CELLAR_OK : CELLAR_E_BUFFER;
}

/* ---- read ---- */

typedef struct memo_in {
    const unsigned char *at;
    size_t left;
} memo_in;

static bool memo_take(memo_in *r, unsigned bytes, uint64_t *value)
{
    if (r->left < bytes) { return false; }
    *value = 0;
    memcpy(value, r->at, bytes);
    r->at += bytes;
    r->left -= bytes;
    return true;
}

static bool memo_take_data(memo_in *r, cellar_bytes *out)
{
    uint64_t len;
    if (!memo_take(r, 4, &len) || len > r->left) { return false; }
    *out = (cellar_bytes){ r->at, (size_t)len };
    r->at += len;
    r->left -= (size_t)len;
    return true;
}

static bool memo_take_arg(memo_in *r, cellar_arg *a)
{
    static const cellar_arg_type type[] = { CELLAR_ARG_I64, CELLAR_ARG_U64, CELLAR_ARG_F32,
                                            CELLAR_ARG_F64, CELLAR_ARG_TEXT, CELLAR_ARG_TEXT,
                                            CELLAR_ARG_BYTES };
    uint64_t tag, value;
    memset(a, 0, sizeof *a);
    if (!memo_take(r, 1, &tag) || tag < MEMO_I64 || tag > MEMO_BYTES) { return false; }
    a->type = type[tag - MEMO_I64];
    const unsigned width = memo_width((uint64_t)a->type);
    if (width == 0) { return tag == MEMO_NULL || memo_take_data(r, &a->as.bytes); }
    if (!memo_take(r, width, &value)) { return false; }
    memcpy(&a->as, &value, width);
    return tag != MEMO_U64 || a->as.u64 > INT64_MAX;
}

CELLAR_API cellar_err cellar_memo_parse(const void *key, size_t key_len, cellar_bytes *name,
                                        uint32_t *version, cellar_arg *args, size_t arg_cap,
                                        size_t *arg_count)
{
    if (arg_count != NULL) { *arg_count = 0; }
    if (key == NULL || key_len > CELLAR_KEY_MAX || (args == NULL && arg_cap != 0)) {
        return CELLAR_E_INVAL;
    }
    memo_in r = { key, key_len };
    uint64_t mark, format, len, ver, count;
    if (!memo_take(&r, 1, &mark) || mark != MEMO_MARK ||
        !memo_take(&r, 1, &format)) {
        return CELLAR_E_FOREIGN;
    }
    if (format != MEMO_FORMAT) { return CELLAR_E_NEWER_FORMAT; }
    if (!memo_take(&r, 2, &len) || len == 0 || len > CELLAR_MEMO_NAME_MAX || len > r.left) {
        return CELLAR_E_FOREIGN;
    }
    const cellar_bytes function = { r.at, (size_t)len };
    r.at += len;
    r.left -= (size_t)len;
    if (!memo_take(&r, 4, &ver) || !memo_take(&r, 1, &count) ||
        count > CELLAR_MEMO_ARGS_MAX) {
        return CELLAR_E_FOREIGN;
    }
    for (size_t i = 0; i < count; i++) {
        cellar_arg a;
        if (!memo_take_arg(&r, &a)) { return CELLAR_E_FOREIGN; }
        if (i < arg_cap) { args[i] = a; }
    }
    if (r.left != 0) { return CELLAR_E_FOREIGN; }
    if (name != NULL) { *name = function; }
    if (version != NULL) { *version = (uint32_t)ver; } /* 4 bytes were read */
    if (arg_count != NULL) { *arg_count = (size_t)count; }
    return count <= arg_cap ? CELLAR_OK : CELLAR_E_BUFFER;
}

/* ---- memoized calls ---- */

typedef struct memo_call { /* copied beside a background load */
    cellar_memo_fn fn;
    void *ctx;
} memo_call;

/* Load with the arguments from the key: a background load runs after the caller has returned. */
static cellar_err memo_load(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    const memo_call *m = ctx;
    cellar_arg args[CELLAR_MEMO_ARGS_MAX];
    size_t count;
    const cellar_err err = cellar_memo_parse(key, key_len, NULL, NULL, args, CELLAR_MEMO_ARGS_MAX,
                                             &count);
    return err == CELLAR_OK ? m->fn(load, args, count, m->ctx) : err;
}

/* Load through the cache. Options that cannot be read go on as they are: the load refuses them. */
static cellar_err memo_run(cellar *c, const void *key, size_t key_len, const cellar_load_opts *o,
                           memo_call *m, cellar_result *out)
{
    cellar_load_opts full = cellar_load_opts_default();
    if (o == NULL || base_opts_in(&full, sizeof full, o) == CELLAR_OK) {
        const bool keeps = m->ctx == NULL || (full.flags & CELLAR_LOAD_CTX_STATIC) != 0;
        full.flags &= ~CELLAR_LOAD_CTX_STATIC;
        full.ctx_retain = NULL;
        full.ctx_release = NULL;
        full.ctx_bytes = keeps ? (uint32_t)sizeof *m : 0;
        o = &full;
    }
    return cellar_get_or_load(c, key, key_len, o, memo_load, m, out);
}

CELLAR_API cellar_err cellar_memoize(cellar *c, const char *name, uint32_t version,
                                     const cellar_arg *args, size_t arg_count,
                                     const cellar_load_opts *o, cellar_memo_fn fn, void *ctx,
                                     cellar_result *out)
{
    unsigned char small[MEMO_STACK];
    size_t bytes, len;
    if (c == NULL || fn == NULL) {
        return base_refuse(CELLAR_E_INVAL, __func__, "c and fn must not be NULL");
    }
    memo_call m = { fn, ctx };
    cellar_err err = cellar_memo_key(name, version, args, arg_count, small, sizeof small, &bytes);
    if (err == CELLAR_OK) { return memo_run(c, small, bytes, o, &m, out); }
    if (err != CELLAR_E_BUFFER) {
        return base_refuse(err, __func__, "name must have 1..255 bytes, args be at most 16 of a "
                           "cellar_arg kind, and the key of them have at most 65,535 bytes");
    }
    unsigned char *large = base_alloc_raw(NULL, bytes);
    if (large == NULL) { return CELLAR_E_NOMEM; }
    (void)cellar_memo_key(name, version, args, arg_count, large, bytes, &len);
    err = memo_run(c, large, len, o, &m, out);
    base_free_raw(NULL, large, bytes);
    return err;
}

BASE_SIZE_END
