/* SPDX-License-Identifier: MIT
 *
 * table: the allocator of uthash; its macros as functions.
 *
 * INVARIANTS Each byte is charged to the budget and module that the point of use names, and freed
 *            with the size that uthash passes. A refused charge is NULL: HASH_NONFATAL_OOM leaves
 *            the element out of the table, and the caller finds hh.tbl == NULL.
 * LOCKING    Tables change under the lock of their owner, so make_room is never called. */
#include "base/table.h"

#include <stdint.h>
#include <string.h>

CELLAR_PRIVATE void *base_table_alloc(base_account *a, base_module m, size_t bytes)
{
    return base_alloc_held(a, m, bytes, NULL);
}

CELLAR_PRIVATE void base_table_free(base_account *a, base_module m, void *p, size_t bytes)
{
    base_free(a, m, p, bytes);
}

typedef struct base_table_any { /* an item, from its handle on */
    UT_hash_handle hh;
} base_table_any;

static base_table_any *base_table_at(const void *item, size_t at)
{
    return (base_table_any *)(void *)((uintptr_t)item + at);
}

CELLAR_PRIVATE void *base_table_find(const void *head, size_t at, const void *key, size_t len,
                                     unsigned hash)
{
    if (head == NULL) { return NULL; }
    const UT_hash_table *tbl = base_table_at(head, at)->hh.tbl;
    const UT_hash_handle *hh = tbl->buckets[hash & (tbl->num_buckets - 1)].hh_head;
    for (; hh != NULL; hh = hh->hh_next) {
        if (hh->hashv == hash && hh->keylen == len && memcmp(hh->key, key, len) == 0) {
            return ELMT_FROM_HH(tbl, hh);
        }
    }
    return NULL;
}

/* Put a handle behind the last one. False: no memory for a table. */
static bool base_table_append(base_account *base_table_account, base_module base_table_module,
                              void *head, size_t at, base_table_any *any, void *item)
{
    int oomed = 0;
    any->hh.next = any->hh.prev = NULL;
    if (head == NULL) {
        HASH_MAKE_TABLE(hh, any, oomed);
        if (oomed == 0) { any->hh.tbl->hho = (ptrdiff_t)at; }
        return oomed == 0;
    }
    UT_hash_table *tbl = any->hh.tbl = base_table_at(head, at)->hh.tbl;
    any->hh.prev = ELMT_FROM_HH(tbl, tbl->tail);
    tbl->tail->next = item;
    tbl->tail = &any->hh;
    return true;
}

CELLAR_PRIVATE void *base_table_add(base_account *base_table_account,
                                    base_module base_table_module, void *head, size_t at,
                                    const void *key, size_t len, unsigned hash, void *item)
{
    base_table_any *any = base_table_at(item, at);
    int oomed = 0;
    any->hh.hashv = hash;
    any->hh.key = key;
    any->hh.keylen = (unsigned)len;
    if (!base_table_append(base_table_account, base_table_module, head, at, any, item)) {
        any->hh.tbl = NULL;
        return NULL;
    }
    if (head == NULL) { head = item; }
    UT_hash_table *tbl = any->hh.tbl;
    const unsigned bucket = hash & (tbl->num_buckets - 1);
    tbl->num_items++;
    HASH_ADD_TO_BKT(tbl->buckets[bucket], hh, &any->hh, oomed);
    if (oomed == 0) { return head; }
    HASH_ROLLBACK_BKT(hh, any, &any->hh);
    head = base_table_remove(base_table_account, base_table_module, head, at, item);
    any->hh.tbl = NULL;
    return head;
}

CELLAR_PRIVATE void *base_table_remove(base_account *base_table_account,
                                       base_module base_table_module, void *head, size_t at,
                                       void *item)
{
    base_table_any *any = base_table_at(item, at);
    UT_hash_handle *hh = &any->hh;
    UT_hash_table *tbl = hh->tbl;
    if (hh->prev == NULL && hh->next == NULL) {
        HASH_CLEAR(hh, any);
        return NULL;
    }
    if (hh == tbl->tail) { tbl->tail = HH_FROM_ELMT(tbl, hh->prev); }
    if (hh->prev != NULL) {
        HH_FROM_ELMT(tbl, hh->prev)->next = hh->next;
    } else {
        head = hh->next;
    }
    if (hh->next != NULL) { HH_FROM_ELMT(tbl, hh->next)->prev = hh->prev; }
    HASH_DEL_IN_BKT(tbl->buckets[hh->hashv & (tbl->num_buckets - 1)], hh);
    tbl->num_items--;
    return head;
}
