/* SPDX-License-Identifier: MIT
 *
 * replay_print: print the results of replay.c: table, JSON lines, curves by gnuplot. */
#include "bench/replay/replay_print.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* Those of policies/ follow, or have a place here: their constructors add them. */
replay_policy replay_policies[REPLAY_POLICIES] = {
    { "cellar-adaptive", false, CELLAR_EVICT_ADAPTIVE, 0, NULL },
    { "cellar-s3fifo", false, CELLAR_EVICT_S3FIFO, 0, NULL },
    { "cellar-lru", false, CELLAR_EVICT_LRU, 0, NULL },
    { "cellar-fifo", false, CELLAR_EVICT_FIFO, 0, NULL },
    { "exact-lru", true, 0, CLI_IDEAL_CODE, NULL },
    { "exact-fifo", true, 0, CLI_IDEAL_CODE, NULL },
    { "gdsf", true, 0, CLI_IDEAL_GDSF, NULL },
    { "belady", true, 0, CLI_IDEAL_BELADY, NULL },
    { "bound", true, 0, CLI_IDEAL_BOUND, NULL },
};
unsigned replay_policy_count = 9;

bool replay_is(const replay_policy *p, const char *name)
{
    return strcmp(p->name, name) == 0 ||
           (!p->exact && strcmp(strchr(p->name, '-') + 1, name) == 0);
}

void replay_policy_add(const replay_code *code)
{
    for (unsigned i = 0; i < REPLAY_DEFAULT; i++) {
        replay_policy *p = &replay_policies[i];
        if (!p->exact || p->code != NULL || strcmp(p->name, code->name) != 0) { continue; }
        p->code = code;
        return;
    }
    bool taken = replay_policy_count == REPLAY_POLICIES;
    for (unsigned i = 0; i < replay_policy_count && !taken; i++) {
        taken = replay_is(&replay_policies[i], code->name);
    }
    if (taken) {
        cli_complain("replay", "policy %s: the name is taken, or %u policies are there; change "
                     "the name in its file", code->name, REPLAY_POLICIES);
        exit(CLI_USAGE);
    }
    replay_policies[replay_policy_count++] =
        (replay_policy){ code->name, true, 0, CLI_IDEAL_CODE, code };
}

const double replay_scale[CELLAR_ADVICE_COUNT] = { .25, .5, .71, 1, 1.41, 2, 4, 8 };

static void replay_table(const replay_run *run)
{
    const replay_trace *t = &run->trace;
    char a[CLI_TEXT], b[CLI_TEXT], c[CLI_TEXT];
    cli_plain(stdout, t->name);
    printf(": %s requests, %s objects, %s", cli_count(a, t->requests), cli_count(b, t->ids.count),
           cli_bytes(c, t->unique_bytes));
    if (t->writes != 0) { printf(", %s writes", cli_count(a, t->writes)); }
    if (t->deletes != 0) { printf(", %s deletes", cli_count(a, t->deletes)); }
    if (t->backwards != 0) {
        printf("; %s times ran backwards and were replaced by the time before",
               cli_count(a, t->backwards));
    }
    printf("\n%-15s %12s %10s %15s %10s %9s %8s %8s\n", "policy", "capacity", "miss ratio",
           "range", "byte m.r.", "reduction", "ns/req", "B/entry");
    for (size_t i = 0; i < run->result_n; i++) {
        const replay_result *r = &run->result[i];
        (void)snprintf(b, sizeof b, r->seeds > 1 ? "%.4f..%.4f" : "-", r->low, r->high);
        printf("%-15s %12s %10.4f %15s %10.4f ", replay_policies[r->policy].name,
               cli_count(a, r->capacity), r->miss_ratio, b, r->byte_miss_ratio);
        printf("%9.4f %8.1f ", r->reduction, r->ns);
        if (r->has_metadata) { printf("%8.2f\n", r->metadata); } else { printf("%8s\n", "-"); }
    }
    for (size_t i = 0; i < run->result_n; i++) {
        const replay_result *r = &run->result[i];
        if (r->counts.refused == 0) { continue; }
        printf("%s at %s: %s values were too large to be stored\n",
               replay_policies[r->policy].name, cli_count(a, r->capacity),
               cli_count(b, r->counts.refused));
    }
}

static const char *replay_mode(const replay_options *o)
{
    return o->byte_mode ? "byte" : o->budget ? "budget" : "object";
}

static void replay_lines(const replay_run *run, FILE *to)
{
    const char *commit = getenv("BENCH_COMMIT");
    for (size_t i = 0; i < run->result_n; i++) {
        const replay_result *r = &run->result[i];
        fprintf(to, "{\"bench\":\"replay\",\"subject\":\"%s\",\"workload\":",
                replay_policies[r->policy].name);
        cli_json_string(to, run->trace.name);
        fprintf(to, ",\"metric\":\"miss_ratio\",\"capacity\":%" PRIu64 ",\"mode\":\"%s\","
                "\"value\":%.6f,\"byte_miss_ratio\":%.6f,\"requests\":%" PRIu64 ",\"threads\":%"
                PRIu64 ",\"ns_per_request\":%.1f",
                r->capacity, replay_mode(run->o), r->miss_ratio, r->byte_miss_ratio,
                r->counts.requests, run->o->threads, r->ns);
        if (r->seeds != 0) {
            fprintf(to, ",\"seed\":%" PRIu64 ",\"seeds\":%" PRIu64 ",\"low\":%.6f,\"high\":%.6f,"
                    "\"memory_bytes\":%" PRIu64 ",\"entries\":%" PRIu64 ",\"values\":[",
                    run->o->seed, r->seeds, r->low, r->high, r->bytes, r->entries);
            for (uint64_t k = 0; k < r->seeds; k++) {
                fprintf(to, "%s%.6f", k != 0 ? "," : "", r->value[k]);
            }
            fputc(']', to);
        }
        for (unsigned k = 0; k < r->series_n; k++) {
            if (k == 0) { fprintf(to, ",\"every\":%" PRIu64 ",\"series\":[", run->o->every); }
            fprintf(to, "%.6f%s", r->series[k], k + 1 < r->series_n ? "," : "]");
        }
        fprintf(to, ",\"reduction\":%.6f", r->reduction);
        if (r->has_metadata) { fprintf(to, ",\"metadata_bytes_per_entry\":%.3f", r->metadata); }
        fprintf(to, ",\"objects\":%u,\"writes\":%" PRIu64 ",\"deletes\":%" PRIu64 ",\"source\":",
                run->trace.ids.count, run->trace.writes, run->trace.deletes);
        cli_json_string(to, run->trace.path);
        fprintf(to, ",\"version\":\"%s\",\"commit\":", cellar_version());
        cli_json_string(to, commit != NULL ? commit : run->commit);
        fputs("}\n", to);
    }
}

/* Return the mean distance of the eight sizes, in percentage points. */
static double replay_advice_error(const replay_result *r)
{
    double sum = 0;
    for (unsigned i = 0; i < CELLAR_ADVICE_COUNT; i++) {
        sum += r->said[i] > r->is[i] ? r->said[i] - r->is[i] : r->is[i] - r->said[i];
    }
    return sum * 100 / CELLAR_ADVICE_COUNT;
}

static void replay_advice_row(const char *name, const char *unit, const double *value)
{
    printf("\n  %-10s", name);
    for (unsigned k = 0; k < CELLAR_ADVICE_COUNT; k++) {
        printf(" %*.*f%s", unit[0] != 0 ? 6 : 7, unit[0] != 0 ? 2 : 4, value[k], unit);
    }
}

static void replay_advice(const replay_run *run)
{
    char a[CLI_TEXT];
    for (size_t i = 0; i < run->result_n; i++) {
        const replay_result *r = &run->result[i];
        if (!r->has_advice) { continue; }
        printf("advisor at %s, mean error %.2f points", cli_count(a, r->capacity),
               replay_advice_error(r));
        replay_advice_row("size", "x", replay_scale);
        replay_advice_row("said", "", r->said);
        replay_advice_row("replayed", "", r->is);
        printf("\n");
    }
}

static void replay_advice_lines(const replay_run *run, FILE *to)
{
    for (size_t i = 0; i < run->result_n; i++) {
        const replay_result *r = &run->result[i];
        if (!r->has_advice) { continue; }
        fputs("{\"bench\":\"replay\",\"subject\":\"advisor\",\"workload\":", to);
        cli_json_string(to, run->trace.name);
        fprintf(to, ",\"metric\":\"advice_error\",\"unit\":\"points\",\"capacity\":%" PRIu64
                ",\"mode\":\"%s\",\"value\":%.4f,\"sizes\":[", r->capacity,
                replay_mode(run->o), replay_advice_error(r));
        for (unsigned k = 0; k < CELLAR_ADVICE_COUNT; k++) {
            fprintf(to, "%s{\"scale\":%.2f,\"said\":%.6f,\"is\":%.6f}", k != 0 ? "," : "",
                    replay_scale[k], r->said[k], r->is[k]);
        }
        fputs("]}\n", to);
    }
}

void replay_print(const replay_run *run)
{
    replay_table(run);
    replay_advice(run);
}

void replay_print_json(const replay_run *run, FILE *to)
{
    replay_lines(run, to);
    replay_advice_lines(run, to);
}

void replay_print_csv(const replay_run *run, FILE *to)
{
    if (ftell(to) == 0) { fputs("trace,policy,mode,capacity,seed,miss_ratio\n", to); }
    for (size_t i = 0; i < run->result_n; i++) {
        const replay_result *r = &run->result[i];
        for (uint64_t k = 0; k < (r->seeds != 0 ? r->seeds : 1); k++) {
            cli_json_string(to, run->trace.name);
            fprintf(to, ",%s,%s,%" PRIu64 ",", replay_policies[r->policy].name,
                    replay_mode(run->o), r->capacity);
            if (r->seeds != 0) { fprintf(to, "%" PRIu64, run->o->seed + k); }
            fprintf(to, ",%.6f\n", r->seeds != 0 ? r->value[k] : r->miss_ratio);
        }
    }
}

/* Print a string of gnuplot in single quotes. */
static void replay_quoted(FILE *to, const char *text)
{
    fputc('\'', to);
    for (; *text != '\0'; text++) {
        if (*text == '\'') { fputc('\'', to); }
        fputc((unsigned char)*text < 32 ? '?' : *text, to);
    }
    fputc('\'', to);
}

/* Colours for readers with any kind of colour vision (Okabe, Ito 2008). */
static const char *const replay_colours[] = { "#000000", "#0072b2", "#d55e00", "#009e73", "#56b4e9",
                                              "#e69f00", "#cc79a7", "#808080" };
#define REPLAY_COLOURS (sizeof replay_colours / sizeof replay_colours[0])

/* Return where a result stands on the axis: bytes where bytes bound the store. */
static uint64_t replay_bound(const replay_run *run, const replay_result *r)
{
    return run->o->budget ? r->bytes : r->capacity;
}

/* Print a tic for each capacity of the run: those of the first policy. No two tics are equal. */
static void replay_tics(const replay_run *run, FILE *to)
{
    const char *before = "set xtics rotate by -40 (";
    uint64_t least = UINT64_MAX, most = 1;
    char last[CLI_TEXT] = "";
    for (size_t i = 0; i < run->result_n; i++) {
        if (run->result[i].policy != run->o->policy[0]) { continue; }
        char label[CLI_TEXT];
        const uint64_t c = replay_bound(run, &run->result[i]);
        const bool bytes = run->o->byte_mode || run->o->budget;
        (void)(bytes ? cli_bytes(label, c) : cli_count(label, c));
        if (strcmp(label, last) == 0) { (void)cli_count(label, c); }
        (void)snprintf(last, sizeof last, "%s", label);
        fprintf(to, "%s\"%s\" %" PRIu64, before, label, c);
        before = ", ";
        least = c < least ? c : least;
        most = c > most ? c : most;
    }
    fprintf(to, ")\nset xrange [%.6g:%.6g]\n", (double)least / 1.3, (double)most * 1.3);
}

static void replay_script(const replay_run *run, const char *file, FILE *to)
{
    const replay_options *o = run->o;
    const size_t n = strlen(file);
    const bool png = n > 4 && strcmp(file + n - 4, ".png") == 0;
    fprintf(to, "terminal = '%s'\n%sset terminal @terminal size 900,560\nset output ",
            png ? "png" : "svg", /* plain png knows no dashes */
            png ? "if (strstrt(GPVAL_TERMINALS, 'pngcairo')) terminal = 'pngcairo'\n" : "");
    replay_quoted(to, file);
    fputs("\nset title ", to);
    replay_quoted(to, run->trace.name);
    fprintf(to, " noenhanced\nset logscale x\nset xlabel 'capacity (%s, logarithmic)'\n"
            "set ylabel 'miss ratio'\nset format y '%%.2f'\nset grid lc rgb '#d0d0d0'\n"
            "set key outside right top Left reverse\n"
            "set offsets graph 0, graph 0, graph 0.02, graph 0.02\n",
            o->byte_mode || o->budget ? "bytes" : "entries");
    replay_tics(run, to);
    fputs("plot ", to);
    for (unsigned p = 0; p < o->policy_count; p++) {
        const bool exact = replay_policies[o->policy[p]].exact;
        fprintf(to, "%s'-' using 1:2 with linespoints lw %d dt %d pt %u lc rgb '%s' title '%s'",
                p != 0 ? ", " : "", p == 0 ? 3 : 2, exact ? 2 : 1, p + 4,
                replay_colours[p % REPLAY_COLOURS], replay_policies[o->policy[p]].name);
        fprintf(to, ", '-' using 1:3:4:5 with yerrorbars pt 0 lw 1 lc rgb '%s' notitle",
                replay_colours[p % REPLAY_COLOURS]);
    }
    fputc('\n', to);
    for (unsigned p = 0; p < 2 * o->policy_count; p++) { /* each once for the line, once for the bars */
        for (size_t i = 0; i < run->result_n; i++) {
            const replay_result *r = &run->result[i];
            if (r->policy != o->policy[p / 2]) { continue; }
            fprintf(to, "%" PRIu64 " %.6f %.6f %.6f %.6f\n", replay_bound(run, r), r->miss_ratio,
                    r->miss_ratio, r->seeds > 1 ? r->low : r->miss_ratio,
                    r->seeds > 1 ? r->high : r->miss_ratio);
        }
        fputs("e\n", to);
    }
}

int replay_plot(const replay_run *run, bool several)
{
    char file[512];
    const char *plot = run->o->plot, *dot = strrchr(plot, '.');
    const bool suffix = dot != NULL && strchr(dot, '/') == NULL;
    const int stem = (int)(suffix ? (size_t)(dot - plot) : strlen(plot));
    const int n = several ? snprintf(file, sizeof file, "%.*s-%s%s", stem, plot, run->trace.name,
                                     plot + stem)
                          : snprintf(file, sizeof file, "%s", plot);
    if (n < 0 || (size_t)n >= sizeof file) {
        cli_complain("replay",
                     "the file name of --plot must have at most %zu bytes with the name "
                     "of the trace; give a shorter one",
                     sizeof file - 1);
        return CLI_USAGE;
    }
    FILE *script = popen("command -v gnuplot >/dev/null || exit 127; exec gnuplot", "we");
    if (script == NULL) {
        cli_complain("replay", "--plot cannot start a shell: %s", cli_errno_text(errno));
        return CLI_NO_START;
    }
    replay_script(run, file, script);
    const int status = pclose(script);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
        cli_complain("replay", "--plot needs gnuplot (not installed); install it or leave out --plot");
        return CLI_NO_START;
    }
    if (status != 0) {
        cli_complain("replay", "gnuplot could not draw %s; name a file that can be written", file);
        return CLI_INTERNAL;
    }
    return CLI_DONE;
}
