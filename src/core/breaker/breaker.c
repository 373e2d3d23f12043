/* SPDX-License-Identifier: MIT
 *
 * breaker: a circuit breaker (closed, open, half-open) in one 64-bit word.
 *
 * PICTURE    CLOSED --too many failures--> OPEN --time over, one probe passes--> HALF_OPEN
 *            HALF_OPEN --half_open_successes probes succeed--> CLOSED
 *            HALF_OPEN --one probe fails--> OPEN, with twice the time
 *            word {43 until, 4 turn, 1 probing, 6 row, 4 worked, 4 times, 2 state}
 * INVARIANTS At most one probe is out at a time: the CAS that admits it sets `probing`. A report
 *            clears `probing` only while `turn` is still the turn of that probe. A pass given while
 *            CLOSED changes nothing after the breaker opened: late failures do not open it twice.
 * TIME       Milliseconds since breaker_init, 43 bits: 278 years. Open for U(1..min(open_ms *
 *            2^times, open_max_ms)). While HALF_OPEN, `until` is the time when an unreported probe
 *            is given up.
 * WINDOW     10 cells of one second. A caller that finds a cell of an older second resets the cell.
 *            Sums cover the last 10 s; they are cleared when the breaker opens or closes.
 * LOCKING    None. The statistics counters are relaxed.
 * LIMITS     2^20 - 1 calls per second are counted exactly; above that the share of failures stays.
 * SEE ALSO   breaker/README.md. What counts as a failure: breaker_calls.c, the loads, the disk
 *            tier. */
#include "breaker/breaker.h"

#include "base/num.h"
#include "base/sync.h"

#define BREAKER_STATE(w) ((breaker_state)((w) & 3u))
#define BREAKER_TIMES(w) ((unsigned)((w) >> 2) & 15u)
#define BREAKER_WORKED_OF(w) ((unsigned)((w) >> 6) & 15u)
#define BREAKER_ROW(w) ((unsigned)((w) >> 10) & 63u)
#define BREAKER_PROBING(w) (((w) >> 16 & 1u) != 0)
#define BREAKER_TURN(w) ((uint32_t)((w) >> 17) & 15u)
#define BREAKER_UNTIL(w) ((int64_t)((w) >> 21))
#define BREAKER_WORD(state, times, worked, row, probing, turn, until)                            \
    ((uint64_t)(state) | (uint64_t)(times) << 2 | (uint64_t)(worked) << 6 | (uint64_t)(row) << 10 \
     | (uint64_t)(probing) << 16 | (uint64_t)(turn) << 17 | (uint64_t)(until) << 21)

#define BREAKER_PROBE 16u /* bit of a pass: probe; the 4 bits below are its turn */
#define BREAKER_COUNT_MAX 0xfffffu

BASE_SIZE_BEGIN

CELLAR_PRIVATE bool breaker_rule_ok(const breaker_rule *r)
{
    return r->failure_pct >= 1 && r->failure_pct <= 100 && r->min_calls >= 1 &&
           r->min_calls <= 1000000 && r->consecutive_failures >= 1 &&
               r->consecutive_failures <= 63 &&
           r->half_open_successes >= 1 && r->half_open_successes <= 15 && r->open_ms >= 1 &&
           r->open_max_ms >= r->open_ms && r->open_max_ms <= (int64_t)1 << 40;
}

CELLAR_PRIVATE void breaker_init(breaker *b, const breaker_rule *r, int64_t now_ms)
{
    BASE_ASSERT(breaker_rule_ok(r));
    base_store_rlx(&b->word, (uint64_t)BREAKER_CLOSED);
    for (unsigned i = 0; i < BREAKER_CELLS; i++) { base_store_rlx(&b->cell[i], (uint64_t)0); }
    base_store_rlx(&b->calls, (uint64_t)0);
    base_store_rlx(&b->failures, (uint64_t)0);
    base_store_rlx(&b->rejects, (uint64_t)0);
    base_store_rlx(&b->opens, (uint64_t)0);
    b->rule = *r;
    b->born_ms = now_ms;
}

static int64_t breaker_time(const breaker *b, int64_t now_ms)
{
    return now_ms > b->born_ms ? now_ms - b->born_ms : 0;
}

CELLAR_PRIVATE breaker_state breaker_state_of(const breaker *b)
{
    return BREAKER_STATE(base_load_acq(&b->word));
}

CELLAR_PRIVATE int64_t breaker_wait_ms(const breaker *b, int64_t now_ms)
{
    const uint64_t w = base_load_acq(&b->word);
    const int64_t now = breaker_time(b, now_ms);
    const bool waits = BREAKER_STATE(w) == BREAKER_OPEN || BREAKER_PROBING(w);
    return waits && BREAKER_UNTIL(w) > now ? BREAKER_UNTIL(w) - now : 0;
}

/* ---- the window ---- */

static uint64_t breaker_cell_add(uint64_t cell, uint32_t second, bool failed)
{
    uint32_t calls = 0, failures = 0;
    if ((uint32_t)(cell >> 40) == second) {
        calls = (uint32_t)(cell >> 20) & BREAKER_COUNT_MAX;
        failures = (uint32_t)cell & BREAKER_COUNT_MAX;
    }
    if (calls == BREAKER_COUNT_MAX) { /* halve both counters: the share stays */
        calls /= 2;
        failures /= 2;
    }
    return (uint64_t)second << 40 | (uint64_t)(calls + 1) << 20 | (failures + (failed ? 1u : 0u));
}

static void breaker_note(breaker *b, int64_t now, bool failed)
{
    const uint32_t second = (uint32_t)(now / 1000) & 0xffffffu;
    _Atomic uint64_t *cell = &b->cell[(uint64_t)(now / 1000) % BREAKER_CELLS];
    uint64_t old;
    do {
        old = base_load_rlx(cell);
    } while (!base_cas_ar(cell, old, breaker_cell_add(old, second, failed)));
}

static bool breaker_too_many(const breaker *b, int64_t now)
{
    const uint32_t second = (uint32_t)(now / 1000) & 0xffffffu;
    uint64_t calls = 0, failures = 0;
    for (unsigned i = 0; i < BREAKER_CELLS; i++) {
        const uint64_t cell = base_load_rlx(&b->cell[i]);
        if (((second - (uint32_t)(cell >> 40)) & 0xffffffu) >= BREAKER_CELLS) { continue; }
        calls += cell >> 20 & BREAKER_COUNT_MAX;
        failures += cell & BREAKER_COUNT_MAX;
    }
    return calls >= b->rule.min_calls && failures * 100 >= (uint64_t)b->rule.failure_pct * calls;
}

static void breaker_forget(breaker *b)
{
    for (unsigned i = 0; i < BREAKER_CELLS; i++) { base_store_rlx(&b->cell[i], (uint64_t)0); }
}

/* ---- passes ---- */

CELLAR_PRIVATE bool breaker_admit(breaker *b, int64_t now_ms, uint32_t *pass)
{
    const int64_t now = breaker_time(b, now_ms);
    *pass = 0;
    for (;;) {
        const uint64_t w = base_load_acq(&b->word);
        if (BASE_LIKELY(BREAKER_STATE(w) == BREAKER_CLOSED)) { return true; }
        const bool waits = BREAKER_STATE(w) == BREAKER_OPEN || BREAKER_PROBING(w);
        if (waits && now < BREAKER_UNTIL(w)) {
            (void)base_add_rlx(&b->rejects, (uint64_t)1);
            return false;
        }
        const uint32_t turn = (BREAKER_TURN(w) + 1) & 15u;
        const unsigned worked = BREAKER_STATE(w) == BREAKER_OPEN ? 0 : BREAKER_WORKED_OF(w);
        const int64_t until = now + b->rule.open_max_ms;
        BASE_POINT("breaker.probe");
        const uint64_t next = BREAKER_WORD(BREAKER_HALF_OPEN, BREAKER_TIMES(w), worked, 0, 1, turn,
                                           until);
        if (!base_cas_sc(&b->word, w, next)) { continue; }
        *pass = BREAKER_PROBE | turn;
        return true;
    }
}

static uint64_t breaker_opened(const breaker *b, uint64_t w, unsigned times, int64_t now)
{
    int64_t most = b->rule.open_ms;
    for (unsigned i = 0; i < times && most < b->rule.open_max_ms; i++) { most *= 2; }
    most = BASE_MIN(most, b->rule.open_max_ms);
    const int64_t stays = 1 + (int64_t)base_rng_below(&base_thread_self()->rng, (uint64_t)most);
    return BREAKER_WORD(BREAKER_OPEN, BASE_MIN(times + 1, 15u), 0, 0, 0, BREAKER_TURN(w),
                        now + stays);
}

static breaker_change breaker_report_probe(breaker *b, uint32_t turn, breaker_outcome how,
                                           int64_t now)
{
    for (;;) {
        const uint64_t w = base_load_acq(&b->word);
        const bool mine = BREAKER_STATE(w) == BREAKER_HALF_OPEN && BREAKER_PROBING(w) &&
                          BREAKER_TURN(w) == turn;
        /* the probe was given up */
        if (!mine) { return BREAKER_SAME; }
        breaker_change change = BREAKER_SAME;
        const unsigned worked = BREAKER_WORKED_OF(w) + (how == BREAKER_WORKED ? 1u : 0u);
        uint64_t next = BREAKER_WORD(BREAKER_HALF_OPEN, BREAKER_TIMES(w), worked, 0, 0, turn, 0);
        if (how == BREAKER_FAILED) {
            next = breaker_opened(b, w, BREAKER_TIMES(w), now);
            change = BREAKER_OPENED;
        } else if (worked >= b->rule.half_open_successes) {
            next = BREAKER_WORD(BREAKER_CLOSED, 0, 0, 0, 0, turn, 0);
            change = BREAKER_CLOSED_AGAIN;
        }
        BASE_POINT("breaker.report");
        if (!base_cas_sc(&b->word, w, next)) { continue; }
        if (change == BREAKER_OPENED) { (void)base_add_rlx(&b->opens, (uint64_t)1); }
        if (change != BREAKER_SAME) { breaker_forget(b); }
        return change;
    }
}

CELLAR_PRIVATE breaker_change breaker_report(breaker *b, uint32_t pass, breaker_outcome how,
                                             int64_t now_ms)
{
    const int64_t now = breaker_time(b, now_ms);
    if (how != BREAKER_SAID_NOTHING) {
        (void)base_add_rlx(&b->calls, (uint64_t)1);
        if (how == BREAKER_FAILED) { (void)base_add_rlx(&b->failures, (uint64_t)1); }
    }
    if ((pass & BREAKER_PROBE) != 0) {
        return breaker_report_probe(b, pass & (BREAKER_PROBE - 1), how, now);
    }
    if (how == BREAKER_SAID_NOTHING) { return BREAKER_SAME; }
    if (BREAKER_STATE(base_load_acq(&b->word)) != BREAKER_CLOSED) { return BREAKER_SAME; }
    breaker_note(b, now, how == BREAKER_FAILED);
    for (;;) {
        const uint64_t w = base_load_acq(&b->word);
        if (BREAKER_STATE(w) != BREAKER_CLOSED) { return BREAKER_SAME; }
        const unsigned row = how == BREAKER_FAILED ? BREAKER_ROW(w) + 1 : 0;
        if (row == 0 && BREAKER_ROW(w) == 0) { return BREAKER_SAME; }
        const bool opens = row >= b->rule.consecutive_failures ||
                           (row != 0 && breaker_too_many(b, now));
        const uint64_t next = opens ? breaker_opened(b, w, 0, now)
                                    : BREAKER_WORD(BREAKER_CLOSED, 0, 0, row, 0, BREAKER_TURN(w),
                                                   0);
        if (!base_cas_sc(&b->word, w, next)) { continue; }
        if (!opens) { return BREAKER_SAME; }
        (void)base_add_rlx(&b->opens, (uint64_t)1);
        breaker_forget(b);
        return BREAKER_OPENED;
    }
}

CELLAR_PRIVATE void breaker_reset(breaker *b)
{
    uint64_t w;
    do {
        w = base_load_acq(&b->word);
    } while (!base_cas_sc(&b->word, w, BREAKER_WORD(BREAKER_CLOSED, 0, 0, 0, 0, BREAKER_TURN(w),
                                                    0)));
    breaker_forget(b);
}

BASE_SIZE_END
