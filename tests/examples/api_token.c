/* SPDX-License-Identifier: MIT
 *
 * api_token: the access token of a service, kept for as long as the service says. One thread
 * fetches it for all; a thread of the store fetches the next one before the old one expires. A
 * token that the service refuses is replaced once, however many calls were refused. Tokens stay in
 * memory (hidden), and the store overwrites their bytes there. All callers wait for the request:
 * give its client a time limit (CURLOPT_TIMEOUT_MS of libcurl).
 *
 *     cc -O2 api_token.c -lcellar -pthread
 *     drop-in: cc -O2 api_token.c dist/cellar.c -Idist -Idist/include -pthread */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "cellar_load.h"

enum { TOKEN_MAX = 8192 }; /* a JWT has more than 1,000 bytes */
static atomic_int fetched;

/* POST /oauth/token, here without a network: {"access_token": "orders-1", "expires_in": 3600}. */
static cellar_err fetch(cellar_load *load, const void *scope, size_t scope_len, void *ctx)
{
    char token[TOKEN_MAX];
    const int64_t life_s = 3600, margin_s = life_s < 120 ? life_s / 2 : 60; /* calls on their way */
    cellar_set_opts o = cellar_set_opts_default();
    o.ttl_ms = life_s > margin_s ? (life_s - margin_s) * 1000 : 1, (void)ctx; /* 0: without end */
    snprintf(token, sizeof token, "%.*s-%d", (int)scope_len, (const char *)scope, ++fetched);
    if (cellar_load_opts_set(load, &o) != CELLAR_OK) { return CELLAR_E_NOMEM; }
    return cellar_load_value(load, token, strlen(token));
}

/* Copy the token, or an empty text: the service is down. */
static void token_get(cellar *tokens, char token[TOKEN_MAX])
{
    cellar_result r = cellar_result_default();
    cellar_err err = cellar_get_or_load(tokens, "orders", 6, NULL, NULL, NULL, &r);
    if (err >= 0 && r.value_len >= TOKEN_MAX) { err = CELLAR_E_TOOBIG; }
    if (err < 0) { fprintf(stderr, "token: %s, %d\n", cellar_strerror(err), r.loader_err); }
    snprintf(token, TOKEN_MAX, "%.*s", (int)r.value_len, err < 0 ? "" : (const char *)r.value);
    cellar_result_free(&r);
}

/* The service answered 401: remove this token, unless another thread has a newer one already. */
static cellar_err remove_refused(const void *old, size_t len, cellar_buf *out, void *refused)
{
    const int same = old != NULL && len == strlen(refused) && memcmp(old, refused, len) == 0;
    return (void)out, same ? CELLAR_REMOVED : CELLAR_MISS; /* MISS: change nothing */
}

int main(void)
{
    char token[TOKEN_MAX], again[TOKEN_MAX];
    cellar_error_info why = cellar_error_info_default();
    cellar_load_opts early = cellar_load_opts_default();
    cellar_namespace_config n = cellar_namespace_config_default();
    cellar *store, *tokens;
    early.eager_refresh_pct = 80, early.error_ttl_ms = 1000; /* after a failure, then doubled */
    n.load = &early, n.loader = fetch, n.hidden = 1;
    if (cellar_open(NULL, &store) != CELLAR_OK ||
        cellar_namespace_open(store, "tokens", &n, &tokens) != CELLAR_OK) {
        cellar_last_error(store, &why);
        return fprintf(stderr, "%s\n", why.text), 1;
    }
    for (int call = 0; call < 3; call++) { token_get(tokens, token); }
    printf("%s, fetched %d\n", token, fetched);
    for (int refused = 0; refused < 2; refused++) {
        const int err = cellar_update(tokens, "orders", 6, NULL, remove_refused, token);
        if (err < 0) { cellar_delete(tokens, "orders", 6); } /* at worst one fetch too many */
        token_get(tokens, again);
        printf("%s, fetched %d\n", again, fetched);
    }
    cellar_namespace_close(tokens);
    return cellar_close(store) == CELLAR_OK ? 0 : 1;
}
