/* SPDX-License-Identifier: MIT
 *
 * fuzz/cron: cron expressions of any bytes.
 *
 * INPUT      the expression; a byte 0 ends it
 * ORACLE     no crash, no sanitizer report, an end in bounded time. A refusal has a column inside
 *            the text. An accepted expression fires after the instant that was asked for, and again
 *            after that; asked for one second less, at the same instant.
 * USE        tests/fuzz/test_cron_fuzz.c: seeded inputs, in every test run. libFuzzer:
 *            tests/fuzz/matrix_fuzz.sh. */
#include "tests/support/t.h"

#include "base/timezone.h"
#include "work/cron.h"
#include "tests/fuzz/must.h"

static uint64_t fuzz_good, fuzz_fired; /* accepted; of these: with an instant */

static void fuzz_fire(const cron *c, const base_tz *z)
{
    int64_t at = INT64_C(1709075820); /* before a leap day and a change of daylight saving */
    for (int i = 0; i < 3; i++) {
        const int64_t next = cron_next(c, z, at);
        FUZZ_MUST(next > at);
        if (next == INT64_MAX) { return; }
        FUZZ_MUST(cron_next(c, z, next - 1) == next);
        fuzz_fired++;
        at = next;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    cron c;
    char zone[CRON_ZONE_MAX + 1];
    cron_fault fault;
    base_tz *z;
    char *text = malloc(n + 1); /* a read past its end is found */
    if (text == NULL) { return 0; }
    if (n > 0) { memcpy(text, data, n); }
    text[n] = '\0';
    const size_t len = strlen(text);
    const cellar_err err = cron_parse(text, n, n % 2 == 0 ? 0 : CRON_DAY_AND, &c, zone, &fault);
    FUZZ_MUST(err == CELLAR_OK || err == CELLAR_E_INVAL || err == CELLAR_E_NEVER ||
              err == CELLAR_E_TOOBIG);
    FUZZ_MUST((err == CELLAR_E_INVAL || err == CELLAR_E_TOOBIG) == (fault.column != 0));
    FUZZ_MUST((err == CELLAR_E_INVAL) == (fault.rule != NULL));
    FUZZ_MUST(fault.column <= len + 1);
    if (err == CELLAR_OK) {
        fuzz_good++;
        FUZZ_MUST(c.every_ms == 0 || c.every_ms >= 1000);
        FUZZ_MUST(base_tz_open(NULL, "-03:30", &z) == CELLAR_OK);
        if (c.every_ms == 0) { fuzz_fire(&c, z); }
        base_tz_close(z);
    }
    free(text);
    return 0;
}
