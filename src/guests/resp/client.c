/* SPDX-License-Identifier: MIT
 *
 * client: connections come and go.
 *
 * INVARIANTS fd_of[slot] is the socket of each client, so that the child of a fork closes them
 *            without the list. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/net.h"
#include "cellar_admin.h"
#include "resp/channel.h"
#include "resp/client.h"
#include "resp/key_list.h"
#include "resp/track.h"

BASE_SIZE_BEGIN

static bool resp_is_admin(const resp_client *c) { return (c->flags & RESP_C_HTTP) != 0; }

/* ---- clients ---- */

static void resp_client_link(resp_client *c)
{
    cellar_resp *r = c->of;
    resp_client **first = resp_is_admin(c) ? &r->admin_first : &r->first;
    resp_client **last = resp_is_admin(c) ? &r->admin_last : &r->last;
    c->next = NULL;
    c->prev = *last;
    if (*last != NULL) { (*last)->next = c; } else { *first = c; }
    *last = c;
}

static void resp_client_unlink(resp_client *c)
{
    cellar_resp *r = c->of;
    resp_client **first = resp_is_admin(c) ? &r->admin_first : &r->first;
    resp_client **last = resp_is_admin(c) ? &r->admin_last : &r->last;
    if (c->prev != NULL) { c->prev->next = c->next; } else { *first = c->next; }
    if (c->next != NULL) { c->next->prev = c->prev; } else { *last = c->prev; }
}

CELLAR_PRIVATE resp_client *resp_client_by_id(const cellar_resp *r, int64_t id)
{
    resp_client *c = r->first;
    while (c != NULL && (int64_t)c->id != id) { c = c->next; }
    return c;
}

CELLAR_PRIVATE void resp_client_active(resp_client *c)
{
    c->active_ms = c->of->now_ms;
    if (c->next != NULL) {
        resp_client_unlink(c);
        resp_client_link(c);
    }
}

CELLAR_PRIVATE void resp_client_timed(resp_client *c, bool timed)
{
    const bool is = (c->flags & RESP_C_TIMED) != 0;
    if (timed && !is) { c->of->timed++; }
    if (!timed && is) { c->of->timed--; }
    c->flags = timed ? c->flags | RESP_C_TIMED : c->flags & ~RESP_C_TIMED;
}

/* Return a free slot; UINT32_MAX: none. */
static uint32_t resp_client_slot(const cellar_resp *r, bool admin)
{
    uint32_t i = admin ? r->opts.max_clients : 0;
    const uint32_t end = admin ? resp_slots(r) : r->opts.max_clients;
    while (i < end && base_load_rlx(&r->fd_of[i]) >= 0) { i++; }
    return i < end ? i : UINT32_MAX;
}

/* Count a client that comes or goes. */
static void resp_client_count(resp_client *c, uint32_t change)
{
    cellar_resp *r = c->of;
    if (resp_is_admin(c)) {
        r->admin_count += change;
    } else {
        base_store_rlx(&r->client_count, base_load_rlx(&r->client_count) + change);
    }
}

CELLAR_PRIVATE void resp_stale_log(cellar_resp *r)
{
    char why[TLS_WHY];
    if (r->tls == NULL || !tls_server_stale(r->tls, why)) { return; }
    base_log(&r->obj.log, BASE_LOG_WARNING, "resp", (int)CELLAR_E_IO,
             "clients refuse this certificate: %s", why);
}

/* Begin TLS with a client of TCP. False: no memory. */
static bool resp_client_secure(resp_client *c)
{
    char why[TLS_WHY];
    if (c->of->tls == NULL || (c->flags & RESP_C_UNIX)) { return true; }
    c->tls = tls_accept(c->of->tls, c->fd, why);
    if (why[0] != '\0') {
        base_log(&c->of->obj.log, BASE_LOG_WARNING, "resp", (int)CELLAR_E_IO,
                 "the present certificate stays: %s", why);
    }
    resp_stale_log(c->of);
    return c->tls != NULL;
}

CELLAR_PRIVATE resp_client *resp_client_add(cellar_resp *r, int fd, uint32_t flags, uint64_t peer,
                                            const char *address)
{
    const uint32_t slot = resp_client_slot(r, (flags & RESP_C_HTTP) != 0);
    if (slot == UINT32_MAX) { return NULL; }
    base_store_rel(&r->fd_of[slot], fd);
    resp_client *c = base_alloc(&r->obj.account, BASE_MOD_STORE, sizeof *c, NULL);
    if (c == NULL) { goto free_slot; }
    c->of = r;
    c->fd = fd;
    c->slot = slot;
    c->peer = peer;
    c->process = r->shared.store == NULL ? 0 : (flags & RESP_C_UNIX) ? base_net_peer_process(fd)
                                                                     : -(int64_t)(r->last_id + 1);
    c->flags = flags | RESP_C_FIRST | (r->has_password ? 0 : RESP_C_AUTH);
    c->protocol = 2;
    c->bulk_len = -1;
    c->born_ms = c->active_ms = r->now_ms;
    if (flags & RESP_C_HTTP) { c->head_ms = r->now_ms + RESP_ADMIN_HEAD_MS; }
    c->last = "NULL";
    (void)snprintf(c->address, sizeof c->address, "%s", address);
    c->events = EPOLLIN;
    if (!resp_client_secure(c) ||
        base_net_watch(r->epoll, EPOLL_CTL_ADD, fd, c->events, c) < 0) {
        tls_end(c->tls);
        base_free(&r->obj.account, BASE_MOD_STORE, c, sizeof *c);
        goto free_slot;
    }
    c->id = ++r->last_id;
    resp_client_link(c);
    resp_client_count(c, 1);
    resp_client_timed(c, resp_client_shakes(c));
    return c;
free_slot:
    base_store_rel(&r->fd_of[slot], -1);
    return NULL;
}

/* Take a client out of the list of those that the loop looks at. */
static void resp_client_unpend(resp_client *c)
{
    cellar_resp *r = c->of;
    resp_client **at = &r->pending;
    if (!(c->flags & RESP_C_PENDING)) { return; }
    while (*at != c) { at = &(*at)->pending_next; }
    *at = c->pending_next;
    if (*at == NULL) { r->pending_end = at; }
}

CELLAR_PRIVATE void resp_place_drop(resp_client *c)
{
    if (c->place_at == 0) { return; }
    c->of->place_bytes -= c->place.value_len;
    cellar_unpin(&c->place);
    c->place_at = c->place_len = 0;
}

CELLAR_PRIVATE void resp_in_drop(resp_client *c)
{
    resp_place_drop(c);
    base_free(&c->of->obj.account, BASE_MOD_STORE, c->in, c->in_cap);
    c->in = NULL;
    c->in_len = c->in_cap = 0;
}

CELLAR_PRIVATE void resp_client_bye(resp_client *c)
{
    if (c->tls != NULL) { tls_bye(c->tls); }
    base_net_end(c->fd);
}

CELLAR_PRIVATE void resp_client_free(resp_client *c)
{
    cellar_resp *r = c->of;
    BASE_ASSERT((resp_is_admin(c) ? r->admin_count : base_load_rlx(&r->client_count)) > 0);
    resp_client_unpend(c);
    resp_client_unlink(c);
    resp_client_timed(c, false);
    resp_client_count(c, UINT32_MAX);
    if (c->flags & RESP_C_MONITOR) { r->monitors--; }
    resp_tracking_end(c);
    resp_unsubscribe_all(c);
    resp_queue_drop(c);
    resp_walk_drop(c);
    resp_out_drop(c);
    resp_in_drop(c);
    if (c->tls != NULL) { tls_bye(c->tls); }
    tls_end(c->tls);
    /* The close does not end an event: a forked child may have a copy for a moment. */
    (void)base_net_watch(r->epoll, EPOLL_CTL_DEL, c->fd, 0, NULL);
    base_store_rel(&r->fd_of[c->slot], -1);
    base_net_close(c->fd);
    if (c->process != 0) {
        r->shared.look_ms = r->now_ms;
        r->shared.look_until_ms = r->now_ms + RESP_LOOK_FOR_MS;
    }
    base_free(&r->obj.account, BASE_MOD_STORE, c, sizeof *c);
}

CELLAR_PRIVATE void resp_client_reset(resp_client *c)
{
    resp_queue_drop(c);
    resp_tracking_off(c);
    resp_unsubscribe_all(c);
    if (c->flags & RESP_C_MONITOR) { c->of->monitors--; }
    if (c->flags & RESP_C_REPLY_OFF) { c->flags &= ~RESP_C_MUTED; } /* SKIP drops this reply */
    c->flags &= ~(RESP_C_MONITOR | RESP_C_REPLY_OFF | RESP_C_SKIP | RESP_C_AUTH |
                  RESP_C_NO_EVICT | RESP_C_NO_TOUCH);
    c->flags |= c->of->has_password ? 0 : RESP_C_AUTH;
    c->db = 0;
    c->protocol = 2;
    c->name[0] = '\0';
}

CELLAR_PRIVATE bool resp_client_text(char *to, size_t cap, const cellar_bytes *text)
{
    const unsigned char *p = text->data;
    if (text->len >= cap) { return false; }
    for (size_t i = 0; i < text->len; i++) {
        if (p[i] < '!' || p[i] > '~') { return false; }
    }
    if (text->len > 0) { memcpy(to, p, text->len); }
    to[text->len] = '\0';
    return true;
}

CELLAR_PRIVATE bool resp_client_name(resp_client *c, const cellar_bytes *name)
{
    return resp_client_text(c->name, sizeof c->name, name);
}

BASE_SIZE_END
