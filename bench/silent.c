/* SPDX-License-Identifier: MIT
 *
 * silent: latency and hits of a normal client of `cellar serve` beside thousands of silent ones.
 *
 * USAGE      silent PROGRAM [COUNT [SECONDS]]     COUNT of each kind, default 2000; default 60 s
 * PICTURE    four kinds of silent clients, connected again when they are closed:
 *                subscribers that read nothing      parts of SET of 20 MB
 *                200 unread GETs of 1 MB each       half-sent heads of HTTP
 *            beside them: 20,000 entries read by one client (its figures are the result), a
 *            publisher of 10 KB messages, a monitor that asks for /healthz
 * LIMITS     It needs 8 x COUNT descriptors, half of them in the server: it raises its own limit to
 *            the hard one, and lowers COUNT to what fits. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ENTRIES = 20000, VALUE = 1024, KINDS = 4, SAMPLES = 1 << 22 };
enum { SUBSCRIBER, SENDER, READER, VISITOR };
static const char *const kind_name[KINDS] = { "subscribers", "senders", "readers", "visitors" };

static unsigned port, admin_port;
static char socket_path[64]; /* of silent clients: they see at once that they are closed */
static _Atomic bool stopping;

static double now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void fail(const char *what)
{
    fprintf(stderr, "silent: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Connect to a port of this machine. -1: refused. */
static int dial(unsigned to)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)to),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const struct timeval limit = { .tv_sec = 5 };
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    if (fd < 0) { return -1; }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Connect to the socket file. -1: refused. */
static int dial_file(void)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    memcpy(at.sun_path, socket_path, strlen(socket_path));
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof at) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool send_all(int fd, const void *bytes, size_t len)
{
    const char *p = bytes;
    while (len > 0) {
        const ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
        if (n <= 0) { return false; }
        p += n;
        len -= (size_t)n;
    }
    return true;
}

/* Read one reply: a line, or a bulk. Return the bytes of its value; -1: an error or a null; -2: the
 * connection is closed. */
static long reply(int fd)
{
    char line[256];
    static _Thread_local char value[64 << 10];
    size_t n = 0;
    while (n < sizeof line - 1) {
        if (recv(fd, line + n, 1, 0) != 1) { return -2; }
        if (line[n++] == '\n') { break; }
    }
    line[n] = '\0';
    if (line[0] == '-') { return -1; }
    if (line[0] != '$') { return 0; }
    const long len = strtol(line + 1, NULL, 10);
    if (len < 0) { return -1; }
    for (size_t left = (size_t)len + 2; left > 0;) {
        const ssize_t got = recv(fd, value, left < sizeof value ? left : sizeof value, 0);
        if (got <= 0) { return -2; }
        left -= (size_t)got;
    }
    return len;
}

/* ---- the silent ones ---- */

typedef struct silent {
    int fd, kind;
} silent;

static char part[64 << 10];

/* Connect a silent client, and send the bytes of its kind. Return false if it is refused. */
static bool silent_begin(silent *s, int epoll)
{
    char text[12000];
    size_t len = 0;
    s->fd = s->kind == VISITOR ? dial(admin_port) : dial_file();
    if (s->fd < 0) { return false; }
    const struct timeval soon = { .tv_usec = 1000 }; /* the server reads only so much */
    (void)setsockopt(s->fd, SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof soon);
    if (s->kind == SUBSCRIBER) {
        len = (size_t)snprintf(text, sizeof text, "SUBSCRIBE news\r\n");
    } else if (s->kind == SENDER) {
        len = (size_t)snprintf(text, sizeof text,
                               "*3\r\n$3\r\nSET\r\n$2\r\nk1\r\n$20000000\r\n");
    } else if (s->kind == VISITOR) {
        len = (size_t)snprintf(text, sizeof text, "GET /healthz HTTP/1.1\r\nHost: loc");
    } else {
        for (int i = 0; i < 200; i++) {
            len += (size_t)snprintf(text + len, sizeof text - len,
                                    "*2\r\n$3\r\nGET\r\n$5\r\nlarge\r\n");
        }
    }
    (void)send_all(s->fd, text, len);
    if (s->kind == SENDER) { (void)send_all(s->fd, part, sizeof part); }
    struct epoll_event e = { .events = EPOLLRDHUP, .data.ptr = s };
    return epoll_ctl(epoll, EPOLL_CTL_ADD, s->fd, &e) == 0;
}

/* ---- the others ---- */

static float sample[SAMPLES];
static uint64_t gets, hits, lost;
static uint64_t published, publisher_closed;
static uint64_t visits, refused;
static double visit_max_s;

static void *normal_run(void *arg)
{
    uint32_t draw = 1;
    int fd = dial(port);
    (void)arg;
    while (!stopping) {
        char line[64];
        draw = draw * 1664525u + 1013904223u;
        const int len = snprintf(line, sizeof line, "*2\r\n$3\r\nGET\r\n$9\r\nkey:%05u\r\n",
                                 (draw >> 8) % ENTRIES);
        const double since_s = now_s();
        const long got = fd >= 0 && send_all(fd, line, (size_t)len) ? reply(fd) : -2;
        if (gets < SAMPLES) { sample[gets] = (float)(now_s() - since_s); }
        gets++;
        hits += got == VALUE;
        if (got == -2) {
            lost++;
            if (fd >= 0) { close(fd); }
            fd = dial(port);
        }
        usleep(200);
    }
    if (fd >= 0) { close(fd); }
    return NULL;
}

static void *publisher_run(void *arg)
{
    static char text[11000];
    int fd = dial(port);
    (void)arg;
    const size_t head = (size_t)snprintf(text, sizeof text,
                                         "*3\r\n$7\r\nPUBLISH\r\n$4\r\nnews\r\n$10000\r\n");
    memset(text + head, 'm', 10000);
    memcpy(text + head + 10000, "\r\n", 2);
    for (; !stopping; usleep(20000)) {
        if (fd >= 0 && send_all(fd, text, head + 10002) && reply(fd) == 0) {
            published++;
        } else {
            publisher_closed++;
            if (fd >= 0) { close(fd); }
            fd = dial(port);
        }
    }
    if (fd >= 0) { close(fd); }
    return NULL;
}

static void *monitor_run(void *arg)
{
    static const char ask[] = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
                              "Connection: close\r\n\r\n";
    (void)arg;
    for (; !stopping; usleep(100000)) {
        char text[64] = "";
        const double since_s = now_s();
        const int fd = dial(admin_port);
        const bool ok = fd >= 0 && send_all(fd, ask, sizeof ask - 1) &&
                        recv(fd, text, sizeof text - 1, MSG_WAITALL) > 12 &&
                        memcmp(text, "HTTP/1.1 200", 12) == 0;
        if (fd >= 0) { close(fd); }
        visits++;
        refused += !ok;
        if (now_s() - since_s > visit_max_s) { visit_max_s = now_s() - since_s; }
    }
    return NULL;
}

/* ---- the server ---- */

/* Return a TCP port that is free now. */
static unsigned free_port(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof at;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, len) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &len) != 0) {
        fail("bind");
    }
    close(fd);
    return ntohs(at.sin_port);
}

static pid_t server_start(const char *program, unsigned clients)
{
    char most[16], line[256], number[16];
    (void)snprintf(number, sizeof number, "%u", free_port());
    int out[2];
    if (pipe(out) != 0) { fail("pipe"); }
    (void)snprintf(most, sizeof most, "%u", clients);
    const pid_t child = fork();
    if (child == 0) {
        (void)dup2(out[1], 1);
        (void)execl(program, program, "serve", "--memory=64M", "--port", number, "--admin=0",
                    "--namespaces=0=bench", "--unix", socket_path, "--max-clients", most, (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    FILE *f = fdopen(out[0], "r");
    if (f == NULL || fgets(line, sizeof line, f) == NULL ||
        sscanf(line, "ready: port %u socket %*s admin %u", &port, &admin_port) != 2) {
        errno = ECHILD;
        fail("the program does not start");
    }
    return child;
}

static void fill(void)
{
    static char value[1 << 20];
    const int fd = dial(port);
    memset(value, 'v', sizeof value);
    for (int i = 0; i <= ENTRIES; i++) {
        char head[64];
        const bool large = i == ENTRIES;
        const size_t len = large ? sizeof value : VALUE;
        char key[16];
        (void)snprintf(key, sizeof key, large ? "large" : "key:%05d", i);
        const int n = snprintf(head, sizeof head, "*3\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$%zu\r\n",
                               strlen(key), key, len);
        if (!send_all(fd, head, (size_t)n) || !send_all(fd, value, len) ||
            !send_all(fd, "\r\n", 2) || reply(fd) != 0) {
            fail("fill");
        }
    }
    close(fd);
}

static int by_size(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static uint64_t again[KINDS];

/* Keep the silent clients connected until the time is over. */
static void keep(silent *all, size_t count, int epoll, double end_s)
{
    while (now_s() < end_s) {
        struct epoll_event e[64];
        const int n = epoll_wait(epoll, e, 64, 100);
        for (int i = 0; i < n; i++) {
            silent *s = e[i].data.ptr;
            close(s->fd);
            s->fd = -1;
            again[s->kind]++;
            usleep(100);
        }
        for (size_t i = 0, tries = 0; i < count && tries < 64; i++) {
            if (all[i].fd < 0) {
                tries++;
                if (!silent_begin(&all[i], epoll) && all[i].fd >= 0) {
                    close(all[i].fd);
                    all[i].fd = -1;
                }
            }
        }
    }
}

int main(int argc, char **argv)
{
    size_t each = argc > 2 ? strtoul(argv[2], NULL, 10) : 2000;
    const double seconds = argc > 3 ? strtod(argv[3], NULL) : 60;
    struct rlimit files;
    pthread_t thread[3];
    if (argc < 2) {
        fprintf(stderr, "usage: silent PROGRAM [COUNT [SECONDS]]\n");
        return 2;
    }
    (void)getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
    if (each * KINDS + 100 > files.rlim_cur) { each = (files.rlim_cur - 100) / KINDS; }
    const size_t count = each * KINDS;
    char folder[] = "/tmp/silent-XXXXXX";
    if (mkdtemp(folder) == NULL) { fail("mkdtemp"); }
    (void)snprintf(socket_path, sizeof socket_path, "%s/port", folder);
    const pid_t server = server_start(argv[1], (unsigned)(3 * each + 100));
    fill();
    const int epoll = epoll_create1(EPOLL_CLOEXEC);
    silent *all = calloc(count + 1, sizeof *all);
    if (epoll < 0 || all == NULL) { fail("epoll"); }
    for (size_t i = 0; i < count; i++) { all[i] = (silent){ -1, (int)(i % KINDS) }; }
    (void)pthread_create(&thread[0], NULL, normal_run, NULL);
    (void)pthread_create(&thread[1], NULL, publisher_run, NULL);
    (void)pthread_create(&thread[2], NULL, monitor_run, NULL);
    keep(all, count, epoll, now_s() + seconds);
    stopping = true;
    for (int i = 0; i < 3; i++) { (void)pthread_join(thread[i], NULL); }
    const size_t n = gets < SAMPLES ? gets : SAMPLES;
    qsort(sample, n, sizeof *sample, by_size);
    printf("silent: %zu of each kind, %.0f s\n", each, seconds);
    for (int i = 0; i < KINDS; i++) {
        printf("  %s closed: %llu\n", kind_name[i], (unsigned long long)again[i]);
    }
    printf("normal client: %llu gets, hit ratio %.4f, lost connections %llu, p50 %.3f ms, "
           "p99 %.3f ms, max %.1f ms\n", (unsigned long long)gets,
           gets > 0 ? (double)hits / (double)gets : 0, (unsigned long long)lost,
           n > 0 ? 1e3 * (double)sample[n / 2] : 0, n > 0 ? 1e3 * (double)sample[n / 100 * 99] : 0,
           n > 0 ? 1e3 * (double)sample[n - 1] : 0);
    printf("publisher: %llu messages, closed %llu\n", (unsigned long long)published,
           (unsigned long long)publisher_closed);
    printf("monitor: %llu visits, %llu without 200, longest %.3f s\n", (unsigned long long)visits,
           (unsigned long long)refused, visit_max_s);
    (void)kill(server, SIGTERM);
    (void)waitpid(server, NULL, 0);
    (void)rmdir(folder);
    free(all);
    return 0;
}
