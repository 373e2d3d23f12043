/* SPDX-License-Identifier: MIT
 *
 * shared: the store of the port that processes share: database 0 of a port with shared_bytes.
 *
 * The calls are for the functions of CELLAR.TIER. Plain commands use those of entry.h. */
#ifndef RESP_SHARED_H
#define RESP_SHARED_H

#include "resp/command.h"

#define RESP_CHECK_AT ((size_t)48) /* of the check of an envelope: remote/form.h */
#define RESP_CHECK_LEN ((size_t)8)
enum { RESP_KIND_LEASE = 3, RESP_KIND_COUNTER = 4 }; /* byte 4 of an envelope */
#define RESP_COUNTER_LEN ((size_t)64) /* of the envelope of a counter without tags */
#define RESP_TTL_KEEP (-1) /* of resp_shared_set: the TTL of the present value */

/* Open the store, if the options have one. Return OK or a code of cellar_open. */
CELLAR_PRIVATE cellar_err resp_shared_open(cellar_resp *r, const cellar_resp_config *o,
                                           const cellar_host_config *host);
/* Change its size. E_SPACE: the control keys need more than an eighth of it. Else the code of the
 * store. */
CELLAR_PRIVATE cellar_err resp_shared_resize(cellar_resp *r, uint64_t bytes);
/* Free all of it. No client is left. */
CELLAR_PRIVATE void resp_shared_close(cellar_resp *r);
/* Run what is due: end lives, give memory back. */
CELLAR_PRIVATE void resp_shared_tick(cellar_resp *r);

/* Begin a function. Its first write that needs memory may be refused, later ones are not. */
CELLAR_PRIVATE void resp_shared_begin(resp_client *c);
/* End it, with the right of its reads. */
CELLAR_PRIVATE void resp_shared_end(resp_client *c);
/* Read a value. False: there is none, and *value is empty. *value is valid until the next write or
 * the fourth next read. */
CELLAR_PRIVATE bool resp_shared_get(resp_client *c, cellar_bytes key, cellar_bytes *value);
/* Return the life that a key has left: -1: without an end, -2: no such key. */
CELLAR_PRIVATE int64_t resp_shared_pttl(resp_client *c, cellar_bytes key);
/* Write a value. ttl_ms 0: without an end. False: an error was written. */
CELLAR_PRIVATE bool resp_shared_set(resp_client *c, cellar_bytes key, cellar_bytes value,
                                    int64_t ttl_ms);
/* Delete a key. Return whether it was there. */
CELLAR_PRIVATE bool resp_shared_unlink(resp_client *c, cellar_bytes key);
/* Set the life of a key; 0 and less: delete it. Return whether it was there. */
CELLAR_PRIVATE bool resp_shared_pexpire(resp_client *c, cellar_bytes key, int64_t ttl_ms);

#endif
