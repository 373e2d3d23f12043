/* SPDX-License-Identifier: MIT
 *
 * Aim:    what a program, another program or the server may do wrong has a code and a sentence of
 *         its own, and costs no more than that.
 * Method: namespaces, keys and values that cannot be shared; a control key of another program; a
 *         reply that stops halfway. URL and options: test_remote_config; servers that are refused:
 *         test_remote_servers. */
#include "cellar_admin.h"
#include "cellar_invalidate.h"
#include "tests/support/byte_proxy.h"
#include "tests/support/link_kit.h"
#include "tests/support/two_sides.h"

/* Return whether the sentence of `r`, NULL: of the last refused call, has a part. */
static bool said(const cellar_remote *r, cellar_err code, const char *part)
{
    cellar_error_info e = cellar_error_info_default();
    T_EQ_I64(cellar_remote_last_error(r, &e), CELLAR_OK);
    T_EQ_I64(e.code, code);
    T_CHECK(strlen(e.text) < sizeof e.text - 1); /* not cut */
    if (strstr(e.text, part) == NULL) { T_EQ_STR(e.text, part); }
    return strstr(e.text, part) != NULL;
}

/* ---- namespaces ---- */

static cellar_remote *remote_of(cellar *store)
{
    cellar_remote *r = NULL;
    cellar_remote_config o = { .struct_size = sizeof o, .no_thread = 1 }; /* no server is asked */
    T_REQUIRE(cellar_remote_open(store, "unix:///nowhere/r.sock", &o, &r) == CELLAR_OK);
    return r;
}

T_CASE(namespaces_that_cannot_be_shared_are_refused)
{
    static const char *const names[] = { "a:b", "~a", "+", "a b" };
    cellar_config cfg = cellar_config_default();
    cellar *store = NULL, *c = NULL;
    T_REQUIRE(cellar_open(&cfg, &store) == CELLAR_OK);
    cellar_remote *r = remote_of(store);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        T_REQUIRE(cellar_namespace_open(store, names[i], NULL, &c) == CELLAR_OK);
        T_EQ_I64(cellar_remote_attach(r, c, NULL), CELLAR_E_INVAL);
        T_CHECK(said(NULL, CELLAR_E_INVAL, "without ':', no '~' in front"));
        cellar_namespace_close(c);
    }
    cellar_namespace_config hidden = { .struct_size = sizeof hidden, .hidden = 1 };
    T_REQUIRE(cellar_namespace_open(store, "hidden", &hidden, &c) == CELLAR_OK);
    T_EQ_I64(cellar_remote_attach(r, c, NULL), CELLAR_E_UNSUPPORTED);
    T_CHECK(said(NULL, CELLAR_E_UNSUPPORTED, "hidden"));
    cellar_namespace_close(c);
    T_REQUIRE(cellar_namespace_open(store, "users", NULL, &c) == CELLAR_OK);
    cellar_remote_namespace_config bad = { .struct_size = sizeof bad, .values = CELLAR_REMOTE_RAW,
                                           .write = CELLAR_REMOTE_INVALIDATE };
    T_EQ_I64(cellar_remote_attach(r, c, &bad), CELLAR_E_INVAL);
    T_CHECK(said(NULL, CELLAR_E_INVAL, "RAW needs write"));
    T_EQ_I64(cellar_remote_attach(r, c, NULL), CELLAR_OK);
    T_EQ_I64(cellar_remote_attach(r, c, NULL), CELLAR_E_BUSY); /* it has this tier */
    T_CHECK(said(NULL, CELLAR_E_BUSY, "CELLAR_TIER_L1"));
    cellar_remote_close(r);
    cellar_namespace_close(c);
    cellar_close(store);
}

/* ---- keys and values ---- */

/* A value above the limit of the writer is its refusal; above memory_bytes the link is closed, and
 * the value stays. */
T_CASE(values_above_the_limits_are_refused)
{
    static char value[(16 << 20) + 8192];
    T_REQUIRE(engine_start(&server, NULL));
    side_open(&a, server.socket, NULL, NULL);
    memset(value, 'v', sizeof value);
    T_EQ_I64(cellar_set(a.users, "k", 1, value, sizeof value, NULL), CELLAR_E_TOOBIG);
    T_CHECK(engine_ask(&server, "SET app:users:big %b", value, sizeof value) != NULL);
    T_CHECK(side_has(&a, "big", NULL));
    T_CHECK(said(a.r, CELLAR_E_TOOBIG, "a reply on data is above the limits"));
    T_CHECK(side_proven(&a));
    T_EQ_I64(engine_number(engine_ask(&server, "STRLEN app:users:big")), (int64_t)sizeof value);
}

/* ---- the server ---- */

/* Let a control key be one of another program; text NULL: a list. */
static void foreign_make(const char *key, const char *text)
{
    if (text != NULL) {
        T_CHECK(engine_ask(&server, "SET %s %s", key, text) != NULL);
        return;
    }
    T_EQ_I64(engine_number(engine_ask(&server, "LPUSH list x")), 1);
    T_CHECK(engine_ask(&server, "RENAME list %s", key) != NULL);
}

static bool foreign_stays(const char *key, const char *text)
{
    if (text == NULL) { return engine_number(engine_ask(&server, "LLEN %s", key)) == 1; }
    const redisReply *r = engine_ask(&server, "GET %s", key);
    return r != NULL && r->type == REDIS_REPLY_STRING && strcmp(r->str, text) == 0;
}

/* Open a side with a control key of another program, until the link is refused. */
static void refused_open(side *s)
{
    cellar_error_info e = cellar_error_info_default();
    char url[512];
    (void)snprintf(url, sizeof url, "unix://%s?prefix=app", server.socket);
    side_open_url(s, url, &(side_own){ .ro = NULL });
    while (e.code == CELLAR_OK) {
        engine_pause_ms(1);
        T_EQ_I64(cellar_remote_last_error(s->r, &e), CELLAR_OK);
        T_REQUIRE(cellar_remote_state_get(s->r) != CELLAR_REMOTE_PROVEN);
    }
}

T_CASE(control_key_of_another_program_is_a_reason)
{
    static const char *const keys[] = { "app:~e", "app:~g:users" };
    static const char *const texts[] = { NULL, "x", "1.5", "-1", "9007199254740992",
                                         "12345678901234567890" };
    const size_t count = sizeof texts / sizeof texts[0];
    if (!engine_start(&server, NULL)) { return; }
    for (size_t i = 0; i < 2 * count && !t_failed(); i++) {
        const char *key = keys[i / count], *text = texts[i % count];
        foreign_make(key, text);
        refused_open(&a);
        T_CHECK(said(a.r, CELLAR_E_CONFIG, "prefix: control key app:~e or another is not one of "
                     "cellar: use another prefix"));
        T_CHECK(cellar_remote_state_get(a.r) != CELLAR_REMOTE_PROVEN);
        T_CHECK(foreign_stays(key, text));
        T_CHECK(engine_ask(&server, "DEL %s", key) != NULL);
        T_CHECK(side_proven(&a));
        side_close(&a);
        T_CHECK(engine_ask(&server, "FLUSHALL") != NULL);
    }
}

/* Wait until the server has confirmed the clear of `clears`, then say whether `s` has lost the key:
 * until then `s` may miss it once and find it again. No set is confirmed before the clear. */
static bool lost(const side *clears, const side *s, const char *key)
{
    for (int i = 0; i < 1000 && side_set(clears, "behind", "1") != CELLAR_OK; i++) {
        side_fence(clears); /* the clear is sent again with each proof */
    }
    side_fence(s);
    return side_has(s, key, NULL) && side_has(s, "behind", "1");
}

/* Beside the key of a tag, the namespace is cleared in place of the tag. */
T_CASE(end_beside_a_foreign_control_key_is_deferred)
{
    static const char *const keys[] = { "app:~e", "app:~g:users", "app:~t:t" };
    static const char *const texts[] = { NULL, "x" };
    for (size_t i = 0; i < 6; i++) {
        const char *const key = keys[i / 2], *const text = texts[i % 2];
        const bool tag = i / 2 == 2;
        both_open(NULL);
        T_CHECK(side_set(&a, "k", "1") == CELLAR_OK && side_has(&b, "k", "1"));
        foreign_make(key, text);
        side_fence(&a);
        if (tag) { T_EQ_I64(side_set_tagged(&a, "l", "1", "t"), CELLAR_DEFERRED); }
        T_EQ_I64(tag ? cellar_delete_by_tag(a.users, "t", 1, CELLAR_TAG_HARD)
                     : cellar_clear(a.users), CELLAR_DEFERRED);
        if (!tag) { T_CHECK(side_has(&a, "k", NULL)); }
        T_CHECK(foreign_stays(key, text));
        if (!tag) { T_CHECK(engine_ask(&server, "DEL %s", key) != NULL); }
        T_CHECK(lost(&a, &b, "k"));
        T_CHECK(!tag || foreign_stays(key, text));
        both_close();
    }
}

T_CASE(reply_that_stops_halfway_ends_the_link)
{
    static char value[8 << 20];
    static byte_proxy p;
    static link_kit k;
    link_kit_answer got = { .replies = 0 };
    remote_refusal why;
    if (!engine_start(&server, NULL)) { return; }
    T_CHECK(engine_ask(&server, "SET app:users:k %b", value, sizeof value) != NULL);
    byte_proxy_open(&p, server.dir, server.socket);
    link_kit_init(&k, p.path);
    k.c.string_max = sizeof value;
    k.virtual_clock = true;
    atomic_store(&k.clock_ms, 1000000);
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
    const int64_t blocks = atomic_load(&k.blocks);
    byte_proxy_way *data = &p.line[0].way[1];
    const remote_request q = { .bytes = "*2\r\n$3\r\nGET\r\n$11\r\napp:users:k\r\n", .bytes_len = 31,
                               .replies = 1, .wait_ms = 60000, .ctx = &got, .fn = link_kit_take,
                               .done = link_kit_done };
    remote_post(k.link, &q);
    const uint64_t before = atomic_load(&data->passed);
    while (atomic_load(&data->passed) < before + (1 << 20)) { remote_link_step(k.link, 1); }
    atomic_store(&data->frozen, true);
    for (int i = 0; i < 20; i++) { remote_link_step(k.link, 1); }
    T_EQ_U64(got.replies, 0);
    atomic_store(&k.clock_ms, 1000600); /* a marker is sent, and has no reply */
    remote_link_step(k.link, 1);
    atomic_store(&k.clock_ms, 1000600 + 2001);
    T_EQ_I64(link_kit_refused(&k, &why), REMOTE_WHY_MARKER);
    T_EQ_I64(why.code, CELLAR_E_TIMEOUT);
    T_CHECK(strstr(why.text, "a marker did not come back within proof_ms") != NULL);
    T_CHECK(got.ended && got.err == CELLAR_E_IO && got.fate == REMOTE_UNKNOWN);
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN)); /* on other lines */
    T_EQ_I64(atomic_load(&k.blocks), blocks);   /* the half is freed */
}

T_MAIN("remote_refused")
