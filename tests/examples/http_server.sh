#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    http_server.c answers, sends a stale page after a POST with the token, and limits. It
#         outlives a lack of descriptors, ends by SIGTERM with status 0, and starts again on its
#         port at once.
# Method: sh tests/examples/http_server.sh PROGRAM: requests by curl.
. tests/support/t.sh

starts() { # [PORT]; sets server and url
    : >"$t_tmp/url"
    TOKEN=secret "$program" "$@" >"$t_tmp/url" &
    server=$!
    until [ -s "$t_tmp/url" ] || ! kill -0 "$server"; do sleep 0.01; done
    url=$(cat "$t_tmp/url")
}
program=$1
trap 'kill "$server"; rm -rf "$t_tmp"' EXIT
starts
port=${url##*:}
port=${port%/}
has() { # ANSWER: these lines
    for line in $1; do grep -q "$line" "$t_tmp/answer" || { cat "$t_tmp/answer"; return 1; }; done
}
asks() { # ANSWER CURL-WORD..: the answer has these lines
    answer=$1
    shift
    curl -sSi --noproxy '*' "$@" "$url" | tr -d '\r' >"$t_tmp/answer"
    has "$answer"
}
in_parts() { # the head comes in two segments
    { printf 'GET / HTTP/1.0\r\n'; sleep 0.1; printf 'Host: a\r\n\r\n'; } |
        curl -sS --noproxy '*' "telnet://127.0.0.1:$port" | tr -d '\r' >"$t_tmp/answer"
    has '200.OK ^/$'
}
lacks_descriptors() { # while a client connects; no such page
    url=${url}none
    t_have prlimit || { asks '404.Not'; return; }
    prlimit --pid $server --nofile=3:
    (sleep 0.1; prlimit --pid $server --nofile=64:) &
    asks '404.Not'
}
head_has_no_body() {
    asks '200.OK Length:.1$' -X HEAD --ignore-content-length && ! grep '^/$' "$t_tmp/answer"
}
body_is_no_header() { # the token behind the blank line
    printf 'POST / HTTP/1.0\r\nHost: a\r\n\r\n\r\n%s\r\n' "$token" |
        curl -sS --noproxy '*' "telnet://127.0.0.1:$port" | tr -d '\r' >"$t_tmp/answer"
    has '401.Un'
}
tenth_guess_is_limited() { # two were made above
    curl -sS --noproxy '*' -X POST "$url?[1-7]"
    asks '429.Too ^Retry-After:.3' -X POST -H "$token" && asks '200.OK'
}
visit_is_limited() {
    curl -sS --noproxy '*' "$url?[1-100]" >"$t_tmp/pages"
    asks '429.Too ^Retry-After:.[1-6]'
}
fails() {
    url=${url}down
    asks '503.Un ^Retry-After:.[12]$'
}
port_is_taken() { ! "$program" "$port" 2>"$t_tmp/why" && grep -q 'in use' "$t_tmp/why"; }
starts_again() { # with connections of the first program that still time out
    starts
    port=${url##*:}
    port=${port%/}
    asks '200.OK fresh ^/$'
    kill "$server" && wait "$server" || return 1
    starts "$port"
    asks '200.OK fresh ^/$' && kill "$server" && wait "$server"
}
token='Authorization: Bearer secret'
if t_have curl; then
    t_case page_is_rendered asks '200.OK Type:.text/plain Length:.1$ fresh ^/$'
    t_case page_is_cached asks '200.OK fresh ^/$'
    t_case head_has_no_body head_has_no_body
    t_case post_needs_the_token asks '401.Un' -X POST -H "${token}s"
    t_case post_makes_pages_stale asks '204.No' -X POST -H "$token"
    t_case stale_page_is_sent asks '200.OK old ^/$'
    t_case other_method_is_refused asks '405.Me ^Allow:' -X PUT -H "$token"
    t_case head_in_two_parts_is_answered in_parts
    t_case lacking_descriptors_end_nothing lacks_descriptors
    t_case failed_page_says_when_to_retry fails
    t_case body_is_no_header body_is_no_header
    t_case tenth_guess_is_limited tenth_guess_is_limited
    t_case hundredth_visit_is_limited visit_is_limited
    t_case taken_port_is_reported port_is_taken
    t_case sigterm_closes_and_frees_the_port starts_again
else
    t_skip requests 'no curl'
fi
t_end http_server
