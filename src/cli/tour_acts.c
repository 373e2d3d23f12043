/* SPDX-License-Identifier: MIT
 *
 * tour_acts: the five acts of the tour.
 *
 * INVARIANTS Each figure is counted here, beside the library: what a call returned, the bytes of a
 *            value, the calls of a loader, the clock readings of a limiter.
 *            After the kill a counted set has its bytes or is missing, and a counted delete is a
 *            miss. A set may be missing: a disk that is slower than the writer drops writes.
 * LOCKING    Counts that threads or processes share are atomic. A thread of the limiter act claims
 *            the place of a stamp, which the main thread reads after the join.
 * LIMITS     Together some 3 s; each wait has a limit. 48 MiB below TMPDIR. Without a boot id (no
 *            /proc) the killed store starts empty: this is printed and is no finding. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cellar.h"
#include "cellar_invalidate.h"
#include "cellar_l2.h"
#include "cellar_limit.h"
#include "cellar_load.h"
#include "cellar_observe.h"
#include "cli/tour_report.h"

/* ---- memory and speed ---- */

#define TOUR_BUDGET ((uint64_t)2 << 20)
#define TOUR_ENTRIES 50000u
#define TOUR_LOOK 256u /* sets between two looks at the memory */

static const char *tour_memory(tour_report *r)
{
    unsigned char value[TOUR_VALUE], back[TOUR_VALUE];
    cellar_config cfg = cellar_config_default();
    cellar_stats st = cellar_stats_default();
    uint64_t most = 0, hits = 0, wrong = 0, failed = 0, start = cli_clock_ns();
    cellar *c;
    size_t len;
    cfg.memory_bytes = TOUR_BUDGET;
    if (cellar_open(&cfg, &c) != CELLAR_OK) { return TOUR_SHORT; }
    for (uint32_t n = 0; n < TOUR_ENTRIES; n++) {
        tour_fill(value, n);
        failed += cellar_set(c, &n, sizeof n, value, sizeof value, NULL) != CELLAR_OK;
        if (n % TOUR_LOOK != 0) { continue; }
        failed += cellar_stats_get(c, CELLAR_SCOPE_STORE, &st) != CELLAR_OK;
        if (st.used_bytes > most) { most = st.used_bytes; }
    }
    const uint64_t set_ns = (cli_clock_ns() - start) / TOUR_ENTRIES;
    start = cli_clock_ns();
    for (uint32_t n = 0; n < TOUR_ENTRIES; n++) {
        const cellar_err err = cellar_get(c, &n, sizeof n, back, sizeof back, &len);
        failed += err != CELLAR_OK && err != CELLAR_MISS;
        if (err != CELLAR_OK) { continue; }
        tour_fill(value, n);
        hits++;
        wrong += len != sizeof value || memcmp(back, value, sizeof value) != 0;
    }
    const uint64_t get_ns = (cli_clock_ns() - start) / TOUR_ENTRIES;
    failed += cellar_stats_get(c, CELLAR_SCOPE_STORE, &st) != CELLAR_OK;
    const uint64_t evicted = st.ended[CELLAR_CAUSE_EVICTED];
    (void)cellar_close(c);
    tour_figure(r, "budget_bytes", TOUR_BUDGET, TOUR_BUDGET, "");
    tour_figure(r, "held_bytes", most, TOUR_BUDGET, "at most");
    tour_figure(r, "found", hits, TOUR_ENTRIES, "values");
    tour_figure(r, "evicted", evicted, TOUR_ENTRIES, "values");
    tour_figure(r, "wrong", wrong, TOUR_ENTRIES, "values");
    tour_figure(r, "set_ns", set_ns, 0, "");
    tour_figure(r, "get_ns", get_ns, 0, "");
    tour_check(r, failed == 0, "a call of the cache failed");
    tour_check(r, most <= TOUR_BUDGET, "the store held more than its budget");
    tour_check(r, wrong == 0, "a value differs from the one that was set");
    tour_check(r, st.gets == TOUR_ENTRIES && st.hits_l1 == hits && st.misses == st.gets - hits,
               "the library counts other hits and misses");
    tour_check(r, evicted > 0 && hits > 0 && evicted + hits == TOUR_ENTRIES,
               "values evicted and values found are not all values");
    return NULL;
}

/* ---- a stampede ---- */

#define TOUR_SLOW_US 50000u

typedef struct tour_source {
    cellar *c;
    _Atomic uint64_t loads, values;
} tour_source;

static cellar_err tour_load(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    tour_source *s = ctx;
    (void)key;
    (void)key_len;
    atomic_fetch_add(&s->loads, 1);
    tour_pause_us(TOUR_SLOW_US);
    return cellar_load_value(load, "value", 5);
}

static void *tour_ask(void *arg)
{
    tour_source *s = arg;
    cellar_result r = cellar_result_default();
    if (cellar_get_or_load(s->c, "cold", 4, NULL, tour_load, s, &r) == CELLAR_OK &&
        r.value_len == 5 && memcmp(r.value, "value", 5) == 0) {
        atomic_fetch_add(&s->values, 1);
    }
    cellar_result_free(&r);
    return NULL;
}

static const char *tour_stampede(tour_report *r)
{
    tour_source s = { 0 };
    if (cellar_open(NULL, &s.c) != CELLAR_OK) { return TOUR_SHORT; }
    const uint64_t start = cli_clock_ns();
    const bool started = tour_threads(tour_ask, &s, TOUR_CROWD);
    const uint64_t took_ns = cli_clock_ns() - start;
    (void)cellar_close(s.c);
    if (!started) { return TOUR_SHORT; }
    tour_figure(r, "threads", TOUR_CROWD, TOUR_CROWD, "request the key");
    tour_figure(r, "loads", atomic_load(&s.loads), TOUR_CROWD, "of the source");
    tour_figure(r, "values", atomic_load(&s.values), TOUR_CROWD, "returned");
    tour_figure(r, "took_ns", took_ns, 0, "");
    tour_check(r, atomic_load(&s.loads) == 1, "the source was asked more than once");
    tour_check(r, atomic_load(&s.values) == TOUR_CROWD, "a thread has no value");
    return NULL;
}

/* ---- kill -9 ---- */

#define TOUR_ACKS 20000u
#define TOUR_EACH 5u /* one operation in 5 is a delete */

typedef struct tour_store { cellar *root, *ns; } tour_store; /* ns NULL: no store */

static tour_store tour_disk_open(const char *folder)
{
    cellar_config cfg = cellar_config_default();
    cellar_namespace_opts o = cellar_namespace_opts_default();
    cellar_l2_opts disk = cellar_l2_opts_default();
    tour_store s = { NULL, NULL };
    cfg.memory_bytes = (uint64_t)32 << 20;
    cfg.l2_path = folder;
    cfg.l2_bytes = (uint64_t)48 << 20;
    cfg.l2 = &disk;
    disk.required = 1;
    o.l2_write = CELLAR_L2_WRITE_ON_SET;
    if (cellar_open(&cfg, &s.root) != CELLAR_OK) { return s; }
    if (cellar_namespace_open(s.root, "tour", &o, &s.ns) != CELLAR_OK) {
        (void)cellar_close(s.root);
        s.ns = NULL;
    }
    return s;
}

/* Return whether operation n is a delete, of key n - 3. Other operations set key n. */
static bool tour_deletes(uint32_t n) { return n % TOUR_EACH == TOUR_EACH - 1; }

/* Set and delete until the kill; count each call that returned. */
static void tour_write(const char *folder, _Atomic uint32_t *acked)
{
    unsigned char value[TOUR_VALUE];
    cellar *const ns = tour_disk_open(folder).ns;
    for (uint32_t n = 0; ns != NULL; n++) {
        const uint32_t key = tour_deletes(n) ? n - 3 : n;
        tour_fill(value, n);
        const cellar_err err = tour_deletes(n)
                                   ? cellar_delete(ns, &key, sizeof key)
                                   : cellar_set(ns, &key, sizeof key, value, sizeof value, NULL);
        if (err < 0) { break; }
        /* release: acquire in tour_kill_writer */
        atomic_store_explicit(acked, n + 1, memory_order_release);
    }
    _exit(1);
}

/* Let a process write, kill it. Return the operations that returned; 0: the disk cannot be used. */
static uint32_t tour_kill_writer(const char *folder, _Atomic uint32_t *acked)
{
    (void)fflush(stdout); /* else the child prints the buffer again */
    const pid_t child = fork();
    if (child == 0) { tour_write(folder, acked); }
    bool alive = child > 0;
    for (int i = 0; i < 40000 && alive && atomic_load(acked) < TOUR_ACKS; i++) {
        tour_pause_us(500);
        alive = waitpid(child, NULL, WNOHANG) == 0;
    }
    if (!alive) { return 0; }
    (void)kill(child, SIGKILL);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {}
    return atomic_load_explicit(acked, memory_order_acquire);
}

static void tour_verify(cellar *ns, uint32_t acked, tour_report *r)
{
    unsigned char value[TOUR_VALUE], want[TOUR_VALUE];
    uint64_t alive = 0, deleted = 0, found = 0, wrong = 0, risen = 0;
    const bool no_boot_id = access("/proc/sys/kernel/random/boot_id", R_OK) != 0;
    size_t len;
    for (uint32_t n = 0; n < acked; n++) {
        /* The kill may have cut the delete of this key. */
        const bool dead = n % TOUR_EACH == 1 && n + 3 < acked;
        if (tour_deletes(n)) { continue; }
        deleted += dead;
        alive += !dead;
        if (cellar_get(ns, &n, sizeof n, value, sizeof value, &len) != CELLAR_OK) { continue; }
        tour_fill(want, n);
        risen += dead;
        found += !dead;
        wrong += len != sizeof want || memcmp(value, want, sizeof want) != 0;
    }
    if (no_boot_id) { tour_say(r, "  no boot id without /proc: the store starts empty\n"); }
    tour_figure(r, "set", alive, alive, "values");
    tour_figure(r, "found", found, alive, "again");
    tour_figure(r, "wrong", wrong, alive, "of them");
    tour_figure(r, "deleted", deleted, alive, "values");
    tour_figure(r, "back", risen, alive, "of the deleted ones");
    tour_check(r, wrong == 0, "a killed store returned a wrong value");
    tour_check(r, risen == 0, "a killed store returned a deleted value");
    tour_check(r, found > 0 || no_boot_id, "a killed store returned nothing");
}

/* Let a process write into the folder, kill it, open the store again and look. */
static void tour_survive(const char *folder, _Atomic uint32_t *acked, tour_report *r)
{
    const uint32_t n = tour_kill_writer(folder, acked), first = 0;
    const tour_store s = n != 0 ? tour_disk_open(folder) : (tour_store){ NULL, NULL };
    unsigned char value[TOUR_VALUE];
    size_t len;
    if (s.ns == NULL) {
        r->skipped = "the temporary folder has no room; set TMPDIR";
        return;
    }
    for (int i = 0; i < 200; i++) { /* a get misses until the index has read the oldest key */
        if (cellar_get(s.ns, &first, sizeof first, value, sizeof value, &len) == CELLAR_OK) {
            break;
        }
        tour_pause_us(5000);
    }
    tour_verify(s.ns, n, r);
    (void)cellar_close(s.ns);
    (void)cellar_close(s.root);
}

static const char *tour_kill(tour_report *r)
{
    char folder[300];
    _Atomic uint32_t *acked = mmap(NULL, sizeof *acked, PROT_READ | PROT_WRITE,
                                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (acked == MAP_FAILED) { return TOUR_SHORT; }
    if (tour_folder_make(r, folder, sizeof folder)) {
        tour_survive(folder, acked, r);
        tour_folder_remove(folder);
    }
    (void)munmap((void *)acked, sizeof *acked);
    return NULL;
}

/* ---- a limiter ---- */

#define TOUR_WORKERS 8u
#define TOUR_LIMIT 1000u
#define TOUR_BURST 100u
#define TOUR_RUN_NS 1200000000u
#define TOUR_STAMPS 16384u
#define TOUR_SLOTS 12u      /* of the picture */

typedef struct tour_gate {
    cellar_limiter *limiter;
    uint64_t until_ns;
    _Atomic uint64_t checks, wrong, count;
    uint64_t stamp[TOUR_STAMPS]; /* clock reading of each admission */
} tour_gate;

static void *tour_pass(void *arg)
{
    tour_gate *g = arg;
    uint64_t checks = 0;
    for (; checks % 64 != 0 || cli_clock_ns() < g->until_ns; checks++) {
        cellar_limiter_result r;
        const cellar_err err = cellar_limiter_check(g->limiter, "one key", 7, 1, &r);
        if (err == CELLAR_OK) {
            const uint64_t at = atomic_fetch_add(&g->count, 1);
            if (at < TOUR_STAMPS) { g->stamp[at] = r.now_ns; }
        } else if (err != CELLAR_LIMITED) {
            atomic_fetch_add(&g->wrong, 1);
        }
    }
    atomic_fetch_add(&g->checks, checks);
    return NULL;
}

static int tour_earlier(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Return the most sorted stamps in (t - 1 s, t] for any t: half open, as in the limiters. */
static uint64_t tour_most(const uint64_t *stamp, size_t count)
{
    uint64_t most = 0;
    for (size_t first = 0, last = 0; last < count; last++) {
        while (stamp[last] - stamp[first] >= CELLAR_SECOND_NS) { first++; }
        if (last - first + 1 > most) { most = last - first + 1; }
    }
    return most;
}

static void tour_gate_tell(tour_gate *g, tour_report *r)
{
    const uint64_t checks = atomic_load(&g->checks), admitted = atomic_load(&g->count);
    const size_t count = admitted < TOUR_STAMPS ? admitted : TOUR_STAMPS;
    char label[16];
    qsort(g->stamp, count, sizeof g->stamp[0], tour_earlier);
    for (size_t slot = 0, i = 0; slot < TOUR_SLOTS; slot++) {
        const size_t before = i;
        while (i < count && g->stamp[i] - g->stamp[0] < (slot + 1) * CELLAR_SECOND_NS / 10) { i++; }
        (void)snprintf(label, sizeof label, "%zu.%zu s", slot / 10, slot % 10);
        tour_bar(r, label, i - before, 2 * TOUR_BURST);
        tour_say(r, "%zu\n", i - before);
    }
    const uint64_t most = tour_most(g->stamp, count);
    tour_figure(r, "checks", checks, 0, "by 8 threads");
    tour_figure(r, "admitted", admitted, 0, "");
    tour_figure(r, "most", most, 0, "in any second");
    tour_check(r, most <= TOUR_LIMIT, "the limiter admitted more than its limit in a second");
    tour_check(r, admitted >= TOUR_BURST && checks > admitted, "the limiter admitted too few");
    tour_check(r, atomic_load(&g->wrong) == 0, "the limiter returned a wrong code");
}

static const char *tour_limiter(tour_report *r)
{
    const cellar_rule rule =
        cellar_rule_token_bucket_strict(TOUR_LIMIT, CELLAR_SECOND_NS, TOUR_BURST);
    tour_gate *g = calloc(1, sizeof *g);
    bool fine = g != NULL && cellar_limiter_open(NULL, &rule, 1, &g->limiter) == CELLAR_OK;
    if (fine) {
        g->until_ns = cli_clock_ns() + TOUR_RUN_NS;
        fine = tour_threads(tour_pass, g, TOUR_WORKERS);
        cellar_limiter_close(g->limiter);
    }
    if (fine) { tour_gate_tell(g, r); }
    free(g);
    return fine ? NULL : TOUR_SHORT;
}

/* ---- why ---- */

#define TOUR_MANY 20000u /* more values than a store of a mebibyte holds */

static const struct tour_why_row { /* a key, and what cellar_why has to say of it */
    const char *key;
    cellar_why_answer answer;
    cellar_cause cause;
} tour_why_rows[] = {
    { "live", CELLAR_WHY_LIVE, CELLAR_CAUSE_NONE },
    { "brief", CELLAR_WHY_GONE, CELLAR_CAUSE_EXPIRED },
    { "tagged", CELLAR_WHY_GONE, CELLAR_CAUSE_TAG },
    { "deleted", CELLAR_WHY_GONE, CELLAR_CAUSE_DELETED },
    { "never set", CELLAR_WHY_UNKNOWN, CELLAR_CAUSE_NONE },
};
#define TOUR_WHY_ROWS (sizeof tour_why_rows / sizeof tour_why_rows[0])

static void tour_why_line(tour_report *r, const char *key, const cellar_reason *why)
{
    const bool gone = why->answer == CELLAR_WHY_GONE;
    tour_say(r, "  %-9s --> %s%s\n", key,
             gone ? "gone: " : why->answer == CELLAR_WHY_LIVE ? "live" : "unknown",
             gone ? cellar_cause_name(why->cause) : "");
}

static void tour_why_in(cellar *c, tour_report *r)
{
    cellar_set_opts brief = cellar_set_opts_default(), tagged = cellar_set_opts_default();
    const cellar_bytes tag = { "user:17", 7 };
    cellar_reason why = cellar_reason_default();
    unsigned char value[TOUR_VALUE];
    uint64_t right = 0;
    brief.ttl_ms = 1;
    tagged.tags = &tag;
    tagged.tag_count = 1;
    for (uint32_t n = 0; n < TOUR_MANY; n++) {
        tour_fill(value, n);
        (void)cellar_set(c, &n, sizeof n, value, sizeof value, NULL);
    }
    for (uint32_t n = 0; n < TOUR_MANY && why.answer != CELLAR_WHY_GONE; n++) {
        (void)cellar_why(c, &n, sizeof n, &why);
    }
    right += why.answer == CELLAR_WHY_GONE && why.cause == CELLAR_CAUSE_EVICTED;
    tour_why_line(r, "old", &why);
    (void)cellar_set(c, "live", 4, "v", 1, NULL);
    (void)cellar_set(c, "brief", 5, "v", 1, &brief);
    (void)cellar_set(c, "tagged", 6, "v", 1, &tagged);
    (void)cellar_set(c, "deleted", 7, "v", 1, NULL);
    (void)cellar_delete(c, "deleted", 7);
    (void)cellar_delete_by_tag(c, "user:17", 7, CELLAR_TAG_HARD);
    tour_pause_us(20000); /* longer than the time to live of `brief` */
    for (size_t i = 0; i < TOUR_WHY_ROWS; i++) {
        const struct tour_why_row *row = &tour_why_rows[i];
        why = cellar_reason_default();
        (void)cellar_why(c, row->key, strlen(row->key), &why);
        right += why.answer == row->answer && why.cause == row->cause;
        tour_why_line(r, row->key, &why);
    }
    tour_figure(r, "right", right, 0, "answers of 6");
    tour_check(r, right == TOUR_WHY_ROWS + 1, "cellar_why gave a wrong answer");
}

static const char *tour_why(tour_report *r)
{
    cellar_config cfg = cellar_config_default();
    cellar *c;
    cfg.memory_bytes = CELLAR_MEMORY_MIN;
    if (cellar_open(&cfg, &c) != CELLAR_OK) { return TOUR_SHORT; }
    tour_why_in(c, r);
    (void)cellar_close(c);
    return NULL;
}

const tour_act tour_acts[TOUR_ACTS] = {
    { "memory and speed",
      "A store of 2 MiB takes 50,000 values of 100 bytes. It evicts, and every value that it\n"
      "still has is the one that was set.", tour_memory },
    { "a stampede",
      "64 threads request a missing key, and its source needs 50 ms. One thread asks the source,\n"
      "and all get its value.", tour_stampede },
    { "kill -9",
      "A process sets and deletes in a store on disk, and is killed after 20,000 calls. Another\n"
      "process opens the store and reads each key.", tour_kill },
    { "a limiter at its bound",
      "8 threads check one key of a strict token bucket: 1,000 a second, 100 at once. Each row\n"
      "counts the admissions of 100 ms.", tour_limiter },
    { "why",
      "Six keys are set, evicted, deleted, or never set. cellar_why says what became of each.",
      tour_why },
};
