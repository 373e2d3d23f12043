/* SPDX-License-Identifier: MIT
 *
 * track: clients that hear of each change of the shared store (CLIENT TRACKING with BCAST). */
#ifndef RESP_TRACK_H
#define RESP_TRACK_H

#include <string.h>

#include "base/num.h"
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
#define RESP_ERR_PREFIX "ERR Prefix '%.*s' overlaps with %s prefix '%.*s'. Prefixes for a single " \
                        "client must not overlap."

/* Return whether one of two prefixes begins with the other. */
BASE_INLINE bool resp_prefixes_meet(const cellar_bytes *a, const cellar_bytes *b)
{
    const size_t len = BASE_MIN(a->len, b->len);
    return len == 0 || memcmp(a->data, b->data, len) == 0;
}

/* Return whether a prefix meets no prefix of a client. False: an error was written. */
CELLAR_PRIVATE bool resp_prefix_free(resp_client *c, const cellar_bytes *prefix);
/* Add a prefix of keys to those of a tracking client. False: an error was written. */
CELLAR_PRIVATE bool resp_prefix_add(resp_client *c, const cellar_bytes *prefix);
CELLAR_PRIVATE void resp_prefix_end(resp_sub *s);
/* End the tracking of a client. */
CELLAR_PRIVATE void resp_tracking_off(resp_client *c);
/* End also that which is redirected to it. */
CELLAR_PRIVATE void resp_tracking_end(resp_client *c);

#endif
