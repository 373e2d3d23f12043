/* SPDX-License-Identifier: MIT
 *
 * warm: load many keys before they are requested; write to the source and the cache.
 *
 * PICTURE    keys or next() -> the calling thread fills chunks -> slots -> worker threads -> report
 *            threads 0: the calling thread loads the chunks itself
 * INVARIANTS Each key is counted once: hit, loaded, absent, failed or skipped. A slot goes EMPTY ->
 *            FULL (caller) -> EMPTY (worker). All threads are joined before the call returns. A
 *            thread that ends inside a loader or next() ends the call: its key has failed, the
 *            remaining keys are skipped.
 * LOCKING    None: a slot is one word, and the thread that moved it owns its chunk. Counters are
 *            atomic.
 * LIMITS     64 threads, 4,096 keys per chunk, two chunks per thread.
 * TIME       The clock of the process, not of the store: rates and timeouts are real time. */
#include "cache/load_int.h"

BASE_SIZE_BEGIN

#define CACHE_WARM_THREADS 64u
#define CACHE_WARM_BATCH 4096u

typedef struct cache_chunk {
    size_t count, done;      /* keys; keys already in the report */
    size_t bytes;            /* used bytes of data */
    bool begun;              /* true: being loaded */
    unsigned char *data;     /* keys, one after another */
    size_t data_bytes;       /* size of data, bytes */
    cellar_load_item *item;  /* `batch` items */
    cellar_result *result;   /* `batch` results, behind the items */
    size_t item_bytes;
} cache_chunk;

enum { CACHE_SLOT_EMPTY, CACHE_SLOT_FULL };

typedef struct cache_warm_slot {
    _Atomic uint32_t state; /* futex word; release when the chunk changes hands */
    cache_chunk chunk;
} cache_warm_slot;

typedef struct cache_warm_worker {
    base_thread thread;
    struct cache_warm *w;
    cache_warm_slot slot[2];
} cache_warm_worker;

typedef struct cache_warm {
    cellar *c;
    cellar_warm_opts o;
    cellar_load_opts load;
    base_alloc_hooks hooks;
    size_t batch;
    uint64_t since_ns;
    _Atomic uint64_t asked, hit, loaded, absent, failed, skipped; /* relaxed */
    _Atomic int32_t stopped;  /* why no more keys are taken; 0: go on */
    _Atomic uint32_t ends;    /* 1: no slot will be filled any more */
    cellar_err err;           /* written by the caller */
    uint32_t started;         /* written by the caller: threads to join */
    cache_warm_worker worker[CACHE_WARM_THREADS]; /* [0] has the one chunk if there are no
                                                   * threads */
} cache_warm;

/* ---- count and stop ---- */

static void cache_warm_count(cache_warm *w, cellar_err err, uint32_t source)
{
    _Atomic uint64_t *at = &w->failed;
    if (err == CELLAR_OK || err == CELLAR_STALE) {
        const bool own = source == CELLAR_SOURCE_LOADED || source == CELLAR_SOURCE_FALLBACK ||
                         source == CELLAR_SOURCE_DEFAULT;
        at = own ? &w->loaded : &w->hit;
    } else if (err == CELLAR_ABSENT) {
        at = &w->absent;
    }
    (void)base_add_rlx(at, (uint64_t)1);
}

static bool cache_warm_stop(cache_warm *w)
{
    if (base_load_acq(&w->stopped) != 0) { return true; }
    const uint64_t failed = base_load_rlx(&w->failed);
    const uint64_t done = failed + base_load_rlx(&w->hit) + base_load_rlx(&w->loaded) +
                          base_load_rlx(&w->absent);
    const base_account *a = &w->c->store->account;
    const uint64_t limit = base_load_rlx(&a->limit), used = base_load_rlx(&a->used);
    int32_t why = 0;
    if (w->o.timeout_ms != 0 &&
        (base_now_ns() - w->since_ns) / 1000000 >= (uint64_t)w->o.timeout_ms) {
        why = CELLAR_E_TIMEOUT;
    } else if (used / 100 >= limit / 100 * w->o.max_used_pct / 100) {
        why = CELLAR_E_SPACE;
    } else if (done >= 20 && failed * 100 > (uint64_t)w->o.max_failure_pct * done) {
        why = CELLAR_E_LOADER;
    } else if (cache_is_closed(w->c)) {
        why = CELLAR_E_CLOSED;
    }
    if (why != 0) { (void)base_cas_ar(&w->stopped, (int32_t)0, why); }
    return why != 0;
}

/* Sleep so that at most keys_per_s keys start per second. */
static void cache_warm_pace(const cache_warm *w, uint64_t asked)
{
    if (w->o.keys_per_s == 0) { return; }
    const uint64_t due_ns = w->since_ns + asked * (1000000000u / w->o.keys_per_s);
    const uint64_t now_ns = base_now_ns();
    if (due_ns > now_ns) { base_sleep_ns(BASE_MIN(due_ns - now_ns, (uint64_t)1000000000)); }
}

/* ---- chunks ---- */

static bool cache_chunk_make(cache_warm *w, cache_chunk *k)
{
    k->item_bytes = w->batch * (sizeof *k->item + sizeof *k->result);
    k->data_bytes = w->batch * 64 + CELLAR_KEY_MAX;
    k->item = base_alloc_raw(&w->hooks, k->item_bytes);
    if (k->item != NULL) { k->result = (cellar_result *)(void *)(k->item + w->batch); }
    k->data = base_alloc_raw(&w->hooks, k->data_bytes);
    return k->item != NULL && k->data != NULL;
}

static void cache_chunk_free(cache_warm *w, cache_chunk *k)
{
    if (k->item != NULL) { base_free_raw(&w->hooks, k->item, k->item_bytes); }
    if (k->data != NULL) { base_free_raw(&w->hooks, k->data, k->data_bytes); }
}

static bool cache_chunk_add(cache_warm *w, cache_chunk *k, const cellar_bytes *key)
{
    if (k->count == w->batch || key->len > k->data_bytes - k->bytes) { return false; }
    cellar_load_item *it = &k->item[k->count];
    memset(it, 0, sizeof *it);
    it->result = &k->result[k->count++];
    *it->result = cellar_result_default();
    memcpy(k->data + k->bytes, key->data, key->len);
    it->key = k->data + k->bytes;
    it->key_len = key->len;
    k->bytes += key->len;
    return true;
}

static void cache_chunk_load(cache_warm *w, cache_chunk *k)
{
    const cellar_load_opts *o = w->o.load != NULL ? &w->load : NULL;
    k->begun = true;
    if (cache_warm_stop(w)) {
        (void)base_add_rlx(&w->skipped, (uint64_t)k->count);
    } else if (w->o.loader_many != NULL) {
        const cellar_err err = cellar_get_or_load_many(w->c, k->item, k->count, o, w->o.loader_many,
                                                       w->o.loader_ctx);
        for (size_t i = 0; i < k->count; i++) {
            cellar_load_item *it = &k->item[i];
            cache_warm_count(w, err == CELLAR_OK ? it->status : err, it->result->source);
            cellar_result_free(it->result);
        }
    } else {
        for (size_t i = 0; i < k->count; i++, k->done++) {
            cellar_load_item *it = &k->item[i];
            const cellar_err err = cellar_get_or_load(w->c, it->key, it->key_len, o, w->o.loader,
                                                      w->o.loader_ctx, it->result);
            cache_warm_count(w, err, it->result->source);
            cellar_result_free(it->result);
        }
    }
    k->count = k->done = k->bytes = 0;
    k->begun = false;
}

/* Count the lost keys of a thread that ended inside the loader: its key, in bulk the whole
 * chunk. */
static void cache_chunk_left(cache_warm *w, cache_chunk *k)
{
    if (!k->begun) { return; }
    const size_t lost = w->o.loader_many != NULL ? k->count : 1;
    (void)base_add_rlx(&w->failed, (uint64_t)lost);
    k->done += lost;
}

/* ---- threads ---- */

static void cache_warm_turns(void *arg)
{
    cache_warm_worker *me = arg;
    for (;;) {
        /* Before the slots: this round finds what was filled before the flag was set. */
        const bool ends = base_load_acq(&me->w->ends) != 0;
        bool idle = true;
        for (uint32_t i = 0; i < 2; i++) {
            cache_warm_slot *s = &me->slot[i];
            if (base_load_acq(&s->state) != CACHE_SLOT_FULL) { continue; }
            cache_chunk_load(me->w, &s->chunk);
            base_store_rel(&s->state, (uint32_t)CACHE_SLOT_EMPTY);
            sync_wake(&s->state, INT32_MAX);
            idle = false;
        }
        if (idle && ends) { return; }
        if (idle) {
            (void)sync_wait(&me->slot[0].state, CACHE_SLOT_EMPTY, base_now_ns() + 2000000);
        }
    }
}

static void cache_warm_left(void *arg)
{
    cache_warm_worker *me = arg;
    (void)base_cas_ar(&me->w->stopped, (int32_t)0, (int32_t)CELLAR_E_LOADER);
    for (uint32_t i = 0; i < 2; i++) { cache_chunk_left(me->w, &me->slot[i].chunk); }
}

static void cache_warm_main(void *arg)
{
    const int cancel = base_cancel_off();
    base_callout(cache_warm_turns, cache_warm_left, arg, cancel);
}

static cache_warm_slot *cache_warm_slot_at(cache_warm *w, uint32_t i)
{
    return &w->worker[i / 2].slot[i % 2];
}

/* Wait for an empty slot. Return NULL after a stop: no thread may be left to empty one. */
static cache_warm_slot *cache_warm_slot_empty(cache_warm *w, uint32_t *turn)
{
    if (w->o.threads == 0) { return cache_warm_slot_at(w, 0); }
    while (base_load_acq(&w->stopped) == 0) {
        for (uint32_t i = 0; i < 2 * w->o.threads; i++) {
            cache_warm_slot *s = cache_warm_slot_at(w, (*turn + i) % (2 * w->o.threads));
            if (base_load_acq(&s->state) == CACHE_SLOT_EMPTY) {
                *turn = (*turn + i + 1) % (2 * w->o.threads);
                return s;
            }
        }
        (void)sync_wait(&cache_warm_slot_at(w, *turn)->state, CACHE_SLOT_FULL,
                        base_now_ns() + 2000000);
    }
    return NULL;
}

static void cache_warm_hand_over(cache_warm *w, cache_warm_slot *s)
{
    if (s == NULL || s->chunk.count == 0) { return; }
    if (w->o.threads == 0) {
        cache_chunk_load(w, &s->chunk);
        return;
    }
    base_store_rel(&s->state, (uint32_t)CACHE_SLOT_FULL);
    sync_wake(&s->state, INT32_MAX);
}

/* ---- the calling thread ---- */

static cellar_err cache_warm_next(cache_warm *w, size_t *at, cellar_bytes *key)
{
    cellar_err err = CELLAR_MISS;
    if (w->o.next != NULL) {
        err = w->o.next(key, w->o.next_ctx);
    } else if (*at < w->o.key_count) {
        *key = w->o.keys[(*at)++];
        err = CELLAR_OK;
    }
    if (err == CELLAR_OK && cache_key_bad(key->data, key->len)) { err = CELLAR_E_INVAL; }
    return err == CELLAR_OK || err == CELLAR_MISS || err < 0 ? err : CELLAR_E_INVAL;
}

static cellar_err cache_warm_feed(cache_warm *w)
{
    cache_warm_slot *s = NULL;
    uint32_t turn = 0;
    size_t at = 0;
    cellar_err err = CELLAR_OK;
    while (!cache_warm_stop(w)) {
        cellar_bytes key = { NULL, 0 };
        cache_warm_pace(w, base_load_rlx(&w->asked));
        err = cache_warm_next(w, &at, &key);
        if (err != CELLAR_OK) { break; }
        (void)base_add_rlx(&w->asked, (uint64_t)1);
        if (s == NULL) { s = cache_warm_slot_empty(w, &turn); }
        if (s != NULL && !cache_chunk_add(w, &s->chunk, &key)) {
            cache_warm_hand_over(w, s);
            s = cache_warm_slot_empty(w, &turn); /* an empty chunk takes any key */
            if (s != NULL) { (void)cache_chunk_add(w, &s->chunk, &key); }
        }
        if (s == NULL) {
            (void)base_add_rlx(&w->skipped, (uint64_t)1);
            break;
        }
        if (s->chunk.count == w->batch) {
            cache_warm_hand_over(w, s);
            s = NULL;
        }
    }
    cache_warm_hand_over(w, s);
    if (w->o.next == NULL && err == CELLAR_OK) { /* stopped: the remaining keys are counted, too */
        (void)base_add_rlx(&w->asked, (uint64_t)(w->o.key_count - at));
        (void)base_add_rlx(&w->skipped, (uint64_t)(w->o.key_count - at));
    }
    return err == CELLAR_MISS ? CELLAR_OK : err;
}

static uint32_t cache_warm_slots(const cache_warm *w)
{
    return w->o.threads == 0 ? 1 : 2 * w->o.threads;
}

static void cache_warm_run(void *arg)
{
    cache_warm *w = arg;
    for (uint32_t i = 0; i < cache_warm_slots(w) && w->err == CELLAR_OK; i++) {
        if (!cache_chunk_make(w, &cache_warm_slot_at(w, i)->chunk)) { w->err = CELLAR_E_NOMEM; }
    }
    while (w->err == CELLAR_OK && w->started < w->o.threads) {
        cache_warm_worker *worker = &w->worker[w->started];
        worker->w = w;
        if (base_thread_start(&worker->thread, cache_warm_main, worker, "cellar-warm") != 0) {
            w->err = CELLAR_E_NOMEM;
        } else {
            w->started++;
        }
    }
    if (w->err == CELLAR_OK) { w->err = cache_warm_feed(w); }
}

/* Join the threads and count the remaining keys as skipped. */
static void cache_warm_finish(cache_warm *w)
{
    base_store_rel(&w->ends, 1u);
    for (uint32_t i = 0; i < w->started; i++) { base_thread_join(&w->worker[i].thread); }
    for (uint32_t i = 0; i < cache_warm_slots(w); i++) {
        cache_chunk *k = &cache_warm_slot_at(w, i)->chunk;
        (void)base_add_rlx(&w->skipped, (uint64_t)(k->count - k->done));
        cache_chunk_free(w, k);
    }
}

/* Clean up after the calling thread ended inside next() or a load. */
static void cache_warm_caller_left(void *arg)
{
    cache_warm *w = arg;
    (void)base_cas_ar(&w->stopped, (int32_t)0, (int32_t)CELLAR_E_CANCELLED);
    const base_alloc_hooks hooks = w->hooks;
    cache_warm_finish(w);
    base_free_raw(&hooks, w, sizeof *w);
}

static const char *cache_warm_check(const cellar_warm_opts *o)
{
    if ((o->next != NULL) == (o->keys != NULL || o->key_count != 0)) {
        return "cellar_warm: set either keys and key_count, or next";
    }
    if (cache_items_bad(o->keys, o->key_count, sizeof *o->keys)) {
        return "cellar_warm: keys is NULL, or key_count is too large";
    }
    if (o->loader != NULL && o->loader_many != NULL) {
        return "cellar_warm: set loader or loader_many, not both";
    }
    if (o->threads > CACHE_WARM_THREADS || o->batch_keys > CACHE_WARM_BATCH ||
        o->max_failure_pct > 100 ||
        o->max_used_pct > 100 || o->timeout_ms < 0 || o->keys_per_s > 1000000000u ||
        (o->loader != NULL && o->batch_keys > 1)) {
        return "cellar_warm: a number is out of its range, see cellar_warm_opts";
    }
    return NULL;
}

CELLAR_API cellar_err cellar_warm(cellar *c, const cellar_warm_opts *o, cellar_warm_report *out)
{
    if (c == NULL || o == NULL || out == NULL) {
        return cache_fail(c, CELLAR_E_INVAL, 0,
                          "cellar_warm: c, options and report must not be NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    cellar_warm_report r = cellar_warm_report_default();
    cellar_err err = cache_opts_out(out, &r, sizeof r);
    if (err != CELLAR_OK) {
        return cache_fail(c, err, 0, "cellar_warm: start from cellar_warm_report_default()");
    }
    cellar_warm_opts full;
    err = cache_opts_in(&full, sizeof full, o);
    if (err != CELLAR_OK) {
        return cache_fail(c, err, 0, "cellar_warm: start from cellar_warm_opts_default()");
    }
    const char *why = full.reserved0 != 0 ? "cellar_warm: reserved0 must be 0"
                                          : cache_warm_check(&full);
    if (why != NULL) { return cache_fail(c, CELLAR_E_INVAL, 0, why); }
    cellar_load_opts load; /* bad options fail this call, not each key */
    cache_load_plan plan;
    const cellar_load_opts *given = full.load;
    if (given != NULL && (err = cache_load_plan_make(c, &given, &load, &plan)) != CELLAR_OK) {
        return err;
    }
    const base_alloc_hooks hooks = c->store->hooks;
    cache_warm *w = base_alloc_raw(&hooks, sizeof *w);
    if (w == NULL) { return cache_fail(c, CELLAR_E_NOMEM, 0, "cellar_warm: no memory"); }
    memset(w, 0, sizeof *w);
    w->c = c;
    w->o = full;
    w->hooks = hooks;
    w->since_ns = base_now_ns();
    w->batch = full.loader_many == NULL ? 1 : full.batch_keys != 0 ? full.batch_keys : 256;
    if (full.max_failure_pct == 0) { w->o.max_failure_pct = 100; }
    if (full.max_used_pct == 0) { w->o.max_used_pct = 90; }
    if (given != NULL) { w->load = *given; }
    const int cancel = base_cancel_off();
    base_callout(cache_warm_run, cache_warm_caller_left, w, cancel);
    cache_warm_finish(w);
    err = w->err;
    base_cancel_set(cancel);
    r.keys = base_load_rlx(&w->asked);
    r.hits = base_load_rlx(&w->hit);
    r.loaded = base_load_rlx(&w->loaded);
    r.absent = base_load_rlx(&w->absent);
    r.failed = base_load_rlx(&w->failed);
    r.skipped = base_load_rlx(&w->skipped);
    r.elapsed_ms = (base_now_ns() - w->since_ns) / 1000000;
    r.stopped = (cellar_err)base_load_rlx(&w->stopped);
    base_free_raw(&hooks, w, sizeof *w);
    (void)cache_opts_out(out, &r, sizeof r);
    return err == CELLAR_OK
               ? err : cache_fail(c, err, 0, "cellar_warm: ended early: next, memory or threads");
}

/* ---- write through ---- */

typedef struct cache_writing { /* one call of the writer */
    cellar *c;
    const void *key;
    size_t key_len;
    const void *value;
    size_t value_len;
    cellar_writer_fn fn;
    void *ctx;
    cellar_err err; /* result of the writer */
} cache_writing;

static void cache_writing_body(void *arg)
{
    cache_writing *w = arg;
    sync_assert_none();
    w->err = w->fn(w->key, w->key_len, w->value, w->value_len, w->ctx);
}

/* Add the key to the filter: the source may have it now, whatever the writer returned. */
static void cache_writing_over(const cache_writing *w)
{
    if (base_load_acq(&w->c->bloom) != NULL) { (void)cellar_bloom_add(w->c, w->key, w->key_len); }
}

/* Delete the key after the thread ended inside the writer, which may have succeeded. */
static void cache_writing_left(void *arg)
{
    const cache_writing *w = arg;
    cache_writing_over(w);
    (void)cellar_delete(w->c, w->key, w->key_len);
}

CELLAR_API cellar_err cellar_write_through(cellar *c, const void *key, size_t key_len,
                                           const void *value, size_t value_len,
                                           const cellar_set_opts *o, cellar_writer_fn fn, void *ctx)
{
    const uint32_t banned = CELLAR_ONLY_IF_ABSENT | CELLAR_ONLY_IF_PRESENT |
                            CELLAR_ONLY_IF_VERSION | CELLAR_NEGATIVE;
    if (c == NULL || fn == NULL || cache_key_bad(key, key_len) ||
        (value == NULL && value_len != 0)) {
        return cache_fail_key(c, "cellar_write_through", key, key_len,
                              "fn and value must not be NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    cache_plan plan; /* bad options are refused before the source is written */
    cellar_err err = cache_plan_make(c, o, banned, &plan);
    if (err != CELLAR_OK) { return err; }
    cache_writing w = { c, key, key_len, value, value_len, fn, ctx, CELLAR_OK };
    const int cancel = base_cancel_off();
    base_callout(cache_writing_body, cache_writing_left, &w, cancel);
    base_cancel_set(cancel);
    err = w.err;
    cache_writing_over(&w);
    if (err == CELLAR_OK) { err = cellar_set(c, key, key_len, value, value_len, o); }
    if (err != CELLAR_OK) { (void)cellar_delete(c, key, key_len); }
    return err;
}

BASE_SIZE_END
