#!/bin/sh
# SPDX-License-Identifier: MIT
#
# mutants: run every seeded mistake of mutants.txt; each must be caught.
#
# USE        sh tests/concurrency/sim/mutants.sh [part of a mutant's name]
#            CELLAR_MUTANTS=program (build/sim-mutants)
# VERDICT    a mutant is caught when the program ends with 1 within 60 s of CPU time and its seeds; one
#            that no run met is a failure. The patches and the names are one more verdict, that of
#            plant.sh. Ends with "mutants: N passed, N failed, N skipped".
set -u
LC_ALL=C
export LC_ALL
sim=${CELLAR_MUTANTS:-build/sim-mutants}
here=${0%/*}
only=${1-}
passed=0 failed=0
if [ ! -x "$sim" ]; then
    echo "mutants: there is no $sim; make build/sim-mutants"
    echo "mutants: 0 passed, 1 failed, 0 skipped"
    exit 1
fi

verdict() { # ok|not ok, text
    if [ "$1" = ok ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
    echo "$1 $((passed + failed)) - $2"
}

run_mutant() { # name scenario seeds
    start=$(date +%s)
    out=$(ulimit -t 60
          timeout -k 1 400 "$sim" --scenario "$2" --mutant "$1" --seed 1 --seeds "$3" 2>&1)
    status=$?
    spent=$(($(date +%s) - start))
    if [ $status -eq 1 ]; then
        seed=$(echo "$out" | sed -n 's/.* --seed \([0-9]*\).*/\1/p' | head -n 1)
        verdict ok "$1: caught by $2 at seed ${seed:-1}, $spent s"
    elif [ $status -eq 0 ]; then
        verdict "not ok" "$1: survived $3 seeds of $2 ($(echo "$out" | sed -n 's/.*, //p' | head -n 1))"
    else
        verdict "not ok" "$1: no verdict from $2 within 60 s of CPU time (status $status)"
    fi
}

if [ -z "$only" ]; then
    copy=$(mktemp -d) || exit 2
    trap 'rm -rf "$copy"' EXIT
    if sh "$here/../mutants/plant.sh" "$copy"; then
        verdict ok "every patch applies and has its line"
    else
        verdict "not ok" "every patch applies and has its line"
    fi
fi
while read -r name scenario seeds; do
    case $name in *"$only"*) run_mutant "$name" "$scenario" "$seeds" ;; esac
done <<EOF
$(sed 's/#.*//' "$here/mutants.txt" | awk 'NF == 3')
EOF
echo "mutants: $passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
