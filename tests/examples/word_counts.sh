#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    word_counts.c finds the counts of earlier runs, counts a changed file again, and works
#         while another run has its folder.
# Method: sh tests/examples/word_counts.sh PROGRAM: runs on one folder. A pipe that has no writer
#         holds a run while another one works.
. tests/support/t.sh

cache=$t_tmp/cache text=$t_tmp/text
run() { "$program" "$cache" "$@" >"$t_tmp/said" 2>&1; }
says() { cat "$t_tmp/said" && grep -qx "$text: $1" "$t_tmp/said"; }
begins() {
    program=$1
    rm -rf "$cache"
    printf 'one two\n three' >"$text"
}
second_run_finds() {
    begins "$1" && run "$text" && says '3 words, counted' && run "$text" && says '3 words, found'
}
changed_file_is_counted() {
    begins "$1" && run "$text" && echo four five >>"$text" && run "$text" && says '4 words, counted'
}
missing_file_fails() { # the others are counted
    begins "$1" && ! run "$t_tmp/none" "$text" && says '3 words, counted'
}
two_at_once() {
    begins "$1" && mkfifo "$t_tmp/pipe" || return 1
    "$program" "$cache" "$t_tmp/pipe" >"$t_tmp/first" &
    exec 3>"$t_tmp/pipe" # returns when the first run reads the pipe
    run "$text" && says '3 words, counted' || return 1
    echo four >&3
    exec 3>&-
    wait $! && grep -q ': 1 words, counted$' "$t_tmp/first" && run "$text" && says '3 words, counted' &&
        run "$text" && says '3 words, found'
}
works_without_a_folder() {
    begins "$1" && cache=$t_tmp/none/cache && run "$text" && says '3 words, counted' && grep -q 'keeps nothing: .*l2_path' "$t_tmp/said"
}
t_case second_run_finds_the_counts second_run_finds "$1"
t_case changed_file_is_counted_again changed_file_is_counted "$1"
t_case missing_file_is_an_error missing_file_fails "$1"
t_case run_beside_another_one_works two_at_once "$1"
t_case run_without_a_folder_says_that_it_keeps_nothing works_without_a_folder "$1"
t_end word_counts
