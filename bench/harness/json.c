/* SPDX-License-Identifier: MIT
 *
 * json: writes result lines; reading them is the work of bench/report/tables.awk.
 *
 * FORMAT     {"bench":..,"subject":..,"version":..,"workload":..,"threads":..,"metric":..,
 *            "value":..,"unit":..,"best":..,"vs":..,"ratio":..,"p25":..,"p75":..,"clock":..,
 *            "regime":..,"rounds":..,"dropped":..,"disturbed":..,"cause":..,"c2c_ns":..,"c2c":..,
 *            "alloc":..,"semantics":..,"hit":..,"bad":..,"failed":..,"bg_cpu_ns":..,"slept":..,
 *            "kept":..,"note":..,"commit":..,"cc":..,"flags":..,"cpu":..,"quick":0}
 *            buckets of timed calls: see json_histogram
 *            skips, crashes, leaks: {"bench":..,"subject":..,"workload":..,"skip":"reason"}
 * INVARIANTS one object a line, no nested objects, keys in this order: awk reads it without a
 *            parser. Absent fields are left out, never null. A line is written by one fwrite and
 *            flushed, so a crash of the next cell loses nothing.
 * LIMITS     one file a process; a row other than a histogram is shorter than 2 KB. */
#include "bench/harness/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/harness/host.h"

#ifndef BENCH_FLAGS
#define BENCH_FLAGS "unknown"
#endif
#if defined(__clang__)
#define JSON_CC __VERSION__
#else
#define JSON_CC "gcc " __VERSION__
#endif

typedef struct json_line {
    char text[2048];
    size_t used;
} json_line;

static struct json_state {
    FILE *file;        /* NULL: no file asked for */
    const char *alloc; /* name of the allocator all subjects share */
    bool quick;
} json_;

static const struct json_metric {
    const char *name, *unit;
    char good; /* 'h' higher, 'l' lower */
} json_metrics[] = {
#define JSON_ENTRY(name, unit, good) { name, unit, good },
    JSON_METRICS(JSON_ENTRY)
#undef JSON_ENTRY
};

static const struct json_metric *json_metric_find(const char *metric)
{
    for (size_t i = 0; i < sizeof json_metrics / sizeof json_metrics[0]; i++) {
        const char *name = strncmp(metric, "mix_", 4) == 0 ? "mix" : metric; /* mix_P_Q_R */
        if (strcmp(json_metrics[i].name, name) == 0) {
            return &json_metrics[i];
        }
    }
    return NULL;
}

bool json_metric_known(const char *metric) { return json_metric_find(metric) != NULL; }

const char *json_metric_unit(const char *metric)
{
    const struct json_metric *m = json_metric_find(metric);
    return m != NULL ? m->unit : "";
}

void json_list_metrics(void)
{
    for (size_t i = 0; i < sizeof json_metrics / sizeof json_metrics[0]; i++) {
        printf("%s %s %s\n", json_metrics[i].name, json_metrics[i].unit,
               json_metrics[i].good == 'h' ? "higher" : "lower");
    }
}

bool json_metric_lower_is_better(const char *metric)
{
    const struct json_metric *m = json_metric_find(metric);
    return m != NULL && m->good == 'l';
}

/* From the environment: a compiled-in commit would be the commit of the last build, not of this
 * run. */
const char *json_commit(void)
{
    const char *text = getenv("BENCH_COMMIT");
    return text != NULL && text[0] != '\0' ? text : "unknown";
}

const char *json_compiler(void) { return JSON_CC; }
const char *json_flags(void) { return BENCH_FLAGS; }

void json_row_init(json_row *row)
{
    memset(row, 0, sizeof *row);
    row->value = row->best = row->ratio = row->p25 = row->p75 = row->hit = NAN;
    row->bg_cpu_ns = row->failed = row->slept = row->kept = NAN;
}

void json_facts(bool quick, const char *alloc)
{
    json_.quick = quick;
    json_.alloc = alloc;
}

bool json_open(const char *path)
{
    json_close();
    json_.file = path != NULL ? fopen(path, "ae") : NULL;
    return path == NULL || json_.file != NULL;
}

void json_close(void)
{
    if (json_.file != NULL) {
        fclose(json_.file);
        json_.file = NULL;
    }
}

static void json_byte(json_line *l, char c)
{
    if (l->used + 1 < sizeof l->text) {
        l->text[l->used++] = c;
        l->text[l->used] = '\0';
    }
}

static void json_raw(json_line *l, const char *text)
{
    for (; *text != '\0'; text++) {
        json_byte(l, *text);
    }
}

static void json_key(json_line *l, const char *key)
{
    json_raw(l, l->used == 0 ? "{\"" : ",\"");
    json_raw(l, key);
    json_raw(l, "\":");
}

static void json_str(json_line *l, const char *key, const char *text)
{
    if (text == NULL) {
        return;
    }
    json_key(l, key);
    json_byte(l, '"');
    for (; *text != '\0'; text++) {
        const unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            json_byte(l, '\\');
        }
        /* Control bytes and bytes above ASCII do not occur in our names: printed as '?'. */
        json_byte(l, c < 0x20 || c > 0x7E ? '?' : *text);
    }
    json_byte(l, '"');
}

static void json_num(json_line *l, const char *key, double v)
{
    char text[40];
    if (!isfinite(v)) {
        return;
    }
    snprintf(text, sizeof text, "%.6g", v);
    json_key(l, key);
    json_raw(l, text);
}

static void json_u64(json_line *l, const char *key, uint64_t v)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, v);
    json_key(l, key);
    json_raw(l, text);
}

static void json_end(json_line *l)
{
    json_raw(l, "}\n");
    host_beat();
    if (json_.file != NULL) {
        fwrite(l->text, 1, l->used, json_.file);
        fflush(json_.file);
    }
}

void json_write(const json_row *row)
{
    json_line l = { .used = 0 };
    if (!json_metric_known(row->metric)) {
        fprintf(stderr, "cellar-bench: metric \"%s\" is not on the list\n", row->metric);
        abort();
    }
    json_str(&l, "bench", row->bench);
    json_str(&l, "subject", row->subject);
    json_str(&l, "version", row->version);
    json_str(&l, "workload", row->workload);
    if (row->threads != 0) {
        json_u64(&l, "threads", row->threads);
    }
    json_str(&l, "metric", row->metric);
    json_num(&l, "value", row->value);
    json_str(&l, "unit", json_metric_unit(row->metric));
    json_num(&l, "best", row->best);
    json_str(&l, "vs", row->vs);
    json_num(&l, "ratio", row->ratio);
    json_num(&l, "p25", row->p25);
    json_num(&l, "p75", row->p75);
    json_str(&l, "clock", row->clock);
    json_str(&l, "regime", row->regime);
    json_u64(&l, "rounds", row->rounds);
    json_u64(&l, "dropped", row->dropped);
    if (row->disturbed != 0) {
        json_u64(&l, "disturbed", row->disturbed);
    }
    json_str(&l, "cause", row->cause);
    json_u64(&l, "c2c_ns", row->c2c_ns);
    json_str(&l, "c2c", row->c2c);
    json_str(&l, "alloc", json_.alloc);
    json_str(&l, "semantics", row->semantics);
    json_num(&l, "hit", row->hit);
    json_u64(&l, "bad", row->bad);
    json_num(&l, "failed", row->failed);
    json_num(&l, "bg_cpu_ns", row->bg_cpu_ns);
    json_num(&l, "slept", row->slept);
    json_num(&l, "kept", row->kept);
    json_str(&l, "note", row->note);
    json_str(&l, "commit", json_commit());
    json_str(&l, "cc", json_compiler());
    json_str(&l, "flags", json_flags());
    json_str(&l, "cpu", host_cpu_name());
    json_u64(&l, "quick", json_.quick ? 1 : 0);
    json_end(&l);
}

/* Begin a line with a list, which may be longer than a json_line. */
static void json_list(const char *bench, const char *subject, const char *of,
                      const char *kind, const char *name, uint64_t number, const char *list)
{
    json_line l = { .used = 0 };
    json_str(&l, "bench", bench);
    json_str(&l, "subject", subject);
    json_str(&l, "workload", of);
    json_str(&l, kind, name);
    json_u64(&l, list[0] == 'h' ? "threads" : "count", number);
    json_str(&l, "commit", json_commit());
    json_key(&l, list);
    fwrite(l.text, 1, l.used, json_.file);
}

void json_series(const char *bench, const char *subject, const char *of, const char *name,
                 const double *values, uint32_t count)
{
    if (json_.file == NULL) {
        return;
    }
    json_list(bench, subject, of, "series", name, count, "values");
    for (uint32_t i = 0; i < count; i++) {
        fprintf(json_.file, "%c%.5f", i == 0 ? '[' : ',', values[i]);
    }
    fputs("]}\n", json_.file);
    fflush(json_.file);
}

void json_histogram(const char *bench, const char *subject, const char *of,
                    const char *call, uint32_t threads, const hist *h, double ns_per_unit)
{
    if (json_.file == NULL || h->count == 0) {
        return;
    }
    json_list(bench, subject, of, "call", call, threads, "hist");
    char before = '[';
    for (uint32_t i = 0; i < HIST_SLOTS; i++) {
        if (h->slot[i] > 0) {
            fprintf(json_.file, "%c%.1f,%" PRIu64, before, (double)hist_middle(i) * ns_per_unit,
                    h->slot[i]);
            before = ',';
        }
    }
    fputs("]}\n", json_.file);
    fflush(json_.file);
}

void json_say(const char *bench, const char *subject, const char *name, const char *kind,
              const char *text)
{
    json_line l = { .used = 0 };
    json_str(&l, "bench", bench);
    json_str(&l, "subject", subject);
    json_str(&l, "workload", name);
    json_str(&l, kind, text);
    json_end(&l);
    printf("%s: %s%s%s%s%s: %s\n", kind, bench, name != NULL ? " " : "", name != NULL ? name : "",
           subject != NULL ? " " : "", subject != NULL ? subject : "", text);
    fflush(stdout);
}
