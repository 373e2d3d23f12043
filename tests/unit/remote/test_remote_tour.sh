#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    the tour of the remote tier finds nothing wrong, and a program without it says so.
# Method: the program of REMOTE=1 with a server that the tour starts, or with CELLAR_TEST_ENGINE,
#         which this file starts; the program without it.
. tests/support/t.sh

tour_finds_nothing_at() {
    "$CELLAR_BUILD/remote/cellar" tour "$1" --json >"$t_tmp/out" 2>"$t_tmp/err" &&
        grep -q '"loads":1,.*"compared":3000,"stale":0}$' "$t_tmp/out" ||
        { cat "$t_tmp/out" "$t_tmp/err"; return 1; }
}
tour_finds_nothing() {
    [ -n "${CELLAR_TEST_ENGINE-}" ] || { tour_finds_nothing_at --remote; return; }
    "$CELLAR_TEST_ENGINE" --port 0 --unixsocket "$t_tmp/r.sock" --dir "$t_tmp" --save '' \
        >"$t_tmp/server" 2>&1 &
    server=$!
    while [ ! -S "$t_tmp/r.sock" ] && kill -0 "$server"; do sleep 0.05; done
    tour_finds_nothing_at "--remote=unix://$t_tmp/r.sock"
    found=$?
    kill -9 "$server"
    wait "$server" 2>/dev/null
    return "$found"
}
program_without_it_says_so() {
    "$CELLAR_BIN" tour --remote >"$t_tmp/out" 2>"$t_tmp/err"
    [ $? -eq 3 ] && grep -q 'no remote tier; build it with `make REMOTE=1`$' "$t_tmp/err"
}
unusable_server_is_one_sentence() {
    "$CELLAR_BUILD/remote/cellar" tour --remote=redis://x/1 >"$t_tmp/out" 2>"$t_tmp/err"
    [ $? -eq 3 ] && [ "$(wc -l <"$t_tmp/err")" -eq 1 ] &&
        grep -q '^cellar: tour: .*: the database number must be 0: ' "$t_tmp/err"
}

if [ -n "${CELLAR_TEST_ENGINE-}" ] || [ -x /usr/bin/redis-check-rdb ] || t_have redis-server; then
    t_case tour_finds_nothing tour_finds_nothing
else
    t_skip tour_finds_nothing "no redis-server (package redis-tools)"
fi
[ ! -x "$CELLAR_BIN" ] || t_case program_without_the_remote_tier_says_so program_without_it_says_so
t_case unusable_server_is_one_sentence unusable_server_is_one_sentence
t_end remote_tour
