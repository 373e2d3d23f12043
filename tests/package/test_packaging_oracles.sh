#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    what the library writes is what other programs expect: metrics as promtool checks them,
#         JSON, keys by hashlib and struct, files of floats by struct, patterns as a redis-server
#         matches them.
# Method: consumers/oracle.c writes, promtool, python3 and redis-server judge. promtool may be
#         unpacked below build/peers (deps.sh check). An invalid text is refused first.
. tests/support/t.sh
oracle=$t_tmp/oracle
promtool=$(command -v promtool || echo build/peers/usr/bin/promtool)

builds() {
    $CC -std=c11 -O1 -D_GNU_SOURCE $t_warn -Iinclude -o "$oracle" tests/package/consumers/oracle.c \
        "${CELLAR_A:-build/libcellar.a}" -pthread -lm ${CELLAR_LIBS-} && "$oracle" metrics "$t_tmp"
}
promtool_accepts() { "$promtool" check metrics <"$t_tmp/$1"; }
promtool_refuses_an_invalid_text() { ! printf 'a{ 1\n' | "$promtool" check metrics; }
json_is_read() {
    ! echo '{"a":}' | python3 -m json.tool && python3 -m json.tool "$t_tmp/stats.json" >"$t_tmp/said"
}
patterns_match_as_in_redis() {
    ln -s "$redis" "$t_tmp/redis-server" 2>/dev/null
    "$t_tmp/redis-server" --port 0 --unixsocket "$t_tmp/redis.sock" --save '' --dir "$t_tmp" \
        >"$t_tmp/redis.log" 2>&1 &
    server=$!
    for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        [ -S "$t_tmp/redis.sock" ] && break
        sleep 0.5
    done
    python3 tests/package/oracle.py globs "$oracle" "$t_tmp/redis.sock"
    status=$?
    kill $server
    wait $server 2>/dev/null
    return $status
}

t_case writes_metrics_keys_vectors builds
[ $t_failed -eq 0 ] || t_end packaging_oracles
if [ -x "$promtool" ]; then
    t_case promtool_refuses_an_invalid_text promtool_refuses_an_invalid_text
    for text in metrics limiter locks; do
        t_case promtool_accepts_$text promtool_accepts $text.txt
    done
else
    t_skip promtool_accepts_metrics "no promtool (package prometheus)"
fi
if t_have python3; then
    t_case python_reads_the_json json_is_read
    t_case keys_agree_with_hashlib_and_struct python3 tests/package/oracle.py keys "$oracle"
    t_case vectors_agree_with_struct python3 tests/package/oracle.py vectors "$oracle"
else
    t_skip keys_agree_with_hashlib_and_struct "no python3"
fi
redis=$(command -v redis-server || command -v redis-check-rdb)
if [ -n "$redis" ] && t_have python3; then
    t_case patterns_match_as_in_redis patterns_match_as_in_redis
else
    t_skip patterns_match_as_in_redis "no redis-server (package redis-tools), or no python3"
fi
t_end packaging_oracles
