/* SPDX-License-Identifier: MIT
 *
 * Aim:    each call that waits for a process which was killed, stands still or is cut off runs its
 *         own loader: within its wait where that is shorter than lease_ms, else within lease_ms + 200
 *         ms and with its whole hard_timeout_ms. A leader that wakes publishes nothing. A process
 *         that lives sends the beat of its lease while the loader runs.
 * Method: a child process behind a proxy of its own leads one key in each way, until it is harmed.
 *         Then threads of the parent ask for these keys. With a short wait, lease_ms is 60 s and
 *         proof_ms 60 s: a beat that comes with a proof, or lives lease_ms / 2, is too late for each
 *         of them. T_SCALE=n: n times the rounds without. */
#include "tests/support/byte_proxy.h"
#include "tests/support/shared_side.h"

enum { PATIENCE_MS = 1600, LEASE_MS = 2000, HARD_MS = 60000, SLACK_MS = 200, BULK_KEYS = 3 };
enum { SINGLE, REFRESH, BULK, LEASED, ACQUIRED, WAYS }; /* the last: a load, waited for by acquire */
enum { KILL, STOP, CUT, FAULTS };

/* How long the waiters have: hard_timeout_ms or wait_timeout_ms of 1.6 s, or lease_ms. */
typedef enum limit { BY_HARD_TIMEOUT, BY_WAIT_TIMEOUT, BY_LEASE } limit;

typedef struct board {
    _Atomic int led;
    _Atomic int64_t harm_ms; /* 0: not yet */
    _Atomic bool wakes;
    bool raw;
    limit within;
    int fault;
} board;

typedef struct call {
    const side *s;
    board *b; /* NULL: of a waiter */
    int way, loads;
    cellar_err err;
    uint32_t flags; /* those of all results */
    int64_t loaded_ms, left_ms;
} call;

static engine server;

static void open_side(side *s, const char *socket, const board *b)
{
    cellar_remote_config ro = side_patient();
    cellar_remote_namespace_config o = cellar_remote_namespace_config_default();
    cellar_load_opts lo = { .struct_size = sizeof lo, .hard_timeout_ms = HARD_MS };
    const cellar_namespace_config nc = { .struct_size = sizeof nc, .load = &lo };
    ro.lease_ms = b->within == BY_LEASE ? LEASE_MS : 60000;
    if (b->within == BY_LEASE) { ro.proof_ms = 1000; }
    if (b->within == BY_WAIT_TIMEOUT) { lo.hard_timeout_ms = 0, lo.wait_timeout_ms = PATIENCE_MS; }
    if (b->within == BY_HARD_TIMEOUT) { lo.hard_timeout_ms = PATIENCE_MS; }
    if (b->raw) { o.values = CELLAR_REMOTE_RAW; }
    side_open_own(s, socket, &(side_own){ .users = &nc, .ro = &ro, .o = &o });
    T_EQ_I64(side_set(s, "x", ""), CELLAR_OK); /* an acquire needs a known generation */
}

static const char *key_of(const call *c) { return &"0\0001\0002\0003\0004"[2 * c->way]; }

/* Stand still until the leader wakes. A process that was stopped sees its old proof first, and may
 * lose the link then. */
static void lead_until_wake(const call *c)
{
    cellar_err err = CELLAR_E_TIMEOUT;
    atomic_fetch_add(&c->b->led, 1);
    while (!atomic_load(&c->b->wakes)) { engine_pause_ms(1); }
    for (int i = 0; i < 5000 && err != CELLAR_OK; i++) {
        err = cellar_remote_fence(c->s->r, 10000);
        if (err != CELLAR_OK) { engine_pause_ms(2); }
    }
    T_EQ_I64(err, CELLAR_OK);
}

static cellar_err load_one(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    call *c = ctx;
    if (c->b != NULL && c->loads == 0) { lead_until_wake(c); }
    c->loads++;
    c->loaded_ms = engine_now_ms();
    c->left_ms = loader_info(load).time_left_ms;
    return side_loader(load, key, key_len, c->b != NULL ? "leader" : "own");
}

static cellar_err load_many(cellar_load *load, const cellar_bytes *keys, size_t count, void *ctx)
{
    for (size_t i = 0; i < count; i++) {
        (void)cellar_load_select(load, i);
        T_EQ_I64(load_one(load, keys[i].data, keys[i].len, ctx), CELLAR_OK);
    }
    return CELLAR_OK;
}

static cellar_err ask_one(call *c)
{
    cellar_load_opts o = cellar_load_opts_default();
    cellar_result r = cellar_result_default();
    if (c->way == REFRESH) { o.flags = CELLAR_LOAD_REFRESH; }
    const cellar_err err = cellar_get_or_load(c->s->users, key_of(c), 1, &o, load_one, c, &r);
    c->flags = r.flags;
    cellar_result_free(&r);
    return err;
}

static cellar_err ask_many(call *c)
{
    static const char keys[BULK_KEYS] = { 'a', 'b', 'c' };
    cellar_result r[BULK_KEYS];
    cellar_load_item item[BULK_KEYS];
    for (int i = 0; i < BULK_KEYS; i++) {
        r[i] = cellar_result_default();
        item[i] = (cellar_load_item){ .key = &keys[i], .key_len = 1, .result = &r[i] };
    }
    cellar_err err = cellar_get_or_load_many(c->s->users, item, BULK_KEYS, NULL, load_many, c);
    c->flags = UINT32_MAX;
    for (int i = 0; i < BULK_KEYS; i++) {
        if (err == CELLAR_OK) { err = item[i].status; }
        c->flags &= r[i].flags;
        cellar_result_free(&r[i]);
    }
    return err;
}

/* Lead a key in the child. What a leader brings that wakes is not stored. */
static void *lead(void *arg)
{
    call *c = arg;
    cellar_lease lease;
    if (c->way == LEASED) {
        T_EQ_I64(side_acquire(c->s, key_of(c), NULL, &lease, NULL), CELLAR_LEASED);
        lead_until_wake(c);
        T_EQ_I64(cellar_lease_fulfill(c->s->users, &lease, "leader", 6, NULL), CELLAR_INVALIDATED);
        return NULL;
    }
    T_EQ_I64(c->way == BULK ? ask_many(c) : ask_one(c), CELLAR_OK);
    T_CHECK((c->flags & CELLAR_RESULT_INVALIDATED) != 0);
    return NULL;
}

static void *wait_for_leader(void *arg)
{
    call *c = arg;
    cellar_lease lease;
    c->err = c->way == BULK       ? ask_many(c)
             : c->way == ACQUIRED ? side_acquire(c->s, key_of(c), NULL, &lease, NULL)
                                  : ask_one(c);
    if (c->way == ACQUIRED) { c->loaded_ms = engine_now_ms(), c->left_ms = HARD_MS; }
    return NULL;
}

static void run_calls(call *c, pthread_t *t, int ways, const side *s, board *b, void *(*fn)(void *))
{
    for (int i = 0; i < ways; i++) {
        c[i] = (call){ .s = s, .b = b, .way = i };
        T_REQUIRE(pthread_create(&t[i], NULL, fn, &c[i]) == 0);
    }
}

static void run_leader(board *b, int ways)
{
    static byte_proxy p;
    side s;
    call c[WAYS];
    pthread_t t[WAYS];
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    byte_proxy_open(&p, server.dir, server.socket);
    open_side(&s, p.path, b);
    run_calls(c, t, ways, &s, b, lead);
    while (atomic_load(&b->harm_ms) == 0) { engine_pause_ms(1); }
    for (int k = 0; k < 2; k++) { byte_proxy_freeze(&p, k, b->fault == CUT); }
    while (!atomic_load(&b->wakes)) { engine_pause_ms(1); }
    for (int k = 0; k < 2; k++) { byte_proxy_freeze(&p, k, false); }
    for (int i = 0; i < ways; i++) { pthread_join(t[i], NULL); }
    side_fence(&s);
    for (int i = 0; i < ways; i++) {
        T_CHECK(i == BULK || i == ACQUIRED || side_has(&s, key_of(&c[i]), "own"));
    }
    side_close(&s);
    byte_proxy_close(&p);
    _exit(t_failed());
}

/* Let the leader of all keys be harmed after some ms, then ask for the keys. Return how long the
 * latest loader took to begin; a long time if one has not its whole hard_timeout_ms. */
static int64_t leader_ends(bool raw, limit within, int fault, int after_ms)
{
    const int ways = raw ? LEASED : WAYS; /* leases of the host share no RAW value */
    call c[WAYS];
    pthread_t t[WAYS];
    side s;
    int64_t worst_ms = 0;
    board *b = engine_pages(sizeof *b);
    T_REQUIRE(engine_start(&server, NULL));
    b->raw = raw;
    b->within = within;
    b->fault = fault;
    const pid_t child = fork();
    if (child == 0) { run_leader(b, ways); }
    open_side(&s, server.socket, b);
    while (atomic_load(&b->led) < ways) { engine_pause_ms(1); }
    engine_pause_ms(after_ms);
    if (fault != CUT) { T_EQ_I64(kill(child, fault == KILL ? SIGKILL : SIGSTOP), 0); }
    atomic_store(&b->harm_ms, engine_now_ms());
    run_calls(c, t, ways, &s, NULL, wait_for_leader);
    for (int i = 0; i < ways; i++) {
        pthread_join(t[i], NULL);
        T_EQ_I64(c[i].err, i == ACQUIRED ? CELLAR_LEASED : CELLAR_OK);
        T_EQ_I64(c[i].loads, i == ACQUIRED ? 0 : i == BULK ? BULK_KEYS : 1);
        T_CHECK(c[i].loaded_ms >= b->harm_ms);
        const bool whole = c[i].left_ms > HARD_MS - SLACK_MS * (int64_t)t_patience();
        const int64_t ms = whole ? c[i].loaded_ms - b->harm_ms : INT64_MAX;
        if (ms > worst_ms) { worst_ms = ms; }
    }
    T_CHECK(side_stats(&s).leases_waited >= (uint64_t)ways);
    const bool ends = fault == KILL || within != BY_LEASE; /* else it wakes */
    if (ends) { T_EQ_I64(kill(child, SIGKILL), 0); }
    atomic_store(&b->wakes, true);
    if (fault == STOP && !ends) { T_EQ_I64(kill(child, SIGCONT), 0); }
    T_EQ_I64(engine_child(child), ends ? SIGKILL : 0);
    side_close(&s);
    munmap(b, sizeof *b);
    engine_stop(&server);
    return worst_ms;
}

T_CASE(killed_leader_is_followed_within_hard_timeout)
{
    (void)leader_ends(false, BY_HARD_TIMEOUT, KILL, 0);
}

T_CASE(stopped_leader_is_followed_within_wait_timeout)
{
    (void)leader_ends(true, BY_WAIT_TIMEOUT, STOP, 0);
}

/* A busy machine holds up a process now and then: a late round is repeated. A lease that lives too
 * long is late in each. */
T_CASE(another_process_loads_when_the_leader_dies)
{
    const uint64_t rounds = FAULTS * t_share(4) * t_env_u64("T_SCALE", 1);
    int64_t worst_ms[FAULTS] = { 0 };
    for (uint64_t i = 0, late = 0; i < rounds && !t_failed();) {
        const int fault = (int)(i % FAULTS);
        const int64_t ms = leader_ends(i / FAULTS % 2 != 0, BY_LEASE, fault, (int)(i * 61 % 250));
        if (ms > LEASE_MS + SLACK_MS * (int64_t)t_patience()) {
            T_CHECK(++late < 20 + rounds / 10);
            continue;
        }
        if (ms > worst_ms[fault]) { worst_ms[fault] = ms; }
        i++;
    }
    printf("# longest ms from the death to the next loader: kill %lld, stop %lld, cut %lld\n",
           (long long)worst_ms[KILL], (long long)worst_ms[STOP], (long long)worst_ms[CUT]);
}

/* Delete the beat of the lease, and wait until it comes again; 20 s at most. */
static cellar_err load_between_beats(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    int *beats = ctx;
    for (int i = 0; i < 20000 && *beats < 3; i++) {
        char name[64] = "";
        const redisReply *r = engine_ask(&server, "KEYS ~app:beat:????????????????l");
        if (r != NULL && r->type == REDIS_REPLY_ARRAY && r->elements == 1) {
            snprintf(name, sizeof name, "%s", r->element[0]->str);
            *beats += engine_number(engine_ask(&server, "DEL %s", name)) == 1;
        } else {
            engine_pause_ms(1);
        }
    }
    return side_loader(load, key, key_len, "own");
}

/* The beat lives 468 ms: number 6 of those below lease_ms / 2. */
T_CASE(beats_are_sent_while_a_loader_runs)
{
    const board b = { .within = BY_HARD_TIMEOUT };
    static side s;
    int beats = 0;
    cellar_result r = cellar_result_default();
    T_REQUIRE(engine_start(&server, NULL));
    open_side(&s, server.socket, &b);
    T_EQ_I64(cellar_get_or_load(s.users, "k", 1, NULL, load_between_beats, &beats, &r), CELLAR_OK);
    T_EQ_U64(r.flags, 0);
    T_EQ_I64(beats, 3);
    cellar_result_free(&r);
}

T_MAIN("remote_patience")
