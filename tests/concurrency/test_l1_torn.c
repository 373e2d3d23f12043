/* SPDX-License-Identifier: MIT
 *
 * Aim:    a hit is one whole value of its own key, during writes, eviction, splits and ticks, for
 *         every way of reading.
 * Method: every word of a value encodes key, sequence number and place. Writers rewrite few keys
 *         with sizes 1..2000, in place and not. Readers check each word from get, get_many,
 *         inspect, pin and scan. T_SCALE lengthens the run (10^9 reads: T_SCALE=200). */
#include "tests/support/l1_kit.h"

enum { WRITERS = 2, READERS = 3, BATCH = 16 };

static struct {
    kit k;
    uint64_t keys, until_ns;
    _Atomic uint64_t seq, reads, hits, writes;
    _Atomic uint32_t sated; /* readers with enough hits */
    bool same_size; /* a key keeps its length: every update in place */
} torn;

static size_t size_of(kit_rng *r, uint64_t id)
{
    if (torn.same_size) { return 1 + kit_mix(id) % 1024; }
    return 1 + kit_below(r, kit_one_in(r, 3) ? 2000 : 80);
}

static bool torn_goes_on(void) /* until each reader has run and has enough hits */
{
    return (kit_time_left(torn.until_ns) || atomic_load(&torn.sated) < READERS) && t_failed() == 0;
}

static void writer(void *arg)
{
    kit_rng r = {t_seed() * 3 + (uint64_t)(uintptr_t)arg};
    while (torn_goes_on()) {
        for (unsigned i = 0; i < 100; i++) {
            uint64_t id = kit_below(&r, torn.keys);
            (void)kit_put(&torn.k, id, atomic_fetch_add(&torn.seq, 1), size_of(&r, id));
            if (kit_one_in(&r, 50)) { (void)kit_del(&torn.k, kit_below(&r, torn.keys)); }
        }
        atomic_fetch_add(&torn.writes, 100);
        if (kit_one_in(&r, 20)) { (void)l1_tick(torn.k.c, 500); }
    }
}

static void check(uint64_t id, const void *bytes, size_t len)
{
    uint64_t seq = 0;
    if (!T_CHECK(len >= 1 && len <= 2000)) { return; }
    if (!T_CHECK(kit_whole(bytes, len, id, &seq))) {
        printf("# key %" PRIu64 ", %zu bytes\n", id, len);
    }
    T_CHECK(seq < atomic_load(&torn.seq));
}

static bool on_seen(void *ctx, const l1_seen *s)
{
    (void)ctx;
    if (s->value != NULL) { check(kit_id_of(s->key, s->key_len), s->value, s->value_len); }
    return true;
}

static void reader(void *arg)
{
    const size_t me = (size_t)(uintptr_t)arg;
    kit_rng r = {t_seed() * 5 + me};
    unsigned char(*buf)[2048] = malloc(BATCH * sizeof *buf);
    T_REQUIRE(buf != NULL);
    uint64_t reads = 0, hits = 0;
    bool sated = false;
    while (torn_goes_on()) {
        if (!sated && hits > 100) {
            sated = true;
            atomic_fetch_add(&torn.sated, 1);
        }
        for (unsigned i = 0; i < 200; i++) {
            uint64_t id = kit_below(&r, torn.keys);
            size_t len = 0;
            reads++;
            if (kit_get(&torn.k, id, buf[0], sizeof buf[0], &len) != CELLAR_OK) { continue; }
            check(id, buf[0], len);
            hits++;
        }
        cellar_get_item item[BATCH];
        kit_key k[BATCH];
        for (unsigned i = 0; i < BATCH; i++) {
            kit_key_of(&torn.k, &k[i], 0, kit_below(&r, torn.keys));
            item[i] = kit_item(&k[i], buf[i], sizeof buf[i]);
        }
        kit_get_many(&torn.k, item, BATCH, 0);
        for (unsigned i = 0; i < BATCH; i++) {
            if (item[i].status == CELLAR_OK) {
                check(kit_id_of(k[i].text, 16), buf[i], item[i].value_len);
            }
        }
        for (unsigned i = 0; i < 20; i++) {
            kit_key key;
            l1_pin_ref ref;
            l1_info info;
            uint64_t id = kit_below(&r, torn.keys);
            kit_key_of(&torn.k, &key, 0, id);
            if (l1_inspect(torn.k.c, &key.key, buf[0], sizeof buf[0], &info, 0) == CELLAR_OK) {
                check(id, buf[0], info.value_len);
            }
            if (kit_pin(torn.k.c, &key.key, &ref, 0) == CELLAR_OK) {
                check(id, ref.value, ref.value_len);
                if (kit_one_in(&r, 400)) { base_yield(); }
                check(id, ref.value, ref.value_len);
                l1_unpin(torn.k.c, &ref);
            }
        }
        uint64_t cursor = 0;
        if (me == 0) { (void)l1_scan(torn.k.c, &cursor, 64, 0, true, on_seen, NULL); }
        reads += BATCH + 40;
    }
    atomic_fetch_add(&torn.reads, reads);
    atomic_fetch_add(&torn.hits, hits);
    free(buf);
}

static void storm(uint64_t keys, bool same_size, uint64_t ms, uint32_t seg_bytes)
{
    memset(&torn, 0, sizeof torn);
    l1_config cfg = {.stripes = 2, .seg_bytes = seg_bytes};
    torn.keys = keys;
    torn.same_size = same_size;
    kit_open(&torn.k, KIT_MIB(1), &cfg);
    torn.until_ns = kit_deadline_ns(ms);
    kit_team team = {.n = 0};
    for (size_t i = 0; i < WRITERS; i++) { kit_start(&team, writer, (void *)i); }
    for (size_t i = 0; i < READERS; i++) { kit_start(&team, reader, (void *)i); }
    kit_join(&team);
    l1_stats s = kit_stats(&torn.k);
    printf("# %" PRIu64 " keys: %" PRIu64 " reads, %" PRIu64 " hits of plain gets, %" PRIu64
           " writes, %" PRIu64
           " evicted, %" PRIu64 " reads by lock\n", keys, atomic_load(&torn.reads),
           atomic_load(&torn.hits),
           atomic_load(&torn.writes), s.evicted, s.fallback_reads);
    T_CHECK(atomic_load(&torn.hits) > 100);
    kit_close(&torn.k);
}

T_CASE(one_key_in_place_is_never_torn) { storm(1, true, 500, 8192); }
T_CASE(few_keys_in_place_are_never_torn) { storm(8, true, 600, 8192); }
T_CASE(keys_of_changing_size_are_never_torn) { storm(8, false, 700, 4096); }
T_CASE(evicted_keys_are_never_torn) { storm(6000, false, 900, 8192); }

T_MAIN("l1_torn")
