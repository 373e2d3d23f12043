/* SPDX-License-Identifier: MIT
 *
 * login: slow down guesses of passwords, and ban an address that guesses on.
 *
 * Two limiters count wrong passwords. An account takes three in a quarter of an hour, from all
 * addresses together, and then no password until that time has passed. An address may send five in
 * an hour, for all accounts together. The next one bans the address for a day: `ban_ns` of the rule
 * does that. cellar_limiter_ban bans a key by hand, cellar_limiter_reset ends a ban.
 *
 * Each attempt is counted before the password is compared, so a hundred attempts at the same time
 * are no way around the limit. A right password is not counted: the account begins again at 0, and
 * the address gets one attempt back. It does not begin again, because a guesser may have an account
 * too. With many addresses a guesser can keep the owner of an account out: choose the limits.
 *
 * In the folder of this project, after `make`:
 *     cc -O2 tests/examples/login.c -Iinclude build/libcellar.a -pthread && ./a.out
 * With the drop-in, after `make dist`:
 *     cc -O2 tests/examples/login.c dist/cellar.c -Idist -Idist/include -pthread && ./a.out
 *
 * The program has a clock of its own, so a day takes no time. Each line of the output is an
 * attempt: the minute, the address, the account, the HTTP status, and the minutes to wait. 401 is a
 * wrong password, 429 too many of them. 503 means that the limiter has no decision, for example
 * without memory. In your program, leave out the clock, and compare passwords by a slow hash such
 * as argon2. Answer an unknown account as a wrong password, after the same time. Set
 * `snapshot_path`, so that a restart ends no ban. Behind a proxy take the address from its header
 * line. Of an IPv6 address take the first 64 bits. A limiter that processes share knows no ban
 * (shared_limit.c): let one process log users in. */
#include <err.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cellar_limit.h"

static cellar_limiter *accounts, *addresses;
static uint64_t minute;

static uint64_t read_clock(void *ctx)
{
    (void)ctx;
    return (minute + 1) * CELLAR_MINUTE_NS;
}

static bool password_is_right(const char *account, const char *password)
{
    return strcmp(account, "ada") == 0 && strcmp(password, "lovelace") == 0; /* a stand-in */
}

static int log_in(const char *address, const char *account, const char *password, int *wait)
{
    const cellar_limiter_link both[2] = { { addresses, address, strlen(address), 1 },
                                          { accounts, account, strlen(account), 1 } };
    cellar_limiter_result limit;
    const cellar_err err = cellar_limiter_check_chain(both, 2, &limit, NULL);
    if (err == CELLAR_LIMITED) {
        *wait = (int)((limit.retry_after_ns - 1) / CELLAR_MINUTE_NS) + 1;
        return 429;
    }
    if (err != CELLAR_OK) { return 503; }
    if (!password_is_right(account, password)) { return 401; }
    cellar_limiter_adjust(addresses, address, strlen(address), -1);
    cellar_limiter_reset(accounts, account, strlen(account), NULL);
    return 200;
}

static void attempt(uint64_t at, const char *address, const char *account, const char *password)
{
    int wait = 0;
    minute = at;
    const int status = log_in(address, account, password, &wait);
    printf("minute %4d, %s as %s: %d, wait %d\n", (int)at, address, account, status, wait);
}

int main(void)
{
    const cellar_rule account = cellar_rule_sliding_log(3, 15 * CELLAR_MINUTE_NS);
    cellar_rule address = cellar_rule_sliding_log(5, CELLAR_HOUR_NS);
    cellar_limiter_config cfg = cellar_limiter_config_default();
    cellar_error_info why = cellar_error_info_default();
    address.ban_ns = CELLAR_DAY_NS;
    cfg.clock_ns = read_clock;
    cellar_err err = cellar_limiter_open(&cfg, &account, 1, &accounts);
    if (err == CELLAR_OK) { err = cellar_limiter_open(&cfg, &address, 1, &addresses); }
    cellar_last_error(NULL, &why); /* call, argument, rule and remedy */
    if (err != CELLAR_OK) { errx(1, "%s", why.text); }
    for (int i = 0; i < 7; i++) { attempt(0, "192.0.2.9", i < 4 ? "ada" : "bob", "a guess"); }
    attempt(2, "198.51.100.7", "ada", "lovelace");
    attempt(15, "198.51.100.7", "ada", "lovelace");
    attempt(1441, "192.0.2.9", "eve", "a guess");
    cellar_limiter_close(accounts);
    cellar_limiter_close(addresses);
    return 0;
}
