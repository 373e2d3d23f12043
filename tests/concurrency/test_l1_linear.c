/* SPDX-License-Identifier: MIT
 *
 * Aim:    each key is linearizable: every hit is the latest write in some order consistent with
 *         real time, deletes and failed sets included. A compare-and-set has one winner. No
 *         increment is lost.
 * Method: threads set, delete, compare-and-set, get, get_many, pin and scan keys under eviction,
 *         splits, ticks and resizes. The zone checker of lin.c judges all operations with
 *         their times. 1, 4 and 64 keys, then 10^6. Misses prove nothing and are not recorded. */
#include "tests/support/l1_kit.h"
#include "tests/support/lin.c"

enum { THREADS = 4, CAP = 400000, BATCH = 8 };

static struct {
    kit k;
    lin_log log[THREADS], cas[THREADS]; /* cas: key, old id in start, new id in end */
    uint64_t keys;
    uint32_t longest;
    uint64_t until_ns;
    _Atomic uint64_t next_id, hits;
} lin;

static uint64_t new_id(void) { return atomic_fetch_add(&lin.next_id, 1); }

static bool read_id(const void *bytes, size_t len, uint64_t key, uint64_t *id)
{
    return T_CHECK(len >= 8) && T_CHECK(kit_whole(bytes, len, key, id));
}

typedef struct actor {
    lin_log *log, *cas;
    kit_rng r;
    unsigned char buf[BATCH][2048], value[2048];
} actor;

static void note_read(actor *a, uint64_t key, const void *bytes, size_t len, uint64_t start,
                      uint64_t end)
{
    uint64_t id;
    if (read_id(bytes, len, key, &id)) {
        lin_note(a->log, lin_make(LIN_READ, key, id, start, end));
    }
}

static void act_set(actor *a, uint64_t key)
{
    kit_key k;
    uint64_t id = new_id();
    size_t len = 8 + kit_below(&a->r, kit_one_in(&a->r, 6) ? lin.longest - 8 : 16);
    kit_fill(a->value, len, key, id);
    l1_put_spec p =
        {.value = a->value, .value_len = len, .deadline_ms = BASE_NEVER_MS,
         .change = L1_CHANGE_SET};
    if (kit_one_in(&a->r, 20)) { p.flags = L1_WANT_VERSION; }
    if (kit_one_in(&a->r, 20)) { p.deadline_ms = kit_now(&lin.k) + 3600000; }
    kit_key_of(&lin.k, &k, 0, key);
    uint64_t start = base_now_ns();
    cellar_err err = l1_put(lin.k.c, &k.key, &p);
    uint64_t end = base_now_ns();
    /* A set that failed removed the old value: record a write without a reader. */
    lin_note(a->log, lin_make(LIN_WRITE, key, err == CELLAR_OK ? id : new_id(), start, end));
}

static void act_del(actor *a, uint64_t key)
{
    uint64_t start = base_now_ns();
    (void)kit_del(&lin.k, key);
    lin_note(a->log, lin_make(LIN_WRITE, key, new_id(), start, base_now_ns()));
}

static void act_cas(actor *a, uint64_t key)
{
    kit_key k;
    l1_info info;
    uint64_t start = base_now_ns(), old, id = new_id();
    kit_key_of(&lin.k, &k, 0, key);
    cellar_err err = CELLAR_OK;
    if (kit_one_in(&a->r, 3) ||
        !l1_inspect_hit(lin.k.c, &k.key, a->buf[0], sizeof a->buf[0], &info)) {
        err = l1_inspect(lin.k.c, &k.key, a->buf[0], sizeof a->buf[0], &info, 0);
    }
    uint64_t end = base_now_ns();
    if (err != CELLAR_OK) { return; }
    note_read(a, key, a->buf[0], info.value_len, start, end);
    if (!read_id(a->buf[0], info.value_len, key, &old)) { return; }
    size_t len = kit_one_in(&a->r, 2) ? info.value_len : 8 + kit_below(&a->r, 40);
    kit_fill(a->value, len, key, id);
    l1_put_spec p =
        {.value = a->value, .value_len = len, .deadline_ms = BASE_NEVER_MS,
         .change = L1_CHANGE_UPDATE,
                     .flags = L1_IF_SAME | L1_KEEP_OLD, .same = &info, .same_bytes = a->buf[0]};
    start = base_now_ns();
    err = l1_put(lin.k.c, &k.key, &p);
    end = base_now_ns();
    if (err == CELLAR_OK) {
        lin_note(a->log, lin_make(LIN_WRITE, key, id, start, end));
        lin_note(a->cas, (lin_op){.key = key, .start = old, .end = id});
    }
}

static void act_get(actor *a, uint64_t key)
{
    size_t len;
    uint64_t start = base_now_ns();
    cellar_err err = kit_get(&lin.k, key, a->buf[0], sizeof a->buf[0], &len);
    uint64_t end = base_now_ns();
    if (err == CELLAR_OK) { note_read(a, key, a->buf[0], len, start, end); }
}

static void act_get_many(actor *a)
{
    cellar_get_item item[BATCH];
    kit_key k[BATCH];
    for (unsigned i = 0; i < BATCH; i++) {
        kit_key_of(&lin.k, &k[i], 0, kit_below(&a->r, lin.keys));
        item[i] = kit_item(&k[i], a->buf[i], sizeof a->buf[i]);
    }
    uint64_t start = base_now_ns();
    kit_get_many(&lin.k, item, BATCH, 0);
    uint64_t end = base_now_ns();
    for (unsigned i = 0; i < BATCH; i++) {
        if (item[i].status != CELLAR_OK) { continue; }
        note_read(a, kit_id_of(k[i].text, 16), a->buf[i], item[i].value_len, start, end);
    }
}

static void act_pin(actor *a, uint64_t key)
{
    kit_key k;
    l1_pin_ref ref;
    uint64_t start = base_now_ns(), id;
    cellar_err err = kit_pin(lin.k.c, kit_key_of(&lin.k, &k, 0, key), &ref, 0);
    uint64_t end = base_now_ns();
    if (err != CELLAR_OK) { return; }
    if (read_id(ref.value, ref.value_len, key, &id)) {
        lin_note(a->log, lin_make(LIN_READ, key, id, start, end));
    }
    if (kit_one_in(&a->r, 100)) { base_yield(); }
    note_read(a, key, ref.value, ref.value_len, start, end); /* still the same bytes */
    l1_unpin(lin.k.c, &ref);
}

static bool on_seen(void *ctx, const l1_seen *s)
{
    actor *a = ctx;
    uint64_t key = kit_id_of(s->key, s->key_len);
    if (s->value != NULL && T_CHECK(key < lin.keys)) {
        uint64_t id;
        if (read_id(s->value, s->value_len, key, &id)) {
            /* The start of the step is unknown: with start 0 it constrains from one side. */
            lin_note(a->log, lin_make(LIN_READ, key, id, 0, base_now_ns()));
        }
    }
    return true;
}

static void actor_main(void *arg)
{
    size_t i = (size_t)(uintptr_t)arg;
    actor *a = calloc(1, sizeof *a);
    T_REQUIRE(a != NULL);
    a->log = &lin.log[i];
    a->cas = &lin.cas[i];
    a->r.s = t_seed() * 7 + i;
    while ((kit_time_left(lin.until_ns) || a->log->count <= 1000) &&
           a->log->count + 8192 < a->log->cap) {
        for (unsigned n = 0; n < 16; n++) {
            uint64_t key = kit_below(&a->r, lin.keys), what = kit_below(&a->r, 100);
            if (what < 30) { act_set(a, key); }
            else if (what < 36) { act_del(a, key); }
            else if (what < 42) { act_cas(a, key); }
            else if (what < 45) { act_get_many(a); }
            else if (what < 52) { act_pin(a, key); }
            else { act_get(a, key); }
        }
        if (i == 0 && kit_one_in(&a->r, 16)) { (void)l1_tick(lin.k.c, 1000); }
        if (i == 1 && kit_one_in(&a->r, 64)) {
            uint64_t cursor = kit_next(&a->r) & 3;
            (void)l1_scan(lin.k.c, &cursor, 32, 0, true, on_seen, a);
        }
        if (i == 2 && kit_one_in(&a->r, 256)) {
            uint64_t most = KIT_MIB(2) + kit_below(&a->r, KIT_MIB(1));
            (void)l1_resize(lin.k.c, lin.keys > 1000 ? KIT_MIB(16) : most);
        }
    }
    free(a);
}

/* Check that no two successful compares had the same old value. */
static void each_compare_has_one_winner(void)
{
    size_t n = 0;
    for (unsigned i = 0; i < THREADS; i++) { n += lin.cas[i].count; }
    lin_op *all = malloc((n + 1) * sizeof *all);
    T_REQUIRE(all != NULL);
    n = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        memcpy(all + n, lin.cas[i].op, lin.cas[i].count * sizeof *all);
        n += lin.cas[i].count;
    }
    for (size_t i = 0; i < n; i++) { all[i].kind_id = all[i].start; }
    qsort(all, n, sizeof *all, lin_by_key_id);
    for (size_t i = 1; i < n; i++) {
        if (!T_CHECK(all[i].key != all[i - 1].key || all[i].start != all[i - 1].start)) { break; }
    }
    free(all);
}

static void judge(uint64_t keys, uint32_t longest, uint64_t budget, uint64_t ms)
{
    memset(&lin, 0, sizeof lin);
    lin.keys = keys;
    lin.longest = longest;
    l1_config cfg = {.stripes = keys > 1000 ? 0 : 2, .seg_bytes = keys > 1000 ? 0 : 8192};
    kit_open(&lin.k, budget, &cfg);
    kit_real_clock(&lin.k);
    atomic_store(&lin.next_id, 1);
    for (unsigned i = 0; i < THREADS; i++) {
        T_REQUIRE(lin_open(&lin.log[i], CAP * t_env_u64("T_SCALE", 1)));
        T_REQUIRE(lin_open(&lin.cas[i], CAP * t_env_u64("T_SCALE", 1)));
    }
    lin.until_ns = kit_deadline_ns(ms);
    kit_team team = {.n = 0};
    for (size_t i = 0; i < THREADS; i++) { kit_start(&team, actor_main, (void *)i); }
    kit_join(&team);
    uint64_t ops = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        ops += lin.log[i].count;
        T_EQ_U64(lin.log[i].dropped, 0);
    }
    lin_report r;
    bool fine = lin_check_logs(lin.log, THREADS, &r);
    if (!T_CHECK(fine)) {
        printf("# %s: key %" PRIu64 ", value %" PRIu64 " and %" PRIu64 ", %" PRIu64 " violations\n",
               lin_fault_text(r.fault), r.key, r.id, r.other_id, r.violations);
    }
    printf("# %" PRIu64 " keys: %" PRIu64 " operations judged, %" PRIu64 " values, %" PRIu64
           " evicted\n", keys, ops,
           r.values, kit_stats(&lin.k).evicted);
    T_CHECK(ops > 1000);
    each_compare_has_one_winner();
    for (unsigned i = 0; i < THREADS; i++) {
        lin_close(&lin.log[i]);
        lin_close(&lin.cas[i]);
    }
    kit_close(&lin.k);
}

T_CASE(one_key) { judge(1, 1500, KIT_MIB(3), 700); }
T_CASE(four_keys) { judge(4, 300, KIT_MIB(3), 700); }
T_CASE(sixty_four_keys) { judge(64, 2000, KIT_MIB(3), 900); }
T_CASE(a_million_keys) { judge(1000000, 100, KIT_MIB(16), 1200); }

/* ---- increment ------------------------------------------------------------------------------- */
enum { COUNTERS = 5, EACH = 60000 };
static struct {
    kit k;
    _Atomic uint64_t each;
    uint8_t *seen[COUNTERS]; /* of each value: returned to a thread */
    _Atomic uint64_t twice;
} ctr;

static void count_up(void *arg)
{
    kit_rng r = {t_seed() + (uint64_t)(uintptr_t)arg};
    for (uint64_t i = 0; i < atomic_load(&ctr.each) * COUNTERS; i++) {
        kit_key k;
        uint64_t id = i % COUNTERS;
        int64_t now;
        l1_put_spec fresh = {.deadline_ms = BASE_NEVER_MS, .change = L1_CHANGE_INCR};
        kit_key_of(&ctr.k, &k, 0, id);
        cellar_err err = l1_incr(ctr.k.c, &k.key, 1, 0, &fresh, false, &now, NULL);
        if (err == CELLAR_E_BUSY || err == CELLAR_CONFLICT) { i--; continue; } /* lost 64 rounds */
        if (!T_CHECK(err == CELLAR_OK && now > 0)) { return; }
        uint8_t *at = &ctr.seen[id][now];
        if (__atomic_exchange_n(at, 1, __ATOMIC_RELAXED) != 0) { atomic_fetch_add(&ctr.twice, 1); }
        if (kit_one_in(&r, 50)) { /* a pin makes the next increment append */
            l1_pin_ref ref;
            if (kit_pin(ctr.k.c, &k.key, &ref, 0) == CELLAR_OK) { l1_unpin(ctr.k.c, &ref); }
        }
    }
}

T_CASE(no_increment_is_lost)
{
    memset(&ctr, 0, sizeof ctr);
    const uint64_t each = kit_scale(EACH);
    atomic_store(&ctr.each, each);
    kit_open(&ctr.k, KIT_MIB(2), NULL);
    for (unsigned i = 0; i < COUNTERS; i++) {
        ctr.seen[i] = calloc(1, each * THREADS + 1);
        T_REQUIRE(ctr.seen[i] != NULL);
    }
    kit_team team = {.n = 0};
    for (size_t i = 0; i < THREADS; i++) { kit_start(&team, count_up, (void *)i); }
    kit_join(&team);
    T_EQ_U64(atomic_load(&ctr.twice), 0);
    for (unsigned i = 0; i < COUNTERS; i++) {
        int64_t sum = 0;
        size_t len = 0;
        T_EQ_I64(kit_get(&ctr.k, i, &sum, 8, &len), CELLAR_OK);
        T_EQ_I64(sum, (int64_t)(each * THREADS));
        free(ctr.seen[i]);
    }
    kit_close(&ctr.k);
}

T_MAIN("l1_linear")
