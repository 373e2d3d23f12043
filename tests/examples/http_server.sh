#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    http_server.c answers, sends a stale page while it renders the new one, and limits. Without
#         a decision of its limiter it refuses. It outlives a lack of descriptors, ends by SIGTERM
#         with status 0, and starts again on its port.
# Method: sh tests/examples/http_server.sh PROGRAM: requests by curl. A second build has a limiter
#         that cannot decide.
. tests/support/t.sh

starts() { # [PORT [TTL_MS]]; sets server, url and port
    : >"$t_tmp/url"
    "$program" "$@" >"$t_tmp/url" 2>"$t_tmp/said" &
    server=$!
    until [ -s "$t_tmp/url" ] || ! kill -0 "$server"; do sleep 0.01; done
    url=$(cat "$t_tmp/url")
    port=${url##*:}
    port=${port%/}
}
program=$1
trap 'kill "$server"; rm -rf "$t_tmp"' EXIT
starts
has() { # ANSWER: these lines
    for line in $1; do grep -q "$line" "$t_tmp/answer" || { cat "$t_tmp/answer"; return 1; }; done
}
asks() { # ANSWER CURL-WORD..: the answer has these lines
    answer=$1
    shift
    curl -sSi --noproxy '*' "$@" "$url" | tr -d '\r' >"$t_tmp/answer"
    has "$answer"
}
page_has_its_length() {
    asks '200.OK Type:.text/plain fresh ^/:.page.1.by' &&
        body=$(sed '1,/^$/d' "$t_tmp/answer" | wc -c) && has "^Content-Length:.$((body))$"
}
head_has_no_body() {
    asks '200.OK Content-Length:.[1-9]' -X HEAD --ignore-content-length &&
        ! grep '^/:' "$t_tmp/answer"
}
in_parts() { # the head comes in two segments
    { printf 'GET / HTTP/1.0\r\n'; sleep 0.1; printf 'Host: a\r\n\r\n'; } |
        curl -sS --noproxy '*' "telnet://127.0.0.1:$port" | tr -d '\r' >"$t_tmp/answer"
    has '200.OK ^/:.page.1.by'
}
lacks_descriptors() { # while a client connects; no such page
    url=${url}none
    t_have prlimit || { asks '404.Not'; return; }
    prlimit --pid $server --nofile=3:
    (sleep 0.1; prlimit --pid $server --nofile=64:) &
    asks '404.Not'
}
visit_is_limited() {
    curl -sS --noproxy '*' "$url?[1-100]" >"$t_tmp/pages"
    asks '429.Too ^Retry-After:.[1-6]'
}
fails() {
    url=${url}down
    asks '503.Ser ^Retry-After:.[12]$'
}
port_is_taken() { ! "$program" "$port" 2>"$t_tmp/why" && grep -q 'in use' "$t_tmp/why"; }
starts_again() { # with connections of the first program that still time out
    starts
    asks '200.OK fresh ^/:.page.1.by' || return 1
    kill "$server" && wait "$server" || return 1
    starts "$port"
    asks '200.OK fresh ^/:.page.1.by' && kill "$server" && wait "$server"
}
sends_a_stale_page() { # a page is fresh for 1 ms; a thread renders it
    starts 0 1
    asks '200.OK fresh ^/:.page.1.by' && sleep 0.05 && asks '200.OK old ^/:.page.1.by' || return 1
    until asks '200.OK ^/:.page.[2-9]'; do
        kill -0 "$server" || return 1
        sleep 0.1
    done
    kill "$server" && wait "$server"
}
refuses_without_a_decision() {
    cat >"$t_tmp/no.c" <<-END
	#include "cellar_limit.h"
	cellar_err cellar_limiter_check(cellar_limiter *l, const void *key, size_t key_len,
	                                uint64_t cost, cellar_limiter_result *out)
	{ (void)l, (void)key, (void)key_len, (void)cost, (void)out; return CELLAR_E_NOMEM; }
	END
    program=$t_tmp/no
    $CC -std=c11 -D_GNU_SOURCE -Dcellar_limiter_check=no_decision -Iinclude -o "$program" \
        tests/examples/http_server.c "$t_tmp/no.c" "$CELLAR_A" $CELLAR_LIBS -pthread -lm || return 1
    starts
    asks '503.Ser' && ! grep '^/:' "$t_tmp/answer" && kill "$server" && wait "$server" &&
        grep -q 'memory' "$t_tmp/said"
}
if t_have curl; then
    t_case page_is_rendered page_has_its_length
    t_case page_is_cached asks '200.OK fresh ^/:.page.1.by'
    t_case head_has_no_body head_has_no_body
    t_case other_method_is_refused asks '405.Me ^Allow:.GET,.HEAD$' -X POST
    t_case head_in_two_parts_is_answered in_parts
    t_case lacking_descriptors_end_nothing lacks_descriptors
    t_case failed_page_says_when_to_retry fails
    t_case hundredth_visit_is_limited visit_is_limited
    t_case taken_port_is_reported port_is_taken
    t_case sigterm_closes_and_frees_the_port starts_again
    t_case stale_page_is_sent_while_a_new_one_renders sends_a_stale_page
    if [ -f "$CELLAR_A" ]; then t_case no_decision_is_refused refuses_without_a_decision
    else t_skip no_decision_is_refused 'no archive to link'; fi
else
    t_skip requests 'no curl'
fi
t_end http_server
