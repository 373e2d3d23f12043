/* SPDX-License-Identifier: MIT
 *
 * workload: reads .wl files, the one description of a workload for drivers in all languages.
 *
 * FORMAT     lines `key = value`, `#` starts a comment; unknown keys and values are errors, and
 *            so is a key given twice. The list workload_words has the form of each value.
 *              ops        OP | OP ...      OP: get, set, get P set Q delete R (a part may be left
 *                         out; the sum is 100), copy, readthrough, many N, pin, hot, hot P set Q,
 *                         lat get P set Q delete R, lat readthrough
 *              value, ttl_ms   each id draws once; DRAW: N | uniform LOW HIGH |
 *                         exponential MEAN MAX | lognormal MEAN SIGMA MAX | choice N:WEIGHT ...
 *              capacity   same: ours by N bytes, others by the entries or memory it then has
 *              threads    cores: as many as the machine has, where that is more; over: also more
 *                         than it has, and 8, 16 and 64 where it has them, or with FULL=1
 *              miss_us    a miss of a read-through waits so long before its set
 *              subjects   absent: all
 * INVARIANTS what parses is complete: trace, key, value, ops and threads were given. The metrics of
 *            published shares are get, mix95, mix50, write; of others mix_P_Q_R.
 * LIMITS     8 ops, 8 thread counts, 8 choices, 8 cores (over: any), lines of 255 bytes. */
#include "bench/harness/workload.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/harness/verify.h"

#define WORKLOAD_LENGTHS 4096 /* distinct lengths that a law draws */

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

static bool workload_file(trace_spec *t, const char *text)
{
    char word[16], value[128];
    int used = 0;
    bool ok = sscanf(text, "file %255s%n", t->path, &used) == 1;
    t->kind = TRACE_FILE;
    for (text += used; ok && sscanf(text, " %15[a-z]=%127s%n", word, value, &used) == 2;
         text += used) {
        ok = strcmp(word, "format") == 0 ? cli_trace_format_of(value, &t->how.format)
                                         : strcmp(word, "columns") == 0 &&
                                               cli_trace_columns_of(value, &t->how);
    }
    return ok && *text == '\0';
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
    return workload_file(t, text);
}

static bool workload_key(workload *w, const char *text)
{
    return workload_u32(text, &w->key_len) && (w->key_len == 8 || w->key_len == 16);
}

static bool workload_choices(workload_draws *d, const char *text)
{
    double sum = 0, weight;
    int used = 0;
    d->law = WORKLOAD_CHOICE;
    for (uint32_t i = 0; sscanf(text, "%" SCNu64 ":%lf%n", &d->choice[i], &weight, &used) == 2;) {
        sum += weight;
        d->upto[i] = sum;
        d->most = d->choice[i] > d->most ? d->choice[i] : d->most;
        text += used;
        text += strspn(text, " \t");
        d->choice_count = ++i;
        if (weight <= 0 || i == WORKLOAD_CHOICES) { break; }
    }
    return d->choice_count > 0 && *text == '\0';
}

static bool workload_draws_read(workload_draws *d, const char *text)
{
    int used = 0;
    memset(d, 0, sizeof *d);
    if (sscanf(text, "lognormal %lf %lf %" SCNu64 "%n", &d->a, &d->b, &d->most, &used) == 3 &&
        text[used] == '\0') {
        d->law = WORKLOAD_LOGNORMAL;
        return d->a >= 1 && d->b >= 0 && d->most > 0;
    }
    if (sscanf(text, "exponential %lf %" SCNu64 "%n", &d->a, &d->most, &used) == 2 &&
        text[used] == '\0') {
        d->law = WORKLOAD_EXPONENTIAL;
        return d->a >= 1 && d->most > 0;
    }
    if (sscanf(text, "uniform %lf %" SCNu64 "%n", &d->a, &d->most, &used) == 2 &&
        text[used] == '\0') {
        d->law = WORKLOAD_EVEN;
        return d->a >= 1 && (double)d->most >= d->a;
    }
    if (strncmp(text, "choice ", 7) == 0) {
        return workload_choices(d, text + 7);
    }
    return workload_u64(text, &d->most);
}

static bool workload_value(workload *w, const char *text)
{
    const bool traced = strncmp(text, "trace ", 6) == 0;
    const bool ok = traced ? workload_u64(text + 6, &w->value.most)
                           : workload_draws_read(&w->value, text);
    w->value.law = traced ? WORKLOAD_TRACE : w->value.law;
    w->value_len = (uint32_t)w->value.most;
    return ok && w->value.most >= 8 && w->value.most <= UINT32_MAX / 2;
}

/* Name the metric of shares: the published ones have names of their own. */
static bool workload_mix_metric(workload_cell *c, uint32_t get_pct)
{
    const char *name = c->set_pct == 0 ? "get" : c->set_pct == 5 ? "mix95"
                       : c->set_pct == 50 ? "mix50" : c->set_pct == 100 ? "write" : NULL;
    if (c->hot) {
        name = c->set_pct == 0 ? "hot" : c->set_pct == 5 ? "hot95" : NULL;
    }
    name = c->op == WORKLOAD_LATENCY ? "p999" : c->del_pct == 0 ? name : NULL;
    if (name != NULL) {
        snprintf(c->metric, sizeof c->metric, "%s", name);
    } else {
        snprintf(c->metric, sizeof c->metric, "mix_%u_%u_%u", get_pct % 101, c->set_pct % 101,
                 c->del_pct % 101);
    }
    return name != NULL || !c->hot;
}

/* "get P set Q delete R", each part at most once; *get_pct is P. */
static bool workload_shares(workload_cell *c, const char *text, uint32_t *get_pct)
{
    static const char *const words[] = { "get", "set", "delete" };
    uint32_t *const to[] = { get_pct, &c->set_pct, &c->del_pct };
    uint32_t seen = 0, value;
    char word[8];
    int used = 0;
    for (; sscanf(text, "%7s %" SCNu32 "%n", word, &value, &used) == 2; text += used) {
        uint32_t i = 0;
        while (i < 3 && strcmp(words[i], c->hot && strcmp(word, "hot") == 0 ? "get" : word) != 0) {
            i++;
        }
        if (i == 3 || (seen & 1u << i) != 0 || value > 100) {
            return false;
        }
        seen |= 1u << i;
        *to[i] = value;
    }
    return seen != 0 && *text == '\0' && *get_pct + c->set_pct + c->del_pct == 100;
}

/* One operation mix, spaces trimmed. */
static bool workload_one_op(workload_cell *c, const char *text)
{
    static const struct { const char *text; workload_cell cell; } fixed[] = {
        { "get", { WORKLOAD_MIX, 0, 0, false, false, "get", 0 } },
        { "set", { WORKLOAD_MIX, 100, 0, false, false, "write", 0 } },
        { "copy", { WORKLOAD_MIX, 0, 0, false, false, "pin_copy", 0 } },
        { "readthrough", { WORKLOAD_READTHROUGH, 0, 0, false, false, "readthrough", 0 } },
        { "lat readthrough", { WORKLOAD_LATENCY, 0, 0, false, true, "set_p99", 0 } },
        { "pin", { WORKLOAD_PIN, 0, 0, false, false, "pin", 0 } },
        { "hot", { WORKLOAD_MIX, 0, 0, true, false, "hot", 0 } },
    };
    for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++) {
        if (strcmp(fixed[i].text, text) == 0) {
            *c = fixed[i].cell;
            return true;
        }
    }
    uint32_t get_pct = 0;
    int used = 0;
    memset(c, 0, sizeof *c);
    if (sscanf(text, "many %" SCNu32 "%n", &c->many, &used) == 1 && text[used] == '\0') {
        c->op = WORKLOAD_MANY;
        snprintf(c->metric, sizeof c->metric, "get_many%u", c->many % 1000);
        return c->many == 1 || c->many == 8 || c->many == 32 || c->many == 64 || c->many == 128;
    }
    const bool latency = strncmp(text, "lat ", 4) == 0;
    text += latency ? 4 : 0;
    c->hot = strncmp(text, "hot ", 4) == 0;
    c->op = latency ? WORKLOAD_LATENCY : WORKLOAD_MIX;
    return workload_shares(c, text, &get_pct) && workload_mix_metric(c, get_pct);
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
    const bool ok = workload_draws_read(&w->ttl, text) && w->ttl.most <= INT64_MAX;
    w->ttl_ms = ok ? (int64_t)w->ttl.most : 0;
    return ok;
}

static bool workload_miss(workload *w, const char *text)
{
    return workload_u32(text, &w->miss_us) && w->miss_us <= 1000000;
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

#define WORKLOAD_DRAW                                                                  \
    "N | uniform LOW HIGH | exponential MEAN MAX | lognormal MEAN SIGMA MAX | "            \
    "choice N:WEIGHT ..."
static const struct workload_word {
    const char *key;
    workload_parser *parse;
    const char *form;
} workload_words[] = {
    { "trace", workload_trace, "zipf S keys=N ops=N seed=N | uniform keys=N ops=N seed=N | "
                               "file PATH [format=F] [columns=C,..] as of cellar replay (S not 1, "
                               "N below 2^31, ops from 32)" },
    { "key", workload_key, "8 | 16" },
    { "value", workload_value, WORKLOAD_DRAW " | trace MAX (at least 8 bytes)" },
    { "ops", workload_ops, "OP | OP .. with OP: get P set Q delete R (sum 100), readthrough, pin, "
                           "copy, many 1/8/32/64/128, hot P set Q, lat OP" },
    { "capacity", workload_capacity, "none | entries N | bytes N [same entries | same rss]" },
    { "ttl_ms", workload_ttl, WORKLOAD_DRAW },
    { "threads", workload_threads, "N N .. [cores [over]], ascending, at most 8 of 1..256" },
    { "prefill", workload_prefill, "all | none | N" },
    { "window_ms", workload_window, "1..10000" },
    { "rounds", workload_rounds, "1..1000" },
    { "min_memory", workload_memory, "bytes" },
    { "subjects", workload_subjects, "NAME NAME .." },
    { "miss_us", workload_miss, "0..1000000" },
};

/* Return NULL for a valid or empty line, else its fault. seen: bits of the keys so far. */
static const char *workload_line(workload *w, char *line, uint32_t *seen)
{
    static char text[512];
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
            snprintf(text, sizeof text, "value not understood: \"%s\"; expected %s", value,
                     workload_words[i].form);
            return workload_words[i].parse(w, value) ? NULL : text;
        }
    }
    size_t used = (size_t)snprintf(text, sizeof text, "unknown key \"%.40s\"; the keys are", line);
    for (size_t i = 0; i < sizeof workload_words / sizeof workload_words[0]; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, " %s", workload_words[i].key);
    }
    return text;
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

static double workload_unit(uint64_t *seed)
{
    return ((double)(trace_random(seed) >> 11) + 1) * 0x1p-53;
}

static uint64_t workload_draw(const workload_draws *d, uint64_t least, uint64_t *seed)
{
    double v = (double)d->most;
    const double u = workload_unit(seed);
    switch (d->law) {
    case WORKLOAD_LOGNORMAL: { /* Box and Muller; the mean is exp(mu + sigma^2 / 2) */
        const double angle = 2 * 3.14159265358979323846 * (workload_unit(seed) - 0x1p-53);
        v = exp(log(d->a) - d->b * d->b / 2 + d->b * sqrt(-2 * log(u)) * cos(angle));
        break;
    }
    case WORKLOAD_EXPONENTIAL: v = -d->a * log(u); break;
    case WORKLOAD_EVEN: v = d->a + (u - 0x1p-53) * (v + 1 - d->a); break;
    case WORKLOAD_CHOICE: {
        uint32_t i = 0;
        while (i + 1 < d->choice_count && d->upto[i] < u * d->upto[d->choice_count - 1]) {
            i++;
        }
        v = (double)d->choice[i];
        break;
    }
    case WORKLOAD_FIXED:
    case WORKLOAD_TRACE: break;
    }
    return v < (double)least ? least : v > (double)d->most ? d->most : (uint64_t)v;
}

int64_t *workload_ttls(const workload *w)
{
    uint64_t seed = w->trace.seed + 78;
    int64_t *table = malloc(WORKLOAD_TTLS * sizeof table[0]);
    for (uint32_t i = 0; table != NULL && i < WORKLOAD_TTLS; i++) {
        table[i] = (int64_t)workload_draw(&w->ttl, 1, &seed);
    }
    return table;
}

uint32_t *workload_lengths(const workload *w, const trace *t, uint32_t *mask)
{
    const bool by_id = w->value.law == WORKLOAD_TRACE && t != NULL && t->sizes != NULL;
    const bool fixed = w->value.law == WORKLOAD_FIXED || w->value.law == WORKLOAD_TRACE;
    const uint64_t count = by_id ? w->trace.key_count : fixed ? 1 : WORKLOAD_LENGTHS;
    uint32_t *table = malloc(count * sizeof table[0]);
    uint64_t seed = w->trace.seed + 77;
    for (uint64_t i = 0; table != NULL && i < count; i++) {
        if (by_id) {
            table[i] = t->sizes[i] < 8 ? 8
                       : t->sizes[i] > w->value_len ? w->value_len : t->sizes[i];
        } else {
            table[i] = fixed ? w->value_len : (uint32_t)workload_draw(&w->value, 8, &seed);
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
