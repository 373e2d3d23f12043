/* SPDX-License-Identifier: MIT
 *
 * queue: the requests of an open transaction, and its watched keys. */
#ifndef RESP_QUEUE_H
#define RESP_QUEUE_H

#include "resp/reply.h"

/* Copy a request into the queue of the transaction, and write +QUEUED. */
CELLAR_PRIVATE void resp_queue_add(resp_client *c, const resp_command *cmd,
                                   const cellar_bytes *argv, uint32_t argc);
/* Take the requests off a client. The caller frees each one. */
CELLAR_PRIVATE resp_queued *resp_queue_take(resp_client *c);
CELLAR_PRIVATE void resp_queued_free(cellar_resp *r, resp_queued *q);
/* End the transaction: free its requests and its watched keys. */
CELLAR_PRIVATE void resp_queue_drop(resp_client *c);
CELLAR_PRIVATE void resp_watched_drop(resp_client *c);
/* Copy arguments to `to`, their bytes behind them. */
CELLAR_PRIVATE void resp_args_copy(cellar_bytes *to, const cellar_bytes *argv, uint32_t argc);

#endif
