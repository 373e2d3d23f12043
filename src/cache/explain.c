/* SPDX-License-Identifier: MIT
 *
 * explain: why a key is missing, from a small bounded record.
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
 * LIMITS     min(1 MiB, budget / 256) as a power of two; at most 256 generations, 16 searched per
 *            namespace. tuning.no_explain: nothing. No name of a hidden namespace is kept. `by` is
 *            16 bits of a number: an overwritten number names nothing.
 * SEE ALSO   README.md, "Explaining a miss": rejected designs. */
#include "cache/cache_int.h"
#include "load/flight.h"

#define CACHE_WHY_MOST ((uint64_t)1 << 20)
#define CACHE_WHY_RING 256u
#define CACHE_WHY_ASKED 16u
#define CACHE_WHY_MIX UINT64_C(0x9e3779b97f4a7c15) /* odd; uses other bits than L1 */
#define CACHE_WHY_UNIT 6 /* 64 ms */

typedef struct cache_why_place {
    _Atomic uint64_t a, b; /* {when, fingerprint}, {age, by, cause, hits}; a == 0: empty */
} cache_why_place;

typedef struct cache_why_end { /* NAMESPACE */
    uint32_t namespace_id, generation, when;
    uint8_t cause; /* 0: unused */
} cache_why_end;

typedef struct cache_why_act_at { /* NAMESPACE */
    uint64_t fp;      /* fingerprint of a tag */
    uint64_t epoch;   /* epoch of its end: it ended entries born before */
    uint32_t number;  /* from 1; 0: unused */
    uint8_t cause, len;
    char text[CELLAR_WHY_BY_MAX];
} cache_why_act_at;

struct cache_why {
    cache_why_place *place; /* 2^(64 - shift) places, 64-byte aligned */
    unsigned shift;
    int64_t born_ms;
    cache_why_end *ring;
    uint32_t ring_count, ring_next; /* ring_count: power of two; NAMESPACE */
    cache_why_act_at *act;          /* ring_count of them */
    uint32_t act_count;             /* tags and patterns deleted so far; NAMESPACE */
    size_t bytes;                   /* size of this block */
};

#define CACHE_WHY_WHEN(a) ((uint32_t)((a) >> 32))
#define CACHE_WHY_PRINT(a) ((uint32_t)(a))
#define CACHE_WHY_AGE(b) ((uint32_t)((b) >> 32))
#define CACHE_WHY_CAUSE(b) ((uint32_t)((b) >> 8) & 0xffu)
#define CACHE_WHY_HITS(b) ((uint32_t)(b) & 0xffu)
#define CACHE_WHY_BY(b) ((uint32_t)((b) >> 16) & 0xffffu)

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
        cache_fail_open(CELLAR_E_NOMEM, 0,
                        "cellar_open: no memory to explain misses: set tuning.no_explain");
        return CELLAR_E_NOMEM;
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

/* ---- record ---- */

static uint32_t cache_why_units(int64_t ms)
{
    if (ms <= 0) { return 0; }
    const uint64_t units = (uint64_t)ms >> CACHE_WHY_UNIT;
    return BASE_UNLIKELY(units > UINT32_MAX) ? UINT32_MAX : (uint32_t)units;
}

static int64_t cache_why_ms(uint32_t units) { return (int64_t)units << CACHE_WHY_UNIT; }

/* Find the place of a key. *print is never 0, the value of an empty word. */
BASE_INLINE cache_why_place *cache_why_at(const cache_why *w, uint64_t hash, uint32_t *print)
{
    const uint64_t mixed = hash * CACHE_WHY_MIX;
    *print = (uint32_t)hash | 1u;
    return &w->place[mixed >> w->shift];
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

CELLAR_PRIVATE void cache_why_soon(void *ctx, uint64_t hash)
{
    const cache_why *w = ((const cache_store *)ctx)->why;
    uint32_t print;
    BASE_PREFETCH_W(cache_why_at(w, hash, &print));
}

CELLAR_PRIVATE void cache_why_ended(cache_store *s, uint64_t hash, uint32_t generation,
                                    l1_cause cause, int64_t born_ms, unsigned uses)
{
    if (s->why == NULL) { return; }
    const int64_t now = base_coarse_ms(&s->clock);
    cellar_cause why = cause == L1_LEFT_EXPIRED ? CELLAR_CAUSE_EXPIRED : CELLAR_CAUSE_EVICTED;
    if (cause == L1_LEFT_CLEARED) { why = cache_generation_cause(s, generation); }
    if (cause == L1_LEFT_TAG) { why = CELLAR_CAUSE_TAG; }
    if (cause == L1_LEFT_DEPENDENCY) { why = CELLAR_CAUSE_DEPENDENCY; }
    cache_why_write(s->why, hash, (uint32_t)why, now, now - born_ms, uses);
}

BASE_SIZE_BEGIN

CELLAR_PRIVATE void cache_why_generation(cache_store *s, const cellar *v, uint32_t generation,
                                         cellar_cause cause)
{
    cache_why *w = s->why;
    if (w == NULL) { return; }
    w->ring[w->ring_next++ & (w->ring_count - 1)] = (cache_why_end){
        v->id, generation, cache_why_units(base_now_ms(&s->clock) - w->born_ms), (uint8_t)cause
    };
}

/* ---- answer ---- */

static bool cache_why_read(const cache_why *w, uint64_t hash, uint64_t *a, uint64_t *b)
{
    uint32_t print;
    const cache_why_place *p = cache_why_at(w, hash, &print);
    *a = base_load_acq(&p->a);
    if (CACHE_WHY_PRINT(*a) != print) { return false; }
    *b = base_load_acq(&p->b);
    return base_load_acq(&p->a) == *a;
}

static void cache_why_by_text(cellar_reason *r, const cache_why_act_at *a)
{
    r->by_len = a->len;
    memcpy(r->by, a->text, a->len);
}

/* Look up the pattern that a record names. */
static void cache_why_by(cache_store *s, cellar_reason *r, uint32_t by)
{
    const cache_why *w = s->why;
    if (by == 0) { return; }
    sync_take(NAMESPACE, &s->namespace_lock);
    const cache_why_act_at *a = &w->act[by & (w->ring_count - 1)]; /* ring_count <= 2^16 */
    if ((a->number & 0xffffu) == by && a->cause == r->cause) { cache_why_by_text(r, a); }
    sync_drop(NAMESPACE, &s->namespace_lock);
}

/* Find which tag ended a present entry: the first deleted one that the ring still has. Else the
 * table of tags has forgotten it. */
static void cache_why_by_tag(cellar *c, const l1_key *k, cellar_reason *r)
{
    cache_store *s = c->store;
    const cache_why *w = s->why;
    uint64_t fps[BASE_TAGS_MAX], born = 0;
    const uint32_t count = l1_tags_of(c->l1, k, fps, &born);
    if (w == NULL || count == 0) { return; }
    const cache_why_act_at *first = NULL;
    sync_take(NAMESPACE, &s->namespace_lock);
    for (uint32_t i = 0; i < w->ring_count; i++) {
        const cache_why_act_at *a = &w->act[i];
        bool one = false;
        for (uint32_t j = 0; j < count; j++) { one = one || fps[j] == a->fp; }
        if (a->number == 0 || a->cause != CELLAR_CAUSE_TAG || !one || a->epoch <= born) {
            continue;
        }
        if (first == NULL || a->number < first->number) { first = a; }
    }
    if (first != NULL) { cache_why_by_text(r, first); }
    sync_drop(NAMESPACE, &s->namespace_lock);
}

static void cache_why_say(cellar_reason *r, cache_store *s, uint64_t a, uint64_t b,
                          int64_t now_ms)
{
    const cache_why *w = s->why;
    const int64_t at = w->born_ms + cache_why_ms(CACHE_WHY_WHEN(a));
    r->answer = CELLAR_WHY_GONE;
    r->cause = CACHE_WHY_CAUSE(b);
    r->ago_ms = now_ms > at ? now_ms - at : 0;
    r->age_ms = cache_why_ms(CACHE_WHY_AGE(b));
    r->hits = CACHE_WHY_HITS(b);
    cache_why_by(s, r, CACHE_WHY_BY(b));
}

/* Return when one of its tags ended the entry; BASE_NEVER_MS: none, or unknown. *depends: a
 * dependency ended it, and no tag. */
static int64_t cache_why_tag_ms(cellar *c, const l1_key *k, bool *depends)
{
    uint64_t fps[BASE_TAGS_MAX], born = 0;
    const uint32_t count = l1_tags_of(c->l1, k, fps, &born);
    *depends = count != 0 && cache_tags_valid(c->store, born, fps, count) == 3;
    return count != 0 ? cache_tags_ended(c->store, born, fps, count) : BASE_NEVER_MS;
}

/* Answer with the state in L1. Return false if L1 knows nothing. */
static bool cache_why_l1(cellar *c, const l1_key *k, int64_t now_ms, cellar_reason *r)
{
    l1_info info;
    const unsigned flags = L1_PEEK | L1_STALE_OK | L1_SEE_ERRORS;
    const cellar_err err = l1_inspect(c->l1, k, NULL, 0, &info, flags);
    if (err == CELLAR_MISS && info.expires_ms == 0) { return false; } /* no record was found */
    r->age_ms = now_ms > info.born_ms ? now_ms - info.born_ms : 0;
    r->hits = info.uses;
    if (info.born_exact && info.deadline_ms != BASE_NEVER_MS) {
        r->ttl_ms = info.deadline_ms - info.born_ms;
    }
    if (err == CELLAR_MISS) {
        r->answer = CELLAR_WHY_GONE;
        bool depends;
        const int64_t tag_ms = cache_why_tag_ms(c, k, &depends);
        const int64_t end = BASE_MIN(info.expires_ms, tag_ms);
        r->cause = info.expires_ms <= now_ms && info.expires_ms <= tag_ms ? CELLAR_CAUSE_EXPIRED
                   : depends ? CELLAR_CAUSE_DEPENDENCY : CELLAR_CAUSE_TAG;
        r->ago_ms = now_ms > end ? now_ms - end : 0;
        if (r->cause == CELLAR_CAUSE_TAG) { cache_why_by_tag(c, k, r); }
        return true;
    }
    r->answer = err == CELLAR_ABSENT ? (info.kind == (uint8_t)L1_ERROR ? CELLAR_WHY_ERROR
                                                                       : CELLAR_WHY_NEGATIVE)
                : err == CELLAR_STALE ? CELLAR_WHY_STALE
                                      : CELLAR_WHY_LIVE;
    return true;
}

static bool cache_why_loading(cellar *c, const l1_key *k, int64_t now_ms, cellar_reason *r)
{
    flight_table *t = base_load_acq(&c->store->flights);
    const flight_key key = { k->bytes, k->len, k->generation, k->hash };
    int64_t start_ms = 0;
    if (t == NULL || !flight_since(t, &key, &start_ms)) { return false; }
    r->answer = CELLAR_WHY_LOADING;
    r->ago_ms = now_ms > start_ms ? now_ms - start_ms : 0;
    return true;
}

/* Search the key under earlier generations of the namespace. */
static bool cache_why_before(cellar *c, const l1_key *k, int64_t now_ms, cellar_reason *r)
{
    cache_store *s = c->store;
    cache_why_end ended[CACHE_WHY_ASKED];
    unsigned count = 0;
    sync_take(NAMESPACE, &s->namespace_lock);
    const cache_why *w = s->why;
    for (uint32_t i = 1; i <= w->ring_count && count < CACHE_WHY_ASKED; i++) { /* newest first */
        const cache_why_end *e = &w->ring[(w->ring_next - i) & (w->ring_count - 1)];
        if (e->cause != 0 && e->namespace_id == c->id) { ended[count++] = *e; }
    }
    sync_drop(NAMESPACE, &s->namespace_lock);
    for (unsigned i = 0; i < count; i++) {
        const cache_why_end *e = &ended[i];
        l1_key old = *k;
        old.generation = e->generation;
        old.hash = base_hash(c->hash_key, old.generation, k->bytes, k->len);
        uint64_t a, b;
        l1_info info;
        const cellar_err err = l1_inspect(c->l1, &old, NULL, 0, &info, L1_PEEK | L1_STALE_OK);
        const bool there = err == CELLAR_OK || err == CELLAR_STALE || err == CELLAR_ABSENT;
        if (there) { /* not reclaimed yet */
            const int64_t at = w->born_ms + cache_why_ms(e->when);
            r->answer = CELLAR_WHY_GONE;
            r->cause = e->cause;
            r->ago_ms = now_ms > at ? now_ms - at : 0;
            r->age_ms = at > info.born_ms ? at - info.born_ms : 0;
            r->hits = info.uses;
            return true;
        }
        if (cache_why_read(w, old.hash, &a, &b)) {
            cache_why_say(r, s, a, b, now_ms);
            return true;
        }
    }
    return false;
}

CELLAR_API cellar_err cellar_why(cellar *c, const void *key, size_t key_len, cellar_reason *out)
{
    if (c == NULL || cache_key_bad(key, key_len) || out == NULL) {
        return cache_fail_key(c, "cellar_why", key, key_len, "out must not be NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    cache_store *s = c->store;
    cellar_reason r = cellar_reason_default();
    r.answer = CELLAR_WHY_UNKNOWN;
    const int64_t now = base_now_ms(&s->clock);
    l1_key k;
    uint64_t a, b;
    cache_key(c, &k, key, key_len);
    if (!cache_why_l1(c, &k, now, &r) && !cache_why_loading(c, &k, now, &r) && s->why != NULL) {
        if (cache_why_read(s->why, k.hash, &a, &b)) {
            cache_why_say(&r, s, a, b, now);
        } else {
            (void)cache_why_before(c, &k, now, &r);
        }
    }
    if (r.answer == CELLAR_WHY_UNKNOWN && cellar_bloom_check(c, key, key_len) == CELLAR_ABSENT) {
        r.answer = CELLAR_WHY_NOT_IN_SOURCE;
    }
    const cellar_err err = cache_opts_out(out, &r, sizeof r);
    return err == CELLAR_OK
               ? err : cache_fail(c, err, 0, "cellar_why: start from cellar_reason_default()");
}

BASE_SIZE_END
