/* SPDX-License-Identifier: MIT
 *
 * serve: one client in one round. */
#ifndef RESP_SERVE_H
#define RESP_SERVE_H

#include "resp/room.h"

#define RESP_OUT_WAIT_MS 10000 /* a long reply that stands still ends its client */
#define RESP_SHAKE_MS 5000     /* the TLS handshake of a client ends within this time */
/* Read if `readable`, run requests. */
CELLAR_PRIVATE void resp_serve_run(resp_client *c, bool readable);
/* Send replies, close if it is time. The client may be gone after it. */
CELLAR_PRIVATE void resp_serve_send(resp_client *c);

#endif
