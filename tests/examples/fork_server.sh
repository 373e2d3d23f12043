#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    fork_server.c answers from the caches of its workers, starts a worker again that dies, and
#         ends with its workers.
# Method: sh tests/examples/fork_server.sh PROGRAM: requests by curl, signals, files at the path.
. tests/support/t.sh

asks() { # CURL-WORD..: one answer
    curl -sS --noproxy '*' --unix-socket "$t_tmp/sock" "$@" http://localhost/a >"$t_tmp/page"
}
begins() { # PROGRAM [TTL_MS]: until a worker answers
    "$1" "$t_tmp/sock" ${2:+"$2"} &
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
workers_that_die_are_started_again() { # four die, and each answer is of another one
    begins "$1" || return 1
    for _ in 1 2 3 4; do
        until asks; do kill -0 $server || return 1; sleep 0.01; done
        ! grep -qx "$(cat "$t_tmp/page")" "$t_tmp/dead" 2>"$t_tmp/none" || return 1
        cat "$t_tmp/page" >>"$t_tmp/dead"
        kill -9 "$(sed 's/.* //' "$t_tmp/page")"
    done
    asks && kill $server && wait $server
}
killed_server_takes_its_workers_along() {
    begins "$1" && kill -9 $server || return 1
    for _ in $(seq 6000); do asks || return 0; sleep 0.01; done # 60 s
    return 1
}
status() { # TEXT CURL-WORD..: the status line of one answer has the text
    text=$1
    shift
    curl -sS --noproxy '*' --unix-socket "$t_tmp/sock" -i "$@" | head -n 1 | grep "$text"
}
requests_that_are_not_served_have_a_status() {
    begins "$1" && status ' 405 ' -X POST http://localhost/a && status ' 200 ' http://localhost/a &&
        status ' 400 ' -H "x: $(printf %2000s | tr ' ' x)" http://localhost/a
}
pages_that_are_not_there_have_a_status() {
    begins "$1" && status ' 404 ' http://localhost/none && status ' 503 ' http://localhost/down
}
old_page_is_sent() { # a page is fresh for 1 ms: of five requests, one worker has two
    begins "$1" 1 || return 1
    for _ in 1 2 3 4 5; do
        sleep 0.05
        asks -D "$t_tmp/head" && grep '^/a: page [0-9]* by ' "$t_tmp/page" || return 1
        if grep '^X-Cache: old' "$t_tmp/head"; then return; fi
    done
    return 1
}
file_at_the_path_stays() { # also at the first 107 bytes of a path that is too long
    begin=$t_tmp/$(printf %106s | tr ' ' x)
    begin=$(printf %.107s "$begin")
    for path in "$t_tmp/notes" "$begin"; do echo text >"$path" || return 1; done
    for path in "$t_tmp/notes" "$begin-and-more"; do
        timeout 60 "$1" "$path"
        [ $? -eq 1 ] || return 1
    done
    [ "$(cat "$t_tmp/notes" "$begin")" = "$(echo text; echo text)" ]
}
t_case file_at_the_path_stays file_at_the_path_stays "$1"
if t_have curl; then
    t_case requests_that_are_not_served_have_a_status requests_that_are_not_served_have_a_status "$1"
    t_case worker_renders_a_page_once worker_renders_a_page_once "$1"
    t_case sigterm_ends_all sigterm_ends_all "$1"
    t_case killed_server_takes_its_workers_along killed_server_takes_its_workers_along "$1"
    t_case pages_that_are_not_there_have_a_status pages_that_are_not_there_have_a_status "$1"
    t_case old_page_is_sent old_page_is_sent "$1"
    t_case workers_that_die_are_started_again workers_that_die_are_started_again "$1"
else
    t_skip requests 'no curl'
fi
t_end fork_server
