/* SPDX-License-Identifier: MIT
 *
 * Aim:    TLS carries bytes whole, refuses each peer that its files do not vouch for, and says why.
 * Method: both sides of src/guests/tls in one thread, with a pump between them that moves the bytes of
 *         two socket pairs and stops after a given count. Certificates of an own CA. The servers
 *         that src/guests/tls cannot be are made of OpenSSL. */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/tls_kit.h"

T_ONE_THREAD;

static char dir[T_FOLDER_MAX], why[TLS_WHY];
static tls_files trust; /* the CA of the certificates */
static tls_ticket *ticket; /* of the client */

/* Errors of the next calls of the socket, also of src/guests/tls; 0: none. */
static int recv_error, send_error;

static bool fails(int *error)
{
    const int e = *error;
    if (e != 0) { errno = e, *error = 0; }
    return e != 0;
}

ssize_t recv(int fd, void *to, size_t cap, int flags)
{
    return fails(&recv_error) ? -1 : recvfrom(fd, to, cap, flags, NULL, NULL);
}

ssize_t send(int fd, const void *from, size_t len, int flags)
{
    return fails(&send_error) ? -1 : sendto(fd, from, len, flags, NULL, 0);
}

static void ticket_drop(void)
{
    tls_ticket_free(ticket);
    ticket = NULL;
}
T_AFTER_EACH(ticket_drop);

/* ---- two sides ---- */

typedef struct pair {
    int fd[2], pump[2];    /* of client, server */
    size_t passed[2], most[2]; /* bytes to server, to client; no more than `most` */
    tls *side[2];
    tls_server *server;
    int shaken[2];
} pair;

static const char *path(const char *name)
{
    static char text[128][TLS_KIT_PATH];
    char wanted[TLS_KIT_PATH];
    (void)tls_kit_path(wanted, dir, name);
    for (size_t i = 0; i < sizeof text / sizeof text[0]; i++) {
        if (text[i][0] == '\0') { memcpy(text[i], wanted, sizeof wanted); }
        if (strcmp(text[i], wanted) == 0) { return text[i]; }
    }
    T_REQUIRE(!"more names than places");
    return NULL;
}

static bool certificates_open(void)
{
    if (!tls_kit_open(dir)) { return false; }
    trust = (tls_files){ .ca_file = path("ca.pem") };
    return true;
}

static void pair_sockets(pair *p)
{
    memset(p, 0, sizeof *p);
    for (int i = 0; i < 2; i++) {
        int ends[2];
        T_REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
        p->fd[i] = ends[0];
        p->pump[i] = ends[1];
        p->most[i] = SIZE_MAX;
    }
}

/* Begin both sides. The files of the server: its certificate, the CA of clients or NULL. */
static void pair_open(pair *p, const char *cert, const char *clients, const tls_files *client,
                      const char *name)
{
    const tls_files files = { .ca_file = clients, .cert_file = cert };
    ticket_drop();
    pair_sockets(p);
    p->server = tls_server_open(&files, why);
    T_REQUIRE(p->server != NULL);
    p->side[0] = tls_client(client, name, p->fd[0], &ticket, why);
    T_REQUIRE(p->side[0] != NULL);
    p->side[1] = tls_accept(p->server, p->fd[1], why);
    T_REQUIRE(p->side[1] != NULL && why[0] == '\0');
}

static void pair_close(pair *p)
{
    for (int i = 0; i < 2; i++) {
        tls_end(p->side[i]);
        if (p->fd[i] >= 0) { close(p->fd[i]); }
        if (p->pump[i] >= 0) { close(p->pump[i]); }
    }
    tls_server_close(p->server);
}

/* Move what has come from side `from` to the other one. Return whether a byte moved. */
static bool pump_way(pair *p, int from)
{
    char bytes[4096];
    const size_t left = p->most[from] - p->passed[from];
    const size_t most = left < sizeof bytes ? left : sizeof bytes;
    if (p->pump[from] < 0 || p->pump[1 - from] < 0) { return false; }
    if (left == 0) { /* cut: the other side sees the end */
        close(p->pump[1 - from]);
        p->pump[1 - from] = -1;
        return true;
    }
    const ssize_t n = recv(p->pump[from], bytes, most, MSG_PEEK);
    if (n <= 0) { return false; }
    const ssize_t put = send(p->pump[1 - from], bytes, (size_t)n, MSG_NOSIGNAL);
    if (put <= 0) { return false; }
    T_REQUIRE(recv(p->pump[from], bytes, (size_t)put, 0) == put);
    p->passed[from] += (size_t)put;
    return true;
}

static bool pump(pair *p)
{
    const bool there = pump_way(p, 0), back = pump_way(p, 1);
    return there || back;
}

/* Shake hands until both sides have ended, one way or the other, or nothing moves. */
static void shake(pair *p)
{
    bool moved;
    do {
        for (int i = 0; i < 2; i++) { p->shaken[i] = tls_shake(p->side[i]); }
        moved = pump(p);
    } while (moved);
    for (int i = 0; i < 2; i++) { p->shaken[i] = tls_shake(p->side[i]); }
}

static bool send_text(tls *t, const char *text)
{
    const struct iovec part = { (void *)(uintptr_t)text, strlen(text) };
    return tls_send(t, &part, 1) == (ssize_t)part.iov_len;
}

/* Pass a word each way. */
static void words_pass(pair *p)
{
    char got[16] = "";
    T_CHECK(send_text(p->side[0], "ping"));
    while (pump(p)) { }
    T_EQ_I64(tls_recv(p->side[1], got, sizeof got), 4);
    T_CHECK(memcmp(got, "ping", 4) == 0);
    T_CHECK(send_text(p->side[1], "pong"));
    while (pump(p)) { }
    T_EQ_I64(tls_recv(p->side[0], got, sizeof got), 4);
    T_CHECK(memcmp(got, "pong", 4) == 0);
    T_EQ_I64(tls_recv(p->side[0], got, sizeof got), -EAGAIN);
}

/* Check that side `i` was refused with a sentence. */
static void refused(pair *p, int i, const char *part)
{
    char got[4];
    if (p->shaken[i] == 1) { p->shaken[i] = (int)tls_recv(p->side[i], got, sizeof got); }
    T_EQ_I64(p->shaken[i], -EPROTO);
    if (strstr(tls_why(p->side[i]), part) == NULL) { T_EQ_STR(tls_why(p->side[i]), part); }
    T_EQ_I64(tls_recv(p->side[i], got, sizeof got), -EPROTO); /* it stays refused */
}

/* ---- bytes ---- */

T_CASE(long_values_pass_whole_both_ways)
{
    enum { LEN = 3 << 20 };
    pair p;
    if (!certificates_open()) { return; }
    unsigned char *from = malloc(LEN), *to = malloc(LEN);
    T_REQUIRE(from != NULL && to != NULL);
    for (size_t i = 0; i < LEN; i++) { from[i] = (unsigned char)(i * 2654435761u >> 13); }
    pair_open(&p, path("server.pem"), NULL, &trust, "localhost");
    shake(&p);
    for (int way = 0; way < 2; way++) {
        size_t sent = 0, got = 0;
        bool held = false;
        memset(to, 0, LEN);
        while (got < LEN) {
            struct iovec part[3] = { { from + sent, (LEN - sent) / 3 }, { NULL, 0 }, { NULL, 0 } };
            part[1].iov_base = (char *)part[0].iov_base + part[0].iov_len;
            part[1].iov_len = LEN - sent - part[0].iov_len;
            const ssize_t n = sent < LEN ? tls_send(p.side[way], part, 3) : 0;
            T_REQUIRE(n >= 0 || n == -EAGAIN);
            sent += n > 0 ? (size_t)n : 0;
            while (pump(&p)) { }
            const size_t most = LEN - got < 70001 ? LEN - got : 70001;
            const ssize_t m = tls_recv(p.side[1 - way], to + got, most);
            T_REQUIRE(m > 0 || m == -EAGAIN);
            got += m > 0 ? (size_t)m : 0;
            held = held || tls_holds(p.side[1 - way]);
        }
        T_CHECK(memcmp(from, to, LEN) == 0);
        T_CHECK(held); /* more than poll could see */
        T_CHECK(!tls_holds(p.side[1 - way]));
    }
    words_pass(&p);
    pair_close(&p);
    free(from);
    free(to);
}

T_CASE(end_with_and_without_a_goodbye_is_an_end)
{
    if (!certificates_open()) { return; }
    for (int bye = 0; bye < 2; bye++) {
        pair p;
        char got[8];
        pair_open(&p, path("server.pem"), NULL, &trust, "localhost");
        shake(&p);
        T_CHECK(send_text(p.side[1], "last"));
        if (bye) { tls_bye(p.side[1]); }
        while (pump(&p)) { }
        close(p.pump[0]);
        p.pump[0] = -1;
        T_EQ_I64(tls_recv(p.side[0], got, sizeof got), 4);
        T_EQ_I64(tls_recv(p.side[0], got, sizeof got), 0);
        T_EQ_I64(tls_recv(p.side[0], got, sizeof got), 0);
        pair_close(&p);
    }
}

/* A peer that has said nothing, or a value that waits, gives no other reason. */
T_CASE(interrupted_call_is_repeated_and_a_failed_send_has_its_error)
{
    static const int errors[] = { EPIPE, ECONNRESET, EIO };
    const struct iovec part = { (void *)(uintptr_t)"ping", 4 };
    if (!certificates_open()) { return; }
    for (int i = 0; i < 6; i++) {
        pair p;
        char got[8];
        pair_open(&p, path("server.pem"), NULL, &trust, "localhost");
        shake(&p);
        send_error = EINTR;
        T_CHECK(send_text(p.side[0], "ping") && (i < 3 || send_text(p.side[1], "value")));
        while (pump(&p)) { }
        recv_error = EINTR;
        T_EQ_I64(tls_recv(p.side[1], got, sizeof got), 4);
        send_error = errors[i % 3];
        T_EQ_I64(tls_send(p.side[0], &part, 1), -errors[i % 3]);
        T_EQ_I64(tls_send(p.side[0], &part, 1), -errors[i % 3]); /* it stays */
        T_EQ_I64(tls_recv(p.side[0], got, sizeof got), -errors[i % 3]);
        pair_close(&p);
    }
}

/* Cut the bytes to the client behind each one: it never reports a byte that did not come whole, and
 * never a handshake before its end. */
T_CASE(stream_cut_at_each_byte_never_passes_as_whole)
{
    size_t whole = 0, shaken_at = 0;
    if (!certificates_open()) { return; }
    for (size_t cut = 0; cut == 0 || cut <= whole; cut += cut == 0 ? 1 : t_reduced() ? 7 : 1) {
        pair p;
        char got[8];
        pair_open(&p, path("server.pem"), NULL, &trust, "localhost");
        if (cut != 0) { p.most[1] = cut; }
        shake(&p);
        if (cut == 0) { shaken_at = p.passed[1]; }
        (void)send_text(p.side[1], "value");
        while (pump(&p)) { }
        const ssize_t n = tls_recv(p.side[0], got, sizeof got);
        if (cut == 0) {
            T_EQ_I64(n, 5);
            whole = p.passed[1]; /* its length differs by some bytes: signatures do */
        } else if (n > 0) {
            T_EQ_I64(n, 5);
            T_CHECK(cut + 16 >= whole && memcmp(got, "value", 5) == 0);
        } else if (cut + 300 < shaken_at) {
            T_CHECK(p.shaken[0] < 0 || n < 0 || n == 0);
            T_CHECK(n == 0 || n == -EPROTO);
        }
        pair_close(&p);
    }
    T_CHECK(whole > shaken_at && shaken_at > 300);
}

/* ---- certificates ---- */

T_CASE(certificate_that_files_do_not_vouch_for_is_refused)
{
    static const struct { const char *cert, *name, *part; } bad[] = {
        { "wrong.pem", "localhost", "ostname mismatch" },
        { "server.pem", "other.example", "ostname mismatch" },
        { "server.pem", "127.0.0.2", "IP address mismatch" },
        { "server.pem", "::1", "IP address mismatch" },
        { "expired.pem", "localhost", "certificate has expired" },
        { "self.pem", "localhost", "self-signed certificate" },
        { "other.pem", "localhost", "unable to get local issuer certificate" },
        { "server.pem", "localhost", NULL }, { "server.pem", "127.0.0.1", NULL },
        { "wrong.pem", "other.example", NULL }, { "expired.pem", NULL, NULL },
        { "self.pem", NULL, NULL },
    };
    if (!certificates_open()) { return; }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        pair p;
        pair_open(&p, path(bad[i].cert), NULL, &trust, bad[i].name);
        shake(&p);
        if (bad[i].part == NULL) {
            words_pass(&p);
        } else {
            refused(&p, 0, bad[i].part);
            T_CHECK(strstr(tls_why(p.side[0]), "certificate refused: ") != NULL);
            T_CHECK(!send_text(p.side[0], "secret"));
        }
        pair_close(&p);
        T_CHECK((ticket != NULL) == (bad[i].part == NULL));
    }
}

T_CASE(folder_of_cas_vouches_as_a_file_and_none_is_the_system)
{
    if (!certificates_open()) { return; }
    T_REQUIRE(tls_kit_run(dir, "cp ca.pem $(openssl x509 -hash -noout <ca.pem).0"));
    const struct { tls_files files; bool good; } rows[] = {
        { { .ca_dir = path("") }, true }, { { .ca_file = "", .ca_dir = path("") }, true },
        { { .ca_file = path("foreign.pem"), .ca_dir = path("") }, true },
        { { .ca_file = path("ca.pem"), .ca_dir = "" }, true },
        { { .ca_dir = path("none") }, false }, { { .ca_file = NULL }, false },
        { { .ca_file = "", .ca_dir = "" }, false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        pair p;
        pair_open(&p, path("server.pem"), NULL, &rows[i].files, "localhost");
        shake(&p);
        if (rows[i].good) { words_pass(&p); } else { refused(&p, 0, "certificate refused: "); }
        pair_close(&p);
    }
}

T_CASE(client_certificate_is_wanted_where_the_server_says_so)
{
    static const struct { const char *cert, *client_part, *server_part; } client[] = {
        { NULL, "wants a client certificate", "sent no certificate" },
        { "other.pem", "unknown ca", "certificate refused: unable to get local issuer" },
        { "expired.pem", "expired", "certificate refused: certificate has expired" },
        { "client.pem", NULL, NULL },
    };
    if (!certificates_open()) { return; }
    for (size_t i = 0; i < sizeof client / sizeof client[0]; i++) {
        pair p;
        const tls_files files = { .ca_file = path("ca.pem"),
                                  .cert_file = client[i].cert != NULL ? path(client[i].cert) : "" };
        pair_open(&p, path("server.pem"), path("ca.pem"), &files, "localhost");
        shake(&p);
        if (client[i].client_part == NULL) {
            words_pass(&p);
        } else {
            refused(&p, 1, client[i].server_part);
            while (pump(&p)) { }
            refused(&p, 0, client[i].client_part);
        }
        pair_close(&p);
    }
}

/* The alert of a refused certificate waits unread while the next send fails. */
T_CASE(reason_of_a_refusal_is_found_when_a_send_fails)
{
    pair p;
    if (!certificates_open()) { return; }
    const tls_files files = { .ca_file = path("ca.pem") };
    pair_open(&p, path("server.pem"), path("ca.pem"), &files, "localhost");
    while (tls_shake(p.side[0]) != 1) {
        T_REQUIRE(tls_shake(p.side[1]) == -EAGAIN);
        (void)pump(&p);
    }
    while (pump_way(&p, 0)) { }
    T_EQ_I64(tls_shake(p.side[1]), -EPROTO);
    while (pump_way(&p, 1)) { }
    close(p.pump[0]);
    p.pump[0] = -1;
    p.shaken[0] = 1;
    T_CHECK(!send_text(p.side[0], "HELLO"));
    refused(&p, 0, "wants a client certificate");
    pair_close(&p);
}

T_CASE(files_that_cannot_be_used_have_a_sentence)
{
    if (!certificates_open()) { return; }
    const tls_files none = { .ca_file = path("none.pem") };
    T_CHECK(tls_client(&none, "x", 0, &ticket, why) == NULL);
    T_CHECK(strstr(why, "tls_ca") != NULL && strstr(why, "none.pem") != NULL);
    const tls_files no_key = { .ca_file = path("ca.pem"), .cert_file = path("server.crt") };
    T_CHECK(tls_client(&no_key, "x", 0, &ticket, why) == NULL);
    T_CHECK(strncmp(why, "tls_cert_file ", 14) == 0 && strstr(why, "give tls_key_file") != NULL);
    const tls_files other_key = { .cert_file = path("server.crt"), .key_file = path("client.key") };
    T_CHECK(tls_server_open(&other_key, why) == NULL);
    T_CHECK(strncmp(why, "tls_key_file ", 13) == 0);
    T_CHECK(strstr(why, "key values mismatch") != NULL);
    const tls_files no_ca = { .ca_file = path("server.key") };
    T_CHECK(tls_client(&no_ca, "x", 0, &ticket, why) == NULL);
    T_CHECK(strncmp(why, "tls_ca_file ", 12) == 0 && strstr(why, ": no certificate in it") != NULL);
    char name[257] = "";
    memset(name, 'x', sizeof name - 1); /* longer than a server can be told */
    T_CHECK(tls_client(&trust, name, 0, &ticket, why) == NULL && why[0] != '\0');
}

T_CASE(key_with_a_passphrase_is_refused_and_no_terminal_is_asked)
{
    if (!certificates_open()) { return; }
    T_REQUIRE(tls_kit_run(dir, "openssl ec -aes128 -passout pass:x <server.key >locked.key 2>log"));
    const tls_files locked = { .cert_file = path("server.crt"), .key_file = path("locked.key") };
    T_CHECK(tls_server_open(&locked, why) == NULL);
    T_CHECK(strncmp(why, "tls_key_file ", 13) == 0 && strstr(why, "/locked.key: it has a passphrase") != NULL);
}

/* ---- tickets and rotation ---- */

/* Connect once to a running server. Return the bytes that it sent. */
static size_t once(tls_server *server, const tls_files *files, const char *part)
{
    pair p;
    pair_sockets(&p);
    p.side[0] = tls_client(files, "localhost", p.fd[0], &ticket, why);
    T_REQUIRE(p.side[0] != NULL);
    p.side[1] = tls_accept(server, p.fd[1], why);
    T_REQUIRE(p.side[1] != NULL);
    shake(&p);
    if (part == NULL) { words_pass(&p); } else { refused(&p, 0, part); }
    const size_t bytes = p.passed[1];
    pair_close(&p);
    return bytes;
}

T_CASE(ticket_resumes_a_session_and_its_chain_is_verified_again)
{
    if (!certificates_open()) { return; }
    const tls_files foreign = { .ca_file = path("foreign.pem") };
    const tls_files files = { .cert_file = path("server.pem") };
    tls_server *server = tls_server_open(&files, why);
    T_REQUIRE(server != NULL);
    const size_t first = once(server, &trust, NULL);
    T_CHECK(ticket != NULL);
    const size_t second = once(server, &trust, NULL);
    T_CHECK(second + 300 < first); /* no certificate */
    const size_t third = once(server, &foreign, "certificate refused: ");
    T_CHECK(third + 300 < first);
    T_CHECK(once(server, &trust, NULL) + 100 > first); /* a refused session is dropped */
    T_CHECK(once(server, &trust, NULL) + 300 < first);
    tls_server_close(server);
    server = tls_server_open(&files, why); /* it cannot read the ticket */
    T_REQUIRE(server != NULL);
    T_CHECK(once(server, &trust, NULL) + 100 > first);
    tls_server_close(server);
}

T_CASE(files_of_a_server_are_read_again_when_they_change)
{
    if (!certificates_open()) { return; }
    const tls_files next = { .ca_file = path("foreign.pem") };
    const tls_files files = { .cert_file = path("server.pem") };
    tls_server *server = tls_server_open(&files, why);
    T_REQUIRE(server != NULL);
    (void)once(server, &trust, NULL);
    T_REQUIRE(tls_kit_run(dir, "cp other.pem new && mv new server.pem"));
    (void)once(server, &trust, "unable to get local issuer certificate");
    (void)once(server, &next, NULL);
    T_REQUIRE(tls_kit_run(dir, "head -c 100 other.pem >server.pem")); /* half written */
    const tls_files none = { .ca_file = path("foreign.pem") };
    (void)once(server, &none, NULL);
    T_CHECK(strstr(why, "tls_cert_file") != NULL); /* the accept said why the old ones stay */
    why[0] = '\0';
    T_REQUIRE(tls_kit_run(dir, "touch -t 202001010000 server.pem")); /* its time alone */
    (void)once(server, &none, NULL);
    T_CHECK(strstr(why, "tls_cert_file") != NULL);
    tls_server_close(server);
}

/* ---- peers that are none ---- */

T_CASE(random_bytes_are_refused_by_both_sides)
{
    uint32_t seed = (uint32_t)t_seed();
    if (!certificates_open()) { return; }
    for (int round = 0; round < 40; round++) {
        char bytes[10000], got[16];
        pair p;
        for (size_t i = 0; i < sizeof bytes; i++) {
            seed = seed * 1664525u + 1013904223u;
            bytes[i] = (char)(seed >> 24);
        }
        bytes[0] &= 0x7f; /* no head: one of a record longer than the bytes is a wait, no refusal */
        bytes[1] |= (char)0x80;
        if (round % 4 == 1) { memcpy(bytes, "\x16\x03\x03\x00\x50", 5); } /* head of a record */
        if (round % 4 == 2) { memcpy(bytes, "-NOAUTH\r\n", 9); }
        if (round % 4 == 3) { memcpy(bytes, "GET / HTTP/1.1\r\n", 16); }
        pair_open(&p, path("server.pem"), NULL, &trust, "localhost");
        (void)tls_shake(p.side[0]);
        for (int i = 0; i < 2; i++) {
            T_EQ_I64(send(p.pump[i], bytes, sizeof bytes, 0), (int64_t)sizeof bytes);
            T_EQ_I64(tls_recv(p.side[i], got, sizeof got), -EPROTO);
            T_CHECK(tls_why(p.side[i])[0] != '\0');
        }
        if (round % 4 == 2) { T_EQ_STR(tls_why(p.side[0]), "the server does not speak TLS"); }
        if (round % 4 >= 2) { T_EQ_STR(tls_why(p.side[1]), "the client does not speak TLS"); }
        pair_close(&p);
    }
}

#if defined(CELLAR_WITH_TLS)
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

/* Make a server of OpenSSL on the end of the server, with versions and ciphers of old times. */
static SSL *old_server(pair *p, SSL_CTX **c, int least, int most)
{
    *c = SSL_CTX_new(TLS_server_method());
    T_REQUIRE(*c != NULL && SSL_CTX_set_cipher_list(*c, "DEFAULT:@SECLEVEL=0") == 1);
    SSL_CTX_set_min_proto_version(*c, least);
    SSL_CTX_set_max_proto_version(*c, most);
    T_REQUIRE(SSL_CTX_use_certificate_chain_file(*c, path("server.pem")) == 1 &&
              SSL_CTX_use_PrivateKey_file(*c, path("server.pem"), SSL_FILETYPE_PEM) == 1);
    SSL *s = SSL_new(*c);
    T_REQUIRE(s != NULL && SSL_set_fd(s, p->fd[1]) == 1);
    SSL_set_accept_state(s);
    return s;
}

T_CASE(server_of_tls_1_1_is_refused)
{
    pair p;
    SSL_CTX *c;
    if (!certificates_open()) { return; }
    pair_sockets(&p);
    SSL *old = old_server(&p, &c, TLS1_VERSION, TLS1_1_VERSION);
    p.side[0] = tls_client(&trust, "localhost", p.fd[0], &ticket, why);
    T_REQUIRE(p.side[0] != NULL);
    p.shaken[0] = tls_shake(p.side[0]);
    while (pump(&p)) { T_CHECK(SSL_do_handshake(old) != 1); }
    p.shaken[0] = tls_shake(p.side[0]);
    refused(&p, 0, "the peer has no TLS 1.2 or later");
    SSL_free(old);
    SSL_CTX_free(c);
    pair_close(&p);
}

T_CASE(certificate_out_of_its_days_is_reported_once)
{
    static const struct { const char *name, *part; } rows[] = {
        { "", NULL }, { "server.pem", NULL }, { "expired.pem", "expired.pem expired on 20" },
        { "client.pem", "client.pem is not valid before 20" } };
    if (!certificates_open()) { return; }
    FILE *f = fopen(path("client.pem"), "r+"); /* from tomorrow on */
    X509 *cert = f != NULL ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;
    EVP_PKEY *key = cert != NULL ? PEM_read_PrivateKey(f, NULL, NULL, NULL) : NULL;
    T_REQUIRE(key != NULL && X509_gmtime_adj(X509_getm_notBefore(cert), 86400) != NULL);
    rewind(f);
    T_REQUIRE(X509_sign(cert, key, EVP_sha256()) > 0 && PEM_write_X509(f, cert) == 1);
    T_REQUIRE(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1 && fclose(f) == 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const tls_files files = { .cert_file = i != 0 ? path(rows[i].name) : NULL };
        tls_server *server = tls_server_open(&files, why);
        T_REQUIRE(server != NULL);
        T_CHECK(tls_server_stale(server, why) == (rows[i].part != NULL));
        T_CHECK(rows[i].part == NULL || strstr(why, rows[i].part) != NULL);
        T_CHECK(!tls_server_stale(server, why));
        tls_server_close(server);
    }
    X509_free(cert);
    EVP_PKEY_free(key);
}

/* A server of TLS 1.2 asks for another handshake: the client goes on without it. */
T_CASE(renegotiation_is_refused_and_bytes_go_on)
{
    pair p;
    SSL_CTX *c;
    char got[8];
    if (!certificates_open()) { return; }
    pair_sockets(&p);
    SSL *s = old_server(&p, &c, TLS1_2_VERSION, TLS1_2_VERSION);
    p.side[0] = tls_client(&trust, "localhost", p.fd[0], &ticket, why);
    T_REQUIRE(p.side[0] != NULL);
    do {
        p.shaken[0] = tls_shake(p.side[0]);
        (void)SSL_do_handshake(s);
    } while (pump(&p));
    T_EQ_I64(tls_shake(p.side[0]), 1);
    T_EQ_I64(SSL_renegotiate(s), 1);
    (void)SSL_do_handshake(s); /* sends the request */
    T_EQ_I64(SSL_write(s, "value", 5), 5);
    while (pump(&p)) { }
    T_EQ_I64(tls_recv(p.side[0], got, sizeof got), 5);
    while (pump(&p)) { }
    T_CHECK(SSL_read(s, got, sizeof got) <= 0); /* takes the refusal */
    T_EQ_I64(ERR_GET_REASON(ERR_get_error()), SSL_R_NO_RENEGOTIATION);
    SSL_free(s);
    SSL_CTX_free(c);
    pair_close(&p);
}
#else
T_CASE(server_of_tls_1_1_is_refused) { T_SKIP("built without TLS=1"); }
T_CASE(certificate_out_of_its_days_is_reported_once) { T_SKIP("built without TLS=1"); }
T_CASE(renegotiation_is_refused_and_bytes_go_on) { T_SKIP("built without TLS=1"); }
#endif

T_MAIN("remote_tls")
