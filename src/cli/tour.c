/* SPDX-License-Identifier: MIT
 *
 * tour: cache expensive results for the files of a folder, check the cache, print the figures.
 *
 * PICTURE    folder -> list of files -> pass 1: get misses, digest the file, set    (cold)
 *                                       pass 2: the same gets, from L1              (all hit)
 *                                       pass 3: a store with room for a part        (evictions)
 *            An answer is SHA-256, lines, bytes of a file, and the time its computation took.
 * INVARIANTS hits + misses == operations in every pass, in the counts of the tour and of the
 *            library; used bytes <= budget at every check; a recomputed answer equals the cached
 *            one. A violation is a finding: it is printed and the exit code is 1.
 * LOCKING    Workers claim operations by one atomic counter. A worker writes its own tour_worker
 *            and the latency slot of the operation it claimed. The worker that claimed file i
 *            writes usable[i] in pass 1; the main thread reads it after the join.
 * WALK       List (sorted) -> three passes -> table. A file that pass 1 cannot read, or that
 *            changed, is counted as skipped and not requested again. Pass 2 recomputes every 100th
 *            answer and compares. Pass 3 draws files with a skew from a fixed seed.
 * LIMITS     20,000 files, 1 GiB, 10 s for list and pass 1, 8 s for pass 3; --all lifts them. The
 *            tour ends within 30 s. Values have 56 bytes.
 * SEE ALSO   walk.c (list and read), limits.c (rate limiters), guards.c (loads, Bloom filter),
 *            ready.c (status, embeddings, hot keys), jobs.c (tasks, schedule, batch), tour_l2.c
 *            (disk tier), policies.c (pass 3 under each policy). */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cellar.h"
#include "cellar_observe.h"
#include "cellar_admin.h"
#include "cellar_kit.h"
#include "cli/cli.h"
#include "cli/guards.h"
#include "cli/jobs.h"
#include "cli/limits.h"
#include "cli/policies.h"
#include "cli/ready.h"
#include "base/sha256.h"
#include "cli/tour_l2.h"
#include "cli/tour_port.h"
#include "cli/tour_remote.h"
#include "cli/walk.h"

#define TOUR_FILES 20000u
#define TOUR_BYTES ((uint64_t)1 << 30)
#define TOUR_LIST_NS 10000000000u  /* list and pass 1 */
#define TOUR_SMALL_NS 8000000000u  /* pass 3 */
#define TOUR_MEMORY ((uint64_t)64 << 20)
#define TOUR_SMALL_MEMORY ((uint64_t)CELLAR_MEMORY_MIN)
#define TOUR_RECOMPUTE 100u        /* one answer in 100 */
#define TOUR_READ_BYTES 262144u
#define TOUR_THREADS_MAX 64u
#define TOUR_LOOK 32u              /* operations between two checks of the budget */

typedef struct tour_answer { /* the cached value; no padding */
    unsigned char digest[32];
    uint64_t lines, bytes;
    uint64_t cost_ns; /* time of the computation; not compared */
} tour_answer;
_Static_assert(sizeof(tour_answer) == 56, "the value has no padding");
#define TOUR_COMPARED offsetof(tour_answer, cost_ns)

typedef struct tour_options {
    const char *folder;
    bool all, json, remote;
    const char *remote_url;    /* NULL: a server of the tour */
    uint64_t threads, memory_bytes;
    const char *settings_file; /* NULL: none */
    cellar_eviction eviction;  /* of the passes */
} tour_options;

typedef enum tour_kind { TOUR_COLD, TOUR_WARM, TOUR_SMALL, TOUR_PASSES } tour_kind;

typedef struct tour_run tour_run;

typedef struct tour_worker {
    tour_run *run;
    pthread_t thread;
    bool started;
    unsigned char *buf;      /* TOUR_READ_BYTES; owned */
    uint64_t random;         /* state of the draws of pass 3 */
    uint64_t hits, misses, saved_ns, stored, refused;
    uint64_t compared, different;
    uint64_t worst_over;     /* most bytes over the budget at a check */
    uint64_t most_used;
    uint64_t skipped[CLI_SKIP_COUNT];
    cellar_err error;        /* first code that a call must not return here */
} tour_worker;

typedef struct tour_figures { /* a row of the table */
    uint64_t operations, hits, misses, p50_ns, p99_ns, used_bytes, most_used, budget_bytes;
    uint64_t saved_ns, evicted, refused, elapsed_ns, compared, different, over_bytes, entries;
    uint64_t counted_gets, counted_hits; /* counted by the library in the same pass */
    bool cut;
} tour_figures;

struct tour_run {
    const tour_options *options;
    const cli_terminal *term;
    cli_files files;
    unsigned char *usable;       /* one per file: 1 once pass 1 has answered it */
    uint64_t *latency_ns;        /* one per operation of the running pass */
    cellar *store;               /* of the running pass */
    tour_kind kind;
    uint64_t operations;         /* planned in the running pass */
    uint64_t deadline_ns;
    _Atomic uint64_t claimed;    /* operations claimed; may exceed `operations` */
    _Atomic uint64_t read_bytes; /* for the live line */
    _Atomic uint32_t working;    /* workers that have not ended */
    tour_worker worker[TOUR_THREADS_MAX];
    tour_figures figures[TOUR_PASSES];
    limits_report limits;
    guards_result guards;
    ready_result ready;
    jobs_result jobs;
    tour_l2_result survive;
    tour_port_result port;
    policies_result policies;
    uint64_t start_ns;
};

static const char *const tour_names[TOUR_PASSES] = { "cold", "from L1", "small budget" };

/* ---- one answer ---- */

typedef struct tour_digest {
    base_sha256 sha;
    uint64_t lines, bytes;
    _Atomic uint64_t *read_bytes;
} tour_digest;

static void tour_digest_piece(void *ctx, const unsigned char *p, size_t n)
{
    tour_digest *d = ctx;
    base_sha256_add(&d->sha, p, n);
    for (const unsigned char *at = p; (at = memchr(at, '\n', (size_t)(p + n - at))) != NULL; at++) {
        d->lines++;
    }
    d->bytes += n;
    atomic_fetch_add_explicit(d->read_bytes, n, memory_order_relaxed);
}

/* Compute the answer of one file. Return CLI_SKIP_COUNT, or the reason why there is none. */
static cli_skip tour_compute(tour_worker *w, const cli_file *file, tour_answer *out)
{
    tour_run *run = w->run;
    const uint64_t start = cli_clock_ns();
    tour_digest d = { .read_bytes = &run->read_bytes };
    base_sha256_init(&d.sha);
    const cli_skip why = cli_file_read(&run->files, file, run->deadline_ns, w->buf, TOUR_READ_BYTES,
                                       tour_digest_piece, &d);
    if (why != CLI_SKIP_COUNT) { return why; }
    *out = (tour_answer){ .lines = d.lines, .bytes = d.bytes };
    base_sha256_end(&d.sha, out->digest);
    out->cost_ns = cli_clock_ns() - start;
    return CLI_SKIP_COUNT;
}

/* ---- one operation ---- */

static void tour_note_error(tour_worker *w, cellar_err err)
{
    if (w->error == CELLAR_OK) { w->error = err; }
}

static void tour_miss(tour_worker *w, size_t index)
{
    tour_run *run = w->run;
    const cli_file *file = &run->files.file[index];
    tour_answer answer;
    w->misses++;
    const cli_skip why = tour_compute(w, file, &answer);
    if (why != CLI_SKIP_COUNT) {
        if (run->kind == TOUR_COLD) { w->skipped[why]++; }
        return;
    }
    if (run->kind == TOUR_COLD) { run->usable[index] = 1; }
    const cellar_err err = cellar_set(run->store, file->path, strlen(file->path), &answer,
                                      sizeof answer, NULL);
    if (err == CELLAR_OK) {
        w->stored++;
    } else if (err == CELLAR_E_SPACE) {
        w->refused++; /* the answer is computed but not stored */
    } else {
        tour_note_error(w, err);
    }
}

/* Compute the answer of `file` again and compare it with the cached one. */
static void tour_recompute(tour_worker *w, const cli_file *file, const tour_answer *cached)
{
    tour_answer fresh;
    if (tour_compute(w, file, &fresh) != CLI_SKIP_COUNT) { return; } /* the file has changed */
    w->compared++;
    if (memcmp(cached, &fresh, TOUR_COMPARED) != 0) { w->different++; }
}

static void tour_look_at_budget(tour_worker *w)
{
    cellar_stats st = cellar_stats_default();
    const cellar_err err = cellar_stats_get(w->run->store, CELLAR_SCOPE_STORE, &st);
    if (err != CELLAR_OK) {
        tour_note_error(w, err);
        return;
    }
    if (st.used_bytes > w->most_used) { w->most_used = st.used_bytes; }
    if (st.used_bytes > st.budget_bytes && st.used_bytes - st.budget_bytes > w->worst_over) {
        w->worst_over = st.used_bytes - st.budget_bytes;
    }
}

/* Return the next number of splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t tour_draw(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Return the index of the file that operation `op` requests. Pass 3 takes the cube of a uniform
 * draw: half of the gets go to an eighth of the files. The odd factor spreads these files over the
 * list. */
static size_t tour_pick(tour_worker *w, uint64_t op)
{
    const size_t count = w->run->files.count;
    if (w->run->kind != TOUR_SMALL) { return (size_t)op; }
    const double u = (double)(tour_draw(&w->random) >> 11) / 9007199254740992.0; /* 2^53 */
    const uint64_t rank = (uint64_t)(u * u * u * (double)count);
    return (size_t)(rank * UINT64_C(2654435761) % count);
}

static void tour_operate(tour_worker *w, uint64_t op)
{
    tour_run *run = w->run;
    const size_t index = tour_pick(w, op);
    const cli_file *file = &run->files.file[index];
    tour_answer answer;
    size_t len = 0;
    const uint64_t start = cli_clock_ns();
    const cellar_err err = cellar_get(run->store, file->path, strlen(file->path), &answer,
                                      sizeof answer, &len);
    if (err == CELLAR_OK) {
        w->hits++;
    } else if (err == CELLAR_MISS) {
        tour_miss(w, index);
    } else {
        tour_note_error(w, err);
    }
    run->latency_ns[op] = cli_clock_ns() - start;
    if (err == CELLAR_OK) {
        w->saved_ns += answer.cost_ns;
        if (len != sizeof answer) { w->different++; }
        if (run->kind == TOUR_WARM && op % TOUR_RECOMPUTE == 0) {
            tour_recompute(w, file, &answer);
        }
    }
    if (op % TOUR_LOOK == 0) { tour_look_at_budget(w); }
}

static void *tour_work(void *arg)
{
    tour_worker *w = arg;
    tour_run *run = w->run;
    while (cli_clock_ns() < run->deadline_ns) {
        const uint64_t op = atomic_fetch_add_explicit(&run->claimed, 1, memory_order_relaxed);
        if (op >= run->operations) { break; }
        tour_operate(w, op);
    }
    atomic_fetch_sub_explicit(&run->working, 1, memory_order_release); /* acquire in tour_watch */
    return NULL;
}

/* ---- one pass ---- */

static uint64_t tour_done(tour_run *run)
{
    const uint64_t claimed = atomic_load_explicit(&run->claimed, memory_order_relaxed);
    return claimed < run->operations ? claimed : run->operations;
}

static void tour_live_line(tour_run *run)
{
    char done[CLI_TEXT], all[CLI_TEXT], bytes[CLI_TEXT], time[CLI_TEXT];
    const uint64_t read_bytes = atomic_load_explicit(&run->read_bytes, memory_order_relaxed);
    fprintf(stderr, "\rpass %d of %d, %s: %s of %s files, %s read, %s \033[K", (int)run->kind + 1,
            (int)TOUR_PASSES, tour_names[run->kind], cli_count(done, tour_done(run)),
            cli_count(all, run->operations), cli_bytes(bytes, read_bytes),
            cli_duration(time, cli_clock_ns() - run->start_ns));
    fflush(stderr);
}

/* Wait for the last worker; print the live line ten times a second on a terminal. */
static void tour_watch(tour_run *run)
{
    unsigned rounds = 0;
    while (atomic_load_explicit(&run->working, memory_order_acquire) > 0) {
        const struct timespec pause = { 0, 5000000 };
        nanosleep(&pause, NULL);
        if (run->term->progress && ++rounds % 20 == 0) { tour_live_line(run); }
    }
    if (run->term->progress) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
    }
}

/* Start as many workers as the system allows. Without any thread run worker 0 in the caller. */
static void tour_start_workers(tour_run *run)
{
    const uint32_t threads = (uint32_t)run->options->threads;
    atomic_store(&run->claimed, 0);
    atomic_store(&run->working, threads);
    uint32_t started = 0;
    for (uint32_t i = 0; i < threads; i++) {
        tour_worker *w = &run->worker[i];
        unsigned char *buf = w->buf;
        *w = (tour_worker){ .run = run, .buf = buf, .random = i + 1, .error = CELLAR_OK };
        w->started = pthread_create(&w->thread, NULL, tour_work, w) == 0;
        started += w->started;
        if (!w->started) { atomic_fetch_sub(&run->working, 1); }
    }
    if (started == 0) {
        atomic_store(&run->working, 1);
        (void)tour_work(&run->worker[0]);
    }
}

static int tour_by_value(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void tour_sum(tour_run *run, tour_figures *f, cellar_err *error)
{
    for (uint32_t i = 0; i < run->options->threads; i++) {
        const tour_worker *w = &run->worker[i];
        f->hits += w->hits;
        f->misses += w->misses;
        f->saved_ns += w->saved_ns;
        f->refused += w->refused;
        f->compared += w->compared;
        f->different += w->different;
        if (w->worst_over > f->over_bytes) { f->over_bytes = w->worst_over; }
        if (w->most_used > f->most_used) { f->most_used = w->most_used; }
        for (int s = 0; s < CLI_SKIP_COUNT; s++) { run->files.skipped[s] += w->skipped[s]; }
        if (*error == CELLAR_OK) { *error = w->error; }
    }
}

/* Run one pass and fill its figures. Return false if a call returned a code that it must not. */
static bool tour_pass(tour_run *run, tour_kind kind, cellar *store, uint64_t deadline_ns)
{
    tour_figures *f = &run->figures[kind];
    cellar_stats before = cellar_stats_default(), after = cellar_stats_default();
    cellar_err error = cellar_stats_get(store, CELLAR_SCOPE_STORE, &before);
    const uint64_t start = cli_clock_ns();
    run->kind = kind;
    run->store = store;
    run->operations = run->files.count;
    run->deadline_ns = deadline_ns;
    tour_start_workers(run);
    tour_watch(run);
    for (uint32_t i = 0; i < run->options->threads; i++) {
        if (run->worker[i].started) { pthread_join(run->worker[i].thread, NULL); }
    }
    f->elapsed_ns = cli_clock_ns() - start;
    tour_look_at_budget(&run->worker[0]);
    tour_sum(run, f, &error);
    f->operations = tour_done(run);
    f->cut = f->operations < run->operations;
    if (error == CELLAR_OK) { error = cellar_stats_get(store, CELLAR_SCOPE_STORE, &after); }
    if (error != CELLAR_OK) {
        cli_complain("tour",
                     "pass %d: a call of the cache returned %s (%s), which it must not; "
                     "report this as a fault of cellar",
                     (int)kind + 1, cellar_code_name(error), cellar_strerror(error));
        return false;
    }
    f->used_bytes = after.used_bytes;
    f->budget_bytes = after.budget_bytes;
    f->entries = after.entries;
    f->evicted = after.ended[CELLAR_CAUSE_EVICTED] - before.ended[CELLAR_CAUSE_EVICTED];
    f->counted_gets = after.gets - before.gets;
    f->counted_hits = after.hits_l1 + after.hits_l2 - before.hits_l1 - before.hits_l2;
    if (f->operations > 0) {
        qsort(run->latency_ns, (size_t)f->operations, sizeof *run->latency_ns, tour_by_value);
        f->p50_ns = run->latency_ns[(f->operations - 1) / 2];
        f->p99_ns = run->latency_ns[(f->operations - 1) * 99 / 100];
    }
    return true;
}

/* Drop the files without an answer from the list; keep the order. */
static void tour_keep_usable(tour_run *run)
{
    cli_files *files = &run->files;
    size_t kept = 0;
    files->bytes = 0;
    for (size_t i = 0; i < files->count; i++) {
        if (run->usable[i]) {
            files->bytes += files->file[i].size;
            files->file[kept++] = files->file[i];
        } else {
            free(files->file[i].path);
        }
    }
    files->count = kept;
}

static cellar *tour_open_store(const tour_options *o, uint64_t memory_bytes, uint64_t max_entries)
{
    cellar_config cfg = cellar_config_default();
    cellar *store = NULL;
    cfg.memory_bytes = memory_bytes;
    cfg.max_entries = max_entries;
    cfg.eviction = o->eviction;
    cellar_host_opts host = cellar_host_opts_default();
    host.name = "tour";
    cfg.host = &host;
    const cellar_err err = cellar_open(&cfg, &store);
    if (err == CELLAR_OK) { return store; }
    cli_complain("tour",
                 "cannot open a store of %llu bytes: %s; free memory or give a smaller "
                 "--memory",
                 (unsigned long long)memory_bytes, cellar_strerror(err));
    return NULL;
}

static int tour_large_passes(tour_run *run)
{
    const uint64_t none = UINT64_MAX;
    cellar *store = tour_open_store(run->options, run->options->memory_bytes, 0);
    if (store == NULL) { return CLI_NO_START; }
    int code = CLI_INTERNAL;
    if (!tour_pass(run, TOUR_COLD, store,
                   run->options->all ? none : run->start_ns + TOUR_LIST_NS)) {
        goto close_store;
    }
    if (run->figures[TOUR_COLD].cut || run->files.skipped[CLI_SKIP_LATE] > 0) {
        run->files.cut = CLI_CUT_TIME;
    }
    tour_keep_usable(run);
    if (run->files.count == 0) {
        code = CLI_DONE; /* the caller prints the skipped files */
        goto close_store;
    }
    if (!tour_pass(run, TOUR_WARM, store, none)) { goto close_store; }
    code = CLI_DONE;
    if (!tour_l2_run(store, &run->files, &run->survive)) {
        cli_complain("tour", "cannot start a process for the disk tier: no memory or no process "
                             "is left; end other programs");
        code = CLI_NO_START;
    }
    tour_port_run(store, &run->files, &run->port);
close_store:
    cellar_close(store);
    return code;
}

/* Run pass 3 with the least budget. The answers of a short list fit into it, so max_entries is an
 * eighth of the files while that is less than the memory holds for certain. */
static int tour_small_pass(tour_run *run)
{
    const uint64_t certain = TOUR_SMALL_MEMORY / 512;
    const uint64_t eighth = run->files.count / 8 > 0 ? run->files.count / 8 : 1;
    cellar *store = tour_open_store(run->options, TOUR_SMALL_MEMORY,
                                    eighth < certain ? eighth : 0);
    if (store == NULL) { return CLI_NO_START; }
    const bool fine = tour_pass(run, TOUR_SMALL, store,
                                run->options->all ? UINT64_MAX : cli_clock_ns() + TOUR_SMALL_NS);
    cellar_close(store);
    return fine ? CLI_DONE : CLI_INTERNAL;
}

/* ---- printing ---- */

static bool tour_agrees(const tour_figures *f)
{
    return f->hits + f->misses == f->operations && f->counted_gets == f->operations &&
           f->counted_hits == f->hits;
}

static uint64_t tour_findings(const tour_run *run)
{
    uint64_t n = limits_findings(&run->limits) + guards_findings(&run->guards) +
                 ready_findings(&run->ready) + jobs_findings(&run->jobs) +
                 tour_l2_findings(&run->survive) + tour_port_findings(&run->port) +
                 policies_findings(&run->policies);
    for (int k = 0; k < TOUR_PASSES; k++) {
        const tour_figures *f = &run->figures[k];
        n += (uint64_t)!tour_agrees(f) + (f->over_bytes > 0) + (f->different > 0);
    }
    return n;
}

static const char *tour_cut_name(cli_cut cut)
{
    switch (cut) {
    case CLI_CUT_FILES: return "files";
    case CLI_CUT_BYTES: return "bytes";
    case CLI_CUT_TIME: return "time";
    case CLI_CUT_NONE: break;
    }
    return "none";
}

static const char *tour_cut_words(cli_cut cut)
{
    switch (cut) {
    case CLI_CUT_FILES: return "cut at 20,000 files (--all lifts it)";
    case CLI_CUT_BYTES: return "cut at 1 GiB (--all lifts it)";
    case CLI_CUT_TIME: return "cut after 10 s (--all lifts it)";
    case CLI_CUT_NONE: break;
    }
    return "all of them";
}

static const char *const tour_skip_words[CLI_SKIP_COUNT] = {
#define CLI_X(id, words) [CLI_SKIP_##id] = words,
    CLI_SKIPS(CLI_X)
#undef CLI_X
};

static void tour_print_head(const tour_run *run)
{
    char count[CLI_TEXT], bytes[CLI_TEXT];
    printf("cellar %s, tour of ", cellar_version());
    cli_plain(stdout, run->options->folder);
    const unsigned threads = (unsigned)run->options->threads;
    printf("\n%s file%s, %s, %u thread%s; %s\nskipped:", cli_count(count, run->files.count),
           run->files.count == 1 ? "" : "s", cli_bytes(bytes, run->files.bytes), threads,
           threads == 1 ? "" : "s", tour_cut_words(run->files.cut));
    bool any = false;
    for (int s = 0; s < CLI_SKIP_COUNT; s++) {
        if (run->files.skipped[s] == 0) { continue; }
        printf("%s %s %s", any ? "," : "", cli_count(count, run->files.skipped[s]),
               tour_skip_words[s]);
        any = true;
    }
    puts(any ? "" : " nothing");
}

/* Print one line of the table: a name and the figure of each pass. */
static void tour_print_line(const char *name, char cell[TOUR_PASSES][CLI_TEXT])
{
    printf("%-14s", name);
    for (int k = 0; k < TOUR_PASSES; k++) { printf(" %16s", cell[k]); }
    putchar('\n');
}

static void tour_print_figures(const tour_run *run)
{
    typedef char *(*form)(char out[CLI_TEXT], uint64_t n);
    static const struct {
        const char *name;
        form form; /* NULL: the hit ratio, computed from two fields */
        size_t at;
    } line[] = {
        { "operations", cli_count, offsetof(tour_figures, operations) },
        { "hits", cli_count, offsetof(tour_figures, hits) },
        { "misses", cli_count, offsetof(tour_figures, misses) },
        { "hit ratio", NULL, 0 },
        { "answer, p50", cli_duration, offsetof(tour_figures, p50_ns) },
        { "answer, p99", cli_duration, offsetof(tour_figures, p99_ns) },
        { "bytes held", cli_bytes, offsetof(tour_figures, used_bytes) },
        { "budget", cli_bytes, offsetof(tour_figures, budget_bytes) },
        { "evicted", cli_count, offsetof(tour_figures, evicted) },
        { "time saved", cli_duration, offsetof(tour_figures, saved_ns) },
        { "time taken", cli_duration, offsetof(tour_figures, elapsed_ns) },
    };
    for (size_t i = 0; i < sizeof line / sizeof line[0]; i++) {
        char cell[TOUR_PASSES][CLI_TEXT];
        for (int k = 0; k < TOUR_PASSES; k++) {
            const tour_figures *f = &run->figures[k];
            uint64_t value;
            if (line[i].form == NULL) {
                cli_percent(cell[k], f->hits, f->operations);
            } else {
                memcpy(&value, (const char *)f + line[i].at, sizeof value);
                line[i].form(cell[k], value);
            }
        }
        tour_print_line(line[i].name, cell);
    }
}

static void tour_print_checks(const tour_run *run)
{
    char a[CLI_TEXT], b[CLI_TEXT];
    const tour_figures *warm = &run->figures[TOUR_WARM];
    printf("\nrecomputed %s of the cached answers: %s different\n",
           cli_count(a, warm->compared), cli_count(b, warm->different));
    for (int k = 0; k < TOUR_PASSES; k++) {
        const tour_figures *f = &run->figures[k];
        if (!tour_agrees(f)) {
            printf("FINDING pass %d: %llu hits and %llu misses in %llu operations; the cache "
                   "counted %llu gets and %llu hits\n", k + 1, (unsigned long long)f->hits,
                   (unsigned long long)f->misses, (unsigned long long)f->operations,
                   (unsigned long long)f->counted_gets, (unsigned long long)f->counted_hits);
        }
        if (f->over_bytes > 0) {
            printf("FINDING pass %d: %s bytes over the budget\n", k + 1,
                   cli_count(a, f->over_bytes));
        }
        if (f->different > 0) {
            printf("FINDING pass %d: %s answers differ from the stored ones\n", k + 1,
                   cli_count(a, f->different));
        }
    }
    if (tour_findings(run) == 0) {
        puts("hits + misses = operations in every pass; never a byte over the budget");
    }
    printf("took %s\n", cli_duration(a, cli_clock_ns() - run->start_ns));
}

static void tour_print_table(const tour_run *run)
{
    char head[TOUR_PASSES][CLI_TEXT];
    tour_print_head(run);
    for (int k = 0; k < TOUR_PASSES; k++) {
        snprintf(head[k], sizeof head[k], "%d %s", k + 1, tour_names[k]);
    }
    fputs(run->term->color ? "\n\033[1m" : "\n", stdout);
    tour_print_line("pass", head);
    if (run->term->color) { fputs("\033[0m", stdout); }
    tour_print_figures(run);
    policies_print(&run->policies);
    limits_print(&run->limits);
    guards_print(&run->guards);
    ready_print(&run->ready);
    jobs_print(&run->jobs);
    tour_l2_print(&run->survive);
    tour_port_print(&run->port);
    tour_print_checks(run);
}

static void tour_print_json(const tour_run *run)
{
    fputs("{\"tour\":", stdout);
    cli_json_string(stdout, run->options->folder);
    printf(",\"version\":\"%s\",\"files\":%zu,\"bytes\":%llu,\"threads\":%u,\"cut\":\"%s\","
           "\"skipped\":{", cellar_version(), run->files.count,
           (unsigned long long)run->files.bytes, (unsigned)run->options->threads,
           tour_cut_name(run->files.cut));
    for (int s = 0; s < CLI_SKIP_COUNT; s++) {
        printf("%s\"%s\":%llu", s == 0 ? "" : ",", tour_skip_words[s],
               (unsigned long long)run->files.skipped[s]);
    }
    puts("}}");
    for (int k = 0; k < TOUR_PASSES; k++) {
        const tour_figures *f = &run->figures[k];
        const struct { const char *name; uint64_t value; } field[] = {
            { "operations", f->operations }, { "hits", f->hits }, { "misses", f->misses },
            { "p50_ns", f->p50_ns }, { "p99_ns", f->p99_ns }, { "held_bytes", f->used_bytes },
            { "most_held_bytes", f->most_used }, { "budget_bytes", f->budget_bytes },
            { "over_bytes", f->over_bytes }, { "entries", f->entries }, { "saved_ns", f->saved_ns },
            { "evicted", f->evicted }, { "refused", f->refused }, { "recomputed", f->compared },
            { "different", f->different }, { "elapsed_ns", f->elapsed_ns },
        };
        const uint64_t ppm = f->operations == 0
            ? 0 : (uint64_t)((double)f->hits * 1e6 / (double)f->operations);
        printf("{\"pass\":%d,\"name\":\"%s\",\"hit_ratio\":%u.%06u", k + 1, tour_names[k],
               (unsigned)(ppm / 1000000), (unsigned)(ppm % 1000000));
        for (size_t i = 0; i < sizeof field / sizeof field[0]; i++) {
            printf(",\"%s\":%llu", field[i].name, (unsigned long long)field[i].value);
        }
        puts("}");
    }
    policies_print_json(&run->policies);
    limits_print_json(&run->limits);
    guards_print_json(&run->guards);
    ready_print_json(&run->ready);
    jobs_print_json(&run->jobs);
    tour_l2_print_json(&run->survive);
    tour_port_print_json(&run->port);
    printf("{\"findings\":%llu,\"elapsed_ns\":%llu}\n", (unsigned long long)tour_findings(run),
           (unsigned long long)(cli_clock_ns() - run->start_ns));
}

/* ---- the command ---- */

static int tour_nothing_to_do(const tour_run *run)
{
    char skipped[512] = "";
    size_t at = 0;
    for (int s = 0; s < CLI_SKIP_COUNT; s++) {
        if (run->files.skipped[s] == 0 || at >= sizeof skipped) { continue; }
        const int n = snprintf(skipped + at, sizeof skipped - at, "%s%llu %s",
                               at != 0 ? ", " : " (skipped: ",
                               (unsigned long long)run->files.skipped[s], tour_skip_words[s]);
        at += n > 0 ? (size_t)n : 0;
    }
    cli_complain("tour", "%s holds no readable file with content%s%s; name another folder",
                 run->options->folder, skipped, at != 0 ? ")" : "");
    return CLI_USAGE;
}

static bool tour_allocate(tour_run *run)
{
    run->usable = calloc(run->files.count, 1);
    run->latency_ns = calloc(run->files.count, sizeof *run->latency_ns);
    bool fine = run->usable != NULL && run->latency_ns != NULL;
    for (uint32_t i = 0; i < run->options->threads; i++) {
        run->worker[i].buf = malloc(TOUR_READ_BYTES);
        fine = fine && run->worker[i].buf != NULL;
    }
    return fine;
}

static int tour_passes(tour_run *run)
{
    if (!tour_allocate(run)) {
        cli_complain("tour", "out of memory; end other programs or name a smaller folder");
        return CLI_NO_START;
    }
    const int code = tour_large_passes(run);
    if (code != CLI_DONE) { return code; }
    if (run->files.count == 0) { return tour_nothing_to_do(run); }
    return tour_small_pass(run);
}

static int tour_go(tour_run *run)
{
    const bool all = run->options->all;
    const cli_limits limits = {
        .files = all ? UINT64_MAX : TOUR_FILES,
        .bytes = all ? UINT64_MAX : TOUR_BYTES,
        .deadline_ns = all ? UINT64_MAX : run->start_ns + TOUR_LIST_NS,
    };
    const int error = cli_files_open(&run->files, run->options->folder, &limits);
    if (error != 0) {
        cli_complain("tour", "cannot read %s: %s; name an existing folder", run->options->folder,
                     cli_errno_text(error));
        return error == ENOMEM ? CLI_NO_START : CLI_USAGE;
    }
    if (run->files.count == 0) { return tour_nothing_to_do(run); }
    const int code = tour_passes(run);
    if (code != CLI_DONE) { return code; }
    if (!policies_run(&run->files, &run->policies)) {
        cli_complain("tour", "out of memory; end other programs or name a smaller folder");
        return CLI_NO_START;
    }
    if (!limits_run(&run->limits) || !guards_run(&run->guards) || !ready_run(&run->ready) ||
        !jobs_run(&run->jobs)) {
        cli_complain("tour", "out of memory or threads; end other programs, or see ulimit -u");
        return CLI_NO_START;
    }
    if (run->options->json) {
        tour_print_json(run);
    } else {
        tour_print_table(run);
    }
    return tour_findings(run) == 0 ? CLI_DONE : CLI_FINDING;
}

/* Read the options. Return CLI_DONE or the exit code; set *helped if the help was printed. */
static int tour_parse(int argc, char **argv, tour_options *o, bool *helped)
{
    static const struct option known[] = {
        { "all", no_argument, NULL, 'a' }, { "json", no_argument, NULL, 'j' },
        { "threads", required_argument, NULL, 't' }, { "memory", required_argument, NULL, 'm' },
        { "settings", required_argument, NULL, 's' },
        { "remote", optional_argument, NULL, 'r' },
        { "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 },
    };
    int c;
    optind = 0;
    while ((c = cli_option("tour", argc, argv, known)) != -1) {
        switch (c) {
        case 'a': o->all = true; break;
        case 'j': o->json = true; break;
        case 't':
            if (cli_parse_count(optarg, 1, TOUR_THREADS_MAX, &o->threads)) { break; }
            cli_complain("tour", "--threads must be 1..%u (got \"%s\")", TOUR_THREADS_MAX, optarg);
            return CLI_USAGE;
        case 'm':
            if (cli_parse_bytes(optarg, &o->memory_bytes) && o->memory_bytes >= CELLAR_MEMORY_MIN) {
                break;
            }
            cli_complain("tour",
                         "--memory must be a size of at least 1M, such as 64M (got "
                         "\"%s\")",
                         optarg);
            return CLI_USAGE;
        case 's': o->settings_file = optarg; break;
        case 'r':
            o->remote = true;
            o->remote_url = optarg;
            break;
        case 'h':
            fputs(cli_tour.help, stdout);
            *helped = true;
            return CLI_DONE;
        default: return CLI_USAGE; /* cli_option has printed why */
        }
    }
    if (argc - optind > 1) {
        cli_complain("tour", "takes one folder (got \"%s\" and \"%s\"); name one of them",
                     argv[optind], argv[optind + 1]);
        return CLI_USAGE;
    }
    if (argc - optind == 1) { o->folder = argv[optind]; }
    return CLI_DONE;
}

/* Take what the options leave open from the settings file, the environment, the defaults. */
static int tour_settings(tour_options *o)
{
    cellar_settings s = cellar_settings_default();
    s.config.memory_bytes = TOUR_MEMORY;
    const int code = cli_settings("tour", o->settings_file, &s);
    if (o->memory_bytes == 0) { o->memory_bytes = s.config.memory_bytes; }
    o->eviction = s.config.eviction;
    return code;
}

static uint64_t tour_default_threads(void)
{
    const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    return cpus < 2 ? 2 : cpus > 8 ? 8 : (uint64_t)cpus;
}

/* Run the part of --remote alone. */
static int tour_remote_go(const tour_options *o)
{
    tour_remote_result r;
    const int code = tour_remote_run(o->remote_url, &r);
    if (code != CLI_DONE) { return code; }
    if (o->json) { tour_remote_print_json(&r); } else { tour_remote_print(&r); }
    return tour_remote_findings(&r) == 0 ? CLI_DONE : CLI_FINDING;
}

static int tour_main(int argc, char **argv, const cli_terminal *term)
{
    tour_options o = { .folder = "/usr/share", .threads = tour_default_threads() };
    bool helped = false;
    int code = tour_parse(argc, argv, &o, &helped);
    if (code == CLI_DONE && !helped) { code = tour_settings(&o); }
    if (code != CLI_DONE || helped) { return code; }
    if (o.remote) { return tour_remote_go(&o); }
    tour_run *run = calloc(1, sizeof *run);
    if (run == NULL) {
        cli_complain("tour", "out of memory; end other programs or name a smaller folder");
        return CLI_NO_START;
    }
    run->options = &o;
    run->term = term;
    run->start_ns = cli_clock_ns();
    run->files.root = -1;
    code = tour_go(run);
    for (uint32_t i = 0; i < TOUR_THREADS_MAX; i++) { free(run->worker[i].buf); }
    free(run->usable);
    free(run->latency_ns);
    cli_files_close(&run->files);
    free(run);
    return code;
}

const cli_command cli_tour = {
    "tour", "demo", "cache real results for files, with figures and checks (alias: demo)",
    "Usage: cellar tour [OPTION]... [FOLDER]\n"
    "\n"
    "Caches digest, lines and bytes of each regular file below FOLDER (default /usr/share) with\n"
    "several threads, in three passes: cold, from memory, and with a small budget. Prints for\n"
    "each pass operations, hits, misses, hit ratio, times, memory used, budget, time saved and\n"
    "evictions. One cached answer in 100 is computed again and compared.\n"
    "\n"
    "Then it runs these parts, and prints a line or two for each:\n"
    "  policies    the small budget under each eviction policy; the advice for twice the budget\n"
    "  rate limits 8 threads request one key of two limiters for 1.2 s; admissions are counted\n"
    "  loading     64 threads request one missing key: one load; a loader fails: stale values are\n"
    "              served; 100,000 absent keys meet the Bloom filter\n"
    "  ready-made  8 threads merge into the status of one task; a batch of embeddings loads the\n"
    "              missing texts alone; the five hottest keys of 200,000 gets are named\n"
    "  jobs        100,000 tasks, every tenth fails once; a schedule over a change of the clocks;\n"
    "              a batch with one bad item is split\n"
    "  disk tier   a store in TMPDIR (default /tmp) is closed and reopened; another one is killed\n"
    "              during writes and reopened; both are verified\n"
    "  port        answers of this process are requested as a client of Redis does\n"
    "\n"
    "Files are taken in sorted order up to 20,000 files, 1 GiB or 10 s; a cut is printed.\n"
    "Symbolic links, empty, unreadable, vanished and special files are skipped and counted.\n"
    "\n"
    "  --all           lift these limits\n"
    "  --json          print the figures as JSON, one object a line\n"
    "  --threads=N     threads. Range 1..64. Default one for each processor, 2..8\n"
    "  --memory=SIZE   budget of the first two passes, at least 1M. Default 64M\n"
    "  --settings=FILE memory and eviction of the passes from a file of settings. CELLAR_MEMORY\n"
    "                  and CELLAR_EVICTION overwrite it, --memory overwrites both\n"
    "  --remote[=URL]  this part alone: three processes share values, a load and a limit by\n"
    "                  the Redis or Valkey at URL, or by a redis-server that the tour starts;\n"
    "                  a connection is killed each second. Needs a program built with REMOTE=1\n"
    "  --help          print this text\n"
    "\n"
    "Exit codes: 0 no finding; 1 an answer differs, the budget or a rate limit was exceeded, or\n"
    "            counts do not add up; 2 wrong usage, or no usable file below FOLDER; 3 cannot\n"
    "            start; 4 internal error.\n",
    tour_main
};
