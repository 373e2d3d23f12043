/* SPDX-License-Identifier: MIT
 *
 * tour_port_print: print what the port replied, for people and as JSON. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/tour_port.h"

uint64_t tour_port_findings(const tour_port_result *r) { return r->different > 0; }

void tour_port_print(const tour_port_result *r)
{
    char a[CLI_TEXT], b[CLI_TEXT], c[CLI_TEXT];
    if (r->skipped != NULL) {
        printf("port: skipped, %s\n", r->skipped);
        return;
    }
    printf("port: %s answers of this process requested as a client of Redis does, %s different, "
           "%s a get\n", cli_count(a, r->asked), cli_count(b, r->different),
           cli_duration(c, r->get_ns));
    if (r->different > 0) { puts("FINDING a reply of the port differs from the stored answer"); }
}

void tour_port_print_json(const tour_port_result *r)
{
    printf("{\"port\":\"get\",\"shown\":%s,\"requested\":%llu,\"different\":%llu,\"get_ns\":%llu}"
           "\n", r->skipped == NULL ? "true" : "false", (unsigned long long)r->asked,
           (unsigned long long)r->different, (unsigned long long)r->get_ns);
}
