/* SPDX-License-Identifier: MIT
 *
 * link: plan how a new record of a bunch refers to the records that the index names now.
 *
 * PICTURE    index word -> newest record -link-> older record of the bunch -link-> ...
 *            link = bytes of the record on disk (format.c); the index has one word per chain
 * PROTOCOL   newest word of the bunch:
 *            own key            the new record takes over its link
 *            other or unknown   the new record links to it
 *            DURABLE            a put is DURABLE, too: it may be of that key, or leads to it
 *            record that moves: the copy takes over nothing from its own word
 * INVARIANTS A word has no room for a key. So a writer recognizes its own key only in a slot, or if
 *            the caller knows the record. All other records are linked, so none of another key is
 *            lost. A get of another key follows the link.
 * LOCKING    l2_link_plan runs under the tombstone lock. A bunch has one such lock, so nothing else
 *            adds to it. Reclaim and full pairs may remove words at any time; chains then end
 *            sooner.
 * SEE ALSO   index.c, LINKS; read.c follows links. */
#include "l2/link.h"

#include "l2/format.h"
#include "l2/index.h"
#include "l2/io.h"

/* Return true if the record lies in a slot and is of the key. *link: target of that record. */
static bool l2_link_own(l2 *d, const l2_key *k, uint64_t word, uint64_t *link)
{
    const l2_seg *g = &d->seg[l2_word_seg(d, word)];
    const uint64_t state = base_load_acq(&g->word), segseq = L2_SEG_SEQ(state);
    const uint32_t off = l2_word_off(d, word);
    bool own = false;
    if (L2_SEG_STATE(state) != L2_SEG_STAGE) { return false; }
    l2_slot *s = &d->slot[L2_SEG_SLOT(state)];
    (void)base_add_sc(&s->pins, 1u);
    const unsigned char *at = s->base + off;
    l2_rec r;
    /* The key of a linked record is complete before its word is stored. For others the check
     * tells. */
    if (base_load_sc(&g->word) == state &&
        (base_load_acq((const _Atomic uint32_t *)(const void *)at) != 0 ||
         (word & L2_WORD_LINKED) != 0) &&
        l2_rec_marked(&d->form, at, segseq, off, d->form.seg_bytes, &r)) {
        const unsigned char *ext = at + L2_RECORD_HEAD;
        own = r.klen == k->len && r.generation == k->generation &&
              memcmp(ext + (size_t)r.ext * 8, k->bytes, r.klen) == 0;
        if (own && l2_link_bytes(&r) != 0) {
            *link = l2_link_read(&d->form, ext, l2_lsn(d, segseq, off));
        }
    }
    (void)base_sub_ar(&s->pins, 1u);
    return own && !base_sigbus_hit(d->guard);
}

/* Choose the newest word of the bunch. *newest: its lsn. Return the number of words, 1 if none. */
static uint32_t l2_link_words(l2 *d, uint64_t h48, uint64_t *chosen, uint64_t *newest)
{
    uint64_t word[L2_BUNCH_WORDS];
    uint32_t n = 1;
    word[0] = l2_index_find(d, h48);
    if ((word[0] & L2_WORD_TWIN) != 0) { n = l2_index_all(d, h48, word); }
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t lsn = word[i] != 0 ? l2_word_lsn(d, word[i]) : 0;
        if (lsn > *newest) {
            *newest = lsn;
            *chosen = word[i];
        }
    }
    return n;
}

CELLAR_PRIVATE void l2_link_plan(l2 *d, uint64_t h48, const l2_key *k, const l2_terms *terms,
                                 l2_link *out)
{
    uint64_t newest = 0, link = 0;
    const bool tomb = terms == NULL;
    memset(out, 0, sizeof *out);
    const uint32_t n = l2_link_words(d, h48, &out->word, &newest);
    if (out->word == 0) { return; }
    /* Older records of the oldest segment have moved before: nothing live is behind its link. */
    const bool moves = !tomb && terms->lsn != 0, ends = moves && terms->lsn == newest;
    const bool linked = (out->word & L2_WORD_LINKED) != 0 && !ends;
    /* The link of a record on disk is unknown. */
    const bool told = !tomb && !linked && terms->older == newest;
    /* A record that moves is the newest of its key. */
    if (ends || told || (!moves && l2_link_own(d, k, out->word, &link))) {
        out->to = link;
        out->alone = n == 1 && !linked;
        out->known = (out->word & (L2_WORD_TOMB | L2_WORD_TWIN)) == L2_WORD_TOMB;
        out->flags = linked || (tomb && n > 1) ? L2_FLAG_LINKED : 0;
    } else {
        out->to = newest;
        out->flags = L2_FLAG_LINKED;
    }
    if (!tomb && (out->word & L2_WORD_DURABLE) != 0) { out->flags |= L2_FLAG_DURABLE; }
}

CELLAR_PRIVATE bool l2_bunch_same(l2 *d, uint64_t h48, const uint64_t *word, uint32_t count)
{
    uint64_t now[L2_BUNCH_WORDS];
    const uint32_t n = l2_index_all(d, h48, now);
    bool same = n == count;
    for (uint32_t i = 0; same && i < n; i++) {
        uint32_t j = 0;
        while (j < count && word[j] != now[i]) { j++; }
        same = j < count;
    }
    return same;
}

BASE_SIZE_BEGIN

CELLAR_PRIVATE bool l2_record_head(l2 *d, const l2_seg *g, uint64_t state, uint32_t off,
                                   unsigned char *head, uint32_t n)
{
    bool ok = true;
    if (L2_SEG_STATE(state) == L2_SEG_STAGE) {
        l2_slot *s = &d->slot[L2_SEG_SLOT(state)];
        (void)base_add_sc(&s->pins, 1u);
        ok = base_load_sc(&g->word) == state;
        if (ok) { /* the check before the bytes: 0 says that they may be incomplete */
            const uint32_t check = base_load_acq((const _Atomic uint32_t *)(const void *)
                                                 (s->base + off));
            n = check != 0 ? n : L2_RECORD_HEAD;
            memcpy(head + L2_RECORD_CHECK, s->base + off + L2_RECORD_CHECK, n - L2_RECORD_CHECK);
            memcpy(head, &check, L2_RECORD_CHECK);
        }
        (void)base_sub_ar(&s->pins, 1u);
    } else {
        const uint64_t at = (uint64_t)base_load_acq(&g->place) * d->form.seg_bytes + off;
        ok = l2_read_only(d, d->data_file, head, n, at) == 0;
    }
    return ok;
}

CELLAR_PRIVATE uint64_t l2_link_word(l2 *d, uint64_t lsn)
{
    const uint64_t segseq = lsn / d->form.seg_bytes;
    const uint32_t off = (uint32_t)(lsn % d->form.seg_bytes);
    const uint32_t nseg = base_load_acq(&d->nseg_seen);
    for (uint32_t i = 0; i < nseg; i++) {
        const l2_seg *g = &d->seg[i];
        const uint64_t state = base_load_acq(&g->word);
        if (!L2_SEG_USED(state) || L2_SEG_SEQ(state) != segseq) { continue; }
        unsigned char head[L2_RECORD_HEAD] BASE_ALIGNED(8) = { 0 };
        l2_rec r;
        static const unsigned char none[L2_RECORD_HEAD];
        if (!l2_record_head(d, g, state, off, head, L2_RECORD_HEAD)) { return L2_LINK_LOST; }
        if (!l2_rec_marked(&d->form, head, segseq, off, d->form.seg_bytes, &r)) {
            /* The process died before the put was complete, and its slot was sealed without it. */
            return memcmp(head + L2_RECORD_CHECK, none, sizeof none - L2_RECORD_CHECK) == 0
                       ? 0 : L2_LINK_LOST;
        }
        return l2_word_make(d, i, off, 0, r.bytes) | L2_WORD_FLAGS(r.flags);
    }
    return 0;
}

BASE_SIZE_END
