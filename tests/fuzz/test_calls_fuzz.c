/* SPDX-License-Identifier: MIT
 *
 * Aim:    Any sequence of public calls with any options, also from callbacks and with failing
 *         allocations and disks, gives no wrong, old or torn value, keeps all structures whole and
 *         all bytes accounted for, and refuses what is invalid in words.
 * Method: calls.h: random worlds in four cells, memory and disk with 1 and 4 threads: one world of
 *         each cell, or worlds for CALLS_SECONDS (slow_calls_fuzz.sh). From 120 s on each public
 *         call must have been made. WORLD=n runs one world, STEPS=n ends a life early, STRIPES=n
 *         sets the lanes of all stores. */
#include "tests/fuzz/calls.h"

#include "tests/fuzz/calls_entry.c"
#include "tests/fuzz/calls_load.c"
#include "tests/fuzz/calls_store.c"
#include "tests/fuzz/calls_guard.c"
#include "tests/fuzz/calls_batch.c"
#include "tests/fuzz/calls_work.c"
#include "tests/fuzz/calls_kit.c"

static const calls_row calls_rows[] = {
    { "read", row_read, 60, 0 },
    { "read_due", row_read_due, 40, 0 },
    { "get_many", row_get_many, 8, 0 },
    { "scan", row_scan, 2, 0 },
    { "set", row_set, 50, 0 },
    { "fill", row_fill, 10, 0 },
    { "set_negative", row_set_negative, 4, 0 },
    { "set_many", row_set_many, 6, 0 },
    { "delete", row_delete, 12, 0 },
    { "delete_many", row_delete_many, 3, 0 },
    { "update", row_update, 15, 0 },
    { "touch", row_touch, 6, 0 },
    { "increment", row_increment, 15, 0 },
    { "write_through", row_write_through, 4, 0 },
    { "text", row_text, 4, 0 },
    { "delete_by_tag", row_delete_by_tag, 3, 0 },
    { "delete_by_pattern", row_delete_by_pattern, 2, 0 },
    { "clear", row_clear, 2, 0 },
    { "listen", row_listen, 2, 0 },
    { "explain", row_explain, 5, 0 },
    { "load", row_load, 40, 0 },
    { "load_many", row_load_many, 6, 0 },
    { "lease_acquire", row_lease_acquire, 10, 0 },
    { "lease_settle", row_lease_settle, 10, 0 },
    { "warm", row_warm, 2, 0 },
    { "memoize", row_memoize, 4, 0 },
    { "llm", row_llm, 4, 0 },
    { "embeddings", row_embeddings, 4, 0 },
    { "damaged", row_damaged, 5, 0 },
    { "thing", row_thing, 5, 0 },
    { "namespace", row_namespace, 4, 0 },
    { "option", row_option, 5, 0 },
    { "charge", row_charge, 2, 0 },
    { "tick", row_tick, 20, 0 },
    { "sync", row_sync, 2, 0 },
    { "check", row_check, 5, CALLS_TOP },
    { "bulk", row_bulk, 1, CALLS_TOP },
    { "policy", row_policy, 2, 0 },
    { "figures", row_figures, 8, 0 },
    { "tier", row_tier, 2, 0 },
    { "port", row_port, 8, CALLS_TOP },
    { "fork", row_fork, 1, CALLS_TOP | CALLS_ALONE },
    { "bloom", row_bloom, 6, 0 },
    { "breaker", row_breaker, 4, 0 },
    { "limiter", row_limiter, 15, 0 },
    { "permits", row_permits, 5, 0 },
    { "lock", row_lock, 10, 0 },
    { "batch", row_batch, 10, 0 },
    { "task", row_task, 20, 0 },
    { "bus", row_bus, 15, 0 },
    { "schedule", row_schedule, 10, 0 },
    { "refresh", row_refresh, 8, 0 },
    { "key", row_key, 3, 0 },
    { "template", row_template, 2, 0 },
    { "numbers", row_numbers, 4, 0 },
    { "status", row_status, 5, 0 },
    { "settings", row_settings, 2, 0 },
};

static const calls_row *draw_row(void)
{
    static _Atomic unsigned sum;
    if (atomic_load(&sum) == 0) {
        unsigned n = 0;
        for (size_t i = 0; i < sizeof calls_rows / sizeof *calls_rows; i++) {
            n += calls_rows[i].weight;
        }
        atomic_store(&sum, n);
    }
    unsigned at = draw(atomic_load(&sum));
    const calls_row *r = calls_rows;
    while (at >= r->weight) { at -= r++->weight; }
    return r;
}

static void calls_nest(void)
{
    const calls_row *r = draw_row();
    if (r->flags == 0) { r->run(); }
}

/* One step: perhaps an allocation or a call of the disk fails in it. */
static void step(void)
{
    const calls_row *r = draw_row();
    atomic_fetch_add(&calls.step, 1);
    if ((r->flags & CALLS_ALONE) != 0 && !calls_exact()) { return; }
    const bool no_memory = chance(3);
    const bool no_disk = calls.disk && !world.strict && calls_me->number == 0 && chance(4); /* one thread arms it */
    if (no_memory) { atomic_store(&calls.fail_alloc, 1 + draw(6)); }
    if (no_disk) {
        atomic_store(&world.failed, true);
        (void)base_fault_io_arm(NULL, (int)ONE_OF(EIO, ENOSPC), 1 + draw(4), false);
    }
    TRACE("row %s%s", r->name, no_memory ? ", an allocation fails" : "");
    r->run();
    if (no_memory) { atomic_store(&calls.fail_alloc, 0); }
    if (no_disk) { (void)base_fault_io_arm(NULL, 0, 0, false); }
}

/* ---- Worlds ---------------------------------------------------------------------------------- */

static calls_actor calls_actors[CALLS_THREADS];
static _Atomic bool calls_stop;

static void *act(void *arg)
{
    calls_me = arg;
    kit_forget(); /* an earlier life */
    const uint64_t steps =
        t_env_u64("STEPS", calls.disk ? 150 + draw(600) : 300 + draw(1200));
    for (uint64_t i = 0; i < steps; i++) { step(); }
    leases_end();
    locks_end();
    return NULL;
}

/* Let the virtual clock run, so that all waits end. */
static void *run_clock(void *arg)
{
    (void)arg;
    while (!atomic_load(&calls_stop)) {
        atomic_fetch_add(&calls.now_ms, 20);
        (void)usleep(1000);
    }
    return NULL;
}

static void objects_open(void)
{
    atomic_store(&calls.closing, false);
    kit_open();
    breaker_open();
    limiters_open();
    locks_open();
    batchers_open();
    pool_open();
    bus_open();
    refresh_open();
    port_open();
}
/* A close must not overlap other calls on the object: a listener of the store runs in its threads,
 * which go on. */
static void objects_close(void)
{
    atomic_store(&calls.closing, true);
    while (atomic_load(&calls.drawing) != 0) { (void)usleep(1000); }
    port_close();
    pool_close();
    refresh_close();
    batchers_close();
    locks_close();
    limiters_close();
    breaker_close();
    kit_close();
    leases_end();
    MUST(atomic_load(&calls_contexts) == 0);
}

static void write_file(const char *name, const char *text)
{
    char path[T_FOLDER_MAX + 16];
    snprintf(path, sizeof path, "%s/%s", calls_folder, name);
    FILE *f = fopen(path, "w");
    MUST(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void one_life(void)
{
    pthread_t thread[CALLS_THREADS], clock;
    if (!store_open()) { return; }
    objects_open();
    if (calls_exact()) {
        (void)act(&calls_actors[0]);
    } else {
        atomic_store(&calls_stop, false);
        MUST(pthread_create(&clock, NULL, run_clock, NULL) == 0);
        for (unsigned i = 0; i < calls.threads; i++) {
            MUST(pthread_create(&thread[i], NULL, act, &calls_actors[i]) == 0);
        }
        for (unsigned i = 0; i < calls.threads; i++) { MUST(pthread_join(thread[i], NULL) == 0); }
    }
    if (calls.dies) { (void)kill(getpid(), SIGKILL); }
    objects_close();
    store_close();
    if (!calls_exact()) {
        atomic_store(&calls_stop, true);
        MUST(pthread_join(clock, NULL) == 0);
    }
    if (atomic_load(&calls_things) != 0) {
        calls_fault("%" PRId64 " objects were not freed", atomic_load(&calls_things));
    }
    if (atomic_load(&calls.bytes) != 0) {
        calls_fault("%" PRId64 " bytes of the host not given back", atomic_load(&calls.bytes));
    }
}

/* Live in a child that dies. The model is in shared memory. `idle`: it opens the store alone. */
static void one_life_dies(bool idle)
{
    const int64_t bytes = atomic_load(&calls.bytes);
    int status = 0;
    calls.dies = true;
    world.idle = idle;
    atomic_store(&calls.moments, chance(20) ? 1 + draw(50) : 1 + draw(20000));
    alarm(0);
    fflush(NULL);
    const pid_t pid = fork();
    MUST(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(60 * t_patience());
        one_life();
        _exit(0); /* the open was refused */
    }
    MUST(waitpid(pid, &status, 0) == pid);
    if (WIFEXITED(status) ? WEXITSTATUS(status) != 0 : WTERMSIG(status) != SIGKILL) { abort(); }
    alarm(60 * t_patience());
    calls.dies = false;
    atomic_store(&calls.bytes, bytes);
    atomic_store(&calls.fail_alloc, 0);
    atomic_store(&calls.drawing, 0);
    calls_me->state += 1; /* the child has drawn from here on */
    if (WIFSIGNALED(status)) { store_died(); }
    world.idle = false;
}

static void *one_world(void *arg)
{
    const uint64_t number = calls.world;
    (void)arg;
    calls.seed = calls_mix(t_.seed * 4 + calls.disk * 2u + calls_exact()) ^ calls_mix(number + 1);
    atomic_store(&t_.drawn[0], 0);
    atomic_store(&t_.drawn[1], 0);
    atomic_store(&calls.step, 0);
    atomic_store(&calls.now_ms, 5000000);
    memset(&world, 0, sizeof world);
    world.strict = calls_mix(calls.seed) % 4 != 0;
    world.roomy = world.strict && calls_mix(calls.seed) % 8 < 4;
    for (unsigned i = 0; i < CALLS_THREADS; i++) {
        calls_actors[i].state = calls_mix(calls.seed + i);
        calls_actors[i].number = i;
        calls_actors[i].depth = 0;
    }
    calls_me = &calls_actors[0];
    t_folder(calls_folder);
    snprintf(calls_directory, sizeof calls_directory, "%s/store", calls_folder);
    write_file("policy", calls_policy);
    write_file("settings", "memory = 16M\nnegative_ttl = 5s\n");
    for (unsigned lives = calls.disk ? 1 + draw(4) : 1; lives > 0; lives--) {
        if (calls.disk && chance(20)) { one_life_dies(true); }
        if (calls.disk && chance(40)) { one_life_dies(false); } else { one_life(); }
    }
    t_wipe(calls_directory);
    t_wipe(calls_folder);
    return NULL;
}

static void cell(bool disk, unsigned threads)
{
    const uint64_t first = t_env_u64("WORLD", 0);
    const uint64_t seconds = getenv("WORLD") == NULL ? t_env_u64("CALLS_SECONDS", 0) : 0;
    struct timespec begin, now;
    calls.disk = disk;
    calls.threads = threads;
    calls.trace = t_env_u64("TRACE", 0) != 0;
    calls.searching = seconds != 0 || getenv("WORLD") != NULL;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    uint64_t n = first;
    do {
        pthread_t fresh; /* its random numbers in the library begin with the world */
        alarm(60 * t_patience());
        calls.world = n++;
        MUST(pthread_create(&fresh, NULL, one_world, NULL) == 0 && pthread_join(fresh, NULL) == 0);
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((uint64_t)(now.tv_sec - begin.tv_sec) < seconds);
    alarm(0);
    printf("# %" PRIu64 " worlds, %" PRIu64 " reads of due values, %" PRIu64 " due after an open\n",
           n - first, atomic_exchange(&calls.due, 0), atomic_exchange(&calls.kept, 0));
}

T_ALONE(one_thread_in_memory) { cell(false, 1); }
T_ALONE(one_thread_on_disk) { cell(true, 1); }
T_CASE(four_threads_in_memory) { cell(false, CALLS_THREADS); }
T_CASE(four_threads_on_disk) { cell(true, CALLS_THREADS); }

/* Count the public calls. In a run that is long enough each of them was made. */
T_CASE(every_public_call_was_made)
{
    const bool all = getenv("WORLD") == NULL && t_env_u64("CALLS_SECONDS", 0) >= 120;
    FILE *list = fopen("src/tools/symbols.txt", "r");
    char line[200], name[100];
    unsigned made = 0, missing = 0;
    T_REQUIRE(list != NULL);
    while (fgets(line, sizeof line, list) != NULL) {
        if (sscanf(line, "%99s", name) != 1 || name[0] == '#' ||
            strncmp(name, "cellar_remote_", 14) == 0) {
            continue;
        }
        if (calls_count(name) != 0) {
            made++;
        } else {
            missing++;
            if (all) { printf("# never made: %s\n", name); }
        }
    }
    fclose(list);
    printf("# %u public calls made, %u never\n", made, missing);
    T_CHECK(all ? missing == 0 : made > missing);
}

/* A world has run for a minute or more. Let a world that makes calls run on if the machine gives it
 * little time of its cores. */
static void too_long(int signal)
{
    static uint64_t world_seen, made_before;
    static clock_t begin;
    uint64_t made = 0;
    (void)signal;
    for (size_t i = 0; i < 4096; i++) { made += atomic_load(&calls_seen[i].count); }
    if (world_seen != calls.world + 1) {
        world_seen = calls.world + 1;
        begin = clock();
    } else if (made == made_before || clock() - begin > 60 * CLOCKS_PER_SEC) {
        calls_fault("a world does not end");
    }
    made_before = made;
    alarm(60 * t_patience());
}
static void name_world(void) /* after the report of a sanitizer */
{
    fprintf(stderr, "calls: %s, %u threads, SEED=%" PRIu64 " WORLD=%" PRIu64 ", step %" PRIu64 "\n",
            calls.disk ? "disk" : "memory", calls.threads, t_.seed, calls.world,
            atomic_load(&calls.step));
}
extern void __sanitizer_set_death_callback(void (*fn)(void)) __attribute__((weak));
__attribute__((constructor)) static void watch(void)
{
    const int share = MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED;
    MUST(mmap(&calls, sizeof calls, PROT_READ | PROT_WRITE, share, -1, 0) == &calls);
    MUST(mmap(&world, sizeof world, PROT_READ | PROT_WRITE, share, -1, 0) == &world);
    (void)sigaction(SIGALRM, &(struct sigaction){ .sa_handler = too_long }, NULL);
    if (__sanitizer_set_death_callback != NULL) { __sanitizer_set_death_callback(name_world); }
}

T_MAIN("calls_fuzz")
