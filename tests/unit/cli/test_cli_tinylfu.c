/* SPDX-License-Identifier: MIT
 *
 * Aim:    W-TinyLFU, with which policies are compared, is the published one.
 * Method: cases worked out by hand at 10 entries (window 1, main 9, protected 7). libCacheSim has the
 *         same misses: test_cli_replay.sh. */
#include "tests/support/t.h"

#include "bench/replay/policies/tinylfu.c"

#include <string.h>

void replay_policy_add(const replay_code *code) { T_EQ_STR(code->name, "w-tinylfu"); }

/* The places, and the policy as the replay calls it. */
enum { CLI_TINY_WINDOW, CLI_TINY_PROBATION, CLI_TINY_PROTECTED, CLI_TINY_OUT = POLICY_LISTS };
typedef tinylfu cli_tiny;
static cli_tiny *cli_tiny_open(uint64_t capacity, uint32_t objects)
{
    return tinylfu_open(capacity, objects);
}
static void cli_tiny_close(cli_tiny *t) { free(t); }
static unsigned cli_tiny_where(const cli_tiny *t, uint32_t number) { return t->l.in[number]; }
static unsigned cli_tiny_uses(cli_tiny *t, uint32_t number) { return tinylfu_uses(t, number); }
static bool cli_tiny_request(cli_tiny *t, uint32_t number)
{
    if (cli_tiny_where(t, number) != CLI_TINY_OUT) {
        tinylfu_hit(t, number);
        return true;
    }
    tinylfu_used(t, number);
    if (t->l.n[0] + t->l.n[1] + t->l.n[2] == t->l.capacity) { (void)tinylfu_evict(t, number); }
    tinylfu_insert(t, number);
    return false;
}

static cli_tiny *open_ten(void)
{
    cli_tiny *t = cli_tiny_open(10, 200);
    T_REQUIRE(t != NULL);
    for (uint32_t i = 1; i <= 10; i++) { T_CHECK(!cli_tiny_request(t, i)); }
    return t;
}

#define CLI_TINY(fn) T_WITH(fn, cli_tiny *t, t, open_ten(), cli_tiny_close(t))

T_CASE_ON(new_entry_enters_the_window, CLI_TINY)
{
    T_EQ_U64(cli_tiny_where(t, 10), CLI_TINY_WINDOW);
    for (uint32_t i = 1; i <= 9; i++) { T_EQ_U64(cli_tiny_where(t, i), CLI_TINY_PROBATION); }
    T_CHECK(cli_tiny_request(t, 10)); /* a hit in the window leaves it there */
    T_EQ_U64(cli_tiny_where(t, 10), CLI_TINY_WINDOW);
}

T_CASE_ON(new_entry_loses_a_tie, CLI_TINY)
{
    T_CHECK(!cli_tiny_request(t, 11)); /* 10, used once, against 1, used once */
    T_EQ_U64(cli_tiny_where(t, 10), CLI_TINY_OUT);
    T_EQ_U64(cli_tiny_where(t, 1), CLI_TINY_PROBATION);
    T_EQ_U64(cli_tiny_where(t, 11), CLI_TINY_WINDOW);
    T_CHECK(!cli_tiny_request(t, 10)); /* now used twice; 11 loses against 1 */
    T_EQ_U64(cli_tiny_where(t, 11), CLI_TINY_OUT);
    T_CHECK(!cli_tiny_request(t, 12)); /* 10, used twice, against 1 */
    T_EQ_U64(cli_tiny_where(t, 10), CLI_TINY_PROBATION);
    T_EQ_U64(cli_tiny_where(t, 1), CLI_TINY_OUT);
    T_EQ_U64(cli_tiny_uses(t, 10), 2);
}

T_CASE_ON(hit_in_probation_protects, CLI_TINY)
{
    for (uint32_t i = 1; i <= 7; i++) { T_CHECK(cli_tiny_request(t, i)); }
    for (uint32_t i = 1; i <= 7; i++) { T_EQ_U64(cli_tiny_where(t, i), CLI_TINY_PROTECTED); }
    T_CHECK(cli_tiny_request(t, 1)); /* 2 is now the least recently used of seven */
    T_CHECK(cli_tiny_request(t, 8)); /* an eighth: it goes back to probation */
    T_EQ_U64(cli_tiny_where(t, 8), CLI_TINY_PROTECTED);
    T_EQ_U64(cli_tiny_where(t, 1), CLI_TINY_PROTECTED);
    T_EQ_U64(cli_tiny_where(t, 2), CLI_TINY_PROBATION);
    /* Probation is 9, then 2: the victim is 9, and 10 was not used more often. */
    T_CHECK(cli_tiny_request(t, 10));
    T_CHECK(!cli_tiny_request(t, 11));
    T_EQ_U64(cli_tiny_where(t, 9), CLI_TINY_OUT);
    T_EQ_U64(cli_tiny_where(t, 10), CLI_TINY_PROBATION);
}

T_CASE(hit_in_the_window_renews_its_place)
{
    cli_tiny *t = cli_tiny_open(200, 200); /* a window of 2 */
    T_REQUIRE(t != NULL);
    T_CHECK(!cli_tiny_request(t, 1) && !cli_tiny_request(t, 2) && cli_tiny_request(t, 1));
    T_CHECK(!cli_tiny_request(t, 3)); /* 2 is the oldest */
    T_EQ_U64(cli_tiny_where(t, 1), CLI_TINY_WINDOW);
    T_EQ_U64(cli_tiny_where(t, 2), CLI_TINY_PROBATION);
    cli_tiny_close(t);
}

T_CASE(uses_are_halved_after_ten_requests_an_entry)
{
    cli_tiny *t = open_ten(); /* 10 requests */
    for (unsigned i = 0; i < 12; i++) { (void)cli_tiny_request(t, 1); }
    T_EQ_U64(cli_tiny_uses(t, 1), 13);
    for (unsigned i = 0; i < 77; i++) { (void)cli_tiny_request(t, 2); }
    T_EQ_U64(cli_tiny_uses(t, 2), 15); /* no more than that */
    (void)cli_tiny_request(t, 2);      /* the hundredth */
    T_EQ_U64(cli_tiny_uses(t, 1), 6);
    T_EQ_U64(cli_tiny_uses(t, 2), 7);
    T_EQ_U64(cli_tiny_uses(t, 3), 0);
    for (unsigned i = 0; i < 49; i++) { (void)cli_tiny_request(t, 3); } /* 50 are remembered */
    T_EQ_U64(cli_tiny_uses(t, 1), 6);
    (void)cli_tiny_request(t, 3);
    T_EQ_U64(cli_tiny_uses(t, 1), 3);
    cli_tiny_close(t);
}

T_CASE(one_and_two_entries_work)
{
    cli_tiny *t = cli_tiny_open(1, 8);
    T_REQUIRE(t != NULL);
    T_CHECK(!cli_tiny_request(t, 1));
    T_CHECK(cli_tiny_request(t, 1));
    T_CHECK(!cli_tiny_request(t, 2)); /* a window only: the newest stays */
    T_CHECK(cli_tiny_request(t, 2));
    T_EQ_U64(cli_tiny_where(t, 1), CLI_TINY_OUT);
    cli_tiny_close(t);
    t = cli_tiny_open(2, 8);
    T_REQUIRE(t != NULL);
    T_CHECK(!cli_tiny_request(t, 1));
    T_CHECK(!cli_tiny_request(t, 2));
    T_CHECK(cli_tiny_request(t, 1)); /* protected has no room: back to probation */
    T_EQ_U64(cli_tiny_where(t, 1), CLI_TINY_PROBATION);
    T_EQ_U64(cli_tiny_where(t, 2), CLI_TINY_WINDOW);
    cli_tiny_close(t);
}

T_CASE(shares_are_as_published)
{
    static const uint64_t at[][3] = { { 1, 1, 0 }, { 2, 1, 0 }, { 10, 1, 7 }, { 100, 1, 79 },
                                      { 101, 2, 79 }, { 1000, 10, 792 }, { 69004, 691, 54650 } };
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        cli_tiny *t = cli_tiny_open(at[i][0], 8);
        T_REQUIRE(t != NULL);
        T_EQ_U64(t->window_most, at[i][1]);
        T_EQ_U64(t->protected_most, at[i][2]);
        cli_tiny_close(t);
    }
}

T_CASE(sketch_never_counts_too_few)
{
    cli_tiny *t = cli_tiny_open(1000, 5000);
    T_REQUIRE(t != NULL);
    uint64_t more = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        for (uint32_t k = 0; k <= i % 9; k++) { tinylfu_used(t, i); }
    }
    for (uint32_t i = 0; i < 1000; i++) {
        T_CHECK(cli_tiny_uses(t, i) >= i % 9 + 1); /* never fewer */
        more += cli_tiny_uses(t, i) > i % 9 + 1;
    }
    for (uint32_t i = 1000; i < 5000; i++) { more += cli_tiny_uses(t, i) != 0; }
    T_CHECK(more < 50); /* of 5,000; one row of the four alone is wrong for 1,000 */
    cli_tiny_close(t);
}

T_MAIN("cli_tinylfu")
