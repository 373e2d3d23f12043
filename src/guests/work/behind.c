/* SPDX-License-Identifier: MIT
 *
 * behind: the writes of a namespace go to their source in batches.
 *
 * PICTURE    set, delete -> the store, in write order of the key -> put: node of the key {newest}
 *            -> item of the batcher -> flush: {newest} becomes {running} -> function of the program
 *            -> done: {running} is freed, and the node if nothing is left
 * INVARIANTS A node has an item of the batcher that no call has taken if and only if it has
 *            `newest`. A later write of the key replaces `newest`. The batcher has one group, so
 *            there is one call at a time, and a key is in one call at most.
 * READS      The namespace has this queue as its tier: a read that misses memory, or a refresh,
 *            finds the write that waits. So no load brings the older value from the source. Past
 *            its deadline a write is not found; the end of such a write ends what a load stored
 *            meanwhile.
 * LOCKING    One lock, rank WHEEL, around nodes. A writer of the value holds a reference, so that
 *            readers copy it without the lock.
 * COMPLETION The store owns the queue and closes it, after the last call of the cache. A function
 *            that has not returned then keeps batcher and queue until the process ends (`left`):
 *            only the thread that runs it, which no call may join, could free them.
 * NOT HERE   what a disk tier does: entries that leave memory are not stored. */
#include <string.h>

#include "base/hash.h"
#include "base/num.h"
#include "base/open_error.h"
#include "base/random.h"
#include "base/service.h"
#include "base/sync.h"
#include "base/table.h"
#include "base/user_callback.h"
#include "cellar_batch.h"
#include "cellar_invalidate.h"
#include "cellar_tier.h"
#include "work/batch.h"

BASE_SIZE_BEGIN

#define BEHIND_OPEN "cellar_namespace_batch"
#define BEHIND_ABSENT_MS 1000 /* longest time that a read keeps the answer "deleted" */
#define BEHIND_QUEUE_BYTES (UINT64_C(64) << 20)
#define BEHIND_ITEMS 100u

typedef struct behind_value {
    uint32_t refs;       /* of the node, and of readers; guarded by the lock */
    uint32_t user_flags;
    bool deleted;
    int64_t deadline_ms, stale_ms;
    size_t len;
    uint32_t tag_count, cost;
    uint64_t tag_fp[];   /* the bytes of the value follow */
} behind_value;

typedef struct behind_node { /* a key with a write that has not ended */
    UT_hash_handle hh;
    behind_value *newest;    /* no call has taken it; NULL: none */
    behind_value *running;   /* of the call that runs, or of its next attempt; NULL: none */
    uint32_t items;          /* of the batcher with this node */
    uint32_t key_len;
    unsigned char key[];
} behind_node;

typedef struct behind {
    void *raw;               /* as allocated */
    const cellar_tier_host *host;
    cellar_batcher *batcher;
    bool ticks;              /* the batcher has no threads */
    bool left;               /* the store is closed, and a function has not returned: lock */
    uint32_t at_host;        /* threads that use `host`: lock */
    base_account account;    /* nodes and values; its limit is queue_bytes */
    base_hash_key hash_key;
    cellar_write_many_fn flush;
    cellar_write_failed_fn failed; /* or NULL */
    void *ctx;
    sync_lock lock;          /* rank WHEEL; guards the nodes */
    behind_node *nodes;      /* uthash by key */
    uint32_t room;
    cellar_write writes[];   /* of the call that runs; `room` of them */
} behind;

/* ---- values and nodes ---- */

static unsigned char *behind_at(behind_value *v)
{
    return (unsigned char *)(v->tag_fp + v->tag_count);
}

static size_t behind_value_size(const behind_value *v)
{
    return sizeof *v + v->tag_count * sizeof v->tag_fp[0] + v->len;
}

/* Copy a write; e NULL: a delete. */
static behind_value *behind_value_make(behind *w, const void *value, size_t len,
                                       const cellar_tier_entry *e, bool *full)
{
    const behind_value head = { .refs = 1, .deleted = e == NULL, .len = len,
                                .deadline_ms = e != NULL ? e->deadline_ms : BASE_NEVER_MS,
                                .stale_ms = e != NULL ? e->stale_ms : 0,
                                .user_flags = e != NULL ? e->user_flags : 0,
                                .cost = e != NULL ? e->cost : 0,
                                .tag_count = e != NULL ? e->tag_count : 0 };
    behind_value *v = base_alloc(&w->account, BASE_MOD_STORE, behind_value_size(&head), full);
    if (v == NULL) { return NULL; }
    *v = head;
    if (head.tag_count != 0) { memcpy(v->tag_fp, e->tag_fp, head.tag_count * sizeof e->tag_fp[0]); }
    if (len != 0) { memcpy(behind_at(v), value, len); }
    return v;
}

static void behind_value_drop(behind *w, behind_value *v)
{
    if (v == NULL) { return; }
    sync_take(WHEEL, &w->lock);
    const bool last = --v->refs == 0;
    sync_drop(WHEEL, &w->lock);
    if (last) { base_free(&w->account, BASE_MOD_STORE, v, behind_value_size(v)); }
}

static behind_node *behind_find(behind *w, const cellar_tier_key *k) SYNC_HOLDS(WHEEL)
{
    const unsigned hash = (unsigned)base_hash(&w->hash_key, 0, k->bytes, k->len);
    return BASE_TABLE_FIND(hh, w->nodes, k->bytes, k->len, hash);
}

static behind_node *behind_node_make(behind *w, const cellar_tier_key *k, bool *full)
{
    behind_node *n = base_alloc(&w->account, BASE_MOD_STORE, sizeof *n + k->len, full);
    if (n == NULL) { return NULL; }
    n->key_len = (uint32_t)k->len;
    memcpy(n->key, k->bytes, k->len);
    return n;
}

static void behind_node_free(behind *w, behind_node *n)
{
    if (n != NULL) { base_free(&w->account, BASE_MOD_STORE, n, sizeof *n + n->key_len); }
}

/* Put a node into the table. False: no memory. */
static bool behind_node_in(behind *w, behind_node *n) SYNC_HOLDS(WHEEL)
{
    BASE_TABLE_CHARGE(&w->account, BASE_MOD_STORE);
    const unsigned hash = (unsigned)base_hash(&w->hash_key, 0, n->key, n->key_len);
    BASE_TABLE_ADD(hh, w->nodes, n->key, n->key_len, hash, n);
    return n->hh.tbl != NULL;
}

/* Take one item off a node. Free the node if it was the last one. */
static void behind_item_end(behind *w, behind_node *n)
{
    BASE_TABLE_CHARGE(&w->account, BASE_MOD_STORE);
    sync_take(WHEEL, &w->lock);
    const bool last = --n->items == 0;
    if (last) { BASE_TABLE_REMOVE(hh, w->nodes, n); }
    sync_drop(WHEEL, &w->lock);
    if (!last) { return; }
    BASE_ASSERT(n->newest == NULL);
    BASE_ASSERT(n->running == NULL);
    behind_node_free(w, n);
}

/* ---- the functions of the batcher ---- */

static cellar_write behind_write_of(const behind_node *n, behind_value *v)
{
    return (cellar_write){ n->key, n->key_len, v->deleted ? NULL : behind_at(v), v->len,
                           v->user_flags, v->deleted };
}

static behind_node *behind_node_of(const void *item)
{
    behind_node *n;
    memcpy(&n, item, sizeof(n));
    return n;
}

static cellar_err behind_flush(const cellar_batch *batch, void *ctx)
{
    behind *w = ctx;
    sync_take(WHEEL, &w->lock);
    if (w->left) {
        sync_drop(WHEEL, &w->lock);
        return CELLAR_E_TIMEOUT;
    }
    for (size_t i = 0; i < batch->item_count; i++) {
        behind_node *n = behind_node_of(batch->items[i].data);
        if (n->running == NULL) { /* else this is another attempt */
            n->running = n->newest;
            n->newest = NULL;
        }
        w->writes[i] = behind_write_of(n, n->running);
    }
    sync_drop(WHEEL, &w->lock);
    return w->flush(w->writes, batch->item_count, w->ctx);
}

typedef struct behind_end { /* of one item; on the stack of the thread that ends it */
    behind *w;
    behind_node *n;
    behind_value *v;
    cellar_err err;
} behind_end;

static void behind_failed_call(void *arg)
{
    const behind_end *e = arg;
    const cellar_write write = behind_write_of(e->n, e->v);
    e->w->failed(&write, e->err, e->w->ctx);
}

static void behind_settle(void *arg)
{
    const behind_end *e = arg;
    behind_value_drop(e->w, e->v);
    behind_item_end(e->w, e->n);
}

/* Tell the program that the source lacks a write. */
static void behind_report(behind_end *e)
{
    if (e->w->failed == NULL) { return; }
    const int cancel = base_cancel_off();
    base_run_callback(behind_failed_call, behind_settle, e, cancel);
    base_cancel_set(cancel);
}

/* End a write while the store is open. The caller is counted in at_host. */
static void behind_ended(behind_end *e, bool newer)
{
    behind *w = e->w;
    const bool past = e->v->deadline_ms <= w->host->now_ms(w->host->ctx);
    if (!newer && (e->err != CELLAR_OK || past)) { /* memory and source differ, or may do so */
        w->host->changed(w->host->ctx, e->n->key, e->n->key_len);
    }
    sync_take(WHEEL, &w->lock);
    w->at_host--;
    sync_drop(WHEEL, &w->lock);
    if (e->err != CELLAR_OK) { behind_report(e); }
}

static void behind_done(const cellar_batch_result *r, void *ctx)
{
    behind *w = ctx;
    behind_end e = { w, behind_node_of(r->data), NULL, (cellar_err)r->err };
    if (r->verdict == CELLAR_BATCH_ABANDONED) { e.err = CELLAR_E_TIMEOUT; }
    sync_take(WHEEL, &w->lock);
    behind_value **from = e.n->running != NULL ? &e.n->running : &e.n->newest;
    e.v = *from;
    *from = NULL;
    const bool newer = e.n->newest != NULL, left = w->left;
    w->at_host += !left;
    sync_drop(WHEEL, &w->lock);
    if (!left) { behind_ended(&e, newer); }
    behind_settle(&e);
}

/* ---- the tier ---- */

static cellar_err behind_attached(void *ctx, const cellar_tier_host *host)
{
    behind *w = ctx;
    w->host = host;
    return CELLAR_OK;
}

static cellar_err behind_get(void *ctx, const cellar_tier_key *k, void *buf, size_t buf_cap,
                             size_t *value_len, cellar_tier_entry *e)
{
    behind *w = ctx;
    behind_value *v = NULL;
    sync_take(WHEEL, &w->lock);
    const behind_node *n = behind_find(w, k);
    if (n != NULL) { v = n->newest != NULL ? n->newest : n->running; }
    if (v != NULL) { v->refs++; }
    sync_drop(WHEEL, &w->lock);
    if (v == NULL) { return CELLAR_MISS; }
    const cellar_err err = v->deleted ? CELLAR_ABSENT
                           : v->len > buf_cap ? CELLAR_E_BUFFER : CELLAR_OK;
    *value_len = v->len;
    e->deadline_ms = v->deadline_ms;
    if (v->deleted) { e->deadline_ms = w->host->now_ms(w->host->ctx) + BEHIND_ABSENT_MS; }
    e->stale_ms = v->stale_ms;
    e->user_flags = v->user_flags;
    e->cost = v->cost;
    e->tag_count = v->tag_count;
    if (v->tag_count != 0) { memcpy(e->tag_fp, v->tag_fp, v->tag_count * sizeof v->tag_fp[0]); }
    if (err == CELLAR_OK && v->len != 0) { memcpy(buf, behind_at(v), v->len); }
    behind_value_drop(w, v);
    return err;
}

/* Give a value to the node of its key, which comes into the table if it is not there. *add: the
 * node needs an item. *full: queue_bytes is used up. Return NULL if no memory is left. */
static behind_node *behind_replace(behind *w, const cellar_tier_key *k, behind_value *v,
                                   behind_value **old, bool *add, bool *full)
{
    behind_node *spare = NULL;
    sync_take(WHEEL, &w->lock);
    behind_node *n = behind_find(w, k);
    if (n == NULL) { /* the ordered write of the key keeps other writers out */
        sync_drop(WHEEL, &w->lock);
        spare = behind_node_make(w, k, full);
        if (spare == NULL) { return NULL; }
        sync_take(WHEEL, &w->lock);
        n = behind_node_in(w, spare) ? spare : NULL;
    }
    if (n != NULL) {
        *old = n->newest;
        *add = *old == NULL;
        n->newest = v;
        n->items += *add;
    }
    sync_drop(WHEEL, &w->lock);
    if (n == NULL) { behind_node_free(w, spare); }
    return n;
}

/* Queue a write; e NULL: a delete. */
static cellar_err behind_write(behind *w, const cellar_tier_key *k, const void *value, size_t len,
                               const cellar_tier_entry *e)
{
    bool full = false, add = false;
    behind_value *old = NULL, *v = behind_value_make(w, value, len, e, &full);
    behind_node *n = v != NULL ? behind_replace(w, k, v, &old, &add, &full) : NULL;
    if (n == NULL) {
        behind_value_drop(w, v);
        return full ? CELLAR_E_BUSY : CELLAR_E_NOMEM;
    }
    behind_value_drop(w, old);
    if (!add) { return CELLAR_OK; }
    cellar_batch_add_opts o = { .struct_size = sizeof o, .done = behind_done, .done_ctx = w };
    const cellar_err err = cellar_batch_add(w->batcher, "", &n, sizeof(n), &o);
    if (err != CELLAR_OK) {
        sync_take(WHEEL, &w->lock);
        n->newest = NULL;
        sync_drop(WHEEL, &w->lock);
        behind_value_drop(w, v);
        behind_item_end(w, n);
    }
    return err;
}

static cellar_err behind_put(void *ctx, const cellar_tier_key *k, const void *value,
                             size_t value_len, cellar_tier_entry *e)
{
    return behind_write(ctx, k, value, value_len, e);
}

static cellar_err behind_remove(void *ctx, const cellar_tier_key *k, const cellar_tier_entry *e)
{
    (void)e; /* a queue is asked for no state of a key */
    return behind_write(ctx, k, NULL, 0, NULL);
}

static bool behind_tick(void *ctx, uint64_t budget_us)
{
    const behind *w = ctx;
    return w->ticks && cellar_tick(w->batcher, budget_us, NULL) == CELLAR_PENDING;
}

static size_t behind_bytes(uint32_t room)
{
    return sizeof(behind) + room * sizeof(cellar_write) + BASE_PAD;
}

static void behind_free(behind *w)
{
    const base_alloc_hooks hooks = w->account.hooks;
    BASE_ASSERT(w->nodes == NULL);
    base_free_raw(&hooks, w->raw, behind_bytes(w->room));
}

/* Leave a function of the program that has not returned: report the writes that wait, and use
 * neither host nor functions again. The thread of that function may still end its items. */
static void behind_leave(behind *w)
{
    batch_stop(w->batcher);
    base_log(&w->batcher->obj.log, BASE_LOG_WARNING, "batch", (int)CELLAR_E_TIMEOUT,
             "a function has not returned at the close: the writes that wait fail");
    sync_take(WHEEL, &w->lock);
    w->left = true;
    while (w->at_host != 0) {
        sync_drop(WHEEL, &w->lock);
        base_yield();
        sync_take(WHEEL, &w->lock);
    }
    behind_node *n = w->nodes;
    if (n != NULL) { n->items++; } /* the walk holds its node */
    while (n != NULL) {
        behind_end e = { w, n, n->newest, CELLAR_E_TIMEOUT };
        n->newest = NULL;
        sync_drop(WHEEL, &w->lock);
        if (e.v != NULL) { behind_report(&e); }
        sync_take(WHEEL, &w->lock);
        n = n->hh.next;
        if (n != NULL) { n->items++; }
        sync_drop(WHEEL, &w->lock);
        behind_settle(&e);
        sync_take(WHEEL, &w->lock);
    }
    sync_drop(WHEEL, &w->lock);
}

static void behind_close(void *ctx, int64_t deadline_ms)
{
    behind *w = ctx;
    (void)deadline_ms; /* the batcher has a time of its own */
    if (cellar_batcher_close(w->batcher, NULL) == CELLAR_OK) {
        behind_free(w);
    } else {
        behind_leave(w);
    }
}

/* ---- the public call ---- */

/* Make the queue. NULL: no memory, or no random bytes. */
static behind *behind_make(const cellar_batcher_config *cfg, const cellar_host_config *host)
{
    unsigned char secret[32];
    const base_alloc_hooks hooks = { .alloc = host->alloc, .free = host->free,
                                     .ctx = host->alloc_ctx };
    const uint32_t room = cfg->max_items != 0 ? cfg->max_items : BEHIND_ITEMS;
    void *raw = base_random_bytes(secret, sizeof secret)
                    ? base_alloc_raw(&hooks, behind_bytes(room)) : NULL;
    if (raw == NULL) { return NULL; }
    behind *w = (void *)(uintptr_t)base_round_up((uintptr_t)raw, BASE_PAD);
    *w = (behind){ .raw = raw, .room = room };
    base_hash_key_init(&w->hash_key, BASE_HASH_FOLD, secret);
    base_account_init(&w->account,
                      cfg->queue_bytes != 0 ? cfg->queue_bytes : BEHIND_QUEUE_BYTES, &hooks);
    w->ticks = host->no_threads != 0; /* with threads a full queue empties without help */
    return w;
}

CELLAR_API cellar_err cellar_namespace_batch(cellar *ns, const cellar_batcher_config *cfg,
                                             cellar_write_many_fn flush,
                                             cellar_write_failed_fn failed, void *ctx,
                                             cellar_batcher **out)
{
    cellar_batcher_config full;
    cellar_host_config host;
    if (out != NULL) { *out = NULL; }
    if (ns == NULL || flush == NULL) {
        return base_refuse(CELLAR_E_INVAL, BEHIND_OPEN, "ns and flush must not be NULL");
    }
    cellar_err err = BASE_CONFIG_IN(cellar_batcher_config, &full, cfg, &host, BEHIND_OPEN,
                                    "batcher", NULL, 0);
    if (err != CELLAR_OK) { return err; }
    if (full.max_items > CELLAR_BATCH_ITEMS_MAX) {
        return base_refuse(CELLAR_E_INVAL, BEHIND_OPEN, "max_items must be at most 65,536");
    }
    behind *w = behind_make(&full, &host);
    if (w == NULL) {
        return base_refuse(CELLAR_E_NOMEM, BEHIND_OPEN, "no memory, or no random bytes");
    }
    w->flush = flush;
    w->failed = failed;
    w->ctx = ctx;
    full.max_bytes = full.queue_bytes = 0; /* the items are pointers */
    full.on_full = CELLAR_BATCH_ERROR; /* the cache waits, and lets other keys pass */
    full.parallel = 1;
    err = cellar_batcher_open(&full, behind_flush, w, &w->batcher);
    const cellar_tier_table t = { .struct_size = sizeof t, .ctx = w, .attached = behind_attached,
                                  .get = behind_get, .put = behind_put, .remove = behind_remove,
                                  .tick = behind_tick, .close = behind_close };
    if (err == CELLAR_OK) { err = cellar_tier_attach(ns, &t); }
    if (err == CELLAR_OK) { /* the store closes it */
        if (out != NULL) { *out = w->batcher; }
        return CELLAR_OK;
    }
    if (w->batcher != NULL) {
        (void)cellar_batcher_close(w->batcher, NULL);
        (void)base_refuse(err, BEHIND_OPEN, "the namespace has a disk tier or a batcher, the store "
                          "has four tiers, or no memory is left");
    }
    behind_free(w);
    return err;
}

BASE_SIZE_END
