/* SPDX-License-Identifier: MIT
 *
 * workload: reads .wl files, the one description of a workload for drivers in all languages.
 *
 * FORMAT     lines `key = value`, `#` starts a comment; unknown keys and values are errors, and
 *            so is a key given twice:
 *              trace      zipf S keys=N ops=N seed=N | uniform keys=N ops=N seed=N | file PATH
 *              key        8 | 16
 *              value      BYTES | lognormal MEAN SIGMA MAX | trace MAX
 *              ops        OP | OP ...      OP: get, get P set Q, set, copy, readthrough, many N,
 *                         pin, hot, hot P set Q, lat get P set Q, lat readthrough
 *              capacity   none | entries N | bytes N [same entries | same rss]
 *                         (same: ours by N bytes, others by the entries or memory it then has)
 *              ttl_ms     N                (0 or absent: none)
 *              threads    N N ... [cores [over]]   (cores: as many as the machine has, where that
 *                         is more; over: also more than it has, and 8, 16 and 64 where it has
 *                         them, or with FULL=1)
 *              prefill    all | none | N
 *              window_ms, rounds, min_memory   N
 *              subjects   NAME NAME ...    (absent: all)
 * INVARIANTS what parses is complete: trace, key, value, ops and threads were given.
 * LIMITS     8 ops, 8 thread counts, 8 cores (over: any), lines of 255 bytes; mixes only of the
 *            published shares (95:5, 50:50), so that a metric name says exactly one thing. */
#include "bench/harness/workload.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/harness/verify.h"

#define WORKLOAD_LENGTHS 4096 /* distinct lengths drawn from a law */

typedef bool workload_parser(workload *w, const char *text);

static bool workload_u64(const char *text, uint64_t *out)
{
    char *end;
    errno = 0;
    const unsigned long long v = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *text == '-' || *text == '+') {
        return false;
    }
    end += strspn(end, " \t");
    *out = v;
    return *end == '\0';
}

static bool workload_u32(const char *text, uint32_t *out)
{
    uint64_t v;
    const bool ok = workload_u64(text, &v) && v <= UINT32_MAX;
    *out = ok ? (uint32_t)v : 0;
    return ok;
}

static bool workload_made(const trace_spec *t) /* not from a file */
{
    return t->key_count > 0 && t->key_count <= INT32_MAX && t->op_count >= 32;
}

static bool workload_trace(workload *w, const char *text)
{
    trace_spec *t = &w->trace;
    int used = 0;
    if (sscanf(text, "zipf %lf keys=%" SCNu64 " ops=%" SCNu64 " seed=%" SCNu64 "%n", &t->zipf_s,
               &t->key_count, &t->op_count, &t->seed, &used) == 4 && text[used] == '\0') {
        t->kind = TRACE_ZIPF;
        return t->zipf_s > 0 && fabs(t->zipf_s - 1) > 1e-9 && workload_made(t);
    }
    if (sscanf(text, "uniform keys=%" SCNu64 " ops=%" SCNu64 " seed=%" SCNu64 "%n",
               &t->key_count, &t->op_count, &t->seed, &used) == 3 && text[used] == '\0') {
        t->kind = TRACE_UNIFORM;
        return workload_made(t);
    }
    t->kind = TRACE_FILE;
    return sscanf(text, "file %255s%n", t->path, &used) == 1 && text[used] == '\0';
}

static bool workload_key(workload *w, const char *text)
{
    return workload_u32(text, &w->key_len) && (w->key_len == 8 || w->key_len == 16);
}

static bool workload_value(workload *w, const char *text)
{
    int used = 0;
    if (sscanf(text, "lognormal %lf %lf %" SCNu32 "%n", &w->value_mean, &w->value_sigma,
               &w->value_len, &used) == 3 && text[used] == '\0') {
        w->law = WORKLOAD_LOGNORMAL;
        return w->value_mean >= 8 && w->value_sigma >= 0 && w->value_len >= 8;
    }
    if (sscanf(text, "trace %" SCNu32 "%n", &w->value_len, &used) == 1 && text[used] == '\0') {
        w->law = WORKLOAD_TRACE;
        return w->value_len >= 8;
    }
    w->law = WORKLOAD_FIXED;
    return workload_u32(text, &w->value_len) && w->value_len >= 8;
}

static const char *workload_mix_metric(bool hot, uint32_t set_pct)
{
    switch (set_pct) {
    case 0: return hot ? "hot" : "get";
    case 5: return hot ? "hot95" : "mix95";
    case 50: return hot ? NULL : "mix50";
    case 100: return hot ? NULL : "write";
    default: return NULL;
    }
}

static const char *workload_many_metric(uint32_t many)
{
    switch (many) {
    case 1: return "get_many1";
    case 8: return "get_many8";
    case 32: return "get_many32";
    case 64: return "get_many64";
    case 128: return "get_many128";
    default: return NULL;
    }
}

/* One operation mix, spaces trimmed. */
static bool workload_one_op(workload_cell *c, const char *text)
{
    static const struct { const char *text; workload_cell cell; } fixed[] = {
        { "get", { WORKLOAD_MIX, 0, 0, false, false, "get" } },
        { "set", { WORKLOAD_MIX, 100, 0, false, false, "write" } },
        { "copy", { WORKLOAD_MIX, 0, 0, false, false, "pin_copy" } },
        { "readthrough", { WORKLOAD_READTHROUGH, 0, 0, false, false, "readthrough" } },
        { "lat readthrough", { WORKLOAD_LATENCY, 0, 0, false, true, "set_p99" } },
        { "pin", { WORKLOAD_PIN, 0, 0, false, false, "pin" } },
        { "hot", { WORKLOAD_MIX, 0, 0, true, false, "hot" } },
    };
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++) {
        if (strcmp(fixed[i].text, text) == 0) {
            *c = fixed[i].cell;
            return true;
        }
    }
    uint32_t get_pct = 0, set_pct = 0;
    int used = 0;
    memset(c, 0, sizeof *c);
    if (sscanf(text, "many %" SCNu32 "%n", &c->many, &used) == 1 && text[used] == '\0') {
        c->op = WORKLOAD_MANY;
        c->metric = workload_many_metric(c->many);
        return c->metric != NULL;
    }
    const bool latency = strncmp(text, "lat ", 4) == 0;
    text += latency ? 4 : 0;
    c->hot = strncmp(text, "hot ", 4) == 0;
    if (sscanf(text, c->hot ? "hot %" SCNu32 " set %" SCNu32 "%n" : "get %" SCNu32 " set %" SCNu32
               "%n", &get_pct, &set_pct, &used) != 2 || text[used] != '\0' ||
        get_pct > 100 || get_pct + set_pct != 100) {
        return false;
    }
    c->op = latency ? WORKLOAD_LATENCY : WORKLOAD_MIX;
    c->set_pct = set_pct;
    c->metric = latency ? "p999" : workload_mix_metric(c->hot, set_pct);
    return c->metric != NULL;
}

static bool workload_ops(workload *w, const char *text)
{
    char copy[256];
    if (strlen(text) >= sizeof copy) {
        return false;
    }
    snprintf(copy, sizeof copy, "%s", text);
    for (char *at = copy, *next; at != NULL; at = next) {
        next = strchr(at, '|');
        if (next != NULL) {
            *next++ = '\0';
        }
        at += strspn(at, " \t");
        for (size_t n = strlen(at); n > 0 && (at[n - 1] == ' ' || at[n - 1] == '\t'); n--) {
            at[n - 1] = '\0';
        }
        if (w->cell_count == WORKLOAD_CELLS ||
            !workload_one_op(&w->cell[w->cell_count], at)) {
            return false;
        }
        w->cell_count++;
    }
    return true;
}

static bool workload_capacity(workload *w, const char *text)
{
    int used = 0;
    if (strcmp(text, "none") == 0) {
        return true;
    }
    if (sscanf(text, "entries %" SCNu64 "%n", &w->capacity_entries, &used) == 1) {
        return text[used] == '\0' && w->capacity_entries > 0;
    }
    const bool ok = sscanf(text, "bytes %" SCNu64 "%n", &w->capacity_bytes, &used) == 1;
    const char *rest = text + used;
    w->room = strcmp(rest, " same entries") == 0 ? WORKLOAD_ENTRIES
              : strcmp(rest, " same rss") == 0 ? WORKLOAD_RSS : WORKLOAD_OWN;
    return ok && w->capacity_bytes > 0 && (*rest == '\0' || w->room != WORKLOAD_OWN);
}

static bool workload_threads(workload *w, const char *text)
{
    int used;
    for (; sscanf(text, "%" SCNu32 "%n", &w->thread[w->thread_count], &used) == 1; text += used) {
        const uint32_t before = w->thread_count > 0 ? w->thread[w->thread_count - 1] : 0;
        if (w->thread[w->thread_count] <= before || w->thread[w->thread_count] > 256) {
            return false;
        }
        if (++w->thread_count == WORKLOAD_THREADS) {
            text += used;
            break;
        }
    }
    text += strspn(text, " \t");
    w->over = strcmp(text, "cores over") == 0;
    w->cores = w->over || strcmp(text, "cores") == 0;
    return w->thread_count > 0 && (w->cores || *text == '\0');
}

static bool workload_prefill(workload *w, const char *text)
{
    if (strcmp(text, "none") == 0) {
        w->prefill = 0;
        return true;
    }
    if (strcmp(text, "all") == 0) {
        w->prefill = UINT64_MAX;
        return true;
    }
    return workload_u64(text, &w->prefill);
}

static bool workload_ttl(workload *w, const char *text)
{
    uint64_t v;
    const bool ok = workload_u64(text, &v) && v <= INT64_MAX;
    w->ttl_ms = ok ? (int64_t)v : 0;
    return ok;
}

static bool workload_window(workload *w, const char *text)
{
    return workload_u32(text, &w->window_ms) && w->window_ms > 0 && w->window_ms <= 10000;
}
static bool workload_rounds(workload *w, const char *text)
{
    return workload_u32(text, &w->rounds) && w->rounds > 0 && w->rounds <= 1000;
}
static bool workload_memory(workload *w, const char *text)
{
    return workload_u64(text, &w->min_memory);
}
static bool workload_subjects(workload *w, const char *text)
{
    snprintf(w->subjects, sizeof w->subjects, "%s", text);
    return text[0] != '\0' && strlen(text) < sizeof w->subjects;
}

static const struct workload_word {
    const char *key;
    workload_parser *parse;
} workload_words[] = {
    { "trace", workload_trace },       { "key", workload_key },
    { "value", workload_value },       { "ops", workload_ops },
    { "capacity", workload_capacity }, { "ttl_ms", workload_ttl },
    { "threads", workload_threads },   { "prefill", workload_prefill },
    { "window_ms", workload_window },  { "rounds", workload_rounds },
    { "min_memory", workload_memory }, { "subjects", workload_subjects },
};

/* Return NULL for a valid or empty line, else its fault. seen: bits of the keys so far. */
static const char *workload_line(workload *w, char *line, uint32_t *seen)
{
    line[strcspn(line, "#\r\n")] = '\0';
    line += strspn(line, " \t");
    for (size_t n = strlen(line); n > 0 && (line[n - 1] == ' ' || line[n - 1] == '\t'); n--) {
        line[n - 1] = '\0';
    }
    if (*line == '\0') {
        return NULL;
    }
    char *value = strchr(line, '=');
    if (value == NULL) {
        return "no `key = value`";
    }
    *value++ = '\0';
    line[strcspn(line, " \t")] = '\0';
    value += strspn(value, " \t");
    for (size_t i = 0; i < sizeof workload_words / sizeof workload_words[0]; i++) {
        if (strcmp(workload_words[i].key, line) == 0) {
            if ((*seen & 1u << i) != 0) {
                return "given twice";
            }
            *seen |= 1u << i;
            return workload_words[i].parse(w, value) ? NULL : "value not understood";
        }
    }
    return "unknown key";
}

static void workload_name(workload *w, const char *path)
{
    const char *base = strrchr(path, '/');
    snprintf(w->name, sizeof w->name, "%s", base != NULL ? base + 1 : path);
    const size_t n = strlen(w->name);
    if (n > 3 && strcmp(w->name + n - 3, ".wl") == 0) {
        w->name[n - 3] = '\0';
    }
}

bool workload_read(const char *path, workload *out, char *why, size_t why_cap)
{
    char line[256];
    uint32_t number = 0, seen = 0;
    const char *wrong = NULL;
    memset(out, 0, sizeof *out);
    out->prefill = UINT64_MAX;
    workload_name(out, path);
    snprintf(out->path, sizeof out->path, "%s", path);
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        snprintf(why, why_cap, "%s: cannot be opened", path);
        return false;
    }
    while (wrong == NULL && fgets(line, sizeof line, f) != NULL) {
        number++;
        wrong = strchr(line, '\n') == NULL && !feof(f) ? "line too long"
                                                       : workload_line(out, line, &seen);
        if (out->subjects[0] != '\0' && out->subjects_line == 0) { out->subjects_line = number; }
    }
    fclose(f);
    if (wrong == NULL && (out->key_len == 0 || out->value_len == 0 || out->cell_count == 0 ||
                          out->thread_count == 0 ||
                          (out->trace.kind != TRACE_FILE && out->trace.op_count < 32))) {
        wrong = "trace, key, value, ops or threads missing";
    }
    if (wrong != NULL) {
        snprintf(why, why_cap, "%s:%u: %s", path, number, wrong);
    }
    return wrong == NULL;
}

static uint32_t workload_draw(const workload *w, uint64_t *seed)
{
    /* Box and Muller; the mean of a lognormal is exp(mu + sigma^2 / 2). */
    const double u = ((double)(trace_random(seed) >> 11) + 1) * 0x1p-53;
    const double v = (double)(trace_random(seed) >> 11) * 0x1p-53;
    const double normal = sqrt(-2 * log(u)) * cos(2 * 3.14159265358979323846 * v);
    const double mu = log(w->value_mean) - w->value_sigma * w->value_sigma / 2;
    const double len = exp(mu + w->value_sigma * normal);
    return len < 8 ? 8 : len > w->value_len ? w->value_len : (uint32_t)len;
}

uint32_t *workload_lengths(const workload *w, const trace *t, uint32_t *mask)
{
    const bool by_id = w->law == WORKLOAD_TRACE && t != NULL && t->sizes != NULL;
    const uint64_t count = by_id ? w->trace.key_count
                                 : w->law == WORKLOAD_LOGNORMAL ? WORKLOAD_LENGTHS : 1;
    uint32_t *table = malloc(count * sizeof table[0]);
    uint64_t seed = w->trace.seed + 77;
    for (uint64_t i = 0; table != NULL && i < count; i++) {
        if (by_id) {
            table[i] = t->sizes[i] < 8 ? 8
                       : t->sizes[i] > w->value_len ? w->value_len : t->sizes[i];
        } else {
            table[i] = w->law == WORKLOAD_LOGNORMAL ? workload_draw(w, &seed) : w->value_len;
        }
    }
    *mask = by_id ? UINT32_MAX : (uint32_t)(count - 1);
    return table;
}

uint64_t workload_payload(const workload *w, const uint32_t *lengths, uint32_t mask)
{
    uint64_t bytes = 0;
    const uint64_t n = w->prefill < w->trace.key_count ? w->prefill : w->trace.key_count;
    for (uint64_t i = 0; i < n; i++) {
        bytes += w->key_len + lengths[(uint32_t)i & mask];
    }
    return bytes;
}

bool workload_wants(const workload *w, const char *subject)
{
    const size_t n = strlen(subject);
    if (w->subjects[0] == '\0') {
        return true;
    }
    for (const char *at = w->subjects; (at = strstr(at, subject)) != NULL; at += n) {
        if ((at == w->subjects || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0')) {
            return true;
        }
    }
    return false;
}
