/* SPDX-License-Identifier: MIT
 *
 * serve: one client in one round: read, parse, run, send, close.
 *
 * WALK       recv -> buffer of the port, or `in` if a part of a request is there -> requests ->
 *            replies -> what is left of the input goes to `in`; later sendmsg
 *            A client that has requests left after its share of the round waits in `pending`.
 * GETS       GETs that follow each other are collected and looked up by one cellar_get_many. Their
 *            keys stay in the input buffer; the replies are written before any other reply.
 *            One in 64 runs alone: cellar_get samples it, as it does without a batch.
 * SCANS      KEYS, DBSIZE and RANDOMKEY run in slices. Until the reply is written the client waits
 *            in `pending`, and its requests wait. One slice runs in a round, after all others.
 * PLACE      A long value of SET is read into the block in which the store will keep it: its bytes
 *            are never in `in` (parse.c).
 * PAUSE      A client with more than RESP_OUT_PAUSE of unsent replies is not read, and its requests
 *            wait. So does a client that gave a wrong password.
 * BACKLOG    A subscriber or monitor is closed when its unread bytes in memory of the port
 *            pass the limit (resp_backlog_max). A client with a longer reply that stands still is
 *            closed after RESP_OUT_WAIT_MS.
 *            If the share is used up, resp_press (room.c) closes those that hold most.
 * CLOSE      BROKEN: immediately. CLOSE: when all is sent. After a broken request the rest of the
 *            input is dropped for RESP_LINGER_MS, so that a reset does not overtake the error. */
#include <errno.h>
#include <string.h>

#include "base/net.h"
#include "base/num.h"
#include "resp/admin.h"
#include "resp/control.h"
#include "resp/data.h"
#include "resp/parse.h"
#include "resp/serve.h"
#include "resp/track.h"
#include "resp/trace.h"
#include "resp/value.h"

#define RESP_SHARE 64u                        /* requests of a client and round */
#define RESP_SHARE_NS 1000000u                /* time of a client and round */
#define RESP_OUT_PAUSE ((size_t)1 << 20)      /* unsent bytes that stop reading, or a quarter of
                                               * the share, if that is less */
#define RESP_LINGER_MS 1000
#define RESP_FOREIGN "request of another protocol"
#define RESP_IN_FIRST ((size_t)16 << 10)      /* least size of `in` that grows */
#define RESP_IN_LEAST ((size_t)512)
#define RESP_PLACE_READ ((size_t)256 << 10)   /* most bytes of a read into the place of a value */

/* ---- GETs ---- */

static void resp_batch_reply(resp_client *c, cellar *ns, const cellar_get_item *item)
{
    if (item->status == CELLAR_OK) {
        resp_bulk(c, item->buf, item->value_len);
    } else if (item->status == CELLAR_MISS || item->status == CELLAR_ABSENT) {
        resp_null(c);
    } else if (item->status == CELLAR_E_BUFFER) {
        (void)resp_bulk_value(c, ns, item->key, item->key_len);
    } else {
        resp_fail(c, item->status);
    }
}

/* Look up the collected GETs. One alone is a plain get: its time and its key are sampled. */
static cellar_err resp_batch_look(cellar *ns, cellar_get_item *item, uint32_t count)
{
    if (count > 1) { return cellar_get_many(ns, item, count, NULL); }
    item->status = cellar_get(ns, item->key, item->key_len, item->buf, item->buf_cap,
                              &item->value_len);
    return CELLAR_OK;
}

/* Look up the collected GETs, and write their replies. */
static void resp_batch_end(resp_client *c)
{
    cellar_resp *r = c->of;
    resp_batch *b = &r->batch;
    const uint32_t count = b->count;
    const uint64_t since_ns = base_tsc_ns();
    cellar_err err;
    b->count = 0;
    if (count == 0) { return; }
    resp_add(r, RESP_COUNT_commands, count);
    cellar *ns = resp_ns_of(r, c->db, &err);
    if (ns != NULL) { err = resp_batch_look(ns, b->item, count); }
    for (uint32_t i = 0; i < count; i++) {
        if (err == CELLAR_OK) {
            resp_batch_reply(c, ns, &b->item[i]);
        } else {
            resp_fail(c, err);
        }
    }
    const uint64_t took_us = (base_tsc_ns() - since_ns) / 1000;
    if (BASE_UNLIKELY(took_us > r->opts.slow_us)) { /* noted once, by the first key */
        const cellar_bytes argv[2] = { { "get", 3 }, { b->item[0].key, b->item[0].key_len } };
        resp_slow_note(c, argv, 2, took_us);
    }
}

/* Collect a GET. False: it has to run alone. */
static bool resp_batch_add(resp_client *c, const resp_command *cmd, const cellar_bytes *argv,
                           uint32_t argc)
{
    cellar_resp *r = c->of;
    resp_batch *b = &r->batch;
    const uint32_t odd = RESP_C_MULTI | RESP_C_MUTED | RESP_C_REPLY_OFF | RESP_C_SKIP |
                         RESP_C_SUBSCRIBED;
    if (cmd == NULL || !(cmd->flags & RESP_GET) || argc != 2 || r->monitors != 0 ||
        (c->flags & (odd | RESP_C_AUTH)) != RESP_C_AUTH || argv[1].len == 0 ||
        argv[1].len > CELLAR_KEY_MAX ||
        (resp_is_shared(c) && resp_is_control(argv[1]))) {
        return false;
    }
    base_thread_record *self = base_thread_self();
    if (self->countdown <= 1) { return false; } /* a sample: hot keys and times are of cellar_get */
    self->countdown--;
    c->last = cmd->name;
    b->item[b->count] = (cellar_get_item){ .key = argv[1].data, .key_len = argv[1].len,
                                           .buf = b->value[b->count],
                                           .buf_cap = RESP_BATCH_VALUE };
    if (++b->count == RESP_BATCH) { resp_batch_end(c); }
    return true;
}

/* ---- requests ---- */

/* Return whether so much is unsent that no more requests run. */
static bool resp_is_full(const resp_client *c)
{
    return c->out_bytes > BASE_MIN(RESP_OUT_PAUSE, base_load_rlx(&c->of->share) / 4);
}

/* Return whether the client may run its next request now. */
static bool resp_may_run(const resp_client *c)
{
    return !(c->flags & (RESP_C_CLOSE | RESP_C_BROKEN)) && c->hold_ms == 0 && c->walk == NULL &&
           !resp_is_full(c);
}

/* Close a client that speaks another protocol. Its error was written. */
static void resp_foreign(resp_client *c, const char *why)
{
    resp_add(c->of, RESP_COUNT_foreign, 1);
    base_log(&c->of->obj.log, BASE_LOG_WARNING, "resp", (int)CELLAR_E_DENIED,
             "connection from %s closed: %s", c->address, why);
    c->flags |= RESP_C_CLOSE | RESP_C_LINGER;
}

/* Run one request, without replies if CLIENT REPLY says so. */
static void resp_request(resp_client *c, uint32_t argc)
{
    const cellar_bytes *argv = c->of->argv;
    const resp_command *cmd = resp_find(c->of, argv[0].data, argv[0].len);
    const bool foreign = cmd == NULL && (c->flags & RESP_C_FIRST);
    c->flags &= ~RESP_C_FIRST;
    if (resp_batch_add(c, cmd, argv, argc)) { return; }
    resp_batch_end(c);
    if (c->flags & (RESP_C_REPLY_OFF | RESP_C_SKIP)) { c->flags |= RESP_C_MUTED; }
    c->flags &= ~RESP_C_SKIP;
    resp_run(c, cmd, argv, argc);
    c->flags &= ~RESP_C_MUTED;
    resp_announce(c->of);
    if (foreign) { resp_foreign(c, RESP_FOREIGN); }
}

/* Run the requests in `p`, as far as the share of the round goes. Return the bytes that are done.
 * Ask for another look if requests may be left. */
static size_t resp_requests(resp_client *c, unsigned char *p, size_t n)
{
    cellar_resp *r = c->of;
    const uint64_t since_ns = base_tsc_ns();
    size_t done = 0;
    uint32_t count = 0;
    c->flags &= ~RESP_C_STALLED;
    while (resp_may_run(c)) {
        size_t used = 0;
        uint32_t argc = 0;
        const resp_parsed got =
            c->flags & RESP_C_HTTP ? resp_admin(c, p + done, n - done, &used)
                                   : resp_parse(c, p + done, n - done, &argc, &used);
        if (got == RESP_PARSE_MORE) { break; }
        done += used;
        if (got == RESP_PARSE_OK) {
            resp_request(c, argc);
            resp_place_drop(c);
        } else if (got != RESP_PARSE_EMPTY) {
            resp_batch_end(c);
            resp_error(c, "%s", r->refusal);
            c->flags |= RESP_C_CLOSE | RESP_C_LINGER;
            if (got == RESP_PARSE_FOREIGN) { resp_foreign(c, RESP_FOREIGN); }
        }
        if (++count >= RESP_SHARE || base_tsc_ns() - since_ns > RESP_SHARE_NS) {
            if (done < n) { resp_wake(c); }
            break;
        }
    }
    resp_batch_end(c);
    resp_announce(r);
    resp_argv_trim(r);
    if (done < n && !resp_may_run(c)) { c->flags |= RESP_C_STALLED; }
    return done;
}

/* ---- input ---- */

/* Make room in `in` for a read. False: no memory. */
static bool resp_in_room(resp_client *c)
{
    cellar_resp *r = c->of;
    if (c->in_cap - c->in_len >= RESP_IN_FIRST / 4) { return true; }
    size_t cap = BASE_MAX(c->in_cap * 2, RESP_IN_FIRST);
    if (c->place_at == 0 && c->bulk_len >= (int64_t)RESP_READ_BYTES) { /* its end is known */
        const size_t end = c->scan + (size_t)c->bulk_len + 2 + RESP_IN_FIRST;
        cap = BASE_MAX(BASE_MIN(cap, end), c->in_len + RESP_IN_FIRST);
    }
    unsigned char *in = resp_room_in(r, cap)
        ? base_alloc(&r->obj.account, BASE_MOD_STORE, cap, NULL) : NULL;
    if (in == NULL) { return false; }
    if (c->in != NULL) { memcpy(in, c->in, c->in_len); }
    base_free(&r->obj.account, BASE_MOD_STORE, c->in, c->in_cap);
    c->in = in;
    c->in_cap = cap;
    return true;
}

/* Refuse a request for which there is no memory. */
static void resp_in_refuse(resp_client *c)
{
    resp_in_drop(c);
    resp_add(c->of, RESP_COUNT_memory_closed, 1);
    resp_error(c, "%s", RESP_OOM);
    c->flags |= RESP_C_CLOSE | RESP_C_LINGER;
}

/* Return the bytes to keep in `in`, of those that the parser left: a new place has the others. */
static size_t resp_in_left(resp_client *c, size_t left)
{
    const size_t moved = c->place_moved;
    c->place_moved = 0;
    return left - moved;
}

/* Run the requests of `in`. */
static void resp_in_run(resp_client *c)
{
    const size_t done = resp_requests(c, c->in, c->in_len);
    c->in_len = resp_in_left(c, c->in_len - done);
    if (c->in_len == 0 || (c->flags & (RESP_C_CLOSE | RESP_C_BROKEN))) {
        resp_in_drop(c);
    } else if (done > 0) {
        memmove(c->in, c->in + done, c->in_len);
    }
}

/* Run the requests of a read, and keep what is left of it. */
static void resp_read_run(resp_client *c, size_t got)
{
    cellar_resp *r = c->of;
    const size_t done = resp_requests(c, r->read, got);
    c->in_len = 0;
    if (done == got || (c->flags & (RESP_C_CLOSE | RESP_C_BROKEN))) { return; }
    c->in_len = resp_in_left(c, got - done);
    c->in_cap = (size_t)base_round_up(c->in_len, RESP_IN_LEAST);
    if (resp_room_in(r, c->in_cap)) {
        c->in = base_alloc(&r->obj.account, BASE_MOD_STORE, c->in_cap, NULL);
    }
    if (c->in == NULL) {
        c->in_cap = 0;
        resp_in_refuse(c);
        return;
    }
    memcpy(c->in, r->read + done, c->in_len);
}

/* Read once, and run what came. */
static void resp_in_read(resp_client *c)
{
    cellar_resp *r = c->of;
    unsigned char *to = r->read;
    size_t room = sizeof r->read;
    const bool placed = c->place_at != 0 && c->place_len < c->place.value_len;
    if (placed) {
        to = (unsigned char *)(uintptr_t)c->place.value + c->place_len;
        room = BASE_MIN(c->place.value_len - c->place_len, RESP_PLACE_READ);
    } else if (c->in_len > 0) {
        if (!resp_in_room(c)) {
            resp_in_refuse(c);
            return;
        }
        const bool known = c->bulk_len >= 0 && c->place_at == 0;
        const size_t end = known ? c->scan + (size_t)c->bulk_len + 2 : 0;
        const size_t need = end > c->in_len ? end - c->in_len : 0;
        to = c->in + c->in_len;
        room = BASE_MIN(c->in_cap - c->in_len, BASE_MAX(need, RESP_READ_BYTES));
    }
    const ssize_t got = resp_client_recv(c, to, room);
    if (got == -EAGAIN || got == -EWOULDBLOCK) { return; }
    if (got < 0) {
        c->flags |= RESP_C_BROKEN;
        if (got == -EPROTO && c->tls != NULL) { resp_foreign(c, tls_why(c->tls)); }
    } else if (got == 0) {
        c->flags |= RESP_C_END;
    } else {
        resp_add(r, RESP_COUNT_bytes_in, (uint64_t)got);
        c->read_bytes += BASE_MAX((size_t)got, RESP_READ_LEAST);
        if (!(c->flags & RESP_C_HTTP)) { resp_client_active(c); }
        if (placed) {
            c->place_len += (size_t)got;
        } else if (to == r->read) {
            resp_read_run(c, (size_t)got);
        } else {
            c->in_len += (size_t)got;
            resp_in_run(c);
        }
    }
}

/* ---- output ---- */

/* Close a client that does not read its replies. */
static void resp_out_limit(resp_client *c)
{
    const int64_t now_ms = c->of->now_ms;
    const uint64_t most = resp_backlog_max(c->of);
    const bool pushed =
        (c->flags & (RESP_C_SUBSCRIBED | RESP_C_MONITOR | RESP_C_TRACKING)) != 0;
    if (c->out_bytes <= most) {
        c->full_ms = 0;
    } else if (c->full_ms == 0 || c->active_ms > c->full_ms) {
        c->full_ms = now_ms;
    }
    if ((pushed && c->out_bytes - c->out_pinned > most) ||
        (c->full_ms != 0 && now_ms - c->full_ms >= RESP_OUT_WAIT_MS)) {
        resp_client_cut(c);
    }
}

/* ---- the end of a round ---- */

/* Close a client that is slow in its TLS handshake. */
static void resp_shake_limit(resp_client *c)
{
    if (!resp_client_shakes(c) || c->of->now_ms - c->born_ms < RESP_SHAKE_MS) { return; }
    resp_add(c->of, RESP_COUNT_idle_closed, 1);
    c->flags |= RESP_C_BROKEN;
}

/* Close a client that has all its replies. After a broken request read the rest for a while. */
static void resp_finish(resp_client *c)
{
    if (!(c->flags & RESP_C_LINGER) || (c->flags & RESP_C_END)) {
        c->flags |= RESP_C_BROKEN;
    } else if (c->linger_ms == 0) {
        resp_client_bye(c);
        c->linger_ms = c->of->now_ms + RESP_LINGER_MS;
    } else if (c->of->now_ms >= c->linger_ms) {
        c->flags |= RESP_C_BROKEN;
    }
}

/* Read and drop, while a client lingers. */
static void resp_linger_read(resp_client *c)
{
    const ssize_t got = resp_client_recv(c, c->of->read, sizeof c->of->read);
    if (got == 0 || (got < 0 && got != -EAGAIN)) { c->flags |= RESP_C_BROKEN; }
}

/* Return whether TLS has bytes of a client that poll does not see. */
static bool resp_holds(const resp_client *c) { return c->tls != NULL && tls_holds(c->tls); }

/* Tell epoll what the client waits for. */
static void resp_interest(resp_client *c)
{
    const bool held = c->hold_ms != 0;
    const bool lingers = c->linger_ms != 0;
    const uint32_t no_read = RESP_C_END | RESP_C_CLOSE | RESP_C_PENDING;
    const bool may_read = !held && !(c->flags & no_read) && !resp_is_full(c);
    if (may_read && resp_holds(c)) { resp_wake(c); } /* no event tells of these bytes */
    const bool reads = lingers || (may_read && !(c->flags & RESP_C_PENDING));
    const bool sends = (!held && c->out_bytes > 0) ||
                       (c->tls != NULL && tls_wants_write(c->tls));
    const uint32_t events = (reads ? (uint32_t)EPOLLIN : 0) | (sends ? (uint32_t)EPOLLOUT : 0);
    if (events != c->events) {
        c->events = events;
        if (base_net_watch(c->of->epoll, EPOLL_CTL_MOD, c->fd, events, c) < 0) {
            c->flags |= RESP_C_BROKEN;
        }
    }
}

CELLAR_PRIVATE void resp_serve_run(resp_client *c, bool readable)
{
    c->of->serving = c;
    const bool holds = resp_holds(c) || (c->tls != NULL && tls_wants_write(c->tls));
    if (c->hold_ms != 0 && c->of->now_ms >= c->hold_ms) { c->hold_ms = 0; }
    if (c->linger_ms != 0) {
        if (readable || holds) { resp_linger_read(c); }
    } else if (c->hold_ms == 0 && !(c->flags & RESP_C_BROKEN)) {
        if (resp_is_full(c)) { resp_out_send(c); }
        if (c->walk != NULL) { resp_walk_continue(c); }
        readable = readable && !(c->flags & RESP_C_END);
        if (!readable && c->in_len > 0 && resp_may_run(c)) { resp_in_run(c); }
        /* Requests that are left go before the bytes that TLS holds. */
        readable = readable || (holds && !(c->flags & (RESP_C_PENDING | RESP_C_END)));
        if (readable && resp_may_run(c)) { resp_in_read(c); }
    }
    c->of->serving = NULL;
}

CELLAR_PRIVATE void resp_serve_send(resp_client *c)
{
    cellar_resp *r = c->of;
    r->serving = c;
    resp_out_send(c);
    resp_out_limit(c);
    resp_shake_limit(c);
    resp_out_trim(c);
    if ((c->flags & RESP_C_STALLED) && resp_may_run(c)) {
        c->flags &= ~RESP_C_STALLED;
        resp_wake(c);
    }
    if (c->walk != NULL) { resp_wake(c); }
    const uint32_t left = RESP_C_END | RESP_C_PENDING | RESP_C_STALLED;
    const bool over = (c->flags & RESP_C_CLOSE) || (c->flags & left) == RESP_C_END;
    if (over && c->out_bytes == 0 && c->hold_ms == 0) { resp_finish(c); }
    resp_client_timed(c, c->hold_ms != 0 || c->full_ms != 0 || c->linger_ms != 0 ||
                             resp_client_shakes(c));
    if (!(c->flags & RESP_C_BROKEN)) { resp_interest(c); }
    r->serving = NULL;
    if (c->flags & RESP_C_BROKEN) { resp_client_free(c); }
}
