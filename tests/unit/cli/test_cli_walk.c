/* SPDX-License-Identifier: MIT
 *
 * Aim:    the walk finds exactly the regular files, in order, never leaves the folder, and counts
 *         what it skips; numbers are printed with separators and units.
 * Method: a folder made here with every kind of file; links that point out, around and nowhere;
 *         files replaced between list and read. */
#include "tests/support/t.h"

#include "cli/text.c"
#include "cli/walk.c"

static char root[64];

static void in_root(char *out, size_t cap, const char *name)
{
    snprintf(out, cap, "%s/%s", root, name);
}

static void put(const char *name, const char *text)
{
    char path[512];
    in_root(path, sizeof path, name);
    FILE *f = fopen(path, "w");
    T_REQUIRE(f != NULL);
    fputs(text, f);
    fclose(f);
}

static void folder(const char *name)
{
    char path[512];
    in_root(path, sizeof path, name);
    T_REQUIRE(mkdir(path, 0700) == 0);
}

static void enter_root(void)
{
    snprintf(root, sizeof root, "/tmp/cellar-walk-XXXXXX");
    T_REQUIRE(mkdtemp(root) != NULL);
}

static void leave_root(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", root);
    T_CHECK(system(command) == 0);
}

static const cli_limits no_limits = { UINT64_MAX, UINT64_MAX, UINT64_MAX };

static void add_text(void *ctx, const unsigned char *p, size_t n)
{
    char *end = (char *)ctx + strlen(ctx);
    memcpy(end, p, n);
    end[n] = '\0';
}

static cli_skip read_into(const cli_files *f, size_t i, char *out)
{
    unsigned char buf[3]; /* small on purpose: several pieces */
    out[0] = '\0';
    return cli_file_read(f, &f->file[i], UINT64_MAX, buf, sizeof buf, add_text, out);
}

static void finds_regular_files_in_order_and_counts_the_rest(void)
{
    char path[512], text[64];
    enter_root();
    folder("b");
    folder("b/deep");
    folder("empty folder");
    put("b/deep/x", "deep x");
    put("b/a", "b a");
    put("z", "last");
    put("a", "first");
    put("nothing", "");
    in_root(path, sizeof path, "link");
    T_REQUIRE(symlink("z", path) == 0);
    in_root(path, sizeof path, "loop");
    T_REQUIRE(symlink(".", path) == 0);
    in_root(path, sizeof path, "b/out");
    T_REQUIRE(symlink("/etc", path) == 0);
    in_root(path, sizeof path, "dangling");
    T_REQUIRE(symlink("/nowhere/at/all", path) == 0);
    in_root(path, sizeof path, "fifo");
    T_REQUIRE(mkfifo(path, 0600) == 0);

    cli_files f;
    T_EQ_I64(cli_files_open(&f, root, &no_limits), 0);
    static const char *const want[] = { "a", "b/a", "b/deep/x", "z" };
    T_REQUIRE(f.count == 4);
    for (size_t i = 0; i < 4; i++) { T_EQ_STR(f.file[i].path, want[i]); }
    T_EQ_U64(f.bytes, 5 + 3 + 6 + 4);
    T_EQ_U64(f.skipped[CLI_SKIP_SYMLINK], 4);
    T_EQ_U64(f.skipped[CLI_SKIP_SPECIAL], 1);
    T_EQ_U64(f.skipped[CLI_SKIP_EMPTY], 1);
    T_EQ_U64(f.skipped[CLI_SKIP_UNREADABLE], 0);
    T_EQ_I64(f.cut, CLI_CUT_NONE);
    T_EQ_I64(read_into(&f, 2, text), CLI_SKIP_COUNT);
    T_EQ_STR(text, "deep x");
    cli_files_close(&f);
    leave_root();
}

static void limits_cut_the_list_at_the_same_place(void)
{
    enter_root();
    for (int i = 0; i < 30; i++) {
        char name[16];
        snprintf(name, sizeof name, "f%02d", i);
        put(name, "0123456789");
    }
    put("aaa large", "0123456789012345678901234567890123456789012345678901234567890123456789");
    cli_files f;
    cli_limits limits = { 7, UINT64_MAX, UINT64_MAX };
    T_EQ_I64(cli_files_open(&f, root, &limits), 0);
    T_EQ_U64(f.count, 7);
    T_EQ_I64(f.cut, CLI_CUT_FILES);
    T_EQ_STR(f.file[6].path, "f05");
    cli_files_close(&f);
    limits = (cli_limits){ 31, UINT64_MAX, UINT64_MAX };
    T_EQ_I64(cli_files_open(&f, root, &limits), 0);
    T_EQ_U64(f.count, 31);
    T_EQ_I64(f.cut, CLI_CUT_NONE); /* the limit equals the number of files */
    cli_files_close(&f);
    limits = (cli_limits){ UINT64_MAX, 55, UINT64_MAX };
    T_EQ_I64(cli_files_open(&f, root, &limits), 0);
    T_EQ_U64(f.count, 5);
    T_EQ_U64(f.bytes, 50);
    T_EQ_I64(f.cut, CLI_CUT_BYTES);
    T_EQ_U64(f.skipped[CLI_SKIP_LARGE], 1); /* larger than the limit: skipped, no cut */
    cli_files_close(&f);
    limits = (cli_limits){ UINT64_MAX, UINT64_MAX, 1 };
    T_EQ_I64(cli_files_open(&f, root, &limits), 0);
    T_EQ_U64(f.count, 0);
    T_EQ_I64(f.cut, CLI_CUT_TIME);
    cli_files_close(&f);
    leave_root();
}

static void folders_below_the_depth_limit_are_counted(void)
{
    char path[4096];
    enter_root();
    size_t len = (size_t)snprintf(path, sizeof path, "%s", root);
    for (int i = 0; i < 300; i++) {
        len += (size_t)snprintf(path + len, sizeof path - len, "/d");
        T_REQUIRE(mkdir(path, 0700) == 0);
    }
    put("top", "x");
    cli_files f;
    T_EQ_I64(cli_files_open(&f, root, &no_limits), 0);
    T_EQ_U64(f.count, 1);
    T_EQ_U64(f.skipped[CLI_SKIP_DEEP], 1);
    cli_files_close(&f);
    leave_root();
}

static void file_changed_after_the_list_is_skipped(void)
{
    char a[512], b[512], text[256];
    enter_root();
    folder("d");
    put("d/gone", "gone");
    put("d/link", "link");
    put("d/other", "other");
    put("d/written", "written");
    cli_files f;
    T_EQ_I64(cli_files_open(&f, root, &no_limits), 0);
    T_REQUIRE(f.count == 4);
    in_root(a, sizeof a, "d/gone");
    T_REQUIRE(unlink(a) == 0);
    in_root(a, sizeof a, "d/link");
    T_REQUIRE(unlink(a) == 0 && symlink("/etc/passwd", a) == 0);
    put("d/other.new", "other");
    in_root(a, sizeof a, "d/other.new");
    in_root(b, sizeof b, "d/other");
    T_REQUIRE(rename(a, b) == 0);
    put("d/written", "written, longer");
    T_EQ_I64(read_into(&f, 0, text), CLI_SKIP_VANISHED);
    T_EQ_I64(read_into(&f, 1, text), CLI_SKIP_UNREADABLE);
    T_EQ_I64(read_into(&f, 2, text), CLI_SKIP_VANISHED);
    T_EQ_I64(read_into(&f, 3, text), CLI_SKIP_CHANGED);

    /* A link to a folder with the same names replaces the folder. */
    put("d/fresh", "ours");
    cli_files_close(&f);
    T_EQ_I64(cli_files_open(&f, root, &no_limits), 0);
    T_EQ_STR(f.file[0].path, "d/fresh");
    folder("elsewhere");
    put("elsewhere/fresh", "not ours");
    in_root(a, sizeof a, "d");
    in_root(b, sizeof b, "moved");
    T_REQUIRE(rename(a, b) == 0 && symlink("elsewhere", a) == 0);
    T_EQ_I64(read_into(&f, 0, text), CLI_SKIP_VANISHED);
    T_EQ_STR(text, "");
    cli_files_close(&f);
    leave_root();
}

static void unreadable_files_and_folders_are_counted(void)
{
    char path[512], text[64];
    enter_root();
    put("secret", "x");
    in_root(path, sizeof path, "secret");
    T_REQUIRE(chmod(path, 0) == 0);
    folder("closed");
    in_root(path, sizeof path, "closed");
    T_REQUIRE(chmod(path, 0) == 0 && chmod(root, 0755) == 0);
    /* Root reads every file: act as another user here. */
    const uid_t me = geteuid();
    T_REQUIRE(me != 0 || seteuid(65534) == 0);
    cli_files f;
    T_EQ_I64(cli_files_open(&f, root, &no_limits), 0);
    T_EQ_U64(f.count, 1);
    T_EQ_U64(f.skipped[CLI_SKIP_UNREADABLE], 1);
    T_EQ_I64(read_into(&f, 0, text), CLI_SKIP_UNREADABLE);
    cli_files_close(&f);
    T_REQUIRE(seteuid(me) == 0);
    T_REQUIRE(chmod(path, 0700) == 0);
    leave_root();
}

static void deadline_stops_a_read_inside_a_file(void)
{
    unsigned char buf[2];
    char text[64] = "";
    enter_root();
    put("long", "0123456789");
    cli_files f;
    T_EQ_I64(cli_files_open(&f, root, &no_limits), 0);
    T_EQ_I64(cli_file_read(&f, &f.file[0], 1, buf, sizeof buf, add_text, text), CLI_SKIP_LATE);
    T_EQ_STR(text, "01");
    cli_files_close(&f);
    leave_root();
}

static void missing_folder_gives_its_errno(void)
{
    cli_files f;
    T_EQ_I64(cli_files_open(&f, "/nowhere/at/all", &no_limits), ENOENT);
    cli_files_close(&f);
    T_EQ_I64(cli_files_open(&f, "/etc/passwd", &no_limits), ENOTDIR);
    cli_files_close(&f);
}

static void numbers_have_separators_and_units(void)
{
    char out[CLI_TEXT];
    T_EQ_STR(cli_count(out, 0), "0");
    T_EQ_STR(cli_count(out, 999), "999");
    T_EQ_STR(cli_count(out, 20000), "20,000");
    T_EQ_STR(cli_count(out, UINT64_MAX), "18,446,744,073,709,551,615");
    T_EQ_STR(cli_bytes(out, 1023), "1023 B");
    T_EQ_STR(cli_bytes(out, 1536), "1.50 KiB");
    T_EQ_STR(cli_bytes(out, 64u << 20), "64.0 MiB");
    T_EQ_STR(cli_bytes(out, UINT64_MAX), "16777215.9 TiB");
    T_EQ_STR(cli_duration(out, 5), "5 ns");
    T_EQ_STR(cli_duration(out, 61234), "61.2 us");
    T_EQ_STR(cli_duration(out, 1500000000), "1.50 s");
    T_EQ_STR(cli_percent(out, 1, 1), "100.0 %");
    T_EQ_STR(cli_percent(out, 99999, 100000), "99.9 %");
    T_EQ_STR(cli_percent(out, 0, 0), "0.0 %");
}

static void sizes_are_parsed_strictly(void)
{
    static const struct { const char *text; bool fine; uint64_t bytes; } v[] = {
        { "1", true, 1 }, { "16M", true, 16u << 20 }, { "2g", true, (uint64_t)2 << 30 },
        { "16777215T", true, (uint64_t)16777215 << 40 }, { "16777216T", false, 0 },
        { "18446744073709551615", true, UINT64_MAX }, { "18446744073709551616", false, 0 },
        { "", false, 0 }, { "-1", false, 0 }, { " 1", false, 0 }, { "1MB", false, 0 },
        { "1.5M", false, 0 }, { "M", false, 0 }, { "0x10", false, 0 },
    };
    uint64_t n = 0;
    for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
        T_CHECK(cli_parse_bytes(v[i].text, &n) == v[i].fine);
        if (v[i].fine) { T_EQ_U64(n, v[i].bytes); }
    }
    T_CHECK(cli_parse_count("64", 1, 64, &n) && n == 64);
    T_CHECK(!cli_parse_count("65", 1, 64, &n));
    T_CHECK(!cli_parse_count("0", 1, 64, &n));
    T_CHECK(!cli_parse_count("2x", 1, 64, &n));
}

static void strings_are_escaped_for_json_and_terminal(void)
{
    static const struct { const char *in, *json, *plain; } v[] = {
        { "a\"b\\c", "\"a\\\"b\\\\c\"", "a\"b\\c" },
        { "\x1b[31m\n", "\"\\u001b[31m\\u000a\"", "?[31m?" },
        { "\xc3\xa9", "\"\xc3\xa9\"", "\xc3\xa9" },
        { "x\xff\xe2\x82", "\"x\\ufffd\\ufffd\\ufffd\"", "x\xff\xe2\x82" },
    };
    for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) {
        char out[128] = "";
        FILE *f = fmemopen(out, sizeof out, "w");
        T_REQUIRE(f != NULL);
        cli_json_string(f, v[i].in);
        fclose(f);
        T_EQ_STR(out, v[i].json);
        memset(out, 0, sizeof out);
        f = fmemopen(out, sizeof out, "w");
        T_REQUIRE(f != NULL);
        cli_plain(f, v[i].in);
        fclose(f);
        T_EQ_STR(out, v[i].plain);
    }
}

T_MAIN("cli_walk", T_CASE(finds_regular_files_in_order_and_counts_the_rest),
       T_CASE(limits_cut_the_list_at_the_same_place),
       T_CASE(folders_below_the_depth_limit_are_counted),
       T_CASE(file_changed_after_the_list_is_skipped),
       T_CASE(unreadable_files_and_folders_are_counted),
       T_CASE(deadline_stops_a_read_inside_a_file), T_CASE(missing_folder_gives_its_errno),
       T_CASE(numbers_have_separators_and_units), T_CASE(sizes_are_parsed_strictly),
       T_CASE(strings_are_escaped_for_json_and_terminal))
