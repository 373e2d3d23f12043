/* SPDX-License-Identifier: MIT
 *
 * session: PING, ECHO, QUIT, RESET, SELECT, AUTH, HELLO.
 *
 * GUESSING   Only the SHA-256 of the password is kept. Two digests are compared in constant time.
 *            A failure holds the client for RESP_HOLD_MS; RESP_FAILS of them within RESP_FAIL_MS
 *            refuse new connections for RESP_FAIL_MS. */
#include <string.h>

#include "base/num.h"
#include "resp/calls.h"
#include "resp/client.h"
#include "resp/session.h"

BASE_SIZE_BEGIN

#define RESP_HOLD_MS 250
#define RESP_FAIL_MS 60000
#define RESP_FAILS (sizeof ((cellar_resp *)0)->fail_ms / sizeof(int64_t))

RESP_CALL(resp_ping)
{
    if (argc > 2) {
        resp_wrong_arity(c, "ping");
    } else if ((c->flags & RESP_C_SUBSCRIBED) && c->protocol < 3) {
        resp_array(c, 2);
        resp_bulk_text(c, "pong");
        resp_bulk(c, argc == 2 ? argv[1].data : "", argc == 2 ? argv[1].len : 0);
    } else if (argc == 2) {
        resp_bulk(c, argv[1].data, argv[1].len);
    } else {
        resp_simple(c, "PONG");
    }
}

RESP_CALL(resp_echo)
{
    (void)argc;
    resp_bulk(c, argv[1].data, argv[1].len);
}

RESP_CALL(resp_quit)
{
    (void)argv, (void)argc;
    resp_ok(c);
    c->flags |= RESP_C_CLOSE;
}

RESP_CALL(resp_reset)
{
    (void)argv, (void)argc;
    resp_client_reset(c);
    resp_simple(c, "RESET");
}

RESP_CALL(resp_select)
{
    int64_t n;
    (void)argc;
    if (!resp_need_int(c, &argv[1], &n)) { return; }
    if (n < 0 || n >= RESP_DBS) {
        resp_error(c, "ERR DB index is out of range");
        return;
    }
    c->db = (uint32_t)n;
    resp_ok(c);
}

/* ---- the password ---- */

CELLAR_PRIVATE bool resp_password_ok(const cellar_resp *r, const cellar_bytes *word)
{
    unsigned char digest[32], differs = 0;
    base_sha256 s;
    base_sha256_init(&s);
    base_sha256_add(&s, word->data, word->len);
    base_sha256_end(&s, digest);
    for (size_t i = 0; i < sizeof digest; i++) {
        differs |= (unsigned char)(digest[i] ^ r->password[i]);
    }
    return differs == 0;
}

CELLAR_PRIVATE void resp_password_failed(resp_client *c)
{
    cellar_resp *r = c->of;
    resp_add(r, RESP_COUNT_auth_failures, 1);
    r->fail_ms[r->fail_next % RESP_FAILS] = r->now_ms;
    r->fail_next++;
    if (r->fail_next >= RESP_FAILS) {
        const int64_t first_ms = r->fail_ms[r->fail_next % RESP_FAILS];
        if (r->now_ms - first_ms < RESP_FAIL_MS) { r->refuse_ms = r->now_ms + RESP_FAIL_MS; }
    }
    c->hold_ms = r->now_ms + RESP_HOLD_MS;
    resp_client_timed(c, true);
    base_log(&r->obj.log, BASE_LOG_WARNING, "resp", (int)CELLAR_E_DENIED, "wrong password from %s",
             c->address);
}

/* Check user and password. False: an error was written. */
static bool resp_log_in(resp_client *c, const cellar_bytes *user, const cellar_bytes *word)
{
    const cellar_resp *r = c->of;
    const bool user_ok = user == NULL || (user->len == 7 && memcmp(user->data, "default", 7) == 0);
    const bool word_ok = !r->has_password || resp_password_ok(r, word); /* as nopass of Redis */
    if (!word_ok || !user_ok) {
        if (r->has_password) { resp_password_failed(c); } /* else there is nothing to guess */
        resp_error(c, "WRONGPASS invalid username-password pair or user is disabled.");
        return false;
    }
    c->flags |= RESP_C_AUTH;
    return true;
}

RESP_CALL(resp_auth)
{
    if (argc > 3) {
        resp_syntax(c);
    } else if (argc == 2 && !c->of->has_password) {
        resp_error(c, "ERR AUTH <password> called without any password configured for the default "
                      "user. Are you sure your configuration is correct?");
    } else if (resp_log_in(c, argc == 3 ? &argv[1] : NULL, &argv[argc - 1])) {
        resp_ok(c);
    }
}

/* ---- HELLO ---- */

static void resp_hello_reply(resp_client *c)
{
    resp_map(c, 7);
    resp_bulk_text(c, "server");
    resp_bulk_text(c, "redis");
    resp_bulk_text(c, "version");
    resp_bulk_text(c, RESP_REDIS_VERSION);
    resp_bulk_text(c, "proto");
    resp_int(c, c->protocol);
    resp_bulk_text(c, "id");
    resp_int(c, (int64_t)c->id);
    resp_bulk_text(c, "mode");
    resp_bulk_text(c, "standalone");
    resp_bulk_text(c, "role");
    resp_bulk_text(c, "master");
    resp_bulk_text(c, "modules");
    resp_array(c, 0);
}

RESP_CALL(resp_hello)
{
    int64_t version = c->protocol;
    const cellar_bytes *user = NULL, *name = NULL;
    uint32_t i = 2;
    if (argc > 1 && !resp_to_int(&argv[1], &version)) {
        resp_error(c, "ERR Protocol version is not an integer or out of range");
        return;
    }
    if (version < 2 || version > 3) {
        resp_error(c, "NOPROTO unsupported protocol version");
        return;
    }
    while (i < argc) {
        if (resp_is(&argv[i], "auth") && argc - i > 2) {
            user = &argv[i + 1];
            i += 3;
        } else if (resp_is(&argv[i], "setname") && argc - i > 1) {
            name = &argv[i + 1];
            i += 2;
        } else {
            resp_error(c, "ERR Syntax error in HELLO option '%.*s'",
                       (int)BASE_MIN(argv[i].len, 128), (const char *)argv[i].data);
            return;
        }
    }
    if (user != NULL && !resp_log_in(c, user, user + 1)) { return; }
    if (!(c->flags & RESP_C_AUTH)) {
        resp_error(c, "NOAUTH HELLO must be called with the client already authenticated, "
                      "otherwise the HELLO <proto> AUTH <user> <pass> option can be used to "
                      "authenticate the client and select the RESP protocol version at the same "
                      "time");
        return;
    }
    if (name != NULL && !resp_client_name(c, name)) {
        resp_error(c, "ERR Client names cannot contain spaces, newlines or special characters.");
        return;
    }
    c->protocol = (uint32_t)version;
    resp_hello_reply(c);
}

BASE_SIZE_END
