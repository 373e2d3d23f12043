/* SPDX-License-Identifier: MIT
 *
 * warm: load many keys before they are requested.
 *
 * PICTURE    keys or next() -> the calling thread fills chunks -> slots -> worker threads -> report
 *            threads 0: the calling thread loads the chunks itself
 * INVARIANTS Each key is counted once: hit, loaded, absent, failed or skipped. A slot goes EMPTY ->
 *            FULL (caller) -> EMPTY (worker). All threads are joined before the call returns. A
 *            thread that ends inside a loader or next() ends the call: its key has failed, the
 *            remaining keys are skipped.
 * LOCKING    None: a slot is one word, and the thread that moved it owns its chunk. Counters are
 *            atomic.
 * OWNS       One block, and two blocks per chunk, of the built-in allocator.
 * LIMITS     64 threads, 4,096 keys per chunk, two chunks per thread. The used share of the budget
 *            is read once in WARM_LOOKS looks.
 * TIME       The clock of the process, not of the store: rates and timeouts are real time. */
#include "cellar_warm.h"

#include <stddef.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/opts.h"
#include "base/sync.h"
#include "base/user_callback.h"
#include "cellar_observe.h"

BASE_SIZE_BEGIN

#define WARM_THREADS 64u
#define WARM_BATCH 4096u
#define WARM_LOOKS 16u /* a power of two */
#define WARM_CATCH_UP_NS 10000000u

/* Counters, in the order of cellar_warm_report. */
enum { WARM_KEYS, WARM_HITS, WARM_LOADED, WARM_ABSENT, WARM_FAILED, WARM_SKIPPED, WARM_COUNTS };

typedef struct warm_chunk {
    size_t count, done;      /* keys; keys already in the report */
    size_t bytes;            /* used bytes of data */
    bool begun;              /* true: being loaded */
    unsigned char *data;     /* keys, one after another */
    size_t data_bytes;       /* size of data, bytes */
    cellar_load_item *item;  /* `batch` items */
    cellar_result *result;   /* `batch` results, behind the items */
    size_t item_bytes;
} warm_chunk;

enum { WARM_SLOT_EMPTY, WARM_SLOT_FULL };

typedef struct warm_slot {
    _Atomic uint32_t state; /* futex word; release when the chunk changes hands */
    warm_chunk chunk;
} warm_slot;

typedef struct warm_worker {
    base_thread thread;
    struct warm_call *w;
    warm_slot slot[2];
} warm_worker;

typedef struct warm_call {
    cellar *c;
    cellar_warm_opts o;
    uint64_t since_ns;
    uint64_t due_ns;          /* written by the caller: start of the next key */
    _Atomic uint64_t count[WARM_COUNTS]; /* relaxed */
    _Atomic uint32_t looks;   /* calls of warm_stop */
    _Atomic int32_t stopped;  /* why no more keys are taken; 0: go on */
    _Atomic uint32_t ends;    /* 1: no slot will be filled any more */
    cellar_err err;           /* written by the caller */
    uint32_t started;         /* written by the caller: threads to join */
    warm_worker worker[WARM_THREADS]; /* [0] has the one chunk if there are no
                                                   * threads */
} warm_call;

/* ---- count and stop ---- */

static void warm_end(warm_call *w, cellar_err why)
{
    (void)base_cas_ar(&w->stopped, (int32_t)0, (int32_t)why);
}

static void warm_add(warm_call *w, unsigned counter, size_t n)
{
    (void)base_add_rlx(&w->count[counter], (uint64_t)n);
}

static void warm_count(warm_call *w, cellar_err err, uint32_t source)
{
    unsigned at = WARM_FAILED;
    if (err == CELLAR_OK || err == CELLAR_STALE) {
        const bool own = source == CELLAR_SOURCE_LOADED || source == CELLAR_SOURCE_FALLBACK ||
                         source == CELLAR_SOURCE_DEFAULT;
        at = own ? WARM_LOADED : WARM_HITS;
    } else if (err == CELLAR_ABSENT) {
        at = WARM_ABSENT;
    } else if (err == CELLAR_E_CLOSED) {
        warm_end(w, err);
    }
    warm_add(w, at, 1);
}

/* Return OK, E_SPACE if max_used_pct is reached, or E_CLOSED. */
static cellar_err warm_space(const warm_call *w)
{
    cellar_stats now = cellar_stats_default();
    const cellar_err err = cellar_stats_get(w->c, CELLAR_SCOPE_NAMESPACE, &now);
    if (err != CELLAR_OK) { return err; }
    return now.used_bytes / 100 >= now.budget_bytes / 100 * w->o.max_used_pct / 100
               ? CELLAR_E_SPACE : CELLAR_OK;
}

static bool warm_stop(warm_call *w)
{
    if (base_load_acq(&w->stopped) != 0) { return true; }
    const uint64_t failed = base_load_rlx(&w->count[WARM_FAILED]);
    uint64_t done = 0;
    for (unsigned i = WARM_HITS; i <= WARM_FAILED; i++) { done += base_load_rlx(&w->count[i]); }
    cellar_err why = CELLAR_OK;
    if (w->o.timeout_ms != 0 &&
        (base_now_ns() - w->since_ns) / 1000000 >= (uint64_t)w->o.timeout_ms) {
        why = CELLAR_E_TIMEOUT;
    } else if (done >= 20 && failed * 100 > (uint64_t)w->o.max_failure_pct * done) {
        why = CELLAR_E_LOADER;
    } else if ((base_add_rlx(&w->looks, 1u) & (WARM_LOOKS - 1)) == 0) {
        why = warm_space(w);
    }
    if (why != CELLAR_OK) { warm_end(w, why); }
    return why != CELLAR_OK;
}

/* Sleep so that at most keys_per_s keys start per second. After a slow load only the keys of its
 * last WARM_CATCH_UP_NS follow at once. */
static void warm_pace(warm_call *w)
{
    if (w->o.keys_per_s == 0) { return; }
    const uint64_t now_ns = base_now_ns();
    if (w->due_ns > now_ns) { base_sleep_ns(w->due_ns - now_ns); }
    w->due_ns = BASE_MAX(w->due_ns, now_ns - WARM_CATCH_UP_NS) + 1000000000u / w->o.keys_per_s;
}

/* ---- chunks ---- */

static bool warm_chunk_make(warm_call *w, warm_chunk *k)
{
    k->item_bytes = w->o.batch_keys * (sizeof *k->item + sizeof *k->result);
    k->data_bytes = w->o.batch_keys * 64 + CELLAR_KEY_MAX;
    k->item = base_alloc_raw(NULL, k->item_bytes);
    if (k->item != NULL) { k->result = (cellar_result *)(void *)(k->item + w->o.batch_keys); }
    k->data = base_alloc_raw(NULL, k->data_bytes);
    return k->item != NULL && k->data != NULL;
}

static void warm_chunk_free(warm_chunk *k)
{
    if (k->item != NULL) { base_free_raw(NULL, k->item, k->item_bytes); }
    if (k->data != NULL) { base_free_raw(NULL, k->data, k->data_bytes); }
}

static bool warm_chunk_add(warm_call *w, warm_chunk *k, const cellar_bytes *key)
{
    if (k->count == w->o.batch_keys || key->len > k->data_bytes - k->bytes) { return false; }
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

static void warm_chunk_load(warm_call *w, warm_chunk *k)
{
    const cellar_load_opts *o = w->o.load;
    k->begun = true;
    if (warm_stop(w)) {
        warm_add(w, WARM_SKIPPED, k->count);
    } else if (w->o.loader_many != NULL) {
        const cellar_err err = cellar_get_or_load_many(w->c, k->item, k->count, o, w->o.loader_many,
                                                       w->o.loader_ctx);
        for (size_t i = 0; i < k->count; i++) {
            cellar_load_item *it = &k->item[i];
            warm_count(w, err == CELLAR_OK ? it->status : err, it->result->source);
            cellar_result_free(it->result);
        }
    } else {
        for (size_t i = 0; i < k->count; i++, k->done++) {
            cellar_load_item *it = &k->item[i];
            const cellar_err err = cellar_get_or_load(w->c, it->key, it->key_len, o, w->o.loader,
                                                      w->o.loader_ctx, it->result);
            warm_count(w, err, it->result->source);
            cellar_result_free(it->result);
        }
    }
    k->count = k->done = k->bytes = 0;
    k->begun = false;
}

/* Count the lost keys of a thread that ended inside the loader: its key, in bulk the whole
 * chunk. */
static void warm_chunk_left(warm_call *w, warm_chunk *k)
{
    if (!k->begun) { return; }
    const size_t lost = w->o.loader_many != NULL ? k->count : 1;
    warm_add(w, WARM_FAILED, lost);
    k->done += lost;
}

/* ---- threads ---- */

static void warm_turns(void *arg)
{
    warm_worker *me = arg;
    for (;;) {
        /* Before the slots: this round finds what was filled before the flag was set. */
        const bool ends = base_load_acq(&me->w->ends) != 0;
        bool idle = true;
        for (uint32_t i = 0; i < 2; i++) {
            warm_slot *s = &me->slot[i];
            if (base_load_acq(&s->state) != WARM_SLOT_FULL) { continue; }
            warm_chunk_load(me->w, &s->chunk);
            base_store_rel(&s->state, (uint32_t)WARM_SLOT_EMPTY);
            sync_wake(&s->state, INT32_MAX);
            idle = false;
        }
        if (idle && ends) { return; }
        if (idle) {
            (void)sync_wait(&me->slot[0].state, WARM_SLOT_EMPTY, base_now_ns() + 2000000);
        }
    }
}

static void warm_left(void *arg)
{
    warm_worker *me = arg;
    warm_end(me->w, CELLAR_E_LOADER);
    for (uint32_t i = 0; i < 2; i++) { warm_chunk_left(me->w, &me->slot[i].chunk); }
}

static void warm_main(void *arg)
{
    const int cancel = base_cancel_off();
    base_run_callback(warm_turns, warm_left, arg, cancel);
}

static warm_slot *warm_slot_at(warm_call *w, uint32_t i)
{
    return &w->worker[i / 2].slot[i % 2];
}

/* Wait for an empty slot. Return NULL after a stop: no thread may be left to empty one. */
static warm_slot *warm_slot_empty(warm_call *w, uint32_t *turn)
{
    if (w->o.threads == 0) { return warm_slot_at(w, 0); }
    while (base_load_acq(&w->stopped) == 0) {
        for (uint32_t i = 0; i < 2 * w->o.threads; i++) {
            warm_slot *s = warm_slot_at(w, (*turn + i) % (2 * w->o.threads));
            if (base_load_acq(&s->state) == WARM_SLOT_EMPTY) {
                *turn = (*turn + i + 1) % (2 * w->o.threads);
                return s;
            }
        }
        (void)sync_wait(&warm_slot_at(w, *turn)->state, WARM_SLOT_FULL,
                        base_now_ns() + 2000000);
    }
    return NULL;
}

static void warm_hand_over(warm_call *w, warm_slot *s)
{
    if (s == NULL || s->chunk.count == 0) { return; }
    if (w->o.threads == 0) {
        warm_chunk_load(w, &s->chunk);
        return;
    }
    base_store_rel(&s->state, (uint32_t)WARM_SLOT_FULL);
    sync_wake(&s->state, INT32_MAX);
}

/* ---- the calling thread ---- */

static cellar_err warm_next(warm_call *w, size_t *at, cellar_bytes *key)
{
    cellar_err err = CELLAR_MISS;
    if (w->o.next != NULL) {
        err = w->o.next(key, w->o.next_ctx);
    } else if (*at < w->o.key_count) {
        *key = w->o.keys[(*at)++];
        err = CELLAR_OK;
    }
    if (err == CELLAR_OK && (key->data == NULL || key->len == 0 || key->len > CELLAR_KEY_MAX)) {
        err = CELLAR_E_INVAL;
    }
    return err == CELLAR_OK || err == CELLAR_MISS || err < 0 ? err : CELLAR_E_INVAL;
}

static cellar_err warm_feed(warm_call *w)
{
    warm_slot *s = NULL;
    uint32_t turn = 0;
    size_t at = 0;
    cellar_err err = CELLAR_OK;
    while (!warm_stop(w)) {
        cellar_bytes key = { NULL, 0 };
        warm_pace(w);
        err = warm_next(w, &at, &key);
        if (err != CELLAR_OK) { break; }
        warm_add(w, WARM_KEYS, 1);
        if (s == NULL) { s = warm_slot_empty(w, &turn); }
        if (s != NULL && !warm_chunk_add(w, &s->chunk, &key)) {
            warm_hand_over(w, s);
            s = warm_slot_empty(w, &turn); /* an empty chunk takes any key */
            if (s != NULL) { (void)warm_chunk_add(w, &s->chunk, &key); }
        }
        if (s == NULL) {
            warm_add(w, WARM_SKIPPED, 1);
            break;
        }
        if (s->chunk.count == w->o.batch_keys) {
            warm_hand_over(w, s);
            s = NULL;
        }
    }
    warm_hand_over(w, s);
    if (w->o.next == NULL && err == CELLAR_OK) { /* stopped: the remaining keys are counted, too */
        warm_add(w, WARM_KEYS, w->o.key_count - at);
        warm_add(w, WARM_SKIPPED, w->o.key_count - at);
    }
    return err == CELLAR_MISS ? CELLAR_OK : err;
}

static uint32_t warm_slots(const warm_call *w)
{
    return w->o.threads == 0 ? 1 : 2 * w->o.threads;
}

static void warm_run(void *arg)
{
    warm_call *w = arg;
    for (uint32_t i = 0; i < warm_slots(w) && w->err == CELLAR_OK; i++) {
        if (!warm_chunk_make(w, &warm_slot_at(w, i)->chunk)) { w->err = CELLAR_E_NOMEM; }
    }
    while (w->err == CELLAR_OK && w->started < w->o.threads) {
        warm_worker *worker = &w->worker[w->started];
        worker->w = w;
        if (base_thread_start(&worker->thread, warm_main, worker, "cellar-warm", 0) != 0) {
            w->err = CELLAR_E_NOMEM;
        } else {
            w->started++;
        }
    }
    if (w->err == CELLAR_OK) { w->err = warm_feed(w); }
}

/* Join the threads and count the remaining keys as skipped. */
static void warm_finish(warm_call *w)
{
    base_store_rel(&w->ends, 1u);
    for (uint32_t i = 0; i < w->started; i++) { base_thread_join(&w->worker[i].thread); }
    for (uint32_t i = 0; i < warm_slots(w); i++) {
        warm_chunk *k = &warm_slot_at(w, i)->chunk;
        warm_add(w, WARM_SKIPPED, k->count - k->done);
        warm_chunk_free(k);
    }
}

/* Clean up after the calling thread ended inside next() or a load. */
static void warm_caller_left(void *arg)
{
    warm_call *w = arg;
    warm_end(w, CELLAR_E_CANCELLED);
    warm_finish(w);
    base_free_raw(NULL, w, sizeof *w);
}

/* Read the options and set their defaults. */
static cellar_err warm_read(const cellar_warm_opts *from, cellar_warm_opts *o)
{
    const cellar_err err = base_opts_in(o, sizeof *o, from);
    if (err != CELLAR_OK) { return err; }
    const bool keys = o->keys != NULL || o->key_count != 0;
    if (o->reserved0 != 0 || (o->next != NULL) == keys || (keys && o->keys == NULL) ||
        o->key_count > SIZE_MAX / 2 / sizeof *o->keys ||
        (o->loader != NULL && (o->loader_many != NULL || o->batch_keys > 1)) ||
        o->threads > WARM_THREADS || o->batch_keys > WARM_BATCH || o->max_failure_pct > 100 ||
        o->max_used_pct > 100 || o->timeout_ms < 0 || o->keys_per_s > 1000000000u) {
        return CELLAR_E_INVAL;
    }
    if (o->loader_many == NULL) { o->batch_keys = 1; }
    if (o->batch_keys == 0) { o->batch_keys = 256; }
    if (o->max_failure_pct == 0) { o->max_failure_pct = 100; }
    if (o->max_used_pct == 0) { o->max_used_pct = 90; }
    return CELLAR_OK;
}

static cellar_err warm_no_keys(cellar_load *load, const cellar_bytes *keys, size_t key_count,
                               void *ctx)
{
    (void)load;
    (void)keys;
    (void)key_count;
    (void)ctx;
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_warm(cellar *c, const cellar_warm_opts *o, cellar_warm_report *out)
{
    if (c == NULL || o == NULL || out == NULL) { return CELLAR_E_INVAL; }
    cellar_warm_report r = cellar_warm_report_default();
    cellar_warm_opts full;
    cellar_err err = base_opts_out(out, &r, sizeof r);
    if (err == CELLAR_OK) { err = warm_read(o, &full); }
    if (err != CELLAR_OK) { return err; }
    /* A bulk load of no key: a closed handle and bad options fail this call, not each key. */
    err = cellar_get_or_load_many(c, NULL, 0, full.load, warm_no_keys, NULL);
    if (err != CELLAR_OK) { return err; }
    warm_call *w = base_alloc_raw(NULL, sizeof *w);
    if (w == NULL) { return CELLAR_E_NOMEM; }
    *w = (warm_call){ .c = c, .o = full, .since_ns = base_now_ns() };
    w->due_ns = w->since_ns;
    const int cancel = base_cancel_off();
    base_run_callback(warm_run, warm_caller_left, w, cancel);
    warm_finish(w);
    err = w->err;
    base_cancel_set(cancel);
    uint64_t count[WARM_COUNTS];
    for (unsigned i = 0; i < WARM_COUNTS; i++) { count[i] = base_load_rlx(&w->count[i]); }
    memcpy((char *)&r + offsetof(cellar_warm_report, keys), count, sizeof count);
    r.elapsed_ms = (base_now_ns() - w->since_ns) / 1000000;
    r.stopped = (cellar_err)base_load_rlx(&w->stopped);
    base_free_raw(NULL, w, sizeof *w);
    (void)base_opts_out(out, &r, sizeof r);
    return err;
}

BASE_SIZE_END
