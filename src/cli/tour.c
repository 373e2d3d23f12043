/* SPDX-License-Identifier: MIT
 *
 * tour: acts that show what the library promises, and check it on this machine.
 *
 * PICTURE    options -> acts -> of each: name, two sentences, picture with the figures, findings
 *                               --json: one object
 * INVARIANTS A figure that breaks a promise is a finding: it is printed, and the exit code is 1.
 * SEE ALSO   tour_acts.c (the five acts), tour_more.c (--work, --port), tour_remote.c. */
#include <getopt.h>

#include "cli/tour_report.h"

/* Run an act. Return CLI_DONE, CLI_FINDING, or CLI_NO_START after printing why. */
static int tour_play(const tour_act *act, tour_report *r)
{
    r->act = act;
    r->facts = r->findings = 0;
    r->skipped = NULL;
    const char *why = act->run(r);
    if (why != NULL) {
        cli_complain("tour", "%s", why);
        return CLI_NO_START;
    }
    if (r->skipped != NULL) { tour_say(r, "  left out: %s\n", r->skipped); }
    tour_say(r, "\n");
    if (r->json) {
        printf("{\"act\":\"%s\",\"shown\":%s,\"findings\":%u", act->name,
               r->skipped == NULL ? "true" : "false", r->findings);
        for (unsigned i = 0; i < r->facts; i++) {
            printf(",\"%s\":%llu", r->fact[i].name, (unsigned long long)r->fact[i].value);
        }
        puts("}");
    }
    return r->findings == 0 ? CLI_DONE : CLI_FINDING;
}

static int tour_main(int argc, char **argv, const cli_terminal *term)
{
    static const struct option options[] = {
        { "json", no_argument, NULL, 'j' }, { "work", no_argument, NULL, 'w' },
        { "port", no_argument, NULL, 'p' }, { "remote", optional_argument, NULL, 'r' },
        { "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 }
    };
    const tour_act *named = NULL;
    tour_report r = { .color = term->color };
    char took[CLI_TEXT];
    int worst = CLI_DONE;
    optind = 0;
    for (int c; (c = cli_option("tour", argc, argv, options)) != -1;) {
        switch (c) {
        case 'j': r.json = true; break;
        case 'w': named = &tour_work; break;
        case 'p': named = &tour_port; break;
        case 'r': named = &tour_remote; r.url = optarg; break;
        case 'h': fputs(cli_tour.help, stdout); return CLI_DONE;
        default: return CLI_USAGE; /* cli_option has printed why */
        }
    }
    if (optind < argc) {
        cli_complain("tour", "takes no arguments (got \"%s\"); write options alone", argv[optind]);
        return CLI_USAGE;
    }
    const uint64_t start = cli_clock_ns();
    for (size_t i = 0; i < (named != NULL ? 1 : TOUR_ACTS) && worst != CLI_NO_START; i++) {
        const int code = tour_play(named != NULL ? named : &tour_acts[i], &r);
        if (code > worst) { worst = code; }
    }
    if (worst == CLI_NO_START) { return worst; }
    tour_say(&r, "took %s; %s\n", cli_duration(took, cli_clock_ns() - start),
             worst == CLI_DONE ? "every figure holds" : "see the lines FINDING");
    return worst;
}

const cli_command cli_tour = {
    "tour", "demo", "show in five acts what the cache promises, and check it (alias: demo)",
    "Usage: cellar tour [OPTION]...\n"
    "\n"
    "Shows five acts: memory and speed, a stampede that loads once, a store found again after\n"
    "kill -9, a limiter at its bound, and what cellar_why says of a key. Each act counts and\n"
    "checks its own figures. A figure that breaks a promise is a line FINDING.\n"
    "\n"
    "The acts take some seconds. The store on disk lies in TMPDIR (default /tmp) and is removed.\n"
    "The last of the options --work, --port and --remote names an act in place of the five.\n"
    "\n"
    "  --json          print the figures as JSON, one object an act\n"
    "  --work          20,000 tasks, every tenth fails once\n"
    "  --port          values of this process, read by a client of Redis\n"
    "  --remote[=URL]  three processes share values and a load by the Redis or Valkey at URL, or\n"
    "                  by a redis-server that the tour starts; a connection is killed each\n"
    "                  second. Needs a program built with REMOTE=1\n"
    "  --help          print this text\n"
    "\n"
    "Exit codes: 0 every figure holds; 1 a finding; 2 wrong usage; 3 cannot start; 4 the output\n"
    "            cannot be written.\n",
    tour_main
};
