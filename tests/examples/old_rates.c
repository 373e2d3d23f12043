/* SPDX-License-Identifier: MIT
 *
 * old_rates: answer with old values while their source fails.
 *
 * The values are exchange rates. A rate is fresh for a minute. In the hour after that minute a call
 * returns the old rate, with the code STALE, and does not wait: the store loads the new rate in the
 * background. If that load fails, callers keep the old rate, and the next try follows 30 seconds
 * later. After the hour there is no rate, and the call says why.
 *
 * In the folder of this project, after `make`:
 *     cc -O2 tests/examples/old_rates.c -Iinclude build/libcellar.a -pthread && ./a.out
 * With the drop-in, after `make dist`:
 *     cc -O2 tests/examples/old_rates.c dist/cellar.c -Idist -Idist/include -pthread && ./a.out
 *
 * The program has a clock of its own, so an hour takes no time. Each line of the output is a call:
 * the second, the code, and the rate. The source works again at second 160, but the try of second
 * 130 has failed, so the next one is at second 170. In your program, replace load_rate by a call of
 * your source, and leave out the clock, `no_threads` and cellar_tick: a thread of the store does
 * then what cellar_tick does here. */
#include <err.h>
#include <stdio.h>
#include <string.h>

#include "cellar_admin.h"
#include "cellar_load.h"
#include "cellar_observe.h"

static int64_t now_ms;

static int64_t read_clock(void *ctx)
{
    (void)ctx;
    return now_ms;
}

static cellar_err load_rate(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    char rate[32];
    const int second = (int)(now_ms / 1000);
    (void)ctx;
    const int fails = (second >= 100 && second < 160) || second > 3000;
    if (fails) { return cellar_load_fail(load, 503, 0, 0); }
    snprintf(rate, sizeof rate, "%.*s of second %d", (int)key_len, (const char *)key, second);
    return cellar_load_value(load, rate, strlen(rate));
}

static void show(cellar *rates, int second)
{
    cellar_result r = cellar_result_default();
    now_ms = second * 1000;
    const cellar_err err = cellar_get_or_load(rates, "EUR", 3, NULL, NULL, NULL, &r);
    printf("second %4d: %s", second, cellar_code_name(err));
    if (err < 0) { printf(", code %d of the loader\n", (int)r.loader_err); }
    else { printf(", %.*s\n", (int)r.value_len, (const char *)r.value); }
    cellar_result_free(&r);
    while (cellar_tick(rates, 0, NULL) == CELLAR_PENDING) {} /* runs the load in the background */
}

int main(void)
{
    static const int seconds[] = { 0, 61, 62, 130, 131, 155, 170, 171, 4000 };
    cellar_host_config host = cellar_host_config_default();
    cellar_namespace_config root = cellar_namespace_config_default();
    cellar_config cfg = cellar_config_default();
    cellar_error_info why = cellar_error_info_default();
    cellar *rates;
    host.clock = read_clock;
    host.no_threads = 1;
    root.loader = load_rate; /* it outlives each call, so it may run in the background */
    root.default_ttl_ms = 60 * 1000;
    root.stale_ms = 60 * 60 * 1000;
    cfg.host = &host;
    cfg.root = &root;
    if (cellar_open(&cfg, &rates) != CELLAR_OK) {
        cellar_last_error(NULL, &why);
        errx(1, "%s", why.text); /* call, argument, rule and remedy */
    }
    for (int i = 0; i < 9; i++) { show(rates, seconds[i]); }
    return cellar_close(rates) == CELLAR_OK ? 0 : 1;
}
