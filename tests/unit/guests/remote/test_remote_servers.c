/* SPDX-License-Identifier: MIT
 *
 * Aim:    servers that a link must not use, or that misbehave: each has its reason and sentence. A
 *         resolver that is slow or silent delays no step, no call, no close and no other Sentinel;
 *         its answer counts when it comes, and a new one with the next connect; one thread asks it
 *         for a name at a time. The least rights of cellar_remote.h suffice for every call of the
 *         remote tier, and no right is listed that no call uses.
 * Method: servers made of bytes; redis-server with users and Sentinels. The resolver and the clock of
 *         the waits are functions of this file. */
#include <dlfcn.h>
#include <netdb.h>

#include "cellar_entry.h"
#include "cellar_invalidate.h"
#include "remote/link_inside.h"
#include "tests/support/link_kit.h"
#include "tests/support/rights.h"
#include "tests/support/shared_side.h"

static _Atomic int64_t ahead_ns; /* of the clock of the system */
static engine e;
static link_kit k;
static remote_refusal why;

#define REAL(type, name) ((type)(uintptr_t)dlsym(RTLD_NEXT, name))

int clock_gettime(clockid_t which, struct timespec *t)
{
    const int err = REAL(int (*)(clockid_t, struct timespec *), "clock_gettime")(which, t);
    const int64_t ns = (int64_t)t->tv_nsec + atomic_load(&ahead_ns);
    t->tv_sec += (time_t)(ns / 1000000000);
    t->tv_nsec = (long)(ns % 1000000000);
    return err;
}

/* ---- the resolver ---- */

static _Atomic bool silent;        /* the resolver does not answer: */
static _Atomic char silent_first;  /* names that begin with this letter; 0: all */
static _Atomic bool unknown;       /* it knows no name */
static _Atomic bool threadless;    /* the system has no thread left */
static _Atomic int asked, inside;  /* calls of the resolver; those that run */
static _Atomic int most = 1;       /* of them at a time */
static _Atomic int moved;          /* port of the other address that names have now; 0: none */

int getaddrinfo(const char *host, const char *port, const struct addrinfo *want,
                struct addrinfo **out)
{
    typedef int (*resolver)(const char *, const char *, const struct addrinfo *,
                            struct addrinfo **);
    const resolver real = REAL(resolver, "getaddrinfo");
    if ((want->ai_flags & AI_NUMERICHOST) != 0) { return real(host, port, want, out); }
    const char first = atomic_load(&silent_first);
    char other[8];
    T_CHECK(atomic_fetch_add(&inside, 1) < atomic_load(&most));
    atomic_fetch_add(&asked, 1);
    while (atomic_load(&silent) && (first == 0 || host[0] == first)) { engine_pause_ms(1); }
    (void)snprintf(other, sizeof other, "%d", atomic_load(&moved));
    const int error = atomic_load(&unknown) ? EAI_NONAME
                    : real("127.0.0.1", atomic_load(&moved) != 0 ? other : port, want, out);
    atomic_fetch_sub(&inside, 1);
    return error;
}

int pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg)
{
    typedef int (*creator)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (atomic_load(&threadless)) { return EAGAIN; }
    return REAL(creator, "pthread_create")(t, a, fn, arg);
}

/* ---- a server made of bytes ---- */

typedef struct canned {
    char dir[T_FOLDER_MAX], path[T_FOLDER_MAX + 8];
    int listen_fd, client[2];
} canned;

static void canned_open(canned *s)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    t_folder(s->dir);
    snprintf(s->path, sizeof s->path, "%s/c.sock", s->dir);
    memcpy(at.sun_path, s->path, strlen(s->path) + 1);
    s->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    T_REQUIRE(bind(s->listen_fd, (const struct sockaddr *)&at, sizeof at) == 0);
    T_REQUIRE(listen(s->listen_fd, 8) == 0);
    s->client[0] = s->client[1] = -1;
}

static void canned_drop(canned *s)
{
    for (int i = 0; i < 2; i++) {
        if (s->client[i] >= 0) { close(s->client[i]); }
        s->client[i] = -1;
    }
}

static void canned_close(canned *s)
{
    canned_drop(s);
    close(s->listen_fd);
    t_wipe(s->dir);
}

typedef struct answer {
    const char *bytes;
    remote_why why;
    cellar_err code;
    const char *part; /* of the sentence */
} answer;

/* Let a handshake last: a test that stands still is no silence of the server. */
static void handshake_lasts(void)
{
    k.link->deadline_ns = k.link->sentinel[0].next_ns = INT64_MAX / 2;
}

/* Answer a link to a Sentinel, or both connections of one to a server, and run it until it has a
 * reason. */
static void check_answer(canned *s, bool sentinel, const answer *a)
{
    const size_t len = strlen(a->bytes);
    link_kit_init(&k, s->path);
    k.c.sentinel_count = sentinel;
    k.c.sentinel[0] = k.c.server;
    snprintf(k.c.master, sizeof k.c.master, "main");
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    T_EQ_I64(remote_link_step(k.link, 0), CELLAR_OK);
    handshake_lasts();
    for (int i = 0; i < (sentinel ? 1 : 2); i++) {
        s->client[i] = accept(s->listen_fd, NULL, NULL);
        T_REQUIRE(s->client[i] >= 0);
        T_EQ_I64(send(s->client[i], a->bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT), (ssize_t)len);
    }
    T_EQ_I64(link_kit_refused(&k, &why), a->why);
    T_EQ_I64(why.code, a->code);
    if (strstr(why.text, a->part) == NULL) { T_EQ_STR(why.text, a->part); }
    T_EQ_I64(remote_link_state(k.link), REMOTE_DOWN);
    link_kit_close(&k);
    canned_drop(s);
}

static void check_answers(bool sentinel, const answer *of, size_t count)
{
    canned s;
    canned_open(&s);
    for (size_t i = 0; i < count; i++) { check_answer(&s, sentinel, &of[i]); }
    canned_close(&s);
}
#define CHECK_ANSWERS(sentinel, of) check_answers(sentinel, of, sizeof(of) / sizeof *(of))

#define HELLO_OF(version, mode, role) \
    "*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$" version "\r\n$5\r\nproto\r\n:2\r\n" \
    "$2\r\nid\r\n:7\r\n$4\r\nmode\r\n$" mode "\r\n$4\r\nrole\r\n$" role "\r\n" \
    "$7\r\nmodules\r\n*0\r\n"

T_CASE(other_servers_are_refused_by_name)
{
    static const answer answers[] = {
        {"HTTP/1.1 400 Bad Request\r\n\r\n", REMOTE_WHY_PROTOCOL, CELLAR_E_FOREIGN, "no Redis"},
        {"ERROR\r\n", REMOTE_WHY_PROTOCOL, CELLAR_E_FOREIGN, "no Redis"},
        {"+OK\r\n", REMOTE_WHY_PROTOCOL, CELLAR_E_FOREIGN, "no Redis"},
        {"-ERR unknown command `HELLO`\r\n", REMOTE_WHY_VERSION, CELLAR_E_UNSUPPORTED, "7.0"},
        {HELLO_OF("5\r\n6.2.7", "10\r\nstandalone", "6\r\nmaster"), REMOTE_WHY_VERSION,
         CELLAR_E_UNSUPPORTED, "got 6.2.7"},
        {HELLO_OF("5\r\n7.0.1", "7\r\ncluster", "6\r\nmaster"), REMOTE_WHY_CLUSTER,
         CELLAR_E_UNSUPPORTED, "Cluster"},
        {HELLO_OF("5\r\n7.0.1", "8\r\nsentinel", "6\r\nmaster"), REMOTE_WHY_REFUSED,
         CELLAR_E_CONFIG, "Sentinel"},
        {HELLO_OF("5\r\n7.0.1", "10\r\nstandalone", "7\r\nreplica"), REMOTE_WHY_REPLICA,
         CELLAR_E_NOT_OWNER, "primary"},
        {"*10\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n"
         "$6\r\nmaster\r\n$6\r\ncellar\r\n$5\r\n0.0.1\r\n$7\r\nlargest\r\n:1000\r\n", REMOTE_WHY_VERSION,
         CELLAR_E_UNSUPPORTED, "the port has version 0.0.1 of cellar, this process 0."},
        {"-NOAUTH HELLO must be called\r\n", REMOTE_WHY_AUTH, CELLAR_E_DENIED, "wants a password"},
        {"-WRONGPASS invalid\r\n", REMOTE_WHY_AUTH, CELLAR_E_DENIED, "is wrong"},
        {"-LOADING Redis is loading\r\n", REMOTE_WHY_LOADING, CELLAR_E_BUSY, "loading"},
        {"*1000000000\r\n", REMOTE_WHY_TOO_BIG, CELLAR_E_TOOBIG, "above the limits"},
        {"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n", REMOTE_WHY_TOO_BIG, CELLAR_E_TOOBIG, "limits"},
        {"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n", REMOTE_WHY_TOO_BIG,
         CELLAR_E_TOOBIG, "limits"},
        {"$536870912\r\n", REMOTE_WHY_TOO_BIG, CELLAR_E_TOOBIG, "limits"}, /* its length is enough */
        {"$1048577\r\nx", REMOTE_WHY_TOO_BIG, CELLAR_E_TOOBIG, "limits"},
        {"*2\r\n:1\r\n$9223372036854775800\r\n", REMOTE_WHY_TOO_BIG, CELLAR_E_TOOBIG, "limits"},
        {"*-2\r\n", REMOTE_WHY_PROTOCOL, CELLAR_E_FOREIGN, "no Redis"},
        {"$-7\r\n", REMOTE_WHY_PROTOCOL, CELLAR_E_FOREIGN, "no Redis"},
    };
    CHECK_ANSWERS(false, answers);
}

/* The server is bad for long; then the next attempt comes within 1 s. */
T_CASE(pause_behind_any_bad_answer_is_below_one_second)
{
    static const char *const bad[] = {
        "-NOAUTH Authentication required.\r\n", "-NOPERM no permissions\r\n",
        "-OOM command not allowed\r\n", "*2\r\n:1\r\n$9223372036854775808\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n" };
    canned s;
    canned_open(&s);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        link_kit_init(&k, s.path);
        T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
        for (uint32_t falls = 0; falls < 16; falls++) {
            for (int fd; atomic_load(&k.link->falls) == falls;) {
                T_EQ_I64(remote_link_step(k.link, 0), CELLAR_OK);
                while ((fd = accept(s.listen_fd, NULL, NULL)) >= 0) {
                    for (int n = 0; n < 16; n++) { /* each reply is this one */
                        (void)send(fd, bad[i], strlen(bad[i]), MSG_NOSIGNAL | MSG_DONTWAIT);
                    }
                    canned_drop(&s);
                    s.client[0] = fd;
                }
            }
            T_CHECK(k.link->retry_ns - remote_mono_ns() <= 900 * REMOTE_NS_OF_MS);
            k.link->retry_ns = 0;
        }
        link_kit_close(&k);
    }
    canned_close(&s);
}

/* Answer the handshake of a real server cut after `n` bytes, then silence or the end. */
T_CASE(half_a_reply_neither_hangs_nor_leaks)
{
    static const char hello[] = HELLO_OF("5\r\n7.0.1", "10\r\nstandalone", "6\r\nmaster");
    canned s;
    canned_open(&s);
    for (size_t n = 1; n < sizeof hello; n++) {
        link_kit_init(&k, s.path);
        T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
        T_EQ_I64(remote_link_step(k.link, 0), CELLAR_OK);
        if (n % 3 == 0) { handshake_lasts(); }
        for (int i = 0; i < 2; i++) {
            s.client[i] = accept(s.listen_fd, NULL, NULL);
            T_EQ_I64(send(s.client[i], hello, n, MSG_NOSIGNAL), (ssize_t)n);
        }
        T_EQ_I64(remote_link_step(k.link, 0), CELLAR_OK);
        T_EQ_I64(remote_link_state(k.link), REMOTE_DOWN);
        if (n % 3 == 0) {
            canned_drop(&s);
            T_EQ_I64(link_kit_refused(&k, &why), REMOTE_WHY_CLOSED);
        } else if (n % 3 == 1) {
            atomic_fetch_add(&ahead_ns, INT64_C(1100000000)); /* silence */
            T_EQ_I64(link_kit_reason(&k, &why), REMOTE_WHY_TIMEOUT);
            T_CHECK(strstr(why.text, "does not answer the handshake") != NULL);
        }
        link_kit_close(&k); /* in the middle of a reply */
        canned_drop(&s);
    }
    canned_close(&s);
}

T_CASE(answers_of_a_sentinel_that_lead_nowhere_are_reasons)
{
    static const answer answers[] = {
        { "*2\r\n$8\r\n10.0.0.1\r\n$4\r\n6379\r\n", REMOTE_WHY_PLAINTEXT, CELLAR_E_DENIED,
          "needs allow_plaintext (got 10.0.0.1)" },
        { "*-1\r\n", REMOTE_WHY_MASTER, CELLAR_E_NOT_FOUND, "does not know master main" },
        { "-ERR unknown command 'SENTINEL'\r\n", REMOTE_WHY_MASTER, CELLAR_E_NOT_FOUND,
          "refuses to answer" },
        { "*2\r\n$9\r\n127.0.0.1\r\n$5\r\n65536\r\n", REMOTE_WHY_MASTER, CELLAR_E_NOT_FOUND,
          "master main" },
        { "*2\r\n$9\r\n127.0.0.1\r\n$1\r\n0\r\n", REMOTE_WHY_MASTER, CELLAR_E_NOT_FOUND,
          "master main" },
        { "*1\r\n$9\r\n127.0.0.1\r\n", REMOTE_WHY_MASTER, CELLAR_E_NOT_FOUND, "master main" },
        { "HTTP/1.1 400\r\n", REMOTE_WHY_PROTOCOL, CELLAR_E_FOREIGN, "no Redis" },
    };
    CHECK_ANSWERS(true, answers);
}

T_CASE(answer_of_a_sentinel_is_the_reason_before_silence_of_another_one)
{
    static const char bytes[] = "-ERR unknown command 'SENTINEL'\r\n";
    canned s;
    canned_open(&s);
    link_kit_init(&k, s.path);
    k.c.sentinel_count = 2;
    k.c.sentinel[0] = k.c.sentinel[1] = k.c.server;
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    while (!k.link->sentinel[0].asking || !k.link->sentinel[1].asking) {
        T_EQ_I64(remote_link_step(k.link, 0), CELLAR_OK);
    }
    handshake_lasts();
    s.client[0] = accept(s.listen_fd, NULL, NULL);
    T_EQ_I64(send(s.client[0], bytes, sizeof bytes - 1, MSG_NOSIGNAL), sizeof bytes - 1);
    while (k.link->sentinel[0].why == REMOTE_WHY_NONE) {
        T_EQ_I64(remote_link_step(k.link, 1), CELLAR_OK);
    }
    atomic_fetch_add(&ahead_ns, INT64_C(2100000000));
    T_EQ_I64(link_kit_reason(&k, &why), REMOTE_WHY_MASTER);
    T_EQ_STR(why.text, "remote: a Sentinel refuses to answer");
    link_kit_close(&k);
    canned_close(&s);
}

/* Begin an attempt with `more_ms` beside its 1 s, and let 1.1 s pass. Check the reason. */
static void sentinel_is_late(int64_t more_ms, const char *text)
{
    k.link->retry_ns = 0;
    while (k.link->phase != REMOTE_PHASE_SENTINEL || !k.link->sentinel[0].asking) {
        T_EQ_I64(remote_link_step(k.link, 0), CELLAR_OK);
    }
    const uint32_t before = atomic_load(&k.link->falls); /* of attempts before this one */
    k.link->deadline_ns += more_ms * 1000000;
    atomic_fetch_add(&ahead_ns, INT64_C(1100000000));
    while (atomic_load(&k.link->falls) == before) {
        T_EQ_I64(remote_link_step(k.link, 1), CELLAR_OK);
    }
    remote_link_refusal(k.link, &why);
    T_EQ_I64(why.why, REMOTE_WHY_TIMEOUT);
    T_EQ_STR(why.text, text);
}

T_CASE(silent_sentinel_is_named_with_the_last_primary)
{
    canned s;
    char text[200];
    canned_open(&s);
    link_kit_init(&k, s.path);
    k.c.sentinel_count = 1;
    k.c.sentinel[0] = k.c.server;
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    sentinel_is_late(0, "remote: no majority of the Sentinels names a primary");
    atomic_fetch_add(&ahead_ns, INT64_C(1100000000)); /* it connects again */
    snprintf(text, sizeof text, "remote: the Sentinel %.48s does not answer", s.path);
    sentinel_is_late(60000, text);
    atomic_fetch_add(&ahead_ns, INT64_C(1100000000));
    snprintf(text, sizeof text, "*2\r\n$9\r\n127.0.0.1\r\n$5\r\n%05u\r\n", engine_free_port());
    k.link->retry_ns = 0;
    while (k.link->primary.port == 0) { /* answer on each connection */
        T_EQ_I64(remote_link_step(k.link, 1), CELLAR_OK);
        for (int fd; (fd = accept(s.listen_fd, NULL, NULL)) >= 0; s.client[0] = fd) {
            canned_drop(&s);
            (void)send(fd, text, strlen(text), MSG_NOSIGNAL);
        }
    }
    while (k.link->phase != REMOTE_PHASE_PAUSE) { T_EQ_I64(remote_link_step(k.link, 1), CELLAR_OK); }
    atomic_fetch_add(&ahead_ns, INT64_C(1000000) * k.c.proof_ms); /* the answer is too old */
    sentinel_is_late(0, "remote: no majority of the Sentinels names a primary; the last one was "
                     "127.0.0.1");
    link_kit_close(&k);
    canned_close(&s);
}

T_CASE(absent_server_is_a_reason)
{
    link_kit_init(&k, "/nowhere/r.sock");
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    T_EQ_I64(link_kit_refused(&k, &why), REMOTE_WHY_CONNECT);
    T_EQ_I64(why.sys_errno, ENOENT);
    T_EQ_STR(why.text, "remote: no connection to /nowhere/r.sock: no such socket (errno 2)");
    T_EQ_I64(atomic_load(&k.logs), 1);
    for (int i = 0; i < 50; i++) { remote_link_step(k.link, 1); }
    T_EQ_I64(atomic_load(&k.logs), 1); /* one line for all attempts */
    T_EQ_I64(atomic_load(&k.gaps), 0);
}

/* Run the attempts of a link up to number `n`. */
static void attempts(uint64_t n)
{
    remote_figures f;
    do {
        k.link->retry_ns = 0;
        T_EQ_I64(remote_link_step(k.link, 1), CELLAR_OK);
        remote_link_figures(k.link, &f);
    } while (f.counts[REMOTE_LINK_ATTEMPTS] < n);
}

/* The name has two addresses, and nothing listens on the second one. */
T_CASE(reason_of_the_address_that_answers_stays)
{
    T_REQUIRE(engine_start_on(&e, true, NULL));
    engine_ask(&e, "CONFIG SET requirepass p");
    link_kit_init(&k, "localhost");
    k.c.server.port = e.port;
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    for (uint64_t n = 2; n < 12; n++) {
        attempts(n);
        remote_link_refusal(k.link, &why);
        T_EQ_I64(why.why, REMOTE_WHY_AUTH);
    }
    T_EQ_I64(atomic_load(&k.logs), 1);
    engine_kill(&e);
    attempts(15); /* each address once more */
    T_EQ_I64(link_kit_refused(&k, &why), REMOTE_WHY_CONNECT);
}

/* The name has two addresses: the second one is tried without a pause. */
T_CASE(second_address_is_tried_without_a_pause)
{
    link_kit_init(&k, "localhost");
    k.c.server.port = engine_free_port();
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    for (int round = 0; round < 8; round++) {
        for (uint32_t falls = 2 * (uint32_t)round; atomic_load(&k.link->falls) == falls;) {
            k.link->retry_ns = 0;
            T_EQ_I64(remote_link_step(k.link, 1), CELLAR_OK);
        }
        T_CHECK(k.link->retry_ns <= remote_mono_ns());
        while (atomic_load(&k.link->falls) % 2 != 0) { remote_link_step(k.link, 1); }
    }
}

T_CASE(refused_port_is_named)
{
    char text[120];
    link_kit_init(&k, "127.0.0.1");
    k.c.server.port = engine_free_port();
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    T_EQ_I64(link_kit_refused(&k, &why), REMOTE_WHY_CONNECT);
    snprintf(text, sizeof text, "remote: no connection to 127.0.0.1:%u: no server listens "
             "(errno 111)", k.c.server.port);
    T_EQ_STR(why.text, text);
}

/* ---- users and rights ---- */

static rights least; /* which user u has */

static void users_open(void)
{
    rights_read(&least);
    T_REQUIRE(engine_start(&e, NULL));
    rights_grant(&e, "u", ">secret", &least, least.count);
}

static void as_user(const char *password)
{
    link_kit_init(&k, e.socket);
    snprintf(k.c.user, sizeof k.c.user, "u");
    snprintf(k.c.password, sizeof k.c.password, "%s", password);
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
}

T_CASE(least_rights_suffice_and_each_is_needed)
{
    users_open();
    as_user("secret");
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
    T_EQ_I64(remote_marker_now(k.link, 5000), CELLAR_OK);
    link_kit_close(&k);
    for (size_t i = 0; i < least.count; i++) {
        rights_grant(&e, "u", ">secret", &least, i);
        as_user("secret");
        T_EQ_I64(link_kit_refused(&k, &why), REMOTE_WHY_NOPERM);
        if (strstr(why.text, least.word[i]) == NULL) { T_EQ_STR(why.text, least.word[i]); }
        T_EQ_I64(why.code, CELLAR_E_DENIED);
        link_kit_close(&k);
    }
}

/* The longest list there can be: a prefix of 32 bytes. */
T_CASE(all_missing_rights_are_named)
{
    users_open();
    engine_ask(&e, "ACL SETUSER u reset on >secret");
    link_kit_init(&k, e.socket);
    snprintf(k.c.user, sizeof k.c.user, "u");
    snprintf(k.c.password, sizeof k.c.password, "secret");
    snprintf(k.c.prefix, sizeof k.c.prefix, "an-application-of-32-characters-");
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    T_EQ_I64(link_kit_refused(&k, &why), REMOTE_WHY_NOPERM);
    for (size_t i = 0; i < least.count; i++) {
        if (least.word[i][0] == '+' && strstr(why.text, least.word[i]) == NULL) { T_EQ_STR(why.text, least.word[i]); }
    }
    T_CHECK(strlen(why.text) < sizeof ((cellar_error_info *)NULL)->text - 1); /* not cut */
}

T_CASE(wrong_password_is_named_and_never_shown)
{
    users_open();
    as_user("hunter2");
    T_EQ_I64(link_kit_refused(&k, &why), REMOTE_WHY_AUTH);
    T_CHECK(strstr(why.text, "hunter2") == NULL && strstr(k.log, "hunter2") == NULL);
    link_kit_close(&k);
    link_kit_init(&k, e.socket); /* and no password at all */
    engine_ask(&e, "CONFIG SET requirepass p");
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    T_EQ_I64(link_kit_refused(&k, &why), REMOTE_WHY_AUTH);
    T_CHECK(strstr(why.text, "wants a password") != NULL);
}

static void keep_password(const char *password)
{
    const int fd = open(k.c.password_file, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    T_EQ_I64(write(fd, password, strlen(password)), (ssize_t)strlen(password));
    close(fd);
}

T_CASE(password_file_is_read_again_after_a_change)
{
    users_open();
    link_kit_init(&k, e.socket);
    snprintf(k.c.user, sizeof k.c.user, "u");
    snprintf(k.c.password_file, sizeof k.c.password_file, "%s/p", e.dir);
    keep_password("secret\n");
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
    const int logs = atomic_load(&k.logs);
    T_CHECK(engine_ask(&e, "ACL SETUSER u resetpass >newer") != NULL);
    T_EQ_I64(remote_marker_now(k.link, 5000), CELLAR_OK); /* the connections stand */
    T_CHECK(engine_cut(&e, "pubsub") == 1);
    for (why.why = REMOTE_WHY_NONE; why.why != REMOTE_WHY_AUTH;) {
        remote_link_step(k.link, 1);
        remote_link_refusal(k.link, &why);
    }
    T_EQ_I64(why.code, CELLAR_E_DENIED);
    T_EQ_I64(remote_link_state(k.link), REMOTE_DOWN);
    T_EQ_I64(atomic_load(&k.logs), logs + 1);
    keep_password("newer\n");
    T_CHECK(k.link->retry_ns > 0);
    k.link->retry_ns = 0; /* instead of 800 ms */
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
}

/* ---- the rights that calls use ---- */

/* Two sides with the least rights use namespaces of all kinds, limiters and locks. Then the server
 * tells which commands it refused (ACL LOG) and which ones ran (INFO commandstats). */
static side a, b;
static bool used[RIGHTS_MAX];

static void use_values(void)
{
    int64_t now = 0;
    T_EQ_I64(side_set(&a, "k", "1"), CELLAR_OK);
    side_fence(&b);
    T_CHECK(side_has(&b, "k", "1"));
    T_EQ_I64(side_set_tagged(&a, "t", "1", "tag"), CELLAR_OK);
    T_EQ_I64(cellar_delete_by_tag(a.users, "tag", 3, CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_I64(cellar_increment(a.users, "n", 1, 1, 0, NULL, &now), CELLAR_OK);
    T_EQ_I64(cellar_delete(a.users, "k", 1), CELLAR_OK);
    T_EQ_I64(side_load(&b, "l", "v", 0), CELLAR_OK);
    T_EQ_I64(cellar_clear(a.users), CELLAR_OK);
}

static void use_every_kind(void)
{
    side_fence(&a);
    T_CHECK(side_set(&a, "k", "1") == CELLAR_OK);
    T_CHECK(side_has(&a, "other", NULL));
    T_EQ_I64(cellar_delete_by_pattern(a.users, "k*", 2, NULL), CELLAR_OK);
    T_EQ_I64(side_load(&a, "l", "v", 0), CELLAR_OK);
}

/* Increments and conditions, which RAW sends by scripts of its own. */
static void use_conditions(void)
{
    int64_t now = 0;
    T_EQ_I64(cellar_increment(a.users, "c", 1, 1, 0, NULL, &now), CELLAR_OK);
    T_EQ_I64(cellar_increment(a.users, "c", 1, 1, 0, NULL, &now), CELLAR_OK);
    T_EQ_I64(now, 2);
    cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_ONLY_IF_PRESENT };
    T_EQ_I64(cellar_set(a.users, "c", 1, "3", 1, &o), CELLAR_OK);
}

static void use_limiters(void)
{
    const cellar_rule rules[] = { cellar_rule_token_bucket(10, CELLAR_HOUR_NS, 10),
                                  cellar_rule_fixed_window(10, CELLAR_PER_MONTH),
                                  cellar_rule_sliding_log(10, CELLAR_HOUR_NS) };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        cellar_remote_limiter *l;
        cellar_limiter_result x;
        char name[2] = { (char)('a' + i), '\0' };
        cellar_remote_limiter_config lo = { .struct_size = sizeof lo, .name = name,
                                            .hold_ms = 60000, .batch = 6 };
        T_REQUIRE(cellar_remote_limiter_open(a.r, &rules[i], &lo, &l) == CELLAR_OK);
        T_EQ_I64(cellar_remote_limiter_check(l, "k", 1, 1, &x), CELLAR_OK);
        cellar_remote_limiter_close(l); /* gives units back */
    }
}

/* One bucket of four places for six keys. The fifth unit of a key is granted for later, as long as
 * it comes within a second. */
static void use_limiter_for_later(void)
{
    cellar_rule rule = cellar_rule_token_bucket(2, CELLAR_SECOND_NS, 4);
    const cellar_remote_limiter_config lo = { .struct_size = sizeof lo, .name = "later",
                                              .hold_ms = 60000, .batch = 2, .max_keys = 4 };
    cellar_remote_limiter *l;
    cellar_limiter_result x;
    uint64_t n = 0;
    T_REQUIRE(cellar_remote_limiter_open(a.r, &rule, &lo, &l) == CELLAR_OK);
    for (char key = 'a'; key < 'g'; key++) {
        while (cellar_remote_limiter_check(l, &key, 1, 1, &x) == CELLAR_OK) { n++; }
        T_CHECK(x.retry_after_ns > 0 && x.retry_after_ns < 2 * CELLAR_SECOND_NS);
    }
    cellar_remote_limiter_stats st = cellar_remote_limiter_stats_default();
    T_EQ_I64(cellar_remote_limiter_stats_get(l, &st), CELLAR_OK);
    T_CHECK(n >= 24 && st.granted > n && st.denied >= 6);
    cellar_remote_limiter_close(l);
    rule.ban_ns = 1;
    T_EQ_I64(cellar_remote_limiter_open(a.r, &rule, &lo, &l), CELLAR_E_UNSUPPORTED);
}

static void use_locks(void)
{
    cellar_remote_lock lk, other;
    T_EQ_I64(cellar_remote_lock_acquire(a.r, "k", 1, NULL, &lk), CELLAR_OK);
    T_EQ_I64(cellar_remote_lock_acquire(b.r, "k", 1, NO_WAIT, &other), CELLAR_E_BUSY);
    T_EQ_I64(cellar_remote_lock_extend(a.r, "k", 1, &lk, 60000), CELLAR_OK);
    T_EQ_I64(cellar_remote_lock_release(a.r, "k", 1, &lk), CELLAR_OK);
}

static void open_with(side *s, const cellar_remote_namespace_config *o)
{
    cellar_remote_config ro = side_patient();
    ro.user = "u";
    ro.password = "secret";
    side_open(s, e.socket, &ro, o);
}

/* Forget the probes of the handshake; these commands are no probes, but what it needs. */
static void forget_handshakes(void)
{
    static const char *const needed[] = { "+script|load", "+subscribe", "+client|tracking" };
    for (size_t i = 0; i < least.count; i++) {
        for (size_t n = 0; n < sizeof needed / sizeof needed[0]; n++) {
            if (strcmp(least.word[i], needed[n]) == 0) { used[i] = true; }
        }
    }
    T_CHECK(engine_ask(&e, "CONFIG RESETSTAT") != NULL);
}

/* Note each right with a command that ran since the last call, in scripts too. */
static void note_used(void)
{
    for (size_t i = 0; i < least.count; i++) {
        char row[64];
        snprintf(row, sizeof row, "\ncmdstat_%s:calls=", least.word[i] + 1);
        if (engine_told(&e, "commandstats", row) != 0) { used[i] = true; }
    }
    T_CHECK(engine_ask(&e, "CONFIG RESETSTAT") != NULL);
}

/* Use all that there is. */
static void use_all(void)
{
    cellar_remote_namespace_config kinds[4];
    for (size_t i = 0; i < 4; i++) { kinds[i] = cellar_remote_namespace_config_default(); }
    kinds[0].values = CELLAR_REMOTE_RAW;
    kinds[1].write = CELLAR_REMOTE_BEHIND;
    kinds[2].write = CELLAR_REMOTE_INVALIDATE;
    kinds[3].durable = 1;
    open_with(&a, NULL);
    open_with(&b, NULL);
    forget_handshakes();
    use_values();
    use_limiters();
    use_limiter_for_later();
    use_locks();
    note_used();
    side_close(&a);
    side_close(&b);
    for (size_t i = 0; i < 4; i++) {
        open_with(&a, &kinds[i]);
        forget_handshakes();
        use_every_kind();
        if (kinds[i].values == CELLAR_REMOTE_RAW) { use_conditions(); }
        note_used();
        side_close(&a);
    }
}

T_CASE(least_rights_suffice_for_every_call)
{
    users_open();
    use_all();
    const redisReply *log = engine_ask(&e, "ACL LOG 1");
    T_REQUIRE(log != NULL && log->type == REDIS_REPLY_ARRAY);
    T_EQ_U64(log->elements, 0); /* nothing was refused */
    for (size_t i = 0; i < least.count; i++) {
        if (least.word[i][0] == '+' && !used[i]) { T_EQ_STR(least.word[i], "used by a call"); }
    }
}

/* ---- copies of the password ---- */

enum { STACK_BYTES = 1 << 20 };

static char password_path[T_FOLDER_MAX + 8];

static void write_password(const char *dir, size_t len)
{
    snprintf(password_path, sizeof password_path, "%s/p", dir);
    const int fd = open(password_path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    T_REQUIRE(fd >= 0);
    for (size_t i = 0; i < len; i++) { T_EQ_I64(write(fd, &"hunter2"[i % 7], 1), 1); }
    close(fd);
}

/* Be refused with a password file that is too long. */
static void *refuse_file(void *path)
{
    link_kit_init(&k, path);
    snprintf(k.c.password_file, sizeof k.c.password_file, "%s", password_path);
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    T_EQ_I64(link_kit_refused(&k, &why), REMOTE_WHY_AUTH);
    T_EQ_STR(why.text, "remote: the password file must have at most 510 bytes");
    link_kit_close(&k);
    return NULL;
}

/* Be refused with a URL that has a password and a bad prefix. */
static void *refuse_url(void *store)
{
    cellar_remote *r = NULL;
    T_EQ_I64(cellar_remote_open(store, "redis://u:hunter2@127.0.0.1?prefix=~", NULL, &r),
             CELLAR_E_INVAL);
    return NULL;
}

static bool has_password(const unsigned char *stack)
{
    for (size_t i = 0; i + 7 <= STACK_BYTES; i++) {
        if (stack[i] == 'h' && memcmp(stack + i, "hunter2", 7) == 0) { return true; }
    }
    return false;
}

/* Return whether a thread that ran `fn` leaves the password on its stack. */
static bool leaves_password(void *(*fn)(void *), void *arg)
{
    pthread_t t;
    pthread_attr_t attr;
    fn(arg); /* the dynamic linker, which keeps registers in its frames, has its turn */
    unsigned char *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    T_REQUIRE(stack != MAP_FAILED && pthread_attr_init(&attr) == 0);
    T_REQUIRE(pthread_attr_setstack(&attr, stack, STACK_BYTES) == 0);
    T_REQUIRE(pthread_create(&t, &attr, fn, arg) == 0);
    pthread_join(t, NULL);
    const bool leaves = has_password(stack);
    pthread_attr_destroy(&attr);
    munmap(stack, STACK_BYTES);
    return leaves;
}

T_CASE(refused_password_stays_in_no_frame)
{
    canned s;
    cellar_config cfg = cellar_config_default();
    cellar *store = NULL;
    canned_open(&s);
    write_password(s.dir, 600);
    T_REQUIRE(cellar_open(&cfg, &store) == CELLAR_OK);
    T_CHECK(!leaves_password(refuse_file, s.path));
    T_CHECK(!leaves_password(refuse_url, store));
    cellar_close(store);
    canned_close(&s);
}

/* ---- bad days of a real server ---- */

/* Prepare a link to the server that one Sentinel names. */
static void by_sentinel(uint16_t port)
{
    link_kit_init(&k, "");
    k.c.sentinel_count = 1;
    snprintf(k.c.sentinel[0].host, sizeof k.c.sentinel[0].host, "127.0.0.1");
    k.c.sentinel[0].port = port;
    snprintf(k.c.master, sizeof k.c.master, "main");
}

T_CASE(sentinel_with_a_password_is_asked)
{
    static const struct { const char *user, *password; bool right; } cases[] = {
        { "", "", false }, { "", "wrong", false }, { "me", "pass", true }, { "", "secret", true } };
    static engine s;
    char config[512];
    T_REQUIRE(engine_start_on(&e, true, NULL));
    snprintf(config, sizeof config, "sentinel monitor main 127.0.0.1 %u 1\n"
             "user me on >pass +@all\nrequirepass secret\n", e.port);
    T_REQUIRE(engine_start_sentinel(&s, config));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        by_sentinel(s.port);
        snprintf(k.c.sentinel_user, sizeof k.c.sentinel_user, "%s", cases[i].user);
        snprintf(k.c.sentinel_password, sizeof k.c.sentinel_password, "%s", cases[i].password);
        T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
        if (cases[i].right) {
            T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
        } else {
            T_EQ_I64(link_kit_refused(&k, &why), REMOTE_WHY_AUTH);
            T_EQ_I64(why.code, CELLAR_E_DENIED);
            T_CHECK(strstr(why.text, "sentinel_password") != NULL);
            remote_sentinel_view v;
            T_REQUIRE(remote_sentinel_look(k.link, 0, &v));
            T_CHECK(v.named.port == 0 && strstr(v.text, "sentinel_password") != NULL && v.objects);
        }
        link_kit_close(&k);
    }
}

/* ---- names ---- */

static void prepare_named(const char *host, uint16_t port)
{
    link_kit_init(&k, host);
    k.c.server.port = port;
    k.c.allow_plaintext = true;
    atomic_store(&asked, 0);
}

static void open_named(const char *host, uint16_t port)
{
    prepare_named(host, port);
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
}

static void resolver_answers(void)
{
    atomic_store(&silent, false);
    while (atomic_load(&inside) != 0) { engine_pause_ms(1); }
}

/* Step until the resolver was asked so often. */
static void step_until_asked(int times)
{
    while (atomic_load(&asked) < times) { T_EQ_I64(remote_link_step(k.link, 1), CELLAR_OK); }
}

T_CASE(silent_resolver_delays_neither_step_nor_close)
{
    link_kit_answer got;
    for (int thread = 0; thread < 2; thread++) {
        atomic_store(&silent, true);
        prepare_named("db.test", 6379);
        k.c.no_thread = thread == 0;
        T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
        while (atomic_load(&asked) == 0) {
            if (thread == 0) { T_EQ_I64(remote_link_step(k.link, 1), CELLAR_OK); }
            sched_yield();
        }
        for (int i = 0; i < 5 && thread == 0; i++) {
            T_EQ_I64(remote_link_step(k.link, 1), CELLAR_OK);
        }
        if (thread == 0) {
            T_EQ_I64(link_kit_ask(&k, &got, LINK_KIT_WORDS("PING")), CELLAR_E_BREAKER_OPEN);
        }
        link_kit_close(&k);
        T_EQ_I64(atomic_load(&inside), 1); /* all of this while it is silent */
        resolver_answers();
    }
}

T_CASE(late_answer_counts_for_a_later_attempt)
{
    remote_figures f;
    T_REQUIRE(engine_start_on(&e, true, NULL));
    atomic_store(&silent, true);
    open_named("db.test", e.port);
    step_until_asked(1);
    do {
        atomic_fetch_add(&ahead_ns, INT64_C(1100000000));
        T_EQ_I64(remote_link_step(k.link, 0), CELLAR_OK);
        remote_link_figures(k.link, &f);
    } while (f.counts[REMOTE_LINK_ATTEMPTS] < 4);
    remote_link_refusal(k.link, &why);
    T_EQ_I64(why.why, REMOTE_WHY_TIMEOUT);
    T_EQ_STR(why.text, "remote: the name db.test has no address yet");
    resolver_answers();
    while (k.link->phase < REMOTE_PHASE_HANDSHAKE) {
        T_EQ_I64(remote_link_step(k.link, 1), CELLAR_OK);
    }
    T_EQ_I64(atomic_load(&asked), 1); /* for all attempts */
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
}

/* Of a server, or of a Sentinel. */
T_CASE(unknown_name_is_a_reason)
{
    for (uint32_t sentinels = 0; sentinels < 2; sentinels++) {
        why.why = REMOTE_WHY_NONE;
        prepare_named("db.test", 6379);
        k.c.sentinel_count = sentinels;
        k.c.sentinel[0] = k.c.server;
        atomic_store(&unknown, true);
        T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
        while (why.why != REMOTE_WHY_CONNECT) { /* the attempt may end before the answer */
            T_EQ_I64(remote_link_step(k.link, 1), CELLAR_OK);
            remote_link_refusal(k.link, &why);
        }
        T_EQ_STR(why.text, "remote: the name db.test has no address");
        step_until_asked(2); /* the next attempt asks again */
        link_kit_close(&k);
        resolver_answers();
        atomic_store(&unknown, false);
    }
}

/* The name of the server is another one when the answer comes. */
T_CASE(answer_for_another_name_is_dropped)
{
    remote_figures f;
    atomic_store(&silent, true);
    open_named("db.test", 6379);
    step_until_asked(1);
    snprintf(k.c.server.host, sizeof k.c.server.host, "other.test");
    do {
        atomic_fetch_add(&ahead_ns, INT64_C(1100000000));
        T_EQ_I64(remote_link_step(k.link, 0), CELLAR_OK);
        remote_link_figures(k.link, &f);
    } while (f.counts[REMOTE_LINK_ATTEMPTS] < 2);
    resolver_answers();
    step_until_asked(2);
    link_kit_close(&k);
    resolver_answers();
}

/* A failover by DNS: the name has another address. */
T_CASE(name_with_another_address_is_followed)
{
    static engine next;
    T_REQUIRE(engine_start_on(&e, true, NULL));
    T_REQUIRE(engine_start_on(&next, true, NULL));
    open_named("db.test", e.port);
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
    atomic_store(&moved, next.port);
    engine_kill(&e);
    T_CHECK(link_kit_until(&k, REMOTE_DOWN));
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
    T_CHECK(engine_ask(&next, "SET app:users:1 v") != NULL);
    T_EQ_I64(remote_marker_now(k.link, 5000), CELLAR_OK);
    T_EQ_STR(k.key, "app:users:1");
    atomic_store(&moved, 0);
}

/* The name of the first of three Sentinels comes late; until then the other two are a majority. */
T_CASE(late_name_of_a_sentinel_delays_no_other)
{
    enum { MANY = 3 };
    static engine s[MANY];
    char config[256];
    T_REQUIRE(engine_start_on(&e, true, NULL));
    snprintf(config, sizeof config, "sentinel monitor main 127.0.0.1 %u 1\n", e.port);
    link_kit_init(&k, "");
    k.c.allow_plaintext = true;
    k.c.sentinel_count = MANY;
    snprintf(k.c.master, sizeof k.c.master, "main");
    for (int i = 0; i < MANY; i++) {
        T_REQUIRE(engine_start_sentinel(&s[i], config));
        snprintf(k.c.sentinel[i].host, sizeof k.c.sentinel[i].host, "%c.test", "xyz"[i]);
        k.c.sentinel[i].port = s[i].port;
    }
    atomic_store(&most, MANY);
    atomic_store(&silent_first, 'x');
    atomic_store(&silent, true);
    atomic_store(&asked, 0);
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
    while (atomic_load(&inside) != 1) { engine_pause_ms(1); } /* its thread may start late */
    T_EQ_I64(remote_marker_now(k.link, 5000), CELLAR_OK);
    T_EQ_I64(k.link->sentinel[0].named.port, 0);
    resolver_answers();
    while (k.link->sentinel[0].named.port == 0) {
        T_EQ_I64(remote_link_step(k.link, 1), CELLAR_OK);
    }
    T_EQ_I64(k.link->sentinel[0].named.port, e.port); /* it votes, too */
    T_EQ_I64(atomic_load(&asked), MANY);
    remote_sentinel_view v;
    T_REQUIRE(remote_sentinel_look(k.link, 0, &v));
    T_CHECK(v.at.port == s[0].port && v.named.port == e.port && v.age_ms >= 0);
    T_CHECK(strcmp(v.text, "") == 0 && !v.objects);
    T_CHECK(!remote_sentinel_look(k.link, MANY, &v));
    T_EQ_I64(remote_link_at(k.link)->port, e.port);
    link_kit_close(&k);
    atomic_store(&silent_first, 0);
    atomic_store(&most, 1);
    for (int i = 0; i < MANY; i++) { engine_stop(&s[i]); }
}

T_CASE(addresses_and_localhost_need_no_resolver)
{
    static const char *const hosts[] = { "127.0.0.1", "localhost" };
    T_REQUIRE(engine_start_on(&e, true, NULL));
    atomic_store(&threadless, true);
    for (size_t i = 0; i < 2; i++) {
        open_named(hosts[i], e.port);
        T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
        T_EQ_I64(atomic_load(&asked), 0);
        link_kit_close(&k);
    }
    atomic_store(&threadless, false);
}

T_CASE(no_thread_for_a_name_is_a_reason)
{
    atomic_store(&threadless, true);
    open_named("db.test", 6379);
    T_EQ_I64(link_kit_refused(&k, &why), REMOTE_WHY_NOMEM);
    T_CHECK(strstr(why.text, "thread to resolve db.test") != NULL);
    atomic_store(&threadless, false);
}

T_CASE(child_of_a_fork_leaves_the_lookup)
{
    atomic_store(&silent, true);
    open_named("db.test", 6379);
    step_until_asked(1);
    const pid_t child = fork();
    if (child == 0) {
        remote_link_close(k.link);
        _exit(0);
    }
    T_EQ_I64(engine_child(child), 0);
    resolver_answers();
}

T_MAIN("remote_servers")
