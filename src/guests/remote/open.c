/* SPDX-License-Identifier: MIT
 *
 * open: a remote: its parts in order, and the calls of its link.
 *
 * PICTURE    open:  config -> data -> share -> link   close: drain -> link -> share -> data
 * INVARIANTS The link starts last and ends first: its thread calls the other parts.
 * SEE ALSO   config.c, link.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cellar_admin.h"
#include "remote/data.h"
#include "remote/remote.h"
#include "remote/share.h"

BASE_SIZE_BEGIN

/* ---- events of the link ---- */

static void *remote_on_alloc(void *r, size_t size) { return remote_alloc(r, size); }
static void remote_on_free(void *r, void *p, size_t size) { remote_free(r, p, size); }

static void remote_on_heard(void *r, const char *key, size_t len) { remote_heard(r, key, len); }
static void remote_on_flush(void *r) { remote_heard_flush(r); }
static void remote_on_gap(void *r) { remote_gap(r); }
static void remote_on_linked(void *r) { remote_linked(r); }
static void remote_on_proven(void *r, int64_t until_ms) { remote_proven(r, until_ms); }

static void remote_on_log(void *remote, cellar_err code, const char *text)
{
    const cellar_remote *r = remote;
    const cellar_log_level level = code == CELLAR_OK ? CELLAR_LOG_INFO : CELLAR_LOG_WARNING;
    const cellar_log_level said = r->log_host.log_level;
    const cellar_log_level least = said != CELLAR_LOG_DEFAULT ? said : CELLAR_LOG_WARNING;
    if (r->log_host.log == NULL || least == CELLAR_LOG_OFF || level > least) { return; }
    r->log_host.log(level, "remote", code, text, r->log_host.log_ctx);
}

static cellar_err remote_link_begin(cellar_remote *r)
{
    const remote_events e = { .ctx = r, .memory = &r->memory, .now_ms = remote_now_ms,
        .prefix = remote_prefix, .script = remote_script_text,
        .script_loaded = remote_script_digest, .script_other = remote_script_other,
        .heard = remote_on_heard, .heard_flush = remote_on_flush, .gap = remote_on_gap,
        .linked = remote_on_linked, .proven = remote_on_proven, .beat = remote_lease_beat,
        .log = remote_on_log, .forked = &r->forked };
    return remote_link_open(&r->cfg, &e, &r->link);
}

/* ---- open and close ---- */

static void remote_drop(cellar_remote *r)
{
    explicit_bzero(&r->cfg, sizeof r->cfg); /* the password */
    (void)pthread_mutex_destroy(&r->replicas.lock);
    free(r);
}

/* Copy what the options say of the log. */
static void remote_host_take(cellar_remote *r, const cellar_remote_config *o)
{
    const size_t end = offsetof(cellar_remote_config, host) + sizeof o->host;
    r->log_host = cellar_host_config_default();
    if (o == NULL || o->struct_size < end || o->host == NULL) { return; }
    const size_t size = o->host->struct_size;
    memcpy(&r->log_host, o->host, size < sizeof r->log_host ? size : sizeof r->log_host);
}

/* Return the longest string of a reply: no value of the store is longer than its budget. */
static size_t remote_longest(cellar *store)
{
    int64_t bytes = 0;
    (void)cellar_option_get(store, CELLAR_OPT_MEMORY_BYTES, &bytes);
    return (size_t)(bytes < (int64_t)CELLAR_VALUE_MAX ? bytes : CELLAR_VALUE_MAX) + 4096;
}

static const base_service_kind remote_service = { NULL, BASE_TEXT(remote_text_write) };

CELLAR_API cellar_err cellar_remote_open(cellar *store, const char *url,
                                         const cellar_remote_config *o, cellar_remote **out)
{
    static const char full[] = "cellar_remote_open: no memory, budget or descriptor";
    char text[sizeof ((cellar_error_info *)NULL)->text];
    if (out != NULL) { *out = NULL; }
    if (store == NULL || out == NULL) {
        return remote_call_fail(CELLAR_E_INVAL, "cellar_remote_open: store and out must be given");
    }
    cellar_remote *r = calloc(1, sizeof *r);
    if (r == NULL) { return remote_call_fail(CELLAR_E_NOMEM, full); }
    r->service = &remote_service;
    (void)pthread_mutex_init(&r->replicas.lock, NULL);
    r->memory = (remote_memory){ .ctx = r, .alloc = remote_on_alloc, .free = remote_on_free,
                                 .rest = remote_memory_rest };
    cellar_err err = remote_config_read(url, o, &r->cfg, text, sizeof text);
    if (err != CELLAR_OK) { goto drop; }
    memcpy(text, full, sizeof full);
    r->cfg.string_max = remote_longest(store);
    remote_host_take(r, o);
    if ((err = remote_data_open(r)) != CELLAR_OK) { goto drop; }
    if ((err = remote_share_open(r)) != CELLAR_OK) { goto drop_data; }
    if ((err = remote_link_begin(r)) != CELLAR_OK) { goto drop_share; }
    *out = r;
    return CELLAR_OK;
drop_share:
    remote_share_close(r);
drop_data:
    remote_data_close(r);
drop:
    remote_drop(r);
    return remote_call_fail(err, text);
}

CELLAR_API void cellar_remote_close(cellar_remote *r)
{
    if (r == NULL || r->forked) { return; }
    remote_data_drain(r, r->cfg.close_ms);
    remote_link_close(r->link);
    remote_share_close(r);
    remote_data_close(r);
    remote_drop(r);
}

/* ---- calls of the link ---- */

CELLAR_API cellar_err cellar_remote_fence(cellar_remote *r, int64_t timeout_ms)
{
    if (r == NULL || timeout_ms < 0) { return CELLAR_E_INVAL; }
    return remote_marker_now(r->link, timeout_ms);
}

CELLAR_API int cellar_remote_fd(const cellar_remote *r)
{
    return r != NULL ? remote_link_fd(r->link) : -1;
}

CELLAR_API cellar_err cellar_remote_step(cellar_remote *r, uint64_t budget_us)
{
    if (r == NULL || !r->cfg.no_thread) { return CELLAR_E_INVAL; }
    const int64_t most_us = budget_us < 1000000 ? (int64_t)budget_us : 1000000;
    const int64_t end_ns = remote_mono_ns() + most_us * 1000;
    cellar_err err;
    do {
        err = remote_link_step(r->link, 0);
    } while (err == CELLAR_PENDING && remote_mono_ns() < end_ns);
    return err;
}

CELLAR_API cellar_remote_state cellar_remote_state_get(const cellar_remote *r)
{
    return r != NULL && !r->forked
        ? (cellar_remote_state)remote_link_state(r->link) : CELLAR_REMOTE_DOWN;
}

CELLAR_API cellar_err cellar_remote_last_error(const cellar_remote *r, cellar_error_info *out)
{
    cellar_error_info e = cellar_error_info_default();
    if (out == NULL || out->struct_size < sizeof out->struct_size) { return CELLAR_E_INVAL; }
    if (r != NULL && r->forked) { return CELLAR_E_FORKED; }
    if (r != NULL) {
        remote_refusal why;
        remote_link_refusal(r->link, &why);
        e.code = why.code;
        e.sys_errno = why.sys_errno;
        (void)snprintf(e.text, sizeof e.text, "%s", why.text);
    } else {
        remote_call_failure(&e);
    }
    e.struct_size = out->struct_size;
    memcpy(out, &e, out->struct_size < sizeof e ? out->struct_size : sizeof e);
    return CELLAR_OK;
}

BASE_SIZE_END
