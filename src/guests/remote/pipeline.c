/* SPDX-License-Identifier: MIT
 *
 * pipeline: requests on their way: sent together, answered in order, ended once.
 *
 * PICTURE    inbox -> queue -> sendmsg of up to REMOTE_PARTS requests -> sent -> replies -> end
 * INVARIANTS Replies belong to the first ticket of `sent`. A ticket that its caller left stays in
 *            its list, so that its replies are counted.
 * WALK       Error replies that concern the server (READONLY, LOADING ..) also break the link.
 *            NOSCRIPT: the scripts are loaded, then the request is sent again. A port has none to
 *            load: NOSCRIPT there concerns one request, formed before the link moved. */
#include <stdio.h>

#include "remote/reason.h"

#define REMOTE_PARTS 64
#define REMOTE_SEND_BYTES ((size_t)1 << 20) /* of one sendmsg, unless one request is longer */

CELLAR_PRIVATE bool remote_post_own(remote_link *l, const remote_request *q, remote_bytes *b)
{
    remote_ticket *t = b->err == CELLAR_OK ? remote_ticket_new(l, q, true) : NULL;
    if (t == NULL) {
        remote_break(l, REMOTE_WHY_NOMEM, b->err != CELLAR_OK ? "no memory for its own requests"
                     : "too many requests of the link under way");
        remote_bytes_free(b);
        return false;
    }
    t->until_ns = INT64_MAX;
    t->q.bytes = b->data;
    t->q.bytes_len = b->len;
    remote_tickets_add(l, &l->queue, t);
    return true;
}

/* Return whether only the I/O thread takes the replies: no caller waits, or the server is woken. */
static bool remote_is_other(const remote_ticket *t)
{
    return t->posted || t->own || (t->q.flags & REMOTE_WAITS) != 0;
}

/* Move sent requests to the list `sent`. */
static void remote_note_sent(remote_link *l, remote_ticket *const *sent, size_t count)
{
    const int64_t now_ns = remote_mono_ns();
    for (size_t i = 0; i < count; i++) {
        sent[i]->sent_ns = now_ns;
        l->others += remote_is_other(sent[i]);
        remote_tickets_add(l, &l->sent, sent[i]);
        atomic_store(&sent[i]->state, REMOTE_T_SENT);
    }
    remote_count(l, REMOTE_LINK_REQUESTS, count);
}

/* Send one batch from the queue. False: nothing is left to send, or the link broke. */
static bool remote_send_batch(remote_link *l)
{
    struct iovec part[REMOTE_PARTS];
    remote_ticket *sent[REMOTE_PARTS], *t;
    uint16_t count = 0;
    size_t bytes = 0;
    while (count < REMOTE_PARTS && bytes < REMOTE_SEND_BYTES &&
           (t = remote_tickets_first(l, &l->queue)) != NULL) {
        remote_tickets_pop(l, &l->queue);
        if (!remote_ticket_move(t, REMOTE_T_QUEUED, REMOTE_T_SENDING)) {
            remote_ticket_free(l, t); /* the caller left before a byte was sent */
            continue;
        }
        part[count] = (struct iovec){ (void *)(uintptr_t)t->q.bytes, t->q.bytes_len };
        bytes += t->q.bytes_len;
        sent[count++] = t;
    }
    if (count == 0) { return false; }
    const bool fine = remote_wire_send(&l->data, part, count);
    remote_note_sent(l, sent, count);
    if (!fine) { remote_break_wire(l, &l->data); }
    return fine;
}

CELLAR_PRIVATE void remote_send_queue(remote_link *l)
{
    if (!remote_wire_flush(&l->data)) {
        remote_break_wire(l, &l->data);
        return;
    }
    while (l->data.unsent.len == 0 && l->why == REMOTE_WHY_NONE && remote_send_batch(l)) { }
}

/* Send a request again behind the scripts that it names. */
static bool remote_repeat(remote_link *l, remote_ticket *t, const remote_reply *reply)
{
    if ((t->q.flags & REMOTE_SCRIPTED) == 0 || t->repeated || t->q.replies != 1 ||
        atomic_load(&l->largest) != 0 || !remote_starts(reply, "NOSCRIPT ")) {
        return false;
    }
    l->scripts_gone = true; /* the round loads them first */
    t->repeated = true;
    if (!remote_ticket_move(t, REMOTE_T_TAKING, REMOTE_T_QUEUED)) { return false; }
    remote_count(l, REMOTE_LINK_REPEATED, 1);
    remote_tickets_add(l, &l->again, t);
    return true;
}

static void remote_full_note(remote_link *l)
{
    char at[REMOTE_AT_TEXT];
    remote_count(l, REMOTE_LINK_OOM, 1);
    pthread_mutex_lock(&l->refusal_lock);
    l->refusal = (remote_refusal){ .code = CELLAR_E_SPACE };
    (void)snprintf(l->refusal.text, sizeof l->refusal.text, "remote: server %s is out of memory: "
                   "raise its %s", remote_at_text(l, at),
                   atomic_load(&l->largest) != 0 ? "shared_bytes (cellar serve --shared)"
                                                 : "maxmemory");
    pthread_mutex_unlock(&l->refusal_lock);
    remote_warn(l, REMOTE_WHYS_N, CELLAR_E_SPACE, l->refusal.text);
}

/* Act on an error reply that concerns more than one request. */
static void remote_take_error(remote_link *l, const remote_ticket *t, const remote_reply *reply)
{
    const remote_why why = remote_why_of(reply);
    if (remote_starts(reply, "OOM ")) { remote_full_note(l); }
    if (t->own || why == REMOTE_WHY_NONE) { return; }
    remote_break_reply(l, why, "the server answers", reply);
}

CELLAR_PRIVATE void remote_take_reply(void *link, const remote_reply *reply)
{
    remote_link *l = link;
    remote_ticket *t = remote_tickets_first(l, &l->sent);
    if (t == NULL) {
        remote_break(l, REMOTE_WHY_PROTOCOL, "the server sent a reply without a request");
        return;
    }
    const bool here = remote_ticket_move(t, REMOTE_T_SENT, REMOTE_T_TAKING);
    const bool last = t->taken + 1 == t->q.replies;
    if (reply->type == REMOTE_ERROR) { remote_take_error(l, t, reply); }
    if (last) {
        remote_tickets_pop(l, &l->sent);
        l->others -= remote_is_other(t);
        remote_trip_note(l->trips, remote_mono_ns() - t->sent_ns);
    }
    if (here && remote_repeat(l, t, reply)) { return; }
    if (here && t->q.fn != NULL) { t->q.fn(t->q.ctx, t->taken, reply); }
    t->taken++;
    if (last) {
        remote_ticket_end(l, t, CELLAR_OK, REMOTE_UNKNOWN);
    } else if (here) {
        atomic_store(&t->state, REMOTE_T_SENT);
    }
}

static void remote_end_list(remote_link *l, remote_tickets *list, cellar_err err, remote_fate fate)
{
    remote_tickets all = *list;
    *list = (remote_tickets){ 0, 0 };
    for (remote_ticket *t; (t = remote_tickets_first(l, &all)) != NULL;) {
        remote_tickets_pop(l, &all);
        remote_ticket_end(l, t, err, fate);
    }
}

CELLAR_PRIVATE void remote_end_all(remote_link *l, cellar_err err)
{
    remote_tickets_collect(l, &l->queue);
    l->others = 0;
    atomic_store(&l->reader, REMOTE_TICKET_NONE);
    remote_end_list(l, &l->again, err, REMOTE_NOT_SENT);
    remote_end_list(l, &l->sent, err, REMOTE_UNKNOWN);
    remote_end_list(l, &l->queue, err, REMOTE_NOT_SENT);
    remote_tickets_wake(l);
}

CELLAR_PRIVATE bool remote_is_patient(const remote_link *l, const remote_request *q)
{
    return q->wait_ms == 0 || q->wait_ms >= l->c->io_ms;
}

static void remote_expire_list(remote_link *l, remote_tickets *list, int64_t now_ns, uint32_t from,
                               remote_fate fate)
{
    for (remote_ticket *t = remote_tickets_first(l, list); t != NULL;
         t = remote_ticket_after(l, t)) {
        if (!t->posted || t->until_ns > now_ns || !remote_ticket_move(t, from, REMOTE_T_LEFT)) {
            continue;
        }
        remote_count(l, REMOTE_LINK_TIMEOUTS, 1);
        if (remote_is_patient(l, &t->q)) { (void)atomic_fetch_add(&l->timeouts_row, 1); }
        if (t->q.done != NULL) { t->q.done(t->q.ctx, CELLAR_E_TIMEOUT, fate); }
    }
}

CELLAR_PRIVATE void remote_expire_posted(remote_link *l, int64_t now_ns)
{
    remote_expire_list(l, &l->queue, now_ns, REMOTE_T_QUEUED, REMOTE_NOT_SENT);
    remote_expire_list(l, &l->sent, now_ns, REMOTE_T_SENT, REMOTE_UNKNOWN);
}
