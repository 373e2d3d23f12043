/* SPDX-License-Identifier: MIT
 *
 * control: log controls, and the FLOOR.
 *
 * PROTOCOL   The control of a namespace holds until a newer one of its id. When its segment leaves
 *            the log, and before a FLOOR, it is appended again: `controls` {row still the same?
 *            append}. A change of the table comes before its control, which takes the same lock. So
 *            no copy of an older row follows the control of a newer one. The controls of two
 *            changes may be logged in the other order: a row has the place of its own control.
 * LOCKING    `controls` is the lock of shard 0 (L2_TOMBSTONE_LOCK).
 * SEE ALSO   namespaces.c and invalidations.c: the controls. record.c: their bytes. */
#include "l2/control.h"

#include "l2/health.h"
#include "l2/index.h"
#include "l2/record.h"

BASE_SIZE_BEGIN

CELLAR_PRIVATE l2_took l2_control_try(l2 *d, l2_use use, uint32_t kind, uint64_t hash,
                                      const unsigned char *value, uint32_t bytes, uint64_t *lsn,
                                      uint64_t *end)
{
    const l2_record r = { .rec = { .kind = L2_KIND_CONTROL, .vlen = bytes,
                                   .bytes = L2_RECORD_HEAD + bytes },
                          .kind = kind, .hash = hash, .value = value };
    const l2_took took = l2_append(d, use, &r, NULL, lsn);
    if (took == L2_TOOK) {
        *end = *lsn + l2_rec_room(&d->form, 0, 0, bytes);
        L2_COUNT(d, controls);
    }
    return took;
}

/* Return whether the table has the namespace of a control. */
static bool l2_namespace_there(l2 *d, const unsigned char *value)
{
    bool there = false;
    sync_take(L2_DEV, &d->namespace_lock);
    for (uint32_t i = 0; i < d->namespace_count && !there; i++) {
        there = d->namespace[i].v.id == l2_r32(value + 4);
    }
    sync_drop(L2_DEV, &d->namespace_lock);
    return there;
}

/* Note where the control of a row is: it is appended again. An older one has no row. */
static void l2_namespace_logged(l2 *d, const unsigned char *value, uint64_t lsn)
{
    const uint64_t generation = (uint64_t)value[3] << 32 | l2_r32(value + 8);
    sync_take(L2_DEV, &d->namespace_lock);
    for (uint32_t i = 0; i < d->namespace_count; i++) {
        l2_namespace_row *n = &d->namespace[i];
        if (n->v.id == l2_r32(value + 4) && n->v.generation == generation) { n->lsn = lsn; }
    }
    sync_drop(L2_DEV, &d->namespace_lock);
}

CELLAR_PRIVATE uint64_t l2_control_log(l2 *d, const unsigned char *value, uint32_t bytes)
{
    l2_shard *controls = &d->index.shard[0];
    l2_waiting w = { 0, 0 };
    const bool named = value[0] == L2_CTL_NAMESPACE && value[2] != 0;
    uint64_t lsn = 0, end = 0;
    for (;;) { /* also where the tier is closed: it may be about to open, behind its FLOOR */
        w.seen = l2_room_seen(d);
        sync_take(L2_TOMBSTONE_LOCK, &controls->lock);
        const bool gone = named && !l2_namespace_there(d, value);
        const l2_took took = gone ? L2_IS_OLD
            : l2_control_try(d, L2_USE_KEEP, L2_KIND_CONTROL, 0, value, bytes, &lsn, &end);
        if (took == L2_TOOK && named) { l2_namespace_logged(d, value, lsn); }
        sync_drop(L2_TOMBSTONE_LOCK, &controls->lock);
        if (took == L2_TOOK) {
            l2_ensure(d, end);
            return lsn;
        }
        const bool off = gone || l2_is_closed(d) || base_load_rlx(&d->broken) != 0;
        if (off || !l2_wait(d, took, &w)) { return 0; }
    }
}

/* ---- the floor ---- */

CELLAR_PRIVATE void l2_floor_to(l2 *d, uint64_t lsn)
{
    sync_take(L2_LOG, &d->log_lock);
    if (lsn > base_load_rlx(&d->floor_lsn)) { base_store_rel(&d->floor_lsn, lsn); }
    sync_drop(L2_LOG, &d->log_lock);
}

/* Find a namespace with its control below `lsn`. *value: that control again. */
static uint32_t l2_namespace_below(l2 *d, uint64_t lsn, unsigned char value[16 + L2_NAME_MAX])
{
    uint32_t bytes = 0;
    sync_take(L2_DEV, &d->namespace_lock);
    for (uint32_t i = 0; i < d->namespace_count && bytes == 0; i++) {
        const l2_namespace_row *n = &d->namespace[i];
        if (n->lsn >= lsn) { continue; }
        value[0] = L2_CTL_NAMESPACE;
        value[1] = (unsigned char)n->name_len;
        value[2] = 1;
        value[3] = (unsigned char)(n->v.generation >> 32);
        l2_w32(value + 4, n->v.id);
        l2_w32(value + 8, (uint32_t)n->v.generation);
        l2_w32(value + 12, n->v.version);
        memcpy(value + 16, n->name, n->name_len);
        bytes = 16 + n->name_len;
    }
    sync_drop(L2_DEV, &d->namespace_lock);
    return bytes;
}

CELLAR_PRIVATE bool l2_namespaces_open(l2 *d, uint64_t lsn)
{
    sync_take(L2_DEV, &d->namespace_lock);
    bool all = base_load_acq(&d->dropped) == 0;
    for (uint32_t i = 0; i < d->namespace_count; i++) { all = all && d->namespace[i].lsn >= lsn; }
    if (all) { base_store_sc(&d->closed, 0u); }
    sync_drop(L2_DEV, &d->namespace_lock);
    return all;
}

CELLAR_PRIVATE int l2_namespace_again(l2 *d, uint64_t lsn)
{
    l2_shard *controls = &d->index.shard[0];
    unsigned char value[16 + L2_NAME_MAX];
    uint64_t at = 0, end = 0;
    sync_take(L2_TOMBSTONE_LOCK, &controls->lock);
    const uint32_t bytes = l2_namespace_below(d, lsn, value);
    l2_took took = L2_TOOK;
    if (bytes != 0) {
        took = l2_control_try(d, L2_USE_LAST, L2_KIND_CONTROL, 0, value, bytes, &at, &end);
        if (took == L2_TOOK) { l2_namespace_logged(d, value, at); }
    }
    sync_drop(L2_TOMBSTONE_LOCK, &controls->lock);
    if (bytes == 0) { return 0; }
    return took == L2_TOOK || l2_make_way(d, took, L2_WAIT_NS) == L2_TOOK ? EAGAIN : ENOSPC;
}

CELLAR_PRIVATE int l2_floor_put(l2 *d, uint64_t lsn, uint64_t *end)
{
    unsigned char value[16] = { L2_CTL_FLOOR };
    uint64_t at = 0;
    int e = EAGAIN;
    while (e == EAGAIN) { e = l2_namespace_again(d, lsn); }
    if (e != 0) { return e; }
    l2_floor_to(d, lsn);
    l2_w64(value + 8, lsn);
    for (;;) {
        const l2_took took = l2_control_try(d, L2_USE_LAST, L2_ROW_FLOOR, lsn, value, sizeof value,
                                            &at, end);
        if (took == L2_TOOK) { break; }
        if (l2_make_way(d, took, L2_WAIT_NS) != L2_TOOK) { return ENOSPC; }
    }
    return l2_flush(d, *end, L2_WAIT_NS);
}

CELLAR_PRIVATE int l2_floor_write(l2 *d, uint64_t lsn)
{
    uint64_t end = 0;
    int e = l2_floor_put(d, lsn, &end);
    if (e == 0 && d->cfg.level == L2_ALWAYS) { e = l2_sync_to(d, end, L2_NO_LIMIT_NS); }
    if (e == 0) { base_store_rel(&d->header_floor, lsn); }
    return e;
}

CELLAR_PRIVATE void l2_floor_log(l2 *d, uint64_t lsn, l2_loss loss)
{
    const uint64_t head = base_load_acq(&d->head);
    l2_floor_to(d, lsn);
    sync_role_take(&d->working);
    const int e = l2_floor_write(d, lsn);
    sync_role_drop(&d->working);
    if (e != 0) { l2_ensure(d, base_load_acq(&d->tail)); }
    l2_lost(d, loss, lsn > head ? lsn - head : 0);
}

CELLAR_PRIVATE uint64_t l2_floor_begin(l2 *d)
{
    const uint64_t tail = base_load_acq(&d->tail);
    l2_floor_to(d, tail);
    return tail;
}

BASE_SIZE_END
