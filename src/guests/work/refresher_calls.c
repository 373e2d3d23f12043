/* SPDX-License-Identifier: MIT
 *
 * refresher_calls: loaders, rows, policies and figures of a refresher.
 *
 * WALK       A call checks its arguments and makes the row without the lock; then one short lock
 *            puts it into ring and wheel. A removed row is freed after the lock, when no ticket has
 *            it.
 * LOCKING    refresh.h. */
#include <string.h>

#include "base/hash.h"
#include "base/opts.h"
#include "work/cron.h"
#include "work/refresher.h"

BASE_SIZE_BEGIN

#define REFRESHER_INTERVAL_MAX_MS (INT64_C(366) * 86400000)
#define REFRESHER_IDLE_MAX 1000000u
#define REFRESHER_AT_MAX (6 + CRON_ZONE_MAX) /* "00:00@" and a zone */

static cellar_err refresher_check(const cellar_refresher *r)
{
    if (r == NULL) { return CELLAR_E_INVAL; }
    return r->obj.forked ? CELLAR_E_FORKED : CELLAR_OK;
}

static bool refresher_name_ok(const char *name)
{
    return name != NULL && *name != '\0' &&
           strnlen(name, CELLAR_NAME_MAX + 1) <= CELLAR_NAME_MAX;
}

/* ---- loaders ---- */

static refresher_loader *refresher_find_loader(const cellar_refresher *r, const char *name)
    SYNC_HOLDS(WHEEL)
{
    refresher_loader *l = r->loaders;
    while (l != NULL && strcmp(l->name, name) != 0) { l = l->next; }
    return l;
}

/* Put a loader into the list. Rows of its name take it, and are covered as far as is known. */
static cellar_err refresher_insert_loader(cellar_refresher *r, refresher_loader *l)
    SYNC_HOLDS(WHEEL)
{
    if (refresher_find_loader(r, l->name) != NULL) { return CELLAR_EXISTS; }
    l->next = r->loaders;
    r->loaders = l;
    refresher_row *row = r->all;
    for (bool first = true; row != NULL && (first || row != r->all); row = row->next) {
        first = false;
        if (!row->present || strcmp(row->loader_name, l->name) != 0) { continue; }
        row->loader = l;
        if ((row->flags & CELLAR_REFRESH_PATTERN) == 0 || l->lister != NULL) {
            refresher_set_uncovered(row, false);
        }
    }
    return CELLAR_OK;
}

/* The breaker of a loader without one, shared by its rows. A source that fails in part still
 * refreshes them, so only a high share of failures opens it, and one success closes it.
 * work/README.md has the figures. */
static const cellar_breaker_config refresher_breaker = {
    .struct_size = sizeof refresher_breaker, .failure_pct = 90, .min_calls = 20,
    .consecutive_failures = 63, .half_open_successes = 1, .open_ms = 1000, .open_max_ms = 10000,
};

CELLAR_API cellar_err cellar_refresh_loader(cellar_refresher *r, const char *name,
                                            cellar_loader_fn fn, void *ctx,
                                            const cellar_refresh_loader_opts *o)
{
    cellar_refresh_loader_opts full = cellar_refresh_loader_opts_default();
    cellar_err err = refresher_check(r);
    if (err != CELLAR_OK) { return err; }
    if (o != NULL) { err = base_opts_in(&full, sizeof full, o); }
    if (err != CELLAR_OK) { return err; }
    if (!refresher_name_ok(name) || fn == NULL) { return CELLAR_E_INVAL; }
#ifdef CELLAR_OMIT_LIMIT
    if (full.limiter != NULL) { return CELLAR_E_UNSUPPORTED; }
#endif
    refresher_loader *l = base_alloc(&r->obj.account, BASE_MOD_STORE, sizeof *l, NULL);
    if (l == NULL) { return CELLAR_E_NOMEM; }
    *l = (refresher_loader){ .fn = fn, .ctx = ctx, .lister = full.lister,
                             .lister_ctx = full.lister_ctx, .breaker = full.breaker,
                             .limiter = full.limiter, .own_breaker = full.breaker == NULL };
    memcpy(l->name, name, strlen(name));
    if (l->own_breaker) { err = cellar_breaker_create(r->store, &refresher_breaker, &l->breaker); }
    if (err == CELLAR_OK) {
        sync_take(WHEEL, &r->lock);
        err = refresher_insert_loader(r, l);
        sync_drop(WHEEL, &r->lock);
    }
    if (err != CELLAR_OK) {
        if (l->own_breaker) { cellar_breaker_destroy(l->breaker); }
        base_free(&r->obj.account, BASE_MOD_STORE, l, sizeof *l);
    }
    return err;
}

CELLAR_API cellar_err cellar_refresh_keys_add(cellar_refresh_keys *keys, const void *key,
                                              size_t key_len)
{
    if (keys == NULL || key == NULL || key_len == 0 || key_len > CELLAR_KEY_MAX) {
        return CELLAR_E_INVAL;
    }
    return refresher_keys_put(keys, key, key_len);
}

/* ---- rows ---- */

static refresher_row *refresher_find(const cellar_refresher *r, const cellar *c, const void *key,
                                     size_t len) SYNC_HOLDS(WHEEL)
{
    refresher_row *row = r->all;
    for (bool first = true; row != NULL && (first || row != r->all); row = row->next) {
        first = false;
        if (row->present && row->c == c && row->key_len == len &&
            memcmp(row->key, key, len) == 0) {
            return row;
        }
    }
    return NULL;
}

/* Hash the key for the phase: the same value in every process. */
static uint64_t refresher_hash(const char *key, size_t len)
{
    uint64_t h = len;
    for (size_t i = 0; i < len; i++) { h = base_mix64(h ^ (unsigned char)key[i]); }
    return base_mix64(h);
}

/* Read "HH:MM@zone" of `len` bytes. */
static cellar_err refresher_at_in(cellar_refresher *r, const char *at, size_t len,
                                  refresher_row *row)
{
    char zone[CRON_ZONE_MAX + 1] = "";
    const bool form = len >= 6 && len <= REFRESHER_AT_MAX && at[2] == ':' && at[5] == '@';
    for (unsigned i = 0; form && i < 5; i++) {
        if (i != 2 && (at[i] < '0' || at[i] > '9')) { return CELLAR_E_INVAL; }
    }
    if (!form) { return CELLAR_E_INVAL; }
    const unsigned hour = (unsigned)(at[0] - '0') * 10 + (unsigned)(at[1] - '0');
    const unsigned minute = (unsigned)(at[3] - '0') * 10 + (unsigned)(at[4] - '0');
    if (hour > 23 || minute > 59) { return CELLAR_E_INVAL; }
    row->at_minutes = hour * 60 + minute;
    memcpy(zone, at + 6, len - 6);
    return cron_zone_open(&r->obj.account.hooks, zone, &row->zone);
}

typedef struct refresher_spec { /* a row to be made */
    cellar *c;
    cellar_bytes prefix, key; /* prefix: put before the key */
    cellar_bytes loader, at;
    int64_t interval_ms;
    uint32_t flags;           /* CELLAR_REFRESH_PATTERN, _POLICY */
    cellar_refresh_opts o;
} refresher_spec;

static cellar_refresh_priority refresher_priority(const refresher_spec *s)
{
    return s->o.priority != 0 ? s->o.priority : CELLAR_REFRESH_MID;
}

static uint64_t refresher_at_hash(const refresher_spec *s)
{
    return s->at.len != 0 ? refresher_hash(s->at.data, s->at.len) : 0;
}

/* Make a row that is in no list yet. */
static cellar_err refresher_row_make(cellar_refresher *r, const refresher_spec *s,
                                     refresher_row **out)
{
    const size_t len = s->prefix.len + s->key.len;
    refresher_row *row = base_alloc(&r->obj.account, BASE_MOD_STORE, sizeof *row + len + 1, NULL);
    if (row == NULL) { return CELLAR_E_NOMEM; }
    *row = (refresher_row){ .of = r, .c = s->c, .key_len = (uint32_t)len };
    if (s->prefix.len != 0) { memcpy(row->key, s->prefix.data, s->prefix.len); }
    memcpy(row->key + s->prefix.len, s->key.data, s->key.len);
    row->key[len] = '\0';
    memcpy(row->loader_name, s->loader.data, s->loader.len);
    row->interval_ms = s->interval_ms;
    row->ttl_ms = s->o.ttl_ms;
    row->negative_ttl_ms = s->o.negative_ttl_ms;
    row->stale_ms = s->o.stale_ms;
    row->priority = refresher_priority(s);
    row->at_hash = refresher_at_hash(s);
    row->stop_idle = s->o.stop_idle;
    row->flags = s->flags;
    if (row->ttl_ms != 0 && row->ttl_ms / 2 < row->interval_ms) {
        row->flags |= CELLAR_REFRESH_SHORT_TTL;
    }
    row->keys.account = &r->obj.account;
    cellar_err err = CELLAR_OK;
    if ((s->flags & CELLAR_REFRESH_PATTERN) == 0) {
        err = refresher_keys_put(&row->keys, row->key, len);
    }
    if (err == CELLAR_OK && s->at.len != 0) {
        err = refresher_at_in(r, s->at.data, s->at.len, row);
    }
    if (err != CELLAR_OK) {
        refresher_row_free(row);
        return err;
    }
    *out = row;
    return CELLAR_OK;
}

/* Put a row into the ring and arm it. */
static cellar_err refresher_insert(refresher_row *row, work_time now) SYNC_HOLDS(WHEEL)
{
    cellar_refresher *r = row->of;
    if (refresher_find(r, row->c, row->key, row->key_len) != NULL) { return CELLAR_EXISTS; }
    if (r->count[STATS_REFRESHER_ROWS] >= r->max_rows) {
        r->count[STATS_REFRESHER_REJECTED_LIMIT]++;
        return CELLAR_E_LIMIT;
    }
    const uint64_t hash = refresher_hash(row->key, row->key_len);
    row->start_ms = now.mono_ms + (int64_t)(hash % (uint64_t)row->interval_ms);
    row->id = ++r->last_id;
    row->refs = 1;
    row->present = true;
    refresher_row *first = r->all != NULL ? r->all : row;
    row->next = first;
    row->prev = r->all != NULL ? first->prev : row;
    row->prev->next = row;
    first->prev = row;
    r->all = first;
    row->loader = refresher_find_loader(r, row->loader_name);
    r->count[STATS_REFRESHER_ROWS]++;
    r->count[STATS_REFRESHER_KEYS] += row->keys.count;
    r->count[STATS_REFRESHER_SHORT_TTLS] += (row->flags & CELLAR_REFRESH_SHORT_TTL) != 0;
    const bool pattern = (row->flags & CELLAR_REFRESH_PATTERN) != 0;
    refresher_set_uncovered(row, row->loader == NULL || (pattern && row->loader->lister == NULL));
    refresher_begin(row, now);
    return CELLAR_OK;
}

static cellar_err refresher_add_row(cellar_refresher *r, const refresher_spec *s)
{
    refresher_row *row;
    cellar_err err = refresher_row_make(r, s, &row);
    if (err != CELLAR_OK) { return err; }
    const bool brief = (row->flags & CELLAR_REFRESH_SHORT_TTL) != 0;
    const work_time now = work_now(&r->obj);
    refresher_after a;
    refresher_after_init(&a);
    sync_take(WHEEL, &r->lock);
    err = refresher_insert(row, now);
    sync_drop(WHEEL, &r->lock);
    if (err != CELLAR_OK) {
        refresher_row_free(row);
        return err;
    }
    if (brief) {
        base_log(&r->obj.log, BASE_LOG_WARNING, "refresh", 0,
                 "the TTL of a row is below twice its interval: one failure loses a value");
    }
    a.ring = true;
    refresher_settle(r, &a);
    return CELLAR_OK;
}

/* Copy and check what the caller of an add gives. */
static cellar_err refresher_spec_in(const cellar_refresher *r, const char *loader,
                                    const cellar_refresh_opts *o, refresher_spec *s)
{
    cellar_err err = refresher_check(r);
    if (err != CELLAR_OK) { return err; }
    s->o = cellar_refresh_opts_default();
    if (o != NULL) { err = base_opts_in(&s->o, sizeof s->o, o); }
    if (err != CELLAR_OK) { return err; }
    const cellar_refresh_opts *f = &s->o;
    if (s->c == NULL || s->key.data == NULL || s->key.len == 0 || !refresher_name_ok(loader) ||
        s->interval_ms < 1 || s->interval_ms > REFRESHER_INTERVAL_MAX_MS || f->ttl_ms < 0 ||
        f->negative_ttl_ms < 0 || f->stale_ms < 0 || f->stale_ms > (int64_t)UINT32_MAX ||
        (unsigned)f->priority > CELLAR_REFRESH_HIGH || f->stop_idle > REFRESHER_IDLE_MAX ||
        (f->at != NULL && f->ttl_ms == 0) || f->pattern > 1 || f->reserved0 != 0 ||
        s->key.len > (f->pattern != 0 ? CELLAR_PATTERN_MAX : CELLAR_KEY_MAX) ||
        (f->pattern != 0 && memchr(s->key.data, '\0', s->key.len) != NULL)) {
        return CELLAR_E_INVAL;
    }
    s->flags = f->pattern != 0 ? CELLAR_REFRESH_PATTERN : 0;
    s->loader = (cellar_bytes){ loader, strlen(loader) };
    if (f->at != NULL) {
        s->at = (cellar_bytes){ f->at, strnlen(f->at, REFRESHER_AT_MAX + 1) };
        if (s->at.len == 0) { return CELLAR_E_INVAL; }
    }
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_refresh_add(cellar_refresher *r, cellar *c, const void *key,
                                         size_t key_len, const char *loader, int64_t interval_ms,
                                         const cellar_refresh_opts *o)
{
    refresher_spec s = { .c = c, .key = { key, key_len }, .interval_ms = interval_ms };
    const cellar_err err = refresher_spec_in(r, loader, o, &s);
    return err == CELLAR_OK ? refresher_add_row(r, &s) : err;
}

/* ---- remove ---- */

/* Wait until no ticket has a removed row, and give the caller's reference back. */
static cellar_err refresher_wait_row(refresher_row *row)
{
    cellar_refresher *r = row->of;
    const uint64_t until_ns = base_now_ns() + (uint64_t)r->close_ms * 1000000u;
    cellar_err err = CELLAR_PENDING;
    while (err == CELLAR_PENDING) {
        refresher_after a;
        refresher_after_init(&a);
        sync_take(WHEEL, &r->lock);
        const uint32_t ended = base_load_acq(&r->ended);
        if (row->state != REFRESHER_RUNNING || refresher_in_step(r, row)) {
            err = CELLAR_OK;
        } else if (base_now_ns() >= until_ns) {
            err = CELLAR_E_BUSY;
        }
        if (err != CELLAR_PENDING) { refresher_unref(row, &a); }
        sync_drop(WHEEL, &r->lock);
        refresher_settle(r, &a);
        if (err == CELLAR_PENDING) { (void)sync_wait(&r->ended, ended, until_ns); }
    }
    return err;
}

CELLAR_API cellar_err cellar_refresh_remove(cellar_refresher *r, cellar *c, const void *key,
                                            size_t key_len)
{
    const cellar_err err = refresher_check(r);
    if (err != CELLAR_OK) { return err; }
    if (c == NULL || key == NULL) { return CELLAR_E_INVAL; }
    refresher_after a;
    refresher_after_init(&a);
    sync_take(WHEEL, &r->lock);
    refresher_row *row = refresher_find(r, c, key, key_len);
    if (row != NULL) {
        row->refs++;
        refresher_detach(row, &a);
    }
    sync_drop(WHEEL, &r->lock);
    return row != NULL ? refresher_wait_row(row) : CELLAR_E_NOT_FOUND;
}

/* ---- policies ---- */

typedef struct refresher_policies { /* one call of cellar_refresh_add_policies */
    cellar_refresher *r;
    cellar *c;
    size_t count;
    cellar_err err;
    bool makes; /* second pass over the rules: the rows that remain stay, the others are made */
} refresher_policies;

/* Return whether a row is what the rule of its key makes. */
static bool refresher_row_is(const refresher_row *row, const refresher_spec *s)
{
    const uint32_t of_spec = CELLAR_REFRESH_PATTERN | CELLAR_REFRESH_POLICY;
    return row->interval_ms == s->interval_ms && row->ttl_ms == s->o.ttl_ms &&
           row->priority == refresher_priority(s) && (row->flags & of_spec) == s->flags &&
           row->at_hash == refresher_at_hash(s) &&
           strlen(row->loader_name) == s->loader.len &&
           memcmp(row->loader_name, s->loader.data, s->loader.len) == 0;
}

/* Decide about the row that an earlier call made for the key of a rule. The first rule decides. */
static void refresher_decide(refresher_policies *p, const refresher_spec *s)
{
    cellar_refresher *r = p->r;
    sync_take(WHEEL, &r->lock);
    refresher_row *row = r->all;
    for (bool first = true; row != NULL && (first || row != r->all); row = row->next) {
        first = false;
        if (row->present && row->c == p->c && row->fate == REFRESHER_DOUBTED &&
            row->key_len == s->prefix.len + s->key.len &&
            (s->prefix.len == 0 || memcmp(row->key, s->prefix.data, s->prefix.len) == 0) &&
            memcmp(row->key + s->prefix.len, s->key.data, s->key.len) == 0) {
            const bool kept = refresher_row_is(row, s);
            row->fate = kept ? REFRESHER_KEPT : REFRESHER_DOOMED;
            p->count += kept;
        }
    }
    sync_drop(WHEEL, &r->lock);
}

static cellar_bytes refresher_bytes(const char *text)
{
    return text != NULL ? (cellar_bytes){ text, strlen(text) } : (cellar_bytes){ "", 0 };
}

static bool refresher_add_rule(const cellar_policy_rule *rule, void *ctx)
{
    refresher_policies *p = ctx;
    char prefix[CELLAR_PATTERN_MAX + 1];
    if (rule->refresh_ms == 0 || rule->kind > CELLAR_POLICY_GLOB) { return true; }
    refresher_spec s = { .c = p->c, .key = refresher_bytes(rule->pattern),
                         .loader = refresher_bytes(rule->loader), .at = refresher_bytes(rule->at),
                         .interval_ms = BASE_MIN(rule->refresh_ms, REFRESHER_INTERVAL_MAX_MS),
                         .flags = CELLAR_REFRESH_POLICY, .o = cellar_refresh_opts_default() };
    s.o.ttl_ms = rule->ttl_ms != CELLAR_TTL_NONE ? rule->ttl_ms : 0;
    s.o.priority = (cellar_refresh_priority)rule->priority;
    if (rule->kind != CELLAR_POLICY_KEY || strchr(rule->pattern, '{') != NULL) {
        s.flags |= CELLAR_REFRESH_PATTERN;
    } else if (rule->prefix != NULL) {
        size_t len = strlen(rule->prefix);
        memcpy(prefix, rule->prefix, len);
        if (prefix[len - 1] != rule->separator[0]) { prefix[len++] = rule->separator[0]; }
        s.prefix = (cellar_bytes){ prefix, len };
    }
    if (!p->makes) {
        refresher_decide(p, &s);
        return true;
    }
    const cellar_err err = refresher_add_row(p->r, &s);
    p->count += err == CELLAR_OK;
    if (err != CELLAR_EXISTS) { p->err = err; }
    return p->err == CELLAR_OK;
}

/* Doubt all rows that came from the policies of `c`. */
static void refresher_doubt(cellar_refresher *r, const cellar *c)
{
    sync_take(WHEEL, &r->lock);
    refresher_row *row = r->all;
    for (bool first = true; row != NULL && (first || row != r->all); row = row->next) {
        first = false;
        if (row->c == c && (row->flags & CELLAR_REFRESH_POLICY) != 0) {
            row->fate = REFRESHER_DOUBTED;
        }
    }
    sync_drop(WHEEL, &r->lock);
}

/* Remove one row of `c` that no rule makes as it is, as cellar_refresh_remove does. E_NOT_FOUND:
 * there is none. */
static cellar_err refresher_drop_rule(cellar_refresher *r, const cellar *c)
{
    refresher_after a;
    refresher_after_init(&a);
    sync_take(WHEEL, &r->lock);
    refresher_row *row = r->all, *found = NULL;
    for (bool first = true; row != NULL && (first || row != r->all); row = row->next) {
        first = false;
        if (row->present && row->c == c && row->fate != REFRESHER_KEPT) {
            found = row;
            break;
        }
    }
    if (found != NULL) {
        found->refs++;
        refresher_detach(found, &a);
    }
    sync_drop(WHEEL, &r->lock);
    return found != NULL ? refresher_wait_row(found) : CELLAR_E_NOT_FOUND;
}

CELLAR_API cellar_err cellar_refresh_add_policies(cellar_refresher *r, cellar *c, size_t *count)
{
    if (count != NULL) { *count = 0; }
    cellar_err err = refresher_check(r);
    if (err != CELLAR_OK) { return err; }
    if (c == NULL) { return CELLAR_E_INVAL; }
    refresher_policies p = { .r = r, .c = c };
    refresher_doubt(r, c);
    err = cellar_policy_list(c, refresher_add_rule, &p);
    if (err != CELLAR_OK) { return err; }
    do { err = refresher_drop_rule(r, c); } while (err == CELLAR_OK);
    if (err != CELLAR_E_NOT_FOUND) { return err; }
    p.makes = true;
    err = cellar_policy_list(c, refresher_add_rule, &p);
    if (count != NULL) { *count = p.count; }
    return err != CELLAR_OK ? err : p.err;
}

/* ---- list ---- */

static int64_t refresher_age(int64_t ms, int64_t now_ms)
{
    return ms >= 0 ? BASE_MAX(now_ms - ms, 0) : -1;
}

static void refresher_describe(const refresher_row *row, int64_t now_ms, cellar_refresh_info *out)
    SYNC_HOLDS(WHEEL)
{
    const bool runs = row->state != REFRESHER_IDLE;
    *out = cellar_refresh_info_default();
    out->c = row->c;
    out->key = row->key;
    out->key_len = row->key_len;
    out->loader = row->loader_name;
    out->interval_ms = row->interval_ms;
    out->ttl_ms = row->ttl_ms;
    out->next_ms = runs ? 0 : BASE_MAX(row->timer.due_ms - now_ms, 0);
    out->ok_age_ms = refresher_age(row->ok_ms, now_ms);
    out->failed_age_ms = refresher_age(row->failed_ms, now_ms);
    out->ok = row->ok;
    out->failed = row->failed;
    out->skipped = row->skipped;
    out->keys = row->keys.count;
    out->keys_left = row->left;
    out->last_err = row->last_err;
    out->priority = row->priority;
    out->flags = row->flags | (row->uncovered ? CELLAR_REFRESH_UNCOVERED : 0u) |
                 (runs ? CELLAR_REFRESH_RUNNING : 0u) |
                 (row->stop_idle != 0 && row->idle >= row->stop_idle ? CELLAR_REFRESH_SLEEPS : 0u);
}

/* Take a reference to the first present row with an id above `id`; NULL: there is none. */
static refresher_row *refresher_after_id(cellar_refresher *r, uint64_t id, int64_t now_ms,
                                         cellar_refresh_info *out) SYNC_HOLDS(WHEEL)
{
    refresher_row *row = r->all;
    for (bool first = true; row != NULL && (first || row != r->all); row = row->next) {
        first = false;
        if (!row->present || row->id <= id) { continue; }
        row->refs++;
        refresher_describe(row, now_ms, out);
        return row;
    }
    return NULL;
}

CELLAR_API cellar_err cellar_refresh_list(cellar_refresher *r, cellar_refresh_list_fn fn, void *ctx)
{
    const cellar_err err = refresher_check(r);
    if (err != CELLAR_OK) { return err; }
    if (fn == NULL) { return CELLAR_E_INVAL; }
    const int64_t now_ms = work_now(&r->obj).mono_ms;
    uint64_t id = 0;
    for (bool more = true; more;) {
        cellar_refresh_info info;
        refresher_after a;
        refresher_after_init(&a);
        sync_take(WHEEL, &r->lock);
        refresher_row *row = refresher_after_id(r, id, now_ms, &info);
        sync_drop(WHEEL, &r->lock);
        if (row == NULL) { break; }
        id = row->id;
        more = fn(&info, ctx);
        sync_take(WHEEL, &r->lock);
        refresher_unref(row, &a);
        sync_drop(WHEEL, &r->lock);
        refresher_settle(r, &a);
    }
    return CELLAR_OK;
}

/* ---- figures ---- */

CELLAR_PRIVATE const char *refresher_figures(void *object, uint64_t *v)
{
    cellar_refresher *r = object;
    sync_take(WHEEL, &r->lock);
    memcpy(v, r->count, sizeof r->count);
    sync_drop(WHEEL, &r->lock);
    const uint64_t ok = v[STATS_REFRESHER_OK], all = ok + v[STATS_REFRESHER_FAILED];
    v[STATS_REFRESHER_SKIPPED] = 0;
    for (unsigned i = STATS_REFRESHER_SKIPPED_BREAKER; i <= STATS_REFRESHER_SKIPPED_UNCOVERED;
         i++) {
        v[STATS_REFRESHER_SKIPPED] += v[i];
    }
    v[STATS_REFRESHER_SUCCESS_PPM] = all != 0 ? (uint64_t)(1e6 * (double)ok / (double)all)
                                              : 1000000;
    v[STATS_REFRESHER_BYTES] = base_object_bytes(&r->obj);
    return r->obj.name;
}

CELLAR_API cellar_err cellar_refresher_stats_get(cellar_refresher *r, cellar_refresher_stats *out)
{
    return stats_get(r, out);
}

#ifndef CELLAR_OMIT_TEXT
CELLAR_PRIVATE void refresher_figures_more(stats_out *o, const stats_owner *owner, void *object,
                                           const uint64_t *value)
{
    cellar_refresher *r = object;
    (void)value;
    sync_take(WHEEL, &r->lock);
    const stats_waits late = r->late;
    sync_drop(WHEEL, &r->lock);
    stats_tell_waits(o, "cellar_refresh_late_seconds",
                     "From the due time of a row to the begin of its run.", owner, &late);
}
#endif

BASE_SIZE_END
