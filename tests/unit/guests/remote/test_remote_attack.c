/* SPDX-License-Identifier: MIT
 *
 * Aim:    whatever a network, a server, a Sentinel or another process does: no hit older than
 *         proof_ms, no old value that stays, no lost acknowledged change, no read that goes
 *         backwards, no window over a limit, no lock with two owners, fences in order; in each mode, without
 *         and with TLS, with one server and with Sentinels.
 * Method: attack_run.h. The parent draws faults. ATTACK=n: faults of each mode (default 24 for one
 *         server, 8 with Sentinels); ATTACK_MODE=name: one mode alone. Over a port, a crowd of
 *         other tags fills the part of the tags in each third round. That the checks find a
 *         mistake: test_remote_attack_late. */
#include "tests/support/attack_run.h"
#include "tests/support/tls_kit.h"

static uint32_t draw(uint32_t least, uint32_t most)
{
    return least + attack_random(most - least + 1);
}

/* Mostly short, in one of 4 longer than a proof counts. */
static int draw_ms(void)
{
    return (int)(draw(0, 3) != 0 ? draw(1, 100) : draw(PROOF_MS, 3 * PROOF_MS));
}

/* ---- faults of processes and of the network ---- */

static void stop_child_for(int ms)
{
    const pid_t child = attack_pid[draw(0, CHILDREN - 1)];
    T_EQ_I64(kill(child, SIGSTOP), 0);
    engine_pause_ms(ms);
    T_EQ_I64(kill(child, SIGCONT), 0);
}

static void stop_child(attack *a)
{
    (void)a;
    stop_child_for(draw_ms());
}

static void kill_child(attack *a)
{
    const uint32_t me = draw(0, CHILDREN - 1);
    attack_kill(a, me);
    attack_start(a, me);
}

static node *primary(attack *a) { return &nodes[atomic_load(&a->primary)]; }

static void cut_requests(attack *a) { (void)engine_cut(&primary(a)->e, "normal"); }
static void cut_invalidations(attack *a) { (void)engine_cut(&primary(a)->e, "pubsub"); }

/* Set one thing of all lines of clients, and of new ones. */
static void each_way(attack *a, int k, void (*set)(byte_proxy_way *w, int64_t n), int64_t n)
{
    byte_proxy *p = primary(a)->p;
    const uint32_t lines = atomic_load(&p->lines);
    set(&p->fresh.way[k], n);
    for (uint32_t i = 0; i < lines && i < BYTE_PROXY_LINES; i++) {
        if (p->line[i].peer == inet_addr(OF_CLIENT)) { set(&p->line[i].way[k], n); }
    }
}

static void set_left(byte_proxy_way *w, int64_t n) { atomic_store(&w->left, n); }
static void set_delay(byte_proxy_way *w, int64_t n) { atomic_store(&w->delay_ms, (int)n); }
static void set_frozen(byte_proxy_way *w, int64_t n) { atomic_store(&w->frozen, n != 0); }

static void cut_behind_bytes(attack *a)
{
    each_way(a, (int)draw(0, 1), set_left, draw(1, 5000));
    engine_pause_ms(50);
    for (int k = 0; k < 2; k++) { each_way(a, k, set_left, -1); }
}

static void delay(attack *a)
{
    const int k = (int)draw(0, 1);
    each_way(a, k, set_delay, draw(1, 40));
    engine_pause_ms((int)draw(50, 300));
    each_way(a, k, set_delay, 0);
}

static void freeze(attack *a)
{
    const int k = (int)draw(0, 1);
    each_way(a, k, set_frozen, 1);
    engine_pause_ms(draw_ms());
    each_way(a, k, set_frozen, 0);
}

/* ---- faults of one server ---- */

static void stop_server(attack *a)
{
    engine_signal(&primary(a)->e, SIGSTOP);
    engine_pause_ms(draw_ms());
    engine_signal(&primary(a)->e, SIGCONT);
}

static void restart_server(attack *a)
{
    attack_loses(a);
    engine_kill(&primary(a)->e);
    engine_pause_ms(draw_ms());
    engine_restart(&primary(a)->e);
}

static void ask(attack *a, const char *command)
{
    const redisReply *r = engine_ask(&primary(a)->e, command);
    /* A failover that was not planned cuts the connection. A port has no pauses and no policies. */
    T_CHECK(engine_is_port() || sentinel_list[0] != '\0' || (r != NULL && r->type != REDIS_REPLY_ERROR));
}

static void flush(attack *a)
{
    attack_loses(a);
    ask(a, "FLUSHALL");
}

static void pause_clients(attack *a)
{
    ask(a, draw(0, 1) != 0 ? "CLIENT PAUSE 150 ALL" : "CLIENT PAUSE 150 WRITE");
    engine_pause_ms(100);
}

static void forget_scripts(attack *a) { ask(a, "SCRIPT FLUSH"); }

static void lose_numbers(attack *a)
{
    static const char *const numbers[] = { "~e", "~g:users", "~t:even" };
    char command[128] = "DEL";
    const uint32_t which = draw(0, 3); /* 3: all */
    for (uint32_t i = 0; i < 3; i++) {
        if (which != 3 && which != i) { continue; }
        const size_t n = strlen(command);
        (void)snprintf(command + n, sizeof command - n, " %s:%s", a->prefix, numbers[i]);
    }
    attack_loses(a); /* values from before are dead */
    ask(a, command);
}

static void fill_server(attack *a)
{
    ask(a, "CONFIG SET maxmemory 1");
    engine_pause_ms((int)draw(1, 100));
    ask(a, "CONFIG SET maxmemory 0");
}

static void evict(attack *a)
{
    attack_loses(a);
    ask(a, "CONFIG SET maxmemory-policy allkeys-random maxmemory 1");
    engine_pause_ms((int)draw(1, 50));
    ask(a, "CONFIG SET maxmemory 0 maxmemory-policy noeviction");
}

/* Another client deletes values. */
static void delete_by_another_client(attack *a)
{
    attack_loses(a);
    for (int i = 0; i < 20; i++) {
        (void)engine_ask(&primary(a)->e, "DEL %s:users:key:%u", a->prefix, draw(0, KEYS - 1));
    }
}

/* ---- faults of a group ---- */

static void stop_one_sentinel(attack *a)
{
    engine *s = &sentinels[draw(0, SENTINELS - 1)];
    (void)a;
    engine_signal(s, SIGSTOP);
    engine_pause_ms(draw_ms());
    engine_signal(s, SIGCONT);
}

static void stop_two_sentinels(attack *a)
{
    const uint32_t runs = draw(0, SENTINELS - 1);
    (void)a;
    for (uint32_t i = 0; i < SENTINELS; i++) {
        if (i != runs) { engine_signal(&sentinels[i], SIGSTOP); }
    }
    engine_pause_ms((int)draw(PROOF_MS, 3 * PROOF_MS));
    for (uint32_t i = 0; i < SENTINELS; i++) {
        if (i != runs) { engine_signal(&sentinels[i], SIGCONT); }
    }
}

enum { PLANNED, KILLED, STOPPED, ISOLATED, FAILOVERS };

static void fail_over(attack *a)
{
    static int kind = PLANNED;
    node *old = primary(a), *next = &nodes[1 - a->primary];
    attack_loses(a);
    a->failing_ms = now_ms();
    switch (kind) {
    case PLANNED: break;
    case KILLED: engine_kill(&old->e); break;
    case STOPPED: engine_signal(&old->e, SIGSTOP); break;
    default: atomic_store(&old->p->last, inet_addr(OF_CLIENT));
    }
    AWAIT((kind != PLANNED || promotes(next)) && primary_now() == next - nodes);
    engine_pause_ms((int)draw(0, 300));
    if (kind == KILLED) { engine_restart(&old->e); }
    if (kind == STOPPED) { engine_signal(&old->e, SIGCONT); }
    atomic_store(&old->p->last, 0);
    engine_hang_up(&old->e);
    engine_hang_up(&next->e);
    a->primary = (int)(next - nodes);
    AWAIT(whole());
    a->failovers++;
    kind = (kind + 1) % FAILOVERS;
}

/* ---- tags that the port forgets ---- */

static struct { pthread_t id; _Atomic bool stops; uint64_t made, forgotten; } crowd;

/* Make some tags as a worker does. False: the connection broke. */
static bool crowd_add(redisContext *c, const char *prefix)
{
    enum { AT_ONCE = 64 };
    bool ok = true;
    for (int i = 0; i < AT_ONCE; i++, crowd.made++) {
        const unsigned long long n = crowd.made;
        redisAppendCommand(c, "CELLAR.TIER KNOW 3 %s:~e %s:~t:%llu %s:~s:%llu 0 0 0 60000", prefix,
                           prefix, n, prefix, n);
    }
    for (int i = 0; i < AT_ONCE && ok; i++) {
        void *reply = NULL;
        ok = redisGetReply(c, &reply) == REDIS_OK;
        if (ok) { freeReplyObject(reply); }
    }
    return ok;
}

static void *crowd_run(void *run)
{
    const char *prefix = ((const attack *)run)->prefix;
    while (!atomic_load(&crowd.stops)) {
        redisContext *c = engine_connect(&nodes[0].e);
        while (c != NULL && !atomic_load(&crowd.stops) && crowd_add(c, prefix)) {
            engine_pause_ms(1);
        }
        if (c != NULL) { redisFree(c); }
        engine_pause_ms(1);
    }
    return NULL;
}

static void crowd_begin(attack *a)
{
    a->crowded = engine_is_port() && a->phase / 3 % 3 == 2; /* the first round has one */
    atomic_store(&crowd.stops, false);
    if (a->crowded) { T_REQUIRE(pthread_create(&crowd.id, NULL, crowd_run, a) == 0); }
}

static void crowd_end(attack *a)
{
    if (!a->crowded) { return; }
    atomic_store(&crowd.stops, true);
    pthread_join(crowd.id, NULL);
    const redisReply *r = engine_ask(&nodes[0].e, "INFO");
    const char *count = r != NULL ? strstr(r->str, "shared_tags_forgotten:") : NULL;
    if (count == NULL) { return; }
    const uint64_t was = crowd.forgotten;
    crowd.forgotten = strtoull(strchr(count, ':') + 1, NULL, 10); /* since the server started */
    a->forgotten += crowd.forgotten - (crowd.forgotten < was ? 0 : was);
}

/* ---- rounds ---- */

typedef void (*fault)(attack *a);

static fault attack_fault; /* this one alone; NULL: all */

static const fault alone_faults[] = { stop_child, stop_child, kill_child, cut_requests,
    cut_invalidations, cut_behind_bytes, delay, freeze, stop_server, restart_server, flush,
    pause_clients, forget_scripts, lose_numbers, fill_server, evict, delete_by_another_client };

static const fault group_faults[] = { stop_child, kill_child, cut_requests, cut_invalidations,
    cut_behind_bytes, delay, freeze, forget_scripts, lose_numbers, delete_by_another_client,
    stop_one_sentinel, stop_two_sentinels };

/* Return how often the group has changed its primary; 0: one server. */
static uint64_t group_epoch(void)
{
    if (sentinel_list[0] == '\0') { return 0; }
    const redisReply *r = engine_ask(&sentinels[0], "SENTINEL MASTER main");
    for (size_t i = 0; r != NULL && i + 1 < r->elements; i += 2) {
        if (strcmp(r->element[i]->str, "config-epoch") == 0) {
            return strtoull(r->element[i + 1]->str, NULL, 10);
        }
    }
    return 0;
}

typedef struct findings { uint64_t stale, old, backwards, unfenced, two_owners; } findings;

/* Sentinels may take a busy machine for a dead one: such a round has a failover that was not
 * planned, perhaps before the one that was, and its findings do not count (failing_ms is 1). */
static void look_for_failover(attack *a, uint64_t planned)
{
    if (a->failing_ms == 1 || group_epoch() <= planned) { return; }
    printf("# a failover that was not planned: the round does not count\n");
    attack_loses(a);
    a->calm_to = a->calm_from;
    a->failing_ms = 1;
    a->primary = primary_now();
}

/* Take the findings of this round back. Call it when no process adds to them. */
static void take_back(attack *a, const findings *to)
{
    a->stale = to->stale;
    a->old = to->old;
    a->backwards = to->backwards;
    a->unfenced = to->unfenced;
    a->two_owners = to->two_owners;
}

/* Run one round. */
static void attack_round(attack *a, bool fails, uint64_t left)
{
    const bool group = sentinel_list[0] != '\0';
    const bool calm = a->phase / 3 % 4 == 1; /* no fault and no clear: nothing may be lost */
    const uint64_t epoch = group_epoch(), n = calm ? 0 : fails ? 1 : left < 4 ? left : 4;
    const findings before = { a->stale, a->old, a->backwards, a->unfenced, a->two_owners };
    crowd_begin(a);
    attack_phase(a);
    engine_pause_ms((int)draw(20, 100) + (calm ? 200 : 0));
    for (uint64_t i = 0; i < n; i++, a->faults++) {
        const size_t many = sizeof alone_faults / sizeof alone_faults[0];
        const size_t of_group = sizeof group_faults / sizeof group_faults[0];
        if (attack_fault != NULL) { attack_fault(a); }
        else if (fails) { fail_over(a); }
        else if (group) { group_faults[attack_random((uint32_t)of_group)](a); }
        else { alone_faults[attack_random((uint32_t)many)](a); }
        engine_pause_ms((int)draw(1, 150));
    }
    if (group) { AWAIT(whole()); }
    const uint64_t planned = epoch + (!calm && fails);
    if (group) { look_for_failover(a, planned); }
    attack_phase(a); /* settle */
    attack_read(a);
    attack_phase(a); /* check */
    crowd_end(a);
    if (group) { /* while the keys were read, too: a sentinel may hear of it late */
        AWAIT(whole());
        look_for_failover(a, planned);
        if (a->failing_ms == 1) { take_back(a, &before); }
    }
    attack_rebase(a);
}

typedef struct mode {
    const char *name;
    cellar_remote_write write;
    cellar_remote_values values;
    cellar_remote_offline offline;
} mode;

static const mode modes[] = {
    { "through", CELLAR_REMOTE_THROUGH, CELLAR_REMOTE_ENVELOPE, CELLAR_REMOTE_MISS },
    { "behind", CELLAR_REMOTE_BEHIND, CELLAR_REMOTE_ENVELOPE, CELLAR_REMOTE_SERVE_STALE },
    { "invalidate", CELLAR_REMOTE_INVALIDATE, CELLAR_REMOTE_ENVELOPE, CELLAR_REMOTE_SERVE_STALE },
    { "raw", CELLAR_REMOTE_THROUGH, CELLAR_REMOTE_RAW, CELLAR_REMOTE_TRUST },
    { "trust", CELLAR_REMOTE_THROUGH, CELLAR_REMOTE_ENVELOPE, CELLAR_REMOTE_TRUST },
};

enum { MODES = sizeof modes / sizeof modes[0] };

/* Run one mode, under a prefix of its own: the values of another one would be torn ones. Return the
 * findings. */
static uint64_t attack_mode(const mode *m, uint64_t faults)
{
    const bool group = sentinel_list[0] != '\0';
    cellar_remote_namespace_config o = { .struct_size = sizeof o, .write = m->write,
                                         .values = m->values, .offline = m->offline };
    AWAIT(!group || whole());
    attack *a = attack_begin_run(&o, m->name);
    a->primary = group ? primary_now() : 0;
    bool more = true; /* tags are forgotten in some rounds of a port */
    for (uint64_t i = 0, after = 0; more && !t_failed(); i++) {
        attack_round(a, group && i % 3 == 0, a->faults < faults ? faults - a->faults : 1);
        more = a->faults < faults ||
               (a->forgotten == 0 && engine_is_port() && after++ < 100);
    }
    T_CHECK(a->forgotten > 0 || !engine_is_port());
    return attack_end_run(a, m->name);
}

/* Start one server behind a proxy. False: the case is skipped. */
static bool alone_open(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    if (engine_program() == NULL) {
        T_SKIP("no redis-server (package redis-tools)");
        return false;
    }
    sentinel_list[0] = '\0';
    engine_shared = "8M";
    node_start(&nodes[0], NULL);
    (void)snprintf(attack_at, sizeof attack_at, "127.0.0.1:%u", nodes[0].port);
    return true;
}

#ifndef ATTACK_MUTANT
/* Run the share of the modes that the seed draws. */
static void attack_modes(uint64_t faults)
{
    const char *only = getenv("ATTACK_MODE");
    attack_state = t_seed();
    for (uint64_t i = 0; i < t_share(MODES) && !t_failed(); i++) {
        const mode *m = &modes[(t_seed() + i) % MODES];
        if (only == NULL || strcmp(only, m->name) == 0) { T_EQ_U64(attack_mode(m, faults), 0); }
    }
}

/* Version 2 did not happen, so memory has version 1 until it hears of version 3. */
T_CASE(old_is_a_version_before_the_last_acknowledged_one_of_the_round)
{
    static attack a;
    static attack_child c;
    char value[VALUE_MAX + 1];
    attack_key *key = &a.key[1];
    c.a = &a;
    attack_end(&c, 1, attack_begin(key), true, CELLAR_OK);
    attack_end(&c, 1, attack_begin(key), true, CELLAR_E_BUSY);
    attack_rebase(&a);
    attack_end(&c, 1, attack_begin(key), true, CELLAR_OK);
    attack_judge(&c, 1, value, attack_value(1, 1, value), now_ms(), 0, PROOF_MS, false);
    T_EQ_U64(a.old, 0);
    attack_end(&c, 1, attack_begin(key), true, CELLAR_OK);
    attack_rebase(&a);
    attack_judge(&c, 1, value, attack_value(1, 1, value), now_ms(), 0, PROOF_MS, false);
    T_EQ_U64(a.old, 1);
}

T_CASE(one_server_breaks_no_promise)
{
    if (!alone_open()) { return; }
    attack_modes(t_env_u64("ATTACK", t_share(24)));
    node_stop(&nodes[0]);
}

T_CASE(sentinels_break_no_promise)
{
    if (!group_open(500)) { return; }
    attack_modes(t_env_u64("ATTACK", t_share(8)));
    group_close();
}

static void over_tls(void (*run)(void))
{
    if (!tls_kit_open(group_tls)) { return; }
    run();
    group_tls[0] = '\0';
}

T_CASE(one_server_over_tls_breaks_no_promise) { over_tls(one_server_breaks_no_promise); }
T_CASE(sentinels_over_tls_break_no_promise) { over_tls(sentinels_break_no_promise); }

T_MAIN("remote_attack")
#endif
