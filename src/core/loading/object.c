/* SPDX-License-Identifier: MIT
 *
 * object: loads of objects. Their bytes are cells: each flight_bytes has one count.
 *
 * WALK       get_or_load: plain hit, else cache_load_call -> the cell of its result, counted
 *            loader: cellar_load_object -> cell -> flight_bytes -> published with its cell
 * INVARIANTS A caller gets its own count before the result of the load drops another one.
 * SEE ALSO   cache/object.c, l1/object.c. */
#include "cache/object.h"

#include "cache/call.h"
#include "cache/error.h"
#include "cache/plan.h"
#include "l1/object.h"
#include "loading/loading.h"

BASE_SIZE_BEGIN

static const char cache_result_size[] =
    "load: o->result: start from cellar_result_default() of this library";

/* Copy a result without its value to where the options want it. Return E_INVAL or E_ABI for a
 * struct of another size than results have. */
static cellar_err cache_result_tell(const cellar_load_opts *o, const cellar_result *r)
{
    const size_t has = offsetof(cellar_load_opts, result) + sizeof o->result;
    if (o == NULL || o->struct_size < has || o->result == NULL) { return CELLAR_OK; }
    cellar_result told = *r;
    told.buf = NULL;
    told.buf_cap = 0;
    told.value = NULL;
    memset(told.opaque, 0, sizeof told.opaque);
    return base_opts_out(o->result, &told, sizeof told);
}

/* Turn the result of a load into a hold. */
static cellar_err cache_held_of(cellar *c, cellar_err err, const cellar_load_opts *o,
                                cellar_result *r, cellar_held *out)
{
    (void)cache_result_tell(o, r); /* its size was right before */
    if (err == CELLAR_OK || err == CELLAR_STALE) {
        l1_cell *const b = (l1_cell *)(uintptr_t)r->value;
        if (l1_cell_count(b)) {
            l1_held_counted(base_load_acq(&c->store->cells), b, out);
        } else {
            err = CELLAR_E_LIMIT;
        }
    }
    cellar_result_free(r);
    return err;
}

CELLAR_API cellar_err cellar_object_get_or_load(cellar *c, const void *key, size_t key_len,
                                                const cellar_load_opts *o, cellar_loader_fn fn,
                                                void *ctx, cellar_held *out)
{
    if (out != NULL) { memset(out, 0, sizeof *out); }
    if (c == NULL || cache_key_bad(key, key_len) || out == NULL) {
        return cache_fail_key(c, "cellar_object_get_or_load", key, key_len,
                              "out must not be NULL");
    }
    if (!cache_has_objects(c)) { return cache_no_objects(c, __func__); }
    cellar_result r = cellar_result_default();
    if (o != NULL && cache_result_tell(o, &r) != CELLAR_OK) {
        return cache_refuse(c, cache_result_size);
    }
    l1_key k;
    const bool may_run = fn != NULL || base_load_rlx(&c->has_loader);
    if (may_run && base_load_acq(&c->state) == CACHE_OBJECTS && cache_load_opts_are_easy(c, o)) {
        cache_key(c, &k, key, key_len);
        if (l1_acquire_hit(c->l1, &k, out)) {
            stats_add(cache_mine(c), STATS_HIT_L1, 1);
            cache_hot_sample(c, base_thread_self(), &k);
            if (o == NULL) { return CELLAR_OK; }
            cache_hit_out(&r, out->charge);
            return cache_result_tell(o, &r);
        }
    }
    const cellar_err err = cache_load_call(c, key, key_len, o, fn, ctx, false, &r);
    return cache_held_of(c, err, o, &r, out);
}

CELLAR_API cellar_err cellar_object_lease_acquire(cellar *c, const void *key, size_t key_len,
                                                  const cellar_load_opts *o,
                                                  const cellar_subscriber *subscriber,
                                                  cellar_lease *lease, cellar_held *out)
{
    if (out != NULL) { memset(out, 0, sizeof *out); }
    if (c == NULL || cache_key_bad(key, key_len) || out == NULL || lease == NULL ||
        (subscriber != NULL && subscriber->fn == NULL)) {
        return cache_fail_key(c, "cellar_object_lease_acquire", key, key_len,
                              "lease, out and subscriber->fn must not be NULL");
    }
    memset(lease, 0, sizeof *lease);
    if (!cache_has_objects(c)) { return cache_no_objects(c, __func__); }
    cellar_result r = cellar_result_default();
    if (cache_result_tell(o, &r) != CELLAR_OK) { return cache_refuse(c, cache_result_size); }
    const cellar_err said = cache_lease_begin(c, key, key_len, o, subscriber, lease, &r);
    const cellar_err err = cache_held_of(c, said, o, &r, out);
    if (err < 0 && cellar_lease_held(lease)) { /* no hold: another caller refreshes */
        (void)cellar_lease_release(c, lease, 0);
    }
    return err;
}

CELLAR_API cellar_err cellar_object_lease_fulfill(cellar *c, cellar_lease *lease, void *object,
                                                  size_t charge, const cellar_set_opts *o)
{
    if (c == NULL || lease == NULL || object == NULL) {
        return cache_refuse(c, "cellar_object_lease_fulfill: no argument may be NULL");
    }
    if (!cache_has_objects(c)) { return cache_no_objects(c, __func__); }
    if (cache_is_negative(o)) {
        return cache_refuse(c, "cellar_object_lease_fulfill: an object is no negative entry");
    }
    l1_cell *b;
    cellar_err err = l1_cell_new(c->l1, base_load_acq(&c->generation), c->object_class, object,
                                 charge, &b);
    l1_cells *const cells = base_load_acq(&c->store->cells);
    flight_bytes *bytes = err == CELLAR_OK ? cache_cell_bytes(c->store, b, charge) : NULL;
    if (bytes == NULL) {
        if (err == CELLAR_OK) {
            l1_cell_refuse(cells, b);
            err = CELLAR_E_NOMEM;
        }
        const cellar_err said = cache_lease_end(c, lease, NULL, charge, NULL, err, o);
        return said == err ? cache_cell_failed(c, __func__, err, charge) : said;
    }
    const bool counted = l1_cell_count(b); /* one for this call, whatever becomes of the bytes */
    BASE_ASSERT(counted);
    (void)counted;
    err = cache_lease_end(c, lease, NULL, charge, &bytes, CELLAR_OK, o);
    flight_bytes_drop(bytes);
    if (err < 0) { l1_cell_refuse(cells, b); } else { l1_cell_drop(cells, b); }
    return err;
}

CELLAR_API cellar_err cellar_load_object(cellar_load *load, void *object, size_t charge)
{
    if (load == NULL || object == NULL || load->call == NULL) { return CELLAR_E_INVAL; }
    cellar *c = load->call->c;
    if (c->object_class == UINT32_MAX) { return CELLAR_E_TYPE; }
    if (cache_is_forked(c)) { return CELLAR_E_FORKED; }
    return cache_report_object(load, object, charge);
}

BASE_SIZE_END
