/* SPDX-License-Identifier: MIT
 *
 * cmd_script: EVAL EVALSHA SCRIPT.
 *
 * PICTURE    text -> SHA-256 -> row of resp_scripts -> a function of this file
 * INVARIANTS There is no interpreter. Five texts are recognised byte for byte: release, extend and
 *            reacquire of the locks of redis-py (4.3 to 8.1), and the two increments of
 *            django-redis (5.2 to 7.0). Each is one cellar_update. Every other text is refused.
 *            The five are always known: EVALSHA needs no SCRIPT LOAD before. The remote tier has a
 *            command in place of its texts (shared_tier.c).
 * LOCKING    None. */
#include "base/log.h"
#include "base/num.h"
#include "base/sha256.h"
#include "resp/data.h"
#include "resp/entry.h"

#include <stdio.h>
#include <string.h>

BASE_SIZE_BEGIN

#define RESP_SHA1_TEXT 40u /* hexadecimal digits that name a script */

/* A script that the port knows. It has one key. */
typedef struct resp_script {
    const char *sha1; /* of the text, hexadecimal: its name for clients */
    uint32_t args;
    void (*run)(resp_client *c, cellar *ns, const cellar_bytes *argv);
    const char *sha256;
} resp_script;

/* ---- Locks of redis-py ----------------------------------------------------------------------- */

typedef struct resp_token {
    cellar_bytes want;
    bool remove;
    bool owned; /* the value is the token */
} resp_token;

static cellar_err resp_token_one(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    resp_token *t = ctx;
    t->owned = old != NULL && old_len == t->want.len && memcmp(old, t->want.data, old_len) == 0;
    if (!t->owned) { return CELLAR_CONFLICT; }
    return t->remove ? CELLAR_REMOVED : cellar_buf_append(out, old, old_len);
}

/* Set the TTL of a lock that holds the token, or remove it with ttl_ms 0. Send 1 or 0. */
static void resp_token_run(resp_client *c, cellar *ns, const cellar_bytes *argv, int64_t ttl_ms)
{
    const cellar_set_opts o = resp_write_opts(ttl_ms);
    resp_token t = { .want = argv[1], .remove = ttl_ms == 0 };
    const cellar_err err = resp_update(c, ns, argv[0], &o, resp_token_one, &t);
    if (err == CELLAR_OK || err == CELLAR_REMOVED || err == CELLAR_CONFLICT) {
        resp_int(c, t.owned && err != CELLAR_CONFLICT);
    } else {
        resp_fail(c, err);
    }
}

static void resp_script_release(resp_client *c, cellar *ns, const cellar_bytes *argv)
{
    resp_token_run(c, ns, argv, 0);
}

static void resp_script_reacquire(resp_client *c, cellar *ns, const cellar_bytes *argv)
{
    int64_t ttl_ms;
    if (resp_need_int(c, &argv[2], &ttl_ms)) {
        resp_token_run(c, ns, argv, BASE_MAX(ttl_ms, 0));
    }
}

/* Set a new TTL; with argv[3] "0" add to the present one. A lock without a TTL is not extended. */
static void resp_script_extend(resp_client *c, cellar *ns, const cellar_bytes *argv)
{
    int64_t ttl_ms;
    cellar_entry_info info;
    if (!resp_need_int(c, &argv[2], &ttl_ms)) { return; }
    const cellar_err err = resp_look(c, ns, argv[0], 0, &info);
    if (err < 0) {
        resp_fail(c, err);
    } else if (err != CELLAR_OK || info.ttl_left_ms == CELLAR_TTL_NONE) {
        resp_int(c, 0);
    } else {
        if (resp_is(&argv[3], "0")) { ttl_ms = base_add_sat(ttl_ms, info.ttl_left_ms); }
        resp_token_run(c, ns, argv, BASE_MIN(BASE_MAX(ttl_ms, 0), CELLAR_TTL_NONE - 1));
    }
}

/* ---- Increments of django-redis -------------------------------------------------------------- */

static void resp_script_incr(resp_client *c, cellar *ns, const cellar_bytes *argv)
{
    int64_t delta;
    if (resp_need_int(c, &argv[1], &delta)) { resp_increment_key(c, ns, argv[0], delta, false); }
}

static void resp_script_incr_present(resp_client *c, cellar *ns, const cellar_bytes *argv)
{
    int64_t delta;
    if (resp_need_int(c, &argv[1], &delta)) { resp_increment_key(c, ns, argv[0], delta, true); }
}

/* ---- Texts ----------------------------------------------------------------------------------- */

static const resp_script resp_scripts[] = {
    { "c3f8721cbb97f72bc19e972846bd7aaf91901658", 1, resp_script_release,
      "4e785fa34118dfed04109984447f98eabaf0dd0351001ef9a2b9cbda35e33195" },
    { "a4e8783852e6b949f9ef3a97212805108459a890", 3, resp_script_extend,
      "e4ad0840a6be6be6a9c8f5f9a9cc779ae3ec28145c88e1b7c8e9c41f705df725" },
    { "1cac51482acf5858da00f6d685d68f886cd6b6b2", 2, resp_script_reacquire,
      "ac88ae65a662f8e0c011a4fb13eda20a33057581250aa4a0d304b8768a3911c8" },
    { "f4a7da3e5d8ea3b46642af08427151cae0190400", 1, resp_script_incr_present,
      "b9451c2dc70d0277b67555f836e9c362ce54b25baba8ac98d9df03d498626c50" },
    { "4d15273b16b10c15e1d9202cbe93c959ab7d250b", 1, resp_script_incr,
      "becef407fb61e9d976908602ce8174d39197c1ba6c8c440ec1740bbe47f71547" },
};
#define RESP_SCRIPTS (sizeof resp_scripts / sizeof resp_scripts[0])

/* Find a script by a digest in hexadecimal digits. NULL: none. */
static const resp_script *resp_script_of(const cellar_bytes *digest, bool sha256)
{
    for (size_t i = 0; i < RESP_SCRIPTS; i++) {
        const resp_script *s = &resp_scripts[i];
        if (resp_is(digest, sha256 ? s->sha256 : s->sha1)) { return s; }
    }
    return NULL;
}

static const resp_script *resp_script_of_text(const cellar_bytes *text)
{
    unsigned char digest[32];
    char hex[65];
    base_sha256 sum;
    base_sha256_init(&sum);
    base_sha256_add(&sum, text->data, text->len);
    base_sha256_end(&sum, digest);
    for (size_t i = 0; i < 32; i++) { (void)snprintf(hex + 2 * i, 3, "%02x", digest[i]); }
    return resp_script_of(&(cellar_bytes){ hex, 64 }, true);
}

/* Read the number of keys. False: an error was written. */
static bool resp_script_keys(resp_client *c, const cellar_bytes *argv, uint32_t argc,
                             int64_t *keys)
{
    if (!resp_need_int(c, &argv[2], keys)) { return false; }
    if (*keys > (int64_t)argc - 3) {
        resp_error(c, "ERR Number of keys can't be greater than number of args");
        return false;
    }
    if (*keys < 0) { resp_error(c, "ERR Number of keys can't be negative"); }
    return *keys >= 0;
}

static void resp_script_run(resp_client *c, const resp_script *s, const cellar_bytes *argv,
                            uint32_t argc, int64_t keys)
{
    if (keys != 1 || argc != 4 + s->args) {
        resp_error(c, "ERR this script takes 1 key and %u arguments", s->args);
    } else if (argv[3].len == 0 || argv[3].len > CELLAR_KEY_MAX) {
        resp_error(c, "ERR invalid key");
    } else {
        cellar *ns = resp_ns(c);
        if (ns != NULL) { s->run(c, ns, argv + 3); }
    }
}

/* Refuse a text. A worker of another version of the library has other scripts. */
static void resp_script_unknown(resp_client *c)
{
    resp_error(c, "ERR scripts are not supported");
    if (c->of->shared.store != NULL) {
        base_log(&c->of->obj.log, BASE_LOG_WARNING, "resp", (int)CELLAR_E_UNSUPPORTED,
                 "%s sends a script that cellar %s does not know: processes of one port must have "
                 "one version", c->address, cellar_version());
    }
}

RESP_CALL(resp_cmd_eval)
{
    int64_t keys;
    if (!resp_script_keys(c, argv, argc, &keys)) { return; }
    const resp_script *const s = resp_script_of_text(&argv[1]);
    if (s == NULL) {
        resp_script_unknown(c);
    } else {
        resp_script_run(c, s, argv, argc, keys);
    }
}

RESP_CALL(resp_cmd_evalsha)
{
    int64_t keys;
    const resp_script *const s = resp_script_of(&argv[1], false);
    if (argv[1].len == RESP_SHA1_TEXT && !resp_script_keys(c, argv, argc, &keys)) { return; }
    if (s == NULL) {
        resp_error(c, "NOSCRIPT No matching script. Please use EVAL.");
    } else {
        resp_script_run(c, s, argv, argc, keys);
    }
}

RESP_CALL(resp_cmd_script)
{
    if (resp_is(&argv[1], "load")) {
        if (argc != 3) {
            resp_wrong_arity(c, "script|load");
            return;
        }
        const resp_script *const s = resp_script_of_text(&argv[2]);
        if (s == NULL) {
            resp_script_unknown(c);
        } else {
            resp_bulk_text(c, s->sha1);
        }
    } else if (resp_is(&argv[1], "exists")) {
        if (argc < 3) {
            resp_wrong_arity(c, "script|exists");
            return;
        }
        resp_array(c, argc - 2);
        for (uint32_t i = 2; i < argc; i++) {
            resp_int(c, resp_script_of(&argv[i], false) != NULL);
        }
    } else {
        resp_unknown_sub(c, argv, "SCRIPT");
    }
}

BASE_SIZE_END
