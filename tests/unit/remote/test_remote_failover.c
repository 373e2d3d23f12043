/* SPDX-License-Identifier: MIT
 *
 * Aim:    after a failover by Sentinel the link is proven again by itself, the numbers that make
 *         values dead are no smaller than before, and nothing that was cleared comes back.
 * Method: two servers, each behind a proxy, and three sentinels. The primary is killed, frozen, cut
 *         off from all but its client, or killed while its replica has missed the clear. Dead values
 *         are read all the time, and by a process that starts afterwards. FAILOVERS=n: how many
 *         (default 8).
 * TIME    No check depends on a duration: each wait ends with the state that it waits for. */
#include "cellar_invalidate.h"
#include "tests/support/byte_proxy.h"
#include "tests/support/shared_side.h"

enum { SENTINELS = 3, WAIT_MS = 60000, NUMBERS = 3 };
enum { KILL, FREEZE, CUT_OFF, OLDER, FAULTS };

/* What a proxy knows its clients by. */
#define OF_CLIENT "127.0.0.1"
#define OF_SENTINEL "127.0.0.2"
#define OF_REPLICA "127.0.0.3"

typedef struct node {
    engine e;
    byte_proxy *p;
    uint16_t port; /* of its proxy */
    char port_text[8];
} node;

static node nodes[2];
static engine sentinels[SENTINELS];
static char sentinel_list[128];
static side a;
static uint64_t with_dead_values; /* failovers to a server that had both of them */

/* ---- the group ---- */

static void node_start(node *n, const node *primary)
{
    static const char *words[2][12];
    const char **w = words[n - nodes];
    size_t i = 0;
    n->port = engine_free_port();
    snprintf(n->port_text, sizeof n->port_text, "%u", n->port);
    w[i++] = "--bind-source-addr", w[i++] = OF_REPLICA;
    w[i++] = "--replica-announce-ip", w[i++] = "127.0.0.1";
    w[i++] = "--replica-announce-port", w[i++] = n->port_text;
    w[i++] = "--repl-ping-replica-period", w[i++] = "1";
    T_REQUIRE(engine_start(&n->e, w));
    n->p = calloc(1, sizeof *n->p);
    T_REQUIRE(n->p != NULL);
    byte_proxy_open_port(n->p, n->port, n->e.socket);
    if (primary != NULL) { engine_ask(&n->e, "REPLICAOF 127.0.0.1 %u", primary->port); }
}

static void node_stop(node *n)
{
    byte_proxy_close(n->p);
    free(n->p);
    engine_stop(&n->e);
}

/* The last sentinel is slow to call a server down, so it votes for one of the others: three that
 * vote for themselves repeat the election after seconds. */
static void sentinel_start(engine *s)
{
    const unsigned down_ms = (s == &sentinels[SENTINELS - 1] ? 3000 : 300) * t_patience();
    char config[512];
    snprintf(config, sizeof config,
             "bind-source-addr " OF_SENTINEL "\nsentinel announce-ip 127.0.0.1\n"
             "sentinel monitor main 127.0.0.1 %u 2\n"
             "sentinel down-after-milliseconds main %u\nsentinel failover-timeout main 3000\n",
             nodes[0].port, down_ms);
    T_REQUIRE(engine_start_sentinel(s, config));
    const redisReply *r = engine_ask(s, "SENTINEL DEBUG INFO-PERIOD 50 PING-PERIOD 250 ASK-PERIOD 50 "
        "PUBLISH-PERIOD 50 MIN-LINK-RECONNECT-PERIOD 200 TILT-PERIOD 500 ELECTION-TIMEOUT 1000");
    T_REQUIRE(r != NULL && r->type != REDIS_REPLY_ERROR);
    const size_t len = strlen(sentinel_list);
    snprintf(sentinel_list + len, sizeof sentinel_list - len, "%s127.0.0.1:%u",
             len != 0 ? "," : "", s->port);
}

/* Return the number of the node that a sentinel names; -1: none. */
static int named_by(engine *s)
{
    const redisReply *r = engine_ask(s, "SENTINEL GET-MASTER-ADDR-BY-NAME main");
    if (r == NULL || r->type != REDIS_REPLY_ARRAY || r->elements != 2) { return -1; }
    for (int i = 0; i < 2; i++) {
        if (strcmp(r->element[1]->str, nodes[i].port_text) == 0) { return i; }
    }
    return -1;
}

/* Return the number of the node that all sentinels name; -1: they differ. */
static int primary_now(void)
{
    const int i = named_by(&sentinels[0]);
    return i == named_by(&sentinels[1]) && i == named_by(&sentinels[2]) ? i : -1;
}

static bool info_has(node *n, const char *section, const char *line)
{
    const redisReply *r = engine_ask(&n->e, "INFO %s", section);
    return r != NULL && r->type == REDIS_REPLY_STRING && strstr(r->str, line) != NULL;
}

/* Return whether a sentinel sees a whole group: primary, replica and the other sentinels. */
static bool sees_all(engine *s)
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

static bool whole(void)
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

static void side_open_group(side *s)
{
    cellar_remote_opts o = cellar_remote_opts_default();
    o.prefix = "app";
    o.sentinels = sentinel_list;
    o.master = "main";
    o.io_ms = 2000;
    o.proof_ms = 1000;
    side_open(s, "", &o, NULL);
}

static bool group_open(void)
{
    if (engine_program() == NULL) {
        T_SKIP("no redis-server (package redis-tools)");
        return false;
    }
    sentinel_list[0] = '\0';
    node_start(&nodes[0], NULL);
    node_start(&nodes[1], &nodes[0]);
    for (int i = 0; i < SENTINELS; i++) { sentinel_start(&sentinels[i]); }
    AWAIT(whole());
    side_open_group(&a);
    return true;
}

static void group_close(void)
{
    side_close(&a);
    for (int i = 0; i < SENTINELS; i++) { engine_stop(&sentinels[i]); }
    for (int i = 0; i < 2; i++) { node_stop(&nodes[i]); }
}

/* ---- one failover ---- */

/* Read the epoch, the generation and the number of the tag. */
static void numbers_read(node *n, uint64_t *to)
{
    static const char *const names[NUMBERS] = { "app:~e", "app:~g:users", "app:~t:tag" };
    for (size_t i = 0; i < NUMBERS; i++) {
        const redisReply *r = engine_ask(&n->e, "GET %s", names[i]);
        to[i] = r != NULL && r->type == REDIS_REPLY_STRING ? strtoull(r->str, NULL, 10) : 0;
    }
}

/* Set the values that are to die, and let the replica have them. */
static void values_set(node *primary)
{
    AWAIT(side_set(&a, "cleared", "old") == CELLAR_OK);
    AWAIT(side_set_tagged(&a, "tagged", "old", "tag") == CELLAR_OK);
    AWAIT(engine_number(engine_ask(&primary->e, "WAIT 1 1000")) == 1);
}

static void values_end(void)
{
    AWAIT(cellar_delete_by_tag(a.users, "tag", 3, CELLAR_TAG_HARD) == CELLAR_OK);
    AWAIT(cellar_clear(a.users) == CELLAR_OK);
}

static bool is_dead(const side *s)
{
    char got[8];
    return cellar_get_str(s->users, "cleared", got, sizeof got) != CELLAR_OK &&
           cellar_get_str(s->users, "tagged", got, sizeof got) != CELLAR_OK;
}

static void harm(int fault, node *primary)
{
    if (fault == FREEZE) {
        engine_signal(&primary->e, SIGSTOP);
    } else if (fault == CUT_OFF) {
        engine_ask(&primary->e, "CONFIG SET min-replicas-to-write 1 min-replicas-max-lag 1");
        atomic_store(&primary->p->last, inet_addr(OF_CLIENT));
    } else {
        engine_kill(&primary->e);
    }
}

static void heal(int fault, node *old)
{
    if (fault == FREEZE) {
        engine_signal(&old->e, SIGCONT);
    } else if (fault == CUT_OFF) {
        engine_ask(&old->e, "CONFIG SET min-replicas-to-write 0");
    } else {
        engine_restart(&old->e);
    }
    atomic_store(&old->p->last, 0);
}

/* Wait until the other node is the primary and the link is proven again, without any help. */
static void await_proof(int next, uint64_t gaps)
{
    unsigned ms = 0;
    for (; ms < WAIT_MS * t_patience(); ms += 5) {
        T_CHECK(is_dead(&a));
        if (side_stats(&a).gaps > gaps && primary_now() == next &&
            cellar_remote_state_get(a.r) == CELLAR_REMOTE_PROVEN) {
            return;
        }
        engine_pause_ms(5);
    }
    T_REQUIRE(ms < WAIT_MS * t_patience());
}

static void fail_over(int fault)
{
    const int now = primary_now();
    node *primary = &nodes[now], *next = &nodes[1 - now];
    uint64_t before[NUMBERS], after[NUMBERS];
    side late;
    values_set(primary);
    if (fault == OLDER) { atomic_store(&primary->p->last, inet_addr(OF_SENTINEL)); }
    values_end();
    if (fault != OLDER) { AWAIT(engine_number(engine_ask(&primary->e, "WAIT 1 1000")) == 1); }
    numbers_read(primary, before);
    const uint64_t gaps = side_stats(&a).gaps;
    harm(fault, primary);
    await_proof(1 - now, gaps);
    engine_hang_up(&next->e); /* a server that becomes a primary closes its connections */
    numbers_read(next, after);
    for (size_t i = 0; i < NUMBERS; i++) { T_CHECK(before[i] != 0 && after[i] >= before[i]); }
    with_dead_values +=
        engine_number(engine_ask(&next->e, "EXISTS app:users:cleared app:users:tagged")) == 2;
    side_open_group(&late);
    T_CHECK(is_dead(&a) && is_dead(&late));
    AWAIT(side_set(&a, "fresh", "new") == CELLAR_OK);
    side_fence(&late);
    T_CHECK(side_has(&late, "fresh", "new"));
    side_close(&late);
    heal(fault, primary);
    AWAIT(whole());
}

static void failover_brings_nothing_dead_back(void)
{
    const uint64_t n = t_env_u64("FAILOVERS", 8);
    (void)signal(SIGPIPE, SIG_IGN); /* of engine_ask, when Sentinel cuts its connection */
    if (!group_open()) { return; }
    for (uint64_t i = 0; i < n && !t_failed(); i++) { fail_over((int)(i % FAULTS)); }
    T_CHECK(with_dead_values > 0 || n == 0);
    group_close();
}

T_MAIN("remote_failover", T_CASE(failover_brings_nothing_dead_back))
