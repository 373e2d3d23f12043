/* SPDX-License-Identifier: MIT
 *
 * client: the list of clients: add, remove, their state at the start of a connection. */
#ifndef RESP_CLIENT_H
#define RESP_CLIENT_H

#include "resp/queue.h"

/* Make a client for a connected socket and watch it. flags: RESP_C_UNIX, RESP_C_HTTP; peer,
 * address: as in resp_client. NULL: no memory or no slot; the socket stays open. */
CELLAR_PRIVATE resp_client *resp_client_add(cellar_resp *r, int fd, uint32_t flags, uint64_t peer,
                                            const char *address);
/* Log that the certificate of the port is not valid now, once for each certificate. */
CELLAR_PRIVATE void resp_stale_log(cellar_resp *r);
/* Give back the memory of a value that a client sends, unless a set took it. */
CELLAR_PRIVATE void resp_place_drop(resp_client *c);
/* Free the part of a request that a client has sent. */
CELLAR_PRIVATE void resp_in_drop(resp_client *c);
/* Read once. Return bytes, 0 at the end, or a negative errno. */
BASE_INLINE ssize_t resp_client_recv(resp_client *c, void *to, size_t room)
{
    return c->tls != NULL ? tls_recv(c->tls, to, room) : base_net_recv(c->fd, to, room);
}
/* Return whether the TLS handshake of a client goes on. */
BASE_INLINE bool resp_client_shakes(const resp_client *c)
{
    return c->tls != NULL && !tls_is_shaken(c->tls);
}
/* Tell the peer that nothing follows. */
CELLAR_PRIVATE void resp_client_bye(resp_client *c);
/* Close the socket and free the client. */
CELLAR_PRIVATE void resp_client_free(resp_client *c);
/* Give a client the state of a new connection: RESET. The name of its library stays. */
CELLAR_PRIVATE void resp_client_reset(resp_client *c);
/* Copy a text without blanks and control characters, of up to cap - 1 bytes. False: it is none. */
CELLAR_PRIVATE bool resp_client_text(char *to, size_t cap, const cellar_bytes *text);
/* Name a client. False: not a name. */
CELLAR_PRIVATE bool resp_client_name(resp_client *c, const cellar_bytes *name);
/* Return the client of Redis with an id; NULL: none. */
CELLAR_PRIVATE resp_client *resp_client_by_id(const cellar_resp *r, int64_t id);
/* Mark a client as the most recently active one. */
CELLAR_PRIVATE void resp_client_active(resp_client *c);
/* Count a client among those with a deadline of their own, or not any more. */
CELLAR_PRIVATE void resp_client_timed(resp_client *c, bool timed);

#endif
