#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    Each patch of tests/concurrency/mutants applies to the sources, alone and with all others,
#         and has its line in mutants.txt. A patch that does not, and a name on one side only, are
#         refused.
# Method: plant.sh here, then on scratch copies with one fault each.
. tests/support/t.sh
mutants=tests/concurrency/mutants
listed=tests/concurrency/sim/mutants.txt

if ! t_have patch; then
    t_skip every_patch_applies "patch is not installed"
    t_end packaging_mutants
fi
planted() { sh $mutants/plant.sh "$t_tmp/planted"; }
each_alone() {
    for diff in "$mutants"/*.diff; do
        patch -s -f -N -F 0 -p1 --dry-run -r - <"$diff" || { echo "$diff"; return 1; }
    done
}
fresh() { # a scratch copy of what plant.sh reads, with one patch
    rm -rf "$t_tmp/tree"
    mkdir -p "$t_tmp/tree/$mutants" "$t_tmp/tree/tests/concurrency/sim"
    cp -R src "$t_tmp/tree" && cp $mutants/plant.sh $mutants/lock.release_blind.diff \
        "$t_tmp/tree/$mutants" &&
        cp tests/concurrency/sim/*.c $listed "$t_tmp/tree/tests/concurrency/sim"
}
refused() { # words of the complaint
    (cd "$t_tmp/tree" && sh $mutants/plant.sh "$t_tmp/planted") >"$t_tmp/said" 2>&1 && return 1
    cat "$t_tmp/said"
    grep -qF -e "$1" "$t_tmp/said"
}
stale_patch() {
    fresh && : >"$t_tmp/tree/src/core/lock/lock.c" &&
        refused "$mutants/lock.release_blind.diff does not apply"
}
patch_without_a_line() {
    fresh && sed '/^lock.release_blind /d' $listed >"$t_tmp/tree/$listed" &&
        refused "lock.release_blind has no line in $listed"
}
line_without_a_patch() {
    fresh && rm "$t_tmp/tree/$mutants/lock.release_blind.diff" &&
        refused "lock.release_blind of $listed is planted by no patch"
}
patch_of_another_name() {
    fresh && (cd "$t_tmp/tree/$mutants" && mv lock.release_blind.diff lock.released.diff) &&
        refused "$mutants/lock.released.diff plants: lock.release_blind"
}

t_case every_patch_applies_and_has_its_line planted
t_case each_patch_applies_alone each_alone
t_case stale_patch_is_refused stale_patch
t_case patch_without_a_line_is_refused patch_without_a_line
t_case line_without_a_patch_is_refused line_without_a_patch
t_case patch_of_another_name_is_refused patch_of_another_name
t_end packaging_mutants
