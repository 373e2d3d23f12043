/* SPDX-License-Identifier: MIT
 *
 * bus_journal: messages of a bus in the journal of a pool.
 *
 * PICTURE    publish: reserve room -> rows of message and copies, COMMIT -> copies enter
 *            change of a copy -> `noted` -> `writing`: its row, COMMIT -> forgotten
 *            open: rows of a group -> messages of one copy each
 * INVARIANTS A copy has a row from the commit of its publish to the commit of its end. The row has
 *            its deliveries, the present one included, before its member sees the message.
 *            A copy is noted once, and written as it is then. A commit that fails notes its copies
 *            again; so does a change while it runs.
 * LOCKING    bus_types.h. The rows are written without the lock.
 * LIMITS     One bus for each journal. Delays of retries end with the process.
 * SEE ALSO   task_commit.c, journal.c */
#include <string.h>

#include "work/bus.h"
#include "work/bus_journal.h"
#include "work/bus_message.h"
#include "work/task_commit.h"
#include "work/task_state.h"

BASE_SIZE_BEGIN

#define BUS_IMAGES 16u

typedef struct bus_image { /* of a row, to write without the lock */
    journal_message l;
    char group[CELLAR_NAME_MAX + 1];
} bus_image;

/* ---- write ---- */

/* Describe the row of a copy. Texts stay while the message has a reference and the group stays. */
static journal_message bus_row(const bus_copy *c)
{
    const bus_group *g = c->group;
    journal_message l = { .op = JOURNAL_MESSAGE_END, .id = c->of->id, .number = c->number };
    if (g == NULL) { return l; }
    l.op = JOURNAL_MESSAGE_COPY;
    l.queue = g->queue->name;
    l.group = g->name;
    l.attempt = c->attempt;
    l.dead = c->dead;
    l.died_in = c->dead != CELLAR_BUS_DEAD_NONE ? c->from : NULL;
    return l;
}

/* Take up to BUS_IMAGES copies that are noted. */
static uint32_t bus_images_take(cellar_bus *b, bus_image *image)
{
    uint32_t n = 0;
    sync_take(BUS, &b->lock);
    for (bus_copy *c; n < BUS_IMAGES && (c = b->noted) != NULL; n++) {
        image[n].l = bus_row(c);
        if (c->group != NULL) {
            memcpy(image[n].group, c->group->name, sizeof image[n].group);
            image[n].l.group = image[n].group;
        }
        c->note = BUS_NOTE_WRITING;
        b->noted = c->noted;
        c->noted = b->writing;
        b->writing = c;
    }
    sync_drop(BUS, &b->lock);
    return n;
}

static cellar_err bus_write_notes(journal *db, void *bus)
{
    bus_image image[BUS_IMAGES];
    cellar_err err = CELLAR_OK;
    for (uint32_t n = BUS_IMAGES; n == BUS_IMAGES && err == CELLAR_OK;) {
        n = bus_images_take(bus, image);
        for (uint32_t i = 0; i < n && err == CELLAR_OK; i++) {
            err = journal_message_write(db, &image[i].l);
        }
    }
    return err;
}

/* Forget the copies that were written, or note them again. */
static void bus_notes_done(cellar_err err, void *bus)
{
    cellar_bus *b = bus;
    bus_after a;
    bus_after_init(&a);
    sync_take(BUS, &b->lock);
    while (b->writing != NULL) {
        bus_copy *c = b->writing;
        const bool again = err != CELLAR_OK || c->note == BUS_NOTE_AGAIN;
        b->writing = c->noted;
        c->note = BUS_NOTE_NONE;
        if (again) { bus_note_push(b, c); }
        bus_unref(b, c->of, &a);
    }
    sync_drop(BUS, &b->lock);
    bus_settle(b, &a);
}

/* Commit, and count a failure. */
static cellar_err bus_transact(cellar_bus *b, cellar_err (*write)(journal *db, void *ctx),
                               void (*done)(cellar_err err, void *ctx), void *ctx)
{
    const cellar_err err = task_commit_write(b->tasks, write, done, ctx);
    if (err == CELLAR_OK) { return err; }
    sync_take(BUS, &b->lock);
    b->count[STATS_BUS_JOURNAL_ERRORS]++;
    sync_drop(BUS, &b->lock);
    return err;
}

CELLAR_PRIVATE cellar_err bus_commit(cellar_bus *b)
{
    if (b->tasks == NULL) { return CELLAR_OK; }
    sync_take(BUS, &b->lock);
    const bool waits = b->noted != NULL || b->writing != NULL;
    sync_drop(BUS, &b->lock);
    return waits ? bus_transact(b, bus_write_notes, bus_notes_done, b) : CELLAR_OK;
}

typedef struct bus_written { /* a publish */
    const bus_message *m;
    int64_t offset_ms;      /* wall clock minus clock of the bus */
} bus_written;

static cellar_err bus_write_message(journal *db, void *ctx)
{
    static const uint8_t no_trace[CELLAR_BUS_TRACE_BYTES];
    const bus_written *w = ctx;
    const bus_message *m = w->m;
    journal_message l = { .op = JOURNAL_MESSAGE_INSERT, .id = m->id, .key = m->key, .body = m->body,
                          .body_len = m->body_len, .priority = m->priority,
                          .published_wall_ms = m->published_ms + w->offset_ms,
                          .expires_wall_ms = INT64_MAX };
    if (m->expires_ms != BASE_NEVER_MS) { l.expires_wall_ms = m->expires_ms + w->offset_ms; }
    if (memcmp(m->trace, no_trace, sizeof no_trace) != 0) { l.trace = m->trace; }
    if (m->header_count != 0) {
        const char *last = m->headers[m->header_count - 1].value;
        l.headers = m->headers[0].name;
        l.headers_len = (size_t)(last - m->headers[0].name) + strlen(last) + 1;
    }
    cellar_err err = journal_message_write(db, &l);
    for (uint32_t i = 0; i < m->copy_count && err == CELLAR_OK; i++) {
        l = bus_row(&m->copy[i]);
        err = journal_message_write(db, &l);
    }
    return err;
}

CELLAR_PRIVATE cellar_err bus_commit_message(cellar_bus *b, bus_message *m)
{
    bus_written w = { m, work_now(&b->tasks->obj).wall_ms - bus_now(b) };
    return bus_transact(b, bus_write_message, NULL, &w);
}

/* ---- read ---- */

typedef struct bus_loader {
    cellar_bus *b;
    const char *queue, *group;
    bus_message *first, **end; /* chain, the oldest first */
    int64_t now, offset_ms;
    cellar_err err;         /* of the rows: the transaction goes on */
} bus_loader;

/* Find the texts of the headers of a row. False: damaged. */
static bool bus_headers_of(const journal_message *r, cellar_bus_header *out, uint32_t *count)
{
    const char *at = r->headers, *end = at != NULL ? at + r->headers_len : at;
    uint32_t n = 0;
    for (; at != end && n < 2 * CELLAR_BUS_HEADERS_MAX; n++) {
        const char *zero = memchr(at, '\0', (size_t)(end - at));
        if (zero == NULL) { return false; }
        if (n % 2 == 0) { out[n / 2].name = at; } else { out[n / 2].value = at; }
        at = zero + 1;
    }
    *count = n / 2;
    return at == end && n % 2 == 0;
}

/* Make a message of one copy of a row. */
static cellar_err bus_load_row(const journal_message *r, void *ctx)
{
    bus_loader *o = ctx;
    cellar_bus_header headers[CELLAR_BUS_HEADERS_MAX];
    bus_publication l = { .key = r->key, .key_len = strlen(r->key), .body = r->body,
                          .body_len = r->body_len, .copy_count = 1, .from = r->died_in };
    l.o = cellar_bus_publish_opts_default();
    l.o.headers = headers;
    l.o.priority = r->priority;
    if (r->trace != NULL) { memcpy(l.o.trace, r->trace, sizeof l.o.trace); }
    if (!bus_headers_of(r, headers, &l.o.header_count)) { return CELLAR_E_CORRUPT; }
    l.bytes = l.body_len + l.key_len + 1 + r->headers_len;
    const int64_t age_ms = o->now + o->offset_ms - BASE_MAX(r->published_wall_ms, 0);
    bus_message *m = bus_message_make(o->b, &l, o->now - BASE_MAX(age_ms, 0));
    if (m == NULL) { return CELLAR_E_NOMEM; }
    if (r->expires_wall_ms != INT64_MAX) {
        m->expires_ms = BASE_MAX(r->expires_wall_ms, o->offset_ms) - o->offset_ms;
    }
    m->id = r->id;
    m->copy[0].number = r->number;
    m->copy[0].attempt = r->attempt;
    m->copy[0].dead = (cellar_bus_dead)r->dead;
    *o->end = m;
    o->end = &m->next;
    return CELLAR_OK;
}

static cellar_err bus_load(journal *db, void *ctx)
{
    bus_loader *o = ctx;
    const cellar_err err = bus_write_notes(db, o->b); /* ends of a group of the same name */
    if (err == CELLAR_OK) { o->err = journal_messages(db, o->queue, o->group, bus_load_row, o); }
    return err;
}

static void bus_load_done(cellar_err err, void *ctx)
{
    const bus_loader *o = ctx;
    bus_notes_done(err, o->b);
}

CELLAR_PRIVATE cellar_err bus_restore(cellar_bus *b, const char *queue, const char *group,
                                      bus_message **out)
{
    if (b->tasks == NULL) { return CELLAR_OK; }
    bus_loader o = { .b = b, .queue = queue, .group = group, .now = bus_now(b) };
    o.end = &o.first;
    o.offset_ms = work_now(&b->tasks->obj).wall_ms - o.now;
    const cellar_err err = bus_transact(b, bus_load, bus_load_done, &o);
    *out = o.first;
    return err != CELLAR_OK ? err : o.err;
}

CELLAR_PRIVATE void bus_restore_enter(bus_group *g, bus_message *chain, bus_after *a)
{
    cellar_bus *b = g->bus;
    bus_message *before = NULL;
    while (chain != NULL) {
        bus_message *m = chain;
        bus_copy *c = m->copy;
        const uint32_t attempt = c->attempt;
        chain = m->next;
        bus_message_link(b, m, before);
        bus_enter(g, c, a);
        c->attempt = attempt;
        b->count[STATS_BUS_RESTORED]++;
        before = m;
    }
}

CELLAR_PRIVATE void bus_restore_drop(cellar_bus *b, bus_message *chain)
{
    while (chain != NULL) {
        bus_message *m = chain;
        chain = m->next;
        base_free(&b->obj.account, BASE_MOD_STORE, m, m->block_bytes);
    }
}

/* ---- open, close ---- */

static cellar_err bus_read_last(journal *db, void *message)
{
    return journal_message_write(db, message);
}

CELLAR_PRIVATE cellar_err bus_journal_open(cellar_bus *b, struct cellar_pool *p,
                                           const char **why)
{
    journal_message l = { .op = JOURNAL_MESSAGE_LAST };
    *why = "pool has no journal";
    if (p->journal == NULL) { return CELLAR_E_UNSUPPORTED; }
    *why = "another bus has the journal of pool";
    if (!base_cas_ar(&p->journal->buses, 0u, 1u)) { return CELLAR_E_BUSY; }
    *why = "the journal of pool cannot be read";
    const cellar_err err = task_commit_write(p, bus_read_last, NULL, &l);
    if (err == CELLAR_OK) {
        b->last_id = l.id;
        b->tasks = p;
    } else {
        base_store_rel(&p->journal->buses, 0u);
    }
    return err;
}

CELLAR_PRIVATE void bus_journal_close(cellar_bus *b)
{
    if (b->tasks == NULL) { return; }
    const cellar_err err = bus_commit(b);
    if (err != CELLAR_OK) {
        base_log(&b->obj.log, BASE_LOG_ERROR, "bus", (int)err,
                 "closed without the last changes: those messages are delivered again");
    }
    base_store_rel(&b->tasks->journal->buses, 0u);
}

BASE_SIZE_END
