/* SPDX-License-Identifier: MIT
 *
 * mark: the proof that every change was heard.
 *
 * PICTURE    I/O thread -- script: PEXPIRE mark key --> server -- invalidation --> *subscriber*
 *                 s = now                                               both back: s + proof_ms
 * INVARIANTS The server executed the mark after s, and *subscriber* delivers in order: what was
 *            executed before s was handled when the mark is heard. One mark is in flight at a time.
 *            A key that expired or was evicted is announced, too. So the reply must say that the
 *            key existed; else the next mark makes a key of a new number. It is sent immediately,
 *            or after proof_ms / 4 if the lost mark had made its key, as the first one of a link.
 * WALK       Every proof_ms / 4 a mark; late by proof_ms / 2: SUSPECT; late by proof_ms: the link
 *            breaks. A fence wants a mark that is sent after its call.
 * TIME       The reply brings the clock of the server. It was read between the sending and the
 *            reply: the error is the round trip. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "remote/reason.h"

/* Note a proof: everything before the mark was heard. */
static void remote_mark_proves(remote_link *l, const remote_mark *m)
{
    const int64_t until_ms = m->sent_ms + l->c->proof_ms;
    const int64_t now_ms = l->e.now_ms(l->e.ctx);
    atomic_store(&l->server_error_ms, now_ms - m->sent_ms + 1);
    atomic_store(&l->server_offset_ms, m->server_ms + 1 - m->sent_ms);
    atomic_store(&l->proof_ms_at, m->sent_ms != 0 ? m->sent_ms : 1);
    atomic_store(&l->proven_until, until_ms);
    remote_count(l, REMOTE_LINK_PROOFS, 1);
    const int64_t journey_ns = remote_mono_ns() - m->sent_ns;
    remote_trip_note(l->journeys, journey_ns);
    atomic_store(&l->journey_us, journey_ns / 1000);
    l->e.proven(l->e.ctx, until_ms);
    const uint32_t was = atomic_load(&l->state);
    if (was == REMOTE_GAP && (l->logged != 0 || l->warned_ns == 0)) {
        l->e.log(l->e.ctx, CELLAR_OK, "remote: all changes are heard");
    }
    if (was == REMOTE_GAP) { l->logged = 0; }
    remote_state_set(l, REMOTE_PROVEN);
    l->failures = 0;
    l->logged &= UINT32_C(1) << REMOTE_WHYS_N; /* a full server */
    atomic_store(&l->mark_back, m->number);
    remote_futex_wake(&l->mark_back, REMOTE_ALL_BITS);
}

/* Finish a mark of which both halves are back. */
static void remote_mark_finish(remote_link *l)
{
    const remote_mark m = l->mark;
    if (!m.replied || (!m.echoed && !m.lost)) { return; }
    l->mark.number = 0;
    if (m.lost) {
        if (!m.fresh) { l->mark_due_ms = m.sent_ms; }
    } else if (m.counts) {
        remote_mark_proves(l, &m);
    }
}

CELLAR_PRIVATE void remote_mark_heard(remote_link *l, const char *key, size_t len)
{
    if (l->mark.number == 0 || len != strlen(l->mark_key) || memcmp(key, l->mark_key, len) != 0) {
        return;
    }
    l->mark.echoed = true;
    remote_mark_finish(l);
}

static int64_t remote_number_of(const remote_reply *r)
{
    return r != NULL && r->type == REMOTE_STRING ? (int64_t)strtoll(r->text, NULL, 10) : 0;
}

static void remote_mark_reply(void *link, uint32_t index, const remote_reply *reply)
{
    remote_link *l = link;
    (void)index;
    if (l->mark.number == 0) { return; }
    if (reply->type == REMOTE_ERROR) {
        const remote_why why = remote_why_of(reply);
        if (why == REMOTE_WHY_NONE && remote_starts(reply, "NOSCRIPT ")) {
            l->scripts_gone = true;
            l->mark.lost = l->mark_rekey = l->mark.replied = true;
            remote_mark_finish(l);
            return;
        }
        remote_break(l, why != REMOTE_WHY_NONE ? why : REMOTE_WHY_MARK,
                     "the server refuses a mark: %.*s",
                     (int)(reply->len < 100 ? reply->len : 100), reply->text);
        return;
    }
    const remote_reply *existed = reply->first, *s = existed != NULL ? existed->next : NULL;
    const remote_reply *us = s != NULL ? s->next : NULL;
    l->mark.replied = true;
    l->mark.server_ms = remote_number_of(s) * 1000 + remote_number_of(us) / 1000;
    l->mark.lost = l->mark_rekey = existed == NULL || existed->number != 1;
    remote_mark_finish(l);
}

CELLAR_PRIVATE void remote_mark_send(remote_link *l)
{
    const char *argv[5] = { "EVALSHA", l->mark_digest, "1", l->mark_key, "" };
    remote_request q = { .ctx = l, .replies = 1, .fn = remote_mark_reply };
    l->mark_bytes.len = 0;
    if (l->mark_rekey) {
        (void)snprintf(l->mark_key + l->mark_prefix_len, sizeof l->mark_key - l->mark_prefix_len,
                       "%" PRIu32, ++l->mark_keys);
    }
    if (remote_command(&l->mark_bytes, l->mark_rekey ? 5 : 4, argv, NULL) != CELLAR_OK) {
        remote_break(l, REMOTE_WHY_NOMEM, "no memory for a mark");
        return;
    }
    q.bytes = l->mark_bytes.data;
    q.bytes_len = l->mark_bytes.len;
    const uint32_t number = atomic_load(&l->mark_sent) + 1;
    atomic_store(&l->mark_sent, number);
    l->mark = (remote_mark){ .sent_ms = l->e.now_ms(l->e.ctx), .sent_ns = remote_mono_ns(),
                             .number = number, .fresh = l->mark_rekey, .counts = true };
    l->mark_rekey = false;
    l->mark_due_ms = l->mark.sent_ms + l->c->proof_ms / 4;
    (void)remote_post_own(l, &q);
}

/* Watch the mark in flight. */
static void remote_mark_watch(remote_link *l, int64_t now_ms)
{
    const int64_t age_ms = now_ms - l->mark.sent_ms;
    if (age_ms > l->c->proof_ms) {
        remote_break(l, REMOTE_WHY_MARK, "a mark did not come back within proof_ms");
    } else if (age_ms > l->c->proof_ms / 2 && atomic_load(&l->state) == REMOTE_PROVEN) {
        remote_state_set(l, REMOTE_SUSPECT);
        remote_warn(l, REMOTE_WHY_NONE, CELLAR_E_TIMEOUT, "remote: a mark is late by proof_ms / 2");
    }
}

CELLAR_PRIVATE bool remote_mark_due(remote_link *l)
{
    const bool fence = (int32_t)(atomic_load(&l->mark_want) - atomic_load(&l->mark_back)) > 0;
    return l->phase == REMOTE_PHASE_MARKS && l->mark.number == 0 &&
           ((fence && !l->mark_rekey) || l->e.now_ms(l->e.ctx) >= l->mark_due_ms);
}

CELLAR_PRIVATE void remote_mark_tick(remote_link *l)
{
    if (l->why != REMOTE_WHY_NONE) { return; }
    if (l->mark.number != 0) {
        remote_mark_watch(l, l->e.now_ms(l->e.ctx));
    } else if (remote_mark_due(l)) {
        remote_mark_send(l);
    }
}
