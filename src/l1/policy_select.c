/* SPDX-License-Identifier: MIT
 *
 * shadow: which rule of eviction this workload wants: measured on small copies of the cache.
 *
 * PICTURE    sampled requests -> rings (sample.c) -> five shadow caches, keys only, one a
 *            rule
 *                  hits of each, weighed by age -> the best rule -> one word all stripes read
 *            A shadow has room for n of the store's C entries and sees the n / C of the keys whose
 *            hash is lowest, so it does to its keys what the store would do to all.
 *            shadow = nodes (key with counter and queue, chain, next) in two FIFOs, and ghosts.
 * RULES      all are S3-FIFO with other constants: share of small; counter that earns main; horizon
 *            of the ghosts; and three switches. fill: while main is below its share, what leaves
 *            small goes there, used or not: an unproven tenant is better than an empty room, and
 *            under a loop main keeps what it has. gate: a ghost hit takes a place in main only from
 *            a record that was not used since the hand passed it. clock: all go into main.
 * SWITCH     every C/10 requests: another rule replaces the current one if it has more hits, by
 *            two and .7 of a standard deviation of the requests on which the two disagreed: in a
 *            small sample one or two hits more are nothing yet, whatever the deviation says. Older
 *            hits count less, by .8 every 8 C requests. No data moves: queues drift to the new
 *            shares.
 * ADVISOR    eight more caches of .25 to 8 times the size, all under the rule in force: their
 *            misses, as a multiple of those at this size, are what other budgets would give; the
 *            ratio counted says what the multiple is of. So a hot key in or out of the sample,
 *            whose requests hit at every size, changes nothing. Figures for all and for up to 64
 *            views; each halves by itself, a view with few requests remembers longer.
 * LOCKING    one flag, by exchange, never waited for: who finds it taken drops its sample. Under it
 *            nothing is locked, allocated or called.
 * LIMITS     n = 32..512, so that all tables together stay below 4 B an entry (or 16 KiB); a look
 *            at 16 nodes a request. A tiny store (C <= 32) shows every key.
 * TRIED      on 86 informative public cells, mean reduction of FIFO's misses, exact model:
 *              static rules: small .1 and threshold 1 .0843, 2 .0835; with fill .0928, .0943; .4
 *              .0743; .9 .0195; clock .0520; small .01 with fill .0761, with gate .0664.
 *              TinyLFU's admission by a sketch of 8 to 16 counters an entry: .1, promotion .0921;
 *              .01 alone .0489. The sketch shrunk to what memory allows: 8 x 4 bits in one line
 *              .0911, 4 x .0867, 2.5 x .0845 (adaptive): fill alone gives more and needs nothing,
 *              so there is no sketch.
 *              adaptive, five rules of two with a sketch, epoch 2 C: .1007; every C/4 with the test
 *              of disagreement .1055 (generous sketch), without sketch .1031, six rules and two
 *              horizons .1037-.1046, worst cell .8-1.8 points above LRU. Test at 0, .5, 1, 2
 *              deviations: .1032 .1046 .1032 .1022. Starting with fill instead of threshold 1:
 *              .002 more on loops, .001 less without them, worst cell +2.4.
 *              memory of the scores and the test (exact model, five seeds; mean, without loops,
 *              worst cell): .8 in 2 C and .5 deviations .1015 .0843 +2.0; 8 C .1020 .0847 +2.4;
 *              16 C .1021; .7 deviations and 8 C .1018 .0849 +1.7, with rings of 8 keys .1029 .0862
 *              +1.1, won or tied .80 .89 .83 instead of .75 .82 .82: six noisy counts that follow
 *              each other closely need more evidence. With these: without the rule of .9 .1025,
 *              +2.4; one horizon of .9 C .1016; starting with fill .1037, .0839, +3.4.
 *              In the engine with its default stripes: .0984 -> .0996, without loops .0812 ->
 *              .0828, worst +2.4 -> +1.8 (cellar-replay, 86 cells).
 *              hits more that show nothing: 0 .1025 .0860 (won .80), 1 .1029 .0869 (.82), 2 .1033
 *              .0874 (.84), 3 .1033 .0882, 4 .1031 .0879, 6 .1031 .0879 (.86); on half of the
 *              traces 2 is best, on the other 6. Then without the rule of .9 (a FIFO with a second
 *              chance, the best rule of no cell, but chosen for a while in many): .1038 .0880,
 *              worst +2.4 in 44 entries; on one half .0019 less, all of it that cell, on the other
 *              .0024 more. In its place, small and threshold: .2 1 .1036, .6 2 .1028, .4 1 and
 *              fill .1042, .1 2 .1042, .1 2, fill and gate .1041. Start with fill .1048 .0854,
 *              +3.5: it gains with loops alone. Memory of 16 C .1035, 4 C .1030. Larger samples
 *              (all tables may take what they want): .1020. Ghost lines closed up after a hit
 *              (s3fifo nearer to the published one by 1.3 points in one cell): .0007 less.
 *              In the engine: none of both .0996 .0828 +1.8, two hits .1005 .0845 +2.0, both .1030
 *              .0874 +2.4, won or tied s3fifo .79, arc .90, lirs .83; both steps gain on either
 *              half of the traces (.0985 .0999 .1035; .1101 .1106 .1123 of 82 cells).
 *              n = C (no sampling) .1061, 512 .1063, 256 .1060, 128 .1051: the sample is no limit.
 *              more rules (eight): .1061; best rule of each cell by hindsight: .112.
 *            advisor, cellar-replay --advisor, mean distance to full replays of eight sizes, cells
 *            of 1,000 entries and more: points moved by the difference at this size: arc_oltp at
 *            18,688 1.90 points; misses scaled instead: .77. Spoken after 4,096 sampled requests:
 *            .73 points, but 18 of 47 cells are too short for it; 1,024: .81, 8 too short; 512:
 *            .84, 2 too short (worst 4.8: cp_vscsi, where adaptive itself was no smooth function
 *            of the size; with the rules as they are now .71, worst 3.1). Tables of 1.6 B an entry
 *            instead of .67 % of the budget: 16 to 30 keys at a thousand entries, not worth a word.
 * SOURCE     Waldspurger et al. 2015, 2017 (spatial sampling, scaled-down caches); McNemar 1947;
 *            Yang et al. 2023 (S3-FIFO). */
#include <string.h>

#include "l1/l1_int.h"

#define L1_SHADOW_LEAST 32u
#define L1_SHADOW_MOST 512u
#define L1_ADVISOR_MOST 512u
#define L1_ADVISOR_LEAST_ENTRIES 1000u
#define L1_ADVISOR_VIEWS 64u
#define L1_ADVISOR_SHARE 150u  /* of the budget: one part; beside it `why` has up to .53 % */
#define L1_ADVISOR_WINDOW 32u  /* requests an entry, then older ones count half */
#define L1_ADVISOR_SURE 512u  /* sampled requests before anything is said */
#define L1_ADVICE_NOW 3u       /* the place of 100 % among the sizes */
#define L1_SHADOW_LOOKS 16u
#define L1_SHADOW_TABLES ((uint64_t)16 << 10) /* eviction's tables may always take so much */
#define L1_SHADOW_UNIT 1024                   /* of a score: one hit */
#define L1_SHADOW_DOUBT (2 * L1_SHADOW_UNIT) /* hits more that show nothing yet */
#define L1_SHADOW_REFIT 32u /* epochs between looks at how many entries there are */

typedef struct l1_shade { /* a node: an entry of a shadow cache */
    uint32_t key;         /* hash bits, then main (bit 2) and counter (bits 0..1) */
    uint16_t chain, next; /* number + 1 of the next with this hash, in this queue; 0: none */
} l1_shade;

typedef struct l1_shadow_cache {
    l1_shade *node;
    uint16_t *chain; /* mask + 1 heads */
    uint16_t mask, free;
    struct { uint16_t tail, head, n; } queue[2]; /* 0 small, 1 main; number + 1 */
    l1_ghosts ghost;
    uint32_t capacity;
} l1_shadow_cache;

/* One cache for each size, all under the rule in force, fed with part of the same sample. */
typedef struct l1_advised { uint32_t requests, hits[L1_ADVICE]; } l1_advised;
typedef struct l1_advisor {
    uint32_t n, limit;  /* entries at 100 %; keys below the limit are looked at */
    uint32_t view_count;
    uint16_t view[L1_ADVISOR_VIEWS]; /* their numbers, in the order they were met */
    l1_advised of[L1_ADVISOR_VIEWS], all;
    size_t bytes;       /* of this block */
    l1_shadow_cache cache[L1_ADVICE];
} l1_advisor;
static const uint32_t l1_advice_pct[L1_ADVICE] = L1_ADVICE_PCT;

struct l1_shadow {
    _Atomic uint32_t busy; /* 1: somebody works on what follows; acquire and release by exchange */
    uint32_t n, epoch, since, epochs;
    uint32_t decay; /* of 65536: what an epoch takes from a score */
    uint64_t entries; /* C: what n stands for */
    int64_t score[L1_EXPERTS];
    int64_t differ[L1_EXPERTS][L1_EXPERTS]; /* requests one of the two hit and the other missed */
    uint64_t switches;
    size_t bytes; /* of this block */
    l1_advisor *advisor; /* NULL: none; fixed at open */
    l1_shadow_cache cache[L1_EXPERTS];
};

/* ---- one cache ------------------------------------------------------------------------------- */

static uint16_t *l1_shade_at(l1_shadow_cache *s, uint32_t key)
{
    uint16_t *at = &s->chain[(key >> 3) & s->mask];
    while (*at != 0 && (s->node[*at - 1].key ^ key) >> 3 != 0) { at = &s->node[*at - 1].chain; }
    return at;
}

static void l1_shade_push(l1_shadow_cache *s, unsigned q, uint16_t number)
{
    s->node[number - 1].next = 0;
    if (s->queue[q].head != 0) {
        s->node[s->queue[q].head - 1].next = number;
    } else {
        s->queue[q].tail = number;
    }
    s->queue[q].head = number;
    s->queue[q].n++;
}

static uint16_t l1_shade_pop(l1_shadow_cache *s, unsigned q)
{
    const uint16_t number = s->queue[q].tail;
    s->queue[q].tail = s->node[number - 1].next;
    if (s->queue[q].tail == 0) { s->queue[q].head = 0; }
    s->queue[q].n--;
    return number;
}

static uint64_t l1_shade_mix(uint32_t key) { return base_mix64((uint64_t)(key >> 3) + 1); }

static void l1_shade_drop(l1_shadow_cache *s, uint16_t number)
{
    l1_shade *y = &s->node[number - 1];
    *l1_shade_at(s, y->key) = y->chain;
    y->next = s->free;
    s->free = number;
}

/* The hand at main: true if its record was used since it passed, and is carried to the head. */
static bool l1_shade_carry(l1_shadow_cache *s)
{
    const uint16_t number = s->queue[1].tail;
    l1_shade *y = &s->node[number - 1];
    if ((y->key & 3u) == 0) { return false; }
    y->key--;
    l1_shade_push(s, 1, l1_shade_pop(s, 1));
    return true;
}

/* One step of the cursor, as evict.c takes it; `force`: no more keeping. */
static void l1_shade_step(l1_shadow_cache *s, const l1_rule *r, bool force)
{
    const uint64_t small = s->queue[0].n, mainq = s->queue[1].n;
    if (l1_rule_queue(r, small, mainq) == 1) {
        if (force || !l1_shade_carry(s)) { l1_shade_drop(s, l1_shade_pop(s, 1)); }
        return;
    }
    const uint16_t number = l1_shade_pop(s, 0);
    l1_shade *y = &s->node[number - 1];
    if (!force && l1_rule_keeps(r, y->key & 3u, small, mainq)) {
        y->key = (y->key & ~7u) | 4u;
        l1_shade_push(s, 1, number);
        return;
    }
    l1_ghost_add(&s->ghost, l1_shade_mix(y->key));
    l1_shade_drop(s, number);
}

/* `count` requests for one key at once; whether the first one hit. */
static bool l1_shade_request(l1_shadow_cache *s, const l1_rule *r, uint32_t key, uint32_t count)
{
    uint16_t *at = l1_shade_at(s, key);
    if (*at != 0) {
        l1_shade *y = &s->node[*at - 1];
        y->key = (y->key & ~3u) | BASE_MIN((y->key & 3u) + count, 3u);
        return true;
    }
    const uint64_t horizon = (uint64_t)s->capacity * r->horizon / 10;
    bool ghost = l1_ghost_take(&s->ghost, l1_shade_mix(key), horizon);
    if (s->free == 0) {
        if (ghost && r->gate && s->queue[1].n != 0) { ghost = !l1_shade_carry(s); }
        for (unsigned looks = 0; s->free == 0; looks++) {
            l1_shade_step(s, r, looks >= L1_SHADOW_LOOKS);
        }
    }
    const uint16_t number = s->free;
    BASE_POINT("l1.shadow.taken");
    l1_shade *x = &s->node[number - 1];
    const unsigned q = ghost || r->clock ? 1 : 0;
    s->free = x->next;
    x->key = (key & ~7u) | q << 2 | BASE_MIN(count - 1, 3u);
    at = &s->chain[(key >> 3) & s->mask];
    x->chain = *at;
    *at = number;
    l1_shade_push(s, q, number);
    return false;
}

/* ---- open, close ----------------------------------------------------------------------------- */

static size_t l1_shadow_bytes(uint32_t n, uint32_t *heads, uint32_t *lines)
{
    *heads = (uint32_t)base_pow2_floor(n);
    *lines = (n * L1_GHOST_TENTHS / 10 + L1_GHOST_FPS - 1) / L1_GHOST_FPS;
    return (size_t)*lines * L1_GHOST_LINE + (size_t)n * sizeof(l1_shade) +
           (size_t)*heads * sizeof(uint16_t);
}

/* In `block` of l1_shadow_bytes, zero. */
static void l1_shadow_cache_open(l1_shadow_cache *s, uint32_t n, unsigned char *block)
{
    uint32_t heads, lines;
    (void)l1_shadow_bytes(n, &heads, &lines);
    l1_ghosts_set(&s->ghost, (uint16_t *)(void *)block, lines);
    s->node = (l1_shade *)(void *)(block + (size_t)lines * L1_GHOST_LINE);
    s->chain = (uint16_t *)(void *)(s->node + n);
    s->mask = (uint16_t)(heads - 1);
    s->capacity = n;
    for (uint32_t i = 0; i < n; i++) { s->node[i].next = (uint16_t)(i + 1 < n ? i + 2 : 0); }
    s->free = 1;
}

static void l1_shadow_cache_empty(l1_shadow_cache *s)
{
    uint32_t heads, lines;
    const uint32_t n = s->capacity;
    unsigned char *block = (unsigned char *)base_load_rlx(&s->ghost.line);
    memset(block, 0, l1_shadow_bytes(n, &heads, &lines));
    memset(s, 0, sizeof *s);
    l1_shadow_cache_open(s, n, block);
}

static size_t l1_shadow_block(uint32_t n)
{
    uint32_t heads, lines;
    return (size_t)base_round_up(sizeof(struct l1_shadow), 64) +
           (size_t)base_round_up(l1_shadow_bytes(n, &heads, &lines), 64) * L1_EXPERTS;
}

static uint32_t l1_shadow_size(const l1 *c, uint64_t entries)
{
    if (entries <= L1_SHADOW_LEAST) { return (uint32_t)BASE_MAX(entries, 1); }
    const uint64_t spent = base_block_bytes(c->account, c->ghost_bytes) +
                           base_block_bytes(c->account, (size_t)l1_samples_bytes(entries));
    const uint64_t may = BASE_MAX(L1_SHADOW_TABLES, entries * 15 / 4);
    uint32_t n = (uint32_t)BASE_MIN(entries, base_clamp(entries / 50, 128, L1_SHADOW_MOST));
    while (n > L1_SHADOW_LEAST && spent + base_block_bytes(c->account, l1_shadow_block(n)) > may) {
        n--;
    }
    return n;
}

/* The shadows stay n entries large; what part of the keys they see follows the store. */
static void l1_shadow_fit(l1 *c, struct l1_shadow *w, uint64_t entries)
{
    w->entries = BASE_MAX(entries, 1);
    const uint64_t requests = BASE_MAX(w->entries / 10, 100); /* of the store, in an epoch */
    w->epoch = (uint32_t)BASE_MAX(requests * w->n / w->entries, 1);
    /* ln .8 = -.223 in 8 C requests, at least 1,000 */
    w->decay = (uint32_t)BASE_MAX(14624 * requests / BASE_MAX(8 * w->entries, 1000), 1);
    const bool all = w->n >= w->entries;
    l1_sample(c, all ? UINT64_MAX : UINT64_MAX / w->entries * w->n);
}

static size_t l1_advisor_bytes(uint32_t n)
{
    size_t sum = (size_t)base_round_up(sizeof(l1_advisor), 64);
    for (unsigned i = 0; i < L1_ADVICE; i++) {
        uint32_t heads, lines;
        sum += (size_t)base_round_up(
            l1_shadow_bytes(BASE_MAX(n * l1_advice_pct[i] / 100, 1), &heads, &lines), 64);
    }
    return sum;
}

/* NULL: switched off, no memory, or so small a store that its part of it would tell nothing. */
static l1_advisor *l1_advisor_open(l1 *c, uint32_t shadow_n, uint64_t entries, uint64_t budget)
{
    if (c->no_advisor || entries < L1_ADVISOR_LEAST_ENTRIES) { return NULL; }
    uint32_t n = BASE_MIN(shadow_n, L1_ADVISOR_MOST);
    while (n > 16 && l1_advisor_bytes(n) > budget / L1_ADVISOR_SHARE) { n--; }
    const size_t bytes = l1_advisor_bytes(n);
    unsigned char *block = base_alloc_held(c->account, BASE_MOD_ADVISOR, bytes, NULL);
    if (block == NULL) { return NULL; }
    l1_advisor *a = (l1_advisor *)(void *)block;
    a->n = n;
    a->limit = n == shadow_n ? UINT32_MAX : UINT32_MAX / shadow_n * n;
    a->bytes = bytes;
    block += base_round_up(sizeof *a, 64);
    for (unsigned i = 0; i < L1_ADVICE; i++) {
        uint32_t heads, lines;
        const uint32_t size = BASE_MAX(n * l1_advice_pct[i] / 100, 1);
        l1_shadow_cache_open(&a->cache[i], size, block);
        block += base_round_up(l1_shadow_bytes(size, &heads, &lines), 64);
    }
    return a;
}

CELLAR_PRIVATE bool l1_shadow_open(l1 *c)
{
    const uint64_t budget = base_load_rlx(&c->account->limit), entries = l1_entries_of(c, budget);
    struct l1_shadow *w = base_load_acq(&c->shadow);
    if (w != NULL) { /* there was a time of another policy; a resize may have come in between */
        l1_shadow_refit(c);
        return true;
    }
    if (entries < 2) { return false; }
    const uint32_t n = l1_shadow_size(c, entries);
    uint32_t heads, lines;
    const size_t each = (size_t)base_round_up(l1_shadow_bytes(n, &heads, &lines), 64);
    const size_t head = (size_t)base_round_up(sizeof *w, 64);
    const size_t bytes = l1_shadow_block(n);
    unsigned char *block = base_alloc_held(c->account, BASE_MOD_SHADOW, bytes, NULL);
    if (block == NULL) { return false; }
    if (!l1_samples_open(c, entries)) {
        base_free(c->account, BASE_MOD_SHADOW, block, bytes);
        return false;
    }
    w = (struct l1_shadow *)(void *)block;
    w->bytes = bytes;
    w->n = n;
    w->advisor = l1_advisor_open(c, n, entries, budget);
    for (unsigned e = 0; e < L1_EXPERTS; e++) {
        l1_shadow_cache_open(&w->cache[e], n, block + head + each * e);
    }
    if (!base_cas_ar(&c->shadow, (struct l1_shadow *)NULL, w)) {
        if (w->advisor != NULL) {
            base_free(c->account, BASE_MOD_ADVISOR, w->advisor, w->advisor->bytes);
        }
        base_free(c->account, BASE_MOD_SHADOW, block, bytes);
    }
    l1_shadow_refit(c);
    return true;
}

CELLAR_PRIVATE void l1_shadow_close(l1 *c)
{
    struct l1_shadow *w = base_load_rlx(&c->shadow);
    if (w != NULL) {
        if (w->advisor != NULL) {
            base_free(c->account, BASE_MOD_ADVISOR, w->advisor, w->advisor->bytes);
        }
        base_free(c->account, BASE_MOD_SHADOW, w, w->bytes);
    }
    base_store_rlx(&c->shadow, (struct l1_shadow *)NULL);
}

/* ---- the controller -------------------------------------------------------------------------- */

static uint64_t l1_entries_now(const l1 *c)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < c->stripe_count; i++) { n += l1_stripe_entries(&c->stripe[i]); }
    return n;
}

/* How many entries the store holds when it is full: as bounded, else as seen, else as expected. */
static void l1_shadow_count(l1 *c, struct l1_shadow *w)
{
    uint64_t entries = l1_entries_of(c, base_load_rlx(&c->account->limit));
    if (base_load_rlx(&c->max_entries) == 0 && base_load_rlx(&c->low) != 0) {
        entries = BASE_MAX(l1_entries_now(c), 1);
    }
    l1_shadow_fit(c, w, entries);
}

static void l1_shadow_judge(l1 *c, struct l1_shadow *w)
{
    const unsigned now = base_load_rlx(&c->rule);
    unsigned best = now;
    w->since = 0;
    if (now < L1_EXPERTS) {
        for (unsigned e = 0; e < L1_EXPERTS; e++) {
            const int64_t more = w->score[e] - w->score[now] - L1_SHADOW_DOUBT;
            /* more / UNIT > sqrt(differ / UNIT / 2) */
            if (more > 0 && w->score[e] > w->score[best] &&
                more * 2 / L1_SHADOW_UNIT * more > w->differ[e][now]) {
                best = e;
            }
        }
        if (best != now) {
            base_store_rlx(&c->rule, (uint32_t)best);
            w->switches++;
        }
    }
    for (unsigned e = 0; e < L1_EXPERTS; e++) {
        w->score[e] -= w->score[e] * (int64_t)w->decay / 65536;
        for (unsigned o = 0; o < L1_EXPERTS; o++) {
            w->differ[e][o] -= w->differ[e][o] * (int64_t)w->decay / 65536;
        }
    }
    if (++w->epochs % L1_SHADOW_REFIT == 0) { l1_shadow_count(c, w); }
}

/* A view's figures; NULL: none of its own. */
static l1_advised *l1_advisor_view(l1_advisor *a, uint32_t view, bool make)
{
    uint32_t i = 0;
    while (i < a->view_count && a->view[i] != view) { i++; }
    if (i == a->view_count) {
        if (!make || view == L1_NO_VIEW || i == L1_ADVISOR_VIEWS) { return NULL; }
        a->view_count++;
        a->view[i] = (uint16_t)view; /* < L1_NO_VIEW */
        memset(&a->of[i], 0, sizeof a->of[i]);
    }
    return &a->of[i];
}

static void l1_advisor_count(const l1_advisor *a, l1_advised *d, const uint32_t hits[L1_ADVICE],
                             uint32_t count)
{
    d->requests += count;
    for (unsigned i = 0; i < L1_ADVICE; i++) { d->hits[i] += hits[i]; }
    if (d->requests > L1_ADVISOR_WINDOW * a->n && d->requests > 32 * L1_ADVISOR_SURE) {
        d->requests /= 2;
        for (unsigned i = 0; i < L1_ADVICE; i++) { d->hits[i] /= 2; }
    }
}

static void l1_advisor_key(const l1 *c, l1_advisor *a, uint32_t key, uint32_t count, uint32_t view)
{
    uint32_t hits[L1_ADVICE];
    for (unsigned i = 0; i < L1_ADVICE; i++) {
        hits[i] = l1_shade_request(&a->cache[i], l1_rule_now(c), key, count) + count - 1;
    }
    l1_advisor_count(a, &a->all, hits, count);
    l1_advised *d = l1_advisor_view(a, view, true);
    if (d != NULL) { l1_advisor_count(a, d, hits, count); }
}

/* The advisor, with the flag held; NULL: none. */
static l1_advisor *l1_advisor_take(l1 *c)
{
    struct l1_shadow *w = base_load_acq(&c->shadow);
    if (w == NULL || w->advisor == NULL) { return NULL; }
    while (base_xchg_ar(&w->busy, 1u) != 0) { base_yield(); }
    return w->advisor;
}

static void l1_advisor_give(l1 *c) { base_store_rel(&base_load_acq(&c->shadow)->busy, 0u); }

CELLAR_PRIVATE cellar_err l1_advise(l1 *c, uint32_t view, double measured, l1_advice *out)
{
    memset(out, 0, sizeof *out);
    l1_advisor *a = base_load_rlx(&c->policy) == L1_ADAPTIVE ? l1_advisor_take(c) : NULL;
    if (a == NULL) { return CELLAR_E_UNSUPPORTED; }
    const l1_advised *of = view == L1_NO_VIEW ? &a->all : l1_advisor_view(a, view, false);
    const l1_advised d = of != NULL ? *of : (l1_advised){ .requests = 0 };
    l1_advisor_give(c);
    out->requests = d.requests;
    if (d.requests < L1_ADVISOR_SURE) { return CELLAR_PENDING; }
    /* A hot key in or out of the sample brings or takes requests that are hits at every size: how
     * many of them are amiss shows at the size there is, where the ratio was counted. */
    const double missed = (double)(d.requests - d.hits[L1_ADVICE_NOW]);
    const bool moved = measured >= 0 && missed != 0;
    const double one = moved ? (1 - measured) / missed : 1 / (double)d.requests;
    /* Counted misses of which the sample has none (deleted keys, say) are misses at every size. */
    const double most = measured >= 0 && missed == 0 ? measured : 1;
    for (unsigned i = 0; i < L1_ADVICE; i++) {
        const double ratio = most - (double)(d.requests - d.hits[i]) * one;
        out->ratio[i] = ratio < 0 ? 0 : ratio;
    }
    return CELLAR_OK;
}

CELLAR_PRIVATE void l1_advise_anew(l1 *c, uint32_t view)
{
    l1_advisor *a = l1_advisor_take(c);
    if (a == NULL) { return; }
    l1_advised *d = l1_advisor_view(a, view, false);
    if (d != NULL) {
        const uint32_t last = --a->view_count;
        a->view[d - a->of] = a->view[last];
        *d = a->of[last];
    }
    l1_advisor_give(c);
}

static void l1_shadow_key(l1 *c, struct l1_shadow *w, uint32_t key, uint32_t count, uint32_t view)
{
    if (w->advisor != NULL && key <= w->advisor->limit) {
        l1_advisor_key(c, w->advisor, key, count, view);
    }
    uint32_t hits = 0;
    for (unsigned e = 0; e < L1_EXPERTS; e++) {
        hits |= (uint32_t)l1_shade_request(&w->cache[e], l1_rule_at(e), key, count) << e;
    }
    if (hits != 0 && hits != (1u << L1_EXPERTS) - 1) {
        for (unsigned e = 0; e < L1_EXPERTS; e++) {
            w->score[e] += (hits >> e & 1u) * L1_SHADOW_UNIT;
            for (unsigned o = 0; o < L1_EXPERTS; o++) {
                w->differ[e][o] += ((hits >> e ^ hits >> o) & 1u) * L1_SHADOW_UNIT;
            }
        }
    }
    w->since += count;
    if (w->since >= w->epoch) { l1_shadow_judge(c, w); }
}

CELLAR_PRIVATE bool l1_shadow_feed(l1 *c, const l1_asked *a)
{
    struct l1_shadow *w = base_load_acq(&c->shadow);
    if (w == NULL) { return false; }
    if (base_xchg_ar(&w->busy, 1u) != 0 && !BASE_MUTANT("l1.shadow_no_flag")) { return false; }
    for (uint32_t i = 0; i < a->n; i++) { l1_shadow_key(c, w, a->key[i], a->count[i], a->view[i]); }
    BASE_POINT("l1.shadow.fed");
    base_store_rel(&w->busy, 0u);
    return true;
}

CELLAR_PRIVATE void l1_shadow_refit(l1 *c)
{
    struct l1_shadow *w = base_load_acq(&c->shadow);
    if (w == NULL || base_load_rlx(&c->policy) != L1_ADAPTIVE) { return; }
    if (base_xchg_ar(&w->busy, 1u) != 0) { return; } /* the next epochs see to it */
    l1_shadow_count(c, w);
    base_store_rel(&w->busy, 0u);
}

CELLAR_PRIVATE uint64_t l1_shadow_switches(const l1 *c)
{
    struct l1_shadow *w = base_load_acq(&c->shadow);
    if (w == NULL) { return 0; }
    while (base_xchg_ar(&w->busy, 1u) != 0) { base_yield(); }
    const uint64_t n = w->switches;
    base_store_rel(&w->busy, 0u);
    return n;
}

/* Every node is free or in one queue, and found by its key. */
CELLAR_PRIVATE const char *l1_shadow_audit(l1 *c)
{
    struct l1_shadow *w = base_load_acq(&c->shadow);
    if (w == NULL || base_xchg_ar(&w->busy, 1u) != 0) { return NULL; }
    const char *wrong = NULL;
    for (unsigned e = 0; e < L1_EXPERTS; e++) {
        l1_shadow_cache *s = &w->cache[e];
        uint32_t seen = 0;
        for (uint16_t at = s->free; at != 0 && seen <= w->n; at = s->node[at - 1].next) { seen++; }
        for (unsigned q = 0; q < 2; q++) {
            uint32_t queued = 0;
            for (uint16_t at = s->queue[q].tail; at != 0 && queued <= w->n;
                 at = s->node[at - 1].next) {
                queued++;
                if (*l1_shade_at(s, s->node[at - 1].key) != at) { wrong = "shadow: lost key"; }
                if ((s->node[at - 1].key >> 2 & 1u) != q) { wrong = "shadow: wrong queue"; }
            }
            if (queued != s->queue[q].n) { wrong = "shadow: queue count differs"; }
            seen += queued;
        }
        if (seen != w->n) { wrong = "shadow: nodes lost"; }
    }
    base_store_rel(&w->busy, 0u);
    return wrong;
}

/* A thread of the parent may have been inside. */
CELLAR_PRIVATE void l1_shadow_child(l1 *c)
{
    struct l1_shadow *w = base_load_acq(&c->shadow);
    if (w == NULL || base_load_rlx(&w->busy) == 0) { return; }
    /* Half a step of a queue cannot be told from a whole one: empty, with the hits as they were. */
    for (unsigned e = 0; e < L1_EXPERTS; e++) { l1_shadow_cache_empty(&w->cache[e]); }
    for (unsigned i = 0; w->advisor != NULL && i < L1_ADVICE; i++) {
        l1_shadow_cache_empty(&w->advisor->cache[i]);
    }
    base_store_rel(&w->busy, 0u);
}
