#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    test_log_kill finds each mistake of tests/unit/core/l2/mutants: a rule of the log that is
#         left out. Without a mistake it passes.
# Method: all patches in one copy of src/, one program; LOG_MUTANT chooses a mistake. Three seeds,
#         each with as many crashes as `make test`.
. tests/support/t.sh
here=tests/unit/core/l2
copy=$t_tmp/copy/src/core
export T_SHARE=4
: "${CELLAR_LIBS=-llz4}" "${SEED:=1}"

if ! t_have patch; then
    t_skip each_mutant_is_found "patch is not installed"
    t_end log_mutants
fi
plant() {
    mkdir -p "$t_tmp/copy" && cp -R src "$t_tmp/copy" || return 1
    for diff in $here/mutants/*.diff; do
        patch -s -f -N -F 0 -p1 --no-backup-if-mismatch -r - -d "$t_tmp/copy" <"$diff" || return 1
    done
}
build() {
    $MAKE --no-print-directory test-programs T=log_kill NOLINK=1 &&
        lib=$($MAKE --no-print-directory -s where)/dbg-all.a || return 1
    # shellcheck disable=SC2086 # words are meant to be split
    $CC -D_GNU_SOURCE -iquote "$copy" -Iinclude -Isrc/core -Isrc \
        -I. -DBASE_DEBUG=1 -std=c11 -O1 -pthread -include tests/support/log_mutant.h \
        -o "$t_tmp/mutants" $here/test_log_kill.c "$lib" -lm $CELLAR_LIBS
}
passes() { SEED=$SEED "$t_tmp/mutants"; }
is_found() {
    for seed in $SEED $((SEED + 1)) $((SEED + 2)); do
        SEED=$seed LOG_MUTANT=$1 "$t_tmp/mutants" || return 0
    done
    return 1
}

t_case patches_apply plant
t_case program_builds build
t_case program_without_a_mutant_passes passes
for diff in $here/mutants/*.diff; do
    m=$(basename "$diff" .diff)
    t_case "$(echo "$m" | tr . _)_is_found" is_found "$m"
done
t_end log_mutants
