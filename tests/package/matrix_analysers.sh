#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    Static analysers report nothing, and other machines can build and run the drop-in.
# Method: cppcheck, gcc -fanalyzer and clang --analyze over the sources, with asserts visible; a
#         cross build for aarch64; its api tests run under qemu-user.
. tests/support/t.sh
make -s page || exit 1
sources=$(ls src/*/*.c src/*/*/*.c bench/replay/*.c bench/replay/policies/*.c)
jobs=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)

cppcheck_is_silent() {
    cppcheck -q '-DCELLAR_SOURCE_ID="0"' -DBASE_DEBUG=1 --std=c11 \
        --enable=warning,portability --inline-suppr --error-exitcode=1 \
        -D__linux__ -D__GNUC__=12 -D__STDC_VERSION__=201112L -D__x86_64__ \
        -D__ORDER_LITTLE_ENDIAN__=1 -D__BYTE_ORDER__=1 \
        --suppress=missingIncludeSystem -I. -Iinclude -Isrc -Isrc/core -Isrc/guests -Ibuild/made $sources
}
# One source at a time, or gcc's analyser runs out of memory.
each() { # shell command; "$1" is the source
    printf '%s\n' $sources | xargs -P "$jobs" -n 1 sh -c "$1" each
}
gcc_is_silent() {
    each 'gcc -std=c11 -D_GNU_SOURCE -DCELLAR_SOURCE_ID="\"0\"" -DBASE_DEBUG=1 -I. -Iinclude -Isrc -Isrc/core -Isrc/guests -Ibuild/made -O1 \
            -fanalyzer -fdiagnostics-path-format=none -Werror -c "$1" -o /dev/null'
}
clang_is_silent() {
    export analyser="$1"
    each '$analyser --analyze -Xanalyzer -analyzer-werror -std=c11 -D_GNU_SOURCE -DBASE_DEBUG=1 \
        -DCELLAR_SOURCE_ID="\"0\"" -I. -Iinclude -Isrc -Isrc/core -Isrc/guests -Ibuild/made "$1" -o /dev/null'
}
# Under qemu-user a program takes about twenty times as long: T_SLOW says so.
aarch64() {
    aarch64-linux-gnu-gcc -std=c11 -O2 $t_warn -Idist -c dist/cellar_all.c -o "$t_tmp/a64.o" || return 1
    t_have qemu-aarch64 || { echo "built, not run"; return 0; }
    export t_tmp T_SLOW=20
    printf '%s\n' tests/api/test_api_*.c | xargs -P "$jobs" -n 1 sh -c 'p=$t_tmp/$(basename "$1" .c)
        aarch64-linux-gnu-gcc -std=c11 -O2 -static -D_GNU_SOURCE -Idist -Idist/include -I. "$1" \
            "$t_tmp/a64.o" -pthread -lm -o "$p"' each || return 1
    set --
    for p in "$t_tmp"/test_api_*; do set -- "$@" "t|${p##*/}|qemu-aarch64 $p"; done
    sh tests/support/run.sh -l 2700 -o "$t_tmp/log" "$@"
}

if t_have cppcheck; then t_case cppcheck_is_silent cppcheck_is_silent
else t_skip cppcheck_is_silent "no cppcheck"; fi
t_case gcc_analyzer_is_silent gcc_is_silent
for c in clang clang-19; do
    if t_have $c; then t_case "${c}_analyzer_is_silent" clang_is_silent $c
    else t_skip "${c}_analyzer_is_silent" "no $c"; fi
done
# The compiler may be installed without the headers of its libc.
if echo '#include <errno.h>' | aarch64-linux-gnu-gcc -E - >/dev/null 2>&1
then t_case aarch64_api_tests aarch64
else t_skip aarch64_api_tests "no aarch64-linux-gnu-gcc, or no headers for it"; fi
t_end matrix_analysers
