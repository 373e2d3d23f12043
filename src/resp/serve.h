/* SPDX-License-Identifier: MIT
 *
 * serve: one client in one round. */
#ifndef RESP_SERVE_H
#define RESP_SERVE_H

#include "resp/client.h"

/* Read if `readable`, run requests. */
CELLAR_PRIVATE void resp_serve_run(resp_client *c, bool readable);
/* Send replies, close if it is time. The client may be gone after it. */
CELLAR_PRIVATE void resp_serve_send(resp_client *c);
/* Send replies as far as the socket takes them, unless the client is held or broken. */
CELLAR_PRIVATE void resp_out_send(resp_client *c);
/* Free the part of a request that a client has sent. */
CELLAR_PRIVATE void resp_in_drop(resp_client *c);

#endif
