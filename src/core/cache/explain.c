/* SPDX-License-Identifier: MIT
 *
 * explain: why a key has no value.
 *
 * WALK       present in L1: stale, or ended by its deadline or a tag -> a load runs -> a record of
 *            the key (explain_record.c) -> an ended generation in which it has a record -> the
 *            filter says "never" -> unknown
 * LIMITS     CACHE_WHY_ASKED generations are searched per namespace.
 * SEE ALSO   README.md, "Explaining a miss": rejected designs. */
#include "cache/call.h"
#include "cache/error.h"
#include "cache/explain_record.h"
#include "cache/tags.h"
#include "flight/flight.h"

#define CACHE_WHY_ASKED 16u

BASE_SIZE_BEGIN

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

/* Find which of the tags ended a present entry: the first deleted one that the ring still has. Else
 * the table of tags has forgotten it. */
static void cache_why_by_tag(cache_store *s, const uint64_t *fps, uint32_t count, uint64_t born,
                             cellar_reason *r)
{
    const cache_why *w = s->why;
    if (w == NULL) { return; }
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

/* Answer that the entry ended at at_ms, at this age. */
static void cache_why_gone(cellar_reason *r, uint32_t cause, int64_t at_ms, int64_t now_ms,
                           int64_t age_ms, uint32_t hits)
{
    r->answer = CELLAR_WHY_GONE;
    r->cause = cause;
    r->ago_ms = BASE_MAX(now_ms - at_ms, 0);
    r->age_ms = BASE_MAX(age_ms, 0);
    r->hits = hits;
}

/* Answer with the record of a key. Return false if there is none. */
static bool cache_why_recorded(cache_store *s, uint64_t hash, int64_t now_ms, cellar_reason *r)
{
    const cache_why *w = s->why;
    uint64_t a, b;
    if (!cache_why_read(w, hash, &a, &b)) { return false; }
    cache_why_gone(r, CACHE_WHY_CAUSE(b), w->born_ms + cache_why_ms(CACHE_WHY_WHEN(a)), now_ms,
                   cache_why_ms(CACHE_WHY_AGE(b)), CACHE_WHY_HITS(b));
    cache_why_by(s, r, CACHE_WHY_BY(b));
    return true;
}

/* Answer which of its deadline and its tags ended an entry that L1 has. */
static void cache_why_dead(cellar *c, const l1_key *k, const l1_info *info, int64_t now_ms,
                           cellar_reason *r)
{
    uint64_t fps[BASE_TAGS_MAX], born = 0;
    const uint32_t count = l1_tags_of(c->l1, k, fps, &born);
    const int64_t tag_ms =
        count != 0 ? cache_tags_ended(c->store, born, fps, count) : BASE_NEVER_MS;
    uint32_t cause = CELLAR_CAUSE_TAG;
    if (info->expires_ms <= now_ms && info->expires_ms <= tag_ms) { cause = CELLAR_CAUSE_EXPIRED; }
    cache_why_gone(r, cause, BASE_MIN(info->expires_ms, tag_ms), now_ms, r->age_ms, r->hits);
    if (cause == CELLAR_CAUSE_TAG) { cache_why_by_tag(c->store, fps, count, born, r); }
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
        cache_why_dead(c, k, &info, now_ms, r);
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
        l1_info info;
        (void)l1_inspect(c->l1, &old, NULL, 0, &info, L1_PEEK | L1_STALE_OK | L1_SEE_ERRORS);
        if (info.expires_ms != 0) { /* not reclaimed */
            const int64_t at = w->born_ms + cache_why_ms(e->when);
            cache_why_gone(r, e->cause, at, now_ms, at - info.born_ms, info.uses);
            return true;
        }
        if (cache_why_recorded(s, old.hash, now_ms, r)) { return true; }
    }
    return false;
}

/* Name the newest event that took entries of the disk in bulk, if it may have taken this one. */
static void cache_why_lost(cache_store *s, int64_t now_ms, cellar_reason *r)
{
    int64_t at_ms;
    l2 *d = cache_disk(s);
    const char *name = d != NULL ? l2_loss_last(d, &at_ms) : NULL;
    const bool gone = r->answer == CELLAR_WHY_GONE && r->cause == CELLAR_CAUSE_EVICTED;
    if (name == NULL || (r->answer != CELLAR_WHY_UNKNOWN && !gone)) { return; }
    const int64_t ago_ms = BASE_MAX(now_ms - at_ms, 0);
    if (gone && ago_ms > r->ago_ms + (1 << CACHE_WHY_UNIT)) { return; }
    r->lost_ago_ms = ago_ms;
    r->by_len = (uint32_t)strlen(name); /* less than CELLAR_WHY_BY_MAX */
    memcpy(r->by, name, r->by_len);
}

CELLAR_API cellar_err cellar_why(cellar *c, const void *key, size_t key_len, cellar_reason *out)
{
    if (c == NULL || cache_key_bad(key, key_len) || out == NULL) {
        return cache_fail_key(c, "cellar_why", key, key_len, "out must not be NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    cache_store *s = c->store;
    cellar_reason r = { .struct_size = sizeof r, .answer = CELLAR_WHY_UNKNOWN,
                        .lost_ago_ms = CELLAR_TTL_NONE };
    const int64_t now = base_now_ms(&s->clock);
    l1_key k;
    cache_key(c, &k, key, key_len);
    if (!cache_why_l1(c, &k, now, &r) && !cache_why_loading(c, &k, now, &r) && s->why != NULL &&
        !cache_why_recorded(s, k.hash, now, &r)) {
        (void)cache_why_before(c, &k, now, &r);
    }
    if (r.answer == CELLAR_WHY_UNKNOWN && cellar_bloom_check(c, key, key_len) == CELLAR_ABSENT) {
        r.answer = CELLAR_WHY_NOT_IN_SOURCE;
    }
    cache_why_lost(s, now, &r);
    return cache_fail(c, base_opts_out(out, &r, sizeof r), 0,
                      "cellar_why: start from cellar_reason_default()");
}

BASE_SIZE_END
