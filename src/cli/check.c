/* SPDX-License-Identifier: MIT
 *
 * check: print errors and warnings of policy files, and errors and notes of files of settings.
 *
 * FORMAT     For people: one line a note, FILE:LINE:COLUMN: error|warning|note: TEXT, then a sum.
 *            JSON: one object a line: {"file":..,"line":..,"column":..,"severity":..,"text":..},
 *            then {"total":{"files":..,"errors":..,"warnings":..}}.
 * SEE ALSO   cellar_policy_read, cellar_settings_read (cellar_kit.h). */
#include <getopt.h>

#include "cellar.h"
#include "cellar_kit.h"
#include "cli/cli.h"

typedef struct check_run {
    int strict, json, settings; /* options: 0, or not */
    const char *file;
    unsigned errors, warnings;
} check_run;

/* Print a note of a file, unless the file could not be read (line 0). */
static void check_note(const cellar_settings_note *n, void *ctx)
{
    check_run *r = ctx;
    const bool error = n->level == CELLAR_LOG_ERROR, warning = n->level == CELLAR_LOG_WARNING;
    if (n->line == 0) {
        cli_complain("check", "%s; name a file of %s", n->text, r->settings ? "settings"
                                                                            : "policies");
        return;
    }
    r->errors += error;
    r->warnings += warning;
    if (!r->json) {
        cli_plain(stdout, n->text);
        putchar('\n');
        return;
    }
    fputs("{\"file\":", stdout);
    cli_json_string(stdout, r->file);
    printf(",\"line\":%lu,\"column\":%lu,\"severity\":\"%s\",\"text\":", (unsigned long)n->line,
           (unsigned long)n->column, error ? "error" : warning ? "warning" : "note");
    cli_json_string(stdout, n->text);
    puts("}");
}

/* Check one file. Return false if it cannot be read or checked, with *code. */
static bool check_file(check_run *r, const char *file, int *code)
{
    cellar_settings s = cellar_settings_default();
    cellar_policy_rule *rules = NULL;
    size_t count;
    cellar_policy_opts o = { .struct_size = sizeof o, .lint = 1 };
    r->file = file;
    const cellar_err err = r->settings
        ? cellar_settings_read(&s, file, NULL, 0, check_note, r)
        : cellar_policy_read(file, &o, check_note, r, &rules, &count);
    cellar_free(rules);
    if (err == CELLAR_OK || err == CELLAR_E_CONFIG) { return true; }
    *code = err == CELLAR_E_IO ? CLI_USAGE : CLI_NO_START;
    if (err != CELLAR_E_IO) {
        cli_complain("check", "cannot check \"%s\": %s; give the program more memory", file,
                     cellar_strerror(err));
    }
    return false;
}

static int check_run_command(int argc, char **argv, const cli_terminal *term)
{
    check_run r = { .strict = 0 };
    const struct option options[] = {
        { "strict", no_argument, &r.strict, 's' }, { "json", no_argument, &r.json, 'j' },
        { "settings", no_argument, &r.settings, 'c' }, { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 }
    };
    (void)term;
    int code = cli_options(&cli_check, argc, argv, options, NULL, NULL);
    if (code != CLI_GO_ON) { return code; }
    const int files = argc - optind;
    if (files < 1) {
        cli_complain("check", "takes at least one file (got %d); name a policy file", files);
        return CLI_USAGE;
    }
    for (int i = optind; i < argc; i++) {
        if (!check_file(&r, argv[i], &code)) { return code; }
    }
    printf(r.json ? "{\"total\":{\"files\":%d,\"errors\":%u,\"warnings\":%u}}\n"
                  : "files: %d, errors: %u, warnings: %u\n",
           files, r.errors, r.warnings);
    return r.errors > 0 || (r.strict && r.warnings > 0) ? CLI_FINDING : CLI_DONE;
}

const cli_command cli_check = {
    "check", "", "print errors and warnings of policy files, errors of settings",
    "Usage: cellar check [OPTION]... FILE...\n"
    "\n"
    "Reads policy files (POLICY FILES in cellar_kit.h) and prints each error with line and\n"
    "column. Of a file without errors it prints warnings: rules that an earlier rule or a deny\n"
    "rule hides, a TTL below twice the refresh interval or above its bound, refresh without\n"
    "loader, negative entries that outlive values.\n"
    "\n"
    "  --settings  the files hold settings of a store (SETTINGS in cellar_kit.h); prints errors,\n"
    "              and notes for names without effect\n"
    "  --strict    exit with 1 for warnings, too\n"
    "  --json      print all of it as JSON, one object a line\n"
    "  --help      print this text\n"
    "\n"
    "Exit codes: 0 no errors, 1 errors, or warnings with --strict, 2 wrong usage or a file that\n"
    "            cannot be read, 3 out of memory.\n",
    check_run_command
};
