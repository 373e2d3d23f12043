/* SPDX-License-Identifier: MIT
 *
 * text: write the registry as Prometheus text 0.0.4 or as JSON into the caller's buffer.
 *
 * PICTURE    registry lists (stats.h) -> stats_tell: families, samples -> stats_out -> buffer
 *            one walk for both forms; only stats_family and stats_sample_* depend on the form
 * INVARIANTS out->len grows by the full text even if the buffer is full, so a second call with
 *            len + 1 bytes fits unless figures have gained digits. Lines of a family stand
 *            together, after one HELP and one TYPE. The +Inf bucket of a histogram equals its
 *            count.
 * LOCKING    None. The figures of one text are read one after the other, not at one instant.
 * FORMAT     Counters end in _total. Units are base units: nanoseconds are written as seconds with
 *            nine digits. Not by printf: its decimal point depends on the locale.
 *            Label values escape \, " and newline. A namespace name that is not UTF-8, or holds a 0
 *            byte, is written as 0x and its hex digits.
 *            le="2^k ns" counts the values below 2^k ns: the buckets of hist.c are half open.
 * LIMITS     256 namespaces; of more, the 255 with most gets, and the sum of all others as "other".
 *            Two names with equal text (one is "0xff", the other the byte ff) share a label
 *            value. */
#ifndef CELLAR_OMIT_TEXT
#include <string.h>

#include "base/num.h"
#include "stats/stats_int.h"

BASE_SIZE_BEGIN

typedef struct stats_out {
    char *buf;
    size_t cap; /* bytes of buf, the closing 0 included */
    size_t len; /* bytes of the whole text */
    bool json;
    bool first; /* JSON: no comma yet */
} stats_out;

typedef struct stats_label { /* name "": no label; value of `value_len` bytes, unescaped */
    const char *name, *value;
    size_t value_len;
} stats_label;

/* Namespaces with lines of their own. */
typedef struct stats_pick {
    uint64_t gets[STATS_NAMESPACES_SHOWN - 1]; /* min-heap by gets, if namespaces are too many */
    uint16_t slot[STATS_NAMESPACES_SHOWN - 1];
    uint32_t count;
    bool cut;                                /* some namespaces are summed in "other" */
    uint64_t shown[STATS_SLOTS_MAX / 64];    /* bit i: slot i has its own lines */
} stats_pick;

typedef struct stats_row_of { /* a line of the registry */
    const char *family, *label, *value, *kind, *help;
    stats_unit unit;
} stats_row_of;

/* A registry line as stored in the object: five words in a row, reached by one pointer. Five
 * pointers would add relocations and symbols: 20 KB of the drop-in. */
typedef struct stats_line_of {
    const char *words; /* family, label, value, kind, help; each ends with a 0 */
    stats_unit unit;
} stats_line_of;
#define STATS_WORDS(fam, lab, val, knd, hlp) fam "\0" lab "\0" val "\0" knd "\0" hlp

static const stats_line_of stats_registry[STATS_COUNT] = {
#define STATS_X(id, fam, lab, val, un, hlp) \
    [STATS_##id] = { STATS_WORDS(fam, lab, val, "counter", hlp), STATS_##un },
    STATS_NAMESPACE_COUNTERS(STATS_X) STATS_STORE_COUNTERS(STATS_X)
#undef STATS_X
};

static const stats_line_of stats_given_registry[STATS_GIVEN_COUNT] = {
#define STATS_X(id, fam, knd, un, hlp) \
    [STATS_GIVEN_##id] = { STATS_WORDS(fam, "", "", #knd, hlp), STATS_##un },
    STATS_GIVEN(STATS_X)
#undef STATS_X
};

static const stats_line_of stats_namespace_registry[STATS_NAMESPACE_GIVEN_COUNT] = {
#define STATS_X(id, fam, lab, val, knd, un, hlp) \
    [STATS_NAMESPACE_##id] = { STATS_WORDS(fam, lab, val, #knd, hlp), STATS_##un },
    STATS_NAMESPACE_GIVEN(STATS_X)
#undef STATS_X
};

static const stats_line_of stats_lock_registry[STATS_LOCK_COUNT] = {
#define STATS_X(id, fam, lab, val, knd, un, hlp) \
    [STATS_LOCK_##id] = { STATS_WORDS(fam, lab, val, #knd, hlp), STATS_##un },
    STATS_LOCKS(STATS_X)
#undef STATS_X
};

static const char *stats_word_after(const char *word) { return word + strlen(word) + 1; }

static stats_row_of stats_words(const stats_line_of *line)
{
    stats_row_of row = { .family = line->words, .unit = line->unit };
    row.label = stats_word_after(row.family);
    row.value = stats_word_after(row.label);
    row.kind = stats_word_after(row.value);
    row.help = stats_word_after(row.kind);
    return row;
}

/* ---- bytes ---- */

static void stats_put(stats_out *o, const char *p, size_t n)
{
    if (o->len < o->cap) { memcpy(o->buf + o->len, p, BASE_MIN(n, o->cap - o->len)); }
    o->len += n;
}

static void stats_puts(stats_out *o, const char *text) { stats_put(o, text, strlen(text)); }

/* Write `v` with at least `digits` digits. */
static void stats_put_u64(stats_out *o, uint64_t v, unsigned digits)
{
    char text[20];
    unsigned at = sizeof text;
    do {
        text[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v != 0 || sizeof text - at < digits);
    stats_put(o, text + at, sizeof text - at);
}

static void stats_put_ppm(stats_out *o, uint64_t ppm)
{
    stats_put_u64(o, ppm / 1000000, 1);
    stats_puts(o, ".");
    stats_put_u64(o, ppm % 1000000, 6);
}

static void stats_put_ns(stats_out *o, uint64_t ns)
{
    stats_put_u64(o, ns / 1000000000u, 1);
    stats_puts(o, ".");
    stats_put_u64(o, ns % 1000000000u, 9);
}

/* Return the length of the UTF-8 sequence at p; 0: invalid, overlong, or a surrogate. */
static size_t stats_utf8_len(const unsigned char *p, size_t n)
{
    if (p[0] < 0x80) { return p[0] != 0; }
    const size_t len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || n < len) { return 0; }
    const unsigned char low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
    const unsigned char high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high) { return 0; }
    for (size_t i = 2; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) { return 0; }
    }
    return len;
}

static bool stats_is_utf8(const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    for (size_t i = 0; i < n;) {
        const size_t len = stats_utf8_len(p + i, n - i);
        if (len == 0) { return false; }
        i += len;
    }
    return true;
}

static void stats_put_escaped(stats_out *o, const char *text, size_t n)
{
    static const char hex[] = "0123456789abcdef";
    const bool plain = stats_is_utf8(text, n);
    if (!plain) { stats_puts(o, "0x"); }
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (!plain) {
            stats_put(o, &hex[c >> 4], 1);
            stats_put(o, &hex[c & 15], 1);
        } else if (c == '\\' || c == '"') {
            stats_puts(o, "\\");
            stats_put(o, &text[i], 1);
        } else if (c == '\n') {
            stats_puts(o, "\\n");
        } else if (c < 0x20 && o->json) {
            stats_puts(o, "\\u00");
            stats_put(o, &hex[c >> 4], 1);
            stats_put(o, &hex[c & 15], 1);
        } else {
            stats_put(o, &text[i], 1);
        }
    }
}

/* ---- families and samples ---- */

static void stats_family(stats_out *o, const char *name, const char *help, const char *kind)
{
    if (o->json) { return; }
    stats_puts(o, "# HELP ");
    stats_puts(o, name);
    stats_puts(o, " ");
    stats_puts(o, help);
    stats_puts(o, "\n# TYPE ");
    stats_puts(o, name);
    stats_puts(o, " ");
    stats_puts(o, kind);
    stats_puts(o, "\n");
}

static void stats_put_label(stats_out *o, const stats_label *l, bool first)
{
    if (!first) { stats_puts(o, ","); }
    stats_puts(o, o->json ? "\"" : "");
    stats_puts(o, l->name);
    stats_puts(o, o->json ? "\":\"" : "=\"");
    stats_put_escaped(o, l->value, l->value_len);
    stats_puts(o, "\"");
}

/* Write everything before the value; stats_sample_end writes the rest. */
static void stats_sample_begin(stats_out *o, const char *name, const char *suffix,
                               const stats_label *labels, size_t label_count)
{
    if (o->json) {
        stats_puts(o, o->first ? "\n{\"name\":\"" : ",\n{\"name\":\"");
        o->first = false;
    }
    stats_puts(o, name);
    stats_puts(o, suffix);
    stats_puts(o, o->json ? "\",\"labels\":{" : "");
    bool first = true;
    for (size_t i = 0; i < label_count; i++) {
        if (labels[i].name[0] == '\0') { continue; }
        if (first && !o->json) { stats_puts(o, "{"); }
        stats_put_label(o, &labels[i], first);
        first = false;
    }
    stats_puts(o, o->json ? "},\"value\":" : first ? " " : "} ");
}

static void stats_sample_end(stats_out *o) { stats_puts(o, o->json ? "}" : "\n"); }

static stats_label stats_label_of(const char *name, const char *value)
{
    return (stats_label){ name, value, strlen(value) };
}

static void stats_sample_one(stats_out *o, const char *name, const char *suffix, stats_unit unit,
                             const stats_label *labels, size_t label_count, uint64_t value)
{
    stats_sample_begin(o, name, suffix, labels, label_count);
    switch (unit) {
    case STATS_NS: stats_put_ns(o, value); break;
    case STATS_PPM: stats_put_ppm(o, value); break;
    case STATS_ONE:
    case STATS_BYTES: stats_put_u64(o, value, 1); break;
    }
    stats_sample_end(o);
}

/* ---- namespaces ---- */

static uint64_t stats_slot_gets(const stats *st, uint32_t slot)
{
    return stats_read(st, slot, STATS_HIT_L1) + stats_read(st, slot, STATS_HIT_L2) +
           stats_read(st, slot, STATS_STALE) + stats_read(st, slot, STATS_NEGATIVE) +
           stats_read(st, slot, STATS_MISS);
}

static bool stats_shown(const stats_pick *k, uint32_t slot)
{
    return (k->shown[slot / 64] >> (slot % 64) & 1) != 0;
}

static void stats_heap_swap(stats_pick *k, uint32_t a, uint32_t b)
{
    const uint64_t gets = k->gets[a];
    const uint16_t slot = k->slot[a];
    k->gets[a] = k->gets[b];
    k->slot[a] = k->slot[b];
    k->gets[b] = gets;
    k->slot[b] = slot;
}

static void stats_heap_sink(stats_pick *k, uint32_t at)
{
    for (;;) {
        uint32_t least = at;
        for (uint32_t child = 2 * at + 1; child <= 2 * at + 2 && child < k->count; child++) {
            if (k->gets[child] < k->gets[least]) { least = child; }
        }
        if (least == at) { return; }
        stats_heap_swap(k, at, least);
        at = least;
    }
}

/* Keep the slot if it has more gets than the least kept slot. Of equal slots the first one
 * stays. */
static void stats_heap_offer(stats_pick *k, uint32_t slot, uint64_t gets)
{
    if (k->count < STATS_NAMESPACES_SHOWN - 1) {
        uint32_t at = k->count++;
        k->gets[at] = gets;
        k->slot[at] = (uint16_t)slot; /* slot < STATS_SLOTS_MAX = 4096 */
        for (uint32_t up; at > 0; at = up) {
            up = (at - 1) / 2;
            if (k->gets[at] >= k->gets[up]) { break; }
            stats_heap_swap(k, at, up);
        }
    } else if (gets > k->gets[0]) {
        k->gets[0] = gets;
        k->slot[0] = (uint16_t)slot;
        stats_heap_sink(k, 0);
    }
}

static void stats_pick_namespaces(const stats *st, const stats_source *from, stats_pick *k)
{
    const uint32_t top = base_load_acq(&st->slot_top);
    stats_namespace_name name;
    uint32_t namespaces = 0;
    *k = (stats_pick){ .count = 0 };
    for (uint32_t slot = 0; slot < top; slot++) {
        namespaces += from->namespace_name(from->ctx, slot, &name);
    }
    k->cut = namespaces > STATS_NAMESPACES_SHOWN;
    for (uint32_t slot = 0; slot < top; slot++) {
        if (!from->namespace_name(from->ctx, slot, &name)) { continue; }
        if (k->cut) {
            stats_heap_offer(k, slot, stats_slot_gets(st, slot));
        } else {
            k->shown[slot / 64] |= (uint64_t)1 << (slot % 64);
        }
    }
    for (uint32_t i = 0; i < k->count; i++) {
        k->shown[k->slot[i] / 64] |= (uint64_t)1 << (k->slot[i] % 64);
    }
}

static void stats_put_ratio(stats_out *o, const stats_label *namespace,
                            const uint64_t figures[STATS_NAMESPACE_COUNT])
{
    stats_sample_one(o, "cellar_hit_ratio", "", STATS_PPM, namespace, 1, stats_hit_ppm(figures));
}

/* Write the counters first..last-1 of one namespace, or its hit ratio if first == last. */
static void stats_put_namespace(stats_out *o, const stats_label *namespace, int first, int last,
                                const uint64_t figures[STATS_NAMESPACE_COUNT])
{
    if (first == last) { stats_put_ratio(o, namespace, figures); }
    for (int id = first; id < last; id++) {
        const stats_row_of row = stats_words(&stats_registry[id]);
        const stats_label labels[2] = { *namespace, stats_label_of(row.label, row.value) };
        stats_sample_one(o, row.family, "", row.unit, labels, 2, figures[id]);
    }
}

static void stats_read_range(const stats *st, uint32_t slot, int first, int last,
                             uint64_t add_to[STATS_NAMESPACE_COUNT])
{
    if (first == last) { first = 0, last = STATS_MISS + 1; } /* the ratio needs the outcomes */
    for (int id = first; id < last; id++) { add_to[id] += stats_read(st, slot, (stats_id)id); }
}

static void stats_put_namespaces(stats_out *o, const stats *st, const stats_source *from,
                                 const stats_pick *k, int first, int last)
{
    const uint32_t top = base_load_acq(&st->slot_top);
    uint64_t others[STATS_NAMESPACE_COUNT] = { 0 };
    for (uint32_t slot = 0; slot < top; slot++) {
        stats_namespace_name name;
        if (!from->namespace_name(from->ctx, slot, &name)) { continue; }
        if (!stats_shown(k, slot)) {
            stats_read_range(st, slot, first, last, others);
            continue;
        }
        uint64_t figures[STATS_NAMESPACE_COUNT] = { 0 };
        stats_read_range(st, slot, first, last, figures);
        const stats_label namespace = { "namespace", name.bytes, name.len };
        stats_put_namespace(o, &namespace, first, last, figures);
    }
    if (k->cut) {
        const stats_label namespace = { "namespace", "other", 5 };
        stats_put_namespace(o, &namespace, first, last, others);
    }
}

/* ---- figures of namespaces that the source passes ---- */

static void stats_put_given(stats_out *o, const char *family, const stats_label *namespace,
                            int first, uint32_t known, const uint64_t *value)
{
    for (int i = 0; known >> i != 0; i++) {
        const stats_row_of row = stats_words(&stats_namespace_registry[first + i]);
        if ((known >> i & 1u) == 0) { continue; }
        const stats_label labels[2] = { stats_label_of(row.label, row.value), *namespace };
        stats_sample_one(o, family, "", row.unit, labels, 2, value[i]);
    }
}

/* Write one family of passed figures; omit it if no namespace has a figure. */
static void stats_tell_given(stats_out *o, const stats *st, const stats_source *from,
                             const stats_pick *k, int first, int last)
{
    const stats_row_of row = stats_words(&stats_namespace_registry[first]);
    const uint32_t top = base_load_acq(&st->slot_top);
    bool begun = false;
    for (uint32_t slot = 0; slot < top; slot++) {
        uint64_t value[STATS_NAMESPACE_GIVEN_COUNT];
        stats_namespace_name name;
        if (!stats_shown(k, slot)) { continue; }
        const uint32_t known = from->namespace_given(from->ctx, slot, first, last, value);
        if (known == 0 || !from->namespace_name(from->ctx, slot, &name)) { continue; }
        if (!begun) { stats_family(o, row.family, row.help, row.kind); }
        begun = true;
        const stats_label namespace = { "namespace", name.bytes, name.len };
        stats_put_given(o, row.family, &namespace, first, known, value);
    }
}

static void stats_tell_namespaces_given(stats_out *o, const stats *st, const stats_source *from,
                                        const stats_pick *k)
{
    if (from->namespace_given == NULL) { return; }
    for (int id = 0; id < STATS_NAMESPACE_GIVEN_COUNT;) {
        const char *family = stats_namespace_registry[id].words;
        int last = id + 1;
        while (last < STATS_NAMESPACE_GIVEN_COUNT &&
               strcmp(stats_namespace_registry[last].words, family) == 0) {
            last++;
        }
        stats_tell_given(o, st, from, k, id, last);
        id = last;
    }
    uint64_t value[STATS_NAMESPACE_GIVEN_COUNT];
    const int first = STATS_NAMESPACE_ADVICE_025;
    const uint32_t known = from->namespace_given(from->ctx, STATS_STORE_SLOT, first,
                                                 STATS_NAMESPACE_ADVICE_800 + 1, value);
    if (known == 0) { return; }
    const stats_label nobody = stats_label_of("", "");
    stats_family(o, "cellar_advisor_store_hit_ratio",
                 "Expected hit ratio of the store at a multiple (scale) of its budget.", "gauge");
    stats_put_given(o, "cellar_advisor_store_hit_ratio", &nobody, first, known, value);
}

/* ---- the whole ---- */

static void stats_tell_namespaces(stats_out *o, const stats *st, const stats_source *from)
{
    stats_pick pick;
    stats_pick_namespaces(st, from, &pick);
    for (int id = 0; id < STATS_NAMESPACE_COUNT;) {
        const stats_row_of row = stats_words(&stats_registry[id]);
        int last = id + 1;
        while (last < STATS_NAMESPACE_COUNT &&
               strcmp(stats_registry[last].words, row.family) == 0) {
            last++;
        }
        stats_family(o, row.family, row.help, row.kind);
        stats_put_namespaces(o, st, from, &pick, id, last);
        id = last;
    }
    stats_family(o, "cellar_hit_ratio", "Share of answered gets since the start.", "gauge");
    stats_put_namespaces(o, st, from, &pick, 0, 0);
    stats_tell_namespaces_given(o, st, from, &pick);
}

static void stats_tell_store(stats_out *o, const stats *st, const stats_source *from)
{
    const char *family = "";
    for (int id = STATS_NAMESPACE_COUNT; id < STATS_COUNT; id++) {
        const stats_row_of row = stats_words(&stats_registry[id]);
        if (strcmp(family, row.family) != 0) {
            family = row.family;
            stats_family(o, family, row.help, row.kind);
        }
        const stats_label label = stats_label_of(row.label, row.value);
        stats_sample_one(o, family, "", row.unit, &label, 1, stats_read_store(st, (stats_id)id));
    }
    for (int id = 0; id < STATS_GIVEN_COUNT; id++) {
        const stats_row_of row = stats_words(&stats_given_registry[id]);
        stats_family(o, row.family, row.help, row.kind);
        stats_sample_one(o, row.family, "", row.unit, NULL, 0, from->given[id]);
    }
}

static void stats_tell_account(stats_out *o, const stats *st)
{
    const base_account *a = st->account;
    stats_family(o, "cellar_bytes", "Bytes charged to the budget.", "gauge");
    stats_sample_one(o, "cellar_bytes", "", STATS_BYTES, NULL, 0, base_load_rlx(&a->used));
    stats_family(o, "cellar_budget_bytes", "Budget of the store in bytes.", "gauge");
    stats_sample_one(o, "cellar_budget_bytes", "", STATS_BYTES, NULL, 0, base_load_rlx(&a->limit));
    stats_family(o, "cellar_peak_bytes", "Highest number of bytes charged so far.", "gauge");
    stats_sample_one(o, "cellar_peak_bytes", "", STATS_BYTES, NULL, 0, base_load_rlx(&a->peak));
    stats_family(o, "cellar_space_refused_total", "Charges refused by the budget.", "counter");
    stats_sample_one(o, "cellar_space_refused_total", "", STATS_ONE, NULL, 0,
                     base_load_rlx(&a->refused));
    static const char *const module[BASE_MOD_COUNT] = {
#define STATS_X(name, text) [BASE_MOD_##name] = text,
        BASE_MODULES(STATS_X)
#undef STATS_X
    };
    stats_family(o, "cellar_module_bytes", "Bytes charged to the budget, by module.", "gauge");
    for (int m = 0; m < BASE_MOD_COUNT; m++) {
        const stats_label label = stats_label_of("module", module[m]);
        stats_sample_one(o, "cellar_module_bytes", "", STATS_BYTES, &label, 1,
                         base_load_rlx(&a->by_module[m]));
    }
}

static void stats_tell_histogram(stats_out *o, const stats *st, stats_op op, const char *family,
                                 const char *name)
{
    stats_label labels[2] = { stats_label_of("op", name), { "le", "+Inf", 4 } };
    stats_times t;
    stats_read_times(st, op, &t);
    uint64_t below = 0;
    for (unsigned k = 6; k <= 34; k += 2) {
        char le[24];
        stats_out text = { .buf = le, .cap = sizeof le };
        stats_put_ns(&text, (uint64_t)1 << k);
        labels[1] = (stats_label){ "le", le, text.len };
        /* A later bucket is read later: keep the sequence ascending. */
        below = BASE_MAX(below, stats_times_below(st, op, ((uint64_t)1 << k) - 1));
        stats_sample_one(o, family, "_bucket", STATS_ONE, labels, 2, below);
    }
    const uint64_t count = BASE_MAX(t.count, below);
    labels[1] = stats_label_of("le", "+Inf");
    stats_sample_one(o, family, "_bucket", STATS_ONE, labels, 2, count);
    stats_sample_one(o, family, "_sum", STATS_NS, labels, 1, t.sum_ns);
    stats_sample_one(o, family, "_count", STATS_ONE, labels, 1, count);
}

/* Write the quantiles of one operation as a JSON object. */
static void stats_tell_times(stats_out *o, const stats *st, stats_op op, const char *name)
{
    stats_times t;
    stats_read_times(st, op, &t);
    const struct { const char *text; uint64_t value; } field[] = {
        { "count", t.count }, { "sum_ns", t.sum_ns }, { "p50_ns", t.p50_ns },
        { "p90_ns", t.p90_ns }, { "p99_ns", t.p99_ns }, { "p999_ns", t.p999_ns },
        { "max_ns", t.max_ns },
    };
    stats_puts(o, o->first ? "\n{\"op\":\"" : ",\n{\"op\":\"");
    o->first = false;
    stats_puts(o, name);
    stats_puts(o, "\",\"sampled\":");
    stats_puts(o, t.sampled ? "true" : "false");
    stats_puts(o, ",\"saturated\":");
    stats_puts(o, t.saturated ? "true" : "false");
    for (size_t i = 0; i < sizeof field / sizeof field[0]; i++) {
        stats_puts(o, ",\"");
        stats_puts(o, field[i].text);
        stats_puts(o, "\":");
        stats_put_u64(o, field[i].value, 1);
    }
    stats_puts(o, "}");
}

static const struct stats_op_row {
    const char *name;
    bool sampled;
} stats_op_registry[STATS_OP_COUNT] = {
#define STATS_X(id, text, is_sampled) [STATS_OP_##id] = { text, (is_sampled) != 0 },
    STATS_OPS(STATS_X)
#undef STATS_X
};

static void stats_tell_ops(stats_out *o, const stats *st, bool sampled)
{
    const char *family = sampled ? "cellar_op_sampled_seconds" : "cellar_op_seconds";
    const char *help = sampled ? "Durations of one operation in 64." : "Durations of operations.";
    stats_family(o, family, help, "histogram");
    for (int op = 0; op < STATS_OP_COUNT; op++) {
        if (stats_op_registry[op].sampled != sampled) { continue; }
        stats_tell_histogram(o, st, (stats_op)op, family, stats_op_registry[op].name);
    }
}

static size_t stats_close(stats_out *o)
{
    if (o->cap > 0) { o->buf[BASE_MIN(o->len, o->cap - 1)] = '\0'; }
    return o->len;
}

CELLAR_PRIVATE size_t stats_write_prometheus(const stats *st, const stats_source *from, char *buf,
                                             size_t cap)
{
    stats_out o = { .buf = buf, .cap = cap };
    stats_tell_namespaces(&o, st, from);
    stats_tell_store(&o, st, from);
    stats_tell_account(&o, st);
    stats_tell_ops(&o, st, true);
    stats_tell_ops(&o, st, false);
    return stats_close(&o);
}

CELLAR_PRIVATE size_t stats_write_json(const stats *st, const stats_source *from, char *buf,
                                       size_t cap)
{
    stats_out o = { .buf = buf, .cap = cap, .json = true, .first = true };
    stats_puts(&o, "{\"metrics\":[");
    stats_tell_namespaces(&o, st, from);
    stats_tell_store(&o, st, from);
    stats_tell_account(&o, st);
    stats_puts(&o, "],\n\"times\":[");
    o.first = true;
    for (int op = 0; op < STATS_OP_COUNT; op++) {
        stats_tell_times(&o, st, (stats_op)op, stats_op_registry[op].name);
    }
    stats_puts(&o, "]}\n");
    return stats_close(&o);
}

/* Write the lines of a registry outside a store, each with one more label that names its owner. */
static void stats_tell_list(stats_out *o, const stats_line_of *line, size_t count,
                            stats_label whose, const uint64_t *value)
{
    const char *family = "";
    for (size_t i = 0; i < count; i++) {
        const stats_row_of row = stats_words(&line[i]);
        if (strcmp(row.family, family) != 0) {
            family = row.family;
            stats_family(o, family, row.help, row.kind);
        }
        const stats_label labels[2] = { whose, stats_label_of(row.label, row.value) };
        stats_sample_one(o, family, "", row.unit, labels, 2, value[i]);
    }
}

CELLAR_PRIVATE size_t stats_write_locks(const char *name, const uint64_t value[STATS_LOCK_COUNT],
                                        char *buf, size_t cap)
{
    stats_out o = { .buf = buf, .cap = cap };
    stats_tell_list(&o, stats_lock_registry, STATS_LOCK_COUNT, stats_label_of("table", name),
                    value);
    return stats_close(&o);
}

BASE_SIZE_END
#endif
