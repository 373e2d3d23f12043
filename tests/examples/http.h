/* SPDX-License-Identifier: MIT
 *
 * http: a small HTTP server for service.c, http_server.c, fork_server.c and prefork.c, so that they
 * show cellar and little else. Your program has a server of its own, and does not need this file.
 *
 * The server speaks HTTP/1.0 and reads no bodies. Each client has a thread of its own, and at most
 * 64 are served at a time. A slow client holds its thread for about 35 seconds, so that 64 of them
 * hold the server: put a proxy in front that sends whole requests. SIGTERM ends the server after
 * the answers that are being made.
 *
 *     start      http_listen or http_listen_unix, before the program opens a store
 *     serve      http_serve calls a function of the program for each request, in several threads
 *     answer     http_page, http_status, http_retry or http_failed: one of them for each request
 *     processes  http_workers runs four workers, and starts a worker again that dies
 *     stand-in   database_page is the database that the programs keep pages of
 *
 * Include this file behind the headers of cellar. */
#ifndef EXAMPLES_HTTP_H
#define EXAMPLES_HTTP_H

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cellar.h"

/* One request. */
typedef struct http_request {
    int client;             /* its socket */
    struct in_addr address; /* of the client. Behind a proxy, take it from a header line instead */
    char method[16];
    char path[256];
    size_t path_len;
} http_request;

/* Answer a request. Several threads call this function at the same time. */
typedef void http_answer_fn(const http_request *q, cellar *pages);

/* ---- Errors --------------------------------------------------------------------------------- */

/* Print the last error of cellar. Its text names the call, the argument, the rule and a remedy. */
static inline void http_report(cellar_err err)
{
    cellar_error_info why = cellar_error_info_default();
    cellar_last_error(NULL, &why);
#ifdef CELLAR_REMOTE_H
    if (why.code != err) { cellar_remote_last_error(NULL, &why); }
#endif
    fprintf(stderr, "%s\n", why.code == err ? why.text : cellar_strerror(err));
}

/* End the process if a call of cellar failed that the program cannot do without. */
static inline void http_must(cellar_err err)
{
    if (err == CELLAR_OK) { return; }
    http_report(err);
    _exit(1);
}

/* End the process because a call of the system failed. */
static inline void http_die(const char *what)
{
    perror(what);
    _exit(1);
}

/* ---- Arguments ------------------------------------------------------------------------------ */

/* Return the number that an argument of the program has, or `otherwise` without that argument. */
static inline long http_number(int argc, char **argv, int at, long otherwise)
{
    char *end = NULL;
    if (argc <= at) { return otherwise; }
    errno = 0;
    const long n = strtol(argv[at], &end, 10);
    if (end == argv[at] || *end != '\0' || n < 0) { errno = EINVAL; }
    if (errno != 0) { http_die(argv[at]); }
    return n;
}

/* Enter the folder that the first argument names. Return its absolute path: at most 90 bytes, as
 * the path of a socket has at most 107. None of them has a meaning in a URL. */
static inline const char *http_folder(int argc, char **argv)
{
    static char path[91];
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        _exit(1);
    }
    if (chdir(argv[1]) != 0 || getcwd(path, sizeof path) == NULL) { http_die(argv[1]); }
    if (strpbrk(path, "%?#") != NULL) {
        fprintf(stderr, "%s: take a folder without %%, ? and # in its path\n", path);
        _exit(1);
    }
    return path;
}

/* ---- Start ---------------------------------------------------------------------------------- */

/* Block the signals that http_serve and http_workers wait for. Threads inherit this, so it comes
 * before the first one starts. */
static inline void http_signals_block(void)
{
    sigset_t heard;
    sigemptyset(&heard);
    sigaddset(&heard, SIGTERM);
    sigaddset(&heard, SIGCHLD);
    sigprocmask(SIG_BLOCK, &heard, NULL);
    signal(SIGPIPE, SIG_IGN); /* a client may leave before its answer */
}

/* Listen on a port of this machine, and print its address. Port 0 stands for any free one. */
static inline int http_listen(long port)
{
    struct sockaddr_in at = { .sin_family = AF_INET };
    socklen_t len = sizeof at;
    const int yes = 1; /* a restart finds the port free */
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    at.sin_port = htons((uint16_t)port);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    errno = ERANGE;
    if (port > 65535 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 99) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &len) != 0) {
        http_die("port");
    }
    http_signals_block();
    printf("http://127.0.0.1:%d/\n", ntohs(at.sin_port));
    fflush(stdout);
    return fd;
}

/* Listen on a unix socket, which this user alone may open. Replace the socket of an earlier server;
 * a file of another type stays, and the bind fails. */
static inline int http_listen_unix(const char *path)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    struct stat st;
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    errno = ENAMETOOLONG; /* a path that is cut could name another file */
    if (strlen(path) >= sizeof at.sun_path) { http_die(path); }
    memcpy(at.sun_path, path, strlen(path));
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode)) { unlink(path); }
    if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || chmod(path, 0600) != 0 ||
        listen(fd, 99) != 0) {
        http_die(path);
    }
    http_signals_block();
    return fd;
}

/* ---- Answers -------------------------------------------------------------------------------- */

/* Send an answer. Each of its header lines ends with CRLF. */
static inline void http_send(const http_request *q, const char *status, const char *lines,
                             const void *body, size_t len)
{
    const char *at = body;
    const int head = dprintf(q->client, "HTTP/1.0 %s\r\nContent-Type: text/plain\r\n"
                             "Content-Length: %zu\r\nX-Content-Type-Options: nosniff\r\n%s\r\n",
                             status, len, lines);
    if (head < 0 || strcmp(q->method, "HEAD") == 0) { return; }
    while (len > 0) {
        const ssize_t n = write(q->client, at, len);
        if (n <= 0) { return; } /* the client left, or read nothing for 5 seconds */
        at += n;
        len -= (size_t)n;
    }
}

/* Send a page. Its age is for the line X-Cache: "fresh" or "old". */
static inline void http_page(const http_request *q, const char *age, const void *page, size_t len)
{
    char lines[64];
    snprintf(lines, sizeof lines, "X-Cache: %s\r\n", age);
    http_send(q, "200 OK", lines, page, len);
}

/* Send a status without a page, and header lines. */
static inline void http_lines(const http_request *q, const char *status, const char *lines)
{
    char text[64];
    const int len = snprintf(text, sizeof text, "%s\n", status);
    http_send(q, status, lines, text, (size_t)len);
}

static inline void http_status(const http_request *q, const char *status)
{
    http_lines(q, status, "");
}

/* Send a status, and say when to try again: after whole seconds, at least one. */
static inline void http_retry(const http_request *q, const char *status, int64_t after_ms)
{
    char lines[64];
    snprintf(lines, sizeof lines, "Retry-After: %lld\r\n", (long long)(after_ms / 1000 + 1));
    http_lines(q, status, lines);
}

/* Say that the server failed, and print why. */
static inline void http_failed(const http_request *q, cellar_err err)
{
    http_report(err);
    http_status(q, "503 Service Unavailable");
}

/* ---- Requests ------------------------------------------------------------------------------- */

static inline int64_t http_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Read the head of a request, in one part or more. Return false if it is too long, or takes more
 * than 30 seconds. */
static inline bool http_head_read(int client, char *head, size_t cap)
{
    struct pollfd in = { .fd = client, .events = POLLIN };
    const int64_t end_ms = http_now_ms() + 30000;
    size_t len = 0;
    while (len < cap - 1) {
        const int64_t left_ms = end_ms - http_now_ms();
        if (left_ms <= 0 || poll(&in, 1, (int)left_ms) <= 0) { return false; }
        const ssize_t n = read(client, head + len, cap - 1 - len);
        if (n <= 0) { return false; }
        len += (size_t)n;
        head[len] = '\0';
        if (strstr(head, "\r\n\r\n") != NULL) { return true; }
    }
    return false;
}

/* Tell whether a list such as "GET, HEAD" has a method. */
static inline bool http_allows(const char *methods, const char *method)
{
    const size_t len = strlen(method);
    const char *at = methods;
    while (at[strspn(at, ", ")] != '\0') {
        at += strspn(at, ", ");
        const size_t word_len = strcspn(at, ", ");
        if (word_len == len && memcmp(at, method, len) == 0) { return true; }
        at += word_len;
    }
    return false;
}

/* Read one request. Return false if it is none that the program answers; its client knows. */
static inline bool http_read(http_request *q, const char *methods)
{
    char head[2000], version[2], lines[64];
    if (!http_head_read(q->client, head, sizeof head) ||
        sscanf(head, "%15s %255s HTTP/%1s", q->method, q->path, version) != 3) {
        http_status(q, "400 Bad Request");
        return false;
    }
    q->path_len = strlen(q->path);
    if (http_allows(methods, q->method)) { return true; }
    snprintf(lines, sizeof lines, "Allow: %s\r\n", methods);
    http_lines(q, "405 Method Not Allowed", lines);
    return false;
}

enum { HTTP_CLIENTS = 64 }; /* served at a time; further ones wait until the listener takes them */

static struct http_server { /* set by http_serve, before its first thread starts */
    const char *methods;
    http_answer_fn *answer;
    cellar *pages;
    sem_t places; /* HTTP_CLIENTS, less the clients that have a thread */
} http_server;

/* Serve one client: the thread of http_start. */
static inline void *http_client(void *request)
{
    http_request *const q = request;
    if (http_read(q, http_server.methods)) { http_server.answer(q, http_server.pages); }
    close(q->client);
    free(q);
    sem_post(&http_server.places); /* last: http_serve may return now */
    return NULL;
}

/* Start a thread for a client, as soon as one of the places is free. */
static inline void http_start(const http_request *q)
{
    pthread_t thread;
    http_request *const own = malloc(sizeof *own);
    if (own == NULL) {
        close(q->client);
        return;
    }
    *own = *q;
    while (sem_wait(&http_server.places) != 0) {}
    if (pthread_create(&thread, NULL, http_client, own) == 0) { pthread_detach(thread); }
    else { http_client(own); } /* the system has no thread for it */
}

/* Serve clients until SIGTERM: call `answer` for each request with one of the methods. Return after
 * the last answer, when no thread uses the store. */
static inline void http_serve(int listener, const char *methods, http_answer_fn *answer,
                              cellar *pages)
{
    const struct timeval most = { .tv_sec = 5 }; /* for a client that does not read */
    sigset_t sigterm;
    sigemptyset(&sigterm);
    sigaddset(&sigterm, SIGTERM);
    struct pollfd in[2] = { { .fd = listener, .events = POLLIN }, { .events = POLLIN } };
    in[1].fd = signalfd(-1, &sigterm, SFD_CLOEXEC);
    if (in[1].fd < 0) { http_die("signalfd"); }
    http_server.methods = methods;
    http_server.answer = answer;
    http_server.pages = pages;
    sem_init(&http_server.places, 0, HTTP_CLIENTS);
    while (poll(in, 2, -1) < 0 || in[1].revents == 0) {
        struct sockaddr_in from = { .sin_family = AF_UNSPEC };
        socklen_t len = sizeof from;
        http_request q = { .client = accept(listener, (struct sockaddr *)&from, &len) };
        if (q.client < 0) { /* another worker was faster, or there are no descriptors */
            usleep(1000);
            continue;
        }
        q.address = from.sin_addr;
        setsockopt(q.client, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);
        http_start(&q);
    }
    close(listener); /* from now on a client is refused, and may ask another server */
    for (int i = 0; i < HTTP_CLIENTS; i++) { while (sem_wait(&http_server.places) != 0) {} }
    close(in[1].fd);
}

/* ---- Processes ------------------------------------------------------------------------------ */

#define HTTP_WORKERS 4

/* Start a worker. It ends with its master, however that ends. */
static inline pid_t http_fork(int listener, int (*worker)(int listener))
{
    const pid_t master = getpid();
    const pid_t pid = fork();
    if (pid != 0) { return pid; }
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    _exit(getppid() == master ? worker(listener) : 1); /* 1: the master has ended already */
}

/* Keep the workers running until SIGTERM, then end them. A worker that dies is started again; after
 * five such ends without a quiet second the server gives up. Return 0 after SIGTERM if each worker
 * returned 0. */
static inline int http_workers(int listener, int (*worker)(int listener))
{
    const struct timespec second = { .tv_sec = 1 };
    pid_t pids[HTTP_WORKERS] = { 0 };
    sigset_t heard;
    int number = 0, ends = 0, status = 0, failed = 0;
    sigemptyset(&heard);
    sigaddset(&heard, SIGTERM);
    sigaddset(&heard, SIGCHLD);
    while (number != SIGTERM && ends < 5) {
        for (int i = 0; i < HTTP_WORKERS; i++) {
            const bool runs = pids[i] > 0 && waitpid(pids[i], NULL, WNOHANG) == 0;
            if (!runs) { pids[i] = http_fork(listener, worker); } /* -1: again in a second */
        }
        number = sigtimedwait(&heard, NULL, &second);
        ends = number == SIGCHLD ? ends + 1 : 0;
        if (number == SIGCHLD) { usleep(200000); } /* no more than five starts a second */
    }
    for (int i = 0; i < HTTP_WORKERS; i++) {
        if (pids[i] > 0) { kill(pids[i], SIGTERM); }
    }
    while (wait(&status) > 0) { failed |= status; }
    return number == SIGTERM && failed == 0 ? 0 : 1;
}

/* ---- Stand-in of a database ----------------------------------------------------------------- */

#define DATABASE_PAGE_MAX 512

/* Write the page of a path, with the number of pages that this process has asked for. Return the
 * length of the page, 0 if the database has no such page, or -1 if the database is down. The page
 * /slow takes a second. A real query has its connections in `db`: the loader_ctx of the namespace,
 * or ctx of the load. */
static inline int database_page(void *db, char page[DATABASE_PAGE_MAX], const void *path,
                                size_t path_len)
{
    static atomic_int number;
    (void)db;
    if (path_len == 5 && memcmp(path, "/none", 5) == 0) { return 0; }
    if (path_len == 5 && memcmp(path, "/down", 5) == 0) { return -1; }
    if (path_len == 5 && memcmp(path, "/slow", 5) == 0) { sleep(1); }
    return snprintf(page, DATABASE_PAGE_MAX, "%.*s: page %d by %d\n", (int)path_len,
                    (const char *)path, atomic_fetch_add(&number, 1) + 1, (int)getpid());
}

#endif
