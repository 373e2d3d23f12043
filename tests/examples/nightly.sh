#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    nightly.c makes its report, tries again, reports the last failure, finds the task of a
#         killed process in its journal, and ends by SIGTERM or SIGINT.
# Method: sh tests/examples/nightly.sh PROGRAM: the folder of the report is missing at first.
. tests/support/t.sh

program=$1 at=$t_tmp/at
night="0 $((($(date +%s) / 3600 + 12) % 24)) * * *" # half a day from here
starts() { # [MS]; sets pid
    "$program" "$at.journal" "$at/report" "$night" "$@" 2>>"$at.log" &
    pid=$!
}
waits_for() { until eval "$1" || ! kill -0 $pid; do sleep 0.01; done; }
ends() { kill -s "$1" $pid && wait $pid; }
begins() { # nothing of the case before
    rm -rf "$at" "$at".*
    : >"$at.log"
}
tries_again_and_ends() { # SIGNAL
    begins
    starts 400
    waits_for 'grep -q "attempt 1 failed$" "$at.log"'
    mkdir "$at"
    waits_for '[ -s "$at/report" ]'
    ends "$1" && cat "$at/report" && grep -q 'attempt [2-8]' "$at/report"
}
alarms() {
    begins
    starts 1
    waits_for 'grep -q "attempt 8 failed, ALARM" "$at.log"'
    ends TERM && [ "$(grep -c failed "$at.log")" = 8 ]
}
survives() {
    begins
    starts 400
    waits_for 'grep -q "attempt 1 failed" "$at.log"'
    kill -KILL $pid
    wait $pid
    mkdir "$at"
    starts
    waits_for '[ -s "$at/report" ]'
    ends TERM && cat "$at/report" && grep -q 'attempt [2-8]' "$at/report"
}
refuses() { # a journal that is no database
    begins
    echo text >"$at.journal"
    "$program" "$at.journal" "$at/report" 2>"$at.log"
    [ $? -eq 1 ] && cat "$at.log" && grep -q 'cellar_pool_open: ' "$at.log"
}
t_case failed_report_is_made_later_and_sigterm_ends tries_again_and_ends TERM
t_case sigint_ends_the_program tries_again_and_ends INT
t_case last_failure_is_reported alarms
t_case report_of_a_killed_process_is_made survives
t_case bad_journal_is_refused refuses
t_end nightly
