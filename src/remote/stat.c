/* SPDX-License-Identifier: MIT
 *
 * stat: the figures of a remote, as a struct, as Prometheus text and as JSON.
 *
 * LOCKING    The locks of namespaces for the lengths of journal and queue; the rest is relaxed. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "remote/data.h"
#include "remote/link.h"
#include "remote/remote.h"

static void remote_stats_of_link(const remote_figures *f, cellar_remote_stats *s)
{
    s->timeouts = f->counts[REMOTE_LINK_TIMEOUTS];
    s->refused_breaker = f->counts[REMOTE_LINK_BREAKER];
    s->proofs = f->counts[REMOTE_LINK_PROOFS];
    s->gaps = f->counts[REMOTE_LINK_GAPS];
    s->bytes_in = f->counts[REMOTE_LINK_BYTES_IN];
    s->bytes_out = f->counts[REMOTE_LINK_BYTES_OUT];
    s->proof_age_ms = f->proof_age_ms;
    s->proof_trip_us = f->journey_us;
    s->state = (uint64_t)f->state;
}

static void remote_stats_fill(const cellar_remote *r, remote_figures *f, cellar_remote_stats *s)
{
    remote_link_figures(r->link, f);
    *s = cellar_remote_stats_default();
#define REMOTE_STAT(name, help) \
    s->name = atomic_load_explicit(&r->counts.name, memory_order_relaxed);
    CELLAR_REMOTE_COUNTS(REMOTE_STAT)
#undef REMOTE_STAT
    s->bytes = atomic_load_explicit(&r->bytes, memory_order_relaxed);
    remote_data_figures(r->data, s);
    remote_stats_of_link(f, s);
}

CELLAR_API cellar_err cellar_remote_stats_get(const cellar_remote *r, cellar_remote_stats *out)
{
    remote_figures f;
    cellar_remote_stats s;
    if (r == NULL || out == NULL || out->struct_size < sizeof out->struct_size) {
        return CELLAR_E_INVAL;
    }
    remote_stats_fill(r, &f, &s);
    s.struct_size = out->struct_size;
    memcpy(out, &s, s.struct_size < sizeof s ? s.struct_size : sizeof s);
    return CELLAR_OK;
}

#ifndef CELLAR_OMIT_TEXT
/* A text that may be longer than its buffer. */
typedef struct remote_text {
    char *buf;
    size_t cap, len;
} remote_text;

__attribute__((format(printf, 2, 3)))
static void remote_print(remote_text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const bool room = t->len < t->cap;
    const int n = vsnprintf(room ? t->buf + t->len : NULL, room ? t->cap - t->len : 0, format,
                            args);
    va_end(args);
    if (n > 0) { t->len += (size_t)n; }
}

/* Read the figures for a text. False: not such a buffer. */
static bool remote_text_begin(const cellar_remote *r, const remote_text *t, size_t *text_len,
                              remote_figures *f, cellar_remote_stats *s)
{
    if (text_len != NULL) { *text_len = 0; }
    if (r == NULL || (t->buf == NULL && t->cap != 0)) { return false; }
    remote_stats_fill(r, f, s);
    return true;
}

static cellar_err remote_text_end(const remote_text *t, size_t *text_len)
{
    if (text_len != NULL) { *text_len = t->len; }
    return t->len < t->cap ? CELLAR_OK : CELLAR_E_BUFFER;
}

static const char *const remote_why_names[REMOTE_WHYS_N] = {
#define REMOTE_WHY_NAME(name, code, text) text,
    REMOTE_WHYS(REMOTE_WHY_NAME)
#undef REMOTE_WHY_NAME
};

/* Write one family without a label of its own. */
static void remote_family(remote_text *t, const char *prefix, const char *name, const char *type,
                          const char *help, int64_t value)
{
    remote_print(t, "# HELP cellar_remote_%s %s.\n# TYPE cellar_remote_%s %s\n"
                 "cellar_remote_%s{prefix=\"%s\"} %" PRId64 "\n",
                 name, help, name, type, name, prefix, value);
}

/* Write a histogram of microseconds in seconds. */
static void remote_histogram(remote_text *t, const char *prefix, const char *name,
                             const char *help, const uint64_t *buckets)
{
    uint64_t sum = 0;
    remote_print(t, "# HELP cellar_remote_%s_seconds %s.\n"
                 "# TYPE cellar_remote_%s_seconds histogram\n", name, help, name);
    for (unsigned i = 0; i + 1 < REMOTE_TRIP_BUCKETS; i++) {
        sum += buckets[i];
        remote_print(t, "cellar_remote_%s_seconds_bucket{prefix=\"%s\",le=\"%.6f\"} %" PRIu64 "\n",
                     name, prefix, (double)(UINT64_C(1) << i) / 1e6, sum);
    }
    sum += buckets[REMOTE_TRIP_BUCKETS - 1];
    remote_print(t, "cellar_remote_%s_seconds_bucket{prefix=\"%s\",le=\"+Inf\"} %" PRIu64 "\n"
                 "cellar_remote_%s_seconds_sum{prefix=\"%s\"} %.6f\n"
                 "cellar_remote_%s_seconds_count{prefix=\"%s\"} %" PRIu64 "\n",
                 name, prefix, sum, name, prefix, (double)buckets[REMOTE_TRIP_BUCKETS] / 1e6, name,
                 prefix, sum);
}

static void remote_gaps_write(remote_text *t, const char *prefix, const remote_figures *f)
{
    remote_print(t, "# HELP cellar_remote_lost_links_total Links lost or refused, by reason.\n"
                 "# TYPE cellar_remote_lost_links_total counter\n");
    for (unsigned i = REMOTE_WHY_NONE + 1; i < REMOTE_WHYS_N; i++) {
        remote_print(t, "cellar_remote_lost_links_total{prefix=\"%s\",reason=\"%s\"} %" PRIu64 "\n",
                     prefix, remote_why_names[i], f->gaps[i]);
    }
}

CELLAR_API cellar_err cellar_remote_metrics_write(const cellar_remote *r, char *buf,
                                                  size_t buf_cap, size_t *text_len)
{
    remote_text t = { buf, buf_cap, 0 };
    remote_figures f;
    cellar_remote_stats s;
    if (!remote_text_begin(r, &t, text_len, &f, &s)) { return CELLAR_E_INVAL; }
    const char *p = r->cfg.prefix;
#define REMOTE_STAT(name, help) \
    remote_family(&t, p, #name "_total", "counter", "Number of " help, (int64_t)s.name);
    CELLAR_REMOTE_COUNTS(REMOTE_STAT)
#undef REMOTE_STAT
    remote_family(&t, p, "state", "gauge", "State of the link: 0 down, 1 linked, 2 gap, 3 proven, "
                  "4 suspect", (int64_t)s.state);
    remote_family(&t, p, "proof_age_ms", "gauge", "Age of the newest proof; -1 without one",
                  s.proof_age_ms);
    remote_family(&t, p, "journal_keys", "gauge", "Keys in the journal", (int64_t)s.journal_keys);
    remote_family(&t, p, "queue_entries", "gauge", "Writes in the queue",
                  (int64_t)s.queue_entries);
    remote_family(&t, p, "trusting", "gauge", "Namespaces with TRUST: memory answers without a "
                  "proof", (int64_t)s.trusting);
    remote_family(&t, p, "memory_bytes", "gauge", "Memory of the remote tier", (int64_t)s.bytes);
    remote_gaps_write(&t, p, &f);
    remote_histogram(&t, p, "request", "Time from sending a request to its reply", f.trips);
    remote_histogram(&t, p, "marker", "Time from sending a marker to hearing it", f.journeys);
    return remote_text_end(&t, text_len);
}

static void remote_json_list(remote_text *t, const char *name, const uint64_t *buckets)
{
    remote_print(t, ",\"%s\":[", name);
    for (unsigned i = 0; i < REMOTE_TRIP_BUCKETS; i++) {
        remote_print(t, "%s%" PRIu64, i == 0 ? "" : ",", buckets[i]);
    }
    remote_print(t, "]");
}

CELLAR_API cellar_err cellar_remote_stats_json(const cellar_remote *r, char *buf, size_t buf_cap,
                                               size_t *text_len)
{
    static const char *const states[] = { "down", "linked", "gap", "proven", "suspect" };
    remote_text t = { buf, buf_cap, 0 };
    remote_figures f;
    cellar_remote_stats s;
    if (!remote_text_begin(r, &t, text_len, &f, &s)) { return CELLAR_E_INVAL; }
    remote_print(&t, "{\"prefix\":\"%s\",\"state\":\"%s\",\"proof_age_ms\":%" PRId64
                 ",\"proof_trip_us\":%" PRId64 ",\"journal_keys\":%" PRIu64
                 ",\"queue_entries\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"trusting\":%" PRIu64,
                 r->cfg.prefix, states[f.state], s.proof_age_ms, s.proof_trip_us, s.journal_keys,
                 s.queue_entries, s.bytes, s.trusting);
#define REMOTE_STAT(name, help) remote_print(&t, ",\"" #name "\":%" PRIu64, s.name);
    CELLAR_REMOTE_COUNTS(REMOTE_STAT)
#undef REMOTE_STAT
    remote_print(&t, ",\"lost_links\":{");
    for (unsigned i = REMOTE_WHY_NONE + 1; i < REMOTE_WHYS_N; i++) {
        remote_print(&t, "%s\"%s\":%" PRIu64, i == 1 ? "" : ",", remote_why_names[i], f.gaps[i]);
    }
    remote_print(&t, "}");
    remote_json_list(&t, "requests_below_2_to_i_us", f.trips);
    remote_json_list(&t, "marks_below_2_to_i_us", f.journeys);
    remote_print(&t, "}\n");
    return remote_text_end(&t, text_len);
}
#endif
