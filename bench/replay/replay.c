/* SPDX-License-Identifier: MIT
 *
 * replay: send the requests of a trace through the engine and print the miss ratios.
 *
 * PICTURE    trace file -> scan: count requests, objects, bytes; check every record
 *                       -> for each capacity: exact FIFO, then each policy; each reads the file
 *                          (get; on a miss set)  -> table, JSON lines, curves by gnuplot
 * INVARIANTS Nothing is printed for a trace before all of its runs have succeeded. The clock of the
 *            store is the clock of the trace. Keys are mixed ids and the hash key of the store is
 *            fixed: with one thread a run repeats itself. With more, the order differs each time.
 * LOCKING    With --threads: threads claim the requests of a piece 32 at a time by one atomic
 *            counter. The main thread reads the next piece when all are done. A worker writes its
 *            own replay_worker only.
 * MODES      object: capacity in entries, values of 8 bytes, no TTL. The store has the defaults of the
 *            library, and more memory where the entries need it.
 *            byte: capacity is the whole budget of the store, index included; sizes and TTLs are
 *            those of the trace. A hit of another size is stored again. A value above 64 bytes is its
 *            size in 8 bytes, and a weight: no byte is copied (--copy: all of them).
 *            budget: capacity in entries, but the store is bounded by the memory in which the
 *            default policy holds as many values of one size (REPLAY_BUDGET_LEAST at least).
 * MRC        exact-lru without deletes: one pass (curve.c). Others: a sample (SHARDS: Waldspurger,
 *            Park, Garthwaite, Ahmad 2015); what exact-lru misses more in the whole trace is added.
 * TIME       ns a request: engine without reading; with one thread processor time.
 * LIMITS     2^32 - 1 objects. Memory grows with the objects (belady: 4 bytes a request). A pipe is
 *            copied to a temporary file first. A process of --jobs sends its results through one. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cellar.h"
#include "cellar_admin.h"
#include "bench/replay/curve.h"
#include "bench/replay/replay_print.h"

#define REPLAY_PIECE 16384u
#define REPLAY_CLAIM 32u
#define REPLAY_LEAST_DEFAULT 16u /* entries; smaller default capacities are left out */
#define REPLAY_START_MS INT64_C(1000000)
#define REPLAY_VALUE 8u          /* bytes of a value in object mode */
#define REPLAY_MEMORY (UINT64_C(64) << 20) /* object mode: the default of the library */
#define REPLAY_STORED 64u        /* byte mode: of a longer value only the size is stored */
#define REPLAY_BLOCK 8192u
#define REPLAY_RECORD 16u        /* bytes of a record with key, without value */
#define REPLAY_WEIGHED 40u       /* bytes of a record with key, size and weight */
#define REPLAY_BUDGET_VALUE 200u
#define REPLAY_BUDGET_LEAST UINT64_C(1572864)
#define REPLAY_BUDGET_TRIES 8u
#define REPLAY_SAMPLE 32768.     /* --mrc: objects of a sample, and .. */
#define REPLAY_SAMPLE_FULL 4096. /* .. the entries that it holds, at least */
#define REPLAY_CURVE 32u         /* --mrc: capacities, if none are given */

typedef struct replay_worker {
    struct replay_engine *engine;
    pthread_t thread;
    bool started;
    unsigned char *buf; /* for the values of gets; owned */
    replay_counts counts;
    cellar_err error;   /* first code that a call must not return here */
} replay_worker;

typedef struct replay_engine { /* a store and its workers */
    cellar *store;
    bool byte_mode, copy;
    uint64_t max_value, value_len; /* value_len: of all values; byte mode: of none */
    uint64_t stored;               /* bytes of the longest value that is stored */
    _Atomic int64_t now_ms; /* clock of the store; written by workers */
    unsigned char *value;   /* zeros: the value of every set */
    const cli_request *piece;
    size_t piece_n;
    _Atomic size_t claimed;
    _Atomic bool ending;
    uint64_t threads, elapsed_ns, bytes; /* bytes: memory_bytes of the store */
    pthread_barrier_t begin, done;
    pthread_mutex_t start; /* held until all threads are started, or the next field is set */
    bool short_of_threads; /* written under `start`; then only read */
    replay_worker worker[REPLAY_THREADS_MAX];
} replay_engine;

/* ---- reading a trace from its first to its last record ---- */

typedef bool (*replay_take)(void *ctx, const cli_request *r, size_t n, char *why);

/* The counts of a pass, for --warm and --every. */
typedef struct replay_watch {
    replay_counts (*counts)(const void *ctx);
    replay_counts warm, last; /* at the end of the warm-up; of the last stretch */
    replay_result *out;
} replay_watch;

/* Return how many requests may be taken before the counts must be looked at. */
static uint64_t replay_until(const replay_run *run, uint64_t done)
{
    const replay_trace *t = &run->trace;
    const uint64_t warm = (uint64_t)(run->o->warm * (double)(t->requests + t->writes + t->deletes));
    const uint64_t every = run->o->every;
    uint64_t most = every != 0 ? every - done % every : UINT64_MAX;
    return done < warm && warm - done < most ? warm - done : most;
}

static void replay_look(const replay_run *run, replay_watch *w, const void *ctx, uint64_t done)
{
    const replay_trace *t = &run->trace;
    const replay_counts now = w->counts(ctx);
    const uint64_t all = t->requests + t->writes + t->deletes;
    if (done == (uint64_t)(run->o->warm * (double)all)) { w->warm = now; }
    if (run->o->every == 0 || (done % run->o->every != 0 && done != all)) { return; }
    const uint64_t gets = now.requests - w->last.requests;
    if (w->out->series_n < REPLAY_SERIES && done > w->out->series_n * run->o->every) {
        w->out->series[w->out->series_n++] =
            gets != 0 ? (double)(now.misses - w->last.misses) / (double)gets : 0;
    }
    w->last = now;
}

/* Keep the requests of the sampled objects. Return their count. */
static size_t replay_sample(const replay_run *run, cli_request *r, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t h = r[i].id * UINT64_C(0x9e3779b97f4a7c15);
        h = (h ^ h >> 32) * UINT64_C(0xd6e8feb86659fd93);
        if ((double)(h >> 11) * 0x1p-53 < run->sample) { r[kept++] = r[i]; }
    }
    return kept;
}

static void replay_live(replay_run *run, const cli_trace *t, uint64_t done)
{
    if (!run->term->progress) { return; }
    const uint64_t now = cli_clock_ns();
    if (now - run->shown_ns < 1000000000u) { return; }
    run->shown_ns = now;
    run->live = true;
    uint64_t at, of;
    char part[CLI_TEXT] = "", count[CLI_TEXT];
    cli_trace_place(t, &at, &of);
    if (of != 0) { cli_percent(part, at, of); }
    fprintf(stderr, "\r\033[K%s: %s, %s requests %s", run->trace.name, run->doing,
            cli_count(count, done), part);
    fflush(stderr);
}

static void replay_live_end(replay_run *run)
{
    if (run->live) { fputs("\r\033[K", stderr); }
    run->live = false;
}

static bool replay_pass(replay_run *run, replay_take take, void *ctx, replay_watch *watch)
{
    uint64_t done = 0;
    bool wrong = false, ok = true;
    cli_trace_how how = run->o->how;
    how.spooled = run->trace.spool != NULL ? fileno(run->trace.spool) : 0;
    cli_trace *t = cli_trace_open(run->trace.path, &how, &wrong, run->why);
    if (t == NULL) {
        run->code = wrong ? CLI_FINDING : CLI_USAGE;
        return false;
    }
    for (size_t n; ok; done += n) {
        const uint64_t until = watch != NULL ? replay_until(run, done) : UINT64_MAX;
        n = cli_trace_read(t, run->piece, until < REPLAY_PIECE ? (size_t)until : REPLAY_PIECE, &wrong,
                           run->why);
        if (n == 0) { break; }
        for (size_t i = 0; i < n && run->o->value_bytes != 0; i++) {
            if (run->piece[i].size <= 1) { run->piece[i].size = run->o->value_bytes; }
        }
        ok = take(ctx, run->piece, run->sample < 1 ? replay_sample(run, run->piece, n) : n, run->why);
        if (ok && watch != NULL) { replay_look(run, watch, ctx, done + n); }
        replay_live(run, t, done + n);
    }
    run->trace.backwards = cli_trace_backwards(t);
    run->trace.form = cli_trace_form(t);
    cli_trace_close(t);
    if (wrong) { run->code = CLI_FINDING; }
    return ok && !wrong;
}

static bool replay_out_of_memory(char *why)
{
    snprintf(why, CLI_TRACE_WHY, "out of memory; end other programs or use a shorter trace");
    return false;
}

static bool replay_take_scan(void *ctx, const cli_request *r, size_t n, char *why)
{
    replay_trace *t = ctx;
    for (size_t i = 0; i < n; i++) {
        bool fresh;
        t->deletes += r[i].op == CLI_DELETE;
        if (r[i].op == CLI_DELETE) { continue; }
        if (cli_ids_add(&t->ids, r + i, n - i, &fresh) == CLI_IDS_NONE) {
            return replay_out_of_memory(why);
        }
        if (fresh) { t->unique_bytes += r[i].size; }
        t->largest = r[i].size > t->largest ? r[i].size : t->largest;
        t->requests += r[i].op == CLI_GET;
        t->writes += r[i].op == CLI_SET;
    }
    return true;
}

/* ---- exact policies ---- */

typedef struct replay_exact {
    cli_ideal *policy;
    const cli_ids *ids;
    replay_counts counts;
    bool foreseeing, changed; /* changed: an object that the scan has not seen */
    uint64_t elapsed_ns;
    uint32_t number[REPLAY_PIECE]; /* of the requests of a piece */
} replay_exact;

static bool replay_take_exact(void *ctx, const cli_request *r, size_t n, char *why)
{
    replay_exact *x = ctx;
    const uint64_t start = cli_clock_ns();
    bool hit = false;
    for (size_t i = 0; i < n; i++) { x->number[i] = cli_ids_find(x->ids, r + i, n - i); }
    for (size_t i = 0; i < n; i++) {
        const uint32_t number = x->number[i], soon = i + CLI_NEAR < n ? x->number[i + CLI_NEAR] : number;
        if (soon != CLI_IDS_NONE) { cli_ideal_near(x->policy, soon); }
        if (number == CLI_IDS_NONE && r[i].op == CLI_DELETE) { continue; }
        if (number == CLI_IDS_NONE) {
            x->changed = true;
            snprintf(why, CLI_TRACE_WHY, "the trace changed during the run; run it again");
            return false;
        }
        if (!x->foreseeing) {
            hit = cli_ideal_request(x->policy, number, &r[i]);
        } else if (!cli_ideal_foresee(x->policy, number, &r[i])) {
            return replay_out_of_memory(why);
        }
        if (r[i].op != CLI_GET) { continue; }
        x->counts.requests++;
        x->counts.bytes += r[i].size;
        x->counts.misses += !hit;
        x->counts.missed_bytes += hit ? 0 : r[i].size;
    }
    x->elapsed_ns += cli_clock_ns() - start;
    return true;
}

static replay_counts replay_counts_exact(const void *ctx) { return ((const replay_exact *)ctx)->counts; }

/* Add `times` times b. UINT64_MAX stands for -1, which takes b away. */
static replay_counts replay_plus(replay_counts a, const replay_counts *b, uint64_t times)
{
    a.requests += times * b->requests;
    a.misses += times * b->misses;
    a.bytes += times * b->bytes;
    a.missed_bytes += times * b->missed_bytes;
    a.refused += times * b->refused;
    return a;
}

static bool replay_exactly(replay_run *run, const replay_policy *policy, uint64_t capacity,
                           replay_result *out)
{
    const cli_ideal_kind kind = policy->ideal;
    replay_exact x = { .ids = &run->trace.ids,
                       .foreseeing = kind == CLI_IDEAL_BELADY || kind == CLI_IDEAL_BOUND };
    const uint64_t mean = run->trace.unique_bytes / run->trace.ids.count;
    x.policy = cli_ideal_open(kind, policy->code, capacity,
                              !run->o->byte_mode ? 0 : mean != 0 ? mean : 1, run->trace.ids.count);
    if (x.policy == NULL) { return replay_out_of_memory(run->why); }
    replay_watch watch = { .counts = replay_counts_exact, .out = out };
    bool ok = !x.foreseeing || replay_pass(run, replay_take_exact, &x, NULL);
    if (kind == CLI_IDEAL_BOUND && ok) { /* all gets were counted as misses */
        const uint64_t start = cli_clock_ns();
        uint64_t hits, bytes;
        cli_ideal_bound(x.policy, &hits, &bytes);
        x.counts.misses -= hits;
        x.counts.missed_bytes -= bytes;
        x.elapsed_ns += cli_clock_ns() - start;
    } else if (ok) {
        x.foreseeing = false;
        x.counts = (replay_counts){ 0 };
        x.elapsed_ns = 0;
        ok = replay_pass(run, replay_take_exact, &x, &watch);
    }
    cli_ideal_close(x.policy);
    if (x.changed) { run->code = CLI_FINDING; }
    out->counts = replay_plus(x.counts, &watch.warm, UINT64_MAX);
    out->ns = x.counts.requests != 0 ? (double)x.elapsed_ns / (double)x.counts.requests : 0;
    return ok;
}

/* ---- the engine ---- */

static int64_t replay_clock(void *ctx)
{
    replay_engine *e = ctx;
    return atomic_load_explicit(&e->now_ms, memory_order_relaxed);
}

/* Return the weight that charges a value of 8 bytes like one of its size; 0: store all bytes. */
static uint64_t replay_weight(const replay_engine *e, uint64_t size)
{
    if (!e->byte_mode || e->copy || size <= REPLAY_STORED) { return 0; }
    if (size > REPLAY_BLOCK) { /* stored in units outside the log, with a head of 32 bytes */
        const uint64_t unit = e->bytes < (uint64_t)64 << 20 ? 512 : 2048;
        return (size + 32 + unit - 1) / unit * unit;
    }
    return (size + REPLAY_RECORD + 7) / 8 * 8 - REPLAY_WEIGHED;
}

static void replay_store(replay_engine *e, replay_worker *w, const cli_request *r)
{
    const uint64_t len = e->byte_mode ? r->size : e->value_len;
    if (len > e->max_value) { /* the old value leaves, as with a set of this one */
        (void)cellar_delete(e->store, &r->id, sizeof r->id);
        w->counts.refused++;
        return;
    }
    const uint64_t weight = replay_weight(e, len);
    cellar_set_opts o = cellar_set_opts_default();
    o.ttl_ms = e->byte_mode ? r->ttl_ms : 0;
    o.weight_bytes = weight;
    const cellar_err err =
        cellar_set(e->store, &r->id, sizeof r->id, weight != 0 ? (const void *)&r->size : e->value,
                   weight != 0 ? sizeof r->size : (size_t)len,
                   o.ttl_ms != 0 || weight != 0 ? &o : NULL);
    if (err == CELLAR_E_TOOBIG || err == CELLAR_E_SPACE) {
        w->counts.refused++;
    } else if (err != CELLAR_OK && w->error == CELLAR_OK) {
        w->error = err;
    }
}

static void replay_one(replay_engine *e, replay_worker *w, const cli_request *r)
{
    if (atomic_load_explicit(&e->now_ms, memory_order_relaxed) < r->time_ms + REPLAY_START_MS) {
        atomic_store_explicit(&e->now_ms, r->time_ms + REPLAY_START_MS, memory_order_relaxed);
    }
    if (r->op == CLI_SET) {
        replay_store(e, w, r);
        return;
    }
    size_t len = 0;
    if (r->op == CLI_DELETE) {
        const cellar_err err = cellar_delete(e->store, &r->id, sizeof r->id);
        if (err != CELLAR_OK && err != CELLAR_MISS && w->error == CELLAR_OK) { w->error = err; }
        return;
    }
    const cellar_err err =
        cellar_get(e->store, &r->id, sizeof r->id, w->buf, (size_t)e->stored, &len);
    w->counts.requests++;
    w->counts.bytes += r->size;
    uint64_t size = len;
    if (err == CELLAR_OK && len == sizeof size) { /* the size of a weight, or zeros */
        memcpy(&size, w->buf, sizeof size);
        size = size != 0 ? size : len;
    }
    if (err == CELLAR_OK && (!e->byte_mode || size == r->size)) { return; }
    if (err == CELLAR_MISS) {
        w->counts.misses++;
        w->counts.missed_bytes += r->size;
    } else if (err != CELLAR_OK && w->error == CELLAR_OK) {
        w->error = err;
    }
    replay_store(e, w, r);
}

static void replay_share(replay_worker *w)
{
    replay_engine *e = w->engine;
    for (;;) {
        const size_t from =
            atomic_fetch_add_explicit(&e->claimed, REPLAY_CLAIM, memory_order_relaxed);
        if (from >= e->piece_n) { return; }
        const size_t to = from + REPLAY_CLAIM < e->piece_n ? from + REPLAY_CLAIM : e->piece_n;
        for (size_t i = from; i < to; i++) { replay_one(e, w, &e->piece[i]); }
    }
}

static void *replay_work(void *arg)
{
    replay_worker *w = arg;
    replay_engine *e = w->engine;
    pthread_mutex_lock(&e->start);
    pthread_mutex_unlock(&e->start);
    if (e->short_of_threads) { return NULL; } /* the barriers wait for more threads */
    for (;;) {
        pthread_barrier_wait(&e->begin);
        if (atomic_load(&e->ending)) { return NULL; }
        replay_share(w);
        pthread_barrier_wait(&e->done);
    }
}

/* Return a time in ns. A single thread gets its processor time, without the time of other programs
 * on the machine. */
static uint64_t replay_spent_ns(bool alone)
{
    struct timespec now;
    if (!alone || clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) != 0) { return cli_clock_ns(); }
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static bool replay_take_engine(void *ctx, const cli_request *r, size_t n, char *why)
{
    replay_engine *e = ctx;
    const uint64_t start = replay_spent_ns(e->threads == 1);
    e->piece = r;
    e->piece_n = n;
    if (e->threads == 1) {
        for (size_t i = 0; i < n; i++) { replay_one(e, &e->worker[0], &r[i]); }
    } else {
        atomic_store(&e->claimed, 0);
        pthread_barrier_wait(&e->begin);
        replay_share(&e->worker[0]);
        pthread_barrier_wait(&e->done);
    }
    e->elapsed_ns += replay_spent_ns(e->threads == 1) - start;
    for (uint64_t i = 0; i < e->threads; i++) {
        const cellar_err err = e->worker[i].error;
        if (err == CELLAR_OK) { continue; }
        snprintf(why, CLI_TRACE_WHY,
                 "a call of the cache returned %s (%s), which it must not; "
                 "report this as a fault of cellar",
                 cellar_code_name(err), cellar_strerror(err));
        return false;
    }
    return true;
}

static cellar_err replay_open(replay_run *run, replay_engine *e, uint32_t eviction,
                              uint64_t capacity)
{
    const replay_options *o = run->o;
    const replay_trace *t = &run->trace;
    uint8_t secret[32] = { 7 };
    for (unsigned i = 0; i < 4; i++) { secret[1 + i] = (uint8_t)(run->seed >> 8 * i); }
    cellar_config cfg = cellar_config_default();
    cellar_host_config host = cellar_host_config_default();
    cellar_tuning_config tuning = cellar_tuning_config_default();
    cfg.eviction = (cellar_eviction)eviction;
    cfg.host = &host;
    cfg.tuning = &tuning;
    host.no_threads = 1;
    host.clock = replay_clock;
    host.clock_ctx = e;
    tuning.optimize = o->objects ? CELLAR_OPTIMIZE_OBJECTS : CELLAR_OPTIMIZE_BYTES;
    tuning.hash_key = secret;
    tuning.stripes = (uint32_t)o->stripes;
    e->byte_mode = o->byte_mode;
    e->copy = o->copy;
    if (o->mean && t->ids.count != 0) {
        tuning.expected_entry_bytes = sizeof(uint64_t) +
            (o->byte_mode ? t->unique_bytes / t->ids.count + 1 : REPLAY_VALUE);
    }
    if (o->byte_mode) {
        cfg.memory_bytes = capacity;
        const uint64_t most = capacity / 2 < CELLAR_VALUE_MAX ? capacity / 2 : CELLAR_VALUE_MAX;
        e->max_value = t->largest < most ? t->largest : most;
        tuning.max_value_bytes = e->max_value;
    } else if (o->budget) {
        cfg.memory_bytes = run->budget;
        e->max_value = e->value_len = run->value_bytes;
        tuning.max_value_bytes = e->max_value;
    } else {
        /* Never the bound: an entry takes less than 64 bytes. */
        const uint64_t need = capacity * 96 + REPLAY_MEMORY / 4;
        cfg.memory_bytes = o->memory != 0 ? o->memory : need > REPLAY_MEMORY ? need : REPLAY_MEMORY;
        cfg.max_entries = capacity;
        e->max_value = e->value_len = REPLAY_VALUE;
    }
    e->bytes = cfg.memory_bytes;
    atomic_store(&e->now_ms, REPLAY_START_MS);
    return cellar_open(&cfg, &e->store);
}

static uint64_t replay_entries(cellar *store)
{
    cellar_stats st = cellar_stats_default();
    (void)cellar_stats_get(store, CELLAR_SCOPE_STORE, &st);
    return st.entries;
}

/* Return the entries that a budget holds: the mean after it is full. 0: it cannot be opened. */
static uint64_t replay_held(replay_run *run, uint64_t capacity)
{
    replay_engine *e = calloc(1, sizeof *e);
    uint64_t sum = 0, looks = 0;
    const uint64_t step = capacity / 16 + 1;
    unsigned char *value = calloc(1, (size_t)run->value_bytes);
    if (e != NULL && value != NULL &&
        replay_open(run, e, CELLAR_EVICT_ADAPTIVE, capacity) == CELLAR_OK) {
        for (uint64_t id = 0; id < 3 * capacity; id++) {
            const uint64_t key = id * UINT64_C(0x9e3779b97f4a7c15);
            (void)cellar_set(e->store, &key, sizeof key, value, (size_t)run->value_bytes, NULL);
            if (id < 2 * capacity || id % step != 0) { continue; }
            sum += replay_entries(e->store);
            looks++;
        }
        cellar_close(e->store);
    }
    free(value);
    free(e);
    return looks != 0 ? sum / looks : 0;
}

/* Find the budget that holds `capacity` entries. */
static bool replay_budget(replay_run *run, uint64_t capacity)
{
    const uint64_t value = run->o->value_bytes != 0 ? run->o->value_bytes : REPLAY_BUDGET_VALUE;
    const uint64_t least = capacity != 0 ? REPLAY_BUDGET_LEAST / capacity : 0;
    double best = 2;
    uint64_t budget = 0;
    run->value_bytes = value > least ? value : least;
    run->budget = capacity * (run->value_bytes + 64);
    for (unsigned i = 0; i < REPLAY_BUDGET_TRIES && best > .002; i++) {
        const uint64_t held = replay_held(run, capacity);
        if (held == 0) { return replay_out_of_memory(run->why); }
        const double ratio = (double)capacity / (double)held;
        const double off = ratio > 1 ? ratio - 1 : 1 / ratio - 1;
        if (off < best) {
            best = off;
            budget = run->budget;
        }
        run->budget = (uint64_t)((double)run->budget * (ratio < 2 ? ratio : 2));
        if (run->budget < CELLAR_MEMORY_MIN) { run->budget = CELLAR_MEMORY_MIN; }
    }
    run->budget = budget;
    return true;
}

/* Return the metadata bytes of the eviction policy for each entry, out of the dump of the store. Its
 * first line has the commit of the library, if the build knows one. */
static double replay_metadata(cellar *store, char commit[static REPLAY_COMMIT])
{
    static const char *const module[] = { "  ghost ", "  sketch ", "  shadow " };
    cellar_stats st = cellar_stats_default();
    size_t len = 0;
    unsigned long long sum = 0;
    if (cellar_stats_get(store, CELLAR_SCOPE_STORE, &st) != CELLAR_OK) { return 0; }
    (void)cellar_dump_write(store, NULL, 0, &len);
    char *text = malloc(len + 1);
    if (text != NULL && cellar_dump_write(store, text, len + 1, &len) == CELLAR_OK) {
        (void)sscanf(text, "cellar %*[^ \n]%*1[ ]%39[^ \n]", commit);
        for (size_t i = 0; i < sizeof module / sizeof module[0]; i++) {
            const char *at = strstr(text, module[i]);
            if (at != NULL) { sum += strtoull(at + strlen(module[i]), NULL, 10); }
        }
    }
    free(text);
    return st.entries != 0 ? (double)sum / (double)st.entries : 0;
}

static bool replay_threads_start(replay_engine *e, char *why)
{
    uint64_t n = 1;
    if (e->threads == 1) { return true; }
    pthread_barrier_init(&e->begin, NULL, (unsigned)e->threads);
    pthread_barrier_init(&e->done, NULL, (unsigned)e->threads);
    pthread_mutex_init(&e->start, NULL);
    pthread_mutex_lock(&e->start);
    while (n < e->threads &&
           pthread_create(&e->worker[n].thread, NULL, replay_work, &e->worker[n]) == 0) {
        e->worker[n++].started = true;
    }
    e->short_of_threads = n < e->threads;
    pthread_mutex_unlock(&e->start);
    if (!e->short_of_threads) { return true; }
    snprintf(why, CLI_TRACE_WHY, "cannot start %" PRIu64 " threads; give a smaller --threads",
             e->threads);
    return false;
}

static void replay_threads_end(replay_engine *e)
{
    if (e->threads == 1) { return; }
    atomic_store(&e->ending, true);
    if (!e->short_of_threads) { pthread_barrier_wait(&e->begin); }
    for (uint64_t i = 1; i < e->threads; i++) {
        if (e->worker[i].started) { pthread_join(e->worker[i].thread, NULL); }
    }
    pthread_barrier_destroy(&e->begin);
    pthread_barrier_destroy(&e->done);
    pthread_mutex_destroy(&e->start);
}

static replay_counts replay_counts_engine(const void *ctx)
{
    const replay_engine *e = ctx;
    replay_counts sum = { 0 };
    for (uint64_t i = 0; i < e->threads; i++) { sum = replay_plus(sum, &e->worker[i].counts, 1); }
    return sum;
}

static bool replay_by_engine(replay_run *run, replay_engine *e, uint32_t eviction,
                             uint64_t capacity, replay_result *out)
{
    e->threads = run->o->threads;
    const cellar_err err = replay_open(run, e, eviction, capacity);
    if (err != CELLAR_OK) {
        snprintf(run->why, CLI_TRACE_WHY,
                 "cannot open a store of capacity %" PRIu64
                 ": %s; free memory, or give --mean or a smaller --capacity",
                 capacity, cellar_strerror(err));
        return false;
    }
    const bool weighs = e->byte_mode && !e->copy && e->max_value > REPLAY_STORED;
    e->stored = weighs ? REPLAY_STORED : e->max_value;
    bool ok = (e->value = calloc(1, (size_t)e->stored + 1)) != NULL;
    for (uint64_t i = 0; i < e->threads; i++) {
        e->worker[i].engine = e;
        ok = ok && (e->worker[i].buf = malloc((size_t)e->stored + 1)) != NULL;
    }
    replay_watch watch = { .counts = replay_counts_engine, .out = out };
    if (!ok) { (void)replay_out_of_memory(run->why); }
    if (ok) {
        ok = replay_threads_start(e, run->why) && replay_pass(run, replay_take_engine, e, &watch);
        replay_threads_end(e);
    }
    for (uint64_t i = 0; i < e->threads; i++) {
        if (e->worker[i].error != CELLAR_OK) { run->code = CLI_INTERNAL; }
        free(e->worker[i].buf);
    }
    const replay_counts counts = replay_counts_engine(e);
    out->counts = replay_plus(counts, &watch.warm, UINT64_MAX);
    out->ns = counts.requests != 0 ? (double)e->elapsed_ns / (double)counts.requests : 0;
    out->bytes = e->bytes;
    out->entries = replay_entries(e->store);
    out->metadata = replay_metadata(e->store, run->commit);
    out->has_metadata = true;
    cellar_advice a = cellar_advice_default();
    out->has_advice = run->o->advisor &&
                      cellar_advice_get(e->store, CELLAR_SCOPE_STORE, &a) == CELLAR_OK;
    memcpy(out->said, a.hit_ratio, sizeof out->said);
    free(e->value);
    cellar_close(e->store);
    return ok;
}

/* ---- a trace ---- */

static double replay_ratio(uint64_t part, uint64_t whole)
{
    return whole != 0 ? (double)part / (double)whole : 0;
}

/* Return the reduction of the misses of FIFO, -1..1. A loss weighs like the same gain. */
static double replay_reduction(double fifo, double x)
{
    if (x == fifo) { return 0; }
    return x < fifo ? (fifo - x) / fifo : -(x - fifo) / x;
}

static bool replay_add(replay_run *run, const replay_result *r)
{
    if (run->result_n == run->result_room) {
        const size_t room = run->result_room != 0 ? run->result_room * 2 : 64;
        replay_result *more = realloc(run->result, room * sizeof *more);
        if (more == NULL) { return replay_out_of_memory(run->why); }
        run->result = more;
        run->result_room = room;
    }
    run->result[run->result_n++] = *r;
    return true;
}

static double replay_within(double x) { return x < 0 ? 0 : x > 1 ? 1 : x; }

/* Compute the ratios. */
static void replay_finish(const replay_run *run, replay_result *r)
{
    r->miss_ratio = replay_within(replay_ratio(r->counts.misses, r->counts.requests) + run->adjust);
    r->byte_miss_ratio =
        replay_within(replay_ratio(r->counts.missed_bytes, r->counts.bytes) + run->adjust_bytes);
}

static bool replay_engine_once(replay_run *run, unsigned policy, uint64_t capacity,
                               replay_result *out)
{
    replay_engine *e = calloc(1, sizeof *e);
    if (e == NULL) { return replay_out_of_memory(run->why); }
    const bool ok = replay_by_engine(run, e, replay_policies[policy].eviction, capacity, out);
    free(e);
    replay_finish(run, out);
    return ok;
}

static int replay_by_misses(const void *a, const void *b)
{
    const double x = ((const replay_result *)a)->miss_ratio;
    const double y = ((const replay_result *)b)->miss_ratio;
    return (x > y) - (x < y);
}

/* Run the policy with each hash key. Advice is that of the first one. */
static bool replay_engine_at(replay_run *run, unsigned policy, uint64_t capacity,
                             replay_result *out)
{
    const bool one = run->o->advisor || run->o->threads != 1 || run->o->seed_given;
    const uint64_t usual = policy == 0 && !one && !run->o->mrc ? REPLAY_SEEDS : 1;
    const uint64_t n = run->o->seeds != 0 ? run->o->seeds : usual;
    static replay_result at[REPLAY_SEEDS_MAX];
    double value[REPLAY_SEEDS_MAX] = { 0 };
    for (uint64_t i = 0; i < n; i++) {
        at[i] = *out;
        run->seed = run->o->seed + i;
        if (!replay_engine_once(run, policy, capacity, &at[i])) { return false; }
        value[i] = at[i].miss_ratio;
    }
    qsort(at, n, sizeof at[0], replay_by_misses);
    *out = at[n / 2];
    out->seeds = n;
    memcpy(out->value, value, sizeof value);
    out->low = at[0].miss_ratio;
    out->high = at[n - 1].miss_ratio;
    out->miss_ratio = (at[(n - 1) / 2].miss_ratio + at[n / 2].miss_ratio) / 2;
    return true;
}

/* Replay the trace at each size of the advice. All sizes that hold the whole trace are one run. */
static bool replay_check_advice(replay_run *run, replay_result *r)
{
    const uint64_t all = run->o->byte_mode ? UINT64_MAX : run->trace.ids.count;
    for (unsigned i = 0; i < CELLAR_ADVICE_COUNT; i++) {
        const uint64_t wanted = (uint64_t)rint((double)r->capacity * replay_scale[i]);
        const uint64_t capacity = wanted < all ? wanted : all;
        replay_result at = { .policy = r->policy, .capacity = capacity };
        if (i > 0 && wanted > all && replay_scale[i - 1] * (double)r->capacity > (double)all) {
            r->is[i] = r->is[i - 1];
            continue;
        }
        snprintf(run->doing, sizeof run->doing, "advice, at %" PRIu64, capacity);
        if (capacity == r->capacity) {
            at.miss_ratio = r->miss_ratio;
        } else if (!replay_engine_at(run, r->policy, capacity, &at)) { return false; }
        r->is[i] = 1 - at.miss_ratio;
    }
    return true;
}

/* Exact LRU at all capacities in one pass. */
typedef struct replay_stack {
    replay_run *run;
    replay_curve *curve;
    const unsigned *place; /* of the capacities, which rise, in the run */
    unsigned n;
    uint64_t done, warm;
} replay_stack;

static bool replay_take_curve(void *ctx, const cli_request *r, size_t n, char *why)
{
    replay_stack *s = ctx;
    (void)why;
    for (size_t i = 0; i < n; i++, s->done++) {
        const uint32_t number = cli_ids_find(&s->run->trace.ids, r + i, n - i);
        if (number == CLI_IDS_NONE) { continue; }
        const unsigned first = replay_curve_request(s->curve, number, &r[i]);
        if (r[i].op != CLI_GET || s->done < s->warm) { continue; }
        s->run->trace.counted++;
        s->run->trace.counted_bytes += r[i].size;
        for (unsigned k = first; k < s->n; k++) {
            s->run->curve[s->place[k]]++;
            s->run->curve_bytes[s->place[k]] += r[i].size;
        }
    }
    return true;
}

static bool replay_curve_run(replay_run *run, const uint64_t *capacity, unsigned n)
{
    uint64_t rising[REPLAY_CAPACITIES_MAX];
    unsigned place[REPLAY_CAPACITIES_MAX], used = 0;
    replay_trace *t = &run->trace;
    memset(run->curve, 0, sizeof run->curve);
    memset(run->curve_bytes, 0, sizeof run->curve_bytes);
    for (unsigned i = 0; i < n; i++) {
        unsigned at = used;
        if (capacity[i] == 0) { continue; }
        for (used++; at > 0 && rising[at - 1] > capacity[i]; at--) {
            rising[at] = rising[at - 1];
            place[at] = place[at - 1];
        }
        rising[at] = capacity[i];
        place[at] = i;
    }
    if (used == 0) { return true; }
    replay_stack s = { .run = run, .place = place, .n = used,
        .warm = (uint64_t)(run->o->warm * (double)(t->requests + t->writes + t->deletes)) };
    s.curve = replay_curve_open(rising, used, run->o->byte_mode, t->ids.count);
    if (s.curve == NULL) { return replay_out_of_memory(run->why); }
    snprintf(run->doing, sizeof run->doing, "exact-lru at all capacities");
    const bool ok = replay_pass(run, replay_take_curve, &s, NULL);
    replay_curve_close(s.curve);
    return ok;
}

/* Write the result of exact LRU at a capacity of the curve. */
static void replay_of_curve(const replay_run *run, unsigned at, replay_result *r)
{
    const replay_trace *t = &run->trace;
    r->counts = (replay_counts){ .requests = t->counted, .misses = t->counted - run->curve[at],
        .bytes = t->counted_bytes, .missed_bytes = t->counted_bytes - run->curve_bytes[at] };
    r->miss_ratio = replay_ratio(r->counts.misses, r->counts.requests);
    r->byte_miss_ratio = replay_ratio(r->counts.missed_bytes, r->counts.bytes);
}

/* Choose the sample for a capacity, and how exact LRU differs there. Return the capacity of the sample
 * in *out. */
static bool replay_choose_sample(replay_run *run, unsigned at, uint64_t capacity, uint64_t *out)
{
    const double objects = run->trace.ids.count;
    const double mean = run->o->byte_mode ? (double)run->trace.unique_bytes / objects : 1;
    double share = REPLAY_SAMPLE / objects;
    const double full = REPLAY_SAMPLE_FULL * mean / (double)capacity;
    const double least = run->o->byte_mode ? (double)CELLAR_MEMORY_MIN / (double)capacity : 0;
    share = full > share ? full : share;
    share = least > share ? least : share;
    *out = capacity;
    if (!run->o->mrc || share >= 1) { return true; }
    run->sample = share;
    *out = (uint64_t)((double)capacity * share + .5);
    replay_result whole = { .capacity = capacity }, part = { .capacity = *out };
    replay_of_curve(run, at, &whole);
    snprintf(run->doing, sizeof run->doing, "a sample at %" PRIu64, capacity);
    if (!replay_exactly(run, &replay_policies[REPLAY_LRU], *out, &part)) { return false; }
    replay_finish(run, &part);
    run->adjust = whole.miss_ratio - part.miss_ratio;
    run->adjust_bytes = whole.byte_miss_ratio - part.byte_miss_ratio;
    return true;
}

/* Replay each policy at capacity number `at`. */
static bool replay_cell(replay_run *run, unsigned at, uint64_t wanted)
{
    const replay_options *o = run->o;
    uint64_t capacity;
    run->sample = 1;
    run->adjust = run->adjust_bytes = 0;
    if (!replay_choose_sample(run, at, wanted, &capacity)) { return false; }
    replay_result fifo = { .capacity = capacity };
    if (o->budget && !replay_budget(run, capacity)) { return false; }
    snprintf(run->doing, sizeof run->doing, "exact-fifo at %" PRIu64, capacity);
    if (!replay_exactly(run, &replay_policies[REPLAY_FIFO], capacity, &fifo)) { return false; }
    replay_finish(run, &fifo);
    for (unsigned i = 0; i < o->policy_count; i++) {
        const replay_policy *p = &replay_policies[o->policy[i]];
        replay_result r = { .policy = o->policy[i], .capacity = capacity };
        snprintf(run->doing, sizeof run->doing, "%s at %" PRIu64, p->name, capacity);
        bool ok = true;
        if (o->policy[i] == REPLAY_FIFO) {
            r = fifo;
            r.policy = o->policy[i];
        } else if (o->mrc && o->policy[i] == REPLAY_LRU && (run->trace.deletes == 0 || run->sample < 1)) {
            replay_of_curve(run, at, &r);
        } else if (p->exact) {
            ok = replay_exactly(run, p, capacity, &r);
            replay_finish(run, &r);
        } else {
            ok = replay_engine_at(run, o->policy[i], capacity, &r);
            if (ok && r.has_advice) { ok = replay_check_advice(run, &r); }
        }
        if (!ok) { return false; }
        if (o->budget) { r.bytes = run->budget; }
        r.capacity = wanted;
        r.place = at * REPLAY_POLICIES + i;
        r.reduction = replay_reduction(fifo.miss_ratio, r.miss_ratio);
        if (!replay_add(run, &r)) { return false; }
    }
    return true;
}

/* Replay each capacity from number `from` on, in steps of --jobs. */
static bool replay_cells(replay_run *run, const uint64_t *capacity, unsigned n, unsigned from)
{
    const unsigned step = run->jobs;
    for (unsigned i = from; i < n; i += step) {
        if (capacity[i] != 0 && !replay_cell(run, i, capacity[i])) { return false; }
    }
    return true;
}

/* What a process of --jobs writes after its results. */
typedef struct replay_end {
    size_t result_n;
    int code;
    bool ok;
    char why[CLI_TRACE_WHY], commit[REPLAY_COMMIT];
} replay_end;

static void replay_job(replay_run *run, const uint64_t *capacity, unsigned n, unsigned from, FILE *to)
{
    static const cli_terminal silent;
    run->term = &silent;
    const bool ok = replay_cells(run, capacity, n, from);
    replay_end end = { .ok = ok, .code = run->code, .result_n = run->result_n };
    memcpy(end.why, run->why, sizeof end.why);
    memcpy(end.commit, run->commit, sizeof end.commit);
    const bool told = fwrite(&end, sizeof end, 1, to) == 1 &&
                      fwrite(run->result, sizeof *run->result, run->result_n, to) == run->result_n;
    _exit(told && fflush(to) == 0 ? 0 : 1);
}

/* Read the results of a process. Return false if it failed. */
static bool replay_read_job(replay_run *run, FILE *from)
{
    replay_end end = { .ok = false };
    replay_result r;
    rewind(from);
    if (fread(&end, sizeof end, 1, from) != 1) {
        snprintf(run->why, CLI_TRACE_WHY, "a process of --jobs died; give a smaller --jobs");
        return false;
    }
    while (end.result_n-- > 0) {
        if (fread(&r, sizeof r, 1, from) != 1 || !replay_add(run, &r)) { return false; }
    }
    memcpy(run->commit, end.commit, sizeof run->commit);
    if (end.ok) { return true; }
    memcpy(run->why, end.why, sizeof run->why);
    run->code = end.code;
    return false;
}

static int replay_by_capacity(const void *a, const void *b)
{
    const replay_result *x = a, *y = b;
    return (x->place > y->place) - (x->place < y->place);
}

/* Replay all capacities in --jobs processes. */
static bool replay_in_jobs(replay_run *run, const uint64_t *capacity, unsigned n)
{
    FILE *part[REPLAY_THREADS_MAX] = { NULL };
    pid_t child[REPLAY_THREADS_MAX] = { 0 };
    bool ok = true;
    fflush(NULL);
    for (unsigned i = 0; i < run->jobs && ok; i++) {
        part[i] = tmpfile();
        child[i] = part[i] != NULL ? fork() : -1;
        if (child[i] == 0) { replay_job(run, capacity, n, i, part[i]); }
        ok = child[i] > 0;
        if (!ok) { snprintf(run->why, CLI_TRACE_WHY, "cannot start a process of --jobs: %s; give a smaller --jobs", cli_errno_text(errno)); }
    }
    for (unsigned i = 0; i < run->jobs; i++) {
        if (child[i] > 0) { (void)waitpid(child[i], NULL, 0); }
        ok = ok && replay_read_job(run, part[i]);
        if (part[i] != NULL) { fclose(part[i]); }
    }
    qsort(run->result, run->result_n, sizeof *run->result, replay_by_capacity);
    return ok;
}

/* Compute a capacity of the run into *out; 0: this default is left out. Return CLI_DONE, or
 * CLI_USAGE with `why`. */
static int replay_size(replay_run *run, const replay_capacity *c, uint64_t *out)
{
    const replay_trace *t = &run->trace;
    const uint64_t all = run->o->byte_mode ? t->unique_bytes : t->ids.count;
    *out = c->share ? (uint64_t)rint(c->fraction * (double)all) : c->value;
    if (run->o->default_capacities &&
        *out < (run->o->byte_mode ? CELLAR_MEMORY_MIN : REPLAY_LEAST_DEFAULT)) {
        *out = 0;
        return CLI_DONE;
    }
    const char *const unit = run->o->byte_mode ? "bytes" : "objects";
    if (*out == 0) {
        snprintf(run->why, CLI_TRACE_WHY,
                 "%.250s: a capacity must be at least 1 entry (got 0); "
                 "name a larger number or share",
                 t->path);
    } else if (*out > all) {
        snprintf(run->why, CLI_TRACE_WHY,
                 "%.250s: capacity %" PRIu64 " is larger than the whole "
                 "trace (%" PRIu64 " %s): nothing is evicted, so the figures of all policies say "
                 "nothing; name a capacity below %" PRIu64 ", such as --capacity=10%%",
                 t->path, *out, all, unit, all);
    } else if (run->o->byte_mode && *out < CELLAR_MEMORY_MIN) {
        snprintf(run->why, CLI_TRACE_WHY,
                 "%.250s: a capacity in --mode=byte must be at least "
                 "1 MiB (got %" PRIu64 " bytes); name a larger number or share",
                 t->path, *out);
    } else {
        return CLI_DONE;
    }
    return CLI_USAGE;
}

static void replay_name(replay_trace *t)
{
    static const char *const ends[] = { ".zst", ".gz", ".bin", ".ctr", ".oracleGeneral", ".og",
                                        ".lis", ".csv", ".jsonl", ".txt" };
    const char *slash = strrchr(t->path, '/');
    snprintf(t->name, sizeof t->name, "%s", slash != NULL ? slash + 1 : t->path);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        const size_t n = strlen(t->name), e = strlen(ends[i]);
        if (n > e && strcmp(t->name + n - e, ends[i]) == 0) { t->name[n - e] = '\0'; }
    }
}

/* Copy what is no regular file (a pipe) into a temporary file, which each pass reads. */
static bool replay_spool(replay_run *run)
{
    struct stat st;
    const char *path = run->trace.path;
    const bool input = strcmp(path, "-") == 0;
    FILE **spool = &run->trace.spool;
    if ((input ? fstat(0, &st) : stat(path, &st)) != 0 || S_ISREG(st.st_mode) ||
        S_ISDIR(st.st_mode)) {
        return true; /* the open says what is wrong */
    }
    const int from = input ? 0 : open(path, O_RDONLY | O_CLOEXEC);
    bool ok = from >= 0 && (*spool = tmpfile()) != NULL;
    for (ssize_t n = 1; ok && n != 0;) {
        n = read(from, run->piece, REPLAY_PIECE * sizeof *run->piece);
        if (n < 0 && errno == EINTR) { continue; }
        ok = n >= 0 && fwrite(run->piece, 1, (size_t)n, *spool) == (size_t)n;
    }
    ok = ok && fflush(*spool) == 0;
    if (!ok) {
        snprintf(run->why, CLI_TRACE_WHY, "cannot copy %.250s to /tmp: %s; make room there", path,
                 cli_errno_text(errno));
    }
    if (from > 0) { close(from); }
    return ok;
}

static int replay_all(replay_run *run)
{
    const replay_options *o = run->o;
    snprintf(run->doing, sizeof run->doing, "reading");
    if (!replay_pass(run, replay_take_scan, &run->trace, NULL)) { return run->code; }
    if (run->trace.requests == 0) {
        snprintf(run->why, CLI_TRACE_WHY, "%.250s: no request before the end; expected %s",
                 run->trace.path, run->trace.form);
        return CLI_FINDING;
    }
    uint64_t capacity[REPLAY_CAPACITIES_MAX];
    for (unsigned i = 0; i < o->capacity_count; i++) {
        const int code = replay_size(run, &o->capacity[i], &capacity[i]);
        if (code != CLI_DONE) { return code; }
    }
    if (o->every != 0 && (run->trace.requests + run->trace.writes + run->trace.deletes - 1) / o->every >= REPLAY_SERIES) {
        snprintf(run->why, CLI_TRACE_WHY, "--every must leave at most %u stretches (got %" PRIu64
                 "); give a larger number", REPLAY_SERIES, o->every);
        return CLI_USAGE;
    }
    if (o->mrc && !replay_curve_run(run, capacity, o->capacity_count)) { return run->code; }
    const bool ok = run->jobs > 1 ? replay_in_jobs(run, capacity, o->capacity_count)
                                  : replay_cells(run, capacity, o->capacity_count, 0);
    run->sample = 1;
    return ok ? CLI_DONE : run->code;
}

/* Write requests as ctr records. Sets, deletes and times to live have no place there. */
static bool replay_take_write(void *ctx, const cli_request *r, size_t n, char *why)
{
    replay_run *run = ctx;
    for (size_t i = 0; i < n; i++) {
        const uint64_t size = r[i].size < UINT32_MAX ? r[i].size : UINT32_MAX;
        const uint64_t word[2] = { r[i].id, size | (uint64_t)r[i].time_ms / 1000 << 32 };
        unsigned char record[16];
        if (r[i].op == CLI_DELETE) { continue; }
        for (unsigned k = 0; k < 16; k++) {
            record[k] = (unsigned char)(word[k / 8] >> 8 * (k % 8));
        }
        if (fwrite(record, sizeof record, 1, run->out) == 1) { continue; }
        snprintf(why, CLI_TRACE_WHY, "--write cannot write %.250s: %s; name a file with room",
                 run->o->write, cli_errno_text(errno));
        return false;
    }
    return true;
}

static int replay_trace_run(replay_run *run, const char *path, bool several)
{
    memset(&run->trace, 0, sizeof run->trace);
    run->trace.path = path;
    run->result_n = 0;
    run->code = CLI_NO_START; /* all but the errors that set it */
    replay_name(&run->trace);
    const bool spooled = replay_spool(run), inherited = run->trace.spool != NULL || strcmp(path, "-") == 0;
    run->jobs = inherited || run->o->jobs == 0 ? 1 : (unsigned)run->o->jobs; /* of an inherited file: one place */
    int code = !spooled ? CLI_NO_START
               : run->out == NULL ? replay_all(run)
               : replay_pass(run, replay_take_write, run, NULL) ? CLI_DONE : run->code;
    replay_live_end(run);
    if (code != CLI_DONE) {
        cli_complain("replay", "%s", run->why);
    } else if (run->out == NULL) {
        replay_print(run);
        replay_print_json(run, run->json != NULL ? run->json : stdout);
        if (run->csv != NULL) { replay_print_csv(run, run->csv); }
        if (run->o->plot != NULL) { code = replay_plot(run, several); }
    }
    cli_ids_free(&run->trace.ids);
    if (run->trace.spool != NULL) { fclose(run->trace.spool); }
    return code;
}

/* ---- the command ---- */

/* Open a file of --json or --write; close it. An error is a code, and said once. */
static FILE *replay_file(const char *option, const char *path, const char *mode, int *code)
{
    FILE *f = path != NULL ? fopen(path, mode) : NULL;
    if (f == NULL && path != NULL) {
        cli_complain("replay", "--%s cannot write %s: %s; name a file that can be written", option,
                     path, cli_errno_text(errno));
        *code = CLI_USAGE;
    }
    return f;
}

static void replay_file_close(const char *option, const char *path, FILE *f, int *code)
{
    if (f == NULL || fclose(f) == 0 || *code != CLI_DONE) { return; }
    cli_complain("replay", "--%s cannot write %s: %s; name a file with room", option, path,
                 cli_errno_text(errno));
    *code = CLI_INTERNAL;
}

int replay_main(int argc, char **argv, const cli_terminal *term)
{
    static const double share[] = { .001, .01, .05, .1, .2 };
    replay_options o = { .policy_count = REPLAY_DEFAULT, .capacity_count = 5,
                         .default_capacities = true, .threads = 1, .how = { .per_second = 1 } };
    for (unsigned i = 0; i < o.policy_count; i++) { o.policy[i] = i; }
    for (unsigned i = 0; i < o.capacity_count; i++) {
        o.capacity[i] = (replay_capacity){ .share = true, .fraction = share[i] };
    }
    int code = replay_parse(argc, argv, &o);
    if (code != CLI_GO_ON) { return code; }
    if (o.mrc && o.default_capacities) { /* shares that rise from .1 to 90 % by one factor */
        o.capacity_count = REPLAY_CURVE;
        for (unsigned i = 0; i < REPLAY_CURVE; i++) {
            o.capacity[i] = (replay_capacity){ .share = true,
                                               .fraction = i != 0 ? o.capacity[i - 1].fraction * 1.2453 : .001 };
        }
    }
    code = CLI_DONE;
    replay_run run = { .o = &o, .term = term, .sample = 1 };
    run.piece = malloc(REPLAY_PIECE * sizeof *run.piece);
    if (run.piece == NULL) {
        cli_complain("replay", "out of memory; end other programs");
        return CLI_NO_START;
    }
    run.json = replay_file("json", o.json, "ae", &code);
    run.csv = replay_file("csv", o.csv, "we", &code);
    run.out = replay_file("write", o.write, "we", &code);
    for (int i = optind; i < argc && code == CLI_DONE; i++) {
        code = replay_trace_run(&run, argv[i], argc - optind > 1);
    }
    replay_file_close("json", o.json, run.json, &code);
    replay_file_close("csv", o.csv, run.csv, &code);
    replay_file_close("write", o.write, run.out, &code);
    free(run.result);
    free(run.piece);
    return code;
}
