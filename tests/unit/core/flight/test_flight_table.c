/* SPDX-License-Identifier: MIT
 *
 * Aim:    the audit of a table of flights sees each kind of damage; a pattern sees each flight once;
 *         a lease has one claim.
 * Method: a table without a cache. All keys have one hash, so all flights are in one shard. */
#include "flight/flight.h"
#include "tests/support/t.h"

enum { HASH = 5, GENERATION = 7, MANY = 80 };

static base_account account;
static const base_clock clock_of_system = { .precise_ms = NULL };
static flight_table *t;

static void open_table(void)
{
    account = (base_account){ .limit = 1 << 20 };
    t = flight_table_create(&(flight_config){ .account = &account, .clock = &clock_of_system,
                                              .max_flights = 100, .max_waiters = 100 });
    T_REQUIRE(t != NULL && flight_audit(t));
}

static void shut_table(void)
{
    T_CHECK(flight_count(t) == 0 && flight_waiting(t) == 0 && flight_audit(t));
    flight_table_destroy(t);
    T_EQ_U64(base_load_rlx(&account.used), 0);
}

#define TABLE(fn) T_WITHIN(fn, open_table(), shut_table())

static flight_ask ask_of(const char *key, flight_kind kind)
{
    return (flight_ask){ .key = { key, (uint32_t)strlen(key), GENERATION, HASH }, .kind = kind,
                         .now_ms = 1000, .hard_timeout_ms = 1000 };
}

static flight *lead(flight_ask ask)
{
    flight *f = NULL;
    T_REQUIRE(flight_enter(t, &ask, &f) == FLIGHT_LED);
    return f;
}

static flight *led(const char *key, flight_kind kind) { return lead(ask_of(key, kind)); }

static void end(flight *f) { flight_end(t, f, &FLIGHT_HANDS_OVER); }

T_CASE_ON(audit_sees_each_damage, TABLE)
{
    flight *first = led("first", FLIGHT_CALL), *side = led("side", FLIGHT_SIDE);
    flight *newest = led("newest", FLIGHT_CALL);
    flight *gone[2] = { led("gone", FLIGHT_CALL), led("lost", FLIGHT_CALL) };
    flight_shard *s = flight_shard_of(t, HASH);
    for (int i = 0; i < 2; i++) {
        const flight_key k = flight_key_of(gone[i]);
        flight_invalidate(t, &k, NULL);
    }
    T_CHECK(flight_audit(t));
    const struct { void *at; int byte; size_t size; } damages[] = {
        { &newest->attached, 0, sizeof newest->attached },
        { &newest->refs, 0, sizeof newest->refs },
        { &side->prev, 0, sizeof side->prev },
        { &first->gen, 0xFF, sizeof first->gen },
        { &newest->state, FLIGHT_OK, sizeof newest->state },
        { flight_bucket(s, HASH), 0, sizeof(flight *) },
        { &gone[0]->attached, 1, sizeof gone[0]->attached },
        { &gone[0]->refs, 0, sizeof gone[0]->refs },
        { &gone[0]->prev, 0, sizeof gone[0]->prev },
        { &s->spare->refs, 1, sizeof s->spare->refs },
        { &s->spare->resident, 0, sizeof s->spare->resident },
        { &s->count, 4, sizeof s->count },
        { &s->spare_count, 4, sizeof s->spare_count },
        { &t->open, 4, sizeof t->open },
    };
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        unsigned char was[8];
        memcpy(was, damages[i].at, damages[i].size);
        memset(damages[i].at, damages[i].byte, damages[i].size);
        if (!T_CHECK(!flight_audit(t))) { printf("# damage %zu\n", i); }
        memcpy(damages[i].at, was, damages[i].size);
        T_CHECK(flight_audit(t));
    }
    flight *all[] = { first, side, newest, gone[0], gone[1] };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) { end(all[i]); }
}

static flight *many[MANY];
static unsigned seen[MANY];

/* Match even keys. The first call unlinks half of all flights, with the one where it goes on. */
static bool is_even(void *first, const void *key, size_t len)
{
    const unsigned n = *(const unsigned char *)key;
    T_EQ_U64(len, 1);
    seen[n]++;
    for (int i = 0; *(bool *)first && i < MANY; i++) {
        const flight_key k = flight_key_of(many[i]);
        if (i % 4 > 1) { flight_invalidate(t, &k, NULL); }
    }
    *(bool *)first = false;
    return n % 2 == 0;
}

T_CASE_ON(pattern_sees_each_flight_once_while_others_are_unlinked, TABLE)
{
    bool alone, first = true;
    for (unsigned char i = 0; i < MANY; i++) {
        flight_ask ask = ask_of("?", FLIGHT_CALL);
        ask.key.bytes = &i;
        ask.key.generation += i == 4; /* of another namespace */
        many[i] = lead(ask);
    }
    flight_invalidate_match(t, GENERATION, is_even, &first);
    T_CHECK(flight_audit(t));
    for (int i = 0; i < MANY; i++) {
        if (i % 4 > 1) { T_CHECK(seen[i] <= 1); } else { T_EQ_U64(seen[i], i != 4); }
        T_EQ_U64(flight_is_detached(t, many[i], &alone), i != 4 && i % 4 != 1);
        end(many[i]);
    }
}

T_CASE_ON(lease_has_one_claim_by_its_own_number, TABLE)
{
    flight_lease l, wrong;
    flight *f = led("k", FLIGHT_LEASE);
    T_CHECK(flight_lease_open(t, f, &l));
    wrong = l;
    wrong.check ^= UINT64_C(1) << 40;
    T_CHECK(flight_claim(t, &wrong, 0) == NULL && flight_claim(t, &l, 1) == NULL);
    T_CHECK(flight_claim(t, &l, 0) == f && flight_claim(t, &l, 0) == NULL);
    end(f);
    f = led("k", FLIGHT_LEASE); /* no function hears of its end */
    T_CHECK(flight_lease_open(t, f, &l));
    T_EQ_U64(flight_expire(t, 1999), 0);
    T_EQ_U64(flight_expire(t, 2000), 1);
    T_CHECK(flight_claim(t, &l, 0) == NULL);
}

T_CASE_ON(queued_job_that_a_lease_takes_expires_as_a_lease, TABLE)
{
    flight_lease l;
    flight_ask ask = ask_of("k", FLIGHT_LEASE);
    flight *job = led("k", FLIGHT_JOB);
    ask.take_queued = true;
    T_CHECK(lead(ask) == job && flight_lease_open(t, job, &l));
    T_EQ_U64(flight_expire(t, 2000), 1);
    flight_unref(t, job);
}

T_CASE_ON(flights_are_spread_over_the_shards, TABLE)
{
    T_CHECK(flight_shard_of(t, 0) != flight_shard_of(t, 1) ||
            flight_shard_of(t, 0) != flight_shard_of(t, 2));
}

T_MAIN("flight_table")
