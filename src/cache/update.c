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
#include "cache/update.h"

#include "cache/buf.h"
#include "cache/call.h"
#include "cache/change.h"
#include "cache/error.h"
#include "cache/generation.h"
#include "cache/handle.h"
#include "cache/lookup.h"
#include "cache/plan.h"

BASE_SIZE_BEGIN

CELLAR_PRIVATE cellar_err cache_update_look(cellar *c, const l1_key *k, cellar_buf *old,
                                            l1_info *info)
{
    for (unsigned i = 0; i < CACHE_ROUNDS; i++) {
        const cellar_err err = l1_inspect(c->l1, k, old->bytes, old->cap, info, 0);
        if (err == CELLAR_OK) { old->len = info->value_len; }
        if (err != CELLAR_E_BUFFER) { return err; }
        old->len = 0;
        const cellar_err grown = cache_buf_grow(old, info->value_len);
        if (grown != CELLAR_OK) { return grown; }
    }
    return CELLAR_E_BUSY; /* it grew faster than this call could read */
}

CELLAR_PRIVATE cellar_err cache_update_read(cellar *c, const l1_key *k, cellar_buf *old,
                                            l1_info *info)
{
    cellar_err err = cache_update_look(c, k, old, info);
    if (err == CELLAR_MISS && cache_brought(c, k)) { err = cache_update_look(c, k, old, info); }
    return err == CELLAR_ABSENT ? CELLAR_MISS : err;
}

typedef struct cache_update {
    cellar_update_fn fn;
    void *ctx;
    bool only_if_present;
    uint32_t flags; /* flags of the plan for L1 */
} cache_update;

CELLAR_PRIVATE cellar_err cache_remove_same(cellar *c, l1_key *k, const l1_info *info,
                                            const cellar_buf *old, uint64_t if_version, bool copy)
{
    l1_put_spec same;
    memset(&same, 0, sizeof same);
    same.flags = L1_IF_PRESENT | L1_IF_SAME | (if_version != 0 ? L1_IF_VERSION : 0u);
    same.same = info;
    same.same_bytes = old != NULL ? old->bytes : NULL;
    same.if_version = if_version;
    return cache_delete_if(c, k, &same, copy);
}

/* Remove the entry, because the update function returned REMOVED. */
static cellar_err cache_update_remove(cellar *c, l1_key *k, const l1_info *info,
                                      const cellar_buf *old, bool there, bool *fn_said)
{
    if (!there) { return CELLAR_MISS; }
    const cellar_err err = cache_remove_same(c, k, info, old, 0, false);
    *fn_said = err == CELLAR_OK;
    if (err == CELLAR_OK) { return CELLAR_REMOVED; }
    return err == CELLAR_MISS ? CELLAR_CONFLICT : err; /* gone meanwhile: retry */
}

/* Run one round. CONFLICT or EXISTS: lost to another writer. */
static cellar_err cache_update_round(cellar *c, l1_key *k, const cache_update *u, cache_plan *plan,
                                     cellar_buf *old, cellar_buf *out, bool *fn_said)
{
    l1_info info;
    cellar_err err = CELLAR_OK;
    if (l1_inspect_hit(c->l1, k, old->bytes, old->cap, &info)) {
        old->len = info.value_len;
    } else {
        err = cache_update_read(c, k, old, &info);
    }
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
    return err;
}

BASE_SIZE_END
