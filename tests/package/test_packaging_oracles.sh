#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    what the library writes is what other programs expect: metrics as promtool checks them,
#         JSON, vectors by struct.
# Method: consumers/oracle.c writes, promtool and python3 judge. promtool may be unpacked below
#         build/peers (deps.sh check). An invalid text is refused first. Keys: test_api_kit_keys;
#         patterns: test_base_glob.
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
t_case writes_metrics builds
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
    t_case vectors_agree_with_struct python3 tests/package/oracle.py "$oracle"
else
    t_skip vectors_agree_with_struct "no python3"
fi
t_end packaging_oracles
