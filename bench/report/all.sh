#!/bin/sh
# SPDX-License-Identifier: MIT
#
# all: every suite of bench/results.md one after the other, then the page.
#
# USE      all.sh FOLDER MINUTES     (make bench-all)
# WALK     the suites with their weights -> each gets its part of the time that is left and writes
#          FOLDER/all/COMMIT/SUITE.jsonl -> the report of that folder.
# AGAIN    The lines of a suite that ended stay. A rerun of the same commit runs only the others.
#          A suite that an interrupt ended begins from its first line.
# TIME     Nothing new of a suite begins after its part; twice its part ends it, and what it printed
#          counts. Below 60 minutes windows are short (--quick), and the page says so.
# COMMIT   of the sources that are measured: changes of texts alone are no other commit.
set -u
LC_ALL=C
export LC_ALL
folder=$1 minutes=$2
case $minutes in '' | *[!0-9]* | 0) echo "bench-all: MINUTES=$minutes must be a number from 1" >&2; exit 2 ;; esac
BENCH_COMMIT=$(git rev-parse --short HEAD 2>/dev/null || echo none)
[ "$BENCH_COMMIT" = none ] ||
    git diff --quiet HEAD -- src include Makefile bench/suites bench/harness bench/peers bench/mixes ||
    BENCH_COMMIT=$BENCH_COMMIT-dirty
BENCH_SERVE=$folder/serve
export BENCH_COMMIT BENCH_SERVE
quick=
[ "$minutes" -ge 60 ] || quick=--quick
lines=$folder/all/$BENCH_COMMIT${quick:+-short}
mkdir -p "$lines"

# Names and weights: what users ask comes first. The list may be given, for a test.
suites=${BENCH_ALL:-'peers:24 hitratio:14 scale:10 l2:14 grow:6 memory:5 churn:6 open:8 storm:4 stampede:2
    expire:4 limit:4 servers:6 l1:6 many:3 hot:3 pin:2 lock:2 load:3 objects:4 dropin:2 kit:4 work:6
    port:4 remote:5 workers:4 replay:4'}
run() { # SUITE SECONDS: lines into the folder once the suite has ended
    part=$lines/$1.part
    rm -f "$part"
    case $1 in
    replay) timeout -k 5 $(($2 * 2)) sh bench/suites/replay.sh build/cellar-replay "$part" ;;
    *) timeout -k 5 $(($2 * 2)) "$folder/cellar-bench" --suite "$1" $quick --most-s "$2" --json "$part" ;;
    esac
    status=$?
    [ $status -lt 128 ] || [ $status -eq 137 ] || return 1
    [ ! -f "$part" ] || mv "$part" "$lines/$1.jsonl"
}
trap 'exit 130' INT TERM HUP
weights=0
for s in $suites; do [ -f "$lines/${s%:*}.jsonl" ] || weights=$((weights + ${s#*:})); done
end=$(($(date +%s) + minutes * 60))
for s in $suites; do
    name=${s%:*} weight=${s#*:}
    if [ -f "$lines/$name.jsonl" ]; then
        echo "bench-all: $name is there"
        continue
    fi
    left=$((end - $(date +%s)))
    [ $left -gt 0 ] || { echo "bench-all: no time is left for $name: run it again"; continue; }
    share=$((left * weight / weights))
    weights=$((weights - weight))
    echo "bench-all: $name, $((share > 0 ? share : 1)) s"
    run "$name" $((share > 0 ? share : 1)) || { echo "bench-all: $name was ended: run it again" >&2; exit 1; }
done
sh bench/report/report.sh ${quick} "$lines"
