#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    api_answers.c prints api_answers.txt.
# Method: sh tests/examples/api_answers.sh PROGRAM: up to 20 runs. The breaker stays open for a
#         random time, in one of 10,000 runs for a few milliseconds.
. tests/support/t.sh

prints() {
    for run in $(seq 20); do "$1" | diff tests/examples/api_answers.txt - && return; done
    echo "in $run runs"
    return 1
}
t_case answers_are_those_of_the_text prints "$1"
t_end api_answers
