/* SPDX-License-Identifier: MIT
 *
 * finish: end the service of a port without losing requests that have arrived.
 *
 * WALK       thread stopped -> a last accept -> listeners closed -> rounds read what the sockets
 *            hold -> each client counts as one that sends no more: serve.c runs its requests, sends
 *            its replies and closes it -> no client is left, or the time is over
 * LISTEN_FDS The next process accepts what waits at a socket of listen_fds. A client that this one
 *            has just accepted sends its first request first: it saw no other end of a connection.
 * LIMITS     RESP_FINISH_BYTES of a client are read: one that sends without a pause does not hold
 *            the end.
 * SEE ALSO   resp_serve_send in serve.c. */
#include "resp/finish.h"

#include "resp/listen.h"
#include "resp/loop.h"
#include "resp/reply.h"

BASE_SIZE_BEGIN

#define RESP_FINISH_BYTES ((size_t)1 << 20)
#define RESP_FINISH_WAIT_MS 10  /* of a round, while replies wait for their readers */
#define RESP_FINISH_FIRST_MS 1000 /* from a connect to its first request */

CELLAR_PRIVATE void resp_thread_stop(cellar_resp *r)
{
    if (!r->started) { return; }
    base_store_rel(&r->stop, 1u);
    sync_wake(&r->stop, 1);
    base_net_ring(r->bell);
    base_thread_join(&r->thread);
    r->started = false;
    base_store_rel(&r->stepping, 0u);
}

/* Read no more of a client: it counts as one that has sent all. */
static void resp_finish_end(resp_client *c)
{
    c->flags |= RESP_C_END;
    resp_wake(c);
}

/* Read what the sockets of the clients hold, and run it. */
static void resp_finish_read(cellar_resp *r, uint64_t end_ns)
{
    uint64_t before, all = 0;
    bool had, left = false;
    for (resp_client *c = r->first; c != NULL; c = c->next) { c->read_bytes = 0; }
    do {
        before = all;
        had = left; /* a client without requests left is asked for more in the next round */
        all = 0;
        left = false;
        (void)resp_round(r, 0);
        for (resp_client *c = r->first; c != NULL; c = c->next) {
            if (c->read_bytes >= RESP_FINISH_BYTES && !(c->flags & RESP_C_END)) {
                resp_finish_end(c);
            }
            all += c->read_bytes;
            left = left || (c->flags & RESP_C_PENDING) != 0;
        }
    } while ((left || had || all != before) && base_now_ns() < end_ns);
}

/* Return whether a client has connected just now, and sent nothing. */
static bool resp_finish_first(const cellar_resp *r)
{
    for (const resp_client *c = r->first; c != NULL; c = c->next) {
        const bool young = r->now_ms - c->born_ms < RESP_FINISH_FIRST_MS;
        if (young && (c->flags & RESP_C_FIRST)) { return true; }
    }
    return false;
}

CELLAR_API cellar_err cellar_resp_finish(cellar_resp *r, int64_t timeout_ms)
{
    if (r == NULL || timeout_ms < 0) { return CELLAR_E_INVAL; }
    if (r->obj.forked) { return CELLAR_E_FORKED; }
    resp_thread_stop(r);
    base_store_rlx(&r->draining, 1u);
    if (!base_cas_ar(&r->stepping, 0u, 1u)) { return CELLAR_E_BUSY; }
    const uint64_t end_ns = base_until_ns(timeout_ms);
    if (!r->inherits) { (void)resp_round(r, 0); } /* clients that are not accepted yet */
    resp_listen_close(r, 0); /* readiness is asked until the end */
    resp_finish_read(r, end_ns);
    while (r->inherits && resp_finish_first(r) && base_now_ns() < end_ns) {
        (void)resp_round(r, RESP_FINISH_WAIT_MS);
    }
    for (resp_client *c = r->first; c != NULL; c = c->next) { resp_finish_end(c); }
    do {
        (void)resp_round(r, RESP_FINISH_WAIT_MS);
    } while (r->first != NULL && base_now_ns() < end_ns);
    const bool over = r->first == NULL;
    base_store_rel(&r->stepping, 0u);
    return over ? CELLAR_OK : CELLAR_E_TIMEOUT;
}

BASE_SIZE_END
