/* SPDX-License-Identifier: MIT
 *
 * Aim:    the text is valid and complete, for any bytes in names of namespaces.
 * Method: a checker of the rules of Prometheus text 0.0.4, tried on invalid texts first; promtool
 *         and python3 if they are installed. */
#include "tests/support/t.h"

#include <ctype.h>

#include "stats/stats.h"

static base_account account;
static char text[1 << 21];

typedef struct named_namespaces {
    const char *name[STATS_SLOTS_MAX];
    size_t len[STATS_SLOTS_MAX]; /* 0: use strlen */
    char made[400][16];
} named_namespaces;
static named_namespaces namespaces;

static bool namespace_name(void *ctx, uint32_t slot, stats_namespace_name *out)
{
    const named_namespaces *v = ctx;
    if (v->name[slot] == NULL) { return false; }
    out->bytes = v->name[slot];
    out->len = v->len[slot] != 0 ? v->len[slot] : strlen(v->name[slot]);
    return true;
}

static stats *open_stats(void)
{
    base_account_init(&account, 64u << 20, NULL);
    stats *st = stats_create(&account);
    T_REQUIRE(st != NULL);
    memset(&namespaces, 0, sizeof namespaces);
    namespaces.name[0] = "";
    return st;
}

static stats_source source(void)
{
    return (stats_source){ .namespace_name = namespace_name, .ctx = &namespaces };
}

/* ---- Prometheus text 0.0.4, line by line; NULL: valid, else the fault ---- */

typedef struct prom_state {
    char family[128], type[16]; /* of the last TYPE line */
    char seen[256][128];        /* families so far */
    size_t seen_count, samples;
    double bucket; /* value of the last bucket of a histogram series */
    double inf;    /* value of its +Inf bucket */
} prom_state;

static const char *name_end(const char *p)
{
    if (!isalpha((unsigned char)*p) && *p != '_' && *p != ':') { return p; }
    while (isalnum((unsigned char)*p) || *p == '_' || *p == ':') { p++; }
    return p;
}

static const char *prom_meta(prom_state *s, const char *line)
{
    const bool help = strncmp(line, "# HELP ", 7) == 0;
    if (!help && strncmp(line, "# TYPE ", 7) != 0) { return "a comment that is neither"; }
    const char *end = name_end(line + 7);
    if (*end != ' ' || end[1] == '\0') { return "HELP or TYPE without a text"; }
    const int len = (int)(end - line - 7);
    if (!help) {
        snprintf(s->type, sizeof s->type, "%.15s", end + 1);
        const bool known = strcmp(s->type, "counter") == 0 || strcmp(s->type, "gauge") == 0 ||
                           strcmp(s->type, "histogram") == 0;
        if (!known) { return "unknown type"; }
        return strncmp(s->family, line + 7, (size_t)len) == 0 ? NULL : "TYPE of another family";
    }
    snprintf(s->family, sizeof s->family, "%.*s", len, line + 7);
    s->type[0] = '\0';
    for (size_t i = 0; i < s->seen_count; i++) {
        if (strcmp(s->seen[i], s->family) == 0) { return "family twice"; }
    }
    if (s->seen_count == 256) { return "too many families for this checker"; }
    memcpy(s->seen[s->seen_count++], s->family, sizeof s->family);
    return NULL;
}

/* Check {a="b",c="d"}. Return the text behind it, NULL: invalid. *le: value of the label le. */
static const char *prom_labels(const char *p, const char **le)
{
    for (p++; ; p++) {
        const char *end = name_end(p);
        if (end == p || end[0] != '=' || end[1] != '"') { return NULL; }
        if (strncmp(p, "le=", 3) == 0) { *le = end + 2; }
        for (p = end + 2; *p != '"'; p++) {
            if (*p == '\\') {
                p++;
                if (*p != '\\' && *p != '"' && *p != 'n') { return NULL; }
            }
            if (*p == '\0') { return NULL; }
        }
        if (*++p == '}') { return p + 1; }
        if (*p != ',') { return NULL; }
    }
}

static const char *prom_histogram(prom_state *s, const char *suffix, const char *le, double value)
{
    if (strcmp(suffix, "_bucket") == 0) {
        if (le == NULL) { return "bucket without le"; }
        if (value < s->bucket) { return "buckets fall"; }
        const bool last = strncmp(le, "+Inf", 4) == 0;
        s->bucket = last ? 0 : value;
        if (last) { s->inf = value; }
        return NULL;
    }
    if (strcmp(suffix, "_count") == 0) { return value == s->inf ? NULL : "count is not +Inf"; }
    return strcmp(suffix, "_sum") == 0 ? NULL : "odd suffix of a histogram";
}

static const char *prom_sample(prom_state *s, const char *line)
{
    const char *end = name_end(line), *le = NULL;
    const size_t family_len = strlen(s->family);
    if (end == line) { return "no name"; }
    if (strncmp(line, s->family, family_len) != 0) { return "sample outside its family"; }
    char suffix[16];
    snprintf(suffix, sizeof suffix, "%.*s", (int)(end - line - (ptrdiff_t)family_len),
             line + family_len);
    const char *p = *end == '{' ? prom_labels(end, &le) : end;
    if (p == NULL) { return "bad labels"; }
    if (*p != ' ') { return "no blank before the value"; }
    char *rest;
    const double value = strtod(p + 1, &rest);
    if (rest == p + 1 || *rest != '\0') { return "bad value"; }
    s->samples++;
    if (strcmp(s->type, "histogram") == 0) { return prom_histogram(s, suffix, le, value); }
    if (suffix[0] != '\0') { return "suffix without histogram"; }
    const bool total = family_len > 6 && strcmp(s->family + family_len - 6, "_total") == 0;
    if (total != (strcmp(s->type, "counter") == 0)) { return "_total and counter go together"; }
    return NULL;
}

/* Check a text and count its samples. samples NULL: a fault is expected, do not print the line. */
static const char *prom_check(const char *all, size_t *samples)
{
    static prom_state s;
    static char line[4096];
    memset(&s, 0, sizeof s);
    while (*all != '\0') {
        const char *end = strchr(all, '\n');
        if (end == NULL) { return "last line without its end"; }
        if ((size_t)(end - all) >= sizeof line) { return "line too long for this checker"; }
        memcpy(line, all, (size_t)(end - all));
        line[end - all] = '\0';
        all = end + 1;
        const char *wrong = line[0] == '#' ? prom_meta(&s, line) : prom_sample(&s, line);
        if (wrong != NULL) {
            if (samples != NULL) { printf("# line: %.200s\n", line); }
            return wrong;
        }
    }
    if (samples != NULL) { *samples = s.samples; }
    return NULL;
}

T_CASE(checker_rejects_invalid_texts)
{
#define FAMILY "# HELP a_total h\n# TYPE a_total counter\n"
    static const char *const bad[] = {
        "a_total 1\n", FAMILY "a_total 1", FAMILY "a_total{x=\"\\q\"} 1\n", FAMILY "a_total{} 1\n",
        FAMILY "a_total x\n", FAMILY FAMILY, FAMILY "b_total 1\n", "# TYPE a_total counter\n",
        "# HELP a h\n# TYPE a counter\na 1\n", FAMILY "a_total{x=\"1\"}1\n", "# nothing\n",
        "# HELP a h\n# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"2\"} 1\n",
        "# HELP a h\n# TYPE a histogram\na_bucket{le=\"+Inf\"} 2\na_count 3\n",
        "# HELP a h\n# TYPE a speed\na 1\n",
    };
    size_t samples = 0;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        T_CHECK(prom_check(bad[i], NULL) != NULL);
    }
    T_EQ_STR(prom_check(FAMILY "a_total{x=\"\\\\ \\\" \\n\",y=\"\"} 1.5\n", &samples), NULL);
    T_EQ_U64(samples, 1);
#undef FAMILY
}

static void fill(stats *st)
{
    stats_add(stats_mine(st, 0), STATS_HIT_L1, 3);
    stats_add(stats_mine(st, 0), STATS_MISS, 1);
    stats_count(st, STATS_TICK_NS, 2500000042);
    stats_add(stats_mine(st, 0), STATS_LOAD_NS, 1500000042);
    for (uint64_t ns = 1; ns < 5000000; ns = ns * 5 / 3 + 1) {
        stats_time(st, STATS_OP_GET_HIT, ns);
        stats_time(st, STATS_OP_TICK, ns * 7);
    }
}

static void name_slot(stats *st, uint32_t slot, const char *name, size_t len)
{
    T_REQUIRE(stats_slot_open(st, slot));
    namespaces.name[slot] = name;
    namespaces.len[slot] = len;
}

/* The table again, as this test counts it: where each line is shown. */
enum { IN_METRICS = 'm', IN_DUMP = 'd' };
#define WHERE_METRIC(help) "m"
#define WHERE_DUMP "d"
#define WHERE_SAME "="
#define WHERE(id, family, label, shown) WHERE_##shown
#define WHERE_FIELD(id, field, ...) WHERE(id, __VA_ARGS__)
static const char namespace_lines[] = STATS_NAMESPACE_COUNTERS(WHERE_FIELD);
static const char given_lines[] = STATS_NAMESPACE_GIVEN(WHERE);
static const char store_lines[] = STATS_STORE_COUNTERS(WHERE) STATS_GIVEN(WHERE)
    STATS_GIVEN_L1(WHERE) STATS_GIVEN_L2(WHERE);

static size_t lines_shown(char where, const char *lines)
{
    size_t count = 0;
    char last = 0;
    for (; *lines != '\0'; lines++) {
        if (*lines != '=') { last = *lines; }
        count += last == where;
    }
    return count;
}

#define STATS(fn) T_WITH(fn, stats *st, st, open_stats(), stats_destroy(st))

T_CASE_ON(prometheus_text_is_valid, STATS)
{
    fill(st);
    name_slot(st, 1, "plain", 0);
    name_slot(st, 2, "quote\" back\\slash new\nline", 0);
    name_slot(st, 3, "\xc3\xa9t\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", 0);
    name_slot(st, 4, "bad\xff" "utf8", 0);
    name_slot(st, 5, "zero\0inside", 11);
    name_slot(st, 6, "\xed\xa0\x80", 0); /* a surrogate */
    stats_source from = source();
    from.given[STATS_GIVEN_L1_entries] = 12345;
    from.given[STATS_GIVEN_L1_splits] = 678;
    const size_t len = stats_write(st, &from, STATS_PROMETHEUS, text, sizeof text);
    T_REQUIRE(len < sizeof text);
    T_EQ_U64(len, strlen(text));
    size_t samples = 0;
    T_EQ_STR(prom_check(text, &samples), NULL);
    /* Seven namespaces with all counters, ratio, entries: no sample is missing or superfluous. */
    T_EQ_U64(samples, 7 * (lines_shown(IN_METRICS, namespace_lines) + 2) +
                          lines_shown(IN_METRICS, store_lines) + STATS_OP_COUNT * 18);
    T_CHECK(strstr(text, "\ncellar_hits_total{namespace=\"\",tier=\"l1\"} 3\n") != NULL);
    T_CHECK(strstr(text, "\ncellar_hit_ratio{namespace=\"\"} 0.750000\n") != NULL);
    T_CHECK(strstr(text, "\ncellar_load_seconds_total{namespace=\"\"} 1.500000042\n") != NULL);
    T_CHECK(strstr(text, "\ncellar_entries 12345\n") != NULL);
    T_CHECK(strstr(text, "namespace=\"quote\\\" back\\\\slash new\\nline\"") != NULL);
    T_CHECK(strstr(text, "namespace=\"\xc3\xa9t\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"") != NULL);
    T_CHECK(strstr(text, "namespace=\"0x626164ff75746638\"") != NULL);
    T_CHECK(strstr(text, "namespace=\"0x7a65726f00696e73696465\"") != NULL);
    T_CHECK(strstr(text, "namespace=\"0xeda080\"") != NULL);
    T_CHECK(strstr(text, "cellar_op_sampled_seconds_bucket{op=\"get_hit\",le=\"0.000000064\"}"));
    T_CHECK(strstr(text, "cellar_op_seconds_bucket{op=\"tick\",le=\"17.179869184\"}") != NULL);
}

T_CASE_ON(any_buffer_size_is_safe_and_returns_the_length, STATS)
{
    fill(st);
    const stats_source from = source();
    const size_t len = stats_write(st, &from, STATS_PROMETHEUS, NULL, 0);
    static char part[1 << 16];
    T_REQUIRE(len < sizeof part);
    T_EQ_U64(stats_write(st, &from, STATS_PROMETHEUS, text, sizeof text), len);
    for (size_t cap = 1; cap < len + 2; cap += 1 + cap / 7) {
        memset(part, 'x', sizeof part);
        T_EQ_U64(stats_write(st, &from, STATS_PROMETHEUS, part, cap), len);
        const size_t kept = cap - 1 < len ? cap - 1 : len;
        T_EQ_MEM(part, text, kept);
        T_CHECK(part[kept] == '\0' && part[cap] == 'x');
    }
}

static double sum_of(const char *family, size_t *lines)
{
    double sum = 0;
    *lines = 0;
    for (const char *p = text; (p = strstr(p, family)) != NULL; p++) {
        if (p[-1] != '\n') { continue; }
        const char *end = strchr(p, '\n'), *blank = end;
        while (*blank != ' ') { blank--; }
        sum += strtod(blank, NULL);
        ++*lines;
    }
    return sum;
}

T_CASE_ON(beyond_256_namespaces_the_busiest_have_lines, STATS)
{
    uint64_t total = 0;
    for (uint32_t i = 1; i <= 300; i++) {
        snprintf(namespaces.made[i], sizeof namespaces.made[i], "v%u", (unsigned)i);
        name_slot(st, i, namespaces.made[i], 0);
        const uint64_t gets = (uint64_t)i * 7919 % 1009; /* distinct, in no order */
        stats_add(stats_mine(st, i), STATS_MISS, gets);
        total += gets;
    }
    const stats_source from = source();
    T_REQUIRE(stats_write(st, &from, STATS_PROMETHEUS, text, sizeof text) < sizeof text);
    size_t lines, samples;
    T_EQ_STR(prom_check(text, &samples), NULL);
    T_EQ_U64((uint64_t)sum_of("cellar_misses_total{", &lines), total);
    T_EQ_U64(lines, 256);
    T_CHECK(strstr(text, "cellar_misses_total{namespace=\"other\"}") != NULL);
    /* No namespace without lines has more gets than one with lines. */
    uint64_t least_in = UINT64_MAX, most_out = 0;
    for (uint32_t i = 1; i <= 300; i++) {
        char line[64];
        snprintf(line, sizeof line, "cellar_misses_total{namespace=\"v%u\"}", (unsigned)i);
        const uint64_t gets = stats_read(st, i, STATS_MISS);
        if (strstr(text, line) != NULL) {
            least_in = gets < least_in ? gets : least_in;
        } else {
            most_out = gets > most_out ? gets : most_out;
        }
    }
    T_CHECK(most_out <= least_in);
}

T_CASE_ON(namespace_named_other_is_in_the_sum_of_others, STATS)
{
    size_t lines;
    for (uint32_t i = 1; i <= 300; i++) {
        snprintf(namespaces.made[i], sizeof namespaces.made[i], "v%u", (unsigned)i);
        name_slot(st, i, i == 7 ? "other" : namespaces.made[i], 0);
        stats_add(stats_mine(st, i), STATS_MISS, i == 7 ? 1000 : 1);
    }
    const stats_source from = source();
    T_REQUIRE(stats_write(st, &from, STATS_PROMETHEUS, text, sizeof text) < sizeof text);
    T_EQ_U64((uint64_t)sum_of("cellar_misses_total{", &lines), 1299);
    T_EQ_U64(lines, 256);
    T_EQ_U64((uint64_t)sum_of("cellar_misses_total{namespace=\"other\"}", &lines), 1044);
    T_EQ_U64(lines, 1);
}

/* Pass figures of namespaces: none for slot 0, one for slot 2, all for the others. */
static bool namespace_given(void *ctx, uint32_t slot, stats_namespace_given id, uint64_t *out)
{
    (void)ctx;
    *out = (uint64_t)id * 1000 + slot;
    return slot != 0 && (slot != 2 || id == STATS_NAMESPACE_QUOTA_BYTES);
}

T_CASE_ON(known_figures_of_namespaces_are_written, STATS)
{
    fill(st);
    name_slot(st, 1, "a\"b", 0);
    name_slot(st, 2, "two", 0);
    stats_source from = source();
    T_REQUIRE(stats_write(st, &from, STATS_PROMETHEUS, text, sizeof text) < sizeof text);
    T_CHECK(strstr(text, "cellar_quota") == NULL && strstr(text, "cellar_breaker_state") == NULL);
    size_t without = 0, with = 0, lines;
    T_EQ_STR(prom_check(text, &without), NULL);
    from.namespace_given = namespace_given;
    T_REQUIRE(stats_write(st, &from, STATS_PROMETHEUS, text, sizeof text) < sizeof text);
    T_EQ_STR(prom_check(text, &with), NULL);
    /* Ratio and entries were there before; namespace two has one line more. */
    T_EQ_U64(with, without + lines_shown(IN_METRICS, given_lines) - 2 + 1);
    (void)sum_of("cellar_quota_bytes{", &lines);
    T_EQ_U64(lines, 2);
    (void)sum_of("cellar_quota_ceiling_bytes{", &lines);
    T_EQ_U64(lines, 1);
    char line[96];
    snprintf(line, sizeof line, "\ncellar_breaker_state{namespace=\"a\\\"b\"} %d\n",
             STATS_NAMESPACE_BREAKER * 1000 + 1);
    T_CHECK(strstr(text, line) != NULL);
    T_REQUIRE(stats_write(st, &from, STATS_REST, text, sizeof text) < sizeof text);
    snprintf(line, sizeof line, "\ncellar_saved_cost_us{namespace=\"a\\\"b\"} %d\n",
             STATS_NAMESPACE_SAVED_COST * 1000 + 1);
    T_CHECK(strstr(text, line) != NULL);
}

/* The metrics and the dump together have each line of the table once. */
T_CASE_ON(dump_has_the_figures_that_metrics_leave_out, STATS)
{
    fill(st);
    stats_source from = source();
    from.given[STATS_GIVEN_L1_entries] = 12345;
    from.given[STATS_GIVEN_L1_splits] = 678;
    T_REQUIRE(stats_write(st, &from, STATS_PROMETHEUS, text, sizeof text) < sizeof text);
    T_CHECK(strstr(text, "\ncellar_entries 12345\n") != NULL);
    T_CHECK(strstr(text, "cellar_l1_splits_total") == NULL);
    const size_t len = stats_write(st, &from, STATS_REST, text, sizeof text);
    T_EQ_U64(stats_write(st, &from, STATS_REST, NULL, 0), len);
    T_EQ_U64(len, strlen(text));
    T_CHECK(strstr(text, "cellar_entries") == NULL && strchr(text, '#') == NULL);
    T_CHECK(strstr(text, "\ncellar_l1_splits_total 678\n") != NULL);
    T_CHECK(strstr(text, "\ncellar_tick_seconds_total 2.500000042\n") != NULL);
    size_t lines = 0;
    for (const char *at = text; *at != '\0'; at++) { lines += *at == '\n'; }
    T_EQ_U64(lines, lines_shown(IN_DUMP, namespace_lines) + lines_shown(IN_DUMP, store_lines));
}

/* ---- JSON ---- */

static size_t count_of(const char *word)
{
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, word)) != NULL; at++) { n++; }
    return n;
}

/* Write figures of namespaces with names of any bytes. Return the length of the JSON text. */
static size_t write_json(stats *st)
{
    fill(st);
    name_slot(st, 1, "q\" b\\ n\n tab\t", 0);
    name_slot(st, 2, "\xff", 0);
    name_slot(st, 3, "\x01\x1f\x7f \xc3\xa9", 0);
    static const stats_hot_line hot[] = { { "q\"", "k\n\\", 3, 12, 250000 },
                                          { "", "\xff", 1, 0, 1000000 } };
    stats_source from = source();
    from.hot = hot;
    from.hot_count = 2;
    const size_t len = stats_write(st, &from, STATS_JSON, text, sizeof text);
    T_EQ_U64(len, strlen(text));
    T_EQ_U64(stats_write(st, &from, STATS_JSON, NULL, 0), len);
    return len;
}

T_CASE_ON(json_is_complete, STATS)
{
    (void)write_json(st);
    T_CHECK(strstr(text, "{\"name\":\"cellar_hits_total\","
                         "\"labels\":{\"namespace\":\"\",\"tier\":\"l1\"},\"value\":3}") != NULL);
    T_CHECK(strstr(text, "\"namespace\":\"q\\\" b\\\\ n\\n tab\\u0009\"") != NULL);
    T_CHECK(strstr(text, "\"namespace\":\"\\u0001\\u001f\x7f \xc3\xa9\"") != NULL);
    T_CHECK(strstr(text, "\"namespace\":\"0xff\"") != NULL);
    T_CHECK(strstr(text, "{\"op\":\"get_hit\",\"sampled\":true,\"count\":") != NULL);
    T_EQ_U64(count_of("\"name\":"), 4 * (lines_shown(IN_METRICS, namespace_lines) + 2) +
                                        lines_shown(IN_METRICS, store_lines));
    T_EQ_U64(count_of("\"op\":"), STATS_OP_COUNT);
    T_CHECK(strstr(text, "\"hot_keys\":[\n{\"namespace\":\"q\\\"\",\"key\":\"k\\n\\\\\","
                         "\"gets_per_s\":12,\"share\":0.250000},\n{\"namespace\":\"\","
                         "\"key\":\"0xff\",\"gets_per_s\":0,\"share\":1.000000}]}\n") != NULL);
}

/* Return whether the command accepts the text. */
static bool accepted_by(const char *command)
{
    FILE *to = popen(command, "w");
    T_REQUIRE(to != NULL);
    fputs(text, to);
    return pclose(to) == 0;
}

T_CASE_ON(python_reads_the_json, STATS)
{
    if (system("command -v python3 >/dev/null 2>&1") != 0) {
        T_SKIP("python3 is not installed");
        return;
    }
    (void)write_json(st);
    T_CHECK(accepted_by("python3 -m json.tool >/dev/null"));
}

#define PROMTOOL_PATH "PATH=$PATH:build/peers/usr/bin; " /* unpacked by deps.sh check */

T_CASE_ON(promtool_accepts_the_text, STATS)
{
    if (system(PROMTOOL_PATH "command -v promtool >/dev/null 2>&1") != 0) {
        T_SKIP("no promtool (package prometheus)");
        return;
    }
    fill(st);
    name_slot(st, 2, "quote\" back\\slash new\nline", 0);
    const stats_source from = source();
    stats_write(st, &from, STATS_PROMETHEUS, text, sizeof text);
    T_CHECK(accepted_by(PROMTOOL_PATH "promtool check metrics >&2"));
}

T_ONE_THREAD;
T_MAIN("stats_text")
