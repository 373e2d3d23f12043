#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    cellar-bench says no to what it does not know, with exit status 2 and the line number, and
#         runs a workload of the caller's.
# Method: the program without the library and without glib, so that it is built in a second or two.
. tests/t.sh

bench=$t_tmp/cellar-bench
build() {
    # shellcheck disable=SC2046,SC2086
    $CC -std=c11 -D_GNU_SOURCE -O1 $t_warn -I. -Isrc -Iinclude -DBENCH_HAVE_CELLAR=0 -DBENCH_HAVE_GLIB=0 \
        '-DBENCH_FLAGS="-O1"' -pthread -o "$bench" bench/harness/*.c bench/suites/*.c bench/peers/registry.c \
        bench/peers/raw/subject.c bench/peers/uthash/subject.c src/base/hash.c -lm
}
refuses() { # words in the message, arguments...
    words=$1
    shift
    "$bench" --json "$t_tmp/no.jsonl" "$@" >"$t_tmp/out" 2>"$t_tmp/err"
    [ $? -eq 2 ] && grep -q "$words" "$t_tmp/err" || { cat "$t_tmp/out" "$t_tmp/err"; return 1; }
}
bad_file() {
    printf 'key = 16\nvalue = 100\nops = get 91 set 9\n' >"$t_tmp/bad.wl"
    refuses 'bad.wl:3: value not understood' --workload "$t_tmp/bad.wl"
}
own_workload() {
    printf 'trace = zipf 0.99 keys=2000 ops=4096 seed=1\nkey = 16\nvalue = 100\nops = get | get 95 set 5\n' >"$t_tmp/own.wl"
    echo 'threads = 1' >>"$t_tmp/own.wl"
    "$bench" --workload "$t_tmp/own.wl" --rounds 9 --window-ms 2 --peers uthash64 --json "$t_tmp/own.jsonl" >"$t_tmp/out" || return 1
    grep -q '"subject":"raw".*"metric":"get"' "$t_tmp/own.jsonl" &&
        grep -q '"subject":"uthash64".*"metric":"mix95".*"vs":"raw"' "$t_tmp/own.jsonl" &&
        grep -q '"skip":"built without the library"' "$t_tmp/own.jsonl" &&
        ! grep -q '"subject":"uthash1"' "$t_tmp/own.jsonl" && ! grep -q '"bad":[1-9]' "$t_tmp/own.jsonl"
}
lines_are_json() {
    python3 -c 'import json,sys
for line in open(sys.argv[1]):
    row = json.loads(line)
    assert isinstance(row, dict) and "bench" in row, line' "$t_tmp/own.jsonl"
}
bounded_workload() { # the bound holds a tenth, so hits are many and not all
    printf 'trace = zipf 0.99 keys=20000 ops=65536 seed=1\nkey = 16\nvalue = 100\nops = readthrough\n' >"$t_tmp/b.wl"
    printf 'threads = 1\ncapacity = entries 2000\nprefill = none\nttl_ms = 3600000\n' >>"$t_tmp/b.wl"
    "$bench" --workload "$t_tmp/b.wl" --rounds 9 --window-ms 2 --peers uthash64 --json "$t_tmp/b.jsonl" >"$t_tmp/out" || return 1
    grep -q '"subject":"uthash64".*"hit":0\.[5-8]' "$t_tmp/b.jsonl" && ! grep -q '"subject":"raw"' "$t_tmp/b.jsonl"
}

t_case program_builds_without_a_warning build
t_case unknown_suite_is_refused refuses nonsense --suite nonsense
t_case unknown_peer_is_refused refuses nobody --peers nobody
t_case unknown_option_is_refused refuses usage --frobnicate 1
t_case missing_workload_is_refused refuses 'cannot be opened' --workload "$t_tmp/none.wl"
t_case malformed_workload_names_its_line bad_file
t_case own_workload_runs own_workload
if t_have python3; then t_case lines_are_json lines_are_json; else t_skip lines_are_json "no python3"; fi
t_case bounded_workload_runs bounded_workload
t_end bench_program
