/* SPDX-License-Identifier: MIT
 *
 * shared_wait: leases that processes wait for, and their end when the owner has died.
 *
 * PICTURE    a waiter asks to release a lease unless its beat is there (CHANGE, KEEP), and it is
 *            -> a note of beat, lease and token
 *            a client leaves -> looks each RESP_WAIT_MS, for RESP_LOOK_FOR_MS: has
 *            the process ended that wrote the beat? -> its beats and the noted leases are deleted,
 *            and their waiters hear of it
 * INVARIANTS Of a unix socket only the end of the process counts, not that of its connection: a
 *            process that connects again has its leases. A socket closes shortly before its process
 *            has ended, so one look is not enough.
 *            Of TCP the connection counts: an owner is over if its connection is closed for
 *            RESP_CLOSED_MS and no other one has written the beat. A live one that was cut off may
 *            load twice; its fill is refused.
 * LOCKING    None: the thread of the round.
 * LIMITS     RESP_WAITS notes; the oldest one goes. A lease without a note ends with its beat. */
#include <string.h>

#include "base/num.h"
#include "base/process.h"
#include "resp/control.h"
#include "resp/shared.h"
#include "resp/shared_wait.h"
#include "resp/track.h"

#define RESP_WAITS 64u
#define RESP_WAIT_BYTES ((size_t)2 << 10) /* of a note */
#define RESP_WAIT_MS 2                    /* between two looks */
#define RESP_CLOSED_MS 30                 /* for a link that comes back */

/* A note, one allocation. */
typedef struct resp_waiter {
    struct resp_waiter *next;
    size_t beat_len, lease_len, token_len;
    unsigned char bytes[]; /* beat, lease, token */
} resp_waiter;

static size_t resp_wait_bytes(const resp_waiter *w)
{
    return sizeof *w + w->beat_len + w->lease_len + w->token_len;
}

/* Free the note at a place of the list. */
static void resp_wait_drop(cellar_resp *r, resp_waiter **at)
{
    resp_waiter *w = *at;
    *at = w->next;
    base_free(&r->obj.account, BASE_MOD_STORE, w, resp_wait_bytes(w));
}

CELLAR_PRIVATE void resp_wait_clear(cellar_resp *r)
{
    while (r->shared.waits != NULL) { resp_wait_drop(r, &r->shared.waits); }
}

/* Return whether a connection of TCP is closed, and the last one that left did so long enough
 * ago. */
static bool resp_wait_is_closed(const cellar_resp *r, uint64_t id)
{
    for (const resp_client *c = r->first; c != NULL; c = c->next) {
        if (c->id == id) { return false; }
    }
    return r->now_ms >= r->shared.look_until_ms - RESP_LOOK_FOR_MS + RESP_CLOSED_MS;
}

/* Delete a beat if its writer has ended. False: it has not. */
static bool resp_wait_is_over(cellar_resp *r, cellar_bytes beat)
{
    resp_control *k = resp_control_find(r, beat);
    if (k == NULL) { return true; }
    const int64_t process = resp_control_writer(k);
    if (process == 0 || (process > 0 ? !base_process_ended(process)
                                     : !resp_wait_is_closed(r, (uint64_t)-process))) {
        return false;
    }
    resp_changed(r, NULL, beat);
    resp_control_delete(r, k);
    return true;
}

CELLAR_PRIVATE bool resp_wait_note(resp_client *c, cellar_bytes beat, cellar_bytes lease,
                                   cellar_bytes token)
{
    cellar_resp *r = c->of;
    const size_t bytes = beat.len + lease.len + token.len;
    uint32_t count = 1;
    if (resp_wait_is_over(r, beat)) { return false; }
    if (r->now_ms < r->shared.look_until_ms) { r->shared.look_ms = r->now_ms; }
    for (resp_waiter **at = &r->shared.waits; *at != NULL;) {
        const resp_waiter *w = *at;
        const bool same = w->lease_len == lease.len &&
                          memcmp(w->bytes + w->beat_len, lease.data, lease.len) == 0;
        if (same || ++count > RESP_WAITS) { resp_wait_drop(r, at); } else { at = &(*at)->next; }
    }
    resp_waiter *w = bytes <= RESP_WAIT_BYTES
        ? base_alloc(&r->obj.account, BASE_MOD_STORE, sizeof *w + bytes, NULL) : NULL;
    if (w == NULL) { return true; }
    *w = (resp_waiter){ r->shared.waits, beat.len, lease.len, token.len };
    memcpy(w->bytes, beat.data, beat.len);
    memcpy(w->bytes + beat.len, lease.data, lease.len);
    memcpy(w->bytes + beat.len + lease.len, token.data, token.len);
    r->shared.waits = w;
    return true;
}

/* Delete a lease, if it has this token: the check of an envelope, or the whole value. */
static void resp_wait_release(resp_client *c, cellar_bytes lease, cellar_bytes token)
{
    cellar_bytes v;
    resp_shared_begin(c); /* the change is of a function: all clients hear */
    if (resp_shared_get(c, lease, &v)) {
        const size_t from = token.len == RESP_CHECK_LEN ? BASE_MIN(v.len, RESP_CHECK_AT) : 0;
        const size_t len = from > 0 ? BASE_MIN(v.len - from, RESP_CHECK_LEN) : v.len;
        if (len == token.len && memcmp((const char *)v.data + from, token.data, len) == 0) {
            (void)resp_shared_unlink(c, lease);
        }
    }
    resp_shared_end(c);
}

CELLAR_PRIVATE void resp_wait_look(cellar_resp *r)
{
    resp_shared *s = &r->shared;
    if (s->store == NULL || r->now_ms < s->look_ms) { return; }
    for (resp_waiter **at = &s->waits; *at != NULL && r->first != NULL;) {
        const resp_waiter *w = *at;
        const unsigned char *const lease = w->bytes + w->beat_len;
        if (!resp_wait_is_over(r, (cellar_bytes){ w->bytes, w->beat_len })) {
            at = &(*at)->next;
            continue;
        }
        resp_wait_release(r->first, (cellar_bytes){ lease, w->lease_len },
                          (cellar_bytes){ lease + w->lease_len, w->token_len });
        resp_wait_drop(r, at);
    }
    const bool again = s->waits != NULL && r->now_ms < s->look_until_ms;
    s->look_ms = again ? r->now_ms + RESP_WAIT_MS : INT64_MAX;
    resp_announce(r);
}
