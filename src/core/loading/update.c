/* SPDX-License-Identifier: MIT
 *
 * update: compute a new value from the old one, or remove it; the function runs outside all locks.
 *
 * WALK       copy the old value, from the tier if needed -> fn(copy, out) -> put if the entry is
 *            unchanged -> else again
 * INVARIANTS A stored value was computed from the value it replaces: L1 compares identity and bytes
 *            under the locks (L1_IF_SAME), or absence (L1_IF_ABSENT). A negative entry counts as
 *            absent.
 *            Tags and user flags of the old value stay: L1 compares them, too. The tags count from
 *            the look that found them: a tag that is deleted meanwhile ends the new value as well.
 * LOCKING    None. The call holds a ref of the namespace: fn may close or drop it.
 * LIMITS     64 rounds; in a lost round another writer succeeded. Buffers are charged to the store
 *            during the call and end at max_value_bytes: a longer value is refused while it is
 *            written, so no put fails and the old value stays. */
#include "cache/call.h"
#include "cache/change_shared.h"
#include "cache/error.h"
#include "cache/generation.h"
#include "cache/handle.h"
#include "cache/lookup.h"
#include "cache/plan.h"
#include "cache/proof.h"
#include "loading/loading.h"

BASE_SIZE_BEGIN

CELLAR_PRIVATE cellar_err cache_update_look(cellar *c, const l1_key *k, cellar_buf *old,
                                            l1_info *info)
{
    if (cache_is_unproven(c)) { return CELLAR_MISS; }
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
                                            l1_info *info, cache_wait *w)
{
    cellar_err err = cache_update_look(c, k, old, info);
    for (w->looks = 0; err == CELLAR_MISS; err = cache_update_look(c, k, old, info)) {
        err = cache_bring(c, k, w);
        if (err != CELLAR_OK) { break; }
    }
    return err == CELLAR_ABSENT ? CELLAR_MISS : err;
}

typedef struct cache_update {
    cellar_update_fn fn;
    void *ctx;
    const cellar_set_opts *o; /* of the call; checked */
    uint32_t flags; /* flags of the plan for L1 */
    bool policed;   /* the plan was made under a policy */
    cache_wait *wait;
} cache_update;

/* Take over user flags and tags of the old value, unless the call has its own. old NULL: there is
 * none. valid: the epoch before the look, which found no tag of it deleted. Return false if the
 * entry has other tags by now. */
BASE_COLD static bool cache_update_keep(cellar *c, const l1_key *k, const cache_update *u,
                                        const l1_info *old, uint64_t valid, cache_plan *plan)
{
    uint64_t fps[BASE_TAGS_MAX], born = 0;
    l1_put_spec *p = &plan->spec;
    cellar_set_opts o = cellar_set_opts_default();
    if (u->o != NULL) { (void)base_opts_in(&o, sizeof o, u->o); }
    const bool alone = (o.flags & CELLAR_REPLACE) != 0;
    if (!alone && o.user_flags == 0) { p->user_flags = old != NULL ? old->user_flags : 0; }
    p->same_tags = UINT32_MAX;
    if (alone || o.tag_count != 0) { return true; }
    const uint32_t there = old != NULL ? old->tag_count : 0;
    const uint32_t all = there != 0 ? l1_tags_of(c->l1, k, fps, &born) : 0;
    const uint32_t user = BASE_MIN(all, (uint32_t)CELLAR_TAGS_MAX);
    memcpy(plan->fps, fps, user * sizeof fps[0]);
    p->tag_fps = plan->fps;
    p->tag_text = NULL;
    p->tag_count = p->same_tags = user;
    p->tag_born = BASE_MAX(born, valid); /* a tag of a rule may have ended before */
    plan->policed = u->policed; /* it adds its tags to these */
    return all == there;
}

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

CELLAR_PRIVATE cellar_err cache_delete_rest(cellar *c, l1_key *k)
{
    l1_put_spec none = { .flags = L1_IF_ABSENT };
    const cellar_err err = cache_delete_if(c, k, &none, false);
    const bool lost = err == CELLAR_EXISTS || !cache_generation_alive(c->store, k->generation);
    return lost ? CELLAR_CONFLICT : err;
}

/* Remove the entry, because the update function returned REMOVED. If there is none, detach a load
 * that runs, as cellar_delete does. */
static cellar_err cache_update_remove(cellar *c, l1_key *k, const l1_info *info,
                                      const cellar_buf *old, bool there, bool *fn_said)
{
    if (!there) {
        const cellar_err none = cache_delete_rest(c, k);
        *fn_said = none != CELLAR_CONFLICT;
        return none;
    }
    const cellar_err err = cache_remove_same(c, k, info, old, 0, false);
    *fn_said = err == CELLAR_OK;
    if (err == CELLAR_OK) { return CELLAR_REMOVED; }
    return err == CELLAR_MISS ? CELLAR_CONFLICT : err; /* gone meanwhile: retry */
}

/* Read the value from the shared tier. */
static cellar_err cache_update_fresh(cellar *c, const l1_key *k, cellar_buf *old,
                                     cellar_tier_entry *e)
{
    cellar_err err = CELLAR_E_BUFFER;
    for (unsigned i = 0; err == CELLAR_E_BUFFER && i < CACHE_ROUNDS; i++) {
        err = cache_shared_fresh(c, k, old->bytes, old->cap, &old->len, e);
        if (err != CELLAR_E_BUFFER) { break; }
        const size_t len = old->len;
        old->len = 0;
        const cellar_err grown = cache_buf_grow(old, len);
        if (grown != CELLAR_OK) { return grown; }
    }
    return err == CELLAR_ABSENT ? CELLAR_MISS : err;
}

/* Put what the function made, over the state that it was made of. */
static cellar_err cache_update_share(cellar *c, l1_key *k, const cache_update *u, cache_plan *plan,
                                     const cellar_tier_entry *e)
{
    l1_put_spec round = plan->spec, *p = &round;
    cellar_set_opts o = cellar_set_opts_default();
    if (u->o != NULL) { (void)base_opts_in(&o, sizeof o, u->o); }
    const bool keeps = e != NULL && (o.flags & CELLAR_REPLACE) == 0;
    p->user_flags = keeps && o.user_flags == 0 ? e->user_flags : o.user_flags;
    p->deadline_ms = cache_plan_deadline(c, plan, k->hash);
    if (e != NULL && (u->flags & L1_KEEP_TTL) != 0) {
        p->deadline_ms = e->deadline_ms;
        p->stale_ms = e->stale_ms;
    }
    uint64_t check = e != NULL ? e->check : 0;
    const uint32_t flags = keeps && o.tag_count == 0 ? CELLAR_TIER_SAME_TAGS : 0u;
    const cellar_err err = cache_shared_change(c, k, p, flags, &check);
    if (err == CELLAR_OK) {
        stats_add(cache_mine(c), STATS_SET, 1);
        if (plan->version_out != NULL) { *plan->version_out = check; }
    }
    return err;
}

/* Let memory return nothing older than the state that the function has seen. */
static void cache_update_seen(cellar *c, const l1_key *k, const cellar_buf *old,
                              const cellar_tier_entry *e, uint64_t changes)
{
    cache_found m;
    const cache_shared *h = cache_shared_of(c);
    if (h == NULL) { return; }
    memset(&m, 0, offsetof(cache_found, e.tags));
    cache_shared_meta(h, e, 0, &m);
    m.passing = true;
    (void)cache_tier_keep(c, k, old->bytes, old->len, &m, changes, 0);
}

/* Run one round over a shared tier, which compares the state. CONFLICT: another process came
 * first. */
static cellar_err cache_update_shared(cellar *c, l1_key *k, const cache_update *u,
                                      cache_plan *plan, cellar_buf *old, cellar_buf *out,
                                      bool *fn_said)
{
    cellar_tier_entry e;
    uint64_t changes, globs;
    (void)cache_tier_watch(c->store, k->hash, &changes, &globs);
    plan->spec.tag_born = base_load_acq(&c->store->tag_epoch); /* see change_shared.c */
    cellar_err err = cache_update_fresh(c, k, old, &e);
    const bool there = err == CELLAR_OK;
    if (!there && err != CELLAR_MISS) { return err; }
    if (!there && (u->flags & L1_IF_PRESENT) != 0) { return cache_shared_none(c, k); }
    out->len = 0;
    sync_assert_none();
    err = u->fn(there ? old->bytes : NULL, there ? old->len : 0, out, u->ctx);
    *fn_said = err != CELLAR_OK || out->failed != CELLAR_OK;
    if (*fn_said && err != CELLAR_REMOVED && there) { cache_update_seen(c, k, old, &e, changes); }
    if (err == CELLAR_REMOVED) { /* of a missing key, too: it ends a load that runs */
        uint64_t check = there ? e.check : 0;
        err = cache_shared_change(c, k, NULL, 0, &check);
        *fn_said = err != CELLAR_CONFLICT;
        return err != CELLAR_OK ? err : there ? CELLAR_REMOVED : CELLAR_MISS;
    }
    if (err != CELLAR_OK) { return err; }
    if (out->failed != CELLAR_OK) { return out->failed; }
    plan->spec.value = out->bytes;
    plan->spec.value_len = out->len;
    return cache_update_share(c, k, u, plan, there ? &e : NULL);
}

/* Run one round. CONFLICT or EXISTS: lost to another writer. */
static cellar_err cache_update_round(cellar *c, l1_key *k, const cache_update *u, cache_plan *plan,
                                     cellar_buf *old, cellar_buf *out, bool *fn_said)
{
    l1_info info;
    cellar_err err = CELLAR_OK;
    if (BASE_UNLIKELY(cache_shared_of(c) != NULL)) {
        return cache_update_shared(c, k, u, plan, old, out, fn_said);
    }
    if (l1_inspect_hit(c->l1, k, old->bytes, old->cap, &info)) {
        old->len = info.value_len;
    } else {
        const uint64_t epoch = base_load_acq(&c->store->tag_epoch);
        err = cache_update_read(c, k, old, &info, u->wait);
        if (err == CELLAR_OK && !cache_update_keep(c, k, u, &info, epoch, plan)) {
            return CELLAR_CONFLICT;
        }
    }
    const bool there = err == CELLAR_OK;
    if (!there && (err != CELLAR_MISS || (u->flags & L1_IF_PRESENT) != 0)) {
        return err == CELLAR_MISS && cache_older_load_ends(c, k) ? CELLAR_CONFLICT : err;
    }
    out->len = 0;
    sync_assert_none();
    err = u->fn(there ? old->bytes : NULL, there ? old->len : 0, out, u->ctx);
    *fn_said = true;
    if (err != CELLAR_OK && err != CELLAR_REMOVED) { return err; }
    if (err == CELLAR_OK && out->failed != CELLAR_OK) { return out->failed; }
    *fn_said = false;
    /* A call that set the key during fn may have it on disk alone by now. */
    const cellar_err came = there ? CELLAR_MISS : cache_bring(c, k, u->wait);
    if (came != CELLAR_MISS && came != CELLAR_ABSENT) { return CELLAR_CONFLICT; }
    if (err == CELLAR_REMOVED) { return cache_update_remove(c, k, &info, old, there, fn_said); }
    l1_put_spec *p = &plan->spec;
    p->flags = (u->flags & ~(uint32_t)L1_IF_PRESENT) | (there ? L1_IF_SAME : L1_IF_ABSENT);
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
        if (cache_shared_of(c) == NULL) { /* there a round changes no tags of the plan */
            (void)cache_update_keep(c, k, u, NULL, 0, plan); /* nothing, until the next look */
        }
    }
    if (err == CELLAR_E_TOOBIG && out.failed == err) { /* counted and reported like that of a put */
        cache_count_refused(cache_mine(c), err);
        (void)cache_fail_long(c, "cellar_update", out.refused);
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
    if (cache_no_bytes(c)) { return cache_closed(c, __func__); }
    cache_plan plan;
    cellar_err err = cache_plan_make(
        c, o, CACHE_FOR_UPDATE | CELLAR_ONLY_IF_ABSENT | CELLAR_ONLY_IF_VERSION | CELLAR_NEGATIVE,
        &plan);
    if (err != CELLAR_OK) { return err; }
    if (cache_is_off(c)) { return CELLAR_DISABLED; }
    plan.spec.change = L1_CHANGE_UPDATE;
    cache_wait wait = { .call = "cellar_update" };
    const cache_update u = { fn, ctx, o, plan.spec.flags, plan.policed, &wait };
    l1_key k;
    cache_key(c, &k, key, key_len);
    if (BASE_UNLIKELY(cache_shared_of(c) != NULL)) {
        err = cache_plan_judge(c, &k, &plan);
        if (err != CELLAR_OK) { return err; }
    }
    (void)base_add_rlx(&c->refs, 1u); /* the handle of the caller is open: refs >= 1 */
    err = cache_update_run(c, &k, &u, &plan);
    if (err == CELLAR_E_BUSY) { stats_count(c->stats, STATS_LIMIT_RETRIES, 1); }
    if (err == CELLAR_E_BUSY || err == CELLAR_E_NOMEM) {
        (void)cache_fail(c, err, 0, "cellar_update: no memory, or 64 tries lost to other writers");
    }
    cache_namespace_release(c);
    return err;
}

static bool cache_buf_has(const cellar_buf *b, const void *bytes, size_t len)
{
    return b->len == len && (len == 0 || memcmp(b->bytes, bytes, len) == 0);
}

/* Remove the value from the shared tier if it has these bytes. here: what memory said. A tier that
 * compares no states loses what memory had. */
static cellar_err cache_damaged_shared(cellar *c, l1_key *k, const void *bytes, size_t len,
                                       cellar_buf *old, cellar_err here)
{
    cellar_tier_entry e;
    cellar_err err = cache_update_fresh(c, k, old, &e);
    if (err == CELLAR_OK) {
        uint64_t check = e.check;
        err = cache_buf_has(old, bytes, len) ? cache_shared_change(c, k, NULL, 0, &check)
                                             : CELLAR_MISS;
        if (err == CELLAR_CONFLICT) { err = CELLAR_MISS; }
    } else if (err == CELLAR_E_UNSUPPORTED) {
        err = here == CELLAR_OK ? cache_delete(c, k, false) : CELLAR_MISS;
    }
    return err == CELLAR_MISS || err == CELLAR_E_TOOBIG ? here : err; /* too long: another value */
}

CELLAR_API cellar_err cellar_value_damaged(cellar *c, const void *key, size_t key_len,
                                           const void *bytes, size_t len)
{
    cellar_buf old;
    l1_info info;
    l1_key k;
    unsigned char room[CACHE_BUF_INLINE];
    if (c == NULL || cache_key_bad(key, key_len) || (bytes == NULL && len != 0)) {
        return cache_fail_key(c, "cellar_value_damaged", key, key_len, "bytes must not be NULL");
    }
    if (cache_no_bytes(c)) { return cache_closed(c, __func__); }
    stats_add(cache_mine(c), STATS_DECODE_ERROR, 1);
    cache_buf_init(&old, c->store, room);
    cache_key(c, &k, key, key_len);
    cache_wait wait = { .call = "cellar_value_damaged" };
    cellar_err err = cache_update_read(c, &k, &old, &info, &wait);
    if (err == CELLAR_OK) {
        err = cache_buf_has(&old, bytes, len) ? cache_remove_same(c, &k, &info, &old, 0, true)
                                              : CELLAR_MISS;
        if (err == CELLAR_CONFLICT) { err = CELLAR_MISS; }
    }
    if (BASE_UNLIKELY(cache_shared_of(c) != NULL)) {
        err = cache_damaged_shared(c, &k, bytes, len, &old, err);
    }
    cache_buf_fini(&old);
    return err;
}

BASE_SIZE_END
