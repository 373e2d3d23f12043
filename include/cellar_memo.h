/* SPDX-License-Identifier: MIT
 *
 * cellar_memo: functions called through the cache, with keys made of their arguments.
 *
 * A function that always has the same result for the same arguments need not run twice.
 * cellar_memoize makes the key of name and arguments, and runs the function on a miss. */
#ifndef CELLAR_MEMO_H
#define CELLAR_MEMO_H

#include "cellar_load.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Arguments ------------------------------------------------------------------------------- */

/* Limits of cellar_memo_key. */
#define CELLAR_MEMO_ARGS_MAX 16u /* arguments of one call */
#define CELLAR_MEMO_NAME_MAX 255u /* bytes of the name of a function */

/* Type of an argument, or of a part of a key, in cellar_arg.type. */
typedef enum cellar_arg_type {
    CELLAR_ARG_I64 = 1,   /* int64_t */
    CELLAR_ARG_U64 = 2,   /* uint64_t */
    CELLAR_ARG_F32 = 3,   /* float */
    CELLAR_ARG_F64 = 4,   /* double */
    CELLAR_ARG_TEXT = 5,  /* bytes of a text */
    CELLAR_ARG_BYTES = 6, /* bytes */
    CELLAR_ARG_BOOL = 7,  /* from here on: parts of cellar_key_add, no arguments of a function */
    CELLAR_ARG_NULL = 8,  /* no value */
    CELLAR_ARG_LIST = 9,  /* begins a list */
    CELLAR_ARG_MAP = 10   /* begins a map */
} cellar_arg_type;

/* One argument of a memoized function, or one part of a key. CELLAR_ARG(x) makes one from any
 * integer, bool, enum, float, double, char pointer (also NULL) or cellar_bytes; other types do not
 * compile. A bool of CELLAR_ARG is the integer 0 or 1. */
typedef struct cellar_arg {
    cellar_arg_type type; /* member of `as` that has the value */
    uint32_t reserved0; /* must be 0 */
    union { /* `as`: the value, in the member of its type */
        int64_t      i64; /* of a BOOL 0 or 1; 0 of NULL, LIST, MAP */
        uint64_t     u64; /* of U64 */
        float        f32; /* of F32 */
        double       f64; /* of F64 */
        cellar_bytes bytes; /* also text, without its zero byte; data NULL = a NULL pointer */
    } as;
} cellar_arg;

static inline cellar_arg cellar_arg_make_(cellar_arg_type type, int64_t x)
{
    cellar_arg a;
    a.type = type;
    a.reserved0 = 0;
    a.as.i64 = x;
    return a;
}
/* Return an argument of cellar_memo_key, or a part of cellar_key_add, of the type in its name.
 * CELLAR_ARG(x) chooses the function by the type of x.
 * in:      x: any number; cellar_key_add refuses NaN and infinity with E_INVAL;
 *          text x: terminated; text x NULL: a NULL pointer, which cellar_key_add refuses;
 *          bool, null, list, map: for cellar_key_add alone, cellar_memo_key refuses them
 * returns: the argument; the call that gets it checks it
 * owns:    text and bytes are not copied: they stay valid until that call returns
 * thread:  any
 * cost:    O(1), of a text O(length); no allocation
 * example:
 *     const cellar_arg parts[2] = { cellar_arg_u64(7),
 *                                   cellar_arg_text("berlin") };
 * since:   0.1.0                                                                                 */
static inline cellar_arg cellar_arg_i64(int64_t x)
{
    return cellar_arg_make_(CELLAR_ARG_I64, x);
}
static inline cellar_arg cellar_arg_bool(bool x)
{
    return cellar_arg_make_(CELLAR_ARG_BOOL, x);
}
static inline cellar_arg cellar_arg_null(void)
{
    return cellar_arg_make_(CELLAR_ARG_NULL, 0);
}
static inline cellar_arg cellar_arg_list(void)
{
    return cellar_arg_make_(CELLAR_ARG_LIST, 0);
}
static inline cellar_arg cellar_arg_map(void)
{
    return cellar_arg_make_(CELLAR_ARG_MAP, 0);
}
static inline cellar_arg cellar_arg_u64(uint64_t x)
{
    cellar_arg a;
    a.type = CELLAR_ARG_U64;
    a.reserved0 = 0;
    a.as.u64 = x;
    return a;
}
static inline cellar_arg cellar_arg_f32(float x)
{
    cellar_arg a;
    a.type = CELLAR_ARG_F32;
    a.reserved0 = 0;
    a.as.f32 = x;
    return a;
}
static inline cellar_arg cellar_arg_f64(double x)
{
    cellar_arg a;
    a.type = CELLAR_ARG_F64;
    a.reserved0 = 0;
    a.as.f64 = x;
    return a;
}
static inline cellar_arg cellar_arg_text(const char *x)
{
    cellar_arg a;
    size_t len = 0;
    while (x && x[len] != '\0') { len++; }
    a.type = CELLAR_ARG_TEXT;
    a.reserved0 = 0;
    a.as.bytes.data = x;
    a.as.bytes.len = len;
    return a;
}
static inline cellar_arg cellar_arg_bytes(cellar_bytes x)
{
    cellar_arg a;
    a.type = CELLAR_ARG_BYTES;
    a.reserved0 = 0;
    a.as.bytes = x;
    return a;
}

#ifdef __cplusplus
extern "C++" {
inline cellar_arg cellar_arg_of(bool x) { return cellar_arg_i64(x); }
inline cellar_arg cellar_arg_of(char x) { return cellar_arg_i64(x); }
inline cellar_arg cellar_arg_of(signed char x) { return cellar_arg_i64(x); }
inline cellar_arg cellar_arg_of(unsigned char x) { return cellar_arg_i64(x); }
inline cellar_arg cellar_arg_of(short x) { return cellar_arg_i64(x); }
inline cellar_arg cellar_arg_of(unsigned short x) { return cellar_arg_i64(x); }
inline cellar_arg cellar_arg_of(int x) { return cellar_arg_i64(x); }
inline cellar_arg cellar_arg_of(unsigned int x) { return cellar_arg_i64(x); }
inline cellar_arg cellar_arg_of(long x) { return cellar_arg_i64(x); }
inline cellar_arg cellar_arg_of(unsigned long x) { return cellar_arg_u64(x); }
inline cellar_arg cellar_arg_of(long long x) { return cellar_arg_i64(x); }
inline cellar_arg cellar_arg_of(unsigned long long x) { return cellar_arg_u64(x); }
inline cellar_arg cellar_arg_of(float x) { return cellar_arg_f32(x); }
inline cellar_arg cellar_arg_of(double x) { return cellar_arg_f64(x); }
inline cellar_arg cellar_arg_of(char *x) { return cellar_arg_text(x); }
inline cellar_arg cellar_arg_of(const char *x) { return cellar_arg_text(x); }
inline cellar_arg cellar_arg_of(cellar_bytes x) { return cellar_arg_bytes(x); }
template <class T> cellar_arg cellar_arg_of(T *) = delete; /* would turn into bool */
}
/* Make a cellar_arg of `x`; the types are those of cellar_arg. */
#define CELLAR_ARG(x) cellar_arg_of(x)
#else
/* Make a cellar_arg of `x`; the types are those of cellar_arg. */
#define CELLAR_ARG(x) \
    _Generic((x), _Bool: cellar_arg_i64, char: cellar_arg_i64, signed char: cellar_arg_i64, \
             unsigned char: cellar_arg_i64, short: cellar_arg_i64, \
             unsigned short: cellar_arg_i64, int: cellar_arg_i64, unsigned int: cellar_arg_i64, \
             long: cellar_arg_i64, unsigned long: cellar_arg_u64, long long: cellar_arg_i64, \
             unsigned long long: cellar_arg_u64, float: cellar_arg_f32, \
             double: cellar_arg_f64, char *: cellar_arg_text, const char *: cellar_arg_text, \
             cellar_bytes: cellar_arg_bytes)(x)
#endif

/* ---- Keys ------------------------------------------------------------------------------------ */

/* Write the key under which the result of a function call is cached, made of name, version and
 * arguments. Different calls have different keys.
 * in:      name of 1..CELLAR_MEMO_NAME_MAX bytes, terminated; version: change it when the function
 *          changes; args: arg_count of them, 0..CELLAR_MEMO_ARGS_MAX, of the types I64 to BYTES;
 *          buf_cap: bytes at buf, 0 asks for the length (buf may be NULL)
 * out:     buf: the key, with OK; *key_len the full length, optional
 * returns: OK; E_BUFFER (the key does not fit: *key_len is its length), E_INVAL (no name, an empty
 *          one or one of over CELLAR_MEMO_NAME_MAX bytes; over CELLAR_MEMO_ARGS_MAX arguments; an
 *          argument of another type; a key of over CELLAR_KEY_MAX bytes). The call has no handle:
 *          no text tells which
 * thread:  any
 * cost:    O(key_len); no allocation
 * example:
 *     cellar_arg a[2] = {CELLAR_ARG(7), CELLAR_ARG("berlin")};
 *     char key[64];
 *     size_t len;
 *     cellar_memo_key("weather", 1, a, 2, key, sizeof key, &len);                                */
CELLAR_API cellar_err cellar_memo_key(const char *name, uint32_t version, const cellar_arg *args,
                                      size_t arg_count, void *buf, size_t buf_cap,
                                      size_t *key_len);

/* Read name, version and arguments back from a key of cellar_memo_key.
 * in:      key of any origin, key_len bytes; arg_cap: places at args, 0 asks for the number of
 *          arguments (args may be NULL)
 * out:     *name, *version, *arg_count, each optional; args[0 .. arg_cap - 1]
 * returns: OK; E_BUFFER (there are more arguments than arg_cap), E_FOREIGN (not a key of
 *          cellar_memo_key), E_NEWER_FORMAT (a key of a newer version of cellar)
 * owns:    *name, text and bytes of args are borrowed from key; text is not terminated
 * thread:  any
 * cost:    O(arguments); no allocation
 * example:
 *     cellar_arg a[CELLAR_MEMO_ARGS_MAX];
 *     size_t n;
 *     cellar_memo_parse(key, len, NULL, NULL, a, CELLAR_MEMO_ARGS_MAX, &n);                      */
CELLAR_API cellar_err cellar_memo_parse(const void *key, size_t key_len, cellar_bytes *name,
                                        uint32_t *version, cellar_arg *args, size_t arg_cap,
                                        size_t *arg_count);

/* ---- Calls ----------------------------------------------------------------------------------- */

/* Compute the result of a call, for cellar_memoize. The program writes this function. It reports
 * its result with `load`, as a cellar_loader_fn does.
 * in:      load: receives the result; args, arg_count of them, as given to cellar_memoize; ctx as
 *          given with the function
 * returns: OK with one result; any other code fails the load and becomes loader_err
 * owns:    load, args, texts and bytes are borrowed until the return. ctx lives until the call has
 *          returned, with CELLAR_LOAD_CTX_STATIC until the store is closed
 * thread:  as cellar_loader_fn
 * cost:    it may block; callers with the same arguments wait
 * example:
 *     cellar_err add(cellar_load *load, const cellar_arg *args,
 *                    size_t arg_count, void *ctx)
 *     {
 *         (void)arg_count, (void)ctx;
 *         const int64_t sum = args[0].as.i64 + args[1].as.i64;
 *         return cellar_load_value(load, &sum, sizeof sum);
 *     }                                                                                          */
typedef cellar_err (*cellar_memo_fn)(cellar_load *load, const cellar_arg *args, size_t arg_count,
                                     void *ctx);

/* Return the result of a function call from the cache, or call the function and store its result: a
 * cellar_get_or_load with a key from cellar_memo_key.
 * in:      name, version, args and arg_count as in cellar_memo_key; o and out as in
 *          cellar_get_or_load; fn, not NULL; ctx, given to fn. Stale results are refreshed in the
 *          background only with ctx NULL or CELLAR_LOAD_CTX_STATIC; ctx_bytes, ctx_retain and
 *          ctx_release are ignored. Do not use a namespace with an authoritative Bloom filter: it
 *          does not know these keys
 * out:     *out: the result, as cellar_get_or_load
 * returns: OK (a result), STALE (a result past its TTL: see STALE VALUES), ABSENT (the function
 *          reported that there is none), MISS (with ONLY_IF_CACHED: the cache has no result),
 *          PENDING (with NO_WAIT: another call computes it, call again later);
 *          E_LOADER (the function failed: out->loader_err is its code), E_NO_RESULT (it returned OK
 *          without a result), E_RESULT_TWICE (it set two results), E_TOOBIG (the result is over
 *          max_value_bytes), E_TIMEOUT (another load took longer than wait_timeout_ms, or
 *          leader_retries are used up), E_DEADLOCK (the wait would never end: see RECURSION),
 *          E_DEPTH (too many calls in each other: see RECURSION), E_BREAKER_OPEN (the breaker
 *          refuses loads), E_LIMIT (max_loads or max_load_waiters is reached), E_NOMEM (the system
 *          gave no memory, or memory_bytes has no room for the call itself); E_INVAL (also: name,
 *          arguments or length of the key, as in cellar_memo_key; fn NULL: cellar_last_error of
 *          NULL has the reason)
 * owns:    as cellar_get_or_load
 * thread:  as cellar_get_or_load
 * cost:    as cellar_get_or_load, and the key; for keys over 512 bytes one block of malloc, freed
 *          before the return
 * example:
 *     CELLAR_ARGS(a, 7, "berlin");
 *     cellar_result r = cellar_result_default();
 *     const cellar_err err = cellar_memoize(c, "weather", 1, a, 2, NULL,
 *                                           ask_weather, NULL, &r);
 *     if (err == CELLAR_OK)
 *         use(r.value, r.value_len);
 *     cellar_result_free(&r);                                                                    */
CELLAR_API cellar_err cellar_memoize(cellar *c, const char *name, uint32_t version,
                                     const cellar_arg *args, size_t arg_count,
                                     const cellar_load_opts *o, cellar_memo_fn fn, void *ctx,
                                     cellar_result *out);

/* Parts of CELLAR_ARGS and CELLAR_MEMOIZE. */
#define CELLAR_ARGS_1(a)      CELLAR_ARG(a)
#define CELLAR_ARGS_2(a, ...) CELLAR_ARG(a), CELLAR_ARGS_1(__VA_ARGS__)
#define CELLAR_ARGS_3(a, ...) CELLAR_ARG(a), CELLAR_ARGS_2(__VA_ARGS__)
#define CELLAR_ARGS_4(a, ...) CELLAR_ARG(a), CELLAR_ARGS_3(__VA_ARGS__)
#define CELLAR_ARGS_5(a, ...) CELLAR_ARG(a), CELLAR_ARGS_4(__VA_ARGS__)
#define CELLAR_ARGS_6(a, ...) CELLAR_ARG(a), CELLAR_ARGS_5(__VA_ARGS__)
#define CELLAR_ARGS_7(a, ...) CELLAR_ARG(a), CELLAR_ARGS_6(__VA_ARGS__)
#define CELLAR_ARGS_8(a, ...) CELLAR_ARG(a), CELLAR_ARGS_7(__VA_ARGS__)
#define CELLAR_ARGS_PICK(a, b, c, d, e, f, g, h, pick, ...) pick
#define CELLAR_ARGS_LIST(...) \
    CELLAR_ARGS_PICK(__VA_ARGS__, CELLAR_ARGS_8, CELLAR_ARGS_7, CELLAR_ARGS_6, CELLAR_ARGS_5, \
                     CELLAR_ARGS_4, CELLAR_ARGS_3, CELLAR_ARGS_2, CELLAR_ARGS_1, 0)(__VA_ARGS__)

/* Declare the array `list` of 1..8 arguments: CELLAR_ARGS(list, 1, x, "text"). In C,
 * CELLAR_MEMOIZE(c, name, version, o, fn, ctx, out, arguments...) is the whole call. */
#define CELLAR_ARGS(list, ...) const cellar_arg list[] = { CELLAR_ARGS_LIST(__VA_ARGS__) }
#define CELLAR_MEMOIZE(c, name, version, o, fn, ctx, out, ...) \
    cellar_memoize(c, name, version, (const cellar_arg[]){ CELLAR_ARGS_LIST(__VA_ARGS__) }, \
                   sizeof((const cellar_arg[]){ CELLAR_ARGS_LIST(__VA_ARGS__) }) / \
                       sizeof(cellar_arg), o, fn, ctx, out)

#ifdef __cplusplus
}
#endif
#endif
