/* SPDX-License-Identifier: MIT
 *
 * fuzz/kit: keys from parts, values of answers, vectors and codecs, texts without secrets, on any
 * input.
 *
 * INPUT      u8 what, then its bytes:
 *            0 parts of a key; 1 calls of a key builder, each u8 call, u8 length or operand
 *            2 any bytes as the stored value of answer, vector and number
 *            3 a text: u8 carrier, u8 delimiter, u8 length of the secret, u8 split, the rest
 *            4 a template and its values
 *            5 any bytes as a value that may not decode; 6 a list of words, encoded,
 *              then changes {u16 where, u8 byte}
 *            7 an address: u8 changes {u8 where, u8 what, u8 byte}; the rest, a list of rules
 * ORACLE     key: the parts read from a key are those that were added, and make the same key again
 *            values: one of another length is E_TYPE, one of another form is made again
 *            words: bytes that are no words are removed and counted; a report of other bytes removes
 *            nothing
 *            text: no 8 bytes of the planted secret are left; the result has its promised length
 *            address: an allowed one begins with the host of the list, and a port or a path follows
 *            template: the values read from a key are those it was made of
 * USE        tests/fuzz/test_kit_fuzz.c: seeded inputs, in every test run. libFuzzer:
 *            tests/fuzz/matrix_fuzz.sh. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cellar.h"
#include "cellar_entry.h"
#include "cellar_kit.h"
#include "cellar_observe.h"
#include "tests/fuzz/must.h"

typedef struct fuzz_in { /* the rest of an input; reads zero behind its end */
    const uint8_t *p;
    size_t n;
} fuzz_in;

static uint8_t fuzz_u8(fuzz_in *in)
{
    if (in->n == 0) { return 0; }
    in->n--;
    return *in->p++;
}

static size_t fuzz_u16(fuzz_in *in)
{
    const size_t low = fuzz_u8(in);
    return low | (size_t)fuzz_u8(in) << 8;
}

static cellar_bytes fuzz_bytes(fuzz_in *in, size_t len)
{
    if (len > in->n) { len = in->n; }
    const cellar_bytes b = { len != 0 ? (const void *)in->p : "", len };
    in->p += len;
    in->n -= len;
    return b;
}

static cellar *fuzz_store, *fuzz_objects; /* a namespace of words */
static uint64_t fuzz_keys, fuzz_masks, fuzz_good, fuzz_allowed; /* inputs that came so far */

static void fuzz_begin(void)
{
    cellar_config cfg = cellar_config_default();
    cellar_host_config host = { .struct_size = sizeof host, .no_threads = 1 };
    cfg.host = &host;
    cfg.memory_bytes = (uint64_t)8 << 20;
    FUZZ_MUST(cellar_open(&cfg, &fuzz_store) == CELLAR_OK);
    FUZZ_MUST(cellar_namespace_open(fuzz_store, "objects", NULL, &fuzz_objects) == CELLAR_OK);
}

static void fuzz_end(void)
{
    FUZZ_MUST(cellar_namespace_close(fuzz_objects) == CELLAR_OK);
    FUZZ_MUST(cellar_close(fuzz_store) == CELLAR_OK);
    fuzz_store = NULL;
}

/* ---- keys ---- */

/* One part: a type and its bytes, or its children. The children of a map are name, value, ... */
typedef struct fuzz_part {
    char type;                /* s i u d t f n [ { */
    uint64_t bits;            /* i u d */
    unsigned char bytes[32];  /* s */
    size_t len;               /* s; [ {: number of parts */
    struct fuzz_part *child;
} fuzz_part;

typedef struct fuzz_tree {
    fuzz_part part[600];
    size_t used;
} fuzz_tree;

static fuzz_part *fuzz_parts(fuzz_tree *t, size_t n)
{
    FUZZ_MUST(t->used + n <= sizeof t->part / sizeof *t->part);
    fuzz_part *p = &t->part[t->used];
    t->used += n;
    memset(p, 0, n * sizeof *p);
    return p;
}

static cellar_err fuzz_add(cellar_key_builder *b, const fuzz_part *p)
{
    double x;
    cellar_err err = CELLAR_OK;
    switch (p->type) {
    case 's': return cellar_key_add(b, cellar_arg_bytes((cellar_bytes){ p->bytes, p->len }));
    case 'i': return cellar_key_add(b, cellar_arg_i64((int64_t)p->bits));
    case 'u': return cellar_key_add(b, cellar_arg_u64(p->bits));
    case 'd': memcpy(&x, &p->bits, sizeof x); return cellar_key_add(b, cellar_arg_f64(x));
    case 'n': return cellar_key_add(b, cellar_arg_null());
    case 't': case 'f': return cellar_key_add(b, cellar_arg_bool(p->type == 't'));
    default: break;
    }
    err = cellar_key_add(b, p->type == '[' ? cellar_arg_list() : cellar_arg_map());
    for (size_t i = 0; i < p->len && err == CELLAR_OK; i++) { err = fuzz_add(b, &p->child[i]); }
    return err == CELLAR_OK ? cellar_key_end(b) : err;
}

static int fuzz_name_order(const void *a, const void *b)
{
    const fuzz_part *x = a, *y = b;
    const int cmp = memcmp(x->bytes, y->bytes, x->len < y->len ? x->len : y->len);
    return cmp != 0 ? cmp : (x->len > y->len) - (x->len < y->len);
}

/* Bring a part to the one form that its key has. Return false if it has no key. */
static bool fuzz_settle(fuzz_part *p)
{
    double x;
    memcpy(&x, &p->bits, sizeof x);
    if (p->type == 'u' && p->bits <= INT64_MAX) { p->type = 'i'; }
    if (p->type == 'd') {
        if ((p->bits >> 52 & 2047) == 2047) { return false; } /* NaN, infinity */
        if (x > -9007199254740992.0 && x < 9007199254740992.0 && (double)(int64_t)x == x) {
            p->type = 'i';
            p->bits = (uint64_t)(int64_t)x;
        }
    }
    if (p->type != '[' && p->type != '{') { return true; }
    for (size_t i = 0; i < p->len; i++) {
        if (!fuzz_settle(&p->child[i])) { return false; }
    }
    if (p->type == '{') {
        for (size_t i = 0; i < p->len; i += 2) { /* a selection sort of pairs */
            size_t least = i;
            for (size_t k = i + 2; k < p->len; k += 2) {
                if (fuzz_name_order(&p->child[k], &p->child[least]) < 0) { least = k; }
            }
            for (size_t k = 0; k < 2; k++) {
                const fuzz_part moved = p->child[i + k];
                p->child[i + k] = p->child[least + k];
                p->child[least + k] = moved;
            }
            if (i != 0 && fuzz_name_order(&p->child[i - 2], &p->child[i]) == 0) { return false; }
        }
    }
    return true;
}

static void fuzz_draw(fuzz_in *in, fuzz_tree *t, fuzz_part *p, unsigned depth)
{
    static const char types[] = "siudtfns[{";
    p->type = types[fuzz_u8(in) % (depth < 5 ? 10 : 8)];
    if (p->type == 's') {
        const cellar_bytes b = fuzz_bytes(in, fuzz_u8(in) % 12);
        memcpy(p->bytes, b.data, b.len);
        p->len = b.len;
    } else if (p->type == 'i' || p->type == 'u' || p->type == 'd') {
        const cellar_bytes b = fuzz_bytes(in, 8);
        memcpy(&p->bits, b.data, b.len);
    } else if (p->type == '[' || p->type == '{') {
        size_t len = fuzz_u8(in) % 5;
        if (t->used + 2 * len > sizeof t->part / sizeof *t->part) { len = 0; }
        p->len = p->type == '{' ? 2 * len : len;
        p->child = fuzz_parts(t, p->len);
        for (size_t i = 0; i < p->len; i++) {
            if (p->type == '{' && i % 2 == 0) {
                const cellar_bytes b = fuzz_bytes(in, fuzz_u8(in) % 3);
                p->child[i].type = 's';
                memcpy(p->child[i].bytes, b.data, b.len);
                p->child[i].len = b.len;
            } else {
                fuzz_draw(in, t, &p->child[i], depth + 1);
            }
        }
    }
}

static size_t fuzz_number(const unsigned char *key, size_t len, size_t *at)
{
    size_t x = 0;
    for (unsigned shift = 0;; shift += 7) {
        FUZZ_MUST(*at < len && shift < 28);
        const unsigned char byte = key[(*at)++];
        x |= (size_t)(byte & 0x7f) << shift;
        if (byte < 0x80) { return x; }
    }
}

/* Read one part of a key. Written from the description in the design, not from key.c. */
static void fuzz_read(fuzz_tree *t, fuzz_part *p, const unsigned char *key, size_t len, size_t *at)
{
    FUZZ_MUST(*at < len);
    p->type = (char)key[(*at)++];
    const size_t n = fuzz_number(key, len, at);
    if (p->type == '[' || p->type == '{') {
        p->len = p->type == '{' ? 2 * n : n;
        FUZZ_MUST(p->len <= len);
        p->child = fuzz_parts(t, p->len);
        for (size_t i = 0; i < p->len; i++) { fuzz_read(t, &p->child[i], key, len, at); }
        return;
    }
    FUZZ_MUST(n <= len - *at);
    if (p->type == 's') {
        FUZZ_MUST(n <= sizeof p->bytes);
        memcpy(p->bytes, key + *at, n);
        p->len = n;
    } else if (p->type == 'i' || p->type == 'u' || p->type == 'd') {
        FUZZ_MUST(n == 8);
        for (size_t i = 0; i < 8; i++) { p->bits = p->bits << 8 | key[*at + i]; }
    } else {
        FUZZ_MUST(n == 0 && (p->type == 't' || p->type == 'f' || p->type == 'n'));
    }
    *at += n;
}

static bool fuzz_same(const fuzz_part *a, const fuzz_part *b)
{
    if (a->type != b->type || a->len != b->len) { return false; }
    if (a->type == 's') { return memcmp(a->bytes, b->bytes, a->len) == 0; }
    if (a->type != '[' && a->type != '{') { return a->bits == b->bits || a->type > 'k'; }
    for (size_t i = 0; i < a->len; i++) {
        if (!fuzz_same(&a->child[i], &b->child[i])) { return false; }
    }
    return true;
}

static void fuzz_tree_of_parts(fuzz_in *in)
{
    static fuzz_tree drawn, got;
    unsigned char key[CELLAR_KEY_BUILT_MAX], again[CELLAR_KEY_BUILT_MAX];
    size_t len = 0, len_again = 0, count = 1 + fuzz_u8(in) % 4;
    cellar_key_builder b;
    drawn.used = got.used = 0;
    fuzz_part *parts = fuzz_parts(&drawn, count);
    cellar_key_begin(&b);
    bool fine = true;
    for (size_t i = 0; i < count; i++) { fuzz_draw(in, &drawn, &parts[i], 0); }
    for (size_t i = 0; i < count; i++) {
        (void)fuzz_add(&b, &parts[i]); /* the first error stays */
    }
    for (size_t i = 0; i < count; i++) { fine = fuzz_settle(&parts[i]) && fine; }
    const cellar_err err = cellar_key_finish(&b, key, sizeof key, &len);
    FUZZ_MUST(err == (fine ? CELLAR_OK : CELLAR_E_INVAL));
    cellar_key_discard(&b);
    if (!fine) { return; }
    if (key[0] == '#') {
        FUZZ_MUST(len == 33);
        return;
    }
    fuzz_part *read = fuzz_parts(&got, count);
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        fuzz_read(&got, &read[i], key, len, &at);
        FUZZ_MUST(fuzz_same(&parts[i], &read[i]));
    }
    FUZZ_MUST(at == len);
    cellar_key_begin(&b);
    for (size_t i = 0; i < count; i++) { FUZZ_MUST(fuzz_add(&b, &read[i]) == CELLAR_OK); }
    FUZZ_MUST(cellar_key_finish(&b, again, sizeof again, &len_again) == CELLAR_OK);
    FUZZ_MUST(len_again == len && memcmp(again, key, len) == 0);
    fuzz_keys++;
}

/* Calls in any order: the builder refuses, or makes a key that can be read. */
static void fuzz_calls_of_a_builder(fuzz_in *in)
{
    static fuzz_tree got;
    unsigned char key[CELLAR_KEY_BUILT_MAX];
    size_t len = 0, at = 0;
    cellar_key_builder b;
    cellar_key_begin(&b);
    while (in->n != 0) {
        const uint8_t call = fuzz_u8(in);
        double x;
        uint64_t bits = 0;
        cellar_bytes bytes;
        switch (call % 8) {
        case 0:
            bytes = fuzz_bytes(in, fuzz_u8(in) % 8);
            (void)cellar_key_add(&b, cellar_arg_bytes((cellar_bytes){ bytes.data, bytes.len }));
            break;
        case 1: (void)cellar_key_add(&b, cellar_arg_i64((int8_t)fuzz_u8(in))); break;
        case 2:
            bytes = fuzz_bytes(in, 8);
            memcpy(&bits, bytes.data, bytes.len);
            memcpy(&x, &bits, sizeof x);
            (void)cellar_key_add(&b, cellar_arg_f64(x));
            break;
        case 3: (void)cellar_key_add(&b, cellar_arg_bool(call > 127)); break;
        case 4: (void)cellar_key_add(&b, cellar_arg_null()); break;
        case 5: (void)cellar_key_add(&b, cellar_arg_list()); break;
        case 6: (void)cellar_key_add(&b, cellar_arg_map()); break;
        default: (void)cellar_key_end(&b); break;
        }
    }
    const cellar_err err = cellar_key_finish(&b, key, sizeof key, &len);
    cellar_key_discard(&b);
    if (err != CELLAR_OK || key[0] == '#') { return; }
    got.used = 0;
    while (at < len) { fuzz_read(&got, fuzz_parts(&got, 1), key, len, &at); }
}

/* ---- values ---- */

static cellar_err fuzz_answer(cellar_load *load, const cellar_llm_request *req, void *ctx)
{
    (void)req, (void)ctx;
    cellar_llm_usage u = { .struct_size = sizeof u, .complete = 1 };
    return cellar_llm_set_answer(load, "made", 4, &u);
}

static void fuzz_stored_answer(const void *value, size_t len)
{
    cellar_llm *llm = NULL;
    cellar_llm_request q = cellar_llm_request_default();
    cellar_result r = cellar_result_default();
    unsigned char key[CELLAR_KEY_BUILT_MAX];
    size_t key_len = 0;
    q.model = (cellar_bytes){ "m", 1 };
    q.prompt = (cellar_bytes){ "p", 1 };
    q.flags = CELLAR_LLM_SHARED;
    cellar_llm_answer a = { .struct_size = sizeof a, .result = &r };
    FUZZ_MUST(cellar_llm_key(&q, key, sizeof key, &key_len) == CELLAR_OK);
    FUZZ_MUST(cellar_set(fuzz_store, key, key_len, value, len, NULL) == CELLAR_OK);
    FUZZ_MUST(cellar_llm_open(fuzz_store, NULL, &llm) == CELLAR_OK);
    FUZZ_MUST(cellar_llm_get_or_call(llm, &q, fuzz_answer, NULL, &a) == CELLAR_OK);
    FUZZ_MUST((a.text_len == 4 && memcmp(a.text, "made", 4) == 0) || a.text_len + 24 == len);
    cellar_result_free(&r);
    cellar_llm_close(llm);
}

static cellar_err fuzz_embed(cellar_embeddings_call *call, const cellar_bytes *texts, size_t count,
                             void *ctx)
{
    static const float vector[3] = { 1, 2, 3 };
    (void)texts, (void)ctx;
    for (size_t i = 0; i < count; i++) { (void)cellar_embeddings_set(call, i, vector, 3); }
    return CELLAR_OK;
}

static void fuzz_stored_vector(const void *value, size_t len)
{
    const cellar_bytes text = { "t", 1 };
    for (int type = CELLAR_VECTOR_F32; type <= CELLAR_VECTOR_I8; type++) {
        cellar_embeddings_config o = cellar_embeddings_config_default();
        cellar_embeddings *e = NULL;
        cellar_key_builder b;
        unsigned char key[CELLAR_KEY_BUILT_MAX];
        size_t key_len = 0;
        float out[3];
        cellar_err status;
        o.model = (cellar_bytes){ "m", 1 };
        o.dim = 3;
        o.type = (cellar_vector_type)type;
        cellar_key_begin(&b); /* as written in the head of src/guests/kit/embedding.c */
        (void)cellar_key_add(&b, CELLAR_ARG("emb1"));
        (void)cellar_key_add(&b, CELLAR_ARG(""));
        (void)cellar_key_add(&b, cellar_arg_null());
        (void)cellar_key_add(&b, CELLAR_ARG("m"));
        (void)cellar_key_add(&b, cellar_arg_u64(3));
        (void)cellar_key_add(&b, cellar_arg_u64((uint64_t)type));
        (void)cellar_key_add(&b, CELLAR_ARG("t"));
        FUZZ_MUST(cellar_key_finish(&b, key, sizeof key, &key_len) == CELLAR_OK);
        FUZZ_MUST(cellar_set(fuzz_store, key, key_len, value, len, NULL) == CELLAR_OK);
        FUZZ_MUST(cellar_embeddings_open(fuzz_store, &o, &e) == CELLAR_OK);
        FUZZ_MUST(cellar_embeddings_get_many(e, &text, 1, fuzz_embed, NULL, out, &status) ==
                   CELLAR_OK);
        FUZZ_MUST(status == CELLAR_OK);
        cellar_embeddings_close(e);
    }
}

static void fuzz_any_value(fuzz_in *in)
{
    int64_t i = 1;
    double d = 1;
    float f[4];
    size_t count = 0;
    const cellar_bytes v = fuzz_bytes(in, in->n);
    FUZZ_MUST(cellar_set(fuzz_store, "v", 1, v.data, v.len, NULL) == CELLAR_OK);
    const cellar_err number = v.len == 8 ? CELLAR_OK : CELLAR_E_TYPE;
    FUZZ_MUST(cellar_get_i64(fuzz_store, "v", 1, &i) == number);
    FUZZ_MUST(cellar_get_f64(fuzz_store, "v", 1, &d) == number);
    const cellar_err floats = cellar_get_f32s(fuzz_store, "v", 1, f, 4, &count);
    FUZZ_MUST(floats == (v.len % 4 != 0 ? CELLAR_E_TYPE : v.len > 16 ? CELLAR_E_BUFFER
                                                                      : CELLAR_OK));
    FUZZ_MUST(floats == CELLAR_E_TYPE || count == v.len / 4);
    fuzz_stored_answer(v.data, v.len);
    fuzz_stored_vector(v.data, v.len);
}

/* ---- values that may not decode: words, each behind a byte with its length ---- */

/* Return whether bytes are words that fill them to the end, and their number. */
static bool fuzz_is_words(const unsigned char *p, size_t len, size_t *count)
{
    for (*count = 0; len != 0 && *count < 64; (*count)++) {
        const size_t n = *p;
        if (n >= len) { return false; }
        p += 1 + n;
        len -= 1 + n;
    }
    return len == 0;
}

static uint64_t fuzz_damaged(void)
{
    cellar_stats st = cellar_stats_default();
    FUZZ_MUST(cellar_stats_get(fuzz_objects, CELLAR_SCOPE_NAMESPACE, &st) == CELLAR_OK);
    return st.decode_errors;
}

/* Read a value as cellar.hpp does: a damaged one is removed, unless another one replaced it. */
static void fuzz_object(const unsigned char *value, size_t len)
{
    static const char other[] = { 3, 't', 'w' }; /* a word that is too short */
    size_t count;
    const bool good = fuzz_is_words(value, len, &count);
    const bool same = len == sizeof other && memcmp(value, other, len) == 0;
    const uint64_t before = fuzz_damaged();
    FUZZ_MUST(cellar_set(fuzz_objects, "o", 1, value, len, NULL) == CELLAR_OK);
    FUZZ_MUST(cellar_value_damaged(fuzz_objects, "o", 1, other, sizeof other) ==
               (same ? CELLAR_OK : CELLAR_MISS));
    FUZZ_MUST(cellar_contains(fuzz_objects, "o", 1) == (same ? CELLAR_MISS : CELLAR_OK));
    if (!same && !good) {
        FUZZ_MUST(cellar_value_damaged(fuzz_objects, "o", 1, value, len) == CELLAR_OK);
        FUZZ_MUST(cellar_contains(fuzz_objects, "o", 1) == CELLAR_MISS);
    }
    FUZZ_MUST(fuzz_damaged() == before + 1 + (!same && !good ? 1 : 0));
    if (good) { fuzz_good++; }
}

static void fuzz_changed_object(fuzz_in *in)
{
    unsigned char value[512] = { 0 };
    size_t len = 0;
    for (size_t i = 0, words = fuzz_u8(in) % 8; i < words; i++) {
        const cellar_bytes word = fuzz_bytes(in, fuzz_u8(in) % 20);
        value[len] = (unsigned char)word.len;
        memcpy(value + len + 1, word.data, word.len);
        len += 1 + word.len;
    }
    while (in->n != 0 && len != 0) {
        const size_t where = fuzz_u16(in);
        value[where % len] = fuzz_u8(in);
    }
    fuzz_object(value, len);
}

/* ---- texts ---- */

/* Return how often 8 bytes occur in a text. */
static size_t fuzz_count(const char *text, size_t len, const char *bytes)
{
    size_t n = 0;
    for (size_t i = 0; i + 8 <= len; i++) { n += memcmp(text + i, bytes, 8) == 0; }
    return n;
}

static void fuzz_text(fuzz_in *in)
{
    static const char *const before[] = {
        "token=", "Password: ", "\"access_token\":\"", "x-api-key:", "Bearer ", "secret = '", "sk-",
        "http://user:", "Authorization: Basic ", "set-cookie: id=", "\"api_key\": \"", "apikey=",
        "\\\"token\\\":\\\"", "\\u0022secret\\u0022:\\u0022"
    };
    static const char *const after[] = { " ", "\r\n", "\"", "&b=", "\t", "'", " ", "@host/", "\n",
                                         "\n", "\", ", "\n", "\\\"", "\\u0022" };
    static const char delimiters[] = " \n\t;,{}&?()[]|<>.-_:=+*@#/\\\"'";
    char secret[48], text[1024], out[4096];
    const unsigned which = fuzz_u8(in) % 14;
    const char delimiter = delimiters[fuzz_u8(in) % (sizeof delimiters - 1)];
    const size_t secret_len = 8 + fuzz_u8(in) % 40;
    for (size_t i = 0; i < secret_len; i++) {
        secret[i] = (char)('A' + (i * 7 + secret_len) % 23); /* no 8 bytes of it come twice */
        if (i % 5 == 4) { secret[i] = (char)('0' + i / 5); }
    }
    const size_t split = fuzz_u8(in) * in->n / 255;
    const cellar_bytes start = fuzz_bytes(in, split < 200 ? split : 200);
    const cellar_bytes rest = fuzz_bytes(in, 200);
    size_t len = 0;
    const struct { const void *p; size_t n; } piece[] = {
        { start.data, start.len }, { &delimiter, 1 }, { before[which], strlen(before[which]) },
        { secret, secret_len }, { after[which], strlen(after[which]) }, { rest.data, rest.len }
    };
    for (size_t i = 0; i < sizeof piece / sizeof *piece; i++) {
        memcpy(text + len, piece[i].p, piece[i].n);
        len += piece[i].n;
    }
    const size_t full = cellar_redact(text, len, out, sizeof out);
    FUZZ_MUST(full < sizeof out && out[full] == '\0');
    for (size_t i = 0; i + 8 <= secret_len; i++) {
        if (fuzz_count(text, len, secret + i) != 1) { continue; } /* the rest has it, too */
        const size_t left = fuzz_count(out, full, secret + i);
        if (left != 0) { fprintf(stderr, "%.*s\n-> %s\n", (int)len, text, out); }
        FUZZ_MUST(left == 0);
    }
    char part[64];
    const size_t cap = secret_len % sizeof part;
    FUZZ_MUST(cellar_redact(text, len, part, cap) == full);
    FUZZ_MUST(cap == 0 || memcmp(part, out, cap - 1 < full ? cap - 1 : full) == 0);
    size_t masks = 0;
    for (size_t i = 0; i + 3 <= full; i++) {
        if (memcmp(out + i, "***", 3) != 0) { continue; }
        masks++;
        i += 2;
    }
    FUZZ_MUST(full <= len + 2 * masks);
    fuzz_masks++;
}

/* ---- addresses ---- */

static void fuzz_address(fuzz_in *in)
{
    static const char host[] = "https://good.com";
    char url[64] = "https://good.com:443/p%20q?r", rules[256];
    size_t len = strlen(url);
    for (size_t n = fuzz_u8(in) % 6; n > 0; n--) {
        const size_t at = fuzz_u8(in) % (len + 1);
        const unsigned what = fuzz_u8(in) % 3;
        const char byte = (char)fuzz_u8(in);
        if (what == 0 && at < len) { /* removed */
            memmove(url + at, url + at + 1, --len - at);
        } else {
            if (what == 1) { memmove(url + at + 1, url + at, len++ - at); } /* inserted */
            if (at < len) { url[at] = byte; }
        }
    }
    const char *why;
    if (cellar_url_allowed(host, url, len, &why) == CELLAR_OK) {
        size_t same = 0;
        while (same < len && host[same] != 0 && (url[same] | 32) == (host[same] | 32)) { same++; }
        FUZZ_MUST(same == sizeof host - 1);
        FUZZ_MUST(len == same || url[same] == '/' || memcmp(url + same, ":443", 4) == 0);
        fuzz_allowed++;
    } else {
        FUZZ_MUST(why != NULL);
    }
    const cellar_bytes rest = fuzz_bytes(in, sizeof rules - 1);
    memcpy(rules, rest.data, rest.len);
    rules[rest.len] = '\0';
    if (cellar_url_allowed(rules, url, len, &why) == CELLAR_E_CONFIG) {
        FUZZ_MUST(why >= rules && why <= rules + rest.len);
    }
}

/* ---- templates ---- */

static void fuzz_template(fuzz_in *in)
{
    char text[64];
    cellar_template t;
    cellar_bytes value[CELLAR_TEMPLATE_VALUES_MAX], got[CELLAR_TEMPLATE_VALUES_MAX];
    unsigned char key[2048], bytes[2048];
    size_t key_len = 0, holes = 0;
    const cellar_bytes b = fuzz_bytes(in, fuzz_u8(in) % 40);
    for (size_t i = 0; i < b.len; i++) {
        static const char usual[] = "a:{}%_x";
        const unsigned char c = ((const unsigned char *)b.data)[i];
        text[i] = c < 200 ? usual[c % 7] : (char)(c == 255 ? 'z' : c);
    }
    text[b.len] = '\0';
    if (cellar_template_compile(b.len % 2 == 0 ? "app:" : NULL, text, &t) != CELLAR_OK) { return; }
    for (const char *p = text; *p != '\0'; p++) { holes += *p == '{'; }
    FUZZ_MUST(holes <= CELLAR_TEMPLATE_VALUES_MAX);
    for (size_t i = 0; i < holes; i++) { value[i] = fuzz_bytes(in, fuzz_u8(in) % 20); }
    const cellar_err err = cellar_template_key(&t, value, holes, key, sizeof key, &key_len);
    FUZZ_MUST(err == CELLAR_OK);
    FUZZ_MUST(cellar_template_match(&t, key, key_len, got, holes, bytes, sizeof bytes) ==
               CELLAR_OK);
    for (size_t i = 0; i < holes; i++) {
        FUZZ_MUST(got[i].len == value[i].len &&
                   (got[i].len == 0 || memcmp(got[i].data, value[i].data, got[i].len) == 0));
    }
    const cellar_bytes other = fuzz_bytes(in, in->n); /* a key of any origin */
    if (other.len == 0 || other.len > sizeof bytes ||
        cellar_template_match(&t, other.data, other.len, got, holes, bytes, sizeof bytes) !=
            CELLAR_OK) {
        return;
    }
    FUZZ_MUST(cellar_template_key(&t, got, holes, key, sizeof key, &key_len) == CELLAR_OK);
    FUZZ_MUST(key_len == other.len && memcmp(key, other.data, key_len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fuzz_in in = { data, n < 4096 ? n : 4096 };
    if (fuzz_store == NULL) { fuzz_begin(); }
    switch (fuzz_u8(&in) % 8) {
    case 0: fuzz_tree_of_parts(&in); break;
    case 1: fuzz_calls_of_a_builder(&in); break;
    case 2: fuzz_any_value(&in); break;
    case 3: fuzz_text(&in); break;
    case 4: fuzz_template(&in); break;
    case 5: fuzz_object(in.p, in.n); break;
    case 6: fuzz_changed_object(&in); break;
    default: fuzz_address(&in); break;
    }
    return 0;
}
