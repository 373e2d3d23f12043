/* SPDX-License-Identifier: MIT
 *
 * scan: options of one call of cellar_scan. */
#ifndef CELLAR_TESTS_SCAN_H
#define CELLAR_TESTS_SCAN_H

#include "cellar_observe.h"

#define SCAN(keys, keys_len, buckets) \
    (&(const cellar_scan_opts){ .struct_size = sizeof(cellar_scan_opts), .pattern = (keys), \
                                .pattern_len = (keys_len), .bucket_count = (buckets) })

#endif
