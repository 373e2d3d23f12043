/* SPDX-License-Identifier: MIT
 *
 * acquire: hold the object of a key.
 *
 * WALK       look as a get does -> cell of the record -> publish the hold, or count -> the version
 *            of the bucket again: unchanged, or start over
 * INVARIANTS An equal version after the hold is visible proves that the entry had not ended: its
 *            end changes the version before it looks for holds.
 * LOCKING    None; after 8 failed rounds the bucket lock: nothing ends the entry meanwhile.
 * SEE ALSO   object.c; README.md, Objects. */
#include <string.h>

#include "l1/index.h"
#include "l1/policy.h"
#include "l1/read.h"
#include "l1/record.h"

CELLAR_PRIVATE bool l1_acquire_hit(l1 *c, const l1_key *k, cellar_held *out)
{
    const base_thread_record *const self = base_thread_self();
    l1_aim a;
    l1_aim_at(c, k->hash, &a);
    if (BASE_UNLIKELY(!l1_spot(c, k->hash, &a))) { return false; }
    const unsigned char *const p = l1_at(c, a.pos);
    BASE_PREFETCH(p + 40); /* the pointer may lie in the next line */
    const uint64_t head = base_seq_u64(p);
    const uint32_t due = (uint32_t)(head >> 32), own = k->generation != 0;
    const uint32_t key_at = 8u + 4u * own, value_at = key_at + k->len;
    const uint32_t word = k->len | L1_DESCRIPTOR << 8 | L1_W0_ALWAYS | L1_W0_BIG |
                          own * L1_W0_GENERATION;
    const uint32_t room = c->seg_bytes - ((uint32_t)a.pos & (c->seg_bytes - 1));
    if (BASE_UNLIKELY(k->len >= L1_KLEN_LONG || (uint32_t)head != word ||
                      value_at + L1_DESCRIPTOR > room) ||
        (own != 0 && base_seq_u32(p + 8) != k->generation) ||
        BASE_UNLIKELY(!base_seq_equal(p + key_at, k->bytes, k->len))) {
        return false;
    }
    const uint64_t name = base_seq_u64(p + value_at), object = base_seq_u64(p + value_at + 8);
    BASE_PREFETCH((const void *)(uintptr_t)object); /* the caller reads it next */
    if (due != 0) {
        const int64_t at =
            (int64_t)(base_load_rlx(&c->seg_base_ms[l1_seg_of(c, a.pos)]) + due - 1);
        if (BASE_UNLIKELY(!base_clock_far(c->clock, self, at)) && base_clock_look(c->clock, at)) {
            return false;
        }
    }
    cellar_err err;
    if (BASE_UNLIKELY(!l1_unchanged(a.primary, a.ver) || (name & 1u) == 0) ||
        BASE_UNLIKELY(!l1_hold_take(base_load_acq(&c->cells), name, object, &a.primary->ver, a.ver,
                                    out, &err))) {
        return false;
    }
    l1_freq_hit(a.b, a.i);
    if (BASE_UNLIKELY(k->hash < base_load_rlx(&c->sample_limit))) {
        l1_sampled(c, k->hash, k->generation);
    }
    return true;
}

BASE_SIZE_BEGIN

/* Look once. info NULL: hold the object; else describe the entry and count it. AGAIN: start
 * over. */
static SYNC_UNCHECKED l1_look l1_acquire_round(l1 *c, const l1_key *k, bool locked, unsigned flags,
                                               cellar_held *out, l1_info *info, l1_cell **cell,
                                               cellar_err *err)
{
    l1_hold h;
    l1_probe p;
    l1_look look = l1_look_round(c, k, locked, &h, &p);
    if (look == L1_LOOK_AGAIN) { return look; }
    *err = CELLAR_MISS;
    l1_cell *b = NULL;
    uint64_t name = 0, object = 0;
    if (look == L1_LOOK_FOUND) {
        b = l1_cell_of(c, p.at.pos, &p.at.rec); /* perhaps torn: see the next check */
        const unsigned char *const at = l1_at(c, p.at.pos) + p.at.rec.value_off;
        if (b != NULL) { name = base_seq_u64(at), object = base_seq_u64(at + 8); }
        *err = l1_judge(c, p.at.pos, &p.at.rec, flags);
        if (info != NULL) {
            l1_info_of(c, p.at.pos, &p.at.rec, info);
            info->uses = (uint8_t)l1_freq(p.at.b, p.at.i);
            info->stale = *err == CELLAR_STALE;
        }
        if (!locked && !l1_unchanged(p.primary, p.ver)) { return L1_LOOK_AGAIN; }
    }
    const bool hit = *err == CELLAR_OK || *err == CELLAR_STALE;
    if (hit && b == NULL) { *err = CELLAR_E_TYPE; } /* bytes: none are stored beside objects */
    if (hit && b != NULL) {
        bool held;
        if (info == NULL) {
            held = l1_hold_take(base_load_acq(&c->cells), name, object, &p.primary->ver, p.ver, out,
                                err);
        } else {
            held = l1_cell_count(b);
            *cell = b;
            if (held && !locked && base_load_sc(&p.primary->ver) != p.ver) {
                l1_cell_drop(base_load_acq(&c->cells), b);
                held = false;
            }
            if (!held && locked) { *err = CELLAR_E_LIMIT; }
        }
        if (!held && *err != CELLAR_E_LIMIT) { look = L1_LOOK_AGAIN; }
        if (held) { l1_freq_hit(p.at.b, p.at.i); }
    }
    const bool idle = look == L1_LOOK_FOUND && *err == CELLAR_OK &&
                      (p.at.rec.mask & L1_X_IDLE) != 0;
    if (locked) { l1_unlock(c, &h); }
    if (idle) { l1_idle_used(c, k); }
    return look;
}

CELLAR_PRIVATE cellar_err l1_acquire(l1 *c, const l1_key *k, cellar_held *out)
{
    cellar_err err;
    for (unsigned round = 0;; round++) {
        const bool locked = round >= L1_RETRIES;
        if (l1_acquire_round(c, k, locked, 0, out, NULL, NULL, &err) != L1_LOOK_AGAIN) {
            return err;
        }
    }
}

CELLAR_PRIVATE cellar_err l1_acquire_info(l1 *c, const l1_key *k, l1_info *info, l1_cell **cell,
                                          unsigned flags)
{
    cellar_err err;
    for (unsigned round = 0;; round++) {
        *cell = NULL;
        memset(info, 0, sizeof *info);
        const bool locked = round >= L1_RETRIES;
        if (l1_acquire_round(c, k, locked, flags, NULL, info, cell, &err) != L1_LOOK_AGAIN) {
            return err;
        }
    }
}

BASE_SIZE_END
