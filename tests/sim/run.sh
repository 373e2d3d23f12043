#!/bin/sh
# SPDX-License-Identifier: MIT
#
# run: what `make check` does with the simulation: every scenario for its share of SIM_SECONDS (70),
# then every seeded mistake. Ends with the sum of both closing lines.
set -u
LC_ALL=C
export LC_ALL
here=${0%/*}
sim=${CELLAR_SIM:-build/sim}
log=$(mktemp) || exit 2
trap 'rm -f "$log"' EXIT
"$sim" --check "${SIM_SECONDS:-70}" | tee "$log"
sh "$here/mutants.sh" | tee -a "$log"
awk '/^(sim|mutants): [0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$/ {
    p += $2; f += $4; s += $6; lines++
} END {
    if (lines != 2) f++
    printf "simulation: %d passed, %d failed, %d skipped\n", p, f, s
    exit f > 0 || p == 0
}' "$log"
