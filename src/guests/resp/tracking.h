/* SPDX-License-Identifier: MIT
 *
 * tracking: CLIENT TRACKING. */
#ifndef RESP_TRACKING_H
#define RESP_TRACKING_H

#include "resp/types.h"

/* Run CLIENT TRACKING; argv[2] is ON or OFF. */
CELLAR_PRIVATE void resp_tracking_call(resp_client *c, const cellar_bytes *argv, uint32_t argc);

#endif
