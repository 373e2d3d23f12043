/* SPDX-License-Identifier: MIT
 *
 * inspect: a disk tier's directory, looked at from outside: what is there, what is live, what is
 * damaged. Nothing is written.
 *
 * WALK       l2_inspect does the reading; what it finds on the way is kept as rows and printed when
 *            all of it is known, so that a directory that cannot be read prints nothing to stdout.
 *            With --keys the rows of keys are printed as they come: there may be millions.
 * FORMAT     JSON: one object a line: {"super":..} {"view":..} {"segment":..} {"key":..}
 *            {"total":..}; keys as text with U+FFFD for what is not UTF-8, and as hexadecimal.
 * NOT HERE   the format, the recovery (src/l2). */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "l2/l2.h"

typedef struct inspect_view {
    l2_view v;
    char name[L2_NAME_MAX + 1];
} inspect_view;

typedef struct inspect_run {
    bool json, keys;
    inspect_view *view;
    size_t views, view_cap;
    l2_report_segment *segment;
    size_t segments, segment_cap;
    uint64_t keys_seen;
    bool no_memory;
} inspect_run;

static const char *const inspect_levels[] = { "drop", "keep", "always" };

/* Room for one more row of `size` bytes; false: no memory, and the run says so. */
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

static void inspect_on_view(void *ctx, const l2_view *v, const char *name, size_t name_len)
{
    inspect_run *r = ctx;
    void *rows = r->view;
    if (!inspect_room(r, &rows, sizeof *r->view, r->views, &r->view_cap)) { return; }
    r->view = rows;
    inspect_view *row = &r->view[r->views++];
    memset(row, 0, sizeof *row);
    row->v = *v;
    memcpy(row->name, name, name_len); /* at most L2_NAME_MAX */
}

static void inspect_on_segment(void *ctx, const l2_report_segment *s)
{
    inspect_run *r = ctx;
    void *rows = r->segment;
    if (!inspect_room(r, &rows, sizeof *r->segment, r->segments, &r->segment_cap)) { return; }
    r->segment = rows;
    r->segment[r->segments++] = *s;
}

/* ---- times ---- */

/* UTC, "2026-11-20 14:03:59"; "-" for none. */
static const char *inspect_time(char out[GATE_TEXT], int64_t wall_ms)
{
    struct tm tm;
    const time_t t = (time_t)(wall_ms / 1000);
    if (wall_ms == 0 || gmtime_r(&t, &tm) == NULL) { return "-"; }
    (void)snprintf(out, GATE_TEXT, "%04d-%02d-%02d %02d:%02d:%02d", tm.tm_year + 1900,
                   tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
    return out;
}

static void inspect_uuid(char out[GATE_TEXT], const unsigned char uuid[16])
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

static void inspect_on_key(void *ctx, const l2_report_record *k)
{
    inspect_run *r = ctx;
    char text[256], view[L2_NAME_MAX + 1] = "", time[GATE_TEXT];
    const size_t n = k->key_len < sizeof text - 1 ? k->key_len : sizeof text - 1;
    memcpy(text, k->key, n);
    text[n] = '\0';
    memcpy(view, k->view, k->view_len); /* at most L2_NAME_MAX */
    r->keys_seen++;
    if (!r->json) {
        fputs("key ", stdout);
        gate_plain(stdout, view);
        putchar('/');
        gate_plain(stdout, text);
        printf("%s  %" PRIu32 " B  %s\n", n < k->key_len ? ".." : "", k->value_len,
               k->left_ms < 0 ? "no end"
                              : gate_duration(time, (uint64_t)k->left_ms * UINT64_C(1000000)));
        return;
    }
    fputs("{\"key\":", stdout);
    gate_json_string(stdout, text);
    fputs(",\"hex\":\"", stdout);
    for (size_t i = 0; i < k->key_len; i++) { printf("%02x", k->key[i]); }
    fputs("\",\"view\":", stdout);
    gate_json_string(stdout, view);
    printf(",\"value_bytes\":%" PRIu32 ",\"left_ms\":%" PRId64 ",\"version\":%" PRIu64
           ",\"flags\":%" PRIu32 ",\"negative\":%s}\n", k->value_len, k->left_ms, k->version,
           k->user_flags, k->kind != 0 ? "true" : "false");
}

/* ---- for people ---- */

static void inspect_print_head(const char *dir, const l2_report *p)
{
    char id[GATE_TEXT], a[GATE_TEXT], b[GATE_TEXT], c[GATE_TEXT], at[GATE_TEXT];
    inspect_uuid(id, p->uuid);
    gate_plain(stdout, dir);
    printf(": format %u.%u, store %s\n", p->major, p->minor, id);
    printf("superblock  copies %s and %s, serial %" PRIu64 ", epoch %" PRIu64 ", %s, level %s\n",
           p->super[0] == CELLAR_OK ? "good" : "damaged",
           p->super[1] == CELLAR_OK ? "good" : "damaged", p->serial, p->epoch,
           p->clean ? "closed or synced cleanly" : "open or killed", inspect_levels[p->level]);
    printf("geometry    %" PRIu32 " segments of %s, %" PRIu32 " slots, %s asked for, granule %"
           PRIu32 " B\n", p->seg_count, gate_bytes(a, p->seg_bytes), p->slot_count,
           gate_bytes(b, p->l2_bytes), p->granule_bytes);
    printf("last seen   %s UTC; sealed places %" PRIu32 ", slots in use %" PRIu32
           ", files %s\n", inspect_time(at, p->last_seen_wall_ms), p->places_sealed,
           p->slots_used, gate_bytes(c, p->file_bytes));
    if (p->image_bytes != 0) {
        printf("filters     %" PRIu32 " in bloom.snap (%s), %s\n", p->images,
               gate_bytes(a, p->image_bytes),
               p->images_clean ? "of the close: believed" : "not of the last close: observing");
    }
    if (p->snap_bytes > 0) {
        printf("index       saved in index.snap (%s), %s\n", gate_bytes(a, p->snap_bytes),
               p->snap_fits ? "of the last close" : "not of the last close: an open ignores it");
    }
    if (p->begins_anew) {
        puts("the next open here begins an empty store: it was not synced since its last change,\n"
             "and this is another boot, or a copy of the directory, or the disk stood still and\n"
             "the process was killed meanwhile");
    }
}

static void inspect_print_rows(const inspect_run *r)
{
    char a[GATE_TEXT], b[GATE_TEXT], at[GATE_TEXT];
    for (size_t i = 0; i < r->views; i++) {
        const inspect_view *v = &r->view[i];
        fputs("view        ", stdout);
        gate_plain(stdout, v->name[0] != '\0' ? v->name : "(the root)");
        printf(": id %" PRIu32 ", generation %" PRIu32 ", version %" PRIu32 "\n", v->v.id,
               v->v.vgen, v->v.version);
    }
    if (r->segments > 0) {
        puts("segment       place  begun (UTC)          "
             "  records      live  live bytes  dead bytes");
    }
    for (size_t i = 0; i < r->segments; i++) {
        const l2_report_segment *s = &r->segment[i];
        printf("%-12" PRIu64 " %6" PRIu32 "  %-19s  %9" PRIu32 " %9" PRIu32 "  %10s  %10s%s",
               s->segseq, s->place, inspect_time(at, s->base_wall_ms), s->records, s->live,
               gate_bytes(a, s->live_bytes), gate_bytes(b, s->dead_bytes),
               s->unreadable ? "  unreadable" : "");
        if (s->damaged > 0) { printf("  %" PRIu32 " damaged", s->damaged); }
        putchar('\n');
    }
}

static void inspect_print_total(const l2_report *p, bool verified)
{
    char n[6][GATE_TEXT], t[2][GATE_TEXT];
    printf("total       %s records in %s segments: %s live (%s), %s tombstones, %s dead\n",
           gate_count(n[0], p->records), gate_count(n[1], p->segments), gate_count(n[2], p->live),
           gate_bytes(n[3], p->live_bytes), gate_count(n[4], p->tombstones),
           gate_bytes(n[5], p->dead_bytes));
    printf("live from   %s to %s UTC (when their segments were begun)\n",
           inspect_time(t[0], p->oldest_wall_ms), inspect_time(t[1], p->newest_wall_ms));
    if (verified) {
        printf("verified    each record; %s of a cleared view, %s expired, %s ended by a tag or "
               "pattern\n",
               gate_count(n[0], p->old_generation), gate_count(n[1], p->expired),
               gate_count(n[2], p->ended));
    } else {
        puts("judged by the segments' footers; --verify reads each record");
    }
    if (l2_report_damage(p) == 0) {
        puts("damage      none found");
        return;
    }
    printf("damage      %" PRIu64 " records, %" PRIu32 " segments unreadable, %" PRIu64
           " holes, %" PRIu64 " pages mended, %" PRIu32 " files too short, %" PRIu64
           " read errors, %" PRIu32 " filters, %d of 2 superblocks\n", p->records_damaged,
           p->segments_damaged, p->holes, p->pages_healed, p->files_short, p->read_errors,
           p->images_damaged,
           (p->super[0] != CELLAR_OK) + (p->super[1] != CELLAR_OK));
}

/* ---- JSON ---- */

static void inspect_json(const char *dir, const inspect_run *r, const l2_report *p, bool verified)
{
    char id[GATE_TEXT];
    inspect_uuid(id, p->uuid);
    fputs("{\"super\":", stdout);
    gate_json_string(stdout, dir);
    printf(",\"format\":\"%u.%u\",\"uuid\":\"%s\",\"good_copies\":%d,\"serial\":%" PRIu64
           ",\"epoch\":%" PRIu64 ",\"clean\":%s,\"level\":\"%s\",\"segment_bytes\":%" PRIu32
           ",\"segments\":%" PRIu32 ",\"slots\":%" PRIu32 ",\"granule_bytes\":%" PRIu32
           ",\"l2_bytes\":%" PRIu64 ",\"file_bytes\":%" PRIu64 ",\"last_seen_wall_ms\":%" PRId64
           ",\"filters\":%" PRIu32 ",\"filter_bytes\":%" PRIu64 ",\"filters_believed\":%s"
           ",\"index_snap_bytes\":%" PRIu64 ",\"index_snap_fits\":%s"
           ",\"begins_anew\":%s}\n", p->major, p->minor, id,
           (p->super[0] == CELLAR_OK) + (p->super[1] == CELLAR_OK), p->serial, p->epoch,
           p->clean ? "true" : "false", inspect_levels[p->level], p->seg_bytes, p->seg_count,
           p->slot_count, p->granule_bytes, p->l2_bytes, p->file_bytes, p->last_seen_wall_ms,
           p->images, p->image_bytes, p->images_clean ? "true" : "false",
           p->snap_bytes, p->snap_fits ? "true" : "false", p->begins_anew ? "true" : "false");
    for (size_t i = 0; i < r->views; i++) {
        fputs("{\"view\":", stdout);
        gate_json_string(stdout, r->view[i].name);
        printf(",\"id\":%" PRIu32 ",\"generation\":%" PRIu32 ",\"version\":%" PRIu32 "}\n",
               r->view[i].v.id, r->view[i].v.vgen, r->view[i].v.version);
    }
    for (size_t i = 0; i < r->segments; i++) {
        const l2_report_segment *s = &r->segment[i];
        printf("{\"segment\":%" PRIu64 ",\"place\":%" PRIu32 ",\"begun_wall_ms\":%" PRId64
               ",\"data_end\":%" PRIu32 ",\"records\":%" PRIu32 ",\"live\":%" PRIu32
               ",\"tombstones\":%" PRIu32 ",\"controls\":%" PRIu32 ",\"live_bytes\":%" PRIu64
               ",\"dead_bytes\":%" PRIu64 ",\"damaged\":%" PRIu32 ",\"unreadable\":%s}\n",
               s->segseq, s->place, s->base_wall_ms, s->data_end, s->records, s->live,
               s->tombstones, s->controls, s->live_bytes, s->dead_bytes, s->damaged,
               s->unreadable ? "true" : "false");
    }
    printf("{\"total\":%" PRIu64 ",\"live\":%" PRIu64 ",\"live_bytes\":%" PRIu64
           ",\"dead_bytes\":%" PRIu64 ",\"tombstones\":%" PRIu64 ",\"controls\":%" PRIu64
           ",\"segments\":%" PRIu32 ",\"slots_used\":%" PRIu32 ",\"oldest_wall_ms\":%" PRId64
           ",\"newest_wall_ms\":%" PRId64 ",\"verified\":%s,\"old_generation\":%" PRIu64
           ",\"expired\":%" PRIu64 ",\"ended\":%" PRIu64
           ",\"records_damaged\":%" PRIu64 ",\"segments_damaged\":%" PRIu32
           ",\"holes\":%" PRIu64 ",\"pages_mended\":%" PRIu64 ",\"files_short\":%" PRIu32
           ",\"filters_damaged\":%" PRIu32
           ",\"read_errors\":%" PRIu64 ",\"bad_places\":%" PRIu32 ",\"damage\":%" PRIu64 "}\n",
           p->records, p->live, p->live_bytes, p->dead_bytes, p->tombstones, p->controls,
           p->segments, p->slots_used, p->oldest_wall_ms, p->newest_wall_ms,
           verified ? "true" : "false", p->old_generation, p->expired, p->ended,
           p->records_damaged, p->segments_damaged, p->holes, p->pages_healed, p->files_short,
           p->images_damaged, p->read_errors, p->bad_places, l2_report_damage(p));
}

/* ---- the command ---- */

static int inspect_refused(const char *dir, cellar_err err, int sys_errno)
{
    const char *why = cellar_strerror(err);
    static const struct { cellar_err err; const char *why; } known[] = {
        { CELLAR_E_BUSY, "a running program has it open (--force looks all the same)" },
        { CELLAR_E_FOREIGN, "no store of cellar" },
        { CELLAR_E_NEWER_FORMAT, "of a newer cellar, or another kind of machine" },
        { CELLAR_E_CORRUPT, "both copies of its superblock are damaged" },
    };
    if (sys_errno != 0) { why = gate_errno_text(sys_errno); }
    if (sys_errno == ELOOP) { why = "the link or its target has another owner: name the folder"; }
    if (sys_errno == EMLINK) { why = "leads over more than 8 symbolic links"; }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (err == known[i].err) { why = known[i].why; }
    }
    fputs("cellar: inspect ", stderr);
    gate_plain(stderr, dir);
    fprintf(stderr, ": %s\n", why);
    return err == CELLAR_E_NOMEM ? GATE_NO_START : GATE_USAGE;
}

static int inspect_do(const char *dir, inspect_run *r, bool verify, bool force)
{
    l2_report report;
    int sys_errno = 0;
    const l2_inspect_how how = {
        .path = dir, .verify = verify, .force = force, .view = inspect_on_view,
        .segment = inspect_on_segment, .record = r->keys ? inspect_on_key : NULL, .ctx = r,
    };
    const cellar_err err = l2_inspect(&how, &report, &sys_errno);
    if (err != CELLAR_OK) { return inspect_refused(dir, err, sys_errno); }
    if (r->no_memory) { return inspect_refused(dir, CELLAR_E_NOMEM, 0); }
    if (r->json) {
        inspect_json(dir, r, &report, verify);
    } else {
        inspect_print_head(dir, &report);
        inspect_print_rows(r);
        inspect_print_total(&report, verify);
    }
    return l2_report_damage(&report) == 0 ? GATE_DONE : GATE_FINDING;
}

static int inspect_run_command(int argc, char **argv, const gate_terminal *term)
{
    static const struct option options[] = {
        { "verify", no_argument, NULL, 'v' }, { "json", no_argument, NULL, 'j' },
        { "keys", no_argument, NULL, 'k' }, { "force", no_argument, NULL, 'f' },
        { "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 }
    };
    inspect_run r;
    bool verify = false, force = false;
    (void)term;
    memset(&r, 0, sizeof r);
    optind = 1;
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'v': verify = true; break;
        case 'j': r.json = true; break;
        case 'k': r.keys = true; break;
        case 'f': force = true; break;
        case 'h': fputs(gate_inspect.help, stdout); return GATE_DONE;
        default:
            fputs("cellar: inspect: unknown option '", stderr);
            gate_plain(stderr, argv[optind - 1]);
            fputs("'\n", stderr);
            return GATE_USAGE;
        }
    }
    if (argc - optind != 1) {
        gate_complain("inspect takes one directory");
        return GATE_USAGE;
    }
    const int code = inspect_do(argv[optind], &r, verify, force);
    free(r.view);
    free(r.segment);
    return code;
}

const gate_command gate_inspect = {
    "inspect", "", "look into the directory of a disk tier; changes nothing",
    "Usage: cellar inspect [OPTION]... DIR\n"
    "\n"
    "Prints superblock, geometry, Bloom filters, views, segments with live and dead bytes, the\n"
    "oldest and the newest live record, and any damage. \"Live\" is what the next open on this\n"
    "machine would serve. No byte of the directory changes.\n"
    "\n"
    "  --verify  read and check every record, not only the segments' footers\n"
    "  --keys    list the live keys, too\n"
    "  --json    the same as JSON, one object a line\n"
    "  --force   even while a program has the store open; what it changes meanwhile may then\n"
    "            look like damage\n"
    "\n"
    "Exit codes: 0 no damage, 1 damage found, 2 cannot be read (no store, newer version, in use,\n"
    "            both superblocks damaged), 3 out of memory.\n",
    inspect_run_command
};
