/* SPDX-License-Identifier: MIT
 *
 * task_kit: a pool of tasks that note the one byte of their payload, in the order of their runs. */
#ifndef SUPPORT_TASK_KIT_H
#define SUPPORT_TASK_KIT_H

#include "base/mem.h"
#include "cellar_task.h"
#include "tests/support/pool_kit.h" /* its `p` would be shadowed above */
#include "tests/support/task_calls.h"

/* What ran: payloads of one byte, in order. */
static char ran[4096];
static size_t ran_count;
static cellar_verdict answer;
static cellar_task_id last_id;
static char freed[64];
static size_t freed_count;

static inline void clear(void)
{
    memset(ran, 0, sizeof ran);
    ran_count = 0;
    memset(freed, 0, sizeof freed);
    freed_count = 0;
    answer = cellar_verdict_ok();
}

static inline cellar_verdict note(const cellar_task *t, void *ctx)
{
    (void)ctx;
    T_EQ_U64(t->struct_size, sizeof *t);
    if (ran_count + 1 < sizeof ran && t->payload_len == 1) {
        ran[ran_count] = *(const char *)t->payload;
    }
    ran_count++;
    last_id = t->id;
    return answer;
}

static inline void name_it(const char *name, cellar_task_fn fn, const cellar_task_opts *o)
{
    T_REQUIRE(cellar_task_register(p, name, fn, NULL, o) == CELLAR_OK);
}

static inline void open_with(const cellar_task_opts *o)
{
    clear();
    open_it();
    name_it("t", note, o);
}

/* Cases on a pool that closes after them. POOL: the case opens it. */
#define POOL(fn) T_WITHIN(fn, defaults(), close_it())
#define TASKS(fn) T_WITHIN(fn, (defaults(), open_with(NULL)), close_it())

static inline cellar_task_id submit(const char *payload, const cellar_submit_opts *o)
{
    cellar_task_id id = { 0, 0 };
    T_EQ_I64(cellar_task_submit(p, "t", payload, strlen(payload), o, &id), CELLAR_OK);
    return id;
}

static inline void run(const char *payload)
{
    (void)submit(payload, NULL);
    (void)tick();
}

static inline int state_of(cellar_task_id id)
{
    cellar_task_status st = cellar_task_status_default();
    const cellar_err err = task_status(p, id, &st);
    return err == CELLAR_OK ? (int)st.state : (int)err;
}

static inline cellar_task_status status_of(cellar_task_id id)
{
    cellar_task_status st = cellar_task_status_default();
    T_EQ_I64(task_status(p, id, &st), CELLAR_OK);
    return st;
}

static inline cellar_task_opts no_jitter(uint32_t attempts)
{
    cellar_task_opts o = { .struct_size = sizeof o, .jitter = CELLAR_TASK_JITTER_NONE,
                           .max_attempts = attempts };
    return o;
}

static inline cellar_submit_opts keyed(const char *key)
{
    cellar_submit_opts o = { .struct_size = sizeof o, .unique_key = key };
    return o;
}

static inline bool key_is_free(const char *key)
{
    cellar_task_id id;
    const cellar_submit_opts o = keyed(key);
    const cellar_err err = cellar_task_submit(p, "t", "k", 1, &o, &id);
    if (err == CELLAR_OK) { T_EQ_I64(cellar_task_cancel(p, id), CELLAR_OK); }
    return err == CELLAR_OK;
}

static inline void note_free(void *payload, size_t len, void *ctx)
{
    T_EQ_U64(len, 1);
    T_CHECK(ctx == &freed_count);
    if (freed_count + 1 < sizeof freed) { freed[freed_count++] = *(char *)payload; }
}

static inline cellar_submit_opts owned(void)
{
    cellar_submit_opts o = { .struct_size = sizeof o, .free_fn = note_free,
                             .free_ctx = &freed_count };
    return o;
}

static char heard[64];
static bool failing; /* an allocation may fail */
static inline cellar_verdict gives(const cellar_task *t, void *ctx)
{
    cellar_bytes b;
    char text[16];
    (void)ctx;
    size_t len = strlen(heard);
    heard[len++] = *(const char *)t->payload;
    for (uint32_t i = 0; i < t->input_count; i++) {
        if (cellar_task_input(t, i, &b) == CELLAR_OK) {
            memcpy(heard + len, b.data, b.len);
            len += b.len;
        } else {
            heard[len++] = '-';
        }
    }
    heard[len++] = ' ';
    T_EQ_I64(cellar_task_input(t, t->input_count, &b), CELLAR_E_INVAL);
    snprintf(text, sizeof text, "%c", *(const char *)t->payload + 'A' - 'a');
    cellar_err err = cellar_task_result_set(t, "old", 3);
    T_CHECK(err == CELLAR_OK || (failing && err == CELLAR_E_NOMEM));
    err = cellar_task_result_set(t, text, 1);
    T_CHECK(err == CELLAR_OK || (failing && err == CELLAR_E_NOMEM));
    return *(const char *)t->payload == 'x' ? cellar_verdict_fail() : cellar_verdict_ok();
}

/* Make items of "g" with these payloads, and forget what was heard. */
static inline void items_of(const char *payloads, cellar_task_item *items)
{
    memset(heard, 0, sizeof heard);
    for (size_t i = 0; payloads[i] != 0; i++) {
        items[i] = (cellar_task_item){ "g", &payloads[i], 1, NULL };
    }
}

#endif
