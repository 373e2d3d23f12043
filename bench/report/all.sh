#!/bin/sh
# SPDX-License-Identifier: MIT
#
# all: every suite of bench/results.md one after the other, then the page.
#
# USE      all.sh FOLDER MINUTES     (make bench-all)
# WALK     the suites with their weights -> each gets its part of the time that is left and writes
#          FOLDER/all/COMMIT/SUITE.jsonl -> workloads with noisy rows again, until the time is over
#          -> the report of that folder.
# REST     The lines of a suite that ended stay. A rerun of the same commit runs only the others.
#          A suite that an interrupt ended begins from its first line.
# TIME     No workload of a suite begins after its part. Suites of one subject after the other go
#          on, so that no subject is missing: twice the part, or half of the time left, ends them,
#          and what they printed counts. Below 60 minutes windows are short (--quick), and the page
#          says so.
# AGAIN    A workload with noisy rows of the page runs again, at most three times. The lines of the
#          run with fewer noisy rows stay. Suite peers has the workloads of l1.
# TRACES   Suite replay reads BENCH_TRACES; suite hitratio reads it from MINUTES=120 on.
# COMMIT   of library, harness and peers: changes of texts alone are no other commit. Remove the
#          lines of a suite that changed, and run it again.
set -u
LC_ALL=C
export LC_ALL
folder=$1 minutes=$2
case $minutes in '' | *[!0-9]* | 0) echo "bench-all: MINUTES=$minutes must be a number from 1" >&2; exit 2 ;; esac
BENCH_COMMIT=$(git log -1 --format=%h -- src include Makefile bench/harness \
    bench/peers ':!*.md' 2>/dev/null)
BENCH_COMMIT=${BENCH_COMMIT:-none}
[ "$BENCH_COMMIT" = none ] ||
    git diff --quiet HEAD -- src include Makefile bench/suites bench/harness bench/peers bench/mixes ||
    BENCH_COMMIT=$BENCH_COMMIT-dirty
BENCH_SERVE=$folder/serve
export BENCH_COMMIT BENCH_SERVE
quick=
[ "$minutes" -ge 60 ] || quick=--quick
lines=$folder/all/$BENCH_COMMIT${quick:+-short}
mkdir -p "$lines"

# Names and parts, in tens of seconds of a run of 77 minutes. Suites for questions of users and
# short suites come first, long suites without a floor last. Suites without a limit of their own
# take the time that they need there. A test may give the list.
suites=${BENCH_ALL:-'peers:115 servers:10 limit:5 stampede:3 lock:1 load:4 kit:7 work:8 port:6
    remote:6 workers:6 hot:4 many:7 pin:4 objects:9 dropin:11 scale:50 l2:34 hitratio:26 replay:30
    memory:18 storm:12 grow:18 churn:18 expire:16 open:22 sceptic:14'}
measure() { # COMMAND...: within `most` seconds; status 1 if it was ended from outside
    # In the background, since a trap runs only when the shell itself waits.
    timeout -k 5 $most "$@" &
    child=$!
    wait $child
    case $? in 129 | 130 | 143) return 1 ;; esac # a crash is a row
}
traces=${BENCH_TRACES:-}
[ "$minutes" -ge 120 ] || traces=
run() { # SUITE SECONDS OPTIONS...: lines into $part
    suite=$1 share=$2 most=$(($2 * 2 > left / 2 ? $2 * 2 : left / 2))
    part=$lines/$suite.part
    rm -f "$part"
    shift 2
    set -- "$folder/cellar-bench" --suite "$suite" $quick --most-s "$share" --json "$part" "$@"
    case $suite in
    replay) measure sh bench/suites/replay.sh build/cellar-replay "$part" ;;
    hitratio) measure env BENCH_TRACES="$traces" "$@" ;;
    grow) measure "$@" --all-subjects ;;
    memory) measure "$@" --all-subjects && measure "$@" --peers cellar_object ;;
    churn) measure "$@" && measure "$@" --all-subjects ;; # floors, then all peers
    *) measure "$@" ;;
    esac
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
    echo "bench-all: $name, $((share > 0 ? share : 1)) s of $left"
    run "$name" $((share > 0 ? share : 1)) || { echo "bench-all: $name was ended: run it again" >&2; exit 1; }
    [ ! -f "$part" ] || mv "$part" "$lines/$name.jsonl"
done
# FILE: print workloads with rows of ours that are noisy in each state, and the counts
noisy() {
    ${AWK:-awk} -f bench/report/lines.awk -f - bench/report/targets.tsv "$1" <<'P'
FNR == NR { split($0, cell, "\t"); wanted[cell[8]] = 1; next }
/"subject":"cellar/ && /"metric":/ && (!/"vs":/ || text("vs") in wanted) {
    row = text("workload") SUBSEP number("threads") SUBSEP text("metric") SUBSEP text("subject") \
          SUBSEP text("vs") SUBSEP text("clock")
    if (text("note") == "noisy") of[row] = text("workload"); else clean[row] = 1
}
END { for (row in of) if (!(row in clean)) n[of[row]]++; for (w in n) print w, n[w] }
P
}
again() { # SUITE: measure its noisy workloads once more
    file=$lines/$1.jsonl
    noisy "$file" >"$lines/before"
    [ -s "$lines/before" ] || return 0
    names=$(cut -d ' ' -f 1 "$lines/before" | tr '\n' ' ')
    echo "bench-all: $1 again, noisy rows in $names"
    run "$1" $left --only "${names% }" || exit 1
    [ -f "$part" ] || return 0
    noisy "$part" >"$lines/after"
    while read -r name count; do
        now=$(sed -n "s/^$name //p" "$lines/after")
        grep -q "\"workload\":\"$name\".*\"metric\"" "$part" &&
            [ "${now:-0}" -lt "$count" ] || continue
        { grep -v "\"workload\":\"$name\"" "$file"
            grep "\"workload\":\"$name\"" "$part"; } >"$part.both"
        mv "$part.both" "$file"
    done <"$lines/before"
    rm -f "$part" "$lines/before" "$lines/after"
}
for pass in 1 2 3; do
    for s in $suites; do
        left=$((end - $(date +%s)))
        [ ! -f "$lines/${s%:*}.jsonl" ] || [ $left -lt 60 ] || again "${s%:*}"
    done
done
sh bench/report/report.sh ${quick} "$lines"
