/* SPDX-License-Identifier: MIT
 *
 * task_submit: register names, submit tasks.
 *
 * WALK       drafts: check the options, make bodies and rare parts, without the lock
 *            insert: with the lock: room, names, keys -> slots -> queue, wheel, group
 *            A refused submit gives the drafts back untouched: free_fn is not called.
 * INVARIANTS All drafts of one call become tasks in one hold of the lock, or none does.
 * JOURNAL    Between insert and queue the tasks are committed; slots, keys and room are taken.
 * LIMITS     queue_cap tasks, queue_bytes of payload, of the pool and of a name; max_names,
 *            TASK_QUEUES_MAX queues.
 * SEE ALSO   task_types.h */

#include "base/glob.h"
#include "base/open_error.h"
#include "base/opts.h"
#include "base/service.h"
#include "work/bus.h"

BASE_SIZE_BEGIN

#define TASK_PRIORITY 5u
#define TASK_ITEM_RULE "p and name must not be NULL, and payload not with payload_len"
#define TASK_LIVE_STATES \
    (1u << CELLAR_TASK_WAITING | 1u << CELLAR_TASK_SCHEDULED | 1u << CELLAR_TASK_QUEUED | \
     1u << CELLAR_TASK_RUNNING | 1u << CELLAR_TASK_RETRY)

/* ---- names ---- */

static bool task_text_ok(const char *text, size_t most)
{
    return text == NULL || strnlen(text, most + 1) <= most;
}

#define TASK_OPT(field, none, max, why) BASE_NUMBER(cellar_task_opts, field, none, 0, max, why)
#define TASK_OPT_MS(field, none) \
    TASK_OPT(field, none, CELLAR_POOL_DELAY_MAX_MS, "times must be 0..366 days")
static const base_number task_opt_numbers[] = {
    TASK_OPT_MS(base_ms, 1000),
    TASK_OPT_MS(cap_ms, 600000),
    TASK_OPT_MS(break_ms, 30000),
    TASK_OPT_MS(timeout_ms, 0),
    TASK_OPT_MS(hard_timeout_ms, 0),
    TASK_OPT(max_attempts, 4, UINT8_MAX, "max_attempts must be at most 255"),
    TASK_OPT(queue_bytes, UINT64_MAX, UINT64_MAX, ""),
    TASK_OPT(queue_cap, UINT32_MAX, UINT32_MAX, ""),
    TASK_OPT(jitter, 0, CELLAR_TASK_JITTER_NONE, "jitter must be a cellar_task_jitter"),
    TASK_OPT(on_full, 0, CELLAR_POOL_DROP_OLDEST, "on_full must be a cellar_pool_full"),
};

/* Copy and check the options of a name. *why: the rule that they break. */
static cellar_err task_opts_in(const cellar_task_opts *o, cellar_task_opts *out, const char **why)
{
    uint64_t got;
    *out = cellar_task_opts_default();
    *why = "start from cellar_task_opts_default()";
    const cellar_err err = o != NULL ? base_opts_in(out, sizeof *out, o) : CELLAR_OK;
    if (err != CELLAR_OK) { return err; }
    const base_number *bad = base_numbers_in(out, BASE_NUMBERS(task_opt_numbers), &got);
    if (out->queue == NULL) { out->queue = "default"; }
    if (bad == NULL && out->hard_timeout_ms == 0) { out->hard_timeout_ms = 2 * out->timeout_ms; }
    const base_rule rules[] = {
        { bad != NULL, bad != NULL ? bad->why : "" },
        { !task_is_name(out->queue), "queue must have 1..64 bytes" },
        { out->rate_key != NULL && out->rate == NULL, "rate_key needs a rate" },
        { out->hard_timeout_ms < out->timeout_ms, "hard_timeout_ms must be at least timeout_ms" },
    };
    *why = BASE_RULES_BROKEN(rules);
    if (*why != NULL) { return CELLAR_E_INVAL; }
#ifdef CELLAR_OMIT_LIMIT
    *why = "this library was built without limiters";
    if (out->rate != NULL) { return CELLAR_E_UNSUPPORTED; }
#endif
    return CELLAR_OK;
}

/* Enter a name and its queue: *n, unless tasks from the journal have made the name, and *fresh, if
 * the queue is new. What is entered becomes NULL. */
static cellar_err task_name_add(cellar_pool *p, task_name **n, task_queue **fresh, task_after *a)
    SYNC_HOLDS(QUEUE)
{
    const size_t len = strlen((*n)->name);
    task_name *to = task_name_find(p, (*n)->name);
    if (to != NULL && !to->missing) { return CELLAR_EXISTS; }
    task_queue *q = task_queue_find(p, (*fresh)->name);
    if (q != NULL && q->pull != (*fresh)->pull) { return CELLAR_E_BUSY; }
    const bool grouped = (*n)->group != NULL;
    uint32_t *counted = grouped ? &p->bus.group_count : &p->task_names;
    if (to == NULL && *counted == (grouped ? p->cfg.max_groups : p->cfg.max_names)) {
        p->count[STATS_TASK_REJECTED_LIMIT]++;
        return CELLAR_E_LIMIT;
    }
    if (q == NULL) { /* it stays, also if the name gets no memory */
        q = *fresh;
        const cellar_err err = task_queue_enter(p, q);
        if (err != CELLAR_OK) { return err; }
        *fresh = NULL;
    }
    if (grouped) {
        const cellar_err err = bus_queue_get(p, (*n)->group);
        if (err != CELLAR_OK) { return err; }
    }
    const bool fresh_name = to == NULL;
    if (to == NULL && p->gone == NULL) {
        if (!task_name_enter(p, *n, len)) { return CELLAR_E_NOMEM; }
        to = *n;
        *n = NULL;
    } else {
        if (to == NULL) { /* the place of a removed one */
            to = p->gone;
            memcpy(to->name, (*n)->name, sizeof to->name);
            if (!task_name_enter(p, to, len)) { return CELLAR_E_NOMEM; }
        }
        to->fn = (*n)->fn;
        to->ctx = (*n)->ctx;
        to->opts = (*n)->opts;
        to->plain = (*n)->plain;
        to->group = (*n)->group;
        to->missing = to->removed = to->slow = false;
        to->failures = 0;
    }
    if (fresh_name) {
        to->counted = counted;
        ++*counted;
    }
    to->queue = q;
    if (to->group != NULL) {
        to->group->name = to;
        to->group->fresh = NULL; /* of the stack of the caller */
        bus_group **at = &to->group->queue->groups;
        while (*at != NULL) { at = &(*at)->next; }
        *at = to->group; /* it gets the messages of its queue */
        p->bus.generation++;
    }
    p->limits = p->limits || to->opts.queue_cap != UINT32_MAX ||
                to->opts.queue_bytes != UINT64_MAX;
    if (to->group != NULL && to->group->lane_count != 0) { task_lanes_enter(p, to, a); }
    task_queue_release(p, to, a);
    return CELLAR_OK;
}

CELLAR_PRIVATE cellar_err task_name_make(cellar_pool *p, const char *name, cellar_task_fn fn,
                                         void *ctx, const cellar_task_opts *full,
                                         struct bus_group *group)
{
    cellar_err err = task_threads_start(p);
    if (err != CELLAR_OK) { return err; }
    err = CELLAR_E_NOMEM;
    task_name *n = base_alloc(&p->obj.account, BASE_MOD_STORE, sizeof *n, NULL);
    task_queue *q = task_queue_make(p, full->queue, fn == NULL);
    if (n != NULL && q != NULL) {
        memcpy(n->name, name, strlen(name));
        n->fn = fn;
        n->ctx = ctx;
        n->opts = *full;
        n->opts.queue = NULL; /* the text of the caller */
        n->group = group;
        n->plain = (group == NULL || bus_is_plain(group)) && full->rate == NULL &&
                   full->max_running == 0 && full->break_after == 0;
        n->gate.name = n;
        task_levels_init(&n->parked);
        task_after a = task_lock(p);
        err = task_name_add(p, &n, &q, &a);
        task_unlock(p, &a);
    }
    base_free(&p->obj.account, BASE_MOD_STORE, q, sizeof *q);
    base_free(&p->obj.account, BASE_MOD_STORE, n, sizeof *n);
    return err;
}

CELLAR_API cellar_err cellar_task_register(cellar_pool *p, const char *name, cellar_task_fn fn,
                                           void *ctx, const cellar_task_opts *o)
{
    cellar_task_opts full;
    if (p == NULL || !task_is_name(name)) {
        return base_refuse(CELLAR_E_INVAL, "cellar_task_register",
                           "p must not be NULL, name must have 1..64 bytes");
    }
    if (p->obj.forked) { return CELLAR_E_FORKED; }
    const char *why;
    const cellar_err err = task_opts_in(o, &full, &why);
    if (err != CELLAR_OK) { return base_refuse(err, "cellar_task_register", why); }
    const bool runs = full.rate != NULL || full.hard_timeout_ms != 0 || full.break_after != 0;
    if (fn == NULL && runs) {
        return base_refuse(CELLAR_E_INVAL, "cellar_task_register",
                           "rate, hard_timeout_ms and break_after need a fn");
    }
    if (full.on_full == CELLAR_POOL_DROP_OLDEST && p->journal != NULL) {
        return base_refuse(CELLAR_E_INVAL, "cellar_task_register",
                           "on_full must not be DROP_OLDEST with a journal");
    }
    return task_name_make(p, name, fn, ctx, &full, NULL);
}

static bool task_name_matches(const task_name *n, const char *pattern)
{
    return !n->missing && base_glob_match(pattern, strlen(pattern), n->name, strlen(n->name));
}

/* Check that all names of a pattern, and the queue `q` unless it is NULL, are of one kind. */
static cellar_err task_route_check(const cellar_pool *p, const char *pattern, const task_queue *q,
                                   bool *pull) SYNC_HOLDS(QUEUE)
{
    bool found = false;
    if (q != NULL) { *pull = q->pull; }
    for (uint32_t i = 0; i < p->name_count; i++) {
        const task_name *n = p->names[i];
        if (!task_name_matches(n, pattern)) { continue; }
        if ((found || q != NULL) && n->queue->pull != *pull) { return CELLAR_E_BUSY; }
        *pull = n->queue->pull;
        found = true;
    }
    return found ? CELLAR_OK : CELLAR_E_NOT_FOUND;
}

/* Move the names of a pattern to a queue; `fresh` is taken if the queue is new. */
static cellar_err task_route(cellar_pool *p, const char *pattern, const char *queue,
                             task_queue **fresh, uint32_t *moved, task_after *a) SYNC_HOLDS(QUEUE)
{
    task_queue *q = task_queue_find(p, queue);
    const cellar_err err = task_route_check(p, pattern, q, &(*fresh)->pull);
    if (err != CELLAR_OK) { return err; }
    if (q == NULL) {
        q = *fresh;
        const cellar_err entered = task_queue_enter(p, q);
        if (entered != CELLAR_OK) { return entered; }
        *fresh = NULL;
    }
    for (uint32_t i = 0; i < p->name_count; i++) {
        if (!task_name_matches(p->names[i], pattern)) { continue; }
        task_queue_move(p, p->names[i], q, a);
        ++*moved;
    }
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_pool_route(cellar_pool *p, const char *pattern, const char *queue,
                                        uint32_t *moved)
{
    uint32_t n = 0;
    if (moved != NULL) { *moved = 0; }
    if (p == NULL || pattern == NULL || !task_is_name(queue) ||
        !task_text_ok(pattern, CELLAR_PATTERN_MAX)) {
        return CELLAR_E_INVAL;
    }
    if (p->obj.forked) { return CELLAR_E_FORKED; }
    task_queue *fresh = task_queue_make(p, queue, false);
    if (fresh == NULL) { return CELLAR_E_NOMEM; }
    task_after a = task_lock_recall(p);
    const cellar_err err = task_route(p, pattern, queue, &fresh, &n, &a);
    task_unlock(p, &a);
    base_free(&p->obj.account, BASE_MOD_STORE, fresh, sizeof *fresh);
    if (moved != NULL) { *moved = n; }
    return err;
}

/* ---- drafts ---- */

static bool task_delay_bad(int64_t ms) { return ms < 0 || ms > CELLAR_POOL_DELAY_MAX_MS; }

/* Return the rule that options break; NULL: none. */
static const char *task_submit_broken(const cellar_submit_opts *s)
{
    const bool throttles = s->on_conflict == CELLAR_TASK_CONFLICT_THROTTLE;
    const char *key = s->unique_key;
    const base_rule rules[] = {
        { task_delay_bad(s->delay_ms), "delay_ms must be 0..366 days" },
        { task_delay_bad(s->expires_ms), "expires_ms must be 0..366 days" },
        { task_delay_bad(s->unique_ttl_ms), "unique_ttl_ms must be 0..366 days" },
        { s->eta_wall_ms < 0, "eta_wall_ms must be 0 or more" },
        { s->eta_wall_ms != 0 && s->delay_ms != 0,
          "set one of delay_ms and eta_wall_ms, not both" },
        { s->priority > CELLAR_TASK_PRIORITY_MAX, "priority must be 0..9 or CELLAR_OFF" },
        { (unsigned)s->on_conflict > CELLAR_TASK_CONFLICT_THROTTLE ||
          (unsigned)s->run_on > CELLAR_TASK_ALWAYS,
          "on_conflict or run_on is no number of its enum" },
        { (s->unique_states & ~TASK_LIVE_STATES) != 0,
          "unique_states must be a sum of 1u << state of live states" },
        { key != NULL && (*key == '\0' || !task_text_ok(key, CELLAR_TASK_TEXT_MAX)),
          "unique_key must have 1..255 bytes" },
        { s->unique_ttl_ms != 0 && key == NULL, "unique_ttl_ms needs a unique_key" },
        { throttles && s->unique_ttl_ms == 0,
          "CELLAR_TASK_CONFLICT_THROTTLE needs a unique_ttl_ms" },
        { !task_text_ok(s->content_type, CELLAR_TASK_TEXT_MAX) ||
          !task_text_ok(s->tag, CELLAR_TASK_TEXT_MAX),
          "content_type and tag must have at most 255 bytes" },
        { s->id_in != NULL && s->id_in->hi == 0, "id_in must be an id that a pool gave" },
        { s->after != NULL && (s->eta_wall_ms != 0 || s->id_in != NULL ||
                               s->on_conflict != CELLAR_TASK_CONFLICT_REJECT),
          "after excludes eta_wall_ms, id_in and on_conflict" },
    };
    return BASE_RULES_BROKEN(rules);
}

/* Copy and check the options of a submit. */
static cellar_err task_submit_in(const cellar_submit_opts *o, cellar_submit_opts *s,
                                 const char **why)
{
    *why = "start from cellar_submit_opts_default()";
    *s = cellar_submit_opts_default();
    if (o == NULL) {
        s->priority = TASK_PRIORITY;
        return CELLAR_OK;
    }
    const cellar_err err = base_opts_in(s, sizeof *s, o);
    if (err != CELLAR_OK) { return err; }
    if (s->priority == 0) { s->priority = TASK_PRIORITY; }
    else if (s->priority == CELLAR_OFF) { s->priority = 0; }
    if (s->unique_states == 0) { s->unique_states = TASK_LIVE_STATES; }
    *why = task_submit_broken(s);
    return *why == NULL ? CELLAR_OK : CELLAR_E_INVAL;
}

/* Return the body of the draft before this one if its item has the same bytes; NULL: it has not. */
static task_body *task_body_again(const cellar_task_item *i, const cellar_submit_opts *s,
                                  const task_draft *d)
{
    task_body *b = d[-1].body;
    const char *type = s->content_type != NULL ? s->content_type : "";
    const bool same = i[-1].payload == i->payload && i[-1].payload_len == i->payload_len &&
                      b->free_fn == NULL && s->free_fn == NULL &&
                      strcmp(task_body_type(b), type) == 0;
    return same ? task_body_hold(b) : NULL;
}

/* Make the body and the rare parts of one task. `linked`: it needs rare parts for a group; `next`:
 * it is not the first item. */
static cellar_err task_draft_make(cellar_pool *p, const cellar_task_item *i, work_time now,
                                  bool linked, bool next, task_draft *d, const char **why)
{
    cellar_submit_opts s;
    *why = TASK_ITEM_RULE;
    if (i->name == NULL || (i->payload == NULL && i->payload_len != 0)) { return CELLAR_E_INVAL; }
    const cellar_err err = task_submit_in(i->opts, &s, why);
    if (err != CELLAR_OK) { return err; }
    if (i->payload_len > task_most_bytes(p)) { return CELLAR_E_TOOBIG; }
    *d = (task_draft){ .name = i->name, .delay_ms = s.delay_ms,
                       .after = s.after, .eta_wall_ms = s.eta_wall_ms,
                       .on_conflict = s.on_conflict, .run_on = s.run_on,
                       .priority = (uint8_t)s.priority };
    d->body = next ? task_body_again(i, &s, d) : NULL;
    if (d->body == NULL) {
        d->body = task_body_make(p, i->payload, i->payload_len,
                                 s.content_type != NULL ? s.content_type : "", s.free_fn,
                                 s.free_ctx);
    }
    if (d->body == NULL) { return CELLAR_E_NOMEM; }
    d->body->wall_ms = now.wall_ms & ((INT64_C(1) << 48) - 1);
    if (!linked && s.after == NULL && s.tag == NULL && s.unique_key == NULL && s.trace == NULL &&
        s.id_in == NULL && s.expires_ms == 0) {
        return CELLAR_OK;
    }
    d->ext = task_ext_make(p, s.unique_key, s.tag);
    if (d->ext == NULL) { return CELLAR_E_NOMEM; }
    if (s.expires_ms != 0) { d->ext->expires_ms = task_time_add(now.mono_ms, s.expires_ms); }
    if (s.id_in != NULL) { d->ext->id = *s.id_in; }
    d->ext->unique_states = s.unique_states;
    if (s.unique_ttl_ms != 0) {
        d->ext->key_until_ms = task_time_add(now.mono_ms, s.unique_ttl_ms);
    }
    if (s.on_conflict == CELLAR_TASK_CONFLICT_THROTTLE) {
        d->throttle = task_throttle_make(p, s.unique_key, strlen(s.unique_key));
        if (d->throttle == NULL) { return CELLAR_E_NOMEM; }
    }
    d->ext->delay_ms = s.delay_ms;
    d->ext->has_trace = s.trace != NULL;
    if (s.trace != NULL) { memcpy(d->ext->trace, s.trace, sizeof d->ext->trace); }
    return CELLAR_OK;
}

/* Free drafts that did not become tasks. `tell`: free_fn gets their payloads. */
static void task_drafts_drop(cellar_pool *p, const task_draft *d, uint32_t count, bool tell)
{
    for (uint32_t i = 0; i < count; i++) {
        task_body_drop(p, d[i].body, tell);
        if (d[i].ext != NULL && d[i].ext->before != NULL) { task_group_free(p, d[i].ext->before); }
        task_ext_free(p, d[i].ext);
        task_throttle_free(p, d[i].throttle);
    }
}

/* ---- insert ---- */

/* Return the name of a draft; NULL: there is none. */
static task_name *task_draft_name(cellar_pool *p, const task_draft *d) SYNC_HOLDS(QUEUE)
{
    if (d->to == NULL) { return task_name_find(p, d->name); }
    return d->generation == p->bus.generation ? d->to : NULL;
}

/* Give the task with the same key a new payload, and restart its times. */
static void task_debounce(cellar_pool *p, task *t, task_draft *d, work_time now, task_after *a)
    SYNC_HOLDS(QUEUE)
{
    task_body *old = t->body;
    task_detach(p, t, a);
    d->body->wall_ms = old->wall_ms; /* part of its id */
    task_live_add(p, p->names[t->name], d->body->len);
    task_live_drop(p, p->names[t->name], old->len);
    task_body_enter(p, d->body);
    (void)task_body_leave(p, old);
    t->body = d->body;
    d->body = old;
    t->ext->key_until_ms = d->ext->key_until_ms;
    t->ext->expires_ms = d->ext->expires_ms;
    p->names[t->name]->count[STATS_TASK_DEBOUNCED]++;
    task_mark_payload(p, t, a);
    if (d->eta_wall_ms > now.wall_ms) {
        task_to_wall(p, t, d->eta_wall_ms, a);
    } else {
        task_to_wheel(p, t, CELLAR_TASK_SCHEDULED, task_time_add(now.mono_ms, d->delay_ms), a);
    }
}

/* Return whether a task keeps its unique key from others. */
static bool task_keeps_key(const task *t, int64_t now_ms) SYNC_HOLDS(QUEUE)
{
    return t->state == TASK_FREE || /* of this call, or not committed yet */
           ((t->ext->unique_states >> task_state_of(t) & 1) != 0 && t->ext->key_until_ms > now_ms);
}

/* Find what refuses a draft with options or stands for it; that draft needs no room. OK: it goes
 * on, and *other has its unique key or is NULL. EXISTS: it does not; PENDING: *id has its place, or
 * gets a payload that is not longer; MISS: no slot has its id, so the caller asks the results: a
 * task leaves its slot for them. */
static cellar_err task_there(cellar_pool *p, task_draft *d, work_time now, task **other,
                             cellar_task_id *id) SYNC_HOLDS(QUEUE)
{
    const task_ext *e = d->ext;
    *other = NULL;
    if (e->id.hi != 0) {
        const uint64_t looked = d->looked;
        *id = e->id;
        if (task_find_any(p, e->id) != NULL) { return CELLAR_EXISTS; }
        d->looked = *task_ids_left(p, e->id) + 1;
        if (looked != d->looked) { return CELLAR_MISS; }
    }
    if (e->key_len == 0) { return CELLAR_OK; }
    const task_throttle *h = d->on_conflict == CELLAR_TASK_CONFLICT_THROTTLE
                                 ? task_throttle_find(p, e->text, e->key_len) : NULL;
    if (h != NULL && h->until_ms > now.mono_ms) {
        *id = h->id;
        return CELLAR_EXISTS;
    }
    task *t = *other = task_find_key(p, e->text, e->key_len);
    if (t == NULL) { return CELLAR_OK; }
    *id = task_id_of(p, t);
    if (t->state == TASK_FREE) { return CELLAR_EXISTS; }
    if (!task_keeps_key(t, now.mono_ms)) { return CELLAR_OK; }
    if (d->on_conflict == CELLAR_TASK_CONFLICT_RETURN) { return CELLAR_PENDING; }
    const cellar_task_state state = task_state_of(t);
    const bool bounces = d->on_conflict == CELLAR_TASK_CONFLICT_DEBOUNCE;
    if ((!bounces && d->on_conflict != CELLAR_TASK_CONFLICT_REPLACE) ||
        state == CELLAR_TASK_RUNNING || state == CELLAR_TASK_WAITING) {
        return CELLAR_EXISTS;
    }
    return bounces && d->body->len <= t->body->len ? CELLAR_PENDING : CELLAR_OK;
}

/* Return whether a task that REPLACE cancels leaves its draft all room. */
static bool task_leaves_room(cellar_pool *p, const task *t, const task_draft *d, work_time now)
    SYNC_HOLDS(QUEUE)
{
    return d->on_conflict == CELLAR_TASK_CONFLICT_REPLACE && t != NULL &&
           task_keeps_key(t, now.mono_ms) && p->names[t->name] == task_draft_name(p, d) &&
           d->body->len <= t->body->len;
}

/* Take the unique key from a task that task_there lets go. The draft has it as well. */
static void task_conflict(cellar_pool *p, task *t, task_draft *d, work_time now, task_after *a)
    SYNC_HOLDS(QUEUE)
{
    d->other = task_id_of(p, t);
    if (!task_keeps_key(t, now.mono_ms)) {
        task_key_drop(p, t->ext);
        task_mark(p, t, a);
        return;
    }
    task_detach(p, t, a);
    task_end(p, t, CELLAR_TASK_CANCELLED, now.mono_ms, a);
}

/* Return whether the pool has room for the key of THROTTLE. */
static bool task_throttle_fits(cellar_pool *p, const task_ext *e, work_time now, task_after *a)
    SYNC_HOLDS(QUEUE)
{
    if (task_throttle_find(p, e->text, e->key_len) != NULL) { return true; }
    if (p->throttle_count == p->cfg.queue_cap) {
        task_throttle_sweep(p, now.mono_ms, TASK_SLICE, a);
    }
    return p->throttle_count != p->cfg.queue_cap;
}

/* Find what refuses a draft of a name or stands for it, but a full pool: see task_there. MISS also:
 * the task before it has ended. E_BUSY: the pool has no room for the key of THROTTLE. */
static cellar_err task_admits(cellar_pool *p, const task_name *n, task_draft *d, work_time now,
                              task_after *a, task **other, cellar_task_id *id) SYNC_HOLDS(QUEUE)
{
    const bool after = d->before != NULL && !d->before->ended;
    const task *t = after ? task_find(p, d->before->id) : NULL;
    *other = NULL;
    if (n == NULL || n->missing) { return CELLAR_E_NOT_FOUND; }
    if (after && (t == NULL || !task_is_live(t))) { return CELLAR_MISS; }
    const cellar_err err = d->ext != NULL ? task_there(p, d, now, other, id) : CELLAR_OK;
    return err == CELLAR_OK && d->on_conflict == CELLAR_TASK_CONFLICT_THROTTLE &&
                   !task_throttle_fits(p, d->ext, now, a)
               ? CELLAR_E_BUSY : err;
}

/* Enter the key of THROTTLE, not yet in force. NULL: no memory. */
static task_throttle *task_throttle_of(cellar_pool *p, task_draft *d) SYNC_HOLDS(QUEUE)
{
    task_throttle *h = task_throttle_find(p, d->ext->text, d->ext->key_len);
    if (h != NULL) { return h; }
    h = task_throttle_add(p, d->throttle) ? d->throttle : NULL;
    if (h != NULL) { d->throttle = NULL; }
    return h;
}

/* Make a task of a draft. A slot is free, or a task that is there refuses the draft. PENDING:
 * DEBOUNCE leaves the key, and the draft is done. */
static cellar_err task_insert_one(cellar_pool *p, task_draft *d, work_time now, task_after *a,
                                  cellar_task_id *id) SYNC_HOLDS(QUEUE)
{
    task_name *n = task_draft_name(p, d);
    task_ext *e = d->ext;
    task_throttle *h = NULL;
    task *other;
    const cellar_err err = task_admits(p, n, d, now, a, &other, id);
    if (err == CELLAR_E_BUSY) { p->count[STATS_TASK_REJECTED_FULL]++; }
    const bool bounces = d->on_conflict == CELLAR_TASK_CONFLICT_DEBOUNCE;
    if (err != CELLAR_OK && (err != CELLAR_PENDING || !bounces)) { return err; }
    if (d->on_conflict == CELLAR_TASK_CONFLICT_THROTTLE) {
        h = task_throttle_of(p, d);
        if (h == NULL) { return CELLAR_E_NOMEM; }
    }
    if (other != NULL && bounces && task_keeps_key(other, now.mono_ms)) {
        task_debounce(p, other, d, now, a);
        return CELLAR_PENDING;
    }
    if (e != NULL && !task_tables_add(p, e)) { return CELLAR_E_NOMEM; }
    if (other != NULL) { task_conflict(p, other, d, now, a); } /* nothing fails behind it */
    task *t = task_slot_take(p, n);
    t->body = d->body;
    t->ext = e;
    t->priority = d->priority;
    t->max_attempts = (uint8_t)n->opts.max_attempts;
    if (e != NULL) { e->of = t; }
    d->made = t;
    d->max_attempts = t->max_attempts;
    if (p->journal != NULL) { *task_row_of(p, t) = (task_row){ .next = NULL }; }
    *id = task_id_of(p, t);
    if (h != NULL) {
        h->until_ms = e->key_until_ms;
        h->id = *id;
    }
    if (e != NULL && e->before != NULL) { e->before->then_id = *id; }
    return CELLAR_OK;
}

/* Let the task of a draft wait for the one before it. MISS: that one has ended, and its state is
 * not known. */
static cellar_err task_attach(cellar_pool *p, task_draft *d, task_after *a) SYNC_HOLDS(QUEUE)
{
    task_before *b = d->before;
    task_group *g = d->ext->before;
    task_bursts_recall(p, a);
    task *t = task_find(p, b->id);
    b->attached = t != NULL && task_is_live(t);
    if (!b->attached && !b->ended) { return CELLAR_MISS; }
    if (!b->attached) {
        g->done[0] = 1;
        g->left = 0;
        g->failed = b->state != CELLAR_TASK_SUCCEEDED;
        g->result[0] = task_body_hold(b->result);
        return CELLAR_OK;
    }
    if (t->ext == NULL) {
        t->ext = b->spare;
        t->ext->of = t;
        b->spare = NULL;
    }
    g->refs++;
    g->after = t->ext->after;
    t->ext->after = g;
    return CELLAR_OK;
}

/* Undo task_attach after a failed commit. A task that has ended keeps the group. */
static void task_unattach(cellar_pool *p, task_draft *d, task_after *a) SYNC_HOLDS(QUEUE)
{
    task_group *g = d->ext->before;
    const task *t = task_find(p, d->before->id);
    if (t != NULL && task_is_live(t)) {
        task_group **at = &t->ext->after;
        while (*at != g) { at = &(*at)->after; }
        *at = g->after;
        g->refs--;
    }
    base_store_rlx(&g->ended, true);
    task_group_unref(g, a);
    d->ext->before = NULL;
}

/* Put a task of this call where it waits. */
static void task_place(cellar_pool *p, task_draft *d, work_time now, task_after *a)
    SYNC_HOLDS(QUEUE)
{
    task *t = d->made;
    task_name *n = p->names[t->name];
    task_body_enter(p, t->body);
    n->count[STATS_TASK_SUBMITTED]++;
    if (t->ext != NULL && t->ext->before != NULL) {
        t->ext->before->then = t;
        task_to_waiting(t);
        /* The task before it may have ended. */
        task *ended = task_group_decide(p, t->ext->before, now.mono_ms, a);
        task_end(p, ended, CELLAR_TASK_CANCELLED, now.mono_ms, a);
    } else if (d->eta_wall_ms > now.wall_ms) {
        task_to_wall(p, t, d->eta_wall_ms, a);
    } else if (d->delay_ms > 0) {
        task_to_wheel(p, t, CELLAR_TASK_SCHEDULED, task_time_add(now.mono_ms, d->delay_ms), a);
    } else {
        task_to_queue(p, t, now.mono_ms, a);
    }
    d->body = NULL;
    d->ext = NULL;
    /* While the commit was waited for, the name was removed. */
    if (n->removed && task_is_live(t)) {
        task_detach(p, t, a);
        task_end(p, t, CELLAR_TASK_CANCELLED, now.mono_ms, a);
    }
}

/* Write tasks that have slots into the journal. They count as live: nothing takes their room. */
static cellar_err task_insert_commit(cellar_pool *p, const task_draft *d, uint32_t count,
                                     work_time now, const cellar_task_id *ids) SYNC_HOLDS(QUEUE)
{
    for (uint32_t i = 0; i < count; i++) {
        task_live_add(p, p->names[d[i].made->name], d[i].body->len);
    }
    task_ticket k = { .draft = d, .id = ids, .count = count, .wall_ms = now.wall_ms };
    const cellar_err err = p->journal != NULL ? task_commit_ticket(p, &k) : CELLAR_OK;
    for (uint32_t i = 0; i < count && err != CELLAR_OK; i++) {
        task_live_drop(p, p->names[d[i].made->name], d[i].body->len);
    }
    return err;
}

/* Take back the slots of a call that failed. */
static void task_take_back(cellar_pool *p, task_draft *d, uint32_t count, task_after *a)
    SYNC_HOLDS(QUEUE)
{
    for (uint32_t i = 0; i < count; i++) {
        if (d[i].made == NULL) { continue; }
        if (d[i].before != NULL && d[i].before->attached) { task_unattach(p, &d[i], a); }
        if (d[i].ext != NULL) {
            task *other = task_find(p, d[i].other);
            if (other != NULL && task_is_live(other) && task_key_add(p, other->ext)) {
                task_mark(p, other, a); /* it has its key again */
            }
            d[i].other = (cellar_task_id){ 0, 0 };
            task_key_drop(p, d[i].ext);
            task_id_drop(p, d[i].ext);
        }
        if (d[i].on_conflict == CELLAR_TASK_CONFLICT_THROTTLE) {
            task_throttle *h = task_throttle_find(p, d[i].ext->text, d[i].ext->key_len);
            if (h != NULL && h->until_ms == d[i].ext->key_until_ms) { h->until_ms = 0; }
        }
        task_slot_free(p, d[i].made);
        d[i].made = NULL;
    }
}

CELLAR_PRIVATE cellar_err task_intake_of(cellar_pool *p)
{
    const bool open = p->intake == TASK_INTAKE_OPEN ||
                      (p->intake == TASK_INTAKE_TASKS && task_run_mine(p) != NULL);
    return open ? CELLAR_OK : CELLAR_E_CLOSED;
}

static bool task_fits(const cellar_pool *p, uint32_t count, uint64_t bytes) SYNC_HOLDS(QUEUE)
{
    return p->live + (uint64_t)count <= p->cfg.queue_cap &&
           p->live_bytes + bytes <= p->cfg.queue_bytes;
}

CELLAR_PRIVATE bool task_name_fits(const task_name *n, uint32_t count, uint64_t bytes)
{
    const cellar_task_opts *o = &n->opts;
    return n->live + (uint64_t)count <= o->queue_cap && bytes <= o->queue_bytes &&
           n->live_bytes <= o->queue_bytes - bytes;
}

/* Return whether a call has room once queued tasks of a name, or NULL: of the pool, are dropped.
 * `known`: the call drops already. */
static bool task_drops_fit(cellar_pool *p, task_name *n, uint64_t count, uint64_t bytes, bool known)
    SYNC_HOLDS(QUEUE)
{
    const cellar_pool_full full = n != NULL ? n->opts.on_full : p->cfg.on_full;
    const uint64_t cap = n != NULL ? n->opts.queue_cap : p->cfg.queue_cap;
    const uint64_t most = (n != NULL ? n->opts.queue_bytes : p->cfg.queue_bytes) - bytes;
    const uint64_t live = (n != NULL ? n->live : p->live) + count;
    const uint64_t live_bytes = n != NULL ? n->live_bytes : p->live_bytes;
    const task *t = full == CELLAR_POOL_DROP_OLDEST ? task_queue_oldest(p, n) : NULL;
    if (t == NULL || known) { return t != NULL; }
    if (live - 1 <= cap && live_bytes - t->body->len <= most) { return true; }
    uint64_t gone = 0, gone_bytes = 0;
    for (uint32_t i = 0; i < p->chunk_count * TASK_CHUNK; i++) {
        t = task_slot_at(p, i);
        if (t == NULL || t->state != CELLAR_TASK_QUEUED || (n != NULL && t->name != n->number)) {
            continue;
        }
        gone_bytes += t->body->len;
        if (live - ++gone <= cap && live_bytes - gone_bytes <= most) { return true; }
    }
    return false;
}

/* Ask the names of drafts for room. E_BUSY: *full has none, and *yields says whether each full one
 * has once queued tasks are dropped. E_TOOBIG: a name never has. */
static cellar_err task_names_fit(cellar_pool *p, const task_draft *d, uint32_t count,
                                 bool known, task_name **full, bool *yields) SYNC_HOLDS(QUEUE)
{
    cellar_err err = CELLAR_OK;
    for (uint32_t i = 0; i < count; i++) {
        task_name *n = task_draft_name(p, &d[i]);
        if (n == NULL) { continue; } /* task_insert_one refuses it */
        n->asked++;
        n->asked_bytes += d[i].body->len;
    }
    for (uint32_t i = 0; i < count; i++) {
        task_name *n = task_draft_name(p, &d[i]);
        if (n == NULL) { continue; }
        if (n->asked > n->opts.queue_cap || n->asked_bytes > n->opts.queue_bytes) {
            err = CELLAR_E_TOOBIG;
        } else if (err != CELLAR_E_TOOBIG && !task_name_fits(n, n->asked, n->asked_bytes)) {
            if (*yields) {
                *full = n;
                *yields = task_drops_fit(p, n, n->asked, n->asked_bytes, known);
            }
            err = CELLAR_E_BUSY;
        }
        n->asked = 0; /* the next task of the name asks for nothing */
        n->asked_bytes = 0;
    }
    return err;
}

/* Ask pool and names for room. E_BUSY: *full has none; NULL: the pool; *yields: it has once queued
 * tasks are dropped. It was true before: the call drops already. A pool that drops its oldest task
 * is asked last. */
static cellar_err task_fit(cellar_pool *p, const task_draft *d, uint32_t count, uint64_t bytes,
                           task_name **full, bool *yields) SYNC_HOLDS(QUEUE)
{
    const bool room = task_fits(p, count, bytes);
    const bool known = *yields;
    *full = NULL;
    *yields = true;
    if (count > p->cfg.queue_cap || bytes > p->cfg.queue_bytes) { return CELLAR_E_TOOBIG; }
    if (!room) { *yields = task_drops_fit(p, NULL, count, bytes, known); }
    const cellar_err err = p->limits ? task_names_fit(p, d, count, known, full, yields) : CELLAR_OK;
    return err == CELLAR_OK && !room ? CELLAR_E_BUSY : err;
}

/* Wait until there is room, or make some. */
static cellar_err task_make_room(cellar_pool *p, const task_draft *d, uint32_t count,
                                 uint64_t bytes, work_time now, task_after *a) SYNC_HOLDS(QUEUE)
{
    const task_run *mine = task_run_mine(p);
    if (a->until_ns == 0) { a->until_ns = base_until_ns(p->cfg.block_timeout_ms); }
    task_name *n;
    cellar_err err;
    bool yields = false;
    task_bursts_recall(p, a);
    while ((err = task_fit(p, d, count, bytes, &n, &yields)) == CELLAR_E_BUSY) {
        const cellar_pool_full full = n != NULL ? n->opts.on_full : p->cfg.on_full;
        if (yields) {
            task *t = task_queue_oldest(p, n);
            task_detach(p, t, a);
            p->names[t->name]->count[STATS_TASK_DROPPED]++;
            task_end(p, t, CELLAR_TASK_CANCELLED, now.mono_ms, a);
            continue;
        }
        if (full == CELLAR_POOL_BLOCK) {
            err = task_must_not_sleep(p, mine)   ? CELLAR_E_DEADLOCK
                  : base_now_ns() >= a->until_ns ? CELLAR_E_TIMEOUT
                                                 : CELLAR_OK;
        }
        if (err != CELLAR_OK) {
            (n != NULL ? n->count : p->count)[STATS_TASK_REJECTED_FULL]++;
            return err;
        }
        task_sleep(p, mine, a->until_ns);
        err = task_intake_of(p);
        if (err != CELLAR_OK) { return err; }
    }
    return err;
}

CELLAR_PRIVATE cellar_err task_insert(cellar_pool *p, task_draft *d, uint32_t count, work_time now,
                                      task_after *a, cellar_task_id *ids)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) { bytes += d[i].body->len; }
    task_name *full;
    cellar_err err;
    bool slept;
    do {
        bool yields = true; /* task_make_room sums up what drops free */
        err = task_intake_of(p);
        if (err == CELLAR_OK) { err = task_fit(p, d, count, bytes, &full, &yields); }
        if (err == CELLAR_E_BUSY) {
            uint32_t i = 0;
            task *other;
            err = CELLAR_OK;
            while (i < count && (err = task_admits(p, task_draft_name(p, &d[i]), &d[i], now, a,
                                                   &other, &ids[i])) == CELLAR_OK) {
                i++;
            }
            if (err == CELLAR_MISS) { return err; } /* nothing is inserted */
            err = i < count ? task_insert_one(p, &d[i], now, a, &ids[i]) /* it takes no slot */
                  : task_leaves_room(p, other, d, now)
                      ? CELLAR_OK : task_make_room(p, d, count, bytes, now, a);
        }
        slept = p->free_count < count; /* the reserve drops the lock then */
        if (err == CELLAR_OK && !task_slab_reserve(p, count)) { err = CELLAR_E_NOMEM; }
    } while (err == CELLAR_OK && slept);
    for (uint32_t i = 0; i < count && err == CELLAR_OK; i++) {
        err = task_insert_one(p, &d[i], now, a, &ids[i]);
    }
    if (err == CELLAR_OK && d->before != NULL) { err = task_attach(p, d, a); }
    if (err == CELLAR_OK) {
        err = task_insert_commit(p, d, count, now, ids);
        a->ended = a->ended || p->watching != 0; /* a drain may wait for this submit */
    }
    if (err != CELLAR_OK) {
        task_take_back(p, d, count, a);
        return err;
    }
    for (uint32_t i = 0; i < count; i++) { task_place(p, &d[i], now, a); }
    return CELLAR_OK;
}

/* Return whether the commit of another submit decides about a key or an id of drafts. False also
 * for a free_fn that a round calls: that submit cannot end before it. */
static bool task_meets(cellar_pool *p, const task_draft *d, uint32_t count) SYNC_HOLDS(QUEUE)
{
    const task *t = NULL;
    for (uint32_t i = 0; i < count && t == NULL; i++) {
        const task_ext *e = d[i].ext;
        if (e == NULL) { continue; }
        if (e->id.hi != 0) { t = task_find_any(p, e->id); }
        if (t == NULL && e->key_len != 0) { t = task_find_key(p, e->text, e->key_len); }
        if (t != NULL && t->state != TASK_FREE) { t = NULL; }
    }
    return t != NULL && base_load_rlx(&p->journal->owner) != base_thread_id();
}

/* Insert drafts. EXISTS is of tasks that are committed. */
static cellar_err task_insert_sure(cellar_pool *p, task_draft *d, uint32_t count, work_time now,
                                   task_after *a, cellar_task_id *ids) SYNC_HOLDS(QUEUE)
{
    cellar_err err;
    while ((err = task_insert(p, d, count, now, a, ids)) == CELLAR_EXISTS &&
           task_meets(p, d, count)) {
        task_sleep(p, task_run_mine(p), UINT64_MAX);
    }
    return err;
}

/* Insert the task of a draft. MISS: the task before it has ended, or see task_there. *kept: why
 * a change of an older task was not written, with PENDING. */
static cellar_err task_submit_one(cellar_pool *p, task_draft *d, work_time now, cellar_err *kept,
                                  cellar_task_id *made)
{
    task_after a = task_lock(p);
    cellar_err err = task_insert_sure(p, d, 1, now, &a, made);
    const bool changes = err == CELLAR_PENDING && d->on_conflict == CELLAR_TASK_CONFLICT_DEBOUNCE;
    if (changes && task_commit_wait(p) != CELLAR_OK) { *kept = p->journal->err; }
    task_unlock(p, &a);
    return err;
}

/* Insert the task of a draft that waits for another. */
static cellar_err task_submit_after(cellar_pool *p, task_draft *d, work_time now, cellar_err *kept,
                                    cellar_task_id *made)
{
    task_before b = { .id = *d->after, .spare = task_ext_make(p, NULL, NULL) };
    task_group *g = task_group_make(p, 1, d->run_on);
    cellar_err err = b.spare != NULL && g != NULL ? CELLAR_OK : CELLAR_E_NOMEM;
    d->before = &b;
    d->ext->before = g;
    if (err == CELLAR_OK) {
        g->refs = 1;
        err = task_submit_one(p, d, now, kept, made);
    }
    if (err == CELLAR_MISS) {
        err = task_final(p, b.id, &b.state, &b.result);
        b.ended = true;
        if (err == CELLAR_OK) { err = task_submit_one(p, d, task_near(p), kept, made); }
    }
    task_ext_free(p, b.spare);
    task_body_drop(p, b.result, true);
    return err;
}

static cellar_err task_submit(cellar_pool *p, const cellar_task_item *item, cellar_task_id *id,
                              const char **why)
{
    task_draft d = { .name = NULL };
    cellar_task_id made = { 0, 0 };
    cellar_err kept = CELLAR_OK;
    if (id != NULL) { *id = made; }
    cellar_err err = task_check(p);
    if (err != CELLAR_OK) { return err; }
    const work_time now = task_near(p);
    err = task_draft_make(p, item, now, false, false, &d, why);
    if (err == CELLAR_OK) {
        err = d.after != NULL ? task_submit_after(p, &d, now, &kept, &made)
                              : task_submit_one(p, &d, now, &kept, &made);
    }
    while (err == CELLAR_MISS) { /* of id_in */
        err = task_recorded(p, d.ext->id) ? CELLAR_EXISTS
                                          : task_submit_one(p, &d, now, &kept, &made);
    }
    /* PENDING: the payload was taken over, and it, or the one before it, is not needed. */
    task_drafts_drop(p, &d, 1, err == CELLAR_PENDING);
    if (id != NULL && err >= CELLAR_OK) { *id = made; }
    return err == CELLAR_PENDING ? kept : err;
}

CELLAR_API cellar_err cellar_task_submit(cellar_pool *p, const char *name, const void *payload,
                                         size_t payload_len, const cellar_submit_opts *o,
                                         cellar_task_id *id)
{
    const cellar_task_item item = { name, payload, payload_len, o };
    const char *why = TASK_ITEM_RULE;
    const cellar_err err = task_submit(p, &item, id, &why);
    if (err == CELLAR_E_NOT_FOUND) {
        return base_refuse(err, "cellar_task_submit", o != NULL
            ? "no task is registered with this name, or `after` is unknown or has ended"
            : "no task is registered with this name: call cellar_task_register first");
    }
    return err == CELLAR_E_INVAL ? base_refuse(err, "cellar_task_submit", why) : err;
}

/* ---- several tasks ---- */

/* Make the groups of a chain, or the one of a group. */
static cellar_err task_link(cellar_pool *p, task_draft *d, uint32_t count, cellar_task_links links)
{
    const uint32_t members = links == CELLAR_LINKS_GROUP ? count - 1 : 1;
    for (uint32_t then = members; then < count && links != CELLAR_LINKS_NONE; then++) {
        if (d[then].eta_wall_ms != 0) { return CELLAR_E_INVAL; }
        task_group *g = task_group_make(p, members, d[then].run_on);
        if (g == NULL) { return CELLAR_E_NOMEM; }
        d[then].ext->before = g;
        g->refs = members + 1;
        for (uint32_t i = 0; i < members; i++) {
            d[then - members + i].ext->member_of = g;
            d[then - members + i].ext->member = i;
        }
    }
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_task_submit_many(cellar_pool *p, const cellar_task_item *items,
                                              uint32_t count, cellar_task_links links,
                                              cellar_task_id *ids)
{
    cellar_err err = task_check(p);
    if (err != CELLAR_OK) { return err; }
    const uint32_t least = links == CELLAR_LINKS_GROUP ? 2 : 1;
    if (items == NULL || count < least || count - least >= CELLAR_TASK_GROUP_MAX ||
        (unsigned)links > CELLAR_LINKS_GROUP) {
        return CELLAR_E_INVAL;
    }
    const work_time now = task_near(p);
    const size_t bytes = count * sizeof(task_draft), id_bytes = count * sizeof(cellar_task_id);
    task_draft *d = base_alloc(&p->obj.account, BASE_MOD_STORE, bytes, NULL);
    cellar_task_id *made = base_alloc(&p->obj.account, BASE_MOD_STORE, id_bytes, NULL);
    const char *why;
    uint32_t n = 0;
    err = d != NULL && made != NULL ? CELLAR_OK : CELLAR_E_NOMEM;
    while (n < count && err == CELLAR_OK) {
        err = task_draft_make(p, &items[n], now, links != CELLAR_LINKS_NONE, n != 0, &d[n], &why);
        const bool alone = d[n].on_conflict != CELLAR_TASK_CONFLICT_REJECT || d[n].after != NULL ||
                           (d[n].ext != NULL && d[n].ext->id.hi != 0);
        n++;
        if (err == CELLAR_OK && alone) { err = CELLAR_E_INVAL; } /* the only one of its call */
    }
    if (err == CELLAR_OK) { err = task_link(p, d, count, links); }
    if (err == CELLAR_OK) {
        task_after a = task_lock(p);
        err = task_insert_sure(p, d, count, now, &a, made);
        task_unlock(p, &a);
    }
    if (err == CELLAR_OK && ids != NULL) { memcpy(ids, made, id_bytes); }
    task_drafts_drop(p, d, n, false);
    base_free(&p->obj.account, BASE_MOD_STORE, made, id_bytes);
    base_free(&p->obj.account, BASE_MOD_STORE, d, bytes);
    return err;
}

/* ---- cancel, dead letters ---- */

CELLAR_API cellar_err cellar_task_cancel(cellar_pool *p, cellar_task_id id)
{
    cellar_err err = task_check(p);
    if (err != CELLAR_OK) { return err; }
    const work_time now = task_near(p);
    task_after a = task_lock_recall(p);
    task *t = task_find(p, id);
    if (t == NULL) {
        err = CELLAR_E_NOT_FOUND;
    } else if (!task_is_live(t)) {
        err = task_commit_wait(p);
        if (err == CELLAR_OK) { err = CELLAR_E_BUSY; }
    } else if (t->state == CELLAR_TASK_RUNNING) {
        task_run *r = task_run_of(p, t);
        t->flags |= TASK_CANCEL;
        base_store_rlx(&r->cancelled, 1u);
        err = CELLAR_PENDING;
    } else {
        task_detach(p, t, &a);
        task_end(p, t, CELLAR_TASK_CANCELLED, now.mono_ms, &a);
        err = task_commit_wait(p);
    }
    task_unlock(p, &a);
    return err;
}

/* Return the dead letter of an id; NULL: none. */
static task *task_dead_find(cellar_pool *p, cellar_task_id id) SYNC_HOLDS(QUEUE)
{
    task *t = task_find(p, id);
    return t != NULL && task_is_dead(t) ? t : NULL;
}

CELLAR_API cellar_err cellar_task_requeue(cellar_pool *p, cellar_task_id id)
{
    cellar_err err = task_check(p);
    if (err != CELLAR_OK) { return err; }
    const work_time now = task_near(p);
    task_ext *spare = task_ext_make(p, NULL, NULL); /* a message may need it */
    task_after a = task_lock_recall(p);
    task *t = task_dead_find(p, id);
    task_ext *e = t != NULL ? t->ext : NULL;
    const bool keyed = e != NULL && e->key_len != 0;
    task *other = keyed ? task_find_key(p, e->text, e->key_len) : NULL;
    err = task_intake_of(p);
    if (err != CELLAR_OK) {
    } else if (t == NULL) {
        err = CELLAR_E_NOT_FOUND;
    } else if (!task_fits(p, 1, t->body->len) ||
               !task_name_fits(p->names[t->name], 1, t->body->len)) {
        p->count[STATS_TASK_REJECTED_FULL]++;
        err = CELLAR_E_BUSY;
    } else if (other != NULL && task_keeps_key(other, now.mono_ms)) {
        err = CELLAR_EXISTS;
    } else if ((keyed && !task_key_add(p, e)) || (e == NULL && spare == NULL)) {
        err = CELLAR_E_NOMEM;
    } else {
        if (other != NULL) {
            task_key_drop(p, other->ext);
            task_mark(p, other, &a);
        }
        task_revive(p, t, now.mono_ms, &spare, &a);
        err = task_commit_wait(p);
    }
    task_unlock(p, &a);
    task_ext_free(p, spare);
    return err;
}

CELLAR_API cellar_err cellar_task_purge(cellar_pool *p, cellar_task_id id)
{
    cellar_err err = task_check(p);
    if (err != CELLAR_OK) { return err; }
    task_after a = task_lock(p);
    task *t = task_dead_find(p, id);
    if (t != NULL) {
        p->names[t->name]->count[STATS_TASK_DEAD_PURGED]++;
        task_dead_drop(p, t, &a);
        err = task_commit_wait(p);
    } else {
        err = CELLAR_E_NOT_FOUND;
    }
    task_unlock(p, &a);
    return err;
}

BASE_SIZE_END
