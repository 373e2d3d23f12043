/* SPDX-License-Identifier: MIT
 *
 * client: connections come and go.
 *
 * INVARIANTS fd_of[slot] is the socket of each client, so that the child of a fork closes them
 *            without the list. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/net.h"
#include "base/num.h"
#include "cellar_admin.h"
#include "resp/admin.h"
#include "resp/channel.h"
#include "resp/client.h"
#include "resp/command.h"
#include "resp/key_list.h"
#include "resp/serve.h"

#define RESP_CHARGE_BYTES (UINT64_C(64) << 10) /* charged to the store at once, at least */
#define RESP_BUDGET_PART 8    /* the share is this part of the budget */
#define RESP_BACKLOG_MIN (UINT64_C(1) << 20)
#define RESP_PRESS_PART 16    /* of the share, freed at once */

BASE_SIZE_BEGIN

static bool resp_is_admin(const resp_client *c) { return (c->flags & RESP_C_HTTP) != 0; }

/* ---- memory ---- */

CELLAR_PRIVATE void resp_share_read(cellar_resp *r)
{
    uint64_t share = r->opts.resp_buffer_bytes;
    int64_t budget = 0;
    if (share == 0 && cellar_option_get(r->store, CELLAR_OPT_MEMORY_BYTES, &budget) == CELLAR_OK) {
        share = (uint64_t)budget / RESP_BUDGET_PART;
    }
    base_store_rlx(&r->share, share);
}

CELLAR_PRIVATE uint64_t resp_backlog_max(const cellar_resp *r)
{
    return BASE_MAX(base_load_rlx(&r->share) / 4, RESP_BACKLOG_MIN);
}

/* Change the limit of the port by `more` bytes, within the share. Signals of the process are copied
 * by other threads: one change at a time. Return the change that was made. */
static int64_t resp_limit_change(cellar_resp *r, int64_t more)
{
    while (!base_cas_ar(&r->limiting, 0u, 1u)) { base_yield(); }
    const uint64_t limit = base_load_rlx(&r->account.limit);
    uint64_t to = limit + (uint64_t)more;
    if (more > 0 && to > base_load_rlx(&r->share)) { to = limit; }
    if (to != limit) { base_account_limit(&r->account, to); }
    /* A charge may have come before the lower limit. */
    const uint64_t used = base_load_rlx(&r->account.used);
    if (used > to) { base_account_limit(&r->account, to = BASE_MIN(used, limit)); }
    base_store_rel(&r->limiting, 0u);
    return (int64_t)(to - limit);
}

/* Return the bytes that a client holds in the memory of the port. */
static uint64_t resp_held(const resp_client *c)
{
    return c->out_bytes - c->out_pinned + c->in_cap + c->queue_bytes;
}

/* Return whether a client may be closed so that others have room: it holds something, and its peer
 * reads nothing or has been silent. */
static bool resp_may_cut(const resp_client *c)
{
    const bool silent = c->of->now_ms - c->active_ms >= RESP_STALL_MS;
    return c != c->of->serving && !(c->flags & RESP_C_BROKEN) && resp_held(c) > 0 &&
           (c->out_bytes > 0 || silent);
}

CELLAR_PRIVATE void resp_client_cut(resp_client *c)
{
    const bool deaf = c->out_bytes > 0;
    resp_add(c->of, deaf ? RESP_COUNT_output_closed : RESP_COUNT_memory_closed, 1);
    base_log(&c->of->log, BASE_LOG_WARNING, "resp", (int)CELLAR_E_LIMIT,
             "client %s closed: %s", c->address,
             deaf ? "it does not read its replies" : "its request stands still");
    c->flags |= RESP_C_BROKEN;
    resp_out_drop(c);
    resp_queue_drop(c);
    resp_in_drop(c);
    resp_wake(c);
}

/* Return the client after one of the list of all clients, those of admin pages last. */
static resp_client *resp_client_next(const resp_client *c)
{
    return c->next == NULL && !resp_is_admin(c) ? c->of->admin_first : c->next;
}

/* Return whether `bytes` more leave the port with at most `most`. */
static bool resp_fits(const cellar_resp *r, uint64_t bytes, uint64_t most)
{
    const uint64_t used = base_load_rlx(&r->account.used);
    return used <= most && bytes <= most - used;
}

/* Close clients until `bytes` more leave the port with at most `most`: those that hold at least
 * half of what one holds at most, and more than the client that is served. What a client would read
 * is sent first. */
static void resp_press(cellar_resp *r, uint64_t bytes, uint64_t most)
{
    const uint64_t more = bytes + base_load_rlx(&r->share) / RESP_PRESS_PART;
    const uint64_t own = r->serving != NULL ? resp_held(r->serving) : 0;
    uint64_t greatest = 0;
    resp_blocks_drop(r);
    resp_client *const first = r->first != NULL ? r->first : r->admin_first;
    for (resp_client *c = first, *next; c != NULL && !resp_fits(r, bytes, most); c = next) {
        next = resp_client_next(c);
        if (c->out_bytes > 0 && c != r->serving && !(c->events & EPOLLOUT)) { resp_out_send(c); }
        if (resp_may_cut(c)) { greatest = BASE_MAX(greatest, resp_held(c)); }
    }
    if (resp_fits(r, bytes, most)) { return; }
    for (resp_client *c = first; c != NULL && !resp_fits(r, more, most); c = resp_client_next(c)) {
        const uint64_t held = resp_held(c);
        if (held > own && held >= greatest / 2 && resp_may_cut(c)) { resp_client_cut(c); }
    }
}

/* Return whether the calling thread runs a round: it alone looks at clients. */
static bool resp_steps(const cellar_resp *r)
{
    return base_load_rlx(&r->stepper) == base_thread_self();
}

CELLAR_PRIVATE bool resp_room_in(cellar_resp *r, uint64_t bytes)
{
    const uint64_t most = base_load_rlx(&r->share) / 4 * 3;
    if (!resp_fits(r, bytes, most)) { resp_press(r, bytes, most); }
    return resp_fits(r, bytes, most);
}

CELLAR_PRIVATE bool resp_room_make(void *ctx, uint64_t bytes)
{
    cellar_resp *r = ctx;
    const uint64_t share = base_load_rlx(&r->share);
    if (!resp_fits(r, bytes, share) && resp_steps(r)) { resp_press(r, bytes, share); }
    const uint64_t limit = base_load_rlx(&r->account.limit), rest = share - BASE_MIN(limit, share);
    const uint64_t free = limit - BASE_MIN(limit, base_load_rlx(&r->account.used));
    if (bytes <= free) { return true; } /* another thread made room */
    if (bytes - free > rest) { return false; }
    uint64_t more = BASE_MAX(bytes - free, RESP_CHARGE_BYTES);
    more = BASE_MIN(more, rest);
    if (cellar_memory_charge(r->store, more) != CELLAR_OK) {
        more = bytes - free;
        if (cellar_memory_charge(r->store, more) != CELLAR_OK) { return false; }
    }
    if (resp_limit_change(r, (int64_t)more) != 0) { return true; }
    (void)cellar_memory_uncharge(r->store, more);
    return false;
}

CELLAR_PRIVATE void resp_room_return(cellar_resp *r, uint64_t keep)
{
    const uint64_t limit = base_load_rlx(&r->account.limit);
    const uint64_t free = limit - BASE_MIN(limit, base_load_rlx(&r->account.used));
    if (BASE_LIKELY(free <= keep)) { return; }
    const int64_t less = -resp_limit_change(r, -(int64_t)free);
    if (less > 0) { (void)cellar_memory_uncharge(r->store, (uint64_t)less); }
}

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

CELLAR_PRIVATE resp_client *resp_client_add(cellar_resp *r, int fd, uint32_t flags,
                                            const char *address)
{
    const uint32_t slot = resp_client_slot(r, (flags & RESP_C_HTTP) != 0);
    if (slot == UINT32_MAX) { return NULL; }
    resp_client *c = base_alloc(&r->account, BASE_MOD_STORE, sizeof *c, NULL);
    if (c == NULL) { return NULL; }
    c->of = r;
    c->fd = fd;
    c->slot = slot;
    c->flags = flags | RESP_C_FIRST | (r->has_password ? 0 : RESP_C_AUTH);
    c->protocol = 2;
    c->bulk_len = -1;
    c->born_ms = c->active_ms = r->now_ms;
    if (flags & RESP_C_HTTP) { c->head_ms = r->now_ms + RESP_ADMIN_HEAD_MS; }
    c->last = "NULL";
    (void)snprintf(c->address, sizeof c->address, "%s", address);
    c->events = EPOLLIN;
    if (base_net_watch(r->epoll, EPOLL_CTL_ADD, fd, c->events, c) < 0) {
        base_free(&r->account, BASE_MOD_STORE, c, sizeof *c);
        return NULL;
    }
    c->id = ++r->last_id;
    base_store_rel(&r->fd_of[slot], fd);
    resp_client_link(c);
    resp_client_count(c, 1);
    return c;
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

CELLAR_PRIVATE void resp_client_free(resp_client *c)
{
    cellar_resp *r = c->of;
    BASE_ASSERT((resp_is_admin(c) ? r->admin_count : base_load_rlx(&r->client_count)) > 0);
    resp_client_unpend(c);
    resp_client_unlink(c);
    resp_client_timed(c, false);
    resp_client_count(c, UINT32_MAX);
    if (c->flags & RESP_C_MONITOR) { r->monitors--; }
    resp_unsubscribe_all(c);
    resp_queue_drop(c);
    resp_walk_drop(c);
    resp_out_drop(c);
    resp_in_drop(c);
    base_store_rel(&r->fd_of[c->slot], -1);
    base_fd_close(c->fd); /* epoll forgets it */
    base_free(&r->account, BASE_MOD_STORE, c, sizeof *c);
}

CELLAR_PRIVATE void resp_client_reset(resp_client *c)
{
    resp_queue_drop(c);
    resp_unsubscribe_all(c);
    if (c->flags & RESP_C_MONITOR) { c->of->monitors--; }
    c->flags &= ~(RESP_C_MONITOR | RESP_C_REPLY_OFF | RESP_C_SKIP | RESP_C_MUTED | RESP_C_AUTH |
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
