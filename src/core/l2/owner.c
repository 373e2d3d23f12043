/* SPDX-License-Identifier: MIT
 *
 * owner: which parts of a long value are wanted: a part is, while the newest record with the hash48
 * of its head is that head.
 *
 * LOCKING    None of its own. What is remembered of a value (l2_moves) belongs to the worker.
 * LIMITS     If two keys have one hash48, a pass may drop the older one's parts.
 * SEE ALSO   value.c: parts; move.c: the pass that asks. */
#include "l2/types.h"

#include "l2/codec.h"
#include "l2/index.h"
#include "l2/link.h"
#include "l2/log.h"
#include "l2/part.h"
#include "l2/read.h"
#include "l2/record.h"
#include "l2/steps.h"
#include "l2/write.h"

BASE_SIZE_BEGIN

#define L2_OWNER_BYTES 512u /* read of a head, with most keys */
#define L2_OWN_RECORDS 16u   /* behind a tombstone; more of one key: unknown */
#define L2_OWNER_MOST (L2_RECORD_HEAD + L2_LINK_BYTES + L2_EXT_MAX + CELLAR_KEY_MAX)

typedef struct l2_owner { /* the newest record with the hash48 of a part's head */
    uint64_t id, h48; /* number of the value, hash48 of its head */
    bool found;  /* such a record, or one that cannot be read */
    bool wanted; /* it is the head of the value, with all parts, and nothing ended it; or it cannot
                  * be read */
    uint32_t generation; /* of the value */
    uint64_t total;      /* its bytes; both 0 unless that record is its head */
    uint32_t step;       /* bytes of a part */
    uint64_t link, its;  /* of the last record that was read; its hash48, 0: unknown, or its link */
} l2_owner;

/* Check `n` bytes of a record, from its begin. Return false if they end before its key does. */
static bool l2_owner_judge(l2 *d, l2_owner *o, const unsigned char *at, uint32_t n, uint64_t lsn,
                           bool future)
{
    const uint32_t off = (uint32_t)(lsn % d->form.seg_bytes);
    l2_rec r;
    l2_meta m;
    o->found = o->wanted = true;
    if (l2_r32(at) == 0 || !l2_rec_marked(&d->form, at, lsn / d->form.seg_bytes, off,
                                          d->form.seg_bytes, &r)) {
        return true; /* incomplete or damaged */
    }
    const size_t link = l2_link_bytes(&r), ext = (size_t)r.ext * 8;
    const unsigned char *key = at + L2_RECORD_HEAD + ext;
    if (L2_RECORD_HEAD + ext + r.klen > n) { return false; }
    o->link = link != 0 ? l2_link_read(&d->form, at + L2_RECORD_HEAD, lsn) : 0;
    const uint64_t its = l2_h48(base_hash(&d->hash_key, r.generation, key, r.klen));
    o->its = link == 0 || o->link != 0 ? its : 0;
    o->found = r.generation != 0 && o->h48 == its;
    memset(&m, 0, offsetof(l2_meta, tags));
    o->wanted = o->found && r.kind == L2_KIND_PUT &&
                l2_ext_read(at + L2_RECORD_HEAD + link, ext - link, &m) && m.part_id == o->id &&
                l2_record_valid(d, at, &r, lsn, future);
    o->generation = o->wanted ? r.generation : 0;
    o->total = o->wanted ? m.part_total : 0;
    o->step = m.part_bytes;
    o->wanted = o->wanted && l2_parts_there(d, o->h48, &m);
    return true;
}

/* Read head and key of the record that a word names, and check them. */
static void l2_owner_read(l2 *d, l2_owner *o, uint64_t word)
{
    unsigned char few[L2_OWNER_BYTES] BASE_ALIGNED(8) = { 0 };
    const l2_seg *g = &d->seg[l2_word_seg(d, word)];
    const uint64_t state = base_load_acq(&g->word), lsn = l2_word_lsn(d, word);
    const uint32_t off = l2_word_off(d, word);
    const uint32_t most = BASE_MIN(l2_word_bytes(d, word), d->form.seg_bytes - off);
    const uint32_t all = BASE_MIN(most, L2_OWNER_MOST);
    const uint32_t n = BASE_MIN(all, (uint32_t)sizeof few);
    const bool future = base_load_rlx(&g->future) != 0;
    o->found = o->wanted = true;
    o->generation = 0;
    if (!l2_record_head(d, g, state, off, few, n) || l2_owner_judge(d, o, few, n, lsn, future)) {
        return;
    }
    unsigned char *whole = l2_alloc(d, all); /* a long key */
    if (whole == NULL) { return; }
    if (l2_record_head(d, g, state, off, whole, all)) {
        (void)l2_owner_judge(d, o, whole, all, lsn, future);
    }
    base_free(d->cfg.account, BASE_MOD_L2, whole, all);
}

CELLAR_PRIVATE bool l2_part_wanted(l2 *d, const unsigned char *key, uint32_t klen,
                                   uint32_t *generation)
{
    uint64_t word[L2_BUNCH_WORDS], lsn[L2_BUNCH_WORDS];
    l2_moves *v = &d->moves;
    if (klen != L2_PART_KEY) { return false; }
    l2_owner o = { .id = l2_r64(key) };
    memcpy(&o.h48, key + 8, 6);
    const uint32_t n = v->value != o.id ? l2_index_all(d, o.h48, word) : 0;
    for (uint32_t i = 0; i < n; i++) { lsn[i] = l2_word_lsn(d, word[i]); }
    for (uint32_t at = 0; n > 0 && !o.found; at = 0) {
        for (uint32_t i = 1; i < n; i++) { at = lsn[i] > lsn[at] ? i : at; }
        if (lsn[at] == 0) { break; }
        o.link = 0;
        l2_owner_read(d, &o, word[at]);
        const uint64_t link = o.link < lsn[at] ? o.link : 0;
        word[at] = link != 0 && !o.found ? l2_link_word(d, link) : 0;
        o.found = o.found || word[at] == L2_LINK_LOST;
        o.wanted = o.wanted || word[at] == L2_LINK_LOST;
        lsn[at] = word[at] != 0 ? link : 0;
    }
    if (v->value != o.id) {
        v->value = o.id;
        v->value_wanted = o.wanted;
        v->value_generation = o.generation;
        v->value_h48 = o.h48;
        v->value_bytes = o.total;
        v->value_step = o.step;
    }
    *generation = v->value_generation;
    return v->value_wanted;
}

/* Return true if all records behind the tombstone of a word are of its key. */
static bool l2_tomb_own(l2 *d, uint64_t word)
{
    l2_owner o = { .id = 0 };
    uint64_t lsn = l2_word_lsn(d, word), first = 0;
    for (uint32_t n = 0; word != 0 && n < L2_OWN_RECORDS; n++) {
        o.link = o.its = 0;
        if (word != L2_LINK_LOST) { l2_owner_read(d, &o, word); }
        first = n == 0 ? o.its : first;
        if (o.its == 0 || o.its != first) { return false; }
        lsn = o.link < lsn ? o.link : 0;
        word = lsn != 0 ? l2_link_word(d, lsn) : 0;
    }
    return word == 0;
}

CELLAR_PRIVATE uint64_t l2_part_lsn(l2 *d, uint64_t index)
{
    l2_part part;
    l2_part_name(d, d->moves.value_h48, d->moves.value, index, &part);
    const uint64_t word = l2_index_find(d, l2_h48(part.key.hash));
    return word != 0 ? l2_word_lsn(d, word) : 0;
}

/* Store a record. If the index has no place for a durable one, let tombstones give theirs up, and
 * try again. */
CELLAR_PRIVATE cellar_err l2_put_placed(l2 *d, const l2_key *k, const void *value, size_t len,
                                        const l2_meta *m, const l2_current *current)
{
    cellar_err err = l2_put_record(d, k, value, len, m, current);
    if (err == L2_REFUSED && m->durable && l2_index_ease(d, l2_h48(k->hash), l2_tomb_own)) {
        err = l2_put_record(d, k, value, len, m, current);
    }
    return err;
}

BASE_SIZE_END
