/* SPDX-License-Identifier: MIT
 *
 * Aim:    another process loads within lease_ms + 200 ms after the leader of a load was killed,
 *         stopped or cut off; no call fails for it; a leader that wakes publishes nothing; the load
 *         of the waiter has its whole hard_timeout_ms.
 * Method: each leader is a process with a proxy of its own. Its loader stands still until the harm
 *         and longer. One process has a waiter for each leader. Times are those of the monotonic clock in
 *         memory that all share. Envelopes and RAW take turns. T_SCALE=n: n times the rounds. */
#include <signal.h>
#include <sys/mman.h>

#include "tests/support/byte_proxy.h"
#include "tests/support/loader.h"
#include "tests/support/shared_side.h"

enum { KILL, STOP, CUT, FAULTS };
enum { LEADERS = 12 * FAULTS, PROOF_MS = 1000, LEASE_MS = 2000, SLACK_MS = 200, HARD_MS = 5000 };

typedef struct death {
    _Atomic int64_t led_ms, harm_ms, loaded_ms, left_ms;
    _Atomic int result;    /* of the waiter: its code; 1: none yet */
    _Atomic uint32_t ended; /* flags of the result of the leader; 0: it has none */
    _Atomic bool wakes, has_other;
} death;

typedef struct board {
    death death[LEADERS];
    _Atomic bool ready;
    bool raw;
} board;

typedef struct waiter {
    const side *s;
    board *b;
    int number;
} waiter;

static engine server;

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void open_side(side *s, const char *socket, const board *b)
{
    cellar_remote_namespace_config o = cellar_remote_namespace_config_default();
    cellar_remote_config ro = { .struct_size = sizeof ro, .io_ms = 1000, .proof_ms = PROOF_MS,
                                .lease_ms = LEASE_MS };
    if (b->raw) { o.values = CELLAR_REMOTE_RAW; }
    side_open(s, socket, &ro, &o);
}

static size_t key_of(int number, char to[8]) { return (size_t)snprintf(to, 8, "k%d", number); }

/* ---- the leader ---- */

typedef struct leader {
    death *d;
    int number;
    const side *s;
    byte_proxy p;
} leader;

static void freeze(byte_proxy *p, bool on)
{
    for (int k = 0; k < 2; k++) {
        atomic_store(&p->fresh.way[k].frozen, on);
        for (int i = 0; i < BYTE_PROXY_LINES; i++) { atomic_store(&p->line[i].way[k].frozen, on); }
    }
}

static cellar_err lead_until_harm(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    leader *l = ctx;
    (void)key, (void)key_len;
    atomic_store(&l->d->led_ms, now_ms());
    if (l->number % FAULTS == CUT) {
        while (atomic_load(&l->d->harm_ms) == 0) { engine_pause_ms(1); }
        freeze(&l->p, true);
    }
    while (!atomic_load(&l->d->wakes)) { engine_pause_ms(1); }
    freeze(&l->p, false);
    /* A process that was stopped sees its old proof first, and may lose the link then. */
    cellar_err err = CELLAR_E_TIMEOUT;
    for (int i = 0; i < 5000 && err != CELLAR_OK; i++) {
        err = cellar_remote_fence(l->s->r, 10000);
        if (err != CELLAR_OK) { engine_pause_ms(2); }
    }
    T_EQ_I64(err, CELLAR_OK);
    return cellar_load_value(load, "leader", 6);
}

static void run_leader(board *b, int number)
{
    side s;
    char dir[T_FOLDER_MAX], key[8], got[16];
    static leader l;
    cellar_result r = cellar_result_default();
    t_folder(dir);
    byte_proxy_open(&l.p, dir, server.socket);
    l.d = &b->death[number];
    l.number = number;
    l.s = &s;
    open_side(&s, l.p.path, b);
    cellar_load_opts o = { .struct_size = sizeof o, .hard_timeout_ms = 60000 };
    T_EQ_I64(cellar_get_or_load(s.users, key, key_of(number, key), &o, lead_until_harm, &l, &r),
             CELLAR_OK);
    T_EQ_MEM(r.value, "leader", 6);
    atomic_store(&l.d->ended, r.flags);
    cellar_result_free(&r);
    side_fence(&s);
    const cellar_err err = cellar_get_str(s.users, key, got, sizeof got);
    atomic_store(&l.d->has_other, err == CELLAR_OK && strcmp(got, "waiter") == 0);
    side_close(&s);
    byte_proxy_close(&l.p);
    t_wipe(dir);
}

/* ---- the waiters ---- */

static cellar_err load_next(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    death *d = ctx;
    (void)key, (void)key_len;
    atomic_store(&d->loaded_ms, now_ms());
    atomic_store(&d->left_ms, loader_info(load).time_left_ms);
    return cellar_load_value(load, "waiter", 6);
}

static void *wait_for_leader(void *arg)
{
    const waiter *w = arg;
    death *d = &w->b->death[w->number];
    char key[8];
    cellar_result r = cellar_result_default();
    while (atomic_load(&d->led_ms) == 0) { engine_pause_ms(1); }
    cellar_load_opts o = { .struct_size = sizeof o, .hard_timeout_ms = HARD_MS,
                           .wait_timeout_ms = 60000 };
    const cellar_err err = cellar_get_or_load(w->s->users, key, key_of(w->number, key), &o,
                                              load_next, d, &r);
    const bool right = err == CELLAR_OK && r.value_len == 6 && memcmp(r.value, "waiter", 6) == 0;
    cellar_result_free(&r);
    atomic_store(&d->result, err == CELLAR_OK && !right ? CELLAR_E_CORRUPT : err);
    return NULL;
}

static void run_waiters(board *b)
{
    side s;
    pthread_t thread[LEADERS];
    static waiter w[LEADERS];
    open_side(&s, server.socket, b);
    atomic_store(&b->ready, true);
    for (int i = 0; i < LEADERS; i++) {
        w[i] = (waiter){ &s, b, i };
        T_REQUIRE(pthread_create(&thread[i], NULL, wait_for_leader, &w[i]) == 0);
    }
    for (int i = 0; i < LEADERS; i++) { pthread_join(thread[i], NULL); }
    side_close(&s);
}

/* ---- a round ---- */

static pid_t start(board *b, int number)
{
    const pid_t child = fork();
    if (child != 0) { return child; }
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (number < 0) { run_waiters(b); } else { run_leader(b, number); }
    _exit(t_failed());
}

/* Harm all leaders, one after the other, within the time between two beats. */
static void harm_all(board *b, const pid_t *leaders)
{
    for (int i = 0; i < LEADERS; i++) {
        engine_pause_ms(PROOF_MS / 4 / LEADERS + 1);
        atomic_store(&b->death[i].harm_ms, now_ms());
        if (i % FAULTS == KILL) { T_EQ_I64(kill(leaders[i], SIGKILL), 0); }
        if (i % FAULTS == STOP) { T_EQ_I64(kill(leaders[i], SIGSTOP), 0); }
    }
}

/* Return whether the next loader began in time, with its whole time. */
static bool check(const death *d, int fault)
{
    const int64_t late_ms = atomic_load(&d->loaded_ms) - atomic_load(&d->harm_ms);
    T_EQ_I64(atomic_load(&d->result), CELLAR_OK);
    T_CHECK(atomic_load(&d->loaded_ms) >= atomic_load(&d->harm_ms));
    if (fault != KILL) {
        T_CHECK((atomic_load(&d->ended) & CELLAR_RESULT_INVALIDATED) != 0);
        T_CHECK(atomic_load(&d->has_other));
    }
    return late_ms <= LEASE_MS + SLACK_MS * (int64_t)t_patience() &&
           atomic_load(&d->left_ms) > HARD_MS - SLACK_MS * (int64_t)t_patience();
}

static int64_t worst_ms[FAULTS];

/* Return whether all loaders began in time. */
static bool run_round(bool raw)
{
    bool in_time = true;
    pid_t leaders[LEADERS];
    board *b = mmap(NULL, sizeof *b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    T_REQUIRE(b != MAP_FAILED);
    if (!engine_start(&server, NULL)) { return true; }
    b->raw = raw;
    for (int i = 0; i < LEADERS; i++) { atomic_store(&b->death[i].result, 1); }
    const pid_t waiters = start(b, -1);
    while (!atomic_load(&b->ready)) { engine_pause_ms(1); }
    for (int i = 0; i < LEADERS; i++) { leaders[i] = start(b, i); }
    for (int i = 0; i < LEADERS; i++) {
        while (atomic_load(&b->death[i].led_ms) == 0) { engine_pause_ms(1); }
    }
    harm_all(b, leaders);
    int status = 0;
    T_EQ_I64(waitpid(waiters, &status, 0), waiters);
    T_EQ_I64(status, 0);
    for (int i = 0; i < LEADERS; i++) {
        atomic_store(&b->death[i].wakes, true);
        if (i % FAULTS == STOP) { T_EQ_I64(kill(leaders[i], SIGCONT), 0); }
        T_EQ_I64(waitpid(leaders[i], &status, 0), leaders[i]);
        T_EQ_I64(status, i % FAULTS == KILL ? SIGKILL : 0);
    }
    for (int i = 0; i < LEADERS; i++) {
        const int64_t late_ms = b->death[i].loaded_ms - b->death[i].harm_ms;
        in_time = check(&b->death[i], i % FAULTS) && in_time;
        if (late_ms > worst_ms[i % FAULTS]) { worst_ms[i % FAULTS] = late_ms; }
    }
    engine_stop(&server);
    munmap(b, sizeof *b);
    return in_time;
}

/* A busy machine holds up a process now and then: a late round is repeated. A lease that lives too
 * long is late in each. */
T_CASE(another_process_loads_when_the_leader_dies)
{
    const uint64_t rounds = t_share(4) * t_env_u64("T_SCALE", 1);
    for (uint64_t i = 0, late = 0; i < rounds && !t_failed();) {
        if (run_round(i % 2 != 0)) { i++; } else { T_CHECK(++late < 20 + rounds / 10); }
    }
    printf("# longest ms from the death to the next loader: kill %lld, stop %lld, cut %lld\n",
           (long long)worst_ms[KILL], (long long)worst_ms[STOP], (long long)worst_ms[CUT]);
}

T_MAIN("remote_deaths")
