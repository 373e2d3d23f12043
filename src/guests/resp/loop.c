/* SPDX-License-Identifier: MIT
 *
 * loop: a round: wait, accept, serve clients with events, then those with work left, then times.
 *
 * WALK       epoll_wait -> listeners: accept -> clients: run RESP_TURN of them, then send ->
 *            signals -> pending clients, once each -> deadlines -> the bell rings while work is
 *            left, so that a poll returns
 * INVARIANTS A client is freed by its own resp_serve_send only: an event of this round never names
 *            a client that is gone.
 * LIMITS     RESP_EVENTS events and RESP_ACCEPTS connections of a listener in a round. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/net.h"
#include "base/num.h"
#include "resp/admin.h"
#include "resp/channel.h"
#include "resp/loop.h"
#include "resp/serve.h"
#include "resp/shared.h"
#include "resp/shared_wait.h"

#define RESP_EVENTS 64
#define RESP_TURN 8u /* clients that run before their replies are sent */
#define RESP_ACCEPTS 16
#define RESP_ACCEPT_PAUSE_MS 100
#define RESP_LOOK_MS 20 /* longest wait while a client has a deadline of its own */

/* ---- accept ---- */

typedef union resp_address {
    struct sockaddr_storage any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} resp_address;

static bool resp_is_loopback(const resp_address *a)
{
    if (a->any.ss_family == AF_INET) { return ntohl(a->v4.sin_addr.s_addr) >> 24 == 127; }
    return a->any.ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&a->v6.sin6_addr);
}

static void resp_address_text(const cellar_resp *r, const resp_address *a, char *to, size_t cap)
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (a->any.ss_family == AF_INET) {
        (void)inet_ntop(AF_INET, &a->v4.sin_addr, host, sizeof host);
        (void)snprintf(to, cap, "%s:%u", host, (unsigned)ntohs(a->v4.sin_port));
    } else if (a->any.ss_family == AF_INET6) {
        (void)inet_ntop(AF_INET6, &a->v6.sin6_addr, host, sizeof host);
        (void)snprintf(to, cap, "[%s]:%u", host, (unsigned)ntohs(a->v6.sin6_port));
    } else {
        (void)snprintf(to, cap, "unix:%s", r->unix_path[0]);
    }
}

/* Return the keyed hash of an address: of IPv4, of the network of IPv6, or of all unix sockets. */
static uint64_t resp_address_key(const cellar_resp *r, const resp_address *a)
{
    const unsigned char *p = (const unsigned char *)&a->v4.sin_addr;
    size_t len = a->any.ss_family == AF_INET ? 4 : 0;
    if (a->any.ss_family == AF_INET6) {
        const bool mapped = IN6_IS_ADDR_V4MAPPED(&a->v6.sin6_addr);
        p = a->v6.sin6_addr.s6_addr + (mapped ? 12 : 0);
        len = mapped ? 4 : 8; /* a machine has 2^64 addresses of its network */
    }
    return base_hash(&r->hash_key, 0, p, len) | 1;
}

/* Return whether a peer may speak to the port at all. */
static bool resp_peer_ok(const cellar_resp *r, int fd, uint32_t flags)
{
    if (flags & RESP_C_UNIX) {
        return base_net_peer_trusted(fd) || (r->has_group && !(flags & RESP_C_HTTP) &&
                                             base_net_peer_in(fd, r->unix_group));
    }
    return r->opts.listen_public != 0 || (flags & RESP_C_LOCAL) != 0;
}

/* Return the answer to a connection that has no place; NULL: it has one. */
static const char *resp_full(cellar_resp *r, uint32_t flags)
{
    if (flags & RESP_C_HTTP) {
        return resp_admin_room(r, (flags & RESP_C_LOCAL) != 0) ? NULL : RESP_HTTP_FULL;
    }
    return base_load_rlx(&r->client_count) >= r->max_clients
        ? "-ERR max number of clients reached\r\n" : NULL;
}

/* Greet a new connection, or close it. */
static void resp_welcome(cellar_resp *r, int fd, const resp_address *a, uint32_t flags)
{
    const char *full = NULL;
    char text[128];
    if ((flags & RESP_C_UNIX) || resp_is_loopback(a)) { flags |= RESP_C_LOCAL; }
    resp_address_text(r, a, text, sizeof text);
    resp_add(r, RESP_COUNT_connections, 1);
    if (!resp_peer_ok(r, fd, flags)) {
        base_log(&r->obj.log, BASE_LOG_WARNING, "resp", (int)CELLAR_E_DENIED,
                 "connection from %s closed at once", text);
    } else if ((full = resp_full(r, flags)) != NULL) {
        const struct iovec part = { (void *)(uintptr_t)full, strlen(full) };
        if (r->tls == NULL || (flags & RESP_C_UNIX)) { (void)base_net_send(fd, &part, 1); }
    } else {
        if (!(flags & RESP_C_UNIX)) { base_net_no_delay(fd); }
        if (resp_client_add(r, fd, flags, resp_address_key(r, a), text) != NULL) { return; }
    }
    resp_add(r, RESP_COUNT_rejected, 1);
    base_net_close(fd);
}

CELLAR_PRIVATE bool resp_listen_watch(cellar_resp *r, bool on)
{
    for (int i = 0; i < RESP_LISTENERS; i++) {
        if (r->listener[i] < 0) { continue; }
        if (base_net_watch(r->epoll, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, r->listener[i], EPOLLIN,
                           &r->listener[i]) < 0 && on) {
            while (--i >= 0) {
                if (r->listener[i] >= 0) {
                    (void)base_net_watch(r->epoll, EPOLL_CTL_DEL, r->listener[i], 0, NULL);
                }
            }
            return false;
        }
    }
    r->listening = on;
    return true;
}

static void resp_accept(cellar_resp *r, const int *listener)
{
    const ptrdiff_t at = listener - r->listener;
    const uint32_t flags = (at % RESP_SOCKETS == 0 ? RESP_C_UNIX : 0) |
                           (at >= RESP_SOCKETS ? RESP_C_HTTP : 0);
    const int most = flags & RESP_C_HTTP ? RESP_ADMIN_ACCEPTS : RESP_ACCEPTS;
    for (int i = 0; i < most && r->listening; i++) {
        resp_address a;
        socklen_t len;
        memset(&a, 0, sizeof a);
        const int fd = base_net_accept(*listener, &a.any, &len);
        if (fd >= 0) {
            resp_welcome(r, fd, &a, flags);
        } else if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM) {
            base_log(&r->obj.log, BASE_LOG_WARNING, "resp", (int)CELLAR_E_LIMIT,
                     "no descriptor for a connection: accept pauses");
            resp_add(r, RESP_COUNT_accept_pauses, 1);
            (void)resp_listen_watch(r, false);
            r->accept_ms = r->now_ms + RESP_ACCEPT_PAUSE_MS;
        } else if (fd == -EAGAIN) {
            return;
        }
    }
}

/* ---- clients ---- */

static void resp_serve(resp_client *c, bool readable)
{
    resp_serve_run(c, readable);
    resp_serve_send(c);
}

/* Clients that have run, and wait for their replies. */
typedef struct resp_turn {
    uint32_t count;
    resp_client *client[RESP_TURN];
} resp_turn;

static void resp_turn_end(resp_turn *t)
{
    for (uint32_t i = 0; i < t->count; i++) { resp_serve_send(t->client[i]); }
    t->count = 0;
}

static void resp_event(cellar_resp *r, const struct epoll_event *e, resp_turn *t)
{
    int *const place = e->data.ptr;
    if (e->data.ptr == &r->bell) {
        base_net_unring(r->bell);
        r->rung = false;
    } else if (place >= r->listener && place < r->listener + RESP_LISTENERS) {
        resp_accept(r, place);
    } else {
        resp_client *c = e->data.ptr;
        const bool gone = (e->events & (EPOLLERR | EPOLLHUP)) != 0;
        if (gone && c->walk != NULL) { c->flags |= RESP_C_BROKEN; }
        if (c->flags & RESP_C_PENDING) { return; }
        if (gone && !(c->events & EPOLLIN)) { c->flags |= RESP_C_BROKEN; }
        resp_serve_run(c, (e->events & EPOLLIN) != 0 || gone);
        t->client[t->count++] = c;
        /* A client that used up its share keeps no other one waiting; one that left, no channel. */
        if (t->count == RESP_TURN || r->pending != NULL || (c->flags & RESP_C_END)) {
            resp_turn_end(t);
        }
    }
}

/* Serve the clients that have work left, once each. */
static void resp_pending(cellar_resp *r)
{
    uint32_t count = 0;
    for (const resp_client *c = r->pending; c != NULL; c = c->pending_next) { count++; }
    for (; count > 0 && r->pending != NULL; count--) {
        resp_client *c = r->pending;
        r->pending = c->pending_next;
        if (r->pending == NULL) { r->pending_end = &r->pending; }
        c->flags &= ~RESP_C_PENDING;
        resp_serve(c, false);
    }
}

/* Close the clients that were idle for too long. The list is in order of activity. */
static void resp_idle(cellar_resp *r)
{
    if (r->idle_timeout_ms == CELLAR_TTL_NONE) { return; }
    for (resp_client *c; (c = r->first) != NULL &&
                         r->now_ms - c->active_ms >= r->idle_timeout_ms;) {
        if (c->flags & (RESP_C_MONITOR | RESP_C_SUBSCRIBED | RESP_C_TRACKING)) {
            resp_client_active(c);
            continue;
        }
        resp_add(r, RESP_COUNT_idle_closed, 1);
        resp_client_free(c);
    }
}

/* Close the clients of admin pages that were slow to ask or to read. */
static void resp_admin_slow(cellar_resp *r)
{
    for (resp_client *c = r->admin_first, *next; c != NULL; c = next) {
        next = c->next;
        if (r->now_ms < resp_admin_end_ms(c)) { continue; }
        resp_add(r, RESP_COUNT_idle_closed, 1);
        resp_client_free(c);
    }
}

/* Return whether the deadline of a client has come. */
static bool resp_is_due(const resp_client *c)
{
    const int64_t end_ms = c->hold_ms != 0 ? c->hold_ms
                         : c->linger_ms != 0 ? c->linger_ms
                         : c->full_ms != 0 ? c->full_ms + RESP_OUT_WAIT_MS
                                           : c->born_ms + RESP_SHAKE_MS;
    return c->of->now_ms >= end_ms && (c->hold_ms != 0 || !(c->flags & RESP_C_PENDING));
}

/* Serve the clients of a list with a deadline of their own. */
static void resp_timed(cellar_resp *r, resp_client *c)
{
    for (resp_client *next; c != NULL && r->timed > 0; c = next) {
        next = c->next;
        if ((c->flags & RESP_C_TIMED) && resp_is_due(c)) { resp_serve(c, false); }
    }
}

static void resp_deadlines(cellar_resp *r)
{
    resp_timed(r, r->first);
    resp_timed(r, r->admin_first);
    resp_idle(r);
    resp_admin_slow(r);
    if (!r->listening && r->now_ms >= r->accept_ms && !resp_listen_watch(r, true)) {
        r->accept_ms = r->now_ms + RESP_ACCEPT_PAUSE_MS;
    }
}

/* ---- the round ---- */

/* Return whether work is left for the next round. */
static bool resp_due(const cellar_resp *r) { return r->pending != NULL || resp_hears(r); }

/* Return how long a round may wait. */
static int resp_wait_ms(const cellar_resp *r, int timeout_ms)
{
    int64_t wait_ms = timeout_ms < 0 ? INT64_MAX : timeout_ms;
    const int64_t now_ms = base_now_ms(&r->obj.clock);
    if (resp_due(r)) { return 0; }
    if (r->timed > 0) { wait_ms = BASE_MIN(wait_ms, RESP_LOOK_MS); }
    if (!r->listening) { wait_ms = BASE_MIN(wait_ms, BASE_MAX(r->accept_ms - now_ms, 0)); }
    if (r->first != NULL && r->idle_timeout_ms != CELLAR_TTL_NONE) {
        const int64_t left_ms = r->idle_timeout_ms - (now_ms - r->first->active_ms);
        wait_ms = BASE_MIN(wait_ms, BASE_MAX(left_ms, 0));
    }
    if (r->shared.store != NULL) {
        const int64_t next_ms = BASE_MIN(r->shared.tick_ms, r->shared.look_ms);
        wait_ms = BASE_MIN(wait_ms, BASE_MAX(next_ms - now_ms, 0));
    }
    for (const resp_client *c = r->admin_first; c != NULL; c = c->next) {
        const int64_t left_ms = resp_admin_end_ms(c) - now_ms;
        wait_ms = BASE_MIN(wait_ms, BASE_MAX(left_ms, 0));
    }
    return wait_ms == INT64_MAX ? -1 : (int)BASE_MIN(wait_ms, INT32_MAX);
}

CELLAR_PRIVATE cellar_err resp_round(cellar_resp *r, int timeout_ms)
{
    struct epoll_event event[RESP_EVENTS];
    resp_turn turn = { .count = 0 };
    const int n = base_net_wait(r->epoll, event, RESP_EVENTS, resp_wait_ms(r, timeout_ms));
    r->now_ms = base_now_ms(&r->obj.clock);
    base_store_rlx(&r->stepper, base_thread_self());
    resp_share_read(r);
    r->walked = false;
    for (int i = 0; i < n; i++) { resp_event(r, &event[i], &turn); }
    resp_turn_end(&turn);
    resp_hear(r);
    resp_wait_look(r);
    resp_shared_tick(r);
    resp_pending(r);
    resp_deadlines(r);
    resp_room_return(r, RESP_ROOM_KEPT);
    base_store_rlx(&r->stepper, NULL);
    if (resp_due(r) && !r->rung && !r->started) {
        base_net_ring(r->bell);
        r->rung = true;
    }
    if (n < 0) { return CELLAR_E_IO; }
    return resp_due(r) ? CELLAR_PENDING : CELLAR_OK;
}
