/* SPDX-License-Identifier: MIT
 *
 * Aim:    test_remote_coherence finds a tier that keeps its entries over a lost connection.
 * Method: the same lost connections, without the end of entries behind the start of tracking. */
#include "remote/data.h"

CELLAR_PRIVATE void remote_linked_right(cellar_remote *r);

#define remote_linked remote_linked_right
#include "src/guests/remote/coherence.c"
#undef remote_linked

static void flush_synced(struct remote_data *d, cellar_err err)
{
    if (err == CELLAR_OK) {
        remote_synced(d->r->link);
    } else {
        remote_sync_failed(d->r->link, err);
    }
}

CELLAR_PRIVATE void remote_linked(cellar_remote *r);

CELLAR_PRIVATE void remote_linked(cellar_remote *r)
{
    remote_note_tracked(r);
    remote_control_read_all(r->data, flush_synced);
}

#include "tests/support/coherence_run.h"

T_CASE(entries_that_outlive_a_gap_stay_old)
{
    static engine server;
    T_CHECK(run_until_stale(&server, 60, 300, true));
}

T_MAIN("cellar_remote_coherence_flush")
