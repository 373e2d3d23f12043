/* SPDX-License-Identifier: MIT
 *
 * tour_l2_print: print the checks of the disk tier, for people and as JSON. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/tour_l2.h"

static bool tour_l2_lost_all(const tour_l2_result *r)
{
    return r->found == 0 && r->acked > r->deleted && !r->no_boot_id;
}

uint64_t tour_l2_findings(const tour_l2_result *r)
{
    if (r->skipped != NULL) { return 0; }
    return (uint64_t)(r->different > 0) + (r->wrong > 0) + (r->risen > 0) +
           (r->from_disk == 0 && r->asked > 0) + tour_l2_lost_all(r);
}

void tour_l2_print(const tour_l2_result *r)
{
    char a[CLI_TEXT], b[CLI_TEXT], c[CLI_TEXT], d[CLI_TEXT], e[CLI_TEXT];
    if (r->skipped != NULL) {
        printf("disk tier: skipped, %s\n", r->skipped);
        return;
    }
    printf("closed and reopened: %s answers requested, %s from disk, %s different, %s a get\n",
           cli_count(a, r->asked), cli_count(b, r->from_disk), cli_count(c, r->different),
           cli_duration(d, r->get_ns));
    if (r->from_disk < r->asked) {
        printf("  not from disk: %s; two entries can share a word of the index, which keeps the "
               "newer one\n  (about 1 in 10,000, no entry that is written through); or the disk "
               "was slow\n", cli_count(a, r->asked - r->from_disk));
    }
    printf("killed during writes: %s writes and %s deletes acknowledged, reopened in %s\n",
           cli_count(a, r->acked - r->deleted), cli_count(b, r->deleted),
           cli_duration(c, r->open_ns));
    printf("  verified: %s values found, %s wrong, %s deleted values returned\n",
           cli_count(a, r->found), cli_count(b, r->wrong), cli_count(e, r->risen));
    if (r->different > 0) { puts("FINDING answers from disk differ from the stored ones"); }
    if (r->from_disk == 0 && r->asked > 0) { puts("FINDING no answer came from disk"); }
    if (r->wrong > 0) { puts("FINDING a killed store returned wrong values"); }
    if (r->risen > 0) { puts("FINDING a killed store returned deleted values"); }
    if (tour_l2_lost_all(r)) { puts("FINDING a killed store was empty"); }
    if (r->no_boot_id) {
        puts("  no boot id without /proc: a killed store starts empty, which is no finding");
    }
}

void tour_l2_print_json(const tour_l2_result *r)
{
    printf("{\"disk\":\"reopened\",\"shown\":%s,\"requested\":%llu,\"hits\":%llu,"
           "\"from_disk\":%llu,\"different\":%llu,\"get_ns\":%llu}\n",
           r->skipped == NULL ? "true" : "false", (unsigned long long)r->asked,
           (unsigned long long)r->hits, (unsigned long long)r->from_disk,
           (unsigned long long)r->different, (unsigned long long)r->get_ns);
    printf("{\"disk\":\"killed\",\"shown\":%s,\"acknowledged\":%llu,\"deleted\":%llu,"
           "\"found\":%llu,\"wrong\":%llu,\"deleted_returned\":%llu,\"open_ns\":%llu}\n",
           r->skipped == NULL ? "true" : "false", (unsigned long long)r->acked,
           (unsigned long long)r->deleted, (unsigned long long)r->found,
           (unsigned long long)r->wrong, (unsigned long long)r->risen,
           (unsigned long long)r->open_ns);
}
