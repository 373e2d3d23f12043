#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    `cellar bench` measures without a source tree, prints each subject of each row, and refuses
#         wrong numbers.
# Method: the built program in an empty folder, with few keys and short windows. No figure is judged.
. tests/support/t.sh
bin=${CELLAR_BIN:-build/cellar}
case $bin in /*) ;; *) bin=$PWD/$bin ;; esac
few="--entries=1000 --rounds=1 --window=2"

table() {
    mkdir "$t_tmp/empty" && cd "$t_tmp/empty" && "$bin" bench $few >"$t_tmp/out" || return 1
    cat "$t_tmp/out"
    grep -q 'RAW  *uthash+LRU  *cellar' "$t_tmp/out" &&
        [ "$(grep -c '^get .*  [12]  *[0-9.]*  *[0-9.]*  *[0-9.]*  *[0-9.]*x  *[0-9.]*x$' \
            "$t_tmp/out")" -ge 1 ] &&
        grep -q '^read-through.* -  *[0-9.]*  *[0-9.]*  *-  *[0-9.]*x$' "$t_tmp/out" &&
        [ "$(find . | wc -l)" = 1 ]
}
t_case table_has_all_subjects_and_leaves_no_file table
json() {
    "$bin" bench $few --json >"$t_tmp/out" || return 1
    cat "$t_tmp/out"
    for subject in RAW uthash+LRU cellar; do
        grep -q "^{\"operation\":\"get\",\"threads\":1,\"subject\":\"$subject\",\"mops\":[0-9.]*," \
            "$t_tmp/out" || return 1
    done
    tail -n 1 "$t_tmp/out" | grep -q '^{"total":{"windows":[0-9]*,"disturbed":[0-9]*,"wrong":0}}$'
}
t_case json_has_a_line_for_each_subject json
hit_ratio() { # both stores have room for 400 of 4,000 keys, of zipf 0.99
    "$bin" bench $few --entries=4000 --json >"$t_tmp/out" || return 1
    cat "$t_tmp/out"
    awk -F'[:,"}]+' '/read-through/ { for (i = 1; i < NF; i++) v[$i] = $(i + 1)
             hit[v["subject"]] = v["hit_ratio"] }
         END { exit !(hit["uthash+LRU"] > .3 && hit["cellar"] < 1 && hit["cellar"] > hit["uthash+LRU"]) }' \
        "$t_tmp/out"
}
t_case hit_ratio_of_the_same_requests_is_above_that_of_lru hit_ratio
refused() { # TEXT ARGUMENT...
    text=$1
    shift
    "$bin" bench "$@" >"$t_tmp/out" 2>"$t_tmp/err"
    got=$?
    cat "$t_tmp/out" "$t_tmp/err"
    [ $got -eq 2 ] && [ ! -s "$t_tmp/out" ] && grep -q "$text" "$t_tmp/err"
}
t_case argument_exits_2 refused 'takes no arguments' now
t_case no_entries_exit_2 refused 'entries must be 1000' --entries=0
t_case too_many_rounds_exit_2 refused 'rounds must be 1..99' --rounds=100
t_case wrong_window_exits_2 refused 'window must be 1..1000' --window=long
t_end cli_bench
