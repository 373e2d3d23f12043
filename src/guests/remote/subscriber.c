/* SPDX-License-Identifier: MIT
 *
 * subscriber: the connection that receives invalidations.
 *
 * WALK       reply to HELLO -> acknowledgement of SUBSCRIBE -> messages. Messages may come before
 *            the acknowledgement. The payload is an array of keys, or nil: a flush. */
#include <string.h>

#include "remote/reason.h"

/* Hand over one key: a marker of this link, or a key for the layer above. */
static void remote_subscriber_key(remote_link *l, const remote_reply *key)
{
    if (key->type != REMOTE_STRING) {
        remote_break(l, REMOTE_WHY_PROTOCOL, "an invalidation has no key");
        return;
    }
    if (key->len >= l->marker_prefix_len &&
        memcmp(key->text, l->marker_key, l->marker_prefix_len) == 0) {
        remote_marker_heard(l, key->text, key->len);
    } else {
        l->e.heard(l->e.ctx, key->text, key->len);
    }
}

static void remote_subscriber_message(remote_link *l, const remote_reply *payload)
{
    if (payload->type == REMOTE_NIL) {
        l->e.heard_flush(l->e.ctx);
    } else if (payload->type == REMOTE_ARRAY) {
        for (const remote_reply *key = payload->first; key != NULL && l->why == REMOTE_WHY_NONE;
             key = key->next) {
            remote_subscriber_key(l, key);
        }
    } else if (payload->type == REMOTE_STRING) {
        remote_subscriber_key(l, payload);
    } else {
        remote_break(l, REMOTE_WHY_PROTOCOL, "an invalidation has another form");
    }
}

/* Take a refusal of HELLO or SUBSCRIBE. */
static void remote_subscriber_error(remote_link *l, const remote_reply *reply)
{
    const remote_why why = remote_why_of(reply);
    if (why == REMOTE_WHY_NOPERM && l->subscriber_step != 0) {
        remote_lacks(l, memmem(reply->text, reply->len, "channel", 7) != NULL
                            ? "&__redis__:invalidate" : "+subscribe");
        l->subscribed = true;
        remote_handshake_done(l);
        return;
    }
    remote_break_reply(l, why != REMOTE_WHY_NONE ? why : REMOTE_WHY_REFUSED, "the server answers",
                       reply);
}

CELLAR_PRIVATE void remote_take_message(void *link, const remote_reply *reply)
{
    remote_link *l = link;
    if (l->why != REMOTE_WHY_NONE) { return; }
    if (l->subscriber_step == 0) {
        remote_hello_reply(l, reply, true);
        l->subscriber_step = 1;
        return;
    }
    if (reply->type == REMOTE_ERROR) {
        remote_subscriber_error(l, reply);
        return;
    }
    const remote_reply *kind = reply->type == REMOTE_ARRAY ? reply->first : NULL;
    const remote_reply *channel = kind != NULL ? kind->next : NULL;
    const bool ours = reply->count == 3 && remote_is_text(channel, "__redis__:invalidate");
    if (ours && remote_is_text(kind, "message")) {
        remote_subscriber_message(l, channel->next);
    } else if (ours && remote_is_text(kind, "subscribe")) {
        l->subscribed = true;
        remote_handshake_done(l);
    } else {
        remote_break(l, REMOTE_WHY_PROTOCOL, "a message of the server has another form");
    }
}
