/* SPDX-License-Identifier: MIT
 *
 * Aim:    l1_audit reports a damaged structure and accepts an intact one.
 * Method: a store with all kinds of entries. Damage one word after the other: the audit must report
 *         it. Restore the word: the audit must pass again. */
#include "tests/support/l1_kit.h"

#include "l1/quota_count.h"

static kit k;

static void fill(void)
{
    l1_config cfg = {.stripes = 2, .seg_bytes = 8192, .max_entries = 100000};
    kit_open(&k, KIT_MIB(2), &cfg);
    for (uint64_t id = 0; id < 6000; id++) {
        T_EQ_I64(kit_put(&k, id, id, 8 + id % 100), CELLAR_OK);
    }
    T_EQ_I64(kit_put(&k, 9000, 1, 50000), CELLAR_OK);
    T_EQ_STR(l1_audit(k.c), NULL);
}

#define FULL(fn) T_WITHIN(fn, fill(), kit_close(&k))

static l1_bucket *some_bucket(l1_stripe *s, unsigned *slot)
{
    for (uint32_t n = 0; n < s->bucket_count; n++) {
        for (*slot = 0; *slot < L1_SLOTS; ++*slot) {
            if (base_load_rlx(&l1_bucket_at(s, n)->tag[*slot]) != 0) { return l1_bucket_at(s, n); }
        }
    }
    return NULL;
}

/* Damage a word, require a report, restore the word. No other thread runs: plain bytes suffice. */
static void damage(volatile void *word, size_t size, uint64_t value, const char *name)
{
    unsigned char was[8];
    memcpy(was, (const void *)(uintptr_t)word, size);
    memcpy((void *)(uintptr_t)word, &value, size);
    const char *wrong = l1_audit(k.c);
    if (!T_CHECK(wrong != NULL)) { printf("# not reported: %s\n", name); }
    memcpy((void *)(uintptr_t)word, was, size);
    T_EQ_STR(l1_audit(k.c), NULL);
}
#define DAMAGE(word, value) damage(&(word), sizeof(word), (uint64_t)(value), #word)

T_CASE_ON(damaged_slot_or_bucket_is_reported, FULL)
{
    for (unsigned i = 0; i < k.c->stripe_count; i++) {
        l1_stripe *s = &k.c->stripe[i];
        unsigned slot;
        l1_bucket *b = some_bucket(s, &slot);
        T_REQUIRE(b != NULL);
        DAMAGE(b->tag[slot], b->tag[slot] + 1);           /* fingerprint of another key */
        DAMAGE(b->tag[slot], 0);                          /* a live record without a slot */
        DAMAGE(b->off[slot], b->off[slot] + 1);           /* into the middle of a record */
        DAMAGE(b->off[slot], UINT32_MAX);                 /* beyond all segments */
        DAMAGE(b->ver, b->ver + 1);                       /* left locked */
        DAMAGE(b->ver, 0);                                /* no bucket */
        DAMAGE(s->bucket_count, s->bucket_count - 1);
        DAMAGE(s->ls, s->ls + 1);
        DAMAGE(s->ls, s->ls + (UINT64_C(1) << 32));       /* another level of the same count */
        DAMAGE(s->overflow_count, s->overflow_count + 1); /* a half lost */
        DAMAGE(b->ovf, b->ovf == 0 ? 1 : 0);
    }
}

T_CASE_ON(damaged_record_is_reported, FULL)
{
    l1_stripe *s = &k.c->stripe[0];
    unsigned slot;
    l1_bucket *b = some_bucket(s, &slot);
    T_REQUIRE(b != NULL);
    unsigned char *p = l1_at(k.c, l1_pos(k.c, b->off[slot]));
    l1_rec r;
    T_REQUIRE(l1_decode(k.c, l1_pos(k.c, b->off[slot]), &r));
    DAMAGE(p[r.key_off], p[r.key_off] ^ 1);     /* another key: wrong hash */
    DAMAGE(p[3], 0);                            /* no longer a record */
    DAMAGE(p[0], 0);                            /* key of length 0 */
    DAMAGE(p[0], 255);                          /* a long key without its length */
    DAMAGE(p[2], 255);                          /* a value that ends in another segment */
    DAMAGE(p[1], p[1] + 8);                     /* another value length: live bytes */
}

/* Decode random headers of plain records: get their parts, or no record. */
T_CASE_ON(random_plain_headers_decode_or_fail, FULL)
{
    const uint32_t room = k.c->seg_bytes;
    unsigned char *p = l1_at(k.c, 0);
    unsigned char was[8];
    memcpy(was, p, 8);
    kit_rng rng = {7};
    for (unsigned n = 0; n < 20000; n++) {
        const uint32_t klen = (uint32_t)kit_below(&rng, 256);
        const uint32_t vlen = (uint32_t)kit_below(&rng, kit_one_in(&rng, 4) ? L1_VLEN_LIMIT : room);
        const uint32_t w0 = klen | vlen << 8 | L1_W0_ALWAYS | (n % 2) * L1_W0_PINNED, due = n;
        const uint32_t end = 8 + klen + vlen, pad = 1u << k.c->gshift;
        const uint32_t size = (end + pad - 1) / pad * pad;
        memcpy(p, &w0, 4);
        memcpy(p + 4, &due, 4);
        l1_rec r;
        memset(&r, 0xff, sizeof r);
        if (!T_CHECK(l1_decode(k.c, 0, &r) == (klen != 0 && klen != 255 && size <= room))) {
            break;
        }
        if (klen == 0 || klen == 255 || size > room) { continue; }
        const l1_rec want = {.w0 = w0, .due = due, .klen = klen, .vlen = vlen, .field_off = 8,
                             .key_off = 8, .value_off = 8 + klen, .size = size};
        if (!T_CHECK(memcmp(&r, &want, sizeof r) == 0)) { break; }
    }
    memcpy(p, was, 8);
}

T_CASE_ON(damaged_segment_or_queue_is_reported, FULL)
{
    for (unsigned i = 0; i < k.c->stripe_count; i++) {
        l1_lane *n = &k.c->lane[i];
        uint32_t tail = n->queue[0].tail;
        T_REQUIRE(tail != L1_NONE && k.c->seg[tail].next != L1_NONE);
        l1_seg *g = &k.c->seg[tail];
        DAMAGE(g->live, g->live + L1_LIVE(1, 0));
        DAMAGE(g->live, g->live + L1_LIVE(0, 1));
        DAMAGE(g->next, L1_NONE);               /* the rest of the queue lost */
        DAMAGE(g->prev, 3);
        DAMAGE(g->state, L1_SEG_FREE);
        DAMAGE(g->state, L1_SEG_MAIN);          /* of the other queue */
        DAMAGE(g->waste, g->waste + 8);
        DAMAGE(g->lane, 7);
        DAMAGE(g->cursor, g->used_bytes + 1);
        DAMAGE(g->used_bytes, 8);               /* records behind the end */
        DAMAGE(g->used_bytes, k.c->seg_bytes + 8);
        DAMAGE(n->queue[0].head, tail);
        DAMAGE(n->queue[0].live, n->queue[0].live + 1);
        DAMAGE(n->held_segs, n->held_segs + 1);
        DAMAGE(n->wasteful, n->wasteful == 0);
    }
    DAMAGE(k.c->held, k.c->held + 1);
    DAMAGE(k.c->free.count, k.c->free.count + 1);
}

T_CASE_ON(damaged_charge_or_bound_is_reported, FULL)
{
    base_account *a = &k.account;
    DAMAGE(a->by_module[BASE_MOD_SEGMENT], a->by_module[BASE_MOD_SEGMENT] + 1);
    DAMAGE(a->by_module[BASE_MOD_INDEX], a->by_module[BASE_MOD_INDEX] + 1);
    DAMAGE(a->by_module[BASE_MOD_OVERFLOW], a->by_module[BASE_MOD_OVERFLOW] + 1);
    DAMAGE(a->by_module[BASE_MOD_BIG], a->by_module[BASE_MOD_BIG] + 1);
    DAMAGE(a->limit, a->used - 1);
    DAMAGE(k.c->max_entries, 10);
    DAMAGE(k.c->tickets, k.c->tickets + 1);
    DAMAGE(k.c->retired_bytes, 1);
}

T_CASE_ON(bytes_of_an_ended_entry_that_are_no_record_are_reported, FULL)
{
    unsigned slot;
    l1_bucket *b = some_bucket(&k.c->stripe[0], &slot);
    T_REQUIRE(b != NULL);
    const uint64_t pos = l1_pos(k.c, b->off[slot]);
    unsigned char *p = l1_at(k.c, pos);
    l1_rec r;
    T_REQUIRE(l1_decode(k.c, pos, &r));
    T_EQ_I64(kit_del(&k, kit_id_of(p + r.key_off, r.klen)), CELLAR_OK);
    DAMAGE(p[3], 0);
}

/* ---- namespaces ---- */

static unsigned number_of(void *ctx, uint32_t generation) { (void)ctx; return generation; }

/* Put an entry into a namespace that has a share and a bound. */
static void put_counted(uint64_t id, uint8_t kind, uint64_t charge)
{
    kit_key key;
    l1_put_spec p = { .value = "v", .value_len = kind == L1_VALUE, .kind = kind, .charge = charge,
                      .deadline_ms = BASE_NEVER_MS, .change = L1_CHANGE_SET };
    T_EQ_I64(l1_put(k.c, kit_key_of(&k, &key, 1, id), &p), CELLAR_OK);
}

static void fill_counted(void)
{
    const l1_config cfg = { .stripes = 2, .seg_bytes = 8192,
                            .hooks = { .quota_of = number_of, .namespace_of = number_of } };
    kit_open(&k, KIT_MIB(2), &cfg);
    T_REQUIRE(l1_quotas_open(k.c));
    l1_quota_generation(k.c, 1, 1);
    l1_quota_set(k.c, 1, 50);
    T_EQ_I64(l1_cap_open(k.c, 1), CELLAR_OK);
    T_EQ_I64(l1_cap_start(k.c, 1, 1, 1000), L1_CAP_STARTED);
    for (uint64_t id = 0; id < 100; id++) { put_counted(id, (uint8_t)(id % 3), id % 3 == 0 ? 9 : 0); }
    T_EQ_STR(l1_audit(k.c), NULL);
}

#define COUNTED(fn) T_WITHIN(fn, fill_counted(), kit_close(&k))

T_CASE_ON(damaged_count_of_a_namespace_is_reported, COUNTED)
{
    l1_quota_words *w = l1_quota_at(base_load_rlx(&k.c->quotas), 0, 1);
    l1_cap *m = l1_cap_at(k.c, 1);
    l1_lane *n = &k.c->lane[0];
    DAMAGE(n->absent_count, n->absent_count + 1);
    DAMAGE(n->absent_bytes, n->absent_bytes + 8);
    DAMAGE(w->entries, w->entries + 1);
    DAMAGE(w->bytes, w->bytes + 1);
    DAMAGE(m->count, m->count + 1);
    DAMAGE(m->chunk[0][0].hash, ~m->chunk[0][0].hash); /* an entry without its node */
    DAMAGE(k.c->charges, 1);
    DAMAGE(k.c->entries, k.c->entries + 1);
}

T_ONE_THREAD;
T_MAIN("l1_check")
