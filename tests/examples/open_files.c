/* SPDX-License-Identifier: MIT
 *
 * open_files: a static server of one thread that keeps files open. An object of the cache is an open
 * file: descriptor, size, header lines. A response holds its file until the last byte is sent, so
 * a file that is replaced or evicted meanwhile is closed behind the response.
 *
 *     cc -O2 open_files.c -lcellar -pthread */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cellar.h"
#include "cellar_admin.h"
#include "cellar_load.h"
#include "cellar_object.h"

/* ---- what an application writes ---- */

typedef struct file {
    int fd;
    size_t size, head_len;
    char head[128];
} file;

static int opened, closed; /* files */

static void close_file(void *object, size_t charge, cellar_cause why, void *ctx)
{
    file *f = object;
    (void)charge, (void)why, (void)ctx;
    close(f->fd);
    free(f);
    closed++;
}

/* Open a path below a folder, part by part: none is ".." or a link, so none leads out, and a "/" in
 * front counts for nothing. O_NONBLOCK: a pipe in the folder does not stop the server. */
static int open_below(int folder, char *path)
{
    char *rest, *next, *part = strtok_r(path, "/", &rest);
    int at = fcntl(folder, F_DUPFD_CLOEXEC, 0);
    for (; at >= 0 && part != NULL; part = next) {
        const int up = at, how = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
        next = strtok_r(NULL, "/", &rest);
        at = openat(up, strcmp(part, "..") == 0 ? "" : part, next ? how | O_DIRECTORY : how);
        const int why = errno; /* of "": ENOENT */
        close(up);
        errno = why;
    }
    return at;
}

static cellar_err open_file(cellar_load *load, const void *key, size_t key_len, void *folder)
{
    char path[256];
    struct stat st = { 0 };
    if (key_len >= sizeof path) { return cellar_load_absent(load); }
    memcpy(path, key, key_len);
    path[key_len] = '\0';
    const int fd = open_below(*(const int *)folder, path);
    if (fd < 0) { /* ENOTDIR, ELOOP: a link */
        return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? cellar_load_absent(load)
                                                                     : CELLAR_E_LOADER;
    }
    file *f = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? malloc(sizeof *f) : NULL;
    if (f == NULL) {
        close(fd);
        return S_ISDIR(st.st_mode) ? cellar_load_absent(load) : CELLAR_E_LOADER;
    }
    f->fd = fd;
    f->size = (size_t)st.st_size;
    f->head_len = (size_t)snprintf(f->head, sizeof f->head,
                                   "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", f->size);
    opened++;
    return cellar_load_object(load, f, sizeof *f);
}

/* valid_ms: so long a file is served after it was replaced, and a missing one not looked for. */
static cellar *open_cache(int *folder, int64_t valid_ms)
{
    cellar_object_config files = cellar_object_config_default();
    files.free_fn = close_file;
    cellar_namespace_config root = cellar_namespace_config_default();
    root.object = &files;
    root.loader = open_file;
    root.loader_ctx = folder;
    root.default_ttl_ms = valid_ms;
    root.negative_ttl_ms = valid_ms;
    root.max_entries = 500; /* descriptors */
    cellar_host_config host = cellar_host_config_default();
    host.no_threads = 1;
    cellar_config cfg = cellar_config_default();
    cfg.memory_bytes = 4u << 20;
    cfg.root = &root;
    cfg.host = &host;
    cellar *c;
    return cellar_open(&cfg, &c) == CELLAR_OK ? c : NULL;
}

typedef struct client {
    int fd;
    size_t in_len;
    char in[8192]; /* the requests that have arrived; zero behind them */
    cellar_held held; /* file of the response that is being sent */
    size_t head_sent;
    off_t body_sent;
} client;

/* Send what the socket takes. Return 1: all is sent, 0: the socket is full, -1: it failed. */
static int client_send(client *k)
{
    const file *f = k->held.object;
    while (k->head_sent < f->head_len) {
        const ssize_t n = send(k->fd, f->head + k->head_sent, f->head_len - k->head_sent,
                               MSG_NOSIGNAL | MSG_DONTWAIT | MSG_MORE);
        if (n < 0) { return errno == EAGAIN ? 0 : -1; }
        k->head_sent += (size_t)n;
    }
    while ((size_t)k->body_sent < f->size) {
        const ssize_t n = sendfile(k->fd, f->fd, &k->body_sent, f->size - (size_t)k->body_sent);
        if (n <= 0) { return n < 0 && errno == EAGAIN ? 0 : -1; } /* 0: the file was cut */
    }
    cellar_object_release(&k->held);
    return 1;
}

static int client_refuse(const client *k, const char *line)
{
    char text[96];
    const int len = snprintf(text, sizeof text, "HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n", line);
    return send(k->fd, text, (size_t)len, MSG_NOSIGNAL) == len ? 1 : -1;
}

/* Answer "GET /path HTTP/1.1". */
static int client_answer(client *k, cellar *files)
{
    const char *path = k->in + 5, *end = path + strcspn(path, " \r\n");
    if (strncmp(k->in, "GET /", 5) != 0 || *end != ' ') {
        (void)client_refuse(k, "400 Bad Request");
        return -1; /* what follows may be a body */
    }
    const size_t len = (size_t)(end - path);
    const cellar_err err = len == 0 ? CELLAR_ABSENT : cellar_object_get_or_load(
        files, path, len, NULL, NULL, NULL, &k->held);
    if (err != CELLAR_OK) {
        return client_refuse(k, err == CELLAR_ABSENT ? "404 Not Found" : "500 Server Error");
    }
    k->head_sent = 0;
    k->body_sent = 0;
    return client_send(k);
}

/* Go on with a client that has a ready socket. Return -1 when it is done. */
static int client_step(client *k, cellar *files)
{
    int more = k->held.object != NULL ? client_send(k) : 1;
    while (more == 1) {
        const char *const end = strstr(k->in, "\r\n\r\n");
        if (end != NULL) {
            more = client_answer(k, files);
            k->in_len -= (size_t)(end + 4 - k->in);
            memmove(k->in, end + 4, k->in_len + 1); /* the next request may be there already */
            continue;
        }
        const size_t room = sizeof k->in - 1 - k->in_len;
        if (room == 0) {
            (void)client_refuse(k, "431 Request Header Fields Too Large");
            return -1;
        }
        const ssize_t n = recv(k->fd, k->in + k->in_len, room, MSG_DONTWAIT);
        if (n <= 0) { return n < 0 && errno == EAGAIN ? 0 : -1; }
        k->in_len += (size_t)n;
        k->in[k->in_len] = '\0';
    }
    return more;
}

static void client_end(client *k)
{
    cellar_object_release(&k->held);
    close(k->fd);
    k->fd = -1;
}

/* Run one round of the loop; the cache works when no socket is ready. */
static void loop_step(int epoll, cellar *files)
{
    static int64_t wait_ms;
    struct epoll_event e[64];
    const int n = epoll_wait(epoll, e, 64, (int)wait_ms);
    for (int i = 0; i < n; i++) {
        if (client_step(e[i].data.ptr, files) < 0) { client_end(e[i].data.ptr); }
    }
    if (n == 0) { (void)cellar_tick(files, 500, &wait_ms); }
}

/* ---- copy down to here; the example checks itself: it is its own client ---- */

static int passed, failed;

static void check(int ok, const char *what)
{
    if (ok) {
        passed++;
    } else {
        failed++;
        printf("not ok: %s\n", what);
    }
}

enum { LARGE = 4 << 20 };
static char answer[LARGE + 1000];

static int request(int fd, const char *path)
{
    char text[9000];
    const int len = snprintf(text, sizeof text, "GET /%s HTTP/1.1\r\n\r\n", path);
    return send(fd, text, (size_t)len, MSG_NOSIGNAL) == len;
}

/* Run the server until the answer is complete. Return its length. */
static size_t receive(int epoll, cellar *files, int fd)
{
    char *const to = answer;
    size_t got = 0, want = 0;
    while (want == 0 || got < want) {
        loop_step(epoll, files);
        const ssize_t n = recv(fd, to + got, sizeof answer - 1 - got, MSG_DONTWAIT);
        if (n <= 0) { continue; }
        got += (size_t)n;
        to[got] = '\0';
        const char *body = strstr(to, "\r\n\r\n"), *length = strstr(to, "Content-Length: ");
        if (body == NULL || length == NULL) { continue; }
        want = (size_t)(body + 4 - to) + strtoul(length + 16, NULL, 10);
    }
    return got;
}

static size_t ask(int epoll, cellar *files, int fd, const char *path)
{
    return request(fd, path) ? receive(epoll, files, fd) : 0;
}

static int put(int folder, const char *name, char letter, size_t len)
{
    char *bytes = malloc(len);
    const int fd = openat(folder, "new", O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    if (bytes == NULL || fd < 0) { return -1; }
    memset(bytes, letter, len);
    const int bad = write(fd, bytes, len) != (ssize_t)len;
    free(bytes);
    close(fd);
    return bad ? -1 : renameat(folder, "new", folder, name);
}

int main(void)
{
    char name[] = "/tmp/open_files_XXXXXX";
    client k = { 0 };
    cellar_held held;
    int pair[2];
    if (mkdtemp(name) == NULL) { return 1; }
    int folder = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (put(folder, "small", 's', 100) != 0 || put(folder, "large", 'l', LARGE) != 0) { return 1; }
    cellar *files = open_cache(&folder, 600000);
    const int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (files == NULL || epoll < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) { return 1; }
    k.fd = pair[1];
    (void)fcntl(k.fd, F_SETFL, O_NONBLOCK);
    struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = &k };
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, k.fd, &e) != 0) { return 1; }

    const size_t small = ask(epoll, files, pair[0], "small");
    check(small > 100 && memcmp(answer, "HTTP/1.1 200 OK", 15) == 0 && answer[small - 1] == 's',
          "a file is served");
    check(ask(epoll, files, pair[0], "small") == small, "and again");
    for (int i = 0; i < 2; i++) {
        ask(epoll, files, pair[0], "none");
        check(strstr(answer, "404") != NULL, "no such file");
    }
    static const char *const outside[] = { "../etc/passwd", "/etc/passwd", "link", "out/passwd", "" };
    if (symlinkat("/etc/passwd", folder, "link") != 0 || symlinkat("/etc", folder, "out") != 0) {
        return 1;
    }
    for (int i = 0; i < 5; i++) {
        ask(epoll, files, pair[0], outside[i]);
        check(strstr(answer, "404") != NULL, "a path stays below the folder");
    }
    ask(epoll, files, pair[0], "small HTTP/1.1\r\nReferer: ..");
    check(strstr(answer, "200 OK") != NULL, "dots of a header line are no path");
    ask(epoll, files, pair[0], "small HTTP/1.1\r\n\r\nGET /none");
    check(strstr(answer, "200 OK") != NULL && strstr(answer, "404") != NULL,
          "two requests that arrive together have two answers");
    check(cellar_object_acquire(files, "none", 4, &held) == CELLAR_ABSENT,
          "its absence is known as well");

    /* A large response fills the socket. Then its file is replaced. */
    const int before = closed;
    check(request(pair[0], "large"), "a large file is requested");
    while (k.held.object == NULL) { loop_step(epoll, files); }
    check(put(folder, "large", 'n', 7) == 0, "the file is replaced");
    check(cellar_delete(files, "large", 5) == CELLAR_OK && closed == before,
          "its descriptor stays open for the response");
    const size_t large = receive(epoll, files, pair[0]);
    check(large > LARGE && answer[large - LARGE] == 'l' && answer[large - 1] == 'l' &&
              closed == before + 1, "the response is complete, then the descriptor is closed");
    const size_t fresh = ask(epoll, files, pair[0], "large");
    check(fresh > 7 && fresh < 100 && answer[fresh - 1] == 'n', "the next one serves the new file");

    static char longer[8300];
    memset(longer, 'x', sizeof longer - 1);
    ask(epoll, files, pair[0], longer);
    check(strstr(answer, "431") != NULL, "a request that is too long has an answer");
    close(pair[0]);
    while (k.fd >= 0) { loop_step(epoll, files); }
    cellar_close(files);
    check(opened >= 3 && closed == opened, "each descriptor is closed");
    (void)unlinkat(folder, "link", 0);
    (void)unlinkat(folder, "out", 0);
    (void)unlinkat(folder, "small", 0);
    (void)unlinkat(folder, "large", 0);
    close(folder);
    close(epoll);
    (void)rmdir(name);
    printf("open_files: %d passed, %d failed, 0 skipped\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
