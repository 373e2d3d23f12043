/* SPDX-License-Identifier: MIT
 *
 * hitratio: miss ratios of the peers' own engines, never of a model of them.
 *
 * WALK       traces -> for each capacity (1, 5, 10 % of the distinct ids) and each subject that can
 *            be bounded in entries: get; on a miss set (8 bytes); each in a process of its own.
 *            Deferred work of a peer runs every 64 requests, as at a pace below full speed.
 * TRACES     mix: draws with a skew, a loop, a scan, the draws again; always made here. Where
 *            BENCH_TRACES names a folder: also its *.ctr.zst (by the tool zstd) with at most
 *            HITRATIO_SHORT requests; with FULL=1 all, and peers that need 100 us a call too.
 * PATIENCE   A child, a process or the tool is ended when it does not answer (host_patience). A
 *            subject that crashed or hung is not run again: it would hang at each size and trace.
 * FIGURES    miss_ratio  misses / requests; ours is the default policy. */
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
#include "bench/harness/verify.h"

#define HITRATIO_PATIENCE_MS 120000
#define HITRATIO_SHORT 200000u
#define HITRATIO_SUBJECTS 64u

static bool hitratio_gone[HITRATIO_SUBJECTS]; /* crashed or hung; as the registry counts them */

typedef struct hitratio_count {
    uint64_t misses, bad;
    bool done;
} hitratio_count;

typedef struct hitratio_plan {
    const bench_subject *subject;
    const char *path;
    uint64_t capacity;
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

static void hitratio_child(const void *in, void *count)
{
    const hitratio_plan *p = in;
    const bench_subject *s = p->subject;
    hitratio_count *out = count;
    const bench_cfg cfg = { .key_count = p->capacity, .hint_entries = p->capacity,
                            .capacity_entries = p->capacity, .payload_bytes = p->capacity * 24,
                            .key_len = 16, .value_len = 8, .threads = 1, .seed = 7 };
    unsigned char key[VERIFY_KEY_MAX], record[16], buf[64];
    void *store = s->open(&cfg);
    FILE *f = store != NULL ? fopen(p->path, "rbe") : NULL;
    if (f == NULL) {
        return;
    }
    for (uint64_t n = 1; fread(record, 16, 1, f) == 1; n++) {
        uint64_t id;
        size_t len = 0;
        memcpy(&id, record, 8);
        verify_make_key(key, id, 16);
        if (s->get(store, key, 16, buf, sizeof buf, &len) == 1) {
            out->bad += len != 8 || memcmp(buf, record, 8) != 0;
        } else {
            out->misses++;
            out->bad += s->set(store, key, 16, record, 8, 0) < 0;
        }
        if (n % 64 == 0 && s->settle != NULL) {
            s->settle(store);
        }
    }
    fclose(f);
    s->close(store);
    out->done = true;
}

static bool hitratio_there(const hitratio_plan *p, hitratio_count *out, char *why, size_t why_cap)
{
    char command[600];
    bench_driver *d = driver_start(p->subject->driver, why, why_cap);
    if (d == NULL) {
        return false;
    }
    snprintf(command, sizeof command, "replay %s %" PRIu64, p->path, p->capacity);
    const bool ok = driver_ask(d, driver_most(HITRATIO_PATIENCE_MS), command);
    if (ok) {
        out->misses = (uint64_t)driver_number(d, "misses");
        out->bad = (uint64_t)driver_number(d, "bad");
    }
    snprintf(why, why_cap, "%s", driver_trouble(d));
    driver_stop(d);
    return ok;
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
    for (size_t k = 0; k < sizeof percent / sizeof percent[0]; k++) {
        const uint64_t capacity = distinct * percent[k] / 100 > 8 ? distinct * percent[k] / 100 : 8;
        char workload_name[96];
        snprintf(workload_name, sizeof workload_name, "%s_%u", name, percent[k]);
        for (size_t i = 0; i < bench_registry_count; i++) {
            const bench_subject *s = bench_registry[i].subject;
            hitratio_count n = { 0, 0, false };
            if (s == NULL || i >= HITRATIO_SUBJECTS || hitratio_gone[i] ||
                !(s->caps & BENCH_BOUNDED) ||
                strcmp(s->semantics, "remote") == 0 || !cell_chosen(o, NULL, s->name) || ((s->caps & BENCH_SLOW) && !o->full)) {
                continue;
            }
            snprintf(why, sizeof why, "did not finish");
            const hitratio_plan p = { s, path, capacity };
            const bool ok = s->driver != NULL
                                ? hitratio_there(&p, &n, why, sizeof why)
                                : host_apart(hitratio_child, &p, &n, sizeof n, why,
                                             sizeof why) && n.done;
            if (!ok) {
                const bool missing = s->driver != NULL && driver_missing(s->driver) != NULL;
                json_say("hitratio", s->name, workload_name, missing ? "skip" : driver_kind(why), why);
                worst = missing ? worst : CELL_WRONG;
                hitratio_gone[i] = !missing;
                continue;
            }
            double ratio = (double)n.misses / (double)requests;
            worst = n.bad > 0 ? CELL_WRONG : worst;
            suite_say("hitratio", s->name, workload_name, "miss_ratio", &ratio, 1, NULL,
                      n.bad > 0 ? "wrong values" : NULL);
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
    int worst = hitratio_trace(o, "mix", path, path);
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
