/* SPDX-License-Identifier: MIT
 *
 * task_commit: group commit of a pool's journal.
 *
 * PICTURE    submits (tickets) and changed rows -> one round: BEGIN, all of them, COMMIT
 *            -> final states become visible, their slots are free -> submits return
 * WALK       A round takes what waits under the lock. It copies 64 changed rows at a time under the
 *            lock and writes them without it. What comes meanwhile belongs to the next round.
 *            A submit that meets nothing else to write runs its round on its own thread.
 *            At level SYNC the thread waits a moment for the calls that the last round woke.
 *            A round that fails gives the submits their error. Changed rows go back in front.
 *            Without room they are written in pieces of 64, 8 or 1, apart from the submits: the end
 *            of a task gives room back.
 * INVARIANTS One thread commits at a time: `busy`. A row that changes while its round runs is
 *            listed again after it. Rounds end in their order.
 * LOCKING    task_types.h. SQLite runs without a lock.
 * LIMITS     A round has no bound but the live tasks and the threads that submit. After an error
 *            the next round waits TASK_RETRY_MS, unless a call asks for one.
 * SEE ALSO   task_state.c, journal.c; README.md in this folder: measurements. */
#include "base/user_callback.h"
#include "work/bus.h"
#include "work/sched.h"

BASE_SIZE_BEGIN

#define TASK_RETRY_MS 200
#define TASK_LINGER_NS 2000000u

/* ---- write ---- */

/* Return the bytes of a result; NULL: none. */
static cellar_bytes task_bytes_of(const task_body *b)
{
    return b != NULL ? (cellar_bytes){ b->data, b->len } : (cellar_bytes){ NULL, 0 };
}

/* Write a key of THROTTLE, and delete two that are over: so the table has few of them. */
static cellar_err task_write_throttle(journal *db, const char *key, cellar_task_id id,
                                      int64_t until_wall_ms, int64_t now_wall_ms)
{
    journal_throttle k = { key, id, until_wall_ms, now_wall_ms, 2 };
    const cellar_err err = journal_write(db, JOURNAL_THROTTLE, &k);
    return err == CELLAR_OK ? journal_write(db, JOURNAL_THROTTLES_DELETE, &k) : err;
}

static cellar_err task_write_draft(cellar_pool *p, const task_draft *d, cellar_task_id id,
                                   int64_t wall_ms, bool first)
{
    journal *db = p->journal->db;
    const task_ext *e = d->ext;
    const task_group *before = e != NULL ? e->before : NULL;
    journal_row r = { .id = id, .name = d->name, .content_type = task_body_type(d->body),
                      .payload = { d->body->data, d->body->len },
                      .submitted_wall_ms = d->body->wall_ms, .delay_ms = d->delay_ms,
                      .priority = d->priority, .max_attempts = d->max_attempts,
                      .state = CELLAR_TASK_QUEUED };
    if (before != NULL) {
        r.state = CELLAR_TASK_WAITING;
        r.inputs = before->count;
        r.run_on = before->run_on;
    } else if (d->eta_wall_ms > wall_ms) {
        r.state = CELLAR_TASK_SCHEDULED;
        r.due_wall_ms = d->eta_wall_ms;
        r.delay_ms = -1;
    } else if (d->delay_ms != 0) {
        r.state = CELLAR_TASK_SCHEDULED;
        r.due_wall_ms = task_time_add(wall_ms, d->delay_ms);
    }
    if (e != NULL) {
        r.unique_key = e->text;
        r.unique_states = e->unique_states;
        if (e->key_until_ms != BASE_NEVER_MS) {
            r.key_until_wall_ms = BASE_MAX(e->key_until_ms + base_load_rlx(&p->offset_ms), 1);
        }
        r.tag = e->text + e->tag_at;
        if (e->has_trace) { r.trace = (cellar_bytes){ e->trace, sizeof e->trace }; }
        if (e->member_of != NULL) { r.then_id = e->member_of->then_id; }
        r.member = e->member;
        if (e->expires_ms != BASE_NEVER_MS) {
            r.expires_wall_ms = BASE_MAX(e->expires_ms + base_load_rlx(&p->offset_ms), 1);
        }
    }
    if (d->before != NULL) { r.after_id = d->before->id; }
    cellar_err err = CELLAR_OK;
    if (d->body->message) { r.body = (int64_t)bus_head_of(d->body)->id; }
    if (d->body->apart) {
        r.bytes = r.payload;
        r.payload.data = NULL;
        if (first) { err = journal_write(db, JOURNAL_BODY, &r); }
    }
    if (err == CELLAR_OK) { err = journal_write(db, JOURNAL_INSERT, &r); }
    if (err == CELLAR_OK && d->on_conflict == CELLAR_TASK_CONFLICT_THROTTLE) {
        err = task_write_throttle(db, r.unique_key, id, r.key_until_wall_ms, wall_ms);
    }
    if (err != CELLAR_OK || d->before == NULL || d->before->attached) { return err; }
    journal_input in = { .then_id = id, .ok = d->before->state == CELLAR_TASK_SUCCEEDED,
                         .result = task_bytes_of(d->before->result) };
    return journal_write(db, JOURNAL_INPUT, &in);
}

/* Copy when a live task is due. */
static void task_image_due(const task *t, work_time now, journal_row *r)
{
    const int64_t offset_ms = now.wall_ms - now.mono_ms;
    r->state = t->state == CELLAR_TASK_RUNNING ? CELLAR_TASK_QUEUED : t->state;
    if (t->state == CELLAR_TASK_WAITING) {
        r->delay_ms = t->ext->delay_ms;
    } else if ((t->flags & TASK_ETA) != 0) {
        r->due_wall_ms = t->timer.due_ms;
        r->delay_ms = -1;
    } else if (t->state == CELLAR_TASK_SCHEDULED || t->state == CELLAR_TASK_RETRY) {
        r->due_wall_ms = BASE_MAX(t->timer.due_ms + offset_ms, 1);
        r->delay_ms = BASE_MAX(t->timer.due_ms - now.mono_ms, 0);
    }
}

/* Return a time on the wall clock; 0: none; 1: it has passed, and the clock may go back. */
static int64_t task_image_end(int64_t end_ms, work_time now)
{
    if (end_ms == BASE_NEVER_MS) { return 0; }
    return end_ms <= now.mono_ms ? 1 : BASE_MAX(end_ms - now.mono_ms + now.wall_ms, 1);
}

/* Copy what a row is to become. */
static void task_image_take(cellar_pool *p, task *t, work_time now, task_image *m)
    SYNC_HOLDS(QUEUE)
{
    task_row *r = task_row_of(p, t);
    const task_ext *e = t->ext;
    const bool dead = t->state == CELLAR_TASK_FAILED && t->timer.prev != NULL;
    m->task = t;
    m->row = (journal_row){ .id = task_id_of(p, t), .attempt = t->attempt, .begun = r->begun,
                            .state = t->state };
    m->body = m->result = NULL;
    m->ends = (t->flags & TASK_UNCOMMITTED) != 0;
    m->deletes = !task_is_live(t) && !dead;
    m->inputs = e != NULL && e->before != NULL;
    if (t->body->message && m->deletes && (r->flags & TASK_ROW_LEFT) == 0) {
        r->flags |= TASK_ROW_LEFT; /* once, also if its round fails */
        t->body->rows--;
    }
    if (t->body->apart && m->deletes && t->body->rows == 0) {
        m->row.body = (int64_t)bus_head_of(t->body)->id;
    }
    m->input = (journal_input){ .member = e != NULL ? e->member : 0,
                                .ok = t->state == CELLAR_TASK_SUCCEEDED };
    m->after = m->ends && e != NULL ? e->after : NULL;
    if (m->ends && e != NULL && e->member_of != NULL && !base_load_rlx(&e->member_of->ended)) {
        m->input.then_id = e->member_of->then_id;
    }
    if (m->after != NULL || m->input.then_id.hi != 0) { m->result = task_body_hold(r->result); }
    if (task_is_live(t)) {
        task_image_due(t, now, &m->row);
    } else if (dead) {
        m->row.ended_wall_ms = BASE_MAX(t->timer.due_ms - now.mono_ms + now.wall_ms, 1);
    }
    m->row.expires_wall_ms = task_image_end(task_expires_ms(t), now);
    if (e != NULL && !m->deletes) {
        memcpy(m->error, e->error, strlen(e->error) + 1);
        m->row.error = m->error;
        const bool taken = e->key_len != 0 && !e->has_key && task_is_live(t);
        m->row.key_until_wall_ms = taken ? 1 : task_image_end(e->key_until_ms, now);
    }
    if ((r->flags & TASK_ROW_PAYLOAD) != 0 && !m->deletes) {
        m->body = task_body_hold(t->body);
        memcpy(m->name, p->names[t->name]->name, sizeof m->name);
        memcpy(m->tag, task_tag_of(t), strlen(task_tag_of(t)) + 1);
        m->row.max_attempts = t->max_attempts;
    }
    r->flags &= (uint8_t)~(TASK_ROW_LISTED | TASK_ROW_PAYLOAD);
    r->flags |= TASK_ROW_WRITING | (m->ends ? TASK_ROW_ENDS : 0);
}

/* Write the end of a task for those that wait for it. Its groups stay until the commit. */
static cellar_err task_write_inputs(journal *db, task_image *m)
{
    cellar_err err = CELLAR_OK;
    m->input.result = task_bytes_of(m->result);
    if (m->input.then_id.hi != 0) { err = journal_write(db, JOURNAL_INPUT, &m->input); }
    m->input.member = 0;
    for (const task_group *g = m->after; g != NULL && err == CELLAR_OK; g = g->after) {
        m->input.then_id = g->then_id;
        if (!base_load_rlx(&g->ended)) { err = journal_write(db, JOURNAL_INPUT, &m->input); }
    }
    return err;
}

static cellar_err task_write_image(journal *db, task_image *m)
{
    const bool bytes = m->deletes && m->row.body != 0, inputs = m->deletes && m->inputs;
    cellar_err err = task_write_inputs(db, m);
    if (err == CELLAR_OK) {
        err = journal_write(db, m->deletes ? JOURNAL_DELETE : JOURNAL_UPDATE, &m->row);
    }
    if (err == CELLAR_OK && bytes) { err = journal_write(db, JOURNAL_BODY_DELETE, &m->row); }
    if (err == CELLAR_OK && inputs) { err = journal_write(db, JOURNAL_INPUTS_DELETE, &m->row); }
    if (err != CELLAR_OK || m->body == NULL) { return err; }
    if (!m->body->apart) { m->row.payload = task_bytes_of(m->body); }
    m->row.content_type = task_body_type(m->body);
    m->row.name = m->name;
    m->row.tag = m->tag;
    return journal_write(db, JOURNAL_PAYLOAD, &m->row);
}

/* Write that a draft has the key of another task in the transaction of the draft. The row of the
 * task is listed, and stays so. */
static cellar_err task_write_other(cellar_pool *p, cellar_task_id id)
{
    task_image *m = p->journal->image;
    const work_time now = task_near(p);
    sync_take(QUEUE, &p->lock);
    task *t = task_find(p, id);
    task_row *r = task_row_of(p, t);
    const uint8_t flags = r->flags;
    task_image_take(p, t, now, m);
    r->flags = flags;
    sync_drop(QUEUE, &p->lock);
    const cellar_err err = task_write_image(p->journal->db, m);
    task_body_drop(p, m->body, true);
    task_body_drop(p, m->result, true);
    return err;
}

/* Write submits and due times. `apart`: without the changed rows. */
static cellar_err task_write_tickets(cellar_pool *p, const task_ticket *k, bool apart)
{
    cellar_err err = CELLAR_OK;
    for (; k != NULL && err == CELLAR_OK; k = k->next) {
        if (k->schedule != NULL) {
            err = journal_write(p->journal->db, k->schedule->op, k->schedule);
        }
        for (uint32_t i = 0; i < k->count && err == CELLAR_OK; i++) {
            const cellar_task_id other = k->draft[i].other;
            if (apart && other.hi != 0) { err = task_write_other(p, other); }
            if (err != CELLAR_OK) { break; }
            err = task_write_draft(p, &k->draft[i], k->id[i], k->wall_ms, i == 0);
        }
    }
    return err;
}

/* Write the rows of a list. */
static cellar_err task_write_rows(cellar_pool *p, task *list)
{
    task_journal *j = p->journal;
    cellar_err err = CELLAR_OK;
    while (list != NULL && err == CELLAR_OK) {
        const work_time now = task_near(p);
        uint32_t n = 0;
        sync_take(QUEUE, &p->lock);
        while (list != NULL && n < TASK_IMAGES) {
            task *t = list;
            list = task_row_of(p, t)->next;
            task_image_take(p, t, now, &j->image[n++]);
        }
        sync_drop(QUEUE, &p->lock);
        for (uint32_t i = 0; i < n; i++) {
            if (err == CELLAR_OK) { err = task_write_image(j->db, &j->image[i]); }
            task_body_drop(p, j->image[i].body, true);
            task_body_drop(p, j->image[i].result, true);
        }
    }
    return err;
}

/* ---- rounds ---- */

/* Put the rows of a failed round back in front. */
static void task_rows_back(cellar_pool *p, task *list) SYNC_HOLDS(QUEUE)
{
    task_journal *j = p->journal;
    task *last = NULL;
    for (task *t = list; t != NULL; t = task_row_of(p, t)->next) {
        task_row *r = task_row_of(p, t);
        r->flags &= (uint8_t)~(TASK_ROW_WRITING | TASK_ROW_AGAIN | TASK_ROW_ENDS);
        r->flags |= TASK_ROW_LISTED | TASK_ROW_PAYLOAD;
        j->dirty_count++;
        last = t;
    }
    if (last == NULL) { return; }
    task_row_of(p, last)->next = j->dirty;
    if (j->dirty == NULL) { j->dirty_last = last; }
    j->dirty = list;
}

/* Make the rows of a committed round what callers see. The tasks that ended go to `over`. */
static void task_rows_done(cellar_pool *p, task *list, task_after *a) SYNC_HOLDS(QUEUE)
{
    while (list != NULL) {
        task *t = list;
        task_row *r = task_row_of(p, t);
        const bool again = (r->flags & TASK_ROW_AGAIN) != 0, ends = (r->flags & TASK_ROW_ENDS) != 0;
        list = r->next;
        r->flags &= TASK_ROW_PAYLOAD | TASK_ROW_LEFT;
        if (ends) {
            t->flags &= (uint8_t)~TASK_UNCOMMITTED;
            a->ended = a->ended || p->watching != 0;
        }
        if (again) {
            task_row_list(p->journal, r, t);
        } else if (!task_is_live(t) && !(t->state == CELLAR_TASK_FAILED && t->timer.prev != NULL)) {
            if (t->ext != NULL && t->ext->before != NULL) {
                base_store_rlx(&t->ext->before->ended, true);
            }
            r->flags |= TASK_ROW_OVER;
            r->next = p->journal->over;
            p->journal->over = t;
        }
    }
}

/* Record and free the tasks that have no row any more, and drop results that nothing needs. A
 * free_fn may submit: task_round_wait writes its tasks, and their ends come here. */
static void task_rows_finish(cellar_pool *p)
{
    task_journal *j = p->journal;
    for (;;) {
        sync_take(QUEUE, &p->lock);
        task *t = j->over;
        if (t == NULL) { break; }
        task_row *r = task_row_of(p, t);
        task_body *result = r->result;
        const task_after a = { .run_of = r->started_wall_ms != 0 ? t : NULL, .result = result,
                               .started_wall_ms = r->started_wall_ms };
        j->over = r->next;
        *r = (task_row){ .next = NULL };
        if (j->board != NULL) { journal_board_set(j->board, t->index, task_id_of(p, t), 0, 0); }
        sync_drop(QUEUE, &p->lock);
        task_finish(p, t, &a);
        task_body_drop(p, result, true);
    }
    sync_drop(QUEUE, &p->lock);
}

/* Write what a round took. On a full disk, ends of tasks may use all kept room. */
static cellar_err task_round_write(cellar_pool *p, const task_ticket *tickets, task *list)
{
    journal *db = p->journal->db;
    cellar_err err = journal_write(db, JOURNAL_BEGIN, NULL);
    if (err == CELLAR_OK) { err = task_write_tickets(p, tickets, list == NULL); }
    if (err == CELLAR_OK) { err = task_write_rows(p, list); }
    if (err == CELLAR_OK) { err = journal_write(db, JOURNAL_COMMIT, NULL); }
    if (err == CELLAR_OK) { return err; }
    base_log(&p->obj.log, BASE_LOG_ERROR, "journal", (int)err,
             "a commit failed (%s): submits that are not in the file fail, other changes are tried"
             " again",
             journal_error(db));
    journal_rollback(db);
    if (err == CELLAR_E_SPACE) {
        const bool all = p->journal->piece == 1 && list != NULL;
        p->journal->spent = p->journal->spent || all;
        journal_room(db, p->journal->spent);
    }
    return err;
}

typedef struct task_taken {  /* by a round */
    uint64_t round;
    task_ticket *tickets;
    task *list;
    bool cut;                /* rows are left */
} task_taken;

/* Begin a round with what waits. */
static task_taken task_round_take(cellar_pool *p) SYNC_HOLDS(QUEUE)
{
    task_journal *j = p->journal;
    task_taken k = { j->collects++, j->ticket, j->dirty, false };
    j->busy = true;
    j->ticket = NULL;
    j->ticket_end = &j->ticket;
    j->ticket_count = 0;
    k.cut = j->piece != 0 && j->piece < j->dirty_count;
    j->writing_count = k.cut ? j->piece : j->dirty_count;
    j->dirty_count -= j->writing_count;
    task *last = j->dirty_last;
    if (k.cut) {
        last = j->dirty;
        for (uint32_t i = 1; i < j->piece; i++) { last = task_row_of(p, last)->next; }
    }
    j->dirty = last != NULL ? task_row_of(p, last)->next : NULL;
    if (k.cut) { task_row_of(p, last)->next = NULL; } else { j->dirty_last = NULL; }
    j->urgent = false;
    return k;
}

/* Take fewer rows next time if the disk is full. `given`: the room that was kept is free now.
 * False: neither can help any more. */
static bool task_piece_next(task_journal *j, const task_taken *taken, cellar_err err, bool given)
{
    const uint32_t before = j->piece;
    if (err != CELLAR_E_SPACE || taken->list == NULL) { return false; }
    j->piece = before == 0 || given ? TASK_IMAGES : BASE_MAX(before / 8, 1);
    return before != 1 || given;
}

/* Write what a round took. */
static void task_round_run(cellar_pool *p, const task_taken *taken)
{
    task_journal *j = p->journal;
    task_after a = { .done = NULL };
    const uint64_t from_ns = base_now_ns();
    const bool apart = j->piece != 0, spent = j->spent;
    cellar_err err = task_round_write(p, apart ? NULL : taken->tickets, taken->list);
    cellar_err submits = err;
    if (taken->tickets != NULL && (apart || err == CELLAR_E_SPACE)) {
        submits = task_round_write(p, taken->tickets, NULL);
    }
    if (taken->list == NULL) { err = submits; }
    if (j->spent && err == CELLAR_OK && submits == CELLAR_OK && !taken->cut) {
        journal_room(j->db, false);
        j->spent = false;
    }
    j->write_ns = base_now_ns() - from_ns;
    const int64_t now_ms = base_now_ms(&p->obj.clock);
    sync_take(QUEUE, &p->lock);
    if (err == CELLAR_OK) {
        task_rows_done(p, taken->list, &a);
        if (!taken->cut) { j->committed = taken->round; }
    } else {
        task_rows_back(p, taken->list);
    }
    p->count[err == CELLAR_OK ? STATS_TASK_JOURNAL_COMMITS : STATS_TASK_JOURNAL_ERRORS]++;
    for (task_ticket *k = taken->tickets; k != NULL; k = k->next) {
        k->err = submits;
        p->sched.changing -= k->then != NULL;
        if (submits == CELLAR_OK && k->then != NULL) { k->then(p, k->ctx); }
    }
    j->writing_count = 0;
    j->again = false;
    j->err = err != CELLAR_OK ? err : taken->cut ? CELLAR_E_SPACE : submits;
    j->retry_ms = err != CELLAR_OK && !task_piece_next(j, taken, err, j->spent && !spent)
                      ? task_time_add(now_ms, TASK_RETRY_MS) : 0;
    if (err == CELLAR_OK && !taken->cut) { j->piece = 0; }
    task_unlock(p, &a);
}

/* Let the calls go on that wait for a round. Without threads one of those that wait for the next
 * round runs it. */
static void task_round_over(cellar_pool *p, uint64_t round, bool busy)
{
    task_journal *j = p->journal;
    sync_take(QUEUE, &p->lock);
    j->ended = BASE_MAX(j->ended, round);
    j->busy = busy;
    j->expected = j->submitting;
    const bool wakes[2] = { j->waiting[0] != 0, j->waiting[1] != 0 };
    sync_drop(QUEUE, &p->lock);
    for (uint64_t i = 0; i < 2; i++) {
        if (i != round % 2 && !p->obj.no_threads) { continue; }
        (void)base_add_ar(&j->done[i], 1u);
        if (wakes[i]) { sync_wake(&j->done[i], INT32_MAX); }
    }
}

/* Commit what waits, and finish what ended. No round runs, but the one that calls a free_fn
 * (`inside`), which finishes what ended. Drops the lock meanwhile. */
static void task_round(cellar_pool *p, bool inside) SYNC_HOLDS(QUEUE)
{
    const task_taken taken = task_round_take(p);
    base_store_rlx(&p->journal->owner, base_thread_id());
    sync_drop(QUEUE, &p->lock);
    task_round_run(p, &taken);
    if (!inside) { task_rows_finish(p); }
    if (!inside) { base_store_rlx(&p->journal->owner, 0); }
    task_round_over(p, taken.round, inside);
    sync_take(QUEUE, &p->lock);
}

/* Return whether calls that the last round woke are expected to submit again soon. With a sync for
 * each commit, one commit for all of them is better than two for a half each. */
static bool task_expects(const cellar_pool *p) SYNC_HOLDS(QUEUE)
{
    return p->cfg.journal_level == CELLAR_JOURNAL_SYNC && p->journal->expected > 1;
}

/* Wait until the expected tickets are there, half the time of a commit at most. */
static void task_linger(cellar_pool *p) SYNC_HOLDS(QUEUE)
{
    task_journal *j = p->journal;
    if (!task_expects(p) || j->ticket == NULL) { return; }
    const uint64_t until_ns = base_now_ns() + BASE_MIN(j->write_ns / 2, TASK_LINGER_NS);
    j->busy = j->lingers = true;
    while (j->ticket_count < j->expected && base_load_acq(&p->ticker.stop) == 0 &&
           base_now_ns() < until_ns) {
        const uint32_t bell = base_load_acq(&j->bell);
        sync_drop(QUEUE, &p->lock);
        (void)sync_wait(&j->bell, bell, until_ns);
        sync_take(QUEUE, &p->lock);
    }
    j->lingers = false;
}

/* ---- waits ---- */

/* Commit the ticket of this call on its own thread: nothing else waits. That saves two hand-overs
 * between threads. No task ends in such a round, so it calls no function of the host. */
static void task_round_here(cellar_pool *p) SYNC_HOLDS(QUEUE)
{
    task_journal *j = p->journal;
    const int cancel = base_cancel_off();
    task_round(p, false);
    base_cancel_set(cancel);
    /* A call that cleared `asleep` may wait for this round before it rings: so ring for it. */
    if (j->busy || (j->dirty == NULL && j->ticket == NULL)) { return; }
    sync_drop(QUEUE, &p->lock);
    work_wake(&j->bell, 1);
    sync_take(QUEUE, &p->lock);
}

/* Wait until a round has ended, or run it. */
static void task_round_wait(cellar_pool *p, uint64_t round) SYNC_HOLDS(QUEUE)
{
    task_journal *j = p->journal;
    const bool inside = base_load_rlx(&j->owner) == base_thread_id(); /* in a free_fn */
    while (j->ended < round) {
        if (inside || (p->obj.no_threads && !j->busy)) {
            task_round(p, inside);
            continue;
        }
        _Atomic uint32_t *word = &j->done[round % 2];
        const uint32_t seen = base_load_acq(word);
        const bool wakes = !j->busy;
        j->urgent = true;
        j->waiting[round % 2]++;
        sync_drop(QUEUE, &p->lock);
        if (wakes) {
            work_wake(&j->bell, 1);
        }
        (void)sync_wait(word, seen, UINT64_MAX);
        sync_take(QUEUE, &p->lock);
        j->waiting[round % 2]--;
    }
}

CELLAR_PRIVATE cellar_err task_commit_ticket(cellar_pool *p, task_ticket *k)
{
    task_journal *j = p->journal;
    const uint64_t round = j->collects;
    *j->ticket_end = k;
    j->ticket_end = &k->next;
    j->submitting++;
    p->sched.changing += k->then != NULL;
    if (++j->ticket_count >= j->expected && j->lingers) {
        work_wake(&j->bell, 1);
    }
    if (!p->obj.no_threads && !j->busy && j->dirty == NULL && j->ticket == k && !task_expects(p)) {
        task_round_here(p);
    }
    task_round_wait(p, round);
    j->submitting--;
    return k->err;
}

CELLAR_PRIVATE cellar_err task_commit_schedule(cellar_pool *p, journal_schedule *row,
                                               void (*then)(cellar_pool *p, void *ctx), void *ctx)
{
    task_ticket k = { .schedule = row, .then = then, .ctx = ctx };
    if (p->obj.forked) { return CELLAR_E_FORKED; }
    row->now_wall_ms = task_near(p).wall_ms;
    sync_take(QUEUE, &p->lock);
    const cellar_err err = p->journal != NULL ? task_commit_ticket(p, &k) : CELLAR_OK;
    if (p->journal == NULL) { then(p, ctx); }
    p->sched.count[STATS_SCHEDULE_JOURNAL_ERRORS] += err != CELLAR_OK;
    sync_drop(QUEUE, &p->lock);
    return err;
}

CELLAR_PRIVATE void task_commit_row(cellar_pool *p, const sched_entry *e, journal_statement op,
                                    int64_t last_due_wall_ms)
{
    journal_schedule row = { op, e->name, e->row->data, task_body_type(e->row), last_due_wall_ms,
                             task_near(p).wall_ms };
    task_ticket k = { .schedule = &row };
    if (p->obj.forked) { return; }
    sync_take(QUEUE, &p->lock);
    while (p->sched.changing != 0) { (void)task_commit_wait(p); }
    const sched_entry *there = sched_find(p, e->name);
    if (op == JOURNAL_SCHEDULE_OPEN  ? there == e
        : there == NULL              ? true
        : op == JOURNAL_SCHEDULE_SET ? there->line == e->line : !there->catches_up) {
        p->sched.count[STATS_SCHEDULE_JOURNAL_ERRORS] += task_commit_ticket(p, &k) != CELLAR_OK;
    }
    sync_drop(QUEUE, &p->lock);
}

CELLAR_PRIVATE cellar_err task_commit_wait(cellar_pool *p)
{
    task_journal *j = p->journal;
    if (j == NULL) { return CELLAR_OK; }
    const bool waits = j->dirty != NULL || j->ticket != NULL || j->again;
    if (!waits && !j->busy) { return CELLAR_OK; }
    const uint64_t round = waits ? j->collects : j->collects - 1;
    task_round_wait(p, round);
    return j->committed >= round ? CELLAR_OK : j->err;
}

CELLAR_PRIVATE cellar_err task_commit_now(cellar_pool *p)
{
    task_journal *j = p->journal;
    while (j->dirty != NULL && j->retry_ms == 0) { task_round(p, false); }
    return j->dirty == NULL ? CELLAR_OK : j->err;
}

CELLAR_PRIVATE void task_commit_tick(cellar_pool *p)
{
    task_journal *j = p->journal;
    if (!p->obj.no_threads) { return; }
    const int64_t now_ms = base_now_ms(&p->obj.clock);
    sync_take(QUEUE, &p->lock);
    if (now_ms >= j->retry_ms) { j->retry_ms = 0; }
    while (j->dirty != NULL && j->retry_ms == 0) { task_round_wait(p, j->collects); }
    sync_drop(QUEUE, &p->lock);
}

/* ---- the thread ---- */

/* Sleep until there is something to commit. False: the thread ends. */
static bool task_commit_idle(cellar_pool *p)
{
    task_journal *j = p->journal;
    const int64_t now_ms = base_now_ms(&p->obj.clock);
    sync_take(QUEUE, &p->lock);
    const uint32_t bell = base_load_acq(&j->bell);
    const bool stop = base_load_acq(&p->ticker.stop) != 0;
    const bool waits = j->dirty != NULL || j->ticket != NULL;
    const bool held = waits && j->retry_ms > now_ms && !j->urgent && !stop;
    const bool works = waits && !held && !j->busy, sleeps = !works && !stop;
    j->asleep = sleeps;
    if (works) {
        task_linger(p);
        task_round(p, false);
    }
    const bool fails = j->retry_ms != 0;
    sync_drop(QUEUE, &p->lock);
    if (sleeps) {
        (void)sync_wait(&j->bell, bell, held ? base_until_ns(TASK_RETRY_MS) : UINT64_MAX);
        sync_take(QUEUE, &p->lock);
        j->asleep = false;
        sync_drop(QUEUE, &p->lock);
    }
    return !stop || (works && !fails);
}

static void task_commit_main(void *arg)
{
    while (task_commit_idle(arg)) { }
}

CELLAR_PRIVATE int task_commit_start(cellar_pool *p)
{
    return base_thread_start(&p->journal->thread, task_commit_main, p, "cellar-journal",
                             p->obj.stack_bytes);
}

/* Mark the live tasks with an ended key or life: by a clock that goes back it has not ended. */
static void task_commit_ends(cellar_pool *p, work_time now)
{
    task_journal *j = p->journal;
    task_after ignored = { .done = NULL };
    sync_take(QUEUE, &p->lock);
    const int64_t offset_ms = now.wall_ms - now.mono_ms;
    j->went_back |= offset_ms < base_load_rlx(&p->offset_ms) - WORK_STEP_MS;
    base_store_rlx(&p->offset_ms, offset_ms); /* the rows get their times by it */
    for (uint32_t i = 0; i < p->chunk_count * TASK_CHUNK; i++) {
        task *t = task_slot_at(p, i);
        if (t == NULL || !task_is_live(t)) { continue; }
        const int64_t key_ms = t->ext != NULL ? t->ext->key_until_ms : BASE_NEVER_MS;
        const int64_t first_ms = BASE_MIN(key_ms, task_expires_ms(t));
        if (first_ms <= now.mono_ms || (j->went_back && first_ms != BASE_NEVER_MS)) {
            task_mark(p, t, &ignored);
        }
    }
    sync_drop(QUEUE, &p->lock);
}

/* Delete the keys of THROTTLE that are over. If the wall clock went back, write the others again:
 * their rows have times of the old clock. */
static cellar_err task_commit_throttles(cellar_pool *p, work_time now) SYNC_UNCHECKED
{
    const task_journal *j = p->journal;
    const wheel_timer *at = j->went_back ? p->throttles.next : &p->throttles;
    journal_throttle over = { .now_wall_ms = j->went_back ? INT64_MAX : now.wall_ms, .most = -1 };
    cellar_err err = journal_write(j->db, JOURNAL_BEGIN, NULL);
    if (err == CELLAR_OK) { err = journal_write(j->db, JOURNAL_THROTTLES_DELETE, &over); }
    for (; at != &p->throttles && err == CELLAR_OK; at = at->next) {
        const task_throttle *h = (const task_throttle *)(const void *)at; /* its first field */
        char key[CELLAR_TASK_TEXT_MAX + 1] = "";
        if (h->until_ms <= now.mono_ms) { continue; }
        memcpy(key, h->key, h->key_len);
        err = task_write_throttle(j->db, key, h->id, h->until_ms - now.mono_ms + now.wall_ms,
                                  INT64_MIN);
    }
    if (err == CELLAR_OK) { err = journal_write(j->db, JOURNAL_COMMIT, NULL); }
    if (err != CELLAR_OK) { journal_rollback(j->db); }
    return err;
}

CELLAR_PRIVATE void task_commit_close(cellar_pool *p) SYNC_UNCHECKED
{
    task_journal *j = p->journal;
    if (j == NULL) { return; }
    const work_time now = work_now(&p->obj);
    const bool restored = j->board != NULL;
    if (restored) { task_commit_ends(p, now); }
    if (!p->obj.no_threads) {
        work_wake(&j->bell, 1);
        base_thread_join(&j->thread);
    }
    task_commit_tick(p);
    const bool lost = j->dirty != NULL;
    if (lost) {
        base_log(&p->obj.log, BASE_LOG_ERROR, "task", (int)j->err,
                 "closed without the last %u changes: those tasks run again", j->dirty_count);
    }
    if (restored) { (void)task_commit_throttles(p, now); }
    if (j->db != NULL) { journal_close(&p->obj.account, j->db); }
    journal_board_close(&p->obj.account, j->board, !lost);
    for (uint32_t i = 0; i < p->chunk_count; i++) {
        for (uint32_t k = 0; k < TASK_CHUNK; k++) { task_body_drop(p, j->row[i][k].result, true); }
        base_free(&p->obj.account, BASE_MOD_STORE, j->row[i], TASK_CHUNK * sizeof(task_row));
    }
    base_free(&p->obj.account, BASE_MOD_STORE, j->row, p->chunk_max * sizeof *j->row);
    base_free(&p->obj.account, BASE_MOD_STORE, j, sizeof *j);
    p->journal = NULL;
}

BASE_SIZE_END
