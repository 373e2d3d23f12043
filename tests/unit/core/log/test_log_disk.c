/* SPDX-License-Identifier: MIT
 *
 * Aim:    after a power cut the log shows the state of one moment between the last sync and the
 *         cut, for all keys. A page that is lost costs its own records, and brings no older value.
 * Method: a store of 12 segments of 64 KiB on an in-memory disk. Power cuts keep or lose each
 *         write since the last sync, and sectors of it, on their own: POWER_STATES=n of them, some
 *         two in a row. For the pages each one is zeroed in turn. */
#define DEV_WRITES 800 /* a place is used again many writes after the copies of its records */
#include "base/num.h"
#include "l2/l2.h"
#include "tests/support/l2_dev.h"
#include "tests/support/t.h"

#define KEYS 60u
#define MOST_CHANGES 16000u
#define GENERATION 3u
#define BYTES 300u /* most of a value */
#define LEAST 100u /* least of one */
#define LEAST_RECORD 128u

typedef struct change { uint32_t key, version; } change; /* version 0: deleted */

static l2_dev dev, other;
static base_account account;
static base_log lines;
static base_clock clock_now;
static base_vfs vfs;
static l2_config cfg;
static l2 *d;
static int64_t ms = 1000000;
static change history[MOST_CHANGES];
static uint32_t changes, synced;
static const unsigned char secret[32] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 };

static int64_t now_ms(void *ctx)
{
    (void)ctx;
    return ms;
}

static int64_t wall_ms(void *ctx)
{
    (void)ctx;
    return INT64_C(1700000000000) + ms;
}

static void nothing_is_left(void) { T_EQ_U64(base_live_blocks(), 0); }
T_AFTER_EACH(nothing_is_left);

static void begin(l2_level level)
{
    base_account_init(&account, UINT64_C(1) << 40, NULL);
    clock_now = (base_clock){ now_ms, now_ms, NULL };
    base_log_init(&lines, &clock_now, NULL, NULL, BASE_LOG_OFF);
    cfg = (l2_config){ .account = &account, .log = &lines, .clock = &clock_now, .path = "d",
                       .bytes = 65536 * 12, .memory_bytes = 1 << 20, .seg_bytes = 65536,
                       .seg_count = 12, .secret = secret, .no_thread = true, .wall_ms = wall_ms,
                       .level = level, .move_pct = 50, .off_damaged_pct = 100 };
    changes = synced = 0;
}

static void open_on(l2_dev *on)
{
    int e = 0;
    on->locked = false;
    vfs = l2_dev_vfs(on);
    cfg.vfs = &vfs;
    const cellar_err err = l2_open(&cfg, &d, &e);
    if (err != CELLAR_OK) { printf("# open: %d, errno %d\n", (int)err, e); }
    T_REQUIRE(err == CELLAR_OK);
    l2_namespace ns = { .id = 1, .generation = GENERATION };
    if (!l2_namespace_find(d, "all", 3, &ns)) {
        T_EQ_I64(l2_namespace_set(d, &ns, "all", 3), CELLAR_OK);
    }
}

static l2_key key_of(const uint32_t *i)
{
    return (l2_key){ i, sizeof *i, GENERATION,
                     base_hash(l2_hash_key(d), GENERATION, i, sizeof *i) };
}

static size_t bytes_of(uint32_t i, uint32_t v)
{
    return LEAST + (i * 37u + v * 101u) % (BYTES - LEAST);
}

static void change_key(uint32_t i, bool ends, bool durable)
{
    unsigned char buf[BYTES];
    const uint32_t v = ends ? 0 : changes + 1;
    const l2_key k = key_of(&i);
    if (changes == MOST_CHANGES) { return; }
    memset(buf, (int)(i + v), sizeof buf);
    if (ends) {
        l2_invalidate(d, &k);
    } else {
        const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = v, .durable = durable };
        cellar_err err = l2_put(d, &k, buf, bytes_of(i, v), &m, NULL);
        for (int n = 0; err == CELLAR_DROPPED && n < 100; n++) {
            (void)l2_tick(d, 0);
            err = l2_put(d, &k, buf, bytes_of(i, v), &m, NULL);
        }
        T_REQUIRE(err == CELLAR_OK);
    }
    history[changes++] = (change){ i, v };
}

/* Return the version that is served; 0: none. */
static uint32_t look(uint32_t i)
{
    unsigned char buf[BYTES];
    const l2_key k = key_of(&i);
    size_t n = 0;
    l2_meta m;
    if (l2_get(d, &k, buf, sizeof buf, &n, &m) != CELLAR_OK) { return 0; }
    T_EQ_U64(n, bytes_of(i, m.user_flags));
    T_CHECK(n > 0 && buf[0] == (unsigned char)(i + m.user_flags));
    return m.user_flags;
}

/* Find the number of changes of the state that is served; UINT32_MAX: of no moment since `from`. */
static uint32_t moment(uint32_t from)
{
    uint32_t state[KEYS] = { 0 }, seen[KEYS], wrong = 0;
    for (uint32_t i = 0; i < KEYS; i++) { wrong += (seen[i] = look(i)) != 0; }
    for (uint32_t n = 0;; n++) {
        if (wrong == 0 && n >= from) { return n; }
        if (n == changes) { return UINT32_MAX; }
        const change *c = &history[n];
        wrong -= state[c->key] != seen[c->key];
        state[c->key] = c->version;
        wrong += state[c->key] != seen[c->key];
    }
}

static void some_changes(base_rng *r, uint32_t most)
{
    for (uint64_t n = base_rng_below(r, most); n > 0; n--) {
        change_key((uint32_t)base_rng_below(r, KEYS), base_rng_below(r, 5) == 0,
                   base_rng_below(r, 2) == 0);
        if (base_rng_below(r, 4) == 0) { (void)l2_tick(d, 0); }
        if (base_rng_below(r, 1500) == 0) {
            T_EQ_I64(l2_sync(d), CELLAR_OK);
            synced = changes;
        }
    }
}

static void cuts(l2_level level)
{
    const char *said = getenv("POWER_STATES");
    const uint32_t states = said != NULL ? (uint32_t)strtoul(said, NULL, 10) : 60;
    base_rng r;
    base_rng_seed(&r, t_seed());
    for (uint32_t s = 0; s < states && !t_failed(); s++) {
        begin(level);
        l2_dev_init(&dev);
        open_on(&dev);
        synced = 0;
        const uint64_t rounds = 1 + base_rng_below(&r, 3);
        for (uint64_t round = 0; round < rounds; round++) {
            some_changes(&r, 5000);
            l2_dev_clone(&dev, &other, &r);
            l2_discard(d);
            const l2_dev swap = dev;
            dev = other;
            other = swap;
            open_on(&dev);
            const uint32_t at = moment(synced);
            T_CHECK(at != UINT32_MAX);
            if (at == UINT32_MAX) { break; }
            changes = synced = at; /* a boot: what is found is durable */
        }
        l2_close(d);
        l2_dev_fini(&dev);
        l2_dev_fini(&other);
    }
}

T_CASE(power_cut_shows_one_moment_since_the_last_sync) { cuts(L2_KEEP); }
T_CASE(power_cut_shows_one_moment_at_always) { cuts(L2_ALWAYS); }

/* ---- lost pages ---- */

static void copy_without(size_t page)
{
    l2_dev_clone(&dev, &other, NULL);
    l2_dev_file *f = l2_dev_find(&other, "data.seg");
    T_REQUIRE(f != NULL && page + 4096 <= f->size);
    memset(f->live + page, 0, 4096);
}

T_CASE(lost_page_costs_its_own_records)
{
    uint32_t want[KEYS], most = 0, old = 0;
    begin(L2_DROP);
    l2_dev_init(&dev);
    open_on(&dev);
    for (uint32_t n = 0; n < 2000; n++) {
        change_key(n * 7 % KEYS, n % 11 == 0, true);
        (void)l2_tick(d, 0);
    }
    for (uint32_t i = 0; i < KEYS; i++) { want[i] = look(i); }
    T_EQ_I64(l2_end(d), CELLAR_OK);
    l2_close(d);
    for (size_t page = 0; page < (size_t)12 * 65536; page += 4096) {
        uint32_t lost = 0;
        copy_without(page);
        open_on(&other);
        for (uint32_t i = 0; i < KEYS; i++) {
            const uint32_t got = look(i);
            lost += got == 0 && want[i] != 0;
            old += got != 0 && got != want[i];
        }
        most = BASE_MAX(most, lost);
        l2_discard(d);
    }
    T_EQ_U64(old, 0);
    T_CHECK(most <= 4096 / LEAST_RECORD + 1);
    l2_dev_fini(&dev);
    l2_dev_fini(&other);
}

T_MAIN("log_disk")
