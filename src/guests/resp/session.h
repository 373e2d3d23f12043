/* SPDX-License-Identifier: MIT
 *
 * session: the password of a port. */
#ifndef RESP_SESSION_H
#define RESP_SESSION_H

#include "resp/types.h"

/* Check the password that a client gave; user_ok: for a user that exists. Hold the answer to a
 * wrong one, and to each during the delay of its address. */
CELLAR_PRIVATE bool resp_password_ok(resp_client *c, const cellar_bytes *word, bool user_ok);

#endif
