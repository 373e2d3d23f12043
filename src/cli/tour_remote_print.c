/* SPDX-License-Identifier: MIT
 *
 * tour_remote_print: print what three processes saw of one server, for people and as JSON. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/tour_remote.h"

uint64_t tour_remote_findings(const tour_remote_result *r)
{
    return (uint64_t)(r->stale > 0) + (r->loads != 1) + (r->worst_window > r->window_bound);
}

void tour_remote_print(const tour_remote_result *r)
{
    char a[CLI_TEXT], b[CLI_TEXT], c[CLI_TEXT];
    printf("remote: %d processes, %s operations in %s, %s connections killed\n",
           TOUR_REMOTE_PROCESSES, cli_count(a, r->operations), cli_duration(b, r->took_ns),
           cli_count(c, r->killed));
    printf("  hits             %s of %s gets in memory, %s from the server\n",
           cli_percent(a, r->memory_hits, r->gets), cli_count(b, r->gets),
           cli_percent(c, r->server_hits, r->gets));
    printf("  invalidation     p50 %s, p99 %s, of %s sets by another process\n",
           cli_duration(a, r->heard_p50_ns), cli_duration(b, r->heard_p99_ns),
           cli_count(c, r->changes));
    printf("  proofs           %s marks came back, %s gaps\n", cli_count(a, r->proofs),
           cli_count(b, r->gaps));
    printf("  one cold key     %s loads for %d threads\n", cli_count(a, r->loads),
           TOUR_REMOTE_PROCESSES * TOUR_REMOTE_THREADS);
    printf("  one limit        %s admissions in the worst %d ms, bound %s\n",
           cli_count(a, r->worst_window), TOUR_REMOTE_WINDOW_MS, cli_count(b, r->window_bound));
    printf("  stale: %s of %s values compared with the server\n", cli_count(a, r->stale),
           cli_count(b, r->compared));
    if (r->stale > 0) { puts("FINDING memory of a process has a value that the server has not"); }
    if (r->loads != 1) { puts("FINDING the cold key was not loaded exactly once"); }
    if (r->worst_window > r->window_bound) {
        puts("FINDING the limit admitted more than its bound");
    }
}

void tour_remote_print_json(const tour_remote_result *r)
{
    printf("{\"remote\":\"tour\",\"processes\":%d,\"operations\":%llu,\"took_ns\":%llu,"
           "\"killed\":%llu,\"gets\":%llu,\"memory_hits\":%llu,\"server_hits\":%llu,"
           "\"heard_p50_ns\":%llu,\"heard_p99_ns\":%llu,\"proofs\":%llu,\"gaps\":%llu,"
           "\"loads\":%llu,\"worst_window\":%llu,\"window_bound\":%llu,\"compared\":%llu,"
           "\"stale\":%llu}\n", TOUR_REMOTE_PROCESSES, (unsigned long long)r->operations,
           (unsigned long long)r->took_ns, (unsigned long long)r->killed,
           (unsigned long long)r->gets, (unsigned long long)r->memory_hits,
           (unsigned long long)r->server_hits, (unsigned long long)r->heard_p50_ns,
           (unsigned long long)r->heard_p99_ns, (unsigned long long)r->proofs,
           (unsigned long long)r->gaps, (unsigned long long)r->loads,
           (unsigned long long)r->worst_window, (unsigned long long)r->window_bound,
           (unsigned long long)r->compared, (unsigned long long)r->stale);
}
