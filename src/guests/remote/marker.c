/* SPDX-License-Identifier: MIT
 *
 * marker: the proof that every change was heard.
 *
 * PICTURE    I/O thread -- script: PEXPIRE marker key --> server -- invalidation --> *subscriber*
 *                 s = now                                               both back: s + proof_ms
 * INVARIANTS The server executed the marker after s, and *subscriber* delivers in order: what was
 *            executed before s was handled when the marker is heard. One marker is under way at a
 *            time. A key that expired or was evicted is announced, too. So the reply must say that
 *            the key existed; else the next marker makes a key of a new number. It is sent
 *            immediately, or after proof_ms / 4 if the lost marker had made its key, as the first
 *            one of a link.
 * WALK       Every proof_ms / 4 a marker; late by proof_ms / 2: SUSPECT; late by proof_ms: the link
 *            breaks. A fence wants a marker that is sent after its call.
 * SENTINEL   A proof ends proof_ms after its majority at most. Without one a marker proves nothing.
 * TIME       The reply brings the clock of the server. It was read between the sending and the
 *            reply: the error is the round trip. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "remote/reason.h"

/* ---- the majority of the Sentinels ---- */

CELLAR_PRIVATE bool remote_same(const remote_address *a, const remote_address *b)
{
    return a->port == b->port && strcmp(a->host, b->host) == 0;
}

CELLAR_PRIVATE bool remote_primary(const remote_link *l, remote_address *out, int64_t *at_ms)
{
    const uint32_t n = l->c->sentinel_count;
    bool found = false;
    for (uint32_t i = 0; i < n; i++) {
        const remote_sentinel *s = &l->sentinel[i], *o = l->sentinel;
        uint32_t votes = 0;
        for (; o < l->sentinel + n; o++) {
            votes += o->named_ms >= s->named_ms && remote_same(&o->named, &s->named);
        }
        if (s->named.port == 0 || votes <= n / 2 || (found && s->named_ms <= *at_ms)) { continue; }
        found = true;
        *at_ms = s->named_ms;
        *out = s->named;
    }
    return found && l->e.now_ms(l->e.ctx) - *at_ms < l->c->proof_ms;
}

/* ---- markers ---- */

/* Note a proof: everything before the marker was heard. */
static void remote_marker_proves(remote_link *l, const remote_marker *m)
{
    int64_t from_ms = m->sent_ms, at_ms = m->sent_ms;
    const int64_t now_ms = l->e.now_ms(l->e.ctx);
    remote_address named;
    l->unvouched = l->c->sentinel_count != 0 &&
                   (!remote_primary(l, &named, &at_ms) || !remote_same(&named, &l->primary));
    if (l->unvouched) { return; }
    if (at_ms < from_ms) { from_ms = at_ms; }
    const int64_t until_ms = from_ms + l->c->proof_ms;
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
    atomic_store(&l->marker_back, m->number);
    remote_futex_wake(&l->marker_back, REMOTE_ALL_BITS);
}

/* Finish a marker of which both halves are back. */
static void remote_marker_finish(remote_link *l)
{
    const remote_marker m = l->marker;
    if (!m.replied || (!m.echoed && !m.lost)) { return; }
    l->marker.number = 0;
    if (m.lost) {
        if (!m.fresh) { l->marker_due_ms = m.sent_ms; }
    } else if (m.counts) {
        remote_marker_proves(l, &m);
    }
}

CELLAR_PRIVATE void remote_marker_heard(remote_link *l, const char *key, size_t len)
{
    if (l->marker.number == 0 || len != strlen(l->marker_key) ||
        memcmp(key, l->marker_key, len) != 0) {
        return;
    }
    l->marker.echoed = true;
    remote_marker_finish(l);
}

static void remote_marker_reply(void *link, uint32_t index, const remote_reply *reply)
{
    remote_link *l = link;
    (void)index;
    if (l->marker.number == 0) { return; }
    if (reply->type == REMOTE_ERROR) {
        const remote_why why = remote_why_of(reply);
        if (why == REMOTE_WHY_NONE && remote_starts(reply, "NOSCRIPT ")) {
            l->scripts_gone = true;
            l->marker.lost = l->marker_rekey = l->marker.replied = true;
            remote_marker_finish(l);
            return;
        }
        remote_break_reply(l, why != REMOTE_WHY_NONE ? why : REMOTE_WHY_MARKER,
                           "the server refuses a marker", reply);
        return;
    }
    const remote_reply *existed = reply->first, *s = existed != NULL ? existed->next : NULL;
    const remote_reply *us = s != NULL ? s->next : NULL;
    l->marker.replied = true;
    l->marker.server_ms = (int64_t)(remote_number(s) * 1000 + remote_number(us) / 1000);
    l->marker.lost = l->marker_rekey = existed == NULL || existed->number != 1;
    remote_marker_finish(l);
}

static void remote_marker_send(remote_link *l)
{
    const remote_request q = { .ctx = l, .replies = 1, .fn = remote_marker_reply };
    l->marker_bytes.len = 0;
    if (l->marker_rekey) {
        (void)snprintf(l->marker_key + l->marker_prefix_len,
                       sizeof l->marker_key - l->marker_prefix_len, "%" PRIu32, ++l->marker_keys);
    }
    const bool port = atomic_load(&l->largest) != 0;
    const char *name = port ? "MARKER" : l->marker_digest;
    const cellar_bytes words[] = { REMOTE_EVAL_COMMAND(port), REMOTE_WORD(name), { "1", 1 },
                                   REMOTE_WORD(l->marker_key), { "", 0 } };
    remote_command(&l->marker_bytes, words, l->marker_rekey ? 5 : 4);
    const uint32_t number = atomic_load(&l->marker_sent) + 1;
    atomic_store(&l->marker_sent, number);
    l->marker = (remote_marker){ .sent_ms = l->e.now_ms(l->e.ctx), .sent_ns = remote_mono_ns(),
                                 .number = number, .fresh = l->marker_rekey, .counts = true };
    l->marker_rekey = false;
    l->marker_due_ms = l->marker.sent_ms + l->c->proof_ms / 4;
    (void)remote_post_own(l, &q, &l->marker_bytes);
}

/* Watch the marker under way. */
static void remote_marker_watch(remote_link *l, int64_t now_ms)
{
    const int64_t age_ms = now_ms - l->marker.sent_ms;
    if (age_ms > l->c->proof_ms) {
        remote_break(l, REMOTE_WHY_MARKER, "a marker did not come back within proof_ms");
    } else if (age_ms > l->c->proof_ms / 2 && atomic_load(&l->state) == REMOTE_PROVEN) {
        remote_state_set(l, REMOTE_SUSPECT);
        remote_warn(l, REMOTE_WHY_NONE, CELLAR_E_TIMEOUT,
                    "remote: a marker is late by proof_ms / 2");
    }
}

CELLAR_PRIVATE bool remote_marker_due(remote_link *l)
{
    const bool fence = (int32_t)(atomic_load(&l->marker_want) - atomic_load(&l->marker_back)) > 0;
    return l->phase == REMOTE_PHASE_MARKERS && l->marker.number == 0 &&
           ((fence && !l->marker_rekey && !l->unvouched) ||
            l->e.now_ms(l->e.ctx) >= l->marker_due_ms);
}

CELLAR_PRIVATE void remote_marker_tick(remote_link *l)
{
    if (l->why != REMOTE_WHY_NONE) { return; }
    if (l->marker.number != 0) {
        remote_marker_watch(l, l->e.now_ms(l->e.ctx));
    } else if (remote_marker_due(l)) {
        remote_marker_send(l);
    }
}
