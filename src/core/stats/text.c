/* SPDX-License-Identifier: MIT
 *
 * text: write the table of metrics.h as Prometheus text 0.0.4, JSON or a struct of the caller.
 *
 * PICTURE    lists (metrics.h) -> stats_tell: families, samples -> base_text -> buffer
 *            one walk for both forms; stats_family, stats_put_sample know the form
 * INVARIANTS The length grows by the full text even if the buffer is full, so a second call with
 *            len + 1 bytes fits unless figures have gained digits. Lines of a family stand
 *            together, after one HELP and one TYPE. The +Inf bucket of a histogram equals its
 *            count.
 * LOCKING    None. The figures of one text are read one after the other, not at one instant.
 * FORMAT     Counters end in _total. Units are base units: nanoseconds are written as seconds with
 *            nine digits. Not by printf: it is slow, and its decimal point depends on the locale.
 *            Label values escape \, " and newline. A namespace name that is not UTF-8, or holds a 0
 *            byte, is written as 0x and its hex digits.
 *            le="2^k ns" counts the values below 2^k ns: the buckets of hist.c are half open.
 * LIMITS     256 namespaces; of more, the 255 with most gets, and the sum of all others, and of one
 *            with the name "other", as "other".
 *            Two names with equal text (one is "0xff", the other the byte ff) share a label
 *            value. */
#include "stats/text.h"

#include "base/opts.h"

#ifndef CELLAR_OMIT_TEXT
#include <string.h>

#include "base/num.h"
#include "base/service.h"
#include "base/text.h"
#include "stats/counters.h"
#include "stats/hist.h"

BASE_SIZE_BEGIN

struct stats_out {
    base_text text;
    char shown; /* 'm': the lines of the metrics; 'd': those of the dump */
    bool json;
    const char *comma; /* JSON: what comes before the next element of the list */
};

/* Namespaces with lines of their own. */
typedef struct stats_pick {
    uint64_t gets[STATS_NAMESPACES_SHOWN - 1]; /* falling, if namespaces are too many */
    uint16_t slot[STATS_NAMESPACES_SHOWN - 1];
    uint32_t count;
    bool cut;                                /* some namespaces are summed in "other" */
    uint64_t shown[STATS_SLOTS_MAX / 64];    /* if cut, bit i: slot i has its own lines */
} stats_pick;

static const char stats_namespace_lines[] =
    STATS_NAMESPACE_COUNTERS(STATS_FIELD_LINE) STATS_NAMESPACE_GIVEN(STATS_LINE);
static const char stats_store_lines[] = STATS_STORE_COUNTERS(STATS_LINE);
static const char stats_given_lines[] =
    STATS_GIVEN(STATS_LINE) STATS_GIVEN_L1(STATS_LINE) STATS_GIVEN_L2(STATS_LINE);

typedef struct stats_line { /* a line of a list */
    const char *next; /* behind it */
    const char *family, *label, *shown;
    bool begins; /* the first one of its family */
} stats_line;

static const char *stats_word(stats_line *l)
{
    const char *word = l->next;
    l->next += strlen(word) + 1;
    return word;
}

static void stats_line_next(stats_line *l)
{
    const char *family = stats_word(l), *label = stats_word(l), *shown = stats_word(l);
    l->begins = *family != '\0';
    if (l->begins) {
        l->family = family;
        l->shown = shown;
    }
    l->label = label;
}

#define STATS_NS_DIGITS 9
#define STATS_PPM_DIGITS 6
#define STATS_OTHER "other" /* the sum of the namespaces without lines */

/* ---- values ---- */

static void stats_put(base_text *t, const char *text) { base_text_put(t, text, strlen(text)); }

/* Write v / 10^digits. */
static void stats_put_decimal(base_text *t, uint64_t v, int digits)
{
    char text[32], *at = text + sizeof text;
    for (int i = 0; i <= digits || v > 0; i++) {
        if (i == digits && i > 0) { *--at = '.'; }
        *--at = (char)('0' + v % 10);
        v /= 10;
    }
    base_text_put(t, at, (size_t)(text + sizeof text - at));
}

static bool stats_is_utf8(const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    for (size_t i = 0; i < n;) {
        const size_t len = base_utf8_len(p + i, n - i);
        if (len == 0) { return false; }
        i += len;
    }
    return true;
}

/* Write a label value. No other control byte than a newline has an escape that both forms know. */
static void stats_put_escaped(base_text *t, bool json, const char *text, size_t n)
{
    const bool plain = stats_is_utf8(text, n);
    size_t from = 0; /* [from, i) is written in one piece */
    if (!plain) { stats_put(t, "0x"); }
    for (size_t i = 0; i < n; i++) {
        const char c = text[i];
        if (plain && (unsigned char)c >= 0x20 && c != '\\' && c != '"') { continue; }
        if (plain && !json && c != '\n' && c != '\\' && c != '"') { continue; }
        base_text_put(t, text + from, i - from);
        from = i + 1;
        if (!plain) {
            base_text_add(t, "%02x", (unsigned char)c);
        } else if (c == '\\' || c == '"' || c == '\n') {
            const char escape[2] = { '\\', c == '\n' ? 'n' : c };
            base_text_put(t, escape, sizeof escape);
        } else {
            base_text_add(t, "\\u%04x", (unsigned char)c);
        }
    }
    base_text_put(t, text + from, n - from);
}

/* ---- families and samples ---- */

static bool stats_ends(const char *text, const char *with)
{
    const size_t n = strlen(text), m = strlen(with);
    return n >= m && strcmp(text + n - m, with) == 0;
}

CELLAR_PRIVATE void stats_family(stats_out *o, const char *name, const char *help,
                                 const char *kind)
{
    if (o->json || o->shown != 'm') { return; }
    base_text_add(&o->text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind);
}

static void stats_family_of(stats_out *o, const stats_line *l)
{
    stats_family(o, l->family, l->shown + 1, stats_ends(l->family, "_total") ? "counter" : "gauge");
}

CELLAR_PRIVATE void stats_put_sample(stats_out *o, const char *family, const char *suffix,
                                     const stats_owner *owner, const char *label, int digits,
                                     uint64_t value)
{
    base_text *t = &o->text;
    const char *quote = o->json ? "\"" : "", *is = o->json ? "\":\"" : "=\"";
    const char *separator = o->json ? "" : "{";
    if (o->json) {
        stats_put(t, o->comma);
        stats_put(t, "\n{\"name\":\"");
        o->comma = ",";
    }
    stats_put(t, family);
    stats_put(t, suffix);
    if (o->json) { stats_put(t, "\",\"labels\":{"); }
    for (; owner != NULL; owner = owner->next) {
        stats_put(t, separator);
        stats_put(t, quote);
        stats_put(t, owner->label);
        stats_put(t, is);
        stats_put_escaped(t, o->json, owner->value, owner->value_len);
        stats_put(t, "\"");
        separator = ",";
    }
    if (*label != '\0') {
        const size_t n = strcspn(label, "=");
        stats_put(t, separator);
        stats_put(t, quote);
        base_text_put(t, label, n);
        stats_put(t, is);
        stats_put(t, label + n + 1);
        stats_put(t, "\"");
        separator = ",";
    }
    stats_put(t, o->json ? "},\"value\":" : *separator == ',' ? "} " : " ");
    stats_put_decimal(t, value, digits);
    stats_put(t, o->json ? "}" : "\n");
}

static void stats_put_line(stats_out *o, const stats_line *l, const stats_owner *owner,
                           uint64_t value)
{
    const int digits = strstr(l->family, "_seconds") != NULL ? STATS_NS_DIGITS
                            : stats_ends(l->family, "_ratio") ? STATS_PPM_DIGITS : 0;
    stats_put_sample(o, l->family, "", owner, l->label, digits, value);
}

CELLAR_PRIVATE void stats_tell_list(stats_out *o, const char *lines, size_t count,
                                    const stats_owner *owner, const uint64_t *value)
{
    stats_line l = { .next = lines };
    for (size_t i = 0; i < count; i++) {
        stats_line_next(&l);
        if (*l.shown != o->shown) { continue; }
        if (l.begins) { stats_family_of(o, &l); }
        stats_put_line(o, &l, owner, value[i]);
    }
}

/* ---- namespaces ---- */

static bool stats_shown(const stats_pick *k, uint32_t slot)
{
    return !k->cut || (k->shown[slot / 64] >> (slot % 64) & 1) != 0;
}

/* Keep the slots with most gets. Of equal slots the first one stays. */
static void stats_pick_offer(stats_pick *k, uint32_t slot, uint64_t gets)
{
    if (k->count == STATS_NAMESPACES_SHOWN - 1) {
        if (gets <= k->gets[k->count - 1]) { return; }
        k->count--;
    }
    uint32_t at = k->count++;
    for (; at > 0 && k->gets[at - 1] < gets; at--) {
        k->gets[at] = k->gets[at - 1];
        k->slot[at] = k->slot[at - 1];
    }
    k->gets[at] = gets;
    k->slot[at] = (uint16_t)slot; /* slot < STATS_SLOTS_MAX = 4096 */
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
    for (uint32_t slot = 0; k->cut && slot < top; slot++) {
        uint64_t figures[STATS_NAMESPACE_COUNT];
        if (!from->namespace_name(from->ctx, slot, &name) ||
            (name.len == strlen(STATS_OTHER) && memcmp(name.bytes, STATS_OTHER, name.len) == 0)) {
            continue;
        }
        stats_read_slot(st, slot, figures);
        stats_pick_offer(k, slot, stats_gets(figures));
    }
    for (uint32_t i = 0; i < k->count; i++) {
        k->shown[k->slot[i] / 64] |= (uint64_t)1 << (k->slot[i] % 64);
    }
}

/* Read figure `id` of the list of namespaces. False: the namespace has none. */
static bool stats_figure(const stats *st, const stats_source *from, uint32_t slot, int id,
                         uint64_t *out)
{
    if (id < STATS_NAMESPACE_COUNT) {
        *out = stats_read(st, slot, (stats_id)id);
        return true;
    }
    if (id == (int)STATS_NAMESPACE_COUNT + (int)STATS_NAMESPACE_HIT_RATIO) {
        uint64_t v[STATS_NAMESPACE_COUNT];
        stats_read_slot(st, slot, v);
        *out = (uint64_t)(1e6 * stats_hit_ratio(v));
        return true;
    }
    if (id == (int)STATS_NAMESPACE_COUNT + (int)STATS_NAMESPACE_ENTRIES) {
        *out = stats_entries(st, slot);
        return true;
    }
    return from->namespace_given != NULL &&
           from->namespace_given(from->ctx, slot,
                                 (stats_namespace_given)(id - STATS_NAMESPACE_COUNT), out);
}

static void stats_tell_namespaces(stats_out *o, const stats *st, const stats_source *from)
{
    const uint32_t top = base_load_acq(&st->slot_top);
    stats_pick pick;
    stats_pick_namespaces(st, from, &pick);
    stats_line l = { .next = stats_namespace_lines };
    bool begun = false;
    for (int id = 0; id < (int)STATS_NAMESPACE_COUNT + (int)STATS_NAMESPACE_GIVEN_COUNT; id++) {
        uint64_t others = 0, value;
        stats_namespace_name name;
        stats_line_next(&l);
        if (*l.shown != o->shown) { continue; }
        begun = begun && !l.begins;
        for (uint32_t slot = 0; slot < top; slot++) {
            if (!from->namespace_name(from->ctx, slot, &name) ||
                !stats_figure(st, from, slot, id, &value)) {
                continue;
            }
            if (!stats_shown(&pick, slot)) {
                others += value;
                continue;
            }
            if (!begun) { stats_family_of(o, &l); }
            begun = true;
            stats_put_line(o, &l, &(stats_owner){ "namespace", name.bytes, name.len, NULL }, value);
        }
        if (pick.cut && id < STATS_NAMESPACE_COUNT) {
            stats_put_line(o, &l, &(stats_owner){ "namespace", STATS_OTHER, 5, NULL }, others);
        }
    }
}

/* ---- the whole ---- */

static void stats_tell(stats_out *o, const stats *st, const stats_source *from)
{
    uint64_t value[STATS_STORE_COUNT];
    for (int i = 0; i < STATS_STORE_COUNT; i++) {
        value[i] = stats_read_store(st, (stats_id)(STATS_NAMESPACE_COUNT + i));
    }
    stats_tell_namespaces(o, st, from);
    stats_tell_list(o, stats_store_lines, STATS_STORE_COUNT, NULL, value);
    stats_tell_list(o, stats_given_lines, STATS_GIVEN_COUNT, NULL, from->given);
}

/* Write a bucket of a histogram: values below upper / 10^digits; upper 0: all. */
static void stats_put_bucket(stats_out *o, const char *family, const stats_owner *owner,
                             uint64_t upper, int digits, uint64_t below)
{
    char le[24];
    base_text text = { le, sizeof le, 0 };
    base_text_add(&text, upper != 0 ? "le=" : "le=+Inf");
    if (upper != 0) { stats_put_decimal(&text, upper, digits); }
    stats_put_sample(o, family, "_bucket", owner, le, 0, below);
}

static void stats_tell_histogram(stats_out *o, const stats *st, stats_op op, const char *family,
                                 const char *name)
{
    const stats_owner owner = { "op", name, strlen(name), NULL };
    stats_times t;
    stats_read_times(st, op, &t);
    uint64_t below = 0;
    for (unsigned k = 6; k <= 34; k += 2) {
        /* A later bucket is read later: keep the sequence ascending. */
        below = BASE_MAX(below, stats_times_below(st, op, ((uint64_t)1 << k) - 1));
        stats_put_bucket(o, family, &owner, (uint64_t)1 << k, STATS_NS_DIGITS, below);
    }
    const uint64_t count = BASE_MAX(t.count, below);
    stats_put_bucket(o, family, &owner, 0, 0, count);
    stats_put_sample(o, family, "_sum", &owner, "", STATS_NS_DIGITS, t.sum_ns);
    stats_put_sample(o, family, "_count", &owner, "", 0, count);
}

static const struct { const char *name; bool sampled; } stats_op_row[] = {
#define STATS_X(id, text, is_sampled) { text, (is_sampled) != 0 },
    STATS_OPS(STATS_X)
#undef STATS_X
};

static void stats_tell_ops(stats_out *o, const stats *st, bool sampled)
{
    const char *family = sampled ? "cellar_op_sampled_seconds" : "cellar_op_seconds";
    const char *help = sampled ? "Durations of one operation in 64." : "Durations of operations.";
    stats_family(o, family, help, "histogram");
    for (int op = 0; op < STATS_OP_COUNT; op++) {
        if (stats_op_row[op].sampled != sampled) { continue; }
        stats_tell_histogram(o, st, (stats_op)op, family, stats_op_row[op].name);
    }
}

/* Write the quantiles of one operation as a JSON object. */
static void stats_tell_times(stats_out *o, const stats *st, stats_op op)
{
    stats_times t;
    stats_read_times(st, op, &t);
    const struct { const char *name; uint64_t value; } field[] = {
        { "count", t.count }, { "sum_ns", t.sum_ns }, { "p50_ns", t.p50_ns },
        { "p90_ns", t.p90_ns }, { "p99_ns", t.p99_ns }, { "p999_ns", t.p999_ns },
        { "max_ns", t.max_ns },
    };
    base_text_add(&o->text, "%s\n{\"op\":\"%s\",\"sampled\":%s", o->comma, stats_op_row[op].name,
                  stats_op_row[op].sampled ? "true" : "false");
    o->comma = ",";
    for (size_t i = 0; i < sizeof field / sizeof field[0]; i++) {
        base_text_add(&o->text, ",\"%s\":%llu", field[i].name, (unsigned long long)field[i].value);
    }
    base_text_add(&o->text, "}");
}

static void stats_tell_hot(stats_out *o, const stats_hot_line *h)
{
    base_text_add(&o->text, "%s\n{\"namespace\":\"", o->comma);
    o->comma = ",";
    stats_put_escaped(&o->text, true, h->namespace_name, strlen(h->namespace_name));
    base_text_add(&o->text, "\",\"key\":\"");
    stats_put_escaped(&o->text, true, h->key, h->key_len);
    base_text_add(&o->text, "\",\"gets_per_s\":%llu,\"share\":",
                  (unsigned long long)h->gets_per_s);
    stats_put_decimal(&o->text, h->share_ppm, STATS_PPM_DIGITS);
    base_text_add(&o->text, "}");
}

/* Begin a text with the list of metrics. */
static stats_out stats_begin(char *buf, size_t cap, bool json)
{
    stats_out o = { { buf, cap, 0 }, 'm', json, "" };
    if (json) { base_text_add(&o.text, "{\"metrics\":["); }
    return o;
}

/* Begin the next list of a JSON object. */
static void stats_next(stats_out *o, const char *name)
{
    base_text_add(&o->text, "],\n\"%s\":[", name);
    o->comma = "";
}

static size_t stats_end(stats_out *o)
{
    if (o->json) { base_text_add(&o->text, "]}\n"); }
    return o->text.len;
}

CELLAR_PRIVATE size_t stats_write(const stats *st, const stats_source *from, stats_form form,
                                  char *buf, size_t cap)
{
    stats_out o = stats_begin(buf, cap, form == STATS_JSON);
    if (form == STATS_REST) { o.shown = 'd'; }
    stats_tell(&o, st, from);
    if (form == STATS_PROMETHEUS) {
        stats_tell_ops(&o, st, true);
        stats_tell_ops(&o, st, false);
    } else if (form == STATS_JSON) {
        stats_next(&o, "times");
        for (int op = 0; op < STATS_OP_COUNT; op++) { stats_tell_times(&o, st, (stats_op)op); }
        stats_next(&o, "hot_keys");
        for (size_t i = 0; i < from->hot_count; i++) { stats_tell_hot(&o, &from->hot[i]); }
    }
    return stats_end(&o);
}

CELLAR_PRIVATE void stats_tell_waits(stats_out *o, const char *family, const char *help,
                                     const stats_owner *owner, const stats_waits *w)
{
    uint64_t below = 0;
    stats_family(o, family, help, "histogram");
    for (unsigned k = 0; k < STATS_WAIT_BUCKETS; k++) {
        below += w->bucket[k];
        stats_put_bucket(o, family, owner, k + 1 < STATS_WAIT_BUCKETS ? (uint64_t)1 << 2 * k : 0,
                         3, below);
    }
    stats_put_sample(o, family, "_sum", owner, "", 3, w->sum_ms);
    stats_put_sample(o, family, "_count", owner, "", 0, below);
}

CELLAR_PRIVATE cellar_err stats_text(void *object, bool json, char *buf, size_t cap, size_t *full)
{
    const stats_service *s = *(const stats_service *const *)object;
    stats_struct all;
    const char *name = s->read(object, all.value);
    const stats_owner owner = { s->label, name, strlen(name), NULL };
    stats_out o = stats_begin(buf, cap, json);
    stats_tell_list(&o, s->lines, s->count, &owner, all.value);
    if (s->more != NULL) { s->more(&o, &owner, object, all.value); }
    *full = stats_end(&o);
    return CELLAR_OK;
}

BASE_SIZE_END
#endif

BASE_SIZE_BEGIN

CELLAR_PRIVATE cellar_err stats_get(void *object, void *out)
{
    stats_struct full;
    if (object == NULL || out == NULL) { return CELLAR_E_INVAL; }
    if (((const base_object *)object)->forked) { return CELLAR_E_FORKED; }
    const stats_service *s = *(const stats_service *const *)object;
    BASE_ASSERT(s->struct_bytes <= sizeof full);
    (void)s->read(object, full.value);
    return base_opts_out(out, &full, s->struct_bytes);
}

BASE_SIZE_END
