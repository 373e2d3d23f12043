#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    Larger counts of the disk tier: 21,000 random crash states and 17,000 subsets of short
#         traces, 420 kills (45 of them on a disk), 18 for each promise of one change, bits, bytes,
#         runs and sectors of a store and 1,700 mutants under ASan and UBSan, 300,000 entries that
#         expire together.
# Method: The programs of `make test` with larger counts, two at a time. PROOF_TIMES=n: n times all
#         counts, except the entries, and the bits: every 1024th, from 2 on every 16th. SEED selects
#         them (1,000,000 kills: 2,400).
: "${MAKE:=make}"
times=${PROOF_TIMES:-1}
seed=${SEED:-random}
if [ "$seed" = random ]; then seed=$(od -An -N4 -tu4 /dev/urandom | tr -d ' '); fi
programs="l2_crash l2_kill l2_damage l2_expiry cache_kill"
log=build/proof-log
unset T SAN DROPIN
: "${CELLAR_BUILD:=$($MAKE --no-print-directory -s where)}"
$MAKE --no-print-directory test-programs T="$programs" NOLINK=1 >/dev/null || exit 2
san="SAN=address,undefined NOLINK=1 T=l2_damage"
# shellcheck disable=SC2086 # words are meant to be split
$MAKE --no-print-directory test-programs $san >/dev/null || exit 2
# shellcheck disable=SC2086
checked=$($MAKE --no-print-directory -s where $san)/t

# The sanitizer keeps freed memory for some lives, not for a thousand, and call stacks of a few
# frames: this takes a third of the time. SEED repeats a report with the full settings.
asan=quarantine_size_mb=4:thread_local_quarantine_size_kb=64:malloc_context_size=4
asan=$asan${ASAN_OPTIONS:+:$ASAN_OPTIONS}

item() { # LABEL NUMBER PROGRAM SETTINGS CASE
    echo "t|$1 $2|SEED=$((seed + $2 * 10000000 * times)) $4 $3 $5"
}
# First the item that waits for the disk: it leaves a processor to the others. Then the longest
# ones.
kill="$CELLAR_BUILD/t/test_l2_kill"
set -- "$(item "kills on disk" 1 "$kill" KILL_DISK=$((45 * times)) disk)" \
    "$(item "kills on tmpfs" 1 "$kill" KILL_CYCLES=$((375 * times)) tmpfs)"
for c in durable written each; do
    set -- "$@" "$(item "kills, $c" 1 "$CELLAR_BUILD/t/test_cache_kill" \
        CACHE_KILL_CYCLES=$((18 * times)) $c)"
done
if [ "$times" -gt 1 ]; then step=16; else step=1024; fi
for c in any_bit_of_a_closed any_bit_of_a_killed any_byte four_zeros a_run_of_bytes a_lost_sector; do
    set -- "$@" "$(item "damage, $c" 1 "$checked/test_l2_damage" \
        "ASAN_OPTIONS=$asan DAMAGE_STEP=$step" $c)"
done
set -- "$@" "$(item "crash states" 1 "$CELLAR_BUILD/t/test_l2_crash" \
    CRASH_STATES=$((21000 * times)) every_crash)"
for c in closed killed; do
    set -- "$@" "$(item "mutants, $c" 1 "$checked/test_l2_damage" \
        "ASAN_OPTIONS=$asan DAMAGE_MUTANTS=$((850 * times))" mixtures_in_a_$c)"
done
set -- "$@" "$(item subsets 1 "$CELLAR_BUILD/t/test_l2_crash" \
    "CRASH_SUBSETS=$((17000 * times)) CRASH_LOOSE=13" every_subset)" \
    "$(item expiry 1 "$CELLAR_BUILD/t/test_l2_expiry" EXPIRY_KEYS=300000 all_entries)"
sh tests/support/run.sh -l $((600 * times)) -o $log -n l2_proof "$@"
