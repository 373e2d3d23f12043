#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    the drop-in builds silently and passes the api tests wherever it says it does.
# Method: cells of compiler, standard and optimisation with all warnings as errors, then every
#         tests/test_api_*.c on the object. QUICK=1: one cell; by default one cell for each
#         compiler, musl, callers in C and C++, -m32; FULL=1: the 36 cells and all 64 combinations
#         of switches by two compilers.
. tests/t.sh

now_ms() { echo $(($(date +%s%N) / 1000000)); }

jobs=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
# Has this compiler made these very bytes of the library before, in a cell that passed? It does for
# other standards, and for NDEBUG.
passed_before() { # object, compiler
    for old in "$t_tmp/kept/$2."*; do
        [ -f "$old" ] && cmp -s "$1" "$old" && return 0
    done
    return 1
}
# Builds the object and every api test with it, runs them, as many at once as there are CPUs.
cell() { # folder, compiler, standard, flags...
    where=$t_tmp/$1 compiler=$2 std=$3
    shift 3
    words="-std=$std $*"
    rm -rf "$where"
    mkdir -p "$where"
    begin=$(now_ms)
    $compiler $words -frandom-seed=cellar $t_warn -Idist -c dist/cellar.c -o "$where/cellar.o" ||
        return 1
    bytes=$(size "$where/cellar.o" | awk 'END { print $1 + $2 }')
    echo "compile: $(($(now_ms) - begin)) ms, object: $bytes bytes" >"$t_tmp/measured"
    if passed_before "$where/cellar.o" "$compiler"; then
        echo "these bytes have passed before: not run again" >>"$t_tmp/measured"
        return 0
    fi
    [ -n "$(ls tests/test_api_*.c 2>/dev/null)" ] || { echo "no api tests"; return 1; }
    export compiler words where cell_libs
    ls tests/test_api_*.c | xargs -P "$jobs" -n 1 sh -c 'n=$(basename "$1" .c)
        $compiler $words -w -D_GNU_SOURCE -Idist -I. "$1" "$where/cellar.o" \
            -pthread -lm $cell_libs -o "$where/$n"' cc || return 1
    set --
    for p in "$where"/test_api_*; do set -- "$@" "t|${p##*/}|$p"; done
    sh tests/run.sh -l 600 -o "$where/log" "$@" >"$where/run" 2>&1
    status=$?
    cat "$where/run"
    if [ $status -eq 0 ]; then
        mkdir -p "$t_tmp/kept"
        mv "$where/cellar.o" "$t_tmp/kept/$compiler.$std$(echo "$*" | tr -d ' ')"
    fi
    rm -rf "$where"
    return $status
}
measured() { # fact: the case, then what it measured as a comment
    cell_libs=${cell_libs-}
    t_case "$@"
    if [ -f "$t_tmp/measured" ]; then sed "s/^/# $1: /" "$t_tmp/measured"; fi
    rm -f "$t_tmp/measured"
}
syntax() { $* -Idist -fsyntax-only dist/cellar.c; }
switches() { # compiler words: all 64 combinations, as many at once as there are CPUs
    export words="$* $t_warn" t_tmp
    awk 'BEGIN { for (i = 0; i < 64; i++) print i }' | xargs -P "$jobs" -n 1 sh -c 'set= bit=1
        for x in L2 LIMIT WORK KIT RESP TEXT; do
            [ $(($1 & bit)) -eq 0 ] || set="$set -DCELLAR_OMIT_$x"
            bit=$((bit * 2))
        done
        $words $set -Idist -c dist/cellar.c -o "$t_tmp/sw$1.o" || { echo "with$set"; exit 1; }
        rm -f "$t_tmp/sw$1.o"' cc
}
callers() { # the object is C11, its callers are not
    $CC -std=c11 -O2 -Idist -c dist/cellar.c -o "$t_tmp/cellar.o" || return 1
    for std in c99 c11 c17; do
        $CC -std=$std $t_warn -Idist -c tests/consumers/consumer.c -o "$t_tmp/caller.o" &&
            $CC "$t_tmp/caller.o" "$t_tmp/cellar.o" -pthread -o "$t_tmp/caller" &&
            "$t_tmp/caller" || return 1
    done
}
callers_cxx() {
    $CC -std=c11 -O2 -Idist -c dist/cellar.c -o "$t_tmp/cellar.o" || return 1
    for std in c++11 c++17 c++20; do
        $1 -std=$std -Wall -Wextra -Werror -Idist tests/consumers/consumer.cc "$t_tmp/cellar.o" \
            -pthread -o "$t_tmp/caller" && "$t_tmp/caller" || return 1
    done
}
static_glibc() {
    gcc -O2 -static -Idist tests/consumers/consumer.c dist/cellar.c -pthread -o "$t_tmp/static" &&
        "$t_tmp/static"
}
stripped_musl() { # size of the smallest program
    musl-gcc -O2 -static -s -Idist tests/consumers/consumer.c dist/cellar.c -o "$t_tmp/small" &&
        "$t_tmp/small" && echo "stripped: $(wc -c <"$t_tmp/small") bytes" >"$t_tmp/measured"
}
split_agrees() { # a million operations, the same digest
    $CC -O2 -Iinclude tests/consumers/trace.c "$CELLAR_A" -pthread -o "$t_tmp/split" &&
        $CC -O2 -Idist tests/consumers/trace.c dist/cellar.c -pthread -o "$t_tmp/one" || return 1
    split=$("$t_tmp/split") && one=$("$t_tmp/one") || return 1
    echo "split $split, drop-in $one"
    [ -n "$split" ] && [ "$split" = "$one" ]
}
m32_words="-m32 -idirafter /usr/include/x86_64-linux-gnu" # as src/deps.sh says
m32() {
    printf '#include <errno.h>\nint main(void){return 0;}\n' | gcc $m32_words -x c - -o "$t_tmp/m32"
}

measured gcc_c11_O2 cell gcc gcc c11 -O2
if [ "${QUICK-}" = 1 ]; then t_end packaging_dropin_cells; fi

if t_have clang; then measured clang_c17_O2_NDEBUG cell clang clang c17 -O2 -DNDEBUG
else t_skip clang_c17_O2_NDEBUG "no clang"; fi
t_case callers_in_c callers
t_case dropin_and_split_agree split_agrees
if t_have g++; then t_case callers_in_cxx callers_cxx g++; else t_skip callers_in_cxx "no g++"; fi
t_case static_glibc static_glibc
if t_have musl-gcc; then
    cell_libs=-static
    measured musl_static cell musl musl-gcc c11 -O2
    cell_libs=
    measured musl_stripped stripped_musl
else
    t_skip musl_static "no musl-gcc"
fi
if m32 2>/dev/null; then t_case m32_compiles syntax gcc $m32_words -O2 $t_warn
else t_skip m32_compiles "no gcc-12-multilib"; fi
t_case no_common_compiles syntax gcc -fno-common $t_warn
t_case unsigned_char_compiles syntax gcc -funsigned-char $t_warn
if [ "${FULL-}" != 1 ]; then
    t_case all_switches_at_once syntax gcc -DCELLAR_OMIT_L2 -DCELLAR_OMIT_LIMIT -DCELLAR_OMIT_WORK \
        -DCELLAR_OMIT_KIT -DCELLAR_OMIT_RESP -DCELLAR_OMIT_TEXT $t_warn
    t_end packaging_dropin_cells
fi

for compiler in gcc clang clang-19; do
    for std in c11 c17 gnu17; do
        for flags in -O0 -O2 '-O2 -DNDEBUG' '-O3 -flto'; do
            fact=$(echo "${compiler}_${std}_$flags" | sed 's/ -/_/g; s/-//g')
            if t_have $compiler; then measured "$fact" cell c $compiler $std $flags
            else t_skip "$fact" "no $compiler"; fi
        done
    done
done
t_case switches_compile_gcc switches gcc -std=c11 -O0
if t_have clang; then t_case switches_compile_clang switches clang -std=c11 -fsyntax-only
else t_skip switches_compile_clang "no clang"; fi
t_end packaging_dropin_cells
