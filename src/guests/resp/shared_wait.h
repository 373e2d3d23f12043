/* SPDX-License-Identifier: MIT
 *
 * shared_wait: leases that processes wait for, and their end when the owner has died. */
#ifndef RESP_SHARED_WAIT_H
#define RESP_SHARED_WAIT_H

#include "resp/reply.h"

/* Note that a process waits for a lease until its beat ends. False: the owner has died, and the
 * beat has ended. */
CELLAR_PRIVATE bool resp_wait_note(resp_client *c, cellar_bytes beat, cellar_bytes lease,
                                   cellar_bytes token);
/* Look for dead owners, if it is time. A round calls it. */
CELLAR_PRIVATE void resp_wait_look(cellar_resp *r);
CELLAR_PRIVATE void resp_wait_clear(cellar_resp *r);

#endif
