/* SPDX-License-Identifier: MIT
 *
 * ring: the sliding log: the stamps of the last N admissions of a key.
 *
 * PICTURE    cells   | 7 | 3 | 3 | 5 |     written = 9, used = 4: cell 8 % 4 is the newest; cells
 *                      ^newest              get older downwards and around
 * DECISION   Cost c passes if at most N - c of the stamps in use are younger than W. One cell
 *            answers that: the stamp with N - c younger ones. `now` is max(reading, newest) for
 *            decision and new stamp: a clock that goes back frees no unit, and stamps never
 *            decrease. A reading before the start of the limiter counts as the start.
 * CHARGES    A charge without a decision may exceed the ring: `used` then counts on, and refunds
 *            first reduce that excess. The refund of a charge makes no room that was not there
 *            before. The stamps alone give the wait: displaced units are older than all stamps.
 * INVARIANTS No two states of a ring have the same word for 2^39 units: a call that removes k
 *            stamps adds size - k. So a reader without the lock that finds the same word before
 *            and after a cell has read the cell of that state. Writers make the word BUSY first.
 * LOCKING    Adding and removing under the bucket lock; limit_ring_take also without it. */
#include "limit/ring.h"

/* Return the cell of the j-th newest stamp, from 0; j < used. */
static _Atomic uint64_t *limit_ring_cell(limit_ring g, uint64_t v, uint64_t j)
{
    BASE_ASSERT(g.size > 0);
    return g.cell + (limit_ring_written(v) + g.size - 1 - j) % g.size;
}
CELLAR_PRIVATE uint64_t limit_ring_stamp(limit_ring g, uint64_t v, uint64_t j)
{
    return base_load_rlx(limit_ring_cell(g, v, j));
}

/* Build a value. `written` wraps at a multiple of the size, so that its cells do not move. */
static uint64_t limit_ring_value(limit_ring g, uint64_t written, uint64_t count)
{
    const uint64_t half = (uint64_t)1 << (61 - LIMIT_RING_BITS);
    BASE_ASSERT(g.size > 0);
    if (written >= half) { written -= half / g.size * g.size; }
    return written << LIMIT_RING_BITS | limit_min_u64(count, LIMIT_RING_MASK);
}

CELLAR_PRIVATE uint64_t limit_ring_newest(limit_ring g, uint64_t v)
{
    return limit_ring_used(g, v) == 0 ? 0 : limit_ring_stamp(g, v, 0);
}

CELLAR_PRIVATE void limit_ring_take(const limit_rule *r, const limit_at *at, limit_ring g,
                                    uint64_t v, uint64_t cost, limit_verdict *out)
{
    const uint64_t newest = limit_ring_newest(g, v);
    out->next = v;
    out->now_ns = newest > at->u ? at->ns + limit_ns_of(newest - at->u) : at->ns;
    out->retry_ns = 0;
    out->never = r->limit == 0 || cost > r->limit;
    out->deny = out->never;
    if (out->never) {
        out->retry_ns = CELLAR_NEVER_NS;
        return;
    }
    if (cost == 0 || limit_ring_used(g, v) <= r->limit - cost) { return; }
    const uint64_t stamp = limit_ring_stamp(g, v, r->limit - cost);
    out->deny = stamp + r->step > limit_max_u64(at->u, newest);
    if (out->deny) { out->retry_ns = limit_ns_of(stamp + r->step - at->u); }
}

/* Count the stamps younger than `than`. */
static uint64_t limit_ring_younger(limit_ring g, uint64_t v, uint64_t than)
{
    uint64_t lo = 0, hi = limit_ring_used(g, v);
    while (lo < hi) {
        const uint64_t mid = lo + (hi - lo) / 2;
        if (limit_ring_stamp(g, v, mid) > than) { lo = mid + 1; } else { hi = mid; }
    }
    return lo;
}

/* Count the stamps inside the window that ends now. */
static uint64_t limit_ring_live(uint64_t window, const limit_at *at, limit_ring g, uint64_t v)
{
    const uint64_t now = limit_max_u64(at->u, limit_ring_newest(g, v));
    return now < window ? limit_ring_used(g, v) : limit_ring_younger(g, v, now - window);
}

/* Count the units charged beyond the ring that still count: 0 once its oldest stamp is paid. */
static uint64_t limit_ring_over(uint64_t live, limit_ring g, uint64_t v)
{
    return live == g.size ? limit_ring_count(v) - g.size : 0;
}

CELLAR_PRIVATE void limit_ring_show(const limit_rule *r, const limit_at *at, limit_ring g,
                                    uint64_t v, limit_verdict *out)
{
    const uint64_t newest = limit_ring_newest(g, v);
    const uint64_t live = limit_ring_live(r->step, at, g, v);
    out->remaining = live < r->limit ? r->limit - live : 0;
    out->reset_ns = live == 0 ? 0 : limit_ns_of(newest + r->step - limit_min_u64(at->u, newest));
    if (live != 0 && at->u > newest) { out->reset_ns = limit_ns_of(newest + r->step - at->u); }
}

CELLAR_PRIVATE uint64_t limit_ring_push(const limit_at *at, limit_ring g, uint64_t v,
                                        uint64_t cost, uint64_t *stamp)
{
    const uint64_t now = limit_max_u64(at->u, limit_ring_newest(g, v));
    const uint64_t n = limit_min_u64(cost, g.size);
    const uint64_t first = limit_ring_written(v);
    for (uint64_t i = 0; i < n; i++) { base_store_rlx(&g.cell[(first + i) % g.size], now); }
    *stamp = now;
    return limit_ring_value(g, first + n, limit_min_u64(limit_ring_used(g, v) + n, g.size));
}

CELLAR_PRIVATE uint64_t limit_ring_charge(uint64_t window, const limit_at *at, limit_ring g,
                                          uint64_t v, uint64_t cost)
{
    uint64_t stamp;
    const uint64_t live = limit_ring_live(window, at, g, v);
    const uint64_t owed = limit_ring_over(live, g, v) + live +
                          limit_min_u64(cost, LIMIT_RING_MASK);
    const uint64_t next = limit_ring_push(at, g, v, cost, &stamp);
    return owed <= g.size ? next : limit_ring_value(g, limit_ring_written(next), owed);
}

/* Remove `n` stamps; the newest of them has `from` younger ones. */
static uint64_t limit_ring_remove(limit_ring g, uint64_t v, uint64_t from, uint64_t n)
{
    for (uint64_t j = from; j-- > 0;) { /* the younger ones close the gap, oldest first */
        base_store_rlx(limit_ring_cell(g, v, j + n), limit_ring_stamp(g, v, j));
    }
    return limit_ring_value(g, limit_ring_written(v) - n + g.size, limit_ring_used(g, v) - n);
}

/* Take off `units`: first from the excess `over`, then from `most` stamps behind `from` younger
 * ones. */
static uint64_t limit_ring_less(limit_ring g, uint64_t v, uint64_t over, uint64_t units,
                                uint64_t from, uint64_t most)
{
    const uint64_t top = limit_min_u64(units, over), n = limit_min_u64(units - top, most);
    if (n > 0) { return limit_ring_remove(g, v, from, n); }
    return limit_ring_value(g, limit_ring_written(v), limit_ring_used(g, v) + over - top);
}

CELLAR_PRIVATE uint64_t limit_ring_give(uint64_t window, const limit_at *at, limit_ring g,
                                        uint64_t v, uint64_t units, uint64_t stamp)
{
    const uint64_t younger = limit_ring_younger(g, v, stamp);
    const uint64_t equal = stamp == 0 ? 0 : limit_ring_younger(g, v, stamp - 1) - younger;
    if (equal == 0) { return v; }
    const uint64_t over = limit_ring_over(limit_ring_live(window, at, g, v), g, v);
    return limit_ring_less(g, v, over, units, younger, equal);
}

CELLAR_PRIVATE uint64_t limit_ring_refund(uint64_t window, const limit_at *at, limit_ring g,
                                          uint64_t v, uint64_t cost)
{
    const uint64_t over = limit_ring_over(limit_ring_live(window, at, g, v), g, v);
    return limit_ring_less(g, v, over, cost, 0, limit_ring_used(g, v));
}

CELLAR_PRIVATE uint64_t limit_ring_add_over(limit_ring g, uint64_t v, uint64_t over)
{
    return limit_ring_used(g, v) < g.size
               ? v : limit_ring_value(g, limit_ring_written(v), limit_ring_count(v) + over);
}

CELLAR_PRIVATE void limit_ring_shift(limit_ring g, uint64_t v, uint64_t shift)
{
    for (uint64_t j = 0; j < limit_ring_used(g, v); j++) {
        const uint64_t stamp = limit_ring_stamp(g, v, j);
        base_store_rlx(limit_ring_cell(g, v, j), stamp > shift ? stamp - shift : 0);
    }
}
