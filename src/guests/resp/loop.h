/* SPDX-License-Identifier: MIT
 *
 * loop: one round of a port. */
#ifndef RESP_LOOP_H
#define RESP_LOOP_H

#include "resp/types.h"

/* Wait for events at most timeout_ms (-1: no limit), and serve. Return OK, PENDING or E_IO. */
CELLAR_PRIVATE cellar_err resp_round(cellar_resp *r, int timeout_ms);
/* Watch a listener, or stop: with no descriptor left, accept would fail again and again. */
CELLAR_PRIVATE bool resp_listen_watch(cellar_resp *r, bool on);

#endif
