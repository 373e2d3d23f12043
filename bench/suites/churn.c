/* SPDX-License-Identifier: MIT
 *
 * churn: does a budget hold when value sizes change for good, again and again?
 *
 * WALK       for each bounded subject, in a child: open with the budget -> five phases, each writes
 *            4 GB (or stops after 6 s) with its own law of sizes, one operation in five deletes ->
 *            every key is read once and what is still held is summed.
 * PICTURE    writers:  set set set set del ...         watcher: accounted each ms, RSS each 100 ms
 * FIGURES    rss_churn     largest (RSS - RSS before open) / budget
 *            over_budget   largest (accounted - budget) ever seen, bytes
 *            payload_held  keys and values held at the end / budget
 *            churn_write   MB of keys and values written a second
 * WHY        what an allocator says it handed out hides what it keeps: after size churn glibc holds
 *            1.45-2.21 times the accounted bytes. Samples go to churn_SUBJECT.tsv for the plot. */
#include "bench/suites/suite.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/harness/host.h"
#include "bench/harness/json.h"
#include "bench/harness/verify.h"

#define CHURN_PHASES 5
#define CHURN_WRITERS 2
#define CHURN_VALUE_MAX 65536
#define CHURN_LENGTHS 4096
#define CHURN_PHASE_NS UINT64_C(6000000000)

/* Value lengths of a phase: lognormal (sigma > 0), or uniform between low and high. */
static const struct churn_law {
    double mean, sigma;
    uint32_t low, high;
} churn_laws[CHURN_PHASES] = {
    { 0, 0, 100, 100 },       { 1024, 1.0, 8, 32768 }, { 0, 0, 64, 4096 },
    { 0, 0, 16384, 65536 },   { 300, 1.5, 8, 65536 },
};

typedef struct churn_result {
    double rss_growth, over_bytes, held_bytes, written_bytes, seconds;
    uint64_t bad;
    uint32_t done, cut; /* cut: phases that ended by time */
} churn_result;

typedef struct churn_run {
    const bench_subject *subject;
    void *store;
    uint32_t (*length)[CHURN_LENGTHS]; /* [phase], by id */
    uint64_t phase_bytes, budget;
    uint64_t key_count[CHURN_PHASES];
    _Atomic uint64_t written;          /* of the running phase; added per 64 operations */
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
        workload w = { .law = WORKLOAD_LOGNORMAL, .value_mean = law->mean,
                       .value_sigma = law->sigma, .value_len = law->high };
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
            c->subject->set(c->store, key, 16, value, len, 0);
            value[len - 1] = VERIFY_FILL;
            bytes += 16 + len;
        }
        atomic_fetch_add_explicit(&c->written, bytes, memory_order_relaxed);
        if (host_wall_ns() - start > CHURN_PHASE_NS) {
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
    }
    free(value);
    pthread_barrier_wait(&c->gate);
    atomic_store(&c->finished, true);
    return NULL;
}

static void churn_watch(churn_run *c, uint64_t rss_before, const char *path, churn_result *out)
{
    FILE *f = fopen(path, "we");
    const uint64_t start = host_wall_ns();
    uint64_t next_rss = start;
    if (f != NULL) {
        fprintf(f, "# ms\trss_growth\taccounted\tbudget\n");
    }
    while (!atomic_load(&c->finished)) {
        const struct timespec ms = { 0, 1000000 };
        const uint64_t accounted = c->subject->accounted_bytes(c->store);
        out->over_bytes = fmax(out->over_bytes, (double)accounted - (double)c->budget);
        if (host_wall_ns() >= next_rss) {
            const double growth = (double)host_rss_bytes() - (double)rss_before;
            out->rss_growth = fmax(out->rss_growth, growth);
            if (f != NULL) {
                fprintf(f, "%" PRIu64 "\t%.0f\t%" PRIu64 "\t%" PRIu64 "\n",
                        (host_wall_ns() - start) / 1000000, growth, accounted, c->budget);
            }
            next_rss += 100000000;
        }
        nanosleep(&ms, NULL);
    }
    out->seconds = (double)(host_wall_ns() - start) / 1e9;
    if (f != NULL) {
        fclose(f);
    }
}

/* Reads every key that may be there; what is found must carry the stamps of its own length. */
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

static void churn_child(const cell_options *o, const bench_subject *s, churn_result *out)
{
    static uint32_t length[CHURN_PHASES][CHURN_LENGTHS];
    double mean[CHURN_PHASES];
    char path[400];
    churn_run c = { .subject = s,
                    .length = length,
                    .budget = (o->quick ? UINT64_C(64) : UINT64_C(256)) << 20,
                    .phase_bytes = (o->quick ? UINT64_C(256) : UINT64_C(4096)) << 20 };
    churn_writer w[CHURN_WRITERS];
    pthread_t thread[CHURN_WRITERS];
    churn_draw_lengths(length, mean);
    for (uint32_t p = 0; p < CHURN_PHASES; p++) { /* four budgets' worth of keys */
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
    snprintf(path, sizeof path, "%s/churn_%s.tsv", o->scratch, s->name);
    churn_watch(&c, rss_before, path, out);
    for (uint32_t i = 0; i < CHURN_WRITERS; i++) {
        pthread_join(thread[i], NULL);
    }
    churn_count_held(&c, out);
    out->cut = (uint32_t)__builtin_popcount(atomic_load(&c.cut));
    out->held_bytes /= (double)c.budget;
    out->rss_growth /= (double)c.budget;
    s->close(c.store);
    out->done = 1;
}

static int churn_one(const cell_options *o, const bench_subject *s, churn_result *r)
{
    char note[64];
    memset(r, 0, sizeof *r);
    fflush(NULL);
    const pid_t pid = fork();
    if (pid == 0) {
        churn_child(o, s, r);
        _exit(0);
    }
    if (pid > 0) {
        waitpid(pid, NULL, 0);
    }
    if (!r->done) {
        json_say("churn", s->name, "churn5", "crash", "did not finish");
        return CELL_WRONG;
    }
    snprintf(note, sizeof note, "%u of 5 phases cut at 6 s", r->cut);
    const char *said = r->cut > 0 ? note : NULL;
    suite_say("churn", s->name, "churn5", "rss_churn", &r->rss_growth, 1, NULL, said);
    suite_say("churn", s->name, "churn5", "over_budget", &r->over_bytes, 1, NULL, said);
    suite_say("churn", s->name, "churn5", "payload_held", &r->held_bytes, 1, NULL, said);
    if (r->bad > 0) {
        printf("wrong: churn5 %s: %" PRIu64 " wrong values\n", s->name, r->bad);
        return CELL_WRONG;
    }
    return CELL_OK;
}

static int churn_run_all(const cell_options *o)
{
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
        const bool asked = s != NULL && (s->caps & BENCH_BOUNDED) && s->accounted_bytes != NULL &&
                           (o->full || strcmp(s->name, "cellar") == 0 ||
                            strcmp(s->name, "uthash64") == 0);
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
