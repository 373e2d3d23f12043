/* SPDX-License-Identifier: MIT
 *
 * llm: answers of language models, by everything that changes them.
 *
 * FORMAT     u16 1, u16 flags (1 complete), u32 tokens in, u32 tokens out, u32 milliseconds, u64
 *            cost; the answer. Little-endian.
 * INVARIANTS Only complete answers are stored. A stored value that is no answer is loaded again. */
#include "cellar_kit.h"

#include "base/atomic.h"
#include "base/mem.h"
#include "base/opts.h"
#include "base/sha256.h"
#include "kit/bytes.h"

#include <string.h>

BASE_SIZE_BEGIN

#define KIT_LLM_HEAD 24u
#define KIT_LLM_COMPLETE 1u

struct cellar_llm {
    cellar *c;
    cellar_load_opts load;
    cellar_llm_mode mode;
    _Atomic uint64_t answers, calls, saved_in, saved_out, saved_ms, saved_cost;
};

/* ---- keys ---- */

static cellar_err kit_llm_add(cellar_key_builder *b, cellar_bytes x)
{
    return cellar_key_add(b, x.data == NULL ? cellar_arg_null() : cellar_arg_bytes(x));
}

static void kit_llm_add_tenant(cellar_key_builder *b, cellar_bytes tenant, bool shared)
{
    unsigned char digest[32];
    if (shared) {
        (void)cellar_key_add(b, cellar_arg_null());
        return;
    }
    base_sha256 sha;
    base_sha256_init(&sha);
    base_sha256_add(&sha, tenant.data, tenant.len);
    base_sha256_end(&sha, digest);
    (void)kit_llm_add(b, (cellar_bytes){ digest, sizeof digest });
}

static void kit_llm_add_messages(cellar_key_builder *b, const cellar_llm_request *r)
{
    (void)cellar_key_add(b, cellar_arg_list());
    for (size_t i = 0; i < r->message_count; i++) {
        const cellar_llm_message *m = &r->messages[i];
        (void)cellar_key_add(b, cellar_arg_list());
        (void)kit_llm_add(b, m->role);
        (void)kit_llm_add(b, m->name);
        (void)kit_llm_add(b, m->content);
        (void)kit_llm_add(b, m->tool_calls);
        (void)cellar_key_end(b);
    }
    (void)cellar_key_end(b);
}

static bool kit_llm_ignored(const char *name)
{
    static const char *const names[] = { "stream", "stream_options", "user", "metadata", "store" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0) { return true; }
    }
    return false;
}

static cellar_err kit_llm_add_params(cellar_key_builder *b, const cellar_llm_request *r)
{
    (void)cellar_key_add(b, cellar_arg_map());
    for (size_t i = 0; i < r->param_count; i++) {
        const cellar_llm_param *p = &r->params[i];
        if (p->name == NULL || p->name[0] == '\0') { return CELLAR_E_INVAL; }
        if (kit_llm_ignored(p->name)) { continue; }
        (void)cellar_key_add(b, cellar_arg_text(p->name));
        const cellar_arg_type type = p->value.type;
        const bool bytes = type == CELLAR_ARG_TEXT || type == CELLAR_ARG_BYTES;
        if (type == CELLAR_ARG_LIST || type == CELLAR_ARG_MAP) { return CELLAR_E_INVAL; }
        (void)(bytes ? kit_llm_add(b, p->value.as.bytes) : cellar_key_add(b, p->value));
    }
    return cellar_key_end(b);
}

static cellar_err kit_llm_read(const cellar_llm_request *req, cellar_llm_request *out)
{
    if (req == NULL) { return CELLAR_E_INVAL; }
    const cellar_err err = base_opts_in(out, sizeof *out, req);
    if (err != CELLAR_OK) { return err; }
    if ((out->flags & ~CELLAR_LLM_SHARED) != 0) { return CELLAR_E_UNSUPPORTED; }
    const bool shared = (out->flags & CELLAR_LLM_SHARED) != 0;
    const bool messages = out->message_count != 0, prompt = out->prompt.data != NULL;
    return out->model.data == NULL || out->model.len == 0 || messages == prompt ||
                   (messages && out->messages == NULL) ||
                   (!shared && (out->tenant.data == NULL || out->tenant.len == 0)) ||
                   (out->params == NULL && out->param_count != 0)
               ? CELLAR_E_INVAL
               : CELLAR_OK;
}

static cellar_err kit_llm_key(const cellar_llm_request *r, void *buf, size_t cap, size_t *len)
{
    cellar_key_builder b;
    cellar_key_begin(&b);
    (void)cellar_key_add(&b, CELLAR_ARG("llm1"));
    (void)kit_llm_add(&b, r->scope);
    kit_llm_add_tenant(&b, r->tenant, (r->flags & CELLAR_LLM_SHARED) != 0);
    (void)kit_llm_add(&b, r->provider);
    (void)kit_llm_add(&b, r->model);
    if (r->message_count != 0) {
        kit_llm_add_messages(&b, r);
    } else {
        (void)kit_llm_add(&b, r->prompt);
    }
    (void)kit_llm_add(&b, r->tools);
    (void)kit_llm_add(&b, r->response_format);
    cellar_err err = kit_llm_add_params(&b, r);
    if (err == CELLAR_OK) { err = cellar_key_add(&b, cellar_arg_u64(r->bucket)); }
    if (err == CELLAR_OK) { err = cellar_key_finish(&b, buf, cap, len); }
    cellar_key_discard(&b);
    return err;
}

CELLAR_API cellar_err cellar_llm_key(const cellar_llm_request *req, void *buf, size_t buf_cap,
                                     size_t *key_len)
{
    cellar_llm_request r;
    if (key_len != NULL) { *key_len = 0; }
    const cellar_err err = kit_llm_read(req, &r);
    return err == CELLAR_OK ? kit_llm_key(&r, buf, buf_cap, key_len) : err;
}

/* ---- answers ---- */

CELLAR_API cellar_err cellar_llm_open(cellar *c, const cellar_llm_config *o, cellar_llm **out)
{
    if (out != NULL) { *out = NULL; }
    if (c == NULL || out == NULL) { return CELLAR_E_INVAL; }
    cellar_llm_config full = cellar_llm_config_default();
    cellar_load_opts load = cellar_load_opts_default();
    cellar_err err = o != NULL ? base_opts_in(&full, sizeof full, o) : CELLAR_OK;
    if (err == CELLAR_OK && full.load != NULL) {
        err = base_opts_in(&load, sizeof load, full.load);
    }
    if (err != CELLAR_OK) { return err; }
    if (full.reserved0 != 0) { return CELLAR_E_UNSUPPORTED; }
    if (full.mode < CELLAR_LLM_ALWAYS || full.mode > CELLAR_LLM_NEVER || load.ctx_bytes != 0 ||
        load.ctx_retain != NULL || (load.flags & CELLAR_LOAD_CTX_STATIC) != 0) {
        return CELLAR_E_INVAL;
    }
    cellar_llm *llm = base_alloc_raw(NULL, sizeof *llm);
    if (llm == NULL) { return CELLAR_E_NOMEM; }
    *llm = (cellar_llm){ .c = c, .load = load, .mode = full.mode };
    *out = llm;
    return CELLAR_OK;
}

CELLAR_API void cellar_llm_close(cellar_llm *llm)
{
    if (llm != NULL) { base_free_raw(NULL, llm, sizeof *llm); }
}

CELLAR_API cellar_err cellar_llm_set_answer(cellar_load *load, const char *text, size_t text_len,
                                            const cellar_llm_usage *usage)
{
    if (load == NULL || (text == NULL && text_len != 0)) { return CELLAR_E_INVAL; }
    if (text_len > CELLAR_VALUE_MAX - KIT_LLM_HEAD) { return CELLAR_E_TOOBIG; }
    cellar_llm_usage u = cellar_llm_usage_default();
    void *block = NULL;
    cellar_err err = usage != NULL ? base_opts_in(&u, sizeof u, usage) : CELLAR_OK;
    if (err != CELLAR_OK) { return err; }
    cellar_buf *b = cellar_load_buf(load);
    if (b == NULL) { return CELLAR_E_NOMEM; }
    err = cellar_buf_resize(b, KIT_LLM_HEAD + text_len, &block);
    if (err != CELLAR_OK) { return err; }
    unsigned char *p = block;
    kit_w16(p, 1);
    kit_w16(p + 2, u.complete != 0 ? KIT_LLM_COMPLETE : 0);
    kit_w32(p + 4, u.tokens_in);
    kit_w32(p + 8, u.tokens_out);
    kit_w32(p + 12, u.upstream_ms);
    kit_w64(p + 16, u.cost);
    if (text_len != 0) { memcpy(p + KIT_LLM_HEAD, text, text_len); }
    if (u.complete != 0) { return CELLAR_OK; }
    cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_NO_STORE };
    return cellar_load_opts_set(load, &o);
}

typedef struct kit_llm_call {
    const cellar_llm_request *req;
    cellar_llm_fn fn;
    void *ctx;
} kit_llm_call;

static cellar_err kit_llm_load(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    const kit_llm_call *call = ctx;
    (void)key;
    (void)key_len;
    return call->fn(load, call->req, call->ctx);
}

/* Return whether the answer is the same each time. */
static bool kit_llm_deterministic(const cellar_llm_request *r)
{
    for (size_t i = 0; i < r->param_count; i++) {
        const cellar_llm_param *p = &r->params[i];
        const bool bytes = p->value.type == CELLAR_ARG_TEXT || p->value.type == CELLAR_ARG_BYTES;
        const bool null = p->value.type == CELLAR_ARG_NULL || (bytes && !p->value.as.bytes.data);
        if (strcmp(p->name, "seed") == 0 && !null) { return true; }
        if (strcmp(p->name, "temperature") != 0) { continue; }
        if ((p->value.type == CELLAR_ARG_F64 && p->value.as.f64 == 0) ||
            (p->value.type == CELLAR_ARG_F32 && p->value.as.f32 == 0) ||
            ((p->value.type == CELLAR_ARG_I64 || p->value.type == CELLAR_ARG_U64) &&
             p->value.as.u64 == 0)) {
            return true;
        }
    }
    return false;
}

/* Read the stored form. Return false if it is none. */
static bool kit_llm_take(cellar_llm_answer *out)
{
    const unsigned char *p = out->result->value;
    if (out->result->value_len < KIT_LLM_HEAD || kit_r16(p) != 1) { return false; }
    out->complete = kit_r16(p + 2) & KIT_LLM_COMPLETE;
    out->tokens_in = kit_r32(p + 4);
    out->tokens_out = kit_r32(p + 8);
    out->upstream_ms = kit_r32(p + 12);
    out->cost = kit_r64(p + 16);
    out->text = (const char *)p + KIT_LLM_HEAD;
    out->text_len = out->result->value_len - KIT_LLM_HEAD;
    return true;
}

/* Return whether the answer is of this call: no cached or joined one. */
static bool kit_llm_made(const cellar_llm_answer *a)
{
    const cellar_source source = a->result->source;
    return source == CELLAR_SOURCE_LOADED || source == CELLAR_SOURCE_FALLBACK ||
           source == CELLAR_SOURCE_DEFAULT;
}

static void kit_llm_count(cellar_llm *llm, const cellar_llm_answer *a)
{
    (void)base_add_rlx(&llm->answers, 1);
    if (kit_llm_made(a)) {
        (void)base_add_rlx(&llm->calls, 1);
        return;
    }
    (void)base_add_rlx(&llm->saved_in, a->tokens_in);
    (void)base_add_rlx(&llm->saved_out, a->tokens_out);
    (void)base_add_rlx(&llm->saved_ms, a->upstream_ms);
    (void)base_add_rlx(&llm->saved_cost, a->cost);
}

static cellar_err kit_llm_run(cellar_llm *llm, const cellar_llm_request *r, kit_llm_call *call,
                              cellar_llm_answer *out)
{
    unsigned char key[CELLAR_KEY_BUILT_MAX];
    size_t len = 0;
    cellar_load_opts o = llm->load;
    o.flags |= CELLAR_LOAD_WAIT_DISK;
    cellar_err err = kit_llm_key(r, key, sizeof key, &len);
    if (err != CELLAR_OK) { return err; }
    if (llm->mode == CELLAR_LLM_NEVER ||
        (llm->mode == CELLAR_LLM_DETERMINISTIC && !kit_llm_deterministic(r))) {
        if ((o.flags & CELLAR_LOAD_ONLY_IF_CACHED) != 0) { return CELLAR_MISS; }
        o.flags |= CELLAR_LOAD_BYPASS;
    }
    for (int i = 0; i < 2; i++) {
        err = cellar_get_or_load(llm->c, key, len, &o, kit_llm_load, call, out->result);
        if (err != CELLAR_OK && err != CELLAR_STALE) { return err; }
        if (kit_llm_take(out)) {
            kit_llm_count(llm, out);
            return err;
        }
        if (out->result->source == CELLAR_SOURCE_STALE_IF_ERROR) { return CELLAR_E_LOADER; }
        if (kit_llm_made(out)) { break; } /* fn made another form */
        cellar_result_free(out->result);
        o.flags |= CELLAR_LOAD_REFRESH;
    }
    return CELLAR_E_TYPE;
}

CELLAR_API cellar_err cellar_llm_get_or_call(cellar_llm *llm, const cellar_llm_request *req,
                                             cellar_llm_fn fn, void *ctx,
                                             cellar_llm_answer *answer)
{
    if (llm == NULL || fn == NULL || answer == NULL) { return CELLAR_E_INVAL; }
    cellar_llm_request r;
    cellar_llm_answer a;
    cellar_err err = base_opts_in(&a, sizeof a, answer);
    if (err == CELLAR_OK) { err = kit_llm_read(req, &r); }
    if (err != CELLAR_OK) { return err; }
    if (a.result == NULL) { return CELLAR_E_INVAL; }
    cellar_llm_answer out = { .struct_size = sizeof out, .result = a.result };
    err = kit_llm_run(llm, &r, &(kit_llm_call){ req, fn, ctx }, &out);
    (void)base_opts_out(answer, &out, sizeof out);
    return err;
}

CELLAR_API cellar_err cellar_llm_stats_get(cellar_llm *llm, cellar_llm_stats *out)
{
    if (llm == NULL || out == NULL) { return CELLAR_E_INVAL; }
    const cellar_llm_stats now = {
        sizeof now, base_load_rlx(&llm->answers), base_load_rlx(&llm->calls),
        base_load_rlx(&llm->saved_in), base_load_rlx(&llm->saved_out),
        base_load_rlx(&llm->saved_ms), base_load_rlx(&llm->saved_cost)
    };
    return base_opts_out(out, &now, sizeof now);
}

BASE_SIZE_END
