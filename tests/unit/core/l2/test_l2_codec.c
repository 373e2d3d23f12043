/* SPDX-License-Identifier: MIT
 *
 * Aim:    with a cipher no plain value lies on disk, and a get returns only values that the cipher
 *         encrypted. Another key, bytes of another record and forged bytes with right checks give
 *         misses. Compressed values are restored exactly. Bytes that do not decompress, wrong
 *         lengths, and a build without LZ4 give counted misses.
 * Method: small stores on an in-memory disk, a toy cipher that authenticates, every bit. Random
 *         runs with a cipher: test_l2_invalidations. */
#include "base/fault.h"
#include "base/pack.h"
#include "l2/codec.h"
#include "l2/index.h"
#include "l2/read.h"
#include "l2/record.h"
#include "tests/support/l2_kit.h"
#include "tests/support/toy_cipher.h"

#define TOY_NONCES 4096u

typedef struct toy { /* the cipher of toy_cipher.h; it notes its nonces */
    uint64_t key;
    unsigned char nonce[TOY_NONCES][12];
    unsigned char aad[32]; /* the head of the last one */
    uint32_t nonces;
    bool broken; /* seal fails */
} toy;

static l2_dev dev;
static l2_kit kit;
static bool packing; /* puts request compression */
static toy right_toy, wrong_toy;
static cellar_l2_cipher crypt_of_right, crypt_of_wrong;

static int noting_seal(const unsigned char *nonce, const void *aad, size_t aad_len,
                       const void *in, size_t n, void *out, void *ctx)
{
    toy *t = ctx;
    if (t->broken) { return -1; }
    T_REQUIRE(t->nonces < TOY_NONCES);
    memcpy(t->nonce[t->nonces++], nonce, 12);
    memcpy(t->aad, aad, sizeof t->aad);
    return toy_seal(nonce, aad, aad_len, in, n, out, &t->key);
}

/* Decrypt. Like many ciphers, write the output before the check of its authenticity. */
static int hasty_open(const unsigned char *nonce, const void *aad, size_t aad_len,
                      const void *in, size_t n, void *out, void *ctx)
{
    T_CHECK(out != NULL); /* also for an empty value and no buffer */
    memcpy(out, in, n - sizeof(uint64_t));
    return toy_open(nonce, aad, aad_len, in, n, out, &((toy *)ctx)->key);
}

static void toy_init(toy *t, cellar_l2_cipher *c, uint64_t key)
{
    memset(t, 0, sizeof *t);
    t->key = key;
    *c = cellar_l2_cipher_default();
    c->ctx = t;
    c->seal = noting_seal;
    c->open = hasty_open;
    c->overhead_bytes = sizeof t->key;
}

static void begin(void)
{
    l2_dev_init(&dev);
    l2_kit_init(&kit, &dev);
    toy_init(&right_toy, &crypt_of_right, 1);
    toy_init(&wrong_toy, &crypt_of_wrong, 2);
    kit.cfg.crypt = &crypt_of_right;
    packing = false;
}

static void open_it(void)
{
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    const l2_namespace ns = { 1, 7, 1 };
    T_EQ_I64(l2_namespace_set(kit.d, &ns, "all", 3, NULL), CELLAR_OK);
}

static void end(void)
{
    l2_close(kit.d);
    kit.d = NULL;
    T_EQ_U64(base_load_rlx(&kit.account.used), 0);
    l2_dev_fini(&dev);
}

#define WORDS_MAX 7000u

/* Make repeated words for even versions, noise for odd ones. */
static size_t words_of(unsigned char *buf, uint32_t key, uint32_t version)
{
    base_rng r;
    base_rng_seed(&r, key * 1000u + version);
    const size_t n = key * 37 % WORDS_MAX;
    for (size_t i = 0; i < n; i++) {
        const unsigned char noise = (unsigned char)(base_rng_next(&r) >> 56);
        buf[i] = version % 2 != 0 ? noise : (unsigned char)"the quick brown fox "[i % 20];
    }
    return n;
}

static cellar_err put(uint32_t key, uint32_t version)
{
    static unsigned char buf[WORDS_MAX];
    const l2_meta m = { .deadline_ms = BASE_NEVER_MS, .user_flags = version, .pack = packing,
                        .durable = true };
    const l2_key k = l2_kit_key(&kit, &key, sizeof key, 7);
    return l2_put(kit.d, &k, buf, words_of(buf, key, version), &m, NULL);
}

static cellar_err get(uint32_t key, uint32_t version)
{
    static unsigned char buf[WORDS_MAX], want[WORDS_MAX];
    size_t len = 0;
    l2_meta m;
    const l2_key k = l2_kit_key(&kit, &key, sizeof key, 7);
    const cellar_err err = l2_get(kit.d, &k, buf, sizeof buf, &len, &m);
    if (err != CELLAR_OK) { return err; }
    const size_t n = words_of(want, key, version);
    const bool same = len == n && memcmp(buf, want, n) == 0 && m.user_flags == version;
    return same ? CELLAR_OK : CELLAR_CONFLICT;
}

/* Return the address of the bytes in a file, or NULL. */
static unsigned char *lies_in(const char *file, const void *bytes, size_t n)
{
    l2_dev_file *f = l2_dev_find(&dev, file);
    return f != NULL ? memmem(f->live, f->size, bytes, n) : NULL;
}

#define STORE(fn) T_WITHIN(fn, begin(), end())

T_CASE_ON(encrypted_value_without_memory_is_no_miss, STORE)
{
    open_it();
    T_EQ_I64(put(5, 0), CELLAR_OK);
    (void)base_fault_alloc_arm(1, false);
    T_EQ_I64(get(5, 0), CELLAR_E_NOMEM);
    T_CHECK(base_fault_alloc_site() != NULL);
    (void)base_fault_alloc_arm(0, false);
    T_EQ_I64(get(5, 0), CELLAR_OK);
}

T_CASE_ON(encrypted_empty_and_negative_entries_are_restored, STORE)
{
    open_it();
    const l2_key k = l2_kit_key(&kit, "empty", 5, 7), none = l2_kit_key(&kit, "none", 4, 7);
    l2_meta m = { .deadline_ms = BASE_NEVER_MS }, got;
    char buf[8];
    size_t len = 99;
    T_EQ_I64(l2_put(kit.d, &k, NULL, 0, &m, NULL), CELLAR_OK);
    T_EQ_I64(l2_get(kit.d, &k, NULL, 0, &len, &got), CELLAR_OK);
    T_EQ_U64(len, 0);
    m.kind = 1;
    T_EQ_I64(l2_put(kit.d, &none, NULL, 0, &m, NULL), CELLAR_OK);
    T_EQ_I64(l2_get(kit.d, &none, buf, sizeof buf, &len, &got), CELLAR_ABSENT);
}

static int by_bytes(const void *a, const void *b) { return memcmp(a, b, 12); }

T_CASE_ON(no_nonce_is_used_twice, STORE)
{
    for (int round = 0; round < 20; round++) {
        open_it();
        for (uint32_t i = 0; i < 20; i++) {
            T_EQ_I64(put(i, 1), CELLAR_OK);
            while (l2_tick(kit.d, 1000)) {}
        }
        l2_kit_kill(&kit);
        dev.locked = false;
    }
    T_EQ_U64(right_toy.nonces, 400);
    qsort(right_toy.nonce, right_toy.nonces, 12, by_bytes);
    for (uint32_t i = 1; i < right_toy.nonces; i++) {
        T_CHECK(memcmp(right_toy.nonce[i - 1], right_toy.nonce[i], 12) != 0);
    }
    open_it();
}

T_CASE_ON(cipher_authenticates_generation_key_length_and_deadline, STORE)
{
    open_it();
    const uint32_t key = 1;
    const l2_meta m = { .deadline_ms = kit.now_ms + 5000, .durable = true };
    const l2_key k = l2_kit_key(&kit, &key, sizeof key, 7);
    T_EQ_I64(l2_put(kit.d, &k, "v", 1, &m, NULL), CELLAR_OK);
    T_EQ_U64(l2_r32(right_toy.aad + 16), 7);
    T_EQ_U64(l2_r32(right_toy.aad + 20), sizeof key);
    T_EQ_I64((int64_t)l2_r64(right_toy.aad + 24), kit.wall_ms + 5000);
}

T_CASE_ON(a_wrong_or_missing_cipher_key_misses_and_writes_nothing, STORE)
{
    open_it();
    for (uint32_t i = 0; i < 30; i++) { T_EQ_I64(put(i, 1), CELLAR_OK); }
    const cellar_l2_cipher *const with[] = { &crypt_of_wrong, NULL, &crypt_of_right };
    for (int n = 0; n < 3; n++) {
        l2_close(kit.d);
        kit.cfg.crypt = with[n];
        open_it();
        for (uint32_t i = 0; i < 30; i++) {
            T_EQ_I64(get(i, 1), n == 2 ? CELLAR_OK : CELLAR_MISS);
        }
        const l2_stats st = l2_kit_figures(&kit);
        T_EQ_U64(st.miss_sealed, n == 2 ? 0 : 30);
        T_CHECK(st.miss_damage == 0 && !st.off); /* the disk is not at fault */
        /* With a cipher, a value that was not encrypted is not served. */
        if (n == 1) { T_EQ_I64(put(1000, 1), CELLAR_OK); }
        if (n == 2) { T_EQ_I64(get(1000, 1), CELLAR_MISS); }
    }
    /* After a failure the buffer has none of the output. */
    l2_close(kit.d);
    kit.cfg.crypt = &crypt_of_wrong;
    open_it();
    const uint32_t id = 5;
    const l2_key five = l2_kit_key(&kit, &id, sizeof id, 7);
    unsigned char buf[400];
    static const unsigned char zeros[20];
    size_t len;
    l2_meta m;
    memset(buf, 0xaa, sizeof buf);
    T_EQ_I64(l2_get(kit.d, &five, buf, sizeof buf, &len, &m), CELLAR_MISS);
    T_EQ_MEM(buf, zeros, sizeof zeros);
    T_EQ_I64(l2_get(kit.d, &five, NULL, 0, &len, &m), CELLAR_MISS); /* not even its length */
}

T_CASE_ON(a_cipher_that_fails_stores_nothing, STORE)
{
    open_it();
    T_EQ_I64(put(1, 1), CELLAR_OK);
    right_toy.broken = true;
    T_EQ_I64(put(2, 1), L2_REFUSED);
    right_toy.broken = false;
    const l2_stats st = l2_kit_figures(&kit);
    T_EQ_U64(st.refused_seal, 1);
    T_EQ_I64(get(1, 1), CELLAR_OK);
    T_EQ_I64(get(2, 1), CELLAR_MISS);
    /* An unchanged copy is neither encrypted nor written again. */
    const uint32_t id = 1, sealed = right_toy.nonces;
    const l2_key k = l2_kit_key(&kit, &id, sizeof id, 7);
    char buf[400];
    size_t len;
    l2_meta m;
    T_EQ_I64(l2_get(kit.d, &k, buf, sizeof buf, &len, &m), CELLAR_OK);
    T_EQ_I64(l2_put(kit.d, &k, buf, len, &m, NULL), CELLAR_OK);
    T_EQ_U64(right_toy.nonces, sealed);
    T_EQ_U64(l2_kit_figures(&kit).identical, 1);
}

typedef struct spot { /* a record in data.seg */
    l2_form form; /* of the run that wrote it */
    unsigned char *at;
    uint64_t segseq;
    uint32_t off, bytes;
} spot;

static spot find_record(uint32_t key)
{
    const l2_key k = l2_kit_key(&kit, &key, sizeof key, 7);
    l2_shard *shard = l2_shard_of(kit.d, l2_mix(k.hash));
    spot s;
    l2_rec r;
    sync_take(L2_TOMBSTONE_LOCK, &shard->lock);
    const uint64_t lsn = l2_index_find(kit.d, l2_mix(k.hash)).lsn;
    sync_drop(L2_TOMBSTONE_LOCK, &shard->lock);
    T_REQUIRE(lsn != 0);
    l2_form_at(kit.d, lsn, &s.form);
    s.at = l2_dev_find(&dev, "data.seg")->live + lsn % l2_size(kit.d);
    s.segseq = l2_seq_of(kit.d, lsn);
    s.off = (uint32_t)(lsn % L2_KIT_SEG);
    T_REQUIRE(l2_rec_parse(s.at, s.off, L2_KIT_SEG, &r));
    s.bytes = r.bytes;
    return s;
}

/* Make the checks of a changed record right. */
static void sign(const spot *s) { l2_rec_end(&s->form, s->at, s->segseq, s->off); }

/* Change the head of a record; its mark and check are right. */
static void lie(const spot *s, uint8_t form)
{
    l2_rec r;
    T_REQUIRE(l2_rec_parse(s->at, s->off, L2_KIT_SEG, &r));
    r.form = form;
    l2_rec_begin(s->at, &r);
    sign(s);
}

/* Flip each bit behind the marks, with right checks. */
static void no_changed_bit_is_served(const spot *s, uint32_t key, uint32_t version)
{
    for (uint32_t bit = 14 * 8; bit < s->bytes * 8 && !t_failed(); bit++) {
        s->at[bit / 8] ^= (unsigned char)(1u << bit % 8);
        sign(s);
        T_EQ_I64(get(key, version), CELLAR_MISS);
        s->at[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    sign(s);
}

/* An attacker knows the store's secret and makes every check right, but has no key of the
 * cipher. */
T_CASE_ON(forged_bytes_with_right_checks_miss, STORE)
{
    open_it();
    T_EQ_I64(put(9, 3), CELLAR_OK);
    T_EQ_I64(put(10, 3), CELLAR_OK);
    l2_close(kit.d);
    open_it();
    const spot s = find_record(9), other = find_record(10);
    T_EQ_I64(get(9, 3), CELLAR_OK);
    no_changed_bit_is_served(&s, 9, 3);
    T_EQ_I64(get(9, 3), CELLAR_OK);
    T_EQ_U64(l2_kit_figures(&kit).miss_damage, 0);
    /* The authentic ciphertext of another key. */
    const uint32_t value = L2_RECORD_HEAD + 8 * 1 + 4, n = BASE_MIN(s.bytes, other.bytes) - value;
    unsigned char kept[512];
    memcpy(kept, s.at + value, n);
    memcpy(s.at + value, other.at + value, n);
    sign(&s);
    T_EQ_I64(get(9, 3), CELLAR_MISS);
    memcpy(s.at + value, kept, n);
    sign(&s);
    T_EQ_I64(get(9, 3), CELLAR_OK);
}

/* ---- compression ---- */

static void begin_packing(bool sealed)
{
    begin();
    packing = true;
    if (!sealed) { kit.cfg.crypt = NULL; }
    kit.cfg.seg_count = 40;
    open_it();
}

static bool no_lz4(void)
{
    if (!base_pack_there()) { T_SKIP("built without liblz4"); }
    return !base_pack_there();
}

/* Encrypted, compressed, both: words for even versions, noise for odd ones. */
T_CASE(encrypted_or_compressed_values_are_restored_exactly)
{
    for (int how = 1; how <= 3; how++) {
        const bool sealed = (how & 1) != 0, packed = (how & 2) != 0;
        if (packed && no_lz4()) { return; }
        begin_packing(sealed);
        packing = packed;
        uint64_t raw = 0;
        for (uint32_t key = 0; key < 60; key++) {
            unsigned char buf[WORDS_MAX];
            T_EQ_I64(put(key, key % 4), CELLAR_OK);
            raw += key % 2 == 0 ? words_of(buf, key, key % 4) : 0;
            while (l2_tick(kit.d, 1000)) {}
        }
        l2_stats st = l2_kit_figures(&kit);
        T_EQ_U64(st.packed, packed ? 29 : 0); /* the even versions, without the empty value */
        T_CHECK(!packed || (st.packed_saved > raw * 3 / 4 && st.packed_saved < raw));
        for (int round = 0; round < 3; round++) {
            for (uint32_t key = 0; key < 60; key++) {
                T_EQ_I64(get(key, key % 4), CELLAR_OK);
            }
            if (round == 0) { l2_close(kit.d); } else { l2_kit_kill(&kit); }
            dev.locked = false;
            open_it();
        }
        T_CHECK(lies_in("data.seg", "the quick brown fox the quick brown fox ", 40) == NULL);
        /* The raw length, with a buffer that is too small, and without a buffer. */
        const uint32_t id = 40;
        const l2_key k = l2_kit_key(&kit, &id, sizeof id, 7);
        char buf[8] = "before";
        size_t len = 0;
        l2_meta m;
        T_EQ_I64(l2_get(kit.d, &k, buf, sizeof buf, &len, &m), CELLAR_E_BUFFER);
        T_EQ_U64(len, 40 * 37);
        T_EQ_STR(buf, "before");
        T_EQ_I64(l2_get(kit.d, &k, NULL, 0, &len, &m), CELLAR_E_BUFFER);
        T_EQ_U64(len, 40 * 37);
        T_FIELDS(l2_kit_figures(&kit), miss_packed, 0, miss_sealed, 0, miss_damage, 0);
        end();
    }
}

/* d->packs false is a library without LZ4. */
T_CASE(compressed_values_miss_without_lz4)
{
    if (no_lz4()) { return; }
    begin_packing(false);
    for (uint32_t key = 2; key < 40; key++) {
        T_EQ_I64(put(key, key % 2), CELLAR_OK);
        while (l2_tick(kit.d, 1000)) {}
    }
    l2_close(kit.d);
    open_it();
    kit.d->packs = false;
    for (uint32_t key = 2; key < 40; key++) {
        T_EQ_I64(get(key, key % 2), key % 2 == 0 ? CELLAR_MISS : CELLAR_OK);
    }
    l2_stats st = l2_kit_figures(&kit);
    T_EQ_U64(st.miss_packed, 19);
    T_CHECK(st.miss_damage == 0 && !st.off);
    T_EQ_I64(put(100, 0), CELLAR_OK); /* uncompressed */
    T_EQ_U64(l2_kit_figures(&kit).packed, 0);
    T_EQ_I64(get(100, 0), CELLAR_OK);
    l2_close(kit.d);
    open_it();
    for (uint32_t key = 2; key < 40; key++) { T_EQ_I64(get(key, key % 2), CELLAR_OK); }
    T_EQ_I64(get(100, 0), CELLAR_OK);
    end();
}

/* Changed bits with wrong checks are never served. With right checks the result stays inside the
 * buffer (sanitizers watch), or is a miss. Some bits have no effect: padding, or the distance of a
 * repeated word. */
T_CASE(changed_bits_of_compressed_values_stay_in_the_buffer)
{
    if (no_lz4()) { return; }
    begin_packing(false);
    T_EQ_I64(put(44, 0), CELLAR_OK);
    l2_close(kit.d);
    open_it();
    const spot s = find_record(44);
    T_REQUIRE(s.bytes < 200);
    uint32_t garbled = 0, missed = 0;
    for (uint32_t bit = 0; bit < s.bytes * 8; bit++) {
        s.at[bit / 8] ^= (unsigned char)(1u << bit % 8);
        T_EQ_I64(get(44, 0), CELLAR_MISS);
        base_store_rlx(&kit.d->disk, (uint32_t)L2_DISK_OK); /* so many misses switch the tier off */
        if (bit / 8 >= L2_RECORD_HEAD) {
            sign(&s);
            const cellar_err err = get(44, 0);
            T_CHECK(err == CELLAR_MISS || err == CELLAR_CONFLICT || err == CELLAR_OK);
            garbled += err == CELLAR_CONFLICT;
            missed += err == CELLAR_MISS;
            base_store_rlx(&kit.d->disk, (uint32_t)L2_DISK_OK);
        }
        s.at[bit / 8] ^= (unsigned char)(1u << bit % 8);
        sign(&s);
        if (t_failed()) { break; }
    }
    T_CHECK(missed > 50 && garbled > 20); /* both outcomes occur */
    T_EQ_I64(get(44, 0), CELLAR_OK);
    end();
}

/* Return the position of the raw length in the record's ext. */
static unsigned char *raw_says(const spot *s)
{
    for (uint32_t i = 0; i + 6 <= s->at[13] * 8u; i++) {
        unsigned char *at = s->at + L2_RECORD_HEAD + i;
        if (at[0] == 129 && at[1] == 4) { return at; }
    }
    return NULL;
}

T_CASE(wrong_raw_lengths_miss)
{
    if (no_lz4()) { return; }
    begin_packing(false);
    T_EQ_I64(put(44, 0), CELLAR_OK);
    T_EQ_I64(put(45, 1), CELLAR_OK); /* noise: not compressed */
    l2_close(kit.d);
    open_it();
    const spot s = find_record(44), plain = find_record(45);
    unsigned char *says = raw_says(&s);
    T_REQUIRE(says != NULL && raw_says(&plain) == NULL);
    const uint32_t raw = l2_r32(says + 2), room = kit.d->room_max;
    T_EQ_U64(raw, 44 * 37);
    const uint32_t lies[] = { 0, 1, 63, raw - 1, raw + 1, room, room + 1, 1u << 30, UINT32_MAX };
    const uint64_t used = base_load_rlx(&kit.account.used);
    uint64_t counted = 0;
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        static unsigned char large[16384];
        size_t len = 4711;
        l2_meta m;
        const uint32_t id = 44;
        const l2_key k = l2_kit_key(&kit, &id, sizeof id, 7);
        l2_w32(says + 2, lies[i]);
        sign(&s);
        T_EQ_I64(l2_get(kit.d, &k, large, sizeof large, &len, &m), CELLAR_MISS);
        T_EQ_U64(l2_kit_figures(&kit).miss_packed, ++counted);
        /* No memory is allocated for an impossible length. */
        if (lies[i] < 64 || lies[i] > room) {
            T_EQ_I64(l2_get(kit.d, &k, NULL, 0, &len, &m), CELLAR_MISS);
            T_EQ_U64(l2_kit_figures(&kit).miss_packed, ++counted);
        }
        T_EQ_U64(base_load_rlx(&kit.account.used), used);
    }
    l2_w32(says + 2, raw);
    sign(&s);
    T_EQ_I64(get(44, 0), CELLAR_OK);
    /* Only one of the two places says it. The mark covers the word of the lengths. */
    const spot both[] = { s, plain };
    for (int i = 0; i < 2; i++) {
        lie(&both[i], i == 0 ? L2_FORM_PLAIN : L2_FORM_PACKED);
        T_EQ_I64(get(i == 0 ? 44 : 45, (uint32_t)i), CELLAR_MISS);
        T_EQ_U64(l2_kit_figures(&kit).miss_packed, ++counted);
    }
    T_CHECK(l2_kit_figures(&kit).miss_damage == 0 && !l2_kit_figures(&kit).off);
    end();
}

/* With encryption, right checks do not turn a compressed value into a plain one, nor permit a
 * changed bit. */
T_CASE(encryption_authenticates_how_a_value_is_compressed)
{
    if (no_lz4()) { return; }
    begin_packing(true);
    T_EQ_I64(put(44, 0), CELLAR_OK);
    l2_close(kit.d);
    open_it();
    const spot s = find_record(44);
    for (uint8_t form = 0; form < 4; form++) {
        lie(&s, form);
        T_EQ_I64(get(44, 0), form == 3 ? CELLAR_OK : CELLAR_MISS);
    }
    no_changed_bit_is_served(&s, 44, 0);
    T_EQ_U64(l2_kit_figures(&kit).miss_damage, 0);
    end();
}

static uint32_t asked; /* requests to evict */

static bool evict(void *ctx, uint64_t bytes)
{
    (void)ctx;
    (void)bytes;
    asked++;
    return false;
}

/* Encryption runs when memory is short. It evicts nothing, which would encrypt again, and the
 * reserved blocks suffice. */
T_CASE(encryption_under_a_full_budget_evicts_nothing)
{
    for (int both = 0; both < 2; both++) {
        begin();
        packing = both != 0;
        kit.cfg.crypt = &crypt_of_right;
        open_it();
        T_CHECK(!packing || l2_pack_ready(kit.d));
        base_account *a = &kit.account;
        const uint64_t limit = base_load_rlx(&a->limit);
        base_account_limit(a, base_load_rlx(&a->used));
        asked = 0;
        for (uint32_t i = 0; i < 20; i++) {
            a->make_room = evict;
            T_EQ_I64(put(i, 2), CELLAR_OK);
            a->make_room = NULL;
            (void)l2_tick(kit.d, 1000);
        }
        T_EQ_U64(asked, 0);
        T_EQ_U64(l2_kit_figures(&kit).refused_seal, 0);
        base_account_limit(a, limit);
        for (uint32_t i = 0; i < 20; i++) { T_EQ_I64(get(i, 2), CELLAR_OK); }
        end();
    }
}

T_ONE_THREAD;
T_MAIN("l2_codec")
