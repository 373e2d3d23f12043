/* SPDX-License-Identifier: MIT
 *
 * loader_api: calls of a loader: its result, options of the result, questions.
 *
 * INVARIANTS Exactly one result: a second one replaces an empty buffer, else it drops both. Given
 *            bytes are freed exactly once, with their last ref, or here if they are refused.
 * LOCKING    None; a cellar_load belongs to the thread that runs its loader. */
#include "loading/loader_api.h"

#include "cache/error.h"
#include "cache/get_alloc.h"
#include "cache/load_types.h"

#define CACHE_LOAD_BUF_LEAST 1024u /* first size of cellar_load_buf, bytes */

/* ---- results ---- */

/* Return the result of a loader of one key; NULL: there is none. */
static cache_item *cache_result_of(cellar_load *ld)
{
    return ld == NULL || ld->many != NULL ? NULL : &ld->r;
}

static cache_item *cache_item_of(cellar_load *ld, size_t index)
{
    return ld == NULL || ld->many == NULL || index >= ld->item_count ? NULL : &ld->item[index];
}

static void cache_result_drop(cellar_load *ld, cache_item *it)
{
    flight_bytes_drop(it->value);
    it->value = NULL;
    if (it == &ld->r) { ld->buf.bytes = NULL; }
}

CELLAR_PRIVATE cellar_err cache_load_twice(cellar_load *ld, cache_item *it)
{
    it->twice = true;
    cache_result_drop(ld, it);
    return cache_fail(ld->call->c, CELLAR_E_RESULT_TWICE, 0,
                      "loader: a second result fails the load of its key: set one result");
}

CELLAR_PRIVATE bool cache_load_has_buf(const cellar_load *ld)
{
    return ld->r.value != NULL && ld->r.value->data == ld->buf.bytes;
}

/* Begin one more result of this load, instead of a buffer without bytes. */
static cellar_err cache_report(cellar_load *ld, cache_item *it, uint8_t what)
{
    if (it == NULL) { return CELLAR_E_INVAL; }
    if (it == &ld->r && cache_load_has_buf(ld) && ld->buf.len == 0) {
        cache_result_drop(ld, it);
        it->said = CACHE_REPORTED_NOTHING;
    }
    if (it->said != CACHE_REPORTED_NOTHING || it->twice || it->loader_err != 0) {
        return cache_load_twice(ld, it);
    }
    it->said = what;
    return CELLAR_OK;
}

static cellar_err cache_report_error(cache_item *it, cellar_err err)
{
    if (it->said == CACHE_REPORTED_VALUE) { it->said = CACHE_REPORTED_NOTHING; }
    it->setter_err = err;
    return err;
}

/* Report a value: `value` copied, or with a `free_fn` taken over. NULL: room for it. */
static cellar_err cache_report_value(cellar_load *ld, cache_item *it, void *value,
                                     size_t value_len, void (*free_fn)(void *, void *), void *ctx)
{
    const cellar_err err = cache_report(ld, it, CACHE_REPORTED_VALUE);
    if (err != CELLAR_OK) { return err; }
    const base_alloc_hooks *hooks = &ld->call->c->store->hooks;
    if (value_len > l1_max_value(ld->call->c->l1)) {
        return cache_report_error(it, CELLAR_E_TOOBIG);
    }
    it->value = free_fn != NULL ? flight_bytes_give(hooks, value, value_len, free_fn, ctx)
                                : flight_bytes_new(hooks, value_len);
    if (it->value == NULL) { return cache_report_error(it, CELLAR_E_NOMEM); }
    return CELLAR_OK;
}

static cellar_err cache_report_copy(cellar_load *ld, cache_item *it, const void *value,
                                    size_t value_len)
{
    if (value == NULL && value_len != 0) { return CELLAR_E_INVAL; }
    const cellar_err err = cache_report_value(ld, it, NULL, value_len, NULL, NULL);
    if (err == CELLAR_OK && value_len != 0) { memcpy(it->value->data, value, value_len); }
    return err;
}

CELLAR_API cellar_err cellar_load_value(cellar_load *load, const void *value, size_t value_len)
{
    return cache_report_copy(load, cache_result_of(load), value, value_len);
}

CELLAR_API cellar_err cellar_load_item_value(cellar_load *load, size_t index, const void *value,
                                             size_t value_len)
{
    return cache_report_copy(load, cache_item_of(load, index), value, value_len);
}

CELLAR_API cellar_err cellar_load_item_absent(cellar_load *load, size_t index)
{
    return cache_report(load, cache_item_of(load, index), CACHE_REPORTED_NONE);
}

CELLAR_API cellar_err cellar_load_item_fail(cellar_load *load, size_t index, int32_t loader_err)
{
    cache_item *it = cache_item_of(load, index);
    if (loader_err == 0) { return CELLAR_E_INVAL; }
    const cellar_err err = cache_report(load, it, CACHE_REPORTED_NOTHING);
    if (err == CELLAR_OK) { it->loader_err = loader_err; }
    return err;
}

CELLAR_API cellar_err cellar_load_alloc(cellar_load *load, size_t value_len, void **value)
{
    cache_item *it = cache_result_of(load);
    if (value == NULL) { return CELLAR_E_INVAL; }
    *value = NULL;
    const cellar_err err = cache_report_value(load, it, NULL, value_len, NULL, NULL);
    if (err != CELLAR_OK) { return err; }
    if (value_len != 0) { memset(it->value->data, 0, value_len); }
    *value = it->value->data;
    return CELLAR_OK;
}

CELLAR_PRIVATE void cache_load_setter_failed(struct cellar_load *ld, cellar_err err)
{
    if (ld->r.value == NULL) { return; }
    cache_result_drop(ld, &ld->r);
    (void)cache_report_error(&ld->r, err);
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
    if (cache_load_has_buf(load) || load->buf.failed != CELLAR_OK) { return &load->buf; }
    if (cache_report(load, it, CACHE_REPORTED_VALUE) != CELLAR_OK) { return NULL; }
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
    const cellar_err err =
        cache_report_value(load, cache_result_of(load), value, value_len, free_fn, ctx);
    if (err != CELLAR_OK) { free_fn(value, ctx); }
    return err;
}

CELLAR_API cellar_err cellar_load_absent(cellar_load *load)
{
    return cache_report(load, cache_result_of(load), CACHE_REPORTED_NONE);
}

CELLAR_API cellar_err cellar_load_not_modified(cellar_load *load)
{
    return cache_report(load, cache_result_of(load), CACHE_REPORTED_SAME);
}

CELLAR_API cellar_err cellar_load_fail(cellar_load *load, int32_t loader_err,
                                       int64_t retry_after_ms, uint32_t flags)
{
    if (load == NULL || loader_err == 0 || retry_after_ms < 0 ||
        retry_after_ms > (int64_t)24 * 3600 * 1000 || (flags & ~CELLAR_FAIL_FINAL) != 0) {
        return CELLAR_E_INVAL;
    }
    load->failed = true;
    load->loader_err = loader_err;
    load->retry_after_ms = retry_after_ms;
    load->fail_flags = flags;
    return CELLAR_OK;
}

/* ---- options of this result ---- */

CELLAR_API cellar_err cellar_load_set_ttl(cellar_load *load, int64_t ttl_ms)
{
    if (load == NULL || ttl_ms < 0) { return CELLAR_E_INVAL; }
    load->ttl_ms = ttl_ms;
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_load_set_negative_ttl(cellar_load *load, int64_t ttl_ms)
{
    if (load == NULL || ttl_ms < 0) { return CELLAR_E_INVAL; }
    load->negative_ttl_ms = ttl_ms;
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_load_set_stale(cellar_load *load, int64_t stale_ms)
{
    if (load == NULL || stale_ms < 0) { return CELLAR_E_INVAL; }
    if (stale_ms > CACHE_WINDOW_MAX) { return CELLAR_E_RANGE; }
    load->stale_ms = stale_ms;
    return CELLAR_OK;
}

/* Keep the texts of the tags with the flight, for the tier. Return false if no memory is left. */
static bool cache_tags_keep(cellar_load *load, const cellar_bytes *tags, size_t tag_count)
{
    size_t bytes = tag_count * sizeof *tags;
    for (size_t i = 0; i < tag_count; i++) { bytes += tags[i].len; }
    flight_bytes *b = flight_bytes_new(&load->call->c->store->hooks, bytes);
    if (b == NULL) { return false; }
    cellar_bytes *text = (cellar_bytes *)(void *)b->data;
    unsigned char *at = b->data + tag_count * sizeof *tags;
    for (size_t i = 0; i < tag_count; i++) {
        memcpy(at, tags[i].data, tags[i].len);
        text[i] = (cellar_bytes){ at, tags[i].len };
        at += tags[i].len;
    }
    flight_tags_keep(load->f, b);
    load->tag_text = text;
    return true;
}

CELLAR_API cellar_err cellar_load_set_tags(cellar_load *load, const cellar_bytes *tags,
                                           size_t tag_count)
{
    if (load == NULL || tag_count > CELLAR_TAGS_MAX || (tags == NULL && tag_count != 0)) {
        return CELLAR_E_INVAL;
    }
    for (size_t i = 0; i < tag_count; i++) {
        if (tags[i].data == NULL || tags[i].len == 0 || tags[i].len > CELLAR_TAG_MAX) {
            return CELLAR_E_INVAL;
        }
    }
    load->tag_text = NULL;
    if (tag_count != 0 && cache_tier_of(load->call->c) != NULL && load->many == NULL &&
        !cache_tags_keep(load, tags, tag_count)) {
        return CELLAR_E_NOMEM;
    }
    const base_hash_key *key = load->call->c->hash_key;
    for (size_t i = 0; i < tag_count; i++) {
        load->fps[i] = base_hash(key, CACHE_SALT_TAG, tags[i].data, tags[i].len);
    }
    load->tag_count = (uint32_t)tag_count;
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_load_set_cost(cellar_load *load, uint32_t cost_us)
{
    if (load == NULL) { return CELLAR_E_INVAL; }
    load->cost_us = cost_us;
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_load_set_user_flags(cellar_load *load, uint32_t user_flags)
{
    if (load == NULL) { return CELLAR_E_INVAL; }
    load->user_flags = user_flags;
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_load_set_no_store(cellar_load *load)
{
    if (load == NULL) { return CELLAR_E_INVAL; }
    load->no_store = true;
    return CELLAR_OK;
}

/* ---- questions ---- */

CELLAR_API cellar_err cellar_load_stale_value(cellar_load *load, const void **value,
                                              size_t *value_len,
                                              uint32_t *user_flags)
{
    if (load == NULL || value == NULL || value_len == NULL) { return CELLAR_E_INVAL; }
    *value = NULL;
    *value_len = 0;
    const cache_call *call = load->call;
    if (load->many != NULL || call->old == NULL || !call->old_current) { return CELLAR_MISS; }
    *value = call->old->data;
    *value_len = call->old->len;
    if (user_flags != NULL) { *user_flags = call->found.user_flags; }
    return CELLAR_OK;
}

CELLAR_API uint32_t cellar_load_attempt(const cellar_load *load)
{
    if (load == NULL) { return 0; }
    const uint32_t taken = load->f != NULL ? flight_takeovers(load->f) : 0;
    return BASE_MAX(load->call->failures + load->call->losses, taken);
}

CELLAR_API const unsigned char *cellar_load_trace(const cellar_load *load)
{
    return load == NULL ? NULL : load->call->p->trace;
}

CELLAR_API int64_t cellar_load_time_left_ms(const cellar_load *load)
{
    if (load == NULL) { return 0; }
    const cache_call *call = load->call;
    if (load->f == NULL) { return call->p->ms[CACHE_HARD]; }
    const int64_t left_ms = flight_hard_at(load->f) - base_now_ms(&call->c->store->clock);
    return BASE_MAX(left_ms, 0);
}

CELLAR_API bool cellar_load_cancelled(const cellar_load *load)
{
    if (load == NULL || load->f == NULL) { return false; }
    bool alone;
    return flight_is_detached(load->call->t, load->f, &alone) && alone;
}
