/* SPDX-License-Identifier: MIT
 *
 * key_list: the keys that a scan found.
 *
 * PICTURE    blocks: $3\r\nkey\r\n$5\r\n.. | .. | ..     the reply is ready when the scan ends
 * INVARIANTS No step takes longer when the list is long.
 * LOCKING    None.
 * LIMITS     The memory of the port. */
#include "base/glob.h"
#include "base/num.h"
#include "resp/key_list.h"

BASE_SIZE_BEGIN

/* Append the bulk of a key. Return false without memory. */
static bool resp_key_add(resp_key_list *l, cellar_bytes key)
{
    const size_t need = key.len + RESP_BULK_MORE;
    if (l->last == NULL || l->last->cap - l->last->used < need) {
        resp_block *b = resp_block_new(l->of, need);
        if (b == NULL) { return false; }
        if (l->last != NULL) { l->last->next = b; } else { l->first = b; }
        l->last = b;
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

CELLAR_PRIVATE bool resp_key_list_free(resp_key_list *l, uint32_t most)
{
    for (resp_block *b; most > 0 && (b = l->first) != NULL; most--) {
        l->first = b->next;
        resp_block_free(l->of, b);
    }
    if (l->first == NULL) { l->last = NULL; }
    return l->first == NULL;
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
