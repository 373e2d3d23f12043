/* SPDX-License-Identifier: MIT
 *
 * pin: hand out a pointer into the log that stays valid until unpin.
 *
 * LOCKING    None for the pinning thread.
 *            Recycling: pin_slots.c.
 *            In-place writers: the pinner sets PINNED (atomic or), then reads the version again.
 *            The writer locks (CAS seq_cst), then reads w0. README.md has the proof.
 * SEE ALSO   README.md: proof of the pin protocol, measurements. Michael 2004, hazard pointers. */

#include "l1/index.h"
#include "l1/pin_slots.h"
#include "l1/read.h"
#include "l1/record.h"

/* Return whether the published slot names what version `ver` showed, safe from in-place writers.
 * Writers change only records with values of at most 1 KiB in place. */
BASE_ALWAYS_INLINE bool l1_pin_hold(l1 *c, l1_bucket *b, uint32_t ver, uint64_t pos,
                                    size_t value_len)
{
    BASE_POINT("l1.pin.published");
    bool same = base_load_sc(&b->ver) == ver; /* from here on the segment cannot be reused */
    if (same && value_len <= L1_SMALL_COPY) {
        _Atomic uint32_t *w0 = (_Atomic uint32_t *)(void *)l1_at(c, pos);
        /* Acquire: a pinner that finds the bit set stores nothing. So this look must precede the
         * last recheck. A later look may meet the bit of another pinner inside the window of a
         * writer. */
        BASE_POINT("l1.pin.looked");
        const bool set = (base_load_acq(w0) & L1_W0_PINNED) != 0;
        if (!set) { (void)base_or_sc(w0, L1_W0_PINNED); }
        BASE_POINT("l1.pin.ored");
        same = base_load_sc(&b->ver) == ver;
    }
    return same;
}

/* Pin a plain record at the first match, in one of the first two slots of the thread. On any doubt
 * return false; the caller starts over. Same steps as in read.c. */
BASE_ALWAYS_INLINE bool l1_pin_plain(l1 *c, const base_thread_record *self, const void *key,
                                     uint32_t klen, uint32_t generation, uint64_t hash,
                                     l1_pin_ref *out)
{
    l1_aim a;
    l1_aim_at(c, hash, &a);
    if (BASE_UNLIKELY(!l1_spot(c, hash, &a))) { return false; }
    const unsigned char *const p = l1_at(c, a.pos);
    const uint64_t head = base_seq_u64(p);
    const uint32_t due = (uint32_t)(head >> 32), vlen = L1_W0_VLEN((uint32_t)head);
    const uint32_t value_at = l1_plain_at(c, &a, head, key, klen, false, generation);
    if (value_at == 0) { return false; }
    out->deadline_ms = BASE_NEVER_MS;
    if (due != 0) {
        const uint32_t seg = l1_seg_of(c, a.pos);
        out->deadline_ms = (int64_t)(base_load_rlx(&c->seg_base_ms[seg]) + due - 1);
        if (BASE_UNLIKELY(!base_clock_far(c->clock, self, out->deadline_ms)) &&
            base_clock_look(c->clock, out->deadline_ms)) {
            return false;
        }
    }
    if (BASE_UNLIKELY(!l1_unchanged(a.primary, a.ver))) { return false; }
    _Atomic uint64_t *slot = &l1_pin_home(c, self)->slot[0];
    const uint64_t what = l1_pin_name(c, a.pos);
    if (BASE_UNLIKELY(!l1_pin_put(slot, what)) && !l1_pin_put(++slot, what)) { return false; }
    if (BASE_UNLIKELY(!l1_pin_hold(c, a.primary, a.ver, a.pos, vlen))) {
        base_store_rel(slot, (uint64_t)0);
        return false;
    }
    l1_freq_hit(a.b, a.i);
    out->value = p + value_at;
    out->value_len = vlen;
    out->user_flags = 0;
    out->slot = (uint32_t)(slot - &c->pin[0].slot[0]);
    return true;
}

CELLAR_PRIVATE bool l1_pin_hit(l1 *c, const base_thread_record *self, const void *key,
                               uint32_t klen, uint32_t generation, uint64_t hash, l1_pin_ref *out)
{
    return l1_pin_plain(c, self, key, klen, generation, hash, out);
}

CELLAR_PRIVATE bool l1_pin_key(l1 *c, const l1_key *k, l1_pin_ref *out)
{
    return l1_pin_plain(c, base_thread_self(), k->bytes, k->len, k->generation, k->hash, out);
}

BASE_SIZE_BEGIN

/* Pin any record. After some rounds pin under the bucket lock: no thread can move the record.
 * PINNED set in the window makes the next writer append. */
CELLAR_PRIVATE cellar_err l1_pin(l1 *c, const l1_key *k, l1_pin_ref *out, unsigned flags)
{
    for (unsigned round = 0;; round++) {
        const bool locked = round == L1_RETRIES;
        l1_hold h;
        l1_probe p;
        const l1_look look = l1_look_round(c, k, locked, &h, &p);
        if (look == L1_LOOK_AGAIN) { continue; }
        const uint64_t pos = p.at.pos;
        const l1_rec *const r = &p.at.rec;
        uint64_t memory = 0, len = 0;
        cellar_err err = CELLAR_MISS;
        _Atomic uint64_t *pin = NULL;
        if (look == L1_LOOK_FOUND) {
            out->value = l1_value_at(c, pos, r, &len);
            out->deadline_ms = l1_deadline(c, pos, r);
            out->born_ms = l1_born(c, pos, r);
            out->user_flags = l1_get_u32(c, pos, r, L1_X_FLAGS, 0);
            memory = l1_memory_of(c, pos, r); /* perhaps torn: see the next check */
            err = l1_judge(c, pos, r, flags & L1_NOT_DUE);
            if (!locked && !l1_unchanged(p.primary, p.ver)) { continue; }
        }
        if (err == CELLAR_OK && out->value == NULL) { err = CELLAR_E_TYPE; } /* an object */
        if (err == CELLAR_OK) {
            const bool big = (r->w0 & L1_W0_BIG) != 0;
            pin = l1_pin_take(c, memory, false);
            if (pin == NULL) {
                err = CELLAR_E_LIMIT;
            } else if (locked && !big) {
                base_or_sc((_Atomic uint32_t *)(void *)l1_at(c, pos), L1_W0_PINNED);
            } else if (!locked &&
                       !l1_pin_hold(c, p.primary, p.ver, pos, big ? SIZE_MAX : (size_t)len)) {
                base_store_rel(pin, (uint64_t)0);
                continue;
            }
            if ((flags & L1_PEEK) == 0) { l1_freq_hit(p.at.b, p.at.i); }
        }
        if (locked) { l1_unlock(c, &h); }
        if (err != CELLAR_OK) {
            *out = (l1_pin_ref){ .slot = UINT32_MAX };
            return err;
        }
        out->value_len = (size_t)len;
        out->slot = (uint32_t)(pin - &c->pin[0].slot[0]);
        if ((flags & L1_PEEK) == 0 && (r->mask & L1_X_IDLE) != 0) { l1_idle_used(c, k); }
        return err;
    }
}

BASE_SIZE_END

CELLAR_PRIVATE bool l1_pin_left(l1 *c, const l1_left *what, uint32_t *slot_index)
{
    if (what->block == NULL) { return false; }
    /* The block goes to the retire list behind the hook. From there on the pin holds it. */
    const _Atomic uint64_t *pin = l1_pin_take(c, (uint64_t)(uintptr_t)what->block | L1_BIG_BIT,
                                              true);
    if (pin == NULL) { return false; }
    (void)base_add_rlx(&c->left_bytes, ((const l1_big *)what->block)->bytes);
    *slot_index = (uint32_t)(pin - &c->pin[0].slot[0]);
    return true;
}

CELLAR_PRIVATE void l1_unpin_slot(l1 *c, uint32_t slot_index)
{
    _Atomic uint64_t *slot = &c->pin[0].slot[0] + slot_index;
    BASE_ASSERT(base_load_rlx(slot) != 0); /* fails when a slot is unpinned twice */
    base_store_rel(slot, (uint64_t)0);
}
