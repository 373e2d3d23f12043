/* SPDX-License-Identifier: MIT
 *
 * wire: one socket to a server, and the reader of its replies. */
#ifndef REMOTE_WIRE_H
#define REMOTE_WIRE_H

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "remote/config.h"
#include "remote/link_types.h"
#include "tls/tls.h"

/* Append one command, or its head and each word of it. A failure stays in b->err. */
CELLAR_PRIVATE void remote_command(remote_bytes *b, const cellar_bytes *words, size_t count);
CELLAR_PRIVATE void remote_words(remote_bytes *b, size_t count);
CELLAR_PRIVATE void remote_word_add(remote_bytes *b, cellar_bytes word);
/* Append bytes. False: no memory. */
CELLAR_PRIVATE bool remote_bytes_add(remote_bytes *b, const void *bytes, size_t len);
/* Write a number as a word. */
CELLAR_PRIVATE cellar_bytes remote_digits(char to[24], int64_t n);
CELLAR_PRIVATE void remote_bytes_free(remote_bytes *b);

/* A resolved address. */
typedef struct remote_peer {
    union {
        struct sockaddr any;
        struct sockaddr_un unix_path;
        struct sockaddr_storage other;
    } at;
    socklen_t len;
    uint32_t count; /* addresses of its name; 0: none is known */
} remote_peer;

/* Why a connection cannot be used. */
typedef enum remote_wire_fault {
    REMOTE_WIRE_FINE = 0,
    REMOTE_WIRE_CLOSED,   /* by the server, or an error of the socket */
    REMOTE_WIRE_PROTOCOL, /* bytes that are no reply */
    REMOTE_WIRE_TOO_BIG,  /* a reply above the limits */
    REMOTE_WIRE_TLS,      /* see tls_text */
    REMOTE_WIRE_NOMEM
} remote_wire_fault;

typedef struct remote_chunk remote_chunk;

#define REMOTE_NESTING_MAX 4
#define REMOTE_TLS_ALERT 0x15 /* first byte that a TLS port answers to plain text */

typedef struct remote_level { /* an array that is being read */
    struct remote_node *array;
    uint32_t left;            /* elements to come */
} remote_level;

typedef struct remote_wire {
    int fd;                    /* -1: none */
    uint32_t watched;          /* events of epoll; 0: not watched */
    int sys_errno;             /* of CLOSED; 0: the server closed */
    remote_wire_fault fault;
    bool connected;            /* the connect has finished, and the handshake of TLS */
    tls *tls;                  /* NULL: plain */
    tls_ticket *ticket;        /* of the last connection */
    char tls_text[TLS_WHY];
    const remote_memory *memory;
    remote_bytes kept;         /* beginning of an element that is not complete */
    char odd;                  /* of PROTOCOL: the byte that begins no element; 0: other fault */
    remote_level level[REMOTE_NESTING_MAX]; /* the outermost array first */
    uint32_t depth;            /* of them in use */
    remote_chunk *chunk;       /* elements of the arrays, newest block first */
    size_t chunk_bytes;        /* of all blocks */
    uint32_t elements;         /* of the reply that is being read */
    size_t string_max;         /* longest string of a reply */
    size_t long_min;           /* shortest string that is received into a block */
    char *long_text;           /* such a string, in a block; NULL: none */
    size_t long_len, long_got; /* bytes of it; those received, with the two of its end */
    remote_bytes unsent;       /* bytes that the socket did not take */
    size_t flushed;            /* of `unsent`, sent since */
    uint64_t bytes_in, bytes_out;
    void (*take)(void *ctx, const remote_reply *reply); /* must not close the wire */
    void *ctx;
} remote_wire;

/* Prepare a wire without a socket. */
CELLAR_PRIVATE void remote_wire_init(remote_wire *w, const remote_memory *memory,
                      void (*take)(void *ctx, const remote_reply *reply), void *ctx);
/* Begin to connect to `host`, which has the address `to`. False: *w has fault and sys_errno. */
CELLAR_PRIVATE bool remote_wire_connect(remote_wire *w, const remote_config *c, const char *host,
                                        const remote_peer *to);
/* Go on with the connect after an event. False as above. */
CELLAR_PRIVATE bool remote_wire_connected(remote_wire *w);
/* Return whether TLS holds received bytes, which are no event of epoll. */
CELLAR_PRIVATE bool remote_wire_holds(const remote_wire *w);
/* Return the events of epoll that the wire waits for. */
CELLAR_PRIVATE uint32_t remote_wire_wants(const remote_wire *w);
/* Close the socket and free the memory of the connection. */
CELLAR_PRIVATE void remote_wire_close(remote_wire *w);
/* Send what the socket takes of `parts`; keep the rest in `unsent` (copied). False: see fault. */
CELLAR_PRIVATE bool remote_wire_send(remote_wire *w, const struct iovec *parts, uint16_t count);
/* Send `b` unless it is not whole, and free it. False: not sent. */
CELLAR_PRIVATE bool remote_wire_say(remote_wire *w, bool whole, remote_bytes *b);
/* Send `unsent`. */
CELLAR_PRIVATE bool remote_wire_flush(remote_wire *w);
/* Read once and hand each whole reply to `take`. False: see fault. *more: the socket may have more.
 */
CELLAR_PRIVATE bool remote_wire_read(remote_wire *w, bool *more);

#endif
