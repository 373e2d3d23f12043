#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    Inputs that a fuzzer finds by coverage do no harm to the readers of the disk tier, the kit,
#         the port, the parsers of policy files, settings and cron expressions, topic patterns, the
#         readers of replies, messages and envelopes of a server, and the codec of the package for Python.
# Method: libFuzzer with ASan and UBSan over l2.c, kit.c, policy.c, settings.c, cron.c, topic.c,
#         resp.c, resp_parse.c, resp_http.c, remote_wire.c, remote_subscriber.c, remote_form.c and python.c,
#         FUZZ_SECONDS (60) each; the targets of the port, of replies and of messages begin with
#         seeds, a line a conversation, as printf reads it.
. tests/support/t.sh
make -s page || exit 1
l2="$(ls src/core/base/*.c src/core/stats/*.c src/core/l2/*.c)"
all="$(ls src/*/*/*.c)"

# fuzz COMPILER TARGET SOURCES
fuzz() {
    rm -f "$t_tmp"/crash-* "$t_tmp"/timeout-* "$t_tmp"/oom-* "$t_tmp"/leak-*
    "$1" -std=c11 -D_GNU_SOURCE -DBASE_DEBUG=1 '-DCELLAR_SOURCE_ID="0"' -O1 -g -I. -Iinclude -Isrc \
        -Isrc/core -Isrc/guests -Ibuild/made \
        -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -pthread \
        -o "$t_tmp/fuzz" "tests/fuzz/$2.c" $3 -lm || return 1
    rm -rf "$t_tmp/corpus"
    mkdir "$t_tmp/corpus"
    if [ -f "tests/fuzz/${2%_parse}.seeds" ]; then
        n=0
        while IFS= read -r seed; do
            n=$((n + 1))
            printf -- "$seed" >"$t_tmp/corpus/$n"
        done <"tests/fuzz/${2%_parse}.seeds"
    fi
    (cd "$t_tmp" && ./fuzz -max_total_time="${FUZZ_SECONDS:-60}" -max_len=400 -timeout=20 \
        -seed="${SEED:-0}" -print_final_stats=1 corpus) 2>&1 | tail -n 25
    [ -z "$(ls "$t_tmp" | grep -E '^(crash|timeout|oom|leak)-')" ]
}
found=
for c in clang-19 clang; do
    if [ -z "$found" ] && t_have $c && echo 'int LLVMFuzzerTestOneInput(const unsigned char *p, long n)
        { return p == 0 && n > 1; }' >"$t_tmp/f.c" &&
        $c -fsanitize=fuzzer,address -o "$t_tmp/f" "$t_tmp/f.c" 2>/dev/null; then found=$c; fi
done
if [ -n "$found" ]; then
    t_case l2_reader_takes_any_input fuzz $found l2 "$l2"
    t_case kit_takes_any_input fuzz $found kit "$all"
    t_case policy_parser_takes_any_input fuzz $found policy "$all"
    t_case settings_take_any_text fuzz $found settings "$all"
    t_case cron_parser_takes_any_input fuzz $found cron "$all"
    t_case topic_patterns_take_any_input fuzz $found topic "$all"
    t_case port_takes_any_conversation fuzz $found resp "$all"
    t_case requests_of_any_bytes_parse_equally_in_pieces fuzz $found resp_parse "$all"
    t_case heads_of_http_of_any_bytes_read_equally_in_pieces fuzz $found resp_http "$all"
    t_case replies_of_any_bytes_read_equally_in_pieces fuzz $found remote_wire "$all"
    t_case messages_of_any_bytes_are_heard_equally_in_pieces fuzz $found remote_subscriber "$all"
    t_case envelopes_with_any_wrong_bit_are_misses fuzz $found remote_form "$all"
    if [ -n "${CELLAR_PYTHON-}" ] && t_have python3-config; then
        t_case keys_and_values_of_any_bytes_are_read_without_harm fuzz $found python \
            "-DPy_LIMITED_API=0x030B0000 src/python/codec.c $(python3-config --includes --embed --ldflags)"
    else
        t_skip keys_and_values_of_any_bytes_are_read_without_harm "python3-dev is missing"
    fi
else
    for fact in l2_reader_takes_any_input kit_takes_any_input policy_parser_takes_any_input \
        settings_take_any_text cron_parser_takes_any_input topic_patterns_take_any_input \
        port_takes_any_conversation requests_of_any_bytes_parse_equally_in_pieces \
        heads_of_http_of_any_bytes_read_equally_in_pieces \
        replies_of_any_bytes_read_equally_in_pieces \
        messages_of_any_bytes_are_heard_equally_in_pieces \
        envelopes_with_any_wrong_bit_are_misses \
        keys_and_values_of_any_bytes_are_read_without_harm; do
        t_skip "$fact" "no clang with libFuzzer"
    done
fi
t_end matrix_fuzz
