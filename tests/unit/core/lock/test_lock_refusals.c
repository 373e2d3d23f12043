/* SPDX-License-Identifier: MIT
 *
 * Aim:    a refused cellar_locks_open leaves a text that names argument, rule and remedy.
 * Method: one wrong argument at a time; the text and the code are those of cellar_last_error. */
#include "base/mem.h"
#include "base/open_error.h"
#include "cellar_admin.h"
#include "cellar_lock.h"
#include "tests/support/t.h"

static void refused(const cellar_locks_config *c, cellar_err want, const char *part)
{
    cellar_locks *t = NULL;
    cellar_error_info e = cellar_error_info_default();
    T_EQ_I64(cellar_locks_open(c, &t), want);
    T_CHECK(t == NULL);
    base_open_error_get(&e);
    T_EQ_I64(e.code, want);
    if (!T_CHECK(strncmp(e.text, "cellar_locks_open: ", 19) == 0 &&
                 strstr(e.text, part) != NULL)) {
        printf("# wanted \"%s\", got \"%s\"\n", part, e.text);
    }
}

T_CASE(each_broken_option_is_named)
{
#define BROKEN(code, part, change) \
    do { \
        cellar_locks_config c = cellar_locks_config_default(); \
        change; \
        refused(&c, code, part); \
    } while (0)
    BROKEN(CELLAR_E_INVAL, "cellar_locks_config_default()", c.struct_size = 0);
    BROKEN(CELLAR_E_INVAL, "max_locks must be at most 2^24", c.max_locks = (1u << 24) + 1);
    BROKEN(CELLAR_E_INVAL, "max_bytes must be at least 256 KiB", c.max_bytes = 1);
    BROKEN(CELLAR_E_INVAL, "(got 18446744073709551615)", c.fence_start = UINT64_MAX);
    BROKEN(CELLAR_E_INVAL, "fence_start must be below 2^61",
           c.fence_start = UINT64_C(1) << 61);
    BROKEN(CELLAR_E_INVAL, "barging must be 0 or 1", c.barging = 2);
    BROKEN(CELLAR_E_UNSUPPORTED, "reserved0 must be 0", c.reserved0 = 1);
    BROKEN(CELLAR_E_SPACE, "max_bytes is too small for max_locks", c.max_bytes = 256 << 10;
           c.max_locks = 1u << 24);
    cellar_host_config h = cellar_host_config_default();
    h.name = "a name of more than sixty-four bytes is more than a label can hold";
    BROKEN(CELLAR_E_INVAL, "host.name must have at most 64 bytes", c.host = &h);
    h = cellar_host_config_default();
    h.struct_size = 1;
    BROKEN(CELLAR_E_INVAL, "cellar_host_config_default()", c.host = &h);
#undef BROKEN
    struct { cellar_locks_config c; uint64_t later; } newer = { cellar_locks_config_default(), 1 };
    newer.c.struct_size = sizeof newer;
    refused(&newer.c, CELLAR_E_UNSUPPORTED, "a field that this library does not know");
}

T_CASE(missing_out_is_named)
{
    cellar_error_info e = cellar_error_info_default();
    T_EQ_I64(cellar_locks_open(NULL, NULL), CELLAR_E_INVAL);
    base_open_error_get(&e);
    T_EQ_STR(e.text, "cellar_locks_open: out must not be NULL");
}

static void call_refused(cellar_err got, cellar_err want, const char *text)
{
    cellar_error_info e = cellar_error_info_default();
    T_EQ_I64(got, want);
    base_open_error_get(&e);
    T_EQ_I64(e.code, want);
    T_EQ_STR(e.text, text);
}

T_CASE(refused_acquire_and_extend_name_their_arguments)
{
    cellar_locks *t;
    cellar_lock lk;
    const cellar_lock_opts past = { .struct_size = sizeof past, .hold_ms = -4 };
    const cellar_lock_opts flag = { .struct_size = sizeof flag, .flags = 64 };
    const cellar_lock_opts end = { .struct_size = sizeof end, .flags = CELLAR_LOCK_NO_END };
    T_EQ_I64(cellar_locks_open(NULL, &t), CELLAR_OK);
    call_refused(cellar_lock_acquire(t, NULL, 3, NULL, &lk), CELLAR_E_INVAL,
                 "cellar_lock_acquire: t, key and out must not be NULL");
    call_refused(cellar_lock_acquire(t, "k", 0, NULL, &lk), CELLAR_E_INVAL,
                 "cellar_lock_acquire: key must have 1..65,535 bytes (got 0)");
    call_refused(cellar_lock_acquire(t, "k", 1, &past, &lk), CELLAR_E_INVAL,
                 "cellar_lock_acquire: hold_ms must be 0 or more (got -4)");
    call_refused(cellar_lock_acquire(t, "k", 1, &flag, &lk), CELLAR_E_UNSUPPORTED,
                 "cellar_lock_acquire: flags 0x40 or reserved0 are unknown: this library and its "
                 "header do not have them");
    call_refused(cellar_lock_acquire(t, "k", 1, &end, &lk), CELLAR_E_INVAL,
                 "cellar_lock_acquire: CELLAR_LOCK_NO_END needs CELLAR_LOCK_THREAD_BOUND");
    T_EQ_I64(cellar_lock_acquire(t, "k", 1, NULL, &lk), CELLAR_OK);
    call_refused(cellar_lock_extend(t, &lk, 0), CELLAR_E_INVAL,
                 "cellar_lock_extend: hold_ms must be at least 1 (got 0)");
    call_refused(cellar_lock_extend(t, NULL, 1), CELLAR_E_INVAL,
                 "cellar_lock_extend: t and lk must not be NULL");
    const cellar_bytes keys[] = { { "a", 1 }, { "a", 1 } };
    cellar_lock two[2];
    call_refused(cellar_lock_acquire_many(t, keys, 2, NULL, two), CELLAR_E_INVAL,
                 "cellar_lock_acquire_many: t, keys and out must not be NULL, count 1..64, and the "
                 "keys different, of 1..65,535 bytes");
    call_refused(cellar_lock_acquire_many(t, keys, 1, &past, two), CELLAR_E_INVAL,
                 "cellar_lock_acquire_many: hold_ms must be 0 or more (got -4)");
    cellar_locks_close(t);
}

/* Each allocation of an open fails once: the text names what is missing. */
T_CASE(each_missing_memory_is_named)
{
    unsigned failed = 0;
    for (uint64_t nth = 1;; nth++) {
        cellar_locks *t = NULL;
        cellar_error_info e = cellar_error_info_default();
        (void)base_fault_alloc_arm(nth, false);
        const cellar_err err = cellar_locks_open(NULL, &t);
        const bool armed = base_fault_alloc_arm(0, false) >= nth;
        if (err == CELLAR_OK) {
            cellar_locks_close(t);
            if (!armed) { break; }
            continue;
        }
        failed++;
        base_open_error_get(&e);
        T_EQ_I64(err, CELLAR_E_NOMEM);
        T_EQ_I64(e.code, err);
        T_CHECK(strncmp(e.text, "cellar_locks_open: no ", 22) == 0);
    }
    T_CHECK(failed >= 4); /* table, page numbers, mapping, fork */
}

T_MAIN("lock_refusals")
