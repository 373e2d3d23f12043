/* SPDX-License-Identifier: MIT
 *
 * track: which client hears of which change.
 *
 * PICTURE    command, function, eviction, end of a life -> resp_changed -> `changes` (bytes)
 *            end of the request -> resp_announce -> one message for each client with its keys
 * INVARIANTS A change is announced before the next request runs: what a client hears is in the
 *            order of the changes, and nothing that was executed later comes before it.
 *            A prefix is a channel of the kind RESP_PREFIX. A client has no two prefixes of which
 *            one begins with the other, so a change is in its message once.
 *            Without memory for the changes the message is nil: all keys may have changed.
 * NOLOOP     Hides the changes by plain commands of the client itself, one by one.
 * LOCKING    None: the thread of the round.
 * LIMITS     A prefix has up to RESP_PREFIX_MAX bytes, a client up to RESP_PREFIXES_MAX of them.
 * NOT HERE   Tracking of the keys that a client has read. */
#include <string.h>

#include "base/num.h"
#include "resp/channel.h"
#include "resp/track.h"

BASE_SIZE_BEGIN

#define RESP_INVALIDATE "__redis__:invalidate"
#define RESP_CHANGES_FIRST ((size_t)4096)
#define RESP_CHANGES_KEPT ((size_t)64 << 10)

/* A change in `changes`; the key follows. */
typedef struct resp_change {
    uint64_t by;   /* id of a client; 0: none */
    size_t len;
} resp_change;

/* ---- changes ---- */

/* Make room in `changes`. False: no memory. */
static bool resp_changes_room(cellar_resp *r, size_t more)
{
    resp_tracking *t = &r->tracking;
    if (t->cap - t->used >= more) { return true; }
    const size_t cap = BASE_MAX(t->cap * 2, BASE_MAX(RESP_CHANGES_FIRST, t->used + more));
    unsigned char *p = base_alloc(&r->obj.account, BASE_MOD_STORE, cap, NULL);
    if (p == NULL) { return false; }
    if (t->used > 0) { memcpy(p, t->changes, t->used); }
    base_free(&r->obj.account, BASE_MOD_STORE, t->changes, t->cap);
    t->changes = p;
    t->cap = cap;
    return true;
}

CELLAR_PRIVATE void resp_changed(cellar_resp *r, const resp_client *by, cellar_bytes key)
{
    resp_tracking *t = &r->tracking;
    const resp_change change = { by != NULL ? by->id : 0, key.len };
    if (t->clients == 0) { return; }
    if (!resp_changes_room(r, sizeof change + key.len)) {
        resp_changed_all(r);
        return;
    }
    memcpy(t->changes + t->used, &change, sizeof change);
    memcpy(t->changes + t->used + sizeof change, key.data, key.len);
    t->used += sizeof change + key.len;
}

CELLAR_PRIVATE void resp_changed_all(cellar_resp *r)
{
    r->tracking.used = 0;
    r->tracking.all = r->tracking.clients != 0;
}

/* Return the change at an offset, and move the offset behind it. */
static resp_change resp_change_at(const resp_tracking *t, size_t *at, cellar_bytes *key)
{
    resp_change change;
    memcpy(&change, t->changes + *at, sizeof change);
    *key = (cellar_bytes){ t->changes + *at + sizeof change, change.len };
    *at += sizeof change + change.len;
    return change;
}

/* ---- messages ---- */

static bool resp_hears_change(const resp_client *c, const resp_change *change)
{
    return !(c->flags & RESP_C_NOLOOP) || change->by != c->id;
}

/* Return the first subscription of clients to a prefix of a key, from a length on. */
static const resp_sub *resp_prefix_next(const cellar_resp *r, cellar_bytes key, size_t *len)
{
    for (size_t n = *len; n <= BASE_MIN(key.len, (size_t)RESP_PREFIX_MAX); n++) {
        if (r->tracking.lengths[n] == 0) { continue; }
        const cellar_bytes prefix = { key.data, n };
        const resp_channel *ch = resp_channel_find(r, RESP_PREFIX, &prefix);
        *len = n + 1;
        if (ch != NULL) { return ch->first; }
    }
    return NULL;
}

/* Return whether a client has a prefix of a key. */
static bool resp_has_prefix(const resp_client *c, cellar_bytes key)
{
    for (const resp_sub *s = c->subs[RESP_PREFIX]; s != NULL; s = s->client_next) {
        const resp_channel *ch = s->channel;
        if (ch->len <= key.len && memcmp(ch->name, key.data, ch->len) == 0) { return true; }
    }
    return false;
}

/* Count the changes of each client. Return the clients that have some. */
static resp_client *resp_changes_count(cellar_resp *r)
{
    const resp_tracking *t = &r->tracking;
    resp_client *first = NULL, **end = &first;
    cellar_bytes key;
    for (size_t at = 0; at < t->used;) {
        const resp_change change = resp_change_at(t, &at, &key);
        size_t len = 0;
        for (const resp_sub *s; (s = resp_prefix_next(r, key, &len)) != NULL;) {
            for (; s != NULL; s = s->next) {
                resp_client *c = s->client;
                if (!resp_hears_change(c, &change)) { continue; }
                if (c->changes++ == 0) {
                    *end = c;
                    end = &c->chain_next;
                    c->chain_next = NULL;
                }
            }
        }
    }
    return first;
}

/* Write the message of a client: its keys, or nil: all keys may have changed. */
static void resp_message_put(resp_client *c, bool all)
{
    const resp_tracking *t = &c->of->tracking;
    const bool redirected = (c->flags & RESP_C_REDIRECT) != 0;
    const uint64_t count = c->changes;
    resp_client *to = redirected ? c->redirect : c;
    cellar_bytes key;
    c->changes = 0;
    if (to == NULL || (to->flags & (RESP_C_CLOSE | RESP_C_BROKEN)) ||
        (to->protocol < 3 && (!redirected || !resp_is_subscribed(to)))) {
        return;
    }
    const uint32_t muted = to->flags & RESP_C_MUTED;
    to->flags &= ~muted;
    if (to->protocol < 3) {
        resp_array(to, 3);
        resp_bulk_text(to, "message");
        resp_bulk_text(to, RESP_INVALIDATE);
    } else {
        resp_push(to, 2);
        resp_bulk_text(to, "invalidate");
    }
    if (!all) {
        resp_array(to, count);
    } else if (to->protocol < 3) {
        resp_null_array(to);
    } else {
        resp_null(to);
    }
    for (size_t at = 0; !all && at < t->used;) {
        const resp_change change = resp_change_at(t, &at, &key);
        if (resp_hears_change(c, &change) && resp_has_prefix(c, key)) {
            resp_bulk_copy(to, key.data, key.len);
        }
    }
    to->flags |= muted;
    resp_add(to->of, RESP_COUNT_messages, 1);
    resp_wake(to);
}

CELLAR_PRIVATE void resp_announce(cellar_resp *r)
{
    resp_tracking *t = &r->tracking;
    if (t->all) {
        t->all = false;
        resp_client *c = resp_chain(r, RESP_C_TRACKING);
        for (; c != NULL; c = c->chain_next) { resp_message_put(c, true); }
    }
    if (t->used == 0) { return; }
    for (resp_client *c = resp_changes_count(r), *next; c != NULL; c = next) {
        next = c->chain_next;
        resp_message_put(c, false);
    }
    t->used = 0;
    if (t->cap <= RESP_CHANGES_KEPT) { return; }
    base_free(&r->obj.account, BASE_MOD_STORE, t->changes, t->cap);
    t->changes = NULL;
    t->cap = 0;
}

/* ---- which client tracks ---- */

CELLAR_PRIVATE void resp_redirect_set(resp_client *c, resp_client *to)
{
    if (c->redirect != NULL) { c->redirect->redirects--; }
    c->redirect = to;
    if (to != NULL) { to->redirects++; }
}

CELLAR_PRIVATE void resp_prefix_end(resp_sub *s)
{
    if (s->channel->count == 1) { s->client->of->tracking.lengths[s->channel->len]--; }
    resp_sub_end(s);
}

CELLAR_PRIVATE void resp_tracking_off(resp_client *c)
{
    if (!(c->flags & RESP_C_TRACKING)) { return; }
    while (c->subs[RESP_PREFIX] != NULL) { resp_prefix_end(c->subs[RESP_PREFIX]); }
    resp_redirect_set(c, NULL);
    c->flags &= ~(RESP_C_TRACKING | RESP_C_NOLOOP | RESP_C_REDIRECT);
    c->of->tracking.clients--;
}

CELLAR_PRIVATE void resp_tracking_end(resp_client *c)
{
    resp_tracking_off(c);
    if (c->redirects == 0) { return; }
    for (resp_client *o = resp_chain(c->of, RESP_C_REDIRECT); o != NULL; o = o->chain_next) {
        if (o->redirect != c) { continue; }
        resp_redirect_set(o, NULL);
        if (o->protocol < 3) { continue; }
        resp_push(o, 2); /* it hears of no change any more */
        resp_bulk_text(o, "tracking-redir-broken");
        resp_int(o, (int64_t)c->id);
        resp_wake(o);
    }
}

BASE_SIZE_END
