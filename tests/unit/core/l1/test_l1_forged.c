/* SPDX-License-Identifier: MIT
 *
 * Aim:    no reader takes a value that imitates records of other keys for a record, although its
 *         bytes lie where records lay and will lie.
 * Method: values full of images of the records of victims (every header form: plain, with
 *         generation, with fields), at every granule. Eviction, expiry, deletes, dead generations
 *         and shrinking recycle the segments. Readers request the victims in every way and must see
 *         an honest value or a miss. One thread, with a virtual clock. */
#include "l1/record.h"
#include "tests/support/l1_kit.h"

enum { VICTIMS = 32, LONGEST = 1900 };

static struct {
    kit k;
    uint64_t seq, hits, looks, forged;
} f;

/* Write the record of victim `v` as the log would hold it, value all 0xEE. Return its bytes. */
static size_t image(unsigned char *out, uint64_t v, uint32_t generation, bool fields, uint32_t vlen)
{
    kit_key key;
    size_t at = 8;
    kit_key_of(&f.k, &key, generation, v);
    uint32_t w0 =
        16u | vlen << 8 | L1_W0_ALWAYS | (generation != 0 ? L1_W0_GENERATION : 0u)
            | (fields ? L1_W0_EXT : 0u);
    uint32_t due = 0, mask = L1_X_FLAGS, flags = 7;
    memcpy(out, &w0, 4);
    memcpy(out + 4, &due, 4);
    if (generation != 0) {
        memcpy(out + at, &generation, 4);
        at += 4;
    }
    if (fields) {
        memcpy(out + at, &mask, 4);
        memcpy(out + at + 4, &flags, 4);
        at += 8;
    }
    memcpy(out + at, key.text, 16);
    memset(out + at + 16, 0xEE, vlen);
    return (size_t)base_round_up(at + 16 + vlen, 4);
}

/* Fill a value with images, from a random granule on. */
static size_t forge(kit_rng *r, unsigned char *out)
{
    size_t len = 64 + kit_below(r, LONGEST - 64), at = 4 * kit_below(r, 8);
    memset(out, 0, LONGEST + 256);
    while (at < len) {
        at += image(out + at, kit_below(r, VICTIMS), kit_one_in(r, 3) ? 5u : 0u, kit_one_in(r, 4),
                    8 + 4 * (uint32_t)kit_below(r, 8));
    }
    return len;
}

static void look(uint64_t v, const void *bytes, size_t len)
{
    uint64_t seq;
    const bool honest = len >= 8 && kit_whole(bytes, len, v, &seq);
    if (!T_CHECK(honest)) { f.forged++; }
    f.hits++;
}

static bool on_seen(void *ctx, const l1_seen *s)
{
    (void)ctx;
    uint64_t id = kit_id_of(s->key, s->key_len);
    if (id < VICTIMS) {
        look(id, s->value, s->value_len);
    } else {
        T_CHECK(id >= 1000 && id < 1000000);
    }
    return true;
}

static void read_victim(kit_rng *r)
{
    unsigned char buf[256];
    kit_key key;
    l1_pin_ref ref;
    l1_info info;
    uint64_t v = kit_below(r, VICTIMS), cursor = kit_next(r) & 1;
    size_t len;
    f.looks++;
    kit_key_of(&f.k, &key, kit_one_in(r, 3) ? 5u : 0u, v);
    switch (kit_below(r, 16)) {
    case 0:
        if (kit_pin(f.k.c, &key.key, &ref, 0) == CELLAR_OK) {
            look(v, ref.value, ref.value_len);
            l1_unpin(f.k.c, &ref);
        }
        break;
    case 1:
        if (l1_inspect(f.k.c, &key.key, buf, sizeof buf, &info, 0) == CELLAR_OK) {
            look(v, buf, info.value_len);
        }
        break;
    case 2: (void)l1_scan(f.k.c, &cursor, 4, key.key.generation, true, on_seen, NULL); break;
    default:
        if (l1_get(f.k.c, &key.key, buf, sizeof buf, &len, 0) == CELLAR_OK) { look(v, buf, len); }
        break;
    }
}

static void write_forged(kit_rng *r)
{
    unsigned char value[LONGEST + 256];
    kit_key key;
    size_t len = forge(r, value);
    l1_put_spec p =
        {.value = value, .value_len = len, .deadline_ms = BASE_NEVER_MS, .change = L1_CHANGE_SET};
    if (kit_one_in(r, 3)) { p.deadline_ms = kit_now(&f.k) + (int64_t)kit_below(r, 20); }
    (void)l1_put(f.k.c,
                 kit_key_of(&f.k, &key, kit_one_in(r, 4) ? 9u : 0u, 1000 + kit_below(r, 3000)), &p);
    if (kit_one_in(r, 5)) {
        (void)l1_del(f.k.c,
                     kit_key_of(&f.k, &key, kit_one_in(r, 4) ? 9u : 0u, 1000 + kit_below(r, 3000)),
                     NULL);
    }
}

static void touch_victim(kit_rng *r)
{
    uint64_t v = kit_below(r, VICTIMS);
    kit_key key;
    uint32_t generation = kit_one_in(r, 3) ? 5u : 0u;
    if (kit_one_in(r, 2)) {
        (void)l1_del(f.k.c, kit_key_of(&f.k, &key, generation, v), NULL);
    } else {
        int64_t until = kit_one_in(r, 2) ? kit_now(&f.k) + (int64_t)kit_below(r, 10)
            : BASE_NEVER_MS;
        (void)kit_put_until(&f.k, generation, v, f.seq++, 8 + kit_below(r, 100),
                            until);
    }
}

static bool seen_all_ends(void)
{
    const l1_stats st = kit_stats(&f.k);
    return st.evicted > 0 && st.expired > 0;
}

T_CASE(forged_values_never_hit)
{
    const l1_config cfg = {.stripes = 2, .seg_bytes = 8192};
    kit_open(&f.k, KIT_MIB(1), &cfg);
    atomic_store(&f.k.clock.lag_ms, 8);
    kit_rng r = {t_seed()};
    const uint64_t rounds = kit_scale(300000);
    for (uint64_t i = 0; i < rounds || (!seen_all_ends() && i < 1000000); i++) {
        if (t_failed() != 0) { break; }
        write_forged(&r);
        if (kit_one_in(&r, 3)) { touch_victim(&r); }
        read_victim(&r);
        if (kit_one_in(&r, 8)) { kit_forward(&f.k, 1); }
        if (kit_one_in(&r, 400)) { (void)l1_tick(f.k.c, kit_one_in(&r, 2) ? 0 : UINT64_MAX); }
        if (kit_one_in(&r, 20000)) {
            (void)l1_resize(f.k.c, KIT_KIB(400));
            (void)l1_resize(f.k.c, KIT_MIB(1));
        }
    }
    T_EQ_U64(f.forged, 0);
    T_CHECK(f.looks >= rounds && f.hits > rounds / 50);
    T_CHECK(seen_all_ends());
    kit_close(&f.k);
}

/* The bytes of the next segment belong to other records. */
T_CASE(record_ends_within_its_segment)
{
    enum { SEG = 8192 };
    const l1_config cfg = {.stripes = 2, .seg_bytes = SEG};
    unsigned char whole[256];
    l1_rec r;
    kit_open(&f.k, KIT_MIB(1), &cfg);
    for (int fields = 0; fields < 2; fields++) {
        const uint32_t size = l1_pad(f.k.c, (uint32_t)image(whole, 1, 0, fields != 0, 100));
        memcpy(l1_at(f.k.c, SEG - size), whole, 24);
        T_CHECK(l1_decode(f.k.c, SEG - size, &r) && r.size == size);
        memcpy(l1_at(f.k.c, SEG - size + 4), whole, 24);
        T_CHECK(!l1_decode(f.k.c, SEG - size + 4, &r));
    }
    kit_close(&f.k);
}

T_ONE_THREAD;
T_MAIN("l1_forged")
