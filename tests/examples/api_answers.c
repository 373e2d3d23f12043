/* SPDX-License-Identifier: MIT
 *
 * api_answers: rates of currencies from the API of another company, which may be slow or down. An
 * answer counts for a minute; while there is no newer one, it is sent for a day. After a failure
 * the same question is not asked for some seconds; after two in a row, no question for a minute.
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

/* GET https://rates.example/v1/EUR, here without a network. The client has a time limit below
 * hard_timeout_ms: the library ends no call. */
static cellar_err answer_load(cellar_load *load, const void *currency, size_t len, void *ctx)
{
    cellar_set_opts o = cellar_set_opts_default();
    (void)ctx, calls++;
    o.tags = &(cellar_bytes){ "rates", 5 }, o.tag_count = 1;
    if (down) { return cellar_load_fail(load, 503, 120 * 1000, 0); } /* its Retry-After */
    if (len != 3 || memcmp(currency, "EUR", 3) != 0) { return cellar_load_absent(load); } /* 404 */
    return cellar_load_opts_set(load, &o) ? CELLAR_E_LOADER : cellar_load_value(load, "1.08", 4);
}

static void answer(cellar *answers, const char *currency)
{
    cellar_result r = cellar_result_default();
    /* Each new text of a client is a call, which may be billed: three letters, or no call. */
    const cellar_err err = strspn(currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != 3 || currency[3] != 0 ?
        CELLAR_E_INVAL : cellar_get_or_load(answers, currency, 3, NULL, NULL, NULL, &r);
    printf("%s: ", currency);
    switch (err) {
    case CELLAR_OK: case CELLAR_STALE: /* a minute or a day old: better than none */
        printf("200, %.*s%s", (int)r.value_len, (const char *)r.value, err ? ", old" : "");
        break;
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
    const char *const asked[] = { "EUR", "EUR", "XXX", "XXX", "USD", "USD", "GBP", "CHF", "eur" };
    cellar_breaker_config breaker = cellar_breaker_config_default();
    cellar_load_opts load = cellar_load_opts_default();
    cellar_namespace_config root = cellar_namespace_config_default();
    cellar_config cfg = cellar_config_default();
    cellar *answers;
    root.loader = answer_load, root.load = &load, root.breaker = &breaker, cfg.root = &root;
    root.default_ttl_ms = 60 * 1000, root.stale_ms = 24 * 3600 * 1000;
    load.hard_timeout_ms = 5000; /* then another call takes over */
    load.wait_timeout_ms = 2000; /* so long a call waits for that of another thread */
    load.error_ttl_ms = 5000;    /* a failure is remembered, or as Retry-After says */
    breaker.consecutive_failures = 2, breaker.open_ms = OPEN_MS;
    if (cellar_open(&cfg, &answers) != CELLAR_OK) { return 1; }
    for (int i = 0; i < 9; i++, down = i > 3) { answer(answers, asked[i]); }
    cellar_delete_by_tag(answers, "rates", 5, CELLAR_TAG_SOFT); /* they changed, says a webhook */
    answer(answers, "EUR");
    return cellar_close(answers) == CELLAR_OK ? 0 : 1;
}
