#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    http_server.c answers, sends an old page behind a POST, and limits. It outlives a lack of
#         descriptors.
# Method: sh tests/examples/http_server.sh PROGRAM: requests by curl.
. tests/support/t.sh

"$1" >"$t_tmp/url" &
server=$!
trap 'kill "$server"; rm -rf "$t_tmp"' EXIT
until [ -s "$t_tmp/url" ] || ! kill -0 "$server"; do sleep 0.01; done
url=$(cat "$t_tmp/url")
asks() { # ANSWER CURL-WORD..: the answer has these lines
    answer=$1
    shift
    curl -sSi --noproxy '*' "$@" "$url" | tr -d '\r' >"$t_tmp/answer"
    for line in $answer; do grep -q "$line" "$t_tmp/answer" || { cat "$t_tmp/answer"; return 1; }; done
}
lacks_descriptors() { # while a client connects; the sixth request: no such page
    url=${url}none
    t_have prlimit || { asks '404.Not'; return; }
    prlimit --pid $server --nofile=3:
    (sleep 0.1; prlimit --pid $server --nofile=64:) &
    asks '404.Not'
}
head_has_no_body() {
    asks '200.OK Length:.1$' -X HEAD --ignore-content-length && ! grep '^/$' "$t_tmp/answer"
}
if t_have curl; then
    t_case page_is_rendered asks '200.OK Type:.text/plain Length:.1$ fresh ^/$'
    t_case page_is_cached asks '200.OK fresh ^/$'
    t_case head_has_no_body head_has_no_body
    t_case post_makes_it_old asks '204.No' -X POST
    t_case old_page_is_sent asks '200.OK old ^/$'
    t_case lacking_descriptors_end_nothing lacks_descriptors
    t_case seventh_request_is_limited asks '429.Too ^Retry-After:.3'
else
    t_skip requests 'no curl'
fi
t_end http_server
