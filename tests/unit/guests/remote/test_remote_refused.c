/* SPDX-License-Identifier: MIT
 *
 * Aim:    what a program, another program or the server may do wrong has a code and a sentence of
 *         its own, and costs no more than that. The public calls of the link: open, state, fence,
 *         step, reasons and figures.
 * Method: namespaces, keys and values that cannot be shared; a control key of another program; a
 *         reply that stops halfway. URL and options: test_remote_config; servers that are refused:
 *         test_remote_servers. */
#include <sys/un.h>

#include "cellar_admin.h"
#include "cellar_invalidate.h"
#include "cellar_observe.h"
#include "cellar_resp.h"
#include "tests/support/byte_proxy.h"
#include "tests/support/link_kit.h"
#include "tests/support/two_sides.h"

/* Return whether the sentence of `of`, NULL: of the last refused call, has a part. */
static bool said(const cellar_remote *of, cellar_err code, const char *part)
{
    cellar_error_info e = cellar_error_info_default();
    T_EQ_I64(cellar_remote_last_error(of, &e), CELLAR_OK);
    T_EQ_I64(e.code, code);
    T_CHECK(strlen(e.text) < sizeof e.text - 1); /* not cut */
    if (strstr(e.text, part) == NULL) { T_EQ_STR(e.text, part); }
    return strstr(e.text, part) != NULL;
}

static char url[T_FOLDER_MAX + 64];
static _Atomic int lines;

static void count_line(cellar_log_level level, const char *module, cellar_err code,
                       const char *text, void *ctx)
{
    (void)level, (void)code, (void)text, (void)ctx;
    T_EQ_STR(module, "remote");
    atomic_fetch_add(&lines, 1);
}

static cellar *c; /* with the remote `r`, or alone */
static cellar_remote *r;

static void remote_end(void *unused)
{
    (void)unused;
    cellar_remote_close(r);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    r = NULL;
}

static void wait_for(cellar_remote_state s)
{
    while (cellar_remote_state_get(r) != s) {
        const cellar_err err = cellar_remote_step(r, 1000);
        T_CHECK(err == CELLAR_OK || err == CELLAR_PENDING || err == CELLAR_E_INVAL);
        sched_yield();
    }
}

/* Open a store, which the end of the case closes with its remote. */
static void store_open(void)
{
    cellar_config cfg = cellar_config_default();
    cfg.memory_bytes = 8 << 20;
    T_REQUIRE(cellar_open(&cfg, &c) == CELLAR_OK);
    left_add(&c, remote_end);
}

/* The same with a remote, proven, on the server. */
static void remote_open(uint32_t no_thread)
{
    cellar_host_config host = { .struct_size = sizeof host, .log = count_line };
    cellar_remote_config o = { .struct_size = sizeof o, .host = &host, .no_thread = no_thread,
                               .io_ms = 10000, .proof_ms = 60000 };
    T_REQUIRE(engine_start(&server, NULL));
    snprintf(url, sizeof url, "unix://%s?prefix=app", server.socket);
    store_open();
    T_REQUIRE(cellar_remote_open(c, url, &o, &r) == CELLAR_OK);
    wait_for(CELLAR_REMOTE_PROVEN);
}

/* ---- namespaces ---- */

T_CASE(namespaces_that_cannot_be_shared_are_refused)
{
    static const char *const names[] = { "a:b", "~a", "+", "a b" };
    const cellar_remote_config o = { .struct_size = sizeof o, .no_thread = 1 }; /* asks no server */
    cellar *space = NULL;
    store_open();
    T_REQUIRE(cellar_remote_open(c, "unix:///nowhere/r.sock", &o, &r) == CELLAR_OK);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        T_REQUIRE(cellar_namespace_open(c, names[i], NULL, &space) == CELLAR_OK);
        T_EQ_I64(cellar_remote_attach(r, space, NULL), CELLAR_E_INVAL);
        T_CHECK(said(NULL, CELLAR_E_INVAL, "without ':', no '~' in front"));
        cellar_namespace_close(space);
    }
    cellar_namespace_config hidden = { .struct_size = sizeof hidden, .hidden = 1 };
    T_REQUIRE(cellar_namespace_open(c, "hidden", &hidden, &space) == CELLAR_OK);
    T_EQ_I64(cellar_remote_attach(r, space, NULL), CELLAR_E_UNSUPPORTED);
    T_CHECK(said(NULL, CELLAR_E_UNSUPPORTED, "hidden"));
    cellar_namespace_close(space);
    T_REQUIRE(cellar_namespace_open(c, "users", NULL, &space) == CELLAR_OK);
    cellar_remote_namespace_config bad = { .struct_size = sizeof bad, .values = CELLAR_REMOTE_RAW,
                                           .write = CELLAR_REMOTE_INVALIDATE };
    T_EQ_I64(cellar_remote_attach(r, space, &bad), CELLAR_E_INVAL);
    T_CHECK(said(NULL, CELLAR_E_INVAL, "RAW needs write"));
    T_EQ_I64(cellar_remote_attach(r, space, NULL), CELLAR_OK);
    T_EQ_I64(cellar_remote_attach(r, space, NULL), CELLAR_E_BUSY); /* it has this tier */
    T_CHECK(said(NULL, CELLAR_E_BUSY, "CELLAR_TIER_L1"));
    cellar_namespace_close(space);
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
    const redisReply *got = engine_ask(&server, "GET %s", key);
    return got != NULL && got->type == REDIS_REPLY_STRING && strcmp(got->str, text) == 0;
}

/* Open a side with a control key of another program, until the link is refused. */
static void refused_open(side *s)
{
    cellar_error_info e = cellar_error_info_default();
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
        left_close();
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
    k.c.proof_ms = 2000;
    k.virtual_clock = true;
    atomic_store(&k.clock_ms, 1000000);
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
    const int64_t blocks = atomic_load(&k.blocks);
    byte_proxy_way *data = &p.line[atomic_load(&p.lines) - 2].way[1];
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

/* ---- the public calls of the link ---- */

T_CASE(remote_is_proven_and_fenced)
{
    for (uint32_t no_thread = 0; no_thread < 2; no_thread++) {
        remote_open(no_thread);
        T_EQ_I64(cellar_remote_fence(r, 10000), CELLAR_OK);
        T_EQ_I64(cellar_remote_fence(r, -1), CELLAR_E_INVAL);
        T_CHECK((cellar_remote_fd(r) >= 0) == (no_thread != 0));
        T_EQ_I64(cellar_remote_step(r, 0) == CELLAR_E_INVAL, no_thread == 0);
        left_close();
    }
    cellar_remote_close(NULL);
}

T_CASE(last_error_names_each_reason)
{
    cellar_error_info i = cellar_error_info_default();
    store_open();
    T_EQ_I64(cellar_remote_open(c, "redis://localhost/1", NULL, &r), CELLAR_E_UNSUPPORTED);
    T_CHECK(r == NULL);
    T_CHECK(said(NULL, CELLAR_E_UNSUPPORTED, "database number"));
    T_EQ_I64(cellar_remote_open(NULL, "unix:///a", NULL, &r), CELLAR_E_INVAL);
    T_EQ_I64(cellar_remote_open(c, "unix:///nowhere/r.sock", NULL, &r), CELLAR_OK);
    do {
        T_EQ_I64(cellar_remote_last_error(r, &i), CELLAR_OK);
        sched_yield();
    } while (i.code == CELLAR_OK);
    T_EQ_I64(i.code, CELLAR_E_IO);
    T_EQ_I64(i.sys_errno, ENOENT);
    T_EQ_I64(cellar_remote_state_get(r), CELLAR_REMOTE_DOWN);
    T_EQ_I64(cellar_remote_fence(r, 10), CELLAR_E_BREAKER_OPEN);
    T_EQ_I64(cellar_remote_state_get(NULL), CELLAR_REMOTE_DOWN);
    T_EQ_I64(cellar_remote_last_error(r, NULL), CELLAR_E_INVAL);
}

/* All figures say that memory may answer without a proof. */
static void trusting_namespace_is_told(char *text, size_t cap)
{
    cellar *trusting;
    cellar_remote_stats s = cellar_remote_stats_default();
    cellar_remote_namespace_config o = { .struct_size = sizeof o, .offline = CELLAR_REMOTE_TRUST };
    T_EQ_I64(cellar_namespace_open(c, "trusting", NULL, &trusting), CELLAR_OK);
    T_EQ_I64(cellar_remote_attach(r, trusting, &o), CELLAR_OK);
    T_EQ_I64(cellar_remote_stats_get(r, &s), CELLAR_OK);
    T_EQ_U64(s.trusting, 1);
    T_EQ_I64(cellar_metrics_write(r, text, cap, NULL), CELLAR_OK);
    T_CHECK(strstr(text, "\ncellar_remote_trusting{remote=\"app\"} 1\n") != NULL);
    T_EQ_I64(cellar_stats_json(r, text, cap, NULL), CELLAR_OK);
    T_CHECK(strstr(text, "{\"name\":\"cellar_remote_trusting\",\"labels\":{\"remote\":\"app\"},"
                         "\"value\":1}") != NULL);
    T_EQ_I64(cellar_namespace_close(trusting), CELLAR_OK);
}

T_CASE(figures_are_written_three_ways)
{
    static char text[32768];
    size_t len = 0, need = 0;
    cellar_remote_stats s = cellar_remote_stats_default();
    remote_open(0);
    T_EQ_I64(cellar_remote_fence(r, 10000), CELLAR_OK);
    T_EQ_I64(cellar_remote_stats_get(r, &s), CELLAR_OK);
    T_CHECK(s.proofs >= 1 && s.bytes_in > 0 && s.bytes_out > 0 && s.bytes > 0);
    T_EQ_U64(s.state, CELLAR_REMOTE_PROVEN);
    T_CHECK(s.proof_age_ms >= 0);
    T_EQ_U64(s.gaps, 0);
    T_EQ_I64(cellar_metrics_write(r, text, sizeof text, &len), CELLAR_OK);
    T_EQ_U64(strlen(text), len);
    T_CHECK(strstr(text, "\ncellar_remote_state{remote=\"app\"} 3\n") != NULL);
    T_CHECK(strstr(text, "cellar_remote_marker_seconds_bucket{remote=\"app\",le=\"+Inf\"}") !=
            NULL);
    T_CHECK(strstr(text, "cellar_remote_lost_links_total{remote=\"app\",reason=\"right\"} 0\n") !=
            NULL);
    T_EQ_I64(cellar_metrics_write(r, NULL, 0, &need), CELLAR_E_BUFFER);
    T_CHECK(need > 1000);
    T_EQ_I64(cellar_stats_json(r, text, sizeof text, &len), CELLAR_OK);
    T_EQ_U64(strlen(text), len);
    T_CHECK(strncmp(text, "{\"metrics\":[{\"name\":\"cellar_remote_state\",\"labels\":{\"remote\":\"app\"},"
                    "\"value\":3},{", 80) == 0);
    T_CHECK(strcmp(text + len - 3, "}]}") == 0 && strstr(text, "\"reason\":\"right\"}") != NULL);
    T_EQ_I64(cellar_stats_json(r, text, 10, &len), CELLAR_E_BUFFER);
    T_EQ_U64(strlen(text), 9);
    T_CHECK(atomic_load(&lines) == 0); /* nothing to warn of */
    engine_kill(&server);
    wait_for(CELLAR_REMOTE_DOWN);
    engine_restart(&server);
    wait_for(CELLAR_REMOTE_PROVEN);
    T_EQ_I64(cellar_remote_stats_get(r, &s), CELLAR_OK);
    T_CHECK(s.gaps >= 1 && atomic_load(&lines) >= 1);
    trusting_namespace_is_told(text, sizeof text);
}

T_CASE(second_store_is_refused)
{
    cellar *other = NULL, *users, *orders, *theirs;
    store_open();
    T_REQUIRE(cellar_open(NULL, &other) == CELLAR_OK);
    T_REQUIRE(cellar_namespace_open(c, "users", NULL, &users) == CELLAR_OK);
    T_REQUIRE(cellar_namespace_open(c, "orders", NULL, &orders) == CELLAR_OK);
    T_REQUIRE(cellar_namespace_open(other, "theirs", NULL, &theirs) == CELLAR_OK);
    T_EQ_I64(cellar_remote_open(c, "unix:///nowhere/r.sock", NULL, &r), CELLAR_OK);
    T_EQ_I64(cellar_remote_attach(r, users, NULL), CELLAR_OK);
    T_EQ_I64(cellar_remote_attach(r, theirs, NULL), CELLAR_E_INVAL);
    T_CHECK(said(NULL, CELLAR_E_INVAL, "to one store"));
    T_EQ_I64(cellar_set(theirs, "k", 1, "v", 1, NULL), CELLAR_OK); /* not shared */
    T_EQ_I64(cellar_remote_attach(r, orders, NULL), CELLAR_OK);
    cellar_namespace_close(theirs);
    cellar_close(other);
    cellar_namespace_close(orders);
    cellar_namespace_close(users);
}

T_CASE(namespace_65_of_a_remote_is_refused)
{
    enum { MOST = 64 };
    cellar *ns[MOST + 1];
    store_open();
    T_EQ_I64(cellar_remote_open(c, "unix:///nowhere/r.sock", NULL, &r), CELLAR_OK);
    for (int n = 0; n <= MOST; n++) {
        char name[8];
        snprintf(name, sizeof name, "n%d", n);
        T_REQUIRE(cellar_namespace_open(c, name, NULL, &ns[n]) == CELLAR_OK);
        T_EQ_I64(cellar_remote_attach(r, ns[n], NULL), n < MOST ? CELLAR_OK : CELLAR_E_LIMIT);
    }
    T_CHECK(said(NULL, CELLAR_E_LIMIT, "64 namespaces"));
    for (int n = 0; n <= MOST; n++) { cellar_namespace_close(ns[n]); }
}

/* A proof of before the attach does not count for the new namespace. */
T_CASE(new_namespace_is_not_proven)
{
    cellar *users;
    remote_open(1);
    T_REQUIRE(cellar_namespace_open(c, "users", NULL, &users) == CELLAR_OK);
    T_EQ_I64(cellar_remote_attach(r, users, NULL), CELLAR_OK);
    T_EQ_I64(cellar_remote_state_get(r), CELLAR_REMOTE_GAP);
    wait_for(CELLAR_REMOTE_PROVEN);
    cellar_namespace_close(users);
}

/* Read a page of a port. */
static void read_page(const char *path, const char *page, char *to, size_t cap)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    size_t len = 0;
    ssize_t n;
    memcpy(at.sun_path, path, strlen(path));
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    T_REQUIRE(fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof at) == 0);
    dprintf(fd, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", page);
    while ((n = read(fd, to + len, cap - 1 - len)) > 0) { len += (size_t)n; }
    to[len] = '\0';
    close(fd);
}

/* All that a row of the page shows. */
T_CASE(port_shows_the_link)
{
    static const char *const columns[] = { "state", "proof_age_ms", "proof_trip_us", "leases_held",
        "leases_waited_total", "journal_keys", "deferred_total" };
    static char text[262144], admin[T_FOLDER_MAX + 16];
    cellar_resp *port = NULL;
    const char *html;
    remote_open(0);
    snprintf(admin, sizeof admin, "%s/admin", server.dir);
    cellar_resp_config o = { .struct_size = sizeof o, .admin = admin, .remote = r };
    T_REQUIRE(cellar_resp_open(c, &o, &port) == CELLAR_OK);
    T_REQUIRE(cellar_resp_start(port) == CELLAR_OK);
    read_page(admin, "/metrics", text, sizeof text);
    T_CHECK(strstr(text, "\ncellar_remote_state{remote=\"app\"} 3\n") != NULL);
    read_page(admin, "/stats.json", text, sizeof text);
    cellar_dashboard_html(&html, NULL);
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++) {
        char name[96];
        snprintf(name, sizeof name, "\"cellar_remote_%s\",\"labels\":{\"remote\":\"app\"}", columns[i]);
        T_CHECK(strstr(text, name) != NULL);
        snprintf(name, sizeof name, " remote_%.*s", (int)strlen(columns[i]) -
                 (strstr(columns[i], "_total") != NULL ? 6 : 0), columns[i]);
        T_CHECK(strstr(html, name) != NULL); /* a column of the page */
    }
    T_CHECK(strstr(text, "\"why\":") == NULL && strstr(html, "reason text why") != NULL);
    engine_kill(&server);
    do { /* the link has fallen, and its next attempt as well */
        read_page(admin, "/stats.json", text, sizeof text);
    } while (strstr(text, "\"name\":\"cellar_remote_state\",\"labels\":{\"remote\":\"app\","
                          "\"why\":\"remote: no connection to ") == NULL);
    read_page(admin, "/metrics", text, sizeof text);
    T_CHECK(strstr(text, "\ncellar_remote_state{remote=\"app\"} 0\n") != NULL);
    cellar_resp_close(port);
}

T_MAIN("remote_refused")
