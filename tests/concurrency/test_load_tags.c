/* SPDX-License-Identifier: MIT
 *
 * Aim:    A call that begins after a delete by tag has returned gets no value of a load that began
 *         before: neither as a waiter of that load, nor from the store.
 * Method: Four threads load a few keys from a source of rising numbers and delete their tags. For
 *         each key the test knows the smallest number that a call may still get. The loader yields,
 *         so that deletes and calls meet running loads; a run in which no call joins a load fails.
 *         TAG_CALLS=n sets the number of calls. */
#include "tests/support/load_kit.h"
#include "tests/support/many_threads.h"

#include <sched.h>

enum { THREADS = 4, KEYS = 8, MANY = 4 };

typedef struct world {
    cellar *c;
    _Atomic uint64_t db[KEYS], least[KEYS];
    _Atomic uint64_t old, joined, same, next;
    uint64_t calls; /* of each thread */
} world;

static const char names[KEYS + 1] = "abcdefgh"; /* keys, and tags: two keys have one */

static cellar_bytes tag_of(uint32_t k) { return (cellar_bytes){ &names[k / 2], 1 }; }

static cellar_err load(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    world *w = ctx;
    const uint32_t k = (uint32_t)(*(const char *)key - 'a');
    const uint64_t now = atomic_load(&w->db[k]);
    const cellar_bytes tag = tag_of(k);
    const cellar_load_info i = loader_info(ld);
    T_EQ_U64(key_len, 1);
    for (uint64_t n = now % 4; n != 0; n--) { sched_yield(); }
    T_EQ_I64(loader_tags(ld, &tag, 1), CELLAR_OK);
    if (i.has_stale && i.stale_len == sizeof now &&
        memcmp(i.stale_value, &now, sizeof now) == 0) {
        atomic_fetch_add(&w->same, 1);
        return cellar_load_not_modified(ld);
    }
    return cellar_load_value(ld, &now, sizeof now);
}

static cellar_err load_many(cellar_load *ld, const cellar_bytes *keys, size_t count, void *ctx)
{
    world *w = ctx;
    cellar_bytes tags[KEYS / 2];
    for (uint32_t i = 0; i < KEYS / 2; i++) { tags[i] = tag_of(2 * i); }
    T_EQ_I64(loader_tags(ld, tags, KEYS / 2), CELLAR_OK); /* one list for all keys */
    for (size_t i = 0; i < count; i++) {
        const uint64_t now = atomic_load(&w->db[*(const char *)keys[i].data - 'a']);
        T_EQ_I64(loader_value(ld, i, &now, sizeof now), CELLAR_OK);
    }
    sched_yield();
    return CELLAR_OK;
}

static void change(world *w, uint32_t k)
{
    const cellar_bytes tag = tag_of(k);
    const uint64_t now = atomic_fetch_add(&w->db[k], 1) + 1;
    uint64_t least = atomic_load(&w->least[k]);
    T_EQ_I64(cellar_delete_by_tag(w->c, tag.data, tag.len, CELLAR_TAG_HARD), CELLAR_OK);
    while (least < now && !atomic_compare_exchange_weak(&w->least[k], &least, now)) {}
}

static void judge(world *w, cellar_result *r, cellar_err err, uint64_t least)
{
    uint64_t got = 0;
    T_EQ_I64(err, CELLAR_OK);
    if (T_EQ_U64(r->value_len, sizeof got)) { memcpy(&got, r->value, sizeof got); }
    if (got < least) { atomic_fetch_add(&w->old, 1); }
    if (r->source == CELLAR_SOURCE_JOINED) { atomic_fetch_add(&w->joined, 1); }
    cellar_result_free(r);
}

static void call_one(world *w, uint32_t k, bool refresh)
{
    cellar_load_opts o = cellar_load_opts_default();
    cellar_result r = cellar_result_default();
    if (refresh) { o.flags = CELLAR_LOAD_REFRESH; }
    const uint64_t least = atomic_load(&w->least[k]);
    const cellar_err err = cellar_get_or_load(w->c, &names[k], 1, &o, load, w, &r);
    judge(w, &r, err, least);
}

static void call_many(world *w, uint32_t k)
{
    cellar_load_item it[MANY];
    cellar_result r[MANY];
    uint64_t least[MANY];
    for (uint32_t i = 0; i < MANY; i++) {
        r[i] = cellar_result_default();
        it[i] = (cellar_load_item){ &names[(k + i) % KEYS], 1, &r[i], CELLAR_OK, 0 };
        least[i] = atomic_load(&w->least[(k + i) % KEYS]);
    }
    T_EQ_I64(cellar_get_or_load_many(w->c, it, MANY, NULL, load_many, w), CELLAR_OK);
    for (uint32_t i = 0; i < MANY; i++) { judge(w, &r[i], it[i].status, least[i]); }
}

static void *caller(void *arg)
{
    world *w = arg;
    uint32_t x = (uint32_t)(t_.seed + atomic_fetch_add(&w->next, 1) * 2654435761u) | 1u;
    for (uint64_t i = 0; i < w->calls; i++) {
        x = x * 1664525u + 1013904223u;
        const uint32_t k = (x >> 16) % KEYS, what = x >> 24;
        if (what < 48) { change(w, k); }
        if (what >= 240) {
            call_many(w, k);
            i += MANY - 1;
        } else {
            call_one(w, k, what >= 224);
        }
    }
    return NULL;
}

T_CASE(calls_after_a_tag_delete_join_no_older_load)
{
    static world w;
    pthread_t t[THREADS];
    const uint64_t all = t_reduced() ? 100000 : 10000000;
    w.c = kit_open(8u << 20);
    w.calls = t_env_u64("TAG_CALLS", all / T_COST) / THREADS;
    start_threads(t, THREADS, caller, &w);
    join_threads(t, THREADS);
    printf("# %llu calls, %llu joined a load, %llu loads not modified, %llu old\n",
           (unsigned long long)w.calls * THREADS, (unsigned long long)atomic_load(&w.joined),
           (unsigned long long)atomic_load(&w.same), (unsigned long long)atomic_load(&w.old));
    T_CHECK(atomic_load(&w.joined) != 0);
    T_EQ_U64(atomic_load(&w.old), 0);
    kit_close(w.c);
}

T_MAIN("load_tags")
