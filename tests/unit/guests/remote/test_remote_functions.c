/* SPDX-License-Identifier: MIT
 *
 * Aim:    the functions of the port (resp/shared_tier.c) do what redis-server does with the texts of
 *         the remote tier.
 * Method: random states and arguments for each text go to both sides inside MULTI and EXEC: the
 *         state, the script, then all keys and their TTLs. In the texts for redis-server a key of
 *         the test stands for TIME. The clock goes back and forward.
 *         Values and numbers are equal, TTLs within 50 ms, errors have one first word. Requests with
 *         a wrong word, and each failed allocation, leave the port alive.
 * NEEDS   redis-server; without it the comparison is skipped. FUNCTIONS=n: cases of each text;
 *         slow_remote_functions.sh has 10^5. */
#include "tests/support/draw.h"
#include "tests/support/engine_kit.h"
#include "tests/support/port_kit.h"
#include "tests/support/said.h"
#include "tests/support/t.h"

#include <math.h>
#include <sys/syscall.h>

#include "../../../../src/guests/remote/script.c"
#include "base/fault.h"
#include "remote/link_inside.h"
#include "resp/types.h"

#define TEXTS (REMOTE_SCRIPTS + 1) /* the last one: of the marker */
#define TIME_OF "redis.call('TIME')"
#define TIME_IS "{string.match(redis.call('GET','@t'),'(%d+) (%d+)')}"
#define KEYS_MAX 5u
#define ARGS_MAX 6u
#define BATCH 32u
#define NEAR_MS 50

static const char *text_of(size_t i)
{
    return i < REMOTE_SCRIPTS ? remote_script_text(NULL, i) : REMOTE_MARKER_SCRIPT;
}

static const char *name_of(size_t i)
{
    return i < REMOTE_SCRIPTS ? remote_scripts[i].name : "MARKER";
}

/* ---- One case -------------------------------------------------------------------------------- */

typedef struct bytes {
    size_t len;
    char at[24000];
} bytes;

typedef struct sample {
    size_t script;
    int64_t us;              /* time of both servers */
    uint32_t keys, args;
    const char *key[KEYS_MAX];
    bool set[KEYS_MAX];      /* the key has `state` before */
    int64_t px[KEYS_MAX];    /* for so long; 0: without an end */
    bytes state[KEYS_MAX], arg[ARGS_MAX];
} sample;

static sample one;
static int64_t clock_us;

static int64_t sample_clock(void) { return clock_us; }

static void say(bytes *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(bytes *b, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    const int n = vsnprintf(b->at + b->len, sizeof b->at - b->len, format, list);
    va_end(list);
    T_REQUIRE(n >= 0 && (size_t)n < sizeof b->at - b->len);
    b->len += (size_t)n;
}

static void say_bytes(bytes *b, const void *p, size_t len)
{
    T_REQUIRE(len <= sizeof b->at - b->len);
    memcpy(b->at + b->len, p, len);
    b->len += len;
}

static bool often(uint32_t of) { return draw(of) != 0; }
static int64_t about(int64_t n, int64_t range)
{
    return n - range + (int64_t)draw(2 * (uint64_t)range + 1);
}

/* Say a number as the remote tier or a stranger may have written it. */
static void say_number(bytes *b, bool stranger)
{
    static const char *const odd[] = {
        "", "x", "12x", "-5", " 5", "5 ", "1.5", "+7", "0x10", "1e3", "inf", "nan",
        "9007199254740991", "9007199254740992", "9007199254740993", "99999999999999999",
        "123456789012345678901234567890", "-0", "1e400", "18446744073709551616", ".5", "0.",
    };
    switch (draw(stranger ? 6 : 4)) {
    case 0: say(b, "%d", (int)draw(10)); break;
    case 1: say(b, "%" PRId64, about(one.us, 2000000)); break;
    case 2: say(b, "%" PRIu64, draw(UINT64_C(1) << 53)); break;
    case 3: say(b, "%" PRId64, about(one.us, 10)); break;
    default: say(b, "%s", odd[draw(sizeof odd / sizeof odd[0])]); break;
    }
}

/* Add an argument that is a number. */
static void arg(int64_t n) { say(&one.arg[one.args++], "%" PRId64, n); }
static bytes *arg_new(void) { return &one.arg[one.args++]; }

/* Add a time in ms. */
static void arg_life(void)
{
    arg(1 + (int64_t)draw(often(3) ? 100000 : INT64_C(1000000000000)));
}

/* Add a time in ms, seldom one that is none. For texts that write nothing before it is refused. */
static void arg_px(void)
{
    static const char *const odd[] = { "0", "-1", "x", "", "1.5", "99999999999999999999" };
    if (often(12)) {
        arg_life();
    } else {
        say(arg_new(), "%s", odd[draw(sizeof odd / sizeof odd[0])]);
    }
}

static bytes *key_new(const char *name, uint32_t present)
{
    const uint32_t i = one.keys++;
    one.key[i] = name;
    one.set[i] = draw(4) < present;
    one.px[i] = draw(2) == 0 ? 0 : 2000 + (int64_t)draw(100000);
    return &one.state[i];
}

/* ---- The cases of each text ------------------------------------------------------------------ */

static void end_case(void)
{
    say_number(key_new("~p:e", 3), true);
    say_number(key_new("~p:tx", 3), true);
    say_number(arg_new(), false);
    arg(2000 + (int64_t)draw(100000));
}

static void know_case(void)
{
    static const char *const names[] = { "~p:ga", "~p:ta", "~p:sa", "~p:t" };
    const uint32_t more = (uint32_t)draw(KEYS_MAX);
    const bool stranger = draw(6) == 0;
    say_number(key_new("~p:e", 3), stranger);
    say_number(arg_new(), false);
    for (uint32_t i = 0; i < more; i++) {
        say_number(key_new(names[i], 2), stranger);
        if (draw(2) == 0) { arg(0); } else { say_number(arg_new(), false); }
    }
    arg(2000 + (int64_t)draw(100000));
}

/* Say an envelope: 48 bytes, the check, what follows; or less. */
static void say_envelope(bytes *b, char check)
{
    char v[80];
    memset(v, 'v', sizeof v);
    memset(v + 48, check, 8);
    if (!often(4)) { v[4] = 4; }
    say_bytes(b, v, often(8) ? 48 + draw(32) : draw(60));
}

static void say_check(bytes *b, char check)
{
    static const char *const odd[] = { "", "A", "AAAAAAA", "AAAAAAAAA", "*", "vvvvvvvv" };
    const char v[9] = { check, check, check, check, check, check, check, check, '\0' };
    say(b, "%s", often(5) ? v : odd[draw(sizeof odd / sizeof odd[0])]);
}

static char check_new(void) { return draw(4) == 0 ? 'B' : 'A'; }

/* Say a counter: an envelope of a generation, with an end around now, or one that is none. */
static void say_count(bytes *b, char generation)
{
    static const int64_t edges[] = { 0, 1, -1, INT64_MAX, INT64_MIN, INT64_MAX - 3, INT64_MIN + 3,
                                     UINT32_MAX, -(int64_t)UINT32_MAX, INT64_C(1) << 32 };
    unsigned char v[96];
    const uint64_t ends_ms = (uint64_t)about(one.us / 1000, 3);
    const int64_t n = draw(3) == 0 ? (int64_t)draw(UINT64_MAX) : edges[draw(10)];
    const size_t tags = draw(3) == 0 ? 1 + draw(24) : 0, len = 64 + tags;
    memset(v, 0, sizeof v);
    memcpy(v, "\316cl\1\4", 5);
    memset(v + 8, generation, 8);
    if (draw(2) == 0) { memcpy(v + 24, &ends_ms, 8); }
    const uint64_t check = draw(UINT64_MAX);
    memcpy(v + 48, &check, 8);
    memcpy(v + len - 8, &n, 8);
    if (!often(12)) { v[draw(5)] ^= 1; }
    say_bytes(b, v, often(12) ? len : draw(len));
}

static void count_case(void)
{
    static const int64_t deltas[] = { 0, 1, -1, 5, -5, INT64_MAX, INT64_MIN, INT64_C(1) << 32,
                                      -(INT64_C(1) << 32) };
    const int64_t delta = draw(3) == 0 ? (int64_t)draw(UINT64_MAX) : deltas[draw(9)];
    say_count(key_new("p:k", 3), 'g');
    say_bytes(arg_new(), &delta, 8);
    say(arg_new(), "%s", often(5) ? "gggggggg" : "hhhhhhhh");
    bytes *made = arg_new();
    if (draw(3) != 0) { say_count(made, 'g'); }
    arg_px();
}

static void change_case(void)
{
    say_envelope(key_new("p:k", 3), 'A');
    if (draw(3) == 0) { say(key_new("~p:beat:1", 2), "1"); }
    say_check(arg_new(), check_new());
    bytes *v = arg_new();
    if (draw(3) != 0) {
        say_envelope(v, 'C');
        arg_px();
    } else if (draw(2) == 0) {
        arg_px();
    }
    if (v->len != 0 && one.args < 3) { arg_px(); }
}

static void drop_case(void) { say(key_new("p:k", 2), "%" PRIu64, draw(100)); }

static void swap_case(void)
{
    static const char *const values[] = { "", "a", "b", "0" };
    say(key_new("p:k", 3), "%s", values[draw(4)]);
    say(arg_new(), "%s", values[draw(4)]);
    if (draw(4) == 0) { arg(0); } else { arg_px(); }
    if (draw(3) != 0) { say(arg_new(), "%s", values[draw(4)]); }
}

static void say_counter(bytes *b)
{
    static const char *const odd[] = {
        "", "x", "-1", "007", "+1", " 1", "1 ", "1.5", "-0", "9223372036854775807",
        "9223372036854775800", "-9223372036854775808", "-9223372036854775800",
        "9223372036854775808",
    };
    if (draw(2) == 0) {
        say(b, "%" PRId64, about(0, 1000));
    } else {
        say(b, "%s", odd[draw(sizeof odd / sizeof odd[0])]);
    }
}

static void sum_case(void)
{
    say_counter(key_new("p:k", 3));
    if (one.set[0]) { say_counter(arg_new()); } else { arg(about(0, 1000)); }
    say(arg_new(), "%s", draw(2) == 0 ? "9223372036854775807" : "-9223372036854775808");
    arg(about(0, 100));
    if (draw(3) == 0) { arg(0); } else { arg_px(); }
}

static void say_lock(bytes *b)
{
    static const char *const odd[] = {
        "", "abc", "abc ", " 5", "abc 5 ", "xyz 500", "ABC0 500", "abc 99999999999999999999",
        "abc  5", "abc 0", "abc -5", "token 5",
    };
    if (often(4)) {
        say(b, "%s %d", draw(3) == 0 ? "beef" : "cafe", (int)draw(200000));
    } else {
        say(b, "%s", odd[draw(sizeof odd / sizeof odd[0])]);
    }
}

static void lock_case(void)
{
    say_lock(key_new("p:~k:k", 2));
    say_number(key_new("~p:fence", 3), false);
    say(arg_new(), "cafe");
    arg_px();
}

static void keep_case(void)
{
    static const char *const tokens[] = { "cafe", "cafe", "cafe", "beef", "", "abc" };
    say_lock(key_new("p:~k:k", 3));
    if (draw(3) == 0) { say(key_new("~p:beat:1", 2), "1"); }
    say(arg_new(), "%s", tokens[draw(6)]);
    if (draw(3) == 0) { arg(0); } else { arg_life(); }
}

static void beside_case(void)
{
    static const char *const leases[] = { "1", "2", "" };
    say(key_new("~p:lease:s:k", 3), "%s", leases[draw(3)]);
    say_envelope(key_new("p:k", 3), check_new());
    say(arg_new(), "%s", leases[draw(3)]);
    say_check(arg_new(), 'A');
    say_envelope(arg_new(), 'C');
    arg_life();
}

static void marker_case(void)
{
    say(key_new("~p:marker:1", 3), "%d", (int)draw(2));
    if (draw(2) == 0) { (void)arg_new(); }
}

static void (*const case_of[TEXTS])(void) = {
    [REMOTE_SCRIPT_END] = end_case,       [REMOTE_SCRIPT_KNOW] = know_case,
    [REMOTE_SCRIPT_CHANGE] = change_case, [REMOTE_SCRIPT_DROP] = drop_case,
    [REMOTE_SCRIPT_SWAP] = swap_case,     [REMOTE_SCRIPT_ADD] = sum_case,
    [REMOTE_SCRIPT_COUNT] = count_case,
    [REMOTE_SCRIPT_LOCK] = lock_case,     [REMOTE_SCRIPT_KEEP] = keep_case,
    [REMOTE_SCRIPT_BESIDE] = beside_case, [REMOTE_SCRIPTS] = marker_case,
};

/* For tests of the port alone: its limiters have tables. */
static void limit_case(void)
{
    (void)key_new("~p:limit:n:k", 0);
    (void)key_new("~p:members:n", 0);
    say(arg_new(), "%s", draw(2) == 0 ? "" : "a1");
    arg((int64_t)draw(5));
    arg((int64_t)draw(5));
    arg(12800000);
    arg(51200000);
    arg((int64_t)draw(2) * 1000000);
}

/* Draw a case. The clock steps by seconds, seldom by years. */
static void draw_case(size_t script, int64_t *us)
{
    *us = often(20) ? about(*us, 3000000)
                    : INT64_C(1000000000000000) + (int64_t)draw(UINT64_C(1000000000000000));
    memset(one.set, 0, sizeof one.set);
    for (size_t i = 0; i < KEYS_MAX; i++) { one.state[i].len = 0; }
    for (size_t i = 0; i < ARGS_MAX; i++) { one.arg[i].len = 0; }
    one.keys = one.args = 0;
    one.script = script;
    one.us = *us;
    (case_of[script] != NULL ? case_of[script] : limit_case)();
}

/* ---- Both servers ---------------------------------------------------------------------------- */

static struct both {
    engine e;
    resp_kit k;
    resp_client_kit redis;
    char sha[TEXTS][48];    /* of redis-server */
    char said[BATCH][40000]; /* replies of the port */
    char shown[BATCH][400];
} both;

static void queue_text(resp_client_kit *c, const char *format, ...)
{
    char line[256];
    rc_word w[16];
    size_t n = 0;
    va_list list;
    va_start(list, format);
    (void)vsnprintf(line, sizeof line, format, list);
    va_end(list);
    for (char *p = line; *p != '\0';) {
        const size_t len = strcspn(p, " ");
        w[n++] = (rc_word){ p, len };
        p += len + (p[len] == ' ');
    }
    rc_queue_words(c, w, n);
}

/* Queue the transaction of the case. */
static void queue_case(resp_client_kit *c, bool own)
{
    rc_word w[3 + KEYS_MAX + ARGS_MAX + 4];
    char px[24], count[8];
    queue_text(c, "MULTI");
    queue_text(c, "TIME");
    for (uint32_t i = 0; i < one.keys; i++) {
        queue_text(c, "DEL %s", one.key[i]);
        if (!one.set[i]) { continue; }
        (void)snprintf(px, sizeof px, "%" PRId64, one.px[i]);
        const rc_word set[] = { { "SET", 3 }, { one.key[i], strlen(one.key[i]) },
                                { one.state[i].at, one.state[i].len }, { "PX", 2 },
                                { px, strlen(px) } };
        rc_queue_words(c, set, one.px[i] != 0 ? 5 : 3);
    }
    size_t n = 0;
    (void)snprintf(count, sizeof count, "%u", one.keys);
    w[n++] = own ? (rc_word){ "CELLAR.TIER", 11 } : (rc_word){ "EVALSHA", 7 };
    const char *name = own ? name_of(one.script) : both.sha[one.script];
    w[n++] = (rc_word){ name, strlen(name) };
    w[n++] = (rc_word){ count, strlen(count) };
    for (uint32_t i = 0; i < one.keys; i++) {
        w[n++] = (rc_word){ one.key[i], strlen(one.key[i]) };
    }
    for (uint32_t i = 0; i < one.args; i++) {
        w[n++] = (rc_word){ one.arg[i].at, one.arg[i].len };
    }
    rc_queue_words(c, w, n);
    for (uint32_t i = 0; i < one.keys; i++) {
        queue_text(c, "PTTL %s", one.key[i]);
        queue_text(c, "GET %s", one.key[i]);
    }
    queue_text(c, "TIME");
    queue_text(c, "EXEC");
}

/* Take the line of a reply at *p: its kind and its number; the bytes of a bulk. */
typedef struct part {
    char kind;
    long long n;
    const char *line, *bulk;
    size_t line_len;
} part;

static part part_next(const char **p)
{
    const char *end = strstr(*p, "\r\n");
    T_REQUIRE(end != NULL);
    part t = { **p, strtoll(*p + 1, NULL, 10), *p + 1, end + 2, (size_t)(end - *p) - 1 };
    *p = end + 2;
    if (t.kind == '$' && t.n >= 0) { *p += t.n + 2; }
    return t;
}

static bool part_same(const part *a, const part *b, long long near)
{
    if (a->kind != b->kind) { return false; }
    if (a->kind == ':' && near > 0) { return llabs(a->n - b->n) <= near; }
    if (a->kind == '-') {
        const size_t word = strcspn(a->line, " \r");
        return word == strcspn(b->line, " \r") && memcmp(a->line, b->line, word) == 0;
    }
    return a->n == b->n && (a->kind != '$' || a->n <= 0 ||
                            memcmp(a->bulk, b->bulk, (size_t)a->n) == 0);
}

/* Skip one reply, and compare it; `near`: numbers may differ by that. */
static bool same_reply(const char **a, const char **b, long long near)
{
    bool same = true;
    for (long long left = 1; left > 0; left--) {
        const part x = part_next(a), y = part_next(b);
        same = same && part_same(&x, &y, near);
        if (x.kind == '*' && x.kind == y.kind && x.n == y.n) { left += x.n; }
    }
    return same;
}

/* What the replies of a case are compared by. */
typedef struct shape {
    uint32_t lead, keys; /* replies before that of the script; keys behind it */
    bool timed;          /* the script returns a TTL */
} shape;

/* Take the reply of TIME, in ms. */
static long long time_next(const char **p)
{
    long long ms = part_next(p).n == 2 ? 0 : -1;
    T_REQUIRE(ms == 0);
    ms = strtoll(part_next(p).bulk, NULL, 10) * 1000;
    return ms + strtoll(part_next(p).bulk, NULL, 10) / 1000;
}

/* Return for how long a reply of EXEC of redis-server was under way. */
static long long took_ms(const char *p, const shape *s)
{
    (void)part_next(&p);
    const long long from = time_next(&p);
    for (uint32_t i = 0; i < s->lead + 1 + 2 * s->keys; i++) {
        const char *same = p;
        (void)same_reply(&p, &same, 0);
    }
    return time_next(&p) - from;
}

/* Compare two replies of EXEC; `a` is of redis-server. A short TTL may have ended on one side. */
static bool same_case(const char *a, const char *b, const shape *s)
{
    const char *const whole = a;
    part x = part_next(&a), y = part_next(&b);
    if (x.kind != '*' || !part_same(&x, &y, 0)) { return false; }
    const long long near = NEAR_MS + took_ms(whole, s);
    (void)time_next(&a), (void)time_next(&b);
    for (uint32_t i = 0; i < s->lead; i++) { (void)same_reply(&a, &b, 0); }
    if (!same_reply(&a, &b, s->timed ? near : 0)) { return false; }
    for (uint32_t i = 0; i < s->keys; i++) {
        x = part_next(&a), y = part_next(&b);
        const bool ended = (x.n == -2) != (y.n == -2);
        const long long left = x.n == -2 ? y.n : x.n;
        if (ended ? left > near || left == -1
                  : (x.n == -1) != (y.n == -1) || !part_same(&x, &y, near)) {
            return false;
        }
        if (!same_reply(&a, &b, 0) && !ended) { return false; }
    }
    return true;
}

/* Replace TIME in a text by a read of a key. */
static void text_for_test(bytes *out, const char *text)
{
    out->len = 0;
    for (const char *t; (t = strstr(text, TIME_OF)) != NULL; text = t + strlen(TIME_OF)) {
        say_bytes(out, text, (size_t)(t - text));
        say(out, "%s", TIME_IS);
    }
    say(out, "%s", text);
}

static void load(resp_client_kit *redis, size_t i)
{
    size_t len;
    text_for_test(&one.arg[0], text_of(i));
    const rc_word words[] = { { "SCRIPT", 6 }, { "LOAD", 4 }, { one.arg[0].at, one.arg[0].len } };
    rc_queue_words(redis, words, 3);
    rc_flush(redis);
    const char *sha = rc_reply(redis, &len);
    T_REQUIRE(len == 47 && sha[0] == '$');
    memcpy(both.sha[i], sha + 5, 40);
}

static void shared_port(cellar_resp_config *o) { o->shared_bytes = (uint64_t)16 << 20; }
static void small_port(cellar_resp_config *o) { o->shared_bytes = (uint64_t)2 << 20; }

/* Open a port alone. us: what its clock says; 0: the time. */
static resp_kit *alone_open(void (*change)(cellar_resp_config *o), int64_t us)
{
    static resp_kit k;
    rk_open_on(&k, api_open(16 << 20), change);
    if (us != 0) { port->wall_us = sample_clock; }
    clock_us = us;
    draw_state = t_seed();
    return &k;
}

#define BEGIN_US INT64_C(1700000000000000)
#define SMALL(fn) T_WITH(fn, resp_kit *k, k, alone_open(small_port, BEGIN_US), rk_close(k))
#define SMALL_TIMED(fn) T_WITH(fn, resp_kit *k, k, alone_open(small_port, 0), rk_close(k))
#define SHARED(fn) T_WITH(fn, resp_kit *k, k, alone_open(shared_port, BEGIN_US), rk_close(k))
#define SHARED_TIMED(fn) T_WITH(fn, resp_kit *k, k, alone_open(shared_port, 0), rk_close(k))

static bool both_open(void)
{
    if (!engine_start(&both.e, NULL)) { return false; }
    T_REQUIRE(rc_connect(&both.redis, both.e.socket));
    rk_open_on(&both.k, api_open(16 << 20), shared_port);
    port->wall_us = sample_clock;
    for (size_t i = 0; i < TEXTS; i++) { load(&both.redis, i); }
    return true;
}

static void both_close(void)
{
    rc_close(&both.redis);
    rk_close(&both.k);
    engine_stop(&both.e);
}

/* Run the case on the port, and queue it for redis-server. */
static void run_case(size_t at, shape *s)
{
    resp_client_kit *c = &both.k.client;
    clock_us = one.us;
    *s = (shape){ one.keys, one.keys, one.script == REMOTE_SCRIPT_LOCK };
    for (uint32_t i = 0; i < one.keys; i++) { s->lead += one.set[i]; }
    queue_case(c, true);
    rk_flush(&both.k);
    for (uint32_t n = s->lead + 2 * s->keys + 5; n > 0; n--) { (void)rk_wait(&both.k); }
    T_REQUIRE(c->taken < sizeof both.said[0]);
    memcpy(both.said[at], c->in, c->taken);
    rc_text t = { both.shown[at], 0, sizeof both.shown[0] - 1 };
    for (uint32_t i = 0; i < one.keys; i++) {
        if (one.set[i]) { rc_say(&t, one.state[i].at, one.state[i].len); }
        rc_say(&t, " | ", 3);
    }
    for (uint32_t i = 0; i < one.args; i++) {
        rc_say(&t, " ", 1);
        rc_say(&t, one.arg[i].at, one.arg[i].len);
    }
    t.out[t.len] = '\0';
    char now[48];
    (void)snprintf(now, sizeof now, "%" PRId64 " %" PRId64, one.us / 1000000, one.us % 1000000);
    const rc_word set[] = { { "SET", 3 }, { "@t", 2 }, { now, strlen(now) } };
    rc_queue_words(&both.redis, set, 3);
    queue_case(&both.redis, false);
}

static bool compare_case(size_t at, size_t script, const shape *s)
{
    size_t len;
    const char *got = NULL;
    for (uint32_t n = s->lead + 2 * s->keys + 6; n > 0; n--) {
        got = rc_reply(&both.redis, &len);
    }
    if (same_case(got, both.said[at], s)) { return true; }
    char text[2][1200];
    const char *reply[2] = { got, both.said[at] };
    for (size_t i = 0; i < 2; i++) {
        rc_text t = { text[i], 0, sizeof text[i] - 1 };
        (void)rc_render(&t, reply[i]);
        text[i][t.len] = '\0';
    }
    T_CHECK(!"both servers say the same");
    printf("# text %zu: %s\n# redis %s\n# port  %s\n", script, both.shown[at], text[0], text[1]);
    return false;
}

T_CASE(functions_do_what_redis_does_with_the_texts)
{
    const char *more = getenv("FUNCTIONS");
    const uint64_t count = more != NULL ? strtoull(more, NULL, 10) : 800 / T_COST;
    int64_t us = BEGIN_US;
    uint32_t failures = 0;
    if (!both_open()) { return; }
    draw_state = t_seed();
    for (size_t script = 0; script < TEXTS; script++) { /* limiters have tables of the port */
        for (uint64_t n = 0; case_of[script] != NULL && n < count && failures < 5; n += BATCH) {
            shape s[BATCH];
            for (size_t i = 0; i < BATCH; i++) {
                draw_case(script, &us);
                run_case(i, &s[i]);
            }
            rc_flush(&both.redis);
            for (size_t i = 0; i < BATCH; i++) { failures += !compare_case(i, script, &s[i]); }
        }
    }
    both_close();
}

/* ---- A full store ---------------------------------------------------------------------------- */

/* Run request i of the remote tier: number of keys, keys, arguments. */
static const char *run_text(resp_kit *k, size_t i, const char *words)
{
    char line[256];
    (void)snprintf(line, sizeof line, "CELLAR.TIER %s %s", name_of(i), words);
    return rk_line(k, line);
}

/* Fill the room of control keys to the last byte that a key of one letter needs. */
static void fill(resp_kit *k)
{
    static const int lens[] = { 4000, 100, 0 };
    char key[32], value[4001];
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    for (size_t i = 0; i < 3; i++) {
        for (int n = 0;; n++) {
            (void)snprintf(key, sizeof key, "~%zu:%d", i, n);
            const char *got = rk(k, "SET", key, value + sizeof value - 1 - lens[i], NULL);
            if (strcmp(got, "+OK") != 0) {
                T_EQ_MEM(got, "-OOM", 4);
                break;
            }
        }
    }
}

T_CASE_ON(full_store_refuses_a_first_write_and_none_behind_it, SMALL)
{
    T_EQ_STR(run_text(k, REMOTE_SCRIPT_LOCK, "2 p:~k:held ~p:fence cafe 9000"),
             "[:1 :1700000000000000]");
    T_EQ_STR(rk(k, "DEL", "~p:fence", NULL), ":1");
    T_EQ_STR(run_text(k, REMOTE_SCRIPTS, "1 ~p:marker:1 x"), "[:1 1700000000 0]");
    fill(k);
    T_EQ_STR(run_text(k, REMOTE_SCRIPT_KNOW, "1 ~p:e 0 9"), "[1700000000000000]");
    T_EQ_STR(run_text(k, REMOTE_SCRIPT_KNOW, "2 p:~e p:~t:x 0 0 9000"),
             "[1700000000000000 1700000000000000]"); /* tags have a part of their own */
    T_EQ_STR(run_text(k, REMOTE_SCRIPT_KNOW, "2 ~p:e ~p:gx 0 0 9"),
             "[1700000000000000 1700000000000000]");
    T_EQ_STR(run_text(k, REMOTE_SCRIPT_END, "2 ~p:e ~p:ty 0 9000"), "1700000000000001");
    T_EQ_STR(rk(k, "GET", "~p:ty", NULL), "1700000000000001");
    T_EQ_MEM(run_text(k, REMOTE_SCRIPT_LOCK, "2 p:~k:new ~p:fence cafe 9000"), "-OOM ", 5);
    T_EQ_STR(rk(k, "EXISTS", "~p:tx", "p:~k:new", "~p:fence", NULL), ":0");
    T_EQ_STR(run_text(k, REMOTE_SCRIPT_KEEP, "1 p:~k:held cafe 80000"), "[:1]");
    T_EQ_STR(rk(k, "GET", "p:~k:held", NULL), "cafe 80000");
    T_EQ_STR(run_text(k, REMOTE_SCRIPT_DROP, "1 p:~p:x"), ":1");
    T_EQ_STR(run_text(k, REMOTE_SCRIPTS, "1 ~p:marker:1"), "[:1 1700000000 0]");
    T_EQ_STR(run_text(k, REMOTE_SCRIPTS, "1 ~p:marker:2 x"), "[:1 1700000000 0]");
    T_EQ_STR(run_text(k, REMOTE_SCRIPT_ADD, "1 p:n 2 9 40 1000"), "42");
}

/* ---- Many tags ------------------------------------------------------------------------------- */

static const char *know_tag(resp_kit *k, const char *tag)
{
    char words[96];
    (void)snprintf(words, sizeof words, "3 p:~e p:~t:%s p:~s:%s 0 0 0 60000", tag, tag);
    return run_text(k, REMOTE_SCRIPT_KNOW, words);
}

static double info_of(resp_kit *k, const char *name)
{
    const char *at = strstr(rk(k, "INFO", "shared", NULL), name);
    T_REQUIRE(at != NULL);
    return strtod(at + strlen(name) + 1, NULL);
}

T_CASE_ON(tags_forget_the_oldest_ones_silently_and_leave_room_for_locks, SMALL)
{
    enum { TAGS = 3000 };
    char tag[16];
    T_EQ_STR(run_text(k, REMOTE_SCRIPT_LOCK, "2 p:~k:held ~p:fence cafe 900000"),
             "[:1 :1700000000000000]");
    const int hears = peer();
    T_CHECK(strstr(ask(hears, "HELLO 3\r\nCLIENT TRACKING ON BCAST PREFIX p:\r\n"), "+OK\r\n") != NULL);
    T_EQ_STR(know_tag(k, "0"), "[1700000000000000 1700000000000000 1700000000000000]");
    clock_us++;
    T_EQ_STR(run_text(k, REMOTE_SCRIPT_END, "2 p:~e p:~t:0 0 60000"), "1700000000000001");
    for (int i = 1; i < TAGS; i++) {
        (void)snprintf(tag, sizeof tag, "%d", i);
        T_EQ_MEM(know_tag(k, tag), "[17", 3);
        if (i % 100 == 0) { T_EQ_STR(rk(k, "EXISTS", "p:~t:asked", NULL), i > 100 ? ":1" : ":0"); }
        if (i % 100 == 0) { T_EQ_MEM(know_tag(k, "asked"), "[17", 3); }
    }
    T_CHECK(info_of(k, "shared_tags_forgotten") > 0);
    T_CHECK(info_of(k, "shared_control_used") <= info_of(k, "shared_control_max"));
    T_EQ_STR(rk(k, "EXISTS", "p:~t:0", NULL), ":0");
    T_EQ_STR(rk(k, "GET", "p:~k:held", NULL), "cafe 900000");
    T_EQ_STR(run_text(k, REMOTE_SCRIPT_LOCK, "2 p:~k:new ~p:fence cafe 9000"),
             "[:1 :1700000000000001]");
    while (*ask(hears, "") != '\0') { }
    T_EQ_STR(know_tag(k, "0"), "[1700000000000001 1700000000000001 1700000000000001]");
    const char *heard = ask(hears, "");
    T_CHECK(strstr(heard, "p:~t:0\r\n") != NULL && strstr(heard, "p:~s:0\r\n") != NULL);
    T_CHECK(strstr(strstr(heard, "p:~s:0\r\n"), "p:~t:1") == NULL); /* not what was forgotten */
    close(hears);
}

/* ---- Limiters -------------------------------------------------------------------------------- */

static const char *take(resp_kit *k, remote_script i, const char *name, int key, const char *rule)
{
    char words[160];
    (void)snprintf(words, sizeof words, "2 ~p:limit:%s:%d ~p:members:%s a1 %s", name, key, name,
                   rule);
    return run_text(k, i, words);
}

#define DAY10 "4 2 11059200000000 110592000000000 0"   /* a unit a day, a burst of 10 */
#define FAST "4 2 12800000 51200000 1000000"           /* each 100 ms; a batch is reserved within 1 s */
#define LOG5 " 3600000000 5 0"                         /* 5 in an hour */

/* Each reply begins so: units, the wait in us, processes. */
T_CASE_ON(limiters_of_a_port_decide_by_their_rules, SMALL_TIMED)
{
    static const struct { remote_script script; int key; const char *rule, *reply; } rows[] = {
        { REMOTE_SCRIPT_BUCKET, 1, DAY10, "[:4 :0 :1" }, { REMOTE_SCRIPT_BUCKET, 1, DAY10, "[:4 :0 :1" },
        { REMOTE_SCRIPT_BUCKET, 1, DAY10, "[:2 :0 :1" },
        { REMOTE_SCRIPT_BUCKET, 1, DAY10, "[:0 :17" }, /* two days */
        { REMOTE_SCRIPT_BUCKET, 2, DAY10, "[:4 :0 :1" },
        { REMOTE_SCRIPT_BUCKET, 3, FAST, "[:4 :0 :1" }, { REMOTE_SCRIPT_BUCKET, 3, FAST, "[:4 :" },
        { REMOTE_SCRIPT_WINDOW, 4, "2 2 0 3 0", "[:2 :0 :1" },
        { REMOTE_SCRIPT_WINDOW, 4, "2 2 0 3 0", "[:0 :" },
        { REMOTE_SCRIPT_LOG, 5, "3 1" LOG5, "[:3 :0 :1" }, { REMOTE_SCRIPT_LOG, 5, "3 1" LOG5, "[:2 :0 :1" },
        { REMOTE_SCRIPT_LOG, 5, "1 1" LOG5, "[:0 :35" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *const got = take(k, rows[i].script, "n", rows[i].key, rows[i].rule);
        if (strncmp(got, rows[i].reply, strlen(rows[i].reply)) != 0) { T_EQ_STR(got, rows[i].reply); }
    }
}

T_CASE_ON(keys_of_limiters_fill_no_port_and_a_name_too_many_is_refused, SMALL_TIMED)
{
    enum { KEYS = 20000 };
    char name[16];
    int names = 0, halves = 0;
    for (int i = 0; i < KEYS; i++) {
        T_EQ_STR(take(k, REMOTE_SCRIPT_BUCKET, "n", i, DAY10), "[:4 :0 :1 :0]");
    }
    port_pass(101);
    T_CHECK(info_of(k, "shared_limits_evicted") > 0);
    T_EQ_MEM(run_text(k, REMOTE_SCRIPT_LOCK, "2 p:~k:new ~p:fence cafe 9000"), "[:1 :", 5);
    for (; names < 100; names++) {
        const double used = info_of(k, "shared_limits_used");
        const double left = info_of(k, "shared_limits_max") - used;
        (void)snprintf(name, sizeof name, "n%d", names);
        if (take(k, REMOTE_SCRIPT_BUCKET, name, 1, DAY10)[0] == '-') { break; }
        const double took = info_of(k, "shared_limits_used") - used;
        halves += took > left / 3 && took < left / 3 * 2;
    }
    T_CHECK(names >= 2 && names < 100);
    T_EQ_I64(halves, 1); /* where a quarter of the rest is too little */
    T_CHECK(strstr(k->text, "raise shared_bytes") != NULL);
    T_CHECK(info_of(k, "shared_limits_refused") > 0);
    T_CHECK(info_of(k, "shared_limits_used") <= info_of(k, "shared_limits_max"));
    T_EQ_MEM(take(k, REMOTE_SCRIPT_BUCKET, "n", 0, DAY10), "[:", 2);
}

/* ---- No memory ------------------------------------------------------------------------------- */

#define CASES 24 /* of each text */

/* Give the keys of the case their state. */
static void keys_set(resp_kit *k)
{
    for (uint32_t i = 0; i < one.keys; i++) {
        const rc_word set[] = { { "SET", 3 }, { one.key[i], strlen(one.key[i]) },
                                { one.state[i].at, one.state[i].len } };
        (void)rk(k, "DEL", one.key[i], NULL);
        if (one.set[i]) { T_EQ_STR(rk_words(k, set, 3), "+OK"); }
    }
}

/* Write the values of the first keys of the case. */
static void keys_read(resp_kit *k, uint32_t keys, char text[KEYS_MAX * 2048])
{
    text[0] = '\0';
    for (uint32_t i = 0; i < keys; i++) {
        (void)snprintf(text + strlen(text), 2048, "%.2000s|", rk(k, "GET", one.key[i], NULL));
    }
}

/* Write the words of the case, with `keys` for their count. Return the number of words. */
static size_t request(rc_word *w, char keys[8])
{
    size_t n = 3;
    (void)snprintf(keys, 8, "%u", one.keys);
    w[0] = (rc_word){ "CELLAR.TIER", 11 };
    w[1] = (rc_word){ name_of(one.script), strlen(name_of(one.script)) };
    w[2] = (rc_word){ keys, strlen(keys) };
    for (uint32_t i = 0; i < one.keys; i++) { w[n++] = (rc_word){ one.key[i], strlen(one.key[i]) }; }
    for (uint32_t i = 0; i < one.args; i++) { w[n++] = (rc_word){ one.arg[i].at, one.arg[i].len }; }
    return n;
}

static const char *run_function(resp_kit *k, uint64_t fault)
{
    rc_word w[3 + KEYS_MAX + ARGS_MAX];
    char keys[8];
    rc_queue_words(&k->client, w, request(w, keys));
    (void)base_fault_alloc_arm(fault, false);
    rk_flush(k);
    return rk_wait(k);
}

/* Return whether a function that had no memory may leave `now` as its first key: what was there, or
 * what it is after the whole function, or a number that rose or is gone: workers hear of that. */
static bool is_safe(const char *before, const char *after, const char *now)
{
    const bool number = one.script == REMOTE_SCRIPT_END || one.script == REMOTE_SCRIPT_KNOW ||
                        one.script == REMOTE_SCRIPTS;
    return strcmp(before, now) == 0 || strncmp(after, now, strlen(now)) == 0 ||
           (number && (strcmp(now, "nil|") == 0 || strtod(now, NULL) >= strtod(before, NULL)));
}

/* A function without memory does all that it does with memory, or says -OOM. */
T_CASE_ON(function_without_memory_is_whole_or_refused, SHARED)
{
    static char before[KEYS_MAX * 2048], after[KEYS_MAX * 2048], now[KEYS_MAX * 2048];
    static char reply[64 << 10];
    int64_t us = BEGIN_US;
    uint64_t refused = 0;
    for (size_t i = 0; i < TEXTS * CASES; i++) {
        if (case_of[i / CASES] == NULL) { continue; }
        draw_case(i / CASES, &us);
        clock_us = one.us;
        keys_set(k);
        keys_read(k, 1, before);
        (void)snprintf(reply, sizeof reply, "%s", run_function(k, 0));
        keys_read(k, one.keys, after);
        bool fired = true;
        for (uint64_t n = 1; fired; n++) {
            keys_set(k);
            const bool whole = strcmp(run_function(k, n), reply) == 0;
            fired = base_fault_alloc_site() != NULL;
            (void)base_fault_alloc_arm(0, false);
            if (!whole) { T_EQ_MEM(k->text, "-OOM ", 5); }
            keys_read(k, whole ? one.keys : 1, now);
            if (whole) { T_EQ_STR(now, after); }
            if (!whole && !T_CHECK(is_safe(before, after, now))) {
                printf("# text %d: %s -> %s\n", (int)one.script, before, now);
            }
            refused += !whole;
        }
    }
    T_CHECK(refused > TEXTS);
}

/* ---- Strangers ------------------------------------------------------------------------------- */

/* Change one word of the request, drop it or say it twice. Return the number of words. */
static size_t mutate(rc_word *w, size_t n)
{
    static const char *const odd[] = { "", "0", "-1", "1", "9", "x", "9007199254740992",
                                       "9223372036854775807", "-9223372036854775808",
                                       "18446744073709551616", "p:k", "~p:e", "abcdefgh" };
    const size_t at = 1 + draw(n - 1);
    switch (draw(4)) {
    case 0:
        memmove(w + at, w + at + 1, (n - at - 1) * sizeof *w);
        return n - 1;
    case 1:
        memmove(w + at + 1, w + at, (n - at) * sizeof *w);
        return n + 1;
    default:
        w[at].text = odd[draw(sizeof odd / sizeof odd[0])];
        w[at].len = strlen(w[at].text);
        return n;
    }
}

T_CASE_ON(request_with_a_mutated_word_gets_one_reply, SHARED)
{
    const char *more = getenv("FUNCTIONS");
    const uint64_t count = more != NULL ? strtoull(more, NULL, 10) : 8000 / T_COST;
    int64_t us = BEGIN_US;
    uint64_t errors = 0;
    for (uint64_t i = 0; i < count; i++) {
        rc_word w[4 + KEYS_MAX + ARGS_MAX];
        char keys[8];
        draw_case(draw(TEXTS), &us);
        clock_us = one.us;
        keys_set(k);
        rc_queue_words(&k->client, w, mutate(w, request(w, keys)));
        rk_flush(k);
        errors += rk_wait(k)[0] == '-';
        T_EQ_STR(rk(k, "ECHO", "alive", NULL), "alive");
    }
    T_CHECK(errors > 0 && errors < count);
}

/* ---- Owners that die ------------------------------------------------------------------------- */

#define BEAT "~p:beat:1"
#define LEASE "vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvAAAAAAAAvv" /* check: A */

/* Return whether the system tells of the end of a process. */
static bool ends_are_told(void)
{
    const int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (fd < 0) {
        T_SKIP("no pidfd_open");
        return false;
    }
    close(fd);
    return true;
}

/* Start a process that takes a lease with its beat. leaves: then it closes its socket, and lives. */
static pid_t owner_start(bool leaves)
{
    static const char words[] = "SET " BEAT " x PX 2000\r\nSET p:k " LEASE "\r\n";
    int told[2];
    T_REQUIRE(pipe(told) == 0);
    const pid_t pid = fork();
    if (pid == 0) {
        char reply[16] = "";
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        const int fd = peer_connect();
        (void)fcntl(fd, F_SETFL, 0);
        const bool ok = send(fd, words, sizeof words - 1, MSG_NOSIGNAL) == sizeof words - 1 &&
                        recv(fd, reply, 10, MSG_WAITALL) == 10;
        if (leaves) { close(fd); }
        if (ok && write(told[1], "1", 1) == 1) { for (;;) { pause(); } }
        _exit(1);
    }
    T_REQUIRE(pid > 0 && fcntl(told[0], F_SETFL, O_NONBLOCK) == 0);
    for (char byte; read(told[0], &byte, 1) != 1;) { (void)cellar_resp_step(port, 1); }
    close(told[0]);
    close(told[1]);
    port_run();
    return pid;
}

/* Kill it. Its parent does not wait for it yet: it is a zombie. */
static void owner_kill(pid_t pid)
{
    siginfo_t info;
    T_EQ_I64(kill(pid, SIGKILL), 0);
    T_EQ_I64(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    port_run();
}

/* Ask for the lease to be released if its beat has ended. */
static const char *waiter_asks(resp_kit *k)
{
    const rc_word w[] = { { "CELLAR.TIER", 11 }, { "CHANGE", 6 }, { "2", 1 },
                          { "p:k", 3 }, { BEAT, strlen(BEAT) }, { "AAAAAAAA", 8 }, { "", 0 } };
    return rk_words(k, w, 7);
}

T_CASE_ON(lease_of_a_dead_process_ends_when_its_socket_closes, SHARED_TIMED)
{
    if (!ends_are_told()) { return; }
    const int hears = peer();
    T_CHECK(strstr(ask(hears, "HELLO 3\r\nCLIENT TRACKING ON BCAST PREFIX p:\r\n"), "+OK\r\n") != NULL);
    const pid_t pid = owner_start(false);
    T_EQ_STR(waiter_asks(k), ":0");
    (void)ask(hears, "");
    owner_kill(pid);
    T_CHECK(strstr(ask(hears, ""), "invalidate\r\n*1\r\n$3\r\np:k\r\n") != NULL);
    T_EQ_STR(rk(k, "EXISTS", "p:k", BEAT, NULL), ":0");
    T_EQ_I64(waitpid(pid, NULL, 0), pid);
    close(hears);
}

T_CASE_ON(lease_of_a_living_process_outlives_its_socket, SHARED_TIMED)
{
    if (!ends_are_told()) { return; }
    const pid_t pid = owner_start(true);
    T_EQ_STR(waiter_asks(k), ":0");
    for (int i = 0; i < 60; i++) { port_pass(2); }
    T_EQ_STR(rk(k, "EXISTS", "p:k", BEAT, NULL), ":2");
    T_EQ_STR(waiter_asks(k), ":0");
    owner_kill(pid); /* no socket tells of it: the next waiter finds out */
    T_EQ_STR(rk(k, "EXISTS", "p:k", BEAT, NULL), ":2");
    T_EQ_STR(waiter_asks(k), ":1");
    T_EQ_STR(rk(k, "EXISTS", "p:k", BEAT, NULL), ":0");
    T_EQ_I64(waitpid(pid, NULL, 0), pid);
}

static void tcp_port(cellar_resp_config *o)
{
    shared_port(o);
    o->port = CELLAR_RESP_PORT_ANY;
}

#define ON_TCP(fn) T_WITH(fn, resp_kit *k, k, alone_open(tcp_port, 0), rk_close(k))

/* Connect over TCP, and write the beat. */
static int owner_on_tcp(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                              .sin_port = htons((uint16_t)port_stats().port) };
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    T_REQUIRE(fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof at) == 0);
    T_EQ_STR(ask(peer_ready(fd), "SET " BEAT " x PX 2000\r\n"), "+OK\r\n");
    return fd;
}

/* A waiter that asks when the connection has just closed leaves 30 ms for another one. */
T_CASE_ON(owner_on_tcp_has_30_ms_to_connect_again, ON_TCP)
{
    T_EQ_STR(rk(k, "SET", "p:k", LEASE, NULL), "+OK");
    close(owner_on_tcp());
    port_run();
    T_EQ_STR(waiter_asks(k), ":0");
    port_pass(20);
    close(owner_on_tcp());
    port_run();
    port_pass(20);
    T_EQ_STR(rk(k, "EXISTS", "p:k", BEAT, NULL), ":2");
    port_pass(11);
    T_EQ_STR(rk(k, "EXISTS", "p:k", BEAT, NULL), ":0");
}

/* Notes of waiters are bounded; a lease that changed meanwhile stays. */
T_CASE_ON(notes_of_waiters_are_bounded, SHARED_TIMED)
{
    char lease[16];
    if (!ends_are_told()) { return; }
    const pid_t pid = owner_start(false);
    for (int i = 0; i < 70; i++) {
        (void)snprintf(lease, sizeof lease, "p:%d", i);
        const rc_word w[] = { { "CELLAR.TIER", 11 }, { "CHANGE", 6 }, { "2", 1 },
                              { lease, strlen(lease) }, { BEAT, strlen(BEAT) }, { "AAAAAAAA", 8 },
                              { "", 0 } };
        T_EQ_STR(rk(k, "SET", lease, LEASE, NULL), "+OK");
        T_EQ_STR(rk_words(k, w, 7), ":0");
    }
    T_EQ_STR(rk(k, "SET", "p:69", "another", NULL), "+OK");
    owner_kill(pid);
    T_EQ_STR(rk(k, "DBSIZE", NULL), ":8"); /* p:k, six without a note, and the changed one */
    T_EQ_STR(rk(k, "EXISTS", "p:k", "p:0", "p:5", "p:69", NULL), ":4");
    T_EQ_I64(waitpid(pid, NULL, 0), pid);
}

/* ---- Other texts ----------------------------------------------------------------------------- */

static cellar_host_config said_host;
static void noted_port(cellar_resp_config *o)
{
    shared_port(o);
    said_host = *o->host;
    said_host.log = listen_to;
    o->host = &said_host;
}

#define NOTED(fn) T_WITH(fn, resp_kit *k, k, alone_open(noted_port, 0), rk_close(k))

T_CASE_ON(unknown_text_is_refused_with_the_version_in_the_log, NOTED)
{
    said[0] = '\0';
    T_EQ_STR(rk_line(k, "EVAL return 0"), "-ERR scripts are not supported");
    T_EQ_I64(lines_with(cellar_version()), 1);
}

T_CASE_ON(number_that_is_none_is_refused_before_any_write, SHARED_TIMED)
{
    static const char *const keys[] = { "~p:e", "~p:tx", "p:~k:k", "~p:lease:s:k", "p:new" };
    static const char *const state[] = { "5", "6", "cafe 80000", "7", "nil" };
    static const struct { size_t text; const char *words; } bad[] = {
        { REMOTE_SCRIPT_END, "2 ~p:e ~p:tx 5 x" }, { REMOTE_SCRIPT_END, "2 ~p:e ~p:tx 5 0" },
        { REMOTE_SCRIPT_KNOW, "2 ~p:e ~p:tx 9 9 -1" }, { REMOTE_SCRIPT_KNOW, "1 ~p:e 9 1.5" },
        { REMOTE_SCRIPT_ADD, "1 p:new x 9 4 9000" }, { REMOTE_SCRIPT_ADD, "1 p:new 2 x 4 9000" },
        { REMOTE_SCRIPT_ADD, "1 p:new 2 9 x 9000" }, { REMOTE_SCRIPT_ADD, "1 p:new 2 9 4 -1" },
        { REMOTE_SCRIPT_KEEP, "1 p:~k:k cafe -1" }, { REMOTE_SCRIPT_KEEP, "1 p:~k:k cafe x" },
        { REMOTE_SCRIPT_BESIDE, "2 ~p:lease:s:k p:new 7 * v 0" },
        { REMOTE_SCRIPT_WINDOW, "2 ~p:limit:x:1 ~p:members:x a1 1 1 61 3 0" },
        { REMOTE_SCRIPT_BUCKET, "2 ~p:limit:x:1 ~p:members:x a1 1 1 0 3 0" },
        { REMOTE_SCRIPT_BESIDE, "2 ~p:lease:s:k p:new 7 * v 9223372036854775807" },
    };
    for (size_t i = 0; i < 4; i++) { T_EQ_STR(rk(k, "SET", keys[i], state[i], NULL), "+OK"); }
    for (size_t n = 0; n < sizeof bad / sizeof bad[0]; n++) {
        T_EQ_MEM(run_text(k, bad[n].text, bad[n].words), "-ERR ", 5);
        for (size_t i = 0; i < 5; i++) { T_EQ_STR(rk(k, "GET", keys[i], NULL), state[i]); }
    }
}

T_CASE(requests_of_the_tier_run_on_database_0_of_a_shared_port_alone)
{
    static const char where[] = "-ERR CELLAR.TIER runs on database 0 of a port with shared_bytes";
    resp_kit k;
    rk_open_on(&k, api_open(16 << 20), rk_all_allowed);
    T_EQ_STR(run_text(&k, REMOTE_SCRIPT_DROP, "1 k"), where);
    rk_close(&k);
    rk_open_on(&k, api_open(16 << 20), shared_port);
    T_EQ_STR(run_text(&k, REMOTE_SCRIPT_DROP, "1 k"), ":1");
    T_EQ_STR(run_text(&k, REMOTE_SCRIPT_DROP, "0"),
             "-ERR this request takes 1 keys and 0 arguments");
    T_EQ_STR(run_text(&k, REMOTE_SCRIPT_DROP, "9223372036854775807 k"),
             "-ERR this request takes 1 keys and 0 arguments");
    T_EQ_STR(rk_line(&k, "CELLAR.TIER GIVE 2 k n a 1 0 1 1"),
             "-ERR unknown subcommand 'GIVE'. Try CELLAR.TIER HELP.");
    T_EQ_STR(run_text(&k, REMOTE_SCRIPT_END, "2 e t 9007199254740992 1"),
             "-ERR an argument must be a number");
    T_EQ_STR(rk(&k, "SELECT", "1", NULL), "+OK");
    T_EQ_STR(run_text(&k, REMOTE_SCRIPT_DROP, "1 k"), where);
    rk_close(&k);
}

T_MAIN("remote_functions")
