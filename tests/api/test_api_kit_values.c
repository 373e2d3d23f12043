/* SPDX-License-Identifier: MIT
 *
 * Aim:    Numbers and vectors come back as stored. Boards and lists agree with a sorted array; a
 *         value that is none is E_TYPE and stays. No piece of a secret survives redaction.
 * Method: random changes against a plain model; each cut and each changed byte of a value; planted
 *         secrets in random texts. */
#include "tests/support/api_kit.h"

#include <math.h>

#include "cellar_kit.h"

#define STORE_BYTES ((uint64_t)8 << 20)

static uint64_t state;

static uint64_t draw(uint64_t n)
{
    state += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t x = state;
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return (x ^ x >> 31) % n;
}

/* ---- numbers and vectors ---- */

static void numbers_come_back_as_stored(void)
{
    static const int64_t ints[] = { 0, 1, -1, INT64_MIN, INT64_MAX };
    static const double reals[] = { 0.0, -0.0, 1.5, -1e300, INFINITY };
    cellar *c = api_open(STORE_BYTES);
    for (size_t i = 0; i < 5; i++) {
        int64_t x = 5;
        double y = 5;
        T_EQ_I64(cellar_set_i64(c, "i", 1, ints[i], NULL), CELLAR_OK);
        T_EQ_I64(cellar_get_i64(c, "i", 1, &x), CELLAR_OK);
        T_EQ_I64(x, ints[i]);
        T_EQ_I64(cellar_set_f64(c, "f", 1, reals[i], NULL), CELLAR_OK);
        T_EQ_I64(cellar_get_f64(c, "f", 1, &y), CELLAR_OK);
        T_CHECK(memcmp(&y, &reals[i], sizeof y) == 0);
    }
    int64_t x = 5, now = 0;
    T_EQ_I64(cellar_set_i64(c, "i", 1, 41, NULL), CELLAR_OK);
    T_EQ_I64(cellar_increment(c, "i", 1, 1, 0, 0, 0, &now), CELLAR_OK); /* a counter */
    T_EQ_I64(now, 42);
    T_EQ_I64(cellar_get_i64(c, "none", 4, &x), CELLAR_MISS);
    T_EQ_I64(x, 0);
    for (size_t len = 0; len < 12; len++) {
        T_EQ_I64(cellar_set(c, "v", 1, "0123456789ab", len, NULL), CELLAR_OK);
        T_EQ_I64(cellar_get_i64(c, "v", 1, &x), len == 8 ? CELLAR_OK : CELLAR_E_TYPE);
    }
    T_EQ_I64(cellar_get_i64(c, "v", 1, NULL), CELLAR_E_INVAL);
    cellar_close(c);
}

static void vectors_come_back_as_stored(void)
{
    static float x[3000], y[3000];
    unsigned char bytes[4];
    cellar *c = api_open(STORE_BYTES);
    for (size_t i = 0; i < 3000; i++) { x[i] = (float)i * 0.25f - 100.0f; }
    for (size_t n = 0; n <= 3000; n = n * 2 + 1) {
        size_t count = 1;
        memset(y, 0, sizeof y);
        T_EQ_I64(cellar_set_f32s(c, "v", 1, x, n, NULL), CELLAR_OK);
        T_EQ_I64(cellar_get_f32s(c, "v", 1, y, 3000, &count), CELLAR_OK);
        T_EQ_U64(count, n);
        T_CHECK(memcmp(x, y, n * sizeof *x) == 0);
        if (n == 0) { continue; }
        T_EQ_I64(cellar_get_f32s(c, "v", 1, NULL, 0, &count), CELLAR_E_BUFFER);
        T_EQ_U64(count, n);
    }
    const float one = 1.0f; /* IEEE 754: 3f800000 */
    T_EQ_I64(cellar_set_f32s(c, "v", 1, &one, 1, NULL), CELLAR_OK);
    T_EQ_I64(cellar_get(c, "v", 1, bytes, 4, NULL), CELLAR_OK);
    T_CHECK(memcmp(bytes, "\x00\x00\x80\x3f", 4) == 0);
    T_EQ_I64(cellar_set(c, "v", 1, "12345", 5, NULL), CELLAR_OK);
    T_EQ_I64(cellar_get_f32s(c, "v", 1, y, 3000, NULL), CELLAR_E_TYPE);
    T_EQ_I64(cellar_set_f32s(c, "v", 1, NULL, 1, NULL), CELLAR_E_INVAL);
    cellar_close(c);
}

/* ---- boards ---- */

#define MEMBERS 40u
#define PLACES 12u

typedef struct model { double score[MEMBERS]; bool in[MEMBERS]; } model;

static cellar_bytes member_of(uint32_t i, char name[8])
{
    snprintf(name, 8, "m%u", i); /* "m1" before "m10" before "m2" */
    return (cellar_bytes){ name, strlen(name) };
}

static bool before(const model *m, uint32_t a, uint32_t b)
{
    char x[8], y[8];
    if (m->score[a] != m->score[b]) { return m->score[a] > m->score[b]; }
    (void)member_of(a, x);
    (void)member_of(b, y);
    return strcmp(x, y) < 0;
}

static uint32_t rank_of(const model *m, uint32_t i)
{
    uint32_t rank = 1;
    for (uint32_t n = 0; n < MEMBERS; n++) { rank += m->in[n] && n != i && before(m, n, i); }
    return rank;
}

/* Give the model's member a score. Return whether it is behind the last place. */
static bool model_puts(model *m, uint32_t i, double score)
{
    m->in[i] = true;
    m->score[i] = score;
    for (uint32_t n = 0; n < MEMBERS; n++) {
        if (m->in[n] && rank_of(m, n) > PLACES) {
            m->in[n] = false;
            return n == i;
        }
    }
    return false;
}

static void board_agrees(cellar *c, const model *m)
{
    cellar_board_place top[PLACES + 1];
    uint32_t n = 0, want = 0;
    void *block = NULL;
    for (uint32_t i = 0; i < MEMBERS; i++) { want += m->in[i]; }
    const cellar_err err = cellar_board_top(c, "b", 1, 0, top, PLACES + 1, &n, &block);
    T_EQ_I64(err, want == 0 ? CELLAR_MISS : CELLAR_OK);
    T_EQ_U64(n, want);
    for (uint32_t i = 0; i < MEMBERS; i++) {
        char name[8];
        const cellar_bytes member = member_of(i, name);
        uint32_t rank = 9;
        double score = 9;
        const cellar_err found = cellar_board_rank(c, "b", 1, member, &rank, &score);
        T_EQ_I64(found, m->in[i] ? CELLAR_OK : CELLAR_MISS);
        T_EQ_U64(rank, m->in[i] ? rank_of(m, i) : 0);
        T_CHECK(score == (m->in[i] ? m->score[i] : 0));
        if (!m->in[i] || rank == 0 || rank > n) { continue; }
        T_CHECK(top[rank - 1].score == score && top[rank - 1].member.len == member.len &&
                memcmp(top[rank - 1].member.data, name, member.len) == 0);
    }
    cellar_free(block);
}

static void board_agrees_with_a_sorted_array(void)
{
    cellar *c = api_open(STORE_BYTES);
    model m;
    memset(&m, 0, sizeof m);
    state = t_seed();
    for (uint64_t round = 0; round < t_share(8000) / T_COST + 300 && !t_failed(); round++) {
        char name[8];
        const uint32_t i = (uint32_t)draw(MEMBERS);
        const cellar_bytes member = member_of(i, name);
        const double x = (double)(int64_t)draw(9) - 4;
        const uint64_t what = draw(8);
        if (what < 4) {
            const cellar_err want = model_puts(&m, i, x) ? CELLAR_DROPPED : CELLAR_OK;
            T_EQ_I64(cellar_board_put(c, "b", 1, member, x, PLACES, NULL), want);
        } else if (what < 7) {
            double now = 9;
            const double sum = (m.in[i] ? m.score[i] : 0) + x;
            const cellar_err want = model_puts(&m, i, sum) ? CELLAR_DROPPED : CELLAR_OK;
            T_EQ_I64(cellar_board_add(c, "b", 1, member, x, PLACES, NULL, &now), want);
            T_CHECK(now == sum);
        } else {
            T_EQ_I64(cellar_board_remove(c, "b", 1, member), m.in[i] ? CELLAR_OK : CELLAR_MISS);
            m.in[i] = false;
        }
        board_agrees(c, &m);
    }
    cellar_close(c);
}

static void hundred_and_first_place_leaves_the_board(void)
{
    cellar *c = api_open(STORE_BYTES);
    char name[16];
    for (int i = 0; i <= 100; i++) {
        snprintf(name, sizeof name, "user %d", i);
        const cellar_bytes member = { name, strlen(name) };
        T_EQ_I64(cellar_board_put(c, "b", 1, member, i, 100, NULL), CELLAR_OK);
    }
    const cellar_bytes first = { "user 0", 6 }, last = { "user 100", 8 };
    uint32_t rank = 0;
    T_EQ_I64(cellar_board_rank(c, "b", 1, first, &rank, NULL), CELLAR_MISS);
    T_EQ_I64(cellar_board_rank(c, "b", 1, last, &rank, NULL), CELLAR_OK);
    T_EQ_U64(rank, 1);
    T_EQ_I64(cellar_board_put(c, "b", 1, first, 0.5, 100, NULL), CELLAR_DROPPED);
    cellar_close(c);
}

static void board_refuses_no_numbers_and_keeps_its_value(void)
{
    cellar *c = api_open(STORE_BYTES);
    const cellar_bytes member = { "a", 1 }, none = { NULL, 0 };
    double score = 9;
    T_EQ_I64(cellar_board_put(c, "b", 1, member, NAN, 10, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_board_put(c, "b", 1, none, 1, 10, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_board_put(c, "b", 1, member, 1, 0, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_board_put(c, "b", 1, member, 1, CELLAR_BOARD_MAX + 1, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_board_put(c, "b", 1, member, INFINITY, 10, NULL), CELLAR_OK);
    T_EQ_I64(cellar_board_add(c, "b", 1, member, -INFINITY, 10, NULL, &score), CELLAR_E_RANGE);
    T_CHECK(score == 0);
    T_EQ_I64(cellar_board_rank(c, "b", 1, member, NULL, &score), CELLAR_OK);
    T_CHECK(score == INFINITY);
    cellar_close(c);
}

/* Each cut and each changed byte of a value: E_TYPE and unchanged, or still a board or list. */
static void damage(cellar *c, const unsigned char *value, size_t len, bool board)
{
    const cellar_bytes item = { "z", 1 };
    unsigned char bad[256], now[256];
    for (size_t i = 0; i < 2 * len; i++) {
        const size_t n = i < len ? i : len;
        size_t now_len = 0;
        memcpy(bad, value, len);
        if (i >= len) { bad[i - len] ^= (unsigned char)(1u << draw(8)); }
        if (n == 0) { continue; } /* an empty value is an empty board */
        T_EQ_I64(cellar_set(c, "d", 1, bad, n, NULL), CELLAR_OK);
        const cellar_err err = board ? cellar_board_put(c, "d", 1, item, 1, 8, NULL)
                                     : cellar_list_push(c, "d", 1, &item, 1, 8, NULL, NULL);
        T_CHECK(err == CELLAR_E_TYPE || (i >= len && err == CELLAR_OK));
        if (err != CELLAR_E_TYPE) { continue; }
        T_EQ_I64(cellar_get(c, "d", 1, now, sizeof now, &now_len), CELLAR_OK);
        T_CHECK(now_len == n && memcmp(now, bad, n) == 0);
    }
}

static void damaged_value_is_no_board_and_no_list(void)
{
    cellar *c = api_open(STORE_BYTES);
    unsigned char value[256];
    size_t len = 0;
    const cellar_bytes items[3] = { { "one", 3 }, { "", 0 }, { "three", 5 } };
    for (int i = 0; i < 3; i++) {
        const cellar_bytes member = { &"abc"[i], 1 };
        T_EQ_I64(cellar_board_put(c, "b", 1, member, i, 8, NULL), CELLAR_OK);
    }
    T_EQ_I64(cellar_get(c, "b", 1, value, sizeof value, &len), CELLAR_OK);
    damage(c, value, len, true);
    value[16 + 16 + 8] = 0; /* the second member begins where the first does */
    T_EQ_I64(cellar_set(c, "d", 1, value, len, NULL), CELLAR_OK);
    T_EQ_I64(cellar_board_remove(c, "d", 1, items[0]), CELLAR_E_TYPE);
    T_EQ_I64(cellar_list_push(c, "l", 1, items, 3, 8, NULL, NULL), CELLAR_OK);
    T_EQ_I64(cellar_get(c, "l", 1, value, sizeof value, &len), CELLAR_OK);
    damage(c, value, len, false);
    T_EQ_I64(cellar_list_push(c, "b", 1, items, 1, 8, NULL, NULL), CELLAR_E_TYPE);
    T_EQ_I64(cellar_board_remove(c, "l", 1, items[0]), CELLAR_E_TYPE);
    T_EQ_I64(cellar_list_trim(c, "b", 1, 1), CELLAR_E_TYPE);
    cellar_close(c);
}

/* ---- lists ---- */

static void list_agrees_with_an_array(void)
{
    enum { CAP = 7 };
    cellar *c = api_open(STORE_BYTES);
    uint64_t all[CAP] = { 0 };
    uint32_t have = 0;
    state = t_seed() + 1;
    for (uint64_t round = 1; round < t_share(40000) / T_COST + 300 && !t_failed(); round++) {
        uint64_t word[CAP + 3];
        cellar_bytes items[CAP + 3], got[CAP + 1];
        uint32_t n = 1 + (uint32_t)draw(CAP + 3), count = 0, length = 0;
        void *block = NULL;
        if (draw(6) == 0) {
            const uint32_t keep = (uint32_t)draw(CAP + 1);
            T_EQ_I64(cellar_list_trim(c, "l", 1, keep), have == 0 ? CELLAR_MISS : CELLAR_OK);
            if (have > keep) { have = keep; }
        } else {
            for (uint32_t i = 0; i < n; i++) {
                word[i] = round * 100 + i;
                items[i] = (cellar_bytes){ &word[i], draw(8) == 0 ? 0 : sizeof word[i] };
                memmove(all + 1, all, (CAP - 1) * sizeof *all);
                all[0] = items[i].len != 0 ? word[i] : 0;
                have += have < CAP;
            }
            T_EQ_I64(cellar_list_push(c, "l", 1, items, n, CAP, NULL, &count), CELLAR_OK);
            T_EQ_U64(count, have);
        }
        const uint32_t first = (uint32_t)draw(CAP);
        const cellar_err err = cellar_list_range(c, "l", 1, first, got, CAP + 1, &count, &length,
                                                 &block);
        T_EQ_I64(err, have == 0 ? CELLAR_MISS : CELLAR_OK);
        T_EQ_U64(length, have);
        T_EQ_U64(count, have > first ? have - first : 0);
        for (uint32_t i = 0; i < count; i++) {
            const uint64_t want = all[first + i];
            T_EQ_U64(got[i].len, want != 0 ? sizeof want : 0);
            T_CHECK(got[i].len == 0 || memcmp(got[i].data, &want, sizeof want) == 0);
        }
        cellar_free(block);
    }
    cellar_close(c);
}

static void twenty_first_item_leaves_the_list(void)
{
    cellar *c = api_open(STORE_BYTES);
    for (int i = 0; i <= 20; i++) {
        const cellar_bytes item = { &i, sizeof i };
        T_EQ_I64(cellar_list_push(c, "l", 1, &item, 1, 20, NULL, NULL), CELLAR_OK);
    }
    cellar_bytes got[21];
    uint32_t count = 0;
    int oldest = 0;
    void *block = NULL;
    T_EQ_I64(cellar_list_range(c, "l", 1, 0, got, 21, &count, NULL, &block), CELLAR_OK);
    T_EQ_U64(count, 20);
    memcpy(&oldest, got[19].data, sizeof oldest);
    T_EQ_I64(oldest, 1);
    cellar_free(block);
    T_EQ_I64(cellar_list_push(c, "l", 1, NULL, 1, 20, NULL, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_list_push(c, "l", 1, got, 0, 20, NULL, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_list_push(c, "l", 1, got, 1, CELLAR_LIST_MAX + 1, NULL, NULL), CELLAR_E_INVAL);
    cellar_close(c);
}

/* ---- texts without secrets ---- */

static void secrets_are_masked_and_the_rest_stays(void)
{
    static const struct { const char *in, *out; } rows[] = {
        { "token=abcdefghij", "token=abc***" },
        { "Token: abcdefghij rest", "Token: abc*** rest" },
        { "\"api_key\": \"abcdefghij\", \"x\": 1", "\"api_key\": \"abc***\", \"x\": 1" },
        { "password=short", "password=***" },
        { "Authorization: Basic YWxhZGRpbjpvcGVu\r\nHost: a", "Authorization: Bas***\r\nHost: a" },
        { "cookie: a=1; b=2\nx", "cookie: a=1***\nx" },
        { "key sk-abcdefghij end", "key sk-*** end" },
        { "Bearer abcdefghij.k", "Bearer abc***" },
        { "http://user:pass@host/path", "http://***@host/path" },
        { "http://host/a@b", "http://host/a@b" },
        { "tokens=abcdefghij", "tokens=abcdefghij" },
        { "refresh_token=abcdefghij&a=b", "refresh_token=abc***&a=b" },
        { "no secret: here", "no secret: ***" },
        { "a token of thanks", "a token of thanks" },
        { "task-abcdefgh", "task-abcdefgh" },
        { "token=", "token=" },
        { "password=p\xc3\xa4ssword123 x", "password=p\xc3\xa4*** x" },
        { "token=\xc3\x84" "bcdefgh", "token=\xc3\x84" "b***" },
        { "ftp://u:p\xc3\xa4@host", "ftp://***@host" },
        { "token: Bearer abcdefghijkl", "token: Bea***" },
        { "a Bearer token: abcdefghijkl x", "a Bearer tok*** x" },
        { "token=abc,password=\"abcdefghij\" x", "token=abc***\" x" },
        { "token= password: abcdefghij x", "token= pas*** x" },
        { "sk-;password: abcdefghij x", "sk-*** x" },
        { "Bearer Bearer abcdefghij x", "Bearer Bea*** x" },
        { "token='password': 'abcdefghij' x", "token='pas***' x" },
        { "token=//u&x:abcdefghij@host x", "token=//u***@host x" },
        { "//;token=abc@defghijkl x", "//*** x" },
        { "token=api_key=abc&a=b", "token=api***&a=b" },
        { "\"secret\":\"a\\\"bcdefgh\"", "\"secret\":\"a\\\"***\"" },
        { "", "" }
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[128];
        const size_t n = cellar_redact(rows[i].in, strlen(rows[i].in), out, sizeof out);
        T_EQ_STR(out, rows[i].out);
        T_EQ_U64(n, strlen(rows[i].out));
        for (size_t cap = 0; cap <= n; cap++) { /* what fits, terminated; the full length */
            char part[128];
            memset(part, '#', sizeof part);
            T_EQ_U64(cellar_redact(rows[i].in, strlen(rows[i].in), part, cap), n);
            T_CHECK(part[cap] == '#');
            T_CHECK(cap == 0 || (part[cap - 1] == '\0' && memcmp(part, out, cap - 1) == 0));
        }
    }
    T_EQ_U64(cellar_redact(NULL, 1, NULL, 0), 0);
}

static void no_eight_bytes_of_a_planted_secret_survive(void)
{
    static const char *const before_it[] = {
        "token=", "Password: ", "\"access_token\":\"", "x-api-key: ", "Bearer ", "secret = '",
        "https://u:", "api-key=", "Set-Cookie: "
    };
    static const char *const after_it[] = { "", " end", "\"", "\n", "", "'", "@host", "&b=1", "\r\n" };
    static const char letters[] = "abcXYZ019-_.~+/=,;:()[]{}%\x80\xff";
    static const char noise[] = "ab :=\"'/\n-_sktoken@";
    state = t_seed() + 2;
    for (uint64_t round = 0; round < t_share(200000) / T_COST + 2000 && !t_failed(); round++) {
        char secret[24], text[160], out[640];
        const size_t n = 8 + draw(15), which = draw(9);
        for (size_t i = 0; i < n; i++) { secret[i] = letters[draw(which == 6 ? 14 : 28)]; }
        if (which == 6) { /* a '/' ends the host of a URL */
            for (size_t i = 0; i < n; i++) { secret[i] = secret[i] == '/' ? 'q' : secret[i]; }
        }
        secret[n] = '\0';
        char start[24];
        const size_t m = draw(20);
        for (size_t i = 0; i < m; i++) { start[i] = noise[draw(sizeof noise - 1)]; }
        start[m] = '\0';
        snprintf(text, sizeof text, "%s\n%s%s%s", start, before_it[which], secret, after_it[which]);
        (void)cellar_redact(text, strlen(text), out, sizeof out);
        for (size_t i = 0; i + 8 <= n; i++) {
            char piece[9];
            memcpy(piece, secret + i, 8);
            piece[8] = '\0';
            if (!T_CHECK(strstr(out, piece) == NULL)) { printf("# %s -> %s\n", text, out); }
        }
    }
}

/* ---- policies ---- */

static void max_items_of_a_rule_replaces_the_cap(void)
{
    static const char rules[] = "[*]\nkey p:{x}:b max_items=3\nkey p:{x}:l max_items=2\n"
                                "key p:{x}:all max_items=1000000\nkey other ttl=1s\ndeny p:no:b\n";
    cellar *c = api_open(STORE_BYTES), *v = NULL;
    T_EQ_I64(cellar_policy_set(c, rules, sizeof rules - 1, NULL, NULL), CELLAR_OK);
    cellar_board_place top[20];
    cellar_bytes items[20], out[20];
    uint32_t n = 0, length = 0;
    void *block;
    for (unsigned i = 0; i < 9; i++) {
        items[i] = (cellar_bytes){ &"abcdefghi"[i], 1 };
        const cellar_err want = i < 3 ? CELLAR_OK : CELLAR_DROPPED;
        T_EQ_I64(cellar_board_put(c, "p:1:b", 5, items[i], -(double)i, 9, NULL), want);
        T_EQ_I64(cellar_board_put(c, "p:1:all", 7, items[i], i, 1, NULL), CELLAR_OK);
    }
    T_EQ_I64(cellar_board_top(c, "p:1:b", 5, 0, top, 20, &n, &block), CELLAR_OK);
    T_EQ_U64(n, 3);
    cellar_free(block);
    T_EQ_I64(cellar_board_top(c, "p:1:all", 7, 0, top, 20, &n, &block), CELLAR_OK);
    T_EQ_U64(n, 9);
    cellar_free(block);
    T_EQ_I64(cellar_board_put(c, "p:no:b", 6, items[0], 1, 9, NULL), CELLAR_E_DENIED);
    T_EQ_I64(cellar_board_put(c, "p:1:b", 5, items[0], 1, 0, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_list_push(c, "p:1:l", 5, items, 9, 9, NULL, &n), CELLAR_OK);
    T_EQ_U64(n, 2);
    T_EQ_I64(cellar_list_push(c, "free", 4, items, 9, 9, NULL, &n), CELLAR_OK);
    T_EQ_U64(n, 9);
    T_EQ_I64(cellar_list_range(c, "p:1:l", 5, 0, out, 20, &n, &length, &block), CELLAR_OK);
    T_CHECK(n == 2 && ((const char *)out[0].data)[0] == 'i');
    cellar_free(block);
    T_EQ_U64(cellar_policy_max_items(c, "p:1:b", 5), 3);
    T_EQ_U64(cellar_policy_max_items(c, "other", 5), 0);
    T_EQ_U64(cellar_policy_max_items(c, "p:no:b", 6), 0);
    T_EQ_U64(cellar_policy_max_items(c, "", 0), 0);
    T_EQ_U64(cellar_policy_max_items(NULL, "p:1:b", 5), 0);
    T_EQ_I64(cellar_policy_set(c, "[n]\nkey p:{x} max_items=1\n", 26, NULL, NULL), CELLAR_OK);
    T_EQ_U64(cellar_policy_max_items(c, "p:1", 3), 0);
    T_EQ_I64(cellar_namespace_open(c, "n", NULL, &v), CELLAR_OK);
    T_EQ_U64(cellar_policy_max_items(v, "p:1", 3), 1);
    T_EQ_I64(cellar_close(v), CELLAR_OK);
    T_EQ_I64(cellar_board_put(c, "p:1:b", 5, items[4], 4, 9, NULL), CELLAR_OK);
    T_EQ_I64(cellar_board_top(c, "p:1:b", 5, 0, top, 20, &n, &block), CELLAR_OK);
    T_EQ_U64(n, 4); /* the cap of the call again */
    cellar_free(block);
    api_shut(c);
}

T_MAIN("api_kit_values", T_CASE(numbers_come_back_as_stored), T_CASE(vectors_come_back_as_stored),
       T_CASE(board_agrees_with_a_sorted_array), T_CASE(hundred_and_first_place_leaves_the_board),
       T_CASE(board_refuses_no_numbers_and_keeps_its_value),
       T_CASE(damaged_value_is_no_board_and_no_list), T_CASE(list_agrees_with_an_array),
       T_CASE(twenty_first_item_leaves_the_list), T_CASE(max_items_of_a_rule_replaces_the_cap),
       T_CASE(secrets_are_masked_and_the_rest_stays),
       T_CASE(no_eight_bytes_of_a_planted_secret_survive))
