/* SPDX-License-Identifier: MIT
 *
 * server: starts a server below build/bench, talks to it over a unix socket.
 *
 * WALK       fork, exec, output to /dev/null -> connect until it is accepted (5 s) -> requests.
 * LIMITS     no port is opened; the process ends with the bench (PDEATHSIG) and by server_stop; a
 *            request and its answers fit into 1 MiB. */
#include "bench/peers/server.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static _Thread_local unsigned server_index; /* 1 + place of this thread */
static atomic_uint server_next;

int server_connect(const server *s)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    memcpy(to.sun_path, s->path, sizeof to.sun_path);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&to, sizeof to) == 0) {
        return fd;
    }
    if (fd >= 0) {
        close(fd);
    }
    return -1;
}

static void server_child(const char *program, char *const argv[])
{
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(null, 0);
    dup2(null, 1);
    dup2(null, 2);
    execvp(program, argv);
    _exit(127);
}

server *server_start(const char *program, char *const argv[], const char *socket_path)
{
    server *s = calloc(1, sizeof *s);
    if (s == NULL || strlen(socket_path) >= sizeof s->path) {
        free(s);
        return NULL;
    }
    memcpy(s->path, socket_path, strlen(socket_path) + 1);
    for (size_t i = 0; i < SERVER_PLACES; i++) {
        s->line[i].fd = -1;
    }
    unlink(s->path);
    s->pid = fork();
    if (s->pid == 0) {
        server_child(program, argv);
    }
    for (int i = 0; s->pid > 0 && i < 25000; i++) {
        const struct timespec ms = { 0, 200000 };
        const int fd = server_connect(s);
        if (fd >= 0) {
            close(fd);
            return s;
        }
        if (waitpid(s->pid, NULL, WNOHANG) != 0) {
            s->pid = 0;
        }
        nanosleep(&ms, NULL);
    }
    server_stop(s);
    return NULL;
}

void server_stop(server *s)
{
    if (s == NULL) {
        return;
    }
    for (size_t i = 0; i < SERVER_PLACES; i++) {
        if (s->line[i].fd >= 0) {
            close(s->line[i].fd);
        }
        free(s->line[i].in);
    }
    if (s->pid > 0) {
        kill(s->pid, SIGKILL); /* nothing of it is kept */
        waitpid(s->pid, NULL, 0);
    }
    unlink(s->path);
    free(s);
}

server_line *server_mine(server *s)
{
    if (server_index == 0) {
        server_index = 1 + atomic_fetch_add(&server_next, 1) % SERVER_PLACES;
    }
    server_line *l = &s->line[server_index - 1];
    if (l->in == NULL) {
        l->in = malloc(SERVER_BUFFER);
    }
    if (l->fd < 0 && l->in != NULL) {
        l->fd = server_connect(s);
    }
    return l->fd >= 0 ? l : NULL;
}

bool server_send(server_line *l, const void *bytes, size_t len)
{
    for (const unsigned char *at = bytes; len > 0;) {
        const ssize_t n = send(l->fd, at, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        at += n;
        len -= (size_t)n;
    }
    return true;
}

/* More bytes behind those that are there. */
static bool server_more(server_line *l)
{
    if (l->at > 0) {
        memmove(l->in, l->in + l->at, l->end - l->at);
        l->end -= l->at;
        l->at = 0;
    }
    if (l->end == SERVER_BUFFER) {
        return false;
    }
    ssize_t n;
    do {
        n = recv(l->fd, l->in + l->end, SERVER_BUFFER - l->end, 0);
    } while (n < 0 && errno == EINTR);
    l->end += n > 0 ? (size_t)n : 0;
    return n > 0;
}

char *server_read_line(server_line *l, size_t *len)
{
    size_t looked = 0;
    for (;;) {
        unsigned char *from = l->in + l->at;
        unsigned char *end = memchr(from + looked, '\n', l->end - l->at - looked);
        if (end != NULL) {
            l->at = (size_t)(end + 1 - l->in);
            end[end > from && end[-1] == '\r' ? -1 : 0] = '\0';
            *len = strlen((char *)from);
            return (char *)from;
        }
        looked = l->end - l->at;
        if (!server_more(l)) {
            return NULL;
        }
    }
}

bool server_read_bytes(server_line *l, void *out, size_t len)
{
    while (l->end - l->at < len + 2) {
        if (!server_more(l)) {
            return false;
        }
    }
    if (out != NULL) {
        memcpy(out, l->in + l->at, len);
    }
    l->at += len + 2;
    return true;
}
