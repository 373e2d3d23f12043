/* SPDX-License-Identifier: MIT
 *
 * api_answers: cache the answers of an API that may be slow, down, or paid by the call.
 *
 * The program asks another company for exchange rates. An answer counts for a minute. While the API
 * fails, the last answer is sent for a day, with the code STALE. Three options protect the API and
 * the threads of the program:
 *
 *   - error_ttl_ms: after a failed call the same question is not asked for 5 seconds, or as long as
 *     the Retry-After of the API says. Callers get the failure at once.
 *   - breaker: after two failures in a row no question is asked for up to a minute, then one is.
 *   - hard_timeout_ms: after 5 seconds another thread may ask in place of one that hangs. Give your
 *     client of HTTP a shorter time limit, because the library cannot end its call.
 *
 * A made-up currency is also a question that the API may bill. So the program checks the text
 * first, and the answer "no such currency" is remembered for a minute.
 *
 * In the folder of this project, after `make`:
 *     cc -O2 tests/examples/api_answers.c -Iinclude build/libcellar.a -pthread && ./a.out
 * With the drop-in, after `make dist`:
 *     cc -O2 tests/examples/api_answers.c dist/cellar.c -Idist -Idist/include -pthread && ./a.out
 *
 * For each question the program prints the HTTP status of its answer and the code of the call. A
 * line with GET before it is a call of the API, which fails from USD on. In your program, replace
 * answer_load by your client. The loader may run in a thread of the store, and several may run at
 * once: what it uses must be safe with threads. */
#include <err.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cellar_breaker.h"
#include "cellar_load.h"
#include "cellar_observe.h"

static atomic_bool down; /* the API, here without a network */

static cellar_err answer_load(cellar_load *load, const void *currency, size_t len, void *ctx)
{
    (void)ctx;
    printf("GET /v1/%.*s\n", (int)len, (const char *)currency);
    if (down) { return cellar_load_fail(load, 503, 120 * 1000, 0); } /* status, Retry-After */
    if (len != 3 || memcmp(currency, "EUR", 3) != 0) { return cellar_load_absent(load); } /* 404 */
    return cellar_load_value(load, "1.08", 4);
}

static void answer(cellar *answers, const char *currency)
{
    cellar_result r = cellar_result_default();
    cellar_err err = CELLAR_E_INVAL;
    if (strlen(currency) == 3 && strspn(currency, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 3) {
        err = cellar_get_or_load(answers, currency, 3, NULL, NULL, NULL, &r);
    }
    const int64_t wait_ms = r.retry_after_ms > 0 ? r.retry_after_ms : 60 * 1000;
    switch (err) {
    case CELLAR_OK:
    case CELLAR_STALE: printf("200, %.*s", (int)r.value_len, (const char *)r.value); break;
    case CELLAR_ABSENT: printf("404"); break;
    case CELLAR_E_INVAL: printf("400"); break;
    default: printf("503, Retry-After: %d", (int)((wait_ms + 999) / 1000));
    }
    printf(" (%s: %s)\n", currency, cellar_code_name(err));
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
    breaker.consecutive_failures = 2;
    breaker.open_ms = 60 * 1000;
    load.error_ttl_ms = 5 * 1000;
    load.hard_timeout_ms = 5 * 1000;
    root.loader = answer_load;
    root.load = &load;
    root.breaker = &breaker;
    root.default_ttl_ms = 60 * 1000;
    root.stale_ms = 24 * 60 * 60 * 1000;
    cfg.root = &root;
    if (cellar_open(&cfg, &answers) != CELLAR_OK) {
        cellar_last_error(NULL, &why);
        errx(1, "%s", why.text); /* call, argument, rule and remedy */
    }
    for (int i = 0; i < 9; i++) {
        down = i > 3;
        answer(answers, asked[i]);
    }
    return cellar_close(answers) == CELLAR_OK ? 0 : 1;
}
