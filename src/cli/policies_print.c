/* SPDX-License-Identifier: MIT
 *
 * policies_print: print hit ratios by policy and the advice, for people and as JSON. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/policies.h"

static const char *const policies_names[POLICIES] = { "adaptive", "s3fifo", "lru", "fifo" };

uint64_t policies_findings(const policies_result *r)
{
    return (uint64_t)(r->uncounted > 0) + !r->advised;
}

void policies_print(const policies_result *r)
{
    char a[CLI_TEXT], b[CLI_TEXT], c[CLI_TEXT];
    printf("\nsmall budget by policy: %s gets of %s keys, %s entries; hit ratio:",
           cli_count(a, r->gets), cli_count(b, r->keys), cli_count(c, r->room));
    for (unsigned p = 0; p < POLICIES; p++) {
        printf("%s %s %s", p != 0 ? "," : "", policies_names[p],
               cli_percent(a, r->hits[p], r->gets));
    }
    putchar('\n');
    if (r->advised) {
        printf("advisor: expects a hit ratio of %.1f %% at twice the budget (now %.1f %%); "
               "measured: %.1f %%\n", r->said * 100, r->now * 100, r->is * 100);
    } else {
        puts("FINDING the advisor gives no advice");
    }
    if (r->uncounted > 0) { puts("FINDING the library counted other gets or hits of a policy"); }
}

void policies_print_json(const policies_result *r)
{
    printf("{\"policies\":\"small budget\",\"gets\":%llu,\"keys\":%llu,\"entries\":%llu",
           (unsigned long long)r->gets, (unsigned long long)r->keys, (unsigned long long)r->room);
    for (unsigned p = 0; p < POLICIES; p++) {
        printf(",\"%s\":%.6f", policies_names[p], (double)r->hits[p] / (double)r->gets);
    }
    printf("}\n{\"advisor\":%s,\"scale\":2,\"now\":%.6f,\"hit_ratio\":%.6f,\"measured\":%.6f}\n",
           r->advised ? "true" : "false", r->now, r->said, r->is);
}
