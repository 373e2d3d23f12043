/* SPDX-License-Identifier: MIT
 *
 * Aim:    Each limit of a bus is a code and a counter, a publish reaches all groups or none, and
 *         wrong arguments or missing memory change nothing.
 * Method: The clock is a variable. Every allocation fails once. After each step: copies == ended
 *         + live, of the bus and of each group. */
#include "base/fault.h"
#include "cellar_observe.h"
#include "tests/support/bus_kit.h"
#include "tests/support/same_metrics.h"
#include "tests/support/struct_sizes.h"

/* ---- limits ---- */

T_CASE(bus_backpressure)
{
    cellar_bus_group_config o = { .struct_size = sizeof o, .max_messages = 2 };
    open_default(NULL);
    group("error", NULL, &o);
    o.on_full = CELLAR_BUS_FULL_DROP_NEW;
    group("new", NULL, &o);
    o.on_full = CELLAR_BUS_FULL_DROP_OLDEST;
    group("oldest", NULL, &o);
    o.on_full = CELLAR_BUS_FULL_BLOCK;
    o.block_ms = 1;
    group("block", NULL, &o);
    for (int i = 0; i < 2; i++) {
        const char *body = i == 0 ? "a" : "b";
        T_EQ_I64(send("error", body), CELLAR_OK);
        T_EQ_I64(send("new", body), CELLAR_OK);
        T_EQ_I64(send("oldest", body), CELLAR_OK);
        T_EQ_I64(send("block", body), CELLAR_OK);
    }
    T_EQ_I64(send("error", "c"), CELLAR_E_LIMIT);
    T_EQ_I64(send("new", "c"), CELLAR_OK);
    T_EQ_I64(send("oldest", "c"), CELLAR_OK);
    T_EQ_I64(send("block", "c"), CELLAR_E_TIMEOUT);
    T_EQ_U64(figures().rejected_full, 2);
    T_EQ_U64(figures_of("new", NULL).dropped_new, 1);
    T_EQ_U64(figures_of("oldest", NULL).dropped_oldest, 1);
    cellar_bus_member *m = member("oldest", NULL, 4);
    (void)take(m, "b");
    (void)take(m, "c");
    T_EQ_I64(send("oldest", "d"), CELLAR_OK); /* all in hand: the new one is dropped */
    T_EQ_U64(figures_of("oldest", NULL).dropped_new, 1);
    cellar_bus_member *n = member("new", NULL, 4);
    (void)take(n, "a");
    (void)take(n, "b");
    close_it();
}

/* A full group with ERROR keeps the message from all groups; one that drops does not. */
T_CASE(publish_reaches_all_groups_or_none)
{
    cellar_bus_group_config o = { .struct_size = sizeof o, .max_messages = 1 };
    open_default(NULL);
    group("q", "wide", NULL);
    o.on_full = CELLAR_BUS_FULL_DROP_NEW;
    group("q", "drops", &o);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    T_EQ_I64(send("q", "b"), CELLAR_OK);
    T_EQ_U64(figures_of("q", "wide").live, 2);
    T_EQ_U64(figures_of("q", "drops").live, 1);
    o.on_full = CELLAR_BUS_FULL_ERROR;
    group("q", "tight", &o);
    T_EQ_I64(send("q", "c"), CELLAR_OK);
    T_EQ_I64(send("q", "d"), CELLAR_E_LIMIT);
    T_EQ_U64(figures_of("q", "wide").live, 3);
    T_EQ_U64(figures_of("q", "drops").copies, 3);
    close_it();
}

T_CASE(bytes_are_a_limit_too)
{
    static char body[2 << 20];
    cellar_bus_group_config o = { .struct_size = sizeof o, .max_bytes = 100 };
    open_default(NULL);
    group("q", NULL, &o);
    o.on_full = CELLAR_BUS_FULL_DROP_OLDEST;
    group("d", NULL, &o);
    T_EQ_I64(bus_send(b, "q", body, 98, NULL), CELLAR_OK); /* and "q" with its 0 */
    T_EQ_U64(figures_of("q", NULL).bytes, 100);
    T_EQ_I64(bus_send(b, "q", body, 0, NULL), CELLAR_E_LIMIT);
    T_EQ_I64(bus_send(b, "q", body, 99, NULL), CELLAR_E_TOOBIG);
    T_EQ_I64(bus_send(b, "d", body, 40, NULL), CELLAR_OK);
    T_EQ_I64(bus_send(b, "d", body, 40, NULL), CELLAR_OK);
    T_EQ_I64(bus_send(b, "d", body, 98, NULL), CELLAR_OK); /* in place of both */
    T_EQ_U64(figures_of("d", NULL).dropped_oldest, 2);
    T_EQ_I64(bus_send(b, "d", body, 99, NULL), CELLAR_OK); /* never fits: dropped */
    T_EQ_U64(figures_of("d", NULL).dropped_new, 1);
    T_EQ_U64(figures_of("d", NULL).live, 1);
    T_EQ_I64(bus_send(b, "q", body, sizeof body, NULL), CELLAR_E_TOOBIG);
    close_it();
}

T_CASE(tables_have_limits)
{
    char name[32];
    open_default(NULL);
    for (int i = 0; i < 9; i++) {
        snprintf(name, sizeof name, "q%d", i);
        T_EQ_I64(cellar_bus_group_add(b, name, NULL, NULL), i < 8 ? CELLAR_OK : CELLAR_E_LIMIT);
    }
    T_EQ_I64(cellar_bus_group_add(b, "q0", NULL, NULL), CELLAR_EXISTS);
    for (int i = 0; i < 81; i++) {
        snprintf(name, sizeof name, "k.%d", i);
        T_EQ_I64(cellar_bus_route(b, name, "q0", CELLAR_BUS_AMQP, true),
                 i < 80 ? CELLAR_OK : CELLAR_E_LIMIT);
    }
    cellar_bus_member *m;
    for (int i = 0; i < 9; i++) {
        T_EQ_I64(cellar_bus_join(b, "q0", NULL, NULL, &m), i < 8 ? CELLAR_OK : CELLAR_E_LIMIT);
    }
    T_CHECK(m == NULL);
    T_EQ_U64(figures().rejected_limit, 3);
    close_it();
}

T_CASE(message_reaches_at_most_64_queues)
{
    const cellar_host_config h = host_of_test();
    char name[32];
    cellar_bus_config c = { .struct_size = sizeof c, .host = &h };
    T_REQUIRE(cellar_bus_open(&c, &b) == CELLAR_OK);
    for (int i = 0; i < 65; i++) {
        snprintf(name, sizeof name, "q%d", i);
        group(name, NULL, NULL);
        T_EQ_I64(cellar_bus_route(b, "#", name, CELLAR_BUS_AMQP, true), CELLAR_OK);
        T_EQ_I64(publish("k", "x"), i < 64 ? CELLAR_OK : CELLAR_E_LIMIT);
    }
    T_EQ_U64(figures().copies, 64 * 65 / 2);
    close_it();
}

/* ---- bad input, faults, figures ---- */

T_CASE(bad_arguments_are_refused)
{
    char longer[80];
    cellar_bus_member *m;
    cellar_bus_message got = cellar_bus_message_default();
    cellar_bus_group_config o = cellar_bus_group_config_default();
    cellar_bus_member_config mo = cellar_bus_member_config_default();
    cellar_bus_publish_opts p = cellar_bus_publish_opts_default();
    memset(longer, 'n', sizeof longer);
    longer[CELLAR_NAME_MAX + 1] = '\0';
    open_default(NULL);
    T_EQ_I64(cellar_bus_group_add(NULL, "q", NULL, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_group_add(b, NULL, NULL, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_group_add(b, "", NULL, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_group_add(b, longer, NULL, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_group_add(b, "q", "", NULL), CELLAR_E_INVAL);
#define REFUSED(field, value) \
    do { \
        o = cellar_bus_group_config_default(); \
        o.field = (value); \
        T_EQ_I64(cellar_bus_group_add(b, "q", NULL, &o), CELLAR_E_INVAL); \
    } while (0)
    REFUSED(block_ms, -1);
    REFUSED(visibility_ms, INT64_MIN);
    REFUSED(retry_ms, -1);
    REFUSED(dead_queue, longer);
    REFUSED(filter_header, "h");
    REFUSED(filter_value_count, 1);
    REFUSED(filter_priority, 10);
    REFUSED(filter_any, 2);
    REFUSED(max_messages, 1048577);
    REFUSED(max_deliver, 1000001);
    REFUSED(ordered, 2);
    REFUSED(on_full, (cellar_bus_on_full)4);
    REFUSED(reserved0, 1);
    const char *const none[] = { "a", NULL };
    o = cellar_bus_group_config_default();
    o.filter_header = "h";
    o.filter_values = none;
    o.filter_value_count = 2;
    T_EQ_I64(cellar_bus_group_add(b, "q", NULL, &o), CELLAR_E_INVAL);
    group("q", NULL, NULL);
    T_EQ_I64(cellar_bus_group_remove(b, "q", "x"), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_bus_group_remove(b, "x", NULL), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_bus_route(b, "a", "", CELLAR_BUS_AMQP, true), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_route(b, "", "q", CELLAR_BUS_AMQP, true), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_route(b, "a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q", "q", CELLAR_BUS_AMQP, true),
             CELLAR_E_LIMIT);
    T_EQ_I64(cellar_bus_route(b, "a", "q", (cellar_bus_syntax)-1, true), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_publish(b, "", "x", 1, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_publish(b, NULL, "x", 1, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_publish(b, "k", NULL, 1, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_publish(b, "k", "x", SIZE_MAX, NULL), CELLAR_E_TOOBIG);
    T_EQ_I64(bus_send(b, longer, "x", 1, NULL), CELLAR_E_INVAL);
    T_EQ_I64(bus_send(b, "", "x", 1, NULL), CELLAR_E_INVAL);
    T_EQ_I64(bus_send(b, NULL, "x", 1, NULL), CELLAR_E_INVAL);
    T_EQ_I64(bus_send(b, "none", "x", 1, NULL), CELLAR_E_NOT_FOUND);
    p.direct = 2;
    T_EQ_I64(cellar_bus_publish(b, "q", "x", 1, &p), CELLAR_E_INVAL);
    p = cellar_bus_publish_opts_default();
    p.priority = 10;
    T_EQ_I64(bus_send(b, "q", "x", 1, &p), CELLAR_E_INVAL);
    p = cellar_bus_publish_opts_default();
    p.expires_ms = -1;
    T_EQ_I64(bus_send(b, "q", "x", 1, &p), CELLAR_E_INVAL);
    p = cellar_bus_publish_opts_default();
    p.header_count = 1;
    T_EQ_I64(bus_send(b, "q", "x", 1, &p), CELLAR_E_INVAL);
    const cellar_bus_header no_value = { "h", NULL };
    p.headers = &no_value;
    T_EQ_I64(bus_send(b, "q", "x", 1, &p), CELLAR_E_INVAL);
    p.header_count = CELLAR_BUS_HEADERS_MAX + 1;
    T_EQ_I64(bus_send(b, "q", "x", 1, &p), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_join(b, "q", "x", NULL, &m), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_bus_join(b, "q", NULL, NULL, NULL), CELLAR_E_INVAL);
    mo.prefetch = 1025;
    T_EQ_I64(cellar_bus_join(b, "q", NULL, &mo, &m), CELLAR_E_INVAL);
    m = member("q", NULL, 1);
    T_EQ_I64(cellar_bus_take(NULL, 0, &got), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_take(m, -1, &got), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_take(m, 0, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_settle(m, UINT64_MAX, CELLAR_BUS_ACK, 0), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_bus_settle(m, 0, CELLAR_BUS_RETRY, -1), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_settle(m, 0, CELLAR_BUS_RETRY, INT64_MAX), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_settle(m, 0, (cellar_bus_verdict)4, 0), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_settle(NULL, 0, CELLAR_BUS_ACK, 0), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_drain(b, -1, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_drain(NULL, 0, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_tick(NULL, 0, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_close(NULL), CELLAR_OK);
    T_EQ_I64(cellar_bus_stats_get(b, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_bus_group_stats_get(b, "q", NULL, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_signal_subscribe(b, "a", CELLAR_BUS_AMQP, NULL, NULL, NULL, NULL),
             CELLAR_E_INVAL);
    T_EQ_I64(cellar_signal_subscribe(b, "", CELLAR_BUS_AMQP, hear, NULL, NULL, NULL),
             CELLAR_E_INVAL);
    T_EQ_I64(cellar_signal_emit(b, "", NULL, 0, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_signal_emit(b, "a", NULL, 1, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_signal_unsubscribe(b, 99), CELLAR_E_NOT_FOUND);
    T_EQ_U64(figures().copies, 0);
    close_it();
}

T_CASE(open_is_refused_with_a_reason)
{
    cellar_host_config h = cellar_host_config_default();
    cellar_error_info e = cellar_error_info_default();
    cellar_bus_config c;
    T_EQ_I64(cellar_bus_open(NULL, NULL), CELLAR_E_INVAL);
#define BAD(field, value) \
    do { \
        c = cellar_bus_config_default(); \
        c.host = &h; \
        c.field = (value); \
        T_EQ_I64(cellar_bus_open(&c, &b), CELLAR_E_INVAL); \
        T_CHECK(b == NULL); \
        T_EQ_I64(cellar_last_error(NULL, &e), CELLAR_OK); \
        T_CHECK(strstr(e.text, "cellar_bus_open: " #field) == e.text); \
    } while (0)
    BAD(max_groups, 65537);
    BAD(max_routes, UINT32_MAX);
    BAD(max_members, 65537);
    BAD(max_subscribers, 65537);
    BAD(workers, 65);
    BAD(max_message_bytes, (UINT64_C(1) << 30) + 1);
    BAD(close_timeout_ms, -1);
    BAD(reserved0, 1);
    BAD(default_queue, "");
}

T_CASE(every_missing_memory_is_a_code)
{
    uint64_t failed = 0;
    static const char *const values[] = { "v" };
    for (uint64_t nth = 1;; nth++) {
        const cellar_host_config h = host_of_test();
        cellar_err err[7] = { CELLAR_OK };
        cellar_bus_member *m = NULL;
        cellar_bus_group_config o = { .struct_size = sizeof o, .filter_header = "h",
                                      .filter_values = values, .filter_value_count = 1,
                                      .ordered = 1 };
        cellar_bus_member_config mo = { .struct_size = sizeof mo, .free_fn = count_free };
        cellar_bus_config c = { .struct_size = sizeof c, .host = &h };
        freed = 0;
        (void)base_fault_alloc_arm(nth, false);
        err[0] = cellar_bus_open(&c, &b);
        if (err[0] == CELLAR_OK) {
            err[1] = cellar_bus_group_add(b, "q", NULL, &o);
            err[2] = cellar_bus_group_add(b, "p", NULL, NULL);
            if (err[2] == CELLAR_OK) {
                err[3] = cellar_bus_join(b, "p", NULL, &mo, &m);
                err[4] = cellar_bus_route(b, "#", "p", CELLAR_BUS_AMQP, true);
            }
            err[5] = cellar_signal_subscribe(b, "#", CELLAR_BUS_AMQP, hear, NULL, count_free,
                                             NULL);
            if (err[2] == CELLAR_OK && err[4] == CELLAR_OK) { err[6] = publish("k", "x"); }
        }
        const bool armed = base_fault_alloc_arm(0, false) >= nth;
        unsigned codes = 0;
        for (int i = 0; i < 7; i++) {
            T_CHECK(err[i] == CELLAR_OK || err[i] == CELLAR_E_NOMEM);
            codes += err[i] != CELLAR_OK;
        }
        if (err[0] == CELLAR_OK) {
            T_EQ_U64(freed, 0);
            T_CHECK(err[3] == CELLAR_OK || m == NULL);
            T_EQ_U64(figures().copies,
                     err[2] == CELLAR_OK && err[4] == CELLAR_OK && err[6] == CELLAR_OK);
            T_EQ_U64(figures().published, figures().copies);
            close_it();
            T_EQ_U64(freed, (m != NULL) + (err[5] == CELLAR_OK));
        }
        T_CHECK(codes <= 1);
        failed += codes;
        if (codes == 0 && !armed) { break; }
        T_REQUIRE(nth < 100);
    }
    T_CHECK(failed >= 12);
}

T_CASE(metrics_are_those_of_the_registry)
{
    char text[8192];
    static char json[16384];
    size_t len;
    open_default(NULL);
    group("q", NULL, NULL);
    T_EQ_I64(send("q", "a"), CELLAR_OK);
    T_EQ_I64(cellar_metrics_write(b, text, sizeof text, &len), CELLAR_OK);
    T_EQ_U64(len, strlen(text));
    T_CHECK(strstr(text, "\ncellar_bus_copies_total{bus=\"bus\"} 1\n") != NULL);
    T_CHECK(strstr(text, "cellar_bus_dropped_total{bus=\"bus\",reason=\"oldest\"} 0\n") != NULL);
    T_CHECK(strstr(text, "cellar_bus_messages{bus=\"bus\",state=\"waiting\"} 1\n") != NULL);
    size_t json_len;
    T_EQ_I64(cellar_stats_json(b, json, sizeof json, &json_len), CELLAR_OK);
    T_EQ_U64(json_len, strlen(json));
    metrics_are_the_same(text, json);
    T_EQ_I64(cellar_stats_json(b, json, 10, &json_len), CELLAR_E_BUFFER);
    T_EQ_I64(cellar_stats_json(NULL, json, 10, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_metrics_write(b, text, 10, NULL), CELLAR_E_BUFFER);
    T_EQ_I64(cellar_metrics_write(b, NULL, 0, &len), CELLAR_E_BUFFER);
    T_EQ_U64(len > 1000, 1);
    T_EQ_I64(cellar_metrics_write(b, NULL, 1, &len), CELLAR_E_INVAL);
    close_it();
}

static cellar_err use_config(void *c)
{
    cellar_bus *opened;
    const cellar_err err = cellar_bus_open(c, &opened);
    return err == CELLAR_OK ? cellar_bus_close(opened) : err;
}
static cellar_err use_group(void *o)
{
    const cellar_err err = cellar_bus_group_add(b, "sizes", NULL, o);
    return err == CELLAR_OK ? cellar_bus_group_remove(b, "sizes", NULL) : err;
}
static cellar_err use_member(void *o)
{
    cellar_bus_member *m;
    const cellar_err err = cellar_bus_join(b, "q", NULL, o, &m);
    return err == CELLAR_OK ? cellar_bus_leave(m) : err;
}
static cellar_err use_publish(void *o) { return cellar_bus_publish(b, "q", "x", 1, o); }
static cellar_err fill_stats(void *out) { return cellar_bus_stats_get(b, out); }
static cellar_err fill_group(void *out) { return cellar_bus_group_stats_get(b, "q", NULL, out); }

T_CASE(struct_sizes_of_other_versions)
{
    const cellar_host_config h = host_of_test();
    cellar_bus_config c = { .struct_size = sizeof c, .host = &h };
    open_default("q");
    group("q", NULL, NULL);
    check_in("cellar_bus_config", &c, sizeof c, FIRST, use_config);
    CHECK_IN(cellar_bus_group_config, cellar_bus_group_config_default(), use_group);
    CHECK_IN(cellar_bus_member_config, cellar_bus_member_config_default(), use_member);
    CHECK_IN(cellar_bus_publish_opts, cellar_bus_publish_opts_default(), use_publish);
    check_out("cellar_bus_stats", sizeof(cellar_bus_stats), fill_stats);
    check_out("cellar_bus_group_stats", sizeof(cellar_bus_group_stats), fill_group);
    close_it();
}

T_MAIN("work_bus_limits")
