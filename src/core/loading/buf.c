/* SPDX-License-Identifier: MIT
 *
 * buf: bytes of unknown size, collected by an update function or a loader.
 *
 * INVARIANTS A failure is kept and ends the update or the load. A longer value than
 *            max_value_bytes is refused while it is written, so no put fails.
 * LIMITS     The buffer of an update is charged to the store, the buffer of a load is not. */
#include "cache/error.h"
#include "cache/get_alloc.h"
#include "loading/loading.h"

CELLAR_PRIVATE void cache_buf_init(cellar_buf *b, cache_store *s, unsigned char *room)
{
    *b = (cellar_buf){ .store = s, .bytes = room, .room = room, .cap = CACHE_BUF_INLINE };
}

CELLAR_PRIVATE void cache_buf_fini(cellar_buf *b)
{
    if (b->bytes != b->room) {
        base_free(&b->store->account, BASE_MOD_STORE, b->bytes, b->cap);
    }
    if (base_load_rlx(&b->store->hides) != 0) { base_wipe(b->room, CACHE_BUF_INLINE); }
}

/* Keep the first failure; return it. */
static cellar_err cache_buf_fail(cellar_buf *b, cellar_err err)
{
    if (b->failed != CELLAR_OK) { return b->failed; }
    b->failed = err;
    if (b->load != NULL) { cache_load_setter_failed(b->load, err); }
    return err;
}

/* Refuse a length that is over max_value_bytes. */
static cellar_err cache_buf_long(cellar_buf *b, size_t len)
{
    b->refused = len;
    if (b->load != NULL) { (void)cache_fail_long(b->load->call->c, "cellar_load_buf", len); }
    return cache_buf_fail(b, CELLAR_E_TOOBIG);
}

/* Return a block of `cap` bytes for the buffer; NULL: no memory. */
static unsigned char *cache_buf_block(cellar_buf *b, size_t cap)
{
    return b->load != NULL ? cache_dup_new(b->store, cap)
                           : base_alloc(&b->store->account, BASE_MOD_STORE, cap, NULL);
}

CELLAR_PRIVATE cellar_err cache_buf_grow(cellar_buf *b, size_t len)
{
    if (b->failed != CELLAR_OK) { return b->failed; }
    if (b->load != NULL && !cache_load_has_buf(b->load)) {
        return cache_load_twice(b->load);
    }
    if (len > l1_max_value(b->store->l1)) { return cache_buf_long(b, len); }
    if (len <= b->cap) { return CELLAR_OK; }
    size_t cap = b->len == 0 ? len : (size_t)base_pow2_ceil(len);
    unsigned char *bytes = cache_buf_block(b, cap);
    if (bytes == NULL && cap != len) {
        cap = len; /* tight, but it may fit */
        bytes = cache_buf_block(b, cap);
    }
    if (bytes == NULL) { return cache_buf_fail(b, CELLAR_E_NOMEM); }
    if (b->len != 0) { memcpy(bytes, b->bytes, b->len); }
    if (b->load != NULL) {
        cache_result_of(b->load)->value->data = bytes;
        cellar_free(b->bytes);
    } else {
        cache_buf_fini(b);
    }
    b->bytes = bytes;
    b->cap = cap;
    return CELLAR_OK;
}

static void cache_buf_set_len(cellar_buf *b, size_t len)
{
    b->len = len;
    if (b->load != NULL) { cache_result_of(b->load)->value->len = len; }
}

CELLAR_API cellar_err cellar_buf_append(cellar_buf *b, const void *data, size_t len)
{
    if (b == NULL) { return CELLAR_E_INVAL; }
    if (data == NULL && len != 0) { return cache_buf_fail(b, CELLAR_E_INVAL); }
    size_t total;
    if (!base_size_add(b->len, len, &total)) { return cache_buf_long(b, SIZE_MAX); }
    const cellar_err err = cache_buf_grow(b, total);
    if (err != CELLAR_OK) { return err; }
    if (len != 0) { memcpy(b->bytes + b->len, data, len); }
    cache_buf_set_len(b, total);
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_buf_resize(cellar_buf *b, size_t len, void **data)
{
    if (b == NULL) { return CELLAR_E_INVAL; }
    if (data == NULL) { return cache_buf_fail(b, CELLAR_E_INVAL); }
    *data = NULL;
    const cellar_err err = cache_buf_grow(b, len);
    if (err != CELLAR_OK) { return err; }
    if (len > b->len) { memset(b->bytes + b->len, 0, len - b->len); }
    cache_buf_set_len(b, len);
    *data = b->bytes;
    return CELLAR_OK;
}
