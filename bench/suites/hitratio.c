/* SPDX-License-Identifier: MIT
 *
 * hitratio: miss ratios of the peers' own engines, never of a model of them.
 *
 * WALK       traces -> for each capacity (1, 5, 10 % of the distinct ids) and each subject: get; on
 *            a miss set; each in a process of its own. Deferred work of a peer runs every 64
 *            requests, as at a pace below full speed.
 * BOUNDS     NAME_1: a bound in entries, values of 8 bytes. NAME_1_bytes: a bound in bytes that holds
 *            as many entries by the count of the subject; values of 100 bytes, larger where our
 *            budget would be below 1.5 MiB.
 * SAME ROOM  zipf16m_*: zipf 0.99, a million keys, 16 + 100 bytes. _bytes: 16 MiB, as each subject
 *            counts. _entries: the entries that ours then holds. _rss: the entries under which a
 *            process grows as much as ours; room_entries and room_rss say what was measured.
 * SEEDS      Ours with 16 hash keys: median, and p25, p75 of them.
 * TRACES     mix: draws with a skew, a loop, a scan, the draws again; always made here. Where
 *            BENCH_TRACES names a folder: also its *.ctr.zst (by the tool zstd) with at most
 *            HITRATIO_SHORT requests; with FULL=1 all, and peers that need 100 us a call too.
 * PATIENCE   A child, a process or the tool is ended when it does not answer (host_patience). A
 *            subject that crashed or hung is not run again: it would hang at each size and trace.
 * FIGURES    miss_ratio  misses / requests; ours is the default policy. A line with "series" has the
 *            hits of each of 32 equal stretches of the requests (subjects of this process, first
 *            seed). */
#include "bench/suites/suite.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <glob.h>

#include "bench/harness/driver.h"
#include "bench/harness/host.h"
#include "bench/harness/json.h"
#include "bench/harness/room.h"
#include "bench/harness/verify.h"

#define HITRATIO_PATIENCE_MS 120000
#define HITRATIO_SHORT 200000u
#define HITRATIO_SUBJECTS 64u
#define HITRATIO_SEEDS 16u
#define HITRATIO_STRETCHES 32u
#define HITRATIO_BUDGET UINT64_C(1572864)
#define HITRATIO_ROOM UINT64_C(16777216)
#define HITRATIO_ZIPF UINT64_C(3000000)

static bool hitratio_gone[HITRATIO_SUBJECTS]; /* crashed or hung; as the registry counts them */

typedef struct hitratio_count {
    uint64_t misses, bad;
    uint64_t missed[HITRATIO_STRETCHES]; /* of each stretch of the requests */
    bool done;
} hitratio_count;

typedef struct hitratio_plan {
    const bench_subject *subject;
    const char *path, *name; /* name: of the row */
    uint64_t requests, capacity, bytes, seed; /* bytes: 0, or the bound; else capacity entries */
    uint32_t value_len;
} hitratio_plan;

static bool hitratio_record(FILE *f, uint64_t id)
{
    const unsigned char rest[8] = { 1 }; /* size 1, time 0 */
    return fwrite(&id, 8, 1, f) == 1 && fwrite(rest, 8, 1, f) == 1;
}

/* Ids become 1 + rank of first appearance, as in the format. */
static bool hitratio_make_mix(const char *path)
{
    enum { DRAWS = 60000, LOOP = 3000, SCAN = 30000, KEYS = 20000 };
    static uint32_t name[KEYS + LOOP + SCAN];
    FILE *f = fopen(path, "wbe");
    uint64_t seed = 7;
    uint32_t next = 0;
    bool ok = f != NULL;
    memset(name, 0, sizeof name);
    for (uint32_t i = 0; ok && i < 2 * DRAWS + 2 * SCAN; i++) {
        const double u = (double)(trace_random(&seed) >> 11) * 0x1p-53;
        uint32_t at = (uint32_t)exp(u * log(KEYS)) % KEYS;
        if (i >= DRAWS && i < DRAWS + SCAN) {
            at = KEYS + i % LOOP;
        } else if (i >= DRAWS + SCAN && i < DRAWS + 2 * SCAN) {
            at = KEYS + LOOP + (i - DRAWS - SCAN);
        }
        name[at] = name[at] != 0 ? name[at] : ++next;
        ok = hitratio_record(f, name[at]);
    }
    return f != NULL && fclose(f) == 0 && ok;
}

static bench_cfg hitratio_cfg(const hitratio_plan *p)
{
    return (bench_cfg){ .key_count = p->capacity, .hint_entries = p->capacity,
                        .capacity_entries = p->bytes == 0 ? p->capacity : 0,
                        .capacity_bytes = p->bytes,
                        .payload_bytes = p->capacity * (16 + p->value_len),
                        .key_len = 16, .value_len = p->value_len, .threads = 1, .seed = p->seed };
}

static void hitratio_child(const void *in, void *count)
{
    const hitratio_plan *p = in;
    const bench_subject *s = p->subject;
    hitratio_count *out = count;
    const bench_cfg cfg = hitratio_cfg(p);
    unsigned char key[VERIFY_KEY_MAX], record[16], *buf = malloc(2 * p->value_len);
    void *store = buf != NULL ? s->open(&cfg) : NULL;
    FILE *f = store != NULL ? fopen(p->path, "rbe") : NULL;
    if (f == NULL) {
        return;
    }
    unsigned char *value = buf + p->value_len;
    verify_fill(value, p->value_len);
    for (uint64_t n = 1; fread(record, 16, 1, f) == 1; n++) {
        uint64_t id;
        size_t len = 0;
        memcpy(&id, record, 8);
        verify_make_key(key, id, 16);
        if (s->get(store, key, 16, buf, p->value_len, &len) == 1) {
            out->bad += !verify_value(buf, len, id, p->value_len);
        } else {
            verify_stamp(value, p->value_len, id);
            out->misses++;
            out->missed[(n - 1) * HITRATIO_STRETCHES / p->requests % HITRATIO_STRETCHES]++;
            out->bad += s->set(store, key, 16, value, p->value_len, 0) < 0;
        }
        if (n % 64 == 0 && s->settle != NULL) {
            s->settle(store);
        }
    }
    fclose(f);
    s->close(store);
    out->done = true;
}

/* A process counts key and value against its bound in bytes. */
static bool hitratio_there(const hitratio_plan *p, hitratio_count *out, char *why, size_t why_cap)
{
    char command[600];
    bench_driver *d = driver_start(p->subject->driver, why, why_cap);
    if (d == NULL) {
        return false;
    }
    snprintf(command, sizeof command, "replay %s %" PRIu64 " %u %d", p->path, p->capacity,
             p->value_len, p->bytes != 0);
    out->done = driver_ask(d, driver_most(HITRATIO_PATIENCE_MS), command);
    if (out->done) {
        out->misses = (uint64_t)driver_number(d, "misses");
        out->bad = (uint64_t)driver_number(d, "bad");
    }
    snprintf(why, why_cap, "%s", driver_trouble(d));
    driver_stop(d);
    return out->done;
}

/* Write the share of hits in each stretch. */
static void hitratio_series(const hitratio_plan *p, const hitratio_count *n)
{
    double hits[HITRATIO_STRETCHES];
    for (uint64_t i = 0; i < HITRATIO_STRETCHES; i++) {
        const uint64_t from = (i * p->requests + HITRATIO_STRETCHES - 1) / HITRATIO_STRETCHES;
        const uint64_t to = ((i + 1) * p->requests + HITRATIO_STRETCHES - 1) / HITRATIO_STRETCHES;
        hits[i] = to > from ? 1 - (double)n->missed[i] / (double)(to - from) : 0;
    }
    json_series("hitratio", p->subject->name, p->name, "hits", hits, HITRATIO_STRETCHES);
}

/* Run one subject and print its row. */
static int hitratio_one(hitratio_plan *p, uint32_t index)
{
    const bench_subject *s = p->subject;
    const uint32_t seeds = strcmp(s->name, "cellar") == 0 ? HITRATIO_SEEDS : 1;
    double ratio[HITRATIO_SEEDS];
    uint64_t bad = 0;
    char why[300] = "did not finish";
    for (uint32_t i = 0; i < seeds; i++) {
        hitratio_count n = { .done = false };
        p->seed = 7 + i;
        const bool ok = s->driver != NULL ? hitratio_there(p, &n, why, sizeof why)
                                          : host_apart(hitratio_child, p, &n, sizeof n, why,
                                                       sizeof why);
        if (!ok || !n.done) {
            const bool missing = s->driver != NULL && driver_missing(s->driver) != NULL;
            json_say("hitratio", s->name, p->name, missing ? "skip" : driver_kind(why), why);
            hitratio_gone[index] = !missing;
            return missing ? CELL_OK : CELL_WRONG;
        }
        ratio[i] = (double)n.misses / (double)p->requests;
        bad += n.bad;
        if (i == 0 && s->driver == NULL) { hitratio_series(p, &n); }
    }
    suite_say("hitratio", s->name, p->name, "miss_ratio", ratio, seeds, NULL,
              bad > 0 ? "wrong values" : NULL);
    return bad > 0 ? CELL_WRONG : CELL_OK;
}

static bool hitratio_takes_part(const cell_options *o, const workload *w, uint32_t i)
{
    const bench_subject *s = bench_registry[i].subject;
    return s != NULL && i < HITRATIO_SUBJECTS && !hitratio_gone[i] && (s->caps & BENCH_BOUNDED) &&
           strcmp(s->semantics, "remote") != 0 && cell_chosen(o, w, s->name) &&
           (!(s->caps & BENCH_SLOW) || o->full);
}

/* All subjects with one capacity, bounded in entries or in bytes. */
static int hitratio_bound(const cell_options *o, hitratio_plan p, bool by_bytes)
{
    const uint64_t least = HITRATIO_BUDGET / p.capacity;
    int worst = CELL_OK;
    p.value_len = !by_bytes ? 8 : least > 100 ? (uint32_t)least : 100;
    for (uint32_t i = 0; i < bench_registry_count; i++) {
        if (!hitratio_takes_part(o, NULL, i)) { continue; }
        p.subject = bench_registry[i].subject;
        p.bytes = 0;
        if (by_bytes) {
            const bench_cfg cfg = hitratio_cfg(&p);
            p.bytes = p.subject->driver == NULL ? room_bytes(p.subject, &cfg, p.capacity)
                      : p.subject->caps & BENCH_BYTES ? p.capacity * (16 + p.value_len) : 0;
            if (p.bytes == 0) { continue; }
        }
        const int status = hitratio_one(&p, i);
        worst = status > worst ? status : worst;
    }
    return worst;
}

/* Run one trace at all capacities for all subjects. file_name: the name that the user knows. */
static int hitratio_trace(const cell_options *o, const char *name, const char *path,
                          const char *file_name)
{
    static const uint32_t percent[] = { 1, 5, 10 };
    trace_spec spec = { .kind = TRACE_FILE };
    trace t;
    char why[300];
    int worst = CELL_OK;
    snprintf(spec.path, sizeof spec.path, "%s", path);
    if (!trace_make(&spec, 0, &t, why, sizeof why)) {
        /* the unpacked file has a name that means nothing to the user */
        const char *what = strstr(why, ": ");
        fprintf(stderr, "cellar-bench: %s%s\n", file_name, what != NULL ? what : "");
        return CELL_USAGE;
    }
    struct stat file; /* windows take whole batches of a trace; here every record counts */
    const uint64_t distinct = spec.key_count;
    const uint64_t requests = stat(path, &file) == 0 ? (uint64_t)file.st_size / 16 : t.count;
    trace_free(&t);
    if (requests > HITRATIO_SHORT && !o->full) {
        json_say("hitratio", NULL, name, "skip", "a long trace: FULL=1");
        return CELL_OK;
    }
    for (size_t k = 0; k < 2 * sizeof percent / sizeof percent[0]; k++) {
        const uint64_t share = distinct * percent[k / 2] / 100;
        char row[96];
        snprintf(row, sizeof row, "%s_%u%s", name, percent[k / 2], k % 2 != 0 ? "_bytes" : "");
        const hitratio_plan p = { .path = path, .name = row, .requests = requests,
                                  .capacity = share > 8 ? share : 8 };
        const int status = hitratio_bound(o, p, k % 2 != 0);
        worst = status > worst ? status : worst;
    }
    return worst;
}

static bool hitratio_make_zipf(const char *path)
{
    trace_spec spec = { .kind = TRACE_ZIPF, .zipf_s = .99, .key_count = 1000000,
                        .op_count = HITRATIO_ZIPF, .seed = 3 };
    trace t;
    char why[256];
    FILE *f = trace_make(&spec, 0, &t, why, sizeof why) ? fopen(path, "wbe") : NULL;
    bool ok = f != NULL;
    for (uint64_t i = 0; ok && i < t.count; i++) { ok = hitratio_record(f, t.ids[i]); }
    trace_free(&t);
    return f != NULL && fclose(f) == 0 && ok;
}

/* One subject of zipf16m_*: its room, then its misses. way: as it counts, entries, RSS. */
static int hitratio_room(hitratio_plan *p, uint32_t index, int way, const room_size *ours)
{
    const bench_subject *s = p->subject;
    const bool reference = strcmp(s->name, "cellar") == 0;
    char why[300];
    room_size got = *ours;
    p->seed = 7;
    p->bytes = way == 0 || reference ? HITRATIO_ROOM : 0;
    p->capacity = p->bytes != 0 ? HITRATIO_ROOM / (16 + p->value_len) : ours->entries;
    bench_cfg cfg = hitratio_cfg(p);
    if (way == 2 && !reference) {
        p->capacity = room_same_rss(s, &cfg, ours, &got);
    } else if (!room_measure(s, &cfg, &got, why, sizeof why)) {
        p->capacity = 0;
    }
    if (p->capacity == 0) {
        json_say("hitratio", s->name, p->name, "skip", "no bound gives it this room");
        return CELL_OK;
    }
    double entries = (double)got.entries, rss = (double)got.rss_bytes;
    suite_say("hitratio", s->name, p->name, "room_entries", &entries, 1, NULL, NULL);
    suite_say("hitratio", s->name, p->name, "room_rss", &rss, 1, NULL, NULL);
    return hitratio_one(p, index);
}

/* Return false for a subject that cannot take part in rows of the same room, after a line that says
 * why when it was asked for. */
static bool hitratio_present(const cell_options *o, const workload *w, uint32_t i)
{
    const bench_entry *e = &bench_registry[i];
    const bool process = e->subject != NULL && e->subject->driver != NULL;
    const char *why = e->subject == NULL ? e->missing
                      : !process ? NULL
                      : (e->subject->caps & (BENCH_BOUNDED | BENCH_BYTES)) == BENCH_BOUNDED
                          ? "its bound is in entries alone" : driver_missing(e->subject->driver);
    if (why != NULL && cell_chosen(o, w, e->name) &&
        (e->subject == NULL || (e->subject->caps & BENCH_BOUNDED))) {
        json_say("hitratio", e->name, "zipf16m", "skip", why);
    }
    return why == NULL;
}

static int hitratio_rooms(const cell_options *o, const char *path)
{
    static const char *const names[] = { "zipf16m_bytes", "zipf16m_entries", "zipf16m_rss" };
    const workload any = { .value_len = 100 };
    const bench_subject *reference = bench_subject_find("cellar");
    hitratio_plan p = { .path = path, .requests = HITRATIO_ZIPF, .value_len = 100,
                        .bytes = HITRATIO_ROOM, .seed = 7 };
    char why[300];
    room_size ours;
    int worst = CELL_OK;
    const bench_cfg cfg = hitratio_cfg(&p);
    bool there[HITRATIO_SUBJECTS] = { false };
    for (uint32_t i = 0; i < bench_registry_count && i < HITRATIO_SUBJECTS; i++) {
        there[i] = hitratio_present(o, &any, i);
    }
    if (reference == NULL || !room_measure(reference, &cfg, &ours, why, sizeof why) ||
        !hitratio_make_zipf(path)) {
        json_say("hitratio", NULL, "zipf16m", "skip", "no room of ours, or no trace");
        return CELL_OK;
    }
    for (int way = 0; way < 3; way++) {
        p.name = names[way];
        for (uint32_t i = 0; i < bench_registry_count; i++) {
            p.subject = bench_registry[i].subject;
            if (!there[i] || !hitratio_takes_part(o, &any, i)) { continue; }
            const int status = hitratio_room(&p, i, way, &ours);
            worst = status > worst ? status : worst;
        }
    }
    return worst;
}

/* Unpack with the tool. Return false if the tool is missing, the file is no frame, or the tool
 * hangs. */
static bool hitratio_unpack(const char *from, const char *to, char *why, size_t why_cap)
{
    const pid_t pid = host_fork();
    if (pid == 0) {
        execlp("zstd", "zstd", "-q", "-d", "-f", "-o", to, from, (char *)NULL);
        _exit(127);
    }
    return host_wait(pid, why, why_cap);
}

static int hitratio_folder(const cell_options *o, const char *folder, const char *scratch)
{
    char pattern[400];
    glob_t found;
    int worst = CELL_OK;
    snprintf(pattern, sizeof pattern, "%s/*.ctr.zst", folder);
    if (glob(pattern, 0, NULL, &found) != 0) {
        json_say("hitratio", NULL, NULL, "skip", "no *.ctr.zst in BENCH_TRACES");
        return CELL_OK;
    }
    for (size_t i = 0; i < found.gl_pathc; i++) {
        const char *base = strrchr(found.gl_pathv[i], '/') + 1;
        char name[64], why[256], text[300];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(base, "."), base);
        if (o->until_ns != 0 && host_wall_ns() > o->until_ns) {
            json_say("hitratio", NULL, name, "skip", "the time of this run was over");
            continue;
        }
        if (!hitratio_unpack(found.gl_pathv[i], scratch, why, sizeof why)) {
            const bool hangs = strcmp(driver_kind(why), "hang") == 0;
            const bool there = strstr(why, "exit status 127") == NULL;
            snprintf(text, sizeof text, "zstd cannot unpack it: %s", why);
            json_say("hitratio", NULL, name, hangs ? "hang" : "skip", text);
            if (!hangs && there) { /* the tool refuses: the file is no frame, or torn */
                fprintf(stderr, "cellar-bench: %s: %s\n", found.gl_pathv[i], text);
            }
            const int status = hangs ? CELL_WRONG : there ? CELL_USAGE : CELL_OK;
            worst = status > worst ? status : worst;
            continue;
        }
        const int status = hitratio_trace(o, name, scratch, found.gl_pathv[i]);
        worst = status > worst ? status : worst;
    }
    globfree(&found);
    return worst;
}

static int hitratio_run_suite(const cell_options *o)
{
    char path[256];
    const char *folder = getenv("BENCH_TRACES");
    printf("\nhitratio  (misses of requests at 1, 5, 10 %% of the distinct keys)\n");
    snprintf(path, sizeof path, "%s/hitratio.%d.ctr", o->scratch, (int)getpid());
    if (!hitratio_make_mix(path)) {
        json_say("hitratio", NULL, "mix", "skip", "the trace cannot be written");
        return CELL_OK;
    }
    driver_heap_grows(); /* room_rss counts the memory of a process */
    int worst = hitratio_trace(o, "mix", path, path);
    const int rooms = hitratio_rooms(o, path);
    worst = rooms > worst ? rooms : worst;
    if (folder != NULL && folder[0] != '\0') {
        const int status = hitratio_folder(o, folder, path);
        worst = status > worst ? status : worst;
    } else {
        json_say("hitratio", NULL, "public", "skip", "BENCH_TRACES names no folder");
    }
    remove(path);
    return worst;
}

const bench_suite suite_hitratio = { "hitratio", "miss ratios of the peers' own engines",
                                     hitratio_run_suite, NULL, NULL, true, false, 0 };
