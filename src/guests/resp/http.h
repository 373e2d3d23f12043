/* SPDX-License-Identifier: MIT
 *
 * http: the head of an HTTP request. */
#ifndef RESP_HTTP_H
#define RESP_HTTP_H

#include "resp/types.h"

typedef struct resp_http {
    bool head;                    /* HEAD: the answer has no body */
    bool keep;                    /* the connection goes on behind the answer */
    cellar_bytes path;            /* without the query */
    cellar_bytes host;            /* with the port */
    cellar_bytes authorization;   /* len 0: none */
    uint64_t body_len;
    bool sized;                   /* body_len was given */
} resp_http;

/* Read the request that begins at `p`, within the limits of `o`. Return 0 if it is not complete:
 * *scan keeps how far it was scanned, and the next call gets the same bytes and more behind them.
 * Return 200 and the request with *used bytes, its texts in `p`; or 400, 405, 413 or 431, and the
 * connection ends. */
CELLAR_PRIVATE int resp_http_read(const unsigned char *p, size_t n, const cellar_resp_config *o,
                                  size_t *scan, size_t *used, resp_http *out);

/* Return whether a text is this word. */
CELLAR_PRIVATE bool resp_http_is(cellar_bytes text, const char *word);

#endif
