/* SPDX-License-Identifier: MIT
 *
 * ready_print: compare and print the counts of ready.c.
 *
 * INVARIANTS A difference is a finding: it is printed, and the exit code of the tour is 1. */
#include "cli/ready.h"

#include <stdio.h>

#include "cli/cli.h"

static bool ready_merges_odd(const ready_result *r)
{
    return r->merged != r->merges || r->merges % r->threads != 0 || r->merges == 0 ||
           r->runs < r->merges + r->threads - 1;
}

/* Return whether the batch is wrong. Half of the texts that were not present are twice there. */
static bool ready_batch_odd(const ready_result *r)
{
    return r->calls != 1 || r->loaded * 2 != r->texts - r->present || r->wrong != 0;
}

uint64_t ready_findings(const ready_result *r)
{
    return (uint64_t)ready_merges_odd(r) + (uint64_t)ready_batch_odd(r) +
           (uint64_t)(r->hottest != READY_HOT);
}

static void ready_print_findings(const ready_result *r)
{
    char a[CLI_TEXT], b[CLI_TEXT], c[CLI_TEXT];
    if (ready_merges_odd(r)) {
        printf("FINDING status: %s merges, %s in the value, %s runs\n", cli_count(a, r->merges),
               cli_count(b, r->merged), cli_count(c, r->runs));
    }
    if (ready_batch_odd(r)) {
        printf("FINDING embeddings: %s texts loaded in %s calls, %s vectors wrong\n",
               cli_count(a, r->loaded), cli_count(b, r->calls), cli_count(c, r->wrong));
    }
    if (r->hottest != READY_HOT) {
        printf("FINDING hot keys: %s of the %u most read keys are at their place\n",
               cli_count(a, r->hottest), READY_HOT);
    }
}

void ready_print(const ready_result *r)
{
    char a[CLI_TEXT], b[CLI_TEXT], c[CLI_TEXT], d[CLI_TEXT];
    printf("status: %s threads merge into one task: %s merges, ", cli_count(a, r->threads),
           cli_count(b, r->merges));
    printf("%s in the value, %s runs lost to another thread (%s)\n", cli_count(a, r->merged),
           cli_count(b, r->runs - r->merges), cli_duration(c, r->merge_ns));
    printf("embeddings: %s texts requested, %s present: ", cli_count(a, r->texts),
           cli_count(b, r->present));
    printf("%s loader call for %s texts, %s vectors wrong (%s)\n", cli_count(a, r->calls),
           cli_count(b, r->loaded), cli_count(c, r->wrong), cli_duration(d, r->batch_ns));
    printf("hot keys: %s gets of %s keys: ", cli_count(a, r->gets), cli_count(b, r->keys));
    for (uint32_t k = 0; k < READY_HOT; k++) {
        cli_plain(stdout, r->hot[k]);
        printf(" %s%s", cli_percent(a, r->share_ppm[k], 1000000), k + 1 < READY_HOT ? ", " : "");
    }
    printf(" (%s)\n", cli_duration(a, r->hot_ns));
    ready_print_findings(r);
}

void ready_print_json(const ready_result *r)
{
    printf("{\"ready\":\"status\",\"threads\":%llu,\"merges\":%llu,\"in_the_value\":%llu,"
           "\"runs\":%llu,\"elapsed_ns\":%llu}\n", (unsigned long long)r->threads,
           (unsigned long long)r->merges, (unsigned long long)r->merged,
           (unsigned long long)r->runs, (unsigned long long)r->merge_ns);
    printf("{\"ready\":\"embeddings\",\"texts\":%llu,\"present\":%llu,\"calls\":%llu,"
           "\"loaded\":%llu,\"wrong\":%llu,\"elapsed_ns\":%llu}\n", (unsigned long long)r->texts,
           (unsigned long long)r->present, (unsigned long long)r->calls,
           (unsigned long long)r->loaded, (unsigned long long)r->wrong,
           (unsigned long long)r->batch_ns);
    printf("{\"ready\":\"hot keys\",\"gets\":%llu,\"keys\":%llu,\"hottest\":[",
           (unsigned long long)r->gets, (unsigned long long)r->keys);
    for (uint32_t k = 0; k < READY_HOT; k++) {
        printf("%s", k > 0 ? "," : "");
        cli_json_string(stdout, r->hot[k]);
    }
    printf("],\"elapsed_ns\":%llu}\n", (unsigned long long)r->hot_ns);
}
