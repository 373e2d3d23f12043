#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    nightly.c runs its report, tries it again, and ends by SIGTERM.
# Method: sh tests/examples/nightly.sh PROGRAM
. tests/support/t.sh

runs_and_ends() { # PROGRAM
    "$1" report >"$t_tmp/out" &
    until [ -s "$t_tmp/out" ] || ! kill -0 $!; do sleep 0.01; done
    kill $!
    wait $! && cat "$t_tmp/out" && [ "$(cat "$t_tmp/out")" = 'report, attempt 2' ]
}
t_case report_runs_and_the_program_ends runs_and_ends "$1"
t_end nightly
