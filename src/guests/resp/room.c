/* SPDX-License-Identifier: MIT
 *
 * room: the share of the budget that clients may hold, and the clients that are closed for it.
 *
 * PICTURE    |parts of requests, transactions: three quarters|replies: the whole share|
 *            allocation beyond the share -> resp_press: send, then close those that hold most
 * INVARIANTS The limit of the account is what the store is charged: at most the share.
 *            A client is marked here and freed by its own resp_serve_send. Its subscriptions end
 *            in resp_room_in: where a reply is written, a caller may walk through them.
 * LOCKING    Any thread may allocate (channel.c). The thread of the round alone looks at clients.
 * LIMITS     One share for values that are received in place, or one value that is longer.
 * SEE ALSO   README.md, Memory. */
#include <errno.h>

#include "base/net.h"
#include "base/num.h"
#include "cellar_admin.h"
#include "resp/channel.h"
#include "resp/key_list.h"
#include "resp/room.h"

#define RESP_CHARGE_BYTES (UINT64_C(64) << 10) /* charged to the store at once, at least */
#define RESP_BUDGET_PART 8    /* the share is this part of the budget */
#define RESP_SUBS_PART 4      /* of the share: subscriptions that close no client */
#define RESP_BACKLOG_MIN (UINT64_C(1) << 20)
#define RESP_PRESS_PART 16    /* of the share, freed at once */
#define RESP_SEND_BYTES ((size_t)1 << 20) /* sent in one round */
#define RESP_SEND_PARTS 16u

/* ---- output ---- */

CELLAR_PRIVATE void resp_out_send(resp_client *c)
{
    struct iovec part[RESP_SEND_PARTS + RESP_BLOCK_PARTS];
    if (c->hold_ms != 0 || (c->flags & RESP_C_BROKEN)) { return; }
    for (size_t sent = 0; c->out_bytes > 0 && sent < RESP_SEND_BYTES;) {
        uint16_t count = 0;
        size_t bytes = 0;
        for (resp_block *b = c->out_first; b != NULL && count < RESP_SEND_PARTS; b = b->next) {
            count = (uint16_t)(count + resp_block_parts(b, part + count));
            bytes += b->used - b->from;
        }
        const ssize_t put = c->tls != NULL ? tls_send(c->tls, part, count)
                                           : base_net_send(c->fd, part, count);
        if (put == -EAGAIN || put == -EWOULDBLOCK) { return; }
        if (put < 0) {
            c->flags |= RESP_C_BROKEN;
            return;
        }
        resp_add(c->of, RESP_COUNT_bytes_out, (uint64_t)put);
        resp_out_sent(c, (size_t)put);
        if (!(c->flags & RESP_C_HTTP)) { resp_client_active(c); }
        sent += (size_t)put;
        if ((size_t)put < bytes) { return; }
    }
}

BASE_SIZE_BEGIN

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
    const uint64_t limit = base_load_rlx(&r->obj.account.limit);
    uint64_t to = limit + (uint64_t)more;
    if (more > 0 && to > base_load_rlx(&r->share)) { to = limit; }
    if (to != limit) { base_account_limit(&r->obj.account, to); }
    /* A charge may have come before the lower limit. */
    const uint64_t used = base_load_rlx(&r->obj.account.used);
    if (used > to) { base_account_limit(&r->obj.account, to = BASE_MIN(used, limit)); }
    base_store_rel(&r->limiting, 0u);
    return (int64_t)(to - limit);
}

/* Return the bytes that a client holds in the memory of the port. A usual subscriber is silent: its
 * few subscriptions do not count. */
static uint64_t resp_bytes_held(const resp_client *c)
{
    const uint64_t few = base_load_rlx(&c->of->share) / RESP_SUBS_PART / c->of->opts.max_clients;
    const uint64_t walk = c->walk != NULL ? c->walk->list.bytes : 0;
    const uint64_t subs = c->sub_bytes > few ? c->sub_bytes : 0;
    return c->out_bytes - c->out_pinned + c->in_cap + c->queue_bytes + c->watched_bytes + subs +
           walk;
}

/* Return whether a client may be closed so that others have room: it holds something, and its peer
 * reads nothing or has been silent. */
static bool resp_may_cut(const resp_client *c)
{
    const bool silent = c->of->now_ms - c->active_ms >= RESP_STALL_MS;
    return c != c->of->serving && !(c->flags & RESP_C_BROKEN) && resp_bytes_held(c) > 0 &&
           (c->out_bytes > 0 || silent);
}

CELLAR_PRIVATE void resp_client_cut(resp_client *c)
{
    const bool unread = c->out_bytes > 0;
    resp_add(c->of, unread ? RESP_COUNT_output_closed : RESP_COUNT_memory_closed, 1);
    base_log(&c->of->obj.log, BASE_LOG_WARNING, "resp", (int)CELLAR_E_LIMIT,
             "client %s closed: %s", c->address,
             unread ? "it does not read its replies" : "it is silent and holds memory");
    c->flags |= RESP_C_BROKEN;
    resp_out_drop(c);
    resp_queue_drop(c);
    resp_walk_drop(c);
    resp_in_drop(c);
    resp_wake(c);
}

/* Return the client after one of the list of all clients, those of admin pages last. */
static resp_client *resp_client_next(const resp_client *c)
{
    return c->next == NULL && !(c->flags & RESP_C_HTTP) ? c->of->admin_first : c->next;
}

/* Return whether `bytes` more leave the port with at most `most`. */
static bool resp_fits(const cellar_resp *r, uint64_t bytes, uint64_t most)
{
    const uint64_t used = base_load_rlx(&r->obj.account.used);
    return used <= most && bytes <= most - used;
}

/* Close clients until `bytes` more leave the port with at most `most`: those that hold at least
 * half of the greatest holding, and more than the client that is served. First send the replies
 * that sockets take. Close no client for bytes that never fit. */
static void resp_press(cellar_resp *r, uint64_t bytes, uint64_t most)
{
    if (bytes > most) { return; }
    const uint64_t more = bytes + base_load_rlx(&r->share) / RESP_PRESS_PART;
    const uint64_t own = r->serving != NULL ? resp_bytes_held(r->serving) : 0;
    uint64_t greatest = 0;
    resp_blocks_drop(r);
    resp_client *const first = r->first != NULL ? r->first : r->admin_first;
    for (resp_client *c = first, *next; c != NULL && !resp_fits(r, bytes, most); c = next) {
        next = resp_client_next(c);
        if (c->out_bytes > 0 && c != r->serving && !(c->events & EPOLLOUT)) { resp_out_send(c); }
        if (resp_may_cut(c)) { greatest = BASE_MAX(greatest, resp_bytes_held(c)); }
    }
    if (resp_fits(r, bytes, most)) { return; }
    for (resp_client *c = first; c != NULL && !resp_fits(r, more, most); c = resp_client_next(c)) {
        const uint64_t held = resp_bytes_held(c);
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
    if (resp_fits(r, bytes, most)) { return true; }
    resp_press(r, bytes, most);
    for (resp_client *c = r->first; c != NULL; c = c->next) {
        if (c->flags & RESP_C_BROKEN) { resp_unsubscribe_all(c); }
    }
    return resp_fits(r, bytes, most);
}

/* Return the free bytes below `limit`. `used` is read once: other threads may charge meanwhile. */
static uint64_t resp_free(const cellar_resp *r, uint64_t limit)
{
    const uint64_t used = base_load_rlx(&r->obj.account.used);
    return limit - BASE_MIN(limit, used);
}

CELLAR_PRIVATE bool resp_room_make(void *ctx, uint64_t bytes)
{
    cellar_resp *r = ctx;
    const uint64_t share = base_load_rlx(&r->share);
    if (!resp_fits(r, bytes, share) && resp_steps(r)) { resp_press(r, bytes, share); }
    const uint64_t limit = base_load_rlx(&r->obj.account.limit);
    const uint64_t rest = share - BASE_MIN(limit, share);
    const uint64_t free = resp_free(r, limit);
    if (bytes <= free) { return true; } /* another thread made room */
    if (bytes - free > rest) { return false; }
    uint64_t more = BASE_MAX(bytes - free, RESP_CHARGE_BYTES);
    more = BASE_MIN(more, rest);
    if (cellar_memory_charge(r->store, (int64_t)more) != CELLAR_OK) {
        more = bytes - free;
        if (cellar_memory_charge(r->store, (int64_t)more) != CELLAR_OK) { return false; }
    }
    if (resp_limit_change(r, (int64_t)more) != 0) { return true; }
    (void)cellar_memory_charge(r->store, -(int64_t)more);
    return false;
}

CELLAR_PRIVATE void resp_room_return(cellar_resp *r, uint64_t keep)
{
    const uint64_t limit = base_load_rlx(&r->obj.account.limit);
    const uint64_t free = resp_free(r, limit);
    if (BASE_LIKELY(free <= keep)) { return; }
    const int64_t less = -resp_limit_change(r, -(int64_t)free);
    if (less > 0) { (void)cellar_memory_charge(r->store, -less); }
}

CELLAR_PRIVATE bool resp_cut_silent(cellar_resp *r, bool (*holds)(const resp_client *c))
{
    resp_client *c = r->first;
    while (c != NULL && (c == r->serving || !holds(c))) { c = c->next; }
    if (c == NULL || r->now_ms - c->active_ms < RESP_STALL_MS) { return false; }
    resp_client_cut(c);
    return true;
}

static bool resp_has_place(const resp_client *c) { return c->place_at != 0; }

CELLAR_PRIVATE cellar_err resp_place_take(resp_client *c, size_t len)
{
    cellar_resp *r = c->of;
    while (r->place_bytes != 0 && r->place_bytes + len > base_load_rlx(&r->share)) {
        if (!resp_cut_silent(r, resp_has_place)) { return CELLAR_E_SPACE; }
    }
    cellar *const store = resp_is_shared(c) ? r->shared.store : r->store;
    const cellar_err err = cellar_reserve(store, len, &c->place);
    if (err == CELLAR_OK) { r->place_bytes += len; }
    return err;
}

BASE_SIZE_END
