#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    the remote tier works with a port of cellar as with redis-server.
# Method: the programs of its tests run again with `cellar serve --shared` as their server, without
#         the cases of port_exempt.txt; each case there exists. Where there is no redis-server they
#         run so in the first place, and this test is skipped. With the list at least 70 % run.
. tests/support/t.sh
list=tests/unit/guests/remote/port_exempt.txt

cases_of() { # FILE: "PROGRAM CASE" of each case
    program=${1##*/}
    grep -oE '^T_(CASE|CASE_ON|ALONE)\([a-z0-9_]+' "$1" |
        sed "s/.*(/${program%.c} /"
}
exempt_cases_exist() {
    for f in tests/unit/guests/remote/test_remote_*.c; do cases_of "$f"; done >"$t_tmp/cases"
    while read -r program case why; do
        [ -n "$why" ] && { [ "$case" = '*' ] && grep -q "^$program " "$t_tmp/cases" ||
            grep -qx "$program $case" "$t_tmp/cases"; } || { echo "no $program $case $why"; return 1; }
    done <"$list"
}
most_cases_run() {
    awk 'NR == FNR { if ($2 == "*") all[$1] = 1; else one[$1 " " $2] = 1; next }
        { n++; out += $1 in all || $0 in one }
        END { print out " of " n " cases are exempt"; exit out * 10 > n * 3 }' "$list" "$t_tmp/cases"
}
passes() { # PROGRAM
    CELLAR_TEST_ENGINE=$PWD/$CELLAR_BIN T_SHARE=8 timeout 280 "$CELLAR_BUILD/t/$1" >"$t_tmp/said" 2>&1 ||
        { cat "$t_tmp/said"; return 1; }
}

has_redis() { # as engine_program of tests/support/engine_kit.h
    [ -x /usr/local/bin/redis-server ] || [ -x /usr/bin/redis-server ] || [ -x /usr/bin/redis-check-rdb ]
}

t_case exempt_cases_exist exempt_cases_exist
t_case most_cases_run most_cases_run
for f in tests/unit/guests/remote/test_remote_*.c; do
    grep -qE 'engine_kit|link_kit|share_kit|shared_side|two_sides|group_kit|attack' "$f" || continue
    program=${f##*/} program=${program%.c}
    if [ ! -x "$CELLAR_BUILD/t/$program" ]; then t_skip "$program" "not built"
    elif ! has_redis; then t_skip "$program" "no redis-server: it ran on the port"
    else t_case "$program" passes "$program"
    fi
done
t_end remote_port
