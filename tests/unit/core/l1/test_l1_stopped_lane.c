/* SPDX-License-Identifier: MIT
 *
 * Aim:    a thread that stops for good inside a lane holds up no other thread: sets, reads, changes
 *         that move a record, deletes, ticks, statistics and a new budget go on, also for records
 *         of that lane. The bound of entries stays exact. The lane keeps its entries and its memory;
 *         the thread may go on at any time.
 * Method: the test locks one lane and keeps it, as such a thread does, and makes all calls. A call
 *         that waits for the lane never returns. Then the lane is free, and the audit runs. */
#include "l1/cap.h"
#include "l1/change.h"
#include "l1/evict.h"
#include "l1/index.h"
#include "l1/manage.h"
#include "l1/segment.h"
#include "tests/support/l1_kit.h"

enum { LANES = 8, STOPPED = 3, NAMESPACE = 70, BOUND = 4000, LONG = 3000 };

static kit z;

static uint32_t namespace_of(void *ctx, uint32_t generation)
{
    (void)ctx;
    return generation == 0 ? L1_NO_NAMESPACE : NAMESPACE;
}

static void open_store(uint64_t max_entries)
{
    l1_config cfg = {.stripes = LANES, .max_entries = max_entries, .policy = L1_ADAPTIVE};
    cfg.hooks.namespace_of = namespace_of;
    kit_open(&z, KIT_MIB(16), &cfg);
    T_REQUIRE(z.c->stripe_count == LANES);
}

static void stop(void) { sync_bare_take(&z.c->lane[STOPPED].lock); }

static void close_store(void)
{
    sync_bare_drop(&z.c->lane[STOPPED].lock);
    (void)l1_tick(z.c, UINT64_MAX);
    const l1_stats s = kit_stats(&z);
    const uint64_t max = base_load_rlx(&z.c->max_entries);
    T_CHECK(max == 0 || s.entries <= max);
    T_EQ_U64(s.segments_parked, 0); /* each call has lowered `busy` again */
    kit_close(&z);
}

/* Return whether the record of the key lies in the stopped lane. */
static bool lies_there(uint64_t id)
{
    kit_key key;
    l1_slot slot;
    return l1_find_now(z.c, kit_key_of(&z, &key, 0, id), &slot, NULL) != NULL &&
           l1_lane_of(z.c, slot.pos) == &z.c->lane[STOPPED];
}

static uint64_t lie_there(uint64_t ids)
{
    uint64_t n = 0;
    for (uint64_t id = 0; id < ids; id++) { n += lies_there(id); }
    return n;
}

/* ---- one entry after the other --------------------------------------------------------------- */
/* Change each entry so that its record moves, and check its value. */
static void move_all(uint64_t ids, unsigned how)
{
    static unsigned char v[2 * LONG];
    for (uint64_t id = 0; id < ids; id++) {
        kit_key key;
        size_t len = 0, want = id % 5 == 0 ? LONG : 40;
        int64_t sum;
        uint64_t version;
        const l1_renewal fresh = {.times = true, .deadline_ms = kit_now(&z) + 90000,
                                  .stale_ms = 100};
        const l1_put_spec none = {.deadline_ms = BASE_NEVER_MS};
        (void)kit_key_of(&z, &key, 0, id);
        switch (how) {
        case 0: T_EQ_I64(kit_put(&z, id, 1, want), CELLAR_OK); break;
        case 1: T_EQ_I64(l1_touch(z.c, &key.key, kit_now(&z) + 80000, 70000, NULL), CELLAR_OK); break;
        case 2: T_EQ_I64(l1_version(z.c, &key.key, &version), CELLAR_OK); break;
        case 3: T_EQ_I64(l1_renew(z.c, &key.key, &fresh, NULL), CELLAR_OK); break;
        case 4: T_EQ_I64(kit_put(&z, id, 1, want = 56 + want), CELLAR_OK); break;
        default: /* an increment of a pinned counter */
            want = 8;
            T_EQ_I64(kit_put(&z, id, 1, want), CELLAR_OK);
            l1_pin_ref pin;
            T_EQ_I64(kit_pin(z.c, &key.key, &pin, 0), CELLAR_OK);
            T_EQ_I64(l1_incr(z.c, &key.key, 0, 0, &none, true, &sum, NULL), CELLAR_OK);
            l1_unpin(z.c, &pin);
        }
        T_EQ_I64(kit_get(&z, id, v, sizeof v, &len), CELLAR_OK);
        T_CHECK(len == want && kit_is(v, len, id, 1));
    }
}

T_ALONE(changes_move_records_out_of_a_stopped_lane)
{
    for (unsigned how = 1; how < 12; how++) {
        if (how % 6 == 0) { continue; }
        const uint64_t max = how > 6 ? BOUND : 0, ids = 2000;
        open_store(max);
        move_all(ids, 0);
        stop();
        const uint64_t there = lie_there(ids);
        T_CHECK(there > ids / LANES / 4);
        move_all(ids, how % 6);
        T_EQ_U64(lie_there(ids), 0);
        T_EQ_U64(kit_stats(&z).entries, ids);
        unsigned used = 0; /* lanes with a quarter of their share: rewrites go round, too */
        for (uint32_t i = 0; i < LANES; i++) {
            used += l1_lane_entries(&z.c->lane[i]) * 4 * LANES >= ids;
        }
        T_EQ_U64(used, LANES - 1);
        for (uint64_t id = 0; id < ids; id++) { T_EQ_I64(kit_del(&z, id), CELLAR_OK); }
        T_EQ_U64(kit_stats(&z).entries, 0);
        close_store();
    }
}

/* The tickets of entries that move come along: none is left in the stopped lane. */
T_ALONE(moved_entries_keep_their_tickets)
{
    open_store(BOUND);
    for (uint64_t id = 0; id < BOUND; id++) { T_EQ_I64(kit_put(&z, id, 1, 40), CELLAR_OK); }
    stop();
    const uint64_t before = kit_stats(&z).entries, there = lie_there(BOUND);
    T_CHECK(there > BOUND / LANES / 4 && before > BOUND - 64);
    for (uint64_t id = 0; id < BOUND; id++) {
        kit_key key;
        if (!kit_has(&z, id)) { continue; }
        if (id % 2 == 0) { T_EQ_I64(kit_put(&z, id, 1, 400), CELLAR_OK); continue; }
        T_EQ_I64(l1_touch(z.c, kit_key_of(&z, &key, 0, id), KIT_START_MS * 2, 70000, NULL),
                 CELLAR_OK);
    }
    T_EQ_U64(kit_stats(&z).entries, before);
    T_EQ_U64(base_load_rlx(&z.c->lane[STOPPED].granted), l1_lane_entries(&z.c->lane[STOPPED]));
    for (uint64_t id = 0; id < 4 * BOUND; id++) {
        T_EQ_I64(kit_put(&z, BOUND + id, 1, 40), CELLAR_OK);
    }
    T_CHECK(kit_stats(&z).entries <= BOUND && kit_stats(&z).entries > BOUND - 64);
    close_store();
}

/* ---- the whole store ------------------------------------------------------------------------- */
static void fill(uint64_t from, uint64_t ids)
{
    for (uint64_t id = from; id < from + ids; id++) {
        const size_t len = id % 500 == 0 ? 90000 : 100 + id % 100;
        T_EQ_I64(kit_put_until(&z, 0, id, 1, len, id % 7 == 0 ? kit_now(&z) + 1000 : BASE_NEVER_MS),
                 CELLAR_OK);
    }
}

T_ALONE(full_store_serves_beside_a_stopped_lane)
{
    for (unsigned bounded = 0; bounded < 2; bounded++) {
            uint64_t removed;
        open_store(bounded != 0 ? 5 * BOUND : 0);
        fill(0, 100000);
        stop();
        fill(100000, 60000);
        T_CHECK(kit_used(&z) <= KIT_MIB(16));
        kit_forward(&z, 2000);
        T_EQ_I64(l1_upkeep(z.c, UINT64_MAX, &removed), CELLAR_OK);
        T_CHECK(removed != 0);
        for (unsigned i = 0; i < 4 * LANES; i++) { (void)l1_upkeep(z.c, 0, &removed); }
        l1_generation_died(z.c, 1, UINT32_MAX);
        T_EQ_I64(l1_upkeep(z.c, UINT64_MAX, &removed), CELLAR_OK);
        T_CHECK(l1_make_room(z.c, KIT_MIB(2)));
        for (unsigned i = 0; i < 16 * LANES; i++) { (void)l1_evict_excess(z.c); }
        for (l1_policy p = L1_S3FIFO; p <= L1_ADAPTIVE; p++) {
            l1_set_policy(z.c, p);
            fill(300000, 4000);
        }
        close_store();
    }
}

static void set_bound(void *arg)
{
    (void)arg;
    T_EQ_I64(l1_set_max_entries(z.c, 50000), CELLAR_OK);
}

/* A call that needs all lanes waits for the stopped one, and holds no other meanwhile. */
T_CASE(sets_go_on_beside_a_call_that_needs_all_lanes)
{
    kit_team team = {.n = 0};
    open_store(0);
    l1_lane *const last = &z.c->lane[LANES - 1];
    sync_bare_take(&last->lock);
    kit_start(&team, set_bound, NULL);
    while (base_load_rlx(&z.c->resizing) == 0) { base_yield(); }
    fill(1, 3000);
    T_EQ_U64(l1_lane_entries(last), 0);
    T_EQ_U64(base_load_rlx(&z.c->max_entries), 0);
    sync_bare_drop(&last->lock);
    kit_join(&team);
    T_EQ_U64(base_load_rlx(&z.c->max_entries), 50000);
    stop();
    close_store();
}

/* The lane keeps its entries and its memory. Ticks soon wait for it no longer, and its deadlines wake
 * no maintenance thread. */
T_ALONE(ticks_leave_a_stopped_lane_out)
{
    enum { IDS = 20000, TICKS = 6 };
    uint64_t removed;
    open_store(0);
    const l1_lane *const n = &z.c->lane[STOPPED];
    for (uint64_t id = 0; id < IDS; id++) {
        T_EQ_I64(kit_put_until(&z, 0, id, 1, 100, kit_now(&z) + 9000), CELLAR_OK);
    }
    stop();
    const uint64_t there = l1_lane_entries(n);
    const uint32_t held = base_load_rlx(&n->held_segs);
    T_CHECK(there > IDS / LANES / 2 && l1_next_due_ms(z.c) < kit_now(&z) + 10000);
    kit_forward(&z, 20000);
    for (unsigned i = 0; i < TICKS; i++) {
        T_EQ_I64(l1_upkeep(z.c, UINT64_MAX, &removed), CELLAR_OK);
        T_EQ_U64(removed, i == 0 ? IDS - there : 0);
        T_EQ_U64(base_load_rlx(&n->missed), BASE_MIN(i + 1, 4));
    }
    T_EQ_I64(l1_next_due_ms(z.c), BASE_NEVER_MS);
    T_EQ_U64(l1_lane_entries(n), there);
    T_EQ_U64(base_load_rlx(&n->held_segs), held);
    sync_bare_drop(&z.c->lane[STOPPED].lock); /* the thread goes on after all */
    T_EQ_I64(l1_upkeep(z.c, UINT64_MAX, &removed), CELLAR_OK);
    T_EQ_U64(removed, there);
    stop();
    close_store();
}

T_ALONE(budget_changes_beside_a_stopped_lane)
{
    open_store(0);
    fill(0, 120000);
    stop();
    T_EQ_I64(l1_resize(z.c, KIT_MIB(12)), CELLAR_OK);
    T_CHECK(kit_used(&z) <= KIT_MIB(12));
    fill(0, 20000);
    T_EQ_I64(l1_resize(z.c, KIT_MIB(16)), CELLAR_OK);
    fill(50000, 20000);
    T_EQ_I64(l1_resize(z.c, KIT_MIB(1)), CELLAR_E_SPACE); /* the stopped lane holds as much */
    T_EQ_I64(l1_resize(z.c, KIT_MIB(16)), CELLAR_OK);
    fill(100000, 20000);
    close_store();
}

/* The oldest entries of the namespace lie in the stopped lane, too. */
T_CASE(bound_of_a_namespace_evicts_from_a_stopped_lane)
{
    open_store(0);
    T_EQ_I64(l1_cap_open(z.c, NAMESPACE), CELLAR_OK);
    T_EQ_I64(l1_cap_start(z.c, NAMESPACE, 1, BOUND), L1_CAP_STARTED);
    for (uint64_t id = 0; id < BOUND; id++) {
        T_EQ_I64(kit_put_until(&z, 1, id, 1, 40, BASE_NEVER_MS), CELLAR_OK);
    }
    stop();
    T_CHECK(l1_lane_entries(&z.c->lane[STOPPED]) != 0);
    for (uint64_t id = 0; id < BOUND; id++) {
        T_EQ_I64(kit_put_until(&z, 1, BOUND + id, 1, 40, BASE_NEVER_MS), CELLAR_OK);
    }
    T_EQ_U64(l1_lane_entries(&z.c->lane[STOPPED]), 0);
    T_EQ_U64(kit_stats(&z).entries, BOUND);
    close_store();
}

/* The ticket of a set that stopped before its append takes the only place of the namespace. */
T_ALONE(set_fails_if_a_stopped_set_has_the_only_place)
{
    l1_toll t = {.generation = 1};
    open_store(0);
    T_EQ_I64(l1_cap_open(z.c, NAMESPACE), CELLAR_OK);
    T_EQ_I64(l1_cap_start(z.c, NAMESPACE, 1, 1), L1_CAP_STARTED);
    stop();
    T_CHECK(l1_cap_reserve(z.c, &t) && t.ticket != 0);
    T_EQ_I64(kit_put_until(&z, 1, 7, 1, 40, BASE_NEVER_MS), CELLAR_E_SPACE);
    l1_cap_unused(z.c, &t);
    T_EQ_I64(kit_put_until(&z, 1, 7, 1, 40, BASE_NEVER_MS), CELLAR_OK);
    close_store();
}

T_ALONE(one_free_lane_serves_all_sets)
{
    open_store(0);
    for (uint32_t i = 1; i < LANES; i++) { sync_bare_take(&z.c->lane[i].lock); }
    for (uint64_t id = 0; id < 2000; id++) { T_EQ_I64(kit_put(&z, id, 1, 40), CELLAR_OK); }
    T_EQ_U64(l1_lane_entries(&z.c->lane[0]), 2000);
    for (uint32_t i = 1; i < LANES; i++) { sync_bare_drop(&z.c->lane[i].lock); }
    stop();
    close_store();
}

/* ---- threads --------------------------------------------------------------------------------- */
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

T_CASE(threads_go_on_beside_a_stopped_lane)
{
    const uint32_t workers = t_env_u64("T_SCALE", 1) > 1 ? 16 : 4;
    for (unsigned bounded = 0; bounded < 2; bounded++) {
        kit_team team = {.n = 0};
        open_store(bounded != 0 ? BOUND : 0);
        T_EQ_I64(l1_cap_open(z.c, NAMESPACE), CELLAR_OK);
        T_EQ_I64(l1_cap_start(z.c, NAMESPACE, 1, 500), L1_CAP_STARTED);
        fill(0, 20000);
        stop();
        atomic_store(&ended, 0);
        for (uintptr_t i = 0; i < workers; i++) { kit_start(&team, worker, (void *)i); }
        for (unsigned i = 0; atomic_load(&ended) != workers; i++) {
            kit_forward(&z, 20);
            (void)l1_tick(z.c, i % 3 * 500);
            if (i % 4 == 0) { T_EQ_I64(l1_resize(z.c, KIT_MIB(10 + i % 7)), CELLAR_OK); }
            if (i % 8 == 0) { l1_generation_died(z.c, 1, UINT32_MAX); }
            if (i % 16 == 0) { l1_set_policy(z.c, (l1_policy)(i / 16 % 4)); }
            (void)kit_stats(&z); /* an entry that moves meanwhile may count twice */
        }
        kit_join(&team);
        close_store();
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
T_CASE(set_waits_for_the_lane_with_the_only_entry)
{
    second_put p = {.err = CELLAR_E_SPACE};
    for (unsigned tries = 0; p.err != CELLAR_OK && tries < 20; tries++) {
        kit_team team = {.n = 0};
        uint32_t with = 0;
        open_store(0);
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

T_MAIN("l1_stopped_lane")
