/* SPDX-License-Identifier: MIT
 *
 * namespaces: the table of namespaces: name, id, generation, version.
 *
 * INVARIANTS The table changes before the control is logged, so the copy of an older row never
 *            follows the control (control.c). Generations only grow. A generation that is not newer
 *            than each that found no room gets no row: the next one of its name may be among them.
 *            A row that is removed stays so: what begins or changes a namespace sets no row once
 *            `over` is true, and logs no control without its row. So the end of a namespace is its
 *            last control.
 * LOCKING    L2_DEV (`namespace_lock`); memory is allocated without it. */
#include "l2/namespaces.h"

#include "l2/control.h"
#include "l2/live.h"
#include "l2/record.h"

BASE_SIZE_BEGIN

static SYNC_HOLDS(L2_DEV) l2_namespace_row *l2_namespace_at(l2 *d, uint32_t id, const char *name,
                                                            size_t name_len)
{
    for (uint32_t i = 0; i < d->namespace_count; i++) {
        l2_namespace_row *v = &d->namespace[i];
        if (name == NULL ? v->v.id == id
                         : v->name_len == name_len && memcmp(v->name, name, name_len) == 0) {
            return v;
        }
    }
    return NULL;
}

CELLAR_PRIVATE bool l2_namespace_find(l2 *d, const char *name, size_t name_len, l2_namespace *out)
{
    sync_take(L2_DEV, &d->namespace_lock);
    const l2_namespace_row *v = l2_namespace_at(d, 0, name, name_len);
    if (v != NULL) { *out = v->v; }
    sync_drop(L2_DEV, &d->namespace_lock);
    return v != NULL;
}

CELLAR_PRIVATE bool l2_generation_used(l2 *d, uint32_t generation)
{
    bool used = false;
    sync_take(L2_DEV, &d->namespace_lock);
    for (uint32_t i = 0; i < d->namespace_count && !used; i++) {
        used = (uint32_t)d->namespace[i].v.generation == generation;
    }
    sync_drop(L2_DEV, &d->namespace_lock);
    return used;
}

CELLAR_PRIVATE void l2_generations_mark(l2 *d, uint64_t *bits, uint32_t n)
{
    sync_take(L2_DEV, &d->namespace_lock);
    for (uint32_t i = 0; i < d->namespace_count; i++) {
        const uint32_t bit = (uint32_t)d->namespace[i].v.generation % n;
        bits[bit / 64] |= UINT64_C(1) << bit % 64;
    }
    sync_drop(L2_DEV, &d->namespace_lock);
}

/* Ask the cache twice: an open adopts a number of the table. */
CELLAR_PRIVATE bool l2_generation_over(l2 *d, uint32_t generation)
{
    const l2_config *c = &d->cfg;
    return generation != 0 && c->generation_alive != NULL &&
           !c->generation_alive(c->tags_ctx, generation) && !l2_generation_used(d, generation) &&
           !c->generation_alive(c->tags_ctx, generation);
}

CELLAR_PRIVATE uint64_t l2_next_generation(l2 *d)
{
    sync_take(L2_DEV, &d->namespace_lock);
    const uint64_t n = d->next_generation;
    sync_drop(L2_DEV, &d->namespace_lock);
    return n;
}

CELLAR_PRIVATE uint32_t l2_next_id(l2 *d)
{
    sync_take(L2_DEV, &d->namespace_lock);
    const uint32_t n = d->next_id;
    sync_drop(L2_DEV, &d->namespace_lock);
    return n;
}

/* Make room for one more row, without the lock. Return false if memory is short. */
static bool l2_namespace_room(l2 *d)
{
    l2_namespace_row *rows = NULL;
    uint32_t cap = 0;
    for (;;) {
        sync_take(L2_DEV, &d->namespace_lock);
        if (d->namespace_count == d->namespace_cap && cap > d->namespace_cap) {
            l2_namespace_row *old = d->namespace;
            const uint32_t old_cap = d->namespace_cap;
            if (old != NULL) { memcpy(rows, old, d->namespace_count * sizeof *rows); }
            d->namespace = rows;
            d->namespace_cap = cap;
            rows = old;
            cap = old_cap;
        }
        const bool done = d->namespace_count < d->namespace_cap;
        const uint32_t want = d->namespace_cap == 0 ? 16 : d->namespace_cap * 2;
        sync_drop(L2_DEV, &d->namespace_lock);
        base_free(d->cfg.account, BASE_MOD_L2, rows, cap * sizeof *rows);
        if (done) { return true; }
        if (want > 2 * L2_NAMESPACES_MAX) { return false; }
        cap = want;
        rows = base_alloc(d->cfg.account, BASE_MOD_L2, cap * sizeof *rows, NULL);
        if (rows == NULL) { return false; }
    }
}

static void l2_namespace_unstored(l2 *d, uint64_t generation)
{
    sync_take(L2_DEV, &d->namespace_lock);
    if (l2_generation_after(generation, d->unstored)) { d->unstored = generation; }
    sync_drop(L2_DEV, &d->namespace_lock);
}

CELLAR_PRIVATE bool l2_namespace_apply(l2 *d, const l2_namespace *v, const char *name,
                                       size_t name_len, const _Atomic bool *over)
{
    l2_namespace_row *row;
    for (;;) { /* Removing a namespace or a generation needs no memory: its row exists. */
        sync_take(L2_DEV, &d->namespace_lock);
        if (over != NULL && base_load_acq(over)) {
            sync_drop(L2_DEV, &d->namespace_lock);
            return true;
        }
        row = l2_namespace_at(d, v->id, name, name_len);
        const bool known = row != NULL || name == NULL;
        /* one without a row may have ended meanwhile, and its next one found no room, either */
        const bool late = !known && d->unstored != 0 &&
                          !l2_generation_after(v->generation, d->unstored);
        if (!late && (known || d->namespace_count < d->namespace_cap)) { break; }
        sync_drop(L2_DEV, &d->namespace_lock);
        if (late || !l2_namespace_room(d)) {
            l2_namespace_unstored(d, v->generation);
            return false;
        }
    }
    if (v->generation == 0 && row != NULL) {
        l2_live_forget(d, row);
        *row = d->namespace[--d->namespace_count];
        base_store_rel(&d->dropped, 1u);
    } else if (v->generation != 0 || name != NULL) {
        if (row == NULL && name != NULL) {
            row = &d->namespace[d->namespace_count++];
            memset(row, 0, sizeof *row);
            row->name_len = (uint32_t)name_len; /* at most L2_NAME_MAX */
            memcpy(row->name, name, name_len);
        }
        /* Two changes may be logged in the other order, so generations only grow. */
        if (row != NULL && l2_generation_after(v->generation, row->v.generation)) {
            l2_live_forget(d, row);
        }
        if (row != NULL && !l2_generation_after(row->v.generation, v->generation)) {
            row->v = *v;
            row->lsn = 0; /* until its control is logged */
        }
    }
    /* Before a FLOOR all controls may be appended again. A quarter of the rows is for FLOORs. */
    const uint32_t rows = d->form.seg_bytes / L2_PAGE * L2_ROWS_A_PAGE;
    base_store_rlx(&d->spare, d->namespace_count / (rows / 4 * 3));
    if (!l2_generation_after(d->next_generation, v->generation)) {
        d->next_generation = v->generation + 1;
    }
    if (v->id >= d->next_id && v->id != UINT32_MAX) { d->next_id = v->id + 1; }
    sync_drop(L2_DEV, &d->namespace_lock);
    return true;
}

CELLAR_PRIVATE cellar_err l2_namespace_set(l2 *d, const l2_namespace *v, const char *name,
                                           size_t name_len, const _Atomic bool *over)
{
    BASE_ASSERT(name == NULL || name_len <= L2_NAME_MAX);
    const size_t named = name != NULL ? name_len : 0;
    if (!l2_namespace_apply(d, v, name, named, over)) { return CELLAR_E_NOMEM; }
    unsigned char value[16 + L2_NAME_MAX] = { L2_CTL_NAMESPACE, (unsigned char)named,
                                              name != NULL };
    l2_w32(value + 4, v->id);
    value[3] = (unsigned char)(v->generation >> 32);
    l2_w32(value + 8, (uint32_t)v->generation);
    l2_w32(value + 12, v->version);
    if (named > 0) { memcpy(value + 16, name, named); }
    (void)l2_control_log(d, value, (uint32_t)(16 + named));
    return CELLAR_OK;
}

BASE_SIZE_END
