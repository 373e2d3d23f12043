/* SPDX-License-Identifier: MIT
 *
 * Aim:    clients that are slow in the TLS handshake lose their places; a certificate that clients
 *         refuse is in the log.
 * Method: a port without threads on loopback, clients that send half a handshake or nothing, on a
 *         clock that the test turns. Certificates of an own CA. */
#include <arpa/inet.h>
#include <netinet/in.h>

#include "tests/support/port_kit.h"
#include "tests/support/said.h"
#include "tests/support/tls_kit.h"

static char pem_folder[T_FOLDER_MAX], pem[TLS_KIT_PATH];
static cellar_host_config host;

static int dial(uint64_t number)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)number),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    T_REQUIRE(fd >= 0 && connect(fd, (struct sockaddr *)&at, sizeof at) == 0);
    T_REQUIRE(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    port_run();
    return fd;
}

static void with_tls(cellar_resp_config *o)
{
    host = *o->host;
    host.log = listen_to;
    said[0] = '\0';
    o->host = &host;
    o->port = CELLAR_RESP_PORT_ANY;
    o->admin = "0";
    o->tls_cert_file = pem;
}

/* Half a handshake: nothing, or the first bytes of one. */
T_CASE(slow_handshakes_are_closed_after_5_seconds)
{
    enum { CLIENTS = 64 };
    int fd[CLIENTS];
    if (!tls_kit_open(pem_folder)) { return; }
    (void)tls_kit_path(pem, pem_folder, "server.pem");
    port_begin_with(with_tls);
    for (int i = 0; i < CLIENTS; i++) {
        fd[i] = dial(port_stats().port);
        T_CHECK(i % 2 == 0 || tell(fd[i], "\x16\x03\x01\x02\x00\x01", 6));
    }
    const int visitor = dial(port_stats().admin_port);
    port_pass(4999);
    T_EQ_U64(port_stats().clients, CLIENTS); /* visitors are not among them */
    const int late = peer(); /* of the unix socket, which has no TLS */
    T_CHECK(is_closed(late));
    port_pass(1);
    T_EQ_U64(port_stats().clients, 0);
    T_EQ_U64(port_stats().idle_closed, CLIENTS + 1);
    for (int i = 0; i < CLIENTS; i++) {
        T_CHECK(is_closed(fd[i]));
        close(fd[i]);
    }
    const int next = peer();
    T_EQ_STR(ask(next, "PING\r\n"), "+PONG\r\n");
    port_pass(5000);
    T_EQ_STR(ask(next, "PING\r\n"), "+PONG\r\n");
    close(next), close(late), close(visitor);
    port_end();
}

T_CASE(expired_certificate_is_a_line_of_the_log)
{
    if (!tls_kit_open(pem_folder)) { return; }
    (void)tls_kit_path(pem, pem_folder, "expired.pem");
    port_begin_with(with_tls);
    T_EQ_I64(lines_with("clients refuse this certificate: tls_cert_file "), 1);
    T_EQ_I64(lines_with("expired.pem expired on 2"), 1);
    for (int i = 0; i < 3; i++) {
        close(dial(port_stats().port));
        port_pass(2000);
    }
    T_EQ_I64(lines_with("clients refuse this certificate"), 1);
    port_end();
    (void)tls_kit_path(pem, pem_folder, "server.pem");
    port_begin_with(with_tls);
    T_EQ_STR(said, "");
    T_CHECK(tls_kit_run(pem_folder, "cp expired.pem server.pem"));
    close(dial(port_stats().port));
    T_EQ_I64(lines_with("server.pem expired on 2"), 1);
    port_end();
}

T_MAIN("remote_tls_clients")
