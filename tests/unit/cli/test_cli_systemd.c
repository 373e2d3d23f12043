/* SPDX-License-Identifier: MIT
 *
 * Aim:    `cellar serve` tells a manager of services when it is ready, reads again, lives and ends;
 *         it serves the sockets that the manager holds, and no restart behind them costs a request.
 * Method: the built program; the test has the datagram socket and the sockets of a manager.
 *         RESTARTS=n: so many restarts in place of 100. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "tests/support/folder.h"
#include "tests/support/t.h"

enum { WORDS_MAX = 16, FIRST = 3, BIG = 100000 };

static char folder[T_FOLDER_MAX], file[T_FOLDER_MAX + 16], policy[T_FOLDER_MAX + 16];
static struct sockaddr_un held_file; /* of the second socket that is held */

/* A manager of services with one service. */
typedef struct manager {
    pid_t pid;
    int notify, out;       /* its datagrams; the output of the service */
    int log;               /* its error output; 0: that of the test */
    char name[T_FOLDER_MAX + 8]; /* of `notify`, as NOTIFY_SOCKET has it */
    bool tells;            /* NOTIFY_SOCKET is set */
    const char *env[8];    /* "NAME=value", NULL behind the last one */
    const char *listen_pid; /* NULL: that of the service */
    int held[4];           /* sockets of LISTEN_FDS */
    int held_count;
} manager;

static const char *program(void)
{
    const char *bin = getenv("CELLAR_BIN");
    return bin != NULL ? bin : "build/cellar";
}

static const char *no_program(const char *case_name)
{
    (void)case_name;
    return access(program(), X_OK) == 0 ? NULL : "this build has no program";
}
__attribute__((constructor)) static void needs_program(void) { t_.exempt = no_program; }

static manager *manager_open(bool abstract)
{
    static manager one, *m = &one;
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    const struct timeval most = { 60 * (long)t_patience(), 0 };
    *m = (manager){ .tells = true, .out = -1 };
    t_folder(folder);
    (void)snprintf(file, sizeof file, "%s/s", folder);
    (void)snprintf(policy, sizeof policy, "%s/policy", folder);
    (void)snprintf(m->name, sizeof m->name, abstract ? "@%s/n" : "%s/n", folder);
    T_REQUIRE(strlen(m->name) < sizeof at.sun_path);
    memcpy(at.sun_path, m->name, strlen(m->name));
    if (abstract) { at.sun_path[0] = '\0'; }
    m->notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    T_REQUIRE(setsockopt(m->notify, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most) == 0);
    T_REQUIRE(bind(m->notify, (struct sockaddr *)&at,
                   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(m->name))) == 0);
    return m;
}

static void manager_close(manager *m)
{
    for (int i = 0; i < m->held_count; i++) { close(m->held[i]); }
    close(m->notify);
    t_wipe(folder);
}

#define MANAGER(fn) T_WITH(fn, manager *m, m, manager_open(false), manager_close(m))
#define ABSTRACT(fn) T_WITH(fn, manager *m, m, manager_open(true), manager_close(m))

/* In the child: become the service. */
static void service_exec(const manager *m, int out, char **words)
{
    const char *const bin = strdup(program()); /* the variable goes */
    char count[16], pid[32];
    int high[4];
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)dup2(out, 1);
    if (m->log > 0) { (void)dup2(m->log, 2); }
    for (char **e = environ; *e != NULL;) { /* those of the runner are no settings */
        char name[64];
        if (sscanf(*e, "CELLAR_%50[A-Z_]", name + 7) == 1) {
            memcpy(name, "CELLAR_", 7);
            unsetenv(name);
        } else {
            e++;
        }
    }
    for (int i = 0; i < m->held_count; i++) { high[i] = fcntl(m->held[i], F_DUPFD_CLOEXEC, 100); }
    for (int i = 0; i < m->held_count; i++) { (void)dup2(high[i], FIRST + i); }
    (void)snprintf(count, sizeof count, "%d", m->held_count);
    (void)snprintf(pid, sizeof pid, "%d", (int)getpid());
    if (m->held_count > 0) {
        setenv("LISTEN_FDS", count, 1);
        setenv("LISTEN_PID", m->listen_pid != NULL ? m->listen_pid : pid, 1);
    }
    if (m->tells) { setenv("NOTIFY_SOCKET", m->name, 1); }
    for (const char *const *e = m->env; *e != NULL; e++) { putenv((char *)(uintptr_t)*e); }
    execv(bin, words);
    _exit(127);
}

/* Start `cellar serve` with these options, which end with NULL. */
static void service_start(manager *m, const char *const *options)
{
    static const char *const first[] = { "cellar", "serve", "--memory=16M", "--port=0", "--unix" };
    const char *words[WORDS_MAX] = { NULL };
    size_t n = sizeof first / sizeof *first;
    int out[2];
    memcpy(words, first, sizeof first);
    words[n++] = file;
    for (; options != NULL && *options != NULL; options++) { words[n++] = *options; }
    T_REQUIRE(n < WORDS_MAX && pipe2(out, O_CLOEXEC) == 0);
    m->pid = fork();
    T_REQUIRE(m->pid >= 0);
    if (m->pid == 0) { service_exec(m, out[1], (char **)(uintptr_t)words); }
    close(out[1]);
    if (m->out >= 0) { close(m->out); }
    m->out = out[0];
}

/* Return the next message of the service; "": none comes. */
static const char *told(const manager *m, int flags)
{
    static char text[512];
    const ssize_t len = recv(m->notify, text, sizeof text - 1, flags);
    text[len > 0 ? len : 0] = '\0';
    return text;
}

static bool begins(const char *text, const char *with)
{
    const bool same = strncmp(text, with, strlen(with)) == 0;
    if (!same) { T_EQ_STR(text, with); }
    return same;
}

/* Return what the service has printed; it has printed something, or will. */
static const char *printed(const manager *m)
{
    static char text[256];
    const ssize_t len = read(m->out, text, sizeof text - 1);
    text[len > 0 ? len : 0] = '\0';
    return text;
}

static int service_exit(manager *m)
{
    int status = -1;
    T_EQ_I64(waitpid(m->pid, &status, 0), m->pid);
    close(m->out);
    m->out = -1;
    return status;
}

static void service_stop(manager *m)
{
    T_EQ_I64(kill(m->pid, SIGTERM), 0);
    T_EQ_I64(service_exit(m), 0);
}

static void write_policy(const char *text)
{
    FILE *f = fopen(policy, "w");
    T_REQUIRE(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

/* ---- messages ---- */

static long long now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (long long)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void tells_of(manager *m)
{
    write_policy("[db0]\ndeny secret*\n");
    service_start(m, (const char *[]){ "--policy", policy, NULL });
    T_CHECK(begins(told(m, 0), "READY=1\nSTATUS=serving clients"));
    T_CHECK(fcntl(m->out, F_SETFL, O_NONBLOCK) == 0); /* the line stood before the message */
    T_CHECK(begins(printed(m), "ready: socket "));
    for (int i = 0; i < 2; i++) {
        long long at_us = 0;
        const long long before_us = now_us();
        T_EQ_I64(kill(m->pid, SIGHUP), 0);
        T_EQ_I64(sscanf(told(m, 0), "RELOADING=1\nMONOTONIC_USEC=%lld\nSTATUS=", &at_us), 1);
        T_CHECK(at_us >= before_us && at_us <= now_us());
        const char *const ready = told(m, 0);
        T_CHECK(begins(ready, "READY=1\nSTATUS=serving clients"));
        T_EQ_I64(strstr(ready, "the file is faulty") != NULL, i == 1);
        write_policy("no section\n");
    }
    service_stop(m);
    T_CHECK(begins(told(m, 0), "STOPPING=1\nSTATUS="));
    T_EQ_STR(told(m, MSG_DONTWAIT), "");
}

T_CASE_ON(manager_hears_of_start_reload_and_end, MANAGER) { tells_of(m); }
T_CASE_ON(manager_on_an_abstract_socket_hears_the_same, ABSTRACT) { tells_of(m); }

T_CASE_ON(nothing_is_sent_without_notify_socket, MANAGER)
{
    m->tells = false;
    m->env[0] = "WATCHDOG_USEC=2000";
    service_start(m, NULL);
    T_CHECK(begins(printed(m), "ready: socket "));
    service_stop(m);
    T_EQ_STR(told(m, MSG_DONTWAIT), "");
}

T_CASE_ON(watchdog_of_another_process_gets_no_beat, MANAGER)
{
    m->env[0] = "WATCHDOG_USEC=2000";
    m->env[1] = "WATCHDOG_PID=1";
    service_start(m, NULL);
    T_CHECK(begins(told(m, 0), "READY=1"));
    T_EQ_I64(kill(m->pid, SIGHUP), 0); /* one turn of the loop at least */
    T_CHECK(begins(told(m, 0), "RELOADING=1"));
    T_CHECK(begins(told(m, 0), "READY=1"));
    service_stop(m);
    T_CHECK(begins(told(m, 0), "STOPPING=1"));
}

/* Connect to a socket. -1: refused. */
static int dial(const struct sockaddr *at, socklen_t len)
{
    const struct timeval most = { 60 * (long)t_patience(), 0 };
    const int fd = socket(at->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    T_REQUIRE(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most) == 0);
    if (connect(fd, at, len) == 0) { return fd; }
    close(fd);
    return -1;
}

static int dial_file(void)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    memcpy(at.sun_path, file, strlen(file));
    return dial((struct sockaddr *)&at, sizeof at);
}

/* Let a command hold the loop for 40 beats. Return the beats that came meanwhile. */
static int beats_while_held(const manager *m, int fd)
{
    char reply[8];
    int beats = 0;
    while (*told(m, MSG_DONTWAIT) != '\0') { }
    T_EQ_I64(send(fd, "DEBUG SLEEP 0.4\r\n", 17, MSG_NOSIGNAL), 17);
    for (struct pollfd p[] = { { .fd = fd, .events = POLLIN },
                               { .fd = m->notify, .events = POLLIN } };
         poll(p, 2, -1) > 0 && p[0].revents == 0;) {
        beats += begins(told(m, 0), "WATCHDOG=1");
    }
    T_EQ_I64(recv(fd, reply, sizeof reply, 0), 5);
    return beats;
}

/* Read all messages. Return whether the last one says that the service stops. */
static bool stopped_last(const manager *m)
{
    bool stopped = false;
    for (const char *text = told(m, MSG_DONTWAIT); *text != '\0'; text = told(m, MSG_DONTWAIT)) {
        stopped = strncmp(text, "STOPPING=1", 10) == 0;
    }
    return stopped;
}

T_CASE_ON(beats_come_from_a_loop_that_turns, MANAGER)
{
    int least = INT32_MAX;
    m->env[0] = "WATCHDOG_USEC=20000";
    service_start(m, (const char *[]){ "--danger", NULL });
    T_CHECK(begins(told(m, 0), "READY=1"));
    for (int i = 0; i < 3; i++) { T_EQ_STR(told(m, 0), "WATCHDOG=1"); }
    const int fd = dial_file();
    T_REQUIRE(fd >= 0);
    for (int i = 0; i < 20 && least > 2; i++) { /* a busy machine adds beats before the command */
        const int beats = beats_while_held(m, fd);
        least = beats < least ? beats : least;
    }
    T_CHECK(least <= 2);
    close(fd);
    service_stop(m);
    int rounds = 0;
    for (; rounds < 20 && !stopped_last(m); rounds++) { /* a socket full of beats drops it */
        service_start(m, NULL);
        T_CHECK(begins(told(m, 0), "READY=1"));
        service_stop(m);
    }
    T_CHECK(rounds < 20);
}

/* Return whether a process has a handler of SIGTERM. */
static bool handles_sigterm(pid_t pid)
{
    char path[64], line[128];
    unsigned long long caught = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        (void)sscanf(line, "SigCgt: %llx", &caught);
    }
    if (f != NULL) { (void)fclose(f); }
    return (caught >> (SIGTERM - 1) & 1) != 0;
}

/* The open waits: it logs that there is no disk tier, and the log is a full pipe. */
T_CASE_ON(sigterm_during_the_open_ends_in_order, MANAGER)
{
    static char block[65536];
    char line[T_FOLDER_MAX + 16];
    int log[2];
    T_REQUIRE(pipe2(log, O_CLOEXEC | O_NONBLOCK) == 0);
    while (write(log[1], block, sizeof block) > 0 || write(log[1], block, 1) > 0) { }
    T_REQUIRE(fcntl(log[1], F_SETFL, 0) == 0); /* the service waits there */
    (void)snprintf(line, sizeof line, "--l2=%s/none/l2", folder);
    m->env[0] = "CELLAR_L2_OPTIONAL=1";
    m->log = log[1];
    service_start(m, (const char *[]){ line, NULL });
    for (int i = 0; i < 60000 && !handles_sigterm(m->pid); i++) { usleep(1000); }
    T_EQ_I64(kill(m->pid, SIGTERM), 0);
    close(log[1]);
    for (struct pollfd p = { .fd = log[0], .events = POLLIN };
         poll(&p, 1, -1) > 0 && read(log[0], block, sizeof block) > 0;) { }
    close(log[0]);
    T_EQ_I64(service_exit(m), 0);
    T_CHECK(begins(told(m, MSG_DONTWAIT), "STOPPING=1")); /* and never READY */
    T_CHECK(access(file, F_OK) != 0);
}

/* ---- sockets ---- */

static int listen_at(struct sockaddr *at, socklen_t len)
{
    const int fd = socket(at->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    T_REQUIRE(fd >= 0 && bind(fd, at, len) == 0 && listen(fd, 64) == 0);
    return fd;
}

/* Hold a socket of TCP, and one in the file "held". Return the address of the first one. */
static struct sockaddr_in hold(manager *m)
{
    struct sockaddr_in tcp = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof tcp;
    held_file = (struct sockaddr_un){ .sun_family = AF_UNIX };
    T_REQUIRE(strlen(folder) + sizeof "/held" <= sizeof held_file.sun_path);
    memcpy(held_file.sun_path, folder, strlen(folder));
    memcpy(held_file.sun_path + strlen(folder), "/held", sizeof "/held");
    m->held[m->held_count++] = listen_at((struct sockaddr *)&tcp, sizeof tcp);
    m->held[m->held_count++] = listen_at((struct sockaddr *)&held_file, sizeof held_file);
    T_REQUIRE(getsockname(m->held[0], (struct sockaddr *)&tcp, &len) == 0);
    return tcp;
}

T_CASE_ON(own_sockets_stand_in_place_of_options, MANAGER)
{
    char line[64];
    const struct sockaddr_in tcp = hold(m);
    service_start(m, NULL);
    (void)snprintf(line, sizeof line, "ready: port %u sockets of LISTEN_FDS\n",
                   ntohs(tcp.sin_port));
    T_EQ_STR(printed(m), line);
    T_CHECK(access(file, F_OK) != 0); /* of --unix */
    service_stop(m);
    m->listen_pid = "1";
    service_start(m, NULL);
    T_CHECK(begins(printed(m), "ready: socket "));
    service_stop(m);
}

T_CASE_ON(sockets_that_a_port_refuses_exit_3, MANAGER)
{
    (void)hold(m);
    m->held[m->held_count++] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    service_start(m, NULL);
    T_EQ_I64(service_exit(m), 3 << 8);
    m->held_count++;
    m->held[3] = dup(m->held[2]);
    service_start(m, NULL);
    T_EQ_I64(service_exit(m), 3 << 8);
}

typedef struct user {
    const manager *m;
    struct sockaddr_in tcp;
    _Atomic uint64_t done;
    _Atomic bool stops;
    uint64_t errors, torn, closes;
    long long longest_us;
} user;

/* Read one reply of `len` bytes. Return how many came. */
static size_t take(int fd, char *to, size_t len)
{
    size_t have = 0;
    for (ssize_t n; have < len && (n = recv(fd, to + have, len - have, 0)) > 0;) {
        have += (size_t)n;
    }
    return have;
}

/* Connect for each request, in turns to both sockets. */
static void *comes_and_goes(void *ctx)
{
    user *u = ctx;
    for (uint64_t i = 0; !atomic_load(&u->stops); i++) {
        char request[64], reply[8] = "";
        const long long from_us = now_us();
        const int fd = i % 2 == 0 ? dial((const struct sockaddr *)&u->tcp, sizeof u->tcp)
                                  : dial((struct sockaddr *)&held_file, sizeof held_file);
        const int len = snprintf(request, sizeof request, "SET k%u v%u\r\n", (unsigned)(i % 100),
                                 (unsigned)i);
        const bool sent = fd >= 0 && send(fd, request, (size_t)len, MSG_NOSIGNAL) == len;
        u->errors += !sent || take(fd, reply, 5) != 5 || strcmp(reply, "+OK\r\n") != 0;
        if (fd >= 0) { close(fd); }
        const long long took_us = now_us() - from_us;
        if (took_us > u->longest_us) { u->longest_us = took_us; }
        atomic_fetch_add(&u->done, 1);
    }
    return NULL;
}

/* Keep one connection, and connect again when the service closes it. */
static void *stays(void *ctx)
{
    static char reply[BIG + 16];
    user *u = ctx;
    int fd = -1;
    while (!atomic_load(&u->stops)) {
        if (fd < 0) { fd = dial((const struct sockaddr *)&u->tcp, sizeof u->tcp); }
        T_REQUIRE(fd >= 0);
        (void)send(fd, "GET big\r\n", 9, MSG_NOSIGNAL);
        const size_t want = BIG + 11, have = take(fd, reply, want); /* $100000, two ends of lines */
        if (have == want) {
            u->errors += memcmp(reply, "$100000\r\nvvv", 12) != 0;
            atomic_fetch_add(&u->done, 1);
            continue;
        }
        u->torn += have != 0;
        u->closes++;
        close(fd);
        fd = -1;
    }
    if (fd >= 0) { close(fd); }
    return NULL;
}

static void set_big(const user *u)
{
    static char request[BIG + 64];
    const int head = snprintf(request, sizeof request,
                              "*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$%d\r\n", BIG);
    char reply[8] = "";
    const int fd = dial((const struct sockaddr *)&u->tcp, sizeof u->tcp);
    memset(request + head, 'v', BIG);
    memcpy(request + head + BIG, "\r\n", 2);
    const ssize_t len = head + BIG + 2;
    T_REQUIRE(fd >= 0 && send(fd, request, (size_t)len, MSG_NOSIGNAL) == len);
    T_REQUIRE(take(fd, reply, 5) == 5);
    T_EQ_STR(reply, "+OK\r\n");
    close(fd);
}

/* Wait until a user has had some more replies. */
static void wait_for(user *u)
{
    const uint64_t from = atomic_load(&u->done);
    const struct timespec ms = { 0, 1000000 };
    for (unsigned i = 0; atomic_load(&u->done) < from + 3; i++) {
        T_REQUIRE(i < 60000 * t_patience());
        nanosleep(&ms, NULL);
    }
}

T_CASE_ON(restarts_behind_held_sockets_lose_no_request, MANAGER)
{
    static user users[2];
    pthread_t id[2];
    char disk[T_FOLDER_MAX + 16];
    const uint64_t restarts = t_env_u64("RESTARTS", t_share(100));
    users[0] = users[1] = (user){ .m = m, .tcp = hold(m) };
    (void)snprintf(disk, sizeof disk, "--l2=%s/l2", folder);
    const char *const options[] = { disk, "--l2-bytes=32M", NULL };
    for (uint64_t i = 0; i <= restarts && !t_failed(); i++) {
        service_start(m, options);
        T_CHECK(begins(told(m, 0), "READY=1"));
        if (i == 0) {
            set_big(&users[0]);
            T_REQUIRE(pthread_create(&id[0], NULL, comes_and_goes, &users[0]) == 0);
            T_REQUIRE(pthread_create(&id[1], NULL, stays, &users[1]) == 0);
        }
        for (int k = 0; k < 2; k++) { wait_for(&users[k]); }
        for (int k = 0; k < 2 && i == restarts; k++) {
            atomic_store(&users[k].stops, true);
            pthread_join(id[k], NULL);
        }
        service_stop(m);
        T_CHECK(begins(told(m, 0), "STOPPING=1"));
    }
    printf("# %llu restarts, %llu requests with a connection each, longest %lld ms; %llu replies "
           "on one that stays, %llu closes\n", (unsigned long long)restarts,
           (unsigned long long)users[0].done, users[0].longest_us / 1000,
           (unsigned long long)users[1].done, (unsigned long long)users[1].closes);
    T_EQ_U64(users[0].errors + users[1].errors, 0);
    T_EQ_U64(users[1].torn, 0);
    t_wipe(disk + 5);
}

T_MAIN("cli_systemd")
