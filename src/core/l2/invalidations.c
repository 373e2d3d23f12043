/* SPDX-License-Identifier: MIT
 *
 * invalidations: invalidation of records by tag and by pattern, without a lookup of each record.
 *
 * PICTURE    tag      row {fingerprint, hard epoch, soft epoch, lsn of its control}
 *            pattern  row {generation, pattern, lsn}: matching records below lsn are dead
 * PROTOCOL   invalidation: row entered -> `count` + 1 -> control reserved -> row gets its lsn
 *            put: `count` noted -> tags valid? no matching pattern in progress? -> reserved only if
 *            `count` is unchanged and the stamp is still current (l2_current)
 * INVARIANTS No record that a control invalidates follows the control in the log. So a row may be
 *            forgotten once a durable header says that nothing below its control counts.
 *            A pattern is in progress from before its control until the cache has searched its
 *            memory. Meanwhile matching puts are refused; a later put has an old stamp.
 *            Tag epochs come from the cache and exceed SUPER's count of opens * 2^32. So a number
 *            that a power cut has lost is never used again.
 * LOCKING    GLOB guards rows. Readers of patterns count themselves in `readers` and take no lock.
 *            Replaced lists are freed when the count is 0.
 * LIMITS     4,096 tags: the older half becomes a floor for all tagged records (coarser, never
 *            wrong). 256 patterns, 64 KiB: the oldest becomes a floor of its generation: a row
 *            without text, which matches each key. 256 of these: the oldest pattern becomes a
 *            FLOOR of the log at its lsn. That and the older half of tags replace a row for which
 *            memory is short. Patterns of a generation that ended count for none of these.
 * SEE ALSO   The cache has the table that decides which tags are valid. README.md: why a FLOOR. */
#include "l2/invalidations.h"

#include "base/glob.h"
#include "l2/control.h"
#include "l2/health.h"
#include "l2/log.h"
#include "l2/namespaces.h"
#include "l2/record.h"

#define L2_TAG_BYTES 32u  /* value of a TAG control */
#define L2_GLOB_HEAD 16u  /* value of a GLOB control, up to the pattern */

typedef struct l2_glob {
    _Atomic uint64_t lsn;     /* UINT64_MAX: no control yet; release under GLOB */
    _Atomic uint32_t walking; /* 1: in progress; release under GLOB */
    uint32_t generation, off, len;  /* off, len: pattern in the text of the list; 0: each key */
    uint64_t seq;             /* identifies the pattern in all lists */
} l2_glob;

struct l2_globs { /* constant once published, except lsn and walking of each row */
    struct l2_globs *older; /* next on the retire list; GLOB */
    size_t bytes;
    uint32_t count, room, text_bytes; /* the text begins after `room` rows */
    l2_glob row[];
};

BASE_SIZE_BEGIN

/* ---- tags ---- */

static SYNC_HOLDS(GLOB) l2_tag_row *l2_tag_of(l2 *d, uint64_t fp)
{
    for (uint32_t i = 0; i < d->invalidations.tag_count; i++) {
        if (d->invalidations.tag[i].fp == fp) { return &d->invalidations.tag[i]; }
    }
    return NULL;
}

static uint64_t l2_tag_last(const l2_tag_row *t) { return BASE_MAX(t->hard, t->soft); }

/* Turn the older half into a floor. Rows with a pending control stay. */
static SYNC_HOLDS(GLOB) void l2_tags_fold(l2 *d)
{
    l2_invalidations *e = &d->invalidations;
    uint64_t low = e->tag_floor, high = UINT64_MAX;
    while (low < high) {
        const uint64_t mid = low + (high - low) / 2;
        uint32_t n = 0;
        for (uint32_t i = 0; i < e->tag_count; i++) { n += l2_tag_last(&e->tag[i]) <= mid; }
        if (n > e->tag_count / 2) { high = mid; } else { low = mid + 1; }
    }
    e->tag_floor = low;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < e->tag_count; i++) {
        if (e->tag[i].pending != 0 || l2_tag_last(&e->tag[i]) > low) { e->tag[kept++] = e->tag[i]; }
    }
    e->tag_count = kept;
    L2_COUNT(d, folds);
}

/* Take the lock, with room for one more row that no other call can use. Return false if memory is
 * short. */
SYNC_TAKES(GLOB) static bool l2_tag_room(l2 *d)
{
    base_account *a = d->cfg.account;
    l2_invalidations *e = &d->invalidations;
    l2_tag_row *rows = NULL;
    uint32_t cap = 0;
    for (;;) {
        sync_take(GLOB, &e->lock);
        if (e->tag_count == e->tag_cap && rows != NULL && cap > e->tag_cap) {
            l2_tag_row *old = e->tag;
            const uint32_t old_cap = e->tag_cap;
            if (old != NULL) { memcpy(rows, old, e->tag_count * sizeof *rows); }
            e->tag = rows;
            e->tag_cap = cap;
            rows = old;
            cap = old_cap;
        }
        const bool done = e->tag_count < e->tag_cap || e->tag_cap == L2_TAGS_MAX;
        if (done && rows == NULL) { return true; }
        const uint32_t want = e->tag_cap == 0 ? 16 : e->tag_cap * 2;
        sync_drop(GLOB, &e->lock);
        base_free(a, BASE_MOD_L2, rows, cap * sizeof *rows);
        rows = NULL;
        if (done) { continue; }
        cap = want;
        rows = base_alloc(a, BASE_MOD_L2, cap * sizeof *rows, NULL);
        if (rows == NULL) {
            sync_take(GLOB, &e->lock);
            return false;
        }
    }
}

/* Enter the epoch of a tag. Without room return NULL and raise the floor to `epoch`. */
static SYNC_HOLDS(GLOB) l2_tag_row *l2_tag_enter(l2 *d, uint64_t fp, uint64_t epoch, bool soft)
{
    l2_invalidations *e = &d->invalidations;
    l2_tag_row *t = l2_tag_of(d, fp);
    if (t == NULL && e->tag_count == L2_TAGS_MAX) { l2_tags_fold(d); }
    if (t == NULL && e->tag_count == e->tag_cap) {
        e->tag_floor = BASE_MAX(e->tag_floor, epoch);
        L2_COUNT(d, folds);
        return NULL;
    }
    if (t == NULL) {
        t = &e->tag[e->tag_count++];
        *t = (l2_tag_row){ .fp = fp };
    }
    if (soft) { t->soft = BASE_MAX(t->soft, epoch); } else { t->hard = BASE_MAX(t->hard, epoch); }
    return t;
}

static SYNC_HOLDS(GLOB) l2_glob *l2_glob_of(l2 *d, uint64_t seq);

/* Enter the lsn of a logged control into its row: a tag's if `row` is not 0, the pattern `row`. */
static void l2_invalidation_logged(l2 *d, const unsigned char *value, uint64_t row, uint64_t lsn)
{
    sync_take(GLOB, &d->invalidations.lock);
    l2_tag_row *t = value[0] == L2_CTL_TAG && row != 0 ? l2_tag_of(d, l2_r64(value + 8)) : NULL;
    if (t != NULL) {
        t->pending--;
        t->lsn = BASE_MAX(t->lsn, lsn);
    }
    l2_glob *g = value[0] == L2_CTL_GLOB ? l2_glob_of(d, row) : NULL;
    if (g != NULL) { base_store_rel(&g->lsn, lsn); }
    sync_drop(GLOB, &d->invalidations.lock);
}

CELLAR_PRIVATE void l2_tag_invalidate(l2 *d, uint64_t fp, uint64_t epoch, bool soft)
{
    l2_invalidations *e = &d->invalidations;
    unsigned char value[L2_TAG_BYTES] = { L2_CTL_TAG, soft };
    (void)l2_tag_room(d);
    l2_tag_row *t = l2_tag_enter(d, fp, epoch, soft);
    const bool entered = t != NULL; /* otherwise another call may enter the row meanwhile */
    if (entered) { t->pending++; }
    l2_w64(value + 8, fp);
    l2_w64(value + 16, epoch);
    l2_w64(value + 24, e->tag_floor);
    sync_drop(GLOB, &e->lock);
    BASE_POINT("l2.end_entered");
    (void)base_add_sc(&e->count, (uint64_t)1);
    BASE_POINT("l2.end_raised");
    l2_invalidation_logged(d, value, entered, l2_control_log(d, value, sizeof value));
}

BASE_SIZE_END

/* Return the state of tags in l2's own table: 0 valid, 1 stale, 2 dead. */
static int l2_tags_state(l2 *d, uint64_t born, const void *fps, uint32_t count)
{
    l2_invalidations *e = &d->invalidations;
    int verdict = 0;
    sync_take(GLOB, &e->lock);
    if (count > 0 && born < e->tag_floor) { verdict = 2; }
    for (uint32_t i = 0; i < count && verdict < 2; i++) {
        uint64_t fp;
        memcpy(&fp, (const unsigned char *)fps + 8 * (size_t)i, 8);
        const l2_tag_row *t = l2_tag_of(d, fp);
        if (t != NULL && t->hard > born) {
            verdict = 2;
        } else if (t != NULL && t->soft > born) {
            verdict = 1;
        }
    }
    sync_drop(GLOB, &e->lock);
    return verdict;
}

CELLAR_PRIVATE int l2_tags_verdict(l2 *d, const l2_meta *m)
{
    if (m->tag_count == 0) { return 0; }
    return d->cfg.tags_valid != NULL
               ? d->cfg.tags_valid(d->cfg.tags_ctx, m->tag_born, m->tag_fps, m->tag_count)
               : l2_tags_state(d, m->tag_born, m->tag_fps, m->tag_count);
}

BASE_SIZE_BEGIN

CELLAR_PRIVATE bool l2_tags_dead(l2 *d, const l2_meta *m)
{
    return l2_tags_verdict(d, m) != 0 ||
           (m->tag_count != 0 && l2_tags_state(d, m->tag_born, m->tag_fps, m->tag_count) != 0);
}

/* Report the rows from the last one down, without the lock: `fn` may allocate. A pass of the thread
 * may forget rows meanwhile. Those that stay move to lower places only. */
CELLAR_PRIVATE uint64_t l2_tags_known(l2 *d, uint64_t *floor,
                                      void (*fn)(void *ctx, uint64_t fp, uint64_t hard,
                                                 uint64_t soft), void *ctx)
{
    l2_invalidations *e = &d->invalidations;
    for (uint32_t left = UINT32_MAX;;) {
        sync_take(GLOB, &e->lock);
        *floor = e->tag_floor;
        left = BASE_MIN(left, e->tag_count);
        const l2_tag_row row = left > 0 ? e->tag[left - 1] : (l2_tag_row){ 0 };
        sync_drop(GLOB, &e->lock);
        if (left == 0) { return d->super.opens << 32; }
        fn(ctx, row.fp, row.hard, row.soft);
        left--;
    }
}

/* ---- patterns ---- */

static unsigned char *l2_globs_text(const l2_globs *t)
{
    return (unsigned char *)(uintptr_t)&t->row[t->room];
}

/* Return true if no record below the pattern's control counts any more: a FLOOR passed or replaced
 * it, or its generation ended. */
static SYNC_HOLDS(GLOB) bool l2_glob_is_over(l2 *d, const l2_glob *g)
{
    const uint64_t floor = BASE_MAX(base_load_acq(&d->header_floor), d->invalidations.floor);
    return base_load_rlx(&g->walking) == 0 &&
           (base_load_rlx(&g->lsn) <= floor || l2_generation_over(d, g->generation));
}

static void l2_globs_add(l2_globs *to, const l2_glob *g, const void *pattern)
{
    l2_glob *x = &to->row[to->count++];
    base_store_rlx(&x->lsn, base_load_rlx(&g->lsn));
    base_store_rlx(&x->walking, base_load_rlx(&g->walking));
    x->generation = g->generation;
    x->off = to->text_bytes;
    x->len = g->len;
    x->seq = g->seq;
    memcpy(l2_globs_text(to) + x->off, pattern, g->len);
    to->text_bytes += g->len;
}

/* Return true if `g` is a finished row with the pattern of `fresh`, which replaces it. */
static bool l2_glob_same(const l2_globs *t, const l2_glob *g, const l2_glob *fresh,
                         const void *pattern)
{
    return g->generation == fresh->generation && g->len == fresh->len &&
           base_load_rlx(&g->walking) == 0 &&
           memcmp(l2_globs_text(t) + g->off, pattern, g->len) == 0;
}

/* Copy the rows that stay next to `fresh` into `to`, or only count them if `to` is NULL. *floors:
 * those without text. */
static SYNC_HOLDS(GLOB) uint32_t l2_globs_keep(l2 *d, const l2_glob *fresh, const void *pattern,
                                               l2_globs *to, uint32_t *text, uint32_t *floors)
{
    const l2_globs *from = base_load_rlx(&d->invalidations.globs);
    uint32_t n = 0;
    *text = *floors = 0;
    for (uint32_t i = 0; from != NULL && i < from->count; i++) {
        const l2_glob *g = &from->row[i];
        if (l2_glob_is_over(d, g) || l2_glob_same(from, g, fresh, pattern)) { continue; }
        if (to != NULL) { l2_globs_add(to, g, l2_globs_text(from) + g->off); }
        n++;
        *text += g->len;
        *floors += g->len == 0;
    }
    return n;
}

/* Replace the list. *free_them: lists without readers, for the caller to free. */
static SYNC_HOLDS(GLOB) void l2_globs_swap(l2 *d, l2_globs *to, l2_globs **free_them)
{
    l2_invalidations *e = &d->invalidations;
    l2_globs *old = base_load_rlx(&e->globs);
    *free_them = NULL;
    if (old != NULL) {
        old->older = e->replaced;
        e->replaced = old;
    }
    base_store_sc(&e->globs, to); /* seq_cst, before `readers` is read; acquire in l2_globs_match */
    if (base_load_sc(&e->readers) == 0) {
        *free_them = e->replaced;
        e->replaced = NULL;
    }
}

static void l2_globs_free(l2 *d, l2_globs *t)
{
    for (l2_globs *older; t != NULL; t = older) {
        older = t->older;
        base_free(d->cfg.account, BASE_MOD_L2, t, t->bytes);
    }
}

static l2_globs *l2_globs_make(l2 *d, uint32_t room, uint32_t space)
{
    l2_globs *t = NULL;
    const size_t bytes = sizeof *t + room * sizeof t->row[0] + space;
    t = base_alloc(d->cfg.account, BASE_MOD_L2, bytes, NULL);
    if (t != NULL) { t->bytes = bytes; }
    if (t != NULL) { t->room = room; }
    return t;
}

/* Return the oldest finished pattern that counts. NULL: there is none. */
static SYNC_HOLDS(GLOB) const l2_glob *l2_globs_oldest(l2 *d)
{
    const l2_globs *t = base_load_rlx(&d->invalidations.globs);
    const l2_glob *oldest = NULL;
    for (uint32_t i = 0; t != NULL && i < t->count; i++) {
        const l2_glob *g = &t->row[i];
        if (g->len == 0 || base_load_rlx(&g->walking) != 0 || l2_glob_is_over(d, g)) { continue; }
        if (oldest == NULL || base_load_rlx(&g->lsn) < base_load_rlx(&oldest->lsn)) { oldest = g; }
    }
    return oldest;
}

/* Replace the oldest finished pattern by a floor of its generation. Return false if there is none,
 * or no room for the floor. */
static bool l2_globs_end_own(l2 *d)
{
    l2_invalidations *e = &d->invalidations;
    l2_globs *to = l2_globs_make(d, L2_GLOBS_MAX * 2, L2_GLOB_TEXT_MAX), *old = NULL;
    uint32_t floors = 0;
    uint64_t floor = 0; /* of the generation; a pattern that was long under way is below it */
    if (to == NULL) { return false; }
    sync_take(GLOB, &e->lock);
    const l2_globs *t = base_load_rlx(&e->globs);
    const l2_glob *oldest = l2_globs_oldest(d);
    for (uint32_t i = 0; oldest != NULL && i < t->count; i++) {
        const l2_glob *g = &t->row[i];
        if (g == oldest || (g->len == 0 && g->generation == oldest->generation)) {
            floor = BASE_MAX(floor, base_load_rlx(&g->lsn));
            continue;
        }
        if (l2_glob_is_over(d, g)) { continue; }
        floors += g->len == 0;
        l2_globs_add(to, g, l2_globs_text(t) + g->off);
    }
    const bool ends = oldest != NULL && floors < L2_GLOBS_MAX;
    if (ends) {
        l2_glob all = { .generation = oldest->generation, .seq = ++e->last_seq };
        base_store_rlx(&all.lsn, floor);
        l2_globs_add(to, &all, "");
        l2_globs_swap(d, to, &old);
    }
    sync_drop(GLOB, &e->lock);
    l2_globs_free(d, ends ? old : to);
    if (ends && e->open) { l2_lost(d, L2_LOST_pattern, 0); }
    L2_COUNT_BY(d, folds, ends);
    return ends;
}

/* Replace the oldest finished pattern by a floor: of its generation, else of the log at its lsn.
 * Return false if there is none. */
static bool l2_globs_floor(l2 *d)
{
    if (l2_globs_end_own(d)) { return true; }
    l2_invalidations *e = &d->invalidations;
    sync_take(GLOB, &e->lock);
    const l2_glob *oldest = l2_globs_oldest(d);
    const uint64_t lsn = oldest != NULL ? base_load_rlx(&oldest->lsn) : 0;
    sync_drop(GLOB, &e->lock);
    if (lsn == 0) { return false; }
    if (e->open) { /* l2_recover applies the floor of an open */
        l2_floor_to(d, lsn);
        l2_floor_log(d, lsn, L2_LOST_pattern);
    }
    sync_take(GLOB, &e->lock);
    e->floor = BASE_MAX(e->floor, lsn);
    sync_drop(GLOB, &e->lock);
    L2_COUNT(d, folds);
    return true;
}

/* Enter a pattern with its text. OK, E_NOMEM or E_LIMIT. */
static cellar_err l2_glob_enter(l2 *d, l2_glob *fresh, const void *pattern)
{
    l2_invalidations *e = &d->invalidations;
    l2_globs *made = NULL, *old = NULL;
    uint32_t room = 0, space = 0;
    bool stuck = false;
    cellar_err err = CELLAR_PENDING;
    while (err == CELLAR_PENDING) {
        uint32_t text, floors;
        sync_take(GLOB, &e->lock);
        const uint32_t n = l2_globs_keep(d, fresh, pattern, NULL, &text, &floors);
        const bool full = n - floors + 1 > L2_GLOBS_MAX || text + fresh->len > L2_GLOB_TEXT_MAX;
        if (!full && made != NULL && n + 1 <= room && text + fresh->len <= space) {
            (void)l2_globs_keep(d, fresh, pattern, made, &text, &floors);
            fresh->seq = ++e->last_seq;
            l2_globs_add(made, fresh, pattern);
            l2_globs_swap(d, made, &old);
            made = NULL;
            err = CELLAR_OK;
        }
        sync_drop(GLOB, &e->lock);
        if (err == CELLAR_OK) { break; }
        l2_globs_free(d, made);
        made = NULL;
        if (full) {
            const bool made_way = l2_globs_floor(d);
            if (!made_way && stuck) { err = CELLAR_E_LIMIT; } /* once: generations ended just now */
            stuck = !made_way;
            continue;
        }
        stuck = false;
        room = n + 1;
        space = text + fresh->len;
        made = l2_globs_make(d, room, space);
        if (made == NULL) { err = CELLAR_E_NOMEM; }
    }
    l2_globs_free(d, old);
    return err;
}

/* Find a pattern in the newest list. Older lists may show its former state for a moment. */
static SYNC_HOLDS(GLOB) l2_glob *l2_glob_of(l2 *d, uint64_t seq)
{
    l2_globs *t = base_load_rlx(&d->invalidations.globs);
    for (uint32_t i = 0; t != NULL && i < t->count; i++) {
        if (t->row[i].seq == seq) { return &t->row[i]; }
    }
    return NULL;
}

CELLAR_PRIVATE cellar_err l2_glob_begin(l2 *d, uint32_t generation, const void *pattern, size_t len,
                                        uint64_t *seq)
{
    l2_invalidations *e = &d->invalidations;
    unsigned char value[L2_GLOB_HEAD + BASE_GLOB_MAX];
    BASE_ASSERT(len <= BASE_GLOB_MAX);
    l2_glob fresh = { .generation = generation, .len = (uint32_t)len };
    base_store_rlx(&fresh.lsn, UINT64_MAX);
    base_store_rlx(&fresh.walking, 1u);
    const cellar_err err = l2_glob_enter(d, &fresh, pattern);
    if (err != CELLAR_OK) { return err; }
    *seq = fresh.seq;
    BASE_POINT("l2.end_entered");
    (void)base_add_sc(&e->count, (uint64_t)1);
    BASE_POINT("l2.end_raised");
    memset(value, 0, L2_GLOB_HEAD);
    value[0] = L2_CTL_GLOB;
    l2_w16(value + 2, (uint16_t)len);
    l2_w32(value + 4, generation);
    memcpy(value + L2_GLOB_HEAD, pattern, len);
    l2_invalidation_logged(d, value, *seq,
                           l2_control_log(d, value, (uint32_t)(L2_GLOB_HEAD + len)));
    return CELLAR_OK;
}

CELLAR_PRIVATE void l2_glob_end(l2 *d, uint64_t seq)
{
    sync_take(GLOB, &d->invalidations.lock);
    l2_glob *g = l2_glob_of(d, seq);
    if (g != NULL) { base_store_rel(&g->walking, 0u); }
    sync_drop(GLOB, &d->invalidations.lock);
}

BASE_SIZE_END

CELLAR_PRIVATE bool l2_globs_match(l2 *d, uint32_t generation, uint64_t lsn, bool walking,
                                   const void *key, size_t klen)
{
    l2_invalidations *e = &d->invalidations;
    bool found = false;
    if (BASE_LIKELY(base_load_acq(&e->globs) == NULL)) { return false; }
    (void)base_add_sc(&e->readers, 1u);
    const l2_globs *t = base_load_sc(&e->globs);
    for (uint32_t i = 0; t != NULL && i < t->count && !found; i++) {
        const l2_glob *g = &t->row[i];
        /* A pattern in progress may have lsn 0 and no control, because no older record is left.
         * Puts from memory are still refused. */
        const bool counts = walking ? base_load_acq(&g->walking) != 0
                                    : base_load_acq(&g->lsn) > lsn;
        if (g->generation != generation || !counts) { continue; }
        found = g->len == 0 || base_glob_match(l2_globs_text(t) + g->off, g->len, key, klen);
    }
    (void)base_sub_ar(&e->readers, 1u); /* release; seq_cst load in l2_globs_swap */
    return found;
}

BASE_SIZE_BEGIN

/* ---- forget, and open ---- */

static bool l2_tag_is_over(const l2 *d, const l2_tag_row *t)
{
    return t->pending == 0 && t->lsn < base_load_acq(&d->header_floor);
}

/* Remove rows that are over, as far as that needs no memory. */
static SYNC_HOLDS(GLOB) void l2_invalidation_prune(l2 *d, l2_globs **free_them)
{
    l2_invalidations *e = &d->invalidations;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < e->tag_count; i++) {
        if (!l2_tag_is_over(d, &e->tag[i])) { e->tag[kept++] = e->tag[i]; }
    }
    e->tag_count = kept;
    const l2_globs *t = base_load_rlx(&e->globs);
    bool any = t == NULL;
    for (uint32_t i = 0; t != NULL && i < t->count; i++) {
        any = any || !l2_glob_is_over(d, &t->row[i]);
    }
    if (!any) { l2_globs_swap(d, NULL, free_them); }
}

CELLAR_PRIVATE void l2_invalidation_forget(l2 *d)
{
    l2_globs *old = NULL;
    sync_take(GLOB, &d->invalidations.lock);
    l2_invalidation_prune(d, &old);
    sync_drop(GLOB, &d->invalidations.lock);
    l2_globs_free(d, old);
}

static bool l2_tag_found(l2 *d, uint64_t fp, uint64_t hard, uint64_t soft, uint64_t lsn)
{
    l2_invalidations *e = &d->invalidations;
    if (!l2_tag_room(d)) {
        sync_drop(GLOB, &e->lock);
        return false;
    }
    l2_tag_row *t = hard != 0 || soft == 0 ? l2_tag_enter(d, fp, hard, false) : NULL;
    if (soft != 0) { t = l2_tag_enter(d, fp, soft, true); }
    if (t != NULL) { t->lsn = BASE_MAX(t->lsn, lsn); }
    sync_drop(GLOB, &e->lock);
    return true;
}

static bool l2_glob_found(l2 *d, uint32_t generation, const void *pattern, uint32_t len,
                          uint64_t lsn)
{
    l2_glob fresh = { .generation = generation, .len = len };
    base_store_rlx(&fresh.lsn, lsn);
    return l2_glob_enter(d, &fresh, pattern) != CELLAR_E_NOMEM;
}

static void l2_tag_floor_raise(l2 *d, uint64_t epoch)
{
    sync_take(GLOB, &d->invalidations.lock);
    d->invalidations.tag_floor = BASE_MAX(d->invalidations.tag_floor, epoch);
    sync_drop(GLOB, &d->invalidations.lock);
}

CELLAR_PRIVATE bool l2_invalidation_control(l2 *d, const unsigned char *value, uint32_t bytes,
                                            uint64_t lsn)
{
    if (value[0] == L2_CTL_TAG && bytes >= L2_TAG_BYTES) {
        const uint64_t epoch = l2_r64(value + 16);
        l2_tag_floor_raise(d, l2_r64(value + 24));
        return l2_tag_found(d, l2_r64(value + 8), value[1] == 0 ? epoch : 0,
                            value[1] != 0 ? epoch : 0, lsn);
    }
    if (value[0] == L2_CTL_GLOB && bytes >= L2_GLOB_HEAD) {
        const uint32_t len = l2_r16(value + 2);
        const uint32_t generation = l2_r32(value + 4);
        if (len == 0 || len > BASE_GLOB_MAX || L2_GLOB_HEAD + len > bytes ||
            (generation != 0 && !l2_generation_used(d, generation))) {
            return true;
        }
        return l2_glob_found(d, generation, value + L2_GLOB_HEAD, len, lsn);
    }
    return true;
}

/* ---- open and close ---- */

/* Free all tables. No other thread uses the store any more. */
CELLAR_PRIVATE SYNC_UNCHECKED void l2_invalidation_close(l2 *d)
{
    l2_invalidations *e = &d->invalidations;
    l2_globs_free(d, base_load_rlx(&e->globs));
    l2_globs_free(d, e->replaced);
    base_free(d->cfg.account, BASE_MOD_L2, e->tag, e->tag_cap * sizeof *e->tag);
}

CELLAR_PRIVATE void l2_invalidation_count(l2 *d, l2_stats *out)
{
    l2_invalidations *e = &d->invalidations;
    sync_take(GLOB, &e->lock);
    const l2_globs *t = base_load_rlx(&e->globs);
    out->tags = e->tag_count;
    for (uint32_t i = 0; t != NULL && i < t->count; i++) { out->globs += t->row[i].len != 0; }
    sync_drop(GLOB, &e->lock);
}

BASE_SIZE_END
