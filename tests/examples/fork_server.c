/* SPDX-License-Identifier: MIT
 *
 * fork_server: an HTTP server that forks its workers; each opens a cache of its own. A child of a
 * fork cannot use the cache of its parent (E_FORKED), so the parent opens none, neither before it
 * forks nor before daemon(). Each worker has its own budget, and its own l2_path if it has a disk
 * tier. A worker that ends early ends the server, for its supervisor to start again, and a server
 * that is killed takes its workers along. A page is rendered once a minute in each worker; threads
 * of a worker would share one load. A worker has one client at a time, and a slow one holds it for
 * up to 5 seconds: put a proxy in front that sends whole requests. Workers that share one cache,
 * and are started again by their master: prefork.c.
 *
 *     cc -D_GNU_SOURCE -O2 fork_server.c -lcellar -pthread
 *     drop-in: cc -D_GNU_SOURCE fork_server.c dist/cellar.c -Idist -Idist/include -pthread
 *     ./a.out pages.sock;   curl --unix-socket pages.sock http://localhost/a */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cellar_load.h"

/* ---- Sockets and heads: nothing of cellar --------------------------------------------------- */

static void die(const char *what)
{
    cellar_error_info e = cellar_error_info_default();
    cellar_last_error(NULL, &e);
    fprintf(stderr, "%s: %s\n", what, e.code != CELLAR_OK ? e.text : strerror(errno));
    _exit(1);
}

/* Replace the socket of an earlier server. A file of another type stays, and bind fails. */
static int port_open(const char *path)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    struct stat st;
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    errno = ENAMETOOLONG; /* the path is not cut: the rest may name another file */
    if (strlen(path) >= sizeof at.sun_path) { die(path); }
    memcpy(at.sun_path, path, strlen(path));
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode)) { unlink(path); }
    if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 99) != 0) { die(path); }
    signal(SIGPIPE, SIG_IGN); /* a client may leave before its answer */
    return fd;
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Read the head of a request, in one part or more. Return 0 if it is too long or too slow. */
static int head_read(int client, char *head, size_t cap)
{
    struct pollfd in = { .fd = client, .events = POLLIN };
    const int64_t end_ms = now_ms() + 5000;
    for (size_t len = 0; len < cap - 1;) {
        const int64_t left_ms = end_ms - now_ms();
        if (left_ms <= 0 || poll(&in, 1, (int)left_ms) <= 0) { return 0; }
        const ssize_t n = read(client, head + len, cap - 1 - len);
        if (n <= 0) { return 0; }
        head[len += (size_t)n] = '\0';
        if (strstr(head, "\r\n\r\n") != NULL) { return 1; }
    }
    return 0;
}

/* Read a request. Return the status of its answer: 200 with a path, 400 also without the end of a
 * head. */
static const char *path_read(int client, char path[256])
{
    char head[2000], method[16], version[2];
    if (!head_read(client, head, sizeof head) ||
        sscanf(head, "%15s %255s HTTP/%1s", method, path, version) != 3) {
        return "400 Bad Request";
    }
    return strcmp(method, "GET") == 0 ? "200 OK" : "405 Method Not Allowed\r\nAllow: GET";
}

/* ---- Pages ---------------------------------------------------------------------------------- */

static cellar_err render(cellar_load *load, const void *path, size_t path_len, void *count)
{
    char page[512];
    const int n = snprintf(page, sizeof page, "%.*s: page %d by %d\n", (int)path_len,
                           (const char *)path, ++*(int *)count, (int)getpid());
    return cellar_load_value(load, page, (size_t)n);
}

static void answer(int client, cellar *pages)
{
    static int count; /* of pages that this worker rendered */
    char path[256];
    cellar_result page = cellar_result_default();
    const char *status = path_read(client, path);
    if (*status == '2') { /* OK, or STALE with cfg.stale_ms: 200 */
        const int e = cellar_get_or_load(pages, path, strlen(path), NULL, render, &count, &page);
        status = e < 0 ? "503 Unavailable" : e == CELLAR_ABSENT ? "404 Not Found" : status;
    }
    dprintf(client, "HTTP/1.0 %s\r\nContent-Length: %zu\r\n\r\n%.*s", status, page.value_len,
            (int)page.value_len, page.value != NULL ? (const char *)page.value : "");
    cellar_result_free(&page);
}

static int worker(int listener, const sigset_t *heard)
{
    struct pollfd fd[2] = { { listener, POLLIN, 0 }, { signalfd(-1, heard, 0), POLLIN, 0 } };
    cellar_config cfg = cellar_config_default();
    cellar *pages; /* opened here: after the fork */
    cfg.default_ttl_ms = 60000;
    if (cellar_open(&cfg, &pages) != CELLAR_OK) { die("cellar_open"); }
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
    const int listener = port_open(argc > 1 ? argv[1] : "pages.sock");
    pid_t child[4], master = getpid();
    sigset_t heard;
    int number = 0, status, failed = 0, count = 0;
    sigemptyset(&heard), sigaddset(&heard, SIGTERM), sigaddset(&heard, SIGCHLD);
    sigprocmask(SIG_BLOCK, &heard, NULL);
    while (count < 4 && (child[count] = fork()) > 0) { count++; }
    if (count < 4 && child[count] == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        _exit(getppid() == master ? worker(listener, &heard) : 1); /* 1: the master is dead */
    }
    if (count == 4) { sigwait(&heard, &number); } else { perror("fork"); }
    for (int i = 0; i < count; i++) { kill(child[i], SIGTERM); }
    while (wait(&status) > 0) { failed |= status; }
    return number == SIGTERM && failed == 0 ? 0 : 1;
}
