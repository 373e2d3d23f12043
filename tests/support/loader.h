/* SPDX-License-Identifier: MIT
 *
 * loader: what loaders of tests say in one call. */
#ifndef CELLAR_TESTS_LOADER_H
#define CELLAR_TESTS_LOADER_H

#include <stdlib.h>

#include "cellar_load.h"

static inline cellar_err loader_tags(cellar_load *load, const cellar_bytes *tags, size_t count)
{
    cellar_set_opts o = { .struct_size = sizeof o, .tags = tags, .tag_count = (uint32_t)count };
    return cellar_load_opts_set(load, &o);
}

static inline cellar_err loader_ttl(cellar_load *load, int64_t ttl_ms)
{
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = ttl_ms };
    return cellar_load_opts_set(load, &o);
}

static inline cellar_err loader_cost(cellar_load *load, uint32_t cost_us)
{
    cellar_set_opts o = { .struct_size = sizeof o, .cost_us = cost_us };
    return cellar_load_opts_set(load, &o);
}

static inline cellar_load_info loader_info(const cellar_load *load)
{
    cellar_load_info i = cellar_load_info_default();
    if (cellar_load_info_get(load, &i) != CELLAR_OK) { abort(); }
    return i;
}

/* Results of one key of a bulk loader. */
static inline cellar_err loader_value(cellar_load *load, size_t index, const void *value,
                                      size_t value_len)
{
    const cellar_err err = cellar_load_select(load, index);
    return err != CELLAR_OK ? err : cellar_load_value(load, value, value_len);
}

static inline cellar_err loader_absent(cellar_load *load, size_t index)
{
    const cellar_err err = cellar_load_select(load, index);
    return err != CELLAR_OK ? err : cellar_load_absent(load);
}

static inline cellar_err loader_fail(cellar_load *load, size_t index, int32_t loader_err)
{
    const cellar_err err = cellar_load_select(load, index);
    return err != CELLAR_OK ? err : cellar_load_fail(load, loader_err, 0, 0);
}

#endif
