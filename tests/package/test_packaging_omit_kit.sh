#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Aim:    -DCELLAR_OMIT_KIT leaves the kit out of the drop-in: it compiles without a warning, no
#         function of the kit is in the object, and cellar.h declares none of them. The rest works.
# Method: Names from src/tools/symbols.txt that include/cellar_kit.h declares, and kit_*, in nm of
#         both objects. The whole object has to have them.
. tests/support/t.sh

sed -n 's/^\(cellar_[a-z0-9_]*\) .*/\1/p' src/tools/symbols.txt >"$t_tmp/all"
grep '^CELLAR_API' include/cellar_kit.h | grep -o 'cellar_[a-z0-9_]*(' | tr -d '(' | sort -u |
    grep -xFf - "$t_tmp/all" >"$t_tmp/names"

functions_of() { # OBJECT -> functions of the kit in it
    nm "$1" | sed -n 's/.* [Tt] //p' | grep -x -e 'kit_.*' -f "$t_tmp/names"
}
compiles() { $CC -std=c11 -O0 $t_warn "$@" -c -o "$t_tmp/cellar.o" dist/cellar.c; }
whole_object_has_every_function() {
    compiles && [ "$(wc -l <"$t_tmp/names")" -ge 50 ] &&
        functions_of "$t_tmp/cellar.o" | grep -c '^cellar_' >"$t_tmp/count" &&
        [ "$(cat "$t_tmp/count")" -eq "$(wc -l <"$t_tmp/names")" ] &&
        functions_of "$t_tmp/cellar.o" | grep -q '^kit_'
}
omitted_object_has_no_function() { compiles -DCELLAR_OMIT_KIT && ! functions_of "$t_tmp/cellar.o"; }
header_declares_none() {
    echo '#include "cellar.h"' | $CC -std=c11 -Idist -DCELLAR_OMIT_KIT -E - >"$t_tmp/declared" &&
        grep -q 'cellar_get_or_load(' "$t_tmp/declared" &&
        ! sed 's/$/(/' "$t_tmp/names" | grep -Ff - "$t_tmp/declared"
}
program_without_the_kit_works() {
    sed '/^#include "cellar_/d' tests/examples/read_through.c >"$t_tmp/read_through.c" &&
        $CC -std=c11 -O0 -D_GNU_SOURCE -DCELLAR_OMIT_KIT -Idist -o "$t_tmp/read_through" \
            "$t_tmp/read_through.c" "$t_tmp/cellar.o" -pthread -lm && "$t_tmp/read_through"
}

t_case whole_object_has_every_function whole_object_has_every_function
t_case omitted_object_has_no_function omitted_object_has_no_function
compiles -DCELLAR_OMIT_KIT >"$t_tmp/said" 2>&1
t_case header_declares_none header_declares_none
t_case program_without_the_kit_works program_without_the_kit_works
t_end packaging_omit_kit
