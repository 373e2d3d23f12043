/* SPDX-License-Identifier: MIT
 *
 * room: the share of the budget that clients may hold. */
#ifndef RESP_ROOM_H
#define RESP_ROOM_H

#include "resp/client.h"

/* Read the share of the budget that clients may hold. */
CELLAR_PRIVATE void resp_share_read(cellar_resp *r);
/* Raise the limit of the port by what the store grants, up to the share; close silent clients that
 * hold the share. ctx: the port. False: no room for `bytes`. */
CELLAR_PRIVATE bool resp_room_make(void *ctx, uint64_t bytes);
/* Return whether a part of a request may have `bytes`: replies keep a quarter of the share. */
CELLAR_PRIVATE bool resp_room_in(cellar_resp *r, uint64_t bytes);
/* Return the limit of unread bytes that the port holds for one client. */
CELLAR_PRIVATE uint64_t resp_backlog_max(const cellar_resp *r);
/* Reserve the memory of a long value that a client sends: one share for all of them, or one value
 * that is longer. Return OK; TOOBIG: the value cannot be stored; another code: no room. */
CELLAR_PRIVATE cellar_err resp_place_take(resp_client *c, size_t len);
/* Close the client that has been silent longest among those for which `holds` is true, if that is
 * RESP_STALL_MS. False: there is none. */
CELLAR_PRIVATE bool resp_cut_silent(cellar_resp *r, bool (*holds)(const resp_client *c));
/* Close a client that does not read: drop what it holds. The next round frees it. */
CELLAR_PRIVATE void resp_client_cut(resp_client *c);
/* Give the store back what the port has charged and does not use, if it is more than `keep`. */
CELLAR_PRIVATE void resp_room_return(cellar_resp *r, uint64_t keep);
#define RESP_ROOM_KEPT (UINT64_C(512) << 10)
/* Send replies until the socket takes no more, unless the client is held or broken. */
CELLAR_PRIVATE void resp_out_send(resp_client *c);

#endif
