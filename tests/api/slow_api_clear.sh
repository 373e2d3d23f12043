#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    A clear of 2,500,000 entries, with FULL=1 of 10,000,000, costs at most twice as much as a
#         clear of 1,000; `make test` uses 200,000. CLEAR_ENTRIES=n: n entries.
# Method: The case of test_api_namespaces with that number; FULL=1: half a minute of one CPU. The store has
#         64 bytes for each entry and 64 MiB.
. tests/support/t.sh
: "${CELLAR_BUILD:=$($MAKE --no-print-directory -s where)}"
if [ "${FULL-}" = 1 ]; then entries=10000000; else entries=2500000; fi
export CLEAR_ENTRIES="${CLEAR_ENTRIES:-$entries}"
need=$((CLEAR_ENTRIES / 1024 * 64 * 5 / 4 + 131072))
there=$(awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo)
if [ "${there:-0}" -lt $need ]; then
    t_skip clear_is_o1_and_frees_memory "$need KiB of memory are needed, ${there:-0} are available"
    t_end slow_api_clear
fi
$MAKE --no-print-directory test-programs T=api_namespaces NOLINK=1 >/dev/null || exit 2
exec "$CELLAR_BUILD/t/test_api_namespaces" clear_is_o1_and_frees_memory
