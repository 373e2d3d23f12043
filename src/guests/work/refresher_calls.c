/* SPDX-License-Identifier: MIT
 *
 * refresher_calls: loaders, rows, policies and figures of the rows that refresh keys.
 *
 * WALK       A call checks its arguments and makes the row without the lock; then one short lock
 *            puts it into ring, table and wheel. A removed row is freed after the lock, when no
 *            worker has it.
 * LIMITS     max_rows rows, REFRESHER_LOADERS_MAX names of loaders.
 * LOCKING    refresher.h. */
#include "base/hash.h"
#include "base/opts.h"
#include "work/cron.h"
#include "work/refresher.h"

BASE_SIZE_BEGIN

#define REFRESHER_INTERVAL_MAX_MS (INT64_C(366) * 86400000)
#define REFRESHER_IDLE_MAX 1000000u
#define REFRESHER_AT_MAX (6 + CRON_ZONE_MAX) /* "00:00@" and a zone */
#define REFRESHER_LOADERS_MAX 4096u
#define REFRESHER_BLOCK_MIN 256u
#define REFRESHER_LEVEL 4u /* priorities of tasks between those of rows */

/* ---- loaders ---- */

static bool refresher_is_named(const refresher_loader *l, cellar_bytes name)
{
    return strlen(l->name) == name.len && memcmp(l->name, name.data, name.len) == 0;
}

static refresher_loader *refresher_find_loader(const refresher *r, cellar_bytes name)
    SYNC_HOLDS(QUEUE)
{
    refresher_loader *l = r->loaders;
    while (l != NULL && !refresher_is_named(l, name)) { l = l->next; }
    return l;
}

/* Find the loader of a name, or make one without a function. */
static cellar_err refresher_name_loader(cellar_pool *p, cellar_bytes name, refresher_loader **out)
{
    refresher *r = p->refresh;
    refresher_loader *fresh = NULL;
    const cellar_err err = task_threads_start(p);
    if (err != CELLAR_OK) { return err; }
    for (;;) {
        sync_take(QUEUE, &p->lock);
        *out = refresher_find_loader(r, name);
        const bool full = *out == NULL && r->loader_count == REFRESHER_LOADERS_MAX;
        if (*out == NULL && fresh != NULL && !full) {
            fresh->next = r->loaders;
            r->loaders = *out = fresh;
            r->loader_count++;
            fresh = NULL;
        }
        r->count[STATS_REFRESHER_REJECTED_LIMIT] += full;
        sync_drop(QUEUE, &p->lock);
        if (*out != NULL || full) { break; }
        fresh = base_alloc(&p->obj.account, REFRESHER_MOD, sizeof *fresh, NULL);
        if (fresh == NULL) { return CELLAR_E_NOMEM; }
        memcpy(fresh->name, name.data, name.len);
    }
    base_free(&p->obj.account, REFRESHER_MOD, fresh, sizeof *fresh);
    return *out != NULL ? CELLAR_OK : CELLAR_E_LIMIT;
}

/* Give a loader its function. Its rows are covered as far as is known. */
static cellar_err refresher_fill_loader(refresher *r, refresher_loader *l,
                                        const refresher_loader *with) SYNC_HOLDS(QUEUE)
{
    if (l->fn != NULL) { return CELLAR_EXISTS; }
    l->ctx = with->ctx;
    l->lister = with->lister;
    l->lister_ctx = with->lister_ctx;
    l->breaker = with->breaker;
    l->own_breaker = with->own_breaker;
    l->limiter = with->limiter;
    l->fn = with->fn;
    for (refresher_row *row = r->rows; row != NULL; row = row->hh.next) {
        const bool pattern = (row->flags & CELLAR_REFRESH_PATTERN) != 0;
        if (row->loader == l && (!pattern || l->lister != NULL)) {
            refresher_set_uncovered(r, row, false);
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

CELLAR_API cellar_err cellar_refresh_loader(cellar_pool *p, cellar *c, const char *name,
                                            cellar_loader_fn fn, void *ctx,
                                            const cellar_refresh_loader_opts *o)
{
    cellar_refresh_loader_opts full = cellar_refresh_loader_opts_default();
    cellar_err err = task_check(p);
    if (err != CELLAR_OK) { return err; }
    if (o != NULL) { err = base_opts_in(&full, sizeof full, o); }
    if (err != CELLAR_OK) { return err; }
    if (c == NULL || !task_is_name(name) || fn == NULL) { return CELLAR_E_INVAL; }
#ifdef CELLAR_OMIT_LIMIT
    if (full.limiter != NULL) { return CELLAR_E_UNSUPPORTED; }
#endif
    refresher_loader *l;
    err = refresher_name_loader(p, (cellar_bytes){ name, strlen(name) }, &l);
    if (err != CELLAR_OK) { return err; }
    refresher_loader with = { .fn = fn, .ctx = ctx, .lister = full.lister,
                              .lister_ctx = full.lister_ctx, .breaker = full.breaker,
                              .limiter = full.limiter, .own_breaker = full.breaker == NULL };
    if (with.own_breaker) { err = cellar_breaker_create(c, &refresher_breaker, &with.breaker); }
    if (err != CELLAR_OK) { return err; }
    sync_take(QUEUE, &p->lock);
    err = refresher_fill_loader(p->refresh, l, &with);
    sync_drop(QUEUE, &p->lock);
    if (err != CELLAR_OK && with.own_breaker) { cellar_breaker_destroy(with.breaker); }
    return err;
}

CELLAR_API cellar_err cellar_refresh_keys_add(cellar_refresh_keys *keys, const void *key,
                                              size_t key_len)
{
    if (keys == NULL || key == NULL || key_len == 0 || key_len > CELLAR_KEY_MAX) {
        return CELLAR_E_INVAL;
    }
    return refresher_keys_put(keys, key, key_len, REFRESHER_BLOCK_MIN);
}

/* ---- rows ---- */

/* Hash a row for the table. */
static unsigned refresher_hash_of(const cellar_pool *p, const cellar *c, const void *key,
                                  size_t len)
{
    return task_hash(p, key, len) ^ (unsigned)base_mix64((uintptr_t)c);
}

static refresher_row *refresher_find(const cellar_pool *p, const cellar *c, const void *key,
                                     size_t len) SYNC_HOLDS(QUEUE)
{
    refresher_row *row = BASE_TABLE_FIND(hh, p->refresh->rows, key, len,
                                         refresher_hash_of(p, c, key, len));
    while (row != NULL && (row->c != c || row->key_len != len || memcmp(row->key, key, len) != 0)) {
        UT_hash_handle *next = row->hh.hh_next; /* of another namespace, with the same hash */
        row = next != NULL
                  ? (refresher_row *)(void *)((char *)next - offsetof(refresher_row, hh)) : NULL;
    }
    return row;
}

/* Read "HH:MM@zone" of `len` bytes. */
static cellar_err refresher_at_in(const base_alloc_hooks *hooks, const char *at, size_t len,
                                  refresher_row *row)
{
    char zone[CRON_ZONE_MAX + 1] = "";
    const int minutes = base_tz_minutes(at, len);
    if (minutes < 0 || len > REFRESHER_AT_MAX) { return CELLAR_E_INVAL; }
    row->at_minutes = (uint32_t)minutes;
    memcpy(zone, at + 6, len - 6);
    return base_tz_open(hooks, zone, &row->zone);
}

typedef struct refresher_spec { /* a row to be made */
    cellar *c;
    cellar_bytes prefix, key; /* prefix: put before the key */
    cellar_bytes loader, at;
    int64_t interval_ms;
    uint32_t flags;           /* CELLAR_REFRESH_PATTERN, _POLICY */
    cellar_refresh_opts o;
} refresher_spec;

static uint32_t refresher_level(const refresher_spec *s)
{
    const cellar_refresh_priority at = s->o.priority != 0 ? s->o.priority : CELLAR_REFRESH_MID;
    return ((uint32_t)at - 1) * REFRESHER_LEVEL + 1;
}

static uint64_t refresher_at_hash(const refresher_spec *s)
{
    return s->at.len != 0 ? cron_hash(s->at.data, s->at.len) : 0;
}

/* Make a row that is in no list yet. */
static cellar_err refresher_row_make(cellar_pool *p, const refresher_spec *s, refresher_row **out)
{
    const size_t len = s->prefix.len + s->key.len;
    refresher_loader *loader;
    cellar_err err = refresher_name_loader(p, s->loader, &loader);
    if (err != CELLAR_OK) { return err; }
    refresher_row *row = base_alloc(&p->obj.account, REFRESHER_MOD, sizeof *row + len + 1, NULL);
    if (row == NULL) { return CELLAR_E_NOMEM; }
    row->recur.task.body = &p->refresh->none.body;
    row->recur.task.name = p->refresh->name.number;
    row->recur.task.flags = TASK_RECURS;
    row->recur.task.priority = (uint8_t)refresher_level(s);
    row->recur.task.max_attempts = UINT8_MAX;
    row->c = s->c;
    row->loader = loader;
    row->key_len = (uint32_t)len;
    if (s->prefix.len != 0) { memcpy(row->key, s->prefix.data, s->prefix.len); }
    memcpy(row->key + s->prefix.len, s->key.data, s->key.len);
    row->interval_ms = s->interval_ms;
    row->ttl_ms = s->o.ttl_ms;
    row->negative_ttl_ms = s->o.negative_ttl_ms;
    row->stale_ms = s->o.stale_ms;
    row->at_hash = refresher_at_hash(s);
    row->stop_idle = s->o.stop_idle;
    row->flags = s->flags;
    if (row->ttl_ms != 0 && row->ttl_ms / 2 < row->interval_ms) {
        row->flags |= CELLAR_REFRESH_SHORT_TTL;
    }
    row->keys.account = &p->obj.account;
    if ((s->flags & CELLAR_REFRESH_PATTERN) == 0) {
        err = refresher_keys_put(&row->keys, row->key, len, 0);
    }
    if (err == CELLAR_OK && s->at.len != 0) {
        err = refresher_at_in(&p->obj.account.hooks, s->at.data, s->at.len, row);
    }
    if (err != CELLAR_OK) {
        refresher_row_free(p, row);
        return err;
    }
    *out = row;
    return CELLAR_OK;
}

/* Put a row into table and ring, and arm it. */
static cellar_err refresher_insert(cellar_pool *p, refresher_row *row, work_time now,
                                   task_after *a) SYNC_HOLDS(QUEUE)
{
    BASE_TABLE_CHARGE(&p->obj.account, REFRESHER_MOD);
    refresher *r = p->refresh;
    if (refresher_find(p, row->c, row->key, row->key_len) != NULL) { return CELLAR_EXISTS; }
    if (r->count[STATS_REFRESHER_ROWS] >= p->cfg.max_rows) {
        r->count[STATS_REFRESHER_REJECTED_LIMIT]++;
        return CELLAR_E_LIMIT;
    }
    BASE_TABLE_ADD(hh, r->rows, row->key, row->key_len,
                   refresher_hash_of(p, row->c, row->key, row->key_len), row);
    if (row->hh.tbl == NULL) { return CELLAR_E_NOMEM; }
    const uint64_t hash = cron_hash(row->key, row->key_len);
    row->due_ms = now.mono_ms + (int64_t)(hash % (uint64_t)row->interval_ms);
    task_recur_enter(&r->list, &row->recur);
    r->count[STATS_REFRESHER_ROWS]++;
    r->count[STATS_REFRESHER_KEYS] += row->keys.count;
    r->count[STATS_REFRESHER_SHORT_TTLS] += (row->flags & CELLAR_REFRESH_SHORT_TTL) != 0;
    const bool pattern = (row->flags & CELLAR_REFRESH_PATTERN) != 0;
    refresher_set_uncovered(r, row, row->loader->fn == NULL ||
                                        (pattern && row->loader->lister == NULL));
    refresher_begin(p, row, now, a);
    return CELLAR_OK;
}

static cellar_err refresher_add_row(cellar_pool *p, const refresher_spec *s)
{
    refresher_row *row;
    cellar_err err = refresher_row_make(p, s, &row);
    if (err != CELLAR_OK) { return err; }
    const bool brief = (row->flags & CELLAR_REFRESH_SHORT_TTL) != 0;
    const work_time now = work_now(&p->obj);
    task_after a = task_lock(p);
    err = refresher_insert(p, row, now, &a);
    task_unlock(p, &a);
    if (err != CELLAR_OK) {
        refresher_row_free(p, row);
    } else if (brief) {
        base_log(&p->obj.log, BASE_LOG_WARNING, "refresh", 0,
                 "the TTL of a row is below twice its interval: one failure loses a value");
    }
    return err;
}

/* Copy and check what the caller of an add gives. */
static cellar_err refresher_spec_in(const cellar_pool *p, const char *loader,
                                    const cellar_refresh_opts *o, refresher_spec *s)
{
    cellar_err err = task_check(p);
    if (err != CELLAR_OK) { return err; }
    s->o = cellar_refresh_opts_default();
    if (o != NULL) { err = base_opts_in(&s->o, sizeof s->o, o); }
    if (err != CELLAR_OK) { return err; }
    const cellar_refresh_opts *f = &s->o;
    if (s->c == NULL || s->key.data == NULL || s->key.len == 0 || !task_is_name(loader) ||
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

CELLAR_API cellar_err cellar_refresh_add(cellar_pool *p, cellar *c, const void *key,
                                         size_t key_len, const char *loader, int64_t interval_ms,
                                         const cellar_refresh_opts *o)
{
    refresher_spec s = { .c = c, .key = { key, key_len }, .interval_ms = interval_ms };
    const cellar_err err = refresher_spec_in(p, loader, o, &s);
    return err == CELLAR_OK ? refresher_add_row(p, &s) : err;
}

/* ---- remove ---- */

/* Wait until no worker has a removed row, and give the reference of the caller back. */
static cellar_err refresher_wait_row(cellar_pool *p, refresher_row *row, task_after *a)
    SYNC_HOLDS(QUEUE)
{
    const uint64_t until_ns = base_until_ns(p->cfg.close_timeout_ms);
    task_run *mine = task_run_mine(p);
    cellar_err err = CELLAR_OK;
    while (row->recur.task.state == CELLAR_TASK_RUNNING && err == CELLAR_OK) {
        if (task_run_of(p, &row->recur.task)->tid == base_thread_id()) { break; }
        if (base_now_ns() < until_ns) {
            task_sleep(p, mine, until_ns);
        } else {
            err = CELLAR_E_BUSY;
        }
    }
    task_recur_unref(&row->recur, a);
    return err;
}

CELLAR_API cellar_err cellar_refresh_remove(cellar_pool *p, cellar *c, const void *key,
                                            size_t key_len)
{
    cellar_err err = task_check(p);
    if (err != CELLAR_OK) { return err; }
    if (c == NULL || key == NULL) { return CELLAR_E_INVAL; }
    task_after a = task_lock(p);
    refresher_row *row = refresher_find(p, c, key, key_len);
    if (row != NULL) {
        row->recur.refs++;
        refresher_detach(p, row, &a);
        err = refresher_wait_row(p, row, &a);
    }
    task_unlock(p, &a);
    return row != NULL ? err : CELLAR_E_NOT_FOUND;
}

/* ---- policies ---- */

typedef struct refresher_policies { /* one call of cellar_refresh_add_policies */
    cellar_pool *p;
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
           row->recur.task.priority == refresher_level(s) && (row->flags & of_spec) == s->flags &&
           row->at_hash == refresher_at_hash(s) &&
           refresher_is_named(row->loader, s->loader);
}

/* Decide about the row that an earlier call made for the key of a rule. The first rule decides. */
static void refresher_decide(refresher_policies *to, const refresher_spec *s)
{
    cellar_pool *p = to->p;
    char key[2 * CELLAR_PATTERN_MAX + 2];
    if (s->prefix.len != 0) { memcpy(key, s->prefix.data, s->prefix.len); }
    memcpy(key + s->prefix.len, s->key.data, s->key.len);
    sync_take(QUEUE, &p->lock);
    refresher_row *row = refresher_find(p, to->c, key, s->prefix.len + s->key.len);
    if (row != NULL && row->fate == REFRESHER_DOUBTED) {
        const bool kept = refresher_row_is(row, s);
        row->fate = kept ? REFRESHER_KEPT : REFRESHER_DOOMED;
        to->count += kept;
    }
    sync_drop(QUEUE, &p->lock);
}

static cellar_bytes refresher_text(const char *text)
{
    return text != NULL ? (cellar_bytes){ text, strlen(text) } : (cellar_bytes){ "", 0 };
}

static bool refresher_add_rule(const cellar_policy_rule *rule, void *ctx)
{
    refresher_policies *p = ctx;
    char prefix[CELLAR_PATTERN_MAX + 1];
    if (rule->refresh_ms == 0 || rule->kind > CELLAR_POLICY_GLOB) { return true; }
    refresher_spec s = { .c = p->c, .key = refresher_text(rule->pattern),
                         .loader = refresher_text(rule->loader), .at = refresher_text(rule->at),
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
    const cellar_err err = refresher_add_row(p->p, &s);
    p->count += err == CELLAR_OK;
    if (err != CELLAR_EXISTS) { p->err = err; }
    return p->err == CELLAR_OK;
}

/* Doubt all rows that came from the policies of `c`; or remove those that are no longer kept. */
static void refresher_rows_of(cellar_pool *p, const cellar *c, bool removes)
{
    task_after a = task_lock(p);
    for (refresher_row *row = p->refresh->rows, *next; row != NULL; row = next) {
        next = row->hh.next;
        if (row->c != c || (row->flags & CELLAR_REFRESH_POLICY) == 0) { continue; }
        if (!removes) {
            row->fate = REFRESHER_DOUBTED;
        } else if (row->fate != REFRESHER_KEPT) {
            refresher_detach(p, row, &a);
        }
    }
    task_unlock(p, &a);
}

CELLAR_API cellar_err cellar_refresh_add_policies(cellar_pool *p, cellar *c, size_t *count)
{
    if (count != NULL) { *count = 0; }
    cellar_err err = task_check(p);
    if (err != CELLAR_OK) { return err; }
    if (c == NULL) { return CELLAR_E_INVAL; }
    refresher_policies to = { .p = p, .c = c };
    refresher_rows_of(p, c, false);
    err = cellar_policy_list(c, refresher_add_rule, &to);
    if (err != CELLAR_OK) { return err; }
    refresher_rows_of(p, c, true);
    to.makes = true;
    err = cellar_policy_list(c, refresher_add_rule, &to);
    if (count != NULL) { *count = to.count; }
    return err != CELLAR_OK ? err : to.err;
}

/* ---- list ---- */

static int64_t refresher_age(int64_t ms, int64_t now_ms)
{
    return ms >= 0 ? BASE_MAX(now_ms - ms, 0) : -1;
}

static void refresher_describe(const refresher_row *row, int64_t now_ms, cellar_refresh_info *out)
    SYNC_HOLDS(QUEUE)
{
    const bool runs = row->recur.task.state != CELLAR_TASK_SCHEDULED;
    *out = cellar_refresh_info_default();
    out->c = row->c;
    out->key = row->key;
    out->key_len = row->key_len;
    out->loader = row->loader->name;
    out->interval_ms = row->interval_ms;
    out->ttl_ms = row->ttl_ms;
    out->next_ms = runs ? 0 : BASE_MAX(row->recur.task.timer.due_ms - now_ms, 0);
    out->ok_age_ms = refresher_age(row->ok_ms, now_ms);
    out->failed_age_ms = refresher_age(row->failed_ms, now_ms);
    out->ok = row->ok;
    out->failed = row->failed;
    out->skipped = row->skipped;
    out->keys = row->keys.count;
    out->keys_left = row->left;
    out->last_err = row->last_err;
    out->priority = (cellar_refresh_priority)(row->recur.task.priority / REFRESHER_LEVEL + 1);
    out->flags = row->flags | (row->uncovered ? CELLAR_REFRESH_UNCOVERED : 0u) |
                 (runs ? CELLAR_REFRESH_RUNNING : 0u) |
                 (row->stop_idle != 0 && row->idle >= row->stop_idle ? CELLAR_REFRESH_SLEEPS : 0u);
}

CELLAR_API cellar_err cellar_refresh_list(cellar_pool *p, cellar_refresh_list_fn fn, void *ctx)
{
    const cellar_err err = task_check(p);
    if (err != CELLAR_OK) { return err; }
    if (fn == NULL) { return CELLAR_E_INVAL; }
    const int64_t now_ms = work_now(&p->obj).mono_ms;
    task_recur *row = NULL;
    for (bool more = true;;) {
        cellar_refresh_info info;
        task_after a = task_lock(p);
        task_recur *const last = row;
        row = more ? task_recur_next(&p->refresh->list, last, UINT64_MAX) : NULL;
        if (row != NULL) { refresher_describe(refresher_row_of(&row->task), now_ms, &info); }
        if (last != NULL) { task_recur_unref(last, &a); }
        task_unlock(p, &a);
        if (row == NULL) { return CELLAR_OK; }
        more = fn(&info, ctx);
    }
}

/* ---- figures ---- */

CELLAR_API cellar_err cellar_refresh_stats_get(cellar_pool *p, cellar_refresh_stats *out)
{
    stats_struct full;
    _Static_assert(offsetof(stats_struct, value[STATS_REFRESHER_COUNT]) == sizeof *out,
                   "one line for each number");
    const cellar_err err = task_check(p);
    if (err != CELLAR_OK) { return err; }
    if (out == NULL) { return CELLAR_E_INVAL; }
    refresher_read(p, full.value);
    return base_opts_out(out, &full, sizeof *out);
}

BASE_SIZE_END
