/* SPDX-License-Identifier: MIT
 *
 * limit: the private names that tests use besides cellar_limit.h. */
#ifndef LIMIT_LIMIT_H
#define LIMIT_LIMIT_H

#include "base/port.h"
#include "cellar_limit.h"

/* Figures that calls count: field of cellar_limiter_stats, Prometheus family, its label, help. */
#define LIMIT_FIGURES(X) \
    X(allowed, "cellar_limiter_decisions_total", "result=\"allowed\"", "Decisions by result.") \
    X(denied, "cellar_limiter_decisions_total", "result=\"denied\"", "Decisions by result.") \
    X(would_deny, "cellar_limiter_would_deny_total", "", \
      "Admissions that a dry-run rule would have denied.") \
    X(banned, "cellar_limiter_banned_total", "", "Denials of banned keys.") \
    X(live_evicted, "cellar_limiter_overflow_total", "action=\"live_evicted\"", \
      "New keys that met a full table, by action.") \
    X(overflow_denied, "cellar_limiter_overflow_total", "action=\"denied\"", \
      "New keys that met a full table, by action.") \
    X(overflow_allowed, "cellar_limiter_overflow_total", "action=\"allowed\"", \
      "New keys that met a full table, by action.") \
    X(dead_replaced, "cellar_limiter_reused_total", "", \
      "Slots of keys without debt given to new keys.") \
    X(moved, "cellar_limiter_moved_total", "", "Keys moved to make room.") \
    X(chain_rollbacks, "cellar_limiter_chain_rollbacks_total", "", \
      "Chains charged in part and taken back.") \
    X(permits_expired, "cellar_limiter_permits_expired_total", "", \
      "Permits that ended with their lease.") \
    X(permits_full, "cellar_limiter_full_total", "table=\"permits\"", \
      "Calls rejected by a full table, by table.") \
    X(overrides_full, "cellar_limiter_full_total", "table=\"overrides\"", \
      "Calls rejected by a full table, by table.") \
    X(snapshots_refused, "cellar_limiter_snapshots_refused_total", "", \
      "Snapshots not read: damaged, or of other rules.")

/* Walk the table and check its invariants. Return false with the first broken one in `*why`.
 * No other call may run. For tests. */
BASE_SPARE CELLAR_PRIVATE bool limit_audit(cellar_limiter *l, const char **why);

#endif
