/* SPDX-License-Identifier: MIT
 *
 * loader_api: calls of a loader: its result, options of the result, questions.
 *
 * INVARIANTS Exactly one result: a second one replaces an empty buffer, else it drops both. Given
 *            bytes are freed exactly once, with their last ref, or here if they are refused.
 * LOCKING    None; a cellar_load belongs to the thread that runs its loader. */
#include "cache/error.h"
#include "cache/get_alloc.h"
#include "cache/object.h"
#include "cache/plan.h"
#include "loading/loading.h"

#define CACHE_LOAD_BUF_LEAST 1024u /* first size of cellar_load_buf, bytes */

/* ---- results ---- */

CELLAR_PRIVATE cache_item *cache_result_of(cellar_load *ld)
{
    return ld == NULL ? NULL : ld->many != NULL ? ld->at : &ld->r;
}

static void cache_result_drop(cellar_load *ld, cache_item *it)
{
    flight_bytes_drop(it->value);
    it->value = NULL;
    ld->buf.bytes = NULL;
}

CELLAR_PRIVATE cellar_err cache_load_twice(cellar_load *ld)
{
    cache_item *it = cache_result_of(ld);
    it->twice = true;
    cache_result_drop(ld, it);
    return cache_fail(ld->call->c, CELLAR_E_RESULT_TWICE, 0,
                      "load: the loader set a second result, which fails the load: set one");
}

CELLAR_PRIVATE bool cache_load_has_buf(cellar_load *ld)
{
    const cache_item *it = cache_result_of(ld);
    return it->value != NULL && it->value->data == ld->buf.bytes;
}

/* Begin one more result of this load, instead of a buffer without bytes. */
static cellar_err cache_report(cellar_load *ld, uint8_t what)
{
    cache_item *it = cache_result_of(ld);
    if (it == NULL) { return CELLAR_E_INVAL; }
    if (cache_load_has_buf(ld) && ld->buf.len == 0) {
        cache_result_drop(ld, it);
        it->said = CACHE_REPORTED_NOTHING;
    }
    if (it->said != CACHE_REPORTED_NOTHING || it->twice) { return cache_load_twice(ld); }
    it->said = what;
    return CELLAR_OK;
}

static cellar_err cache_report_error(cache_item *it, cellar_err err)
{
    if (it->said == CACHE_REPORTED_VALUE) { it->said = CACHE_REPORTED_NOTHING; }
    it->setter_err = err;
    return err;
}

/* Report a value: `value` taken over with its `free_fn`. Without one: room for it. */
static cellar_err cache_report_value(cellar_load *ld, void *value, size_t value_len,
                                     void (*free_fn)(void *, void *), void *ctx)
{
    const cellar_err err = cache_report(ld, CACHE_REPORTED_VALUE);
    if (err != CELLAR_OK) { return err; }
    cache_item *it = cache_result_of(ld);
    if (ld->call->c->object_class != UINT32_MAX) { return cache_report_error(it, CELLAR_E_TYPE); }
    const base_alloc_hooks *hooks = &ld->call->c->store->hooks;
    if (value_len > l1_max_value(ld->call->c->l1)) {
        (void)cache_fail_long(ld->call->c, free_fn != NULL ? "cellar_load_take"
                                                           : "cellar_load_value", value_len);
        return cache_report_error(it, CELLAR_E_TOOBIG);
    }
    it->value = free_fn != NULL ? flight_bytes_give(hooks, value, value_len, free_fn, ctx)
                                : flight_bytes_new(hooks, value_len);
    if (it->value == NULL) { return cache_report_error(it, CELLAR_E_NOMEM); }
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_load_select(cellar_load *load, size_t index)
{
    if (load == NULL || load->many == NULL) { return CELLAR_E_INVAL; }
    cache_item *it = index < load->item_count ? &load->item[index] : NULL;
    if (it != load->at) { load->buf = (cellar_buf){ .failed = CELLAR_E_INVAL }; }
    load->at = it;
    return it != NULL ? CELLAR_OK : CELLAR_E_INVAL;
}

CELLAR_API cellar_err cellar_load_value(cellar_load *load, const void *value, size_t value_len)
{
    if (load != NULL && value == NULL && value_len != 0) {
        return cache_fail_size(load->call->c, "cellar_load_value: value must not be NULL with "
                                              "value_len", value_len);
    }
    const cellar_err err = cache_report_value(load, NULL, value_len, NULL, NULL);
    if (err == CELLAR_OK && value_len != 0) {
        memcpy(cache_result_of(load)->value->data, value, value_len);
    }
    return err;
}

CELLAR_PRIVATE void cache_load_setter_failed(struct cellar_load *ld, cellar_err err)
{
    cache_item *it = cache_result_of(ld);
    if (it->value == NULL) { return; }
    cache_result_drop(ld, it);
    (void)cache_report_error(it, err);
}

static void cache_buf_free(void *value, void *ctx)
{
    (void)ctx;
    cellar_free(value);
}

CELLAR_API cellar_buf *cellar_load_buf(cellar_load *load)
{
    cache_item *it = cache_result_of(load);
    if (it == NULL) { return NULL; }
    if (load->buf.load != NULL && (cache_load_has_buf(load) || load->buf.failed != CELLAR_OK)) {
        return &load->buf;
    }
    if (cache_report(load, CACHE_REPORTED_VALUE) != CELLAR_OK) { return NULL; }
    if (load->call->c->object_class != UINT32_MAX) {
        (void)cache_report_error(it, CELLAR_E_TYPE);
        return NULL;
    }
    cache_store *s = load->call->c->store;
    unsigned char *block = cache_dup_new(s, CACHE_LOAD_BUF_LEAST);
    if (block != NULL) { it->value = flight_bytes_give(&s->hooks, block, 0, cache_buf_free, NULL); }
    if (it->value == NULL) {
        cellar_free(block);
        (void)cache_report_error(it, CELLAR_E_NOMEM);
        return NULL;
    }
    load->buf = (cellar_buf){ .store = s, .bytes = block, .cap = CACHE_LOAD_BUF_LEAST,
                              .load = load };
    return &load->buf;
}

CELLAR_API cellar_err cellar_load_take(cellar_load *load, void *value, size_t value_len,
                                       void (*free_fn)(void *value, void *ctx), void *ctx)
{
    if (free_fn == NULL || value == NULL) { return CELLAR_E_INVAL; }
    const cellar_err err = cache_report_value(load, value, value_len, free_fn, ctx);
    if (err != CELLAR_OK) { free_fn(value, ctx); }
    return err;
}

static void cache_cell_give(void *cell, void *cells) { l1_cell_drop(cells, cell); }

CELLAR_PRIVATE flight_bytes *cache_cell_bytes(cache_store *s, l1_cell *b, size_t charge)
{
    return flight_bytes_give(&s->hooks, b, charge, cache_cell_give, base_load_acq(&s->cells));
}

CELLAR_PRIVATE cellar_err cache_report_object(struct cellar_load *ld, void *object, size_t charge)
{
    cellar *c = ld->call->c;
    l1_cell *b = NULL;
    cellar_err err = cache_report(ld, CACHE_REPORTED_VALUE);
    if (err == CELLAR_OK) {
        err = l1_cell_new(c->l1, base_load_acq(&c->generation), c->object_class, object, charge,
                          &b);
        cache_item *it = cache_result_of(ld);
        it->value = b != NULL ? cache_cell_bytes(c->store, b, charge) : NULL;
        if (it->value != NULL) { return CELLAR_OK; }
        err = cache_report_error(it, cache_cell_failed(c, "cellar_load_object",
                                                       b != NULL ? CELLAR_E_NOMEM : err, charge));
    }
    l1_cells *const cells = base_load_acq(&c->store->cells);
    if (b != NULL) {
        l1_cell_drop(cells, b);
    } else {
        l1_object_free(cells, c->object_class, object, charge);
    }
    return err;
}

CELLAR_API cellar_err cellar_load_absent(cellar_load *load)
{
    return cache_report(load, CACHE_REPORTED_NONE);
}

CELLAR_API cellar_err cellar_load_not_modified(cellar_load *load)
{
    return cache_report(load, CACHE_REPORTED_SAME);
}

CELLAR_API cellar_err cellar_load_fail(cellar_load *load, int32_t loader_err,
                                       int64_t retry_after_ms, uint32_t flags)
{
    if (load == NULL || loader_err == 0 || retry_after_ms < 0 ||
        retry_after_ms > (int64_t)24 * 3600 * 1000 || (flags & ~CELLAR_FAIL_FINAL) != 0) {
        return CELLAR_E_INVAL;
    }
    cache_item *it = load->at != NULL ? load->at : &load->r;
    it->failed = true;
    it->loader_err = loader_err;
    it->retry_after_ms = retry_after_ms;
    it->fail_flags = flags;
    return CELLAR_OK;
}

/* ---- options of this result ---- */

/* Keep the texts of the tags for the tier: with the flight, those of all keys with the load. Return
 * false if no memory is left. */
static bool cache_tags_keep(cellar_load *load, cache_result_opts *opts, const cellar_bytes *tags,
                            uint32_t tag_count)
{
    size_t bytes = tag_count * sizeof *tags;
    for (uint32_t i = 0; i < tag_count; i++) { bytes += tags[i].len; }
    flight_bytes *b = flight_bytes_new(&load->call->c->store->hooks, bytes);
    if (b == NULL) { return false; }
    cellar_bytes *text = (cellar_bytes *)(void *)b->data;
    unsigned char *at = b->data + tag_count * sizeof *tags;
    for (uint32_t i = 0; i < tag_count; i++) {
        memcpy(at, tags[i].data, tags[i].len);
        text[i] = (cellar_bytes){ at, tags[i].len };
        at += tags[i].len;
    }
    opts->tag_text = text;
    if (load->many == NULL || load->at != NULL) {
        flight_tags_keep((load->at != NULL ? load->at->call : load->call)->f, b);
    } else {
        flight_bytes_drop(load->r.opts);
        load->r.opts = b;
    }
    return true;
}

/* Set the tags of the result. Return false if no memory is left. */
static bool cache_tags_set(cellar_load *load, cache_result_opts *opts, const cellar_bytes *tags,
                           uint32_t tag_count)
{
    cellar *c = load->call->c;
    if (cache_tier_of(c) != NULL && !cache_tags_keep(load, opts, tags, tag_count)) { return false; }
    for (uint32_t i = 0; i < tag_count; i++) {
        opts->fps[i] = base_hash(c->hash_key, CACHE_SALT_TAG, tags[i].data, tags[i].len);
    }
    opts->tag_count = tag_count;
    return true;
}

/* Return the options of the selected key, made of those of the load, else of the load. Return NULL
 * if no memory is left. */
static cache_result_opts *cache_opts_at(cellar_load *load)
{
    cache_item *it = load->at;
    if (it == NULL) { return &load->opts; }
    if (it->opts == NULL) {
        it->opts = flight_bytes_new(&load->call->c->store->hooks, sizeof load->opts);
        if (it->opts == NULL) { return NULL; }
        memcpy(it->opts->data, &load->opts, sizeof load->opts);
        if (load->opts.tag_text != NULL &&
            !cache_tags_keep(load, (cache_result_opts *)(void *)it->opts->data,
                             load->opts.tag_text, load->opts.tag_count)) {
            flight_bytes_drop(it->opts);
            it->opts = NULL;
            return NULL;
        }
    }
    return (cache_result_opts *)(void *)it->opts->data;
}

CELLAR_API cellar_err cellar_load_opts_set(cellar_load *load, const cellar_set_opts *o)
{
    const uint32_t flags = CELLAR_NEGATIVE | CELLAR_NO_STORE;
    cellar_set_opts full;
    if (load == NULL || o == NULL) { return CELLAR_E_INVAL; }
    cellar *c = load->call->c;
    const cellar_err err =
        cache_set_opts_read(c, o, CACHE_FOR_LOADER | (CACHE_SET_FLAGS & ~flags), &full);
    if (err != CELLAR_OK) { return err; }
    if (full.idle_ms != 0 || full.max_age_ms != 0 || full.if_version != 0 ||
        full.new_version != NULL || (full.ttl_class | full.jitter_pct | full.jitter_mode) != 0) {
        return cache_refuse(c, "cellar_load_opts_set: set times, tags, cost_us, user_flags, "
                               "weight_bytes, flags");
    }
    cache_result_opts *opts = cache_opts_at(load);
    if (opts == NULL ||
        (full.tag_count != 0 && !cache_tags_set(load, opts, full.tags, full.tag_count))) {
        return CELLAR_E_NOMEM;
    }
    const bool none = (full.flags & CELLAR_NEGATIVE) != 0;
    if (full.ttl_ms != 0) {
        *(none ? &opts->negative_ttl_ms : &opts->ttl_ms) = full.ttl_ms;
        opts->own |= none ? CACHE_GIVEN_NEGATIVE : CACHE_GIVEN_TTL;
    }
    if (full.stale_ms != 0) {
        opts->stale_ms = cache_stale_of(full.stale_ms);
        opts->own |= CACHE_GIVEN_STALE;
    }
    if (full.cost_us != 0) { opts->cost_us = full.cost_us; }
    if (full.user_flags != 0) { opts->user_flags = full.user_flags; }
    if (full.weight_bytes != 0) { opts->weight_bytes = full.weight_bytes; }
    opts->no_store = opts->no_store || (full.flags & CELLAR_NO_STORE) != 0;
    return CELLAR_OK;
}

CELLAR_PRIVATE void cache_load_bound(cellar_load *load, int64_t left_ms)
{
    load->left_ms = left_ms;
}

/* ---- questions ---- */

/* Return the milliseconds until a waiter may take over. */
static int64_t cache_load_left_ms(const cache_call *call, flight *f)
{
    if (f == NULL) { return call->p->ms[CACHE_HARD]; }
    const int64_t left_ms = flight_hard_at(f) - base_now_ms(&call->c->store->clock);
    return BASE_MAX(left_ms, 0);
}

CELLAR_API cellar_err cellar_load_info_get(const cellar_load *load, cellar_load_info *out)
{
    cellar_load_info info = cellar_load_info_default();
    if (load == NULL || out == NULL) { return CELLAR_E_INVAL; }
    const cache_call *call = load->at != NULL ? load->at->call : load->call;
    flight *f = call->f;
    bool alone;
    if (call->old != NULL && call->old_current) {
        info.has_stale = 1;
        info.stale_value = call->c->object_class == UINT32_MAX ? call->old->data : NULL;
        info.stale_len = call->old->len;
        info.stale_user_flags = call->found.user_flags;
    }
    info.trace = call->p->trace;
    info.time_left_ms = cache_load_left_ms(call, f);
    info.attempt = call->failures + call->losses;
    if (f != NULL) {
        info.attempt = BASE_MAX(info.attempt, flight_takeovers(f));
        info.cancelled = flight_is_detached(call->t, f, &alone) && alone;
    }
    return base_opts_out(out, &info, sizeof info);
}
