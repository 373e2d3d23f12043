/* SPDX-License-Identifier: MIT
 *
 * plan: what a put stores, and whether it is worth a write.
 *
 * LOCKING    None.
 * LIMITS     A record above `room_max` is refused.
 * SEE ALSO   admission.c: which entries are worth a write. */
#include "l2/plan.h"

#include "l2/admission.h"
#include "l2/index.h"
#include "l2/live.h"
#include "l2/progress.h"
#include "l2/record.h"

CELLAR_PRIVATE cellar_err l2_put_refused(const l2_meta *m, l2_why why)
{
    if (m->why != NULL) { *m->why = why; }
    return L2_REFUSED;
}

/* Return the wall time of the deadline of an entry with an idle time; 0: no idle time. */
static int64_t l2_end_wall(const l2 *d, const l2_meta *m)
{
    if (!l2_is_idle(m)) { return 0; }
    const int64_t end = base_add_sat(m->deadline_ms, d->wall_offset_ms);
    return end < L2_WALL_END_MS ? end : BASE_NEVER_MS;
}

CELLAR_PRIVATE bool l2_has_it(l2 *d, uint64_t hash, const l2_meta *m)
{
    return !l2_is_idle(m) && l2_is_there(d, hash, m->addr);
}

CELLAR_PRIVATE bool l2_record_fits(const l2 *d, size_t ext_klen, size_t vlen)
{
    const size_t beside = L2_RECORD_HEAD + d->seal_bytes + d->form.granule;
    return ext_klen + beside <= d->room_max && vlen <= d->room_max - ext_klen - beside;
}

CELLAR_PRIVATE bool l2_put_plan(l2 *d, const l2_key *k, size_t value_len, const l2_meta *m,
                                unsigned char ext[L2_EXT_MAX], l2_rec *r)
{
    const size_t ext_bytes = l2_ext_write(ext, m, l2_end_wall(d, m), 0);
    if (!l2_record_fits(d, ext_bytes + k->len, value_len)) {
        L2_COUNT(d, refused_size);
        (void)l2_put_refused(m, L2_WHY_SIZE);
        return false;
    }
    memset(r, 0, sizeof *r);
    r->klen = (uint16_t)k->len; /* at most CELLAR_KEY_MAX */
    r->vlen = (uint32_t)value_len;
    r->ext = (uint8_t)(ext_bytes / 8);
    r->kind = L2_KIND_PUT;
    r->flags = m->durable || (m->addr & L2_ADDR_DURABLE) != 0 ? L2_FLAG_DURABLE : 0;
    r->generation = k->generation;
    r->bytes = (uint32_t)(L2_RECORD_HEAD + ext_bytes + k->len + value_len);
    const int64_t until = l2_is_idle(m) ? BASE_MIN(m->until_ms, m->deadline_ms) : m->deadline_ms;
    if (until == BASE_NEVER_MS) { return true; }
    const int64_t now = base_now_ms(d->cfg.clock);
    const int64_t expiry = base_add_sat(until, d->wall_offset_ms);
    if (until - now < d->cfg.min_ttl_ms || until <= now || expiry <= 0) {
        L2_COUNT(d, refused_ttl);
        (void)l2_put_refused(m, L2_WHY_TTL);
        return false;
    }
    r->expiry_wall_ms = expiry < L2_WALL_END_MS ? expiry : 0;
    return true;
}

CELLAR_PRIVATE bool l2_put_boxed(l2 *d, const l2_key *k, const l2_meta *m,
                                 unsigned char ext[L2_EXT_MAX], l2_rec *r, l2_box *box)
{
    const uint32_t raw = r->vlen;
    if (m->pack && l2_box_pack(d, box->bytes, r, box)) {
        const uint32_t ext_was = r->ext * 8u;
        const size_t ext_bytes = l2_ext_write(ext, m, l2_end_wall(d, m), raw);
        r->ext = (uint8_t)(ext_bytes / 8);
        r->bytes += (uint32_t)ext_bytes - ext_was;
        L2_COUNT(d, packed);
        L2_COUNT_BY(d, packed_saved, raw - r->vlen);
    }
    if (d->crypt.seal == NULL || l2_box_seal(d, k, ext, r, box)) { return true; }
    L2_COUNT(d, refused_seal);
    (void)l2_put_refused(m, L2_WHY_SEAL);
    return false;
}

CELLAR_PRIVATE bool l2_put_used(l2 *d, uint64_t hash, const l2_meta *m)
{
    if (!m->unused || l2_has_it(d, hash, m) || l2_seen_again(d, l2_h48(hash))) { return true; }
    const uint64_t bytes = (uint64_t)base_load_rlx(&d->places_seen) * d->form.seg_bytes;
    if (m->kind == 0 && l2_live(d) <= bytes / 100 * L2_UNUSED_PCT) {
        return true;
    }
    /* The first value refused since a look wakes the thread: much of the sum may be dead. */
    if (base_add_rlx(&d->n.refused_unused, (uint64_t)1) == base_load_rlx(&d->refused)) {
        l2_worker_wake(d);
    }
    return false;
}

CELLAR_PRIVATE bool l2_put_wanted(l2 *d, const l2_key *k, const l2_meta *m)
{
    unsigned char ext[L2_EXT_MAX];
    l2_rec r;
    if (!l2_put_plan(d, k, 0, m, ext, &r)) { return false; }
    return l2_put_used(d, k->hash, m);
}
