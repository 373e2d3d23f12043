/* SPDX-License-Identifier: MIT
 *
 * cellar_kit: keys from parts and templates, typed values, boards, lists, LLM answers, embeddings,
 * texts without secrets.
 *
 * Unstable until 1.0: names and meanings may change. Refusals of these calls have no text in
 * cellar_last_error. */
#ifndef CELLAR_KIT_H
#define CELLAR_KIT_H

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

#define CELLAR_KEY_BUILT_MAX 200u /* bytes of a finished key */

/* A key under construction; begin with cellar_key_begin. Do not copy it. */
typedef struct cellar_key_builder {
    uint64_t opaque[86];
} cellar_key_builder;

/* Begin a key.
 * status:  unstable until 1.0
 * out:     *b: no parts
 * owns:    cellar_key_finish or cellar_key_discard ends the builder, which may hold memory
 * thread:  any; one at a time for a builder
 * cost:    O(1)
 * example:
 *     cellar_key_builder b;
 *     char key[CELLAR_KEY_BUILT_MAX];
 *     size_t len;
 *     cellar_key_begin(&b);
 *     cellar_key_add_text(&b, "weather");
 *     cellar_key_add_i64(&b, 7);
 *     cellar_key_finish(&b, key, sizeof key, &len);                                              */
CELLAR_API void cellar_key_begin(cellar_key_builder *b);

/* Add a part. The first error stays: cellar_key_finish returns it, so callers may check there.
 * status:  unstable until 1.0
 * in:      b begun; text and bytes as given: no case folding, no trimming. In a map a name and its
 *          value take turns, and the name is text or bytes
 * returns: OK; E_INVAL (NULL text, NaN, infinity, no name in a map), E_TOOBIG (16 MiB in all),
 *          E_LIMIT (65,536 parts), E_NOMEM
 * owns:    the bytes are copied
 * thread:  any; one at a time for a builder
 * cost:    O(len); one allocation when the key passes 480 bytes, one more for each doubling
 * example: cellar_key_add_f64(&b, 0.7);                                                          */
CELLAR_API cellar_err cellar_key_add_text(cellar_key_builder *b, const char *text);
CELLAR_API cellar_err cellar_key_add_bytes(cellar_key_builder *b, const void *data, size_t len);
CELLAR_API cellar_err cellar_key_add_i64(cellar_key_builder *b, int64_t x);
CELLAR_API cellar_err cellar_key_add_u64(cellar_key_builder *b, uint64_t x);
CELLAR_API cellar_err cellar_key_add_f64(cellar_key_builder *b, double x);
CELLAR_API cellar_err cellar_key_add_bool(cellar_key_builder *b, bool x);
CELLAR_API cellar_err cellar_key_add_null(cellar_key_builder *b);

/* Begin a list or a map as the next part; the parts that follow belong to it until cellar_key_end.
 * status:  unstable until 1.0
 * in:      b begun
 * returns: as cellar_key_add_text; E_LIMIT also: 8 open lists and maps, 256 entries of a map
 * thread:  any; one at a time for a builder
 * cost:    O(1)
 * example: cellar_key_add_map(&b);                                                               */
CELLAR_API cellar_err cellar_key_add_list(cellar_key_builder *b);
CELLAR_API cellar_err cellar_key_add_map(cellar_key_builder *b);

/* End the list or map begun last. The entries of a map are sorted by name.
 * status:  unstable until 1.0
 * in:      b with an open list or map
 * returns: OK; E_INVAL (none is open, a name without value, a name twice), E_TOOBIG, E_NOMEM
 * thread:  any; one at a time for a builder
 * cost:    O(bytes of the list or map)
 * example: cellar_key_end(&b);                                                                   */
CELLAR_API cellar_err cellar_key_end(cellar_key_builder *b);

/* Write the key and end the builder.
 * status:  unstable until 1.0
 * in:      b with one part or more; buf_cap 0 asks for the length (buf may be NULL)
 * out:     *key_len; optional. The builder has no parts, except after E_BUFFER
 * returns: OK; the first error of the builder; E_BUFFER (*key_len set; nothing is lost), E_INVAL
 *          (no part, or an open list or map)
 * owns:    frees the memory of the builder, except after E_BUFFER
 * thread:  any; one at a time for a builder
 * cost:    O(bytes of all parts); SHA-256 above CELLAR_KEY_BUILT_MAX bytes
 * example: cellar_key_finish(&b, key, sizeof key, &len);                                         */
CELLAR_API cellar_err cellar_key_finish(cellar_key_builder *b, void *buf, size_t buf_cap,
                                        size_t *key_len);

/* Forget the parts and free the memory of a builder.
 * status:  unstable until 1.0
 * in:      b begun; NULL is fine
 * out:     *b: no parts
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

#define CELLAR_TEMPLATE_MAX        255u /* bytes of prefix and literals                           */
#define CELLAR_TEMPLATE_VALUES_MAX 16u  /* placeholders of a template                             */

/* A compiled template. It holds no memory and may be copied. */
typedef struct cellar_template {
    uint64_t opaque[44];
} cellar_template;

/* Compile a template.
 * status:  unstable until 1.0
 * in:      prefix without braces, NULL or "": none. Prefix and text are joined by one ':', whether
 *          they have one there or not. text: literals and {names}; the names are for readers
 * out:     *out; all zero on failure
 * returns: OK; E_INVAL (empty text, a brace without partner, an empty name, no literal between two
 *          placeholders, '%' behind a placeholder), E_TOOBIG, E_LIMIT (too many placeholders)
 * owns:    the text is copied
 * thread:  any
 * cost:    O(bytes); no allocation
 * example:
 *     cellar_template t;
 *     cellar_template_compile("app", "project:{id}:stats", &t);                                  */
CELLAR_API cellar_err cellar_template_compile(const char *prefix, const char *text,
                                              cellar_template *out);

/* Write the key of these values.
 * status:  unstable until 1.0
 * in:      t compiled; one value for each placeholder, in order; buf_cap 0 asks for the length
 * out:     *key_len the full length; optional
 * returns: OK; E_BUFFER (*key_len set), E_INVAL (another number of values, a key of 0 or over
 *          CELLAR_KEY_MAX bytes)
 * owns:    nothing changes hands; the key is not terminated
 * thread:  any
 * cost:    O(bytes); no allocation
 * example:
 *     cellar_bytes id = {"7", 1};
 *     cellar_template_key(&t, &id, 1, key, sizeof key, &len);                                    */
CELLAR_API cellar_err cellar_template_key(const cellar_template *t, const cellar_bytes *values,
                                          size_t value_count, void *buf, size_t buf_cap,
                                          size_t *key_len);

/* Read the values back from a key.
 * status:  unstable until 1.0
 * in:      t compiled; key of any origin; room for one value for each placeholder; buf for their
 *          bytes, as long as the key at most
 * out:     values
 * returns: OK; MISS (not a key of this template), E_BUFFER
 * owns:    values are borrowed from buf; they are not terminated
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

/* Store a number or a vector, little-endian: 8 bytes, or 4 bytes for each float.
 * status:  unstable until 1.0
 * in:      key; x; o as in cellar_set. An int64 is a counter of cellar_increment
 * returns: as cellar_set; E_NOMEM also: no memory to convert over 256 floats
 * owns:    the numbers are copied
 * thread:  any; atomic per key
 * cost:    as cellar_set
 * example: cellar_set_i64(c, "k", 1, 42, NULL);                                                  */
CELLAR_API cellar_err cellar_set_i64(cellar *c, const void *key, size_t key_len, int64_t x,
                                     const cellar_set_opts *o);
CELLAR_API cellar_err cellar_set_f64(cellar *c, const void *key, size_t key_len, double x,
                                     const cellar_set_opts *o);
CELLAR_API cellar_err cellar_set_f32s(cellar *c, const void *key, size_t key_len, const float *x,
                                      size_t count, const cellar_set_opts *o);

/* Read a number or a vector.
 * status:  unstable until 1.0
 * in:      key; out_cap 0 asks for the number of floats (out may be NULL)
 * out:     *out, 0 unless OK; *count the number of floats, also with E_BUFFER; optional
 * returns: as cellar_get; E_TYPE (not 8 bytes; bytes no multiple of 4)
 * owns:    nothing changes hands
 * thread:  any
 * cost:    as cellar_get
 * example:
 *     int64_t x;
 *     cellar_get_i64(c, "k", 1, &x);                                                             */
CELLAR_API cellar_err cellar_get_i64(cellar *c, const void *key, size_t key_len, int64_t *out);
CELLAR_API cellar_err cellar_get_f64(cellar *c, const void *key, size_t key_len, double *out);
CELLAR_API cellar_err cellar_get_f32s(cellar *c, const void *key, size_t key_len, float *out,
                                      size_t out_cap, size_t *count);

/* ---- Boards and lists ------------------------------------------------------------------------ */

/* BOARDS AND LISTS
 * A board keeps the best members by score, a list the newest items. Each is the value of one
 * ordinary entry, so it has TTL, tags, disk tier and eviction like any other. A change rewrites the
 * value, atomically against every other writer. A value that is no board or list is E_TYPE, and
 * stays as it is. */

#define CELLAR_BOARD_MAX 10000u /* places of a board */
#define CELLAR_LIST_MAX  10000u /* items of a list   */

/* A place of a board. */
typedef struct cellar_board_place {
    cellar_bytes member;
    double       score;
} cellar_board_place;

/* Give a member a score, or add to its score; a new member begins at 0. The member behind the last
 * place leaves the board. Equal scores are ordered by the bytes of the member.
 * status:  unstable until 1.0
 * in:      key; member of 1..65,535 bytes; score not NaN; cap 1..CELLAR_BOARD_MAX places; o as in
 *          cellar_update
 * out:     *score the new score, with OK and DROPPED; optional
 * returns: OK; DROPPED (the member itself stands behind the last place); E_TYPE, E_RANGE (infinity
 *          less infinity); as cellar_update
 * owns:    the bytes are copied
 * thread:  any; atomic
 * cost:    O(bytes of the board)
 * example: cellar_board_put(c, "top", 3, member, 17.5, 100, NULL);                               */
CELLAR_API cellar_err cellar_board_put(cellar *c, const void *key, size_t key_len,
                                       cellar_bytes member, double score, uint32_t cap,
                                       const cellar_set_opts *o);
CELLAR_API cellar_err cellar_board_add(cellar *c, const void *key, size_t key_len,
                                       cellar_bytes member, double delta, uint32_t cap,
                                       const cellar_set_opts *o, double *score);

/* Remove a member. The last one takes the entry with it.
 * status:  unstable until 1.0
 * in:      key; member
 * returns: OK; MISS (no such member, no board); E_TYPE; as cellar_update
 * thread:  any; atomic; the entry keeps its TTL
 * cost:    O(bytes of the board)
 * example: cellar_board_remove(c, "top", 3, member);                                             */
CELLAR_API cellar_err cellar_board_remove(cellar *c, const void *key, size_t key_len,
                                          cellar_bytes member);

/* Read places of a board, the best first.
 * status:  unstable until 1.0
 * in:      key; first place, from 0; out of out_cap places
 * out:     *count places; *block, NULL on failure
 * returns: OK (also with *count 0), MISS, ABSENT; E_TYPE, E_NOMEM
 * owns:    members are borrowed from *block, which the caller frees with cellar_free
 * thread:  any
 * cost:    O(bytes of the board); one allocation
 * example:
 *     cellar_board_place top[10];
 *     uint32_t n;
 *     void *block;
 *     if (cellar_board_top(c, "top", 3, 0, top, 10, &n, &block) == CELLAR_OK)
 *         cellar_free(block);                                                                    */
CELLAR_API cellar_err cellar_board_top(cellar *c, const void *key, size_t key_len, uint32_t first,
                                       cellar_board_place *out, uint32_t out_cap, uint32_t *count,
                                       void **block);

/* Find the rank and the score of a member.
 * status:  unstable until 1.0
 * in:      key; member
 * out:     *rank from 1, *score; 0 unless OK; both optional
 * returns: OK; MISS (no such member, no board), ABSENT; E_TYPE, E_NOMEM
 * thread:  any
 * cost:    O(bytes of the board); one allocation
 * example:
 *     uint32_t rank;
 *     cellar_board_rank(c, "top", 3, member, &rank, NULL);                                       */
CELLAR_API cellar_err cellar_board_rank(cellar *c, const void *key, size_t key_len,
                                        cellar_bytes member, uint32_t *rank, double *score);

/* Add items to a list; the last one given is the newest. The oldest items beyond `cap` leave.
 * status:  unstable until 1.0
 * in:      key; items, one or more; cap 1..CELLAR_LIST_MAX; o as in cellar_update
 * out:     *count items afterwards; optional
 * returns: OK; E_TYPE; as cellar_update
 * owns:    the bytes are copied
 * thread:  any; atomic
 * cost:    O(bytes of the list)
 * example: cellar_list_push(c, "news", 4, &item, 1, 20, NULL, NULL);                             */
CELLAR_API cellar_err cellar_list_push(cellar *c, const void *key, size_t key_len,
                                       const cellar_bytes *items, size_t item_count, uint32_t cap,
                                       const cellar_set_opts *o, uint32_t *count);

/* Keep only the newest items of a list; 0 removes the entry.
 * status:  unstable until 1.0
 * in:      key; keep 0..CELLAR_LIST_MAX
 * returns: OK; MISS (no list); E_TYPE; as cellar_update
 * thread:  any; atomic; the entry keeps its TTL
 * cost:    O(bytes of the list)
 * example: cellar_list_trim(c, "news", 4, 5);                                                    */
CELLAR_API cellar_err cellar_list_trim(cellar *c, const void *key, size_t key_len, uint32_t keep);

/* Read items of a list, the newest first.
 * status:  unstable until 1.0
 * in:      key; first item, from 0; out of out_cap items
 * out:     *count items; *length of the whole list, optional; *block, NULL on failure
 * returns: OK (also with *count 0), MISS, ABSENT; E_TYPE, E_NOMEM
 * owns:    items are borrowed from *block, which the caller frees with cellar_free
 * thread:  any
 * cost:    O(bytes of the list); one allocation
 * example:
 *     cellar_bytes news[20];
 *     uint32_t n;
 *     void *block;
 *     if (cellar_list_range(c, "news", 4, 0, news, 20, &n, NULL, &block) == CELLAR_OK)
 *         cellar_free(block);                                                                    */
CELLAR_API cellar_err cellar_list_range(cellar *c, const void *key, size_t key_len, uint32_t first,
                                        cellar_bytes *out, uint32_t out_cap, uint32_t *count,
                                        uint32_t *length, void **block);

/* ---- Options of loads ------------------------------------------------------------------------ */

/* Return options for the cache of a service: an hour, 10 % shorter or longer; "absent" for one
 * minute; one loader for a key at a time. To leave one out: jitter_pct = CELLAR_OFF, flags |=
 * CELLAR_LOAD_NO_JOIN, flags |= CELLAR_LOAD_NO_NEGATIVE. */
static inline cellar_load_opts cellar_load_opts_manager(void)
{
    cellar_load_opts o = cellar_load_opts_default();
    o.ttl_ms = 3600000;
    o.negative_ttl_ms = 60000;
    o.jitter_pct = 10;
    o.jitter_mode = CELLAR_JITTER_PLUSMINUS;
    return o;
}

/* Return options for the results of a module: five minutes, up to 10 % longer, "absent" as long. */
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
 * a key at a time. Only a complete answer is stored; a joined call gets any answer. */

typedef struct cellar_llm_message {
    cellar_bytes role;
    cellar_bytes name;       /* data NULL = absent, also below                                    */
    cellar_bytes content;    /* as sent: text, or its parts                                       */
    cellar_bytes tool_calls; /* as sent                                                           */
} cellar_llm_message;

typedef struct cellar_llm_param {
    const char *name;        /* temperature, top_p, seed, stop, ...                               */
    cellar_arg  value;       /* CELLAR_ARG(0.7); a structure as sent: text                        */
} cellar_llm_param;

#define CELLAR_LLM_SHARED 1u /* the answer does not depend on the tenant                          */

typedef struct cellar_llm_request {
    size_t       struct_size; /* set by cellar_llm_request_default()                              */
    cellar_bytes scope;       /* a name of the caller's choice                                    */
    cellar_bytes tenant;      /* the credential; the key has its SHA-256. Without it SHARED must  */
                              /* be set                                                           */
    cellar_bytes provider;    /* or the address of the service                                    */
    cellar_bytes model;
    const cellar_llm_message *messages; /* with message_count; or prompt                          */
    size_t       message_count;
    cellar_bytes prompt;
    cellar_bytes tools;       /* as sent                                                          */
    cellar_bytes response_format; /* as sent                                                      */
    const cellar_llm_param *params; /* each name once; the order does not matter                  */
    size_t       param_count; /* 0..256                                                           */
    uint32_t     bucket;      /* one of several answers to the same request                       */
    uint32_t     flags;       /* CELLAR_LLM_SHARED                                                */
} cellar_llm_request;
CELLAR_STRUCT(cellar_llm_request, flags);

/* What an answer took. 0 = not known. */
typedef struct cellar_llm_usage {
    size_t   struct_size;     /* set by cellar_llm_usage_default()                                */
    uint32_t tokens_in;
    uint32_t tokens_out;
    uint32_t upstream_ms;
    uint32_t complete;        /* 1: a finish reason was seen; else the answer is not stored       */
    uint64_t cost;            /* millionths of the caller's currency                              */
} cellar_llm_usage;
CELLAR_STRUCT(cellar_llm_usage, cost);

typedef struct cellar_llm_answer {
    size_t        struct_size; /* set by cellar_llm_answer_default()                              */
    cellar_result *result;     /* in: from cellar_result_default(); it owns the text              */
    const char   *text;        /* not terminated                                                  */
    size_t        text_len;
    uint32_t      tokens_in;   /* what the answer took when it was made                           */
    uint32_t      tokens_out;
    uint32_t      upstream_ms;
    uint32_t      complete;
    uint64_t      cost;
} cellar_llm_answer;
CELLAR_STRUCT(cellar_llm_answer, cost);

/* Which requests are cached. */
typedef enum cellar_llm_mode {
    CELLAR_LLM_ALWAYS = 0,
    CELLAR_LLM_DETERMINISTIC = 1, /* with temperature 0 or a seed */
    CELLAR_LLM_NEVER = 2
} cellar_llm_mode;

typedef struct cellar_llm_opts {
    size_t   struct_size;     /* set by cellar_llm_opts_default()                                 */
    const cellar_load_opts *load; /* TTL and the like; NULL = of the namespace; copied. Its ctx   */
                              /* options must be 0                                                */
    cellar_llm_mode mode;
    uint32_t reserved0;       /* must be 0                                                        */
} cellar_llm_opts;
CELLAR_STRUCT(cellar_llm_opts, reserved0);

/* What calls through one handle took and saved. Saved is what cached and joined answers took when
 * they were made. */
typedef struct cellar_llm_stats {
    size_t   struct_size;     /* set by cellar_llm_stats_default()                                */
    uint64_t answers;         /* answers in all                                                   */
    uint64_t calls;           /* of these: made by this call                                      */
    uint64_t saved_tokens_in;
    uint64_t saved_tokens_out;
    uint64_t saved_ms;
    uint64_t saved_cost;
} cellar_llm_stats;
CELLAR_STRUCT(cellar_llm_stats, saved_cost);

typedef struct cellar_llm cellar_llm;

/* Send the request, and set the answer with cellar_llm_set_answer. Runs like a loader. */
typedef cellar_err (*cellar_llm_fn)(cellar_load *load, const cellar_llm_request *req, void *ctx);

/* Write the key of a request.
 * status:  unstable until 1.0
 * in:      req; buf_cap 0 asks for the length (buf may be NULL)
 * out:     *key_len, at most CELLAR_KEY_BUILT_MAX; optional
 * returns: OK; E_BUFFER (*key_len set), E_INVAL (no model; messages and prompt, or neither; no
 *          tenant without CELLAR_LLM_SHARED; NaN; a parameter twice), E_TOOBIG (16 MiB), E_LIMIT
 *          (over 256 parameters, 65,536 parts), E_NOMEM
 * owns:    nothing changes hands
 * thread:  any
 * cost:    O(bytes of the request), with one SHA-256 of them; an allocation over 480 bytes
 * example: cellar_llm_key(&req, key, sizeof key, &len);                                          */
CELLAR_API cellar_err cellar_llm_key(const cellar_llm_request *req, void *buf, size_t buf_cap,
                                     size_t *key_len);

/* Open a handle for LLM answers in a namespace.
 * status:  unstable until 1.0
 * in:      c; o NULL = defaults
 * out:     *out, NULL on failure
 * returns: OK; E_NOMEM
 * owns:    the caller closes *out before c
 * thread:  any
 * cost:    one allocation
 * example: cellar_llm_open(c, NULL, &llm);                                                       */
CELLAR_API cellar_err cellar_llm_open(cellar *c, const cellar_llm_opts *o, cellar_llm **out);

/* Close a handle. The entries stay.
 * status:  unstable until 1.0
 * in:      no call of the handle is running; NULL is fine
 * thread:  any
 * cost:    one free
 * example: cellar_llm_close(llm);                                                                */
CELLAR_API void cellar_llm_close(cellar_llm *llm);

/* Return the answer to a request; call `fn` for it if it is missing.
 * status:  unstable until 1.0
 * in:      req, as cellar_llm_key; fn; answer->result
 * out:     *answer, *answer->result
 * returns: as cellar_get_or_load and cellar_llm_key; E_TYPE (fn set no answer, but a value)
 * owns:    the caller frees *answer->result with cellar_result_free
 * thread:  as cellar_get_or_load
 * cost:    as cellar_get_or_load and cellar_llm_key
 * example:
 *     cellar_result r = cellar_result_default();
 *     cellar_llm_answer a = cellar_llm_answer_default();
 *     a.result = &r;
 *     if (cellar_llm_get_or_call(llm, &req, ask, NULL, &a) == CELLAR_OK)
 *         fwrite(a.text, 1, a.text_len, stdout);
 *     cellar_result_free(&r);                                                                    */
CELLAR_API cellar_err cellar_llm_get_or_call(cellar_llm *llm, const cellar_llm_request *req,
                                             cellar_llm_fn fn, void *ctx,
                                             cellar_llm_answer *answer);

/* Set the answer of the running call. An empty answer is an answer.
 * status:  unstable until 1.0
 * in:      load of the running cellar_llm_fn; text NULL with text_len 0; usage NULL = incomplete
 * returns: as cellar_load_value
 * owns:    the bytes are copied
 * thread:  the thread that runs the cellar_llm_fn
 * cost:    one allocation and a copy
 * example: cellar_llm_set_answer(load, "yes", 3, &usage);                                        */
CELLAR_API cellar_err cellar_llm_set_answer(cellar_load *load, const char *text, size_t text_len,
                                            const cellar_llm_usage *usage);

/* Read what the calls of a handle took and saved.
 * status:  unstable until 1.0
 * out:     *out
 * returns: OK
 * thread:  any
 * cost:    O(1)
 * example: cellar_llm_stats_get(llm, &stats);                                                    */
CELLAR_API cellar_err cellar_llm_stats_get(cellar_llm *llm, cellar_llm_stats *out);

/* ---- Embeddings ------------------------------------------------------------------------------ */

/* EMBEDDINGS
 * A batch of texts is looked up, and one call of the loader makes the vectors that are missing,
 * each text once. Vectors are stored as binary numbers: a vector of 1,536 floats takes 6,152 bytes,
 * about a fifth of its JSON text. F16 halves that, I8 quarters it; both lose precision. */

typedef enum cellar_vector_type {
    CELLAR_VECTOR_F32 = 1,
    CELLAR_VECTOR_F16 = 2, /* IEEE 754 binary16 */
    CELLAR_VECTOR_I8 = 3   /* 8 bits and one scale for the vector */
} cellar_vector_type;

typedef struct cellar_embeddings_opts {
    size_t       struct_size; /* set by cellar_embeddings_opts_default()                          */
    cellar_bytes scope;       /* a name of the caller's choice; copied, also below                */
    cellar_bytes tenant;      /* the key has its SHA-256; data NULL: shared by all tenants        */
    cellar_bytes model;       /* 1 byte or more                                                   */
    const cellar_load_opts *load; /* TTL and the like; NULL = of the namespace; copied. Its ctx   */
                              /* options must be 0                                                */
    uint32_t     dim;         /* numbers of a vector. Range 1..65,536                             */
    cellar_vector_type type;  /* Default F32                                                      */
    uint32_t     max_batch;   /* texts of one call of the loader. Range 1..4,096. Default 256     */
    uint32_t     reserved0;   /* must be 0                                                        */
} cellar_embeddings_opts;
CELLAR_STRUCT(cellar_embeddings_opts, reserved0);

typedef struct cellar_embeddings cellar_embeddings;
typedef struct cellar_embeddings_call cellar_embeddings_call; /* one call of a loader */

/* Make the vectors of these texts, all different, and set each with cellar_embeddings_set. A code
 * but OK fails the texts without a vector, and ends the batch. */
typedef cellar_err (*cellar_embeddings_fn)(cellar_embeddings_call *call, const cellar_bytes *texts,
                                           size_t count, void *ctx);

/* Open a handle for embeddings in a namespace.
 * status:  unstable until 1.0
 * in:      c; o with model and dim
 * out:     *out, NULL on failure
 * returns: OK; E_NOMEM
 * owns:    the caller closes *out before c
 * thread:  any
 * cost:    one allocation
 * example:
 *     cellar_embeddings_opts o = cellar_embeddings_opts_default();
 *     o.model.data = "small", o.model.len = 5, o.dim = 1536;
 *     cellar_embeddings_open(c, &o, &e);                                                         */
CELLAR_API cellar_err cellar_embeddings_open(cellar *c, const cellar_embeddings_opts *o,
                                             cellar_embeddings **out);

/* Close a handle. The entries stay.
 * status:  unstable until 1.0
 * in:      no call of the handle is running; NULL is fine
 * thread:  any
 * cost:    one free
 * example: cellar_embeddings_close(e);                                                           */
CELLAR_API void cellar_embeddings_close(cellar_embeddings *e);

/* Return the vectors of many texts; call `fn` for those that are missing.
 * status:  unstable until 1.0
 * in:      texts, 1 to 2^20, equal ones are fine; fn
 * out:     out, dim floats for each text in its order, unchanged where status is no success;
 *          status, the code of cellar_get_or_load for each text; E_LOADER also: no vector, another
 *          dimension, NaN or infinity
 * returns: OK (look at status); E_INVAL, E_TOOBIG (a text, or too many), E_NOMEM (nothing done)
 * owns:    nothing changes hands
 * thread:  as cellar_get_or_load_many
 * cost:    as cellar_get_or_load_many, and a key for each text; about 400 bytes a text allocated
 * example: cellar_embeddings_get_many(e, texts, n, embed, NULL, vectors, status);                */
CELLAR_API cellar_err cellar_embeddings_get_many(cellar_embeddings *e, const cellar_bytes *texts,
                                                 size_t count, cellar_embeddings_fn fn, void *ctx,
                                                 float *out, cellar_err *status);

/* Set one vector of a running call.
 * status:  unstable until 1.0
 * in:      call of the running loader; index of the text; vector of dim floats
 * returns: OK; E_INVAL (an index that is none; another dimension, NaN or infinity: this text
 *          fails), E_RESULT_TWICE, E_TOOBIG, E_NOMEM
 * owns:    the numbers are copied
 * thread:  the thread that runs the loader
 * cost:    O(dim)
 * example: cellar_embeddings_set(call, 0, vector, 1536);                                         */
CELLAR_API cellar_err cellar_embeddings_set(cellar_embeddings_call *call, size_t index,
                                            const float *vector, size_t dim);

/* ---- Texts without secrets ------------------------------------------------------------------- */

/* Copy a text and mask what looks like a secret: the values of authorization, proxy-authorization,
 * cookie, set-cookie, x-api-key, api-key, api_key, apikey, token, access_token, secret and password
 * behind ':' or '='; words that begin with "sk-"; the word behind "Bearer"; user and password of a
 * URL. A mask is "***", behind the first three bytes of a secret of eight bytes or more.
 * status:  unstable until 1.0
 * in:      text of any bytes; out_cap 0 asks for the length (out may be NULL)
 * out:     as much as fits, terminated
 * returns: the full length without the zero byte; at most len and 6 bytes for each mask
 * thread:  any
 * cost:    O(len); no allocation
 * example: cellar_redact("token=abcdefghij", 16, line, sizeof line);                             */
CELLAR_API size_t cellar_redact(const char *text, size_t len, char *out, size_t out_cap);

#ifdef __cplusplus
}
#endif
#endif
