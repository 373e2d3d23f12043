#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    the drop-in builds silently and passes the api tests wherever it says it does.
# Method: cells of compiler, standard and optimisation with all warnings as errors, then every
#         tests/api/test_api_*.c on the object. The cells are those of the pair cellar_all, but
#         cache_*, which are of the pair cellar, with the api tests that need no guest. QUICK=1: one
#         cell of the cache. By default: one cell that SEED draws: clang or musl with all
#         api tests (a quarter of the repetitions), or -m32 (three api tests). FULL=1: all of these cells,
#         the 36 cells, all repetitions and, of both pairs, all 8 combinations of switches by two compilers.
. tests/support/t.sh
consumers=tests/package/consumers
[ "${FULL-}" = 1 ] || export T_SHARE=4

jobs=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
mkdir -p "$t_tmp/obj" "$t_tmp/passed"
: >"$t_tmp/cells"
export t_tmp t_warn

plan() { # FACT COMPILER STANDARD FLAG...: a cell; planned twice it is one
    grep -q "^$1 " "$t_tmp/cells" || echo "$*" >>"$t_tmp/cells"
}
compile() { # the object of every cell, one for each CPU at a time
    awk '{ print NR }' "$t_tmp/cells" | xargs -P "$jobs" -n 1 sh -c '
        set -- $(sed -n "${1}p" "$t_tmp/cells")
        fact=$1 compiler=$2 std=$3
        shift 3
        case $fact in cache_*) pair=cellar ;; *) pair=cellar_all ;; esac
        $compiler -std=$std $* -frandom-seed=cellar $t_warn -Idist -c dist/$pair.c \
            -o "$t_tmp/obj/$fact.o" >"$t_tmp/obj/$fact.said" 2>&1 || rm -f "$t_tmp/obj/$fact.o"' compile
}
# Has this compiler produced the same bytes of the library before, in a cell that passed? It does
# for other standards, and for NDEBUG. The sections of -flto differ between standards even where the
# code is the same: there the cell without -flto must be the same.
passed_before() { # fact, compiler
    for old in "$t_tmp/passed/$2".*; do
        [ -f "$old" ] || continue
        old=${old##*/$2.}
        case $1-$old in
        *_flto-*_flto) one=${1%_O3_flto}_O2 other=${old%_O3_flto}_O2 ;;
        *) one=$1 other=$old ;;
        esac
        if cmp -s "$t_tmp/obj/$one.o" "$t_tmp/obj/$other.o"; then return 0; fi
    done
    return 1
}
# The objects of the api tests, once for each compiler, and once more with -flto. Callers are not
# optimized, whatever the flags of the library: optimizing them takes as long as the library. They
# are linked into one program, so that the work of -flto is done once. The test with a cache that is
# open before main stays alone.
tests_of() { # PAIR: the sources of its api tests
    case $1 in
    cellar) grep -L -e '"cellar_\(batch\|bus\|kit\|refresh\|resp\|schedule\|task\|work\)\.h"' \
        -e '"tests/support/\(port_kit\|rules\|policy_kit\)\.h"' tests/api/test_api_*.c ;;
    *) ls tests/api/test_api_*.c ;;
    esac
}
callers_of() { # pair, folder, compiler, words...
    of=$1
    shift
    [ ! -f "$1/all.o" ] || return 0
    mkdir -p "$1"
    where=$1 compiler=$2
    shift 2
    words=$*
    export where compiler words
    tests_of "$of" | xargs -P "$jobs" -n 1 sh -c 'n=$(basename "$1" .c) main=
        [ $n = test_api_process ] || main="-DT_TOGETHER -Dmain=main_of_$n"
        $compiler $words -w -D_GNU_SOURCE -Idist -Idist/include -I. $main -c "$1" \
            -o "$where/$n.o"' cc || return 1
    for n in "$where"/test_api_*.o; do echo "$n"; done | awk '{
        sub(/.*\//, ""); sub(/\.o$/, "")
        if ($0 == "test_api_process") next
        print "int main_of_" $0 "(int argc, char **argv);"
        calls = calls "    if (strcmp(argv[1], \"" $0 "\") == 0) { return main_of_" $0 \
            "(argc - 1, argv + 1); }\n"
    }
    END {
        printf "#include <string.h>\nint main(int argc, char **argv)\n{\n%s    return 2;\n}\n", calls
    }' >"$where/all.c"
    $compiler $words -c "$where/all.c" -o "$where/all.o"
}
built() { # fact
    cat "$t_tmp/obj/$1.said"
    [ -f "$t_tmp/obj/$1.o" ]
}
# Run the api tests on the object of a cell.
cell() { # fact
    set -- $(grep "^$1 " "$t_tmp/cells")
    fact=$1 compiler=$2 pair=cellar_all
    case $fact in cache_*) pair=cellar ;; esac
    words="-std=$3"
    shift 3
    words="$words $*"
    built "$fact" || return 1
    if passed_before "$fact" "$compiler"; then return 0; fi
    api=$t_tmp/api/$pair-$compiler
    case $words in
    *-flto*) api=$api-flto ;;
    *) words=-std=c11 ;;
    esac
    callers_of $pair "$api" $compiler $words || return 1
    case $compiler$words in gcc*-flto*) words="$words -flto=$jobs" ;; esac
    where=$t_tmp/run
    rm -rf "$where"
    mkdir -p "$where"
    $compiler $words "$api/test_api_process.o" "$t_tmp/obj/$fact.o" -pthread -lm $cell_libs \
        -o "$where/alone" &&
        $compiler $words "$api/all.o" $(ls "$api"/test_api_*.o | grep -v test_api_process) \
            "$t_tmp/obj/$fact.o" -pthread -lm $cell_libs -o "$where/all" || return 1
    set -- "t|test_api_process|$where/alone"
    for n in $(tests_of $pair); do
        n=$(basename "$n" .c)
        [ "$n" = test_api_process ] || set -- "$@" "t|$n|$where/all $n"
    done
    sh tests/support/run.sh -l 600 -o "$where/log" "$@" || return 1
    : >"$t_tmp/passed/$compiler.$fact"
}
syntax() { $* -Idist -fsyntax-only dist/cellar_all.c; }
compiles() { $* -Idist -c dist/cellar_all.c -o "$t_tmp/o.o"; } # warnings of the optimizer count, too
switches() { # WORDS of a compiler: both pairs, all 8 combinations, one for each CPU at a time
    export words="$* $t_warn" t_tmp
    awk 'BEGIN { for (i = 0; i < 16; i++) print i }' | xargs -P "$jobs" -n 1 sh -c 'set= bit=1
        for x in L2 LIMIT TEXT; do
            [ $(($1 & bit)) -eq 0 ] || set="$set -DCELLAR_OMIT_$x"
            bit=$((bit * 2))
        done
        pair=cellar
        [ "$1" -lt 8 ] || pair=cellar_all
        $words $set -Idist -c dist/$pair.c -o "$t_tmp/sw$1.o" || { echo "$pair with$set"; exit 1; }
        rm -f "$t_tmp/sw$1.o"' cc
}
omits() { # what the object without all parts refuses, and what it still does
    cat >"$t_tmp/omits.c" <<'END'
#include "cellar.h"
int main(void)
{
    cellar_config cfg = cellar_config_default();
    cellar_policy_rule rule = cellar_policy_rule_default();
    cellar_tier_table table = cellar_tier_table_default();
    cellar *c;
    char got[2];
    size_t len = 0;
    rule.pattern = "*";
    cfg.rules = &rule;
    cfg.rule_count = 1;
    if (cellar_open(&cfg, &c) != CELLAR_E_UNSUPPORTED) { return 1; }
    cfg = cellar_config_default();
    cfg.l2_path = "omits.l2";
    cfg.l2_bytes = 64u << 20;
    cellar_l2_config disk = cellar_l2_config_default();
    cfg.l2 = &disk;
    if (cellar_open(&cfg, &c) != CELLAR_E_UNSUPPORTED) { return 2; }
    if (cellar_open(NULL, &c) != CELLAR_OK) { return 3; }
    if (cellar_policy_set(c, &rule, 1) != CELLAR_E_UNSUPPORTED) { return 4; }
    if (cellar_tier_attach(c, &table) != CELLAR_E_UNSUPPORTED) { return 5; }
    if (cellar_set(c, "k", 1, "v", 1, NULL) != CELLAR_OK) { return 6; }
    if (cellar_get(c, "k", 1, got, sizeof got, &len) != CELLAR_OK || got[0] != 'v') { return 7; }
    return cellar_close(c) == CELLAR_OK ? 0 : 8;
}
END
    gcc -D_GNU_SOURCE $all_omits -Idist "$t_tmp/omits.c" "${object%.o}_omit.o" -pthread -o "$t_tmp/omits" && "$t_tmp/omits"
}
split_agrees() { # a million operations, the same digest
    $CC -O2 -Iinclude -include cellar_admin.h $consumers/trace.c "$CELLAR_A" ${CELLAR_LIBS-} -pthread -o "$t_tmp/split" &&
        $CC -O2 -Idist $consumers/trace.c "$object" -pthread -o "$t_tmp/one" || return 1
    split=$("$t_tmp/split") && one=$("$t_tmp/one") || return 1
    echo "split $split, drop-in $one"
    [ -n "$split" ] && [ "$split" = "$one" ]
}
m32_words="-m32 -idirafter /usr/include/x86_64-linux-gnu" # as src/tools/deps.sh says
m32() {
    printf '#include <errno.h>\nint main(void){return 0;}\n' | gcc $m32_words -x c - -o "$t_tmp/m32"
}

m32_runs() { # the object that m32_compiles left
    gcc $m32_words -O2 -Idist $consumers/consumer.c "$t_tmp/o.o" -pthread -o "$t_tmp/run32" &&
        "$t_tmp/run32"
}
m32_passes() { # a test of the public calls
    gcc $m32_words -w -D_GNU_SOURCE -Idist -Idist/include -I. "tests/api/test_api_$1.c" \
        "$t_tmp/o.o" -pthread -lm \
        -o "$t_tmp/api32" && "$t_tmp/api32"
}
packs_by_a_switch() { # what is a skip without the switch runs with it
    $CC -D_GNU_SOURCE -DCELLAR_WITH_LZ4 -std=c11 -O0 -Idist -Idist/include -I. $t_warn \
        tests/api/test_api_disk.c dist/cellar.c -pthread -lm -llz4 -o "$t_tmp/packs" &&
        "$t_tmp/packs" compressed_namespace_holds_more_on_disk >"$t_tmp/said" &&
        grep 'api_disk: 1 passed, 0 failed, 0 skipped' "$t_tmp/said"
}

# The loaded sizes of README.md are within 2 % of the figures that `make figures` prints.
readme_sizes() {
    said=$(sed -n 's/^loaded size is \([0-9]*\) KB (.*), \([0-9]*\) KB with all .* has \([0-9]*\) KB\.$/\1 \2 \3/p' \
        README.md)
    echo "README.md: $said KB; figures: $(size "$object" "${object%.o}_omit.o" "$t_tmp/obj/gcc_c11_O2.o" |
        awk 'NR > 1 { printf "%.1f ", ($1 + $2) / 1000 }')" | tee "$t_tmp/sizes"
    awk '{ exit !(NF == 9 && near($2, $7) && near($3, $8) && near($4, $9)) }
        function near(a, b) { return a > b * 0.98 && a < b * 1.02 }' "$t_tmp/sizes"
}

all_omits=$(grep -o 'defined(CELLAR_OMIT_[A-Z0-9]*)' dist/cellar.c | sed 's/defined(\(.*\))/-D\1/' | sort -u)
object=$t_tmp/obj/cache_gcc_c11_O2.o
# Each of these takes one to two minutes: SEED decides between them.
others=$(for compiler in clang musl-gcc; do ! t_have $compiler || echo $compiler; done
    ! m32 2>/dev/null || echo m32)
has_turn() { # COMPILER
    [ "${FULL-}" = 1 ] || [ "$(echo "$others" |
        sed -n "$((${SEED:-0} % $(echo "$others" | wc -l) + 1))p")" = $1 ]
}
plan gcc_c11_O2 gcc c11 -O2
plan cache_gcc_c11_O2 gcc c11 -O2
# shellcheck disable=SC2086 # words are meant to be split
plan cache_gcc_c11_O2_omit gcc c11 -O2 $all_omits
if [ "${QUICK-}" != 1 ]; then
    if t_have clang && has_turn clang; then plan clang_c17_O2_DNDEBUG clang c17 -O2 -DNDEBUG; fi
    if t_have musl-gcc && has_turn musl-gcc; then plan musl_static musl-gcc c11 -O2; fi
fi
if [ "${FULL-}" = 1 ]; then
    for compiler in gcc clang clang-19; do
        t_have $compiler || { t_skip "cells_of_$compiler" "no $compiler"; continue; }
        for flags in -O0 -O2 '-O2 -DNDEBUG' '-O3 -flto'; do
            for std in c11 c17 gnu17; do
                plan "$(echo "${compiler}_${std}_$flags" | sed 's/ -/_/g; s/-O/O/')" \
                    $compiler $std $flags
            done
        done
    done
fi
compile

case ${FULL-}$others in
1* | m32 | '') t_case gcc_c11_O2 cell gcc_c11_O2 ;;
*) t_case gcc_c11_O2 built gcc_c11_O2 ;;
esac
if [ "${QUICK-}${FULL-}" = "" ]; then t_case cache_gcc_c11_O2 built cache_gcc_c11_O2
else t_case cache_gcc_c11_O2 cell cache_gcc_c11_O2; fi
t_case cache_gcc_c11_O2_omit built cache_gcc_c11_O2_omit
t_case omitted_parts_are_refused omits
gcc_of_readme=$(sed -n 's/.*by `size`, gcc \([0-9.]*\) -O2.*/\1/p' README.md 2>/dev/null)
case $(gcc -dumpfullversion) in
${gcc_of_readme:-none}*) t_case sizes_of_the_readme_are_true readme_sizes ;;
*) t_skip sizes_of_the_readme_are_true "README.md has sizes of gcc ${gcc_of_readme:-none}" ;;
esac
if [ "${QUICK-}" = 1 ]; then t_end packaging_dropin_cells; fi

if ! t_have clang; then t_skip clang_c17_O2_DNDEBUG "no clang"
elif has_turn clang; then t_case clang_c17_O2_DNDEBUG cell clang_c17_O2_DNDEBUG
else t_case clang_c17_DNDEBUG_compiles syntax clang -std=c17 -DNDEBUG $t_warn; fi
t_case dropin_and_split_agree split_agrees
if ! t_have musl-gcc; then
    t_skip musl_static "no musl-gcc"
elif has_turn musl-gcc; then
    cell_libs=-static
    t_case musl_static cell musl_static
    cell_libs=
else
    t_case musl_compiles syntax musl-gcc -std=c11 $t_warn
fi
if ! m32 2>/dev/null; then
    t_skip m32_compiles "no gcc-12-multilib"
elif has_turn m32; then
    t_case m32_compiles compiles gcc $m32_words -O1 $t_warn
    if "$t_tmp/m32" 2>/dev/null; then
        t_case m32_runs m32_runs
        tests="semantics namespaces process"
        if [ "${FULL-}" = 1 ]; then
            tests=$(ls tests/api/test_api_*.c | sed 's/.*_api_//; s/\.c$//')
        fi
        for n in $tests; do t_case "m32_$n" m32_passes "$n"; done
    else
        t_skip m32_runs "no 32-bit programs here"
    fi
else
    t_case m32_has_no_warning syntax gcc $m32_words $t_warn
fi
t_case no_common_compiles syntax gcc -fno-common $t_warn
t_case unsigned_char_compiles syntax gcc -funsigned-char $t_warn
if echo '#include <lz4.h>' | $CC -E - >"$t_tmp/said" 2>&1; then
    t_case lz4_comes_with_a_switch packs_by_a_switch
else
    t_skip lz4_comes_with_a_switch "no lz4.h"
fi
if [ "${FULL-}" != 1 ]; then
    t_case all_switches_at_once syntax gcc $all_omits $t_warn
    t_end packaging_dropin_cells
fi

for fact in $(awk 'NR > 1 && $1 !~ /^cache_/ && $1 != "clang_c17_O2_DNDEBUG" && $1 != "musl_static" { print $1 }' \
    "$t_tmp/cells"); do
    t_case $fact cell $fact
done
t_case switches_compile_gcc switches gcc -std=c11 -O0
if t_have clang; then t_case switches_compile_clang switches clang -std=c11 -fsyntax-only
else t_skip switches_compile_clang "no clang"; fi
t_end packaging_dropin_cells
