/* SPDX-License-Identifier: MIT
 *
 * settings: all options of a store in one struct, so that a test can set any field and copy it. */
#ifndef TESTS_SETTINGS_H
#define TESTS_SETTINGS_H

#include <sched.h>

#include "cellar.h"
#include "cellar_admin.h"
#include "cellar_entry.h"
#include "cellar_l2.h"
#include "cellar_load.h"
#include "tests/support/t.h"

typedef struct settings {
    cellar_config config;
    cellar_l2_config l2;
    cellar_host_config host;
    cellar_tuning_config tuning;
} settings;

/* The first fields of an initialiser: the others are zero, the defaults. */
#define SETTINGS_SIZES \
    .config.struct_size = sizeof(cellar_config), .config.abi = CELLAR_ABI, \
    .l2.struct_size = sizeof(cellar_l2_config), .host.struct_size = sizeof(cellar_host_config), \
    .tuning.struct_size = sizeof(cellar_tuning_config)

T_INLINE settings settings_default(void)
{
    return (settings){ SETTINGS_SIZES };
}

/* Return the configuration with its pointers into `s`. */
T_INLINE cellar_config settings_config(const settings *s)
{
    cellar_config c = s->config;
    c.l2 = &s->l2;
    c.host = &s->host;
    c.tuning = &s->tuning;
    return c;
}

T_INLINE cellar_err settings_open(const settings *s, cellar **out)
{
    const cellar_config c = settings_config(s);
    return cellar_open(&c, out);
}

T_INLINE cellar *store_of(settings s)
{
    cellar *c = NULL;
    T_REQUIRE(settings_open(&s, &c) == CELLAR_OK);
    return c;
}
/* Open a store with these fields, the others by default: STORE_OF(.config.memory_bytes = 1 << 20) */
#define STORE_OF(...) store_of((settings){ SETTINGS_SIZES, __VA_ARGS__ })

/* Read a value without effect on recency, idle time and statistics. */
T_INLINE cellar_err peek(cellar *c, const void *key, size_t key_len, void *buf, size_t buf_cap,
                         size_t *value_len)
{
    cellar_get_opts o = { .struct_size = sizeof o, .flags = CELLAR_GET_PEEK };
    return cellar_get_with(c, key, key_len, &o, buf, buf_cap, value_len);
}

/* Return a result for one item of a bulk load: one of the 64 of this thread, in turn. */
T_INLINE cellar_result *fresh_result(void)
{
    static _Thread_local cellar_result results[64];
    static _Thread_local unsigned next;
    cellar_result *r = &results[next++ % 64];
    *r = cellar_result_default();
    return r;
}

/* Set a bound of entries beside writers: one that is stopped may hold more of them (E_BUSY). */
T_INLINE void set_entries_bound(cellar *c, cellar_option which, int64_t most)
{
    cellar_err err;
    while ((err = cellar_option_set(c, which, most)) == CELLAR_E_BUSY) { (void)sched_yield(); }
    T_EQ_I64(err, CELLAR_OK);
}

#endif
