/* SPDX-License-Identifier: MIT
 *
 * settings: functions of settings.c for the files above it. */
#ifndef STORE_SETTINGS_H
#define STORE_SETTINGS_H

#include "cache/types.h"

/* Read and check the options of cellar_open. NULL: all defaults. */
CELLAR_PRIVATE cellar_err cache_settings_read(cache_settings *out, const cellar_config *cfg);

#endif
