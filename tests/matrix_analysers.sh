#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    static analysers have nothing to say, and other machines can build and run the drop-in.
# Method: cppcheck, gcc -fanalyzer and clang --analyze over the sources, asserts visible to them; a
#         cross build for aarch64 whose api tests run under qemu-user.
. tests/t.sh
sources=$(ls src/*/*.c | grep -v '^src/base/sim.c')
id='-DCELLAR_SOURCE_ID="0" -DBASE_DEBUG=1'

cppcheck_is_silent() {
    cppcheck -q $id --std=c11 --enable=warning,portability --inline-suppr --error-exitcode=1 \
        -D__linux__ -D__GNUC__=12 -D__STDC_VERSION__=201112L -D__x86_64__ \
        -D__ORDER_LITTLE_ENDIAN__=1 -D__BYTE_ORDER__=1 \
        --suppress=missingIncludeSystem -Iinclude -Isrc $sources
}
# One source a time, or the analyser runs out of memory. Left out is what gcc 12 cannot see through a
# call, an array or a loop: 30 false alarms of uninitialised values, leaks and null pointers, which
# MSan, LeakSanitizer and clang look for in its place.
gcc_is_silent() {
    for s in $sources; do
        gcc -std=c11 -D_GNU_SOURCE $id -Iinclude -Isrc -O1 -fanalyzer -Werror -c "$s" \
            -Wno-analyzer-use-of-uninitialized-value -Wno-analyzer-malloc-leak \
            -Wno-analyzer-null-dereference -o /dev/null || return 1
    done
}
clang_is_silent() {
    for s in $sources; do
        $1 --analyze -Xanalyzer -analyzer-werror -std=c11 -D_GNU_SOURCE $id -Iinclude -Isrc "$s" \
            -o /dev/null || return 1
    done
}
aarch64() {
    aarch64-linux-gnu-gcc -std=c11 -O2 $t_warn -Idist -c dist/cellar.c -o "$t_tmp/a64.o" || return 1
    t_have qemu-aarch64 || { echo "built, not run"; return 0; }
    for t in tests/test_api_*.c; do
        aarch64-linux-gnu-gcc -std=c11 -O2 -static -D_GNU_SOURCE -Idist -I. "$t" "$t_tmp/a64.o" \
            -pthread -lm -o "$t_tmp/a64" && T_SLOW=20 timeout 900 qemu-aarch64 "$t_tmp/a64" || return 1
    done
}

if t_have cppcheck; then t_case cppcheck_is_silent cppcheck_is_silent
else t_skip cppcheck_is_silent "no cppcheck"; fi
t_case gcc_analyzer_is_silent gcc_is_silent
for c in clang clang-19; do
    if t_have $c; then t_case "${c}_analyzer_is_silent" clang_is_silent $c
    else t_skip "${c}_analyzer_is_silent" "no $c"; fi
done
if t_have aarch64-linux-gnu-gcc; then t_case aarch64_api_tests aarch64
else t_skip aarch64_api_tests "no aarch64-linux-gnu-gcc"; fi
t_end matrix_analysers
