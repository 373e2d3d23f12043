/* SPDX-License-Identifier: MIT
 *
 * Aim:    the protocol of flights in very many interleavings: the real table, and around it as
 *         little as can be. What flight.c shows over the whole cache, some thousand
 *         schedules a second, is shown here some ten thousand times.
 * Method: one key in one place with a window (odd: being changed); getters look, enter, lead or
 *         wait; a writer sets or deletes inside the window as L1's commit hook does. The source is
 *         a number that only rises; it travels as the outcome's load_us.
 * SHOWN   No getter gets a value loaded before a change that had returned; loads <= generations;
 *         no call hangs; no record is left. */
#include "tests/concurrency/sim/scenarios.h"

#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "flight/flight.h"

static struct {
    base_account account;
    base_clock clock;
    flight_table *t;
    _Atomic uint32_t window;  /* odd: being changed */
    _Atomic uint64_t entry;   /* 0: none */
    uint64_t db, least;
    uint32_t loads, generations, fail_in, leave_in;
} yard;

static int64_t yard_ms(void *ctx) { (void)ctx; return 1000; }

static const flight_key yard_key = { "k", 1, 7, UINT64_C(0x123456789abcdef) };

static uint64_t yard_look(void)
{
    for (;;) {
        const uint32_t v = base_load_acq(&yard.window);
        if ((v & 1u) != 0) {
            base_pause();
            continue;
        }
        const uint64_t got = base_load_acq(&yard.entry);
        base_fence_acq();
        if (base_load_rlx(&yard.window) == v) { return got; }
    }
}

static uint32_t yard_open(void)
{
    for (;;) {
        const uint32_t v = base_load_rlx(&yard.window);
        if ((v & 1u) == 0 && base_cas_sc(&yard.window, v, v + 1)) { return v; }
        base_pause();
    }
}

static void yard_shut(uint32_t v) { base_store_rel(&yard.window, v + 2); }

static bool yard_one_in(uint32_t n) { return n != 0 && base_sim_below(n) == 0; }

static void yard_lead(flight *f)
{
    flight_outcome o;
    memset(&o, 0, sizeof o);
    flight_lead_begin(f, 1);
    o.phase = FLIGHT_OK;
    o.load_us = BASE_MUTANT("flight.no_second_probe") ? 0 : yard_look();
    if (o.load_us == 0) {
        yard.loads++;
        o.load_us = yard.db;
        base_sim_point("yard.loaded");
        if (yard_one_in(yard.leave_in)) { o.phase = FLIGHT_CANCELLED; }
        if (yard_one_in(yard.fail_in)) { o.phase = FLIGHT_FAILED; }
        if (o.phase != FLIGHT_OK) { yard.generations++; }
        if (o.phase == FLIGHT_OK) {
            const uint32_t v = yard_open();
            const flight_key k = flight_key_of(f);
            if (flight_may_publish(yard.t, &k) || BASE_MUTANT("flight.late_store")) {
                base_store_rel(&yard.entry, o.load_us);
            }
            yard_shut(v);
        }
    }
    flight_lead_end(f);
    flight_end(yard.t, f, &o);
}

static void yard_getter(void *arg)
{
    const uint64_t least = yard.least;
    const int64_t until = arg != NULL ? 1000 : BASE_NEVER_MS; /* a wait timeout of zero */
    for (;;) {
        uint64_t got = yard_look();
        if (got != 0) {
            BASE_SIM_CHECK(got >= least);
            return;
        }
        const flight_ask ask = { .key = yard_key, .kind = FLIGHT_CALL, .join = true,
                                 .leader_retries = 2, .now_ms = 1000, .hard_timeout_ms = 86400000 };
        flight *f = NULL;
        flight_outcome o;
        const flight_entry entry = flight_enter(yard.t, &ask, &f);
        if (entry == FLIGHT_LED) {
            yard_lead(f);
            return;
        }
        BASE_SIM_CHECK(entry == FLIGHT_JOINED);
        const flight_waited how = flight_wait(yard.t, f, until, &o);
        if (how == FLIGHT_LATE) { return; }
        BASE_SIM_CHECK(how == FLIGHT_DONE);
        if (o.phase == FLIGHT_OK) { BASE_SIM_CHECK(o.load_us >= least); }
        if (o.phase != FLIGHT_CANCELLED) { return; }
    }
}

static void yard_change(bool sets)
{
    const uint64_t value = sets ? yard.db + 1 : ++yard.db; /* a set comes before its source */
    base_sim_point("yard.change");
    const bool early = BASE_MUTANT("flight.count_before_window") &&
                       flight_any(yard.t, yard_key.hash);
    const uint32_t v = yard_open();
    const bool any = flight_any(yard.t, yard_key.hash);
    if (BASE_MUTANT("flight.count_before_window") ? early : any) {
        flight_invalidate(yard.t, &yard_key, NULL);
    }
    /* It may invalidate two: the stored value, and a load in this window that began after a miss
     * before that store. */
    yard.generations += (any ? 1u : 0u) + (base_load_rlx(&yard.entry) != 0 ? 1u : 0u);
    base_store_rel(&yard.entry, sets ? value : 0);
    yard_shut(v);
    yard.least = BASE_MAX(yard.least, value);
    base_sim_point("yard.source");
    if (sets) { yard.db = value; }
}

SIM_FIBER(yard_writer)
{
    for (uint64_t n = 1 + base_sim_below(2); n > 0; n--) { yard_change(base_sim_below(2) == 0); }
}

SIM_SCENARIO(flight_table, "the table of flights alone, very often")
{
    memset(&yard, 0, sizeof yard);
    yard.db = yard.generations = 1;
    base_account_init(&yard.account, 1u << 20, NULL);
    yard.clock = (base_clock){ yard_ms, yard_ms, NULL };
    base_sim_calm(true);
    const flight_config cfg = { &yard.account, &yard.clock, 64, 64, NULL, NULL };
    yard.t = flight_table_create(&cfg);
    BASE_SIM_CHECK(yard.t != NULL);
    base_sim_calm(false);
    if (base_sim_below(2) == 0) { yard.fail_in = 3; yard.leave_in = 4; }
    const uint64_t getters = 2 + base_sim_below(2);
    for (uint64_t i = 0; i < getters; i++) {
        base_sim_spawn("getter", yard_getter, i == 2 ? &yard : NULL);
    }
    if (base_sim_below(4) != 0) { base_sim_spawn("writer", yard_writer, NULL); }
    base_sim_no_rescue();
    base_sim_join_all();
    base_sim_calm(true);
    BASE_SIM_CHECK(yard.loads <= yard.generations);
    BASE_SIM_CHECK(flight_count(yard.t) == 0 && flight_audit(yard.t));
    flight_table_destroy(yard.t);
    BASE_SIM_CHECK(base_load_rlx(&yard.account.used) == 0);
    base_sim_calm(false);
}
