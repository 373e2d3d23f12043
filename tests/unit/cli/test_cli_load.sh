#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    `cellar load` sends what it is asked to send, counts hits and errors, and the time that a
#         server makes requests wait is in its percentiles.
# Method: `cellar serve` on a socket file, and a server that stops once. Counts are exact; times are
#         lower bounds, which a pause only lengthens.
set -u
. tests/support/t.sh
. tests/support/serve.sh
sock=$t_tmp/s
serve || exit 1
trap 'kill -KILL $serve_pid 2>/dev/null; rm -rf "$t_tmp"' EXIT

run() { # arguments of the command; sets rc
    "$bin" load "$@" >"$t_tmp/out" 2>"$t_tmp/err" </dev/null
    rc=$?
    cat "$t_tmp/out" "$t_tmp/err"
}
field() { sed -n "/\"workload\":\"$1\"/s/.*\"$2\":\([0-9.]*\).*/\1/p" "$t_tmp/out"; } # OP NAME
counts() { # every request has a reply; after --fill every get hits, after deletes not all
    run --json --fill --keys=500 --requests=20000 --pipeline=8 --connections=4 --mix=9,1 "unix:$sock"
    [ $rc -eq 0 ] && [ $(($(field get requests) + $(field set requests))) = 20000 ] &&
        [ "$(field get hits)" = "$(field get requests)" ] && [ "$(field get errors)" = 0 ] &&
        [ "$(field get unanswered)" = 0 ] && [ "$(field set requests)" -gt 1500 ] && [ "$(field set requests)" -lt 2500 ] || return 1
    run --json --fill --keys=500 --requests=20000 --mix=5,0,5 --zipf=0 "unix:$sock"
    [ $rc -eq 0 ] && [ "$(field get hits)" -lt "$(field get requests)" ] && [ -z "$(field set requests)" ]
}
t_case all_requests_are_answered_and_counted counts
values_of_all_sizes() { # larger than a buffer of the client, and none
    run --json --fill --keys=20 --requests=400 --value-bytes=0-300000 --connections=3 --pipeline=2 "unix:$sock"
    [ $rc -eq 0 ] && [ "$(field get hits)" = "$(field get requests)" ]
}
t_case values_of_all_sizes_come_back values_of_all_sizes
seed_repeats() {
    for n in 1 2; do
        run --csv --requests=5000 --seed=7 --mix=8,1,1 --connections=1 "unix:$sock" || return 1
        cut -d, -f1,2 "$t_tmp/out" >"$t_tmp/csv$n"
    done
    cat "$t_tmp/csv1"
    [ "$(grep -c '' "$t_tmp/csv1")" = 4 ] && cmp "$t_tmp/csv1" "$t_tmp/csv2"
}
t_case a_seed_repeats_the_operations seed_repeats
rate_is_kept() { # half a second of 2,000 a second is 1,000 requests, whenever they are answered
    run --json --rate=1000 --seconds=1 --warm=0 --fill --keys=100 "unix:$sock"
    [ $rc -eq 0 ] && [ $(($(field get requests) + $(field set requests))) = 1000 ] && [ "$(field get asked_rate)" = 1000 ]
}
t_case rate_sets_the_number_of_requests rate_is_kept
if t_have python3; then
    cat >"$t_tmp/stops.py" <<'P'
import socket, sys, time
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(9)
c, _ = s.accept()
n = 0; rest = b''
while True:
    got = c.recv(65536)
    if not got: break
    rest += got
    while rest.count(b'\r\n') >= 5:  # *2 $3 get $16 key
        rest = rest.split(b'\r\n', 5)[5]
        n += 1
        if n == 100: time.sleep(0.3)
        c.sendall(b'$-1\r\n')
P
    waiting_counts() { # 1,000 a second, one reply late by 300 ms: 300 requests wait on average half of it
        rm -f "$t_tmp/slow"
        python3 "$t_tmp/stops.py" "$t_tmp/slow" &
        n=0
        while [ ! -S "$t_tmp/slow" ] && [ $n -lt 600 ]; do sleep 0.1; n=$((n + 1)); done
        run --csv --rate=1000 --seconds=1 --warm=0 --connections=1 --mix=1,0 "unix:$t_tmp/slow"
        wait $!
        [ $rc -eq 0 ] && awk -F, '$1 == "get" { exit !($2 == 1000 && $5 > 100000 && $9 > 290000) }' "$t_tmp/out"
    }
    t_case waiting_requests_are_in_the_percentiles waiting_counts
else
    t_skip waiting_requests_are_in_the_percentiles 'no python3'
fi
refused() { # RC TEXT ARGUMENT...
    want=$1 text=$2
    shift 2
    run "$@"
    [ $rc -eq "$want" ] && grep -q -- "$text" "$t_tmp/err"
}
t_case no_url refused 2 'needs one URL'
t_case unknown_scheme refused 2 'needs one URL' http://localhost
t_case port_that_is_no_number refused 2 'needs one URL' redis://localhost:x
t_case mix_of_nothing refused 2 '"0,0" is out of range' --mix=0,0 "unix:$sock"
t_case zipf_of_one refused 2 '"1" is out of range' --zipf=1 "unix:$sock"
t_case no_server refused 3 'cannot connect' "unix:$t_tmp/none"
stop
password() { # the URL of the port has it; without it each request is an error
    echo s3cret-of-the-port >"$t_tmp/pw"
    chmod 600 "$t_tmp/pw"
    for port in 47301 47302 47303 47304 47305; do # the first one that is free
        ! serve --port=$port --password-file="$t_tmp/pw" || break
    done
    run --json --requests=200 "redis://:s3cret-of-the-port@127.0.0.1:$port" && [ $rc -eq 0 ] && [ "$(field get errors)" = 0 ] &&
        refused 1 'the server says: -NOAUTH' --requests=200 "redis://127.0.0.1:$port"
    status=$?
    stop
    return $status
}
t_case password_of_the_url_opens_the_port password
t_end cli_load
