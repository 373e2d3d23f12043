/* SPDX-License-Identifier: MIT
 *
 * cmd_work: CELLAR.TASKS SCHED REFRESH: what the parts of the program that the port was given list.
 *
 * PICTURE    CELLAR.TASKS [cursor [COUNT n] [STATE s] [NAME n] [TAG t]] -> [next cursor, [map ..]]
 * INVARIANTS A reply has at most RESP_LIST_MAX maps; cursor 0 begins, and ends, as in SCAN. A
 *            cursor of tasks is a place in the pool; all others are positions in the list.
 * LOCKING    None. The lists call back with no lock held. */
#include "resp/data.h"


#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cellar_refresh.h"
#include "cellar_schedule.h"
#include "cellar_task.h"
#include "base/text.h"
#include "resp/options.h"

BASE_SIZE_BEGIN

#define RESP_LIST_MAX 1000

/* A list that is being written. */
typedef struct resp_list {
    resp_client *c;
    uint64_t skip;          /* rows before the first one that is shown */
    int64_t most;           /* rows to show */
    int64_t count;          /* rows shown */
    bool more;              /* the list has rows behind them */
    resp_out before;        /* replies before the list */
} resp_list;

/* Words behind the command. */
typedef struct resp_list_words {
    uint64_t cursor;
    int64_t count;
    cellar_bytes state, name, tag; /* of tasks; data NULL: any */
} resp_list_words;

/* Read cursor and words. False: an error was written. */
static bool resp_list_read(resp_client *c, const cellar_bytes *argv, uint32_t argc, bool tasks,
                           resp_list_words *w)
{
    *w = (resp_list_words){ .count = 100 };
    if (argc > 1 && !resp_read_cursor(argv[1].data, argv[1].len, &w->cursor)) {
        resp_error(c, "ERR invalid cursor");
        return false;
    }
    for (uint32_t i = 2; i < argc; i += 2) {
        const bool last = i + 1 == argc;
        if (!last && resp_is(&argv[i], "count")) {
            if (!resp_need_int(c, &argv[i + 1], &w->count)) { return false; }
        } else if (!last && tasks && resp_is(&argv[i], "state")) {
            w->state = argv[i + 1];
        } else if (!last && tasks && resp_is(&argv[i], "name")) {
            w->name = argv[i + 1];
        } else if (!last && tasks && resp_is(&argv[i], "tag")) {
            w->tag = argv[i + 1];
        } else {
            resp_syntax(c);
            return false;
        }
    }
    if (w->count < 1 || w->count > RESP_LIST_MAX) {
        resp_error(c, "ERR COUNT must be 1..%d", RESP_LIST_MAX);
        return false;
    }
    return true;
}

static resp_list resp_list_begin(resp_client *c, uint64_t skip, int64_t most)
{
    return (resp_list){ .c = c, .skip = skip, .most = most, .before = resp_out_take(c) };
}

/* Count a row. False: it is not shown; *go: the list goes on. */
static bool resp_list_row(resp_list *l, bool *go)
{
    *go = true;
    if (l->skip > 0) {
        l->skip--;
        return false;
    }
    *go = l->count < l->most;
    l->more = !*go;
    l->count += *go;
    return *go;
}

/* Write the reply around the rows. */
static void resp_list_end(resp_list *l, uint64_t next, cellar_err err)
{
    const resp_out rows = resp_out_take(l->c);
    resp_out_add(l->c, l->before);
    if (err != CELLAR_OK) { /* then there are no rows */
        resp_error(l->c, "ERR the list ended with code %d", (int)err);
        return;
    }
    char cursor[24];
    (void)snprintf(cursor, sizeof cursor, "%" PRIu64, next);
    resp_array(l->c, 2);
    resp_bulk_text(l->c, cursor);
    resp_array(l->c, (uint64_t)l->count);
    resp_out_add(l->c, rows);
}

static bool resp_list_part(resp_client *c, const void *pool)
{
    if (pool == NULL) { resp_error(c, "ERR the port was opened without a pool"); }
    return pool != NULL;
}

/* ---- tasks ---- */

static const char *const resp_states[] = { "", "waiting", "scheduled", "queued", "running", "retry",
                                           "succeeded", "failed", "cancelled", "expired" };
#define RESP_STATES (sizeof resp_states / sizeof *resp_states)

static bool resp_task_row(const cellar_task_status *s, void *ctx)
{
    resp_list *l = ctx;
    resp_client *c = l->c;
    char id[33];
    (void)snprintf(id, sizeof id, "%016" PRIx64 "%016" PRIx64, s->id.hi, s->id.lo);
    resp_map(c, 14);
    resp_pair_text(c, "id", id);
    resp_pair_text(c, "name", s->name);
    resp_pair_text(c, "state", (size_t)s->state < RESP_STATES ? resp_states[s->state] : "");
    resp_pair_text(c, "tag", s->tag);
    resp_pair_int(c, "attempt", (int64_t)s->attempt);
    resp_pair_int(c, "max_attempts", (int64_t)s->max_attempts);
    resp_pair_int(c, "priority", (int64_t)s->priority);
    resp_pair_int(c, "submitted_ms", s->submitted_wall_ms);
    resp_pair_int(c, "due_ms", s->due_wall_ms);
    resp_pair_int(c, "started_ms", s->started_wall_ms);
    resp_pair_int(c, "ended_ms", s->ended_wall_ms);
    resp_pair_int(c, "progress_current", (int64_t)s->progress_current);
    resp_pair_int(c, "progress_total", (int64_t)s->progress_total);
    resp_pair_text(c, "error", s->error);
    return ++l->count < l->most;
}

/* Copy a word of a filter. False: no name has these bytes. */
static bool resp_filter_text(const cellar_bytes *from, char *to, size_t cap, const char **text)
{
    if (from->data == NULL) { return true; }
    if (from->len >= cap || memchr(from->data, '\0', from->len) != NULL) { return false; }
    memcpy(to, from->data, from->len);
    to[from->len] = '\0';
    *text = to;
    return true;
}

static bool resp_filter_read(const resp_list_words *w, cellar_task_filter *f, char *name, char *tag)
{
    for (uint32_t i = 1; w->state.data != NULL && i < RESP_STATES; i++) {
        if (resp_is(&w->state, resp_states[i])) { f->states = 1u << i; }
    }
    return (w->state.data == NULL || f->states != 0) &&
           resp_filter_text(&w->name, name, CELLAR_NAME_MAX + 1, &f->name) &&
           resp_filter_text(&w->tag, tag, CELLAR_TASK_TEXT_MAX + 1, &f->tag);
}

RESP_CALL(resp_cmd_tasks)
{
    resp_list_words w;
    cellar_task_filter f = cellar_task_filter_default();
    char name[CELLAR_NAME_MAX + 1], tag[CELLAR_TASK_TEXT_MAX + 1];
    struct cellar_pool *pool = c->of->opts.pool;
    if (!resp_list_part(c, pool) || !resp_list_read(c, argv, argc, true, &w)) { return; }
    if (!resp_filter_read(&w, &f, name, tag)) {
        resp_error(c, "ERR no task has such a state, name or tag");
        return;
    }
    resp_list l = resp_list_begin(c, 0, w.count);
    const cellar_err err = cellar_task_list(pool, &f, &w.cursor, resp_task_row, &l);
    resp_list_end(&l, w.cursor, err);
}

/* ---- schedules ---- */

static bool resp_schedule_row(const cellar_schedule_info *i, void *ctx)
{
    static const char *const kinds[] = { "", "every", "cron", "at" };
    resp_list *l = ctx;
    resp_client *c = l->c;
    bool go;
    if (!resp_list_row(l, &go)) { return go; }
    resp_map(c, 9);
    resp_pair_text(c, "name", i->name);
    resp_pair_text(c, "kind", kinds[i->kind]);
    resp_pair_int(c, "interval_ms", i->interval_ms);
    resp_pair_int(c, "next_ms", i->next_wall_ms == INT64_MAX ? -1 : i->next_wall_ms);
    resp_pair_int(c, "last_ms", i->last_wall_ms == INT64_MIN ? -1 : i->last_wall_ms);
    resp_pair_int(c, "runs", (int64_t)i->runs);
    resp_pair_int(c, "missed", (int64_t)i->missed);
    resp_pair_int(c, "skipped", (int64_t)i->skipped);
    resp_pair_text(c, "state", i->running > 0 ? "running" : i->paused != 0 ? "paused" : "waiting");
    return true;
}

RESP_CALL(resp_cmd_sched)
{
    resp_list_words w;
    struct cellar_pool *p = c->of->opts.pool;
    if (!resp_list_part(c, p) || !resp_list_read(c, argv, argc, false, &w)) { return; }
    resp_list l = resp_list_begin(c, w.cursor, w.count);
    const cellar_err err = cellar_schedule_list(p, resp_schedule_row, &l);
    resp_list_end(&l, l.more ? w.cursor + (uint64_t)l.count : 0, err);
}

/* ---- refreshes ---- */

static bool resp_refresh_row(const cellar_refresh_info *i, void *ctx)
{
    static const struct { uint32_t flag; const char *word; } words[] = {
        { CELLAR_REFRESH_UNCOVERED, "uncovered" }, { CELLAR_REFRESH_PATTERN, "pattern" },
        { CELLAR_REFRESH_POLICY, "policy" }, { CELLAR_REFRESH_SHORT_TTL, "short-ttl" },
        { CELLAR_REFRESH_SLEEPS, "sleeps" }, { CELLAR_REFRESH_RUNNING, "running" },
    };
    resp_list *l = ctx;
    resp_client *c = l->c;
    bool go;
    if (!resp_list_row(l, &go)) { return go; }
    char flags[64];
    base_text t = { flags, sizeof flags, 0 };
    flags[0] = '\0';
    for (size_t k = 0; k < sizeof words / sizeof *words; k++) {
        if ((i->flags & words[k].flag) == 0) { continue; }
        base_text_add(&t, "%s%s", t.len > 0 ? " " : "", words[k].word);
    }
    resp_map(c, 13);
    resp_bulk_text(c, "key");
    resp_bulk(c, i->key, i->key_len);
    resp_pair_text(c, "loader", i->loader);
    resp_pair_text(c, "flags", flags);
    resp_pair_int(c, "interval_ms", i->interval_ms);
    resp_pair_int(c, "ttl_ms", i->ttl_ms);
    resp_pair_int(c, "next_ms", i->next_ms);
    resp_pair_int(c, "ok_age_ms", i->ok_age_ms);
    resp_pair_int(c, "failed_age_ms", i->failed_age_ms);
    resp_pair_int(c, "ok", (int64_t)i->ok);
    resp_pair_int(c, "failed", (int64_t)i->failed);
    resp_pair_int(c, "skipped", (int64_t)i->skipped);
    resp_pair_int(c, "keys", (int64_t)i->keys);
    resp_pair_int(c, "last_err", i->last_err);
    return true;
}

RESP_CALL(resp_cmd_refresh)
{
    resp_list_words w;
    struct cellar_pool *p = c->of->opts.pool;
    if (!resp_list_part(c, p) || !resp_list_read(c, argv, argc, false, &w)) { return; }
    resp_list l = resp_list_begin(c, w.cursor, w.count);
    const cellar_err err = cellar_refresh_list(p, resp_refresh_row, &l);
    resp_list_end(&l, l.more ? w.cursor + (uint64_t)l.count : 0, err);
}

BASE_SIZE_END

