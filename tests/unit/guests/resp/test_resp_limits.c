/* SPDX-License-Identifier: MIT
 *
 * Aim:    clients that stop reading, stay idle or come in numbers cost a bounded
 *         amount, and no other client notices. Each failed allocation and each failed call on a
 *         socket ends one client at most.
 * Method: a port without threads on a socket file, on the clock of the test; fault points. */
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/support/port_kit.h"

#include "base/fault.h"
#include "cellar_admin.h"
#include "cellar_observe.h"

/* ---- time ---- */

T_CASE(idle_clients_are_closed_and_busy_ones_stay)
{
    port_begin();
    const int idle = peer(), busy = peer(), watcher = peer(), subscribed = peer();
    T_EQ_STR(ask(watcher, "MONITOR\r\n"), "+OK\r\n");
    (void)ask(subscribed, "SUBSCRIBE x\r\n");
    port_pass(200000);
    T_EQ_STR(ask(busy, "PING\r\n"), "+PONG\r\n");
    port_pass(99999);
    T_CHECK(!is_closed(idle));
    port_pass(1);
    T_CHECK(is_closed(idle) && !is_closed(busy) && !is_closed(watcher));
    T_EQ_U64(port_stats().idle_closed, 1);
    port_pass(300000);
    T_CHECK(is_closed(busy) && !is_closed(watcher) && !is_closed(subscribed));
    (void)ask(subscribed, "UNSUBSCRIBE\r\n");
    port_pass(300000);
    T_CHECK(is_closed(subscribed));
}

/* ---- ends ---- */

T_CASE(half_closed_client_gets_all_replies)
{
    enum { REQUESTS = 500 };
    port_begin();
    const int fd = peer();
    for (int i = 0; i < REQUESTS; i++) { T_CHECK(tell_text(fd, "PING\r\n")); }
    T_CHECK(tell_text(fd, "PIN")); /* the part of a request is dropped */
    T_EQ_I64(shutdown(fd, SHUT_WR), 0);
    T_CHECK(is_closed(fd));
    T_EQ_U64(port_heard_len, 7 * REQUESTS);
    T_EQ_U64(port_stats().clients, 0);
}

T_CASE(requests_of_a_client_that_left_run)
{
    port_begin();
    const int fd = peer();
    for (int i = 0; i < 500; i++) { T_CHECK(tell_text(fd, "PING\r\n")); }
    close(fd);
    port_run();
    T_EQ_U64(port_stats().clients, 0);
    T_CHECK(port_stats().commands >= 64);
}

T_CASE(close_drops_clients_in_every_state)
{
    port_begin();
    const int part = peer(), multi = peer(), watcher = peer(), deaf = peer();
    static char big[256 << 10];
    (void)ask(part, "*2\r\n$4\r\nECHO\r\n$900\r\nx");
    (void)ask(multi, "WATCH a\r\nMULTI\r\nPING\r\n");
    (void)ask(watcher, "MONITOR\r\n");
    memset(big, 'x', sizeof big);
    T_CHECK(tell_text(deaf, "*2\r\n$4\r\nECHO\r\n$262144\r\n"));
    T_CHECK(tell(deaf, big, sizeof big) && tell_text(deaf, "\r\n"));
    port_run();
    const int waiting = peer_connect(); /* not accepted yet */
    port_close();
    const int fds[] = { part, multi, watcher, deaf, waiting };
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        ssize_t got;
        do { got = recv(fds[i], big, sizeof big, 0); } while (got > 0);
        T_CHECK(got == 0 || errno == ECONNRESET);
        close(fds[i]);
    }
}

/* ---- a reader that stops ---- */

/* Ask for `count` replies of 256 KiB without reading one. Stop when the port reads no more. */
static void fill(int fd, int count)
{
    static char in[(256 << 10) + 64];
    const size_t bytes = 256 << 10;
    const size_t head = (size_t)snprintf(in, sizeof in, "*2\r\n$4\r\nECHO\r\n$%zu\r\n", bytes);
    memset(in + head, 'x', bytes);
    memcpy(in + head + bytes, "\r\n", 2);
    for (size_t sent = 0, one = head + bytes + 2, all = one * (size_t)count; sent < all;) {
        const ssize_t put = send(fd, in + sent % one, one - sent % one, MSG_NOSIGNAL);
        const uint64_t before = port_stats().bytes_in;
        port_run();
        if (put > 0) {
            sent += (size_t)put;
        } else if (port_stats().bytes_in == before) {
            return;
        }
    }
}

T_CASE(reader_that_stops_is_not_read)
{
    port_begin();
    const int deaf = peer(), other = peer();
    fill(deaf, 100);
    T_CHECK(port_stats().bytes < 3u << 20); /* of 25 MiB */
    T_EQ_STR(ask(other, "PING\r\n"), "+PONG\r\n");
    T_EQ_I64(cellar_resp_step(port, 0), CELLAR_OK); /* nothing is due: no spin */
    T_EQ_U64(port_stats().clients, 2);
    port_pass(300000); /* it neither reads nor sends: idle */
    T_EQ_U64(port_stats().clients, 0);
}

/* ---- numbers ---- */

static void many(cellar_resp_config *o) { o->max_clients = 1000; }

T_CASE(thousand_idle_clients_are_cheap)
{
    static int fds[1000];
    struct rlimit limit;
    T_REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    T_REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    if (limit.rlim_cur < 2100) {
        T_SKIP("fewer than 2,100 descriptors");
        return;
    }
    port_begin_with(many);
    const uint64_t empty = port_stats().bytes;
    for (int i = 0; i < 1000; i++) { /* 200 at a time: more than a turn takes */
        fds[i] = i % 200 != 199 ? peer_connect() : peer();
    }
    T_EQ_U64(port_stats().clients, 1000);
    for (int i = 0; i < 1000; i++) { T_EQ_STR(ask(fds[i], "PING\r\n"), "+PONG\r\n"); }
    T_CHECK(port_stats().bytes - empty < 1000 * 2048 + (256 << 10)); /* 2 KiB each */
    T_EQ_I64(cellar_resp_step(port, 0), CELLAR_OK);
    const int more = peer();
    T_EQ_STR(ask(more, ""), "-ERR max number of clients reached\r\n");
    T_CHECK(is_closed(more));
    close(more);
    close(fds[999]);
    port_run();
    fds[999] = peer();
    T_EQ_STR(ask(fds[999], "PING\r\n"), "+PONG\r\n");
    for (int i = 0; i < 1000; i++) { close(fds[i]); }
    port_run();
    T_EQ_U64(port_stats().clients, 0);
}

static void with_password(cellar_resp_config *o) { o->password = PORT_PASSWORD; }

/* Return whether the port asks for a step. */
static bool port_wants(void)
{
    struct pollfd p = { .fd = cellar_resp_fd(port), .events = POLLIN };
    return poll(&p, 1, 0) != 0;
}

/* Epoll tells the same event again as long as it lasts: a client that waits for the peer or for time
 * must not be one of them. */
T_CASE(clients_that_wait_cause_no_spin)
{
    bool closed;
    port_begin_with(with_password);
    const int idle = peer(), begun = peer(), held = peer(), half = peer(), deaf = peer();
    T_EQ_STR(ask(begun, "*2\r\n$3\r\nGE"), ""); /* half a request */
    T_CHECK(!port_wants());
    (void)tell_text(held, "AUTH wrong\r\n"); /* held for 250 ms, with more to read, then hung up */
    port_run();
    (void)tell_text(held, "PING\r\n");
    port_run();
    T_CHECK(!port_wants());
    T_EQ_STR(ask(deaf, "AUTH \"" PORT_PASSWORD "\"\r\n"), "+OK\r\n");
    fill(deaf, 200); /* reads none of its replies */
    port_run();
    T_CHECK(!port_wants());
    (void)shutdown(deaf, SHUT_WR); /* its replies are still unread */
    port_run();
    T_CHECK(!port_wants());
    T_EQ_STR(ask(half, "*1\r\n"), "");
    (void)shutdown(half, SHUT_WR); /* in the middle of a request */
    port_run();
    (void)hear(half, &closed);
    T_CHECK(closed && !port_wants());
    close(held);
    port_run();
    T_CHECK(!port_wants());
    close(deaf);
    port_run();
    T_CHECK(!port_wants());
    T_EQ_U64(port_stats().clients, 2);
    close(idle);
    close(begun);
    close(half);
    port_run();
}

static void little_memory(cellar_resp_config *o) { o->resp_buffer_bytes = 1u << 20; }

T_CASE(request_beyond_the_memory_of_the_port_gets_oom)
{
    static char big[128 << 10];
    bool closed;
    memset(big, 'x', sizeof big);
    port_begin_with(little_memory);
    const int fd = peer(), other = peer();
    T_CHECK(tell_text(fd, "*2\r\n$4\r\nECHO\r\n$4194304\r\n"));
    for (int i = 0; i < 32; i++) { (void)tell(fd, big, sizeof big); }
    port_run();
    T_EQ_STR(hear(fd, &closed), "-OOM command not allowed when used memory > 'maxmemory'.\r\n");
    T_EQ_STR(ask(other, "PING\r\n"), "+PONG\r\n");
    port_pass(2000);
    T_EQ_U64(port_stats().clients, 1);
    T_CHECK(port_stats().memory_closed >= 1);
}

static uint64_t store_used(void)
{
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(port_store, CELLAR_SCOPE_STORE, &st), CELLAR_OK);
    return st.used_bytes;
}

/* Send `mib` of the argument of an ECHO of 60 MiB. */
static void send_part(int fd, int mib)
{
    static char part[1 << 20];
    memset(part, 'x', sizeof part);
    T_CHECK(tell_text(fd, "*2\r\n$4\r\nECHO\r\n$62914560\r\n"));
    for (int i = 0; i < mib && tell(fd, part, sizeof part); i++) { port_run(); }
}

static void much_memory(cellar_resp_config *o) { o->resp_buffer_bytes = 256u << 20; }

T_CASE(requests_count_in_the_budget_of_the_store)
{
    port_begin_with(much_memory);
    const uint64_t before = store_used();
    const int fd = peer(), other = peer();
    send_part(fd, 4);
    T_CHECK(store_used() >= before + (4 << 20));
    T_CHECK(strstr(ask(other, "CONFIG SET maxmemory 5mb\r\n"), "cannot have this size") != NULL);
    T_EQ_STR(ask(other, "CONFIG SET maxmemory 16mb\r\n"), "+OK\r\n");
    close(fd);
    port_run();
    T_CHECK(store_used() <= before + (1 << 20)); /* what the port keeps */
    T_EQ_STR(ask(other, "CONFIG SET maxmemory 5mb\r\n"), "+OK\r\n");
    close(other);
    port_close();
    T_EQ_I64(cellar_memory_charge(port_store, -1), CELLAR_E_INVAL); /* nothing is left */
}

T_CASE(request_beyond_the_budget_gets_oom)
{
    port_begin_with(much_memory); /* a store of 16 MiB */
    const int fd = peer(), other = peer();
    send_part(fd, 40);
    bool closed;
    T_EQ_STR(hear(fd, &closed), "-OOM command not allowed when used memory > 'maxmemory'.\r\n");
    T_EQ_U64(port_stats().memory_closed, 1);
    T_EQ_STR(ask(other, "SET a 1\r\n"), "+OK\r\n");
}

/* ---- faults ---- */

/* Connect, talk, leave. Nothing is expected of the replies: faults are armed. */
static void visit(void)
{
    static char big[40 << 10];
    memset(big, 'x', sizeof big);
    const int fd = peer_connect();
    (void)cellar_resp_step(port, 0);
    (void)tell_text(fd, "PING\r\nWATCH a\r\nMULTI\r\nECHO x\r\nEXEC\r\nCLIENT LIST\r\nMONITOR\r\n");
    (void)cellar_resp_step(port, 0);
    if (tell_text(fd, "*2\r\n$4\r\nECHO\r\n$40960\r\n") && tell(fd, big, sizeof big)) {
        (void)tell_text(fd, "\r\n");
    }
    for (int i = 0; i < 8; i++) { (void)cellar_resp_step(port, 0); }
    close(fd);
    for (int i = 0; i < 4; i++) { (void)cellar_resp_step(port, 0); }
}

T_CASE(each_failed_allocation_ends_one_client_at_most)
{
    port_begin();
    const int other = peer();
    visit();
    (void)base_fault_alloc_arm(0, false);
    visit();
    const uint64_t all = base_fault_alloc_arm(0, false);
    T_CHECK(all > 4);
    for (uint64_t i = 1; i <= all + 2; i++) {
        (void)base_fault_alloc_arm(i, false);
        visit();
        (void)base_fault_alloc_arm(0, false);
        T_EQ_STR(ask(other, "PING\r\n"), "+PONG\r\n");
        port_pass(2000);
        T_EQ_U64(port_stats().clients, 1);
    }
}

T_CASE(each_failed_socket_call_ends_one_client_at_most)
{
    static const struct { const char *site; int error; } rows[] = {
        { "accept", EMFILE }, { "accept", ECONNABORTED }, { "accept", EPERM }, { "recv", EIO },
        { "recv", ECONNRESET }, { "recv", EAGAIN }, { "send", EPIPE }, { "send", EAGAIN },
        { "peercred", EINVAL }, { "epoll_ctl", ENOMEM }, { "epoll_wait", EINVAL } };
    port_begin();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        (void)base_fault_io_arm(rows[i].site, 0, 0, false);
        visit();
        const uint64_t all = base_fault_io_arm(rows[i].site, 0, 0, false);
        T_CHECK(all > 0);
        for (uint64_t n = 1; n <= all; n++) {
            (void)base_fault_io_arm(rows[i].site, rows[i].error, n, false);
            visit();
            (void)base_fault_io_arm(rows[i].site, 0, 0, false);
            port_pass(2000);
            const int fd = peer();
            T_EQ_STR(ask(fd, "PING\r\n"), "+PONG\r\n");
            close(fd);
            port_run();
            T_EQ_U64(port_stats().clients, 0);
        }
    }
}

T_CASE(accept_without_descriptors_pauses)
{
    port_begin();
    const int other = peer();
    (void)base_fault_io_arm("accept", EMFILE, 1, true);
    const int fd = peer_connect();
    for (int i = 0; i < 50; i++) { T_EQ_I64(cellar_resp_step(port, 0), CELLAR_OK); }
    T_EQ_U64(base_fault_io_arm("accept", EMFILE, 1, true), 1); /* one try in 50 rounds */
    T_EQ_STR(ask(other, "PING\r\n"), "+PONG\r\n");
    port_pass(100);
    T_EQ_U64(base_fault_io_arm("accept", 0, 0, false), 1);
    T_EQ_U64(port_stats().accept_pauses, 2);
    port_pass(100);
    T_EQ_STR(ask(fd, "PING\r\n"), "+PONG\r\n");
}

static _Atomic int pipes_broken;
static void pipe_broke(int signal)
{
    (void)signal;
    pipes_broken++;
}

T_CASE(closed_peer_raises_no_signal)
{
    void (*before)(int) = signal(SIGPIPE, pipe_broke);
    port_begin();
    const int watcher = peer(), fd = peer();
    T_EQ_STR(ask(watcher, "MONITOR\r\n"), "+OK\r\n");
    close(watcher);
    T_CHECK(tell_text(fd, "PING\r\n"));
    port_run();
    T_EQ_I64(pipes_broken, 0);
    T_EQ_U64(port_stats().clients, 1);
    close(fd);
    port_end();
    (void)signal(SIGPIPE, before);
}

/* ---- fork ---- */

T_CASE(child_has_no_port_and_leaves_that_of_the_parent_alone)
{
    port_begin();
    const int fd = peer();
    T_EQ_STR(ask(fd, "PING\r\n"), "+PONG\r\n");
    const pid_t child = fork();
    T_REQUIRE(child >= 0);
    if (child == 0) {
        const bool ok = cellar_resp_step(port, 0) == CELLAR_E_FORKED &&
                        cellar_resp_start(port) == CELLAR_E_FORKED && cellar_resp_fd(port) == -1;
        port_close();
        _exit(ok ? 0 : 1);
    }
    int status = -1;
    T_EQ_I64(waitpid(child, &status, 0), child);
    T_EQ_I64(status, 0);
    T_EQ_I64(access(port_path, F_OK), 0);
    T_EQ_STR(ask(fd, "PING\r\n"), "+PONG\r\n");
    const int other = peer();
    T_EQ_STR(ask(other, "PING\r\n"), "+PONG\r\n");
}

T_CASE(child_of_a_child_keeps_its_descriptors)
{
    port_begin();
    (void)peer();
    const pid_t child = fork();
    T_REQUIRE(child >= 0);
    if (child == 0) {
        int own[16]; /* among them the numbers that the sockets had */
        for (int i = 0; i < 16; i++) { own[i] = dup(0); }
        const pid_t second = fork();
        if (second == 0) {
            int lost = 0;
            for (int i = 0; i < 16; i++) { lost += fcntl(own[i], F_GETFD) < 0; }
            _exit(lost);
        }
        int status = -1;
        _exit(waitpid(second, &status, 0) == second && status == 0 ? 0 : 1);
    }
    int status = -1;
    T_EQ_I64(waitpid(child, &status, 0), child);
    T_EQ_I64(status, 0);
}

/* The child of a fork that fell between accept and close has such a copy. */
T_CASE(copy_of_a_closed_socket_keeps_neither_connection_nor_event)
{
    port_begin();
    const int fd = peer_connect(), next = dup(fd);
    close(next);
    port_run();
    const int copy = dup(next); /* accept took the lowest free number */
    T_REQUIRE(copy >= 0);
    T_EQ_STR(ask(fd, "QUIT\r\n"), "+OK\r\n");
    T_CHECK(is_closed(fd));
    T_EQ_U64(port_stats().clients, 0);
    struct pollfd at = { .fd = cellar_resp_fd(port), .events = POLLIN };
    T_EQ_I64(poll(&at, 1, 0), 0); /* no event names the client that is freed */
    close(copy);
}

T_ONE_THREAD;
T_MAIN("resp_limits")
