/* SPDX-License-Identifier: MIT
 *
 * bench: a short table of cellar and two yardsticks on this machine.
 *
 * SEE ALSO   quick.h: the measurement; bench/README.md: the whole benchmark. */
#include <getopt.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/quick.h"

#define BENCH_ENTRIES 1000000u
#define BENCH_ROUNDS 7u
#define BENCH_WINDOW_MS 100u
#define BENCH_MOST_MS 14000u /* a last round and the next fill of the stores stay below 20 s */

static void bench_tell(void *ctx, const char *row, uint32_t round)
{
    (void)ctx;
    fprintf(stderr, "\r%-30s round %2u ", row, round);
    (void)fflush(stderr);
}

/* Print a figure, or a dash for a subject that takes no part. */
static void bench_cell(bool part, double value, int width, const char *unit)
{
    if (part) {
        printf(" %*.2f%s", width, value, unit);
    } else {
        printf(" %*s", width + (int)strlen(unit), "-");
    }
}

static void bench_table(const quick_plan *plan, const quick_report *r)
{
    char entries[CLI_TEXT];
    printf("%s entries of 16 + 100 bytes, zipf 0.99; %u CPUs, %s\n"
           "Million requests a second, median of at most %u windows of %u ms; x: cellar / it\n\n",
           cli_count(entries, plan->entries), r->cpus, r->cpu, plan->rounds, plan->window_ms);
    printf("%-29s %7s", "", "threads");
    for (int i = 0; i < QUICK_SUBJECTS; i++) { printf(" %12s", r->subject[i]); }
    printf(" %9s %9s\n", "x RAW", "x uthash");
    for (uint32_t k = 0; k < r->rows; k++) {
        const quick_row *row = &r->row[k];
        printf("%-29s %7u", row->what, row->threads);
        for (int i = 0; i < QUICK_SUBJECTS; i++) { bench_cell(row->part[i], row->mops[i], 12, ""); }
        for (int i = 0; i < QUICK_SUBJECTS - 1; i++) {
            bench_cell(row->part[i], row->of[i], 8, "x");
        }
        putchar('\n');
    }
    const quick_row *last = &r->row[r->rows - 1];
    printf("%-29s %7s", "  its hit ratio", "");
    for (int i = 0; i < QUICK_SUBJECTS; i++) {
        bench_cell(last->part[i], last->hit_ratio[i], 12, "");
    }
    printf("\n\nRead-through: both stores have room for %s entries. Their hit ratios are those\n"
           "of the same requests, by one thread, before the windows.\n",
           cli_count(entries, plan->entries / 10));
    printf("RAW: a lookup without lock, bound or expiry. uthash+LRU: 64 locks.\n");
    if (r->disturbed > 0) {
        printf("%u of %u windows were disturbed by other work on this machine.\n", r->disturbed,
               r->windows);
    }
}

static void bench_json(const quick_report *r)
{
    for (uint32_t k = 0; k < r->rows; k++) {
        const quick_row *row = &r->row[k];
        for (int i = 0; i < QUICK_SUBJECTS; i++) {
            if (!row->part[i]) { continue; }
            printf("{\"operation\":");
            cli_json_string(stdout, row->what);
            printf(",\"threads\":%u,\"subject\":", row->threads);
            cli_json_string(stdout, r->subject[i]);
            printf(",\"mops\":%.3f,\"cellar_x\":%.3f,\"hit_ratio\":%.4f}\n", row->mops[i],
                   row->of[i], row->hit_ratio[i]);
        }
    }
    printf("{\"total\":{\"windows\":%u,\"disturbed\":%u,\"wrong\":%llu}}\n", r->windows,
           r->disturbed, (unsigned long long)r->wrong);
}

static bool bench_option(int option, void *ctx)
{
    const char *const name = option == 'e' ? "entries" : option == 'r' ? "rounds" : "window";
    const uint64_t least = option == 'e' ? 1000 : 1;
    const uint64_t most = option == 'e' ? 100000000 : option == 'r' ? 99 : 1000;
    quick_plan *const plan = ctx;
    uint64_t n;
    if (!cli_parse_count(optarg, least, most, &n)) {
        cli_complain("bench", "--%s must be %llu..%llu (got \"%s\")", name,
                     (unsigned long long)least, (unsigned long long)most, optarg);
        return false;
    }
    switch (option) {
    case 'e': plan->entries = n; break;
    case 'r': plan->rounds = (uint32_t)n; break;
    default: plan->window_ms = (uint32_t)n;
    }
    return true;
}

static int bench_measure(const quick_plan *plan, bool json, const cli_terminal *term)
{
    quick_report r;
    char why[256] = "";
    const bool ok = quick_run(plan, &r, why, sizeof why);
    if (term->progress) { fprintf(stderr, "\r%42s\r", ""); }
    if (!ok) {
        cli_complain("bench", "cannot measure: %s", why);
        return CLI_NO_START;
    }
    if (json) { bench_json(&r); } else { bench_table(plan, &r); }
    if (r.wrong == 0) { return CLI_DONE; }
    cli_complain("bench", "%llu answers were wrong", (unsigned long long)r.wrong);
    return CLI_FINDING;
}

static int bench_run_command(int argc, char **argv, const cli_terminal *term)
{
    quick_plan plan = { .entries = BENCH_ENTRIES, .rounds = BENCH_ROUNDS,
                        .window_ms = BENCH_WINDOW_MS, .most_ms = BENCH_MOST_MS,
                        .tell = term->progress ? bench_tell : NULL };
    int json = 0;
    const struct option options[] = {
        { "entries", required_argument, NULL, 'e' }, { "rounds", required_argument, NULL, 'r' },
        { "window", required_argument, NULL, 'w' }, { "json", no_argument, &json, 'j' },
        { "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 }
    };
    int code = cli_options(&cli_bench, argc, argv, options, bench_option, &plan);
    if (code == CLI_GO_ON) { code = cli_no_arguments(&cli_bench, argc, argv); }
    return code == CLI_GO_ON ? bench_measure(&plan, json != 0, term) : code;
}

const cli_command cli_bench = {
    "bench", "", "measure gets and sets on this machine, beside two yardsticks",
    "Usage: cellar bench [OPTION]...\n"
    "\n"
    "Measures reads, writes and a bounded read-through for at most 20 seconds and prints a\n"
    "table: cellar beside RAW, the least that a lookup must do (no lock, bound or expiry), and\n"
    "beside uthash with an LRU list under 64 locks. Each answer is checked. A million entries\n"
    "need 600 MB. The published figures come from `make bench`: more rounds and subjects.\n"
    "\n"
    "  --entries=N    keys of the workload, 1,000,000 by default\n"
    "  --rounds=N     windows of each subject, 7 by default; fewer if time is over\n"
    "  --window=MS    length of a window, 100 by default\n"
    "  --json         one JSON object a line\n"
    "  --help         print this text\n"
    "\n"
    "Exit codes: 0 measured, 1 a wrong answer, 2 wrong usage, 3 no memory or no threads.\n",
    bench_run_command
};
