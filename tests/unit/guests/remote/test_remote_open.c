/* SPDX-License-Identifier: MIT
 *
 * The public calls of the link: open, state, fence, step, reasons and figures. */
#include <sys/un.h>

#include "cellar_admin.h"
#include "cellar_observe.h"
#include "cellar_remote.h"
#include "cellar_resp.h"
#include "tests/support/engine_kit.h"

static char url[T_FOLDER_MAX + 64];
static _Atomic int lines;

static void count_line(cellar_log_level level, const char *module, cellar_err code,
                       const char *text, void *ctx)
{
    (void)level, (void)code, (void)text, (void)ctx;
    T_EQ_STR(module, "remote");
    atomic_fetch_add(&lines, 1);
}

static cellar *new_store(void)
{
    cellar_config cfg = cellar_config_default();
    cellar *c = NULL;
    cfg.memory_bytes = 8 << 20;
    T_REQUIRE(cellar_open(&cfg, &c) == CELLAR_OK);
    return c;
}

static cellar_remote *new_remote(cellar *c, const engine *e, uint32_t no_thread)
{
    cellar_remote *r = NULL;
    cellar_host_config host = { .struct_size = sizeof host, .log = count_line };
    cellar_remote_config o = { .struct_size = sizeof o, .host = &host, .no_thread = no_thread };
    snprintf(url, sizeof url, "unix://%s?prefix=app", e->socket);
    T_REQUIRE(cellar_remote_open(c, url, &o, &r) == CELLAR_OK);
    return r;
}

static void wait_for(cellar_remote *r, cellar_remote_state s)
{
    while (cellar_remote_state_get(r) != s) {
        const cellar_err err = cellar_remote_step(r, 1000);
        T_CHECK(err == CELLAR_OK || err == CELLAR_PENDING || err == CELLAR_E_INVAL);
        sched_yield();
    }
}

T_CASE(remote_is_proven_and_fenced)
{
    static engine e;
    if (!engine_start(&e, NULL)) { return; }
    for (uint32_t no_thread = 0; no_thread < 2; no_thread++) {
        cellar *c = new_store();
        cellar_remote *r = new_remote(c, &e, no_thread);
        wait_for(r, CELLAR_REMOTE_PROVEN);
        T_EQ_I64(cellar_remote_fence(r, 10000), CELLAR_OK);
        T_EQ_I64(cellar_remote_fence(r, -1), CELLAR_E_INVAL);
        T_CHECK((cellar_remote_fd(r) >= 0) == (no_thread != 0));
        T_EQ_I64(cellar_remote_step(r, 0) == CELLAR_E_INVAL, no_thread == 0);
        cellar_remote_close(r);
        cellar_close(c);
    }
    cellar_remote_close(NULL);
}

T_CASE(last_error_names_each_reason)
{
    cellar *c = new_store();
    cellar_remote *r = NULL;
    cellar_error_info i = cellar_error_info_default();
    T_EQ_I64(cellar_remote_open(c, "redis://localhost/1", NULL, &r), CELLAR_E_UNSUPPORTED);
    T_CHECK(r == NULL);
    T_EQ_I64(cellar_remote_last_error(NULL, &i), CELLAR_OK);
    T_EQ_I64(i.code, CELLAR_E_UNSUPPORTED);
    T_CHECK(strstr(i.text, "database number") != NULL);
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
    cellar_remote_close(r);
    T_EQ_I64(cellar_remote_state_get(NULL), CELLAR_REMOTE_DOWN);
    T_EQ_I64(cellar_remote_last_error(r, NULL), CELLAR_E_INVAL);
    cellar_close(c);
}

/* All figures say that memory may answer without a proof. */
static void trusting_namespace_is_told(cellar *c, cellar_remote *r, char *text, size_t cap)
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
    static engine e;
    size_t len = 0, need = 0;
    cellar_remote_stats s = cellar_remote_stats_default();
    if (!engine_start(&e, NULL)) { return; }
    cellar *c = new_store();
    cellar_remote *r = new_remote(c, &e, 0);
    wait_for(r, CELLAR_REMOTE_PROVEN);
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
    engine_kill(&e);
    wait_for(r, CELLAR_REMOTE_DOWN);
    engine_restart(&e);
    wait_for(r, CELLAR_REMOTE_PROVEN);
    T_EQ_I64(cellar_remote_stats_get(r, &s), CELLAR_OK);
    T_CHECK(s.gaps >= 1 && atomic_load(&lines) >= 1);
    trusting_namespace_is_told(c, r, text, sizeof text);
    cellar_remote_close(r);
    cellar_close(c);
}

T_CASE(second_store_is_refused)
{
    cellar *c = new_store(), *other = new_store(), *users, *orders, *theirs;
    cellar_remote *r = NULL;
    cellar_error_info i = cellar_error_info_default();
    T_REQUIRE(cellar_namespace_open(c, "users", NULL, &users) == CELLAR_OK);
    T_REQUIRE(cellar_namespace_open(c, "orders", NULL, &orders) == CELLAR_OK);
    T_REQUIRE(cellar_namespace_open(other, "theirs", NULL, &theirs) == CELLAR_OK);
    T_EQ_I64(cellar_remote_open(c, "unix:///nowhere/r.sock", NULL, &r), CELLAR_OK);
    T_EQ_I64(cellar_remote_attach(r, users, NULL), CELLAR_OK);
    T_EQ_I64(cellar_remote_attach(r, theirs, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_remote_last_error(NULL, &i), CELLAR_OK);
    T_EQ_I64(i.code, CELLAR_E_INVAL);
    T_CHECK(strstr(i.text, "to one store") != NULL);
    T_EQ_I64(cellar_set(theirs, "k", 1, "v", 1, NULL), CELLAR_OK); /* not shared */
    T_EQ_I64(cellar_remote_attach(r, orders, NULL), CELLAR_OK);
    cellar_remote_close(r);
    cellar_namespace_close(theirs);
    cellar_close(other);
    cellar_namespace_close(orders);
    cellar_namespace_close(users);
    cellar_close(c);
}

T_CASE(namespace_65_of_a_remote_is_refused)
{
    enum { MOST = 64 };
    cellar *c = new_store(), *ns[MOST + 1];
    cellar_remote *r = NULL;
    cellar_error_info i = cellar_error_info_default();
    T_EQ_I64(cellar_remote_open(c, "unix:///nowhere/r.sock", NULL, &r), CELLAR_OK);
    for (int n = 0; n <= MOST; n++) {
        char name[8];
        snprintf(name, sizeof name, "n%d", n);
        T_REQUIRE(cellar_namespace_open(c, name, NULL, &ns[n]) == CELLAR_OK);
        T_EQ_I64(cellar_remote_attach(r, ns[n], NULL), n < MOST ? CELLAR_OK : CELLAR_E_LIMIT);
    }
    T_EQ_I64(cellar_remote_last_error(NULL, &i), CELLAR_OK);
    T_CHECK(strstr(i.text, "64 namespaces") != NULL);
    cellar_remote_close(r);
    for (int n = 0; n <= MOST; n++) { cellar_namespace_close(ns[n]); }
    cellar_close(c);
}

/* A proof of before the attach does not count for the new namespace. */
T_CASE(new_namespace_is_not_proven)
{
    static engine e;
    cellar *users;
    if (!engine_start(&e, NULL)) { return; }
    cellar *c = new_store();
    cellar_remote *r = new_remote(c, &e, 1);
    wait_for(r, CELLAR_REMOTE_PROVEN);
    T_REQUIRE(cellar_namespace_open(c, "users", NULL, &users) == CELLAR_OK);
    T_EQ_I64(cellar_remote_attach(r, users, NULL), CELLAR_OK);
    T_EQ_I64(cellar_remote_state_get(r), CELLAR_REMOTE_GAP);
    wait_for(r, CELLAR_REMOTE_PROVEN);
    cellar_remote_close(r);
    cellar_namespace_close(users);
    cellar_close(c);
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
    static engine e;
    cellar_resp *port = NULL;
    const char *html;
    if (!engine_start(&e, NULL)) { return; }
    cellar *c = new_store();
    cellar_remote *r = new_remote(c, &e, 0);
    wait_for(r, CELLAR_REMOTE_PROVEN);
    snprintf(admin, sizeof admin, "%s/admin", e.dir);
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
    engine_kill(&e);
    do { /* the link has fallen, and its next attempt as well */
        read_page(admin, "/stats.json", text, sizeof text);
    } while (strstr(text, "\"name\":\"cellar_remote_state\",\"labels\":{\"remote\":\"app\","
                          "\"why\":\"remote: no connection to ") == NULL);
    read_page(admin, "/metrics", text, sizeof text);
    T_CHECK(strstr(text, "\ncellar_remote_state{remote=\"app\"} 0\n") != NULL);
    cellar_resp_close(port);
    cellar_remote_close(r);
    cellar_close(c);
}

T_MAIN("remote_open")
