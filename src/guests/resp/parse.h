/* SPDX-License-Identifier: MIT
 *
 * parse: requests from bytes. */
#ifndef RESP_PARSE_H
#define RESP_PARSE_H

#include "resp/types.h"

typedef enum resp_parsed {
    RESP_PARSE_MORE,   /* the request is not complete; call again with more bytes */
    RESP_PARSE_OK,     /* *argc arguments in `argv` of the port; *used bytes */
    RESP_PARSE_EMPTY,  /* nothing to run; *used bytes */
    RESP_PARSE_BAD,    /* broken: `refusal` of the port is the reply, then close the connection */
    RESP_PARSE_FOREIGN /* as BAD; the line is of another protocol */
} resp_parsed;

/* Parse the request that begins at `p`. The client keeps how far an incomplete request was scanned:
 * the next call gets the same bytes and more behind them. Arguments point into `p`; an inline
 * request is changed in place. */
CELLAR_PRIVATE resp_parsed resp_parse(resp_client *c, unsigned char *p, size_t n, uint32_t *argc,
                                      size_t *used);
/* Give the array of arguments back if it is larger than usual. */
CELLAR_PRIVATE void resp_argv_trim(cellar_resp *r);

#endif
