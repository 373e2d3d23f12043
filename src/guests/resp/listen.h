/* SPDX-License-Identifier: MIT
 *
 * listen: the sockets on which a port waits for clients. */
#ifndef RESP_LISTEN_H
#define RESP_LISTEN_H

#include "resp/types.h"

/* Where one kind of clients connects. */
typedef struct resp_place {
    const char *unix_path;          /* NULL: none */
    const char *listen;             /* NULL: both loopback addresses */
    bool has_group;                 /* the socket file is for unix_group of the port as well */
    uint32_t port;                  /* 0: no TCP; CELLAR_RESP_PORT_ANY */
    const char *unix_name, *tcp_name; /* of the options, for errors */
    char address[64];               /* `listen` of resp_place_read */
} resp_place;

/* Read "9180", "127.0.0.1:9180", "[::1]:9180", or the path of a socket with a slash. False: none of
 * them. */
CELLAR_PRIVATE bool resp_place_read(const char *text, const char *name, resp_place *out);
/* Bind the sockets of place 0 or 1. An error has noted its reason; sockets that are bound stay in
 * `listener`. */
CELLAR_PRIVATE cellar_err resp_listen(cellar_resp *r, int number, const resp_place *at);
/* Take a copy of a socket of listen_fds into place 0, and write its address; "": a unix socket. An
 * error has noted its reason. */
CELLAR_PRIVATE cellar_err resp_listen_take(cellar_resp *r, int fd, char address[64]);
/* Close the sockets of a place, and remove its socket file if it is still the one of this port. */
CELLAR_PRIVATE void resp_listen_close(cellar_resp *r, int number);
/* Return whether other machines reach this numeric address. False also for one that is no address:
 * *valid tells. */
CELLAR_PRIVATE bool resp_is_public(const char *address, bool *valid);

#endif
