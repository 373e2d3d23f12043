#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    the public headers are clean C99, C11, C17 and C++11, 17, 20; the wrapper C++17, 20.
# Method: each header twice in a file of its own, and all in both orders, by every compiler there is,
#         warnings are errors; the headers of the drop-in's pairs as well. Without FULL=1 a header
#         is alone only in the oldest C and C++, and the wrapper is C++17 in include/, C++20 in dist/.
. tests/support/t.sh
warn_cxx="-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wundef -Wzero-as-null-pointer-constant \
  -Wold-style-cast -Werror"
warn_c="$t_warn -Wc++-compat -Wcast-qual -Wwrite-strings"

alone() { # headers to include in one file
    for h; do printf '#include "%s"\n' "$h"; done >"$t_tmp/h.$suffix"
    echo 'extern int x;' >>"$t_tmp/h.$suffix"
    $compiler $words -I"$folder" -fsyntax-only "$t_tmp/h.$suffix"
}
try() { # folder of the headers, language words, compiler: each twice, all in both orders
    folder=$1 words=$2 compiler=$3 forward='' backward=''
    for a in "$folder"/cellar*.h; do
        case ${FULL-}$words in
        1* | *std=c99* | *std=c++11*) alone "${a##*/}" "${a##*/}" || return 1 ;;
        esac
        forward="$forward ${a##*/}" backward="${a##*/} $backward"
    done
    # shellcheck disable=SC2086 # words are meant to be split
    alone $forward && alone $backward
}
wrapper() { # folder, words, compiler: cellar.hpp twice, and each function with its types
    folder=$1 words=$2 compiler=$3 suffix=cc
    alone cellar.hpp cellar.hpp &&
        $compiler $words -I"$folder" -fsyntax-only tests/examples/cpp_wrapper.cc
}
wrapper_without_limits() { # the drop-in without parts and texts
    suffix=cc folder=dist words='-std=c++17 -DCELLAR_OMIT_LIMIT -DCELLAR_OMIT_TEXT' compiler=$1
    alone cellar.hpp
}
pulls_in_little() { # only stddef, stdint, stdbool and what they need themselves
    printf '#include "cellar.h"\n' >"$t_tmp/h.c"
    ! $CC -std=c99 -Iinclude -M "$t_tmp/h.c" | tr ' ' '\n' |
        grep -E '/(stdio|stdlib|string|time|unistd|pthread|errno|fcntl|uthash|sys/(types|time))\.h'
}

case_with() { # COMPILER FACT COMMAND..: a case, or a skip without the compiler
    if t_have "$1"; then
        shift
        t_case "$@"
    else
        t_skip "$2" "no $1"
    fi
}
headers_in() { # SUFFIX WORDS STANDARD COMPILER
    suffix=$1
    for folder in include dist; do
        case_with "$4" "${folder}_headers_in_$3_$4" try $folder "-std=$3 $2" "$4"
    done
}
for std in c99 c11 c17; do
    for c in gcc clang clang-19; do headers_in c "$warn_c" $std $c; done
done
for std in c++11 c++17 c++20; do
    for c in g++ clang++ clang++-19; do headers_in cc "$warn_cxx" $std $c; done
done
for c in g++ clang++ clang++-19; do
    for row in c++17:include c++20:dist c++17:dist c++20:include; do
        case ${FULL-}$row in 1* | c++17:include | c++20:dist) ;; *) continue ;; esac
        std=${row%:*} folder=${row#*:}
        case_with $c "${folder}_wrapper_in_${std}_$c" wrapper $folder "-std=$std $warn_cxx -Wnon-virtual-dtor" $c
    done
    case_with $c wrapper_without_limits_and_texts_$c wrapper_without_limits $c
done
t_case header_pulls_in_little pulls_in_little
t_end packaging_header
