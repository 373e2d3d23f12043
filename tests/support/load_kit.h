/* SPDX-License-Identifier: MIT
 *
 * load_kit: a clock that the test turns, and a source with answers that the test prepares. */
#ifndef CELLAR_TESTS_LOAD_KIT_H
#define CELLAR_TESTS_LOAD_KIT_H

#include <pthread.h>
#include <stdatomic.h>

#include "cellar.h"
#include "cellar_entry.h"
#include "cellar_load.h"
#include "cellar_invalidate.h"
#include "cellar_l2.h"
#include "cellar_observe.h"
#include "cellar_bloom.h"
#include "cellar_breaker.h"
#include "cellar_admin.h"
#include "cellar_memo.h"
#include "cellar_warm.h"
#include "tests/support/loader.h"
#include "tests/support/t.h"
#include "tests/support/settings.h"

/* Fewer rounds where each step is ten times slower, but enough for threads to meet. */
#define KIT_SLOW (T_COST > 1 ? 8 : 1)

static _Atomic int64_t kit_now_ms;

T_INLINE int64_t kit_clock(void *ctx) { (void)ctx; return atomic_load(&kit_now_ms); }

enum { SAY_VALUE, SAY_NONE, SAY_FAIL, SAY_NOTHING, SAY_TWICE, SAY_SAME, SAY_RESERVE, SAY_GIVE,
       SAY_HUGE, SAY_EXIT };

typedef struct source { /* behavior of its loader; one source for any number of threads */
    _Atomic int calls, frees, inside;
    _Atomic int say;
    const char *text;         /* NULL: the number of the call as text */
    int32_t err;              /* with SAY_FAIL: the code returned; CELLAR_E_IO when 0 */
    int32_t said_err;         /* not 0: reported by cellar_load_fail */
    int64_t retry_after_ms;
    uint32_t fail_flags;
    int64_t ttl_ms, negative_ttl_ms, stale_ms; /* 0: not reported */
    bool no_store;
    const cellar_bytes *tags;
    size_t tag_count;
    _Atomic int gate;         /* 1: the loader waits until it is 0 */
    void (*during)(struct source *s, cellar_load *ld); /* runs inside the loader */
    void *arg;
    char old[64];             /* the last stale_value of cellar_load_info */
    _Atomic int old_seen;
} source;

#define SOURCE_INIT { .text = NULL }

T_INLINE void kit_nap(void)
{
    const struct timespec nap = { 0, 200000 };
    nanosleep(&nap, NULL);
}

T_INLINE void source_free(void *p, void *ctx)
{
    atomic_fetch_add(&((source *)ctx)->frees, 1);
    free(p);
}

T_INLINE void source_options(source *s, cellar_load *ld)
{
    const cellar_load_info i = loader_info(ld);
    cellar_set_opts o = cellar_set_opts_default(), none = o;
    o.ttl_ms = s->ttl_ms;
    o.stale_ms = s->stale_ms;
    o.tags = s->tags;
    o.tag_count = (uint32_t)s->tag_count;
    if (s->no_store) { o.flags = CELLAR_NO_STORE; }
    T_EQ_I64(cellar_load_opts_set(ld, &o), CELLAR_OK);
    none.ttl_ms = s->negative_ttl_ms;
    none.flags = CELLAR_NEGATIVE;
    T_EQ_I64(cellar_load_opts_set(ld, &none), CELLAR_OK);
    if (i.has_stale && i.stale_len < sizeof s->old) {
        memcpy(s->old, i.stale_value, i.stale_len);
        s->old[i.stale_len] = '\0';
        atomic_fetch_add(&s->old_seen, 1);
    }
}

T_INLINE cellar_err source_value(source *s, cellar_load *ld, int call)
{
    char text[32];
    void *p = NULL;
    snprintf(text, sizeof text, "%d", call);
    const char *value = s->text != NULL ? s->text : text;
    const size_t len = strlen(value);
    switch (atomic_load(&s->say)) {
    case SAY_RESERVE:
        T_EQ_I64(cellar_buf_resize(cellar_load_buf(ld), len, &p), CELLAR_OK);
        memcpy(p, value, len);
        return CELLAR_OK;
    case SAY_GIVE:
        p = malloc(len + 1);
        T_REQUIRE(p != NULL);
        memcpy(p, value, len);
        return cellar_load_take(ld, p, len, source_free, s);
    case SAY_TWICE:
        T_EQ_I64(cellar_load_value(ld, value, len), CELLAR_OK);
        T_EQ_I64(cellar_load_absent(ld), CELLAR_E_RESULT_TWICE);
        return CELLAR_OK;
    case SAY_HUGE:
        T_EQ_I64(cellar_buf_resize(cellar_load_buf(ld), CELLAR_VALUE_MAX, &p), CELLAR_E_TOOBIG);
        T_CHECK(p == NULL);
        return CELLAR_OK;
    default: return cellar_load_value(ld, value, len);
    }
}

T_INLINE cellar_err source_load(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    source *s = ctx;
    T_CHECK(key != NULL && key_len > 0);
    const int call = atomic_fetch_add(&s->calls, 1) + 1;
    atomic_fetch_add(&s->inside, 1);
    if (s->during != NULL) { s->during(s, ld); }
    while (atomic_load(&s->gate) != 0) { kit_nap(); }
    source_options(s, ld);
    atomic_fetch_sub(&s->inside, 1);
    switch (atomic_load(&s->say)) {
    case SAY_NONE: return cellar_load_absent(ld);
    case SAY_NOTHING: return CELLAR_OK;
    case SAY_SAME: return cellar_load_not_modified(ld);
    case SAY_EXIT: pthread_exit(NULL);
    case SAY_FAIL:
        if (s->said_err != 0) {
            T_EQ_I64(cellar_load_fail(ld, s->said_err, s->retry_after_ms, s->fail_flags),
                     CELLAR_OK);
        }
        return s->err != 0 ? (cellar_err)s->err : CELLAR_E_IO;
    default: return source_value(s, ld, call);
    }
}

/* `secret`: NULL draws one, so that chance decides which keys share a place of a table. */
T_INLINE cellar *kit_open_known(uint64_t bytes, const uint8_t *secret)
{
    atomic_store(&kit_now_ms, 1000000);
    cellar *c = STORE_OF(.config.memory_bytes = bytes, .tuning.hash_key = secret,
                         .host.no_threads = 1, .host.clock = kit_clock);
    return c;
}

T_INLINE cellar *kit_open(uint64_t bytes) { return kit_open_known(bytes, NULL); }

/* Run all background work that is due now. */
T_INLINE void kit_tick(cellar *c)
{
    cellar_err err;
    while ((err = cellar_tick(c, 1000, NULL)) == CELLAR_PENDING) {}
    T_EQ_I64(err, CELLAR_OK);
}

T_INLINE void kit_close(cellar *c)
{
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    cellar_stats st = cellar_stats_default();
    for (;; kit_nap()) { /* a worker may be about to drop its last ref */
        T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_STORE, &st), CELLAR_OK);
        if (st.loads_running == 0) { break; }
    }
    T_EQ_U64(st.gets, st.hits_l1 + st.hits_l2 + st.stale_hits + st.negative_hits + st.misses);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

/* One call; the value goes to `text` as a string, the result is freed. */
T_INLINE cellar_err kit_load(cellar *c, const char *key, const cellar_load_opts *o, source *s,
                             char text[64], cellar_result *out)
{
    cellar_result r = cellar_result_default();
    const cellar_err err = cellar_get_or_load(c, key, strlen(key), o, source_load, s, &r);
    text[0] = '\0';
    if (err == CELLAR_OK || err == CELLAR_STALE) {
        T_REQUIRE(r.value_len < 64);
        if (r.value_len != 0) { memcpy(text, r.value, r.value_len); }
        text[r.value_len] = '\0';
    } else {
        T_CHECK(r.value == NULL && r.value_len == 0);
    }
    if (out != NULL) { *out = r; }
    cellar_result_free(&r);
    return err;
}

#define KIT_LOADS(c, key, o, s, text, out, want) \
    do { \
        T_EQ_I64(kit_load(c, key, o, s, text, out), CELLAR_OK); \
        T_EQ_STR(text, want); \
    } while (0)

#endif
