/* SPDX-License-Identifier: MIT
 *
 * coherence_run: processes that read and write the same keys, and a check that no memory keeps an
 * old value.
 *
 * PICTURE    parent: server, cuts of connections | child 0..N-1: a side each
 *            round: gets and sets -> all stop -> fence -> each key: memory against the server -> ..
 * INVARIANTS During a check no process writes. A fence ends each round: a pause proves nothing.
 *            Writes that wait in a queue or a journal are sent before it.
 *            A difference counts if it stays after three more fences: then it stays until the TTL.
 * PACED      Between two cuts there are RUN_APART operations with a proven link, and a thread makes
 *            RUN_ALONE without one: else a slow machine would store nothing that a check can find.
 * PAUSES     This header compiles attach.c of the remote tier with a pause of up to 120 us between
 *            a reply and its way into memory, in 1 of 8 gets and sets. */
#ifndef CELLAR_TESTS_COHERENCE_RUN_H
#define CELLAR_TESTS_COHERENCE_RUN_H

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "remote/get.h"
#include "tests/support/shared_side.h"

static __thread uint64_t run_state;

static uint32_t run_random(uint32_t n)
{
    run_state = run_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(run_state >> 33) % n;
}

static void run_pause(void)
{
    if (run_random(8) != 0) { return; }
    const struct timespec t = { 0, (long)run_random(120000) };
    (void)nanosleep(&t, NULL);
}

static cellar_err run_get(void *ctx, const cellar_tier_key *k, void *buf, size_t buf_cap,
                          size_t *value_len, cellar_tier_entry *e)
{
    const cellar_err err = remote_get(ctx, k, buf, buf_cap, value_len, e);
    run_pause();
    return err;
}

/* What a mutant does behind an own set. */
#ifndef RUN_AFTER_SET
#define RUN_AFTER_SET(k, value, len) ((void)0)
#define RUN_SIDE(s) ((void)(s))
#endif

static cellar_err run_put(void *ctx, const cellar_tier_key *k, const void *value,
                          size_t value_len, cellar_tier_entry *e)
{
    const cellar_err err = remote_put(ctx, k, value, value_len, e);
    run_pause();
    if (err == CELLAR_OK) { RUN_AFTER_SET(k, value, value_len); }
    return err;
}

#define remote_get run_get
#define remote_put run_put
#include "src/guests/remote/attach.c"
#undef remote_get
#undef remote_put

enum { RUN_PROCESSES = 3, RUN_THREADS = 2, RUN_KEYS = 32, RUN_VALUE = 16,
       RUN_CUTS = 400, RUN_APART = 50, RUN_ALONE = 10 };

typedef struct run run;

/* What a run does. */
typedef struct run_kind {
    cellar_remote_namespace_config opts;
    void (*operation)(run *r, const side *s, uint32_t me, uint32_t *count);
    void (*check)(run *r, const side *s);
    bool paced;
} run_kind;

struct run {
    const run_kind *kind;
    uint32_t rounds, operations; /* operations of each thread in each round */
    bool cuts;                   /* every 10 ms; the rounds go on until there are RUN_CUTS */
    engine *server;
    pthread_barrier_t barrier;
    _Atomic bool checking, ends;
    _Atomic uint64_t done, stale, checked, refused, gaps, cut;
    _Atomic uint64_t proven; /* operations with a proven link; not paced: all */
};

static void run_key(uint32_t i, char key[16]) { (void)snprintf(key, 16, "key:%u", i); }

typedef struct run_thread {
    run *r;
    const side *s;
    uint32_t me, count; /* number of the thread over all processes; sets so far */
    uint32_t alone;     /* operations since the link was proven */
    uint64_t random;
    pthread_t id;
} run_thread;

static void run_operation(run *r, const side *s, uint32_t me, uint32_t *count)
{
    char key[16], value[RUN_VALUE + 1];
    run_key(run_random(RUN_KEYS), key);
    if (run_random(5) == 0) {
        (void)snprintf(value, sizeof value, "%04u%012u", me, ++*count);
        const cellar_err err = cellar_set(s->users, key, strlen(key), value, RUN_VALUE, NULL);
        if (err != CELLAR_OK) { atomic_fetch_add(&r->refused, 1); }
    } else {
        size_t len;
        (void)cellar_get(s->users, key, strlen(key), value, sizeof value, &len);
    }
}

/* Note one operation. Paced: wait for a link that was away during RUN_ALONE of them. */
static void run_note(run_thread *t)
{
    const bool proven = !t->r->kind->paced ||
                        cellar_remote_state_get(t->s->r) == CELLAR_REMOTE_PROVEN;
    atomic_fetch_add(&t->r->done, 1);
    atomic_fetch_add(&t->r->proven, proven);
    t->alone = proven ? 0 : t->alone + 1;
    if (t->alone >= RUN_ALONE) { (void)side_proven(t->s); }
}

static void *run_operations(void *ctx)
{
    run_thread *t = ctx;
    run_state = t->random;
    for (uint32_t n = 0; n < t->r->operations; n++) {
        t->r->kind->operation(t->r, t->s, t->me, &t->count);
        run_note(t);
    }
    t->random = run_state;
    return NULL;
}

/* Return whether memory and server agree on a key, or memory has nothing of it. */
static bool run_agrees(run *r, const side *s, const char *key)
{
    char value[RUN_VALUE];
    size_t len = 0;
    if (cellar_get(s->users, key, strlen(key), value, sizeof value, &len) != CELLAR_OK) {
        return true;
    }
    atomic_fetch_add(&r->checked, 1);
    const redisReply *reply = engine_ask(r->server, "GET app:users:%s", key);
    return reply != NULL && reply->type == REDIS_REPLY_STRING && reply->len >= RUN_VALUE &&
           memcmp(reply->str + reply->len - RUN_VALUE, value, RUN_VALUE) == 0;
}

static void run_check(run *r, const side *s)
{
    for (uint32_t i = 0; i < RUN_KEYS; i++) {
        char key[16];
        run_key(i, key);
        bool agrees = run_agrees(r, s, key);
        for (int again = 0; !agrees && again < 3; again++) {
            (void)side_proven(s);
            (void)cellar_remote_fence(s->r, 10000);
            agrees = run_agrees(r, s, key);
        }
        if (!agrees) { atomic_fetch_add(&r->stale, 1); }
    }
}

/* Wait until the link stands and no write waits, then until all changes were heard. */
static void run_settle(const side *s)
{
    (void)side_proven(s);
    for (int i = 0; i < 5000; i++) {
        const cellar_remote_stats figures = side_stats(s);
        if (figures.queue_entries + figures.journal_keys == 0) { break; }
        engine_pause_ms(2);
    }
    (void)cellar_remote_fence(s->r, 10000);
}

/* Note whether round number `i` was the last one. */
static void run_count(run *r, uint32_t i)
{
    const uint64_t cut = atomic_load(&r->cut);
    atomic_store(&r->ends, i >= r->rounds && (!r->cuts || cut >= RUN_CUTS));
}

static void run_child(run *r, uint32_t me)
{
    side s;
    run_thread t[RUN_THREADS];
    const struct sigaction ignored = { .sa_handler = SIG_IGN }; /* hiredis writes with write(2) */
    (void)sigaction(SIGPIPE, &ignored, NULL);
    t_.seed += me; /* processes draw different tokens */
    r->server->c = NULL; /* a connection of this process */
    side_open(&s, r->server->socket, NULL, &r->kind->opts);
    RUN_SIDE(&s);
    for (uint32_t n = 0; n < RUN_THREADS; n++) {
        const uint32_t number = me * RUN_THREADS + n;
        t[n] = (run_thread){ .r = r, .s = &s, .me = number, .random = t_seed() + number };
    }
    pthread_barrier_wait(&r->barrier);
    atomic_store(&r->checking, false);
    for (uint32_t i = 1; !atomic_load(&r->ends); i++) {
        for (uint32_t n = 0; n < RUN_THREADS; n++) {
            T_REQUIRE(pthread_create(&t[n].id, NULL, run_operations, &t[n]) == 0);
        }
        for (uint32_t n = 0; n < RUN_THREADS; n++) { pthread_join(t[n].id, NULL); }
        pthread_barrier_wait(&r->barrier);
        atomic_store(&r->checking, true);
        run_settle(&s);
        pthread_barrier_wait(&r->barrier);
        r->kind->check(r, &s);
        if (me == 0) { run_count(r, i); }
        pthread_barrier_wait(&r->barrier);
        atomic_store(&r->checking, false);
    }
    atomic_fetch_add(&r->gaps, side_stats(&s).gaps);
    side_close(&s);
}

/* Cut connections: of all processes, of one kind and of the other in turn. Return how many. */
#ifndef RUN_CUT
#define RUN_CUT(server, n) engine_cut(server, (n) % 2 == 0 ? "normal" : "pubsub")
#endif

/* Cut connections of the children every 10 ms until they end. */
static void run_cut(run *r, const pid_t *child)
{
    uint64_t seen = 0; /* r->proven at the last cut */
    for (uint32_t n = 0;;) {
        siginfo_t info = { .si_pid = 0 };
        const int err = waitid(P_PID, (id_t)child[0], &info, WEXITED | WNOHANG | WNOWAIT);
        if (err != 0 || info.si_pid != 0) { return; }
        const uint64_t proven = atomic_load(&r->proven);
        if (!atomic_load(&r->checking) && proven - seen >= RUN_APART) {
            const long long cut = RUN_CUT(r->server, n++);
            seen = proven;
            if (cut > 0) { atomic_fetch_add(&r->cut, (uint64_t)cut); }
        }
        engine_pause_ms(10);
    }
}

/* Run all processes. Return the shared figures; NULL: no server. */
static run *run_all_of(engine *server, const run_kind *kind, uint32_t rounds, uint32_t operations,
                       bool cuts)
{
    pthread_barrierattr_t attr;
    pid_t child[RUN_PROCESSES];
    if (!engine_start(server, NULL)) { return NULL; }
    run *r = mmap(NULL, sizeof *r, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    T_REQUIRE(r != MAP_FAILED);
    r->kind = kind;
    r->rounds = rounds;
    r->operations = operations;
    r->cuts = cuts;
    r->server = server;
    r->checking = true; /* no cut before all processes are open */
    pthread_barrierattr_init(&attr);
    pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(&r->barrier, &attr, RUN_PROCESSES);
    engine_hang_up(server);
    for (uint32_t i = 0; i < RUN_PROCESSES; i++) {
        (void)fflush(stdout);
        child[i] = fork();
        if (child[i] == 0) {
            run_child(r, i);
            (void)fflush(stdout);
            _exit(t_failed() ? 1 : 0);
        }
    }
    if (cuts) { run_cut(r, child); }
    for (uint32_t i = 0; i < RUN_PROCESSES; i++) {
        int status = -1;
        T_EQ_I64(waitpid(child[i], &status, 0), child[i]);
        T_EQ_I64(status, 0);
    }
    engine_stop(server);
    printf("# operations %llu, checked %llu, stale %llu, not stored %llu, gaps %llu, cuts %llu\n",
           (unsigned long long)r->done, (unsigned long long)r->checked,
           (unsigned long long)r->stale, (unsigned long long)r->refused,
           (unsigned long long)r->gaps, (unsigned long long)r->cut);
    return r;
}

/* Run with gets and sets, and default options. */
T_INLINE run *run_all(engine *server, uint32_t rounds, uint32_t operations, bool cuts)
{
    static run_kind plain;
    plain = (run_kind){ cellar_remote_namespace_config_default(), run_operation, run_check, false };
    return run_all_of(server, &plain, rounds, operations, cuts);
}

/* Run with a mistake in the tier until an old value stays: threads meet in it by chance. Return
 * whether that came in a few runs. */
T_INLINE bool run_until_stale(engine *server, uint32_t rounds, uint32_t operations, bool cuts)
{
    for (unsigned runs = 0; runs < 10; runs++) {
        const run *r = run_all(server, rounds, operations, cuts);
        T_REQUIRE(r != NULL);
        if (r->stale > 0) { return true; }
    }
    return false;
}

#endif
