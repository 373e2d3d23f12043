/* SPDX-License-Identifier: MIT
 *
 * ready: merges that meet in a status cache, an embedding batch with misses, the hottest keys.
 *
 * PICTURE    8 threads merge into one task at the same time  -> every merge takes effect
 *            48 texts, 32 of them stored, 8 twice            -> one loader call for 8 texts
 *            200,000 gets, 5 keys with 2 to 32 % of them     -> cellar_hot_keys names these 5
 * INVARIANTS The first run of each merge waits until all threads are in theirs: they all begin with
 *            the same value, so all but one have to merge again.
 * LOCKING    All counts that threads share are atomic.
 * LIMITS     8 threads with 64 KiB of stack; some 50 ms. */
#include "cli/ready.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "cellar.h"
#include "cellar_kit.h"
#include "cellar_observe.h"
#include "cli/cli.h"
#include "cli/walk.h"

#define READY_THREADS 8u
#define READY_MERGES 250u /* of a thread */
#define READY_DIM 64u
#define READY_PRESENT 32u
#define READY_TEXTS 48u
#define READY_DISTINCT 40u
#define READY_GETS 200000u
#define READY_KEYS 1000u

/* ---- status of one task ---- */

typedef struct ready_task {
    cellar_status *status;
    _Atomic uint32_t inside, started; /* started: UINT32_MAX until the number is known */
    _Atomic uint64_t runs, merges;
} ready_task;

typedef struct ready_merger {
    ready_task *task;
    bool met; /* the first run is over */
} ready_merger;

static cellar_err ready_add(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    ready_merger *m = ctx;
    uint64_t count;
    if (old_len != sizeof count) { return CELLAR_E_TYPE; }
    memcpy(&count, old, sizeof count);
    count++;
    atomic_fetch_add(&m->task->runs, 1);
    if (!m->met) {
        m->met = true;
        atomic_fetch_add(&m->task->inside, 1);
        while (atomic_load(&m->task->inside) < atomic_load(&m->task->started)) { sched_yield(); }
    }
    return cellar_buf_append(out, &count, sizeof count);
}

static void *ready_merge(void *arg)
{
    ready_merger m = { .task = arg };
    for (uint32_t i = 0; i < READY_MERGES; i++) {
        if (cellar_status_update(m.task->status, "task", 4, "success", ready_add, &m) ==
            CELLAR_OK) {
            atomic_fetch_add(&m.task->merges, 1);
        }
    }
    if (!m.met) { atomic_fetch_add(&m.task->inside, 1); } /* no run at all: the others go on */
    return NULL;
}

static bool ready_merges(ready_task *task)
{
    pthread_t thread[READY_THREADS];
    uint32_t started = 0;
    for (; started < READY_THREADS; started++) {
        if (pthread_create(&thread[started], NULL, ready_merge, task) != 0) { break; }
    }
    atomic_store(&task->started, started);
    for (uint32_t i = 0; i < started; i++) { pthread_join(thread[i], NULL); }
    return started == READY_THREADS;
}

static bool ready_status(cellar *c, ready_result *r)
{
    const uint64_t zero = 0;
    ready_task task = { .started = UINT32_MAX };
    if (cellar_status_open(c, NULL, NULL, &task.status) != CELLAR_OK) { return false; }
    bool fine = cellar_status_set(task.status, "task", 4, &zero, sizeof zero, "processing") ==
                CELLAR_OK;
    fine = fine && ready_merges(&task);
    r->threads = READY_THREADS;
    r->merges = atomic_load(&task.merges);
    r->runs = atomic_load(&task.runs);
    (void)cellar_status_get(task.status, "task", 4, &r->merged, sizeof r->merged, NULL, NULL);
    cellar_status_close(task.status);
    return fine;
}

/* ---- embeddings ---- */

typedef struct ready_texts {
    char bytes[READY_DISTINCT][16];
    cellar_bytes text[READY_TEXTS];
    float vector[READY_TEXTS][READY_DIM];
    cellar_err status[READY_TEXTS];
    uint64_t calls, loaded;
} ready_texts;

/* Compute the vector of a text: its bytes, over and over. */
static void ready_vector(const cellar_bytes *text, float out[READY_DIM])
{
    const unsigned char *p = text->data;
    for (uint32_t i = 0; i < READY_DIM; i++) { out[i] = (float)p[i % text->len] / 256.0f; }
}

static cellar_err ready_embed(cellar_embeddings_call *call, const cellar_bytes *texts, size_t count,
                              void *ctx)
{
    ready_texts *t = ctx;
    float vector[READY_DIM];
    cellar_err err = CELLAR_OK;
    t->calls++;
    t->loaded += count;
    for (size_t i = 0; i < count && err == CELLAR_OK; i++) {
        ready_vector(&texts[i], vector);
        err = cellar_embeddings_set(call, i, vector, READY_DIM);
    }
    return err;
}

static bool ready_batches(cellar_embeddings *e, ready_texts *t, ready_result *r)
{
    for (uint32_t i = 0; i < READY_TEXTS; i++) { /* the last texts are again those before them */
        const uint32_t n = i < READY_DISTINCT ? i : i - (READY_TEXTS - READY_DISTINCT);
        const int len = snprintf(t->bytes[n], sizeof t->bytes[n], "text %u", n);
        t->text[i] = (cellar_bytes){ t->bytes[n], (size_t)len };
    }
    if (cellar_embeddings_get_many(e, t->text, READY_PRESENT, ready_embed, t, t->vector[0],
                                   t->status) != CELLAR_OK) {
        return false;
    }
    t->calls = t->loaded = 0;
    if (cellar_embeddings_get_many(e, t->text, READY_TEXTS, ready_embed, t, t->vector[0],
                                   t->status) != CELLAR_OK) {
        return false;
    }
    r->texts = READY_TEXTS;
    r->present = READY_PRESENT;
    r->calls = t->calls;
    r->loaded = t->loaded;
    for (uint32_t i = 0; i < READY_TEXTS; i++) {
        float vector[READY_DIM];
        ready_vector(&t->text[i], vector);
        r->wrong += t->status[i] != CELLAR_OK || memcmp(vector, t->vector[i], sizeof vector) != 0;
    }
    return true;
}

static bool ready_embeddings(cellar *c, ready_result *r)
{
    static const char model[] = "bytes";
    ready_texts t = { .calls = 0 };
    cellar_embeddings *e;
    cellar_embeddings_opts o = cellar_embeddings_opts_default();
    o.model = (cellar_bytes){ model, sizeof model - 1 };
    o.dim = READY_DIM;
    if (cellar_embeddings_open(c, &o, &e) != CELLAR_OK) { return false; }
    const bool fine = ready_batches(e, &t, r);
    cellar_embeddings_close(e);
    return fine;
}

/* ---- hot keys ---- */

/* Write the key of get `i`: of 50 gets 16, 8, 4, 2 and 1 are of the hot keys, 19 of the others. */
static size_t ready_key(char key[16], uint32_t i)
{
    static const unsigned char end[READY_HOT] = { 16, 24, 28, 30, 31 };
    const uint32_t at = i % 50;
    for (uint32_t k = 0; k < READY_HOT; k++) {
        if (at < end[k]) { return (size_t)snprintf(key, 16, "hot:%u", k + 1); }
    }
    return (size_t)snprintf(key, 16, "other:%u", (i * 2654435761u >> 8) % READY_KEYS);
}

static bool ready_hot(cellar *c, ready_result *r)
{
    cellar_hot_key top[READY_HOT];
    size_t count = 0;
    for (uint32_t i = 0; i < READY_GETS; i++) {
        char key[16], buf[8];
        const size_t len = ready_key(key, i);
        (void)cellar_get(c, key, len, buf, sizeof buf, NULL);
    }
    r->gets = READY_GETS;
    r->keys = READY_KEYS + READY_HOT;
    if (cellar_hot_keys(c, CELLAR_SCOPE_NAMESPACE, top, READY_HOT, &count) != CELLAR_OK) {
        return false;
    }
    for (uint32_t k = 0; k < count; k++) {
        char key[16];
        snprintf(key, sizeof key, "hot:%u", k + 1);
        snprintf(r->hot[k], sizeof r->hot[k], "%.15s", top[k].key);
        r->share_ppm[k] = (uint32_t)(top[k].share * 1e6);
        r->hottest += strcmp(key, r->hot[k]) == 0;
    }
    return true;
}

static bool ready_parts(cellar *c, cellar *vectors, cellar *hot, ready_result *r)
{
    const uint64_t start_ns = cli_clock_ns();
    bool fine = ready_status(c, r);
    r->merge_ns = cli_clock_ns() - start_ns;
    fine = ready_embeddings(vectors, r) && fine;
    r->batch_ns = cli_clock_ns() - start_ns - r->merge_ns;
    fine = ready_hot(hot, r) && fine;
    r->hot_ns = cli_clock_ns() - start_ns - r->merge_ns - r->batch_ns;
    return fine;
}

bool ready_run(ready_result *r)
{
    cellar_config cfg = cellar_config_default();
    cellar *c = NULL, *vectors = NULL, *hot = NULL;
    memset(r, 0, sizeof *r);
    cfg.memory_bytes = (uint64_t)16 << 20;
    if (cellar_open(&cfg, &c) != CELLAR_OK) { return false; }
    const bool fine = cellar_namespace_open(c, "vectors", NULL, &vectors) == CELLAR_OK &&
                      cellar_namespace_open(c, "hot", NULL, &hot) == CELLAR_OK &&
                      ready_parts(c, vectors, hot, r);
    (void)cellar_close(vectors);
    (void)cellar_close(hot);
    (void)cellar_close(c);
    return fine;
}
