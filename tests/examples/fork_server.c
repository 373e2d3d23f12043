/* SPDX-License-Identifier: MIT
 *
 * fork_server: an HTTP server that forks its workers; each opens a cache of its own. A child of a
 * fork cannot use the cache of its parent (E_FORKED), so the parent opens none, neither before it
 * forks nor before daemon(). Each worker has its own budget, and its own l2_path if it has a disk
 * tier. A worker that ends early ends the server, for its supervisor to start again. Workers that
 * share one cache, and are started again by their master: prefork.c.
 *
 *     cc -D_GNU_SOURCE -O2 fork_server.c -lcellar -pthread
 *     ./a.out pages.sock;   curl --unix-socket pages.sock http://localhost/a */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cellar.h"

static void die(const char *what)
{
    cellar_error_info e = cellar_error_info_default();
    cellar_last_error(NULL, &e);
    fprintf(stderr, "%s: %s\n", what, e.code != CELLAR_OK ? e.text : strerror(errno));
    _exit(1);
}

static void answer(int client, cellar *pages)
{
    static int count; /* of pages that this worker rendered */
    char in[2000] = "", path[256], page[512];
    size_t len = 0;
    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){ 5, 0 }, sizeof(struct timeval));
    if (read(client, in, sizeof in - 1) <= 0 ||
        sscanf(in, "GET %255s HTTP/%1s", path, page) != 2) { return; }
    if (cellar_get(pages, path, strlen(path), page, sizeof page, &len) != CELLAR_OK) {
        len = (size_t)snprintf(page, sizeof page, "%s: page %d by %d\n", path, ++count, getpid());
        cellar_set(pages, path, strlen(path), page, len, NULL); /* if it fails: render again */
    }
    dprintf(client, "HTTP/1.0 200 OK\r\nContent-Length: %zu\r\n\r\n%.*s", len, (int)len, page);
}

static int worker(int listener, const sigset_t *heard)
{
    struct pollfd fd[2] = { { listener, POLLIN, 0 }, { signalfd(-1, heard, 0), POLLIN, 0 } };
    cellar *pages; /* opened here: after the fork */
    if (cellar_open(NULL, &pages) != CELLAR_OK) { die("cellar_open"); }
    while (poll(fd, 2, -1) < 0 || fd[1].revents == 0) {
        const int client = accept(listener, NULL, NULL);
        if (client < 0) { usleep(1000); continue; } /* another worker was faster */
        answer(client, pages);
        close(client);
    }
    return cellar_close(pages) == CELLAR_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    pid_t child[4];
    sigset_t heard;
    int number = 0, status, failed = 0, count = 0;
    snprintf(at.sun_path, sizeof at.sun_path, "%s", argc > 1 ? argv[1] : "pages.sock");
    unlink(at.sun_path); /* of an earlier server */
    if (bind(listener, (struct sockaddr *)&at, sizeof at) != 0) { die("bind"); }
    if (listen(listener, 99) != 0) { die("listen"); }
    signal(SIGPIPE, SIG_IGN); /* a client may leave before its answer */
    sigemptyset(&heard), sigaddset(&heard, SIGTERM), sigaddset(&heard, SIGCHLD);
    sigprocmask(SIG_BLOCK, &heard, NULL);
    while (count < 4 && (child[count] = fork()) > 0) { count++; }
    if (count < 4 && child[count] == 0) { _exit(worker(listener, &heard)); }
    if (count == 4) { sigwait(&heard, &number); } else { perror("fork"); }
    for (int i = 0; i < count; i++) { kill(child[i], SIGTERM); }
    while (wait(&status) > 0) { failed |= status; }
    return number == SIGTERM && failed == 0 ? 0 : 1;
}
