/* SPDX-License-Identifier: MIT
 *
 * cell: opens and fills the subjects of a workload, runs the rounds, turns windows into rows.
 *
 * PICTURE    round:  measure c2c | lane 3 | lane 4 | ... | lane 2   (rotated by one each round)
 *            lane  = subject x operation mix x threads, each at the same position of the trace.
 *            One block of rounds for each mix; batches and pins share one with their plain reads.
 * INVARIANTS A ratio uses two windows of one round; its median, p25, p75 use the rounds of one
 *            cross-core state. Rounds with a disturbed window of the two count only if fewer than
 *            5 others are left; the row then says how many, why, and that it is noisy.
 *            A lane of one thread hands nothing over: its rounds are of one state.
 * WALK       Rounds run until one state has enough clean rounds, twice as many at most (quick: 1.5
 *            times). After block_s 9 clean rounds of subjects in C suffice; 5 block_s is the limit.
 *            Under 9 clean rounds, or over a third dropped: noisy; the row cannot meet a target.
 * FAULTS     A workload runs in a child that reports its subject and its progress in a shared page.
 *            A dead or hung child is a row of that subject; the workload runs again without it.
 *            A process leaks if its memory, all work done, grew by a quarter and by over half of
 *            the bytes written into its unchanging population; its row says by how much.
 * REGIMES    cold: all subjects in one process, windows interleaved, so that caches are full of
 *            other data, as in a real process. warm: each alone, two unrecorded windows first.
 * OTHERS     Peers in other languages are processes that take turns. Work of such a process during
 *            other windows is its bg_cpu_ns. A window begins when all rest, or after 100 ms. If it
 *            loses over 5 % of a CPU to them, it is repeated, for a bounded store with other
 *            requests: the first ones would hit now. Thread switches of such a process do not
 *            count; stolen time and length do. A dead one ends its own rows.
 * LIMITS     40 subjects, 320 lanes a block, 8 thread counts, 8 traces; thread 9: trace 1, shifted.
 * TRIED      Subjects one after another: the state flips between them, factor of two. */
#include "bench/harness/cell.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/harness/driver.h"
#include "bench/harness/host.h"
#include "bench/harness/json.h"
#include "bench/harness/room.h"
#include "bench/harness/verify.h"
#include "bench/harness/window.h"

#define CELL_SUBJECTS 40
#define CELL_REFERENCES "uthash64 uthash1 raw uthash64t"
#define CELL_USUAL "uthash1 uthash64 uthash64t" /* not uthash16 */
#define CELL_LANES (CELL_SUBJECTS * WORKLOAD_CELLS)
#define CELL_ROUNDS_NEEDED 9
#define CELL_BLOCK_TIMES 5 /* a block ends after so many block_s */
#define CELL_DROPPED_MAX (1.0 / 3)
#define CELL_HOT_OPS 65536
#define CELL_PATIENCE_MS 300000u
#define CELL_DRIVER_MS 150000u  /* more for a process that opens, fills and warms up by itself */
#define CELL_LEAK_SPARE ((uint64_t)4 << 20)
#define CELL_LEAK_ENTRY 512     /* bytes an entry may cost while a bounded store fills */
#define CELL_FULL_WINDOWS 200  /* of 100 ms, to fill a bounded store by its own misses */
#define CELL_FULL_LIMITED 30   /* the same where blocks have a limit of time */
#define CELL_OTHERS_MAX 0.05 /* of a CPU, used by other processes of the run during a window */
#define CELL_REPEATS 2
#define CELL_REST_MS 100     /* time for other processes to finish deferred work */
#define CELL_CLEAN_LEAST 5   /* below, disturbed windows count too */
#define CELL_TRACES 8u       /* of threads, in each process */
#define CELL_TROUBLES 5      /* bits of window_trouble */

typedef struct cell_lane {
    uint32_t subject, cell, threads;
} cell_lane;

/* Between a child that runs a workload and its parent; shared. */
typedef struct cell_page {
    _Atomic uint64_t beats;             /* + 1 with every step of work */
    _Atomic(const bench_subject *) at;  /* its subject; NULL: none */
} cell_page;

static cell_page *cell_watched; /* NULL: this process is not watched */

static void cell_beat(const bench_subject *s)
{
    if (cell_watched != NULL) {
        atomic_store(&cell_watched->at, s);
        atomic_fetch_add(&cell_watched->beats, 1);
    }
}

/* One workload while it runs. Everything is owned and freed by cell_close. */
typedef struct cell_set {
    const cell_options *o;
    workload own;                             /* copy: reading a file tells its number of keys */
    const workload *w;                        /* == &own */
    const char *bench;
    const bench_subject *subject[CELL_SUBJECTS];
    void *store[CELL_SUBJECTS];
    bool dead[CELL_SUBJECTS];                 /* a driver that crashed or no longer answers */
    uint64_t held[CELL_SUBJECTS], sets[CELL_SUBJECTS]; /* of a driver: bytes at first; since then */
    window_result *last[CELL_SUBJECTS];       /* its last recorded window: later work is of that */
    uint32_t subject_count, thread_max, trace_count, driver_count;
    char trace_path[480];                     /* of the drivers; "" while none is open */
    char bound_path[480];                     /* the workload with another bound; "": none */
    room_size ours;                                /* of the budget; measured for w->room */
    trace *traces, *hot;                      /* one a thread, owned up to CELL_TRACES */
    uint32_t **masks[WORKLOAD_CELLS];         /* the same; behind those of sets, of deletes */
    uint32_t *lengths, length_mask;
    int64_t *ttls;                            /* NULL: one TTL for all */
    window_pool *pool;
    cell_lane lane[CELL_LANES];               /* of the running block */
    uint32_t lane_count, round_count, round_room;
    window_result *result;                    /* [round][lane] */
    uint64_t *c2c_ns;                         /* [round] */
    hist *latency;                            /* [lane] of a LATENCY block, clean windows, then
                                                 [lane] all windows; else NULL */
    double latency_unit[CELL_LANES];          /* ns of one step of it */
    bool wrong;                               /* a bad value or an unexpected error was seen */
} cell_set;

cell_state cell_state_of(uint64_t c2c_ns)
{
    return c2c_ns == 0 ? CELL_ONE : c2c_ns < 60 ? CELL_NEAR : c2c_ns > 120 ? CELL_FAR : CELL_MID;
}

const char *cell_state_name(cell_state s)
{
    static const char *const names[CELL_STATES] = { "near", "mid", "far", "one" };
    return names[s];
}

static int cell_compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double cell_quantile(double *values, uint32_t count, double q)
{
    if (count == 0) {
        return NAN;
    }
    qsort(values, count, sizeof values[0], cell_compare);
    const double at = q * (count - 1);
    const uint32_t low = (uint32_t)at;
    const uint32_t high = low + 1 < count ? low + 1 : low;
    return values[low] + (values[high] - values[low]) * (at - low);
}

static bool cell_is_name(const char *word)
{
    for (size_t i = 0; i < bench_registry_count; i++) {
        if (strcmp(bench_registry[i].name, word) == 0) {
            return true;
        }
    }
    return false;
}

/* A full name means this subject only ("uthash1" is not uthash16), a prefix all subjects with
 * it. */
static bool cell_named(const char *list, const char *subject)
{
    char copy[CELL_NAMES], *rest = copy, *word;
    snprintf(copy, sizeof copy, "%s", list);
    while ((word = strtok_r(rest, " ,", &rest)) != NULL) {
        if (strcmp(subject, word) == 0 ||
            (!cell_is_name(word) && strncmp(subject, word, strlen(word)) == 0)) {
            return true;
        }
    }
    return false;
}

bool cell_chosen(const cell_options *o, const workload *w, const char *subject)
{
    const bool tier = strncmp(subject, "cellar_", 7) == 0;
    const bool ours = strcmp(subject, "raw") == 0 || strcmp(subject, "cellar") == 0 || tier;
    const bool only_named = strcmp(subject, "rocks_lru") == 0 || tier ||
                            (w == NULL && strcmp(subject, "rocks_hyper") == 0);
    const bool small = strstr(subject, "_value") != NULL;
    const bool named = w != NULL ? w->subjects[0] != '\0'
                                 : o->peers != NULL && cell_named(o->peers, subject);
    if ((w != NULL && !workload_wants(w, subject)) || (small && w == NULL) ||
        (only_named && !named)) {
        return false;
    }
    if (o->ref != NULL && strcmp(o->ref, subject) == 0) {
        return true;
    }
    if (ours || o->full || o->all_subjects || o->peers != NULL) {
        return ours || o->peers == NULL || cell_named(o->peers, subject);
    }
    return (w != NULL && w->subjects[0] != '\0') || cell_named(CELL_USUAL, subject);
}

/* A slow subject fills a population for minutes: it takes part only when it is named. */
static bool cell_too_slow(const cell_options *o, const workload *w, const bench_subject *s)
{
    return (s->caps & BENCH_SLOW) != 0 && w->subjects[0] == '\0' && o->peers == NULL && !o->full;
}

/* Return why the subject cannot take part; NULL: it can. RAW keeps no deadlines and is compared
 * nevertheless. */
static const char *cell_unable(const bench_subject *s, const workload *w)
{
    const bool raw = strcmp(s->name, "raw") == 0;
    if ((s->caps & BENCH_SMALL) && w->value_len > BENCH_SMALL_LEN) {
        return "holds values of at most 103 bytes";
    }
    if ((w->capacity_entries != 0 || w->capacity_bytes != 0) && !(s->caps & BENCH_BOUNDED)) {
        return "holds no bound";
    }
    if (s->driver != NULL && w->ttl.law != WORKLOAD_FIXED) {
        return "a process takes one TTL for all entries";
    }
    return w->ttl_ms == 0 || raw || (s->caps & BENCH_TTL) ? NULL : "has no TTL for each entry";
}

static void cell_close(cell_set *c)
{
    for (uint32_t i = 0; i < c->subject_count; i++) {
        if (c->store[i] != NULL) {
            cell_beat(c->subject[i]);
            c->subject[i]->close(c->store[i]);
        }
    }
    cell_beat(NULL);
    window_pool_destroy(c->pool);
    for (uint32_t t = 0; t < c->trace_count; t++) {
        if (c->traces != NULL) {
            trace_free(&c->traces[t]);
        }
        if (c->hot != NULL) {
            trace_free(&c->hot[t]);
        }
        for (uint32_t k = 0; k < WORKLOAD_CELLS; k++) {
            if (c->masks[k] != NULL) {
                free(c->masks[k][t]);
                free(c->masks[k][c->thread_max + t]);
            }
        }
    }
    for (uint32_t k = 0; k < WORKLOAD_CELLS; k++) {
        free(c->masks[k]);
    }
    free(c->traces);
    free(c->hot);
    free(c->lengths);
    free(c->ttls);
    free(c->result);
    free(c->c2c_ns);
    free(c->latency);
    if (c->trace_path[0] != '\0') {
        remove(c->trace_path);
    }
    if (c->bound_path[0] != '\0') {
        remove(c->bound_path);
    }
}

static bool cell_make_traces(cell_set *c)
{
    char why[400];
    c->trace_count = c->thread_max < CELL_TRACES ? c->thread_max : CELL_TRACES;
    c->traces = calloc(c->thread_max, sizeof c->traces[0]);
    c->hot = calloc(c->thread_max, sizeof c->hot[0]);
    if (c->traces == NULL || c->hot == NULL) {
        return false;
    }
    for (uint32_t t = 0; t < c->trace_count; t++) {
        if (!trace_make(&c->own.trace, t, &c->traces[t], why, sizeof why)) {
            fprintf(stderr, "cellar-bench: %s: %s\n", c->w->name, why);
            return false;
        }
        trace_spec hot = c->w->trace;
        hot.kind = TRACE_CONST;
        hot.op_count = CELL_HOT_OPS;
        if (!trace_make(&hot, t, &c->hot[t], why, sizeof why)) {
            return false;
        }
    }
    for (uint32_t k = 0; k < c->w->cell_count; k++) {
        const workload_cell *cell = &c->w->cell[k];
        const uint32_t sets = cell->set_pct, both = sets + cell->del_pct;
        c->masks[k] = calloc((size_t)2 * c->thread_max, sizeof c->masks[k][0]);
        for (uint32_t t = 0; c->masks[k] != NULL && t < c->trace_count; t++) {
            const uint64_t n = cell->hot ? c->hot[t].count : c->traces[t].count;
            const uint64_t seed = c->w->trace.seed + 31 * t + k;
            uint32_t **deletes = &c->masks[k][c->thread_max + t];
            c->masks[k][t] = trace_mask(n, 0, sets, seed);
            *deletes = both > sets ? trace_mask(n, sets, both, seed) : NULL;
            if (c->masks[k][t] == NULL || (both > sets && *deletes == NULL)) {
                return false;
            }
        }
        for (uint32_t t = c->trace_count; c->masks[k] != NULL && t < c->thread_max; t++) {
            c->masks[k][t] = c->masks[k][t % c->trace_count];
            c->masks[k][c->thread_max + t] = c->masks[k][c->thread_max + t % c->trace_count];
        }
    }
    for (uint32_t t = c->trace_count; t < c->thread_max; t++) {
        c->traces[t] = c->traces[t % c->trace_count];
        c->hot[t] = c->hot[t % c->trace_count];
    }
    c->lengths = workload_lengths(c->w, &c->traces[0], &c->length_mask);
    c->ttls = c->w->ttl.law != WORKLOAD_FIXED ? workload_ttls(c->w) : NULL;
    return c->lengths != NULL && (c->w->ttl.law == WORKLOAD_FIXED || c->ttls != NULL);
}

static bool cell_fill(cell_set *c, uint32_t i)
{
    const workload *w = c->w;
    const uint64_t n = w->prefill < c->w->trace.key_count ? w->prefill : c->w->trace.key_count;
    unsigned char key[VERIFY_KEY_MAX];
    unsigned char *value = malloc(w->value_len);
    uint64_t refused = 0;
    if (value == NULL) {
        return false;
    }
    for (uint64_t id = 0; id < n; id++) {
        const size_t len = c->lengths[(uint32_t)id & c->length_mask];
        if (id % 1024 == 0) {
            cell_beat(c->subject[i]);
        }
        verify_fill(value, len);
        verify_stamp(value, len, id);
        verify_make_key(key, id, w->key_len);
        refused += c->subject[i]->set(c->store[i], key, w->key_len, value, len,
                                      c->ttls != NULL ? c->ttls[id % WORKLOAD_TTLS]
                                                      : w->ttl_ms) < 0;
    }
    free(value);
    if (refused > 0) {
        char text[80];
        snprintf(text, sizeof text, "%" PRIu64 " of %" PRIu64 " sets refused while filling",
                 refused, n);
        json_say(c->bench, c->subject[i]->name, w->name, "skip", text);
    }
    return refused == 0;
}

static bool cell_put(FILE *f, const void *from, size_t bytes)
{
    return fwrite(from, 1, bytes, f) == bytes;
}

/* The trace as drivers read it; bench/peers/lib/README.md has the format. Hot mixes request one id,
 * so their bits are repeated over the length of the trace. */
static bool cell_write_trace(cell_set *c)
{
    const uint64_t count = c->traces[0].count;
    const uint64_t lengths = c->length_mask == UINT32_MAX ? c->w->trace.key_count
                                                          : (uint64_t)c->length_mask + 1;
    uint64_t head[8] = { 0, c->trace_count, count, c->w->cell_count, lengths, c->length_mask,
                         c->w->trace.key_count, c->hot[0].ids[0] };
    memcpy(head, "CELLBTR1", 8);
    snprintf(c->trace_path, sizeof c->trace_path, "%s/%s.%d.trace", c->o->scratch, c->w->name,
             (int)getpid());
    FILE *f = fopen(c->trace_path, "wbe");
    bool ok = f != NULL && cell_put(f, head, sizeof head);
    for (uint32_t k = 0; ok && k < c->w->cell_count; k++) {
        char name[16] = { 0 };
        const uint64_t hot = c->w->cell[k].hot;
        memcpy(name, c->w->cell[k].metric, strnlen(c->w->cell[k].metric, sizeof name));
        ok = cell_put(f, name, sizeof name) && cell_put(f, &hot, sizeof hot);
    }
    for (uint32_t t = 0; ok && t < c->trace_count; t++) {
        ok = c->traces[t].count == count && cell_put(f, c->traces[t].ids, count * 4);
    }
    ok = ok && cell_put(f, c->lengths, lengths * 4);
    for (uint32_t k = 0; ok && k < c->w->cell_count; k++) {
        const uint64_t words = (c->w->cell[k].hot ? c->hot[0].count : count) / 32;
        for (uint32_t t = 0; ok && t < c->trace_count; t++) {
            for (uint64_t i = 0; ok && i < count / 32; i += words) {
                const uint64_t n = count / 32 - i < words ? count / 32 - i : words;
                ok = cell_put(f, c->masks[k][t], n * 4);
            }
        }
    }
    return f != NULL && fclose(f) == 0 && ok;
}

/* Write the workload with a bound of entries, for a driver. */
static bool cell_write_bound(cell_set *c, uint64_t entries)
{
    char line[256];
    snprintf(c->bound_path, sizeof c->bound_path, "%s/%s.%d.wl", c->o->scratch, c->w->name,
             (int)getpid());
    FILE *from = fopen(c->w->path, "re"), *to = from != NULL ? fopen(c->bound_path, "we") : NULL;
    while (to != NULL && fgets(line, sizeof line, from) != NULL) {
        if (strncmp(line, "capacity", 8) != 0) {
            fputs(line, to);
        }
    }
    if (to != NULL) {
        fprintf(to, "capacity = entries %" PRIu64 "\n", entries);
    }
    if (from != NULL) {
        fclose(from);
    }
    return to != NULL && fclose(to) == 0;
}

/* Give a subject the room of ours: the same entries, or the same growth of its process. Return
 * false if no bound does. */
static bool cell_same_room(cell_set *c, const bench_subject *s, bench_cfg *cfg)
{
    const bench_subject *ours = bench_subject_find("cellar");
    char why[256];
    room_size got = { 0, 0 };
    cfg->capacity_bytes = c->w->capacity_bytes;
    cfg->capacity_entries = c->w->capacity_entries;
    cfg->workload_path = c->w->path;
    if (c->w->room == WORKLOAD_OWN || s == ours) {
        return true;
    }
    if (c->ours.entries == 0 &&
        (ours == NULL || !room_measure(ours, cfg, &c->ours, why, sizeof why))) {
        return false;
    }
    cell_beat(s);
    cfg->capacity_entries = c->w->room == WORKLOAD_ENTRIES ? c->ours.entries
                                                           : room_same_rss(s, cfg, &c->ours, &got);
    cfg->capacity_bytes = 0;
    cfg->hint_entries = cfg->capacity_entries;
    cfg->workload_path = c->bound_path;
    printf("room: %s %" PRIu64 " entries\n", s->name, cfg->capacity_entries);
    return cfg->capacity_entries != 0 &&
           (s->driver == NULL || cell_write_bound(c, cfg->capacity_entries));
}

/* Open and fill. A subject that cannot is left out with a line that states it. */
static void cell_open_subjects(cell_set *c, const bench_subject *const *list, uint32_t count)
{
    const workload *w = c->w;
    bench_cfg cfg = {
        .key_count = c->w->trace.key_count,
        .hint_entries = w->capacity_entries != 0 ? w->capacity_entries
                        : w->capacity_bytes != 0 ? w->capacity_bytes / (w->key_len + w->value_len)
                                                 : w->trace.key_count,
        .capacity_entries = w->capacity_entries,
        .capacity_bytes = w->capacity_bytes,
        .payload_bytes = workload_payload(w, c->lengths, c->length_mask),
        .ttl_ms = w->ttl_ms,
        .key_len = w->key_len,
        .value_len = w->value_len,
        .threads = c->thread_max,
        .seed = 20240601,
        .bench = c->bench,
        .workload = w->name,
        .workload_path = w->path,
        .scratch = c->o->scratch,
        .warm_ms = c->o->quick ? 900 : 3000,
        .digest = trace_digest(w->cell[0].hot ? &c->hot[0] : &c->traces[0], c->masks[0][0],
                               BENCH_DIGEST),
    };
    for (uint32_t k = 0; k < count && c->subject_count < CELL_SUBJECTS; k++) {
        const uint32_t i = c->subject_count;
        const char *unable = cell_unable(list[k], w);
        if (unable != NULL) {
            json_say(c->bench, list[k]->name, w->name, "skip", unable);
            continue;
        }
        if (list[k]->driver != NULL && c->trace_path[0] == '\0' && !cell_write_trace(c)) {
            json_say(c->bench, list[k]->name, w->name, "skip", "no room for the trace");
            continue;
        }
        cfg.self = list[k];
        cfg.trace_path = c->trace_path;
        c->subject[i] = list[k];
        cell_beat(list[k]);
        const bool bound = cell_same_room(c, list[k], &cfg);
        c->store[i] = bound ? list[k]->open(&cfg) : NULL;
        if (c->store[i] == NULL) {
            if (list[k]->driver == NULL || !bound) { /* the driver has stated why */
                json_say(c->bench, list[k]->name, w->name, "skip", "cannot be opened");
            }
            continue;
        }
        c->driver_count += list[k]->driver != NULL;
        c->held[i] = list[k]->driver != NULL ? driver_held_bytes(c->store[i]) : 0;
        c->sets[i] = 0;
        if (list[k]->caps & BENCH_LEAKS) {
            json_say(c->bench, list[k]->name, w->name, "leak", "never frees what it replaced");
        }
        c->subject_count++;
        if (list[k]->driver == NULL && !cell_fill(c, i)) {
            list[k]->close(c->store[i]);
            c->subject_count--;
        }
    }
}

/* Return the start of the windows of a round. Golden steps spread the rounds over the whole trace.
 * Windows with other thread counts, and the unrecorded ones at 0, start elsewhere: a bounded store
 * that meets the same requests again a moment later would have too many hits (with a step of .19 the
 * third count began where the first one had begun a round before). */
static uint64_t cell_position(const cell_set *c, uint32_t round, uint32_t threads)
{
    const uint64_t n = c->traces[0].count;
    uint32_t index = 0;
    while (c->w->thread[index] != threads) {
        index++;
    }
    return (uint64_t)((double)n * fmod((round + 1) * 0.61803398875 + index * 0.137, 1.0));
}

/* CPU of every driver so far; 0 for subjects of this process and ended drivers. */
static void cell_driver_cpu(const cell_set *c, uint64_t ns[CELL_SUBJECTS])
{
    for (uint32_t i = 0; i < c->subject_count; i++) {
        ns[i] = c->subject[i]->driver != NULL ? driver_cpu_ns(c->store[i]) : 0;
    }
}

/* Add the time that idle drivers used since `before` to their figures. Return true if it is too
 * much. */
static bool cell_bill(cell_set *c, const cell_lane *l, const uint64_t *before, uint64_t wall_ns)
{
    uint64_t now[CELL_SUBJECTS], others = 0;
    cell_driver_cpu(c, now);
    for (uint32_t i = 0; i < c->subject_count; i++) {
        if (i != l->subject && now[i] > before[i]) {
            if (c->last[i] != NULL) {
                c->last[i]->bg_cpu_ns += now[i] - before[i];
            }
            others += now[i] - before[i];
        }
    }
    return (double)others > CELL_OTHERS_MAX * (double)wall_ns;
}

/* Wait until the others have done their deferred work (collectors, compilers, policies), which
 * would disturb the next window. The work is added to their figures. */
static void cell_rest(cell_set *c, const cell_lane *l)
{
    const struct timespec look = { 0, 2000000 };
    uint64_t before[CELL_SUBJECTS];
    for (uint32_t ms = 0; c->driver_count > 0 && ms < CELL_REST_MS; ms += 2) {
        const uint64_t start = host_wall_ns();
        cell_driver_cpu(c, before);
        nanosleep(&look, NULL);
        if (!cell_bill(c, l, before, host_wall_ns() - start)) {
            break;
        }
    }
}

/* A window of a process. A process that fails permanently ends its own rows, never the others. */
static bool cell_ask(cell_set *c, const cell_lane *l, const window_job *job, hist *latency,
                     window_result *r)
{
    const bench_subject *s = c->subject[l->subject];
    if (!c->dead[l->subject] &&
        !driver_window(c->store[l->subject], c->w->cell[l->cell].metric, job, latency, r)) {
        c->dead[l->subject] = true;
        c->wrong = true;
        const char *why = driver_trouble(c->store[l->subject]);
        json_say(c->bench, s->name, c->w->name, driver_kind(why), why);
    }
    if (c->dead[l->subject]) {
        memset(r, 0, sizeof *r);
        r->dropped = WINDOW_ENDED;
    }
    return true;
}

static bool cell_window_once(cell_set *c, const cell_lane *l, const window_job *job,
                             window_result *r)
{
    const uint32_t at = (uint32_t)(l - c->lane);
    cell_beat(job->subject);
    hist *sum = job->op == WORKLOAD_LATENCY && c->latency != NULL && at < c->lane_count
                    ? &c->latency[at] : NULL;
    const hist *seen = NULL;
    if (job->subject->driver != NULL) {
        static hist one;
        if (!cell_ask(c, l, job, job->op == WORKLOAD_LATENCY ? &one : NULL, r)) {
            return false;
        }
        seen = (r->dropped & WINDOW_ENDED) == 0 ? &one : NULL;
    } else {
        uint64_t (*const count)(void *) = job->subject->kept;
        const uint64_t kept = count != NULL ? count(job->store) : 0;
        if (!window_run(c->pool, job, r)) {
            return false;
        }
        r->kept = count != NULL ? count(job->store) - kept : 0;
        seen = window_histogram(c->pool);
    }
    if (sum != NULL && seen != NULL) {
        c->latency_unit[at] = job->subject->driver != NULL ? 1 : host_ns_per_tick();
        hist_merge(sum + c->lane_count, seen);
        if (r->dropped == 0) {
            hist_merge(sum, seen);
        }
    }
    return true;
}

/* Return the start of the i-th try of a window. A bounded store has just met the requests of the
 * try before, so it begins elsewhere. */
static uint64_t cell_again(const cell_set *c, uint64_t position, int i)
{
    const bool bounded = c->w->capacity_entries + c->w->capacity_bytes > 0;
    const uint64_t n = c->traces[0].count;
    return (bounded ? (position + n / 7 * 2 * (uint64_t)i) % n : position) & ~UINT64_C(31);
}

static bool cell_window(cell_set *c, const cell_lane *l, uint64_t position, uint32_t ms,
                        window_result *r)
{
    const workload_cell *cell = &c->w->cell[l->cell];
    window_job job = {
        .subject = c->subject[l->subject],
        .store = c->store[l->subject],
        .op = cell->op,
        .many = cell->many,
        .threads = l->threads,
        .window_ms = ms,
        .key_len = c->w->key_len,
        .value_cap = (c->w->value_len + 63) & ~UINT32_C(63),
        .traces = cell->hot ? c->hot : c->traces,
        .set_masks = c->masks[l->cell],
        .del_masks = cell->del_pct > 0 ? c->masks[l->cell] + c->thread_max : NULL,
        .ttls = c->ttls,
        .miss_us = c->w->miss_us,
        .lengths = c->lengths,
        .length_mask = c->length_mask,
        .through = cell->through,
        .ttl_ms = c->w->ttl_ms,
    };
    uint64_t before[CELL_SUBJECTS];
    bool ok = true;
    cell_rest(c, l);
    for (int i = 0; ok && i <= CELL_REPEATS; i++) {
        if (c->driver_count > 0) {
            cell_driver_cpu(c, before);
        }
        job.position = cell_again(c, position, i);
        ok = cell_window_once(c, l, &job, r);
        c->wrong = c->wrong || !ok || r->bad > 0;
        c->sets[l->subject] += r->sets;
        if (c->driver_count == 0 || r->bad > 0 || !cell_bill(c, l, before, r->wall_ns)) {
            break;
        }
        r->dropped |= WINDOW_OTHERS; /* unless the next try is better */
    }
    return ok;
}

/* Bounded stores are measured full: one pass over the trace, unrecorded, the same for all; a slow
 * subject gets a limited number of windows. */
static void cell_saturate(cell_set *c, uint32_t cell)
{
    const uint64_t most = c->o->block_s != 0 ? CELL_FULL_LIMITED : CELL_FULL_WINDOWS;
    for (uint32_t i = 0; i < c->subject_count; i++) {
        const cell_lane lane = { i, cell, 1 };
        uint64_t done = 0, windows = 0;
        while (done < c->traces[0].count && windows++ < most) {
            window_result r;
            if (!cell_window(c, &lane, done, 100, &r)) {
                return;
            }
            done += r.ops;
        }
    }
}

static bool cell_can_run(const bench_subject *s, const workload_cell *cell, uint32_t threads)
{
    return (s->threads_max == 0 || threads <= s->threads_max) &&
           (cell->op != WORKLOAD_MANY || s->get_many != NULL) &&
           (cell->op != WORKLOAD_PIN || s->pin != NULL) &&
           (cell->del_pct == 0 || s->del != NULL) && (!cell->through || s->driver == NULL);
}

/* Batches and pins are compared with plain reads of the same round: they share a block. */
static bool cell_one_block(const workload *w)
{
    for (uint32_t k = 0; k < w->cell_count; k++) {
        if (w->cell[k].op == WORKLOAD_MANY || w->cell[k].op == WORKLOAD_PIN) {
            return true;
        }
    }
    return false;
}

static void cell_make_lanes(cell_set *c, uint32_t first, uint32_t last)
{
    c->lane_count = 0;
    for (uint32_t k = first; k <= last; k++) {
        for (uint32_t i = 0; i < c->subject_count && c->w->cell[k].del_pct > 0; i++) {
            if (c->subject[i]->del == NULL) {
                json_say(c->bench, c->subject[i]->name, c->w->name, "skip", "cannot delete here");
            }
        }
        for (uint32_t t = 0; t < c->w->thread_count && c->w->thread[t] <= c->thread_max; t++) {
            for (uint32_t i = 0; i < c->subject_count; i++) {
                if (!c->dead[i] && c->lane_count < CELL_LANES &&
                    cell_can_run(c->subject[i], &c->w->cell[k], c->w->thread[t])) {
                    c->lane[c->lane_count++] = (cell_lane){ i, k, c->w->thread[t] };
                }
            }
        }
    }
}

/* Return the cross-core state of round `r` for lane `l`; CELL_ONE for a lane of one thread. */
static cell_state cell_state_at(const cell_set *c, uint32_t l, uint32_t r)
{
    return c->lane[l].threads == 1 ? CELL_ONE : cell_state_of(c->c2c_ns[r]);
}

/* Return the least number of clean rounds of a lane, in the state with the greatest. `processes`:
 * lanes of processes count. With processes almost every round has a disturbed window, so each lane
 * has its own clean rounds. */
static uint32_t cell_clean_rounds(const cell_set *c, bool processes)
{
    uint32_t most = 0;
    for (cell_state state = CELL_NEAR; state < CELL_STATES; state++) {
        uint32_t least = UINT32_MAX;
        for (uint32_t l = 0; l < c->lane_count; l++) {
            uint32_t clean = 0;
            if (!processes && c->subject[c->lane[l].subject]->driver != NULL) { continue; }
            for (uint32_t r = 0; r < c->round_count; r++) {
                const cell_state at = cell_state_at(c, l, r);
                clean += (at == state || c->lane[l].threads == 1) &&
                         !c->result[r * c->lane_count + l].dropped;
            }
            least = clean < least && !c->dead[c->lane[l].subject] ? clean : least;
        }
        most = least != UINT32_MAX && least > most ? least : most;
    }
    return most;
}

static bool cell_rounds(cell_set *c, uint32_t rounds, uint32_t window_ms)
{
    window_result unused;
    memset(c->last, 0, sizeof c->last);
    c->round_room = c->o->quick ? rounds + rounds / 2 : 2 * rounds;
    c->round_count = 0;
    free(c->result);
    free(c->c2c_ns);
    free(c->latency);
    c->latency = c->w->cell[c->lane[0].cell].op == WORKLOAD_LATENCY
                     ? calloc((size_t)2 * c->lane_count, sizeof c->latency[0]) : NULL;
    c->result = calloc((size_t)c->round_room * c->lane_count, sizeof c->result[0]);
    c->c2c_ns = calloc(c->round_room, sizeof c->c2c_ns[0]);
    if (c->result == NULL || c->c2c_ns == NULL) {
        return false;
    }
    for (uint32_t l = 0; l < c->lane_count; l++) { /* pages, branches, deferred work of filling */
        if (!cell_window(c, &c->lane[l], 0, window_ms, &unused)) {
            return false;
        }
    }
    const uint64_t start = host_wall_ns(), block_ns = c->o->block_s * UINT64_C(1000000000);
    while (c->round_count < c->round_room && cell_clean_rounds(c, true) < rounds) {
        const uint32_t r = c->round_count;
        const uint64_t ran_ns = host_wall_ns() - start;
        if (block_ns != 0 && r >= CELL_ROUNDS_NEEDED && ran_ns > block_ns &&
            (ran_ns > CELL_BLOCK_TIMES * block_ns ||
             cell_clean_rounds(c, false) >= CELL_ROUNDS_NEEDED)) {
            break;
        }
        cell_beat(NULL); /* on a busy machine this takes any time */
        c->c2c_ns[r] = host_c2c_ns();
        for (uint32_t k = 0; k < c->lane_count; k++) {
            /* Two lanes are not rotated: a b | b a | a b would give each lane its own leftovers. */
            const uint32_t l = (k + (c->lane_count > 2 ? r : 0)) % c->lane_count;
            if (!cell_window(c, &c->lane[l], cell_position(c, r, c->lane[l].threads), window_ms,
                             &c->result[r * c->lane_count + l])) {
                return false;
            }
            c->last[c->lane[l].subject] = &c->result[r * c->lane_count + l];
        }
        c->round_count++;
    }
    return true;
}

/* ---- From windows to rows -------------------------------------------------------------------- */

typedef double cell_figure(const window_result *r);

static double cell_p50(const window_result *r) { return r->p_ns[0]; }
static double cell_p99(const window_result *r) { return r->p_ns[1]; }
static double cell_p999(const window_result *r) { return r->p_ns[2]; }
static double cell_p9999(const window_result *r) { return r->p_ns[3]; }

/* Figures of a lane over the rounds of one state: the clean ones, or all where they are too few. */
typedef struct cell_series {
    double *value;
    uint32_t count;                /* of value[] */
    uint32_t seen, clean;          /* rounds of that state; those without a disturbed window */
    uint32_t cause[CELL_TROUBLES]; /* rounds that it disturbed, by bit of window_trouble */
} cell_series;

/* One round of a series, counted twice where clean rounds are too few: then all count. */
static void cell_add(cell_series *s, uint32_t dropped, double figure, bool again)
{
    if (!again) {
        s->seen++;
        s->clean += dropped == 0;
        for (uint32_t i = 0; i < CELL_TROUBLES; i++) {
            s->cause[i] += (dropped >> i) & 1;
        }
    }
    if ((dropped == 0 || again) && isfinite(figure) && figure > 0) {
        s->value[s->count++] = figure;
    }
}

/* top of lane l, divided by lane `under` when that is a lane (UINT32_MAX: none). */
static void cell_collect(const cell_set *c, cell_state state, cell_figure *figure, uint32_t l,
                         uint32_t under, cell_series *out)
{
    const uint32_t two = under != UINT32_MAX ? under : l;
    *out = (cell_series){ .value = out->value };
    for (int again = 0; again < 2 && out->clean < CELL_CLEAN_LEAST; again++) {
        out->count = 0;
        for (uint32_t r = 0; r < c->round_count; r++) {
            const window_result *top = &c->result[r * c->lane_count + l];
            const window_result *low = &c->result[r * c->lane_count + two];
            if (cell_state_at(c, l, r) == state) {
                cell_add(out, top->dropped | low->dropped,
                         under != UINT32_MAX ? figure(top) / figure(low) : figure(top), again != 0);
            }
        }
    }
}

static bool cell_noisy(const cell_series *s)
{
    return s->clean < CELL_ROUNDS_NEEDED ||
           (double)(s->seen - s->clean) > CELL_DROPPED_MAX * s->seen;
}

/* Return how many rounds of a lane have a state. *c2c_ns: median hand-over of those rounds. */
static uint32_t cell_state_c2c(const cell_set *c, cell_state state, uint32_t l, uint64_t *c2c_ns)
{
    double v[512];
    uint32_t n = 0;
    for (uint32_t r = 0; r < c->round_count && n < 512; r++) {
        if (cell_state_at(c, l, r) == state) {
            v[n++] = (double)c->c2c_ns[r];
        }
    }
    *c2c_ns = n > 0 ? (uint64_t)cell_quantile(v, n, 0.5) : 0;
    return n;
}

/* Sums of a lane without a reference: hit ratio, wrong values, failed calls, background CPU. */
static void cell_sums(const cell_set *c, cell_state state, uint32_t l, json_row *row)
{
    const bench_subject *s = c->subject[c->lane[l].subject];
    uint64_t ops = 0, gets = 0, hits = 0, bg = 0, all = 0, failed = 0;
    uint64_t sets = 0, slept = 0, kept = 0;
    for (uint32_t r = 0; r < c->round_count; r++) {
        const window_result *w = &c->result[r * c->lane_count + l];
        row->bad += w->bad;
        all += w->ops;
        failed += w->errors;
        if (cell_state_at(c, l, r) != state) {
            continue;
        }
        gets += w->gets; /* gets of disturbed windows still hit or missed */
        hits += w->hits;
        if (!w->dropped) {
            sets += w->sets;
            slept += w->slept;
            kept += w->kept;
            ops += w->ops;
            bg += w->bg_cpu_ns;
        }
    }
    row->hit = gets > 0 ? (double)hits / (double)gets : NAN;
    row->failed = failed > 0 && all > 0 ? 100 * (double)failed / (double)all : NAN;
    row->bg_cpu_ns = ops > 0 ? (double)bg / (double)ops : NAN;
    row->slept = sets > 0 && s->driver == NULL ? 1e3 * (double)slept / (double)sets : NAN;
    row->kept = sets > 0 && s->kept != NULL ? (double)kept / (double)sets : NAN;
}

static const char *cell_note(const cell_set *c, uint32_t l, bool noisy)
{
    const uint32_t caps = c->subject[c->lane[l].subject]->caps;
    if (noisy) {
        return "noisy";
    }
    if (caps & BENCH_LEAKS) {
        return "leak";
    }
    return (caps & BENCH_NO_EVICT) && c->w->capacity_entries + c->w->capacity_bytes > 0
               ? "no eviction" : NULL;
}

static uint32_t cell_find_lane(const cell_set *c, const char *subject, const char *metric,
                               uint32_t threads)
{
    for (uint32_t l = 0; l < c->lane_count; l++) {
        if (c->lane[l].threads == threads &&
            strcmp(c->subject[c->lane[l].subject]->name, subject) == 0 &&
            strcmp(c->w->cell[c->lane[l].cell].metric, metric) == 0) {
            return l;
        }
    }
    return UINT32_MAX;
}

/* Return the lane to compare with: the same mix; for batches and pins the plain read. */
static const char *cell_base_metric(const workload_cell *cell)
{
    return cell->op == WORKLOAD_MANY ? "get" : cell->op == WORKLOAD_PIN ? "pin_copy"
                                                                        : cell->metric;
}

static void cell_row_head(const cell_set *c, cell_state state, uint32_t l, const char *metric,
                          json_row *row)
{
    const bench_subject *s = c->subject[c->lane[l].subject];
    json_row_init(row);
    row->bench = c->bench;
    row->subject = s->name;
    row->version = s->driver != NULL ? driver_version(c->store[c->lane[l].subject]) : s->version;
    row->workload = c->w->name;
    row->metric = metric;
    row->threads = c->lane[l].threads;
    row->regime = c->o->warm ? "warm" : "cold";
    row->c2c = cell_state_name(state);
    (void)cell_state_c2c(c, state, l, &row->c2c_ns);
    row->semantics = c->w->cell[c->lane[l].cell].op == WORKLOAD_PIN ? "ref" : s->semantics;
    cell_sums(c, state, l, row);
}

/* Return the causes of disturbed windows of a series with counts; NULL if there are none. */
static const char *cell_cause(const cell_series *s, char *text, size_t cap)
{
    static const char *const names[CELL_TROUBLES] = { "stolen", "switches", "length", "peers",
                                                      "ended" };
    size_t used = 0;
    for (uint32_t i = 0; i < CELL_TROUBLES && used < cap; i++) {
        if (s->cause[i] > 0) {
            const int n = snprintf(text + used, cap - used, "%s%s %u", used > 0 ? ", " : "",
                                   names[i], s->cause[i]);
            used += n > 0 ? (size_t)n : 0;
        }
    }
    return used > 0 ? text : NULL;
}

/* Write the row; keep median and quartiles in it for the table. */
static void cell_emit(const cell_set *c, uint32_t l, cell_series *s, const char *clock,
                      const char *vs, double value, json_row *row)
{
    const double median = cell_quantile(s->value, s->count, 0.5);
    row->clock = clock;
    row->vs = vs;
    row->value = vs != NULL ? value : median;
    row->ratio = vs != NULL ? median : NAN;
    row->best = vs == NULL && s->count > 0
                    ? cell_quantile(s->value, s->count,
                                    json_metric_lower_is_better(row->metric) ? 0 : 1)
                    : NAN;
    row->p25 = cell_quantile(s->value, s->count, 0.25);
    row->p75 = cell_quantile(s->value, s->count, 0.75);
    char cause[100];
    row->rounds = s->clean;
    row->dropped = s->seen - s->clean;
    row->disturbed = s->count > s->clean ? s->count - s->clean : 0;
    row->cause = cell_cause(s, cause, sizeof cause);
    row->note = cell_note(c, l, cell_noisy(s));
    json_write(row);
    row->cause = NULL; /* the text ends with this call */
}

/* Ours to every peer in turn; the others to the references, the one of the caller among them. */
static const char *cell_reference(const cell_set *c, const char *self, uint32_t i)
{
    const char *const refs[] = { "uthash64", "uthash1", "raw", "uthash64t", "own", "one_thread",
                                 c->o->ref };
    const uint32_t n = c->o->ref != NULL && !cell_named(CELL_REFERENCES, c->o->ref) ? 7 : 6;
    if (i < n) {
        return refs[i];
    }
    const bool ours = strcmp(self, "cellar") == 0 || strncmp(self, "cellar_object", 13) == 0;
    for (uint32_t k = 0; ours && k < c->subject_count; k++) {
        bool known = strcmp(c->subject[k]->name, self) == 0;
        for (uint32_t r = 0; r < n; r++) {
            known = known || strcmp(c->subject[k]->name, refs[r]) == 0;
        }
        if (!known && i-- == n) {
            return c->subject[k]->name;
        }
    }
    return NULL;
}

/* All ratios of one figure of one lane; the table gets those to uthash64, to RAW, and to one thread
 * of the same subject. */
static void cell_emit_figure(const cell_set *c, cell_state state, uint32_t l, const char *metric,
                             cell_figure *wall, cell_figure *cpu, double *room)
{
    const workload_cell *cell = &c->w->cell[c->lane[l].cell];
    const char *self = c->subject[c->lane[l].subject]->name;
    cell_series s = { .value = room };
    json_row row;
    char xpeer[48] = "-", xraw[48] = "-", xone[48] = "-";

    cell_row_head(c, state, l, metric, &row);
    cell_collect(c, state, wall, l, UINT32_MAX, &s);
    cell_emit(c, l, &s, "wall", NULL, 0, &row);
    const json_row plain = row;
    const char *ref;
    for (uint32_t i = 0; (ref = cell_reference(c, self, i)) != NULL; i++) {
        const bool own = strcmp(ref, "own") == 0;
        const bool one = strcmp(ref, "one_thread") == 0;
        const uint32_t under = cell_find_lane(c, own || one ? self : ref,
                                              one ? cell->metric : cell_base_metric(cell),
                                              one ? 1 : c->lane[l].threads);
        if (under == UINT32_MAX || under == l) {
            continue;
        }
        for (int clock = 0; clock < (cpu != NULL && !one ? 2 : 1); clock++) {
            cell_collect(c, state, clock ? cpu : wall, l, under, &s);
            cell_emit(c, l, &s, clock ? "cpu" : "wall", ref, plain.value, &row);
            char *text = i == 0 && clock == 0 ? xpeer
                         : i == 2 && clock == (cpu != NULL) ? xraw : one ? xone : NULL;
            if (text != NULL && s.count > 0) {
                snprintf(text, sizeof xraw, "%.2f [%.2f %.2f]", row.ratio, row.p25, row.p75);
            }
        }
    }
    printf("%-11s %-2u %-14s %9.2f %9.2f  %-18s %-18s %-18s %6.4f %7.1f %6.3f %5.2f  %-4s "
           "%3u+%-3u %s\n", metric, plain.threads, self, plain.value, plain.best, xpeer, xraw, xone,
           plain.hit, plain.bg_cpu_ns, plain.slept, plain.kept, plain.c2c, plain.rounds, plain.dropped,
           plain.note != NULL ? plain.note : "");
}

/* (own rate at t threads / at one) / (the same of RAW), all four windows of one round. */
static void cell_emit_scaling(const cell_set *c, cell_state state, uint32_t l, double *room)
{
    const char *self = c->subject[c->lane[l].subject]->name;
    const uint32_t t = c->lane[l].threads;
    const uint32_t one = cell_find_lane(c, self, "get", 1);
    const uint32_t raw = cell_find_lane(c, "raw", "get", t);
    const uint32_t raw1 = cell_find_lane(c, "raw", "get", 1);
    if (t == 1 || one == UINT32_MAX || raw == UINT32_MAX || raw1 == UINT32_MAX || l == raw) {
        return;
    }
    cell_series s = { .value = room };
    for (int again = 0; again < 2 && s.clean < CELL_CLEAN_LEAST; again++) {
        s.count = 0;
        for (uint32_t r = 0; r < c->round_count; r++) {
            const window_result *w = &c->result[r * c->lane_count];
            if (cell_state_at(c, l, r) == state) {
                cell_add(&s, w[l].dropped | w[one].dropped | w[raw].dropped | w[raw1].dropped,
                         window_mops_wall(&w[l]) / window_mops_wall(&w[one]) /
                             (window_mops_wall(&w[raw]) / window_mops_wall(&w[raw1])), again != 0);
            }
        }
    }
    json_row row;
    cell_row_head(c, state, l, "scaling", &row);
    cell_emit(c, l, &s, "wall", "raw", cell_quantile(s.value, s.count, 0.5), &row);
    printf("%-11s %u  %-14s %9s %9s  %-20s %.2f [%.2f %.2f] %*s %-4s %3u+%-3u %s\n", "scaling", t,
           self, "", "", "", row.ratio, row.p25, row.p75, 18, "", row.c2c, row.rounds, row.dropped,
           row.note != NULL ? row.note : "");
}

/* Print the buckets of each lane: a line of its own in the JSON. */
static void cell_write_latency(const cell_set *c)
{
    for (uint32_t l = 0; c->latency != NULL && l < c->lane_count; l++) {
        const hist *h = &c->latency[c->latency[l].count > 0 ? l : c->lane_count + l];
        const workload_cell *cell = &c->w->cell[c->lane[l].cell];
        json_histogram(c->bench, c->subject[c->lane[l].subject]->name, c->w->name,
                       cell->through ? "set" : "get", c->lane[l].threads, h, c->latency_unit[l]);
    }
}

static void cell_report(cell_set *c)
{
    double *room = malloc(c->round_room * sizeof room[0]);
    for (cell_state state = CELL_NEAR; room != NULL && state < CELL_STATES; state++) {
        for (uint32_t l = 0; l < c->lane_count; l++) {
            const workload_cell *cell = &c->w->cell[c->lane[l].cell];
            uint64_t c2c_ns;
            if (cell_state_c2c(c, state, l, &c2c_ns) == 0) {
                continue;
            }
            if (cell->through) {
                cell_emit_figure(c, state, l, "set_p99", cell_p99, NULL, room);
                cell_emit_figure(c, state, l, "set_p999", cell_p999, NULL, room);
                continue;
            }
            if (cell->op == WORKLOAD_LATENCY) {
                cell_emit_figure(c, state, l, "p50", cell_p50, NULL, room);
                cell_emit_figure(c, state, l, "p99", cell_p99, NULL, room);
                cell_emit_figure(c, state, l, "p999", cell_p999, NULL, room);
                cell_emit_figure(c, state, l, "p9999", cell_p9999, NULL, room);
                continue;
            }
            cell_emit_figure(c, state, l, cell->metric, window_mops_wall, window_mops_cpu, room);
            if (strcmp(cell->metric, "get") == 0) {
                cell_emit_scaling(c, state, l, room);
            }
        }
    }
    free(room);
    fflush(stdout);
}

static void cell_say_wrong(const cell_set *c)
{
    for (uint32_t l = 0; l < c->lane_count; l++) {
        uint64_t bad = 0, errors = 0;
        for (uint32_t r = 0; r < c->round_count; r++) {
            bad += c->result[r * c->lane_count + l].bad;
            errors += c->result[r * c->lane_count + l].errors;
        }
        if (bad + errors > 0) {
            printf("wrong: %s %s %s: %" PRIu64 " wrong values, %" PRIu64 " failed calls\n",
                   c->w->name, c->w->cell[c->lane[l].cell].metric,
                   c->subject[c->lane[l].subject]->name, bad, errors);
        }
    }
}

/* Report drivers that grew by the written bytes, although their population did not grow. */
static void cell_say_leaks(cell_set *c)
{
    const workload *w = c->w;
    const uint64_t bound = w->capacity_entries != 0 ? w->capacity_entries
                           : w->capacity_bytes / (w->key_len + w->value_len);
    const uint64_t keys = w->trace.key_count, there = w->prefill < keys ? w->prefill : keys;
    const uint64_t entries = bound != 0 ? bound : keys - there;
    uint64_t sum = 0, item;
    for (uint64_t id = 0; id < keys && id < 4096; id++) {
        sum += c->lengths[(uint32_t)id & c->length_mask];
    }
    item = w->key_len + sum / (keys < 4096 ? keys : 4096);
    for (uint32_t i = 0; i < c->subject_count; i++) {
        if (c->held[i] == 0 || c->dead[i] || c->sets[i] == 0) {
            continue;
        }
        const uint64_t now = driver_held_bytes(c->store[i]);
        const uint64_t room = CELL_LEAK_SPARE + c->held[i] / 4 + entries * (item + CELL_LEAK_ENTRY);
        const uint64_t written = c->sets[i] * item;
        if (now > c->held[i] + room && now - c->held[i] - room > written / 2) {
            char text[120];
            snprintf(text, sizeof text, "grew by %" PRIu64 " MiB while %" PRIu64
                     " MiB were written over", (now - c->held[i]) >> 20, written >> 20);
            json_say(c->bench, c->subject[i]->name, w->name, "leak", text);
        }
    }
}

/* Add a thread count at its place. */
static void cell_add_threads(workload *w, uint32_t n)
{
    uint32_t at = w->thread_count;
    while (at > 0 && w->thread[at - 1] > n) {
        at--;
    }
    if (w->thread_count < WORKLOAD_THREADS && (at == 0 || w->thread[at - 1] != n)) {
        memmove(&w->thread[at + 1], &w->thread[at], (w->thread_count - at) * sizeof w->thread[0]);
        w->thread[at] = n;
        w->thread_count++;
    }
}

/* "cores" and "over" of its thread counts. Columns that the machine has no processors for are said. */
static void cell_add_cores(const char *bench, workload *w, uint32_t cpus, bool full)
{
    const uint32_t n = w->over || cpus < CELL_TRACES ? cpus : CELL_TRACES;
    if (w->cores && (w->over || n > w->thread[w->thread_count - 1])) {
        cell_add_threads(w, n);
    }
    for (uint32_t i = 0; w->over && i < 3; i++) {
        const uint32_t more = (const uint32_t[]){ 8, 16, 64 }[i];
        if (full || more <= cpus) {
            cell_add_threads(w, more);
        } else if (more > w->thread[w->thread_count - 1]) {
            char text[64];
            snprintf(text, sizeof text, "%u threads on %u CPUs: FULL=1", more, cpus);
            json_say(bench, NULL, w->name, "skip", text);
        }
    }
}

static bool cell_prepare(cell_set *c, const bench_subject *const *subjects, uint32_t count)
{
    const uint32_t cpus = host_cpu_count();
    cell_add_cores(c->bench, &c->own, cpus, c->o->full);
    for (uint32_t t = 0; t < c->w->thread_count; t++) {
        if (c->w->thread[t] <= cpus || c->w->over) {
            c->thread_max = c->w->thread[t];
        } else {
            char text[64];
            snprintf(text, sizeof text, "%u threads on %u CPUs", c->w->thread[t], cpus);
            json_say(c->bench, NULL, c->w->name, "skip", text);
        }
    }
    if (c->thread_max == 0 || !cell_make_traces(c)) {
        return false;
    }
    c->pool = window_pool_create(c->thread_max);
    if (c->pool == NULL) {
        fprintf(stderr, "cellar-bench: threads cannot be started\n");
        return false;
    }
    cell_open_subjects(c, subjects, count);
    return c->subject_count > 0;
}

int cell_run(const cell_options *o, const char *bench, const workload *w,
             const bench_subject *const *subjects, uint32_t subject_count)
{
    cell_set c = { .o = o, .own = *w, .w = &c.own, .bench = bench };
    if (!cell_prepare(&c, subjects, subject_count)) {
        const bool idle = c.thread_max == 0 || (c.pool != NULL && c.subject_count == 0);
        cell_close(&c);
        return idle ? CELL_OK : CELL_USAGE;
    }
    printf("\n%s / %s  (Mops/s or ns: median, best; ratios: median [p25 p75] of same rounds)\n"
           "metric      t  subject           median      best  x uthash64         x raw (cpu)"
           "        x 1 thread            hit   bg ns  slept  kept  c2c  rounds+dropped\n", bench,
           w->name);
    w = c.w;
    const bool one_block = cell_one_block(w);
    for (uint32_t k = 0; k < w->cell_count; k++) {
        const uint32_t last = one_block ? w->cell_count - 1 : k;
        if (w->capacity_entries + w->capacity_bytes > 0 && k == 0) {
            cell_saturate(&c, k);
        }
        cell_make_lanes(&c, k, last);
        if (c.lane_count > 0 && !cell_rounds(&c, w->rounds != 0 ? w->rounds : o->rounds,
                                             w->window_ms != 0 ? w->window_ms : o->window_ms)) {
            c.wrong = true;
            break;
        }
        cell_report(&c);
        cell_write_latency(&c);
        cell_say_wrong(&c);
        k = last;
    }
    cell_say_leaks(&c);
    const bool wrong = c.wrong;
    cell_close(&c);
    return wrong ? CELL_WRONG : CELL_OK;
}

/* ---- Which subjects, in which process -------------------------------------------------------- */

/* Return true if the subject may run; otherwise state why not. A third of the free memory stays
 * free. */
static bool cell_memory_fits(const char *bench, const workload *w, uint32_t subjects)
{
    const uint64_t free_bytes = host_available_bytes(), all = host_total_bytes();
    const uint64_t entries = w->prefill < w->trace.key_count ? w->prefill : w->trace.key_count;
    const uint64_t need = entries * (w->key_len + w->value_len + 160) * subjects + (64 << 20);
    char text[120];
    if (w->min_memory != 0 && free_bytes < w->min_memory) {
        snprintf(text, sizeof text, "needs %" PRIu64 " MiB free, %" PRIu64 " are",
                 w->min_memory >> 20, free_bytes >> 20);
    } else if (need > all / 10 * 6 || need > free_bytes / 10 * 9) {
        snprintf(text, sizeof text, "needs about %" PRIu64 " MiB of %" PRIu64, need >> 20,
                 all >> 20);
    } else {
        return true;
    }
    json_say(bench, NULL, w->name, "skip", text);
    return false;
}

/* Wait for the child; end it if it hangs. Return 0 if it was ended. */
static int cell_wait(const cell_options *o, const cell_page *page, pid_t pid, int *status)
{
    const uint32_t patience = o->patience_ms != 0 ? o->patience_ms : CELL_PATIENCE_MS;
    const struct timespec pause = { 0, 10000000 };
    uint64_t beats = 0, since = host_wall_ns();
    while (waitpid(pid, status, WNOHANG) == 0) {
        const bench_subject *at = atomic_load(&page->at);
        const uint64_t now = host_wall_ns(), seen = atomic_load(&page->beats);
        const uint64_t most = patience + (at != NULL && at->driver != NULL ? CELL_DRIVER_MS : 0);
        if (seen != beats) {
            beats = seen;
            since = now;
        } else if (at != NULL && now - since > most * 1000000) {
            kill(pid, SIGKILL);
            waitpid(pid, status, 0);
            return 0;
        }
        nanosleep(&pause, NULL);
    }
    return 1;
}

/* Return the exit status of the child for this process; *guilty is the subject that ended it, if
 * any. */
static int cell_fork(const cell_options *o, const char *bench, const workload *w,
                     const bench_subject *const *list, uint32_t count, const bench_subject **guilty)
{
    cell_page *page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                           -1, 0);
    int status = 0;
    char text[80];
    *guilty = NULL;
    const pid_t pid = page != MAP_FAILED ? host_fork() : -1;
    if (pid == 0) {
        cell_watched = page;
        const int mine = cell_run(o, bench, w, list, count);
        fflush(NULL);
        _exit(mine);
    }
    if (pid < 0) {
        json_say(bench, NULL, w->name, "crash", "the child cannot be started");
        return CELL_WRONG;
    }
    const bool moving = cell_wait(o, page, pid, &status);
    const bench_subject *at = atomic_load(&page->at);
    munmap(page, sizeof *page);
    if (moving && !WIFSIGNALED(status)) {
        return WEXITSTATUS(status);
    }
    *guilty = at;
    if (moving) {
        snprintf(text, sizeof text, "signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    } else {
        snprintf(text, sizeof text, "did nothing for %u ms",
                 o->patience_ms != 0 ? o->patience_ms : CELL_PATIENCE_MS);
    }
    json_say(bench, at != NULL ? at->name : NULL, w->name, moving ? "crash" : "hang", text);
    return CELL_WRONG;
}

/* Run all of the list in one child. A subject that ends the child is left out, and the others begin
 * again. */
static int cell_fork_all(const cell_options *o, const char *bench, const workload *w,
                         const bench_subject **list, uint32_t count)
{
    int worst = CELL_OK;
    while (count > 0) {
        const bench_subject *guilty;
        const int status = cell_fork(o, bench, w, list, count, &guilty);
        uint32_t kept = 0;
        worst = status > worst ? status : worst;
        if (guilty == NULL) {
            break;
        }
        for (uint32_t i = 0; i < count; i++) {
            if (list[i] != guilty) {
                list[kept++] = list[i];
            }
        }
        if (kept == count) {
            break;
        }
        count = kept;
    }
    return worst;
}

/* Return the first unknown subject of the workload, up to the end of its list; NULL if all are
 * known. */
static const char *cell_unknown(const workload *w)
{
    const char *at = w->subjects + strspn(w->subjects, " \t");
    while (*at != '\0') {
        const size_t n = strcspn(at, " \t");
        bool known = false;
        for (size_t i = 0; i < bench_registry_count; i++) {
            const char *name = bench_registry[i].name;
            known = known || (strlen(name) == n && strncmp(name, at, n) == 0);
        }
        if (!known) {
            return at;
        }
        at += n + strspn(at + n, " \t");
    }
    return NULL;
}

int cell_run_forked(const cell_options *o, const char *bench, const char *workload_name)
{
    const bench_subject *list[CELL_SUBJECTS];
    uint32_t count = 0;
    workload w;
    char path[400], why[1000];
    if (strchr(workload_name, '/') != NULL) {
        snprintf(path, sizeof path, "%s", workload_name);
    } else {
        snprintf(path, sizeof path, "%s/%s.wl", o->mixes, workload_name);
    }
    if (!workload_read(path, &w, why, sizeof why)) {
        fprintf(stderr, "cellar-bench: %s\n", why);
        return CELL_USAGE;
    }
    const char *unknown = cell_unknown(&w);
    if (unknown != NULL) {
        fprintf(stderr, "cellar-bench: %s:%u: unknown subject %.*s\n", path, w.subjects_line,
                (int)strcspn(unknown, " \t"), unknown);
        return CELL_USAGE;
    }
    for (size_t i = 0; i < bench_registry_count && count < CELL_SUBJECTS; i++) {
        const bench_entry *e = &bench_registry[i];
        if (!cell_chosen(o, &w, e->name)) {
            continue;
        }
        const char *missing = e->subject == NULL ? e->missing
                              : e->subject->driver != NULL ? driver_missing(e->subject->driver)
                                                           : NULL;
        if (missing != NULL) {
            json_say(bench, e->name, w.name, "skip", missing);
        } else if (cell_too_slow(o, &w, e->subject)) {
            json_say(bench, e->name, w.name, "skip", "too slow to be filled here: suite servers");
        } else {
            list[count++] = e->subject;
        }
    }
    if (!cell_memory_fits(bench, &w, o->warm ? 1 : count)) {
        return CELL_OK;
    }
    if (!o->warm) {
        return cell_fork_all(o, bench, &w, list, count);
    }
    int worst = CELL_OK;
    for (uint32_t i = 0; i < count; i++) {
        const int status = cell_fork_all(o, bench, &w, &list[i], 1);
        worst = status > worst ? status : worst;
    }
    return worst;
}
