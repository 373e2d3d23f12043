/* SPDX-License-Identifier: MIT
 *
 * object: store and hold objects.
 *
 * WALK       set: charge and cell -> l1_set_object: its window links the cell, with the own count;
 *            else cache_put: its window links the cell -> own count dropped
 *            acquire: l1_acquire_hit, else l1_acquire -> counters
 * INVARIANTS A set that is not OK leaves the object with the caller: its cell is refused.
 * LIFETIME   The table of cells holds the shell of the store until the last object is freed.
 * SEE ALSO   l1/object.c; loading/object.c: loads. */
#include "cache/object.h"

#include "cache/bloom_guard.h"
#include "cache/call.h"
#include "cache/change.h"
#include "cache/error.h"
#include "cache/handle.h"
#include "cache/lookup.h"
#include "cache/plan.h"
#include "cache/talk.h"

BASE_SIZE_BEGIN

/* Forget the table before it is freed; then release the shell. */
static void cache_cells_gone(void *store, bool freed)
{
    cache_store *s = store;
    if (freed) {
        cache_store_release(s, 1);
        return;
    }
    base_store_rel(&s->cells, (l1_cells *)NULL);
    base_fork_settle(); /* a child that sees the table sees all of it */
}

CELLAR_PRIVATE cellar_err cache_object_begin(cellar *c, const cellar_namespace_config *config)
{
    if (config->object == NULL) { return CELLAR_OK; }
    cache_store *s = c->store;
    cellar_object_config of;
    (void)base_opts_in(&of, sizeof of, config->object); /* checked before */
    l1_cells *o = base_load_acq(&s->cells);
    if (o == NULL) {
        sync_role_take(&s->attaching);
        o = base_load_acq(&s->cells);
        if (o == NULL) {
            o = l1_cells_open(&s->account, cache_cells_gone, s);
            if (o != NULL) {
                cache_store_hold(s);
                l1_cells_set(s->l1, o);
                base_fork_settle();
                base_store_rel(&s->cells, o);
                /* Changes have a scope, which knows the cause of an end. */
                (void)base_add_rlx(&s->observers_base, 1u);
                (void)base_add_rlx(&s->observers, 1u);
            }
        }
        sync_role_drop(&s->attaching);
    }
    if (o == NULL) { return CELLAR_E_NOMEM; }
    const cellar_err err = l1_class_take(o, &of, &c->object_class);
    if (err != CELLAR_OK) {
        c->object_class = UINT32_MAX;
        return err;
    }
    (void)base_or_sc(&c->state, CACHE_OBJECTS);
    return CELLAR_OK;
}

CELLAR_PRIVATE bool cache_object_differs(const cellar *c, const cellar_namespace_config *o)
{
    if (o->object == NULL) { return false; }
    cellar_object_config of;
    (void)base_opts_in(&of, sizeof of, o->object); /* checked before */
    return c->object_class == UINT32_MAX ||
           !l1_class_is(base_load_acq(&c->store->cells), c->object_class, &of);
}

CELLAR_PRIVATE bool cache_object_alone(const cellar_namespace_config *o)
{
    cellar_namespace_config alone = { .struct_size = sizeof alone, .object = o->object };
    return o->object != NULL && memcmp(&alone, o, sizeof alone) == 0;
}

CELLAR_PRIVATE void cache_objects_close(cache_store *s)
{
    l1_cells *const o = base_load_acq(&s->cells);
    if (o == NULL) { return; }
    const uint64_t held = l1_cells_close(o);
    if (held != 0) {
        base_log(&s->log, BASE_LOG_WARNING, "cache", 0,
                 "cellar_close: %llu objects are held: their last release frees them",
                 (unsigned long long)held);
    }
}

CELLAR_PRIVATE cellar_err cache_no_objects(cellar *c, const char *call)
{
    static const cache_broken bytes = { .rule = "the namespace holds bytes: objects need "
                                                "cellar_namespace_config.object" };
    return cache_is_closed(c) ? cache_closed(c, call)
                              : cache_fail_broken(c, CELLAR_E_TYPE, call, &bytes);
}

CELLAR_PRIVATE cellar_err cache_cell_failed(cellar *c, const char *call, cellar_err err,
                                            size_t charge)
{
    cache_broken b;
    return cache_fail_broken(c, cache_breaks_size(
        &b, err, err == CELLAR_E_TOOBIG
            ? "charge must be at most half of memory_bytes: raise memory_bytes"
            : "no room for charge: raise memory_bytes, or release objects", charge), call, &b);
}

/* Store an object under a new key, if nothing but the table of cells observes the store. Return
 * false in doubt, with nothing done. */
static bool cache_object_new(cellar *c, const l1_key *k, cache_plan *plan)
{
    if (base_load_rlx(&c->store->observers) != 1 || base_load_rlx(&c->carries) != 0 ||
        base_load_acq(&c->bloom) != NULL) {
        return false;
    }
    plan->spec.deadline_ms = cache_plan_deadline(c, plan, k->hash);
    if (!l1_set_object(c->l1, k, &plan->spec)) { return false; }
    stats_block *const mine = cache_mine(c);
    cache_filter none = { NULL, 0, 0 };
    cache_filter_end(c, k, &none);
    stats_add(mine, STATS_SET, 1);
    cache_entry_counted(c, k, mine, STATS_ENTRY_IN);
    return true;
}

CELLAR_API cellar_err cellar_object_set(cellar *c, const void *key, size_t key_len, void *object,
                                        size_t charge, const cellar_set_opts *o)
{
    if (c == NULL || cache_key_bad(key, key_len) || object == NULL) {
        return cache_fail_key(c, "cellar_object_set", key, key_len, "object must not be NULL");
    }
    if (!cache_has_objects(c)) { return cache_no_objects(c, __func__); }
    cache_plan plan;
    l1_key k;
    l1_cell *b;
    cellar_err err = cache_plan_make(c, o, CACHE_FOR_OBJECT | CELLAR_NEGATIVE | CELLAR_DURABLE,
                                     &plan);
    if (err != CELLAR_OK) { return err; }
    if (cache_is_off(c)) { return CELLAR_DISABLED; }
    cache_key(c, &k, key, key_len);
    const cellar_err made = l1_cell_new(c->l1, k.generation, c->object_class, object, charge,
                                        &b);
    plan.spec.flags |= L1_OBJECT;
    plan.spec.value = b;
    plan.spec.value_len = charge;
    if (made == CELLAR_OK && cache_object_new(c, &k, &plan)) { return CELLAR_OK; }
    if (made != CELLAR_OK) { plan.spec.loader_code = (uint32_t)made; }
    err = cache_put(c, &k, &plan);
    if (made != CELLAR_OK) {
        return err == made ? cache_cell_failed(c, __func__, err, charge) : err;
    }
    l1_cells *const cells = base_load_acq(&c->store->cells);
    if (err == CELLAR_OK) { l1_cell_drop(cells, b); } else { l1_cell_refuse(cells, b); }
    return err;
}

/* Hold an object in all cases but the plain hit. */
BASE_NOINLINE static cellar_err cache_acquire_rest(cellar *c, const void *key, size_t key_len,
                                                   cellar_held *out)
{
    if (out != NULL) { memset(out, 0, sizeof *out); }
    if (c == NULL || cache_key_bad(key, key_len) || out == NULL) {
        return cache_fail_key(c, "cellar_object_acquire", key, key_len, "out must not be NULL");
    }
    if (!cache_has_objects(c)) { return cache_no_objects(c, "cellar_object_acquire"); }
    l1_key k;
    cache_key(c, &k, key, key_len);
    const cellar_err err = cache_is_off(c) ? CELLAR_MISS : l1_acquire(c->l1, &k, out);
    if (err != CELLAR_OK) { memset(out, 0, sizeof *out); }
    stats_add(cache_mine(c), cache_outcome(err), 1);
    if (cache_talks(c)) { cache_read_tell(c, "get", &k, err); }
    if (err >= 0) { return err; }
    return cache_fail(c, err, 0, "cellar_object_acquire: too many holds of one object");
}

CELLAR_API cellar_err cellar_object_retain(const cellar_held *held, cellar_held *out)
{
    if (out == NULL || held == NULL || held->opaque[0] == 0) {
        if (out != NULL) { memset(out, 0, sizeof *out); }
        return CELLAR_E_INVAL;
    }
    cellar_held copy = {0};
    const cellar_err err = l1_hold_copy(held, &copy);
    *out = copy;
    return err;
}

BASE_SIZE_END

CELLAR_API cellar_err cellar_object_acquire(cellar *c, const void *key, size_t key_len,
                                            cellar_held *out)
{
    if (BASE_UNLIKELY(c == NULL || cache_key_bad(key, key_len) || out == NULL) ||
        BASE_UNLIKELY(base_load_acq(&c->state) != CACHE_OBJECTS)) {
        return cache_acquire_rest(c, key, key_len, out);
    }
    l1_key k;
    cache_key(c, &k, key, key_len);
    if (BASE_UNLIKELY(!l1_acquire_hit(c->l1, &k, out))) {
        return cache_acquire_rest(c, key, key_len, out);
    }
    stats_add_mine(c->stats, c->stats_tag, base_thread_self(), STATS_HIT_L1, 1);
    return CELLAR_OK;
}

CELLAR_API void cellar_object_release(cellar_held *held)
{
    if (held != NULL) { l1_hold_end(held); }
}
