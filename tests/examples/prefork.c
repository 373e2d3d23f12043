/* SPDX-License-Identifier: MIT
 *
 * prefork: an HTTP server of a master and its workers, which share one cache through a port of the
 * master, without a Redis. A page is rendered once for all workers; a POST deletes the pages of its
 * tag for all. The master restarts workers that die. A master that dies takes its workers along,
 * and the next one begins with an empty cache. Limiters and locks of all workers hang on the same
 * link: cellar_remote_limiter_open, cellar_remote_lock_acquire. A worker serves one client at a
 * time, and a slow one holds it for up to 5 s: put a proxy in front that sends whole requests. The
 * master forks while its port has a thread: a child then uses malloc, stdio and cellar, which POSIX
 * does not promise, but glibc and musl keep for the child; of cellar it uses only what it opens
 * itself.
 *
 *     cc -D_GNU_SOURCE -O2 prefork.c -lcellar-remote -lhiredis -pthread
 *     drop-in: cc -D_GNU_SOURCE prefork.c dist/cellar_all.c dist/cellar_remote.c -Idist \
 *         -Idist/include -lhiredis -pthread
 *     ./a.out FOLDER;   curl --unix-socket FOLDER/http.sock http://localhost/a
 * FOLDER is the absolute path of a folder for sockets, which no other user may write or enter: each
 * client of http.sock may POST. To tell clients apart, ask for a token, as http_server.c does. */
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

#include "cellar_invalidate.h"
#include "cellar_load.h"
#include "cellar_remote.h"
#include "cellar_resp.h"

/* ---- Sockets and heads: nothing of cellar --------------------------------------------------- */

static void die(const char *what)
{
    cellar_error_info e = cellar_error_info_default();
    cellar_last_error(NULL, &e);
    if (e.code == CELLAR_OK) { cellar_remote_last_error(NULL, &e); }
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

/* ---- Pages ---------------------------------------------------------------------------------- */

static cellar_err render(cellar_load *load, const void *path, size_t path_len, void *count)
{
    char page[512];
    const cellar_bytes tag = { "site", 4 };
    cellar_set_opts o = cellar_set_opts_default();
    o.tags = &tag, o.tag_count = 1;
    const int n = snprintf(page, sizeof page, "%.*s: page %d of worker %d\n", (int)path_len,
                           (const char *)path, ++*(int *)count, (int)getpid());
    return cellar_load_opts_set(load, &o) ? CELLAR_E_IO : cellar_load_value(load, page, (size_t)n);
}

static void answer(int client, cellar *pages)
{
    static int count; /* of pages that this worker rendered */
    const char *status = "400 Bad Request"; /* also to a head that did not end */
    char head[2000], method[16], path[256], version[2];
    cellar_result page = cellar_result_default();
    if (head_read(client, head, sizeof head) &&
        sscanf(head, "%15s %255s HTTP/%1s", method, path, version) == 3) {
        int e = strcmp(method, "POST") != 0 ? CELLAR_OK : /* DEFERRED: no worker hits an old page */
                cellar_delete_by_tag(pages, "site", 4, CELLAR_TAG_HARD);
        if (e >= 0) { e = cellar_get_or_load(pages, path, strlen(path), 0, render, &count, &page); }
        status = e == CELLAR_OK || e == CELLAR_STALE ? "200 OK" :
                 e == CELLAR_ABSENT ? "404 Not Found" : "503 Service Unavailable";
    }
    dprintf(client, "HTTP/1.0 %s\r\nContent-Length: %zu\r\n\r\n%.*s", status, page.value_len,
            (int)page.value_len, page.value != NULL ? (const char *)page.value : "");
    cellar_result_free(&page);
}

static char url[128]; /* of the port of the master */
static int worker(int listener, const sigset_t *heard)
{
    struct pollfd fd[2] = { { listener, POLLIN, 0 }, { signalfd(-1, heard, 0), POLLIN, 0 } };
    cellar *pages; /* opened after the fork, as all that a child uses */
    cellar_remote *link;
    if (cellar_open(NULL, &pages) != CELLAR_OK) { die("cellar_open"); }
    if (cellar_remote_open(pages, url, NULL, &link) != CELLAR_OK) { die("cellar_remote_open"); }
    if (cellar_remote_attach(link, pages, NULL) != CELLAR_OK) { die("cellar_remote_attach"); }
    for (int ms = 0; ms < 1000 && cellar_remote_state_get(link) != CELLAR_REMOTE_PROVEN; ms++) {
        usleep(1000); /* until then, and while the port is away, a worker renders for itself */
    }
    while (poll(fd, 2, -1) < 0 || fd[1].revents == 0) {
        const int client = accept(listener, NULL, NULL);
        if (client < 0) { usleep(1000); continue; } /* another worker was faster */
        answer(client, pages);
        close(client);
    }
    cellar_remote_close(link);
    return cellar_close(pages) == CELLAR_OK ? 0 : 1;
}

/* Keep four workers running until SIGTERM. Give up after five ends without a quiet second. */
static int supervise(int listener, const sigset_t *heard)
{
    pid_t child[4] = { 0 }, master = getpid();
    int status, failed = 0, ends = 0, number = 0;
    while (number != SIGTERM && ends < 5) {
        for (int i = 0; i < 4; i++) {
            if (child[i] > 0 && waitpid(child[i], NULL, WNOHANG) == 0) { continue; } /* it runs */
            if ((child[i] = fork()) != 0) { continue; } /* -1: there is no process; in a second */
            prctl(PR_SET_PDEATHSIG, SIGTERM);
            _exit(getppid() == master ? worker(listener, heard) : 1); /* 1: the master is dead */
        }
        number = sigtimedwait(heard, NULL, &(struct timespec){ 1, 0 });
        if (number == SIGCHLD) { ends++, sleep(1); } else { ends = 0; } /* one start a second */
    }
    for (int i = 0; i < 4; i++) { if (child[i] > 0) { kill(child[i], SIGTERM); } }
    while (wait(&status) > 0) { failed |= status; }
    return failed != 0 || number != SIGTERM;
}

int main(int argc, char **argv)
{
    cellar_resp_config o = cellar_resp_config_default();
    cellar *store;
    cellar_resp *port;
    sigset_t heard;
    errno = EINVAL;
    if (argc != 2 || argv[1][0] != '/' || chdir(argv[1]) != 0) { die("FOLDER"); }
    if (snprintf(url, sizeof url, "unix://%s/cache.sock?prefix=app", argv[1]) >= (int)sizeof url) {
        errno = ENAMETOOLONG, die(argv[1]);
    }
    const int listener = port_open("http.sock");
    sigemptyset(&heard), sigaddset(&heard, SIGTERM), sigaddset(&heard, SIGCHLD);
    sigprocmask(SIG_BLOCK, &heard, NULL); /* before any thread starts */
    if (cellar_open(NULL, &store) != CELLAR_OK) { die("cellar_open"); } /* no child uses it */
    o.unix_path = "cache.sock", o.shared_bytes = 256u << 20;
    if (cellar_resp_open(store, &o, &port) || cellar_resp_start(port)) { die("cellar_resp"); }
    const int failed = supervise(listener, &heard);
    cellar_resp_finish(port, 5000); /* requests that have arrived get their replies */
    cellar_resp_close(port);
    return cellar_close(store) == CELLAR_OK ? failed : 1;
}
