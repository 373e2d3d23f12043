/* SPDX-License-Identifier: MIT
 *
 * Aim:    A reopened store is warm. Deleted, overwritten, cleared or dropped entries stay dead
 *         after any end of the process, and while threads read both levels.
 * Method: Real directories under TMPDIR, a clock that the test turns. Children are killed in the
 *         middle of their work; an oracle in shared memory is written after each call. */
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cellar_invalidate.h"
#include "cellar_observe.h"
#include "tests/support/disk_values.h"
#include "tests/support/figures.h"
#include "tests/support/spaces.h"
#include "tests/support/told.h"

#define STORE(fn) T_WITHIN(fn, store_begin(), store_end())

T_CASE_ON(reopened_store_is_warm, STORE)
{
    settings cfg = config();
    cellar *c = open_with(&cfg), *v = space_with(c, "users", NULL);
    for (uint32_t i = 0; i < 1000; i++) {
        T_EQ_I64(put(c, i, 1, 0), CELLAR_OK);
        T_EQ_I64(put(v, i, 2, 0), CELLAR_OK);
    }
    shut(c); /* the close writes the entries of memory */
    for (int round = 0; round < 3; round++) {
        c = open_with(&cfg);
        T_EQ_U64(figure(c, "cellar_l2_opened"), 1);
        v = space_with(c, "users", NULL);
        for (uint32_t i = 0; i < 1000; i++) {
            T_EQ_I64(look(c, i, 1), CELLAR_OK);
            T_EQ_I64(look(v, i, 2), CELLAR_OK);
        }
        shut(c);
    }
}

T_CASE(killed_store_finds_every_entry_when_its_open_returns)
{
    for (uint32_t threads = 0; threads < 2; threads++) {
        store_begin();
        settings cfg = config();
        cfg.l2.write = CELLAR_L2_WRITE_THROUGH;
        cfg.host.no_threads = threads == 0;
        const pid_t pid = fork();
        T_REQUIRE(pid >= 0);
        if (pid == 0) {
            cellar *c = NULL;
            bool fine = settings_open(&cfg, &c) == CELLAR_OK;
            for (uint32_t i = 0; i < 2000 && fine; i++) { fine = put(c, i, 1, 0) == CELLAR_OK; }
            if (!fine) { _exit(1); }
            (void)raise(SIGKILL);
        }
        int status = 0;
        T_EQ_I64(waitpid(pid, &status, 0), pid);
        T_REQUIRE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        cellar *c = NULL;
        T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
        for (uint32_t i = 0; i < 2000; i++) { T_EQ_I64(look(c, i, 1), CELLAR_OK); }
        shut(c);
        store_end();
    }
}

T_CASE_ON(clear_version_increment_and_drop_survive_restart, STORE)
{
    uint32_t version = 0;
    for (int round = 0; round < 3; round++) {
        cellar *c = open_it();
        cellar *a = space_with(c, "a", NULL), *b = space_with(c, "b", NULL), *d = space_with(c, "d", NULL);
        for (uint32_t i = 0; i < 50; i++) {
            T_EQ_I64(look(a, i, 1), CELLAR_MISS); /* cleared in the last round */
            T_EQ_I64(look(b, i, 1), CELLAR_MISS); /* made dead by the version increment */
            T_EQ_I64(look(d, i, 1), CELLAR_MISS); /* dropped */
            T_EQ_I64(look(c, i, 1), CELLAR_MISS); /* the root was cleared */
            T_EQ_I64(put(a, i, 1, 0), CELLAR_OK);
            T_EQ_I64(put(b, i, 1, 0), CELLAR_OK);
            T_EQ_I64(put(d, i, 1, 0), CELLAR_OK);
            T_EQ_I64(put(c, i, 1, 0), CELLAR_OK);
        }
        c = reopen(c); /* all entries are on disk */
        a = space_with(c, "a", NULL);
        b = space_with(c, "b", NULL);
        d = space_with(c, "d", NULL);
        for (uint32_t i = 0; i < 50; i++) {
            T_EQ_I64(look(a, i, 1), CELLAR_OK);
            T_EQ_I64(look(d, i, 1), CELLAR_OK);
        }
        T_EQ_I64(cellar_clear(a), CELLAR_OK);
        T_EQ_I64(cellar_clear(c), CELLAR_OK);
        const uint32_t before = version;
        T_EQ_I64(cellar_version_set(b, 0, &version), CELLAR_OK);
        T_EQ_U64(version, before == 0 ? 2 : before + 1); /* the public number persists */
        T_EQ_I64(cellar_namespace_drop(c, "d"), CELLAR_OK);
        shut(c);
    }
}

static atomic_bool clears_end;

static void *clears(void *v)
{
    while (!atomic_load(&clears_end)) { T_EQ_I64(cellar_clear(v), CELLAR_OK); }
    return NULL;
}

/* The patterns of cleared generations count no more: not for the limit, and not for the log. */
T_CASE_ON(deleted_patterns_of_a_cleared_namespace_leave_the_entries_of_others, STORE)
{
    settings cfg = config();
    cfg.config.l2_bytes = 4 * CELLAR_L2_BYTES_MIN;
    cfg.config.max_entries = 100; /* the close does not write the others again */
    const cellar_namespace_config o = { .struct_size = sizeof o,
                                        .l2_write = CELLAR_L2_WRITE_THROUGH };
    for (int beside = 0; beside < 2; beside++) {
        cellar *c = open_with(&cfg), *a = space_with(c, "a", &o), *b = space_with(c, "b", &o);
        pthread_t t;
        for (uint32_t i = 0; i < 1000; i++) { T_EQ_I64(put(a, i, 1, 0), CELLAR_OK); }
        atomic_store(&clears_end, false);
        if (beside) { T_REQUIRE(pthread_create(&t, NULL, clears, b) == 0); }
        for (uint32_t i = 0; i < 1200; i++) {
            char pattern[16];
            const int n = snprintf(pattern, sizeof pattern, "x%u*", (unsigned)i);
            T_EQ_I64(put(b, i, 1, 0), CELLAR_OK);
            T_EQ_I64(cellar_delete_by_pattern(b, pattern, (size_t)n, NULL), CELLAR_OK);
            if (!beside && i % 2 == 0) { T_EQ_I64(cellar_clear(b), CELLAR_OK); }
        }
        atomic_store(&clears_end, true);
        if (beside) { T_EQ_I64(pthread_join(t, NULL), 0); }
        T_EQ_U64(hits_of(a, 1000), 1000);
        c = reopen_with(c, &cfg);
        a = space_with(c, "a", &o);
        T_EQ_U64(hits_of(a, 1000), 1000);
        shut(c);
    }
}

/* Open or make namespaces `lead` 0.. with an entry each. Return how many had one. */
static uint32_t each_has_one(cellar *c, const char *lead, uint32_t count)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < count; i++) {
        char name[16];
        cellar *v = NULL;
        (void)snprintf(name, sizeof name, "%s%u", lead, i);
        T_REQUIRE(cellar_namespace_open(c, name, NULL, &v) == CELLAR_OK);
        found += look(v, i, 1) == CELLAR_OK;
        T_EQ_I64(put(v, i, 1, 0), CELLAR_OK);
        T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    }
    return found;
}

/* Their numbers are as far apart as the table of generations has cells, at an open and at most. */
T_CASE_ON(namespaces_that_are_never_open_together_keep_their_entries, STORE)
{
    enum { MANY = 40 };
    static const uint32_t apart[] = { 1024, 16384 };
    settings cfg = config();
    cellar *c = open_with(&cfg);
    T_EQ_U64(each_has_one(c, "first", MANY), 0);
    uint32_t number = MANY;
    for (unsigned n = 0; n < 2; n++) {
        c = reopen_with(c, &cfg);
        for (; number < apart[n] - MANY; number++) { T_EQ_I64(cellar_clear(c), CELLAR_OK); }
        T_EQ_U64(each_has_one(c, n == 0 ? "second" : "third", 3 * MANY), 0);
        number += 3 * MANY;
    }
    for (int life = 0; life < 3; life++) {
        c = reopen_with(c, &cfg);
        T_EQ_U64(each_has_one(c, life != 1 ? "third" : "first", life != 1 ? 3 * MANY : MANY),
                 life != 1 ? 3 * MANY : MANY);
        T_EQ_U64(each_has_one(c, "second", 3 * MANY), 3 * MANY);
        T_EQ_U64(each_has_one(c, life == 1 ? "third" : "first", life == 1 ? 3 * MANY : MANY),
                 life == 1 ? 3 * MANY : MANY);
    }
}

/* Such a store keeps its small table, and what it opens with it. */
T_CASE_ON(namespaces_open_in_a_small_store_however_their_numbers_are_apart, STORE)
{
    enum { MANY = 40 };
    settings cfg = config();
    cellar *c = open_with(&cfg);
    T_EQ_U64(each_has_one(c, "first", MANY), 0);
    c = reopen_with(c, &cfg);
    for (int i = 0; i < 8192 - 2 * MANY; i++) { T_EQ_I64(cellar_clear(c), CELLAR_OK); }
    T_EQ_U64(each_has_one(c, "second", 2 * MANY), 0);
    cfg.config.memory_bytes = 1 << 20;
    c = reopen_with(c, &cfg);
    T_EQ_U64(each_has_one(c, "second", 2 * MANY), 2 * MANY);
    (void)each_has_one(c, "first", MANY);
}

static void count_event(const cellar_event *e, void *events)
{
    (void)e;
    ++*(uint32_t *)events;
}

/* The namespace of the later number is dropped, and the earlier one takes its place. */
T_CASE_ON(no_event_of_a_dropped_namespace_names_the_next_one, STORE)
{
    settings cfg = config();
    cellar *c = open_with(&cfg), *v = space_with(c, "earlier", NULL);
    T_EQ_I64(put(v, 1, 1, 0), CELLAR_OK);
    c = reopen_with(c, &cfg);
    cellar *dropped = NULL;
    T_REQUIRE(cellar_namespace_open(c, "later", NULL, &dropped) == CELLAR_OK);
    for (uint32_t i = 10; i < 1000; i++) { T_EQ_I64(put(dropped, i, 1, 0), CELLAR_OK); }
    T_EQ_I64(cellar_namespace_drop(c, "later"), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(dropped), CELLAR_OK);
    v = space_with(c, "earlier", NULL);
    uint64_t id;
    uint32_t events = 0;
    T_EQ_I64(cellar_listener_add(v, 0, count_event, &events, &id), CELLAR_OK);
    T_EQ_I64(look(v, 1, 1), CELLAR_OK);
    T_EQ_I64(cellar_clear(v), CELLAR_OK); /* of its own entry it is told */
    for (uint32_t i = 0; i < 50; i++) { (void)cellar_tick(c, 100000, NULL); }
    T_EQ_U64(events, 1);
    T_EQ_U64(space_stats(v).ended[CELLAR_CAUSE_CLEARED], 1);
}

/* A version that has to be drawn again, because a clear was faster, is raised once. */
T_CASE_ON(version_beside_clears_is_raised_by_one, STORE)
{
    cellar *c = open_it(), *v = space_with(c, "v", NULL);
    pthread_t t;
    atomic_store(&clears_end, false);
    T_REQUIRE(pthread_create(&t, NULL, clears, v) == 0);
    uint32_t now = 0, raised = 1;
    for (; raised < 6000 && !t_failed(); raised++) {
        T_EQ_I64(cellar_version_set(v, 0, &now), CELLAR_OK);
        T_EQ_U64(now, raised + 1);
    }
    atomic_store(&clears_end, true);
    T_EQ_I64(pthread_join(t, NULL), 0);
}

T_CASE_ON(close_without_entries_for_the_disk_is_in_time, STORE)
{
    settings cfg = config();
    cfg.config.memory_bytes = 32u << 20;
    cfg.l2.close_ms = 1;
    const cellar_namespace_config o = { .struct_size = sizeof o, .tier = CELLAR_TIER_L1 };
    cellar *c = open_with(&cfg), *v = space_with(c, "v", &o);
    for (uint32_t i = 0; i < 50000; i++) { T_EQ_I64(put(v, i, 1, 0), CELLAR_OK); }
    T_EQ_I64(end_of(c), CELLAR_OK);
}

static void *drops(void *c)
{
    while (!atomic_load(&clears_end)) { (void)cellar_namespace_drop(c, "v"); }
    return NULL;
}

/* The drop comes as behind the return of the open. */
T_CASE_ON(open_with_a_version_beside_a_drop_is_no_failure, STORE)
{
    cellar *c = open_it();
    pthread_t t;
    atomic_store(&clears_end, false);
    T_REQUIRE(pthread_create(&t, NULL, drops, c) == 0);
    for (uint32_t i = 0; i < 20000 && !t_failed(); i++) {
        const cellar_namespace_config o = { .struct_size = sizeof o, .version = 2 + i % 5 };
        cellar *v = NULL;
        T_EQ_I64(cellar_namespace_open(c, "v", &o, &v), CELLAR_OK);
        T_CHECK(cellar_version_set(v, 9, NULL) == CELLAR_OK ||
                cellar_contains(v, "k", 1) == CELLAR_E_CLOSED);
        cellar *again = NULL;
        T_EQ_I64(cellar_namespace_open(c, "v", &o, &again), CELLAR_OK);
        T_EQ_I64(cellar_namespace_close(again), CELLAR_OK);
        T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    }
    atomic_store(&clears_end, true);
    T_EQ_I64(pthread_join(t, NULL), 0);
}

/* Return the seconds of this thread that a save takes, with `spaces` more namespaces. */
static double save_beside(uint32_t spaces)
{
    store_begin();
    settings cfg = config();
    cfg.config.memory_bytes = 32u << 20;
    cfg.config.l2_bytes = 8 * CELLAR_L2_BYTES_MIN;
    const cellar_namespace_config o = { .struct_size = sizeof o, .tier = CELLAR_TIER_L1 };
    cellar *c = open_with(&cfg), *other = space_with(c, "other", &o);
    for (uint32_t i = 0; i < 50000; i++) { T_EQ_I64(put(other, i, 1, 0), CELLAR_OK); }
    (void)each_has_one(c, "v", spaces);
    T_EQ_I64(cellar_save(c, NULL), CELLAR_OK);
    double best = 1e9;
    for (int round = 0; round < 5; round++) {
        struct timespec from, to;
        (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
        T_EQ_I64(cellar_save(c, NULL), CELLAR_OK);
        (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
        const double took = (double)(to.tv_sec - from.tv_sec) +
                            (double)(to.tv_nsec - from.tv_nsec) / 1e9;
        best = took < best ? took : best;
    }
    shut(c);
    store_end();
    return best;
}

/* Memory is walked once, not for each namespace. The second save has little to write. */
T_CASE(save_of_many_namespaces_takes_little_longer)
{
    const double few = save_beside(5), many = save_beside(400);
    printf("# a save beside 5 namespaces %.1f ms, beside 400 %.1f ms\n", few * 1e3, many * 1e3);
    T_CHECK(many < 6 * few);
}

/* Open "v" of a store with a version. */
static cellar *namespace_at(cellar *c, uint32_t version)
{
    cellar_namespace_config o = { .struct_size = sizeof o, .version = version };
    return space_with(c, "v", &o);
}

T_CASE_ON(version_at_open_survives_a_reopen, STORE)
{
    uint32_t version = 0;
    for (uint32_t round = 0; round < 4; round++) {
        static const uint32_t with[] = { 7, 7, 0, 9 }; /* new, the same, kept, another */
        cellar *c = open_it(), *v = namespace_at(c, with[round]);
        T_EQ_I64(look(v, 1, 1), round == 0 || round == 3 ? CELLAR_MISS : CELLAR_OK);
        T_EQ_I64(put(v, 1, 1, 0), CELLAR_OK);
        if (round == 3) {
            T_EQ_I64(cellar_version_set(v, 0, &version), CELLAR_OK);
            T_EQ_U64(version, 10);
        }
        shut(c);
    }
}

/* ---- tags and patterns ---- */

/* Get entry i of the users and items. */
static cellar_err get_owned(cellar *c, uint32_t i)
{
    char buf[4];
    const char *key = t_numbered(i % 2 == 0 ? "user:" : "item:", i);
    return cellar_get(c, key, strlen(key), buf, sizeof buf, NULL);
}

T_CASE_ON(tag_and_pattern_deletes_on_disk_survive_restart, STORE)
{
    settings cfg = config();
    cfg.config.max_entries = 16;
    cellar *c = open_with(&cfg);
    for (uint32_t i = 0; i < 200; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "tag%u", i % 10);
        const cellar_bytes tags[2] = { { "all", 3 }, { text, strlen(text) } };
        cellar_set_opts o = { .struct_size = sizeof o, .tags = tags, .tag_count = 2 };
        const char *key = t_numbered(i % 2 == 0 ? "user:" : "item:", i);
        T_EQ_I64(cellar_set(c, key, strlen(key), "v", 1, &o), CELLAR_OK);
        (void)get_owned(c, i); /* a read makes it worth a write */
        (void)cellar_tick(c, 1000, NULL);
    }
    T_EQ_I64(cellar_delete_by_tag(c, "tag1", 4, CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_I64(cellar_delete_by_tag(c, "tag2", 4, CELLAR_TAG_SOFT), CELLAR_OK);
    uint64_t removed = 0;
    /* 17, 37, 57, 77, 97 */
    T_EQ_I64(cellar_delete_by_pattern(c, "item:?7", 7, &removed), CELLAR_OK);
    for (int life = 0; life < 3; life++) {
        unsigned there = 0;
        for (uint32_t i = 0; i < 200; i++) {
            const bool gone = i % 10 == 1 || i % 10 == 2 || (i < 100 && i > 10 && i % 10 == 7);
            const cellar_err err = get_owned(c, i);
            T_CHECK(err == CELLAR_MISS || (err == CELLAR_OK && !gone));
            there += err == CELLAR_OK;
            (void)cellar_tick(c, 100, NULL);
        }
        T_CHECK(there > 140); /* of 151: a write may find no free segment in time */
        c = reopen_with(c, &cfg);
    }
    /* An entry read back into memory has its tags. */
    T_EQ_I64(cellar_delete_by_tag(c, "all", 3, CELLAR_TAG_HARD), CELLAR_OK);
    for (uint32_t i = 0; i < 200; i++) { T_EQ_I64(get_owned(c, i), CELLAR_MISS); }
    (void)figure(c, "cellar_l2_tags");
    T_EQ_U64(figure(c, "cellar_l2_patterns"), 1);
}

/* ---- kill -9 in the middle of the work ---- */

#define KEYS 64u

typedef struct oracle { /* shared with the child; written after a call has returned */
    _Atomic uint32_t now[KEYS];  /* version that is current, 0: none */
    _Atomic uint32_t next[KEYS]; /* version after the call in progress */
    _Atomic uint32_t cleared, clearing;
    _Atomic uint64_t calls;
} oracle;

/* End one quarter of the keys, by their tag, or by patterns of the first byte of the keys. */
static bool child_ends(oracle *o, cellar *v, uint32_t quarter, bool by_tag)
{
    bool ok = true;
    for (uint32_t k = quarter; k < KEYS; k += 4) { atomic_store(&o->next[k], 0); }
    if (by_tag) {
        ok = cellar_delete_by_tag(v, &"0123"[quarter], 1, CELLAR_TAG_HARD) == CELLAR_OK;
    } else {
        char pattern[3 * KEYS];
        size_t n = 0;
        pattern[n++] = '[';
        for (uint32_t k = quarter; k < KEYS; k += 4) {
            pattern[n++] = '\\';
            pattern[n++] = (char)k;
        }
        memcpy(pattern + n, "]*", 2);
        ok = cellar_delete_by_pattern(v, pattern, n + 2, NULL) == CELLAR_OK;
    }
    for (uint32_t k = quarter; k < KEYS; k += 4) { atomic_store(&o->now[k], 0); }
    return ok;
}

static void child_works(oracle *o, uint64_t seed, bool threads)
{
    settings cfg = config();
    cellar_namespace_config vo = cellar_namespace_config_default();
    vo.l2_write = seed % 3 == 0 ? CELLAR_L2_WRITE_ON_SET : CELLAR_L2_WRITE_ON_EVICTION;
    cfg.config.max_entries = 16;
    cfg.host.no_threads = !threads;
    cellar *c = NULL, *v = NULL;
    if (settings_open(&cfg, &c) != CELLAR_OK) { _exit(1); }
    if (cellar_namespace_open(c, "v", &vo, &v) != CELLAR_OK) { _exit(1); }
    uint64_t x = seed * 2654435761u + 1;
    for (;;) {
        x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
        const uint32_t key = (uint32_t)(x >> 33) % KEYS, what = (uint32_t)(x >> 50) % 64;
        if (what == 0) {
            for (uint32_t k = 0; k < KEYS; k++) { atomic_store(&o->next[k], 0); }
            if (cellar_clear(v) != CELLAR_OK) { _exit(2); }
            for (uint32_t k = 0; k < KEYS; k++) { atomic_store(&o->now[k], 0); }
        } else if (what < 3 && (x >> 20) % 8 == 0) {
            if (!child_ends(o, v, key % 4, what == 1)) { _exit(6); }
        } else if (what < 16) {
            atomic_store(&o->next[key], 0);
            if (cellar_delete(v, &key, sizeof key) < 0) { _exit(3); }
            atomic_store(&o->now[key], 0);
        } else if (what < 40) {
            const uint32_t fresh = atomic_load(&o->now[key]) + 1 + (uint32_t)(x >> 56);
            atomic_store(&o->next[key], fresh);
            if (put_tagged(v, key, fresh) != CELLAR_OK) { _exit(4); }
            atomic_store(&o->now[key], fresh);
        } else if (what < 62) {
            const cellar_err err = look(v, key, atomic_load(&o->now[key]));
            if (err == CELLAR_CONFLICT || (err == CELLAR_OK && atomic_load(&o->now[key]) == 0)) {
                _exit(5);
            }
        } else {
            (void)cellar_tick(c, 500, NULL);
        }
        atomic_fetch_add(&o->calls, 1);
    }
}

T_CASE_ON(kill_at_any_moment_restores_no_dead_entry, STORE)
{
    oracle *o = mmap(NULL, sizeof *o, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    T_REQUIRE(o != MAP_FAILED);
    const uint64_t each = T_TSAN ? 1 : 4; /* the kind with threads: the others show TSan nothing */
    const uint64_t cycles = t_env_u64("KILL_CYCLES", t_share(80)) * each / 4;
    uint64_t hits = 0, calls = 0;
    for (uint64_t n = 0; n < cycles && !t_failed(); n++) {
        const uint64_t seed = t_.seed + n;
        atomic_store(&o->calls, 0);
        const pid_t pid = fork();
        if (pid == 0) { child_works(o, seed, n % each == 0); }
        T_REQUIRE(pid > 0);
        const uint64_t enough = 50 + (seed * 7919) % 3000;
        int status = 0;
        while (atomic_load(&o->calls) < enough && waitpid(pid, &status, WNOHANG) == 0) {
            usleep(200);
        }
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, &status, 0);
        T_CHECK(!WIFEXITED(status));
        if (WIFEXITED(status)) { printf("# the child left with %d\n", WEXITSTATUS(status)); }
        calls += atomic_load(&o->calls);
        cellar *c = open_it(), *v;
        T_EQ_I64(cellar_namespace_open(c, "v", NULL, &v), CELLAR_OK);
        for (uint32_t key = 0; key < KEYS; key++) {
            const uint32_t now = atomic_load(&o->now[key]), next = atomic_load(&o->next[key]);
            cellar_err err = look(v, key, now);
            /* the call was in progress at the kill */
            if (err == CELLAR_CONFLICT) { err = look(v, key, next); }
            T_CHECK(err == CELLAR_MISS || (err == CELLAR_OK && (now != 0 || next != 0)));
            hits += err == CELLAR_OK;
            /* The call in progress is decided now, either way. */
            if (cellar_delete(v, &key, sizeof key) < 0) { T_CHECK(false); }
            T_EQ_I64(look(v, key, now), CELLAR_MISS);
            atomic_store(&o->now[key], 0);
            atomic_store(&o->next[key], 0);
        }
        T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
        if (n % 2 == 0) { shut(c); } else { T_EQ_I64(end_of(c), CELLAR_OK); }
    }
    printf("# %" PRIu64 " kills, %" PRIu64 " calls, %" PRIu64 " hits after them\n", cycles, calls,
           hits);
    /* How many depends on when the threads of the child write: a few kills may leave none. */
    T_CHECK(hits > 0 || cycles < 10);
    T_EQ_I64(munmap(o, sizeof *o), 0);
}

/* ---- threads over both levels ---- */

#define WRITERS 4u
#define EACH 48u

static cellar *shared;
static _Atomic uint32_t over[WRITERS * EACH]; /* dead versions up to it, acknowledged */

static uint32_t version_read(uint32_t key)
{
    char buf[512], want[512];
    size_t len = 0;
    if (cellar_get(shared, &key, sizeof key, buf, sizeof buf - 1, &len) != CELLAR_OK) { return 0; }
    unsigned number = 0, version = 0;
    buf[len] = '\0';
    T_EQ_I64(sscanf(buf, "%u-%u", &number, &version), 2);
    T_EQ_U64(number, key);
    T_CHECK(value_of(want, sizeof want, key, version) == len && memcmp(buf, want, len) == 0);
    return version;
}

/* A slow disk serves no value: then continue until it does. */
static bool goes_on(uint32_t i)
{
    if (i < 4000 || i % 256 != 0) { return true; }
    cellar_stats st = store_stats(shared);
    usleep(1000);
    return i < 4000000 && st.hits_l2 <= 100;
}

static void *works(void *arg)
{
    const uint32_t first = *(const uint32_t *)arg * EACH;
    uint32_t now[EACH] = { 0 }, version = 0;
    uint64_t x = t_.seed + first;
    for (uint32_t i = 0; goes_on(i) && !t_failed(); i++) {
        x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
        const uint32_t n = (uint32_t)(x >> 33) % EACH, key = first + n;
        const uint32_t what = (uint32_t)(x >> 55) % 10;
        const uint32_t other = (uint32_t)(x >> 40) % (WRITERS * EACH);
        if (what < 3) {
            T_EQ_I64(put(shared, key, ++version, 0), CELLAR_OK);
            if (now[n] != 0) { atomic_store(&over[key], now[n]); }
            now[n] = version;
        } else if (what == 3) {
            T_CHECK(cellar_delete(shared, &key, sizeof key) >= 0);
            if (now[n] != 0) { atomic_store(&over[key], now[n]); }
            now[n] = 0;
        } else if (what < 7) {
            const uint32_t got = version_read(key);
            T_CHECK(got == 0 || got == now[n]);
        } else {
            const uint32_t ended = atomic_load(&over[other]), got = version_read(other);
            T_CHECK(got == 0 || got > ended);
        }
    }
    return NULL;
}

T_CASE_ON(concurrent_reads_of_memory_and_disk_see_no_old_value, STORE)
{
    settings cfg = config();
    cfg.config.max_entries = 64;
    cfg.host.no_threads = 0;
    cfg.host.clock = NULL;
    memset(over, 0, sizeof over);
    T_REQUIRE(settings_open(&cfg, &shared) == CELLAR_OK);
    pthread_t t[WRITERS];
    uint32_t id[WRITERS];
    for (uint32_t i = 0; i < WRITERS; i++) {
        id[i] = i;
        T_REQUIRE(pthread_create(&t[i], NULL, works, &id[i]) == 0);
    }
    for (uint32_t i = 0; i < WRITERS; i++) { T_EQ_I64(pthread_join(t[i], NULL), 0); }
    T_CHECK(store_stats(shared).hits_l2 > 100);
    shut(shared);
}

T_MAIN("api_disk_restart")
