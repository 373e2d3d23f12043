/* SPDX-License-Identifier: MIT
 *
 * Aim:    The interface between L1 and a tier below it: order of L1 step and tier call; stamps
 *         captured in the unlink window; the commit hook, also for the delete of an absent key;
 *         refused back-fills when the key has changed or a change is pending; bytes in place during
 *         a demotion.
 * Method: The tier is a small array. On request its functions interfere: they set, delete and read
 *         the key that they are called for, at the worst moment. A clock of this file. */
#include "store/store.h"
#include "tests/support/t.h"

#include <sys/wait.h>

#include "base/hash.h"
#include "base/mem.h"
#include "cache/cache.h"
#include "tests/support/settings.h"

#define SLOTS 20000
#define LONG ((size_t)512 << 10)

static int64_t now_ms;

static int64_t read_clock(void *ctx)
{
    (void)ctx;
    return now_ms;
}

typedef struct row {
    bool used;
    uint32_t generation, key, len;
    uint64_t hash, stamp;
    bool current; /* whether the stamp was current before the watched change */
    unsigned char value[64];
    int64_t deadline_ms;
    uint32_t user_flags;
    bool negative;
} row;

static struct lower {
    row rows[SLOTS];
    cache_tier_host host;
    cellar *c;
    unsigned gets, puts, refused, kills, bumps, closes, ticks, work, asked;
    uint32_t bumped_namespace, bumped_generation, last_namespace;
    bool in_call, forked;
    bool set_in_put, set_in_get, del_in_get, clear_in_get, incr_in_kill, churn_in_put;
    bool reads_in_kill, mates_in_kill, set_before_get;
    unsigned missed_in_kill, mates, mates_served;
    bool long_in_get; /* the next get returns a much larger size */
    bool armed;       /* fork_once forks */
    pid_t child;      /* of fork_once; 0 in the child; -1: not forked */
    int64_t counted_in_kill;
} low;

static row *find(uint32_t generation, uint32_t key)
{
    row *free_row = NULL;
    for (size_t i = 0; i < SLOTS; i++) {
        row *r = &low.rows[(key * 7u + i) % SLOTS];
        if (r->used && r->generation == generation && r->key == key) { return r; }
        if (!r->used && free_row == NULL) { free_row = r; }
        if (!r->used && i > 50) { break; }
    }
    return free_row;
}

static uint32_t key_of(const cache_tier_key *k)
{
    uint32_t key;
    T_EQ_U64(k->len, sizeof key);
    memcpy(&key, k->bytes, sizeof key);
    return key;
}

static bool low_hash_key(void *ctx, base_hash_key *out)
{
    (void)ctx;
    static const unsigned char secret[32] = { 9, 8, 7 };
    base_hash_key_init(out, BASE_HASH_FOLD, secret);
    return true;
}

static void low_attach(void *ctx, const cache_tier_host *host)
{
    (void)ctx;
    low.host = *host;
}

static cellar_err low_get(void *ctx, const cache_tier_key *k, void *buf, size_t buf_cap,
                          size_t *value_len, cache_tier_meta *m)
{
    (void)ctx;
    low.gets++;
    const uint32_t key = key_of(k);
    if (low.set_before_get) { /* the value moves from the tier into L1 during the lookup */
        low.set_before_get = false;
        T_EQ_I64(cellar_set(low.c, &key, sizeof key, "newer", 5, NULL), CELLAR_OK);
    }
    const row *r = find(k->generation, key);
    if (r == NULL || !r->used) { return CELLAR_MISS; }
    const row copy = *r;
    if (low.set_in_get && !low.in_call) { /* another thread sets a newer value during the read */
        low.in_call = true;
        T_EQ_I64(cellar_set(low.c, &key, sizeof key, "newer", 5, NULL), CELLAR_OK);
        low.in_call = false;
    }
    if (low.del_in_get && !low.in_call) { /* a complete delete, in both levels, during the read */
        low.in_call = true;
        T_EQ_I64(cellar_delete(low.c, &key, sizeof key), CELLAR_MISS);
        low.in_call = false;
    }
    if (low.clear_in_get) {
        low.clear_in_get = false;
        T_EQ_I64(cellar_clear(low.c), CELLAR_OK);
    }
    if (copy.negative) {
        m->deadline_ms = copy.deadline_ms;
        return CELLAR_ABSENT;
    }
    *value_len = copy.len;
    m->deadline_ms = copy.deadline_ms;
    m->user_flags = copy.user_flags;
    if (low.long_in_get) {
        low.long_in_get = false;
        *value_len = LONG;
        return CELLAR_E_BUFFER;
    }
    if (copy.len > buf_cap) { return CELLAR_E_BUFFER; }
    memcpy(buf, copy.value, copy.len);
    return CELLAR_OK;
}

static cellar_err low_put(void *ctx, const cache_tier_key *k, const void *value, size_t value_len,
                          const cache_tier_meta *m, uint64_t stamp)
{
    (void)ctx;
    const uint32_t key = key_of(k);
    low.puts++;
    low.last_namespace = k->namespace_id;
    unsigned char before[64];
    T_CHECK(value_len <= sizeof before);
    memcpy(before, value, value_len);
    /* Captured in the unlink window with no other thread: unless this test churns or sets, the
     * stamp is still the stamp of the key. */
    if (!low.churn_in_put && !low.set_in_put) {
        T_CHECK(low.host.stamp_is(low.host.ctx, k->hash, stamp));
    }
    if (low.churn_in_put && !low.in_call) { /* bytes stay in place during other changes */
        low.in_call = true;
        for (uint32_t i = 0; i < 3000; i++) {
            const uint32_t other = 1000000 + i;
            (void)cellar_set(low.c, &other, sizeof other, "churn churn churn", 17, NULL);
        }
        low.in_call = false;
        T_EQ_MEM(value, before, value_len);
        uint32_t again;
        memcpy(&again, k->bytes, sizeof again);
        T_EQ_U64(again, key);
    }
    if (low.set_in_put && !low.in_call) { /* a change between unlink and demotion */
        low.in_call = true;
        T_EQ_I64(cellar_set(low.c, &key, sizeof key, "newer", 5, NULL), CELLAR_OK);
        low.in_call = false;
        T_CHECK(!low.host.stamp_is(low.host.ctx, k->hash, stamp));
    }
    if (!low.host.stamp_is(low.host.ctx, k->hash, stamp)) {
        low.refused++;
        return CACHE_TIER_REFUSED;
    }
    row *r = find(k->generation, key);
    if (r == NULL) { return CELLAR_DROPPED; }
    *r = (row){ .used = true, .generation = k->generation, .key = key, .len = (uint32_t)value_len,
                .hash = k->hash, .stamp = stamp, .deadline_ms = m->deadline_ms,
                .user_flags = m->user_flags };
    memcpy(r->value, value, value_len);
    return CELLAR_OK;
}

enum { WAYS = 9 };

/* Read the key by one of the read-only calls. */
static cellar_err read_by(unsigned way, uint32_t key)
{
    char buf[64];
    void *copy = NULL;
    size_t len = 0;
    cellar_entry_info info = cellar_entry_info_default();
    cellar_pinned pin = { 0 };
    cellar_get_opts o = cellar_get_opts_default();
    cellar_get_item item = { .key = &key, .key_len = sizeof key, .buf = buf,
                             .buf_cap = sizeof buf };
    cellar_err err = CELLAR_OK;
    o.flags = way == 1 ? CELLAR_GET_PEEK : 0;
    o.info = way == 2 ? &info : NULL;
    switch (way) {
    case 0: return cellar_get(low.c, &key, sizeof key, buf, sizeof buf, NULL);
    case 1:
    case 2: return cellar_get_with(low.c, &key, sizeof key, &o, buf, sizeof buf, NULL);
    case 3: return peek(low.c, &key, sizeof key, buf, sizeof buf, NULL);
    case 4: return cellar_contains(low.c, &key, sizeof key);
    case 5: return cellar_entry_info_get(low.c, &key, sizeof key, 0, &info);
    case 6: err = cellar_get_alloc(low.c, &key, sizeof key, &copy, &len); break;
    case 7: err = cellar_pin(low.c, &key, sizeof key, &pin); break;
    default:
        T_EQ_I64(cellar_get_many(low.c, &item, 1, NULL), CELLAR_OK);
        return item.status;
    }
    cellar_free(copy);
    cellar_unpin(&pin);
    return err;
}

/* Read each other key that shares the stamp of the changed key. */
static void read_mates(uint32_t changed)
{
    for (size_t i = 0; i < SLOTS; i++) {
        const row *r = &low.rows[i];
        if (!r->used || !r->current || r->key == changed ||
            low.host.stamp_is(low.host.ctx, r->hash, r->stamp)) {
            continue;
        }
        char buf[64];
        const uint32_t key = r->key;
        low.mates++;
        low.mates_served +=
            cellar_get(low.c, &key, sizeof key, buf, sizeof buf, NULL) == CELLAR_OK;
    }
}

static void low_kill(void *ctx, const cache_tier_key *k)
{
    (void)ctx;
    const uint32_t key = key_of(k);
    low.kills++;
    /* the L1 step is done, the tombstone is not */
    for (unsigned i = 0; low.reads_in_kill && i < WAYS; i++) {
        low.missed_in_kill += read_by(i, key) == CELLAR_MISS;
    }
    if (low.mates_in_kill) { read_mates(key); }
    /* the old value of the tier is dead but not yet removed */
    if (low.incr_in_kill && !low.in_call) {
        low.in_call = true;
        T_EQ_I64(cellar_increment(low.c, &key, sizeof key, 1, 0, 0, 0, &low.counted_in_kill),
                 CELLAR_OK);
        low.in_call = false;
    }
    row *r = find(k->generation, key);
    if (r != NULL) { r->used = false; }
}

static void low_bump(void *ctx, uint32_t namespace_id, uint32_t generation)
{
    (void)ctx;
    low.bumps++;
    low.bumped_namespace = namespace_id;
    low.bumped_generation = generation;
}

static bool low_tick(void *ctx, uint64_t budget_us)
{
    (void)ctx;
    (void)budget_us;
    low.ticks++;
    return low.work != 0 && --low.work != 0;
}

static void low_close(void *ctx, int64_t deadline_ms)
{
    (void)ctx;
    T_CHECK(deadline_ms > now_ms);
    low.closes++;
}

static void low_forked(void *ctx)
{
    (void)ctx;
    low.forked = true;
}

static const cache_tier tier = {
    .hash_key = low_hash_key, .attach = low_attach, .get = low_get,
    .put = low_put, .kill = low_kill, .bump = low_bump, .tick = low_tick, .close = low_close,
    .forked = low_forked,
};

static cellar_err open_tier(const settings *s, const cache_tier *t, cellar **out)
{
    const cellar_config cfg = settings_config(s);
    return cache_open(&cfg, t, 0, out);
}

static cellar *open_on(const cache_tier *t, uint64_t max_entries)
{
    settings cfg = settings_default();
    cellar *c = NULL;
    memset(&low, 0, sizeof low);
    now_ms = 1000000;
    cfg.config.memory_bytes = 4u << 20;
    cfg.config.max_entries = max_entries;
    cfg.config.eviction = CELLAR_EVICT_FIFO;
    cfg.host.clock = read_clock;
    cfg.host.no_threads = 1;
    T_REQUIRE(open_tier(&cfg, t, &c) == CELLAR_OK);
    low.c = c;
    return c;
}

static void shut(cellar *c)
{
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    T_EQ_U64(low.closes, 1);
}

static cellar_err put(cellar *c, uint32_t key, const char *value, int64_t ttl_ms)
{
    cellar_set_opts o = cellar_set_opts_default();
    o.ttl_ms = ttl_ms;
    o.user_flags = 5;
    return cellar_set(c, &key, sizeof key, value, strlen(value), &o);
}

static const char *look(cellar *c, uint32_t key)
{
    static char text[80];
    size_t len = 0;
    const cellar_err err = cellar_get(c, &key, sizeof key, text, sizeof text - 1, &len);
    if (err != CELLAR_OK) { return cellar_code_name(err); }
    text[len] = '\0';
    return text;
}

/* Set key 0 first, then enough others to evict it. */
static void push_out(cellar *c, uint32_t others)
{
    for (uint32_t i = 1; i <= others; i++) { T_EQ_I64(put(c, i, "filler", 0), CELLAR_OK); }
}

static void evicted_entry_is_written_to_tier_and_read_back(void)
{
    cellar *c = open_on(&tier, 100);
    cellar_stats st = cellar_stats_default();
    put(c, 0, "zero", 0);
    push_out(c, 300);
    T_CHECK(low.puts >= 200);
    T_CHECK(find(0, 0)->used);
    T_EQ_STR(look(c, 0), "zero");
    T_EQ_U64(low.gets, 1);
    T_EQ_STR(look(c, 0), "zero"); /* from L1 now */
    T_EQ_U64(low.gets, 1);
    T_EQ_STR(look(c, 99999), "MISS");
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_EQ_U64(st.hits_l2, 1);
    T_EQ_U64(st.hits_l1, 1);
    T_EQ_U64(st.misses, 1);
    T_EQ_U64(st.gets, 3);
    cellar_entry_info info = cellar_entry_info_default();
    const uint32_t key = 0;
    T_EQ_I64(cellar_entry_info_get(c, &key, sizeof key, 0, &info), CELLAR_OK);
    T_EQ_U64(info.user_flags, 5);
    shut(c);
}

/* Open a store with key 0 only in the tier, with that value, time to live and user flags 5. */
static cellar *open_below(const void *value, size_t value_len, int64_t ttl_ms)
{
    cellar *c = open_on(&tier, 100);
    const uint32_t key = 0;
    cellar_set_opts o = cellar_set_opts_default();
    o.ttl_ms = ttl_ms;
    o.user_flags = 5;
    T_EQ_I64(cellar_set(c, &key, sizeof key, value, value_len, &o), CELLAR_OK);
    push_out(c, 300);
    T_REQUIRE(find(0, 0)->used);
    return c;
}

static const uint32_t zero = 0;

static void peek_does_not_promote_from_disk(void)
{
    cellar *c = open_below("zero", 4, 5000);
    now_ms += 1000;
    for (unsigned round = 1; round <= 2; round++) {
        char buf[8];
        size_t len = 0;
        cellar_entry_info info = cellar_entry_info_default(), got = cellar_entry_info_default();
        cellar_get_opts o = cellar_get_opts_default();
        o.flags = CELLAR_GET_PEEK;
        o.info = &got;
        T_EQ_I64(cellar_contains(c, &zero, sizeof zero), CELLAR_OK);
        T_EQ_I64(peek(c, &zero, sizeof zero, buf, sizeof buf, &len), CELLAR_OK);
        T_EQ_U64(len, 4);
        T_EQ_MEM(buf, "zero", 4);
        T_EQ_I64(peek(c, &zero, sizeof zero, buf, 3, &len), CELLAR_E_BUFFER);
        T_EQ_I64(cellar_entry_info_get(c, &zero, sizeof zero, 0, &info), CELLAR_OK);
        T_EQ_I64(cellar_get_with(c, &zero, sizeof zero, &o, buf, sizeof buf, &len), CELLAR_OK);
        T_EQ_U64(low.gets, 5 * round); /* the tier answered each of them, L1 none */
        T_EQ_U64(info.tier, CELLAR_TIER_L2);
        T_EQ_U64(info.value_len, 4);
        T_EQ_U64(info.user_flags, 5);
        T_EQ_I64(info.ttl_left_ms, 4000);
        T_EQ_I64(info.age_ms, INT64_MAX);
        T_EQ_MEM(&info, &got, sizeof info);
    }
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_EQ_U64(st.gets, 0);
    now_ms += 4000;
    T_EQ_I64(cellar_contains(c, &zero, sizeof zero), CELLAR_MISS);
    cellar_entry_info info = cellar_entry_info_default();
    T_EQ_I64(cellar_entry_info_get(c, &zero, sizeof zero, 0, &info), CELLAR_MISS);
    shut(c);
}

static void get_describes_entry_read_from_tier(void)
{
    cellar *c = open_below("zero", 4, 0);
    char buf[8];
    cellar_entry_info info = cellar_entry_info_default();
    cellar_get_opts o = cellar_get_opts_default();
    o.info = &info;
    T_EQ_I64(cellar_get_with(c, &zero, sizeof zero, &o, buf, sizeof buf, NULL), CELLAR_OK);
    T_EQ_U64(info.tier, CELLAR_TIER_L2);
    T_EQ_U64(info.user_flags, 5);
    T_EQ_I64(info.ttl_left_ms, CELLAR_TTL_NONE);
    T_EQ_U64(info.flags & CELLAR_INFO_VERSION, 0);
    T_EQ_I64(cellar_get_with(c, &zero, sizeof zero, &o, buf, sizeof buf, NULL), CELLAR_OK);
    T_EQ_U64(info.tier, CELLAR_TIER_L1);
    T_EQ_U64(low.gets, 1);
    shut(c);
    for (unsigned how = 0; how < 3; how++) { /* only L1 has versions: the entry is promoted */
        c = open_below("zero", 4, 0);
        o.flags = CELLAR_GET_WANT_VERSION | (how == 1 ? CELLAR_GET_PEEK : 0u);
        T_EQ_I64(how == 2 ? cellar_entry_info_get(c, &zero, sizeof zero, CELLAR_GET_WANT_VERSION,
                                                  &info)
                          : cellar_get_with(c, &zero, sizeof zero, &o, buf, 8, NULL), CELLAR_OK);
        T_CHECK((info.flags & CELLAR_INFO_VERSION) != 0 && info.version != 0);
        cellar_set_opts so = cellar_set_opts_default();
        so.flags = CELLAR_ONLY_IF_VERSION;
        so.if_version = info.version;
        T_EQ_I64(cellar_set(c, &zero, sizeof zero, "one", 3, &so), CELLAR_OK);
        shut(c);
    }
}

static cellar_err add_x(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    *(bool *)ctx = old != NULL;
    (void)cellar_buf_append(out, old, old_len);
    return cellar_buf_append(out, "x", 1);
}

static void change_promotes_entry_from_tier(void)
{
    cellar *c = open_below("zero", 4, 5000);
    cellar_pinned p;
    T_EQ_I64(cellar_pin(c, &zero, sizeof zero, &p), CELLAR_OK);
    T_EQ_U64(p.value_len, 4);
    T_EQ_MEM(p.value, "zero", 4);
    cellar_unpin(&p);
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_EQ_U64(st.hits_l2, 1);
    T_EQ_U64(st.gets, 1);
    shut(c);

    c = open_below("zero", 4, 5000);
    cellar_entry_info info = cellar_entry_info_default();
    T_EQ_I64(cellar_touch(c, &zero, sizeof zero, 9000), CELLAR_OK);
    T_CHECK(!find(0, 0)->used); /* its deadline has changed */
    T_EQ_I64(cellar_entry_info_get(c, &zero, sizeof zero, 0, &info), CELLAR_OK);
    T_EQ_U64(info.tier, CELLAR_TIER_L1);
    T_EQ_I64(info.ttl_left_ms, 9000);
    shut(c);

    c = open_below("zero", 4, 5000);
    bool there = false;
    T_EQ_I64(cellar_update(c, &zero, sizeof zero, NULL, add_x, &there), CELLAR_OK);
    T_CHECK(there);
    T_EQ_STR(look(c, 0), "zerox");
    shut(c);

    const int64_t forty = 40;
    int64_t now = 0;
    c = open_below(&forty, sizeof forty, 5000);
    T_EQ_I64(cellar_increment(c, &zero, sizeof zero, 2, 1000, 0, 0, &now), CELLAR_OK);
    T_EQ_I64(now, 42);
    T_EQ_I64(cellar_entry_info_get(c, &zero, sizeof zero, 0, &info), CELLAR_OK);
    T_EQ_I64(info.ttl_left_ms, 5000); /* the entry's own TTL, not that of a new entry */
    shut(c);
}

static void condition_applies_to_entry_in_tier(void)
{
    cellar_set_opts o = cellar_set_opts_default();
    cellar *c = open_below("zero", 4, 5000);
    o.flags = CELLAR_ONLY_IF_ABSENT;
    T_EQ_I64(cellar_set(c, &zero, sizeof zero, "one", 3, &o), CELLAR_EXISTS);
    T_EQ_STR(look(c, 0), "zero");
    shut(c);
    c = open_below("zero", 4, 5000);
    o.flags = CELLAR_ONLY_IF_PRESENT;
    cellar_set_item it[2] = { { &zero, sizeof zero, "one", 3, CELLAR_OK, 0 },
                              { "none", 4, "one", 3, CELLAR_OK, 0 } };
    T_EQ_I64(cellar_set_many(c, it, 2, &o, NULL), CELLAR_OK);
    T_EQ_I64(it[0].status, CELLAR_OK);
    T_EQ_I64(it[1].status, CELLAR_MISS);
    T_EQ_STR(look(c, 0), "one");
    shut(c);
    c = open_below("zero", 4, 5000);
    o.flags = CELLAR_KEEP_TTL;
    o.ttl_ms = 70000;
    T_EQ_I64(cellar_set(c, &zero, sizeof zero, "one", 3, &o), CELLAR_OK);
    cellar_entry_info info = cellar_entry_info_default();
    T_EQ_I64(cellar_entry_info_get(c, &zero, sizeof zero, 0, &info), CELLAR_OK);
    T_EQ_I64(info.ttl_left_ms, 5000);
    shut(c);
}

static void negative_entry_in_tier_answers_absent(void)
{
    for (unsigned op = 0; op < 5; op++) {
        cellar *c = open_below("zero", 4, 5000);
        find(0, 0)->negative = true;
        cellar_entry_info info = cellar_entry_info_default();
        cellar_set_opts o = cellar_set_opts_default();
        o.flags = CELLAR_ONLY_IF_ABSENT;
        int64_t now = 0;
        switch (op) {
        case 0: T_EQ_I64(cellar_contains(c, &zero, sizeof zero), CELLAR_MISS); break;
        case 1:
            T_EQ_I64(cellar_entry_info_get(c, &zero, sizeof zero, 0, &info), CELLAR_ABSENT);
            T_EQ_U64(info.kind, CELLAR_KIND_NEGATIVE);
            T_EQ_U64(info.tier, CELLAR_TIER_L2);
            break;
        case 2: T_EQ_I64(cellar_touch(c, &zero, sizeof zero, 1000), CELLAR_ABSENT); break;
        case 3:
            T_EQ_I64(cellar_increment(c, &zero, sizeof zero, 1, 6, 0, 0, &now), CELLAR_OK);
            T_EQ_I64(now, 7);
            break;
        default: T_EQ_I64(cellar_set(c, &zero, sizeof zero, "one", 3, &o), CELLAR_OK); break;
        }
        shut(c);
    }
}

static void change_during_promotion_wins(void)
{
    const int64_t forty = 40;
    int64_t now = 0;
    cellar *c = open_below(&forty, sizeof forty, 0);
    low.set_in_get = true; /* "newer" */
    T_EQ_I64(cellar_increment(c, &zero, sizeof zero, 2, 0, 0, 0, &now), CELLAR_E_TYPE);
    T_EQ_STR(look(c, 0), "newer");
    shut(c);
    c = open_below("zero", 4, 0);
    low.set_in_get = true;
    char buf[8];
    size_t len = 0;
    cellar_entry_info info = cellar_entry_info_default(), later = cellar_entry_info_default();
    cellar_get_opts o = cellar_get_opts_default();
    o.flags = CELLAR_GET_WANT_VERSION;
    o.info = &info;
    T_EQ_I64(cellar_get_with(c, &zero, sizeof zero, &o, buf, sizeof buf, &len), CELLAR_OK);
    T_EQ_U64(len, 5); /* a version belongs to the bytes that come with it */
    T_EQ_MEM(buf, "newer", 5);
    T_EQ_I64(cellar_entry_info_get(c, &zero, sizeof zero, CELLAR_GET_WANT_VERSION, &later),
             CELLAR_OK);
    T_EQ_U64(info.version, later.version);
    shut(c);
    c = open_below("zero", 4, 0);
    low.del_in_get = true;
    bool there = true;
    T_EQ_I64(cellar_update(c, &zero, sizeof zero, NULL, add_x, &there), CELLAR_OK);
    T_CHECK(!there);
    T_EQ_STR(look(c, 0), "x");
    shut(c);
    c = open_below(&forty, sizeof forty, 0);
    low.incr_in_kill = true;
    T_EQ_I64(cellar_delete(c, &zero, sizeof zero), CELLAR_MISS);
    T_EQ_I64(low.counted_in_kill, 1); /* the deleted 40 is not counted on */
    shut(c);
    c = open_below(&forty, sizeof forty, 0);
    low.clear_in_get = true;
    T_EQ_I64(cellar_increment(c, &zero, sizeof zero, 2, 5, 0, 0, &now), CELLAR_OK);
    T_EQ_I64(now, 7); /* nor is the cleared value */
    shut(c);
}

static void entry_stays_in_tier_without_memory_for_promotion(void)
{
    cellar *c = open_below("zero", 4, 5000);
    low.long_in_get = true;
    (void)base_fault_alloc_arm(1, true);
    const cellar_err err = cellar_touch(c, &zero, sizeof zero, 9000);
    T_CHECK(base_fault_alloc_arm(0, false) != 0);
    T_EQ_I64(err, CELLAR_MISS);
    T_CHECK(find(0, 0)->used);
    T_EQ_I64(cellar_touch(c, &zero, sizeof zero, 9000), CELLAR_OK);
    shut(c);
}

static void only_evicted_entries_are_written_to_tier(void)
{
    cellar *c = open_on(&tier, 0);
    const uint32_t key = 1;
    put(c, 1, "a", 0);
    put(c, 1, "b", 0);
    T_EQ_I64(cellar_delete(c, &key, sizeof key), CELLAR_OK);
    put(c, 1, "c", 10);
    now_ms += 10;
    while (cellar_tick(c, 100000, NULL) == CELLAR_PENDING) {}
    T_CHECK(low.ticks > 0);
    low.work = 3; /* the work of the tier is part of the result of a tick */
    T_EQ_I64(cellar_tick(c, 1000, NULL), CELLAR_PENDING);
    T_EQ_I64(cellar_tick(c, 1000, NULL), CELLAR_PENDING);
    T_EQ_I64(cellar_tick(c, 1000000, NULL), CELLAR_OK);
    T_EQ_U64(low.puts, 0); /* replaced, deleted, expired: not written to the tier */
    shut(c);
}

static void every_change_deletes_old_copy_in_tier(void)
{
    cellar *c = open_on(&tier, 0);
    const uint32_t key = 1;
    T_EQ_I64(cellar_delete(c, &key, sizeof key), CELLAR_MISS);
    T_EQ_U64(low.kills, 1); /* also when L1 has no entry: the tier may have an old copy */
    put(c, 1, "a", 0);
    T_EQ_U64(low.kills, 2);
    put(c, 1, "b", 0);
    T_EQ_U64(low.kills, 3);
    T_EQ_I64(cellar_touch(c, &key, sizeof key, 50), CELLAR_OK);
    T_EQ_U64(low.kills, 4);
    T_EQ_I64(cellar_increment(c, "cntr", 4, 1, 0, 0, 0, NULL), CELLAR_OK);
    T_EQ_U64(low.kills, 5);
    cellar_set_opts o = cellar_set_opts_default();
    o.flags = CELLAR_ONLY_IF_ABSENT;
    T_EQ_I64(cellar_set(c, &key, sizeof key, "x", 1, &o), CELLAR_EXISTS);
    T_EQ_U64(low.kills, 5); /* nothing changed */
    T_EQ_STR(look(c, 1), "b");
    T_EQ_U64(low.kills, 5);
    static char big[3u << 20];
    T_EQ_I64(cellar_set(c, &key, sizeof key, big, sizeof big, NULL), CELLAR_E_TOOBIG);
    T_EQ_U64(low.kills, 6); /* the failed set removed the old value in the tier, too */
    cellar_delete_item del = { &key, sizeof key, CELLAR_OK, 0 };
    T_EQ_I64(cellar_delete_many(c, &del, 1, NULL), CELLAR_OK);
    T_EQ_U64(low.kills, 7);
    shut(c);
}

static void change_after_unlink_stops_demotion(void)
{
    cellar *c = open_on(&tier, 100);
    put(c, 0, "old", 0);
    low.set_in_put = true;
    push_out(c, 110);
    low.set_in_put = false;
    T_CHECK(low.refused > 0);
    row *r = find(0, 0);
    /* the old value was not written after the tombstone of the new value */
    T_CHECK(r == NULL || !r->used);
    T_EQ_STR(look(c, 0), "newer");
    shut(c);
}

static void evicted_bytes_stay_in_place_during_demotion(void)
{
    cellar *c = open_on(&tier, 500);
    for (uint32_t i = 0; i < 500; i++) { put(c, i, "some bytes that must stay", 0); }
    low.churn_in_put = true;
    for (uint32_t i = 500; i < 520; i++) { put(c, i, "next", 0); }
    low.churn_in_put = false;
    T_CHECK(low.puts > 20);
    shut(c);
}

static void set_during_tier_read_wins_over_backfill(void)
{
    cellar *c = open_on(&tier, 100);
    put(c, 0, "old", 0);
    push_out(c, 200);
    T_CHECK(find(0, 0)->used);
    low.set_in_get = true;
    (void)look(c, 0); /* old or newer: the set overlaps this get */
    low.set_in_get = false;
    T_EQ_STR(look(c, 0), "newer");
    shut(c);
}

/* The key is absent from L1 before and after, so only the stamp shows the change. */
static void delete_during_tier_read_is_not_undone(void)
{
    cellar *c = open_on(&tier, 100);
    put(c, 0, "old", 0);
    push_out(c, 200);
    T_CHECK(find(0, 0)->used);
    low.del_in_get = true;
    T_EQ_STR(look(c, 0), "old"); /* overlaps the delete: allowed */
    low.del_in_get = false;
    T_EQ_STR(look(c, 0), "MISS"); /* after the delete: the old value must not return */
    shut(c);
}

/* Every call that reads the tier misses: it cannot know whether a newer value was already read. */
static void tier_read_during_pending_change_misses(void)
{
    cellar *c = open_on(&tier, 100);
    const uint32_t key = 0;
    put(c, 0, "old", 0);
    push_out(c, 200);
    T_CHECK(find(0, 0)->used);
    low.gets = 0;
    low.reads_in_kill = true;
    /* L1 has no entry; the tier's entry is deleted */
    T_EQ_I64(cellar_delete(c, &key, sizeof key), CELLAR_MISS);
    low.reads_in_kill = false;
    T_EQ_U64(low.missed_in_kill, WAYS);
    T_EQ_U64(low.gets, 0);
    T_EQ_STR(look(c, 0), "MISS"); /* nothing was back-filled into L1 */
    shut(c);
}

static void key_set_during_tier_read_hits(void)
{
    cellar *c = open_on(&tier, 100);
    for (unsigned way = 0; way < WAYS; way++) {
        put(c, 0, "old", 0);
        push_out(c, 200);
        T_CHECK(find(0, 0)->used);
        low.set_before_get = true;
        T_EQ_I64(read_by(way, 0), CELLAR_OK);
        T_CHECK(!low.set_before_get);
        T_EQ_STR(look(c, 0), "newer");
    }
    shut(c);
}

/* Keys share stamp words by hash. One key in 256 of those that share a word is taken for the
 * changed key. */
static void pending_change_of_other_key_hides_nothing(void)
{
    cellar *c = open_on(&tier, 100);
    low.set_in_put = low.in_call = true; /* a set may evict a key that shares its stamp */
    push_out(c, 6000);
    for (uint32_t key = 10000; low.mates < 8 && key < 10400; key++) {
        for (size_t i = 0; i < SLOTS; i++) {
            row *r = &low.rows[i];
            r->current = r->used && low.host.stamp_is(low.host.ctx, r->hash, r->stamp);
        }
        low.mates_in_kill = true;
        T_EQ_I64(put(c, key, "value", 0), CELLAR_OK);
        low.mates_in_kill = false;
    }
    T_CHECK(low.mates >= 8);
    T_CHECK(low.mates_served + 1 >= low.mates);
    shut(c);
}

static bool low_nothing(void *ctx, uint64_t hash)
{
    (void)ctx;
    low.asked++;
    for (unsigned i = 0; i < SLOTS; i++) {
        if (low.rows[i].used && low.rows[i].hash == hash) { return false; }
    }
    return true;
}

/* A tier without the key is neither told of changes nor asked for the value. A captured stamp still
 * detects the next change. */
static void tier_without_key_is_not_called(void)
{
    cache_tier with = tier;
    with.nothing = low_nothing;
    cellar *c = open_on(&with, 100);
    const uint32_t key = 0;
    for (unsigned i = 0; i < 3; i++) { put(c, 0, "here", 0); }
    T_EQ_I64(cellar_set(c, &key, sizeof key, "over", 4, NULL), CELLAR_OK);
    T_EQ_I64(cellar_delete(c, &key, sizeof key), CELLAR_OK);
    T_EQ_STR(look(c, 0), "MISS");
    T_EQ_U64(low.kills + low.gets, 0);
    T_CHECK(low.asked >= 6);
    put(c, 0, "zero", 0);
    push_out(c, 200);
    T_CHECK(find(0, 0)->used);
    T_EQ_STR(look(c, 0), "zero"); /* the tier has a value: it is asked and told */
    T_CHECK(low.gets == 1 && low.kills == 0);
    put(c, 0, "one", 0);
    T_EQ_U64(low.kills, 1);
    T_EQ_I64(cellar_delete(c, &key, sizeof key), CELLAR_OK);
    T_EQ_U64(low.kills, 1); /* removed by the set */
    shut(c);
    c = open_on(&with, 100); /* a change between unlink and demotion, the tier still empty */
    put(c, 0, "zero", 0);
    low.set_in_put = true;
    push_out(c, 300);
    T_CHECK(low.refused > 0);
    low.set_in_put = false;
    shut(c);
}

/* D14, S2:369-389: an entry copied up from the second level has no TTL and never expires. Sequence:
 * set with a TTL, evicted, read back, waited for. */
static void seed_backfilled_entry_expires_on_time(void)
{
    cellar *c = open_on(&tier, 100);
    cellar_entry_info info = cellar_entry_info_default();
    const uint32_t key = 0;
    put(c, 0, "timed", 1000);
    push_out(c, 200);
    now_ms += 400;
    T_EQ_STR(look(c, 0), "timed");
    T_EQ_I64(cellar_entry_info_get(c, &key, sizeof key, 0, &info), CELLAR_OK);
    T_EQ_I64(info.ttl_left_ms, 600); /* the remaining TTL, not the TTL of the set */
    now_ms += 599;
    T_EQ_STR(look(c, 0), "timed");
    now_ms += 1;
    T_EQ_STR(look(c, 0), "MISS");
    T_EQ_I64(cellar_delete(c, &key, sizeof key), CELLAR_MISS); /* reaches both levels */
    T_CHECK(find(0, 0) == NULL || !find(0, 0)->used);
    shut(c);
}

static void negative_entry_is_read_back_from_tier(void)
{
    cellar *c = open_on(&tier, 100);
    row *r = find(0, 77);
    *r = (row){ .used = true, .generation = 0, .key = 77, .deadline_ms = now_ms + 500,
                .negative = true };
    T_EQ_STR(look(c, 77), "ABSENT");
    r->used = false;
    T_EQ_STR(look(c, 77), "ABSENT");
    now_ms += 500;
    T_EQ_STR(look(c, 77), "MISS");
    shut(c);
}

static void get_many_and_get_alloc_read_tier(void)
{
    cellar *c = open_on(&tier, 100);
    for (uint32_t i = 0; i < 300; i++) { put(c, i, i % 2 ? "odd" : "even", 0); }
    cellar_get_item items[300];
    static uint32_t keys[300];
    static char bufs[300][8];
    size_t hits;
    for (uint32_t i = 0; i < 300; i++) {
        keys[i] = i;
        items[i] = (cellar_get_item){ &keys[i], 4, bufs[i], 8, 0, CELLAR_MISS, 0 };
    }
    T_EQ_I64(cellar_get_many(c, items, 300, &hits), CELLAR_OK);
    T_EQ_U64(hits, 300);
    for (uint32_t i = 0; i < 300; i++) { T_EQ_MEM(bufs[i], i % 2 ? "odd" : "even", 3); }
    void *copy;
    size_t len;
    for (uint32_t i = 0; i < 300; i++) {
        T_EQ_I64(cellar_get_alloc(c, &i, 4, &copy, &len), CELLAR_OK);
        T_EQ_U64(len, i % 2 ? 3 : 4);
        cellar_free(copy);
    }
    char buf[2];
    uint32_t key = 0;
    while (find(0, key) == NULL || !find(0, key)->used) { key++; }
    (void)cellar_get(c, &key, 4, buf, 2, &len); /* too small a buffer, at either level */
    shut(c);
}

static void tier_is_told_of_clear_and_drop(void)
{
    cellar *c = open_on(&tier, 100), *v;
    T_EQ_I64(cellar_namespace_open(c, "v", NULL, &v), CELLAR_OK);
    for (uint32_t i = 0; i < 300; i++) { put(v, i, "v", 0); }
    const uint32_t id = low.last_namespace;
    T_CHECK(id != 0);
    T_EQ_I64(cellar_clear(v), CELLAR_OK);
    T_EQ_U64(low.bumps, 1);
    T_EQ_U64(low.bumped_namespace, id);
    T_CHECK(low.bumped_generation != 0);
    T_EQ_STR(look(v, 3), "MISS"); /* the tier is asked with the new generation */
    put(v, 3, "again", 0);
    T_EQ_STR(look(v, 3), "again");
    T_EQ_I64(cellar_namespace_drop(c, "v"), CELLAR_OK);
    T_EQ_U64(low.bumps, 2);
    T_EQ_U64(low.bumped_generation, 0);
    T_EQ_I64(cellar_close(v), CELLAR_OK);
    shut(c);
}

/* ---- names of namespaces, as in the table of the disk ---- */

static struct low_name {
    char name[16];
    cache_tier_namespace v;
} names[8];

/* Work of other threads while one thread goes to that table or returns from it; once. */
static struct {
    cellar *c;
    bool set, drop, namespace, on_the_way_back;
    cellar *made;
    cellar_lease lease;
} others;

static struct low_name *named(const char *name, size_t len, uint32_t id)
{
    for (size_t i = 0; i < 8; i++) {
        struct low_name *n = &names[i];
        if (n->v.generation == 0) { continue; }
        if (name == NULL ? n->v.id == id
                         : strlen(n->name) == len && memcmp(n->name, name, len) == 0) { return n; }
    }
    return NULL;
}

static bool names_find(void *ctx, const char *name, size_t len, cache_tier_namespace *out)
{
    (void)ctx;
    const struct low_name *n = named(name, len, 0);
    if (n != NULL) { *out = n->v; }
    return n != NULL;
}

static void names_keep(const cache_tier_namespace *v, const char *name, size_t len)
{
    struct low_name *n = named(name, len, v->id);
    if (n == NULL && v->generation != 0 && name != NULL) {
        for (n = names; n->v.generation != 0; n++) {}
        (void)snprintf(n->name, sizeof n->name, "%.*s", (int)len, name);
    }
    if (n != NULL && (v->generation == 0 || v->generation >= n->v.generation)) { n->v = *v; }
}

static void others_work(void)
{
    const bool set = others.set, drop = others.drop, namespace = others.namespace;
    cellar *v;
    others.set = others.drop = others.namespace = false;
    if (set) {
        T_EQ_I64(cellar_namespace_open(others.c, "v", NULL, &v), CELLAR_OK);
        T_EQ_I64(put(v, 1, "dropped", 0), CELLAR_OK);
        T_EQ_I64(cellar_close(v), CELLAR_OK);
    }
    if (drop) { T_EQ_I64(cellar_namespace_drop(others.c, "v"), CELLAR_OK); }
    if (namespace) {
        cellar_result r = cellar_result_default();
        T_EQ_I64(cellar_namespace_open(others.c, "v", NULL, &others.made), CELLAR_OK);
        T_EQ_STR(look(others.made, 1), "MISS");
        T_EQ_I64(cellar_lease_acquire(others.made, "load", 4, NULL, NULL, &others.lease, &r),
                 CELLAR_LEASED);
        cellar_result_free(&r);
    }
}

static void names_set(void *ctx, const cache_tier_namespace *v, const char *name, size_t len)
{
    (void)ctx;
    if (!others.on_the_way_back) { others_work(); }
    names_keep(v, name, len);
    if (others.on_the_way_back) { others_work(); }
}

static const cache_tier *tier_with_names(void)
{
    static cache_tier t;
    t = tier;
    t.namespace_find = names_find;
    t.namespace_set = names_set;
    memset(&others, 0, sizeof others);
    return &t;
}

static cellar *open_on_names(void)
{
    cellar *c = open_on(tier_with_names(), 0);
    others.c = c;
    return c;
}

static void expect_an_empty_namespace(cellar *c, uint32_t forbidden_generation)
{
    cellar *v;
    T_EQ_I64(cellar_namespace_open(c, "v", NULL, &v), CELLAR_OK);
    T_EQ_STR(look(v, 1), "MISS");
    const struct low_name *n = named("v", 1, 0);
    T_CHECK(n != NULL && n->v.generation > forbidden_generation);
    T_EQ_I64(put(v, 1, "new", 0), CELLAR_OK);
    T_EQ_STR(look(v, 1), "new");
    T_EQ_I64(cellar_close(v), CELLAR_OK);
}

/* The name is free before the tier is told of the drop, and the tier still has the old generation
 * numbers. */
static void namespace_reopened_during_drop_is_empty(void)
{
    for (int back = 0; back < 2; back++) {
        memset(names, 0, sizeof names);
        cellar *c = open_on_names(), *v;
        T_EQ_I64(cellar_namespace_open(c, "v", NULL, &v), CELLAR_OK);
        T_EQ_I64(put(v, 1, "old", 0), CELLAR_OK);
        T_REQUIRE(named("v", 1, 0) != NULL);
        const cache_tier_namespace was = named("v", 1, 0)->v;
        others.on_the_way_back = back != 0;
        others.namespace = true;
        T_EQ_I64(cellar_namespace_drop(c, "v"), CELLAR_OK);
        T_REQUIRE(others.made != NULL);
        T_EQ_STR(look(others.made, 1), "MISS");
        T_REQUIRE(named("v", 1, 0) != NULL); /* the name outlives the store */
        T_CHECK(named("v", 1, 0)->v.id != was.id &&
                named("v", 1, 0)->v.generation > was.generation);
        T_EQ_I64(cellar_lease_fulfill(others.made, &others.lease, "x", 1, NULL), CELLAR_OK);
        T_EQ_I64(cellar_close(others.made), CELLAR_OK);
        T_EQ_I64(cellar_close(v), CELLAR_OK);
        shut(c);
    }
}

static void drop_before_concurrent_clear_or_open_is_final(void)
{
    for (int round = 0; round < 4; round++) {
        memset(names, 0, sizeof names);
        cellar *c = open_on_names(), *v = NULL;
        if (round % 2 == 0) { T_EQ_I64(cellar_namespace_open(c, "v", NULL, &v), CELLAR_OK); }
        others.on_the_way_back = round >= 2;
        others.set = others.drop = true;
        if (round % 2 == 0) {
            T_EQ_I64(cellar_clear(v), CELLAR_OK);
        } else {
            T_EQ_I64(cellar_namespace_open(c, "v", NULL, &v), CELLAR_OK);
        }
        T_CHECK(!others.drop);
        T_CHECK(named("v", 1, 0) == NULL);
        T_EQ_STR(look(v, 1), "E_CLOSED");
        expect_an_empty_namespace(c, 1);
        T_EQ_I64(cellar_close(v), CELLAR_OK);
        shut(c);
    }
}


/* Older stores kept the row of the root namespace under its label. */
static void root_stored_under_its_label_is_converted(void)
{
    for (int life = 0; life < 2; life++) {
        if (life == 0) { memset(names, 0, sizeof names); }
        if (life == 0) { names[0] = (struct low_name){ "main", { 0, 40, 3 } }; }
        const cache_tier *t = tier_with_names();
        settings cfg = settings_default();
        cellar *c = NULL, *v;
        cfg.config.memory_bytes = 4u << 20;
        cfg.host.clock = read_clock;
        cfg.host.no_threads = 1;
        cfg.host.name = "main";
        memset(&low, 0, sizeof low);
        T_REQUIRE(open_tier(&cfg, t, &c) == CELLAR_OK);
        T_REQUIRE(named("", 0, 0) != NULL);
        T_CHECK(named("", 0, 0)->v.generation == 40 && named("", 0, 0)->v.version == 3);
        T_EQ_I64(put(c, 1, "root", 0), CELLAR_OK);
        T_EQ_I64(cellar_namespace_open(c, "main", NULL, &v), CELLAR_OK);
        T_EQ_STR(look(v, 1), "MISS");
        T_REQUIRE(named("main", 4, 0) != NULL);
        T_CHECK(named("main", 4, 0)->v.id != 0 && named("main", 4, 0)->v.generation != 40);
        T_CHECK(named("", 0, 0) != NULL && named("", 0, 0)->v.generation == 40);
        T_EQ_I64(cellar_close(v), CELLAR_OK);
        T_EQ_I64(cellar_close(c), CELLAR_OK);
    }
}

static void change_without_tier_captures_no_stamp(void)
{
    cellar *c = open_on(NULL, 100);
    put(c, 0, "zero", 0);
    push_out(c, 300);
    T_EQ_STR(look(c, 0), "MISS");
    T_EQ_U64(low.puts + low.kills + low.gets, 0);
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

static void entry_tagged_before_epoch_floor_misses(void)
{
    cellar *c = open_on(NULL, 0);
    const cellar_bytes tag = { "red", 3 };
    cellar_set_opts o = cellar_set_opts_default();
    o.tags = &tag;
    o.tag_count = 1;
    T_EQ_I64(cellar_set(c, "a", 1, "tagged", 6, &o), CELLAR_OK);
    T_EQ_I64(cellar_set(c, "b", 1, "plain", 5, NULL), CELLAR_OK);
    T_EQ_I64(cellar_contains(c, "a", 1), CELLAR_OK);
    cache_tag_floor(c);
    T_EQ_I64(cellar_contains(c, "a", 1), CELLAR_MISS);
    T_EQ_I64(cellar_contains(c, "b", 1), CELLAR_OK);
    T_EQ_I64(cellar_set(c, "a", 1, "tagged", 6, &o), CELLAR_OK);
    T_EQ_I64(cellar_contains(c, "a", 1), CELLAR_OK);
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

/* In the child: L1 works, the tier is never called. Return 0 if all is well. */
static int child_without_tier(cellar *c)
{
    const unsigned calls = low.gets + low.puts + low.kills;
    const uint32_t key = 1;
    if (!low.forked) { return 2; }
    if (put(c, 1, "child", 0) != CELLAR_OK || strcmp(look(c, 1), "child") != 0) { return 3; }
    if (strcmp(look(c, 0), "MISS") != 0) { return 4; } /* it was evicted: only the tier has it */
    for (uint32_t i = 1; i < 300; i++) { (void)put(c, i, "filler", 0); }
    if (cellar_delete(c, &key, sizeof key) < CELLAR_OK ||
        cellar_clear(c) != CELLAR_OK) { return 5; }
    if (cellar_close(c) != CELLAR_OK || low.closes != 0) { return 6; }
    return low.gets + low.puts + low.kills == calls && low.bumps == 0 ? 0 : 7;
}

static void forked_child_has_no_tier(void)
{
    cellar *c = open_on(&tier, 100);
    put(c, 0, "zero", 0);
    push_out(c, 300);
    fflush(stdout);
    const pid_t pid = fork();
    T_REQUIRE(pid >= 0);
    if (pid == 0) { _exit(child_without_tier(c)); }
    int status = 0;
    T_REQUIRE(waitpid(pid, &status, 0) == pid);
    T_CHECK(WIFEXITED(status));
    T_EQ_I64(WEXITSTATUS(status), 0);
    T_EQ_STR(look(c, 0), "zero");
    shut(c);
}

static void fork_once(const cellar_event *e, void *ctx)
{
    (void)ctx;
    (void)e;
    if (low.child < 0 && low.armed) {
        fflush(stdout);
        low.child = fork();
    }
}

/* Between two reads of the tier a long value evicts entries, and a listener of the eviction
 * forks. */
static void fork_in_listener_between_two_tier_reads_misses(void)
{
    cellar *c = open_on(&tier, 0);
    uint64_t id;
    put(c, 0, "zero", 0);
    for (uint32_t i = 1; !find(0, 0)->used && i < 1000000; i++) { put(c, i, "filler", 0); }
    T_REQUIRE(find(0, 0)->used);
    T_EQ_I64(cellar_listener_add(c, CELLAR_CAUSE_BIT(EVICTED), fork_once, NULL, &id), CELLAR_OK);
    low.child = -1;
    low.armed = low.long_in_get = true;
    const cellar_err err = cellar_touch(c, &zero, sizeof zero, 9000);
    if (low.child == 0) { /* the child has no tier: the key misses */
        _exit(err == CELLAR_MISS && low.forked && cellar_close(c) == CELLAR_OK ? 0 : 1);
    }
    low.armed = false;
    T_REQUIRE(low.child > 0);
    int status = -1;
    T_REQUIRE(waitpid(low.child, &status, 0) == low.child);
    T_CHECK(WIFEXITED(status));
    T_EQ_I64(WEXITSTATUS(status), 0);
    T_EQ_I64(err, CELLAR_OK);
    shut(c);
}

T_ONE_THREAD;
T_MAIN("cache_tier", T_CASE(evicted_entry_is_written_to_tier_and_read_back),
       T_CASE(peek_does_not_promote_from_disk), T_CASE(get_describes_entry_read_from_tier),
       T_CASE(change_promotes_entry_from_tier), T_CASE(condition_applies_to_entry_in_tier),
       T_CASE(negative_entry_in_tier_answers_absent), T_CASE(change_during_promotion_wins),
       T_CASE(entry_stays_in_tier_without_memory_for_promotion),
       T_CASE(only_evicted_entries_are_written_to_tier),
       T_CASE(every_change_deletes_old_copy_in_tier), T_CASE(change_after_unlink_stops_demotion),
       T_CASE(evicted_bytes_stay_in_place_during_demotion),
       T_CASE(set_during_tier_read_wins_over_backfill),
       T_CASE(delete_during_tier_read_is_not_undone),
       T_CASE(tier_read_during_pending_change_misses), T_CASE(key_set_during_tier_read_hits),
       T_CASE(pending_change_of_other_key_hides_nothing), T_CASE(tier_without_key_is_not_called),
       T_CASE(seed_backfilled_entry_expires_on_time), T_CASE(negative_entry_is_read_back_from_tier),
       T_CASE(get_many_and_get_alloc_read_tier), T_CASE(tier_is_told_of_clear_and_drop),
       T_CASE(namespace_reopened_during_drop_is_empty),
       T_CASE(drop_before_concurrent_clear_or_open_is_final),
       T_CASE(root_stored_under_its_label_is_converted), T_CASE(forked_child_has_no_tier),
       T_CASE(fork_in_listener_between_two_tier_reads_misses),
       T_CASE(change_without_tier_captures_no_stamp),
       T_CASE(entry_tagged_before_epoch_floor_misses))
