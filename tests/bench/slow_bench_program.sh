#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    cellar-bench refuses unknown words with exit status 2 and the line number, and runs a
#         workload from a file.
# Method: The program is built without the library, which takes a second or two.
. tests/support/t.sh

bench=$t_tmp/cellar-bench
program_builds_without_a_warning() {
    # shellcheck disable=SC2046,SC2086
    $CC -std=c11 -D_GNU_SOURCE -O1 $t_warn -I. -Isrc -Isrc/core -Isrc/guests -Iinclude -DBENCH_HAVE_CELLAR=0 \
        -DBENCH_HAVE_CUCKOO=0 -DBENCH_HAVE_TBB=0 -DBENCH_HAVE_ROCKS_CACHE=0 -DBENCH_HAVE_SQLITE=0 -DBENCH_HAVE_REMOTE=0 \
        '-DBENCH_FLAGS="-O1"' -pthread -o "$bench" bench/harness/*.c bench/suites/*.c bench/peers/*.c \
        bench/peers/raw/subject.c bench/peers/uthash/subject.c bench/peers/redis/subject.c \
        bench/replay/trace.c bench/replay/ideal.c \
        src/cli/error.c src/core/base/hash.c -lm
}
# A time limit may fail on a machine that stops for a moment: try again with each of these
# milliseconds until the fact holds.
within() { # fact, milliseconds...
    fact=$1
    shift
    for ms; do "$fact" "$ms" && return 0; done
    return 1
}
run() { # NAME OPTION...: a run with its lines in NAME.jsonl, and what it says in out and err
    lines=$t_tmp/$1.jsonl
    shift
    rm -f "$lines"
    "$bench" --json "$lines" "$@" >"$t_tmp/out" 2>"$t_tmp/err"
}
says() { cat "$t_tmp/out" "$t_tmp/err"; return 1; } # of the last run
refuses() { # MESSAGE ARGUMENT...: words of the message, arguments
    words=$1
    shift
    run no "$@"
    [ $? -eq 2 ] && grep -q "$words" "$t_tmp/err" || says
}
malformed_workload_names_its_line() {
    printf 'key = 16\nvalue = 100\nops = get 91 set 10\n' >"$t_tmp/bad.wl"
    refuses 'bad.wl:3: value not understood' --workload "$t_tmp/bad.wl"
}
unknown_subject_of_a_workload_names_its_line() { # of a workload; and lists with unknown names
    printf 'trace = zipf 0.99 keys=2000 ops=4096 seed=1\nkey = 16\nvalue = 100\nops = get\nthreads = 1\nsubjects = raw uthash640\n' \
        >"$t_tmp/bad.wl"
    refuses 'bad.wl:6: unknown subject uthash640$' --workload "$t_tmp/bad.wl" || return 1
    sed -i 's/^subjects.*/subjects =/' "$t_tmp/bad.wl"
    refuses 'bad.wl:6: value not understood' --workload "$t_tmp/bad.wl" && refuses 'not understood' --suite ''
}
workload_from_file_runs() {
    printf 'trace = zipf 0.99 keys=2000 ops=4096 seed=1\nkey = 16\nvalue = 100\nops = get | get 95 set 5\nthreads = 1\n' >"$t_tmp/own.wl"
    run own --workload "$t_tmp/own.wl" --rounds 9 --window-ms 2 --peers uthash64 || says || return 1
    grep -q '"subject":"raw".*"metric":"get"' "$t_tmp/own.jsonl" &&
        grep -q '"subject":"uthash64".*"metric":"mix95".*"vs":"raw"' "$t_tmp/own.jsonl" &&
        grep -q '"skip":"built without the library"' "$t_tmp/own.jsonl" &&
        ! grep -q '"subject":"uthash1"' "$t_tmp/own.jsonl" && ! grep -q '"bad":[1-9]' "$t_tmp/own.jsonl"
}
any_shares_and_draws() { # gets, sets and deletes of any share; values, TTLs by a draw; a reference; a miss that takes time
    printf 'trace = uniform keys=2000 ops=4096 seed=1\nkey = 16\nvalue = choice 100:9 4000:1\nthreads = 1\n' >"$t_tmp/any.wl"
    printf 'ops = get 71 set 18 delete 11 | lat get 60 set 20 delete 20\nttl_ms = exponential 60000 120000\n' >>"$t_tmp/any.wl"
    run any --workload "$t_tmp/any.wl" --rounds 9 --window-ms 2 --peers "uthash1 uthash64t moka" --ref uthash1 || says || return 1
    grep -q '"subject":"raw".*"metric":"mix_71_18_11".*"unit":"Mops/s"' "$t_tmp/any.jsonl" &&
        grep -q '"subject":"uthash64t".*"metric":"mix_71_18_11".*"vs":"uthash1"' "$t_tmp/any.jsonl" &&
        grep '"subject":"raw".*"metric":"mix_71_18_11"' "$t_tmp/any.jsonl" | grep -q '"hit":0\.[3-8]' && # 11 % end what 18 % bring
        ! grep -q '"bad":[1-9]' "$t_tmp/any.jsonl" || { cat "$t_tmp/any.jsonl"; return 1; }
    python3 -c 'import json, sys
rows = [json.loads(line) for line in open(sys.argv[1])]
for r in (r for r in rows if "hist" in r): # pairs of ns and count, ascending
    assert r["call"] == "get" and sum(r["hist"][1::2]) > 0 and r["threads"] == 1 and r["hist"][::2] == sorted(r["hist"][::2]), r
assert {r["subject"] for r in rows if "hist" in r} >= {"raw", "uthash64t"}' "$t_tmp/any.jsonl" || return 1
    sed -i 's/^ops.*/ops = readthrough/; s/^ttl_ms.*/miss_us = 2000\ncapacity = entries 1\nprefill = none\nwindow_ms = 70/' "$t_tmp/any.wl"
    run any --workload "$t_tmp/any.wl" --rounds 1 --quick --peers uthash1 || says || return 1
    grep '"subject":"uthash1".*"metric":"readthrough"' "$t_tmp/any.jsonl" | grep -q '"value":0\.000[0-5]' || { cat "$t_tmp/any.jsonl"; return 1; }
}
table_of_an_own_run_is_short() { # at most 30 lines; it says what it leaves out, gets that never hit, and the path
    awk 'BEGIN { for (m = 1; m <= 8; m++) for (s = 1; s <= 12; s++) for (t = 1; t <= 4; t *= 2)
        printf "{\"bench\":\"own\",\"subject\":\"s%d\",\"workload\":\"w\",\"threads\":%d,\"metric\":\"mix_%d_0_0\",\"value\":%d,\"rounds\":9,\"hit\":%d,\"unit\":\"Mops/s\"}\n", s, t, m, s, s != 3
        print "{\"bench\":\"own\",\"subject\":\"otter\",\"workload\":\"w\",\"skip\":\"not built: make bench-peers\"}" }' >"$t_tmp/t.jsonl"
    awk -v table=own -v ref=s5 -v json=J -v logfile=L -f bench/report/lines.awk -f bench/report/tables.awk "$t_tmp/t.jsonl" >"$t_tmp/out"
    [ "$(wc -l <"$t_tmp/out")" -le 30 ] && grep -q '^left out: otter: not built' "$t_tmp/out" && grep -q 'more rows stand in the JSON' "$t_tmp/out" &&
        grep -q 'no get found its key: mix_1_0_0 of s3, mix_2_0_0 of s3,' "$t_tmp/out" && tail -n 1 "$t_tmp/out" | grep -q '^JSON: J' || { cat "$t_tmp/out"; return 1; }
}
own_file_is_checked_before_the_build() { # without the bench; the line, what stands there, what was expected
    $CC -std=c11 -D_GNU_SOURCE $t_warn -I. -o "$t_tmp/wl_check" bench/wl_check.c \
        -Isrc -Isrc/core -Iinclude bench/harness/workload.c bench/harness/trace.c bench/replay/trace.c bench/replay/ideal.c src/cli/error.c -lm || return 1
    printf 'trace = zipf 0.99 keys=2000 ops=4096 seed=1\nkey = 16\nvalue = 100\nops = get 80 set 30\nthreads = 1\n' >"$t_tmp/c.wl"
    "$t_tmp/wl_check" "$t_tmp/c.wl" "" "" raw uthash1 2>"$t_tmp/err"
    [ $? -eq 2 ] && grep -q 'c.wl:4: value not understood: "get 80 set 30"; expected .*sum 100' "$t_tmp/err" || { cat "$t_tmp/err"; return 1; }
    sed -i 's/set 30/set 20/' "$t_tmp/c.wl"
    "$t_tmp/wl_check" "$t_tmp/c.wl" "ut" "" raw uthash1 && ! "$t_tmp/wl_check" "$t_tmp/c.wl" "" "ut" raw uthash1 2>"$t_tmp/err" &&
        grep -q 'REF: unknown subject ut; there are: raw uthash1' "$t_tmp/err"
}
missing_peers_of_a_room_are_said() { # and the hits of a run are a series
    run r --suite hitratio --quick --scratch "$t_tmp" --peers "uthash1 otter"
    grep -q '"subject":"otter","workload":"zipf16m","skip":"not built' "$t_tmp/r.jsonl" &&
        grep -q '"subject":"uthash1","workload":"mix_10","series":"hits","count":32.*"values":\[0\.[0-9]*,' "$t_tmp/r.jsonl" || { cat "$t_tmp/r.jsonl"; return 1; }
}
compare_finds_what_is_planted() { # and nothing where both sides do the same; CPU time of loops, which no load changes much
    $CC -std=c11 -D_GNU_SOURCE -O2 $t_warn -pthread -I. -o "$t_tmp/compare" bench/compare/compare.c -ldl -lm &&
        $CC -std=c11 -O2 $t_warn -I. -Iinclude -c -o "$t_tmp/side.o" bench/compare/side.c || return 1
    "$t_tmp/compare" --busy --reps=28 --window-us=400 >"$t_tmp/out" && grep -q 'B slower in 0, faster in 0 of 20 rows' "$t_tmp/out" &&
        "$t_tmp/compare" --busy --reps=28 --window-us=400 --plant=25 >"$t_tmp/out" &&
        grep -qE 'B slower in (1[5-9]|20), faster in 0 of 20' "$t_tmp/out" || { cat "$t_tmp/out"; return 1; }
    "$t_tmp/compare" /none.so /none.so 2>"$t_tmp/err"
    [ $? -eq 1 ] && grep -q 'none.so' "$t_tmp/err" && ! "$t_tmp/compare" --busy --reps=2 2>/dev/null
}
help_is_help() {
    "$bench" --help >"$t_tmp/out" 2>"$t_tmp/err" && grep -q -- '--workload FILE' "$t_tmp/out" && [ ! -s "$t_tmp/err" ]
}
lines_are_json() {
    python3 -c 'import json,sys
for line in open(sys.argv[1]):
    row = json.loads(line)
    assert isinstance(row, dict) and "bench" in row, line' "$t_tmp/own.jsonl"
}
bounded_workload() { # MS of the window; the bound holds a tenth, so many but not all gets hit
    printf 'trace = zipf 0.99 keys=20000 ops=65536 seed=1\nkey = 16\nvalue = 100\nops = readthrough\n' >"$t_tmp/b.wl"
    printf 'threads = 1\ncapacity = entries 2000\nprefill = none\nttl_ms = 3600000\n' >>"$t_tmp/b.wl"
    run b --workload "$t_tmp/b.wl" --rounds 9 --window-ms "$1" --peers uthash64 || says || return 1
    grep -q '"subject":"uthash64".*"hit":0\.[5-8]' "$t_tmp/b.jsonl" && grep -q '"subject":"raw".*"skip":"holds no bound"' "$t_tmp/b.jsonl"
}
suites_without_peers_state_it() {
    run lib --suite "limit lock load l2" &&
        [ "$(grep -c '"skip":"built without the library"' "$t_tmp/lib.jsonl")" = 4 ]
}
hanging_subject_is_a_row() { # of suites with processes of their own; it is not asked a second time
    run p --suite "storm grow" --quick --scratch "$t_tmp" --peers uthash64 --patience-ms 200
    [ $? -eq 1 ] && [ "$(grep -c '"hang":"no answer within 200 ms"' "$t_tmp/p.jsonl")" = 2 ] &&
        grep -q '"bench":"storm".*"hang"' "$t_tmp/p.jsonl" && ! grep -q '"metric"' "$t_tmp/p.jsonl" || says
}
hang=600$$ # seconds; a process that sleeps so long belongs to this test
no_process_is_left() {
    for p in /proc/[0-9]*/cmdline; do
        tr '\0' ' ' <"$p" 2>/dev/null | grep -q "^sleep $hang" && return 1
    done
    return 0
}
compiled_by() { # NAME COMPILER OPTION...: a run with a compiler that misbehaves
    name=$1 compiler=$2
    shift 2
    export BENCH_DIST="$bench" BENCH_DIST_ALL="$bench" BENCH_CC="$compiler"
    run "$name" --scratch "$t_tmp" "$@"
}
hanging_compiler_is_a_row() { # MS of patience; the same holds for a compiler that kills or stops the suite's own process
    compiled_by c "sleep $hang; :" --suite dropin --patience-ms "$1"
    [ $? -eq 1 ] && [ "$(grep -c "\"hang\":\"does not compile: no answer within $1 ms\"" "$t_tmp/c.jsonl")" = 3 ] &&
        no_process_is_left || says
}
lost_suite_is_a_row_and_the_next_one_runs() { # patience in ms
    compiled_by c 'kill -9 $PPID; :' --suite "dropin lock"
    [ $? -eq 1 ] && grep -q '"bench":"dropin","crash":"signal 9' "$t_tmp/c.jsonl" &&
        grep -q '"bench":"lock".*"skip"' "$t_tmp/c.jsonl" || says || return 1
    compiled_by c 'kill -STOP $PPID; sleep 60; :' --suite "dropin lock" --patience-ms "$1"
    [ $? -eq 1 ] && grep -q "\"bench\":\"dropin\",\"hang\":\"no answer within $((3 * $1)) ms\"" "$t_tmp/c.jsonl" &&
        grep -q '"bench":"lock".*"skip"' "$t_tmp/c.jsonl" || says
}
run_ends_by_its_time() { # a suite that has not begun by then is a line
    run m --suite "storm lock" --quick --scratch "$t_tmp" --peers uthash64 --most-s 1 || says || return 1
    grep -q '"bench":"storm".*"metric":"storm_rss"' "$t_tmp/m.jsonl" &&
        grep -q '"bench":"lock","skip":"the time of this run was over' "$t_tmp/m.jsonl"
}
hanging_tool_is_a_row() { # MS of patience; the tool that unpacks traces
    mkdir -p "$t_tmp/bin" "$t_tmp/traces"
    printf '#!/bin/sh\nexec sleep %s\n' "$hang" >"$t_tmp/bin/zstd"
    chmod +x "$t_tmp/bin/zstd"
    : >"$t_tmp/traces/some.ctr.zst"
    export PATH="$t_tmp/bin:$PATH" BENCH_TRACES="$t_tmp/traces"
    run z --suite hitratio --scratch "$t_tmp" --peers uthash1 --patience-ms "$1"
    [ $? -eq 1 ] && grep -q '"workload":"some","hang":"zstd cannot unpack it: no answer' "$t_tmp/z.jsonl" &&
        grep -q '"subject":"uthash1","workload":"mix_10","metric":"miss_ratio"' "$t_tmp/z.jsonl" &&
        no_process_is_left || says
}
malformed_public_trace_is_refused() { # refused by the tool, or truncated inside; the other traces are measured
    mkdir -p "$t_tmp/bin" "$t_tmp/public"
    printf '#!/bin/sh\nfor f; do :; done\ncase $f in *odd*) exit 1 ;; esac\ncp "$f" "$5"\n' >"$t_tmp/bin/zstd"
    chmod +x "$t_tmp/bin/zstd"
    printf 'x' >"$t_tmp/public/odd.ctr.zst"
    cp "$t_tmp/torn.ctr" "$t_tmp/public/torn.ctr.zst"
    export PATH="$t_tmp/bin:$PATH" BENCH_TRACES="$t_tmp/public"
    run y --suite hitratio --scratch "$t_tmp" --peers uthash1
    [ $? -eq 2 ] && grep -q "public/odd.ctr.zst: zstd cannot unpack it" "$t_tmp/err" &&
        grep -q "public/torn.ctr.zst: record 3: cut short" "$t_tmp/err" &&
        grep -q '"workload":"mix_10","metric":"miss_ratio"' "$t_tmp/y.jsonl" || says
}
metrics_are_those_of_the_page() { # one list, in bench/README.md and in the program
    "$bench" --metrics | cut -d' ' -f1 | sort >"$t_tmp/have"
    sed -n '/<!-- metrics:begin -->/,/<!-- metrics:end -->/p' bench/README.md | grep -o '`[a-z0-9_]*`' | tr -d '`' |
        sort >"$t_tmp/want"
    diff "$t_tmp/want" "$t_tmp/have"
}
known_metric() { # names on stdin
    while read -r m; do
        cut -d' ' -f1 "$t_tmp/metrics" | grep -qx "$m" || { echo "not on the list: $m"; return 1; }
    done
}
metrics_are_on_the_list() { # names of the targets, of the scripts of the replay and of our C sources
    "$bench" --metrics >"$t_tmp/metrics"
    awk -F'\t' '!/^#/ { print $7 }' bench/report/targets.tsv | sort -u | known_metric &&
        cat bench/suites/replay.sh bench/report/replay.awk bench/replay/replay_print.c | tr -d '\\' |
        grep -o '"metric":"[a-z0-9_]*"' | cut -d'"' -f4 | sort -u | known_metric
}
direction_of_metric_is_the_same_everywhere() { # in the program and in the table of peers
    "$bench" --metrics | awk '$1 != "scaling" { for (s = 1; s <= 2; s++)
        printf "{\"bench\":\"peers\",\"subject\":\"%s\",\"workload\":\"w\",\"metric\":\"%s\",\"value\":%d,\"rounds\":9}\n",
            s == 1 ? "moka" : "cellar", $1, s }' >"$t_tmp/m.jsonl"
    awk -v table=peers -f bench/report/lines.awk -f bench/report/tables.awk "$t_tmp/m.jsonl" >"$t_tmp/out" &&
        "$bench" --metrics | awk 'FNR == NR { first[$4] = $5; next }
            { split($0, m, " "); if (m[1] == "scaling") next; n++ }
            first[m[1]] != (m[3] == "higher" ? "cellar" : "moka") { print $0 ": first is " first[m[1]]; bad = 1 }
            END { exit bad || n < 80 }' "$t_tmp/out" -
}
unknown_peer_is_not_built() {
    for n in nobody uthash lib ../peers/moka; do
        sh bench/peers/build.sh "$t_tmp/b" "$n" >"$t_tmp/out" 2>&1
        [ $? -eq 2 ] && grep -q "no peer that is a process of its own: $n" "$t_tmp/out" || { cat "$t_tmp/out"; return 1; }
    done
}

# Drivers with planted faults: the library of the Python peers around a dict that misbehaves.
plant() { # PEER GET: name of a registered peer, body of its get
    mkdir -p "$t_tmp/s/peers"
    { echo '#!/usr/bin/env python3'
      echo 'import os, sys'
      echo "sys.path.insert(0, '$PWD/bench/peers/lib/python')"
      echo 'sys.dont_write_bytecode = True'
      echo 'import driver'
      echo 'class Planted(driver.Peer):'
      echo "    name, version, caps = '$1', '9.9', 'ttl'"
      echo '    def __init__(self, cfg): self.d, self.n, self.cfg = {}, 0, cfg'
      echo '    def set(self, key, value): self.d[key] = value'
      echo '    def count(self): return len(self.d)'
      echo '    def get(self, key):'
      echo '        self.n += 1'
      echo "        $2"
      echo '        return self.d.get(key)'
      echo 'driver.serve(Planted)'
    } >"$t_tmp/s/peers/$1"
    chmod +x "$t_tmp/s/peers/$1"
}
drivers() { # NAME PEERS OPTION...: three rounds, because the output counts, not the speed
    name=$1 names=$2
    shift 2
    printf 'trace = zipf 0.99 keys=2000 ops=4096 seed=1\nkey = 16\nvalue = 100\nops = get | get 95 set 5\nthreads = 1\n' >"$t_tmp/d.wl"
    run "$name" --workload "$t_tmp/d.wl" --rounds 3 --window-ms 4 --quick --scratch "$t_tmp/s" --peers "$names" "$@"
}
good_driver_has_rows() {
    plant cachetools pass
    drivers g cachetools || says || return 1
    grep -q '"subject":"cachetools","version":"9.9".*"metric":"get".*"hit":1,"bad":0' "$t_tmp/g.jsonl" &&
        grep -q '"subject":"cachetools".*"metric":"mix95".*"vs":"raw"' "$t_tmp/g.jsonl" &&
        ! ls "$t_tmp/s"/*.trace 2>/dev/null
}
wrong_value_of_a_driver_is_a_row() {
    plant cachetools 'if self.n % 50 == 0: return b"x" * 100'
    drivers w cachetools
    [ $? -eq 1 ] && grep -q '"subject":"cachetools".*"metric":"get".*"bad":[1-9]' "$t_tmp/w.jsonl" &&
        cat "$t_tmp/out" "$t_tmp/err" | grep -q '^wrong: d get cachetools'
}
dead_driver_is_one_row_and_others_continue() {
    plant cachetools 'if self.n == 300: os._exit(3)'
    plant theine pass
    drivers k "cachetools theine"
    [ $? -eq 1 ] && grep -q '"subject":"cachetools".*"crash":"ended with exit status 3"' "$t_tmp/k.jsonl" &&
        grep -q '"subject":"theine".*"metric":"mix95"' "$t_tmp/k.jsonl" &&
        ! grep -q '"subject":"cachetools".*"metric":"get".*"value":[0-9]' "$t_tmp/k.jsonl"
}
hanging_driver_is_one_row_and_others_continue() { # patience in ms
    plant cachetools 'if self.n == 300: driver.time.sleep(600)'
    plant theine pass
    drivers h "cachetools theine" --patience-ms "$1"
    [ $? -eq 1 ] && grep -q '"subject":"cachetools".*"hang":"no answer within' "$t_tmp/h.jsonl" &&
        grep -q '"subject":"theine".*"metric":"mix95"' "$t_tmp/h.jsonl" &&
        ! grep -q '"subject":"cachetools".*"metric":"get".*"value":[0-9]' "$t_tmp/h.jsonl"
}
hanging_replay_is_a_row() { # MS of patience; the other sizes are not tried
    plant cachetools 'if self.n == 300: driver.time.sleep(600)'
    sed -i "s/'ttl'/'entries'/" "$t_tmp/s/peers/cachetools"
    run h --suite hitratio --scratch "$t_tmp/s" --peers "cachetools uthash1" --patience-ms "$1"
    [ $? -eq 1 ] && [ "$(grep -c '"subject":"cachetools"' "$t_tmp/h.jsonl")" = 1 ] &&
        grep -q "\"subject\":\"cachetools\",\"workload\":\"mix_1\",\"hang\":\"no answer within $1 ms\"" "$t_tmp/h.jsonl" &&
        grep -q '"subject":"uthash1","workload":"mix_10","metric":"miss_ratio"' "$t_tmp/h.jsonl" || says
}
leaking_driver_is_a_row() { # MS of the window; it keeps replaced values; its neighbour does not
    plant cachetools pass
    plant theine pass
    sed -i 's/def set(self, key, value):/& self.__dict__.setdefault("kept", []).append(value);/' "$t_tmp/s/peers/cachetools"
    printf 'trace = zipf 0.99 keys=200 ops=4096 seed=1\nkey = 16\nvalue = 16384\nops = set\nthreads = 1\n' >"$t_tmp/over.wl"
    run l --workload "$t_tmp/over.wl" --rounds 9 --window-ms "$1" --quick --scratch "$t_tmp/s" --peers "cachetools theine" || says || return 1
    grep -q '"subject":"cachetools","workload":"over","leak":"grew by [0-9]* MiB while' "$t_tmp/l.jsonl" &&
        ! grep -q '"subject":"theine".*"leak":' "$t_tmp/l.jsonl"
}
foreign_trace_is_noticed() { # a driver that reads other keys is not comparable
    plant cachetools pass
    sed -i 's/^driver.serve/driver.key_bytes = lambda number, n: b"0" * n\n&/' "$t_tmp/s/peers/cachetools"
    drivers f cachetools
    grep -q '"subject":"cachetools".*"skip":"reads another trace' "$t_tmp/f.jsonl"
}
stampede_looks_at_values() { # threads that get another value than the loaded one
    plant cachetools pass
    sed -i "s/'ttl'/'load'/; s/def count/def load(self, key, f): return f()\n    &/" "$t_tmp/s/peers/cachetools"
    echo 'stampede 4 3 1' | "$t_tmp/s/peers/cachetools" | grep -q '"calls":\[4,4,4\],.*"bad":0}' || return 1
    sed -i 's/return f()/return f()[1:]/' "$t_tmp/s/peers/cachetools"
    echo 'stampede 4 3 1' | "$t_tmp/s/peers/cachetools" | grep -q '"bad":12}' || return 1
    cp "$t_tmp/s/peers/cachetools" "$t_tmp/s/peers/theine"
    run v --suite stampede --rounds 2 --scratch "$t_tmp/s" --peers theine
    [ $? -eq 1 ] && grep -q '"subject":"theine".*"metric":"load_calls".*"note":"wrong values"' "$t_tmp/v.jsonl" &&
        [ "$(grep -c '"subject":"theine".*"rounds":2' "$t_tmp/v.jsonl")" = 2 ] || says
}
refusal_and_reason_are_lines() { # a workload that a driver refuses, and a peer that was never built
    plant cachetools 'raise ValueError("no room")'
    sed -i 's/self.d, self.n, self.cfg = .*/raise ValueError("no room")/' "$t_tmp/s/peers/cachetools"
    echo 'error: rustc is too old' >"$t_tmp/s/peers/moka.skip"
    drivers r "cachetools moka otter" || says || return 1
    grep -q '"subject":"cachetools".*"skip":"no room"' "$t_tmp/r.jsonl" &&
        grep -q '"subject":"moka".*"skip":"error: rustc is too old"' "$t_tmp/r.jsonl" &&
        grep -q '"subject":"otter".*"skip":"not built: make bench-peers"' "$t_tmp/r.jsonl"
}
waiting_is_not_hidden() { # a pause of 60 ms each 3000 gets: few gets are slow, many were due meanwhile
    plant cachetools 'if self.n % 3000 == 0: driver.time.sleep(0.06)'
    run o --suite open --quick --scratch "$t_tmp/s" --peers cachetools || says || return 1
    for m in open_capacity open20_p50 open20_p99 open50_p50 open50_p99 open50_p999 open80_p50 open80_p99 open80_p999 \
        open90_p99 open90_p999; do
        [ "$(grep -c "\"metric\":\"$m\"" "$t_tmp/o.jsonl")" = 2 ] || { cat "$t_tmp/o.jsonl"; return 1; }
    done
    { echo 'fill 1000 16 100'; echo 'pace 1000 400 0'; echo 'pace 1000 400 20000'; } | "$t_tmp/s/peers/cachetools" |
        python3 -c 'import json, sys
def late(line):
    h = json.loads(line)["hist"]
    pairs = list(zip(h[::2], h[1::2]))
    return sum(n for s, n in pairs if s > 960) / sum(n for _, n in pairs)  # above 1.05 ms
rows = sys.stdin.read().splitlines()
assert late(rows[1]) < 0.05 < late(rows[2]), rows'
}
planted_bound() { # a store that reports its bytes and has no bound
    plant cachetools pass
    sed -i "s/'ttl'/'bytes'/; s/def count/def delete(self, key): self.d.pop(key, None)\n    def accounted(self): return sum(16 + len(v) for v in self.d.values())\n    &/" \
        "$t_tmp/s/peers/cachetools"
}
churn_counts_what_is_held() {
    planted_bound
    python3 -c 'import array
array.array("I", [100] * 4096 + [1000] * 4096 + [50] * 4096 + [4000] * 4096 + [8] * 4096).tofile(open("'"$t_tmp"'/len", "wb"))'
    { echo "churn $t_tmp/len 65536 131072 2000 1"; echo "churn $t_tmp/none 65536 131072 2000 1"; } |
        "$t_tmp/s/peers/cachetools" >"$t_tmp/out"
    python3 -c 'import json, sys
row, refused = [json.loads(l) for l in open(sys.argv[1])]
assert row["cut"] == 0 and row["bad"] == 0 and row["written"] >= 5 * 131072, row
assert row["accounted_max"] > 65536 and 65536 < row["held"] <= row["accounted_max"] and row["write_ns"] > 0, row
assert "error" in refused, refused' "$t_tmp/out"
}
growth_sees_the_slow_insert() { # thread CPU: a sleep costs none, a loop does
    plant cachetools pass
    sed -i 's/def set(self, key, value):/&\n        if len(self.d) == 700: sum(range(400000))\n       /' "$t_tmp/s/peers/cachetools"
    echo 'grow 1000 1500' | "$t_tmp/s/peers/cachetools" >"$t_tmp/out"
    python3 -c 'import json, sys
row = json.load(open(sys.argv[1]))
assert row["over_1ms"] >= 1 and row["max_ns"] > 1000000 and row["wall_ns"] > 0, row' "$t_tmp/out"
}
expired_entries_are_distinguished_from_new_sets() { # MS to look; this driver keeps all entries, with or without a new set
    plant cachetools pass
    echo "expire 10000 20 $1" | "$t_tmp/s/peers/cachetools" >"$t_tmp/out"
    python3 -c 'import json, sys
row = json.load(open(sys.argv[1]))
assert row["left"] == 10000 and 10 < row["anew"] < 10000, row' "$t_tmp/out"
}
accounted_bytes_of_a_driver() { # as the driver reports them
    planted_bound
    printf 'fill 500 16 100 1000000\nmem\nfill 500 16 100\n' | "$t_tmp/s/peers/cachetools" | grep -q '"accounted":58000}'
}
driver_answers_nonsense_with_an_error() {
    plant cachetools pass
    printf 'nonsense\nwindow get 1 10 0\nopen %s %s\nfill 10 16 4\nhello\n' "$t_tmp/none.wl" "$t_tmp/none.bin" |
        "$t_tmp/s/peers/cachetools" >"$t_tmp/out" && [ "$(grep -c '"error"' "$t_tmp/out")" = 4 ] &&
        grep -q '"version":"9.9"' "$t_tmp/out" || return 1
    printf 'key = 16\nspeed = 3\n' >"$t_tmp/odd.wl"
    echo "open $t_tmp/odd.wl x" | "$t_tmp/s/peers/cachetools" | grep -q 'odd.wl:2: unknown key'
}

long_list() { awk 'BEGIN { for (i = 0; i < 300; i++) printf "raw " }'; } # truncated, it would request fewer peers than given
too_long_list_is_refused() {
    refuses 'not understood' --peers "$(long_list)" && refuses 'not understood' --suite "$(long_list)"
}
torn_trace_is_refused() { # a file of records of 16 bytes that ends inside its third record
    one='\001\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000'
    # shellcheck disable=SC2059
    printf "$one$one\001\000" >"$t_tmp/torn.ctr"
    printf 'trace = file %s\nkey = 16\nvalue = 100\nops = get\nthreads = 1\n' "$t_tmp/torn.ctr" >"$t_tmp/torn.wl"
    refuses 'torn.ctr: record 3: cut short' --workload "$t_tmp/torn.wl" --peers raw
}

t_case program_builds_without_a_warning program_builds_without_a_warning
t_case unknown_suite_is_refused refuses nonsense --suite nonsense
t_case unknown_peer_is_refused refuses nobody --peers nobody
t_case unknown_option_is_refused refuses usage --frobnicate 1
t_case missing_workload_is_refused refuses 'cannot be opened' --workload "$t_tmp/none.wl"
for fact in too_long_list_is_refused torn_trace_is_refused malformed_workload_names_its_line \
    unknown_subject_of_a_workload_names_its_line workload_from_file_runs own_file_is_checked_before_the_build \
    table_of_an_own_run_is_short help_is_help compare_finds_what_is_planted missing_peers_of_a_room_are_said \
    suites_without_peers_state_it hanging_subject_is_a_row malformed_public_trace_is_refused \
    metrics_are_those_of_the_page metrics_are_on_the_list direction_of_metric_is_the_same_everywhere \
    unknown_peer_is_not_built; do
    t_case $fact $fact
done
t_case bounded_workload_runs within bounded_workload 2 20 200
t_case hanging_compiler_is_a_row within hanging_compiler_is_a_row 300 3000
t_case lost_suite_is_a_row_and_the_next_one_runs within lost_suite_is_a_row_and_the_next_one_runs 300 3000
t_case run_ends_by_its_time within run_ends_by_its_time 1000 1000 1000
t_case hanging_tool_is_a_row within hanging_tool_is_a_row 5000 30000
with_python() { # FACT COMMAND...
    if t_have python3; then t_case "$@"; else t_skip "$1" "no python3"; fi
}
for fact in any_shares_and_draws lines_are_json good_driver_has_rows wrong_value_of_a_driver_is_a_row \
    dead_driver_is_one_row_and_others_continue stampede_looks_at_values waiting_is_not_hidden churn_counts_what_is_held \
    growth_sees_the_slow_insert accounted_bytes_of_a_driver foreign_trace_is_noticed refusal_and_reason_are_lines \
    driver_answers_nonsense_with_an_error; do
    with_python $fact $fact
done
with_python hanging_driver_is_one_row_and_others_continue within hanging_driver_is_one_row_and_others_continue 1500 15000
with_python hanging_replay_is_a_row within hanging_replay_is_a_row 5000 30000
with_python leaking_driver_is_a_row within leaking_driver_is_a_row 20 200 2000
with_python expired_entries_are_distinguished_from_new_sets within expired_entries_are_distinguished_from_new_sets 40 400 4000
t_end bench_program
