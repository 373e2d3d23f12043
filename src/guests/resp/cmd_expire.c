/* SPDX-License-Identifier: MIT
 *
 * cmd_expire: TTL PTTL EXPIRETIME PEXPIRETIME EXPIRE PEXPIRE EXPIREAT PEXPIREAT PERSIST.
 *
 * INVARIANTS A negative entry shows its TTL. EXPIRE with NX, XX, GT or LT, and PERSIST, are atomic
 *            against other clients of the port only: they read the TTL, then set it.
 * LOCKING    None. */
#include "base/num.h"
#include "resp/data.h"
#include "resp/entry.h"

#define RESP_EXPIRE_SLACK_MS 10 /* between the clock of the store and the wall clock */

BASE_SIZE_BEGIN

/* ---- Read ------------------------------------------------------------------------------------ */

/* Send the TTL of a key in `unit_ms`, rounded; at: as a wall time. -1: none; -2: no entry. */
static void resp_put_ttl(resp_client *c, cellar_bytes key, bool at, int64_t unit_ms)
{
    cellar *ns = resp_ns(c);
    if (ns == NULL) { return; }
    cellar_entry_info info;
    const cellar_err err = resp_info(c, ns, key, &info);
    if (err < 0) {
        resp_fail(c, err);
    } else if (err == CELLAR_MISS) {
        resp_int(c, -2);
    } else if (info.ttl_left_ms == CELLAR_TTL_NONE) {
        resp_int(c, -1);
    } else {
        const int64_t now_ms = at ? base_wall_ms() : 0;
        const int64_t ms = base_add_sat(info.ttl_left_ms, now_ms);
        resp_int(c, unit_ms == 1 ? ms : ms / unit_ms + (ms % unit_ms >= unit_ms / 2));
    }
}

RESP_CALL(resp_cmd_ttl)
{
    (void)argc;
    resp_put_ttl(c, argv[1], false, 1000);
}

RESP_CALL(resp_cmd_pttl)
{
    (void)argc;
    resp_put_ttl(c, argv[1], false, 1);
}

RESP_CALL(resp_cmd_expiretime)
{
    (void)argc;
    resp_put_ttl(c, argv[1], true, 1000);
}

RESP_CALL(resp_cmd_pexpiretime)
{
    (void)argc;
    resp_put_ttl(c, argv[1], true, 1);
}

/* ---- Change ---------------------------------------------------------------------------------- */

/* Return whether the conditions allow a deadline in place of the present one. left_ms: TTL now. The
 * store keeps no wall time: deadlines that differ by RESP_EXPIRE_SLACK_MS are the same one. */
static bool resp_expire_allowed(uint32_t flags, int64_t left_ms, int64_t at_ms, int64_t now_ms)
{
    const bool has = left_ms != CELLAR_TTL_NONE;
    const int64_t present_ms = has ? base_add_sat(left_ms, now_ms) : INT64_MAX;
    if ((flags & RESP_OPT_NX) != 0 && has) { return false; }
    if ((flags & RESP_OPT_XX) != 0 && !has) { return false; }
    const int64_t late_ms = base_add_sat(present_ms, RESP_EXPIRE_SLACK_MS);
    if ((flags & RESP_OPT_GT) != 0 && (!has || at_ms <= late_ms)) { return false; }
    return (flags & RESP_OPT_LT) == 0 || !has || at_ms < present_ms - RESP_EXPIRE_SLACK_MS;
}

/* Set the deadline of a key that exists, or delete the key if the deadline has passed. *changed:
 * there was an entry, and the conditions allow it. */
static cellar_err resp_expire_key(resp_client *c, cellar *ns, cellar_bytes key, uint32_t flags,
                                  int64_t at_ms, int64_t now_ms, bool *changed)
{
    const int64_t ttl_ms = resp_expire_ttl(at_ms, now_ms);
    cellar_err err = CELLAR_OK;
    *changed = false;
    if (flags != 0 || ttl_ms == 0) {
        cellar_entry_info info;
        err = resp_look(c, ns, key, 0, &info);
        if (err != CELLAR_OK) { return err < 0 ? err : CELLAR_OK; }
        if (!resp_expire_allowed(flags, info.ttl_left_ms, at_ms, now_ms)) { return CELLAR_OK; }
    }
    err = ttl_ms == 0 ? resp_delete(c, ns, key, changed) : resp_touch(c, ns, key, ttl_ms);
    *changed = err == CELLAR_OK;
    return err == CELLAR_MISS || err == CELLAR_ABSENT ? CELLAR_OK : err;
}

static void resp_expire_run(resp_client *c, const char *name, const cellar_bytes *argv,
                            uint32_t argc, resp_unit unit)
{
    resp_options o;
    cellar_bytes unknown;
    const char *error = resp_options_expire(argv + 3, argc - 3, &o, &unknown);
    const int64_t now_ms = base_wall_ms();
    int64_t at_ms = 0;
    if (error != NULL) {
        resp_error(c, "%s%.*s", error, (int)unknown.len, (const char *)unknown.data);
        return;
    }
    switch (resp_expire_read(argv[2], unit, now_ms, false, &at_ms)) {
    case RESP_EXPIRE_NOT_INTEGER: resp_error(c, RESP_ERR_INTEGER); return;
    case RESP_EXPIRE_INVALID:
        resp_error(c, "ERR invalid expire time in '%s' command", name);
        return;
    case RESP_EXPIRE_OK: break;
    }
    cellar *ns = resp_ns(c);
    if (ns == NULL) { return; }
    bool changed;
    const cellar_err err = resp_expire_key(c, ns, argv[1], o.flags, at_ms, now_ms, &changed);
    if (err != CELLAR_OK) { resp_fail(c, err); } else { resp_int(c, changed); }
}

RESP_CALL(resp_cmd_expire)
{
    resp_expire_run(c, "expire", argv, argc, RESP_UNIT_EX);
}

RESP_CALL(resp_cmd_pexpire)
{
    resp_expire_run(c, "pexpire", argv, argc, RESP_UNIT_PX);
}

RESP_CALL(resp_cmd_expireat)
{
    resp_expire_run(c, "expireat", argv, argc, RESP_UNIT_EXAT);
}

RESP_CALL(resp_cmd_pexpireat)
{
    resp_expire_run(c, "pexpireat", argv, argc, RESP_UNIT_PXAT);
}

RESP_CALL(resp_cmd_persist)
{
    (void)argc;
    cellar *ns = resp_ns(c);
    if (ns == NULL) { return; }
    cellar_entry_info info;
    cellar_err err = resp_look(c, ns, argv[1], 0, &info);
    const bool has = err == CELLAR_OK && info.ttl_left_ms != CELLAR_TTL_NONE;
    if (has) { err = resp_touch(c, ns, argv[1], CELLAR_TTL_NONE); }
    if (err < 0 || err == CELLAR_DISABLED) {
        resp_fail(c, err);
    } else {
        resp_int(c, has && err == CELLAR_OK);
    }
}

BASE_SIZE_END
