/* SPDX-License-Identifier: MIT
 *
 * pin: hand out a pointer into the log that stays good until unpin.
 *
 * PICTURE    lines of 16 slots; slot = segment + 1, or block | bit 63 for an oversized value. A
 *            thread starts at the line its number names; one line in four is kept for internal
 *            copies, so that users' pins cannot starve a get.
 * INVARIANTS a segment named by a slot is not reused and not given back; a block named by a slot is
 *            not freed. Entries of a pinned segment are evicted all the same: only memory is kept.
 * LOCKING    none for the pinner. Proof sketch: the slot is published (CAS seq_cst), then the
 *            version is read again; the recycler unlinked every record first (each changes a
 *            version), then scans the slots. One of the two sees the other. In-place writers: the
 *            pinner sets PINNED by an atomic or and reads the version again; the writer locks (CAS
 *            seq_cst), then reads w0: one of the two sees the other, the writer appends instead.
 * FORK       the threads that would give other slots back are not in the child: it frees all but
 *            those of the thread that forked, which cannot have been inside a copy.
 * LIMITS     slots = 16 x lines; none free: CELLAR_E_LIMIT.
 * SOURCE     Michael 2004, hazard pointers. */
#include <string.h>

#include "l1/l1_int.h"

CELLAR_PRIVATE bool l1_pins_open(l1 *c)
{
    c->pin_lines = (uint32_t)base_clamp(base_pow2_ceil(4u * (uint64_t)base_cpu_count()), 16, 256);
    c->pin_bytes = (size_t)c->pin_lines * sizeof(l1_pin_line);
    c->pin = base_alloc(c->account, BASE_MOD_PIN, c->pin_bytes, NULL);
    return c->pin != NULL;
}

CELLAR_PRIVATE _Atomic uint64_t *l1_pin_take(l1 *c, uint64_t what, bool internal)
{
    const uint32_t self = base_self()->index, start = self & (c->pin_lines - 1);
    BASE_ASSERT((what & L1_PIN_OWNER) == 0);
    what |= internal ? L1_PIN_INTERNAL : (uint64_t)(self % 0x7ffe + 1) << L1_PIN_SHIFT;
    for (uint32_t i = 0; i < c->pin_lines; i++) {
        uint32_t at = (start + i) & (c->pin_lines - 1);
        if (!internal && at % 4 == 3) { continue; }
        for (unsigned j = 0; j < L1_PIN_SLOTS; j++) {
            _Atomic uint64_t *slot = &c->pin[at].slot[j];
            if (base_load_rlx(slot) != 0) { continue; }
            if (BASE_MUTANT("l1.pin_plain_store")) {
                base_store_rlx(slot, what);
                return slot;
            }
            if (base_cas_sc(slot, (uint64_t)0, what)) { return slot; }
        }
    }
    base_add_rlx(&c->pin_limit, (uint64_t)1);
    return NULL;
}

CELLAR_PRIVATE bool l1_pinned(const l1 *c, uint64_t what)
{
    for (uint32_t i = 0; i < c->pin_lines; i++) {
        for (unsigned j = 0; j < L1_PIN_SLOTS; j++) {
            if ((base_load_sc(&c->pin[i].slot[j]) & ~L1_PIN_OWNER) == what) { return true; }
        }
    }
    return false;
}

CELLAR_PRIVATE void l1_pins_child(l1 *c)
{
    const uint64_t own = (uint64_t)(base_self()->index % 0x7ffe + 1) << L1_PIN_SHIFT;
    for (uint32_t i = 0; i < c->pin_lines; i++) {
        for (unsigned j = 0; j < L1_PIN_SLOTS; j++) {
            _Atomic uint64_t *slot = &c->pin[i].slot[j];
            const uint64_t what = base_load_rlx(slot);
            if (what != 0 && (what & L1_PIN_OWNER) != own) { base_store_rlx(slot, (uint64_t)0); }
        }
    }
}

/* A pin is a use: the idle time begins anew. Only for the record that was pinned. */
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

/* Everything under the bucket's lock, in one window: nobody can move anything. The PINNED bit is
 * set first, so that the writer after us appends. */
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

typedef enum l1_pin_try { L1_PIN_DONE, L1_PIN_AGAIN } l1_pin_try;

/* One optimistic round; see the head for the order. */
static l1_pin_try l1_pin_once(l1 *c, const l1_key *k, l1_pin_ref *out, unsigned flags, l1_slot *at,
                              cellar_err *err)
{
    l1_stripe *s = l1_stripe_of(c, k->hash);
    const uint64_t ls = base_load_acq(&s->ls), number = l1_number(ls, k->hash);
    l1_hold h = {.s = s, .b = &s->bucket[number], .number = number};
    l1_slot slot = {.b = NULL};
    const uint32_t ver = base_load_acq(&h.b->ver);
    if ((ver & 1u) != 0 || ver == 0) { return L1_PIN_AGAIN; }

    l1_bucket *b = h.b;
    const uint16_t tag = l1_tag_of(k->hash);
    for (unsigned hop = 0; slot.b == NULL; hop++) {
        for (uint32_t m = l1_match(b, tag); m != 0; m &= m - 1) {
            slot.i = (unsigned)__builtin_ctz(m);
            slot.pos = l1_pos(c, base_load_rlx(&b->off[slot.i]));
            if (!l1_decode(c, slot.pos, &slot.rec)) { continue; }
            const l1_look look = l1_rec_look(c, h.b, ver, slot.pos, &slot.rec, k);
            if (look == L1_LOOK_AGAIN) { return L1_PIN_AGAIN; }
            if (look == L1_LOOK_FOUND) {
                slot.b = b;
                break;
            }
        }
        uint16_t n = base_load_rlx(&b->ovf);
        if (slot.b != NULL || n == 0 || hop == L1_CHAIN_MAX) { break; }
        b = l1_next(s, number, n);
    }
    l1_info info;
    l1_big *block = NULL;
    uint32_t len;
    *err = CELLAR_MISS;
    if (slot.b != NULL) {
        l1_info_of(c, slot.pos, &slot.rec, &info);
        *err = l1_judge(c, slot.pos, &slot.rec, 0);
        if ((slot.rec.w0 & L1_W0_BIG) != 0) { l1_descriptor(c, slot.pos, &slot.rec, &block, &len); }
    }
    base_fence_acq();
    if (base_load_rlx(&h.b->ver) != ver) { return L1_PIN_AGAIN; }
    if (slot.b == NULL && base_load_acq(&s->ls) != ls) { return L1_PIN_AGAIN; }
    if (*err != CELLAR_OK) { return L1_PIN_DONE; }

    _Atomic uint64_t *pin = l1_pin_take(c,
                                        block != NULL ? (uint64_t)(uintptr_t)block | L1_BIG_BIT
                                                      : (uint64_t)l1_seg_of(c, slot.pos) + 1,
                                        false);
    if (pin == NULL) {
        *err = CELLAR_E_LIMIT;
        return L1_PIN_DONE;
    }
    BASE_POINT("l1.pin.published");
    bool same = base_load_sc(&h.b->ver) == ver; /* from here on the segment cannot be reused */
    if (same && block == NULL && info.value_len <= L1_SMALL_COPY) {
        /* In-place writers must append from now on. Values above 1 KiB never change in place. */
        _Atomic uint32_t *w0 = (_Atomic uint32_t *)(void *)l1_at(c, slot.pos);
        /* The acquire: who finds the bit set stores nothing, and a look done after the last recheck
         * may have met another pinner's bit inside a writer's window. */
        const bool late = BASE_MUTANT("l1.pin_late_look");
        if (late) { same = base_load_sc(&h.b->ver) == ver; }
        BASE_POINT("l1.pin.looked");
        const bool set = (base_load_acq(w0) & L1_W0_PINNED) != 0;
        if (!set) { (void)base_or_sc(w0, L1_W0_PINNED); }
        BASE_POINT("l1.pin.ored");
        if ((!late || !set) && !BASE_MUTANT("l1.pin_no_second_recheck")) {
            same = base_load_sc(&h.b->ver) == ver;
        }
    }
    if (!same) {
        base_store_rel(pin, (uint64_t)0);
        return L1_PIN_AGAIN;
    }
    if ((flags & L1_PEEK) == 0) { l1_freq_hit(slot.b, slot.i); }
    l1_pin_fill(c, pin, &slot, block, &info, out);
    *at = slot;
    return L1_PIN_DONE;
}

CELLAR_PRIVATE cellar_err l1_pin(l1 *c, const l1_key *k, l1_pin_ref *out, unsigned flags)
{
    cellar_err err;
    l1_slot slot = {.b = NULL};
    bool done = false;
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

CELLAR_PRIVATE void l1_unpin(l1 *c, l1_pin_ref *ref)
{
    BASE_ASSERT(ref->slot != UINT32_MAX);
    if (ref->slot == UINT32_MAX) { return; }
    _Atomic uint64_t *slot = &c->pin[0].slot[0] + ref->slot;
    BASE_ASSERT(base_load_rlx(slot) != 0); /* unpinned twice */
    base_store_rel(slot, (uint64_t)0);
    ref->slot = UINT32_MAX;
    ref->value = NULL;
}
