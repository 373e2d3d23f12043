/* SPDX-License-Identifier: MIT
 *
 * change_shared: changes that depend on the state of a key in a shared tier.
 *
 * PICTURE    read the tier, past memory -> new value -> {memory loses the entry; the tier compares
 *            the state and stores} -> CONFLICT: another process came first, again
 * INVARIANTS The tier compares: the change is atomic over all processes. Memory has no entry of the
 *            key from the begin of the change on: the next read asks the tier.
 *            A round is born before it reads the tier: an end that comes behind the reading, which
 *            leaves the state that the tier compares, ends the new value, too.
 * LOCKING    None. The change is an ordered write like each other one (write_order.c).
 * LIMITS     16 rounds, then E_BUSY.
 * SEE ALSO   change.c, shared.c, loading/update.c, loading/delete_with.c. */
#include "cache/change_shared.h"

#include "cache/call.h"

BASE_SIZE_BEGIN

typedef struct cache_ask_state { /* put or remove a key in a known state */
    cache_ask ask;
    const l1_put_spec *spec; /* NULL: remove */
    uint32_t flags;
    uint64_t check;
} cache_ask_state;

static cellar_err cache_ask_change(cache_ask *q, void *shared, const l1_key *k)
{
    cache_ask_state *a = (cache_ask_state *)(void *)q;
    const cache_shared *h = shared;
    const cellar_tier_key key = cache_shared_key(k->bytes, k->len, k->hash);
    static const l1_put_spec none;
    cellar_tier_entry e = cache_shared_entry(a->spec != NULL ? a->spec : &none);
    e.flags |= a->flags;
    e.check = a->check;
    if (a->spec == NULL) { return h->t.remove(h->t.ctx, &key, &e); }
    const cellar_err err = h->t.put(h->t.ctx, &key, a->spec->value, a->spec->value_len, &e);
    a->check = e.check;
    return err;
}

typedef struct cache_ask_add { /* add to a counter */
    cache_ask ask;
    const l1_put_spec *if_new; /* NULL: none is made */
    int64_t delta, number;
} cache_ask_add;

static cellar_err cache_ask_to_add(cache_ask *q, void *shared, const l1_key *k)
{
    cache_ask_add *a = (cache_ask_add *)(void *)q;
    const cache_shared *h = shared;
    const cellar_tier_key key = cache_shared_key(k->bytes, k->len, k->hash);
    cellar_tier_entry e;
    if (a->if_new != NULL) { e = cache_shared_entry(a->if_new); }
    return h->t.add(h->t.ctx, &key, a->delta, &a->number, a->if_new != NULL ? &e : NULL);
}

CELLAR_PRIVATE void cache_shared_changed(cellar *c, l1_key *k)
{
    cache_change ch = { .c = c, .k = k, .kind = CACHE_DELETE,
                        .flags = CACHE_OUTSIDE | CACHE_REMOTE | CACHE_BATCH };
    (void)cache_change_run(&ch);
}

/* Let the tier make the change. */
static cellar_err cache_asked(cellar *c, l1_key *k, cache_ask *q)
{
    cache_change ch = { .c = c, .k = k, .kind = CACHE_DELETE, .flags = CACHE_ASKS, .ask = q };
    const cellar_err err = cache_change_run(&ch);
    if (ch.below == CELLAR_OK && err == CELLAR_MISS) { return CELLAR_OK; } /* memory had none */
    return err;
}

CELLAR_PRIVATE cellar_err cache_shared_fresh(const cellar *c, const l1_key *k, void *buf,
                                             size_t buf_cap, size_t *value_len,
                                             cellar_tier_entry *e)
{
    const cache_shared *h = cache_shared_of(c);
    const cellar_tier_key key = cache_shared_key(k->bytes, k->len, k->hash);
    *e = (cellar_tier_entry){ .deadline_ms = BASE_NEVER_MS, .flags = CELLAR_TIER_FRESH };
    const cellar_err err = h->t.get(h->t.ctx, &key, buf, buf_cap, value_len, e);
    const bool there = err == CELLAR_OK || err == CELLAR_ABSENT || err == CELLAR_E_BUFFER;
    return there && base_clock_reached(&c->store->clock, e->deadline_ms) ? CELLAR_MISS : err;
}

CELLAR_PRIVATE cellar_err cache_shared_change(cellar *c, l1_key *k, l1_put_spec *p, uint32_t flags,
                                              uint64_t *check)
{
    const cache_shared *h = cache_shared_of(c);
    cache_ask_state a = { .ask = { cache_ask_change, p != NULL }, .spec = p, .check = *check,
                          .flags = flags | CELLAR_TIER_IF_CHECK };
    if (p != NULL) { p->deadline_ms = cache_shared_until(h, p->deadline_ms); }
    const cellar_err err = cache_asked(c, k, &a.ask);
    if (err == CELLAR_OK && p == NULL && *check != 0) { stats_add(cache_mine(c), STATS_DELETE, 1); }
    *check = a.check;
    return err;
}

CELLAR_PRIVATE cellar_err cache_shared_none(cellar *c, l1_key *k)
{
    uint64_t none = 0;
    const cellar_err err = cache_shared_change(c, k, NULL, 0, &none);
    /* E_TYPE: a value of another program, over which no load stores */
    return err == CELLAR_OK || err == CELLAR_E_TYPE ? CELLAR_MISS : err;
}

/* ---- set ---- */

/* Put the entry over the state that the tier has, if it meets the conditions. CONFLICT: again. */
static cellar_err cache_put_round(cellar *c, l1_key *k, cache_plan *plan, uint64_t *check)
{
    l1_put_spec round = plan->spec, *p = &round;
    size_t len = 0;
    cellar_tier_entry e;
    p->tag_born = base_load_acq(&c->store->tag_epoch);
    const cellar_err seen = cache_shared_fresh(c, k, NULL, 0, &len, &e);
    const bool there = seen == CELLAR_OK || seen == CELLAR_E_BUFFER;
    if (!there && seen < 0) { return seen; }
    if (there && (p->flags & L1_IF_ABSENT) != 0) { return CELLAR_EXISTS; }
    if (!there && (p->flags & L1_IF_PRESENT) != 0) { return cache_shared_none(c, k); }
    p->deadline_ms = cache_plan_deadline(c, plan, k->hash);
    if (there && (p->flags & L1_KEEP_TTL) != 0) {
        p->deadline_ms = e.deadline_ms;
        p->stale_ms = p->kind == (uint8_t)L1_NEGATIVE ? 0 : e.stale_ms;
    }
    *check = there ? e.check : 0;
    if ((p->flags & L1_IF_VERSION) != 0 && *check != p->if_version) { return CELLAR_EXISTS; }
    return cache_shared_change(c, k, p, 0, check);
}

CELLAR_PRIVATE cellar_err cache_put_shared(cellar *c, l1_key *k, cache_plan *plan)
{
    const l1_put_spec *p = &plan->spec;
    cellar_err err = cache_plan_judge(c, k, plan);
    if (err != CELLAR_OK) { return err; }
    uint64_t check = 0;
    err = CELLAR_CONFLICT;
    for (unsigned i = 0; err == CELLAR_CONFLICT && i < CACHE_SHARED_ROUNDS; i++) {
        err = cache_put_round(c, k, plan, &check);
    }
    if (err == CELLAR_EXISTS && (p->flags & L1_IF_VERSION) != 0) { return CELLAR_CONFLICT; }
    if (err == CELLAR_CONFLICT) { return CELLAR_E_BUSY; }
    if (err == CELLAR_OK) { stats_add(cache_mine(c), STATS_SET, 1); }
    if (err > 0 && err != CELLAR_DEFERRED) { stats_add(cache_mine(c), STATS_CONDITION, 1); }
    if (err == CELLAR_OK && plan->version_out != NULL) { *plan->version_out = check; }
    return err;
}

/* ---- increment ---- */

/* Add by reading and writing the 8 bytes. CONFLICT: again. */
static cellar_err cache_add_round(cellar *c, l1_key *k, cache_ask_add *a, l1_put_spec *p,
                                  int64_t init)
{
    unsigned char bytes[8];
    size_t len = 0;
    cellar_tier_entry e;
    uint64_t value = 0;
    p->tag_born = base_load_acq(&c->store->tag_epoch);
    const cellar_err seen = cache_shared_fresh(c, k, bytes, sizeof bytes, &len, &e);
    const bool there = seen == CELLAR_OK;
    if (seen == CELLAR_E_BUFFER || (there && len != sizeof bytes)) { return CELLAR_E_TYPE; }
    if (!there && seen < 0) { return seen; }
    if (!there && a->if_new == NULL) { return cache_shared_none(c, k); }
    for (unsigned i = 0; there && i < 8; i++) { value |= (uint64_t)bytes[i] << (8 * i); }
    const int64_t old = there ? (int64_t)value : init;
    const bool over = __builtin_add_overflow(old, a->delta, &a->number);
    if (over) { a->number = a->delta < 0 ? INT64_MIN : INT64_MAX; }
    for (unsigned i = 0; i < 8; i++) { bytes[i] = (unsigned char)((uint64_t)a->number >> (8 * i)); }
    p->value = bytes;
    p->value_len = sizeof bytes;
    uint64_t check = there ? e.check : 0;
    if (there) {
        p->deadline_ms = e.deadline_ms;
        p->stale_ms = e.stale_ms;
        p->user_flags = e.user_flags;
        p->cost = (uint8_t)e.cost;
    }
    const cellar_err err = cache_shared_change(c, k, p, there ? CELLAR_TIER_SAME_TAGS : 0, &check);
    return err == CELLAR_OK && over ? CELLAR_E_RANGE : err;
}

CELLAR_PRIVATE cellar_err cache_increment_shared(cellar *c, l1_key *k, int64_t delta, int64_t init,
                                                 const cellar_set_opts *if_new, int64_t *number)
{
    const cache_shared *h = cache_shared_of(c);
    cache_plan plan;
    cellar_err err = cache_plan_make(c, if_new, CACHE_FOR_INCREMENT, &plan);
    if (err == CELLAR_OK) { err = cache_plan_judge(c, k, &plan); }
    if (err != CELLAR_OK) { return err; }
    plan.spec.deadline_ms = cache_plan_deadline(c, &plan, k->hash);
    cache_ask_add a = { .ask = { cache_ask_to_add, true }, .delta = delta, .number = init,
                        .if_new = if_new != NULL ? &plan.spec : NULL };
    err = CELLAR_CONFLICT;
    for (unsigned i = 0; err == CELLAR_CONFLICT && i < CACHE_SHARED_ROUNDS; i++) {
        l1_put_spec p = plan.spec;
        if (h == NULL || h->t.add == NULL) {
            err = cache_add_round(c, k, &a, &p, init);
        } else {
            err = cache_asked(c, k, &a.ask);
            if (err != CELLAR_MISS) { break; } /* the tier tried again itself */
            err = cache_shared_none(c, k);
        }
    }
    *number = a.number;
    if (err == CELLAR_OK || err == CELLAR_E_RANGE) { stats_add(cache_mine(c), STATS_SET, 1); }
    return err == CELLAR_CONFLICT ? CELLAR_E_BUSY : err;
}

/* ---- touch ---- */

/* Put the same value with the new deadline. CONFLICT: again, with room for `*cap` bytes. */
static cellar_err cache_touch_round(cellar *c, l1_key *k, int64_t deadline_ms, size_t *cap)
{
    base_account *account = &c->store->account;
    const size_t room = *cap;
    unsigned char *buf = base_alloc(account, BASE_MOD_STORE, room, NULL);
    if (buf == NULL) { return CELLAR_E_NOMEM; }
    size_t len = 0;
    cellar_tier_entry e;
    const uint64_t born = base_load_acq(&c->store->tag_epoch);
    cellar_err err = cache_shared_fresh(c, k, buf, room, &len, &e);
    if (err == CELLAR_E_BUFFER) {
        *cap = len;
        err = CELLAR_CONFLICT;
    } else if (err == CELLAR_OK) {
        l1_put_spec p = { .value = buf, .value_len = len, .deadline_ms = deadline_ms,
                          .stale_ms = e.stale_ms, .user_flags = e.user_flags,
                          .cost = (uint8_t)e.cost, .tag_born = born };
        uint64_t check = e.check;
        err = cache_shared_change(c, k, &p, CELLAR_TIER_SAME_TAGS, &check);
    }
    base_free(account, BASE_MOD_STORE, buf, room);
    return err;
}

CELLAR_PRIVATE cellar_err cache_touch_shared(cellar *c, l1_key *k, int64_t deadline_ms)
{
    size_t cap = 512;
    cellar_err err = CELLAR_CONFLICT;
    for (unsigned i = 0; err == CELLAR_CONFLICT && i < CACHE_SHARED_ROUNDS; i++) {
        err = cache_touch_round(c, k, deadline_ms, &cap);
    }
    return err == CELLAR_CONFLICT ? CELLAR_E_BUSY : err;
}

BASE_SIZE_END
