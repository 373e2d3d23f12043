#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    The drop-in is as documented: a pair of files, reproducible, silent, closed.
# Method: dist/ is generated in other folders, locales and awks, and compiled in the ways of users,
#         also in wrong ways. The full matrix is tests/package/slow_packaging_dropin.sh with FULL=1.
. tests/support/t.sh

generate() { # folder, awk, more words for make -> checksums
    rm -rf "$1/t"
    mkdir -p "$1/t"
    cp -R src include Makefile LICENSE "$1/t"
    (cd "$1/t" && ALL_LIBS= $MAKE -s dropin AWK="$2" SOURCE_ID='0 test' $3 &&
        cksum dist/cellar.h dist/cellar.c dist/cellar_all.h dist/cellar_all.c)
}
first() { generate "$t_tmp/a" awk >"$t_tmp/first" && cat "$t_tmp/first"; }
equal() { "$@" >"$t_tmp/again" && diff "$t_tmp/first" "$t_tmp/again"; }
in_locale() { LC_ALL=tr_TR.UTF-8 LANG=tr_TR.UTF-8 generate "$t_tmp/b c" awk; }

compiles() { $CC -Idist "$@" -c dist/cellar.c -o "$t_tmp/o.o"; }
silent() { compiles "$@" >"$t_tmp/said" 2>&1 && ! grep . "$t_tmp/said"; }
# A run of a share uses -O0, where one compilation takes 5 s; a full run uses -O2.
level=-O2
[ "${T_SHARE:-1}" = 1 ] || level=-O0
# If the compiler of this build has just compiled it with these words, its output is the answer.
silent_with_warnings() {
    made=${CELLAR_DIST-}
    if [ "$made" -nt dist/cellar.c ] && [ -f "$made.said" ] && has_words "$made.words"; then
        ! grep . "$made.said"
    else
        silent -std=c11 $level $t_warn
    fi
}
has_words() { # FILE: it contains the words that the compiler would get
    for word in -std=c11 $level $t_warn; do
        [ "$word" = -Werror ] || grep -q -e " $word " "$1" || return 1
    done
}
plain() { # leaves an object
    if [ $level = -O0 ] && [ "${CELLAR_DIST-}" -nt dist/cellar.c ]; then
        cp "$CELLAR_DIST" "$t_tmp/o.o"
        understood >"$t_tmp/said" 2>&1 && ! grep . "$t_tmp/said"
    else
        silent
    fi
}
understood() { $CC -Idist "$@" -fsyntax-only dist/cellar.c; }
# The message comes first: as C++ the whole file would give errors for half a minute.
refused() { # MESSAGE WORD...: compiling fails and states the reason
    message=$1
    shift
    ! $CC -Wfatal-errors -Idist "$@" -o "$t_tmp/o.o" >"$t_tmp/said" 2>&1 && grep "$message" "$t_tmp/said"
}
# With enums of one byte a definition with uint32_t for an enum of its prototype does not compile. The headers
# refuse such enums, too.
enums_agree() {
    ! understood -w -fshort-enums >"$t_tmp/said" 2>&1 && ! $CC -Idist -w -fshort-enums -fsyntax-only \
        dist/cellar_all.c >>"$t_tmp/said" 2>&1 && grep -q cellar_enums_are_int "$t_tmp/said" &&
        ! grep 'conflicting types' "$t_tmp/said"
}
names_the_compiler() { # make, and the amalgamation, where no compiler is
    mkdir "$t_tmp/no" && cp -R src include Makefile LICENSE "$t_tmp/no" && cd "$t_tmp/no" || return 1
    for goal in lib dropin; do
        $MAKE -s $goal CC=no-such-compiler >said 2>&1
        status=$?
        cat said
        [ $status -eq 2 ] && grep -q '^the compiler `no-such-compiler` does not work: install the packages gcc' said &&
            ! grep -q 'uthash.h is missing' said || return 1
    done
}
late() { # standard: system headers first, then cellar.c
    printf '%s\n' '#include <stdio.h>' '#include <fcntl.h>' '#include <time.h>' \
        '#include "cellar.c"' >"$t_tmp/late.c"
    refused "put #define _GNU_SOURCE" "-std=$1" -c "$t_tmp/late.c"
}
unknown_processor() { # only the headers of the compiler: the system's headers are for this processor
    refused "x86-64, aarch64 and i386" -std=c11 -ffreestanding -U__x86_64__ -U__i386__ \
        -U__aarch64__ -x c -c src/core/base/port.h
}
late_uthash() {
    printf '%s\n' '#define _GNU_SOURCE 1' '#include <uthash.h>' '#include "cellar.c"' \
        >"$t_tmp/u.c"
    refused "keep your uthash" -std=c11 -c "$t_tmp/u.c"
}
names_macros_only_once() { ! grep -n '#include "[a-z0-9_]*/' dist/cellar.c dist/cellar_all.c; }
whole_pair_is_silent() {
    $CC -Idist -std=c11 $t_warn -fsyntax-only dist/cellar_all.c >"$t_tmp/said" 2>&1 && ! grep . "$t_tmp/said"
}

lines_form() {
    made=$t_tmp/l/t/dist
    generate "$t_tmp/l" awk LINES=1 >/dev/null && grep -q '^#line 1 "src/core/base/' "$made/cellar.c" &&
        $CC -I"$made" -fsyntax-only "$made/cellar.c"
}
needs_a_codec() { # a type without one: one error, which names the page
    cat >"$t_tmp/n.cc" <<'EOF'
#include "cellar.hpp"
struct words { std::string text; };
int main()
{
    cellarpp::handle h;
    h.set("k", words());
    h.get<words>("k");
    h.get_or_load<words>("k", [](std::string_view) { return words(); });
    h.update<words>("k", [](std::optional<words> now) { return now; });
}
EOF
    ! $CXX -std=c++17 -Idist -fsyntax-only "$t_tmp/n.cc" 2>"$t_tmp/n" &&
        [ "$(grep -c ' error: ' "$t_tmp/n")" = 1 ] && grep -q ' error: .*codec.*cpp\.md' "$t_tmp/n"
}

no_macro_is_left() { # RESP_LIST_PARTS is one of src/guests/resp/key_list.c
    grep -q 'define RESP_LIST_PARTS' dist/cellar_all.c &&
        ! $CC -Idist -Idist/include -E -dM dist/cellar_all.c | grep -w 'RESP_LIST_PARTS'
}
t_case generates_in_another_folder first
t_case dropin_is_reproducible_in_another_locale equal in_locale # and in a folder with a space
for a in mawk gawk 'busybox awk'; do
    fact="dropin_is_reproducible_with_$a"
    if t_have "${a%% *}"; then t_case "$fact" equal generate "$t_tmp/d" "$a"
    else t_skip "$fact" "no ${a%% *}"; fi
done
t_case nothing_internal_is_left_to_include names_macros_only_once
t_case plain_cc_is_silent plain
if t_have "${CXX:=g++}"; then
    t_case cxx_type_without_a_codec_is_one_error_that_names_the_page needs_a_codec
else
    t_skip cxx_type_without_a_codec_is_one_error_that_names_the_page "no C++ compiler"
fi
t_case warning_set_is_silent silent_with_warnings
t_case warning_set_is_silent_for_cellar_all whole_pair_is_silent
t_case nothing_else_installed_is_needed understood -nostdinc \
    -isystem "$($CC -print-file-name=include)" -isystem /usr/include \
    -isystem "/usr/include/$($CC -print-multiarch 2>/dev/null)"
t_case enums_of_definitions_are_those_of_the_headers enums_agree
t_case macros_of_a_file_end_with_it no_macro_is_left
t_case missing_compiler_is_named names_the_compiler
t_case late_include_is_refused_c11 late c11
t_case late_include_is_refused_gnu17 late gnu17
t_case unknown_processor_is_refused unknown_processor
t_case host_uthash_first_is_refused late_uthash
if echo 'int x;' | $CC -x c++ -fsyntax-only - 2>/dev/null; then
    t_case cxx_is_refused refused "compile it with a C compiler" -x c++ -c dist/cellar.c
else
    t_skip cxx_is_refused "no C++ compiler"
fi
t_case c99_is_refused refused "needs C11" -std=c99 -c dist/cellar.c
t_case line_numbers_on_request lines_form
t_end packaging_dropin
