/* SPDX-License-Identifier: MIT
 *
 * control: the control keys of the shared store, which a flood of values must not evict.
 *
 * A key is one if `~` stands in front, or behind its first `:`. */
#ifndef RESP_CONTROL_H
#define RESP_CONTROL_H

#include "resp/reply.h"

/* A control key, one allocation. */
typedef struct resp_control resp_control;

CELLAR_PRIVATE bool resp_is_control(cellar_bytes key);
/* Find a key that has not expired; a tag is the newest one then. NULL: none. */
CELLAR_PRIVATE resp_control *resp_control_find(cellar_resp *r, cellar_bytes key);
CELLAR_PRIVATE cellar_bytes resp_control_value(const resp_control *k);
/* Return a number from 1 that each write and each new TTL of a key changes. */
CELLAR_PRIVATE uint64_t resp_control_version(const resp_control *k);
/* Return the life that a key has left, from 1; CELLAR_TTL_NONE: no end. */
CELLAR_PRIVATE int64_t resp_control_ttl(const cellar_resp *r, const resp_control *k);
/* Return the `process` of the client that wrote a key last; 0: not known. */
CELLAR_PRIVATE int64_t resp_control_writer(const resp_control *k);
/* Write a value. ttl_ms from 1, or CELLAR_TTL_NONE. Return OK or E_SPACE: its part is full, and
 * nothing has changed. */
CELLAR_PRIVATE cellar_err resp_control_set(cellar_resp *r, cellar_bytes key, cellar_bytes value,
                                           int64_t ttl_ms, int64_t writer);
CELLAR_PRIVATE void resp_control_touch(cellar_resp *r, resp_control *k, int64_t ttl_ms);
CELLAR_PRIVATE void resp_control_delete(cellar_resp *r, resp_control *k);
CELLAR_PRIVATE void resp_control_clear(cellar_resp *r);
/* Delete some keys that have expired. A round calls it. */
CELLAR_PRIVATE void resp_control_sweep(cellar_resp *r);
CELLAR_PRIVATE uint64_t resp_control_count(const cellar_resp *r);
/* Return their bytes. Any thread. */
CELLAR_PRIVATE uint64_t resp_control_used(const cellar_resp *r);

#endif
