#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    workers of shared_limit.c admit five messages of a user together, and work while their
#         server is away.
# Method: sh tests/examples/shared_limit.sh PROGRAM: workers on a `cellar serve --shared`. On a busy
#         machine a worker may decide alone: this is tried 20 times, with a user each.
. tests/support/t.sh

serves() {
    chmod 700 "$t_tmp"
    "$CELLAR_BIN" serve --port=0 --unix="$t_tmp/cache.sock" --shared=16M >"$t_tmp/log" 2>&1 &
    server=$!
    trap 'kill $server 2>/dev/null && wait $server' EXIT
    until [ -S "$t_tmp/cache.sock" ]; do kill -0 $server || { cat "$t_tmp/log"; return 1; }; sleep 0.01; done
}
worker() { # PROGRAM LINE..: one line for each message
    program=$1
    shift
    printf '%s\n' "$@" | "$program" "unix://$t_tmp/cache.sock?prefix=app"
}
workers() { # PROGRAM USER: three workers at a time, each with four messages
    pids=''
    for n in 1 2 3; do
        worker "$1" "$2" "$2" "$2" "$2" >"$t_tmp/said$n" &
        pids="$pids $!"
    done
    for pid in $pids; do wait "$pid" || return 1; done
    cat "$t_tmp"/said[123] >"$t_tmp/said"
}
five_for_all() {
    serves || return 1
    for user in $(seq 20); do
        workers "$1" $user && cat "$t_tmp/said" || return 1
        [ "$(grep -cx 200 "$t_tmp/said")" = 5 ] && [ "$(grep -c '^429 [1-9]' "$t_tmp/said")" = 7 ] && return
    done
    return 1
}
works_alone() { # without a server, a worker admits what is its share
    worker "$1" ada ada ada ada ada ada >"$t_tmp/said" && cat "$t_tmp/said" &&
        [ "$(grep -cx 200 "$t_tmp/said")" = 5 ] && grep -q '^429 [1-9]' "$t_tmp/said"
}
refuses_a_wrong_url() {
    ! "$1" http://localhost </dev/null 2>"$t_tmp/why" && cat "$t_tmp/why" && grep -q '^[a-z_]*: cellar_remote_open: ' "$t_tmp/why"
}
if [ -x "$CELLAR_BIN" ]; then
    t_case workers_admit_five_messages_together five_for_all "$1"
else # a build with sanitizers
    t_skip workers_admit_five_messages_together 'no program cellar in this build'
fi
t_case worker_without_a_server_admits_its_share works_alone "$1"
t_case wrong_url_is_refused refuses_a_wrong_url "$1"
t_end shared_limit
