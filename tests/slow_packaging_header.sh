#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    The public headers are clean C99, C11, C17 and C++11, 17, 20.
# Method: Each header alone in a file, twice in one file, and in pairs, by every installed compiler,
#         with warnings as errors; the header of the drop-in as well.
. tests/t.sh
warn_cxx="-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wundef -Wzero-as-null-pointer-constant \
  -Wold-style-cast -Werror"
warn_c="$t_warn -Wc++-compat -Wcast-qual -Wwrite-strings"

alone() { # headers to include in one file
    for h; do printf '#include "%s"\n' "$h"; done >"$t_tmp/h.$suffix"
    echo 'extern int x;' >>"$t_tmp/h.$suffix"
    $compiler $words -I"$folder" -fsyntax-only "$t_tmp/h.$suffix"
}
try() { # folder of the headers, language words, compiler: all alone, twice, and in pairs
    folder=$1 words=$2 compiler=$3
    for a in "$folder"/cellar*.h; do
        for b in "$folder"/cellar*.h; do
            alone "${a##*/}" "${b##*/}" || return 1
        done
        alone "${a##*/}" || return 1
    done
}
pulls_in_little() { # only stddef, stdint, stdbool and their own includes
    printf '#include "cellar.h"\n' >"$t_tmp/h.c"
    ! $CC -std=c99 -Iinclude -M "$t_tmp/h.c" | tr ' ' '\n' |
        grep -E '/(stdio|stdlib|string|time|unistd|pthread|errno|fcntl|uthash|sys/(types|time))\.h'
}

for compiler in gcc clang clang-19; do
    for std in c99 c11 c17; do
        for folder in include dist; do
            suffix=c
            fact="${folder}_headers_in_${std}_$compiler"
            if t_have $compiler; then
                t_case "$fact" try $folder "-std=$std $warn_c" $compiler
            else
                t_skip "$fact" "no $compiler"
            fi
        done
    done
done
for compiler in g++ clang++ clang++-19; do
    for std in c++11 c++17 c++20; do
        for folder in include dist; do
            suffix=cc
            fact="${folder}_headers_in_${std}_$compiler"
            if t_have $compiler; then
                t_case "$fact" try $folder "-std=$std $warn_cxx" $compiler
            else
                t_skip "$fact" "no $compiler"
            fi
        done
    done
done
t_case header_pulls_in_little pulls_in_little
t_end packaging_header
