/* SPDX-License-Identifier: MIT
 *
 * entry: what the commands of one key have in common.
 *
 * INVARIANTS Entries of the disk tier count as present everywhere. A negative entry counts as
 *            absent.
 * LOCKING    None; calls of include/ only. */
#include "resp/entry.h"

#include <string.h>

CELLAR_PRIVATE cellar_err resp_value_keep(resp_value *v, const void *bytes, size_t len)
{
    v->found = bytes != NULL;
    if (len > v->cap) {
        base_free(v->account, BASE_MOD_STORE, v->bytes, v->cap);
        v->cap = 0;
        v->bytes = base_alloc(v->account, BASE_MOD_STORE, len, NULL);
        if (v->bytes == NULL) { return CELLAR_E_SPACE; }
        v->cap = len;
    }
    if (len > 0) { memcpy(v->bytes, bytes, len); }
    v->len = len;
    return CELLAR_OK;
}

CELLAR_PRIVATE void resp_value_free(resp_value *v)
{
    base_free(v->account, BASE_MOD_STORE, v->bytes, v->cap);
    *v = (resp_value){ .account = v->account };
}

CELLAR_PRIVATE cellar_set_opts resp_write_opts(int64_t ttl_ms)
{
    cellar_set_opts o = cellar_set_opts_default();
    o.ttl_ms = ttl_ms != 0 ? ttl_ms : CELLAR_TTL_NONE;
    o.flags = CELLAR_KEEP_OLD_VALUE;
    return o;
}

CELLAR_PRIVATE cellar_set_opts resp_keep_opts(void)
{
    cellar_set_opts o = resp_write_opts(0);
    o.flags |= CELLAR_KEEP_TTL;
    return o;
}

CELLAR_PRIVATE cellar_err resp_store(cellar *ns, cellar_bytes key, cellar_bytes value,
                                     const cellar_set_opts *o)
{
    cellar_err err = CELLAR_E_BUSY;
    for (uint32_t n = 0; n < RESP_BUSY_ROUNDS && err == CELLAR_E_BUSY; n++) {
        err = cellar_set(ns, key.data, key.len, value.data, value.len, o);
    }
    return err;
}

CELLAR_PRIVATE cellar_err resp_update(cellar *ns, cellar_bytes key, const cellar_set_opts *o,
                                      cellar_update_fn fn, void *ctx)
{
    cellar_err err = CELLAR_E_BUSY;
    for (uint32_t n = 0; n < RESP_BUSY_ROUNDS && err == CELLAR_E_BUSY; n++) {
        err = cellar_update(ns, key.data, key.len, o, fn, ctx);
    }
    return err;
}

CELLAR_PRIVATE bool resp_has(cellar *ns, cellar_bytes key)
{
    return cellar_contains(ns, key.data, key.len) == CELLAR_OK;
}

CELLAR_PRIVATE bool resp_has_disk(cellar *ns)
{
    int64_t bytes = 0;
    (void)cellar_option_get(ns, CELLAR_OPT_L2_BYTES, &bytes);
    return bytes != 0;
}

CELLAR_PRIVATE cellar_err resp_delete(cellar *ns, cellar_bytes key, bool *gone)
{
    /* cellar_delete does not report an entry that is only on disk. */
    const bool below = resp_has_disk(ns) && resp_has(ns, key);
    const cellar_err err = cellar_delete(ns, key.data, key.len);
    *gone = err == CELLAR_OK || (err == CELLAR_MISS && below);
    return err == CELLAR_MISS ? CELLAR_OK : err;
}

CELLAR_PRIVATE cellar_err resp_info(cellar *ns, cellar_bytes key, cellar_entry_info *info)
{
    *info = cellar_entry_info_default();
    const cellar_err err = cellar_entry_info_get(ns, key.data, key.len, 0, info);
    return err == CELLAR_STALE ? CELLAR_MISS : err;
}

CELLAR_PRIVATE bool resp_need_ttl(resp_client *c, const char *name, cellar_bytes text,
                                  resp_unit unit, int64_t *ttl_ms)
{
    const int64_t now_ms = base_wall_ms();
    int64_t at_ms = 0;
    switch (resp_expire_read(text, unit, now_ms, true, &at_ms)) {
    case RESP_EXPIRE_NOT_INTEGER: resp_error(c, RESP_ERR_INTEGER); return false;
    case RESP_EXPIRE_INVALID:
        resp_error(c, "ERR invalid expire time in '%s' command", name);
        return false;
    case RESP_EXPIRE_OK: break;
    }
    *ttl_ms = resp_expire_ttl(at_ms, now_ms);
    return true;
}
