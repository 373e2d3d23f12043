/* SPDX-License-Identifier: MIT
 *
 * object: cells of objects: their counts and holds, and the one call of free_fn.
 *
 * PICTURE    record -> cell {count, object, charge}      an entry that links it has one count
 *            slot of a thread -> cell                    a hold without a count, while it is linked
 *            cell: taken -> linked -> unlinked -> count 0 -> free_fn -> free list
 * INVARIANTS The step that lowers a count to 0 calls free_fn, or lists the cell for it. A count
 *            rises only from above 0, so that step comes once for each object.
 *            The end of an entry turns each slot that names its cell into a count before it drops
 *            its own. So a slot without a count names a cell that an entry still counts.
 *            Cells stay cells while the table exists: a late look reads another cell, no other
 *            memory.
 * LOCKING    None for holds and ends. L1_CELL: growth, classes. free_fn runs without a lock and
 *            without a role of its thread.
 * NESTING    An object that ends inside a free_fn waits in the list of the running call
 *            (l1_freeing); free_fn never runs inside free_fn of the same store.
 * LIFETIME   The table outlives the level: the last object, or the close, ends it.
 * LIMITS     7 slots for each thread record; further holds are counts. Cells are not given back.
 * SEE ALSO   acquire.c; README.md, Objects: the proof. */
#include "l1/object.h"

#include <stddef.h>
#include <string.h>

#include "base/num.h"
#include "base/user_callback.h"

#define L1_LINES_PAGE (BASE_PAGE / sizeof(l1_hold_line))

static l1_cell *l1_cell_at(const l1_cells *o, uint64_t number)
{
    return (l1_cell *)(void *)o->region.base + number;
}

static l1_hold_line *l1_line_at(const l1_cells *o, uint32_t thread)
{
    return (l1_hold_line *)(void *)o->lines.base + thread;
}

/* ---- the table ------------------------------------------------------------------------------- */
BASE_SIZE_BEGIN

CELLAR_PRIVATE l1_cells *l1_cells_open(base_account *account,
                                       void (*gone)(void *ctx, bool freed), void *ctx)
{
    l1_cells *o = base_alloc(account, BASE_MOD_OBJECT, sizeof *o, NULL);
    if (o == NULL) { return NULL; }
    o->account = account;
    o->gone = gone;
    o->ctx = ctx;
    base_store_rlx(&o->live, (uint64_t)1);
    /* A cell needs a record and a place in the index: no budget that the log can reach has more. */
    const uint64_t most = BASE_MIN(BASE_MIN(base_load_rlx(&account->limit), L1_CELLS_MOST / 4) * 4,
                                   (uint64_t)SIZE_MAX / 8);
    const size_t cells = (size_t)base_round_up(most, L1_CELLS_STEP);
    const size_t lines = BASE_THREAD_MAX * sizeof(l1_hold_line);
    if (base_region_reserve(&o->region, cells, cells / 8) &&
        base_region_reserve(&o->lines, lines, lines)) {
        base_region_keep(&o->region);
        base_region_keep(&o->lines);
        return o;
    }
    base_region_release(&o->region);
    base_free(account, BASE_MOD_OBJECT, o, sizeof *o);
    return NULL;
}

/* Drop one of the objects, or the store: the last one ends the table. */
static void l1_cells_drop(l1_cells *o)
{
    if (base_sub_ar(&o->live, (uint64_t)1) != 1) { return; }
    void (*const gone)(void *, bool) = o->gone;
    void *const ctx = o->ctx;
    gone(ctx, false);
    uint64_t bytes = o->writable_bytes;
    bytes += (uint64_t)__builtin_popcountll(base_load_rlx(&o->pages)) * BASE_PAGE;
    for (uint32_t i = 0; i < L1_CLASS_CHUNKS; i++) {
        base_free(o->account, BASE_MOD_OBJECT, o->class_at[i], L1_CLASSES * sizeof(l1_class));
    }
    base_region_release(&o->region);
    base_region_release(&o->lines);
    base_uncharge(o->account, BASE_MOD_OBJECT, bytes);
    base_free(o->account, BASE_MOD_OBJECT, o, sizeof *o);
    gone(ctx, true);
}

CELLAR_PRIVATE uint64_t l1_cells_held(const l1_cells *o)
{
    uint64_t held = 0;
    const uint64_t made = base_load_acq(&o->made);
    for (uint64_t i = 0; i < made; i++) {
        const uint64_t w = base_load_acq(&l1_cell_at(o, i)->word);
        held += L1_CELL_COUNT(w) > L1_CELL_LINKS(w);
    }
    const uint64_t pages = base_load_acq(&o->pages);
    for (uint32_t t = 0; t < base_thread_count(); t++) {
        if ((pages >> t / L1_LINES_PAGE & 1) == 0) { continue; }
        for (unsigned i = 0; i < L1_HOLD_SLOTS; i++) {
            const uint64_t w = base_load_acq(&l1_line_at(o, t)->slot[i]);
            held += w != 0 && (w & L1_HOLD_COUNTED) == 0;
        }
    }
    return held;
}

CELLAR_PRIVATE uint64_t l1_cells_close(l1_cells *o)
{
    const uint64_t made = base_load_acq(&o->made);
    for (uint64_t i = 0; i < made; i++) {
        l1_cell *const b = l1_cell_at(o, i);
        while (L1_CELL_LINKS(base_load_acq(&b->word)) != 0) {
            l1_cell_unlink(o, b, CELLAR_CAUSE_CLOSED);
        }
    }
    const uint64_t held = base_load_acq(&o->live) - 1;
    l1_cells_drop(o);
    return held;
}

CELLAR_PRIVATE void l1_cells_forked(l1_cells *o) { base_store_rlx(&o->forked, true); }

CELLAR_PRIVATE uint64_t l1_cells_twice(const l1_cells *o) { return base_load_rlx(&o->twice); }

static l1_class *l1_class_at(const l1_cells *o, uint64_t number)
{
    return &o->class_at[number / L1_CLASSES][number % L1_CLASSES];
}

CELLAR_PRIVATE cellar_err l1_class_take(l1_cells *o, const cellar_object_config *of,
                                        uint32_t *number)
{
    sync_take(L1_CELL, &o->lock);
    uint32_t i = 0;
    while (i < o->classes && (l1_class_at(o, i)->free_fn != of->free_fn ||
                              l1_class_at(o, i)->ctx != of->ctx)) {
        i++;
    }
    cellar_err err = i < o->classes ? CELLAR_OK : CELLAR_E_LIMIT;
    if (err != CELLAR_OK && i < L1_CLASS_CHUNKS * L1_CLASSES) {
        l1_class **chunk = &o->class_at[i / L1_CLASSES];
        if (*chunk == NULL) {
            *chunk = base_alloc_held(o->account, BASE_MOD_OBJECT, L1_CLASSES * sizeof **chunk,
                                     NULL);
        }
        err = *chunk != NULL ? CELLAR_OK : CELLAR_E_NOMEM;
        if (err == CELLAR_OK) {
            *l1_class_at(o, i) = (l1_class){of->free_fn, of->ctx};
            o->classes = i + 1;
        }
    }
    sync_drop(L1_CELL, &o->lock);
    *number = i;
    return err;
}

CELLAR_PRIVATE bool l1_class_is(const l1_cells *o, uint32_t number, const cellar_object_config *of)
{
    const l1_class *const c = l1_class_at(o, number);
    return c->free_fn == of->free_fn && c->ctx == of->ctx;
}

/* Make one more step of cells writable. Return false without memory. */
static bool l1_cells_grow(l1_cells *o)
{
    bool grown = false;
    sync_take(L1_CELL, &o->lock);
    const uint64_t made = base_load_rlx(&o->made), at = o->writable_bytes;
    if ((made + 1) * sizeof(l1_cell) <= at) {
        grown = true; /* by another thread */
    } else if (at + L1_CELLS_STEP <= o->region.reserved_bytes &&
               base_charge(o->account, BASE_MOD_OBJECT, L1_CELLS_STEP)) {
        grown = base_region_commit(&o->region, (size_t)at, (size_t)L1_CELLS_STEP);
        if (grown) {
            o->writable_bytes = at + L1_CELLS_STEP;
        } else {
            base_uncharge(o->account, BASE_MOD_OBJECT, L1_CELLS_STEP);
        }
    }
    sync_drop(L1_CELL, &o->lock);
    return grown;
}

BASE_SIZE_END

/* ---- lists of cells -------------------------------------------------------------------------- */
static l1_cell *l1_free_pop(l1_cells *o)
{
    for (;;) {
        const uint64_t head = base_load_acq(&o->free);
        if ((uint32_t)head == 0) { return NULL; }
        l1_cell *const b = l1_cell_at(o, (uint32_t)head - 1);
        const uint32_t next = base_load_rlx(&b->next);
        if (base_cas_ar(&o->free, head, ((head >> 32) + 1) << 32 | next)) { return b; }
    }
}

static void l1_free_push(l1_cells *o, l1_cell *b)
{
    for (;;) {
        const uint64_t head = base_load_rlx(&o->free);
        base_store_rlx(&b->next, (uint32_t)head);
        const uint64_t now = ((head >> 32) + 1) << 32 | (l1_cell_number(o, b) + 1);
        if (base_cas_ar(&o->free, head, now)) { return; }
    }
}

/* Take a cell that was never used. */
static l1_cell *l1_cell_fresh(l1_cells *o)
{
    l1_cell *b = NULL;
    sync_take(L1_CELL, &o->lock);
    const uint64_t made = base_load_rlx(&o->made);
    if ((made + 1) * sizeof(l1_cell) <= o->writable_bytes) {
        b = l1_cell_at(o, made);
        base_store_rel(&o->made, made + 1);
    }
    sync_drop(L1_CELL, &o->lock);
    return b;
}

CELLAR_PRIVATE l1_cell *l1_cell_take(l1_cells *o, uint32_t class_number, void *object,
                                     uint64_t charge)
{
    l1_cell *b = l1_free_pop(o);
    while (b == NULL) {
        b = l1_cell_fresh(o);
        if (b == NULL && !l1_cells_grow(o)) { return NULL; }
    }
    (void)base_add_rlx(&o->live, (uint64_t)1);
    base_store_rlx(&b->object, (uint64_t)(uintptr_t)object);
    base_store_rlx(&b->charge, charge);
    base_store_rlx(&b->births, base_load_rlx(&b->births) + 1);
    base_store_rel(&b->word, (uint64_t)class_number << L1_CELL_CLASS_SHIFT | 1);
    return b;
}

/* ---- free_fn --------------------------------------------------------------------------------- */
typedef struct l1_freeing { /* a running free_fn, on the stack of its thread */
    l1_cells *o;
    l1_cell *now;         /* NULL: all are freed */
    uint64_t first, last; /* cells that wait for it: numbers + 1 */
    uint32_t depth;       /* of the thread before: free_fn counts as a listener that runs */
    struct l1_freeing *outer;
} l1_freeing;

/* Give up the charge and the cell of an object that is freed, or was not accepted. */
static void l1_cell_end(l1_cells *o, l1_cell *b)
{
    if ((base_load_rlx(&b->word) & L1_CELL_FREE) == 0) {
        base_uncharge(o->account, BASE_MOD_OBJECT, base_load_rlx(&b->charge));
    }
    l1_free_push(o, b);
    l1_cells_drop(o);
}

static void l1_free_call(void *arg)
{
    const l1_freeing *f = arg;
    const uint64_t w = base_load_rlx(&f->now->word);
    const unsigned cause = (unsigned)(w >> L1_CELL_CAUSE_SHIFT) & 255u;
    const l1_class *const of = l1_class_at(f->o, L1_CELL_CLASS(w));
    sync_assert_none();
    if (cause == L1_CELL_REFUSED) { return; }
    of->free_fn((void *)(uintptr_t)base_load_rlx(&f->now->object),
                (size_t)base_load_rlx(&f->now->charge), (cellar_cause)cause, of->ctx);
}

/* Free the cells of the list, the first one already: its free_fn has run. The thread may end in a
 * free_fn: this function then runs once more, and again for each further one that ends it. */
static void l1_free_rest(void *arg)
{
    l1_freeing *const f = arg;
    base_thread_record *const self = base_thread_self();
    while (f->now != NULL) {
        l1_cell *const done = f->now;
        if (f->first == 0) {
            f->now = NULL;
            self->frees = f->outer;
            self->depth = f->depth;
            l1_cell_end(f->o, done); /* may end the table */
            return;
        }
        f->now = l1_cell_at(f->o, f->first - 1);
        f->first = base_load_rlx(&f->now->next);
        l1_cell_end(f->o, done);
        base_run_callback(l1_free_call, l1_free_rest, f, BASE_CANCEL_STAYS);
    }
}

static void l1_late_run(sync_late *call);

/* Free an object without a holder: now, behind the free_fn that runs, or behind the roles of this
 * thread. */
static void l1_cell_free(l1_cells *o, l1_cell *b)
{
    base_thread_record *const self = base_thread_self();
    const bool own = self->index != 0; /* else the record is shared: nothing is kept in it */
    base_store_rlx(&b->next, 0u);
    if (own && self->roles != 0) {
        uint64_t head;
        do {
            head = base_load_rlx(&o->late);
            base_store_rlx(&b->next, (uint32_t)head);
        } while (!base_cas_ar(&o->late, head, l1_cell_number(o, b) + 1));
        if (head == 0) { /* else the thread that put the call off has not made it */
            o->late_call.run = l1_late_run;
            sync_put_off(&o->late_call);
        }
        return;
    }
    for (l1_freeing *f = own ? self->frees : NULL; f != NULL; f = f->outer) {
        if (f->o != o) { continue; }
        const uint64_t number = l1_cell_number(o, b) + 1;
        if (f->first == 0) {
            f->first = number;
        } else {
            base_store_rlx(&l1_cell_at(o, f->last - 1)->next, (uint32_t)number);
        }
        f->last = number;
        return;
    }
    l1_freeing f = { .o = o, .now = b, .outer = self->frees, .depth = self->depth };
    if (own) {
        self->frees = &f;
        self->depth++;
    }
    const int cancel = base_cancel_off();
    base_run_callback(l1_free_call, l1_free_rest, &f, BASE_CANCEL_STAYS);
    if (own) {
        l1_free_rest(&f);
    } else {
        l1_cell_end(o, b);
    }
    base_cancel_set(cancel);
}

static void l1_late_run(sync_late *call)
{
    l1_cells *const o = (l1_cells *)(void *)((char *)call - offsetof(l1_cells, late_call));
    for (uint64_t at = base_xchg_ar(&o->late, (uint64_t)0); at != 0;) {
        l1_cell *const b = l1_cell_at(o, at - 1);
        at = base_load_rlx(&b->next);
        l1_cell_free(o, b);
    }
}

/* ---- counts ---------------------------------------------------------------------------------- */
CELLAR_PRIVATE bool l1_cell_count(l1_cell *b)
{
    for (uint64_t w = base_load_rlx(&b->word);; w = base_load_rlx(&b->word)) {
        if (L1_CELL_COUNT(w) - 1 >= L1_CELL_COUNT_MOST - 1) { return false; } /* 0, or the most */
        if (base_cas_sc(&b->word, w, w + 1)) { return true; }
    }
}

CELLAR_PRIVATE void l1_cell_drop(l1_cells *o, l1_cell *b)
{
    const uint64_t w = base_sub_ar(&b->word, (uint64_t)1);
    BASE_ASSERT(L1_CELL_COUNT(w) > L1_CELL_LINKS(w));
    if (L1_CELL_COUNT(w) == 1) { l1_cell_free(o, b); }
}

CELLAR_PRIVATE void l1_cell_refuse(l1_cells *o, l1_cell *b)
{
    /* A late look may hold it for a moment: the last one gives the cell up. */
    (void)base_or_sc(&b->word, (uint64_t)L1_CELL_REFUSED << L1_CELL_CAUSE_SHIFT);
    l1_cell_drop(o, b);
}

CELLAR_PRIVATE void l1_object_free(l1_cells *o, uint32_t class_number, void *object,
                                   uint64_t charge)
{
    l1_cell *const b = l1_cell_take(o, class_number, object, charge);
    if (b != NULL) {
        (void)base_or_sc(&b->word, L1_CELL_FREE);
        l1_cell_drop(o, b);
    } else {
        const l1_class *const of = l1_class_at(o, class_number);
        of->free_fn(object, (size_t)charge, CELLAR_CAUSE_NONE, of->ctx);
    }
}

/* Turn the holds in slots that name the cell into counts. The caller has a count. */
static void l1_holds_count(l1_cells *o, l1_cell *b)
{
    const uint64_t name = (l1_cell_number(o, b) + 1) << 1, pages = base_load_sc(&o->pages);
    const uint32_t threads = pages != 0 ? base_thread_count() : 0;
    for (uint32_t t = 1; t < threads; t++) {
        if ((pages >> t / L1_LINES_PAGE & 1) == 0) { continue; }
        l1_hold_line *const line = l1_line_at(o, t);
        for (unsigned i = 0; i < L1_HOLD_SLOTS; i++) {
            const uint64_t w = base_load_sc(&line->slot[i]);
            if (L1_HOLD_CELL(w) != name || (w & L1_HOLD_COUNTED) != 0) { continue; }
            (void)base_add_ar(&b->word, (uint64_t)1);
            BASE_POINT("l1.hold.added");
            if (!base_cas_sc(&line->slot[i], w, w | L1_HOLD_COUNTED)) { /* released meanwhile */
                (void)base_sub_ar(&b->word, (uint64_t)1);
            }
        }
    }
}

CELLAR_PRIVATE void l1_cell_unlink(l1_cells *o, l1_cell *b, unsigned cause)
{
    l1_holds_count(o, b);
    BASE_POINT("l1.hold.ended");
    uint64_t w, now;
    do {
        w = base_load_rlx(&b->word);
        BASE_ASSERT(L1_CELL_LINKS(w) != 0 && L1_CELL_COUNT(w) != 0);
        now = (w & ~(UINT64_C(255) << L1_CELL_CAUSE_SHIFT)) |
              (uint64_t)cause << L1_CELL_CAUSE_SHIFT;
        now -= L1_CELL_LINK;
    } while (!base_cas_ar(&b->word, w, now));
    if (L1_CELL_COUNT(now) == 0) { l1_cell_free(o, b); }
}

/* ---- holds ----------------------------------------------------------------------------------- */
/* Make the line of a thread readable. Return false without memory. */
BASE_COLD static bool l1_line_open(l1_cells *o, uint32_t thread)
{
    const uint32_t page = thread / (uint32_t)L1_LINES_PAGE;
    sync_take(L1_CELL, &o->lock);
    bool open = (base_load_rlx(&o->pages) >> page & 1) != 0;
    if (!open && base_charge(o->account, BASE_MOD_OBJECT, BASE_PAGE)) {
        open = base_region_commit(&o->lines, (size_t)page * BASE_PAGE, BASE_PAGE);
        if (open) {
            (void)base_or_sc(&o->pages, UINT64_C(1) << page);
        } else {
            base_uncharge(o->account, BASE_MOD_OBJECT, BASE_PAGE);
        }
    }
    sync_drop(L1_CELL, &o->lock);
    return open;
}

/* Return the line of this thread; NULL: it has none. */
BASE_INLINE l1_hold_line *l1_line_mine(l1_cells *o)
{
    const uint32_t t = base_thread_self()->index;
    if (BASE_UNLIKELY(t == 0)) { return NULL; }
    const bool open = (base_load_acq(&o->pages) >> t / L1_LINES_PAGE & 1) != 0;
    return BASE_LIKELY(open) || l1_line_open(o, t) ? l1_line_at(o, t) : NULL;
}

CELLAR_PRIVATE void l1_held_counted(l1_cells *o, const l1_cell *b, cellar_held *out)
{
    out->object = (void *)(uintptr_t)base_load_rlx(&b->object);
    out->charge = (size_t)base_load_rlx(&b->charge);
    out->opaque[0] = (uint64_t)(uintptr_t)o;
    out->opaque[1] = (l1_cell_number(o, b) + 1) << 1 | L1_HOLD_COUNTED;
    out->opaque[2] = (uint64_t)base_load_rlx(&b->births) << 32;
}

CELLAR_PRIVATE bool l1_hold_take(l1_cells *o, uint64_t name, uint64_t object,
                                 const _Atomic uint32_t *ver, uint32_t want, cellar_held *out,
                                 cellar_err *err)
{
    const uint64_t number = (uint32_t)(name >> 1);
    l1_hold_line *const line = l1_line_mine(o);
    for (unsigned i = 0; line != NULL && i < L1_HOLD_SLOTS; i++) {
        _Atomic uint64_t *const slot = &line->slot[i];
        if (base_load_rlx(slot) != 0) { continue; }
        const uint64_t n = base_load_rlx(&line->acquires) + 1;
        const uint64_t word = n << 33 | (number + 1) << 1;
        base_store_rlx(&line->acquires, n);
        base_store_sc(slot, word);
        BASE_POINT("l1.hold.published");
        const uint64_t place = (uint64_t)(slot - &l1_line_at(o, 0)->slot[0]) + 1;
        if (BASE_LIKELY(base_load_sc(ver) == want)) { /* the record was true: no look at the cell */
            out->object = (void *)(uintptr_t)object;
            out->charge = (size_t)l1_cell_charge_of(o, name);
            out->opaque[0] = (uint64_t)(uintptr_t)o;
            out->opaque[1] = word;
            out->opaque[2] = place;
            return true;
        }
        *out = (cellar_held){.opaque = {(uint64_t)(uintptr_t)o, word, place}};
        l1_hold_end(out);
        return false;
    }
    BASE_POINT("l1.hold.no_slot");
    l1_cell *const b = l1_cell_at(o, number);
    if (!l1_cell_count(b)) { /* it ended: then the version is another one */
        if (base_load_sc(ver) == want) { *err = CELLAR_E_LIMIT; }
        return false;
    }
    BASE_POINT("l1.hold.counted");
    if (base_load_sc(ver) == want) {
        l1_held_counted(o, b, out);
        return true;
    }
    l1_cell_drop(o, b);
    return false;
}

/* Note the release of a hold that was released before. */
BASE_COLD static void l1_hold_twice(l1_cells *o)
{
    (void)base_add_rlx(&o->twice, (uint64_t)1);
    BASE_ASSERT(false); /* a hold is released once */
}

/* Drop the count of a hold. Return false if the object has none left for it. */
static bool l1_count_drop(l1_cells *o, l1_cell *b)
{
    for (;;) {
        const uint64_t w = base_load_rlx(&b->word);
        if (L1_CELL_COUNT(w) <= L1_CELL_LINKS(w)) { return false; }
        if (!base_cas_ar(&b->word, w, w - 1)) { continue; }
        if (L1_CELL_COUNT(w) == 1) { l1_cell_free(o, b); }
        return true;
    }
}

CELLAR_PRIVATE void l1_hold_end(cellar_held *held)
{
    l1_cells *const o = (l1_cells *)(uintptr_t)held->opaque[0];
    const uint64_t word = held->opaque[1];
    const uint32_t place = (uint32_t)held->opaque[2], birth = (uint32_t)(held->opaque[2] >> 32);
    memset(held, 0, sizeof *held);
    if (o == NULL || BASE_UNLIKELY(base_load_rlx(&o->forked))) { return; }
    if (place != 0) {
        _Atomic uint64_t *const slot = &l1_line_at(o, 0)->slot[0] + (place - 1);
        if (BASE_LIKELY(base_cas_sc(slot, word, (uint64_t)0))) { return; }
        BASE_POINT("l1.hold.converted");
        if (!base_cas_sc(slot, word | L1_HOLD_COUNTED, (uint64_t)0)) {
            l1_hold_twice(o);
            return;
        }
    }
    l1_cell *const b = l1_cell_at(o, (L1_HOLD_CELL(word) >> 1) - 1);
    const bool other = place == 0 && base_load_rlx(&b->births) != birth;
    if (other || !l1_count_drop(o, b)) { l1_hold_twice(o); }
}

CELLAR_PRIVATE cellar_err l1_hold_copy(const cellar_held *held, cellar_held *out)
{
    l1_cells *const o = (l1_cells *)(uintptr_t)held->opaque[0];
    if (base_load_rlx(&o->forked)) { return CELLAR_E_FORKED; }
    l1_cell *const b = l1_cell_at(o, (L1_HOLD_CELL(held->opaque[1]) >> 1) - 1);
    if (!l1_cell_count(b)) { return CELLAR_E_LIMIT; }
    l1_held_counted(o, b, out);
    return CELLAR_OK;
}
