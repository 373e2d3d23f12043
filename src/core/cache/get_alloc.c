/* SPDX-License-Identifier: MIT
 *
 * get_alloc: read one key into a block of the library, or into a text.
 *
 * FORMAT     Block of cellar_get_alloc: that of base_block_new with the value and a zero byte. The
 *            caller may free it after the store is closed. */
#include "cache/get_alloc.h"

#include "cache/call.h"
#include "cache/error.h"
#include "cache/lookup.h"
#include "cache/proof.h"
#include "cache/talk.h"

#define CACHE_DUP_TRY 512u /* bytes tried on the stack before memory is allocated */

BASE_SIZE_BEGIN

CELLAR_PRIVATE unsigned char *cache_dup_new(const cache_store *s, size_t len)
{
    return base_block_new(&s->hooks, len + 1); /* len <= CELLAR_VALUE_MAX */
}

CELLAR_API void cellar_free(void *value) { base_block_free(value); }

/* Read into new memory; the length may change between two looks. */
static cellar_err cache_dup_read(cellar *c, const l1_key *k, unsigned char **value, size_t *len,
                                 stats_id *outcome)
{
    unsigned char small[CACHE_DUP_TRY];
    cellar_err err = cache_is_unproven(c) ? CELLAR_MISS
                                          : l1_get(c->l1, k, small, sizeof small, len, 0);
    *outcome = cache_outcome(err);
    if (err == CELLAR_MISS) {
        err = cache_get_below(c, k, small, sizeof small, len, outcome);
    }
    if (err == CELLAR_OK) {
        *value = cache_dup_new(c->store, *len);
        if (*value != NULL) { memcpy(*value, small, *len); }
        if (c->secret) { base_wipe(small, sizeof small); }
        return *value != NULL ? CELLAR_OK : CELLAR_E_NOMEM;
    }
    while (err == CELLAR_E_BUFFER) {
        const size_t room = *len;
        *value = cache_dup_new(c->store, room);
        if (*value == NULL) { return CELLAR_E_NOMEM; }
        err = cache_is_unproven(c) ? CELLAR_MISS : l1_get(c->l1, k, *value, room, len, L1_PEEK);
        stats_id again = *outcome;
        if (err == CELLAR_MISS) { err = cache_get_below(c, k, *value, room, len, &again); }
        if (err == CELLAR_OK) { return CELLAR_OK; }
        cellar_free(*value);
        *value = NULL;
        *outcome = cache_outcome(err);
    }
    return err;
}

CELLAR_API cellar_err cellar_get_alloc(cellar *c, const void *key, size_t key_len,
                                       void **value, size_t *value_len)
{
    if (value != NULL) { *value = NULL; }
    if (value_len != NULL) { *value_len = 0; }
    if (c == NULL || cache_key_bad(key, key_len) || value == NULL || value_len == NULL) {
        return cache_fail_key(c, "cellar_get_alloc", key, key_len,
                              "value and value_len must not be NULL");
    }
    if (cache_no_bytes(c)) { return cache_closed(c, __func__); }
    stats_id outcome = STATS_MISS;
    cellar_err err = CELLAR_MISS;
    unsigned char *copy = NULL;
    size_t len = 0;
    l1_key k;
    cache_key(c, &k, key, key_len);
    if (!cache_is_off(c)) {
        err = cache_dup_read(c, &k, &copy, &len, &outcome);
    }
    stats_add(cache_mine(c), outcome, 1);
    cache_hot_sample(c, base_thread_self(), &k);
    if (cache_talks(c)) { cache_read_tell(c, "get", &k, err); }
    if (err == CELLAR_E_NOMEM) { return cache_fail(c, err, 0, "cellar_get_alloc: no memory"); }
    if (err == CELLAR_OK) {
        copy[len] = '\0';
        *value = copy;
        *value_len = len;
    }
    return err;
}

CELLAR_API cellar_err cellar_get_str(cellar *c, const char *key, char *buf, size_t buf_cap)
{
    if (buf != NULL && buf_cap != 0) { buf[0] = '\0'; }
    if (key == NULL || buf == NULL || buf_cap == 0) {
        return cache_fail_key(c, "cellar_get_str", key, 1, "buf must hold at least 1 byte");
    }
    size_t len = 0;
    cellar_err err = cellar_get(c, key, strlen(key), buf, buf_cap, &len);
    if (err == CELLAR_OK && len == buf_cap) { err = CELLAR_E_BUFFER; }
    buf[err == CELLAR_OK ? len : 0] = '\0';
    return err;
}

BASE_SIZE_END
