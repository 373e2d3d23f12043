/* SPDX-License-Identifier: MIT
 *
 * guards_print: compare and print the counts of guards.c.
 *
 * INVARIANTS A difference between the calls and the counts of the library is a finding: it is
 *            printed, and the exit code of the tour is 1. */
#include "cli/guards.h"

#include <stdio.h>

#include "cli/cli.h"

/* Return whether the counts of the flood are wrong. The filter has 1 % of false positives, so less
 * than 3 % of the absent keys may cause a load. */
static bool guards_flood_odd(const guards_result *r)
{
    return r->flood_loads > r->flood / 33 + r->audits ||
           r->stopped + r->flood_loads < r->flood || r->audits > r->flood / 100;
}

uint64_t guards_findings(const guards_result *r)
{
    return (uint64_t)(r->loads != 1) + (uint64_t)(r->values != r->threads) +
           (uint64_t)(r->stale != r->asked) + (uint64_t)(r->failed_loads != 1) +
           (uint64_t)guards_flood_odd(r);
}

void guards_print(const guards_result *r)
{
    char a[CLI_TEXT], b[CLI_TEXT], c[CLI_TEXT], d[CLI_TEXT];
    printf("\nloading: %s threads request one missing key: %s load, %s joined it (%s)\n",
           cli_count(a, r->threads), cli_count(b, r->loads), cli_count(c, r->joined),
           cli_duration(d, r->load_ns));
    printf("failing loader: %s gets, %s served stale, %s load tried (%s)\n",
           cli_count(a, r->asked), cli_count(b, r->stale), cli_count(c, r->failed_loads),
           cli_duration(d, r->stale_ns));
    printf("absent keys: %s requested, %s rejected by the Bloom filter, ", cli_count(a, r->flood),
           cli_count(b, r->stopped));
    printf("%s loads, %s of them audits (%s)\n", cli_count(a, r->flood_loads),
           cli_count(b, r->audits), cli_duration(c, r->flood_ns));
    if (r->loads != 1 || r->values != r->threads) {
        printf("FINDING loading: %s loads, %s of %s threads got the value\n",
               cli_count(a, r->loads), cli_count(b, r->values), cli_count(c, r->threads));
    }
    if (r->stale != r->asked || r->failed_loads != 1) {
        printf("FINDING failing loader: %s of %s served, %s loads\n", cli_count(a, r->stale),
               cli_count(b, r->asked), cli_count(c, r->failed_loads));
    }
    if (guards_flood_odd(r)) {
        printf("FINDING absent keys: %s loads for %s keys\n", cli_count(a, r->flood_loads),
               cli_count(b, r->flood));
    }
}

void guards_print_json(const guards_result *r)
{
    printf("{\"loading\":\"one missing key\",\"threads\":%llu,\"loads\":%llu,\"joined\":%llu,"
           "\"values\":%llu,\"elapsed_ns\":%llu}\n", (unsigned long long)r->threads,
           (unsigned long long)r->loads, (unsigned long long)r->joined,
           (unsigned long long)r->values, (unsigned long long)r->load_ns);
    printf("{\"loading\":\"failing loader\",\"gets\":%llu,\"stale\":%llu,\"loads\":%llu,"
           "\"elapsed_ns\":%llu}\n", (unsigned long long)r->asked, (unsigned long long)r->stale,
           (unsigned long long)r->failed_loads, (unsigned long long)r->stale_ns);
    printf("{\"loading\":\"absent keys\",\"gets\":%llu,\"rejected\":%llu,\"loads\":%llu,"
           "\"audits\":%llu,\"elapsed_ns\":%llu}\n", (unsigned long long)r->flood,
           (unsigned long long)r->stopped, (unsigned long long)r->flood_loads,
           (unsigned long long)r->audits, (unsigned long long)r->flood_ns);
}
