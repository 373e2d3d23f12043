/* SPDX-License-Identifier: MIT
 *
 * group_kit: a primary and a replica, each behind a proxy, and three Sentinels of a test.
 *
 * USE        if (!group_open(50)) { return; }  the case is skipped without a server
 *            side s; side_open_group(&s);      a store that follows the group
 *            group_close();                    behind side_close(&s)
 * PROXY      A node knows its clients by address: see OF_CLIENT. nodes[i].p->last cuts some off.
 * TLS        Files of tls_kit_open in group_tls, set before group_open: all connections have TLS.
 * TIME       Sentinels ask each other much more often than by default. */
#ifndef CELLAR_TESTS_GROUP_KIT_H
#define CELLAR_TESTS_GROUP_KIT_H

#include "tests/support/byte_proxy.h"
#include "tests/support/shared_side.h"

enum { SENTINELS = 3, WAIT_MS = 60000 };

/* What a proxy knows its clients by. */
#define OF_CLIENT "127.0.0.1"
#define OF_SENTINEL "127.0.0.2"
#define OF_REPLICA "127.0.0.3"

typedef struct node {
    engine e;
    byte_proxy *p;
    uint16_t port; /* of its proxy */
    char port_text[8], tls_port[8];
} node;

static node nodes[2];
static engine sentinels[SENTINELS];
static char sentinel_list[128];
static char group_tls[T_FOLDER_MAX];

T_INLINE void node_start(node *n, const node *primary)
{
    static const char *words[2][24];
    static char cert[T_FOLDER_MAX + 16], ca[T_FOLDER_MAX + 16];
    const char **w = words[n - nodes];
    size_t i = 0;
    n->port = engine_free_port();
    snprintf(n->port_text, sizeof n->port_text, "%u", n->port);
    w[i++] = "--bind-source-addr", w[i++] = OF_REPLICA;
    w[i++] = "--replica-announce-ip", w[i++] = "127.0.0.1";
    w[i++] = "--replica-announce-port", w[i++] = n->port_text;
    w[i++] = "--repl-ping-replica-period", w[i++] = "1";
    if (group_tls[0] != '\0') {
        snprintf(n->tls_port, sizeof n->tls_port, "%u", engine_free_port());
        snprintf(cert, sizeof cert, "%s/server.pem", group_tls);
        snprintf(ca, sizeof ca, "%s/ca.pem", group_tls);
        w[i++] = "--tls-port", w[i++] = n->tls_port, w[i++] = "--tls-auth-clients", w[i++] = "no";
        w[i++] = "--tls-cert-file", w[i++] = cert, w[i++] = "--tls-key-file", w[i++] = cert;
        w[i++] = "--tls-ca-cert-file", w[i++] = ca, w[i++] = "--tls-replication", w[i++] = "yes";
    }
    w[i] = NULL;
    T_REQUIRE(engine_start(&n->e, engine_is_port() ? NULL : w));
    n->p = calloc(1, sizeof *n->p);
    T_REQUIRE(n->p != NULL);
    byte_proxy_open_port(n->p, n->port, group_tls[0] != '\0' ? n->tls_port : n->e.socket);
    if (primary != NULL) { engine_ask(&n->e, "REPLICAOF 127.0.0.1 %u", primary->port); }
}

T_INLINE void node_stop(node *n)
{
    byte_proxy_close(n->p);
    free(n->p);
    engine_stop(&n->e);
}

/* The last sentinel is slow to call a server down, so it votes for one of the others: three that
 * vote for themselves repeat the election after seconds. */
T_INLINE void sentinel_start(engine *s, int publish_ms)
{
    const unsigned down_ms = (s == &sentinels[SENTINELS - 1] ? 3000 : 300) * t_patience();
    const bool over_tls = group_tls[0] != '\0';
    const uint16_t port = over_tls ? engine_free_port() : 0;
    char config[2048];
    const int n = over_tls ? snprintf(config, sizeof config, "tls-port %u\ntls-auth-clients no\n"
             "tls-replication yes\ntls-cert-file %s/server.pem\ntls-key-file %s/server.pem\n"
             "tls-ca-cert-file %s/ca.pem\n", port, group_tls, group_tls, group_tls) : 0;
    snprintf(config + n, sizeof config - (size_t)n,
             "bind-source-addr " OF_SENTINEL "\nsentinel announce-ip 127.0.0.1\n"
             "sentinel monitor main 127.0.0.1 %u 2\n"
             "sentinel down-after-milliseconds main %u\nsentinel failover-timeout main 3000\n",
             nodes[0].port, down_ms);
    T_REQUIRE(engine_start_sentinel(s, config));
    const redisReply *r = engine_ask(s, "SENTINEL DEBUG INFO-PERIOD 50 PING-PERIOD 250 ASK-PERIOD 50 "
        "PUBLISH-PERIOD %d MIN-LINK-RECONNECT-PERIOD 200 TILT-PERIOD 500 ELECTION-TIMEOUT 1000",
        publish_ms);
    T_REQUIRE(r != NULL && r->type != REDIS_REPLY_ERROR);
    const size_t len = strlen(sentinel_list);
    snprintf(sentinel_list + len, sizeof sentinel_list - len, "%s127.0.0.1:%u",
             len != 0 ? "," : "", over_tls ? port : s->port);
}

/* Return the number of the node that a sentinel names; -1: none. */
T_INLINE int named_by(engine *s)
{
    const redisReply *r = engine_ask(s, "SENTINEL GET-MASTER-ADDR-BY-NAME main");
    if (r == NULL || r->type != REDIS_REPLY_ARRAY || r->elements != 2) { return -1; }
    for (int i = 0; i < 2; i++) {
        if (strcmp(r->element[1]->str, nodes[i].port_text) == 0) { return i; }
    }
    return -1;
}

/* Return the number of the node that all sentinels name; -1: they differ. */
T_INLINE int primary_now(void)
{
    const int i = named_by(&sentinels[0]);
    return i == named_by(&sentinels[1]) && i == named_by(&sentinels[2]) ? i : -1;
}

T_INLINE bool info_has(node *n, const char *section, const char *line)
{
    const redisReply *r = engine_ask(&n->e, "INFO %s", section);
    return r != NULL && r->type == REDIS_REPLY_STRING && strstr(r->str, line) != NULL;
}

/* Ask for a failover, again after one that Sentinel gave up. Return whether it has promoted. */
T_INLINE bool promotes(node *next)
{
    if (info_has(next, "replication", "role:master")) { return true; }
    (void)engine_ask(&sentinels[0], "SENTINEL FAILOVER main");
    return false;
}

/* Return whether both nodes have a key, with the same bytes. WAIT of another connection than that of
 * the write says nothing. */
T_INLINE bool both_have(const char *key)
{
    const redisReply *r[2];
    for (int i = 0; i < 2; i++) { r[i] = engine_ask(&nodes[i].e, "GET %s", key); }
    return r[0] != NULL && r[1] != NULL && r[0]->type == REDIS_REPLY_STRING &&
           r[1]->type == REDIS_REPLY_STRING && r[0]->len == r[1]->len &&
           memcmp(r[0]->str, r[1]->str, r[0]->len) == 0;
}

/* Return whether a sentinel sees a whole group: primary, replica and the other sentinels. */
T_INLINE bool sees_all(engine *s)
{
    static const char *const wanted[][2] = { { "flags", "master" }, { "num-slaves", "1" },
                                             { "num-other-sentinels", "2" } };
    size_t right = 0;
    const redisReply *r = engine_ask(s, "SENTINEL MASTER main");
    for (size_t i = 0; r != NULL && i + 1 < r->elements; i += 2) {
        for (size_t k = 0; k < 3; k++) {
            right += strcmp(r->element[i]->str, wanted[k][0]) == 0 &&
                     strcmp(r->element[i + 1]->str, wanted[k][1]) == 0;
        }
    }
    r = right == 3 ? engine_ask(s, "SENTINEL REPLICAS main") : NULL;
    for (size_t i = 0; r != NULL && r->elements == 1 && i + 1 < r->element[0]->elements; i += 2) {
        if (strcmp(r->element[0]->element[i]->str, "flags") == 0) {
            return strcmp(r->element[0]->element[i + 1]->str, "slave") == 0;
        }
    }
    return false;
}

T_INLINE bool whole(void)
{
    const int i = primary_now();
    if (i < 0 || !sees_all(&sentinels[0]) || !sees_all(&sentinels[1]) || !sees_all(&sentinels[2])) {
        return false;
    }
    return info_has(&nodes[i], "replication", "role:master") &&
           info_has(&nodes[1 - i], "replication", "master_link_status:up");
}

/* Wait for a fact; fail after a minute. */
#define AWAIT(fact) \
    do { \
        unsigned ms_ = 0; \
        while (!(fact) && ms_ < WAIT_MS * t_patience()) { \
            engine_pause_ms(5); \
            ms_ += 5; \
        } \
        T_REQUIRE(ms_ < WAIT_MS * t_patience()); \
    } while (0)

T_INLINE void side_open_group(side *s)
{
    cellar_remote_config o = { .struct_size = sizeof o, .prefix = "app", .sentinels = sentinel_list,
                               .master = "main", .io_ms = 2000, .proof_ms = 1000 };
    side_open(s, "", &o, NULL);
}

/* Sentinels tell each other of a promotion each publish_ms. One that has not heard of it for 4 times
 * as long makes the new primary a replica again. */
T_INLINE bool group_open(int publish_ms)
{
    (void)signal(SIGPIPE, SIG_IGN); /* of engine_ask, when Sentinel cuts its connection */
    if (engine_program() == NULL) {
        T_SKIP("no redis-server (package redis-tools)");
        return false;
    }
    sentinel_list[0] = '\0';
    node_start(&nodes[0], NULL);
    node_start(&nodes[1], &nodes[0]);
    for (int i = 0; i < SENTINELS; i++) { sentinel_start(&sentinels[i], publish_ms); }
    AWAIT(whole());
    return true;
}

T_INLINE void group_close(void)
{
    for (int i = 0; i < SENTINELS; i++) { engine_stop(&sentinels[i]); }
    for (int i = 0; i < 2; i++) { node_stop(&nodes[i]); }
}

#endif
