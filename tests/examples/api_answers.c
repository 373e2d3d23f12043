/* SPDX-License-Identifier: MIT
 *
 * api_answers: rates of currencies from the API of another company, which may be slow or down. An
 * answer counts for a minute; while there is no newer one, it is sent for a day. After a failure
 * the same question is not asked for error_ttl_ms, or as Retry-After says; after two in a row, no
 * question for a minute. Each new text of a client would be a call, which may be billed: three
 * letters, or no call. A call waits wait_timeout_ms for that of another thread; it takes over after
 * hard_timeout_ms: the client of HTTP has a shorter time limit, as the library ends no call.
 *
 *     cc -O2 api_answers.c -lcellar -pthread
 *     drop-in: cc -O2 api_answers.c dist/cellar.c -Idist -Idist/include -pthread */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "cellar_breaker.h"
#include "cellar_invalidate.h"

enum { OPEN_MS = 60 * 1000 };
static atomic_int calls, down;

/* GET https://rates.example/v1/EUR, here without a network. */
static cellar_err answer_load(cellar_load *load, const void *currency, size_t len, void *ctx)
{
    cellar_set_opts o = cellar_set_opts_default();
    (void)ctx, o.tags = &(cellar_bytes){ "rates", 5 }, o.tag_count = 1, calls++;
    if (down) { return cellar_load_fail(load, 503, 120 * 1000, 0); } /* its Retry-After */
    if (len != 3 || memcmp(currency, "EUR", 3) != 0) { return cellar_load_absent(load); } /* 404 */
    return cellar_load_opts_set(load, &o) ? CELLAR_E_LOADER : cellar_load_value(load, "1.08", 4);
}

static void answer(cellar *answers, const char *currency)
{
    cellar_result r = cellar_result_default();
    const cellar_err err = strspn(currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 3 || currency[3] != 0 ?
        CELLAR_E_INVAL : cellar_get_or_load(answers, currency, 3, NULL, NULL, NULL, &r);
    printf("%s: ", currency);
    switch (err) {
    case CELLAR_OK: case CELLAR_STALE: /* a minute or a day old: better than none */
        printf("200, %.*s%s", (int)r.value_len, (const char *)r.value, err ? ", old" : ""); break;
    case CELLAR_ABSENT: printf("404"); break;
    case CELLAR_E_INVAL: printf("400"); break;
    case CELLAR_E_BREAKER_OPEN: printf("503, Retry-After: %d", OPEN_MS / 1000); break;
    case CELLAR_E_LOADER: case CELLAR_E_TIMEOUT: case CELLAR_E_LIMIT: /* it failed, or is slow */
        printf("503, Retry-After: %d", r.retry_after_ms ? (int)(r.retry_after_ms + 999) / 1000 : 5);
        break;
    default: printf("500, %s", cellar_strerror(err)); /* no memory */
    }
    printf(" (calls: %d)\n", calls);
    cellar_result_free(&r);
}

int main(void)
{
    const char *const asked[] = { "EUR", "EUR", "ZZZ", "ZZZ", "USD", "USD", "GBP", "CHF", "eur" };
    cellar_breaker_config breaker = cellar_breaker_config_default();
    cellar_load_opts load = cellar_load_opts_default();
    cellar_namespace_config root = cellar_namespace_config_default();
    cellar_config cfg = cellar_config_default();
    cellar_error_info why = cellar_error_info_default();
    cellar *answers;
    root.loader = answer_load, root.load = &load, root.breaker = &breaker, cfg.root = &root;
    root.default_ttl_ms = 60 * 1000, root.stale_ms = 24 * 3600 * 1000;
    load.hard_timeout_ms = 5000, load.wait_timeout_ms = 2000, load.error_ttl_ms = 5000;
    breaker.consecutive_failures = 2, breaker.open_ms = OPEN_MS;
    if (cellar_open(&cfg, &answers) != CELLAR_OK) {
        return cellar_last_error(NULL, &why), fprintf(stderr, "%s\n", why.text), 1;
    }
    for (int i = 0; i < 9; i++) {
        down = i > 3; /* from USD on */
        answer(answers, asked[i]);
    }
    cellar_delete_by_tag(answers, "rates", 5, CELLAR_TAG_SOFT); /* they changed, says a webhook */
    answer(answers, "EUR");
    return cellar_close(answers) == CELLAR_OK ? 0 : 1;
}
