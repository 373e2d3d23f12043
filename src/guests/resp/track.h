/* SPDX-License-Identifier: MIT
 *
 * track: clients that hear of each change of the shared store (CLIENT TRACKING with BCAST). */
#ifndef RESP_TRACK_H
#define RESP_TRACK_H

#include "resp/reply.h"

/* Note a change of a key. `by` is the client of a plain command, which may not want to hear of it;
 * NULL: a function, an eviction, the end of a life. */
CELLAR_PRIVATE void resp_changed(cellar_resp *r, const resp_client *by, cellar_bytes key);
/* Note that all keys may have changed. */
CELLAR_PRIVATE void resp_changed_all(cellar_resp *r);
/* Write the messages about all noted changes. No reply is incomplete now. */
CELLAR_PRIVATE void resp_announce(cellar_resp *r);

/* Let another client hear in the place of this one; NULL: none. */
CELLAR_PRIVATE void resp_redirect_set(resp_client *c, resp_client *to);
/* End a subscription to a prefix. */
CELLAR_PRIVATE void resp_prefix_end(resp_sub *s);
/* End the tracking of a client. */
CELLAR_PRIVATE void resp_tracking_off(resp_client *c);
/* End also that which is redirected to it. */
CELLAR_PRIVATE void resp_tracking_end(resp_client *c);

#endif
