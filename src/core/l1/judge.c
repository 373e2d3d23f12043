/* SPDX-License-Identifier: MIT
 *
 * judge: decide whether an entry is live: deadline, idle time, stale window, tags, kind.
 *
 * INVARIANTS Reads decide nothing else: a tick changes no result. An optimistic reader judges bytes
 *            that may be torn, and validates the version afterwards.
 * LOCKING    None of its own. hooks.tags_valid, tags_ended and writing do not block. */
#include "l1/record.h"

CELLAR_PRIVATE uint64_t l1_tags_load(const l1 *c, uint64_t pos, const l1_rec *r,
                                     uint64_t fps[L1_TAG_MAX])
{
    const unsigned char *tags = l1_at(c, pos) + r->tag_off;
    base_seq_load(fps, tags + 16, 8u * (size_t)r->tag_count);
    return base_seq_u64(tags + 8);
}

CELLAR_PRIVATE int l1_tags_judge(const l1 *c, uint64_t pos, const l1_rec *r)
{
    uint64_t fps[L1_TAG_MAX];
    if (BASE_LIKELY((r->mask & L1_X_TAGS) == 0) || c->hooks.tags_valid == NULL) { return 0; }
    const _Atomic uint64_t *const epoch = c->hooks.tag_epoch;
    if (epoch != NULL && base_seq_u64(l1_at(c, pos) + r->tag_off + 8) >= base_load_acq(epoch)) {
        return 0;
    }
    const uint64_t born = l1_tags_load(c, pos, r, fps);
    return c->hooks.tags_valid(c->hooks.ctx, born, fps, r->tag_count);
}

/* Return whether the refresh time of a value has come. */
static bool l1_is_due(const l1 *c, uint64_t pos, const l1_rec *r)
{
    return (l1_get_u32(c, pos, r, L1_X_KIND, 0) >> 8 & 255u) != 0 &&
           base_clock_reached(c->clock, (int64_t)l1_get_u64(c, pos, r, L1_X_ERR, 0));
}

/* Return what a reader may do with this record now. MISS: the reader treats the record as
 * absent. */
CELLAR_PRIVATE cellar_err l1_judge(l1 *c, uint64_t pos, const l1_rec *r, unsigned flags)
{
    int64_t keep;
    bool stale = false;
    if (r->due != 0 || (r->mask & (L1_X_IDLE | L1_X_STALE)) != 0) {
        int64_t at = l1_expires(c, pos, r, &keep);
        if (base_clock_reached(c->clock, at)) {
            if ((flags & L1_STALE_OK) == 0 || base_clock_reached(c->clock, keep)) {
                return CELLAR_MISS;
            }
            stale = true;
        }
    }
    const int verdict = l1_tags_judge(c, pos, r);
    if (verdict == 2 || (verdict == 1 && (flags & L1_STALE_OK) == 0)) { return CELLAR_MISS; }
    stale = stale || verdict == 1;
    const unsigned kind = l1_kind_of(c, pos, r);
    if (BASE_LIKELY(kind == L1_VALUE)) {
        if (BASE_UNLIKELY((flags & L1_NOT_DUE) != 0 && (r->mask & L1_X_KIND) != 0) &&
            l1_is_due(c, pos, r)) {
            return CELLAR_MISS;
        }
        return stale ? CELLAR_STALE : CELLAR_OK;
    }
    const bool unseen = kind == L1_ERROR && (flags & L1_SEE_ERRORS) == 0;
    return stale || unseen ? CELLAR_MISS : CELLAR_ABSENT;
}

CELLAR_PRIVATE bool l1_tags_first(const l1 *c, uint64_t pos, const l1_rec *r, int64_t end_ms)
{
    if (BASE_LIKELY((r->mask & L1_X_TAGS) == 0) || c->hooks.tags_ended == NULL) { return false; }
    uint64_t fps[L1_TAG_MAX];
    const uint64_t born = l1_tags_load(c, pos, r, fps);
    return c->hooks.tags_ended(c->hooks.ctx, born, fps, r->tag_count) < end_ms;
}

CELLAR_PRIVATE bool l1_is_ended(l1 *c, uint64_t pos, const l1_rec *r, l1_cause *cause)
{
    int64_t keep_until;
    const int64_t end = l1_expires(c, pos, r, &keep_until);
    if (base_clock_reached(c->clock, keep_until)) {
        *cause = l1_tags_first(c, pos, r, end) ? L1_LEFT_TAG : L1_LEFT_EXPIRED;
        return true;
    }
    *cause = L1_LEFT_TAG;
    return l1_tags_judge(c, pos, r) == 2;
}

/* Return whether the caller of a change still has to read this entry, to write it to disk. */
CELLAR_PRIVATE BASE_NOINLINE bool l1_is_written(const l1 *c, uint64_t pos, const l1_rec *r,
                                                uint64_t hash)
{
    return c->hooks.writing != NULL && l1_addr_is_later(l1_get_u64(c, pos, r, L1_X_L2, 0)) &&
           c->hooks.writing(c->hooks.ctx, hash, r->generation, l1_key_at(c, pos, r), r->klen);
}
