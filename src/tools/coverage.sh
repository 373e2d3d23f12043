#!/bin/sh
# SPDX-License-Identifier: MIT
#
# coverage: which lines, branches and decisions of src/core and src/guests the tests run.
#
# USE        make coverage [T="l1_* limit_*"] [SHARE=1]      -> build/coverage.md
# WALK       proof.mk builds and runs three parts, each in a build folder of its own:
#                ends      programs that end by themselves, with MC/DC
#                killed    programs that fork: their children are killed or leave by _exit, which
#                          write no profile. Their counters are pages of a file (%c), and the
#                          compiler counts no MC/DC there
#                sim       the schedule simulation, which forks as well: columns of its own
#            Each program writes one profile for each process (%p); `run` merges them when the
#            program has ended. `export` writes PART.lcov and PART.json, `report` reads them.
# COUNTED    Lines and functions of the .c and .h files. Branches of .c files with those of macros,
#            of .h files without. Asserts (BASE_ASSERT, BASE_REQUIRE) are left out. MC/DC of
#            decisions that stand outside macros. What a test includes as a .c file, or calls in a
#            program that it does not link (cellar, the module for Python), is not counted.
# CALLS      sh src/tools/coverage.sh run PROGRAM [WORDS]          COVERAGE=PART, CELLAR_BUILD
#            sh src/tools/coverage.sh export PART OBJECT           OBJECT has the mappings
#            sh src/tools/coverage.sh report                       prints the page
set -u
LC_ALL=C
export LC_ALL
out=build/coverage
: "${COV_DATA:=llvm-profdata-19}" "${COV_EXPORT:=llvm-cov-19}" "${AWK:=awk}"

run() {
    raw=$PWD/$CELLAR_BUILD/profiles/${1##*/}
    rm -f "$raw"-*.profraw
    case $COVERAGE in ends) pages= ;; *) pages=%c ;; esac
    LLVM_PROFILE_FILE="$raw-%p$pages.profraw" "$@"
    status=$?
    set -- "$raw"-*.profraw
    if [ -e "$1" ]; then
        $COV_DATA merge -sparse -failure-mode=all -o "$raw.profdata" "$@" >&2 && rm -f "$@"
    fi
    return $status
}

export_part() { # part, object
    mkdir -p $out
    # A program that ran out of time leaves its profiles unmerged.
    $COV_DATA merge -sparse -failure-mode=all -o $out/"$1.profdata" "$CELLAR_BUILD"/profiles/*.prof* &&
        $COV_EXPORT export -format=lcov -instr-profile=$out/"$1.profdata" "$2" >$out/"$1.lcov" &&
        $COV_EXPORT export -skip-functions -skip-expansions -instr-profile=$out/"$1.profdata" "$2" |
        sed 's/"filename"/\
&/g' >$out/"$1.json"
}

report() {
    set --
    for part in ends killed sim; do
        for f in $out/$part.lcov $out/$part.json; do [ -s "$f" ] && set -- "$@" "$f"; done
    done
    [ $# -gt 0 ] || { echo "coverage: no program wrote a profile" >&2; return 1; }
    $AWK -v commit="$(git rev-parse --short=12 HEAD 2>/dev/null)" -v day="$(date -u +%Y-%m-%d)" \
        -v runs="$(cat $out/*.said 2>/dev/null | sed 's/$/;/' | tr '\n' ' ')" -f src/tools/coverage.awk "$@"
}

case ${1-} in
run) shift && run "$@" ;;
export) export_part "$2" "$3" ;;
report) report ;;
*) exit 2 ;;
esac
