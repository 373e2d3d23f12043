/* SPDX-License-Identifier: MIT
 *
 * api_token: the access token of a service. It lives as long as the service says. One thread
 * fetches it for all; a thread of the store does so before its end. A token that the service
 * refuses is replaced once, however many calls were refused. Tokens stay in memory.
 *
 *     cc -O2 api_token.c -lcellar -pthread */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "cellar_load.h"

enum { TOKEN_MAX = 8192 }; /* a JWT has more than 1,000 bytes */
static atomic_int fetched;

/* POST /oauth/token, here without a network: {"access_token": "token-1", "expires_in": 3600}. */
static cellar_err fetch(cellar_load *load, const void *scope, size_t scope_len, void *ctx)
{
    char token[64];
    cellar_set_opts o = cellar_set_opts_default();
    (void)ctx, (void)scope, (void)scope_len;
    snprintf(token, sizeof token, "token-%d", ++fetched);
    o.ttl_ms = (3600 - 60) * 1000; /* a minute for calls on their way */
    const cellar_err err = cellar_load_opts_set(load, &o);
    return err != CELLAR_OK ? err : cellar_load_value(load, token, strlen(token));
}

/* Copy the token, or an empty text: the service is down. */
static void token_get(cellar *tokens, char token[TOKEN_MAX])
{
    cellar_result r = cellar_result_default();
    const cellar_err err = cellar_get_or_load(tokens, "orders", 6, NULL, NULL, NULL, &r);
    const size_t len = err >= 0 && r.value_len < TOKEN_MAX ? r.value_len : 0;
    if (len > 0) { memcpy(token, r.value, len); }
    token[len] = '\0';
    cellar_result_free(&r);
}

/* The service answered 401: remove this token, unless another thread has a newer one already. */
static cellar_err remove_refused(const void *old, size_t len, cellar_buf *out, void *refused)
{
    (void)out;
    const int same = old != NULL && len == strlen(refused) && memcmp(old, refused, len) == 0;
    return same ? CELLAR_REMOVED : CELLAR_MISS; /* MISS: change nothing */
}

int main(void)
{
    char token[TOKEN_MAX], again[TOKEN_MAX];
    cellar_load_opts early = cellar_load_opts_default();
    early.eager_refresh_pct = 80;
    early.error_ttl_ms = 1000; /* a service that is down is asked once a second, then more rarely */
    cellar_namespace_config n = cellar_namespace_config_default();
    n.load = &early, n.loader = fetch, n.hidden = 1;
    cellar *store, *tokens;
    if (cellar_open(NULL, &store) != CELLAR_OK ||
        cellar_namespace_open(store, "tokens", &n, &tokens) != CELLAR_OK) { return 1; }
    for (int call = 0; call < 3; call++) { token_get(tokens, token); }
    printf("%s, fetched %d\n", token, fetched);
    for (int refused = 0; refused < 2; refused++) {
        cellar_update(tokens, "orders", 6, NULL, remove_refused, token);
        token_get(tokens, again);
        printf("%s, fetched %d\n", again, fetched);
    }
    cellar_namespace_close(tokens);
    return cellar_close(store) == CELLAR_OK ? 0 : 1;
}
