/* SPDX-License-Identifier: MIT
 *
 * environment: the variables of the process. Only calls that a program makes for this read them. */
#ifndef BASE_ENVIRONMENT_H
#define BASE_ENVIRONMENT_H

#include "base/port.h"

#include <stdlib.h>

/* Return the value of a variable, NULL if it is not set. Valid until the environment changes. */
BASE_INLINE const char *base_environment(const char *name) { return getenv(name); }

#endif
