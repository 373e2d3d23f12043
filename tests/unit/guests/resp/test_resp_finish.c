/* SPDX-License-Identifier: MIT
 *
 * Aim:    cellar_resp_finish runs what has arrived, sends the replies, closes the clients, and ends
 *         at its limit.
 * Method: clients of a unix socket in the thread of the test, which sends before the call and reads
 *         after it. */
#include "tests/support/port_kit.h"
#include "tests/support/t.h"

#include <sys/wait.h>
#include <unistd.h>

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
        cellar_resp_stats st = cellar_resp_stats_default();
        T_EQ_I64(cellar_resp_stats_get(k.port, &st), CELLAR_OK);
        T_EQ_U64(st.clients, 0);
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

T_CASE(bad_arguments_are_refused)
{
    T_EQ_I64(cellar_resp_finish(NULL, 0), CELLAR_E_INVAL);
    rk_open(&k, false);
    T_EQ_I64(cellar_resp_finish(k.port, -1), CELLAR_E_INVAL);
    T_EQ_STR(rk(&k, "PING", NULL), "+PONG"); /* still open */
}

T_MAIN("resp_finish")
