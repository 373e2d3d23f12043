/* SPDX-License-Identifier: MIT
 *
 * kit_ready: the ready-made caches of cellar_kit.h.
 *
 * FIGURES    kit_vector_bytes  bytes of the JSON text of 1,536 floats / of the stored embedding
 *            kit_vector_read   reads of an embedding, key included / cellar_get of the JSON text
 *                              under a plain key and strtod of each number
 *            kit_llm_key       us for the key of a request with a prompt of 4 KiB
 *            kit_status_update merges a second of one id by 2 threads / by a mutex, uthash and two
 *                              copies (uthash1): a value of 128 bytes with a counter
 *            kit_hot_recall    share of the true 20 most read keys in the 20 of cellar_hot_keys:
 *                              32 M gets, zipf 0.99, 10^6 keys
 *            kit_hot_bytes     memory of that table, by cellar_dump_write
 * JSON       Numbers as JSON writers print a float: the shortest text that reads back as the same
 *            double; commas without spaces.
 * CHECKED    The counter of each status value is the number of merges; vectors are equal. */
#include "bench/suites/suite.h"

#if BENCH_HAVE_CELLAR
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "bench/harness/host.h"
#include "bench/harness/json.h"
#include "bench/harness/trace.h"
#include "bench/suites/kit.h"
#include "cellar_kit.h"
#include "cellar_observe.h"

/* ---- embeddings ---- */

#define READY_DIM 1536u
#define READY_READS 200u
#define READY_JSON (READY_DIM * 32u)
static const char ready_text[] = "a sentence of some length, as a program embeds it";

typedef struct ready_vectors {
    cellar *c;
    cellar_embeddings *e;
    float vector[READY_DIM], out[READY_DIM];
    char json[READY_JSON], read[READY_JSON];
    size_t json_len;
} ready_vectors;

static size_t ready_json(const float *vector, char *json)
{
    size_t at = 0;
    for (uint32_t i = 0; i < READY_DIM; i++) {
        const double x = (double)vector[i];
        int len = 0;
        for (int digits = 15; digits <= 17; digits++) {
            len = snprintf(json + at, READY_JSON - at, "%c%.*g", i == 0 ? '[' : ',', digits, x);
            if (strtod(json + at + 1, NULL) == x) { break; }
        }
        at += (size_t)len;
    }
    json[at++] = ']';
    json[at] = '\0';
    return at;
}

static cellar_err ready_embed(cellar_embeddings_call *call, const cellar_bytes *texts, size_t count,
                              void *ctx)
{
    ready_vectors *v = ctx;
    (void)texts;
    return count == 1 ? cellar_embeddings_set(call, 0, v->vector, READY_DIM) : CELLAR_E_LOADER;
}

static double ready_read_binary(void *ctx, uint64_t *bad)
{
    ready_vectors *v = ctx;
    const cellar_bytes text = { ready_text, sizeof ready_text - 1 };
    cellar_err status;
    const uint64_t from = host_thread_cpu_ns();
    for (uint32_t i = 0; i < READY_READS; i++) {
        *bad += cellar_embeddings_get_many(v->e, &text, 1, ready_embed, v, v->out, &status) !=
                    CELLAR_OK || status != CELLAR_OK;
    }
    const double ns = (double)(host_thread_cpu_ns() - from) / READY_READS;
    *bad += memcmp(v->out, v->vector, sizeof v->out) != 0;
    return ns;
}

static double ready_read_json(void *ctx, uint64_t *bad)
{
    ready_vectors *v = ctx;
    const uint64_t from = host_thread_cpu_ns();
    for (uint32_t i = 0; i < READY_READS; i++) {
        size_t len;
        *bad += cellar_get(v->c, ready_text, sizeof ready_text - 1, v->read, sizeof v->read,
                           &len) != CELLAR_OK;
        v->read[len] = '\0';
        char *at = v->read;
        for (uint32_t k = 0; k < READY_DIM; k++) { v->out[k] = (float)strtod(at + 1, &at); }
    }
    const double ns = (double)(host_thread_cpu_ns() - from) / READY_READS;
    *bad += memcmp(v->out, v->vector, sizeof v->out) != 0;
    return ns;
}

static bool ready_value_len(const cellar_scan_entry *e, void *ctx)
{
    *(double *)ctx = (double)e->value_len;
    return true;
}

static int ready_vectors_measure(ready_vectors *v, cellar *ns, uint32_t rounds)
{
    uint64_t bad = 0, cursor = 0, state = 5;
    double stored = 0;
    for (uint32_t i = 0; i < READY_DIM; i++) {
        v->vector[i] = (float)((double)trace_random(&state) / 0x1p64 - 0.5) / 10.0f;
    }
    v->json_len = ready_json(v->vector, v->json);
    bad += cellar_set(v->c, ready_text, sizeof ready_text - 1, v->json, v->json_len, NULL) !=
           CELLAR_OK;
    (void)ready_read_binary(v, &bad);
    do {
        bad += cellar_scan(ns, &cursor, NULL, ready_value_len, &stored) != CELLAR_OK;
    } while (cursor != 0);
    double smaller = (double)v->json_len / stored;
    return kit_say("vector1536", "kit_vector_bytes", NULL, &smaller, 1, bad) |
           kit_pair("vector1536", "kit_vector_read", KIT_RATIO, ready_read_binary, ready_read_json,
                    v, rounds);
}

static int ready_embeddings(uint32_t rounds)
{
    ready_vectors *v = calloc(1, sizeof *v);
    cellar *ns = NULL;
    cellar_embeddings_config o = cellar_embeddings_config_default();
    int status = CELL_WRONG;
    if (v == NULL) { return status; }
    o.model.data = "small";
    o.model.len = 5;
    o.dim = READY_DIM;
    v->c = kit_open(64ull << 20);
    if (v->c != NULL && cellar_namespace_open(v->c, "vectors", NULL, &ns) == CELLAR_OK &&
        cellar_embeddings_open(ns, &o, &v->e) == CELLAR_OK) {
        status = ready_vectors_measure(v, ns, rounds);
    }
    cellar_embeddings_close(v->e);
    cellar_namespace_close(ns);
    cellar_close(v->c);
    free(v);
    return status;
}

/* ---- keys of LLM requests ---- */

static int ready_llm_key(uint32_t rounds)
{
    static char prompt[4096];
    double us[SUITE_ROUNDS_MAX];
    uint64_t bad = 0;
    cellar_llm_request req = cellar_llm_request_default();
    const cellar_llm_param temperature = { "temperature", CELLAR_ARG(0.7) };
    memset(prompt, 'p', sizeof prompt);
    req.tenant = (cellar_bytes){ "credential", 10 };
    req.provider = (cellar_bytes){ "provider", 8 };
    req.model = (cellar_bytes){ "model-large", 11 };
    req.prompt = (cellar_bytes){ prompt, sizeof prompt };
    req.params = &temperature;
    req.param_count = 1;
    for (uint32_t n = 0; n < rounds; n++) {
        const uint64_t from = host_thread_cpu_ns();
        for (uint32_t i = 0; i < 1000; i++) {
            char key[CELLAR_KEY_BUILT_MAX];
            size_t len;
            memcpy(prompt, &i, sizeof i);
            bad += cellar_llm_key(&req, key, sizeof key, &len) != CELLAR_OK;
        }
        us[n] = (double)(host_thread_cpu_ns() - from) / 1e6;
    }
    return kit_say("prompt4k", "kit_llm_key", "cpu", us, rounds, bad);
}

/* ---- status of one task, two threads ---- */

#define READY_THREADS 2u
#define READY_TASK_LEN 128u

typedef struct ready_task { /* the usual way */
    UT_hash_handle hh;
    char id[KIT_KEY_LEN];
    unsigned char value[READY_TASK_LEN];
} ready_task;

typedef struct ready_status {
    cellar_status *ours;
    pthread_mutex_t lock; /* guards table */
    ready_task *table;
    char id[KIT_KEY_LEN];
} ready_status;

static void ready_raise(unsigned char *value)
{
    uint64_t n;
    memcpy(&n, value, sizeof n);
    n++;
    memcpy(value, &n, sizeof n);
}

static cellar_err ready_merge(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    void *value;
    (void)ctx;
    const cellar_err err = cellar_buf_resize(out, old_len, &value);
    if (err != CELLAR_OK || old_len != READY_TASK_LEN) { return CELLAR_E_TYPE; }
    memcpy(value, old, old_len);
    ready_raise(value);
    return CELLAR_OK;
}

static void ready_update_ours(ready_status *s)
{
    if (cellar_status_update(s->ours, s->id, sizeof s->id, "processing", ready_merge, NULL) !=
        CELLAR_OK) {
        abort();
    }
}

static void ready_update_usual(ready_status *s)
{
    unsigned char value[READY_TASK_LEN];
    ready_task *task;
    pthread_mutex_lock(&s->lock);
    HASH_FIND(hh, s->table, s->id, KIT_KEY_LEN, task);
    if (task == NULL) { abort(); }
    memcpy(value, task->value, sizeof value);
    ready_raise(value);
    memcpy(task->value, value, sizeof value);
    pthread_mutex_unlock(&s->lock);
}

typedef struct ready_worker {
    ready_status *status;
    void (*update)(ready_status *s);
    uint64_t until_ns, updates;
    uint32_t index;
} ready_worker;

static void *ready_work(void *arg)
{
    ready_worker *w = arg;
    host_pin(w->index);
    do {
        for (uint32_t i = 0; i < 64; i++) { w->update(w->status); }
        w->updates += 64;
    } while (host_wall_ns() < w->until_ns);
    return NULL;
}

/* Return millions of merges a second of both threads; add the merges to *updates. */
static double ready_window(ready_status *s, void (*update)(ready_status *), uint32_t window_ms,
                           uint64_t *updates)
{
    ready_worker w[READY_THREADS];
    pthread_t t[READY_THREADS];
    const uint64_t from = host_wall_ns();
    uint64_t sum = 0;
    for (uint32_t i = 0; i < READY_THREADS; i++) {
        w[i] = (ready_worker){ s, update, from + window_ms * UINT64_C(1000000), 0, i };
        if (pthread_create(&t[i], NULL, ready_work, &w[i]) != 0) { abort(); }
    }
    for (uint32_t i = 0; i < READY_THREADS; i++) {
        pthread_join(t[i], NULL);
        sum += w[i].updates;
    }
    *updates += sum;
    return (double)sum * 1e3 / (double)(host_wall_ns() - from);
}

static int ready_status_rounds(const cell_options *o, ready_status *s, ready_task *task)
{
    static double ours[SUITE_ROUNDS_MAX], ratio[SUITE_ROUNDS_MAX];
    const uint32_t rounds = o->rounds < SUITE_ROUNDS_MAX ? o->rounds : SUITE_ROUNDS_MAX;
    unsigned char value[READY_TASK_LEN] = { 0 };
    uint64_t merged[2] = { 0, 0 }, counted[2];
    const uint64_t c2c = host_c2c_ns();
    for (uint32_t n = 0; n < rounds; n++) {
        double usual = 0;
        for (uint32_t side = 0; side < 2; side++) {
            if ((side ^ (n & 1)) == 0) {
                ours[n] = ready_window(s, ready_update_ours, o->window_ms, &merged[0]);
            } else {
                usual = ready_window(s, ready_update_usual, o->window_ms, &merged[1]);
            }
        }
        ratio[n] = ours[n] / usual;
        host_beat();
    }
    if (cellar_status_get(s->ours, s->id, sizeof s->id, value, sizeof value, NULL, NULL) !=
        CELLAR_OK) {
        return CELL_WRONG;
    }
    memcpy(&counted[0], value, 8);
    memcpy(&counted[1], task->value, 8);
    if (memcmp(counted, merged, sizeof counted) != 0) { return CELL_WRONG; }
    suite_say_rate(&(suite_rate){
        .bench = "kit", .subject = "cellar", .workload = "one_id", .metric = "kit_status_update",
        .clock = "wall", .unit = "Mmerges", .threads = READY_THREADS, .rounds = rounds,
        .c2c_ns = c2c, .mops = ours, .vs = "uthash1", .ratio = ratio });
    return CELL_OK;
}

static int ready_one_id(const cell_options *o)
{
    static const unsigned char zero[READY_TASK_LEN];
    cellar *c = kit_open(64ull << 20);
    ready_status s = { .lock = PTHREAD_MUTEX_INITIALIZER };
    ready_task task = { .value = { 0 } };
    int status = CELL_WRONG;
    kit_key(s.id, "task", 7);
    memcpy(task.id, s.id, KIT_KEY_LEN);
    HASH_ADD(hh, s.table, id, KIT_KEY_LEN, &task);
    if (host_cpu_count() < READY_THREADS) {
        json_say("kit", "cellar", "one_id", "skip", "one processor");
        status = CELL_OK;
    } else if (c != NULL && s.table != NULL &&
               cellar_status_open(c, NULL, NULL, &s.ours) == CELLAR_OK &&
               cellar_status_set(s.ours, s.id, sizeof s.id, zero, sizeof zero, "processing") ==
                   CELLAR_OK) {
        status = ready_status_rounds(o, &s, &task);
    }
    HASH_CLEAR(hh, s.table);
    cellar_status_close(s.ours);
    cellar_close(c);
    return status;
}

/* ---- hot keys ---- */

#define READY_TOP 20u
#define READY_HOT_KEYS 1000000u
#define READY_HOT_OPS 8000000u
#define READY_HOT_TURNS 4u

/* Replace the counts of the 20 most requested ids by UINT32_MAX. */
static void ready_mark_top(uint32_t *count)
{
    for (uint32_t k = 0; k < READY_TOP; k++) {
        uint32_t best = 0, most = 0;
        for (uint32_t i = 0; i < READY_HOT_KEYS; i++) {
            if (count[i] == UINT32_MAX || count[i] < most) { continue; }
            best = i;
            most = count[i];
        }
        count[best] = UINT32_MAX;
    }
}

/* Return the share of the marked keys that cellar_hot_keys returns. */
static double ready_recall(cellar *c, const uint32_t *count, uint64_t *bad)
{
    cellar_hot_key top[READY_TOP];
    size_t n = 0;
    uint32_t found = 0;
    *bad += cellar_hot_keys(c, CELLAR_SCOPE_STORE, top, READY_TOP, &n) != CELLAR_OK;
    for (size_t i = 0; i < n; i++) {
        found += count[strtoul(top[i].key, NULL, 10) % READY_HOT_KEYS] == UINT32_MAX;
    }
    return (double)found / READY_TOP;
}

static double ready_hot_bytes(cellar *c)
{
    static char text[1 << 16];
    (void)cellar_dump_write(c, text, sizeof text, NULL);
    const char *line = strstr(text, "\n  hot ");
    return line != NULL ? strtod(line + 7, NULL) : 0;
}

/* One store, one sequence of requests: recall and memory. */
static bool ready_hot_round(uint64_t seed, double *recall, double *bytes, uint64_t *bad)
{
    trace_spec spec = { .kind = TRACE_ZIPF, .zipf_s = 0.99, .key_count = READY_HOT_KEYS,
                        .op_count = READY_HOT_OPS, .seed = seed };
    trace t = { 0 };
    char why[128], buf[8];
    uint32_t *count = calloc(READY_HOT_KEYS, sizeof *count);
    cellar *c = kit_open(256ull << 20);
    const bool ok = count != NULL && c != NULL && trace_make(&spec, 0, &t, why, sizeof why);
    for (uint64_t i = 0; ok && i < t.count * READY_HOT_TURNS; i++) {
        char key[KIT_KEY_LEN];
        const uint32_t id = t.ids[i % t.count];
        uint32_t rest = id;
        for (uint32_t k = KIT_KEY_LEN; k-- > 0; rest /= 10) { key[k] = (char)('0' + rest % 10); }
        count[id] += i < t.count;
        *bad += cellar_get(c, key, sizeof key, buf, sizeof buf, NULL) != CELLAR_MISS;
    }
    if (ok) {
        ready_mark_top(count);
        *recall = ready_recall(c, count, bad);
        *bytes = ready_hot_bytes(c);
    }
    trace_free(&t);
    free(count);
    cellar_close(c);
    return ok;
}

static int ready_hot(uint32_t rounds)
{
    double recall[SUITE_ROUNDS_MAX], bytes[SUITE_ROUNDS_MAX];
    uint64_t bad = 0;
    for (uint32_t n = 0; n < rounds; n++) {
        if (!ready_hot_round(n + 1, &recall[n], &bytes[n], &bad)) { return CELL_WRONG; }
        host_beat();
    }
    return kit_say("zipf1m", "kit_hot_recall", NULL, recall, rounds, bad) |
           kit_say("zipf1m", "kit_hot_bytes", NULL, bytes, rounds, bad);
}

int kit_ready_run(const cell_options *o)
{
    const uint32_t rounds = o->rounds < SUITE_ROUNDS_MAX ? o->rounds : SUITE_ROUNDS_MAX;
    return ready_embeddings(rounds) | ready_llm_key(rounds) | ready_one_id(o) |
           ready_hot(rounds < 5 ? rounds : 5);
}
#endif
