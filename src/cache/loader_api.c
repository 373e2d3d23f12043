/* SPDX-License-Identifier: MIT
 *
 * loader_api: calls of a loader: its result, options of the result, questions.
 *
 * INVARIANTS Exactly one result: a second one drops both. Given bytes are freed exactly once, with
 *            their last ref, or here if they are refused. Until the loader returns, the flight
 *            keeps them, too: a lost leader frees them with the flight.
 * LOCKING    None; a cellar_load belongs to the thread that runs its loader. */
#include "cache/loader_api.h"

#include "cache/get_alloc.h"
#include "cache/load_types.h"

#define CACHE_LOAD_BUF_LEAST 1024u /* first size of cellar_load_buf, bytes */

/* ---- results ---- */

CELLAR_PRIVATE cellar_err cache_load_room(const cellar *c, const void *value, size_t value_len)
{
    if (value == NULL && value_len != 0) { return CELLAR_E_INVAL; }
    return value_len > l1_max_value(c->l1) ? CELLAR_E_TOOBIG : CELLAR_OK;
}

/* Begin one more result. E_RESULT_TWICE drops the first one. */
static cellar_err cache_report(cellar_load *ld, uint8_t what)
{
    if (ld == NULL || ld->many != NULL) { return CELLAR_E_INVAL; }
    if (ld->said == CACHE_REPORTED_NOTHING && !ld->twice) {
        ld->said = what;
        return CELLAR_OK;
    }
    ld->twice = true;
    flight_draft(ld->f, NULL);
    flight_bytes_drop(ld->value);
    ld->value = NULL;
    return CELLAR_E_RESULT_TWICE;
}

static cellar_err cache_report_error(cellar_load *ld, cellar_err err)
{
    if (ld->said == CACHE_REPORTED_VALUE) { ld->said = CACHE_REPORTED_NOTHING; }
    ld->setter_err = err;
    return err;
}

/* Allocate a value result. Return NULL with *err if it is refused. */
static flight_bytes *cache_report_value(cellar_load *ld, const void *value, size_t value_len,
                                     cellar_err *err)
{
    *err = cache_report(ld, CACHE_REPORTED_VALUE);
    if (*err != CELLAR_OK) { return NULL; }
    *err = cache_load_room(ld->call->c, value, value_len);
    flight_bytes *b = NULL;
    if (*err == CELLAR_OK) {
        b = flight_bytes_new(&ld->call->c->store->hooks, value_len);
        if (b == NULL) { *err = CELLAR_E_NOMEM; }
    }
    if (b == NULL) {
        if (*err == CELLAR_E_INVAL) { ld->said = CACHE_REPORTED_NOTHING; }
        if (*err != CELLAR_E_INVAL) { (void)cache_report_error(ld, *err); }
        return NULL;
    }
    ld->value = b;
    flight_draft(ld->f, b);
    return b;
}

CELLAR_API cellar_err cellar_load_value(cellar_load *load, const void *value, size_t value_len)
{
    cellar_err err;
    flight_bytes *b = cache_report_value(load, value, value_len, &err);
    if (b != NULL && value_len != 0) { memcpy(b->data, value, value_len); }
    return err;
}

CELLAR_API cellar_err cellar_load_alloc(cellar_load *load, size_t value_len, void **value)
{
    cellar_err err;
    if (value == NULL) { return CELLAR_E_INVAL; }
    *value = NULL;
    flight_bytes *b = cache_report_value(load, "", value_len, &err);
    if (b == NULL) { return err; }
    if (value_len != 0) { memset(b->data, 0, value_len); }
    *value = b->data;
    return CELLAR_OK;
}

CELLAR_PRIVATE void cache_load_setter_failed(struct cellar_load *ld, cellar_err err)
{
    if (ld->value == NULL) { return; }
    flight_draft(ld->f, NULL);
    flight_bytes_drop(ld->value);
    ld->value = NULL;
    (void)cache_report_error(ld, err);
}

static void cache_buf_free(void *value, void *ctx)
{
    (void)ctx;
    cellar_free(value);
}

CELLAR_API cellar_buf *cellar_load_buf(cellar_load *load)
{
    if (load == NULL || load->many != NULL) { return NULL; }
    if (load->buf.load == load && (load->value != NULL || load->buf.failed != CELLAR_OK)) {
        return &load->buf;
    }
    if (cache_report(load, CACHE_REPORTED_VALUE) != CELLAR_OK) { return NULL; }
    cache_store *s = load->call->c->store;
    unsigned char *block = cache_dup_new(s, CACHE_LOAD_BUF_LEAST);
    flight_bytes *b = block != NULL
                          ? flight_bytes_give(&s->hooks, block, 0, cache_buf_free, NULL) : NULL;
    if (b == NULL) {
        cellar_free(block);
        (void)cache_report_error(load, CELLAR_E_NOMEM);
        return NULL;
    }
    load->value = b;
    flight_draft(load->f, b);
    load->buf = (cellar_buf){ .store = s, .bytes = block, .cap = CACHE_LOAD_BUF_LEAST,
                              .load = load };
    return &load->buf;
}

CELLAR_API cellar_err cellar_load_take(cellar_load *load, void *value, size_t value_len,
                                       void (*free_fn)(void *value, void *ctx), void *ctx)
{
    if (free_fn == NULL || value == NULL) { return CELLAR_E_INVAL; }
    cellar_err err = cache_report(load, CACHE_REPORTED_VALUE);
    flight_bytes *b = NULL;
    if (err == CELLAR_OK) {
        err = cache_load_room(load->call->c, value, value_len);
        if (err == CELLAR_OK) {
            b = flight_bytes_give(&load->call->c->store->hooks, value, value_len, free_fn, ctx);
            if (b == NULL) { err = CELLAR_E_NOMEM; }
        }
        if (b == NULL) { (void)cache_report_error(load, err); }
    }
    if (b == NULL) {
        free_fn(value, ctx);
        return err;
    }
    load->value = b;
    flight_draft(load->f, b);
    return CELLAR_OK;
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
    load->has_ttl = true;
    load->ttl_ms = ttl_ms;
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_load_set_negative_ttl(cellar_load *load, int64_t ttl_ms)
{
    if (load == NULL || ttl_ms < 0) { return CELLAR_E_INVAL; }
    load->has_negative = true;
    load->negative_ttl_ms = ttl_ms;
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_load_set_stale(cellar_load *load, int64_t stale_ms)
{
    if (load == NULL || stale_ms < 0) { return CELLAR_E_INVAL; }
    if (stale_ms > CACHE_WINDOW_MAX) { return CELLAR_E_RANGE; }
    load->has_stale = true;
    load->stale_ms = stale_ms;
    return CELLAR_OK;
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

CELLAR_API int64_t cellar_load_time_left_ms(const cellar_load *load)
{
    if (load == NULL) { return 0; }
    const cache_call *call = load->call;
    if (load->f == NULL) { return call->p.hard_timeout_ms; }
    return BASE_MAX(flight_hard_at(load->f) - base_now_ms(&call->c->store->clock), 0);
}

CELLAR_API bool cellar_load_cancelled(const cellar_load *load)
{
    if (load == NULL || load->f == NULL) { return false; }
    bool alone;
    return flight_is_detached(load->t, load->f, &alone) && alone;
}
