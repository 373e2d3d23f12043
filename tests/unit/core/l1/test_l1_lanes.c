/* SPDX-License-Identifier: MIT
 *
 * Aim:    sets go round all lanes of a store, whatever the lives and the other stores of a thread.
 *         A tick without time shrinks the index. Under a rule with fill the segments of small move
 *         to main, also while another thread deletes their records; each count stays exact.
 * Method: threads of one set each, and one thread that sets in a small and a large store in turn;
 *         then the entries of each lane are counted. Ticks of 0 us after deletes. */
#include "tests/support/l1_kit.h"

#include "l1/policy.h"
#include "l1/record.h"
#include "l1/segment.h"
#include "l1/types.h"

/* Return how many lanes hold at least a quarter of their share. */
static uint32_t lanes_used(kit *k)
{
    const uint64_t entries = kit_stats(k).entries;
    uint32_t used = 0;
    for (uint32_t i = 0; i < k->c->stripe_count; i++) {
        used += l1_lane_entries(&k->c->lane[i]) * 4 * k->c->stripe_count >= entries;
    }
    return used;
}

static kit z;

static void set_once(void *arg)
{
    T_EQ_I64(kit_put(&z, (uint64_t)(uintptr_t)arg, 1, 50), CELLAR_OK);
}

T_CASE(threads_of_one_set_use_all_lanes)
{
    const l1_config cfg = {.stripes = 16};
    kit_open(&z, KIT_MIB(32), &cfg);
    T_CHECK(z.c->stripe_count >= 8);
    for (uintptr_t id = 0; id < 8 * z.c->stripe_count; id++) {
        kit_team team = {.n = 0};
        kit_start(&team, set_once, (void *)id);
        kit_join(&team);
    }
    T_CHECK(lanes_used(&z) > z.c->stripe_count / 2);
    kit_close(&z);
}

T_CASE(stores_of_one_thread_use_all_their_lanes)
{
    kit few, many;
    const l1_config cfg = {.stripes = 2}, most = {.stripes = 16};
    kit_open(&few, KIT_MIB(32), &cfg);
    kit_open(&many, KIT_MIB(32), &most);
    T_CHECK(few.c->stripe_count == 2 && many.c->stripe_count >= 8);
    for (uint64_t id = 0; id < 20000; id++) {
        T_EQ_I64(kit_put(&few, id, 1, 50), CELLAR_OK);
        T_EQ_I64(kit_put(&many, id, 1, 50), CELLAR_OK);
    }
    T_EQ_U64(lanes_used(&few), 2);
    T_EQ_U64(lanes_used(&many), many.c->stripe_count);
    kit_close(&few);
    kit_close(&many);
}

T_CASE(tick_without_time_shrinks_the_index)
{
    kit k;
    const l1_config cfg = {.stripes = 4};
    kit_open(&k, KIT_MIB(32), &cfg);
    for (uint64_t id = 0; id < 50000; id++) { T_EQ_I64(kit_put(&k, id, 1, 50), CELLAR_OK); }
    for (uint64_t id = 0; id < 50000; id++) { T_EQ_I64(kit_del(&k, id), CELLAR_OK); }
    const uint64_t before = kit_stats(&k).buckets;
    for (unsigned i = 0; i < 10000; i++) { (void)l1_tick(k.c, 0); }
    T_CHECK(kit_stats(&k).buckets < before / 4);
    kit_close(&k);
}

static _Atomic uint64_t stored;

static void delete_every_fourth(void *arg)
{
    (void)arg;
    for (uint64_t id = 0; id < 60000; id += 4) {
        while (base_load_acq(&stored) < id) { base_yield(); }
        (void)kit_del(&z, id);
    }
}

/* Return the segments of main, or those of them that moved there as a whole. */
static uint32_t main_segs(kit *k, bool moved)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < k->c->stripe_count; i++) {
        for (uint32_t at = k->c->lane[i].queue[1].tail; at != L1_NONE; at = k->c->seg[at].next) {
            n += !moved || (base_load_rlx(&k->c->seg[at].live) & L1_LIVE_MOVED) != 0;
        }
    }
    return n;
}

T_CASE(segments_move_to_main_beside_deletes)
{
    const l1_config cfg = {.stripes = 1, .policy = L1_ADAPTIVE};
    for (unsigned deletes = 0; deletes < 2; deletes++) {
        kit_team team = {.n = 0};
        kit_open(&z, KIT_MIB(2), &cfg);
        base_store_rlx(&z.c->rule, L1_RULE_GUARD);
        base_store_rlx(&stored, 0);
        if (deletes != 0) { kit_start(&team, delete_every_fourth, NULL); }
        for (uint64_t id = 0; id < 60000; id++) {
            T_EQ_I64(kit_put(&z, id, 1, 100), CELLAR_OK);
            base_store_rel(&stored, id);
        }
        kit_join(&team);
        T_CHECK(main_segs(&z, false) != 0);
        T_CHECK(deletes != 0 || main_segs(&z, true) * 2 > main_segs(&z, false));
        kit_close(&z); /* audits: the counts of segments and queues are exact */
    }
}

/* Read the id of the record at `*at` and go on. */
static uint64_t id_at(uint32_t seg, uint32_t *at)
{
    const uint64_t pos = ((uint64_t)seg << z.c->seg_shift) + *at;
    char text[17] = { 0 };
    l1_rec r;
    T_REQUIRE(l1_decode(z.c, pos, &r) && r.klen == 16);
    memcpy(text, l1_at(z.c, pos) + r.key_off, 16);
    *at += r.size;
    return strtoull(text, NULL, 16);
}

static void delete_records_from(uint32_t seg, uint32_t at)
{
    while (at < z.c->seg[seg].used_bytes) { (void)kit_del(&z, id_at(seg, &at)); }
}

static void open_with_rule(uint32_t rule)
{
    const l1_config cfg = {.stripes = 1, .policy = L1_ADAPTIVE};
    kit_open(&z, KIT_MIB(2), &cfg);
    base_store_rlx(&z.c->rule, rule);
}

static bool main_head_moved(void)
{
    const uint32_t head = z.c->lane[0].queue[1].head;
    return head != L1_NONE && (base_load_rlx(&z.c->seg[head].live) & L1_LIVE_MOVED) != 0;
}

/* All records behind a moved segment end: it becomes the head. It is sealed: the next record of main
 * opens a segment. */
T_CASE(moved_segment_may_be_the_head_of_main)
{
    open_with_rule(1); /* far: it fills main */
    for (uint64_t id = 0; id < 60000 && !main_head_moved(); id++) {
        T_EQ_I64(kit_put(&z, id, 1, 900), CELLAR_OK);
        if (main_segs(&z, true) != 0) { delete_records_from(z.c->lane[0].queue[1].head, 0); }
    }
    T_CHECK(main_head_moved());
    l1_lane *n = &z.c->lane[0];
    uint64_t pos;
    sync_bare_take(&n->lock);
    T_REQUIRE(l1_log_reserve(z.c, n, 1, 24, &pos)); /* it fits behind the others */
    T_EQ_U64(l1_seg_of(z.c, pos), n->queue[1].head);
    T_CHECK(main_head_moved());
    l1_live_add(z.c, pos, 24);
    l1_live_sub(z.c, pos, 24, 0, false); /* its bytes: l1_log_undo */
    l1_log_undo(z.c, pos, 24);
    sync_bare_drop(&n->lock);
    kit_close(&z); /* audits: each queue has its own counts */
}

/* Also one that was the head of main when its last record ended. */
T_ALONE(emptied_store_keeps_no_moved_segment)
{
    uint64_t id = 0, removed;
    open_with_rule(L1_RULE_GUARD);
    for (; id < 60000 && !main_head_moved(); id++) {
        T_EQ_I64(kit_put(&z, id, 1, 100), CELLAR_OK);
    }
    T_CHECK(main_head_moved());
    while (id-- > 0) { (void)kit_del(&z, id); }
    for (unsigned i = 0; i < 5; i++) { (void)l1_upkeep(z.c, 1000000, &removed); }
    T_EQ_U64(base_load_rlx(&z.c->held), 0);
    kit_close(&z);
}

/* A lane of long values has few short records: all of small and most of main in one segment each.
 * Records that stayed in the newest one would be judged again only when main is empty. */
T_ALONE(records_of_the_newest_segment_do_not_stay)
{
    open_with_rule(L1_RULE_GUARD);
    const l1_lane *const n = &z.c->lane[0];
    unsigned stays = 0;
    for (uint64_t id = 0; id < 2000; id++) {
        T_EQ_I64(kit_put(&z, id, 1, 9000), CELLAR_OK);
        const uint32_t head = n->queue[0].head;
        stays += head != L1_NONE && n->stay_seq == base_load_rlx(&z.c->seg[head].seq);
    }
    T_EQ_U64(stays, 0);
    kit_close(&z);
}

/* 0 means no segment. */
T_ALONE(numbers_of_segments_wrap_around)
{
    open_with_rule(L1_RULE_GUARD);
    z.c->opened = UINT32_MAX - 40;
    for (uint64_t id = 0; id < 60000; id++) {
        T_EQ_I64(kit_put(&z, id, 1, id * 7 % 200), CELLAR_OK);
    }
    T_CHECK(z.c->opened != 0 && z.c->opened < 10000);
    kit_close(&z);
}

/* The cursor is in the middle of a segment that would move, and all behind it is deleted. */
T_ALONE(change_to_lru_evicts_what_would_have_moved)
{
    open_with_rule(L1_RULE_GUARD);
    l1_lane *const n = &z.c->lane[0];
    for (uint64_t id = 0; id < 25000 || n->stay_seq == 0 || n->stay_at < 1000; id++) {
        T_REQUIRE(id < 60000);
        T_EQ_I64(kit_put(&z, id, 1, 100), CELLAR_OK);
    }
    const uint32_t tail = n->queue[0].tail;
    uint32_t at = 0;
    const uint64_t oldest = id_at(tail, &at);
    delete_records_from(tail, n->stay_at);
    for (uint32_t s = z.c->seg[tail].next; s != L1_NONE; s = z.c->seg[s].next) {
        delete_records_from(s, 0);
    }
    l1_set_policy(z.c, L1_LRU);
    for (uint64_t id = 100000; id < 300000; id++) {
        T_EQ_I64(kit_put(&z, id, 1, 100), CELLAR_OK);
    }
    T_CHECK(!kit_has(&z, oldest));
    kit_close(&z);
}

T_MAIN("l1_lanes")
