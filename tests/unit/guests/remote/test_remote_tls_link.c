/* SPDX-License-Identifier: MIT
 *
 * Aim:    rediss:// is a link like redis://, to servers and Sentinels alike; a peer that is refused,
 *         slow, or no TLS at all leaves the link down with its reason, and the next connect reads
 *         the files again.
 * Method: redis-server and redis-sentinel with TLS and certificates of an own CA. A proxy cuts the
 *         connection in each state of the handshake. Bytes, certificates and tickets of src/guests/tls:
 *         test_remote_tls. */
#include "remote/reason.h"
#include "remote/remote.h"
#include "tests/support/byte_proxy.h"
#include "tests/support/link_kit.h"
#include "tests/support/shared_side.h"
#include "tests/support/tls_kit.h"

static char dir[T_FOLDER_MAX];
static engine server;
static side a, b;
static link_kit k;
static uint16_t tls_port;
static const char *version; /* of TLS, the only one of the server; NULL: all */
static int64_t io_ms = 10000; /* of a side; the handshake has ten times as long */
static _Atomic int warnings;

/* ---- the server ---- */

/* Start a server with TLS on a port of its own. Clients need a certificate if `clients`. */
static bool start(bool clients)
{
    static char port[8], cert[TLS_KIT_PATH], ca[TLS_KIT_PATH];
    if (!tls_kit_open(dir)) { return false; }
    tls_kit_path(cert, dir, "server.pem");
    tls_kit_path(ca, dir, "ca.pem");
    tls_port = engine_free_port();
    snprintf(port, sizeof port, "%u", tls_port);
    const char *const words[] = { "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", cert,
        "--tls-ca-cert-file", ca, "--tls-auth-clients", clients ? "yes" : "no",
        version != NULL ? "--tls-protocols" : NULL, version, NULL };
    return engine_start_on(&server, true, words);
}

/* Give the running server another certificate. */
static void present(const char *name)
{
    char path[TLS_KIT_PATH];
    tls_kit_path(path, dir, name);
    const redisReply *r = engine_ask(&server, "CONFIG SET tls-cert-file %s tls-key-file %s", path,
                                     path);
    T_REQUIRE(r != NULL && r->type == REDIS_REPLY_STATUS);
}

/* ---- a side with TLS ---- */

static void note(cellar_log_level level, const char *module, cellar_err code, const char *text,
                 void *ctx)
{
    (void)module, (void)code, (void)ctx;
    if (level == CELLAR_LOG_WARNING && strstr(text, "tls_insecure") != NULL) { warnings++; }
}

/* Open a side; `more` are keys of the URL, each with an & in front. */
static void tls_side(side *s, const char *host, unsigned port, const char *more)
{
    char url[1024], ca[TLS_KIT_PATH];
    cellar_remote_config o = side_patient();
    cellar_host_config h = { .struct_size = sizeof h, .log = note };
    o.io_ms = io_ms;
    o.host = &h;
    snprintf(url, sizeof url, "rediss://%s:%u?prefix=app&tls_ca_file=%s%s", host, port,
             tls_kit_path(ca, dir, "ca.pem"), more);
    side_open_url(s, url, &(side_own){ .ro = &o });
}

/* Wait until the last error has a part; 20 s at most. */
static void refused(side *s, cellar_err code, const char *part)
{
    cellar_error_info e = cellar_error_info_default();
    for (int i = 0; i < 10000; i++) {
        T_EQ_I64(cellar_remote_last_error(s->r, &e), CELLAR_OK);
        if (e.code == code && strstr(e.text, part) != NULL) { break; }
        engine_pause_ms(2);
    }
    T_EQ_I64(e.code, code);
    if (strstr(e.text, part) == NULL) { T_EQ_STR(e.text, part); }
    T_CHECK(cellar_remote_state_get(s->r) == CELLAR_REMOTE_DOWN);
    T_CHECK(strlen(e.text) < sizeof e.text - 1); /* not cut */
}

/* Wait until a side is there again after a cut; 20 s at most. */
static bool is_back(const side *s)
{
    for (int i = 0; i < 10000; i++) {
        if (cellar_remote_fence(s->r, 10000) == CELLAR_OK) { return true; }
        engine_pause_ms(2);
    }
    return false;
}

/* All calls and many changes over TLS: one_server_over_tls_breaks_no_promise. */
T_CASE(values_and_changes_pass_over_tls)
{
    enum { LEN = 1 << 20 };
    static char value[LEN], got[LEN];
    size_t len = 0;
    if (!start(false)) { return; }
    tls_side(&a, "localhost", tls_port, "");
    tls_side(&b, "127.0.0.1", tls_port, "");
    T_REQUIRE(side_proven(&a) && side_proven(&b));
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < LEN; i++) { value[i] = (char)((i * 7 >> 5) + (size_t)round); }
        T_EQ_I64(cellar_set(a.users, "long", 4, value, LEN, NULL), CELLAR_OK);
        side_fence(&b);
        T_EQ_I64(cellar_get(b.users, "long", 4, got, LEN, &len), CELLAR_OK);
        T_CHECK(len == LEN && memcmp(value, got, LEN) == 0);
    }
    T_CHECK(engine_cut(&server, "normal") >= 1); /* reconnect, with a ticket */
    T_CHECK(is_back(&b));
    T_EQ_I64(cellar_get(b.users, "long", 4, got, LEN, &len), CELLAR_OK);
    T_CHECK(len == LEN && memcmp(value, got, LEN) == 0);
}

/* Each reason of a refusal: test_remote_tls. */
T_CASE(certificate_that_is_refused_is_named_and_a_right_one_is_taken)
{
    static const char mismatch[] = "TLS with localhost: certificate refused: hostname mismatch";
    if (!start(false)) { return; }
    present("other.pem");
    tls_side(&a, "localhost", tls_port, "");
    refused(&a, CELLAR_E_DENIED, "certificate refused: unable to get local issuer certificate");
    T_EQ_I64(side_set(&a, "k", "v"), CELLAR_DEFERRED);
    T_REQUIRE(tls_kit_run(dir, "cat foreign.pem >>ca.pem")); /* `other` is right now */
    T_CHECK(side_proven(&a));
    present("wrong.pem");
    T_CHECK(engine_cut(&server, "normal") >= 1);
    refused(&a, CELLAR_E_DENIED, mismatch);
    side_close(&a);
    tls_side(&a, "localhost", tls_port, "&tls_server_name=other.example");
    T_CHECK(side_proven(&a));
}

static void certificate_is_rotated(void)
{
    if (!start(false)) { return; }
    tls_side(&a, "localhost", tls_port, "");
    T_REQUIRE(side_proven(&a));
    T_REQUIRE(tls_kit_run(dir, "cp foreign.pem new && mv new ca.pem"));
    T_CHECK(engine_cut(&server, "normal") >= 1);
    refused(&a, CELLAR_E_DENIED, "TLS with localhost: certificate refused: ");
    present("other.pem"); /* of the new CA */
    T_CHECK(side_proven(&a));
    side_close(&a);
    left_close();
}

static void with_each_version(void (*run)(void))
{
    static const char *const versions[] = { "TLSv1.2", "TLSv1.3" };
    for (size_t i = 0; i < 2; i++) {
        version = versions[i];
        run();
    }
    version = NULL;
}

/* A ticket resumes no session that the files do not vouch for any more. */
T_CASE(certificate_revoked_by_rotation_is_refused_at_the_next_connect)
{
    with_each_version(certificate_is_rotated);
}

T_CASE(insecure_link_warns_at_each_connect)
{
    if (!start(false)) { return; }
    present("expired.pem");
    warnings = 0;
    tls_side(&a, "localhost", tls_port, "&tls_insecure");
    T_REQUIRE(side_proven(&a));
    T_EQ_I64(warnings, 1);
    T_CHECK(engine_cut(&server, "normal") >= 1);
    T_CHECK(is_back(&a) && warnings >= 2);
    side_close(&a);
    tls_side(&a, "localhost", tls_port, "");
    warnings = 0;
    refused(&a, CELLAR_E_DENIED, "expired");
    T_EQ_I64(warnings, 0);
}

static void client_certificate_is_wanted(void)
{
    char more[2 * TLS_KIT_PATH], cert[TLS_KIT_PATH];
    if (!start(true)) { return; }
    tls_side(&a, "localhost", tls_port, "");
    refused(&a, CELLAR_E_DENIED, "the server wants a client certificate: give tls_cert_file");
    side_close(&a);
    snprintf(more, sizeof more, "&tls_cert_file=%s", tls_kit_path(cert, dir, "client.pem"));
    tls_side(&a, "localhost", tls_port, more);
    T_CHECK(side_proven(&a));
    T_EQ_I64(side_set(&a, "k", "v"), CELLAR_OK);
    T_REQUIRE(tls_kit_run(dir, "rm client.pem"));
    T_CHECK(engine_cut(&server, "normal") >= 1);
    refused(&a, CELLAR_E_DENIED, "tls_cert_file");
    side_close(&a);
    left_close();
}

T_CASE(client_certificate_opens_a_server_that_wants_one)
{
    with_each_version(client_certificate_is_wanted);
}

/* A server without TLS waits for the end of a line. It answers if the random bytes of the handshake
 * contain one. With the long keys of OpenSSL 3.5 they nearly always do. */
T_CASE(server_without_tls_is_named)
{
    if (!start(false)) { return; }
    io_ms = 500;
    tls_side(&a, "localhost", server.port, "");
    io_ms = 10000;
    cellar_error_info e = cellar_error_info_default();
    bool silent = false, answers = false;
    for (int i = 0; i < 10000 && !silent && !answers; i++) {
        T_EQ_I64(cellar_remote_last_error(a.r, &e), CELLAR_OK);
        silent = e.code == CELLAR_E_TIMEOUT && strstr(e.text, "does not answer the handshake of TLS") != NULL;
        answers = e.code == CELLAR_E_DENIED && strstr(e.text, "the server does not speak TLS") != NULL;
        engine_pause_ms(2);
    }
    if (!T_CHECK(silent || answers)) { T_EQ_STR(e.text, ""); }
}

/* ---- faults of the network ---- */

/* Open a link to a server, or a Sentinel, at a port of this machine, without its pauses. */
static void kit_open_to(bool to_sentinel, uint16_t port)
{
    link_kit_init(&k, to_sentinel ? "" : "127.0.0.1");
    k.c.server.port = to_sentinel ? 0 : port;
    k.c.sentinel_count = to_sentinel;
    snprintf(k.c.sentinel[0].host, sizeof k.c.sentinel[0].host, "127.0.0.1");
    k.c.sentinel[0].port = port;
    snprintf(k.c.master, sizeof k.c.master, "main");
    k.c.tls = true;
    tls_kit_path(k.c.tls_ca_file, dir, "ca.pem");
    T_EQ_I64(link_kit_open(&k), CELLAR_OK);
}

static byte_proxy p;

/* Open a proxy of a port. Return its own one. */
static uint16_t proxy_open(uint16_t port)
{
    static char text[8];
    const uint16_t at = engine_free_port();
    snprintf(text, sizeof text, "%u", port);
    byte_proxy_open_port(&p, at, text);
    return at;
}

/* Run the link until it is down again after an attempt, or PROVEN. Return whether it is down. */
static bool falls(void)
{
    const uint32_t before = atomic_load(&k.link->falls);
    k.link->retry_ns = 0;
    while (atomic_load(&k.link->falls) == before &&
           remote_link_state(k.link) != REMOTE_PROVEN) {
        T_EQ_I64(remote_link_step(k.link, 1), CELLAR_OK);
    }
    return atomic_load(&k.link->falls) != before;
}

/* Open a link, and cut its connections behind so many bytes of one way. Return whether it falls. */
static bool falls_behind(int left, int way, bool to_sentinel, uint16_t at)
{
    if (k.link != NULL) { link_kit_close(&k); }
    atomic_store(&p.fresh.way[way].left, left);
    kit_open_to(to_sentinel, at);
    const bool down = falls();
    T_CHECK(!down || k.link->refusal.text[0] != '\0');
    atomic_store(&p.fresh.way[way].left, -1);
    return down;
}

/* Cut the connections behind each count of bytes, each way, until none is cut before the proof. The
 * last link comes back. */
static void cut_in_each_state(bool to_sentinel, uint16_t at)
{
    for (int way = 0; way < 2; way++) {
        int left = 1;
        while (falls_behind(left, way, to_sentinel, at)) {
            left += left < 8 ? 1 : t_reduced() ? 97 : 31;
        }
        T_CHECK(left > 400); /* a handshake has more bytes */
    }
    T_CHECK(falls_behind(100, 0, to_sentinel, at));
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
}

T_CASE(link_cut_in_each_state_of_the_handshake_comes_back)
{
    if (!start(false)) { return; }
    cut_in_each_state(false, proxy_open(tls_port));
    byte_proxy_cut_all(&p);
    T_CHECK(link_kit_until(&k, REMOTE_DOWN));
    T_EQ_I64(k.link->refusal.why, REMOTE_WHY_CLOSED); /* behind the handshake: no fault of TLS */
}

/* Bytes come late, piece by piece: the deadline is that of the whole handshake. */
T_CASE(slow_handshake_has_ten_times_io_ms_in_all)
{
    enum { IO_MS = 50 };
    const int64_t most_ns = INT64_C(10000000) * IO_MS;
    remote_refusal why = { .why = REMOTE_WHY_NONE };
    if (!start(false)) { return; }
    const uint16_t at = proxy_open(tls_port);
    for (int way = 0; way < 2; way++) { atomic_store(&p.fresh.way[way].delay_ms, 8 * IO_MS); }
    kit_open_to(false, at);
    k.c.io_ms = IO_MS;
    const int64_t before_ns = remote_mono_ns();
    T_EQ_I64(remote_link_step(k.link, 1), CELLAR_OK);
    T_EQ_I64(k.link->phase, REMOTE_PHASE_HANDSHAKE);
    const int64_t left_ns = k.link->deadline_ns - before_ns;
    T_CHECK(left_ns >= most_ns && left_ns <= most_ns + (remote_mono_ns() - before_ns));
    T_EQ_I64(link_kit_reason(&k, &why), REMOTE_WHY_TIMEOUT);
    T_CHECK(strstr(why.text, "does not answer the handshake of TLS") != NULL);
    for (int way = 0; way < 2; way++) { atomic_store(&p.fresh.way[way].delay_ms, IO_MS / 5); }
    k.c.io_ms = 1000; /* longer than io_ms before; a busy machine is slow, too */
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
}

/* ---- Sentinel ---- */

static engine sentinel[3];

/* Open a side of `count` Sentinels that have these certificates. */
static void sentinels_side(side *s, uint32_t count, const char *const *names)
{
    char config[2048], url[1024], cert[TLS_KIT_PATH], ca[TLS_KIT_PATH];
    size_t len = (size_t)snprintf(url, sizeof url, "rediss-sentinel://");
    tls_kit_path(ca, dir, "ca.pem");
    for (uint32_t i = 0; i < count; i++) {
        const uint16_t port = engine_free_port();
        tls_kit_path(cert, dir, names[i]);
        snprintf(config, sizeof config, "tls-port %u\ntls-cert-file %s\ntls-key-file %s\n"
                 "tls-ca-cert-file %s\ntls-auth-clients no\ntls-replication yes\n"
                 "sentinel monitor main 127.0.0.1 %u 1\n", port, cert, cert, ca, tls_port);
        T_REQUIRE(engine_start_sentinel(&sentinel[i], config));
        len += (size_t)snprintf(url + len, sizeof url - len, "%slocalhost:%u", i != 0 ? "," : "",
                                port);
    }
    snprintf(url + len, sizeof url - len, "?master=main&prefix=app&tls_ca_file=%s", ca);
    side_open_url(s, url, &(side_own){ .ro = NULL });
}

T_CASE(sentinel_cut_in_each_state_of_the_handshake_is_asked_again)
{
    static const char *const name = "server.pem";
    if (!start(false)) { return; }
    sentinels_side(&a, 1, &name);
    T_CHECK(side_proven(&a));
    const uint16_t at = proxy_open(a.r->cfg.sentinel[0].port);
    side_close(&a);
    cut_in_each_state(true, at);
    const uint32_t lines = atomic_load(&p.lines);
    byte_proxy_cut(&p.line[(lines - 1) % BYTE_PROXY_LINES]);
    while (atomic_load(&p.lines) == lines) { T_EQ_I64(remote_link_step(k.link, 1), CELLAR_OK); }
    const int64_t named_ms = k.link->sentinel[0].named_ms;
    while (k.link->sentinel[0].named_ms == named_ms) {
        T_EQ_I64(remote_link_step(k.link, 1), CELLAR_OK);
    }
    T_CHECK(link_kit_until(&k, REMOTE_PROVEN));
}

T_CASE(sentinel_with_a_wrong_certificate_has_no_vote)
{
    static const char *const one_wrong[] = { "wrong.pem", "server.pem", "server.pem" };
    static const char *const two_wrong[] = { "server.pem", "expired.pem", "wrong.pem" };
    if (!start(false)) { return; }
    sentinels_side(&a, 3, one_wrong);
    T_CHECK(side_proven(&a));
    T_EQ_I64(side_set(&a, "k", "v"), CELLAR_OK);
    side_close(&a);
    for (int i = 0; i < 3; i++) { engine_stop(&sentinel[i]); }
    sentinels_side(&a, 3, two_wrong);
    refused(&a, CELLAR_E_DENIED, "TLS with localhost: certificate refused: ");
    T_EQ_I64(side_set(&a, "k", "v"), CELLAR_DEFERRED);
    side_close(&a);
    for (int i = 0; i < 3; i++) { engine_stop(&sentinel[i]); }
}

T_MAIN("remote_tls_link")
