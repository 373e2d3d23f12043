/* SPDX-License-Identifier: MIT
 *
 * channel: subscriptions of clients to channels and patterns, and signals of a pool on their way to
 * the subscribers. */
#ifndef RESP_CHANNEL_H
#define RESP_CHANNEL_H

#include "resp/reply.h"

/* Return whether a client has subscriptions. */
BASE_INLINE bool resp_is_subscribed(const resp_client *c)
{
    return (c->flags & RESP_C_SUBSCRIBED) != 0;
}

/* Return the bytes of a subscription that is the only one of its channel. */
BASE_INLINE size_t resp_sub_bytes(size_t name_len)
{
    return sizeof(resp_sub) + sizeof(resp_channel) + name_len;
}

/* Prepare the channels, and hear the signals of a pool. pool NULL: clients only. */
CELLAR_PRIVATE cellar_err resp_channels_open(cellar_resp *r, struct cellar_pool *pool);
/* End the subscription, and free what is left. No client is left. */
CELLAR_PRIVATE void resp_channels_close(cellar_resp *r);

/* Return the subscription of a client; NULL: there is none. */
CELLAR_PRIVATE resp_sub *resp_sub_find(const resp_client *c, resp_kind kind,
                                       const cellar_bytes *name);
/* Subscribe a client, unless it is subscribed. False: no memory. */
CELLAR_PRIVATE bool resp_sub_add(resp_client *c, resp_kind kind, const cellar_bytes *name);
/* End a subscription. */
CELLAR_PRIVATE void resp_sub_end(resp_sub *s);
CELLAR_PRIVATE void resp_unsubscribe_all(resp_client *c);
/* Return a channel that has subscribers; NULL: there is none. */
CELLAR_PRIVATE const resp_channel *resp_channel_find(const cellar_resp *r, resp_kind kind,
                                                     const cellar_bytes *name);

/* Return whether a pattern matches the name of a channel. As in Redis, `*` does not match the empty
 * name. */
CELLAR_PRIVATE bool resp_pattern_matches(const cellar_bytes *pattern, const void *name, size_t len);

/* Send a message to the subscribers among the clients, and emit it as a signal of the pool. Return
 * the number of messages sent and of handlers called. */
CELLAR_PRIVATE uint64_t resp_publish(cellar_resp *r, const cellar_bytes *channel,
                                     const cellar_bytes *message);

/* Return whether signals wait for resp_hear. */
BASE_INLINE bool resp_hears(const cellar_resp *r) { return r->heard != NULL; }
/* Send the signals that the process has emitted, for up to a millisecond. */
CELLAR_PRIVATE void resp_hear(cellar_resp *r);

#endif
