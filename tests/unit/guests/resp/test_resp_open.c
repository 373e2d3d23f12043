/* SPDX-License-Identifier: MIT
 *
 * Aim:    sockets are private unless options say otherwise, and bad options are refused; the
 *         descriptor of a port; its thread. A port serves sockets that the program was given: one of
 *         each family, with the rules of addresses and peers; clients wait there while no port is
 *         open. cellar_resp_finish runs what has arrived, sends the replies, closes the clients, and
 *         ends at its limit.
 * Method: ports on socket files, on loopback addresses and on sockets of the test in place of those
 *         of a manager of services; steps of the test. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tls/tls.h"
#include "tests/support/port_kit.h"

#include "base/fault.h"
#include "base/fd.h"
#include "base/net.h"
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

static void port_open(const cellar_resp_config *o)
{
    T_REQUIRE(cellar_resp_open(port_store, o, &port) == CELLAR_OK);
}

typedef union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un local;
} address;

/* Return the address of a text; NULL: that of the socket file of the test. */
static address address_of(const char *text, uint32_t number)
{
    address at = { .any = { .sa_family = AF_UNIX } };
    if (text == NULL) {
        memcpy(at.local.sun_path, port_path, strlen(port_path));
    } else if (inet_pton(AF_INET6, text, &at.v6.sin6_addr) == 1) {
        at.any.sa_family = AF_INET6;
        at.v6.sin6_port = htons((uint16_t)number);
    } else {
        T_REQUIRE(inet_pton(AF_INET, text, &at.v4.sin_addr) == 1);
        at.any.sa_family = AF_INET;
        at.v4.sin_port = htons((uint16_t)number);
    }
    return at;
}

/* Connect. The port has not accepted yet. -1: refused. */
static int dial(address at)
{
    const int fd = socket(at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, &at.any, sizeof at.local) == 0) { return peer_ready(fd); }
    if (fd >= 0) { close(fd); }
    return -1;
}

/* ---- options ---- */

static void give_back(void *block, size_t size, void *ctx)
{
    (void)block, (void)size, (void)ctx;
}

T_CASE(options_out_of_range_are_refused)
{
    static const char *const addresses[] = {
        "", ":", "x", "65536", "123456", "-1", "9180 ", ":9180", "localhost:9180", "::1:9180",
        "[::1]", "[::1]:", "[]:1", "[127.0.0.1]:1", "127.0.0.1", "127.0.0.1:x", "[::1:1",
    };
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
    BAD(unix_group, "no group of this machine", "unix_group is no group of this machine");
    BAD(unix_group, "", "unix_group is no group of this machine");
    BAD(unix_group, "roo", "unix_group is no group of this machine"); /* a part of a name */
    BAD(unix_group, "rooT", "unix_group is no group of this machine");
    BAD(unix_group, "4294967295", "unix_group is no group of this machine"); /* chown: none */
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        BAD(admin, addresses[i], "admin must be like");
    }
    o = good, o.unix_path = NULL, o.port = CELLAR_RESP_PORT_ANY, o.unix_group = "root";
    refused(&o, CELLAR_E_INVAL, "unix_group needs unix_path");
    o = good, o.shared_bytes = 4 << 20, o.namespaces = "0=users";
    refused(&o, CELLAR_E_INVAL, "database 0 is the shared store");
    T_EQ_I64(cellar_resp_open(NULL, &good, &r), CELLAR_E_INVAL);
    T_EQ_I64(cellar_resp_open(port_store, NULL, &r), CELLAR_E_INVAL);
    T_EQ_I64(cellar_resp_open(port_store, &good, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_resp_step(NULL, 0), CELLAR_E_INVAL);
    T_EQ_I64(cellar_resp_finish(NULL, 0), CELLAR_E_INVAL);
    T_EQ_I64(cellar_resp_start(NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_resp_fd(NULL), -1);
    T_EQ_I64(cellar_resp_stats_get(NULL, NULL), CELLAR_E_INVAL);
    cellar_resp_close(NULL);
    o = good;
    host.free = give_back;
    refused(&o, CELLAR_E_INVAL, "host.alloc and host.free belong together");
}

/* Check that these options, which have a public address, need consent and a long password. */
static void needs_consent(cellar_resp_config o)
{
    static const struct { const char *password; uint32_t consent; const char *why; } rows[] = {
        { NULL, 0, "public address" },
        { PORT_PASSWORD, 0, "public address" },
        { NULL, 1, "at least 16 bytes" },
        { "fifteen bytes..", 1, "at least 16 bytes" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        o.password = rows[i].password;
        o.listen_public = rows[i].consent;
        refused(&o, CELLAR_E_DENIED, rows[i].why);
    }
    o.password = "sixteen bytes...";
    port_open(&o);
    port_close();
}

T_CASE(public_addresses_need_consent_and_a_long_password)
{
    port_store_open();
    cellar_resp_config o = port_opts(&host);
    o.unix_path = NULL;
    o.port = CELLAR_RESP_PORT_ANY;
    o.listen = "0.0.0.0";
    needs_consent(o);
    o.listen_public = 1;
    o.listen = "::";
    refused(&o, CELLAR_E_DENIED, "at least 16 bytes");
    o.unix_path = port_path;
    o.port = o.listen_public = 0;
    o.listen = NULL;
    o.admin = "0.0.0.0:0";
    refused(&o, CELLAR_E_DENIED, "public address");
    o.admin = "[::]:0";
    o.listen_public = 1;
    refused(&o, CELLAR_E_DENIED, "at least 16 bytes");
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
    static const mode_t modes[] = { 0770, 01777, 0777 };
    char admin[T_FOLDER_MAX + 8];
    port_store_open();
    cellar_resp_config o = port_opts(&host), pages = o;
    (void)snprintf(admin, sizeof admin, "%s/admin", port_folder);
    pages.unix_path = NULL;
    pages.admin = admin;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        T_EQ_I64(chmod(port_folder, modes[i]), 0);
        refused(&o, CELLAR_E_DENIED, "folder of unix_path");
        refused(&pages, CELLAR_E_DENIED, "the folder of admin");
    }
    T_EQ_I64(chmod(port_folder, 0755), 0);
    port_open(&o);
}

T_CASE(file_of_a_dead_process_is_replaced_and_others_are_kept)
{
    cellar_resp *second;
    port_store_open();
    cellar_resp_config o = port_opts(&host);
    const address at = address_of(NULL, 0);
    const int dead = socket(AF_UNIX, SOCK_STREAM, 0);
    T_EQ_I64(bind(dead, &at.any, sizeof at.local), 0);
    close(dead);
    port_open(&o);
    refused(&o, CELLAR_E_BUSY, "another process listens");
    T_EQ_I64(unlink(port_path), 0);
    T_EQ_I64(cellar_resp_open(port_store, &o, &second), CELLAR_OK);
    cellar_resp_close(port); /* leaves the file of the second one */
    port = second;
    T_EQ_STR(ask(peer(), "PING\r\n"), "+PONG\r\n");
    port_close();
    const int file = open(port_path, O_CREAT | O_WRONLY, 0600);
    T_CHECK(file >= 0);
    close(file);
    refused(&o, CELLAR_E_INVAL, "no socket");
    T_EQ_I64(unlink(port_path), 0);
    o.admin = port_path;
    refused(&o, CELLAR_E_BUSY, "listens on admin");
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
    const int v4 = dial(address_of("127.0.0.1", number)), v6 = dial(address_of("::1", number));
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
    port_open(&o);
    (void)base_fault_io_arm("socket", 0, 0, false);
    const uint32_t number = (uint32_t)port_stats().port;
    T_EQ_STR(ask(dial(address_of("127.0.0.1", number)), "PING\r\n"), "+PONG\r\n");
    T_EQ_I64(dial(address_of("::1", number)), -1);
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
    const struct { const char *watch; cellar *ns; } rows[] = {
        { "SELECT 0\r\nWATCH k\r\n", images },
        { "SELECT 4\r\nWATCH k\r\n", port_store }, /* the root */
        { "SELECT 1\r\nWATCH k\r\n", db1 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        T_EQ_STR(ask(fd, rows[i].watch), "+OK\r\n+OK\r\n");
        T_EQ_I64(cellar_set_str(rows[i].ns, "k", "1", 0), CELLAR_OK);
        T_EQ_STR(ask(fd, "MULTI\r\nEXEC\r\n"), "+OK\r\n*-1\r\n");
    }
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
    port_open(&o);
    T_EQ_I64(cellar_resp_start(port), CELLAR_OK);
    T_EQ_I64(cellar_resp_start(port), CELLAR_OK);
    T_EQ_I64(cellar_resp_step(port, 0), CELLAR_E_BUSY);
    const int fd = peer_connect();
    T_REQUIRE(fcntl(fd, F_SETFL, 0) == 0); /* blocks */
    T_EQ_I64(send(fd, "AUTH guess\r\n", 12, MSG_NOSIGNAL), 12);
    T_EQ_I64(recv(fd, reply, 10, MSG_WAITALL), 10); /* after 250 ms by the clock of the thread */
    T_EQ_STR(reply, "-WRONGPASS");
    T_EQ_U64(port_stats().clients, 1);
}

/* ---- sockets of the program ---- */

static int held[5]; /* -1 ends the list */

/* Listen on an address, NULL: on the socket file, and add the socket to the list. Return it; -1: no
 * such family. */
static int hold(const char *text)
{
    const address at = address_of(text, 0);
    const int fd = socket(at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) { return -1; }
    if (bind(fd, &at.any, sizeof at.local) != 0 || listen(fd, 16) != 0) {
        close(fd);
        return -1;
    }
    int *end = held;
    while (*end >= 0) { end++; }
    T_REQUIRE(end < held + 4);
    *end = fd;
    return fd;
}

/* Connect to a socket that listens. */
static int dial_held(int to)
{
    address at;
    socklen_t len = sizeof at;
    T_REQUIRE(getsockname(to, &at.any, &len) == 0);
    return dial(at);
}

/* Return options for the list of sockets, which is empty. */
static cellar_resp_config held_begin(void)
{
    memset(held, 0xff, sizeof held);
    port_store_open();
    cellar_resp_config o = port_opts(&host);
    o.unix_path = NULL;
    o.listen_fds = held;
    return o;
}

static void held_end(void)
{
    for (int *fd = held; *fd >= 0; fd++) { close(*fd); }
    (void)unlink(port_path);
    port_end();
}

#define HELD(fn) T_WITH(fn, cellar_resp_config o, o, held_begin(), held_end())

static void finish_and_close(void)
{
    T_EQ_I64(cellar_resp_finish(port, 60000), CELLAR_OK);
    port_close();
}

T_CASE_ON(each_family_is_served_and_the_sockets_outlive_the_port, HELD)
{
    T_REQUIRE(hold("127.0.0.1") >= 0);
    const bool v6 = hold("::1") >= 0;
    if (!v6) { printf("# no IPv6 loopback here\n"); }
    T_REQUIRE(hold(NULL) >= 0);
    const char *const from[] = { " addr=127.0.0.1:", v6 ? " addr=[::1]:" : port_path, port_path };
    for (int life = 0; life < 3; life++) {
        port_open(&o);
        T_CHECK(port_stats().port > 0);
        for (size_t i = 0; held[i] >= 0; i++) {
            const int fd = dial_held(held[i]);
            T_EQ_STR(ask(fd, "PING\r\n"), "+PONG\r\n");
            T_CHECK(strstr(ask(fd, "CLIENT INFO\r\n"), from[i]) != NULL);
            close(fd);
        }
        finish_and_close();
        T_EQ_I64(access(port_path, F_OK), 0);
    }
}

/* A client of IPv4 has the same address on a socket of both families. */
T_CASE_ON(wrong_passwords_on_sockets_of_both_families_count_together, HELD)
{
    char text[32];
    address at;
    socklen_t len = sizeof at;
    const int v4 = hold("127.0.0.1"), both = hold("::");
    T_REQUIRE(both < 0 || getsockname(both, &at.any, &len) == 0);
    const int probe = both < 0 ? -1 : dial(address_of("127.0.0.1", ntohs(at.v6.sin6_port)));
    if (probe < 0) {
        T_SKIP("no socket of both families here");
        return;
    }
    close(probe);
    o.password = PORT_PASSWORD;
    o.listen_public = 1;
    port_open(&o);
    for (int i = 0; i < 10; i++) {
        const int fd = dial_held(v4);
        (void)snprintf(text, sizeof text, "AUTH guess%d\r\n", i);
        T_EQ_STR(ask(fd, text), "");
        close(fd);
        port_pass(1000);
    }
    const int fd = dial(address_of("127.0.0.1", ntohs(at.v6.sin6_port)));
    T_EQ_STR(ask(fd, "AUTH \"" PORT_PASSWORD "\"\r\n"), "");
    T_AFTER_STR(port_pass(100), ask(fd, ""), "+OK\r\n");
    close(fd);
    finish_and_close();
}

/* Workers of two ports would not hear each other. */
T_CASE_ON(port_with_a_shared_store_leaves_its_clients_to_the_one_with_its_file, HELD)
{
    cellar_resp_config own = o;
    own.listen_fds = NULL;
    own.unix_path = port_path;
    own.shared_bytes = o.shared_bytes = 8u << 20;
    for (int given = 0; given < 2; given++) {
        if (given != 0) { (void)hold(NULL); }
        port_open(given != 0 ? &o : &own);
        const int a = peer();
        T_EQ_I64(unlink(port_path), 0);
        port_pass(101);
        T_EQ_STR(ask(a, "PING\r\n"), "+PONG\r\n");
        cellar_resp *const first = port;
        port_open(&own);
        const int b = peer();
        T_EQ_STR(ask(b, "PING\r\n"), "+PONG\r\n");
        atomic_fetch_add(&api_now_ms, 101);
        for (int i = 0; i < 3; i++) { T_CHECK(cellar_resp_step(first, 0) >= CELLAR_OK); }
        T_CHECK(is_closed(a) && !is_closed(b));
        cellar_resp_close(first);
        T_EQ_I64(access(port_path, F_OK), 0);
        T_EQ_STR(ask(b, "SET k v\r\n"), "+OK\r\n");
        port_close();
    }
}

T_CASE_ON(client_that_waits_is_served_by_the_next_port, HELD)
{
    char reply[16] = "";
    const int waits = dial_held(hold(NULL));
    port_open(&o);
    T_CHECK(tell_text(waits, "PING\r\n"));
    finish_and_close(); /* has accepted nothing */
    T_EQ_I64(recv(waits, reply, sizeof reply, 0), -1);
    T_EQ_I64(errno, EAGAIN);
    port_open(&o);
    port_run();
    T_EQ_I64(recv(waits, reply, sizeof reply, 0), 7);
    finish_and_close();
}

static void *finish_in_a_thread(void *none)
{
    T_EQ_I64(cellar_resp_finish(port, 60000), CELLAR_OK);
    return none;
}

/* A client between its connect and its first request would see a connection without a reply. */
T_CASE_ON(first_request_of_an_accepted_client_is_waited_for, HELD)
{
    pthread_t id;
    char reply[16] = "";
    const int young = dial_held(hold(NULL));
    port_open(&o);
    port_run(); /* accepts it */
    T_REQUIRE(pthread_create(&id, NULL, finish_in_a_thread, NULL) == 0);
    struct pollfd p = { .fd = young, .events = POLLIN };
    T_EQ_I64(poll(&p, 1, 50), 0); /* not closed; a pause only adds to it */
    T_EQ_I64(send(young, "PING\r\n", 6, MSG_NOSIGNAL), 6);
    pthread_join(id, NULL);
    T_EQ_I64(recv(young, reply, sizeof reply - 1, 0), 7);
    T_EQ_STR(reply, "+PONG\r\n");
    port_close();
    port_open(&o);
    (void)dial_held(held[0]);
    port_run();
    api_now_ms += 1000; /* connected a second ago */
    finish_and_close();
}

T_CASE_ON(finished_port_watches_its_sockets_no_more, HELD)
{
    (void)hold(NULL);
    port_open(&o);
    T_EQ_I64(cellar_resp_finish(port, 60000), CELLAR_OK);
    (void)dial_held(held[0]);
    struct pollfd p = { .fd = cellar_resp_fd(port), .events = POLLIN };
    T_EQ_I64(poll(&p, 1, 0), 0);
}

T_CASE_ON(descriptor_that_does_not_listen_is_refused, HELD)
{
    int pair[2], list[] = { -1, -1 };
    const int client = dial_held(hold(NULL));
    T_EQ_I64(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    const int bad[] = { 1 << 20, client, open("/dev/null", O_RDONLY), socket(AF_UNIX, SOCK_STREAM, 0),
                        socket(AF_INET, SOCK_DGRAM, 0), pair[0], pair[1] };
    o.listen_fds = list;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        list[0] = bad[i];
        refused(&o, CELLAR_E_INVAL, "a descriptor of listen_fds does not listen for streams");
        if (i > 1) { close(bad[i]); }
    }
    list[0] = -1;
    refused(&o, CELLAR_E_INVAL, "give unix_path, port, listen_fds or admin");
}

T_CASE_ON(second_socket_of_a_family_is_refused, HELD)
{
    (void)hold("127.0.0.1"), (void)hold(NULL), (void)hold("127.0.0.1");
    refused(&o, CELLAR_E_INVAL, "listen_fds has two sockets of one family");
    const int input = fcntl(0, F_DUPFD_CLOEXEC, 0);
    T_REQUIRE(input > 0 && close(0) == 0); /* 0 is the copy of the first one */
    refused(&o, CELLAR_E_INVAL, "listen_fds has two sockets of one family");
    T_EQ_I64(dup2(input, 0), 0);
    close(input);
}

T_CASE_ON(sockets_stand_in_place_of_unix_path_and_port, HELD)
{
    (void)hold(NULL);
    o.unix_path = "/tmp/none";
    refused(&o, CELLAR_E_INVAL, "listen_fds stands in place of unix_path and port");
    o.unix_path = NULL;
    o.port = CELLAR_RESP_PORT_ANY;
    refused(&o, CELLAR_E_INVAL, "listen_fds stands in place of unix_path and port");
}

T_CASE_ON(socket_of_a_public_address_needs_consent_and_a_long_password, HELD)
{
    (void)hold(NULL), (void)hold("0.0.0.0");
    needs_consent(o);
}

/* The kernel names the user of a peer: a fault there stands for another user. */
T_CASE_ON(unix_socket_serves_its_user_alone, HELD)
{
    (void)hold(NULL);
    o.unix_group = "0";
    for (int i = 0; i < 2; i++, o.unix_group = NULL) {
        port_open(&o);
        const int stranger = dial_held(held[0]);
        (void)base_fault_io_arm("peercred", EPERM, 1, true);
        port_run();
        (void)base_fault_io_arm("peercred", 0, 0, false);
        T_CHECK(is_closed(stranger));
        T_EQ_U64(port_stats().rejected, 1);
        T_EQ_STR(ask(dial_held(held[0]), "PING\r\n"), "+PONG\r\n");
        port_close();
    }
}

T_CASE_ON(every_failure_of_open_leaves_the_sockets, HELD)
{
    static const char *const sites[] = { "getsockopt", "getsockname", "dup" };
    (void)hold("127.0.0.1"), (void)hold(NULL);
    for (size_t i = 0; i < sizeof sites / sizeof *sites; i++) {
        for (uint64_t n = 1, calls = n; calls + 1 >= n && n < 20; n++) {
            (void)base_fault_io_arm(sites[i], EIO, n, false);
            const cellar_err err = cellar_resp_open(port_store, &o, &port);
            calls = base_fault_io_arm(sites[i], 0, 0, false);
            T_CHECK(err == CELLAR_E_INVAL || err == CELLAR_E_IO || err == CELLAR_OK);
            port_close();
        }
    }
    port_open(&o);
    T_EQ_STR(ask(dial_held(held[0]), "PING\r\n"), "+PONG\r\n");
}

/* ---- the calls below ---- */

static int armed; /* the error of the call that is armed */

/* Use each call on sockets once. Return the first error, or 0. */
static int use_sockets(void)
{
    const address v4 = address_of("127.0.0.1", 0), v6 = address_of("::1", 0);
    const address local = address_of(NULL, 0);
    const struct iovec part[] = { { (void *)(uintptr_t)"ab", 2 }, { (void *)(uintptr_t)"c", 1 } };
    struct sockaddr_storage at;
    struct epoll_event event;
    base_net_file file = { 0, 0 }, same = { 0, 0 };
    socklen_t len;
    uint32_t number;
    char path[108], got[4];
    int fd[8], n = 0, e = 0;
#define USE(call) e = e < 0 ? e : (int)(call)
#define OPEN(call) USE(call), fd[n] = e, n += e >= 0
    OPEN(base_net_unix(port_path, 4, &file));
    USE(base_net_unix_share(port_path, getegid()));
    OPEN(base_net_inherit(fd[0], &at, path, &same));
    T_CHECK(e < 0 || (same.inode == file.inode && strcmp(path, port_path) == 0));
    OPEN(base_net_socket(AF_UNIX));
    USE(connect(fd[2], &local.any, sizeof local.local));
    OPEN(base_net_accept(fd[0], &at, &len));
    USE(base_net_peer_trusted(fd[3]) && base_net_peer_in(fd[3], getegid()) ? 0 : -armed);
    OPEN(base_net_epoll());
    OPEN(base_net_bell());
    USE(base_net_watch(fd[4], EPOLL_CTL_ADD, fd[2], EPOLLIN, NULL));
    USE(base_net_send(fd[3], part, 1));
    USE(base_net_send(fd[3], part, 2));
    USE(base_net_wait(fd[4], &event, 1, 0));
    USE(base_net_recv(fd[2], got, sizeof got));
    T_CHECK(e < 0 || (e == 4 && memcmp(got, "abab", 4) == 0));
    OPEN(base_net_socket(AF_INET));
    USE(base_net_listen(fd[6], &v4.any, sizeof v4.v4, 1));
    USE(base_net_local_port(fd[6], &number));
    OPEN(base_net_socket(AF_INET6));
    USE(base_net_listen(fd[7], &v6.any, sizeof v6.v6, 1));
    while (n-- > 0) { base_fd_close(fd[n]); }
    base_net_unix_remove(port_path, &file);
    return e > 0 || e == -EADDRNOTAVAIL || e == -EAFNOSUPPORT ? 0 : e; /* no IPv6 here */
}

/* An armed EINTR is no call that the kernel interrupted: it is not repeated. */
T_CASE(each_armed_call_of_sockets_fails_with_its_error)
{
    static const char *const sites[] = { "socket", "fchmod", "bind", "listen", "setsockopt",
        "chown", "chmod", "getsockopt", "getsockname", "dup", "accept", "peercred", "epoll_create",
        "eventfd", "epoll_ctl", "send", "epoll_wait", "recv" };
    cellar_resp_config o = port_opts(&host);
    T_EQ_I64(use_sockets(), 0);
    for (size_t i = 0; i < 2 * sizeof sites / sizeof *sites; i++) {
        armed = i % 2 != 0 ? EINTR : EIO;
        for (uint64_t n = 1, calls = n; calls + 1 >= n; n++) {
            (void)base_fault_io_arm(sites[i / 2], armed, n, false);
            const int got = use_sockets();
            calls = base_fault_io_arm(sites[i / 2], 0, 0, false);
            T_EQ_I64(got, calls >= n ? -armed : 0);
            T_CHECK(access(o.unix_path, F_OK) != 0);
        }
    }
    base_net_file file;
    (void)base_fault_io_arm("bind", EADDRINUSE, 1, false); /* another process was faster */
    T_EQ_I64(base_net_unix(port_path, 1, &file), -EADDRINUSE);
    base_fd_close(base_net_unix(port_path, 1, &file)); /* leaves its file */
    for (int i = 0; i < 3; i++) {
        (void)base_fault_io_arm(i != 0 ? "connect" : "socket", i == 1 ? EINTR : EIO, 1, false);
        T_EQ_I64(base_net_unix(port_path, 1, &file), i != 0 ? -EADDRINUSE : -EIO);
        T_EQ_I64(base_net_unix_look(port_path, &file), 0);
    }
    (void)base_fault_io_arm(NULL, 0, 0, false);
    file.device++;
    T_EQ_I64(base_net_unix_look(port_path, &file), -EEXIST);
    T_EQ_I64(base_net_unix_look(port_folder, &file), -ENOENT);
}

/* ---- the end ---- */

static resp_kit k;

/* Read a client to its end. Return the bytes that came. */
static size_t rest_of(const resp_client_kit *c, char *text, size_t cap)
{
    size_t len = 0;
    for (ssize_t n; len + 1 < cap && (n = recv(c->fd, text + len, cap - len - 1, 0)) > 0;) {
        len += (size_t)n;
    }
    text[len] = '\0';
    return len;
}

static void send_all(const resp_client_kit *c, const char *text)
{
    T_EQ_I64(send(c->fd, text, strlen(text), MSG_NOSIGNAL), (int64_t)strlen(text));
}

T_CASE(requests_that_have_arrived_run_to_their_end)
{
    for (int started = 0; started < 2; started++) {
        resp_client_kit other, late;
        char text[256], value[8];
        size_t len = 0;
        rk_open(&k, true);
        T_REQUIRE(rc_connect(&other, port_path)); /* waits in the queue of the socket */
        if (started != 0) { T_EQ_I64(cellar_resp_start(k.port), CELLAR_OK); }
        send_all(&k.client, "SET a 1\r\nINCR a\r\nGET a\r\nSET half"); /* the last is incomplete */
        if (started != 0) { /* the thread has it when the first reply is there */
            T_EQ_I64(recv(k.client.fd, text, 1, MSG_PEEK), 1);
        } else {
            port_step();
        }
        send_all(&other, "PING\r\n");
        T_EQ_I64(cellar_resp_finish(k.port, 60000), CELLAR_OK);
        T_EQ_U64(rest_of(&k.client, text, sizeof text), 16);
        T_EQ_STR(text, "+OK\r\n:2\r\n$1\r\n2\r\n");
        T_CHECK(!rc_connect(&late, port_path));
        T_EQ_I64(cellar_get(k.db, "a", 1, value, sizeof value, &len), CELLAR_OK);
        T_EQ_U64(port_stats().clients, 0);
        (void)rest_of(&other, text, sizeof text);
        T_EQ_STR(text, "+PONG\r\n");
        T_EQ_I64(cellar_resp_finish(k.port, 0), CELLAR_OK); /* once more: nothing is left */
        rc_close(&other);
        rk_close(&k);
    }
}

T_CASE(pipeline_of_many_rounds_is_answered_in_full)
{
    enum { REQUESTS = 3000, BYTES = 40 }; /* more than one read brings */
    static char text[REQUESTS * BYTES + 1];
    rk_open(&k, true);
    for (int i = 0; i < REQUESTS; i++) {
        memcpy(text + i * BYTES, "SET a 012345678901234567890123456789xx\r\n", BYTES);
    }
    text[REQUESTS * BYTES] = '\0';
    send_all(&k.client, text);
    T_EQ_I64(cellar_resp_finish(k.port, 60000), CELLAR_OK);
    T_EQ_U64(rest_of(&k.client, text, sizeof text), REQUESTS * 5);
}

T_CASE(sender_without_a_pause_does_not_hold_the_end)
{
    static char text[4096 + 1];
    pid_t sender;
    rk_open(&k, true);
    memset(text, '\n', 4096); /* empty requests have no reply */
    sender = fork();
    for (ssize_t n = 1; sender == 0 && n > 0;) { n = send(k.client.fd, text, 4096, MSG_NOSIGNAL); }
    if (sender == 0) { _exit(0); }
    T_EQ_I64(cellar_resp_finish(k.port, 60000), CELLAR_OK);
    T_EQ_I64(waitpid(sender, NULL, 0), sender);
}

T_CASE(reader_that_does_not_read_ends_at_the_limit)
{
    static char value[4 << 20];
    rk_open(&k, true);
    memset(value, 'v', sizeof value);
    T_EQ_I64(cellar_set(k.db, "big", 3, value, 2 << 20, NULL), CELLAR_OK);
    send_all(&k.client, "*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n");
    T_EQ_I64(cellar_resp_finish(k.port, 20), CELLAR_E_TIMEOUT);
    T_EQ_I64(cellar_resp_finish(k.port, 0), CELLAR_E_TIMEOUT);
}

T_CASE(negative_limit_of_finish_is_refused)
{
    rk_open(&k, false);
    T_EQ_I64(cellar_resp_finish(k.port, -1), CELLAR_E_INVAL);
    T_EQ_STR(rk(&k, "PING", NULL), "+PONG"); /* still open */
}

T_MAIN("resp_open")
