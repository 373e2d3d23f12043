/* SPDX-License-Identifier: MIT
 *
 * counter: options of cellar_increment in one expression. */
#ifndef TESTS_SUPPORT_COUNTER_H
#define TESTS_SUPPORT_COUNTER_H

#include "cellar.h"

#define COUNTER_OPTS(ttl, bits) \
    (&(cellar_set_opts){ .struct_size = sizeof(cellar_set_opts), .ttl_ms = (ttl), .flags = (bits) })
#define COUNTER_PRESENT COUNTER_OPTS(0, CELLAR_ONLY_IF_PRESENT)

#endif
