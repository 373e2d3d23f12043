/* SPDX-License-Identifier: MIT
 *
 * call: the public calls on one key. */
#ifndef LIMIT_CALL_H
#define LIMIT_CALL_H

#include "limit/types.h"

/* Check by rules of the call. `call`: the public function, for the text of a refusal. */
CELLAR_PRIVATE cellar_err limit_check_own(cellar_limiter *l, const char *call, uint64_t fp,
                                          uint64_t now_ns, const cellar_rule *rules,
                                          uint32_t count, limit_op *op);
/* Give back `units` of a used ticket. */
CELLAR_PRIVATE cellar_err limit_ticket_give(cellar_limiter *l, limit_ticket *t, uint64_t units);

#endif
