/* SPDX-License-Identifier: MIT
 *
 * dump: the state of a store as text, for people.
 *
 * LOCKING    NAMESPACE for one name at a time. */
#include "base/text.h"
#include "cache/call.h"
#include "cache/error.h"
#include "cache/handle.h"
#include "loading/breaker_calls.h"
#include "store/metrics.h"
#include "store/stat.h"

BASE_SIZE_BEGIN

#ifndef CELLAR_OMIT_TEXT

#define CACHE_U(number) ((unsigned long long)(number))

static void cache_dump_memory(const cache_store *s, base_text *t)
{
    static const char *const module[] = {
#define CACHE_X(name, text) text,
        BASE_MODULES(CACHE_X)
#undef CACHE_X
    };
    const base_account *a = &s->account;
    base_text_add(t, "memory: %llu of %llu bytes, peak %llu, %llu charges refused\n",
                  CACHE_U(base_load_rlx(&a->used)), CACHE_U(base_load_rlx(&a->limit)),
                  CACHE_U(base_load_rlx(&a->peak)), CACHE_U(base_load_rlx(&a->refused)));
    for (unsigned i = 0; i < BASE_MOD_COUNT; i++) {
        const unsigned long long bytes = base_load_rlx(&a->by_module[i]);
        if (bytes != 0) { base_text_add(t, "  %-10s %llu\n", module[i], bytes); }
    }
}

/* Write what other budgets would give a namespace, or with CACHE_WHOLE_STORE the store. */
static void cache_dump_advice(const cache_store *s, uint32_t slot, base_text *t)
{
    static const char *const scale[L1_ADVICE] = { "0.25", "0.5", "0.71", "1", "1.41", "2", "4",
                                                  "8" };
    uint64_t v[STATS_NAMESPACE_COUNT];
    l1_advice a;
    cache_read_counters(s, slot, v);
    if (cache_advise(s, slot, v, &a) != CELLAR_OK) { return; }
    const double now = stats_hit_ratio(v);
    const double load_ms =
        v[STATS_LOAD] != 0 ? (double)v[STATS_LOAD_NS] * 1e-6 / (double)v[STATS_LOAD] : 0;
    for (unsigned i = 0; i < L1_ADVICE; i++) {
        if (scale[i][1] == '\0' && scale[i][0] == '1') { continue; }
        base_text_add(t, "  at %sx the budget the hit ratio would be %.1f %% (now %.1f %%)",
                      scale[i], a.ratio[i] * 100, now * 100);
        if (load_ms > 0) {
            const double less = (a.ratio[i] - now) * 1000 * load_ms;
            base_text_add(t, ", loading %.3f ms %s in 1,000 gets", less < 0 ? -less : less,
                          less < 0 ? "more" : "less");
        }
        base_text_add(t, "\n");
    }
}

static void cache_dump_l1(const cache_store *s, base_text *t)
{
    l1_stats l;
    l1_stats_get(s->l1, &l);
    base_text_add(t, "l1: %llu entries, %u stripes, segments of %u bytes, granule %u\n",
                  CACHE_U(l.entries), (unsigned)l.stripes, (unsigned)l.seg_bytes,
                  (unsigned)l.granule);
}

/* Write the breaker state and end the line. -1: no breaker. */
static void cache_dump_breaker(int state, base_text *t)
{
    static const char *const name[] = { [CELLAR_BREAKER_CLOSED] = "closed",
                                        [CELLAR_BREAKER_OPEN] = "open",
                                        [CELLAR_BREAKER_HALF_OPEN] = "half-open" };
    if (state >= 0) { base_text_add(t, ", breaker %s", name[state]); }
    base_text_add(t, "\n");
}

static void cache_dump_l2(const stats_source *from, base_text *t)
{
    const uint64_t *given = from->given;
    if (given[STATS_GIVEN_L2_file_bytes] == 0) { return; }
    base_text_add(t, "l2: entries %llu, %llu bytes, errors %llu%s",
                  CACHE_U(given[STATS_GIVEN_L2_entries]), CACHE_U(given[STATS_GIVEN_L2_file_bytes]),
                  CACHE_U(given[STATS_GIVEN_L2_io_errors]),
                  given[STATS_GIVEN_L2_OFF] == 2 ? ", off until the next open" : "");
    cache_dump_breaker((int)given[STATS_GIVEN_L2_BREAKER], t);
}

/* Write a name as text, bytes that are not printable as \xHH. */
static void cache_dump_name(base_text *t, const char *name, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++) {
        const unsigned char byte = (unsigned char)name[i];
        const bool plain = byte >= 0x20 && byte < 0x7f && byte != '\\';
        base_text_add(t, plain ? "%c" : "\\x%02x", byte);
    }
}

static void cache_dump_namespaces(cache_store *s, base_text *t)
{
    for (uint32_t slot = 0; slot < CACHE_NAMESPACES_MAX; slot++) {
        uint64_t v[STATS_NAMESPACE_COUNT];
        sync_take(NAMESPACE, &s->namespace_lock);
        const cellar *at = cache_namespace_at(s, slot);
        const bool there = at != NULL && !base_load_rlx(&at->dropped);
        if (there) {
            base_text_add(t, "namespace %u \"", (unsigned)at->id);
            cache_dump_name(t, at->name, at->name_len);
            base_text_add(t, "\": generation %u, version %u, handles %u%s",
                          (unsigned)base_load_rlx(&at->generation), (unsigned)at->version,
                          (unsigned)at->handles, cache_is_off(at) ? ", off" : "");
            cache_dump_breaker(cache_breaker_state(at), t);
        }
        sync_drop(NAMESPACE, &s->namespace_lock);
        if (!there) { continue; }
        stats_read_slot(s->stats, slot, v);
        base_text_add(t, "  gets %llu, hit ratio %.1f %%, misses %llu, sets %llu, deletes %llu\n",
                      CACHE_U(stats_gets(v)), stats_hit_ratio(v) * 100, CACHE_U(v[STATS_MISS]),
                      CACHE_U(v[STATS_SET]), CACHE_U(v[STATS_DELETE]));
        cache_dump_advice(s, slot, t);
    }
}

CELLAR_API cellar_err cellar_dump_write(cellar *c, char *buf, size_t cap, size_t *len)
{
    if (len != NULL) { *len = 0; }
    if (c == NULL || (buf == NULL && cap != 0)) {
        return cache_refuse(c, "cellar_dump_write: buf must not be NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    cache_store *s = c->store;
    cache_names names;
    const stats_source from = cache_source(s, &names);
    base_text t = { buf, cap, 0 };
    base_text_add(&t, "cellar %s\n", CELLAR_SOURCE_ID); /* the build passes it */
    base_text_add(&t, "thread: %s, observers: %u\n",
                  base_load_rlx(&s->thread_state) == CACHE_THREAD_ON ? "on" : "off",
                  (unsigned)base_load_rlx(&s->observers));
    cache_dump_memory(s, &t);
    cache_dump_l1(s, &t);
    cache_dump_l2(&from, &t);
    cache_dump_advice(s, CACHE_WHOLE_STORE, &t);
    cache_dump_namespaces(s, &t);
    const size_t used = BASE_MIN(t.len, cap);
    t.len += stats_write(s->stats, &from, STATS_REST, cap != 0 ? buf + used : NULL, cap - used);
    if (len != NULL) { *len = t.len; }
    return t.len < cap ? CELLAR_OK : CELLAR_E_BUFFER;
}

#endif

BASE_SIZE_END
