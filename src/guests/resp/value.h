/* SPDX-License-Identifier: MIT
 *
 * value: values of the store in replies. */
#ifndef RESP_VALUE_H
#define RESP_VALUE_H

#include "resp/room.h"

/* Write the value of a key as a bulk, copied from the store or sent from a pin; null for MISS and
 * ABSENT; the error of resp_fail for another code. Return the code of cellar_get; E_NOMEM: no room
 * for the value. */
CELLAR_PRIVATE cellar_err resp_bulk_value(resp_client *c, cellar *ns, const void *key,
                                          size_t key_len);

#endif
