/* SPDX-License-Identifier: MIT
 *
 * tls: TLS 1.2 and 1.3 over sockets that do not block, by OpenSSL 3.
 *
 * RESULTS    Calls that move bytes return a number of bytes, 0 at the end, or a negative errno:
 *            -EAGAIN: later; -EPROTO: TLS failed, tls_why has the reason.
 * SWITCH     Without CELLAR_WITH_TLS the same functions exist and refuse. */
#ifndef TLS_TLS_H
#define TLS_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/port.h"

#define TLS_NOT_BUILT "this library was built without TLS (make TLS=1)"
#define TLS_FILES 4
enum { TLS_WHY = 120 }; /* bytes of a reason */

/* Files in PEM. "" or NULL: none. */
typedef struct tls_files {
    const char *ca_file, *ca_dir;     /* of the peer; a client without both: those of the system */
    const char *cert_file, *key_file; /* the own chain and its key; key "": in cert_file */
} tls_files;

typedef struct tls tls;               /* a connection */
typedef struct tls_server tls_server; /* what the connections of a server share */
typedef struct tls_ticket tls_ticket; /* a session that a later connection may resume */

/* Return whether this build has TLS. */
BASE_SPARE CELLAR_PRIVATE bool tls_is_built(void);

/* Begin a connection to a server, over a socket that stays with the caller.
 * in:      name: the DNS name or numeric address that its certificate must have; NULL: the
 *          certificate is not verified. *ticket: NULL, or of an earlier connection
 * out:     tls_end leaves a newer one in *ticket
 * returns: NULL: why has the reason
 * cost:    the files are read */
BASE_SPARE CELLAR_PRIVATE tls *tls_client(const tls_files *f, const char *name, int fd,
                                          tls_ticket **ticket, char why[TLS_WHY]);
BASE_SPARE CELLAR_PRIVATE void tls_ticket_free(tls_ticket *ticket);

/* Read the files of a server. With ca_file each client needs a certificate. NULL: why has the
 * reason. */
BASE_SPARE CELLAR_PRIVATE tls_server *tls_server_open(const tls_files *f, char why[TLS_WHY]);
/* Begin a connection of a client. Read files that have changed; if they cannot be used, the
 * present ones stay, and `why` has the reason, else "". NULL: no memory. */
BASE_SPARE CELLAR_PRIVATE tls *tls_accept(tls_server *s, int fd, char why[TLS_WHY]);
BASE_SPARE CELLAR_PRIVATE void tls_server_close(tls_server *s); /* NULL is allowed */
/* Return whether the certificate is not valid now. Each one is reported once; why: the reason. */
BASE_SPARE CELLAR_PRIVATE bool tls_server_stale(tls_server *s, char why[TLS_WHY]);

/* Go on with the handshake. 1: it is done, and the peer is verified. A server need not call it:
 * tls_recv does the handshake. */
BASE_SPARE CELLAR_PRIVATE int tls_shake(tls *t);
/* Return whether the handshake is done. */
BASE_SPARE CELLAR_PRIVATE bool tls_is_shaken(const tls *t);
/* Fill `to` with the bytes that have come. */
BASE_SPARE CELLAR_PRIVATE ssize_t tls_recv(tls *t, void *to, size_t cap);
/* Send parts. After -EAGAIN or a part of the bytes the next call begins with the bytes that are
 * left, and has no fewer of them. */
BASE_SPARE CELLAR_PRIVATE ssize_t tls_send(tls *t, const struct iovec *part, size_t count);
/* Return whether received bytes wait in the memory of TLS: poll does not see them. */
BASE_SPARE CELLAR_PRIVATE bool tls_holds(const tls *t);
/* Return whether the handshake waits until the socket takes bytes, or is connected. */
BASE_SPARE CELLAR_PRIVATE bool tls_wants_write(const tls *t);
/* Return why a call returned -EPROTO. */
BASE_SPARE CELLAR_PRIVATE const char *tls_why(const tls *t);
/* Tell the peer that nothing follows. */
BASE_SPARE CELLAR_PRIVATE void tls_bye(tls *t);
/* Free a connection; NULL is allowed. No byte is sent. */
BASE_SPARE CELLAR_PRIVATE void tls_end(tls *t);

#endif
