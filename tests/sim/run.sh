#!/bin/sh
# SPDX-License-Identifier: MIT
#
# run: what `make check` does with the simulation: every scenario for its share of SIM_SECONDS (70);
# the table of flights SIM_FLIGHTS times (1,000,000) and 15 s more, so that it is the larger of a
# million schedules and half a minute; then every seeded mistake. Ends with the sum of the closing
# lines.
set -u
LC_ALL=C
export LC_ALL
here=${0%/*}
sim=${CELLAR_SIM:-build/sim}
log=$(mktemp) || exit 2
trap 'rm -f "$log"' EXIT
"$sim" --check "${SIM_SECONDS:-70}" | tee "$log"
flights=${SIM_FLIGHTS:-1000000}
"$sim" --scenario flight_table --seed 1 --seeds "$flights" | tee -a "$log"
"$sim" --check 15 --scenario flight_table --seed $((flights + 1)) | tee -a "$log"
sh "$here/mutants.sh" | tee -a "$log"
awk '/^(sim|mutants): [0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$/ {
    p += $2; f += $4; s += $6; lines++
} END {
    if (lines != 4) f++
    printf "simulation: %d passed, %d failed, %d skipped\n", p, f, s
    exit f > 0 || p == 0
}' "$log"
