/* SPDX-License-Identifier: MIT
 *
 * wl_check: checks a workload of the caller, and the first requests of its trace, before anything
 * else is compiled. `make bench WL=` calls it.
 *
 * USE        wl_check FILE.wl "PEERS" "REF" NAME...     NAME: each subject that the bench knows
 * EXIT       0 fine, 2 a fault: the line of the workload or of its trace, or the unknown subject */
#include <stdio.h>
#include <string.h>

#include "bench/harness/workload.h"

/* Check each word of a list: a name, or where `prefix` the beginning of one. */
static bool wl_check_names(const char *what, const char *list, bool prefix, char **names)
{
    for (const char *at = list + strspn(list, " ,"); *at != '\0'; at += strspn(at, " ,")) {
        const size_t n = strcspn(at, " ,");
        char **name = names;
        while (*name != NULL && (strncmp(*name, at, n) != 0 || (!prefix && (*name)[n] != '\0'))) {
            name++;
        }
        if (*name == NULL) {
            fprintf(stderr, "bench: %s: unknown subject %.*s; there are:", what, (int)n, at);
            for (name = names; *name != NULL; name++) {
                fprintf(stderr, " %s", *name);
            }
            fprintf(stderr, "\n");
            return false;
        }
        at += n;
    }
    return true;
}

/* Read the first requests of a file. */
static bool wl_check_trace(const trace_spec *spec, char *why)
{
    static cli_request first[1024];
    bool wrong = false;
    cli_trace *t = cli_trace_open(spec->path, &spec->how, &wrong, why);
    if (t != NULL) { (void)cli_trace_read(t, first, 1024, &wrong, why); }
    cli_trace_close(t);
    return t != NULL && !wrong;
}

int main(int argc, char **argv)
{
    workload w;
    char why[1200];
    if (argc < 5) {
        return 2;
    }
    if (!workload_read(argv[1], &w, why, sizeof why)) {
        fprintf(stderr, "bench: %s\n", why);
        return 2;
    }
    if (w.trace.kind == TRACE_FILE && !wl_check_trace(&w.trace, why)) {
        fprintf(stderr, "bench: %s: %s\n", argv[1], why);
        return 2;
    }
    snprintf(why, sizeof why, "%s:%u", argv[1], w.subjects_line);
    const bool ok = wl_check_names(why, w.subjects, false, argv + 4) &&
                    wl_check_names("PEERS", argv[2], true, argv + 4) &&
                    wl_check_names("REF", argv[3], false, argv + 4);
    return ok ? 0 : 2;
}
