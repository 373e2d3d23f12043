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
    printf("\n\nRAW: a lookup without lock, bound or expiry. uthash+LRU: 64 locks.\n");
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

static bool bench_number(const char *option, uint64_t least, uint64_t most, uint64_t *n)
{
    if (cli_parse_count(optarg, least, most, n)) { return true; }
    cli_complain("bench", "--%s must be %llu..%llu (got \"%s\")", option,
                 (unsigned long long)least, (unsigned long long)most, optarg);
    return false;
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
    static const struct option options[] = {
        { "entries", required_argument, NULL, 'e' }, { "rounds", required_argument, NULL, 'r' },
        { "window", required_argument, NULL, 'w' }, { "json", no_argument, NULL, 'j' },
        { "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 }
    };
    uint64_t rounds = BENCH_ROUNDS, window_ms = BENCH_WINDOW_MS;
    quick_plan plan = { .entries = BENCH_ENTRIES, .most_ms = BENCH_MOST_MS,
                        .tell = term->progress ? bench_tell : NULL };
    bool json = false, fine = true;
    optind = 0;
    for (int c; fine && (c = cli_option("bench", argc, argv, options)) != -1;) {
        switch (c) {
        case 'e': fine = bench_number("entries", 1000, 100000000, &plan.entries); break;
        case 'r': fine = bench_number("rounds", 1, 99, &rounds); break;
        case 'w': fine = bench_number("window", 1, 1000, &window_ms); break;
        case 'j': json = true; break;
        case 'h': fputs(cli_bench.help, stdout); return CLI_DONE;
        default: fine = false; /* cli_option has printed why */
        }
    }
    if (!fine) { return CLI_USAGE; }
    if (optind < argc) {
        cli_complain("bench", "takes no arguments (got \"%s\"); write options alone",
                     argv[optind]);
        return CLI_USAGE;
    }
    plan.rounds = (uint32_t)rounds;
    plan.window_ms = (uint32_t)window_ms;
    return bench_measure(&plan, json, term);
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
