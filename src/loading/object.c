/* SPDX-License-Identifier: MIT
 *
 * object: values as objects, by the codec of the namespace.
 *
 * WALK       get: copy the value -> decode -> object. Damaged: remove the entry if it is still the
 *            same, count it, miss.
 *            load: get_or_load -> decode. Damaged: remove the entry and load once more.
 * INVARIANTS The codec runs with no lock held. An entry that was replaced meanwhile stays.
 * SEE ALSO   update.c (the copy, the removal), loader_api.c (cellar_load_obj). */
#include "cache/call.h"
#include "cache/error.h"
#include "cache/lookup.h"
#include "cache/talk.h"
#include "loading/loading.h"

BASE_SIZE_BEGIN

static cellar_err cache_object_bad(cellar *c, const void *key, size_t key_len, const char *call)
{
    return cache_fail_key(c, call, key, key_len, "object must not be NULL, the namespace needs a "
                                                 "codec");
}

static bool cache_no_codec(const cellar *c) { return c == NULL || c->codec.decode == NULL; }

/* Count an entry that did not decode. */
static void cache_object_damaged(cellar *c)
{
    stats_add(cache_mine(c), STATS_DECODE_ERROR, 1);
}

/* Decode the value of a key. MISS: no value, or a damaged one, which is removed. */
static cellar_err cache_object_read(cellar *c, l1_key *k, void **object, stats_id *outcome)
{
    cellar_buf old;
    l1_info info;
    unsigned char room[CACHE_BUF_INLINE];
    cache_buf_init(&old, c->store, room);
    *outcome = STATS_HIT_L1;
    cellar_err err = cache_update_look(c, k, &old, &info);
    if (err == CELLAR_MISS && cache_brought(c, k)) {
        *outcome = STATS_HIT_L2;
        err = cache_update_look(c, k, &old, &info);
    }
    if (err == CELLAR_OK) {
        sync_assert_none();
        if (c->codec.decode(c->codec.ctx, old.bytes, old.len, object) != CELLAR_OK) {
            *object = NULL;
            cache_object_damaged(c);
            (void)cache_remove_same(c, k, &info, &old, 0, true);
            err = CELLAR_MISS;
        }
    }
    if (err != CELLAR_OK) { *outcome = err == CELLAR_ABSENT ? STATS_NEGATIVE : STATS_MISS; }
    cache_buf_fini(&old);
    return err;
}

CELLAR_API cellar_err cellar_get_obj(cellar *c, const void *key, size_t key_len, void **object)
{
    if (cache_no_codec(c) || cache_key_bad(key, key_len) || object == NULL) {
        return cache_object_bad(c, key, key_len, "cellar_get_obj");
    }
    *object = NULL;
    if (cache_is_closed(c)) { return cache_closed(c); }
    cellar_err err = CELLAR_MISS;
    stats_id outcome = STATS_MISS;
    l1_key k;
    cache_key(c, &k, key, key_len);
    if (!cache_is_off(c)) { err = cache_object_read(c, &k, object, &outcome); }
    stats_add(cache_mine(c), outcome, 1);
    cache_hot_sample(c, base_thread_self(), &k);
    if (cache_talks(c)) { cache_read_tell(c, "get", &k, err); }
    if (err >= 0) { return err; }
    return cache_fail(c, err, 0, "cellar_get_obj: no memory for a copy of the value");
}

CELLAR_API cellar_err cellar_set_obj(cellar *c, const void *key, size_t key_len,
                                     const void *object, const cellar_set_opts *o)
{
    if (cache_no_codec(c) || cache_key_bad(key, key_len) || object == NULL) {
        return cache_object_bad(c, key, key_len, "cellar_set_obj");
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    cellar_buf out;
    unsigned char room[CACHE_BUF_INLINE];
    cache_buf_init(&out, c->store, room);
    cellar_err err = c->codec.encode(c->codec.ctx, object, &out);
    if (err == CELLAR_OK) { err = out.failed; }
    if (err == CELLAR_OK) {
        err = cellar_set(c, key, key_len, out.bytes, out.len, o);
    } else {
        (void)cache_fail(c, err, 0, "cellar_set_obj: the object does not encode");
    }
    cache_buf_fini(&out);
    return err;
}

CELLAR_API cellar_err cellar_load_obj(cellar_load *load, const void *object)
{
    if (load == NULL || object == NULL || load->call == NULL ||
        cache_no_codec(load->call->c)) {
        return CELLAR_E_INVAL;
    }
    cellar_buf *out = cellar_load_buf(load);
    if (out == NULL) { return CELLAR_E_NOMEM; }
    const cellar_codec *codec = &load->call->c->codec;
    const cellar_err err = codec->encode(codec->ctx, object, out);
    return err != CELLAR_OK ? err : out->failed;
}

/* Remove the entry of a key if it has these bytes. */
static void cache_object_drop(cellar *c, const void *key, size_t key_len, const void *value,
                              size_t value_len)
{
    cellar_buf old;
    l1_info info;
    l1_key k;
    unsigned char room[CACHE_BUF_INLINE];
    cache_buf_init(&old, c->store, room);
    cache_key(c, &k, key, key_len);
    if (cache_update_look(c, &k, &old, &info) == CELLAR_OK && old.len == value_len &&
        (value_len == 0 || memcmp(old.bytes, value, value_len) == 0)) {
        (void)cache_remove_same(c, &k, &info, &old, 0, true);
    }
    cache_buf_fini(&old);
}

CELLAR_API cellar_err cellar_get_or_load_obj(cellar *c, const void *key, size_t key_len,
                                             const cellar_load_opts *o, cellar_loader_fn fn,
                                             void *ctx, void **object)
{
    if (cache_no_codec(c) || cache_key_bad(key, key_len) || object == NULL) {
        return cache_object_bad(c, key, key_len, "cellar_get_or_load_obj");
    }
    *object = NULL;
    for (bool again = true;; again = false) {
        unsigned char room[CACHE_BUF_INLINE];
        cellar_result r = cellar_result_default();
        r.buf = room;
        r.buf_cap = sizeof room;
        cellar_err err = cellar_get_or_load(c, key, key_len, o, fn, ctx, &r);
        const bool has = err == CELLAR_OK || err == CELLAR_STALE;
        const bool damaged =
            has && c->codec.decode(c->codec.ctx, r.value, r.value_len, object) != CELLAR_OK;
        if (damaged) {
            *object = NULL;
            cache_object_damaged(c);
            cache_object_drop(c, key, key_len, r.value, r.value_len);
        }
        cellar_result_free(&r);
        if (!damaged) { return err; }
        if (!again) {
            return cache_fail(c, CELLAR_E_TYPE, 0,
                              "cellar_get_or_load_obj: the loaded value does not decode");
        }
    }
}

CELLAR_API void cellar_obj_free(cellar *c, void *object)
{
    if (cache_no_codec(c) || object == NULL || c->codec.free == NULL || cache_is_forked(c)) {
        return;
    }
    c->codec.free(c->codec.ctx, object);
}

BASE_SIZE_END
