/* SPDX-License-Identifier: MIT
 *
 * Aim:    wrong passwords delay the guesses of their address, and nothing else.
 * Method: a port without threads on loopback, clients from several addresses of it, on a clock that
 *         the test turns. */
#include <arpa/inet.h>
#include <netinet/in.h>

#include "tests/support/port_kit.h"
#include "tests/support/said.h"

#define RIGHT "AUTH \"" PORT_PASSWORD "\"\r\n"
#define WRONG "-WRONGPASS invalid username-password pair or user is disabled."
#define DELAYED WRONG " Too many wrong passwords from this address: AUTH waits for its turn.\r\n"
#define OF_PAGE(coded) "GET /metrics HTTP/1.1\r\nHost: a\r\nAuthorization: Basic " coded "\r\n\r\n"
#define PAGE OF_PAGE("bWU6c2l4dGVlbiBieXRlcyBvciBtb3Jl") /* me:PORT_PASSWORD */
#define TURN_MS 100

static cellar_host_config host;

static void guarded(cellar_resp_config *o)
{
    host = *o->host;
    host.log = listen_to;
    said[0] = '\0';
    o->host = &host;
    o->password = PORT_PASSWORD;
    o->admin = "127.0.0.1:0";
    o->port = CELLAR_RESP_PORT_ANY;
    o->listen = "127.0.0.1";
}

/* Connect from 127.0.0.`from`. */
static int from_to(uint32_t from, uint64_t to)
{
    struct sockaddr_in at = { .sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + from) };
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    T_REQUIRE(fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    at.sin_port = htons((uint16_t)to);
    T_REQUIRE(connect(fd, (struct sockaddr *)&at, sizeof at) == 0);
    port_run();
    return peer_ready(fd);
}

static int peer_from(uint32_t from) { return from_to(from, port_stats().port); }
static int visitor_from(uint32_t from) { return from_to(from, port_stats().admin_port); }

/* Give a password that no one gave before. */
static const char *guess(int fd)
{
    static uint32_t number;
    char text[32];
    (void)snprintf(text, sizeof text, "AUTH guess%u\r\n", (unsigned)number++);
    return ask(fd, text);
}

/* Give ten wrong passwords from an address: its delay begins. */
static void guess_ten(uint32_t from)
{
    for (int i = 0; i < 10; i++) {
        const int fd = peer_from(from);
        T_EQ_STR(guess(fd), "");
        close(fd);
        port_pass(1000); /* so that each is a line of the log */
    }
}

T_CASE(wrong_passwords_of_an_address_delay_no_other_client)
{
    port_begin_with(guarded);
    const int before = peer_from(2); /* of the same address: it is in */
    T_EQ_STR(ask(before, RIGHT), "+OK\r\n");
    guess_ten(2);
    const int other = peer_from(1), local = peer();
    T_EQ_STR(ask(other, RIGHT "PING\r\n"), "+OK\r\n+PONG\r\n");
    T_EQ_STR(ask(local, RIGHT "PING\r\n"), "+OK\r\n+PONG\r\n");
    T_EQ_STR(ask(before, RIGHT "PING\r\n"), "+OK\r\n+PONG\r\n");
    const int visitor = visitor_from(1);
    T_CHECK(strncmp(ask(visitor, PAGE), "HTTP/1.1 200 ", 13) == 0);
    T_EQ_U64(port_stats().rejected, 0);
    close(before), close(other), close(local), close(visitor);
}

T_CASE(right_password_is_let_in_within_the_delay)
{
    port_begin_with(guarded);
    guess_ten(2);
    const int fd = peer_from(2), visitor = visitor_from(2);
    T_EQ_STR(ask(fd, RIGHT "PING\r\n"), "");
    T_EQ_STR(ask(visitor, PAGE), "");
    port_pass(TURN_MS);
    T_EQ_STR(ask(fd, ""), "+OK\r\n+PONG\r\n");
    T_EQ_STR(ask(visitor, ""), "");
    port_pass(TURN_MS);
    T_CHECK(strncmp(ask(visitor, ""), "HTTP/1.1 200 ", 13) == 0);
    T_CHECK(strncmp(ask(visitor, PAGE), "HTTP/1.1 200 ", 13) == 0); /* it is known now */
    close(fd), close(visitor);
}

T_CASE(wrong_password_within_the_delay_closes_its_connection)
{
    bool closed;
    port_begin_with(guarded);
    guess_ten(2);
    const int fd = peer_from(2), visitor = visitor_from(2);
    T_EQ_STR(guess(fd), "");
    T_EQ_STR(ask(visitor, OF_PAGE("bWU6d3Jvbmc=")), ""); /* me:wrong */
    port_pass(TURN_MS - 1);
    T_EQ_STR(ask(fd, RIGHT), "");
    port_pass(1);
    T_EQ_STR(hear(fd, &closed), DELAYED);
    T_CHECK(closed);
    port_pass(TURN_MS);
    T_CHECK(strncmp(hear(visitor, &closed), "HTTP/1.1 401 ", 13) == 0 && closed);
    T_CHECK(strstr(port_heard, "Connection: close\r\n") != NULL);
    close(fd), close(visitor);
}

/* 40 connections guess as fast as the port lets them, and come again when they are closed. */
T_CASE(more_connections_make_no_more_guesses)
{
    enum { CONNECTIONS = 40, MS = 6000, STEP_MS = 10 };
    int fd[CONNECTIONS];
    uint32_t answers = 0;
    bool closed;
    port_begin_with(guarded);
    for (int i = 0; i < CONNECTIONS; i++) {
        fd[i] = peer_from(2);
        (void)guess(fd[i]);
    }
    const int friend = peer_from(2);
    T_EQ_STR(ask(friend, RIGHT), "");
    for (int ms = 0; ms < MS; ms += STEP_MS) {
        atomic_fetch_add(&api_now_ms, STEP_MS);
        (void)cellar_resp_step(port, 0);
        for (int i = 0; i < CONNECTIONS; i++) {
            if (recv(fd[i], port_heard, 1, MSG_PEEK) <= 0) { continue; }
            if (strncmp(hear(fd[i], &closed), "-WRONGPASS", 10) == 0) { answers++; }
            if (closed) {
                close(fd[i]);
                fd[i] = peer_from(2);
            }
            (void)guess(fd[i]);
        }
    }
    printf("# %u answers to guesses in 6 s\n", (unsigned)answers);
    T_CHECK(answers <= 10 + MS / TURN_MS);
    T_EQ_STR(ask(friend, "PING\r\n"), "+OK\r\n+PONG\r\n");
}

/* Programs that still have the old password after a change of it. */
T_CASE(old_password_delays_no_new_one)
{
    port_begin_with(guarded);
    for (int i = 0; i < 200; i++) {
        const int fd = peer();
        T_EQ_STR(ask(fd, i % 2 == 0 ? "AUTH old\r\n" : "AUTH older\r\n"), "");
        close(fd);
        port_pass(i < 2 ? 1000 : 250);
    }
    T_EQ_U64(port_stats().auth_failures, 200);
    const int fd = peer();
    T_EQ_STR(ask(fd, RIGHT), "+OK\r\n");
    T_EQ_I64(lines_with("wrong password from unix:"), 2); /* in 51.5 s */
}

T_CASE(delay_lasts_a_minute_and_is_one_line_of_the_log)
{
    port_begin_with(guarded);
    guess_ten(2);
    for (int i = 0; i < 20; i++) {
        const int fd = peer_from(2);
        T_EQ_STR(guess(fd), "");
        close(fd);
        port_pass(1000);
    }
    T_EQ_I64(lines_with("wrong password from 127.0.0.2:"), 9);
    T_EQ_I64(lines_with("10 wrong passwords from 127.0.0.2 within a minute: until "), 1);
    T_EQ_I64(lines_with("\n"), 10);
    port_pass(60000);
    const int fd = peer_from(2);
    T_EQ_STR(ask(fd, RIGHT), "+OK\r\n");
    close(fd);
    guess_ten(2);
    T_EQ_I64(lines_with("10 wrong passwords from 127.0.0.2 within a minute: until "), 2);
}

T_CASE(ten_wrong_passwords_over_more_than_a_minute_begin_no_delay)
{
    port_begin_with(guarded);
    for (int i = 0; i < 12; i++) {
        const int fd = peer_from(2);
        T_EQ_STR(guess(fd), "");
        close(fd);
        port_pass(7000);
    }
    const int fd = peer_from(2);
    T_EQ_STR(ask(fd, RIGHT), "+OK\r\n");
}

/* More addresses than the port remembers: the one that was silent longest is forgotten. */
T_CASE(addresses_beyond_the_table_are_served)
{
    port_begin_with(guarded);
    guess_ten(2);
    for (uint32_t i = 3; i < 66; i++) {
        const int fd = peer_from(i);
        T_EQ_STR(guess(fd), "");
        close(fd);
        port_pass(10);
    }
    int fd = peer_from(2);
    T_EQ_STR(ask(fd, RIGHT), ""); /* 64 addresses: it is remembered */
    close(fd);
    fd = peer_from(66);
    T_EQ_STR(guess(fd), "");
    close(fd);
    fd = peer_from(2);
    T_EQ_STR(ask(fd, RIGHT), "+OK\r\n");
}

/* Visitors that wait for answers to wrong passwords take no place of the pages. */
T_CASE(visitors_with_wrong_passwords_yield_their_places)
{
    int fd[16];
    port_begin_with(guarded);
    for (int i = 0; i < 16; i++) {
        fd[i] = visitor_from(2);
        T_EQ_STR(ask(fd[i], OF_PAGE("bWU6d3Jvbmc=")), "");
    }
    const int visitor = visitor_from(1);
    T_CHECK(strncmp(ask(visitor, PAGE), "HTTP/1.1 200 ", 13) == 0);
}

T_MAIN("resp_password")
