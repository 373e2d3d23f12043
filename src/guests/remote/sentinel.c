/* SPDX-License-Identifier: MIT
 *
 * sentinel: the primary that a majority of the Sentinels names.
 *
 * PICTURE    tick -> address of each Sentinel -> connection -> [AUTH] -> a question each second, or
 *            each proof_ms / 4 -> {named, named_ms}
 *            majority: the server of the next attempt; another one than that of the link: the link
 *            ends; none within proof_ms: no proof counts, and a gap begins
 * INVARIANTS An answer counts from the time of its question, a majority from its oldest answer. So
 *            a proof ends proof_ms after a time at which a majority named this server.
 *            A Sentinel that fails keeps its vote until it is too old.
 * LIMITS     REMOTE_ADDRESSES_MAX Sentinels, a connection, a question under way and a lookup of the
 *            name for each: a name that is slow to resolve delays no other Sentinel. */
#include <stdio.h>
#include <string.h>

#include "remote/reason.h"

BASE_SIZE_BEGIN

#define REMOTE_ASK_MS INT64_C(1000) /* between two questions, at most; for an answer */

/* Note an answer or a failure. Return whether it ends the attempt: as many came as there are
 * Sentinels, and there is no majority. */
static bool remote_sentinel_last(remote_link *l)
{
    remote_address named;
    int64_t at_ms;
    return l->phase == REMOTE_PHASE_SENTINEL && ++l->told >= l->c->sentinel_count &&
           !remote_primary(l, &named, &at_ms);
}

CELLAR_PRIVATE bool remote_sentinel_objects(const remote_sentinel *s)
{
    return s->why != REMOTE_WHY_NONE && s->why != REMOTE_WHY_CONNECT &&
           s->why != REMOTE_WHY_TIMEOUT && s->why != REMOTE_WHY_NOMEM;
}

/* Keep the reason for which the link breaks as that of a Sentinel. `last`: the link breaks with it,
 * or with the reason of a Sentinel that answered. */
static void remote_sentinel_note(remote_link *l, remote_sentinel *s, bool last)
{
    const remote_sentinel *best = s;
    s->why = l->why;
    (void)snprintf(s->text, sizeof s->text, "%.*s", (int)sizeof s->text - 1, l->why_text);
    l->why = REMOTE_WHY_NONE;
    for (uint32_t i = 0; i < l->c->sentinel_count && !remote_sentinel_objects(best); i++) {
        if (remote_sentinel_objects(&l->sentinel[i])) { best = &l->sentinel[i]; }
    }
    if (last) { remote_break(l, best->why, "%s", best->text); }
}

/* Take the name of a server. */
static void remote_sentinel_names(remote_link *l, remote_sentinel *s, const remote_reply *host,
                                  uint64_t port)
{
    memcpy(s->named.host, host->text, host->len);
    s->named.host[host->len] = '\0';
    s->named.port = (uint16_t)port;
    s->named_ms = s->asked_ms;
    s->why = REMOTE_WHY_NONE;
    if (!remote_sentinel_last(l) || l->why != REMOTE_WHY_NONE) { return; }
    remote_break(l, REMOTE_WHY_MASTER, "no majority of the Sentinels names one server as master "
                 "%.48s", l->c->master);
}

/* Take an answer; the one to AUTH says nothing that the next one does not. */
static void remote_sentinel_reply(void *sentinel, const remote_reply *reply)
{
    remote_sentinel *s = sentinel;
    remote_link *l = s->link;
    const remote_reply *host = reply->type == REMOTE_ARRAY ? reply->first : NULL;
    const remote_reply *port = host != NULL ? host->next : NULL;
    const uint64_t number = remote_number(port);
    if (s->skip != 0) {
        s->skip--;
        return;
    }
    s->asking = false;
    if (number > 0 && number <= 65535 && host->len <= REMOTE_HOST_MAX &&
        host->type == REMOTE_STRING) {
        remote_sentinel_names(l, s, host, number);
        return;
    }
    const bool error = reply->type == REMOTE_ERROR;
    const bool denied = error && remote_why_of(reply) == REMOTE_WHY_AUTH;
    s->named.port = 0;
    const bool last = remote_sentinel_last(l);
    if (l->why != REMOTE_WHY_NONE) { return; }
    remote_break(l, denied ? REMOTE_WHY_AUTH : REMOTE_WHY_MASTER,
                 denied ? "a Sentinel wants another sentinel_user or sentinel_password"
                 : error ? "a Sentinel refuses to answer" : "a Sentinel does not know master %.80s",
                 l->c->master);
    remote_sentinel_note(l, s, last);
}

/* Break with the reason why a Sentinel failed. */
static void remote_sentinel_break(remote_link *l, const remote_sentinel *s, cellar_err err)
{
    char at[REMOTE_AT_TEXT];
    const remote_address server = l->at;
    l->at = l->c->sentinel[s - l->sentinel]; /* for the text */
    if (err == CELLAR_E_TIMEOUT) {
        remote_break(l, REMOTE_WHY_TIMEOUT, "the Sentinel %s does not answer",
                     remote_at_text(l, at));
    } else if (err != CELLAR_OK) {
        remote_unresolved(l, err);
    } else {
        remote_break_wire(l, &s->wire);
    }
    l->at = server;
}

/* Close the connection, and connect again later. err: TIMEOUT: no answer; OK: the wire has the
 * reason; else that of the resolver. */
static void remote_sentinel_fail(remote_link *l, remote_sentinel *s, cellar_err err)
{
    const bool last = remote_sentinel_last(l);
    if (l->why == REMOTE_WHY_NONE) {
        remote_sentinel_break(l, s, err);
        remote_sentinel_note(l, s, last);
        if (last) { l->data.sys_errno = s->wire.sys_errno; }
    }
    remote_wire_drop(l, &s->wire);
    s->asking = false;
    s->next_ns = remote_mono_ns() + REMOTE_ASK_MS * REMOTE_NS_OF_MS;
}

CELLAR_PRIVATE void remote_sentinel_serve(remote_wire *w, uint32_t reads)
{
    remote_sentinel *s = w->ctx;
    bool fine = remote_wire_connected(w) && (!w->connected || remote_wire_flush(w));
    bool more = w->connected && (reads != 0 || remote_wire_holds(w));
    while (fine && more) { fine = remote_wire_read(w, &more); }
    if (!fine) { remote_sentinel_fail(s->link, s, CELLAR_OK); }
}

/* Send the question, behind AUTH on a new connection. */
static bool remote_sentinel_ask(remote_link *l, remote_sentinel *s)
{
    const remote_config *c = l->c;
    const cellar_bytes password = REMOTE_WORD(c->sentinel_password);
    const cellar_bytes auth[] = { { "AUTH", 4 }, REMOTE_WORD(c->sentinel_user), password };
    const cellar_bytes bare[] = { { "AUTH", 4 }, password };
    const bool named = c->sentinel_user[0] != '\0';
    remote_bytes b = { .memory = l->e.memory, .secret = true };
    if (s->fresh && password.len != 0) {
        remote_command(&b, named ? auth : bare, named ? 3 : 2);
        s->skip = 1;
    }
    remote_command(&b, REMOTE_WORDS({ "SENTINEL", 8 }, { "get-master-addr-by-name", 23 },
                                    REMOTE_WORD(c->master)));
    s->asked_ms = l->e.now_ms(l->e.ctx); /* before the answer can be made */
    s->fresh = false;
    s->asking = true;
    return remote_wire_say(&s->wire, true, &b);
}

/* Connect, or ask again, when it is time. */
static void remote_sentinel_step(remote_link *l, remote_sentinel *s, const remote_address *at)
{
    const int64_t now_ns = remote_mono_ns(), most_ms = l->c->proof_ms / 4;
    cellar_err err = s->asking ? CELLAR_E_TIMEOUT : CELLAR_OK;
    bool fine = !s->asking;
    if (now_ns < s->next_ns + (s->asking ? REMOTE_ASK_MS * REMOTE_NS_OF_MS : 0)) { return; }
    if (fine && s->wire.fd < 0) {
        remote_peer peer;
        err = remote_resolve(&s->lookup, at, l->attempt, &peer);
        if (err == CELLAR_PENDING) { return; }
        if (l->phase == REMOTE_PHASE_SENTINEL) { l->peer.count = peer.count; }
        remote_insecure(l);
        fine = err == CELLAR_OK && remote_wire_connect(&s->wire, l->c, at->host, &peer) &&
               remote_watch(l, &s->wire);
        s->fresh = true;
        s->skip = 0;
    }
    s->next_ns = now_ns + (most_ms < REMOTE_ASK_MS ? most_ms : REMOTE_ASK_MS) * REMOTE_NS_OF_MS;
    if (!fine || !remote_sentinel_ask(l, s)) { remote_sentinel_fail(l, s, err); }
}

CELLAR_PRIVATE void remote_sentinels_open(remote_link *l)
{
    for (uint32_t i = 0; i < l->c->sentinel_count; i++) {
        remote_sentinel *s = &l->sentinel[i];
        s->link = l;
        remote_wire_init(&s->wire, l->e.memory, remote_sentinel_reply, s);
        s->wire.string_max = REMOTE_HOST_MAX + 1;
    }
}

CELLAR_PRIVATE void remote_sentinels_close(remote_link *l)
{
    for (uint32_t i = 0; i < l->c->sentinel_count; i++) {
        remote_wire_close(&l->sentinel[i].wire);
        tls_ticket_free(l->sentinel[i].wire.ticket);
        remote_lookup_leave(l->sentinel[i].lookup);
    }
}

CELLAR_PRIVATE void remote_sentinels_tick(remote_link *l)
{
    remote_address named;
    int64_t at_ms;
    for (uint32_t i = 0; i < l->c->sentinel_count; i++) {
        remote_sentinel_step(l, &l->sentinel[i], &l->c->sentinel[i]);
        (void)remote_watch(l, &l->sentinel[i].wire);
    }
    if (l->c->sentinel_count == 0 || l->why != REMOTE_WHY_NONE) { return; }
    if (!remote_primary(l, &named, &at_ms)) {
        if (remote_link_state(l) >= REMOTE_PROVEN &&
            l->e.now_ms(l->e.ctx) >= atomic_load(&l->proven_until)) {
            remote_unvouched(l);
        }
    } else if (l->phase == REMOTE_PHASE_SENTINEL) {
        l->primary = named;
        remote_connect_to(l, &named);
    } else if (!remote_same(&named, &l->primary) && l->phase == REMOTE_PHASE_PAUSE) {
        l->failures = 0;
        l->retry_ns = 0;
    } else if (!remote_same(&named, &l->primary)) {
        remote_break(l, REMOTE_WHY_MASTER, "the Sentinels name another primary: %.48s:%u",
                     named.host, named.port);
    }
}

BASE_SIZE_END
