#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    `cellar serve --tls-cert` serves real clients over TLS, port and pages alike, and refuses
#         what its files do not vouch for; the pair `cellar` has nothing of OpenSSL.
# Method: the program of TLS=1 with certificates of an own CA; redis-cli, redis-py, curl and
#         openssl s_client, each a skip where it is absent.
. tests/support/t.sh
. tests/support/serve.sh

pem=$t_tmp/pem
mkdir -p "$pem"
tls_serve() { # OPTION...: serve with TLS; $port and $page are its ports
    for try in 1 2 3 4 5; do # another program may have the port
        port=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 12000))
        serve --port=$port --admin=0 --tls-cert="$pem/server.pem" "$@" && break
    done
    page=$(sed -n 's/^ready:.* admin //p' "$t_tmp/ready")
    [ -n "$page" ]
}
cli() { redis-cli -h localhost -p "$port" --tls --cacert "$pem/ca.pem" "$@" 2>&1; }
fetch() { curl -s -S --cacert "$pem/ca.pem" "$@" "https://localhost:$page/healthz" 2>&1; }
# A word to the port over TLS, by s_client with more options; its output.
shake() { printf 'PING\r\nQUIT\r\n' | timeout 20 openssl s_client -ign_eof \
    -connect "localhost:$port" -CAfile "$pem/ca.pem" "$@" 2>&1; }

commands() {
    tls_serve && [ "$(cli set k v)" = OK ] && [ "$(cli get k)" = v ] || return 1
    head -c 3000000 /dev/urandom >"$t_tmp/long"
    [ "$(cli -x set long <"$t_tmp/long")" = OK ] &&
        cli --no-raw strlen long | grep -q 3000000 &&
        cli get long | head -c 3000000 | cmp - "$t_tmp/long" || return 1
    cli --cacert "$pem/foreign.pem" get k | grep -qi 'certificate verify failed' || return 1
    ! redis-cli -p "$port" get k 2>&1 | grep -q '^"*v"*$' && [ "$(cli get k)" = v ] && stop
}
pages() { tls_serve && [ "$(fetch)" = ok ] && ! curl -s "http://localhost:$page/healthz" && stop; }
protocols() {
    tls_serve || return 1
    shake -tls1_3 | grep -q '+PONG' && shake -tls1_2 | grep -q '+PONG' &&
        shake -tls1_2 -verify_return_error | grep -q 'Verify return code: 0' &&
        ! shake -tls1_1 -cipher DEFAULT:@SECLEVEL=0 | grep -q '+PONG' || return 1
    mkfifo "$t_tmp/keys" && exec 3<>"$t_tmp/keys" && printf 'R\n' >&3
    timeout 20 openssl s_client -connect "localhost:$port" -tls1_2 <&3 >"$t_tmp/again" 2>&1
    grep -q '^RENEGOTIATING' "$t_tmp/again" && grep -q 'no renegotiation' "$t_tmp/again" || return 1
    shake -sess_out "$t_tmp/session" >/dev/null
    shake -sess_in "$t_tmp/session" | grep -q '^Reused' && stop
}
clients() { # a refused redis-cli may die by SIGPIPE, without a word
    tls_serve --tls-ca="$pem/ca.pem" && [ "$(fetch --cert "$pem/client.pem")" = ok ] && ! fetch | grep -q '^ok' &&
        [ "$(cli --cert "$pem/client.pem" --key "$pem/client.pem" set k v)" = OK ] && ! cli get k | grep -q '^v' &&
        ! cli --cert "$pem/other.pem" --key "$pem/other.pem" get k | grep -q '^v' &&
        [ "$(cli --cert "$pem/client.pem" --key "$pem/client.pem" get k)" = v ] && stop
}
rotation() {
    tls_serve && [ "$(cli set k v)" = OK ] || return 1
    cp "$pem/server.pem" "$t_tmp/before"
    cp "$pem/other.pem" "$t_tmp/next" && mv "$t_tmp/next" "$pem/server.pem"
    cli get k | grep -qi 'certificate verify failed' &&
        [ "$(cli --cacert "$pem/foreign.pem" get k)" = v ] || return 1
    head -c 99 "$t_tmp/before" >"$pem/server.pem"
    [ "$(cli --cacert "$pem/foreign.pem" get k)" = v ] &&
        grep -q 'the present certificate stays: tls_cert_file' "$t_tmp/serve_err" || return 1
    cp "$t_tmp/before" "$pem/server.pem"
    [ "$(cli get k)" = v ] && stop
}
refuses() { # SENTENCE OPTION...
    sentence=$1
    shift
    timeout 20 "$bin" serve --port=0 --admin=0 "$@" 2>"$t_tmp/err"
    [ $? -eq 3 ] && grep -q "$sentence" "$t_tmp/err" || { cat "$t_tmp/err"; return 1; }
}
wrong_files() {
    refuses 'tls_cert_file .*/none.pem: cannot be read' --tls-cert="$pem/none.pem" &&
        refuses 'tls_cert_file .*server.crt: no key in it: give tls_key_file' --tls-cert="$pem/server.crt" &&
        refuses 'key values mismatch' --tls-cert="$pem/server.crt" --tls-key="$pem/client.key" &&
        refuses 'tls_ca_file .*/none.pem: ' --tls-cert="$pem/server.pem" --tls-ca="$pem/none.pem" &&
        refuses 'need tls_cert_file' --tls-ca="$pem/ca.pem" &&
        refuses 'must not be empty' --tls-cert="$pem/server.pem" --tls-ca= || return 1
    openssl pkcs8 -topk8 -in "$pem/server.key" -passout pass:secret \
        -out "$t_tmp/locked.key" &&
        refuses 'tls_key_file .*locked.key: ' --tls-cert="$pem/server.crt" \
            --tls-key="$t_tmp/locked.key"
}
# Requests that wait for their turn stay in the socket: they take no memory of the port.
pipeline() {
    tls_serve --memory=16M || return 1
    yes 'SET k v' | head -n 1000000 | cli --pipe >"$t_tmp/out" 2>&1
    grep -q 'errors: 0, replies: 1000000' "$t_tmp/out" || { cat "$t_tmp/out"; return 1; }
    stop
}
redis_py() {
    tls_serve && "$py" -c "
import redis
c = redis.Redis('localhost', $port, ssl=True, ssl_ca_certs='$pem/ca.pem')
assert c.set('k', 'v' * 100000) and c.get('k') == b'v' * 100000
with c.pipeline() as p:
    for i in range(1000): p.set(str(i), i)
    p.execute()
assert c.mget(['1', '999']) == [b'1', b'999']
try: redis.Redis('localhost', $port, ssl=True, ssl_ca_certs='$pem/foreign.pem').ping(); raise SystemExit(1)
except redis.exceptions.ConnectionError: pass
" && stop
}
core_is_free() { ! grep -qiE 'openssl|SSL_' dist/cellar.c && nm "$bin" | grep -q ' U SSL_read'; }

cases='redis_cli_works_and_refuses_a_foreign_server:redis-cli:commands
pages_are_served_over_tls_alone:curl:pages
tls_1_1_and_renegotiation_are_refused_and_tickets_resume:openssl:protocols
client_certificate_is_wanted_on_port_and_page:redis-cli curl:clients
certificate_is_read_again_and_a_broken_one_left:redis-cli:rotation
files_that_cannot_be_used_are_one_sentence::wrong_files
requests_ahead_wait_in_the_socket:redis-cli:pipeline
pair_of_the_cache_has_nothing_of_openssl:nm:core_is_free'
"$bin" version >"$t_tmp/version" || exit 1
if ! grep -q '^TLS  *yes' "$t_tmp/version" || ! t_have openssl; then
    t_skip port_speaks_tls "built without TLS=1, or no openssl"
    t_end remote_tls_port
fi
sh tests/support/certificates.sh "$pem" || exit 2
while IFS=: read -r fact tools command; do
    missing=
    for tool in $tools; do t_have "$tool" || missing="$missing $tool"; done
    if [ -n "$missing" ]; then t_skip "$fact" "no$missing"; else t_case "$fact" "$command"; fi
done <<END
$cases
END
for py in "${REDIS_PY-}" python3 /usr/bin/python3; do
    [ -n "$py" ] && "$py" -c 'import redis' 2>/dev/null && break
    py=
done
if [ -n "$py" ]; then t_case redis_py_works redis_py; else t_skip redis_py_works "no redis-py"; fi
t_end remote_tls_port
