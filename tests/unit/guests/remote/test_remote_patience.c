/* SPDX-License-Identifier: MIT
 *
 * Aim:    in a namespace that waits less than lease_ms, each call that waits for a process which was
 *         killed or stands still runs its own loader within its wait; a process that lives sends the
 *         beat of its lease while the loader runs.
 * Method: a child process leads one key in each way, and is killed or stopped. Then threads of the
 *         parent ask for these keys. lease_ms is 60 s and proof_ms 60 s: a beat that comes with a
 *         proof, or lives lease_ms / 2, is too late for each of them. */
#include <sys/mman.h>

#include "tests/support/loader.h"
#include "tests/support/shared_side.h"

enum { PATIENCE_MS = 1600, BULK_KEYS = 3 };
enum { SINGLE, REFRESH, BULK, LEASED, ACQUIRED, WAYS }; /* the last: a load, waited for by acquire */

typedef struct board {
    _Atomic int led;
    bool raw, waits; /* waits: wait_timeout_ms is short, in place of hard_timeout_ms */
} board;

typedef struct call {
    const side *s;
    board *b;
    int way, loads;
    cellar_err err;
} call;

static engine server;

static void open_side(side *s, const board *b)
{
    char url[512];
    cellar_remote_config ro = side_patient();
    cellar_remote_namespace_config o = cellar_remote_namespace_config_default();
    cellar_load_opts lo = cellar_load_opts_default();
    ro.lease_ms = 60000;
    if (b->raw) { o.values = CELLAR_REMOTE_RAW; }
    if (b->waits) { lo.wait_timeout_ms = PATIENCE_MS; } else { lo.hard_timeout_ms = PATIENCE_MS; }
    cellar_namespace_config nc = { .struct_size = sizeof nc, .load = &lo };
    (void)snprintf(url, sizeof url, "unix://%s?prefix=app", server.socket);
    T_REQUIRE(cellar_open(NULL, &s->store) == CELLAR_OK);
    T_REQUIRE(cellar_namespace_open(s->store, "users", &nc, &s->users) == CELLAR_OK);
    T_REQUIRE(cellar_remote_open(s->store, url, &ro, &s->r) == CELLAR_OK);
    T_REQUIRE(cellar_remote_attach(s->r, s->users, &o) == CELLAR_OK);
    T_REQUIRE(side_proven(s));
    left_add(s, side_left);
    T_EQ_I64(side_set(s, "x", ""), CELLAR_OK); /* an acquire needs a known generation */
}

static cellar_err load_one(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    call *c = ctx;
    (void)key, (void)key_len;
    c->loads++;
    if (c->b != NULL) { /* the child */
        atomic_fetch_add(&c->b->led, 1);
        for (;;) { engine_pause_ms(1000); }
    }
    return cellar_load_value(load, "own", 3);
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
    const char key[] = { (char)('0' + c->way) };
    cellar_load_opts o = cellar_load_opts_default();
    cellar_result r = cellar_result_default();
    if (c->way == REFRESH) { o.flags = CELLAR_LOAD_REFRESH; }
    const cellar_err err = cellar_get_or_load(c->s->users, key, 1, &o, load_one, c, &r);
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
    for (int i = 0; i < BULK_KEYS; i++) {
        if (err == CELLAR_OK) { err = item[i].status; }
        cellar_result_free(&r[i]);
    }
    return err;
}

/* Acquire the lease of a key: LEASED, or PENDING after 10 s. */
static cellar_err acquire(const side *s, int way)
{
    const char key[] = { (char)('0' + way) };
    cellar_lease lease;
    cellar_result r = cellar_result_default();
    cellar_err err = CELLAR_PENDING;
    for (int i = 0; i < 2000 && err == CELLAR_PENDING; i++) {
        err = cellar_lease_acquire(s->users, key, 1, NULL, NULL, &lease, &r);
        cellar_result_free(&r);
        if (err == CELLAR_PENDING) { engine_pause_ms(5); }
    }
    return err;
}

/* Lead a key in the child, and stand still. */
static void *lead(void *arg)
{
    call *c = arg;
    if (c->way == LEASED) {
        T_EQ_I64(acquire(c->s, c->way), CELLAR_LEASED);
        atomic_fetch_add(&c->b->led, 1);
        for (;;) { engine_pause_ms(1000); }
    }
    c->err = c->way == BULK ? ask_many(c) : ask_one(c);
    return NULL;
}

static void *wait_for_leader(void *arg)
{
    call *c = arg;
    c->err = c->way == BULK ? ask_many(c) : c->way == ACQUIRED ? acquire(c->s, c->way) : ask_one(c);
    return NULL;
}

static void run_calls(call *c, pthread_t *t, int ways, const side *s, board *b, void *(*fn)(void *))
{
    for (int i = 0; i < ways; i++) {
        c[i] = (call){ .s = s, .b = b, .way = i };
        T_REQUIRE(pthread_create(&t[i], NULL, fn, &c[i]) == 0);
    }
}

/* Let the leader of all keys end by a signal, then ask for the keys. */
static void leader_ends(bool raw, bool waits, int signal_number)
{
    const int ways = raw ? LEASED : WAYS; /* leases of the host share no RAW value */
    call c[WAYS];
    pthread_t t[WAYS];
    side s;
    if (!engine_start(&server, NULL)) { return; }
    board *b = mmap(NULL, sizeof *b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    T_REQUIRE(b != MAP_FAILED);
    b->raw = raw;
    b->waits = waits;
    const pid_t child = fork();
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        open_side(&s, b);
        run_calls(c, t, ways, &s, b, lead);
        for (;;) { engine_pause_ms(1000); }
    }
    open_side(&s, b);
    while (atomic_load(&b->led) < ways) { engine_pause_ms(1); }
    T_EQ_I64(kill(child, signal_number), 0);
    run_calls(c, t, ways, &s, NULL, wait_for_leader);
    for (int i = 0; i < ways; i++) {
        pthread_join(t[i], NULL);
        T_EQ_I64(c[i].err, i == ACQUIRED ? CELLAR_LEASED : CELLAR_OK);
        T_EQ_I64(c[i].loads, i == ACQUIRED ? 0 : i == BULK ? BULK_KEYS : 1);
    }
    T_CHECK(side_stats(&s).leases_waited >= (uint64_t)ways);
    T_EQ_I64(kill(child, SIGKILL), 0);
    T_EQ_I64(waitpid(child, NULL, 0), child);
    side_close(&s);
    munmap(b, sizeof *b);
    engine_stop(&server);
}

T_CASE(killed_leader_is_followed_within_hard_timeout)
{
    leader_ends(false, false, SIGKILL);
}

T_CASE(stopped_leader_is_followed_within_wait_timeout)
{
    leader_ends(true, true, SIGSTOP);
}

/* Delete the beat of the lease, and wait until it comes again; 20 s at most. */
static cellar_err load_between_beats(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    int *beats = ctx;
    (void)key, (void)key_len;
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
    return cellar_load_value(load, "own", 3);
}

/* The beat lives 468 ms: number 6 of those below lease_ms / 2. */
T_CASE(beats_are_sent_while_a_loader_runs)
{
    const board b = { .raw = false };
    static side s;
    int beats = 0;
    cellar_result r = cellar_result_default();
    if (!engine_start(&server, NULL)) { return; }
    open_side(&s, &b);
    T_EQ_I64(cellar_get_or_load(s.users, "k", 1, NULL, load_between_beats, &beats, &r), CELLAR_OK);
    T_EQ_U64(r.flags, 0);
    T_EQ_I64(beats, 3);
    cellar_result_free(&r);
}

T_MAIN("remote_patience")
