/* SPDX-License-Identifier: MIT
 *
 * state: from a lost connection to the next one: reasons and pauses.
 *
 * PICTURE    PAUSE [-> SENTINEL] -> RESOLVE -> HANDSHAKE -> TRACK -> SYNC -> MARKERS
 *            DOWN                                  LINKED   GAP     GAP, PROVEN, SUSPECT
 *            any -> PAUSE (fall)
 * INVARIANTS remote_break only notes the reason: it is called inside the parser. remote_fall closes
 *            at the end of the round. `gap` is called once for each `linked`.
 * BREAKER    A link that falls is open: requests fail at once. The next attempt is its probe. After
 *            a proof the first attempt comes without a pause; then pauses are random, up to
 *            50 ms * 2^failures, at most 800 ms: a link is back 1 s after its server. Refusals that
 *            a person must mend wait 800 ms.
 * ADDRESSES  Attempts take the addresses of a name in turn, without a pause until all were tried.
 *            The reason of an address that answered stays until its next turn: a second address
 *            without a server does not hide it. */
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "remote/reason.h"

BASE_SIZE_BEGIN

#define REMOTE_STRING_DEFAULT ((size_t)1 << 20)
#define REMOTE_PAUSE_MS INT64_C(50)
#define REMOTE_PAUSE_MAX_MS INT64_C(800)
#define REMOTE_HANDSHAKE_MS INT64_C(1000) /* for a name; for handshake and tracking */

/* ---- end of a link ---- */

/* Return whether the name of this attempt has addresses that were not tried since its first one. */
static bool remote_has_more(const remote_link *l)
{
    return l->peer.count > 1 && l->attempt % l->peer.count != 0;
}

/* Return whether the address of this attempt has no server that takes a connection. */
static bool remote_is_absent(const remote_link *l)
{
    struct sockaddr_storage at;
    socklen_t len = sizeof at;
    return l->why == REMOTE_WHY_CONNECT ||
           (l->why == REMOTE_WHY_TIMEOUT &&
            getpeername(l->data.fd, (struct sockaddr *)&at, &len) != 0);
}

/* Return whether the last reason is of another address of the same name, which answered. */
static bool remote_is_hidden(remote_link *l)
{
    if (!remote_is_absent(l)) {
        l->answered_at = l->attempt;
        return false;
    }
    return l->answered_at != 0 && l->attempt - l->answered_at < l->peer.count;
}

/* Count a reason, and note it unless it is hidden. */
static void remote_refusal_note(remote_link *l, remote_why why, int error, bool hidden)
{
    static const cellar_err code[REMOTE_WHYS_N] = {
#define REMOTE_WHY_CODE(name, number, text) number,
        REMOTE_WHYS(REMOTE_WHY_CODE)
#undef REMOTE_WHY_CODE
    };
    (void)atomic_fetch_add(&l->whys[why], 1);
    if (hidden) { return; }
    pthread_mutex_lock(&l->refusal_lock);
    l->refusal.why = why;
    l->refusal.code = code[why];
    l->refusal.sys_errno = error;
    (void)snprintf(l->refusal.text, sizeof l->refusal.text, "remote: %s", l->why_text);
    pthread_mutex_unlock(&l->refusal_lock);
    if (why != REMOTE_WHY_CLOSE) { remote_warn(l, why, l->refusal.code, l->refusal.text); }
}

/* Return the pause before the next attempt, in ns. */
static int64_t remote_pause_ns(remote_link *l, remote_why why)
{
    const bool person = why == REMOTE_WHY_AUTH || why == REMOTE_WHY_NOPERM ||
                        why == REMOTE_WHY_PLAINTEXT;
    if (remote_has_more(l)) { return 0; }
    if (person) { return REMOTE_PAUSE_MAX_MS * REMOTE_NS_OF_MS; }
    const uint32_t shift = l->failures++;
    if (shift == 0) { return 0; }
    int64_t most_ms = REMOTE_PAUSE_MS << (shift < 8 ? shift - 1 : 7);
    if (most_ms > REMOTE_PAUSE_MAX_MS) { most_ms = REMOTE_PAUSE_MAX_MS; }
    uint32_t draw = 0;
    if (getrandom(&draw, sizeof draw, GRND_NONBLOCK) != (ssize_t)sizeof draw) { draw = UINT32_MAX; }
    return (int64_t)((uint64_t)(most_ms * REMOTE_NS_OF_MS) * draw / UINT32_MAX);
}

CELLAR_PRIVATE void remote_wire_drop(remote_link *l, remote_wire *w)
{
    if (w->watched != 0) { (void)epoll_ctl(l->epoll, EPOLL_CTL_DEL, w->fd, NULL); }
    w->watched = 0;
    if (w->tls != NULL) { tls_bye(w->tls); }
    if (w->fd >= 0) { (void)shutdown(w->fd, SHUT_RDWR); } /* a forked child may have a copy */
    remote_wire_close(w);
}

CELLAR_PRIVATE void remote_fall(remote_link *l)
{
    const remote_why why = l->why;
    const int error = l->data.sys_errno != 0 ? l->data.sys_errno : l->subscriber.sys_errno;
    const bool hidden = remote_is_hidden(l);
    atomic_store(&l->usable, false);
    remote_state_set(l, REMOTE_DOWN);
    remote_gap_begin(l);
    l->phase = REMOTE_PHASE_PAUSE;
    remote_wire_drop(l, &l->data);
    remote_wire_drop(l, &l->subscriber);
    l->data.sys_errno = l->subscriber.sys_errno = 0;
    remote_refusal_note(l, why, error, hidden); /* first: a caller that wakes may ask for it */
    remote_end_all(l, why == REMOTE_WHY_CLOSE ? CELLAR_E_CLOSED : CELLAR_E_IO);
    l->marker.number = 0;
    l->scripts_gone = false; /* of the lost connection */
    l->retry_ns = remote_mono_ns() + remote_pause_ns(l, why);
    atomic_store(&l->timeouts_row, 0);
    (void)atomic_fetch_add(&l->falls, 1);
    remote_futex_wake(&l->marker_back, REMOTE_ALL_BITS);
    l->why = REMOTE_WHY_NONE;
}

/* ---- attempts ---- */

CELLAR_PRIVATE void remote_deadline_set(remote_link *l)
{
    const bool shakes = l->data.tls != NULL && (!l->data.connected ||
                        (l->subscriber.fd >= 0 && !l->subscriber.connected));
    const int64_t most_ms = shakes ? 10 * l->c->io_ms : REMOTE_HANDSHAKE_MS;
    l->deadline_ns = remote_mono_ns() + most_ms * REMOTE_NS_OF_MS;
}

CELLAR_PRIVATE bool remote_watch(remote_link *l, remote_wire *w)
{
    struct epoll_event e = { .events = remote_wire_wants(w), .data.ptr = w };
    const uint32_t reader = atomic_load(&l->reader);
    if (w == &l->data && reader != REMOTE_TICKET_NONE) { /* a caller reads, and sends in its turn */
        e.events = EPOLLRDHUP | (reader != l->alone ? e.events & EPOLLOUT : 0u);
    } else if (w == &l->data && w->watched == EPOLLRDHUP && e.events == EPOLLIN &&
               l->sent.first == REMOTE_TICKET_NONE) {
        e.events = EPOLLRDHUP; /* the next request may be of a caller that reads, too */
    }
    if (w->fd < 0 || w->watched == e.events) { return true; }
    if (epoll_ctl(l->epoll, w->watched == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, w->fd, &e) != 0) {
        remote_break(l, REMOTE_WHY_CONNECT, "a connection cannot be watched");
        return false;
    }
    w->watched = e.events;
    return true;
}

static bool remote_open_wire(remote_link *l, remote_wire *w)
{
    w->string_max = l->c->string_max != 0 ? l->c->string_max : REMOTE_STRING_DEFAULT;
    if (!remote_wire_connect(w, l->c, l->at.host, &l->peer)) {
        remote_break_wire(l, w);
        return false;
    }
    return remote_watch(l, w);
}

CELLAR_PRIVATE void remote_insecure(const remote_link *l)
{
    if (!l->c->tls_insecure) { return; }
    l->e.log(l->e.ctx, CELLAR_E_DENIED, "remote: tls_insecure: the certificate of the server "
             "is not verified; remove this word from the URL");
}

CELLAR_PRIVATE void remote_unresolved(remote_link *l, cellar_err err)
{
    remote_break(l, err == CELLAR_E_NOMEM ? REMOTE_WHY_NOMEM : REMOTE_WHY_CONNECT,
                 err == CELLAR_E_NOMEM ? "no memory or thread to resolve %.72s"
                                       : "the name %.80s has no address", l->at.host);
}

CELLAR_PRIVATE void remote_resolve_step(remote_link *l)
{
    const cellar_err err = remote_resolve(&l->lookup, &l->at, l->attempt, &l->peer);
    if (err == CELLAR_PENDING) { return; }
    if (err != CELLAR_OK) {
        remote_unresolved(l, err);
        return;
    }
    atomic_store(&l->addresses, l->peer.count);
    remote_insecure(l);
    l->phase = REMOTE_PHASE_HANDSHAKE;
    if (remote_open_wire(l, &l->data) && remote_open_wire(l, &l->subscriber)) {
        remote_handshake(l);
    }
    remote_deadline_set(l); /* longer with a handshake of TLS */
}

CELLAR_PRIVATE void remote_connect_to(remote_link *l, const remote_address *at)
{
    l->at = *at;
    if (l->at.port != 0 && !l->c->tls && !l->c->allow_plaintext &&
        !remote_host_is_local(l->at.host)) {
        remote_break(l, REMOTE_WHY_PLAINTEXT,
                     "TCP to another machine needs allow_plaintext (got %.80s)", l->at.host);
        return;
    }
    l->phase = REMOTE_PHASE_RESOLVE;
    remote_deadline_set(l);
    remote_resolve_step(l);
}

CELLAR_PRIVATE void remote_attempt(remote_link *l)
{
    l->attempt++;
    remote_count(l, REMOTE_LINK_ATTEMPTS, 1);
    if (l->c->sentinel_count == 0) {
        remote_connect_to(l, &l->c->server);
        return;
    }
    l->phase = REMOTE_PHASE_SENTINEL;
    l->at = l->primary; /* of a reason, until an address is known */
    l->told = 0;
    remote_deadline_set(l);
}

CELLAR_PRIVATE void remote_unvouched(remote_link *l)
{
    (void)snprintf(l->why_text, sizeof l->why_text, "no majority of the Sentinels names %.48s:%u",
                   l->at.host, l->at.port);
    remote_refusal_note(l, REMOTE_WHY_MASTER, 0, false);
    atomic_store(&l->retrack, true);
}

BASE_SIZE_END
