/* SPDX-License-Identifier: MIT
 *
 * record: lay out, write and decode the bytes of one entry in the log.
 *
 * PICTURE    types.h, FORMAT.
 *              set                     -> l1_layout (choose fields) -> reserve -> l1_write_head,
 *                                         l1_write_value -> link
 *              reader, cursor, tick    -> l1_decode
 * INVARIANTS Size, key and set of optional fields of a linked record never change in place.
 *            In place change only: value and w0 (set, incr), `due` (set, touch), last_use (idle
 *            hit, touch), the contents of fields, and PINNED.
 *            Each of them changes under the bucket lock, except PINNED: an atomic or sets it.
 * LIMITS     l1_decode trusts no byte: bytes may be torn or belong to an earlier record.
 *            A record that l1_decode accepts lies inside one segment. Only the version check
 *            proves that it is the right record. */
#include <string.h>

#include "l1/record.h"

static uint32_t l1_field_bytes(uint32_t mask)
{
#define L1_X(name, bytes) bytes,
    static const uint8_t size[L1_XI_COUNT] = { L1_FIELDS(L1_X) };
#undef L1_X
    uint32_t n = 0;
    for (; mask != 0; mask &= mask - 1) { n += size[__builtin_ctz(mask)]; }
    return n;
}

CELLAR_PRIVATE uint32_t l1_field(const l1_rec *r, unsigned field)
{
    BASE_ASSERT((r->mask & field) != 0);
    return r->field_off + l1_field_bytes(r->mask & (field - 1));
}

CELLAR_PRIVATE uint32_t l1_get_u32(const l1 *c, uint64_t pos, const l1_rec *r, unsigned field,
                                   uint32_t at)
{
    return (r->mask & field) != 0 ? base_seq_u32(l1_at(c, pos) + l1_field(r, field) + at) : 0;
}

CELLAR_PRIVATE uint64_t l1_get_u64(const l1 *c, uint64_t pos, const l1_rec *r, unsigned field,
                                   uint32_t at)
{
    return (r->mask & field) != 0 ? base_seq_u64(l1_at(c, pos) + l1_field(r, field) + at) : 0;
}

CELLAR_PRIVATE bool l1_decode(const l1 *c, uint64_t pos, l1_rec *r)
{
    const unsigned char *p = l1_at(c, pos);
    const uint32_t room = c->seg_bytes - ((uint32_t)pos & (c->seg_bytes - 1));
    if (room < 12) { return false; }
    if (BASE_LIKELY(l1_decode_plain(c, pos, r, 0))) {
        return r->klen - 1 < L1_KLEN_LONG - 1 && r->size <= room;
    }
    if ((r->w0 & L1_W0_ALWAYS) == 0) { return false; }
    uint32_t at = 8;
    r->generation = r->mask = r->tag_off = r->tag_count = 0;
    if ((r->w0 & L1_W0_GENERATION) != 0) {
        r->generation = base_seq_u32(p + at);
        at += 4;
    }
    if ((r->w0 & L1_W0_EXT) != 0) {
        if (room < at + 4) { return false; }
        r->mask = base_seq_u32(p + at);
        at += 4;
        if ((r->mask & ~(uint32_t)L1_X_ALL) != 0) { return false; }
    }
    r->field_off = at;
    at += l1_field_bytes(r->mask);
    if (at > room) { return false; } /* APART without a value ends here */
    r->klen = L1_W0_KLEN(r->w0);
    if (r->klen == L1_KLEN_LONG) {
        if ((r->mask & L1_X_KLEN) == 0) { return false; }
        r->klen = base_seq_u32(p + r->field_off) & 0xffffu;
    }
    r->vlen = L1_W0_VLEN(r->w0);
    r->key_off = at;
    r->value_off = at + ((r->mask & L1_X_APART) != 0 ? 0 : r->klen);
    uint32_t end = r->value_off + r->vlen;
    if ((r->mask & L1_X_TAGS) != 0) {
        end = (uint32_t)base_round_up(end, 4);
        if (end + L1_TAG_BLOCK(0) > room) { return false; }
        r->tag_off = end;
        r->tag_count = base_seq_u32(p + end) & 255u;
        if (r->tag_count > L1_TAG_MAX) { return false; }
        end += L1_TAG_BLOCK(r->tag_count);
    }
    r->size = l1_pad(c, end);
    if ((r->w0 & L1_W0_BIG) != 0 && r->vlen != L1_DESCRIPTOR) { return false; }
    return r->klen != 0 && r->size <= room;
}

CELLAR_PRIVATE int64_t l1_deadline(const l1 *c, uint64_t pos, const l1_rec *r)
{
    if (r->due == 0) { return BASE_NEVER_MS; }
    if (r->due == L1_DUE_EXT) {
        if ((r->mask & L1_X_DEADLINE) == 0) { return BASE_NEVER_MS; }
        return (int64_t)base_seq_u64(l1_at(c, pos) + l1_field(r, L1_X_DEADLINE));
    }
    return (int64_t)(base_load_rlx(&c->seg_base_ms[l1_seg_of(c, pos)]) + r->due - 1);
}

CELLAR_PRIVATE int64_t l1_expires(const l1 *c, uint64_t pos, const l1_rec *r, int64_t *keep_until)
{
    int64_t at = l1_deadline(c, pos, r);
    if ((r->mask & L1_X_IDLE) != 0) {
        const int64_t used = (int64_t)l1_get_u64(c, pos, r, L1_X_IDLE, 4);
        at = BASE_MIN(at, base_add_sat(used, l1_get_u32(c, pos, r, L1_X_IDLE, 0)));
    }
    if (keep_until != NULL) {
        *keep_until = (r->mask & L1_X_STALE) == 0
            ? at : base_add_sat(BASE_MAX(at, 0), l1_get_u32(c, pos, r, L1_X_STALE, 0));
    }
    return at;
}

CELLAR_PRIVATE const unsigned char *l1_value_at(const l1 *c, uint64_t pos, const l1_rec *r,
                                                uint64_t *len)
{
    const unsigned char *p = l1_at(c, pos) + r->value_off;
    *len = r->vlen;
    if (BASE_LIKELY((r->w0 & L1_W0_BIG) == 0)) { return p; }
    const uint64_t at = base_seq_u64(p);
    if ((at & 1u) != 0) {
        *len = l1_cell_charge_of(base_load_acq(&c->cells), at);
        return NULL;
    }
    *len = base_seq_u64(p + 8);
    return l1_big_bytes((l1_big *)(uintptr_t)at);
}

CELLAR_PRIVATE l1_big *l1_block_of(const l1 *c, uint64_t pos, const l1_rec *r)
{
    if (BASE_LIKELY((l1_form_of(r) & (L1_FORM_BIG | L1_FORM_APART)) == 0)) { return NULL; }
    const bool apart = (r->mask & L1_X_APART) != 0;
    if (!apart && l1_cell_of(c, pos, r) != NULL) { return NULL; }
    const uint32_t at = apart ? l1_field(r, L1_X_APART) : r->value_off;
    return (l1_big *)(uintptr_t)base_seq_u64(l1_at(c, pos) + at);
}

/* Return the bytes of the value that lie in a block, or the charge of its object. */
static uint64_t l1_outside(const l1 *c, uint64_t pos, const l1_rec *r)
{
    if ((r->w0 & L1_W0_BIG) == 0) { return 0; }
    const unsigned char *const p = l1_at(c, pos) + r->value_off;
    const uint64_t at = base_seq_u64(p);
    return (at & 1u) == 0 ? base_seq_u64(p + 8) : l1_cell_charge_of(base_load_acq(&c->cells), at);
}

CELLAR_PRIVATE const unsigned char *l1_key_at(const l1 *c, uint64_t pos, const l1_rec *r)
{
    if (BASE_LIKELY((r->mask & L1_X_APART) == 0)) { return l1_at(c, pos) + r->key_off; }
    const uint64_t value = l1_cell_of(c, pos, r) != NULL ? 0 : l1_outside(c, pos, r);
    return l1_big_bytes(l1_block_of(c, pos, r)) + value;
}

CELLAR_PRIVATE uint64_t l1_hash_of(const l1 *c, uint64_t pos, const l1_rec *r)
{
    if (BASE_UNLIKELY((r->mask & L1_X_APART) != 0)) {
        return base_seq_u64(l1_at(c, pos) + l1_field(r, L1_X_APART) + 8);
    }
    return base_hash(c->hash_key, r->generation, l1_at(c, pos) + r->key_off, r->klen);
}

CELLAR_PRIVATE bool l1_rec_is(const l1 *c, uint64_t pos, const l1_rec *r, const l1_key *k)
{
    if (r->generation != k->generation) { return false; }
    if (k->len == 0) { return l1_hash_of(c, pos, r) == k->hash; }
    if (r->klen != k->len) { return false; }
    if (BASE_LIKELY((r->mask & L1_X_APART) == 0)) {
        return base_seq_equal(l1_at(c, pos) + r->key_off, k->bytes, k->len);
    }
    return l1_hash_of(c, pos, r) == k->hash && memcmp(l1_key_at(c, pos, r), k->bytes, k->len) == 0;
}

CELLAR_PRIVATE uint64_t l1_weight(const l1 *c, uint64_t pos, const l1_rec *r)
{
    if (BASE_LIKELY(l1_form_of(r) == 0)) { return r->size; }
    return r->size + l1_outside(c, pos, r) + ((r->mask & L1_X_APART) != 0 ? r->klen : 0u) +
           l1_get_u64(c, pos, r, L1_X_CHARGE, 0);
}

BASE_SIZE_BEGIN

CELLAR_PRIVATE int64_t l1_born(const l1 *c, uint64_t pos, const l1_rec *r)
{
    return (r->mask & L1_X_BORN) != 0
               ? (int64_t)l1_get_u64(c, pos, r, L1_X_BORN, 0)
               : (int64_t)base_load_rlx(&c->seg_base_ms[l1_seg_of(c, pos)]);
}

CELLAR_PRIVATE void l1_info_of(l1 *c, uint64_t pos, const l1_rec *r, l1_info *out)
{
    memset(out, 0, sizeof *out);
    uint64_t len;
    (void)l1_value_at(c, pos, r, &len);
    out->value_len = (size_t)len;
    out->object = l1_cell_of(c, pos, r) != NULL;
    out->deadline_ms = l1_deadline(c, pos, r);
    out->expires_ms = l1_expires(c, pos, r, NULL);
    out->generation = r->generation;
    out->tag_count = r->tag_count;
    out->at = pos;
    out->seq = base_load_rlx(&c->seg[l1_seg_of(c, pos)].seq);
    out->born_ms = l1_born(c, pos, r);
    if (r->mask == 0) { return; }
    const uint32_t w = l1_get_u32(c, pos, r, L1_X_KIND, 0);
    out->kind = (uint8_t)w;
    out->fails = (uint8_t)(w >> 8);
    out->cost = (uint8_t)(w >> 16);
    out->retry_at = l1_get_u32(c, pos, r, L1_X_ERR, 0);
    out->loader_code = l1_get_u32(c, pos, r, L1_X_ERR, 4);
    out->idle_ms = l1_get_u32(c, pos, r, L1_X_IDLE, 0);
    out->born_exact = (r->mask & L1_X_BORN) != 0;
    out->stale_ms = l1_get_u32(c, pos, r, L1_X_STALE, 0);
    out->user_flags = l1_get_u32(c, pos, r, L1_X_FLAGS, 0);
    out->version = l1_get_u64(c, pos, r, L1_X_VERSION, 0);
    out->l2_addr = l1_get_u64(c, pos, r, L1_X_L2, 0);
    out->charge = l1_get_u64(c, pos, r, L1_X_CHARGE, 0);
}

CELLAR_PRIVATE void l1_left_of(l1 *c, uint64_t pos, const l1_rec *r, l1_left *out)
{
    l1_info info;
    uint64_t len;
    l1_info_of(c, pos, r, &info);
    *out = (l1_left){ .key = l1_key_at(c, pos, r),
                      .key_len = r->klen,
                      .value = l1_value_at(c, pos, r, &len),
                      .value_len = info.value_len, .cell = l1_cell_of(c, pos, r),
                      .deadline_ms = info.deadline_ms, .expires_ms = info.expires_ms,
                      .stale_ms = info.stale_ms, .idle_ms = (uint32_t)info.idle_ms,
                      .version = info.version, .l2_addr = info.l2_addr,
                      .tag_count = r->tag_count, .generation = r->generation,
                      .user_flags = info.user_flags,
                      .kind = info.kind, .cost = info.cost, .fails = info.fails };
    if (r->tag_count != 0) {
        out->tag_born = base_seq_u64(l1_at(c, pos) + r->tag_off + 8);
        out->tag_fps = l1_at(c, pos) + r->tag_off + 16;
    }
}

BASE_SIZE_END

/* Return whether a deadline is too far ahead for `due`. `due` reaches 49.7 days past the opening of
 * the segment. The log closes heads older than half of that (segment.c). So a deadline within the
 * other half fits any segment that the record moves to. */
CELLAR_PRIVATE bool l1_layout(const l1 *c, const l1_key *k, const l1_put_spec *p, unsigned form,
                              uint32_t most, l1_image *im)
{
    const bool big = (form & L1_FORM_BIG) != 0, apart = (form & L1_FORM_APART) != 0;
    memset(im, 0, sizeof *im);
    im->key = k->bytes;
    im->hash = k->hash;
    im->value = p->value;
    im->value_len = p->value_len;
    im->spec = p;

    uint32_t mask = 0;
    if (k->len >= L1_KLEN_LONG) { mask |= L1_X_KLEN; }
    if (apart) { mask |= L1_X_APART; }
    if ((p->kind | p->fails | p->cost) != 0) { mask |= L1_X_KIND; }
    if ((p->retry_at | p->loader_code) != 0) { mask |= L1_X_ERR; }
    if (p->idle_ms > 0) { mask |= L1_X_IDLE | L1_X_BORN; }
    if (p->stale_ms > 0) { mask |= L1_X_STALE | L1_X_BORN; }
    if ((p->flags & L1_WANT_BORN) != 0) { mask |= L1_X_BORN; }
    if (p->user_flags != 0) { mask |= L1_X_FLAGS; }
    if ((p->flags & L1_WANT_VERSION) != 0) { mask |= L1_X_VERSION; }
    if (p->l2_addr != 0) { mask |= L1_X_L2; }
    if (p->charge != 0) { mask |= L1_X_CHARGE; }
    if (p->tag_count != 0) { mask |= L1_X_TAGS; }
    int64_t now = 0;
    if ((mask & (L1_X_IDLE | L1_X_BORN)) != 0) { now = base_now_ms(c->clock); }
    im->born_ms = im->last_use_ms = (uint64_t)now;
    if (p->change == L1_CHANGE_BACKFILL && p->until_ms != 0) {
        im->last_use_ms = (uint64_t)BASE_MIN(now, p->until_ms - p->idle_ms);
    }
    /* `due` cannot express a time before the opening of the segment. The deadline of a moved record
     * may lie there. The stale window counts from the deadline. */
    const bool exact = p->stale_ms > 0 && p->deadline_ms != BASE_NEVER_MS;
    if (exact || l1_due_far(c, p->deadline_ms)) { mask |= L1_X_DEADLINE; }

    l1_rec *r = &im->rec;
    r->generation = k->generation;
    r->mask = mask;
    r->klen = k->len;
    r->vlen = big ? L1_DESCRIPTOR : (uint32_t)p->value_len;
    r->field_off = 8u + (k->generation != 0 ? 4u : 0u) + (mask != 0 ? 4u : 0u);
    r->key_off = r->field_off + l1_field_bytes(mask);
    r->value_off = r->key_off + (apart ? 0 : k->len);
    uint64_t end = (uint64_t)r->value_off + (big ? L1_DESCRIPTOR : p->value_len);
    if (p->tag_count != 0) {
        end = base_round_up(end, 4);
        r->tag_off = (uint32_t)end;
        r->tag_count = p->tag_count;
        end += L1_TAG_BLOCK(p->tag_count);
    }
    if (end > most || r->vlen > L1_VLEN_LIMIT) { return false; }
    r->size = l1_pad(c, (uint32_t)end);
    r->w0 = BASE_MIN(k->len, L1_KLEN_LONG) | (r->vlen << 8) | L1_W0_ALWAYS |
            (k->generation != 0 ? L1_W0_GENERATION : 0u) | (mask != 0 ? L1_W0_EXT : 0u) |
            (big ? L1_W0_BIG : 0u) | ((mask & L1_X_SPECIAL) != 0 ? L1_W0_SPECIAL : 0u);
    return true;
}

static void l1_set_u32(unsigned char *p, const l1_rec *r, unsigned field, uint32_t at, uint32_t v)
{
    if ((r->mask & field) != 0) { base_seq_store_u32(p + l1_field(r, field) + at, v); }
}

static void l1_set_u64(unsigned char *p, const l1_rec *r, unsigned field, uint32_t at, uint64_t v)
{
    if ((r->mask & field) != 0) { base_seq_store_u64(p + l1_field(r, field) + at, v); }
}

/* Write what may change in place, but the value: first word, deadline, contents of fields. */
static void l1_write_fields(l1 *c, uint64_t pos, const l1_image *im)
{
    const l1_rec *r = &im->rec;
    const l1_put_spec *s = im->spec;
    unsigned char *p = l1_at(c, pos);
    base_seq_store_u32(p, r->w0);
    base_seq_store_u32(p + 4, l1_encode_due(c, pos, s->deadline_ms, r->mask));
    if (r->mask == 0) { return; }
    l1_set_u32(p, r, L1_X_KLEN, 0, r->klen);
    l1_set_u64(p, r, L1_X_DEADLINE, 0, (uint64_t)s->deadline_ms);
    l1_set_u32(p, r, L1_X_KIND, 0,
               (uint32_t)s->kind | (uint32_t)s->fails << 8 | (uint32_t)s->cost << 16);
    l1_set_u32(p, r, L1_X_ERR, 0, s->retry_at);
    l1_set_u32(p, r, L1_X_ERR, 4, s->loader_code);
    l1_set_u32(p, r, L1_X_IDLE, 0, (uint32_t)s->idle_ms);
    l1_set_u64(p, r, L1_X_IDLE, 4, im->last_use_ms);
    l1_set_u64(p, r, L1_X_BORN, 0, im->born_ms);
    l1_set_u32(p, r, L1_X_STALE, 0, (uint32_t)s->stale_ms);
    l1_set_u32(p, r, L1_X_FLAGS, 0, s->user_flags);
    l1_set_u64(p, r, L1_X_VERSION, 0, im->version);
    l1_set_u64(p, r, L1_X_L2, 0, s->l2_addr);
    l1_set_u64(p, r, L1_X_CHARGE, 0, s->charge);
    if ((r->mask & L1_X_TAGS) != 0) {
        base_seq_store_u64(p + r->tag_off, r->tag_count);
        base_seq_store_u64(p + r->tag_off + 8, s->tag_born);
        base_seq_store(p + r->tag_off + 16, s->tag_fps, 8u * (size_t)r->tag_count);
    }
}

CELLAR_PRIVATE void l1_write_head(l1 *c, uint64_t pos, const l1_image *im)
{
    const l1_rec *r = &im->rec;
    unsigned char *p = l1_at(c, pos);
    l1_write_fields(c, pos, im);
    if (r->generation != 0) { base_seq_store_u32(p + 8, r->generation); }
    if (r->mask != 0) { base_seq_store_u32(p + r->field_off - 4, r->mask); }
    if ((r->mask & L1_X_APART) != 0) {
        l1_set_u64(p, r, L1_X_APART, 0, (uint64_t)(uintptr_t)im->block);
        l1_set_u64(p, r, L1_X_APART, 8, im->hash);
        return;
    }
    base_seq_store(p + r->key_off, im->key, r->klen);
}

CELLAR_PRIVATE void l1_write_value(l1 *c, uint64_t pos, const l1_image *im)
{
    const l1_rec *r = &im->rec;
    unsigned char *p = l1_at(c, pos) + r->value_off;
    if ((r->w0 & L1_W0_BIG) != 0) {
        const l1_cell *const b = im->cell;
        base_seq_store_u64(p, b != NULL ? l1_cell_name(base_load_acq(&c->cells), b)
                                        : (uint64_t)(uintptr_t)im->block);
        base_seq_store_u64(p + 8, b != NULL ? base_load_rlx(&b->object) : im->value_len);
    } else if (r->vlen != 0) {
        BASE_ASSERT((uintptr_t)p + r->vlen <= (uintptr_t)im->value ||
                    (uintptr_t)im->value + r->vlen <= (uintptr_t)p);
        base_seq_store(p, im->value, r->vlen);
    }
}

CELLAR_PRIVATE void l1_write_over(l1 *c, uint64_t pos, const l1_image *im)
{
    l1_write_fields(c, pos, im);
    l1_write_value(c, pos, im);
}
