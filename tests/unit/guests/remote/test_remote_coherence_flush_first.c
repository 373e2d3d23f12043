/* SPDX-License-Identifier: MIT
 *
 * Aim:    test_remote_coherence finds a tier that ends its entries before tracking is on.
 * Method: the same lost connections. Entries end when the connection is lost, and not behind the
 *         start of tracking. Gets are answered and kept without a proof, and the link takes
 *         requests for FIRST_TRIPS round trips before tracking: else no reply comes between the
 *         end and the start of tracking. Single connections are cut: the other processes write.
 *         With the end behind that start, the same link keeps nothing old. */
#include "remote/data.h"
#include "remote/link_inside.h"

CELLAR_PRIVATE void remote_handshake_right(remote_link *l);
CELLAR_PRIVATE void remote_handshake_done_right(remote_link *l);
CELLAR_PRIVATE void remote_gap_right(cellar_remote *r);
CELLAR_PRIVATE void remote_linked_right(cellar_remote *r);

#define remote_handshake remote_handshake_right
#define remote_handshake_done remote_handshake_done_right
#include "src/guests/remote/handshake.c"
#undef remote_handshake
#undef remote_handshake_done
#define remote_proven_until(link) ((void)(link), INT64_MAX)
#include "src/guests/remote/get.c"
#undef remote_proven_until
#define remote_gap remote_gap_right
#define remote_linked remote_linked_right
#include "src/guests/remote/coherence.c"
#undef remote_gap
#undef remote_linked

enum { FIRST_TRIPS = 16 };
static bool first_ends_behind; /* the right order */
static uint32_t first_trips;   /* before the start of tracking */

CELLAR_PRIVATE void remote_handshake(remote_link *l)
{
    remote_handshake_right(l);
    if (l->why != REMOTE_WHY_NONE) { return; }
    first_trips = 0;
    atomic_store(&l->usable, true); /* requests go out behind HELLO, before CLIENT TRACKING */
}

static void first_trip(remote_link *l);

static void first_trip_done(void *link, cellar_err err, remote_fate fate)
{
    (void)fate;
    if (err == CELLAR_OK) { first_trip(link); }
}

/* Ask the server some times, one by one, and then go on. */
static void first_trip(remote_link *l)
{
    static char ping[] = "PING\r\n";
    remote_bytes b = { .data = ping, .len = 6 };
    const remote_request q = { .replies = 1, .ctx = l, .done = first_trip_done };
    l->subscribed = first_trips++ == FIRST_TRIPS;
    if (l->subscribed) { remote_handshake_done_right(l); }
    else { (void)remote_post_own(l, &q, &b); }
}

/* The subscriber calls this when it is subscribed. */
CELLAR_PRIVATE void remote_handshake_done(remote_link *l) { first_trip(l); }

CELLAR_PRIVATE void remote_gap(cellar_remote *r)
{
    remote_gap_right(r);
    remote_each_space(r->data, remote_space_end, &remote_hard);
}

static void first_linked(remote_space *s, const void *arg)
{
    if (first_ends_behind) { remote_space_linked(s, arg); }
    else { remote_pending_kick(s); }
}

static void first_numbers_read(struct remote_data *d, cellar_err err)
{
    if (err != CELLAR_OK) {
        remote_sync_failed(d->r->link, err);
        return;
    }
    const bool quiet = false;
    remote_each_space(d, first_linked, &quiet);
    remote_synced(d->r->link);
}

CELLAR_PRIVATE void remote_linked(cellar_remote *r)
{
    remote_note_tracked(r);
    remote_control_read_all(r->data, first_numbers_read);
}

#define RUN_CUT(server, n) first_cut(server, n)
#include "tests/support/engine_kit.h"

/* Cut connections of two processes, of other ones each time. Return how many. */
static long long first_cut(engine *server, uint32_t n)
{
    long long cut = 0;
    for (uint32_t i = 0; i < 4; i++) {
        const redisReply *r = engine_ask(server, "CLIENT LIST TYPE %s",
                                         i % 2 == 0 ? "normal" : "pubsub");
        const char *line = r != NULL && r->type == REDIS_REPLY_STRING ? r->str : NULL;
        long long id = 0;
        for (uint32_t skip = (n + i) % 3; line != NULL && skip > 0; skip--) {
            line = strchr(line, '\n');
            line = line != NULL ? line + 1 : NULL;
        }
        if (line == NULL || sscanf(line, "id=%lld", &id) != 1) { continue; }
        cut += engine_number(engine_ask(server, "CLIENT KILL ID %lld SKIPME yes", id)) == 1;
    }
    return cut;
}

#include "tests/support/coherence_run.h"

/* Run until an old value stays, `times` times at most. */
static uint64_t stale_of(bool ends_behind, int times)
{
    static engine server;
    uint64_t stale = 0;
    first_ends_behind = ends_behind;
    for (int i = 0; i < times && stale == 0; i++) {
        run *r = run_all(&server, 60, 300, true);
        T_REQUIRE(r != NULL);
        T_CHECK(r->cut >= RUN_CUTS);
        stale = r->stale;
    }
    return stale;
}

T_CASE(reply_kept_before_tracking_stays_old) { T_CHECK(stale_of(false, 5) > 0); }
T_CASE(end_behind_tracking_leaves_no_old_value) { T_EQ_U64(stale_of(true, 1), 0); }

T_MAIN("cellar_remote_coherence_flush_first")
