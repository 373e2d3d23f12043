/* SPDX-License-Identifier: MIT
 *
 * cmd_script: EVAL EVALSHA SCRIPT.
 *
 * PICTURE    text -> SHA-256 -> row of resp_scripts -> a function of this file
 * INVARIANTS There is no interpreter. Five texts are recognised byte for byte: release, extend and
 *            reacquire of the locks of redis-py (4.3 to 8.1), and the two increments of
 *            django-redis (5.2 to 7.0). Each is one cellar_update. Every other text is refused.
 *            The five are always known: EVALSHA needs no SCRIPT LOAD before. So are those of the
 *            remote tier, on a port with a shared store (shared_script.c).
 * LOCKING    None. */
#include "base/log.h"
#include "base/num.h"
#include "base/sha256.h"
#include "resp/data.h"
#include "resp/entry.h"
#include "resp/shared.h"
#include "resp/shared_script.h"

#include <string.h>

BASE_SIZE_BEGIN

#define RESP_SHA1_TEXT 40u /* hexadecimal digits that name a script */

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
    const cellar_err err = resp_info(c, ns, argv[0], &info);
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

typedef struct resp_script {
    char sha1[RESP_SHA1_TEXT + 1]; /* the name of the text for clients */
    uint32_t args;                 /* after the one key */
    void (*run)(resp_client *c, cellar *ns, const cellar_bytes *argv); /* key, then arguments */
    unsigned char sha256[32];      /* of the text */
} resp_script;

static const resp_script resp_scripts[] = {
    { "c3f8721cbb97f72bc19e972846bd7aaf91901658", 1, resp_script_release,
      { 0x4e, 0x78, 0x5f, 0xa3, 0x41, 0x18, 0xdf, 0xed,
        0x04, 0x10, 0x99, 0x84, 0x44, 0x7f, 0x98, 0xea,
        0xba, 0xf0, 0xdd, 0x03, 0x51, 0x00, 0x1e, 0xf9,
        0xa2, 0xb9, 0xcb, 0xda, 0x35, 0xe3, 0x31, 0x95 } },
    { "a4e8783852e6b949f9ef3a97212805108459a890", 3, resp_script_extend,
      { 0xe4, 0xad, 0x08, 0x40, 0xa6, 0xbe, 0x6b, 0xe6,
        0xa9, 0xc8, 0xf5, 0xf9, 0xa9, 0xcc, 0x77, 0x9a,
        0xe3, 0xec, 0x28, 0x14, 0x5c, 0x88, 0xe1, 0xb7,
        0xc8, 0xe9, 0xc4, 0x1f, 0x70, 0x5d, 0xf7, 0x25 } },
    { "1cac51482acf5858da00f6d685d68f886cd6b6b2", 2, resp_script_reacquire,
      { 0xac, 0x88, 0xae, 0x65, 0xa6, 0x62, 0xf8, 0xe0,
        0xc0, 0x11, 0xa4, 0xfb, 0x13, 0xed, 0xa2, 0x0a,
        0x33, 0x05, 0x75, 0x81, 0x25, 0x0a, 0xa4, 0xa0,
        0xd3, 0x04, 0xb8, 0x76, 0x8a, 0x39, 0x11, 0xc8 } },
    { "f4a7da3e5d8ea3b46642af08427151cae0190400", 1, resp_script_incr_present,
      { 0xb9, 0x45, 0x1c, 0x2d, 0xc7, 0x0d, 0x02, 0x77,
        0xb6, 0x75, 0x55, 0xf8, 0x36, 0xe9, 0xc3, 0x62,
        0xce, 0x54, 0xb2, 0x5b, 0xab, 0xa8, 0xac, 0x98,
        0xd9, 0xdf, 0x03, 0xd4, 0x98, 0x62, 0x6c, 0x50 } },
    { "4d15273b16b10c15e1d9202cbe93c959ab7d250b", 1, resp_script_incr,
      { 0xbe, 0xce, 0xf4, 0x07, 0xfb, 0x61, 0xe9, 0xd9,
        0x76, 0x90, 0x86, 0x02, 0xce, 0x81, 0x74, 0xd3,
        0x91, 0x97, 0xc1, 0xba, 0x6c, 0x8c, 0x44, 0x0e,
        0xc1, 0x74, 0x0b, 0xbe, 0x47, 0xf7, 0x15, 0x47 } },
};
#define RESP_SCRIPTS (sizeof resp_scripts / sizeof resp_scripts[0])

/* A script of either table; of no table: both NULL. */
typedef struct resp_found {
    const resp_script *own;
    const resp_shared_script *shared;
} resp_found;

static bool resp_found_none(const resp_found *f) { return f->own == NULL && f->shared == NULL; }

static resp_found resp_script_of_text(const cellar_resp *r, const cellar_bytes *text)
{
    unsigned char digest[32];
    resp_found f = { NULL, NULL };
    base_sha256 sum;
    base_sha256_init(&sum);
    base_sha256_add(&sum, text->data, text->len);
    base_sha256_end(&sum, digest);
    for (size_t i = 0; i < RESP_SCRIPTS; i++) {
        if (memcmp(digest, resp_scripts[i].sha256, sizeof digest) == 0) {
            f.own = &resp_scripts[i];
        }
    }
    if (r->shared.store != NULL) { f.shared = resp_shared_script_of(digest); }
    return f;
}

static resp_found resp_script_of_name(const cellar_resp *r, const cellar_bytes *name)
{
    resp_found f = { NULL, NULL };
    for (size_t i = 0; i < RESP_SCRIPTS; i++) {
        if (resp_is(name, resp_scripts[i].sha1)) { f.own = &resp_scripts[i]; }
    }
    if (r->shared.store != NULL) { f.shared = resp_shared_script_named(name); }
    return f;
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

static void resp_script_run(resp_client *c, const resp_found *f, const cellar_bytes *argv,
                            uint32_t argc, int64_t keys)
{
    const resp_script *const s = f->own;
    if (f->shared != NULL && !resp_is_shared(c)) {
        resp_error(c, "ERR this script runs on database 0");
    } else if (f->shared != NULL) {
        resp_shared_script_run(c, f->shared, argv + 3, (uint32_t)keys, argc - 3 - (uint32_t)keys);
    } else if (keys != 1 || argc != 4 + s->args) {
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
    const resp_found f = resp_script_of_text(c->of, &argv[1]);
    if (resp_found_none(&f)) {
        resp_script_unknown(c);
    } else {
        resp_script_run(c, &f, argv, argc, keys);
    }
}

RESP_CALL(resp_cmd_evalsha)
{
    int64_t keys;
    const resp_found f = resp_script_of_name(c->of, &argv[1]);
    if (argv[1].len == RESP_SHA1_TEXT && !resp_script_keys(c, argv, argc, &keys)) { return; }
    if (resp_found_none(&f)) {
        resp_error(c, "NOSCRIPT No matching script. Please use EVAL.");
    } else {
        resp_script_run(c, &f, argv, argc, keys);
    }
}

RESP_CALL(resp_cmd_script)
{
    if (resp_is(&argv[1], "load")) {
        if (argc != 3) {
            resp_wrong_arity(c, "script|load");
            return;
        }
        const resp_found f = resp_script_of_text(c->of, &argv[2]);
        if (resp_found_none(&f)) {
            resp_script_unknown(c);
        } else {
            resp_bulk_text(c, f.own != NULL ? f.own->sha1 : resp_shared_script_name(f.shared));
        }
    } else if (resp_is(&argv[1], "exists")) {
        if (argc < 3) {
            resp_wrong_arity(c, "script|exists");
            return;
        }
        resp_array(c, argc - 2);
        for (uint32_t i = 2; i < argc; i++) {
            const resp_found f = resp_script_of_name(c->of, &argv[i]);
            resp_int(c, !resp_found_none(&f));
        }
    } else {
        resp_unknown_sub(c, argv, "SCRIPT");
    }
}

BASE_SIZE_END
