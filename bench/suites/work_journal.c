/* SPDX-License-Identifier: MIT
 *
 * work_journal: tasks in a journal, beside a loop that writes the same rows with SQLite alone.
 *
 * FIGURES    work_journal_one   submits a second, one thread, one at a time / the loop with a row a
 *                               transaction
 *            work_journal_many  tasks a second in submits of 64 / the loop, 64 rows a transaction
 *            work_journal_threads  64 threads, each one at a time / the loop, 64 rows a transaction
 *            work_journal_run   short tasks a second from submit to final state, submits of 64 / the
 *                               loop that inserts all rows, then deletes them, 64 a transaction
 *            work_journal_replay  ms of the open of a journal with 10^5 tasks that wait
 * SHAPES     process: level PROCESS, the loop with synchronous = NORMAL; sync: SYNC and FULL
 * LOOP       the schema of the journal, WAL, one connection, prepared statements, payload of 100
 *            bytes, the same folder; both sides have their turn in each round
 * CHECKED    Each submit returns OK, each short task runs, each task comes back. */
#include "bench/suites/work.h"

#include "bench/harness/json.h"

#if BENCH_HAVE_CELLAR && BENCH_HAVE_SQLITE
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/harness/host.h"
#include "cellar_task.h"

#define JOURNAL_BATCH 64u
#define JOURNAL_THREADS 64u
#define JOURNAL_REPLAY 100000u
#define JOURNAL_ROUNDS 5u

typedef struct journal_bench {
    char path[256];
    uint64_t bad;
    bool sync;
    uint32_t count;       /* rows of a turn */
    cellar_pool *pool;    /* of the turn of ours */
    _Atomic uint32_t ran, next;
} journal_bench;

static const char journal_payload[100] = "payload";

static void journal_wipe(const journal_bench *b)
{
    static const char *const ends[] = { "", "-wal", "-shm", "-run" };
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        char name[300];
        snprintf(name, sizeof name, "%s%s", b->path, ends[i]);
        unlink(name);
    }
}

/* ---- the loop ---- */

typedef struct journal_loop {
    sqlite3 *db;
    sqlite3_stmt *begin, *commit, *insert, *remove;
} journal_loop;

static uint64_t journal_prepare(journal_loop *l, const char *sql, sqlite3_stmt **out)
{
    return sqlite3_prepare_v2(l->db, sql, -1, out, NULL) != SQLITE_OK;
}

static uint64_t journal_loop_open(journal_loop *l, const journal_bench *b)
{
    static const char schema[] =
        "CREATE TABLE task(id BLOB NOT NULL PRIMARY KEY, name TEXT NOT NULL,"
        " state INTEGER NOT NULL, priority INTEGER NOT NULL, attempt INTEGER NOT NULL,"
        " max_attempts INTEGER NOT NULL, begun INTEGER NOT NULL,"
        " submitted_wall_ms INTEGER NOT NULL, due_wall_ms INTEGER NOT NULL,"
        " delay_ms INTEGER NOT NULL, expires_wall_ms INTEGER NOT NULL,"
        " ended_wall_ms INTEGER NOT NULL, payload BLOB, content_type TEXT, unique_key TEXT,"
        " unique_states INTEGER, tag TEXT, trace BLOB, then_id BLOB, member INTEGER,"
        " inputs INTEGER, run_on INTEGER, error TEXT) STRICT, WITHOUT ROWID;";
    *l = (journal_loop){ NULL, NULL, NULL, NULL, NULL };
    journal_wipe(b);
    if (sqlite3_open_v2(b->path, &l->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK ||
        sqlite3_exec(l->db, "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL;", NULL, NULL,
                     NULL) != SQLITE_OK ||
        sqlite3_exec(l->db, b->sync ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL", NULL,
                     NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(l->db, schema, NULL, NULL, NULL) != SQLITE_OK) {
        return 1;
    }
    return journal_prepare(l, "BEGIN IMMEDIATE", &l->begin) +
           journal_prepare(l, "COMMIT", &l->commit) +
           journal_prepare(l, "DELETE FROM task WHERE id=?", &l->remove) +
           journal_prepare(l, "INSERT INTO task VALUES"
                              "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", &l->insert);
}

static void journal_loop_close(journal_loop *l)
{
    sqlite3_finalize(l->begin);
    sqlite3_finalize(l->commit);
    sqlite3_finalize(l->insert);
    sqlite3_finalize(l->remove);
    sqlite3_close(l->db);
}

static uint64_t journal_step(sqlite3_stmt *s)
{
    const bool bad = sqlite3_step(s) != SQLITE_DONE;
    sqlite3_reset(s);
    return bad;
}

static uint64_t journal_row(journal_loop *l, uint32_t number, bool insert)
{
    unsigned char id[16] = { 1 };
    sqlite3_stmt *s = insert ? l->insert : l->remove;
    for (uint32_t i = 0; i < 4; i++) { id[15 - i] = (unsigned char)(number >> 8 * i); }
    sqlite3_bind_blob(s, 1, id, sizeof id, SQLITE_STATIC);
    if (insert) {
        sqlite3_bind_text(s, 2, "task", -1, SQLITE_STATIC);
        for (int k = 3; k <= 12; k++) {
            sqlite3_bind_int64(s, k, k == 8 ? INT64_C(1700000000000) : 3);
        }
        sqlite3_bind_blob(s, 13, journal_payload, sizeof journal_payload, SQLITE_STATIC);
    }
    return journal_step(s);
}

static uint64_t journal_rows(journal_loop *l, uint32_t count, uint32_t batch, bool insert)
{
    uint64_t bad = 0;
    for (uint32_t i = 0; i < count; i += batch) {
        bad += journal_step(l->begin);
        for (uint32_t k = 0; k < batch; k++) { bad += journal_row(l, i + k, insert); }
        bad += journal_step(l->commit);
    }
    return bad;
}

/* Return rows a second; with `remove` all rows are inserted, then removed. */
static double journal_loop_turn(journal_bench *b, uint32_t batch, bool remove)
{
    journal_loop l;
    b->bad += journal_loop_open(&l, b);
    const uint64_t from = host_wall_ns();
    b->bad += journal_rows(&l, b->count, batch, true);
    if (remove) { b->bad += journal_rows(&l, b->count, batch, false); }
    const uint64_t ns = host_wall_ns() - from;
    journal_loop_close(&l);
    return (double)b->count * 1e9 / (double)ns;
}

/* ---- ours ---- */

static cellar_verdict journal_task(const cellar_task *t, void *ctx)
{
    (void)t;
    atomic_fetch_add(&((journal_bench *)ctx)->ran, 1);
    return cellar_verdict_ok();
}

/* Open a pool on the journal. No task of it begins before its name is registered. */
static void journal_open(journal_bench *b)
{
    cellar_pool_config cfg = cellar_pool_config_default();
    cfg.journal_path = b->path;
    cfg.journal_level = b->sync ? CELLAR_JOURNAL_SYNC : CELLAR_JOURNAL_PROCESS;
    cfg.queue_cap = JOURNAL_REPLAY + JOURNAL_BATCH;
    cfg.workers = 2;
    b->pool = NULL;
    b->bad += cellar_pool_open(&cfg, &b->pool) != CELLAR_OK;
}

/* Open an empty journal and register the name; `hold`: no task begins. */
static void journal_begin(journal_bench *b, bool hold)
{
    journal_wipe(b);
    journal_open(b);
    b->bad += cellar_task_register(b->pool, "task", journal_task, b, NULL) != CELLAR_OK;
    if (hold) {
        b->bad += cellar_pool_set(b->pool, CELLAR_POOL_SET_PAUSE, "default", 100000000) !=
                  CELLAR_OK;
    }
}

static uint64_t journal_submit(cellar_pool *p, uint32_t batch)
{
    cellar_task_item items[JOURNAL_BATCH];
    if (batch == 1) {
        return cellar_task_submit(p, "task", journal_payload, sizeof journal_payload, NULL, NULL) !=
               CELLAR_OK;
    }
    for (uint32_t i = 0; i < batch; i++) {
        items[i] = (cellar_task_item){ "task", journal_payload, sizeof journal_payload, NULL };
    }
    return cellar_task_submit_many(p, items, batch, CELLAR_LINKS_NONE, NULL) != CELLAR_OK;
}

static void *journal_submitter(void *arg)
{
    journal_bench *b = arg;
    uint64_t bad = 0;
    while (atomic_fetch_add(&b->next, 1) < b->count) { bad += journal_submit(b->pool, 1); }
    return bad != 0 ? arg : NULL;
}

static void journal_submit_all(journal_bench *b, uint32_t batch, uint32_t threads)
{
    pthread_t thread[JOURNAL_THREADS];
    uint32_t started = 0;
    for (uint32_t i = 0; i < b->count && threads == 1; i += batch) {
        b->bad += journal_submit(b->pool, batch);
    }
    atomic_store(&b->next, 0);
    while (threads > 1 && started < threads &&
           pthread_create(&thread[started], NULL, journal_submitter, b) == 0) {
        started++;
    }
    b->bad += threads > 1 && started < threads;
    for (uint32_t i = 0; i < started; i++) {
        void *failed;
        pthread_join(thread[i], &failed);
        b->bad += failed != NULL;
    }
}

/* Return submits a second. */
static double journal_our_turn(journal_bench *b, uint32_t batch, uint32_t threads)
{
    journal_begin(b, true);
    const uint64_t from = host_wall_ns();
    journal_submit_all(b, batch, threads);
    const uint64_t ns = host_wall_ns() - from;
    b->bad += cellar_pool_close(b->pool) != CELLAR_OK;
    return (double)b->count * 1e9 / (double)ns;
}

/* Return tasks a second, until the final state of each is committed. */
static double journal_run_turn(journal_bench *b)
{
    cellar_pool_stats st = cellar_pool_stats_default();
    journal_begin(b, false);
    atomic_store(&b->ran, 0);
    const uint64_t from = host_wall_ns();
    journal_submit_all(b, JOURNAL_BATCH, 1);
    while (b->bad == 0 && (st.ok < b->count || st.journal_pending != 0)) {
        const struct timespec pause = { 0, 200000 };
        b->bad += cellar_pool_stats_get(b->pool, NULL, &st) != CELLAR_OK;
        nanosleep(&pause, NULL);
    }
    const uint64_t ns = host_wall_ns() - from;
    b->bad += cellar_pool_close(b->pool) != CELLAR_OK;
    b->bad += atomic_load(&b->ran) != b->count;
    return (double)b->count * 1e9 / (double)ns;
}

/* ---- rows ---- */

typedef struct journal_shape {
    const char *metric;
    bool sync, run;
    uint32_t count, batch, threads, loop_batch;
} journal_shape;

static int journal_row_of(const cell_options *o, journal_bench *b, const journal_shape *s)
{
    double x[JOURNAL_ROUNDS];
    const uint32_t rounds = o->quick ? 1 : JOURNAL_ROUNDS;
    b->sync = s->sync;
    b->count = work_count(o, s->count) / JOURNAL_BATCH * JOURNAL_BATCH;
    for (uint32_t n = 0; n < rounds; n++) {
        double ours = 0, loop = 0;
        for (uint32_t side = 0; side < 2; side++) {
            if ((side ^ (n & 1)) != 0) {
                loop = journal_loop_turn(b, s->loop_batch, s->run);
            } else {
                ours = s->run ? journal_run_turn(b) : journal_our_turn(b, s->batch, s->threads);
            }
        }
        x[n] = ours / loop;
        host_beat();
    }
    return work_say("cellar", s->sync ? "sync" : "process", s->metric, "wall", x, rounds, b->bad);
}

static int journal_replay(const cell_options *o, journal_bench *b)
{
    double ms[JOURNAL_ROUNDS];
    const uint32_t rounds = o->quick ? 1 : JOURNAL_ROUNDS;
    cellar_pool_stats st = cellar_pool_stats_default();
    b->sync = false;
    b->count = work_count(o, JOURNAL_REPLAY) / JOURNAL_BATCH * JOURNAL_BATCH;
    (void)journal_our_turn(b, JOURNAL_BATCH, 1);
    for (uint32_t n = 0; n < rounds; n++) {
        const uint64_t from = host_wall_ns();
        journal_open(b);
        ms[n] = (double)(host_wall_ns() - from) / 1e6;
        b->bad += cellar_pool_stats_get(b->pool, NULL, &st) != CELLAR_OK || st.live != b->count;
        b->bad += cellar_pool_close(b->pool) != CELLAR_OK;
        host_beat();
    }
    return work_say("cellar", "journal100k", "work_journal_replay", "wall", ms, rounds, b->bad);
}

int work_journal_run(const cell_options *o)
{
    static const journal_shape shapes[] = {
        { "work_journal_one", false, false, 20000, 1, 1, 1 },
        { "work_journal_many", false, false, 64000, JOURNAL_BATCH, 1, JOURNAL_BATCH },
        { "work_journal_many", true, false, 32000, JOURNAL_BATCH, 1, JOURNAL_BATCH },
        { "work_journal_threads", true, false, 32000, 1, JOURNAL_THREADS, JOURNAL_BATCH },
        { "work_journal_run", false, true, 100032, JOURNAL_BATCH, 1, JOURNAL_BATCH }
    };
    static journal_bench b;
    int status = CELL_OK;
    snprintf(b.path, sizeof b.path, "%.200s/journal.%d.db", o->scratch, (int)getpid());
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        status |= journal_row_of(o, &b, &shapes[i]);
    }
    status |= journal_replay(o, &b);
    journal_wipe(&b);
    return status;
}
#elif BENCH_HAVE_CELLAR
int work_journal_run(const cell_options *o)
{
    (void)o;
    json_say("work", "cellar", "journal", "skip", "no sqlite3.h (libsqlite3-dev)");
    return CELL_OK;
}
#endif
