/* SPDX-License-Identifier: MIT
 *
 * update: compute a new value from the old one, or remove it; the function runs outside all locks.
 *
 * WALK       copy the old value, from the tier if needed -> fn(copy, out) -> put if the entry is
 *            unchanged -> else again
 * INVARIANTS A stored value was computed from the value it replaces: L1 compares identity and bytes
 *            under the locks (L1_IF_SAME), or absence (L1_IF_ABSENT). A negative entry counts as
 *            absent.
 * LOCKING    None. The call holds a ref of the namespace: fn may close or drop it.
 * LIMITS     64 rounds; in a lost round another writer succeeded. Buffers are charged to the store
 *            during the call and end at max_value_bytes: a longer value is refused while it is
 *            written, so no put fails and the old value stays. */
#include "cache/load_int.h"

#define CACHE_BUF_INLINE 512u

/* Start a buffer. `room` has CACHE_BUF_INLINE bytes and outlives the buffer. */
static void cache_buf_init(cellar_buf *b, cache_store *s, unsigned char *room)
{
    *b = (cellar_buf){ .store = s, .bytes = room, .room = room, .cap = CACHE_BUF_INLINE };
}

static void cache_buf_fini(cellar_buf *b)
{
    if (b->bytes != b->room) {
        base_free(&b->store->account, BASE_MOD_STORE, b->bytes, b->cap);
    }
}

/* Keep the first failure; return it. */
static cellar_err cache_buf_fail(cellar_buf *b, cellar_err err)
{
    if (b->failed != CELLAR_OK) { return b->failed; }
    b->failed = err;
    if (b->load != NULL) { cache_load_trouble(b->load, err); }
    return err;
}

/* Return a block of `cap` bytes for the buffer; NULL: no memory. */
static unsigned char *cache_buf_block(cellar_buf *b, size_t cap)
{
    return b->load != NULL ? cache_dup_new(b->store, cap)
                           : base_alloc(&b->store->account, BASE_MOD_STORE, cap, NULL);
}

/* Make room for `len` bytes in all; keep the present ones. */
static cellar_err cache_buf_grow(cellar_buf *b, size_t len)
{
    if (b->failed != CELLAR_OK) { return b->failed; }
    if (b->load != NULL && b->load->value == NULL) { return CELLAR_E_RESULT_TWICE; }
    if (len > l1_max_value(b->store->l1)) { return cache_buf_fail(b, CELLAR_E_TOOBIG); }
    if (len <= b->cap) { return CELLAR_OK; }
    size_t cap = (size_t)base_pow2_ceil(len);
    unsigned char *bytes = cache_buf_block(b, cap);
    if (bytes == NULL && cap != len) {
        cap = len; /* tight, but it may fit */
        bytes = cache_buf_block(b, cap);
    }
    if (bytes == NULL) { return cache_buf_fail(b, CELLAR_E_NOMEM); }
    if (b->len != 0) { memcpy(bytes, b->bytes, b->len); }
    if (b->load != NULL) {
        b->load->value->data = bytes;
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
    if (b->load != NULL) { b->load->value->len = len; }
}

CELLAR_API cellar_err cellar_buf_append(cellar_buf *b, const void *data, size_t len)
{
    if (b == NULL) { return CELLAR_E_INVAL; }
    if (data == NULL && len != 0) { return cache_buf_fail(b, CELLAR_E_INVAL); }
    size_t total;
    if (!base_size_add(b->len, len, &total)) { return cache_buf_fail(b, CELLAR_E_TOOBIG); }
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

/* ---- rounds ---- */

/* Copy the live value. Return OK, MISS, or the error of the read. */
static cellar_err cache_update_read(cellar *c, const l1_key *k, cellar_buf *old, l1_info *info)
{
    for (unsigned i = 0; i < CACHE_ROUNDS; i++) {
        const cellar_err err = l1_inspect(c->l1, k, old->bytes, old->cap, info, 0);
        if (err == CELLAR_OK) { old->len = info->value_len; }
        if (err == CELLAR_ABSENT) { return CELLAR_MISS; }
        if (err != CELLAR_E_BUFFER) { return err; }
        old->len = 0;
        const cellar_err grown = cache_buf_grow(old, info->value_len);
        if (grown != CELLAR_OK) { return grown; }
    }
    return CELLAR_E_BUSY; /* it grew faster than this call could read */
}

typedef struct cache_update {
    cellar_update_fn fn;
    void *ctx;
    bool only_if_present;
    uint32_t flags; /* flags of the plan for L1 */
} cache_update;

/* Remove the entry that `info` and `old` describe, if it is unchanged. */
static cellar_err cache_remove_same(cellar *c, l1_key *k, const l1_info *info,
                                    const cellar_buf *old, uint64_t if_version)
{
    l1_put_spec same;
    memset(&same, 0, sizeof same);
    same.flags = L1_IF_PRESENT | L1_IF_SAME | (if_version != 0 ? L1_IF_VERSION : 0u);
    same.same = info;
    same.same_bytes = old != NULL ? old->bytes : NULL;
    same.if_version = if_version;
    return cache_del_if(c, k, &same);
}

/* Remove the entry, because the update function returned REMOVED. */
static cellar_err cache_update_remove(cellar *c, l1_key *k, const l1_info *info,
                                      const cellar_buf *old, bool there, bool *fn_said)
{
    if (!there) { return CELLAR_MISS; }
    const cellar_err err = cache_remove_same(c, k, info, old, 0);
    *fn_said = err == CELLAR_OK;
    if (err == CELLAR_OK) { return CELLAR_REMOVED; }
    return err == CELLAR_MISS ? CELLAR_CONFLICT : err; /* gone meanwhile: retry */
}

/* Run one round. CONFLICT or EXISTS: lost to another writer. */
static cellar_err cache_update_round(cellar *c, l1_key *k, const cache_update *u, cache_plan *plan,
                                     cellar_buf *old, cellar_buf *out, bool *fn_said)
{
    l1_info info;
    cellar_err err = cache_update_read(c, k, old, &info);
    if (err == CELLAR_MISS && cache_brought(c, k)) { err = cache_update_read(c, k, old, &info); }
    const bool there = err == CELLAR_OK;
    if (!there && (err != CELLAR_MISS || u->only_if_present)) { return err; }
    out->len = 0;
    sync_assert_none();
    err = u->fn(there ? old->bytes : NULL, there ? old->len : 0, out, u->ctx);
    *fn_said = true;
    if (err == CELLAR_REMOVED) { return cache_update_remove(c, k, &info, old, there, fn_said); }
    if (err != CELLAR_OK) { return err; }
    if (out->failed != CELLAR_OK) { return out->failed; }
    *fn_said = false;
    l1_put_spec *p = &plan->spec;
    p->flags = u->flags | (there ? L1_IF_SAME : L1_IF_ABSENT);
    p->same = there ? &info : NULL;
    p->same_bytes = there ? old->bytes : NULL;
    p->value = out->bytes;
    p->value_len = out->len;
    return cache_put(c, k, plan);
}

static cellar_err cache_update_run(cellar *c, l1_key *k, const cache_update *u, cache_plan *plan)
{
    cellar_buf old, out;
    unsigned char room[2][CACHE_BUF_INLINE];
    cache_buf_init(&old, c->store, room[0]);
    cache_buf_init(&out, c->store, room[1]);
    cellar_err err = CELLAR_E_BUSY;
    for (unsigned round = 0; round < CACHE_ROUNDS; round++) {
        bool fn_said = false;
        err = cache_update_round(c, k, u, plan, &old, &out, &fn_said);
        if (fn_said || (err != CELLAR_CONFLICT && err != CELLAR_EXISTS)) { break; }
        stats_add(cache_mine(c), STATS_UPDATE_RETRY, 1);
        err = cache_is_closed(c) ? CELLAR_E_CLOSED : CELLAR_E_BUSY;
        if (err == CELLAR_E_CLOSED) { break; }
        cache_rekey(c, k);
    }
    if (err == CELLAR_E_TOOBIG && out.failed == err) { /* counted and reported like that of a put */
        cache_count_refused(cache_mine(c), err);
        (void)cache_fail(c, err, 0, "value is longer than tuning.max_value_bytes");
    }
    if (err == CELLAR_E_INVAL && out.failed == err) {
        (void)cache_fail(c, err, 0, "cellar_update: fn passed NULL to a cellar_buf call");
    }
    cache_buf_fini(&old);
    cache_buf_fini(&out);
    return err;
}

CELLAR_API cellar_err cellar_update(cellar *c, const void *key, size_t key_len,
                                    const cellar_set_opts *o, cellar_update_fn fn, void *ctx)
{
    if (c == NULL || cache_key_bad(key, key_len) || fn == NULL) {
        return cache_fail_key(c, "cellar_update", key, key_len, "fn must not be NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    cache_plan plan;
    cellar_err err = cache_plan_make(
        c, o, CELLAR_ONLY_IF_ABSENT | CELLAR_ONLY_IF_VERSION | CELLAR_NEGATIVE, &plan);
    if (err != CELLAR_OK) { return err; }
    if (cache_is_off(c)) { return CELLAR_DISABLED; }
    plan.spec.change = L1_CHANGE_UPDATE;
    const cache_update u = { fn, ctx, (plan.spec.flags & L1_IF_PRESENT) != 0,
                             plan.spec.flags & ~(uint32_t)L1_IF_PRESENT };
    l1_key k;
    cache_key(c, &k, key, key_len);
    (void)base_add_rlx(&c->refs, 1u); /* the handle of the caller is open: refs >= 1 */
    err = cache_update_run(c, &k, &u, &plan);
    if (err == CELLAR_E_BUSY) { stats_count(c->stats, STATS_LIMIT_RETRIES, 1); }
    if (err == CELLAR_E_BUSY || err == CELLAR_E_NOMEM) {
        (void)cache_fail(c, err, 0, "cellar_update: no memory, or 64 tries lost to other writers");
    }
    cache_namespace_release(c);
    return err == CELLAR_REMOVED && cache_acked(c, CELLAR_OK) != CELLAR_OK ? CELLAR_E_IO : err;
}

/* ---- delete with options ---- */

/* Run one round of a delete that returns the old value. CONFLICT: lost to another writer or, with
 * *differs, another version. */
static cellar_err cache_delete_round(cellar *c, l1_key *k, uint64_t if_version, cellar_buf *old,
                                     unsigned char **copy, bool *differs)
{
    l1_info info;
    cellar_err err = cache_update_read(c, k, old, &info);
    if (err == CELLAR_MISS && cache_brought(c, k)) { err = cache_update_read(c, k, old, &info); }
    if (err != CELLAR_OK) { return err; }
    *differs = if_version != 0 && info.version != if_version;
    if (*differs) { return CELLAR_CONFLICT; }
    *copy = cache_dup_new(c->store, old->len);
    if (*copy == NULL) { return CELLAR_E_NOMEM; }
    if (old->len != 0) { memcpy(*copy, old->bytes, old->len); }
    (*copy)[old->len] = '\0';
    err = cache_remove_same(c, k, &info, old, if_version);
    if (err == CELLAR_OK) { return err; }
    cellar_free(*copy);
    *copy = NULL;
    return err == CELLAR_MISS ? CELLAR_CONFLICT : err;
}

/* Remove a negative entry, and detach a load that runs, as cellar_delete does. MISS, or CONFLICT:
 * a value came first. */
static cellar_err cache_delete_rest(cellar *c, l1_key *k)
{
    l1_put_spec none;
    memset(&none, 0, sizeof none);
    none.flags = L1_IF_ABSENT;
    const cellar_err err = cache_del_if(c, k, &none);
    const bool lost = err == CELLAR_EXISTS || !cache_generation_alive(c->store, k->generation);
    return lost ? CELLAR_CONFLICT : err;
}

static cellar_err cache_delete_old(cellar *c, l1_key *k, const cellar_delete_opts *o)
{
    cellar_buf old;
    unsigned char room[CACHE_BUF_INLINE], *copy = NULL;
    bool differs = false;
    cache_buf_init(&old, c->store, room);
    cellar_err err = CELLAR_E_BUSY;
    for (unsigned round = 0; round < CACHE_ROUNDS; round++) {
        err = cache_delete_round(c, k, o->if_version, &old, &copy, &differs);
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
    l1_put_spec same;
    memset(&same, 0, sizeof same);
    same.flags = L1_IF_PRESENT | L1_IF_VERSION;
    same.if_version = if_version;
    cellar_err err = cache_del_if(c, k, &same);
    if (err == CELLAR_MISS && cache_brought(c, k)) { err = CELLAR_CONFLICT; }
    return err;
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
        return cache_fail(c, CELLAR_E_INVAL, 0,
                          "cellar_delete_with: set both old_value and old_value_len");
    }
    if (full.old_value != NULL) {
        *full.old_value = NULL;
        *full.old_value_len = 0;
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    l1_key k;
    cache_key(c, &k, key, key_len);
    (void)base_add_rlx(&c->refs, 1u); /* the handle of the caller is open: refs >= 1 */
    if (full.old_value != NULL) {
        err = cache_delete_old(c, &k, &full);
    } else if (full.if_version != 0) {
        err = cache_delete_version(c, &k, full.if_version);
    } else {
        err = cache_del(c, &k);
    }
    if (err == CELLAR_OK || err == CELLAR_MISS) { err = cache_acked(c, err); }
    if (err == CELLAR_E_NOMEM || err == CELLAR_E_BUSY) {
        (void)cache_fail(c, err, 0,
                         "cellar_delete_with: no memory, or 64 tries lost to other writers");
    }
    cache_namespace_release(c);
    return err;
}
