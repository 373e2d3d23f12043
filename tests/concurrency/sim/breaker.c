/* SPDX-License-Identifier: MIT
 *
 * Aim:    An open breaker admits one probe at a time, and a probe that was given up changes nothing
 *         afterwards.
 * Method: Callers ask, stay for a while, and report; time jumps past the limit of a probe. The
 *         owner of the newest pass is noted: a report of another pass that changes the state is
 *         detected. */
#include "tests/concurrency/sim/scenarios.h"

#include <string.h>

#include "base/clock.h"
#include "breaker/breaker.h"

static struct {
    breaker b;
    uint32_t inside; /* probes in progress within their time */
    int64_t until;   /* of the newest one */
    uint32_t newest;
} circuit;

SIM_FIBER(circuit_caller)
{
    for (unsigned i = 0; i < 6; i++) {
        const int64_t now = (int64_t)(base_now_ns() / 1000000);
        uint32_t pass;
        if (!breaker_admit(&circuit.b, now, &pass)) {
            base_sim_advance_ms((int64_t)base_sim_below(8));
            continue;
        }
        if (pass == 0) { /* closed */
            (void)breaker_report(&circuit.b, pass, BREAKER_FAILED, now);
            continue;
        }
        BASE_SIM_CHECK(circuit.inside == 0 || now >= circuit.until);
        circuit.inside = 1;
        circuit.newest = pass;
        circuit.until = now + circuit.b.rule.open_max_ms;
        base_sim_point("sim.probe");
        if (circuit.newest == pass) { circuit.inside = 0; }
        const bool late = circuit.newest != pass;
        const bool worked = base_sim_below(2) == 0;
        const breaker_change change = breaker_report(&circuit.b, pass,
                                                     worked ? BREAKER_WORKED : BREAKER_FAILED, now);
        BASE_SIM_CHECK(!late || change == BREAKER_SAME);
    }
}

SIM_SCENARIO(breaker, "one probe at a time")
{
    const breaker_rule rule = { 50, 20, 1, 3, 4, 8 };
    memset(&circuit, 0, sizeof circuit);
    breaker_init(&circuit.b, &rule, (int64_t)(base_now_ns() / 1000000));
    (void)breaker_report(&circuit.b, 0, BREAKER_FAILED, circuit.b.born_ms);
    base_sim_spawn_many(3, "caller", circuit_caller, NULL);
    base_sim_join_all();
}
