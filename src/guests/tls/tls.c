/* SPDX-License-Identifier: MIT
 *
 * tls: TLS by OpenSSL 3, for the link to a server and for the port.
 *
 * PICTURE    caller -- bytes --> SSL -- records --> BIO of this file --> send, recv
 * VERIFY     A client refuses a wrong chain or name inside the handshake. OpenSSL verifies no chain
 *            again when a session is resumed: tls_shake does, with the files of now.
 * FILES      A client reads them at each connect, a server when one of them has changed.
 * INVARIANTS No call waits, and none raises SIGPIPE. TLS 1.1, compression and renegotiation are
 *            off. OpenSSL's own end at exit is off: a thread may still run then.
 * LIMITS     The memory of OpenSSL is outside the budget: 100 KiB a connection to a server, which
 *            keeps its buffers; 40 KiB a busy client of a port, and less an idle one. */
#include "tls/tls.h"

#ifdef CELLAR_WITH_TLS

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pemerr.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define TLS_RECORD 16384       /* most bytes of a record */
#define TLS_READ_AHEAD 65536

struct tls {
    SSL *ssl;
    int fd;
    bool client, done, eof; /* done: the handshake is over, and the peer verified */
    bool over;              /* the peer sends no more */
    bool full;              /* tls_recv ended with `to` full */
    bool dry;               /* the socket had no more at the last look */
    int failed;             /* result of all later calls; 0: none */
    int sys_errno;          /* of the socket */
    tls_ticket **ticket;    /* of a client */
    char why[TLS_WHY];
};

static pthread_once_t tls_once = PTHREAD_ONCE_INIT;
static BIO_METHOD *tls_bio; /* NULL: no memory */

/* ---- the socket under it ---- */

static int tls_moved(BIO *b, tls *t, ssize_t n, int again)
{
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        BIO_set_flags(b, again | BIO_FLAGS_SHOULD_RETRY);
    } else if (n < 0) {
        t->sys_errno = errno;
    }
    return (int)n; /* at most the int that came in */
}

static int tls_bio_read(BIO *b, char *to, int cap)
{
    tls *t = BIO_get_data(b);
    ssize_t n;
    BIO_clear_retry_flags(b);
    do { n = recv(t->fd, to, (size_t)cap, 0); } while (n < 0 && errno == EINTR);
    t->eof = n == 0;
    t->dry = n < cap;
    return tls_moved(b, t, n, BIO_FLAGS_READ);
}

static int tls_bio_write(BIO *b, const char *from, int len)
{
    ssize_t n;
    tls *t = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    do { n = send(t->fd, from, (size_t)len, MSG_NOSIGNAL); } while (n < 0 && errno == EINTR);
    return tls_moved(b, t, n, BIO_FLAGS_WRITE);
}

static long tls_bio_ctrl(BIO *b, int what, long n, void *p)
{
    (void)n, (void)p;
    if (what == BIO_CTRL_EOF) { return ((const tls *)BIO_get_data(b))->eof; }
    return what == BIO_CTRL_FLUSH;
}

static void tls_init(void)
{
    if (OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, NULL) != 1) { return; }
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "cellar");
    if (m != NULL && BIO_meth_set_read(m, tls_bio_read) && BIO_meth_set_write(m, tls_bio_write) &&
        BIO_meth_set_ctrl(m, tls_bio_ctrl)) {
        tls_bio = m;
    }
}

/* ---- reasons ---- */

/* Write the reason of the oldest error of OpenSSL. none: for a file without the object. */
static void tls_error_text(char why[TLS_WHY], const char *what, const char *file, const char *none)
{
    const unsigned long e = ERR_peek_error();
    const int code = ERR_GET_REASON(e);
    const bool empty = e == 0 || code == ERR_R_UNSUPPORTED || code == PEM_R_NO_START_LINE ||
                       code == X509_R_NO_CERTIFICATE_OR_CRL_FOUND;
    const char *reason = e != 0 && ERR_SYSTEM_ERROR(e) ? "cannot be read"
                         : code == ERR_R_INTERRUPTED_OR_CANCELLED ? "it has a passphrase"
                         : empty ? none : ERR_reason_error_string(e);
    (void)snprintf(why, TLS_WHY, "%s %.60s: %s", what, file, reason != NULL ? reason : none);
    ERR_clear_error();
}

/* Return a sentence for a reason of OpenSSL that a person meets; NULL: none. */
static const char *tls_reason(const tls *t, int reason)
{
    const unsigned char *types;
    if (reason == SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE && SSL_get_certificate(t->ssl) == NULL &&
        SSL_get0_certificate_types(t->ssl, &types) != 0) {
        reason = SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED; /* TLS 1.2 has no such alert */
    }
    switch (reason) {
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
        return t->client ? "the server does not speak TLS" : "the client does not speak TLS";
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_NO_PROTOCOLS_AVAILABLE:
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION:
        return "the peer has no TLS 1.2 or later";
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
        return "the peer closed in the handshake";
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
        return "the server wants a client certificate: give tls_cert_file";
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return "the client sent no certificate";
    default: return NULL;
    }
}

/* Note why TLS failed. */
static int tls_failed(tls *t)
{
    const unsigned long e = ERR_peek_error();
    const long verify = SSL_get_verify_result(t->ssl);
    const char *text = tls_reason(t, ERR_GET_REASON(e));
    const char *other = ERR_reason_error_string(e);
    if (!t->done && verify != X509_V_OK && SSL_get_verify_mode(t->ssl) != SSL_VERIFY_NONE) {
        (void)snprintf(t->why, sizeof t->why, "certificate refused: %s",
                       X509_verify_cert_error_string(verify));
    } else {
        (void)snprintf(t->why, sizeof t->why, "%s", text != NULL ? text
                                                    : other != NULL ? other : "TLS failed");
    }
    return -EPROTO;
}

/* Return the result for one of OpenSSL, which is not above 0. */
static int tls_result(tls *t, int n)
{
    const int error = SSL_get_error(t->ssl, n);
    const bool eof = ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) { return -EAGAIN; }
    t->over = error == SSL_ERROR_ZERO_RETURN || (eof && t->done);
    if (t->over) { return 0; }
    t->failed = error == SSL_ERROR_SYSCALL && t->sys_errno != 0 ? -t->sys_errno : tls_failed(t);
    ERR_clear_error();
    return t->failed;
}

/* ---- contexts ---- */

static bool tls_given(const char *text) { return text != NULL && *text != '\0'; }

/* Read the certificates to trust. */
static bool tls_trust(SSL_CTX *c, const tls_files *f, bool client, char why[TLS_WHY])
{
    const char *file = tls_given(f->ca_file) ? f->ca_file : NULL;
    const char *dir = tls_given(f->ca_dir) ? f->ca_dir : NULL;
    if (file == NULL && dir == NULL) {
        return !client || SSL_CTX_set_default_verify_paths(c) == 1;
    }
    if (SSL_CTX_load_verify_locations(c, file, dir) == 1) { return true; }
    tls_error_text(why, file != NULL ? "tls_ca_file" : "tls_ca_dir", file != NULL ? file : dir,
                   "no certificate in it");
    return false;
}

/* Refuse a key with a passphrase: OpenSSL would ask the terminal for it. */
static int tls_no_passphrase(char *buf, int size, int writes, void *ctx)
{
    (void)buf, (void)size, (void)writes, (void)ctx;
    return -1;
}

/* Read the own certificate and its key. */
static bool tls_identify(SSL_CTX *c, const tls_files *f, char why[TLS_WHY])
{
    const char *key = tls_given(f->key_file) ? f->key_file : f->cert_file;
    if (!tls_given(f->cert_file)) { return true; }
    SSL_CTX_set_default_passwd_cb(c, tls_no_passphrase);
    if (SSL_CTX_use_certificate_chain_file(c, f->cert_file) != 1) {
        tls_error_text(why, "tls_cert_file", f->cert_file, "no certificate in it");
        return false;
    }
    if (SSL_CTX_use_PrivateKey_file(c, key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(c) != 1) {
        tls_error_text(why, key == f->key_file ? "tls_key_file" : "tls_cert_file", key,
                       key == f->key_file ? "no key in it" : "no key in it: give tls_key_file");
        return false;
    }
    return true;
}

/* Make a context from the files. NULL: why has the reason. */
static SSL_CTX *tls_context(const tls_files *f, bool client, bool verify, char why[TLS_WHY])
{
    (void)snprintf(why, TLS_WHY, "no memory for TLS");
    (void)pthread_once(&tls_once, tls_init);
    ERR_clear_error();
    SSL_CTX *c = tls_bio != NULL ? SSL_CTX_new(client ? TLS_client_method() : TLS_server_method())
                                 : NULL;
    if (c == NULL) { return NULL; }
    (void)SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    (void)SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (!client) { (void)SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS); } /* idle ones are many */
    SSL_CTX_set_read_ahead(c, 1);
    SSL_CTX_set_default_read_buffer_len(c, TLS_READ_AHEAD);
    (void)SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF); /* tickets are with the client */
    /* A resumed session does not bring the certificate of the client again. */
    (void)SSL_CTX_set_num_tickets(c, !client && verify ? 0 : 1);
    if (!client && verify) { (void)SSL_CTX_set_options(c, SSL_OP_NO_TICKET); }
    SSL_CTX_set_verify(c, !verify ? SSL_VERIFY_NONE
                                  : SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    if (SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION) == 1 &&
        SSL_CTX_set_session_id_context(c, (const unsigned char *)"cellar", 6) == 1 &&
        (!verify || tls_trust(c, f, client, why)) && tls_identify(c, f, why)) {
        return c;
    }
    SSL_CTX_free(c);
    return NULL;
}

/* ---- a connection ---- */

static tls *tls_new(SSL_CTX *c, int fd, bool client)
{
    tls *t = calloc(1, sizeof *t);
    BIO *b = BIO_new(tls_bio);
    SSL *ssl = SSL_new(c);
    if (t == NULL || b == NULL || ssl == NULL) {
        free(t);
        (void)BIO_free(b);
        SSL_free(ssl);
        return NULL;
    }
    t->ssl = ssl;
    t->fd = fd;
    t->client = client;
    BIO_set_data(b, t);
    BIO_set_init(b, 1);
    SSL_set_bio(ssl, b, b);
    if (client) { SSL_set_connect_state(ssl); } else { SSL_set_accept_state(ssl); }
    return t;
}

/* Say which name the certificate must have, and tell it to the server. */
static bool tls_expect(SSL *ssl, const char *name)
{
    unsigned char address[16];
    const bool numeric = inet_pton(AF_INET, name, address) == 1 ||
                         inet_pton(AF_INET6, name, address) == 1;
    if (numeric) { return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1; }
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

CELLAR_PRIVATE tls *tls_client(const tls_files *f, const char *name, int fd, tls_ticket **ticket,
                               char why[TLS_WHY])
{
    SSL_CTX *c = tls_context(f, true, name != NULL, why);
    tls *t = c != NULL ? tls_new(c, fd, true) : NULL;
    SSL_CTX_free(c); /* the connection has its own reference */
    if (t == NULL) { return NULL; }
    if (name != NULL && !tls_expect(t->ssl, name)) {
        (void)snprintf(why, TLS_WHY, "no memory for TLS");
        tls_end(t);
        return NULL;
    }
    if (*ticket != NULL) { (void)SSL_set_session(t->ssl, (SSL_SESSION *)*ticket); }
    t->ticket = ticket;
    return t;
}

CELLAR_PRIVATE void tls_ticket_free(tls_ticket *ticket) { SSL_SESSION_free((SSL_SESSION *)ticket); }

/* Verify the chain of a resumed session. */
static bool tls_verify_again(tls *t)
{
    X509_STORE_CTX *c = X509_STORE_CTX_new();
    X509 *peer = SSL_get0_peer_certificate(t->ssl);
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(t->ssl);
    long result = X509_V_ERR_OUT_OF_MEM;
    if (c != NULL && peer != NULL &&
        X509_STORE_CTX_init(c, SSL_CTX_get_cert_store(SSL_get_SSL_CTX(t->ssl)), peer, chain) == 1 &&
        X509_STORE_CTX_set_default(c, "ssl_server") == 1 &&
        X509_VERIFY_PARAM_set1(X509_STORE_CTX_get0_param(c), SSL_get0_param(t->ssl)) == 1) {
        result = X509_verify_cert(c) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(c);
    }
    X509_STORE_CTX_free(c);
    SSL_set_verify_result(t->ssl, result);
    return result == X509_V_OK;
}

CELLAR_PRIVATE int tls_shake(tls *t)
{
    if (t->failed != 0) { return t->failed; }
    if (t->done) { return 1; }
    ERR_clear_error();
    const int n = SSL_do_handshake(t->ssl);
    if (n != 1) { return tls_result(t, n); }
    if (t->client && SSL_session_reused(t->ssl) &&
        SSL_get_verify_mode(t->ssl) != SSL_VERIFY_NONE && !tls_verify_again(t)) {
        return t->failed = tls_failed(t);
    }
    t->done = true;
    return 1;
}

CELLAR_PRIVATE bool tls_is_shaken(const tls *t) { return t->done; }

CELLAR_PRIVATE ssize_t tls_recv(tls *t, void *to, size_t cap)
{
    size_t got = 0;
    int n = tls_shake(t);
    if (n != 1) { return n; }
    while (n > 0 && got < cap && t->failed == 0 && !t->over) {
        const size_t left = cap - got;
        ERR_clear_error();
        n = SSL_read(t->ssl, (char *)to + got, left < INT_MAX ? (int)left : INT_MAX);
        if (n <= 0) {
            n = tls_result(t, n);
        } else {
            got += (size_t)n;
            if (t->dry && SSL_has_pending(t->ssl) == 0) { break; } /* saves a call of recv */
        }
    }
    t->full = got == cap;
    return got != 0 ? (ssize_t)got : t->failed != 0 ? t->failed : t->over ? 0 : -EAGAIN;
}

/* Look for the reason that a peer sent before it closed: a send fails first. Return the result. */
static int tls_last_word(tls *t, int result)
{
    char byte;
    ERR_clear_error();
    t->failed = 0;
    const int n = SSL_read(t->ssl, &byte, 1);
    if (n <= 0 && SSL_get_error(t->ssl, n) == SSL_ERROR_SSL) { result = tls_failed(t); }
    ERR_clear_error();
    return t->failed = result;
}

/* Copy the bytes behind the first `skip` ones into a record. Return its bytes. */
static size_t tls_gather(const struct iovec *part, size_t count, size_t skip, unsigned char *to)
{
    size_t n = 0;
    for (size_t i = 0; i < count && n < TLS_RECORD; i++) {
        if (skip >= part[i].iov_len) {
            skip -= part[i].iov_len;
            continue;
        }
        const size_t left = part[i].iov_len - skip, room = TLS_RECORD - n;
        const size_t take = left < room ? left : room;
        memcpy(to + n, (const unsigned char *)part[i].iov_base + skip, take);
        n += take;
        skip = 0;
    }
    return n;
}

CELLAR_PRIVATE ssize_t tls_send(tls *t, const struct iovec *part, size_t count)
{
    unsigned char record[TLS_RECORD];
    size_t sent = 0, n;
    int put = tls_shake(t);
    if (put != 1) { return put; }
    while ((n = tls_gather(part, count, sent, record)) != 0) {
        ERR_clear_error();
        put = SSL_write(t->ssl, record, (int)n);
        OPENSSL_cleanse(record, n); /* a password may be among them */
        if (put <= 0) {
            put = tls_result(t, put);
            if (put == -EPIPE || put == -ECONNRESET) { put = tls_last_word(t, put); }
            return sent != 0 ? (ssize_t)sent : put != 0 ? put : -EPIPE;
        }
        sent += (size_t)put;
    }
    return (ssize_t)sent;
}

CELLAR_PRIVATE bool tls_holds(const tls *t) { return t->full && SSL_has_pending(t->ssl) == 1; }

CELLAR_PRIVATE bool tls_wants_write(const tls *t)
{
    return !t->done && !SSL_want_read(t->ssl); /* also before the first byte: while it connects */
}

CELLAR_PRIVATE const char *tls_why(const tls *t) { return t->why; }

CELLAR_PRIVATE void tls_bye(tls *t)
{
    if (!t->done || t->failed != 0) { return; }
    ERR_clear_error();
    (void)SSL_shutdown(t->ssl);
    ERR_clear_error();
}

CELLAR_PRIVATE void tls_end(tls *t)
{
    if (t == NULL) { return; }
    /* Without a goodbye OpenSSL would forbid to resume the session. */
    if (t->failed == 0) { SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); }
    SSL_SESSION *last = t->ticket != NULL && t->done ? SSL_get1_session(t->ssl) : NULL;
    if (last != NULL && SSL_SESSION_is_resumable(last)) {
        SSL_SESSION_free((SSL_SESSION *)*t->ticket);
        *t->ticket = (tls_ticket *)last;
    } else {
        SSL_SESSION_free(last);
    }
    SSL_free(t->ssl);
    free(t);
}

/* ---- a server ---- */

struct tls_server {
    SSL_CTX *context;
    bool reported;               /* tls_server_stale has reported the certificate of `context` */
    struct stat seen[TLS_FILES]; /* of the files when `context` was made */
    tls_files files;             /* the texts lie behind the struct */
};

/* Look at the files. Return whether one of them is another one than at the last look. */
static bool tls_changed(tls_server *s)
{
    const char *const path[TLS_FILES] = { s->files.ca_file, s->files.ca_dir, s->files.cert_file,
                                          s->files.key_file };
    bool changed = false;
    for (size_t i = 0; i < TLS_FILES; i++) {
        struct stat now, *was = &s->seen[i];
        if (path[i][0] == '\0' || stat(path[i], &now) != 0) { continue; }
        changed = changed || now.st_ino != was->st_ino || now.st_dev != was->st_dev ||
                  now.st_size != was->st_size || now.st_mtim.tv_sec != was->st_mtim.tv_sec ||
                  now.st_mtim.tv_nsec != was->st_mtim.tv_nsec;
        *was = now;
    }
    return changed;
}

CELLAR_PRIVATE tls_server *tls_server_open(const tls_files *f, char why[TLS_WHY])
{
    const char *const from[TLS_FILES] = { f->ca_file, f->ca_dir, f->cert_file, f->key_file };
    size_t bytes = sizeof(tls_server) + TLS_FILES;
    for (size_t i = 0; i < TLS_FILES; i++) { bytes += from[i] != NULL ? strlen(from[i]) : 0; }
    tls_server *s = calloc(1, bytes);
    (void)snprintf(why, TLS_WHY, "no memory for TLS");
    if (s == NULL) { return NULL; }
    char *at = (char *)(s + 1);
    const char **to[TLS_FILES] = { &s->files.ca_file, &s->files.ca_dir, &s->files.cert_file,
                                   &s->files.key_file };
    for (size_t i = 0; i < TLS_FILES; i++) {
        *to[i] = at;
        if (from[i] != NULL) { at = stpcpy(at, from[i]); }
        at++;
    }
    (void)tls_changed(s);
    s->context = tls_context(&s->files, false, s->files.ca_file[0] != '\0', why);
    if (s->context != NULL) { return s; }
    free(s);
    return NULL;
}

CELLAR_PRIVATE tls *tls_accept(tls_server *s, int fd, char why[TLS_WHY])
{
    why[0] = '\0';
    if (tls_changed(s)) {
        SSL_CTX *fresh = tls_context(&s->files, false, s->files.ca_file[0] != '\0', why);
        if (fresh != NULL) {
            SSL_CTX_free(s->context);
            s->context = fresh;
            s->reported = false;
            why[0] = '\0';
        }
    }
    return tls_new(s->context, fd, false);
}

CELLAR_PRIVATE bool tls_server_stale(tls_server *s, char why[TLS_WHY])
{
    struct tm date;
    char day[sizeof "2026-01-31"] = "";
    const X509 *own = SSL_CTX_get0_certificate(s->context);
    if (s->reported || own == NULL) { return false; }
    const ASN1_TIME *from = X509_get0_notBefore(own), *to = X509_get0_notAfter(own);
    const bool over = X509_cmp_current_time(to) < 0;
    s->reported = over || X509_cmp_current_time(from) > 0;
    if (!s->reported || ASN1_TIME_to_tm(over ? to : from, &date) != 1) { return false; }
    (void)strftime(day, sizeof day, "%Y-%m-%d", &date);
    (void)snprintf(why, TLS_WHY, "tls_cert_file %.70s %s %s", s->files.cert_file,
                   over ? "expired on" : "is not valid before", day);
    return true;
}

CELLAR_PRIVATE void tls_server_close(tls_server *s)
{
    if (s == NULL) { return; }
    SSL_CTX_free(s->context);
    free(s);
}

CELLAR_PRIVATE bool tls_is_built(void) { return true; }

#else

#include <errno.h>
#include <stdio.h>

CELLAR_PRIVATE bool tls_is_built(void) { return false; }

CELLAR_PRIVATE tls *tls_client(const tls_files *f, const char *name, int fd, tls_ticket **ticket,
                               char why[TLS_WHY])
{
    (void)f, (void)name, (void)fd, (void)ticket;
    (void)snprintf(why, TLS_WHY, "%s", TLS_NOT_BUILT);
    return NULL;
}

CELLAR_PRIVATE tls_server *tls_server_open(const tls_files *f, char why[TLS_WHY])
{
    (void)tls_client(f, NULL, -1, NULL, why);
    return NULL;
}

CELLAR_PRIVATE tls *tls_accept(tls_server *s, int fd, char why[TLS_WHY])
{
    (void)s, (void)fd, (void)why;
    return NULL;
}

CELLAR_PRIVATE int tls_shake(tls *t)
{
    (void)t;
    return -EPROTO;
}

CELLAR_PRIVATE ssize_t tls_recv(tls *t, void *to, size_t cap)
{
    (void)t, (void)to, (void)cap;
    return -EPROTO;
}

CELLAR_PRIVATE ssize_t tls_send(tls *t, const struct iovec *part, size_t count)
{
    (void)t, (void)part, (void)count;
    return -EPROTO;
}

CELLAR_PRIVATE bool tls_server_stale(tls_server *s, char why[TLS_WHY])
{
    (void)s, (void)why;
    return false;
}

CELLAR_PRIVATE bool tls_is_shaken(const tls *t) { return t != NULL; }
CELLAR_PRIVATE bool tls_holds(const tls *t) { return t == NULL; }
CELLAR_PRIVATE bool tls_wants_write(const tls *t) { return t == NULL; }
CELLAR_PRIVATE void tls_ticket_free(tls_ticket *ticket) { (void)ticket; }
CELLAR_PRIVATE void tls_server_close(tls_server *s) { (void)s; }
CELLAR_PRIVATE void tls_bye(tls *t) { (void)t; }
CELLAR_PRIVATE void tls_end(tls *t) { (void)t; }

CELLAR_PRIVATE const char *tls_why(const tls *t)
{
    (void)t;
    return TLS_NOT_BUILT;
}

#endif
