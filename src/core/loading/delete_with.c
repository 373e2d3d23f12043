/* SPDX-License-Identifier: MIT
 *
 * delete_with: delete one key under a condition, or return its old value.
 *
 * INVARIANTS The value returned is the value deleted: L1 compares identity and bytes (L1_IF_SAME).
 * LIMITS     CACHE_ROUNDS rounds; in a lost round another writer succeeded. */
#include "cache/call.h"
#include "cache/change_shared.h"
#include "cache/error.h"
#include "cache/generation.h"
#include "cache/get_alloc.h"
#include "cache/handle.h"
#include "cache/lookup.h"
#include "loading/loading.h"

BASE_SIZE_BEGIN

/* Run one round of a delete that returns the old value. CONFLICT: lost to another writer or, with
 * *differs, another version. */
static cellar_err cache_delete_round(cellar *c, l1_key *k, uint64_t if_version, cellar_buf *old,
                                     unsigned char **copy, bool *differs, cache_wait *w)
{
    l1_info info;
    cellar_err err = cache_update_read(c, k, old, &info, w);
    if (err != CELLAR_OK) { return err; }
    *differs = if_version != 0 && info.version != if_version;
    if (*differs) { return CELLAR_CONFLICT; }
    *copy = cache_dup_new(c->store, old->len);
    if (*copy == NULL) { return CELLAR_E_NOMEM; }
    if (old->len != 0) { memcpy(*copy, old->bytes, old->len); }
    (*copy)[old->len] = '\0';
    err = cache_remove_same(c, k, &info, old, if_version, false);
    if (err == CELLAR_OK) { return err; }
    cellar_free(*copy);
    *copy = NULL;
    return err == CELLAR_MISS ? CELLAR_CONFLICT : err;
}

static cellar_err cache_delete_old(cellar *c, l1_key *k, const cellar_delete_opts *o)
{
    cellar_buf old;
    unsigned char room[CACHE_BUF_INLINE], *copy = NULL;
    bool differs = false;
    cache_wait wait = { .call = "cellar_delete_with" };
    cache_buf_init(&old, c->store, room);
    cellar_err err = CELLAR_E_BUSY;
    for (unsigned round = 0; round < CACHE_ROUNDS; round++) {
        err = cache_delete_round(c, k, o->if_version, &old, &copy, &differs, &wait);
        if (err == CELLAR_MISS && o->if_version == 0) { err = cache_delete_rest(c, k); }
        if (err != CELLAR_CONFLICT || differs) { break; }
        err = cache_is_closed(c) ? CELLAR_E_CLOSED : CELLAR_E_BUSY;
        if (err == CELLAR_E_CLOSED) { break; }
        cache_rekey(c, k);
    }
    if (copy != NULL) {
        *o->old_value = copy;
        *o->old_value_len = old.len;
    }
    cache_buf_fini(&old);
    return err;
}

/* Delete the wanted version. Only a version from memory can match: an entry from disk gets a new
 * one. */
static cellar_err cache_delete_version(cellar *c, l1_key *k, uint64_t if_version)
{
    l1_put_spec same = { .flags = L1_IF_PRESENT | L1_IF_VERSION, .if_version = if_version };
    cellar_err err = cache_delete_if(c, k, &same, false);
    cache_wait wait = { .call = "cellar_delete_with" };
    if (err != CELLAR_MISS) { return err; }
    err = cache_bring(c, k, &wait);
    return err == CELLAR_OK ? CELLAR_CONFLICT : err == CELLAR_ABSENT ? CELLAR_MISS : err;
}

/* Delete the state of the key that this call has read. CONFLICT: again, unless *differs. */
static cellar_err cache_delete_state(cellar *c, l1_key *k, const cellar_delete_opts *o,
                                     cellar_buf *old, unsigned char **copy, bool *differs)
{
    cellar_tier_entry e;
    size_t len = 0;
    cellar_err err = cache_shared_fresh(c, k, old->bytes, old->cap, &len, &e);
    if (err == CELLAR_E_BUFFER && o->old_value != NULL) {
        err = cache_buf_grow(old, len);
        return err == CELLAR_OK ? CELLAR_CONFLICT : err;
    }
    if (err != CELLAR_OK && err != CELLAR_E_BUFFER) {
        if (err < 0 || o->if_version != 0) { return err == CELLAR_ABSENT ? CELLAR_MISS : err; }
        uint64_t none = 0;
        err = cache_shared_change(c, k, NULL, 0, &none); /* ends a negative entry and a load, too */
        return err == CELLAR_OK ? CELLAR_MISS : err;
    }
    *differs = o->if_version != 0 && e.check != o->if_version;
    if (*differs) { return CELLAR_CONFLICT; }
    if (o->old_value != NULL) {
        *copy = cache_dup_new(c->store, len);
        if (*copy == NULL) { return CELLAR_E_NOMEM; }
        if (len != 0) { memcpy(*copy, old->bytes, len); }
        (*copy)[len] = '\0';
        old->len = len;
    }
    uint64_t check = e.check;
    err = cache_shared_change(c, k, NULL, 0, &check);
    if (err == CELLAR_OK) { return err; }
    cellar_free(*copy);
    *copy = NULL;
    return err;
}

static cellar_err cache_delete_shared(cellar *c, l1_key *k, const cellar_delete_opts *o)
{
    cellar_buf old;
    unsigned char room[CACHE_BUF_INLINE], *copy = NULL;
    bool differs = false;
    cache_buf_init(&old, c->store, room);
    cellar_err err = CELLAR_CONFLICT;
    for (unsigned i = 0; err == CELLAR_CONFLICT && !differs && i < CACHE_SHARED_ROUNDS; i++) {
        err = cache_delete_state(c, k, o, &old, &copy, &differs);
    }
    if (copy != NULL) {
        *o->old_value = copy;
        *o->old_value_len = old.len;
    }
    cache_buf_fini(&old);
    return err == CELLAR_CONFLICT && !differs ? CELLAR_E_BUSY : err;
}

CELLAR_API cellar_err cellar_delete_with(cellar *c, const void *key, size_t key_len,
                                         const cellar_delete_opts *o)
{
    if (o == NULL) { return cellar_delete(c, key, key_len); }
    if (c == NULL || cache_key_bad(key, key_len)) {
        return cache_fail_key(c, "cellar_delete_with", key, key_len, "");
    }
    cellar_delete_opts full;
    cellar_err err = base_opts_in(&full, sizeof full, o);
    if (err != CELLAR_OK) {
        return cache_fail(c, err, 0, "cellar_delete_with: start from cellar_delete_opts_default()");
    }
    if ((full.old_value == NULL) != (full.old_value_len == NULL)) {
        return cache_refuse(c, "cellar_delete_with: set both old_value and old_value_len");
    }
    if (full.old_value != NULL) {
        *full.old_value = NULL;
        *full.old_value_len = 0;
    }
    if (full.old_value != NULL ? cache_no_bytes(c) : cache_is_closed(c)) {
        return cache_closed(c, __func__);
    }
    l1_key k;
    cache_key(c, &k, key, key_len);
    (void)base_add_rlx(&c->refs, 1u); /* the handle of the caller is open: refs >= 1 */
    if ((full.old_value != NULL || full.if_version != 0) && cache_shared_of(c) != NULL) {
        err = cache_delete_shared(c, &k, &full);
    } else if (full.old_value != NULL) {
        err = cache_delete_old(c, &k, &full);
    } else if (full.if_version != 0) {
        err = cache_delete_version(c, &k, full.if_version);
    } else {
        err = cache_delete(c, &k, false);
    }
    if (err == CELLAR_E_NOMEM || err == CELLAR_E_BUSY) {
        (void)cache_fail(c, err, 0,
                         "cellar_delete_with: no memory, or 64 tries lost to other writers");
    }
    cache_namespace_release(c);
    return err;
}

BASE_SIZE_END
