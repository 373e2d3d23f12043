/* SPDX-License-Identifier: MIT
 *
 * key_list: the keys that a scan found.
 *
 * PICTURE    blocks: $3\r\nkey\r\n$5\r\n.. | .. | ..     the reply is ready when the scan ends
 *            table: part of 1,024 fingerprints and 1,024 chains | .. | ..
 *            chain -> number of a fingerprint -> next -> 0; numbers begin at 1
 * INVARIANTS No step takes longer when the list is long. The table gets a chain with each key:
 *            chain n takes the fingerprints of chain n - 2^k that belong to it (linear hashing).
 * LOCKING    None.
 * LIMITS     The memory of the port: 16 bytes a key beside the reply, 1,048,576 keys. Of 10^6 keys
 *            two have the same fingerprint with probability 3 x 10^-8: one is missing then. */
#include "base/glob.h"
#include "base/hash.h"
#include "base/num.h"
#include "resp/key_list.h"

#define RESP_LIST_PART 1024u
#define RESP_LIST_PARTS 1024u

typedef struct resp_key_part {
    uint64_t print[RESP_LIST_PART];
    uint32_t next[RESP_LIST_PART];
    uint32_t chain[RESP_LIST_PART];
} resp_key_part;

struct resp_key_table {
    uint32_t count; /* fingerprints; as many chains, but RESP_LIST_PART at least */
    uint32_t mask;  /* the lowest 2^k - 1 that is at least the number of chains - 1 */
    uint32_t parts;
    resp_key_part *part[RESP_LIST_PARTS];
};

BASE_SIZE_BEGIN

/* ---- fingerprints ---- */

#define RESP_OF(t, field, n) ((t)->part[(n) / RESP_LIST_PART]->field[(n) % RESP_LIST_PART])

static bool resp_part_add(resp_key_list *l, resp_key_table *t)
{
    if (t->parts == RESP_LIST_PARTS) { return false; }
    resp_key_part *p = base_alloc(&l->of->obj.account, BASE_MOD_STORE, sizeof *p, NULL);
    if (p == NULL) { return false; }
    t->part[t->parts++] = p;
    l->bytes += sizeof *p;
    return true;
}

static uint32_t *resp_chain_of(const resp_key_table *t, uint64_t print)
{
    const uint32_t n = (uint32_t)print & t->mask;
    const uint32_t at = n < BASE_MAX(t->count, RESP_LIST_PART) ? n : n & t->mask >> 1;
    return &RESP_OF(t, chain, at);
}

/* Fill chain n, the last one. */
static void resp_chain_split(resp_key_table *t, uint32_t n)
{
    if (n > t->mask) { t->mask = t->mask * 2 + 1; }
    uint32_t *to = &RESP_OF(t, chain, n), *at = &RESP_OF(t, chain, n & t->mask >> 1);
    for (uint32_t i; (i = *at) != 0;) {
        uint32_t *next = &RESP_OF(t, next, i - 1);
        if (((uint32_t)RESP_OF(t, print, i - 1) & t->mask) == n) {
            *at = *next;
            *next = *to;
            *to = i;
        } else {
            at = next;
        }
    }
}

/* Add a fingerprint. *known: it was there. Return false without memory. */
static bool resp_print_add(resp_key_list *l, uint64_t print, bool *known)
{
    if (l->table == NULL) {
        l->table = base_alloc(&l->of->obj.account, BASE_MOD_STORE, sizeof *l->table, NULL);
        if (l->table == NULL) { return false; }
        l->table->mask = RESP_LIST_PART - 1;
    }
    resp_key_table *t = l->table;
    const uint32_t n = t->count;
    if (n == t->parts * RESP_LIST_PART && !resp_part_add(l, t)) { return false; }
    uint32_t *chain = resp_chain_of(t, print), i = *chain;
    while (i != 0 && RESP_OF(t, print, i - 1) != print) { i = RESP_OF(t, next, i - 1); }
    *known = i != 0;
    if (i != 0) { return true; }
    RESP_OF(t, print, n) = print;
    RESP_OF(t, next, n) = *chain;
    *chain = ++t->count;
    if (n >= RESP_LIST_PART) { resp_chain_split(t, n); }
    return true;
}

/* ---- keys ---- */

/* Append the bulk of a key, unless it is there. Return false without memory. */
static bool resp_key_add(resp_key_list *l, cellar_bytes key)
{
    const size_t need = key.len + RESP_BULK_MORE;
    bool known = false;
    if (l->distinct &&
        !resp_print_add(l, base_hash_long(&l->of->hash_key, 0, key.data, key.len), &known)) {
        return false;
    }
    if (known) { return true; }
    if (l->last == NULL || l->last->cap - l->last->used < need) {
        resp_block *b = resp_block_new(l->of, need);
        if (b == NULL) { return false; }
        if (l->last != NULL) { l->last->next = b; } else { l->first = b; }
        l->last = b;
        l->bytes += b->cap;
    }
    l->count++;
    resp_block_bulk(l->last, key.data, key.len);
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
    const bool object = e->kind == CELLAR_KIND_OBJECT;
    if (e->kind != CELLAR_KIND_VALUE && !object) { return true; }
    l->seen++;
    if (!(object ? l->no_objects : l->no_bytes) && !l->full && resp_key_wanted(l, key)) {
        l->full = !resp_key_add(l, key);
    }
    return !l->full && l->seen < l->most_seen && base_tsc_ns() < l->end_ns;
}

CELLAR_PRIVATE void resp_key_list_put(resp_client *c, resp_key_list *l)
{
    resp_put_blocks(c, l->first);
    l->bytes = 0;
    l->first = l->last = NULL;
}

CELLAR_PRIVATE bool resp_key_list_free(resp_key_list *l, uint32_t most)
{
    for (resp_block *b; most > 0 && (b = l->first) != NULL; most--) {
        l->first = b->next;
        resp_block_free(l->of, b);
    }
    if (l->first == NULL) { l->last = NULL; }
    for (resp_key_table *t; most > 0 && (t = l->table) != NULL; most--) {
        if (t->parts > 0) {
            t->parts--;
            base_free(&l->of->obj.account, BASE_MOD_STORE, t->part[t->parts], sizeof **t->part);
        } else {
            base_free(&l->of->obj.account, BASE_MOD_STORE, t, sizeof *t);
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
    base_free(&c->of->obj.account, BASE_MOD_STORE, w, w->bytes);
}

BASE_SIZE_END
