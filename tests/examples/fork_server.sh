#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    fork_server.c answers from the caches of its workers, and ends with them.
# Method: sh tests/examples/fork_server.sh PROGRAM: requests by curl, signals.
. tests/support/t.sh

asks() { curl -sS --noproxy '*' --unix-socket "$t_tmp/sock" http://localhost/a >"$t_tmp/page"; }
begins() { # PROGRAM: until a worker answers
    "$1" "$t_tmp/sock" &
    server=$!
    trap 'kill $server 2>/dev/null && wait $server' EXIT
    until asks; do kill -0 $server || return 1; sleep 0.01; done
}
worker_renders_a_page_once() {
    begins "$1" || return 1
    for _ in 1 2 3 4 5 6 7 8 9; do asks && grep '^/a: page 1 by [0-9]*$' "$t_tmp/page" || return 1; done
}
sigterm_ends_all() {
    begins "$1" && kill $server && wait $server && ! asks
}
worker_that_dies_ends_the_server() {
    begins "$1" || return 1
    kill -9 "$(sed 's/.* //' "$t_tmp/page")"
    wait $server
    [ $? -eq 1 ] && ! asks
}
if t_have curl; then
    t_case worker_renders_a_page_once worker_renders_a_page_once "$1"
    t_case sigterm_ends_all sigterm_ends_all "$1"
    t_case worker_that_dies_ends_the_server worker_that_dies_ends_the_server "$1"
else
    t_skip requests 'no curl'
fi
t_end fork_server
