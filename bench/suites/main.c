/* SPDX-License-Identifier: MIT
 *
 * main: the program cellar-bench. `make bench` calls it; its options are the make variables.
 *
 * WALK       options -> header with the facts of the machine -> suites, each workload in a child of
 *            its own -> exit status. Figures go to --json as they are made; bench/report/tables.awk
 *            reads them there and compares with targets.tsv.
 * PATIENCE   A suite that is a function runs in a process of its own, too. If it crashes, or prints
 *            no line for three times the patience of one piece of work, that is a row, and the next
 *            suite begins. So the bench ends by itself, whatever hangs.
 * EXIT       0 done (skips are fine), 1 a subject gave a wrong value or crashed, 2 usage: unknown
 *            suite, subject, workload, or a malformed file (with its line number). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/harness/driver.h"
#include "bench/harness/host.h"
#include "bench/harness/json.h"
#include "bench/suites/suite.h"

#define MAIN_SUITES 27
#define MAIN_PATIENCE 3u /* of the host's: a suite runs several steps between two lines */

static const bench_suite *const main_suites[] = { &suite_l1,   &suite_many,   &suite_hot,
                                                  &suite_pin,  &suite_grow,   &suite_memory,
                                                  &suite_churn, &suite_dropin, &suite_lock,
                                                  &suite_limit,  &suite_load,
                                                  &suite_objects, &suite_scale, &suite_sceptic,
                                                  &suite_peers, &suite_servers,
                                                  &suite_storm,
                                                  &suite_stampede, &suite_expire,
                                                  &suite_hitratio, &suite_open, &suite_l2, &suite_kit,
                                                  &suite_work, &suite_port, &suite_remote,
                                                  &suite_workers };

typedef struct main_args {
    cell_options o;
    const char *json, *workload; /* workload: a .wl of the caller instead of suites */
    const bench_suite *suite[MAIN_SUITES];
    uint32_t suite_count, most_s; /* most_s: 0, or seconds after which nothing new begins */
} main_args;

void suite_say(const char *bench, const char *subject, const char *workload_name,
               const char *metric, double *values, uint32_t count, const char *clock,
               const char *note)
{
    json_row row;
    json_row_init(&row);
    row.bench = bench;
    row.subject = subject;
    row.workload = workload_name;
    row.metric = metric;
    row.clock = clock;
    row.regime = "fresh";
    row.note = note;
    row.rounds = count;
    row.value = cell_quantile(values, count, 0.5);
    row.p25 = cell_quantile(values, count, 0.25);
    row.p75 = cell_quantile(values, count, 0.75);
    row.best = cell_quantile(values, count, json_metric_lower_is_better(metric) ? 0 : 1);
    json_write(&row);
    printf("%-15s %-9s %-15s %12.6g %-6s [%.6g %.6g] worst %.6g  %s\n", metric, subject,
           workload_name, row.value, json_metric_unit(metric), row.p25, row.p75,
           cell_quantile(values, count, json_metric_lower_is_better(metric) ? 1 : 0),
           note != NULL ? note : "");
    fflush(stdout);
}

void suite_say_rate(const suite_rate *r)
{
    double v[SUITE_ROUNDS_MAX];
    json_row row;
    json_row_init(&row);
    row.bench = r->bench;
    row.subject = r->subject;
    row.workload = r->workload;
    row.metric = r->metric;
    row.clock = r->clock;
    row.regime = "cold";
    row.threads = r->threads;
    row.rounds = r->rounds;
    row.c2c_ns = r->c2c_ns;
    row.c2c = cell_state_name(cell_state_of(r->c2c_ns));
    memcpy(v, r->mops, r->rounds * sizeof *v);
    row.value = cell_quantile(v, r->rounds, 0.5);
    row.best = cell_quantile(v, r->rounds, 1);
    printf("%-9s %-12s %u thread%s  %-4s %-12s %8.2f %s/s  %7.1f ns", r->metric, r->workload,
           r->threads, r->threads > 1 ? "s" : " ", r->clock, r->subject, row.value, r->unit,
           1000.0 * r->threads / row.value);
    if (r->vs != NULL) {
        memcpy(v, r->ratio, r->rounds * sizeof *v);
        row.vs = r->vs;
        row.ratio = cell_quantile(v, r->rounds, 0.5);
        row.p25 = cell_quantile(v, r->rounds, 0.25);
        row.p75 = cell_quantile(v, r->rounds, 0.75);
        printf("  %5.2f x %s  [%.2f %.2f]", row.ratio, r->vs, row.p25, row.p75);
    }
    printf("\n");
    json_write(&row);
}

static void main_help(FILE *to)
{
    fprintf(to, "usage: cellar-bench [OPTION]...   run suites, or a workload of your own, and print "
                "ratios\n"
                "  --suite NAME       one suite of --list, or several: --suite \"l1 hot\"\n"
                "  --workload FILE    a workload (.wl) instead of suites; bench/mixes has examples\n"
                "  --peers \"NAME ..\" only these subjects beside raw and cellar; names or their "
                "beginnings\n"
                "  --ref NAME         ratios to this subject as well\n"
                "  --only \"NAME ..\"  only these workloads of the suites\n"
                "  --json FILE        append one line for each figure\n"
                "  --quick, --full    9 short rounds; all shapes and sizes\n"
                "  --warm             each subject alone in a process\n"
                "  --all-subjects     other languages too, where they are built\n"
                "  --rounds N --window-ms N --most-s N --patience-ms N\n"
                "  --mixes DIR --scratch DIR   workloads of suites; files of a run\n"
                "  --list, --metrics, --help   print what there is, and end\n"
                "exit status: 0 done, 1 a wrong value or a crash, 2 usage\n");
}

static int main_usage(const char *what, const char *arg)
{
    fprintf(stderr, "cellar-bench: %s: %s\n", what, arg != NULL ? arg : "no argument");
    main_help(stderr);
    return CELL_USAGE;
}

static int main_list(void)
{
    for (size_t i = 0; i < sizeof main_suites / sizeof main_suites[0]; i++) {
        printf("suite    %-10s %s\n", main_suites[i]->name, main_suites[i]->help);
    }
    for (size_t i = 0; i < bench_registry_count; i++) {
        const bench_entry *e = &bench_registry[i];
        const bool process = e->subject != NULL && e->subject->driver != NULL;
        const char *missing = process ? driver_missing(e->subject->driver) : NULL;
        printf("subject  %-14s %s\n", e->name, missing != NULL ? missing
                                               : process ? "a process (hello says its version)"
                                               : e->subject != NULL ? e->subject->version
                                                                    : e->missing);
    }
    return CELL_OK;
}

static bool main_add_suites(main_args *a, const char *names)
{
    char copy[CELL_NAMES], *rest = copy, *word;
    if (strlen(names) >= sizeof copy) {
        return false;
    }
    snprintf(copy, sizeof copy, "%s", names);
    while ((word = strtok_r(rest, " ,", &rest)) != NULL) {
        const bench_suite *found = NULL;
        for (size_t i = 0; i < sizeof main_suites / sizeof main_suites[0]; i++) {
            found = strcmp(main_suites[i]->name, word) == 0 ? main_suites[i] : found;
        }
        if (found == NULL || a->suite_count == MAIN_SUITES) {
            return false;
        }
        a->suite[a->suite_count++] = found;
    }
    return a->suite_count > 0;
}

/* Check that every word is a prefix of at least one subject. */
static bool main_peers_known(const char *peers)
{
    char copy[CELL_NAMES], *rest = copy, *word;
    if (strlen(peers) >= sizeof copy) {
        return false;
    }
    snprintf(copy, sizeof copy, "%s", peers);
    while ((word = strtok_r(rest, " ,", &rest)) != NULL) {
        bool known = false;
        for (size_t i = 0; i < bench_registry_count; i++) {
            known = known || strncmp(bench_registry[i].name, word, strlen(word)) == 0;
        }
        if (!known) {
            return false;
        }
    }
    return true;
}

static bool main_number(const char *text, uint32_t most, uint32_t *out)
{
    char *end;
    const unsigned long v = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || v == 0 || v > most) {
        return false;
    }
    *out = (uint32_t)v;
    return true;
}

/* Parse one option with its value; return false if it is unknown. */
static bool main_option(main_args *a, const char *name, const char *value)
{
    if (strcmp(name, "--suite") == 0) return main_add_suites(a, value);
    if (strcmp(name, "--rounds") == 0) return main_number(value, 200, &a->o.rounds);
    if (strcmp(name, "--most-s") == 0) return main_number(value, 86400, &a->most_s);
    if (strcmp(name, "--patience-ms") == 0) return main_number(value, 3600000, &a->o.patience_ms);
    if (strcmp(name, "--window-ms") == 0) return main_number(value, 1000, &a->o.window_ms);
    if (strcmp(name, "--peers") == 0) {
        a->o.peers = value[0] != '\0' ? value : NULL;
        return main_peers_known(value);
    }
    const struct { const char *name; const char **to; } texts[] = {
        { "--json", &a->json },       { "--mixes", &a->o.mixes },
        { "--scratch", &a->o.scratch }, { "--workload", &a->workload },
        { "--ref", &a->o.ref },       { "--only", &a->o.only },
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (strcmp(name, texts[i].name) == 0) {
            *texts[i].to = value;
            return true;
        }
    }
    return false;
}

static int main_parse(main_args *a, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0) {
            a->o.quick = true;
        } else if (strcmp(argv[i], "--full") == 0) {
            a->o.full = true;
        } else if (strcmp(argv[i], "--all-subjects") == 0) {
            a->o.all_subjects = true;
        } else if (strcmp(argv[i], "--warm") == 0) {
            a->o.warm = true;
        } else if (i + 1 == argc || !main_option(a, argv[i], argv[i + 1])) {
            return main_usage("not understood", argv[i + 1 < argc ? i + 1 : i]);
        } else {
            i++;
        }
    }
    if (a->o.rounds == 0) {
        a->o.rounds = a->o.quick ? 9 : 21;
    }
    if (a->o.window_ms == 0) {
        a->o.window_ms = a->o.quick ? 20 : 40;
    }
    const bool all = a->suite_count == 0 && a->workload == NULL;
    for (size_t i = 0; all && i < sizeof main_suites / sizeof main_suites[0]; i++) {
        if (!main_suites[i]->asked) {
            a->suite[a->suite_count++] = main_suites[i];
        }
    }
    return CELL_OK;
}

static void main_header(const cell_options *o)
{
    const uint64_t c2c = host_c2c_ns();
    printf("cellar-bench  commit %s%s\n", json_commit(),
           o->quick ? "  QUICK: not for publication" : "");
    printf("cpu           %s, %u usable, %" PRIu64 " MiB memory, Linux %s\n", host_cpu_name(),
           host_cpu_count(), host_total_bytes() >> 20, host_kernel());
    printf("compiler      %s, %s\n", json_compiler(), json_flags());
    printf("allocator     glibc malloc, the same for all subjects\n");
    printf("cross-core    %" PRIu64 " ns a hand-over now (%s); an empty timing costs %.1f ns\n",
           c2c, cell_state_name(cell_state_of(c2c)),
           (double)host_empty_ticks() * host_ns_per_tick());
    printf("windows       %u ms, %u rounds a state asked for%s\n", o->window_ms, o->rounds,
           o->warm ? ", warm: one subject a process" : ", interleaved (cold)");
    fflush(stdout);
}

typedef struct main_suite_run {
    const bench_suite *suite;
    const cell_options *o;
} main_suite_run;

static int main_suite_child(void *ctx)
{
    const main_suite_run *r = ctx;
    return r->suite->run(r->o);
}

static int main_run_function(const cell_options *o, const bench_suite *s)
{
    main_suite_run r = { s, o };
    char why[256] = "no process could be made";
    uint32_t at;
    const int status = host_guard(main_suite_child, &r, host_patience_now() * MAIN_PATIENCE, &at,
                                  why, sizeof why);
    if (status < 0) {
        json_say(s->name, NULL, NULL, driver_kind(why), why);
        return CELL_WRONG;
    }
    return status;
}

/* Return true if the options ask for this workload. */
static bool main_asked(const cell_options *o, const char *name)
{
    const size_t n = strlen(name);
    const char *at = o->only;
    while (at != NULL && (at = strstr(at, name)) != NULL) {
        if ((at == o->only || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0')) {
            return true;
        }
        at += n;
    }
    return o->only == NULL;
}

/* Return true if its time is over, after a line that states it. */
static bool main_late(const cell_options *o, const bench_suite *s, const char *name)
{
    if (o->until_ns == 0 || host_wall_ns() < o->until_ns) {
        return false;
    }
    json_say(s->name, NULL, name, "skip", "the time of this run was over: by its name");
    return true;
}

static int main_run_suite(const cell_options *run, const bench_suite *s)
{
    int worst = CELL_OK;
    if (main_late(run, s, NULL)) {
        return CELL_OK;
    }
    cell_options own = *run;
    own.all_subjects = own.all_subjects || (s->asked && own.peers == NULL);
    own.block_s = own.full ? 0 : own.quick ? (s->block_s + 2) / 3 : s->block_s;
    const cell_options *o = &own;
    if (s->run != NULL) {
        return main_run_function(o, s);
    }
    if (s->library) {
        json_say(s->name, "cellar", NULL, "skip", "built without the library");
        return CELL_OK;
    }
    for (int part = 0; part < (o->full ? 2 : 1); part++) {
        const char *const *list = part == 0 ? s->workloads : s->full;
        for (; list != NULL && *list != NULL; list++) {
            if (!main_asked(o, *list)) { continue; }
            if (main_late(o, s, *list)) { break; }
            const int status = cell_run_forked(o, s->name, *list);
            worst = status > worst ? status : worst;
        }
    }
    return worst;
}

int main(int argc, char **argv)
{
    main_args a = { .o = { .mixes = "bench/mixes", .scratch = "build/bench" } };
    if (argc == 4 && strcmp(argv[1], "--memory-child") == 0) {
        return suite_memory_child(argv[2], strtoull(argv[3], NULL, 10));
    }
    if (argc == 2 && strcmp(argv[1], "--metrics") == 0) {
        json_list_metrics();
        return CELL_OK;
    }
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        return main_list();
    }
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        main_help(stdout);
        return CELL_OK;
    }
    const int parsed = main_parse(&a, argc, argv);
    if (parsed != CELL_OK) {
        return parsed;
    }
    json_facts(a.o.quick, "glibc");
    if (!json_open(a.json)) {
        return main_usage("cannot be written", a.json);
    }
    char drivers[400];
    snprintf(drivers, sizeof drivers, "%s/peers", a.o.scratch);
    driver_folder(drivers);
    if (a.o.patience_ms != 0) {
        driver_patience(a.o.patience_ms);
        host_patience(a.o.patience_ms);
    }
    const uint64_t start = host_wall_ns();
    int worst = CELL_OK;
    a.o.until_ns = a.most_s != 0 ? start + a.most_s * UINT64_C(1000000000) : 0;
    main_header(&a.o);
    if (a.workload != NULL) {
        worst = cell_run_forked(&a.o, "own", a.workload);
    }
    for (uint32_t i = 0; i < a.suite_count; i++) {
        const int status = main_run_suite(&a.o, a.suite[i]);
        worst = status > worst ? status : worst;
    }
    json_close();
    printf("\ncellar-bench: %.0f s, exit %d\n", (double)(host_wall_ns() - start) / 1e9, worst);
    return worst;
}
