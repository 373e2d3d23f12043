/* SPDX-License-Identifier: MIT
 *
 * old_rates: exchange rates, also while their source fails. A rate is fresh for a minute. In the
 * hour after that minute a call returns the old rate and does not wait: the store loads the new one
 * in the background. If the load fails, callers keep the old rate, and the next try follows 30 s
 * later. After the hour there is no rate, and the call says why.
 *
 * The program has a clock of its own, so an hour takes no time and the output is always the same. A
 * server leaves out `clock` and `no_threads`: a thread of the store then does what cellar_tick does
 * here.
 *
 *     cc -O2 old_rates.c -lcellar -pthread
 *     drop-in: cc -O2 old_rates.c dist/cellar.c -Idist -Idist/include -pthread */
#include <stdio.h>
#include <string.h>

#include "cellar_admin.h"
#include "cellar_load.h"

static int64_t now_ms;
static int source_works = 1;

static int64_t read_clock(void *ctx)
{
    (void)ctx;
    return now_ms;
}

/* Ask the source for a rate. Here there is none: its answer is the time of the question. */
static cellar_err load_rate(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    char rate[32];
    (void)key, (void)key_len, (void)ctx;
    if (!source_works) { return cellar_load_fail(load, 503, 0, 0); }
    snprintf(rate, sizeof rate, "rate of second %d", (int)(now_ms / 1000));
    return cellar_load_value(load, rate, strlen(rate));
}

static void show(cellar *rates, int second)
{
    cellar_result r = cellar_result_default();
    now_ms = second * 1000;
    const cellar_err err = cellar_get_or_load(rates, "EUR", 3, NULL, NULL, NULL, &r);
    printf("second %4d: ", second);
    if (err == CELLAR_OK || err == CELLAR_STALE) {
        printf("%s%.*s\n", err == CELLAR_STALE ? "old, " : "", (int)r.value_len,
               (const char *)r.value);
    } else { printf("%s, code %d\n", cellar_strerror(err), (int)r.loader_err); }
    cellar_result_free(&r);
    while (cellar_tick(rates, 0, NULL) == CELLAR_PENDING) { } /* runs the load in the background */
}

int main(void)
{
    cellar_host_config host = cellar_host_config_default();
    cellar_namespace_config root = cellar_namespace_config_default();
    cellar_config cfg = cellar_config_default();
    cellar *rates;
    host.clock = read_clock, host.no_threads = 1;
    root.loader = load_rate; /* of the namespace: it outlives each call, so it may run later */
    root.default_ttl_ms = 60000, root.stale_ms = 3600000;
    cfg.host = &host, cfg.root = &root;
    if (cellar_open(&cfg, &rates) != CELLAR_OK) { return 1; }
    show(rates, 0);                      /* a miss: the call loads */
    show(rates, 61), show(rates, 62);    /* past its TTL: old, and the next call gets the new one */
    source_works = 0, show(rates, 130);  /* old again; the load in the background fails */
    show(rates, 131), show(rates, 155);  /* no try before 30 s have passed */
    source_works = 1, show(rates, 170);  /* now it is tried again .. */
    show(rates, 171);                    /* .. and here is the new rate */
    source_works = 0, show(rates, 4000); /* the hour is over as well */
    return cellar_close(rates) == CELLAR_OK ? 0 : 1;
}
