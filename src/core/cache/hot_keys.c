/* SPDX-License-Identifier: MIT
 *
 * hot_keys: the keys with the most gets, of a namespace or of the store.
 *
 * SEE ALSO   base/hot_keys.c; call.h (cache_hot_sample: sampled gets). */
#include "cache/call.h"
#include "cache/error.h"
#include "cache/handle.h"

#define CACHE_HOT_GROUP 64u /* keys copied at a time: on the stack */

_Static_assert(CELLAR_HOT_KEY_BYTES == BASE_HOT_KEY_BYTES, "one limit");

BASE_SIZE_BEGIN

static void cache_hot_out(const cellar *v, const base_hot_key *in, uint64_t samples,
                          int64_t window_ms, cellar_hot_key *out)
{
    *out = (cellar_hot_key){ .hash = in->hash, .key_len = in->key_len };
    memcpy(out->key, in->key, BASE_MIN(in->key_len, (uint16_t)CELLAR_HOT_KEY_BYTES));
    memcpy(out->namespace_name, v->name, v->name_len);
    out->share = samples > 0 ? in->count / (double)samples : 0;
    out->gets_per_s = window_ms > 0 ? in->count * 64.0 * 1000 / (double)window_ms : 0;
}

CELLAR_API cellar_err cellar_hot_keys(cellar *c, cellar_scope scope, cellar_hot_key *out,
                                      size_t cap, size_t *count)
{
    if (count != NULL) { *count = 0; }
    if (c == NULL || count == NULL || (out == NULL && cap != 0) ||
        scope > CELLAR_SCOPE_STORE) {
        return cache_refuse(c, "cellar_hot_keys: out and count must not be NULL, scope be known");
    }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    cache_store *s = c->store;
    base_hot_key top[CACHE_HOT_GROUP];
    uint64_t samples;
    int64_t window_ms;
    const size_t n = base_hot_top(s->hot, scope == CELLAR_SCOPE_STORE ? UINT32_MAX : c->id, top,
                                  BASE_MIN(cap, (size_t)CACHE_HOT_GROUP),
                                  base_now_ms(&s->clock), &samples, &window_ms);
    sync_take(NAMESPACE, &s->namespace_lock);
    cellar *v;
    for (size_t i = 0; i < n; i++) {
        uint32_t slot = 0;
        while ((v = cache_namespace_next(s, &slot)) != NULL && v->id != top[i].owner) { slot++; }
        if (v == NULL) { continue; } /* dropped meanwhile */
        cache_hot_out(v, &top[i], samples, window_ms, &out[(*count)++]);
    }
    sync_drop(NAMESPACE, &s->namespace_lock);
    return CELLAR_OK;
}

BASE_SIZE_END
