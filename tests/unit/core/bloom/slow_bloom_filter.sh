#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    No false negative in 100,000,000 probes of a filter of a million keys, without the time
#         limit of one second in `make test`. BLOOM_PROBES=n: n probes.
# Method: The case of test_bloom_filter with that number.
: "${MAKE:=make}"
unset T SAN DROPIN
: "${CELLAR_BUILD:=$($MAKE --no-print-directory -s where)}"
$MAKE --no-print-directory test-programs T=bloom_filter NOLINK=1 >/dev/null || exit 2
BLOOM_PROBES=${BLOOM_PROBES:-100000000} exec "$CELLAR_BUILD/t/test_bloom_filter" \
    probes_of_added_keys_are_never_denied
