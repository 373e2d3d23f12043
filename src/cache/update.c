/* SPDX-License-Identifier: MIT
 *
 * update: compute a new value from the old one, with the function run outside all locks.
 *
 * WALK       copy old, brought up from the tier if it lies there -> fn(copy, out) -> put only if
 *            the entry is still the one copied -> else again
 * INVARIANTS what is stored was computed from the value it replaces: L1 compares identity and bytes
 *            under the locks (L1_IF_SAME), or absence (L1_IF_ABSENT). Negative entries are absent.
 * LOCKING    none here. The view is held, so that fn may close or drop it.
 * LIMITS     64 rounds; a lost round means that another writer succeeded. Buffers are charged to
 *            the store while the call runs, and end at max_value_bytes: what is longer is refused
 *            where it is written, so that no put fails of it and the old value stays. */
#include "cache/cache_int.h"

#define CACHE_BUF_INLINE 512u

struct cellar_buf {
    cache_store *store;
    unsigned char *bytes;  /* own, or the inline ones */
    size_t len, cap;
    cellar_err failed;     /* first failure; the update ends with it */
    unsigned char room[CACHE_BUF_INLINE];
};

static void cache_buf_init(cellar_buf *b, cache_store *s)
{
    b->store = s;
    b->bytes = b->room;
    b->len = 0;
    b->cap = sizeof b->room;
    b->failed = CELLAR_OK;
}

static void cache_buf_fini(cellar_buf *b)
{
    if (b->bytes != b->room) {
        base_free(&b->store->account, BASE_MOD_STORE, b->bytes, b->cap);
    }
}

/* The first failure is what counts. */
static cellar_err cache_buf_fail(cellar_buf *b, cellar_err err)
{
    if (b->failed == CELLAR_OK) { b->failed = err; }
    return b->failed;
}

/* Room for `len` bytes in all; the present ones stay. */
static cellar_err cache_buf_grow(cellar_buf *b, size_t len)
{
    if (b->failed != CELLAR_OK) { return b->failed; }
    if (len > l1_max_value(b->store->l1)) { return cache_buf_fail(b, CELLAR_E_TOOBIG); }
    if (len <= b->cap) { return CELLAR_OK; }
    size_t cap = (size_t)base_pow2_ceil(len);
    unsigned char *bytes = base_alloc(&b->store->account, BASE_MOD_STORE, cap, NULL);
    if (bytes == NULL && cap != len) {
        cap = len; /* tight, but it may just fit */
        bytes = base_alloc(&b->store->account, BASE_MOD_STORE, cap, NULL);
    }
    if (bytes == NULL) { return cache_buf_fail(b, CELLAR_E_NOMEM); }
    memcpy(bytes, b->bytes, b->len);
    cache_buf_fini(b);
    b->bytes = bytes;
    b->cap = cap;
    return CELLAR_OK;
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
    b->len = total;
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
    b->len = len;
    *data = b->bytes;
    return CELLAR_OK;
}

/* ---- the rounds ---- */

/* Copy the live value; OK, MISS, or why it could not be read. */
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
    return CELLAR_E_BUSY; /* it grew faster than we could look */
}

typedef struct cache_update {
    cellar_update_fn fn;
    void *ctx;
    bool only_if_present;
    uint32_t flags; /* of L1, as planned */
} cache_update;

/* One round; CONFLICT or EXISTS: lost to another writer. */
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
    err = u->fn(u->ctx, there ? old->bytes : NULL, there ? old->len : 0, out);
    *fn_said = true;
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
    cache_buf_init(&old, c->store);
    cache_buf_init(&out, c->store);
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
    if (err == CELLAR_E_TOOBIG && out.failed == err) { /* counted and told like a put's */
        cache_count_refused(cache_mine(c), err);
        (void)cache_fail(c, err, 0, "the value is longer than max_value_bytes");
    }
    if (err == CELLAR_E_INVAL && out.failed == err) {
        (void)cache_fail(c, err, 0, "cellar_update: fn gave its buffer a NULL pointer");
    }
    cache_buf_fini(&old);
    cache_buf_fini(&out);
    return err;
}

CELLAR_API cellar_err cellar_update(cellar *c, const void *key, size_t key_len,
                                    cellar_update_fn fn, void *ctx, const cellar_set_opts *o)
{
    if (c == NULL || cache_key_bad(key, key_len) || fn == NULL) {
        return cache_fail(c, CELLAR_E_INVAL, 0, "cellar_update: key and function are needed");
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
    (void)base_add_rlx(&c->refs, 1u); /* the caller's handle is open, so refs >= 1 */
    err = cache_update_run(c, &k, &u, &plan);
    if (err == CELLAR_E_BUSY) { stats_count(c->stats, STATS_LIMIT_RETRIES, 1); }
    if (err == CELLAR_E_BUSY || err == CELLAR_E_NOMEM) {
        (void)cache_fail(c, err, 0, "cellar_update: rounds lost to other writers, or no memory");
    }
    cache_view_release(c);
    return err;
}
