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
"$program" --capacity=1%,5%,10% --json="$out" "$tmp/mix.txt"

# The cost of adaptation where almost every get misses: both policies in turn, 7 rounds, of each
# size the median of the rounds' ratios; the least of the sizes counts.
adaptation() { # TRACE CAPACITIES
    i=0
    while [ $i -lt 7 ]; do
        "$program" --seeds=1 --policy=s3fifo,adaptive --capacity="$2" --json="$tmp/cost.jsonl" "$1" >/dev/null
        i=$((i + 1))
    done
    awk -F'[:,"]+' '{ for (k = 1; k < NF; k++) v[$k] = $(k + 1)
        n[v["subject"], v["capacity"]]++; c[v["capacity"]]
        ns[v["subject"], v["capacity"], n[v["subject"], v["capacity"]]] = v["ns_per_request"] }
        END { low = 9; for (x in c) { m = 0
                  for (i = 1; i <= 7; i++) r[i] = ns["cellar-s3fifo", x, i] / ns["cellar-adaptive", x, i]
                  for (i = 1; i <= 7; i++) { below = 0; for (k = 1; k <= 7; k++)
                      below += r[k] < r[i] || (r[k] == r[i] && k < i); if (below == 3) m = r[i] }
                  printf "adaptive at %s entries: %.3f of the throughput of s3fifo\n", x, m
                  if (m < low) low = m }
              printf "{\"bench\":\"replay\",\"subject\":\"cellar-adaptive\",\"workload\":\"missheavy\"," \
                  "\"metric\":\"throughput\",\"vs\":\"cellar-s3fifo\",\"value\":%.4f}\n", low }' \
        "$tmp/cost.jsonl" >"$tmp/cost"
    grep -v '^{' "$tmp/cost"
    grep '^{' "$tmp/cost" >>"$out"
}
if [ -f "${BENCH_TRACES:-/nowhere}/arc_p3.ctr.zst" ]; then
    adaptation "$BENCH_TRACES/arc_p3.ctr.zst" 5%,10%,20%
else
    awk 'BEGIN { srand(9); for (i = 0; i < 300000; i++)
             print rand() < .85 ? "s" i : "z" int(exp(rand() * log(20000))) }' >"$tmp/miss.txt"
    adaptation "$tmp/miss.txt" 5%,10%,20%
fi
if [ -z "${BENCH_TRACES:-}" ] || [ ! -f "$BENCH_TRACES/reference.csv" ]; then
    echo "public traces left out: BENCH_TRACES is not a folder with reference.csv"
    exit 0
fi
# The cells of the reference: bounded by entries, and by the memory that holds as many entries.
# The times of mode object are figures, so it runs in one process.
report=$dir/../report
jobs=$(getconf _NPROCESSORS_ONLN)
for mode in object budget; do
    n=$jobs
    [ $mode != object ] || n=1
    "$program" --mode=$mode --jobs="$n" --policy=adaptive,s3fifo,lru,fifo,w-tinylfu \
        --json="$tmp/$mode.jsonl" "$BENCH_TRACES"/*.ctr.zst >"$tmp/tables"
    cat "$tmp/$mode.jsonl" >>"$out"
    echo "bounded by $([ $mode = object ] && echo entries || echo memory_bytes):"
    awk -v lines=1 -v mode=$mode -f "$report/lines.awk" -f "$report/replay.awk" \
        "$BENCH_TRACES/reference.csv" "$tmp/$mode.jsonl" >"$tmp/figures"
    grep -v '^{' "$tmp/figures"
    grep '^{' "$tmp/figures" >>"$out"
done

# Sizes counted, misses of objects: our admission by size and GDSF, traces with sizes of their own.
"$program" --seeds=1 --mode=byte --jobs="$jobs" --favor=objects --policy=adaptive,exact-fifo,gdsf \
    --json="$tmp/bytes.jsonl" "$BENCH_TRACES/web_1999.ctr.zst" \
    "$BENCH_TRACES/web_forum2012.ctr.zst" "$BENCH_TRACES/cp_vscsi.ctr.zst" >/dev/null
awk -F'[:,"]+' '{ for (k = 1; k < NF; k++) v[$k] = $(k + 1)
        sum[v["subject"]] += v["reduction"]; n[v["subject"]]++ }
    END { if (n["cellar-adaptive"] != n["gdsf"] || sum["gdsf"] <= 0) exit
          printf "object misses saved, adaptive by size: %.3f of those of GDSF, %d cells\n",
              sum["cellar-adaptive"] / sum["gdsf"], n["gdsf"]
          printf "{\"bench\":\"replay\",\"subject\":\"cellar-adaptive\",\"workload\":\"bytes\"," \
              "\"metric\":\"object_reduction\",\"vs\":\"gdsf\",\"value\":%.4f}\n",
              sum["cellar-adaptive"] / sum["gdsf"] }' "$tmp/bytes.jsonl" >"$tmp/figures"
grep -v '^{' "$tmp/figures"
grep '^{' "$tmp/figures" >>"$out"

# Hit ratios that the advisor states for eight sizes, against runs at those sizes, from 1,000
# entries on.
"$program" --advisor --jobs="$jobs" --policy=adaptive \
    --json="$tmp/advice.jsonl" "$BENCH_TRACES"/*.ctr.zst >/dev/null
awk -F'"value":' '/"subject":"advisor"/ { sum += $2 + 0; n++; if ($2 + 0 > worst) worst = $2 + 0 }
    END { if (n == 0) exit
          printf "advisor: %d cells, mean error %.2f points, worst %.2f\n", n, sum / n, worst
          printf "{\"bench\":\"replay\",\"subject\":\"advisor\",\"workload\":\"public\"," \
              "\"metric\":\"advice_error\",\"unit\":\"points\",\"value\":%.4f}\n", sum / n }' \
    "$tmp/advice.jsonl" >"$tmp/figures"
grep -v '^{' "$tmp/figures"
grep '^{' "$tmp/figures" >>"$out"
