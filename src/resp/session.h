/* SPDX-License-Identifier: MIT
 *
 * session: the password of a port. */
#ifndef RESP_SESSION_H
#define RESP_SESSION_H

#include "resp/types.h"

/* Compare a word with the password, in constant time. */
CELLAR_PRIVATE bool resp_password_ok(const cellar_resp *r, const cellar_bytes *word);
/* Note a wrong password: hold the client, and refuse others after too many. */
CELLAR_PRIVATE void resp_password_failed(resp_client *c);

#endif
