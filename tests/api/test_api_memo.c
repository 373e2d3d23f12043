/* SPDX-License-Identifier: MIT
 *
 * Aim:    Two different argument lists never share a key.
 * Method: Written keys are read back and compared: an encoding that can be decoded cannot
 *         collide. Lists are drawn from few values close to each other, where joined fields
 *         would collide. */
#include "tests/support/draw.h"
#include "tests/support/refusals.h"

#include "cellar_memo.h"

static const char *const texts[] = { NULL, "", "a", "a:", "a:b", "b", "\x05", "1", "7", "aa",
                                     "\x01\x02", "NULL" };

static cellar_arg draw_arg(void)
{
    static const double reals[] = { 0.0, -0.0, 1.0, 5.0, 0.5, 1e300 };
    static const int64_t ints[] = { 0, 1, -1, 5, 7, INT64_MIN, INT64_MAX, 0x3ff0000000000000 };
    static const uint64_t wide[] = { 0, 5, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX };
    switch (draw(6)) {
    case 0: return cellar_arg_i64(ints[draw(8)]);
    case 1: return cellar_arg_u64(wide[draw(5)]);
    case 2: return cellar_arg_f32((float)reals[draw(5)]);
    case 3: return cellar_arg_f64(reals[draw(6)]);
    case 4: return cellar_arg_text(texts[draw(12)]);
    default: {
        const char *t = texts[1 + draw(11)];
        const cellar_bytes b = { t, strlen(t) };
        return cellar_arg_bytes(b);
    }
    }
}

static bool same(const cellar_arg *a, const cellar_arg *b)
{
    const bool whole = (a->type == CELLAR_ARG_I64 || a->type == CELLAR_ARG_U64) &&
                       (b->type == CELLAR_ARG_I64 || b->type == CELLAR_ARG_U64);
    if (whole) { return a->as.u64 == b->as.u64 && (a->type == b->type || a->as.i64 >= 0); }
    if (a->type != b->type) { return false; }
    if (a->type == CELLAR_ARG_F32) { return memcmp(&a->as.f32, &b->as.f32, 4) == 0; }
    if (a->type == CELLAR_ARG_F64) { return memcmp(&a->as.f64, &b->as.f64, 8) == 0; }
    return a->as.bytes.len == b->as.bytes.len &&
           (a->as.bytes.data == NULL) == (b->as.bytes.data == NULL) &&
           (a->as.bytes.len == 0 ||
            memcmp(a->as.bytes.data, b->as.bytes.data, a->as.bytes.len) == 0);
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

T_CASE(memo_keys_of_different_arguments_differ)
{
    static const char *const names[] = { "f", "ff", "g", "f1" };
    const uint64_t wanted = t_env_u64("MEMO_TUPLES", t_share(2000000));
    const double until = seconds() + 5;
    uint64_t done = 0;
    draw_state = t_seed();
    while (done < wanted && (done % 65536 != 0 || seconds() < until) && !t_failed()) {
        cellar_arg in[4], out[4];
        unsigned char key[256];
        const size_t n = draw(5);
        const char *name = names[draw(4)];
        const uint32_t version = (uint32_t)draw(3);
        size_t len, count;
        uint32_t got_version;
        cellar_bytes got_name;
        for (size_t i = 0; i < n; i++) { in[i] = draw_arg(); }
        if (!T_CHECK(cellar_memo_key(name, version, in, n, key, sizeof key, &len) == CELLAR_OK)) {
            break;
        }
        if (!T_CHECK(cellar_memo_parse(key, len, &got_name, &got_version, out, 4, &count) ==
                     CELLAR_OK)) {
            break;
        }
        bool ok = count == n && got_version == version && got_name.len == strlen(name) &&
                  memcmp(got_name.data, name, got_name.len) == 0;
        for (size_t i = 0; ok && i < n; i++) { ok = same(&in[i], &out[i]); }
        T_CHECK(ok);
        done++;
    }
    printf("# %" PRIu64 " argument lists\n", done);
}

static size_t key_of(unsigned char *key, cellar_arg a)
{
    size_t len = 0;
    T_EQ_I64(cellar_memo_key("f", 1, &a, 1, key, 128, &len), CELLAR_OK);
    return len;
}

static bool agree(cellar_arg a, cellar_arg b)
{
    unsigned char x[128], y[128];
    const size_t n = key_of(x, a), m = key_of(y, b);
    return n == m && memcmp(x, y, n) == 0;
}

typedef enum colour { RED, GREEN = 5 } colour;

T_CASE(memo_argument_types_match_as_documented)
{
    const char text[] = "abc";
    char writable[] = "abc";
    const cellar_bytes bytes = { text, 3 };
    double nan1, nan2;
    const uint64_t bits1 = UINT64_C(0x7ff8000000000001), bits2 = UINT64_C(0x7ff8000000000002);
    memcpy(&nan1, &bits1, sizeof nan1);
    memcpy(&nan2, &bits2, sizeof nan2);
    T_CHECK(agree(CELLAR_ARG(5), CELLAR_ARG(5L)));
    T_CHECK(agree(CELLAR_ARG(5), CELLAR_ARG((unsigned char)5)));
    T_CHECK(agree(CELLAR_ARG(5), CELLAR_ARG(5ull)));
    T_CHECK(agree(CELLAR_ARG(GREEN), CELLAR_ARG(5)));
    T_CHECK(agree(CELLAR_ARG((_Bool)1), CELLAR_ARG(1)));
    T_CHECK(agree(CELLAR_ARG(&text[0]), CELLAR_ARG(&writable[0])));
    T_CHECK(!agree(CELLAR_ARG(-1), CELLAR_ARG(UINT64_MAX)));
    T_CHECK(!agree(CELLAR_ARG(5), CELLAR_ARG(5.0)));
    T_CHECK(!agree(CELLAR_ARG(5.0f), CELLAR_ARG(5.0)));
    T_CHECK(!agree(CELLAR_ARG(0.0), CELLAR_ARG(-0.0)));
    T_CHECK(!agree(CELLAR_ARG(nan1), CELLAR_ARG(nan2)));
    T_CHECK(agree(CELLAR_ARG(nan1), CELLAR_ARG(nan1)));
    T_CHECK(!agree(CELLAR_ARG(&text[0]), CELLAR_ARG(bytes)));
    T_CHECK(!agree(CELLAR_ARG((const char *)NULL), cellar_arg_text("")));
    T_CHECK(!agree(CELLAR_ARG((const char *)NULL), CELLAR_ARG(&"NULL"[0])));
}

/* The bytes are a format that outlives the process. */
T_CASE(memo_key_format_is_unchanged)
{
    const cellar_arg a[] = { CELLAR_ARG(-2), CELLAR_ARG(UINT64_MAX), CELLAR_ARG(1.0f),
                             CELLAR_ARG(1.0), cellar_arg_text("hi"), cellar_arg_text(NULL) };
    static const unsigned char want[] = {
        0x4d, 1, 1, 0, 'f', 3, 0, 0, 0, 6,
        1, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        3, 0, 0, 0x80, 0x3f,
        4, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f,
        5, 2, 0, 0, 0, 'h', 'i',
        6,
    };
    unsigned char key[128];
    size_t len;
    T_EQ_I64(cellar_memo_key("f", 3, a, 6, key, sizeof key, &len), CELLAR_OK);
    T_EQ_U64(len, sizeof want);
    T_EQ_MEM(key, want, sizeof want);
    /* every truncation is refused, with any bytes after it */
    for (size_t cut = 0; cut < len; cut++) {
        cellar_arg got[CELLAR_MEMO_ARGS_MAX];
        T_CHECK(cellar_memo_parse(key, cut, NULL, NULL, got, 16, NULL) != CELLAR_OK);
    }
    /* a changed key decodes to a list that encodes to the same bytes */
    for (size_t bit = 0; bit < len * 8; bit++) {
        cellar_arg got[CELLAR_MEMO_ARGS_MAX];
        cellar_bytes name;
        uint32_t version;
        size_t count, again_len;
        char text[CELLAR_MEMO_NAME_MAX + 1];
        unsigned char again[128];
        key[bit / 8] ^= (unsigned char)(1u << bit % 8);
        if (cellar_memo_parse(key, len, &name, &version, got, 16, &count) == CELLAR_OK &&
            memchr(name.data, 0, name.len) == NULL) {
            memcpy(text, name.data, name.len);
            text[name.len] = '\0';
            T_EQ_I64(cellar_memo_key(text, version, got, count, again, sizeof again, &again_len),
                     CELLAR_OK);
            T_EQ_U64(again_len, len);
            T_EQ_MEM(again, key, len);
        }
        key[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
}

T_CASE(bad_input_of_memo_keys)
{
    static char long_text[CELLAR_KEY_MAX + 2];
    const cellar_bytes none = { NULL, 3 };
    cellar_arg a[17];
    size_t len = 9;
    char key[64];
    for (int i = 0; i < 17; i++) { a[i] = cellar_arg_i64(i); }
    T_EQ_I64(cellar_memo_key(NULL, 1, a, 1, key, 64, &len), CELLAR_E_INVAL);
    T_EQ_U64(len, 0);
    memset(long_text, 'x', sizeof long_text - 1);
    const cellar_arg too_long = cellar_arg_text(long_text), null = cellar_arg_bytes(none);
    REFUSALS("memo keys", INVAL(cellar_memo_key("", 1, a, 1, key, 64, &len)),
             INVAL(cellar_memo_key("f", 1, a, 17, key, 64, &len)),
             INVAL(cellar_memo_key("f", 1, NULL, 1, key, 64, &len)),
             INVAL(cellar_memo_key("f", 1, a, 1, NULL, 64, &len)),
             INVAL(cellar_memo_key(long_text, 1, NULL, 0, key, 64, &len)),
             INVAL(cellar_memo_key("f", 1, &too_long, 1, NULL, 0, &len)),
             INVAL(cellar_memo_key("f", 1, &null, 1, key, 64, &len)),
             INVAL(cellar_memo_parse(NULL, 1, NULL, NULL, a, 1, NULL)),
             { CELLAR_E_FOREIGN, cellar_memo_parse("user:7", 6, NULL, NULL, a, 1, NULL) },
             { CELLAR_E_NEWER_FORMAT,
               cellar_memo_parse("\x4d\x02\x01\x00g", 5, NULL, NULL, a, 1, NULL) });
    T_EQ_I64(cellar_memo_key("f", 1, a, 3, key, 10, &len), CELLAR_E_BUFFER);
    T_EQ_U64(len, 10 + 27);
    T_EQ_I64(cellar_memo_key("f", 1, NULL, 0, NULL, 0, &len), CELLAR_E_BUFFER);
    T_EQ_U64(len, 10);
    long_text[40000] = '\0';
    a[0] = a[1] = cellar_arg_text(long_text);
    T_EQ_I64(cellar_memo_key("f", 1, a, 2, NULL, 0, &len), CELLAR_E_INVAL);
    for (int type = CELLAR_ARG_BOOL; type <= CELLAR_ARG_MAP + 1; type++) {
        a[0] = cellar_arg_i64(0);
        a[0].type = (cellar_arg_type)type;
        T_EQ_I64(cellar_memo_key("f", 1, a, 1, key, 64, &len), CELLAR_E_INVAL);
    }
    a[0] = cellar_arg_i64(1);
    a[0].reserved0 = 1;
    T_EQ_I64(cellar_memo_key("f", 1, a, 1, key, 64, &len), CELLAR_E_INVAL);
    a[0] = cellar_arg_i64(1);
    T_EQ_I64(cellar_memo_key("f", 1, a, 1, key, 64, &len), CELLAR_OK);
    size_t count;
    T_EQ_I64(cellar_memo_parse(key, len, NULL, NULL, NULL, 0, &count), CELLAR_E_BUFFER);
    T_EQ_U64(count, 1);
}

T_ONE_THREAD;
T_MAIN("api_memo")
