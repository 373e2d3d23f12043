/* SPDX-License-Identifier: MIT
 *
 * pipeline: requests on their way: sent together, answered in order, ended once.
 *
 * PICTURE    inbox -> queue -> sendmsg of up to REMOTE_PARTS requests -> sent -> replies -> end
 * INVARIANTS Replies belong to the first ticket of `sent`. A ticket that its caller left stays in
 *            its list, so that its replies are counted.
 * WALK       Error replies that concern the server (READONLY, LOADING ..) also break the link.
 *            NOSCRIPT: the scripts are loaded, then the request is sent again. A request that was
 *            formed before the link moved between a port and a Redis is formed again. */
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

/* Return what stands behind a word of a request. NULL: no word is there. */
static const char *remote_word_read(const char *at, const char *end, cellar_bytes *word)
{
    size_t len = 0;
    if (at == end || *at++ != '$') { return NULL; }
    while (at < end && *at >= '0' && *at <= '9') { len = 10 * len + (size_t)(*at++ - '0'); }
    if (end - at < 4 || len > (size_t)(end - at) - 4) { return NULL; }
    *word = (cellar_bytes){ at + 2, len };
    return at + 2 + len + 2;
}

/* Form a request again, with the first words for the kind of server that the link has now. False:
 * the request was of this kind, names no script, or there is no memory. */
static bool remote_form_again(remote_link *l, remote_ticket *t)
{
    const bool port = atomic_load(&l->largest) != 0;
    const cellar_bytes was = REMOTE_EVAL_COMMAND(!port);
    const char *const end = t->q.bytes + t->q.bytes_len;
    const char *const head_end = memchr(t->q.bytes, '\n', t->q.bytes_len);
    cellar_bytes word, script;
    if (l->e.script_other == NULL || head_end == NULL) { return false; }
    const char *at = remote_word_read(head_end + 1, end, &word);
    if (at == NULL || word.len != was.len || memcmp(word.data, was.data, was.len) != 0 ||
        (at = remote_word_read(at, end, &script)) == NULL ||
        (script = l->e.script_other(l->e.ctx, script)).len == 0) {
        return false;
    }
    remote_bytes b = { .memory = l->e.memory };
    bool fine = remote_bytes_add(&b, t->q.bytes, (size_t)(head_end + 1 - t->q.bytes));
    remote_word_add(&b, (cellar_bytes)REMOTE_EVAL_COMMAND(port));
    remote_word_add(&b, script);
    fine = remote_bytes_add(&b, at, (size_t)(end - at)) && fine && b.err == CELLAR_OK;
    if (!fine) {
        remote_bytes_free(&b);
        return false;
    }
    const remote_memory *m = t->q.memory; /* NULL: the caller frees its bytes */
    if (m != NULL) { m->free(m->ctx, (void *)(uintptr_t)t->q.bytes, t->q.bytes_cap); }
    t->q.bytes = b.data;
    t->q.bytes_len = b.len;
    t->q.bytes_cap = b.cap;
    t->q.memory = b.memory;
    return true;
}

/* Send a request again: behind the scripts that it names, or formed for this kind of server. */
static bool remote_repeat(remote_link *l, remote_ticket *t, const remote_reply *reply)
{
    const bool gone = remote_starts(reply, "NOSCRIPT ");
    const bool loads = gone && atomic_load(&l->largest) == 0; /* a port has none to load */
    if ((t->q.flags & REMOTE_SCRIPTED) == 0 || t->repeated || t->q.replies != 1 ||
        (!gone && !remote_starts(reply, "ERR unknown command ")) ||
        (!loads && !remote_form_again(l, t))) {
        return false;
    }
    l->scripts_gone = l->scripts_gone || loads; /* the round loads them first */
    t->repeated = true;
    if (!remote_ticket_move(t, REMOTE_T_TAKING, REMOTE_T_QUEUED)) { return false; }
    remote_count(l, REMOTE_LINK_REPEATED, 1);
    remote_tickets_add(l, loads ? &l->again : &l->queue, t);
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
