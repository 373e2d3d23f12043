/* SPDX-License-Identifier: MIT
 *
 * Aim:    no window over the admissions of several processes exceeds the promised bound of a shared
 *         limiter, also when processes are frozen with units in hand, killed, or the server restarts.
 * Method: child processes check one key and record the reading that each admission used. The parent
 *         freezes and kills them. A checker then looks at every window. T_WINDOWS_MS=60000 makes
 *         each case longer. */
#include "tests/support/share_kit.h"

enum { PROCESSES = 3, RATE = 5000, BURST = 500, HOLD_MS = 20, RECORDS = 1 << 20 };

typedef struct board {
    atomic_int stop, halt; /* halt: a child freezes itself after each admission */
    atomic_int open;       /* children that have opened the limiter */
    int64_t rate;
    atomic_uint_least64_t count;
    int64_t at_ms[RECORDS]; /* of each admission */
} board;

static int64_t case_ms(void) { return (int64_t)t_env_u64("T_WINDOWS_MS", 1200); }

/* Check until the parent says stop. hold_ms above HOLD_MS is the mutant: units without an end. */
static void check_all_the_time(board *b, int64_t hold_ms, uint32_t batch)
{
    share own;
    const cellar_rule rule = cellar_rule_token_bucket((uint64_t)b->rate, CELLAR_SECOND_NS, BURST);
    cellar_remote_limiter *l;
    cellar_remote_limiter_config o = { .struct_size = sizeof o, .hold_ms = hold_ms, .batch = batch,
                                       .offline = CELLAR_REMOTE_LIMITER_DENY };
    share_open(&own, &server);
    T_REQUIRE(cellar_remote_limiter_open(&own.r, &rule, &o, &l) == CELLAR_OK);
    atomic_fetch_add(&b->open, 1);
    while (!atomic_load(&b->stop)) {
        cellar_limiter_result x;
        if (cellar_remote_limiter_check(l, "hot", 3, 1, &x) == CELLAR_OK) {
            const uint64_t i = atomic_fetch_add(&b->count, 1);
            if (i < RECORDS) { b->at_ms[i] = (int64_t)(x.now_ns / 1000000); }
            if (atomic_load(&b->halt)) { raise(SIGSTOP); }
        } else {
            engine_pause_ms(1);
        }
    }
    cellar_remote_limiter_close(l);
    share_close(&own);
}

static pid_t start(board *b, int64_t hold_ms, uint32_t batch)
{
    const pid_t child = fork();
    if (child != 0) { return child; }
    check_all_the_time(b, hold_ms, batch);
    _exit(t_failed());
}

/* Start the server and all children. Return when each has opened its limiter. */
static board *start_all(pid_t *child)
{
    T_REQUIRE(engine_start(&server, NULL));
    board *b = engine_pages(sizeof *b);
    b->rate = RATE;
    for (int i = 0; i < PROCESSES; i++) { child[i] = start(b, HOLD_MS, 0); }
    while (atomic_load(&b->open) < PROCESSES) { engine_pause_ms(1); }
    return b;
}

static void join(pid_t child)
{
    T_EQ_I64(engine_child(child), 0);
}

static int by_time(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Return by how many units the worst window exceeds rate x (W + hold + 1 ms) + burst: readings are
 * whole milliseconds. Negative: the room that is left. */
static int64_t worst_excess(board *b, int64_t burst)
{
    const uint64_t n = atomic_load(&b->count);
    int64_t least = INT64_MAX, worst = INT64_MIN;
    T_REQUIRE(n > 0 && n <= RECORDS);
    qsort(b->at_ms, n, sizeof b->at_ms[0], by_time);
    for (uint64_t i = 0; i < n; i++) {
        const int64_t level = (int64_t)i - b->rate * (b->at_ms[i] - b->at_ms[0]) / 1000;
        if (level < least) { least = level; }
        const int64_t excess = level - least + 1 - burst - b->rate * (HOLD_MS + 1) / 1000;
        if (excess > worst) { worst = excess; }
    }
    return worst;
}

/* Freeze children in turn, for longer than units live, and let all go on together. */
static void freeze_for(const pid_t *child, int64_t ms)
{
    const int64_t end = remote_share_now() + ms;
    for (int round = 0; remote_share_now() < end; round++) {
        const int both = round % 3 == 2;
        kill(child[round % PROCESSES], SIGSTOP);
        if (both) { kill(child[(round + 1) % PROCESSES], SIGSTOP); }
        engine_pause_ms(30 + 17 * (round % 5));
        for (int i = 0; i < PROCESSES; i++) { kill(child[i], SIGCONT); }
        engine_pause_ms(20);
    }
}

static void stop_all(board *b, const pid_t *child)
{
    atomic_store(&b->stop, 1);
    for (int i = 0; i < PROCESSES; i++) { join(child[i]); }
}

T_CASE(frozen_and_killed_processes_keep_the_bound)
{
    pid_t child[PROCESSES];
    board *b = start_all(child);
    freeze_for(child, case_ms());
    kill(child[0], SIGKILL);
    waitpid(child[0], NULL, 0);
    child[0] = start(b, HOLD_MS, 0);
    freeze_for(child, case_ms() / 2);
    stop_all(b, child);
    T_CHECK(worst_excess(b, BURST) <= 0);
    munmap(b, sizeof *b);
}

/* The server forgets its words: one burst more, and no units while it is away (DENY). */
T_CASE(restarted_server_admits_one_burst_more)
{
    pid_t child[PROCESSES];
    board *b = start_all(child);
    freeze_for(child, case_ms() / 3);
    engine_kill(&server);
    engine_restart(&server);
    const uint64_t before = atomic_load(&b->count);
    freeze_for(child, case_ms() / 3);
    while (atomic_load(&b->count) == before) { engine_pause_ms(1); }
    stop_all(b, child);
    T_CHECK(worst_excess(b, 2 * BURST) <= 0);
    munmap(b, sizeof *b);
}

/* Return the excess of the mutant: units that do not expire are kept by frozen processes, while the
 * bucket fills again, and are spent together. */
static int64_t excess_without_an_end(void)
{
    board *b = engine_pages(sizeof *b);
    pid_t child[PROCESSES];
    b->rate = RATE / 2; /* children that begin at different times still exceed the bound */
    atomic_store(&b->halt, 1);
    for (int i = 0; i < PROCESSES; i++) {
        int status = 0;
        child[i] = start(b, 60000, BURST);
        T_EQ_I64(waitpid(child[i], &status, WUNTRACED), child[i]);
        T_REQUIRE(WIFSTOPPED(status)); /* with all but one unit of a burst in hand */
        engine_pause_ms(2 * 1000 * BURST / RATE + 5);
    }
    atomic_store(&b->halt, 0);
    const uint64_t from = atomic_load(&b->count);
    for (int i = 0; i < PROCESSES; i++) { kill(child[i], SIGCONT); }
    while (atomic_load(&b->count) < from + 2 * BURST) { sched_yield(); }
    stop_all(b, child);
    const int64_t excess = worst_excess(b, BURST);
    munmap(b, sizeof *b);
    return excess;
}

T_CASE(units_without_an_end_are_found)
{
    int64_t excess = 0;
    T_REQUIRE(engine_start(&server, NULL));
    for (int i = 0; i < 20 && excess <= 0; i++) { excess = excess_without_an_end(); }
    T_CHECK(excess > 0);
}

T_MAIN("remote_windows")
