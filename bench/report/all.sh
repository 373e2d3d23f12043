#!/bin/sh
# SPDX-License-Identifier: MIT
#
# all: every suite of bench/results.md one after the other, then the page.
#
# USE      all.sh FOLDER MINUTES     (make bench-all)
# WALK     the suites with their weights -> each gets its part of the time that is left and writes
#          FOLDER/all/COMMIT/SUITE.jsonl -> the report of that folder.
# REST     The lines of a suite that ended stay. A rerun of the same commit runs only the others.
#          A suite that an interrupt ended begins from its first line.
# TIME     No workload of a suite begins after its part. Suites of one subject after the other go on,
#          so that no subject is missing: twice the part, or half of the time left, ends them, and
#          what they printed counts. Below 60 minutes windows are short (--quick), and the page says so.
# AGAIN    A suite with noisy rows of ours is measured again while time is left; the run with fewer of
#          them stays. Suite peers has the workloads of l1.
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

# Names and parts, in tens of seconds of an hour: what users ask comes first. Suites without a limit
# of their own take as long as they need there; l2, with what users ask first, is behind those of
# one subject after the other. The list may be given, for a test.
suites=${BENCH_ALL:-'peers:85 servers:8 limit:4 stampede:2 hitratio:25 scale:38 sceptic:17 memory:16 grow:17
    churn:17 storm:12 expire:12 open:22 l2:32 objects:6 lock:2 load:4 kit:6 work:8 port:5 remote:6 workers:6
    hot:3 many:4 pin:2 dropin:4 replay:4'}
measure() { # COMMAND...: within `most` seconds
    # In the background, since a trap runs only when the shell itself waits.
    timeout -k 5 $most "$@" &
    child=$!
    wait $child
}
run() { # SUITE SECONDS: lines into the folder once the suite has ended
    part=$lines/$1.part
    rm -f "$part"
    set -- "$1" "$2" "$folder/cellar-bench" --suite "$1" $quick --most-s "$2" --json "$part"
    suite=$1 most=$(($2 * 2 > left / 2 ? $2 * 2 : left / 2))
    shift 2
    case $suite in
    replay) measure sh bench/suites/replay.sh build/cellar-replay "$part" ;;
    grow | memory) measure "$@" --all-subjects ;;
    churn) measure "$@" && measure "$@" --all-subjects ;; # floors, then all peers
    *) measure "$@" ;;
    esac
    case $? in 129 | 130 | 143) return 1 ;; esac # ended from outside; a crash is a row
    [ ! -f "$part" ] || mv "$part" "$lines/$suite.jsonl"
}
child=
trap '[ -z "$child" ] || kill $child 2>/dev/null; exit 130' INT TERM HUP
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
noisy() { grep -c '"subject":"cellar",.*"note":"noisy"' "$1"; }
for s in $suites; do
    name=${s%:*} left=$((end - $(date +%s)))
    [ -f "$lines/$name.jsonl" ] && [ $left -gt 60 ] && before=$(noisy "$lines/$name.jsonl") || continue
    echo "bench-all: $name again, $before noisy rows"
    mv "$lines/$name.jsonl" "$lines/$name.before"
    run "$name" $((left / 2)) || { mv "$lines/$name.before" "$lines/$name.jsonl"; exit 1; }
    [ -f "$lines/$name.jsonl" ] && [ "$(noisy "$lines/$name.jsonl")" -lt "$before" ] ||
        mv "$lines/$name.before" "$lines/$name.jsonl"
    rm -f "$lines/$name.before"
done
sh bench/report/report.sh ${quick} "$lines"
