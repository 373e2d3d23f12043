#!/bin/sh
# SPDX-License-Identifier: MIT
#
# replay.sh: the suite `replay`: miss ratios of the engine on real traces, and on a mix made here.
#
# USE        sh bench/suites/replay.sh PROGRAM OUT.jsonl     (make bench SUITE=replay)
#            BENCH_TRACES  a folder of *.ctr.zst with reference.csv (trace,size_fraction,capacity,
#                          policy,miss_ratio); without it only the generated mix is run
# PRINTS     the mix's table; then for each policy the mean reduction of FIFO's misses, the worst
#            cell above exact LRU, cells won, and the differences from the reference
#            (bench/report/replay.awk says how they are defined). OUT gets every line.
set -eu
program=$1 out=$2
dir=$(dirname "$0")
tmp=$(mktemp -d "${TMPDIR:-/tmp}/cellar-replay.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

# 60,000 draws with a skew, a loop over 3,000 keys, a scan of 30,000, the draws again.
awk 'function draw() { return int(exp(rand() * log(20000))) }
     BEGIN { srand(7)
             for (i = 0; i < 60000; i++) print "z" draw()
             for (i = 0; i < 30000; i++) print "l" i % 3000
             for (i = 0; i < 30000; i++) print "s" i
             for (i = 0; i < 60000; i++) print "z" draw() }' >"$tmp/mix.txt"
"$program" --policy=adaptive,s3fifo,lru,fifo,exact-lru --capacity=1%,5%,10% --json="$out" \
    "$tmp/mix.txt"
if [ -z "${BENCH_TRACES:-}" ] || [ ! -f "$BENCH_TRACES/reference.csv" ]; then
    echo "public traces left out: BENCH_TRACES is not a folder with reference.csv"
    exit 0
fi
"$program" --policy=adaptive,s3fifo,lru,fifo,w-tinylfu --json="$tmp/public.jsonl" \
    "$BENCH_TRACES"/*.ctr.zst >"$tmp/tables"
cat "$tmp/public.jsonl" >>"$out"
report=$dir/../report
awk -v lines=1 -f "$report/lines.awk" -f "$report/replay.awk" "$BENCH_TRACES/reference.csv" \
    "$tmp/public.jsonl" >"$tmp/figures"
grep -v '^{' "$tmp/figures"
grep '^{' "$tmp/figures" >>"$out"
