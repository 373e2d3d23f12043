/* SPDX-License-Identifier: MIT
 *
 * many: several locks or none.
 *
 * INVARIANTS acquire_many takes keys in rising byte order, the same in each call, so two such calls
 *            cannot each hold a key that the other waits for. On any failure the call releases all
 *            keys it took. */
#include <string.h>

#include "base/open_error.h"
#include "base/opts.h"
#include "lock/record.h"

BASE_SIZE_BEGIN

static int lock_order(const cellar_bytes *a, const cellar_bytes *b)
{
    const int c = memcmp(a->data, b->data, BASE_MIN(a->len, b->len));
    if (c != 0) { return c; }
    return a->len < b->len ? -1 : a->len > b->len;
}

/* Sort the numbers of the keys into order[]. Return false if a key is invalid or occurs twice. */
static bool lock_sort(const cellar_bytes *keys, size_t count, uint8_t *order)
{
    for (size_t i = 0; i < count; i++) {
        if (keys[i].data == NULL || keys[i].len == 0 || keys[i].len > CELLAR_KEY_MAX) {
            return false;
        }
        size_t at = i;
        int c = 1;
        while (at > 0 && (c = lock_order(&keys[order[at - 1]], &keys[i])) > 0) {
            order[at] = order[at - 1];
            at--;
        }
        if (at > 0 && c == 0) { return false; }
        order[at] = (uint8_t)i;
    }
    return true;
}

static cellar_err lock_take_sorted(cellar_locks *t, const cellar_bytes *keys, size_t count,
                                   const uint8_t *order, const cellar_lock_opts *o,
                                   cellar_lock *out)
{
    cellar_lock_opts each = *o;
    const int64_t wait_ms = o->wait_timeout_ms != 0 ? o->wait_timeout_ms : LOCK_WAIT_DEFAULT_MS;
    const int64_t until_ms = base_add_sat(base_now_ms(&t->obj.clock), wait_ms);
    int64_t left_ms = wait_ms;
    cellar_err err = CELLAR_OK;
    size_t taken = 0;
    for (; taken < count && err == CELLAR_OK; taken++) {
        const uint8_t i = order[taken];
        if (taken > 0 && until_ms != BASE_NEVER_MS) {
            left_ms = until_ms - base_now_ms(&t->obj.clock);
        }
        if (left_ms > 0) {
            each.wait_timeout_ms = left_ms;
        } else {
            each.flags |= CELLAR_LOCK_NO_WAIT;
        }
        err = cellar_lock_acquire(t, keys[i].data, keys[i].len, &each, &out[i]);
    }
    /* The first holds may have ended during the wait for the last key. */
    for (size_t i = 0; i < count && err == CELLAR_OK; i++) {
        err = cellar_lock_check(t, &out[i]);
    }
    if (err == CELLAR_OK) { return CELLAR_OK; }
    if (err == CELLAR_E_BUSY && (o->flags & CELLAR_LOCK_NO_WAIT) == 0) { err = CELLAR_E_TIMEOUT; }
    while (taken-- > 0) {
        cellar_lock *lk = &out[order[taken]];
        if (lk->fence != 0) { (void)cellar_lock_release(t, lk); } /* E_LOST: already gone */
        *lk = (cellar_lock){ 0, 0 };
    }
    return err;
}

CELLAR_API cellar_err cellar_lock_acquire_many(cellar_locks *t, const cellar_bytes *keys,
                                               size_t count, const cellar_lock_opts *o,
                                               cellar_lock *out)
{
    uint8_t order[CELLAR_LOCK_MANY_MAX] = { 0 };
    const bool room = out != NULL && count != 0 && count <= CELLAR_LOCK_MANY_MAX;
    if (room) { memset(out, 0, count * sizeof *out); }
    if (!room || t == NULL || keys == NULL || !lock_sort(keys, count, order)) {
        return base_refuse(CELLAR_E_INVAL, __func__, "t, keys and out must not be NULL, count "
                           "1..64, and the keys different, of 1..65,535 bytes");
    }
    cellar_lock_opts full = cellar_lock_opts_default();
    if (o != NULL) {
        const cellar_err err = lock_opts_check(__func__, o);
        if (err != CELLAR_OK) { return err; }
        (void)base_opts_in(&full, sizeof full, o);
    }
    return lock_take_sorted(t, keys, count, order, &full, out);
}

CELLAR_API cellar_err cellar_lock_release_many(cellar_locks *t, cellar_lock *lk, size_t count)
{
    if (t == NULL || lk == NULL || count == 0 || count > CELLAR_LOCK_MANY_MAX) {
        return CELLAR_E_INVAL;
    }
    cellar_err first = CELLAR_OK;
    for (size_t i = 0; i < count; i++) {
        const cellar_err err = cellar_lock_release(t, &lk[i]);
        if (first == CELLAR_OK) { first = err; }
    }
    return first;
}

BASE_SIZE_END
