/* SPDX-License-Identifier: MIT
 *
 * policy_select: choose the eviction rule for the workload by simulating small copies of the cache.
 *
 * PICTURE    sampled requests -> rings (request_sample.c) -> four shadow caches, keys only, one
 *            per rule
 *              -> hits of each, weighted by age -> the best rule -> one word that all lanes read
 *            A shadow cache holds n of the C entries of the store and sees the n / C of the keys
 *            with the lowest hashes. So it does to its keys what the store would do to all keys.
 *            By chance fewer keys are there: then it holds as many as the store when it is first
 *            full, below n.
 *            shadow cache = nodes (key with counter and queue, chain, next) in two FIFOs + ghosts
 *            Advisor: eight more caches of .25 to 8 times the size, all under the current rule.
 * INVARIANTS A node is free or in exactly one queue, and its key finds it.
 *            Epoch: C/10 requests. At its end another rule replaces the current one if it has
 *            more hits, by 2 standard deviations of the requests on which the two disagree.
 *            Older hits lose weight, by .8 every 8 C requests.
 *            A new rule moves no data: the queues drift to the new shares.
 * LOCKING    One flag, by exchange. A get never waits for it: if the flag is taken, the sample is
 *            dropped. The advisor waits. Under the flag a thread takes no lock,
 *            allocates nothing and calls no user code.
 * LIMITS     n = 24..512, so that all tables together stay below 4.6 B per entry (or 17 KiB),
 *            from 8,192 entries on below 3.6 B and 8 KiB; 32 nodes examined per request; figures
 *            for up to 64 namespaces. A store with C <= 24 sees every key.
 * SEE ALSO   README.md: rules, switch, advisor, rejected designs. Waldspurger et al. 2015, 2017
 *            (spatial sampling); McNemar 1947; Yang et al. 2023 (S3-FIFO). */
#include <string.h>

#include "l1/policy.h"

#define L1_SHADOW_LEAST 24u
#define L1_SHADOW_MOST 512u
#define L1_ADVISOR_MOST 512u
#define L1_ADVISOR_LEAST_ENTRIES 1000u
#define L1_ADVISOR_NAMESPACES 64u
#define L1_ADVISOR_SHARE 150u  /* 1 / share of the budget; `why` takes up to .53 % more */
#define L1_ADVISOR_WINDOW 32u  /* requests per entry, then older ones count half */
#define L1_ADVISOR_SURE 512u  /* sampled requests before the advisor answers */
#define L1_ADVICE_NOW 3u       /* index of 100 % among the sizes */
#define L1_SHADOW_TABLES ((uint64_t)16 << 10) /* bytes the eviction tables may always take */
#define L1_SHADOW_MORE ((uint64_t)8 << 10)    /* the most of one more byte an entry */
#define L1_SHADOW_UNIT 1024                   /* score of one hit */

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
    l1_learned learned;
    uint32_t capacity; /* nodes it may hold, at most those it has */
} l1_shadow_cache;

/* One cache per size, all under the current rule, fed with a part of the same sample. */
typedef struct l1_advised { uint32_t requests, hits[L1_ADVICE]; } l1_advised;
typedef struct l1_advisor {
    uint32_t n, limit;  /* entries at 100 %; largest key it sees */
    uint32_t most;      /* n that the block has room for */
    uint32_t namespace_count;
    /* their numbers, in the order of their first request */
    uint16_t namespace[L1_ADVISOR_NAMESPACES];
    l1_advised of[L1_ADVISOR_NAMESPACES], all;
    size_t bytes;       /* size of this block */
    l1_shadow_cache cache[L1_ADVICE];
} l1_advisor;
static const uint32_t l1_advice_pct[L1_ADVICE] = L1_ADVICE_PCT;

typedef struct l1_shadow_set { /* one block with its tables behind it */
    uint32_t n;
    size_t bytes;
    l1_shadow_cache cache[L1_EXPERTS];
} l1_shadow_set;

struct l1_shadow {
    _Atomic uint32_t busy; /* 1: a thread works on the rest; acquire and release by exchange */
    uint32_t epoch, since;
    bool filled; /* cache[0] was full */
    bool late;   /* open since the store was full */
    uint32_t fill_requests, fill_hits; /* of cache[0], until then */
    uint32_t decay; /* of 65536: what an epoch takes from a score */
    int64_t score[L1_EXPERTS];
    int64_t differ[L1_EXPERTS][L1_EXPERTS]; /* requests that hit in one and missed in the other */
    l1_advisor *advisor; /* NULL: none; fixed at open */
    l1_shadow_set *set;  /* l1_fit replaces it by one of another size */
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
    s->learned.moves += q;
}

static uint16_t l1_shade_pop(l1_shadow_cache *s, unsigned q)
{
    const uint16_t number = s->queue[q].tail;
    s->queue[q].tail = s->node[number - 1].next;
    if (s->queue[q].tail == 0) { s->queue[q].head = 0; }
    s->queue[q].n--;
    return number;
}

static bool l1_shade_full(const l1_shadow_cache *s)
{
    return (uint32_t)s->queue[0].n + s->queue[1].n >= s->capacity;
}

static uint64_t l1_shade_mix(uint32_t key) { return base_mix64((uint64_t)(key >> 3) + 1); }

/* Move the oldest record of main to its head if it was used since the last pass. Return false if it
 * was not. */
static bool l1_shade_carry(l1_shadow_cache *s, const l1_rule *r)
{
    const uint16_t number = s->queue[1].tail;
    l1_shade *y = &s->node[number - 1];
    if ((y->key & 3u) == 0) { return false; }
    y->key = (y->key & ~3u) | l1_rule_rest(r, y->key & 3u);
    l1_shade_push(s, 1, l1_shade_pop(s, 1));
    return true;
}

/* Move the cursor one step, as evict.c does; `force`: keep no record. */
static void l1_shade_step(l1_shadow_cache *s, const l1_rule *r, bool force)
{
    const uint64_t small = s->queue[0].n, mainq = s->queue[1].n;
    const unsigned q = l1_rule_queue(r, &s->learned, small, mainq);
    if (q == 1 && !force && l1_shade_carry(s, r)) { return; }
    const uint16_t number = l1_shade_pop(s, q);
    l1_shade *y = &s->node[number - 1];
    if (q == 0 && !force && l1_rule_keeps(r, &s->learned, y->key & 3u, small, mainq)) {
        y->key = (y->key & ~7u) | 4u;
        l1_shade_push(s, 1, number);
        return;
    }
    if (q == 0 || r->both) { l1_ghost_add(&s->ghost, l1_shade_mix(y->key), q == 1); }
    *l1_shade_at(s, y->key) = y->chain;
    y->next = s->free;
    s->free = number;
}

/* Apply `count` requests for one key. Return whether the first one hit. */
static bool l1_shade_request(l1_shadow_cache *s, const l1_rule *r, uint32_t key, uint32_t count)
{
    uint16_t *at = l1_shade_at(s, key);
    if (*at != 0) {
        l1_shade *y = &s->node[*at - 1];
        y->key = (y->key & ~3u) | BASE_MIN((y->key & 3u) + count, 3u);
        return true;
    }
    l1_learn_set(&s->learned, s->capacity);
    const l1_ghost g = l1_ghost_take(&s->ghost, l1_shade_mix(key));
    const uint64_t mainq = l1_shade_full(s) ? s->queue[1].n : 0;
    bool ghost = g.age != UINT64_MAX && l1_ghost_earns(g, r, &s->learned, s->capacity, mainq);
    if (l1_shade_full(s)) {
        if (ghost && r->gate && s->queue[1].n != 0) { ghost = !l1_shade_carry(s, r); }
        for (unsigned looks = 0; l1_shade_full(s); looks++) {
            l1_shade_step(s, r, looks >= L1_LOOKS);
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

BASE_SIZE_BEGIN

/* ---- open, close ----------------------------------------------------------------------------- */
static uint32_t l1_shadow_lines(uint32_t n)
{
    return (n * L1_GHOST_TENTHS / 10 + L1_GHOST_FPS - 1) / L1_GHOST_FPS;
}

/* Return the bytes of the tables of a cache of n nodes. */
static size_t l1_shadow_bytes(uint32_t n)
{
    const uint64_t nodes = (uint64_t)n * sizeof(l1_shade) + base_pow2_floor(n) * sizeof(uint16_t);
    return (size_t)base_round_up((uint64_t)l1_shadow_lines(n) * L1_GHOST_LINE + nodes, 64);
}

/* Open one cache in a zeroed `block`. Return the end of its tables. */
static unsigned char *l1_shadow_cache_open(l1_shadow_cache *s, uint32_t n, unsigned char *block)
{
    const uint32_t lines = l1_shadow_lines(n);
    memset(s, 0, sizeof *s);
    l1_ghosts_set(&s->ghost, block, lines);
    s->node = (l1_shade *)(void *)(block + (size_t)lines * L1_GHOST_LINE);
    s->chain = (uint16_t *)(void *)(s->node + n);
    s->mask = (uint16_t)(base_pow2_floor(n) - 1);
    s->capacity = n;
    s->learned.small = L1_SMALL_START;
    for (uint32_t i = 0; i < n; i++) { s->node[i].next = (uint16_t)(i + 1 < n ? i + 2 : 0); }
    s->free = 1;
    return block + l1_shadow_bytes(n);
}

static size_t l1_shadow_set_bytes(uint32_t n)
{
    return (size_t)base_round_up(sizeof(l1_shadow_set), 64) + l1_shadow_bytes(n) * L1_EXPERTS;
}

static l1_shadow_set *l1_shadow_set_open(l1 *c, uint32_t n)
{
    const size_t bytes = l1_shadow_set_bytes(n);
    unsigned char *block = base_alloc_held(c->account, BASE_MOD_SHADOW, bytes, NULL);
    if (block == NULL) { return NULL; }
    l1_shadow_set *set = (l1_shadow_set *)(void *)block;
    set->n = n;
    set->bytes = bytes;
    block += base_round_up(sizeof *set, 64);
    for (unsigned e = 0; e < L1_EXPERTS; e++) {
        block = l1_shadow_cache_open(&set->cache[e], n, block);
    }
    return set;
}

static uint32_t l1_shadow_size(const l1 *c, uint64_t entries, uint64_t ring_bytes)
{
    if (entries <= L1_SHADOW_LEAST) { return (uint32_t)BASE_MAX(entries, 1); }
    const uint64_t spent = base_block_bytes(c->account, base_load_rlx(&c->ghost_bytes)) +
                           base_block_bytes(c->account, (size_t)ring_bytes) +
                           base_block_bytes(c->account, sizeof(struct l1_shadow));
    const uint64_t may =
        BASE_MAX(L1_SHADOW_TABLES, entries * 18 / 5) + BASE_MIN(L1_SHADOW_MORE, entries);
    uint32_t n = (uint32_t)BASE_MIN(entries, base_clamp(entries / 50, 128, L1_SHADOW_MOST));
    while (n > L1_SHADOW_LEAST &&
           spent + base_block_bytes(c->account, l1_shadow_set_bytes(n)) > may) {
        n--;
    }
    return n;
}

static uint32_t l1_advised_size(uint32_t n, unsigned i)
{
    return BASE_MAX(n * l1_advice_pct[i] / 100, 1);
}

/* Take over the nodes, in their order, the ghosts and what was learned. `to` is empty; if it has
 * fewer nodes, the oldest ones are left out. */
static void l1_shadow_cache_move(l1_shadow_cache *to, const l1_shadow_cache *from)
{
    const uint32_t have = (uint32_t)from->queue[0].n + from->queue[1].n;
    uint32_t skip = have > to->capacity ? have - to->capacity : 0;
    for (unsigned q = 0; q < 2; q++) {
        for (uint16_t at = from->queue[q].tail; at != 0; at = from->node[at - 1].next) {
            if (skip != 0) {
                skip--;
                continue;
            }
            const uint16_t number = to->free;
            l1_shade *x = &to->node[number - 1];
            to->free = x->next;
            x->key = from->node[at - 1].key;
            uint16_t *chain = l1_shade_at(to, x->key);
            x->chain = *chain;
            *chain = number;
            l1_shade_push(to, q, number);
        }
    }
    l1_ghosts_copy(&from->ghost, base_load_rlx(&to->ghost.line), base_load_rlx(&to->ghost.lines));
    to->learned = from->learned;
}

static size_t l1_advisor_bytes(uint32_t n)
{
    size_t sum = (size_t)base_round_up(sizeof(l1_advisor), 64);
    for (unsigned i = 0; i < L1_ADVICE; i++) { sum += l1_shadow_bytes(l1_advised_size(n, i)); }
    return sum;
}

/* Give the advisor the nodes of a shadow cache, as far as its block has them, and the keys that
 * they stand for. Begin again if their number changes. */
static void l1_advisor_fit(l1_advisor *a, uint32_t shadow_n)
{
    const size_t head = (size_t)base_round_up(sizeof *a, 64);
    const uint32_t n = BASE_MIN(shadow_n, a->most);
    a->limit = n == shadow_n ? UINT32_MAX : UINT32_MAX / shadow_n * n;
    if (n == a->n) { return; }
    unsigned char *block = (unsigned char *)a + head;
    memset(block, 0, a->bytes - head);
    memset(&a->all, 0, sizeof a->all);
    a->namespace_count = 0;
    a->n = n;
    for (unsigned i = 0; i < L1_ADVICE; i++) {
        block = l1_shadow_cache_open(&a->cache[i], l1_advised_size(n, i), block);
    }
}

/* Open the advisor. NULL: switched off, no memory, or a store too small for a useful sample. */
static l1_advisor *l1_advisor_open(l1 *c, uint32_t shadow_n, uint64_t entries)
{
    const uint64_t most = base_load_rlx(&c->account->limit) / L1_ADVISOR_SHARE;
    if (c->no_advisor || entries < L1_ADVISOR_LEAST_ENTRIES) { return NULL; }
    uint32_t n = BASE_MIN(shadow_n, L1_ADVISOR_MOST);
    while (n > 16 && l1_advisor_bytes(n) > most) { n--; }
    const size_t bytes = l1_advisor_bytes(n);
    unsigned char *block = base_alloc_held(c->account, BASE_MOD_ADVISOR, bytes, NULL);
    if (block == NULL) { return NULL; }
    l1_advisor *a = (l1_advisor *)(void *)block;
    a->most = n;
    a->bytes = bytes;
    l1_advisor_fit(a, shadow_n);
    return a;
}

CELLAR_PRIVATE void l1_shadow_close(l1 *c, struct l1_shadow *w)
{
    if (w == NULL) { return; }
    if (w->advisor != NULL) {
        base_free(c->account, BASE_MOD_ADVISOR, w->advisor, w->advisor->bytes);
    }
    base_free(c->account, BASE_MOD_SHADOW, w->set, w->set->bytes);
    base_free(c->account, BASE_MOD_SHADOW, w, sizeof *w);
}

/* Return whether the store as a whole is full. A bound of one namespace does not make it so. */
static bool l1_shadow_due(const l1 *c)
{
    return base_load_rlx(&c->full) != 0 ||
           (base_load_rlx(&c->max_entries) != 0 && base_load_rlx(&c->tickets) <= 0);
}

CELLAR_PRIVATE bool l1_shadow_open(l1 *c, uint64_t entries, uint64_t ring_bytes)
{
    if (base_load_acq(&c->shadow) == NULL) { /* else open since an earlier adaptive phase */
        const uint32_t n = l1_shadow_size(c, entries, ring_bytes);
        struct l1_shadow *w = base_alloc_held(c->account, BASE_MOD_SHADOW, sizeof *w, NULL);
        if (w == NULL) { return false; }
        w->set = l1_shadow_set_open(c, n);
        if (w->set == NULL) {
            base_free(c->account, BASE_MOD_SHADOW, w, sizeof *w);
            return false;
        }
        w->advisor = l1_advisor_open(c, n, entries);
        w->late = l1_shadow_due(c);
        if (!base_cas_ar(&c->shadow, (struct l1_shadow *)NULL, w)) { l1_shadow_close(c, w); }
    }
    l1_shadow_refit(c); /* a resize may have followed that phase */
    return true;
}

static void l1_shadow_give(struct l1_shadow *w) { base_store_rel(&w->busy, 0u); }

CELLAR_PRIVATE void l1_shadow_resize(l1 *c, uint64_t entries, uint64_t ring_bytes)
{
    struct l1_shadow *w = base_load_acq(&c->shadow);
    if (w == NULL) { return; }
    l1_shadow_set *const old = w->set; /* l1_fit alone replaces it */
    const uint32_t n = l1_shadow_size(c, entries, ring_bytes);
    /* Else as it is: a copy of ghosts loses some of them. */
    const bool other = n > old->n + old->n / 4 || entries < old->n;
    l1_shadow_set *set = other ? l1_shadow_set_open(c, n) : NULL;
    if (set == NULL) { return; }
    if (base_xchg_ar(&w->busy, 1u) == 0) { /* else a thread is inside: a set does not wait */
        for (unsigned e = 0; e < L1_EXPERTS; e++) {
            l1_shadow_cache_move(&set->cache[e], &old->cache[e]);
        }
        w->set = set;
        if (w->advisor != NULL) { l1_advisor_fit(w->advisor, n); }
        l1_shadow_give(w);
        set = old;
    }
    base_free(c->account, BASE_MOD_SHADOW, set, set->bytes);
}

/* ---- the controller -------------------------------------------------------------------------- */
/* Count the entries of the full store: as bounded, else as seen, else as expected. Adapt the
 * sampled part of the keys to them. The shadow caches stay as large. */
static void l1_shadow_fit(l1 *c, struct l1_shadow *w)
{
    uint64_t entries = l1_entries_of(c, base_load_rlx(&c->account->limit));
    if (base_load_rlx(&c->max_entries) == 0 && base_load_rlx(&c->full) != 0) {
        entries = base_load_rlx(&c->entries);
    }
    entries = BASE_MAX(entries, 1); /* C: what n stands for */
    const uint64_t requests = BASE_MAX(entries / 10, 100); /* of the store, in an epoch */
    w->epoch = (uint32_t)BASE_MAX(requests * w->set->n / entries, 1);
    /* ln .8 = -.223 in 8 C requests, at least 1,000 */
    w->decay = (uint32_t)BASE_MAX(14624 * requests / BASE_MAX(8 * entries, 1000), 1);
    const bool all = w->set->n >= entries;
    base_store_rlx(&c->sample_limit, all ? UINT64_MAX : UINT64_MAX / entries * w->set->n);
}

static void l1_shadow_judge(l1 *c, struct l1_shadow *w)
{
    const unsigned now = base_load_rlx(&c->rule);
    unsigned best = now;
    w->since = 0;
    if (now < L1_EXPERTS) {
        for (unsigned e = 0; e < L1_EXPERTS; e++) {
            const int64_t more = w->score[e] - w->score[now];
            /* more / UNIT > 2 * sqrt(differ / UNIT): up to four hits prove nothing */
            if (more > 0 && w->score[e] > w->score[best] &&
                more * more / L1_SHADOW_UNIT > 4 * w->differ[e][now]) {
                best = e;
            }
        }
        if (best != now) {
            base_store_rlx(&c->rule, (uint32_t)best);
            base_add_rlx(&c->rule_switches, 1u);
        }
    }
    for (unsigned e = 0; e < L1_EXPERTS; e++) {
        w->score[e] -= w->score[e] * (int64_t)w->decay / 65536;
        for (unsigned o = 0; o < L1_EXPERTS; o++) {
            w->differ[e][o] -= w->differ[e][o] * (int64_t)w->decay / 65536;
        }
    }
    if (now < L1_EXPERTS) { l1_shadow_fit(c, w); }
}

/* Return the figures of a namespace; NULL: none of its own. */
static l1_advised *l1_advisor_namespace(l1_advisor *a, uint32_t namespace, bool make)
{
    uint32_t i = 0;
    while (i < a->namespace_count && a->namespace[i] != namespace) { i++; }
    if (i == a->namespace_count) {
        if (!make || namespace == L1_NO_NAMESPACE || i == L1_ADVISOR_NAMESPACES) { return NULL; }
        a->namespace_count++;
        a->namespace[i] = (uint16_t)namespace; /* < L1_NO_NAMESPACE */
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

static void l1_advisor_key(const l1 *c, l1_advisor *a, uint32_t key, uint32_t count,
                           uint32_t namespace)
{
    uint32_t hits[L1_ADVICE];
    for (unsigned i = 0; i < L1_ADVICE; i++) {
        hits[i] = l1_shade_request(&a->cache[i], l1_rule_now(c), key, count) + count - 1;
    }
    l1_advisor_count(a, &a->all, hits, count);
    l1_advised *d = l1_advisor_namespace(a, namespace, true);
    if (d != NULL) { l1_advisor_count(a, d, hits, count); }
}

/* Return the shadow caches with the flag held, for a caller that waits; NULL: none. */
static struct l1_shadow *l1_shadow_take(const l1 *c)
{
    struct l1_shadow *w = base_load_acq(&c->shadow);
    while (w != NULL && base_xchg_ar(&w->busy, 1u) != 0) { base_yield(); }
    return w;
}

CELLAR_PRIVATE cellar_err l1_advise(l1 *c, uint32_t namespace, double measured, l1_advice *out)
{
    memset(out, 0, sizeof *out);
    struct l1_shadow *w = base_load_acq(&c->shadow);
    if (base_load_rlx(&c->policy) != L1_ADAPTIVE || w == NULL || w->advisor == NULL) {
        return CELLAR_E_UNSUPPORTED;
    }
    l1_advisor *a = l1_shadow_take(c)->advisor;
    const l1_advised *of =
        namespace == L1_NO_NAMESPACE ? &a->all : l1_advisor_namespace(a, namespace, false);
    const l1_advised d = of != NULL ? *of : (l1_advised){ .requests = 0 };
    l1_shadow_give(w);
    out->requests = d.requests;
    if (d.requests < L1_ADVISOR_SURE) { return CELLAR_PENDING; }
    /* A hot key in or out of the sample adds or removes requests that hit at every size. The
     * counted ratio at the present size shows how many of them are wrong. */
    const double missed = (double)(d.requests - d.hits[L1_ADVICE_NOW]);
    const bool moved = measured >= 0 && missed != 0;
    const double one = moved ? (1 - measured) / missed : 1 / (double)d.requests;
    /* Counted misses without a sampled miss (of deleted keys, for example) are misses at every
     * size. */
    const double most = measured >= 0 && missed == 0 ? measured : 1;
    for (unsigned i = 0; i < L1_ADVICE; i++) {
        const double ratio = most - (double)(d.requests - d.hits[i]) * one;
        out->ratio[i] = ratio < 0 ? 0 : ratio;
    }
    return CELLAR_OK;
}

CELLAR_PRIVATE void l1_advise_again(l1 *c)
{
    struct l1_shadow *w = base_load_acq(&c->shadow);
    if (w == NULL || base_xchg_ar(&w->busy, 1u) != 0) { return; } /* a set does not wait */
    if (w->advisor != NULL) {
        w->advisor->namespace_count = 0;
        memset(&w->advisor->all, 0, sizeof w->advisor->all);
    }
    l1_shadow_give(w);
}

CELLAR_PRIVATE void l1_advise_anew(l1 *c, uint32_t namespace)
{
    struct l1_shadow *w = l1_shadow_take(c);
    if (w == NULL) { return; }
    l1_advisor *a = w->advisor;
    l1_advised *d = a != NULL ? l1_advisor_namespace(a, namespace, false) : NULL;
    if (d != NULL) {
        const uint32_t last = --a->namespace_count;
        a->namespace[d - a->of] = a->namespace[last];
        *d = a->of[last];
    }
    l1_shadow_give(w);
}

BASE_SIZE_END

/* Fill the caches when the store is full first. By chance it holds fewer than n sampled keys, and a
 * shadow cache larger than its share holds loops that the store does not. */
static void l1_shadow_trim(const l1 *c, const struct l1_shadow *w)
{
    l1_shadow_set *set = w->set;
    const uint32_t held = (uint32_t)set->cache[0].queue[0].n + set->cache[0].queue[1].n;
    /* With fewer, the store has entries that no request asked for. */
    if (w->late || !l1_shadow_due(c) || held < set->n * 3 / 4) { return; }
    for (unsigned e = 0; e < L1_EXPERTS; e++) { set->cache[e].capacity = held; }
}

/* Look once, when the first cache fills. If nearly all requests missed, no key outside is better
 * known than those inside: guard them. Not in a store that is only written: its newest entries are
 * as good as the oldest. The program counts all hits; the sample may lack the hot keys. */
static void l1_shadow_filling(l1 *c, struct l1_shadow *w, uint32_t count, uint32_t hits)
{
    w->fill_requests += count;
    w->fill_hits += hits;
    l1_shadow_trim(c, w);
    w->filled = l1_shade_full(&w->set->cache[0]);
    if (!w->filled || base_load_rlx(&c->rule) != 0) { return; }
    if (c->hooks.few_hit != NULL ? c->hooks.few_hit(c->hooks.ctx)
                                 : l1_few_hit(w->fill_hits, w->fill_requests)) {
        base_store_rlx(&c->rule, (uint32_t)L1_RULE_GUARD);
        base_add_rlx(&c->rule_switches, 1u);
    }
}

static void l1_shadow_key(l1 *c, struct l1_shadow *w, uint32_t key, uint32_t count,
                          uint32_t namespace)
{
    if (w->advisor != NULL && key <= w->advisor->limit) {
        l1_advisor_key(c, w->advisor, key, count, namespace);
    }
    uint32_t hits = 0;
    for (unsigned e = 0; e < L1_EXPERTS; e++) {
        hits |= (uint32_t)l1_shade_request(&w->set->cache[e], l1_rule_at(e), key, count) << e;
    }
    if (BASE_UNLIKELY(!w->filled)) { l1_shadow_filling(c, w, count, (hits & 1u) + count - 1); }
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
    if (base_xchg_ar(&w->busy, 1u) != 0) { return false; }
    for (uint32_t i = 0; i < a->n; i++) {
        l1_shadow_key(c, w, a->key[i], a->count[i], a->namespace[i]);
    }
    BASE_POINT("l1.shadow.fed");
    l1_shadow_give(w);
    return true;
}

BASE_SIZE_BEGIN

CELLAR_PRIVATE void l1_shadow_refit(l1 *c)
{
    struct l1_shadow *w = base_load_acq(&c->shadow);
    if (w == NULL || base_xchg_ar(&w->busy, 1u) != 0) { return; } /* a later epoch counts again */
    if (base_load_rlx(&c->policy) == L1_ADAPTIVE) { l1_shadow_fit(c, w); }
    l1_shadow_give(w);
}

CELLAR_PRIVATE void l1_rule_fix(l1 *c, unsigned rule)
{
    struct l1_shadow *w = l1_shadow_take(c);
    base_store_rlx(&c->rule, (uint32_t)rule);
    base_store_rlx(&c->sample_limit, (uint64_t)0);
    if (w != NULL) { l1_shadow_give(w); }
}

/* Check that every node is free or in one queue, and that its key finds it. */
CELLAR_PRIVATE const char *l1_shadow_audit(l1 *c)
{
    struct l1_shadow *w = base_load_acq(&c->shadow);
    if (w == NULL || base_xchg_ar(&w->busy, 1u) != 0) { return NULL; }
    const char *wrong = NULL;
    const uint32_t n = w->set->n;
    for (unsigned e = 0; e < L1_EXPERTS; e++) {
        l1_shadow_cache *s = &w->set->cache[e];
        uint32_t seen = 0;
        for (uint16_t at = s->free; at != 0 && seen <= n; at = s->node[at - 1].next) { seen++; }
        for (unsigned q = 0; q < 2; q++) {
            uint32_t queued = 0;
            for (uint16_t at = s->queue[q].tail; at != 0 && queued <= n;
                 at = s->node[at - 1].next) {
                queued++;
                if (*l1_shade_at(s, s->node[at - 1].key) != at) { wrong = "shadow: key not found"; }
                if ((s->node[at - 1].key >> 2 & 1u) != q) { wrong = "shadow: wrong queue"; }
            }
            if (queued != s->queue[q].n) { wrong = "shadow: count of a queue differs"; }
            seen += queued;
        }
        if (seen != n) { wrong = "shadow: count of nodes differs"; }
    }
    l1_shadow_give(w);
    return wrong;
}

BASE_SIZE_END
