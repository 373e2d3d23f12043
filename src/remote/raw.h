/* SPDX-License-Identifier: MIT
 *
 * raw: conditional changes of values that clients in other languages write, too. */
#ifndef REMOTE_RAW_H
#define REMOTE_RAW_H

#include "remote/data.h"

/* Store `value` for life_ms if the key has a value with the check `seen`; 0: no value. value NULL:
 * delete the key.
 * returns: OK; CONFLICT: the key has another value. E_SPACE (the server is out of memory), E_IO
 *          (another error of the server), codes of remote_ask: after E_TIMEOUT and E_IO the key may
 *          have changed. Processes hear that, this one too: no journal is needed. */
CELLAR_PRIVATE cellar_err remote_raw_swap(remote_space *s, const remote_name *n, uint64_t seen,
                                          const void *value, size_t value_len, int64_t life_ms);

/* Add to a counter: decimal text, as INCRBY reads and writes it. Its life stays.
 * in:      *number: initial value of a new counter, which lives for life_ms; 0: none is made
 * out:     *number: the sum with OK, the limit with E_RANGE
 * returns: OK; MISS (no counter), E_TYPE (another text or type), E_RANGE (overflow: the counter has
 *          the limit); else as remote_raw_swap */
CELLAR_PRIVATE cellar_err remote_raw_add(remote_space *s, const remote_name *n, int64_t delta,
                                         int64_t *number, int64_t life_ms);

#endif
