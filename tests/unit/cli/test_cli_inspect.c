/* SPDX-License-Identifier: MIT
 *
 * Aim:    `cellar inspect` prints a summary, rows on request, the right exit code and errors with
 *         a remedy; it changes no byte of a directory.
 * Method: stores made through the public calls, closed, killed or open; the command called with
 *         its output in files; every file compared with its copy. */
#include "tests/support/folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/directory.c"
#include "cli/inspect.c"
#include "cli/layer.c"
#include "cli/program.c"
#include "cli/error.c"
#include "cli/text.c"
#include "cellar.h"
#include "cellar_load.h"
#include "cellar_admin.h"
#include "tests/support/settings.h"

static char folder[T_FOLDER_MAX], store[300], said[400], complained[400], copy[400];

static const unsigned char secret[32] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 };

static void shell(const char *format, const char *a, const char *b)
{
    char command[1000];
    snprintf(command, sizeof command, format, a, b);
    T_REQUIRE(system(command) == 0);
}

static void begin(void)
{
    t_folder(folder);
    snprintf(store, sizeof store, "%s/store", folder);
    snprintf(said, sizeof said, "%s/said", folder);
    snprintf(complained, sizeof complained, "%s/complained", folder);
    snprintf(copy, sizeof copy, "%s/copy", folder);
}

static void end(void) { shell("rm -rf '%s'%s", folder, ""); }

static cellar *open_store(void)
{
    settings cfg = settings_default();
    cellar *c = NULL;
    cfg.config.memory_bytes = 8u << 20;
    cfg.config.l2_path = store;
    cfg.config.l2_bytes = CELLAR_L2_BYTES_MIN;
    cfg.host.no_threads = 1;
    cfg.tuning.hash_key = secret;
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    while (cellar_tick(c, 100000, NULL) == CELLAR_PENDING) {}
    return c;
}

static void fill(cellar *c, unsigned keys)
{
    cellar *v = NULL;
    cellar_namespace_config vc = { .struct_size = sizeof vc, .l2_write = CELLAR_L2_WRITE_ON_SET };
    T_REQUIRE(cellar_namespace_open(c, "people", &vc, &v) == CELLAR_OK);
    for (unsigned i = 0; i < keys; i++) {
        char key[16], value[64];
        snprintf(key, sizeof key, "key-%u", i);
        memset(value, (int)('a' + i % 26), sizeof value);
        T_EQ_I64(cellar_set(v, key, strlen(key), value, sizeof value, NULL), CELLAR_OK);
    }
    T_EQ_I64(cellar_delete(v, "key-0", 5), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
}

static void make_store(void)
{
    cellar *c = open_store();
    fill(c, 1000);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

/* Run the command with these options, split at blanks, and a path, NULL: none. Its output goes to
 * `said` and `complained`. Return its exit code. */
static int run(const char *options, const char *path)
{
    static char words[1000];
    char *argv[8] = { words }, *rest = words;
    int argc = 0;
    snprintf(words, sizeof words, "inspect %s %s", options, path != NULL ? path : "");
    for (char *w; (w = strtok_r(rest, " ", &rest)) != NULL;) { argv[argc++] = w; }
    fflush(stdout);
    const int out = dup(1), err = dup(2);
    const int to = open(said, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    const int bad = open(complained, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    T_REQUIRE(out >= 0 && err >= 0 && dup2(to, 1) == 1 && dup2(bad, 2) == 2);
    const cli_terminal term = { false, false };
    const int code = cli_inspect.run(argc, argv, &term);
    fflush(stdout);
    T_REQUIRE(dup2(out, 1) == 1 && dup2(err, 2) == 2);
    close(to), close(bad), close(out), close(err);
    return code;
}

static bool in_file(const char *path, const char *what)
{
    char command[1000];
    snprintf(command, sizeof command, "grep -q -- '%s' '%s'", what, path);
    return system(command) == 0;
}

static bool says(const char *what) { return in_file(said, what); }
static bool complains(const char *what) { return in_file(complained, what); }

static bool says_nothing(void) { struct stat st; return stat(said, &st) == 0 && st.st_size == 0; }

/* Run the command on the store, and compare every file with a copy made before. */
static int run_and_compare(const char *options)
{
    shell("rm -rf '%2$s'; cp -a '%1$s' '%2$s'", store, copy);
    const int code = run(options, store);
    shell("diff -r '%s' '%s' >/dev/null", store, copy);
    return code;
}

static void flip(const char *name, long at)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s", store, name);
    FILE *f = fopen(path, "r+b");
    T_REQUIRE(f != NULL && fseek(f, at, SEEK_SET) == 0);
    const int c = fgetc(f);
    T_REQUIRE(c != EOF && fseek(f, at, SEEK_SET) == 0);
    fputc(c ^ 1, f);
    fclose(f);
}

/* Return the place of a value: 20,000 bytes behind the first byte of data.seg that is not 0. */
static long a_value(void)
{
    char path[400];
    snprintf(path, sizeof path, "%s/data.seg", store);
    FILE *f = fopen(path, "rb");
    T_REQUIRE(f != NULL);
    while (fgetc(f) == 0) {}
    const long at = ftell(f) + 20000;
    fclose(f);
    return at;
}

static unsigned lines_said(void)
{
    unsigned n = 0;
    FILE *f = fopen(said, "r");
    T_REQUIRE(f != NULL);
    while (fscanf(f, "%*[^\n]%*c") != EOF) { n++; }
    fclose(f);
    return n;
}

#define STORE(fn) T_WITHIN(fn, begin(), end())

T_CASE_ON(summary_has_at_most_15_lines, STORE)
{
    make_store();
    T_EQ_I64(run_and_compare(""), CLI_DONE);
    T_CHECK(lines_said() >= 9 && lines_said() <= 15);
    T_CHECK(says("format 4.0, store [0-9a-f]*-"));
    T_CHECK(says("^state  *closed; sync level manual$"));
    T_CHECK(says("^superblock  *20[0-9-]* [0-9:]* UTC (.*, 2 of 2 copies good)$"));
    T_CHECK(says("^segments  *[0-9]* of [0-9.]* [KM]iB: [0-9]* sealed, 0 half written, "
                 "[0-9]* free$"));
    T_CHECK(says("^namespaces  *[12]$"));
    T_CHECK(says("^records  *[0-9,]*: 999 live at most, 1 tombstones$"));
    T_CHECK(says("^bytes  *[0-9.]* [KM]iB live at most, "));
    T_CHECK(says("--verify checks every record") && says("^damage  *none found$"));
    T_CHECK(!says("^namespace  *people") && !says("^segment  *place"));
}

T_CASE_ON(segments_option_adds_a_row_each, STORE)
{
    make_store();
    T_EQ_I64(run_and_compare(""), CLI_DONE);
    const unsigned summary = lines_said();
    T_EQ_I64(run("--segments", store), CLI_DONE);
    T_CHECK(lines_said() >= summary + 3);
    T_CHECK(says("^namespace  *people: id ") && says("^segment  *place  *records  *live"));
    T_CHECK(says("^[1-9][0-9]*  *[0-9]*  *[0-9]*  *[0-9]*  .* [KM]iB"));
    T_EQ_I64(run("--segment", store), CLI_DONE);
}

T_CASE_ON(verify_keys_and_json_print_every_live_record, STORE)
{
    make_store();
    T_EQ_I64(run_and_compare("--verify --keys"), CLI_DONE);
    T_CHECK(says("^key people/key-999  64 B  no expiry$") && !says("key-0 "));
    T_CHECK(says("999 live, ") && says("^checked  *every record; "));
    T_EQ_I64(run_and_compare("--json --verify"), CLI_DONE);
    T_CHECK(says("^{\"super\":") && says("^{\"namespace\":\"people\",") && says("^{\"segment\":"));
    T_CHECK(says("^{\"total\":[0-9]*,\"live\":999,") && says("\"damage\":0}$"));
    T_EQ_I64(run_and_compare("--json --keys"), CLI_DONE);
    T_CHECK(says("^{\"key\":\"key-7\",\"hex\":\"6b65792d37\",\"namespace\":\"people\","
                 "\"value_bytes\":64,\"left_ms\":-1,"));
}

T_CASE_ON(keys_of_any_bytes_and_times_are_printed, STORE)
{
    cellar *c = open_store();
    cellar_set_opts o = cellar_set_opts_default();
    o.ttl_ms = INT64_C(92233720368000); /* more than 2^64 ns */
    T_EQ_I64(cellar_set(c, "a\0b", 3, "1", 1, NULL), CELLAR_OK);
    T_EQ_I64(cellar_set(c, "c\xc2\x9b" "2J", 5, "1", 1, NULL), CELLAR_OK);
    T_EQ_I64(cellar_set(c, "far", 3, "1", 1, &o), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    T_EQ_I64(run("--keys", store), CLI_DONE);
    T_CHECK(says("^key /a?b  1 B") && says("^key /c?2J  1 B")); /* U+009B begins a command */
    T_CHECK(says("^key /far  1 B  922337203[0-6][0-9]\\.[0-9] s$"));
    T_EQ_I64(run("--keys --json", store), CLI_DONE);
    T_CHECK(says("^{\"key\":\"a\\\\ufffdb\",\"hex\":\"610062\","));
}

/* The record of a compressed value is shorter, and that of a value in parts has none of it. */
T_CASE_ON(keys_have_the_length_of_their_value, STORE)
{
    static char value[3 << 20];
    cellar *c = open_store(), *v = NULL;
    cellar_namespace_config o = { .struct_size = sizeof o, .l2_lz4 = 1 };
    T_REQUIRE(cellar_namespace_open(c, "small", &o, &v) == CELLAR_OK);
    T_EQ_I64(cellar_set(v, "packed", 6, value, 20000, NULL), CELLAR_OK);
    T_EQ_I64(cellar_set(c, "parts", 5, value, sizeof value, NULL), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    T_EQ_I64(run("--keys --json", store), CLI_DONE);
    T_CHECK(says("^{\"key\":\"packed\",.*\"value_bytes\":20000,"));
    T_CHECK(says("^{\"key\":\"parts\",.*\"value_bytes\":3145728,"));
}

T_CASE_ON(parts_of_a_value_end_with_it, STORE)
{
    static char value[3 << 20];
    cellar *c = open_store();
    T_EQ_I64(cellar_set(c, "parts", 5, value, sizeof value, NULL), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    T_EQ_I64(run("--verify", store), CLI_DONE);
    T_CHECK(says("^bytes  *3.00 MiB live"));
    c = open_store();
    T_EQ_I64(cellar_clear(c), CELLAR_OK);
    T_EQ_I64(cellar_set(c, "new", 3, "1", 1, NULL), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    T_EQ_I64(run("--verify", store), CLI_DONE);
    T_CHECK(says("^records .*: 1 live,") && says("^bytes  *[0-9]* B live, 3.00 MiB dead"));
}

T_CASE_ON(killed_store_has_no_damage, STORE)
{
    const pid_t child = fork();
    T_REQUIRE(child >= 0);
    if (child == 0) {
        cellar *c = open_store();
        fill(c, 500);
        _exit(0); /* as a kill: nothing is closed */
    }
    int status;
    T_REQUIRE(waitpid(child, &status, 0) == child && status == 0);
    T_EQ_I64(run_and_compare("--verify"), CLI_DONE);
    T_CHECK(says("^state  *open or killed") && says("499 live") && says("none found"));
    cellar *c = open_store();
    cellar *v = NULL;
    T_EQ_I64(cellar_namespace_open(c, "people", NULL, &v), CELLAR_OK);
    char value[64];
    size_t len;
    T_EQ_I64(cellar_get(v, "key-499", 7, value, sizeof value, &len), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

T_CASE_ON(store_in_use_is_refused_without_force, STORE)
{
    cellar *c = open_store();
    fill(c, 100);
    T_EQ_I64(run("", store), CLI_USAGE);
    T_CHECK(complains("a running program has it open") && says_nothing());
    T_EQ_I64(run("--force", store), CLI_DONE);
    T_CHECK(says("99 live"));
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

T_CASE_ON(damage_is_a_finding, STORE)
{
    make_store();
    flip("SUPER", 300);
    T_EQ_I64(run_and_compare(""), CLI_FINDING);
    T_CHECK(says("1 of 2 superblocks"));
    flip("SUPER", 300);
    T_EQ_I64(run_and_compare(""), CLI_DONE);
    flip("data.seg", a_value()); /* in a value: found by its check; the open takes its row */
    T_EQ_I64(run_and_compare("--verify --json"), CLI_FINDING);
    T_CHECK(says("\"records_damaged\":1,"));
    flip("data.seg", a_value());
    char path[400];
    snprintf(path, sizeof path, "%s/data.seg", store);
    T_REQUIRE(truncate(path, 4096) == 0);
    T_EQ_I64(run_and_compare("--verify --json"), CLI_FINDING);
    T_CHECK(says("\"files_short\":1,"));
}

T_CASE_ON(refusal_names_cause_and_remedy, STORE)
{
    T_EQ_I64(run("", "/nowhere/at/all"), CLI_USAGE);
    T_CHECK(complains("^cellar: inspect: cannot read /nowhere/at/all: no such file or folder; "
                      "name ") && says_nothing());
    T_EQ_I64(run("", folder), CLI_USAGE);
    T_CHECK(complains("no store of cellar; name the l2_path") && says_nothing());
    T_EQ_I64(run("", said), CLI_USAGE);
    T_CHECK(complains("not a folder"));
    make_store();
    flip("SUPER", 300);
    flip("SUPER", 4096 + 300);
    T_EQ_I64(run_and_compare(""), CLI_USAGE);
    T_CHECK(complains("both copies of its superblock are damaged") && says_nothing());
    flip("SUPER", 1);
    flip("SUPER", 4096 + 1);
    T_EQ_I64(run_and_compare(""), CLI_USAGE);
    T_CHECK(complains("no store of cellar"));
    T_EQ_I64(run("", NULL), CLI_USAGE);
    T_CHECK(complains("takes one directory (got 0)"));
    T_EQ_I64(run("--help", NULL), CLI_DONE);
    T_CHECK(says("^Usage: cellar inspect"));
}

T_ONE_THREAD;
T_MAIN("cli_inspect")
