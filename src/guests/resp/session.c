/* SPDX-License-Identifier: MIT
 *
 * session: PING, ECHO, QUIT, RESET, SELECT, WAIT, AUTH, HELLO.
 *
 * GUESSING   Only the SHA-256 of the password is kept. Two digests are compared in constant time.
 *            The answer to a wrong password is held for RESP_HOLD_MS. RESP_GUESSES different ones
 *            of an address within RESP_DELAY_MS begin its delay, of RESP_DELAY_MS: each answer,
 *            the right one too, waits RESP_TURN_MS for itself and for each client of the address
 *            that waits already, and a wrong one ends the connection. So one more connection makes
 *            no guess faster, a lost connection learns nothing, and the right password is let in.
 *            A connection that gave the right password before, and other addresses, do not wait. */
#include <string.h>

#include "base/num.h"
#include "resp/calls.h"
#include "resp/client.h"
#include "resp/session.h"

BASE_SIZE_BEGIN

#define RESP_HOLD_MS 250
#define RESP_DELAY_MS 60000
#define RESP_TURN_MS 100
#define RESP_TURN_MAX_MS 10000 /* a client waits no longer */
#define RESP_DELAY_TEXT " Too many wrong passwords from this address: AUTH waits for its turn."

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
    if (n != 0 && (c->flags & RESP_C_IN_EXEC) && resp_is_shared(c) &&
        c->of->opts.writable == 0) {
        resp_error(c, "ERR a transaction stays in its database on a port without the option "
                      "writable");
        return;
    }
    c->db = (uint32_t)n;
    resp_ok(c);
}

/* WAIT: the port has no replicas, so none has confirmed, and there is nothing to wait for. */
RESP_CALL(resp_wait)
{
    int64_t count, timeout_ms;
    (void)argc;
    if (!resp_need_int(c, &argv[1], &count)) { return; }
    if (!resp_to_int(&argv[2], &timeout_ms)) {
        resp_error(c, "ERR timeout is not an integer or out of range");
    } else if (timeout_ms < 0) {
        resp_error(c, "ERR timeout is negative");
    } else {
        resp_int(c, 0);
    }
}

/* ---- the password ---- */

/* Compare a word with the password, in constant time. */
static bool resp_password_is(const cellar_resp *r, const cellar_bytes *word)
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

/* Return the place of an address, and make one if asked: a free one, or that of the address that
 * was silent longest. NULL: it has none. */
static resp_guesser *resp_guesser_of(cellar_resp *r, uint64_t peer, bool make)
{
    resp_guesser *oldest = &r->guesser[0];
    for (uint32_t i = 0; i < RESP_GUESSERS; i++) {
        resp_guesser *g = &r->guesser[i];
        if (g->peer == peer) { return g; }
        if (oldest->peer != 0 && (g->peer == 0 || g->last_ms < oldest->last_ms)) { oldest = g; }
    }
    if (!make) { return NULL; }
    *oldest = (resp_guesser){ .peer = peer };
    return oldest;
}

/* Begin the delay of an address. */
static void resp_delay_begin(const resp_client *c, resp_guesser *g)
{
    const int64_t end_s = (base_wall_ms() + RESP_DELAY_MS) / 1000 % 86400;
    const bool unix_socket = (c->flags & RESP_C_UNIX) != 0;
    const size_t host = unix_socket ? strlen(c->address)
                                    : (size_t)(strrchr(c->address, ':') - c->address);
    g->end_ms = c->of->now_ms + RESP_DELAY_MS;
    /* A code of its own: lines about single passwords do not hold this one back. */
    base_log(&c->of->obj.log, BASE_LOG_WARNING, "resp", (int)CELLAR_E_LIMIT,
             "%u wrong passwords from %.*s within a minute: until %02d:%02d:%02d UTC each AUTH "
             "from there waits for its turn", RESP_GUESSES, (int)host, c->address,
             (int)(end_s / 3600), (int)(end_s / 60 % 60), (int)(end_s % 60));
}

/* Note a wrong password. One that is repeated tells its sender nothing and does not count again. */
static void resp_guess_note(const resp_client *c, resp_guesser *g, const cellar_bytes *word)
{
    cellar_resp *r = c->of;
    const uint64_t hash = base_hash(&r->hash_key, 1, word->data, word->len) | 1;
    uint32_t recent = 0;
    g->last_ms = r->now_ms;
    for (uint32_t i = 0; i < RESP_GUESSES; i++) {
        if (g->word[i] == 0 || r->now_ms - g->at_ms[i] >= RESP_DELAY_MS) { continue; }
        if (g->word[i] == hash) { return; }
        recent++;
    }
    g->word[g->next % RESP_GUESSES] = hash;
    g->at_ms[g->next++ % RESP_GUESSES] = r->now_ms;
    if (g->end_ms > r->now_ms) { return; }
    if (recent >= RESP_GUESSES - 1) {
        resp_delay_begin(c, g);
    } else {
        base_log(&r->obj.log, BASE_LOG_WARNING, "resp", (int)CELLAR_E_DENIED,
                 "wrong password from %s", c->address);
    }
}

/* Return the clients of a list that wait for an answer to a password from this address. */
static int64_t resp_held_count(const resp_client *c, uint64_t peer)
{
    int64_t n = 0;
    for (; c != NULL; c = c->next) { n += c->hold_ms != 0 && c->peer == peer; }
    return n;
}

CELLAR_PRIVATE bool resp_password_ok(resp_client *c, const cellar_bytes *word, bool user_ok)
{
    cellar_resp *r = c->of;
    const bool ok = resp_password_is(r, word) && user_ok;
    resp_guesser *g = resp_guesser_of(r, c->peer, !ok);
    if (!ok) {
        resp_add(r, RESP_COUNT_auth_failures, 1);
        resp_guess_note(c, g, word);
    }
    const bool delayed = g != NULL && g->end_ms > r->now_ms;
    if (!ok || (delayed && !(c->flags & RESP_C_AUTH))) {
        const int64_t held = resp_held_count(r->first, c->peer) +
                             resp_held_count(r->admin_first, c->peer);
        c->hold_ms = r->now_ms + (delayed ? BASE_MIN((held + 1) * RESP_TURN_MS, RESP_TURN_MAX_MS)
                                          : RESP_HOLD_MS);
        resp_client_timed(c, true);
    }
    if (ok) { c->flags |= RESP_C_AUTH; }
    if (!ok && delayed) { c->flags |= RESP_C_CLOSE | RESP_C_LINGER; }
    return ok;
}

/* Check user and password. False: an error was written. */
static bool resp_log_in(resp_client *c, const cellar_bytes *user, const cellar_bytes *word)
{
    const bool user_ok = user == NULL || (user->len == 7 && memcmp(user->data, "default", 7) == 0);
    const bool plain = !c->of->has_password; /* as nopass of Redis: nothing to guess */
    if (plain ? user_ok : resp_password_ok(c, word, user_ok)) { return true; }
    resp_error(c, "WRONGPASS invalid username-password pair or user is disabled.%s",
               c->flags & RESP_C_CLOSE ? RESP_DELAY_TEXT : "");
    return false;
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
    const bool shared = c->of->shared.store != NULL;
    resp_map(c, shared ? 9 : 7);
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
    if (!shared) { return; }
    resp_bulk_text(c, "cellar");
    resp_bulk_text(c, cellar_version());
    resp_bulk_text(c, "largest");
    resp_int(c, (int64_t)c->of->shared.largest);
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
