/* SPDX-License-Identifier: MIT
 *
 * permits: the public calls on permits: acquire, extend, release.
 *
 * SEE ALSO   overrides.c (their records), decide.c (several rules together). */
#include "limit/permits.h"

#include "base/open_error.h"
#include "limit/overrides.h"
#include "limit/run.h"
#include "limit/table.h"

BASE_SIZE_BEGIN

#define LIMIT_LOOKS_FULL 1024u /* records of permits that a call searches for expired ones */

CELLAR_PRIVATE void limit_permits_reclaim(cellar_limiter *l, uint64_t now_ns, uint32_t looks)
{
    uint64_t fp[16];
    for (uint32_t done = 0; done < looks; done += 64) {
        const uint32_t n = limit_permit_stale(l, now_ns, 64, fp, 16);
        for (uint32_t i = 0; i < n; i++) {
            limit_op op = { .kind = LIMIT_EXPIRE };
            (void)limit_run(l, fp[i], now_ns, &op);
        }
    }
}

BASE_SIZE_END

/* Run an operation on a permit. `call`: the public function, for the text of a refusal. */
static cellar_err limit_permit_run(const char *call, cellar_limiter *l, const void *key,
                                   size_t key_len, int64_t hold_ms, limit_op *op)
{
    if (!limit_key_ok(l, key, key_len) || l->conc < 0) {
        return limit_call_refuse(call, l, key, key_len);
    }
    if (hold_ms <= 0) {
        return base_open_fail(CELLAR_E_INVAL, 0, "%s: hold_ms must be at least 1 (got %lld)", call,
                              (long long)hold_ms);
    }
    op->hold_ns = limit_min_u64((uint64_t)hold_ms, CELLAR_PERIOD_MAX_NS / 1000000) * 1000000;
    const uint64_t fp = limit_fp(l, key, key_len), now = limit_now(l);
    const cellar_err err = limit_run(l, fp, now, op);
    if (op->kind != LIMIT_PERMIT || err != CELLAR_E_LIMIT) { return err; }
    limit_permits_reclaim(l, now, LIMIT_LOOKS_FULL); /* end expired permits and try again */
    return limit_run(l, fp, limit_now(l), op);
}

CELLAR_API cellar_err cellar_permit_acquire(cellar_limiter *l, const void *key, size_t key_len,
                                            int64_t hold_ms, uint64_t *token,
                                            cellar_limiter_result *out)
{
    limit_op op = { .kind = LIMIT_PERMIT, .cost = 1, .result = out };
    if (token == NULL) { return base_refuse(CELLAR_E_INVAL, __func__, "token must not be NULL"); }
    const cellar_err err = limit_permit_run(__func__, l, key, key_len, hold_ms, &op);
    *token = err == CELLAR_OK ? op.token : 0;
    return err;
}

CELLAR_API cellar_err cellar_permit_extend(cellar_limiter *l, const void *key, size_t key_len,
                                           uint64_t token, int64_t hold_ms)
{
    limit_op op = { .kind = LIMIT_EXTEND, .token = token };
    return limit_permit_run(__func__, l, key, key_len, hold_ms, &op);
}

CELLAR_API cellar_err cellar_permit_release(cellar_limiter *l, const void *key, size_t key_len,
                                            uint64_t token)
{
    limit_op op = { .kind = LIMIT_RELEASE, .token = token };
    return limit_permit_run(__func__, l, key, key_len, 1, &op);
}
