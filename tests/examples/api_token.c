/* SPDX-License-Identifier: MIT
 *
 * api_token: keep the access token of a service for as long as the service says.
 *
 * One thread fetches a token, and all other threads that need it wait for that one request. After
 * four fifths of its life a thread of the store fetches the next token, so that no call has to
 * wait. A token leaves the cache a minute before it expires: a call with it may be on its way.
 *
 * A service may refuse a token early, with status 401. Then all threads get that status at about
 * the same time, and one new token is enough. remove_same removes the token only if it is still the
 * refused one: the second thread finds a newer token and keeps it.
 *
 * Tokens are secrets. With `hidden` they stay in memory, and the store overwrites their bytes when
 * they end. Scans, dumps and logs of the store do not show them.
 *
 * In the folder of this project, after `make`:
 *     cc -O2 tests/examples/api_token.c -Iinclude build/libcellar.a -pthread && ./a.out
 * With the drop-in, after `make dist`:
 *     cc -O2 tests/examples/api_token.c dist/cellar.c -Idist -Idist/include -pthread && ./a.out
 *
 * The program prints that a token was refused in two threads, and which token each of them uses
 * then: the same one. In your program, let token_load send POST /oauth/token and read the token and
 * expires_in of the answer. Give that call a time limit: all callers wait for it. If token_get
 * gives an empty text, the service is down. */
#include <err.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "cellar_load.h"

enum { TOKEN_MAX = 8192 }; /* a JWT has more than 1,000 bytes */

static cellar_err token_load(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    static atomic_int fetched;
    char token[TOKEN_MAX];
    const int64_t life_s = 3600; /* refuse what is not 1 to 86,400: it comes from the network */
    cellar_set_opts o = cellar_set_opts_default();
    (void)ctx;
    const int n = snprintf(token, TOKEN_MAX, "%.*s-%d", (int)key_len, (const char *)key, ++fetched);
    o.ttl_ms = life_s > 120 ? (life_s - 60) * 1000 : life_s * 500;
    const cellar_err err = cellar_load_opts_set(load, &o);
    return err != CELLAR_OK ? err : cellar_load_value(load, token, (size_t)n);
}

static void token_get(cellar *tokens, char token[TOKEN_MAX])
{
    cellar_result r = cellar_result_default();
    cellar_err err = cellar_get_or_load(tokens, "orders", 6, NULL, NULL, NULL, &r);
    if (err >= 0 && r.value_len >= TOKEN_MAX) { err = CELLAR_E_TOOBIG; }
    if (err < 0) { warnx("token: %s, loader %d", cellar_strerror(err), (int)r.loader_err); }
    snprintf(token, TOKEN_MAX, "%.*s", (int)r.value_len, err < 0 ? "" : (const char *)r.value);
    cellar_result_free(&r);
}

static cellar_err remove_same(const void *old, size_t len, cellar_buf *out, void *refused)
{
    (void)out;
    const int same = old != NULL && len == strlen(refused) && memcmp(old, refused, len) == 0;
    return same ? CELLAR_REMOVED : CELLAR_MISS; /* to cellar_update: remove it; change nothing */
}

int main(void)
{
    char token[TOKEN_MAX], next[TOKEN_MAX];
    cellar_load_opts load = cellar_load_opts_default();
    cellar_namespace_config root = cellar_namespace_config_default();
    cellar_config cfg = cellar_config_default();
    cellar_error_info why = cellar_error_info_default();
    cellar *tokens;
    load.eager_refresh_pct = 80;
    load.error_ttl_ms = 1000; /* after a failure the service is not asked for a second */
    root.load = &load;
    root.loader = token_load;
    root.hidden = 1;
    cfg.root = &root;
    if (cellar_open(&cfg, &tokens) != CELLAR_OK) {
        cellar_last_error(NULL, &why);
        errx(1, "%s", why.text); /* call, argument, rule and remedy */
    }
    token_get(tokens, token);
    for (int thread = 0; thread < 2; thread++) { /* the same token is refused in two threads */
        const cellar_err err = cellar_update(tokens, "orders", 6, NULL, remove_same, token);
        if (err < 0) { cellar_delete(tokens, "orders", 6); } /* at worst one request too many */
        token_get(tokens, next);
        printf("%s was refused, now %s\n", token, next);
    }
    return cellar_close(tokens) == CELLAR_OK ? 0 : 1;
}
