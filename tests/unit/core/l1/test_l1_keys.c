/* SPDX-License-Identifier: MIT
 *
 * Aim:    keys of 1..65,535 bytes work in every store, for any segment size: each operation accepts
 *         them, compares each in full, and the budget holds.
 * Method: keys at every boundary (header field, record, segment, maximum), with values in and
 *         outside the log, in stores from 1 MiB on. Two keys with one forged hash. Writers,
 *         readers, pinners and scanners on a few keys; each value is checked word by word. */
#include "tests/support/l1_kit.h"

enum { MOST = 65535 };

static unsigned char text[MOST];

/* Make a key of `len` bytes that differs from others of its length in its last bytes only. */
static const l1_key *key_of(const kit *k, l1_key *out, unsigned char *bytes, uint32_t generation,
                            uint32_t len, uint32_t serial)
{
    memset(bytes, 'k', len);
    for (uint32_t i = 0; i < BASE_MIN(len, 4u); i++) {
        bytes[len - 1 - i] = (unsigned char)(serial >> (8 * i));
    }
    *out = (l1_key){.bytes = bytes, .len = len, .generation = generation,
                    .hash = base_hash(&k->hash_key, generation, bytes, len)};
    return out;
}

static cellar_err put(kit *k, const l1_key *key, uint64_t id, uint64_t seq, size_t len)
{
    static unsigned char value[40000];
    kit_fill(value, len, id, seq);
    l1_put_spec p = {.value = value, .value_len = len, .deadline_ms = BASE_NEVER_MS,
                     .change = L1_CHANGE_SET};
    return l1_put(k->c, key, &p);
}

static bool holds(kit *k, const l1_key *key, uint64_t id, uint64_t seq, size_t want)
{
    static unsigned char buf[40000];
    size_t len = 0;
    return T_EQ_I64(l1_get(k->c, key, buf, sizeof buf, &len, 0), CELLAR_OK) &&
           T_EQ_U64(len, want) && T_CHECK(kit_is(buf, len, id, seq));
}

static const uint32_t lengths[] = {1, 2, 127, 128, 129, 254, 255, 256, 1023, 1024, 1025, 4000, 8100,
                                   8192, 16300, 16384, 16385, 32768, 40000, MOST - 1, MOST};
static const size_t sizes[] = {0, 8, 100, 1024, 3000, 8192, 20000};
enum { LENGTHS = sizeof lengths / sizeof lengths[0], SIZES = sizeof sizes / sizeof sizes[0] };

static struct seen { const l1_key *key; uint64_t found; } seen;
static bool on_seen(void *ctx, const l1_seen *e)
{
    struct seen *s = ctx;
    s->found += e->key_len == s->key->len && memcmp(e->key, s->key->bytes, e->key_len) == 0;
    return true;
}

/* Run every operation on a key. */
static void all_operations(kit *k, const l1_key *key, size_t len)
{
    l1_info info;
    l1_pin_ref ref;
    uint64_t version = 0, cursor = 0;
    int64_t sum;
    T_EQ_I64(put(k, key, 7, 1, len), CELLAR_OK);
    (void)holds(k, key, 7, 1, len);
    T_EQ_I64(l1_version(k->c, key, &version), CELLAR_OK);
    T_CHECK(version != 0);
    T_EQ_I64(l1_touch(k->c, key, kit_now(k) + (INT64_C(1) << 40), 5000, NULL), CELLAR_OK);
    T_EQ_I64(l1_inspect(k->c, key, NULL, 0, &info, 0), CELLAR_OK);
    T_EQ_U64(info.value_len, len);
    T_EQ_I64(info.idle_ms, 5000);
    T_EQ_U64(info.version, version);
    T_EQ_I64(kit_pin(k->c, key, &ref, 0), CELLAR_OK);
    T_EQ_I64(put(k, key, 7, 2, len), CELLAR_OK);
    T_CHECK(ref.value_len == len && kit_is(ref.value, len, 7, 1));
    l1_unpin(k->c, &ref);
    (void)holds(k, key, 7, 2, len);
    seen = (struct seen){key, 0};
    T_EQ_I64(l1_scan(k->c, &cursor, SIZE_MAX, key->generation, true, on_seen, &seen), CELLAR_OK);
    T_EQ_U64(seen.found, 1);
    const l1_put_spec zero = {.deadline_ms = BASE_NEVER_MS};
    cellar_err err = l1_incr(k->c, key, 5, 10, &zero, false, &sum, NULL);
    T_EQ_I64(err, len == 8 ? CELLAR_OK : CELLAR_E_TYPE);
    T_EQ_I64(l1_del(k->c, key, NULL), CELLAR_OK);
    T_EQ_I64(l1_del(k->c, key, NULL), CELLAR_MISS);
    T_EQ_I64(l1_incr(k->c, key, 5, 10, &zero, false, &sum, NULL), CELLAR_OK);
    T_EQ_I64(sum, 15);
    T_EQ_I64(kit_pin(k->c, key, &ref, 0), CELLAR_OK);
    T_EQ_I64(l1_incr(k->c, key, -20, 0, &zero, true, &sum, NULL), CELLAR_OK);
    T_EQ_I64(sum, -5);
    l1_unpin(k->c, &ref);
    T_EQ_I64(l1_del(k->c, key, NULL), CELLAR_OK);
}

T_ALONE(keys_of_every_length_work_in_every_store)
{
    static const uint64_t budgets[] = {KIT_MIB(1), KIT_MIB(3), KIT_MIB(64)};
    static const uint32_t segs[] = {0, 512, 4096};
    for (unsigned b = 0; b < 3; b++) {
        for (unsigned g = 0; g < 3; g++) {
            kit k;
            l1_key key;
            const l1_config cfg = {.seg_bytes = segs[g]};
            kit_open(&k, budgets[b], &cfg);
            for (unsigned told = 0; told < 2; told++) {
                l1_want_left(k.c, told != 0);
                for (unsigned i = 0; i < LENGTHS * SIZES; i++) {
                    (void)key_of(&k, &key, text, i % 3, lengths[i % LENGTHS], i);
                    all_operations(&k, &key, sizes[i / LENGTHS]);
                    T_CHECK(kit_used(&k) <= budgets[b]);
                }
            }
            kit_audit(&k);
            (void)l1_tick(k.c, UINT64_MAX);
            T_EQ_U64(kit_stats(&k).big_blocks + kit_stats(&k).retired_bytes, 0);
            kit_close(&k);
        }
    }
}

static unsigned marked_asked, marked_short;

/* A read that is no plain hit has a short path for tags, user flags and a place on disk. It reads
 * each of their combinations as the general path does. Two keys of one bucket with one fingerprint
 * have no short path. */
static void marked(kit *k, const l1_key *key, unsigned fields, size_t len)
{
    static const uint64_t tag[] = {17, 18};
    static unsigned char value[1200], buf[1200];
    kit_fill(value, len, fields, len);
    l1_put_spec p = {.value = value, .value_len = len, .change = L1_CHANGE_SET,
                     .deadline_ms = (fields & 1) != 0 ? kit_now(k) + 1000 : BASE_NEVER_MS,
                     .user_flags = (fields & 2) != 0 ? 7u : 0u,
                     .l2_addr = (fields & 4) != 0 ? UINT64_C(0x123456789abcdef) : 0u,
                     .tag_fps = tag, .tag_count = (fields & 8) != 0 ? 2 : 0};
    T_EQ_I64(l1_put(k->c, key, &p), CELLAR_OK);
    size_t short_len = 0, full_len = 0;
    uint32_t flags = 9;
    const bool hit = l1_get_marked(k->c, key, buf, sizeof buf, &short_len, &flags, 0);
    T_CHECK(!hit || fields > 1); /* a plain record has none of them */
    marked_asked += fields > 1;
    marked_short += hit;
    if (hit) {
        T_EQ_U64(short_len, len);
        T_CHECK(kit_is(buf, len, fields, len));
        T_EQ_U64(flags, p.user_flags);
        T_CHECK(len == 0 || !l1_get_marked(k->c, key, buf, len - 1, &short_len, NULL, 0));
    }
    T_EQ_I64(l1_get(k->c, key, buf, sizeof buf, &full_len, 0), CELLAR_OK);
    T_EQ_U64(full_len, len);
    T_CHECK(kit_is(buf, len, fields, len));
    if ((fields & 1) == 0) { return; }
    kit_forward(k, 1001);
    T_CHECK(!l1_get_marked(k->c, key, buf, sizeof buf, &short_len, &flags, 0));
}

T_ALONE(hit_with_tags_flags_or_a_place_on_disk_is_short)
{
    kit k;
    kit_open(&k, KIT_MIB(4), NULL);
    for (unsigned fields = 0; fields < 16; fields++) {
        for (uint32_t klen = 1; klen < 40; klen++) {
            for (size_t len = 0; len < 1200; len += 1 + len / 3) {
                static unsigned char bytes[64];
                l1_key key;
                marked(&k, key_of(&k, &key, bytes, klen & 1, klen, fields), fields, len);
            }
        }
    }
    T_CHECK(marked_short >= marked_asked - marked_asked / 20);
    kit_close(&k);
}

T_ALONE(plain_hit_has_no_general_path_up_to_254_bytes_of_key)
{
    static unsigned char value[100], buf[100], bytes[300];
    unsigned general = 0;
    kit k;
    kit_open(&k, KIT_MIB(4), NULL);
    for (uint32_t klen = 1; klen <= 300; klen++) {
        l1_key key;
        size_t len = 0;
        (void)key_of(&k, &key, bytes, klen & 1, klen, 1);
        T_EQ_I64(put(&k, &key, klen, 1, sizeof value), CELLAR_OK);
        const bool plain = l1_get_plain(k.c, &key, buf, sizeof buf, &len);
        T_CHECK(!plain || klen <= 254);
        T_CHECK(!plain || (len == sizeof value && kit_is(buf, len, klen, 1)));
        general += !plain && klen <= 254;
        bytes[klen - 1] ^= 1; /* another key with this hash */
        T_CHECK(!l1_get_plain(k.c, &key, buf, sizeof buf, &len));
    }
    T_CHECK(general <= 254 / 20); /* two keys of one bucket with one fingerprint */
    kit_close(&k);
}

T_ALONE(small_store_holds_long_keys)
{
    kit k;
    l1_key key;
    kit_open(&k, KIT_MIB(1), NULL);
    for (uint32_t i = 0; i < 2000; i++) {
        (void)key_of(&k, &key, text, 0, i % 2 == 0 ? MOST : 9000, i);
        T_EQ_I64(put(&k, &key, i, i, 50), CELLAR_OK);
        (void)holds(&k, &key, i, i, 50);
        T_CHECK(kit_used(&k) <= KIT_MIB(1));
    }
    unsigned there = 0;
    for (uint32_t i = 0; i < 2000; i++) {
        l1_info info;
        (void)key_of(&k, &key, text, 0, i % 2 == 0 ? MOST : 9000, i);
        there += l1_inspect(k.c, &key, NULL, 0, &info, L1_PEEK) == CELLAR_OK;
    }
    T_CHECK(there >= 14);
    kit_close(&k);
}

T_CASE(one_hash_two_keys)
{
    static unsigned char other[MOST];
    const uint32_t some[] = {9000, MOST};
    for (unsigned i = 0; i < 2; i++) {
        for (unsigned s = 0; s < 2; s++) {
            kit k;
            l1_key a, b;
            const size_t len = s == 0 ? 100 : 20000;
            kit_open(&k, KIT_MIB(4), NULL);
            (void)key_of(&k, &a, text, 0, some[i], 1);
            (void)key_of(&k, &b, other, 0, some[i], 2);
            b.hash = a.hash;
            T_EQ_I64(put(&k, &a, 1, 1, len), CELLAR_OK);
            size_t got;
            unsigned char buf[8];
            l1_pin_ref ref;
            T_EQ_I64(l1_get(k.c, &b, buf, sizeof buf, &got, 0), CELLAR_MISS);
            T_EQ_I64(kit_pin(k.c, &b, &ref, 0), CELLAR_MISS);
            T_EQ_I64(l1_del(k.c, &b, NULL), CELLAR_MISS);
            T_EQ_I64(put(&k, &b, 2, 2, len), CELLAR_OK);
            (void)holds(&k, &a, 1, 1, len);
            (void)holds(&k, &b, 2, 2, len);
            T_EQ_I64(l1_del(k.c, &a, NULL), CELLAR_OK);
            (void)holds(&k, &b, 2, 2, len);
            T_EQ_I64(l1_get(k.c, &a, buf, sizeof buf, &got, 0), CELLAR_MISS);
            kit_close(&k);
        }
    }
}

/* ---- threads --------------------------------------------------------------------------------- */
enum { SHARED = 6 };
static struct {
    kit k;
    unsigned char bytes[SHARED][MOST];
    l1_key key[SHARED];
    _Atomic uint32_t stop;
    _Atomic uint64_t hits, writes;
} g;

static bool count_seen(void *ctx, const l1_seen *e)
{
    T_CHECK(e->key_len >= 9000);
    ++*(uint64_t *)ctx;
    return true;
}

static void writer(void *arg)
{
    kit_rng r = {t_seed() + (uint64_t)(uintptr_t)arg};
    unsigned char *value = malloc(20000);
    T_REQUIRE(value != NULL);
    for (uint64_t seq = 1; atomic_load(&g.stop) == 0; seq++) {
        const uint64_t id = kit_below(&r, SHARED);
        const size_t len = kit_one_in(&r, 4) ? 20000 : 24;
        if (kit_one_in(&r, 5)) {
            (void)l1_del(g.k.c, &g.key[id], NULL);
            continue;
        }
        kit_fill(value, len, id, seq);
        l1_put_spec p = {.value = value, .value_len = len, .deadline_ms = BASE_NEVER_MS,
                         .change = L1_CHANGE_SET};
        cellar_err err = l1_put(g.k.c, &g.key[id], &p);
        T_CHECK(err == CELLAR_OK || err == CELLAR_E_SPACE);
        atomic_fetch_add(&g.writes, 1);
    }
    free(value);
}

static void key_reader(void *arg)
{
    kit_rng r = {t_seed() + (uint64_t)(uintptr_t)arg};
    unsigned char *buf = malloc(20000);
    T_REQUIRE(buf != NULL);
    while (atomic_load(&g.stop) == 0) {
        const uint64_t id = kit_below(&r, SHARED);
        size_t len;
        uint64_t seq, cursor = 0, some = 0;
        l1_pin_ref ref;
        if (l1_get(g.k.c, &g.key[id], buf, 20000, &len, 0) == CELLAR_OK) {
            T_CHECK(kit_whole(buf, len, id, &seq));
            atomic_fetch_add(&g.hits, 1);
        }
        if (kit_pin(g.k.c, &g.key[id], &ref, 0) == CELLAR_OK) {
            T_CHECK(kit_whole(ref.value, ref.value_len, id, &seq));
            l1_unpin(g.k.c, &ref);
        }
        if (kit_one_in(&r, 50)) {
            T_EQ_I64(l1_scan(g.k.c, &cursor, SIZE_MAX, 0, true, count_seen, &some), CELLAR_OK);
        }
    }
    free(buf);
}

T_CASE(no_reader_sees_another_key_or_a_mix)
{
    memset(&g, 0, sizeof g);
    kit_open(&g.k, KIT_MIB(1), NULL);
    for (uint32_t i = 0; i < SHARED; i++) {
        (void)key_of(&g.k, &g.key[i], g.bytes[i], 0, i % 2 == 0 ? 9000 : MOST, i);
    }
    g.key[2].hash = g.key[0].hash;
    l1_want_left(g.k.c, true);
    kit_team team = {.n = 0};
    for (size_t i = 0; i < 2; i++) { kit_start(&team, writer, (void *)(i + 1)); }
    for (size_t i = 0; i < 2; i++) { kit_start(&team, key_reader, (void *)(i + 9)); }
    base_sleep_ns(700000000 * kit_full(1));
    while (atomic_load(&g.hits) <= 100 || atomic_load(&g.writes) <= 100) { base_sleep_ns(1000000); }
    atomic_store(&g.stop, 1);
    kit_join(&team);
    T_CHECK(atomic_load(&g.hits) > 100 && atomic_load(&g.writes) > 100);
    kit_close(&g.k);
}

T_MAIN("l1_keys")
