/* SPDX-License-Identifier: MIT
 *
 * explain_record: how entries ended, in a small bounded record.
 *
 * PICTURE    hash (of key and generation) -> one place of 16 bytes, two words: {u32 when, u32
 *            fingerprint}, {u32 age, u16 by, u8 cause, u8 hits}
 *            ring of ended generations {namespace, old generation, when, cause}: for keys that were
 *            cleared
 *            ring of deleted tags and patterns {number, fingerprint, epoch, first 48 bytes}: names
 *            the `by` of a record or a dead entry
 * INVARIANTS A record is written when an entry leaves or is refused, never on a hit. It replaces
 *            the record in its place. It is a hint: another key's record is believed with
 *            probability 2^-31, and two concurrent writers of one place may mix their causes. The
 *            fingerprint word is written last, and read before and after.
 * TIME       when and age in units of 64 ms; `when` counts from the open of the store: 8 years.
 * LOCKING    Records are relaxed words: notes are taken in windows of L1. NAMESPACE for the rings.
 * LIMITS     min(1 MiB, budget / 256) as a power of two; at most 256 generations.
 *            tuning.no_explain: nothing. No name of a hidden namespace is kept. `by` is 16 bits of
 *            a number: an overwritten number names nothing.
 * SEE ALSO   explain.c: the reader. README.md, "Explaining a miss": rejected designs. */
#include "cache/explain_record.h"

#include "cache/error.h"

#define CACHE_WHY_MOST ((uint64_t)1 << 20)
#define CACHE_WHY_RING 256u

BASE_SIZE_BEGIN

CELLAR_PRIVATE cellar_err cache_why_open(cache_store *s, const cache_settings *cfg)
{
    if (cfg->tuning.no_explain != 0) { return CELLAR_OK; }
    const uint64_t table = base_clamp(base_pow2_floor(cfg->config.memory_bytes / 256),
                                      BASE_LINE, CACHE_WHY_MOST);
    const uint32_t ends = (uint32_t)base_clamp(base_pow2_floor(cfg->config.memory_bytes / 65536),
                                               16,
                                               CACHE_WHY_RING);
    const size_t head = sizeof(cache_why) + ends * (sizeof(cache_why_act_at) +
                                                    sizeof(cache_why_end));
    const size_t bytes = head + (size_t)table + BASE_LINE;
    cache_why *w = base_alloc(&s->account, BASE_MOD_WHY, bytes, NULL);
    if (w == NULL) {
        return cache_open_refuse(CELLAR_E_NOMEM,
                                 "no memory to explain misses: set tuning.no_explain");
    }
    w->bytes = bytes;
    w->act = (cache_why_act_at *)(w + 1);
    w->ring = (cache_why_end *)(w->act + ends);
    w->ring_count = ends;
    const uintptr_t lines = ((uintptr_t)w + head + BASE_LINE - 1) & ~(uintptr_t)(BASE_LINE - 1);
    w->place = (cache_why_place *)lines;
    w->shift = 64 - base_log2_floor(table / sizeof(cache_why_place));
    w->born_ms = base_now_ms(&s->clock);
    s->why = w;
    return CELLAR_OK;
}

CELLAR_PRIVATE void cache_why_close(cache_store *s)
{
    if (s->why == NULL) { return; }
    base_free(&s->account, BASE_MOD_WHY, s->why, s->why->bytes);
    s->why = NULL;
}

BASE_SIZE_END

static uint32_t cache_why_units(int64_t ms)
{
    if (ms <= 0) { return 0; }
    const uint64_t units = (uint64_t)ms >> CACHE_WHY_UNIT;
    return BASE_UNLIKELY(units > UINT32_MAX) ? UINT32_MAX : (uint32_t)units;
}

/* Write a record. cause_by: cause in 8 bits, above it the number of tag or pattern. */
BASE_INLINE void cache_why_write(cache_why *w, uint64_t hash, uint32_t cause_by, int64_t now_ms,
                                 int64_t age_ms, unsigned hits)
{
    uint32_t print;
    cache_why_place *p = cache_why_at(w, hash, &print);
    const uint64_t b = (uint64_t)cache_why_units(age_ms) << 32 | (uint64_t)cause_by << 8 | hits;
    const uint64_t a = (uint64_t)cache_why_units(now_ms - w->born_ms) << 32 | print;
    base_store_rlx(&p->a, (uint64_t)0);
    base_store_rel(&p->b, b);
    base_store_rel(&p->a, a); /* acquire in cache_why_read */
}

CELLAR_PRIVATE void cache_why_note(cache_store *s, uint64_t hash, cellar_cause cause)
{
    if (s->why == NULL) { return; }
    cache_why_write(s->why, hash, (uint32_t)cause, base_coarse_ms(&s->clock), 0, 0);
}

CELLAR_PRIVATE void cache_why_note_by(cache_store *s, uint64_t hash, cellar_cause cause,
                                      uint32_t by)
{
    if (s->why == NULL) { return; }
    cache_why_write(s->why, hash, (uint32_t)cause | (by & 0xffffu) << 8,
                    base_coarse_ms(&s->clock), 0, 0);
}

CELLAR_PRIVATE void cache_why_soon(void *ctx, uint64_t hash)
{
    const cache_why *w = ((const cache_store *)ctx)->why;
    uint32_t print;
    BASE_PREFETCH_W(cache_why_at(w, hash, &print));
}

CELLAR_PRIVATE void cache_why_ended(cache_store *s, uint64_t hash, cellar_cause cause,
                                    int64_t born_ms, unsigned uses)
{
    if (s->why == NULL) { return; }
    const int64_t now = base_coarse_ms(&s->clock);
    cache_why_write(s->why, hash, (uint32_t)cause, now, now - born_ms, uses);
}

BASE_SIZE_BEGIN

CELLAR_PRIVATE uint32_t cache_why_act(cellar *c, cellar_cause cause, uint64_t fp, uint64_t epoch,
                                      const void *text, size_t len)
{
    cache_store *s = c->store;
    cache_why *w = s->why;
    if (w == NULL) { return 0; }
    sync_take(NAMESPACE, &s->namespace_lock);
    uint32_t number = ++w->act_count;
    if ((number & 0xffffu) == 0) { number = ++w->act_count; } /* in 16 bits 0 means none */
    cache_why_act_at *a = &w->act[number & (w->ring_count - 1)];
    a->number = number;
    a->fp = fp;
    a->epoch = epoch;
    a->cause = (uint8_t)cause;
    a->len = c->secret ? 0 : (uint8_t)BASE_MIN(len, sizeof a->text);
    memcpy(a->text, text, a->len);
    sync_drop(NAMESPACE, &s->namespace_lock);
    return number;
}

CELLAR_PRIVATE void cache_why_generation(cache_store *s, const cellar *v, uint32_t generation,
                                         cellar_cause cause)
{
    cache_why *w = s->why;
    if (w == NULL) { return; }
    w->ring[w->ring_next++ & (w->ring_count - 1)] = (cache_why_end){
        v->id, generation, cache_why_units(base_now_ms(&s->clock) - w->born_ms), (uint8_t)cause
    };
}

BASE_SIZE_END
