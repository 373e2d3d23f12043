/* SPDX-License-Identifier: MIT
 *
 * get_with: read one key with options, or only what describes it.
 *
 * INVARIANTS peek, contains and info add to no outcome, and leave the entry below. */
#include "cache/call.h"
#include "cache/error.h"
#include "cache/lookup.h"
#include "cache/proof.h"
#include "cache/shared.h"
#include "cache/plan.h"
#include "cache/talk.h"

BASE_SIZE_BEGIN

static void cache_info_fill(const cellar *c, const l1_info *in, cellar_err err, uint32_t tier,
                            cellar_entry_info *out)
{
    const int64_t now = base_now_ms(&c->store->clock);
    const uint32_t tags = tier == CELLAR_TIER_L1 ? cache_shared_rest(c, in->tag_count)
                                                 : in->tag_count;
    cellar_entry_info i = cellar_entry_info_default();
    i.kind = in->object ? CELLAR_KIND_OBJECT : (cellar_kind)in->kind;
    i.tier = tier;
    i.flags = (in->born_exact ? 0u : CELLAR_INFO_AGE_APPROX) |
              (in->version != 0 ? CELLAR_INFO_VERSION : 0u) |
              (in->stale || err == CELLAR_STALE ? CELLAR_INFO_STALE : 0u) |
              (tags != 0 ? CELLAR_INFO_TAGGED : 0u);
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
static void cache_info_below(const cellar *c, const l2_meta *m, size_t value_len,
                             cellar_err err, cellar_entry_info *out)
{
    l1_info in = { .kind = err == CELLAR_ABSENT ? (uint8_t)L1_NEGATIVE : m->kind,
                   .value_len = value_len, .user_flags = m->user_flags, .cost = m->cost,
                   .tag_count = m->tag_count, .deadline_ms = m->deadline_ms,
                   .expires_ms = m->idle_ms != 0 && m->until_ms != 0 ? m->until_ms : m->deadline_ms,
                   .idle_ms = m->idle_ms, .stale_ms = m->stale_ms };
    if (cache_shared_of(c) != NULL) { in.version = m->version; }
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

/* Inspect an entry. If a version is wanted and missing, give the entry one first. E_BUSY: other
 * writers replaced it in each round. A stale entry keeps its present version. */
static cellar_err cache_inspect(cellar *c, const l1_key *k, void *buf, size_t buf_cap,
                                l1_info *info, unsigned flags, bool want_version)
{
    for (unsigned round = 0;; round++) {
        const cellar_err err = l1_inspect(c->l1, k, buf, buf_cap, info, flags);
        const bool there = err == CELLAR_OK || err == CELLAR_STALE || err == CELLAR_E_BUFFER;
        if (!want_version || !there || info->version != 0) { return err; }
        if (round == CACHE_ROUNDS) { return err == CELLAR_OK ? CELLAR_E_BUSY : err; }
        uint64_t version;
        const cellar_err given = l1_version(c->l1, k, &version);
        if (given == CELLAR_E_SPACE || given == CELLAR_E_NOMEM) { return given; }
        if (given != CELLAR_OK && err != CELLAR_OK) { return err; }
    }
}

static cellar_err cache_get_opts_read(cellar *c, const cellar_get_opts *o, cellar_get_opts *out)
{
    cellar_err err = base_opts_in(out, sizeof *out, o);
    if (err == CELLAR_E_INVAL || err == CELLAR_E_ABI) {
        return cache_fail(c, err, 0, "cellar_get_with: start from cellar_get_opts_default()");
    }
    const uint32_t known = CELLAR_GET_ALLOW_STALE | CELLAR_GET_PEEK | CELLAR_GET_WANT_VERSION |
                           CELLAR_GET_MEMORY;
    if (err != CELLAR_OK || (out->flags & ~known) != 0 || out->reserved0 != 0) {
        return cache_fail_flags(c, "cellar_get_with", out->flags & ~known);
    }
    return out->info != NULL ? cache_info_check(c, out->info) : CELLAR_OK;
}

/* Note why an entry got no version. */
static cellar_err cache_version_failed(cellar *c, const char *call, cellar_err err)
{
    const cache_broken b = { .rule = err == CELLAR_E_BUSY
                             ? "other calls replaced the entry in each of 64 tries: call again"
                             : "no room to give the entry a version: raise memory_bytes" };
    return cache_fail_broken(c, err, call, &b);
}

/* Return whether only the shared tier has what the call wants: a version. */
static bool cache_from_server(const cellar *c, bool version)
{
    return version && cache_shared_of(c) != NULL;
}

/* Return the flags of L1 that the options ask for. */
BASE_ALWAYS_INLINE unsigned cache_get_flags(const cellar_get_opts *o)
{
    return ((o->flags & CELLAR_GET_PEEK) != 0 ? L1_PEEK : 0u) |
           ((o->flags & CELLAR_GET_ALLOW_STALE) != 0 ? L1_STALE_OK : 0u);
}

/* Read with options from L1. */
static cellar_err cache_get_here(cellar *c, const l1_key *k, const cellar_get_opts *o, void *buf,
                                 size_t buf_cap, size_t *len)
{
    const unsigned flags = cache_get_flags(o);
    const bool unproven = cache_is_unproven(c);
    if (cache_from_server(c, (o->flags & CELLAR_GET_WANT_VERSION) != 0)) { return CELLAR_MISS; }
    if (unproven && ((flags & L1_STALE_OK) == 0 || !c->proof_stale)) { return CELLAR_MISS; }
    if (o->info == NULL) {
        const cellar_err err = l1_get(c->l1, k, buf, buf_cap, len, flags);
        return unproven ? cache_unproven_code(c, err) : err;
    }
    l1_info info = {0};
    cellar_err err = cache_inspect(c, k, buf, buf_cap, &info, flags,
                                   (o->flags & CELLAR_GET_WANT_VERSION) != 0);
    if (unproven) {
        err = cache_unproven_code(c, err);
        info.stale = true;
    }
    const bool there = err == CELLAR_OK || err == CELLAR_STALE || err == CELLAR_E_BUFFER;
    *len = there ? info.value_len : 0;
    if (there && buf == NULL && info.value_len > 0) { err = CELLAR_E_BUFFER; }
    if (there || err == CELLAR_ABSENT) { cache_info_fill(c, &info, err, CELLAR_TIER_L1, o->info); }
    return err;
}

/* Return whether the call wants a version that memory alone can give. */
static bool cache_from_memory(const cellar *c, bool version)
{
    return version && cache_shared_of(c) == NULL;
}

/* Read with options from the tier, after a miss. A value that finds no room in memory has no
 * version: E_SPACE. */
static cellar_err cache_get_there(cellar *c, const l1_key *k, const cellar_get_opts *o, void *buf,
                                  size_t buf_cap, size_t *len)
{
    cache_found m;
    cellar_err kept;
    cellar_err err = CELLAR_MISS;
    const bool versioned =
        o->info != NULL && cache_from_memory(c, (o->flags & CELLAR_GET_WANT_VERSION) != 0);
    for (unsigned i = 0; versioned && i <= CACHE_LOOKS && cache_brought(c, k); i++) {
        err = cache_get_here(c, k, o, buf, buf_cap, len);
        if (err != CELLAR_MISS) { return err; }
    }
    err = CELLAR_CONFLICT;
    for (unsigned i = 0; err == CELLAR_CONFLICT && i <= CACHE_LOOKS; i++) {
        const cellar_err here = i != 0 ? cache_get_here(c, k, o, buf, buf_cap, len) : CELLAR_MISS;
        if (here != CELLAR_MISS) { return here; }
        err = (o->flags & CELLAR_GET_PEEK) != 0
                  ? cache_tier_peek(c, k, buf, buf_cap, len, &m)
                  : cache_tier_fetch(c, k, buf, buf_cap, len, &m, &kept);
    }
    if (BASE_UNLIKELY(err == CELLAR_CONFLICT)) { return CELLAR_MISS; }
    if (versioned && err == CELLAR_OK) { return CELLAR_E_SPACE; }
    if (o->info != NULL && err != CELLAR_MISS) { cache_info_below(c, &m.e, *len, err, o->info); }
    return err;
}

/* Return whether the shared tier, which hears all changes again, is asked before a value of memory
 * that became stale at a gap is the answer. */
static bool cache_get_asks_first(const cellar *c, cellar_err err)
{
    return err == CELLAR_STALE && c->proof_stale && !cache_is_unproven(c);
}

/* Take the answer `err` of L1, and read from the tier if the options want it; count nothing. */
static cellar_err cache_get_more(cellar *c, const l1_key *k, const cellar_get_opts *o,
                                 cellar_err err, void *buf, size_t buf_cap, size_t *len,
                                 stats_id *outcome)
{
    if (err == CELLAR_OK || (o->flags & CELLAR_GET_MEMORY) != 0) { return err; }
    if (err != CELLAR_MISS && !cache_get_asks_first(c, err)) { return err; }
    if ((o->flags & CELLAR_GET_PEEK) != 0 ? !cache_may_lie_below(c, k) : !cache_asks_below(c, k)) {
        return err;
    }
    const size_t here = *len;
    const cellar_err below = cache_get_there(c, k, o, buf, buf_cap, len);
    if (below == CELLAR_MISS && err == CELLAR_STALE) {
        *len = here;
        return err;
    }
    *outcome = below == CELLAR_OK || below == CELLAR_E_BUFFER ? STATS_HIT_L2 : cache_outcome(below);
    return below;
}

/* Return whether only the value is wanted, of a namespace without a state. */
BASE_ALWAYS_INLINE bool cache_get_is_plain(const cellar *c, const cellar_get_opts *o)
{
    const uint32_t plain = CELLAR_GET_ALLOW_STALE | CELLAR_GET_PEEK | CELLAR_GET_MEMORY;
    return o->struct_size == sizeof *o && o->info == NULL && (o->flags & ~plain) == 0 &&
           o->reserved0 == 0 && base_load_acq(&c->state) == 0;
}

BASE_SIZE_END

CELLAR_API cellar_err cellar_get_with(cellar *c, const void *key, size_t key_len,
                                      const cellar_get_opts *o, void *buf, size_t buf_cap,
                                      size_t *value_len)
{
    if (o == NULL) { return cellar_get(c, key, key_len, buf, buf_cap, value_len); }
    if (BASE_UNLIKELY(c == NULL || cache_key_bad(key, key_len) || (buf == NULL && buf_cap != 0))) {
        return cache_fail_key(c, "cellar_get_with", key, key_len,
                              "buf must not be NULL with buf_cap > 0");
    }
    cellar_get_opts full;
    cellar_err err;
    size_t len = 0;
    l1_key k;
    if (BASE_LIKELY(cache_get_is_plain(c, o))) {
        cache_key(c, &k, key, key_len);
        err = l1_get(c->l1, &k, buf, buf_cap, &len, cache_get_flags(o));
        if (BASE_LIKELY(err == CELLAR_OK)) {
            base_thread_record *const self = base_thread_self();
            if (value_len != NULL) { *value_len = len; }
            if ((o->flags & CELLAR_GET_PEEK) == 0) {
                stats_add_mine(c->stats, c->stats_tag, self, STATS_HIT_L1, 1);
                cache_hot_sample(c, self, &k);
            }
            return CELLAR_OK;
        }
        full = *o;
    } else {
        err = cache_get_opts_read(c, o, &full);
        if (err != CELLAR_OK) { return err; }
        if (cache_no_bytes(c)) { return cache_closed(c, __func__); }
        cache_key(c, &k, key, key_len);
        err = cache_is_off(c) ? CELLAR_MISS : cache_get_here(c, &k, &full, buf, buf_cap, &len);
    }
    stats_id outcome = cache_outcome(err);
    if (!cache_is_off(c)) {
        err = cache_get_more(c, &k, &full, err, buf, buf_cap, &len, &outcome);
    }
    if (value_len != NULL) { *value_len = len; }
    const bool asked_later = err == CELLAR_MISS && (full.flags & CELLAR_GET_MEMORY) != 0;
    if ((full.flags & CELLAR_GET_PEEK) == 0 && !asked_later) {
        stats_add(cache_mine(c), outcome, 1);
        cache_hot_sample(c, base_thread_self(), &k);
        if (cache_talks(c)) { cache_read_tell(c, "get", &k, err); }
    }
    const bool failed = err == CELLAR_E_SPACE || err == CELLAR_E_NOMEM || err == CELLAR_E_BUSY;
    return BASE_UNLIKELY(failed) ? cache_version_failed(c, __func__, err) : err;
}

BASE_SIZE_BEGIN

/* Look at an entry without reading it; describe it in *out if that is not NULL. Return OK, STALE,
 * ABSENT, MISS, an error, or CONFLICT: look again. */
static cellar_err cache_meta_once(cellar *c, const l1_key *k, bool version, cellar_entry_info *out)
{
    l1_info info = {0};
    const bool unproven = cache_is_unproven(c);
    const bool versioned = cache_from_memory(c, version);
    cellar_err err = cache_inspect(c, k, NULL, 0, &info, L1_PEEK | L1_STALE_OK, versioned);
    if (unproven) { err = cache_unproven_code(c, err); }
    if (cache_from_server(c, version)) { err = CELLAR_MISS; }
    if (err == CELLAR_MISS && versioned && cache_brought(c, k)) {
        err = cache_inspect(c, k, NULL, 0, &info, L1_PEEK | L1_STALE_OK, true);
    }
    const bool there = err == CELLAR_OK || err == CELLAR_STALE || err == CELLAR_ABSENT;
    if (there && out != NULL) { cache_info_fill(c, &info, err, CELLAR_TIER_L1, out); }
    if (err != CELLAR_MISS || !cache_may_lie_below(c, k)) { return err; }
    cache_found m;
    size_t len = 0;
    err = cache_tier_peek(c, k, NULL, 0, &len, &m);
    if (err == CELLAR_E_BUFFER) { err = CELLAR_OK; }
    if (versioned && err == CELLAR_OK) { return CELLAR_E_SPACE; }
    if (out != NULL && (err == CELLAR_OK || err == CELLAR_ABSENT)) {
        cache_info_below(c, &m.e, len, err, out);
    }
    return err;
}

static cellar_err cache_meta(cellar *c, const void *key, size_t key_len, bool version,
                             cellar_entry_info *out)
{
    if (cache_is_closed(c)) {
        return cache_closed(c, out != NULL ? "cellar_entry_info_get" : "cellar_contains");
    }
    if (cache_is_off(c)) { return CELLAR_MISS; }
    l1_key k;
    cache_key(c, &k, key, key_len);
    cellar_err err = CELLAR_CONFLICT;
    for (unsigned i = 0; err == CELLAR_CONFLICT && i < CACHE_LOOKS; i++) {
        err = cache_meta_once(c, &k, version, out);
    }
    /* a stale entry is not there for cellar_contains */
    if (err == CELLAR_CONFLICT || (out == NULL && err == CELLAR_STALE)) { err = CELLAR_MISS; }
    return err;
}

CELLAR_API cellar_err cellar_contains(cellar *c, const void *key, size_t key_len)
{
    if (c == NULL || cache_key_bad(key, key_len)) {
        return cache_fail_key(c, "cellar_contains", key, key_len, "");
    }
    const cellar_err err = cache_meta(c, key, key_len, false, NULL);
    return err == CELLAR_OK || err == CELLAR_E_CLOSED ? err : CELLAR_MISS;
}

/* Return how often a key in memory was used since the last call, 0..3, and begin again at 0. */
static unsigned cache_hits_take(cellar *c, const void *key, size_t key_len)
{
    l1_key k;
    if (cache_is_closed(c)) { return 0; }
    cache_key(c, &k, key, key_len);
    return l1_uses_take(c->l1, &k);
}

CELLAR_API cellar_err cellar_entry_info_get(cellar *c, const void *key, size_t key_len,
                                            uint32_t flags,
                                            cellar_entry_info *out)
{
    if (c == NULL || cache_key_bad(key, key_len) || out == NULL) {
        return cache_fail_key(c, "cellar_entry_info_get", key, key_len, "out must not be NULL");
    }
    cellar_err err = cache_info_check(c, out);
    if (err != CELLAR_OK) { return err; }
    if ((flags & ~(CELLAR_GET_WANT_VERSION | CELLAR_GET_TAKE_HITS)) != 0) {
        return cache_fail(c, CELLAR_E_UNSUPPORTED, 0,
                          "cellar_entry_info_get: flags may be CELLAR_GET_WANT_VERSION and "
                          "CELLAR_GET_TAKE_HITS");
    }
    const bool take = (flags & CELLAR_GET_TAKE_HITS) != 0;
    const unsigned hits = take ? cache_hits_take(c, key, key_len) : 0;
    err = cache_meta(c, key, key_len, (flags & CELLAR_GET_WANT_VERSION) != 0, out);
    if (take && out->struct_size >= offsetof(cellar_entry_info, hits) + sizeof out->hits) {
        out->hits = hits;
    }
    if (err >= CELLAR_OK || err == CELLAR_E_CLOSED) { return err; }
    return cache_version_failed(c, __func__, err);
}

BASE_SIZE_END
