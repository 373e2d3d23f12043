/* SPDX-License-Identifier: MIT
 *
 * quota: guarantee and limit the shares of namespaces; limit the share of entries without value.
 *
 * PICTURE    number 1..L1_QUOTAS (cache assigns one to a namespace) -> {share, sums of the store}
 *            stripe x number -> two words {generation, bytes / 8}, {generation, entries}
 *                sums = total over the stripes, taken from time to time; whole = live bytes
 *                floor = whole x least share, ceiling = whole x greatest share
 *            cursor: generation at or below its floor -> keep; above its ceiling -> drop; else the
 *            policy decides. A set of a generation at its ceiling first drops entries of the same
 *            generation in place; a used entry survives the first look.
 *            Entries without value (negative entries, remembered errors) hold at most an eighth of
 *            a stripe, in bytes and entries. A set of one more first drops others of them in place.
 *            The set is refused when L1_QUOTA_LOOKS records had none to drop.
 * INVARIANTS A word counts the linked records of the generation it names and of no other. It starts
 *            at 0 before any set can use that generation. It changes inside the window that links
 *            or unlinks a record. No word counts what an older generation left.
 * LOCKING    Words: compare-exchange next to each change of seg.live; a plain store for a new
 *            generation, published after it (release in cache_generation_next, acquire in
 *            cache_key). Sums, floors and ceilings are relaxed hints, at most one append per stripe
 *            old.
 * LIMITS     L1_QUOTAS namespaces; least shares add up to at most 100 %. One call keeps
 *            L1_QUOTA_KEEPS records, then it drops one (counted in `breached`). README.md: bounds.
 * SEE ALSO   cache/options.c: numbers of namespaces. evict.c: the cursor. */
#include <limits.h>
#include <string.h>

#include "l1/l1_int.h"

#define L1_ABSENT_SPARE 8u /* search begins one part in 8 before the ceiling */
#define L1_QUOTA_UNIT 3u /* log2: granules are 8 bytes or more */

typedef struct l1_quota_words { _Atomic uint64_t bytes, entries; } l1_quota_words;

typedef struct l1_quota {
    _Atomic uint32_t least_pct, most_pct; /* 0, 0: none; most 0: no ceiling */
    _Atomic uint64_t bytes;               /* as last summed; hints, relaxed, like the next two */
    _Atomic uint64_t floor, ceiling;      /* ceiling UINT64_MAX: none */
    _Atomic uint64_t breached;
} l1_quota;

struct l1_quotas {
    size_t block_bytes;
    _Atomic uint32_t high; /* numbers in use are below or equal */
    l1_quota of[L1_QUOTAS];
    l1_quota_words word[]; /* stripe x L1_QUOTAS */
};

#define L1_QUOTA_WORD(generation, n) ((uint64_t)(generation) << 32 | (uint64_t)(n))

static l1_quota_words *l1_quota_at(struct l1_quotas *q, uint32_t stripe, unsigned number)
{
    return &q->word[(size_t)stripe * L1_QUOTAS + number - 1];
}

/* Add `by` to the word if it counts this generation. In a forked child the addition of a lost
 * thread may be missing, so the count stops at 0. */
static void l1_quota_move(_Atomic uint64_t *word, uint32_t generation, int64_t by)
{
    for (;;) {
        const uint64_t was = base_load_rlx(word);
        if ((uint32_t)(was >> 32) != generation && !BASE_MUTANT("l1.share_any_generation")) {
            return;
        }
        const int64_t n = (int64_t)(uint32_t)was + by;
        const uint64_t now = n < 0 ? 0 : BASE_MIN((uint64_t)n, (uint64_t)UINT32_MAX);
        BASE_POINT("l1.quota.moved");
        if (base_cas_ar(word, was, L1_QUOTA_WORD(was >> 32, now))) { return; }
    }
}

static unsigned l1_quota_of(const l1 *c, uint32_t generation)
{
    return c->hooks.quota_of != NULL ? c->hooks.quota_of(c->hooks.ctx, generation) : 0;
}

BASE_COLD CELLAR_PRIVATE void l1_quota_count(l1 *c, const l1_stripe *s, uint32_t generation,
                                             int64_t bytes, int entries)
{
    struct l1_quotas *q = base_load_acq(&c->quotas);
    const unsigned number = l1_quota_of(c, generation);
    if (q == NULL || number == 0) { return; }
    l1_quota_words *w = l1_quota_at(q, s->index_number, number);
    const int64_t units = (BASE_MAX(bytes, -bytes) + 7) >> L1_QUOTA_UNIT;
    l1_quota_move(&w->bytes, generation, bytes < 0 ? -units : units);
    if (entries != 0) { l1_quota_move(&w->entries, generation, entries); }
}

/* ---- sums and shares ------------------------------------------------------------------------- */
/* Return the live bytes that the shares divide: those of the full store. Before the store is full,
 * return the live bytes expected then. */
static uint64_t l1_quota_whole(const l1 *c)
{
    uint64_t bytes = 0, entries = 0;
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        for (unsigned q = 0; q < 2; q++) {
            const uint64_t live = base_load_rlx(&c->stripe[i].queue[q].live);
            bytes += L1_LIVE_BYTES(live);
            entries += L1_LIVE_COUNT(live);
        }
    }
    const uint64_t max = base_load_rlx(&c->max_entries);
    if (base_load_rlx(&c->low) != 0) { return bytes; }
    if (max != 0) { return entries < max && entries != 0 ? bytes / entries * max : bytes; }
    const base_account *a = c->account;
    const uint64_t log = base_load_rlx(&a->by_module[BASE_MOD_SEGMENT]) +
                         base_load_rlx(&a->by_module[BASE_MOD_BIG]);
    const uint64_t used = base_load_rlx(&a->used), limit = base_load_rlx(&a->limit);
    const uint64_t others = used > log ? used - log : 0;
    return BASE_MAX(bytes, limit > others ? (limit - others) / 8 * 7 : 0);
}

static uint64_t l1_quota_total(struct l1_quotas *q, uint32_t stripes, unsigned number, bool entries)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < stripes; i++) {
        const l1_quota_words *w = l1_quota_at(q, i, number);
        sum += (uint32_t)base_load_rlx(entries ? &w->entries : &w->bytes);
    }
    return entries ? sum : sum << L1_QUOTA_UNIT;
}

static void l1_quota_sum(l1 *c, struct l1_quotas *q)
{
    const uint64_t whole = l1_quota_whole(c);
    const uint32_t high = base_load_acq(&q->high);
    for (unsigned n = 1; n <= high; n++) {
        l1_quota *o = &q->of[n - 1];
        const uint32_t least = base_load_rlx(&o->least_pct), most = base_load_rlx(&o->most_pct);
        base_store_rlx(&o->bytes, l1_quota_total(q, c->stripe_count, n, false));
        base_store_rlx(&o->floor, whole / 100 * least);
        base_store_rlx(&o->ceiling, most != 0 ? whole / 100 * most : UINT64_MAX);
    }
}

/* Sum the shares once in as many looks as there are stripes: a line or two for each set. */
static void l1_quota_look(l1 *c, l1_stripe *s, struct l1_quotas *q) SYNC_HOLDS(L1_STRIPE);
static void l1_quota_look(l1 *c, l1_stripe *s, struct l1_quotas *q)
{
    if (++s->quota_due < c->stripe_count) { return; }
    s->quota_due = 0;
    l1_quota_sum(c, q);
}

/* ---- the cursor ------------------------------------------------------------------------------ */
BASE_COLD CELLAR_PRIVATE l1_say l1_quota_judge(l1 *c, l1_stripe *s, uint32_t generation,
                                               uint64_t weight, l1_freed *f)
{
    struct l1_quotas *q = base_load_acq(&c->quotas);
    const unsigned number = l1_quota_of(c, generation);
    if (number == 0) { return L1_SAY_NOTHING; }
    l1_quota_look(c, s, q);
    l1_quota *o = &q->of[number - 1];
    const uint64_t bytes = base_load_rlx(&o->bytes), floor = base_load_rlx(&o->floor);
    if (floor != 0 && bytes < floor + weight) {
        if (f->spared < L1_QUOTA_KEEPS) {
            f->spared++;
            return L1_SAY_KEEP;
        }
        base_add_rlx(&o->breached, (uint64_t)1);
        return L1_SAY_DROP;
    }
    return bytes > base_load_rlx(&o->ceiling) ? L1_SAY_DROP : L1_SAY_NOTHING;
}

/* Move the pass to the next segment in the order small, main, small. */
static void l1_quota_turn(l1 *c, l1_stripe *s, l1_pass *p, const l1_seg *g)
    SYNC_HOLDS(L1_STRIPE);
static void l1_quota_turn(l1 *c, l1_stripe *s, l1_pass *p, const l1_seg *g)
{
    const bool was_small = g != NULL && g->state == L1_SEG_SMALL;
    uint32_t next = g != NULL ? g->next : L1_NONE;
    if (next == L1_NONE) { next = s->queue[was_small ? 1 : 0].tail; }
    if (next == L1_NONE) { next = s->queue[was_small ? 0 : 1].tail; }
    *p = (l1_pass){ .seg = next + 1 }; /* L1_NONE + 1 is 0 */
    if (next != L1_NONE) { p->seq = base_load_rlx(&c->seg[next].seq); }
}

/* Read the next record of the pass. Return false when the pass reached an end instead. */
static bool l1_quota_next(l1 *c, l1_stripe *s, l1_pass *p, uint64_t *pos, l1_rec *r)
    SYNC_HOLDS(L1_STRIPE);
static bool l1_quota_next(l1 *c, l1_stripe *s, l1_pass *p, uint64_t *pos, l1_rec *r)
{
    if (p->seg != 0 && base_load_rlx(&c->seg[p->seg - 1].seq) != p->seq) { p->seg = 0; }
    const l1_seg *g = p->seg != 0 ? &c->seg[p->seg - 1] : NULL;
    if (g != NULL) { p->at = BASE_MAX(p->at, g->cursor); }
    if (g == NULL || p->at >= g->used_bytes) {
        l1_quota_turn(c, s, p, g);
        return false;
    }
    *pos = ((uint64_t)(p->seg - 1) << c->seg_shift) + p->at;
    const bool ok = l1_decode(c, *pos, r);
    BASE_REQUIRE(ok);
    p->at += r->size;
    /* Turn now: the caller may empty this segment, and it may be free before the next look. Then
     * the pass would start over at records of others. */
    if (p->at >= g->used_bytes) { l1_quota_turn(c, s, p, g); }
    return true;
}

/* Drop the record in place; a used record survives its first look. Return the freed bytes. */
static uint64_t l1_quota_take(l1 *c, l1_stripe *s, uint64_t pos, l1_rec *r, bool spare,
                              l1_victims *v) SYNC_HOLDS(L1_STRIPE);
static uint64_t l1_quota_take(l1 *c, l1_stripe *s, uint64_t pos, l1_rec *r, bool spare,
                              l1_victims *v)
{
    l1_bucket *b;
    l1_slot slot;
    uint32_t ver;
    const uint64_t hash = l1_hash_of(c, pos, r);
    if (!l1_linked(c, s, pos, hash, &b, &ver, &slot)) { return 0; }
    r->due = base_seq_u32(l1_at(c, pos) + 4); /* as of that version */
    int64_t keep;
    (void)l1_expires(c, pos, r, &keep);
    const bool dead = c->hooks.generation_alive != NULL &&
                      !c->hooks.generation_alive(c->hooks.ctx, r->generation);
    const bool expired = !dead && base_clock_reached(c->clock, keep);
    const unsigned uses = l1_freq(slot.b, slot.i);
    if (!dead && !expired && uses != 0 && spare) {
        l1_freq_set(slot.b, slot.i, uses - 1); /* a hint: a concurrent hit may be lost */
        return 0;
    }
    const uint64_t weight = l1_weight(c, pos, r);
    const l1_cause cause = dead ? L1_LEFT_CLEARED
                           : expired ? l1_over(c, pos, r) : L1_LEFT_CAPACITY;
    slot.rec = *r;
    return l1_drop(c, s, hash, b, ver, &slot, cause, v) ? weight : 0;
}

CELLAR_PRIVATE void l1_quota_pay(l1 *c, l1_stripe *s, uint32_t size, l1_toll *t, l1_victims *v)
{
    struct l1_quotas *q = base_load_acq(&c->quotas);
    const unsigned number = l1_quota_of(c, t->generation);
    if (number == 0) { return; }
    l1_quota_look(c, s, q);
    const l1_quota *o = &q->of[number - 1];
    const uint64_t bytes = base_load_rlx(&o->bytes), ceiling = base_load_rlx(&o->ceiling);
    if (bytes + size <= ceiling) { return; }
    const uint64_t want = bytes > ceiling ? 2 * (uint64_t)size : size;
    for (; t->own_looks < L1_QUOTA_LOOKS && t->own_freed < want && v->n < L1_VICTIMS;
         t->own_looks++) {
        uint64_t pos;
        l1_rec r;
        if (!l1_quota_next(c, s, &s->quota_pass, &pos, &r) || r.generation != t->generation) {
            continue;
        }
        t->own_freed += l1_quota_take(c, s, pos, &r, t->own_looks < L1_QUOTA_LOOKS / 2, v);
    }
}

/* ---- entries without value ------------------------------------------------------------------- */
/* Return whether one more entry without value stays below its ceiling, less one part in `spare`.
 * The ceiling is an eighth of what the stripe can hold, in bytes and in entries. */
static bool l1_absent_fits(const l1 *c, const l1_stripe *s, uint64_t weight, unsigned spare)
{
    const base_account *a = c->account;
    const uint64_t log = base_load_rlx(&a->by_module[BASE_MOD_SEGMENT]) +
                         base_load_rlx(&a->by_module[BASE_MOD_BIG]);
    const uint64_t used = base_load_rlx(&a->used), limit = base_load_rlx(&a->limit);
    const uint64_t others = used > log ? used - log : 0, max = base_load_rlx(&c->max_entries);
    const uint64_t bytes = (limit > others ? limit - others : 0) / 8 / c->stripe_count;
    const uint64_t most = BASE_MAX(max / 8 / c->stripe_count, 1);
    /* Below 0 for a moment; in a forked child for good, when a lost thread had not yet added. */
    const int64_t held = BASE_MAX(base_load_rlx(&s->absent_bytes), 0);
    const int64_t count = BASE_MAX(base_load_rlx(&s->absent_count), 0);
    if (max != 0 && (uint64_t)count + 1 > most - most / spare) { return false; }
    return (uint64_t)held + weight <= bytes - bytes / spare;
}

BASE_COLD CELLAR_PRIVATE l1_room l1_absent_pay(l1 *c, l1_stripe *s, l1_toll *t, l1_victims *v)
{
    for (; !l1_absent_fits(c, s, t->absent, L1_ABSENT_SPARE); t->absent_looks++) {
        uint64_t pos;
        l1_rec r;
        if (v->n == L1_VICTIMS) { return L1_ROOM_AGAIN; }
        if (t->absent_looks == L1_QUOTA_LOOKS) {
            if (l1_absent_fits(c, s, t->absent, UINT_MAX)) { break; }
            base_add_rlx(&c->absent_refused, (uint64_t)1);
            return L1_ROOM_NONE;
        }
        if (l1_quota_next(c, s, &s->absent_pass, &pos, &r) && l1_is_absent(c, pos, &r)) {
            (void)l1_quota_take(c, s, pos, &r, t->absent_looks < L1_QUOTA_LOOKS / 2, v);
        }
    }
    return L1_ROOM_OK;
}

/* ---- shares ---------------------------------------------------------------------------------- */
static size_t l1_quotas_bytes(const l1 *c)
{
    return sizeof(struct l1_quotas) +
           (size_t)c->stripe_count * L1_QUOTAS * sizeof(l1_quota_words);
}

CELLAR_PRIVATE bool l1_quotas_open(l1 *c)
{
    if (base_load_acq(&c->quotas) != NULL) { return true; }
    const size_t bytes = l1_quotas_bytes(c);
    struct l1_quotas *q = base_alloc(c->account, BASE_MOD_NAMESPACE, bytes, NULL);
    if (q == NULL) { return false; }
    q->block_bytes = bytes;
    if (!base_cas_ar(&c->quotas, (struct l1_quotas *)NULL, q)) {
        base_free(c->account, BASE_MOD_NAMESPACE, q, bytes);
    }
    return true;
}

CELLAR_PRIVATE void l1_quotas_close(l1 *c)
{
    struct l1_quotas *q = base_load_rlx(&c->quotas);
    if (q != NULL) { base_free(c->account, BASE_MOD_NAMESPACE, q, q->block_bytes); }
}

CELLAR_PRIVATE void l1_quota_generation(l1 *c, unsigned number, uint32_t generation)
{
    struct l1_quotas *q = base_load_acq(&c->quotas);
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        l1_quota_words *w = l1_quota_at(q, i, number);
        base_store_rel(&w->bytes, L1_QUOTA_WORD(generation, 0));
        BASE_POINT("l1.quota.generation");
        base_store_rel(&w->entries, L1_QUOTA_WORD(generation, 0));
    }
}

CELLAR_PRIVATE void l1_quota_set(l1 *c, unsigned number, uint32_t least_pct, uint32_t most_pct)
{
    struct l1_quotas *q = base_load_acq(&c->quotas);
    l1_quota *o = &q->of[number - 1];
    BASE_ASSERT(number >= 1 && number <= L1_QUOTAS);
    const uint32_t had = base_load_rlx(&o->least_pct) | base_load_rlx(&o->most_pct);
    if (had == 0) { base_store_rlx(&o->breached, (uint64_t)0); } /* of an older namespace, maybe */
    base_store_rlx(&o->least_pct, least_pct);
    base_store_rlx(&o->most_pct, most_pct);
    if (base_load_rlx(&q->high) < number) { base_store_rel(&q->high, number); }
    l1_quota_sum(c, q);
}

CELLAR_PRIVATE uint32_t l1_quota_least(l1 *c)
{
    struct l1_quotas *q = base_load_acq(&c->quotas);
    uint32_t sum = 0;
    for (unsigned n = 0; q != NULL && n < base_load_rlx(&q->high); n++) {
        sum += base_load_rlx(&q->of[n].least_pct);
    }
    return sum;
}

CELLAR_PRIVATE void l1_quota_get(l1 *c, unsigned number, l1_share *out)
{
    struct l1_quotas *q = base_load_acq(&c->quotas);
    memset(out, 0, sizeof *out);
    if (q == NULL || number == 0) { return; }
    l1_quota_sum(c, q);
    const l1_quota *o = &q->of[number - 1];
    out->bytes = base_load_rlx(&o->bytes);
    out->floor = base_load_rlx(&o->floor);
    out->ceiling = base_load_rlx(&o->ceiling);
    out->entries = l1_quota_total(q, c->stripe_count, number, true);
    out->breached = base_load_rlx(&o->breached);
    out->least_pct = base_load_rlx(&o->least_pct);
    out->most_pct = base_load_rlx(&o->most_pct);
}

/* ---- audit ----------------------------------------------------------------------------------- */
static bool l1_quota_agrees(const l1 *c, _Atomic uint64_t *word, uint32_t generation,
                            uint64_t found)
{
    const uint64_t w = base_load_rlx(word);
    /* In the child, records stay counted that a lost thread had not yet subtracted. */
    return (uint32_t)(w >> 32) != generation || (uint32_t)w == found || c->forked;
}

/* Compare the counts of the stripe with its records. Return NULL, or what is wrong. */
CELLAR_PRIVATE const char *l1_quota_audit(l1 *c, l1_stripe *s)
{
    struct l1_quotas *q = base_load_acq(&c->quotas);
    uint64_t bytes[L1_QUOTAS] = {0}, entries[L1_QUOTAS] = {0};
    uint32_t generation[L1_QUOTAS] = {0};
    int64_t absent = 0, absent_bytes = 0;
    for (unsigned n = 0; q != NULL && n < L1_QUOTAS; n++) {
        generation[n] =
            (uint32_t)(base_load_rlx(&l1_quota_at(q, s->index_number, n + 1)->bytes) >> 32);
    }
    for (unsigned k = 0; k < 2; k++) {
        for (uint32_t seg = s->queue[k].tail; seg != L1_NONE; seg = c->seg[seg].next) {
            const l1_seg *g = &c->seg[seg];
            l1_rec r;
            for (uint32_t at = g->cursor; at < g->used_bytes; at += r.size) {
                const uint64_t pos = ((uint64_t)seg << c->seg_shift) + at;
                l1_bucket *b;
                l1_slot slot;
                uint32_t ver;
                if (!l1_decode(c, pos, &r)) { return "bytes in the log are no record"; }
                if (l1_is_absent(c, pos, &r) &&
                    l1_linked(c, s, pos, l1_hash_of(c, pos, &r), &b, &ver, &slot)) {
                    absent++;
                    absent_bytes += (int64_t)l1_weight(c, pos, &r);
                }
                const unsigned number = q != NULL ? l1_quota_of(c, r.generation) : 0;
                if (number == 0 || generation[number - 1] != r.generation ||
                    !l1_linked(c, s, pos, l1_hash_of(c, pos, &r), &b, &ver, &slot)) {
                    continue;
                }
                bytes[number - 1] += (l1_weight(c, pos, &r) + 7) >> L1_QUOTA_UNIT;
                entries[number - 1]++;
            }
        }
    }
    if ((absent != base_load_rlx(&s->absent_count) ||
         absent_bytes != base_load_rlx(&s->absent_bytes)) && !c->forked) {
        return "count of entries without value differs";
    }
    for (unsigned n = 0; q != NULL && n < base_load_rlx(&q->high); n++) {
        l1_quota_words *w = l1_quota_at(q, s->index_number, n + 1);
        if (l1_quota_of(c, generation[n]) != n + 1) { continue; } /* of a dropped namespace */
        if (!l1_quota_agrees(c, &w->bytes, generation[n], bytes[n]) ||
            !l1_quota_agrees(c, &w->entries, generation[n], entries[n])) {
            return "count of a share differs";
        }
    }
    return NULL;
}
