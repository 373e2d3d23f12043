/* SPDX-License-Identifier: MIT
 *
 * Aim:    An LLM request has one key, made of everything that changes its answer; only complete
 *         answers are stored, and what they saved is counted. Embeddings load just what is missing,
 *         each text once; a vector that fails leaves the caller's floats unchanged.
 * Method: one field of a request changed after the other; loaders of this file that count, fail and
 *         return too little; IEEE 754 halves against a table. */
#include "tests/support/api_kit.h"

#include <math.h>

#include "cellar_kit.h"

#define STORE_BYTES ((uint64_t)16 << 20)

static cellar_bytes text_of(const char *p) { return (cellar_bytes){ p, strlen(p) }; }

/* ---- keys of requests ---- */

typedef struct request { /* a request with room for what it points to */
    cellar_llm_request r;
    cellar_llm_message m[2];
    cellar_llm_param p[3];
} request;

static void request_new(request *q)
{
    memset(q, 0, sizeof *q);
    q->r = cellar_llm_request_default();
    q->r.scope = text_of("app");
    q->r.tenant = text_of("credential");
    q->r.provider = text_of("https://api.example/v1");
    q->r.model = text_of("large");
    q->m[0].role = text_of("system");
    q->m[0].content = text_of("be brief");
    q->m[1].role = text_of("user");
    q->m[1].content = text_of("Is 7 a prime?");
    q->r.messages = q->m;
    q->r.message_count = 2;
    q->p[0] = (cellar_llm_param){ "temperature", CELLAR_ARG(0.5) };
    q->p[1] = (cellar_llm_param){ "max_tokens", CELLAR_ARG(100) };
    q->p[2] = (cellar_llm_param){ "stream", CELLAR_ARG(1) };
    q->r.params = q->p;
    q->r.param_count = 3;
}

/* Change one field that changes the answer. Return false after the last. */
static bool change(request *q, int which)
{
    switch (which) {
    case 0: q->r.scope = text_of("other"); break;
    case 1: q->r.tenant = text_of("credential2"); break;
    case 2: q->r.flags = CELLAR_LLM_SHARED; break;
    case 3: q->r.provider = text_of("https://api.example/v2"); break;
    case 4: q->r.model = text_of("small"); break;
    case 5: q->m[0].role = text_of("user"); break;
    case 6: q->m[1].content = text_of("Is 7 a prime? "); break;
    case 7: q->m[1].name = text_of("ann"); break;
    case 8: q->m[1].tool_calls = text_of("[]"); break;
    case 9: q->r.message_count = 1; break;
    case 10: q->r.tools = text_of("[]"); break;
    case 11: q->r.response_format = text_of("json"); break;
    case 12: q->p[0].value = CELLAR_ARG(0.6); break;
    case 13: q->p[0].name = "n"; break;
    case 14: q->p[1].value = CELLAR_ARG("100"); break;
    case 15: q->r.param_count = 1; break;
    case 16: q->p[2] = (cellar_llm_param){ "unknown", CELLAR_ARG(1) }; break;
    case 17: q->r.bucket = 1; break;
    case 18: q->m[0].name = text_of(""); break;
    case 19:
        q->r.message_count = 0;
        q->r.prompt = text_of("Is 7 a prime?");
        break;
    default: return false;
    }
    return true;
}

T_CASE(any_field_that_changes_the_answer_changes_the_key)
{
    unsigned char key[32][CELLAR_KEY_BUILT_MAX];
    size_t len[32];
    int n = 0;
    for (;; n++) {
        request q;
        request_new(&q);
        if (n > 0 && !change(&q, n - 1)) { break; }
        T_EQ_I64(cellar_llm_key(&q.r, key[n], CELLAR_KEY_BUILT_MAX, &len[n]), CELLAR_OK);
        for (int i = 0; i < n; i++) {
            T_CHECK(len[i] != len[n] || memcmp(key[i], key[n], len[n]) != 0);
        }
    }
    T_EQ_I64(n, 21);
}

/* D11, S1:133: the key is model and prompt joined by ':', without system prompt, parameters, tenant.
 * Sequence: model "a" with prompt "b:c", and model "a:b" with prompt "c"; then each that was left
 * out. */
T_CASE(seed_llm_joined_fields_differ)
{
    unsigned char key[5][CELLAR_KEY_BUILT_MAX];
    size_t len[5];
    for (int which = 0; which < 5; which++) {
        const cellar_llm_param hot = { "temperature", CELLAR_ARG(1.0) };
        const cellar_llm_message talk[2] = { { .role = text_of("system"), .content = text_of("d") },
                                             { .role = text_of("user"), .content = text_of("b:c") } };
        cellar_llm_request r = cellar_llm_request_default();
        r.tenant = text_of(which == 4 ? "two" : "one");
        r.model = text_of(which == 1 ? "a:b" : "a");
        if (which == 2) {
            r.messages = talk;
            r.message_count = 2;
        } else {
            r.prompt = text_of(which == 1 ? "c" : "b:c");
        }
        r.params = &hot;
        r.param_count = which == 3;
        T_EQ_I64(cellar_llm_key(&r, key[which], sizeof key[which], &len[which]), CELLAR_OK);
        for (int i = 0; i < which; i++) {
            T_CHECK(len[i] != len[which] || memcmp(key[i], key[which], len[i]) != 0);
        }
    }
}

T_CASE(order_of_parameters_and_what_is_left_out_keep_the_key)
{
    static const char *const left_out[] = { "stream", "stream_options", "user", "metadata", "store" };
    unsigned char want[CELLAR_KEY_BUILT_MAX], key[CELLAR_KEY_BUILT_MAX];
    size_t len = 0, now = 0;
    request q;
    request_new(&q);
    T_EQ_I64(cellar_llm_key(&q.r, want, sizeof want, &len), CELLAR_OK);
    for (size_t i = 0; i < 5; i++) {
        request_new(&q);
        q.p[2] = q.p[0];
        q.p[0] = (cellar_llm_param){ left_out[i], CELLAR_ARG("x") };
        T_EQ_I64(cellar_llm_key(&q.r, key, sizeof key, &now), CELLAR_OK);
        T_CHECK(now == len && memcmp(key, want, len) == 0);
    }
    request_new(&q);
    q.p[1].value = CELLAR_ARG(100.0); /* the number, not its type */
    T_EQ_I64(cellar_llm_key(&q.r, key, sizeof key, &now), CELLAR_OK);
    T_CHECK(now == len && memcmp(key, want, len) == 0);
}

T_CASE(request_that_is_none_is_refused)
{
    unsigned char key[CELLAR_KEY_BUILT_MAX];
    size_t len = 7;
    request q;
    for (int i = 0; i < 9; i++) {
        request_new(&q);
        switch (i) {
        case 0: q.r.model.len = 0; break;
        case 1: q.r.prompt = text_of("both"); break;
        case 2: q.r.message_count = 0; break;
        case 3: q.r.tenant = (cellar_bytes){ NULL, 0 }; break;
        case 4: q.p[1].name = "temperature"; break;
        case 5: q.p[0].value = CELLAR_ARG((double)NAN); break;
        case 6: q.p[0].name = NULL; break;
        case 7: q.r.params = NULL; break;
        default: q.r.messages = NULL; break;
        }
        T_EQ_I64(cellar_llm_key(&q.r, key, sizeof key, &len), CELLAR_E_INVAL);
        T_EQ_U64(len, 0);
    }
    request_new(&q);
    q.r.flags = 2;
    T_EQ_I64(cellar_llm_key(&q.r, key, sizeof key, &len), CELLAR_E_UNSUPPORTED);
    T_EQ_I64(cellar_llm_key(NULL, key, sizeof key, &len), CELLAR_E_INVAL);
    request_new(&q);
    T_EQ_I64(cellar_llm_key(&q.r, NULL, 0, &len), CELLAR_E_BUFFER);
    T_CHECK(len > 33 && len <= CELLAR_KEY_BUILT_MAX);
}

/* ---- answers ---- */

typedef struct model { /* what the model answers */
    const char *text;
    uint32_t complete;
    int calls;
    cellar_err err;
} model;

static cellar_err ask(cellar_load *load, const cellar_llm_request *req, void *ctx)
{
    model *m = ctx;
    T_CHECK(req->model.len != 0);
    m->calls++;
    if (m->err != CELLAR_OK) { return m->err; }
    cellar_llm_usage u = { .struct_size = sizeof u, .tokens_in = 10, .tokens_out = 20,
                           .upstream_ms = 300, .cost = 4000, .complete = m->complete };
    T_EQ_I64(cellar_llm_set_answer(load, "a draft, longer than the answer", 31, &u), CELLAR_OK);
    return cellar_llm_set_answer(load, m->text, strlen(m->text), &u);
}

static cellar_err answer(cellar_llm *llm, const request *q, model *m, char out[64])
{
    cellar_result r = cellar_result_default();
    cellar_llm_answer a = { .struct_size = sizeof a, .result = &r };
    const cellar_err err = cellar_llm_get_or_call(llm, &q->r, ask, m, &a);
    if (err == CELLAR_OK) {
        T_REQUIRE(a.text_len < 64);
        memcpy(out, a.text, a.text_len);
        out[a.text_len] = '\0';
        T_EQ_U64(a.tokens_in, 10);
        T_EQ_U64(a.cost, 4000);
    }
    cellar_result_free(&r);
    return err;
}

#define STORE(fn) T_WITH(fn, cellar *c, c, api_open(STORE_BYTES), cellar_close(c))

T_CASE_ON(complete_answer_is_stored_and_what_it_saved_is_counted, STORE)
{
    cellar_llm *llm = NULL;
    cellar_llm_stats s = cellar_llm_stats_default();
    model m = { "Yes.", 1, 0, CELLAR_OK };
    char got[64];
    request q;
    request_new(&q);
    T_EQ_I64(cellar_llm_open(c, NULL, &llm), CELLAR_OK);
    for (int i = 0; i < 5; i++) {
        T_EQ_I64(answer(llm, &q, &m, got), CELLAR_OK);
        T_EQ_STR(got, "Yes.");
    }
    T_EQ_I64(m.calls, 1);
    q.r.bucket = 1;
    T_EQ_I64(answer(llm, &q, &m, got), CELLAR_OK);
    T_EQ_I64(m.calls, 2);
    T_EQ_I64(cellar_llm_stats_get(llm, &s), CELLAR_OK);
    T_FIELDS(s, answers, 6, calls, 2, saved_tokens_in, 40, saved_tokens_out, 80, saved_ms, 1200);
    T_EQ_U64(s.saved_cost, 16000);
    cellar_llm_close(llm);
}

T_CASE_ON(incomplete_answer_and_failure_are_not_stored, STORE)
{
    cellar_llm *llm = NULL;
    model m = { "Ye", 0, 0, CELLAR_OK };
    char got[64];
    request q;
    request_new(&q);
    T_EQ_I64(cellar_llm_open(c, NULL, &llm), CELLAR_OK);
    T_EQ_I64(answer(llm, &q, &m, got), CELLAR_OK);
    T_EQ_STR(got, "Ye");
    m.err = CELLAR_E_IO;
    T_EQ_I64(answer(llm, &q, &m, got), CELLAR_E_LOADER);
    m = (model){ "", 1, m.calls, CELLAR_OK };
    T_EQ_I64(answer(llm, &q, &m, got), CELLAR_OK); /* empty and complete: an answer */
    T_EQ_I64(m.calls, 3);
    T_EQ_I64(answer(llm, &q, &m, got), CELLAR_OK);
    T_EQ_STR(got, "");
    T_EQ_I64(m.calls, 3);
    cellar_llm_close(llm);
}

T_CASE(mode_decides_which_requests_are_cached)
{
    enum { NONE, SEVEN, EMPTY, ABSENT }; /* the seed; the last ones say that there is none */
    static const struct { cellar_llm_mode mode; double temperature; int seed, calls; } rows[] = {
        { CELLAR_LLM_ALWAYS, 0.5, NONE, 1 },         { CELLAR_LLM_NEVER, 0, SEVEN, 3 },
        { CELLAR_LLM_DETERMINISTIC, 0.5, NONE, 3 },  { CELLAR_LLM_DETERMINISTIC, 0, NONE, 1 },
        { CELLAR_LLM_DETERMINISTIC, 0.5, SEVEN, 1 }, { CELLAR_LLM_DETERMINISTIC, 0.5, EMPTY, 3 },
        { CELLAR_LLM_DETERMINISTIC, 0.5, ABSENT, 3 }
    };
    const cellar_arg seeds[] = { [SEVEN] = CELLAR_ARG(7), [EMPTY] = cellar_arg_null(),
                                 [ABSENT] = cellar_arg_text(NULL) };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cellar *c = api_open(STORE_BYTES);
        cellar_llm *llm = NULL;
        model m = { "x", 1, 0, CELLAR_OK };
        char got[64];
        request q;
        request_new(&q);
        cellar_llm_config o = { .struct_size = sizeof o, .mode = rows[i].mode };
        q.p[0].value = CELLAR_ARG(rows[i].temperature);
        if (rows[i].seed != NONE) { q.p[2] = (cellar_llm_param){ "seed", seeds[rows[i].seed] }; }
        T_EQ_I64(cellar_llm_open(c, &o, &llm), CELLAR_OK);
        for (int n = 0; n < 3; n++) { T_EQ_I64(answer(llm, &q, &m, got), CELLAR_OK); }
        T_EQ_I64(m.calls, rows[i].calls);
        cellar_llm_close(llm);
        cellar_close(c);
    }
}

/* A mode that caches no request has no answer for a call that wants a cached one. */
T_CASE_ON(only_if_cached_misses_what_no_mode_caches, STORE)
{
    cellar_llm *llm = NULL;
    model m = { "x", 1, 0, CELLAR_OK };
    char got[64];
    request q;
    request_new(&q);
    cellar_load_opts load = { .struct_size = sizeof load, .flags = CELLAR_LOAD_ONLY_IF_CACHED };
    cellar_llm_config o = { .struct_size = sizeof o, .mode = CELLAR_LLM_NEVER, .load = &load };
    T_EQ_I64(cellar_llm_open(c, &o, &llm), CELLAR_OK);
    T_EQ_I64(answer(llm, &q, &m, got), CELLAR_MISS);
    T_EQ_I64(m.calls, 0);
    cellar_llm_close(llm);
}

static cellar_err asks_another(cellar_load *load, const void *key, size_t len, void *ctx)
{
    const cellar_llm_request req = { .model = text_of("other") };
    (void)key, (void)len;
    return ask(load, &req, ctx);
}

/* What a fallback answers was made by its call: nothing was saved. */
T_CASE_ON(answer_of_a_fallback_is_made_by_its_call, STORE)
{
    cellar_llm *llm = NULL;
    cellar_llm_stats s = cellar_llm_stats_default();
    model m = { "", 0, 0, CELLAR_E_IO }, other = { "Yes.", 1, 0, CELLAR_OK };
    char got[64];
    request q;
    request_new(&q);
    cellar_load_opts load = { .struct_size = sizeof load, .fallback = { { asks_another, &other } } };
    cellar_llm_config o = { .struct_size = sizeof o, .load = &load };
    T_EQ_I64(cellar_llm_open(c, &o, &llm), CELLAR_OK);
    T_EQ_I64(answer(llm, &q, &m, got), CELLAR_OK);
    T_EQ_STR(got, "Yes.");
    T_EQ_I64(cellar_llm_stats_get(llm, &s), CELLAR_OK);
    T_FIELDS(s, answers, 1, calls, 1, saved_tokens_in, 0);
    cellar_llm_close(llm);
}

static cellar_err sets_plain_value(cellar_load *load, const cellar_llm_request *req, void *ctx)
{
    (void)req, (void)ctx;
    return cellar_load_value(load, "x", 1);
}

T_CASE_ON(stored_value_of_another_form_is_loaded_again, STORE)
{
    cellar_llm *llm = NULL;
    model m = { "Yes.", 1, 0, CELLAR_OK };
    unsigned char key[CELLAR_KEY_BUILT_MAX];
    char got[64];
    size_t len;
    request q;
    request_new(&q);
    T_EQ_I64(cellar_llm_open(c, NULL, &llm), CELLAR_OK);
    T_EQ_I64(cellar_llm_key(&q.r, key, sizeof key, &len), CELLAR_OK);
    T_EQ_I64(cellar_set(c, key, len, "no answer", 9, NULL), CELLAR_OK);
    T_EQ_I64(answer(llm, &q, &m, got), CELLAR_OK);
    T_EQ_STR(got, "Yes.");
    T_EQ_I64(answer(llm, &q, &m, got), CELLAR_OK);
    T_EQ_I64(m.calls, 1);
    cellar_result r = cellar_result_default();
    cellar_llm_answer a = cellar_llm_answer_default();
    q.r.bucket = 9;
    T_EQ_I64(cellar_llm_get_or_call(llm, &q.r, sets_plain_value, NULL, &a), CELLAR_E_INVAL);
    a.result = &r;
    T_EQ_I64(cellar_llm_get_or_call(llm, &q.r, sets_plain_value, NULL, &a), CELLAR_E_TYPE);
    cellar_result_free(&r);
    cellar_llm_close(llm);
    cellar_llm_close(NULL);
}

/* ---- embeddings ---- */

#define DIM 16u

typedef struct embedder {
    uint32_t calls, texts, widest;
    int fail; /* texts with 'b' have 1: no vector; 2: another dimension; 3: NaN; 4: an error; 5: two
               * vectors */
} embedder;

static void vector_of(cellar_bytes text, float out[DIM])
{
    uint32_t x = 17;
    for (size_t i = 0; i < text.len; i++) { x = x * 31 + ((const unsigned char *)text.data)[i]; }
    for (uint32_t i = 0; i < DIM; i++) { out[i] = (float)((x >> i) % 200) / 100.0f - 1.0f; }
}

static cellar_err embed(cellar_embeddings_call *call, const cellar_bytes *texts, size_t count,
                        void *ctx)
{
    embedder *e = ctx;
    e->calls++;
    e->texts += (uint32_t)count;
    if (count > e->widest) { e->widest = (uint32_t)count; }
    for (size_t i = 0; i < count; i++) {
        float v[DIM];
        const bool bad = memchr(texts[i].data, 'b', texts[i].len) != NULL;
        for (size_t n = 0; n < i; n++) { /* each text once */
            T_CHECK(texts[n].len != texts[i].len ||
                    memcmp(texts[n].data, texts[i].data, texts[i].len) != 0);
        }
        vector_of(texts[i], v);
        if (bad && e->fail == 1) { continue; }
        if (bad && e->fail == 2) {
            T_EQ_I64(cellar_embeddings_set(call, i, v, DIM - 1), CELLAR_E_INVAL);
            continue;
        }
        if (bad && e->fail == 3) { v[3] = NAN; }
        if (bad && e->fail == 4) { return CELLAR_E_IO; }
        T_EQ_I64(cellar_embeddings_set(call, i, v, DIM), bad && e->fail == 3 ? CELLAR_E_INVAL
                                                                             : CELLAR_OK);
        if (bad && e->fail == 5) {
            T_EQ_I64(cellar_embeddings_set(call, i, v, DIM), CELLAR_E_RESULT_TWICE);
        }
    }
    float more[DIM] = { 0 }; /* a vector for no text harms none */
    T_EQ_I64(cellar_embeddings_set(call, count, more, DIM), CELLAR_E_INVAL);
    T_EQ_I64(cellar_embeddings_set(call, SIZE_MAX, more, DIM), CELLAR_E_INVAL);
    return CELLAR_OK;
}

static cellar_embeddings *embeddings(cellar *c, cellar_vector_type type, uint32_t batch)
{
    cellar_embeddings *e = NULL;
    cellar_embeddings_config o = { .struct_size = sizeof o, .scope = text_of("app") };
    o.model = text_of("small");
    o.dim = DIM;
    o.type = type;
    o.max_batch = batch;
    T_REQUIRE(cellar_embeddings_open(c, &o, &e) == CELLAR_OK);
    return e;
}

static void vectors_agree(const cellar_bytes *texts, size_t n, const float *out, float most)
{
    for (size_t i = 0; i < n; i++) {
        float want[DIM];
        vector_of(texts[i], want);
        for (size_t k = 0; k < DIM; k++) { T_CHECK(fabsf(out[i * DIM + k] - want[k]) <= most); }
    }
}

T_CASE(only_missing_texts_are_loaded_each_once)
{
    static const char *const words[] = { "a", "c", "a", "", "dd", "c", "e" };
    cellar_bytes texts[7];
    float out[7 * DIM];
    cellar_err status[7];
    for (size_t i = 0; i < 7; i++) { texts[i] = text_of(words[i]); }
    for (uint32_t type = 1; type <= 3; type++) {
        cellar *c = api_open(STORE_BYTES);
        cellar_embeddings *e = embeddings(c, (cellar_vector_type)type, 0);
        embedder m = { 0, 0, 0, 0 };
        const float most = type == 1 ? 0 : type == 2 ? 0.0005f : 0.005f;
        T_EQ_I64(cellar_embeddings_get_many(e, texts, 3, embed, &m, out, status), CELLAR_OK);
        T_EQ_U64(m.calls, 1);
        T_EQ_U64(m.texts, 2);
        T_EQ_I64(cellar_embeddings_get_many(e, texts, 7, embed, &m, out, status), CELLAR_OK);
        T_EQ_U64(m.calls, 2);
        T_EQ_U64(m.texts, 5);
        vectors_agree(texts, 7, out, most);
        memset(out, 0, sizeof out);
        T_EQ_I64(cellar_embeddings_get_many(e, texts, 7, embed, &m, out, status), CELLAR_OK);
        T_EQ_U64(m.calls, 2);
        vectors_agree(texts, 7, out, most);
        for (size_t i = 0; i < 7; i++) { T_EQ_I64(status[i], CELLAR_OK); }
        cellar_embeddings_close(e);
        cellar_close(c);
    }
}

T_CASE_ON(tenants_share_no_vector, STORE)
{
    static const char *const tenant[] = { "ada", "bob", "ada", NULL };
    static const uint32_t calls[] = { 1, 2, 2, 3 };
    const cellar_bytes text = text_of("a");
    embedder m = { 0, 0, 0, 0 };
    for (size_t i = 0; i < 4; i++) {
        cellar_embeddings_config o = { .struct_size = sizeof o, .model = text_of("m"), .dim = DIM };
        cellar_embeddings *e = NULL;
        float out[DIM];
        cellar_err status;
        if (tenant[i] != NULL) { o.tenant = text_of(tenant[i]); }
        T_REQUIRE(cellar_embeddings_open(c, &o, &e) == CELLAR_OK);
        T_EQ_I64(cellar_embeddings_get_many(e, &text, 1, embed, &m, out, &status), CELLAR_OK);
        T_EQ_U64(m.calls, calls[i]);
        vectors_agree(&text, 1, out, 0);
        cellar_embeddings_close(e);
    }
}

T_CASE_ON(batches_are_cut_at_their_limit, STORE)
{
    enum { N = 50 };
    char word[N][8];
    cellar_bytes texts[N];
    static float out[N * DIM];
    cellar_err status[N];
    cellar_embeddings *e = embeddings(c, CELLAR_VECTOR_F32, 7);
    embedder m = { 0, 0, 0, 0 };
    for (size_t i = 0; i < N; i++) {
        snprintf(word[i], sizeof word[i], "t%zu", i);
        texts[i] = text_of(word[i]);
    }
    T_EQ_I64(cellar_embeddings_get_many(e, texts, N, embed, &m, out, status), CELLAR_OK);
    T_FIELDS(m, calls, 8, widest, 7, texts, N);
    vectors_agree(texts, N, out, 0);
    cellar_embeddings_close(e);
}

T_CASE(vector_that_fails_leaves_the_floats_and_is_not_stored)
{
    static const char *const words[] = { "a", "b", "c" };
    for (int fail = 1; fail <= 5; fail++) {
        cellar *c = api_open(STORE_BYTES);
        cellar_embeddings *e = embeddings(c, CELLAR_VECTOR_F32, 1);
        embedder m = { 0, 0, 0, fail };
        cellar_bytes texts[3];
        float out[3 * DIM];
        cellar_err status[3];
        for (size_t i = 0; i < 3; i++) { texts[i] = text_of(words[i]); }
        for (size_t i = 0; i < 3 * DIM; i++) { out[i] = 42; }
        T_EQ_I64(cellar_embeddings_get_many(e, texts, 3, embed, &m, out, status), CELLAR_OK);
        for (size_t i = 0; i < 3; i++) {
            /* an error ends the batches: texts behind it, in the order of keys, fail as well */
            const bool ok = status[i] == CELLAR_OK;
            T_CHECK(i == 1 ? status[i] == (fail == 5 ? CELLAR_E_RESULT_TWICE : CELLAR_E_LOADER)
                           : ok || (fail == 4 && status[i] == CELLAR_E_LOADER));
            for (size_t k = 0; !ok && k < DIM; k++) { T_CHECK(out[i * DIM + k] == 42); }
        }
        const uint32_t before = m.texts;
        m.fail = 0;
        T_EQ_I64(cellar_embeddings_get_many(e, texts, 3, embed, &m, out, status), CELLAR_OK);
        vectors_agree(texts, 3, out, 0);
        T_EQ_I64(status[1], CELLAR_OK);
        T_CHECK(fail == 4 || m.texts == before + 1); /* nothing was stored for the one that failed */
        m.fail = 4; /* no model: what is known has its vector */
        texts[1] = text_of("bb");
        T_EQ_I64(cellar_embeddings_get_many(e, texts, 3, embed, &m, out, status), CELLAR_OK);
        T_CHECK(status[0] == CELLAR_OK && status[1] == CELLAR_E_LOADER && status[2] == CELLAR_OK);
        cellar_embeddings_close(e);
        cellar_close(c);
    }
}

T_CASE_ON(stored_vector_of_another_form_is_loaded_again, STORE)
{
    cellar_embeddings *e = embeddings(c, CELLAR_VECTOR_F32, 0);
    embedder m = { 0, 0, 0, 0 };
    const cellar_bytes texts[2] = { text_of("ab"), text_of("c") };
    float out[2 * DIM];
    cellar_err status[2];
    unsigned char key[CELLAR_KEY_BUILT_MAX];
    size_t len;
    cellar_key_builder b;
    cellar_key_begin(&b); /* as written in the head of src/guests/kit/embedding.c */
    (void)cellar_key_add(&b, CELLAR_ARG("emb1"));
    (void)cellar_key_add(&b, CELLAR_ARG("app"));
    (void)cellar_key_add(&b, cellar_arg_null());
    (void)cellar_key_add(&b, CELLAR_ARG("small"));
    (void)cellar_key_add(&b, cellar_arg_u64(DIM));
    (void)cellar_key_add(&b, cellar_arg_u64(CELLAR_VECTOR_F32));
    (void)cellar_key_add(&b, CELLAR_ARG("ab"));
    T_EQ_I64(cellar_key_finish(&b, key, sizeof key, &len), CELLAR_OK);
    T_EQ_I64(cellar_set(c, key, len, "[0.1, 0.2]", 10, NULL), CELLAR_OK);
    T_EQ_I64(cellar_embeddings_get_many(e, texts, 2, embed, &m, out, status), CELLAR_OK);
    T_EQ_U64(m.texts, 2);
    vectors_agree(texts, 2, out, 0);
    T_EQ_I64(cellar_embeddings_get_many(e, texts, 2, embed, &m, out, status), CELLAR_OK);
    T_EQ_U64(m.texts, 2);
    T_EQ_I64(cellar_contains(c, key, len), CELLAR_OK);

    const cellar_set_opts old = { .struct_size = sizeof old, .ttl_ms = 1000, .stale_ms = 100000 };
    embedder fails = { .fail = 4 }; /* the old value is stale, and served: it is asked once */
    T_EQ_I64(cellar_set(c, key, len, "[0.1, 0.2]", 10, &old), CELLAR_OK);
    atomic_fetch_add(&api_now_ms, 2000);
    T_EQ_I64(cellar_embeddings_get_many(e, texts, 1, embed, &fails, out, status), CELLAR_OK);
    T_EQ_I64(status[0], CELLAR_E_LOADER);
    T_EQ_U64(fails.calls, 1);
    cellar_embeddings_close(e);
}

static cellar_err embed_one(cellar_embeddings_call *call, const cellar_bytes *texts, size_t count,
                            void *ctx)
{
    (void)texts, (void)count;
    return cellar_embeddings_set(call, 0, ctx, 12);
}

/* The scale of numbers next to zero is a multiple of 2^-149: 180 such steps are 127 of it. */
T_CASE(bytes_of_the_smallest_numbers_keep_their_sign)
{
    const float step = 1.401298464e-45f;
    float input[12] = { 180 * step, -180 * step, 128 * step }, out[12] = { 0 };
    cellar *c = api_open(STORE_BYTES);
    cellar_embeddings *e = NULL;
    const cellar_bytes text = text_of("x");
    cellar_err status;
    cellar_embeddings_config o = { .struct_size = sizeof o, .model = text_of("m"), .dim = 12,
                                   .type = CELLAR_VECTOR_I8 };
    T_EQ_I64(cellar_embeddings_open(c, &o, &e), CELLAR_OK);
    T_EQ_I64(cellar_embeddings_get_many(e, &text, 1, embed_one, input, out, &status), CELLAR_OK);
    T_CHECK(out[0] == 127 * step && out[1] == -127 * step && out[2] == 127 * step);
    cellar_embeddings_close(e);
    cellar_close(c);
}

/* A default value is no answer and no vector: the service that fails is asked once. */
T_CASE_ON(default_value_of_another_form_asks_for_nothing_more, STORE)
{
    const cellar_bytes sorry = text_of("sorry"), text = text_of("b");
    cellar_load_opts load = { .struct_size = sizeof load, .default_value = &sorry };
    cellar_llm *llm = NULL;
    cellar_llm_config lo = { .struct_size = sizeof lo, .load = &load };
    model m = { "", 0, 0, CELLAR_E_IO };
    char got[64];
    request q;
    request_new(&q);
    T_EQ_I64(cellar_llm_open(c, &lo, &llm), CELLAR_OK);
    T_EQ_I64(answer(llm, &q, &m, got), CELLAR_E_TYPE);
    T_EQ_I64(m.calls, 1);
    cellar_llm_close(llm);

    cellar_embeddings *e = NULL;
    cellar_embeddings_config eo = { .struct_size = sizeof eo, .model = text_of("m"), .dim = DIM,
                                    .load = &load };
    embedder fails = { .fail = 4 };
    float out[DIM];
    cellar_err status;
    T_EQ_I64(cellar_embeddings_open(c, &eo, &e), CELLAR_OK);
    T_EQ_I64(cellar_embeddings_get_many(e, &text, 1, embed, &fails, out, &status), CELLAR_OK);
    T_EQ_I64(status, CELLAR_E_TYPE);
    T_EQ_U64(fails.calls, 1);
    cellar_embeddings_close(e);
}

/* A stale value of another form, which is served as the service fails, asks it once, too. */
T_CASE_ON(stale_value_of_another_form_asks_a_failing_service_once, STORE)
{
    const cellar_set_opts old = { .struct_size = sizeof old, .ttl_ms = 1000, .stale_ms = 100000 };
    cellar_llm *llm = NULL;
    cellar_llm_config o = { .struct_size = sizeof o };
    model m = { "", 0, 0, CELLAR_E_IO };
    unsigned char key[CELLAR_KEY_BUILT_MAX];
    char got[64];
    size_t len;
    request q;
    request_new(&q);
    T_EQ_I64(cellar_llm_open(c, &o, &llm), CELLAR_OK);
    T_EQ_I64(cellar_llm_key(&q.r, key, sizeof key, &len), CELLAR_OK);
    T_EQ_I64(cellar_set(c, key, len, "plain", 5, &old), CELLAR_OK);
    atomic_fetch_add(&api_now_ms, 2000);
    T_EQ_I64(answer(llm, &q, &m, got), CELLAR_E_LOADER);
    T_EQ_I64(m.calls, 1);
    cellar_llm_close(llm);
}

T_CASE_ON(halves_are_the_nearest_ones, STORE)
{
    static const float in[12] = { 1.0f, -2.0f, 65504.0f, 65519.0f, 1e30f, 6.103515625e-05f,
                                  5.9604645e-08f, 2.9802322e-08f, 3e-08f, 1.00048828125f,
                                  1.00146484375f, 0.33325195f };
    static const float want[12] = { 1.0f, -2.0f, 65504.0f, 65504.0f, 65504.0f, 6.103515625e-05f,
                                    5.9604645e-08f, 0.0f, 5.9604645e-08f, 1.0f, 1.001953125f,
                                    0.33325195f };
    cellar_embeddings *e = NULL;
    const cellar_bytes text = text_of("x");
    float out[12], input[12];
    cellar_err status;
    memcpy(input, in, sizeof in);
    cellar_embeddings_config o = { .struct_size = sizeof o, .model = text_of("m"), .dim = 12,
                                   .type = CELLAR_VECTOR_F16 };
    T_EQ_I64(cellar_embeddings_open(c, &o, &e), CELLAR_OK);
    T_EQ_I64(cellar_embeddings_get_many(e, &text, 1, embed_one, input, out, &status), CELLAR_OK);
    for (size_t i = 0; i < 12; i++) { T_CHECK(out[i] == want[i]); }
    cellar_embeddings_close(e);
}

T_CASE_ON(bad_options_are_refused, STORE)
{
    cellar_embeddings *e = NULL;
    cellar_llm *llm = NULL;
    cellar_load_opts load = cellar_load_opts_default();
    for (int i = 0; i < 6; i++) {
        cellar_embeddings_config o = { .struct_size = sizeof o, .model = text_of("m"), .dim = 4 };
        switch (i) {
        case 0: o.dim = 0; break;
        case 1: o.dim = 65537; break;
        case 2: o.model.len = 0; break;
        case 3: o.type = (cellar_vector_type)4; break;
        case 4: o.max_batch = 4097; break;
        default:
            load.flags = CELLAR_LOAD_CTX_STATIC;
            o.load = &load;
            break;
        }
        T_EQ_I64(cellar_embeddings_open(c, &o, &e), CELLAR_E_INVAL);
        T_CHECK(e == NULL);
    }
    cellar_llm_config o = { .struct_size = sizeof o, .mode = (cellar_llm_mode)3 };
    T_EQ_I64(cellar_llm_open(c, &o, &llm), CELLAR_E_INVAL);
    o = cellar_llm_config_default();
    o.load = &load;
    T_EQ_I64(cellar_llm_open(c, &o, &llm), CELLAR_E_INVAL);
    T_CHECK(llm == NULL);
    cellar_embeddings_close(NULL);
}

/* ---- presets ---- */

static cellar_err one_row(cellar_load *load, const void *key, size_t len, void *ctx)
{
    (void)key, (void)len;
    return ctx != NULL ? cellar_load_value(load, ctx, strlen(ctx)) : cellar_load_absent(load);
}

static cellar_err load_row(cellar *c, uint32_t number, const cellar_load_opts *o, char *value,
                           int64_t *ttl_ms)
{
    cellar_result r = cellar_result_default();
    cellar_entry_info info = cellar_entry_info_default();
    const cellar_err err = cellar_get_or_load(c, &number, sizeof number, o, one_row, value, &r);
    cellar_result_free(&r);
    const cellar_err kept = cellar_entry_info_get(c, &number, sizeof number, 0, &info);
    *ttl_ms = kept == CELLAR_OK || kept == CELLAR_ABSENT ? info.ttl_left_ms : -1;
    return err;
}

/* Each switch of the preset alone, the others as they are. */
T_CASE(switches_of_the_manager_preset_work_alone)
{
    enum { ALL, NO_JITTER, NO_JOIN, NO_NEGATIVE, CASES };
    for (int off = ALL; off < CASES; off++) {
        cellar *c = api_open(STORE_BYTES);
        cellar_load_opts o = cellar_load_opts_manager();
        char row[] = "row";
        uint32_t spread = 0;
        int64_t ttl = 0;
        if (off == NO_JITTER) { o.jitter_pct = CELLAR_OFF; }
        if (off == NO_JOIN) { o.flags |= CELLAR_LOAD_NO_JOIN; }
        if (off == NO_NEGATIVE) { o.flags |= CELLAR_LOAD_NO_NEGATIVE; }
        for (uint32_t i = 0; i < 200; i++) {
            T_EQ_I64(load_row(c, i, &o, row, &ttl), CELLAR_OK);
            T_CHECK(ttl >= 3240000 && ttl <= 3960000);
            spread += ttl != 3600000;
        }
        T_CHECK(off == NO_JITTER ? spread == 0 : spread > 150);
        for (uint32_t i = 1000; i < 1020; i++) { /* "absent" is not spread */
            T_EQ_I64(load_row(c, i, &o, NULL, &ttl), CELLAR_ABSENT);
            T_EQ_I64(ttl, off == NO_NEGATIVE ? -1 : 60000);
        }
        cellar_close(c);
    }
}

T_CASE(presets_are_those_of_the_documents)
{
    const cellar_load_opts a = cellar_load_opts_manager(), b = cellar_load_opts_module();
    T_CHECK(a.ttl_ms == 3600000 && a.negative_ttl_ms == 60000 && a.jitter_pct == 10 &&
            a.jitter_mode == CELLAR_JITTER_PLUSMINUS && a.flags == 0);
    T_CHECK(b.ttl_ms == 300000 && b.negative_ttl_ms == 300000 && b.jitter_pct == 10 &&
            b.jitter_mode == CELLAR_JITTER_PLUS && b.flags == 0);
}

T_MAIN("api_kit_models")
