#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    `cellar remote URL` ends with 0 for a server that the tier can use, and says what it is;
#         else it ends with 1 and one sentence with the reason.
# Method: redis-server alone, with users that lack rights, as a node of a Cluster, under Sentinel,
#         with TLS; nothing at all; wrong URLs; the set-ups of include/remote.md, run as they are but
#         for their ports, and its program with each of them.
. tests/support/t.sh
bin=$CELLAR_BIN
for engine in "${CELLAR_TEST_ENGINE-}" "$(command -v redis-server)" /usr/bin/redis-check-rdb; do
    [ -n "$engine" ] && [ -x "$engine" ] && break
    engine=
done
[ "${engine##*/}" != redis-check-rdb ] || # the same program under another name
    { ln -s "$engine" "$t_tmp/redis-server"; engine=$t_tmp/redis-server; }

server() { # OPTION...: start a server with a socket
    dir=$(mktemp -d "$t_tmp/s.XXXXXX")
    "$engine" --port 0 --unixsocket "$dir/s" --dir "$dir" --save '' "$@" >"$dir/log" 2>&1 &
    server_pid=$!
    trap 'kill -KILL $server_pid $sentinel_pid 2>/dev/null' EXIT # of the subshell of a case
    until [ -S "$dir/s" ]; do kill -0 $server_pid && sleep 0.02 || { cat "$dir/log"; return 1; }; done
}
ask() { # CODE URL: run the command; its output is in $t_tmp/out and err
    timeout 60 "$bin" remote "$2" >"$t_tmp/out" 2>"$t_tmp/err"
    [ $? -eq "$1" ] || { cat "$t_tmp/out" "$t_tmp/err"; return 1; }
}
says() { grep -q -e "$1" "$t_tmp/out" || { cat "$t_tmp/out"; return 1; }; }
complains() { # the whole of stderr is this one line
    [ "$(wc -l <"$t_tmp/err")" -eq 1 ] && grep -q -e "^cellar: remote: $1" "$t_tmp/err" ||
        { cat "$t_tmp/err"; return 1; }
}
tell() { redis-cli -s "$dir/s" "$@" >/dev/null; }

good() {
    server && ask 0 "unix://$dir/s?prefix=app&proof_ms=900" && says '^server  *[a-z]* [0-9.]*, master at /.*/s$' &&
        says '^link  *PROVEN after [0-9]* ms; data and subscriber: connected, plain$' &&
        says '^proof  *[0-9]* ms old, counts for 900 ms' && says '^clock  *server [-+][0-9]* ms' &&
        says '^rights  *all that the tier needs$' && says '^memory .* of maxmemory 0B, noeviction' &&
        says '^tracking  *1 clients, [0-9]* prefixes' && says '^limits .*pubsub 33554432' &&
        says '^note: without maxmemory ' && tell config set maxmemory 50mb &&
        ask 0 "unix://$dir/s" && says '^note: with noeviction ' && ! grep 'is full now' "$t_tmp/out" &&
        tell config set maxmemory 1mb && ask 0 "unix://$dir/s" && says ' of maxmemory 1.00M, noeviction, is full now; ' &&
        tell config set maxmemory 50mb &&
        tell config set maxmemory-policy allkeys-lru && ask 0 "unix://$dir/s" && ! grep '^note' "$t_tmp/out"
}
rights() {
    server && tell acl setuser u on '>p' +@all -set -wait '~*' '&*' || return 1
    ask 1 "unix://$dir/s?user=u&password_file=$t_tmp/p" && complains 'the user lacks the rights +set +wait$' || return 1
    tell acl setuser u resetchannels -time +set +wait
    ask 1 "unix://$dir/s?user=u&password_file=$t_tmp/p" &&
        complains 'the user lacks the rights \(+time &__redis__:invalidate\|&__redis__:invalidate +time\)$' || return 1
    tell acl setuser u '&*' +time -info '-config|get'
    ask 0 "unix://$dir/s?user=u&password_file=$t_tmp/p" && says '^memory  *not told: the user lacks +info$' &&
        says '^limits  *not told: the user lacks +config|get$' || return 1
    ask 1 "unix://$dir/s?user=other&password_file=$t_tmp/p" && complains 'user name or password is wrong$'
}
cluster() { server --cluster-enabled yes && ask 1 "unix://$dir/s" && complains 'the server is a node of a Cluster: '; }
absent() {
    ask 1 "unix://$t_tmp/none" && complains "no connection to .*: no such socket" && [ ! -s "$t_tmp/out" ] &&
        ask 2 redis://localhost/3 && complains 'cellar_remote_open: the database number ' &&
        ask 2 redis://db.example && complains 'cellar_remote_open: TCP to another machine needs TLS' &&
        ! "$bin" remote 2>"$t_tmp/err" && complains 'takes one URL (got 0)'
}
sentinel() {
    port=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 12000))
    server --port $port && printf 'port %s\nsentinel monitor main 127.0.0.1 %s 1\n' \
        $((port + 1)) $port >"$dir/sentinel.conf" || return 1
    ln -s "$(readlink -f "$engine")" "$dir/redis-sentinel"
    "$dir/redis-sentinel" "$dir/sentinel.conf" >"$dir/sentinel.log" 2>&1 &
    sentinel_pid=$!
    until redis-cli -p $((port + 1)) ping >/dev/null 2>&1; do kill -0 $sentinel_pid && sleep 0.05 || return 1; done
    url="redis-sentinel://127.0.0.1:$((port + 1))?master=main"
    one="127.0.0.1:$((port + 1))"
    ask 0 "$url" && says '^note: with min-replicas-to-write 0 a failover loses writes' &&
        says "^server .*, master at 127.0.0.1:$port$" && says "^sentinel  *$one names 127.0.0.1:$port, [0-9]* ms ago$" &&
        says '^note: without this Sentinel nothing counts' &&
        ask 1 "redis-sentinel://$one,127.0.0.1:1,127.0.0.1:2?master=main" && says "^sentinel  *$one names " &&
        says '^sentinel  *127.0.0.1:2: no connection to ' && says '^note: 2 of 3 Sentinels do not answer$' &&
        ask 1 "redis-sentinel://$one,127.0.0.1:1,127.0.0.1:2?master=other" && # it says more than two that are absent
        complains 'a Sentinel does not know master other$' &&
        ask 1 "redis-sentinel://127.0.0.1:$((port + 1))" && complains 'a Sentinel does not know master mymaster'
}
own_port() {
    "$bin" serve --port=0 --unix="$t_tmp/own" >/dev/null 2>"$t_tmp/err" &
    server_pid=$!
    trap 'kill -KILL $server_pid' EXIT
    until [ -S "$t_tmp/own" ]; do kill -0 $server_pid && sleep 0.02 || return 1; done
    ask 1 "unix://$t_tmp/own" && complains "the server is a port of cellar without this version's shared store: "
}
shared_port() {
    "$bin" serve --port=0 --unix="$t_tmp/shared" --shared=8M >/dev/null 2>"$t_tmp/err" &
    server_pid=$!
    trap 'kill -KILL $server_pid' EXIT
    until [ -S "$t_tmp/shared" ]; do kill -0 $server_pid && sleep 0.02 || return 1; done
    ask 0 "unix://$t_tmp/shared?prefix=app" && says '^link  *PROVEN ' &&
        says "^server  *cellar [0-9a-z.-]*, pid $server_pid, at /.*/shared\$" && says '^memory  *[0-9.]* .* of 8.*; evicted keys 0$' &&
        says '^control  *[1-9][0-9]* keys, .* of ' && says '^tracking  *1 clients, [1-9]* prefixes$' &&
        says '^clients  *2 of 1024$' && ! grep '^note' "$t_tmp/out"
}
# The name has two addresses, and the second one alone has a server.
second_address() {
    port=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 12000))
    server --port $port --bind ::1 && ask 0 "redis://localhost:$port" && says "^server .* at localhost:$port$"
}
secure() {
    port=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 12000))
    sh tests/support/certificates.sh "$t_tmp" && server --tls-port $port --tls-auth-clients no \
        --tls-cert-file "$t_tmp/server.pem" --tls-key-file "$t_tmp/server.pem" --tls-ca-cert-file "$t_tmp/ca.pem" &&
        ask 0 "rediss://localhost:$port?tls_ca_file=$t_tmp/ca.pem" && says '^link .* connected, TLS$' &&
        ask 1 "rediss://localhost:$port?tls_ca_file=$t_tmp/foreign.pem" &&
        complains 'TLS with localhost: certificate refused: ' && # nothing listens on ::1
        ask 1 "rediss://localhost:$port?tls_ca_file=/nowhere" &&
        complains 'TLS with localhost: tls_ca_file /nowhere: cannot be read$' &&
        openssl x509 -in "$t_tmp/client.pem" -out "$t_tmp/bare.pem" &&
        ask 1 "rediss://localhost:$port?tls_ca_file=$t_tmp/ca.pem&tls_cert_file=$t_tmp/bare.pem" &&
        complains 'TLS with localhost: tls_cert_file .*/bare.pem: no key in it: give tls_key_file$' &&
        ask 1 "redis://localhost:$port" && complains ".*localhost:$port closed in the handshake: if its port speaks TLS, " &&
        ask 0 "rediss://localhost:$port?tls_insecure" && complains 'remote: tls_insecure: ' &&
        says 'connected, TLS, not verified$' && says '^note: tls_insecure: '
}
# Run each block of the page in a folder of its own, on ports of its own, then its program with that URL,
# twice: the second process finds the value that the first one loaded.
guide() {
    base=$((2000 + $(od -An -N2 -tu2 /dev/urandom) % 1000))
    mkdir "$t_tmp/bin" && ln -s "$PWD/$bin" "$t_tmp/bin/cellar" || return 1
    ln -s "$(readlink -f "$engine")" "$t_tmp/bin/redis-server"
    printf '#!/bin/sh\nexit 127\n' >"$t_tmp/bin/redis-sentinel" && chmod +x "$t_tmp/bin/redis-sentinel" # another package
    awk -v to="$t_tmp/block" '/^```sh$/ { n++; on = 1; next } /^```$/ { on = 0 } on { print > (to n) }' \
        include/remote.md && [ -s "$t_tmp/block4" ] || return 1
    sed -n '/^```c$/,/^```$/{/^```/d;p;}' include/remote.md >"$t_tmp/app.c" && [ -s "$t_tmp/app.c" ] || return 1
    # shellcheck disable=SC2086
    $CC -std=c11 -D_GNU_SOURCE -Wall -Iinclude "$t_tmp/app.c" "$CELLAR_A" -pthread ${CELLAR_LIBS-} -o "$t_tmp/app" || return 1
    for i in 1 2 3 4; do
        case $i in 2) t_have openssl || continue ;; 3) "$bin" version | grep -q '^TLS  *yes' && t_have openssl || continue ;; esac
        mkdir "$t_tmp/$i" && sed "s/\<639\([0-9]\)\>/$base\1/g" "$t_tmp/block$i" >"$t_tmp/$i/run"
        for run in 1 2; do echo "\"$t_tmp/app\" \"\$url\""; done >>"$t_tmp/$i/run"
        (cd "$t_tmp/$i" && PATH=$t_tmp/bin:$PATH timeout 100 sh -e ./run >out 2>&1)
        ran=$?
        for pid in "$t_tmp/$i"/*.pid; do kill "$(cat "$pid")"; done
        [ $ran -eq 0 ] && grep -q '^link  *PROVEN' "$t_tmp/$i/out" && [ "$(tail -n 3 "$t_tmp/$i/out" | tr '\n' ' ')" = 'loaded Ada Ada ' ] ||
            { cat "$t_tmp/$i/out"; return 1; }
    done
}

(umask 077 && echo p >"$t_tmp/p")
t_case wrong_urls_and_no_server_are_one_sentence absent
if [ -z "$engine" ] || ! t_have redis-cli; then
    t_skip servers_are_asked "no redis-server or no redis-cli (package redis-tools)"
    t_end remote_command
fi
t_case server_is_proven_and_described good
t_case all_missing_rights_are_named_at_once rights
t_case cluster_is_refused_with_one_sentence cluster
t_case port_of_cellar_is_refused_with_one_sentence own_port
t_case port_with_a_shared_store_is_described shared_port
if grep -q '^0\{31\}1 ' /proc/net/if_inet6 2>/dev/null; then
    t_case second_address_of_a_name_is_tried second_address
else
    t_skip second_address_of_a_name_is_tried "this machine has no ::1"
fi
t_case set_ups_of_the_guide_run guide
t_case sentinel_is_followed_and_its_risk_noted sentinel
if "$bin" version | grep -q '^TLS  *yes' && t_have openssl; then
    t_case tls_is_named_and_a_foreign_certificate_refused secure
else
    t_skip tls_is_named_and_a_foreign_certificate_refused "built without TLS=1, or no openssl"
fi
t_end remote_command
