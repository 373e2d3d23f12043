#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    dist/cellar.{h,c} is the cache without its guests, dist/cellar_all.{h,c} the cache with
#         them. Each is complete alone; both in one program, and a guest's header with cellar.c, are
#         link errors that say what to do.
# Method: Names that the headers of each side declare, and names with the prefixes of the modules of
#         the guests, in nm of both objects. Programs and links of users. The files in cellar.c are
#         compared with the includes of the sources.
. tests/support/t.sh

names_of() { # HEADER.. -> public functions that are exported
    grep -h '^CELLAR_API' "$@" | grep -o 'cellar_[a-z0-9_]*(' | tr -d '(' | sort -u
}
lines() { # one word a line
    for word; do echo "$word"; done
}
files_of() { # files folded into cellar.c
    sed -n 's|^/\* ---- src/[a-z]*/\([a-z0-9_/]*\.[ch]\) ---- \*/$|\1|p' dist/cellar.c
}
guest='\(batch\|behind\|bus\|cron\|journal\|kit\|refresh\|remote\|resp\|sched\|task\|wheel\)_.*'
guests=$(sed -n 's|^#include "\(cellar_[a-z]*\.h\)"|include/\1|p' include/cellar_work.h)
guests="$guests include/cellar_work.h include/cellar_kit.h include/cellar_resp.h include/cellar_remote.h"
all=$(ls include/cellar*.h)
cache=$(lines $all | grep -vxF -e "$(lines $guests)")
names_of $cache >"$t_tmp/cellar.names"
names_of $guests >"$t_tmp/guests.names"
sort "$t_tmp/cellar.names" "$t_tmp/guests.names" >"$t_tmp/cellar_all.names"

# The object of a pair at -O0: that of this build if it is there and up to date.
object() { # PAIR
    made=${CELLAR_BUILD:-build}/dist/$1-O0.o
    if [ "$made" -nt "dist/$1.c" ] && grep -q -e ' -Wconversion ' "$made.words"; then
        cp "$made" "$t_tmp/$1.o" && ! grep . "$made.said"
    else
        $CC -std=c11 -O0 $t_warn -c -o "$t_tmp/$1.o" "dist/$1.c"
    fi
}
exports_its_names() { # PAIR
    object "$1" && nm -g --defined-only "$t_tmp/$1.o" | sed 's/.* //' | grep -vx 'cellar_take_one_pair_only' |
        sort | diff "$t_tmp/$1.names" -
}
functions_of_guests() { # PAIR
    nm "$t_tmp/$1.o" | sed -n 's/.* [Tt] //p' | grep -x -e "$guest" -f "$t_tmp/guests.names"
}
cache_has_no_guest() {
    [ "$(wc -l <"$t_tmp/guests.names")" -ge 70 ] && functions_of_guests cellar_all | grep -q '^wheel_' &&
        ! functions_of_guests cellar
}
header_declares_no_guest() {
    echo '#include "cellar.h"' | $CC -std=c11 -Idist -E - >"$t_tmp/declared" &&
        grep -q 'cellar_get_or_load(' "$t_tmp/declared" &&
        ! sed 's/$/(/' "$t_tmp/guests.names" | grep -Ff - "$t_tmp/declared"
}
# A file of base that is left out has a header that no file of the pair includes; a file that is
# there has a header, if any, that another file of the pair includes.
left_out_are_the_files_of_guests() {
    files_of >"$t_tmp/files"
    for f in src/core/base/*.h src/core/stats/*.h; do
        name=${f#src/core/} one=0 in=no
        [ -f "${f%.h}.c" ] || continue
        if grep -qx "${name%.h}.c" "$t_tmp/files"; then in=yes; fi
        for user in $(grep -l "^#include \"$name\"" src/*/*/*.[ch]); do
            user=${user#src/*/}
            if [ "${user%.*}" != "${name%.h}" ] && grep -qx "$user" "$t_tmp/files"; then one=1; fi
        done
        case $in$one in
        yes1 | no0) ;;
        *) echo "$name: in cellar.c: $in, used there: $one"; return 1 ;;
        esac
    done
    ! grep -e '^work/' -e '^kit/' -e '^resp/' -e '^remote/' -e '^wheel/' "$t_tmp/files"
}
program_of_installed_headers_works() { # PAIR PROGRAM
    $CC -std=c11 -O0 -D_GNU_SOURCE -Idist -Idist/include -o "$t_tmp/program" "tests/examples/$2.c" \
        "$t_tmp/$1.o" -pthread -lm && "$t_tmp/program"
}
one_line_headers_are_complete() { # each: one line, the header of its pair, compiles alone
    for h in $all; do
        h=${h#include/} pair=cellar
        [ "$h" != cellar.h ] || continue
        if lines $guests | grep -qx "include/$h"; then pair=cellar_all; fi
        [ "$(wc -l <"dist/include/$h")" -eq 1 ] && grep -q "^#include \"$pair.h\"" "dist/include/$h" &&
            echo "#include \"$h\"" | $CC -std=c99 -Idist -Idist/include -fsyntax-only -x c - || return 1
    done
}
together() { # LANGUAGE COMPILER WORD..: both headers in each order, and twice
    language=$1
    shift
    for order in 'cellar cellar_all' 'cellar_all cellar' 'cellar_all cellar cellar_all'; do
        for h in $order; do echo "#include \"$h.h\""; done >"$t_tmp/h.$language"
        echo 'extern int x;' >>"$t_tmp/h.$language"
        "$@" -Idist -fsyntax-only "$t_tmp/h.$language" || return 1
    done
}
calls() { # FUNCTION HEADER: a program that has its address
    printf '%s\n' "#include \"$2\"" "int main(void) { void *volatile at = (void *)&$1; return at == 0; }" >"$t_tmp/call.c"
}
both_pairs_are_a_link_error() {
    calls cellar_open cellar.h
    ! $CC -w -Idist "$t_tmp/call.c" "$t_tmp/cellar.o" "$t_tmp/cellar_all.o" -pthread -lm \
        -o "$t_tmp/both" 2>"$t_tmp/said" &&
        grep -q 'multiple definition of .cellar_take_one_pair_only' "$t_tmp/said" &&
        grep -q 'multiple definition of cellar_take_one_pair_only' include/guide.md
}
guest_with_cellar_c_is_a_link_error() {
    calls cellar_task_submit cellar_task.h
    ! $CC -w -Idist -Idist/include "$t_tmp/call.c" "$t_tmp/cellar.o" -pthread -lm -o "$t_tmp/guest" \
        2>"$t_tmp/said" && grep -q 'undefined reference to .cellar_task_submit' "$t_tmp/said" &&
        grep -q 'undefined reference to cellar_task_submit' include/guide.md &&
        $CC -w -Idist -Idist/include "$t_tmp/call.c" "$t_tmp/cellar_all.o" -pthread -lm -o "$t_tmp/guest"
}
$MAKE -s --no-print-directory NOLINK=1 dropin >/dev/null
t_case cellar_exports_the_names_of_the_cache exports_its_names cellar
t_case cellar_all_exports_all_names exports_its_names cellar_all
t_case cellar_has_no_function_of_a_guest cache_has_no_guest
t_case cellar_h_declares_no_guest header_declares_no_guest
t_case left_out_are_the_files_that_only_guests_use left_out_are_the_files_of_guests
t_case program_of_installed_headers_works_on_cellar program_of_installed_headers_works cellar cache_calls
t_case program_of_installed_headers_works_on_cellar_all program_of_installed_headers_works cellar_all \
    cache_calls
t_case program_of_a_guest_works_on_cellar_all program_of_installed_headers_works cellar_all e2e_image_editor
t_case one_line_headers_are_complete one_line_headers_are_complete
t_case headers_of_both_pairs_stand_together_in_c together c $CC -std=c11 $t_warn
if t_have g++; then t_case headers_of_both_pairs_stand_together_in_cxx together cc g++ -std=c++11 -Wall -Wextra -Werror
else t_skip headers_of_both_pairs_stand_together_in_cxx "no g++"; fi
t_case both_pairs_in_one_program_do_not_link both_pairs_are_a_link_error
t_case guest_with_cellar_c_does_not_link guest_with_cellar_c_is_a_link_error
t_end packaging_pairs
