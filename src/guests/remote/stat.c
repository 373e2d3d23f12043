/* SPDX-License-Identifier: MIT
 *
 * stat: the figures of a remote, as a struct, and for cellar_metrics_write and cellar_stats_json.
 *
 * LOCKING    The locks of namespaces for the lengths of journal and queue; the rest is relaxed. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "remote/data.h"
#include "remote/link.h"
#include "remote/remote.h"
#include "remote/share.h"

BASE_SIZE_BEGIN

static void remote_stats_fill(const cellar_remote *r, remote_figures *f, cellar_remote_stats *s)
{
    remote_link_figures(r->link, f);
    *s = cellar_remote_stats_default();
#define REMOTE_STAT(name, help) \
    s->name = atomic_load_explicit(&r->counts.name, memory_order_relaxed);
    CELLAR_REMOTE_COUNTS(REMOTE_STAT)
#undef REMOTE_STAT
    s->bytes = atomic_load_explicit(&r->bytes, memory_order_relaxed);
    s->leases_held = atomic_load_explicit(&r->share->held, memory_order_relaxed);
    remote_data_figures(r->data, s);
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

CELLAR_API cellar_err cellar_remote_stats_get(const cellar_remote *r, cellar_remote_stats *out)
{
    remote_figures f;
    cellar_remote_stats s;
    if (r == NULL || out == NULL || out->struct_size < sizeof out->struct_size) {
        return CELLAR_E_INVAL;
    }
    if (r->forked) { return CELLAR_E_FORKED; }
    remote_stats_fill(r, &f, &s);
    s.struct_size = out->struct_size;
    memcpy(out, &s, s.struct_size < sizeof s ? s.struct_size : sizeof s);
    return CELLAR_OK;
}

#ifndef CELLAR_OMIT_TEXT
/* A text that may be longer than its buffer. */
typedef struct remote_text {
    const char *prefix; /* of the remote: its label */
    char *buf;
    size_t cap, len;
    const char *comma;  /* of JSON: what stands before the next figure; NULL: Prometheus text */
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

static void remote_head(remote_text *t, const char *name, const char *type, const char *help)
{
    if (t->comma != NULL) { return; }
    remote_print(t, "# HELP cellar_remote_%s %s.\n# TYPE cellar_remote_%s %s\n", name, help, name,
                 type);
}

/* Write one figure. `label`: a second label with `text`, printable bytes; NULL: none. */
static void remote_figure(remote_text *t, const char *name, const char *label, const char *text,
                          int64_t value)
{
    const bool json = t->comma != NULL;
    char more[2 * sizeof ((remote_refusal *)NULL)->text + 16] = "";
    if (label != NULL) {
        int n = snprintf(more, sizeof more, json ? ",\"%s\":\"" : ",%s=\"", label);
        for (; *text != '\0'; text++) {
            if (*text == '"' || *text == '\\') { more[n++] = '\\'; }
            more[n++] = *text;
        }
        more[n] = '"';
        more[n + 1] = '\0';
    }
    if (json) {
        remote_print(t, "%s{\"name\":\"cellar_remote_%s\",\"labels\":{\"remote\":\"%s\"%s},"
                     "\"value\":%" PRId64 "}", t->comma, name, t->prefix, more, value);
        t->comma = ",";
    } else {
        remote_print(t, "cellar_remote_%s{remote=\"%s\"%s} %" PRId64 "\n", name, t->prefix, more,
                     value);
    }
}

static void remote_family(remote_text *t, const char *name, const char *type, const char *help,
                          int64_t value)
{
    remote_head(t, name, type, help);
    remote_figure(t, name, NULL, NULL, value);
}

/* Write the state of the link. JSON also has the reason why a link is not proven. */
static void remote_state_write(remote_text *t, const cellar_remote *r, remote_state state)
{
    static const char help[] = "State of the link: 0 down, 1 linked, 2 gap, 3 proven, 4 suspect";
    remote_refusal why;
    remote_link_refusal(r->link, &why);
    const bool tells = t->comma != NULL && state < REMOTE_PROVEN && why.code != CELLAR_OK;
    remote_head(t, "state", "gauge", help);
    remote_figure(t, "state", tells ? "why" : NULL, why.text, (int64_t)state);
}

/* Write a histogram of microseconds in seconds. */
static void remote_histogram(remote_text *t, const char *name, const char *help,
                             const uint64_t *buckets)
{
    uint64_t sum = 0;
    remote_head(t, name, "histogram", help);
    for (unsigned i = 0; i + 1 < REMOTE_TRIP_BUCKETS; i++) {
        sum += buckets[i];
        remote_print(t, "cellar_remote_%s_bucket{remote=\"%s\",le=\"%.6f\"} %" PRIu64 "\n", name,
                     t->prefix, (double)(UINT64_C(1) << i) / 1e6, sum);
    }
    sum += buckets[REMOTE_TRIP_BUCKETS - 1];
    remote_print(t, "cellar_remote_%s_bucket{remote=\"%s\",le=\"+Inf\"} %" PRIu64 "\n"
                 "cellar_remote_%s_sum{remote=\"%s\"} %.6f\n"
                 "cellar_remote_%s_count{remote=\"%s\"} %" PRIu64 "\n", name, t->prefix, sum, name,
                 t->prefix, (double)buckets[REMOTE_TRIP_BUCKETS] / 1e6, name, t->prefix, sum);
}

/* Name, help, field of cellar_remote_stats. */
#define REMOTE_GAUGES(X) \
    X("proof_age_ms", "Age of the newest proof in ms; -1 without one", proof_age_ms) \
    X("proof_trip_us", "Journey of the newest marker in us", proof_trip_us) \
    X("leases_held", "Loads that this process leads for all processes now", leases_held) \
    X("journal_keys", "Keys in the journal", journal_keys) \
    X("queue_entries", "Writes in the queue", queue_entries) \
    X("trusting", "Namespaces with TRUST: memory answers without a proof", trusting) \
    X("memory_bytes", "Memory of the remote tier", bytes)

CELLAR_PRIVATE cellar_err remote_text_write(void *remote, bool json, char *buf, size_t cap,
                                            size_t *full)
{
    const cellar_remote *r = remote;
    remote_text t = { .prefix = r->cfg.prefix, .buf = buf, .cap = cap,
                      .comma = json ? "" : NULL };
    remote_figures f;
    cellar_remote_stats s;
    if (r->forked) { return CELLAR_E_FORKED; }
    remote_stats_fill(r, &f, &s);
    if (json) { remote_print(&t, "{\"metrics\":["); }
    remote_state_write(&t, r, f.state);
#define REMOTE_GAUGE(name, help, field) remote_family(&t, name, "gauge", help, (int64_t)s.field);
    REMOTE_GAUGES(REMOTE_GAUGE)
#undef REMOTE_GAUGE
#define REMOTE_STAT(name, help) \
    remote_family(&t, #name "_total", "counter", "Number of " help, (int64_t)s.name);
    CELLAR_REMOTE_COUNTS(REMOTE_STAT)
#undef REMOTE_STAT
    remote_head(&t, "lost_links_total", "counter", "Links lost or refused, by reason");
#define REMOTE_LOST(name, code, text) \
    if (REMOTE_WHY_##name != REMOTE_WHY_NONE) { \
        remote_figure(&t, "lost_links_total", "reason", text, (int64_t)f.gaps[REMOTE_WHY_##name]); \
    }
    REMOTE_WHYS(REMOTE_LOST)
#undef REMOTE_LOST
    if (json) {
        remote_print(&t, "]}");
    } else {
        remote_histogram(&t, "request_seconds", "Time from sending a request to its reply",
                         f.trips);
        remote_histogram(&t, "marker_seconds", "Time from sending a marker to hearing it",
                         f.journeys);
    }
    *full = t.len;
    return CELLAR_OK;
}
#endif

BASE_SIZE_END
