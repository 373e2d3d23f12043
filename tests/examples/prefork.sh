#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    workers of prefork.c share their pages; workers and master may die.
# Method: sh tests/examples/prefork.sh PROGRAM: requests by curl, signals. A page names the worker
#         that rendered it: the others send it when that worker is dead. On a busy machine a worker
#         may render for itself: this is tried 20 times.
. tests/support/t.sh

asks() { # CURL-WORD..: one answer, of $page
    curl -sS --noproxy '*' --unix-socket "$t_tmp/http.sock" -D "$t_tmp/head" "$@" \
        "http://localhost/$page" >"$t_tmp/page" && grep -q '^HTTP/1.0 200' "$t_tmp/head"
}
begins() { # PROGRAM: until a worker answers
    page=begin
    "$1" "$t_tmp" &
    master=$!
    trap 'kill $master 2>/dev/null && wait $master' EXIT
    until asks; do kill -0 $master || return 1; sleep 0.01; done
}
ends() { kill $master && wait $master && [ ! -e "$t_tmp/cache.sock" ]; }
often() { # COMMAND
    for page in $(seq 20); do "$1" && return; sleep 2; done
    return 1
}
worker_dies() {
    asks && cp "$t_tmp/page" "$t_tmp/first" && kill -9 "$(sed 's/.* //' "$t_tmp/page")" || return 1
    until asks; do kill -0 $master || return 1; sleep 0.01; done
    cmp "$t_tmp/first" "$t_tmp/page"
}
page_outlives_its_worker() { begins "$1" && sleep 0.1 && often worker_dies && ends; }
post_renders_anew() {
    begins "$1" && cp "$t_tmp/page" "$t_tmp/first" && asks -X POST && ! cmp -s "$t_tmp/first" "$t_tmp/page" && ends
}
next_master_begins_empty() {
    begins "$1" && cp "$t_tmp/page" "$t_tmp/first" && kill -9 $master || return 1
    while asks; do sleep 0.01; done # the workers end with their master
    begins "$1" && ! cmp -s "$t_tmp/first" "$t_tmp/page" && ends
}
pages_that_are_not_there_have_a_status() {
    begins "$1" && page=none && ! asks && grep -q '^HTTP/1.0 404' "$t_tmp/head" &&
        page=down && ! asks && grep -q '^HTTP/1.0 503' "$t_tmp/head" &&
        grep -q '^Retry-After: 1' "$t_tmp/head" && ends
}
wrong_folder_is_refused() { # a file in the way, too long, no part of a URL, not there, open to all
    long=$t_tmp/$(printf %90s | tr ' ' x)
    mkdir "$t_tmp/taken" "$long" "$t_tmp/20%" && mkdir -m 777 "$t_tmp/open" &&
        echo text >"$t_tmp/taken/http.sock" || return 1
    for folder in "$t_tmp/taken" "$long" "$t_tmp/20%" "$t_tmp/missing" "$t_tmp/open"; do
        timeout 60 "$1" "$folder" 2>"$t_tmp/why"
        [ $? -eq 1 ] && [ -s "$t_tmp/why" ] || return 1
    done
    grep -q '^cellar_resp_open: ' "$t_tmp/why" && [ "$(cat "$t_tmp/taken/http.sock")" = text ]
}
t_case wrong_folder_is_refused wrong_folder_is_refused "$1"
if t_have curl; then
    t_case page_outlives_its_worker page_outlives_its_worker "$1"
    t_case post_renders_anew post_renders_anew "$1"
    t_case pages_that_are_not_there_have_a_status pages_that_are_not_there_have_a_status "$1"
    t_case next_master_begins_empty next_master_begins_empty "$1"
else
    t_skip requests 'no curl'
fi
t_end prefork
