/* SPDX-License-Identifier: MIT
 *
 * churn: does a budget hold when the sizes of values change permanently, again and again?
 *
 * WALK       For each bounded subject, in a child: open with the budget -> five phases, each writes
 *            4 GB (or stops after 6 s) with its own law of sizes, one operation in five deletes ->
 *            every key is read once and the held bytes are summed. For peers 1 GB and 2 s, in rows
 *            of another name; peers of other languages run the same by `churn`.
 * PICTURE    writers:  set set set set del ...         watcher: accounted each ms, RSS each 100 ms
 * FIGURES    rss_churn     largest (RSS - RSS before open) / budget
 *            over_budget   largest (accounted - budget) ever seen, bytes
 *            payload_held  keys and values held at the end / budget
 *            churn_write   MB of keys and values written a second; a refused set is none
 *            untouched     share that is left of entries that nothing touches, with 65 % of a store
 *                          of 4 MiB, while keys with 15 % are set twenty times with 1 to 400 bytes
 *                          (25 bytes more counted for each entry); not for processes
 * WHY        The allocated bytes of an allocator hide the bytes that it keeps: after size churn
 *            glibc holds 1.45-2.21 times the accounted bytes. */
#include "bench/suites/suite.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bench/harness/driver.h"
#include "bench/harness/host.h"
#include "bench/harness/json.h"
#include "bench/harness/verify.h"

#define CHURN_PHASES 5
#define CHURN_WRITERS 2
#define CHURN_VALUE_MAX 65536
#define CHURN_LENGTHS 4096

/* Value lengths of a phase: lognormal (sigma > 0), or uniform between low and high. */
static const struct churn_law {
    double mean, sigma;
    uint32_t low, high;
} churn_laws[CHURN_PHASES] = {
    { 0, 0, 100, 100 },       { 1024, 1.0, 8, 32768 }, { 0, 0, 64, 4096 },
    { 0, 0, 16384, 65536 },   { 300, 1.5, 8, 65536 },
};

typedef struct churn_result {
    double rss_growth, over_bytes, held_bytes, written_bytes, seconds, untouched;
    uint64_t bad;
    uint32_t done, cut; /* cut: phases that ended by time */
} churn_result;

typedef struct churn_run {
    const bench_subject *subject;
    void *store;
    uint32_t (*length)[CHURN_LENGTHS]; /* [phase], by id */
    uint64_t phase_bytes, phase_ns, budget;
    uint64_t key_count[CHURN_PHASES];
    _Atomic uint64_t written;          /* of the running phase; added per 64 operations */
    _Atomic uint64_t total;            /* of the finished phases */
    _Atomic uint32_t cut;
    _Atomic bool finished;
    pthread_barrier_t gate;            /* writers start each phase together */
} churn_run;

typedef struct churn_writer {
    churn_run *run;
    uint64_t seed;
} churn_writer;

static void churn_draw_lengths(uint32_t (*length)[CHURN_LENGTHS], double mean_out[CHURN_PHASES])
{
    for (uint32_t p = 0; p < CHURN_PHASES; p++) {
        const struct churn_law *law = &churn_laws[p];
        workload w = { .value = { .law = WORKLOAD_LOGNORMAL, .a = law->mean,
                                  .b = law->sigma, .most = law->high },
                       .value_len = law->high };
        uint32_t mask;
        w.trace.seed = p;
        uint32_t *drawn = law->sigma > 0 ? workload_lengths(&w, NULL, &mask) : NULL;
        uint64_t seed = p, sum = 0;
        const uint64_t span = law->high - law->low + 1;
        for (uint32_t i = 0; i < CHURN_LENGTHS; i++) {
            length[p][i] = drawn != NULL ? drawn[i]
                                         : law->low + (uint32_t)(trace_random(&seed) % span);
            sum += length[p][i];
        }
        mean_out[p] = (double)sum / CHURN_LENGTHS;
        free(drawn);
    }
}

/* What one run writes. */
typedef struct churn_plan {
    const char *name;
    uint64_t budget, phase_bytes;
    uint32_t phase_ms;
} churn_plan;

static churn_plan churn_plan_of(const cell_options *o)
{
    const bool all = o->all_subjects && !o->full;
    churn_plan p = { all ? "churn5_short" : "churn5", UINT64_C(256) << 20,
                     all ? UINT64_C(1) << 30 : UINT64_C(4) << 30, all ? 2000 : 6000 };
    if (o->quick) {
        p.budget = UINT64_C(64) << 20;
        p.phase_bytes = UINT64_C(256) << 20;
        p.phase_ms = all ? 500 : 6000;
    }
    return p;
}

static void churn_phase(churn_run *c, uint32_t phase, uint64_t *seed, unsigned char *value)
{
    unsigned char key[VERIFY_KEY_MAX];
    const uint64_t start = host_wall_ns();
    while (atomic_load_explicit(&c->written, memory_order_relaxed) < c->phase_bytes) {
        uint64_t bytes = 0;
        for (uint32_t i = 0; i < 64; i++) {
            const uint64_t draw = trace_random(seed);
            const uint64_t id = draw % c->key_count[phase];
            const uint32_t len = c->length[phase][id % CHURN_LENGTHS];
            verify_make_key(key, id, 16);
            if ((draw >> 40 & 1023) < 205) { /* one in five */
                c->subject->del(c->store, key, 16);
                continue;
            }
            verify_stamp(value, len, id);
            const int refused = c->subject->set(c->store, key, 16, value, len, 0);
            value[len - 1] = VERIFY_FILL;
            bytes += refused == 0 ? 16 + len : 0;
        }
        atomic_fetch_add_explicit(&c->written, bytes, memory_order_relaxed);
        if (host_wall_ns() - start > c->phase_ns) {
            atomic_fetch_or(&c->cut, 1u << phase);
            break;
        }
    }
}

static void *churn_write(void *arg)
{
    churn_writer *w = arg;
    churn_run *c = w->run;
    unsigned char *value = malloc(CHURN_VALUE_MAX + 64);
    if (value != NULL) {
        verify_fill(value, CHURN_VALUE_MAX + 64);
    }
    for (uint32_t p = 0; p < CHURN_PHASES; p++) {
        if (pthread_barrier_wait(&c->gate) == PTHREAD_BARRIER_SERIAL_THREAD) {
            atomic_store(&c->written, 0);
        }
        pthread_barrier_wait(&c->gate);
        if (value != NULL) {
            churn_phase(c, p, &w->seed, value);
        }
        if (pthread_barrier_wait(&c->gate) == PTHREAD_BARRIER_SERIAL_THREAD) {
            atomic_fetch_add(&c->total, atomic_load(&c->written));
        }
    }
    free(value);
    pthread_barrier_wait(&c->gate);
    atomic_store(&c->finished, true);
    return NULL;
}

/* Closes f; NULL is fine. */
static void churn_watch(churn_run *c, uint64_t rss_before, churn_result *out)
{
    const uint64_t start = host_wall_ns();
    uint64_t next_rss = start;
    while (!atomic_load(&c->finished)) {
        const struct timespec ms = { 0, 1000000 };
        const uint64_t accounted = c->subject->accounted_bytes(c->store);
        out->over_bytes = fmax(out->over_bytes, (double)accounted - (double)c->budget);
        if (host_wall_ns() >= next_rss) {
            const double growth = (double)host_rss_bytes() - (double)rss_before;
            out->rss_growth = fmax(out->rss_growth, growth);
            next_rss += 100000000;
        }
        nanosleep(&ms, NULL);
    }
    out->seconds = (double)(host_wall_ns() - start) / 1e9;
}

/* Read every key that may be stored; each value must carry the stamps of its own length. */
static void churn_count_held(churn_run *c, churn_result *out)
{
    unsigned char key[VERIFY_KEY_MAX];
    unsigned char *buf = malloc(CHURN_VALUE_MAX);
    uint64_t most = 0;
    for (uint32_t p = 0; p < CHURN_PHASES; p++) {
        most = c->key_count[p] > most ? c->key_count[p] : most;
    }
    for (uint64_t id = 0; buf != NULL && id < most; id++) {
        size_t len = 0;
        verify_make_key(key, id, 16);
        if (c->subject->get(c->store, key, 16, buf, CHURN_VALUE_MAX, &len) == 1) {
            out->held_bytes += 16 + (double)len;
            out->bad += !verify_value_full(buf, len, id);
        }
    }
    free(buf);
}

#define CHURN_SMALL (UINT64_C(4) << 20)
#define CHURN_SMALL_VALUE 400u

/* Set a value of 1..400 bytes; return what it takes in the reckoning of `untouched`. */
static uint64_t churn_set_small(const bench_subject *s, void *store, uint64_t id, uint64_t *seed)
{
    unsigned char key[VERIFY_KEY_MAX], value[CHURN_SMALL_VALUE + 64];
    const uint32_t len = 1 + (uint32_t)(trace_random(seed) % CHURN_SMALL_VALUE);
    verify_fill(value, sizeof value);
    verify_make_key(key, id, 16);
    verify_stamp(value, len, id);
    (void)s->set(store, key, 16, value, len, 0);
    return 16 + len + 25;
}

static void churn_untouched(const bench_subject *s, churn_result *out)
{
    const bench_cfg cfg = { .key_count = CHURN_SMALL / 240, .capacity_bytes = CHURN_SMALL,
                            .key_len = 16, .value_len = CHURN_SMALL_VALUE, .threads = 1,
                            .seed = 7 };
    void *store = s->open(&cfg);
    uint64_t seed = 7, alone = 0, kept = 0, bytes = 0;
    out->untouched = NAN;
    if (store == NULL) {
        return;
    }
    while (bytes < CHURN_SMALL / 100 * 65) {
        bytes += churn_set_small(s, store, alone++, &seed);
    }
    const uint64_t others = CHURN_SMALL / 100 * 15 / (16 + 25 + CHURN_SMALL_VALUE / 2);
    for (uint64_t i = 0; i < 20 * others; i++) {
        (void)churn_set_small(s, store, alone + trace_random(&seed) % others, &seed);
    }
    for (uint64_t id = 0; id < alone; id++) {
        unsigned char key[VERIFY_KEY_MAX], value[CHURN_SMALL_VALUE];
        size_t len = 0;
        verify_make_key(key, id, 16);
        kept += s->get(store, key, 16, value, sizeof value, &len) == 1;
    }
    out->untouched = (double)kept / (double)alone;
    s->close(store);
}

static void churn_child(const churn_plan *plan, const bench_subject *s, churn_result *out)
{
    static uint32_t length[CHURN_PHASES][CHURN_LENGTHS];
    double mean[CHURN_PHASES];
    churn_run c = { .subject = s, .length = length, .budget = plan->budget,
                    .phase_bytes = plan->phase_bytes,
                    .phase_ns = plan->phase_ms * UINT64_C(1000000) };
    churn_writer w[CHURN_WRITERS];
    pthread_t thread[CHURN_WRITERS];
    churn_draw_lengths(length, mean);
    for (uint32_t p = 0; p < CHURN_PHASES; p++) { /* keys for four budgets */
        c.key_count[p] = 4 * c.budget / (uint64_t)(mean[p] + 16);
    }
    const bench_cfg cfg = { .key_count = c.key_count[0], .capacity_bytes = c.budget,
                            .key_len = 16, .value_len = CHURN_VALUE_MAX,
                            .threads = CHURN_WRITERS, .seed = 7 };
    const uint64_t rss_before = host_rss_bytes();
    c.store = s->open(&cfg);
    if (c.store == NULL || pthread_barrier_init(&c.gate, NULL, CHURN_WRITERS) != 0) {
        return;
    }
    for (uint32_t i = 0; i < CHURN_WRITERS; i++) {
        w[i] = (churn_writer){ &c, verify_mix64(i + 1) };
        if (pthread_create(&thread[i], NULL, churn_write, &w[i]) != 0) {
            _exit(CELL_WRONG);
        }
    }
    churn_watch(&c, rss_before, out);
    for (uint32_t i = 0; i < CHURN_WRITERS; i++) {
        pthread_join(thread[i], NULL);
    }
    churn_count_held(&c, out);
    out->cut = (uint32_t)__builtin_popcount(atomic_load(&c.cut));
    out->written_bytes = (double)atomic_load(&c.total);
    s->close(c.store);
    churn_untouched(s, out);
    out->done = 1;
}

/* Peers of other languages get the same lengths as a file. */
static bool churn_write_lengths(const char *path)
{
    static uint32_t length[CHURN_PHASES][CHURN_LENGTHS];
    double mean[CHURN_PHASES];
    FILE *f = fopen(path, "wbe");
    churn_draw_lengths(length, mean);
    bool ok = f != NULL && fwrite(length, 1, sizeof length, f) == sizeof length;
    return f != NULL && fclose(f) == 0 && ok;
}

/* A process is measured from outside: RSS each 100 ms; it reports its own accounted bytes. */
static void churn_there(const cell_options *o, const churn_plan *plan, const bench_subject *s,
                        churn_result *out, char *why, size_t why_cap)
{
    char path[400], command[600];
    snprintf(path, sizeof path, "%s/churn.lengths", o->scratch);
    snprintf(command, sizeof command, "churn %s %" PRIu64 " %" PRIu64 " %u %u", path, plan->budget,
             plan->phase_bytes, plan->phase_ms, s->threads_max == 1 ? 1 : CHURN_WRITERS);
    bench_driver *d = driver_start(s->driver, why, why_cap);
    if (d == NULL || !churn_write_lengths(path)) {
        driver_stop(d);
        return;
    }
    const uint64_t before = host_rss_of(driver_pid(d)), start = host_wall_ns();
    bool ok = driver_tell(d, command);
    while (ok && !driver_ready(d, 100) &&
           host_wall_ns() - start < plan->phase_ms * UINT64_C(10000000) + UINT64_C(30000000000)) {
        out->rss_growth = fmax(out->rss_growth, (double)host_rss_of(driver_pid(d)) - (double)before);
    }
    ok = ok && driver_hear(d, 1000);
    if (ok) {
        const double most = driver_number(d, "accounted_max");
        out->over_bytes = most > 0 ? fmax(0, most - (double)plan->budget) : NAN;
        out->held_bytes = driver_number(d, "held");
        out->written_bytes = driver_number(d, "written");
        out->seconds = driver_number(d, "write_ns") / 1e9;
        out->bad = (uint64_t)driver_number(d, "bad");
        out->cut = (uint32_t)driver_number(d, "cut");
        out->done = 1;
    }
    snprintf(why, why_cap, "%s", ok ? "" : driver_trouble(d));
    driver_stop(d);
    remove(path);
}

static int churn_one(const cell_options *o, const bench_subject *s, churn_result *r)
{
    char note[64], why[256] = "did not finish";
    const churn_plan plan = churn_plan_of(o);
    memset(r, 0, sizeof *r);
    r->untouched = NAN;
    if (s->driver != NULL) {
        churn_there(o, &plan, s, r, why, sizeof why);
    } else {
        const pid_t pid = host_fork();
        if (pid == 0) {
            churn_child(&plan, s, r);
            _exit(0);
        }
        r->done = host_wait(pid, why, sizeof why) && r->done;
    }
    if (!r->done) {
        const bool missing = s->driver != NULL && driver_missing(s->driver) != NULL;
        json_say("churn", s->name, plan.name, missing ? "skip" : driver_kind(why), why);
        return missing ? CELL_OK : CELL_WRONG;
    }
    r->held_bytes /= (double)plan.budget;
    r->rss_growth /= (double)plan.budget;
    snprintf(note, sizeof note, "%u of 5 phases cut at %.1f s", r->cut, plan.phase_ms / 1e3);
    const char *said = r->bad > 0 ? "wrong values" : r->cut > 0 ? note : NULL;
    suite_say("churn", s->name, plan.name, "rss_churn", &r->rss_growth, 1, NULL, said);
    if (isfinite(r->over_bytes)) {
        suite_say("churn", s->name, plan.name, "over_budget", &r->over_bytes, 1, NULL, said);
    }
    suite_say("churn", s->name, plan.name, "payload_held", &r->held_bytes, 1, NULL, said);
    if (isfinite(r->untouched)) {
        suite_say("churn", s->name, plan.name, "untouched", &r->untouched, 1, NULL, NULL);
    }
    const double rate = r->written_bytes / r->seconds / 1e6;
    suite_say("churn", s->name, plan.name, "churn_write", (double[]){ rate }, 1, "wall", said);
    if (r->bad > 0) {
        printf("wrong: churn5 %s: %" PRIu64 " wrong values\n", s->name, r->bad);
        return CELL_WRONG;
    }
    return CELL_OK;
}

static int churn_run_all(const cell_options *o)
{
    driver_heap_grows();
    int worst = CELL_OK;
    if (host_available_bytes() < UINT64_C(2) << 30) {
        json_say("churn", NULL, "churn5", "skip", "needs 2 GiB free");
        return CELL_OK;
    }
    churn_result *r = mmap(NULL, sizeof *r, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                           0);
    if (r == MAP_FAILED) {
        return CELL_WRONG;
    }
    printf("\nchurn  (budget %u MiB, five phases of other sizes, a fifth deletes)\n",
           o->quick ? 64u : 256u);
    for (size_t i = 0; i < bench_registry_count; i++) {
        const bench_subject *s = bench_registry[i].subject;
        const bool asked = s != NULL && (s->driver != NULL
                               ? (s->caps & BENCH_BYTES) != 0
                               : (s->caps & BENCH_BOUNDED) && s->accounted_bytes != NULL &&
                                 (o->full || strcmp(s->name, "cellar") == 0 ||
                                  strcmp(s->name, "uthash64") == 0));
        if (asked && cell_chosen(o, NULL, s->name)) {
            const int status = churn_one(o, s, r);
            worst = status > worst ? status : worst;
        }
    }
    munmap(r, sizeof *r);
    return worst;
}

const bench_suite suite_churn = { "churn", "does a budget hold when sizes change", churn_run_all,
                                  NULL, NULL, false, false, 0 };
