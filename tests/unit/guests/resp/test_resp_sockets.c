/* SPDX-License-Identifier: MIT
 *
 * Aim:    a port serves sockets that the program was given: one of each family, with the rules of
 *         addresses and peers; clients wait there while no port is open.
 * Method: sockets of the test in place of those of a manager of services; steps of the test. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/stat.h>

#include "tests/support/port_kit.h"

#include "base/fault.h"

enum { V4, V6, UNIX, FAMILIES };

static cellar_host_config host;
static int held[FAMILIES + 2]; /* -1 ends the list */

/* Listen on a free port of an address; NULL: on the socket file of the test. -1: no such family. */
static int listen_on(const char *address)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un local;
    } at = { .any = { .sa_family = AF_UNIX } };
    if (address == NULL) {
        memcpy(at.local.sun_path, port_path, strlen(port_path));
    } else if (inet_pton(AF_INET6, address, &at.v6.sin6_addr) == 1) {
        at.any.sa_family = AF_INET6;
    } else {
        T_REQUIRE(inet_pton(AF_INET, address, &at.v4.sin_addr) == 1);
        at.any.sa_family = AF_INET;
    }
    const int fd = socket(at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, &at.any, sizeof at.local) == 0 && listen(fd, 16) == 0) { return fd; }
    if (fd >= 0) { close(fd); }
    return -1;
}

/* Connect to a socket that listens. The port has not accepted yet. */
static int dial(int to)
{
    struct sockaddr_storage at;
    socklen_t len = sizeof at;
    T_REQUIRE(getsockname(to, (struct sockaddr *)&at, &len) == 0);
    const int fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    T_REQUIRE(fd >= 0 && connect(fd, (struct sockaddr *)&at, len) == 0);
    T_REQUIRE(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    return fd;
}

/* Return options for a list of sockets. */
static cellar_resp_config inherits(const int *list)
{
    cellar_resp_config o = port_opts(&host);
    o.unix_path = NULL;
    o.listen_fds = list;
    return o;
}

static void refused(const cellar_resp_config *o, cellar_err code, const char *why)
{
    cellar_error_info info = cellar_error_info_default();
    T_EQ_I64(cellar_resp_open(port_store, o, &port), code);
    T_CHECK(port == NULL);
    T_EQ_I64(cellar_last_error(NULL, &info), CELLAR_OK);
    if (strstr(info.text, why) == NULL) { T_EQ_STR(info.text, why); }
}

static void finish_and_close(void)
{
    T_EQ_I64(cellar_resp_finish(port, 60000), CELLAR_OK);
    port_close();
}

static void end(void)
{
    for (int *fd = held; *fd >= 0; fd++) { close(*fd); }
    (void)unlink(port_path);
    port_end();
}

T_CASE(each_family_is_served_and_the_sockets_outlive_the_port)
{
    port_store_open();
    const cellar_resp_config o = inherits(held);
    size_t n = 0;
    held[n++] = listen_on("127.0.0.1");
    T_REQUIRE(held[0] >= 0);
    held[n] = listen_on("::1");
    if (held[n] >= 0) { n++; } else { printf("# no IPv6 loopback here\n"); }
    held[n++] = listen_on(NULL);
    held[n] = -1;
    for (int life = 0; life < 3; life++) {
        T_EQ_I64(cellar_resp_open(port_store, &o, &port), CELLAR_OK);
        T_CHECK(port_stats().port > 0);
        for (size_t i = 0; i < n; i++) {
            const int fd = dial(held[i]);
            T_EQ_STR(ask(fd, "PING\r\n"), "+PONG\r\n");
            T_CHECK(strstr(ask(fd, "CLIENT INFO\r\n"),
                           i + 1 == n ? port_path : i == 0 ? " addr=127.0.0.1:" : " addr=[::1]:"));
            close(fd);
        }
        finish_and_close();
        T_EQ_I64(access(port_path, F_OK), 0);
    }
    end();
}

/* Workers of two ports would not hear each other. */
T_CASE(port_with_a_shared_store_leaves_its_clients_to_the_one_with_its_file)
{
    port_store_open();
    cellar_resp_config o = inherits(held), other = port_opts(&host);
    cellar_resp *first;
    o.shared_bytes = other.shared_bytes = 8u << 20;
    held[0] = listen_on(NULL);
    held[1] = -1;
    T_EQ_I64(cellar_resp_open(port_store, &o, &port), CELLAR_OK);
    const int a = dial(held[0]);
    T_EQ_STR(ask(a, "PING\r\n"), "+PONG\r\n");
    first = port;
    T_EQ_I64(unlink(port_path), 0);
    T_REQUIRE(cellar_resp_open(port_store, &other, &port) == CELLAR_OK);
    const int b = peer();
    T_EQ_STR(ask(b, "PING\r\n"), "+PONG\r\n");
    atomic_fetch_add(&api_now_ms, 101);
    for (int i = 0; i < 3; i++) { T_CHECK(cellar_resp_step(first, 0) >= CELLAR_OK); }
    T_CHECK(is_closed(a) && !is_closed(b));
    cellar_resp_close(first);
    T_EQ_I64(access(port_path, F_OK), 0);
    close(a);
    close(b);
    end();
}

T_CASE(client_that_waits_is_served_by_the_next_port)
{
    char reply[16] = "";
    port_store_open();
    const cellar_resp_config o = inherits(held);
    held[0] = listen_on(NULL);
    held[1] = -1;
    T_EQ_I64(cellar_resp_open(port_store, &o, &port), CELLAR_OK);
    const int waits = dial(held[0]);
    T_CHECK(tell_text(waits, "PING\r\n"));
    finish_and_close(); /* has accepted nothing */
    T_EQ_I64(recv(waits, reply, sizeof reply, 0), -1);
    T_EQ_I64(errno, EAGAIN);
    T_EQ_I64(cellar_resp_open(port_store, &o, &port), CELLAR_OK);
    port_run();
    T_EQ_I64(recv(waits, reply, sizeof reply, 0), 7);
    finish_and_close();
    close(waits);
    end();
}

static void *finish_in_a_thread(void *none)
{
    T_EQ_I64(cellar_resp_finish(port, 60000), CELLAR_OK);
    return none;
}

/* A client between its connect and its first request would see a connection without a reply. */
T_CASE(first_request_of_an_accepted_client_is_waited_for)
{
    port_store_open();
    const cellar_resp_config o = inherits(held);
    held[0] = listen_on(NULL);
    held[1] = -1;
    T_EQ_I64(cellar_resp_open(port_store, &o, &port), CELLAR_OK);
    const int young = dial(held[0]);
    port_run(); /* accepts it */
    pthread_t id;
    T_REQUIRE(pthread_create(&id, NULL, finish_in_a_thread, NULL) == 0);
    struct pollfd p = { .fd = young, .events = POLLIN };
    T_EQ_I64(poll(&p, 1, 50), 0); /* not closed; a pause only adds to it */
    char reply[16] = "";
    T_EQ_I64(send(young, "PING\r\n", 6, MSG_NOSIGNAL), 6);
    pthread_join(id, NULL);
    T_EQ_I64(recv(young, reply, sizeof reply - 1, 0), 7);
    T_EQ_STR(reply, "+PONG\r\n");
    close(young);
    port_close();
    T_EQ_I64(cellar_resp_open(port_store, &o, &port), CELLAR_OK);
    const int silent = dial(held[0]);
    port_run();
    api_now_ms += 1000; /* connected a second ago */
    finish_and_close();
    close(silent);
    end();
}

T_CASE(finished_port_watches_its_sockets_no_more)
{
    struct pollfd p = { .events = POLLIN };
    port_store_open();
    const cellar_resp_config o = inherits(held);
    held[0] = listen_on(NULL);
    held[1] = -1;
    T_EQ_I64(cellar_resp_open(port_store, &o, &port), CELLAR_OK);
    T_EQ_I64(cellar_resp_finish(port, 60000), CELLAR_OK);
    const int waits = dial(held[0]);
    p.fd = cellar_resp_fd(port);
    T_EQ_I64(poll(&p, 1, 0), 0);
    port_close();
    close(waits);
    end();
}

T_CASE(descriptor_that_does_not_listen_is_refused)
{
    int pair[2], list[] = { -1, -1 };
    port_store_open();
    cellar_resp_config o = inherits(list);
    held[0] = -1;
    const int bound = listen_on(NULL);
    const int client = dial(bound);
    const int bad[] = { open("/dev/null", O_RDONLY), socket(AF_UNIX, SOCK_STREAM, 0),
                        socket(AF_INET, SOCK_DGRAM, 0), client, 1 << 20 };
    T_EQ_I64(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        list[0] = bad[i];
        refused(&o, CELLAR_E_INVAL, "a descriptor of listen_fds does not listen for streams");
    }
    list[0] = pair[0];
    refused(&o, CELLAR_E_INVAL, "a descriptor of listen_fds does not listen for streams");
    list[0] = -1;
    refused(&o, CELLAR_E_INVAL, "give unix_path, port, listen_fds or admin");
    for (size_t i = 0; i < 4; i++) { close(bad[i]); }
    close(pair[0]);
    close(pair[1]);
    close(bound);
    end();
}

T_CASE(second_socket_of_a_family_is_refused)
{
    port_store_open();
    const cellar_resp_config o = inherits(held);
    held[0] = listen_on("127.0.0.1");
    held[1] = listen_on(NULL);
    held[2] = listen_on("127.0.0.1");
    held[3] = -1;
    refused(&o, CELLAR_E_INVAL, "listen_fds has two sockets of one family");
    const int input = fcntl(0, F_DUPFD_CLOEXEC, 0);
    T_REQUIRE(input > 0 && close(0) == 0); /* 0 is the copy of the first one */
    refused(&o, CELLAR_E_INVAL, "listen_fds has two sockets of one family");
    T_EQ_I64(dup2(input, 0), 0);
    close(input);
    end();
}

T_CASE(sockets_stand_in_place_of_unix_path_and_port)
{
    port_store_open();
    cellar_resp_config o = inherits(held);
    held[0] = listen_on(NULL);
    held[1] = -1;
    o.unix_path = "/tmp/none";
    refused(&o, CELLAR_E_INVAL, "listen_fds stands in place of unix_path and port");
    o.unix_path = NULL;
    o.port = CELLAR_RESP_PORT_ANY;
    refused(&o, CELLAR_E_INVAL, "listen_fds stands in place of unix_path and port");
    end();
}

T_CASE(socket_of_a_public_address_needs_consent_and_a_long_password)
{
    port_store_open();
    cellar_resp_config o = inherits(held);
    held[0] = listen_on(NULL);
    held[1] = listen_on("0.0.0.0");
    held[2] = -1;
    refused(&o, CELLAR_E_DENIED, "public address");
    o.listen_public = 1;
    refused(&o, CELLAR_E_DENIED, "at least 16 bytes");
    o.password = "fifteen bytes..";
    refused(&o, CELLAR_E_DENIED, "at least 16 bytes");
    o.password = PORT_PASSWORD;
    T_EQ_I64(cellar_resp_open(port_store, &o, &port), CELLAR_OK);
    port_close();
    end();
}

/* The kernel names the user of a peer: a fault there stands for another user. */
T_CASE(unix_socket_serves_its_user_alone)
{
    bool closed;
    port_store_open();
    cellar_resp_config o = inherits(held);
    held[0] = listen_on(NULL);
    held[1] = -1;
    o.unix_group = "0";
    for (int i = 0; i < 2; i++, o.unix_group = NULL) {
        T_EQ_I64(cellar_resp_open(port_store, &o, &port), CELLAR_OK);
        const int stranger = dial(held[0]);
        (void)base_fault_io_arm("peercred", EPERM, 1, true);
        port_run();
        (void)base_fault_io_arm("peercred", 0, 0, false);
        (void)hear(stranger, &closed);
        T_CHECK(closed);
        T_EQ_U64(port_stats().rejected, 1);
        const int own = dial(held[0]);
        T_EQ_STR(ask(own, "PING\r\n"), "+PONG\r\n");
        close(own);
        close(stranger);
        port_close();
    }
    end();
}

T_CASE(every_failure_of_open_leaves_the_sockets)
{
    static const char *const sites[] = { "getsockopt", "getsockname", "dup" };
    port_store_open();
    const cellar_resp_config o = inherits(held);
    held[0] = listen_on("127.0.0.1");
    held[1] = listen_on(NULL);
    held[2] = -1;
    for (size_t i = 0; i < sizeof sites / sizeof *sites; i++) {
        for (uint64_t n = 1, calls = n; calls >= n && n < 20; n++) {
            (void)base_fault_io_arm(sites[i], EIO, n, false);
            const cellar_err err = cellar_resp_open(port_store, &o, &port);
            calls = base_fault_io_arm(sites[i], 0, 0, false);
            T_CHECK(err == CELLAR_E_INVAL || err == CELLAR_E_IO || err == CELLAR_OK);
            port_close();
        }
    }
    T_EQ_I64(cellar_resp_open(port_store, &o, &port), CELLAR_OK);
    const int fd = dial(held[0]);
    T_EQ_STR(ask(fd, "PING\r\n"), "+PONG\r\n");
    close(fd);
    port_close();
    end();
}

T_MAIN("resp_sockets")
