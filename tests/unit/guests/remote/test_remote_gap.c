/* SPDX-License-Identifier: MIT
 *
 * Aim:    a value that was loaded in a gap is not in memory after the gap: the load had no lease.
 *         Deletes by pattern without an answer begin a gap: the server does not report them.
 *         A set of BEHIND in a gap does not overwrite a value that another client set in the gap.
 * Method: the link is stopped behind its start of tracking, before the marker of the first proof,
 *         and at the begin of a gap; the answer to a delete is lost. Two stores in this process
 *         stand for two processes; redis-server is real. */
#include <semaphore.h>

#include "cellar_entry.h"
#include "cellar_invalidate.h"
#include "cellar_load.h"
#include "remote/link.h"
#include "remote/share.h"
#include "tests/support/shared_side.h"

static _Atomic bool stops, stops_at_gap;
static remote_link *stopped_link;
static sem_t stopped, goes;

static void stop_io_thread(void)
{
    (void)sem_post(&stopped);
    while (sem_wait(&goes) != 0) { }
}

/* Stop the I/O thread, if the test wants it, before the link sends the marker. */
static void synced_later(remote_link *l)
{
    if (atomic_exchange(&stops, false)) {
        stopped_link = l;
        stop_io_thread();
    }
    remote_synced(l);
}

/* Stop the I/O thread, if the test wants it, when the gap has begun and no link is left. */
static void share_gap_later(cellar_remote *r)
{
    remote_share_gap(r);
    if (atomic_exchange(&stops_at_gap, false)) { stop_io_thread(); }
}

#define remote_synced synced_later
#define remote_share_gap share_gap_later
#include "src/guests/remote/coherence.c"
#undef remote_share_gap
#undef remote_synced

static bool loses;

/* Ask, and lose the answer to the deletes of a pattern if the test wants it. */
static cellar_err ask_in_vain(cellar_remote *r, remote_bytes *bytes, remote_request q,
                              remote_fate *fate)
{
    const bool lost = loses && bytes->len != 0 &&
                      memmem(bytes->data, bytes->len, "\r\nUNLINK\r\n", 10) != NULL;
    const cellar_err err = remote_ask_bytes(r, bytes, q, fate);
    return lost ? CELLAR_E_TIMEOUT : err;
}

#define remote_ask_bytes ask_in_vain
#include "src/guests/remote/put.c"
#undef remote_ask_bytes

static engine server;
static side a, b;

static cellar_err load(cellar_load *ld, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    return cellar_load_value(ld, "loaded", 6);
}

/* Return what memory of the side has, also as a stale value. */
static cellar_err look(const side *s, char buf[8])
{
    size_t len = 0;
    cellar_get_opts o = { .struct_size = sizeof o, .flags = CELLAR_GET_ALLOW_STALE };
    const cellar_err err = cellar_get_with(s->users, "k", 1, &o, buf, 7, &len);
    buf[err == CELLAR_OK ? len : 0] = '\0'; /* behind the value is what a look left */
    return err;
}

T_CASE(load_of_a_gap_is_not_in_memory_after_it)
{
    for (int offline = 0; offline <= CELLAR_REMOTE_SERVE_STALE; offline++) {
        cellar_remote_namespace_config o = cellar_remote_namespace_config_default();
        cellar_result out = cellar_result_default();
        char got[8];
        if (!engine_start(&server, NULL)) { return; }
        o.offline = (cellar_remote_offline)offline;
        side_open(&a, server.socket, NULL, &o);
        side_open(&b, server.socket, NULL, &o);
        T_REQUIRE(sem_init(&stopped, 0, 0) == 0 && sem_init(&goes, 0, 0) == 0);
        T_EQ_I64(side_set(&a, "k", "set"), CELLAR_OK);
        atomic_store(&stops, true);
        T_CHECK(engine_cut(&server, "pubsub") > 0); /* one of both stops */
        while (sem_wait(&stopped) != 0) { }
        const side *s = stopped_link == a.r->link ? &a : &b;
        T_EQ_I64(cellar_get_or_load(s->users, "k", 1, NULL, load, NULL, &out), CELLAR_OK);
        cellar_result_free(&out);
        (void)sem_post(&goes);
        T_CHECK(side_proven(s));
        side_fence(s);
        T_EQ_I64(look(s, got), CELLAR_OK);
        T_EQ_STR(got, "set");
        side_close(&a);
        side_close(&b);
        engine_stop(&server);
    }
}

T_CASE(delete_by_pattern_without_an_answer_ends_all_entries)
{
    for (int raw = 0; raw < 2; raw++) {
        cellar_remote_namespace_config o = cellar_remote_namespace_config_default();
        if (!engine_start(&server, NULL)) { return; }
        o.values = raw ? CELLAR_REMOTE_RAW : CELLAR_REMOTE_ENVELOPE;
        side_open(&a, server.socket, NULL, &o);
        T_EQ_I64(side_set(&a, "k1", "set"), CELLAR_OK);
        loses = true;
        T_EQ_I64(cellar_delete_by_pattern(a.users, "k*", 2, NULL),
                 raw ? CELLAR_E_TIMEOUT : CELLAR_DEFERRED);
        loses = false;
        T_EQ_I64(engine_number(engine_ask(&server, "EXISTS app:users:k1")), 0);
        T_CHECK(side_proven(&a));
        side_fence(&a);
        T_CHECK(side_has(&a, "k1", NULL));
        side_close(&a);
        engine_stop(&server);
    }
}

T_CASE(set_behind_in_a_gap_is_never_an_old_value)
{
    for (int raw = 0; raw < 2; raw++) {
        cellar_remote_namespace_config o = cellar_remote_namespace_config_default();
        if (!engine_start(&server, NULL)) { return; }
        o.values = raw ? CELLAR_REMOTE_RAW : CELLAR_REMOTE_ENVELOPE;
        o.write = CELLAR_REMOTE_BEHIND;
        side_open(&a, server.socket, NULL, &o);
        side_fence(&a);
        T_REQUIRE(sem_init(&stopped, 0, 0) == 0 && sem_init(&goes, 0, 0) == 0);
        atomic_store(&stops_at_gap, true);
        T_CHECK(engine_cut(&server, "pubsub") == 1);
        while (sem_wait(&stopped) != 0) { }
        T_EQ_I64(side_set(&a, "k", "old"), CELLAR_DEFERRED);
        T_EQ_U64(side_stats(&a).queue_entries, 0);
        T_EQ_U64(side_stats(&a).queue_full, 0);
        T_CHECK(engine_ask(&server, "SET app:users:k new") != NULL);
        (void)sem_post(&goes);
        T_CHECK(side_proven(&a));
        side_fence(&a);
        T_EQ_I64(engine_number(engine_ask(&server, "EXISTS app:users:k")), 0); /* the journal */
        T_EQ_I64(side_set(&a, "k", "next"), CELLAR_OK);
        while (side_stats(&a).queue_entries != 0) { engine_pause_ms(1); }
        T_EQ_I64(engine_number(engine_ask(&server, "EXISTS app:users:k")), 1);
        side_close(&a);
        engine_stop(&server);
    }
}

T_MAIN("cellar_remote_gap")
