/* SPDX-License-Identifier: MIT
 *
 * lookup: what a read does after a miss of L1: filter, tier, back-fill.
 *
 * PICTURE    miss: tier has the key? watch the stamp -> tier get -> put into L1 as BACKFILL; the
 *            window compares. Calls that change or pin an entry bring it up first; calls that only
 *            look leave it below, unless they want a version.
 * PROTOCOL   A read asks the tier only if no change of its key is pending. (One pending change with
 *            another tag belongs to another key; a tier without a disk lists the keys of all.) Else
 *            it waits: .1 ms for such a tier, 25 ms for a disk that answers, because the change
 *            may be of another key. If it still may not ask, or if the tier has nothing and the
 *            stamp moved, it asks L1 again. After CACHE_LOOKS looks it misses.
 * DIFFERS    Without a proof, or for a version, a read passes by memory. If memory then has
 *            another entry than the reply of a shared tier, the reply is not stored, and the entry
 *            ends before the read returns (cache_reply_meets). If memory has none and the reply is
 *            not stored, no older one is (tier_request.c). Later reads return nothing older.
 * ONCE       Equal reads of a shared tier are one request (tier_request.c). When it has ended, the
 *            others look at memory.
 * MANY       A shared tier gets one request for many keys: all stamps are watched before it. Keys
 *            that a change holds or has overtaken are read one by one behind it.
 * SEE ALSO   README.md, "Stamps" (proofs, reads). */
#include "cache/lookup.h"

#include "cache/bloom_guard.h"
#include "cache/call.h"
#include "cache/error.h"
#include "cache/explain_record.h"
#include "cache/generation.h"
#include "cache/tier_request.h"
#include "cache/proof.h"
#include "cache/shared.h"
#include "cache/stamp.h"
#include "cache/tags.h"
#include "cache/write_order.h"
#include "l1/read.h"

#include <stddef.h>

#define CACHE_BRING_TRY 512u /* bytes tried on the stack */
#define CACHE_BRING_ROUNDS 16u
#define CACHE_BRING_WAITS 40u
#define CACHE_WAIT_YIELDS 16u /* waits that yield; later waits sleep, each eight twice as long */
#define CACHE_WAIT_NS ((uint64_t)50000)
#define CACHE_READ_WAITS 18u
#define CACHE_DISK_WAITS 64u /* 25 ms */
#define CACHE_UNREAD_NS UINT64_C(1000000000)

/* Return whether the tier cannot have the key. */
static bool cache_never_below(const cellar *c, const l1_key *k)
{
    const cache_tier *t = cache_tier_of(c);
    return t == NULL || cache_nothing_below(t, k->hash);
}

/* Return true if a read waits no longer for a change that is pending. */
static bool cache_waited(const cellar *c, unsigned waits, unsigned most)
{
    const cache_tier *t = waits >= most ? cache_tier_of(c) : NULL;
    const l2 *d = t != NULL ? cache_tier_disk(t) : NULL;
    return base_thread_self()->change_scopes != NULL ||
           (waits >= most && (d == NULL || waits >= CACHE_DISK_WAITS || l2_stands_still(d)));
}

CELLAR_PRIVATE bool cache_others_pend(const cellar *c, const l1_key *k)
{
    l1_info info;
    const cache_tier *t = cache_tier_of(c);
    if (t == NULL || cache_tier_disk(t) != NULL) { return false; }
    (void)l1_inspect(c->l1, k, NULL, 0, &info, L1_PEEK);
    return !cache_ordered_any(c->store, k->hash, k->generation, k->bytes, k->len);
}

/* Watch the stamp of the key and store it in *word. Wait until no change of the key is pending.
 * Return false if one is pending after `waits` waits, more for a disk, or if this thread may make
 * it itself: a listener reads inside the change that it observes. */
static bool cache_tier_settled(const cellar *c, const l1_key *k, unsigned waits, uint64_t *word)
{
    _Atomic uint64_t *stamp = cache_stamp(c->store, k->hash);
    for (unsigned i = 0;; i++) {
        *word = cache_stamp_watch(stamp);
        if (BASE_LIKELY(!cache_stamp_holds(*word, k->hash)) || cache_others_pend(c, k)) {
            return true;
        }
        if (cache_waited(c, i, waits)) { return false; }
        if (i < CACHE_WAIT_YIELDS) {
            base_yield();
        } else {
            base_sleep_ns(CACHE_WAIT_NS << (i - CACHE_WAIT_YIELDS) / 8);
        }
    }
}

CELLAR_PRIVATE bool cache_tier_watch(const cache_store *s, uint64_t hash, uint64_t *changes,
                                     uint64_t *globs)
{
    const uint64_t word = cache_stamp_watch(cache_stamp(s, hash));
    *changes = CACHE_STAMP_CHANGES(word);
    *globs = base_load_acq(&s->glob_epoch);
    return !cache_stamp_holds(word, hash);
}

/* Put an entry into L1 as a back-fill, with the tag of the life of a shared namespace. A reply from
 * before the end of that life is not stored. */
static cellar_err cache_backfill_put(const cellar *c, const l1_key *k, l1_put_spec *p)
{
    const cache_shared *h = cache_shared_of(c);
    uint64_t fps[BASE_TAGS_MAX];
    if (BASE_LIKELY(h == NULL || h->life == 0)) { return l1_put(c->l1, k, p); }
    if (cache_tags_valid(c->store, p->tag_born, &h->life, 1) != 0) { return CELLAR_CONFLICT; }
    p->tag_count = cache_shared_tags(h, p->tag_fps, p->tag_count, fps);
    p->tag_fps = fps;
    return l1_put(c->l1, k, p);
}

/* Put an entry of the tier into L1. Return EXISTS if L1 has a value, CONFLICT if the key has
 * changed since. */
static cellar_err cache_backfill(cellar *c, const l1_key *k, const void *value, size_t value_len,
                                 const cache_found *found, uint64_t expect, uint64_t globs)
{
    const l2_meta *m = &found->e;
    const unsigned carried = cache_carried(base_load_rlx(&c->carries));
    l1_put_spec p = {
        .value = value, .value_len = value_len, .deadline_ms = m->deadline_ms,
        .flags = L1_IF_ABSENT | L1_KEEP_OLD | carried, .change = L1_CHANGE_BACKFILL,
        .idle_ms = m->idle_ms, .until_ms = m->until_ms, .stale_ms = m->stale_ms,
        .user_flags = m->user_flags,
        .kind = m->kind, .cost = m->cost, .l2_addr = m->addr, .tag_fps = m->tags,
        .tag_count = m->tag_count, .tag_born = m->tag_born,
    };
    cache_scope f;
    cache_scope_push(&f, c, true, false);
    f.expect = expect;
    f.globs = globs;
    f.order = found->order;
    cache_filter filter;
    cache_filter_begin(c, k, &filter);
    const cellar_err err = cache_backfill_put(c, k, &p);
    cache_scope_pop(&f); /* a back-fill raises no stamp */
    cache_filter_end(c, k, &filter);
    if (err != CELLAR_OK) { return err; }
    cache_count_gone(cache_mine(c), p.gone, STATS_EVICT_REPLACED);
    if (p.gone == L1_GONE_NOTHING) { cache_entry_counted(c, k, cache_mine(c), STATS_ENTRY_IN); }
    return err;
}

/* End the entry of a key, as a change by another process that is heard. Loads of the key and
 * replies on their way store nothing. */
static void cache_reply_ends(cellar *c, const l1_key *k)
{
    cache_scope f;
    l1_gone gone;
    cache_scope_push(&f, c, false, false);
    f.below = CACHE_BELOW_KNOWS;
    f.cause = CELLAR_CAUSE_REMOTE;
    (void)l1_del_reported(c->l1, k, NULL, &gone);
    cache_scope_pop(&f);
    if (gone == L1_GONE_NOTHING) { return; }
    cache_entry_counted(c, k, cache_mine(c), STATS_ENTRY_OUT);
    stats_add(cache_mine(c), STATS_EVICT_REMOTE, 1);
    cache_why_note(c->store, k->hash, CELLAR_CAUSE_REMOTE);
}

/* Compare a reply of a shared tier, which memory has not stored, with the entry in memory. value
 * NULL: only its length is known. Return EXISTS if they are equal, MISS without an entry;
 * INVALIDATED: a change was counted since the look, and the entry is newer; CONFLICT: either may be
 * the older one, and the entry is ended. */
BASE_COLD static cellar_err cache_reply_meets(cellar *c, const l1_key *k, const void *value,
                                              size_t value_len, const l2_meta *m, uint64_t expect)
{
    l1_pin_ref ref;
    const bool negative = m->kind == (uint8_t)L1_NEGATIVE;
    const cellar_err here = l1_pin(c->l1, k, &ref, L1_PEEK);
    bool same = here == CELLAR_ABSENT && negative;
    if (here == CELLAR_MISS) { return here; }
    if (here == CELLAR_OK) {
        same = !negative && ref.value_len == value_len && ref.user_flags == m->user_flags &&
               (value_len == 0 || value == NULL || memcmp(ref.value, value, value_len) == 0);
        l1_unpin_slot(c->l1, ref.slot);
    }
    if (same) { return CELLAR_EXISTS; }
    const uint64_t now = base_load_acq(cache_stamp(c->store, k->hash));
    if (CACHE_STAMP_CHANGES(now) != expect) { return CELLAR_INVALIDATED; }
    cache_reply_ends(c, k);
    return CELLAR_CONFLICT;
}

CELLAR_PRIVATE cellar_err cache_tier_keep(cellar *c, const l1_key *k, const void *value,
                                          size_t value_len, const cache_found *m,
                                          uint64_t expect, uint64_t globs)
{
    cache_shared *h = cache_shared_of(c);
    cellar_err kept = CELLAR_E_SPACE;
    if (h != NULL) { cache_tier_reply_returned(h, k->hash, m->order); }
    if (!m->passing) { kept = cache_backfill(c, k, value, value_len, m, expect, globs); }
    if (BASE_LIKELY(kept == CELLAR_OK) || h == NULL) { return kept; }
    const cellar_err meets = cache_reply_meets(c, k, value, value_len, &m->e, expect);
    return meets != CELLAR_MISS ? meets : kept;
}

/* Judge an answer of the tier. Return OK, ABSENT or E_BUFFER if the entry lives. */
static cellar_err cache_tier_judge(const cache_store *s, cellar_err err, const l2_meta *m,
                                   size_t *value_len)
{
    const bool there = err == CELLAR_OK || err == CELLAR_ABSENT || err == CELLAR_E_BUFFER;
    if (there && !base_clock_reached(&s->clock, m->deadline_ms)) { return err; }
    *value_len = 0;
    return CELLAR_MISS;
}

/* Ask the tier. Return OK, ABSENT or E_BUFFER (*value_len is set) if the entry lives; *m has its
 * other fields. */
static cellar_err cache_tier_ask(const cellar *c, const l1_key *k, void *buf, size_t buf_cap,
                                 size_t *value_len, cache_found *m)
{
    const cache_tier *t = cache_tier_of(c);
    memset(m, 0, offsetof(cache_found, e.tags));
    m->e.deadline_ms = BASE_NEVER_MS;
    if (t == NULL) { return CELLAR_MISS; }
    l2 *d = cache_tier_disk(t);
    cellar_err err;
    if (BASE_LIKELY(d != NULL)) {
        const l2_key key = cache_disk_key(k);
        err = l2_get(d, &key, buf, buf_cap, value_len, &m->e);
        m->unread = err < 0 && err != CELLAR_E_BUFFER ? err : CELLAR_OK;
    } else if (cache_tier_is_shared(t)) {
        err = cache_shared_get(t->ctx, k, buf, buf_cap, value_len, m);
        m->silent = err == CELLAR_E_TIMEOUT;
    } else {
        err = t->get(t->ctx, k, buf, buf_cap, value_len, &m->e);
    }
    return cache_tier_judge(c->store, err, &m->e, value_len);
}

/* Return CONFLICT for a miss if the stamp counted a change since `word`: the entry may be in L1
 * now. */
static cellar_err cache_tier_missed(const cellar *c, const l1_key *k, uint64_t word, cellar_err err)
{
    if (BASE_LIKELY(err != CELLAR_MISS)) { return err; }
    const uint64_t now = base_load_acq(cache_stamp(c->store, k->hash));
    return CACHE_STAMP_CHANGES(now) == CACHE_STAMP_CHANGES(word) ? err : CELLAR_CONFLICT;
}

CELLAR_PRIVATE cellar_err cache_tier_peek(cellar *c, const l1_key *k, void *buf, size_t buf_cap,
                                          size_t *value_len, cache_found *m)
{
    uint64_t word;
    if (cache_never_below(c, k)) { return CELLAR_MISS; }
    if (!cache_tier_settled(c, k, CACHE_READ_WAITS, &word)) { return CELLAR_CONFLICT; }
    const cellar_err err = cache_tier_ask(c, k, buf, buf_cap, value_len, m);
    const bool there = err == CELLAR_OK || err == CELLAR_ABSENT || err == CELLAR_E_BUFFER;
    if (!there || cache_shared_of(c) == NULL) { return cache_tier_missed(c, k, word, err); }
    if (err == CELLAR_ABSENT) { m->e.kind = (uint8_t)L1_NEGATIVE; }
    m->passing = true;
    if (cache_tier_keep(c, k, err == CELLAR_OK ? buf : NULL, *value_len, m,
                        CACHE_STAMP_CHANGES(word), 0) != CELLAR_INVALIDATED) {
        return err;
    }
    *value_len = 0;
    return CELLAR_CONFLICT;
}

CELLAR_PRIVATE cellar_err cache_disk_range(cellar *c, l2 *d, const l1_key *k, uint64_t offset,
                                           void *buf, size_t buf_cap, size_t *total)
{
    uint64_t word;
    l2_meta m;
    if (cache_never_below(c, k)) { return CELLAR_MISS; }
    if (!cache_tier_settled(c, k, CACHE_READ_WAITS, &word)) { return CELLAR_CONFLICT; }
    const l2_key key = cache_disk_key(k);
    const cellar_err err = l2_get_range(d, &key, offset, buf, buf_cap, total, &m);
    return cache_tier_missed(c, k, word, cache_tier_judge(c->store, err, &m, total));
}

/* Take the answer `err` of the tier, and back-fill L1. Return as cache_tier_fetch. */
static cellar_err cache_tier_take(cellar *c, const l1_key *k, const cache_seen *seen,
                                  cellar_err err, const void *value, size_t *value_len,
                                  cache_found *m, cellar_err *kept)
{
    const bool too_long = err == CELLAR_E_BUFFER && cache_shared_of(c) != NULL;
    if (err != CELLAR_OK && err != CELLAR_ABSENT && !too_long) {
        return cache_tier_missed(c, k, seen->word, err);
    }
    if (err == CELLAR_OK) { cache_filter_found(c, k->bytes, k->len); }
    m->e.kind = err == CELLAR_ABSENT ? (uint8_t)L1_NEGATIVE : m->e.kind;
    m->passing = m->passing || too_long;
    *kept = cache_tier_keep(c, k, too_long ? NULL : value, err == CELLAR_ABSENT ? 0 : *value_len, m,
                            CACHE_STAMP_CHANGES(seen->word), seen->globs);
    if (BASE_LIKELY(*kept != CELLAR_INVALIDATED)) { return err; }
    *value_len = 0;
    return CELLAR_CONFLICT;
}

/* Return what an answer means to equal reads that wait for it. */
static cellar_err cache_answer_joined(cellar_err err, cellar_err kept)
{
    if (err != CELLAR_OK && err != CELLAR_ABSENT) { return err; }
    return kept == CELLAR_OK || kept == CELLAR_EXISTS ? CELLAR_CONFLICT : CELLAR_PENDING;
}

/* Look once into the tier. `joins`: wait for an equal request instead of asking again; then *m has
 * user_flags alone. Return as cache_tier_fetch. */
static cellar_err cache_fetch(cellar *c, const l1_key *k, void *buf, size_t buf_cap,
                              size_t *value_len, cache_found *m, cellar_err *kept, bool joins)
{
    const cache_store *s = c->store;
    cache_seen seen;
    cache_tier_request *mine = NULL;
    if (cache_never_below(c, k)) { return CELLAR_MISS; }
    if (!cache_tier_settled(c, k, CACHE_READ_WAITS, &seen.word)) { return CELLAR_CONFLICT; }
    seen.globs = base_load_acq(&s->glob_epoch);
    const cache_shared *h = joins ? cache_shared_of(c) : NULL;
    if (h != NULL) {
        const cellar_err answer = cache_tier_request_begin(
            h, k->hash, CACHE_STAMP_CHANGES(seen.word), value_len, &m->e.user_flags, &mine);
        if (answer == CELLAR_E_BUFFER && *value_len <= buf_cap) { return CELLAR_CONFLICT; }
        if (answer != CELLAR_PENDING) { return answer; }
    }
    cellar_err err = cache_tier_ask(c, k, buf, buf_cap, value_len, m);
    err = cache_tier_take(c, k, &seen, err, buf, value_len, m, kept);
    if (mine != NULL) {
        cache_tier_request_end(h, mine, cache_answer_joined(err, *kept), *value_len,
                               m->e.user_flags);
    }
    return err;
}

/* Begin the idle time of an entry again, after a read that is a use: a back-fill does not. */
static void cache_fetch_used(const cellar *c, const l1_key *k, cellar_err err, const cache_found *m)
{
    if (err == CELLAR_OK && m->e.idle_ms != 0) { l1_idle_used(c->l1, k); }
}

CELLAR_PRIVATE cellar_err cache_tier_fetch(cellar *c, const l1_key *k, void *buf, size_t buf_cap,
                                           size_t *value_len, cache_found *m, cellar_err *kept)
{
    const cellar_err err = cache_fetch(c, k, buf, buf_cap, value_len, m, kept, false);
    cache_fetch_used(c, k, err, m);
    return err;
}

CELLAR_PRIVATE cellar_err cache_tier_read(cellar *c, const l1_key *k, void *buf, size_t buf_cap,
                                          size_t *value_len, uint32_t *user_flags)
{
    cache_found m;
    cellar_err kept; /* vetoed or no room: the caller has the bytes anyway */
    *user_flags = m.e.user_flags = 0;
    cellar_err err = cache_fetch(c, k, buf, buf_cap, value_len, &m, &kept, true);
    for (unsigned i = 0; BASE_UNLIKELY(err == CELLAR_CONFLICT) && i < CACHE_LOOKS; i++) {
        err = cache_is_unproven(c)
                  ? CELLAR_MISS : l1_get_rest(c->l1, k, buf, buf_cap, value_len, user_flags, 0);
        if (err != CELLAR_MISS) { return err; }
        err = cache_fetch(c, k, buf, buf_cap, value_len, &m, &kept, i == 0);
    }
    cache_fetch_used(c, k, err, &m);
    if (err == CELLAR_OK || err == CELLAR_E_BUFFER) { *user_flags = m.e.user_flags; }
    return err == CELLAR_CONFLICT ? CELLAR_MISS : err;
}

/* ---- many keys of a shared tier ---- */

typedef struct cache_missed_key { /* one key of a request for many */
    l1_key k;
    cellar_get_item *item;
    cache_seen seen;
} cache_missed_key;

CELLAR_PRIVATE bool cache_tier_describe(const cellar *c, const l1_key *k, bool waits, void *buf,
                                        size_t buf_cap, cellar_tier_get *get, cache_seen *seen)
{
    if (!cache_tier_settled(c, k, waits ? CACHE_READ_WAITS : 0, &seen->word)) {
        return false;
    }
    seen->globs = base_load_acq(&c->store->glob_epoch);
    *get = (cellar_tier_get){ .key = cache_shared_key(k->bytes, k->len, k->hash), .buf = buf,
                              .buf_cap = buf_cap };
    get->e.deadline_ms = BASE_NEVER_MS;
    return true;
}

CELLAR_PRIVATE cellar_err cache_tier_got(cellar *c, const l1_key *k, const cache_seen *seen,
                                         cellar_tier_get *get, uint64_t born, cache_found *m)
{
    const cache_shared *h = cache_shared_of(c);
    cellar_err kept; /* as in cache_tier_read */
    memset(m, 0, offsetof(cache_found, e.tags));
    cache_shared_meta(h, &get->e, born, m);
    m->silent = get->err == CELLAR_E_TIMEOUT;
    const cellar_err err = cache_tier_judge(c->store, get->err, &m->e, &get->value_len);
    return cache_tier_take(c, k, seen, err, get->buf, &get->value_len, m, &kept);
}

/* Watch the keys and describe them to the tier. Return their count; items with a change on its way
 * are left out. */
static size_t cache_ask_watch(cellar *c, cellar_get_item *const *items, size_t count,
                              cellar_tier_get *get, cache_missed_key *asked)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        cache_missed_key *a = &asked[n];
        a->item = items[i];
        cache_key(c, &a->k, items[i]->key, items[i]->key_len);
        n += cache_tier_describe(c, &a->k, false, items[i]->buf, items[i]->buf_cap, &get[n],
                                 &a->seen);
    }
    return n;
}

/* Take one answer. The status stays PENDING if the key may have changed. Return true if the tier
 * did not answer in time. */
static bool cache_ask_take(cellar *c, const cache_missed_key *a, cellar_tier_get *g, uint64_t born)
{
    cache_found m;
    const cellar_err err = cache_tier_got(c, &a->k, &a->seen, g, born, &m);
    if (err == CELLAR_CONFLICT) { return m.silent; }
    a->item->status = err;
    a->item->value_len = g->value_len;
    if (err == CELLAR_OK || err == CELLAR_E_BUFFER) { a->item->user_flags = m.e.user_flags; }
    return m.silent;
}

/* Ask with one request. Return as cache_tier_read_many. */
static bool cache_ask_together(cellar *c, cellar_get_item *const *items, size_t count)
{
    base_account *account = &c->store->account;
    const size_t bytes = count * (sizeof(cellar_tier_get) + sizeof(cache_missed_key));
    cellar_tier_get *get = base_alloc(account, BASE_MOD_STORE, bytes, NULL);
    if (get == NULL) { return true; }
    cache_missed_key *asked = (cache_missed_key *)(void *)(get + count);
    const cache_shared *h = cache_shared_of(c);
    const size_t n = cache_ask_watch(c, items, count, get, asked);
    const uint64_t born = base_load_acq(&c->store->tag_epoch);
    if (n != 0) { h->t.get_many(h->t.ctx, get, n); }
    bool silent = false;
    for (size_t i = 0; i < n; i++) {
        silent = cache_ask_take(c, &asked[i], &get[i], born) || silent;
    }
    base_free(account, BASE_MOD_STORE, get, bytes);
    return !silent;
}

CELLAR_PRIVATE bool cache_tier_read_many(cellar *c, cellar_get_item *const *items, size_t count)
{
    const bool answers = count < 2 || cache_ask_together(c, items, count);
    for (size_t i = 0; i < count; i++) {
        cellar_get_item *it = items[i];
        if (it->status != CELLAR_PENDING) { continue; }
        l1_key k;
        cache_key(c, &k, it->key, it->key_len);
        it->status = !answers ? CELLAR_MISS
                              : cache_tier_read(c, &k, it->buf, it->buf_cap, &it->value_len,
                                                &it->user_flags);
    }
    return answers;
}

/* ---- bring ---- */

/* Fetch once, with room for the value. */
static cellar_err cache_bring_once(cellar *c, const l1_key *k, cellar_err *kept)
{
    unsigned char small[CACHE_BRING_TRY];
    unsigned char *room = small;
    size_t cap = sizeof small, len = 0;
    bool refused = false;
    cache_found m;
    m.unread = CELLAR_OK;
    cellar_err err = cache_fetch(c, k, room, cap, &len, &m, kept, true);
    /* the value may be longer each time */
    for (unsigned i = 0; err == CELLAR_E_BUFFER && i < CACHE_ROUNDS; i++) {
        base_account *a = &c->store->account;
        if (room != small) { base_free(a, BASE_MOD_STORE, room, cap); }
        cap = len;
        room = base_alloc(a, BASE_MOD_STORE, cap, &refused);
        if (room == NULL) { return refused ? CELLAR_E_SPACE : CELLAR_E_NOMEM; }
        err = cache_fetch(c, k, room, cap, &len, &m, kept, true);
    }
    if (room != small) { base_free(&c->store->account, BASE_MOD_STORE, room, cap); }
    return err == CELLAR_MISS && m.unread != CELLAR_OK ? m.unread : err;
}

CELLAR_PRIVATE cellar_err cache_tier_bring(cellar *c, const l1_key *k)
{
    uint64_t word;
    for (unsigned round = 0; round < CACHE_BRING_ROUNDS; round++) {
        cellar_err kept = CELLAR_E_NOMEM;
        if (cache_never_below(c, k)) { return CELLAR_MISS; }
        if (!cache_tier_settled(c, k, CACHE_BRING_WAITS, &word)) { return CELLAR_CONFLICT; }
        const cellar_err err = cache_bring_once(c, k, &kept);
        if (err != CELLAR_OK && err != CELLAR_ABSENT) { return err; }
        if (kept == CELLAR_EXISTS) { return CELLAR_OK; }
        if (kept != CELLAR_CONFLICT) { /* without room a negative entry says as much as none */
            return err == CELLAR_OK ? kept : kept < 0 ? CELLAR_MISS : err;
        }
        /* it will not be kept either */
        if (!cache_generation_alive(c->store, k->generation)) { return CELLAR_MISS; }
        base_yield(); /* lets the thread of the other change run */
    }
    return CELLAR_CONFLICT;
}

CELLAR_PRIVATE bool cache_disk_waits(const cellar *c, uint64_t *until_ns)
{
    const base_thread_record *self = base_thread_self();
    const cache_tier *t = cache_tier_of(c);
    l2 *d = t != NULL ? cache_tier_disk(t) : NULL;
    if (d == NULL || self->change_scopes != NULL || self->hurries) { return false; }
    if (*until_ns == 0) { *until_ns = base_now_ns() + CACHE_UNREAD_NS; }
    return l2_answers_by(d, *until_ns);
}

/* Note why the entry of a change is not in memory. Return the code. */
BASE_COLD static cellar_err cache_bring_failed(cellar *c, cellar_err code, const cache_wait *w)
{
    const cache_broken why = {
        .rule = code == CELLAR_E_TIMEOUT ? "the disk of l2_path did not read the entry, so nothing "
                                           "changed: retry when it answers"
              : code == CELLAR_E_TOOBIG  ? "the value on disk is longer than memory takes: raise "
                                           "tuning.max_value_bytes"
                                         : "no room in memory for the entry on disk: raise "
                                           "memory_bytes"
    };
    return cache_fail_broken(c, code, w->call, &why);
}

/* End an entry on its way from memory to the disk, where it must not come after the answer that
 * there is none. If it came before, the look finds it. */
static void cache_coming_ends(const cellar *c, const l1_key *k)
{
    cache_scope f = { .below = CACHE_BELOW_KNOWS };
    uint64_t stamp;
    const cache_tier *t = cache_tier_of(c);
    if (t == NULL || cache_tier_disk(t) == NULL) { return; }
    _Atomic uint64_t *word = cache_stamp(c->store, k->hash);
    if ((base_load_sc(word) & CACHE_STAMP_WATCHED) != 0) {
        cache_stamp_raise_noted(c->store, k->hash, word, &f, &stamp, false);
    }
}

CELLAR_PRIVATE cellar_err cache_bring(cellar *c, const l1_key *k, cache_wait *w)
{
    l1_info info;
    uint64_t word;
    while (w->looks < CACHE_LOOKS && cache_may_lie_below(c, k)) {
        cellar_err said = l1_inspect(c->l1, k, NULL, 0, &info, L1_PEEK);
        const cache_tier *t = cache_tier_of(c);
        if (said != CELLAR_ABSENT && t != NULL) {
            cache_coming_ends(c, k);
            said = CELLAR_CONFLICT;
            if (cache_tier_settled(c, k, CACHE_BRING_WAITS, &word)) {
                said = cache_tier_missed(c, k, word, cache_tier_bring(c, k));
            }
        }
        if (said == CELLAR_OK) {
            w->looks++;
            return said;
        }
        if (said == CELLAR_CONFLICT) {
            /* The change may be the one that this thread makes. A write on its way to a queue is in
             * memory, which does not evict it; where memory has none it is a delete. */
            const bool last = base_thread_self()->change_scopes != NULL ||
                              (t != NULL && cache_tier_disk(t) == NULL);
            if (last) { w->looks = CACHE_LOOKS + 1; }
            if (last || !w->again || cache_disk_waits(c, &w->until_ns)) {
                w->again = true;
                return CELLAR_OK;
            }
        } else if (said != CELLAR_E_TIMEOUT) {
            return said < 0 ? cache_bring_failed(c, said, w) : said;
        } else if (cache_disk_waits(c, &w->until_ns)) {
            continue;
        }
        return cache_bring_failed(c, CELLAR_E_TIMEOUT, w);
    }
    return w->looks == CACHE_LOOKS ? cache_bring_failed(c, CELLAR_E_SPACE, w) : CELLAR_MISS;
}

CELLAR_PRIVATE cellar_err cache_get_below(cellar *c, const l1_key *k, void *buf, size_t buf_cap,
                                          size_t *value_len, stats_id *outcome)
{
    if (!cache_asks_below(c, k)) { return CELLAR_MISS; }
    uint32_t user_flags;
    const cellar_err err = cache_tier_read(c, k, buf, buf_cap, value_len, &user_flags);
    *outcome = err == CELLAR_OK || err == CELLAR_E_BUFFER ? STATS_HIT_L2 : cache_outcome(err);
    return err;
}
