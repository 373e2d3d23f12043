/* SPDX-License-Identifier: MIT
 *
 * client: the list of clients: add, remove, their state at the start of a connection. */
#ifndef RESP_CLIENT_H
#define RESP_CLIENT_H

#include "resp/queue.h"

/* Read the share of the budget that clients may hold. */
CELLAR_PRIVATE void resp_share_read(cellar_resp *r);
/* Raise the limit of the port by what the store grants, up to the share; close silent clients that
 * hold the share. ctx: the port. False: no room for `bytes`. */
CELLAR_PRIVATE bool resp_room_make(void *ctx, uint64_t bytes);
/* Return whether a part of a request may have `bytes`: a quarter of the share is left to replies. */
CELLAR_PRIVATE bool resp_room_in(cellar_resp *r, uint64_t bytes);
/* Return the unread backlog of one client that the port holds. */
CELLAR_PRIVATE uint64_t resp_backlog_max(const cellar_resp *r);
/* Close a client that does not read: drop what it holds. The next round frees it. */
CELLAR_PRIVATE void resp_client_cut(resp_client *c);
/* Give the store back what the port has charged and does not use, if it is more than `keep`. */
CELLAR_PRIVATE void resp_room_return(cellar_resp *r, uint64_t keep);
#define RESP_ROOM_KEPT (UINT64_C(512) << 10)
/* Make a client for a connected socket and watch it. flags: RESP_C_UNIX, RESP_C_HTTP; address:
 * terminated. NULL: no memory or no slot; the socket stays open. */
CELLAR_PRIVATE resp_client *resp_client_add(cellar_resp *r, int fd, uint32_t flags,
                                            const char *address);
/* Close the socket and free the client. */
CELLAR_PRIVATE void resp_client_free(resp_client *c);
/* Give a client the state of a new connection: RESET. The name of its library stays. */
CELLAR_PRIVATE void resp_client_reset(resp_client *c);
/* Copy a text without blanks and control characters, of up to cap - 1 bytes. False: it is none. */
CELLAR_PRIVATE bool resp_client_text(char *to, size_t cap, const cellar_bytes *text);
/* Name a client. False: not a name. */
CELLAR_PRIVATE bool resp_client_name(resp_client *c, const cellar_bytes *name);
/* Mark a client as the most recently active one. */
CELLAR_PRIVATE void resp_client_active(resp_client *c);
/* Count a client among those with a deadline of their own, or not any more. */
CELLAR_PRIVATE void resp_client_timed(resp_client *c, bool timed);

#endif
