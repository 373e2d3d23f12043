/* SPDX-License-Identifier: MIT
 *
 * Aim:    P8, P11: no dead entry comes back after any number of reopens. They follow a close, a
 *         process death, another boot, a wall clock ten years off, or a resize. Dead means expired,
 *         deleted, overwritten, cleared, or invalidated by tag or pattern. Each stored entry that
 *         was not reclaimed is found, byte for byte, with its TTL.
 * Method: random runs of a tiny store on an in-memory disk, at every level, with other options in
 *         each run, in half of the stores with a cipher, against a table of current entries. 50
 *         reopens per store; REOPENS=n in all. */
#include "tests/support/l2_kit.h"
#include "tests/support/toy_cipher.h"

#define KEYS 40u
#define TAGS 4u
#define A_STORE 50u
#define TEN_YEARS (INT64_C(3653) * 86400000)
#define SEEN_MS 60000 /* interval at which SUPER records the time */

typedef struct entry {
    uint32_t version; /* current version; 0: none */
    bool stored;      /* its put was acknowledged */
    bool written;     /* a process death does not lose it */
    uint64_t gone;    /* segments reclaimed and dropped up to then */
    int64_t expiry_wall_ms; /* 0: none */
} entry;

static l2_dev dev;
static l2_kit kit;
static base_rng rng;
static uint64_t cipher_key = 7;
static const cellar_l2_cipher cipher = { .struct_size = sizeof cipher, .ctx = &cipher_key,
                                         .seal = toy_seal, .open = toy_open,
                                         .overhead_bytes = sizeof cipher_key };
static entry of[KEYS];
static uint32_t generation, version;
static uint64_t epoch, gone_before, served, had_to;

/* Return the segments that this store has reclaimed or dropped so far. */
static uint64_t gone_now(void)
{
    const l2_stats st = l2_kit_figures(&kit);
    return gone_before + st.reclaimed + st.emptied;
}

static size_t length_of(uint32_t key, uint32_t v) { return 8 + (key * 131 + v * 37) % 500; }

static void fill(unsigned char *buf, size_t n, uint32_t key, uint32_t v)
{
    for (size_t i = 0; i < n; i++) { buf[i] = (unsigned char)(key * 31 + v * 7 + i); }
}

static void ended(uint32_t key) { of[key] = (entry){ .version = 0 }; }

static void changed(uint32_t key)
{
    const l2_key id = l2_kit_key(&kit, &key, sizeof key, generation);
    ended(key);
    l2_invalidate(kit.d, &id);
}

static void put(uint32_t key)
{
    unsigned char buf[512];
    const uint64_t tag = 1 + key % TAGS;
    const int64_t ttl_ms = base_rng_below(&rng, 2) == 0
                               ? 0 : 1 + (int64_t)base_rng_below(&rng, 200000);
    const size_t n = length_of(key, ++version);
    const bool durable = base_rng_below(&rng, 2) == 0;
    const l2_meta m = { .deadline_ms = ttl_ms != 0 ? kit.now_ms + ttl_ms : BASE_NEVER_MS,
                        .user_flags = version, .tag_count = 1, .tag_born = epoch,
                        .tag_fps = &tag, .durable = durable, .pack = kit.cfg.crypt != NULL };
    const l2_key id = l2_kit_key(&kit, &key, sizeof key, generation);
    changed(key);
    fill(buf, n, key, version);
    const cellar_err err = l2_put(kit.d, &id, buf, n, &m, NULL);
    of[key] = (entry){ version, err == CELLAR_OK, durable, gone_now(),
                       ttl_ms != 0 ? l2_wall_now(kit.d) + ttl_ms : 0 };
}

static void clear(void)
{
    const l2_namespace v = { 1, l2_next_generation(kit.d), 1 };
    T_CHECK(v.generation > generation);
    generation = (uint32_t)v.generation;
    for (uint32_t key = 0; key < KEYS; key++) { ended(key); }
    T_EQ_I64(l2_namespace_set(kit.d, &v, "v", 1), CELLAR_OK);
}

static void end_tag(uint32_t tag)
{
    for (uint32_t key = tag; key < KEYS; key += TAGS) { ended(key); }
    l2_tag_invalidate(kit.d, 1 + tag, ++epoch, base_rng_below(&rng, 2) != 0);
}

static void end_pattern(bool low)
{
    static const char *const pattern[2] = { "[^\0-\11]*", "[\0-\11]*" };
    uint64_t walk = 0;
    for (uint32_t key = 0; key < KEYS; key++) {
        if ((key < 10) == low) { ended(key); }
    }
    T_EQ_I64(l2_glob_begin(kit.d, generation, pattern[low], low ? 6 : 7, &walk), CELLAR_OK);
    l2_glob_end(kit.d, walk);
}

static void look(uint32_t key, bool must)
{
    unsigned char buf[512], want[512];
    size_t len = 0;
    l2_meta m;
    const entry *e = &of[key];
    const l2_key id = l2_kit_key(&kit, &key, sizeof key, generation);
    const cellar_err err = l2_get(kit.d, &id, buf, sizeof buf, &len, &m);
    const bool over = e->expiry_wall_ms != 0 && e->expiry_wall_ms <= l2_wall_now(kit.d);
    if (err == CELLAR_MISS) {
        const bool there = must && e->stored && !over && e->gone == gone_now();
        had_to += there;
        if (!T_CHECK(!there)) { printf("# key %u: version %u is lost\n", key, e->version); }
        return;
    }
    served++;
    T_EQ_I64(err, CELLAR_OK);
    if (!T_CHECK(!over && e->version != 0 && m.user_flags == e->version)) {
        printf("# key %u: got %u, now %u, over %d\n", key, m.user_flags, e->version, over);
    }
    had_to += must && e->stored && e->gone == gone_now();
    fill(want, sizeof want, key, m.user_flags);
    T_EQ_U64(len, length_of(key, m.user_flags));
    T_EQ_MEM(buf, want, BASE_MIN(len, sizeof want));
    T_EQ_I64(m.deadline_ms, e->expiry_wall_ms == 0 ? BASE_NEVER_MS
                                : e->expiry_wall_ms - l2_wall_now(kit.d) + kit.now_ms);
}

static void one_op(void)
{
    const uint64_t pick = base_rng_below(&rng, 100);
    const uint32_t key = (uint32_t)base_rng_below(&rng, KEYS);
    if (pick < 50) {
        put(key);
    } else if (pick < 65) {
        changed(key);
    } else if (pick < 66) {
        clear();
    } else if (pick < 68) {
        end_tag(key % TAGS);
    } else if (pick < 69) {
        end_pattern(key % 2 != 0);
    } else if (pick < 71) {
        T_EQ_I64(l2_sync(kit.d), CELLAR_OK);
        for (uint32_t i = 0; i < KEYS; i++) { of[i].written = true; }
    } else if (pick < 72) {
        const uint32_t places = 12 + (uint32_t)base_rng_below(&rng, 9);
        l2_kit_resize(&kit, places);
    } else if (pick < 80) {
        look(key, true);
    } else {
        kit.now_ms += (int64_t)base_rng_below(&rng, 4000);
        kit.wall_ms += 1000;
        (void)l2_tick(kit.d, 1000);
    }
}

static void no_tag(void *ctx, uint64_t fp, uint64_t hard, uint64_t soft)
{
    (void)ctx, (void)fp, (void)hard, (void)soft;
}

static void opened(void)
{
    uint64_t floor;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    const uint64_t known = l2_tags_known(kit.d, &floor, no_tag, NULL);
    T_CHECK(known >= epoch);
    epoch = known;
}

static void reopen(void)
{
    const bool closed = base_rng_below(&rng, 2) == 0, boot = base_rng_below(&rng, 5) == 0;
    const int64_t before = l2_wall_now(kit.d);
    const l2_level level = kit.cfg.level;
    if (closed) { l2_end(kit.d); } /* it may reclaim, too */
    gone_before = gone_now();
    for (uint32_t i = 0; i < KEYS; i++) {
        of[i].written = of[i].written || closed;
        of[i].stored = of[i].stored && of[i].written;
    }
    if (closed) { l2_close(kit.d); } else { l2_kit_kill(&kit); }
    kit.d = NULL;
    dev.locked = false;
    kit.now_ms += (int64_t)base_rng_below(&rng, 2000);
    kit.wall_ms = INT64_C(1700000000000) + kit.now_ms +
                  ((int64_t)base_rng_below(&rng, 3) - 1) * TEN_YEARS;
    if (boot) {
        dev.boot[15]++;
        kit.now_ms = 1000 + (int64_t)base_rng_below(&rng, 100000);
    }
    kit.cfg.level = (l2_level)base_rng_below(&rng, 3);
    kit.cfg.memory_bytes = (uint64_t)1 << (20 + base_rng_below(&rng, 4));
    kit.cfg.avg_object_bytes = (uint64_t)64 << base_rng_below(&rng, 4);
    kit.cfg.move_pct = 40 + (uint32_t)base_rng_below(&rng, 2) * 10;
    kit.cfg.sync_ms = 10 + (int64_t)base_rng_below(&rng, 3) * 500;
    opened();
    const int64_t wall = l2_wall_now(kit.d);
    T_CHECK(boot ? wall >= before - SEEN_MS
                 : wall >= before && wall < before + 2000);
    l2_namespace v = { 0, 0, 0 };
    const bool power = boot && !closed; /* like a power cut that loses nothing */
    const bool known = l2_namespace_find(kit.d, "v", 1, &v);
    T_CHECK((known && v.generation == generation) || (power && level == L2_DROP));
    for (uint32_t key = 0; key < KEYS; key++) { look(key, !power); }
    if (!known || v.generation != generation) { /* a new epoch; numbers start again */
        generation = 0;
        clear();
    }
    for (uint32_t key = 0; key < KEYS && power; key++) { of[key].stored = false; }
}

static void a_store(void)
{
    l2_dev_init(&dev);
    l2_kit_init(&kit, &dev);
    memset(of, 0, sizeof of);
    generation = 0;
    epoch = gone_before = 0;
    kit.cfg.seg_count = 12 + (uint32_t)base_rng_below(&rng, 9);
    kit.cfg.level = (l2_level)base_rng_below(&rng, 3);
    kit.cfg.crypt = base_rng_below(&rng, 2) == 0 ? &cipher : NULL;
    opened();
    clear();
    for (uint32_t i = 0; i < A_STORE && !t_failed(); i++) {
        for (uint64_t n = base_rng_below(&rng, 80); n > 0; n--) { one_op(); }
        reopen();
    }
    l2_close(kit.d);
    kit.d = NULL;
    l2_dev_fini(&dev);
}

T_CASE(dead_entries_never_come_back_after_reopens)
{
    const uint64_t most = t_env_u64("REOPENS", t_share(5000));
    served = had_to = 0;
    base_rng_seed(&rng, t_.seed);
    for (uint64_t n = 0; n < most && !t_failed(); n += A_STORE) { a_store(); }
    printf("# %" PRIu64 " reopens, %" PRIu64 " served, %" PRIu64 " required\n", most, served,
           had_to);
    T_CHECK(served > most && had_to > most);
}

T_ONE_THREAD;
T_MAIN("l2_reopens")
