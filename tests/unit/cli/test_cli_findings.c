/* SPDX-License-Identifier: MIT
 *
 * Aim:    the tour finds a wrong answer, a byte over the budget, and counts that do not add up;
 *         each gives exit code 1. A cache that fails gives 3 or 4, never 0.
 * Method: the tour runs over a cache of this file, a list with the mistake in `wanted`; a folder of
 *         300 files made here. */
#include "tests/support/t.h"

#define limits_run limits_run_for_a_second
#include "cli/limits.c"
#undef limits_run
bool limits_run(limits_report *out);
#include "cli/guards_print.c"
#include "cli/jobs_print.c"
#include "cli/policies_print.c"
#include "cli/program.c"
#include "cli/ready_print.c"
#include "cli/text.c"
#include "cli/tour.c"
#include "cli/tour_l2_print.c"
#include "cli/tour_port_print.c"
#include "cli/tour_remote_print.c"
#include "cli/walk.c"

/* ---- a cache with mistakes ---- */

typedef enum mistake {
    NONE, OTHER_BYTES, SHORT_VALUE, OVER_BUDGET, MISCOUNTED_GETS, MISCOUNTED_HITS, STATS_FAIL,
    GET_FAILS, SET_FAILS, SET_REFUSED, OPEN_FAILS, LIMIT_PASSED, LIMIT_ODD, NOTHING_ADMITTED,
    LIMITERS_FAIL, TWO_LOADS, VALUE_LOST, FAILED_GET, FLOOD_LOADED, GUARDS_FAIL,
    MERGE_LOST, MERGES_APART, TEXT_TWICE, VECTOR_WRONG, COLD_KEY, READY_FAILS,
    TASK_LOST, TASK_TWICE, SPLIT_WRONG, ITEM_LOST, FIRING_WRONG, NO_ZONES, JOBS_FAIL,
    DISK_DIFFERENT, DISK_EMPTY, KILLED_WRONG, KILLED_RISEN, KILLED_EMPTY, DISK_FAILS,
    PORT_DIFFERENT, REMOTE_STALE, REMOTE_LOADS, REMOTE_OVER, POLICY_MISCOUNTED, NO_ADVICE, POLICIES_FAIL
} mistake;

static mistake wanted;

struct cellar {
    pthread_mutex_t lock;
    struct { char key[64]; unsigned char value[64]; size_t len; } entry[1024];
    size_t count, max;
    uint64_t gets, hits, evicted;
};

cellar_err cellar_open(const cellar_config *cfg, cellar **out)
{
    if (wanted == OPEN_FAILS) { return CELLAR_E_NOMEM; }
    cellar *c = calloc(1, sizeof *c);
    T_REQUIRE(c != NULL);
    pthread_mutex_init(&c->lock, NULL);
    c->max = cfg->max_entries != 0 ? (size_t)cfg->max_entries : 1024;
    *out = c;
    return CELLAR_OK;
}

cellar_err cellar_close(cellar *c)
{
    pthread_mutex_destroy(&c->lock);
    free(c);
    return CELLAR_OK;
}

cellar_err cellar_get(cellar *c, const void *key, size_t key_len, void *buf, size_t buf_cap,
                      size_t *value_len)
{
    cellar_err err = CELLAR_MISS;
    if (wanted == GET_FAILS) { return CELLAR_E_CLOSED; }
    pthread_mutex_lock(&c->lock);
    c->gets++;
    for (size_t i = 0; i < c->count && err != CELLAR_OK; i++) {
        if (strncmp(c->entry[i].key, key, key_len) == 0 && c->entry[i].key[key_len] == '\0') {
            T_CHECK(buf_cap >= c->entry[i].len);
            memcpy(buf, c->entry[i].value, c->entry[i].len);
            *value_len = wanted == SHORT_VALUE ? c->entry[i].len - 1 : c->entry[i].len;
            c->hits++;
            err = CELLAR_OK;
        }
    }
    pthread_mutex_unlock(&c->lock);
    return err;
}

cellar_err cellar_set(cellar *c, const void *key, size_t key_len, const void *value,
                      size_t value_len, const cellar_set_opts *o)
{
    (void)o;
    if (wanted == SET_FAILS) { return CELLAR_E_NOMEM; }
    if (wanted == SET_REFUSED) { return CELLAR_E_SPACE; }
    pthread_mutex_lock(&c->lock);
    T_REQUIRE(key_len < sizeof c->entry[0].key && value_len <= sizeof c->entry[0].value);
    size_t at = c->count;
    if (c->count == c->max) {
        at = (size_t)c->evicted++ % c->max;
    } else {
        c->count++;
    }
    memset(c->entry[at].key, 0, sizeof c->entry[at].key);
    memcpy(c->entry[at].key, key, key_len);
    memcpy(c->entry[at].value, value, value_len);
    if (wanted == OTHER_BYTES) { c->entry[at].value[31] ^= 1; }
    c->entry[at].len = value_len;
    pthread_mutex_unlock(&c->lock);
    return CELLAR_OK;
}

cellar_err cellar_stats_get(cellar *c, cellar_scope scope, cellar_stats *out)
{
    T_EQ_I64(scope, CELLAR_SCOPE_STORE);
    if (wanted == STATS_FAIL) { return CELLAR_E_CLOSED; }
    pthread_mutex_lock(&c->lock);
    out->gets = c->gets + (wanted == MISCOUNTED_GETS ? c->gets / 100 : 0);
    out->hits_l1 = c->hits - (wanted == MISCOUNTED_HITS && c->hits > 0 ? c->hits / 100 + 1 : 0);
    out->misses = out->gets - out->hits_l1;
    out->entries = c->count;
    out->ended[CELLAR_CAUSE_EVICTED] = c->evicted;
    out->budget_bytes = 1000000;
    out->used_bytes = wanted == OVER_BUDGET ? 1000001 : 1000000;
    pthread_mutex_unlock(&c->lock);
    return CELLAR_OK;
}

const char *cellar_version(void) { return "test"; }
const char *cellar_code_name(cellar_err code) { return code == CELLAR_OK ? "OK" : "E"; }
const char *cellar_strerror(cellar_err code) { return cellar_code_name(code); }

/* Figures of two limiters. test_cli_tour.sh has the real run, which takes a second. */
bool limits_run(limits_report *out)
{
    if (wanted == LIMITERS_FAIL) { return false; }
    *out = (limits_report){ .threads = 8, .limit = 1000, .elapsed_ns = 1200000000,
                            .of = { { .name = "one", .checks = 9000, .admitted = 1100, .most = 990,
                                      .check_ns = 20 },
                                    { .name = "two", .checks = 9000, .admitted = 2000, .most = 1000,
                                      .check_ns = 30 } } };
    if (wanted == LIMIT_PASSED) { out->of[1].most = 1001; }
    if (wanted == LIMIT_ODD) { out->of[0].odd = 1; }
    if (wanted == NOTHING_ADMITTED) { out->of[0].admitted = out->of[0].most = 0; }
    return true;
}

/* Figures of loads. test_cli_tour.sh has the real run, which needs the real cache. */
bool tour_l2_run(cellar *store, const cli_files *files, tour_l2_result *r)
{
    (void)store;
    *r = (tour_l2_result){ .asked = files->count, .hits = files->count, .from_disk = files->count,
                           .acked = 100, .deleted = 20, .found = 60 };
    if (wanted == DISK_DIFFERENT) { r->different = 1; }
    if (wanted == DISK_EMPTY) { r->from_disk = 0; }
    if (wanted == KILLED_WRONG) { r->wrong = 1; }
    if (wanted == KILLED_RISEN) { r->risen = 1; }
    if (wanted == KILLED_EMPTY) { r->found = 0; }
    return wanted != DISK_FAILS;
}

void tour_port_run(cellar *store, const cli_files *files, tour_port_result *r)
{
    (void)store;
    *r = (tour_port_result){ .asked = files->count, .get_ns = 20000 };
    if (wanted == PORT_DIFFERENT) { r->different = 1; }
}

int tour_remote_run(const char *url, tour_remote_result *r)
{
    (void)url;
    *r = (tour_remote_result){ .loads = 1, .compared = 10, .worst_window = 9, .window_bound = 9 };
    if (wanted == REMOTE_STALE) { r->stale = 1; }
    if (wanted == REMOTE_LOADS) { r->loads = 2; }
    if (wanted == REMOTE_OVER) { r->worst_window = 10; }
    return CLI_DONE;
}

bool policies_run(const cli_files *files, policies_result *r)
{
    *r = (policies_result){ .keys = files->count, .room = 10, .gets = 100,
                            .hits = { 70, 60, 50, 40 }, .advised = wanted != NO_ADVICE,
                            .uncounted = wanted == POLICY_MISCOUNTED, .now = .7, .said = .8,
                            .is = .81 };
    return wanted != POLICIES_FAIL;
}

bool guards_run(guards_result *r)
{
    if (wanted == GUARDS_FAIL) { return false; }
    *r = (guards_result){ .threads = 64, .loads = 1, .joined = 63, .values = 64, .asked = 1000,
                          .stale = 1000, .failed_loads = 1, .flood = 100000, .stopped = 99000,
                          .audits = 97, .flood_loads = 1097 };
    if (wanted == TWO_LOADS) { r->loads = 2; }
    if (wanted == VALUE_LOST) { r->values = 63; }
    if (wanted == FAILED_GET) { r->stale = 999; }
    if (wanted == FLOOD_LOADED) { r->flood_loads = 5000; }
    return true;
}

bool ready_run(ready_result *r)
{
    *r = (ready_result){ .threads = 8, .merges = 2000, .runs = 2007, .merged = 2000, .texts = 48,
                         .present = 32, .loaded = 8, .calls = 1, .gets = 1000, .keys = 10,
                         .hottest = 5, .hot = { "a", "b", "c", "d", "e" } };
    if (wanted == MERGE_LOST) { r->merged = 1999; }
    if (wanted == MERGES_APART) { r->runs = 2000; }
    if (wanted == TEXT_TWICE) { r->loaded = 16; }
    if (wanted == VECTOR_WRONG) { r->wrong = 1; }
    if (wanted == COLD_KEY) { r->hottest = 4; }
    return wanted != READY_FAILS;
}

bool jobs_run(jobs_result *r)
{
    *r = (jobs_result){ .threads = 4, .tasks = 1000, .faulty = 100, .attempts = 1100,
                        .succeeded = 1000, .once = 1000, .items = 64, .calls = 13, .ok = 63,
                        .failed = 1, .firings = 3,
                        .firing_ms = { 1774661400000, 1774746000000, 1774830600000 } };
    if (wanted == TASK_LOST) { r->succeeded = 999; }
    if (wanted == TASK_TWICE) { r->once = 999; }
    if (wanted == SPLIT_WRONG) { r->calls = 65; }
    if (wanted == ITEM_LOST) { r->ok = 62; }
    if (wanted == FIRING_WRONG) { r->firing_ms[1] += 1800000; }
    if (wanted == NO_ZONES) { r->firings = 0; }
    return wanted != JOBS_FAIL;
}

/* ---- running it ---- */

static char folder[64], output[1 << 16];

static void make_folder(void)
{
    char path[128];
    if (folder[0] != '\0') { return; }
    snprintf(folder, sizeof folder, "/tmp/cellar-tour-XXXXXX");
    T_REQUIRE(mkdtemp(folder) != NULL);
    for (int i = 0; i < 300; i++) {
        snprintf(path, sizeof path, "%s/f%03d", folder, i);
        FILE *f = fopen(path, "w");
        T_REQUIRE(f != NULL);
        for (int line = 0; line <= i; line++) { fprintf(f, "line %d of %d\n", line, i); }
        fclose(f);
    }
}

/* Run the tour. Return its exit code; `output` has its output. */
static int tour_with(mistake m, const char *option)
{
    static const cli_terminal quiet = { false, false };
    char name[] = "tour", opt[64];
    snprintf(opt, sizeof opt, "%s", option);
    char *argv[] = { name, opt, folder, NULL };
    make_folder();
    wanted = m;
    optind = 1;
    FILE *to = tmpfile();
    T_REQUIRE(to != NULL);
    fflush(stdout);
    const int real = dup(STDOUT_FILENO), real_err = dup(STDERR_FILENO);
    T_REQUIRE(real >= 0 && real_err >= 0);
    dup2(fileno(to), STDOUT_FILENO);
    dup2(fileno(to), STDERR_FILENO);
    const int code = cli_tour.run(3, argv, &quiet);
    fflush(stdout);
    dup2(real, STDOUT_FILENO);
    dup2(real_err, STDERR_FILENO);
    close(real);
    close(real_err);
    rewind(to);
    output[fread(output, 1, sizeof output - 1, to)] = '\0';
    fclose(to);
    return code;
}

static void correct_cache_has_no_finding(void)
{
    T_EQ_I64(tour_with(NONE, "--threads=2"), CLI_DONE);
    T_CHECK(strstr(output, "FINDING") == NULL);
    T_CHECK(strstr(output, "300 files") != NULL);
    T_CHECK(strstr(output, "recomputed 3 of the cached answers: 0 different") != NULL);
    T_EQ_I64(tour_with(NONE, "--json"), CLI_DONE);
    T_CHECK(strstr(output, "\"findings\":0") != NULL);
}

static void wrong_answers_are_found(void)
{
    T_EQ_I64(tour_with(OTHER_BYTES, "--threads=2"), CLI_FINDING);
    T_CHECK(strstr(output, "FINDING pass 2: 3 answers differ from the stored ones") != NULL);
    T_EQ_I64(tour_with(SHORT_VALUE, "--threads=2"), CLI_FINDING);
    T_CHECK(strstr(output, "FINDING pass 2") != NULL && strstr(output, "FINDING pass 3") != NULL);
    T_EQ_I64(tour_with(OTHER_BYTES, "--json"), CLI_FINDING);
    T_CHECK(strstr(output, "\"findings\":1,") != NULL);
}

static void byte_over_the_budget_is_found(void)
{
    T_EQ_I64(tour_with(OVER_BUDGET, "--threads=2"), CLI_FINDING);
    T_CHECK(strstr(output, "FINDING pass 1: 1 bytes over the budget") != NULL);
    T_CHECK(strstr(output, "FINDING pass 3: 1 bytes over the budget") != NULL);
}

static void counts_that_do_not_add_up_are_found(void)
{
    T_EQ_I64(tour_with(MISCOUNTED_GETS, "--threads=2"), CLI_FINDING);
    T_CHECK(strstr(output, "FINDING pass 1: 0 hits and 300 misses in 300 operations") != NULL);
    T_EQ_I64(tour_with(MISCOUNTED_HITS, "--threads=2"), CLI_FINDING);
    T_CHECK(strstr(output, "FINDING pass 2") != NULL);
}

static void failing_cache_ends_the_tour(void)
{
    T_EQ_I64(tour_with(OPEN_FAILS, "--threads=2"), CLI_NO_START);
    T_EQ_I64(tour_with(GET_FAILS, "--threads=2"), CLI_INTERNAL);
    T_EQ_I64(tour_with(SET_FAILS, "--threads=2"), CLI_INTERNAL);
    T_EQ_I64(tour_with(STATS_FAIL, "--threads=2"), CLI_INTERNAL);
    T_CHECK(strstr(output, "FINDING") == NULL);
}

static void rejected_set_is_no_finding(void)
{
    T_EQ_I64(tour_with(SET_REFUSED, "--threads=2"), CLI_DONE);
    T_EQ_I64(tour_with(SET_REFUSED, "--json"), CLI_DONE);
    T_CHECK(strstr(output, "\"refused\":300") != NULL);
}

static void second_load_is_found(void)
{
    T_EQ_I64(tour_with(NONE, "--json"), CLI_DONE);
    T_CHECK(strstr(output, "\"one missing key\",\"threads\":64,\"loads\":1,\"joined\":63,") !=
            NULL);
    T_EQ_I64(tour_with(TWO_LOADS, "--threads=2"), CLI_FINDING);
    T_CHECK(strstr(output, "FINDING loading: 2 loads, 64 of 64 threads got the value") != NULL);
    T_EQ_I64(tour_with(VALUE_LOST, "--threads=2"), CLI_FINDING);
    T_CHECK(strstr(output, "FINDING loading: 1 loads, 63 of 64 threads got the value") != NULL);
    T_EQ_I64(tour_with(FAILED_GET, "--threads=2"), CLI_FINDING);
    T_CHECK(strstr(output, "FINDING failing loader: 999 of 1,000 served, 1 loads") != NULL);
    T_EQ_I64(tour_with(FLOOD_LOADED, "--json"), CLI_FINDING);
    T_CHECK(strstr(output, "\"findings\":1,") != NULL);
    T_EQ_I64(tour_with(GUARDS_FAIL, "--threads=2"), CLI_NO_START);
}

static void wrong_ready_made_parts_are_found(void)
{
    T_EQ_I64(tour_with(NONE, "--json"), CLI_DONE);
    T_CHECK(strstr(output, "\"hottest\":[\"a\",\"b\",\"c\",\"d\",\"e\"]") != NULL);
    T_EQ_I64(tour_with(MERGE_LOST, "--threads=2"), CLI_FINDING);
    T_CHECK(strstr(output, "FINDING status: 2,000 merges, 1,999 in the value, 2,007 runs") != NULL);
    T_EQ_I64(tour_with(MERGES_APART, "--threads=2"), CLI_FINDING);
    T_EQ_I64(tour_with(TEXT_TWICE, "--threads=2"), CLI_FINDING);
    T_CHECK(strstr(output, "FINDING embeddings: 16 texts loaded in 1 calls, 0 vectors wrong") !=
            NULL);
    T_EQ_I64(tour_with(VECTOR_WRONG, "--json"), CLI_FINDING);
    T_EQ_I64(tour_with(COLD_KEY, "--threads=2"), CLI_FINDING);
    T_CHECK(strstr(output, "FINDING hot keys: 4 of the 5 most read keys are at their place") !=
            NULL);
    T_EQ_I64(tour_with(READY_FAILS, "--threads=2"), CLI_NO_START);
}

static void wrong_jobs_are_found(void)
{
    T_EQ_I64(tour_with(NONE, "--json"), CLI_DONE);
    T_CHECK(strstr(output, "\"firings_ms\":[1774661400000,1774746000000,1774830600000]") != NULL);
    T_EQ_I64(tour_with(TASK_LOST, "--threads=2"), CLI_FINDING);
    T_CHECK(strstr(output, "FINDING tasks: 1,100 attempts, 999 succeeded, 1,000 of them once") !=
            NULL);
    T_CHECK(strstr(output, "28 March 01:30, 29 March 01:00, 30 March 00:30 UTC") != NULL);
    T_EQ_I64(tour_with(TASK_TWICE, "--json"), CLI_FINDING);
    T_EQ_I64(tour_with(SPLIT_WRONG, "--threads=2"), CLI_FINDING);
    T_CHECK(strstr(output, "FINDING batch: 65 calls, 63 items delivered, 1 failed") != NULL);
    T_EQ_I64(tour_with(ITEM_LOST, "--threads=2"), CLI_FINDING);
    T_EQ_I64(tour_with(FIRING_WRONG, "--threads=2"), CLI_FINDING);
    T_CHECK(strstr(output, "FINDING schedule: wrong times") != NULL);
    T_EQ_I64(tour_with(NO_ZONES, "--threads=2"), CLI_DONE);
    T_CHECK(strstr(output, "left out, no zone database") != NULL);
    T_EQ_I64(tour_with(JOBS_FAIL, "--threads=2"), CLI_NO_START);
}

static void wrong_answers_from_disk_are_found(void)
{
    T_EQ_I64(tour_with(NONE, "--json"), CLI_DONE);
    T_CHECK(strstr(output, "\"disk\":\"killed\",\"shown\":true,\"acknowledged\":100,") != NULL);
    T_EQ_I64(tour_with(DISK_DIFFERENT, "--threads=2"), CLI_FINDING);
    T_CHECK(strstr(output, "FINDING answers from disk differ from the stored ones") != NULL);
    T_EQ_I64(tour_with(DISK_EMPTY, "--threads=2"), CLI_FINDING);
    T_CHECK(strstr(output, "FINDING no answer came from disk") != NULL);
    T_EQ_I64(tour_with(KILLED_WRONG, "--threads=2"), CLI_FINDING);
    T_CHECK(strstr(output, "FINDING a killed store returned wrong values") != NULL);
    T_EQ_I64(tour_with(KILLED_RISEN, "--threads=2"), CLI_FINDING);
    T_CHECK(strstr(output, "FINDING a killed store returned deleted values") != NULL);
    T_EQ_I64(tour_with(KILLED_EMPTY, "--json"), CLI_FINDING);
    T_EQ_I64(tour_with(DISK_FAILS, "--threads=2"), CLI_NO_START);
}

static void wrong_replies_of_the_port_are_found(void)
{
    T_EQ_I64(tour_with(NONE, "--json"), CLI_DONE);
    T_CHECK(strstr(output, "{\"port\":\"get\",\"shown\":true,") != NULL);
    T_EQ_I64(tour_with(PORT_DIFFERENT, "--threads=2"), CLI_FINDING);
    T_CHECK(strstr(output, "FINDING a reply of the port differs") != NULL);
}

static void findings_of_the_remote_part_are_told(void)
{
    T_EQ_I64(tour_with(NONE, "--remote"), CLI_DONE);
    T_CHECK(strstr(output, "FINDING") == NULL);
    T_EQ_I64(tour_with(REMOTE_STALE, "--remote"), CLI_FINDING);
    T_CHECK(strstr(output, "has a value that the server has not") != NULL);
    T_EQ_I64(tour_with(REMOTE_LOADS, "--remote"), CLI_FINDING);
    T_EQ_I64(tour_with(REMOTE_OVER, "--remote"), CLI_FINDING);
    T_CHECK(strstr(output, "more than its bound") != NULL);
}

static void miscounted_policies_are_found(void)
{
    T_EQ_I64(tour_with(POLICY_MISCOUNTED, "--threads=2"), CLI_FINDING);
    T_EQ_I64(tour_with(NO_ADVICE, "--json"), CLI_FINDING);
    T_EQ_I64(tour_with(POLICIES_FAIL, "--threads=2"), CLI_NO_START);
}

static void exceeded_rate_limit_is_found(void)
{
    T_EQ_I64(tour_with(NONE, "--threads=2"), CLI_DONE);
    T_CHECK(strstr(output, "\ntwo                   9,000 checks, 2,000 admitted, at most 1,000 in "
                           "any second, 30 ns a check\n") != NULL);
    T_EQ_I64(tour_with(LIMIT_PASSED, "--threads=2"), CLI_FINDING);
    T_CHECK(strstr(output, "FINDING two: 1001 admitted in a second, limit 1000") != NULL);
    T_EQ_I64(tour_with(LIMIT_PASSED, "--json"), CLI_FINDING);
    T_CHECK(strstr(output, "\"most_in_a_second\":1001,") != NULL);
    T_EQ_I64(tour_with(LIMIT_ODD, "--threads=2"), CLI_FINDING);
    T_CHECK(strstr(output, "1 wrong codes") != NULL);
    T_EQ_I64(tour_with(NOTHING_ADMITTED, "--threads=2"), CLI_FINDING);
    T_EQ_I64(tour_with(LIMITERS_FAIL, "--threads=2"), CLI_NO_START);
}

static void windows_are_half_open(void)
{
    const uint64_t s = CELLAR_SECOND_NS;
    const uint64_t a[] = { 5, 5 + s }, b[] = { 5, 4 + s };
    const uint64_t c[] = { 0, 1, 2, s, s + 1, s + 1, s + 2 };
    T_EQ_U64(limits_most(a, 0), 0);
    T_EQ_U64(limits_most(a, 1), 1);
    T_EQ_U64(limits_most(a, 2), 1); /* a second apart: two windows */
    T_EQ_U64(limits_most(b, 2), 2);
    T_EQ_U64(limits_most(c, 7), 4); /* {s, s + 1, s + 1, s + 2} */
}

static void remove_folder(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    T_CHECK(system(command) == 0);
    folder[0] = '\0';
}
T_AFTER_EACH(remove_folder);

T_MAIN("cli_findings", T_CASE(findings_of_the_remote_part_are_told),
       T_CASE(correct_cache_has_no_finding), T_CASE(wrong_answers_are_found),
       T_CASE(byte_over_the_budget_is_found), T_CASE(counts_that_do_not_add_up_are_found),
       T_CASE(failing_cache_ends_the_tour), T_CASE(rejected_set_is_no_finding),
       T_CASE(second_load_is_found), T_CASE(wrong_ready_made_parts_are_found),
       T_CASE(wrong_jobs_are_found),
       T_CASE(wrong_answers_from_disk_are_found),
       T_CASE(wrong_replies_of_the_port_are_found),
       T_CASE(miscounted_policies_are_found), T_CASE(exceeded_rate_limit_is_found),
       T_CASE(windows_are_half_open))
