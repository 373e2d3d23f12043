/* SPDX-License-Identifier: MIT
 *
 * check: print errors, warnings and notes of policy files and of files of settings.
 *
 * FORMAT     For people: one line a note, FILE:LINE:COLUMN: error|warning|note: TEXT, then a sum.
 *            JSON: one object a line: {"file":..,"line":..,"column":..,"severity":..,"text":..},
 *            then {"total":{"files":..,"errors":..,"warnings":..}}.
 * SEE ALSO   cellar_policy_read, cellar_settings_read (cellar_kit.h). */
#include <getopt.h>

#include "cellar.h"
#include "cellar_kit.h"
#include "cellar_schedule.h"
#include "cli/cli.h"

typedef struct check_run {
    int strict, json, settings; /* options: 0, or not */
    const char *file, *what; /* that is read; settings or policies */
    unsigned errors, warnings;
} check_run;

/* Print a note. One about no line and no setting says that a file could not be read. */
static void check_note(const cellar_settings_note *n, void *ctx)
{
    check_run *r = ctx;
    char text[CLI_NOTE];
    const bool error = n->level == CELLAR_LOG_ERROR, warning = n->level == CELLAR_LOG_WARNING;
    if (n->line == 0 && n->name[0] == '\0') {
        cli_complain("check", "%s; name a file of %s", n->text, r->what);
        return;
    }
    (void)cli_settings_text(n, text);
    r->errors += error;
    r->warnings += warning;
    if (!r->json) {
        cli_plain(stdout, text);
        putchar('\n');
        return;
    }
    fputs("{\"file\":", stdout);
    cli_json_string(stdout, r->file);
    printf(",\"line\":%lu,\"column\":%lu,\"severity\":\"%s\",\"text\":", (unsigned long)n->line,
           (unsigned long)n->column, error ? "error" : warning ? "warning" : "note");
    cli_json_string(stdout, text);
    puts("}");
}

/* Print a note about a setting that is correct by itself. */
static void check_fit(check_run *r, cellar_log_level level, const char *name, const char *why)
{
    char text[CLI_NOTE];
    (void)snprintf(text, sizeof text, "%s: %s: %s: %s", r->file,
                   level == CELLAR_LOG_ERROR ? "error" : "warning", name, why);
    check_note(&(cellar_settings_note){ level, 0, 1, name, text }, r);
}

/* Check settings of one file together, as cellar_settings_open does, and the zone. */
static void check_together(check_run *r, const cellar_settings *s)
{
    const cellar_config *c = &s->config;
    int64_t next_ms;
    size_t found;
    if (c->l2_path != NULL && c->l2_bytes == 0) {
        check_fit(r, CELLAR_LOG_ERROR, "l2_path", "needs l2_bytes, too: 16M..4T (without it only "
                  "cellar serve opens)");
    }
    if (c->l2_path == NULL && c->l2_bytes != 0) {
        check_fit(r, CELLAR_LOG_ERROR, "l2_bytes", "needs l2_path, too: a directory");
    }
    if (c->l2_path == NULL && s->l2.write == CELLAR_L2_WRITE_THROUGH) {
        check_fit(r, CELLAR_LOG_ERROR, "l2_write", "through needs a disk: set l2_path and "
                  "l2_bytes");
    }
    if (s->work.zone[0] != '\0' &&
        cellar_cron_next("@daily", s->work.zone, NULL, 0, &next_ms, 1, &found) != CELLAR_OK) {
        char why[CLI_NOTE / 2];
        (void)snprintf(why, sizeof why, "no zone file here for \"%s\": correct it, install tzdata, "
                       "or write an offset such as +08:00", s->work.zone);
        check_fit(r, CELLAR_LOG_WARNING, "tz", why);
    }
}

/* Check one file. Return false if it cannot be read or checked, with *code. */
static bool check_file(check_run *r, const char *file, int *code)
{
    cellar_settings s = cellar_settings_default();
    cellar_policy_rule *rules = NULL;
    size_t count;
    cellar_policy_opts o = { .struct_size = sizeof o, .lint = 1 };
    cellar_err err = CELLAR_OK;
    if (r->settings) {
        r->file = file, r->what = "settings";
        err = cellar_settings_read(&s, file, NULL, 0, check_note, r);
        if (err == CELLAR_OK) { check_together(r, &s); }
        file = s.policy_file; /* "" after an error */
    }
    if (!r->settings || file[0] != '\0') {
        r->file = file, r->what = "policies";
        err = cellar_policy_read(file, &o, check_note, r, &rules, &count);
        cellar_free(rules);
    }
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
    r.file = "";
    if (r.settings) { cli_variables(check_note, &r); }
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
    "              also of settings that do not fit together and of their policy file; warnings\n"
    "              for a tz without a zone file here, and for variables CELLAR_.. of the\n"
    "              environment that are no setting; notes for names without effect\n"
    "  --strict    exit with 1 for warnings, too\n"
    "  --json      print all of it as JSON, one object a line\n"
    "  --help      print this text\n"
    "\n"
    "Exit codes: 0 no errors, 1 errors, or warnings with --strict, 2 wrong usage or a file that\n"
    "            cannot be read, 3 out of memory.\n",
    check_run_command
};
