/* SPDX-License-Identifier: MIT
 *
 * list: the newest n items, as one value.
 *
 * FORMAT     u32 "CLS1", u32 count, u32 cap, u32 bytes; count x {u32 length, bytes}, newest first.
 *            Little-endian.
 * INVARIANTS A value is written only if all its sums fit. Another value is E_TYPE, and stays. */
#include "cellar_kit.h"

#include "base/num.h"
#include "cellar_admin.h"
#include "kit/bytes.h"

#include <string.h>

BASE_SIZE_BEGIN

#define KIT_LIST_MAGIC 0x31534c43u /* "CLS1" */
#define KIT_LIST_HEAD 16u

typedef struct kit_list { /* a value that was checked */
    const unsigned char *items;
    uint32_t count, cap, bytes;
} kit_list;

/* Return the end of the items from the one at `at` on; SIZE_MAX: they do not fit. */
static size_t kit_list_skip(const unsigned char *items, size_t at, size_t bytes, uint32_t count)
{
    for (; count > 0; count--) {
        if (bytes - at < 4) { return SIZE_MAX; }
        const size_t n = kit_r32(items + at);
        if (bytes - at - 4 < n) { return SIZE_MAX; }
        at += 4 + n;
    }
    return at;
}

/* Check a value in full. An empty value is an empty list. */
static bool kit_list_read(const void *value, size_t len, kit_list *out)
{
    const unsigned char *p = value;
    *out = (kit_list){ NULL, 0, 0, 0 };
    if (len == 0) { return true; }
    if (len < KIT_LIST_HEAD || kit_r32(p) != KIT_LIST_MAGIC) { return false; }
    *out = (kit_list){ p + KIT_LIST_HEAD, kit_r32(p + 4), kit_r32(p + 8), kit_r32(p + 12) };
    return out->count <= out->cap && out->cap <= CELLAR_LIST_MAX &&
           (uint64_t)KIT_LIST_HEAD + out->bytes == len &&
           kit_list_skip(out->items, 0, out->bytes, out->count) == out->bytes;
}

typedef struct kit_list_change {
    const cellar_bytes *items; /* oldest first */
    size_t item_count;
    uint32_t cap;
    bool trim; /* add nothing; keep `cap` items and the cap of the list */
    uint32_t count; /* out: items afterwards */
} kit_list_change;

static cellar_err kit_list_update(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    kit_list_change *ch = ctx;
    kit_list l;
    if (!kit_list_read(old, old_len, &l)) { return CELLAR_E_TYPE; }
    const uint32_t added = (uint32_t)BASE_MIN(ch->item_count, ch->cap);
    const uint32_t kept = BASE_MIN(l.count, ch->cap - added);
    const size_t kept_bytes = kit_list_skip(l.items, 0, l.bytes, kept);
    size_t bytes = kept_bytes;
    for (uint32_t i = 0; i < added; i++) {
        const size_t len = ch->items[ch->item_count - 1 - i].len;
        if (len > CELLAR_VALUE_MAX - bytes) { return CELLAR_E_TOOBIG; }
        bytes += 4 + len;
        if (bytes > CELLAR_VALUE_MAX) { return CELLAR_E_TOOBIG; }
    }
    ch->count = added + kept;
    if (ch->count == 0) { return CELLAR_REMOVED; }
    void *p;
    const cellar_err err = cellar_buf_resize(out, KIT_LIST_HEAD + bytes, &p);
    if (err != CELLAR_OK) { return err; }
    unsigned char *to = p;
    kit_w32(to, KIT_LIST_MAGIC);
    kit_w32(to + 4, ch->count);
    kit_w32(to + 8, ch->trim ? l.cap : ch->cap);
    kit_w32(to + 12, (uint32_t)bytes);
    to += KIT_LIST_HEAD;
    for (uint32_t i = 0; i < added; i++) {
        const cellar_bytes *item = &ch->items[ch->item_count - 1 - i];
        kit_w32(to, (uint32_t)item->len);
        if (item->len != 0) { memcpy(to + 4, item->data, item->len); }
        to += 4 + item->len;
    }
    if (kept_bytes != 0) { memcpy(to, l.items, kept_bytes); }
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_list_push(cellar *c, const void *key, size_t key_len,
                                       const cellar_bytes *items, size_t item_count, uint32_t cap,
                                       const cellar_set_opts *o, uint32_t *count)
{
    if (count != NULL) { *count = 0; }
    if (items == NULL || item_count == 0 || cap == 0 || cap > CELLAR_LIST_MAX) {
        return CELLAR_E_INVAL;
    }
    for (size_t i = 0; i < item_count; i++) {
        if (items[i].data == NULL && items[i].len != 0) { return CELLAR_E_INVAL; }
    }
    const uint32_t ruled = cellar_policy_max_items(c, key, key_len);
    if (ruled != 0) { cap = BASE_MIN(ruled, CELLAR_LIST_MAX); }
    kit_list_change ch = { items, item_count, cap, false, 0 };
    const cellar_err err = cellar_update(c, key, key_len, o, kit_list_update, &ch);
    if (err == CELLAR_OK && count != NULL) { *count = ch.count; }
    return err;
}

CELLAR_API cellar_err cellar_list_trim(cellar *c, const void *key, size_t key_len, uint32_t keep)
{
    if (keep > CELLAR_LIST_MAX) { return CELLAR_E_INVAL; }
    kit_list_change ch = { NULL, 0, keep, true, 0 };
    cellar_set_opts o = cellar_set_opts_default();
    o.flags = CELLAR_ONLY_IF_PRESENT | CELLAR_KEEP_TTL;
    const cellar_err err = cellar_update(c, key, key_len, &o, kit_list_update, &ch);
    return err == CELLAR_REMOVED ? CELLAR_OK : err;
}

CELLAR_API cellar_err cellar_list_range(cellar *c, const void *key, size_t key_len, uint32_t first,
                                        cellar_bytes *out, uint32_t out_cap, uint32_t *count,
                                        uint32_t *length, void **block)
{
    if (count != NULL) { *count = 0; }
    if (length != NULL) { *length = 0; }
    if (block != NULL) { *block = NULL; }
    if (count == NULL || block == NULL || (out == NULL && out_cap != 0)) { return CELLAR_E_INVAL; }
    size_t len = 0;
    const cellar_err err = cellar_get_alloc(c, key, key_len, block, &len);
    if (err != CELLAR_OK) { return err; }
    kit_list l;
    if (!kit_list_read(*block, len, &l)) {
        cellar_free(*block);
        *block = NULL;
        return CELLAR_E_TYPE;
    }
    if (length != NULL) { *length = l.count; }
    size_t at = kit_list_skip(l.items, 0, l.bytes, BASE_MIN(first, l.count));
    for (uint32_t i = first; i < l.count && *count < out_cap; i++) {
        const size_t n = kit_r32(l.items + at);
        out[(*count)++] = (cellar_bytes){ l.items + at + 4, n };
        at += 4 + n;
    }
    return CELLAR_OK;
}

BASE_SIZE_END
