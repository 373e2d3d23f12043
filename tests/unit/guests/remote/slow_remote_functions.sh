#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    the functions of a port do what redis-server does with the scripts of the remote tier, in
#         25,000 states and arguments of each, with FULL=1 in 100,000; the remote tests compare 800.
#         FUNCTIONS=n: n.
# Method: the case of test_remote_functions with that number; FULL=1: a minute of one CPU.
. tests/support/t.sh
unset T SAN DROPIN
: "${CELLAR_BUILD:=$($MAKE --no-print-directory -s where)}"
$MAKE --no-print-directory test-programs T=remote_functions NOLINK=1 >/dev/null || exit 2
case=functions_do_what_redis_does_with_the_texts
if [ ! -x "$CELLAR_BUILD/t/test_remote_functions" ]; then
    t_skip $case "no hiredis (libhiredis-dev)"
    t_end slow_remote_functions
fi
if [ "${FULL-}" = 1 ]; then functions=100000; else functions=25000; fi
FUNCTIONS=${FUNCTIONS:-$functions} exec "$CELLAR_BUILD/t/test_remote_functions" $case
