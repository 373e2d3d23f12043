/* SPDX-License-Identifier: MIT
 *
 * window: runs a batch of threads over one subject for some tens of milliseconds.
 *
 * PICTURE    main:    post job ----------- sleep window_ms ------ stop=1 ---- collect
 *            worker:  wake, pin -> arrive -> go -> 32 ops, look at stop, 32 ops, ... -> numbers
 * INVARIANTS a batch is 32 requests at a position that is a multiple of 32, so one word of the set
 *            mask belongs to one batch; every hit is verified; ops counts requests, also in batches
 *            (many 32 counts 32).
 * LOCKING    `lock` guards job, generation and done; the worker's numbers are its own until it has
 *            counted itself done. `arrived`, `go` and `stop` are atomics on lines of their own.
 * WALK       workers spin at the start line for at most the time the last one needs to wake, so no
 *            thread measures while another is still asleep; main sleeps and costs nothing.
 * LIMITS     A window counts as disturbed (dropped) above 5 % steal; when a thread was preempted
 *            more than twice and so waited for its CPU over 5 % of the window (more than twice
 *            where the kernel does not tell how long); or outside 0.6 to 1.5 of its length. Threads
 *            that share CPUs with each other are preempted by design: that rule is not theirs.
 * TRIED      Shared counters: 5-17 ns an operation. A clock reading per operation: 20 ns, as
 *            much as a hit. More than two switches alone: on an idle machine of two CPUs it
 *            dropped 1 % of the windows of one thread, 37 to 52 % of those of two, least for
 *            subjects with threads that sleep: uthash1, which waits in its mutex, lost 7 %. */
#include "bench/harness/window.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/harness/hist.h"
#include "bench/harness/host.h"
#include "bench/harness/verify.h"

#define WINDOW_BATCH 32
#define WINDOW_MANY_MAX 128
#define WINDOW_STEAL_MAX 0.05
#define WINDOW_PREEMPTED_MAX 2
#define WINDOW_WAITED_MAX 0.05

typedef struct window_worker {
    _Alignas(128) window_pool *pool;
    pthread_t thread;
    uint32_t index;
    int waited_fd;                       /* host_waited_open; -1 while the thread does not run */
    unsigned char *read_buf, *write_buf; /* grown by main between windows */
    size_t read_cap, write_cap;
    hist *latency;                       /* ticks; allocated by the first LATENCY job */
    uint64_t ops, gets, hits, sets, bad, errors, preempted, slept;
    uint64_t cpu_ns;     /* of the window alone */
    uint64_t awake_ns;   /* CPU from waking to the end: with the wait at the start line */
    uint64_t waited_ns;  /* of the window: able to run, but not running; UINT64_MAX: unknown */
    uint64_t start_ns, end_ns;
} window_worker;

struct window_pool {
    pthread_mutex_t lock;
    pthread_cond_t posted, finished;
    const window_job *job; /* valid while done < job->threads */
    uint64_t generation;   /* + 1 with each job */
    uint32_t done;
    uint32_t threads;
    bool quit;
    _Alignas(128) _Atomic uint32_t arrived; /* release by each worker, acquire by all at the line */
    _Alignas(128) _Atomic bool stop;        /* relaxed: a late look costs one batch */
    window_worker *workers;
};

static bool window_stopped(window_worker *w)
{
    return atomic_load_explicit(&w->pool->stop, memory_order_relaxed);
}

static void window_set(window_worker *w, const window_job *j, const unsigned char *key, uint64_t id)
{
    const size_t len = j->lengths[(uint32_t)id & j->length_mask];
    w->sets++;
    verify_stamp(w->write_buf, len, id);
    const int64_t ttl_ms = j->ttls != NULL ? j->ttls[id % WORKLOAD_TTLS] : j->ttl_ms;
    w->errors += j->subject->set(j->store, key, j->key_len, w->write_buf, len, ttl_ms) < 0;
    if (len > 8) {
        w->write_buf[len - 1] = VERIFY_FILL;
    }
}

/* Check the answer of a get; return true on a hit. */
static bool window_judge(window_worker *w, const window_job *j, int answer, const void *value,
                         size_t len, uint64_t id)
{
    if (answer == 1) {
        w->hits++;
        w->bad += !verify_value(value, len, id, j->lengths[(uint32_t)id & j->length_mask]);
        return true;
    }
    w->errors += answer < 0;
    return false;
}

/* Threads start at distant positions, so that two readers of one .ctr file do not follow each
 * other. */
static uint64_t window_first(const window_worker *w, const window_job *j)
{
    const uint64_t count = j->traces[w->index].count;
    return (j->position + (count / j->threads & ~UINT64_C(31)) * w->index) % count;
}

static uint64_t window_next(uint64_t position, const trace *t)
{
    position += WINDOW_BATCH;
    return position >= t->count ? 0 : position;
}

/* Deletes have bits of their own: a request is a set, a delete or a get. */
static uint32_t window_deletes(const window_worker *w, const window_job *j, uint64_t at)
{
    return j->del_masks != NULL ? j->del_masks[w->index][at / WINDOW_BATCH] : 0;
}

/* What the origin of a missed value takes: short ones by turning, long ones asleep. */
static void window_miss(const window_job *j)
{
    const uint64_t end = host_wall_ns() + j->miss_us * UINT64_C(1000);
    if (j->miss_us >= 100) {
        nanosleep(&(struct timespec){ j->miss_us / 1000000, (long)(j->miss_us % 1000000) * 1000 },
                  NULL);
    }
    while (host_wall_ns() < end) {
    }
}

/* Gets, sets and deletes of any share, and read-through. */
static void window_mix(window_worker *w, const window_job *j)
{
    const trace *t = &j->traces[w->index];
    const uint32_t *masks = j->set_masks[w->index];
    const bool readthrough = j->op == WORKLOAD_READTHROUGH;
    unsigned char key[VERIFY_KEY_MAX];
    for (uint64_t at = window_first(w, j); !window_stopped(w); at = window_next(at, t)) {
        uint32_t mask = masks[at / WINDOW_BATCH], deletes = window_deletes(w, j, at);
        w->gets += WINDOW_BATCH - (uint32_t)__builtin_popcount(mask | deletes);
        for (uint32_t i = 0; i < WINDOW_BATCH; i++, mask >>= 1, deletes >>= 1) {
            const uint64_t id = t->ids[at + i];
            size_t len = 0;
            verify_make_key(key, id, j->key_len);
            if (mask & 1) {
                window_set(w, j, key, id);
                continue;
            }
            if (deletes & 1) {
                w->errors += j->subject->del(j->store, key, j->key_len) < 0;
                continue;
            }
            const int answer = j->subject->get(j->store, key, j->key_len, w->read_buf,
                                               j->value_cap, &len);
            if (!window_judge(w, j, answer, w->read_buf, len, id) && readthrough) {
                if (j->miss_us > 0) { window_miss(j); }
                window_set(w, j, key, id);
            }
        }
        w->ops += WINDOW_BATCH;
    }
}

static void window_latency(window_worker *w, const window_job *j)
{
    const trace *t = &j->traces[w->index];
    const uint32_t *masks = j->set_masks[w->index];
    unsigned char key[VERIFY_KEY_MAX];
    hist_clear(w->latency);
    for (uint64_t at = window_first(w, j); !window_stopped(w); at = window_next(at, t)) {
        uint32_t mask = masks[at / WINDOW_BATCH], deletes = window_deletes(w, j, at);
        w->gets += WINDOW_BATCH - (uint32_t)__builtin_popcount(mask | deletes);
        for (uint32_t i = 0; i < WINDOW_BATCH; i++, mask >>= 1, deletes >>= 1) {
            const uint64_t id = t->ids[at + i];
            size_t len = 0;
            verify_make_key(key, id, j->key_len);
            if (mask & 1) {
                window_set(w, j, key, id);
                continue;
            }
            if (deletes & 1) {
                w->errors += j->subject->del(j->store, key, j->key_len) < 0;
                continue;
            }
            uint64_t start = j->through ? 0 : host_ticks();
            const int answer = j->subject->get(j->store, key, j->key_len, w->read_buf,
                                               j->value_cap, &len);
            if (!j->through) {
                hist_add(w->latency, host_ticks() - start);
            }
            if (!window_judge(w, j, answer, w->read_buf, len, id) && j->through) {
                start = host_ticks();
                window_set(w, j, key, id);
                hist_add(w->latency, host_ticks() - start);
            }
        }
        w->ops += WINDOW_BATCH;
    }
}

/* One call for `n` keys. An unwritten slot keeps its poison, so the claimed hits are compared with
 * verified values. */
static void window_many_call(window_worker *w, const window_job *j, const uint32_t *ids, uint32_t n)
{
    unsigned char keys[WINDOW_MANY_MAX][VERIFY_KEY_MAX];
    bench_key refs[WINDOW_MANY_MAX];
    const size_t stride = j->value_cap;
    const uint64_t poison = UINT64_MAX;
    uint32_t made = 0;
    do { /* n is at least 1 */
        verify_make_key(keys[made], ids[made], j->key_len);
        refs[made] = (bench_key){ keys[made], j->key_len };
        memcpy(w->read_buf + made * stride, &poison, 8);
    } while (++made < n);
    const size_t hits = j->subject->get_many(j->store, refs, n, w->read_buf, stride);
    uint64_t right = 0;
    for (uint32_t i = 0; i < n; i++) {
        const size_t len = j->lengths[ids[i] & j->length_mask];
        right += verify_value(w->read_buf + i * stride, len, ids[i], len);
    }
    w->hits += hits;
    w->bad += hits > right ? hits - right : right - hits;
}

static void window_many(window_worker *w, const window_job *j)
{
    const trace *t = &j->traces[w->index];
    for (uint64_t at = window_first(w, j); !window_stopped(w);) {
        uint32_t left = j->many > WINDOW_BATCH ? j->many : WINDOW_BATCH;
        w->gets += left;
        w->ops += left;
        at = at + left > t->count ? 0 : at;
        for (; left > 0; left -= j->many, at += j->many) {
            window_many_call(w, j, t->ids + at, j->many);
        }
        at = at >= t->count ? 0 : at;
    }
}

/* Check the first and last eight bytes in place. */
static void window_pin(window_worker *w, const window_job *j)
{
    const trace *t = &j->traces[w->index];
    unsigned char key[VERIFY_KEY_MAX];
    for (uint64_t at = window_first(w, j); !window_stopped(w); at = window_next(at, t)) {
        w->gets += WINDOW_BATCH;
        for (uint32_t i = 0; i < WINDOW_BATCH; i++) {
            const uint64_t id = t->ids[at + i];
            bench_pinned pinned;
            verify_make_key(key, id, j->key_len);
            const int answer = j->subject->pin(j->store, key, j->key_len, &pinned);
            if (window_judge(w, j, answer, pinned.value, pinned.value_len, id)) {
                j->subject->unpin(j->store, &pinned);
            }
        }
        w->ops += WINDOW_BATCH;
    }
}

static void window_work(window_worker *w, const window_job *j)
{
    w->ops = w->gets = w->hits = w->sets = w->bad = w->errors = 0;
    const uint64_t woken = host_thread_cpu_ns();
    host_pin(w->index);
    atomic_fetch_add_explicit(&w->pool->arrived, 1, memory_order_acq_rel);
    const bool crowd = j->threads > host_cpu_count();
    while (atomic_load_explicit(&w->pool->arrived, memory_order_acquire) < j->threads) {
        if (crowd) { sched_yield(); }
    }
    const uint64_t preempted = host_thread_preempted(), waited = host_waited_ns(w->waited_fd);
    const uint64_t slept = host_thread_slept();
    const uint64_t cpu = host_thread_cpu_ns();
    w->start_ns = host_wall_ns();
    switch (j->op) {
    case WORKLOAD_MIX:
    case WORKLOAD_READTHROUGH: window_mix(w, j); break;
    case WORKLOAD_LATENCY: window_latency(w, j); break;
    case WORKLOAD_MANY: window_many(w, j); break;
    case WORKLOAD_PIN: window_pin(w, j); break;
    }
    w->end_ns = host_wall_ns();
    const uint64_t cpu_end = host_thread_cpu_ns();
    w->cpu_ns = cpu_end - cpu;
    w->awake_ns = cpu_end - woken;
    w->preempted = host_thread_preempted() - preempted;
    w->slept = host_thread_slept() - slept;
    w->waited_ns = w->waited_fd >= 0 ? host_waited_ns(w->waited_fd) - waited : UINT64_MAX;
}

static void *window_thread(void *arg)
{
    window_worker *w = arg;
    window_pool *p = w->pool;
    uint64_t seen = 0;
    w->waited_fd = host_waited_open();
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (!p->quit && (p->generation == seen || p->job == NULL ||
                            w->index >= p->job->threads)) {
            seen = p->generation;
            pthread_cond_wait(&p->posted, &p->lock);
        }
        if (p->quit) {
            break;
        }
        seen = p->generation;
        const window_job *j = p->job;
        pthread_mutex_unlock(&p->lock);
        window_work(w, j);
        pthread_mutex_lock(&p->lock);
        if (++p->done == j->threads) {
            pthread_cond_signal(&p->finished);
        }
    }
    pthread_mutex_unlock(&p->lock);
    if (w->waited_fd >= 0) {
        close(w->waited_fd);
    }
    return NULL;
}

window_pool *window_pool_create(uint32_t threads)
{
    window_pool *p = aligned_alloc(128, sizeof *p);
    if (p == NULL) {
        return NULL;
    }
    memset(p, 0, sizeof *p);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->posted, NULL);
    pthread_cond_init(&p->finished, NULL);
    p->workers = aligned_alloc(128, threads * sizeof p->workers[0]);
    if (p->workers != NULL) {
        memset(p->workers, 0, threads * sizeof p->workers[0]);
    }
    for (; p->workers != NULL && p->threads < threads; p->threads++) {
        window_worker *w = &p->workers[p->threads];
        w->pool = p;
        w->waited_fd = -1;
        w->index = p->threads;
        if (pthread_create(&w->thread, NULL, window_thread, w) != 0) {
            break;
        }
    }
    if (p->threads < threads) {
        window_pool_destroy(p);
        return NULL;
    }
    return p;
}

void window_pool_destroy(window_pool *p)
{
    if (p == NULL) {
        return;
    }
    pthread_mutex_lock(&p->lock);
    p->quit = true;
    pthread_cond_broadcast(&p->posted);
    pthread_mutex_unlock(&p->lock);
    for (uint32_t i = 0; i < p->threads; i++) {
        pthread_join(p->workers[i].thread, NULL);
        free(p->workers[i].read_buf);
        free(p->workers[i].write_buf);
        free(p->workers[i].latency);
    }
    pthread_cond_destroy(&p->finished);
    pthread_cond_destroy(&p->posted);
    pthread_mutex_destroy(&p->lock);
    free(p->workers);
    free(p);
}

static bool window_grow(unsigned char **buf, size_t *cap, size_t want)
{
    if (*cap >= want) {
        return true;
    }
    unsigned char *fresh = aligned_alloc(64, (want + 63) & ~(size_t)63);
    if (fresh == NULL) {
        return false;
    }
    verify_fill(fresh, want);
    free(*buf);
    *buf = fresh;
    *cap = want;
    return true;
}

static bool window_prepare(window_pool *p, const window_job *j)
{
    const size_t slots = j->op == WORKLOAD_MANY ? j->many : 1;
    for (uint32_t i = 0; i < j->threads; i++) {
        window_worker *w = &p->workers[i];
        if (j->op == WORKLOAD_LATENCY && w->latency == NULL) {
            w->latency = malloc(sizeof *w->latency);
        }
        if (!window_grow(&w->read_buf, &w->read_cap, slots * j->value_cap + 64) ||
            !window_grow(&w->write_buf, &w->write_cap, j->value_cap + 64) ||
            (j->op == WORKLOAD_LATENCY && w->latency == NULL)) {
            return false;
        }
    }
    return true;
}

static void window_sleep_ms(uint32_t ms)
{
    struct timespec left = { ms / 1000, (long)(ms % 1000) * 1000000 };
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {
    }
}

void window_percentiles(const hist *h, double ns_per_unit, window_result *r)
{
    static const uint32_t per_million[4] = { 500000, 990000, 999000, 999900 };
    for (uint32_t i = 0; i < 4; i++) {
        r->p_ns[i] = (double)hist_percentile(h, per_million[i]) * ns_per_unit;
    }
}

const hist *window_histogram(const window_pool *p) { return p->workers[0].latency; }

void window_judge_noise(const host_steal *since, const window_job *j, window_result *r)
{
    const host_steal now = host_steal_now();
    const uint64_t total = now.total - since->total;
    r->steal_share = total > 0 ? (double)(now.steal - since->steal) / (double)total : 0;
    const uint64_t nominal = (uint64_t)j->window_ms * 1000000;
    const bool length = r->wall_ns > nominal * 3 / 2 || r->wall_ns < nominal * 3 / 5 || r->ops == 0;
    r->dropped = (r->steal_share > WINDOW_STEAL_MAX ? WINDOW_STOLEN : 0u) |
                 (r->preempted > WINDOW_PREEMPTED_MAX && j->threads <= host_cpu_count() &&
                          (double)r->waited_ns > WINDOW_WAITED_MAX * (double)r->wall_ns
                      ? WINDOW_SWITCHED : 0u) |
                 (length ? WINDOW_LENGTH : 0u);
}

/* Return the CPU time of the workers, with their waits for each other. */
static uint64_t window_collect(window_pool *p, const window_job *j, window_result *r)
{
    uint64_t start = UINT64_MAX, end = 0, awake = 0;
    for (uint32_t i = 0; i < j->threads; i++) {
        const window_worker *w = &p->workers[i];
        r->ops += w->ops;
        r->gets += w->gets;
        r->hits += w->hits;
        r->sets += w->sets;
        r->slept += w->slept;
        r->bad += w->bad;
        r->errors += w->errors;
        r->cpu_ns += w->cpu_ns;
        awake += w->awake_ns;
        r->preempted = w->preempted > r->preempted ? w->preempted : r->preempted;
        r->waited_ns = w->waited_ns > r->waited_ns ? w->waited_ns : r->waited_ns;
        start = w->start_ns < start ? w->start_ns : start;
        end = w->end_ns > end ? w->end_ns : end;
    }
    r->wall_ns = end - start;
    if (j->op == WORKLOAD_LATENCY) {
        for (uint32_t i = 1; i < j->threads; i++) {
            hist_merge(p->workers[0].latency, p->workers[i].latency);
        }
        window_percentiles(p->workers[0].latency, host_ns_per_tick(), r);
    }
    return awake;
}

bool window_run(window_pool *p, const window_job *j, window_result *r)
{
    memset(r, 0, sizeof *r);
    if (j->threads > p->threads || !window_prepare(p, j)) {
        return false;
    }
    host_ns_per_tick(); /* calibrates outside the window */
    const host_steal steal = host_steal_now();
    const uint64_t process_cpu = host_process_cpu_ns(), main_cpu = host_thread_cpu_ns();
    atomic_store(&p->arrived, 0);
    atomic_store(&p->stop, false);
    pthread_mutex_lock(&p->lock);
    p->job = j;
    p->done = 0;
    p->generation++;
    pthread_cond_broadcast(&p->posted);
    pthread_mutex_unlock(&p->lock);
    window_sleep_ms(j->window_ms);
    atomic_store_explicit(&p->stop, true, memory_order_relaxed);
    pthread_mutex_lock(&p->lock);
    while (p->done < j->threads) {
        pthread_cond_wait(&p->finished, &p->lock);
    }
    p->job = NULL;
    pthread_mutex_unlock(&p->lock);

    const uint64_t awake = window_collect(p, j, r);
    const uint64_t all = host_process_cpu_ns() - process_cpu;
    const uint64_t known = awake + (host_thread_cpu_ns() - main_cpu);
    r->bg_cpu_ns = all > known ? all - known : 0;
    window_judge_noise(&steal, j, r);
    return true;
}

double window_mops_wall(const window_result *r)
{
    return r->wall_ns > 0 ? (double)r->ops * 1e3 / (double)r->wall_ns : 0;
}

double window_mops_cpu(const window_result *r)
{
    return r->cpu_ns > 0 ? (double)r->ops * 1e3 / (double)r->cpu_ns : 0;
}
