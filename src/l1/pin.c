/* SPDX-License-Identifier: MIT
 *
 * pin: hand out a pointer into the log that stays valid until unpin.
 *
 * LOCKING    None for the pinning thread.
 *            Recycling: pin_slots.c.
 *            In-place writers: the pinner sets PINNED (atomic or), then reads the version again.
 *            The writer locks (CAS seq_cst), then reads w0. README.md has the proof.
 * SEE ALSO   README.md: proof of the pin protocol, measurements. Michael 2004, hazard pointers. */
#include <string.h>

#include "l1/index.h"
#include "l1/pin_slots.h"
#include "l1/read.h"
#include "l1/record.h"

/* Renew the idle time of the pinned record: a pin is a use. */
static void l1_pin_renew(l1 *c, const l1_key *k, uint64_t pos)
{
    l1_hold h;
    l1_slot slot;
    const uint64_t now = (uint64_t)base_now_ms(c->clock);
    l1_lock_key(c, k->hash, &h, false);
    if (l1_find(c, &h, k, &slot) && slot.pos == pos) {
        unsigned char *f = l1_at(c, pos) + l1_field(&slot.rec, L1_X_IDLE) + 4;
        base_seq_store_u64(f, BASE_MAX(now, base_seq_u64(f)));
    }
    l1_unlock(c, &h);
}

static void l1_pin_fill(l1 *c, _Atomic uint64_t *slot, const l1_slot *at, l1_big *block,
                        const l1_info *info, l1_pin_ref *out)
{
    out->value = block != NULL ? l1_big_bytes(block) : l1_at(c, at->pos) + at->rec.value_off;
    out->value_len = info->value_len;
    out->deadline_ms = info->deadline_ms;
    out->user_flags = info->user_flags;
    out->slot = (uint32_t)(slot - &c->pin[0].slot[0]);
}

/* Pin under the bucket lock, in one window: no thread can move the record. Set PINNED in the
 * window, so that the next writer appends. */
static cellar_err l1_pin_locked(l1 *c, const l1_key *k, l1_pin_ref *out, unsigned flags,
                                l1_slot *at)
{
    l1_hold h;
    l1_slot slot;
    l1_info info;
    l1_lock_key(c, k->hash, &h, false);
    cellar_err err = CELLAR_MISS;
    _Atomic uint64_t *pin = NULL;
    l1_big *block = NULL;
    if (l1_find(c, &h, k, &slot)) {
        l1_info_of(c, slot.pos, &slot.rec, &info);
        err = l1_judge(c, slot.pos, &slot.rec, 0);
    }
    if (err == CELLAR_OK) {
        uint32_t len;
        if ((slot.rec.w0 & L1_W0_BIG) != 0) { l1_descriptor(c, slot.pos, &slot.rec, &block, &len); }
        pin = l1_pin_take(c, block != NULL ? (uint64_t)(uintptr_t)block | L1_BIG_BIT
                                           : (uint64_t)l1_seg_of(c, slot.pos) + 1, false);
        if (pin == NULL) {
            err = CELLAR_E_LIMIT;
        } else if (block == NULL) {
            base_or_sc((_Atomic uint32_t *)(void *)l1_at(c, slot.pos), L1_W0_PINNED);
        }
        if ((flags & L1_PEEK) == 0) { l1_freq_hit(slot.b, slot.i); }
    }
    l1_unlock(c, &h);
    if (err == CELLAR_OK) {
        l1_pin_fill(c, pin, &slot, block, &info, out);
        *at = slot;
    }
    return err;
}

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
        const bool late = BASE_MUTANT("l1.pin_late_look");
        if (late) { same = base_load_sc(&b->ver) == ver; }
        BASE_POINT("l1.pin.looked");
        const bool set = (base_load_acq(w0) & L1_W0_PINNED) != 0;
        if (!set) { (void)base_or_sc(w0, L1_W0_PINNED); }
        BASE_POINT("l1.pin.ored");
        if ((!late || !set) && !BASE_MUTANT("l1.pin_no_second_recheck")) {
            same = base_load_sc(&b->ver) == ver;
        }
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
    if (BASE_UNLIKELY(!l1_spot(c, hash, &a) || c->forked)) { return false; }
    const unsigned char *const p = l1_at(c, a.pos);
    const uint64_t head = base_seq_u64(p);
    const uint32_t w0 = (uint32_t)head, due = (uint32_t)(head >> 32), vlen = L1_W0_VLEN(w0);
    const uint32_t own = generation != 0, key_at = 8u + 4u * own;
    if (BASE_UNLIKELY(!l1_head_is(w0, klen, own))) { return false; }
    const uint32_t value_at = key_at + klen, seg_mask = c->seg_bytes - 1;
    if (BASE_UNLIKELY(((uint32_t)a.pos & seg_mask) + value_at + vlen - 1 > seg_mask)) {
        return false;
    }
    if (BASE_UNLIKELY(!base_seq_equal(p + key_at, key, klen))) { return false; }
    if (own != 0 && BASE_UNLIKELY(base_seq_u32(p + 8) != generation)) { return false; }
    out->deadline_ms = BASE_NEVER_MS;
    const uint32_t seg = l1_seg_of(c, a.pos);
    if (due != 0) {
        out->deadline_ms = (int64_t)(base_load_rlx(&c->seg_base_ms[seg]) + due - 1);
        if (BASE_UNLIKELY(!base_clock_far(c->clock, self, out->deadline_ms)) &&
            base_clock_look(c->clock, out->deadline_ms)) {
            return false;
        }
    }
    base_fence_acq();
    if (BASE_UNLIKELY(base_load_rlx(&a.primary->ver) != a.ver)) { return false; }
    _Atomic uint64_t *slot = &l1_pin_home(c, self)->slot[0];
    const uint64_t what = ((uint64_t)seg + 1) | l1_pin_own(self);
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

typedef enum l1_pin_try { L1_PIN_DONE, L1_PIN_AGAIN } l1_pin_try;

/* Run one optimistic round. The head essay gives the order of steps. */
static l1_pin_try l1_pin_once(l1 *c, const l1_key *k, l1_pin_ref *out, unsigned flags, l1_slot *at,
                              cellar_err *err)
{
    l1_probe p;
    const l1_look look = l1_look_up(c, k, &p);
    *err = CELLAR_MISS;
    if (look != L1_LOOK_FOUND) { return look == L1_LOOK_NONE ? L1_PIN_DONE : L1_PIN_AGAIN; }
    l1_info info;
    l1_big *block = NULL;
    uint32_t len;
    *at = p.at;
    l1_info_of(c, at->pos, &at->rec, &info);
    *err = l1_judge(c, at->pos, &at->rec, 0);
    if ((at->rec.w0 & L1_W0_BIG) != 0) { l1_descriptor(c, at->pos, &at->rec, &block, &len); }
    base_fence_acq();
    if (base_load_rlx(&p.primary->ver) != p.ver) { return L1_PIN_AGAIN; }
    if (*err != CELLAR_OK) { return L1_PIN_DONE; }

    _Atomic uint64_t *pin = l1_pin_take(c,
                                        block != NULL ? (uint64_t)(uintptr_t)block | L1_BIG_BIT
                                                      : (uint64_t)l1_seg_of(c, at->pos) + 1,
                                        false);
    if (pin == NULL) {
        *err = CELLAR_E_LIMIT;
        return L1_PIN_DONE;
    }
    if (!l1_pin_hold(c, p.primary, p.ver, at->pos, block == NULL ? info.value_len : SIZE_MAX)) {
        base_store_rel(pin, (uint64_t)0);
        return L1_PIN_AGAIN;
    }
    if ((flags & L1_PEEK) == 0) { l1_freq_hit(at->b, at->i); }
    l1_pin_fill(c, pin, at, block, &info, out);
    return L1_PIN_DONE;
}

CELLAR_PRIVATE cellar_err l1_pin(l1 *c, const l1_key *k, l1_pin_ref *out, unsigned flags)
{
    cellar_err err;
    l1_slot slot = {.b = NULL};
    bool done = false;
    if ((flags & L1_PEEK) == 0 && BASE_LIKELY(l1_pin_plain(c, base_thread_self(), k->bytes, k->len,
                                                           k->generation, k->hash, out))) {
        return CELLAR_OK;
    }
    memset(out, 0, sizeof *out);
    out->slot = UINT32_MAX;
    for (unsigned round = 0; round < L1_RETRIES && !done && !c->forked; round++) {
        done = l1_pin_once(c, k, out, flags, &slot, &err) == L1_PIN_DONE;
        if (!done) { base_pause(); }
    }
    if (!done) { err = l1_pin_locked(c, k, out, flags, &slot); }
    if (err == CELLAR_OK && (flags & L1_PEEK) == 0 && (slot.rec.mask & L1_X_IDLE) != 0) {
        l1_pin_renew(c, k, slot.pos);
    }
    return err;
}

CELLAR_PRIVATE void l1_unpin_slot(l1 *c, uint32_t slot_index)
{
    _Atomic uint64_t *slot = &c->pin[0].slot[0] + slot_index;
    BASE_ASSERT(base_load_rlx(slot) != 0); /* fails when a slot is unpinned twice */
    base_store_rel(slot, (uint64_t)0);
}

CELLAR_PRIVATE void l1_unpin(l1 *c, l1_pin_ref *ref)
{
    BASE_ASSERT(ref->slot != UINT32_MAX);
    if (ref->slot == UINT32_MAX) { return; }
    l1_unpin_slot(c, ref->slot);
    ref->slot = UINT32_MAX;
    ref->value = NULL;
}
