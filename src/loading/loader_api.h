/* SPDX-License-Identifier: MIT
 *
 * loader_api: functions of loader_api.c for the files above it. */
#ifndef LOADING_LOADER_API_H
#define LOADING_LOADER_API_H

#include "cache/load_types.h"

/* End the load with `err`, because writing its result failed. */
CELLAR_PRIVATE void cache_load_setter_failed(struct cellar_load *ld, cellar_err err);

/* Record a second result of a key: drop both. Return E_RESULT_TWICE. */
CELLAR_PRIVATE cellar_err cache_load_twice(struct cellar_load *ld, cache_item *it);
/* Return whether the result is the buffer of cellar_load_buf. */
CELLAR_PRIVATE bool cache_load_has_buf(const struct cellar_load *ld);

#endif
