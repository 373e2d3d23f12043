/* SPDX-License-Identifier: MIT
 *
 * dependencies: which loaded values were made from which keys, so that a change of one ends the
 * others.
 *
 * PICTURE    loader of B reads A: [deps.note] write edge {A -> B}, then look at A
 *            change of A: its window, then [deps.look] the edges of A: delete B as a call would,
 *            which invalidates the load of B, too; then the dependants of B, breadth first
 *            edge {hash and generation of A, node of B, run}     hash of A -> list of edges
 *            node {key, hash, generation of B} -> its edges      hash of B -> list of nodes
 * INVARIANTS An edge exists from before its key is read until the value made from it is deleted or
 *            replaced. So a change of A is over before the loader of B reads A, or it finds the
 *            edge.
 *            A run is one call of a loader. An edge has the first and the last run that recorded
 *            it.
 *            A result with an unrecorded dependency is not stored: README.md, "Dependencies".
 * LOCKING    DEPS, a leaf: list work only. List heads are read without it, behind a fence: the
 *            recorder writes the head, then reads A; a change writes A, then reads the head.
 * LIMITS     CACHE_DEPS_CALL deletions and CACHE_DEPS_DEPTH steps per call. Further edges are
 *            `due`; ticks and later changes follow them. One block of budget / 128, keys in budget
 *            / 512. Edges name keys by 64 bits of keyed hash: a collision deletes too much, never
 *            too little.
 * SEE ALSO   README.md, "Dependencies": times, disk, space, rejected designs. Not tracked: reads in
 *            other stores, in scans, or outside loaders; leases. */
#include "cache/dependencies.h"

#include "cache/change.h"
#include "cache/error.h"
#include "cache/generation.h"
#include "cache/handle.h"
#include "cache/load_types.h"

#define CACHE_DEPS_CALL 256u
#define CACHE_DEPS_DEPTH 8u
#define CACHE_DEPS_BATCH 16u
#define CACHE_DEPS_SWEEP 64u  /* nodes checked to find space */
#define CACHE_DEPS_SPILL 8u   /* .. and deleted for it */
#define CACHE_DEPS_STRIDE 512u /* edges checked per lock hold */

typedef struct cache_edge { /* all fields: DEPS; hash and generation of the key that was read */
    uint64_t hash;
    uint64_t since, run; /* first and last run that recorded it and is still valid */
    uint32_t generation;
    uint32_t node;       /* node of the dependant; 0: free edge */
    uint32_t next, prev; /* in its list, or in the free list; index from 1, 0: none */
    uint32_t sister;     /* next edge of the same node */
    uint32_t due_next, due_prev;
    uint32_t due;        /* 1: in the list of delayed edges */
} cache_edge;

typedef struct cache_node { /* all fields: DEPS; hash to key_len constant while pins > 0 */
    uint64_t hash;
    uint64_t run;        /* last run that recorded for it */
    int64_t until_ms;    /* lower bound of the deadlines of all it reads */
    unsigned char *key;  /* owned; NULL: free node */
    uint32_t generation, key_len;
    uint32_t next, first; /* next of its list; its first edge */
    uint32_t pins;       /* active runs, and walks that use it */
} cache_node;

struct cache_deps {
    sync_lock lock;              /* rank DEPS; guards all fields except atomic words */
    uint32_t edge_count, node_count, mask; /* constant: capacities, and number of lists - 1 */
    _Atomic uint32_t *edge_list; /* behind seq_cst fences: see PICTURE */
    _Atomic uint32_t *node_list;
    cache_edge *edge;            /* [0] is not used */
    cache_node *node;
    uint32_t edge_free, node_free, hand;
    uint32_t due_first, due_last;
    _Atomic uint32_t due;        /* edges in the list of delayed edges */
    _Atomic uint32_t edges;      /* edges in use */
    _Atomic uint64_t next_run;   /* drawn (release) by an attached flight; acquire in marks */
    uint64_t key_bytes, key_most;
    size_t bytes;
};

typedef struct cache_read { uint64_t hash; uint32_t generation; bool seen; } cache_read;

struct cache_run { /* one call of a loader; used by its thread only */
    cache_store *s;
    uint64_t id;
    int64_t until_ms;    /* earliest deadline of the keys read */
    bool unsound;        /* its result must not be stored */
    uint32_t reads, tags, nodes, node_room;
    cache_read read[CELLAR_DEPENDENCIES_MAX];
    uint64_t fps[CELLAR_TAGS_MAX];
    uint32_t node[];
};

/* ---- the table ---- */

static uint32_t cache_deps_list(const cache_deps *d, uint64_t hash)
{
    return (uint32_t)base_mix64(hash) & d->mask;
}

CELLAR_PRIVATE cellar_err cache_deps_open(cache_store *s, const cache_settings *cfg)
{
    if (cfg->tuning.track_dependencies == 0) { return CELLAR_OK; }
    const uint64_t room = cfg->config.memory_bytes / 128;
    const uint64_t one = sizeof(cache_edge) + sizeof(cache_node) / 2 + 2 * sizeof(uint32_t);
    const uint32_t edges = (uint32_t)base_clamp(room / one, 64, UINT32_C(1) << 24);
    const uint32_t nodes = edges / 2, lists = (uint32_t)base_pow2_floor(edges);
    const size_t bytes = sizeof(cache_deps) + (edges + 1) * sizeof(cache_edge) +
                         (nodes + 1) * sizeof(cache_node) + 2 * lists * sizeof(uint32_t);
    cache_deps *d = base_alloc(&s->account, BASE_MOD_DEPS, bytes, NULL);
    if (d == NULL) {
        cache_fail_open(CELLAR_E_NOMEM, 0, "cellar_open: no memory for dependencies");
        return CELLAR_E_NOMEM;
    }
    d->bytes = bytes;
    d->edge_count = edges;
    d->node_count = nodes;
    d->mask = lists - 1;
    d->edge = (cache_edge *)(d + 1);
    d->node = (cache_node *)(d->edge + edges + 1);
    d->edge_list = (_Atomic uint32_t *)(d->node + nodes + 1);
    d->node_list = d->edge_list + lists;
    d->key_most = cfg->config.memory_bytes / 512;
    for (uint32_t i = edges; i > 0; i--) {
        d->edge[i].next = d->edge_free;
        d->edge_free = i;
    }
    for (uint32_t i = nodes; i > 0; i--) {
        d->node[i].next = d->node_free;
        d->node_free = i;
    }
    base_store_rlx(&d->next_run, (uint64_t)1);
    s->deps = d;
    return CELLAR_OK;
}

CELLAR_PRIVATE cellar_err cache_deps_check(const cellar_namespace_opts *o, bool deps,
                                           const char **why)
{
    cellar_namespace_opts full;
    (void)base_opts_in(&full, sizeof full, o); /* checked before: cache_namespace_opts_check */
    if (full.track_dependencies == 0) { return CELLAR_OK; }
    *why = "track_dependencies: set tuning.track_dependencies at cellar_open, too";
    return deps ? CELLAR_OK : CELLAR_E_INVAL;
}

CELLAR_PRIVATE void cache_deps_close(cache_store *s)
{
    cache_deps *d = s->deps;
    if (d == NULL) { return; }
    for (uint32_t i = 1; i <= d->node_count; i++) {
        if (d->node[i].key == NULL) { continue; }
        base_free(&s->account, BASE_MOD_DEPS, d->node[i].key, d->node[i].key_len);
    }
    base_free(&s->account, BASE_MOD_DEPS, d, d->bytes);
    s->deps = NULL;
}

/* ---- edges and nodes, under the lock ---- */

static void cache_edge_due(cache_deps *d, uint32_t at) SYNC_HOLDS(DEPS);
static void cache_edge_due(cache_deps *d, uint32_t at)
{
    cache_edge *e = &d->edge[at];
    if (e->due != 0) { return; }
    e->due = 1;
    e->due_next = 0;
    e->due_prev = d->due_last;
    if (d->due_last != 0) { d->edge[d->due_last].due_next = at; } else { d->due_first = at; }
    d->due_last = at;
    (void)base_add_rlx(&d->due, 1u);
}

static void cache_edge_undue(cache_deps *d, uint32_t at) SYNC_HOLDS(DEPS);
static void cache_edge_undue(cache_deps *d, uint32_t at)
{
    cache_edge *e = &d->edge[at];
    if (e->due == 0) { return; }
    e->due = 0;
    if (e->due_prev != 0) { d->edge[e->due_prev].due_next = e->due_next; }
    if (e->due_next != 0) { d->edge[e->due_next].due_prev = e->due_prev; }
    if (d->due_first == at) { d->due_first = e->due_next; }
    if (d->due_last == at) { d->due_last = e->due_prev; }
    (void)base_sub_rlx(&d->due, 1u);
}

/* Remove an edge from its list and free it. The caller removes it from its node. */
static void cache_edge_cut(cache_deps *d, uint32_t at) SYNC_HOLDS(DEPS);
static void cache_edge_cut(cache_deps *d, uint32_t at)
{
    cache_edge *e = &d->edge[at];
    cache_edge_undue(d, at);
    if (e->next != 0) { d->edge[e->next].prev = e->prev; }
    if (e->prev != 0) {
        d->edge[e->prev].next = e->next;
    } else {
        base_store_rel(&d->edge_list[cache_deps_list(d, e->hash)], e->next);
    }
    e->node = 0;
    e->next = d->edge_free;
    d->edge_free = at;
    (void)base_sub_rlx(&d->edges, 1u);
}

static uint32_t cache_node_find(const cache_deps *d, const l1_key *k) SYNC_HOLDS(DEPS);
static uint32_t cache_node_find(const cache_deps *d, const l1_key *k)
{
    uint32_t i = base_load_rlx(&d->node_list[cache_deps_list(d, k->hash)]);
    for (; i != 0; i = d->node[i].next) {
        const cache_node *n = &d->node[i];
        if (n->hash == k->hash && n->generation == k->generation && n->key_len == k->len &&
            memcmp(n->key, k->bytes, k->len) == 0) {
            break;
        }
    }
    return i;
}

/* Drop a node that is not needed. Return its key, which the caller frees after the lock. */
static unsigned char *cache_node_drop(cache_deps *d, uint32_t at) SYNC_HOLDS(DEPS);
static unsigned char *cache_node_drop(cache_deps *d, uint32_t at)
{
    cache_node *n = &d->node[at];
    if (n->pins != 0 || n->first != 0) { return NULL; }
    _Atomic uint32_t *head = &d->node_list[cache_deps_list(d, n->hash)];
    uint32_t before = base_load_rlx(head);
    if (before == at) {
        base_store_rel(head, n->next);
    } else {
        while (d->node[before].next != at) { before = d->node[before].next; }
        d->node[before].next = n->next;
    }
    unsigned char *key = n->key;
    n->key = NULL;
    n->next = d->node_free;
    d->node_free = at;
    d->key_bytes -= n->key_len;
    return key;
}

/* Remove the edges of a node that were recorded before run `mark`: their values are gone. */
static void cache_node_forget(cache_deps *d, uint32_t at, uint64_t mark) SYNC_HOLDS(DEPS);
static void cache_node_forget(cache_deps *d, uint32_t at, uint64_t mark)
{
    uint32_t *from = &d->node[at].first;
    while (*from != 0) {
        cache_edge *e = &d->edge[*from];
        if (e->run < mark) {
            const uint32_t gone = *from;
            *from = e->sister;
            cache_edge_cut(d, gone);
        } else {
            e->since = BASE_MAX(e->since, mark);
            from = &e->sister;
        }
    }
}

static void cache_deps_free_key(cache_store *s, unsigned char *key, uint32_t len)
{
    if (key != NULL) { base_free(&s->account, BASE_MOD_DEPS, key, len); }
}

static void cache_node_unpin(cache_store *s, uint32_t at, uint64_t mark)
{
    cache_deps *d = s->deps;
    sync_take(DEPS, &d->lock);
    cache_node *n = &d->node[at];
    const uint32_t len = n->key_len;
    BASE_ASSERT(n->pins > 0);
    n->pins--;
    if (mark != 0) { cache_node_forget(d, at, mark); }
    unsigned char *key = cache_node_drop(d, at);
    sync_drop(DEPS, &d->lock);
    cache_deps_free_key(s, key, len);
}

/* ---- following edges ---- */

typedef struct cache_walk {
    uint32_t left;       /* deletions left */
    uint32_t count;
    struct {             /* ended keys; mark: runs from this number on began after the end */
        uint64_t hash, mark;
        uint32_t generation, depth;
    } at[CACHE_DEPS_CALL + 1];
} cache_walk;

static void cache_walk_add(cache_walk *w, const cache_deps *d, uint64_t hash, uint32_t generation,
                           uint32_t depth)
{
    w->at[w->count].hash = hash;
    w->at[w->count].generation = generation;
    w->at[w->count].depth = depth;
    base_fence_sc(); /* window of the key, then the number; pairs with the fence in
                      * cache_run_edges */
    w->at[w->count].mark = BASE_MUTANT("deps.one_mark") && w->count != 0
                               ? w->at[0].mark : base_load_acq(&d->next_run);
    w->count++;
    BASE_POINT("deps.marked");
}

typedef struct cache_victim { l1_key k; uint32_t node; } cache_victim;

/* Collect some dependants of the key, pinned. */
static uint32_t cache_walk_some(cache_deps *d, const cache_walk *w, uint32_t i,
                                cache_victim out[CACHE_DEPS_BATCH])
{
    const uint32_t most = BASE_MIN(w->left, CACHE_DEPS_BATCH);
    uint32_t n = 0;
    sync_take(DEPS, &d->lock);
    uint32_t at = base_load_rlx(&d->edge_list[cache_deps_list(d, w->at[i].hash)]);
    for (; at != 0 && n < most; at = d->edge[at].next) {
        const cache_edge *e = &d->edge[at];
        if (e->hash != w->at[i].hash || e->generation != w->at[i].generation ||
            e->since >= w->at[i].mark) {
            continue;
        }
        cache_node *node = &d->node[e->node];
        node->pins++;
        out[n++] = (cache_victim){ { node->key, node->key_len, node->generation, node->hash },
                                   e->node };
    }
    sync_drop(DEPS, &d->lock);
    return n;
}

static void cache_walk_delay(cache_store *s, const cache_walk *w, uint32_t i)
{
    cache_deps *d = s->deps;
    sync_take(DEPS, &d->lock);
    uint32_t at = base_load_rlx(&d->edge_list[cache_deps_list(d, w->at[i].hash)]);
    for (; at != 0; at = d->edge[at].next) {
        const cache_edge *e = &d->edge[at];
        if (e->hash == w->at[i].hash && e->generation == w->at[i].generation &&
            e->since < w->at[i].mark) {
            cache_edge_due(d, at);
        }
    }
    sync_drop(DEPS, &d->lock);
}

static void cache_walk_end(cache_store *s, cache_walk *w, const cache_victim *v, uint32_t depth)
{
    cache_whose whose;
    const uint64_t mark = base_load_acq(&s->deps->next_run); /* before the window of the deletion */
    cellar *namespace = cache_generation_namespace(s, v->k.generation, &whose);
    if (namespace != NULL) { /* also without handles: it may be opened again */
        cache_del_dependant(namespace, &v->k);
        cache_namespace_release(namespace);
    }
    w->left--;
    /* after the window of the deletion */
    cache_walk_add(w, s->deps, v->k.hash, v->k.generation, depth);
    cache_node_unpin(s, v->node, mark);
}

/* Follow all edges breadth first. Delay the rest when a bound is reached. */
static void cache_walk_all(cache_store *s, cache_walk *w)
{
    bool rest = false;
    for (uint32_t i = 0; i < w->count; i++) {
        cache_victim v[CACHE_DEPS_BATCH];
        if (w->at[i].depth < CACHE_DEPS_DEPTH) {
            for (uint32_t n; (n = cache_walk_some(s->deps, w, i, v)) != 0;) {
                for (uint32_t j = 0; j < n; j++) {
                    cache_walk_end(s, w, &v[j], w->at[i].depth + 1);
                }
            }
        }
        cache_walk_delay(s, w, i);
        rest = rest || base_load_rlx(&s->deps->due) != 0;
    }
    if (rest) { cache_thread_ring(s); }
}

/* ---- space ---- */

/* Pin the next node without run or walk. Return false if there is none among CACHE_DEPS_SWEEP
 * nodes. */
static bool cache_deps_idle(cache_deps *d, cache_victim *v, uint64_t *run, int64_t *until_ms)
{
    bool found = false;
    sync_take(DEPS, &d->lock);
    for (uint32_t i = 0; i < CACHE_DEPS_SWEEP && !found; i++) {
        d->hand = d->hand % d->node_count + 1;
        cache_node *n = &d->node[d->hand];
        if (n->key == NULL || n->pins != 0) { continue; }
        n->pins = 1;
        *v = (cache_victim){ { n->key, n->key_len, n->generation, n->hash }, d->hand };
        *run = n->run;
        *until_ms = n->until_ms;
        found = true;
    }
    sync_drop(DEPS, &d->lock);
    return found;
}

/* Drop the node of a missing entry, unless it has dependants, which are found through it. Called
 * after the look at the entry: a reader of the entry recorded its edge before. */
static bool cache_node_retire(cache_store *s, uint32_t at, uint64_t mark)
{
    cache_deps *d = s->deps;
    sync_take(DEPS, &d->lock);
    const cache_node *n = &d->node[at];
    uint32_t i = base_load_rlx(&d->edge_list[cache_deps_list(d, n->hash)]);
    while (i != 0 && (d->edge[i].hash != n->hash || d->edge[i].generation != n->generation)) {
        i = d->edge[i].next;
    }
    const bool alone = i == 0;
    sync_drop(DEPS, &d->lock);
    if (alone) { cache_node_unpin(s, at, mark); }
    return alone;
}

/* Return whether the entry can be in memory only. An entry of an ended generation is nowhere. */
static bool cache_deps_memory_only(cache_store *s, uint32_t generation, int64_t until_ms)
{
    cache_whose whose;
    if (s->tier == NULL || base_clock_reached(&s->clock, until_ms)) { return true; }
    cellar *namespace = cache_generation_namespace(s, generation, &whose);
    const bool only = namespace == NULL || namespace->no_disk;
    if (namespace != NULL) { cache_namespace_release(namespace); }
    return only;
}

/* Drop nodes of entries that expired, were evicted, or belong to an ended generation. If space is
 * needed, end entries that went to disk or have dependants. */
static void cache_deps_sweep(cache_store *s, uint32_t looks, bool must)
{
    cache_deps *d = s->deps;
    cache_walk w;
    w.left = must ? CACHE_DEPS_SPILL : 0;
    for (uint32_t i = 0; i < looks; i++) {
        cache_victim v;
        l1_info info;
        uint64_t run = 0;
        int64_t until_ms = 0;
        if (!cache_deps_idle(d, &v, &run, &until_ms)) { return; }
        const unsigned flags = L1_PEEK | L1_STALE_OK | L1_SEE_ERRORS;
        const cellar_err err = l1_inspect(s->l1, &v.k, NULL, 0, &info, flags);
        const bool dead = !cache_generation_alive(s, v.k.generation),
                   gone = err == CELLAR_MISS || dead;
        /* A later run may have stored meanwhile: its edges are younger than this look. */
        if (dead) {
            cache_node_unpin(s, v.node, run + 1);
        } else if (gone && cache_deps_memory_only(s, v.k.generation, until_ms) &&
                   cache_node_retire(s, v.node, run + 1)) {
            continue;
        } else if (gone && w.left > 0) {
            w.count = 0;
            cache_walk_end(s, &w, &v, 0);
            cache_walk_all(s, &w);
        } else {
            cache_node_unpin(s, v.node, 0);
        }
    }
}

/* ---- runs of loaders ---- */

CELLAR_PRIVATE cache_run *cache_run_begin(cellar *c, size_t keys)
{
    cache_store *s = c->store;
    if (s->deps == NULL || base_load_rlx(&c->deps) == 0) { return NULL; }
    const size_t bytes = sizeof(cache_run) + keys * sizeof(uint32_t); /* keys <= 4,096 */
    cache_run *r = base_alloc(&s->account, BASE_MOD_DEPS, bytes, NULL);
    if (r == NULL) { return NULL; }
    r->s = s;
    r->id = base_add_ar(&s->deps->next_run, (uint64_t)1);
    r->until_ms = BASE_NEVER_MS;
    r->node_room = (uint32_t)keys;
    /* no token: the reads of this thread are unknown */
    r->unsound = base_thread_self()->index == 0;
    return r;
}

/* Add a key that the run loads. */
CELLAR_PRIVATE void cache_run_for(cache_run *r, const l1_key *k)
{
    cache_deps *d = r->s->deps;
    unsigned char *copy = base_alloc(&r->s->account, BASE_MOD_DEPS, k->len, NULL);
    for (unsigned round = 0; copy != NULL && round < 2; round++) {
        if (round != 0) { cache_deps_sweep(r->s, CACHE_DEPS_SWEEP, true); }
        sync_take(DEPS, &d->lock);
        uint32_t at = cache_node_find(d, k);
        if (at == 0 && d->node_free != 0 && d->key_bytes + k->len <= d->key_most) {
            _Atomic uint32_t *head = &d->node_list[cache_deps_list(d, k->hash)];
            at = d->node_free;
            d->node_free = d->node[at].next;
            d->node[at] = (cache_node){ .hash = k->hash, .key = copy, .generation = k->generation,
                                        .until_ms = BASE_NEVER_MS, .key_len = k->len,
                                        .next = base_load_rlx(head) };
            memcpy(copy, k->bytes, k->len);
            d->key_bytes += k->len;
            base_store_rel(head, at);
            copy = NULL;
        }
        if (at != 0) {
            d->node[at].pins++;
            d->node[at].run = BASE_MAX(d->node[at].run, r->id);
            r->node[r->nodes++] = at;
        }
        sync_drop(DEPS, &d->lock);
        if (at != 0) {
            cache_deps_free_key(r->s, copy, k->len);
            return;
        }
    }
    cache_deps_free_key(r->s, copy, k->len);
    r->unsound = true;
    stats_count(r->s->stats, STATS_LIMIT_DEPS, 1);
}

CELLAR_PRIVATE void cache_run_free(void *run)
{
    cache_run *r = run;
    const size_t bytes = sizeof *r + r->node_room * sizeof(uint32_t);
    for (uint32_t i = 0; i < r->nodes; i++) { cache_node_unpin(r->s, r->node[i], 0); }
    base_free(&r->s->account, BASE_MOD_DEPS, r, bytes);
}

CELLAR_PRIVATE bool cache_run_sound(const cache_run *r, int64_t now_ms)
{
    return !r->unsound && r->until_ms > now_ms;
}

CELLAR_PRIVATE void cache_run_stores(cache_run *r, const l1_key *k)
{
    cache_deps *d = r->s->deps;
    sync_take(DEPS, &d->lock);
    const uint32_t at = cache_node_find(d, k);
    if (at != 0) { d->node[at].until_ms = BASE_MIN(d->node[at].until_ms, r->until_ms); }
    sync_drop(DEPS, &d->lock);
}

CELLAR_PRIVATE int64_t cache_run_until(const cache_run *r) { return r->until_ms; }
CELLAR_PRIVATE bool cache_run_has_read(const cache_run *r) { return r->reads != 0; }

CELLAR_PRIVATE uint32_t cache_run_tags(cache_run *r, uint64_t *fps, uint32_t count)
{
    for (uint32_t i = 0; i < r->tags; i++) {
        bool has = false;
        for (uint32_t j = 0; j < count; j++) { has = has || fps[j] == r->fps[i]; }
        if (!has && count < CELLAR_TAGS_MAX) { fps[count++] = r->fps[i]; }
        else if (!has) { r->unsound = true; }
    }
    return count;
}

CELLAR_PRIVATE void cache_run_stored(cache_run *r, const l1_key *k, bool same)
{
    cache_deps *d = r->s->deps;
    sync_take(DEPS, &d->lock);
    const uint32_t at = cache_node_find(d, k);
    if (at != 0 && !same) { cache_node_forget(d, at, r->id); } /* edges of earlier loads */
    /* no other run is active */
    if (at != 0 && d->node[at].pins == 1) { d->node[at].until_ms = r->until_ms; }
    sync_drop(DEPS, &d->lock);
}

CELLAR_PRIVATE int64_t cache_deps_until(cache_store *s, const l1_key *k)
{
    cache_deps *d = s->deps;
    if (base_load_acq(&d->node_list[cache_deps_list(d, k->hash)]) == 0) { return BASE_NEVER_MS; }
    sync_take(DEPS, &d->lock);
    const uint32_t at = cache_node_find(d, k);
    const int64_t until_ms = at != 0 ? d->node[at].until_ms : BASE_NEVER_MS;
    sync_drop(DEPS, &d->lock);
    return until_ms;
}

/* ---- recording ---- */

static bool cache_edge_one(cache_deps *d, cache_run *r, const l1_key *k, uint32_t node)
    SYNC_HOLDS(DEPS);
static bool cache_edge_one(cache_deps *d, cache_run *r, const l1_key *k, uint32_t node)
{
    /* Search the edges of this node: the list of the key may have thousands of readers. */
    for (uint32_t i = d->node[node].first; i != 0; i = d->edge[i].sister) {
        cache_edge *e = &d->edge[i];
        if (e->hash == k->hash && e->generation == k->generation) {
            e->since = BASE_MUTANT("deps.last_run") ? r->id : BASE_MIN(e->since, r->id);
            e->run = BASE_MAX(e->run, r->id);
            return true;
        }
    }
    const uint32_t at = d->edge_free;
    if (at == 0) { return false; }
    _Atomic uint32_t *head = &d->edge_list[cache_deps_list(d, k->hash)];
    cache_edge *e = &d->edge[at];
    d->edge_free = e->next;
    *e = (cache_edge){ .hash = k->hash, .since = r->id, .run = r->id, .generation = k->generation,
                       .node = node, .next = base_load_rlx(head), .sister = d->node[node].first };
    if (e->next != 0) { d->edge[e->next].prev = at; }
    d->node[node].first = at;
    base_store_sc(head, at); /* the fence follows in cache_run_edges */
    (void)base_add_rlx(&d->edges, 1u);
    return true;
}

static void cache_run_edges(cache_run *r, const l1_key *k)
{
    cache_deps *d = r->s->deps;
    uint32_t done = 0;
    for (unsigned round = 0; round < 2 && done < r->nodes; round++) {
        if (round != 0) { cache_deps_sweep(r->s, CACHE_DEPS_SWEEP, true); }
        sync_take(DEPS, &d->lock);
        while (done < r->nodes && cache_edge_one(d, r, k, r->node[done])) { done++; }
        sync_drop(DEPS, &d->lock);
    }
    base_fence_sc(); /* edge, then the look at the key; pairs with the fence in
                      * cache_deps_changed */
    if (done < r->nodes) {
        r->unsound = true;
        stats_count(r->s->stats, STATS_LIMIT_DEPS, 1);
    }
    /* cleared: its edges are not searched */
    if (!cache_generation_alive(r->s, k->generation)) { r->unsound = true; }
}

/* Record deadline and tags of the key. Return false if the key is missing, or (before the read) if
 * its idle time restarts with this use. */
static bool cache_run_look(cache_run *r, cellar *c, const l1_key *k, bool before)
{
    l1_info info;
    uint64_t fps[CELLAR_TAGS_MAX], born;
    const cellar_err err = l1_inspect(c->l1, k, NULL, 0, &info, L1_PEEK | L1_STALE_OK);
    if (err != CELLAR_OK && err != CELLAR_STALE && err != CELLAR_ABSENT) { return false; }
    if (before && info.idle_ms != 0) { return false; }
    r->until_ms = BASE_MIN(r->until_ms, info.expires_ms);
    if (info.tag_count == 0) { return true; }
    const uint32_t count = l1_tags_of(c->l1, k, fps, &born);
    for (uint32_t i = 0; i < count; i++) {
        bool has = fps[i] == CACHE_TIER_TAG_OF_LIFE; /* the dependant gets its own */
        for (uint32_t j = 0; j < r->tags; j++) { has = has || r->fps[j] == fps[i]; }
        if (!has && r->tags < CELLAR_TAGS_MAX) { r->fps[r->tags++] = fps[i]; }
        else if (!has) { r->unsound = true; }
    }
    return true;
}

/* Return the run of the loader in this thread. NULL: no loader, or it records nothing. */
static cache_run *cache_run_here(const cellar *c)
{
    const base_thread_record *self = base_thread_self();
    if (self->leads == NULL || self->index == 0) { return NULL; }
    cache_run *r = flight_notes(self->leads);
    return r != NULL && r->s == c->store && r->nodes != 0 ? r : NULL;
}

static cache_read *cache_run_read(cache_run *r, const l1_key *k)
{
    for (uint32_t i = 0; i < r->reads; i++) {
        if (r->read[i].hash == k->hash && r->read[i].generation == k->generation) {
            return &r->read[i];
        }
    }
    return NULL;
}

CELLAR_PRIVATE void cache_deps_note(cellar *c, const l1_key *k)
{
    cache_run *r = cache_run_here(c);
    if (r == NULL || r->unsound || cache_run_read(r, k) != NULL) { return; }
    if (r->reads == CELLAR_DEPENDENCIES_MAX) {
        r->unsound = true;
        stats_count(r->s->stats, STATS_LIMIT_DEPS, 1);
        return;
    }
    cache_read *read = &r->read[r->reads++];
    *read = (cache_read){ k->hash, k->generation, false };
    if (!BASE_MUTANT("deps.edge_after_read")) { cache_run_edges(r, k); }
    BASE_POINT("deps.note");
    read->seen = cache_run_look(r, c, k, true);
}

CELLAR_PRIVATE void cache_deps_seen(cellar *c, const l1_key *k, cellar_err code)
{
    cache_run *r = cache_run_here(c);
    cache_read *read = r != NULL ? cache_run_read(r, k) : NULL;
    if (read == NULL) { return; }
    if (BASE_MUTANT("deps.edge_after_read")) { cache_run_edges(r, k); }
    if (read->seen || code == CELLAR_MISS || code == CELLAR_ABSENT) { return; }
    read->seen = cache_run_look(r, c, k, false);
    if (!read->seen) { r->unsound = true; } /* an error, or an unknown deadline */
}

/* ---- delayed edges ---- */

/* Follow one delayed edge and its dependants. Return false if there is none. */
static bool cache_walk_due(cache_store *s, cache_walk *w)
{
    cache_deps *d = s->deps;
    sync_take(DEPS, &d->lock);
    const uint32_t at = d->due_first;
    if (at != 0) {
        cache_edge_undue(d, at);
        w->count = 0;
        cache_walk_add(w, d, d->edge[at].hash, d->edge[at].generation, 0);
    }
    sync_drop(DEPS, &d->lock);
    if (at == 0) { return false; }
    cache_walk_all(s, w);
    return true;
}

CELLAR_PRIVATE bool cache_deps_tick(cache_store *s, uint64_t *removed)
{
    cache_deps *d = s->deps;
    if (d == NULL) { return false; }
    cache_walk w;
    w.left = CACHE_DEPS_CALL;
    while (w.left > 0 && base_load_rlx(&d->due) != 0) {
        if (!cache_walk_due(s, &w)) { break; }
    }
    *removed += CACHE_DEPS_CALL - w.left;
    cache_deps_sweep(s, CACHE_DEPS_SWEEP / 8, false);
    return base_load_rlx(&d->due) != 0;
}

BASE_NOINLINE static void cache_deps_follow(cellar *c, const l1_key *k, uint64_t mark)
{
    cache_store *s = c->store;
    cache_deps *d = s->deps;
    cache_walk w;
    w.left = CACHE_DEPS_CALL;
    w.count = 0;
    cache_walk_add(&w, d, k->hash, k->generation, 0);
    if (mark != 0 && base_load_rlx(&d->node_list[cache_deps_list(d, k->hash)]) != 0) {
        sync_take(DEPS, &d->lock);
        const uint32_t at = cache_node_find(d, k);
        const uint32_t len = at != 0 ? d->node[at].key_len : 0;
        if (at != 0) { cache_node_forget(d, at, mark); }
        unsigned char *key = at != 0 ? cache_node_drop(d, at) : NULL;
        sync_drop(DEPS, &d->lock);
        cache_deps_free_key(s, key, len);
    }
    cache_walk_all(s, &w);
}

CELLAR_PRIVATE uint64_t cache_deps_mark(const cache_store *s)
{
    return base_load_acq(&s->deps->next_run);
}

CELLAR_PRIVATE void cache_deps_changed(cellar *c, const l1_key *k, uint64_t mark)
{
    const cache_deps *d = c->store->deps;
    const uint32_t list = cache_deps_list(d, k->hash);
    base_fence_sc(); /* window of the key, then the heads; pairs with the fence in
                      * cache_run_edges */
    BASE_POINT("deps.look");
    if (base_load_acq(&d->edge_list[list]) == 0 && base_load_acq(&d->node_list[list]) == 0) {
        return;
    }
    cache_deps_follow(c, k, mark);
}

/* Delay the edges of keys of one generation, or with 0 of all ended ones; follow some. */
CELLAR_PRIVATE void cache_deps_generation(cache_store *s, uint32_t generation)
{
    cache_deps *d = s->deps;
    base_fence_sc(); /* end of the generation, then its edges; pairs with cache_run_edges */
    for (uint32_t from = 1; from <= d->edge_count; from += CACHE_DEPS_STRIDE) {
        if (base_load_rlx(&d->edges) == 0) { break; }
        const uint32_t to = BASE_MIN(from + CACHE_DEPS_STRIDE, d->edge_count + 1);
        sync_take(DEPS, &d->lock);
        for (uint32_t i = from; i < to; i++) {
            const cache_edge *e = &d->edge[i];
            const bool hit = generation != 0 ? e->generation == generation
                                             : !cache_generation_alive(s, e->generation);
            if (e->node != 0 && hit) { cache_edge_due(d, i); }
        }
        sync_drop(DEPS, &d->lock);
    }
    uint64_t removed = 0;
    if (cache_deps_tick(s, &removed)) { cache_thread_ring(s); }
}

/* ---- figures and checks ---- */

CELLAR_PRIVATE void cache_deps_given(const cache_store *s, uint64_t given[STATS_GIVEN_COUNT])
{
    const cache_deps *d = s->deps;
    given[STATS_GIVEN_DEPS_EDGES] = d != NULL ? base_load_rlx(&d->edges) : 0;
    given[STATS_GIVEN_DEPS_DUE] = d != NULL ? base_load_rlx(&d->due) : 0;
}

CELLAR_PRIVATE const char *cache_deps_audit(cache_store *s)
{
    cache_deps *d = s->deps;
    if (d == NULL) { return NULL; }
    uint32_t listed = 0, chained = 0, due = 0;
    uint64_t key_bytes = 0;
    sync_take(DEPS, &d->lock);
    for (uint32_t i = 0; i <= d->mask; i++) {
        uint32_t at = base_load_rlx(&d->edge_list[i]);
        for (; at != 0 && listed <= d->edge_count; at = d->edge[at].next) { listed++; }
    }
    for (uint32_t i = 1; i <= d->node_count; i++) {
        const cache_node *n = &d->node[i];
        if (n->key == NULL) { continue; }
        key_bytes += n->key_len;
        for (uint32_t at = n->first; at != 0 && chained <= d->edge_count; at = d->edge[at].sister) {
            chained += d->edge[at].node == i;
        }
    }
    for (uint32_t at = d->due_first; at != 0 && due <= d->edge_count; at = d->edge[at].due_next) {
        due++;
    }
    const uint32_t edges = base_load_rlx(&d->edges), waiting = base_load_rlx(&d->due);
    const bool bytes_ok = key_bytes == d->key_bytes;
    sync_drop(DEPS, &d->lock);
    if (listed != edges || chained != edges) {
        return "dependencies: number of edges differs from the lists";
    }
    if (due != waiting) { return "dependencies: number of delayed edges differs from their list"; }
    return bytes_ok ? NULL : "dependencies: bytes of keys differ from their count";
}

CELLAR_PRIVATE void cache_deps_fork_prepare(cache_store *s) SYNC_UNCHECKED
{
    if (s->deps != NULL) { sync_take(DEPS, &s->deps->lock); }
}
CELLAR_PRIVATE void cache_deps_fork_parent(cache_store *s) SYNC_UNCHECKED
{
    if (s->deps != NULL) { sync_drop(DEPS, &s->deps->lock); }
}
CELLAR_PRIVATE void cache_deps_fork_child(cache_store *s) SYNC_UNCHECKED
{
    if (s->deps != NULL) { sync_reset(&s->deps->lock); }
}
