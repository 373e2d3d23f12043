#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    service.c answers, sends metrics, and keeps its pages over SIGTERM. Silent clients hold no
#         other client. SIGTERM ends the server after the answer that it makes. A folder that is in
#         use is a line in the log.
# Method: sh tests/examples/service.sh PROGRAM: requests by curl, signals.
. tests/support/t.sh

program=$1
starts() { # sets server and url
    : >"$t_tmp/url"
    "$program" 0 "$t_tmp/pages" >"$t_tmp/url" 2>"$t_tmp/log" &
    server=$!
    until [ -s "$t_tmp/url" ] || ! kill -0 $server; do sleep 0.01; done
    url=$(cat "$t_tmp/url")
}
trap 'kill $server $others 2>/dev/null; rm -rf "$t_tmp"' EXIT
asks() { curl -sS --noproxy '*' "$@"; }
ends() { kill $server && wait $server && [ ! -s "$t_tmp/log" ]; }
page_outlives_a_restart() {
    starts
    asks "${url}a" >"$t_tmp/first" && grep "^/a: page 1 by $server\$" "$t_tmp/first" && ends || return 1
    starts
    asks "${url}a" | diff "$t_tmp/first" - && ends
}
figures() { # LINE: /metrics has it
    asks "${url}metrics" >"$t_tmp/metrics" && grep -qx "$1" "$t_tmp/metrics"
}
metrics_count_pages() {
    starts
    asks "${url}b" "${url}b" "${url}none" && figures 'cellar_misses_total{namespace=""} 2' &&
        figures 'cellar_hits_total{namespace="",tier="l1"} 1' && ends
}
silent_clients_hold_nothing() { # one after the other they would take 10 * 30 s
    starts
    port=${url##*:}
    mkfifo "$t_tmp/nothing"
    exec 9<>"$t_tmp/nothing"
    others=
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        curl -sS --noproxy '*' "telnet://127.0.0.1:${port%/}" <&9 >"$t_tmp/none" 2>&1 &
        others="$others $!"
    done
    sleep 0.1
    asks --max-time 25 "${url}c" | grep '^/c: page 1 by'
    answered=$?
    kill $others
    others=
    exec 9>&-
    ends && [ $answered = 0 ]
}
sigterm_finishes_an_answer() { # /slow takes a second; its miss is counted at its begin
    starts
    asks "${url}slow" >"$t_tmp/slow" &
    client=$!
    until figures 'cellar_misses_total{namespace=""} 1' || ! kill -0 $server; do sleep 0.01; done
    ends && wait $client && grep '^/slow: page 1 by' "$t_tmp/slow"
}
folder_in_use_is_logged() {
    starts
    first=$server
    starts
    asks "${url}d" | grep '^/d: page 1 by' && kill $server && wait $server
    ended=$?
    server=$first
    kill $first && wait $first && [ $ended = 0 ] && grep '^cellar: level 2, l2, code -' "$t_tmp/log"
}
if t_have curl; then
    t_case page_outlives_a_restart page_outlives_a_restart
    t_case metrics_count_pages metrics_count_pages
    t_case silent_clients_hold_no_other_client silent_clients_hold_nothing
    t_case sigterm_finishes_an_answer sigterm_finishes_an_answer
    t_case folder_in_use_is_logged folder_in_use_is_logged
else
    t_skip requests 'no curl'
fi
t_end service
