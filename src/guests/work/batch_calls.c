/* SPDX-License-Identifier: MIT
 *
 * batch_calls: add items, flush groups, read figures.
 *
 * WALK       An add copies its item without the lock; one short lock puts it into its group. A new
 *            group is made without the lock, and the second lock looks for it once more.
 * FULL       An add that has to wait sleeps on `ended`, which rises with each item that ends.
 * LOCKING    batch.h. */
#include <string.h>

#include "base/opts.h"
#include "work/batch.h"

BASE_SIZE_BEGIN

static cellar_err batch_check(const cellar_batcher *b)
{
    if (b == NULL) { return CELLAR_E_INVAL; }
    return b->obj.forked ? CELLAR_E_FORKED : CELLAR_OK;
}

/* Copy an item. */
static batch_item *batch_item_make(cellar_batcher *b, const void *data, size_t len,
                                   const cellar_batch_add_opts *o)
{
    const size_t id = sizeof(uint64_t);
    const uint32_t room = o->coalesce_key != NULL ? (uint32_t)(id + o->coalesce_key_len) : 0;
    batch_item *i = base_alloc(&b->obj.account, BASE_MOD_STORE, sizeof *i + len + room, NULL);
    if (i == NULL) { return NULL; }
    i->done = o->done;
    i->done_ctx = o->done_ctx;
    i->len = len;
    i->room = i->key_len = room;
    if (len != 0) { memcpy(i->bytes, data, len); }
    if (room != 0) { memcpy(i->bytes + len + id, o->coalesce_key, o->coalesce_key_len); }
    return i;
}

typedef enum batch_step { BATCH_ADDED, BATCH_NEEDS_GROUP, BATCH_IS_FULL, BATCH_REFUSED } batch_step;

/* Put an item into its group, or say what that needs. *spare: a group for it; NULL once used. */
static batch_step batch_try(cellar_batcher *b, char *name, size_t name_len, batch_item *i,
                            batch_group **spare, int64_t now_ms, cellar_err *err, batch_after *a)
    SYNC_HOLDS(WHEEL)
{
    const uint64_t *v = b->count;
    *err = CELLAR_OK;
    if (b->draining) {
        *err = CELLAR_E_CLOSED;
        return BATCH_REFUSED;
    }
    if (v[STATS_BATCHER_ITEMS] >= b->cfg.queue_items ||
        i->len > b->cfg.queue_bytes - v[STATS_BATCHER_ITEM_BYTES]) {
        if (batch_is_mine(b)) { *err = CELLAR_E_DEADLOCK; }
        if (b->cfg.on_full == CELLAR_BATCH_ERROR || b->obj.no_threads) { *err = CELLAR_E_BUSY; }
        return *err == CELLAR_OK ? BATCH_IS_FULL : BATCH_REFUSED;
    }
    uint64_t id;
    batch_group *g = batch_track(b, name, name_len, i, &id);
    if (g == NULL && *spare == NULL) { return BATCH_NEEDS_GROUP; }
    const bool fresh = g == NULL;
    if (fresh) {
        g = *spare;
        g->name[0] = name[0];
        if (id != 0) { g->id = id; }
    }
    if (!batch_put(g, i, now_ms, a)) {
        *err = CELLAR_E_NOMEM;
        return BATCH_REFUSED;
    }
    if (fresh) { *spare = NULL; }
    return BATCH_ADDED;
}

static cellar_err batch_add_item(cellar_batcher *b, char *name, size_t name_len, batch_item *i)
{
    batch_group *spare = NULL;
    uint64_t until_ns = 0;
    cellar_err err = CELLAR_OK;
    for (bool again = true; again;) {
        const int64_t now_ms = base_now_ms(&b->obj.clock);
        batch_after a;
        batch_lock(b, &a);
        const uint32_t ended = base_load_acq(&b->ended);
        const batch_step step = batch_try(b, name, name_len, i, &spare, now_ms, &err, &a);
        const bool full = step == BATCH_IS_FULL || err == CELLAR_E_BUSY || err == CELLAR_E_DEADLOCK;
        const bool late = step == BATCH_IS_FULL && until_ns != 0 && base_now_ns() >= until_ns;
        b->count[STATS_BATCHER_BLOCKED] += step == BATCH_IS_FULL && until_ns == 0;
        b->count[STATS_BATCHER_REJECTED] += full && (late || step == BATCH_REFUSED);
        batch_unlock(b, &a);
        again = false;
        if (late) {
            err = CELLAR_E_TIMEOUT;
        } else if (step == BATCH_IS_FULL) {
            if (until_ns == 0) { /* look once more, as a sleeper */
                until_ns = base_now_ns() + (uint64_t)b->cfg.block_timeout_ms * 1000000u;
                (void)base_add_ar(&b->sleepers, 1u);
            } else {
                (void)sync_wait(&b->ended, ended, until_ns);
            }
            again = true;
        } else if (step == BATCH_NEEDS_GROUP) {
            spare = batch_group_make(b, name, name_len);
            err = spare != NULL ? CELLAR_OK : CELLAR_E_NOMEM;
            again = spare != NULL;
        }
    }
    if (until_ns != 0) { (void)base_sub_ar(&b->sleepers, 1u); }
    if (spare != NULL) { batch_group_free(spare); }
    return err;
}

CELLAR_API cellar_err cellar_batch_add(cellar_batcher *b, const char *group, const void *data,
                                       size_t len, const cellar_batch_add_opts *o)
{
    cellar_batch_add_opts full = cellar_batch_add_opts_default();
    cellar_err err = batch_check(b);
    if (err != CELLAR_OK) { return err; }
    if (o != NULL) { err = base_opts_in(&full, sizeof full, o); }
    if (err != CELLAR_OK) { return err; }
    if (group == NULL) { group = ""; }
    const size_t name_len = strnlen(group, CELLAR_BATCH_KEY_MAX + 1);
    if ((data == NULL && len != 0) ||
        (full.coalesce_key != NULL) != (full.coalesce_key_len != 0)) {
        return CELLAR_E_INVAL;
    }
    if (len > b->cfg.max_bytes || name_len > CELLAR_BATCH_KEY_MAX ||
        full.coalesce_key_len > CELLAR_BATCH_KEY_MAX) {
        return CELLAR_E_TOOBIG;
    }
    char name[CELLAR_BATCH_KEY_MAX + 2]; /* behind the number of a track */
    memcpy(name + 1, group, name_len + 1);
    batch_item *i = batch_item_make(b, data, len, &full);
    if (i == NULL) { return CELLAR_E_NOMEM; }
    err = batch_add_item(b, name, name_len, i);
    if (err != CELLAR_OK) { batch_item_free(b, i); }
    return err;
}

CELLAR_API cellar_err cellar_batcher_flush(cellar_batcher *b, const char *group)
{
    cellar_err err = batch_check(b);
    if (err != CELLAR_OK) { return err; }
    char name[CELLAR_BATCH_KEY_MAX + 2] = "";
    const size_t len = group != NULL ? strnlen(group, CELLAR_BATCH_KEY_MAX + 1) : 0;
    if (len > CELLAR_BATCH_KEY_MAX) { return CELLAR_E_NOT_FOUND; }
    if (len != 0) { memcpy(name + 1, group, len); }
    batch_after a;
    batch_lock(b, &a);
    if (group != NULL) {
        err = CELLAR_E_NOT_FOUND;
        for (uint32_t track = 0; track < b->cfg.parallel; track++) {
            batch_group *g = batch_find(b, name, len, track);
            if (g == NULL) { continue; }
            err = CELLAR_OK;
            batch_make_due(g, CELLAR_BATCH_BY_FLUSH, &a);
        }
    } else {
        for (batch_group *g = b->groups; g != NULL; g = g->hh.next) {
            batch_make_due(g, CELLAR_BATCH_BY_FLUSH, &a);
        }
    }
    batch_unlock(b, &a);
    return err;
}

/* ---- figures ---- */

CELLAR_PRIVATE const char *batch_figures(void *object, uint64_t *value)
{
    cellar_batcher *b = object;
    sync_take(WHEEL, &b->lock);
    memcpy(value, b->count, sizeof b->count);
    value[STATS_BATCHER_GROUPS] = HASH_COUNT(b->groups);
    sync_drop(WHEEL, &b->lock);
    value[STATS_BATCHER_BYTES] = base_object_bytes(&b->obj);
    return b->obj.name;
}

CELLAR_API cellar_err cellar_batcher_stats_get(cellar_batcher *b, cellar_batcher_stats *out)
{
    return stats_get(b, out);
}

BASE_SIZE_END
