/* SPDX-License-Identifier: MIT
 *
 * no_wait: options of an acquire that does not wait for another owner. */
#ifndef CELLAR_TESTS_NO_WAIT_H
#define CELLAR_TESTS_NO_WAIT_H

#include "cellar_lock.h"

#define NO_WAIT \
    (&(const cellar_lock_opts){ .struct_size = sizeof(cellar_lock_opts), \
                                .flags = CELLAR_LOCK_NO_WAIT })

#endif
