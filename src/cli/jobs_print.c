/* SPDX-License-Identifier: MIT
 *
 * jobs_print: compare and print the counts of jobs.c.
 *
 * INVARIANTS A difference is a finding: it is printed, and the exit code of the tour is 1. */
#include "cli/jobs.h"

#include <stdio.h>

#include "cli/cli.h"

#define JOBS_SPLIT_CALLS 13u /* of 64 items with one bad one: two for each of six halvings + 1 */

static bool jobs_tasks_odd(const jobs_result *r)
{
    return r->succeeded != r->tasks || r->once != r->tasks || r->attempts != r->tasks + r->faulty;
}

static bool jobs_batch_odd(const jobs_result *r)
{
    return r->calls != JOBS_SPLIT_CALLS || r->failed != 1 || r->ok + r->failed != r->items;
}

/* Return whether the firings are not 28 March 2026, 02:30 in winter time, 29 March, 03:00, and 30
 * March, 02:30 in summer time. */
static bool jobs_firings_odd(const jobs_result *r)
{
    return r->firings != 0 &&
           (r->firings != JOBS_FIRINGS || r->firing_ms[0] != INT64_C(1774661400000) ||
            r->firing_ms[1] != INT64_C(1774746000000) || r->firing_ms[2] != INT64_C(1774830600000));
}

uint64_t jobs_findings(const jobs_result *r)
{
    return (uint64_t)jobs_tasks_odd(r) + (uint64_t)jobs_batch_odd(r) +
           (uint64_t)jobs_firings_odd(r);
}

static void jobs_print_findings(const jobs_result *r)
{
    char a[CLI_TEXT], b[CLI_TEXT], c[CLI_TEXT];
    if (jobs_tasks_odd(r)) {
        printf("FINDING tasks: %s attempts, %s succeeded, %s of them once\n",
               cli_count(a, r->attempts), cli_count(b, r->succeeded), cli_count(c, r->once));
    }
    if (jobs_batch_odd(r)) {
        printf("FINDING batch: %s calls, %s items delivered, %s failed\n", cli_count(a, r->calls),
               cli_count(b, r->ok), cli_count(c, r->failed));
    }
    if (jobs_firings_odd(r)) {
        puts("FINDING schedule: wrong times over the change of the clocks");
    }
}

void jobs_print(const jobs_result *r)
{
    char a[CLI_TEXT], b[CLI_TEXT], c[CLI_TEXT], d[CLI_TEXT];
    printf("tasks: %s on %s threads, %s of them fail once: ", cli_count(a, r->tasks),
           cli_count(b, r->threads), cli_count(c, r->faulty));
    printf("%s attempts, %s succeed (%s)\n", cli_count(a, r->attempts), cli_count(b, r->succeeded),
           cli_duration(d, r->task_ns));
    printf("schedule: 02:30 daily in Berlin over 29 March 2026:");
    for (uint64_t i = 0; i < r->firings; i++) {
        const int64_t minute = r->firing_ms[i] / 60000, day = minute / 1440;
        printf("%s %d March %02d:%02d", i > 0 ? "," : "", (int)(day - 20513 + 1),
               (int)(minute % 1440 / 60), (int)(minute % 60));
    }
    puts(r->firings > 0 ? " UTC" : " left out, no zone database");
    printf("batch: %s items, 1 of them bad: %s calls by halves, ", cli_count(a, r->items),
           cli_count(b, r->calls));
    printf("%s delivered, %s failed (%s)\n", cli_count(a, r->ok), cli_count(b, r->failed),
           cli_duration(d, r->batch_ns));
    jobs_print_findings(r);
}

void jobs_print_json(const jobs_result *r)
{
    printf("{\"jobs\":\"tasks\",\"threads\":%llu,\"tasks\":%llu,\"fail_once\":%llu,"
           "\"attempts\":%llu,\"succeeded\":%llu,\"once\":%llu,\"elapsed_ns\":%llu}\n",
           (unsigned long long)r->threads, (unsigned long long)r->tasks,
           (unsigned long long)r->faulty, (unsigned long long)r->attempts,
           (unsigned long long)r->succeeded, (unsigned long long)r->once,
           (unsigned long long)r->task_ns);
    printf("{\"jobs\":\"schedule\",\"firings_ms\":[");
    for (uint64_t i = 0; i < r->firings; i++) {
        printf("%s%lld", i > 0 ? "," : "", (long long)r->firing_ms[i]);
    }
    printf("]}\n{\"jobs\":\"batch\",\"items\":%llu,\"calls\":%llu,\"ok\":%llu,\"failed\":%llu,"
           "\"elapsed_ns\":%llu}\n", (unsigned long long)r->items, (unsigned long long)r->calls,
           (unsigned long long)r->ok, (unsigned long long)r->failed,
           (unsigned long long)r->batch_ns);
}
