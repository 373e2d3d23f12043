/* SPDX-License-Identifier: MIT
 *
 * channel: subscriptions, messages to subscribers, and the way from the signals of a pool to them.
 *
 * PICTURE    port -- table of channels --\                    /-- client: its channels
 *                 \- table of patterns --- channel -- subs --<--- client: its patterns
 *            any thread: emit -> resp_bridge -> inbox (a stack) -> bell
 *            thread of the step: resp_hear -> heard, the oldest first -> subscribers
 *            PUBLISH -> subscribers -> emit -> other subscribers of the signal;
 *            the bridge knows its own signal
 * INVARIANTS A channel in a table has a subscription. RESP_C_SUBSCRIBED: the client has one.
 *            sub_count == subscriptions of all clients.
 * LOCKING    None. Emitters push to `inbox` (release); the thread of the step takes the whole stack
 *            (acquire). The push onto an empty stack rings the bell.
 * LIMITS     RESP_SIGNALS_BYTES of signals wait, or a quarter of the share, if that is less; more
 *            are dropped and counted.
 * FORK       The child never looks at the inbox; its pool refuses to emit. */
#include "resp/channel.h"

#include <string.h>

#include "base/glob.h"
#include "base/num.h"
#include "base/open_error.h"
#include "cellar_bus.h"

BASE_SIZE_BEGIN

#define RESP_CHAINS_FIRST 64u
#define RESP_SIGNALS_BYTES ((uint64_t)8 << 20) /* signals that wait */
#define RESP_HEAR_NS 1000000u                  /* time for signals in a round */
#define RESP_BRIDGE_WAIT_NS 1000000u

/* ---- channels ---- */

static uint32_t resp_channel_hash(const cellar_resp *r, const cellar_bytes *name)
{
    return (uint32_t)base_hash_long(&r->hash_key, 0, name->data, name->len);
}

/* Return the place that points to a channel, or where it would be. The table has chains. */
static resp_channel **resp_channel_at(const resp_channels *t, uint32_t hash,
                                      const cellar_bytes *name)
{
    resp_channel **at = &t->chain[hash & (t->chains - 1)];
    while (*at != NULL && ((*at)->hash != hash || (*at)->len != name->len ||
                           (name->len > 0 && memcmp((*at)->name, name->data, name->len) != 0))) {
        at = &(*at)->next;
    }
    return at;
}

/* Double the chains of a full table. Without memory it stays as it is. False: it has no chains. */
static bool resp_channels_grow(cellar_resp *r, resp_channels *t)
{
    if (t->count < t->chains) { return true; }
    const uint32_t chains = t->chains != 0 ? t->chains * 2 : RESP_CHAINS_FIRST;
    resp_channel **chain = base_alloc(&r->obj.account, BASE_MOD_STORE, chains * sizeof *chain,
                                      NULL);
    if (chain == NULL) { return t->chains != 0; }
    for (uint32_t i = 0; i < t->chains; i++) {
        for (resp_channel *ch = t->chain[i], *next; ch != NULL; ch = next) {
            next = ch->next;
            ch->next = chain[ch->hash & (chains - 1)];
            chain[ch->hash & (chains - 1)] = ch;
        }
    }
    base_free(&r->obj.account, BASE_MOD_STORE, t->chain, t->chains * sizeof *chain);
    t->chain = chain;
    t->chains = chains;
    return true;
}

CELLAR_PRIVATE const resp_channel *resp_channel_find(const cellar_resp *r, resp_kind kind,
                                                     const cellar_bytes *name)
{
    const resp_channels *t = &r->channels[kind];
    return t->chains != 0 ? *resp_channel_at(t, resp_channel_hash(r, name), name) : NULL;
}

/* Return the channel of a name, a new one if there is none; NULL: no memory. */
static resp_channel *resp_channel_need(cellar_resp *r, resp_kind kind, const cellar_bytes *name)
{
    resp_channels *t = &r->channels[kind];
    const uint32_t hash = resp_channel_hash(r, name);
    if (!resp_channels_grow(r, t)) { return NULL; }
    resp_channel **at = resp_channel_at(t, hash, name);
    if (*at != NULL) { return *at; }
    resp_channel *ch = base_alloc(&r->obj.account, BASE_MOD_STORE, sizeof *ch + name->len, NULL);
    if (ch == NULL) { return NULL; }
    *ch = (resp_channel){ .kind = kind, .hash = hash, .len = name->len, .end = &ch->first };
    if (name->len > 0) { memcpy(ch->name, name->data, name->len); }
    *at = ch;
    t->count++;
    return ch;
}

/* Free a channel without subscriptions. */
static void resp_channel_drop(cellar_resp *r, resp_channel *ch)
{
    resp_channels *t = &r->channels[ch->kind];
    const cellar_bytes name = { ch->name, ch->len };
    if (ch->count != 0) { return; }
    *resp_channel_at(t, ch->hash, &name) = ch->next;
    t->count--;
    base_free(&r->obj.account, BASE_MOD_STORE, ch, sizeof *ch + ch->len);
}

/* ---- subscriptions ---- */

/* Walk the shorter one of the two lists that have it. */
static resp_sub *resp_sub_of(const resp_client *c, const resp_channel *ch)
{
    const bool mine = c->sub_count[ch->kind] < ch->count;
    resp_sub *s = mine ? c->subs[ch->kind] : ch->first;
    while (s != NULL && (s->client != c || s->channel != ch)) {
        s = mine ? s->client_next : s->next;
    }
    return s;
}

CELLAR_PRIVATE resp_sub *resp_sub_find(const resp_client *c, resp_kind kind,
                                       const cellar_bytes *name)
{
    const resp_channel *ch = resp_channel_find(c->of, kind, name);
    return ch != NULL ? resp_sub_of(c, ch) : NULL;
}

static void resp_sub_counted(resp_client *c, resp_kind kind, uint32_t n)
{
    cellar_resp *r = c->of;
    c->sub_count[kind] += n;
    if (kind == RESP_PREFIX) { return; } /* no signal reaches it */
    base_store_rel(&r->sub_count, base_load_rlx(&r->sub_count) + n);
    if (c->sub_count[RESP_CHANNEL] + c->sub_count[RESP_PATTERN] != 0) {
        c->flags |= RESP_C_SUBSCRIBED;
    } else {
        c->flags &= ~RESP_C_SUBSCRIBED;
    }
}

CELLAR_PRIVATE bool resp_sub_add(resp_client *c, resp_kind kind, const cellar_bytes *name)
{
    cellar_resp *r = c->of;
    resp_channel *ch = resp_channel_need(r, kind, name);
    if (ch == NULL) { return false; }
    if (resp_sub_of(c, ch) != NULL) { return true; }
    resp_sub *s = base_alloc(&r->obj.account, BASE_MOD_STORE, sizeof *s, NULL);
    if (s == NULL) {
        resp_channel_drop(r, ch);
        return false;
    }
    if (c->subs[kind] == NULL) { c->subs_end[kind] = &c->subs[kind]; }
    *s = (resp_sub){ .client = c, .channel = ch, .at = ch->end, .client_at = c->subs_end[kind] };
    *ch->end = *c->subs_end[kind] = s;
    ch->end = &s->next;
    c->subs_end[kind] = &s->client_next;
    ch->count++;
    c->sub_bytes += resp_sub_bytes(ch->len);
    resp_sub_counted(c, kind, 1);
    return true;
}

CELLAR_PRIVATE void resp_sub_end(resp_sub *s)
{
    resp_client *c = s->client;
    resp_channel *ch = s->channel;
    *s->at = s->next;
    if (s->next != NULL) { s->next->at = s->at; } else { ch->end = s->at; }
    *s->client_at = s->client_next;
    if (s->client_next != NULL) {
        s->client_next->client_at = s->client_at;
    } else {
        c->subs_end[ch->kind] = s->client_at;
    }
    ch->count--;
    c->sub_bytes -= resp_sub_bytes(ch->len);
    resp_sub_counted(c, ch->kind, UINT32_MAX); /* - 1 */
    base_free(&c->of->obj.account, BASE_MOD_STORE, s, sizeof *s);
    resp_channel_drop(c->of, ch);
}

CELLAR_PRIVATE void resp_unsubscribe_all(resp_client *c)
{
    for (int kind = 0; kind <= RESP_PATTERN; kind++) {
        while (c->subs[kind] != NULL) { resp_sub_end(c->subs[kind]); }
    }
}

/* ---- messages to clients ---- */

/* Write a message, whatever CLIENT REPLY says. One of EXEC to its own client is no part of its
 * reply. */
static void resp_message(const resp_sub *s, const cellar_bytes *channel,
                         const cellar_bytes *message)
{
    resp_client *to = s->client;
    const bool pattern = s->channel->kind == RESP_PATTERN;
    const uint32_t muted = to->flags & RESP_C_MUTED;
    const bool own = (to->flags & RESP_C_IN_EXEC) != 0;
    const resp_out reply = own ? resp_out_take(to) : (resp_out){ .first = NULL };
    if (own) { resp_out_add(to, to->of->behind); }
    to->flags &= ~muted;
    resp_push(to, pattern ? 4 : 3);
    resp_bulk_text(to, pattern ? "pmessage" : "message");
    if (pattern) { resp_bulk_copy(to, s->channel->name, s->channel->len); }
    resp_bulk_copy(to, channel->data, channel->len);
    resp_bulk_copy(to, message->data, message->len);
    to->flags |= muted;
    if (own) {
        to->of->behind = resp_out_take(to);
        resp_out_add(to, reply);
    }
    resp_wake(to);
}

/* Send a message to the subscriptions of a channel or pattern. Return their number. */
static uint64_t resp_message_all(const resp_channel *ch, const cellar_bytes *channel,
                                 const cellar_bytes *message)
{
    uint64_t sent = 0;
    for (const resp_sub *s = ch != NULL ? ch->first : NULL; s != NULL; s = s->next) {
        if (s->client->flags & (RESP_C_CLOSE | RESP_C_BROKEN)) { continue; }
        resp_message(s, channel, message);
        sent++;
    }
    return sent;
}

CELLAR_PRIVATE bool resp_pattern_matches(const cellar_bytes *pattern, const void *name, size_t len)
{
    return (len != 0 || pattern->len == 0) &&
           base_glob_match(pattern->data, pattern->len, name, len);
}

/* Send a message to all subscribers among the clients. */
static uint64_t resp_deliver(cellar_resp *r, const cellar_bytes *channel,
                             const cellar_bytes *message)
{
    const resp_channels *patterns = &r->channels[RESP_PATTERN];
    uint64_t sent = resp_message_all(resp_channel_find(r, RESP_CHANNEL, channel), channel, message);
    for (uint32_t i = 0; patterns->count != 0 && i < patterns->chains; i++) {
        for (const resp_channel *p = patterns->chain[i]; p != NULL; p = p->next) {
            const cellar_bytes pattern = { p->name, p->len };
            if (resp_pattern_matches(&pattern, channel->data, channel->len)) {
                sent += resp_message_all(p, channel, message);
            }
        }
    }
    (void)base_add_rlx(&r->count[RESP_COUNT_messages], sent);
    return sent;
}

/* ---- signals ---- */

/* Take over a signal of any thread. The signal of PUBLISH is the one with the bytes of the port. */
static void resp_bridge(const char *topic, const void *data, size_t len, void *ctx)
{
    cellar_resp *r = ctx;
    if (topic == r->topic && data == r->topic_data) { return; }
    if (base_load_acq(&r->sub_count) == 0) { return; }
    const size_t channel_len = strlen(topic);
    const uint64_t bytes = sizeof(resp_signal) + channel_len + (uint64_t)len;
    const uint64_t before = base_add_rlx(&r->inbox_bytes, bytes);
    resp_signal *s = NULL;
    const uint64_t most = BASE_MIN(RESP_SIGNALS_BYTES, base_load_rlx(&r->share) / 4);
    if (bytes <= most && before <= most - bytes) {
        s = base_alloc(&r->obj.account, BASE_MOD_STORE, (size_t)bytes, NULL);
    }
    if (s == NULL) {
        (void)base_sub_rlx(&r->inbox_bytes, bytes);
        (void)base_add_rlx(&r->count[RESP_COUNT_signals_dropped], 1u);
        return;
    }
    s->channel_len = channel_len;
    s->len = len;
    memcpy(s->bytes, topic, channel_len);
    if (len > 0) { memcpy(s->bytes + channel_len, data, len); }
    resp_signal *below;
    do {
        s->next = below = base_load_rlx(&r->inbox);
    } while (!base_cas_ar(&r->inbox, below, s)); /* from here on s may be freed */
    if (below == NULL) { base_net_ring(r->bell); }
}

/* End of the subscription, by the port or by a close of the pool: no call of the bridge runs. */
static void resp_bridge_gone(void *ctx)
{
    cellar_resp *r = ctx;
    base_store_rel(&r->bridged, 0u);
}

/* Call the handlers of the process. Return their number. */
static uint64_t resp_emit(cellar_resp *r, const cellar_bytes *channel, const cellar_bytes *message)
{
    size_t called = 0;
    if (base_load_acq(&r->bridged) == 0 || channel->len == 0 || channel->len >= sizeof r->topic ||
        memchr(channel->data, '\0', channel->len) != NULL) {
        return 0;
    }
    memcpy(r->topic, channel->data, channel->len);
    r->topic[channel->len] = '\0';
    r->topic_data = message->data;
    (void)cellar_signal_emit(r->opts.pool, r->topic, message->data, message->len, &called);
    return called > 0 ? called - 1 : 0; /* without the bridge */
}

CELLAR_PRIVATE uint64_t resp_publish(cellar_resp *r, const cellar_bytes *channel,
                                     const cellar_bytes *message)
{
    const uint64_t sent = resp_deliver(r, channel, message);
    return sent + resp_emit(r, channel, message);
}

static void resp_signal_free(cellar_resp *r, resp_signal *s)
{
    const size_t bytes = sizeof *s + s->channel_len + s->len;
    (void)base_sub_rlx(&r->inbox_bytes, (uint64_t)bytes);
    base_free(&r->obj.account, BASE_MOD_STORE, s, bytes);
}

/* Move the signals of the inbox to the end of `heard`, the oldest first. */
static void resp_inbox_take(cellar_resp *r)
{
    resp_signal *sorted = NULL, **end = &r->heard;
    if (base_load_rlx(&r->inbox) == NULL) { return; }
    for (resp_signal *s = base_xchg_ar(&r->inbox, NULL), *next; s != NULL; s = next) {
        next = s->next;
        s->next = sorted;
        sorted = s;
    }
    while (*end != NULL) { end = &(*end)->next; }
    *end = sorted;
}

CELLAR_PRIVATE void resp_hear(cellar_resp *r)
{
    if (r->heard == NULL) { resp_inbox_take(r); }
    if (r->heard == NULL) { return; }
    const uint64_t since_ns = base_tsc_ns();
    do {
        resp_signal *s = r->heard;
        const cellar_bytes channel = { s->bytes, s->channel_len };
        const cellar_bytes message = { s->bytes + s->channel_len, s->len };
        r->heard = s->next;
        (void)resp_deliver(r, &channel, &message);
        resp_signal_free(r, s);
        if (r->heard == NULL) { resp_inbox_take(r); }
    } while (r->heard != NULL && base_tsc_ns() - since_ns < RESP_HEAR_NS);
}

/* ---- open and close ---- */

CELLAR_PRIVATE cellar_err resp_channels_open(cellar_resp *r, struct cellar_pool *pool)
{
    if (pool == NULL) { return CELLAR_OK; }
    base_store_rlx(&r->bridged, 1u);
    const cellar_err err = cellar_signal_subscribe(pool, "*", CELLAR_BUS_GLOB, resp_bridge, r,
                                                   resp_bridge_gone, &r->bridge_id);
    if (err != CELLAR_OK) {
        base_store_rlx(&r->bridged, 0u);
        return base_open_fail(err, 0, "cellar_resp_open: the pool refused a subscriber");
    }
    return CELLAR_OK;
}

CELLAR_PRIVATE void resp_channels_close(cellar_resp *r)
{
    if (base_load_rlx(&r->bridged) != 0) {
        (void)cellar_signal_unsubscribe(r->opts.pool, r->bridge_id);
        while (base_load_acq(&r->bridged) != 0) {
            (void)sync_wait(&r->bridged, 1, base_now_ns() + RESP_BRIDGE_WAIT_NS);
        }
    }
    for (resp_inbox_take(r); r->heard != NULL;) {
        resp_signal *s = r->heard;
        r->heard = s->next;
        resp_signal_free(r, s);
    }
    for (int kind = 0; kind < RESP_KINDS; kind++) {
        resp_channels *t = &r->channels[kind];
        BASE_ASSERT(t->count == 0);
        base_free(&r->obj.account, BASE_MOD_STORE, t->chain, t->chains * sizeof *t->chain);
    }
}

BASE_SIZE_END

