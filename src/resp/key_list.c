/* SPDX-License-Identifier: MIT
 *
 * key_list: the keys that a scan found.
 *
 * PICTURE    blocks: $3\r\nkey\r\n$5\r\n.. | .. | ..     the reply is ready when the scan ends
 *            table:  chain[hash] -> node -> node -> NULL; a node points to its key in a block
 * INVARIANTS A distinct list has each key once: keys are compared in full.
 *            No step takes longer when the list is long. The table grows by one chain for each key:
 *            chain n gets the keys of chain n - 2^k that belong to it (linear hashing).
 * LOCKING    None.
 * LIMITS     The memory of the port. From 2^21 keys on the chains become longer. The hash is not
 *            keyed: keys made to collide make a scan slow, as any large reply does. */
#include <string.h>

#include "base/glob.h"
#include "base/num.h"
#include "resp/key_list.h"

#define RESP_PART_CHAINS 2048u /* chains of an allocation */
#define RESP_PARTS 1024u
#define RESP_SLAB_NODES 512u

typedef struct resp_key_node {
    struct resp_key_node *next; /* in its chain */
    const unsigned char *key;
    uint32_t len, hash;
} resp_key_node;

typedef struct resp_key_slab {
    struct resp_key_slab *next;
    resp_key_node node[RESP_SLAB_NODES];
} resp_key_slab;

struct resp_key_table {
    uint32_t chains;       /* in use */
    uint32_t mask;         /* the lowest 2^k - 1 that is at least chains - 1 */
    uint32_t free;         /* nodes of the first slab that are free: the first ones */
    resp_key_slab *slabs;
    resp_key_node **part[RESP_PARTS];
};

BASE_SIZE_BEGIN

static void *resp_list_alloc(const resp_key_list *l, size_t bytes)
{
    return base_alloc(&l->of->account, BASE_MOD_STORE, bytes, NULL);
}

static void resp_list_free(const resp_key_list *l, void *p, size_t bytes)
{
    base_free(&l->of->account, BASE_MOD_STORE, p, bytes);
}

static resp_key_node **resp_chain(const resp_key_table *t, uint32_t n)
{
    return &t->part[n / RESP_PART_CHAINS][n % RESP_PART_CHAINS];
}

static uint32_t resp_chain_of(const resp_key_table *t, uint32_t hash)
{
    const uint32_t n = hash & t->mask;
    return n < t->chains ? n : n & t->mask >> 1;
}

static bool resp_part_add(const resp_key_list *l, uint32_t n)
{
    l->table->part[n] = resp_list_alloc(l, RESP_PART_CHAINS * sizeof **l->table->part);
    return l->table->part[n] != NULL;
}

static bool resp_table_make(resp_key_list *l)
{
    l->table = resp_list_alloc(l, sizeof *l->table);
    if (l->table == NULL || !resp_part_add(l, 0)) { return false; }
    l->table->chains = RESP_PART_CHAINS;
    l->table->mask = RESP_PART_CHAINS - 1;
    return true;
}

/* Add a chain, with the keys that belong to it. Without memory the table stays as it is. */
static void resp_chain_add(resp_key_list *l)
{
    resp_key_table *t = l->table;
    const uint32_t n = t->chains;
    if (n == RESP_PARTS * RESP_PART_CHAINS ||
        (n % RESP_PART_CHAINS == 0 && !resp_part_add(l, n / RESP_PART_CHAINS))) {
        return;
    }
    if (n > t->mask) { t->mask = t->mask * 2 + 1; }
    t->chains++;
    resp_key_node **to = resp_chain(t, n);
    for (resp_key_node **at = resp_chain(t, n & t->mask >> 1), *one; (one = *at) != NULL;) {
        if ((one->hash & t->mask) == n) {
            *at = one->next;
            one->next = *to;
            *to = one;
        } else {
            at = &one->next;
        }
    }
}

static resp_key_node *resp_node_new(resp_key_list *l)
{
    resp_key_table *t = l->table;
    if (t->free == 0) {
        resp_key_slab *s = resp_list_alloc(l, sizeof *s);
        if (s == NULL) { return NULL; }
        s->next = t->slabs;
        t->slabs = s;
        t->free = RESP_SLAB_NODES;
    }
    return &t->slabs->node[--t->free];
}

/* Return the hash FNV-1a of a key. */
static uint32_t resp_key_hash(cellar_bytes key)
{
    const unsigned char *p = key.data;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < key.len; i++) { hash = (hash ^ p[i]) * UINT64_C(0x100000001b3); }
    return (uint32_t)(hash ^ hash >> 29);
}

static bool resp_key_known(const resp_key_list *l, cellar_bytes key, uint32_t hash)
{
    const resp_key_node *n = *resp_chain(l->table, resp_chain_of(l->table, hash));
    while (n != NULL && (n->hash != hash || n->len != key.len ||
                         memcmp(n->key, key.data, key.len) != 0)) {
        n = n->next;
    }
    return n != NULL;
}

/* Append the bulk of a key. Return the key in its block; NULL: no memory. */
static const unsigned char *resp_bulk_add(resp_key_list *l, cellar_bytes key)
{
    const size_t need = key.len + RESP_BULK_MORE;
    if (l->last == NULL || l->last->cap - l->last->used < need) {
        resp_block *b = resp_block_new(l->of, need);
        if (b == NULL) { return NULL; }
        if (l->last != NULL) { l->last->next = b; } else { l->first = b; }
        l->last = b;
    }
    l->count++;
    return resp_block_bulk(l->last, key.data, key.len);
}

/* Add a key. Return false without memory. */
static bool resp_key_add(resp_key_list *l, cellar_bytes key)
{
    if (!l->distinct) { return resp_bulk_add(l, key) != NULL; }
    if (l->table == NULL && !resp_table_make(l)) { return false; }
    const uint32_t hash = resp_key_hash(key);
    if (resp_key_known(l, key, hash)) { return true; }
    resp_key_node *n = resp_node_new(l);
    const unsigned char *copy = n != NULL ? resp_bulk_add(l, key) : NULL;
    if (copy == NULL) { return false; }
    resp_key_node **chain = resp_chain(l->table, resp_chain_of(l->table, hash));
    *n = (resp_key_node){ *chain, copy, (uint32_t)key.len, hash };
    *chain = n;
    if (l->count > l->table->chains) { resp_chain_add(l); }
    return true;
}

/* Return whether the list keeps the key: with `draw`, each of the keys seen has the same chance. */
static bool resp_key_wanted(resp_key_list *l, cellar_bytes key)
{
    if (l->draw != 0) {
        l->draw = base_mix64(l->draw) | 1;
        if ((l->draw >> 1) % l->seen != 0) { return false; }
        (void)resp_key_list_free(l, UINT32_MAX);
        l->count = 0;
    }
    return l->match.data == NULL || base_glob_match(l->match.data, l->match.len, key.data, key.len);
}

CELLAR_PRIVATE bool resp_key_seen(const cellar_scan_entry *e, void *ctx)
{
    resp_key_list *l = ctx;
    const cellar_bytes key = { e->key, e->key_len };
    if (e->kind != CELLAR_KIND_VALUE) { return true; }
    l->seen++;
    if (!l->counts_only && !l->full && resp_key_wanted(l, key)) {
        l->full = !resp_key_add(l, key);
    }
    return !l->full && l->seen < l->most_seen && base_tsc_ns() < l->end_ns;
}

CELLAR_PRIVATE void resp_key_list_put(resp_client *c, resp_key_list *l)
{
    resp_put_blocks(c, l->first);
    l->first = l->last = NULL;
}

/* Free one allocation of a table. Return false when none is left. */
static bool resp_table_less(const resp_key_list *l)
{
    resp_key_table *t = l->table;
    const uint32_t last = t->mask / RESP_PART_CHAINS; /* the parts up to here, perhaps not all */
    resp_key_slab *s = t->slabs;
    if (s != NULL) {
        t->slabs = s->next;
        resp_list_free(l, s, sizeof *s);
        return true;
    }
    resp_list_free(l, t->part[last], RESP_PART_CHAINS * sizeof *t->part[last]);
    t->part[last] = NULL;
    t->mask -= BASE_MIN(t->mask, RESP_PART_CHAINS);
    return last > 0;
}

CELLAR_PRIVATE bool resp_key_list_free(resp_key_list *l, uint32_t most)
{
    for (resp_block *b; most > 0 && (b = l->first) != NULL; most--) {
        l->first = b->next;
        resp_block_free(l->of, b);
    }
    if (l->first == NULL) { l->last = NULL; }
    for (; most > 0 && l->table != NULL; most--) {
        if (!resp_table_less(l)) {
            resp_list_free(l, l->table, sizeof *l->table);
            l->table = NULL;
        }
    }
    return l->first == NULL && l->table == NULL;
}

CELLAR_PRIVATE void resp_walk_drop(resp_client *c)
{
    resp_walk *w = c->walk;
    if (w == NULL) { return; }
    c->walk = NULL;
    (void)resp_key_list_free(&w->list, UINT32_MAX);
    base_free(&c->of->account, BASE_MOD_STORE, w, w->bytes);
}

BASE_SIZE_END
