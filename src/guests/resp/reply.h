/* SPDX-License-Identifier: MIT
 *
 * reply: write replies into the output of a client.
 *
 * INVARIANTS Each command writes exactly one reply: a leaf, or an aggregate and then its elements.
 *            resp_map(c, n) announces n pairs, 2n elements follow.
 *            Without memory for a block the client becomes BROKEN, later pieces are dropped, and
 *            the loop closes the client: a command need not look.
 *            For a client of RESP2 a map and a set are arrays, a double and a verbatim text are
 *            bulk texts, a boolean is 0 or 1, and a push is an array. */
#ifndef RESP_REPLY_H
#define RESP_REPLY_H

#include "resp/types.h"

#define RESP_OOM "OOM command not allowed when used memory > 'maxmemory'."

/* Add to a figure of the port. */
BASE_INLINE void resp_add(cellar_resp *r, resp_count which, uint64_t n)
{
    base_store_rlx(&r->count[which], base_load_rlx(&r->count[which]) + n);
}

/* Add bytes as they are. */
CELLAR_PRIVATE void resp_put(resp_client *c, const void *data, size_t len);
CELLAR_PRIVATE void resp_ok(resp_client *c);
/* Write +text. The text is without CR and LF. */
CELLAR_PRIVATE void resp_simple(resp_client *c, const char *text);
/* Write -text. The first word is the kind: "ERR", "WRONGTYPE". CR and LF become blanks. */
CELLAR_PRIVATE void resp_error(resp_client *c, const char *format, ...) BASE_PRINTF(2, 3);
/* Write the error of a request that does not run: EXEC of an open transaction aborts. */
CELLAR_PRIVATE void resp_refuse(resp_client *c, const char *format, ...) BASE_PRINTF(2, 3);
CELLAR_PRIVATE void resp_int(resp_client *c, int64_t n);
BASE_SPARE CELLAR_PRIVATE void resp_bool(resp_client *c, bool yes);
/* Write bytes as a bulk; a long one without room is the error -OOM. */
CELLAR_PRIVATE void resp_bulk(resp_client *c, const void *data, size_t len);
/* Write bytes as a bulk; without room the client is closed. */
CELLAR_PRIVATE void resp_bulk_copy(resp_client *c, const void *data, size_t len);
CELLAR_PRIVATE void resp_bulk_text(resp_client *c, const char *text);
/* Write the digits of a number as a bulk. */
BASE_SPARE CELLAR_PRIVATE void resp_bulk_int(resp_client *c, int64_t n);
CELLAR_PRIVATE void resp_null(resp_client *c);
CELLAR_PRIVATE void resp_null_array(resp_client *c);
CELLAR_PRIVATE void resp_array(resp_client *c, uint64_t n);
CELLAR_PRIVATE void resp_map(resp_client *c, uint64_t n);
CELLAR_PRIVATE void resp_set(resp_client *c, uint64_t n);
BASE_SPARE CELLAR_PRIVATE void resp_push(resp_client *c, uint64_t n);
BASE_SPARE CELLAR_PRIVATE void resp_double(resp_client *c, double v);
/* Write a pair of a map. */
CELLAR_PRIVATE void resp_pair_int(resp_client *c, const char *name, int64_t v);
CELLAR_PRIVATE void resp_pair_text(resp_client *c, const char *name, const char *v);
/* Write a text for people: `kind` is three letters, "txt". */
CELLAR_PRIVATE void resp_verbatim(resp_client *c, const char *kind, const void *data, size_t len);

/* Return room for a bulk of up to `cap` bytes, filled by the caller in place; NULL: no memory.
 * Nothing is written before resp_bulk_commit with len <= cap; without a commit
 * nothing has changed. No other reply function comes between. */
CELLAR_PRIVATE void *resp_bulk_reserve(resp_client *c, size_t cap);
CELLAR_PRIVATE void resp_bulk_commit(resp_client *c, size_t len);
/* Write the error for a code of the library, as Redis words it where Redis has one. E_CLOSED makes
 * the next command open the namespace again. */
CELLAR_PRIVATE void resp_fail(resp_client *c, cellar_err err);

/* Let the loop look at a client in this step: it has output, or it ends. */
CELLAR_PRIVATE void resp_wake(resp_client *c);
/* Chain the clients of Redis with a flag by chain_next. The list of all clients changes while they
 * are written to: room for a reply may send those of others. */
CELLAR_PRIVATE resp_client *resp_chain(cellar_resp *r, uint32_t flag);
/* Take all replies out of the output: what is written now stands in an output of its own. So an
 * array can be written before its length is known. */
BASE_SPARE CELLAR_PRIVATE resp_out resp_out_take(resp_client *c);
/* Add replies to the end of the output. */
BASE_SPARE CELLAR_PRIVATE void resp_out_add(resp_client *c, resp_out part);
/* Make an empty block with room for `bytes`. NULL: no memory. */
CELLAR_PRIVATE resp_block *resp_block_new(cellar_resp *r, size_t bytes);
CELLAR_PRIVATE void resp_block_free(cellar_resp *r, resp_block *b);
/* Write a bulk to a block with room for len + RESP_BULK_MORE bytes. */
CELLAR_PRIVATE void resp_block_bulk(resp_block *b, const void *data, size_t len);
#define RESP_BULK_MORE 15u
/* Free the block behind `last` that resp_bulk_reserve appended, if any; last NULL: the first. */
CELLAR_PRIVATE void resp_bulk_cancel(resp_client *c, resp_block *last);
/* Append a block to the output. */
CELLAR_PRIVATE void resp_block_link(resp_client *c, resp_block *b);
/* Give back one use of a pin. */
CELLAR_PRIVATE void resp_pin_free(cellar_resp *r, resp_pin *pin);
#define RESP_PIN_TEXT ((size_t)15) /* bytes of a block with a pin: "$", 10 digits, CR LF CR LF */
/* Add the bytes of blocks of resp_block_new, and free the blocks when they are sent. */
CELLAR_PRIVATE void resp_put_blocks(resp_client *c, resp_block *first);
/* Tell the unsent parts of a block, at most RESP_BLOCK_PARTS. Return their number. */
CELLAR_PRIVATE uint16_t resp_block_parts(const resp_block *b, struct iovec *part);
#define RESP_BLOCK_PARTS 3u
/* Move a few unsent bytes out of a usual block: a peer that does not read holds no more. */
CELLAR_PRIVATE void resp_out_trim(resp_client *c);
/* Free all blocks of a client. */
CELLAR_PRIVATE void resp_out_drop(resp_client *c);
/* Take the sent bytes off the output. */
CELLAR_PRIVATE void resp_out_sent(resp_client *c, size_t bytes);
/* Free the blocks that the port keeps. */
CELLAR_PRIVATE void resp_blocks_drop(cellar_resp *r);

#endif
