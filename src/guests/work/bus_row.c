/* SPDX-License-Identifier: MIT
 *
 * bus_row: what is particular to the rows of messages: their body, filters, lanes.
 *
 * WALK       publish or journal -> body: bytes, then pointers to the headers
 *            queued: the lane is free -> the row holds it; else it waits in the ring of the lane
 *            ends, or dies -> the first row of the ring is queued
 * LOCKING    bus_types.h. */
#include "work/bus.h"

#include "base/opts.h"

BASE_SIZE_BEGIN

/* ---- bodies ---- */

CELLAR_PRIVATE task_body *bus_body_make(cellar_pool *p, size_t len, uint32_t header_count)
{
    const size_t at = (len + sizeof BUS_TYPE + 15) / 16 * 16;
    const size_t rest = at - len + sizeof(bus_extra) + header_count * sizeof(cellar_bus_header);
    task_body *b = base_alloc_raw(&p->obj.account.hooks, sizeof *b + len + rest);
    if (b == NULL) { return NULL; }
    memset(b, 0, sizeof *b);
    base_store_rlx(&b->refs, 1u);
    b->len = len;
    b->type_len = (uint16_t)(rest - 1);
    b->message = true;
    b->data = b + 1;
    memcpy((char *)(b + 1) + len, BUS_TYPE, sizeof BUS_TYPE);
    return b;
}

/* Return the text behind `at`, up to `end`; NULL: it has no 0. */
static const char *bus_text_end(const char *at, const char *end)
{
    const char *zero = at < end ? memchr(at, '\0', (size_t)(end - at)) : NULL;
    return zero != NULL ? zero + 1 : NULL;
}

CELLAR_PRIVATE bool bus_body_index(cellar_pool *p, task_body *b, int64_t wall_ms,
                                   int64_t until_ms)
{
    const bus_head *h = bus_head_of(b);
    bus_extra *x = bus_extra_of(b);
    const char *key = (const char *)(h + 1) + h->body_len, *end = (const char *)b->data + b->len;
    const char *at = key + h->key_len + 1;
    for (uint32_t i = 0; i < h->header_count && at != NULL; i++) {
        const char *value = bus_text_end(at, end);
        x->header[i] = (cellar_bus_header){ at, value };
        at = value != NULL ? bus_text_end(value, end) : NULL;
    }
    x->wall_ms = wall_ms;
    x->until_ms = until_ms;
    x->lane = task_hash(p, key, h->key_len) % BUS_LANES;
    return at == end;
}

CELLAR_PRIVATE cellar_err bus_body_restore(cellar_pool *p, const journal_row *row, work_time now,
                                           task_body **out)
{
    bus_head h;
    const bool apart = row->bytes.data != NULL;
    const cellar_bytes bytes = apart ? row->bytes : row->payload;
    const size_t len = bytes.len;
    *out = NULL;
    if (len < sizeof h) { return CELLAR_E_CORRUPT; }
    memcpy(&h, bytes.data, sizeof h);
    const uint64_t texts = len - sizeof h;
    if (h.header_count > CELLAR_BUS_HEADERS_MAX || h.key_len >= texts ||
        h.body_len > texts - h.key_len - 1 || h.id != (uint64_t)row->body) {
        return CELLAR_E_CORRUPT;
    }
    task_body *b = *out = bus_body_make(p, len, h.header_count);
    if (b == NULL) { return CELLAR_E_NOMEM; }
    b->apart = apart;
    memcpy(b->data, bytes.data, len);
    const int64_t age_ms = BASE_MAX(now.wall_ms - row->submitted_wall_ms, 0);
    const int64_t left_ms = BASE_MAX(h.expires_ms - age_ms, 0);
    const int64_t until_ms = h.expires_ms == 0 ? BASE_NEVER_MS : base_add_sat(now.mono_ms, left_ms);
    if (!bus_body_index(p, b, row->submitted_wall_ms, until_ms)) { return CELLAR_E_CORRUPT; }
    p->bus.last_id = BASE_MAX(p->bus.last_id, h.id);
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_bus_message_of(const cellar_task *t, cellar_bus_message *out)
{
    size_t size;
    const task_run *r = t != NULL ? task_run_in(t) : NULL;
    if (r == NULL || out == NULL || !r->shown->message || r->calls->group == NULL) {
        return CELLAR_E_INVAL;
    }
    const cellar_err err = base_opts_size(out, &size);
    if (err != CELLAR_OK) { return err; }
    const bus_head *h = bus_head_of(r->shown);
    cellar_bus_message full = {
        .struct_size = sizeof full, .body = h + 1, .body_len = (size_t)h->body_len,
        .key = (const char *)(h + 1) + h->body_len, .queue = r->calls->group->queue->name,
        .headers = bus_extra_of(r->shown)->header, .id = h->id,
        .published_wall_ms = bus_extra_of(r->shown)->wall_ms, .header_count = h->header_count,
        .priority = h->priority, .died_in = *t->tag != '\0' ? t->tag : NULL,
    };
    memcpy(full.trace, h->trace, sizeof full.trace);
    return base_opts_out(out, &full, sizeof full);
}

/* ---- filters ---- */

/* Return whether the header of the filter has one of its values. */
static bool bus_has_header(const bus_group *g, const cellar_bus_message *m)
{
    for (uint32_t i = 0; i < m->header_count; i++) {
        if (strcmp(m->headers[i].name, g->filter_texts) != 0) { continue; }
        const char *value = g->filter_texts + strlen(g->filter_texts) + 1;
        for (uint32_t k = 0; k < g->o.filter_value_count; k++, value += strlen(value) + 1) {
            if (strcmp(m->headers[i].value, value) == 0) { return true; }
        }
    }
    return false;
}

CELLAR_PRIVATE bool bus_wants(const bus_group *g, const cellar_task *t)
{
    const bool any = g->o.filter_any != 0;
    cellar_bus_message m = cellar_bus_message_default();
    if (cellar_bus_message_of(t, &m) != CELLAR_OK) { return true; } /* a task of a submit */
    if (g->o.filter_priority != 0 && (m.priority >= g->o.filter_priority) == any) { return any; }
    if (g->filter_texts != NULL && bus_has_header(g, &m) == any) { return any; }
    if (g->o.filter_fn != NULL && g->o.filter_fn(&m, g->o.filter_ctx) == any) { return any; }
    return !any;
}

/* ---- lanes ---- */

CELLAR_PRIVATE bus_lane *bus_lane_of(cellar_pool *p, const task *t)
{
    bus_group *g = t->body != NULL && t->body->message ? p->names[t->name]->group : NULL;
    return g != NULL && g->lane_count != 0 ? &g->lane[bus_extra_of(t->body)->lane] : NULL;
}

BASE_SIZE_END
