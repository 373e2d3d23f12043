/* SPDX-License-Identifier: MIT
 *
 * Aim:    with a disk tier below, each key stays linearizable: after a set or a completed read has
 *         shown a value, no read returns an older one. This holds in each l2_write and for durable
 *         sets, while entries leave memory all the time and sets, deletes and loads overlap.
 * Method: threads change and read a few keys of a store that holds even fewer in memory. Each value
 *         carries an id of its own. All operations are recorded with their times; the zone checker
 *         of lin.c judges them round by round. A miss proves nothing and is not recorded. A
 *         round begins with a delete of each key, so an id of an earlier round is a violation. An
 *         incr and an update read and write at one moment: they are recorded as both,
 *         and no value may be the old one of two of them.
 *         HISTORY_OPS=n operations for each case, HISTORY_THREADS=n, HISTORY_ROUND=n operations of
 *         a thread in a round. */
#include "tests/support/disk_store.h"
#include "tests/support/lin.c"

#include <pthread.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/random.h"
#include "cellar.h"
#include "cellar_entry.h"
#include "cellar_load.h"
#include "cellar_observe.h"
#include "cellar_admin.h"
#include "tests/support/settings.h"

enum { THREADS_MAX = 16, BATCH = 4, VALUE_MAX = 1600 };
#define COUNTER_BIT (UINT64_C(1) << 62)

typedef struct setting {
    uint32_t l2_write, l2_sync;
    uint32_t keys;        /* one in four is a counter */
    uint32_t in_memory;   /* max_entries */
    uint32_t durable_pct; /* of the sets */
    uint32_t parts;       /* divisor of HISTORY_OPS: a durable set waits for the disk */
} setting;

static struct {
    cellar *c;
    const setting *how;
    uint32_t threads;
    uint64_t round_ops;              /* of a thread */
    uint64_t first_id, ids;          /* of the round */
    /* Of incr: calls; calls with E_IO; calls with E_SPACE: the entry left memory four times. */
    _Atomic uint64_t next_id, counted, not_through, no_place;
    _Atomic uint8_t *replaced;       /* by id of the round: an update read it and succeeded */
    lin_log log[THREADS_MAX];
} all;

typedef struct actor {
    lin_log *log;
    base_rng r;
    unsigned char buf[BATCH][VALUE_MAX], value[VALUE_MAX];
} actor;

static uint32_t below(actor *a, uint32_t n) { return (uint32_t)base_rng_below(&a->r, n); }

static uint64_t new_id(void) { return atomic_fetch_add(&all.next_id, 1); }

static bool is_counter(uint32_t key) { return key % 4 == 3; }

/* ---- values ---- */

static size_t fill(actor *a, uint32_t key, uint64_t id)
{
    const uint64_t word = id | (uint64_t)key << 48;
    const size_t words = 1 + below(a, below(a, 8) == 0 ? VALUE_MAX / 8 : 12);
    for (size_t i = 0; i < words; i++) { memcpy(a->value + 8 * i, &word, 8); }
    return 8 * words;
}

/* Return the id in a value of the key; check all its bytes. */
static uint64_t id_in(uint32_t key, const void *bytes, size_t len)
{
    uint64_t word = 0;
    if (!T_CHECK(len >= 8 && len % 8 == 0)) { return 0; }
    memcpy(&word, bytes, 8);
    if (is_counter(key)) {
        T_EQ_U64(len, 8);
        return word;
    }
    T_EQ_U64(word >> 48, key);
    T_CHECK(memcmp(bytes, (const char *)bytes + 8, len - 8) == 0);
    return word & ((UINT64_C(1) << 48) - 1);
}

static void note(actor *a, lin_kind kind, uint32_t key, uint64_t id, uint64_t start, uint64_t end)
{
    lin_note(a->log, lin_make(kind, key, id, start, end));
}

static void note_read(actor *a, uint32_t key, const void *bytes, size_t len, uint64_t start,
                      uint64_t end)
{
    note(a, LIN_READ, key, id_in(key, bytes, len), start, end);
}

/* ---- changes ---- */

/* A failed set may have stored its value or removed the old one. A write covers both. With
 * ONLY_IF_ABSENT it has done neither if the entry left memory four times before it was judged. */
static void act_set(actor *a, uint32_t key)
{
    const uint64_t id = new_id();
    const size_t len = fill(a, key, id);
    cellar_set_opts o = cellar_set_opts_default();
    const uint32_t what = below(a, 100), durable = all.how->durable_pct;
    if (what < durable) {
        o.flags = CELLAR_DURABLE;
    } else if (what < durable + 6) {
        o.flags = what % 2 != 0 ? CELLAR_ONLY_IF_ABSENT : CELLAR_ONLY_IF_PRESENT;
    }
    const uint64_t start = base_now_ns();
    const cellar_err err = cellar_set(all.c, &key, sizeof key, a->value, len,
                                      o.flags != 0 ? &o : NULL);
    const uint64_t end = base_now_ns();
    const bool unjudged = (o.flags & CELLAR_ONLY_IF_ABSENT) != 0 && err == CELLAR_E_SPACE;
    if (err <= CELLAR_OK && !unjudged) {
        note(a, LIN_WRITE, key, id, start, end);
    }
}

static void act_del(actor *a, uint32_t key)
{
    const uint64_t start = base_now_ns();
    T_CHECK(cellar_delete(all.c, &key, sizeof key) >= CELLAR_OK);
    note(a, LIN_WRITE, key, new_id(), start, base_now_ns());
}

typedef struct step {
    actor *a;
    uint32_t key;
    uint64_t old_id, new_id; /* old 0: none */
} step;

static cellar_err replace(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    step *s = ctx;
    s->old_id = old != NULL ? id_in(s->key, old, old_len) : 0;
    return cellar_buf_append(out, s->a->value, fill(s->a, s->key, s->new_id));
}

/* Check that no two changes have replaced one value. */
static void note_replaced(uint64_t id)
{
    if (id < all.first_id || id - all.first_id >= all.ids) { return; } /* the checker reports it */
    T_EQ_U64(atomic_exchange(&all.replaced[id - all.first_id], 1), 0);
}

static void act_update(actor *a, uint32_t key)
{
    step s = { a, key, 0, new_id() };
    const uint64_t start = base_now_ns();
    const cellar_err err = cellar_update(all.c, &key, sizeof key, NULL, replace, &s);
    const uint64_t end = base_now_ns();
    if (err > CELLAR_OK || err == CELLAR_E_BUSY || err == CELLAR_E_SPACE) { return; }
    note(a, LIN_WRITE, key, s.new_id, start, end);
    if (err == CELLAR_OK && s.old_id != 0) {
        note(a, LIN_READ, key, s.old_id, start, end);
        note_replaced(s.old_id);
    }
}

/* A counter begins at a number of its own, so that each number is written once. */
static void act_incr(actor *a, uint32_t key)
{
    const uint64_t first = COUNTER_BIT | new_id() << 20;
    int64_t now = 0;
    const uint64_t start = base_now_ns();
    const cellar_err err = cellar_increment(all.c, &key, sizeof key, 1, (int64_t)first, NULL, &now);
    const uint64_t end = base_now_ns();
    if (err == CELLAR_E_SPACE) { /* nothing changed */
        atomic_fetch_add(&all.no_place, 1);
        return;
    }
    /* E_IO: done in memory, evicted before the write-through read it back. */
    if (err == CELLAR_E_IO) {
        atomic_fetch_add(&all.not_through, 1);
    } else if (!T_EQ_I64(err, CELLAR_OK)) {
        return;
    }
    atomic_fetch_add(&all.counted, 1);
    note(a, LIN_WRITE, key, (uint64_t)now, start, end);
    if ((uint64_t)now != first + 1) { note(a, LIN_READ, key, (uint64_t)now - 1, start, end); }
}

static cellar_err load(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    step *s = ctx;
    (void)key;
    (void)key_len;
    s->old_id = s->new_id; /* the loader has run */
    return cellar_load_value(ld, s->a->value, fill(s->a, s->key, s->new_id));
}

static void act_load(actor *a, uint32_t key)
{
    step s = { a, key, 0, new_id() };
    cellar_result r = cellar_result_default();
    cellar_load_opts o = { .struct_size = sizeof o, .ttl_ms = 3600000 };
    const uint64_t start = base_now_ns();
    const cellar_err err = cellar_get_or_load(all.c, &key, sizeof key, &o, load, &s, &r);
    const uint64_t end = base_now_ns();
    /* What a load did not store says nothing of the entry: a false miss may have begun it. All that
     * share the load are told so. */
    if (T_CHECK(err == CELLAR_OK) && (r.flags & CELLAR_RESULT_NOT_STORED) == 0) {
        if (s.old_id != 0) { note(a, LIN_WRITE, key, s.new_id, start, end); }
        note_read(a, key, r.value, r.value_len, start, end);
    }
    cellar_result_free(&r);
}

/* ---- reads ---- */

static void act_get(actor *a, uint32_t key, uint32_t way)
{
    size_t len = 0;
    cellar_entry_info info = cellar_entry_info_default();
    cellar_get_opts o = cellar_get_opts_default();
    o.flags = way == 1 ? CELLAR_GET_PEEK : way == 2 ? CELLAR_GET_WANT_VERSION : 0;
    o.info = &info;
    const uint64_t start = base_now_ns();
    const cellar_err err =
        way == 0 ? peek(all.c, &key, sizeof key, a->buf[0], VALUE_MAX, &len)
        : way < 4 ? cellar_get_with(all.c, &key, sizeof key, &o, a->buf[0], VALUE_MAX, &len)
                  : cellar_get(all.c, &key, sizeof key, a->buf[0], VALUE_MAX, &len);
    const uint64_t end = base_now_ns();
    if (err == CELLAR_OK) { note_read(a, key, a->buf[0], len, start, end); }
}

static void act_get_many(actor *a)
{
    cellar_get_item item[BATCH];
    uint32_t key[BATCH];
    memset(item, 0, sizeof item);
    for (uint32_t i = 0; i < BATCH; i++) {
        key[i] = below(a, all.how->keys);
        item[i].key = &key[i];
        item[i].key_len = sizeof key[i];
        item[i].buf = a->buf[i];
        item[i].buf_cap = VALUE_MAX;
    }
    const uint64_t start = base_now_ns();
    T_CHECK(cellar_get_many(all.c, item, BATCH, NULL) >= CELLAR_OK);
    const uint64_t end = base_now_ns();
    for (uint32_t i = 0; i < BATCH; i++) {
        if (item[i].status != CELLAR_OK) { continue; }
        note_read(a, key[i], a->buf[i], item[i].value_len, start, end);
    }
}

static void act_pin(actor *a, uint32_t key)
{
    cellar_pinned pin;
    const uint64_t start = base_now_ns();
    const cellar_err err = cellar_pin(all.c, &key, sizeof key, &pin);
    const uint64_t end = base_now_ns();
    if (err != CELLAR_OK) { return; }
    note_read(a, key, pin.value, pin.value_len, start, end);
    cellar_unpin(&pin);
}

static void act_dup(actor *a, uint32_t key)
{
    void *copy = NULL;
    size_t len = 0;
    const uint64_t start = base_now_ns();
    const cellar_err err = cellar_get_alloc(all.c, &key, sizeof key, &copy, &len);
    const uint64_t end = base_now_ns();
    if (err == CELLAR_OK) { note_read(a, key, copy, len, start, end); }
    cellar_free(copy);
}

/* ---- rounds ---- */

static void act(actor *a)
{
    const uint32_t key = below(a, all.how->keys), what = below(a, 100);
    if (what < 34) {
        act_get(a, key, below(a, 12));
    } else if (what < 37) {
        act_get_many(a);
    } else if (what < 41) {
        act_pin(a, key);
    } else if (what < 44) {
        act_dup(a, key);
    } else if (what < 62) {
        act_del(a, key);
    } else if (what < 65) {
        (void)cellar_touch(all.c, &key, sizeof key, CELLAR_TTL_NONE);
    } else if (is_counter(key)) {
        act_incr(a, key);
    } else if (what < 69) {
        act_update(a, key);
    } else if (what < 72) {
        act_load(a, key);
    } else {
        act_set(a, key);
    }
}

static void *actor_main(void *arg)
{
    actor *a = arg;
    for (uint64_t i = 0; i < all.round_ops && !t_failed(); i++) { act(a); }
    return NULL;
}

/* Judge the operations that the round has recorded. */
static bool judged(uint64_t *ops)
{
    lin_report r;
    const bool fine = lin_check_logs(all.log, all.threads, &r);
    for (uint32_t i = 0; i < all.threads; i++) {
        T_EQ_U64(all.log[i].dropped, 0);
        *ops += all.log[i].count;
        all.log[i].count = 0;
    }
    if (!T_CHECK(fine)) {
        printf("# %s: key %" PRIu64 ", value %" PRIu64 " and %" PRIu64 ", %" PRIu64
               " violations\n", lin_fault_text(r.fault), r.key, r.id, r.other_id, r.violations);
    }
    return fine;
}

static void round_begin(actor *a)
{
    all.first_id = atomic_load(&all.next_id);
    memset((void *)all.replaced, 0, all.ids);
    for (uint32_t key = 0; key < all.how->keys; key++) { act_del(a, key); }
}

static void run_round(actor *actors)
{
    pthread_t t[THREADS_MAX];
    round_begin(&actors[0]);
    for (uint32_t i = 0; i < all.threads; i++) {
        T_REQUIRE(pthread_create(&t[i], NULL, actor_main, &actors[i]) == 0);
    }
    for (uint32_t i = 0; i < all.threads; i++) { T_EQ_I64(pthread_join(t[i], NULL), 0); }
}

static void open_all(const setting *how)
{
    memset(&all, 0, sizeof all);
    all.how = how;
    all.threads = (uint32_t)base_clamp(t_env_u64("HISTORY_THREADS", 4), 1, THREADS_MAX);
    all.round_ops = t_env_u64("HISTORY_ROUND", 8000 / T_COST);
    all.ids = 2 * all.threads * all.round_ops + how->keys;
    all.replaced = calloc(all.ids, 1);
    T_REQUIRE(all.replaced != NULL);
    atomic_store(&all.next_id, 1);
    for (uint32_t i = 0; i < all.threads; i++) {
        T_REQUIRE(lin_open(&all.log[i], BATCH * all.round_ops + how->keys));
    }
    store_begin();
    cellar_namespace_config root = { .struct_size = sizeof root, .l2_write = how->l2_write };
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = CELLAR_MEMORY_MIN,
                     .config.max_entries = how->in_memory, .config.eviction = CELLAR_EVICT_LRU,
                     .config.l2_path = store, .config.l2_bytes = CELLAR_L2_BYTES_MIN,
                     .l2.sync = how->l2_sync, .l2.close_ms = CELLAR_TTL_NONE,
                     .config.root = &root };
    T_REQUIRE(settings_open(&cfg, &all.c) == CELLAR_OK);
}

static void close_all(void)
{
    T_EQ_I64(cellar_integrity_check(all.c), CELLAR_OK);
    T_EQ_I64(cellar_close(all.c), CELLAR_OK);
    for (uint32_t i = 0; i < all.threads; i++) { lin_close(&all.log[i]); }
    free((void *)all.replaced);
    store_end();
}

/* A slow disk answers few reads: continue until some values came from it. */
static void judge(setting how)
{
    open_all(&how);
    const uint64_t all_ops = t_env_u64("HISTORY_OPS", 400000 / T_COST / t_patience());
    const uint64_t want = all_ops / how.parts, since_ns = base_now_ns();
    uint64_t ops = 0, most = 40 * want;
    cellar_stats st = cellar_stats_default();
    actor *actors = calloc(all.threads, sizeof *actors);
    T_REQUIRE(actors != NULL);
    for (uint32_t i = 0; i < all.threads; i++) {
        actors[i].log = &all.log[i];
        base_rng_seed(&actors[i].r, t_seed() * 31 + i);
    }
    do {
        run_round(actors);
        if (!judged(&ops)) { break; }
        T_EQ_I64(cellar_stats_get(all.c, CELLAR_SCOPE_STORE, &st), CELLAR_OK);
    } while (!t_failed() && ops < most && (ops < want || st.hits_l2 <= 100));
    const uint64_t ns = base_now_ns() - since_ns;
    printf("# %" PRIu64 " operations judged, %" PRIu64 " a second; hits: %" PRIu64
           " of memory, %" PRIu64 " of disk; misses: %" PRIu64 "\n", ops,
           ops * 1000 / (ns / 1000000 + 1), st.hits_l1, st.hits_l2, st.misses);
    T_CHECK(t_failed() || st.hits_l2 > 100);
    /* A busy machine stops a thread between the change and its write-through. */
    T_CHECK((all.not_through + all.no_place) * 50 <= all.counted);
    free(actors);
    close_all();
}

T_CASE(reads_stay_in_order_with_writes_on_eviction)
{
    judge((setting){ CELLAR_L2_WRITE_ON_EVICTION, CELLAR_L2_SYNC_MANUAL, 8, 3, 0, 1 });
}
T_CASE(reads_stay_in_order_with_writes_of_each_set)
{
    judge((setting){ CELLAR_L2_WRITE_ON_SET, CELLAR_L2_SYNC_MANUAL, 8, 3, 0, 1 });
}
T_CASE(reads_stay_in_order_with_write_through)
{
    judge((setting){ CELLAR_L2_WRITE_THROUGH, CELLAR_L2_SYNC_MANUAL, 8, 3, 0, 1 });
}
T_CASE(reads_stay_in_order_with_durable_sets)
{
    judge((setting){ CELLAR_L2_WRITE_ON_EVICTION, CELLAR_L2_SYNC_PERIODIC, 8, 3, 10, 10 });
}
T_CASE(reads_stay_in_order_over_keys_that_share_stamps)
{
    judge((setting){ CELLAR_L2_WRITE_THROUGH, CELLAR_L2_SYNC_MANUAL, 120, 20, 0, 1 });
}

T_MAIN("cache_history")
