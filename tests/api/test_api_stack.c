/* SPDX-License-Identifier: MIT
 *
 * Aim:    The threads of the library have the default stack of the process, or host.stack_bytes,
 *         and start beside any thread-local data of the program.
 * Method: This program has 256 KiB of thread-local data. A callback on each kind of thread notes
 *         how much stack there is, and uses 300 KiB where the stack has at least 1 MiB. */
#include "tests/support/bus_send.h"
#include "tests/support/load_kit.h"
#include "tests/support/schedule_kit.h"

#include "cellar_batch.h"
#include "cellar_bus.h"
#include "cellar_refresh.h"
#include "cellar_schedule.h"
#include "cellar_task.h"

static _Thread_local volatile unsigned char stack_local[256 << 10];

typedef struct stack_seen {
    bool shallow; /* the stack may have 256 KiB */
    _Atomic uint32_t calls;
    _Atomic size_t least, most; /* bytes of the stacks */
} stack_seen;

__attribute__((noinline)) static void stack_use_deep(void)
{
    volatile unsigned char deep[300 << 10];
    for (size_t i = 0; i < sizeof deep; i += 4096) { deep[i] = 1; }
    stack_local[0] = deep[4096];
}

static void stack_use(void *seen)
{
    stack_seen *s = seen;
    pthread_attr_t attr;
    size_t bytes = 0;
    if (!s->shallow) { stack_use_deep(); }
    stack_local[sizeof stack_local - 1] = 1;
    T_REQUIRE(pthread_getattr_np(pthread_self(), &attr) == 0);
    T_CHECK(pthread_attr_getstacksize(&attr, &bytes) == 0);
    pthread_attr_destroy(&attr);
    for (size_t old = atomic_load(&s->least);
         (old == 0 || bytes < old) && !atomic_compare_exchange_weak(&s->least, &old, bytes);) { }
    for (size_t old = atomic_load(&s->most);
         bytes > old && !atomic_compare_exchange_weak(&s->most, &old, bytes);) { }
    atomic_fetch_add(&s->calls, 1);
}

static cellar_err stack_load(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len;
    stack_use(ctx);
    return cellar_load_value(load, "v", 1);
}

static cellar_verdict stack_task(const cellar_task *task, void *ctx)
{
    (void)task;
    stack_use(ctx);
    return cellar_verdict_ok();
}

static cellar_err stack_flush(const cellar_batch *batch, void *ctx)
{
    (void)batch;
    stack_use(ctx);
    return CELLAR_OK;
}

static void stack_job(const cellar_task *t, void *ctx) { (void)t; stack_use(ctx); }

static void stack_wait(const stack_seen *s, uint32_t calls)
{
    while (atomic_load(&s->calls) < calls) { kit_nap(); }
}

/* Run a callback on each kind of thread. */
static void stack_all(const cellar_host_config *host, stack_seen *s)
{
    cellar_config cfg = cellar_config_default();
    cellar *c;
    cfg.host = host;
    T_REQUIRE(cellar_open(&cfg, &c) == CELLAR_OK);

    cellar_pool *p;
    cellar_pool_config pool = { .struct_size = sizeof pool, .host = host };
    T_REQUIRE(cellar_pool_open(&pool, &p) == CELLAR_OK);
    T_EQ_I64(cellar_refresh_loader(p, c, "load", stack_load, s, NULL), CELLAR_OK);
    T_EQ_I64(cellar_refresh_add(p, c, "key", 3, "load", 1, NULL), CELLAR_OK);
    stack_wait(s, 1);
    T_EQ_I64(schedule_every(p, "job", 3600000, stack_job, s, NULL), CELLAR_OK);
    const uint32_t before = atomic_load(&s->calls);
    T_EQ_I64(cellar_schedule_trigger(p, "job"), CELLAR_OK);
    stack_wait(s, before + 1);
    T_EQ_I64(cellar_task_register(p, "task", stack_task, s, NULL), CELLAR_OK);
    T_EQ_I64(cellar_task_submit(p, "task", "", 0, NULL, NULL), CELLAR_OK);
    T_EQ_I64(cellar_bus_group_add(p, "queue", NULL, stack_task, s, NULL), CELLAR_OK);
    T_EQ_I64(bus_send(p, "queue", "m", 1, NULL), CELLAR_OK);
    T_EQ_I64(cellar_pool_drain(p, CELLAR_DRAIN_ALL, INT32_MAX, NULL), CELLAR_OK);
    T_EQ_I64(cellar_pool_close(p), CELLAR_OK);

    cellar_batcher *b;
    cellar_batcher_config batch = { .struct_size = sizeof batch, .host = host };
    T_REQUIRE(cellar_batcher_open(&batch, stack_flush, s, &b) == CELLAR_OK);
    T_EQ_I64(cellar_batch_add(b, "group", "item", 4, NULL), CELLAR_OK);
    T_EQ_I64(cellar_batcher_close(b, NULL), CELLAR_OK);

    T_CHECK(atomic_load(&s->calls) >= 5);
    cellar_close(c);
}

T_CASE(threads_with_callbacks_have_the_default_stack)
{
    stack_seen s = { 0 };
    pthread_attr_t attr;
    size_t bytes = 0;
    T_REQUIRE(pthread_attr_init(&attr) == 0 && pthread_attr_getstacksize(&attr, &bytes) == 0);
    pthread_attr_destroy(&attr);
    cellar *c;
    cellar_bytes key = { "key", 3 };
    cellar_warm_opts warm = cellar_warm_opts_default();
    cellar_warm_report report = cellar_warm_report_default();
    warm.keys = &key, warm.key_count = 1, warm.loader = stack_load, warm.loader_ctx = &s;
    warm.threads = 1;
    stack_all(NULL, &s);
    T_REQUIRE(cellar_open(NULL, &c) == CELLAR_OK);
    T_EQ_I64(cellar_warm(c, &warm, &report), CELLAR_OK);
    T_AFTER_U64(cellar_close(c), report.loaded, 1);
    T_CHECK(atomic_load(&s.least) >= bytes / 8 * 7); /* the guard is not counted */
}

T_CASE(stack_bytes_set_the_stack_of_each_thread)
{
    stack_seen s = { 0 };
    cellar_host_config host = { .struct_size = sizeof host, .stack_bytes = 1 << 20 };
    stack_all(&host, &s);
    T_CHECK(atomic_load(&s.least) >= (1 << 20) / 8 * 7);
    T_CHECK(atomic_load(&s.most) <= 4 << 20); /* libc reuses stacks of up to four times the size */
}

/* musl adds the thread-local data to each stack: there a stack of 256 KiB is not too small. */
T_CASE(stack_too_small_for_thread_local_data_is_the_default)
{
    stack_seen s = { .shallow = true };
    cellar_host_config host = { .struct_size = sizeof host, .stack_bytes = 1 };
    stack_all(&host, &s);
    T_CHECK(atomic_load(&s.least) >= sizeof stack_local);
}

T_MAIN("api_stack")
