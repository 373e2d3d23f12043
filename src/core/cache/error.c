/* SPDX-License-Identifier: MIT
 *
 * error: the last error of each handle and of cellar_open; names and texts of codes.
 *
 * INVARIANTS A call that returns a refusal or a failure has kept its text before. Outcomes keep
 *            none, nor does the E_LEASE of an unsubscribe, which is a normal race. E_FORKED has one
 *            text, which no lock guards. The host's log gets what is no mistake of a caller:
 *            memory, space, disk.
 * LOCKING    ERROR: one lock per store for its handles.
 * LIMITS     CACHE_ERROR_TEXT bytes of text; no keys, no values. */
#include "cache/error.h"

#include "cache/call.h"
#include "cache/talk.h"

#include <stdio.h>

#include "base/open_error.h"
#include "base/opts.h"

BASE_SIZE_BEGIN

CELLAR_PRIVATE void cache_fail_open(cellar_err code, int sys_errno, const char *text)
{
    (void)base_open_fail(code, sys_errno, "%s", text);
}

CELLAR_PRIVATE cellar_err cache_open_refuse(cellar_err code, const char *what)
{
    return base_open_fail(code, 0, "cellar_open: %s", what);
}

CELLAR_PRIVATE void cache_error_keep(cellar *c, cellar_err code, int sys_errno, const char *text)
{
    sync_take(ERROR, &c->store->error_lock);
    c->error.code = code;
    c->error.sys_errno = sys_errno;
    (void)snprintf(c->error.text, sizeof c->error.text, "%s", text);
    sync_drop(ERROR, &c->store->error_lock);
}

/* Return whether the host must learn of the error; mistakes of a caller are not logged. */
static bool cache_fail_is_loud(cellar_err code)
{
    return code == CELLAR_E_NOMEM || code == CELLAR_E_SPACE || code == CELLAR_E_IO ||
           code == CELLAR_E_CORRUPT;
}

CELLAR_PRIVATE cellar_err cache_fail(cellar *c, cellar_err code, int sys_errno, const char *text)
{
    if (c == NULL || code == CELLAR_OK) { return code; }
    if (cache_is_forked(c)) { return CELLAR_E_FORKED; } /* locks may be held by lost threads */
    cache_error_keep(c, code, sys_errno, text);
    if (cache_fail_is_loud(code)) {
        cache_log(c, BASE_LOG_ERROR, "cache", (int)code, "%s", text);
    }
    return code;
}

BASE_COLD CELLAR_PRIVATE cellar_err cache_refuse(cellar *c, const char *text)
{
    return cache_fail(c, CELLAR_E_INVAL, 0, text);
}

BASE_COLD CELLAR_PRIVATE cellar_err cache_fail_key(cellar *c, const char *call, const void *key,
                                                   size_t key_len, const char *rest)
{
    char text[CACHE_ERROR_TEXT];
    if (key == NULL) {
        (void)snprintf(text, sizeof text, "%s: key must not be NULL (key_len is %llu)", call,
                       (unsigned long long)key_len);
    } else if (cache_key_bad(key, key_len)) {
        (void)snprintf(text, sizeof text, "%s: key must have 1..65,535 bytes (got %llu)", call,
                       (unsigned long long)key_len);
    } else {
        (void)snprintf(text, sizeof text, "%s: %s", call, rest);
    }
    return cache_refuse(c, text);
}

BASE_COLD CELLAR_PRIVATE cellar_err cache_fail_number(cellar *c, const char *rule, int64_t got)
{
    char text[CACHE_ERROR_TEXT];
    (void)snprintf(text, sizeof text, "%s (got %lld)", rule, (long long)got);
    return cache_refuse(c, text);
}

BASE_COLD CELLAR_PRIVATE cellar_err cache_fail_size(cellar *c, const char *rule, uint64_t got)
{
    char text[CACHE_ERROR_TEXT];
    (void)snprintf(text, sizeof text, "%s (got %llu)", rule, (unsigned long long)got);
    return cache_refuse(c, text);
}

CELLAR_PRIVATE void cache_broken_text(const cache_broken *b, const char *call,
                                      char text[CACHE_ERROR_TEXT])
{
    int n = snprintf(text, CACHE_ERROR_TEXT, "%s: %s%s%s", call, b->part != NULL ? b->part : "",
                     b->part != NULL ? "." : "", b->rule);
    if (b->numbered != 0 && n >= 0 && n < (int)CACHE_ERROR_TEXT) {
        (void)snprintf(text + n, CACHE_ERROR_TEXT - (size_t)n,
                       b->numbered == 1 ? " (got %lld)" : " (got %llu)", (long long)b->got);
    }
    BASE_ASSERT(strlen(text) < CACHE_ERROR_TEXT - 1); /* not cut */
}

BASE_COLD CELLAR_PRIVATE cellar_err cache_fail_broken(cellar *c, cellar_err err, const char *call,
                                                      const cache_broken *b)
{
    char text[CACHE_ERROR_TEXT];
    cache_broken_text(b, call, text);
    return cache_fail(c, err, 0, text);
}

BASE_COLD CELLAR_PRIVATE cellar_err cache_fail_flags(cellar *c, const char *call,
                                                     uint32_t unknown)
{
    char text[CACHE_ERROR_TEXT];
    if (unknown != 0) {
        (void)snprintf(text, sizeof text,
                       "%s: flag 0x%x is unknown: this library and its header do not have it", call,
                       (unsigned)unknown);
    } else {
        (void)snprintf(text, sizeof text,
                       "%s: a field is set that this library does not know: start from the "
                       "default of the options", call);
    }
    return cache_fail(c, CELLAR_E_UNSUPPORTED, 0, text);
}

BASE_COLD CELLAR_PRIVATE cellar_err cache_fail_long(cellar *c, const char *call, uint64_t got)
{
    char text[CACHE_ERROR_TEXT];
    (void)snprintf(text, sizeof text, "%s: the value must have at most %llu bytes: raise "
                   "tuning.max_value_bytes (got %llu)", call,
                   (unsigned long long)l1_max_value(c->l1), (unsigned long long)got);
    return cache_fail(c, CELLAR_E_TOOBIG, 0, text);
}

BASE_COLD CELLAR_PRIVATE cellar_err cache_closed(cellar *c, const char *call)
{
    cache_broken b = { .rule = "the namespace or its store is closed: open it again" };
    cellar_err err = CELLAR_E_CLOSED;
    /* Without both bits the link of a shared namespace is closed. */
    if ((base_load_acq(&c->state) & (CACHE_CLOSED | CACHE_OBJECTS)) == CACHE_OBJECTS) {
        b.rule = "the namespace holds objects: use the calls of cellar_object.h";
        err = CELLAR_E_TYPE;
    }
    const bool named = strncmp(call, "cellar_", 7) == 0;
    return named ? cache_fail_broken(c, err, call, &b) : cache_fail(c, err, 0, b.rule);
}

CELLAR_API cellar_err cellar_last_error(cellar *c, cellar_error_info *out)
{
    if (out == NULL) { return CELLAR_E_INVAL; }
    cellar_error_info full = cellar_error_info_default();
    if (c == NULL) {
        base_open_error_get(&full);
    } else if (cache_is_forked(c)) {
        full.code = CELLAR_E_FORKED;
        (void)snprintf(full.text, sizeof full.text, "the store belongs to the parent of this "
                       "process: open a store after the fork");
    } else {
        sync_take(ERROR, &c->store->error_lock);
        full.code = c->error.code;
        full.sys_errno = c->error.sys_errno;
        (void)snprintf(full.text, sizeof full.text, "%s", c->error.text);
        sync_drop(ERROR, &c->store->error_lock);
    }
    return base_opts_out(out, &full, sizeof full);
}

/* ---- names and texts of codes ---- */

#ifdef CELLAR_OMIT_TEXT
#define CACHE_CODE_TEXT(text)
#else
#define CACHE_CODE_TEXT(text) , text
#endif

/* Return the name of a code, then its text; NULL: no such code. */
static const char *const *cache_code(cellar_err code)
{
    static const struct { int number; const char *text[2]; } of[] = {
#define CACHE_X(name, number, text) { number, { #name CACHE_CODE_TEXT(text) } },
        CELLAR_CODES(CACHE_X)
#undef CACHE_X
    };
    for (size_t i = 0; i < sizeof of / sizeof of[0]; i++) {
        if (of[i].number == (int)code) { return of[i].text; }
    }
    return NULL;
}

CELLAR_API const char *cellar_code_name(cellar_err code)
{
    const char *const *text = cache_code(code);
    return text != NULL ? text[0] : "?";
}

CELLAR_API const char *cellar_cause_name(cellar_cause cause)
{
    static const char *const name[CELLAR_CAUSE_COUNT] = {
        [CELLAR_CAUSE_EXPIRED] = "expired", [CELLAR_CAUSE_EVICTED] = "evicted",
        [CELLAR_CAUSE_REPLACED] = "replaced", [CELLAR_CAUSE_DELETED] = "deleted",
        [CELLAR_CAUSE_CLEARED] = "cleared", [CELLAR_CAUSE_VERSION] = "version",
        [CELLAR_CAUSE_TAG] = "tag", [CELLAR_CAUSE_PATTERN] = "pattern",
        [CELLAR_CAUSE_REJECTED] = "rejected", [CELLAR_CAUSE_NEGATIVE] = "negative",
        [CELLAR_CAUSE_LOAD_FAILED] = "load_failed", [CELLAR_CAUSE_INVALIDATED] = "invalidated",
        [CELLAR_CAUSE_DENIED] = "denied",
        [CELLAR_CAUSE_REMOTE] = "remote", [CELLAR_CAUSE_CLOSED] = "closed",
    };
    const unsigned at = (unsigned)cause;
    return at < CELLAR_CAUSE_COUNT && name[at] != NULL ? name[at] : "?";
}

#ifndef CELLAR_OMIT_TEXT
CELLAR_API const char *cellar_strerror(cellar_err code)
{
    const char *const *text = cache_code(code);
    return text != NULL ? text[1] : "unknown code";
}
#endif

BASE_SIZE_END
