/* SPDX-License-Identifier: MIT
 *
 * state: from a lost connection to the next one: reasons, pauses, Sentinel.
 *
 * PICTURE    PAUSE -> RESOLVE [-> SENTINEL -> RESOLVE] -> HANDSHAKE -> TRACK -> SYNC -> MARKERS
 *            DOWN                                             LINKED   GAP     GAP, PROVEN, SUSPECT
 *            any -> PAUSE (fall)
 * INVARIANTS remote_break only notes the reason: it is called inside the parser. remote_fall closes
 *            at the end of the round. `gap` is called once for each `linked`.
 * BREAKER    A link that falls is open: requests fail at once. The next attempt is its probe. After
 *            a proof the first attempt comes without a pause; then pauses are random, up to
 *            50 ms * 2^failures, at most 5 s. Refusals that a person must mend wait 5 s. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

#include "remote/reason.h"

#define REMOTE_STRING_DEFAULT ((size_t)1 << 20)
#define REMOTE_PAUSE_MS INT64_C(50)
#define REMOTE_PAUSE_MAX_MS INT64_C(5000)
#define REMOTE_HANDSHAKE_MS INT64_C(1000) /* for a name; for handshake and tracking */
#define REMOTE_NS_OF_MS INT64_C(1000000)

/* ---- end of a link ---- */

static cellar_err remote_why_code(remote_why why)
{
    static const cellar_err code[REMOTE_WHYS_N] = {
#define REMOTE_WHY_CODE(name, number, text) number,
        REMOTE_WHYS(REMOTE_WHY_CODE)
#undef REMOTE_WHY_CODE
    };
    return code[why];
}

static void remote_refusal_note(remote_link *l, remote_why why, int error)
{
    pthread_mutex_lock(&l->refusal_lock);
    l->refusal.why = why;
    l->refusal.code = remote_why_code(why);
    l->refusal.sys_errno = error;
    (void)snprintf(l->refusal.text, sizeof l->refusal.text, "remote: %s", l->why_text);
    pthread_mutex_unlock(&l->refusal_lock);
    (void)atomic_fetch_add(&l->whys[why], 1);
    if (why != REMOTE_WHY_CLOSE) { remote_warn(l, why, l->refusal.code, l->refusal.text); }
}

/* Return the pause before the next attempt, in ns. */
static int64_t remote_pause_ns(remote_link *l, remote_why why)
{
    const bool person = why == REMOTE_WHY_AUTH || why == REMOTE_WHY_NOPERM ||
                        why == REMOTE_WHY_PLAINTEXT;
    if (person) { return REMOTE_PAUSE_MAX_MS * REMOTE_NS_OF_MS; }
    const uint32_t shift = l->failures++;
    if (shift == 0) { return 0; }
    int64_t most_ms = REMOTE_PAUSE_MS << (shift < 8 ? shift - 1 : 7);
    if (most_ms > REMOTE_PAUSE_MAX_MS) { most_ms = REMOTE_PAUSE_MAX_MS; }
    uint32_t draw = 0;
    if (getrandom(&draw, sizeof draw, GRND_NONBLOCK) != (ssize_t)sizeof draw) { draw = UINT32_MAX; }
    return (int64_t)((uint64_t)(most_ms * REMOTE_NS_OF_MS) * draw / UINT32_MAX);
}

static void remote_wire_drop(remote_link *l, remote_wire *w, uint32_t *watched)
{
    if (*watched != 0) { (void)epoll_ctl(l->epoll, EPOLL_CTL_DEL, w->fd, NULL); }
    *watched = 0;
    if (w->fd >= 0) { (void)shutdown(w->fd, SHUT_RDWR); } /* a forked child may have a copy */
    remote_wire_close(w);
}

CELLAR_PRIVATE void remote_fall(remote_link *l)
{
    const remote_why why = l->why;
    const int error = l->data.sys_errno != 0 ? l->data.sys_errno : l->subscriber.sys_errno;
    atomic_store(&l->usable, false);
    remote_state_set(l, REMOTE_DOWN);
    remote_gap_begin(l);
    l->phase = REMOTE_PHASE_PAUSE;
    remote_wire_drop(l, &l->data, &l->watched[0]);
    remote_wire_drop(l, &l->subscriber, &l->watched[1]);
    l->data.sys_errno = l->subscriber.sys_errno = 0;
    remote_refusal_note(l, why, error); /* first: a caller that wakes may ask for it */
    remote_end_all(l, why == REMOTE_WHY_CLOSE ? CELLAR_E_CLOSED : CELLAR_E_IO);
    l->marker.number = 0;
    l->found = l->scripts_gone = false; /* of the lost connection */
    l->retry_ns = remote_mono_ns() + remote_pause_ns(l, why);
    atomic_store(&l->timeouts_row, 0);
    (void)atomic_fetch_add(&l->falls, 1);
    remote_futex_wake(&l->marker_back, REMOTE_ALL_BITS);
    l->why = REMOTE_WHY_NONE;
}

/* ---- attempts ---- */

CELLAR_PRIVATE void remote_deadline_set(remote_link *l)
{
    l->deadline_ns = remote_mono_ns() + REMOTE_HANDSHAKE_MS * REMOTE_NS_OF_MS;
}

static bool remote_watch(remote_link *l, remote_wire *w, uint32_t *watched)
{
    struct epoll_event e = { .events = EPOLLIN | EPOLLOUT, .data.ptr = w };
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, w->fd, &e) != 0) {
        remote_break(l, REMOTE_WHY_CONNECT, "a connection cannot be watched");
        return false;
    }
    *watched = e.events;
    return true;
}

static bool remote_open_wire(remote_link *l, remote_wire *w, uint32_t *watched, const char *which)
{
    w->string_max = l->c->string_max != 0 ? l->c->string_max : REMOTE_STRING_DEFAULT;
    if (!remote_wire_connect(w, &l->peer)) {
        remote_break_wire(l, w, which);
        return false;
    }
    return remote_watch(l, w, watched);
}

/* Say HELLO to l->peer on two connections. */
static void remote_connect_pair(remote_link *l)
{
    l->phase = REMOTE_PHASE_HANDSHAKE;
    l->data.take = remote_take_reply;
    if (remote_open_wire(l, &l->data, &l->watched[0], "data") &&
        remote_open_wire(l, &l->subscriber, &l->watched[1], "subscriber")) {
        (void)remote_handshake(l);
    }
}

static void remote_sentinel_reply(void *link, const remote_reply *reply)
{
    remote_link *l = link;
    const remote_reply *host = reply->type == REMOTE_ARRAY ? reply->first : NULL;
    const remote_reply *port = host != NULL ? host->next : NULL;
    const long number = port != NULL && port->type == REMOTE_STRING
        ? strtol(port->text, NULL, 10) : 0;
    if (number <= 0 || number > 65535 || host->len > REMOTE_HOST_MAX ||
        host->type != REMOTE_STRING) {
        remote_break(l, REMOTE_WHY_MASTER, reply->type == REMOTE_ERROR
                     ? "a Sentinel refuses to answer" : "a Sentinel does not know master %.80s",
                     l->c->master);
        return;
    }
    memcpy(l->at.host, host->text, host->len);
    l->at.host[host->len] = '\0';
    l->at.port = (uint16_t)number;
    l->found = true;
}

static void remote_ask_sentinel(remote_link *l)
{
    const char *argv[3] = { "SENTINEL", "get-master-addr-by-name", l->c->master };
    remote_bytes b = { .memory = l->e.memory };
    l->phase = REMOTE_PHASE_SENTINEL;
    l->data.take = remote_sentinel_reply;
    if (!remote_open_wire(l, &l->data, &l->watched[0], "to a Sentinel")) { return; }
    bool fine = remote_command(&b, 3, argv, NULL) == CELLAR_OK;
    if (fine) {
        struct iovec part = { b.data, b.len };
        fine = remote_wire_send(&l->data, &part, 1);
    }
    if (!fine) { remote_break(l, REMOTE_WHY_NOMEM, "no memory to ask a Sentinel"); }
    remote_bytes_free(&b);
}

CELLAR_PRIVATE void remote_resolve_step(remote_link *l)
{
    const cellar_err err = remote_resolve(&l->lookup, &l->at, l->attempt, &l->peer);
    if (err == CELLAR_PENDING) { return; }
    if (err != CELLAR_OK) {
        remote_break(l, err == CELLAR_E_NOMEM ? REMOTE_WHY_NOMEM : REMOTE_WHY_CONNECT,
                     err == CELLAR_E_NOMEM ? "no memory or thread to resolve %.72s"
                                           : "the name %.80s has no address", l->at.host);
        return;
    }
    remote_deadline_set(l);
    if (l->at_sentinel) { remote_ask_sentinel(l); } else { remote_connect_pair(l); }
}

/* Connect to l->at when its name has an address. */
static void remote_resolve_begin(remote_link *l, bool sentinel)
{
    if (l->at.port != 0 && !l->c->allow_plaintext && !remote_host_is_local(l->at.host)) {
        remote_break(l, REMOTE_WHY_PLAINTEXT,
                     "TCP to another machine needs allow_plaintext (got %.80s)", l->at.host);
        return;
    }
    l->at_sentinel = sentinel;
    l->phase = REMOTE_PHASE_RESOLVE;
    remote_deadline_set(l);
    remote_resolve_step(l);
}

CELLAR_PRIVATE void remote_attempt(remote_link *l)
{
    const bool sentinel = l->c->sentinel_count != 0;
    l->attempt++;
    remote_count(l, REMOTE_LINK_ATTEMPTS, 1);
    l->at = sentinel ? l->c->sentinel[l->attempt % l->c->sentinel_count] : l->c->server;
    remote_resolve_begin(l, sentinel);
}

CELLAR_PRIVATE void remote_found(remote_link *l)
{
    l->found = false;
    remote_wire_drop(l, &l->data, &l->watched[0]);
    remote_resolve_begin(l, false);
}
