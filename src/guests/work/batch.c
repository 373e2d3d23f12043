/* SPDX-License-Identifier: MIT
 *
 * batch: items become batches, batches become calls, calls become verdicts.
 *
 * WALK       add: an item is copied without the lock; one short lock puts it into its group. A new
 *            group is made without the lock, and the second lock looks for it once more. A full
 *            batcher: sleep on `ended`, which rises with each item that ends
 *            put -> waiting -> due by count, bytes, linger, flush, groups or drain -> job: take a
 *            batch into hand -> call -> verdicts, or smaller calls, or a retry -> done functions
 *            -> rest: queued again, armed, or freed
 * CUTS       A call has the items in hand up to the first cut. A failed call is bisected by
 *            one more cut in its middle, and split by a cut behind each item. What is left to do is
 *            therefore always in the lists, wherever a thread ends.
 * ORDER      A job makes one call and then queues itself behind the other groups.
 * LOCKING    batch.h.
 * LIMITS     BATCH_SLICE timers for each fire. Without memory for the array of a call, a call has
 *            at most BATCH_FEW items. */
#include "work/batch.h"

#include <string.h>

#include "base/opts.h"
#include "base/user_callback.h"

BASE_SIZE_BEGIN

#define BATCH_SLICE 1024u
#define BATCH_FEW 16u

/* ---- lists ---- */

/* Put an item before another one, or at the end: before `items` of the list. */
static void batch_insert(batch_list *l, wheel_timer *before, batch_item *i)
{
    wheel_ring_add(before, &i->link);
    l->count++;
    l->bytes += i->len;
}

static void batch_unlink(batch_list *l, batch_item *i)
{
    wheel_ring_remove(&i->link);
    l->count--;
    l->bytes -= i->len;
}

static void batch_finish(batch_list *from, batch_item *i, cellar_batch_verdict verdict,
                         cellar_err err)
{
    batch_unlink(from, i);
    i->verdict = verdict;
    i->err = err;
    batch_insert(&i->of->finished, &i->of->finished.items, i);
}

static void batch_forget_key(batch_item *i) SYNC_HOLDS(WHEEL)
{
    BASE_TABLE_CHARGE(&i->of->of->obj.account, BASE_MOD_STORE);
    if (i->key_len == 0) { return; }
    BASE_TABLE_REMOVE(hh, i->of->of->keys, i);
    i->key_len = 0;
}

/* ---- groups ---- */

CELLAR_PRIVATE void batch_lock(cellar_batcher *b, batch_after *a)
{
    *a = (batch_after){ .first = NULL };
    a->end = &a->first;
    sync_take(WHEEL, &b->lock);
}

CELLAR_PRIVATE void batch_unlock(cellar_batcher *b, batch_after *a)
{
    sync_drop(WHEEL, &b->lock);
    while (a->first != NULL) {
        base_job *j = a->first;
        a->first = j->next;
        /* refused only by a close, when no item is left */
        (void)base_pool_push(&b->pool, j);
    }
    while (a->ended != NULL) {
        batch_group *g = a->ended;
        a->ended = g->next;
        batch_group_free(g);
    }
    if (a->ring) { work_ticker_ring(&b->ticker); }
}

CELLAR_PRIVATE bool batch_is_mine(const cellar_batcher *b)
{
    const int32_t tid = base_thread_id();
    for (const batch_group *g = b->groups; g != NULL; g = g->hh.next) {
        if (g->tid == tid) { return true; }
    }
    return false;
}

/* Return a track of a group; NULL: it has no items. `name`: a byte for the number of the track,
 * which the call sets, and `len` bytes. */
static batch_group *batch_find(cellar_batcher *b, char *name, size_t len, uint32_t track)
    SYNC_HOLDS(WHEEL)
{
    name[0] = (char)track;
    const unsigned hash = (unsigned)base_hash(&b->hash_key, 0, name, len + 1);
    return BASE_TABLE_FIND(hh, b->groups, name, len + 1, hash);
}

/* Return the waiting item with the key of an item, in a group with this id; NULL: none. */
static batch_item *batch_same_key(cellar_batcher *b, batch_item *i, uint64_t id, unsigned *hash)
    SYNC_HOLDS(WHEEL)
{
    unsigned char *key = i->bytes + i->len;
    memcpy(key, &id, sizeof id);
    *hash = (unsigned)base_hash(&b->hash_key, 0, key, i->key_len);
    return BASE_TABLE_FIND(hh, b->keys, key, i->key_len, *hash);
}

/* Return the track of an item with the same key, else one that collects, else NULL for a new one,
 * which is not made yet, else the one with the fewest items. For a new one name[0] has its number,
 * and *id the id of its group, 0: none. */
static batch_group *batch_track(cellar_batcher *b, char *name, size_t len, batch_item *i,
                                        uint64_t *id) SYNC_HOLDS(WHEEL)
{
    batch_group *collects = NULL, *least = NULL;
    uint32_t fresh = UINT32_MAX;
    *id = 0;
    for (uint32_t track = 0; track < b->cfg.parallel; track++) {
        batch_group *g = batch_find(b, name, len, track);
        if (g == NULL) {
            fresh = BASE_MIN(fresh, track);
            continue;
        }
        *id = g->id;
        if (collects == NULL && g->state == BATCH_IDLE) { collects = g; }
        if (least == NULL || g->waiting.count < least->waiting.count) { least = g; }
    }
    unsigned hash;
    const batch_item *old = *id != 0 && i->key_len != 0 ? batch_same_key(b, i, *id, &hash) : NULL;
    if (old != NULL) { return old->of; }
    if (collects != NULL || fresh == UINT32_MAX) { return collects != NULL ? collects : least; }
    name[0] = (char)fresh;
    return NULL;
}

/* Make a track that is in no table yet. NULL: no memory. */
static batch_group *batch_group_make(cellar_batcher *b, const char *name, size_t len)
{
    batch_group *g = base_alloc(&b->obj.account, BASE_MOD_STORE, sizeof *g + len + 2, NULL);
    if (g == NULL) { return NULL; }
    wheel_ring_init(&g->waiting.items);
    wheel_ring_init(&g->hand.items);
    wheel_ring_init(&g->finished.items);
    g->of = b;
    g->id = base_add_ar(&b->last_id, (uint64_t)1) + 1;
    g->name_len = (uint32_t)len;
    memcpy(g->name, name, len + 1);
    return g;
}

CELLAR_PRIVATE void batch_group_free(batch_group *g)
{
    cellar_batcher *b = g->of;
    base_free(&b->obj.account, BASE_MOD_STORE, g->array, b->cfg.max_items * sizeof g->array[0]);
    base_free(&b->obj.account, BASE_MOD_STORE, g, sizeof *g + g->name_len + 2);
}

CELLAR_PRIVATE void batch_item_free(cellar_batcher *b, batch_item *i)
{
    base_free(&b->obj.account, BASE_MOD_STORE, i, sizeof *i + i->len + i->room);
}

/* Queue the job of a group, unless it is queued or runs. */
static void batch_kick(batch_group *g, batch_after *a) SYNC_HOLDS(WHEEL)
{
    if (g->state == BATCH_QUEUED) { return; }
    wheel_cancel(&g->of->wheel, &g->timer);
    g->state = BATCH_QUEUED;
    g->queued.next = NULL;
    *a->end = &g->queued;
    a->end = &g->queued.next;
}

static void batch_open_set(batch_group *g, bool open) SYNC_HOLDS(WHEEL)
{
    cellar_batcher *b = g->of;
    if (wheel_is_armed(&g->link) == open) { return; }
    if (open) {
        wheel_ring_add(&b->open, &g->link);
        b->open_count++;
    } else {
        wheel_ring_remove(&g->link);
        b->open_count--;
    }
}

/* Make the waiting items of a group due. A flush and a drain go beyond what is due already. */
static void batch_make_due(batch_group *g, cellar_batch_trigger why, batch_after *a)
    SYNC_HOLDS(WHEEL)
{
    if (g->waiting.count == 0 || g->due >= why) { return; }
    g->due = why;
    batch_open_set(g, false);
    if (g->state == BATCH_IDLE) { batch_kick(g, a); }
}

static void batch_arm(batch_group *g, int64_t due_ms, batch_after *a) SYNC_HOLDS(WHEEL)
{
    cellar_batcher *b = g->of;
    wheel_cancel(&b->wheel, &g->timer);
    wheel_add(&b->wheel, &g->timer, due_ms);
    if (due_ms < b->wake_ms) {
        b->wake_ms = due_ms;
        a->ring = true;
    }
}

/* Return when the waiting items of a group are due by time. */
static int64_t batch_linger_ms(const batch_group *g)
{
    const cellar_batcher_config *c = &g->of->cfg;
    const int64_t first_ms = batch_item_of(g->waiting.items.next)->added_ms;
    if (c->max_delay_ms == 0) { return base_add_sat(first_ms, c->linger_ms); }
    return BASE_MIN(base_add_sat(g->last_ms, c->linger_ms),
                    base_add_sat(first_ms, c->max_delay_ms));
}

/* Decide whether waiting items are due; else let the group collect. */
static void batch_look(batch_group *g, batch_after *a) SYNC_HOLDS(WHEEL)
{
    cellar_batcher *b = g->of;
    if (g->due != 0 || g->waiting.count == 0) { return; }
    if (b->draining) {
        batch_make_due(g, CELLAR_BATCH_BY_DRAIN, a);
    } else if (g->waiting.count >= b->cfg.max_items) {
        batch_make_due(g, CELLAR_BATCH_BY_ITEMS, a);
    } else if (g->waiting.bytes >= b->cfg.max_bytes) {
        batch_make_due(g, CELLAR_BATCH_BY_BYTES, a);
    } else {
        batch_open_set(g, true);
        if (g->state == BATCH_IDLE) { batch_arm(g, batch_linger_ms(g), a); }
        if (b->open_count > b->cfg.max_groups) {
            char *const oldest = (char *)b->open.next - offsetof(batch_group, link);
            batch_make_due((batch_group *)(void *)oldest, CELLAR_BATCH_BY_GROUPS, a);
        }
    }
}

/* Note the key of an item. *old: the waiting item with the same key; NULL: none. */
static bool batch_note_key(batch_group *g, batch_item *i, batch_item **old) SYNC_HOLDS(WHEEL)
{
    cellar_batcher *b = g->of;
    BASE_TABLE_CHARGE(&b->obj.account, BASE_MOD_STORE);
    *old = NULL;
    if (i->key_len == 0) { return true; }
    unsigned hash;
    *old = batch_same_key(b, i, g->id, &hash);
    BASE_TABLE_ADD(hh, b->keys, i->bytes + i->len, i->key_len, hash, i);
    return i->hh.tbl != NULL;
}

/* Put a group into the table. */
static bool batch_group_in(batch_group *g) SYNC_HOLDS(WHEEL)
{
    cellar_batcher *b = g->of;
    BASE_TABLE_CHARGE(&b->obj.account, BASE_MOD_STORE);
    if (g->hh.tbl != NULL) { return true; }
    const unsigned hash = (unsigned)base_hash(&b->hash_key, 0, g->name, g->name_len + 1);
    BASE_TABLE_ADD(hh, b->groups, g->name, g->name_len + 1, hash, g);
    return g->hh.tbl != NULL;
}

static void batch_group_out(batch_group *g) SYNC_HOLDS(WHEEL)
{
    BASE_TABLE_CHARGE(&g->of->obj.account, BASE_MOD_STORE);
    BASE_TABLE_REMOVE(hh, g->of->groups, g);
    g->hh.tbl = NULL;
}

/* Put an item into its group, which comes into the table if it is not there. False: no memory;
 * nothing has changed. */
static bool batch_put(batch_group *g, batch_item *i, int64_t now_ms, batch_after *a)
    SYNC_HOLDS(WHEEL)
{
    cellar_batcher *b = g->of;
    const bool fresh = g->hh.tbl == NULL;
    batch_item *old;
    if (!batch_group_in(g)) { return false; }
    i->of = g;
    if (!batch_note_key(g, i, &old)) {
        if (fresh) { batch_group_out(g); }
        return false;
    }
    i->added_ms = old != NULL ? old->added_ms : now_ms;
    g->last_ms = now_ms;
    if (old != NULL) {
        batch_forget_key(old);
        wheel_timer *const behind = old->link.next;
        batch_finish(&g->waiting, old, CELLAR_BATCH_REPLACED, CELLAR_OK);
        batch_insert(&g->waiting, behind, i);
        if (g->state == BATCH_IDLE) { batch_kick(g, a); }
    } else {
        batch_insert(&g->waiting, &g->waiting.items, i);
    }
    b->count[STATS_BATCHER_ADDED]++;
    b->count[STATS_BATCHER_ITEMS]++;
    b->count[STATS_BATCHER_ITEM_BYTES] += i->len;
    batch_look(g, a);
    return true;
}

CELLAR_PRIVATE void batch_drain_all(cellar_batcher *b, batch_after *a)
{
    for (batch_group *g = b->groups; g != NULL; g = g->hh.next) {
        g->retry_ms = 0;
        batch_make_due(g, CELLAR_BATCH_BY_DRAIN, a);
        batch_kick(g, a);
    }
}

/* ---- a job ---- */

/* Take the next batch into hand. */
static void batch_take(batch_group *g) SYNC_HOLDS(WHEEL)
{
    const cellar_batcher_config *c = &g->of->cfg;
    batch_list *from = &g->waiting, *to = &g->hand;
    static const uint8_t counters[] = {
        0, STATS_BATCHER_BY_ITEMS, STATS_BATCHER_BY_BYTES, STATS_BATCHER_BY_LINGER,
        STATS_BATCHER_BY_GROUPS, STATS_BATCHER_BY_FLUSH, STATS_BATCHER_BY_DRAIN
    };
    g->trigger = g->due;
    g->failures = 0;
    g->retry_ms = 0;
    g->of->count[counters[g->due]]++;
    for (batch_item *i; (i = batch_first(from)) != NULL && to->count < c->max_items &&
                        (to->count == 0 || to->bytes + i->len <= c->max_bytes);) {
        batch_forget_key(i);
        batch_unlink(from, i);
        batch_insert(to, &to->items, i);
    }
    if (from->count == 0 || g->due < CELLAR_BATCH_BY_FLUSH) { g->due = 0; }
}

/* Give up what no call has taken. */
static void batch_abandon(batch_group *g) SYNC_HOLDS(WHEEL)
{
    for (batch_item *i; (i = batch_first(&g->hand)) != NULL;) {
        batch_finish(&g->hand, i, CELLAR_BATCH_ABANDONED, CELLAR_OK);
    }
    for (batch_item *i; (i = batch_first(&g->waiting)) != NULL;) {
        batch_forget_key(i);
        batch_finish(&g->waiting, i, CELLAR_BATCH_ABANDONED, CELLAR_OK);
    }
    g->due = 0;
    batch_open_set(g, false);
}

/* Take over the items that wait behind the call of another track. */
static void batch_relieve(batch_group *g) SYNC_HOLDS(WHEEL)
{
    cellar_batcher *b = g->of;
    char name[CELLAR_BATCH_KEY_MAX + 2];
    batch_group *from = NULL;
    memcpy(name, g->name, g->name_len + 1);
    for (uint32_t track = 0; track < b->cfg.parallel && from == NULL; track++) {
        batch_group *other = batch_find(b, name, g->name_len, track);
        const bool waits = other != NULL && other != g && other->hand.count != 0 &&
                           other->waiting.count != 0;
        if (waits) { from = other; }
    }
    if (from == NULL) { return; }
    for (batch_item *i; (i = batch_first(&from->waiting)) != NULL;) {
        batch_unlink(&from->waiting, i);
        batch_insert(&g->waiting, &g->waiting.items, i);
        i->of = g;
    }
    g->last_ms = from->last_ms;
    g->due = from->due;
    from->due = 0;
    batch_open_set(from, false);
}

/* Decide what a group does after its job. */
static void batch_rest(batch_group *g, int64_t now_ms, batch_after *a) SYNC_HOLDS(WHEEL)
{
    cellar_batcher *b = g->of;
    if (b->abandon) { batch_abandon(g); }
    const bool waits = g->hand.count != 0 && g->retry_ms > now_ms && !b->draining &&
                       g->finished.count == 0;
    g->tid = 0;
    g->state = waits ? BATCH_BACKOFF : BATCH_IDLE;
    if (b->cfg.parallel > 1 && g->hand.count + g->waiting.count == 0 && !b->abandon) {
        batch_relieve(g);
    }
    batch_look(g, a);
    if (waits) {
        batch_arm(g, g->retry_ms, a);
    } else if (g->finished.count != 0 || g->hand.count != 0 || g->due != 0) {
        batch_kick(g, a);
    } else if (g->waiting.count == 0) {
        batch_group_out(g);
        g->next = a->ended;
        a->ended = g;
    }
}

/* End the job of a group. `ended_thread`: a function of the program did not return. */
static void batch_end_job(batch_group *g, bool ended_thread)
{
    cellar_batcher *b = g->of;
    const int64_t now_ms = base_now_ms(&b->obj.clock);
    batch_after a;
    batch_lock(b, &a);
    b->count[STATS_BATCHER_THREAD_ENDS] += ended_thread;
    batch_rest(g, now_ms, &a);
    a.ring |= ended_thread; /* the thread replaces the worker */
    batch_unlock(b, &a);
}

/* ---- done functions ---- */

CELLAR_PRIVATE void batch_tell_sleepers(cellar_batcher *b)
{
    if (base_load_acq(&b->sleepers) == 0) { return; } /* one that looks later sees the change */
    work_wake(&b->ended, INT32_MAX);
}

/* Count the end of an item and free it. */
static void batch_item_end(cellar_batcher *b, batch_item *i)
{
    static const uint8_t counters[] = { STATS_BATCHER_OK, STATS_BATCHER_FAILED,
                                        STATS_BATCHER_REPLACED, STATS_BATCHER_ABANDONED };
    sync_take(WHEEL, &b->lock);
    i->of->tid = 0;
    batch_unlink(&i->of->finished, i);
    b->count[counters[i->verdict]]++;
    b->count[STATS_BATCHER_ITEMS]--;
    b->count[STATS_BATCHER_ITEM_BYTES] -= i->len;
    sync_drop(WHEEL, &b->lock);
    batch_item_free(b, i);
    batch_tell_sleepers(b);
}

static void batch_done_call(void *arg)
{
    const batch_item *i = arg;
    cellar_batch_result r = { .struct_size = sizeof r, .data = i->len != 0 ? i->bytes : NULL,
                              .len = i->len, .verdict = i->verdict, .err = (int32_t)i->err,
                              .calls = i->calls };
    i->done(&r, i->done_ctx);
}

static void batch_done_left(void *arg)
{
    batch_item *i = arg;
    batch_group *g = i->of;
    batch_item_end(g->of, i);
    batch_end_job(g, true);
}

/* Run the done functions of the finished items. */
static void batch_deliver(batch_group *g, int cancel)
{
    cellar_batcher *b = g->of;
    for (;;) {
        sync_take(WHEEL, &b->lock);
        batch_item *i = batch_first(&g->finished);
        if (i != NULL) { g->tid = base_thread_id(); }
        sync_drop(WHEEL, &b->lock);
        if (i == NULL) { return; }
        if (i->done != NULL) { base_run_callback(batch_done_call, batch_done_left, i, cancel); }
        batch_item_end(b, i);
    }
}

/* ---- calls ---- */

typedef struct batch_call { /* on the stack of the thread that makes it */
    batch_group *g;
    cellar_batch_item *items; /* few, or the array of the group */
    uint32_t room, count;
    cellar_batch seen;
    cellar_err err;           /* of the flush function */
    cellar_batch_item few[BATCH_FEW];
} batch_call;

/* Fill a call with the items in hand up to the first cut. */
static void batch_fill(batch_call *c) SYNC_HOLDS(WHEEL)
{
    batch_group *g = c->g;
    c->seen = cellar_batch_default();
    wheel_timer *at = g->hand.items.next;
    for (; at != &g->hand.items && c->count < c->room; at = at->next) {
        batch_item *i = batch_item_of(at);
        c->items[c->count++] = (cellar_batch_item){ i->len != 0 ? i->bytes : NULL, i->len };
        c->seen.bytes += i->len;
        i->calls++;
        if (c->count == c->room) { i->cut = true; }
        if (i->cut) { break; }
    }
    c->seen.group = g->name + 1;
    c->seen.items = c->items;
    c->seen.item_count = c->count;
    c->seen.trigger = g->trigger;
    c->seen.attempt = g->failures + 1;
    g->tid = base_thread_id();
}

/* Return the time before the next attempt: full jitter below an exponential bound. */
static int64_t batch_backoff_ms(batch_group *g) SYNC_HOLDS(WHEEL)
{
    const cellar_batcher_config *c = &g->of->cfg;
    const int64_t most = work_backoff_ms(c->retry_base_ms, c->retry_cap_ms, g->failures);
    return 1 + (int64_t)base_rng_below(&g->of->rng, (uint64_t)most);
}

/* Cut a failed call into smaller ones. */
static void batch_cut(const batch_call *c) SYNC_HOLDS(WHEEL)
{
    const bool bisect = c->g->of->cfg.on_failure == CELLAR_BATCH_BISECT;
    wheel_timer *at = c->g->hand.items.next;
    for (uint32_t n = 1; n <= c->count; n++, at = at->next) {
        if (!bisect || n == c->count / 2 || n == c->count) { batch_item_of(at)->cut = true; }
    }
}

/* Give the items of a call their verdict, or make them part of another call. Return the number of
 * items that failed for good. */
static uint32_t batch_judge(const batch_call *c, int64_t now_ms) SYNC_HOLDS(WHEEL)
{
    batch_group *g = c->g;
    cellar_batcher *b = g->of;
    const cellar_batch_on_failure how = b->cfg.on_failure;
    b->count[STATS_BATCHER_CALLS]++;
    b->count[STATS_BATCHER_CALLS_FAILED] += c->err != CELLAR_OK;
    if (c->err != CELLAR_OK && how == CELLAR_BATCH_RETRY &&
        ++g->failures < b->cfg.max_attempts && !b->abandon) {
        g->retry_ms = base_add_sat(now_ms, batch_backoff_ms(g));
        b->count[STATS_BATCHER_RETRIES]++;
        return 0;
    }
    if (c->err != CELLAR_OK && how != CELLAR_BATCH_RETRY && c->count > 1 && !b->abandon) {
        b->count[STATS_BATCHER_SPLITS]++;
        batch_cut(c);
        return 0;
    }
    for (uint32_t n = 0; n < c->count; n++) {
        batch_finish(&g->hand, batch_first(&g->hand),
                     c->err == CELLAR_OK ? CELLAR_BATCH_OK : CELLAR_BATCH_FAILED, c->err);
    }
    g->failures = 0;
    g->retry_ms = 0;
    return c->err != CELLAR_OK ? c->count : 0;
}

static void batch_call_end(batch_call *c)
{
    cellar_batcher *b = c->g->of;
    const int64_t now_ms = base_now_ms(&b->obj.clock);
    sync_take(WHEEL, &b->lock);
    c->g->tid = 0;
    const uint32_t failed = batch_judge(c, now_ms);
    sync_drop(WHEEL, &b->lock);
    if (failed != 0) {
        base_log(&b->obj.log, BASE_LOG_WARNING, "batch", (int)c->err, "%u items of a batch failed",
                 failed);
    }
}

static void batch_flush_call(void *arg)
{
    batch_call *c = arg;
    c->err = c->g->of->flush(&c->seen, c->g->of->ctx);
}

static void batch_flush_left(void *arg)
{
    batch_call *c = arg;
    c->err = CELLAR_E_CANCELLED;
    batch_call_end(c);
    batch_end_job(c->g, true);
}

/* Take a batch if none is in hand. Return whether there is a call to make now. */
static bool batch_ready(batch_group *g, int64_t now_ms) SYNC_HOLDS(WHEEL)
{
    cellar_batcher *b = g->of;
    if (b->abandon) { batch_abandon(g); }
    if (g->hand.count == 0 && g->due != 0) { batch_take(g); }
    return g->hand.count != 0 && (g->retry_ms <= now_ms || b->draining);
}

static void batch_make_call(batch_group *g, int cancel)
{
    cellar_batcher *b = g->of;
    const int64_t now_ms = base_now_ms(&b->obj.clock);
    if (b->cfg.max_items > BATCH_FEW && g->array == NULL) {
        g->array = base_alloc(&b->obj.account, BASE_MOD_STORE,
                              b->cfg.max_items * sizeof g->array[0], NULL);
    }
    batch_call c = { .g = g, .items = g->array, .room = b->cfg.max_items };
    if (c.items == NULL) {
        c.items = c.few;
        c.room = BASE_MIN(c.room, BATCH_FEW);
    }
    sync_take(WHEEL, &b->lock);
    if (batch_ready(g, now_ms)) { batch_fill(&c); }
    sync_drop(WHEEL, &b->lock);
    if (c.count == 0) { return; }
    base_run_callback(batch_flush_call, batch_flush_left, &c, cancel);
    batch_call_end(&c);
}

CELLAR_PRIVATE void batch_run_job(void *batcher, base_job *j)
{
    batch_group *g = (batch_group *)(void *)j; /* its first field */
    (void)batcher;
    const int cancel = base_cancel_off();
    batch_deliver(g, cancel);
    batch_make_call(g, cancel);
    batch_deliver(g, cancel);
    batch_end_job(g, false);
    base_cancel_set(cancel);
}

CELLAR_PRIVATE bool batch_help(void *batcher)
{
    cellar_batcher *b = batcher;
    base_job *j = base_pool_help(&b->pool);
    if (j != NULL) { batch_run_job(b, j); }
    return j != NULL;
}

/* ---- time ---- */

CELLAR_PRIVATE void batch_fire(void *batcher, int64_t *next_ms)
{
    cellar_batcher *b = batcher;
    const int64_t now_ms = base_now_ms(&b->obj.clock);
    uint32_t budget = BATCH_SLICE;
    batch_after a;
    wheel_timer *t;
    batch_lock(b, &a);
    while ((t = wheel_pop(&b->wheel, now_ms, &budget)) != NULL) {
        batch_group *g = (batch_group *)(void *)((char *)t - offsetof(batch_group, timer));
        if (g->state == BATCH_IDLE) {
            batch_make_due(g, CELLAR_BATCH_BY_LINGER, &a);
        } else {
            batch_kick(g, &a);
        }
    }
    b->wake_ms = wheel_next_ms(&b->wheel);
    *next_ms = b->wake_ms != BASE_NEVER_MS ? BASE_MAX(b->wake_ms - now_ms, 1) : BASE_NEVER_MS;
    if (budget == 0) { *next_ms = 0; }
    batch_unlock(b, &a);
}

/* ---- add, flush, figures ---- */

static cellar_err batch_check(const cellar_batcher *b)
{
    return b == NULL ? CELLAR_E_INVAL : b->obj.forked ? CELLAR_E_FORKED : CELLAR_OK;
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

/* Put an item into its group. PENDING: it needs *spare, a group, which is NULL once used. LIMITED:
 * the batcher is full, and the caller may wait. */
static cellar_err batch_try(cellar_batcher *b, char *name, size_t name_len, batch_item *i,
                            batch_group **spare, int64_t now_ms, batch_after *a) SYNC_HOLDS(WHEEL)
{
    const uint64_t *v = b->count;
    if (b->draining) { return CELLAR_E_CLOSED; }
    if (v[STATS_BATCHER_ITEMS] >= b->cfg.queue_items ||
        i->len > b->cfg.queue_bytes - v[STATS_BATCHER_ITEM_BYTES]) {
        const bool never = b->cfg.on_full == CELLAR_BATCH_ERROR || b->obj.no_threads;
        return never ? CELLAR_E_BUSY : batch_is_mine(b) ? CELLAR_E_DEADLOCK : CELLAR_LIMITED;
    }
    uint64_t id;
    batch_group *g = batch_track(b, name, name_len, i, &id);
    if (g == NULL && *spare == NULL) { return CELLAR_PENDING; }
    const bool fresh = g == NULL;
    if (fresh) {
        g = *spare;
        g->name[0] = name[0];
        if (id != 0) { g->id = id; }
    }
    if (!batch_put(g, i, now_ms, a)) { return CELLAR_E_NOMEM; }
    if (fresh) { *spare = NULL; }
    return CELLAR_OK;
}

static cellar_err batch_add_item(cellar_batcher *b, char *name, size_t name_len, batch_item *i)
{
    batch_group *spare = NULL;
    uint64_t until_ns = 0;
    cellar_err err = CELLAR_PENDING;
    while (err == CELLAR_PENDING || err == CELLAR_LIMITED) {
        const int64_t now_ms = base_now_ms(&b->obj.clock);
        batch_after a;
        batch_lock(b, &a);
        const uint32_t ended = base_load_acq(&b->ended);
        err = batch_try(b, name, name_len, i, &spare, now_ms, &a);
        b->count[STATS_BATCHER_BLOCKED] += err == CELLAR_LIMITED && until_ns == 0;
        if (err == CELLAR_LIMITED && until_ns != 0 && base_now_ns() >= until_ns) {
            err = CELLAR_E_TIMEOUT;
        }
        b->count[STATS_BATCHER_REJECTED] +=
            err == CELLAR_E_TIMEOUT || err == CELLAR_E_BUSY || err == CELLAR_E_DEADLOCK;
        batch_unlock(b, &a);
        if (err == CELLAR_PENDING) {
            spare = batch_group_make(b, name, name_len);
            if (spare == NULL) { err = CELLAR_E_NOMEM; }
        } else if (err == CELLAR_LIMITED && until_ns == 0) { /* look once more, as a sleeper */
            until_ns = base_now_ns() + (uint64_t)b->cfg.block_timeout_ms * 1000000u;
            (void)base_add_ar(&b->sleepers, 1u);
        } else if (err == CELLAR_LIMITED) {
            (void)sync_wait(&b->ended, ended, until_ns);
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
