/* SPDX-License-Identifier: MIT
 *
 * memoize: call a slow function once for the same arguments.
 *
 * The function computes the price of a parcel. The program calls `price` as if there were no cache.
 * CELLAR_MEMOIZE makes a key of the name, the version and the arguments, and runs price_compute
 * only for a key without a result. Threads that ask for the same price wait for one computation.
 *
 * This suits a function with a result that depends on its arguments alone. If the function reads
 * something else, such as a table of prices, make that an argument, or part of the version. Change
 * the version together with the code: no call finds the results of the old one. Arguments are
 * numbers, texts and bytes. Of a struct pass the members, because it may have padding.
 *
 * In the folder of this project, after `make`:
 *     cc -O2 tests/examples/memoize.c -Iinclude build/libcellar.a -pthread && ./a.out
 * With the drop-in, after `make dist`:
 *     cc -O2 tests/examples/memoize.c dist/cellar.c -Idist -Idist/include -pthread && ./a.out
 *
 * Each line of the output is a call: the arguments, the code, the price, and how many times the
 * function has run. ABSENT says that there is no such price; that is a result, too, and it is kept
 * for a minute. A failure is not kept: the next call tries again. In C++, `price` makes the array
 * of arguments by CELLAR_ARGS and calls cellar_memoize. */
#include <err.h>
#include <stdio.h>
#include <string.h>

#include "cellar_memo.h"
#include "cellar_observe.h"

#define PRICE_VERSION 1

static cellar *results;
static int runs;

static cellar_err price_compute(cellar_load *load, const cellar_arg *args, size_t n, void *ctx)
{
    const cellar_bytes country = args[0].as.bytes; /* not terminated */
    (void)n;
    (void)ctx;
    runs++;
    if (country.len != 2) { return CELLAR_E_INVAL; } /* the code of `loader_err` */
    if (memcmp(country.data, "DE", 2) != 0) { return cellar_load_absent(load); }
    const int64_t cents = 399 + args[1].as.i64 / 10;
    return cellar_load_value(load, &cents, sizeof cents);
}

static cellar_err price(const char *country, int grams, int64_t *cents)
{
    cellar_result r = cellar_result_default();
    const cellar_err err = CELLAR_MEMOIZE(results, "price", PRICE_VERSION, NULL, price_compute,
                                          NULL, &r, country, grams);
    if (r.value_len == sizeof *cents) { memcpy(cents, r.value, sizeof *cents); }
    cellar_result_free(&r);
    return err;
}

static void show(const char *country, int grams)
{
    int64_t cents = 0;
    const cellar_err err = price(country, grams, &cents);
    printf("%s %d: %s, %d cents, %d runs\n", country, grams, cellar_code_name(err), (int)cents,
           runs);
}

int main(void)
{
    cellar_config cfg = cellar_config_default();
    cellar_error_info why = cellar_error_info_default();
    cfg.memory_bytes = 4 << 20;
    if (cellar_open(&cfg, &results) != CELLAR_OK) {
        cellar_last_error(NULL, &why);
        errx(1, "%s", why.text); /* call, argument, rule and remedy */
    }
    show("DE", 500);
    show("DE", 500);
    show("DE", 1500);
    show("XX", 500);
    show("XX", 500);
    show("Germany", 500);
    show("Germany", 500);
    return cellar_close(results) == CELLAR_OK ? 0 : 1;
}
