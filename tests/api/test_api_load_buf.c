/* SPDX-License-Identifier: MIT
 *
 * Aim:    results of loads without a copy: the growing buffer of a loader (cellar_load_buf) and
 *         hits that stay in place (CELLAR_LOAD_PIN).
 * Method: public calls only; loaders that follow a short script, an allocator that refuses the n-th
 *         block, pins that take every slot. Blocks are counted after each case. */
#include <pthread.h>

#include "tests/support/api_kit.h"
#include "tests/support/loader.h"
#include "tests/support/spaces.h"

static cellar *open_store(void) { return api_open(4u << 20); }

static cellar_err load(cellar *c, const char *key, const cellar_load_opts *o, cellar_loader_fn fn,
                       void *ctx, cellar_result *r)
{
    *r = cellar_result_default();
    return cellar_get_or_load(c, key, strlen(key), o, fn, ctx, r);
}

/* ---- cellar_load_buf ---- */

/* Appends *ctx bytes, 'a', 'b', .., in pieces of 1, 2, 3, .. bytes. */
static cellar_err append_pieces(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len;
    const size_t total = *(const size_t *)ctx;
    cellar_buf *b = cellar_load_buf(ld);
    char piece[300];
    size_t at = 0;
    for (size_t n = 1; at < total; n = n % sizeof piece + 1) {
        const size_t len = n < total - at ? n : total - at;
        for (size_t i = 0; i < len; i++) { piece[i] = (char)('a' + (at + i) % 26); }
        T_EQ_I64(cellar_buf_append(b, piece, len), CELLAR_OK);
        at += len;
    }
    return CELLAR_OK;
}

static bool is_alphabet(const void *value, size_t len)
{
    const char *text = value;
    for (size_t i = 0; i < len; i++) {
        if (text[i] != (char)('a' + i % 26)) { return false; }
    }
    return true;
}

#define STORE(fn) T_WITH(fn, cellar *c, c, open_store(), api_shut(c))
#define STORE2(fn) T_WITH(fn, cellar *c, c, open_short(), api_shut(c))

T_CASE_ON(load_buf_of_any_length_is_the_result, STORE)
{
    static const size_t lengths[] = { 0, 1, 1023, 1024, 1025, 5000, 100000 };
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        size_t len = lengths[i];
        char room[2048];
        const char *key = t_numbered("", len);
        cellar_result r = { .struct_size = sizeof r, .buf = room, .buf_cap = sizeof room };
        T_EQ_I64(cellar_get_or_load(c, key, strlen(key), NULL, append_pieces, &len, &r), CELLAR_OK);
        T_FIELDS(r, source, CELLAR_SOURCE_LOADED, value_len, len);
        T_CHECK((r.value == room) == (len <= sizeof room));
        T_CHECK(is_alphabet(r.value, len));
        cellar_result_free(&r);
        T_EQ_I64(cellar_get_or_load(c, key, strlen(key), NULL, append_pieces, NULL, &r), CELLAR_OK);
        T_FIELDS(r, source, CELLAR_SOURCE_L1, value_len, len);
        T_CHECK(is_alphabet(r.value, len));
        cellar_result_free(&r);
    }
}

typedef enum step {
    END = 0,      /* return OK */
    EMPTY,        /* ask for the buffer, append nothing */
    APPEND,       /* "x" to the buffer; OK */
    AGAIN,        /* the second call returns the same buffer */
    RESIZE,       /* to 3 zero bytes */
    TOO_LONG,     /* append more than max_value_bytes */
    TOO_LONG_TOO, /* the same where the buffer has failed: the code of the first failure */
    FAILED,       /* append "x": the code of the first failure */
    NO_BYTES,     /* append NULL with a length */
    SET_VALUE,    /* cellar_load_value "v", OK */
    SET_TWICE,    /* cellar_load_value "v", E_RESULT_TWICE */
    AFTER_TWICE,  /* append: E_RESULT_TWICE */
    NO_BUFFER,    /* cellar_load_buf returns NULL */
    TAKE_TWICE,   /* cellar_load_take, E_RESULT_TWICE */
    TAKE,         /* cellar_load_take "abc", OK */
    ABSENT,       /* cellar_load_absent, OK */
    UNCHANGED,    /* cellar_load_not_modified, OK */
    FAIL,         /* cellar_load_fail 503 */
    RETURN_ERROR, /* return E_IO */
    LEAVE         /* end the thread */
} step;

static void take_back(void *value, void *ctx) { (void)ctx; free(value); }

/* Follow the steps of `ctx`. */
static cellar_err follow(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    static const char zeros[70000];
    cellar_buf *b = NULL;
    cellar_err first = CELLAR_OK;
    void *data = NULL;
    (void)key, (void)key_len;
    for (const step *at = ctx;; at++) {
        switch (*at) {
        case END: return CELLAR_OK;
        case EMPTY:
            b = cellar_load_buf(ld);
            T_CHECK(b != NULL);
            break;
        case APPEND:
            b = cellar_load_buf(ld);
            T_EQ_I64(cellar_buf_append(b, "x", 1), CELLAR_OK);
            break;
        case AGAIN: T_CHECK(b != NULL && cellar_load_buf(ld) == b); break;
        case RESIZE:
            T_EQ_I64(cellar_buf_resize(b, 3, &data), CELLAR_OK);
            T_REQUIRE(data != NULL);
            break;
        case TOO_LONG:
            first = cellar_buf_append(b, zeros, sizeof zeros);
            T_EQ_I64(first, CELLAR_E_TOOBIG);
            break;
        case TOO_LONG_TOO: T_EQ_I64(cellar_buf_append(b, zeros, sizeof zeros), first); break;
        case FAILED:
            T_EQ_I64(cellar_buf_append(b, "x", 1), first);
            T_EQ_I64(cellar_buf_append(cellar_load_buf(ld), "x", 1), first);
            T_EQ_I64(cellar_buf_resize(b, 0, &data), first);
            T_CHECK(data == NULL);
            break;
        case NO_BYTES:
            first = cellar_buf_append(b, NULL, 1);
            T_EQ_I64(first, CELLAR_E_INVAL);
            break;
        case SET_VALUE: T_EQ_I64(cellar_load_value(ld, "v", 1), CELLAR_OK); break;
        case SET_TWICE: T_EQ_I64(cellar_load_value(ld, "v", 1), CELLAR_E_RESULT_TWICE); break;
        case AFTER_TWICE:
            T_EQ_I64(cellar_buf_append(b, "x", 1), CELLAR_E_RESULT_TWICE);
            T_EQ_I64(cellar_buf_resize(b, 5000, &data), CELLAR_E_RESULT_TWICE);
            T_CHECK(data == NULL && cellar_load_buf(ld) == NULL);
            break;
        case NO_BUFFER:
            T_CHECK(cellar_load_buf(ld) == NULL);
            T_EQ_I64(cellar_buf_append(cellar_load_buf(ld), "x", 1), CELLAR_E_INVAL);
            break;
        case TAKE_TWICE:
            data = malloc(3);
            T_REQUIRE(data != NULL);
            T_EQ_I64(cellar_load_take(ld, data, 3, take_back, NULL), CELLAR_E_RESULT_TWICE);
            break;
        case TAKE:
            data = malloc(3);
            T_REQUIRE(data != NULL);
            memcpy(data, "abc", 3);
            T_EQ_I64(cellar_load_take(ld, data, 3, take_back, NULL), CELLAR_OK);
            break;
        case ABSENT: T_EQ_I64(cellar_load_absent(ld), CELLAR_OK); break;
        case UNCHANGED: T_EQ_I64(cellar_load_not_modified(ld), CELLAR_OK); break;
        case FAIL: T_EQ_I64(cellar_load_fail(ld, 503, 0, 0), CELLAR_OK); break;
        case RETURN_ERROR: return CELLAR_E_IO;
        case LEAVE: pthread_exit(NULL);
        }
    }
}

static cellar *open_short(void) /* values up to 65,536 bytes */
{
    settings cfg = api_config(4u << 20);
    cfg.tuning.max_value_bytes = 65536;
    return api_open_with(&cfg);
}

T_CASE_ON(load_buf_may_be_asked_for_again_and_resized, STORE)
{
    cellar_result r;
    step steps[] = { APPEND, AGAIN, RESIZE, AGAIN, END };
    T_EQ_I64(load(c, "k", NULL, follow, steps, &r), CELLAR_OK);
    T_EQ_U64(r.value_len, 3);
    T_EQ_MEM(r.value, "x\0\0", 3);
    cellar_result_free(&r);
}

/* Each row: what a loader does, and what its load fails with; nothing is stored. */
T_CASE_ON(load_buf_that_failed_fails_the_load, STORE2)
{
    struct row { step steps[8]; cellar_err err; int32_t loader_err; } rows[] = {
        { { APPEND, TOO_LONG, FAILED, END }, CELLAR_E_TOOBIG, 0 },
        { { APPEND, TOO_LONG, RETURN_ERROR }, CELLAR_E_TOOBIG, 0 },
        { { APPEND, NO_BYTES, FAILED, END }, CELLAR_E_INVAL, 0 },
        { { APPEND, TOO_LONG, SET_VALUE, FAILED, END }, CELLAR_E_TOOBIG, 0 },
        { { APPEND, NO_BYTES, TOO_LONG_TOO, FAILED, END }, CELLAR_E_INVAL, 0 },
        { { APPEND, SET_TWICE, AFTER_TWICE, END }, CELLAR_E_RESULT_TWICE, 0 },
        { { APPEND, TAKE_TWICE, AFTER_TWICE, END }, CELLAR_E_RESULT_TWICE, 0 },
        { { SET_VALUE, NO_BUFFER, END }, CELLAR_E_RESULT_TWICE, 0 },
        { { APPEND, FAIL, END }, CELLAR_E_LOADER, 503 },
        { { APPEND, FAIL, RETURN_ERROR }, CELLAR_E_LOADER, 503 },
        { { APPEND, RETURN_ERROR }, CELLAR_E_LOADER, CELLAR_E_IO },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cellar_result r;
        bool ok = T_EQ_I64(load(c, "k", NULL, follow, rows[i].steps, &r), rows[i].err);
        ok = T_EQ_I64(r.loader_err, rows[i].loader_err) && ok;
        ok = T_CHECK(r.value == NULL && r.value_len == 0) && ok;
        ok = T_EQ_STR(api_look(c, "k"), "MISS") && ok;
        if (!ok) { printf("# row %zu\n", i); }
        cellar_result_free(&r);
    }
}

/* Each row: what a loader sets behind a buffer without bytes, and the result of the load. */
T_CASE_ON(empty_load_buf_is_replaced_by_another_result, STORE2)
{
    const cellar_err twice = CELLAR_E_RESULT_TWICE;
    struct row { step steps[8]; cellar_err err; const char *value; } rows[] = {
        { { EMPTY, END }, CELLAR_OK, "" },
        { { EMPTY, ABSENT, END }, CELLAR_ABSENT, NULL },
        { { EMPTY, SET_VALUE, END }, CELLAR_OK, "v" },
        { { EMPTY, TAKE, END }, CELLAR_OK, "abc" },
        { { EMPTY, UNCHANGED, END }, CELLAR_OK, "old" },
        { { EMPTY, FAIL, END }, CELLAR_E_LOADER, NULL },
        { { EMPTY, SET_VALUE, SET_TWICE, END }, twice, NULL },
        { { EMPTY, SET_VALUE, AFTER_TWICE, END }, twice, NULL },
        { { EMPTY, TAKE, TAKE_TWICE, END }, twice, NULL },
        { { EMPTY, ABSENT, AFTER_TWICE, END }, twice, NULL },
        { { EMPTY, UNCHANGED, NO_BUFFER, END }, twice, NULL },
    };
    const cellar_load_opts *o = LOAD_OPTS(.flags = CELLAR_LOAD_REFRESH);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cellar_result r;
        cellar_error_info e = cellar_error_info_default();
        const char *value = rows[i].value != NULL ? rows[i].value : "";
        T_EQ_I64(cellar_set(c, "k", 1, "old", 3, NULL), CELLAR_OK);
        bool ok = T_EQ_I64(load(c, "k", o, follow, rows[i].steps, &r), rows[i].err);
        ok = T_EQ_U64(r.value_len, strlen(value)) && ok;
        if (r.value_len == strlen(value)) { ok = T_EQ_MEM(r.value, value, r.value_len) && ok; }
        T_EQ_I64(cellar_last_error(c, &e), CELLAR_OK);
        ok = T_EQ_I64(e.code == twice, rows[i].err == twice) && ok;
        ok = T_EQ_I64(e.text[0] != '\0', rows[i].err == twice) && ok;
        if (!ok) { printf("# row %zu\n", i); }
        cellar_result_free(&r);
    }
}

T_CASE_ON(load_buf_of_the_longest_value_is_stored, STORE2)
{
    cellar_result r;
    size_t len = 65536;
    T_EQ_I64(load(c, "k", NULL, append_pieces, &len, &r), CELLAR_OK);
    T_EQ_U64(r.value_len, 65536);
    cellar_result_free(&r);
    T_EQ_I64(cellar_contains(c, "k", 1), CELLAR_OK);
}

T_CASE_ON(load_buf_of_a_fallback_is_a_new_one, STORE2)
{
    cellar_result r;
    cellar_load_opts o = cellar_load_opts_default();
    step failing[] = { APPEND, TOO_LONG, END }, twice[] = { APPEND, SET_TWICE, END };
    step working[] = { APPEND, AGAIN, END };
    o.fallback[0] = (cellar_fallback){ follow, twice };
    o.fallback[1] = (cellar_fallback){ follow, failing };
    o.fallback[2] = (cellar_fallback){ follow, working };
    T_EQ_I64(load(c, "k", &o, follow, failing, &r), CELLAR_OK);
    T_FIELDS(r, source, CELLAR_SOURCE_FALLBACK, value_len, 1);
    T_EQ_MEM(r.value, "x", 1);
    cellar_result_free(&r);
}

/* Report each key by its first letter, with another call of a loader. */
static cellar_err set_by_letter(cellar_load *ld, const cellar_bytes *keys, size_t count, void *ctx)
{
    cellar_buf *b = NULL;
    (void)ctx;
    T_CHECK(cellar_load_buf(ld) == NULL);
    T_EQ_I64(cellar_load_select(ld, count), CELLAR_E_INVAL);
    T_EQ_I64(cellar_load_value(ld, "x", 1), CELLAR_E_INVAL);
    cellar_set_opts o = { .struct_size = sizeof o, .user_flags = 1 };
    T_EQ_I64(cellar_load_opts_set(ld, &o), CELLAR_OK); /* of all keys */
    for (size_t i = 0; i < count; i++) {
        T_EQ_I64(cellar_load_select(ld, i), CELLAR_OK);
        if (b != NULL) { T_EQ_I64(cellar_buf_append(b, "late", 4), CELLAR_E_INVAL); }
        b = NULL;
        switch (*(const char *)keys[i].data) {
        case 'a': T_EQ_I64(cellar_load_absent(ld), CELLAR_OK); break;
        case 'b':
            b = cellar_load_buf(ld);
            T_EQ_I64(cellar_buf_append(b, "bu", 2), CELLAR_OK);
            T_CHECK(cellar_load_select(ld, i) == CELLAR_OK && cellar_load_buf(ld) == b);
            T_EQ_I64(cellar_buf_append(b, "ffer", 4), CELLAR_OK);
            break;
        case 'f':
            T_EQ_I64(cellar_load_value(ld, "lost", 4), CELLAR_OK);
            T_EQ_I64(cellar_load_fail(ld, 503, 2000, CELLAR_FAIL_FINAL), CELLAR_OK);
            break;
        case 'o':
            o.user_flags = 2;
            o.flags = CELLAR_NO_STORE;
            T_EQ_I64(cellar_load_opts_set(ld, &o), CELLAR_OK);
            T_EQ_I64(cellar_load_value(ld, "opts", 4), CELLAR_OK);
            break;
        case 's': {
            const cellar_load_info info = loader_info(ld);
            T_EQ_U64(info.has_stale, 1);
            T_EQ_MEM(info.stale_value, "old", 3);
            T_EQ_I64(cellar_load_not_modified(ld), CELLAR_OK);
            break;
        }
        case 't': {
            char *block = malloc(4);
            T_REQUIRE(block != NULL);
            memcpy(block, "take", 4);
            T_EQ_I64(cellar_load_take(ld, block, 4, take_back, NULL), CELLAR_OK);
            break;
        }
        case 'w': T_EQ_U64(loader_info(ld).has_stale, 0); break; /* the whole load speaks */
        default:
            T_EQ_I64(cellar_load_value(ld, "v", 1), CELLAR_OK);
            T_EQ_I64(cellar_load_absent(ld), CELLAR_E_RESULT_TWICE);
        }
    }
    return CELLAR_E_IO;
}

T_CASE(selected_key_of_a_bulk_loader_takes_each_call)
{
    static const struct { const char *key; cellar_err err; const char *value; uint32_t flags; }
    want[] = {
        { "b", CELLAR_OK, "buffer", 1 }, { "a", CELLAR_ABSENT, NULL, 0 },
        { "b2", CELLAR_OK, "buffer", 1 }, { "o", CELLAR_OK, "opts", 2 },
        { "f", CELLAR_E_LOADER, NULL, 0 }, { "s", CELLAR_OK, "old", 0 },
        { "t", CELLAR_OK, "take", 1 }, { "w", CELLAR_E_LOADER, NULL, 0 },
        { "2", CELLAR_E_RESULT_TWICE, NULL, 0 },
    };
    enum { COUNT = sizeof want / sizeof want[0] };
    cellar *c = closed_later(open_store());
    cellar_result r[COUNT];
    cellar_load_item it[COUNT];
    cellar_load_opts o = { .struct_size = sizeof o, .flags = CELLAR_LOAD_REFRESH,
                           .error_ttl_ms = 1000 };
    T_EQ_I64(cellar_set(c, "s", 1, "old", 3, NULL), CELLAR_OK);
    for (size_t i = 0; i < COUNT; i++) {
        r[i] = cellar_result_default();
        it[i] = (cellar_load_item){ want[i].key, strlen(want[i].key), &r[i], CELLAR_OK, 0 };
    }
    T_EQ_I64(cellar_get_or_load_many(c, it, COUNT, &o, set_by_letter, NULL), CELLAR_OK);
    for (size_t i = 0; i < COUNT; i++) {
        bool ok = T_EQ_I64(it[i].status, want[i].err);
        const size_t len = want[i].value != NULL ? strlen(want[i].value) : 0;
        ok = T_EQ_U64(r[i].value_len, len) && ok;
        if (r[i].value_len == len && len != 0) { T_EQ_MEM(r[i].value, want[i].value, len); }
        ok = T_EQ_U64(r[i].user_flags, want[i].flags) && ok;
        ok = T_EQ_U64(r[i].flags, want[i].key[0] == 'o' ? CELLAR_RESULT_NOT_STORED : 0) && ok;
        if (!ok) { printf("# key %s\n", want[i].key); }
    }
    T_FIELDS(r[4], loader_err, 503, retry_after_ms, 2000);
    T_EQ_I64(r[7].loader_err, CELLAR_E_IO);
    T_EQ_STR(api_look(c, "b"), "buffer");
    T_EQ_STR(api_look(c, "o"), "MISS");
    for (size_t i = 0; i < COUNT; i++) { cellar_result_free(&r[i]); }
}

static void *load_and_leave(void *arg)
{
    static step steps[] = { APPEND, RESIZE, LEAVE };
    cellar_result r;
    (void)load(arg, "k", NULL, follow, steps, &r);
    T_CHECK(false); /* the loader ended the thread */
    return NULL;
}

T_CASE_ON(load_buf_of_a_thread_that_ends_is_freed, STORE)
{
    pthread_t t;
    cellar_result r;
    size_t len = 2000;
    T_REQUIRE(pthread_create(&t, NULL, load_and_leave, c) == 0);
    T_EQ_I64(pthread_join(t, NULL), 0);
    T_EQ_STR(api_look(c, "k"), "MISS");
    T_EQ_I64(load(c, "k", NULL, append_pieces, &len, &r), CELLAR_OK);
    T_EQ_U64(r.value_len, 2000);
    cellar_result_free(&r);
}

/* ---- refused blocks ---- */

typedef struct refusing {
    long left;  /* blocks until one is refused; negative: none is */
    bool all;   /* from there on each is refused */
    long held;
} refusing;

static void *refusing_alloc(size_t size, void *ctx)
{
    refusing *r = ctx;
    if (r->left == 0) {
        r->left -= r->all ? 0 : 1;
        return NULL;
    }
    r->left -= r->left > 0;
    void *block = malloc(size);
    r->held += block != NULL;
    return block;
}

static void refusing_free(void *block, size_t size, void *ctx)
{
    (void)size;
    ((refusing *)ctx)->held--;
    free(block);
}

/* Appends 5,000 bytes as far as it can. */
static cellar_err append_what_fits(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    cellar_buf *b = cellar_load_buf(ld);
    cellar_err err = CELLAR_OK;
    for (int i = 0; i < 50; i++) {
        char piece[100];
        memset(piece, 'p', sizeof piece);
        const cellar_err now = cellar_buf_append(b, piece, sizeof piece);
        T_CHECK(err == CELLAR_OK || now == err); /* the first failure stays */
        T_CHECK(now == CELLAR_OK || now == (b == NULL ? CELLAR_E_INVAL : CELLAR_E_NOMEM));
        err = now;
    }
    return CELLAR_OK;
}

/* Refuse the n-th block of a load, or all from there on, for the first 8; return how many loads
 * failed. */
static long load_with_refused_blocks(bool all)
{
    long failed = 0;
    for (long nth = 0; nth < 8; nth++) {
        refusing mem = { -1, all, 0 };
        settings cfg = api_config(4u << 20);
        cfg.host.alloc = refusing_alloc;
        cfg.host.free = refusing_free;
        cfg.host.alloc_ctx = &mem;
        cellar *c = api_open_with(&cfg);
        cellar_result r;
        T_EQ_I64(load(c, "first", NULL, append_what_fits, NULL, &r), CELLAR_OK);
        cellar_result_free(&r); /* what the first load of a store makes stands now */
        mem.left = nth;
        const cellar_err err = load(c, "k", NULL, append_what_fits, NULL, &r);
        T_CHECK(err == CELLAR_OK || err == CELLAR_E_NOMEM);
        failed += err != CELLAR_OK;
        mem.left = -1;
        cellar_result_free(&r);
        T_EQ_I64(load(c, "k", NULL, append_what_fits, NULL, &r), CELLAR_OK);
        T_EQ_U64(r.value_len, 5000);
        cellar_result_free(&r);
        T_AFTER_I64(api_shut(c), mem.held, 0);
    }
    return failed;
}

T_CASE(load_buf_without_memory_is_a_code)
{
    T_CHECK(load_with_refused_blocks(false) >= 2); /* its two first blocks */
    T_CHECK(load_with_refused_blocks(true) >= 5);  /* and those it grows into */
}

/* ---- CELLAR_LOAD_PIN ---- */

static const cellar_load_opts pinning = { .struct_size = sizeof pinning, .flags = CELLAR_LOAD_PIN };
static unsigned calls; /* of the loader */

static cellar_err load_text(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    calls++;
    return cellar_load_value(ld, "loaded", 6);
}

/* Load the key and check the code, whether the result is pinned, and the value; return the rest. */
static cellar_result loads(cellar *c, const cellar_load_opts *o, cellar_err want, bool pinned,
                           const char *value)
{
    cellar_result r;
    T_EQ_I64(load(c, "k", o, load_text, NULL, &r), want);
    T_EQ_U64(r.flags & CELLAR_RESULT_PINNED, pinned ? CELLAR_RESULT_PINNED : 0);
    if (T_EQ_U64(r.value_len, strlen(value))) { T_EQ_MEM(r.value, value, r.value_len); }
    const cellar_result rest = r;
    cellar_result_free(&r);
    return rest;
}

static cellar *open_pins(void)
{
    calls = 0;
    return open_store();
}
#define PINS(fn) T_WITH(fn, cellar *c, c, open_pins(), api_shut(c))

T_CASE_ON(pinned_hit_is_not_copied, PINS)
{
    cellar_pinned p;
    char room[64];
    T_EQ_I64(api_put(c, "k", "stored", SET_OPTS(.user_flags = 9, .ttl_ms = 60000)), CELLAR_OK);
    T_EQ_I64(cellar_pin(c, "k", 1, &p), CELLAR_OK);
    cellar_result r = { .struct_size = sizeof r, .buf = room, .buf_cap = sizeof room };
    T_EQ_I64(cellar_get_or_load(c, "k", 1, &pinning, load_text, NULL, &r), CELLAR_OK);
    T_CHECK(r.value == p.value); /* in place, and not in the buffer */
    cellar_unpin(&p);
    T_FIELDS(r, value_len, 6, flags, CELLAR_RESULT_PINNED, user_flags, 9, version, 0);
    T_FIELDS(r, source, CELLAR_SOURCE_L1, age_ms, -1, ttl_left_ms, -1);
    T_EQ_I64(api_put(c, "k", "other!", NULL), CELLAR_OK);
    T_EQ_I64(cellar_delete(c, "k", 1), CELLAR_OK);
    for (int i = 0; i < 20000; i++) { (void)cellar_set(c, &i, sizeof i, room, sizeof room, NULL); }
    T_EQ_MEM(r.value, "stored", 6);
    cellar_result_free(&r);
    T_CHECK(r.value == NULL && r.value_len == 0 && r.flags == 0);
    cellar_result_free(&r); /* harmless */
    T_CHECK(r.buf == room && r.buf_cap == sizeof room);
    T_EQ_U64(calls, 0);
}

T_CASE_ON(pinned_results_are_counted_as_one_hit_or_one_miss, PINS)
{
    T_EQ_I64(loads(c, &pinning, CELLAR_OK, false, "loaded").source, CELLAR_SOURCE_LOADED);
    T_FIELDS(space_stats(c), misses, 1, gets, 1);
    (void)loads(c, &pinning, CELLAR_OK, true, "loaded");
    T_FIELDS(space_stats(c), hits_l1, 1, misses, 1, gets, 2, loads, 1);
    T_EQ_U64(calls, 1);
}

T_CASE_ON(pinned_results_give_their_slots_back, PINS)
{
    T_EQ_I64(api_put(c, "k", "stored", NULL), CELLAR_OK);
    for (int i = 0; i < 50000 && !t_failed(); i++) { /* more than there are slots */
        (void)loads(c, &pinning, CELLAR_OK, true, "stored");
    }
}

T_CASE_ON(a_hit_is_copied_when_all_pin_slots_are_taken, PINS)
{
    enum { MOST = 8192 };
    cellar_pinned *pin = calloc(MOST, sizeof *pin);
    size_t n = 0;
    T_REQUIRE(pin != NULL);
    T_EQ_I64(api_put(c, "k", "stored", NULL), CELLAR_OK);
    while (n < MOST && cellar_pin(c, "k", 1, &pin[n]) == CELLAR_OK) { n++; }
    T_CHECK(n > 0 && n < MOST);
    const uint64_t hits = space_stats(c).hits_l1;
    const cellar_result r = loads(c, &pinning, CELLAR_OK, false, "stored");
    T_EQ_I64(r.source, CELLAR_SOURCE_L1);
    T_CHECK(r.value != pin[0].value);
    T_EQ_U64(space_stats(c).hits_l1, hits + 1);
    cellar_unpin(&pin[0]);
    (void)loads(c, &pinning, CELLAR_OK, true, "stored");
    for (size_t i = 1; i < n; i++) { cellar_unpin(&pin[i]); }
    free(pin);
    T_EQ_U64(calls, 0);
}

T_CASE_ON(values_that_are_no_plain_hit_are_copied, PINS)
{
    const uint32_t pin = CELLAR_LOAD_PIN, cached = pin | CELLAR_LOAD_ONLY_IF_CACHED;
    cellar_result r;
    T_EQ_I64(api_put(c, "k", "stored", SET_OPTS(.ttl_ms = 1000, .stale_ms = 1000)), CELLAR_OK);
    r = loads(c, LOAD_OPTS(.flags = pin, .eager_refresh_pct = 90), CELLAR_OK, false, "stored");
    T_EQ_I64(r.ttl_left_ms, 1000);
    (void)loads(c, LOAD_OPTS(.flags = pin, .xfetch_beta_x100 = 100), CELLAR_OK, false, "stored");
    (void)loads(c, LOAD_OPTS(.flags = cached), CELLAR_OK, true, "stored");
    T_EQ_I64(load(c, "none", LOAD_OPTS(.flags = cached), NULL, NULL, &r), CELLAR_MISS);
    T_EQ_U64(r.flags, 0);
    atomic_fetch_add(&api_now_ms, 1000);
    (void)loads(c, LOAD_OPTS(.flags = cached), CELLAR_STALE, false, "stored");
    T_EQ_U64(calls, 0);
    r = loads(c, LOAD_OPTS(.flags = pin | CELLAR_LOAD_REFRESH), CELLAR_OK, false, "loaded");
    T_EQ_I64(r.source, CELLAR_SOURCE_LOADED); /* it does not read */
    (void)loads(c, LOAD_OPTS(.flags = pin | CELLAR_LOAD_REFRESH), CELLAR_OK, false, "loaded");
    (void)loads(c, LOAD_OPTS(.flags = pin | CELLAR_LOAD_BYPASS), CELLAR_OK, false, "loaded");
    T_EQ_U64(calls, 3);
    T_EQ_I64(api_put(c, "absent", "", SET_OPTS(.flags = CELLAR_NEGATIVE)), CELLAR_OK);
    T_EQ_I64(load(c, "absent", &pinning, load_text, NULL, &r), CELLAR_ABSENT);
    T_EQ_U64(r.flags, 0);
}

T_CASE_ON(bulk_loads_and_leases_copy_in_spite_of_the_flag, PINS)
{
    cellar_result r = cellar_result_default();
    cellar_lease lease;
    cellar_load_item it[1] = { { "k", 1, &r, CELLAR_OK, 0 } };
    T_EQ_I64(api_put(c, "k", "stored", NULL), CELLAR_OK);
    for (unsigned bulk = 0; bulk < 2; bulk++) {
        T_EQ_I64(bulk ? cellar_get_or_load_many(c, it, 1, &pinning, set_by_letter, NULL)
                      : cellar_lease_acquire(c, "k", 1, &pinning, NULL, &lease, &r), CELLAR_OK);
        T_EQ_I64(it[0].status, CELLAR_OK);
        T_EQ_U64(r.flags, 0);
        T_EQ_MEM(r.value, "stored", 6);
        cellar_result_free(&r);
    }
}

T_CASE_ON(a_deleted_tag_ends_pinned_hits, PINS)
{
    const cellar_load_opts cached = { .struct_size = sizeof cached,
                                      .flags = CELLAR_LOAD_PIN | CELLAR_LOAD_ONLY_IF_CACHED };
    const cellar_bytes tag = { "red", 3 };
    cellar_result held;
    T_EQ_I64(api_put(c, "k", "stored", SET_OPTS(.tags = &tag, .tag_count = 1, .ttl_ms = 60000,
                                                .stale_ms = 60000)), CELLAR_OK);
    T_EQ_I64(load(c, "k", &cached, NULL, NULL, &held), CELLAR_OK);
    T_EQ_U64(held.flags, CELLAR_RESULT_PINNED);
    T_EQ_I64(cellar_delete_by_tag(c, "red", 3, CELLAR_TAG_SOFT), CELLAR_OK);
    (void)loads(c, &cached, CELLAR_STALE, false, "stored");
    T_EQ_I64(cellar_delete_by_tag(c, "red", 3, CELLAR_TAG_HARD), CELLAR_OK);
    (void)loads(c, &cached, CELLAR_MISS, false, "");
    T_EQ_MEM(held.value, "stored", 6);
    cellar_result_free(&held);
    T_EQ_I64(loads(c, &pinning, CELLAR_OK, false, "loaded").source, CELLAR_SOURCE_LOADED);
}

static void *free_result(void *arg) { cellar_result_free(arg); return NULL; }

T_CASE_ON(a_pinned_result_may_be_freed_by_another_thread, PINS)
{
    cellar_result r;
    T_EQ_I64(api_put(c, "k", "stored", NULL), CELLAR_OK);
    T_EQ_I64(load(c, "k", &pinning, load_text, NULL, &r), CELLAR_OK);
    T_EQ_U64(r.flags, CELLAR_RESULT_PINNED);
    together(1, free_result, &r, sizeof r);
    T_CHECK(r.value == NULL);
}

T_MAIN("api_load_buf")
