#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    The random program over all public calls finds nothing in half a minute; FULL=1: four minutes.
# Method: test_calls_fuzz under ASan and UBSan, CALLS_SECONDS (8; FULL=1: 60) for each of its four cells;
#         two hours: CALLS_SECONDS=1800 SEED=random. A fault prints SEED and WORLD, which repeat it.
: "${MAKE:=make}"
seed=${SEED:-random}
if [ "$seed" = random ]; then seed=$(od -An -N4 -tu4 /dev/urandom | tr -d ' '); fi
unset T DROPIN
san="SAN=address,undefined NOLINK=1 T=calls_fuzz"
# shellcheck disable=SC2086 # words are meant to be split
$MAKE --no-print-directory test-programs $san >/dev/null || exit 2
# shellcheck disable=SC2086
program=$($MAKE --no-print-directory -s where $san)/t/test_calls_fuzz
if [ "${FULL-}" = 1 ]; then seconds=60; else seconds=8; fi
SEED=$seed CALLS_SECONDS=${CALLS_SECONDS:-$seconds} "$program"
