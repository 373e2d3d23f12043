/* SPDX-License-Identifier: MIT
 *
 * Aim:    sockets are private unless options say otherwise, and bad options are refused; the
 *         descriptor of a port; its thread.
 * Method: ports on socket files and on loopback addresses. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/stat.h>

#include "tls/tls.h"
#include "tests/support/port_kit.h"

#include "base/fault.h"
#include "cellar_invalidate.h"

static cellar_host_config host;

/* Open with these options and expect a refusal with this text. */
static void refused(const cellar_resp_config *o, cellar_err code, const char *why)
{
    cellar_resp *r = (cellar_resp *)1;
    cellar_error_info info = cellar_error_info_default();
    T_EQ_I64(cellar_resp_open(port_store, o, &r), code);
    T_CHECK(r == NULL);
    T_EQ_I64(cellar_last_error(NULL, &info), CELLAR_OK);
    T_EQ_I64(info.code, code);
    T_CHECK(strncmp(info.text, "cellar_resp_open: ", 18) == 0);
    if (strstr(info.text, why) == NULL) { T_EQ_STR(info.text, why); }
}

static void give_back(void *block, size_t size, void *ctx)
{
    (void)block, (void)size, (void)ctx;
}

T_CASE(options_out_of_range_are_refused)
{
    static char path[200];
    port_store_open();
    const cellar_resp_config good = port_opts(&host);
    cellar_resp_config o = good;
    cellar_resp *r;
    memset(path, 'x', sizeof path - 1);
#define BAD(field, value, why) o = good, o.field = (value), refused(&o, CELLAR_E_INVAL, why)
    BAD(unix_path, NULL, "give unix_path, port, listen_fds or admin");
    BAD(unix_path, "", "unix_path must have");
    BAD(unix_path, path, "unix_path must have 1 to 107 bytes");
    BAD(port, 65536, "port must be");
    BAD(listen, "127.0.0.1", "listen needs port");
    BAD(listen, "localhost", "numeric address");
    BAD(password, "", "password must not be empty");
    BAD(max_request_bytes, 65535, "max_request_bytes");
    BAD(max_request_bytes, (UINT64_C(1) << 30) + 1, "max_request_bytes");
    BAD(resp_buffer_bytes, 1048575, "resp_buffer_bytes");
    BAD(idle_timeout_ms, -1, "idle_timeout_ms");
    BAD(max_clients, 65537, "max_clients");
    BAD(writable, 2, "writable");
    BAD(danger, 2, "danger");
    BAD(listen_public, 2, "listen_public");
    BAD(admin_head_bytes, 1023, "admin_head_bytes must be 1 KiB..1 MiB");
    BAD(admin_head_bytes, (1u << 20) + 1, "admin_head_bytes");
    BAD(admin_body_bytes, (1u << 20) + 1, "admin_body_bytes must be at most 1 MiB");
    BAD(tls_ca_file, "x", "tls_key_file and tls_ca_file need tls_cert_file");
    BAD(tls_ca_file, "", "the tls files must not be empty texts");
    BAD(tls_key_file, "x", "tls_key_file and tls_ca_file need tls_cert_file");
    o = good, o.tls_cert_file = "/nowhere/x.pem";
    refused(&o, tls_is_built() ? CELLAR_E_INVAL : CELLAR_E_UNSUPPORTED,
            tls_is_built() ? "tls_cert_file" : "built without TLS (make TLS=1)");
    BAD(namespaces, "16=x", "namespaces must be like");
    BAD(namespaces, "x", "namespaces must be like");
    BAD(namespaces, "0", "namespaces must be like");
    BAD(namespaces, "0=a 1", "namespaces must be like");
    BAD(namespaces, "0=a 1=b 0=c", "with different numbers 0..15");
    BAD(shared_bytes, 1 << 20, "shared_bytes must be at least 2 MiB");
    o = good, o.shared_bytes = 4 << 20, o.namespaces = "0=users";
    refused(&o, CELLAR_E_INVAL, "database 0 is the shared store");
    T_EQ_I64(cellar_resp_open(NULL, &good, &r), CELLAR_E_INVAL);
    T_EQ_I64(cellar_resp_open(port_store, NULL, &r), CELLAR_E_INVAL);
    T_EQ_I64(cellar_resp_open(port_store, &good, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_resp_step(NULL, 0), CELLAR_E_INVAL);
    T_EQ_I64(cellar_resp_start(NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_resp_fd(NULL), -1);
    T_EQ_I64(cellar_resp_stats_get(NULL, NULL), CELLAR_E_INVAL);
    cellar_resp_close(NULL);
    o = good;
    host.free = give_back;
    refused(&o, CELLAR_E_INVAL, "host.alloc and host.free belong together");
}

T_CASE(public_addresses_need_consent_and_a_long_password)
{
    port_store_open();
    cellar_resp_config o = port_opts(&host);
    o.unix_path = NULL;
    o.port = CELLAR_RESP_PORT_ANY;
    o.listen = "0.0.0.0";
    refused(&o, CELLAR_E_DENIED, "public address");
    o.password = PORT_PASSWORD;
    refused(&o, CELLAR_E_DENIED, "public address");
    o.listen_public = 1;
    o.password = "fifteen bytes..";
    refused(&o, CELLAR_E_DENIED, "at least 16 bytes");
    o.password = NULL;
    refused(&o, CELLAR_E_DENIED, "at least 16 bytes");
    o.listen = "::";
    refused(&o, CELLAR_E_DENIED, "at least 16 bytes");
    o.listen = "0.0.0.0";
    o.password = "sixteen bytes...";
    T_EQ_I64(cellar_resp_open(port_store, &o, &port), CELLAR_OK);
    port_close();
}

T_CASE(socket_file_is_private_and_goes_with_the_port)
{
    struct stat st;
    const mode_t before = umask(0);
    port_begin();
    T_EQ_I64(lstat(port_path, &st), 0);
    T_CHECK(S_ISSOCK(st.st_mode));
    T_EQ_I64(st.st_mode & 0777, 0600);
    T_EQ_I64(umask(before), 0); /* untouched */
}

T_CASE(folder_that_others_may_write_is_refused)
{
    port_store_open();
    cellar_resp_config o = port_opts(&host);
    T_EQ_I64(chmod(port_folder, 0770), 0);
    refused(&o, CELLAR_E_DENIED, "folder of unix_path");
    T_EQ_I64(chmod(port_folder, 01777), 0);
    refused(&o, CELLAR_E_DENIED, "folder of unix_path");
    T_EQ_I64(chmod(port_folder, 0755), 0);
    T_EQ_I64(cellar_resp_open(port_store, &o, &port), CELLAR_OK);
}

T_CASE(file_of_a_dead_process_is_replaced_and_others_are_kept)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    cellar_resp *second;
    port_store_open();
    cellar_resp_config o = port_opts(&host);
    memcpy(at.sun_path, port_path, strlen(port_path));
    const int dead = socket(AF_UNIX, SOCK_STREAM, 0);
    T_EQ_I64(bind(dead, (struct sockaddr *)&at, sizeof at), 0);
    close(dead);
    T_EQ_I64(cellar_resp_open(port_store, &o, &port), CELLAR_OK);
    refused(&o, CELLAR_E_BUSY, "another process listens");
    T_EQ_I64(unlink(port_path), 0);
    T_EQ_I64(cellar_resp_open(port_store, &o, &second), CELLAR_OK);
    cellar_resp_close(port); /* leaves the file of the second one */
    port = second;
    const int fd = peer();
    T_EQ_STR(ask(fd, "PING\r\n"), "+PONG\r\n");
    close(fd);
    port_close();
    const int file = open(port_path, O_CREAT | O_WRONLY, 0600);
    T_CHECK(file >= 0);
    close(file);
    refused(&o, CELLAR_E_INVAL, "no socket");
    T_EQ_I64(unlink(port_path), 0);
}

/* Connect to a port of a loopback address. -1: refused. */
static int dial(int family, uint32_t number)
{
    struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)number),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)number),
                               .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    const int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) { return -1; }
    if (connect(fd, family == AF_INET ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6,
                family == AF_INET ? sizeof v4 : sizeof v6) != 0) {
        close(fd);
        return -1;
    }
    return peer_ready(fd);
}

static void any_port(cellar_resp_config *o)
{
    o->unix_path = NULL;
    o->port = CELLAR_RESP_PORT_ANY;
}

T_CASE(tcp_listens_on_both_loopback_addresses)
{
    port_begin_with(any_port);
    const uint32_t number = (uint32_t)port_stats().port;
    T_CHECK(number > 0 && number < 65536);
    const int v4 = dial(AF_INET, number), v6 = dial(AF_INET6, number);
    T_REQUIRE(v4 >= 0);
    T_EQ_STR(ask(v4, "PING\r\n"), "+PONG\r\n");
    T_CHECK(strstr(ask(v4, "CLIENT INFO\r\n"), " addr=127.0.0.1:") != NULL);
    if (v6 >= 0) {
        T_EQ_STR(ask(v6, "PING\r\n"), "+PONG\r\n");
        T_CHECK(strstr(ask(v6, "CLIENT INFO\r\n"), " addr=[::1]:") != NULL);
    } else {
        printf("# no IPv6 loopback here\n");
    }
    cellar_resp_config o = { .struct_size = sizeof o, .port = number };
    refused(&o, CELLAR_E_BUSY, "port is in use");
}

T_CASE(machine_without_ipv6_serves_ipv4)
{
    port_store_open();
    cellar_resp_config o = port_opts(&host);
    any_port(&o);
    (void)base_fault_io_arm("socket", EAFNOSUPPORT, 2, false);
    T_EQ_I64(cellar_resp_open(port_store, &o, &port), CELLAR_OK);
    (void)base_fault_io_arm("socket", 0, 0, false);
    const int v4 = dial(AF_INET, (uint32_t)port_stats().port);
    T_EQ_STR(ask(v4, "PING\r\n"), "+PONG\r\n");
    T_EQ_I64(dial(AF_INET6, (uint32_t)port_stats().port), -1);
}

T_CASE(every_failure_of_open_leaves_nothing)
{
    static const char *const sites[] = { "socket", "fchmod", "bind", "listen", "setsockopt",
                                         "getsockname", "epoll_create", "eventfd", "epoll_ctl" };
    port_store_open();
    cellar_resp_config o = port_opts(&host);
    o.port = CELLAR_RESP_PORT_ANY;
    o.admin = "0";
    for (size_t i = 0; i < sizeof sites / sizeof *sites; i++) {
        for (uint64_t n = 1; n < 20; n++) {
            (void)base_fault_io_arm(sites[i], EIO, n, false);
            const cellar_err err = cellar_resp_open(port_store, &o, &port);
            const uint64_t calls = base_fault_io_arm(sites[i], 0, 0, false);
            T_CHECK(err == CELLAR_E_IO || (err == CELLAR_OK && (calls < n || n > 1)));
            port_close();
            T_CHECK(access(port_path, F_OK) != 0);
            if (calls < n) { break; }
        }
    }
    o.shared_bytes = UINT64_C(4) << 20;
    bool fired = true;
    for (uint64_t n = 1; fired; n++) {
        (void)base_fault_alloc_arm(n, false);
        const cellar_err err = cellar_resp_open(port_store, &o, &port);
        fired = base_fault_alloc_site() != NULL;
        (void)base_fault_alloc_arm(0, false);
        T_CHECK(err == CELLAR_OK || (fired && err == CELLAR_E_NOMEM && port == NULL));
        port_close();
    }
}

static void named(cellar_resp_config *o) { o->namespaces = "0=image_task, 3=users 4="; }

T_CASE(databases_are_namespaces_by_name)
{
    cellar *images, *db1;
    port_begin_with(named);
    T_EQ_I64(cellar_namespace_open(port_store, "image_task", NULL, &images), CELLAR_OK);
    T_EQ_I64(cellar_namespace_open(port_store, "db1", NULL, &db1), CELLAR_OK);
    const int fd = peer();
    T_EQ_STR(ask(fd, "WATCH k\r\n"), "+OK\r\n");
    T_EQ_I64(cellar_set_str(images, "k", "1", 0), CELLAR_OK);
    T_EQ_STR(ask(fd, "MULTI\r\nEXEC\r\n"), "+OK\r\n*-1\r\n");
    T_EQ_STR(ask(fd, "SELECT 4\r\nWATCH k\r\n"), "+OK\r\n+OK\r\n");
    T_EQ_I64(cellar_set_str(port_store, "k", "1", 0), CELLAR_OK); /* the root */
    T_EQ_STR(ask(fd, "MULTI\r\nEXEC\r\n"), "+OK\r\n*-1\r\n");
    T_EQ_STR(ask(fd, "SELECT 1\r\nWATCH k\r\n"), "+OK\r\n+OK\r\n");
    T_EQ_I64(cellar_set_str(db1, "k", "1", 0), CELLAR_OK);
    T_EQ_STR(ask(fd, "MULTI\r\nEXEC\r\n"), "+OK\r\n*-1\r\n");
    T_EQ_I64(cellar_namespace_close(db1), CELLAR_OK);
    T_EQ_I64(cellar_namespace_drop(port_store, "db1"), CELLAR_OK);
    T_EQ_STR(ask(fd, "WATCH k\r\nWATCH k\r\n"),
             "-ERR the namespace was dropped; send the command again\r\n+OK\r\n");
    T_EQ_I64(cellar_namespace_close(images), CELLAR_OK);
}

T_CASE(descriptor_is_readable_while_work_is_left)
{
    port_begin();
    const int fd = peer();
    struct pollfd p = { .fd = cellar_resp_fd(port), .events = POLLIN };
    T_EQ_I64(poll(&p, 1, 0), 0);
    for (int i = 0; i < 200; i++) { T_CHECK(tell_text(fd, "PING\r\n")); }
    int rounds = 0;
    while (poll(&p, 1, 0) == 1 && rounds < 100) {
        const cellar_err err = cellar_resp_step(port, 0);
        T_CHECK(err == CELLAR_OK || err == CELLAR_PENDING);
        rounds++;
    }
    T_CHECK(rounds >= 3 && rounds < 100);
    T_EQ_U64(port_stats().commands, 200);
}

T_CASE(figures_are_metrics_and_json)
{
    static char text[8192];
    size_t len = 0, json_len = 0;
    port_begin();
    const int fd = peer();
    T_EQ_STR(ask(fd, "PING\r\nPING\r\nfoo\r\n") + 14,
             "-ERR unknown command 'foo', with args beginning with: \r\n");
    T_EQ_I64(cellar_metrics_write(port, text, sizeof text, &len), CELLAR_OK);
    T_EQ_U64(strlen(text), len);
    T_CHECK(strstr(text, "\ncellar_port_commands_total{port=\"port\"} 2\n") != NULL);
    T_CHECK(strstr(text, "\ncellar_port_refused_total{port=\"port\"} 1\n") != NULL);
    T_CHECK(strstr(text, "\ncellar_port_clients{port=\"port\"} 1\n") != NULL);
    T_CHECK(strstr(text, "{port=\"port\",reason=\"output\"} 0\n") != NULL);
    T_EQ_I64(cellar_metrics_write(port, text, len, NULL), CELLAR_E_BUFFER);
    T_EQ_I64(cellar_metrics_write(port, NULL, 1, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_stats_json(port, text, sizeof text, &json_len), CELLAR_OK);
    T_CHECK(strstr(text, "\"cellar_port_commands_total\"") != NULL);
    T_EQ_I64(cellar_stats_json(port, NULL, 0, &len), CELLAR_E_BUFFER);
    T_EQ_U64(len, json_len);
    T_EQ_I64(cellar_stats_json(NULL, text, sizeof text, NULL), CELLAR_E_INVAL);
}

T_CASE(thread_serves_until_close)
{
    char reply[16] = "";
    port_store_open();
    cellar_resp_config o = port_opts(&host);
    host.clock = NULL;
    o.password = PORT_PASSWORD;
    T_EQ_I64(cellar_resp_open(port_store, &o, &port), CELLAR_OK);
    T_EQ_I64(cellar_resp_start(port), CELLAR_OK);
    T_EQ_I64(cellar_resp_start(port), CELLAR_OK);
    T_EQ_I64(cellar_resp_step(port, 0), CELLAR_E_BUSY);
    const int fd = peer_connect();
    T_REQUIRE(fcntl(fd, F_SETFL, 0) == 0); /* blocks */
    T_EQ_I64(send(fd, "AUTH guess\r\n", 12, MSG_NOSIGNAL), 12);
    T_EQ_I64(recv(fd, reply, 10, MSG_WAITALL), 10); /* after 250 ms by the clock of the thread */
    T_EQ_STR(reply, "-WRONGPASS");
    cellar_resp_stats s = cellar_resp_stats_default();
    T_EQ_I64(cellar_resp_stats_get(port, &s), CELLAR_OK);
    T_EQ_U64(s.clients, 1);
}

T_MAIN("resp_open")
