/* SPDX-License-Identifier: MIT
 *
 * Aim:    Each namespace has a tier of its own: the disk, none, or another one. A change that a tier
 *         reports ends the entry and running loads of its key, and is not sent back. A hook of
 *         writes changes their plans, and no read calls it.
 * Method: Two tiers in memory, one as the disk of the store, one attached to a namespace; a clock of
 *         the test. Threads change keys from outside and read them: each read after a change sees it
 *         or a later one. */
#include "store/store.h"
#include "tests/support/t.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cache/plan.h"
#include "cache/types.h"
#include "tests/support/memory_tier.h"
#include "tests/support/settings.h"

static _Atomic int64_t now_ms;
static memory_tier disk, far;

static int64_t read_clock(void *ctx)
{
    (void)ctx;
    return base_load_rlx(&now_ms);
}

typedef struct stores {
    cellar *root, *own, *none; /* on `disk`, on `far`, without a tier */
} stores;

static cellar *open_without(cellar *root, const char *name)
{
    cellar_namespace_opts o = cellar_namespace_opts_default();
    cellar *c = NULL;
    o.tier = CELLAR_TIER_L1;
    o.l2_write = CELLAR_L2_WRITE_ON_SET;
    T_EQ_I64(cellar_namespace_open(root, name, &o, &c), CELLAR_OK);
    return c;
}

static stores begin(void)
{
    settings s = settings_default();
    stores t = { NULL, NULL, NULL };
    memory_tier_init(&disk);
    memory_tier_init(&far);
    base_store_rlx(&now_ms, (int64_t)1000000);
    s.config.memory_bytes = 4u << 20;
    s.host.clock = read_clock;
    s.host.no_threads = 1;
    cellar_namespace_opts o = cellar_namespace_opts_default();
    o.l2_write = CELLAR_L2_WRITE_ON_SET;
    s.config.root = &o;
    const cellar_config cfg = settings_config(&s);
    T_EQ_I64(cache_open(&cfg, &disk.table, 0, &t.root), CELLAR_OK);
    t.own = open_without(t.root, "own");
    t.none = open_without(t.root, "none");
    T_EQ_I64(cache_tier_attach(t.own, &far.table), CELLAR_OK);
    return t;
}

static void end(stores *t)
{
    T_EQ_I64(cellar_close(t->own), CELLAR_OK);
    T_EQ_I64(cellar_close(t->none), CELLAR_OK);
    T_EQ_I64(cellar_close(t->root), CELLAR_OK);
    T_EQ_U64(disk.closes, 1);
    T_EQ_U64(far.closes, 1);
}

static uint32_t generation_of(const cellar *c) { return base_load_acq(&c->generation); }

static void sets(cellar *c, const char *key, const char *value)
{
    T_EQ_I64(cellar_set(c, key, strlen(key), value, strlen(value), NULL), CELLAR_OK);
}

/* Check that the key has the value; NULL: none. */
static void has(cellar *c, const char *key, const char *value)
{
    char buf[64];
    size_t len = 0;
    const cellar_err err = cellar_get(c, key, strlen(key), buf, sizeof buf, &len);
    T_EQ_I64(err, value != NULL ? CELLAR_OK : CELLAR_MISS);
    if (value != NULL) {
        T_EQ_U64(len, strlen(value));
        T_EQ_I64(memcmp(buf, value, len), 0);
    }
}

static void each_namespace_writes_to_its_own_tier(void)
{
    stores t = begin();
    sets(t.root, "a", "on disk");
    T_EQ_U64(disk.puts, 1);
    T_EQ_U64(far.puts, 0);
    sets(t.own, "a", "far away");
    T_EQ_U64(disk.puts, 1);
    T_EQ_U64(far.puts, 1);
    sets(t.none, "a", "here");
    T_EQ_U64(disk.puts, 1);
    T_EQ_U64(far.puts, 1);
    has(t.root, "a", "on disk");
    has(t.own, "a", "far away");
    has(t.none, "a", "here");
    end(&t);
}

static void miss_asks_the_tier_of_the_namespace(void)
{
    stores t = begin();
    has(t.own, "k", NULL);
    T_EQ_U64(far.gets, 1);
    T_EQ_U64(disk.gets, 0);
    has(t.none, "k", NULL);
    T_EQ_U64(far.gets + disk.gets, 1);
    memory_tier_outside(&far, generation_of(t.own), "k", "theirs");
    has(t.own, "k", "theirs");
    has(t.own, "k", "theirs"); /* from memory now */
    T_EQ_U64(far.gets, 2);
    end(&t);
}

static void tier_gets_the_texts_of_tags(void)
{
    stores t = begin();
    const cellar_bytes tags[2] = { { "red", 3 }, { "blue", 4 } };
    cellar_set_opts o = cellar_set_opts_default();
    o.tags = tags;
    o.tag_count = 2;
    T_EQ_I64(cellar_set(t.own, "k", 1, "v", 1, &o), CELLAR_OK);
    T_EQ_STR(far.tag_text, "red,blue,");
    T_EQ_U64(far.tag_fps[1], far.host.tag_fp(far.host.ctx, "blue", 4));
    T_EQ_I64(cellar_delete_by_tag(t.own, "blue", 4, CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_U64(far.tag_ended, far.tag_fps[1]);
    end(&t);
}

static void changes_reach_the_tier_of_the_namespace_only(void)
{
    stores t = begin();
    sets(t.own, "k", "1");
    T_EQ_I64(cellar_delete(t.own, "k", 1), CELLAR_OK);
    T_EQ_U64(far.kills, 1);
    T_EQ_U64(disk.kills, 0);
    T_EQ_I64(cellar_clear(t.own), CELLAR_OK);
    T_EQ_U64(disk.bumps, 0);
    T_EQ_U64(far.bumps, 2); /* one by the attach */
    T_EQ_I64(cellar_delete_by_tag(t.root, "t", 1, CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_U64(disk.tags, 1);
    T_EQ_U64(far.tags, 1);
    T_EQ_I64(cellar_tick(t.root, 1000, NULL), CELLAR_OK);
    T_EQ_U64(disk.ticks, 1);
    T_EQ_U64(far.ticks, 1);
    end(&t);
}

static void attach_clears_and_refuses_a_second_tier(void)
{
    stores t = begin();
    cellar *late = open_without(t.root, "late");
    memory_tier more[CACHE_TIERS_MAX];
    sets(late, "k", "old");
    T_EQ_I64(cache_tier_attach(late, &far.table), CELLAR_OK);
    has(late, "k", NULL);
    T_EQ_I64(cache_tier_attach(late, &disk.table), CELLAR_E_BUSY);
    T_EQ_I64(cache_tier_attach(t.root, &far.table), CELLAR_E_BUSY);
    T_EQ_I64(cellar_close(late), CELLAR_OK);
    for (unsigned i = 0; i < CACHE_TIERS_MAX - 1; i++) { /* two are there */
        char name[16];
        (void)snprintf(name, sizeof name, "more%u", i);
        cellar *c = open_without(t.root, name);
        memory_tier_init(&more[i]);
        T_EQ_I64(cache_tier_attach(c, &more[i].table),
             i + 2 < CACHE_TIERS_MAX ? CELLAR_OK : CELLAR_E_LIMIT);
        T_EQ_I64(cellar_close(c), CELLAR_OK);
    }
    end(&t);
}

static void attach_to_a_store_without_a_tier(void)
{
    settings s = settings_default();
    cellar *root = NULL, *c = NULL;
    memory_tier_init(&far);
    s.config.memory_bytes = 4u << 20;
    s.host.no_threads = 1;
    const cellar_config cfg = settings_config(&s);
    T_EQ_I64(cache_open(&cfg, NULL, 0, &root), CELLAR_OK);
    T_EQ_I64(cellar_namespace_open(root, "own", NULL, &c), CELLAR_OK);
    sets(root, "k", "root");
    T_EQ_I64(cache_tier_attach(c, &far.table), CELLAR_OK);
    memory_tier_outside(&far, generation_of(c), "k", "theirs");
    has(c, "k", "theirs");
    has(root, "k", "root");
    T_EQ_I64(cellar_delete(c, "k", 1), CELLAR_OK);
    T_EQ_U64(far.kills, 1);
    has(c, "k", NULL);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    T_EQ_I64(cellar_close(root), CELLAR_OK);
    T_EQ_U64(far.closes, 1);
}

/* ---- changes from outside ---- */

static unsigned heard;
static void hear(const cellar_event *e, void *ctx)
{
    (void)ctx;
    heard += e->cause == CELLAR_CAUSE_DELETED;
}

static void change_from_outside_ends_the_entry_and_is_not_sent_back(void)
{
    stores t = begin();
    uint64_t id;
    heard = 0;
    T_EQ_I64(cellar_listener_add(t.own, 0, hear, NULL, &id), CELLAR_OK);
    sets(t.own, "k", "ours");
    const unsigned puts = far.puts;
    memory_tier_outside(&far, generation_of(t.own), "k", "theirs");
    T_EQ_U64(heard, 1);
    T_EQ_U64(far.kills, 0);
    T_EQ_U64(far.puts, puts);
    has(t.own, "k", "theirs");
    memory_tier_outside(&far, generation_of(t.own), "k", NULL);
    has(t.own, "k", NULL);
    T_EQ_U64(far.kills, 0);
    T_EQ_I64(cellar_listener_remove(t.own, id), CELLAR_OK);
    end(&t);
}

static void change_of_an_ended_generation_is_ignored(void)
{
    stores t = begin();
    const uint32_t before = generation_of(t.own);
    T_EQ_I64(cellar_clear(t.own), CELLAR_OK);
    sets(t.own, "k", "new");
    memory_tier_outside(&far, before, "k", "old");
    has(t.own, "k", "new");
    end(&t);
}

static cellar_err load_during_change(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    const stores *t = ctx;
    (void)key;
    (void)len;
    memory_tier_outside(&far, generation_of(t->own), "k", "theirs");
    return cellar_load_value(ld, "loaded before", 13);
}

static void change_from_outside_during_a_load_discards_its_result(void)
{
    stores t = begin();
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(t.own, "k", 1, NULL, load_during_change, &t, &r), CELLAR_OK);
    T_CHECK((r.flags & CELLAR_RESULT_INVALIDATED) != 0);
    cellar_result_free(&r);
    has(t.own, "k", "theirs");
    end(&t);
}

#define ROUNDS 3000
static stores shared;
static _Atomic uint32_t reported[2]; /* changes of a key that have returned */

/* Change a key from outside, with rising numbers, and read each number or a later one. */
static void *changer(void *arg)
{
    const char key[2] = { (char)('a' + (intptr_t)arg), '\0' };
    for (unsigned n = 1; n <= ROUNDS; n++) {
        char text[32], buf[32] = "";
        size_t len = 0;
        (void)snprintf(text, sizeof text, "%u", n);
        memory_tier_outside(&far, generation_of(shared.own), key, text);
        T_EQ_I64(cellar_get(shared.own, key, 1, buf, sizeof buf - 1, &len), CELLAR_OK);
        T_EQ_I64(strtol(buf, NULL, 10), n);
        base_store_sc(&reported[(intptr_t)arg], n);
    }
    return NULL;
}

/* Read all keys: each number is that of a reported change, or of a later one. */
static void *reader(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 4 * ROUNDS; i++) {
        const char key[2] = { (char)('a' + i % 2), '\0' };
        char buf[32] = "";
        size_t len = 0;
        const uint32_t sure = base_load_sc(&reported[i % 2]);
        if (cellar_get(shared.own, key, 1, buf, sizeof buf - 1, &len) == CELLAR_OK) {
            T_CHECK(strtol(buf, NULL, 10) >= (long)sure);
        }
    }
    return NULL;
}

static void read_after_a_change_from_outside_sees_it(void)
{
    pthread_t thread[4];
    shared = begin();
    base_store_sc(&reported[0], 0u);
    base_store_sc(&reported[1], 0u);
    for (intptr_t i = 0; i < 4; i++) {
        T_EQ_I64(pthread_create(&thread[i], NULL, i < 2 ? changer : reader, (void *)i), 0);
    }
    for (unsigned i = 0; i < 4; i++) { T_EQ_I64(pthread_join(thread[i], NULL), 0); }
    T_EQ_U64(far.kills, 0);
    end(&shared);
}

static void forked_child_has_memory_only(void)
{
    stores t = begin();
    sets(t.own, "k", "1");
    const pid_t pid = fork();
    if (pid == 0) {
        const unsigned puts = far.puts + disk.puts, gets = far.gets + disk.gets;
        (void)cellar_set(t.own, "k", 1, "2", 1, NULL);
        (void)cellar_set(t.root, "k", 1, "2", 1, NULL);
        char buf[8];
        const cellar_err err = cellar_get(t.own, "other", 5, buf, sizeof buf, NULL);
        _exit(err == CELLAR_MISS && far.puts + disk.puts == puts && far.gets + disk.gets == gets
                  ? 0 : 1);
    }
    int status = -1;
    T_EQ_I64(waitpid(pid, &status, 0), pid);
    T_EQ_I64(status, 0);
    end(&t);
}

/* ---- answers that arrive later ---- */

static unsigned told;
static void tell(void *ctx)
{
    (void)ctx;
    told++;
}

static cellar_err acquire(cellar *c, const char *key, bool subscribe, cellar_lease *lease)
{
    const cellar_subscriber waiter = { tell, NULL };
    cellar_result r = cellar_result_default();
    const cellar_err err = cellar_lease_acquire(c, key, strlen(key), NULL,
                                                subscribe ? &waiter : NULL, lease, &r);
    if (err == CELLAR_OK) { T_EQ_MEM(r.value, "theirs", 6); }
    cellar_result_free(&r);
    return err;
}

static stores begin_later(void)
{
    stores t = begin();
    far.table.ask = memory_tier_ask;
    told = 0;
    return t;
}

static void answer_of_a_tier_ends_a_pending_acquire(void)
{
    stores t = begin_later();
    cellar_lease lease;
    T_EQ_I64(acquire(t.own, "k", true, &lease), CELLAR_PENDING);
    T_EQ_I64(acquire(t.own, "k", true, &lease), CELLAR_PENDING);
    T_EQ_U64(far.asks, 1); /* one request for both */
    T_EQ_U64(far.gets, 0);
    T_EQ_U64(told, 0);
    memory_tier_answer(&far, "k", "theirs");
    T_EQ_U64(told, 2);
    T_EQ_I64(acquire(t.own, "k", true, &lease), CELLAR_OK);
    has(t.own, "k", "theirs");
    T_EQ_U64(far.asks, 1);
    T_EQ_U64(far.puts, 0); /* it came from there */
    end(&t);
}

static void miss_of_a_tier_gives_the_lease_to_one_caller(void)
{
    stores t = begin_later();
    cellar_lease lease, other;
    T_EQ_I64(acquire(t.own, "k", true, &lease), CELLAR_PENDING);
    memory_tier_answer(&far, "k", NULL);
    T_EQ_U64(told, 1);
    T_EQ_I64(acquire(t.own, "k", true, &lease), CELLAR_LEASED);
    T_EQ_I64(acquire(t.own, "k", true, &other), CELLAR_PENDING);
    T_EQ_U64(far.asks, 1);
    T_EQ_I64(cellar_lease_fulfill(t.own, &lease, "theirs", 6, NULL), CELLAR_OK);
    T_EQ_U64(told, 2);
    T_EQ_I64(acquire(t.own, "k", true, &other), CELLAR_OK);
    end(&t);
}

static void tier_that_cannot_answer_gives_the_lease(void)
{
    stores t = begin_later();
    cellar_lease lease;
    far.cannot_answer = true;
    T_EQ_I64(acquire(t.own, "k", true, &lease), CELLAR_LEASED);
    T_EQ_I64(cellar_lease_release(t.own, &lease, 0), CELLAR_OK);
    T_EQ_U64(far.asks, 0);
    end(&t);
}

static void change_after_the_request_discards_the_answer(void)
{
    stores t = begin_later();
    cellar_lease lease;
    T_EQ_I64(acquire(t.own, "k", true, &lease), CELLAR_PENDING);
    T_EQ_I64(cellar_delete(t.own, "k", 1), CELLAR_MISS);
    memory_tier_answer(&far, "k", "theirs");
    T_EQ_U64(told, 1);
    T_EQ_I64(cellar_contains(t.own, "k", 1), CELLAR_MISS);
    T_EQ_I64(acquire(t.own, "k", true, &lease), CELLAR_PENDING);
    memory_tier_outside(&far, generation_of(t.own), "k", "newer");
    memory_tier_answer(&far, "k", "theirs");
    T_EQ_I64(cellar_contains(t.own, "k", 1), CELLAR_OK); /* below, the newer one */
    has(t.own, "k", "newer");
    end(&t);
}

static void answer_after_the_lease_has_ended_has_no_effect(void)
{
    stores t = begin_later();
    cellar_lease lease;
    T_EQ_I64(acquire(t.own, "k", true, &lease), CELLAR_PENDING);
    base_store_rlx(&now_ms, base_load_rlx(&now_ms) + 3600000); /* past hard_timeout_ms */
    T_EQ_I64(cellar_tick(t.root, 1000, NULL), CELLAR_OK);
    T_EQ_U64(told, 1);
    memory_tier_answer(&far, "k", "theirs");
    T_EQ_I64(cellar_contains(t.own, "k", 1), CELLAR_MISS);
    T_EQ_U64(told, 1);
    end(&t);
}

static void *load_in_thread(void *arg)
{
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(arg, "k", 1, NULL, load_during_change, NULL, &r), CELLAR_OK);
    T_EQ_U64(r.value_len, 6);
    T_EQ_I64(r.source, CELLAR_SOURCE_JOINED);
    cellar_result_free(&r);
    return NULL;
}

static void thread_that_loads_waits_for_the_answer(void)
{
    stores t = begin_later();
    cellar_lease lease;
    pthread_t thread;
    T_EQ_I64(acquire(t.own, "k", false, &lease), CELLAR_PENDING);
    T_EQ_I64(pthread_create(&thread, NULL, load_in_thread, t.own), 0);
    cellar_stats st = cellar_stats_default();
    do {
        T_EQ_I64(cellar_stats_get(t.root, CELLAR_SCOPE_STORE, &st), CELLAR_OK);
        sched_yield();
    } while (st.load_waiters == 0);
    memory_tier_answer(&far, "k", "theirs");
    T_EQ_I64(pthread_join(thread, NULL), 0);
    end(&t);
}

/* ---- the hook of writes ---- */

static unsigned judged;
static cellar_err judge(void *ctx, cellar *c, const void *key, size_t key_len, cache_plan *plan)
{
    (void)ctx;
    (void)c;
    judged++;
    if (key_len > 1 && memcmp(key, "no", 2) == 0) { return CELLAR_E_UNSUPPORTED; }
    if (key_len > 1 && memcmp(key, "s:", 2) == 0) { plan->ttl_ms = 10; }
    return CELLAR_OK;
}

static cellar_err append(const void *old, size_t len, cellar_buf *out, void *ctx)
{
    (void)old;
    (void)len;
    (void)ctx;
    return cellar_buf_append(out, "u", 1);
}

static void policy_changes_the_plan_of_each_write(void)
{
    stores t = begin();
    int64_t number;
    judged = 0;
    cache_policy_set(t.none, judge, NULL);
    sets(t.none, "s:set", "v");
    sets(t.none, "set", "v");
    T_EQ_I64(cellar_update(t.none, "s:update", 8, NULL, append, NULL), CELLAR_OK);
    T_EQ_I64(cellar_increment(t.none, "s:n", 3, 1, 0, 0, 0, &number), CELLAR_OK);
    cellar_set_item items[2] = { { .key = "s:many", .key_len = 6, .value = "v", .value_len = 1 },
                                 { .key = "many", .key_len = 4, .value = "v", .value_len = 1 } };
    T_EQ_I64(cellar_set_many(t.none, items, 2, NULL, NULL), CELLAR_OK);
    T_EQ_U64(judged, 6);
    has(t.none, "s:set", "v");
    base_store_rlx(&now_ms, (int64_t)1000010);
    has(t.none, "s:set", NULL);
    has(t.none, "s:update", NULL);
    has(t.none, "s:n", NULL);
    has(t.none, "s:many", NULL);
    has(t.none, "set", "v");
    has(t.none, "many", "v");
    T_EQ_U64(judged, 6); /* no read asked it */
    end(&t);
}

static cellar_err load_value(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    const cellar_bytes tags[2] = { { "red", 3 }, { "blue", 4 } };
    (void)key;
    (void)len;
    if (ctx != NULL) { T_EQ_I64(cellar_load_set_tags(ld, tags, 2), CELLAR_OK); }
    return cellar_load_value(ld, "v", 1);
}

static void loaded(cellar *c, const char *key, uint32_t flags)
{
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(c, key, strlen(key), NULL, load_value, NULL, &r), CELLAR_OK);
    T_EQ_U64(r.flags & CELLAR_RESULT_NOT_STORED, flags);
    cellar_result_free(&r);
}

static void policy_judges_results_of_loads(void)
{
    stores t = begin();
    cellar_lease lease;
    cellar_result r = cellar_result_default();
    judged = 0;
    cache_policy_set(t.none, judge, NULL);
    loaded(t.none, "s:load", 0);
    loaded(t.none, "load", 0);
    loaded(t.none, "no", CELLAR_RESULT_NOT_STORED);
    T_EQ_I64(cellar_lease_acquire(t.none, "s:lease", 7, NULL, NULL, &lease, &r), CELLAR_LEASED);
    T_EQ_I64(cellar_lease_fulfill(t.none, &lease, "v", 1, NULL), CELLAR_OK);
    T_EQ_U64(judged, 4);
    has(t.none, "no", NULL);
    has(t.none, "s:load", "v");
    base_store_rlx(&now_ms, (int64_t)1000010);
    has(t.none, "s:load", NULL);
    has(t.none, "s:lease", NULL);
    has(t.none, "load", "v");
    end(&t);
}

static void tier_gets_the_texts_of_tags_of_a_load(void)
{
    stores t = begin();
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(t.own, "k", 1, NULL, load_value, &t, &r), CELLAR_OK);
    cellar_result_free(&r);
    T_EQ_STR(far.tag_text, "red,blue,");
    end(&t);
}

static void policy_refuses_a_write(void)
{
    stores t = begin();
    int64_t number;
    cache_policy_set(t.none, judge, NULL);
    T_EQ_I64(cellar_set(t.none, "no", 2, "v", 1, NULL), CELLAR_E_UNSUPPORTED);
    T_EQ_I64(cellar_update(t.none, "no", 2, NULL, append, NULL), CELLAR_E_UNSUPPORTED);
    T_EQ_I64(cellar_increment(t.none, "no", 2, 1, 0, 0, 0, &number), CELLAR_E_UNSUPPORTED);
    has(t.none, "no", NULL);
    cache_policy_set(t.none, NULL, NULL);
    sets(t.none, "no", "v");
    has(t.none, "no", "v");
    end(&t);
}

T_MAIN("cache_tiers", T_CASE(each_namespace_writes_to_its_own_tier),
       T_CASE(miss_asks_the_tier_of_the_namespace),
       T_CASE(tier_gets_the_texts_of_tags), T_CASE(changes_reach_the_tier_of_the_namespace_only),
       T_CASE(attach_clears_and_refuses_a_second_tier), T_CASE(attach_to_a_store_without_a_tier),
       T_CASE(change_from_outside_ends_the_entry_and_is_not_sent_back),
       T_CASE(change_of_an_ended_generation_is_ignored),
       T_CASE(change_from_outside_during_a_load_discards_its_result),
       T_CASE(read_after_a_change_from_outside_sees_it), T_CASE(forked_child_has_memory_only),
       T_CASE(answer_of_a_tier_ends_a_pending_acquire),
       T_CASE(miss_of_a_tier_gives_the_lease_to_one_caller),
       T_CASE(tier_that_cannot_answer_gives_the_lease),
       T_CASE(change_after_the_request_discards_the_answer),
       T_CASE(answer_after_the_lease_has_ended_has_no_effect),
       T_CASE(thread_that_loads_waits_for_the_answer),
       T_CASE(policy_changes_the_plan_of_each_write), T_CASE(policy_refuses_a_write),
       T_CASE(policy_judges_results_of_loads), T_CASE(tier_gets_the_texts_of_tags_of_a_load))
