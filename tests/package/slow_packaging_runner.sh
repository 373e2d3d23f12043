#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    no way for a test program to end is taken for a success unless it is one.
# Method: run.sh over small commands that end well, badly, late, silently or by a signal.
. tests/support/t.sh
run_sh=tests/support/run.sh

sum_is() { # expected closing line, expected status, items...
    want=$1 status=$2
    shift 2
    sh $run_sh -l 20 -j 2 -o "$t_tmp/log" "$@" >"$t_tmp/sum"
    got=$?
    cat "$t_tmp/sum"
    [ "$(tail -n 1 "$t_tmp/sum")" = "cellar: $want" ] && [ $got -eq "$status" ]
}
names() { # WORD LIMIT ITEM...: the runner's report has the word
    word=$1 limit=$2
    shift 2
    sh $run_sh -l $limit -o "$t_tmp/log" "$@" | tee "$t_tmp/sum" | grep -q "$word"
}
good='t|a|echo "a: 2 passed, 0 failed, 1 skipped"'

again='t|again|echo "a: 2 passed, 0 failed, 1 skipped"' # a log of its own: both run at once

t_case sums_closing_lines sum_is "4 passed, 0 failed, 2 skipped" 0 "$good" "$again"
t_case no_closing_line_fails sum_is "2 passed, 1 failed, 1 skipped" 1 "$good" 't|b|echo fine'
t_case closing_line_must_be_last sum_is "0 passed, 1 failed, 0 skipped" 1 \
    't|b|echo "b: 1 passed, 0 failed, 0 skipped"; echo more'
t_case failed_count_counts sum_is "1 passed, 2 failed, 0 skipped" 1 \
    't|b|echo "b: 1 passed, 2 failed, 0 skipped"'
t_case bad_status_after_good_line_fails sum_is "1 passed, 1 failed, 0 skipped" 1 \
    't|b|echo "b: 1 passed, 0 failed, 0 skipped"; exit 3'
t_case nothing_ran_fails sum_is "0 passed, 1 failed, 0 skipped" 1 \
    't|b|echo "b: 0 passed, 0 failed, 0 skipped"'
t_case no_items_fail sum_is "0 passed, 1 failed, 0 skipped" 1
t_case skips_alone_are_no_failure sum_is "2 passed, 0 failed, 2 skipped" 0 "$good" 's|c|no tool'
t_case signal_is_a_failure_with_its_name names SEGV 20 't|b|kill -SEGV $$'
t_case abort_is_a_failure_with_its_name names ABRT 20 't|b|kill -ABRT $$'
t_case timeout_is_a_failure names "timed out after [1-4] s" 1 't|b|sleep 20'
t_case status_only_items_count sum_is "1 passed, 1 failed, 0 skipped" 1 'x|a|true' 'x|b|false'
together='until [ -f "$t_tmp/there" ]; do sleep 0.01; done'
phases() {
    export t_tmp
    sh $run_sh -l 60 -j 1 -o "$t_tmp/log" 'x|a|sleep 0.2; : >"$t_tmp/ended"' 'j|2' \
        "x|b|[ -f \"\$t_tmp/ended\" ] && $together" 'x|c|: >"$t_tmp/there"' 'j|1' \
        'x|d|rm "$t_tmp/there"' 'x|e|[ ! -f "$t_tmp/there" ]' | tee "$t_tmp/sum"
    [ "$(tail -n 1 "$t_tmp/sum")" = "cellar: 5 passed, 0 failed, 0 skipped" ]
}
t_case items_wait_for_those_before_a_change_of_jobs phases
beside() {
    export t_tmp
    rm -f "$t_tmp/there" "$t_tmp/ended"
    sh $run_sh -l 60 -j 1 -o "$t_tmp/log" "x|a|$together" \
        'x|b|rm "$t_tmp/there"; : >"$t_tmp/ended"' \
        'w|' 'x|c|: >"$t_tmp/there"' 'x|d|until [ -f "$t_tmp/ended" ]; do sleep 0.01; done' 'j|1' \
        'x|e|rm "$t_tmp/ended"' | tee "$t_tmp/sum"
    [ "$(tail -n 1 "$t_tmp/sum")" = "cellar: 5 passed, 0 failed, 0 skipped" ]
}
t_case waiting_items_have_a_worker_of_their_own beside
t_case waiting_items_alone_are_run sum_is "1 passed, 0 failed, 0 skipped" 0 'x|a|true' 'w|'
left_running() {
    export t_tmp
    stays='(sleep 60; : >"$t_tmp/over") >/dev/null 2>&1 & echo $! >>"$t_tmp/stays"'
    sh $run_sh -l 60 -j 1 -o "$t_tmp/log" "x|a|$stays" 'w|' "x|b|$stays" | tee "$t_tmp/sum"
    # shellcheck disable=SC2046 # the shell's own kill: there may be no other
    [ ! -f "$t_tmp/over" ] && kill $(cat "$t_tmp/stays")
}
t_case process_left_by_a_test_blocks_no_reader left_running
list_is() { # expected lines above the sum, items...
    want=$1
    shift
    sh $run_sh -l 20 -j 1 -o "$t_tmp/log" "$@" >"$t_tmp/sum"
    cat "$t_tmp/sum"
    sed -n '/^failed: /,$p' "$t_tmp/sum" | sed '$d; s/ after [0-9]* s$/ after N s/' \
        >"$t_tmp/listed"
    [ "$(cat "$t_tmp/listed")" = "$want" ] && tail -n 1 "$t_tmp/sum" | grep -q '^cellar: '
}
# A suite in a lane of its own: a failure is listed with the lane.
inner='t|suite|echo "ok 1 - x"; echo "failed: test_a: deep_fact"; echo "cellar: 1 passed, 1 failed, 0 skipped"'
t_case all_failures_are_listed_just_above_the_sum list_is 'failed: two: first_fact
failed: two: second_fact
failed: silent: no closing line, exit status 3
failed: suite: test_a: deep_fact
failed: late: no closing line, timed out after N s' \
    't|two|echo "not ok 1 - first_fact"; echo "not ok 2 - second_fact"; echo "b: 0 passed, 2 failed, 0 skipped"; exit 1' \
    't|silent|exit 3' "$inner" "$good" 't|late|exit 124'
t_case green_run_lists_no_failure list_is '' "$good"

asked() { $MAKE -n DEPS=off "$@" 2>"$t_tmp/said"; } # the commands that make would run
runs() { # ITEM NAME...: the item runs under each name
    item=$1
    shift
    for name; do
        echo "$name" && asked test-now T="$name" | grep $run_sh -A 9 | grep -q "$item" || return 1
    done
}
links() { # WORD...: make would point build/libcellar.a at its library
    asked lib "$@" | grep -q '^ln -sfn .* build/libcellar\.a$'
}
library_stays() { # of a plain make, beside one that links each library
    [ -e build/libcellar.a ] && links ALL_LIBS= && ! links ALL_LIBS=1
}
t_case a_test_leaves_the_library_of_a_plain_make library_stays
half() { # SEED HALF (none: both): the programs of the suite under ASan
    asked test-now SAN=address SEED=$1 T_HALF=$2 | grep -o '/t/test_[a-z0-9_]*' | sort -u
}
halves_are_the_suite() { # the next seed exchanges them
    half 4 '' >"$t_tmp/suite"
    half 4 1 >"$t_tmp/one"
    half 4 2 >"$t_tmp/two"
    half 5 2 >"$t_tmp/next"
    wc -l "$t_tmp/suite" "$t_tmp/one" "$t_tmp/two"
    [ -s "$t_tmp/one" ] && [ -s "$t_tmp/two" ] && cmp "$t_tmp/one" "$t_tmp/next" &&
        sort "$t_tmp/one" "$t_tmp/two" | cmp - "$t_tmp/suite"
}
t_case halves_of_a_suite_are_all_of_it halves_are_the_suite
no_such() { # names, start of each expected message...
    ! $MAKE -s DEPS=off test T="$1" >"$t_tmp/out" 2>"$t_tmp/said" || return 1
    cat "$t_tmp/out" "$t_tmp/said"
    [ ! -s "$t_tmp/out" ] && [ "$(grep -c '^no such test: ' "$t_tmp/said")" = $(($# - 1)) ] || return 1
    shift
    for message; do grep -q "^no such test: $message" "$t_tmp/said" || return 1; done
}
t_case a_script_has_each_of_its_names runs ' tests/unit/cli/test_cli_replay.sh ' cli_replay \
    test_cli_replay test_cli_replay.sh tests/unit/cli/test_cli_replay.sh
t_case a_program_has_each_of_its_names runs '/t/test_api_load ' api_load test_api_load test_api_load.c \
    tests/api/test_api_load.c dist/test_api_load
both() { runs '/t/test_l1_pins ' 'l1_pins api_load' && runs '/t/test_api_load ' 'l1_pins api_load'; }
t_case several_names_are_all_run both
# Without a C++ compiler its example is a skip of that name.
others() { runs '|build/' examples/leave_wait simulation && runs 'cxx_caller' cxx_caller_cc; }
t_case examples_and_the_simulation_have_names others
t_case unknown_test_is_reported_with_nearest_names no_such l1_pinss 'l1_pinss; nearest: l1_pins l[^ ]* [a-z]'
t_case each_unknown_name_is_reported no_such 'api_dsik.c l1_pins relay' 'api_dsik.c; nearest: api_disk ' \
    'relay; nearest: cli_replay '
nothing_unasked() { # a plain make links no library; words of older versions are refused
    ! ALL_LIBS= asked lib V=1 B=build/none O=build/none | grep -e DCELLAR_WITH -e lmimalloc -e llz4 &&
        ! asked lib LZ4=off && grep -q 'LZ4=off: 1 links it, 0 does not' "$t_tmp/said" &&
        ! asked lib LZ4=1 CPPFLAGS=-nostdinc &&
        grep -q 'LZ4=1 needs liblz4-dev' "$t_tmp/said"
}
t_case plain_make_links_what_was_asked_for nothing_unasked
steps() { # of a build from nothing: 1/m .. m/m
    $MAKE -n lib CPPFLAGS=-DNO_BUILD_HAS_THIS | sed -n "s|^printf '%-5s .\([0-9]*\)/\([0-9]*\)\].*|\1 \2|p" |
        awk '$1 != NR { bad = 1 } { m = $2 } END { exit bad || NR < 100 || m != NR }'
}
t_case steps_of_a_build_are_numbered steps
t_end packaging_runner
