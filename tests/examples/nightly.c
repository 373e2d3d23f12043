/* SPDX-License-Identifier: MIT
 *
 * nightly: make a report each night at half past two, and try again if it fails.
 *
 * A schedule runs a task at that time, on a pool of threads. If the report fails, the pool runs
 * the task again after a pause. The pauses grow from a minute to ten minutes. If the eighth attempt
 * fails, the program raises an alarm: here a line on stderr, in your program a message to a person.
 *
 * The pool has a journal. A report that is due outlives the end of the program, a kill and a power
 * cut: if the program does not run at half past two, or ends before the report is done, it makes
 * the report when it starts. So a report may be written twice. The second one is the same, so that
 * does no harm. Make your task so, too.
 *
 * In the folder of this project, after `make SQLITE=1`:
 *     cc -O2 tests/examples/nightly.c -Iinclude build/libcellar.a -lsqlite3 -pthread
 * With the drop-in, after `make dist`:
 *     cc -O2 -DCELLAR_WITH_SQLITE=1 tests/examples/nightly.c dist/cellar_all.c \
 *         -Idist -Idist/include -lsqlite3 -pthread
 *
 *     ./a.out journal.db report.txt                     runs until SIGTERM or SIGINT
 *     ./a.out journal.db report.txt "0 6 * * *"         makes the report at six
 *     ./a.out journal.db report.txt "0 6 * * *" 1000    and one now; the first pause is 1 s
 *
 * A failed report leaves the last one in place: the new one gets its name when it is complete and
 * on disk. To keep the new name over a power cut, call fsync on the folder as well. Times are UTC;
 * `night.zone` takes another zone, as "Europe/Berlin". */
#include <err.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cellar_schedule.h"
#include "cellar_task.h"

static void die(void)
{
    cellar_error_info why = cellar_error_info_default();
    cellar_last_error(NULL, &why);
    errx(1, "%s", why.text); /* call, argument, rule and remedy */
}

static cellar_verdict report(const cellar_task *t, void *path)
{
    char fresh[4200]; /* longer than any path */
    snprintf(fresh, sizeof fresh, "%s.new", (const char *)path);
    FILE *const out = fopen(fresh, "w");
    bool ok = out != NULL && fprintf(out, "attempt %u\n", t->attempt) > 0;
    ok = ok && fflush(out) == 0 && fsync(fileno(out)) == 0;
    if (out != NULL) { ok = fclose(out) == 0 && ok; }
    if (ok && rename(fresh, path) == 0) { return cellar_verdict_ok(); }
    warnx("attempt %u failed%s", t->attempt, t->attempt == t->max_attempts ? ", ALARM" : "");
    return cellar_verdict_retry();
}

int main(int argc, char **argv)
{
    cellar_pool_config tasks = cellar_pool_config_default();
    cellar_task_opts retry = cellar_task_opts_default();
    cellar_schedule_spec night = cellar_schedule_spec_default();
    cellar_pool *p;
    sigset_t ends;
    if (argc < 3) { errx(2, "usage: nightly JOURNAL REPORT [CRON [MS]]"); }
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, NULL); /* before any thread starts */
    tasks.journal_path = argv[1];
    tasks.journal_level = CELLAR_JOURNAL_SYNC;
    if (cellar_pool_open(&tasks, &p) != CELLAR_OK) { die(); }
    retry.base_ms = argc > 4 ? atoll(argv[4]) : 60 * 1000;
    retry.max_attempts = 8;
    retry.max_running = 1; /* one report at a time */
    if (cellar_task_register(p, "report", report, argv[2], &retry) != CELLAR_OK) { die(); }
    night.cron = argc > 3 ? argv[3] : "30 2 * * *";
    night.catch_up_on_start = 1;
    night.task = "report";
    if (cellar_schedule_add(p, "night", &night) != CELLAR_OK) { die(); }
    if (argc > 4 && cellar_task_submit(p, "report", NULL, 0, NULL, NULL) != CELLAR_OK) { die(); }
    sigwait(&ends, &(int){ 0 });
    return cellar_pool_close(p) == CELLAR_OK ? 0 : 1;
}
