/* SPDX-License-Identifier: MIT
 *
 * engine_kit: a redis-server or sentinel of the test itself, for tests of the remote tier.
 *
 * PICTURE    engine_start -> process of the server -> folder/r.sock, a free TCP port on request
 * USE        engine e;
 *            if (!engine_start(&e, NULL)) { return; }    the case is skipped without a server
 *            engine_ask(&e, "SET k %d", 1);              a reply, valid until the next call
 *            engine_stop(&e);                            or left to the end of the case (left.h)
 * ENGINE     CELLAR_TEST_ENGINE=path names another server, Valkey for instance. Default: redis-server
 *            of PATH, or redis-check-rdb of the package redis-tools, which is the same program; else
 *            the program `cellar` of this build: its port is a server of the remote tier. The cases
 *            of unit/guests/remote/port_exempt.txt are skipped there.
 * END        The kernel ends the server with the thread of the test that started it. */
#ifndef CELLAR_TESTS_ENGINE_KIT_H
#define CELLAR_TESTS_ENGINE_KIT_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "tests/support/folder.h"
#include "tests/support/left.h"

enum { ENGINE_WORDS_MAX = 48, ENGINE_WAIT_MS = 60000 };

typedef struct engine {
    pid_t pid;                          /* 0: not running */
    uint16_t port;                      /* on 127.0.0.1; 0: the unix socket alone */
    char dir[T_FOLDER_MAX];
    char socket[T_FOLDER_MAX + 8];      /* "" for a sentinel */
    const char *words[ENGINE_WORDS_MAX]; /* of the command line; the caller keeps the texts */
    char port_text[8], config[T_FOLDER_MAX + 16];
    redisContext *c;                    /* of engine_ask */
    redisReply *reply;
} engine;

/* Return the program of the server; NULL: none. */
T_INLINE const char *engine_program(void)
{
    static const char *const places[] = { "/usr/local/bin/redis-server", "/usr/bin/redis-server",
                                          "/usr/bin/redis-check-rdb" };
    const char *named = getenv("CELLAR_TEST_ENGINE");
    if (named != NULL) { return named; }
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (access(places[i], X_OK) == 0) { return places[i]; }
    }
    static char own[T_FOLDER_MAX + 512]; /* build/x/t/test_y -> build/x/cellar */
    const ssize_t len = readlink("/proc/self/exe", own, sizeof own - 8);
    for (ssize_t at = len, up = 0; at > 0; at--) {
        if (own[at - 1] != '/' || ++up < 2) { continue; }
        memcpy(own + at, "cellar", sizeof "cellar");
        return access(own, X_OK) == 0 ? own : NULL;
    }
    return NULL;
}

/* Return whether the server is a port of cellar. */
T_INLINE bool engine_is_port(void)
{
    const char *program = engine_program();
    const char *slash = program != NULL ? strrchr(program, '/') : NULL;
    return slash != NULL && strcmp(slash, "/cellar") == 0;
}

/* Return why a case does not run on a port: the rest of its line, "PROGRAM CASE why". */
T_INLINE const char *engine_exempt(const char *case_name)
{
    static char line[256], why[256];
    char name[64], one[128];
    const char *const program = program_invocation_short_name; /* test_remote_.. */
    FILE *f = engine_is_port() ? fopen("tests/unit/guests/remote/port_exempt.txt", "r") : NULL;
    bool found = false;
    while (f != NULL && !found && fgets(line, sizeof line, f) != NULL) {
        found = sscanf(line, "%63s %127s %255[^\n]", name, one, why) == 3 &&
                strcmp(name, program) == 0 && (strcmp(one, "*") == 0 || strcmp(one, case_name) == 0);
    }
    if (f != NULL) { fclose(f); }
    return found ? why : NULL;
}
__attribute__((constructor)) static void engine_exempts(void) { t_.exempt = engine_exempt; }

/* Return a TCP port of 127.0.0.1 that nothing listens on. */
T_INLINE uint16_t engine_free_port(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof at;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    T_REQUIRE(fd >= 0 && bind(fd, (struct sockaddr *)&at, len) == 0);
    T_REQUIRE(getsockname(fd, (struct sockaddr *)&at, &len) == 0);
    close(fd);
    return ntohs(at.sin_port);
}

T_INLINE void engine_pause_ms(int ms)
{
    const struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };
    nanosleep(&t, NULL);
}

/* Return the monotonic time, which all processes share. */
T_INLINE int64_t engine_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Return memory that child processes share. */
T_INLINE void *engine_pages(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    T_REQUIRE(p != MAP_FAILED);
    return p;
}

/* Wait for the end of a child. Return its status. */
T_INLINE int engine_child(pid_t pid)
{
    int status = -1;
    T_EQ_I64(waitpid(pid, &status, 0), pid);
    return status;
}

/* Return how many descriptors of this process are open. */
T_INLINE unsigned engine_descriptors(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < 1024; fd++) { n += fcntl(fd, F_GETFD) != -1; }
    return n;
}

/* Connect one more client. Return NULL while nothing answers. */
T_INLINE redisContext *engine_connect(const engine *e)
{
    const struct timeval most = { 20 * (long)t_patience(), 0 };
    redisContext *c = e->socket[0] != '\0' ? redisConnectUnixWithTimeout(e->socket, most)
                                           : redisConnectWithTimeout("127.0.0.1", e->port, most);
    if (c != NULL && c->err == 0) {
        redisSetTimeout(c, most);
        return c;
    }
    if (c != NULL) { redisFree(c); }
    return NULL;
}

T_INLINE void engine_hang_up(engine *e)
{
    if (e->reply != NULL) { freeReplyObject(e->reply); }
    if (e->c != NULL) { redisFree(e->c); }
    e->reply = NULL;
    e->c = NULL;
}

/* Send one command in the format of hiredis. Return its reply, valid until the next call; NULL: the
 * connection broke. The next call connects again. */
T_INLINE redisReply *engine_ask(engine *e, const char *format, ...)
{
    if (e->reply != NULL) { freeReplyObject(e->reply); }
    e->reply = NULL;
    if (e->c == NULL) { e->c = engine_connect(e); }
    if (e->c == NULL) { return NULL; }
    va_list args;
    va_start(args, format);
    redisReply *reply = redisvCommand(e->c, format, args);
    va_end(args);
    if (reply == NULL) { engine_hang_up(e); }
    e->reply = reply;
    return reply;
}

/* Like engine_ask, for a reply that is a number; -1: another type. */
T_INLINE long long engine_number(redisReply *r)
{
    return r != NULL && r->type == REDIS_REPLY_INTEGER ? r->integer : -1;
}

/* Return the number behind a name in a section of INFO; 0: not there. */
T_INLINE uint64_t engine_told(engine *e, const char *section, const char *name)
{
    const redisReply *r = engine_ask(e, "INFO %s", section);
    const char *at = r != NULL && r->type == REDIS_REPLY_STRING ? strstr(r->str, name) : NULL;
    return at != NULL ? strtoull(at + strlen(name), NULL, 10) : 0;
}

T_INLINE bool engine_ended(engine *e)
{
    if (e->pid != 0 && waitpid(e->pid, NULL, WNOHANG) == e->pid) { e->pid = 0; }
    return e->pid == 0;
}

/* Wait until the server answers PING, also with an error. Return false when it ended. */
T_INLINE bool engine_wait(engine *e)
{
    for (unsigned ms = 0; ms < ENGINE_WAIT_MS * t_patience(); ms++) {
        if (engine_ask(e, "PING") != NULL) { return true; }
        if (engine_ended(e)) { return false; }
        engine_pause_ms(1);
    }
    return false;
}

T_INLINE void engine_exec(engine *e)
{
    const pid_t parent = getpid();
    e->pid = fork();
    T_REQUIRE(e->pid >= 0);
    if (e->pid > 0) { return; }
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) { _exit(126); }
    const int log = open("/dev/null", O_WRONLY);
    dup2(log, 1);
    dup2(log, 2);
    execv(engine_program(), (char *const *)(uintptr_t)e->words);
    _exit(127);
}

/* Start the server again, on the same socket and port, with the same words. */
T_INLINE void engine_restart(engine *e)
{
    T_REQUIRE(e->pid == 0);
    engine_exec(e);
    T_REQUIRE(engine_wait(e));
}

/* Start the program of e->words on a free port if `tcp`. Another program may take the port first, so
 * several ports are tried. */
T_INLINE void engine_start_words(engine *e, bool tcp)
{
    for (int i = 0; i < 5; i++) {
        e->port = tcp ? engine_free_port() : 0;
        snprintf(e->port_text, sizeof e->port_text, "%u", e->port);
        engine_exec(e);
        if (engine_wait(e)) { return; }
    }
    T_REQUIRE(e->pid != 0);
}

T_INLINE void engine_stop(engine *e);
static void engine_left(void *e) { engine_stop(e); }

T_INLINE bool engine_begin(engine *e)
{
    *e = (engine){ .pid = 0 };
    if (engine_program() == NULL) {
        T_SKIP("no redis-server (package redis-tools)");
        return false;
    }
    t_folder(e->dir);
    left_add(e, engine_left);
    return true;
}

static const char *engine_shared = "64M"; /* the shared store of a port that is started */

/* Start a server with more words, which end with NULL; NULL: none. `tcp`: on a free port, too.
 * Return false, with the case skipped, where there is no server. Do not copy *e. */
T_INLINE bool engine_start_on(engine *e, bool tcp, const char *const *more)
{
    if (!engine_begin(e)) { return false; }
    snprintf(e->socket, sizeof e->socket, "%s/r.sock", e->dir);
    if (engine_is_port()) {
        const char *const port[] = { "cellar", "serve", "--port", e->port_text, "--unix", e->socket,
                                     "--shared", engine_shared, "--danger" };
        T_REQUIRE(more == NULL || more[0] == NULL); /* else the case is exempt */
        memcpy(e->words, port, sizeof port);
        engine_start_words(e, tcp);
        return true;
    }
    const char *const words[] = { "redis-server", "--port", e->port_text, "--bind", "127.0.0.1",
        "--unixsocket", e->socket, "--dir", e->dir, "--save", "", "--appendonly", "no",
        "--repl-diskless-sync-delay", "0" };
    size_t n = sizeof words / sizeof words[0];
    memcpy(e->words, words, sizeof words);
    for (size_t i = 0; more != NULL && more[i] != NULL; i++) {
        T_REQUIRE(n < ENGINE_WORDS_MAX - 1);
        e->words[n++] = more[i];
    }
    engine_start_words(e, tcp);
    return true;
}

T_INLINE bool engine_start(engine *e, const char *const *more)
{
    return engine_start_on(e, false, more);
}

/* Start a sentinel on a free port with the lines of `config`: `sentinel monitor ..` and so on. */
T_INLINE bool engine_start_sentinel(engine *e, const char *config)
{
    if (!engine_begin(e)) { return false; }
    snprintf(e->config, sizeof e->config, "%s/sentinel.conf", e->dir);
    FILE *f = fopen(e->config, "w");
    T_REQUIRE(f != NULL);
    fputs(config, f);
    fclose(f);
    const char *const words[] = { "redis-sentinel", e->config, "--port", e->port_text, "--bind",
                                  "127.0.0.1", "--dir", e->dir };
    memcpy(e->words, words, sizeof words);
    engine_start_words(e, true);
    return true;
}

/* Send a signal: SIGSTOP freezes the server, SIGCONT continues it. */
T_INLINE void engine_signal(const engine *e, int signal_number)
{
    siginfo_t seen;
    T_EQ_I64(kill(e->pid, signal_number), 0);
    if (signal_number != SIGSTOP) { return; }
    /* kill returns before the server stops */
    while (waitid(P_PID, (id_t)e->pid, &seen, WSTOPPED) != 0 && errno == EINTR) { }
}

/* End the server as a crash does. engine_restart starts it again. */
T_INLINE void engine_kill(engine *e)
{
    engine_hang_up(e);
    if (e->pid == 0) { return; }
    kill(e->pid, SIGKILL);
    T_EQ_I64(waitpid(e->pid, NULL, 0), e->pid);
    e->pid = 0;
}

/* Cut the connections of a type: "normal" or "pubsub". Return how many. */
T_INLINE long long engine_cut(engine *e, const char *type)
{
    return engine_number(engine_ask(e, "CLIENT KILL TYPE %s SKIPME yes", type));
}

T_INLINE void engine_stop(engine *e)
{
    left_drop(e);
    engine_kill(e);
    t_wipe(e->dir);
}

#endif
