/* SPDX-License-Identifier: MIT
 *
 * Aim:    a thread that stops for good inside a lane holds up no other thread: sets, reads, changes
 *         that move a record, deletes, ticks, statistics and a new budget go on, also for records
 *         of that lane. The bound of entries stays exact. Ticks take its entries and its memory; the
 *         thread may go on at any time.
 * Method: the test locks one lane and keeps it, as such a thread does, and makes all calls. A call
 *         that waits for the lane never returns. Then the lane is free, and the audit runs. */
#include "l1/cap.h"
#include "l1/change.h"
#include "l1/evict.h"
#include "l1/index.h"
#include "l1/manage.h"
#include "l1/segment.h"
#include "l1/stopped.h"
#include "l1/unlink.h"
#include "tests/support/l1_kit.h"

enum { LANES = 8, STOPPED = 3, NAMESPACE = 70, BOUND = 4000, LONG = 3000 };

static uint32_t namespace_of(void *ctx, uint32_t generation)
{
    (void)ctx;
    return generation == 0 ? L1_NO_NAMESPACE : NAMESPACE;
}

static void open_store(kit *k, uint64_t max_entries)
{
    l1_config cfg = {.stripes = LANES, .max_entries = max_entries, .policy = L1_ADAPTIVE};
    cfg.hooks.namespace_of = namespace_of;
    kit_open(k, KIT_MIB(16), &cfg);
    T_REQUIRE(k->c->stripe_count == LANES);
}

static void stop(kit *k) { sync_bare_take(&k->c->lane[STOPPED].lock); }

static void close_store(kit *k)
{
    sync_bare_drop(&k->c->lane[STOPPED].lock);
    (void)l1_tick(k->c, UINT64_MAX);
    const l1_stats s = kit_stats(k);
    const uint64_t max = base_load_rlx(&k->c->max_entries);
    T_CHECK(max == 0 || s.entries <= max);
    T_EQ_U64(s.segments_parked, 0); /* each call has lowered `busy` again */
    T_EQ_U64(k->c->hollow, 0);
    kit_close(k);
}

/* Return whether the record of the key lies in the stopped lane. */
static bool lies_there(kit *k, uint64_t id)
{
    kit_key key;
    l1_slot slot;
    return l1_find_now(k->c, kit_key_of(k, &key, 0, id), &slot, NULL) != NULL &&
           l1_lane_of(k->c, slot.pos) == &k->c->lane[STOPPED];
}

static uint64_t lie_there(kit *k, uint64_t ids)
{
    uint64_t n = 0;
    for (uint64_t id = 0; id < ids; id++) { n += lies_there(k, id); }
    return n;
}

/* ---- one entry after the other --------------------------------------------------------------- */
/* Change each entry so that its record moves, and check its value. */
static void move_all(kit *k, uint64_t ids, unsigned how)
{
    static unsigned char v[2 * LONG];
    for (uint64_t id = 0; id < ids; id++) {
        kit_key key;
        size_t len = 0, want = id % 5 == 0 ? LONG : 40;
        int64_t sum;
        uint64_t version;
        const l1_renewal fresh = {.times = true, .deadline_ms = kit_now(k) + 90000,
                                  .stale_ms = 100};
        const l1_put_spec none = {.deadline_ms = BASE_NEVER_MS};
        (void)kit_key_of(k, &key, 0, id);
        switch (how) {
        case 0: T_EQ_I64(kit_put(k, id, 1, want), CELLAR_OK); break;
        case 1: T_EQ_I64(l1_touch(k->c, &key.key, kit_now(k) + 80000, 70000, NULL), CELLAR_OK); break;
        case 2: T_EQ_I64(l1_version(k->c, &key.key, &version), CELLAR_OK); break;
        case 3: T_EQ_I64(l1_renew(k->c, &key.key, &fresh, NULL), CELLAR_OK); break;
        case 4: T_EQ_I64(kit_put(k, id, 1, want = 56 + want), CELLAR_OK); break;
        default: /* an increment of a pinned counter */
            want = 8;
            T_EQ_I64(kit_put(k, id, 1, want), CELLAR_OK);
            l1_pin_ref pin;
            T_EQ_I64(kit_pin(k->c, &key.key, &pin, 0), CELLAR_OK);
            T_EQ_I64(l1_incr(k->c, &key.key, 0, 0, &none, true, &sum, NULL), CELLAR_OK);
            l1_unpin(k->c, &pin);
        }
        T_EQ_I64(kit_get(k, id, v, sizeof v, &len), CELLAR_OK);
        T_CHECK(len == want && kit_is(v, len, id, 1));
    }
}

static void changes_move_records_out_of_a_stopped_lane(void)
{
    for (unsigned how = 1; how < 12; how++) {
        kit k;
        if (how % 6 == 0) { continue; }
        const uint64_t max = how > 6 ? BOUND : 0, ids = 2000;
        open_store(&k, max);
        move_all(&k, ids, 0);
        stop(&k);
        const uint64_t there = lie_there(&k, ids);
        T_CHECK(there > ids / LANES / 4);
        move_all(&k, ids, how % 6);
        T_EQ_U64(lie_there(&k, ids), 0);
        T_EQ_U64(kit_stats(&k).entries, ids);
        unsigned used = 0; /* lanes with a quarter of their share: rewrites go round, too */
        for (uint32_t i = 0; i < LANES; i++) {
            used += l1_lane_entries(&k.c->lane[i]) * 4 * LANES >= ids;
        }
        T_EQ_U64(used, LANES - 1);
        for (uint64_t id = 0; id < ids; id++) { T_EQ_I64(kit_del(&k, id), CELLAR_OK); }
        T_EQ_U64(kit_stats(&k).entries, 0);
        close_store(&k);
    }
}

/* The tickets of entries that move come along: none is left in the stopped lane. */
static void moved_entries_keep_their_tickets(void)
{
    kit k;
    open_store(&k, BOUND);
    for (uint64_t id = 0; id < BOUND; id++) { T_EQ_I64(kit_put(&k, id, 1, 40), CELLAR_OK); }
    stop(&k);
    const uint64_t before = kit_stats(&k).entries, there = lie_there(&k, BOUND);
    T_CHECK(there > BOUND / LANES / 4 && before > BOUND - 64);
    for (uint64_t id = 0; id < BOUND; id++) {
        kit_key key;
        if (!kit_has(&k, id)) { continue; }
        if (id % 2 == 0) { T_EQ_I64(kit_put(&k, id, 1, 400), CELLAR_OK); continue; }
        T_EQ_I64(l1_touch(k.c, kit_key_of(&k, &key, 0, id), KIT_START_MS * 2, 70000, NULL),
                 CELLAR_OK);
    }
    T_EQ_U64(kit_stats(&k).entries, before);
    T_EQ_U64(base_load_rlx(&k.c->lane[STOPPED].granted), l1_lane_entries(&k.c->lane[STOPPED]));
    for (uint64_t id = 0; id < 4 * BOUND; id++) {
        T_EQ_I64(kit_put(&k, BOUND + id, 1, 40), CELLAR_OK);
    }
    T_CHECK(kit_stats(&k).entries <= BOUND && kit_stats(&k).entries > BOUND - 64);
    close_store(&k);
}

/* ---- the whole store ------------------------------------------------------------------------- */
static void fill(kit *k, uint64_t from, uint64_t ids)
{
    for (uint64_t id = from; id < from + ids; id++) {
        const size_t len = id % 500 == 0 ? 90000 : 100 + id % 100;
        T_EQ_I64(kit_put_until(k, 0, id, 1, len, id % 7 == 0 ? kit_now(k) + 1000 : BASE_NEVER_MS),
                 CELLAR_OK);
    }
}

static void full_store_serves_beside_a_stopped_lane(void)
{
    for (unsigned bounded = 0; bounded < 2; bounded++) {
        kit k;
        uint64_t removed;
        open_store(&k, bounded != 0 ? 5 * BOUND : 0);
        fill(&k, 0, 100000);
        stop(&k);
        fill(&k, 100000, 60000);
        T_CHECK(kit_used(&k) <= KIT_MIB(16));
        kit_forward(&k, 2000);
        T_EQ_I64(l1_upkeep(k.c, UINT64_MAX, &removed), CELLAR_OK);
        T_CHECK(removed != 0);
        for (unsigned i = 0; i < 4 * LANES; i++) { (void)l1_upkeep(k.c, 0, &removed); }
        l1_generation_died(k.c);
        T_EQ_I64(l1_upkeep(k.c, UINT64_MAX, &removed), CELLAR_OK);
        T_CHECK(l1_make_room(k.c, KIT_MIB(2)));
        for (unsigned i = 0; i < 16 * LANES; i++) { (void)l1_evict_excess(k.c); }
        for (l1_policy p = L1_S3FIFO; p <= L1_ADAPTIVE; p++) {
            l1_set_policy(k.c, p);
            fill(&k, 300000, 4000);
        }
        close_store(&k);
    }
}

static void put_all(kit *k, uint64_t from, uint64_t to)
{
    for (uint64_t id = from; id < to; id++) {
        T_EQ_I64(kit_put(k, id, 1, id % 1000 == 0 ? 20000 : 500 + id % 80), CELLAR_OK);
    }
}

/* Check the value of each entry; return how many there are. */
static uint64_t read_all(kit *k, uint64_t to)
{
    static unsigned char v[20000];
    uint64_t there = 0;
    for (uint64_t id = 0; id < to; id++) {
        size_t len;
        if (kit_get(k, id, v, sizeof v, &len) != CELLAR_OK) { continue; }
        T_CHECK(kit_is(v, len, id, 1));
        there++;
    }
    return there;
}

static void set_bound(void *arg)
{
    kit *const k = arg;
    T_EQ_I64(l1_set_max_entries(k->c, 50000), CELLAR_OK);
}

/* A call that needs all lanes waits for the stopped one, and holds no other meanwhile. */
static void sets_go_on_beside_a_call_that_needs_all_lanes(void)
{
    kit k;
    kit_team team = {.n = 0};
    open_store(&k, 0);
    l1_lane *const last = &k.c->lane[LANES - 1];
    sync_bare_take(&last->lock);
    kit_start(&team, set_bound, &k);
    while (base_load_rlx(&k.c->resizing) == 0) { base_yield(); }
    put_all(&k, 1, 3000);
    T_EQ_U64(l1_lane_entries(last), 0);
    T_EQ_U64(base_load_rlx(&k.c->max_entries), 0);
    sync_bare_drop(&last->lock);
    kit_join(&team);
    T_EQ_U64(base_load_rlx(&k.c->max_entries), 50000);
    stop(&k);
    close_store(&k);
}

/* Miss the lane three times: for the next tick it counts as stopped. */
static void miss(kit *k)
{
    for (unsigned i = 0; i < 3; i++) {
        (void)l1_tick(k->c, UINT64_MAX);
        kit_forward(k, 400);
    }
}

/* Its two open segments are all that a stopped lane costs. */
static void ticks_empty_a_stopped_lane(void)
{
    enum { IDS = 30000 };
    for (unsigned bounded = 0; bounded < 2; bounded++) {
        kit k;
        open_store(&k, bounded != 0 ? 5 * BOUND : 0);
        const l1_lane *const n = &k.c->lane[STOPPED];
        put_all(&k, 0, IDS);
        stop(&k);
        const uint64_t before = read_all(&k, IDS), used = kit_used(&k);
        T_CHECK(base_load_rlx(&n->held_segs) > 16 && l1_lane_entries(n) > before / LANES / 2);
        miss(&k);
        T_CHECK(base_load_rlx(&n->held_segs) > 16); /* missed too few times so far */
        (void)l1_tick(k.c, UINT64_MAX);
        T_CHECK(base_load_rlx(&n->held_segs) <= 2 && k.c->hollow != 0);
        T_CHECK(l1_lane_entries(n) <= 2 * k.c->seg_bytes / 60);
        const uint64_t after = read_all(&k, IDS);
        T_CHECK(after <= before && after >= before / 100 * 97);
        T_EQ_U64(kit_stats(&k).entries, after);
        put_all(&k, IDS, IDS + 10000);
        T_CHECK(kit_used(&k) <= KIT_MIB(16) && kit_used(&k) >= used / 100 * 97);
        T_EQ_I64(l1_resize(k.c, KIT_MIB(2)), CELLAR_OK); /* the lane holds less now */
        T_EQ_I64(l1_resize(k.c, KIT_MIB(16)), CELLAR_OK);
        put_all(&k, 0, IDS / 2);
        close_store(&k);
    }
}

/* The thread in the lane goes on between two steps, under each policy. */
static void lane_that_was_emptied_goes_on(void)
{
    kit k;
    open_store(&k, 0);
    put_all(&k, 1, 30000);
    for (unsigned i = 0; i < 40; i++) {
        l1_lane *const n = &k.c->lane[STOPPED];
        l1_set_policy(k.c, (l1_policy)(i % 4));
        put_all(&k, 100000 * i, 100000 * i + 1000);
        stop(&k);
        for (unsigned round = 0; round < 3; round++) {
            l1_freed freed = {0};
            for (unsigned steps = i * 7; steps > 0; steps--) {
                l1_victims v;
                v.n = 0;
                if (l1_step_any(k.c, n, steps % 16 == 0, &v, &freed) == L1_STEP_END) { break; }
                (void)l1_due_step(k.c, n, (uint64_t)kit_now(&k), &v, &freed);
                (void)l1_compact_step(k.c, n, &v);
                l1_hand_over(k.c, &v);
            }
            l1_lane_empty(k.c, n, UINT64_MAX);
        }
        sync_bare_drop(&n->lock);
    }
    stop(&k);
    close_store(&k);
}

/* Each tick goes on where the last one ended, and leaves time for the other lanes. */
static void short_ticks_empty_the_lane_and_sweep_the_others(void)
{
    kit k;
    open_store(&k, 0);
    for (uint64_t id = 0; id < 20000; id++) {
        T_EQ_I64(kit_put_until(&k, 0, id, 1, 100, id % 2 == 0 ? kit_now(&k) + 9000 : BASE_NEVER_MS),
                 CELLAR_OK);
    }
    stop(&k);
    const l1_lane *const n = &k.c->lane[STOPPED];
    miss(&k);
    kit_forward(&k, 9000);
    unsigned ticks = 0;
    uint64_t removed;
    for (; ticks < 60000 && base_load_rlx(&n->held_segs) > 2; ticks++) {
        const cellar_err err = l1_upkeep(k.c, 0, &removed);
        if (n->left.seg != 0) { T_EQ_I64(err, CELLAR_PENDING); }
    }
    T_CHECK(base_load_rlx(&n->held_segs) <= 2);
    const uint64_t left = kit_stats(&k).entries; /* expired ones in the open segments stay */
    T_CHECK(left >= 10000 && left <= 10000 + l1_lane_entries(n));
    close_store(&k);
}

/* A huge page would back what was given back. */
static void hollow_segments_get_no_huge_page(void)
{
    kit k;
    l1_config cfg = {.stripes = LANES, .policy = L1_S3FIFO, .huge_pages = L1_HUGE_NOW};
    kit_open(&k, KIT_MIB(64), &cfg);
    put_all(&k, 1, 20000);
    stop(&k);
    k.c->collapse_off = false; /* also where the system has none */
    T_CHECK(l1_collapse_due(k.c));
    l1_lane_empty(k.c, &k.c->lane[STOPPED], UINT64_MAX);
    T_CHECK(k.c->hollow != 0 && !l1_collapse_due(k.c));
    close_store(&k);
}

static void lane_that_works_is_not_emptied(void)
{
    kit k;
    open_store(&k, 0);
    put_all(&k, 0, 30000);
    stop(&k);
    l1_lane *const n = &k.c->lane[STOPPED];
    for (unsigned i = 0; i < 30; i++) {
        if (i % 3 == 0) { l1_counted(&n->kept); }
        kit_forward(&k, 1000);
        (void)l1_tick(k.c, UINT64_MAX);
    }
    T_EQ_U64(k.c->hollow, 0);
    kit_forward(&k, 1000);
    (void)l1_tick(k.c, UINT64_MAX);
    T_CHECK(k.c->hollow != 0);
    close_store(&k);
}

/* A budget below what the lane holds: no other lane has room, so the entries are evicted. */
static void lowered_budget_takes_from_a_stopped_lane(void)
{
    kit k;
    open_store(&k, 0);
    put_all(&k, 0, 30000);
    stop(&k);
    uint64_t budget = KIT_MIB(2);
    while (l1_resize(k.c, budget) == CELLAR_OK) { budget -= KIT_KIB(100); }
    miss(&k);
    (void)l1_tick(k.c, UINT64_MAX);
    T_CHECK(base_load_rlx(&k.c->lane[STOPPED].held_segs) <= 2);
    T_EQ_I64(l1_resize(k.c, budget), CELLAR_OK);
    T_CHECK(kit_used(&k) <= budget);
    T_EQ_I64(l1_resize(k.c, KIT_MIB(4)), CELLAR_OK);
    put_all(&k, 100000, 101000);
    close_store(&k);
}

/* The thread stops between its last look at a segment and the lock of the free ones. */
static void segment_that_the_lane_releases_is_left_to_it(void)
{
    kit k;
    kit_key key;
    l1_slot slot;
    open_store(&k, 0);
    put_all(&k, 1, 20000);
    stop(&k);
    l1_lane *const n = &k.c->lane[STOPPED];
    const uint32_t seg = n->queue[0].tail;
    l1_seg *const g = &k.c->seg[seg];
    T_REQUIRE(seg != n->queue[0].head);
    for (uint64_t id = 1; id < 20000; id++) {
        if (l1_find_now(k.c, kit_key_of(&k, &key, 0, id), &slot, NULL) == g) { (void)kit_del(&k, id); }
    }
    T_EQ_U64(base_xchg_ar(&n->empty, 0u), seg + 1); /* l1_free_all_emptied and l1_seg_release */
    base_store_rlx(&g->live, (uint64_t)0);
    l1_seg_unqueue(k.c, n, seg);
    base_store_rlx(&g->seq, 0u);
    l1_lane_empty(k.c, n, UINT64_MAX);
    T_EQ_U64(base_load_rlx(&g->busy), 0);
    l1_seg_release(k.c, seg);
    close_store(&k);
}

/* The window of a bucket is open for good: its record stays, and the call returns. */
static void record_of_a_locked_bucket_stays(void)
{
    kit k;
    kit_key key;
    uint64_t id = 1;
    open_store(&k, 0);
    put_all(&k, 1, 6000);
    stop(&k);
    l1_lane *const n = &k.c->lane[STOPPED];
    while (!lies_there(&k, id)) { id++; }
    const uint64_t hash = kit_key_of(&k, &key, 0, id)->hash;
    const l1_stripe *const s = l1_stripe_of(k.c, hash);
    l1_bucket *const b = l1_bucket_at(s, l1_number(base_load_acq(&s->ls), hash));
    base_add_ar(&b->ver, 1u);
    l1_lane_empty(k.c, n, UINT64_MAX);
    base_add_ar(&b->ver, 1u);
    T_CHECK(lies_there(&k, id));
    l1_lane_empty(k.c, n, UINT64_MAX);
    T_CHECK(!lies_there(&k, id) && kit_has(&k, id));
    close_store(&k);
}

/* ---- what the moved entries keep ---- */
static bool is_writing(void *ctx, uint64_t hash, uint32_t generation, const void *key, size_t len)
{
    (void)hash, (void)generation;
    return *(bool *)ctx && len != 0 && ((const unsigned char *)key)[0] < 255;
}

static unsigned char long_key[20000];

static l1_key long_key_of(const kit *k, uint32_t number)
{
    memcpy(long_key, &number, sizeof number);
    return (l1_key){.bytes = long_key, .len = sizeof long_key,
                    .hash = base_hash(&k->hash_key, 0, long_key, sizeof long_key)};
}

/* Return how many entries with such keys lie in sealed segments of the stopped lane. */
static unsigned long_keys_there(kit *k, uint32_t keys)
{
    unsigned there = 0;
    for (uint32_t i = 0; i < keys; i++) {
        l1_slot slot;
        const l1_key key = long_key_of(k, i);
        const l1_seg *const g = l1_find_now(k->c, &key, &slot, NULL);
        there += g != NULL && base_load_rlx(&g->seal) == L1_SEALED &&
                 l1_lane_of_seg(k->c, g) == &k->c->lane[STOPPED];
    }
    return there;
}

/* A move changes no address on disk. An entry with its key in a block is evicted, but not while a
 * change still reads it to write it. */
static void emptied_lane_minds_the_disk(void)
{
    enum { IDS = 20000, EVERY = 200 };
    kit k;
    kit_key key;
    l1_info info;
    bool writing = true;
    l1_config cfg = {.stripes = LANES, .policy = L1_ADAPTIVE};
    cfg.hooks.ctx = &writing;
    cfg.hooks.writing = is_writing;
    kit_open(&k, KIT_MIB(16), &cfg);
    for (uint64_t id = 0; id < IDS; id++) {
        l1_put_spec p = {.value = "value", .value_len = 5, .deadline_ms = BASE_NEVER_MS,
                         .change = L1_CHANGE_SET, .l2_addr = 4096 * (id + 1)};
        T_EQ_I64(l1_put(k.c, kit_key_of(&k, &key, 0, id), &p), CELLAR_OK);
        if (id % EVERY != 0) { continue; }
        const l1_key far = long_key_of(&k, (uint32_t)(id / EVERY));
        p.l2_addr = L1_ADDR_LATER;
        T_EQ_I64(l1_put(k.c, &far, &p), CELLAR_OK);
    }
    stop(&k);
    const unsigned there = long_keys_there(&k, IDS / EVERY);
    T_CHECK(there > 2);
    l1_lane_empty(k.c, &k.c->lane[STOPPED], UINT64_MAX);
    T_EQ_U64(long_keys_there(&k, IDS / EVERY), there);
    writing = false;
    l1_lane_empty(k.c, &k.c->lane[STOPPED], UINT64_MAX);
    T_EQ_U64(long_keys_there(&k, IDS / EVERY), 0);
    T_EQ_U64(kit_stats(&k).entries, IDS + IDS / EVERY - there);
    for (uint64_t id = 0; id < IDS; id++) {
        T_EQ_I64(l1_inspect(k.c, kit_key_of(&k, &key, 0, id), NULL, 0, &info, L1_PEEK), CELLAR_OK);
        T_EQ_U64(info.l2_addr, 4096 * (id + 1));
    }
    close_store(&k);
}

/* A listener forks while a tick holds a segment: the child holds it as well. */
static kit *forks;

static void forking_listener(void *ctx, const l1_left *what)
{
    (void)ctx, (void)what;
    if (forks == NULL) { return; }
    l1_fork_prepare(forks->c);
    l1_fork_child(forks->c);
    forks = NULL;
}

static void listener_that_forks_leaves_the_segment_held(void)
{
    kit k;
    l1_config cfg = {.stripes = LANES, .policy = L1_ADAPTIVE, .hooks.left = forking_listener};
    kit_open(&k, KIT_MIB(16), &cfg);
    l1_want_left(k.c, true);
    fill(&k, 0, 30000);
    kit_forward(&k, 2000);
    forks = &k;
    l1_lane_empty(k.c, &k.c->lane[STOPPED], UINT64_MAX); /* no thread is there: the fork gets it */
    T_CHECK(forks == NULL && k.c->hollow != 0);
    for (uint32_t i = 0; i < k.c->fresh; i++) { T_EQ_U64(base_load_rlx(&k.c->seg[i].busy), 0); }
    stop(&k);
    close_store(&k);
}

/* A pin keeps the memory of its segment, a victim its bytes. */
static void pinned_segments_of_a_stopped_lane_stay(void)
{
    kit k;
    kit_key key;
    l1_pin_ref pin;
    uint64_t id = 0;
    open_store(&k, 0);
    put_all(&k, 1, 30000);
    stop(&k);
    l1_lane *const n = &k.c->lane[STOPPED];
    while (!lies_there(&k, id) || id % 1000 == 0) { id++; }
    T_EQ_I64(kit_pin(k.c, kit_key_of(&k, &key, 0, id), &pin, 0), CELLAR_OK);
    const uint32_t held = base_load_rlx(&n->held_segs);
    l1_lane_empty(k.c, n, UINT64_MAX);
    T_CHECK(!lies_there(&k, id) && kit_has(&k, id));
    T_CHECK(kit_is(pin.value, pin.value_len, id, 1));
    T_EQ_U64(k.c->hollow + base_load_rlx(&n->held_segs), held);
    const uint32_t kept = base_load_rlx(&n->held_segs);
    l1_unpin(k.c, &pin);
    l1_lane_empty(k.c, n, UINT64_MAX);
    T_EQ_U64(base_load_rlx(&n->held_segs), kept - 1);
    close_store(&k);
}

/* A segment that was followed by another one may be emptied at any time, also as the newest. */
static void sealed_segment_gets_no_record(void)
{
    kit k;
    uint64_t pos;
    open_store(&k, 0);
    put_all(&k, 1, 2000);
    stop(&k);
    l1_lane *const n = &k.c->lane[STOPPED];
    const uint32_t sealed = n->queue[0].head;
    T_REQUIRE(l1_log_reserve(k.c, n, 0, k.c->seg_bytes, &pos));
    l1_log_undo(k.c, n, 0, pos, k.c->seg_bytes);
    l1_seg_unqueue(k.c, n, l1_seg_of(k.c, pos));
    l1_seg_release(k.c, l1_seg_of(k.c, pos));
    T_EQ_U64(n->queue[0].head, sealed);
    T_REQUIRE(l1_log_reserve(k.c, n, 0, 64, &pos));
    T_CHECK(l1_seg_of(k.c, pos) != sealed);
    l1_log_undo(k.c, n, 0, pos, 64);
    close_store(&k);
}

static void budget_changes_beside_a_stopped_lane(void)
{
    kit k;
    open_store(&k, 0);
    fill(&k, 0, 120000);
    stop(&k);
    T_EQ_I64(l1_resize(k.c, KIT_MIB(12)), CELLAR_OK);
    T_CHECK(kit_used(&k) <= KIT_MIB(12));
    fill(&k, 0, 20000);
    T_EQ_I64(l1_resize(k.c, KIT_MIB(16)), CELLAR_OK);
    fill(&k, 50000, 20000);
    T_EQ_I64(l1_resize(k.c, KIT_MIB(1)), CELLAR_E_SPACE); /* the stopped lane holds as much */
    T_EQ_I64(l1_resize(k.c, KIT_MIB(16)), CELLAR_OK);
    fill(&k, 100000, 20000);
    close_store(&k);
}

/* The oldest entries of the namespace lie in the stopped lane, too. */
static void bound_of_a_namespace_evicts_from_a_stopped_lane(void)
{
    kit k;
    open_store(&k, 0);
    T_EQ_I64(l1_cap_open(k.c, NAMESPACE), CELLAR_OK);
    T_EQ_I64(l1_cap_start(k.c, NAMESPACE, 1, BOUND), L1_CAP_STARTED);
    for (uint64_t id = 0; id < BOUND; id++) {
        T_EQ_I64(kit_put_until(&k, 1, id, 1, 40, BASE_NEVER_MS), CELLAR_OK);
    }
    stop(&k);
    T_CHECK(l1_lane_entries(&k.c->lane[STOPPED]) != 0);
    for (uint64_t id = 0; id < BOUND; id++) {
        T_EQ_I64(kit_put_until(&k, 1, BOUND + id, 1, 40, BASE_NEVER_MS), CELLAR_OK);
    }
    T_EQ_U64(l1_lane_entries(&k.c->lane[STOPPED]), 0);
    T_EQ_U64(kit_stats(&k).entries, BOUND);
    close_store(&k);
}

/* The ticket of a set that stopped before its append takes the only place of the namespace. */
static void set_fails_if_a_stopped_set_has_the_only_place(void)
{
    kit k;
    l1_toll t = {.generation = 1};
    open_store(&k, 0);
    T_EQ_I64(l1_cap_open(k.c, NAMESPACE), CELLAR_OK);
    T_EQ_I64(l1_cap_start(k.c, NAMESPACE, 1, 1), L1_CAP_STARTED);
    stop(&k);
    T_CHECK(l1_cap_reserve(k.c, &t) && t.ticket != 0);
    T_EQ_I64(kit_put_until(&k, 1, 7, 1, 40, BASE_NEVER_MS), CELLAR_E_SPACE);
    l1_cap_unused(k.c, &t);
    T_EQ_I64(kit_put_until(&k, 1, 7, 1, 40, BASE_NEVER_MS), CELLAR_OK);
    close_store(&k);
}

static void one_free_lane_serves_all_sets(void)
{
    kit k;
    open_store(&k, 0);
    for (uint32_t i = 1; i < LANES; i++) { sync_bare_take(&k.c->lane[i].lock); }
    for (uint64_t id = 0; id < 2000; id++) { T_EQ_I64(kit_put(&k, id, 1, 40), CELLAR_OK); }
    T_EQ_U64(l1_lane_entries(&k.c->lane[0]), 2000);
    for (uint32_t i = 1; i < LANES; i++) { sync_bare_drop(&k.c->lane[i].lock); }
    stop(&k);
    close_store(&k);
}

/* ---- threads --------------------------------------------------------------------------------- */
static kit z;
static _Atomic uint32_t ended;

static void worker(void *arg)
{
    static const size_t lens[] = {8, 40, 100, 1000, 1500, 6000, 70000};
    kit_rng r = {t_seed() + (uint64_t)(uintptr_t)arg};
    unsigned char v[8192];
    for (uint64_t i = kit_scale(60000); i > 0; i--) {
        const uint64_t id = kit_below(&r, 6000), what = kit_below(&r, 16);
        kit_key key;
        size_t len;
        uint64_t seq, version;
        int64_t sum;
        const l1_put_spec none = {.deadline_ms = BASE_NEVER_MS};
        (void)kit_key_of(&z, &key, 0, id);
        if (what < 6) {
            const size_t n = lens[kit_below(&r, kit_one_in(&r, 50) ? 7 : 6)];
            const cellar_err err = kit_put(&z, id, i, n);
            T_CHECK(err == CELLAR_OK || err == CELLAR_E_SPACE);
        } else if (what < 10) {
            const cellar_err err = kit_get(&z, id, v, sizeof v, &len);
            if (err == CELLAR_OK && len != 8) { T_CHECK(kit_whole(v, len, id, &seq)); }
        } else if (what == 10) {
            (void)kit_del(&z, id);
        } else if (what == 11) {
            (void)l1_touch(z.c, &key.key, kit_now(&z) + (int64_t)kit_below(&r, 5000), 5000, NULL);
        } else if (what == 12) {
            (void)l1_touch(z.c, &key.key, BASE_NEVER_MS, 0, NULL);
        } else if (what == 13) {
            (void)l1_incr(z.c, &key.key, 1, 0, &none, false, &sum, NULL);
        } else if (what == 14) {
            (void)l1_version(z.c, &key.key, &version);
        } else {
            (void)kit_put_until(&z, 1, id, i, 40, kit_now(&z) + (int64_t)kit_below(&r, 500));
        }
    }
    atomic_fetch_add(&ended, 1);
}

static void threads_go_on_beside_a_stopped_lane(void)
{
    const uint32_t workers = t_env_u64("T_SCALE", 1) > 1 ? 16 : 4;
    for (unsigned bounded = 0; bounded < 2; bounded++) {
        kit_team team = {.n = 0};
        open_store(&z, bounded != 0 ? BOUND : 0);
        T_EQ_I64(l1_cap_open(z.c, NAMESPACE), CELLAR_OK);
        T_EQ_I64(l1_cap_start(z.c, NAMESPACE, 1, 500), L1_CAP_STARTED);
        fill(&z, 0, 20000);
        stop(&z);
        atomic_store(&ended, 0);
        for (uintptr_t i = 0; i < workers; i++) { kit_start(&team, worker, (void *)i); }
        for (unsigned i = 0; atomic_load(&ended) != workers; i++) {
            kit_forward(&z, 20);
            (void)l1_tick(z.c, i % 3 * 500);
            /* False alarms: the threads in the other lanes go on. */
            if (i % 2 == 0) { l1_lane_empty(z.c, &z.c->lane[i / 2 % LANES], UINT64_MAX); }
            if (i % 4 == 0) { T_EQ_I64(l1_resize(z.c, KIT_MIB(10 + i % 7)), CELLAR_OK); }
            if (i % 8 == 0) { l1_generation_died(z.c); }
            if (i % 16 == 0) { l1_set_policy(z.c, (l1_policy)(i / 16 % 4)); }
            (void)kit_stats(&z); /* an entry that moves meanwhile may count twice */
        }
        kit_join(&team);
        close_store(&z);
    }
}

typedef struct second_put {
    _Atomic(_Atomic uint32_t *) lane; /* of its thread: the lane that it tries next */
    uint64_t ns;                      /* that the put took */
    cellar_err err;
} second_put;

static void put_second(void *arg)
{
    second_put *const p = arg;
    const uint64_t start = base_now_ns();
    base_store_rel(&p->lane, &base_thread_self()->lane);
    p->err = kit_put(&z, 2, 1, 8);
    p->ns = base_now_ns() - start;
}

/* The bound is 1, and a thread keeps the lane with the entry for a moment: the set goes round until
 * the lane is free. On a busy machine the moment may be longer than the set waits: once more. */
static void set_waits_for_the_lane_with_the_only_entry(void)
{
    second_put p = {.err = CELLAR_E_SPACE};
    for (unsigned tries = 0; p.err != CELLAR_OK && tries < 20; tries++) {
        kit_team team = {.n = 0};
        uint32_t with = 0;
        open_store(&z, 0);
        T_EQ_I64(l1_set_max_entries(z.c, 1), CELLAR_OK);
        T_EQ_I64(kit_put(&z, 1, 1, 8), CELLAR_OK);
        while (l1_lane_entries(&z.c->lane[with]) == 0) { with++; }
        sync_bare_take(&z.c->lane[with].lock);
        base_store_rlx(&p.lane, NULL);
        kit_start(&team, put_second, &p);
        while (base_load_acq(&p.lane) == NULL) { base_yield(); }
        const uint32_t first = base_load_rlx(p.lane);
        for (unsigned i = 0; i < 200 && base_load_rlx(p.lane) - first < 2 * LANES; i++) {
            base_yield();
        }
        sync_bare_drop(&z.c->lane[with].lock);
        kit_join(&team);
        if (p.err == CELLAR_OK) { T_CHECK(kit_has(&z, 2) && !kit_has(&z, 1)); }
        if (p.err != CELLAR_OK) { T_CHECK(p.err == CELLAR_E_SPACE && p.ns >= L1_LANES_WAIT_NS); }
        kit_close(&z);
    }
    T_EQ_I64(p.err, CELLAR_OK);
}

T_MAIN("l1_stopped_lane", T_CASE(changes_move_records_out_of_a_stopped_lane),
       T_CASE(moved_entries_keep_their_tickets), T_CASE(full_store_serves_beside_a_stopped_lane),
       T_CASE(sets_go_on_beside_a_call_that_needs_all_lanes),
       T_CASE(ticks_empty_a_stopped_lane), T_CASE(lane_that_was_emptied_goes_on),
       T_CASE(short_ticks_empty_the_lane_and_sweep_the_others),
       T_CASE(hollow_segments_get_no_huge_page), T_CASE(lane_that_works_is_not_emptied),
       T_CASE(lowered_budget_takes_from_a_stopped_lane),
       T_CASE(segment_that_the_lane_releases_is_left_to_it),
       T_CASE(record_of_a_locked_bucket_stays), T_CASE(emptied_lane_minds_the_disk),
       T_CASE(listener_that_forks_leaves_the_segment_held),
       T_CASE(pinned_segments_of_a_stopped_lane_stay), T_CASE(sealed_segment_gets_no_record),
       T_CASE(budget_changes_beside_a_stopped_lane),
       T_CASE(bound_of_a_namespace_evicts_from_a_stopped_lane),
       T_CASE(set_fails_if_a_stopped_set_has_the_only_place),
       T_CASE(one_free_lane_serves_all_sets), T_CASE(threads_go_on_beside_a_stopped_lane),
       T_CASE(set_waits_for_the_lane_with_the_only_entry))
