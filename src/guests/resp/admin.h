/* SPDX-License-Identifier: MIT
 *
 * admin: pages for people and monitors, over HTTP. */
#ifndef RESP_ADMIN_H
#define RESP_ADMIN_H

#include "resp/parse.h"

#define RESP_ADMIN_WAIT_MS 30000 /* a client asks, and reads the answer, within this time */
#define RESP_HTTP_FULL \
    "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

/* Return when a client of the pages is closed unless it asks or reads. */
CELLAR_PRIVATE int64_t resp_admin_end_ms(const resp_client *c);
/* Make a place for a new client of the pages. If all are taken, close the one that has been silent
 * longest and has no answer to read. If there is none, close the oldest one for a client of this
 * machine (`local`). False: no place. */
CELLAR_PRIVATE bool resp_admin_room(cellar_resp *r, bool local);
/* Answer the request that begins at `p`. Return MORE, or EMPTY with *used bytes. */
CELLAR_PRIVATE resp_parsed resp_admin(resp_client *c, const unsigned char *p, size_t n,
                                      size_t *used);

#endif
