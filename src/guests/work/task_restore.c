/* SPDX-License-Identifier: MIT
 *
 * task_restore: open a journal and make its rows tasks again.
 *
 * WALK       database -> damaged: refuse it, or set it aside -> board of the last process
 *            -> rows in the order of their ids -> inputs and links of groups -> attempts of the
 *            board -> commit -> new board
 * INVARIANTS Nothing begins before the commit: the new board overwrites the old one.
 *            Of two tasks with one unique key the younger has it, as before the restart, unless
 *            its unique_ttl_ms is over. The row of a live task that lost its key says that.
 * TIMES      Wall times become monotonic ones. A wall clock that went back delays a task by its own
 *            delay at most. Tasks that are due wait in the wheel at `restore_rate`.
 * SEE ALSO   task_commit.c, journal_board.c */
#include "base/vfs.h"
#include "work/bus.h"

BASE_SIZE_BEGIN

#define TASK_ID_SHIFT 10 /* ids of messages begin at the time of the open: 1,024 for each ms */

typedef struct task_restorer {
    cellar_pool *p;
    work_time now;
    task_body *last;         /* of the last message; NULL: none */
    uint64_t due;            /* tasks that are due, so far */
    task_after after;
} task_restorer;

/* ---- rows ---- */

/* Return the name of a row; it waits for its registration. NULL: no memory. */
static task_name *task_restore_name(cellar_pool *p, const char *name) SYNC_HOLDS(QUEUE)
{
    task_name *n = task_name_find(p, name);
    if (n != NULL) { return n; }
    n = base_alloc(&p->obj.account, BASE_MOD_STORE, sizeof *n, NULL);
    if (n == NULL) { return NULL; }
    memcpy(n->name, name, strlen(name));
    n->missing = true;
    n->opts.queue_cap = UINT32_MAX;
    n->opts.queue_bytes = UINT64_MAX;
    n->gate.name = n;
    task_levels_init(&n->parked);
    if (task_name_enter(p, n, strlen(name))) { return n; }
    base_free(&p->obj.account, BASE_MOD_STORE, n, sizeof *n);
    return NULL;
}

/* Return a time of the wall clock as one of the monotonic clock; 0: never. */
static int64_t task_restore_until(const task_restorer *r, int64_t wall_ms)
{
    return wall_ms == 0 ? BASE_NEVER_MS
                        : task_time_add(r->now.mono_ms, BASE_MAX(wall_ms - r->now.wall_ms, 0));
}

/* Make the rare parts of a row: its id is one of them. */
static task_ext *task_restore_ext(task_restorer *r, const journal_row *row) SYNC_HOLDS(QUEUE)
{
    cellar_pool *p = r->p;
    task_ext *e = task_ext_make(p, row->unique_key, row->tag);
    if (e == NULL) { return NULL; }
    e->id = row->id;
    e->unique_states = (uint32_t)row->unique_states; /* the journal has checked its range */
    e->has_trace = row->trace.len == sizeof e->trace;
    if (e->has_trace) { memcpy(e->trace, row->trace.data, sizeof e->trace); }
    e->key_until_ms = task_restore_until(r, row->key_until_wall_ms);
    e->expires_ms = task_restore_until(r, row->expires_wall_ms);
    e->delay_ms = BASE_MIN(BASE_MAX(row->delay_ms, 0), CELLAR_POOL_DELAY_MAX_MS);
    if (row->error != NULL) { e->error = e->room = task_room_make(p, row->error); }
    if (row->inputs != 0 && e->error != NULL) {
        e->before = task_group_make(p, (uint32_t)row->inputs, (cellar_task_run_on)row->run_on);
    }
    if (e->error == NULL || (row->inputs != 0 && e->before == NULL)) {
        task_ext_free(p, e);
        return NULL;
    }
    if (e->before != NULL) {
        e->before->refs = 1;
        e->before->then_id = row->id;
    }
    const bool keeps = e->key_len != 0 && row->state != CELLAR_TASK_FAILED &&
                       e->key_until_ms > r->now.mono_ms;
    task *other = keeps ? task_find_key(p, e->text, e->key_len) : NULL;
    if (other != NULL) { task_key_drop(p, other->ext); }
    return e;
}

/* Put a live task where it waits. */
static void task_restore_place(task_restorer *r, task *t, const journal_row *row) SYNC_HOLDS(QUEUE)
{
    cellar_pool *p = r->p;
    const int64_t left_ms = row->due_wall_ms - r->now.wall_ms;
    const cellar_task_state state =
        row->state == CELLAR_TASK_RETRY ? CELLAR_TASK_RETRY : CELLAR_TASK_SCHEDULED;
    if (row->inputs != 0 && row->state == CELLAR_TASK_WAITING) {
        t->ext->before->then = t;
        task_to_waiting(t);
    } else if (row->due_wall_ms != 0 && row->delay_ms < 0 && left_ms > 0) {
        task_to_wall(p, t, row->due_wall_ms, &r->after);
    } else if (row->due_wall_ms != 0 && left_ms > 0) {
        const int64_t wait_ms = BASE_MIN(left_ms, t->ext->delay_ms);
        task_to_wheel(p, t, state, task_time_add(r->now.mono_ms, wait_ms), &r->after);
    } else {
        const int64_t wait_ms = (int64_t)(r->due++ * 1000 / p->cfg.restore_rate);
        task_to_wheel(p, t, state, task_time_add(r->now.mono_ms, wait_ms), &r->after);
    }
}

/* Make a task of a row. */
static cellar_err task_restore_row(const void *in, void *ctx) SYNC_HOLDS(QUEUE)
{
    const journal_row *row = in;
    task_restorer *r = ctx;
    cellar_pool *p = r->p;
    if (row->state == 0 || row->state == CELLAR_TASK_RUNNING ||
        row->state == CELLAR_TASK_SUCCEEDED) {
        return CELLAR_E_CORRUPT;
    }
    task_name *n = task_restore_name(p, row->name);
    if (n == NULL || !task_slab_reserve(p, 1)) { return CELLAR_E_NOMEM; }
    const char *type = row->content_type != NULL ? row->content_type : "";
    const bool message = row->body != 0;
    const bool again = message && r->last != NULL &&
                       bus_head_of(r->last)->id == (uint64_t)row->body;
    cellar_err err = CELLAR_OK;
    task_body *b = NULL;
    if (again) {
        b = task_body_hold(r->last);
    } else if (message) {
        err = bus_body_restore(p, row, r->now, &b);
    } else {
        b = task_body_make(p, row->payload.data, row->payload.len, type, NULL, NULL);
    }
    if (message) { r->last = b; } /* its slot keeps it until the end of the open */
    task_ext *e = err == CELLAR_OK && b != NULL ? task_restore_ext(r, row) : NULL;
    const bool dead = row->state == CELLAR_TASK_FAILED;
    if (e == NULL || !task_tables_add(p, e)) {
        sync_drop(QUEUE, &p->lock);
        if (e != NULL && e->before != NULL) { task_group_free(p, e->before); }
        task_ext_free(p, e);
        task_body_drop(p, b, false);
        sync_take(QUEUE, &p->lock);
        return err != CELLAR_OK ? err : CELLAR_E_NOMEM;
    }
    if (dead || e->key_until_ms <= r->now.mono_ms) { task_key_drop(p, e); }
    task *t = task_slot_take(p, n);
    b->wall_ms = row->submitted_wall_ms & ((INT64_C(1) << 48) - 1);
    t->body = b;
    t->ext = e;
    e->of = t;
    t->priority = (uint8_t)row->priority;
    t->attempt = (uint8_t)row->attempt;
    t->max_attempts = (uint8_t)row->max_attempts;
    *task_row_of(p, t) = (task_row){ .begun = (uint32_t)row->begun };
    n->count[STATS_TASK_RESTORED]++;
    task_body_enter(p, b);
    if (dead) {
        n->count[STATS_TASK_FAILED]++;
        task_to_dead(p, t, r->now.mono_ms - BASE_MAX(r->now.wall_ms - row->ended_wall_ms, 0));
    } else {
        task_live_add(p, n, b->len);
        task_restore_place(r, t, row);
    }
    return CELLAR_OK;
}

/* Put a dead letter behind those that ended before it. */
static cellar_err task_restore_dead(const void *row, void *ctx) SYNC_HOLDS(QUEUE)
{
    const task_restorer *r = ctx;
    task *t = task_find(r->p, ((const journal_row *)row)->id);
    BASE_ASSERT(t != NULL && t->state == CELLAR_TASK_FAILED);
    wheel_ring_remove(&t->timer);
    wheel_ring_add(&r->p->dead, &t->timer);
    return CELLAR_OK;
}

/* Restore a key of THROTTLE that is not over. */
static cellar_err task_restore_throttle(const void *in, void *ctx) SYNC_HOLDS(QUEUE)
{
    const journal_throttle *row = in;
    const task_restorer *r = ctx;
    cellar_pool *p = r->p;
    const int64_t left_ms = row->until_wall_ms - r->now.wall_ms;
    if (left_ms <= 0 || p->throttle_count == p->cfg.queue_cap) { return CELLAR_OK; }
    task_throttle *h = task_throttle_make(p, row->key, strlen(row->key));
    if (h == NULL || !task_throttle_add(p, h)) {
        task_throttle_free(p, h);
        return CELLAR_E_NOMEM;
    }
    h->id = row->id;
    h->until_ms = task_time_add(r->now.mono_ms, BASE_MIN(left_ms, CELLAR_POOL_DELAY_MAX_MS));
    return CELLAR_OK;
}

/* ---- groups ---- */

/* Link a task to the group of the one that waits for it. The inputs are known. */
static cellar_err task_restore_link(const void *in, void *ctx) SYNC_HOLDS(QUEUE)
{
    const journal_link *l = in;
    task_restorer *r = ctx;
    task *t = task_find(r->p, l->id), *then = task_find(r->p, l->then_id);
    task_group *g = then != NULL ? then->ext->before : NULL;
    const uint32_t member = (uint32_t)l->member;
    const bool after = l->after != 0;
    if (g == NULL || member >= g->count) { return CELLAR_OK; }
    if (after && g->left != 0 && (t == NULL || !task_is_live(t))) {
        g->left = 0; /* its row was deleted by hand */
        g->failed = true;
    } else if (after && g->left != 0) {
        g->after = t->ext->after;
        t->ext->after = g;
        g->refs++;
    } else if (!after && t != NULL) {
        t->ext->member_of = g;
        t->ext->member = member;
        g->refs++;
    }
    return CELLAR_OK;
}

/* Note the end of a member. */
static cellar_err task_restore_input(const void *row, void *ctx) SYNC_HOLDS(QUEUE)
{
    const journal_input *in = row;
    task_restorer *r = ctx;
    cellar_pool *p = r->p;
    const task *then = task_find(p, in->then_id);
    task_group *g = then != NULL ? then->ext->before : NULL;
    const uint32_t i = (uint32_t)in->member;
    if (g == NULL || i >= g->count || (g->done[i / 64] >> i % 64 & 1) != 0) { return CELLAR_OK; }
    g->done[i / 64] |= (uint64_t)1 << i % 64;
    g->left--;
    g->failed = g->failed || in->ok == 0;
    if (in->result.data == NULL) { return CELLAR_OK; }
    g->result[i] = task_body_make(p, in->result.data, in->result.len, "", NULL, NULL);
    return g->result[i] != NULL ? CELLAR_OK : CELLAR_E_NOMEM;
}

/* Decide about the tasks that wait for members, and end those that used up their attempts. */
static void task_restore_decide(task_restorer *r) SYNC_HOLDS(QUEUE)
{
    cellar_pool *p = r->p;
    for (uint32_t i = 0; i < p->chunk_count * TASK_CHUNK; i++) {
        task *t = task_slot_at(p, i);
        if (t == NULL || !task_is_live(t)) { continue; }
        if (t->state == CELLAR_TASK_WAITING) {
            task *ended = task_group_decide(p, t->ext->before, r->now.mono_ms, &r->after);
            task_end(p, ended, CELLAR_TASK_CANCELLED, r->now.mono_ms, &r->after);
        } else if (t->attempt >= t->max_attempts) {
            t->ext->error = "the process ended during the last attempt";
            if (t->body->message) { continue; } /* its group is to say where it goes: task_take */
            task_detach(p, t, &r->after);
            task_end(p, t, CELLAR_TASK_FAILED, r->now.mono_ms, &r->after);
        }
    }
}

/* Count the attempts that the last process began and did not end. */
static void task_restore_attempts(task_restorer *r, const journal_entry *e, uint32_t count)
    SYNC_HOLDS(QUEUE)
{
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t begun = base_load_rlx(&e[i].begun);
        task *t = begun != 0 ? task_find(r->p, (cellar_task_id){ e[i].hi, e[i].lo }) : NULL;
        if (t == NULL || !task_is_live(t) || task_row_of(r->p, t)->begun >= begun) { continue; }
        task_row_of(r->p, t)->begun = begun;
        t->attempt = (uint8_t)BASE_MAX(BASE_MIN(e[i].attempt, UINT8_MAX), t->attempt);
        task_mark(r->p, t, &r->after);
    }
}

/* ---- open ---- */

CELLAR_PRIVATE cellar_err task_restore(cellar_pool *p, const char **why)
{
    task_journal *j = p->journal;
    task_restorer r = { .p = p, .now = work_now(&p->obj) };
    const journal_reader reader = {
        { [JOURNAL_ROWS] = task_restore_row, [JOURNAL_DEAD] = task_restore_dead,
          [JOURNAL_THROTTLES] = task_restore_throttle,
          [JOURNAL_INPUTS] = task_restore_input, [JOURNAL_LINKS] = task_restore_link }, &r };
    journal_entry *old;
    uint32_t count;
    *why = "no memory for the tasks of the journal";
    cellar_err err = journal_board_read(&p->obj.account, journal_path(j->db), &old, &count);
    sync_take(QUEUE, &p->lock);
    if (err == CELLAR_OK) { err = journal_read(j->db, &reader); }
    if (err == CELLAR_OK) {
        p->bus.last_id = BASE_MAX(p->bus.last_id, (uint64_t)r.now.wall_ms << TASK_ID_SHIFT);
        task_restore_attempts(&r, old, count);
        task_restore_decide(&r);
        err = task_commit_now(p);
    }
    sync_drop(QUEUE, &p->lock);
    base_free(&p->obj.account, BASE_MOD_STORE, old, count * sizeof *old);
    task_settle(p, &r.after);
    if (err != CELLAR_OK && err != CELLAR_E_NOMEM) { *why = "the journal cannot be read"; }
    if (err != CELLAR_OK) { return err; }
    *why = "the file of running attempts cannot be made";
    err = journal_board_open(&p->obj.account, journal_path(j->db), p->chunk_max * TASK_CHUNK,
                             &j->board);
    return err == CELLAR_OK ? journal_board_reserve(j->board, p->chunk_count * TASK_CHUNK) : err;
}

/* Rename a damaged journal, and its WAL: the path may be a symbolic link to the folder of both. */
static cellar_err task_journal_set_aside(cellar_pool *p, const char **why)
{
    const base_vfs *vfs = base_vfs_system();
    char wal[BASE_VFS_ASIDE], to[BASE_VFS_ASIDE], wal_to[BASE_VFS_ASIDE];
    *why = "the damaged journal cannot be renamed";
    if (vfs->set_aside(vfs->ctx, p->cfg.journal_path, to) != 0) { return CELLAR_E_IO; }
    const size_t len = strlen(to) - strlen(".bad.N");
    memcpy(wal, to, len);
    memcpy(wal + len, "-wal", sizeof "-wal");
    (void)vfs->set_aside(vfs->ctx, wal, wal_to);
    base_log(&p->obj.log, BASE_LOG_ERROR, "journal", CELLAR_E_CORRUPT,
             "a damaged journal was renamed to \"%s\", a new one is made", to);
    return CELLAR_OK;
}

CELLAR_PRIVATE cellar_err task_journal_open(cellar_pool *p, const char **why)
{
    const char *path = p->cfg.journal_path;
    const bool sync = p->cfg.journal_level == CELLAR_JOURNAL_SYNC;
    uint64_t number[2] = { 0, 0 };
    *why = "no memory for the journal";
    task_journal *j = base_alloc(&p->obj.account, BASE_MOD_STORE, sizeof *j, NULL);
    if (j == NULL) { return CELLAR_E_NOMEM; }
    p->journal = j;
    j->ticket_end = &j->ticket;
    j->collects = 1;
    cellar_err err = journal_open(&p->obj.account, path, sync, &j->db, number, why);
    if (err == CELLAR_E_CORRUPT && p->cfg.on_bad_journal == CELLAR_JOURNAL_SET_ASIDE) {
        err = task_journal_set_aside(p, why);
        if (err == CELLAR_OK) {
            err = journal_open(&p->obj.account, path, sync, &j->db, number, why);
        }
    }
    const uint64_t rows = number[0], names = number[1];
    if (err == CELLAR_OK && (rows > UINT32_MAX / 4 || names > UINT16_MAX - p->name_max)) {
        *why = "the journal has too many tasks or names";
        err = CELLAR_E_LIMIT;
    }
    if (err != CELLAR_OK) {
        base_log(&p->obj.log, BASE_LOG_ERROR, "journal", (int)err, "\"%s\": %s", path, *why);
        return err;
    }
    p->chunk_max += (uint32_t)rows / TASK_CHUNK + 1;
    p->name_max += (uint32_t)names;
    *why = "no memory for the journal";
    j->row = base_alloc(&p->obj.account, BASE_MOD_STORE, p->chunk_max * sizeof *j->row, NULL);
    return j->row != NULL ? CELLAR_OK : CELLAR_E_NOMEM;
}

BASE_SIZE_END
