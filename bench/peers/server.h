/* SPDX-License-Identifier: MIT
 *
 * server: a process of its own behind a unix socket, a connection a thread, whole answers. */
#ifndef BENCH_PEERS_SERVER_H
#define BENCH_PEERS_SERVER_H

#include <sys/types.h>

#include "bench/harness/subject.h"

#define SERVER_PLACES 64
#define SERVER_BUFFER ((size_t)1 << 20)

typedef struct server_line {
    int fd;             /* -1: not connected */
    unsigned char *in;  /* SERVER_BUFFER bytes; owned */
    size_t at, end;     /* unread part of it */
} server_line;

typedef struct server {
    pid_t pid;
    char path[108];     /* of the socket */
    server_line line[SERVER_PLACES]; /* one a thread */
} server;

/* Starts argv[0] .. (found in PATH, or a path) and waits until the socket answers. NULL: it does
 * not. `argv0`: what it is called, NULL for its own name. */
server *server_start(const char *program, char *const argv[], const char *socket_path);
void server_stop(server *s); /* ends the process, removes the socket; NULL is fine */

int server_connect(const server *s); /* a new connection; -1: cannot be made */
/* The calling thread's connection. NULL: cannot be made. */
server_line *server_mine(server *s);
bool server_send(server_line *l, const void *bytes, size_t len);
/* A line without its \r\n, in place until the next call; NULL: the connection is gone. */
char *server_read_line(server_line *l, size_t *len);
/* Exactly `len` bytes and the \r\n after them; `out` NULL: thrown away. */
bool server_read_bytes(server_line *l, void *out, size_t len);

#endif
