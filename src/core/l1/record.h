/* SPDX-License-Identifier: MIT
 *
 * record: lay out, write and decode records (record.c); judge them (judge.c). */
#ifndef L1_RECORD_H
#define L1_RECORD_H

#include "l1/types.h"

/* Parts outside the log: L1_FORM_BIG the value, L1_FORM_APART the key. */
#define L1_FORM_BIG 1u
#define L1_FORM_APART 2u
#define L1_FORM_CHARGED 4u /* no part, but bytes that the entry counts for: L1_X_CHARGE */

typedef struct l1_image { /* a record about to be written */
    l1_rec rec;
    const void *key;
    const void *value;
    uint64_t value_len;
    l1_big *block; /* BIG, APART: already filled */
    l1_cell *cell; /* BIG: an object, in place of a value in the block */
    const l1_put_spec *spec;
    uint64_t version, born_ms, last_use_ms, hash;
} l1_image;

BASE_INLINE unsigned l1_form_of(const l1_rec *r)
{
    return ((r->w0 & L1_W0_BIG) != 0 ? L1_FORM_BIG : 0u) |
           ((r->mask & L1_X_APART) != 0 ? L1_FORM_APART : 0u) |
           ((r->mask & L1_X_CHARGE) != 0 ? L1_FORM_CHARGED : 0u);
}

BASE_INLINE uint32_t l1_pad(const l1 *c, uint32_t n)
{
    return (uint32_t)base_round_up(n, 1u << c->gshift);
}
/* Decode a record with only key and value, without a check of its bounds. False: it has more, or
 * there is none; w0 and due are set. Most records are plain; l1_decode takes twice the steps.
 * apart: 0, or L1_W0_BIG: a value outside the log is no more. */
BASE_ALWAYS_INLINE bool l1_decode_plain(const l1 *c, uint64_t pos, l1_rec *r, uint32_t apart)
{
    const unsigned char *p = l1_at(c, pos);
    r->w0 = base_seq_u32(p);
    r->due = base_seq_u32(p + 4);
    const uint32_t more = (L1_W0_GENERATION | L1_W0_EXT | L1_W0_BIG) & ~apart;
    if ((r->w0 & (L1_W0_ALWAYS | more)) != L1_W0_ALWAYS) { return false; }
    r->generation = r->mask = r->tag_off = r->tag_count = 0;
    r->field_off = r->key_off = 8;
    r->klen = L1_W0_KLEN(r->w0);
    r->vlen = L1_W0_VLEN(r->w0);
    r->value_off = 8 + r->klen;
    r->size = l1_pad(c, r->value_off + r->vlen);
    return true;
}

/* ---- record.c ---- */
/* Decode the record at `pos`. Return false when the bytes cannot be a record inside one segment
 * (torn or recycled). */
CELLAR_PRIVATE bool l1_decode(const l1 *c, uint64_t pos, l1_rec *r);
CELLAR_PRIVATE uint32_t l1_field(const l1_rec *r, unsigned field); /* offset of a present field */
/* Return a number of a field, `at` bytes in; 0 without the field. */
CELLAR_PRIVATE uint32_t l1_get_u32(const l1 *c, uint64_t pos, const l1_rec *r, unsigned field,
                                   uint32_t at);
CELLAR_PRIVATE uint64_t l1_get_u64(const l1 *c, uint64_t pos, const l1_rec *r, unsigned field,
                                   uint32_t at);
/* Return the l1_kind of an entry. */
BASE_INLINE unsigned l1_kind_of(const l1 *c, uint64_t pos, const l1_rec *r)
{
    _Static_assert(L1_VALUE == 0, "a record without the field has a value");
    return BASE_LIKELY((r->mask & L1_X_KIND) == 0) ? 0 : l1_get_u32(c, pos, r, L1_X_KIND, 0) & 255u;
}
/* Return the hash of the key of a record. The caller holds the lane of the record or its
 * bucket: keys of linked records never change, and writers wrote them under the lane lock. */
CELLAR_PRIVATE uint64_t l1_hash_of(const l1 *c, uint64_t pos, const l1_rec *r);
CELLAR_PRIVATE int64_t l1_deadline(const l1 *c, uint64_t pos, const l1_rec *r);
/* Return when a plain get stops answering: deadline and idle time applied. *keep_until is the end
 * of the stale window. */
CELLAR_PRIVATE int64_t l1_expires(const l1 *c, uint64_t pos, const l1_rec *r, int64_t *keep_until);
/* Return whether the record has exactly this key; of length 0: any key with this hash. Under its
 * bucket lock. */
CELLAR_PRIVATE bool l1_rec_is(const l1 *c, uint64_t pos, const l1_rec *r, const l1_key *k);
/* Return the cell of an object; NULL: the record has none. Of a torn record any cell. */
BASE_INLINE l1_cell *l1_cell_of(const l1 *c, uint64_t pos, const l1_rec *r)
{
    if (BASE_LIKELY((r->w0 & L1_W0_BIG) == 0)) { return NULL; }
    const uint64_t at = base_seq_u64(l1_at(c, pos) + r->value_off);
    return (at & 1u) != 0 ? l1_cell_named(base_load_acq(&c->cells), at) : NULL;
}
/* Return the bytes of the key: of a linked record under its bucket lock, or of a victim. */
CELLAR_PRIVATE const unsigned char *l1_key_at(const l1 *c, uint64_t pos, const l1_rec *r);
/* Return the block that holds the value, the key or both; NULL: none. */
CELLAR_PRIVATE l1_big *l1_block_of(const l1 *c, uint64_t pos, const l1_rec *r);
/* Return where the value lies, and its length: in the log or in a block. A torn record may point
 * anywhere. */
CELLAR_PRIVATE const unsigned char *l1_value_at(const l1 *c, uint64_t pos, const l1_rec *r,
                                                uint64_t *len);
/* Return what a pin slot names for a record: its offset + 1. */
BASE_INLINE uint64_t l1_pin_name(const l1 *c, uint64_t pos) { return (pos >> c->gshift) + 1; }
/* Return what a pin slot names for this value: its record or its block. */
BASE_INLINE uint64_t l1_memory_of(const l1 *c, uint64_t pos, const l1_rec *r)
{
    return (r->w0 & L1_W0_BIG) != 0 ? (uint64_t)(uintptr_t)l1_block_of(c, pos, r) | L1_BIG_BIT
                                    : l1_pin_name(c, pos);
}
/* Return the birth of an entry; without the field the opening time of its segment. */
CELLAR_PRIVATE int64_t l1_born(const l1 *c, uint64_t pos, const l1_rec *r);
CELLAR_PRIVATE void l1_info_of(l1 *c, uint64_t pos, const l1_rec *r, l1_info *out);
/* Describe an entry that ended. The pointers lead into the record and its block. */
CELLAR_PRIVATE void l1_left_of(l1 *c, uint64_t pos, const l1_rec *r, l1_left *out);
/* Return the bytes that the entry counts for: its record, its bytes in a block, its charge. */
CELLAR_PRIVATE uint64_t l1_weight(const l1 *c, uint64_t pos, const l1_rec *r);
/* Lay out a record. Return false if it is longer than `most`. At record_max, key or value must then
 * go into a block. A rewritten record may grow by some fields up to seg_bytes. */
CELLAR_PRIVATE bool l1_layout(const l1 *c, const l1_key *k, const l1_put_spec *p, unsigned form,
                              uint32_t most, l1_image *im);
/* Write header, fields, key and tags. l1_write_value writes the value (or descriptor). */
CELLAR_PRIVATE void l1_write_head(l1 *c, uint64_t pos, const l1_image *im);
CELLAR_PRIVATE void l1_write_value(l1 *c, uint64_t pos, const l1_image *im);
/* Overwrite a record of the same key, size and fields with what may change in place. */
CELLAR_PRIVATE void l1_write_over(l1 *c, uint64_t pos, const l1_image *im);
/* Return whether a deadline is too far ahead for `due` and needs the DEADLINE field. */
BASE_INLINE bool l1_due_far(const l1 *c, int64_t deadline_ms)
{
    /* rough_ms is at most now, and the log closes heads by the same measure. No clock is read
     * here. */
    return deadline_ms != BASE_NEVER_MS &&
           deadline_ms - base_load_rlx(&c->rough_ms) >= (int64_t)INT32_MAX;
}
/* Return whether a record has nothing but key, value and a near deadline: the most common
 * record. */
BASE_INLINE bool l1_is_plain(const l1 *c, const l1_key *k, const l1_put_spec *p)
{
    const int64_t rare = p->idle_ms | p->stale_ms | (int64_t)(p->l2_addr | p->charge) |
                         (int64_t)(p->user_flags | p->retry_at | p->loader_code | p->tag_count) |
                         (int64_t)(p->kind | p->fails | p->cost) |
                         (int64_t)(p->flags & (L1_WANT_VERSION | L1_WANT_BORN));
    return rare == 0 && k->len < L1_KLEN_LONG && !l1_due_far(c, p->deadline_ms);
}
BASE_INLINE uint32_t l1_encode_due(const l1 *c, uint64_t pos, int64_t deadline_ms, uint32_t mask)
{
    if (deadline_ms == BASE_NEVER_MS) { return 0; }
    if ((mask & L1_X_DEADLINE) != 0) { return L1_DUE_EXT; }
    int64_t base = (int64_t)base_load_rlx(&c->seg_base_ms[l1_seg_of(c, pos)]);
    /* A deadline before the opening of the segment has passed; the opening time says the same. */
    int64_t ahead = deadline_ms <= base ? 0 : deadline_ms - base;
    return ahead >= (int64_t)L1_DUE_EXT - 1 ? L1_DUE_EXT : (uint32_t)ahead + 1;
}

/* ---- judge.c ---- */
/* Return what a reader may do with this record now. MISS: treat it as absent. */
CELLAR_PRIVATE cellar_err l1_judge(l1 *c, uint64_t pos, const l1_rec *r, unsigned flags);
/* Copy the tags of a record. Return the time that they count from. */
CELLAR_PRIVATE uint64_t l1_tags_load(const l1 *c, uint64_t pos, const l1_rec *r,
                                     uint64_t fps[L1_TAG_MAX]);
/* Return the verdict of hooks.tags_valid on a record. */
CELLAR_PRIVATE int l1_tags_judge(const l1 *c, uint64_t pos, const l1_rec *r);
/* Return whether a tag ended the record before `end_ms`, when its time was over. */
CELLAR_PRIVATE bool l1_tags_first(const l1 *c, uint64_t pos, const l1_rec *r, int64_t end_ms);
/* Return whether the time of a record has passed, or a tag ended it. */
CELLAR_PRIVATE bool l1_is_ended(l1 *c, uint64_t pos, const l1_rec *r, l1_cause *cause);
/* Return whether the record is over: a dead generation, a passed time, a dead tag. *cause: why. */
BASE_ALWAYS_INLINE bool l1_is_over(l1 *c, uint64_t pos, const l1_rec *r, l1_cause *cause)
{
    *cause = L1_LEFT_CLEARED;
    if (c->hooks.generation_alive != NULL &&
        !c->hooks.generation_alive(c->hooks.ctx, r->generation)) {
        return true;
    }
    return (r->due != 0 || r->mask != 0) && l1_is_ended(c, pos, r, cause);
}
/* Return whether the caller of a change still has to read this entry, to write it to disk. */
CELLAR_PRIVATE bool l1_is_written(const l1 *c, uint64_t pos, const l1_rec *r, uint64_t hash);

#endif
