#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    nightly.c runs its report, tries it again, and ends by SIGTERM or SIGINT.
# Method: sh tests/examples/nightly.sh PROGRAM
. tests/support/t.sh

runs_and_ends() { # PROGRAM SIGNAL
    rm -f "$t_tmp/out" # of the case before: the signal is for a program that has begun
    "$1" report >"$t_tmp/out" &
    until [ -s "$t_tmp/out" ] || ! kill -0 $!; do sleep 0.01; done
    kill -s "$2" $!
    wait $! && cat "$t_tmp/out" && [ "$(cat "$t_tmp/out")" = 'report, attempt 2' ]
}
t_case sigterm_ends_the_program runs_and_ends "$1" TERM
t_case sigint_ends_the_program runs_and_ends "$1" INT
t_end nightly
