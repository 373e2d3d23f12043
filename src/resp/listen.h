/* SPDX-License-Identifier: MIT
 *
 * listen: the sockets on which a port waits for clients. */
#ifndef RESP_LISTEN_H
#define RESP_LISTEN_H

#include "resp/types.h"

/* Bind the sockets that the options of a caller ask for. An error has noted its reason; sockets
 * that are bound stay in `listener`. */
CELLAR_PRIVATE cellar_err resp_listen(cellar_resp *r, const cellar_resp_opts *o);
/* Close the sockets, and remove the socket file if it is still the one of this port. */
CELLAR_PRIVATE void resp_listen_close(cellar_resp *r);
/* Return whether other machines reach this numeric address. False also for one that is no address:
 * *valid tells. */
CELLAR_PRIVATE bool resp_is_public(const char *address, bool *valid);

#endif
