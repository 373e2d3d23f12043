/* SPDX-License-Identifier: MIT
 *
 * key_list: the keys that a scan found.
 *
 * PICTURE    bytes: | len | key | len | key | ..     place: hash of a key -> its place in `bytes`
 * INVARIANTS A distinct list has each key once: keys are compared in full.
 * LOCKING    None.
 * LIMITS     The memory of the port. The hash is not keyed: keys made to collide make a scan slow,
 *            as any large reply does. */
#include <string.h>

#include "base/glob.h"
#include "resp/key_list.h"

#define RESP_KEY_HEAD     4u /* bytes before a key: its length */
#define RESP_LIST_FIRST   16384u
#define RESP_PLACES_FIRST 1024u

BASE_SIZE_BEGIN

CELLAR_PRIVATE cellar_bytes resp_key_next(const resp_key_list *l, size_t *at)
{
    uint32_t len;
    BASE_ASSERT(*at < l->used);
    memcpy(&len, l->bytes + *at, sizeof len);
    const cellar_bytes key = { l->bytes + *at + RESP_KEY_HEAD, len };
    *at += RESP_KEY_HEAD + len;
    return key;
}

CELLAR_PRIVATE void resp_key_list_free(resp_key_list *l)
{
    base_free(l->account, BASE_MOD_STORE, l->bytes, l->cap);
    base_free(l->account, BASE_MOD_STORE, l->place, l->place_count * sizeof *l->place);
}

/* Return the table cell of a key: the one that names it, or a free one. FNV-1a. */
static size_t *resp_key_cell(const resp_key_list *l, cellar_bytes key)
{
    const unsigned char *p = key.data;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < key.len; i++) { hash = (hash ^ p[i]) * UINT64_C(0x100000001b3); }
    for (size_t i = (size_t)(hash ^ hash >> 29);; i++) {
        size_t *cell = &l->place[i & (l->place_count - 1)];
        if (*cell == 0) { return cell; }
        size_t at = *cell - 1;
        const cellar_bytes other = resp_key_next(l, &at);
        if (other.len == key.len && memcmp(other.data, key.data, key.len) == 0) { return cell; }
    }
}

/* Make a larger table, and enter all keys. */
static bool resp_places_grow(resp_key_list *l)
{
    const size_t old_count = l->place_count;
    const size_t count = old_count != 0 ? old_count * 2 : RESP_PLACES_FIRST;
    size_t *place = base_alloc(l->account, BASE_MOD_STORE, count * sizeof *place, NULL);
    if (place == NULL) { return false; }
    memset(place, 0, count * sizeof *place);
    base_free(l->account, BASE_MOD_STORE, l->place, old_count * sizeof *place);
    l->place = place;
    l->place_count = count;
    for (size_t at = 0; at < l->used;) {
        const size_t here = at;
        *resp_key_cell(l, resp_key_next(l, &at)) = here + 1;
    }
    return true;
}

static bool resp_bytes_grow(resp_key_list *l, size_t more)
{
    if (l->cap - l->used >= more) { return true; }
    size_t cap = l->cap == 0 ? RESP_LIST_FIRST : l->cap * 2;
    if (cap - l->used < more) { cap += more; }
    unsigned char *bytes = base_alloc(l->account, BASE_MOD_STORE, cap, NULL);
    if (bytes == NULL) { return false; }
    if (l->used > 0) { memcpy(bytes, l->bytes, l->used); }
    base_free(l->account, BASE_MOD_STORE, l->bytes, l->cap);
    l->bytes = bytes;
    l->cap = cap;
    return true;
}

/* Add a key. Return false without memory. */
static bool resp_key_add(resp_key_list *l, cellar_bytes key)
{
    if (l->distinct && (l->count + 1) * 2 > l->place_count && !resp_places_grow(l)) {
        return false;
    }
    size_t *cell = l->distinct ? resp_key_cell(l, key) : NULL;
    if (cell != NULL && *cell != 0) { return true; }
    if (!resp_bytes_grow(l, RESP_KEY_HEAD + key.len)) { return false; }
    const uint32_t head = (uint32_t)key.len; /* at most CELLAR_KEY_MAX */
    memcpy(l->bytes + l->used, &head, sizeof head);
    memcpy(l->bytes + l->used + RESP_KEY_HEAD, key.data, key.len);
    if (cell != NULL) { *cell = l->used + 1; }
    l->used += RESP_KEY_HEAD + key.len;
    l->count++;
    return true;
}

CELLAR_PRIVATE bool resp_key_seen(const cellar_scan_entry *e, void *ctx)
{
    resp_key_list *l = ctx;
    if (e->kind != CELLAR_KIND_VALUE) { return true; }
    l->seen++;
    if (!l->counts_only && !l->full &&
        (l->match.data == NULL ||
         base_glob_match(l->match.data, l->match.len, e->key, e->key_len))) {
        l->full = !resp_key_add(l, (cellar_bytes){ e->key, e->key_len });
    }
    return !l->full && l->seen < l->most_seen;
}

BASE_SIZE_END
