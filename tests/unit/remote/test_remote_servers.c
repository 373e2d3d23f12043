/* SPDX-License-Identifier: MIT
 *
 * Servers that a link must not use, or that misbehave: each has its reason and sentence. */
#include "tests/support/engine_kit.h"
#include "tests/support/link_kit.h"

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
static remote_why answer_with(canned *s, link_kit *k, remote_refusal *why, const char *bytes,
                              size_t len)
{
    link_kit_init(k, s->path);
    T_REQUIRE(link_kit_open(k) == CELLAR_OK);
    T_EQ_I64(remote_link_step(k->link, 0), CELLAR_OK);
    for (int i = 0; i < 2; i++) {
        s->client[i] = accept(s->listen_fd, NULL, NULL);
        T_REQUIRE(s->client[i] >= 0);
        const ssize_t n = send(s->client[i], bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        T_CHECK(n > 0);
    }
    const remote_why is = link_kit_refused(k, why);
    T_EQ_I64(remote_link_state(k->link), REMOTE_DOWN);
    link_kit_close(k);
    canned_drop(s);
    return is;
}

#define HELLO_OF(version, mode, role) \
    "*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$" version "\r\n$5\r\nproto\r\n:2\r\n" \
    "$2\r\nid\r\n:7\r\n$4\r\nmode\r\n$" mode "\r\n$4\r\nrole\r\n$" role "\r\n" \
    "$7\r\nmodules\r\n*0\r\n"

static void other_servers_are_refused_by_name(void)
{
    static const struct { const char *bytes; remote_why why; cellar_err code; const char *part; }
    cases[] = {
        { "HTTP/1.1 400 Bad Request\r\n\r\n", REMOTE_WHY_PROTOCOL, CELLAR_E_FOREIGN, "no Redis" },
        { "ERROR\r\n", REMOTE_WHY_PROTOCOL, CELLAR_E_FOREIGN, "no Redis" },
        { "+OK\r\n", REMOTE_WHY_PROTOCOL, CELLAR_E_FOREIGN, "no Redis" },
        { "-ERR unknown command `HELLO`\r\n", REMOTE_WHY_VERSION, CELLAR_E_UNSUPPORTED, "7.0" },
        { HELLO_OF("5\r\n6.2.7", "10\r\nstandalone", "6\r\nmaster"), REMOTE_WHY_VERSION,
          CELLAR_E_UNSUPPORTED, "got 6.2.7" },
        { HELLO_OF("5\r\n7.0.1", "7\r\ncluster", "6\r\nmaster"), REMOTE_WHY_CLUSTER,
          CELLAR_E_UNSUPPORTED, "Cluster" },
        { HELLO_OF("5\r\n7.0.1", "8\r\nsentinel", "6\r\nmaster"), REMOTE_WHY_REFUSED,
          CELLAR_E_CONFIG, "Sentinel" },
        { HELLO_OF("5\r\n7.0.1", "10\r\nstandalone", "7\r\nreplica"), REMOTE_WHY_REPLICA,
          CELLAR_E_NOT_OWNER, "primary" },
        { "-NOAUTH HELLO must be called\r\n", REMOTE_WHY_AUTH, CELLAR_E_DENIED, "wants a password" },
        { "-WRONGPASS invalid\r\n", REMOTE_WHY_AUTH, CELLAR_E_DENIED, "is wrong" },
        { "-LOADING Redis is loading\r\n", REMOTE_WHY_LOADING, CELLAR_E_BUSY, "loading" },
        { "*1000000000\r\n", REMOTE_WHY_TOO_BIG, CELLAR_E_TOOBIG, "above the limits" },
        { "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n", REMOTE_WHY_TOO_BIG, CELLAR_E_TOOBIG, "limits" },
        { "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n", REMOTE_WHY_TOO_BIG,
          CELLAR_E_TOOBIG, "limits" },
        { "*-2\r\n", REMOTE_WHY_PROTOCOL, CELLAR_E_FOREIGN, "no Redis" },
        { "$-7\r\n", REMOTE_WHY_PROTOCOL, CELLAR_E_FOREIGN, "no Redis" },
    };
    canned s;
    link_kit k;
    canned_open(&s);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        remote_refusal why;
        T_EQ_I64(answer_with(&s, &k, &why, cases[i].bytes, strlen(cases[i].bytes)), cases[i].why);
        T_EQ_I64(why.code, cases[i].code);
        if (strstr(why.text, cases[i].part) == NULL) { T_EQ_STR(why.text, cases[i].part); }
    }
    canned_close(&s);
}

static void string_above_the_limit_closes(void)
{
    enum { BYTES = 1200000 };
    static char bytes[BYTES];
    canned s;
    link_kit k;
    canned_open(&s);
    link_kit_init(&k, s.path);
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    T_EQ_I64(remote_link_step(k.link, 0), CELLAR_OK);
    s.client[0] = accept(s.listen_fd, NULL, NULL);
    T_REQUIRE(s.client[0] >= 0);
    const int n = snprintf(bytes, sizeof bytes, "$536870912\r\n");
    memset(bytes + n, 'x', sizeof bytes - (size_t)n);
    size_t sent = 0;
    remote_refusal why = { .why = REMOTE_WHY_NONE };
    while (why.why == REMOTE_WHY_NONE && sent < sizeof bytes) {
        const ssize_t took = send(s.client[0], bytes + sent, sizeof bytes - sent,
                                  MSG_NOSIGNAL | MSG_DONTWAIT);
        sent += took > 0 ? (size_t)took : 0;
        T_EQ_I64(remote_link_step(k.link, 0), CELLAR_OK);
        remote_link_refusal(k.link, &why);
    }
    for (int i = 0; i < 10 && why.why == REMOTE_WHY_NONE; i++) {
        T_EQ_I64(remote_link_step(k.link, 1), CELLAR_OK);
        remote_link_refusal(k.link, &why);
    }
    T_EQ_I64(why.why, REMOTE_WHY_TOO_BIG);
    link_kit_close(&k);
    canned_close(&s);
}

/* Answer the handshake of a real server cut after `n` bytes, then silence or the end. */
static void half_a_reply_neither_hangs_nor_leaks(void)
{
    static const char hello[] = HELLO_OF("5\r\n7.0.1", "10\r\nstandalone", "6\r\nmaster");
    canned s;
    canned_open(&s);
    for (size_t n = 1; n < sizeof hello; n++) {
        link_kit k;
        link_kit_init(&k, s.path);
        T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
        T_EQ_I64(remote_link_step(k.link, 0), CELLAR_OK);
        for (int i = 0; i < 2; i++) {
            s.client[i] = accept(s.listen_fd, NULL, NULL);
            T_EQ_I64(send(s.client[i], hello, n, MSG_NOSIGNAL), (ssize_t)n);
        }
        T_EQ_I64(remote_link_step(k.link, 0), CELLAR_OK);
        T_EQ_I64(remote_link_state(k.link), REMOTE_DOWN);
        if (n % 2 == 0) {
            remote_refusal why;
            canned_drop(&s);
            T_EQ_I64(link_kit_refused(&k, &why), REMOTE_WHY_CLOSED);
        }
        link_kit_close(&k); /* in the middle of a reply */
        canned_drop(&s);
    }
    canned_close(&s);
}

static void absent_server_is_a_reason(void)
{
    link_kit k;
    remote_refusal why;
    link_kit_init(&k, "/nowhere/r.sock");
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    T_EQ_I64(link_kit_refused(&k, &why), REMOTE_WHY_CONNECT);
    T_EQ_I64(why.sys_errno, ENOENT);
    T_EQ_I64(atomic_load(&k.logs), 1);
    for (int i = 0; i < 50; i++) { remote_link_step(k.link, 1); }
    T_EQ_I64(atomic_load(&k.logs), 1); /* one line for all attempts */
    T_EQ_I64(atomic_load(&k.gaps), 0);
    link_kit_close(&k);
}

/* ---- users and rights ---- */

/* The rights of the user, in words. */
static const char *const rights[] = { "+get", "+mget", "+set", "+unlink", "+pttl", "+pexpire",
    "+incrby", "+evalsha", "+script|load", "+subscribe", "+client|tracking", "+time", "+wait",
    "+scan", "~app:*", "~~app:*", "&__redis__:invalidate" };
enum { RIGHTS = sizeof rights / sizeof rights[0] };

/* Make user u with all rights but number `without`. */
static void user_without(engine *e, size_t without)
{
    const char *argv[RIGHTS + 6] = { "ACL", "SETUSER", "u", "reset", "on", ">secret" };
    int n = 6;
    for (size_t i = 0; i < RIGHTS; i++) {
        if (i != without) { argv[n++] = rights[i]; }
    }
    if (e->c == NULL) { engine_ask(e, "PING"); }
    redisReply *r = redisCommandArgv(e->c, n, argv, NULL);
    T_CHECK(r != NULL && r->type == REDIS_REPLY_STATUS);
    freeReplyObject(r);
}

static void as_user(link_kit *k, const engine *e, const char *password)
{
    link_kit_init(k, e->socket);
    snprintf(k->c.user, sizeof k->c.user, "u");
    snprintf(k->c.password, sizeof k->c.password, "%s", password);
    T_REQUIRE(link_kit_open(k) == CELLAR_OK);
}

static void least_rights_suffice_and_each_is_needed(void)
{
    engine e;
    link_kit k;
    if (!engine_start(&e, NULL)) { return; }
    user_without(&e, RIGHTS);
    as_user(&k, &e, "secret");
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
    T_EQ_I64(remote_mark_now(k.link, 5000), CELLAR_OK);
    link_kit_close(&k);
    for (size_t i = 0; i < RIGHTS; i++) {
        remote_refusal why;
        user_without(&e, i);
        as_user(&k, &e, "secret");
        T_EQ_I64(link_kit_refused(&k, &why), REMOTE_WHY_NOPERM);
        if (strstr(why.text, rights[i]) == NULL) { T_EQ_STR(why.text, rights[i]); }
        T_EQ_I64(why.code, CELLAR_E_DENIED);
        link_kit_close(&k);
    }
    engine_stop(&e);
}

static void wrong_password_is_named_and_never_shown(void)
{
    engine e;
    link_kit k;
    remote_refusal why;
    if (!engine_start(&e, NULL)) { return; }
    user_without(&e, RIGHTS);
    as_user(&k, &e, "hunter2");
    T_EQ_I64(link_kit_refused(&k, &why), REMOTE_WHY_AUTH);
    T_CHECK(strstr(why.text, "hunter2") == NULL && strstr(k.log, "hunter2") == NULL);
    link_kit_close(&k);
    link_kit_init(&k, e.socket); /* and no password at all */
    engine_ask(&e, "CONFIG SET requirepass p");
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    T_EQ_I64(link_kit_refused(&k, &why), REMOTE_WHY_AUTH);
    T_CHECK(strstr(why.text, "wants a password") != NULL);
    link_kit_close(&k);
    engine_stop(&e);
}

static void password_comes_from_a_file(void)
{
    engine e;
    link_kit k;
    if (!engine_start(&e, NULL)) { return; }
    user_without(&e, RIGHTS);
    link_kit_init(&k, e.socket);
    snprintf(k.c.user, sizeof k.c.user, "u");
    snprintf(k.c.password_file, sizeof k.c.password_file, "%s/p", e.dir);
    const int fd = open(k.c.password_file, O_CREAT | O_WRONLY, 0600);
    T_EQ_I64(write(fd, "secret\n", 7), 7);
    close(fd);
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
    link_kit_close(&k);
    engine_stop(&e);
}

/* ---- bad days of a real server ---- */

static void replica_is_refused(void)
{
    engine e;
    link_kit k;
    remote_refusal why;
    if (!engine_start(&e, NULL)) { return; }
    link_kit_init(&k, e.socket);
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
    engine_ask(&e, "REPLICAOF 127.0.0.1 1"); /* demoted: the next mark is refused */
    const cellar_err err = remote_mark_now(k.link, 5000);
    T_CHECK(err == CELLAR_E_BREAKER_OPEN);
    T_CHECK(link_kit_refused(&k, &why) == REMOTE_WHY_READONLY || why.why == REMOTE_WHY_REPLICA);
    for (int i = 0; i < 5000 && why.why != REMOTE_WHY_REPLICA; i++) {
        remote_link_step(k.link, 1);
        remote_link_refusal(k.link, &why);
    }
    T_EQ_I64(why.why, REMOTE_WHY_REPLICA);
    engine_ask(&e, "REPLICAOF NO ONE");
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
    link_kit_close(&k);
    engine_stop(&e);
}

static void full_server_keeps_its_proof(void)
{
    engine e;
    link_kit k;
    link_kit_answer a;
    remote_figures f;
    if (!engine_start(&e, NULL)) { return; }
    link_kit_init(&k, e.socket);
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
    engine_ask(&e, "CONFIG SET maxmemory 1");
    T_EQ_I64(link_kit_ask(&k, &a, LINK_KIT_WORDS("SET", "app:users:1", "v")), CELLAR_OK);
    T_EQ_I64(a.type, REMOTE_ERROR);
    T_EQ_I64(remote_mark_now(k.link, 5000), CELLAR_OK);
    remote_link_figures(k.link, &f);
    T_EQ_U64(f.counts[REMOTE_LINK_OOM], 1);
    T_EQ_I64(f.state, REMOTE_PROVEN);
    link_kit_close(&k);
    engine_stop(&e);
}

static void sentinel_names_the_server(void)
{
    engine e, s;
    link_kit k;
    remote_refusal why;
    char config[256];
    if (!engine_start_on(&e, true, NULL)) { return; }
    snprintf(config, sizeof config, "sentinel monitor main 127.0.0.1 %u 1\n", e.port);
    if (!engine_start_sentinel(&s, config)) { return; }
    link_kit_init(&k, "");
    k.c.sentinel_count = 1;
    snprintf(k.c.sentinel[0].host, sizeof k.c.sentinel[0].host, "127.0.0.1");
    k.c.sentinel[0].port = s.port;
    snprintf(k.c.master, sizeof k.c.master, "main");
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
    T_EQ_I64(remote_mark_now(k.link, 5000), CELLAR_OK);
    link_kit_close(&k);
    snprintf(k.c.master, sizeof k.c.master, "other");
    T_REQUIRE(link_kit_open(&k) == CELLAR_OK);
    T_EQ_I64(link_kit_refused(&k, &why), REMOTE_WHY_MASTER);
    T_CHECK(strstr(why.text, "other") != NULL);
    link_kit_close(&k);
    engine_stop(&s);
    engine_stop(&e);
}

T_MAIN("remote_servers", T_CASE(other_servers_are_refused_by_name),
       T_CASE(string_above_the_limit_closes), T_CASE(half_a_reply_neither_hangs_nor_leaks),
       T_CASE(absent_server_is_a_reason), T_CASE(least_rights_suffice_and_each_is_needed),
       T_CASE(wrong_password_is_named_and_never_shown), T_CASE(password_comes_from_a_file),
       T_CASE(replica_is_refused), T_CASE(full_server_keeps_its_proof),
       T_CASE(sentinel_names_the_server))
