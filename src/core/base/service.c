/* SPDX-License-Identifier: MIT
 *
 * service: options of the host, memory of an object, and the calls that any object answers.
 *
 * LOCKING    None. */
#include "base/service.h"

#include <string.h>

#include "base/num.h"
#include "base/open_error.h"
#include "cellar_observe.h"

BASE_SIZE_BEGIN

CELLAR_PRIVATE cellar_err base_host_in(cellar_host_config *out, const cellar_host_config *from,
                                       const char *call, const char *name)
{
    const char *why;
    *out = cellar_host_config_default();
    const cellar_err err = base_open_opts(out, sizeof *out, from, call, "cellar_host_config");
    if (err != CELLAR_OK) { return err; }
    if (out->name == NULL || *out->name == '\0') { out->name = name; }
    if (base_broken(out->no_threads > 1, "host.no_threads must be 0 or 1", &why) ||
        base_broken((out->alloc == NULL) != (out->free == NULL),
                    "host.alloc and host.free belong together: give both or none", &why) ||
        base_broken((unsigned)out->log_level > CELLAR_LOG_OFF,
                    "host.log_level must be a cellar_log_level", &why) ||
        base_broken(strnlen(out->name, CELLAR_NAME_MAX + 1) > CELLAR_NAME_MAX,
                    "host.name must have at most 64 bytes", &why)) {
        return base_open_fail(CELLAR_E_INVAL, 0, "%s: %s", call, why);
    }
    return CELLAR_OK;
}

CELLAR_PRIVATE const base_number *base_numbers_in(void *options, const base_number *rows,
                                                  size_t count, uint64_t *got)
{
    for (size_t i = 0; i < count; i++) { /* without rows they are NULL */
        const base_number *r = &rows[i];
        char *at = (char *)options + r->offset;
        const size_t bytes = r->wide ? 8 : 4;
        *got = 0;
        memcpy(got, at, bytes); /* little-endian: base/port.h */
        if (*got == 0) {
            memcpy(at, &r->none, bytes);
        } else if (*got < r->min || *got > r->max) {
            return r;
        }
    }
    return NULL;
}

CELLAR_PRIVATE cellar_err base_config_in(void *out, size_t known, const void *from,
                                         const char *type, size_t host_at,
                                         cellar_host_config *host, const char *call,
                                         const char *name, const base_number *rows, size_t count)
{
    const cellar_host_config *given;
    cellar_err err = base_open_opts(out, known, from, call, type);
    if (err != CELLAR_OK) { return err; }
    memcpy(&given, (const char *)out + host_at, sizeof given);
    err = base_host_in(host, given, call, name);
    if (err != CELLAR_OK) { return err; }
    uint64_t got;
    const base_number *r = base_numbers_in(out, rows, count, &got);
    if (r == NULL) { return CELLAR_OK; }
    return base_open_fail(CELLAR_E_INVAL, 0, "%s: %s (got %llu)", call, r->why,
                          (unsigned long long)got);
}

CELLAR_PRIVATE void base_host_init(const cellar_host_config *host, base_account *account,
                                   base_clock *clock, base_log *log)
{
    const base_alloc_hooks hooks = base_host_hooks(host);
    base_account_init(account, UINT64_MAX, &hooks);
    if (host->clock == NULL) { base_clock_ready(); }
    *clock = (base_clock){ .precise_ms = host->clock, .coarse_ms = host->clock,
                           .ctx = host->clock_ctx };
    base_log_init(log, clock, host->log, host->log_ctx, (int)base_log_level_of(host->log_level));
}

CELLAR_PRIVATE void *base_object_new(const base_service_kind *kind, const cellar_host_config *host,
                                     size_t bytes)
{
    const base_alloc_hooks hooks = base_host_hooks(host);
    void *raw = base_alloc_raw(&hooks, bytes + BASE_PAD);
    if (raw == NULL) { return NULL; }
    base_object *o = (void *)(uintptr_t)base_round_up((uintptr_t)raw, BASE_PAD);
    memset((void *)o, 0, bytes);
    o->kind = kind;
    o->raw = raw;
    o->bytes = bytes;
    base_host_init(host, &o->account, &o->clock, &o->log);
    o->stack_bytes = host->stack_bytes;
    o->no_threads = host->no_threads != 0;
    memcpy(o->name, host->name, strlen(host->name));
    return o;
}

CELLAR_PRIVATE void base_object_free(base_object *o)
{
    BASE_ASSERT(base_load_rlx(&o->account.used) == 0);
    const base_alloc_hooks hooks = o->account.hooks;
    base_free_raw(&hooks, o->raw, o->bytes + BASE_PAD);
}

/* ---- fork ---- */

static cellar_err base_forked_tick(void *object, uint64_t budget_us, int64_t *wait_ms)
{
    (void)object; (void)budget_us; (void)wait_ms;
    return CELLAR_E_FORKED;
}

static cellar_err base_forked_text(void *object, bool json, char *buf, size_t cap, size_t *full)
{
    (void)object; (void)json; (void)buf; (void)cap; (void)full;
    return CELLAR_E_FORKED;
}

static const base_service_kind base_forked_kind = { base_forked_tick, base_forked_text };

CELLAR_PRIVATE bool base_object_forks(base_object *o, void (*child)(void *object))
{
    o->fork = (base_fork_node){ .child = child, .ctx = o };
    return base_fork_register(&o->fork);
}

CELLAR_PRIVATE void base_object_forked(void *object)
{
    base_object *o = object;
    o->forked = true;
    o->kind = &base_forked_kind;
}

/* ---- calls of any object ---- */

CELLAR_API cellar_err cellar_tick(void *object, uint64_t budget_us, int64_t *wait_ms)
{
    int64_t unused;
    if (wait_ms == NULL) { wait_ms = &unused; }
    *wait_ms = 0;
    if (object == NULL) { return CELLAR_E_INVAL; }
    const base_service_kind *kind = *(const base_service *)object;
    return kind->tick != NULL ? kind->tick(object, budget_us, wait_ms) : CELLAR_E_UNSUPPORTED;
}

#ifndef CELLAR_OMIT_TEXT
static cellar_err base_service_text(void *object, bool json, char *buf, size_t cap, size_t *len)
{
    size_t full = 0;
    if (len != NULL) { *len = 0; }
    if (object == NULL || (buf == NULL && cap != 0)) { return CELLAR_E_INVAL; }
    const cellar_err err = (*(const base_service *)object)->text(object, json, buf, cap, &full);
    if (len != NULL) { *len = full; }
    return err != CELLAR_OK || full < cap ? err : CELLAR_E_BUFFER;
}

CELLAR_API cellar_err cellar_metrics_write(void *object, char *buf, size_t buf_cap,
                                           size_t *text_len)
{
    return base_service_text(object, false, buf, buf_cap, text_len);
}

CELLAR_API cellar_err cellar_stats_json(void *object, char *buf, size_t buf_cap, size_t *text_len)
{
    return base_service_text(object, true, buf, buf_cap, text_len);
}
#endif

BASE_SIZE_END
