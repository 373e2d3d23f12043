/* SPDX-License-Identifier: MIT
 *
 * guest: may change until 1.0.
 *
 * cellar_kit: keys from parts and templates, typed values, LLM answers, embeddings, the status of
 * tasks, limiters that survive a restart, texts without secrets, lists of allowed addresses,
 * settings of a store from files and the environment.
 *
 * Refusals of these calls have no text in cellar_last_error. */
#ifndef CELLAR_KIT_H
#define CELLAR_KIT_H

#include "cellar_admin.h"
#include "cellar_l2.h"
#include "cellar_limit.h"
#include "cellar_load.h"
#include "cellar_memo.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Keys from parts ------------------------------------------------------------------------- */

/* KEYS FROM PARTS
 * A builder encodes typed parts, lists and maps. Different parts always have different keys: each
 * part says where it ends, so that no separator has a meaning. 1 and "1" differ; 1 and 1.0 are
 * equal; the order of a map does not matter. A key of more than CELLAR_KEY_BUILT_MAX bytes is
 * replaced by '#' and the SHA-256 of the encoding, 33 bytes. Keys are the same on every machine. */

/* Room for a key of cellar_key_finish and cellar_llm_key. */
#define CELLAR_KEY_BUILT_MAX 200u /* bytes of a finished key */

/* A key under construction. cellar_key_begin begins it, cellar_key_finish or cellar_key_discard
 * ends it. Do not copy it: it may hold memory. */
typedef struct cellar_key_builder {
    uint64_t opaque[86];
} cellar_key_builder;

/* Begin a key that is made of parts; see KEYS FROM PARTS.
 * out:     *b: no parts
 * owns:    cellar_key_finish or cellar_key_discard ends the builder, which may hold memory. Begun
 *          twice without an end, the memory of the first key is lost
 * thread:  any; one at a time for a builder
 * cost:    O(1)
 * example:
 *     cellar_key_builder b;
 *     char key[CELLAR_KEY_BUILT_MAX];
 *     size_t len;
 *     cellar_key_begin(&b);
 *     cellar_key_add(&b, CELLAR_ARG("weather"));
 *     cellar_key_add(&b, CELLAR_ARG(7));
 *     cellar_key_finish(&b, key, sizeof key, &len);                                              */
CELLAR_API void cellar_key_begin(cellar_key_builder *b);

/* Add a part to a key. The first error stays: cellar_key_finish returns it, so callers may check
 * there alone. A LIST or MAP takes the parts that follow, until cellar_key_end.
 * in:      b: a builder that was begun;
 *          part of CELLAR_ARG, cellar_arg_bool, _null, _list or _map. Text and bytes as given: no
 *          case folding, no trimming. In a map a name and its value take turns, and the name is
 *          text or bytes
 * returns: OK; E_INVAL (a NULL text, NaN, infinity, or a map entry without a name), E_TOOBIG (all
 *          parts are over 16 MiB), E_LIMIT (over 65,536 parts, 8 open lists and maps, or 256
 *          entries of a map), E_NOMEM
 * owns:    the bytes are copied
 * thread:  any; one at a time for a builder
 * cost:    O(len); one allocation when the key passes 480 bytes, one more for each doubling
 * example: cellar_key_add(&b, CELLAR_ARG(0.7));                                                  */
CELLAR_API cellar_err cellar_key_add(cellar_key_builder *b, cellar_arg part);

/* End the list or map begun last. The entries of a map are sorted by name.
 * in:      b with an open list or map
 * returns: OK; E_INVAL (no list or map is open; a name without value; a name that stands twice),
 *          E_TOOBIG (all parts are over 16 MiB), E_NOMEM. The first error stays
 * owns:    as cellar_key_begin
 * thread:  any; one at a time for a builder
 * cost:    O(bytes of the list or map)
 * example: cellar_key_end(&b);                                                                   */
CELLAR_API cellar_err cellar_key_end(cellar_key_builder *b);

/* Write the finished key and end the builder.
 * in:      b with one part or more; buf_cap 0 asks for the length (buf may be NULL)
 * out:     buf: the key, not terminated; *key_len, optional;
 *          *b: no parts, except after E_BUFFER
 * returns: OK; E_BUFFER (*key_len bytes are needed: finish again, nothing is lost), E_INVAL (no
 *          part, or an open list or map).
 *          Any other code is the first error of the builder
 * owns:    frees the memory of the builder, except after E_BUFFER
 * thread:  any; one at a time for a builder
 * cost:    O(bytes of all parts); SHA-256 above CELLAR_KEY_BUILT_MAX bytes
 * example: cellar_key_finish(&b, key, sizeof key, &len);                                         */
CELLAR_API cellar_err cellar_key_finish(cellar_key_builder *b, void *buf, size_t buf_cap,
                                        size_t *key_len);

/* Forget the parts and free the memory of a builder.
 * in:      b begun; NULL is fine
 * out:     *b: no parts
 * owns:    the memory of the builder is freed
 * thread:  any; one at a time for a builder
 * cost:    at most one free
 * example: cellar_key_discard(&b);                                                               */
CELLAR_API void cellar_key_discard(cellar_key_builder *b);

/* ---- Keys from templates --------------------------------------------------------------------- */

/* TEMPLATES
 * A template gives readable keys: "project:{id}:stats" with 7 is "project:7:stats". Control bytes,
 * ':', '{', '}', '%' and the first byte of each literal behind a placeholder are written as %XX in
 * a value, an empty value as "%_". So different values have different keys, and a key gives its
 * values back. */

/* Limits of a template. */
#define CELLAR_TEMPLATE_MAX        255u /* bytes of prefix and literals                           */
#define CELLAR_TEMPLATE_VALUES_MAX 16u  /* placeholders of a template                             */

/* A compiled template, from cellar_template_compile. It holds no memory, needs no free call and may
 * be copied. */
typedef struct cellar_template {
    uint64_t opaque[44];
} cellar_template;

/* Compile a template of readable keys, such as "project:{id}:stats".
 * in:      prefix without braces, NULL or "": none. Prefix and text are joined by one ':', whether
 *          they have one there or not;
 *          text: literals and {names}; the names are for readers
 * out:     *out; all zero on failure
 * returns: OK; E_INVAL (empty text, a brace without partner, an empty name, no literal between two
 *          placeholders, '%' behind a placeholder), E_TOOBIG (prefix and literals are over
 *          CELLAR_TEMPLATE_MAX bytes), E_LIMIT (over CELLAR_TEMPLATE_VALUES_MAX placeholders)
 * owns:    the text is copied
 * thread:  any
 * cost:    O(bytes); no allocation
 * example:
 *     cellar_template t;
 *     cellar_template_compile("app", "project:{id}:stats", &t);                                  */
CELLAR_API cellar_err cellar_template_compile(const char *prefix, const char *text,
                                              cellar_template *out);

/* Write the key of these values.
 * in:      t compiled; values: one for each placeholder, in order;
 *          buf_cap 0 asks for the length (buf may be NULL)
 * out:     buf: the key, not terminated; *key_len, optional: the full length
 * returns: OK; E_BUFFER (*key_len bytes are needed), E_INVAL (another number of values, a key of 0
 *          or over CELLAR_KEY_MAX bytes)
 * thread:  any
 * cost:    O(bytes); no allocation
 * example:
 *     cellar_bytes id = {"7", 1};
 *     cellar_template_key(&t, &id, 1, key, sizeof key, &len);                                    */
CELLAR_API cellar_err cellar_template_key(const cellar_template *t, const cellar_bytes *values,
                                          size_t value_count, void *buf, size_t buf_cap,
                                          size_t *key_len);

/* Read the values back from a key.
 * in:      t compiled; key of any origin;
 *          value_count: placeholders of t, room in values;
 *          buf for their bytes, as long as the key at most
 * out:     values: they point into buf, and are not terminated
 * returns: OK; MISS (not a key of this template), E_BUFFER (buf is too small)
 * owns:    values are valid as long as buf
 * thread:  any
 * cost:    O(key_len); no allocation
 * example:
 *     cellar_bytes value;
 *     char bytes[64];
 *     cellar_template_match(&t, key, len, &value, 1, bytes, sizeof bytes);                       */
CELLAR_API cellar_err cellar_template_match(const cellar_template *t, const void *key,
                                            size_t key_len, cellar_bytes *values,
                                            size_t value_count, void *buf, size_t buf_cap);

/* ---- Typed values ---------------------------------------------------------------------------- */

/* Store a number or a vector, little-endian: 8 bytes, or 4 bytes for each float. The functions are
 * inline: they store the bytes as they are, because the library builds for little-endian machines.
 * in:      key; x: what to store; o as in cellar_set. An int64 is a counter of cellar_increment
 * returns: OK; EXISTS (with ONLY_IF_ABSENT: the key has a value), MISS (with ONLY_IF_PRESENT: the
 *          key has no value), CONFLICT (with ONLY_IF_VERSION: the key has no value of that
 *          version), DISABLED (the namespace is switched off); E_DENIED (a DENY rule matches the
 *          key), E_LIMIT (tags of call and rule are more than 16 together), E_UNSUPPORTED (with
 *          CELLAR_DURABLE: no disk tier that syncs, or a NO_L2 rule matches the key), E_TOOBIG (a
 *          vector over max_value_bytes), E_SPACE (memory has no room for it: see NO ROOM), E_NOMEM,
 *          E_BUSY (the namespace was cleared 64 times during the call: call again), E_RANGE
 *          (idle_ms or stale_ms is above 2^32 - 1), E_IO (a tier below memory does not have it: see
 *          LOWER TIERS), E_TIMEOUT (the disk did not read the entry: nothing changed).
 *          What an error leaves of the old value is in CALLS THAT STORE of cellar.h
 * owns:    the numbers are copied
 * thread:  any; atomic per key
 * cost:    as cellar_set
 * example: cellar_set_i64(c, "k", 1, 42, NULL);
 * since:   0.2.0                                                                                 */
static inline cellar_err cellar_set_i64(cellar *c, const void *key, size_t key_len, int64_t x,
                                        const cellar_set_opts *o)
{
    return cellar_set(c, key, key_len, &x, sizeof x, o);
}
static inline cellar_err cellar_set_f64(cellar *c, const void *key, size_t key_len, double x,
                                        const cellar_set_opts *o)
{
    return cellar_set(c, key, key_len, &x, sizeof x, o);
}
static inline cellar_err cellar_set_f32s(cellar *c, const void *key, size_t key_len, const float *x,
                                         size_t count, const cellar_set_opts *o)
{
    const size_t len = count > CELLAR_VALUE_MAX / 4 ? SIZE_MAX : count * 4;
    return cellar_set(c, key, key_len, x, len, o);
}

/* Copy a value of 8 bytes into `out`. Another length is E_TYPE. Below, no NULL is written out: in
 * C++ clang warns of it. */
static inline cellar_err cellar_get_word_(cellar *c, const void *key, size_t key_len, void *out)
{
    size_t len = 0;
    const cellar_err err = cellar_get(c, key, key_len, out, 8, &len);
    return err == CELLAR_E_BUFFER || (err == CELLAR_OK && len != 8) ? CELLAR_E_TYPE : err;
}

/* Read a number or a vector. The functions are inline.
 * in:      key; out_cap 0 asks for the number of floats (out may be NULL)
 * out:     a number: *out, 0 unless OK. A vector: out as buf of cellar_get, undefined behind the
 *          vector; *count, the number of floats, also with E_BUFFER; optional
 * returns: OK, MISS, ABSENT; E_TYPE (not 8 bytes; bytes no multiple of 4), E_BUFFER (a vector: room
 *          for *count floats is needed), E_LIMIT (a long value, and other threads use all slots for
 *          copies: call again)
 * thread:  any
 * cost:    as cellar_get
 * example:
 *     int64_t x;
 *     cellar_get_i64(c, "k", 1, &x);
 * since:   0.2.0                                                                                 */
static inline cellar_err cellar_get_i64(cellar *c, const void *key, size_t key_len, int64_t *out)
{
    const cellar_err err = cellar_get_word_(c, key, key_len, out);
    if (err != CELLAR_OK && out) { *out = 0; }
    return err;
}
static inline cellar_err cellar_get_f64(cellar *c, const void *key, size_t key_len, double *out)
{
    const cellar_err err = cellar_get_word_(c, key, key_len, out);
    if (err != CELLAR_OK && out) { *out = 0; }
    return err;
}
static inline cellar_err cellar_get_f32s(cellar *c, const void *key, size_t key_len, float *out,
                                         size_t out_cap, size_t *count)
{
    const size_t cap = out_cap > CELLAR_VALUE_MAX / 4 ? CELLAR_VALUE_MAX / 4 : out_cap;
    size_t len = 0;
    const cellar_err err = cellar_get(c, key, key_len, out, cap * 4, &len);
    if (count) { *count = len % 4 == 0 ? len / 4 : 0; }
    return len % 4 == 0 ? err : CELLAR_E_TYPE;
}

/* ---- Options of loads ------------------------------------------------------------------------ */

/* Return options for the cache of a service: an hour, 10 % shorter or longer; "absent" for one
 * minute; one loader for a key at a time. To leave one out: jitter_pct = CELLAR_OFF, flags |=
 * CELLAR_LOAD_NO_JOIN, flags |= CELLAR_LOAD_NO_NEGATIVE.
 * returns: the options; fields not named here are 0, and the caller may set each of them
 * thread:  any
 * cost:    O(1); no call of the library
 * example: const cellar_load_opts o = cellar_load_opts_manager();
 * since:   0.2.0                                                                                 */
static inline cellar_load_opts cellar_load_opts_manager(void)
{
    cellar_load_opts o = cellar_load_opts_default();
    o.ttl_ms = 3600000;
    o.negative_ttl_ms = 60000;
    o.jitter_pct = 10;
    o.jitter_mode = CELLAR_JITTER_PLUSMINUS;
    return o;
}

/* Return options for the results of a module: five minutes, up to 10 % longer; "absent" for five
 * minutes.
 * returns: the options; fields not named here are 0, and the caller may set each of them
 * thread:  any
 * cost:    O(1); no call of the library
 * example: const cellar_load_opts o = cellar_load_opts_module();
 * since:   0.2.0                                                                                 */
static inline cellar_load_opts cellar_load_opts_module(void)
{
    cellar_load_opts o = cellar_load_opts_default();
    o.ttl_ms = 300000;
    o.negative_ttl_ms = 300000;
    o.jitter_pct = 10;
    o.jitter_mode = CELLAR_JITTER_PLUS;
    return o;
}

/* ---- LLM answers ----------------------------------------------------------------------------- */

/* LLM ANSWERS
 * A request has one key, made of everything that changes its answer: scope, tenant, provider,
 * model, messages or prompt, tools, response format, each parameter given, bucket. Absent and
 * empty differ, and so do a parameter that is absent and one with the default of the provider.
 * Left out are the parameters stream, stream_options, user, metadata and store. One call runs for
 * a key at a time. Only a complete answer is stored; a joined call gets any answer. A call waits
 * for a disk that does not answer, 1 s at most, before it calls fn. */

/* One message of a request. data NULL in a field: absent. */
typedef struct cellar_llm_message {
    cellar_bytes role;       /* as sent                                                           */
    cellar_bytes name;       /* as sent                                                           */
    cellar_bytes content;    /* as sent: text, or its parts                                       */
    cellar_bytes tool_calls; /* as sent                                                           */
} cellar_llm_message;

/* One parameter of a request. */
typedef struct cellar_llm_param {
    const char *name;        /* temperature, top_p, seed, stop, ...                               */
    cellar_arg  value;       /* CELLAR_ARG(0.7), no LIST or MAP; a structure as sent: text        */
} cellar_llm_param;

/* A flag of cellar_llm_request.flags. */
#define CELLAR_LLM_SHARED 1u /* the answer does not depend on the tenant                          */

/* Everything that changes an answer, for cellar_llm_key and cellar_llm_get_or_call, which only read
 * it. Start from cellar_llm_request_default(). data NULL in a field: absent. */
typedef struct cellar_llm_request {
    size_t       struct_size; /* set by cellar_llm_request_default()                              */
    cellar_bytes scope;       /* a name of the caller's choice                                    */
    cellar_bytes tenant;      /* the credential; the key has its SHA-256. Without it SHARED must  */
                              /* be set                                                           */
    cellar_bytes provider;    /* or the address of the service                                    */
    cellar_bytes model;       /* as sent, 1 byte or more                                          */
    const cellar_llm_message *messages; /* with message_count; or prompt                          */
    size_t       message_count; /* number of `messages`                                           */
    cellar_bytes prompt;      /* instead of messages, as sent                                     */
    cellar_bytes tools;       /* as sent                                                          */
    cellar_bytes response_format; /* as sent                                                      */
    const cellar_llm_param *params; /* each name once; the order does not matter                  */
    size_t       param_count; /* number of `params`. Range 0..256                                 */
    uint32_t     bucket;      /* number of the answer, of several to the same request.            */
                              /* Range 0..2^32 - 1. Default 0                                     */
    uint32_t     flags;       /* CELLAR_LLM_SHARED. Default 0                                     */
} cellar_llm_request;
CELLAR_STRUCT(cellar_llm_request, flags);

/* What an answer took, for cellar_llm_set_answer. 0 = not known. */
typedef struct cellar_llm_usage {
    size_t   struct_size;     /* set by cellar_llm_usage_default()                                */
    uint32_t tokens_in;       /* tokens of the request                                            */
    uint32_t tokens_out;      /* tokens of the answer                                             */
    uint32_t upstream_ms;     /* time that the service took                                       */
    uint32_t complete;        /* 1: a finish reason was seen; else the answer is not stored       */
    uint64_t cost;            /* millionths of the caller's currency                              */
} cellar_llm_usage;
CELLAR_STRUCT(cellar_llm_usage, cost);

/* An answer, and what it took when it was made, as in cellar_llm_usage. cellar_llm_get_or_call
 * fills it; `text` is valid until cellar_result_free of `result`. */
typedef struct cellar_llm_answer {
    size_t        struct_size; /* set by cellar_llm_answer_default()                              */
    cellar_result *result;     /* in: from cellar_result_default(); it owns the text              */
    const char   *text;        /* out: not terminated                                             */
    size_t        text_len;    /* out: bytes of `text`                                            */
    uint32_t      tokens_in;   /* out: tokens of the request                                      */
    uint32_t      tokens_out;  /* out: tokens of the answer                                       */
    uint32_t      upstream_ms; /* out: time that the service took                                 */
    uint32_t      complete;    /* out: 1: the answer is complete                                  */
    uint64_t      cost;        /* out: millionths of the caller's currency                        */
} cellar_llm_answer;
CELLAR_STRUCT(cellar_llm_answer, cost);

/* Which requests are cached. */
typedef enum cellar_llm_mode {
    CELLAR_LLM_ALWAYS = 0,        /* all */
    CELLAR_LLM_DETERMINISTIC = 1, /* with temperature 0 or a seed */
    CELLAR_LLM_NEVER = 2          /* none */
} cellar_llm_mode;

/* Options of cellar_llm_open. Start from cellar_llm_config_default(). */
typedef struct cellar_llm_config {
    size_t   struct_size;   /* set by cellar_llm_config_default()                                 */
    const cellar_load_opts *load; /* TTL and the like, copied. Its ctx options must be 0. Default */
                              /* NULL: those of the namespace                                     */
    cellar_llm_mode mode;     /* which requests are cached. Default ALWAYS                        */
    uint32_t reserved0;       /* must be 0                                                        */
} cellar_llm_config;
CELLAR_STRUCT(cellar_llm_config, reserved0);

/* What calls through one handle took and saved, from cellar_llm_stats_get. Saved is what cached and
 * joined answers took when they were made. */
typedef struct cellar_llm_stats {
    size_t   struct_size;     /* set by cellar_llm_stats_default()                                */
    uint64_t answers;         /* answers in all                                                   */
    uint64_t calls;           /* of these: made by this call                                      */
    uint64_t saved_tokens_in; /* tokens of requests that were not sent                            */
    uint64_t saved_tokens_out; /* tokens of their answers                                         */
    uint64_t saved_ms;        /* sum of their upstream_ms                                         */
    uint64_t saved_cost;      /* sum of their cost                                                */
} cellar_llm_stats;
CELLAR_STRUCT(cellar_llm_stats, saved_cost);

/* A cache of answers in a namespace. cellar_llm_open makes it, cellar_llm_close frees it. */
typedef struct cellar_llm cellar_llm;

/* Send the request, and set the answer with cellar_llm_set_answer.
 * in:      load: for cellar_llm_set_answer, valid until the function returns; req: that of the
 *          call; ctx of the call
 * returns: OK with an answer, or the code of the failure, as a cellar_loader_fn (cellar_load.h)
 * owns:    nothing is kept after cellar_llm_get_or_call has returned
 * thread:  the caller of cellar_llm_get_or_call, with no lock held: the function may block, and may
 *          call the library as a loader. Calls for other requests run at the same time
 * cost:    callers with the same request wait for it                                             */
typedef cellar_err (*cellar_llm_fn)(cellar_load *load, const cellar_llm_request *req, void *ctx);

/* Write the key of a request, for programs that store its answer themselves.
 * in:      req from cellar_llm_request_default;
 *          buf_cap 0 asks for the length (buf may be NULL)
 * out:     *key_len, at most CELLAR_KEY_BUILT_MAX; optional
 * returns: OK; E_BUFFER (*key_len bytes are needed), E_INVAL (no model; messages and prompt, or
 *          neither; no tenant without CELLAR_LLM_SHARED; NaN; a parameter twice), E_TOOBIG (the
 *          request is over 16 MiB), E_LIMIT (over 256 parameters or 65,536 parts), E_NOMEM
 * thread:  any
 * cost:    O(bytes of the request), with one SHA-256 of them; an allocation over 480 bytes
 * example: cellar_llm_key(&req, key, sizeof key, &len);                                          */
CELLAR_API cellar_err cellar_llm_key(const cellar_llm_request *req, void *buf, size_t buf_cap,
                                     size_t *key_len);

/* Open a cache of LLM answers in a namespace; see LLM ANSWERS.
 * in:      c: the namespace; o from cellar_llm_config_default; NULL = defaults
 * out:     *out, NULL on failure
 * returns: OK; E_NOMEM; E_INVAL (also: ctx options in o->load)
 * owns:    the caller closes *out with cellar_llm_close before c
 * thread:  any
 * cost:    one allocation
 * example: cellar_llm_open(c, NULL, &llm);                                                       */
CELLAR_API cellar_err cellar_llm_open(cellar *c, const cellar_llm_config *o, cellar_llm **out);

/* Close a cache of answers. The entries stay.
 * in:      llm; NULL is fine
 * owns:    llm is freed
 * thread:  must not overlap other calls of the handle
 * cost:    one free
 * example: cellar_llm_close(llm);                                                                */
CELLAR_API void cellar_llm_close(cellar_llm *llm);

/* Return the answer to a request from the cache, or call `fn` for it and store the answer.
 * in:      req: the request, as for cellar_llm_key; fn: asks the service, see cellar_llm_fn; ctx:
 *          given to fn;
 *          answer from cellar_llm_answer_default, with its `result`
 * out:     *answer: the answer, and what it took; *answer->result: as cellar_get_or_load
 * returns: OK (an answer), STALE (an answer past its TTL: see STALE VALUES), ABSENT (fn or a
 *          fallback reported that there is none), MISS (with ONLY_IF_CACHED: the cache has no
 *          answer), PENDING (with NO_WAIT: another call asks, call again later);
 *          E_LOADER (fn failed: loader_err of *answer->result is its code), E_NO_RESULT (fn
 *          returned OK without an answer), E_RESULT_TWICE (fn set two results), E_TOOBIG (the
 *          answer is over max_value_bytes), E_TIMEOUT (another load took longer than
 *          wait_timeout_ms, or leader_retries are used up), E_DEADLOCK (the wait would never end:
 *          see RECURSION), E_DEPTH (too many loads in each other: see RECURSION), E_BREAKER_OPEN
 *          (the breaker refuses loads), E_LIMIT (max_loads or max_load_waiters is reached; or as
 *          cellar_llm_key), E_NOMEM;
 *          E_TYPE (fn set a value that is no answer), E_INVAL (the request: as cellar_llm_key)
 * owns:    the caller frees *answer->result with cellar_result_free
 * thread:  as cellar_get_or_load
 * cost:    as cellar_get_or_load and cellar_llm_key
 * example:
 *     cellar_result r = cellar_result_default();
 *     cellar_llm_answer a = cellar_llm_answer_default();
 *     a.result = &r;
 *     const cellar_err err =
 *         cellar_llm_get_or_call(llm, &req, ask, NULL, &a);
 *     if (err == CELLAR_OK || err == CELLAR_STALE)
 *         fwrite(a.text, 1, a.text_len, stdout);
 *     cellar_result_free(&r);                                                                    */
CELLAR_API cellar_err cellar_llm_get_or_call(cellar_llm *llm, const cellar_llm_request *req,
                                             cellar_llm_fn fn, void *ctx,
                                             cellar_llm_answer *answer);

/* Set the answer of the running call. An empty answer is an answer. A second call replaces it;
 * if one of them was incomplete, the answer is not stored.
 * in:      load of the running cellar_llm_fn; text may be NULL if text_len is 0;
 *          usage from cellar_llm_usage_default; NULL = incomplete: the answer is not stored
 * returns: OK; E_NOMEM (also: the load has another result, and fails), E_TOOBIG (the value is over
 *          max_value_bytes), E_RESULT_TWICE (the load has another result)
 * owns:    the bytes are copied
 * thread:  the thread that runs the cellar_llm_fn
 * cost:    as cellar_load_buf, and a copy
 * example: cellar_llm_set_answer(load, "yes", 3, &usage);                                        */
CELLAR_API cellar_err cellar_llm_set_answer(cellar_load *load, const char *text, size_t text_len,
                                            const cellar_llm_usage *usage);

/* Read what the calls of a handle took and saved.
 * in:      out from cellar_llm_stats_default
 * out:     *out, only with OK
 * returns: OK
 * thread:  any
 * cost:    O(1)
 * example:
 *     cellar_llm_stats stats = cellar_llm_stats_default();
 *     cellar_llm_stats_get(llm, &stats);                                                         */
CELLAR_API cellar_err cellar_llm_stats_get(cellar_llm *llm, cellar_llm_stats *out);

/* ---- Embeddings ------------------------------------------------------------------------------ */

/* EMBEDDINGS
 * A batch of texts is looked up, and one call of the loader makes the vectors that are missing,
 * each text once. Vectors are stored as binary numbers: a vector of 1,536 floats takes 6,152 bytes,
 * about a fifth of its JSON text. F16 halves that, I8 quarters it; both lose precision. */

/* How a vector is stored: cellar_embeddings_config.type. */
typedef enum cellar_vector_type {
    CELLAR_VECTOR_F32 = 1, /* float */
    CELLAR_VECTOR_F16 = 2, /* IEEE 754 binary16 */
    CELLAR_VECTOR_I8 = 3   /* 8 bits and one scale for the vector */
} cellar_vector_type;

/* Options of cellar_embeddings_open. Start from cellar_embeddings_config_default(). Texts are
 * copied. */
typedef struct cellar_embeddings_config {
    size_t       struct_size; /* set by cellar_embeddings_config_default()                        */
    cellar_bytes scope;       /* a name of the caller's choice; data NULL: none                   */
    cellar_bytes tenant;      /* the key has its SHA-256; data NULL: shared by all tenants        */
    cellar_bytes model;       /* name of the model, 1..CELLAR_KEY_MAX bytes. Required             */
    const cellar_load_opts *load; /* TTL and the like, copied. Its ctx options must be 0. Default */
                              /* NULL: those of the namespace                                     */
    uint32_t     dim;         /* numbers of a vector. Range 1..65,536. Required                   */
    cellar_vector_type type;  /* how a vector is stored. Default F32                              */
    uint32_t     max_batch;   /* texts of one call of the loader. Range 1..4,096. Default 256     */
    uint32_t     reserved0;   /* must be 0                                                        */
} cellar_embeddings_config;
CELLAR_STRUCT(cellar_embeddings_config, reserved0);

/* A cache of vectors in a namespace. cellar_embeddings_open makes it, cellar_embeddings_close frees
 * it. */
typedef struct cellar_embeddings cellar_embeddings;

/* One call of a cellar_embeddings_fn, for cellar_embeddings_set. Valid until the function
 * returns. */
typedef struct cellar_embeddings_call cellar_embeddings_call;

/* Make the vectors of these texts, all different, and set each with cellar_embeddings_set.
 * in:      call: for cellar_embeddings_set; texts, count: 1..max_batch, valid until the function
 *          returns; ctx of cellar_embeddings_get_many
 * returns: OK; any other code fails the texts without a vector, and ends the batch
 * owns:    nothing is kept after cellar_embeddings_get_many has returned
 * thread:  the caller of cellar_embeddings_get_many, with no lock held: the function may block, and
 *          may call the library as a loader. Calls of other threads run at the same time
 * cost:    callers that want one of these texts wait for it                                      */
typedef cellar_err (*cellar_embeddings_fn)(cellar_embeddings_call *call, const cellar_bytes *texts,
                                           size_t count, void *ctx);

/* Open a cache of embeddings in a namespace; see EMBEDDINGS.
 * in:      c: the namespace; o from cellar_embeddings_config_default, with model and dim
 * out:     *out, NULL on failure
 * returns: OK; E_NOMEM; E_INVAL (also: no model, dim 0, ctx options in o->load)
 * owns:    the caller closes *out with cellar_embeddings_close before c
 * thread:  any
 * cost:    one allocation
 * example:
 *     cellar_embeddings_config o = cellar_embeddings_config_default();
 *     o.model.data = "small", o.model.len = 5, o.dim = 1536;
 *     cellar_embeddings_open(c, &o, &e);                                                         */
CELLAR_API cellar_err cellar_embeddings_open(cellar *c, const cellar_embeddings_config *o,
                                             cellar_embeddings **out);

/* Close a cache of embeddings. The entries stay.
 * in:      e; NULL is fine
 * owns:    e is freed
 * thread:  must not overlap other calls of the handle
 * cost:    one free
 * example: cellar_embeddings_close(e);                                                           */
CELLAR_API void cellar_embeddings_close(cellar_embeddings *e);

/* Return the vectors of many texts; call `fn` for those that are missing.
 * in:      texts, count: 1 to 2^20, equal ones are fine;
 *          fn: makes vectors, see cellar_embeddings_fn; ctx: given to fn
 * out:     out: dim floats for each text in its order, unchanged where status is no success;
 *          status: the code of cellar_get_or_load for each text; E_LOADER also: no vector, another
 *          dimension, NaN or infinity
 * returns: OK (look at status); E_TOOBIG (a text, or too many), E_NOMEM: nothing is done
 * thread:  as cellar_get_or_load_many; the call waits 1 s at most for a disk that does not answer,
 *          before it calls fn
 * cost:    as cellar_get_or_load_many, and a key for each text; about 400 bytes a text allocated
 * example: cellar_embeddings_get_many(e, texts, n, embed, NULL, vectors, status);                */
CELLAR_API cellar_err cellar_embeddings_get_many(cellar_embeddings *e, const cellar_bytes *texts,
                                                 size_t count, cellar_embeddings_fn fn, void *ctx,
                                                 float *out, cellar_err *status);

/* Set one vector of a running call.
 * in:      call of the running loader; index of the text, from 0; vector of dim floats
 * returns: OK; E_INVAL (no such index: no effect; another dimension, NaN or infinity: the text of
 *          the index fails), E_RESULT_TWICE (set before: neither is used), E_TOOBIG (the vector is
 *          over max_value_bytes), E_NOMEM
 * owns:    the numbers are copied
 * thread:  the thread that runs the loader
 * cost:    O(dim)
 * example: cellar_embeddings_set(call, 0, vector, 1536);                                         */
CELLAR_API cellar_err cellar_embeddings_set(cellar_embeddings_call *call, size_t index,
                                            const float *vector, size_t dim);

/* ---- Status cache ---------------------------------------------------------------------------- */

/* STATUS CACHE
 * The values of tasks, each with a state that decides its TTL. The states are the TTL classes of a
 * namespace; the preset is processing 300 s, success 3,600 s, failed 1,800 s, batch 600 s. An
 * unknown state counts as the fallback state, and in unknown_states. The entries are ordinary
 * entries of the namespace, and the lowest 4 bits of their user_flags are the number of the state
 * less 1. cellar_namespace_open with NULL options opens the namespace to delete or clear them,
 * and cellar_tick frees those that have expired. A set that fails keeps the old value.
 *
 * An entry is hot while it is read hot_reads times in 60 s. A hot entry gains hot_extra_ms, at most
 * once in each TTL of its state, and never lives longer than max_age_ms. This gain is a set of the
 * same value. Entries with idle time gain nothing. */

/* Longest part of an id in cellar_status_hot_id. */
#define CELLAR_STATUS_HOT_ID 46u /* bytes of an id that cellar_status_hot returns */

/* Options of cellar_status_open. Start from cellar_status_config_default(). */
typedef struct cellar_status_config {
    size_t   struct_size;     /* set by cellar_status_config_default()                            */
    const cellar_ttl_class *states; /* names and TTLs of the states, copied. Default NULL: the    */
                              /* preset                                                           */
    const cellar_namespace_config *ns; /* other options of the namespace, copied; its TTL classes */
                              /* must be 0. Default NULL: defaults                                */
    int64_t  hot_extra_ms;    /* life that a hot entry gains. Range 1..2^63 - 1 ms. Default 0:    */
                              /* 60,000                                                           */
    int64_t  max_age_ms;      /* largest age of a prolonged entry. Range largest TTL of a         */
                              /* state..2^63 - 1 ms. Default 0: twice the TTL of its state        */
    cellar_clock_fn clock;    /* clock of the store, if it has its own; for hot entries. Default  */
                              /* NULL: monotonic clock of the system                              */
    void    *clock_ctx;       /* given to clock                                                   */
    uint32_t state_count;     /* number of `states`. Range 1..16; 0 without them: the preset      */
    uint32_t state_fallback;  /* number of the state for unknown names. Range 1..count. Default 1 */
    uint32_t hot_reads;       /* reads in 60 s that make an entry hot; above 31 an estimate.      */
                              /* Range 1..2^32 - 2. Default 0: 100. CELLAR_OFF: no entry is hot   */
    uint32_t reserved0;       /* must be 0                                                        */
} cellar_status_config;
CELLAR_STRUCT(cellar_status_config, reserved0);

/* A status cache: a namespace of entries with states. cellar_status_open makes it,
 * cellar_status_close frees it. */
typedef struct cellar_status cellar_status;

/* One item of cellar_status_get_many. */
typedef struct cellar_status_get_item {
    const void *id;        /* in: 1..CELLAR_KEY_MAX bytes */
    size_t      id_len;    /* in: bytes of `id` */
    void       *buf;       /* in: room for the value; its bytes are written */
    size_t      buf_cap;   /* in: bytes of `buf`; 0 asks for the size */
    size_t      value_len; /* out: like cellar_get */
    const char *state;     /* out: NULL unless status is OK or E_BUFFER */
    cellar_err  status;    /* out: the code of cellar_get for this id */
    uint32_t    reserved0; /* must be 0 */
} cellar_status_get_item;

/* One item of cellar_status_set_many. */
typedef struct cellar_status_set_item {
    const void *id;        /* in: 1..CELLAR_KEY_MAX bytes */
    size_t      id_len;    /* in: bytes of `id` */
    const void *value;     /* in: the bytes to store; may be NULL if value_len is 0 */
    size_t      value_len; /* in: bytes of `value` */
    const char *state;     /* in: as in cellar_status_set */
    cellar_err  status;    /* out: the code of cellar_set for this id */
    uint32_t    reserved0; /* must be 0 */
} cellar_status_set_item;

/* One id of cellar_status_hot. */
typedef struct cellar_status_hot_id {
    char     id[CELLAR_STATUS_HOT_ID]; /* its first bytes; not terminated                         */
    uint32_t id_len;          /* bytes of the whole id                                            */
    uint32_t reads;           /* in the last minute, about                                        */
} cellar_status_hot_id;

/* Figures of a status cache, from cellar_status_stats_get. */
typedef struct cellar_status_stats {
    size_t   struct_size;     /* set by cellar_status_stats_default()                             */
    uint64_t gets;            /* of the namespace since the store was opened, as the next five    */
    uint64_t hits;            /* in memory or on disk                                             */
    uint64_t misses;          /* gets that found no value                                         */
    uint64_t sets;            /* values stored: set, updated, prolonged                           */
    uint64_t expired;         /* entries that expired                                             */
    uint64_t unknown_states;  /* sets and updates with the fallback state                         */
    uint64_t updates_queued;  /* of this handle: updates that took the lock of their id           */
    uint64_t prolonged;       /* of this handle: hot entries                                      */
} cellar_status_stats;
CELLAR_STRUCT(cellar_status_stats, prolonged);

/* Open a cache for the states of tasks in a namespace, and create the namespace if it is new; see
 * STATUS CACHE.
 * in:      c: any handle of the store;
 *          name of the namespace; NULL = "image_task";
 *          o from cellar_status_config_default; NULL = defaults. Each handle of one name needs the
 *          same states in the same order, also after a restart with a disk
 * out:     *out, NULL on failure
 * returns: OK; E_TYPE (the namespace holds objects), E_LIMIT (max_namespaces is reached), E_SPACE
 *          (memory_bytes has no room for it), E_NOMEM (no memory, and nothing changed)
 * owns:    the caller closes *out with cellar_status_close before the store
 * thread:  any
 * cost:    two allocations, of 66 KiB in all
 * example:
 *     cellar_status *s;
 *     if (cellar_status_open(c, NULL, NULL, &s) != CELLAR_OK) return 1;                          */
CELLAR_API cellar_err cellar_status_open(cellar *c, const char *name, const cellar_status_config *o,
                                         cellar_status **out);

/* Close a cache of states. The entries stay.
 * in:      s; NULL is fine
 * owns:    s is freed, and the states that its calls returned with it
 * thread:  must not overlap other calls of the handle
 * cost:    three frees
 * example: cellar_status_close(s);                                                               */
CELLAR_API void cellar_status_close(cellar_status *s);

/* Read many ids in order.
 * in:      items (may be NULL if count is 0); equal ids are fine
 * out:     items: buf (undefined behind the value), value_len, state and status of each;
 *          *hits, optional: the number of OK
 * returns: OK (look at status of the items); with any other code nothing is done
 * owns:    states are borrowed until cellar_status_close
 * thread:  any; value and state of an item belong together; the batch is not atomic
 * cost:    as cellar_get_many, and one more read for each read that finds its id hot
 * example:
 *     cellar_status_get_item it[1] =
 *         {{"7", 1, buf, 64, 0, NULL, CELLAR_OK, 0}};
 *     cellar_status_get_many(s, it, 1, NULL);                                                    */
CELLAR_API cellar_err cellar_status_get_many(cellar_status *s, cellar_status_get_item *items,
                                             size_t count, size_t *hits);

/* Store many values, each with its state. A failing item does not stop the others.
 * in:      items (may be NULL if count is 0)
 * out:     items: status of each; *stored, optional: the number of OK
 * returns: OK (look at status of the items); with any other code nothing is done
 * owns:    the bytes are copied
 * thread:  any; of equal ids the last item is stored
 * cost:    as cellar_set_many, one call for each state among 64 items with different ids; no
 *          allocation
 * example:
 *     cellar_status_set_item it[1] =
 *         {{"7", 1, "{}", 2, "batch", CELLAR_OK, 0}};
 *     cellar_status_set_many(s, it, 1, NULL);                                                    */
CELLAR_API cellar_err cellar_status_set_many(cellar_status *s, cellar_status_set_item *items,
                                             size_t count, size_t *stored);

/* Store a value with a state; the TTL of the state begins now.
 * in:      id: 1..CELLAR_KEY_MAX bytes; value (may be NULL if value_len is 0);
 *          state: an unknown one is the fallback state
 * returns: OK; DISABLED (the namespace is switched off); E_DENIED (a DENY rule matches the key),
 *          E_LIMIT (the rules give the key more than 16 tags), E_TOOBIG (the value is over
 *          max_value_bytes), E_SPACE (memory has no room for it: see NO ROOM), E_NOMEM, E_BUSY (the
 *          namespace was cleared 64 times during the call: call again), E_IO (a tier below memory
 *          does not have it: see LOWER TIERS).
 *          With all but OK and E_IO the old value stays
 * owns:    the bytes are copied
 * thread:  any; value and state are stored together
 * cost:    as cellar_set
 * example: cellar_status_set(s, "7", 1, "{}", 2, "processing");
 * since:   0.2.0                                                                                 */
static inline cellar_err cellar_status_set(cellar_status *s, const void *id, size_t id_len,
                                           const void *value, size_t value_len, const char *state)
{
    cellar_status_set_item it = { id, id_len, value, value_len, state, CELLAR_OK, 0 };
    size_t stored;
    const cellar_err err = cellar_status_set_many(s, &it, 1, &stored);
    return err != CELLAR_OK ? err : it.status;
}

/* Copy the value of an id, and return its state.
 * in:      id: 1..CELLAR_KEY_MAX bytes; buf_cap in bytes, 0 asks for the size (buf may be NULL)
 * out:     buf, undefined behind the value, and *value_len as cellar_get; *state, NULL unless OK or
 *          E_BUFFER; both optional
 * returns: OK, MISS, ABSENT; E_BUFFER (the value does not fit: *value_len is its length), E_LIMIT
 *          (a long value, and other threads use all slots for copies: call again)
 * owns:    *state is borrowed until cellar_status_close
 * thread:  any; value and state belong together
 * cost:    as cellar_get_with; the read that prolongs an entry: also a copy and a set
 * example:
 *     const char *state;
 *     const cellar_err err =
 *         cellar_status_get(s, "7", 1, buf, sizeof buf, &len, &state);
 *     if (err == CELLAR_OK) puts(state);
 * since:   0.2.0                                                                                 */
static inline cellar_err cellar_status_get(cellar_status *s, const void *id, size_t id_len,
                                           void *buf, size_t buf_cap, size_t *value_len,
                                           const char **state)
{
    cellar_status_get_item it = { id, id_len, buf, buf_cap, 0, "", CELLAR_OK, 0 };
    size_t hits;
    const cellar_err err = cellar_status_get_many(s, &it, 1, &hits);
    if (value_len) { *value_len = it.value_len; }
    if (state) { *state = it.state; }
    return err != CELLAR_OK ? err : it.status;
}

/* Compute the new value of an id from the old one and give the entry a state; the TTL begins now.
 * Updates of one id from any number of threads all take effect.
 * in:      id: 1..CELLAR_KEY_MAX bytes; state as cellar_status_set; fn, ctx as in cellar_update
 * returns: OK (stored); REMOVED (fn removed the entry), MISS (no entry: fn did not run, nothing is
 *          created); E_TOOBIG (the value is over max_value_bytes), E_SPACE (memory has no room for
 *          it: see NO ROOM), E_NOMEM, E_BUSY (4,096 rounds lost to sets of the id: call again).
 *          Any other code is that of fn or of cellar_update. With any code but OK and REMOVED
 *          nothing is changed
 * owns:    as cellar_update
 * thread:  any; fn runs more than once if another writer was faster. Updates of an id that lost 8
 *          rounds take turns; each waits for its turn for one second at most
 * cost:    as cellar_update; the first update that takes turns also opens a table of locks, 60 KiB
 * example: cellar_status_update(s, "7", 1, "success", add_result, "{\"url\":1}");                */
CELLAR_API cellar_err cellar_status_update(cellar_status *s, const void *id, size_t id_len,
                                           const char *state, cellar_update_fn fn, void *ctx);

/* Return the ids that calls of this handle read most, the most first.
 * in:      cap: room of out
 * out:     out: the ids; *count: their number
 * returns: OK; E_UNSUPPORTED (hot_reads is CELLAR_OFF: no reads are counted), E_NOMEM
 * owns:    the ids are copied
 * thread:  any; no lock
 * cost:    O(1,024 x cap); one allocation for the call
 * example:
 *     cellar_status_hot_id ids[20];
 *     uint32_t n;
 *     cellar_status_hot(s, ids, 20, &n);                                                         */
CELLAR_API cellar_err cellar_status_hot(cellar_status *s, cellar_status_hot_id *out, uint32_t cap,
                                        uint32_t *count);

/* Read the figures of a status cache.
 * in:      out from cellar_status_stats_default
 * out:     *out, only with OK
 * returns: OK
 * thread:  any; each figure is exact, each is read at its own moment
 * cost:    as cellar_stats_get
 * example:
 *     cellar_status_stats stats = cellar_status_stats_default();
 *     cellar_status_stats_get(s, &stats);                                                        */
CELLAR_API cellar_err cellar_status_stats_get(cellar_status *s, cellar_status_stats *out);

#ifndef CELLAR_OMIT_LIMIT
/* ---- Limiters that survive a restart --------------------------------------------------------- */

/* LIMITERS THAT SURVIVE A RESTART
 * The snapshots of a limiter in a namespace of a store with a disk tier, in pieces of 4,096 bytes.
 * cellar_limiter_close and, with snapshot_interval_ms, cellar_tick save; cellar_limiter_open loads.
 * A save replaces the snapshot as a whole, or not at all.
 *
 * A kill loses the changes since the last save: admissions of that time are forgotten. A power cut
 * also takes what cellar_l2.h says (POWER CUT); a snapshot of which it took a part is refused.
 * A snapshot that is damaged, incomplete or of other algorithms is refused as a whole: the limiter
 * starts empty, counts it in snapshots_refused and logs CELLAR_E_CORRUPT. The same happens if
 * l2_bytes is full and a part of the snapshot is among the oldest entries: save regularly.
 *
 * The namespace has the hash key of the limiter in clear text. cellar_namespace_drop forgets the
 * snapshot. The store needs room for two snapshots: 16 bytes for each key in use, 8 for each rule
 * behind the first, 8 for each unit of a sliding log. Without a disk tier the snapshot lives as
 * long as the store, and is refused once a part of it was evicted. */

/* A place for the snapshots of one limiter. cellar_limiter_snapshot_open makes it,
 * cellar_limiter_snapshot_close frees it. */
typedef struct cellar_limiter_snapshot cellar_limiter_snapshot;

/* Open a place for the snapshots of one limiter; create its namespace if it is new. Call it before
 * cellar_limiter_open or cellar_user_limiter_open.
 * in:      c: any handle of the store; name of the namespace, for this limiter alone;
 *          cfg from cellar_limiter_config_default, without snapshot_path, snapshot_write,
 *          snapshot_read
 * out:     *cfg: snapshot_write, snapshot_read and snapshot_ctx, for one open of a limiter;
 *          *out, NULL on failure
 * returns: OK; E_TYPE (the namespace holds objects), E_LIMIT (max_namespaces is reached), E_SPACE
 *          (memory_bytes has no room for it), E_NOMEM, E_ABI (also: cfg of an older header).
 *          After a failure *cfg is unchanged
 * owns:    the caller closes *out with cellar_limiter_snapshot_close, after the limiter and before
 *          the store
 * thread:  any
 * cost:    one allocation of 4 KiB. A save: one set for each 4,096 bytes. The load: one get for
 *          each
 * example:
 *     cellar_limiter_config cfg = cellar_limiter_config_default();
 *     cfg.snapshot_interval_ms = 10000;
 *     cellar_limiter_snapshot *s;
 *     cellar_err err =
 *         cellar_limiter_snapshot_open(store, "api_limits", &cfg, &s);
 *     if (err != CELLAR_OK) return 1;
 *     err = cellar_limiter_open(&cfg, &rule, 1, &limiter);
 *     if (err != CELLAR_OK) return 1;                                                            */
CELLAR_API cellar_err cellar_limiter_snapshot_open(cellar *c, const char *name,
                                                   cellar_limiter_config *cfg,
                                                   cellar_limiter_snapshot **out);

/* Close a place for snapshots. The last snapshot stays in the store.
 * in:      s of a limiter that is closed; NULL is fine
 * owns:    s is freed
 * thread:  must not overlap other calls with s
 * cost:    one free
 * example: cellar_limiter_snapshot_close(s);                                                     */
CELLAR_API void cellar_limiter_snapshot_close(cellar_limiter_snapshot *s);
#endif

/* ---- Texts without secrets ------------------------------------------------------------------- */

/* Copy a text and mask what looks like a secret: the values of authorization, proxy-authorization,
 * cookie, set-cookie, x-api-key, api-key, api_key, apikey, token, access_token, secret and password
 * behind ':' or '='; words that begin with "sk-"; the word behind "Bearer"; user and password of a
 * URL. A mask is "***", behind the first three bytes of a secret of eight bytes or more. JSON in a
 * string of JSON is masked as JSON: its quotes have backslashes.
 * in:      text of len bytes of any value;
 *          out_cap 0 asks for the length (out may be NULL)
 * out:     out: as much as fits, terminated
 * returns: the full length without the zero byte; at most len and 2 bytes for each mask
 * thread:  any
 * cost:    O(len); no allocation
 * example: cellar_redact("token=abcdefghij", 16, line, sizeof line);                             */
CELLAR_API size_t cellar_redact(const char *text, size_t len, char *out, size_t out_cap);

/* ---- Addresses of callbacks ------------------------------------------------------------------ */

/* ALLOWED ADDRESSES
 * A list has rules between blanks, commas or line feeds. An address must have scheme, host and port
 * of one rule:
 *     https://hooks.example.com          port 443 alone; upper and lower case are equal
 *     https://.example.com:8443          names below example.com, not itself; no xn-- before it
 *     http://10.1.2.3:8080               an IP number is denied unless a rule names it
 *     http://10.0.0.0/8 http://[fd00::]/8:8080    or its range
 *
 * Names are ASCII: an international name in its xn-- form. A text that two parsers could read in
 * different ways is denied: user and password, a backslash, a byte outside ASCII, %XX or a final
 * dot in the host, 127.1, 0x7f000001, 017700000001, [::ffff:127.0.0.1], a zone, an empty port, a
 * fragment, "https:host". The host is text: resolve its name once, deny private addresses there,
 * connect to the checked address, and follow no redirect without another call. */

/* Check an address, for example of a callback, against a list.
 * in:      list, terminated; url, to 2,048 bytes
 * out:     *why, optional: NULL with OK; after E_DENIED a static text for a log, without bytes of
 *          url; after E_CONFIG the place in list where a rule cannot be read
 * returns: OK (allowed); E_DENIED (do not connect); E_CONFIG (a rule that cannot be read: mend the
 *          list)
 * owns:    *why belongs to the library or to the list: do not free it
 * thread:  any
 * cost:    O(bytes of url + bytes of list); no allocation
 * example:
 *     const char *why;
 *     cellar_url_allowed("https://.example.com", url, strlen(url), &why);                        */
CELLAR_API cellar_err cellar_url_allowed(const char *list, const char *url, size_t url_len,
                                         const char **why);

/* ---- Settings -------------------------------------------------------------------------------- */

/* SETTINGS
 * Options of a store from a file, from the environment, or from the program. Each call overwrites
 * only what it finds: the order of the calls is the precedence. A file has lines `name = value`:
 *     memory = 256M              # a comment; a # inside a word begins none
 *     default_ttl = 1h30m        # times need a unit: ms s m h d w
 *     l2_path = "/var/cache/app" # quotes are optional; \" and \\ are escapes
 * Sizes are bytes, or have k, M, G or T, powers of 1,024. Times may be "never" where the table says
 * time. An empty value is not set; an empty resp_password is an error. CELLAR_MEMORY is memory in
 * the environment, and so on; a file may use these names, too, so that it can be the .env file of a
 * program.
 *
 * `memory = 50%` is a share of the limit of the container: the least limit of the cgroup of the
 * process and those above it, of version 2 or 1. Without one it is a share of the memory of the
 * machine. max_value takes a share, too; of a large machine that is 2^30 - 1 bytes.
 *
 * Names that other programs use are known: CACHE_DEFAULT_TIMEOUT is a number of seconds. A name of
 * cellar wins over them. A name of a machine in REDIS_HOST has no effect: the server is
 * this process. CELERY_TASK_ROUTES is {"image.*": "slow"} or {"image.*": {"queue": "slow"}}. Other
 * names in capitals, REDIS_DB for example, have no effect and get an INFO note each. Unknown
 * settings are errors; an unknown variable is not looked at.
 *
 * In the environment REDIS_ names are probably those of a Redis. They have no effect there and get
 * an INFO note each, unless env_redis of cellar_settings is 1. Kubernetes sets REDIS_PORT and
 * CELLAR_RESP_PORT to tcp://ADDRESS:PORT. A variable with such a value has no effect. */

/* SETTINGS BY NAME
 *     NAME              VALUES                        DEFAULT   MEANING
 *     memory            from 1M                       64M       budget of the store
 *     max_entries       number, 0: none               0         second bound of the store
 *     max_value         1..2^30 - 1                   64M       largest value; unset: <= memory / 2
 *     eviction          adaptive s3fifo lru fifo      adaptive  eviction policy
 *     default_ttl       time                          never     TTL of entries without one
 *                       CACHE_DEFAULT_TIMEOUT                   the same, by another name
 *     negative_ttl      time                          60s       TTL of negative entries
 *     jitter            0%..100%, +n%, +-n%           10%       loads: less TTL; +: more; +-: both
 *     idle              to 49d, or never              0s        maximum time without use; 0s: none
 *     max_age           time                          0s        maximum age with idle; 0s: none
 *     stale             to 49d                        0s        stale window after the TTL
 *     key_prefix        1..64 bytes                             label in metrics, not in keys
 *                       CACHE_KEY_PREFIX                        the same, by another name
 *     key_version       from 1                                  version of the root namespace
 *                       CACHE_VERSION                           the same, by another name
 *     policy            1..1,023 bytes                          policy file: see POLICY FILES
 *     l2_path           1..1,023 bytes                          directory of the disk tier
 *     l2_bytes          16M..4T                                 size of its files
 *     l2_sync           manual periodic always        manual    what a power cut may take
 *     l2_write          eviction set through          eviction  when entries go to disk
 *     l2_close          time                          5s        limit of writing memory at close
 *     l2_optional       0 or 1                        0         1: open in memory without it
 *     enabled           0 or 1                        1         0: the program turns the cache off
 *     threads           0 or 1                        1         0: the program calls cellar_tick
 *     load_threads      1..64                         2         threads for background loads
 *     load_queue        1..65,536                     256       background loads that wait
 *     log               error warning info debug off  warning   least level that is logged
 *     log_keys          none hash prefix full         hash      how log lines name keys
 *     workers           1..64                         4         threads of a pool: work.workers
 *                       CELERY_WORKER_CONCURRENCY               the same, by another name
 *     tz                1..64 bytes                   UTC       zone of schedules: work.zone
 *                       CELERY_TIMEZONE                         the same, by another name
 *     refresh           1ms..366d                               refresh interval: work.refresh_ms
 *                       interval                                the same, by another name
 *     task_routes       {pattern: queue}                        queues of tasks: work.routes
 *                       CELERY_TASK_ROUTES                      the same, by another name
 *     resp_listen       address, or localhost                   address of a port: resp.listen
 *                       REDIS_HOST                              the same, by another name
 *     resp_port         1..65,535                               TCP port: resp.port
 *                       REDIS_PORT                              the same, by another name
 *     resp_password     1..256 bytes                            password: resp.password
 *                       REDIS_PASSWORD                          the same, by another name
 *     resp_max_clients  1..65,536                               most clients: resp.max_clients
 *                       REDIS_MAX_CONNECTIONS                   the same, by another name
 *     resp_buffer_bytes from 1M                                 client memory: resp.buffer_bytes
 *     resp_timeout      time                                    idle limit: resp.idle_timeout_ms
 *                       REDIS_SOCKET_TIMEOUT                    the same, by another name
 *     resp_admin_head   1k..1M                        16k       head of a request for admin pages
 *     resp_admin_body   0..1M                         0         body of a request, read and dropped
 * In the environment their names are CELLAR_MEMORY, CELLAR_MAX_ENTRIES and so on. */

/* Limits of settings. */
#define CELLAR_SETTINGS_PATH_MAX 1023u  /* bytes of a path                                        */
#define CELLAR_SETTINGS_TEXT_MAX 65536u /* bytes of a file                                        */

/* Settings for work in the background. The program hands them on: `workers` to
 * cellar_pool_config.workers, `zone` to cellar_schedule_spec, `refresh_ms` to cellar_refresh_add
 * as the interval of keys without one of their own, `routes` to cellar_pool_route:
 *     for (const char *p = s.work.routes, *queue; *p != 0; p = queue + strlen(queue) + 1) {
 *         queue = p + strlen(p) + 1;
 *         cellar_pool_route(pool, p, queue, NULL);
 *     }                                                                                          */
typedef struct cellar_work_settings {
    size_t   struct_size;       /* set by cellar_work_settings_default()                          */
    int64_t  refresh_ms;        /* interval of a refresh, ms. Range 1..366 days. 0: not set       */
    uint32_t workers;           /* threads of a pool. Range 1..64. 0: not set                     */
    uint32_t reserved0;         /* must be 0                                                      */
    char     zone[CELLAR_NAME_MAX + 8]; /* "": not set: UTC. Its first use checks it              */
    char     routes[CELLAR_SETTINGS_PATH_MAX + 1]; /* pairs of texts, pattern and queue; the last */
                                /* pair is followed by "". Default "": not set                    */
} cellar_work_settings;
CELLAR_STRUCT(cellar_work_settings, routes);

/* Longest password of cellar_resp_settings. */
#define CELLAR_RESP_PASSWORD_MAX 256u /* bytes of the password                                    */

/* Settings for a port: the program hands on what is set to the fields of cellar_resp_config. */
typedef struct cellar_resp_settings {
    size_t   struct_size;       /* set by cellar_resp_settings_default()                          */
    int64_t  idle_timeout_ms;   /* idle_timeout_ms of the port. Range 1..2^63 - 2 ms. 0: not set  */
    uint64_t buffer_bytes;      /* resp_buffer_bytes of the port. Range 1 MiB..2^64 - 1 bytes. 0: */
                                /* not set                                                        */
    uint32_t port;              /* TCP port of cellar_resp_config. Range 1..65,535. 0: not set    */
    uint32_t max_clients;       /* connections at a time, of cellar_resp_config. Range 1..65,536. */
                                /* 0: not set                                                     */
    char     listen[CELLAR_NAME_MAX + 8]; /* address to listen on. "": not set: both loopback     */
                                /* addresses                                                      */
    char     password[CELLAR_RESP_PASSWORD_MAX + 8]; /* password for AUTH. "": not set            */
    uint32_t admin_head_bytes;  /* admin_head_bytes of the port. Range 1 KiB..1 MiB. 0: not set   */
    uint32_t admin_body_bytes;  /* admin_body_bytes of the port. Range 1 byte..1 MiB. 0: not set  */
} cellar_resp_settings;
CELLAR_STRUCT(cellar_resp_settings, admin_body_bytes);

/* Storage for the options of a store. Do not copy it once a call has changed it: config points
 * into it. The program may change every field, and opens with cellar_settings_open. */
typedef struct cellar_settings {
    size_t   struct_size;       /* set by cellar_settings_default(); of this header exactly       */
    cellar_config         config; /* options of the store                                         */
    cellar_l2_config        l2; /* options of its disk tier                                       */
    cellar_host_config      host; /* what the host provides; without a log function the setting   */
                                /* `log` has no effect                                            */
    cellar_tuning_config    tuning; /* options of its tuning                                      */
    cellar_namespace_config root; /* options of its root namespace                                */
    cellar_work_settings  work; /* settings of a pool of tasks and of schedules                   */
    cellar_resp_settings  resp; /* settings of a port                                             */
    uint32_t disabled;          /* 1: the program sets CELLAR_OPT_ENABLED of its namespaces to 0. */
                                /* Default 0                                                      */
    uint32_t env_redis;         /* 1: cellar_settings_read takes REDIS_ names of the environment, */
                                /* too. Default 0                                                 */
    char     key_prefix[CELLAR_NAME_MAX + 8]; /* target of host.name                              */
    char     l2_path[CELLAR_SETTINGS_PATH_MAX + 1]; /* target of config.l2_path                   */
    char     policy_file[CELLAR_SETTINGS_PATH_MAX + 1]; /* "": none; see cellar_settings_open     */
} cellar_settings;
CELLAR_PACKED(cellar_settings, policy_file);

static inline cellar_settings cellar_settings_default(void)
{
    CELLAR_ZERO(cellar_settings, o);
    o.struct_size = sizeof(cellar_settings);
    o.config = cellar_config_default();
    o.l2 = cellar_l2_config_default();
    o.host = cellar_host_config_default();
    o.tuning = cellar_tuning_config_default();
    o.root = cellar_namespace_config_default();
    o.work = cellar_work_settings_default();
    o.resp = cellar_resp_settings_default();
    return o;
}

/* An error in settings or rules, a name without effect, or what correct rules probably get wrong.
 * No note has a value of a setting. */
typedef struct cellar_settings_note {
    cellar_log_level level; /* ERROR; WARNING (rules); INFO (settings)                            */
    uint32_t line;          /* from 1; 0: a variable of the environment, or the file itself       */
    uint32_t column;        /* from 1, in bytes; of a variable: in its value                      */
    const char *name;       /* of a setting, as it was written; "" = none                         */
    const char *text;       /* "FILE:line:column: error: name: message", or "NAME:column: ..."    */
} cellar_settings_note;

/* Receive one note of settings or rules.
 * in:      note: valid until the function returns, with its texts; ctx of the call
 * owns:    nothing is kept after the call has returned
 * thread:  the caller of cellar_settings_read, cellar_settings_open, cellar_policy_read or
 *          cellar_policy_reload, with no lock held; the function may block and call the library
 * cost:    the call waits for it                                                                 */
typedef void (*cellar_settings_note_fn)(const cellar_settings_note *note, void *ctx);

/* Read options of a store from a file, a text or the environment into `s`; see SETTINGS.
 *     name alone        the file of that name
 *     name and text     the text; notes call it by its name
 *     both NULL         the environment. No other call reads its variables. A value is the whole
 *                       variable: no quotes, no comments
 * in:      s from cellar_settings_default;
 *          name, text: see above; text of any bytes, or NULL if text_len is 0;
 *          fn, optional: gets each error, up to 100, and as many INFO notes; ctx: given to fn
 * out:     *s: what is set; unchanged on failure
 * returns: OK; E_CONFIG (an unknown name, a value of another kind or out of range, a name twice, an
 *          empty password, a control byte, more than 64 KiB), E_IO (the file cannot be read, a
 *          note says why), E_NOMEM, E_ABI (also: another struct_size)
 * owns:    the bytes are copied
 * thread:  any; one at a time for s; the environment: while no thread changes it
 * cost:    O(bytes), or a lookup for each name; 12 KiB of stack; a file: one allocation
 * example:
 *     cellar_settings s = cellar_settings_default();
 *     cellar_settings_read(&s, "app.conf", NULL, 0, print_note, NULL);
 *     // what the environment sets wins
 *     cellar_settings_read(&s, NULL, NULL, 0, print_note, NULL);                                 */
CELLAR_API cellar_err cellar_settings_read(cellar_settings *s, const char *name, const char *text,
                                           size_t text_len, cellar_settings_note_fn fn, void *ctx);

/* Open a store with these settings, as cellar_open. The rules of policy_file replace config.rules.
 * Groups that config does not point to are those of s.
 * in:      s: the settings; fn, optional: gets each error of policy_file; ctx: given to fn
 * out:     *out, NULL on failure
 * returns: OK; E_CONFIG (a rule or policy_file is wrong: notes and cellar_last_error name it), E_IO
 *          (policy_file cannot be read, or the disk tier cannot open), E_NOMEM, E_BUSY (another
 *          store uses l2_path), E_FOREIGN (l2_path holds files of another program), E_NEWER_FORMAT
 *          (l2_path has a newer format), E_CORRUPT (l2_path is damaged and was not set aside),
 *          E_UNSUPPORTED (l2_path is on a network file system, or l2_write THROUGH without l2_path)
 * owns:    as cellar_open; s is not needed any more after the return
 * thread:  any; one at a time for s
 * cost:    as cellar_open; reads policy_file
 * example:
 *     cellar_settings s = cellar_settings_default();
 *     cellar *store;
 *     cellar_err err =
 *         cellar_settings_read(&s, "app.conf", NULL, 0, NULL, NULL);
 *     if (err == CELLAR_OK)
 *         err = cellar_settings_open(&s, NULL, NULL, &store);                                    */
CELLAR_API cellar_err cellar_settings_open(const cellar_settings *s, cellar_settings_note_fn fn,
                                           void *ctx, cellar **out);

/* ---- Policy files --------------------------------------------------------------------------- */

/* POLICY FILES
 * A policy file holds rules of keys (KEY POLICIES in cellar_admin.h), one a line:
 *
 *     [users]
 *     set   default_ttl=2h negative=60s prefix="app:"
 *     key   user:{id}:info  ttl=30m jitter=10% tags=users
 *     glob  session:*       ttl=1h idle=10m ttl_max=2h
 *     no_l2 *secret*
 *     deny  *token*
 *
 * WORDS     A pattern or value with blanks stands in double quotes, with \" \\ \n \xHH. A # at the
 * start of a word begins a comment. Times need units: ms s m h d w, or "never". Control bytes are
 * errors, and no text has a NUL byte: a glob matches one by "?".
 *
 * OPTIONS   of a rule; those marked * also of a `set` line, where ttl is default_ttl:
 *     ttl=30m *  ttl_max=2h       ttl_ms, ttl_max_ms
 *     idle=10m *  max_age=1h *    idle_ms, max_age_ms
 *     jitter=10% *                TTL up to 10 % shorter; +10%: longer, +-10%: both
 *     negative=60s *  stale=5m *  negative_ttl_ms, stale_ms
 *     refresh=20m *               refresh_ms
 *     loader=name  priority=low   of scheduled refreshes; low, mid or high
 *     class=hot  tags=a,b         ttl_class, tags
 *     at=00:00@Europe/Paris       no entry lives beyond the next such moment
 *     no_l2 *                     never written to disk
 * quota_max=40%, the greatest share of the store, belongs into a `set` line, or on the rule glob *.
 * A `set` line also has prefix and separator.
 *
 * LIMITS    1 MiB, 4,096 rules and `set` lines, 1,024 bytes a pattern. */

/* A namespace that the program opens: cellar_policy_read compares rules with it. */
typedef struct cellar_policy_space {
    const char *name;                  /* as of cellar_namespace_open; "": the root               */
    const cellar_namespace_config *config; /* NULL: all defaults                                  */
} cellar_policy_space;

/* Options of cellar_policy_read. Start from cellar_policy_opts_default(). */
typedef struct cellar_policy_opts {
    size_t      struct_size; /* set by cellar_policy_opts_default()                               */
    const char *text;        /* the rules; path is only their name in notes. Default NULL: read   */
                             /* the file                                                          */
    size_t      text_len;    /* bytes of `text`                                                   */
    const cellar_policy_space *spaces; /* all namespaces: sections, TTL classes and loaders that  */
                             /* they lack are warnings. Default NULL: not compared                */
    uint32_t    space_count; /* number of `spaces`; 0 without them                                */
    uint32_t    lint;        /* 1: rules that are probably wrong are warnings. Default 0          */
} cellar_policy_opts;
CELLAR_STRUCT(cellar_policy_opts, lint);

/* Read rules from a file or a text, for cellar_config or cellar_policy_set.
 * in:      path of the file;
 *          o from cellar_policy_opts_default; NULL = all defaults;
 *          fn, optional: gets up to 100 errors, or after OK up to 100 warnings; ctx: given to fn
 * out:     *rules, with the lines of the file; *rule_count. NULL and 0 on failure
 * returns: OK; E_CONFIG (errors: notes name them, cellar_last_error of NULL the first one), E_IO
 *          (the file cannot be read: both say why), E_NOMEM
 * owns:    the caller frees *rules with cellar_free, also without rules. Their texts lie in them
 * thread:  any
 * cost:    O(file); with lint or spaces O(rules^2)
 * example:
 *     cellar_policy_rule *rules;
 *     err = cellar_policy_read("app.policy", NULL, NULL, NULL, &rules,
 *                              &cfg.rule_count);
 *     if (err == CELLAR_OK) {
 *         cfg.rules = rules;
 *         err = cellar_open(&cfg, &store);
 *         cellar_free(rules);
 *     }                                                                                          */
CELLAR_API cellar_err cellar_policy_read(const char *path, const cellar_policy_opts *o,
                                         cellar_settings_note_fn fn, void *ctx,
                                         cellar_policy_rule **rules, size_t *rule_count);

/* Put the rules of a policy file into force in place of the present ones.
 * in:      c: any handle of the store; path of the file;
 *          fn, optional: gets each error of the file; ctx: given to fn
 * returns: OK; E_CONFIG (a rule is wrong: notes and cellar_last_error name it), E_IO (the file
 *          cannot be read, a note says why), E_NOMEM, E_SPACE (memory_bytes has no room for it).
 *          After an error the present rules stay
 * thread:  any
 * cost:    reads the file, then as cellar_policy_set: O(rules x sections + namespaces)
 * example: cellar_policy_reload(c, "app.policy", NULL, NULL);                                    */
CELLAR_API cellar_err cellar_policy_reload(cellar *c, const char *path, cellar_settings_note_fn fn,
                                           void *ctx);

#ifdef __cplusplus
}
#endif
#endif
