/* SPDX-License-Identifier: MIT
 *
 * Aim:    sessions: databases, protocols, passwords, names, transactions, MONITOR, SLOWLOG. GETs of
 *         one client that are looked up together answer like single ones: in order, with values of
 *         any length, beside other commands, errors and ends.
 * Method: a port without threads on a socket file. The process changes keys beside the port. */
#include "cellar_invalidate.h"
#include "tests/support/port_kit.h"

#include "cellar_observe.h"

#define OK "+OK\r\n"

T_CASE(ping_echo_quit_and_reset)
{
    port_begin();
    const int fd = peer();
    T_EQ_STR(ask(fd, "PING\r\nPING hi\r\nPING a b\r\nECHO x\r\n"),
             "+PONG\r\n$2\r\nhi\r\n-ERR wrong number of arguments for 'ping' command\r\n"
             "$1\r\nx\r\n");
    T_EQ_STR(ask(fd, "SELECT 3\r\nCLIENT SETNAME me\r\nMULTI\r\nRESET\r\nCLIENT GETNAME\r\n"),
             "+OK\r\n+OK\r\n+OK\r\n+RESET\r\n$-1\r\n");
    T_EQ_STR(ask(fd, "EXEC\r\n"), "-ERR EXEC without MULTI\r\n");
    T_EQ_STR(ask(fd, "QUIT\r\nPING\r\n"), "+OK\r\n");
    T_CHECK(is_closed(fd));
}

T_CASE(databases_are_numbers_below_16)
{
    port_begin();
    const int fd = peer();
#define RANGE "-ERR DB index is out of range\r\n"
#define INTEGER "-ERR value is not an integer or out of range\r\n"
    T_EQ_STR(ask(fd, "SELECT 15\r\nSELECT 0\r\nSELECT 16\r\nSELECT -1\r\n"), OK OK RANGE RANGE);
    T_EQ_STR(ask(fd, "SELECT x\r\nSELECT 01\r\nSELECT 99999999999999999999\r\n"),
             INTEGER INTEGER INTEGER);
}

T_CASE(hello_switches_the_protocol)
{
    port_begin();
    const int fd = peer();
    T_CHECK(strncmp(ask(fd, "HELLO\r\n"), "*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n", 28) == 0);
    T_CHECK(strncmp(ask(fd, "HELLO 3 SETNAME me\r\n"), "%7\r\n$6\r\nserver\r\n", 16) == 0);
    T_CHECK(strstr(port_heard, "$7\r\nversion\r\n$5\r\n7.0.0\r\n$5\r\nproto\r\n:3\r\n") != NULL);
    T_EQ_STR(ask(fd, "CLIENT GETNAME\r\n"), "$2\r\nme\r\n");
    T_CHECK(strncmp(ask(fd, "RESET\r\nHELLO 3\r\n"), "+RESET\r\n%7\r\n", 12) == 0);
    T_EQ_STR(ask(fd, "CLIENT GETNAME\r\n"), "_\r\n");
    T_EQ_STR(ask(fd, "WATCH k\r\nMULTI\r\nEXEC\r\n"), "+OK\r\n+OK\r\n*0\r\n");
    T_EQ_STR(ask(fd, "HELLO 4\r\nHELLO 1\r\n"), "-NOPROTO unsupported protocol version\r\n"
                                                 "-NOPROTO unsupported protocol version\r\n");
    T_EQ_STR(ask(fd, "HELLO x\r\n"),
             "-ERR Protocol version is not an integer or out of range\r\n");
    T_EQ_STR(ask(fd, "HELLO 2 FOO\r\n"), "-ERR Syntax error in HELLO option 'FOO'\r\n");
    T_EQ_STR(ask(fd, "HELLO 2 SETNAME\r\n"), "-ERR Syntax error in HELLO option 'SETNAME'\r\n");
    T_EQ_STR(ask(fd, "HELLO 2 SETNAME \"a b\"\r\n"),
             "-ERR Client names cannot contain spaces, newlines or special characters.\r\n");
}

/* ---- the password ---- */

#define AUTH "AUTH \"" PORT_PASSWORD "\"\r\n"
#define NOAUTH "-NOAUTH Authentication required.\r\n"

static void with_password(cellar_resp_config *o) { o->password = PORT_PASSWORD; }

T_CASE(commands_need_the_password)
{
    port_begin_with(with_password);
    const int fd = peer();
    T_EQ_STR(ask(fd, "PING\r\n"), NOAUTH);
    T_EQ_STR(ask(fd, "COMMAND\r\n"), NOAUTH);
    T_CHECK(strncmp(ask(fd, "HELLO 3\r\n"), "-NOAUTH HELLO must be called", 28) == 0);
    T_EQ_STR(ask(fd, AUTH), "+OK\r\n");
    T_EQ_STR(ask(fd, "PING\r\n"), "+PONG\r\n");
    T_EQ_STR(ask(fd, "RESET\r\nPING\r\n"), "+RESET\r\n" NOAUTH);
    T_EQ_STR(ask(fd, "AUTH default \"" PORT_PASSWORD "\"\r\n"), "+OK\r\n");
    T_EQ_STR(ask(fd, "AUTH a b c\r\n"), "-ERR syntax error\r\n");
    close(fd);
    const int other = peer();
    T_CHECK(strncmp(ask(other, "HELLO 3 AUTH default \"" PORT_PASSWORD "\"\r\n"), "%7\r\n", 4) == 0);
    T_EQ_STR(ask(other, "PING\r\n"), "+PONG\r\n");
}

T_CASE(port_without_password_refuses_auth)
{
    port_begin();
    const int fd = peer();
    T_CHECK(strncmp(ask(fd, "AUTH x\r\n"), "-ERR AUTH <password> called without any", 39) == 0);
    T_EQ_STR(ask(fd, "AUTH default x\r\n"), "+OK\r\n");
    for (int i = 0; i < 12; i++) { /* there is nothing to guess */
        T_EQ_STR(ask(fd, "AUTH other x\r\n"),
                 "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    }
    T_EQ_U64(port_stats().auth_failures, 0);
    close(fd);
    T_EQ_STR(ask(peer(), "PING\r\n"), "+PONG\r\n");
}

T_CASE(requests_before_auth_are_small)
{
    port_begin_with(with_password);
    T_EQ_STR(ask(peer(), "*11\r\n"), "-ERR Protocol error: unauthenticated multibulk length\r\n");
    T_EQ_STR(ask(peer(), "*2\r\n$16385\r\n"),
             "-ERR Protocol error: unauthenticated bulk length\r\n");
}

T_CASE(wrong_password_holds_the_client)
{
    port_begin_with(with_password);
    const int fd = peer(), other = peer();
    T_EQ_STR(ask(fd, "AUTH guess\r\nPING\r\n"), "");
    port_pass(249);
    T_EQ_STR(ask(fd, "PING\r\n"), "");
    T_EQ_STR(ask(other, AUTH "PING\r\n"), "+OK\r\n+PONG\r\n");
    port_pass(1);
    T_EQ_STR(ask(fd, ""),
             "-WRONGPASS invalid username-password pair or user is disabled.\r\n"
             NOAUTH NOAUTH);
    T_EQ_STR(ask(fd, "AUTH other \"" PORT_PASSWORD "\"\r\n"), "");
    close(fd); /* while it is held */
    port_run();
    T_EQ_U64(port_stats().clients, 1);
    T_EQ_U64(port_stats().auth_failures, 2);
}

/* ---- CLIENT, COMMAND ---- */

static unsigned long total_of(const char *info)
{
    const char *at = strstr(info, " tot-mem=");
    return at != NULL ? strtoul(at + 9, NULL, 10) : 0;
}

T_CASE(clients_have_names_and_ids)
{
    port_begin();
    const int fd = peer(), other = peer();
    T_EQ_STR(ask(fd, "CLIENT ID\r\n"), ":1\r\n");
    T_EQ_STR(ask(fd, "CLIENT SETNAME web-1\r\nCLIENT GETNAME\r\n"), "+OK\r\n$5\r\nweb-1\r\n");
    T_EQ_STR(ask(fd, "CLIENT SETINFO LIB-NAME redis-py\r\nCLIENT SETINFO lib-ver 5.0\r\n"),
             "+OK\r\n+OK\r\n");
    T_CHECK(strstr(ask(fd, "CLIENT INFO\r\n"), "id=1 addr=unix:/") != NULL);
    T_CHECK(strstr(port_heard, "name=web-1 ") != NULL &&
            strstr(port_heard, "lib-name=redis-py lib-ver=5.0\n") != NULL);
    static const char *const numbers[] = { /* redis-py reads them as such */
        "id", "age", "idle", "db", "sub", "psub", "ssub", "multi", "qbuf", "qbuf-free", "argv-mem",
        "multi-mem", "obl", "oll", "omem", "tot-mem", "resp",
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char field[24];
        (void)snprintf(field, sizeof field, "%s%s=", i == 0 ? "" : " ", numbers[i]);
        const char *at = strstr(port_heard, field);
        if (!T_CHECK(at != NULL)) { printf("# %s\n", field); }
        if (at != NULL) { at += strlen(field); }
        T_CHECK(at != NULL && strspn(at + (*at == '-'), "0123456789") > 0);
    }
    T_CHECK(strstr(ask(fd, "CLIENT LIST\r\n"), "id=2 ") != NULL);
    T_CHECK(strstr(port_heard, " obl=0 oll=0 omem=0 tot-mem=") != NULL);
    /* Keys that a client watches, and its channels, are memory that it holds. */
    const unsigned long bytes = total_of(ask(fd, "CLIENT INFO\r\n"));
    T_EQ_STR(ask(fd, "WATCH 1234567890\r\n"), "+OK\r\n");
    const unsigned long watches = total_of(ask(fd, "CLIENT INFO\r\n"));
    T_CHECK(watches >= bytes + 10);
    (void)ask(fd, "HELLO 3\r\nSUBSCRIBE news\r\n");
    T_CHECK(total_of(ask(fd, "CLIENT INFO\r\n")) >= watches + 4);
    (void)ask(fd, "UNWATCH\r\nUNSUBSCRIBE\r\nHELLO 2\r\n");
    T_CHECK(strstr(ask(fd, "CLIENT LIST ID 2 7\r\n"), "id=1 ") == NULL);
    static const char *const refused[][2] = {
        { "CLIENT SETNAME \"a b\"",
          "Client names cannot contain spaces, newlines or special characters." },
        { "CLIENT SETINFO x y", "Unrecognized option 'x'" },
        { "CLIENT KILL TYPE foo SKIPME no", "Unknown client type 'foo'" },
        { "CLIENT LIST ID x", "Invalid client ID" },
        { "CLIENT NO-TOUCH x", "syntax error" },
        { "CLIENT FOO", "unknown subcommand 'FOO'. Try CLIENT HELP." },
        { "CLIENT GETNAME x", "wrong number of arguments for 'client|getname' command" },
        { "CLIENT KILL nowhere:1", "No such client" },
        { "CLIENT KILL ID 0", "client-id should be greater than 0" },
        { "CLIENT KILL FOO 1", "syntax error" },
        { "CLIENT KILL ID", "No such client" },
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        char line[64], reply[128];
        (void)snprintf(line, sizeof line, "%s\r\n", refused[i][0]);
        (void)snprintf(reply, sizeof reply, "-ERR %s\r\n", refused[i][1]);
        T_EQ_STR(ask(fd, line), reply);
    }
    T_EQ_STR(ask(fd, "CLIENT LIST TYPE master\r\nCLIENT LIST TYPE slave\r\n"),
             "$0\r\n\r\n$0\r\n\r\n");
    T_EQ_STR(ask(fd, "CLIENT NO-EVICT on\r\nCLIENT NO-TOUCH off\r\n"), OK OK);
    T_EQ_STR(ask(fd, "CLIENT KILL ID 2\r\nCLIENT KILL ID 2\r\n"), ":1\r\n:1\r\n");
    T_CHECK(is_closed(other));
    T_EQ_STR(ask(fd, "CLIENT KILL ID 2\r\nCLIENT KILL ID 1 SKIPME no\r\n"), ":0\r\n:1\r\n");
    T_CHECK(is_closed(fd));
}

T_CASE(client_that_drops_its_replies_in_exec_gets_no_more)
{
    port_begin();
    const int fd = peer();
    T_CHECK(strstr(ask(fd, "CLIENT NO-EVICT on\r\nCLIENT INFO\r\n"), " flags=Ue db=0 ") != NULL);
    T_CHECK(strstr(port_heard, " redir=-1 ") != NULL);
    T_EQ_STR(ask(fd, "MULTI\r\nECHO 1\r\nCLIENT REPLY OFF\r\nECHO 2\r\nEXEC\r\nECHO 3\r\n"),
             "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n$1\r\n1\r\n");
    T_EQ_STR(ask(fd, "CLIENT REPLY ON\r\nECHO 4\r\n"), "+OK\r\n$1\r\n4\r\n");
    T_EQ_STR(ask(fd, "MULTI\r\nCLIENT KILL ID 1 SKIPME no\r\nECHO 5\r\nEXEC\r\n"),
             "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n");
    T_CHECK(is_closed(fd));
}

/* More clients than run before their replies are sent; the first is killed by the third. */
T_CASE(clients_of_one_round_are_served_in_it)
{
    enum { CLIENTS = 20 };
    int fd[CLIENTS];
    char reply[16];
    port_begin();
    for (int i = 0; i < CLIENTS; i++) { fd[i] = peer(); }
    for (int i = 0; i < CLIENTS; i++) {
        T_CHECK(tell_text(fd[i], i == 2 ? "CLIENT KILL ID 1\r\n" : "PING\r\n"));
    }
    (void)cellar_resp_step(port, 0);
    for (int i = 1; i < CLIENTS; i++) {
        const ssize_t got = recv(fd[i], reply, sizeof reply - 1, 0);
        reply[got > 0 ? got : 0] = '\0';
        T_EQ_STR(reply, i == 2 ? ":1\r\n" : "+PONG\r\n");
    }
    T_CHECK(is_closed(fd[0]));
    T_EQ_U64(port_stats().clients, CLIENTS - 1);
}

T_CASE(client_reply_drops_replies)
{
    port_begin();
    const int fd = peer();
    T_EQ_STR(ask(fd, "CLIENT REPLY OFF\r\nPING\r\nfoo\r\nECHO x\r\n"), "");
    T_EQ_STR(ask(fd, "CLIENT REPLY ON\r\nPING\r\n"), "+OK\r\n+PONG\r\n");
    T_EQ_STR(ask(fd, "CLIENT REPLY SKIP\r\nECHO 1\r\nECHO 2\r\n"), "$1\r\n2\r\n");
    T_EQ_STR(ask(fd, "CLIENT REPLY SKIP\r\nRESET\r\nECHO 2\r\n"), "$1\r\n2\r\n");
    T_EQ_STR(ask(fd, "CLIENT REPLY x\r\n"), "-ERR syntax error\r\n");
}

T_CASE(commands_are_described)
{
    port_begin();
    const int fd = peer();
    T_CHECK(ask(fd, "COMMAND COUNT\r\n")[0] == ':');
    T_EQ_STR(ask(fd, "COMMAND DOCS get\r\n"), /* redis-cli then shows its own texts */
             "-ERR unknown subcommand 'DOCS'. Try COMMAND HELP.\r\n");
    T_EQ_STR(ask(fd, "COMMAND INFO select nothing\r\n"),
             "*2\r\n*10\r\n$6\r\nselect\r\n:2\r\n*1\r\n+fast\r\n:0\r\n:0\r\n:0\r\n*0\r\n*0\r\n*0\r\n"
             "*0\r\n$-1\r\n");
    T_CHECK(strstr(ask(fd, "COMMAND LIST\r\n"), "$4\r\nping\r\n") != NULL);
    T_CHECK(strstr(ask(fd, "COMMAND\r\n"), "$5\r\nwatch\r\n:-2\r\n") != NULL);
    T_EQ_STR(ask(fd, "COMMAND x\r\n"), "-ERR unknown subcommand 'x'. Try COMMAND HELP.\r\n");
}

/* ---- transactions ---- */

T_CASE(transactions_queue_and_run)
{
    port_begin();
    const int fd = peer();
#define ABORTED "-EXECABORT Transaction discarded because of previous errors.\r\n"
    T_EQ_STR(ask(fd, "EXEC\r\nDISCARD\r\n"),
             "-ERR EXEC without MULTI\r\n-ERR DISCARD without MULTI\r\n");
    T_EQ_STR(ask(fd, "MULTI\r\nMULTI\r\nWATCH k\r\nPING\r\nSELECT 99\r\nEXEC\r\n"),
             "+OK\r\n-ERR MULTI calls can not be nested\r\n"
             "-ERR WATCH inside MULTI is not allowed\r\n+QUEUED\r\n+QUEUED\r\n"
             "*2\r\n+PONG\r\n-ERR DB index is out of range\r\n");
    T_EQ_STR(ask(fd, "MULTI\r\nPING\r\nDISCARD\r\nEXEC\r\n"),
             "+OK\r\n+QUEUED\r\n+OK\r\n-ERR EXEC without MULTI\r\n");
    T_EQ_STR(ask(fd, "MULTI\r\nfoo\r\nPING\r\nEXEC\r\nPING\r\n"),
             "+OK\r\n-ERR unknown command 'foo', with args beginning with: \r\n+QUEUED\r\n"
             ABORTED "+PONG\r\n");
    T_EQ_STR(ask(fd, "MULTI\r\nECHO\r\nEXEC\r\n"),
             "+OK\r\n-ERR wrong number of arguments for 'echo' command\r\n"
             ABORTED);
    T_EQ_STR(ask(fd, "MULTI\r\nMONITOR\r\nEXEC\r\n"),
             "+OK\r\n-ERR Command not allowed inside a transaction\r\n"
             ABORTED);
    T_EQ_STR(ask(fd, "MULTI\r\nPING\r\nEXEC x\r\nEXEC\r\n"),
             "+OK\r\n+QUEUED\r\n-EXECABORT Transaction discarded because of: wrong number of "
             "arguments for 'exec' command\r\n-ERR EXEC without MULTI\r\n");
    T_EQ_STR(ask(fd, "MULTI\r\nEXEC\r\n"), "+OK\r\n*0\r\n");
    T_EQ_STR(ask(fd, "MULTI\r\nQUIT\r\n"), "+OK\r\n+OK\r\n");
    T_CHECK(is_closed(fd));
}

T_CASE(watch_sees_changes_by_the_process)
{
    cellar *db0;
    port_begin();
    const int fd = peer();
    T_EQ_I64(cellar_namespace_open(port_store, "db0", NULL, &db0), CELLAR_OK);
    T_EQ_I64(cellar_set_str(db0, "k", "1", 0), CELLAR_OK);
    T_EQ_STR(ask(fd, "WATCH k missing\r\nMULTI\r\nPING\r\nEXEC\r\n"),
             "+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n+PONG\r\n");
    T_EQ_STR(ask(fd, "WATCH k missing\r\nMULTI\r\nPING\r\n"), "+OK\r\n+OK\r\n+QUEUED\r\n");
    T_EQ_I64(cellar_set_str(db0, "k", "1", 0), CELLAR_OK); /* the same value is a change */
    T_EQ_STR(ask(fd, "EXEC\r\n"), "*-1\r\n");
    T_EQ_STR(ask(fd, "MULTI\r\nPING\r\nEXEC\r\n"), "+OK\r\n+QUEUED\r\n*1\r\n+PONG\r\n");
    T_EQ_STR(ask(fd, "WATCH k\r\nWATCH missing\r\n"), "+OK\r\n+OK\r\n");
    T_EQ_I64(cellar_set_str(db0, "missing", "1", 0), CELLAR_OK);
    T_EQ_STR(ask(fd, "MULTI\r\nPING\r\nEXEC\r\n"), "+OK\r\n+QUEUED\r\n*-1\r\n");
    T_EQ_STR(ask(fd, "WATCH k\r\n"), "+OK\r\n");
    T_EQ_I64(cellar_delete(db0, "k", 1), CELLAR_OK);
    T_EQ_STR(ask(fd, "UNWATCH\r\nMULTI\r\nPING\r\nEXEC\r\n"),
             "+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n+PONG\r\n");
    T_EQ_STR(ask(fd, "WATCH missing\r\nSELECT 1\r\n"), "+OK\r\n+OK\r\n");
    T_EQ_I64(cellar_clear(db0), CELLAR_OK); /* the key of database 0, not of 1 */
    T_EQ_STR(ask(fd, "MULTI\r\nEXEC\r\n"), "+OK\r\n*-1\r\n");
    T_EQ_STR(ask(fd, "WATCH \"\"\r\n"), "-ERR invalid key\r\n");
    T_EQ_I64(cellar_namespace_close(db0), CELLAR_OK);
}

T_CASE(watch_sees_a_new_deadline)
{
    port_begin();
    const int fd = peer();
    T_EQ_STR(ask(fd, "SET k 1\r\nWATCH k\r\n"), "+OK\r\n+OK\r\n");
    port_pass(1000);
    T_EQ_STR(ask(fd, "MULTI\r\nEXEC\r\n"), "+OK\r\n*0\r\n");
    T_EQ_STR(ask(fd, "WATCH k\r\nEXPIRE k 100\r\nMULTI\r\nEXEC\r\n"),
             "+OK\r\n:1\r\n+OK\r\n*-1\r\n");
    T_EQ_STR(ask(fd, "WATCH k\r\n"), "+OK\r\n");
    port_pass(1000); /* the time left is shorter, the deadline the same */
    T_EQ_STR(ask(fd, "MULTI\r\nEXEC\r\n"), "+OK\r\n*0\r\n");
    T_EQ_STR(ask(fd, "WATCH k\r\nEXPIRE k 50\r\nMULTI\r\nEXEC\r\n"),
             "+OK\r\n:1\r\n+OK\r\n*-1\r\n");
    T_EQ_STR(ask(fd, "WATCH k\r\nPERSIST k\r\nMULTI\r\nEXEC\r\n"),
             "+OK\r\n:1\r\n+OK\r\n*-1\r\n");
    T_EQ_STR(ask(fd, "WATCH k m\r\nPERSIST k\r\nGETEX k PERSIST\r\nGETEX m PERSIST\r\nMULTI\r\nEXEC\r\n"),
             "+OK\r\n:0\r\n$1\r\n1\r\n$-1\r\n+OK\r\n*0\r\n"); /* there was no deadline */
    T_EQ_STR(ask(fd, "EXPIRE k 50\r\nWATCH k\r\nGETEX k PERSIST\r\nTTL k\r\nMULTI\r\nEXEC\r\n"),
             ":1\r\n+OK\r\n$1\r\n1\r\n:-1\r\n+OK\r\n*-1\r\n");
}

static void four_mib(cellar_resp_config *o)
{
    o->max_request_bytes = 4 << 20;
    o->resp_buffer_bytes = 16 << 20;
}

T_CASE(transaction_is_bounded)
{
    static char part[512 << 10];
    memset(part, 'x', sizeof part);
    port_begin_with(four_mib);
    const int fd = peer();
    T_EQ_STR(ask(fd, "MULTI\r\n"), "+OK\r\n");
    const char *last = "";
    for (int i = 0; i < 9; i++) {
        (void)ask(fd, "*2\r\n$4\r\nECHO\r\n$524288\r\n");
        T_CHECK(tell(fd, part, sizeof part));
        last = ask(fd, "\r\n");
    }
    T_EQ_STR(last, "-OOM command not allowed when used memory > 'maxmemory'.\r\n");
    T_EQ_STR(ask(fd, "EXEC\r\n"),
             ABORTED);
    T_CHECK(port_stats().bytes < 1u << 20);
}

/* ---- MONITOR, SLOWLOG ---- */

T_CASE(monitor_shows_requests_without_passwords)
{
    char want[400];
    port_begin();
    const int watcher = peer(), fd = peer();
    T_EQ_STR(ask(watcher, "MONITOR\r\n"), "+OK\r\n");
    T_EQ_STR(ask(fd, "SELECT 2\r\nECHO \"a\\x01\\\"\\n\"\r\nAUTH default secret\r\n"),
             "+OK\r\n$4\r\na\x01\"\n\r\n+OK\r\n");
    (void)ask(watcher, "");
    (void)snprintf(want, sizeof want, " [2 unix:%s] \"ECHO\" \"a\\x01\\\"\\n\"\r\n", port_path);
    T_CHECK(strstr(port_heard, want) != NULL);
    T_CHECK(strstr(port_heard, "secret") == NULL);
    (void)ask(fd, "ECHO 0123456789012345678901234567890123456789012345678901234567890123456789\r\n");
    T_CHECK(strstr(ask(watcher, ""), "90123\"... (6 more bytes)\r\n") != NULL);
    T_CHECK(strstr(ask(watcher, "RESET\r\n"), "\r\n+RESET\r\n") != NULL);
    (void)ask(fd, "PING\r\n");
    T_EQ_STR(ask(watcher, ""), "");
}

static void slow_1us(cellar_resp_config *o) { o->slow_us = 1; }

T_CASE(slowlog_keeps_slow_requests)
{
    char in[300 * 16] = "";
    size_t len = 0;
    port_begin_with(slow_1us);
    const int fd = peer();
    T_EQ_STR(ask(fd, "SLOWLOG LEN\r\n"), ":0\r\n");
    /* One that takes longer than 1 us on any machine: 300 arguments that are no ids. */
    len += (size_t)snprintf(in, sizeof in, "COMMAND INFO");
    for (int i = 0; i < 300; i++) {
        len += (size_t)snprintf(in + len, sizeof in - len, " nothing%d", i);
    }
    (void)snprintf(in + len, sizeof in - len, "\r\n");
    (void)ask(fd, in);
    T_CHECK(strstr(ask(fd, "SLOWLOG GET 1\r\n"), "*1\r\n*6\r\n") == port_heard);
    T_CHECK(strstr(ask(fd, "SLOWLOG GET -1\r\n"), "... (271 more arguments)") != NULL);
    T_EQ_STR(ask(fd, "SLOWLOG GET -2\r\n"),
             "-ERR count should be greater than or equal to -1\r\n");
    T_EQ_STR(ask(fd, "SLOWLOG x\r\n"), "-ERR unknown subcommand 'x'. Try SLOWLOG HELP.\r\n");
    for (int i = 0; i < 200; i++) { (void)ask(fd, in); } /* the ring turns */
    T_EQ_STR(ask(fd, "SLOWLOG RESET\r\n"), "+OK\r\n");
}

/* ---- batches of GET ---- */

static void batch_begin(void)
{
    port_begin();
    T_EQ_I64(cellar_namespace_open(port_store, "db0", NULL, &port_db), CELLAR_OK);
    T_EQ_I64(cellar_set_str(port_db, "a", "1", 0), CELLAR_OK);
    T_EQ_I64(cellar_set_str(port_db, "b", "", 0), CELLAR_OK);
}

T_CASE(values_of_any_length_are_whole)
{
    static const size_t lens[] = { 511, 512, 513, 4096, 16354, 16368, 16369, 16384, 100000, 9 };
    static char value[100001];
    batch_begin();
    const int fd = peer();
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        char head[32];
        const int key = (int)i;
        memset(value, 'a' + key, lens[i]);
        T_EQ_I64(cellar_set(port_db, &key, sizeof key, value, lens[i], NULL), CELLAR_OK);
        char in[2 * 32];
        size_t n = 0;
        for (int twice = 0; twice < 2; twice++) {
            memcpy(in + n, "*2\r\n$3\r\nget\r\n$4\r\n", 17);
            memcpy(in + n + 17, &key, 4);
            memcpy(in + n + 21, "\r\n", 2);
            n += 23;
        }
        const char *got = ask_bytes(fd, in, n);
        const size_t head_len = (size_t)snprintf(head, sizeof head, "$%zu\r\n", lens[i]);
        const size_t one = head_len + lens[i] + 2;
        T_EQ_U64(port_heard_len, 2 * one);
        for (int twice = 0; twice < 2; twice++) {
            T_CHECK(memcmp(got + one * (size_t)twice, head, head_len) == 0);
            T_CHECK(memcmp(got + one * (size_t)twice + head_len, value, lens[i]) == 0);
        }
    }
}

T_CASE(get_alone_counts_among_hot_keys)
{
    cellar_hot_key top[2];
    size_t n = 0;
    batch_begin();
    const int fd = peer();
    T_EQ_I64(cellar_set_str(port_db, "k", "v", 0), CELLAR_OK);
    for (int i = 0; i < 1000; i++) { T_EQ_STR(ask(fd, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"), "$1\r\nv\r\n"); }
    T_EQ_I64(cellar_hot_keys(port_db, CELLAR_SCOPE_NAMESPACE, top, 2, &n), CELLAR_OK);
    T_EQ_U64(n, 1);
    T_EQ_STR(top[0].key, "k");
}

T_CASE(other_commands_come_in_their_place)
{
    batch_begin();
    const int fd = peer();
    T_EQ_STR(ask(fd, "PING\r\nGET a\r\nDEL a\r\nGET a\r\nSET a 2\r\nGET a\r\nGET\r\nGET b\r\n"
                     "SELECT 1\r\nGET a\r\nSELECT 0\r\nGET a\r\nMULTI\r\nGET a\r\nEXEC\r\nGET \"\"\r\nGET a\r\n"),
             "+PONG\r\n$1\r\n1\r\n:1\r\n$-1\r\n+OK\r\n$1\r\n2\r\n"
             "-ERR wrong number of arguments for 'get' command\r\n$0\r\n\r\n+OK\r\n$-1\r\n+OK\r\n"
             "$1\r\n2\r\n+OK\r\n+QUEUED\r\n*1\r\n$1\r\n2\r\n-ERR invalid key\r\n$1\r\n2\r\n");
    T_EQ_STR(ask(fd, "CLIENT REPLY SKIP\r\nGET a\r\nGET b\r\nHELLO 3 x\r\nGET none\r\n"),
             "$0\r\n\r\n-ERR Syntax error in HELLO option 'x'\r\n$-1\r\n");
    T_EQ_STR(ask(fd, "PING\r\nGET a\r\nQUIT\r\nGET a\r\n"), "+PONG\r\n$1\r\n2\r\n+OK\r\n");
    T_CHECK(is_closed(fd));
}

T_CASE(replies_come_before_the_error_of_a_broken_request)
{
    batch_begin();
    const int fd = peer();
    T_EQ_STR(ask(fd, "PING\r\nGET a\r\nGET b\r\n*x\r\n"),
             "+PONG\r\n$1\r\n1\r\n$0\r\n\r\n-ERR Protocol error: invalid multibulk length\r\n");
    T_CHECK(is_closed(fd));
}

#define DROPPED "-ERR the namespace was dropped; send the command again\r\n"

T_CASE(dropped_namespace_is_an_error_then_a_new_one)
{
    batch_begin();
    const int fd = peer();
    T_EQ_STR(ask(fd, "PING\r\nGET a\r\n"), "+PONG\r\n$1\r\n1\r\n");
    T_EQ_I64(cellar_namespace_drop(port_store, "db0"), CELLAR_OK);
    T_EQ_STR(ask(fd, "GET a\r\n"), DROPPED);
    T_EQ_STR(ask(fd, "GET a\r\n"), "$-1\r\n");
}

T_CASE(each_command_says_that_the_namespace_was_dropped)
{
    static const char *const lines[] = { "EXISTS a\r\n", "TYPE a\r\n", "TOUCH a\r\n",
        "STRLEN a\r\n", "TTL a\r\n", "MSETNX a 1\r\n", "RENAME a b\r\n", "WATCH a\r\n",
        "EXPIRE a 9 XX\r\n", "DEL a\r\n", "GETEX a PERSIST\r\n", "PERSIST a\r\n" };
    batch_begin();
    const int fd = peer();
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        T_EQ_STR(ask(fd, "SET a 1\r\n"), "+OK\r\n");
        T_EQ_I64(cellar_namespace_drop(port_store, "db0"), CELLAR_OK);
        if (!T_EQ_STR(ask(fd, lines[i]), DROPPED)) { printf("# %s", lines[i]); }
        (void)ask(fd, "GET a\r\n");
    }
}

T_CASE(commands_on_several_databases_open_those_that_were_dropped)
{
    static const char *const lines[] = { "FLUSHALL\r\n", "COPY a a DB 1 REPLACE\r\n" };
    port_begin_with(rk_all_allowed);
    const int fd = peer();
    for (size_t i = 0; i < 2; i++) {
        T_EQ_STR(ask(fd, "SELECT 1\r\nSET a 1\r\nSELECT 0\r\nSET a 1\r\n"),
                 "+OK\r\n+OK\r\n+OK\r\n+OK\r\n");
        T_EQ_I64(cellar_namespace_drop(port_store, "db1"), CELLAR_OK);
        T_EQ_STR(ask(fd, lines[i]), DROPPED);
        T_CHECK(*ask(fd, lines[i]) != '-');
    }
}

T_CASE(monitor_sees_each_get)
{
    batch_begin();
    const int fd = peer(), watcher = peer();
    T_EQ_STR(ask(watcher, "MONITOR\r\n"), "+OK\r\n");
    T_EQ_STR(ask(fd, "PING\r\nGET a\r\nGET b\r\n"), "+PONG\r\n$1\r\n1\r\n$0\r\n\r\n");
    T_CHECK(strstr(ask(watcher, ""), "\"GET\" \"a\"\r\n") != NULL);
    T_CHECK(strstr(port_heard, "\"GET\" \"b\"\r\n") != NULL);
}

T_ONE_THREAD;
T_MAIN("resp_session")
