/* SPDX-License-Identifier: MIT
 *
 * attach: shared namespaces: their tables in the store, their life.
 *
 * INVARIANTS All spaces of a remote belong to one store: births are epochs of its tags.
 *            A space lives until its store closes: the store calls its table until then. After
 *            cellar_remote_close it has no remote, and the table answers misses and errors.
 * LOCKING    space.use: each function of the table holds it for reading. */
#include <stdlib.h>
#include <string.h>

#include "remote/control.h"
#include "remote/get.h"
#include "remote/pending.h"
#include "remote/share.h"

/* ---- the table ---- */

/* Hold the space for a call of the store. Return false if the remote is closed. */
static bool remote_use(remote_space *s)
{
    pthread_rwlock_rdlock(&s->use);
    if (!s->closed && s->host != NULL) { return true; }
    pthread_rwlock_unlock(&s->use);
    return false;
}

static void remote_unuse(remote_space *s) { pthread_rwlock_unlock(&s->use); }

/* Add the space to the list of the remote. Epochs, tags and blocks are those of one store. */
static cellar_err remote_data_add(struct remote_data *d, remote_space *s)
{
    cellar_err err = CELLAR_OK;
    pthread_mutex_lock(&d->lock);
    const uint32_t n = atomic_load(&d->space_count);
    for (uint32_t i = 0; i < n; i++) {
        if (strcmp(d->space[i]->name, s->name) != 0) { continue; }
        err = CELLAR_E_BUSY;
        s->rule = "r shares a namespace of this name";
    }
    if (n == REMOTE_SPACES_MAX) {
        err = CELLAR_E_LIMIT;
        s->rule = "r shares 64 namespaces: open another remote";
    }
    if (n != 0 && d->space[0]->host->store != s->host->store) {
        err = CELLAR_E_INVAL;
        s->rule = "all namespaces of a remote must belong to one store: open another remote for "
                  "the other store";
    }
    if (err == CELLAR_OK) {
        d->space[n] = s;
        atomic_store_explicit(&d->space_count, n + 1, memory_order_release);
    }
    pthread_mutex_unlock(&d->lock);
    return err;
}

/* Take the host, and begin to hear the namespace. */
static cellar_err remote_table_attached(void *ctx, const cellar_tier_host *host)
{
    remote_space *s = ctx;
    const size_t len = strlen(host->name);
    if (len > CELLAR_NAME_MAX || !remote_space_valid(host->name)) {
        s->rule = "the name must have bytes 0x21..0x7E without ':', no '~' in front, and not be "
                  "\"+\"";
        return CELLAR_E_INVAL;
    }
    const cellar_tier_host *none = NULL;
    memcpy(s->name, host->name, len + 1);
    s->host = host;
    const cellar_err err = remote_pending_open(s) ? remote_data_add(s->r->data, s)
                                                  : CELLAR_E_NOMEM;
    if (err != CELLAR_OK) {
        remote_pending_free(s);
        s->host = NULL;
    }
    if (err == CELLAR_OK) { (void)atomic_compare_exchange_strong(&s->r->host, &none, host); }
    return err;
}

/* Define a function of the table: `call`, with the space in use; `none` behind the close. */
#define REMOTE_TABLE(type, name, none, params, call) \
    static type remote_table_##name params \
    { \
        if (!remote_use(ctx)) { return none; } \
        const type answer = call; \
        remote_unuse(ctx); \
        return answer; \
    }

REMOTE_TABLE(cellar_err, get, CELLAR_MISS,
             (void *ctx, const cellar_tier_key *k, void *buf, size_t buf_cap, size_t *value_len,
              cellar_tier_entry *e),
             remote_get(ctx, k, buf, buf_cap, value_len, e))
REMOTE_TABLE(bool, ask, false,
             (void *ctx, const cellar_tier_key *k, const cellar_tier_ticket *ticket),
             remote_get_later(ctx, k, 0, ticket))
REMOTE_TABLE(bool, ask_lease, false,
             (void *ctx, const cellar_tier_key *k, int64_t hold_ms,
              const cellar_tier_ticket *ticket),
             remote_get_later(ctx, k, hold_ms, ticket))
REMOTE_TABLE(cellar_err, put, CELLAR_E_CLOSED,
             (void *ctx, const cellar_tier_key *k, const void *value, size_t value_len,
              cellar_tier_entry *e),
             remote_put(ctx, k, value, value_len, e))
REMOTE_TABLE(cellar_err, add, CELLAR_E_CLOSED,
             (void *ctx, const cellar_tier_key *k, int64_t delta, int64_t *number,
              const cellar_tier_entry *e),
             remote_add(ctx, k, delta, number, e))
REMOTE_TABLE(cellar_err, remove, CELLAR_E_CLOSED,
             (void *ctx, const cellar_tier_key *k, const cellar_tier_entry *e),
             remote_remove(ctx, k, e))
REMOTE_TABLE(cellar_err, lease, CELLAR_MISS,
             (void *ctx, const cellar_tier_key *k, int64_t hold_ms, cellar_tier_entry *e,
              cellar_tier_lease *l),
             remote_get_lease(ctx, k, hold_ms, e, l))
REMOTE_TABLE(cellar_err, fill, CELLAR_E_CLOSED,
             (void *ctx, const cellar_tier_key *k, const cellar_tier_lease *l, const void *value,
              size_t value_len, cellar_tier_entry *e),
             remote_fill(ctx, k, l, value, value_len, e))
REMOTE_TABLE(cellar_err, clear, CELLAR_E_CLOSED, (void *ctx), remote_clear(ctx))
REMOTE_TABLE(cellar_err, tag, CELLAR_E_CLOSED,
             (void *ctx, const void *tag, size_t len, uint32_t mode),
             remote_tag_end(ctx, tag, len, mode))
REMOTE_TABLE(cellar_err, pattern, CELLAR_E_CLOSED, (void *ctx, const char *pattern, size_t len),
             remote_pattern(ctx, pattern, len))

/* Answer a miss for each key behind the close: no reading is open then. */
static void remote_table_get_many(void *ctx, cellar_tier_get *gets, size_t count)
{
    remote_space *s = ctx;
    pthread_rwlock_rdlock(&s->use);
    remote_get_many(s, gets, count);
    remote_unuse(s);
}

static void remote_table_lease_many(void *ctx, cellar_tier_claim *claims, size_t count,
                                    int64_t hold_ms)
{
    remote_space *s = ctx;
    pthread_rwlock_rdlock(&s->use);
    remote_get_leases(s, claims, count, hold_ms);
    remote_unuse(s);
}

static void remote_table_unlease(void *ctx, const cellar_tier_key *k, const cellar_tier_lease *l)
{
    remote_space *s = ctx;
    if (!remote_use(s)) { return; }
    remote_lease_ended(s->r);
    remote_unlease(s, k, l);
    remote_unuse(s);
}

/* Refuse calls of the store from now on, and wait for those that run. */
static void remote_space_close(remote_space *s)
{
    pthread_rwlock_wrlock(&s->use);
    s->closed = true;
    pthread_rwlock_unlock(&s->use);
}

/* Detach the space from its remote. */
static void remote_space_detach(remote_space *s)
{
    pthread_rwlock_wrlock(&s->use);
    if (s->host != NULL) {
        s->host->proven(s->host->ctx, -1); /* with TRUST, too */
        remote_pending_free(s);
    }
    s->r = NULL;
    pthread_rwlock_unlock(&s->use);
}

static void remote_space_free(remote_space *s)
{
    pthread_rwlock_destroy(&s->use);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->posts);
    free(s);
}

static void remote_table_close(void *ctx, int64_t deadline_ms)
{
    (void)deadline_ms;
    remote_space_free(ctx);
}

BASE_SIZE_BEGIN

/* ---- attach ---- */

static remote_space *remote_space_new(cellar_remote *r, const cellar_remote_namespace_config *o)
{
    remote_space *s = calloc(1, sizeof *s);
    if (s == NULL) { return NULL; }
    s->r = r;
    s->opts = *o;
    memcpy(s->prefix, r->cfg.prefix, sizeof s->prefix);
    s->names = (remote_names){ s->prefix, s->name };
    pthread_rwlock_init(&s->use, NULL);
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->posts, NULL);
    return s;
}

static cellar_tier_table remote_space_table(remote_space *s)
{
    cellar_tier_table t = cellar_tier_table_default();
    t.ctx = s;
    t.max_ttl_ms = s->r->cfg.max_ttl_ms;
    t.alone_ms = s->r->cfg.io_ms;
    t.proof = s->opts.offline == CELLAR_REMOTE_MISS          ? CELLAR_TIER_PROOF_MISS
              : s->opts.offline == CELLAR_REMOTE_SERVE_STALE ? CELLAR_TIER_PROOF_STALE
                                                             : CELLAR_TIER_PROOF_NONE;
    t.attached = remote_table_attached;
    t.get = remote_table_get;
    t.get_many = remote_table_get_many;
    t.ask = remote_table_ask;
    t.ask_lease = remote_table_ask_lease;
    t.put = remote_table_put;
    t.remove = remote_table_remove;
    t.add = remote_table_add;
    t.blind_fill = s->opts.values == CELLAR_REMOTE_RAW;
    t.lease = remote_table_lease;
    t.lease_many = remote_table_lease_many;
    t.fill = remote_table_fill;
    t.unlease = remote_table_unlease;
    t.clear = remote_table_clear;
    t.tag = remote_table_tag;
    t.pattern = remote_table_pattern;
    t.close = remote_table_close;
    return t;
}

/* Return the rule that an option breaks; NULL: none. */
static const char *remote_opts_rule(const cellar_remote_namespace_config *o)
{
    return o->struct_size != sizeof *o ? "struct_size is that of another version"
           : o->write > CELLAR_REMOTE_INVALIDATE ? "write must be THROUGH, BEHIND or INVALIDATE"
           : o->values > CELLAR_REMOTE_RAW       ? "values must be ENVELOPE or RAW"
           : o->offline > CELLAR_REMOTE_TRUST    ? "offline must be MISS, SERVE_STALE or TRUST"
           : o->local_ttl_ms < 0                 ? "local_ttl_ms must be 0 or more"
           : o->strict > 1                       ? "strict must be 0 or 1"
           : o->reserved0 != 0                   ? "reserved0 must be 0"
           : o->write == CELLAR_REMOTE_INVALIDATE && o->values == CELLAR_REMOTE_RAW
               ? "values RAW needs write THROUGH or BEHIND" : NULL;
}

/* Return the rule that the store keeps. */
static const char *remote_attach_rule(cellar_err code)
{
    return code == CELLAR_E_BUSY          ? "the namespace has a tier: open it with CELLAR_TIER_L1"
           : code == CELLAR_E_UNSUPPORTED ? "share no hidden namespace"
           : code == CELLAR_E_LIMIT       ? "the store has too many tiers"
           : code == CELLAR_E_FORKED      ? "the namespace belongs to the parent process"
           : code == CELLAR_E_CLOSED      ? "the namespace is closed"
                                          : "no memory or budget";
}

CELLAR_API cellar_err cellar_remote_attach(cellar_remote *r, cellar *c,
                                           const cellar_remote_namespace_config *o)
{
    const cellar_remote_namespace_config none = cellar_remote_namespace_config_default();
    static const char call[] = "cellar_remote_attach";
    if (r == NULL || c == NULL) {
        return remote_call_refuse(CELLAR_E_INVAL, call, "r and c must be given");
    }
    if (r->forked) { return CELLAR_E_FORKED; }
    const cellar_remote_namespace_config *use = o != NULL ? o : &none;
    const char *const rule = remote_opts_rule(use);
    if (rule != NULL) { return remote_call_refuse(CELLAR_E_INVAL, call, rule); }
    remote_space *s = remote_space_new(r, use);
    if (s == NULL) {
        return remote_call_refuse(CELLAR_E_NOMEM, call, remote_attach_rule(CELLAR_E_NOMEM));
    }
    const cellar_tier_table t = remote_space_table(s);
    const cellar_err err = cellar_tier_attach(c, &t);
    if (err == CELLAR_OK) {
        remote_retrack(r->link);
        return err;
    }
    (void)remote_call_refuse(err, call, s->rule != NULL ? s->rule : remote_attach_rule(err));
    if (s->host == NULL) { remote_space_free(s); } /* else the store has the table, and closes */
    return err;
}

/* ---- life ---- */

CELLAR_PRIVATE cellar_err remote_data_open(cellar_remote *r)
{
    struct remote_data *d = remote_alloc(r, sizeof *d);
    if (d == NULL) { return CELLAR_E_NOMEM; }
    memset(d, 0, sizeof *d);
    d->r = r;
    pthread_mutex_init(&d->lock, NULL);
    r->data = d;
    return CELLAR_OK;
}

/* Send all writes of the space. BREAKER_OPEN: the link fell, and sends them when it is back. */
static void remote_space_drain(remote_space *s, int64_t deadline_ms)
{
    remote_link *l = s->r->link;
    cellar_err err = CELLAR_OK;
    while ((err == CELLAR_OK || err == CELLAR_E_BREAKER_OPEN) && !remote_pending_empty(s)) {
        const int64_t left_ms = deadline_ms - remote_share_now();
        if (left_ms <= 0) { return; }
        if (err == CELLAR_OK) {
            remote_pending_kick(s);
            err = remote_marker_now(l, left_ms);
        } else {
            err = remote_link_await(l, left_ms);
        }
    }
}

CELLAR_PRIVATE void remote_data_drain(cellar_remote *r, int64_t wait_ms)
{
    struct remote_data *d = r->data;
    const int64_t deadline_ms = remote_share_now() + wait_ms;
    const uint32_t n = atomic_load(&d->space_count);
    for (uint32_t i = 0; i < n; i++) {
        remote_space_close(d->space[i]);
        remote_space_drain(d->space[i], deadline_ms);
    }
}

CELLAR_PRIVATE void remote_data_figures(struct remote_data *d, cellar_remote_stats *out)
{
    const uint32_t n = atomic_load(&d->space_count);
    for (uint32_t i = 0; i < n; i++) {
        remote_space *s = d->space[i];
        pthread_mutex_lock(&s->lock);
        out->journal_keys += s->journal_count;
        out->queue_entries += s->queue_count;
        pthread_mutex_unlock(&s->lock);
        out->trusting += s->opts.offline == CELLAR_REMOTE_TRUST;
    }
}

CELLAR_PRIVATE void remote_data_close(cellar_remote *r)
{
    struct remote_data *d = r->data;
    if (d == NULL) { return; }
    const uint32_t n = atomic_load(&d->space_count);
    for (uint32_t i = 0; i < n; i++) { remote_space_detach(d->space[i]); }
    remote_free(r, d->tags, REMOTE_TAGS_KEPT * sizeof *d->tags);
    pthread_mutex_destroy(&d->lock);
    remote_free(r, d, sizeof *d);
    remote_memory_rest(r);
    r->data = NULL;
}

BASE_SIZE_END
