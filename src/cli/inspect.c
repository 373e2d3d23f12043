/* SPDX-License-Identifier: MIT
 *
 * inspect: print what the directory of a disk tier holds: records, live bytes, damage.
 *
 * WALK       directory_inspect reads the directory and reports rows. The rows are kept and printed
 *            after the last read: a directory that cannot be read prints nothing to stdout. With
 *            --keys the keys are printed as they are read: there may be millions.
 * INVARIANTS No byte of the directory changes.
 * FORMAT     For people: a summary; with --segments one more row for each namespace and segment.
 *            JSON: one object a line: {"super":..} {"namespace":..} {"segment":..} {"key":..}
 *            {"total":..}. A key is text with U+FFFD for a zero byte and for what is not UTF-8, 255
 *            bytes at most, and hexadecimal.
 * SEE ALSO   directory.c: what "live" and "damage" mean. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/directory.h"

typedef struct inspect_namespace {
    l2_namespace v;
    char name[L2_NAME_MAX + 1];
} inspect_namespace;

typedef struct inspect_run {
    int verify, segments, keys, json, force; /* options: 0, or not */
    inspect_namespace *space; /* rows, in the order of the report */
    size_t space_count, space_cap;
    directory_segment *segment; /* rows, oldest first */
    size_t segment_count, segment_cap;
    bool no_memory; /* a row was lost */
} inspect_run;

static const char *const inspect_levels[] = { "manual", "periodic", "always" }; /* by l2_level */

/* Make room for one more row of `size` bytes. Without memory set r->no_memory, return false. */
static bool inspect_room(inspect_run *r, void **rows, size_t size, size_t count, size_t *cap)
{
    if (count < *cap) { return true; }
    const size_t more = *cap == 0 ? 64 : *cap * 2;
    void *p = realloc(*rows, more * size);
    if (p == NULL) {
        r->no_memory = true;
        return false;
    }
    *rows = p;
    *cap = more;
    return true;
}

static void inspect_on_namespace(void *ctx, const l2_namespace *v, const char *name,
                                 size_t name_len)
{
    inspect_run *r = ctx;
    void *rows = r->space;
    if (!inspect_room(r, &rows, sizeof *r->space, r->space_count, &r->space_cap)) { return; }
    r->space = rows;
    inspect_namespace *row = &r->space[r->space_count++];
    memset(row, 0, sizeof *row);
    row->v = *v;
    memcpy(row->name, name, name_len); /* at most L2_NAME_MAX */
}

static void inspect_on_segment(void *ctx, const directory_segment *s)
{
    inspect_run *r = ctx;
    void *rows = r->segment;
    if (!inspect_room(r, &rows, sizeof *r->segment, r->segment_count, &r->segment_cap)) { return; }
    r->segment = rows;
    r->segment[r->segment_count++] = *s;
}

/* ---- times ---- */

/* Write a time in UTC, "2026-11-20 14:03:59"; "-" for 0. */
static const char *inspect_time(char out[CLI_TEXT], int64_t wall_ms)
{
    struct tm tm;
    const time_t t = (time_t)(wall_ms / 1000);
    if (wall_ms == 0 || gmtime_r(&t, &tm) == NULL) { return "-"; }
    (void)snprintf(out, CLI_TEXT, "%04d-%02d-%02d %02d:%02d:%02d", tm.tm_year + 1900, tm.tm_mon + 1,
                   tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
    return out;
}

static void inspect_uuid(char out[CLI_TEXT], const unsigned char uuid[16])
{
    static const char digit[] = "0123456789abcdef";
    char *to = out;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) { *to++ = '-'; }
        *to++ = digit[uuid[i] >> 4];
        *to++ = digit[uuid[i] & 15];
    }
    *to = '\0';
}

/* ---- keys ---- */

/* Write the time left of a key. In ns it may not fit. */
static const char *inspect_left(char out[CLI_TEXT], int64_t ms)
{
    if (ms < 0) { return "no expiry"; }
    if (ms < 10000) { return cli_duration(out, (uint64_t)ms * 1000000u); }
    (void)snprintf(out, CLI_TEXT, "%" PRId64 ".%d s", ms / 1000, (int)(ms % 1000 / 100));
    return out;
}

static void inspect_on_key(void *ctx, const directory_record *k)
{
    inspect_run *r = ctx;
    char text[256], space[L2_NAME_MAX + 1] = "", time[CLI_TEXT];
    const size_t n = k->key_len < sizeof text - 1 ? k->key_len : sizeof text - 1;
    memcpy(text, k->key, n);
    for (size_t i = 0; i < n; i++) { /* a zero byte would end the text */
        if (text[i] == '\0') { text[i] = r->json ? '\xff' : '?'; }
    }
    text[n] = '\0';
    memcpy(space, k->namespace, k->namespace_len); /* at most L2_NAME_MAX */
    if (!r->json) {
        fputs("key ", stdout);
        cli_plain(stdout, space);
        putchar('/');
        cli_plain(stdout, text);
        printf("%s  %" PRIu64 " B  %s\n", n < k->key_len ? ".." : "", k->value_len,
               inspect_left(time, k->left_ms));
        return;
    }
    fputs("{\"key\":", stdout);
    cli_json_string(stdout, text);
    fputs(",\"hex\":\"", stdout);
    for (size_t i = 0; i < k->key_len; i++) { printf("%02x", k->key[i]); }
    fputs("\",\"namespace\":", stdout);
    cli_json_string(stdout, space);
    printf(",\"value_bytes\":%" PRIu64 ",\"left_ms\":%" PRId64 ",\"version\":%" PRIu64
           ",\"flags\":%" PRIu32 ",\"negative\":%s}\n", k->value_len, k->left_ms, k->version,
           k->user_flags, k->kind != 0 ? "true" : "false");
}

/* ---- for people ---- */

static int inspect_good_copies(const directory_report *p)
{
    return (p->super[0] == CELLAR_OK) + (p->super[1] == CELLAR_OK);
}

static void inspect_print_store(const char *dir, const directory_report *p)
{
    char id[CLI_TEXT], a[CLI_TEXT], b[CLI_TEXT], at[CLI_TEXT];
    inspect_uuid(id, p->uuid);
    cli_plain(stdout, dir);
    printf(": format %u.%u, store %s\n", p->major, p->minor, id);
    printf("state       %s; sync level %s\n",
           p->clean ? "closed" : "open or killed", inspect_levels[p->level]);
    /* Each open and close, and each minute between them, writes the superblock. */
    printf("superblock  %s UTC (number %" PRIu64 ", open %" PRIu64 ", %d of 2 copies good)\n",
           inspect_time(at, p->last_seen_wall_ms), p->serial, p->opens, inspect_good_copies(p));
    printf("size        %s configured, %s in files, granule %" PRIu32 " B\n",
           cli_bytes(a, p->l2_bytes), cli_bytes(b, p->file_bytes), p->granule_bytes);
    const uint32_t used = p->places_sealed + p->places_torn;
    printf("segments    %" PRIu32 " of %s: %" PRIu32 " sealed, %" PRIu32 " half written, %" PRIu32
           " free\n", p->seg_count, cli_bytes(a, p->seg_bytes), p->places_sealed, p->places_torn,
           p->seg_count > used ? p->seg_count - used : 0);
    if (p->begins_anew) {
        puts("next open   here it starts with an empty store: the store changed after its last\n"
             "            sync, and this is another boot, a copy of the directory, or a disk that\n"
             "            stopped before the process was killed");
    }
}

static void inspect_print_rows(const inspect_run *r)
{
    char a[CLI_TEXT], b[CLI_TEXT];
    for (size_t i = 0; i < r->space_count; i++) {
        const inspect_namespace *v = &r->space[i];
        fputs("namespace   ", stdout);
        cli_plain(stdout, v->name[0] != '\0' ? v->name : "(the root)");
        printf(": id %" PRIu32 ", generation %" PRIu64 ", version %" PRIu32 "\n", v->v.id,
               v->v.generation, v->v.version);
    }
    if (r->segment_count > 0) {
        puts("segment       place    records      live  live bytes  dead bytes");
    }
    for (size_t i = 0; i < r->segment_count; i++) {
        const directory_segment *s = &r->segment[i];
        printf("%-12" PRIu64 " %6" PRIu32 "  %9" PRIu32 " %9" PRIu32 "  %10s  %10s%s", s->segseq,
               s->place, s->records, s->live, cli_bytes(a, s->live_bytes),
               cli_bytes(b, s->dead_bytes), s->unreadable ? "  unreadable" : "");
        if (s->damaged > 0) { printf("  %" PRIu32 " damaged", s->damaged); }
        putchar('\n');
    }
}

static void inspect_print_records(const inspect_run *r, const directory_report *p)
{
    char n[3][CLI_TEXT];
    printf("namespaces  %s\n", cli_count(n[0], r->space_count));
    const char *most = r->verify || r->keys ? "live" : "live at most";
    printf("records     %s: %s %s, %s tombstones\n", cli_count(n[0], p->records),
           cli_count(n[1], p->live), most, cli_count(n[2], p->tombstones));
    printf("bytes       %s %s, %s dead\n", cli_bytes(n[0], p->live_bytes), most,
           cli_bytes(n[1], p->dead_bytes));
    if (r->verify) {
        printf("checked     every record; %s cleared, %s expired, %s invalidated\n",
               cli_count(n[0], p->old_generation), cli_count(n[1], p->expired),
               cli_count(n[2], p->ended));
    } else {
        puts("checked     the rows of the segments; --verify checks every record, also whether\n"
             "            it expired or was invalidated");
    }
}

static void inspect_print_damage(const directory_report *p)
{
    if (directory_damage(p) == 0) {
        puts("damage      none found");
        return;
    }
    printf("damage      %" PRIu64 " records, %" PRIu32 " segments unreadable, %" PRIu64
           " holes, %" PRIu64 " pages repaired, %" PRIu32 " files too short, %" PRIu64
           " read errors, %d of 2 superblocks\n", p->records_damaged, p->segments_damaged,
           p->holes, p->pages_healed, p->files_short, p->read_errors, 2 - inspect_good_copies(p));
}

/* ---- JSON ---- */

static void inspect_json(const char *dir, const inspect_run *r, const directory_report *p)
{
    char id[CLI_TEXT];
    inspect_uuid(id, p->uuid);
    fputs("{\"super\":", stdout);
    cli_json_string(stdout, dir);
    printf(",\"format\":\"%u.%u\",\"uuid\":\"%s\",\"good_copies\":%d,\"serial\":%" PRIu64
           ",\"opens\":%" PRIu64 ",\"clean\":%s,\"level\":\"%s\",\"segment_bytes\":%" PRIu32
           ",\"segments\":%" PRIu32 ",\"granule_bytes\":%" PRIu32 ",\"l2_bytes\":%" PRIu64
           ",\"file_bytes\":%" PRIu64 ",\"last_seen_wall_ms\":%" PRId64 ",\"begins_anew\":%s}\n",
           p->major, p->minor, id, inspect_good_copies(p), p->serial, p->opens,
           p->clean ? "true" : "false", inspect_levels[p->level], p->seg_bytes, p->seg_count,
           p->granule_bytes, p->l2_bytes, p->file_bytes, p->last_seen_wall_ms,
           p->begins_anew ? "true" : "false");
    for (size_t i = 0; i < r->space_count; i++) {
        fputs("{\"namespace\":", stdout);
        cli_json_string(stdout, r->space[i].name);
        printf(",\"id\":%" PRIu32 ",\"generation\":%" PRIu64 ",\"version\":%" PRIu32 "}\n",
               r->space[i].v.id, r->space[i].v.generation, r->space[i].v.version);
    }
    for (size_t i = 0; i < r->segment_count; i++) {
        const directory_segment *s = &r->segment[i];
        printf("{\"segment\":%" PRIu64 ",\"place\":%" PRIu32 ",\"data_end\":%" PRIu32
               ",\"records\":%" PRIu32 ",\"live\":%" PRIu32
               ",\"tombstones\":%" PRIu32 ",\"controls\":%" PRIu32 ",\"live_bytes\":%" PRIu64
               ",\"dead_bytes\":%" PRIu64 ",\"damaged\":%" PRIu32 ",\"unreadable\":%s}\n",
               s->segseq, s->place, s->data_end, s->records, s->live,
               s->tombstones, s->controls, s->live_bytes, s->dead_bytes, s->damaged,
               s->unreadable ? "true" : "false");
    }
    printf("{\"total\":%" PRIu64 ",\"live\":%" PRIu64 ",\"live_bytes\":%" PRIu64
           ",\"dead_bytes\":%" PRIu64 ",\"tombstones\":%" PRIu64 ",\"controls\":%" PRIu64
           ",\"segments\":%" PRIu32 ",\"verified\":%s,\"old_generation\":%" PRIu64
           ",\"expired\":%" PRIu64 ",\"ended\":%" PRIu64
           ",\"records_damaged\":%" PRIu64 ",\"segments_damaged\":%" PRIu32
           ",\"holes\":%" PRIu64 ",\"pages_mended\":%" PRIu64 ",\"files_short\":%" PRIu32
           ",\"read_errors\":%" PRIu64 ",\"damage\":%" PRIu64 "}\n",
           p->records, p->live, p->live_bytes, p->dead_bytes, p->tombstones, p->controls,
           p->segments, r->verify ? "true" : "false", p->old_generation, p->expired, p->ended,
           p->records_damaged, p->segments_damaged, p->holes, p->pages_healed, p->files_short,
           p->read_errors, directory_damage(p));
}

/* ---- the command ---- */

/* Print why `dir` cannot be inspected, and the remedy. Return the exit code. */
static int inspect_refused(const char *dir, cellar_err err, int sys_errno)
{
    const char *why = cellar_strerror(err);
    static const struct { cellar_err err; const char *why; } known[] = {
        { CELLAR_E_BUSY, "a running program has it open; stop the program, or use --force" },
        { CELLAR_E_FOREIGN, "it holds no store of cellar; name the l2_path of a store" },
        { CELLAR_E_NEWER_FORMAT, "another version of cellar or another kind of machine wrote it; "
                                 "use the cellar that wrote it" },
        { CELLAR_E_CORRUPT, "both copies of its superblock are damaged; restore a copy of the "
                            "directory, or delete it" },
        { CELLAR_E_NOMEM, "out of memory; it needs about 12 bytes a record" },
    };
    if (sys_errno != 0) { why = cli_errno_text(sys_errno); }
    if (sys_errno == ELOOP) { why = "the link or its target has another owner"; }
    if (sys_errno == EMLINK) { why = "more than 8 symbolic links lead to it"; }
    const char *remedy = "; name the directory itself";
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (err != known[i].err) { continue; }
        why = known[i].why;
        remedy = "";
    }
    cli_complain("inspect", "cannot read %s: %s%s", dir, why, remedy);
    return err == CELLAR_E_NOMEM ? CLI_NO_START : CLI_USAGE;
}

static int inspect_do(const char *dir, inspect_run *r)
{
    directory_report report;
    int sys_errno = 0;
    const directory_how how = {
        .path = dir, .verify = r->verify, .force = r->force, .namespace = inspect_on_namespace,
        .segment = inspect_on_segment, .record = r->keys ? inspect_on_key : NULL, .ctx = r,
    };
    const cellar_err err = directory_inspect(&how, &report, &sys_errno);
    if (err != CELLAR_OK) { return inspect_refused(dir, err, sys_errno); }
    if (r->no_memory) { return inspect_refused(dir, CELLAR_E_NOMEM, 0); }
    if (r->json) {
        inspect_json(dir, r, &report);
    } else {
        inspect_print_store(dir, &report);
        if (r->segments) { inspect_print_rows(r); }
        inspect_print_records(r, &report);
        inspect_print_damage(&report);
    }
    return directory_damage(&report) == 0 ? CLI_DONE : CLI_FINDING;
}

static int inspect_run_command(int argc, char **argv, const cli_terminal *term)
{
    inspect_run r;
    const struct option options[] = {
        { "verify", no_argument, &r.verify, 'v' }, { "segments", no_argument, &r.segments, 's' },
        { "keys", no_argument, &r.keys, 'k' }, { "json", no_argument, &r.json, 'j' },
        { "force", no_argument, &r.force, 'f' }, { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 }
    };
    (void)term;
    memset(&r, 0, sizeof r);
    int code = cli_options(&cli_inspect, argc, argv, options, NULL, NULL);
    if (code != CLI_GO_ON) { return code; }
    if (argc - optind != 1) {
        cli_complain("inspect", "takes one directory (got %d); name the l2_path of a store",
                     argc - optind);
        return CLI_USAGE;
    }
    code = inspect_do(argv[optind], &r);
    free(r.space);
    free(r.segment);
    return code;
}

const cli_command cli_inspect = {
    "inspect", "", "print what the directory of a disk tier holds; changes nothing",
    "Usage: cellar inspect [OPTION]... DIR\n"
    "\n"
    "Prints a summary of the disk tier in DIR: format version, superblock, segments by state,\n"
    "records, live and dead bytes, tombstones, damage. A record is live if the next open on this\n"
    "machine would serve it, with a place in its index for each record (mean_entry_bytes).\n"
    "Without --verify or --keys records that expired, or were cleared or invalidated, count as\n"
    "live, too. No byte of the directory changes.\n"
    "\n"
    "  --segments  print the namespaces and segments, too: one line each\n"
    "  --verify    read and check every record, not only the rows of the segments\n"
    "  --keys      list the live keys, too\n"
    "  --json      print all of it as JSON, one object a line; segments are always among it\n"
    "  --force     read even while a program has the store open; a change during the read may\n"
    "              then be printed as damage\n"
    "  --help      print this text\n"
    "\n"
    "Exit codes: 0 no damage, 1 damage found, 2 wrong usage or DIR cannot be read (no store,\n"
    "            newer format, in use, both superblocks damaged), 3 out of memory.\n",
    inspect_run_command
};
