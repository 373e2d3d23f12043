/* SPDX-License-Identifier: MIT
 *
 * Aim:    The cache between L1 and the disk: order of L1 step and disk call; stamps captured in the
 *         unlink window; refused back-fills when the key has changed or a change is pending; bytes
 *         in place during a demotion.
 * Method: A disk in a folder, with a cipher that copies. Its functions run inside each put and each
 *         get of the disk; a listener runs between the step of a change in L1 and its call of the
 *         disk. On request they set, delete and read the key, at the worst moment. */
#include <errno.h>
#include <limits.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/t.h"

#include "base/hash.h"
#include "base/mem.h"
#include "cache/stamp.h"
#include "tests/support/disk_store.h"
#include "tests/support/settings.h"

static const uint32_t zero = 0;

static struct lower {
    cellar *c;
    bool in_call;
    bool set_in_put, set_in_get, del_in_get, clear_in_get, set_before_get; /* once each */
    bool churn_in_put, mates_in_put, reads_in_delete, incr_in_delete;
    unsigned puts, evicted, missed_in_delete, mates, mates_served, churned;
    int64_t counted_in_delete;
} low;

static void sets_newer(void)
{
    T_EQ_I64(cellar_set(low.c, &zero, sizeof zero, "newer", 5, NULL), CELLAR_OK);
}

/* Return whether to interfere, once. */
static bool takes(bool *flag)
{
    const bool now = *flag && !low.in_call;
    if (now) { *flag = false; }
    return now;
}

static void churn(const void *value, size_t value_len)
{
    unsigned char before[64];
    T_CHECK(value_len <= sizeof before);
    memcpy(before, value, value_len);
    for (uint32_t i = 0; i < 3000; i++) {
        const uint32_t other = 1000000 + i;
        (void)cellar_set(low.c, &other, sizeof other, "churn churn churn", 17, NULL);
    }
    low.churned++;
    T_EQ_MEM(value, before, value_len);
}

static l1_key key_of(const cellar *c, const uint32_t *key)
{
    const uint32_t generation = base_load_acq(&c->generation);
    return (l1_key){ key, sizeof *key, generation,
                     base_hash(c->hash_key, generation, key, sizeof *key) };
}

/* Return what the disk has of a key. */
static cellar_err below(const cellar *c, uint32_t key)
{
    const l1_key k = key_of(c, &key);
    const l2_key id = cache_disk_key(&k);
    l2_meta m;
    size_t len;
    const bool in_call = low.in_call;
    low.in_call = true;
    const cellar_err err = l2_get(c->store->disk, &id, NULL, 0, &len, &m);
    low.in_call = in_call;
    return err == CELLAR_E_BUFFER ? CELLAR_OK : err;
}

/* Read the keys on disk that share the stamp of the changed key 0, and not its tag. */
static void read_mates(void)
{
    const cache_store *s = low.c->store;
    const l1_key changed = key_of(low.c, &zero);
    for (uint32_t key = 1; key < 6000; key++) {
        const l1_key k = key_of(low.c, &key);
        char buf[64];
        if (cache_stamp(s, k.hash) != cache_stamp(s, changed.hash) ||
            cache_stamp_part(k.hash) == cache_stamp_part(changed.hash) ||
            below(low.c, key) != CELLAR_OK) {
            continue;
        }
        low.mates++;
        low.mates_served +=
            cellar_get(low.c, &key, sizeof key, buf, sizeof buf, NULL) == CELLAR_OK;
    }
}

/* Inside a put of the disk. */
static int seal(const unsigned char *nonce, const void *aad, size_t aad_len, const void *in,
                size_t in_len, void *out, void *ctx)
{
    (void)nonce, (void)aad, (void)aad_len, (void)ctx;
    const bool first = !low.in_call;
    low.puts += first;
    if (in_len == 3 && memcmp(in, "old", 3) == 0 && takes(&low.set_in_put)) {
        low.in_call = true;
        sets_newer();
    }
    if (low.churn_in_put && first) {
        low.in_call = true;
        churn(in, in_len);
    }
    if (takes(&low.mates_in_put)) {
        low.in_call = true;
        read_mates();
    }
    if (first) { low.in_call = false; }
    memcpy(out, in, in_len);
    return 0;
}

/* Inside a get of the disk, which has read the record. */
static int unseal(const unsigned char *nonce, const void *aad, size_t aad_len, const void *in,
                  size_t in_len, void *out, void *ctx)
{
    (void)nonce, (void)aad, (void)aad_len, (void)ctx;
    const bool first = !low.in_call, misses = takes(&low.set_before_get);
    if (misses || takes(&low.set_in_get)) {
        low.in_call = true;
        sets_newer();
    }
    if (takes(&low.del_in_get)) { /* a complete delete, in both levels, during the read */
        low.in_call = true;
        T_EQ_I64(cellar_delete(low.c, &zero, sizeof zero), CELLAR_MISS);
    }
    if (takes(&low.clear_in_get)) {
        low.in_call = true;
        T_EQ_I64(cellar_clear(low.c), CELLAR_OK);
    }
    if (first) { low.in_call = false; }
    if (misses) { return 1; } /* as if the disk had found the newer change */
    memcpy(out, in, in_len);
    return 0;
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
    cellar_get_item item = { .key = &key, .key_len = sizeof key, .buf = buf,
                             .buf_cap = sizeof buf };
    cellar_err err = CELLAR_OK;
    cellar_get_opts o = { .struct_size = sizeof o, .flags = way == 1 ? CELLAR_GET_PEEK : 0,
                          .info = way == 2 ? &info : NULL };
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

/* The L1 step is done, the disk does not know it yet. */
static void hear_delete(const cellar_event *e, void *ctx)
{
    uint32_t key;
    (void)ctx;
    memcpy(&key, e->key, sizeof key);
    for (unsigned i = 0; low.reads_in_delete && i < WAYS; i++) {
        low.missed_in_delete += read_by(i, key) == CELLAR_MISS;
    }
    if (takes(&low.incr_in_delete)) {
        T_EQ_I64(cellar_increment(low.c, &key, sizeof key, 1, 0, NULL, &low.counted_in_delete),
                 CELLAR_OK);
    }
}

static unsigned char secret[32] = { 9, 8, 7 };

static settings settings_here(uint64_t max_entries, const cellar_l2_cipher *cipher)
{
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 4u << 20,
                     .config.max_entries = max_entries, .config.eviction = CELLAR_EVICT_FIFO,
                     .config.l2_path = store, .config.l2_bytes = CELLAR_L2_BYTES_MIN,
                     .l2.min_ttl_ms = 1, .l2.cipher = cipher, .host.clock = read_clock,
                     .host.no_threads = 1,
                     .tuning.hash_key = secret }; /* the same victims in each run */
    return cfg;
}

static cellar *open_with(uint64_t max_entries, cellar_l2_write write)
{
    cellar *c = NULL;
    cellar_l2_cipher cipher = { .struct_size = sizeof cipher, .seal = seal, .open = unseal };
    settings cfg = settings_here(max_entries, &cipher);
    cfg.l2.write = write;
    memset(&low, 0, sizeof low);
    store_begin();
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    low.c = c;
    return c;
}

static cellar *open_on(uint64_t max_entries)
{
    return open_with(max_entries, CELLAR_L2_WRITE_ON_EVICTION);
}

static void shut(cellar *c)
{
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    store_end();
}

static l2_stats disk_stats(const cellar *c)
{
    l2_stats st;
    l2_stats_get(c->store->disk, &st);
    return st;
}

static cellar_stats stats_of(cellar *c)
{
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    return st;
}

static cellar_err put(cellar *c, uint32_t key, const char *value, int64_t ttl_ms)
{
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = ttl_ms, .user_flags = 5 };
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

/* Use key 0, which was set first, then set enough others to evict it to the disk. */
static void push_out(cellar *c, uint32_t others)
{
    (void)look(c, 0);
    for (uint32_t i = 1; i <= others; i++) { T_EQ_I64(put(c, i, "filler", 0), CELLAR_OK); }
}

/* Open a store with key 0 only on disk, with that value, time to live and user flags 5. */
static cellar *open_below_with(const void *value, size_t value_len, int64_t ttl_ms, uint32_t flags)
{
    cellar *c = open_with(100, flags != 0 ? CELLAR_L2_WRITE_ON_SET : CELLAR_L2_WRITE_ON_EVICTION);
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = ttl_ms, .user_flags = 5,
                          .flags = flags };
    T_EQ_I64(cellar_set(c, &zero, sizeof zero, value, value_len, &o), CELLAR_OK);
    push_out(c, 300);
    T_REQUIRE(below(c, 0) == (flags == 0 ? CELLAR_OK : CELLAR_ABSENT));
    return c;
}

static cellar *open_below(const void *value, size_t value_len, int64_t ttl_ms)
{
    return open_below_with(value, value_len, ttl_ms, 0);
}

T_CASE(peek_does_not_promote_from_disk)
{
    cellar *c = open_below("zero", 4, 5000);
    now_ms += 1000;
    const uint64_t calls = stats_of(c).gets, gets = disk_stats(c).gets;
    for (unsigned round = 1; round <= 2; round++) {
        char buf[8];
        size_t len = 0;
        cellar_entry_info info = cellar_entry_info_default(), got = cellar_entry_info_default();
        cellar_get_opts o = { .struct_size = sizeof o, .flags = CELLAR_GET_PEEK, .info = &got };
        T_EQ_I64(cellar_contains(c, &zero, sizeof zero), CELLAR_OK);
        T_EQ_I64(peek(c, &zero, sizeof zero, buf, sizeof buf, &len), CELLAR_OK);
        T_EQ_U64(len, 4);
        T_EQ_MEM(buf, "zero", 4);
        T_EQ_I64(peek(c, &zero, sizeof zero, buf, 3, &len), CELLAR_E_BUFFER);
        T_EQ_I64(cellar_entry_info_get(c, &zero, sizeof zero, 0, &info), CELLAR_OK);
        T_EQ_I64(cellar_get_with(c, &zero, sizeof zero, &o, buf, sizeof buf, &len), CELLAR_OK);
        T_EQ_U64(disk_stats(c).gets, gets + 5 * round); /* the disk answered each of them, L1 none */
        T_EQ_U64(info.tier, CELLAR_TIER_L2);
        T_EQ_U64(info.value_len, 4);
        T_EQ_U64(info.user_flags, 5);
        T_EQ_I64(info.ttl_left_ms, 4000);
        T_EQ_I64(info.age_ms, INT64_MAX);
        T_EQ_MEM(&info, &got, sizeof info);
    }
    T_EQ_U64(stats_of(c).gets, calls);
    now_ms += 4000;
    T_EQ_I64(cellar_contains(c, &zero, sizeof zero), CELLAR_MISS);
    cellar_entry_info info = cellar_entry_info_default();
    T_EQ_I64(cellar_entry_info_get(c, &zero, sizeof zero, 0, &info), CELLAR_MISS);
    shut(c);
}

/* A miss of memory is no answer: neither the disk nor a counter sees the call. */
T_CASE(get_from_memory_touches_no_disk)
{
    cellar *c = open_below("zero", 4, 5000);
    char buf[8];
    size_t len = 7;
    const cellar_stats before = stats_of(c);
    const uint64_t gets = disk_stats(c).gets;
    cellar_get_opts o = { .struct_size = sizeof o, .flags = CELLAR_GET_MEMORY };
    T_EQ_I64(cellar_get_with(c, &zero, sizeof zero, &o, buf, sizeof buf, &len), CELLAR_MISS);
    T_EQ_U64(len, 0);
    T_EQ_I64(cellar_get_with(c, "none", 4, &o, buf, sizeof buf, &len), CELLAR_MISS);
    o.flags = CELLAR_GET_MEMORY | CELLAR_GET_WANT_VERSION | CELLAR_GET_ALLOW_STALE;
    T_EQ_I64(cellar_get_with(c, &zero, sizeof zero, &o, buf, sizeof buf, &len), CELLAR_MISS);
    T_EQ_U64(disk_stats(c).gets, gets);
    T_FIELDS(stats_of(c), gets, before.gets, misses, before.misses);
    T_EQ_I64(cellar_get(c, &zero, sizeof zero, buf, sizeof buf, &len), CELLAR_OK);
    o.flags = CELLAR_GET_MEMORY; /* the get has brought it into memory */
    T_EQ_I64(cellar_get_with(c, &zero, sizeof zero, &o, buf, sizeof buf, &len), CELLAR_OK);
    T_EQ_MEM(buf, "zero", 4);
    T_EQ_U64(disk_stats(c).gets, gets + 1);
    T_FIELDS(stats_of(c), gets, before.gets + 2, hits_l1, before.hits_l1 + 1);
    shut(c);
}

T_CASE(get_describes_entry_read_from_disk)
{
    cellar *c = open_below("zero", 4, 0);
    char buf[8];
    const uint64_t gets = disk_stats(c).gets;
    cellar_entry_info info = cellar_entry_info_default();
    cellar_get_opts o = { .struct_size = sizeof o, .info = &info };
    T_EQ_I64(cellar_get_with(c, &zero, sizeof zero, &o, buf, sizeof buf, NULL), CELLAR_OK);
    T_EQ_U64(info.tier, CELLAR_TIER_L2);
    T_EQ_U64(info.user_flags, 5);
    T_EQ_I64(info.ttl_left_ms, CELLAR_TTL_NONE);
    T_EQ_U64(info.flags & CELLAR_INFO_VERSION, 0);
    T_EQ_I64(cellar_get_with(c, &zero, sizeof zero, &o, buf, sizeof buf, NULL), CELLAR_OK);
    T_EQ_U64(info.tier, CELLAR_TIER_L1);
    T_EQ_U64(disk_stats(c).gets, gets + 1);
    shut(c);
    for (unsigned how = 0; how < 3; how++) { /* only L1 has versions: the entry is promoted */
        c = open_below("zero", 4, 0);
        o.flags = CELLAR_GET_WANT_VERSION | (how == 1 ? CELLAR_GET_PEEK : 0u);
        T_EQ_I64(how == 2 ? cellar_entry_info_get(c, &zero, sizeof zero, CELLAR_GET_WANT_VERSION,
                                                  &info)
                          : cellar_get_with(c, &zero, sizeof zero, &o, buf, 8, NULL), CELLAR_OK);
        T_CHECK((info.flags & CELLAR_INFO_VERSION) != 0 && info.version != 0);
        cellar_set_opts so = { .struct_size = sizeof so, .flags = CELLAR_ONLY_IF_VERSION,
                               .if_version = info.version };
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

T_CASE(negative_entry_on_disk_answers_absent)
{
    for (unsigned op = 0; op < 6; op++) {
        cellar *c = open_below_with(NULL, 0, 5000, CELLAR_NEGATIVE);
        cellar_entry_info info = cellar_entry_info_default();
        cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_ONLY_IF_ABSENT };
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
            T_EQ_I64(cellar_increment(c, &zero, sizeof zero, 1, 6, NULL, &now), CELLAR_OK);
            T_EQ_I64(now, 7);
            break;
        case 4:
            T_EQ_STR(look(c, 0), "ABSENT");
            T_EQ_STR(look(c, 0), "ABSENT"); /* from L1 now */
            now_ms += 5000;
            T_EQ_STR(look(c, 0), "MISS");
            break;
        default: T_EQ_I64(cellar_set(c, &zero, sizeof zero, "one", 3, &o), CELLAR_OK); break;
        }
        shut(c);
    }
}

static void hear_replaced(const cellar_event *e, void *heard)
{
    T_EQ_U64(e->kind, CELLAR_KIND_NEGATIVE);
    ++*(uint64_t *)heard;
}

T_CASE(change_over_a_negative_entry_reads_the_disk_at_most_once)
{
    static const uint32_t flags[] = { CELLAR_ONLY_IF_ABSENT, CELLAR_ONLY_IF_PRESENT,
                                      CELLAR_KEEP_TTL };
    for (unsigned round = 0; round < 9; round++) {
        const bool in_memory = round >= 7; /* an increment and a delete again, after a read */
        const unsigned op = in_memory ? round - 4 : round;
        cellar *c = open_below_with(NULL, 0, 5000, CELLAR_NEGATIVE);
        if (in_memory) { T_EQ_STR(look(c, 0), "ABSENT"); }
        const uint64_t gets = disk_stats(c).gets, ended = stats_of(c).ended[CELLAR_CAUSE_REPLACED];
        const bool stores = op != 1 && op != 4 && op != 6;
        cellar_set_opts o = { .struct_size = sizeof o, .flags = op < 3 ? flags[op] : 0 };
        cellar_delete_opts first = { .struct_size = sizeof first, .if_version = 1 };
        uint64_t id, heard = 0;
        bool had = true;
        int64_t now = 0;
        T_EQ_I64(cellar_listener_add(c, CELLAR_CAUSE_BIT(REPLACED), hear_replaced, &heard, &id),
                 CELLAR_OK);
        switch (op) {
        case 3:
            T_EQ_I64(cellar_increment(c, &zero, sizeof zero, 1, 6, NULL, &now), CELLAR_OK);
            T_EQ_I64(now, 7);
            break;
        case 4: T_EQ_I64(cellar_delete_with(c, &zero, sizeof zero, &first), CELLAR_MISS); break;
        case 5:
            T_EQ_I64(cellar_update(c, &zero, sizeof zero, NULL, add_x, &had), CELLAR_OK);
            T_CHECK(!had);
            break;
        case 6: T_EQ_I64(cellar_touch(c, &zero, sizeof zero, 1000), CELLAR_ABSENT); break;
        default:
            T_EQ_I64(cellar_set(c, &zero, sizeof zero, "one", 3, &o),
                     stores ? CELLAR_OK : CELLAR_MISS);
            break;
        }
        T_EQ_U64(disk_stats(c).gets, gets + !in_memory);
        T_EQ_U64(heard, stores);
        T_EQ_U64(stats_of(c).ended[CELLAR_CAUSE_REPLACED], ended + stores);
        shut(c);
    }
}

T_CASE(change_during_promotion_wins)
{
    const int64_t forty = 40;
    int64_t now = 0;
    cellar *c = open_below(&forty, sizeof forty, 0);
    low.set_in_get = true; /* "newer" */
    T_EQ_I64(cellar_increment(c, &zero, sizeof zero, 2, 0, NULL, &now), CELLAR_E_TYPE);
    T_EQ_STR(look(c, 0), "newer");
    shut(c);
    c = open_below("zero", 4, 0);
    low.set_in_get = true;
    char buf[8];
    size_t len = 0;
    cellar_entry_info info = cellar_entry_info_default(), later = cellar_entry_info_default();
    cellar_get_opts o = { .struct_size = sizeof o, .flags = CELLAR_GET_WANT_VERSION,
                          .info = &info };
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
    uint64_t id;
    T_EQ_I64(cellar_listener_add(c, CELLAR_CAUSE_BIT(DELETED), hear_delete, NULL, &id), CELLAR_OK);
    (void)look(c, 0);
    low.incr_in_delete = true;
    T_EQ_I64(cellar_delete(c, &zero, sizeof zero), CELLAR_OK);
    T_EQ_I64(low.counted_in_delete, 1); /* the deleted 40 is not counted on */
    shut(c);
    c = open_below(&forty, sizeof forty, 0);
    low.clear_in_get = true;
    T_EQ_I64(cellar_increment(c, &zero, sizeof zero, 2, 5, NULL, &now), CELLAR_OK);
    T_EQ_I64(now, 7); /* nor is the cleared value */
    shut(c);
}

T_CASE(entry_stays_on_disk_without_memory_for_promotion)
{
    static unsigned char value[1024]; /* longer than the bytes tried on the stack */
    cellar *c = open_below(value, sizeof value, 5000);
    (void)base_fault_alloc_arm(1, true);
    const cellar_err err = cellar_touch(c, &zero, sizeof zero, 9000);
    T_CHECK(base_fault_alloc_arm(0, false) != 0);
    T_EQ_I64(err, CELLAR_E_NOMEM);
    T_EQ_I64(below(c, 0), CELLAR_OK);
    T_EQ_I64(cellar_touch(c, &zero, sizeof zero, 9000), CELLAR_OK);
    shut(c);
}

static char big[3u << 20];

/* Change key 0 in one of the ways that leave it with another value, or none. */
static void change(cellar *c, unsigned how)
{
    cellar_delete_item item = { &zero, sizeof zero, CELLAR_OK, 0 };
    switch (how) {
    case 0: T_EQ_I64(cellar_delete(c, &zero, sizeof zero), CELLAR_OK); break;
    case 1: T_EQ_I64(put(c, 0, "a", 0), CELLAR_OK); break;
    case 2: T_EQ_I64(cellar_touch(c, &zero, sizeof zero, 50), CELLAR_OK); break;
    case 3: T_EQ_I64(cellar_increment(c, &zero, sizeof zero, 1, 0, NULL, NULL), CELLAR_OK); break;
    case 4: /* the failed set removes the old value on disk, too */
        T_EQ_I64(cellar_set(c, &zero, sizeof zero, big, sizeof big, NULL), CELLAR_E_TOOBIG);
        break;
    default: T_EQ_I64(cellar_delete_many(c, &item, 1, NULL), CELLAR_OK); break;
    }
}

T_CASE(every_change_deletes_old_copy_on_disk)
{
    const int64_t forty = 40;
    cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_ONLY_IF_ABSENT };
    for (unsigned how = 0; how < 6; how++) {
        cellar *c = open_below(&forty, sizeof forty, 5000);
        T_EQ_I64(cellar_set(c, &zero, sizeof zero, "x", 1, &o), CELLAR_EXISTS);
        T_EQ_I64(below(c, 0), CELLAR_OK); /* nothing changed */
        const uint64_t invalidated = disk_stats(c).invalidated;
        if (how % 2 != 0) { T_EQ_I64(cellar_delete(c, "none", 4), CELLAR_MISS); }
        change(c, how);
        T_EQ_I64(below(c, 0), CELLAR_MISS);
        T_CHECK(disk_stats(c).invalidated > invalidated);
        if (how == 2 || how == 3) { /* promoted; the count keeps the TTL of its entry */
            cellar_entry_info info = cellar_entry_info_default();
            T_EQ_I64(cellar_entry_info_get(c, &zero, sizeof zero, 0, &info), CELLAR_OK);
            T_EQ_U64(info.tier, CELLAR_TIER_L1);
            T_EQ_I64(info.ttl_left_ms, how == 2 ? 50 : 5000);
        }
        shut(c);
    }
}

T_CASE(change_after_unlink_stops_demotion)
{
    cellar *c = open_on(100);
    put(c, 0, "old", 0);
    low.set_in_put = true;
    push_out(c, 110);
    T_CHECK(!low.set_in_put);
    T_CHECK(disk_stats(c).refused_stamp > 0);
    /* the old value was not written after the tombstone of the new value */
    T_EQ_I64(below(c, 0), CELLAR_MISS);
    T_EQ_STR(look(c, 0), "newer");
    shut(c);
}

T_CASE(evicted_bytes_stay_in_place_during_demotion)
{
    cellar *c = open_on(500);
    for (uint32_t i = 0; i < 500; i++) { put(c, i, "some bytes that must stay", 0); }
    for (uint32_t i = 0; i < 500; i++) { (void)look(c, i); }
    low.churn_in_put = true;
    for (uint32_t i = 500; i < 520; i++) { put(c, i, "next", 0); }
    low.churn_in_put = false;
    T_CHECK(low.churned > 0);
    shut(c);
}

#define STORE(fn) T_WITH(fn, cellar *c, c, open_below("old", 3, 0), shut(c))

T_CASE_ON(set_during_disk_read_wins_over_backfill, STORE)
{
    low.set_in_get = true;
    (void)look(c, 0); /* old or newer: the set overlaps this get */
    T_CHECK(!low.set_in_get);
    T_EQ_STR(look(c, 0), "newer");
}

/* The key is absent from L1 before and after, so only the stamp shows the change. */
T_CASE_ON(delete_during_disk_read_is_not_undone, STORE)
{
    low.del_in_get = true;
    T_EQ_STR(look(c, 0), "old"); /* overlaps the delete: allowed */
    T_CHECK(!low.del_in_get);
    T_EQ_STR(look(c, 0), "MISS"); /* after the delete: the old value must not return */
}

/* Every call that reads the disk misses: it cannot know whether a newer value was already read. */
T_CASE_ON(disk_read_during_pending_change_misses, STORE)
{
    uint64_t id;
    T_EQ_I64(cellar_listener_add(c, CELLAR_CAUSE_BIT(DELETED), hear_delete, NULL, &id), CELLAR_OK);
    T_EQ_STR(look(c, 0), "old");
    T_EQ_I64(below(c, 0), CELLAR_OK);
    const uint64_t gets = disk_stats(c).gets;
    low.reads_in_delete = true;
    T_EQ_I64(cellar_delete(c, &zero, sizeof zero), CELLAR_OK);
    low.reads_in_delete = false;
    T_EQ_U64(low.missed_in_delete, WAYS);
    T_EQ_U64(disk_stats(c).gets, gets);
    T_EQ_STR(look(c, 0), "MISS"); /* nothing was back-filled into L1 */
}

T_CASE(key_set_during_disk_read_hits)
{
    for (unsigned way = 0; way < WAYS; way++) {
        cellar *c = open_below("old", 3, 0);
        low.set_before_get = true;
        T_EQ_I64(read_by(way, 0), CELLAR_OK);
        if (low.set_before_get) { T_EQ_STR(look(c, 0), "newer"); } /* the call read no value */
        T_CHECK(!low.set_before_get);
        T_EQ_STR(look(c, 0), "newer");
        shut(c);
    }
}

T_CASE_ON(hit_on_a_key_set_during_disk_read_is_a_use, STORE)
{
    cellar_reason r = cellar_reason_default();
    low.set_before_get = true;
    T_EQ_STR(look(c, 0), "newer");
    T_EQ_I64(cellar_why(c, &zero, sizeof zero, &r), CELLAR_OK);
    T_EQ_U64(r.hits, 1);
}

/* Keys share stamp words by hash. One key in 65,536 of those that share a word is taken for the
 * changed key. */
T_CASE(pending_change_of_other_key_hides_nothing)
{
    cellar *c = open_with(100, CELLAR_L2_WRITE_ON_SET);
    push_out(c, 6000);
    low.mates_in_put = true;
    T_EQ_I64(put(c, 0, "value", 0), CELLAR_OK);
    T_CHECK(!low.mates_in_put);
    T_CHECK(low.mates > 0);
    T_EQ_U64(low.mates_served, low.mates);
    shut(c);
}

static struct { /* a change that another thread has not finished */
    _Atomic uint64_t *word; /* NULL: none */
    uint64_t part;
    unsigned naps, most; /* sleeps of reads; the change is finished after `most` */
} held;

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *t, struct timespec *left)
{
    if (held.word == NULL) {
        return syscall(SYS_clock_nanosleep, clock, flags, t, left) == 0 ? 0 : errno;
    }
    if (++held.naps == held.most) { (void)base_sub_ar(held.word, held.part); }
    return 0;
}

/* Read key 0 beside a change that has its stamp and its tag, and ends after `most` sleeps. */
static cellar_err look_beside(unsigned way, unsigned most)
{
    const l1_key k = key_of(low.c, &zero);
    held.word = cache_stamp(low.c->store, k.hash);
    held.part = cache_stamp_part(k.hash);
    held.naps = 0;
    held.most = most;
    (void)base_add_ar(held.word, held.part);
    const cellar_err err = read_by(way, 0);
    if (held.naps < most) { (void)base_sub_ar(held.word, held.part); }
    held.word = NULL;
    return err;
}

/* A change of another key with the same tag, in a thread that the system has suspended. */
T_CASE(read_waits_for_change_of_key_with_equal_tag)
{
    for (unsigned way = 0; way < WAYS; way++) {
        cellar *c = open_below("old", 3, 0);
        T_EQ_I64(look_beside(way, 40), CELLAR_OK);
        T_EQ_U64(held.naps, 40);
        T_EQ_STR(look(c, 0), "old");
        shut(c);
    }
    cellar *c = open_below("old", 3, 0);
    T_EQ_I64(look_beside(0, UINT_MAX), CELLAR_MISS);
    T_CHECK(held.naps >= 40 && held.naps <= 48 * 5); /* .15 s */
    shut(c);
}

/* A disk without the key is neither told of changes nor asked for the value. A captured stamp still
 * detects the next change. */
T_CASE(disk_without_key_is_not_called)
{
    cellar *c = open_on(100);
    for (unsigned i = 0; i < 3; i++) { put(c, 0, "here", 0); }
    T_EQ_I64(cellar_set(c, &zero, sizeof zero, "over", 4, NULL), CELLAR_OK);
    T_EQ_I64(cellar_delete(c, &zero, sizeof zero), CELLAR_OK);
    T_EQ_STR(look(c, 0), "MISS");
    l2_stats st = disk_stats(c);
    T_EQ_U64(st.invalidated + st.gets, 0);
    put(c, 0, "zero", 0);
    push_out(c, 200);
    T_EQ_STR(look(c, 0), "zero"); /* the disk has a value: it is asked and told */
    st = disk_stats(c);
    T_CHECK(st.gets == 1 && st.invalidated == 0);
    put(c, 0, "one", 0);
    T_EQ_U64(disk_stats(c).invalidated, 1);
    shut(c);
    c = open_on(100); /* a change between unlink and demotion, the disk still empty */
    put(c, 0, "old", 0);
    low.set_in_put = true;
    push_out(c, 300);
    T_CHECK(disk_stats(c).refused_stamp > 0);
    shut(c);
}

/* D14, S2:369-389: an entry copied up from the second level has no TTL and never expires. Sequence:
 * set with a TTL, evicted, read back, waited for. */
T_CASE(seed_backfilled_entry_expires_on_time)
{
    cellar *c = open_below("timed", 5, 1000);
    cellar_entry_info info = cellar_entry_info_default();
    now_ms += 400;
    T_EQ_STR(look(c, 0), "timed");
    T_EQ_I64(cellar_entry_info_get(c, &zero, sizeof zero, 0, &info), CELLAR_OK);
    T_EQ_I64(info.ttl_left_ms, 600); /* the remaining TTL, not the TTL of the set */
    now_ms += 599;
    T_EQ_STR(look(c, 0), "timed");
    now_ms += 1;
    T_EQ_STR(look(c, 0), "MISS");
    T_EQ_I64(cellar_delete(c, &zero, sizeof zero), CELLAR_MISS); /* reaches both levels */
    T_EQ_I64(below(c, 0), CELLAR_MISS);
    shut(c);
}

T_ONE_THREAD;
T_MAIN("cache_tier")
