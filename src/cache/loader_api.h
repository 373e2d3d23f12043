/* SPDX-License-Identifier: MIT
 *
 * loader_api: functions of loader_api.c for the files above it. */
#ifndef CACHE_LOADER_API_H
#define CACHE_LOADER_API_H

#include "cache/load_types.h"

/* End the load with `err`, because writing its result failed. */
CELLAR_PRIVATE void cache_load_setter_failed(struct cellar_load *ld, cellar_err err);

#endif
