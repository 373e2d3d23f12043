/* SPDX-License-Identifier: MIT
 *
 * get: read one key: copied, allocated, pinned, described.
 *
 * WALK       cellar_get -> arguments -> state word -> hash -> l1_get -> one counter. A hit takes no
 *            lock and makes no shared write; it reads the clock only for an entry with a deadline.
 *            A miss asks the tier, if there is one (hook.c). peek, contains and info leave the
 *            entry below.
 *            Without tier and filter a miss needs no second look (l1_none).
 * INVARIANTS Each get with valid arguments adds to exactly one outcome; E_BUFFER counts as a hit.
 *            peek, contains and info add to none.
 * FORMAT     Block of cellar_get_alloc: 32 bytes {hooks, size} for cellar_free, the value, a zero
 *            byte. The caller may free it after the store is closed.
 * SEE ALSO   many.c (many keys), load.c (loading). */
#include "cache/cache_int.h"

#define CACHE_DUP_TRY 512u /* bytes tried on the stack before memory is allocated */

BASE_ALWAYS_INLINE stats_id cache_outcome(cellar_err err)
{
    if (BASE_LIKELY(err == CELLAR_OK || err == CELLAR_E_BUFFER)) { return STATS_HIT_L1; }
    if (err == CELLAR_ABSENT) { return STATS_NEGATIVE; }
    return err == CELLAR_STALE ? STATS_STALE : STATS_MISS;
}

BASE_COLD static cellar_err cache_get_refuse(cellar *c, const void *key, size_t key_len)
{
    return cache_fail_key(c, "cellar_get", key, key_len, "buf must not be NULL with buf_cap > 0");
}

/* Return whether to ask the tier, after a miss in L1 that is counted. */
BASE_ALWAYS_INLINE bool cache_asks_below(cellar *c, const l1_key *k)
{
    return !(BASE_UNLIKELY(base_load_acq(&c->bloom) != NULL) &&
             cache_filter_never(c, k->bytes, k->len)) &&
           BASE_UNLIKELY(c->store->tier != NULL);
}

/* Ask the tier after a miss in L1, and set the outcome. */
static cellar_err cache_get_below(cellar *c, const l1_key *k, void *buf, size_t buf_cap,
                                  size_t *value_len, stats_id *outcome)
{
    if (!cache_asks_below(c, k)) { return CELLAR_MISS; }
    const cellar_err err = cache_tier_read(c, k, buf, buf_cap, value_len);
    *outcome = err == CELLAR_OK || err == CELLAR_E_BUFFER ? STATS_HIT_L2 : cache_outcome(err);
    return err;
}

BASE_COLD CELLAR_PRIVATE void cache_read_tell(const cellar *c, const char *module, cellar_err err)
{
    const bool hit = err == CELLAR_OK || err == CELLAR_STALE || err == CELLAR_E_BUFFER;
    if (hit) {
        base_log(&c->store->log, BASE_LOG_DEBUG, module, (int)err, "hit");
    } else {
        base_log(&c->store->log, BASE_LOG_INFO, module, (int)err, "miss");
    }
}

/* Read from a namespace that is closed, disabled, or logged. */
BASE_COLD static cellar_err cache_get_odd(cellar *c, const void *key, size_t key_len, void *buf,
                                          size_t buf_cap, size_t *value_len)
{
    if (value_len != NULL) { *value_len = 0; }
    const uint32_t state = base_load_acq(&c->state);
    if ((state & CACHE_CLOSED) != 0) { return cache_closed(c); }
    cellar_err err = CELLAR_MISS;
    stats_id outcome = STATS_MISS;
    size_t len = 0;
    if ((state & CACHE_OFF) == 0) {
        l1_key k;
        cache_key(c, &k, key, key_len);
        err = l1_get(c->l1, &k, buf, buf_cap, &len, 0);
        outcome = cache_outcome(err);
        if (err == CELLAR_MISS) { err = cache_get_below(c, &k, buf, buf_cap, &len, &outcome); }
    }
    if (value_len != NULL) { *value_len = len; }
    stats_add(cache_mine(c), outcome, 1);
    if ((state & CACHE_TALK) != 0) { cache_read_tell(c, "get", err); }
    return err;
}

/* End a read with the result of L1: ask the tier after a miss, and count. */
BASE_ALWAYS_INLINE cellar_err cache_get_end(cellar *c, const l1_key *k, cellar_err err, void *buf,
                                            size_t buf_cap, size_t len, size_t *value_len)
{
    stats_id outcome = cache_outcome(err);
    if (err != CELLAR_OK && err != CELLAR_E_BUFFER) { len = 0; } /* L1 does not set it then */
    if (err == CELLAR_MISS) { err = cache_get_below(c, k, buf, buf_cap, &len, &outcome); }
    if (value_len != NULL) { *value_len = len; }
    stats_add_mine(c->stats, c->stats_tag, base_thread_self(), outcome, 1);
    return err;
}

/* Read in all cases except the plain hit. */
BASE_NOINLINE static cellar_err cache_get_rest(cellar *c, const l1_key *k, void *buf,
                                               size_t buf_cap, size_t *value_len)
{
    size_t len = 0;
    const cellar_err err = l1_get_rest(c->l1, k, buf, buf_cap, &len, 0);
    return cache_get_end(c, k, err, buf, buf_cap, len, value_len);
}

BASE_NOINLINE static cellar_err cache_get_timed(cellar *c, const l1_key *k, void *buf,
                                                size_t buf_cap, size_t *value_len)
{
    const uint64_t since_ns = base_now_ns();
    const cellar_err err = cache_get_rest(c, k, buf, buf_cap, value_len);
    const bool hit = err == CELLAR_OK || err == CELLAR_E_BUFFER;
    stats_time(c->stats, hit ? STATS_OP_GET_HIT : STATS_OP_GET_MISS, base_now_ns() - since_ns);
    cache_filter_note(c, k->bytes, k->len, err);
    return err;
}

/* Read a key that is not hashed inline. */
BASE_NOINLINE static cellar_err cache_get_any(cellar *c, const void *key, size_t key_len, void *buf,
                                              size_t buf_cap, size_t *value_len)
{
    l1_key k;
    size_t len = 0;
    cache_key(c, &k, key, key_len);
    if (BASE_UNLIKELY(stats_sample(base_thread_self()))) {
        return cache_get_timed(c, &k, buf, buf_cap, value_len);
    }
    const cellar_err err = l1_get(c->l1, &k, buf, buf_cap, &len, 0);
    return cache_get_end(c, &k, err, buf, buf_cap, len, value_len);
}

/* Ask the filter before L1, because most look-ups of this namespace end with "never". */
BASE_NOINLINE static cellar_err cache_get_filtered(cellar *c, const void *key, size_t key_len,
                                                   void *buf, size_t buf_cap, size_t *value_len)
{
    const bool sampled = stats_sample(base_thread_self());
    if (BASE_LIKELY(!sampled) && cache_filter_never(c, key, key_len)) {
        if (value_len != NULL) { *value_len = 0; }
        stats_add(cache_mine(c), STATS_MISS, 1);
        return CELLAR_MISS;
    }
    l1_key k;
    cache_key(c, &k, key, key_len);
    return sampled ? cache_get_timed(c, &k, buf, buf_cap, value_len)
                   : cache_get_rest(c, &k, buf, buf_cap, value_len);
}

/* Read in a store that records reads of loaders. */
BASE_NOINLINE static cellar_err cache_get_noted(cellar *c, const void *key, size_t key_len,
                                                void *buf, size_t buf_cap, size_t *value_len)
{
    const bool loads = base_thread_self()->leads != NULL; /* else no loader records reads */
    const uint32_t state = base_load_acq(&c->state) & ~CACHE_NOTES;
    l1_key k;
    if (loads && (state & CACHE_CLOSED) == 0) {
        cache_key(c, &k, key, key_len);
        cache_deps_note(c, &k);
    }
    const cellar_err err =
        state == 0 ? cache_get_any(c, key, key_len, buf, buf_cap, value_len)
        : state == CACHE_FILTER ? cache_get_filtered(c, key, key_len, buf, buf_cap, value_len)
                                : cache_get_odd(c, key, key_len, buf, buf_cap, value_len);
    if (loads && (state & CACHE_CLOSED) == 0) { cache_deps_seen(c, &k, err); }
    return err;
}

CELLAR_API cellar_err cellar_get(cellar *c, const void *key, size_t key_len,
                                 void *buf, size_t buf_cap, size_t *value_len)
{
    if (BASE_UNLIKELY(c == NULL || cache_key_bad(key, key_len) || (buf == NULL && buf_cap != 0))) {
        return cache_get_refuse(c, key, key_len);
    }
    const uint32_t state = base_load_acq(&c->state);
    if (BASE_UNLIKELY(state != 0)) {
        if ((state & CACHE_NOTES) != 0) {
            return cache_get_noted(c, key, key_len, buf, buf_cap, value_len);
        }
        return state == CACHE_FILTER
                   ? cache_get_filtered(c, key, key_len, buf, buf_cap, value_len)
                   : cache_get_odd(c, key, key_len, buf, buf_cap, value_len);
    }
    if (BASE_UNLIKELY(!base_hash_is_near(c->hash_key, key_len))) {
        return cache_get_any(c, key, key_len, buf, buf_cap, value_len);
    }
    base_thread_record *const self = base_thread_self();
    const uint32_t klen = (uint32_t)key_len;
    /* release in cache_generation_next */
    const uint32_t generation = base_load_acq(&c->generation);
    const uint64_t hash = base_hash_near(c->hash_key, generation, key, key_len);
    if (BASE_UNLIKELY(stats_sample(self))) {
        const l1_key k = { key, klen, generation, hash };
        return cache_get_timed(c, &k, buf, buf_cap, value_len);
    }
    size_t len;
    if (BASE_UNLIKELY(!l1_hit(c->l1, self, key, klen, generation, hash, buf, buf_cap, &len))) {
        if (base_load_acq(&c->bloom) == NULL && c->store->tier == NULL && l1_none(c->l1, hash)) {
            if (value_len != NULL) { *value_len = 0; }
            stats_add_mine(c->stats, c->stats_tag, self, STATS_MISS, 1);
            return CELLAR_MISS;
        }
        const l1_key k = { key, klen, generation, hash };
        return cache_get_rest(c, &k, buf, buf_cap, value_len);
    }
    if (value_len != NULL) { *value_len = len; }
    stats_add_mine(c->stats, c->stats_tag, self, STATS_HIT_L1, 1);
    return CELLAR_OK;
}

/* ---- with options ---- */

/* Decode a cost: 0 none, else 1 + {5 bits exponent, 3 bits mantissa} of microseconds. */
CELLAR_PRIVATE uint32_t cache_cost_us(uint8_t code)
{
    if (code == 0) { return 0; }
    const uint32_t e = (uint32_t)(code - 1) >> 3, m = (uint32_t)(code - 1) & 7u;
    const uint64_t us = ((uint64_t)(8 + m) << e) >> 3;
    return us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

static int64_t cache_left_ms(int64_t until_ms, int64_t now_ms)
{
    if (until_ms == BASE_NEVER_MS) { return CELLAR_TTL_NONE; }
    return until_ms > now_ms ? until_ms - now_ms : 0;
}

static void cache_info_fill(const cellar *c, const l1_info *in, cellar_err err, uint32_t tier,
                            cellar_entry_info *out)
{
    const int64_t now = base_now_ms(&c->store->clock);
    cellar_entry_info i = cellar_entry_info_default();
    i.kind = in->kind;
    i.tier = tier;
    i.flags = (in->born_exact ? 0u : CELLAR_INFO_AGE_APPROX) |
              (in->version != 0 ? CELLAR_INFO_VERSION : 0u) |
              (err == CELLAR_STALE ? CELLAR_INFO_STALE : 0u) |
              (in->tag_count != 0 ? CELLAR_INFO_TAGGED : 0u);
    i.user_flags = in->user_flags;
    i.hits = in->uses;
    i.cost_us = cache_cost_us(in->cost);
    i.value_len = in->value_len;
    i.version = in->version;
    i.age_ms = tier == CELLAR_TIER_L2 ? INT64_MAX
               : now > in->born_ms ? now - in->born_ms : 0;
    i.ttl_left_ms = cache_left_ms(in->expires_ms, now);
    i.stale_left_ms = in->stale_ms == 0 || in->expires_ms == BASE_NEVER_MS
                          ? 0 : cache_left_ms(base_add_sat(in->expires_ms, in->stale_ms), now);
    i.idle_ms = in->idle_ms;
    (void)base_opts_out(out, &i, sizeof i); /* its size was checked before */
}

/* Fill the info of an entry in the tier. */
static void cache_info_below(const cellar *c, const cache_tier_meta *m, size_t value_len,
                             cellar_err err, cellar_entry_info *out)
{
    l1_info in;
    memset(&in, 0, sizeof in);
    in.kind = err == CELLAR_ABSENT ? (uint8_t)L1_NEGATIVE : m->kind;
    in.value_len = value_len;
    in.user_flags = m->user_flags;
    in.cost = m->cost;
    in.uses = m->uses;
    in.tag_count = m->tag_count;
    in.deadline_ms = m->deadline_ms;
    in.expires_ms = m->idle_ms != 0 && m->until_ms != 0 ? m->until_ms : m->deadline_ms;
    in.idle_ms = m->idle_ms;
    in.stale_ms = m->stale_ms;
    cache_info_fill(c, &in, err, CELLAR_TIER_L2, out);
}

/* Refuse a struct_size that no cellar_entry_info has. */
static cellar_err cache_info_check(cellar *c, const cellar_entry_info *info)
{
    size_t size;
    const cellar_err err = base_opts_size(info, &size);
    return err == CELLAR_OK ? err
                            : cache_fail(c, err, 0, "info: start from cellar_entry_info_default()");
}

/* Inspect an entry. If a version is wanted and missing, give the entry one first. */
static cellar_err cache_inspect(cellar *c, const l1_key *k, void *buf, size_t buf_cap,
                                l1_info *info, unsigned flags, bool want_version)
{
    for (unsigned round = 0;; round++) {
        const cellar_err err = l1_inspect(c->l1, k, buf, buf_cap, info, flags);
        const bool there = err == CELLAR_OK || err == CELLAR_STALE || err == CELLAR_E_BUFFER;
        if (!want_version || !there || info->version != 0 || round == CACHE_ROUNDS) { return err; }
        uint64_t version;
        const cellar_err given = l1_version(c->l1, k, &version);
        if (given == CELLAR_E_SPACE || given == CELLAR_E_NOMEM) { return given; }
        if (given != CELLAR_OK) { want_version = false; } /* stale: it keeps its present version */
    }
}

static cellar_err cache_get_opts_read(cellar *c, const cellar_get_opts *o, cellar_get_opts *out)
{
    cellar_err err = base_opts_in(out, sizeof *out, o);
    if (err == CELLAR_E_INVAL || err == CELLAR_E_ABI) {
        return cache_fail(c, err, 0, "cellar_get_with: start from cellar_get_opts_default()");
    }
    const uint32_t known = CELLAR_GET_ALLOW_STALE | CELLAR_GET_PEEK | CELLAR_GET_WANT_VERSION;
    if (err != CELLAR_OK || (out->flags & ~known) != 0 || out->reserved0 != 0) {
        return cache_fail(c, CELLAR_E_UNSUPPORTED, 0,
                          "cellar_get_with: options have an unknown flag or field");
    }
    return out->info != NULL ? cache_info_check(c, out->info) : CELLAR_OK;
}

/* Read with options from L1. */
static cellar_err cache_get_here(cellar *c, const l1_key *k, const cellar_get_opts *o, void *buf,
                                 size_t buf_cap, size_t *len)
{
    const unsigned flags = ((o->flags & CELLAR_GET_PEEK) != 0 ? L1_PEEK : 0u) |
                           ((o->flags & CELLAR_GET_ALLOW_STALE) != 0 ? L1_STALE_OK : 0u);
    if (o->info == NULL) { return l1_get(c->l1, k, buf, buf_cap, len, flags); }
    l1_info info;
    memset(&info, 0, sizeof info);
    cellar_err err = cache_inspect(c, k, buf, buf_cap, &info, flags,
                                   (o->flags & CELLAR_GET_WANT_VERSION) != 0);
    const bool there = err == CELLAR_OK || err == CELLAR_STALE || err == CELLAR_E_BUFFER;
    *len = there ? info.value_len : 0;
    if (there && buf == NULL && info.value_len > 0) { err = CELLAR_E_BUFFER; }
    if (there || err == CELLAR_ABSENT) { cache_info_fill(c, &info, err, CELLAR_TIER_L1, o->info); }
    return err;
}

/* Read with options from the tier, after a miss. Only L1 gives a version, so without room in L1
 * there is none. */
static cellar_err cache_get_there(cellar *c, const l1_key *k, const cellar_get_opts *o, void *buf,
                                  size_t buf_cap, size_t *len)
{
    cache_tier_meta m;
    cellar_err kept;
    cellar_err err = CELLAR_MISS;
    if (o->info != NULL && (o->flags & CELLAR_GET_WANT_VERSION) != 0 && cache_tier_bring(c, k)) {
        err = cache_get_here(c, k, o, buf, buf_cap, len);
        if (err != CELLAR_MISS) { return err; }
    }
    err = (o->flags & CELLAR_GET_PEEK) != 0
              ? cache_tier_peek(c, k, buf, buf_cap, len, &m)
              : cache_tier_fetch(c, k, buf, buf_cap, len, &m, &kept);
    if (BASE_UNLIKELY(err == CELLAR_CONFLICT)) {
        return cache_get_here(c, k, o, buf, buf_cap, len);
    }
    if (o->info != NULL && err != CELLAR_MISS) { cache_info_below(c, &m, *len, err, o->info); }
    return err;
}

/* Read with options; count nothing. */
static cellar_err cache_get_read(cellar *c, const l1_key *k, const cellar_get_opts *o, void *buf,
                                 size_t buf_cap, size_t *len, stats_id *outcome)
{
    cellar_err err = cache_get_here(c, k, o, buf, buf_cap, len);
    *outcome = cache_outcome(err);
    if (err != CELLAR_MISS) { return err; }
    if ((o->flags & CELLAR_GET_PEEK) != 0 ? !cache_may_lie_below(c, k) : !cache_asks_below(c, k)) {
        return err;
    }
    err = cache_get_there(c, k, o, buf, buf_cap, len);
    *outcome = err == CELLAR_OK || err == CELLAR_E_BUFFER ? STATS_HIT_L2 : cache_outcome(err);
    return err;
}

CELLAR_API cellar_err cellar_get_with(cellar *c, const void *key, size_t key_len,
                                      const cellar_get_opts *o, void *buf, size_t buf_cap,
                                      size_t *value_len)
{
    if (o == NULL) { return cellar_get(c, key, key_len, buf, buf_cap, value_len); }
    if (c == NULL || cache_key_bad(key, key_len) || (buf == NULL && buf_cap != 0)) {
        return cache_fail_key(c, "cellar_get_with", key, key_len,
                              "buf must not be NULL with buf_cap > 0");
    }
    cellar_get_opts full;
    cellar_err err = cache_get_opts_read(c, o, &full);
    if (err != CELLAR_OK) { return err; }
    if (cache_is_closed(c)) { return cache_closed(c); }
    stats_id outcome = STATS_MISS;
    size_t len = 0;
    err = CELLAR_MISS;
    if (!cache_is_off(c)) {
        l1_key k;
        cache_key(c, &k, key, key_len);
        if (cache_notes(c)) { cache_deps_note(c, &k); }
        err = cache_get_read(c, &k, &full, buf, buf_cap, &len, &outcome);
        if (cache_notes(c)) { cache_deps_seen(c, &k, err); }
    }
    if (value_len != NULL) { *value_len = len; }
    if ((full.flags & CELLAR_GET_PEEK) == 0) {
        stats_add(cache_mine(c), outcome, 1);
        if (cache_talks(c)) { cache_read_tell(c, "get", err); }
    }
    if (err == CELLAR_E_SPACE || err == CELLAR_E_NOMEM) {
        return cache_fail(c, err, 0, "no room to give the entry a version");
    }
    return err;
}

/* Describe a key that L1 does not have. Return OK, ABSENT or MISS. */
static cellar_err cache_describe_below(cellar *c, const l1_key *k, cache_tier_meta *m, size_t *len)
{
    *len = 0;
    if (!cache_may_lie_below(c, k)) { return CELLAR_MISS; }
    const cellar_err err = cache_tier_peek(c, k, NULL, 0, len, m);
    return err == CELLAR_E_BUFFER ? CELLAR_OK : err;
}

/* Describe the entry in *out. Return OK, STALE, ABSENT, MISS, an error, or CONFLICT: look again. */
static cellar_err cache_meta_once(cellar *c, const l1_key *k, bool version, cellar_entry_info *out)
{
    l1_info info;
    memset(&info, 0, sizeof info);
    cellar_err err = cache_inspect(c, k, NULL, 0, &info, L1_PEEK | L1_STALE_OK, version);
    if (err == CELLAR_MISS && version && cache_brought(c, k)) {
        err = cache_inspect(c, k, NULL, 0, &info, L1_PEEK | L1_STALE_OK, true);
    }
    if (err == CELLAR_OK || err == CELLAR_STALE || err == CELLAR_ABSENT) {
        cache_info_fill(c, &info, err, CELLAR_TIER_L1, out);
    } else if (err == CELLAR_MISS) {
        cache_tier_meta m;
        size_t len;
        err = cache_describe_below(c, k, &m, &len);
        if (err == CELLAR_OK || err == CELLAR_ABSENT) { cache_info_below(c, &m, len, err, out); }
    }
    return err;
}

CELLAR_API cellar_err cellar_contains(cellar *c, const void *key, size_t key_len)
{
    if (c == NULL || cache_key_bad(key, key_len)) {
        return cache_fail_key(c, "cellar_contains", key, key_len, "");
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    if (cache_is_off(c)) { return CELLAR_MISS; }
    l1_key k;
    cache_key(c, &k, key, key_len);
    l1_info info;
    if (cache_notes(c)) { cache_deps_note(c, &k); }
    cellar_err err = CELLAR_CONFLICT;
    for (unsigned i = 0; err == CELLAR_CONFLICT && i < CACHE_LOOKS; i++) {
        err = l1_inspect(c->l1, &k, NULL, 0, &info, L1_PEEK);
        if (err == CELLAR_MISS) {
            cache_tier_meta m;
            size_t len;
            err = cache_describe_below(c, &k, &m, &len);
        }
    }
    if (cache_notes(c)) { cache_deps_seen(c, &k, err); }
    return err == CELLAR_OK ? CELLAR_OK : CELLAR_MISS;
}

CELLAR_API cellar_err cellar_entry_info_get(cellar *c, const void *key, size_t key_len,
                                            uint32_t flags,
                                            cellar_entry_info *out)
{
    if (c == NULL || cache_key_bad(key, key_len) || out == NULL) {
        return cache_fail_key(c, "cellar_entry_info_get", key, key_len, "out must not be NULL");
    }
    const cellar_err size_err = cache_info_check(c, out);
    if (size_err != CELLAR_OK) { return size_err; }
    if ((flags & ~CELLAR_GET_WANT_VERSION) != 0) {
        return cache_fail(c, CELLAR_E_UNSUPPORTED, 0,
                          "cellar_entry_info_get: flags must be 0 or CELLAR_GET_WANT_VERSION");
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    if (cache_is_off(c)) { return CELLAR_MISS; }
    l1_key k;
    cache_key(c, &k, key, key_len);
    if (cache_notes(c)) { cache_deps_note(c, &k); }
    cellar_err err = CELLAR_CONFLICT;
    for (unsigned i = 0; err == CELLAR_CONFLICT && i < CACHE_LOOKS; i++) {
        err = cache_meta_once(c, &k, (flags & CELLAR_GET_WANT_VERSION) != 0, out);
    }
    if (err == CELLAR_CONFLICT) { err = CELLAR_MISS; }
    if (cache_notes(c)) { cache_deps_seen(c, &k, err); }
    if (err >= CELLAR_OK) { return err; }
    return cache_fail(c, err, 0, "no room to give the entry a version");
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

/* ---- memory of the caller ---- */

typedef struct cache_dup {
    base_alloc_hooks hooks; /* copy: the store may be closed when the block is freed */
    size_t bytes;           /* size of the whole block */
} cache_dup;
#define CACHE_DUP_HEAD ((sizeof(cache_dup) + 15) & ~(size_t)15)

CELLAR_PRIVATE unsigned char *cache_dup_new(const cache_store *s, size_t len)
{
    const size_t bytes = CACHE_DUP_HEAD + len + 1; /* len <= CELLAR_VALUE_MAX */
    unsigned char *block = base_alloc_raw(&s->hooks, bytes);
    if (block == NULL) { return NULL; }
    const cache_dup head = { s->hooks, bytes };
    memcpy(block, &head, sizeof head);
    return block + CACHE_DUP_HEAD;
}

CELLAR_API void cellar_free(void *value)
{
    if (value == NULL) { return; }
    unsigned char *block = (unsigned char *)value - CACHE_DUP_HEAD;
    cache_dup head;
    memcpy(&head, block, sizeof head);
    base_free_raw(&head.hooks, block, head.bytes);
}

/* Read into new memory; the length may change between two looks. */
static cellar_err cache_dup_read(cellar *c, const l1_key *k, unsigned char **value, size_t *len,
                                 stats_id *outcome)
{
    unsigned char small[CACHE_DUP_TRY];
    cellar_err err = l1_get(c->l1, k, small, sizeof small, len, 0);
    *outcome = cache_outcome(err);
    if (err == CELLAR_MISS) {
        err = cache_get_below(c, k, small, sizeof small, len, outcome);
    }
    if (err == CELLAR_OK) {
        *value = cache_dup_new(c->store, *len);
        if (*value == NULL) { return CELLAR_E_NOMEM; }
        memcpy(*value, small, *len);
        return CELLAR_OK;
    }
    while (err == CELLAR_E_BUFFER) {
        const size_t room = *len;
        *value = cache_dup_new(c->store, room);
        if (*value == NULL) { return CELLAR_E_NOMEM; }
        err = l1_get(c->l1, k, *value, room, len, L1_PEEK);
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
    if (cache_is_closed(c)) { return cache_closed(c); }
    stats_id outcome = STATS_MISS;
    cellar_err err = CELLAR_MISS;
    unsigned char *copy = NULL;
    size_t len = 0;
    if (!cache_is_off(c)) {
        l1_key k;
        cache_key(c, &k, key, key_len);
        if (cache_notes(c)) { cache_deps_note(c, &k); }
        err = cache_dup_read(c, &k, &copy, &len, &outcome);
        if (cache_notes(c)) { cache_deps_seen(c, &k, err); }
    }
    stats_add(cache_mine(c), outcome, 1);
    if (cache_talks(c)) { cache_read_tell(c, "get", err); }
    if (err == CELLAR_E_NOMEM) { return cache_fail(c, err, 0, "cellar_get_alloc: no memory"); }
    if (err == CELLAR_OK) {
        copy[len] = '\0';
        *value = copy;
        *value_len = len;
    }
    return err;
}

/* ---- pins ---- */

/* Pin in all cases except the plain hit. */
BASE_NOINLINE static cellar_err cache_pin_rest(cellar *c, const void *key, size_t key_len,
                                               cellar_pinned *out)
{
    if (out != NULL) { memset(out, 0, sizeof *out); }
    if (c == NULL || cache_key_bad(key, key_len) || out == NULL) {
        return cache_fail_key(c, "cellar_pin", key, key_len, "out must not be NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    cellar_err err = CELLAR_MISS;
    bool below = false;
    l1_pin_ref ref;
    if (!cache_is_off(c)) {
        l1_key k;
        cache_key(c, &k, key, key_len);
        if (cache_notes(c)) { cache_deps_note(c, &k); }
        err = l1_pin(c->l1, &k, &ref, 0);
        below = err == CELLAR_MISS && cache_brought(c, &k);
        if (below) { err = l1_pin(c->l1, &k, &ref, 0); }
        if (cache_notes(c)) { cache_deps_seen(c, &k, err); }
    }
    stats_add(cache_mine(c), below && err == CELLAR_OK ? STATS_HIT_L2 : cache_outcome(err), 1);
    if (cache_talks(c)) { cache_read_tell(c, "get", err); }
    if (err == CELLAR_OK) {
        cache_pin_out(c, &ref, out);
    } else if (err == CELLAR_E_LIMIT) {
        stats_count(c->stats, STATS_LIMIT_PINS, 1);
        return cache_fail(c, err, 0, "cellar_pin: all pin slots are in use: unpin values");
    }
    return err;
}

CELLAR_API cellar_err cellar_pin(cellar *c, const void *key, size_t key_len, cellar_pinned *out)
{
    if (BASE_UNLIKELY(c == NULL || cache_key_bad(key, key_len) || out == NULL) ||
        BASE_UNLIKELY(base_load_acq(&c->state) != 0)) {
        return cache_pin_rest(c, key, key_len, out);
    }
    const base_thread_record *self = base_thread_self();
    /* release in cache_generation_next */
    const uint32_t generation = base_load_acq(&c->generation);
    const uint64_t hash = base_hash(c->hash_key, generation, key, key_len);
    l1_pin_ref ref;
    if (BASE_UNLIKELY(!l1_pin_hit(c->l1, self, key, (uint32_t)key_len, generation, hash, &ref))) {
        return cache_pin_rest(c, key, key_len, out);
    }
    cache_pin_out(c, &ref, out);
    stats_add_mine(c->stats, c->stats_tag, self, STATS_HIT_L1, 1);
    return CELLAR_OK;
}

CELLAR_API void cellar_unpin(cellar_pinned *p)
{
    if (p == NULL || p->opaque[0] == 0) { return; }
    l1_unpin_slot((l1 *)(uintptr_t)p->opaque[0], (uint32_t)p->opaque[1]);
    memset(p, 0, sizeof *p);
}
