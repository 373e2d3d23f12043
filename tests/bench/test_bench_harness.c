/* SPDX-License-Identifier: MIT
 *
 * Aim:    The bench measures what it states: it detects slow, wrong, crashing and leaking subjects,
 *         and two equal subjects have equal figures.
 * Method: The harness is compiled into this program with a registry of scripted subjects, all made
 *         of RAW. Figures are CPU time, so that a busy machine disturbs less. Where a busy machine
 *         still leaves too few clean rounds, the case is skipped with that reason. */
#include "bench/harness/c2c.c"
#include "bench/harness/cell.c"
#include "bench/harness/driver.c"
#include "bench/harness/hist.c"
#include "bench/harness/host.c"
#include "bench/harness/json.c"
#include "bench/harness/room.c"
#include "bench/harness/rss.c"
#include "bench/harness/trace.c"
#include "bench/harness/verify.c"
#include "bench/harness/window.c"
#include "bench/harness/workload.c"
#include "bench/peers/raw/subject.c"
#include "bench/replay/ideal.c"
#include "bench/replay/trace.c"
#include "src/cli/error.c"
#include "tests/support/t.h"

#include <glob.h>
#include <sys/resource.h>

/* A case that measures. Valgrind runs one thread at a time, each for long: no timed window ends
 * under it. */
#define MEASURED(fn)                                                      \
    static void fn##_on(void);                                            \
    T_CASE(fn)                                                            \
    {                                                                     \
        if (t_patience() == 1) {                                          \
            fn##_on();                                                    \
        } else {                                                          \
            T_SKIP("no window of time ends under valgrind");              \
        }                                                                 \
    }                                                                     \
    static void fn##_on(void)

/* ---- Scripted subjects ---------------------------------------------------------------------- */

static uint64_t script_calls; /* of script_get_wrong; one thread */

static int script_get_wrong(void *store, const void *key, size_t key_len, void *buf, size_t cap,
                            size_t *len)
{
    const int answer = raw_get(store, key, key_len, buf, cap, len);
    if (++script_calls % 10000 == 0) {
        ((unsigned char *)buf)[0] ^= 1; /* the value of a neighbour */
    }
    return answer;
}

static void script_wait(uint64_t ns)
{
    const uint64_t end = host_ticks() + (uint64_t)((double)ns / host_ns_per_tick());
    while (host_ticks() < end) {
    }
}
static int script_get_1us(void *store, const void *key, size_t key_len, void *buf, size_t cap,
                          size_t *len)
{
    script_wait(1000);
    return raw_get(store, key, key_len, buf, cap, len);
}
static int script_get_2us(void *store, const void *key, size_t key_len, void *buf, size_t cap,
                          size_t *len)
{
    script_wait(2000);
    return raw_get(store, key, key_len, buf, cap, len);
}
static int script_get_crash(void *store, const void *key, size_t key_len, void *buf, size_t cap,
                            size_t *len)
{
    if (++script_calls > 100) {
        raise(SIGKILL); /* not SIGSEGV: a sanitizer would turn it into an exit status */
    }
    return raw_get(store, key, key_len, buf, cap, len);
}

static int script_get_hang(void *store, const void *key, size_t key_len, void *buf, size_t cap,
                           size_t *len)
{
    while (++script_calls > 100) {
        pause();
    }
    return raw_get(store, key, key_len, buf, cap, len);
}

/* Accepts every set during the fill, and then every second set. */
static int script_set_every_second(void *store, const void *key, size_t key_len, const void *value,
                                   size_t len, int64_t ttl_ms)
{
    if (++script_calls > 1000 && script_calls % 2 == 0) {
        return -1;
    }
    return raw_set(store, key, key_len, value, len, ttl_ms);
}

static _Atomic uint64_t script_kept_count;
static int script_get_odd(void *store, const void *key, size_t key_len, void *buf, size_t cap,
                          size_t *len)
{
    const bool miss = ((const unsigned char *)key)[0] % 2 == 0;
    return miss ? 0 : raw_get(store, key, key_len, buf, cap, len);
}
static int script_set_sleeps(void *store, const void *key, size_t key_len, const void *value,
                             size_t len, int64_t ttl_ms)
{
    nanosleep(&(struct timespec){ 0, 50000 }, NULL);
    atomic_fetch_add(&script_kept_count, 3);
    return raw_set(store, key, key_len, value, len, ttl_ms);
}
static uint64_t script_kept(void *store)
{
    (void)store;
    return atomic_load(&script_kept_count);
}

#define SCRIPT(id, text, getter, more)                                                     \
    static const bench_subject id = {                                                      \
        .name = text, .version = "1", .semantics = "copy", .caps = BENCH_DEL | (more),     \
        .open = raw_open, .close = raw_close, .get = getter, .set = raw_set,               \
        .del = raw_del, .count = raw_count }
SCRIPT(script_uthash64, "uthash64", raw_get, 0); /* RAW under the reference's name */
SCRIPT(script_wrong, "wrong", script_get_wrong, 0);
SCRIPT(script_slow1, "uthash64", script_get_1us, 0);
SCRIPT(script_slow2, "slow2", script_get_2us, 0);
SCRIPT(script_crash, "crashing", script_get_crash, 0);
SCRIPT(script_hang, "hanging", script_get_hang, 0);
SCRIPT(script_leaks, "leaking", raw_get, BENCH_LEAKS);
static const bench_subject script_refuses = {
    .name = "refusing", .version = "1", .semantics = "copy", .open = raw_open, .close = raw_close,
    .get = raw_get, .set = script_set_every_second, .count = raw_count };

static const bench_subject script_sleeps = {
    .name = "sleeping", .version = "1", .semantics = "copy", .open = raw_open, .close = raw_close,
    .get = script_get_odd, .set = script_set_sleeps, .count = raw_count, .kept = script_kept };

const bench_entry bench_registry[] = {
    { "raw", &raw_subject, NULL },
    { "crashing", &script_crash, NULL },
    { "hanging", &script_hang, NULL },
    { "leaking", &script_leaks, NULL },
    { "missing", NULL, "missing.h not found" },
};
const size_t bench_registry_count = sizeof bench_registry / sizeof bench_registry[0];
const bench_subject *bench_subject_find(const char *name)
{
    T_CHECK(strcmp(name, "cellar") == 0); /* for workloads of the same room; not in this program */
    return NULL;
}

/* ---- Running them --------------------------------------------------------------------------- */

static char test_lines[400]; /* path of the JSON lines */
static cell_options test_options = { .mixes = ".", .scratch = ".", .rounds = 9,
                                           .window_ms = 8 };

static const char *test_path(const char *name)
{
    static char path[4][400];
    static unsigned turn;
    const char *dir = getenv("TMPDIR");
    char *out = path[turn++ % 4];
    snprintf(out, sizeof path[0], "%s/cellar-bench-%d-%s", dir != NULL ? dir : "/tmp",
             (int)getpid(), name);
    return out;
}

static void test_write(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    T_REQUIRE(f != NULL);
    fputs(text, f);
    fclose(f);
}

static workload test_workload(uint64_t keys)
{
    workload w = { .name = "test", .key_len = 16, .value_len = 100, .cell_count = 1,
                   .thread_count = 1, .thread = { 1 }, .prefill = UINT64_MAX };
    w.trace = (trace_spec){ .kind = TRACE_ZIPF, .zipf_s = 0.99, .key_count = keys,
                            .op_count = 65536, .seed = 3 };
    w.cell[0] = (workload_cell){ WORKLOAD_MIX, 0, 0, false, false, "get", 0 };
    return w;
}

static int test_run(const workload *w, const bench_subject *const *list, uint32_t count)
{
    remove(test_lines);
    T_REQUIRE(json_open(test_lines));
    const int status = cell_run(&test_options, "test", w, list, count);
    json_close();
    return status;
}

/* The first line that holds all of the texts; "" when there is none. */
static const char *test_line(const char *a, const char *b, const char *c)
{
    static char line[4096];
    FILE *f = fopen(test_lines, "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (strstr(line, a) != NULL && strstr(line, b) != NULL && strstr(line, c) != NULL &&
            (strstr(line, "\"metric\":") == NULL || strstr(line, "\"value\":") != NULL ||
             strstr(line, "\"ratio\":") != NULL)) { /* else a state without a window */
            fclose(f);
            return line;
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    return "";
}

static double test_number(const char *line, const char *key)
{
    const char *at = strstr(line, key);
    return at != NULL ? strtod(at + strlen(key), NULL) : NAN;
}

/* Return the ratio of `subject` to the other subject in CPU time; NAN on a machine that is too
 * busy. */
static double test_ratio(const workload *w, const bench_subject *const *list, const char *subject)
{
    char want[64];
    snprintf(want, sizeof want, "\"subject\":\"%s\"", subject);
    T_EQ_I64(test_run(w, list, 2), CELL_OK);
    const char *line = test_line(want, "\"vs\":\"uthash64\"", "\"clock\":\"cpu\"");
    const double spread = test_number(line, "\"p75\":") - test_number(line, "\"p25\":");
    return strstr(line, "\"note\":\"noisy\"") != NULL || spread > 0.1
               ? NAN : test_number(line, "\"ratio\":");
}

/* Of all threads so far, with ended ones: switches to other threads. */
static long test_switches(void)
{
    struct rusage use;
    T_EQ_I64(getrusage(RUSAGE_SELF, &use), 0);
    return use.ru_nivcsw;
}

/* Check the ratio of the first of two subjects in the best of 8 runs, or of 30 if some are clean.
 * A neighbour on the core may shift a whole run that counts as clean: `least` of them decide. */
static void ratio_is(const workload *w, const bench_subject *const *list, double want, double by,
                     int least)
{
    double ratio = NAN;
    int clean = 0;
    if (T_COST > 1) {
        T_SKIP("a sanitizer's own time is in every window");
        return;
    }
    for (int i = 0; i < (clean > 0 ? 30 : 8) && !(fabs(ratio - want) <= by); i++) {
        const long before = test_switches();
        double r = test_ratio(w, list, list[0]->name);
        const long switches = test_switches() - before;
        if (switches > 20) { r = NAN; } /* one switch a window: a neighbour uses the caches */
        printf("# %ld switches, %.4f\n", switches, r);
        clean += !isnan(r);
        ratio = isnan(r) ? ratio : r;
    }
    if (clean < least && !(fabs(ratio - want) <= by)) {
        T_SKIP("machine too busy: no 9 clean rounds, or a spread over 10 %");
        return;
    }
    T_CHECK(fabs(ratio - want) <= by);
}

T_CASE_ON(equal_subjects_have_ratio_one, MEASURED)
{
    const bench_subject *const list[] = { &raw_subject, &script_uthash64 };
    const workload w = test_workload(100000);
    ratio_is(&w, list, 1, 0.02, 3);
}

/* RAW itself takes 10 to 60 ns here, the waits 2000 and 1000. */
T_CASE_ON(slowed_subject_has_its_ratio, MEASURED)
{
    const bench_subject *const list[] = { &script_slow2, &script_slow1 };
    const workload w = test_workload(1000);
    ratio_is(&w, list, 0.51, 0.03, 1);
}

T_CASE_ON(wrong_value_fails_the_row, MEASURED)
{
    const bench_subject *const list[] = { &script_wrong };
    const workload w = test_workload(1000);
    script_calls = 0;
    T_EQ_I64(test_run(&w, list, 1), CELL_WRONG);
    const char *line = test_line("\"subject\":\"wrong\"", "\"metric\":\"get\"", "");
    T_CHECK(test_number(line, "\"bad\":") > 0);
}

T_CASE_ON(failed_calls_are_counted_in_the_row, MEASURED)
{
    const bench_subject *const list[] = { &raw_subject, &script_refuses };
    workload w = test_workload(1000);
    w.cell[0] = (workload_cell){ WORKLOAD_MIX, 5, 0, false, false, "mix95", 0 };
    script_calls = 0;
    T_EQ_I64(test_run(&w, list, 2), CELL_OK);
    const double failed = test_number(test_line("\"subject\":\"refusing\"", "\"mix95\"", ""),
                                      "\"failed\":");
    T_CHECK(failed > 2 && failed < 3); /* every second set */
    T_CHECK(strstr(test_line("\"subject\":\"raw\"", "\"mix95\"", ""), "\"failed\":") == NULL);
}

/* Each set sleeps once and keeps three records. Threads above the processors take part, the ninth
 * with the trace of the first, and each figure is compared with one thread. On a busy machine a
 * window of many threads may hold few sets, and a round of one thread may be the faster one. */
T_CASE_ON(sleeps_kept_records_and_scaling_are_in_the_row, MEASURED)
{
    if (T_TSAN) {
        T_SKIP("the table of RAW takes no lock");
        return;
    }
    const bench_subject *const list[] = { &script_sleeps };
    workload w = test_workload(1000);
    w.cell_count = 2;
    w.cell[0] = (workload_cell){ WORKLOAD_MIX, 50, 0, false, false, "mix50", 0 };
    w.cell[1] = (workload_cell){ WORKLOAD_LATENCY, 0, 0, false, true, "set_p99", 0 };
    w.thread_count = 2;
    w.thread[1] = host_cpu_count() + 9;
    w.over = true;
    char threads[32];
    snprintf(threads, sizeof threads, "\"threads\":%u,", w.thread[1]);
    T_EQ_I64(test_run(&w, list, 1), CELL_OK);
    const char *line = test_line("\"threads\":1,", "\"metric\":\"mix50\"", "\"slept\":");
    const double slept = test_number(line, "\"slept\":");
    T_CHECK(slept > 900 && slept < 1500);
    const double kept = test_number(line, "\"kept\":");
    T_CHECK(kept > 2.5 && kept < 3.5);
    line = test_line(threads, "\"metric\":\"mix50\"", "\"slept\":");
    T_CHECK(test_number(line, "\"slept\":") > 0);
    T_CHECK(test_number(line, "\"kept\":") > 0);
    line = test_line(threads, "\"mix50\"", "\"vs\":\"one_thread\"");
    T_CHECK(test_number(line, "\"ratio\":") > 0);
    T_CHECK(test_number(test_line(threads, "\"set_p99\"", ""), "\"value\":") > 50000);
}

T_CASE_ON(leak_is_printed, MEASURED)
{
    const bench_subject *const list[] = { &script_leaks };
    const workload w = test_workload(1000);
    T_EQ_I64(test_run(&w, list, 1), CELL_OK);
    T_CHECK(test_line("\"leak\":", "leaking", "test")[0] == '{');
}

/* As in bench: workload from a file, in a child process. */
static int test_forked(const char *subjects, const char *trace_keys)
{
    char text[400];
    const char *path = test_path("own.wl");
    snprintf(text, sizeof text,
             "trace = uniform keys=%s ops=4096 seed=1\nkey = 16\nvalue = 100\nops = get\n"
             "threads = 1\nsubjects = %s\n", trace_keys, subjects);
    test_write(path, text);
    remove(test_lines);
    T_REQUIRE(json_open(test_lines));
    const int status = cell_run_forked(&test_options, "test", path);
    json_close();
    remove(path);
    return status;
}

/* A crashed or hung subject ends its own rows only; the others are measured without it. */
T_CASE_ON(crash_hang_and_missing_peer_end_their_own_rows_only, MEASURED)
{
    script_calls = 0;
    test_options.patience_ms = 4000;
    T_EQ_I64(test_forked("raw crashing hanging missing", "100"), CELL_WRONG);
    test_options.patience_ms = 0;
    T_CHECK(test_line("\"crash\":\"signal 9", "\"subject\":\"crashing\"", "")[0] == '{');
    T_CHECK(test_line("\"hang\":\"did nothing for 4000 ms", "\"subject\":\"hanging\"", "")[0] ==
            '{');
    /* A busy machine leaves no clean window and then no value; the row exists. */
    T_CHECK(test_line("\"subject\":\"raw\"", "\"metric\":\"get\"", "\"rounds\":")[0] == '{');
    T_CHECK(test_line("\"subject\":\"hanging\"", "\"metric\":", "")[0] != '{');
    T_CHECK(test_line("\"skip\":\"missing.h not found", "\"subject\":\"missing\"", "")[0] == '{');
}

T_CASE_ON(too_large_population_is_skipped, MEASURED)
{
    T_EQ_I64(test_forked("raw", "2147483647"), CELL_OK);
    T_CHECK(test_line("\"skip\":", "MiB", "")[0] == '{');
}

/* ---- JSON ----------------------------------------------------------------------------------- */

/* Return what is wrong with a line, or NULL. Whole lines: lines_are_json of slow_bench_program.sh. */
static const char *test_json_fault(const char *line)
{
    bool quoted = false;
    for (const char *p = line; *p != '\n'; p++) {
        if ((unsigned char)*p < 0x20) { return "control byte or no end of line"; }
        if (*p == '"') { quoted = !quoted; }
        if (*p == '\\' && p[1] >= 0x20) { p++; }
        if (*p == '}' && !quoted) { return p[1] == '\n' ? NULL : "text behind }"; }
    }
    return quoted ? "open text" : "no }";
}

T_CASE_ON(json_is_valid, MEASURED)
{
    static char line[1 << 16]; /* a histogram is long */
    uint32_t count = 0;
    const bench_subject *const list[] = { &raw_subject, &script_uthash64 };
    workload w = test_workload(1000);
    w.cell_count = 2;
    w.cell[1] = (workload_cell){ WORKLOAD_LATENCY, 5, 0, false, false, "p999", 0 };
    T_EQ_I64(test_run(&w, list, 2), CELL_OK);
    json_row row;
    json_row_init(&row);
    row.bench = "te\"st\\\n";
    row.subject = "raw";
    row.metric = "get";
    row.value = 1.5;
    T_REQUIRE(json_open(test_lines));
    json_write(&row);
    json_say("test", "x", NULL, "skip", "quote \" and \t tab");
    json_close();
    FILE *f = fopen(test_lines, "r");
    T_REQUIRE(f != NULL);
    while (fgets(line, sizeof line, f) != NULL) {
        const char *fault = test_json_fault(line);
        if (fault != NULL) {
            printf("# %s: %s", fault, line);
        }
        T_CHECK(fault == NULL);
        T_CHECK(strstr(line, "\"bench\":") == line + 1);
        T_CHECK(strstr(line, "\"skip\":") != NULL || strstr(line, "\"unit\":") != NULL ||
                strstr(line, "\"hist\":[") != NULL);
        count++;
    }
    fclose(f);
    T_CHECK(count > 15);
    T_CHECK(!json_metric_known("gets") && json_metric_known("get_many32"));
    T_EQ_STR(json_metric_unit("p999"), "ns");
}

/* ---- Pieces --------------------------------------------------------------------------------- */

/* Our first mapping of code from a file. Every page is resident, so that none counts as memory of
 * the store that runs it first. */
T_CASE(code_pages_are_resident_before_memory_is_measured)
{
    char line[512];
    unsigned long size_kb = 0, rss_kb = 0;
    bool code = false;
    host_touch_program();
    FILE *f = fopen("/proc/self/smaps", "r");
    T_REQUIRE(f != NULL);
    while (fgets(line, sizeof line, f) != NULL && (!code || rss_kb == 0)) {
        code = code || (strstr(line, " r-xp ") != NULL && strchr(line, '/') != NULL);
        if (code && size_kb == 0) { (void)sscanf(line, "Size: %lu", &size_kb); }
        if (code) { (void)sscanf(line, "Rss: %lu", &rss_kb); }
    }
    fclose(f);
    T_CHECK(size_kb > 0);
    T_EQ_U64(rss_kb, size_kb);
}

T_CASE(histogram_is_exact)
{
    static hist h, other;
    static const uint32_t ask[] = { 500000, 990000, 999000, 999900 };
    hist_clear(&h);
    hist_clear(&other);
    for (uint64_t v = 1; v <= 1000000; v++) { /* percentile p of 1..10^6 is p itself */
        hist_add(v % 2 ? &h : &other, v);
    }
    hist_merge(&h, &other);
    T_EQ_U64(h.count, 1000000);
    T_EQ_U64(h.max, 1000000);
    for (size_t i = 0; i < 4; i++) {
        const double got = (double)hist_percentile(&h, ask[i]);
        T_CHECK(fabs(got / ask[i] - 1) <= 0.016);
    }
    for (uint64_t v = 0; v < 1 << 20; v++) { /* slots never decrease and never skip a neighbour */
        T_REQUIRE(hist_slot(v + 1) - hist_slot(v) <= 1);
    }
    hist_clear(&h);
    hist_add(&h, UINT64_C(1) << 60);
    T_EQ_U64(h.max, UINT64_C(1) << 60);
    T_EQ_U64(h.slot[HIST_SLOTS - 1], 1);
}

T_CASE(trace_is_the_same_on_every_machine)
{
    char why[200];
    trace t;
    trace_spec s = { .kind = TRACE_UNIFORM, .key_count = 1000000, .op_count = 131072, .seed = 3 };
    T_REQUIRE(trace_make(&s, 0, &t, why, sizeof why));
    uint32_t *mask = trace_mask(t.count, 0, 5, 9);
    T_REQUIRE(mask != NULL);
    /* Computed separately by a few lines of Python: same seeds, splitmix64, FNV-1a. */
    T_EQ_U64(trace_digest(&t, mask, 100000), UINT64_C(0xcf94b16689b022d));
    free(mask);
    trace_free(&t);
}

T_CASE(zipf_trace_follows_its_law)
{
    char why[200];
    trace t;
    static uint32_t seen[1000];
    trace_spec s = { .kind = TRACE_ZIPF, .zipf_s = 0.99, .key_count = 1000, .op_count = 1 << 20,
                     .seed = 3 };
    double sum = 0;
    memset(seen, 0, sizeof seen);
    T_REQUIRE(trace_make(&s, 1, &t, why, sizeof why));
    for (uint64_t i = 0; i < t.count; i++) {
        T_REQUIRE(t.ids[i] < 1000);
        seen[t.ids[i]]++;
    }
    for (int k = 1; k <= 1000; k++) {
        sum += pow(k, -0.99);
    }
    for (uint64_t rank = 0; rank < 50; rank++) {
        const double want = pow((double)rank + 1, -0.99) / sum * (double)t.count;
        const double got = seen[trace_scramble(rank, 1000)];
        T_CHECK(fabs(got / want - 1) < 0.08);
    }
    trace_free(&t);
}

T_CASE(scramble_is_a_bijection)
{
    static const uint64_t sizes[] = { 1, 2, 3, 7, 1000, 1024, 1025 };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        static bool hit[1025];
        memset(hit, 0, sizeof hit);
        for (uint64_t r = 0; r < sizes[i]; r++) {
            const uint64_t x = trace_scramble(r, sizes[i]);
            T_REQUIRE(x < sizes[i]);
            T_CHECK(!hit[x]);
            hit[x] = true;
        }
    }
}

/* Each kind of file that the replay reads: keys by first appearance, sizes, no deletes. */
T_CASE(traces_of_the_replay_are_workloads)
{
    enum { ROWS = 70, COUNT = 64, KEYS = 40, LEAST = 100 }; /* a count is a multiple of 32 */
    static const struct {
        const char *name, *how, *head, *front, *between, *end, *drop;
    } kinds[] = {
        { "t.csv", "", "size;key\n", "", ";k", "\n", "" },
        { "t.csv", " columns=size,key format=csv", "", "", ",k", "\n", "" },
        { "t.jsonl", "", "", "{\"size\":", ",\"key\":\"", "\"}\n",
          "{\"key\":\"x\",\"op\":\"delete\"}\n" },
        { "t.tw", " format=csv columns=-,size,key,op", "", "9,", ",k", ",read\n", "9,1,x,del\n" },
    };
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        const char *path = test_path(kinds[k].name);
        workload w = { .key_len = 0 };
        char line[400], why[600];
        trace t;
        FILE *f = fopen(path, "w");
        T_REQUIRE(f != NULL);
        fputs(kinds[k].head, f);
        for (unsigned i = 0; i < ROWS; i++) {
            fprintf(f, "%s%u%s%u%s%s", kinds[k].front, LEAST + i, kinds[k].between, i % KEYS * 7,
                    kinds[k].end, kinds[k].drop);
        }
        fclose(f);
        snprintf(line, sizeof line, "file %.250s%s", path, kinds[k].how);
        T_REQUIRE(workload_trace(&w, line));
        T_REQUIRE(trace_make(&w.trace, 0, &t, why, sizeof why));
        T_EQ_U64(t.count, COUNT);
        T_EQ_U64(w.trace.key_count, KEYS);
        for (unsigned i = 0; i < COUNT; i++) {
            T_EQ_U64(t.ids[i], i % KEYS);
            T_EQ_U64(t.sizes[i % KEYS], LEAST + i % KEYS);
        }
        trace_free(&t);
        remove(path);
    }
    workload w = { .key_len = 0 };
    T_CHECK(!workload_trace(&w, "file x format=tar"));
    T_CHECK(!workload_trace(&w, "file x columns=size"));
    T_CHECK(!workload_trace(&w, "file x y"));
}

T_CASE(bad_workload_names_its_line)
{
    static const struct { const char *text, *want; } cases[] = {
        { "trace = zipf 0.99 keys=10 ops=64 seed=1\nkeys = 16\n", ":2: unknown key" },
        { "key = 16\nvalue = lots\n", ":2: value not understood" },
        { "ops = get 90 set 10 delete 1\n", ":1: value not understood: \"get 90 set 10 delete" },
        { "ops = get 90 get 10\n", ":1: value not understood" },
        { "ops = hot 90 set 10\n", ":1: value not understood" },
        { "value = choice 100:1 200\n", ":1: value not understood" },
        { "value = uniform 200 100\n", "expected N | uniform LOW HIGH" },
        { "ttl_ms = exponential 0 10\n", ":1: value not understood" },
        { "ops = get 95 set 6\n", ":1: value not understood" },
        { "threads = 2 1\n", ":1: value not understood" },
        { "nonsense\n", ":1: no `key = value`" },
        { "key = 16\n", ":1: trace, key, value, ops or threads missing" },
        { "key = 16\nkey = 8\n", ":2: given twice" },
        { "threads = cores\n", ":1: value not understood" },
        { "capacity = bytes 1048576 same size\n", ":1: value not understood" },
        { "capacity = entries 100 same rss\n", ":1: value not understood" },
        { "threads = 1 2 cors\n", ":1: value not understood" },
        { "trace = zipf 0.99 keys=2147483648 ops=64 seed=1\n", ":1: value not understood" },
        { "trace = uniform keys=10 ops=16 seed=1\n", ":1: value not understood" },
    };
    char why[600];
    workload w;
    const char *path = test_path("bad.wl");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        test_write(path, cases[i].text);
        T_CHECK(!workload_read(path, &w, why, sizeof why));
        if (!T_CHECK(strstr(why, cases[i].want) != NULL)) {
            printf("# got %s\n", why);
        }
    }
    remove(path);
    T_CHECK(!workload_read(path, &w, why, sizeof why));
}

T_CASE(every_published_workload_parses)
{
    char why[600], name[200];
    workload w;
    glob_t found;
    T_REQUIRE(glob("bench/mixes/*.wl", 0, NULL, &found) == 0);
    T_CHECK(found.gl_pathc >= 39);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        if (!T_CHECK(workload_read(found.gl_pathv[i], &w, why, sizeof why))) {
            printf("# %s\n", why);
        }
        snprintf(name, sizeof name, "bench/mixes/%s.wl", w.name);
        T_EQ_STR(name, found.gl_pathv[i]);
    }
    globfree(&found);
}

/* "1 2 cores" is 1 and 2 and, on a larger machine, the number of its cores, at most eight.
 * "1 2 4 cores over": cores at their place, however many, and 8, 16, 64 with FULL=1. */
T_CASE(thread_counts_follow_the_machine)
{
    static const struct { const char *mix; uint32_t cpus; bool full; uint32_t want[8]; } rows[] = {
        { "hot", 1, true, { 1, 2 } },
        { "hot", 2, true, { 1, 2 } },
        { "hot", 3, true, { 1, 2, 3 } },
        { "hot", 8, true, { 1, 2, 8 } },
        { "hot", 96, true, { 1, 2, 8 } },
        { "scale16m", 2, false, { 1, 2, 4 } },
        { "scale16m", 3, true, { 1, 2, 3, 4, 8, 16, 64 } },
        { "scale16m", 16, false, { 1, 2, 4, 8, 16 } }, /* the columns of suite scale */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char path[200], why[600];
        workload w;
        uint32_t count = 0;
        snprintf(path, sizeof path, "bench/mixes/%s.wl", rows[i].mix);
        T_REQUIRE(workload_read(path, &w, why, sizeof why) && w.cores);
        cell_add_cores("test", &w, rows[i].cpus, rows[i].full);
        while (rows[i].want[count] != 0) { count++; }
        if (!T_EQ_U64(w.thread_count, count) ||
            !T_EQ_MEM(w.thread, rows[i].want, count * sizeof w.thread[0])) {
            printf("# row %zu\n", i);
        }
    }
}

/* ---- The same room: a ring of blocks, which keeps the newest entries -------------------------- */

typedef struct ring {
    unsigned char *block;
    uint64_t room, sets;
    size_t bytes; /* of a block */
} ring;

static void *ring_open(const bench_cfg *cfg, size_t bytes)
{
    ring *r = calloc(1, sizeof *r);
    T_REQUIRE(r != NULL);
    r->bytes = bytes; /* it counts 40 bytes more than key and value */
    r->room = cfg->capacity_entries != 0
                  ? cfg->capacity_entries
                  : cfg->capacity_bytes / (cfg->key_len + cfg->value_len + 40);
    r->block = malloc(r->room * bytes);
    T_REQUIRE(r->block != NULL);
    return r;
}
static void *ring_open_256(const bench_cfg *cfg) { return ring_open(cfg, 256); }
static void *ring_open_512(const bench_cfg *cfg) { return ring_open(cfg, 512); }

static void ring_close(void *store)
{
    free(((ring *)store)->block);
    free(store);
}

static int ring_set(void *store, const void *key, size_t key_len, const void *value, size_t len,
                    int64_t ttl_ms)
{
    ring *r = store;
    (void)key, (void)key_len, (void)ttl_ms;
    memcpy(r->block + r->sets++ % r->room * r->bytes, value, len);
    return 0;
}

static uint64_t ring_count(void *store)
{
    const ring *r = store;
    return r->sets < r->room ? r->sets : r->room;
}

static const bench_subject ring_256 = { .name = "ring256", .caps = BENCH_BOUNDED,
    .open = ring_open_256, .close = ring_close, .set = ring_set, .count = ring_count };
static const bench_subject ring_512 = { .name = "ring512", .caps = BENCH_BOUNDED,
    .open = ring_open_512, .close = ring_close, .set = ring_set, .count = ring_count };

/* 3,120,000 bytes hold 20,000 entries of 16 + 100 bytes and 40 more, which grow RSS by 256 each. */
T_CASE(bounds_of_the_same_room_are_found)
{
    const bench_cfg cfg = { .capacity_bytes = 3120000, .key_len = 16, .value_len = 100 };
    room_size ours, got = { 0, 0 };
    char why[256];
    T_REQUIRE(room_measure(&ring_256, &cfg, &ours, why, sizeof why));
    T_EQ_U64(ours.entries, 20000);
    const uint64_t bytes = room_bytes(&ring_256, &cfg, 20000);
    T_CHECK(bytes > 3100000 && bytes < 3140000);
    const uint64_t entries = room_same_rss(&ring_512, &cfg, &ours, &got);
    T_CHECK(entries > 9000 && entries < 11000);
    T_EQ_U64(got.entries, entries);
}

/* A repeated window uses new requests where the first try left entries in the store. */
T_CASE(repeated_window_of_bounded_store_uses_new_requests)
{
    trace t = { .count = 65536 };
    workload w = test_workload(1000);
    const cell_set c = { .w = &w, .traces = &t };
    T_EQ_U64(cell_again(&c, 1000, 0), 992);
    T_EQ_U64(cell_again(&c, 1000, 2), 992);
    w.capacity_entries = 100;
    T_EQ_U64(cell_again(&c, 1000, 0), 992);
    for (int i = 1; i <= CELL_REPEATS; i++) {
        const uint64_t at = cell_again(&c, 65000, i);
        T_CHECK(at % 32 == 0 && at < 65536);
        T_CHECK(at > 65000 % 65536 - 64000 && at < 65000 - 8000);
    }
}

__attribute__((destructor)) static void test_clean(void) { remove(test_lines); }
__attribute__((constructor)) static void test_prepare(void)
{
    snprintf(test_lines, sizeof test_lines, "%s", test_path("lines.jsonl"));
    json_facts(true, "glibc");
}

static void apart_sleeps(const void *in, void *out)
{
    *(uint32_t *)out = *(const uint32_t *)in;
    pause();
}
static void apart_dies(const void *in, void *out)
{
    *(uint32_t *)out = *(const uint32_t *)in;
    raise(SIGKILL);
}
static void apart_ends(const void *in, void *out) { *(uint32_t *)out = *(const uint32_t *)in; }

/* Work in a child process ends the row of this suite and not the bench, whatever it does. */
T_CASE(hung_child_process_does_not_stop_the_bench)
{
    const uint32_t in = 7;
    uint32_t out = 0;
    char why[100] = "as it was";
    T_CHECK(host_apart(apart_ends, &in, &out, sizeof out, why, sizeof why));
    T_EQ_U64(out, 7);
    T_EQ_STR(why, "as it was");
    T_CHECK(!host_apart(apart_dies, &in, &out, sizeof out, why, sizeof why));
    T_CHECK(strncmp(why, "signal 9", 8) == 0);
    T_EQ_STR(driver_kind(why), "crash");
    host_patience(150);
    T_CHECK(!host_apart(apart_sleeps, &in, &out, sizeof out, why, sizeof why));
    T_EQ_STR(why, "no answer within 150 ms");
    T_EQ_STR(driver_kind(why), "hang");
    host_patience(300000);
}

static int guarded_step(void *ctx) /* 40 steps of 10 ms; stops, dies or ends at the 30th */
{
    const struct timespec step = { 0, 10000000 };
    for (uint32_t i = 0; i < 40; i++) {
        host_at(i);
        nanosleep(&step, NULL);
        if (i == 30 && *(const char *)ctx == 'h') { sleep(600); }
        if (i == 30 && *(const char *)ctx == 'k') { raise(SIGKILL); }
    }
    return 2;
}

static int guarded_twice(void *ctx) /* the child of the step reports progress for it, too */
{
    char why[100];
    uint32_t at;
    return host_guard(guarded_step, ctx, 20000, &at, why, sizeof why) == 2 ? 1 : 0;
}

/* Work of any length is waited for. Work without progress is ended, and its position is known. */
T_CASE_ON(guard_ends_work_without_progress, MEASURED)
{
    char why[100] = "as it was", late[100];
    uint32_t at;
    T_EQ_I64(host_guard(guarded_step, "ends", 20000, &at, why, sizeof why), 2);
    T_EQ_U64(at, 39);
    T_EQ_STR(why, "as it was");
    T_EQ_I64(host_guard(guarded_twice, "ends", 20000, &at, why, sizeof why), 1);
    at = 0; /* a machine that stops for so long looks like a hang before the 30th step */
    for (uint32_t ms = 200; ms < 20000 && at != 30; ms *= 2) {
        T_EQ_I64(host_guard(guarded_step, "hangs", ms, &at, why, sizeof why), -1);
        (void)snprintf(late, sizeof late, "no answer within %" PRIu32 " ms", ms);
        T_EQ_STR(why, late);
    }
    T_EQ_U64(at, 30);
    T_EQ_I64(host_guard(guarded_step, "killed", 20000, &at, why, sizeof why), -1);
    T_EQ_U64(at, 30);
    T_CHECK(strncmp(why, "signal 9", 8) == 0);
}

static uint32_t judged(uint64_t preempted, uint64_t waited_ns, uint64_t wall_ns)
{
    const host_steal now = host_steal_now();
    const window_job job = { .window_ms = 40 };
    window_result r = { .ops = 1, .preempted = preempted, .waited_ns = waited_ns,
                        .wall_ns = wall_ns };
    window_judge_noise(&now, &job, &r);
    return r.dropped & ~(uint32_t)WINDOW_STOLEN;
}

/* Ten switches of some microseconds are no disturbance. A long or unknown wait is one. */
T_CASE(window_is_dropped_for_lost_time_not_for_switches)
{
    T_EQ_U64(judged(10, 400000, 40000000), 0);
    T_EQ_U64(judged(2, 9000000, 40000000), 0);
    T_EQ_U64(judged(3, 2100000, 40000000), WINDOW_SWITCHED);
    T_EQ_U64(judged(3, UINT64_MAX, 40000000), WINDOW_SWITCHED);
    T_EQ_U64(judged(0, 0, 61000000), WINDOW_LENGTH);
    T_EQ_U64(judged(9, 30000000, 70000000), WINDOW_LENGTH | WINDOW_SWITCHED);
}

/* This thread spins on the processor of another spinning thread: it waits about half the time. */
static void *spin_until(void *stop)
{
    host_pin(0);
    while (!atomic_load((_Atomic bool *)stop)) {
    }
    return NULL;
}

T_CASE_ON(wait_for_a_processor_is_measured, MEASURED)
{
    _Atomic bool stop = false;
    pthread_t other;
    const int fd = host_waited_open();
    if (fd < 0) {
        T_SKIP("the kernel does not tell how long a thread waited");
        return;
    }
    host_pin(0); /* before the other thread: the first call reads the list of processors */
    T_REQUIRE(pthread_create(&other, NULL, spin_until, &stop) == 0);
    const uint64_t waited = host_waited_ns(fd), end = host_wall_ns() + 200000000;
    while (host_wall_ns() < end) {
    }
    T_CHECK(host_waited_ns(fd) - waited > 10000000);
    atomic_store(&stop, true);
    pthread_join(other, NULL);
    host_unpin();
    close(fd);
}

/* Rounds of one lane: `clean` of them undisturbed at 10 Mops/s, the others at 1 to `dirty`. */
static cell_series collected(uint32_t clean, uint32_t dirty, double *room)
{
    static window_result result[64];
    static uint64_t c2c[64];
    memset(result, 0, sizeof result);
    for (uint32_t r = 0; r < clean + dirty; r++) {
        result[r].ops = 1000 * (r < clean ? 10 : r - clean + 1);
        result[r].wall_ns = 1000000;
        result[r].dropped = r < clean ? 0u : r % 2 != 0 ? WINDOW_SWITCHED
                                                        : WINDOW_SWITCHED | WINDOW_LENGTH;
        c2c[r] = 40;
    }
    result[clean + dirty].dropped = WINDOW_ENDED; /* measured nothing */
    c2c[clean + dirty] = 40;
    const cell_set c = { .result = result, .c2c_ns = c2c, .lane_count = 1,
                         .round_count = clean + dirty + 1 };
    cell_series s = { .value = room };
    cell_collect(&c, CELL_NEAR, window_mops_wall, 0, UINT32_MAX, &s);
    return s;
}

static void *open_waited(void *arg)
{
    const int fd = host_waited_open();
    if (fd < 0) { (*(unsigned *)arg)++; }
    if (fd >= 0) { close(fd); }
    return NULL;
}

/* On an idle machine a new thread has waited for nothing, and its windows count all the same. */
T_CASE(thread_that_never_waited_is_measured)
{
    unsigned unknown = 0;
    const int fd = host_waited_open();
    if (fd < 0) {
        T_SKIP("the kernel does not tell how long a thread waited");
        return;
    }
    close(fd);
    for (unsigned i = 0; i < 2000; i++) {
        pthread_t t;
        T_REQUIRE(pthread_create(&t, NULL, open_waited, &unknown) == 0);
        pthread_join(t, NULL);
    }
    T_EQ_U64(unknown, 0);
}

T_CASE(figure_of_busy_machine_is_marked)
{
    double room[64];
    char text[100];
    cell_series s = collected(5, 4, room);
    T_CHECK(isnan(cell_quantile(s.value, 0, 0.5)));
    T_EQ_U64(s.count, 5);
    T_CHECK(cell_quantile(s.value, s.count, 0.0) == 10.0);
    T_CHECK(cell_noisy(&s));
    s = collected(0, 7, room);
    T_FIELDS(s, count, 7, clean, 0, seen, 8);
    T_CHECK(cell_quantile(s.value, s.count, 0.5) == 4.0);
    T_CHECK(cell_quantile(s.value, s.count, 0.25) == 2.5);
    T_CHECK(cell_noisy(&s));
    T_EQ_STR(cell_cause(&s, text, sizeof text), "switches 7, length 4, ended 1");
    s = collected(4, 3, room);
    T_EQ_U64(s.count, 7);
    s = collected(9, 5, room); /* over a third is dropped */
    T_CHECK(cell_noisy(&s));
    s = collected(20, 2, room);
    T_EQ_U64(s.count, 20);
    T_CHECK(!cell_noisy(&s));
}

T_MAIN("bench_harness")
