/* SPDX-License-Identifier: MIT
 *
 * judge: decide whether an entry is live: deadline, idle time, stale window, tags, kind.
 *
 * INVARIANTS Reads decide nothing else: a tick changes no result. An optimistic reader judges bytes
 *            that may be torn, and validates the version afterwards.
 * LOCKING    None of its own. hooks.tags_valid, tags_ended and writing do not block. */
#include "l1/record.h"

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
    if ((r->mask & L1_X_TAGS) != 0 && c->hooks.tags_valid != NULL) {
        const unsigned char *tags = l1_at(c, pos) + r->tag_off;
        uint64_t fps[L1_TAG_MAX];
        base_seq_load(fps, tags + 16, 8u * (size_t)r->tag_count);
        int verdict = c->hooks.tags_valid(c->hooks.ctx, base_seq_u64(tags + 8), fps, r->tag_count);
        if (verdict >= 2 || (verdict == 1 && (flags & L1_STALE_OK) == 0)) { return CELLAR_MISS; }
        stale = stale || verdict == 1;
    }
    if ((r->mask & L1_X_KIND) != 0) {
        uint32_t kind = base_seq_u32(l1_at(c, pos) + l1_field(r, L1_X_KIND)) & 255u;
        const bool unseen = kind == L1_ERROR && (flags & L1_SEE_ERRORS) == 0;
        if (kind != L1_VALUE) { return stale || unseen ? CELLAR_MISS : CELLAR_ABSENT; }
    }
    return stale ? CELLAR_STALE : CELLAR_OK;
}

/* Return whether an invalidation made one of the tags dead. */
CELLAR_PRIVATE bool l1_tags_dead(l1 *c, uint64_t pos, const l1_rec *r)
{
    if ((r->mask & L1_X_TAGS) == 0 || c->hooks.tags_valid == NULL) { return false; }
    const unsigned char *tags = l1_at(c, pos) + r->tag_off;
    uint64_t fps[L1_TAG_MAX];
    base_seq_load(fps, tags + 16, 8u * (size_t)r->tag_count);
    return c->hooks.tags_valid(c->hooks.ctx, base_seq_u64(tags + 8), fps, r->tag_count) >= 2;
}

CELLAR_PRIVATE bool l1_tags_first(const l1 *c, uint64_t pos, const l1_rec *r, int64_t end_ms)
{
    if ((r->mask & L1_X_TAGS) == 0 || c->hooks.tags_ended == NULL) { return false; }
    const unsigned char *tags = l1_at(c, pos) + r->tag_off;
    uint64_t fps[L1_TAG_MAX];
    base_seq_load(fps, tags + 16, 8u * (size_t)r->tag_count);
    return c->hooks.tags_ended(c->hooks.ctx, base_seq_u64(tags + 8), fps, r->tag_count) < end_ms;
}

CELLAR_PRIVATE l1_cause l1_over(const l1 *c, uint64_t pos, const l1_rec *r)
{
    if (BASE_LIKELY((r->mask & L1_X_TAGS) == 0)) { return L1_LEFT_EXPIRED; }
    return l1_tags_first(c, pos, r, l1_expires(c, pos, r, NULL)) ? L1_LEFT_TAG : L1_LEFT_EXPIRED;
}

/* Return whether the caller of a change still has to read this entry, to write it to disk. */
CELLAR_PRIVATE BASE_NOINLINE bool l1_is_written(const l1 *c, uint64_t pos, const l1_rec *r,
                                                uint64_t hash)
{
    return c->hooks.writing != NULL &&
           base_seq_u64(l1_at(c, pos) + l1_field(r, L1_X_L2)) == L1_ADDR_LATER &&
           c->hooks.writing(c->hooks.ctx, hash, r->generation, l1_key_at(c, pos, r), r->klen);
}
