#!/bin/sh
# SPDX-License-Identifier: MIT
#
# run: the simulation of `make check-matrix`: each scenario for its share of SIM_SECONDS (60), then
# SIM_FLIGHTS schedules (1,000,000) of the table of flights, from SEED. `make check` does less. Ends
# with the sum of the closing lines.
set -u
LC_ALL=C
export LC_ALL
sim=${CELLAR_SIM:-build/sim}
log=$(mktemp) || exit 2
trap 'rm -f "$log"' EXIT
"$sim" --work "${SIM_SECONDS:-60}" | tee "$log"
"$sim" --scenario flight_table --seeds "${SIM_FLIGHTS:-1000000}" | tee -a "$log"
awk '/^sim: [0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$/ {
    p += $2; f += $4; s += $6; lines++
} END {
    if (lines != 2) f++
    printf "simulation: %d passed, %d failed, %d skipped\n", p, f, s
    exit f > 0 || p == 0
}' "$log"
