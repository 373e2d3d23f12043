/* SPDX-License-Identifier: MIT
 *
 * admin: pages for people and monitors, over HTTP. */
#ifndef RESP_ADMIN_H
#define RESP_ADMIN_H

#include "resp/parse.h"

#define RESP_ADMIN_WAIT_MS 30000 /* a client asks, and reads the answer, within this time */
#define RESP_HTTP_FULL \
    "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

/* Answer the request that begins at `p`. Return MORE, or EMPTY with *used bytes. */
CELLAR_PRIVATE resp_parsed resp_admin(resp_client *c, const unsigned char *p, size_t n,
                                      size_t *used);

#endif
