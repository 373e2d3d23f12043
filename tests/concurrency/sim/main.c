/* SPDX-License-Identifier: MIT
 *
 * main: the simulation program, build/sim; with the patches of tests/concurrency/mutants
 *       build/sim-mutants.
 *
 * USE        sim --list                                  scenarios
 *            sim --scenario S [--seed N] [--seeds COUNT] [--mutant M] [--trace]
 *            sim --scenario S --seed N [--mutant M] --shrink    fewest switches that still fail
 *            sim --scenario S --survey COUNT [--mutant M]       failures per picker
 *            sim --check SECONDS [--scenario S]          every scenario for its share of the time
 *            sim --work SECONDS [--scenario S]           the same schedules whatever the machine:
 *                                                        each scenario's share times its pace
 *            sim --pace [--scenario S]                   the figures of pace.h, as measured here
 * ENDS       0 nothing failed, 1 a run failed (its seed and command are the first line), 2 wrong
 *            use. --check, --work and --seeds end with "sim: N passed, N failed, N skipped" (N of
 *            scenarios).
 * WALK       seed after seed; each 1000th is run twice and must pass the same points. Without
 *            --seed the first one is SEED= or drawn; it is printed.
 * LIMITS     a run that failed leaves its fibers behind, so the program ends with it; --shrink and
 *            --survey therefore run in children. */
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/concurrency/sim/pace.h"
#include "tests/concurrency/sim/scenarios.h"

static const base_sim_scenario *const sim_table[] = {
#define SIM_X(name) &sim_##name,
    SIM_SCENARIOS(SIM_X)
#undef SIM_X
};
#define SIM_COUNT (sizeof sim_table / sizeof sim_table[0])

static struct sim_args {
    const base_sim_scenario *scenario; /* NULL: all */
    uint64_t seed, seeds, survey;
    double check_s; /* by the clock, or with `work` as the pace says */
    const char *mutant;
    bool have_seed, trace, shrink, list, work, pace;
} sim_args;

static struct {
    const base_sim_scenario *scenario; /* what runs now, for the signal handler */
    uint64_t seed;
} sim_now;

static double sim_clock(void)
{
    struct timespec t = { 0, 0 };
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void sim_headline(const char *what, const base_sim_scenario *s, uint64_t seed)
{
    printf("sim: %s: build/sim%s --scenario %s --seed %" PRIu64 "%s%s\n", what,
           sim_args.mutant != NULL ? "-mutants" : "", s->name, seed,
           sim_args.mutant != NULL ? " --mutant " : "",
           sim_args.mutant != NULL ? sim_args.mutant : "");
}

/* Report a fatal signal with the calls that stdio still allows. */
static void sim_on_signal(int number)
{
    static char text[2048];
    printf("signal %d\n", number);
    sim_headline("FAILED", sim_now.scenario, sim_now.seed);
    fputs(base_sim_where(text, sizeof text), stdout);
    fflush(stdout);
    _exit(1);
}

static void sim_catch_signals(void)
{
    static const int numbers[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT };
    static char stack[65536];
    stack_t alt = { .ss_sp = stack, .ss_size = sizeof stack };
    struct sigaction action = { .sa_handler = sim_on_signal, .sa_flags = SA_ONSTACK };
    action.sa_flags |= (int)SA_RESETHAND; /* an unsigned constant in glibc */
    if (sigaltstack(&alt, NULL) != 0) { abort(); }
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (sigaction(numbers[i], &action, NULL) != 0) { abort(); }
    }
}

static bool sim_one(const base_sim_scenario *s, uint64_t seed, base_sim_result *out)
{
    base_sim_options o = { .seed = seed, .mutant = sim_args.mutant, .trace = sim_args.trace };
    sim_now.scenario = s;
    sim_now.seed = seed;
    return base_sim_run(s, &o, out);
}

static void sim_report(const base_sim_scenario *s, uint64_t seed, const base_sim_result *r)
{
    sim_headline("FAILED", s, seed);
    printf("%s     picker %s, stores %s, %" PRIu64 " steps, %" PRIu64 " switches\n", r->text,
           base_sim_picker_name(r->picker), r->buffered ? "buffered" : "at once", r->steps,
           r->switch_count);
    fflush(stdout);
}

/* Schedules a second of CPU time; a scenario without a line gets the figure of the slowest ones. */
static uint64_t sim_pace_of(const base_sim_scenario *s)
{
    static const struct { const base_sim_scenario *s; uint64_t pace; } table[] = {
#define SIM_X(name, pace) { &sim_##name, pace },
        SIM_PACES(SIM_X)
#undef SIM_X
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (table[i].s == s) { return table[i].pace; }
    }
    return SIM_PACE_UNKNOWN;
}

typedef struct sim_tally {
    uint64_t schedules, steps, mutant_hits, most_steps;
} sim_tally;

/* Run seeds from `first`, until `count` are done or the time is over. Return false if one failed,
 * which is reported. */
static bool sim_range(const base_sim_scenario *s, uint64_t first, uint64_t count, double until,
                      sim_tally *t)
{
    static base_sim_result r, again;
    for (uint64_t i = 0; i < count; i++) {
        if ((i & 15) == 15 && sim_clock() >= until) { break; }
        if (!sim_one(s, first + i, &r)) {
            sim_report(s, first + i, &r);
            return false;
        }
        t->schedules++;
        t->steps += r.steps;
        t->mutant_hits += r.mutant_hits;
        if (r.steps > t->most_steps) { t->most_steps = r.steps; }
        if (i % 1000 != 0) { continue; }
        uint64_t digest = r.digest;
        if (!sim_one(s, first + i, &again) || again.digest != digest) {
            sim_headline("NOT THE SAME TWICE", s, first + i);
            return false;
        }
    }
    return true;
}

static int sim_check(void)
{
    unsigned passed = 0, failed = 0, todo = 0;
    double end = sim_clock() + sim_args.check_s;
    for (size_t i = 0; i < SIM_COUNT; i++) {
        todo += sim_args.scenario == NULL || sim_args.scenario == sim_table[i];
    }
    const double share = todo;
    for (size_t i = 0; i < SIM_COUNT; i++) {
        const base_sim_scenario *s = sim_table[i];
        if (sim_args.scenario != NULL && sim_args.scenario != s) { continue; }
        double start = sim_clock(), until = start + (end - start) / todo--;
        uint64_t count = sim_args.seeds;
        if (sim_args.work) {
            until = 1e300;
            count = (uint64_t)((double)sim_pace_of(s) * sim_args.check_s / share) + 1;
        }
        sim_tally t = { 0, 0, 0, 0 };
        fflush(stdout);
        pid_t child = fork(); /* a failed run ends its process, not the check */
        if (child == 0) {
            bool ok = sim_range(s, sim_args.seed, count, until, &t);
            printf("%s %-14s %9" PRIu64 " schedules, %5" PRIu64 " steps each (at most %" PRIu64
                   "), %.0f a second\n", ok ? "ok  " : "FAIL", s->name, t.schedules,
                   t.schedules > 0 ? t.steps / t.schedules : 0, t.most_steps,
                   (double)t.schedules / (sim_clock() - start + 1e-9));
            fflush(stdout);
            _exit(ok && t.schedules > 0 ? 0 : 1);
        }
        int status = 1;
        if (child < 0 || waitpid(child, &status, 0) != child) { status = 1; }
        if (status == 0) { passed++; } else { failed++; }
    }
    printf("sim: %u passed, %u failed, 0 skipped\n", passed, failed);
    fflush(stdout);
    return failed == 0 && passed > 0 ? 0 : 1;
}

static int sim_seeds(const base_sim_scenario *s)
{
    sim_tally t = { 0, 0, 0, 0 };
    double start = sim_clock();
    bool ok = sim_range(s, sim_args.seed, sim_args.seeds, 1e300, &t);
    printf("%s: %" PRIu64 " schedules, %" PRIu64 " steps, %.3f s", s->name, t.schedules, t.steps,
           sim_clock() - start);
    if (sim_args.mutant != NULL) { printf(", mutant met %" PRIu64 " times", t.mutant_hits); }
    printf("\nsim: %d passed, %d failed, 0 skipped\n", ok, !ok);
    fflush(stdout);
    return ok ? 0 : 1;
}

/* ---- --pace: schedules of a second of CPU time ---- */

static int sim_pace(void)
{
    for (size_t i = 0; i < SIM_COUNT; i++) {
        const base_sim_scenario *s = sim_table[i];
        if (sim_args.scenario != NULL && sim_args.scenario != s) { continue; }
        fflush(stdout);
        pid_t child = fork();
        if (child < 0) { return 1; }
        if (child == 0) {
            sim_tally t = { 0, 0, 0, 0 };
            bool ok = true;
            const clock_t start = clock();
            clock_t spent = 0;
            while (ok && (spent = clock() - start) < CLOCKS_PER_SEC) {
                ok = sim_range(s, sim_args.seed + t.schedules, 15, 1e300, &t);
            }
            printf("X(%s, %" PRIu64 ")\n", s->name,
                   t.schedules * (uint64_t)CLOCKS_PER_SEC / (uint64_t)(spent > 0 ? spent : 1));
            fflush(stdout);
            _exit(ok ? 0 : 1);
        }
        int status = 1;
        if (waitpid(child, &status, 0) != child || status != 0) { return 1; }
    }
    return 0;
}

/* ---- --survey: failures per picker ---- */

static int sim_survey(const base_sim_scenario *s)
{
    uint64_t runs[BASE_SIM_PICKERS] = { 0 }, caught[BASE_SIM_PICKERS] = { 0 };
    uint64_t end = sim_args.seed + sim_args.survey;
    for (uint64_t seed = sim_args.seed; seed < end;) {
        struct { uint64_t seed; uint64_t runs[BASE_SIM_PICKERS]; int picker; } got;
        memset(&got, 0, sizeof got);
        int fd[2];
        if (pipe(fd) != 0) { return 1; }
        fflush(stdout);
        pid_t child = fork();
        if (child < 0) { return 1; }
        if (child == 0) {
            static base_sim_result r;
            got.picker = -1;
            for (got.seed = seed; got.seed < end && got.picker < 0; got.seed++) {
                bool ok = sim_one(s, got.seed, &r);
                got.runs[r.picker]++;
                if (!ok) { got.picker = (int)r.picker; }
            }
            _exit(write(fd[1], &got, sizeof got) == (ssize_t)sizeof got ? 0 : 1);
        }
        close(fd[1]);
        ssize_t n = read(fd[0], &got, sizeof got);
        close(fd[0]);
        (void)waitpid(child, NULL, 0);
        if (n != (ssize_t)sizeof got) { return 1; } /* ended by a signal, which it has reported */
        for (int p = 0; p < BASE_SIM_PICKERS; p++) { runs[p] += got.runs[p]; }
        if (got.picker >= 0) { caught[got.picker]++; }
        seed = got.seed;
    }
    for (int p = 0; p < BASE_SIM_PICKERS; p++) {
        printf("%-8s %8" PRIu64 " runs %8" PRIu64 " failed\n",
               base_sim_picker_name((base_sim_picker)p), runs[p], caught[p]);
    }
    return 0;
}

/* ---- --shrink ---- */

static bool sim_still_fails(const base_sim_scenario *s, const base_sim_switch *list, size_t n)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        static base_sim_result r;
        if (freopen("/dev/null", "w", stdout) == NULL) { _exit(0); }
        base_sim_options o = { .seed = sim_args.seed, .mutant = sim_args.mutant, .replay = list,
                               .replay_count = n };
        sim_now.scenario = s;
        sim_now.seed = sim_args.seed;
        _exit(base_sim_run(s, &o, &r) ? 0 : 1);
    }
    int status = 0;
    return child > 0 && waitpid(child, &status, 0) == child && status != 0;
}

/* Writes the failing run's switches to a pipe, because the run is lost to this process. */
static size_t sim_record(const base_sim_scenario *s, base_sim_switch *list, size_t cap)
{
    int fd[2];
    if (pipe(fd) != 0) { return 0; }
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        static base_sim_result r;
        if (sim_one(s, sim_args.seed, &r) || r.switch_count > r.switch_kept) { _exit(0); }
        const char *at = (const char *)r.switches;
        for (size_t left = r.switch_kept * sizeof *list; left > 0;) {
            ssize_t n = write(fd[1], at, left);
            if (n <= 0) { _exit(0); }
            at += n;
            left -= (size_t)n;
        }
        _exit(0);
    }
    close(fd[1]);
    size_t got = 0;
    for (;;) {
        ssize_t n = read(fd[0], (char *)list + got, cap * sizeof *list - got);
        if (n <= 0) { break; }
        got += (size_t)n;
    }
    close(fd[0]);
    if (child > 0) { (void)waitpid(child, NULL, 0); }
    return got / sizeof *list;
}

static int sim_shrink(const base_sim_scenario *s)
{
    static base_sim_switch list[65536], shorter[65536];
    size_t n = sim_record(s, list, 65536), before = n;
    if (n == 0) {
        printf("sim: this seed does not fail by itself (or by a signal, or is too long)\n");
        return 2;
    }
    for (size_t cut = n; cut >= 1; cut /= 2) {
        for (size_t at = 0; at < n;) {
            size_t take = cut < n - at ? cut : n - at;
            memcpy(shorter, list, at * sizeof *list);
            memcpy(shorter + at, list + at + take, (n - at - take) * sizeof *list);
            if (sim_still_fails(s, shorter, n - take)) {
                n -= take;
                memcpy(list, shorter, n * sizeof *list);
            } else {
                at += take;
            }
        }
    }
    printf("sim: %zu of %zu switches are enough:\n", n, before);
    static base_sim_result r;
    base_sim_options o = { .seed = sim_args.seed, .mutant = sim_args.mutant, .trace = true,
                           .replay = list, .replay_count = n };
    sim_now.scenario = s;
    sim_now.seed = sim_args.seed;
    if (base_sim_run(s, &o, &r)) { return 2; }
    sim_report(s, sim_args.seed, &r);
    return 1;
}

/* ---- arguments ---- */

static const base_sim_scenario *sim_find(const char *name)
{
    for (size_t i = 0; i < SIM_COUNT; i++) {
        if (strcmp(sim_table[i]->name, name) == 0) { return sim_table[i]; }
    }
    fprintf(stderr, "sim: no scenario \"%s\"; see --list\n", name);
    exit(2);
}

static void sim_usage(void)
{
    fprintf(stderr, "usage: sim --list | --check SECONDS | --scenario S [--seed N] [--seeds COUNT]"
                    " [--mutant M] [--trace | --shrink | --survey COUNT]"
                    " | --work SECONDS | --pace\n");
    exit(2);
}

static uint64_t sim_first_seed(void)
{
    const char *text = getenv("SEED");
    if (text != NULL && *text != '\0') { return strtoull(text, NULL, 0); }
    struct timespec t = { 0, 0 };
    clock_gettime(CLOCK_REALTIME, &t);
    return ((uint64_t)t.tv_sec * 1000000007u + (uint64_t)t.tv_nsec) % 1000000000u * 1000000u;
}

static void sim_parse(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (strcmp(a, "--list") == 0) {
            sim_args.list = true;
        } else if (strcmp(a, "--trace") == 0) {
            sim_args.trace = true;
        } else if (strcmp(a, "--shrink") == 0) {
            sim_args.shrink = true;
        } else if (strcmp(a, "--pace") == 0) {
            sim_args.pace = true;
        } else if (i + 1 == argc) {
            sim_usage();
        } else if (strcmp(a, "--scenario") == 0) {
            sim_args.scenario = sim_find(argv[++i]);
        } else if (strcmp(a, "--mutant") == 0) {
            sim_args.mutant = argv[++i];
        } else if (strcmp(a, "--seed") == 0) {
            sim_args.seed = strtoull(argv[++i], NULL, 0);
            sim_args.have_seed = true;
        } else if (strcmp(a, "--seeds") == 0) {
            sim_args.seeds = strtoull(argv[++i], NULL, 0);
        } else if (strcmp(a, "--survey") == 0) {
            sim_args.survey = strtoull(argv[++i], NULL, 0);
        } else if (strcmp(a, "--check") == 0) {
            sim_args.check_s = strtod(argv[++i], NULL);
        } else if (strcmp(a, "--work") == 0) {
            sim_args.work = true;
            sim_args.check_s = strtod(argv[++i], NULL);
        } else {
            sim_usage();
        }
    }
}

int main(int argc, char **argv)
{
    sim_parse(argc, argv);
    if (sim_args.list) {
        for (size_t i = 0; i < SIM_COUNT; i++) {
            printf("%-14s %s\n", sim_table[i]->name, sim_table[i]->what);
        }
        return 0;
    }
    sim_catch_signals();
    if (!sim_args.have_seed) {
        sim_args.seed = sim_first_seed();
        printf("sim: seeds from %" PRIu64 "\n", sim_args.seed);
    }
    if (sim_args.pace) { return sim_pace(); }
    if (sim_args.check_s > 0) {
        if (sim_args.seeds == 0) { sim_args.seeds = UINT64_MAX; }
        return sim_check();
    }
    if (sim_args.scenario == NULL) { sim_usage(); }
    if (sim_args.survey > 0) { return sim_survey(sim_args.scenario); }
    if (sim_args.shrink) { return sim_shrink(sim_args.scenario); }
    if (sim_args.seeds == 0) { sim_args.seeds = 1; }
    return sim_seeds(sim_args.scenario);
}
