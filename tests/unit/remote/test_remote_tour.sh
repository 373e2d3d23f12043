#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    the tour of the remote tier finds nothing wrong, and a program without it says so.
# Method: the program of REMOTE=1 with a server that the tour starts; the program without it.
. tests/support/t.sh

tour_finds_nothing() {
    "$CELLAR_BUILD/remote/cellar" tour --remote --json >"$t_tmp/out" 2>"$t_tmp/err" &&
        grep -q '"loads":1,.*"compared":3000,"stale":0}$' "$t_tmp/out" ||
        { cat "$t_tmp/out" "$t_tmp/err"; return 1; }
}
program_without_it_says_so() {
    "$CELLAR_BIN" tour --remote >"$t_tmp/out" 2>"$t_tmp/err"
    [ $? -eq 3 ] && grep -q 'no remote tier; build it with `make REMOTE=1`$' "$t_tmp/err"
}
unusable_server_is_one_sentence() {
    "$CELLAR_BUILD/remote/cellar" tour --remote=rediss://x >"$t_tmp/out" 2>"$t_tmp/err"
    [ $? -eq 3 ] && [ "$(wc -l <"$t_tmp/err")" -eq 1 ] && grep -q '^cellar: tour: ' "$t_tmp/err"
}

if [ -x /usr/bin/redis-check-rdb ] || t_have redis-server; then
    t_case tour_finds_nothing tour_finds_nothing
else
    t_skip tour_finds_nothing "no redis-server (package redis-tools)"
fi
[ ! -x "$CELLAR_BIN" ] || t_case program_without_the_remote_tier_says_so program_without_it_says_so
t_case unusable_server_is_one_sentence unusable_server_is_one_sentence
t_end remote_tour
