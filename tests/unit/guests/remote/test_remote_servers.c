/* SPDX-License-Identifier: MIT
 *
 * Servers that a link must not use, or that misbehave: each has its reason and sentence. */
#include <dlfcn.h>
#include <sys/mman.h>

#include "cellar_remote.h"
#include "remote/link_inside.h"
#include "tests/support/link_kit.h"
#include "tests/support/rights.h"

static _Atomic int64_t ahead_ns; /* of the clock of the system */
static engine e;
static link_kit k;
static remote_refusal why;

int clock_gettime(clockid_t which, struct timespec *t)
{
    typedef int (*clock_reader)(clockid_t, struct timespec *);
    const clock_reader real = (clock_reader)(uintptr_t)dlsym(RTLD_NEXT, "clock_gettime");
    const int err = real(which, t);
    const int64_t ns = (int64_t)t->tv_nsec + atomic_load(&ahead_ns);
    t->tv_sec += (time_t)(ns / 1000000000);
    t->tv_nsec = (long)(ns % 1000000000);
    return err;
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

/* Answer both connections of a link with `bytes` and run the link until it has a reason. */
static remote_why answer_with(canned *s, const char *bytes)
{
    link_kit_init(&k, s->path);
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    T_EQ_I64(remote_link_step(k.link, 0), CELLAR_OK);
    for (int i = 0; i < 2; i++) {
        s->client[i] = accept(s->listen_fd, NULL, NULL);
        T_REQUIRE(s->client[i] >= 0);
        const ssize_t n = send(s->client[i], bytes, strlen(bytes), MSG_NOSIGNAL | MSG_DONTWAIT);
        T_CHECK(n > 0);
    }
    const remote_why is = link_kit_refused(&k, &why);
    T_EQ_I64(remote_link_state(k.link), REMOTE_DOWN);
    link_kit_close(&k);
    canned_drop(s);
    return is;
}

#define HELLO_OF(version, mode, role) \
    "*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$" version "\r\n$5\r\nproto\r\n:2\r\n" \
    "$2\r\nid\r\n:7\r\n$4\r\nmode\r\n$" mode "\r\n$4\r\nrole\r\n$" role "\r\n" \
    "$7\r\nmodules\r\n*0\r\n"

T_CASE(other_servers_are_refused_by_name)
{
    static const struct { const char *bytes; remote_why why; cellar_err code; const char *part;
    } cases[] = {
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
    canned s;
    canned_open(&s);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        T_EQ_I64(answer_with(&s, cases[i].bytes), cases[i].why);
        T_EQ_I64(why.code, cases[i].code);
        if (strstr(why.text, cases[i].part) == NULL) { T_EQ_STR(why.text, cases[i].part); }
    }
    canned_close(&s);
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
            T_EQ_I64(link_kit_refused(&k, &why), REMOTE_WHY_TIMEOUT);
            T_CHECK(strstr(why.text, "does not answer the handshake") != NULL);
        }
        link_kit_close(&k); /* in the middle of a reply */
        canned_drop(&s);
    }
    canned_close(&s);
}

/* Answer a link to a Sentinel with `bytes` and return its reason. */
static remote_why sentinel_answers(canned *s, const char *bytes)
{
    link_kit_init(&k, s->path);
    k.c.sentinel_count = 1;
    k.c.sentinel[0] = k.c.server;
    snprintf(k.c.master, sizeof k.c.master, "main");
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    T_EQ_I64(remote_link_step(k.link, 0), CELLAR_OK);
    s->client[0] = accept(s->listen_fd, NULL, NULL);
    T_EQ_I64(send(s->client[0], bytes, strlen(bytes), MSG_NOSIGNAL), (ssize_t)strlen(bytes));
    const remote_why is = link_kit_refused(&k, &why);
    link_kit_close(&k);
    canned_drop(s);
    return is;
}

T_CASE(answers_of_a_sentinel_that_lead_nowhere_are_reasons)
{
    static const struct { const char *bytes; remote_why why; cellar_err code; const char *part; }
    cases[] = {
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
    canned s;
    canned_open(&s);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        T_EQ_I64(sentinel_answers(&s, cases[i].bytes), cases[i].why);
        T_EQ_I64(why.code, cases[i].code);
        if (strstr(why.text, cases[i].part) == NULL) { T_EQ_STR(why.text, cases[i].part); }
    }
    canned_close(&s);
}

/* Begin an attempt with `more_ms` beside its 1 s, and let 1.1 s pass. Check the reason. */
static void sentinel_is_late(int64_t more_ms, const char *text)
{
    const uint32_t before = atomic_load(&k.link->falls);
    k.link->retry_ns = 0;
    while (k.link->phase != REMOTE_PHASE_SENTINEL || !k.link->sentinel[0].asking) {
        T_EQ_I64(remote_link_step(k.link, 0), CELLAR_OK);
    }
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
    k.c.proof_ms = 200;
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    sentinel_is_late(0, "remote: no majority of the Sentinels names a primary");
    atomic_fetch_add(&ahead_ns, INT64_C(1100000000)); /* it connects again */
    snprintf(text, sizeof text, "remote: the Sentinel %.48s does not answer", s.path);
    sentinel_is_late(60000, text);
    atomic_fetch_add(&ahead_ns, INT64_C(1100000000));
    while (!k.link->sentinel[0].asking) { T_EQ_I64(remote_link_step(k.link, 1), CELLAR_OK); }
    for (int fd; (fd = accept(s.listen_fd, NULL, NULL)) >= 0; s.client[0] = fd) { canned_drop(&s); }
    snprintf(text, sizeof text, "*2\r\n$9\r\n127.0.0.1\r\n$5\r\n%05u\r\n", engine_free_port());
    T_EQ_I64(send(s.client[0], text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
    k.link->retry_ns = 0;
    while (k.link->primary.port == 0) { T_EQ_I64(remote_link_step(k.link, 1), CELLAR_OK); }
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
    if (!engine_start_on(&e, true, NULL)) { return; }
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

static void proven(void)
{
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
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
    rights r;
    rights_read(&r);
    if (!engine_start(&e, NULL)) { return; }
    rights_grant(&e, "u", ">secret", &r, r.count);
    as_user("secret");
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
    T_EQ_I64(remote_marker_now(k.link, 5000), CELLAR_OK);
    link_kit_close(&k);
    for (size_t i = 0; i < r.count; i++) {
        rights_grant(&e, "u", ">secret", &r, i);
        as_user("secret");
        T_EQ_I64(link_kit_refused(&k, &why), REMOTE_WHY_NOPERM);
        if (strstr(why.text, r.word[i]) == NULL) { T_EQ_STR(why.text, r.word[i]); }
        T_EQ_I64(why.code, CELLAR_E_DENIED);
        link_kit_close(&k);
    }
}

/* The longest list there can be: a prefix of 32 bytes. */
T_CASE(all_missing_rights_are_named)
{
    rights r;
    rights_read(&r);
    if (!engine_start(&e, NULL)) { return; }
    engine_ask(&e, "ACL SETUSER u reset on >secret");
    link_kit_init(&k, e.socket);
    snprintf(k.c.user, sizeof k.c.user, "u");
    snprintf(k.c.password, sizeof k.c.password, "secret");
    snprintf(k.c.prefix, sizeof k.c.prefix, "an-application-of-32-characters-");
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    T_EQ_I64(link_kit_refused(&k, &why), REMOTE_WHY_NOPERM);
    for (size_t i = 0; i < r.count; i++) {
        if (r.word[i][0] == '+' && strstr(why.text, r.word[i]) == NULL) { T_EQ_STR(why.text, r.word[i]); }
    }
    T_CHECK(strlen(why.text) < sizeof ((cellar_error_info *)NULL)->text - 1); /* not cut */
}

T_CASE(wrong_password_is_named_and_never_shown)
{
    rights r;
    rights_read(&r);
    if (!engine_start(&e, NULL)) { return; }
    rights_grant(&e, "u", ">secret", &r, r.count);
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
    rights r;
    rights_read(&r);
    if (!engine_start(&e, NULL)) { return; }
    rights_grant(&e, "u", ">secret", &r, r.count);
    link_kit_init(&k, e.socket);
    snprintf(k.c.user, sizeof k.c.user, "u");
    snprintf(k.c.password_file, sizeof k.c.password_file, "%s/p", e.dir);
    keep_password("secret\n");
    proven();
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
    pthread_attr_t a;
    fn(arg); /* the dynamic linker, which keeps registers in its frames, has its turn */
    unsigned char *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    T_REQUIRE(stack != MAP_FAILED && pthread_attr_init(&a) == 0);
    T_REQUIRE(pthread_attr_setstack(&a, stack, STACK_BYTES) == 0);
    T_REQUIRE(pthread_create(&t, &a, fn, arg) == 0);
    pthread_join(t, NULL);
    const bool leaves = has_password(stack);
    pthread_attr_destroy(&a);
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
    if (!engine_start_on(&e, true, NULL)) { return; }
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
        }
        link_kit_close(&k);
    }
}

T_MAIN("remote_servers")
